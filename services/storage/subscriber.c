/* subscriber.c - one reader of the shard: picks what it asked for out of the blocks and delivers it within its credit */
#include "subscriber.h"

#include <stdio.h>
#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define RETRY_US 20000
#define CAUGHT_UP_US 1000000

struct subscriber *
subscriber_new(const char *name, const char *group)
{
	struct subscriber *s = xcalloc(1, sizeof(*s));

	snprintf(s->name, sizeof(s->name), "%s", name);
	snprintf(s->group, sizeof(s->group), "%s", group);
	return s;
}

void
subscriber_free(struct subscriber **sp)
{
	struct subscriber *s = *sp;

	if (!s)
		return;
	journal_reader_free(&s->reader);
	buf_fini(&s->out);
	free(s->wanted);
	free(s);
	*sp = NULL;
}

void
subscriber_rest(struct subscriber *s)
{
	if (s->out.len == 0)
		buf_fini(&s->out);
}

static bool
may_stand_back(const struct followers *f, struct subscriber *s)
{
	uint64_t end = f->journal->end;
	bool behind = s->at < end;
	int64_t age = behind ? f->journal->time - s->at_time : 0;

	/* How far behind it begins is not known before its first block. */
	if (s->stand_back_us == 0 || (behind && s->at_time == 0))
		return false;
	if (age > s->stand_back_us ||
	    journal_distance(f->journal, s->at, end) > f->stand_back_bytes) {
		if (!s->stood_enough)
			metric_add(M_STORAGE_STOOD_ENOUGH, 1);
		s->stood_enough = true;
	} else if (age < CAUGHT_UP_US) {
		s->stood_enough = false;
	}
	return !s->stood_enough;
}

bool
subscriber_stands_back(const struct followers *f, struct subscriber *s)
{
	bool now = f->pressure && may_stand_back(f, s);

	if (now && !s->stands_back)
		metric_add(M_STORAGE_STOOD_BACK, 1);
	s->stands_back = now;
	return now;
}

void
subscriber_rewind(struct subscriber *s, uint64_t at)
{
	s->at = at;
	s->told = at;
	buf_clear(&s->out);
}

uint64_t
subscriber_clamp(struct followers *f, struct subscriber *s, uint64_t from)
{
	uint64_t oldest = journal_oldest(f->journal), end = f->journal->end;
	struct msg_skipped m = { .shard = f->shard, .from = from, .to = oldest };

	if (from == 0)
		return oldest;
	if (from > end) {
		if (from != UINT64_MAX)
			log_error("follower.cursor_beyond_end", LS("group", s->group),
			    LS("name", s->name), LU("cursor", from), LU("end", end),
			    LS("means", "the journal lost what the follower has"));
		return end;
	}
	if (from >= oldest)
		return from;
	log_error("follower.skipped", LS("group", s->group), LS("name", s->name),
	    LU("shard", f->shard), LU("from", from), LU("to", oldest),
	    LS("why", "removed by retention before it was read"));
	metric_add(M_FOLLOWER_SKIPPED, 1);
	(void)f->send(f->send_arg, s->name, MSG_SKIPPED, &m);
	return oldest;
}

static bool
wants(const struct followers *f, const struct subscriber *s, const struct entry *e, uint64_t offset)
{
	size_t slot;

	if (e->kind >= ENTRY_STREAM || !(s->kinds >> e->kind & 1))
		return false;
	if (!s->shared || e->partition == ENTRY_ALL_PARTITIONS)
		return true;
	/* All shared groups have the same slots. */
	slot = group_slot_of(&f->groups[0], e->partition);
	return slot < f->groups[0].slot_count && s->wanted[slot] <= offset;
}

