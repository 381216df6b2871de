/* points.c - storage under every fault at every call it makes: what was acknowledged is there again, once, as it was
 *
 * points MODE [--start fresh|recover] [--stride N] [--phase N] [--seed N] [--plant data|dirs] [--log]
 *   kill      the process ends before, and after, each call
 *   fail      each call fails with EIO, ENOSPC and EINTR
 *   short     each read and write does a part of its work; and then the next of its kind fails
 *   cut       the power goes after each call: no, all or any of what no sync covered is there; blocks are torn at each sector
 *   failcut   each sync fails, storage starts again, and the power goes after each call of that start
 *   away      the disk gives nothing for a moment while a follower reads
 *   list      what is called how often
 *
 * One work is done over and over: a data_dir is made or recovered, streams are opened, batches are committed over several
 * segments, old segments are let go, the shard is closed in order and opened again. A process of its own does it, with the disk of
 * disk.c below; its answers are the truth. Then another opens what is there, goes on, and all is read back. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk.h"
#include "err.h"
#include "log.h"
#include "support_dir.h"
#include "work.h"

#define CHILD_MAX_S 60

enum start { START_FRESH, START_RECOVER };

static enum start start = START_FRESH;
static uint32_t stride = 1, phase;
static uint64_t seed = 1;
static const char *plant = "";
static uint64_t states, broken;
static bool logs;

/* --- a process of its own for each --- */

