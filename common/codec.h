/* codec.h - the one encoder and the one decoder of messages between processes
 *
 * Generated from messages.def: enum msg_type (MSG_HELLO = 10, ...), struct msg_hello, ... A decoded STR, BIN or U64S field
 * borrows from the frame. Decoding never allocates, so no frame can make it. Errors: ERR_MALFORMED (not our shape, a
 * MUST field missing, a field repeated or mistyped, trailing bytes), ERR_TOO_BIG (over the field's limit), ERR_UNSUPPORTED
 * (unknown message number). Unknown fields are skipped. */
#ifndef ROOST_CODEC_H
#define ROOST_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

enum msg_type {
#define MESSAGE(number, ID, name) MSG_##ID = (number),
#define FIELD(ID, name, number, field, need, KIND, limit, meaning)
#define END(ID, name)
#include "messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};

#define MSG_TYPE_MAX 64 /* message numbers are below this */

#define CODEC_C_U64 uint64_t
#define CODEC_C_I64 int64_t
#define CODEC_C_BOOL bool
#define CODEC_C_STR struct bytes
#define CODEC_C_BIN struct bytes
#define CODEC_C_U64S struct bytes

/* clang-format off */
#define MESSAGE(number, ID, name) struct msg_##name {
#define FIELD(ID, name, number, field, need, KIND, limit, meaning) CODEC_C_##KIND field;
#define END(ID, name) char reserved_; };
#include "messages.def"
#undef MESSAGE
#undef FIELD
#undef END
/* clang-format on */

union msg_any {
#define MESSAGE(number, ID, name) struct msg_##name name;
#define FIELD(ID, name, number, field, need, KIND, limit, meaning)
#define END(ID, name)
#include "messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};

/* "HELLO"; "?" for a number that no message has. */
const char *msg_name(unsigned type);

/* Appends the encoding of msg (a struct msg_* of that type) to out. MAY fields that are 0 or empty are left out. */
void codec_encode(enum msg_type type, const void *msg, struct buf *out);

/* Bytes that codec_encode() appends for msg. */
size_t codec_size(enum msg_type type, const void *msg);

/* Decodes one whole frame. ret_msg is untouched on failure. */
int codec_decode(struct bytes frame, enum msg_type *ret_type, union msg_any *ret_msg);

/* U64S fields. */
size_t u64s_count(struct bytes list);
uint64_t u64s_at(struct bytes list, size_t i); /* i < u64s_count() */
void u64s_add(struct buf *list, uint64_t v);   /* builds a list: then buf_bytes(list) */

/* --- msgpack primitives, for record.c, entry.c and state that is kept in msgpack. Writers append to out. --- */

void mp_put_uint(struct buf *out, uint64_t v);
void mp_put_int(struct buf *out, int64_t v);
void mp_put_double(struct buf *out, double v);
void mp_put_bool(struct buf *out, bool v);
void mp_put_str(struct buf *out, struct bytes v);
void mp_put_bin(struct buf *out, struct bytes v);
void mp_put_array(struct buf *out, uint32_t n);
void mp_put_map(struct buf *out, uint32_t n);

/* A sticky cursor: after the first error every read returns zero; ask mp_failed() once at the end. */
struct mp_cursor {
	const uint8_t *at;
	const uint8_t *end;
	bool failed;
};

struct mp_cursor mp_cursor_of(struct bytes b);
uint64_t mp_get_uint(struct mp_cursor *c);
int64_t mp_get_int(struct mp_cursor *c);
double mp_get_double(struct mp_cursor *c); /* float32, float64 or an integer */
bool mp_get_bool(struct mp_cursor *c);
struct bytes mp_get_str(struct mp_cursor *c);
struct bytes mp_get_bin(struct mp_cursor *c);
uint32_t mp_get_array(struct mp_cursor *c); /* count, checked against the bytes left */
uint32_t mp_get_map(struct mp_cursor *c);
uint8_t mp_peek(const struct mp_cursor
	*c); /* first byte of the next value; 0xc1 (never used) at the end or failed */
void mp_skip(struct mp_cursor *c); /* any one value; depth at most 8 */

#endif
