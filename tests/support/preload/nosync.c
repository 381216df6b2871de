/* nosync.c - a preloaded library in which a program's syncs do nothing and say that they did: the lie that a test must find
 *
 * ROOST_TEST_NOSYNC=PROGRAM:CALLS, CALLS being "all", "data" (fdatasync) or "dirs" (fsync of directories). */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool
lies(const char *calls)
{
	const char *wanted = getenv("ROOST_TEST_NOSYNC");
	size_t len = strlen(program_invocation_short_name);

	return wanted && strncmp(wanted, program_invocation_short_name, len) == 0 &&
	       wanted[len] == ':' &&
	       (strcmp(wanted + len + 1, calls) == 0 || strcmp(wanted + len + 1, "all") == 0);
}

int
fdatasync(int fd)
{
	return lies("data") ? 0 : (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	struct stat st;

	if (lies("all") || (lies("dirs") && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)))
		return 0;
	return (int)syscall(SYS_fsync, fd);
}
