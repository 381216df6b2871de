/* history_pack.c - a pack as a reader sees it: its index in memory, its blocks in the file */
#include "history_pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "err.h"
#include "history_bytes.h"
#include "history_day.h"
#include "log.h"
#include "mem.h"

#define TRAILER_LEN 24

/* --- names --- */

int64_t
history_pack_month(int64_t day)
{
	time_t t = (time_t)(day * 86400);
	struct tm tm;

	gmtime_r(&t, &tm);
	return (int64_t)(tm.tm_year - 70) * 12 + tm.tm_mon;
}

int64_t
history_pack_first_day(int64_t month)
{
	struct tm tm = {
		.tm_year = (int)(70 + month / 12), .tm_mon = (int)(month % 12), .tm_mday = 1
	};

	return (int64_t)timegm(&tm) / 86400;
}

const char *
history_pack_name(int64_t month, char out[HISTORY_PACK_NAME_MAX])
{
	snprintf(out, HISTORY_PACK_NAME_MAX, "%04u-%02u.pack",
	    (unsigned)(1970 + month / 12) % 10000, (unsigned)(month % 12 + 1));
	return out;
}

bool
history_pack_parse(const char *name, int64_t *ret_month)
{
	char again[HISTORY_PACK_NAME_MAX];
	unsigned year, month;

	if (sscanf(name, "%4u-%2u.pack", &year, &month) != 2 || year < 1970 || month < 1 ||
	    month > 12)
		return false;
	*ret_month = ((int64_t)year - 1970) * 12 + month - 1;
	return strcmp(history_pack_name(*ret_month, again), name) == 0;
}

uint64_t
history_pack_ident(const char *path, int64_t *ret_changed)
{
	struct stat st;
	uint64_t of[4], ident;

	if (stat(path, &st) != 0)
		return 0;
	of[0] = st.st_ino;
	of[1] = (uint64_t)st.st_size;
	of[2] = (uint64_t)st.st_mtim.tv_sec;
	of[3] = (uint64_t)st.st_mtim.tv_nsec;
	ident = XXH3_64bits(of, sizeof(of));
	*ret_changed = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
	return ident != 0 ? ident : 1;
}

/* --- index --- */

static struct bytes
get_string(struct reader *r)
{
	uint64_t len = get_varint(r);
	const uint8_t *at = get_bytes(r, len <= SIZE_MAX ? (size_t)len : SIZE_MAX);

	return at == NULL ? bytes_of(NULL, 0) : bytes_of(at, (size_t)len);
}

static uint64_t
get_u64(struct reader *r)
{
	const uint8_t *at = get_bytes(r, 8);

	return at == NULL ? 0 : u64_at(at);
}

/* A number of things of which each takes a byte at least: what is claimed beyond that is not there. */
static size_t
get_count(struct reader *r)
{
	uint64_t n = get_varint(r);

	if (n > (uint64_t)(r->end - r->at)) {
		r->failed = true;
		return 0;
	}
	return (size_t)n;
}

static void
get_days(struct reader *r, struct history_pack *p)
{
	int64_t first = history_pack_first_day(p->month);

	p->shards = (uint32_t)get_count(r);
	p->day_n = get_count(r);
	p->days = xcalloc(p->day_n + 1, sizeof(p->days[0]));
	for (size_t i = 0; i < p->day_n && !r->failed; i++) {
		uint64_t offset = get_varint(r);

		p->days[i].day = first + (int64_t)(offset & 31);
		p->days[i].ident = get_u64(r);
		p->days[i].changed = (int64_t)(get_varint(r) & INT64_MAX);
		p->days[i].cursors = xcalloc(p->shards + 1, sizeof(uint64_t));
		for (uint32_t s = 0; s < p->shards; s++)
			p->days[i].cursors[s] = get_varint(r);
		r->failed =
		    r->failed || offset > 30 || (i > 0 && p->days[i].day <= p->days[i - 1].day);
	}
}

static void
get_entry(struct reader *r, struct history_pack *p, uint64_t *at, uint64_t blocks_end)
{
	struct pack_entry *e = &p->entries[p->entry_n];
	uint64_t head = get_varint(r), n = get_varint(r), len = get_varint(r), last = get_varint(r);

	*e = (struct pack_entry){ .day = (uint32_t)(head >> 1),
		.n = (uint32_t)n,
		.len = (uint32_t)len,
		.masked = (head & 1) != 0,
		.last = (int64_t)(last % HISTORY_DAY_US),
		.at = *at };
	if (head >> 1 >= p->day_n || n == 0 || n > HISTORY_BLOCK_POINTS_MAX ||
	    len > blocks_end - *at || (e->masked && n > (uint64_t)(r->end - r->at))) {
		r->failed = true;
		return;
	}
	if (e->masked) {
		e->reasons = r->at;
		r->at += n;
	}
	e->last += p->days[e->day].day * HISTORY_DAY_US;
	*at += len;
	p->entry_n++;
}

