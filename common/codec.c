/* codec.c - the one encoder and the one decoder of messages between processes; pure
 *
 * Both walk descriptor tables that are made from messages.def. Encoding uses msgpack-c's packer; decoding the bounded
 * cursor of mp.c, because msgpack-c's unpacker allocates by counts that it has not checked. */
#include "codec.h"

#include <endian.h>
#include <msgpack.h>
#include <stddef.h>
#include <string.h>

#include "err.h"
#include "mem.h"

enum field_kind { KIND_U64, KIND_I64, KIND_BOOL, KIND_STR, KIND_BIN, KIND_U64S };
enum field_need { NEED_MUST, NEED_MAY, NEED_RETIRED };

struct field_info {
	uint8_t number;
	enum field_need need;
	enum field_kind kind;
	size_t offset;
	uint64_t limit;
};

struct message_info {
	const char *name;
	const struct field_info *fields;
	size_t count;
};

/* One array a message, closed by a row that is not counted (C has no empty arrays). */
#define MESSAGE(number, ID, name) static const struct field_info fields_##name[] = {
#define FIELD(ID, name, number, field, need, KIND, limit, meaning)                                 \
	{ number, NEED_##need, KIND_##KIND, offsetof(struct msg_##name, field), limit },
#define END(ID, name)                                                                              \
	{                                                                                          \
		0, NEED_RETIRED, KIND_BOOL, 0, 0                                                   \
	}                                                                                          \
	}                                                                                          \
	;
#include "messages.def"
#undef MESSAGE
#undef FIELD
#undef END

static const struct message_info messages[MSG_TYPE_MAX] = {
#define MESSAGE(number, ID, name) [number] = { #ID, fields_##name, COUNT_OF(fields_##name) - 1 },
#define FIELD(ID, name, number, field, need, KIND, limit, meaning)
#define END(ID, name)
#include "messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};

const char *
msg_name(unsigned type)
{
	return type < MSG_TYPE_MAX && messages[type].name ? messages[type].name : "?";
}

static int
write_to_buf(void *data, const char *bytes, size_t len)
{
	buf_add(data, bytes, len);
	return 0;
}

static msgpack_packer
packer_of(struct buf *out)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, write_to_buf);
	return pk;
}

void
mp_put_uint(struct buf *out, uint64_t v)
{
	msgpack_packer pk = packer_of(out);

	msgpack_pack_uint64(&pk, v);
}

void
mp_put_int(struct buf *out, int64_t v)
{
	msgpack_packer pk = packer_of(out);

	msgpack_pack_int64(&pk, v);
}

void
mp_put_double(struct buf *out, double v)
{
	msgpack_packer pk = packer_of(out);

	msgpack_pack_double(&pk, v);
}

void
mp_put_bool(struct buf *out, bool v)
{
	buf_add_u8(out, v ? 0xc3 : 0xc2);
}

void
mp_put_str(struct buf *out, struct bytes v)
{
	msgpack_packer pk = packer_of(out);

	msgpack_pack_str(&pk, v.len);
	buf_add(out, v.data, v.len);
}

void
mp_put_bin(struct buf *out, struct bytes v)
{
	msgpack_packer pk = packer_of(out);

	msgpack_pack_bin(&pk, v.len);
	buf_add(out, v.data, v.len);
}

void
mp_put_array(struct buf *out, uint32_t n)
{
	msgpack_packer pk = packer_of(out);

	msgpack_pack_array(&pk, n);
}

void
mp_put_map(struct buf *out, uint32_t n)
{
	msgpack_packer pk = packer_of(out);

	msgpack_pack_map(&pk, n);
}

/* A field's value on its way between the struct and the frame; zero where its kind does not reach. */
union field_value {
	uint64_t u64;
	int64_t i64;
	bool boolean;
	struct bytes bytes;
};

