/* session_state_scripts.h - the Lua of session_state; arguments stand at each script */
#ifndef ROOST_SESSION_STATE_SCRIPTS_H
#define ROOST_SESSION_STATE_SCRIPTS_H

enum session_script {
	SCRIPT_BEGIN,	/* worker, life, last batch known to be done, 1 if begun before, highest epoch seen -> [enum, last batch] */
	SCRIPT_BATCH,	/* worker, life, number, count, numbers whose results are known, writes -> results */
	SCRIPT_CLAIM,	/* worker, life, id, clean, expiry, now in ms -> see session_state_read.c */
	SCRIPT_OWNED,	/* worker, cursor, page -> [cursor, id, epoch, life, expiry, away, id, ...] */
	SCRIPT_PAGE,	/* most, HSCAN or XRANGE, key, from, page -> as the command; a longer value: SESSION_LEFT_OUT and its length */
	SCRIPT_COUNT
};

#define SESSION_LEFT_OUT "!"	/* no frame and no number begins so */

/* What SCRIPT_BEGIN found. */
enum session_begin { BEGIN_NEW, BEGIN_SAME, BEGIN_LOST, BEGIN_FENCED };

/* Writes in a batch: code, arguments. Small letters: id, epoch, ...; carried out under that epoch only. */
#define OP_MESSAGE "M"		/* message; no write of its own */
#define OP_ENQUEUE "q"		/* id, epoch, n, delivery */
#define OP_ACKED "k"		/* id, epoch, n */
#define OP_PUBREC "r"		/* id, epoch, n */
#define OP_PUBCOMP "c"		/* id, epoch, n */
#define OP_SENT "n"		/* id, epoch, n */
#define OP_SUBSCRIBE "s"	/* id, epoch, filter, options */
#define OP_UNSUBSCRIBE "u"	/* id, epoch, filter */
#define OP_INCOMING "i"		/* id, epoch, packet id, partition */
#define OP_INCOMING_DONE "j"	/* id, epoch, packet id */
#define OP_AWAY "a"		/* id, epoch, expiry, now in ms */
#define OP_BACK "b"		/* id, epoch, expiry */
#define OP_ENDED "e"		/* id, epoch */
#define OP_CLAIMED_WILL "w"	/* id, epoch, will */
#define OP_WILL "W"		/* id, will */
#define OP_NO_WILL "X"		/* id */
#define OP_RETAIN "T"		/* topic, message */
#define OP_UNRETAIN "D"		/* topic */
#define OP_EXPIRED "V"		/* topic, seq */
#define OP_FORWARD "F"		/* peer, life:seq */
#define OP_SESSION_ORIGIN "o"	/* id, epoch, origin, now in ms */
#define OP_RELEASED "p"		/* id, epoch, origin */

extern const char *const session_scripts[SCRIPT_COUNT];

#endif
