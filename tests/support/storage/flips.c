/* flips.c - a 1 MiB segment with one byte changed, or cut short, at every place: only the damaged block is lost, and it is told
 *
 * flips read|recover|cut|cutrecover [--stride N] [--phase N] [--seed N] [--headers]
 *   read        one bit of each byte in turn (in block headers: each bit) is flipped, and the segment read as a follower does:
 *               some blocks before and behind the damage, each 16th time all
 *   cut         the file ends at each length in turn, likewise
 *   recover     as read, for the newest segment, and the shard is opened anew each time
 *   cutrecover  as cut, likewise
 * With a stride each N-th byte or length is visited, and with --headers every byte of block headers too. */
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "err.h"
#include "journal_read.h"
#include "log.h"
#include "mem.h"
#include "record.h"
#include "shard.h"
#include "support_dir.h"

#define SECOND 1000000ll
#define SEGMENT (1u << 20)
#define TEXT_MAX 3000
#define OWNER "connectivity-0"
#define NEAR 3 /* blocks read before and behind the damage */
#define ALL_EVERY 16

struct want {
	uint64_t offset;
	uint64_t next;
	int64_t time;
	uint8_t *body;
	size_t len;
	uint64_t seq; /* of the batch in it; 0: none */
};

static char dir[64], target[160];
static struct shard *sh;
static uint64_t stream, upto;
static int64_t wall = 1700000000 * SECOND, mono = 1000 * SECOND;
static struct want *wants;
static size_t want_count;
static uint64_t base, end;		/* of the target */
static uint8_t *clean;			/* its bytes */
static uint64_t damage_from, damage_to; /* journal offsets that are not as they were */
static uint32_t stride = 1, phase;
static uint64_t seed = 1, looks, broken;
static FILE *said;
static bool reported, headers, recovers;

static void
wrong(const char *what, uint64_t at)
{
	if (broken++ < 20) {
		fprintf(said, "WRONG: bytes [%llu, %llu) of the segment: %s (at %llu)\n",
		    (unsigned long long)(damage_from - base),
		    (unsigned long long)(damage_to - base), what, (unsigned long long)(at - base));
		fflush(said);
	}
}

static void
on_answered(void *arg)
{
	(void)arg; /* it went at once */
}

static int
on_send(void *arg, const char *peer, enum msg_type type, const void *msg)
{
	(void)arg;
	(void)peer;
	if (type == MSG_WELCOME)
		stream = ((const struct msg_welcome *)msg)->stream;
	else if (type == MSG_COMMIT)
		upto = ((const struct msg_commit *)msg)->upto;
	return 0;
}

static void
open_shard(void)
{
	struct shard_config c = {
		.dir = dir,
		.shards = 1,
		.partitions = 1,
		.segment_bytes = SEGMENT,
		.segment_age_us = 3600 * SECOND,
		.quota_bytes = 64 << 20,
		.retention_us = 3600 * SECOND,
		.dedup_entries = 64,
		.dedup_window_us = 120 * SECOND,
		.mandatory = "history",
		.send = on_send,
		.answered = on_answered,
	};

	ASSERT(shard_open(&c, wall, mono, &sh) == 0);
}

static void
send_batch(uint64_t seq)
{
	static char text[TEXT_MAX];
	static struct buf records;
	uint64_t x = seq * 0x9e3779b97f4a7c15u;
	struct record head = {
		.flags = 2, .time = wall, .device = bytes_of_str("press-1"), .hash = seq
	};
	struct msg_batch m = { .stream = stream, .seq = seq, .kind = ENTRY_READINGS };
	struct record_writer w;
	size_t len = (size_t)(x >> 30) % TEXT_MAX;

	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + (x >> (i % 56)) % 26);
	buf_clear(&records);
	record_begin(&w, &records, &head);
	record_add(&w, &(struct point){ .name = bytes_of_str("text"),
			   .value = { .kind = VALUE_STRING, .v.s = bytes_of(text, len) },
			   .time = wall });
	record_end(&w);
	m.records = buf_bytes(&records);
	m.acked = upto;
	shard_on_batch(sh, "limiter-0", &m);
	mono += 1000;
	wall += 1000;
	shard_clock(sh, wall, mono);
	(void)shard_turn(sh);
	ASSERT(upto == seq);
}

/* One segment with its snapshot, another full one behind it; with a third, the second is not the newest. */
static void
fill(size_t segments)
{
	struct msg_hello hello = { .life = 1 };

	open_shard();
	shard_on_hello(sh, OWNER, &hello);
	(void)shard_turn(sh);
	while (sh->journal->segment_count < segments || journal_room(sh->journal) > 2 * TEXT_MAX)
		send_batch(upto + 1);
	if (segments == 3)
		send_batch(upto + 1);
}

static uint64_t
seq_of(struct bytes body)
{
	struct entry e;

	while (entry_next(&body, &e) == 0)
		if (e.kind == ENTRY_READINGS)
			return e.seq;
	return 0;
}

