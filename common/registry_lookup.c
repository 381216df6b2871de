/* registry_lookup.c - who has this credential: asked of the registry's fold in Redis, answered later; never blocks */
#include "registry_lookup.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "record.h"
#include "redis.h"
#include "registry_change.h"
#include "registry_keys.h"

#define VALUE_MAX 65536
#define QUEUE_MAX (4u << 20)

/* ARGV: the registry's key, the credential's key or nothing, prefix of devices, the device. {complete, credential, device} */
static const char lookup_script[] =
    "if redis.call('HGET', ARGV[1], 'complete') ~= '1' then return {0} end "
    "local c, d = false, ARGV[4] "
    "if ARGV[2] ~= '' then local h = redis.call('HMGET', ARGV[2], 'm', 'd') c, d = h[1], h[2] end "
    "return {1, c, d and d ~= '' and redis.call('GET', ARGV[3] .. d)}";

static const char *const scripts[] = { lookup_script };

struct question {
	struct registry_lookup *l;
	struct question *next, **at; /* in l's list */
	registry_lookup_fn fn;	     /* NULL: whoever asked is gone */
	void *arg;
	bool of_device;
};

struct registry_lookup {
	struct redis *redis;
	struct question *questions;
	size_t waiting;
};

static void
on_connected(void *arg)
{
	struct registry_lookup *l = arg;

	redis_ready(l->redis);
}

static void
on_down(void *arg)
{
	(void)arg;
}

static const struct redis_use use = {
	.scripts = scripts,
	.script_count = COUNT_OF(scripts),
	.value_max = VALUE_MAX,
	.queue_max = QUEUE_MAX,
	.events = { .connected = on_connected, .down = on_down },
};

int
registry_lookup_new(
    struct loop *loop, const char *url, const char *data_dir, struct registry_lookup **ret_lookup)
{
	struct registry_lookup *l = xcalloc(1, sizeof(*l));

	if (redis_open(loop, url, data_dir, &use, l, &l->redis) != 0) {
		free(l);
		return ERR_CONFIG;
	}
	*ret_lookup = l;
	return 0;
}

static void
question_free(struct question *q)
{
	*q->at = q->next;
	if (q->next)
		q->next->at = q->at;
	q->l->waiting--;
	free(q);
}

void
registry_lookup_free(struct registry_lookup **p_l)
{
	struct registry_lookup *l = *p_l;

	if (l == NULL)
		return;
	*p_l = NULL;
	redis_free(&l->redis);
	while (l->questions)
		question_free(l->questions);
	free(l);
}

bool
registry_lookup_is_up(const struct registry_lookup *l)
{
	return redis_is_ready(l->redis);
}

void
registry_lookup_forget(struct registry_lookup *l, const void *arg)
{
	for (struct question *q = l->questions; q; q = q->next) {
		if (q->arg == arg)
			q->fn = NULL;
	}
}

/* --- answers: what is read back is input like any other --- */

static bool
take_device(const struct redis_view *v, struct msg_device *ret)
{
	struct registry_object o;
	struct bytes text;

	if (!redis_text(v, &text) || registry_decode(text, &o, NULL) != 0 || o.type != MSG_DEVICE ||
	    o.any.device.removed)
		return false;
	*ret = o.any.device;
	return true;
}

static bool
take_credential(const struct redis_view *v, struct msg_credential *ret)
{
	struct registry_object o;
	struct bytes text;

	if (!redis_text(v, &text) || registry_decode(text, &o, NULL) != 0 ||
	    o.type != MSG_CREDENTIAL || o.any.credential.revoked)
		return false;
	*ret = o.any.credential;
	return true;
}

static int
read_answer(const struct question *q, const struct redis_view *reply, struct registry_answer *a)
{
	struct redis_view complete = redis_at(reply, 0), credential = redis_at(reply, 1),
			  device = redis_at(reply, 2);
	uint64_t is_complete;

	if (!redis_uint(&complete, 1, &is_complete) || !is_complete)
		return ERR_AGAIN;
	if (device.kind != REDIS_NIL) {
		a->has_device = take_device(&device, &a->device);
		if (!a->has_device) {
			log_warn("registry.unreadable", LS("what", "a device in Redis"));
			return ERR_AGAIN;
		}
	}
	if (q->of_device)
		return a->has_device ? 0 : ERR_NOT_FOUND;
	if (credential.kind == REDIS_NIL)
		return ERR_NOT_FOUND;
	if (!take_credential(&credential, &a->credential)) {
		log_warn("registry.unreadable", LS("what", "a credential in Redis"));
		return ERR_AGAIN;
	}
	/* It is of this device, whatever stands beside it. */
	if (a->has_device && !bytes_equal(a->credential.device, a->device.id))
		return ERR_AGAIN;
	return 0;
}

static void
on_answer(void *arg, int err, const struct redis_view *reply)
{
	struct question *q = arg;
	struct registry_answer a = { .has_device = false };
	registry_lookup_fn fn = q->fn;
	void *fn_arg = q->arg;

	err = err == 0 ? read_answer(q, reply, &a) : ERR_AGAIN;
	question_free(q);
	if (fn)
		fn(fn_arg, err, err == 0 ? &a : NULL);
}

/* --- questions --- */

static int
ask(struct registry_lookup *l, struct bytes key, struct bytes device, registry_lookup_fn fn,
    void *arg)
{
	struct question *q;
	int err;

	if (l->waiting >= REGISTRY_LOOKUP_WAITING_MAX)
		return ERR_FULL;
	q = xcalloc(1, sizeof(*q));
	*q = (struct question){
		.l = l,
		.next = l->questions,
		.at = &l->questions,
		.fn = fn,
		.arg = arg,
		.of_device = key.len == 0,
	};
	if (q->next)
		q->next->at = &q->next;
	l->questions = q;
	l->waiting++;
	redis_script(l->redis, 0);
	redis_arg_str(l->redis, REGISTRY_KEY);
	redis_arg(l->redis, key);
	redis_arg_str(l->redis, REGISTRY_KEY_DEVICE);
	redis_arg(l->redis, device);
	err = redis_send(l->redis, REDIS_ONCE, on_answer, q);
	if (err == 0)
		return 0;
	question_free(q);
	return err == ERR_FULL ? ERR_FULL : ERR_AGAIN;
}

int
registry_lookup_credential(struct registry_lookup *l, enum credential_kind kind,
    struct bytes lookup, registry_lookup_fn fn, void *arg)
{
	struct buf key = { 0 };
	int err;

	if (lookup.len == 0 || lookup.len > CREDENTIAL_LOOKUP_MAX)
		return ERR_TOO_BIG;
	buf_addf(&key, "%s%u:", REGISTRY_KEY_CREDENTIAL, (unsigned)kind);
	buf_add(&key, lookup.data, lookup.len);
	err = ask(l, buf_bytes(&key), (struct bytes){ 0 }, fn, arg);
	buf_fini(&key);
	return err;
}

int
registry_lookup_device(struct registry_lookup *l, struct bytes id, registry_lookup_fn fn, void *arg)
{
	if (id.len == 0 || id.len > DEVICE_ID_MAX)
		return ERR_TOO_BIG;
	return ask(l, (struct bytes){ 0 }, id, fn, arg);
}
