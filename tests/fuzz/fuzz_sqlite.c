/* fuzz_sqlite.c - day files, rule state and outbox of any content: used as far as they go, set aside or refused
 *
 * First byte: which. A good file is made once by the module itself; the input is a list of edits: bytes of the file, its
 * length, or rows of any values. Then it is opened and everything is read and written once.
 *
 * fuzz: -max_len=512 */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "history_day.h"
#include "history_read.h"
#include "mem.h"
#include "outbox.h"
#include "rule_text.h"
#include "state.h"
#include "support.h"

#define DAY 20000
#define NOW (DAY * HISTORY_DAY_US + 3600000000ll)

static struct history_codec *codec;

/* --- history --- */

static void
day_add(struct history_day *d, int n)
{
	for (int i = 0; i < n; i++) {
		struct value v = { .kind = VALUE_DOUBLE, .v.f = 20 + i / 10.0 };
		struct value s = { .kind = VALUE_STRING,
			.v.s = bytes_of("on-off", 2 + (size_t)i % 5) };

		history_day_add(
		    d, bytes_of_str("gh-1"), bytes_of_str("t"), NOW + i * 1000000, &v, i & 1);
		history_day_add(
		    d, bytes_of_str("gh-2"), bytes_of_str("s"), NOW + i * 1000000, &s, true);
		history_day_mask(d, bytes_of_str("gh-1"), bytes_of_str("t"), NOW + i, &v, 2);
	}
}

static void
on_summary(void *arg, const struct history_summary *s)
{
	(void)arg;
	ASSERT(s->device.len <= 1 << 20 && s->metric.len <= 1 << 20);
}

static void
day_use(const char *dir)
{
	struct history_counts counts = { 0 };
	struct history_points points = { 0 };
	struct history_reader *reader = history_reader_new(dir);
	struct history_file *f = NULL;
	struct history_day *d = NULL;
	uint64_t cursors[2] = { 7, 8 }, masked = 0;

	if (history_file_open(reader, DAY, &f) == 0) {
		(void)history_file_cursors(f, 2, cursors);
		(void)history_file_points(f, bytes_of_str("gh-1"), bytes_of_str("t"), INT64_MIN,
		    INT64_MAX, &points, &masked);
		(void)history_file_points(f, bytes_of_str("gh-2"), bytes_of_str("s"), NOW,
		    NOW + 5000000, &points, &masked);
		history_points_sort(&points);
		(void)history_points_drop_copies(&points);
		(void)history_file_summaries(f, bytes_of("", 0), on_summary, NULL);
		(void)history_file_summaries(f, bytes_of_str("gh-2"), on_summary, NULL);
	}
	history_file_close(&f);
	history_reader_free(&reader);
	history_points_fini(&points);
	if (history_day_open(dir, DAY, 2, codec, &d) == 0) {
		(void)history_day_cursor(d, 1);
		day_add(d, 3);
		(void)history_day_flush(d, cursors, &counts);
		history_day_close(&d);
	}
}

static void
day_make(const char *dir)
{
	struct history_counts counts = { 0 };
	struct history_day *d = NULL;
	uint64_t cursors[2] = { 5, 6 };

	ASSERT(history_day_open(dir, DAY, 2, codec, &d) == 0);
	day_add(d, 200);
	ASSERT(history_day_flush(d, cursors, &counts) == 0);
	history_day_close(&d);
}

/* --- rule state --- */

static struct rule_index *
rules(void)
{
	static const char text[] =
	    "version: 1\ngroup: g\nrules:\n  - alert: A\n    when: t > 5\n    for: 1m\n"
	    "    clear: t < 3\n    summary: \"{device} {t}\"\n";
	struct problems problems = { 0 };
	static struct rule_file file;

	if (!file.name)
		ASSERT(rule_file_parse("g.yaml", bytes_of_str(text), &file, &problems) == 0 &&
		       file.count == 1 && file.entries[0].rule);
	return rule_index_new(&file.entries[0].rule, 1);
}

static void
on_transition(void *arg, const struct transition *t)
{
	(void)arg;
	ASSERT(strlen(t->id) == 32 && strlen(t->alert_id) == 32);
	ASSERT(t->summary.len <= TEMPLATE_TEXT_MAX);
}

