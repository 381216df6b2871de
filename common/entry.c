/* entry.c - entries of journal blocks and block views, written and read; pure */
#include "entry.h"

#include <endian.h>
#include <string.h>

#include "err.h"

static uint8_t *
put_u16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof v);
	return p + sizeof v;
}

static uint8_t *
put_u32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof v);
	return p + sizeof v;
}

static uint8_t *
put_u64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof v);
	return p + sizeof v;
}

static uint16_t
get_u16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return le16toh(v);
}

static uint32_t
get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return le32toh(v);
}

static uint64_t
get_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return le64toh(v);
}

void
entry_put(struct buf *out, const struct entry *e)
{
	uint8_t head[ENTRY_HEADER_SIZE];
	uint8_t *p = head;

	ASSERT(e->body.len <= ENTRY_BODY_MAX);
	*p++ = (uint8_t)e->kind;
	*p++ = 0;
	p = put_u16(p, (uint16_t)e->partition);
	p = put_u32(p, (uint32_t)e->body.len);
	p = put_u64(p, e->stream);
	put_u64(p, e->seq);
	buf_add(out, head, sizeof head);
	buf_add(out, e->body.data, e->body.len);
}

int
entry_next(struct bytes *rest, struct entry *ret_entry)
{
	const uint8_t *p = rest->data;
	uint32_t len;

	if (rest->len == 0)
		return ERR_NOT_FOUND;
	if (rest->len < ENTRY_HEADER_SIZE)
		return ERR_MALFORMED;
	len = get_u32(p + 4);
	if (len > ENTRY_BODY_MAX)
		return ERR_TOO_BIG;
	if (len > rest->len - ENTRY_HEADER_SIZE)
		return ERR_MALFORMED;
	*ret_entry = (struct entry){
		.kind = p[0],
		.partition = get_u16(p + 2),
		.stream = get_u64(p + 8),
		.seq = get_u64(p + 16),
		.body = bytes_of(p + ENTRY_HEADER_SIZE, len),
	};
	*rest = bytes_of(p + ENTRY_HEADER_SIZE + len, rest->len - ENTRY_HEADER_SIZE - len);
	return 0;
}

void
pubrel_put(struct buf *out, struct pubrel r)
{
	uint8_t bytes[PUBREL_SIZE];

	put_u16(put_u64(bytes, r.client), r.packet_id);
	buf_add(out, bytes, sizeof bytes);
}

bool
pubrel_next(struct bytes *rest, struct pubrel *ret_pubrel)
{
	if (rest->len < PUBREL_SIZE)
		return false;
	*ret_pubrel =
	    (struct pubrel){ .client = get_u64(rest->data), .packet_id = get_u16(rest->data + 8) };
	*rest = bytes_of(rest->data + PUBREL_SIZE, rest->len - PUBREL_SIZE);
	return true;
}

void
view_put(struct buf *out, const struct block_view *v)
{
	uint8_t head[VIEW_HEADER_SIZE];
	uint8_t *p = head;

	ASSERT(v->entries.len <= UINT32_MAX);
	p = put_u64(p, v->offset);
	p = put_u64(p, v->next);
	p = put_u64(p, (uint64_t)v->time);
	put_u32(p, (uint32_t)v->entries.len);
	buf_add(out, head, sizeof head);
	buf_add(out, v->entries.data, v->entries.len);
}

int
view_next(struct bytes *rest, struct block_view *ret_view)
{
	const uint8_t *p = rest->data;
	uint32_t len;

	if (rest->len == 0)
		return ERR_NOT_FOUND;
	if (rest->len < VIEW_HEADER_SIZE)
		return ERR_MALFORMED;
	len = get_u32(p + 24);
	if (len > rest->len - VIEW_HEADER_SIZE || get_u64(p + 8) <= get_u64(p))
		return ERR_MALFORMED;
	*ret_view = (struct block_view){
		.offset = get_u64(p),
		.next = get_u64(p + 8),
		.time = (int64_t)get_u64(p + 16),
		.entries = bytes_of(p + VIEW_HEADER_SIZE, len),
	};
	*rest = bytes_of(p + VIEW_HEADER_SIZE + len, rest->len - VIEW_HEADER_SIZE - len);
	return 0;
}