static const size_t kind_sizes[] = {
	[KIND_U64] = sizeof(uint64_t),
	[KIND_I64] = sizeof(int64_t),
	[KIND_BOOL] = sizeof(bool),
	[KIND_STR] = sizeof(struct bytes),
	[KIND_BIN] = sizeof(struct bytes),
	[KIND_U64S] = sizeof(struct bytes),
};

static union field_value
field_load(const struct field_info *f, const void *msg)
{
	union field_value v;

	memset(&v, 0, sizeof v);
	memcpy(&v, (const uint8_t *)msg + f->offset, kind_sizes[f->kind]);
	return v;
}

/* An optional field is written unless it is 0, false or empty. */
static bool
field_is_written(const struct field_info *f, const void *msg)
{
	union field_value v;

	if (f->need != NEED_MAY)
		return f->need == NEED_MUST;
	v = field_load(f, msg);
	return kind_sizes[f->kind] == sizeof(struct bytes) ? v.bytes.len != 0 : v.u64 != 0;
}

static void
field_encode(const struct field_info *f, const void *msg, struct buf *out)
{
	union field_value v = field_load(f, msg);

	mp_put_uint(out, f->number);
	switch (f->kind) {
	case KIND_U64:
		mp_put_uint(out, v.u64);
		break;
	case KIND_I64:
		mp_put_int(out, v.i64);
		break;
	case KIND_BOOL:
		mp_put_bool(out, v.boolean);
		break;
	case KIND_STR:
		mp_put_str(out, v.bytes);
		break;
	case KIND_BIN:
	case KIND_U64S:
		mp_put_bin(out, v.bytes);
		break;
	}
}

void
codec_encode(enum msg_type type, const void *msg, struct buf *out)
{
	const struct message_info *m = &messages[type];
	uint32_t count = 0;

	ASSERT((unsigned)type < MSG_TYPE_MAX && m->name);
	for (size_t i = 0; i < m->count; i++)
		count += field_is_written(&m->fields[i], msg);
	mp_put_array(out, 2);
	mp_put_uint(out, type);
	mp_put_map(out, count);
	for (size_t i = 0; i < m->count; i++) {
		if (field_is_written(&m->fields[i], msg))
			field_encode(&m->fields[i], msg, out);
	}
}

static size_t
uint_size(uint64_t v)
{
	return v < 0x80 ? 1 : v <= UINT8_MAX ? 2 : v <= UINT16_MAX ? 3 : v <= UINT32_MAX ? 5 : 9;
}

static size_t
int_size(int64_t v)
{
	if (v >= 0)
		return uint_size((uint64_t)v);
	return v >= -32 ? 1 : v >= INT8_MIN ? 2 : v >= INT16_MIN ? 3 : v >= INT32_MIN ? 5 : 9;
}

/* With a tag of its own up to short_max, then as the length's form. */
static size_t
bytes_size(size_t len, size_t short_max)
{
	return len + (len <= short_max ? 1 : len <= UINT8_MAX ? 2 : len <= UINT16_MAX ? 3 : 5);
}

static size_t
field_size(const struct field_info *f, const void *msg)
{
	union field_value v = field_load(f, msg);

	switch (f->kind) {
	case KIND_U64:
		return uint_size(v.u64);
	case KIND_I64:
		return int_size(v.i64);
	case KIND_BOOL:
		return 1;
	case KIND_STR:
		return bytes_size(v.bytes.len, 31);
	case KIND_BIN:
	case KIND_U64S:
		return v.bytes.len == 0 ? 2 : bytes_size(v.bytes.len, 0);
	}
	return 0;
}

size_t
codec_size(enum msg_type type, const void *msg)
{
	const struct message_info *m = &messages[type];
	size_t size = 1 + uint_size(type);
	uint32_t count = 0;

	ASSERT((unsigned)type < MSG_TYPE_MAX && m->name);
	for (size_t i = 0; i < m->count; i++) {
		if (field_is_written(&m->fields[i], msg)) {
			size += uint_size(m->fields[i].number) + field_size(&m->fields[i], msg);
			count++;
		}
	}
	return size + (count < 16 ? 1 : 3);
}

