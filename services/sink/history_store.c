/* history_store.c - history as a whole: journal blocks in, day files out, and where it stands in each shard */
#include "history_store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "history_clock.h"
#include "history_erase.h"
#include "history_pack.h"
#include "history_sql.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "record.h"
#include "room.h"

#define PATH_LEN 512

struct open_day {
	struct history_day *day;
	uint64_t used; /* grows; the least is closed first */
};

struct history_store {
	char dir[PATH_LEN - 64];
	char meta_path[PATH_LEN];
	sqlite3 *meta;
	sqlite3_stmt *set_cursor;
	struct history_codec *codec;
	uint32_t shards;
	uint64_t *durable; /* what meta.sqlite says */
	uint64_t *seen;
	struct open_day *days;
	size_t day_count;
	size_t day_cap;
	uint64_t uses;
	size_t waiting;
	int64_t believed; /* retention's time (history_clock.h) */
	bool believes;	  /* it is known */
	bool kept;	  /* what was told last is in meta.sqlite */
};

/* --- meta.sqlite --- */

static int
load_cursors(struct history_store *s)
{
	sqlite3_stmt *stmt;
	int err = sql_prepare(s->meta, s->meta_path, "SELECT shard, upto FROM cursor", &stmt), code;

	if (err != 0)
		return err;
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t shard = sqlite3_column_int64(stmt, 0);

		if (shard >= 0 && shard < s->shards)
			s->durable[shard] = s->seen[shard] =
			    (uint64_t)sqlite3_column_int64(stmt, 1);
	}
	if (code != SQLITE_DONE)
		err = sql_fail(s->meta, s->meta_path, "reading cursors");
	sqlite3_finalize(stmt);
	return err;
}

static int
save_cursors(struct history_store *s)
{
	int err;

	if (memcmp(s->durable, s->seen, s->shards * sizeof(s->seen[0])) == 0)
		return 0;
	if ((err = sql_exec(s->meta, s->meta_path, "BEGIN IMMEDIATE")) != 0)
		return err;
	for (uint32_t shard = 0; err == 0 && shard < s->shards; shard++) {
		sqlite3_bind_int64(s->set_cursor, 1, shard);
		sqlite3_bind_int64(s->set_cursor, 2, (int64_t)s->seen[shard]);
		err = sql_run(s->meta, s->meta_path, s->set_cursor);
	}
	if (err == 0)
		err = sql_exec(s->meta, s->meta_path, "COMMIT");
	if (err == 0)
		memcpy(s->durable, s->seen, s->shards * sizeof(s->seen[0]));
	return err;
}

static int
load_clock(struct history_store *s)
{
	sqlite3_stmt *stmt;
	int code, err = sql_exec(s->meta, s->meta_path,
		      "CREATE TABLE IF NOT EXISTS clock(one INTEGER PRIMARY KEY CHECK(one = 1),"
		      " believed INTEGER NOT NULL)");

	if (err == 0)
		err = sql_prepare(s->meta, s->meta_path, "SELECT believed FROM clock", &stmt);
	if (err != 0)
		return err;
	code = sqlite3_step(stmt);
	if (code == SQLITE_ROW) {
		s->believes = true;
		s->believed = sqlite3_column_int64(stmt, 0);
	} else if (code != SQLITE_DONE) {
		err = sql_fail(s->meta, s->meta_path, "reading retention's time");
	}
	sqlite3_finalize(stmt);
	return err;
}

static int
open_meta(struct history_store *s)
{
	int err = sql_open(s->meta_path,
	    "CREATE TABLE cursor(shard INTEGER PRIMARY KEY, upto INTEGER NOT NULL)", &s->meta);

	if (err == 0)
		err = load_clock(s);
	if (err != 0)
		return err;
	err = sql_prepare(s->meta, s->meta_path,
	    "INSERT INTO cursor(shard, upto) VALUES(?1, ?2)"
	    " ON CONFLICT(shard) DO UPDATE SET upto=?2",
	    &s->set_cursor);
	return err != 0 ? err : load_cursors(s);
}

static void
close_meta(struct history_store *s)
{
	sqlite3_finalize(s->set_cursor);
	sqlite3_close(s->meta);
	s->set_cursor = NULL;
	s->meta = NULL;
}

