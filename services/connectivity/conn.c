/* conn.c - what a protocol sees of a connection */
#include "conn.h"

#include <stdlib.h>

#include "mem.h"

void
conn_set_init(struct conn_set *set)
{
	*set = (struct conn_set){ .touched = NULL };
	set->touched_end = &set->touched;
}

void
conn_set_fini(struct conn_set *set)
{
	while (set->pool_count) {
		buf_fini(set->pool[--set->pool_count]);
		free(set->pool[set->pool_count]);
	}
}

void
conn_init(struct conn *c, struct conn_set *set)
{
	*c = (struct conn){ .set = set, .fd = -1 };
}

void
conn_fini(struct conn *c)
{
	conn_buf_give(c->set, &c->out);
	conn_buf_give(c->set, &c->in);
	if (!c->touched)
		return;
	for (struct conn **at = &c->set->touched; *at; at = &(*at)->touched_next) {
		if (*at == c) {
			*at = c->touched_next;
			if (!*at)
				c->set->touched_end = at;
			break;
		}
	}
}

void
conn_touch(struct conn *c)
{
	if (c->touched)
		return;
	c->touched = true;
	c->touched_next = NULL;
	*c->set->touched_end = c;
	c->set->touched_end = &c->touched_next;
}

struct conn *
conn_next_touched(struct conn_set *set)
{
	struct conn *c = set->touched;

	if (!c)
		return NULL;
	set->touched = c->touched_next;
	if (!set->touched)
		set->touched_end = &set->touched;
	c->touched = false;
	return c;
}

struct buf *
conn_out_begin(struct conn *c)
{
	if (!c->out)
		c->out = conn_buf_take(c->set);
	if (c->out->len >= CONN_URGENT_BYTES)
		c->set->urgent = true;
	conn_touch(c);
	return c->out;
}

void
conn_pause(struct conn *c, uint32_t why)
{
	c->paused |= why;
	conn_touch(c);
}

void
conn_resume(struct conn *c, uint32_t why)
{
	if (!(c->paused & why))
		return;
	c->paused &= ~why;
	conn_touch(c);
}

void
conn_deadline(struct conn *c, int64_t at_us)
{
	c->deadline_us = at_us;
	conn_touch(c);
}

void
conn_close(struct conn *c)
{
	if (c->closing == CONN_OPEN)
		c->closing = CONN_CLOSE;
	conn_touch(c);
}

struct buf *
conn_buf_take(struct conn_set *set)
{
	if (set->pool_count) {
		struct buf *b = set->pool[--set->pool_count];

		set->pool_bytes -= b->cap;
		return b;
	}
	return xcalloc(1, sizeof(struct buf));
}

void
conn_buf_give(struct conn_set *set, struct buf **p_buf)
{
	struct buf *b = *p_buf;

	*p_buf = NULL;
	if (!b)
		return;
	if (set->pool_count < CONN_POOL_MAX && b->cap <= CONN_POOL_BUF_MAX &&
	    set->pool_bytes + b->cap <= CONN_POOL_BYTES_MAX) {
		buf_clear(b);
		set->pool_bytes += b->cap;
		set->pool[set->pool_count++] = b;
		return;
	}
	buf_fini(b);
	free(b);
}
