/* fuzz_follower.c - a follower whose storage says anything: blocks arrive in order, and only once, whatever comes
 *
 * First byte: shared or not. Then steps: a frame of any bytes, a DELIVER or ASSIGN that is nearly right, the link going and
 * coming, time.
 *
 * fuzz: -max_len=1024 */
#include "fake_bus.h"

#include "follower.h"
#include "record.h"
#include "support.h"

static struct {
	struct worker w;
	struct follower *f;
	uint64_t next; /* end of the last block that was taken */
	uint64_t cursor;
	uint64_t epoch;
	uint64_t number; /* of the last SUBSCRIBE */
	uint64_t assigned;
	struct buf frame;
} x;

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct bytes rest = v->entries;
	struct entry e;

	(void)arg;
	ASSERT(shard == 0);
	/* It never goes back behind what was taken, but where the owner itself asked to. */
	ASSERT(v->offset >= x.next && v->next > v->offset);
	x.next = v->next;
	while (entry_next(&rest, &e) == 0) {
		struct record_cursor c = record_cursor_of(e.body);
		struct record r;

		while (e.kind == ENTRY_READINGS && record_next(&c, &r) == 0) {
		}
	}
}

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	(void)arg;
	(void)end;
	ASSERT(shard == 0 && upto >= x.next);
	x.cursor = upto;
}

static void
on_assign(
    void *arg, uint32_t shard, uint64_t epoch, const uint32_t *partitions, size_t n, uint64_t end)
{
	uint64_t offsets[1024];

	(void)arg;
	ASSERT(shard == 0 && n <= COUNT_OF(offsets));
	for (size_t i = 0; i < n; i++)
		offsets[i] = end % 1000 + i;
	x.epoch = epoch;
	x.assigned++;
	x.next = 0;
	if (epoch % 4)
		follower_resume(x.f, shard, epoch, partitions, offsets, n);
}

static void
on_skipped(void *arg, uint32_t shard, uint64_t from, uint64_t to)
{
	(void)arg;
	(void)shard;
	(void)from;
	(void)to;
}

static uint64_t
cursor(void *arg, uint32_t shard)
{
	(void)arg;
	(void)shard;
	return x.cursor;
}

static const struct follower_spec own = { .group = "history",
	.kinds = KIND_BIT(ENTRY_READINGS),
	.on_block = on_block,
	.on_upto = on_upto,
	.on_skipped = on_skipped,
	.cursor = cursor };
static const struct follower_spec shared = { .group = "rules",
	.shared = true,
	.kinds = KIND_BIT(ENTRY_READINGS),
	.on_block = on_block,
	.on_upto = on_upto,
	.on_assign = on_assign };

static void
on_send(struct bus_link *link, const char *peer, enum msg_type type, const void *msg)
{
	(void)link;
	ASSERT(peer == NULL);
	if (type == MSG_SUBSCRIBE) {
		x.number = ((const struct msg_subscribe *)msg)->number;
		/* It reads again from the cursor. */
		x.next = 0;
	}
}

static struct bytes
nearly(struct input *in, bool is_shared)
{
	static struct buf views;
	unsigned kind = input_u8(in);
	uint64_t at = kind & 4 ? input_u8(in) : x.cursor, from = at;

	buf_clear(&x.frame);
	buf_clear(&views);
	if (kind % 4 == 3) {
		u64s_add(&views, input_u8(in));
		codec_encode(MSG_ASSIGN,
		    &(struct msg_assign){ .epoch = input_u8(in),
			.partitions = buf_bytes(&views),
			.end = input_u8(in) },
		    &x.frame);
		return buf_bytes(&x.frame);
	}
	for (unsigned n = input_u8(in) % 6; n > 0; n--) {
		unsigned gap = input_u8(in);
		struct block_view v = { .offset = at + gap % 4,
			.next = at + gap % 4 + gap / 4,
			.entries = input_bytes(in, input_u8(in) % 64) };

		view_put(&views, &v);
		at = v.next;
	}
	codec_encode(MSG_DELIVER,
	    &(struct msg_deliver){ .epoch = kind & 8	? input_u8(in)
					    : is_shared ? x.epoch
							: x.number,
		.blocks = buf_bytes(&views),
		.from = from,
		.upto = kind & 16 ? input_u8(in) : at,
		.end = at },
	    &x.frame);
	return buf_bytes(&x.frame);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct worker_spec spec = { .name = "sink" };
	static struct settings *settings;
	struct input in = input_of(data, size);
	bool is_shared = input_u8(&in) & 1;
	struct bus_link *link;

	if (!settings) {
		fuzz_quiet();
		settings = settings_new();
	}
	x.next = x.cursor = x.epoch = x.number = x.assigned = 0;
	fake_bus_on_send = on_send;
	memset(&x.w, 0, sizeof x.w);
	ASSERT(worker_tool_start(&x.w, &spec, "sink-history", settings) == 0);
	x.f = follower_new(&x.w, is_shared ? &shared : &own, NULL);
	ASSERT(x.f);
	link = follower_link(x.f, 0);
	fake_bus_turn_link(link, true);
	while (!input_is_over(&in)) {
		unsigned what = input_u8(&in);

		if (what % 8 < 3)
			(void)fake_bus_deliver(link, "storage-0", nearly(&in, is_shared));
		else if (what % 8 == 3)
			(void)fake_bus_deliver(link, "storage-0", input_block(&in));
		else if (what % 8 == 4)
			fake_bus_turn_link(link, what & 8);
		else if (what % 8 == 5)
			follower_pause(x.f, what & 8);
		else if (what % 8 == 6)
			follower_durable(x.f, 0, x.cursor);
		else
			follower_restart(x.f, 0);
	}
	follower_free(&x.f);
	worker_tool_stop(&x.w);
	return 0;
}
