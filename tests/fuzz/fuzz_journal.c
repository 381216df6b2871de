/* fuzz_journal.c - a shard's whole directory of any files: it opens, says what is lost, and goes on behind it
 *
 * The input is a list of edits of a good journal of three segments that this target makes itself: bytes overwritten, cut, or
 * put in; blocks built from any entries and sealed with right hashes; other files (clean, cursors, next.seg, copy.tmp) of any
 * content. Then it opens, or says that it cannot; a batch that is committed afterwards is there at the next start, and no stream
 * id is issued twice. (What damage may cost is tested exhaustively in tests/fault/.)
 *
 * fuzz: -max_len=1024 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "mem.h"
#include "record.h"
#include "shard.h"
#include "support.h"

#define SEGMENTS 3
#define BLOCKS_OF_SEGMENT 4
#define FILE_BYTES 4096 /* written of each segment */
#define WALL 1700000000000000

static struct {
	struct buf file[SEGMENTS]; /* of the good journal */
	uint64_t base[SEGMENTS];
	struct buf edited[SEGMENTS];
	uint64_t stream, committed;
	int64_t now;
} x;

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
	if (type == MSG_WELCOME) {
		x.stream = ((const struct msg_welcome *)msg)->stream;
		x.committed = ((const struct msg_welcome *)msg)->upto;
	} else if (type == MSG_COMMIT) {
		if (((const struct msg_commit *)msg)->stream == x.stream)
			x.committed = ((const struct msg_commit *)msg)->upto;
	}
	return 0;
}

static int
open_shard(struct shard **ret_shard)
{
	struct shard_config config = { .dir = fuzz_path("shard"),
		.shards = 1,
		.partitions = 4,
		.segment_bytes = JOURNAL_SEGMENT_MIN,
		.segment_age_us = 3600000000ll,
		.quota_bytes = 64 << 20,
		.retention_us = 3600000000ll,
		.dedup_entries = 16,
		.dedup_window_us = 3600000000ll,
		.mandatory = "rules,history",
		.send = on_send,
		.answered = on_answered };
	int r;

	x.now += 1000000;
	r = shard_open(&config, WALL + x.now, x.now, ret_shard);
	if (r == 0)
		shard_clock(*ret_shard, WALL + x.now, x.now);
	return r;
}

static void
hello(struct shard *s, uint64_t life)
{
	shard_on_hello(s, "connectivity-0", &(struct msg_hello){ .life = life, .partition = 1 });
	(void)shard_turn(s);
}

static void
append(struct shard *s, uint64_t n)
{
	struct buf records = { 0 };
	struct record_writer w;

	record_begin(&w, &records,
	    &(struct record){ .time = 1,
		.verdict = n % 3 == 0 ? verdict_make(VERDICT_DEVICE_LIMIT, 9) : 0,
		.client = n,
		.packet_id = 1,
		.hash = n,
		.device = bytes_of_str("gh-1") });
	record_add(&w, &(struct point){ .name = bytes_of_str("n"),
			   .value = { .kind = VALUE_INT, .v.i = (int64_t)n },
			   .time = 1 });
	record_end(&w);
	shard_on_batch(s, "connectivity-0",
	    &(struct msg_batch){ .stream = x.stream,
		.seq = x.committed + 1,
		.partition = 1,
		.kind = ENTRY_READINGS,
		.records = buf_bytes(&records) });
	(void)shard_turn(s);
	buf_fini(&records);
}

/* A segment each from a start of its own. */
static void
make_good(void)
{
	for (int i = 0; i < SEGMENTS; i++) {
		char name[64] = "shard/";
		struct shard *s;
		ssize_t n;
		int fd;

		ASSERT(open_shard(&s) == 0);
		hello(s, 1);
		for (uint64_t b = 0; b < BLOCKS_OF_SEGMENT; b++)
			append(s, (uint64_t)i * BLOCKS_OF_SEGMENT + b + 1);
		ASSERT(x.committed == (uint64_t)(i + 1) * BLOCKS_OF_SEGMENT);
		x.base[i] = s->journal->segments[s->journal->segment_count - 1].base;
		journal_segment_name(x.base[i], name + strlen(name));
		shard_abandon(&s);
		fd = open(fuzz_path(name), O_RDONLY | O_CLOEXEC);
		ASSERT(fd >= 0);
		n = read(fd, buf_reserve(&x.file[i], FILE_BYTES), FILE_BYTES);
		ASSERT(n == FILE_BYTES);
		x.file[i].len = FILE_BYTES;
		close(fd);
	}
}

