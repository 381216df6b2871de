/* http_answer.c - what is answered to a request: status, fields, problem documents; pure */
#include "http_answer.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "value_text.h"

const char *
http_phrase(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} phrases[] = {
		{ 200, "OK" },
		{ 204, "No Content" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not "
		       "Implemented" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < COUNT_OF(phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].text;
	return "Unknown";
}

/* RFC 9110, 8.6: 204 has no Content-Length; 15.3.5: and no content. */
void
http_answer_put(struct buf *out, const struct http_answer *a)
{
	buf_addf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", a->status, http_phrase(a->status), a->date);
	if (a->retry_ms)
		buf_addf(
		    out, "Retry-After: %u\r\n", a->retry_ms / 1000 + (a->retry_ms % 1000 != 0));
	if (a->fields)
		buf_add_str(out, a->fields);
	if (a->type)
		buf_addf(out, "Content-Type: %s\r\n", a->type);
	if (a->status != 204)
		buf_addf(out, "Content-Length: %zu\r\n", a->body.len);
	if (a->close)
		buf_add_str(out, "Connection: close\r\n");
	else if (a->minor == 0)
		buf_add_str(out, "Connection: keep-alive\r\n");
	buf_add_str(out, "\r\n");
	if (!a->head && a->status != 204)
		buf_add(out, a->body.data, a->body.len);
}

/* Days since 1970-01-01 to year, month (1..12) and day (1..31): the civil calendar, in eras of 400 years that begin in March. */
static void
civil_of_days(int64_t days, int *ret_year, unsigned *ret_month, unsigned *ret_day)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned of_era = (unsigned)(z - era * 146097);
	unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
	unsigned shifted = (5 * of_year + 2) / 153;

	*ret_day = of_year - (153 * shifted + 2) / 5 + 1;
	*ret_month = shifted < 10 ? shifted + 3 : shifted - 9;
	*ret_year = (int)(year + (unsigned)(era * 400)) + (*ret_month <= 2);
}

void
http_date(int64_t seconds, char out[HTTP_DATE_MAX])
{
	static const char week[7][4] = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	int64_t s = seconds < 0 ? 0 : seconds > 253402300799 ? 253402300799 : seconds;
	int64_t days = s / 86400;
	unsigned rest = (unsigned)(s % 86400), month, day;
	int year;

	civil_of_days(days, &year, &month, &day);
	snprintf(out, HTTP_DATE_MAX, "%s, %02u %s %04d %02u:%02u:%02u GMT", week[days % 7],
	    day % 32, months[(month - 1) % 12], year % 10000, rest / 3600 % 24, rest / 60 % 60,
	    rest % 60);
}

static void
put_member(struct buf *out, const char *name, const char *text)
{
	buf_addf(out, ",\"%s\":", name);
	json_put_string(out, bytes_of_str(text));
}

static const char *
influx_code(unsigned status)
{
	switch (status) {
	case 401:
		return "unauthorized";
	case 403:
		return "forbidden";
	case 404:
		return "not found";
	case 405:
		return "method not allowed";
	case 413:
		return "request too large";
	case 429:
		return "too many requests";
	case 503:
		return "unavailable";
	default:
		return status < 500 ? "invalid" : "internal error";
	}
}

static void
put_parts(struct buf *out, const struct http_problem *p)
{
	buf_addf(out, ",\"stored\":%u,\"not_stored\":%u,\"not_stored_samples\":[", p->stored,
	    p->not_stored);
	for (size_t i = 0; i < p->range_count; i++)
		buf_addf(out, "%s[%u,%u]", i ? "," : "", p->ranges[i].first, p->ranges[i].last);
	buf_addf(out, "]%s", p->more_ranges ? ",\"more_not_stored\":true" : "");
}

void
http_problem_put(struct buf *out, const struct http_problem *p)
{
	buf_addf(out, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u",
	    http_phrase(p->status), p->status);
	put_member(out, "detail", p->detail);
	if (p->field && *p->field)
		put_member(out, "field", p->field);
	if (p->has_offset)
		buf_addf(out, ",\"offset\":%zu", p->offset);
	if (p->line)
		buf_addf(out, ",\"line\":%zu", p->line);
	if (p->has_parts)
		put_parts(out, p);
	if (p->dialect == HTTP_INFLUX) {
		put_member(out, "error", p->detail);
		put_member(out, "code", influx_code(p->status));
		put_member(out, "message", p->detail);
	} else if (p->dialect == HTTP_THINGSBOARD) {
		put_member(out, "message", p->detail);
		buf_addf(out, ",\"errorCode\":%u",
		    p->status == 401   ? 10u
		    : p->status == 403 ? 20u
				       : 31u);
	}
	buf_add_str(out, "}\n");
}
