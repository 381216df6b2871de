/* query_main.c - roost query: what history has of a device, and what the journal has beyond it */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "history_day.h"
#include "history_read.h"
#include "log.h"
#include "mem.h"
#include "query_tail.h"
#include "settings.h"
#include "value_text.h"
#include "worker.h"

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV };

struct query {
	struct settings *settings;
	struct bytes device;
	struct bytes metric;
	int64_t since;
	int64_t until;
	uint64_t limit; /* 0: none */
	enum format format;
	char *dir;
	uint32_t shards;
	int64_t *days;
	size_t day_count;
	struct history_reader *reader;
	struct tail tail;
	struct buf out;
	uint64_t masked;
	int code;
};

static _Noreturn void
usage(int code)
{
	fputs("usage: roost query [-c FILE] [--set key=value] [DEVICE [METRIC]] [options]\n"
	      "\n"
	      "  roost query                 the devices history knows\n"
	      "  roost query DEVICE          its metrics, how many points, the last value\n"
	      "  roost query DEVICE METRIC   the points, oldest first\n"
	      "\n"
	      "  --since 1h|2026-11-22T14:00:00Z   from then on (default: all there is)\n"
	      "  --until 5m|2026-11-22T15:00:00Z   up to then (default: now)\n"
	      "  --limit N                         the newest N points only\n"
	      "  --json, --csv                     for programs\n",
	    code == 0 ? stdout : stderr);
	exit(code);
}

static _Noreturn void
fail(int code, const char *what, const char *detail)
{
	fprintf(stderr, "roost query: %s%s%s\n", what, detail[0] != '\0' ? ": " : "", detail);
	exit(code);
}

/* "1h": so long ago; else an ISO 8601 time. */
static int64_t
time_of(const char *option, const char *text)
{
	struct bytes b = bytes_of_str(text);
	char what[160];
	int64_t t;

	if (clock_parse_duration(b, &t) == 0)
		return clock_wall_us() - t;
	if (clock_parse_iso(b, &t) == 0)
		return t;
	snprintf(what, sizeof(what),
	    "%s %.80s: a duration like 1h or a time like 2026-11-22T14:00:00Z is wanted", option,
	    text);
	fail(EXIT_USAGE, what, "");
}

/* --- options --- */

/* The value of an option that needs one: "--since=1h" or the next argument. */
static const char *
value_of(const char *inline_value, int argc, char **argv, int *i)
{
	if (inline_value != NULL)
		return inline_value;
	if (*i + 1 >= argc)
		fail(EXIT_USAGE, argv[*i], "a value is wanted");
	return argv[++*i];
}

static void
check_settings(int err, struct buf *why)
{
	if (err != 0)
		fail(EXIT_CONFIG, buf_str(why), "");
}

static bool
take_option(struct query *q, int argc, char **argv, int *i)
{
	struct buf why = { 0 };
	const char *arg = argv[*i], *eq = strchr(arg, '='),
		   *inline_value = eq != NULL ? eq + 1 : NULL;
	size_t len = eq != NULL ? (size_t)(eq - arg) : strlen(arg);
	struct bytes name = bytes_of(arg, len);
	char *end;

	if (bytes_equal_str(name, "--since")) {
		q->since = time_of("--since", value_of(inline_value, argc, argv, i));
	} else if (bytes_equal_str(name, "--until")) {
		q->until = time_of("--until", value_of(inline_value, argc, argv, i));
	} else if (bytes_equal_str(name, "--limit")) {
		const char *text = value_of(inline_value, argc, argv, i);

		q->limit = strtoull(text, &end, 10);
		if (*end != '\0' || end == text || q->limit == 0)
			fail(EXIT_USAGE, "--limit", "a number of points is wanted");
	} else if (bytes_equal_str(name, "--json")) {
		q->format = FORMAT_JSON;
	} else if (bytes_equal_str(name, "--csv")) {
		q->format = FORMAT_CSV;
	} else if (bytes_equal_str(name, "--set")) {
		check_settings(
		    settings_set(q->settings, value_of(inline_value, argc, argv, i), "--set", &why),
		    &why);
	} else if (strcmp(arg, "-c") == 0) {
		value_of(NULL, argc, argv, i); /* read before everything else */
	} else {
		return false;
	}
	buf_fini(&why);
	return true;
}