int
history_store_open(const char *dir, uint32_t shards, struct history_store **ret_store)
{
	struct history_store *s;
	int err;

	if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
		if (room_is_lacking(errno))
			return ERR_NO_ROOM;
		log_error("history.mkdir", LS("dir", dir), LS("fault", strerror(errno)));
		return ERR_IO;
	}
	s = xcalloc(1, sizeof(*s));
	s->codec = history_codec_new();
	s->shards = shards;
	s->durable = xcalloc(shards, sizeof(s->durable[0]));
	s->seen = xcalloc(shards, sizeof(s->seen[0]));
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	snprintf(s->meta_path, sizeof(s->meta_path), "%s/" HISTORY_META, s->dir);
	err = open_meta(s);
	if (err == ERR_DAMAGED) { /* the day files' cursors drop what will be read again */
		close_meta(s);
		sql_set_aside(s->meta_path);
		err = open_meta(s);
	}
	if (err != 0) {
		history_store_close(&s);
		return err;
	}
	*ret_store = s;
	return 0;
}

void
history_store_close(struct history_store **p_s)
{
	struct history_store *s = *p_s;

	if (s == NULL)
		return;
	*p_s = NULL;
	for (size_t i = 0; i < s->day_count; i++)
		history_day_close(&s->days[i].day);
	close_meta(s);
	history_codec_free(&s->codec);
	free(s->durable);
	free(s->seen);
	free(s->days);
	free(s);
}

uint64_t
history_store_cursor(const struct history_store *s, uint32_t shard)
{
	return shard < s->shards ? s->durable[shard] : 0;
}

uint64_t
history_store_seen(const struct history_store *s, uint32_t shard)
{
	return shard < s->shards ? s->seen[shard] : 0;
}

size_t
history_store_waiting(const struct history_store *s)
{
	return s->waiting;
}

/* --- days --- */

static void
close_day(struct history_store *s, size_t i)
{
	history_day_close(&s->days[i].day);
	s->days[i] = s->days[--s->day_count];
}

/* Closes days without waiting points, those not used for longest first, until no more than HISTORY_DAYS_OPEN are left. */
static void
trim_days(struct history_store *s)
{
	size_t series = 0;

	for (size_t i = 0; i < s->day_count; i++)
		series += history_day_series(s->days[i].day);
	while (
	    s->day_count > HISTORY_DAYS_OPEN || (series > HISTORY_SERIES_MAX && s->day_count > 0)) {
		size_t least = s->day_count;

		for (size_t i = 0; i < s->day_count; i++)
			if (history_day_waiting(s->days[i].day) == 0 &&
			    (least == s->day_count || s->days[i].used < s->days[least].used))
				least = i;
		if (least == s->day_count)
			return;
		series -= history_day_series(s->days[least].day);
		close_day(s, least);
	}
}

/* What of this day was packed is not taken again, should the journal be read from further back, or a device send it again. */
static void
know_pack(struct history_store *s, struct history_day *day)
{
	struct history_pack *p;

	if (history_pack_open(s->dir, history_pack_month(history_day_number(day)), &p) == 0)
		history_day_packed(day, &p);
}

static int
find_day(struct history_store *s, int64_t number, struct history_day **ret_day)
{
	struct open_day *o;
	int err;

	for (size_t i = s->day_count; i-- > 0;) {
		if (history_day_number(s->days[i].day) == number) {
			s->days[i].used = ++s->uses;
			*ret_day = s->days[i].day;
			return 0;
		}
	}
	if (s->day_count == s->day_cap) {
		s->day_cap = s->day_cap == 0 ? HISTORY_DAYS_OPEN : 2 * s->day_cap;
		s->days = xrealloc(s->days, s->day_cap * sizeof(s->days[0]));
	}
	o = &s->days[s->day_count];
	if ((err = history_day_open(s->dir, number, s->shards, s->codec, &o->day)) != 0)
		return err;
	know_pack(s, o->day);
	if (s->day_count >= HISTORY_DAYS_OPEN)
		history_day_rest(o->day);
	o->used = ++s->uses;
	s->day_count++;
	*ret_day = o->day;
	return 0;
}

/* --- blocks --- */

