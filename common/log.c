/* log.c - one line an event, on stderr */
#include "log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "metrics.h"

#define LINE_MAX_BYTES 4096
#define REPEATS_MAX 10
#define REPEATS_WINDOW_US 10000000
#define EVENTS_MAX 64 /* warnings whose repeats are counted; events share a slot by hash */

struct repeat {
	const char *event;
	int64_t window_start;
	uint64_t written;
	uint64_t suppressed;
};

static struct {
	char process[40];
	enum log_level level;
	enum log_format format;
	struct repeat repeats[EVENTS_MAX];
} logger = { .process = "roost", .level = LOG_LEVEL_INFO };

static const char *const level_names[] = { "debug", "info", "warn", "error" };

void
log_init(const char *process, enum log_level level, enum log_format format)
{
	snprintf(logger.process, sizeof logger.process, "%s", process);
	logger.level = level;
	logger.format = format;
}

/* Within quotes, for both formats: control characters, quotes and backslashes never reach the reader raw. */
static void
add_escaped(struct buf *line, struct bytes text)
{
	buf_add_u8(line, '"');
	for (size_t i = 0; i < text.len; i++) {
		uint8_t ch = text.data[i];

		if (ch == '"' || ch == '\\') {
			buf_add_u8(line, '\\');
			buf_add_u8(line, ch);
		} else if (ch < 0x20 || ch == 0x7f) {
			buf_addf(line, "\\u%04x", ch);
		} else {
			buf_add_u8(line, ch);
		}
	}
	buf_add_u8(line, '"');
}

static bool
is_plain(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t ch = text.data[i];

		if (ch <= ' ' || ch == '"' || ch == '\\' || ch == '=' || ch >= 0x7f)
			return false;
	}
	return text.len > 0;
}

static void
add_text(struct buf *line, struct bytes text)
{
	if (text.len > LINE_MAX_BYTES / 4)
		text.len = LINE_MAX_BYTES / 4;
	if (logger.format == LOG_FORMAT_TEXT && is_plain(text))
		buf_add(line, text.data, text.len);
	else
		add_escaped(line, text);
}

static void
add_value(struct buf *line, const struct log_field *f)
{
	switch (f->kind) {
	case LOG_END:
		break;
	case LOG_STR:
		add_text(line, bytes_of_str(f->v.str ? f->v.str : ""));
		break;
	case LOG_BYTES:
		add_text(line, f->v.bytes);
		break;
	case LOG_INT:
		buf_addf(line, "%lld", (long long)f->v.i);
		break;
	case LOG_UINT:
		buf_addf(line, "%llu", (unsigned long long)f->v.u);
		break;
	case LOG_FLOAT:
		if (isfinite(f->v.f))
			buf_addf(line, "%.6g", f->v.f);
		else
			buf_add_str(line, "null");
		break;
	}
}

static void
add_field(struct buf *line, const struct log_field *f)
{
	if (logger.format == LOG_FORMAT_JSON) {
		buf_add_u8(line, ',');
		add_escaped(line, bytes_of_str(f->key));
		buf_add_u8(line, ':');
	} else {
		buf_addf(line, " %s=", f->key);
	}
	add_value(line, f);
}

/* True if this line is to be written; *ret_suppressed: how many before it were not. */
static bool
admit(const char *event, uint64_t *ret_suppressed)
{
	struct repeat *r = &logger.repeats[((uintptr_t)event >> 3) % EVENTS_MAX];
	int64_t now = clock_mono_us();

	*ret_suppressed = 0;
	if (r->event != event || now - r->window_start > REPEATS_WINDOW_US) {
		*ret_suppressed = r->event == event ? r->suppressed : 0;
		*r = (struct repeat){ .event = event, .window_start = now };
	}
	if (r->written >= REPEATS_MAX) {
		r->suppressed++;
		metric_add(M_LOG_SUPPRESSED, 1);
		return false;
	}
	r->written++;
	return true;
}

void
log_emit(enum log_level level, const char *event, const struct log_field *fields)
{
	char time[CLOCK_ISO_MAX];
	uint64_t suppressed = 0;
	struct buf line;

	if (level < logger.level || (level >= LOG_LEVEL_WARN && !admit(event, &suppressed)))
		return;
	buf_init(&line, LINE_MAX_BYTES);
	clock_iso(clock_wall_us(), time);
	if (logger.format == LOG_FORMAT_JSON)
		buf_addf(&line,
		    "{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"event\":\"%s\"", time,
		    level_names[level], logger.process, event);
	else
		buf_addf(&line, "%s %s %s %s", time, level_names[level], logger.process, event);
	for (; fields->kind != LOG_END; fields++)
		add_field(&line, fields);
	if (suppressed)
		add_field(&line, &LU("suppressed_before", suppressed));
	line.max = 0;
	buf_add_str(&line, logger.format == LOG_FORMAT_JSON ? "}\n" : "\n");
	/* A log that cannot be written has nobody to be told. */
	if (write(STDERR_FILENO, line.data, line.len) < 0) {
	}
	buf_fini(&line);
}
