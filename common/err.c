/* err.c - names of the error codes, and the end of a process that found its own mistake */
#include "err.h"

#include <stdio.h>
#include <stdlib.h>

const char *
err_name(int err)
{
	switch ((enum err)err) {
	case ERR_OK:
		return "ok";
	case ERR_AGAIN:
		return "again";
	case ERR_SHORT:
		return "short";
	case ERR_MALFORMED:
		return "malformed";
	case ERR_TOO_BIG:
		return "too-big";
	case ERR_FULL:
		return "full";
	case ERR_IO:
		return "io";
	case ERR_NOT_FOUND:
		return "not-found";
	case ERR_EXISTS:
		return "exists";
	case ERR_REFUSED:
		return "refused";
	case ERR_FENCED:
		return "fenced";
	case ERR_CONFIG:
		return "config";
	case ERR_TIMEOUT:
		return "timeout";
	case ERR_UNSUPPORTED:
		return "unsupported";
	case ERR_DAMAGED:
		return "damaged";
	case ERR_CLOSED:
		return "closed";
	case ERR_NO_ROOM:
		return "no-room";
	}
	return "unknown";
}

_Noreturn void
err_assert_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "assertion failed: %s at %s:%d\n", what, file, line);
	abort();
}
