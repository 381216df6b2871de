/* spawn.h - a new process: cheap, clean, and bound to die with its parent
 *
 * clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD): no page table is copied, and the parent goes on when the program has been
 * exec'd or could not be, so that a failed exec is an error code here and not a death. The child gets a process group of its
 * own (Ctrl-C is for the supervisor) in the supervisor's session (Linux weighs niceness within a session only; sched(7),
 * "The autogroup feature"), default signals but SIGTTOU, which is ignored, stdin from /dev/null, stdout and stderr to our stderr, the listed
 * descriptors and no others, no new privileges, and SIGKILL when the supervisor dies. */
#ifndef ROOST_SPAWN_H
#define ROOST_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

struct spawn_spec {
	const char *path; /* absolute, or relative to our working directory */
	char *const *argv;
	char *const *envp;
	const char *chdir; /* NULL: ours */
	const int *fds;	   /* stay open, under their numbers */
	size_t fd_count;
	int null_fd; /* of /dev/null */
};

struct spawned {
	pid_t pid;
	int pidfd; /* close-on-exec; the caller's */
};

/* 0; ERR_IO with errno: there is no process then. */
int spawn(const struct spawn_spec *spec, struct spawned *ret);

/* Looks a program up in PATH; 0 and a malloc'd path, or ERR_NOT_FOUND. */
int spawn_find(const char *program, char **ret_path);

#endif
