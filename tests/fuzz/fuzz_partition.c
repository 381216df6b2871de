/* fuzz_partition.c - a partition of rules whose storage says anything: its journal's entries, and answers to its alerts
 *
 * Steps: a block with readings, alerts or any bytes at any time; WELCOME, COMMIT, GAP, FENCED that are nearly right; turns, in
 * which snapshots are taken. An alert counts as durable only after a COMMIT of its own stream, or when the journal has it; the
 * snapshot that is on disk never stands behind a block whose alert is not.
 *
 * fuzz: -max_len=1024 */
#include "fake_bus.h"

#include <sys/stat.h>

#include "partition.h"
#include "record.h"
#include "rule_text.h"
#include "support.h"

#define START 1700000000000000

static struct {
	struct worker w;
	struct room room;
	struct bus_link *link;
	struct partition *p;
	uint64_t stream, seq, committed, offset;
	int64_t time;
	struct buf entries, body;
} x;

static const char rules[] =
    "version: 1\ngroup: g\nrules:\n  - alert: A\n    when: t > 5\n    clear: t < 3\n    summary: "
    "\"{device} {t}\"\n"
    "  - alert: B\n    when: u > 1 and t > 0\n    for: 2s\n    summary: x\n";

static void
on_send(struct bus_link *link, const char *peer, enum msg_type type, const void *msg)
{
	const struct msg_batch *b = msg;
	enum msg_type inner;
	union msg_any any;

	(void)link;
	ASSERT(peer == NULL);
	if (type != MSG_STREAM_BATCH)
		return;
	ASSERT(b->kind == ENTRY_ALERT && b->stream && b->seq);
	ASSERT(codec_decode(b->records, &inner, &any) == 0 && inner == MSG_ALERT);
	x.seq = b->seq > x.seq ? b->seq : x.seq;
}

static void
put_readings(struct input *in)
{
	unsigned n = input_u8(in) % 6;

	buf_clear(&x.body);
	for (; n > 0; n--) {
		unsigned what = input_u8(in);
		struct record head = { .time = x.time,
			.verdict = what & 64 ? verdict_make(VERDICT_COPY, 0) : 0,
			.device = bytes_of("gh-12", 4 + (what & 1)) };
		struct record_writer w;

		record_begin(&w, &x.body, &head);
		record_add(
		    &w, &(struct point){ .name = bytes_of(what & 2 ? "t" : "u", 1),
			    .value = { .kind = VALUE_DOUBLE, .v.f = (double)(what >> 2 & 15) - 2 },
			    .time = what & 128 ? x.time - input_u16(in) * 1000000ll : x.time });
		record_end(&w);
	}
}

static void
put_alert(struct input *in)
{
	char id[33], alert_id[33];
	unsigned what = input_u8(in);

	snprintf(id, sizeof id, "%032x", input_u8(in));
	snprintf(alert_id, sizeof alert_id, "%032x", what & 3);
	buf_clear(&x.body);
	codec_encode(MSG_ALERT,
	    &(struct msg_alert){ .id = bytes_of(id, what & 4 ? 32 : input_u8(in) % 33),
		.alert_id = bytes_of(alert_id, what & 8 ? 32 : 5),
		.rule = bytes_of_str("A"),
		.group = bytes_of_str("g"),
		.device = bytes_of_str("gh-1"),
		.state = what >> 4 & 3,
		.severity = bytes_of_str(what & 64 ? "critical" : "?"),
		.at = x.time,
		.since = x.time },
	    &x.body);
}

