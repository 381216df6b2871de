/* websocket.c - one client's WebSocket: the handshake, then frames both ways; no I/O
 *
 *	state	 bytes come		peer's Close, a fault		we close
 *	REQUEST	 101 -> OPEN		refusal -> ENDED		-> ENDED
 *	OPEN	 decoded		answered by Close -> ENDED	-> CLOSING
 *	CLOSING	 thrown away		thrown away			nothing
 *	ENDED	 thrown away		thrown away			nothing
 *
 * In CLOSING what is to be sent goes out first, then the Close frame; in ENDED only the Close frame, or the refusal.
 *
 * wslay reads the frames. It buffers 4 KiB for that, so its reader is lent: a connection has one only while a frame has not
 * arrived whole. */
#include "websocket.h"

#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "err.h"
#include "mem.h"
#include "utf8.h"

enum state { REQUEST, OPEN, CLOSING, ENDED };

struct websocket_reader {
	struct websocket_reader *next;
	wslay_frame_context_ptr frames;
	const uint8_t *at; /* input that frames has not taken */
	size_t left;
	uint64_t taken; /* bytes that frames has taken, ... */
	uint64_t used;	/* ... and those that were whole headers, or payload */
};

struct websocket {
	struct websockets *all;
	struct websocket_reader *reader;
	const char *fault;
	struct buf request; /* as far as it has come */
	struct buf head;    /* what goes before the rest of the frame */
	size_t head_at;
	uint64_t frame_left; /* of the frame that is being received */
	size_t out_left;     /* of the frame that is being sent */
	uint8_t *pong;	     /* what the last ping said, to be sent back; NULL: nothing */
	uint16_t close_code; /* to be sent; 0: Close without one */
	uint8_t pong_len;
	uint8_t control_len;
	uint8_t opcode; /* of the frame that is being received */
	uint8_t state;
	bool in_frame;
	bool in_message;
	bool fin;
	bool close_due;
	uint8_t *control; /* payload of the control frame that is being received */
};

/* --- readers --- */

static ssize_t
on_want_bytes(uint8_t *to, size_t len, int flags, void *arg)
{
	struct websocket_reader *r = arg;

	(void)flags;
	if (r->left == 0)
		return -1;
	len = len < r->left ? len : r->left;
	memcpy(to, r->at, len);
	r->at += len;
	r->left -= len;
	r->taken += len;
	return (ssize_t)len;
}

static void
reader_free(struct websocket_reader **p_r)
{
	struct websocket_reader *r = *p_r;

	*p_r = NULL;
	if (!r)
		return;
	wslay_frame_context_free(r->frames);
	free(r);
}

static struct websocket_reader *
reader_take(struct websockets *all)
{
	const struct wslay_frame_callbacks callbacks = { .recv_callback = on_want_bytes };
	struct websocket_reader *r = all->spare;

	if (r) {
		all->spare = r->next;
		all->spare_count--;
		return r;
	}
	r = xcalloc(1, sizeof(*r));
	ASSERT(wslay_frame_context_init(&r->frames, &callbacks, r) == 0);
	return r;
}

/* It stands between two frames. */
static void
reader_give(struct websockets *all, struct websocket_reader **p_r)
{
	struct websocket_reader *r = *p_r;

	if (all->spare_count == WEBSOCKET_READERS_MAX) {
		reader_free(p_r);
		return;
	}
	*p_r = NULL;
	r->next = all->spare;
	all->spare = r;
	all->spare_count++;
}

void
websockets_fini(struct websockets *all)
{
	while (all->spare) {
		struct websocket_reader *r = all->spare;

		all->spare = r->next;
		reader_free(&r);
	}
	all->spare_count = 0;
}

/* --- life --- */

struct websocket *
websocket_new(struct websockets *all)
{
	struct websocket *w = xcalloc(1, sizeof(*w));

	w->all = all;
	return w;
}

void
websocket_free(struct websocket **p_w)
{
	struct websocket *w = *p_w;

	*p_w = NULL;
	if (!w)
		return;
	reader_free(&w->reader);
	buf_fini(&w->request);
	buf_fini(&w->head);
	free(w->pong);
	free(w->control);
	free(w);
}

bool
websocket_ended(const struct websocket *w)
{
	return w->state == ENDED;
}

bool
websocket_is_open(const struct websocket *w)
{
	return w->state == OPEN;
}

const char *
websocket_fault(const struct websocket *w)
{
	return w->fault;
}