/* A block whose hashes are right, of any entries, in place of what stands at `at`. */
static void
put_block(struct input *in, unsigned seg, size_t at)
{
	static struct buf block;
	unsigned n = input_u8(in) % 4 + 1, kind;
	int64_t time = WALL + (int64_t)input_u16(in) * 1000000;

	at = at / BLOCK_ALIGN * BLOCK_ALIGN;
	block_begin(&block);
	for (unsigned i = 0; i < n; i++) {
		kind = input_u8(in);
		entry_put(&block, &(struct entry){ .kind = kind & 64  ? kind & 63
							   : kind % 2 ? ENTRY_STREAM
								      : ENTRY_SEGMENT,
				      .partition = input_u8(in),
				      .stream = input_u8(in),
				      .seq = input_u16(in),
				      .body = input_bytes(in, input_u8(in) % 128) });
	}
	block_seal(&block, x.base[seg] + at, time, n);
	if (at + block.len > FILE_BYTES)
		return;
	if (x.edited[seg].len < at + block.len) {
		size_t more = at + block.len - x.edited[seg].len;

		memset(buf_reserve(&x.edited[seg], more), 0, more);
		x.edited[seg].len += more;
	}
	memcpy(x.edited[seg].data + at, block.data, block.len);
}

static void
edit(struct input *in)
{
	static const char *const others[] = { "shard/clean", "shard/cursors", "shard/next.seg",
		"shard/copy.tmp", "shard/00000000000000000000.seg", "shard/1.seg" };
	unsigned what = input_u8(in), seg = (what >> 3) % SEGMENTS;
	size_t at = input_u16(in) % FILE_BYTES;
	struct buf *f = &x.edited[seg];
	struct bytes b;

	switch (what % 8) {
	case 0:
	case 1:
		b = input_bytes(in, input_u8(in));
		for (size_t i = 0; i < b.len && at + i < f->len; i++)
			f->data[at + i] ^= b.data[i];
		break;
	case 2:
		f->len = at < f->len ? at : f->len;
		break;
	case 3:
		f->len = 0;
		f->failed = true; /* as a mark: the file is gone */
		break;
	case 4:
	case 5:
	case 6:
		put_block(in, seg, at);
		break;
	default:
		fuzz_write(others[at % COUNT_OF(others)], input_block(in));
		break;
	}
}

static void
write_all(void)
{
	for (unsigned i = 0; i < SEGMENTS; i++) {
		char name[64] = "shard/";

		journal_segment_name(x.base[i], name + strlen(name));
		if (!x.edited[i].failed)
			fuzz_write(name, buf_bytes(&x.edited[i]));
	}
}

/* A crash; the zeros behind the open segment's blocks are cut, since reading them takes most of the time. */
static void
abandon(struct shard **s)
{
	char name[64] = "shard/";
	const struct journal *j = (*s)->journal;
	const struct journal_segment *seg = &j->segments[j->segment_count - 1];

	journal_segment_name(seg->base, name + strlen(name));
	ASSERT(
	    truncate(fuzz_path(name), (off_t)((seg->end - seg->base + 4095) / 4096 * 4096)) == 0);
	shard_abandon(s);
}

static void
check(void)
{
	struct shard *s = NULL;
	uint64_t before, issued;
	int r = open_shard(&s);

	ASSERT(r == 0 || r == ERR_IO || r == ERR_CONFIG);
	if (r != 0)
		return;
	x.stream = x.committed = 0;
	/* The newest life of all, so that no edited stream stands before it. */
	hello(s, UINT64_MAX);
	if (x.stream && journal_is_writable(s->journal)) {
		before = x.committed;
		append(s, 1000);
		ASSERT(x.committed == before + 1 || s->closed);
		before = x.committed;
		issued = s->streams.issued;
		abandon(&s);
		ASSERT(open_shard(&s) == 0);
		ASSERT(s->streams.issued >= issued);
		hello(s, UINT64_MAX);
		ASSERT(x.committed == before);
	}
	shard_tick(s);
	shard_close(&s, WALL + x.now);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	struct input in = input_of(data, size);

	fuzz_quiet();
	mkdir(fuzz_path("shard"), 0700);
	if (!made)
		make_good();
	made = true;
	fuzz_clear("shard");
	x.now = 1000000000;
	for (unsigned i = 0; i < SEGMENTS; i++) {
		buf_clear(&x.edited[i]);
		x.edited[i].failed = false;
		buf_add(&x.edited[i], x.file[i].data, x.file[i].len);
	}
	while (!input_is_over(&in))
		edit(&in);
	write_all();
	check();
	return 0;
}
