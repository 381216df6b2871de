/* points.c - storage under every fault at every call it makes: what was acknowledged is there again, once, as it was
 *
 * points MODE [--start fresh|recover] [--stride N] [--phase N] [--seed N] [--plant data|dirs] [--log]
 *   kill      the process ends before, and after, each call
 *   fail      each call fails with EIO, ENOSPC and EINTR
 *   short     each read and write does a part of its work; and then the next of its kind fails
 *   cut       the power goes after each call: no, all or any of what no sync covered is there; blocks are torn at each sector
 *   failcut   each sync fails, storage starts again, and the power goes after each call of that start
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
#include "format.h"
#include "journal_read.h"
#include "log.h"
#include "mem.h"
#include "record.h"
#include "shard.h"
#include "support_dir.h"

#define SECOND 1000000ll
#define PARTITIONS STREAMS
#define TURNS 26
#define SEGMENT (64u << 10)
#define QUOTA (6u * SEGMENT)
#define RECORDS_MAX 6
#define TEXT_MAX 1600
#define OWNER "connectivity-0"
#define HISTORY_LIFE 5
#define EXIT_WRONG 3 /* a promise was broken; said on standard error */
#define EXIT_DIES 75
#define CHILD_MAX_S 60

enum start { START_FRESH, START_RECOVER };

struct work {
	char root[64];
	struct shard *sh;
	int lock_fd;
	int64_t mono, wall;
	uint64_t id[STREAMS];
	uint64_t upto[STREAMS]; /* of the last answer */
	uint64_t next[STREAMS]; /* to be sent */
	uint64_t at;		/* where history is */
};

static struct work w;
static enum start start = START_FRESH;
static uint32_t stride = 1, phase;
static uint64_t seed = 1;
static const char *plant = "";
static uint64_t states, broken;
static FILE *said; /* standard error */
static bool logs;

static _Noreturn void
wrong(const char *what, uint64_t a, uint64_t b)
{
	fprintf(
	    said, "WRONG: %s (%llu, %llu)\n", what, (unsigned long long)a, (unsigned long long)b);
	fflush(said);
	_exit(EXIT_WRONG);
}

/* --- the work --- */

/* Each batch says by its content which it is. */
static void
make_records(struct buf *out, uint64_t stream, uint64_t seq)
{
	static char text[TEXT_MAX];
	uint64_t x = (stream + 1) * 0x9e3779b97f4a7c15u + seq * 0xbf58476d1ce4e5b9u;

	buf_clear(out);
	for (uint64_t n = 0; n <= x % RECORDS_MAX; n++) {
		struct record head = { .flags = 2,
			.time = (int64_t)(1700000000 * SECOND + (int64_t)seq),
			.device = bytes_of_str("press-1"),
			.client = stream + 1,
			.packet_id = (uint16_t)(seq * 8 + n),
			.hash = x };
		size_t len = (size_t)(x >> 20) % TEXT_MAX;
		struct record_writer rw;

		for (size_t i = 0; i < len; i++)
			text[i] = (char)('a' + (x >> (i % 56)) % 26);
		record_begin(&rw, out, &head);
		record_add(&rw, &(struct point){ .name = bytes_of_str("text"),
				    .value = { .kind = VALUE_STRING, .v.s = bytes_of(text, len) },
				    .time = head.time });
		record_end(&rw);
		x = x * 6364136223846793005u + 1442695040888963407u;
	}
}

static void
answered(uint64_t stream, uint64_t id, uint64_t upto)
{
	if (disk->fault_met && disk->fault == FAULT_FAIL)
		disk->acks_after++;
	if (w.id[stream] != id)
		disk_note(OP_ACK, stream, id, 1);
	w.id[stream] = id;
	w.upto[stream] = upto;
	disk_note(OP_ACK, stream, upto, 0);
}

static int
on_send(void *arg, const char *peer, enum msg_type type, const void *msg)
{
	const struct msg_welcome *welcome = msg;
	const struct msg_commit *commit = msg;
	const struct msg_deliver *deliver = msg;
	const struct msg_fenced *fenced = msg;

	(void)arg;
	(void)peer;
	switch ((unsigned)type) {
	case MSG_WELCOME:
		answered(welcome->partition, welcome->stream, welcome->upto);
		break;
	case MSG_COMMIT:
		for (uint64_t s = 0; s < STREAMS; s++)
			if (w.id[s] == commit->stream)
				answered(s, commit->stream, commit->upto);
		break;
	case MSG_DELIVER:
		w.at = deliver->upto;
		break;
	case MSG_FENCED:
		wrong("a stream whose batches were acknowledged is fenced", fenced->partition,
		    fenced->stream);
	}
	return 0;
}

