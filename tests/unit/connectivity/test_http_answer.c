/* test_http_answer.c - answers and problem documents, byte for byte; dates */
#include "../unit.h"
#include "http_answer.h"

#include <string.h>

#include "mem.h"

START_TEST(dates)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} cases[] = {
		{ 0, "Thu, 01 Jan 1970 00:00:00 GMT" },
		{ -1, "Thu, 01 Jan 1970 00:00:00 GMT" },
		{ 784111777, "Sun, 06 Nov 1994 08:49:37 GMT" },
		{ 951782399, "Mon, 28 Feb 2000 23:59:59 GMT" },
		{ 951782400, "Tue, 29 Feb 2000 00:00:00 GMT" },
		{ 951868800, "Wed, 01 Mar 2000 00:00:00 GMT" },
		{ 1709164800, "Thu, 29 Feb 2024 00:00:00 GMT" },
		{ 1735689599, "Tue, 31 Dec 2024 23:59:59 GMT" },
		{ 4107542400, "Mon, 01 Mar 2100 00:00:00 GMT" },
		{ 253402300799, "Fri, 31 Dec 9999 23:59:59 GMT" },
		{ INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char text[HTTP_DATE_MAX];

		http_date(cases[i].seconds, text);
		ck_assert_str_eq(text, cases[i].text);
	}
}
END_TEST

START_TEST(answers)
{
	static const struct {
		struct http_answer a;
		const char *text;
	} cases[] = {
		{ { .status = 204, .type = NULL, .minor = 1 },
		    "HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n" },
		{ { .status = 200, .type = "a/b", .minor = 0 },
		    "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: a/b\r\nContent-Length: 2\r\n"
		    "Connection: keep-alive\r\n\r\nhi" },
		{ { .status = 200, .type = "a/b", .minor = 1, .head = true },
		    "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: a/b\r\nContent-Length: "
		    "2\r\n\r\n" },
		{ { .status = 503, .fields = "X: y\r\n", .retry_ms = 1001, .close = true },
		    "HTTP/1.1 503 Service Unavailable\r\nDate: now\r\nRetry-After: 2\r\nX: y\r\n"
		    "Content-Length: 2\r\nConnection: close\r\n\r\nhi" },
		{ { .status = 799, .retry_ms = 1000, .minor = 1 },
		    "HTTP/1.1 799 Unknown\r\nDate: now\r\nRetry-After: 1\r\nContent-Length: "
		    "2\r\n\r\nhi" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct http_answer a = cases[i].a;
		struct buf b = { .max = 0 };

		a.date = "now";
		if (a.status != 204)
			a.body = bytes_of_str("hi");
		http_answer_put(&b, &a);
		ck_assert_str_eq(buf_str(&b), cases[i].text);
		buf_fini(&b);
	}
}
END_TEST

START_TEST(problems)
{
	static const struct http_range ranges[] = { { 1, 1 }, { 5, 9 } };
	static const struct {
		struct http_problem p;
		const char *text;
	} cases[] = {
		{ { .status = 404, .detail = "a \"b\"\n" },
		    "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\"detail\":"
		    "\"a \\\"b\\\"\\u000a\"}\n" },
		{ { .status = 400, .detail = "x", .field = "t.a", .has_offset = true, .line = 3 },
		    "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":"
		    "\"x\",\"field\":\"t.a\",\"offset\":0,\"line\":3}\n" },
		{ { .status = 429,
		      .detail = "x",
		      .field = "",
		      .has_parts = true,
		      .stored = 4,
		      .not_stored = 6,
		      .ranges = ranges,
		      .range_count = 2,
		      .more_ranges = true },
		    "{\"type\":\"about:blank\",\"title\":\"Too Many Requests\",\"status\":429,"
		    "\"detail\":\"x\",\"stored\":4,\"not_stored\":6,\"not_stored_samples\":[[1,1],"
		    "[5,9]],\"more_not_stored\":true}\n" },
	};
	static const struct {
		enum http_dialect dialect;
		unsigned status;
		const char *end;
	} dialects[] = {
		{ HTTP_INFLUX, 400, "\"error\":\"x\",\"code\":\"invalid\",\"message\":\"x\"}\n" },
		{ HTTP_INFLUX, 401, "\"code\":\"unauthorized\",\"message\":\"x\"}\n" },
		{ HTTP_INFLUX, 403, "\"code\":\"forbidden\",\"message\":\"x\"}\n" },
		{ HTTP_INFLUX, 404, "\"code\":\"not found\",\"message\":\"x\"}\n" },
		{ HTTP_INFLUX, 405, "\"code\":\"method not allowed\",\"message\":\"x\"}\n" },
		{ HTTP_INFLUX, 413, "\"code\":\"request too large\",\"message\":\"x\"}\n" },
		{ HTTP_INFLUX, 429, "\"code\":\"too many requests\",\"message\":\"x\"}\n" },
		{ HTTP_INFLUX, 500, "\"code\":\"internal error\",\"message\":\"x\"}\n" },
		{ HTTP_INFLUX, 503, "\"code\":\"unavailable\",\"message\":\"x\"}\n" },
		{ HTTP_THINGSBOARD, 401, "\"message\":\"x\",\"errorCode\":10}\n" },
		{ HTTP_THINGSBOARD, 403, "\"message\":\"x\",\"errorCode\":20}\n" },
		{ HTTP_THINGSBOARD, 400, "\"message\":\"x\",\"errorCode\":31}\n" },
	};
	struct buf b = { .max = 0 };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&b);
		http_problem_put(&b, &cases[i].p);
		ck_assert_str_eq(buf_str(&b), cases[i].text);
	}
	for (size_t i = 0; i < COUNT_OF(dialects); i++) {
		const struct http_problem p = {
			.status = dialects[i].status, .dialect = dialects[i].dialect, .detail = "x"
		};
		size_t n = strlen(dialects[i].end);

		buf_clear(&b);
		http_problem_put(&b, &p);
		ck_assert_uint_gt(b.len, n);
		ck_assert_str_eq(buf_str(&b) + b.len - n, dialects[i].end);
	}
	buf_fini(&b);
}
END_TEST

UNIT_MAIN("http_answer", dates, answers, problems)