static void
feed(struct engine *e, int64_t from, double v)
{
	for (int i = 0; i < 10; i++) {
		struct point p = { .name = bytes_of_str("t"),
			.value = { .kind = VALUE_DOUBLE, .v.f = v },
			.time = from + i * 30000000ll };

		engine_points(
		    e, p.time, (uint64_t)i + 1, bytes_of("gh-1x", 4 + (size_t)i % 2), &p, 1);
	}
}

static void
state_use(const char *dir)
{
	struct engine_spec spec = { .on_transition = on_transition, .devices_max = 8 };
	struct rule_index *index = rules();
	struct state *s = NULL;
	struct engine *e = NULL;
	uint64_t next;
	int err = state_open(dir, 0, &s);

	for (int try = 0; err == 0 && try < 2; try++) {
		engine_free(&e);
		e = engine_new(&spec, index);
		err = state_load(s, e, &next);
		/* It was put aside: the second time there is nothing that could be damaged. */
		ASSERT(!(err == ERR_DAMAGED && try == 1));
		if (err != ERR_DAMAGED)
			break;
		err = 0;
	}
	if (err == 0) {
		int64_t from = engine_time(e) < INT64_MAX / 2 ? engine_time(e) : NOW;

		feed(e, from, 9);
		engine_advance(e, from + 400000000, 20);
		feed(e, from + 400000000, 1);
		if (state_begin(s, e, index, 21) == 0)
			(void)state_commit(s, e);
	}
	engine_free(&e);
	state_close(&s);
	rule_index_free(&index);
}

/* --- outbox --- */

static void
on_row(void *arg, const struct outbox_row *row)
{
	(void)arg;
	(void)row;
}

static void
on_receiver(void *arg, const char *receiver)
{
	(void)arg;
	(void)receiver;
}

/* Any other error has rolled it back. */
static bool
outbox_may_commit(int err)
{
	return err == 0 || err == ERR_EXISTS;
}

static void
outbox_use(const char *dir)
{
	struct outbox_item item = { 0 };
	struct outbox *o = NULL;
	uint64_t cursors[2] = { 7, 8 };

	if (outbox_open(dir, 2, &o) == 0) {
		(void)outbox_cursor(o, 1);
		if (outbox_begin(o) == 0 && outbox_may_commit(outbox_owe(o, bytes_of_str("id-9"),
						"ops", bytes_of_str("{}"), NOW)))
			(void)outbox_commit(o, cursors);
		for (int i = 0; i < 8 && outbox_next(o, "ops", &item) == 0; i++) {
			ASSERT(strlen(item.key) < OUTBOX_KEY_MAX);
			if (i % 3 == 0)
				(void)outbox_retry(o, item.seq, item.attempts + 1, NOW, "no");
			else if (i % 3 == 1)
				(void)outbox_delivered(o, item.seq, item.attempts + 1);
			else
				(void)outbox_dead(o, item.seq, item.attempts + 1, "never");
		}
		(void)outbox_receivers(o, on_receiver, NULL);
		(void)outbox_prune(o, NOW);
		outbox_close(&o);
	}
	outbox_item_fini(&item);
	(void)outbox_list(dir, 10, on_row, NULL);
}

static void
outbox_make(const char *dir)
{
	struct outbox *o = NULL;
	uint64_t cursors[2] = { 5, 6 };
	char id[16];

	ASSERT(outbox_open(dir, 2, &o) == 0);
	ASSERT(outbox_begin(o) == 0);
	for (int i = 0; i < 6; i++) {
		snprintf(id, sizeof id, "id-%d", i);
		ASSERT(outbox_owe(o, bytes_of_str(id), i % 2 ? "ops" : "log",
			   bytes_of_str("{\"a\":1}"), NOW) == 0);
	}
	ASSERT(outbox_commit(o, cursors) == 0);
	outbox_close(&o);
}

/* --- edits --- */

