/* exit_codes.h - how a process ends, from sysexits.h; the supervisor acts on them */
#ifndef ROOST_EXIT_CODES_H
#define ROOST_EXIT_CODES_H

enum {
	EXIT_USAGE = 64,
	EXIT_UNAVAILABLE = 69, /* no supervisor to talk to */
	EXIT_DEPENDENCY = 75,  /* something it needs is away; trying again may help */
	EXIT_CONFIG = 78,      /* not tried again until the configuration changes */
};

#endif
