/* fuzz_websocket_handshake.c - a request, whole and in pieces: one answer, whose form is right
 * fuzz: -max_len=9000 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "err.h"
#include "support.h"
#include "websocket.h"

static const struct websocket_policy policy = {
	.paths = { "/mqtt", "/" },
	.path_count = 2,
	.origins = { "same", "https://console.example" },
	.origin_count = 2,
};

/* Holds these words, whatever their letters' size: what must be in a request that was accepted. */
static bool
holds(struct bytes in, const char *words)
{
	size_t len = strlen(words);

	for (size_t i = 0; i + len <= in.len; i++)
		if (strncasecmp((const char *)in.data + i, words, len) == 0)
			return true;
	return false;
}

static void
check_answer(const struct websocket_answer *a, struct bytes request)
{
	struct buf out = { .max = 0 };
	const char *text, *body;

	websocket_put_answer(&out, a);
	text = buf_str(&out);
	ASSERT(strncmp(text, "HTTP/1.1 ", 9) == 0 && atoi(text + 9) == (int)a->status);
	body = strstr(text, "\r\n\r\n");
	ASSERT(body);
	body += 4;
	if (a->status == 101) {
		ASSERT(!*body && !a->why && strlen(a->accept) == 28 && a->accept[27] == '=');
		ASSERT(strcmp(a->protocol, "mqtt") == 0 || strcmp(a->protocol, "mqttv3.1") == 0);
		ASSERT(memcmp(request.data, "GET /", 5) == 0);
		ASSERT(holds(request, " HTTP/1.1\r\n") && holds(request, "\r\nHost:") &&
		       holds(request, "websocket") && holds(request, "\r\nSec-WebSocket-Key:") &&
		       holds(request, "13\r\n") + holds(request, "13 ") + holds(request, "13\t") &&
		       holds(request, a->protocol) && !holds(request, "\r\nTransfer-Encoding:"));
		ASSERT(memcmp(request.data + request.len - 4, "\r\n\r\n", 4) == 0);
	} else {
		const char *length = strstr(text, "Content-Length: ");

		ASSERT(a->status >= 400 && a->why && strstr(body, a->why) == body);
		ASSERT(length && (size_t)atoi(length + 16) == strlen(body));
	}
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct websockets all = { .policy = policy, .frame_max = 1000 };
	struct input in = input_of(data, size);
	size_t each = input_u8(&in) + 1, len = 0, at = 0;
	struct bytes text = input_rest(&in);
	struct websocket_answer a = { .status = 0 };
	struct websocket *w = websocket_new(&all);
	bool answered = websocket_request(text, &policy, &a, &len) == 0;
	struct bytes head;

	if (answered) {
		ASSERT(len <= text.len && len <= WEBSOCKET_REQUEST_MAX);
		check_answer(&a, bytes_of(text.data, len));
	} else {
		ASSERT(text.len < WEBSOCKET_REQUEST_MAX);
	}
	/* In pieces, up to the request's end: refused or accepted the same. A fault may be seen before its line is whole, so
	 * that the reason may be another one. */
	while (at < text.len && !websocket_ended(w) && !websocket_is_open(w)) {
		size_t n = each < text.len - at ? each : text.len - at;
		uint8_t *piece = malloc(n);

		ASSERT(piece);
		memcpy(piece, text.data + at, n);
		(void)websocket_input(w, piece, n);
		free(piece);
		at += n;
	}
	ASSERT((websocket_ended(w) || websocket_is_open(w)) == answered);
	if (answered) {
		ASSERT(websocket_next(w, 0, &head) == 0 && head.len > 12);
		ASSERT((memcmp(head.data, "HTTP/1.1 101", 12) == 0) == (a.status == 101));
	}
	websocket_free(&w);
	websockets_fini(&all);
	return 0;
}