struct where {
	uint32_t shard;
	const struct block_view *view;
	size_t entry; /* which of the block's */
	const struct history_erased *erased;
	size_t erased_n;
};

static int
take_point(
    struct history_store *s, const struct where *w, const struct record *r, const struct point *p)
{
	bool device_time = (r->flags & RECORD_DEVICE_TIME) != 0 || p->time != r->time;
	unsigned reason = p->reason;
	struct history_day *day;
	int64_t number, time = p->time;
	int err;

	if (reason == QUARANTINE_NONE && (r->flags & RECORD_UNDECODABLE) != 0)
		reason = QUARANTINE_UNDECODABLE;
	if (!history_day_of(time, &number) || time > w->view->time + HISTORY_FUTURE_US) {
		reason = reason == QUARANTINE_NONE ? QUARANTINE_TIME : reason;
		if (!history_day_of(w->view->time, &number))
			return 0;
	}
	if ((err = find_day(s, number, &day)) != 0)
		return err;
	if (w->view->offset < history_day_cursor(day, w->shard))
		return 0;
	if (reason != QUARANTINE_NONE)
		history_day_mask(day, r->device, p->name, time, &p->value, reason);
	else
		history_day_add(day, r->device, p->name, time, &p->value, device_time);
	s->waiting++;
	return 0;
}

/* The block erases its device behind it. */
static bool
is_erased(const struct where *w, const struct record *r)
{
	for (size_t i = 0; i < w->erased_n; i++) {
		if (w->entry < w->erased[i].entry && bytes_equal(w->erased[i].device, r->device))
			return true;
	}
	return false;
}

static int
take_record(struct history_store *s, const struct where *w, const struct record *r)
{
	struct point_cursor c = point_cursor_of(r);
	struct point p;
	int err, store_err;

	if (verdict_is_refusal(r->verdict) || is_erased(w, r))
		return 0;
	if (verdict_code(r->verdict) == VERDICT_COPY) {
		metric_add(M_HISTORY_COPIES, r->point_count);
		return 0;
	}
	metric_add(M_READINGS, r->point_count);
	while ((err = point_next(&c, &p)) == 0)
		if ((store_err = take_point(s, w, r, &p)) != 0)
			return store_err;
	if (err != ERR_NOT_FOUND)
		log_error("history.point", LU("shard", w->shard), LU("offset", w->view->offset),
		    LB("device", r->device), LS("fault", err_name(err)));
	return 0;
}

static int
take_entry(struct history_store *s, const struct where *w, const struct entry *e)
{
	struct record_cursor c = record_cursor_of(e->body);
	struct record r;
	int err, store_err;

	if (e->kind != ENTRY_READINGS)
		return 0;
	while ((err = record_next(&c, &r)) == 0)
		if ((store_err = take_record(s, w, &r)) != 0)
			return store_err;
	if (err != ERR_NOT_FOUND)
		log_error("history.record", LU("shard", w->shard), LU("offset", w->view->offset),
		    LS("fault", err_name(err)));
	return 0;
}

/* What was taken before this block is written first, so that each file says how far it is complete. */
static int
erase_all(struct history_store *s, const struct where *w)
{
	int err = history_store_flush(s);

	while (err == 0 && s->day_count > 0)
		close_day(s, s->day_count - 1);
	for (size_t i = 0; err == 0 && i < w->erased_n; i++) {
		struct history_erasure e = { w->erased[i].device, w->shard, w->view->offset };

		err = history_erase(s->dir, s->shards, s->codec, &e);
	}
	return err;
}

static int
take_entries(struct history_store *s, struct where *w)
{
	struct bytes rest = w->view->entries;
	struct entry e;
	int err, store_err;

	for (w->entry = 0; (err = entry_next(&rest, &e)) == 0; w->entry++)
		if ((store_err = take_entry(s, w, &e)) != 0)
			return store_err;
	if (err != ERR_NOT_FOUND)
		log_error("history.entry", LU("shard", w->shard), LU("offset", w->view->offset),
		    LS("fault", err_name(err)));
	history_store_upto(s, w->shard, w->view->next);
	return 0;
}

