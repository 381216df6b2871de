/* session_state_read.c - questions about MQTT sessions: claims, loads, lists; what Redis holds is input like any other */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "session_state_impl.h"

#define LOAD_PARTS 5

/* A claim, a load (five parts at a time) or a list (one part). */
struct session_read {
	struct session_read *next;
	struct session_read **link;
	struct session_state *ss;
	uint64_t token;
	int err;
	unsigned parts_left;
	struct part {
		struct session_read *read;
		enum session_state_kind kind;
		char *key;
		size_t key_len;
		uint64_t cursor; /* of SCAN; QUEUED: highest n told */
	} parts[LOAD_PARTS];
};

static const struct {
	const char *prefix;
	const char *command; /* NULL: a script */
} kinds[SESSION_STATE_KINDS] = {
	[SESSION_STATE_SUBSCRIPTION] = { "roost:mqtt:subs:", "HSCAN" },
	[SESSION_STATE_INCOMING] = { "roost:mqtt:in2:", "HSCAN" },
	[SESSION_STATE_RELEASED] = { "roost:mqtt:out2:", "SSCAN" },
	[SESSION_STATE_QUEUED] = { "roost:mqtt:queue:", "XRANGE" },
	[SESSION_STATE_ORIGIN] = { "roost:mqtt:had:", "HSCAN" },
	[SESSION_STATE_OWNED] = { "", NULL },
	[SESSION_STATE_RETAINED] = { "roost:mqtt:retained", "HSCAN" },
	[SESSION_STATE_WILL] = { "roost:mqtt:wills:", "HSCAN" },
	[SESSION_STATE_FORWARD] = { "roost:mqtt:forwards:", "HSCAN" },
};

static struct session_read *
read_new(struct session_state *ss, uint64_t token)
{
	struct session_read *rd = xcalloc(1, sizeof(*rd));

	rd->ss = ss;
	rd->token = token;
	rd->next = ss->reads;
	rd->link = &ss->reads;
	if (rd->next != NULL)
		rd->next->link = &rd->next;
	ss->reads = rd;
	return rd;
}

static void
read_free(struct session_read *rd)
{
	*rd->link = rd->next;
	if (rd->next != NULL)
		rd->next->link = rd->link;
	for (size_t i = 0; i < LOAD_PARTS; i++)
		free(rd->parts[i].key);
	free(rd);
}

void
session_reads_free(struct session_state *ss)
{
	while (ss->reads != NULL)
		read_free(ss->reads);
}

static bool
begins(const struct redis_view *v, const char *prefix)
{
	struct bytes text;

	return redis_text(v, &text) && text.len >= strlen(prefix) &&
	       memcmp(text.data, prefix, strlen(prefix)) == 0;
}

int
session_answer(struct session_state *ss, int err, const struct redis_view *reply)
{
	if (err == ERR_REFUSED && (begins(reply, "LOST") || begins(reply, "FENCED"))) {
		redis_fail(ss->redis, "the worker's log is not its own");
		return ERR_CLOSED;
	}
	return err;
}

/* --- claims --- */

static bool
uint_at(const struct redis_view *v, size_t i, uint64_t max, uint64_t *ret)
{
	struct redis_view e = redis_at(v, i);

	return redis_uint(&e, max, ret);
}

/* [epoch, owner, its life, present, then if so: sent, top, subscriptions, queued, incoming, released] */
static int
claim_of(const struct redis_view *v, struct session_state_claim *ret)
{
	struct session_state_claim c = { 0 };
	struct redis_view owner = redis_at(v, 1);
	uint64_t present, counts[4];

	if (!uint_at(v, 0, UINT64_MAX, &c.epoch) || !redis_text(&owner, &c.owner) ||
	    c.owner.len > SESSION_STATE_WORKER_MAX || !uint_at(v, 2, UINT64_MAX, &c.life) ||
	    !uint_at(v, 3, 1, &present))
		return ERR_MALFORMED;
	c.present = present == 1;
	if (c.present) {
		if (!uint_at(v, 4, UINT64_MAX, &c.sent) || !uint_at(v, 5, UINT64_MAX, &c.top))
			return ERR_MALFORMED;
		for (size_t i = 0; i < COUNT_OF(counts); i++) {
			if (!uint_at(v, 6 + i, UINT32_MAX, &counts[i]))
				return ERR_MALFORMED;
		}
		c.subscriptions = (uint32_t)counts[0];
		c.queued = (uint32_t)counts[1];
		c.incoming = (uint32_t)counts[2];
		c.released = (uint32_t)counts[3];
	}
	*ret = c;
	return 0;
}