/* Writes the decoded value into msg; ERR_TOO_BIG over the limit. Mistyped values leave the cursor failed. */
static int
field_decode(const struct field_info *f, struct mp_cursor *c, uint8_t *msg)
{
	union field_value v;
	uint64_t size = 0; /* for the limit: a number's magnitude, or how many bytes */

	memset(&v, 0, sizeof v);
	switch (f->kind) {
	case KIND_U64:
		v.u64 = size = mp_get_uint(c);
		break;
	case KIND_I64:
		v.i64 = mp_get_int(c);
		size = v.i64 < 0 ? ~(uint64_t)v.i64 : (uint64_t)v.i64;
		break;
	case KIND_BOOL:
		v.boolean = mp_get_bool(c);
		break;
	case KIND_STR:
	case KIND_BIN:
	case KIND_U64S:
		v.bytes = f->kind == KIND_STR ? mp_get_str(c) : mp_get_bin(c);
		size = v.bytes.len;
		if (f->kind == KIND_U64S && size % 8)
			c->failed = true;
		break;
	}
	memcpy(msg + f->offset, &v, kind_sizes[f->kind]);
	return size > f->limit ? ERR_TOO_BIG : 0;
}

static const struct field_info *
field_find(const struct message_info *m, uint64_t number, size_t *ret_index)
{
	for (size_t i = 0; i < m->count; i++) {
		if (m->fields[i].number == number && m->fields[i].need != NEED_RETIRED) {
			*ret_index = i;
			return &m->fields[i];
		}
	}
	return NULL;
}

static int
fields_decode(const struct message_info *m, struct mp_cursor *c, uint8_t *msg)
{
	uint32_t pairs = mp_get_map(c);
	uint64_t seen = 0;
	size_t index = 0;
	int err;

	for (uint32_t i = 0; i < pairs && !c->failed; i++) {
		const struct field_info *f = field_find(m, mp_get_uint(c), &index);

		if (!f) {
			mp_skip(c);
			continue;
		}
		if (seen & 1ull << index)
			return ERR_MALFORMED;
		seen |= 1ull << index;
		err = field_decode(f, c, msg);
		if (err)
			return err;
	}
	if (c->failed || c->at != c->end)
		return ERR_MALFORMED;
	for (size_t i = 0; i < m->count; i++) {
		if (m->fields[i].need == NEED_MUST && !(seen & 1ull << i))
			return ERR_MALFORMED;
	}
	return 0;
}

int
codec_decode(struct bytes frame, enum msg_type *ret_type, union msg_any *ret_msg)
{
	struct mp_cursor c = mp_cursor_of(frame);
	union msg_any msg;
	uint64_t type;
	int err;

	if (mp_get_array(&c) != 2)
		return ERR_MALFORMED;
	type = mp_get_uint(&c);
	if (c.failed)
		return ERR_MALFORMED;
	if (type >= MSG_TYPE_MAX || !messages[type].name)
		return ERR_UNSUPPORTED;
	memset(&msg, 0, sizeof msg);
	err = fields_decode(&messages[type], &c, (uint8_t *)&msg);
	if (err)
		return err;
	*ret_type = (enum msg_type)type;
	*ret_msg = msg;
	return 0;
}

size_t
u64s_count(struct bytes list)
{
	return list.len / 8;
}

uint64_t
u64s_at(struct bytes list, size_t i)
{
	uint64_t v;

	ASSERT(i < u64s_count(list));
	memcpy(&v, list.data + 8 * i, sizeof v);
	return le64toh(v);
}

void
u64s_add(struct buf *list, uint64_t v)
{
	v = htole64(v);
	buf_add(list, &v, sizeof v);
}