static bool
get_series(struct reader *r, struct history_pack *p, uint64_t blocks_end)
{
	uint64_t at = HISTORY_PACK_MAGIC_LEN;
	size_t cap = 0;

	p->series_n = get_count(r);
	p->series = xcalloc(p->series_n + 1, sizeof(p->series[0]));
	for (size_t i = 0; i < p->series_n && !r->failed; i++) {
		struct pack_series *s = &p->series[i];

		s->device = get_string(r);
		s->metric = get_string(r);
		s->first = p->entry_n;
		s->count = get_count(r);
		if (p->entry_n + s->count > cap) {
			cap = 2 * (p->entry_n + s->count);
			p->entries = xrealloc(p->entries, cap * sizeof(p->entries[0]));
		}
		for (size_t n = 0; n < s->count && !r->failed; n++)
			get_entry(r, p, &at, blocks_end);
	}
	return !r->failed && r->at == r->end && at == blocks_end;
}

static int
read_at(const struct history_pack *p, uint64_t at, size_t len, struct buf *ret)
{
	uint8_t *to = buf_reserve(ret, len);
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(p->fd, to + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			log_error("history.pack", LS("file", p->path),
			    LS("fault", n < 0 ? strerror(errno) : "it is shorter than it says"));
			return n < 0 ? ERR_IO : ERR_DAMAGED;
		}
		done += (size_t)n;
	}
	ret->len += len;
	return 0;
}

static int
damaged(const struct history_pack *p, const char *what)
{
	log_error("history.pack", LS("file", p->path), LS("fault", what));
	return ERR_DAMAGED;
}

static int
read_index(struct history_pack *p, uint64_t size)
{
	struct reader r;
	struct buf ends = { 0 };
	uint64_t begin = 0, check = 0;
	int err;

	if (size < HISTORY_PACK_MAGIC_LEN + TRAILER_LEN || size > HISTORY_PACK_MAX)
		return damaged(p, "its size is none of a pack");
	if ((err = read_at(p, size - TRAILER_LEN, TRAILER_LEN, &ends)) == 0 &&
	    (err = read_at(p, 0, HISTORY_PACK_MAGIC_LEN, &ends)) == 0) {
		r = (struct reader){ ends.data, ends.data + 16, false };
		begin = get_u64(&r);
		check = get_u64(&r);
		if (memcmp(ends.data + 16, HISTORY_PACK_MAGIC, HISTORY_PACK_MAGIC_LEN) != 0 ||
		    memcmp(ends.data + TRAILER_LEN, HISTORY_PACK_MAGIC, HISTORY_PACK_MAGIC_LEN) !=
			0 ||
		    begin < HISTORY_PACK_MAGIC_LEN || begin > size - TRAILER_LEN)
			err = damaged(p, "its ends are none of a pack");
	}
	buf_fini(&ends);
	if (err != 0 ||
	    (err = read_at(p, begin, (size_t)(size - TRAILER_LEN - begin), &p->index)) != 0)
		return err;
	if (p->index.data == NULL || XXH3_64bits(p->index.data, p->index.len) != check)
		return damaged(p, "the check of its index fails");
	r = (struct reader){ p->index.data, p->index.data + p->index.len, false };
	get_days(&r, p);
	return r.failed || !get_series(&r, p, begin) ? damaged(p, "its index makes no sense") : 0;
}

int
history_pack_open(const char *dir, int64_t month, struct history_pack **ret_pack)
{
	struct history_pack *p = xcalloc(1, sizeof(*p));
	char name[HISTORY_PACK_NAME_MAX];
	struct stat st;
	int err = 0;

	snprintf(p->path, sizeof(p->path), "%s/%s", dir, history_pack_name(month, name));
	p->month = month;
	p->fd = open(p->path, O_RDONLY | O_CLOEXEC);
	if (p->fd < 0 && errno == ENOENT) {
		free(p);
		return ERR_NOT_FOUND;
	}
	if (p->fd < 0 || fstat(p->fd, &st) != 0) {
		log_error("history.pack", LS("file", p->path), LS("fault", strerror(errno)));
		err = ERR_IO;
	} else {
		p->ino = st.st_ino;
		err = read_index(p, (uint64_t)st.st_size);
	}
	if (err != 0)
		history_pack_close(&p);
	else
		*ret_pack = p;
	return err;
}