static void
end(struct websocket *w, uint16_t close_code, const char *fault)
{
	w->state = ENDED;
	w->close_due = true;
	w->close_code = close_code;
	w->fault = fault;
}

void
websocket_close(struct websocket *w)
{
	if (w->state == REQUEST) {
		w->state = ENDED;
	} else if (w->state == OPEN) {
		w->state = CLOSING;
		w->close_due = true;
		w->close_code = WSLAY_CODE_NORMAL_CLOSURE;
	}
}

/* --- input --- */

/* RFC 6455, 5.1, 5.2, 5.4. What a frame's own header breaks, wslay has found. */
static void
begin_frame(struct websocket *w, const struct wslay_frame_iocb *f)
{
	bool control = wslay_is_ctrl_frame(f->opcode);

	w->in_frame = true;
	w->frame_left = f->payload_length;
	w->opcode = f->opcode;
	w->fin = f->fin;
	w->control_len = 0;
	if (!f->mask)
		end(w, WSLAY_CODE_PROTOCOL_ERROR, "a frame that is not masked");
	else if (f->rsv)
		end(w, WSLAY_CODE_PROTOCOL_ERROR, "reserved bits of a frame are set");
	else if (f->payload_length > w->all->frame_max)
		end(w, WSLAY_CODE_MESSAGE_TOO_BIG, "a frame larger than any packet may be");
	else if (f->opcode == WSLAY_TEXT_FRAME)
		end(w, WSLAY_CODE_UNSUPPORTED_DATA, "a text frame; MQTT is binary");
	else if (control ? f->opcode > WSLAY_PONG : f->opcode > WSLAY_BINARY_FRAME)
		end(w, WSLAY_CODE_PROTOCOL_ERROR, "a frame of an unknown kind");
	else if (f->opcode == WSLAY_CONTINUATION_FRAME && !w->in_message)
		end(w, WSLAY_CODE_PROTOCOL_ERROR, "a continuation of nothing");
	else if (f->opcode == WSLAY_BINARY_FRAME && w->in_message)
		end(w, WSLAY_CODE_PROTOCOL_ERROR, "a message within a message");
	else if (control && f->payload_length)
		w->control = xrealloc(w->control, f->payload_length);
}

/* 7.4 */
static bool
is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

static void
on_peer_close(struct websocket *w)
{
	unsigned code = 0;

	if (w->control_len >= 2)
		code = (unsigned)w->control[0] << 8 | w->control[1];
	if (w->control_len && !is_close_code(code))
		end(w, WSLAY_CODE_PROTOCOL_ERROR, "a Close frame with a code that is none");
	else if (w->control_len > 2 && !utf8_valid(bytes_of(w->control + 2, w->control_len - 2u)))
		end(w, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA,
		    "a Close frame whose text is not UTF-8");
	else
		end(w, (uint16_t)code, NULL);
}

static void
end_frame(struct websocket *w)
{
	w->in_frame = false;
	if (!wslay_is_ctrl_frame(w->opcode)) {
		w->in_message = !w->fin;
		return;
	}
	if (w->opcode == WSLAY_CONNECTION_CLOSE) {
		on_peer_close(w);
	} else if (w->opcode == WSLAY_PING) {
		/* The last one only (5.5.3): however fast they come, one answer waits. */
		free(w->pong);
		w->pong = w->control ? w->control : xmalloc(1);
		w->pong_len = w->control_len;
		w->control = NULL;
	}
	free(w->control);
	w->control = NULL;
}

/* Some payload of the frame; what is data goes to `to`. Returns how much. */
static size_t
take_payload(struct websocket *w, const struct wslay_frame_iocb *f, uint8_t *to)
{
	size_t data = 0;

	w->frame_left -= f->data_length;
	if (!wslay_is_ctrl_frame(w->opcode)) {
		memcpy(to, f->data, f->data_length);
		data = f->data_length;
	} else if (f->data_length) {
		memcpy(w->control + w->control_len, f->data, f->data_length);
		w->control_len = (uint8_t)(w->control_len + f->data_length);
	}
	if (w->frame_left == 0)
		end_frame(w);
	return data;
}

static size_t
header_len(const struct wslay_frame_iocb *f)
{
	size_t extended = f->payload_length < 126 ? 0 : f->payload_length <= UINT16_MAX ? 2 : 8;

	return 2 + extended + (f->mask ? 4 : 0);
}