static void
parse(struct query *q, int argc, char **argv)
{
	struct buf why = { 0 };

	q->settings = settings_new();
	q->since = INT64_MIN;
	q->until = INT64_MAX;
	/* File, then environment, then --set: as roost run reads them. */
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], "-c") == 0)
			check_settings(settings_load_file(q->settings, argv[i + 1], &why), &why);
	check_settings(settings_load_env(q->settings, environ, &why), &why);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			usage(0);
		if (take_option(q, argc, argv, &i))
			continue;
		if (argv[i][0] == '-' && argv[i][1] == '-')
			fail(EXIT_USAGE, argv[i], "no such option; see roost query --help");
		if (q->device.len == 0)
			q->device = bytes_of_str(argv[i]);
		else if (q->metric.len == 0)
			q->metric = bytes_of_str(argv[i]);
		else
			usage(EXIT_USAGE);
	}
	buf_fini(&why);
}

/* --- output --- */

static void
flush_out(struct query *q)
{
	if (q->out.len > 0 && fwrite(q->out.data, 1, q->out.len, stdout) != q->out.len)
		exit(1); /* whoever reads has gone */
	buf_clear(&q->out);
}

/* RFC 4180: quoted only where it must be. */
static void
put_csv(struct buf *out, struct bytes s)
{
	bool quote = false;

	for (size_t i = 0; i < s.len; i++)
		quote = quote || s.data[i] == '"' || s.data[i] == ',' || s.data[i] == '\n' ||
			s.data[i] == '\r';
	if (!quote) {
		buf_add(out, s.data, s.len);
		return;
	}
	buf_add_u8(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] == '"')
			buf_add_u8(out, '"');
		buf_add_u8(out, s.data[i]);
	}
	buf_add_u8(out, '"');
}

static void
put_point(struct query *q, int64_t time, const struct value *v, bool first)
{
	char iso[CLOCK_ISO_MAX];

	clock_iso(time, iso);
	switch (q->format) {
	case FORMAT_TEXT:
		buf_add_str(&q->out, iso);
		buf_add_str(&q->out, "  ");
		value_put_text(&q->out, v);
		break;
	case FORMAT_CSV:
		buf_add_str(&q->out, iso);
		buf_add_u8(&q->out, ',');
		if (v->kind == VALUE_STRING)
			put_csv(&q->out, v->v.s);
		else
			value_put_text(&q->out, v);
		break;
	case FORMAT_JSON:
		buf_add_str(&q->out, first ? "{\"time\":\"" : ",\n{\"time\":\"");
		buf_add_str(&q->out, iso);
		buf_add_str(&q->out, "\",\"value\":");
		value_put_json(&q->out, v);
		buf_add_u8(&q->out, '}');
		break;
	}
	if (q->format != FORMAT_JSON)
		buf_add_u8(&q->out, '\n');
	if (q->out.len > 65536)
		flush_out(q);
}

/* --- points of one metric --- */

/* All points of one day: from its file, and of the tail what the file has not. */
static void
read_day(struct query *q, int64_t day, struct history_points *p)
{
	uint64_t cursors[64] = { 0 };
	struct history_file *f = NULL;
	int err = history_file_open(q->reader, day, &f);

	history_points_clear(p);
	if (err == 0)
		err = history_file_cursors(f, q->shards, cursors);
	if (err == 0)
		err =
		    history_file_points(f, q->device, q->metric, q->since, q->until, p, &q->masked);
	if (err != 0 && err != ERR_NOT_FOUND)
		q->code = 1; /* said by the one who found it */
	history_file_close(&f);
	for (size_t i = 0; i < q->tail.points.n; i++) {
		const struct tail_point *t = &q->tail.info[i];
		int64_t time = q->tail.points.at[i].time, its_day;

		if (!history_day_of(time, &its_day) || its_day != day ||
		    t->offset < cursors[t->shard] || time < q->since || time > q->until)
			continue;
		if (t->masked)
			q->masked++;
		else
			history_points_append(p, &q->tail.points, i, 1);
	}
	history_points_sort(p);
	history_points_drop_copies(p);
}

