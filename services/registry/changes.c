/* changes.c - changes that were asked for: checked, sent into the journal, answered when they came back from it */
#include "changes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "bus.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "record.h"

#define CHAINS 1024

struct change {
	struct change *next;  /* of its partition, in the order of the journal */
	struct change *older; /* in its chain */
	struct buf key, body;
	uint64_t version;
	uint32_t partition;
	uint64_t number;
	char peer[BUS_NAME_MAX]; /* empty: nobody waits */
	bool folded;
	bool lost; /* another change has its version */
};

struct lane {
	struct change *first, *last;
};

struct changes {
	struct store *store;
	const struct changes_spec *spec;
	void *arg;
	uint32_t partitions;
	size_t devices_max;
	struct lane *lanes;	       /* by partition */
	struct change *chains[CHAINS]; /* by key, newest first */
	size_t waiting;
	bool folded; /* some are, and not answered */
	struct buf key, now;
};

/* What is asked for, and what is in force. */
struct question {
	const char *peer;
	const struct msg_change *m;
	struct registry_object want, have;
	bool has;
	bool under_way; /* have is not in registry.db yet */
	int64_t now;
};

struct changes *
changes_new(struct store *store, uint32_t partitions, size_t devices_max,
    const struct changes_spec *spec, void *arg)
{
	struct changes *c = xcalloc(1, sizeof(*c));

	c->store = store;
	c->partitions = partitions;
	c->devices_max = devices_max;
	c->spec = spec;
	c->arg = arg;
	c->lanes = xcalloc(partitions, sizeof(c->lanes[0]));
	return c;
}

static struct change **
chain_of(struct changes *c, struct bytes key)
{
	return &c->chains[XXH3_64bits(key.data, key.len) % CHAINS];
}

static void
forget_first(struct changes *c, struct lane *lane)
{
	struct change *ch = lane->first, **at = chain_of(c, buf_bytes(&ch->key));

	while (*at != ch)
		at = &(*at)->older;
	*at = ch->older;
	lane->first = ch->next;
	if (lane->first == NULL)
		lane->last = NULL;
	c->waiting--;
	buf_fini(&ch->key);
	buf_fini(&ch->body);
	free(ch);
}

void
changes_free(struct changes **p_c)
{
	struct changes *c = *p_c;

	if (c == NULL)
		return;
	*p_c = NULL;
	for (uint32_t p = 0; p < c->partitions; p++) {
		while (c->lanes[p].first)
			forget_first(c, &c->lanes[p]);
	}
	free(c->lanes);
	buf_fini(&c->key);
	buf_fini(&c->now);
	free(c);
}

size_t
changes_waiting(const struct changes *c)
{
	return c->waiting;
}

/* --- what is in force --- */

static struct change *
newest(struct changes *c, struct bytes key)
{
	struct change *ch = *chain_of(c, key);

	while (ch && !bytes_equal(buf_bytes(&ch->key), key))
		ch = ch->older;
	return ch;
}

/* Borrows from buf or from the change. ERR_NOT_FOUND; others: registry.db cannot be read. */
static int
in_force(struct changes *c, struct bytes key, struct buf *buf, struct registry_object *ret,
    bool *ret_under_way)
{
	const struct change *ch = newest(c, key);
	int err;

	*ret_under_way = ch != NULL;
	if (ch)
		return registry_decode(buf_bytes(&ch->body), ret, NULL);
	buf_clear(buf);
	err = store_get(c->store, key, buf);
	return err != 0 ? err : registry_decode(buf_bytes(buf), ret, NULL);
}

static bool
has_device(struct changes *c, struct bytes id)
{
	struct registry_object device = { MSG_DEVICE, { .device = { .id = id } } }, have;
	struct buf key = { 0 }, body = { 0 };
	bool under_way, has;

	registry_put_key(&device, &key);
	has =
	    in_force(c, buf_bytes(&key), &body, &have, &under_way) == 0 && !registry_is_gone(&have);
	buf_fini(&key);
	buf_fini(&body);
	return has;
}

/* --- into the journal --- */

static uint32_t
partition_for(const struct changes *c, const struct registry_object *o)
{
	return partition_of(registry_partition_key(o), c->partitions);
}

static void
send_off(struct changes *c, const struct registry_object *o, const char *peer, uint64_t number)
{
	struct change *ch = xcalloc(1, sizeof(*ch)), **chain;
	struct lane *lane;

	registry_put_key(o, &ch->key);
	registry_encode(o, &ch->body);
	ch->version = registry_version(o);
	ch->partition = partition_for(c, o);
	ch->number = number;
	snprintf(ch->peer, sizeof(ch->peer), "%s", peer);
	chain = chain_of(c, buf_bytes(&ch->key));
	ch->older = *chain;
	*chain = ch;
	lane = &c->lanes[ch->partition];
	*(lane->last ? &lane->last->next : &lane->first) = ch;
	lane->last = ch;
	c->waiting++;
	metric_add(M_REGISTRY_CHANGES, 1);
	c->spec->append(c->arg, ch->partition, buf_bytes(&ch->body));
}