static void
on_claim(void *arg, int err, const struct redis_view *reply)
{
	struct session_read *rd = arg;
	struct session_state *ss = rd->ss;
	struct session_state_claim claim = { 0 };
	uint64_t token = rd->token;

	err = session_answer(ss, err, reply);
	if (err == 0 && uint_at(reply, 0, 0, &claim.epoch)) {
		err = ERR_NOT_FOUND;
	} else if (err == 0 && claim_of(reply, &claim) != 0) {
		metric_add(M_SESSION_STATE_UNREADABLE, 1);
		err = ERR_REFUSED;
	}
	if (err == 0 && claim.epoch > ss->epoch)
		ss->epoch = claim.epoch;
	read_free(rd);
	ss->events->claimed(ss->arg, token, err, &claim);
}

/* from: "", or the only one from whom it may be taken. */
static int
claim(struct session_state *ss, struct bytes id, bool clean, const char *from, uint32_t expiry_s,
    int64_t now_ms, uint64_t token)
{
	int err;
	struct session_read *rd;

	if (!session_state_is_up(ss))
		return ERR_CLOSED;
	session_send_batch(ss);
	rd = read_new(ss, token);
	redis_script(ss->redis, SCRIPT_CLAIM);
	redis_arg_str(ss->redis, ss->worker);
	redis_arg_uint(ss->redis, ss->life);
	redis_arg(ss->redis, id);
	redis_arg_str(ss->redis, clean ? "1" : "0");
	redis_arg_uint(ss->redis, expiry_s);
	redis_arg_int(ss->redis, now_ms);
	redis_arg_str(ss->redis, from);
	err = redis_send(ss->redis, REDIS_ONCE, on_claim, rd);
	if (err != 0)
		read_free(rd);
	return err;
}

int
session_state_claim(struct session_state *ss, struct bytes id, bool clean, uint32_t expiry_s,
    int64_t now_ms, uint64_t token)
{
	return claim(ss, id, clean, "", expiry_s, now_ms, token);
}

int
session_state_claim_from(struct session_state *ss, struct bytes id, const char *worker,
    uint32_t expiry_s, int64_t now_ms, uint64_t token)
{
	return claim(ss, id, false, worker, expiry_s, now_ms, token);
}

/* --- pages --- */

static void on_page(void *arg, int err, const struct redis_view *reply);

/* Its values are messages, as large as they were allowed to be when they were written. */
static bool
may_be_large(enum session_state_kind kind)
{
	return kind == SESSION_STATE_QUEUED || kind == SESSION_STATE_RETAINED ||
	       kind == SESSION_STATE_WILL;
}

static int
ask(struct part *p)
{
	struct session_state *ss = p->read->ss;
	struct redis *r = ss->redis;
	const char *command = kinds[p->kind].command;

	if (command == NULL) {
		redis_script(r, SCRIPT_OWNED);
	} else if (may_be_large(p->kind)) {
		redis_script(r, SCRIPT_PAGE);
		redis_arg_uint(r, ss->value_max);
		redis_arg_str(r, command);
	} else {
		redis_command(r, command);
	}
	redis_arg(r, bytes_of(p->key, p->key_len));
	if (p->kind == SESSION_STATE_QUEUED) {
		char from[32];

		snprintf(from, sizeof(from), "(%llu", (unsigned long long)p->cursor);
		redis_arg_str(r, from);
	} else {
		redis_arg_uint(r, p->cursor);
	}
	if (command != NULL && !may_be_large(p->kind))
		redis_arg_str(r, "COUNT");
	redis_arg_uint(r, SESSION_STATE_PAGE);
	return redis_send(r, REDIS_ONCE, on_page, p);
}

static void
part_over(struct part *p, int err)
{
	struct session_read *rd = p->read;
	struct session_state *ss = rd->ss;
	uint64_t token = rd->token;

	if (rd->err == 0)
		rd->err = err;
	if (--rd->parts_left > 0)
		return;
	err = rd->err;
	read_free(rd);
	ss->events->end(ss->arg, token, err);
}

