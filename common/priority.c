/* priority.c - who goes first when the processors do not suffice */
#include "priority.h"

#include <dirent.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROMPT_SLICE_NS 100000 /* the shortest there is */

/* The kernel's struct sched_attr, which glibc does not declare. */
struct attributes {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;
	uint64_t deadline;
	uint64_t period;
};

static void
take(pid_t tid, const struct priority *p, int nice)
{
	static const struct sched_param none;
	struct attributes a = { .size = sizeof a };

	(void)setpriority(PRIO_PROCESS, (id_t)tid, nice);
	if (p->idle_only)
		(void)sched_setscheduler(tid, SCHED_IDLE, &none);
	if (!p->prompt || syscall(SYS_sched_getattr, tid, &a, sizeof a, 0) != 0)
		return;
	a.runtime = PROMPT_SLICE_NS;
	(void)syscall(SYS_sched_setattr, tid, &a, 0);
}

void
priority_take(const struct priority *p)
{
	int before = getpriority(PRIO_PROCESS, 0);
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *d;

	while (dir && (d = readdir(dir)) != NULL) {
		unsigned long tid = strtoul(d->d_name, NULL, 10);

		if (tid != 0)
			take((pid_t)tid, p, before + p->nice);
	}
	if (dir)
		closedir(dir);
}