static int
in_child(void (*run)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	ASSERT(pid >= 0);
	if (pid == 0) {
		alarm(CHILD_MAX_S);
		run(arg);
		_exit(0);
	}
	ASSERT(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

struct visit {
	const char *root;
	struct disk_known known;
	bool watch; /* its calls are recorded too */
};

static void
run_visit(void *arg)
{
	const struct visit *v = arg;

	disk_watch(v->watch);
	work_go_on(v->root, v->known);
	/* Answers of the visit are recorded in the log of the disk, and the next one knows of them. */
}

static void
run_work(void *arg)
{
	(void)arg;
	disk_watch(true);
	work_all();
}

/* The work's beginning: nothing, or the folder of one that was killed within a write. */
static void
prepare_unwatched(void *arg)
{
	(void)arg;
	disk_watch(false);
	work_some();
	_exit(0);
}

static void
begin(const char *root)
{
	test_dir_remove(root);
	ASSERT(mkdir(root, 0700) == 0);
	w = (struct work){ .mono = 1000 * WORK_SECOND, .wall = 1700000000 * WORK_SECOND };
	snprintf(w.root, sizeof(w.root), "%s", root);
	disk_begin(root);
	if (start == START_FRESH)
		return;
	ASSERT(in_child(prepare_unwatched, NULL) == 0);
	{
		/* What the first process was told. */
		struct disk_known k = disk_known_at(disk->ops);

		disk_begin(root);
		for (uint64_t s = 0; s < STREAMS; s++) {
			disk_note(OP_ACK, s, k.id[s], 1);
			disk_note(OP_ACK, s, k.acked[s], 0);
			disk_note(OP_PASSED, s, k.passed[s], 0);
			w.id[s] = k.id[s];
			w.upto[s] = k.acked[s];
		}
	}
	w.mono = 3000 * WORK_SECOND;
	w.wall += 60 * WORK_SECOND;
}

static void
report(const char *mode, uint32_t at, const char *detail, const char *why, int status)
{
	broken++;
	fprintf(work_said, "%s: point %u (%s): %s, status %d\n", mode, at, detail, why, status);
	fflush(work_said);
}

static void
inspect(const char *mode, const char *root, uint32_t at, const char *detail)
{
	struct visit v = { .root = root, .known = disk_known_at(disk->ops) };
	int status = in_child(run_visit, &v);

	states++;
	if (status != 0)
		report(mode, at, detail, "what was promised is not there afterwards", status);
}

static uint32_t
count_calls(const char *root)
{
	begin(root);
	ASSERT(in_child(run_work, NULL) == 0);
	return disk->calls;
}

/* One work with one fault; then what is there is looked at. */
static int
faulty_work(const char *root, uint32_t at, enum fault fault, int error)
{
	begin(root);
	disk->fault_at = at;
	disk->fault = fault;
	disk->fault_errno = error;
	return in_child(run_work, NULL);
}

static void
kill_points(const char *root, uint32_t calls)
{
	static const enum fault kinds[] = { FAULT_KILL_BEFORE, FAULT_KILL_AFTER };

	for (uint32_t at = 1 + phase; at <= calls; at += stride) {
		for (size_t k = 0; k < 2; k++) {
			int status = faulty_work(root, at, kinds[k], 0);

			if (status != 137)
				report("kill", at, "?", "did not die there", status);
			inspect("kill", root, at, call_names[disk->call_met]);
		}
	}
}

/* Interrupted calls and short ones are no errors; whatever else fails either ends the process, without an answer from
 * then on, or does not matter. */
static void
judge_failure(uint32_t at, const char *what, bool harmless, int status)
{
	char detail[64];
	enum call c = disk->call_met;

	/* POSIX knows no interruption of these; the next start does them again. */
	if (c == CALL_RENAME || c == CALL_UNLINK || c == CALL_LINK || c == CALL_MKDIR)
		harmless = false;
	snprintf(detail, sizeof(detail), "%s %s", call_names[disk->call_met], what);
	if (status != 0 && status != EXIT_DIES)
		report("fail", at, detail, "ended in a way that is not defined", status);
	else if (harmless && status != 0)
		report("fail", at, detail, "ended, and that was no error", status);
	else if (status == EXIT_DIES && disk->acks_after > 0)
		report("fail", at, detail, "answered after the failure", (int)disk->acks_after);
}

static void
fail_points(const char *root, uint32_t calls)
{
	static const struct {
		int error;
		const char *name;
	} errors[] = { { EIO, "EIO" }, { ENOSPC, "ENOSPC" }, { EINTR, "EINTR" } };

	for (uint32_t at = 1 + phase; at <= calls; at += stride) {
		for (size_t k = 0; k < 3; k++) {
			int status = faulty_work(root, at, FAULT_FAIL, errors[k].error);

			judge_failure(at, errors[k].name, errors[k].error == EINTR, status);
			inspect("fail", root, at, errors[k].name);
		}
	}
}

static void
short_points(const char *root, uint32_t calls)
{
	for (uint32_t at = 1 + phase; at <= calls; at += stride) {
		int status = faulty_work(root, at, FAULT_SHORT, 0);

		if (!disk->fault_fits)
			continue;
		judge_failure(at, "short", true, status);
		inspect("short", root, at, call_names[disk->call_met]);
		status = faulty_work(root, at, FAULT_SHORT_FAIL, ENOSPC);
		judge_failure(at, "short, then ENOSPC", false, status);
		inspect("short", root, at, "and then ENOSPC");
	}
}

static void
cut_at(const char *mode, struct disk_cut *cut, const char *to, const char *detail)
{
	struct visit v = { .root = to, .known = disk_known_at(cut->ops) };
	int status;

	cut->no_data_sync = strcmp(plant, "data") == 0;
	cut->no_dir_sync = strcmp(plant, "dirs") == 0;
	test_dir_remove(to);
	ASSERT(mkdir(to, 0700) == 0);
	disk_materialise(cut, to);
	disk->fault = FAULT_NONE;
	status = in_child(run_visit, &v);
	states++;
	if (status != 0)
		report(mode, cut->ops, detail, "what was acknowledged is not there after the cut",
		    status);
}

/* All states behind operation n. The visits add to the log; that is taken back. */
static void
cut_behind(const char *mode, uint32_t n, const char *to, bool torn)
{
	uint32_t ops = disk->ops, sectors = torn ? disk_sectors(n - 1) : 0;
	uint64_t used = disk->used;
	char detail[96];

	for (uint32_t i = 0; i < 4 + 2 * sectors; i++) {
		struct disk_cut cut = { .ops = n, .seed = seed * 1000003 + n * 31 + i };

		cut.survival = i == 0 ? SURVIVE_NONE : i == 1 ? SURVIVE_ALL : SURVIVE_RANDOM;
		if (i >= 4) {
			cut.survival = i % 2 ? SURVIVE_HOLE : SURVIVE_HEAD;
			cut.sector = (i - 4) / 2;
		}
		snprintf(detail, sizeof(detail), "survival %d, seed %llu, sector %u",
		    (int)cut.survival, (unsigned long long)cut.seed, cut.sector);
		cut_at(mode, &cut, to, detail);
		disk->ops = ops;
		disk->used = used;
	}
}

static bool
is_change(uint32_t n)
{
	return disk_op(n)->kind != OP_ACK && disk_op(n)->kind != OP_PASSED;
}

static void
cut_points(const char *root, const char *to)
{
	uint32_t first;

	begin(root);
	first = disk->ops;
	ASSERT(in_child(run_work, NULL) == 0);
	for (uint32_t n = first + phase, ops = disk->ops; n <= ops; n += stride)
		if (n == ops || is_change(n) || n == first)
			cut_behind("cut", n, to, n > first);
}

/* The page cache holds what the disk does not have: the start after a failed sync must not believe it. */
static void
failcut_points(const char *root, const char *to, uint32_t calls)
{
	uint32_t syncs = 0;

	for (uint32_t at = 1; at <= calls; at++) {
		struct visit v = { .root = root, .watch = true };
		uint32_t first;
		int status = faulty_work(root, at, FAULT_FAIL, EIO);

		if (disk->call_met != CALL_FDATASYNC && disk->call_met != CALL_FSYNC)
			continue;
		if (syncs++ % stride != phase)
			continue;
		if (status != 0 && status != EXIT_DIES)
			report("failcut", at, "", "ended in a way that is not defined", status);
		first = disk->ops;
		disk->fault_at = 0;
		v.known = disk_known_at(first);
		status = in_child(run_visit, &v);
		if (status != 0)
			report("failcut", at, "", "no start after a failed sync", status);
		for (uint32_t n = first, ops = disk->ops; n <= ops; n++)
			if (n == ops || is_change(n))
				cut_behind("failcut", n, to, false);
	}
}

static void
run_away(void *arg)
{
	(void)arg;
	disk_watch(true);
	work_read_of_a_disk_that_was_away();
}

static void
away(const char *root)
{
	int status;

	begin(root);
	status = in_child(run_away, NULL);
	states++;
	if (status != 0)
		report("away", 0, "", "a follower did not wait", status);
}

static int
usage(void)
{
	fprintf(stderr, "usage: points kill|fail|short|cut|failcut|away|list [--start "
			"fresh|recover] [--stride N] "
			"[--phase N] [--seed N] [--plant data|dirs]\n");
	return 64;
}

static bool
options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "start", required_argument, NULL, 'a' },
		{ "stride", required_argument, NULL, 's' },
		{ "phase", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 'e' },
		{ "log", no_argument, NULL, 'g' },
		{ "plant", required_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (opt) {
		case 'a':
			start = strcmp(optarg, "recover") == 0 ? START_RECOVER : START_FRESH;
			break;
		case 's':
			stride = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			phase = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'e':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'g':
			logs = true;
			break;
		case 'l':
			plant = optarg;
			break;
		default:
			return false;
		}
	}
	return optind + 1 == argc && stride > 0;
}

