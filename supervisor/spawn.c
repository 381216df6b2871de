/* spawn.c - a new process: cheap, clean, and bound to die with its parent */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "mem.h"

#define STACK_SIZE 131072
#define EXIT_NO_EXEC 127
/* A sanitizer would mark the borrowed stack and never clean it up: the child leaves by exec or _exit. */
#define CHILD_SIDE __attribute__((no_sanitize("address")))

/* Shared between both sides until the exec: the child runs in the parent's memory while the parent stands still. */
struct shared {
	const struct spawn_spec *spec;
	pid_t parent;
	sigset_t mask; /* empty */
	struct rlimit files;
	volatile int error;
};

CHILD_SIDE static void
default_signals(const struct shared *sh)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL }, ignore = { .sa_handler = SIG_IGN };

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL); /* SIGKILL, SIGSTOP and libc's own refuse */
	/* On a terminal with `stty tostop` a line on stderr would stop a process group that is not in front. */
	(void)sigaction(SIGTTOU, &ignore, NULL);
	(void)sigprocmask(SIG_SETMASK, &sh->mask, NULL);
}

CHILD_SIDE static int
only_listed_fds(const struct spawn_spec *spec)
{
	if (dup2(spec->null_fd, 0) < 0 || dup2(2, 1) < 0)
		return -1;
	/* Ours are close-on-exec already; this is for what the supervisor itself was started with. Before Linux 5.11 it
	 * cannot be done this way, and is left. */
	(void)syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < spec->fd_count; i++)
		if (fcntl(spec->fds[i], F_SETFD, 0) != 0)
			return -1;
	return 0;
}

/* Only system calls from here on: memory and locks belong to the parent. */
CHILD_SIDE static int
child_main(void *arg)
{
	struct shared *sh = arg;
	const struct spawn_spec *spec = sh->spec;

	default_signals(sh);
	if (setpgid(0, 0) != 0 || only_listed_fds(spec) != 0)
		goto fail;
	if (spec->chdir && chdir(spec->chdir) != 0)
		goto fail;
	(void)setrlimit(RLIMIT_NOFILE, &sh->files);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		goto fail;
	/* It may have died before the line above took effect. */
	if (getppid() != sh->parent)
		_exit(EXIT_NO_EXEC);
	execve(spec->path, spec->argv, spec->envp);
fail:
	sh->error = errno;
	_exit(EXIT_NO_EXEC);
}

int
spawn(const struct spawn_spec *spec, struct spawned *ret)
{
	struct shared sh = { .spec = spec, .parent = getpid() };
	sigset_t all, old;
	int pidfd = -1, saved;
	pid_t pid;
	char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED)
		return ERR_IO;
	sigemptyset(&sh.mask);
	if (getrlimit(RLIMIT_NOFILE, &sh.files) == 0)
		sh.files.rlim_cur = sh.files.rlim_max;
	/* No handler may run in the child while it shares our memory. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid = clone(child_main, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
	    &sh, &pidfd);
	saved = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	munmap(stack, STACK_SIZE);
	if (pid < 0) {
		errno = saved;
		return ERR_IO;
	}
	if (sh.error) {
		(void)waitpid(pid, NULL, 0);
		close(pidfd);
		errno = sh.error;
		return ERR_IO;
	}
	*ret = (struct spawned){ .pid = pid, .pidfd = pidfd };
	return 0;
}

int
spawn_find(const char *program, char **ret_path)
{
	const char *path = getenv("PATH");

	if (!path || !*path)
		path = "/usr/local/bin:/usr/bin:/bin";
	while (*path) {
		size_t len = strcspn(path, ":");
		char *full = xasprintf("%.*s/%s", (int)len, path, program);

		if (len > 0 && access(full, X_OK) == 0) {
			*ret_path = full;
			return 0;
		}
		free(full);
		path += len + (path[len] == ':');
	}
	return ERR_NOT_FOUND;
}
