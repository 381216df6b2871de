/* fuzz_entries.c - blocks of any content, as the journal might hold them, into history, rules and the state map
 *
 * First a plan: whole entries of any bytes, or records put together from the input. What history takes it gives back, and no
 * more of it than came.
 *
 * fuzz: -max_len=2048 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "entry.h"
#include "err.h"
#include "history_read.h"
#include "history_store.h"
#include "mem.h"
#include "rule_text.h"
#include "state_map.h"
#include "support.h"

#define NOW 1700000000000000

static struct buf entries, body;
static size_t points;

static void
on_transition(void *arg, const struct transition *t)
{
	(void)arg;
	ASSERT(t->summary.len <= TEMPLATE_TEXT_MAX);
}

static struct value
any_value(struct input *in)
{
	unsigned what = input_u8(in);
	struct value v = { .kind = (enum value_kind)(what % 4) };
	uint64_t bits;

	if (v.kind == VALUE_DOUBLE && what & 8) {
		bits = input_u64(in);
		memcpy(&v.v.f, &bits, sizeof bits);
	} else if (v.kind == VALUE_DOUBLE) {
		v.v.f = (what >> 2) / 4.0;
	} else if (v.kind == VALUE_INT) {
		v.v.i = what & 8 ? (int64_t)input_u64(in) : (int64_t)(what >> 4) - 4;
	} else if (v.kind == VALUE_BOOL) {
		v.v.b = what & 8;
	} else {
		v.v.s = input_bytes(in, what >> 2);
	}
	return v;
}

static void
put_records(struct input *in)
{
	for (unsigned n = input_u8(in) % 4 + 1; n > 0; n--) {
		unsigned what = input_u8(in);
		struct record head = { .time = what & 1 ? (int64_t)input_u64(in)
							: NOW + input_u16(in) * 1000ll,
			.flags = (what & 2 ? RECORD_DEVICE_TIME : 0) |
				 (what & 4 ? RECORD_UNDECODABLE : 0),
			.verdict =
			    what & 8
				? verdict_make(what & 16 ? VERDICT_COPY : VERDICT_GLOBAL_LIMIT, 3)
				: 0,
			.device = bytes_of("gh-123456", 1 + (what >> 5)) };
		struct record_writer w;

		record_begin(&w, &body, &head);
		for (unsigned k = input_u8(in) % 4; k > 0; k--) {
			unsigned kind = input_u8(in);

			record_add(
			    &w, &(struct point){ .name = bytes_of("tuvwxyz", 1 + kind % 6),
				    .value = any_value(in),
				    .time = kind & 8 ? (int64_t)input_u64(in) : head.time + kind,
				    .reason = kind & 128 ? kind & 7 : 0 });
			points++;
		}
		record_end(&w);
	}
}

static void
make_entries(struct input *in)
{
	buf_clear(&entries);
	points = 0;
	while (!input_is_over(in)) {
		unsigned what = input_u8(in);
		struct bytes b;

		buf_clear(&body);
		if (what % 4) {
			put_records(in);
		} else {
			b = input_block(in);
			buf_add(&body, b.data, b.len);
			points += b.len;
		}
		if (what == 0)
			buf_add(&entries, body.data, body.len); /* not even an entry */
		else
			entry_put(&entries,
			    &(struct entry){ .kind = what & 8 ? what >> 4 : ENTRY_READINGS,
				.body = buf_bytes(&body) });
	}
}

static void
on_summary(void *arg, const struct history_summary *s)
{
	*(uint64_t *)arg += s->count + s->masked;
}

static void
to_history(void)
{
	struct block_view v = {
		.offset = 8, .next = 16, .time = NOW, .entries = buf_bytes(&entries)
	};
	struct history_store *s;
	struct history_reader *reader;
	struct history_file *f;
	uint64_t stored = 0;
	int64_t *days = NULL;
	size_t n = 0;

	ASSERT(history_store_open(fuzz_path("history"), 1, &s) == 0);
	ASSERT(history_store_block(s, 0, &v) == 0);
	ASSERT(history_store_seen(s, 0) == 16);
	ASSERT(history_store_waiting(s) <= points);
	/* Each day is a file: few are enough. */
	if (history_store_days_waiting(s) <= 2) {
		ASSERT(history_store_flush(s) == 0);
		ASSERT(history_store_cursor(s, 0) == 16);
		history_store_close(&s);
		ASSERT(history_read_days(fuzz_path("history"), &days, &n) == 0);
		reader = history_reader_new(fuzz_path("history"));
		for (size_t i = 0; i < n; i++) {
			f = NULL;
			ASSERT(history_file_open(reader, days[i], &f) == 0);
			ASSERT(
			    history_file_summaries(f, bytes_of("", 0), on_summary, &stored) == 0);
			history_file_close(&f);
		}
		history_reader_free(&reader);
		ASSERT(stored <= points);
		free(days);
	} else {
		history_store_close(&s);
	}
	fuzz_clear("history");
}

static void
to_rules_and_state(void)
{
	static const char text[] = "version: 1\ngroup: g\nrules:\n  - alert: A\n    when: t > 5 or "
				   "tu > 1\n    clear: t < 3\n"
				   "    summary: \"{device} {t} {tu}\"\n";
	static struct rule_file file;
	static struct problems problems;
	struct engine_spec spec = { .on_transition = on_transition, .devices_max = 4 };
	struct bytes rest = buf_bytes(&entries);
	struct state_map map;
	struct rule_index *index;
	struct engine *engine;
	struct entry e;

	if (!file.name)
		ASSERT(rule_file_parse("g.yaml", bytes_of_str(text), &file, &problems) == 0 &&
		       file.entries[0].rule);
	index = rule_index_new(&file.entries[0].rule, 1);
	engine = engine_new(&spec, index);
	state_map_init(&map);
	while (entry_next(&rest, &e) == 0) {
		struct record_cursor c = record_cursor_of(e.body);
		struct record r;

		while (record_next(&c, &r) == 0) {
			struct point_cursor pc = point_cursor_of(&r);
			struct point p;

			(void)engine_record(engine, NOW, 8, &r);
			while (point_next(&pc, &p) == 0)
				(void)state_map_put(&map, state_map_device(&map, r.device), p.name,
				    &p.value, p.time);
		}
	}
	engine_advance(engine, NOW + 86400000000ll, 9);
	engine_free(&engine);
	rule_index_free(&index);
	state_map_fini(&map);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);

	fuzz_quiet();
	make_entries(&in);
	to_history();
	to_rules_and_state();
	return 0;
}