/* Adds the view of a block to s->out if anything in it is wanted. Runs of wanted entries are copied at once. */
static void
gather(const struct followers *f, struct subscriber *s, const struct block *b)
{
	struct bytes rest = b->body;
	struct block_view v = { .offset = b->offset, .next = b->next, .time = b->time };
	size_t start = s->out.len;
	const uint8_t *run = NULL, *before = rest.data;
	struct entry e;

	view_put(&s->out, &v);
	while (entry_next(&rest, &e) == 0) {
		bool wanted = wants(f, s, &e, b->offset);

		if (wanted && !run)
			run = before;
		if (!wanted && run) {
			buf_add(&s->out, run, (size_t)(before - run));
			run = NULL;
		}
		before = rest.data;
	}
	if (run)
		buf_add(&s->out, run, (size_t)(before - run));
	v.entries.len = s->out.len - start - VIEW_HEADER_SIZE;
	s->at = b->next;
	s->at_time = b->time;
	if (v.entries.len == 0) {
		s->out.len = start;
		return;
	}
	/* The view's last header field is the length of its entries. */
	for (unsigned i = 0; i < 4; i++)
		s->out.data[start + VIEW_HEADER_SIZE - 4 + i] = (uint8_t)(v.entries.len >> 8 * i);
}

/* Looks at the next block for s. False at the end of the journal, or if it cannot be read now. */
static bool
step(struct followers *f, struct subscriber *s, size_t *ret_read)
{
	const struct block *b = recent_find(f->recent, s->at);
	struct block from_file;
	int r;

	if (b) {
		*ret_read += (size_t)(b->next - b->offset);
		gather(f, s, b);
		return true;
	}
	if (s->at >= f->journal->end)
		return false;
	if (s->at < journal_oldest(f->journal)) {
		/* It cannot be told in the middle of what is gathered: that goes first. */
		if (s->out.len)
			return false;
		subscriber_rewind(s, subscriber_clamp(f, s, s->at));
	}
	if (!s->reader)
		s->reader = journal_reader_new(f->journal);
	r = journal_reader_next(s->reader, s->at, &from_file);
	if (r != 0 && r != ERR_DAMAGED) {
		if (r == ERR_NOT_FOUND)
			s->at = f->journal->end;
		return false;
	}
	*ret_read += (size_t)(from_file.next - from_file.offset);
	if (r == ERR_DAMAGED)
		s->at = from_file.next;
	else
		gather(f, s, &from_file);
	return true;
}

/* False: the receiver is behind or away; what was gathered is gathered again later. */
static bool
deliver(struct followers *f, struct subscriber *s, int64_t now_us)
{
	struct msg_deliver m = {
		.shard = f->shard,
		.epoch = s->epoch,
		.blocks = buf_bytes(&s->out),
		.end = f->journal->end,
		.from = s->told,
		.upto = s->at,
	};

	if (f->send(f->send_arg, s->name, MSG_DELIVER, &m) != 0) {
		subscriber_rewind(s, s->told);
		s->retry_us = now_us + RETRY_US;
		return false;
	}
	metric_add(M_STORAGE_DELIVERED_BYTES, s->out.len);
	s->sent += s->out.len;
	s->told = s->at;
	s->said_us = now_us;
	buf_clear(&s->out);
	return true;
}

bool
subscriber_pump(struct followers *f, struct subscriber *s, int64_t now_us)
{
	size_t read = 0;

	if (s->shared && !s->resumed)
		return false;
	while (read < FOLLOWERS_TURN_BYTES) {
		uint64_t under_way = s->sent - s->received, most;
		bool more = true;

		if (under_way >= s->credit)
			return false;
		most = s->credit - under_way;
		if (most > FOLLOWERS_GATHER_BYTES)
			most = FOLLOWERS_GATHER_BYTES;
		while (more && s->out.len < most && read < FOLLOWERS_TURN_BYTES)
			more = step(f, s, &read);
		if (s->out.len && !deliver(f, s, now_us))
			return false;
		if (!more)
			break;
	}
	if (s->at >= f->journal->end)
		journal_reader_free(&s->reader);
	return read >= FOLLOWERS_TURN_BYTES;
}

void
subscriber_keep_alive(struct followers *f, struct subscriber *s, int64_t now_us)
{
	if (s->out.len == 0)
		(void)deliver(f, s, now_us);
}