static void
pass(int64_t us)
{
	w.mono += us;
	w.wall += us;
	shard_clock(w.sh, w.wall, w.mono);
}

static void
turn(void)
{
	pass(1000);
	(void)shard_turn(w.sh);
}

static void
open_work(void)
{
	static char dir[128];
	struct shard_config c = {
		.dir = dir,
		.shards = 1,
		.partitions = PARTITIONS,
		.segment_bytes = SEGMENT,
		.segment_age_us = 3600 * SECOND,
		.quota_bytes = QUOTA,
		.retention_us = 3600 * SECOND,
		.dedup_entries = 64,
		.dedup_window_us = 120 * SECOND,
		.mandatory = "history",
		.send = on_send,
	};
	struct msg_subscribe sub = { .group = bytes_of_str("history"),
		.kinds = 1ull << ENTRY_READINGS,
		.credit = 16 << 20,
		.life = HISTORY_LIFE,
		.number = 1 };

	if (format_check(w.root, PARTITIONS, 1) != 0 ||
	    format_lock_shard(w.root, 0, 1000, dir, sizeof(dir), &w.lock_fd) != 0 ||
	    shard_open(&c, w.wall, w.mono, &w.sh) != 0)
		_exit(EXIT_DIES);
	sub.from = w.at;
	shard_on_subscribe(w.sh, "sink-history", &sub);
}

/* As connectivity does on each connect: where is this stream? */
static void
hello(void)
{
	for (uint64_t s = 0; s < STREAMS; s++) {
		uint64_t acked = w.upto[s];
		struct msg_hello m = {
			.life = 1, .partition = s, .stream = w.id[s], .acked = w.upto[s]
		};

		w.upto[s] = UINT64_MAX;
		for (int n = 0; n < 5 && w.upto[s] == UINT64_MAX; n++) {
			shard_on_hello(w.sh, OWNER, &m);
			turn();
		}
		if (w.upto[s] == UINT64_MAX)
			wrong("no WELCOME for a stream", s, acked);
		if (w.upto[s] < acked)
			wrong("less is there than was acknowledged", w.upto[s], acked);
		w.next[s] = w.upto[s] + 1;
	}
}

static void
send_batch(uint64_t s)
{
	static struct buf records;
	struct msg_batch m = {
		.stream = w.id[s], .seq = w.next[s], .partition = s, .kind = ENTRY_READINGS
	};

	make_records(&records, s, w.next[s]);
	m.records = buf_bytes(&records);
	m.acked = w.upto[s];
	shard_on_batch(w.sh, "limiter-0", &m);
	w.next[s]++;
}

/* History keeps up, and says so now and then, so that old segments go. */
static void
progress(void)
{
	struct msg_progress m = {
		.group = bytes_of_str("history"), .received = w.at, .cursor = w.at
	};

	if (w.at == 0)
		return;
	for (uint64_t s = 0; s < STREAMS; s++)
		disk_note(OP_PASSED, s, w.upto[s], 0);
	shard_on_progress(w.sh, "sink-history", &m);
}

static void
some_turns(int turns)
{
	for (int n = 0; n < turns; n++) {
		for (uint64_t s = 0; s < STREAMS; s++)
			if ((n + (int)s) % 3 != 2)
				send_batch(s);
		turn();
		if (n % 4 == 1) { /* idle: zeros are written ahead */
			pass(100000);
			turn();
		}
		if (n % 8 == 5)
			progress();
		if (n % 5 == 3) {
			pass(SECOND);
			shard_tick(w.sh);
		}
		/* What had no room is sent again, as connectivity does. */
		for (uint64_t s = 0; s < STREAMS; s++)
			w.next[s] = w.upto[s] + 1;
	}
}

static void
close_work(void)
{
	shard_close(&w.sh, w.wall);
	close(w.lock_fd);
}

