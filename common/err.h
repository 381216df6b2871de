/* err.h - the one list of error codes; every function returns 0 or one of these (negative) */
#ifndef ROOST_ERR_H
#define ROOST_ERR_H

enum err {
	ERR_OK = 0,
	ERR_AGAIN = -1,	    /* would block, or the receiver is behind: keep it and try later */
	ERR_SHORT = -2,	    /* input ends before the value does: more bytes are needed */
	ERR_MALFORMED = -3, /* input breaks its format; no later byte can mend it */
	ERR_TOO_BIG = -4,   /* a named maximum is exceeded */
	ERR_FULL = -5,	    /* a bounded table, queue or disk has no room */
	ERR_IO = -6,	    /* a system call failed; errno tells */
	ERR_NOT_FOUND = -7,
	ERR_EXISTS = -8,
	ERR_REFUSED = -9, /* the peer or a policy said no */
	ERR_FENCED = -10, /* a newer owner exists */
	ERR_CONFIG = -11, /* settings or rules text is wrong; the message names the place */
	ERR_TIMEOUT = -12,
	ERR_UNSUPPORTED = -13,
	ERR_DAMAGED = -14, /* a checksum does not match: bytes on disk changed */
	ERR_CLOSED = -15,  /* the peer went away */
	ERR_NO_ROOM = -16, /* the disk is full: to be tried again as it was (room.h) */
};

/* "malformed", "io", ...; never NULL. */
const char *err_name(int err);

/* For our own mistakes only, on in release builds too. Never on input, peers or the disk. */
#define ASSERT(cond) ((cond) ? (void)0 : err_assert_failed(#cond, __FILE__, __LINE__))

void err_assert_failed(const char *what, const char *file, int line) __attribute__((noreturn));

#endif