/* Days of the tail that have no file yet. */
static void
add_tail_days(struct query *q)
{
	for (size_t i = 0; i < q->tail.points.n; i++) {
		int64_t day;
		size_t at;

		if (!history_day_of(q->tail.points.at[i].time, &day))
			continue;
		for (at = q->day_count; at > 0 && q->days[at - 1] > day; at--)
			;
		if (at > 0 && q->days[at - 1] == day)
			continue;
		q->days = xrealloc(q->days, (q->day_count + 1) * sizeof(q->days[0]));
		memmove(&q->days[at + 1], &q->days[at], (q->day_count - at) * sizeof(q->days[0]));
		q->days[at] = day;
		q->day_count++;
	}
}

static bool
in_range(const struct query *q, int64_t day)
{
	return (day + 1) * HISTORY_DAY_US > q->since && day * HISTORY_DAY_US <= q->until;
}

static void
print_points(struct query *q)
{
	struct history_points p = { 0 };
	size_t first_day = 0, n = 0;
	uint64_t skip = 0, count = 0;

	add_tail_days(q);
	if (q->limit > 0) { /* back from the newest day until there are enough */
		for (first_day = q->day_count; first_day > 0 && count < q->limit;) {
			if (!in_range(q, q->days[--first_day]))
				continue;
			read_day(q, q->days[first_day], &p);
			count += p.n;
		}
		skip = count > q->limit ? count - q->limit : 0;
		q->masked = 0;
	}
	if (q->format == FORMAT_CSV)
		buf_add_str(&q->out, "time,value\n");
	if (q->format == FORMAT_JSON) {
		buf_add_str(&q->out, "{\"device\":");
		json_put_string(&q->out, q->device);
		buf_add_str(&q->out, ",\"metric\":");
		json_put_string(&q->out, q->metric);
		buf_add_str(&q->out, ",\"points\":[\n");
	}
	for (size_t d = first_day; d < q->day_count; d++) {
		if (!in_range(q, q->days[d]))
			continue;
		read_day(q, q->days[d], &p);
		for (size_t i = 0; i < p.n; i++) {
			struct value v = history_points_value(&p, i);

			if (skip > 0)
				skip--;
			else
				put_point(q, p.at[i].time, &v, n++ == 0);
		}
	}
	if (q->format == FORMAT_JSON)
		buf_addf(&q->out, "%s],\"masked\":%llu}\n", n > 0 ? "\n" : "",
		    (unsigned long long)q->masked);
	flush_out(q);
	if (n == 0 && q->format == FORMAT_TEXT)
		fputs("roost query: no points; `roost query` lists devices, `roost query DEVICE` "
		      "its metrics\n",
		    stderr);
	if (q->masked > 0)
		fprintf(stderr, "roost query: %llu quarantined points are left out\n",
		    (unsigned long long)q->masked);
	history_points_fini(&p);
}

/* --- devices and metrics --- */

struct line {
	char *device;
	char *metric;
	uint64_t count;
	uint64_t masked;
	int64_t t_last;
	char *last;
};

struct lines {
	struct query *q;
	struct line *at;
	size_t n;
	size_t cap;
};

static struct line *
find_line(struct lines *l, struct bytes device, struct bytes metric)
{
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 256 : 2 * l->cap;
		l->at = xrealloc(l->at, l->cap * sizeof(l->at[0]));
	}
	l->at[l->n] = (struct line){ .device = xstrndup((const char *)device.data, device.len),
		.metric = xstrndup((const char *)metric.data, metric.len),
		.t_last = INT64_MIN };
	return &l->at[l->n++];
}