static void
unreadable(const struct part *p, struct bytes what)
{
	metric_add(M_SESSION_STATE_UNREADABLE, 1);
	log_warn("session_state.unreadable", LB("key", bytes_of(p->key, p->key_len)),
	    LB("entry", bytes_of(what.data, what.len > 64 ? 64 : what.len)));
}

/* What Redis has left out says how long it is. */
static void
unusable(const struct part *p, struct bytes what, struct bytes value)
{
	if (!may_be_large(p->kind) || value.len == 0 || value.data[0] != SESSION_LEFT_OUT[0]) {
		unreadable(p, what);
		return;
	}
	metric_add(M_SESSION_STATE_TOO_LARGE, 1);
	log_warn("session_state.too_large", LB("key", bytes_of(p->key, p->key_len)),
	    LB("entry", bytes_of(what.data, what.len > 64 ? 64 : what.len)),
	    LB("bytes", bytes_of(value.data + 1, value.len - 1)),
	    LU("most", p->read->ss->value_max),
	    LS("why", "it was written under a larger mqtt.packet_max"));
}

static void
tell(const struct part *p, struct session_state_item *item)
{
	struct session_state *ss = p->read->ss;

	item->kind = p->kind;
	ss->events->item(ss->arg, p->read->token, item);
}

static void
tell_pair(const struct part *p, struct bytes key, struct bytes value)
{
	struct session_state_item item = { .key = key };
	union msg_any msg[2];

	if (session_entry(p->kind, key, value, &item, msg))
		tell(p, &item);
	else
		unusable(p, key, value);
}

/* --- the shapes of pages: each returns false if the reply is none --- */

/* [cursor, [key, value, ...]] of HSCAN, [cursor, [member, ...]] of SSCAN */
static bool
take_scan(struct part *p, const struct redis_view *reply)
{
	struct redis_view list = redis_at(reply, 1);
	size_t step = p->kind == SESSION_STATE_RELEASED ? 1 : 2;

	if (list.kind != REDIS_ARRAY || list.count % step != 0 ||
	    !uint_at(reply, 0, UINT64_MAX, &p->cursor))
		return false;
	for (size_t i = 0; i < list.count; i += step) {
		struct redis_view key = redis_at(&list, i), value = redis_at(&list, i + 1);
		struct session_state_item item = { 0 };

		if (key.kind != REDIS_TEXT)
			return false;
		if (step == 2)
			tell_pair(p, key.text, value.text);
		else if (redis_uint(&key, UINT64_MAX, &item.n))
			tell(p, &item);
		else
			unreadable(p, key.text);
	}
	return true;
}

/* [cursor, id, epoch, life, expiry, away, id, ...] */
static bool
take_owned(struct part *p, const struct redis_view *reply)
{
	if (reply->kind != REDIS_ARRAY || reply->count % 5 != 1 ||
	    !uint_at(reply, 0, UINT64_MAX, &p->cursor))
		return false;
	for (size_t i = 1; i < reply->count; i += 5) {
		struct redis_view id = redis_at(reply, i);
		struct session_state_item item = { .key = id.text };
		uint64_t expiry, since;

		if (id.kind != REDIS_TEXT || !uint_at(reply, i + 1, UINT64_MAX, &item.epoch) ||
		    !uint_at(reply, i + 2, UINT64_MAX, &item.life) ||
		    !uint_at(reply, i + 3, UINT32_MAX, &expiry) ||
		    !uint_at(reply, i + 4, INT64_MAX, &since)) {
			unreadable(p, id.text);
			continue;
		}
		item.expiry_s = (uint32_t)expiry;
		item.since_ms = (int64_t)since;
		tell(p, &item);
	}
	return true;
}

static void
remove_queued(struct part *p, struct bytes entry, struct bytes message)
{
	struct redis *r = p->read->ss->redis;

	unusable(p, entry, message);
	redis_command(r, "XDEL");
	redis_arg(r, bytes_of(p->key, p->key_len));
	redis_arg(r, entry);
	(void)redis_send(r, REDIS_ONCE, NULL, NULL);
}

/* Field name's value in [name, value, ...]. */
static struct bytes
field(const struct redis_view *fields, const char *name)
{
	for (size_t i = 0; i + 1 < fields->count; i += 2) {
		struct redis_view k = redis_at(fields, i), v = redis_at(fields, i + 1);

		if (k.kind == REDIS_TEXT && bytes_equal_str(k.text, name))
			return v.text;
	}
	return (struct bytes){ 0 };
}