static struct kind {
	const char *dir;
	const char *file;
	void (*make)(const char *dir);
	void (*use)(const char *dir);
	const char *const *inserts;
	struct buf good;
} kinds[] = {
	{ .dir = "history",
	    .file = "history/2024-10-04.db",
	    .make = day_make,
	    .use = day_use,
	    .inserts =
		(const char *const[]){
		    "INSERT OR REPLACE INTO block VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
		    "INSERT OR REPLACE INTO series VALUES(?1, ?6, ?6)",
		    "INSERT OR REPLACE INTO masked VALUES(?1, ?2, ?3, ?6)",
		    "INSERT OR REPLACE INTO cursor VALUES(?1, ?2)" } },
	{ .dir = "rules",
	    .file = "rules/p-0.db",
	    .make = state_use,
	    .use = state_use,
	    .inserts = (const char *const[]){ "INSERT OR REPLACE INTO device VALUES(?6, ?6)",
		"INSERT OR REPLACE INTO device VALUES('gh-1', ?6)",
		"INSERT OR REPLACE INTO alert SELECT 'gh-1', identity, ?1, ?2, ?3, ?4, ?5, ?1, ?2, "
		"?3 FROM rule",
		"INSERT OR REPLACE INTO position VALUES(1, ?2, ?3, ?4, ?5)" } },
	{ .dir = "notifier",
	    .file = "notifier/outbox.db",
	    .make = outbox_make,
	    .use = outbox_use,
	    .inserts =
		(const char *const[]){
		    "INSERT OR REPLACE INTO owed VALUES(?1, ?6, 'ops', ?6, 0, ?2, ?3, ?4, ?6)",
		    "INSERT OR REPLACE INTO owed VALUES(?1, 'x', ?6, ?6, ?5, ?2, ?3, ?4, ?6)",
		    "INSERT OR REPLACE INTO cursor VALUES(?1, ?2)", "PRAGMA user_version=2" } },
};

static void
read_file(const char *name, struct buf *ret)
{
	int fd = open(fuzz_path(name), O_RDONLY | O_CLOEXEC);
	struct stat st;

	ASSERT(fd >= 0 && fstat(fd, &st) == 0);
	ASSERT(read(fd, buf_reserve(ret, (size_t)st.st_size), (size_t)st.st_size) == st.st_size);
	ret->len = (size_t)st.st_size;
	close(fd);
}

static int64_t
number(struct input *in)
{
	unsigned what = input_u8(in);

	if (what < 64)
		return what - 8;
	if (what < 128)
		return NOW + (int64_t)input_u16(in) * 1000000;
	return (int64_t)input_u64(in);
}

static void
put_row(struct kind *k, struct input *in, unsigned which)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *s = NULL;
	struct bytes blob;

	ASSERT(sqlite3_open(fuzz_path(k->file), &db) == SQLITE_OK);
	if (sqlite3_prepare_v2(db, k->inserts[which % 4], -1, &s, NULL) == SQLITE_OK) {
		for (int i = 1; i <= 5 && i <= sqlite3_bind_parameter_count(s); i++)
			sqlite3_bind_int64(s, i, number(in));
		blob = input_bytes(in, input_u8(in));
		if (sqlite3_bind_parameter_count(s) >= 6) {
			if (which & 4)
				sqlite3_bind_text(
				    s, 6, (const char *)blob.data, (int)blob.len, SQLITE_TRANSIENT);
			else
				sqlite3_bind_blob(s, 6, blob.data, (int)blob.len, SQLITE_TRANSIENT);
		}
		(void)sqlite3_step(s);
	}
	sqlite3_finalize(s);
	sqlite3_close(db);
}

static void
edit(struct kind *k, struct input *in, struct buf *f)
{
	unsigned what = input_u8(in);
	size_t at = ((size_t)input_u16(in) << (what & 8 ? 2 : 0)) % (f->len + 1);
	struct bytes b = input_bytes(in, (what >> 4) + 1u);

	if (what % 8 == 7) {
		f->len = at;
	} else if (what % 8 > 3) {
		for (size_t i = 0; i < b.len && at + i < f->len; i++)
			f->data[at + i] ^= b.data[i];
	} else {
		for (size_t i = 0; i < b.len && at + i < f->len; i++)
			f->data[at + i] = b.data[i];
	}
	fuzz_write(k->file, buf_bytes(f));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct buf file;
	struct input in = input_of(data, size);
	unsigned which = input_u8(&in);
	struct kind *k = &kinds[(which & 63) % COUNT_OF(kinds)];

	fuzz_quiet();
	if (!codec)
		codec = history_codec_new();
	mkdir(fuzz_path(k->dir), 0700);
	if (!k->good.len) {
		k->make(fuzz_path(k->dir));
		read_file(k->file, &k->good);
	}
	fuzz_clear(k->dir);
	buf_clear(&file);
	buf_add(&file, k->good.data, k->good.len);
	fuzz_write(k->file, buf_bytes(&file));
	while (!input_is_over(&in)) {
		if (which & 64)
			put_row(k, &in, input_u8(&in));
		else
			edit(k, &in, &file);
	}
	k->use(fuzz_path(k->dir));
	k->use(fuzz_path(k->dir));
	return 0;
}
