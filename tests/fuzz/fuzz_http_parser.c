/* fuzz_http_parser.c - an HTTP request, whole and in pieces: the same request, the same body, the same place of the next
 * fuzz: -max_len=20000 */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "http_parser.h"
#include "support.h"

struct told {
	int err;
	struct http_fault fault;
	struct http_head head;
	size_t head_len;
	size_t taken;
	bool done;
	struct buf body;
};

/* each: how many bytes more there are at each look; 0: all. */
static struct told
tell(struct bytes text, size_t each)
{
	struct told t = { .err = ERR_SHORT };
	size_t upto = each && each < text.len ? each : text.len;
	struct http_scan scan = { 0 };
	struct http_body body;

	for (;;) {
		t.err = http_head_read(
		    bytes_of(text.data, upto), &scan, &t.head, &t.head_len, &t.fault);
		if (t.err != ERR_SHORT || upto == text.len)
			break;
		upto = each < text.len - upto ? upto + each : text.len;
	}
	if (t.err)
		return t;
	ASSERT(t.head_len <= upto && t.head_len <= HTTP_HEAD_MAX + 2);
	t.taken = t.head_len;
	http_body_init(&body, &t.head);
	while (!http_body_is_done(&body)) {
		struct bytes in = bytes_of(text.data + t.taken, upto - t.taken), data;
		size_t n = http_body_read(&body, in, &data, &t.err, &t.fault);

		ASSERT(n <= in.len && data.len <= n);
		ASSERT(data.len == 0 || data.data + data.len == in.data + n);
		buf_add(&t.body, data.data, data.len);
		t.taken += n;
		if (t.err || (t.taken == upto && upto == text.len))
			break;
		if (n == in.len)
			upto = each && each < text.len - upto ? upto + each : text.len;
	}
	t.done = http_body_is_done(&body);
	return t;
}

/* What was understood, written plainly, is understood again. */
static void
check_again(const struct told *t)
{
	const struct http_head *h = &t->head;
	struct buf b = { .max = 0 };
	struct told again;

	buf_add(&b, h->method.data, h->method.len);
	buf_add_u8(&b, ' ');
	buf_add(&b, h->path.data, h->path.len);
	if (h->query.data)
		buf_add_u8(&b, '?');
	buf_add(&b, h->query.data, h->query.len);
	buf_addf(&b, " HTTP/1.%u\r\n", h->minor);
	for (size_t i = 0; i < h->field_count; i++) {
		if (http_equal(h->fields[i].name, "Transfer-Encoding") ||
		    http_equal(h->fields[i].name, "Content-Length"))
			continue;
		buf_add(&b, h->fields[i].name.data, h->fields[i].name.len);
		buf_add_u8(&b, ':');
		buf_add(&b, h->fields[i].value.data, h->fields[i].value.len);
		buf_add_str(&b, "\r\n");
	}
	buf_addf(&b, "Content-Length:%zu\r\n\r\n", t->body.len);
	buf_add(&b, t->body.data, t->body.len);
	if (h->field_count < HTTP_FIELDS_MAX && b.len - t->body.len <= HTTP_HEAD_MAX) {
		again = tell(buf_bytes(&b), 0);
		ASSERT(again.err == 0 && again.done && again.taken == b.len);
		ASSERT(bytes_equal(buf_bytes(&again.body), buf_bytes(&t->body)));
		ASSERT(bytes_equal(again.head.path, h->path));
		ASSERT(bytes_equal(again.head.query, h->query));
		ASSERT(again.head.keep_alive == h->keep_alive);
		ASSERT(again.head.expects_continue == h->expects_continue);
		buf_fini(&again.body);
	}
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	size_t each = input_u8(&in) + 1u;
	struct bytes text = input_rest(&in);
	struct told whole = tell(text, 0), pieces = tell(text, each);

	ASSERT(whole.err == pieces.err && whole.done == pieces.done);
	if (whole.err && whole.err != ERR_SHORT)
		ASSERT(whole.fault.status == pieces.fault.status && whole.fault.why);
	ASSERT(bytes_equal(buf_bytes(&whole.body), buf_bytes(&pieces.body)));
	if (whole.done) {
		ASSERT(whole.taken == pieces.taken && whole.head_len == pieces.head_len);
		ASSERT(!memchr(text.data, 0, whole.head_len));
		check_again(&whole);
	}
	buf_fini(&whole.body);
	buf_fini(&pieces.body);
	return 0;
}