/* [[id, [field, value, ...]], ...] */
static bool
take_range(struct part *p, const struct redis_view *reply, bool *ret_more)
{
	if (reply->kind != REDIS_ARRAY)
		return false;
	for (size_t i = 0; i < reply->count; i++) {
		struct redis_view e = redis_at(reply, i), id = redis_at(&e, 0);
		struct redis_view fields = redis_at(&e, 1), n;
		const uint8_t *dash =
		    id.text.len > 0 ? memchr(id.text.data, '-', id.text.len) : NULL;
		struct session_state_item item = { 0 };
		union msg_any message, delivery;

		if (dash == NULL)
			return false;
		n = (struct redis_view){ .kind = REDIS_TEXT,
			.text = bytes_of(id.text.data, (size_t)(dash - id.text.data)) };
		/* It always goes on, whatever the server says. */
		if (!redis_uint(&n, UINT64_MAX, &item.n) || item.n <= p->cursor)
			return false;
		p->cursor = item.n;
		if (!session_frame(field(&fields, "m"), MSG_MQTT_MESSAGE, &message) ||
		    !session_frame(field(&fields, "h"), MSG_MQTT_DELIVERY, &delivery)) {
			remove_queued(p, id.text, field(&fields, "m"));
			continue;
		}
		item.message = &message.mqtt_message;
		item.delivery = &delivery.mqtt_delivery;
		tell(p, &item);
	}
	*ret_more = reply->count >= SESSION_STATE_PAGE;
	return true;
}

static void
on_page(void *arg, int err, const struct redis_view *reply)
{
	struct part *p = arg;
	bool ok, more = false;

	err = session_answer(p->read->ss, err, reply);
	if (err != 0) {
		part_over(p, err);
		return;
	}
	if (p->kind == SESSION_STATE_QUEUED) {
		ok = take_range(p, reply, &more);
	} else {
		ok = p->kind == SESSION_STATE_OWNED ? take_owned(p, reply) : take_scan(p, reply);
		more = p->cursor != 0;
	}
	if (!ok) {
		metric_add(M_SESSION_STATE_UNREADABLE, 1);
		log_error("session_state.page", LB("key", bytes_of(p->key, p->key_len)),
		    LS("fault", "the answer has another shape"));
		part_over(p, ERR_REFUSED);
		return;
	}
	err = more ? ask(p) : 0;
	if (err != 0 || !more)
		part_over(p, err);
}

static struct part *
part_init(struct session_read *rd, enum session_state_kind kind, struct bytes rest)
{
	struct part *p = &rd->parts[rd->parts_left++];
	size_t prefix = strlen(kinds[kind].prefix);

	p->read = rd;
	p->kind = kind;
	p->key_len = prefix + rest.len;
	p->key = xmalloc(p->key_len);
	memcpy(p->key, kinds[kind].prefix, prefix);
	memcpy(p->key + prefix, rest.data, rest.len);
	return p;
}

int
session_state_load(struct session_state *ss, struct bytes id, uint64_t token)
{
	struct session_read *rd;

	if (!session_state_is_up(ss))
		return ERR_CLOSED;
	session_send_batch(ss);
	rd = read_new(ss, token);
	for (int kind = SESSION_STATE_SUBSCRIPTION; kind <= SESSION_STATE_ORIGIN; kind++)
		part_init(rd, (enum session_state_kind)kind, id);
	for (size_t i = 0; i < LOAD_PARTS; i++) {
		int err = ask(&rd->parts[i]);

		ASSERT(err == 0); /* a connection that is up takes questions */
	}
	return 0;
}

int
session_state_list(
    struct session_state *ss, enum session_state_kind kind, const char *worker, uint64_t token)
{
	struct session_read *rd;
	struct part *p;
	int err;

	ASSERT(kind >= SESSION_STATE_OWNED && kind < SESSION_STATE_KINDS);
	if (!session_state_is_up(ss))
		return ERR_CLOSED;
	session_send_batch(ss);
	rd = read_new(ss, token);
	p = part_init(rd, kind, bytes_of_str(kind == SESSION_STATE_RETAINED ? "" : worker));
	err = ask(p);
	ASSERT(err == 0);
	return 0;
}