static void
on_summary(void *arg, const struct history_summary *s)
{
	struct lines *l = arg;
	struct line *line =
	    find_line(l, s->device, l->q->device.len > 0 ? s->metric : bytes_of("", 0));
	struct buf text = { 0 };

	line->count = s->count;
	line->masked = s->masked;
	if (s->count == 0)
		return;
	line->t_last = s->t_last;
	if (s->last != NULL) {
		value_put_text(&text, s->last);
		line->last = xstrdup(buf_str(&text));
	}
	buf_fini(&text);
}

static int
compare_lines(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int c = strcmp(x->device, y->device);

	return c != 0 ? c : strcmp(x->metric, y->metric);
}

static void
free_line(struct line *line)
{
	free(line->device);
	free(line->metric);
	free(line->last);
}

/* One line of each device (and metric), the newest value of all. */
static void
merge_lines(struct lines *l)
{
	size_t kept = 0;

	if (l->n > 1)
		qsort(l->at, l->n, sizeof(l->at[0]), compare_lines);
	for (size_t i = 0; i < l->n; i++) {
		struct line *line = &l->at[i], *into;

		if (kept == 0 || compare_lines(line, into = &l->at[kept - 1]) != 0) {
			l->at[kept++] = *line;
			continue;
		}
		into->count += line->count;
		into->masked += line->masked;
		if (line->t_last >= into->t_last && line->last != NULL) {
			char *swap = into->last;

			into->last = line->last;
			line->last = swap;
		}
		if (line->t_last > into->t_last)
			into->t_last = line->t_last;
		free_line(line);
	}
	l->n = kept;
}

/* Day files first seen, then their cursors decide what of the tail counts. */
static void
gather_day(struct lines *l, int64_t day)
{
	struct query *q = l->q;
	uint64_t cursors[64] = { 0 };
	struct history_file *f = NULL;
	int err = history_file_open(q->reader, day, &f);

	if (err == 0)
		err = history_file_cursors(f, q->shards, cursors);
	if (err == 0)
		err = history_file_summaries(f, q->device, on_summary, l);
	if (err != 0 && err != ERR_NOT_FOUND)
		q->code = 1;
	history_file_close(&f);
	for (size_t i = 0; i < q->tail.points.n; i++) {
		const struct tail_point *t = &q->tail.info[i];
		struct value v = history_points_value(&q->tail.points, i);
		struct history_summary s = { .device = bytes_of_str(t->device),
			.metric = bytes_of_str(t->metric),
			.count = !t->masked,
			.masked = t->masked,
			.t_last = q->tail.points.at[i].time,
			.last = q->device.len > 0 ? &v : NULL };
		int64_t its_day;

		if (history_day_of(s.t_last, &its_day) && its_day == day &&
		    t->offset >= cursors[t->shard])
			on_summary(l, &s);
	}
	merge_lines(l);
}

static void
print_line(struct query *q, const struct line *line, bool first)
{
	bool metrics = q->device.len > 0;
	struct bytes name = bytes_of_str(metrics ? line->metric : line->device);
	char iso[CLOCK_ISO_MAX] = "";

	if (line->t_last != INT64_MIN)
		clock_iso(line->t_last, iso);
	switch (q->format) {
	case FORMAT_TEXT:
		buf_addf(&q->out, "%-32.*s %10llu points  %s", (int)name.len,
		    (const char *)name.data, (unsigned long long)line->count, iso);
		if (line->last != NULL)
			buf_addf(&q->out, "  %s", line->last);
		if (line->masked > 0)
			buf_addf(&q->out, "  (%llu quarantined)", (unsigned long long)line->masked);
		buf_add_u8(&q->out, '\n');
		return;
	case FORMAT_CSV:
		put_csv(&q->out, name);
		buf_addf(&q->out, ",%llu,%s", (unsigned long long)line->count, iso);
		if (metrics) {
			buf_add_u8(&q->out, ',');
			put_csv(&q->out, bytes_of_str(line->last != NULL ? line->last : ""));
		}
		buf_add_u8(&q->out, '\n');
		return;
	case FORMAT_JSON:
		buf_addf(&q->out, "%s{\"%s\":", first ? "" : ",\n", metrics ? "metric" : "device");
		json_put_string(&q->out, name);
		buf_addf(&q->out, ",\"count\":%llu,\"quarantined\":%llu",
		    (unsigned long long)line->count, (unsigned long long)line->masked);
		if (iso[0] != '\0')
			buf_addf(&q->out, ",\"time\":\"%s\"", iso);
		if (line->last != NULL) {
			buf_add_str(&q->out, ",\"last\":");
			json_put_string(&q->out, bytes_of_str(line->last));
		}
		buf_add_u8(&q->out, '}');
		return;
	}
}

