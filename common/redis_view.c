/* redis_view.c - replies of Redis as bounded values */
#include "redis_impl.h"

#include <hiredis/hiredis.h>
#include <string.h>

#include "err.h"
#include "mem.h"

struct redis_view
redis_view_of(const redisReply *reply)
{
	struct redis_view v = { .kind = REDIS_NIL };

	if (reply->type == REDIS_REPLY_INTEGER) {
		v.kind = REDIS_INTEGER;
		v.integer = reply->integer;
	} else if (reply->type == REDIS_REPLY_ARRAY) {
		v.kind = REDIS_ARRAY;
		v.count = reply->elements;
		v.elements = reply->element;
	} else if (reply->type != REDIS_REPLY_NIL) {
		v.kind = REDIS_TEXT;
		v.text = bytes_of(reply->str, (size_t)reply->len);
	}
	return v;
}

struct redis_view
redis_at(const struct redis_view *v, size_t i)
{
	if (v->kind != REDIS_ARRAY || i >= v->count)
		return (struct redis_view){ .kind = REDIS_NIL };
	return redis_view_of(((redisReply *const *)v->elements)[i]);
}

bool
redis_uint(const struct redis_view *v, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (v->kind == REDIS_INTEGER) {
		if (v->integer < 0 || (uint64_t)v->integer > max)
			return false;
		*ret = (uint64_t)v->integer;
		return true;
	}
	if (v->kind != REDIS_TEXT || v->text.len == 0)
		return false;
	for (size_t i = 0; i < v->text.len; i++) {
		unsigned digit = v->text.data[i] - (unsigned)'0';

		if (digit > 9 || digit > max || n > (max - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*ret = n;
	return true;
}

bool
redis_text(const struct redis_view *v, struct bytes *ret)
{
	if (v->kind != REDIS_TEXT)
		return false;
	*ret = v->text;
	return true;
}

int
redis_err_of(const char *text)
{
	static const struct {
		const char *prefix;
		int err;
	} table[] = {
		{ "OOM", ERR_FULL },
		{ "LOADING", ERR_AGAIN },
		{ "BUSY", ERR_AGAIN },
		{ "READONLY", ERR_AGAIN },
		{ "MASTERDOWN", ERR_AGAIN },
		{ "MISCONF", ERR_AGAIN },
		{ "NOSCRIPT", ERR_AGAIN },
	};

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		if (strncmp(text, table[i].prefix, strlen(table[i].prefix)) == 0)
			return table[i].err;
	}
	return ERR_REFUSED;
}