struct revoking {
	struct changes *c;
	struct bytes device;
	const struct question *q;
	struct bytes bodies[CHANGES_CREDENTIALS_MAX * 2];
	size_t count;
};

static int
take_credential(void *arg, uint64_t n, struct bytes body)
{
	struct revoking *r = arg;
	uint8_t *copy;

	(void)n;
	if (r->count == COUNT_OF(r->bodies))
		return ERR_FULL;
	copy = xmemdup(body.data, body.len);
	r->bodies[r->count++] = bytes_of(copy, body.len);
	return 0;
}

/* The newest state of each credential of the device that is not revoked: registry.db's, and what is on its way. */
static int
gather(struct revoking *r)
{
	const struct lane *lane = &r->c->lanes[partition_of(r->device, r->c->partitions)];
	struct registry_object o;
	int err = store_list(r->c->store, MSG_CREDENTIAL, r->device, take_credential, r);

	for (const struct change *ch = lane->first; ch && err == 0; ch = ch->next) {
		if (registry_decode(buf_bytes(&ch->body), &o, NULL) == 0 &&
		    o.type == MSG_CREDENTIAL && bytes_equal(o.any.credential.device, r->device))
			err = take_credential(r, 0, buf_bytes(&ch->body));
	}
	return err;
}

static void
revoke(struct changes *c, const struct registry_object *credential, const struct question *q)
{
	struct registry_object o = *credential;
	struct bytes none = { 0 };

	o.any.credential.revoked = true;
	o.any.credential.scheme = 0;
	o.any.credential.salt = o.any.credential.hash = none;
	registry_stamp(&o, registry_version(&o) + 1, q->now, q->m->actor);
	send_off(c, &o, "", 0);
}

/* They go before the device, so that nobody has seen the one without the other. */
static int
revoke_all(struct changes *c, const struct question *q)
{
	struct revoking *r = xcalloc(1, sizeof(*r));
	struct registry_object have;
	struct buf key = { 0 }, body = { 0 };
	bool under_way;
	int err;

	r->c = c;
	r->device = q->want.any.device.id;
	err = gather(r);
	for (size_t i = 0; i < r->count; i++) {
		struct registry_object o;

		buf_clear(&key);
		if (err == 0 && registry_decode(r->bodies[i], &o, NULL) == 0) {
			registry_put_key(&o, &key);
			/* Its newest state; one that was revoked on the way, or by this loop, is gone. */
			if (in_force(c, buf_bytes(&key), &body, &have, &under_way) == 0 &&
			    !registry_is_gone(&have) &&
			    bytes_equal(have.any.credential.device, r->device))
				revoke(c, &have, q);
		}
		free((void *)(uintptr_t)r->bodies[i].data);
	}
	buf_fini(&key);
	buf_fini(&body);
	free(r);
	return err;
}

/* --- questions --- */

static void
answer(struct changes *c, const struct question *q, enum change_code code, const char *reason)
{
	struct msg_changed m = {
		.number = q->m->number,
		.code = code,
		.reason = bytes_of_str(reason),
		.version = q->has ? registry_version(&q->have) : 0,
	};

	if (code != CHANGE_UNCHANGED)
		metric_add(M_REGISTRY_REFUSED, 1);
	c->spec->answer(c->arg, q->peer, &m);
}

/* NULL if it may be, else why not. */
static const char *
device_refusal(struct changes *c, const struct question *q, enum change_code *ret_code)
{
	const struct msg_device *d = &q->want.any.device;
	bool there = q->has && !registry_is_gone(&q->have);

	*ret_code = CHANGE_NOT_FOUND;
	if (!there && !q->m->create && !d->erase)
		return "no such device";
	*ret_code = CHANGE_FULL;
	if (!there && !d->removed && store_devices(c->store) + c->waiting >= c->devices_max)
		return "registry.devices_max devices are registered";
	return NULL;
}

static int
count_one(void *arg, uint64_t n, struct bytes body)
{
	(void)n;
	(void)body;
	++*(size_t *)arg;
	return 0;
}

static const char *
credential_refusal(struct changes *c, const struct question *q, enum change_code *ret_code)
{
	const struct msg_credential *want = &q->want.any.credential,
				    *have = &q->have.any.credential;
	struct bytes owner = registry_partition_key(&q->want);
	bool there = q->has && !registry_is_gone(&q->have);
	size_t count = 0;

	*ret_code = CHANGE_EXISTS;
	if (there &&
	    (!bytes_equal(want->device, have->device) || !bytes_equal(want->user, have->user)))
		return "it is another's";
	*ret_code = CHANGE_NOT_FOUND;
	if (want->revoked)
		return there ? NULL : "no such credential";
	if (!there && !q->m->create)
		return "no such credential";
	if (want->device.len && !has_device(c, want->device))
		return "no such device";
	*ret_code = CHANGE_FULL;
	if (!there && (store_list(c->store, MSG_CREDENTIAL, owner, count_one, &count) != 0 ||
			  count >= CHANGES_CREDENTIALS_MAX))
		return "64 credentials are the most that one may have";
	return NULL;
}