static void
do_work(void)
{
	open_work();
	hello();
	some_turns(TURNS);
	close_work();
	w.mono += SECOND;
	open_work();
	hello();
	some_turns(4);
	shard_abandon(&w.sh);
	close(w.lock_fd);
}

/* --- what is promised --- */

static void
check_block(const struct block *b, uint64_t first[STREAMS], uint64_t last[STREAMS])
{
	static struct buf expected;
	struct bytes rest = b->body;
	struct entry e;

	while (entry_next(&rest, &e) == 0) {
		uint64_t s = e.partition;

		if (e.kind != ENTRY_READINGS)
			continue;
		if (s >= STREAMS || e.stream != w.id[s])
			wrong("a batch of no stream of ours", s, e.stream);
		if (last[s] && e.seq != last[s] + 1)
			wrong("a batch is missing, or there twice", last[s], e.seq);
		make_records(&expected, s, e.seq);
		if (!bytes_equal(e.body, buf_bytes(&expected)))
			wrong("a batch is not what was sent", s, e.seq);
		if (!first[s])
			first[s] = e.seq;
		last[s] = e.seq;
	}
}

/* Everything is read back. */
static void
check_all(const struct disk_known *known)
{
	struct journal_reader *r = journal_reader_new(w.sh->journal);
	uint64_t cursor = 0, first[STREAMS] = { 0 }, last[STREAMS] = { 0 };
	struct block b;
	int rc;

	while ((rc = journal_reader_next(r, cursor, &b)) == 0) {
		check_block(&b, first, last);
		cursor = b.next;
	}
	if (rc != ERR_NOT_FOUND)
		wrong("the journal is damaged where it was synced", b.offset, b.next);
	for (uint64_t s = 0; s < STREAMS; s++) {
		uint64_t acked = w.upto[s];

		if (acked > last[s] && acked > known->passed[s])
			wrong("acknowledged, and not there", acked, last[s]);
		if (first[s] > known->passed[s] + 1)
			wrong("let go before every follower had it", first[s], known->passed[s]);
	}
	journal_reader_free(&r);
}

/* Another process finds this folder. Everything that was acknowledged is there, and it goes on. */
static void
go_on(const char *root, struct disk_known known)
{
	w = (struct work){ .mono = 5000 * SECOND, .wall = 1700000100 * SECOND };
	snprintf(w.root, sizeof(w.root), "%s", root);
	memcpy(w.id, known.id, sizeof(w.id));
	memcpy(w.upto, known.acked, sizeof(w.upto));
	open_work();
	hello();
	some_turns(3);
	check_all(&known);
}

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
	go_on(v->root, v->known);
	/* Answers of the visit are recorded in the log of the disk, and the next one knows of them. */
}

static void
run_work(void *arg)
{
	(void)arg;
	disk_watch(true);
	do_work();
}

/* The work's beginning: nothing, or the folder of one that was killed within a write. */
static void
prepare_unwatched(void *arg)
{
	(void)arg;
	disk_watch(false);
	open_work();
	hello();
	some_turns(9);
	_exit(0);
}

static void
begin(const char *root)
{
	test_dir_remove(root);
	ASSERT(mkdir(root, 0700) == 0);
	w = (struct work){ .mono = 1000 * SECOND, .wall = 1700000000 * SECOND };
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
	w.mono = 3000 * SECOND;
	w.wall += 60 * SECOND;
}

static void
report(const char *mode, uint32_t at, const char *detail, const char *why, int status)
{
	broken++;
	fprintf(said, "%s: point %u (%s): %s, status %d\n", mode, at, detail, why, status);
	fflush(said);
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

static int
usage(void)
{
	fprintf(stderr,
	    "usage: points kill|fail|short|cut|failcut|list [--start fresh|recover] [--stride N] "
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
	said = fdopen(dup(2), "w");
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
	else if (strcmp(mode, "list") != 0)
		return usage();
	for (size_t i = 0; i < CALL_COUNT && strcmp(mode, "list") == 0; i++)
		printf("%s %u\n", call_names[i], disk->by_call[i]);
	test_dir_remove(base);
	printf("%u calls, %llu states, %llu wrong\n", calls, (unsigned long long)states,
	    (unsigned long long)broken);
	return broken ? 1 : 0;
}
