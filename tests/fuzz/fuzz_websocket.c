/* fuzz_websocket.c - a client's frames, cut anywhere, against a second reader of them that sees all at once
 * fuzz: -max_len=4096 */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "support.h"
#include "utf8.h"
#include "websocket.h"

#define FRAME_MAX 1000
#define REQUEST                                                                                    \
	"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"               \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"             \
	"Sec-WebSocket-Protocol: mqtt\r\n\r\n"

/* What the frames mean. */
struct meaning {
	struct buf data;
	struct buf pong; /* what the last whole ping said */
	bool ponged;
	bool ended;
	unsigned close_code;
};

struct frame {
	unsigned opcode;
	bool fin;
	uint64_t len;
	const uint8_t *mask;
	const uint8_t *payload;
};

static void
end(struct meaning *m, unsigned code)
{
	m->ended = true;
	m->close_code = code;
}

static void
on_close(struct meaning *m, struct bytes text)
{
	unsigned code = text.len >= 2 ? (unsigned)text.data[0] << 8 | text.data[1] : 0;
	bool known = (code > 999 && code < 1004) || (code > 1006 && code < 1015) ||
		     (code > 2999 && code < 5000);

	if (text.len && !known)
		end(m, 1002);
	else if (text.len > 2 && !utf8_valid(bytes_of(text.data + 2, text.len - 2)))
		end(m, 1007);
	else
		end(m, code);
}

/* Reads a header; false: it is not whole, or wrong (then m has ended). */
static bool
read_header(struct bytes in, struct frame *f, struct meaning *m)
{
	unsigned small;
	size_t extra, at = 2;

	if (in.len < 2)
		return false;
	small = in.data[1] & 127u;
	f->opcode = in.data[0] & 15u;
	f->fin = in.data[0] & 128;
	if (f->opcode & 8 && (small > 125 || !f->fin)) {
		end(m, 1002);
		return false;
	}
	extra = small == 126 ? 2 : small == 127 ? 8 : 0;
	if (in.len - at < extra)
		return false;
	f->len = extra ? 0 : small;
	for (size_t i = 0; i < extra; i++)
		f->len = f->len << 8 | in.data[at++];
	if ((small == 126 && f->len < 126) || (small == 127 && (f->len < 65536 || f->len >> 63))) {
		end(m, 1002);
		return false;
	}
	f->mask = NULL;
	if (in.data[1] & 128) {
		if (in.len - at < 4)
			return false;
		f->mask = in.data + at;
		at += 4;
	}
	f->payload = in.data + at;
	return true;
}

static void
judge(const struct frame *f, unsigned first, bool in_message, struct meaning *m)
{
	if (!f->mask || first & 0x70)
		end(m, 1002);
	else if (f->len > FRAME_MAX)
		end(m, 1009);
	else if (f->opcode == 1)
		end(m, 1003);
	else if ((f->opcode > 2 && f->opcode < 8) || f->opcode > 10)
		end(m, 1002);
	else if ((f->opcode == 0 && !in_message) || (f->opcode == 2 && in_message))
		end(m, 1002);
}

static void
understand(struct bytes in, struct meaning *m)
{
	bool in_message = false;
	struct frame f;

	while (!m->ended && read_header(in, &f, m)) {
		struct buf text = { .max = 0 };
		size_t head = (size_t)(f.payload - in.data), have = in.len - head;

		/* A header says nothing before the payload begins. */
		if (f.len && have == 0)
			break;
		judge(&f, in.data[0], in_message, m);
		if (m->ended)
			break;
		for (size_t i = 0; i < f.len && i < have; i++)
			buf_add_u8(&text, (uint8_t)(f.payload[i] ^ f.mask[i % 4]));
		if (f.opcode < 8) {
			buf_add(&m->data, text.data, text.len);
			in_message = !f.fin;
		} else if (text.len == f.len && f.opcode == 8) {
			on_close(m, buf_bytes(&text));
		} else if (text.len == f.len && f.opcode == 9) {
			buf_clear(&m->pong);
			buf_add(&m->pong, text.data, text.len);
			m->ponged = true;
		}
		buf_fini(&text);
		if (have < f.len)
			break;
		in = bytes_of(f.payload + f.len, have - (size_t)f.len);
	}
}

static void
drain(struct websocket *w, struct buf *wire)
{
	struct bytes head;

	while (websocket_next(w, 0, &head) + head.len) {
		buf_add(wire, head.data, head.len);
		ASSERT(websocket_sent(w, head.len) == 0);
	}
}

static void
check(struct websocket *w, const struct meaning *m, const struct buf *got, struct buf *wire)
{
	const uint8_t *at;

	ASSERT(bytes_equal(buf_bytes(got), buf_bytes(&m->data)));
	ASSERT(websocket_ended(w) == m->ended);
	drain(w, wire);
	at = wire->data;
	if (m->ponged) {
		ASSERT(wire->len >= m->pong.len + 2);
		ASSERT(at[0] == 0x8a && at[1] == m->pong.len);
		ASSERT(bytes_equal(bytes_of(at + 2, m->pong.len), buf_bytes(&m->pong)));
		at += 2 + m->pong.len;
	}
	if (m->ended) {
		size_t len = m->close_code ? 4 : 2;

		ASSERT((size_t)(wire->data + wire->len - at) == len && at[0] == 0x88);
		ASSERT(len == 2 || (unsigned)(at[2] << 8 | at[3]) == m->close_code);
	} else {
		ASSERT(at == wire->data + wire->len);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct websocket_policy policy = {
		.paths = { "*" }, .path_count = 1, .origins = { "*" }, .origin_count = 1
	};
	struct websockets all = { .policy = policy, .frame_max = FRAME_MAX };
	struct websocket *w = websocket_new(&all);
	struct buf got = { .max = 0 }, wire = { .max = 0 };
	struct meaning m = { .ended = false };
	uint8_t request[] = REQUEST;
	struct input in = input_of(data, size);
	size_t each = input_u8(&in); /* bytes at a time; 0: all */
	struct bytes frames = input_rest(&in);

	ASSERT(websocket_input(w, request, sizeof(request) - 1) == 0 && websocket_is_open(w));
	drain(w, &wire);
	buf_clear(&wire);
	understand(frames, &m);
	for (size_t at = 0; at < frames.len;) {
		size_t n = each && each < frames.len - at ? each : frames.len - at, len;
		uint8_t *piece =
		    malloc(n); /* exactly as large: what is read or written behind it shows */

		ASSERT(piece);
		memcpy(piece, frames.data + at, n);
		len = websocket_input(w, piece, n);
		ASSERT(len <= n);
		buf_add(&got, piece, len);
		free(piece);
		at += n;
	}
	check(w, &m, &got, &wire);
	websocket_free(&w);
	websockets_fini(&all);
	buf_fini(&got);
	buf_fini(&wire);
	buf_fini(&m.data);
	buf_fini(&m.pong);
	return 0;
}