static int
take_erasing(struct history_store *s, struct where *w)
{
	struct history_erased *erased;
	int err;

	w->erased_n = history_erased_by(w->view, &erased);
	w->erased = erased;
	err = erase_all(s, w);
	if (err == 0)
		err = take_entries(s, w);
	free(erased);
	return err;
}

int
history_store_block(struct history_store *s, uint32_t shard, const struct block_view *v)
{
	struct where w = { .shard = shard, .view = v };

	ASSERT(shard < s->shards);
	return history_view_erases(v) ? take_erasing(s, &w) : take_entries(s, &w);
}

void
history_store_upto(struct history_store *s, uint32_t shard, uint64_t upto)
{
	if (shard < s->shards && upto > s->seen[shard])
		s->seen[shard] = upto;
}

size_t
history_store_days_waiting(const struct history_store *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->day_count; i++)
		n += history_day_waiting(s->days[i].day) > 0;
	return n;
}

void
history_store_quiet(struct history_store *s)
{
	for (size_t i = 0; i < s->day_count; i++)
		history_day_quiet(s->days[i].day);
}

int
history_store_flush(struct history_store *s)
{
	struct history_counts counts = { 0 };
	bool many = s->day_count > HISTORY_DAYS_OPEN;
	int err;

	for (size_t i = 0; i < s->day_count; i++) {
		if ((err = history_day_flush(s->days[i].day, s->seen, &counts)) != 0)
			return err;
		if (many)
			history_day_rest(s->days[i].day);
	}
	if ((err = save_cursors(s)) != 0)
		return err;
	s->waiting = 0;
	metric_add(M_HISTORY_POINTS, counts.points);
	metric_add(M_HISTORY_COPIES, counts.copies);
	metric_add(M_HISTORY_MASKED, counts.masked);
	trim_days(s);
	return 0;
}

/* --- retention --- */

static bool
remove_day(struct history_store *s, int64_t number, const char *name)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char path[PATH_LEN + 264];
	bool ok = false;

	for (size_t i = 0; i < s->day_count; i++) {
		if (history_day_number(s->days[i].day) != number)
			continue;
		if (history_day_waiting(s->days[i].day) > 0)
			return false;
		close_day(s, i);
		break;
	}
	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		snprintf(path, sizeof(path), "%s/%s%s", s->dir, name, suffixes[i]);
		if (i == 0)
			ok = unlink(path) == 0;
		else
			(void)unlink(path);
	}
	if (ok)
		log_info("history.removed", LS("file", name),
		    LS("why", "older than history.retention_days"));
	else
		log_warn("history.remove", LS("file", name), LS("fault", strerror(errno)));
	return ok;
}

/* Leaves out of a pack its first days, those that are over with their last change before least. Returns how many. */
static size_t
retain_pack(struct history_store *s, int64_t month, const char *name, int64_t least)
{
	char path[PATH_LEN + 264];
	struct history_pack *p;
	int64_t first = 0;
	size_t over = 0, all;
	bool ok;

	if ((history_pack_first_day(month) + 1) * HISTORY_DAY_US > least ||
	    history_pack_open(s->dir, month, &p) != 0)
		return 0;
	while (over < p->day_n && (p->days[over].day + 1) * HISTORY_DAY_US <= least &&
	       p->days[over].changed <= least)
		over++;
	all = p->day_n;
	if (over < all)
		first = p->days[over].day;
	history_pack_close(&p);
	if (over == 0)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	ok = over < all
		 ? history_pack_write(s->dir, month, NULL, 0, first, s->shards, s->codec) == 0
		 : unlink(path) == 0;
	if (ok)
		log_info("history.removed", LS("file", name), LU("days", over),
		    LS("why", "older than history.retention_days"));
	else
		log_warn("history.remove", LS("file", name));
	return ok ? over : 0;
}

/* The end of the newest day that there is; wall if there is none, or it is later. */
static int64_t
newest_day(const struct history_store *s, int64_t wall)
{
	DIR *dir = opendir(s->dir);
	struct dirent *e;
	int64_t newest = -1, number;

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		if (history_pack_parse(e->d_name, &number))
			number = history_pack_first_day(number);
		else if (!history_day_parse(e->d_name, &number))
			continue;
		newest = number > newest ? number : newest;
	}
	if (dir != NULL)
		closedir(dir);
	return newest < 0 || (newest + 1) * HISTORY_DAY_US > wall ? wall
								  : (newest + 1) * HISTORY_DAY_US;
}

