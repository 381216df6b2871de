/* followers.c - who reads the shard, from where, within which credit */
#include "followers.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "pressure.h"
#include "subscriber.h"

#define KEEP_ALIVE_US 900000
#define ASSIGN_AGAIN_US 10000000

static struct subscriber *
find(const struct followers *f, const char *name, const char *group)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->all[i]->name, name) == 0 && strcmp(f->all[i]->group, group) == 0)
			return f->all[i];
	return NULL;
}

static struct group *
find_group(struct followers *f, const char *name)
{
	for (size_t i = 0; i < f->group_count; i++)
		if (strcmp(f->groups[i].name, name) == 0)
			return &f->groups[i];
	return NULL;
}

static void
forget(struct followers *f, struct subscriber *s, const char *why)
{
	struct group *g = s->shared ? find_group(f, s->group) : NULL;
	struct group_member *m = g ? group_find(g, s->name) : NULL;

	log_info("follower.gone", LS("group", s->group), LS("name", s->name), LU("shard", f->shard),
	    LS("why", why));
	if (m && m->life == s->life)
		group_leave(g, &m);
	for (size_t i = 0; i < f->count; i++) {
		if (f->all[i] != s)
			continue;
		f->all[i] = f->all[--f->count];
		break;
	}
	subscriber_free(&s);
}

void
followers_fini(struct followers *f)
{
	if (!f->journal)
		return;
	f->journal = NULL;
	while (f->count)
		subscriber_free(&f->all[--f->count]);
	for (size_t i = 0; i < f->group_count; i++)
		group_fini(&f->groups[i]);
	f->group_count = 0;
	cursors_save(&f->cursors);
	cursors_fini(&f->cursors);
}

/* Group names stand in file names, logs and the cursors file. */
static bool
group_name(struct bytes b, char out[GROUP_NAME_MAX])
{
	if (b.len >= GROUP_NAME_MAX)
		return false;
	for (size_t i = 0; i < b.len; i++)
		if (!((b.data[i] >= 'a' && b.data[i] <= 'z') ||
			(b.data[i] >= '0' && b.data[i] <= '9') || b.data[i] == '-' ||
			b.data[i] == '_'))
			return false;
	if (b.len)
		memcpy(out, b.data, b.len);
	out[b.len] = '\0';
	return true;
}

static void
refuse(const char *from, const char *why)
{
	metric_add(M_BUS_REJECTED, 1);
	log_warn("follower.refused", LS("name", from), LS("why", why));
}

static int
join(struct followers *f, struct subscriber *s)
{
	struct group *g = find_group(f, s->group);
	struct group_member *m;

	if (!g) {
		if (f->group_count == FOLLOWERS_GROUPS_MAX)
			return ERR_FULL;
		g = &f->groups[f->group_count++];
		group_init(g, s->group, f->shard, f->shards, f->partitions);
	}
	if (!s->wanted)
		s->wanted = xcalloc(g->slot_count ? g->slot_count : 1, sizeof(*s->wanted));
	return group_join(g, s->name, s->life, &m);
}

void
followers_on_subscribe(
    struct followers *f, const char *from, const struct msg_subscribe *m, int64_t now_us)
{
	char group[GROUP_NAME_MAX];
	struct subscriber *s;

	if (!group_name(m->group, group) || (m->shared && group[0] == '\0')) {
		refuse(from, "group name");
		return;
	}
	s = find(f, from, group);
	if (s && s->life > m->life) {
		refuse(from, "an older life");
		return;
	}
	if (!s) {
		if (f->count == FOLLOWERS_MAX) {
			refuse(from, "too many followers");
			return;
		}
		s = f->all[f->count++] = subscriber_new(from, group);
	}
	s->life = m->life;
	s->shared = m->shared;
	s->kinds = m->kinds;
	s->credit = m->credit;
	s->patience_us = (int64_t)m->patience * 1000;
	s->stand_back_us = (int64_t)m->stand_back * 1000;
	s->stands_back = s->stood_enough = false;
	s->at_time = 0;
	s->sent = s->received = 0;
	s->cursor_known = false;
	s->resumed = false;
	s->retry_us = 0;
	s->seen_us = s->said_us = now_us;
	if (group[0])
		(void)cursors_get(&f->cursors, group);
	if (s->shared) {
		if (join(f, s) != 0) {
			refuse(from, "too many groups or members");
			forget(f, s, "no room");
		}
		return;
	}
	s->epoch = m->number;
	subscriber_rewind(s, subscriber_clamp(f, s, m->from));
	log_info("follower.subscribe", LS("group", group), LS("name", from), LU("shard", f->shard),
	    LU("from", s->at), LU("behind", journal_distance(f->journal, s->at, f->journal->end)));
}

void
followers_on_resume(
    struct followers *f, const char *from, const struct msg_resume *m, int64_t now_us)
{
	struct subscriber *s = NULL;
	uint64_t least = UINT64_MAX;
	size_t n = u64s_count(m->partitions), i, slot;