static void
print_lines(struct query *q)
{
	struct lines l = { .q = q };

	add_tail_days(q);
	for (size_t d = 0; d < q->day_count; d++)
		gather_day(&l, q->days[d]);
	if (q->format == FORMAT_CSV)
		buf_add_str(&q->out,
		    q->device.len > 0 ? "metric,count,time,last\n" : "device,count,time\n");
	if (q->format == FORMAT_JSON)
		buf_add_str(&q->out, "[\n");
	for (size_t i = 0; i < l.n; i++) {
		print_line(q, &l.at[i], i == 0);
		free_line(&l.at[i]);
	}
	if (q->format == FORMAT_JSON)
		buf_add_str(&q->out, l.n > 0 ? "\n]\n" : "]\n");
	flush_out(q);
	if (l.n == 0 && q->format == FORMAT_TEXT)
		fputs(q->device.len > 0 ? "roost query: no such device; `roost query` lists them\n"
					: "roost query: history is empty\n",
		    stderr);
	free(l.at);
}

/* The number of shards is the data_dir's own, whatever the settings at hand say. */
static void
take_format(struct query *q)
{
	char *path = xasprintf("%s/format", settings_str(q->settings, SET_DATA_DIR)), *set;
	FILE *f = fopen(path, "re");
	struct buf why = { 0 };
	char line[128];
	unsigned shards;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "shards %9u", &shards) != 1)
			continue;
		set = xasprintf("storage.shards=%u", shards);
		check_settings(settings_set(q->settings, set, path, &why), &why);
		free(set);
	}
	if (f != NULL)
		fclose(f);
	buf_fini(&why);
	free(path);
}

int
main(int argc, char **argv)
{
	struct query q = { 0 };
	int tail_err;

	log_init("query", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	parse(&q, argc, argv);
	if (access(settings_str(q.settings, SET_DATA_DIR), X_OK) != 0)
		fail(1, settings_str(q.settings, SET_DATA_DIR),
		    "no such data_dir; name it with -c FILE or --set data_dir=DIR");
	take_format(&q);
	q.dir = xasprintf("%s/history", settings_str(q.settings, SET_DATA_DIR));
	q.shards = (uint32_t)settings_int(q.settings, SET_STORAGE_SHARDS);
	q.reader = history_reader_new(q.dir);
	q.tail = (struct tail){
		.device = q.device, .metric = q.metric, .from = xcalloc(q.shards, sizeof(uint64_t))
	};
	/* In this order: where history stands, the journal from there on, then the files, which by now may have more. */
	if (history_read_meta(q.dir, q.shards, q.tail.from) != 0)
		return 1;
	tail_err = tail_read(&q.tail, q.settings);
	if (history_read_days(q.dir, &q.days, &q.day_count) != 0)
		q.day_count = 0;
	if (q.metric.len > 0)
		print_points(&q);
	else
		print_lines(&q);
	if (tail_err != 0)
		fputs("roost query: storage does not answer: the last seconds may be missing\n",
		    stderr);
	tail_fini(&q.tail);
	free(q.tail.from);
	free(q.days);
	free(q.dir);
	buf_fini(&q.out);
	history_reader_free(&q.reader);
	settings_free(&q.settings);
	return q.code;
}
