/* death.h - why a child ended, in words; pure */
#ifndef ROOST_DEATH_H
#define ROOST_DEATH_H

#include <stdbool.h>
#include <stdint.h>

struct death {
	int64_t at_wall_us; /* 0: it never died */
	int exit_code;	    /* -1: a signal ended it */
	int signal;
	bool core;
	int64_t up_us;	 /* since READY; -1: it never was */
	const char *cause; /* what the supervisor had against it ("no heartbeat"); NULL: nothing */
	int spawn_errno;   /* not 0: there was no process, this is why */
	const char *program; /* with spawn_errno: what could not be started */
};

#define DEATH_TEXT_MAX 160
/* "killed by SIGKILL after 3m20s", "no heartbeat for 3s: SIGABRT (core dumped)"; returns out. */
const char *death_text(const struct death *d, char out[DEATH_TEXT_MAX]);
/* "SIGKILL"; "signal 42" for one without a name, written to out. */
const char *signal_text(int signal, char out[24]);
/* "1h2m", "3m20s", "12s", "350ms": two units at most; returns out. */
const char *span_text(int64_t us, char out[24]);

#endif