	for (i = 0; i < f->count && !s; i++)
		if (f->all[i]->shared && f->all[i]->epoch == m->epoch &&
		    strcmp(f->all[i]->name, from) == 0)
			s = f->all[i];
	if (!s || s->epoch == 0)
		return; /* of an assignment that is over; the next one is on its way */
	if (u64s_count(m->offsets) != n) {
		refuse(from, "partitions and offsets of different length");
		return;
	}
	for (slot = 0; slot < f->groups[0].slot_count; slot++)
		s->wanted[slot] = NOT_ITS_PARTITION;
	for (i = 0; i < n; i++) {
		uint64_t partition = u64s_at(m->partitions, i), offset = u64s_at(m->offsets, i);

		if (partition >= f->partitions ||
		    !followers_owns(f, s->name, s->life, (uint32_t)partition, s->epoch))
			continue;
		s->wanted[group_slot_of(&f->groups[0], (uint32_t)partition)] = offset;
		if (offset < least)
			least = offset;
	}
	s->resumed = true;
	s->seen_us = now_us;
	subscriber_rewind(s, subscriber_clamp(f, s, least));
	log_info("follower.resume", LS("group", s->group), LS("name", from), LU("shard", f->shard),
	    LU("epoch", m->epoch), LU("partitions", n), LU("from", s->at),
	    LU("behind", journal_distance(f->journal, s->at, f->journal->end)));
}

/* A group is as far as the least of its members, and only while each of them says so under its present assignment. */
static void
advance_group(struct followers *f, const char *group)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < f->count; i++) {
		const struct subscriber *s = f->all[i];

		if (strcmp(s->group, group) != 0)
			continue;
		if (s->shared && (!s->resumed || !s->cursor_known))
			return;
		if (s->cursor_known && s->cursor < least)
			least = s->cursor;
	}
	for (size_t i = 0; i < f->group_count; i++)
		if (strcmp(f->groups[i].name, group) == 0 && f->groups[i].dirty)
			return;
	if (least != UINT64_MAX)
		cursors_advance(&f->cursors, group, least);
}

/* A member without partitions holds nothing back. */
static bool
has_partitions(const struct followers *f, const struct subscriber *s)
{
	if (!s->shared)
		return true;
	for (size_t slot = 0; slot < f->groups[0].slot_count; slot++)
		if (s->wanted[slot] != NOT_ITS_PARTITION)
			return true;
	return false;
}

void
followers_on_progress(
    struct followers *f, const char *from, const struct msg_progress *m, int64_t now_us)
{
	char group[GROUP_NAME_MAX];
	struct subscriber *s;
	struct msg_unknown unknown = { .group = m->group };

	if (!group_name(m->group, group)) {
		refuse(from, "group name");
		return;
	}
	s = find(f, from, group);
	if (!s) {
		(void)f->send(f->send_arg, from, MSG_UNKNOWN, &unknown);
		return;
	}
	s->seen_us = now_us;
	if (s->shared && m->epoch != s->epoch)
		return;
	if (m->received > s->received)
		s->received = m->received < s->sent ? m->received : s->sent;
	if (group[0] == '\0' || (s->shared && !s->resumed))
		return;
	s->cursor = m->cursor <= f->journal->end ? m->cursor : f->journal->end;
	if (!has_partitions(f, s))
		s->cursor = f->journal->end;
	s->cursor_known = true;
	advance_group(f, group);
}

bool
followers_assign_is_due(const struct followers *f)
{
	for (size_t i = 0; i < f->group_count; i++)
		if (f->groups[i].dirty)
			return true;
	return false;
}

static void
send_assign(
    struct followers *f, struct subscriber *s, const struct group *g, const struct group_member *m)
{
	struct buf partitions = { 0 };
	struct msg_assign a = { .shard = f->shard, .epoch = m->epoch, .end = f->journal->end };

	for (size_t i = 0; i < g->slot_count; i++)
		if (g->slots[i].owner == m)
			u64s_add(&partitions, g->slots[i].partition);
	a.partitions = buf_bytes(&partitions);
	s->assign_due = f->send(f->send_arg, s->name, MSG_ASSIGN, &a) != 0;
	log_info("follower.assign", LS("group", s->group), LS("name", s->name),
	    LU("shard", f->shard), LU("epoch", m->epoch),
	    LU("partitions", u64s_count(a.partitions)), LU("end", a.end));
	buf_fini(&partitions);
}

void
followers_assign(struct followers *f)
{
	for (size_t i = 0; i < f->group_count; i++) {
		struct group *g = &f->groups[i];

		if (!g->dirty)
			continue;
		group_rebalance(g, f->journal->end);
		for (size_t k = 0; k < g->member_count; k++) {
			struct group_member *m = g->members[k];
			struct subscriber *s = find(f, m->name, g->name);

			if (!m->changed || !s)
				continue;
			m->changed = false;
			s->epoch = m->epoch;
			s->resumed = false;
			s->cursor_known = false;
			s->sent = s->received = 0;
			s->assigned_us = s->seen_us;
			send_assign(f, s, g, m);
		}
	}
}