static const char *
refusal(struct changes *c, const struct question *q, enum change_code *ret_code)
{
	bool there = q->has && !registry_is_gone(&q->have);

	*ret_code = CHANGE_EXISTS;
	if (q->m->create && there)
		return "it exists";
	*ret_code = CHANGE_CONFLICT;
	if (q->m->expected && q->m->expected != (q->has ? registry_version(&q->have) : 0))
		return "it was changed meanwhile";
	if (q->want.type == MSG_DEVICE)
		return device_refusal(c, q, ret_code);
	if (q->want.type == MSG_CREDENTIAL)
		return credential_refusal(c, q, ret_code);
	*ret_code = CHANGE_NOT_FOUND;
	if (q->want.type == MSG_ATTRIBUTE && !has_device(c, q->want.any.attribute.device))
		return "no such device";
	return NULL;
}

/* It is as it is to be; of what is gone no more is asked than that it is. */
static bool
is_so(const struct question *q)
{
	if (!q->has)
		return false;
	if (registry_is_gone(&q->want) && registry_is_gone(&q->have))
		return q->want.type != MSG_DEVICE || !q->want.any.device.erase ||
		       q->have.any.device.erase;
	return registry_is_same(&q->want, &q->have);
}

static void
decide(struct changes *c, struct question *q)
{
	enum change_code code;
	const char *why;
	bool there = q->has && !registry_is_gone(&q->have);

	if (is_so(q)) {
		if (q->under_way)
			answer(c, q, CHANGE_BUSY, "this very change is under way");
		else
			answer(c, q, CHANGE_UNCHANGED, "");
		return;
	}
	why = refusal(c, q, &code);
	if (why) {
		answer(c, q, code, why);
		return;
	}
	if (q->want.type == MSG_DEVICE)
		q->want.any.device.created = there ? q->have.any.device.created : q->now;
	if (q->want.type == MSG_DEVICE && q->want.any.device.removed && revoke_all(c, q) != 0) {
		answer(c, q, CHANGE_BUSY, "registry.db cannot be read");
		return;
	}
	registry_stamp(&q->want, q->has ? registry_version(&q->have) + 1 : 1, q->now, q->m->actor);
	send_off(c, &q->want, q->peer, q->m->number);
}

/* Asked again while it is on its way. */
static bool
is_repeat(struct changes *c, const struct question *q)
{
	for (const struct change *ch = *chain_of(c, buf_bytes(&c->key)); ch; ch = ch->older) {
		if (ch->number == q->m->number && strcmp(ch->peer, q->peer) == 0 &&
		    bytes_equal(buf_bytes(&ch->key), buf_bytes(&c->key)))
			return true;
	}
	return false;
}

void
changes_ask(struct changes *c, const char *peer, const struct msg_change *m, int64_t now)
{
	struct question q = { .peer = peer, .m = m, .now = now };
	const char *why = "";
	int err = registry_decode(m->body, &q.want, &why);

	if (err == 0) {
		registry_stamp(&q.want, 0, 0, m->actor);
		why = registry_fault(&q.want);
	}
	if (err != 0 || why != NULL) {
		answer(c, &q, CHANGE_INVALID, why);
		return;
	}
	buf_clear(&c->key);
	registry_put_key(&q.want, &c->key);
	if (is_repeat(c, &q))
		return;
	if (c->waiting >= CHANGES_MAX) {
		answer(c, &q, CHANGE_BUSY, "too many changes are under way");
		return;
	}
	err = in_force(c, buf_bytes(&c->key), &c->now, &q.have, &q.under_way);
	q.has = err == 0;
	if (err != 0 && err != ERR_NOT_FOUND)
		answer(c, &q, CHANGE_BUSY, "registry.db cannot be read");
	else
		decide(c, &q);
}

/* --- back from the journal --- */

void
changes_folded(struct changes *c, uint32_t partition, struct bytes body, int err)
{
	struct change *ch = partition < c->partitions ? c->lanes[partition].first : NULL;

	while (ch && ch->folded)
		ch = ch->next;
	/* A stream that had to be begun again may bring one twice, another registry its own: they are not the next of ours. */
	if (ch == NULL || !bytes_equal(buf_bytes(&ch->body), body))
		return;
	ch->folded = true;
	ch->lost = err != 0;
	c->folded = true;
}

void
changes_undone(struct changes *c)
{
	c->folded = false;
	for (uint32_t p = 0; p < c->partitions; p++) {
		for (struct change *ch = c->lanes[p].first; ch; ch = ch->next)
			ch->folded = false;
	}
}

void
changes_committed(struct changes *c)
{
	for (uint32_t p = 0; c->folded && p < c->partitions; p++) {
		struct lane *lane = &c->lanes[p];

		while (lane->first && lane->first->folded) {
			const struct change *ch = lane->first;
			struct msg_changed m = {
				.number = ch->number,
				.code = ch->lost ? CHANGE_CONFLICT : CHANGE_DONE,
				.reason =
				    bytes_of_str(ch->lost ? "another registry was first" : ""),
				.version = ch->version,
			};

			if (ch->peer[0] != '\0')
				c->spec->answer(c->arg, ch->peer, &m);
			forget_first(c, lane);
		}
	}
	c->folded = false;
}