static void
remember(void)
{
	struct journal_reader *r = journal_reader_new(sh->journal);
	uint64_t cursor = 0;
	struct block b;
	int fd;

	while (journal_reader_next(r, cursor, &b) == 0) {
		wants = xrealloc(wants, (want_count + 1) * sizeof(*wants));
		wants[want_count] = (struct want){ .offset = b.offset,
			.next = b.next,
			.time = b.time,
			.body = xmalloc(b.body.len),
			.len = b.body.len,
			.seq = seq_of(b.body) };
		memcpy(wants[want_count++].body, b.body.data, b.body.len);
		cursor = b.next;
	}
	journal_reader_free(&r);
	base = sh->journal->segments[1].base;
	end = sh->journal->segments[1].end;
	snprintf(target, sizeof(target), "%s/%020llu.seg", dir, (unsigned long long)base);
	clean = xmalloc(end - base);
	fd = open(target, O_RDONLY | O_CLOEXEC);
	ASSERT(fd >= 0 && read(fd, clean, end - base) == (ssize_t)(end - base));
	close(fd);
}

/* The block that holds the first byte that is not as it was. */
static const struct want *
hit(void)
{
	size_t lo = 0, up = want_count;

	while (up - lo > 1) {
		size_t mid = lo + (up - lo) / 2;

		if (wants[mid].offset <= damage_from)
			lo = mid;
		else
			up = mid;
	}
	return &wants[lo];
}

static bool
may_be_lost(const struct want *w)
{
	return w->offset < damage_to && damage_from < w->next;
}

/* Padding behind a body is no part of anything. */
static bool
matters(const struct want *w)
{
	return damage_from < w->offset + BLOCK_HEADER_SIZE + w->len;
}

static void
on_damage(uint64_t from, uint64_t to)
{
	uint64_t limit = damage_to > hit()->next ? damage_to : hit()->next;

	reported = true;
	if (from < hit()->offset || to > limit)
		wrong("damage is reported where there is none", from);
}

/* All that is there is read, and compared. */
static void
read_all(void)
{
	struct journal_reader *r = journal_reader_new(sh->journal);
	bool all = recovers || looks % ALL_EVERY == 0;
	size_t at = (size_t)(hit() - wants), k = all || at < NEAR ? 0 : at - NEAR;
	size_t stop = all || damage_to == end || at + NEAR >= want_count ? want_count : at + NEAR;
	uint64_t cursor = wants[k].offset;
	struct block b;
	int rc;

	looks++;
	reported = false;
	while ((rc = journal_reader_next(r, cursor, &b)) != ERR_NOT_FOUND) {
		if (rc == ERR_DAMAGED) {
			on_damage(b.offset, b.next);
			cursor = b.next;
			continue;
		}
		for (; k < want_count && wants[k].offset < b.offset; k++)
			if (!may_be_lost(&wants[k]))
				wrong("another block is lost", wants[k].offset);
		cursor = b.next;
		if (k == stop)
			break; /* or what was opened after the change begins */
		if (wants[k].offset != b.offset || wants[k].next != b.next ||
		    wants[k].time != b.time || wants[k].len != b.body.len ||
		    memcmp(wants[k].body, b.body.data, b.body.len) != 0)
			wrong("what is delivered was never written", b.offset);
		k++;
	}
	for (; k < stop; k++)
		if (!may_be_lost(&wants[k]))
			wrong("another block is lost", wants[k].offset);
	journal_reader_free(&r);
}

static void
expect_report(void)
{
	if (matters(hit()) && !reported)
		wrong("the damage is not reported", damage_from);
}

/* --- changes --- */

static void
write_at(int fd, uint64_t at, uint8_t byte)
{
	ASSERT(pwrite(fd, &byte, 1, (off_t)at) == 1);
}

/* Which bits of this byte: all of a header's, one of another's; 0: not its turn. */
static unsigned
bits_of(uint64_t at)
{
	const struct want *w;

	damage_from = base + at;
	damage_to = damage_from + 1;
	w = hit();
	if (at % stride != phase && !(headers && damage_from - w->offset < BLOCK_HEADER_SIZE))
		return 0;
	if (!recovers && damage_from - w->offset < BLOCK_HEADER_SIZE)
		return 0xff;
	return 1u << ((at * 2654435761u + seed) >> 7 & 7);
}

static void
flip_read(void)
{
	int fd = open(target, O_RDWR | O_CLOEXEC);

	ASSERT(fd >= 0);
	for (uint64_t at = 0; at < end - base; at++) {
		unsigned bits = bits_of(at);

		for (unsigned bit = 1; bit < 256; bit <<= 1) {
			if (!(bits & bit))
				continue;
			write_at(fd, at, clean[at] ^ (uint8_t)bit);
			read_all();
			expect_report();
		}
		if (bits)
			write_at(fd, at, clean[at]);
	}
	close(fd);
}

static void
restore_tail(int fd, uint64_t at)
{
	ASSERT(pwrite(fd, clean + at, end - base - at, (off_t)at) == (ssize_t)(end - base - at));
}