bool
followers_owns(
    const struct followers *f, const char *name, uint64_t life, uint32_t partition, uint64_t epoch)
{
	for (size_t i = 0; i < f->group_count; i++)
		if (group_owns(&f->groups[i], name, life, partition, epoch))
			return true;
	return false;
}

void
followers_committed(struct followers *f, const struct block *b, int64_t now_us)
{
	for (size_t i = 0; i < f->count; i++) {
		struct subscriber *s = f->all[i];

		if (s->gather_since_us == 0) {
			s->gather_since_us = now_us;
			s->gather_from = b->offset;
		}
		s->gather_bytes += b->body.len;
	}
}

/* When what is gathered for s is to be offered, if it does not grow large before. */
static int64_t
offer_at(const struct subscriber *s)
{
	int64_t gathered = s->gather_since_us + FOLLOWERS_GATHER_US;
	int64_t patient = s->gave_us + s->patience_us;

	return gathered > patient ? gathered : patient;
}

static bool
offer_is_due(const struct subscriber *s, int64_t now_us)
{
	uint64_t bytes = s->patience_us ? FOLLOWERS_PATIENT_BYTES : FOLLOWERS_GATHER_BYTES;

	return s->gather_since_us && (s->gather_bytes >= bytes ||
					 s->gather_bytes >= s->credit / 2 || now_us >= offer_at(s));
}

int64_t
followers_turn(struct followers *f, int64_t now_us)
{
	bool more = false;
	int64_t again = INT64_MAX;

	for (size_t i = 0; i < f->count; i++) {
		struct subscriber *s = f->all[i];
		bool due;

		if (subscriber_stands_back(f, s)) {
			if (now_us + PRESSURE_LOOK_US < again)
				again = now_us + PRESSURE_LOOK_US;
			continue;
		}
		due = offer_is_due(s, now_us);
		if (due) {
			s->gather_since_us = 0;
			s->gather_bytes = 0;
			s->gave_us = now_us;
		}
		if (s->retry_us > now_us) {
			again = s->retry_us < again ? s->retry_us : again;
			continue;
		}
		/* Who is behind what is gathered goes on at once. */
		if (s->gather_since_us == 0 || s->at < s->gather_from)
			more |= subscriber_pump(f, s, now_us);
		if (s->gather_since_us && offer_at(s) < again)
			again = offer_at(s);
	}
	return more ? 0 : again;
}

void
followers_tick(struct followers *f, int64_t now_us, int64_t stalled_us)
{
	for (size_t i = f->count; i-- > 0;) {
		struct subscriber *s = f->all[i];

		s->seen_us += stalled_us;
		if (now_us - s->seen_us > FOLLOWERS_SILENT_US) {
			forget(f, s, "silent");
			continue;
		}
		if (s->shared && !s->resumed) {
			struct group *g = find_group(f, s->group);
			struct group_member *m = g ? group_find(g, s->name) : NULL;

			if (m && !m->changed &&
			    (s->assign_due || now_us - s->assigned_us > ASSIGN_AGAIN_US)) {
				s->assigned_us = now_us;
				send_assign(f, s, g, m);
			}
		}
		if (now_us - s->said_us >= KEEP_ALIVE_US)
			subscriber_keep_alive(f, s, now_us);
	}
	cursors_save(&f->cursors);
}

bool
followers_are_at_tail(const struct followers *f)
{
	for (size_t i = 0; i < f->count; i++) {
		const struct subscriber *s = f->all[i];

		if (s->at < f->journal->end && (!s->shared || s->resumed) &&
		    s->sent - s->received < s->credit)
			return false;
	}
	return true;
}

size_t
followers_standing_back(const struct followers *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->count; i++)
		n += f->all[i]->stands_back;
	return n;
}

static uint64_t
age_ms(const struct followers *f, int64_t time)
{
	return f->journal->time > time ? (uint64_t)(f->journal->time - time) / 1000 : 0;
}

void
followers_lag(
    const struct followers *f, void (*report)(void *arg, const struct msg_lag *lag), void *arg)
{
	uint64_t end = f->journal->end;

	for (size_t i = 0; i < f->cursors.count; i++) {
		const struct cursor *c = &f->cursors.all[i];
		struct msg_lag lag = { .group = bytes_of_str(c->group), .shard = f->shard };

		lag.bytes = journal_distance(f->journal, c->offset, end);
		for (size_t k = 0; k < f->count; k++) {
			const struct subscriber *s = f->all[k];
			uint64_t ms =
			    s->at < end ? age_ms(f, s->at_time ? s->at_time : f->journal->time) : 0;

			if (strcmp(s->group, c->group) != 0)
				continue;
			lag.members++;
			lag.stands_back |= s->stands_back;
			if (ms > lag.ms)
				lag.ms = ms;
		}
		if (lag.members == 0 && lag.bytes > 0) {
			const struct journal_segment *seg =
			    journal_segment_at(f->journal, c->offset);

			lag.ms = seg ? age_ms(f, seg->first_time) : 0;
		}
		report(arg, &lag);
	}
}