/* The payload is never longer than what has been read of the input: it may take its place. */
static size_t
decode(struct websocket *w, const uint8_t *from, size_t len, uint8_t *to)
{
	struct websocket_reader *r = w->reader ? w->reader : reader_take(w->all);
	size_t got = 0;

	w->reader = r;
	r->at = from;
	r->left = len;
	while (w->state == OPEN) {
		struct wslay_frame_iocb f = { .fin = 0 };
		ssize_t n = wslay_frame_recv(r->frames, &f);

		if (n == WSLAY_ERR_WANT_READ)
			break;
		if (n < 0) {
			end(w, WSLAY_CODE_PROTOCOL_ERROR, "a frame that is malformed");
			break;
		}
		if (!w->in_frame) {
			r->used += header_len(&f);
			begin_frame(w, &f);
			if (w->state != OPEN)
				break;
		}
		r->used += f.data_length;
		got += take_payload(w, &f, to + got);
	}
	if (w->state != OPEN)
		reader_free(&w->reader);
	else if (!w->in_frame && r->taken == r->used)
		reader_give(w->all, &w->reader);
	return got;
}

/* Returns how much of data belonged to the request. */
static size_t
take_request(struct websocket *w, const uint8_t *data, size_t len)
{
	size_t room = WEBSOCKET_REQUEST_MAX - w->request.len, before = w->request.len, whole;
	struct websocket_answer answer;

	buf_add(&w->request, data, len < room ? len : room);
	if (websocket_request(buf_bytes(&w->request), &w->all->policy, &answer, &whole) != 0)
		return len;
	buf_fini(&w->request);
	websocket_put_answer(&w->head, &answer);
	w->state = answer.status == 101 ? OPEN : ENDED;
	w->fault = answer.why;
	return whole - before;
}

size_t
websocket_input(struct websocket *w, uint8_t *data, size_t len)
{
	size_t at = 0;

	if (w->state == REQUEST)
		at = take_request(w, data, len);
	if (w->state != OPEN || at == len)
		return 0;
	return decode(w, data + at, len - at, data);
}

/* --- output --- */

/* Of frames from a server, which are not masked: written here, because wslay would copy their payload too. */
static void
put_header(struct buf *out, unsigned opcode, size_t len)
{
	buf_add_u8(out, (uint8_t)(0x80 | opcode));
	if (len > WEBSOCKET_CONTROL_MAX) {
		buf_add_u8(out, 126);
		buf_add_u8(out, (uint8_t)(len >> 8));
		buf_add_u8(out, (uint8_t)len);
	} else {
		buf_add_u8(out, (uint8_t)len);
	}
}

static void
put_pong(struct websocket *w)
{
	put_header(&w->head, WSLAY_PONG, w->pong_len);
	buf_add(&w->head, w->pong, w->pong_len);
	free(w->pong);
	w->pong = NULL;
}

static void
put_close(struct websocket *w)
{
	put_header(&w->head, WSLAY_CONNECTION_CLOSE, w->close_code ? 2 : 0);
	if (w->close_code) {
		buf_add_u8(&w->head, (uint8_t)(w->close_code >> 8));
		buf_add_u8(&w->head, (uint8_t)w->close_code);
	}
	w->close_due = false;
	w->state = ENDED;
}

bool
websocket_has_output(const struct websocket *w)
{
	return w->head.len || w->pong || w->close_due || w->out_left;
}

size_t
websocket_next(struct websocket *w, size_t out_len, struct bytes *ret_head)
{
	/* Built only when all before it is sent: however many pings come, one answer stands in head. */
	if (w->out_left == 0 && w->head.len == 0) {
		bool mute = w->state == REQUEST || w->state == ENDED;

		if (w->pong)
			put_pong(w);
		if (out_len && !mute && (w->state == OPEN || w->close_due)) {
			w->out_left =
			    out_len < WEBSOCKET_FRAME_OUT_MAX ? out_len : WEBSOCKET_FRAME_OUT_MAX;
			put_header(&w->head, WSLAY_BINARY_FRAME, w->out_left);
		} else if (w->close_due) {
			put_close(w);
		}
	}
	*ret_head = w->head.len ? bytes_of(w->head.data + w->head_at, w->head.len - w->head_at)
				: bytes_of(NULL, 0);
	return w->out_left;
}

size_t
websocket_sent(struct websocket *w, size_t n)
{
	size_t head = w->head.len - w->head_at;

	if (n < head) {
		w->head_at += n;
		return 0;
	}
	buf_fini(&w->head);
	w->head_at = 0;
	w->out_left -= n - head;
	return n - head;
}