static void
cut_read(void)
{
	int fd = open(target, O_RDWR | O_CLOEXEC);

	ASSERT(fd >= 0);
	/* From the end on, so that each cut is a truncation and nothing is written between. */
	for (uint64_t at = end - base - 1; at > 0; at--) {
		if (at % stride != phase)
			continue;
		damage_from = base + at;
		damage_to = end;
		ASSERT(ftruncate(fd, (off_t)at) == 0);
		read_all();
		expect_report();
	}
	restore_tail(fd, 0);
	close(fd);
}

/* The shard is opened with the change in its newest segment, and closed as a crash would. */
static void
recover_once(void)
{
	const struct want *w = hit();
	struct stream *st;
	uint64_t committed;
	char path[160];

	mono += SECOND;
	open_shard();
	st = stream_table_find(&sh->streams, stream);
	committed = st ? st->rx.committed : 0;
	/* Positions are in each block: only what was cut off, or the last block, takes any away. */
	if (damage_to == damage_from + 1 && w->next != end && committed != upto)
		wrong("the stream's position is lost", damage_from);
	for (size_t i = 0; i < want_count; i++)
		if (wants[i].seq > committed && wants[i].next <= damage_from)
			wrong("the stream's position is lost", wants[i].offset);
	read_all();
	for (size_t i = 2; i < sh->journal->segment_count; i++) {
		snprintf(path, sizeof(path), "%s/%020llu.seg", dir,
		    (unsigned long long)sh->journal->segments[i].base);
		unlink(path);
	}
	shard_abandon(&sh);
}

static void
flip_recover(void)
{
	int fd = open(target, O_RDWR | O_CLOEXEC);

	ASSERT(fd >= 0);
	for (uint64_t at = 0; at < end - base; at++) {
		unsigned bits = bits_of(at);

		for (unsigned bit = 1; bit < 256; bit <<= 1) {
			if (!(bits & bit))
				continue;
			write_at(fd, at, clean[at] ^ (uint8_t)bit);
			recover_once();
			if (hit()->next != end) {
				expect_report();
				write_at(fd, at, clean[at]);
			} else {
				restore_tail(fd, hit()->offset - base);
			}
		}
	}
	close(fd);
}

static void
cut_recover(void)
{
	int fd = open(target, O_RDWR | O_CLOEXEC);

	ASSERT(fd >= 0);
	for (uint64_t at = end - base - 1; at > 0; at--) {
		if (at % stride != phase)
			continue;
		damage_from = base + at;
		damage_to = end;
		ASSERT(ftruncate(fd, (off_t)at) == 0);
		recover_once();
		/* What a torn tail left is rewritten as it was. */
		ASSERT(ftruncate(fd, (off_t)(hit()->offset - base)) == 0);
		ASSERT(
		    pwrite(fd, clean + (hit()->offset - base), at - (hit()->offset - base),
			(off_t)(hit()->offset - base)) == (ssize_t)(at - (hit()->offset - base)));
	}
	close(fd);
}

int
main(int argc, char **argv)
{
	static const struct option known[] = {
		{ "stride", required_argument, NULL, 's' },
		{ "phase", required_argument, NULL, 'p' },
		{ "headers", no_argument, NULL, 'h' },
		{ "seed", required_argument, NULL, 'e' },
		{ NULL, 0, NULL, 0 },
	};
	const char *mode = "";
	int opt;

	while ((opt = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (opt == 's')
			stride = (uint32_t)strtoul(optarg, NULL, 10);
		else if (opt == 'p')
			phase = (uint32_t)strtoul(optarg, NULL, 10);
		else if (opt == 'h')
			headers = true;
		else if (opt == 'e')
			seed = strtoull(optarg, NULL, 10);
	}
	if (optind + 1 == argc)
		mode = argv[optind];
	recovers = strstr(mode, "recover") != NULL;
	if (stride == 0 || (strcmp(mode, "read") && strcmp(mode, "cut") &&
			       strcmp(mode, "recover") && strcmp(mode, "cutrecover"))) {
		fprintf(stderr,
		    "usage: flips read|cut|recover|cutrecover [--stride N] [--phase N] [--seed N] "
		    "[--headers]\n");
		return 64;
	}
	/* A million reports of damage are not read by anybody. */
	said = fdopen(dup(2), "w");
	if (!said || !freopen("/dev/null", "w", stderr))
		return 1;
	log_init("flips", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	/* Buffers are used again instead of being mapped anew for each look. */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	disk_init();
	test_dir_new(dir, sizeof(dir));
	fill(recovers ? 2 : 3);
	remember();
	if (recovers)
		shard_abandon(&sh);
	if (strcmp(mode, "read") == 0)
		flip_read();
	else if (strcmp(mode, "cut") == 0)
		cut_read();
	else if (strcmp(mode, "recover") == 0)
		flip_recover();
	else
		cut_recover();
	shard_abandon(&sh);
	test_dir_remove(dir);
	printf("%llu bytes in %zu blocks, %llu looks, %llu wrong\n",
	    (unsigned long long)(end - base), want_count, (unsigned long long)looks,
	    (unsigned long long)broken);
	return broken ? 1 : 0;
}