void
history_pack_close(struct history_pack **p_p)
{
	struct history_pack *p = *p_p;

	if (p == NULL)
		return;
	*p_p = NULL;
	if (p->fd >= 0)
		close(p->fd);
	for (size_t i = 0; i < p->day_n && p->days != NULL; i++)
		free(p->days[i].cursors);
	free(p->days);
	free(p->series);
	free(p->entries);
	buf_fini(&p->index);
	free(p);
}

/* --- reading --- */

const struct pack_day *
history_pack_day(const struct history_pack *p, int64_t day)
{
	for (size_t i = 0; i < p->day_n; i++)
		if (p->days[i].day == day)
			return &p->days[i];
	return NULL;
}

int
history_pack_block(const struct history_pack *p, const struct pack_entry *e, struct buf *ret_block)
{
	buf_clear(ret_block);
	return read_at(p, e->at, e->len, ret_block);
}

static int
compare_bytes(struct bytes a, struct bytes b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n == 0 ? 0 : memcmp(a.data, b.data, n);

	return c != 0 ? c : a.len < b.len ? -1 : a.len > b.len;
}

static const struct pack_series *
find_series(const struct history_pack *p, struct bytes device, struct bytes metric)
{
	size_t low = 0, high = p->series_n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct pack_series *s = &p->series[middle];
		int c = compare_bytes(s->device, device);

		if (c == 0)
			c = compare_bytes(s->metric, metric);
		if (c == 0)
			return s;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Appends the block's points within since..until. A damaged block is logged and left out. */
static int
take_entry(struct history_pack *p, struct history_codec *codec, const struct pack_entry *e,
    int64_t since, int64_t until, struct history_points *out)
{
	size_t before = out->n, kept = out->n;
	struct buf block = { 0 };
	int err = history_pack_block(p, e, &block);

	if (err == 0 && history_block_decode(codec, buf_bytes(&block), out) != 0)
		log_error("history.block", LS("file", p->path), LU("at", e->at),
		    LS("effect", "its points are left out"));
	for (size_t i = before; err == 0 && i < out->n; i++)
		if (out->at[i].time >= since && out->at[i].time <= until)
			out->at[kept++] = out->at[i];
	out->n = kept;
	buf_fini(&block);
	return err;
}

int
history_pack_points(struct history_pack *p, struct history_codec *codec, int64_t day,
    struct bytes device, struct bytes metric, int64_t since, int64_t until,
    struct history_points *ret_points, uint64_t *ret_masked)
{
	const struct pack_series *s = find_series(p, device, metric);
	struct history_points masked = { 0 };
	int err = 0;

	for (size_t i = 0; s != NULL && i < s->count && err == 0; i++) {
		const struct pack_entry *e = &p->entries[s->first + i];

		if (p->days[e->day].day != day)
			continue;
		err = take_entry(p, codec, e, since, until, e->masked ? &masked : ret_points);
	}
	*ret_masked += masked.n;
	history_points_fini(&masked);
	return err;
}

/* The last value of the series that day. */
static int
find_last(struct history_pack *p, struct history_codec *codec, const struct pack_entry *newest,
    struct history_points *points, struct history_summary *sum, struct value *v)
{
	int err;

	history_points_clear(points);
	if ((err = take_entry(p, codec, newest, INT64_MIN, INT64_MAX, points)) != 0 ||
	    points->n == 0)
		return err;
	history_points_sort(points);
	*v = history_points_value(points, points->n - 1);
	sum->t_last = points->at[points->n - 1].time;
	sum->last = v;
	return 0;
}

int
history_pack_summaries(struct history_pack *p, struct history_codec *codec, int64_t day,
    struct bytes device, history_summary_fn fn, void *arg)
{
	struct history_points points = { 0 };
	int err = 0;

	for (size_t i = 0; i < p->series_n && err == 0; i++) {
		const struct pack_series *s = &p->series[i];
		struct history_summary sum = { .device = s->device, .metric = s->metric };
		const struct pack_entry *newest = NULL;
		struct value v;

		if (device.len > 0 && !bytes_equal(device, s->device))
			continue;
		for (size_t n = 0; n < s->count; n++) {
			const struct pack_entry *e = &p->entries[s->first + n];

			if (p->days[e->day].day != day)
				continue;
			if (e->masked) {
				sum.masked += e->n;
				continue;
			}
			sum.count += e->n;
			if (newest == NULL || e->last >= newest->last)
				newest = e;
		}
		if (newest != NULL) {
			sum.t_last = newest->last;
			if (device.len > 0)
				err = find_last(p, codec, newest, &points, &sum, &v);
		}
		if (err == 0 && sum.count + sum.masked > 0)
			fn(arg, &sum);
	}
	history_points_fini(&points);
	return err;
}