int64_t
history_store_clock(struct history_store *s, int64_t wall, int64_t elapsed_us)
{
	int64_t believed =
	    history_clock_step(s->believes ? s->believed : newest_day(s, wall), wall, elapsed_us);
	char *sql;

	if (wall - believed > HISTORY_CLOCK_AHEAD_US)
		log_warn("history.clock", LI("ahead_s", (wall - believed) / 1000000),
		    LS("why", "the clock leapt, or Roost was off for long"),
		    LS("effect", "retention follows it, a day an hour"));
	s->kept = s->believes && believed == s->believed;
	if (s->kept)
		return believed < wall ? believed : wall;
	sql = xasprintf("REPLACE INTO clock VALUES(1, %lld)", (long long)believed);
	/* What could not be written is believed again: the caller counts the time once more. */
	if (sql_exec(s->meta, s->meta_path, sql) == 0) {
		s->believes = s->kept = true;
		s->believed = believed;
	}
	free(sql);
	return believed < wall ? believed : wall;
}

bool
history_store_clock_is_kept(const struct history_store *s)
{
	return s->kept;
}

size_t
history_store_retain(struct history_store *s, int64_t now, int64_t days)
{
	int64_t least = now - days * HISTORY_DAY_US, number;
	DIR *dir = opendir(s->dir);
	struct dirent *e;
	struct stat st;
	size_t removed = 0;

	if (dir == NULL) {
		log_warn("history.retain", LS("dir", s->dir), LS("fault", strerror(errno)));
		return 0;
	}
	while ((e = readdir(dir)) != NULL) {
		if (history_pack_parse(e->d_name, &number))
			removed += retain_pack(s, number, e->d_name, least);
		if (!history_day_parse(e->d_name, &number) || (number + 1) * HISTORY_DAY_US > least)
			continue;
		if (fstatat(dirfd(dir), e->d_name, &st, 0) != 0 ||
		    (int64_t)st.st_mtim.tv_sec * 1000000 > least)
			continue;
		removed += remove_day(s, number, e->d_name);
	}
	closedir(dir);
	return removed;
}

/* --- packing --- */

static int
compare_days(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* False if points wait for it. */
static bool
let_go(struct history_store *s, int64_t number)
{
	for (size_t i = 0; i < s->day_count; i++) {
		if (history_day_number(s->days[i].day) != number)
			continue;
		if (history_day_waiting(s->days[i].day) > 0)
			return false;
		close_day(s, i);
		break;
	}
	return true;
}

/* Small finished days, at most a month's of those in the month that was found first. */
static size_t
find_small(struct history_store *s, DIR *dir, int64_t least, int64_t days[31])
{
	struct dirent *e;
	struct stat st;
	int64_t number, month = -1;
	size_t n = 0;

	while ((e = readdir(dir)) != NULL && n < 31) {
		if (!history_day_parse(e->d_name, &number) ||
		    (number + 1) * HISTORY_DAY_US > least ||
		    (month >= 0 && history_pack_month(number) != month))
			continue;
		if (fstatat(dirfd(dir), e->d_name, &st, 0) != 0 ||
		    st.st_size > HISTORY_PACK_DAY_MAX ||
		    (int64_t)st.st_mtim.tv_sec * 1000000 > least || !let_go(s, number))
			continue;
		month = history_pack_month(number);
		days[n++] = number;
	}
	qsort(days, n, sizeof(days[0]), compare_days);
	return n;
}

size_t
history_store_pack(struct history_store *s, int64_t now, int64_t after)
{
	DIR *dir = opendir(s->dir);
	int64_t days[31];
	size_t n;

	if (dir == NULL) {
		log_warn("history.pack", LS("dir", s->dir), LS("fault", strerror(errno)));
		return 0;
	}
	n = find_small(s, dir, now - after, days);
	closedir(dir);
	if (n == 0 || history_pack_write(s->dir, history_pack_month(days[0]), days, n, INT64_MIN,
			  s->shards, s->codec) != 0)
		return 0;
	return n;
}