int
main(int argc, char **argv)
{
	char base[64], root[128], to[128];
	const char *mode;
	uint32_t calls;

	if (!options(argc, argv))
		return usage();
	mode = argv[optind];
	/* What storage says of each fault is not read by anybody. */
	work_said = fdopen(dup(2), "w");
	if (!logs && !freopen("/dev/null", "w", stderr))
		return 1;
	log_init("points", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	disk_init();
	test_dir_new(base, sizeof(base));
	snprintf(root, sizeof(root), "%s/a", base);
	snprintf(to, sizeof(to), "%s/b", base);
	calls = count_calls(root);
	if (strcmp(mode, "kill") == 0)
		kill_points(root, calls);
	else if (strcmp(mode, "fail") == 0)
		fail_points(root, calls);
	else if (strcmp(mode, "short") == 0)
		short_points(root, calls);
	else if (strcmp(mode, "cut") == 0)
		cut_points(root, to);
	else if (strcmp(mode, "failcut") == 0)
		failcut_points(root, to, calls);
	else if (strcmp(mode, "away") == 0)
		away(root);
	else if (strcmp(mode, "list") != 0)
		return usage();
	for (size_t i = 0; i < CALL_COUNT && strcmp(mode, "list") == 0; i++)
		printf("%s %u\n", call_names[i], disk->by_call[i]);
	test_dir_remove(base);
	printf("%u calls, %llu states, %llu wrong\n", calls, (unsigned long long)states,
	    (unsigned long long)broken);
	return broken ? 1 : 0;
}