static void
block(struct input *in)
{
	unsigned what = input_u8(in);
	struct block_view v = { .offset = x.offset, .next = x.offset + 8 };
	struct entry e = { .kind = ENTRY_READINGS, .partition = 0 };
	struct bytes rest;

	x.time += what & 1 ? input_u16(in) * 1000ll : 100000;
	v.time = x.time;
	if (what % 8 < 4) {
		put_readings(in);
	} else if (what % 8 < 6) {
		e.kind = ENTRY_ALERT;
		put_alert(in);
	} else if (what % 8 == 6) {
		struct bytes b = input_block(in);

		e.kind = what & 16 ? ENTRY_ALERT : what & 32 ? ENTRY_READINGS : input_u8(in);
		buf_clear(&x.body);
		buf_add(&x.body, b.data, b.len);
	} else {
		e.kind = ENTRY_TICK;
		buf_clear(&x.body);
	}
	e.body = buf_bytes(&x.body);
	buf_clear(&x.entries);
	entry_put(&x.entries, &e);
	rest = v.entries = buf_bytes(&x.entries);
	while (entry_next(&rest, &e) == 0)
		partition_entry(x.p, &v, &e);
	x.offset += 8;
	partition_reached(x.p, x.offset, what & 64 ? x.offset : x.offset + 100);
}

static void
answer(struct input *in)
{
	struct emit *e = x.p->emit;
	unsigned what = input_u8(in);
	uint64_t seq = what & 8 ? x.seq : x.committed + input_u8(in) % 3,
		 stream = what & 16 ? 3 : x.stream;
	size_t waiting = emit_waiting(e);
	bool taken;

	switch (what % 4) {
	case 0:
		if (x.stream == 0)
			stream = 7;
		taken = emit_welcome(e, &(struct msg_welcome){ .life = x.w.life,
					    .partition = what & 64 ? 1 : 0,
					    .stream = stream,
					    .upto = seq,
					    .window = 64,
					    .window_bytes = 1 << 20 });
		if (taken) {
			x.committed = e ? seq : 0;
			x.seq = stream == x.stream ? x.seq : 0;
			x.stream = stream;
		}
		break;
	case 1:
		taken = emit_commit(
		    e, &(struct msg_commit){
			   .stream = stream, .upto = seq, .window = 64, .window_bytes = 1 << 20 });
		if (taken && seq > x.committed && seq <= x.seq)
			x.committed = seq;
		ASSERT(taken || emit_waiting(e) == waiting);
		break;
	case 2:
		(void)emit_gap(e, &(struct msg_gap){ .stream = stream, .next = seq });
		break;
	default:
		(void)emit_fenced(
		    e, &(struct msg_fenced){ .stream = stream, .life = what & 32 ? x.w.life : 0 });
		break;
	}
	ASSERT(emit_sent(e) <= emit_waiting(e));
}

static void
turn(void)
{
	uint64_t durable = x.p->durable;

	if (partition_turn(x.p) == 0)
		ASSERT(x.p->durable >= durable && x.p->durable <= x.offset);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct worker_spec spec = { .name = "rules" };
	static struct settings *settings;
	static struct rule_file file;
	static struct problems problems;
	struct rule *all[4];
	struct rule_index *index;
	struct input in = input_of(data, size);

	if (!settings) {
		fuzz_quiet();
		settings = settings_new();
		ASSERT(rule_file_parse("g.yaml", bytes_of_str(rules), &file, &problems) == 0 &&
		       file.count == 2);
	}
	for (size_t i = 0; i < file.count; i++)
		all[i] = file.entries[i].rule;
	index = rule_index_new(all, file.count);
	mkdir(fuzz_path("rules"), 0700);
	fuzz_clear("rules");
	memset(&x.w, 0, sizeof x.w);
	fake_bus_on_send = on_send;
	ASSERT(worker_tool_start(&x.w, &spec, "rules-0", settings) == 0);
	x.w.life = 5;
	ASSERT(bus_connect(x.w.bus, "shard-0", &x.link) == 0);
	x.link->up = true;
	x.stream = x.seq = x.committed = 0;
	x.offset = 1000;
	x.time = START;
	ASSERT(partition_open(&x.w, fuzz_path("rules"), 0, 0, &x.room, x.link, index, 9,
		   input_u8(&in) % 2 ? 1100 : 0, &x.p) == 0);
	while (!input_is_over(&in)) {
		unsigned what = input_u8(&in);

		if (what % 8 < 4)
			block(&in);
		else if (what % 8 < 6)
			answer(&in);
		else
			turn();
	}
	partition_flush(x.p);
	partition_close(&x.p);
	worker_tool_stop(&x.w);
	rule_index_free(&index);
	return 0;
}
