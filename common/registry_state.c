/* registry_state.c - the registry's fold in Redis, written */
#include "registry_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "redis.h"
#include "registry_keys.h"

#define QUEUE_MAX (64u << 20)
#define VALUE_MAX 65536
#define SCAN_COUNT "1000"

/* A portion. ARGV: the registry's key, life, upto, complete, then four each: what, key, a, b. */
static const char portion_script[] =
    "if redis.call('HGET', ARGV[1], 'life') ~= ARGV[2] then return 0 end "
    "for i = 5, #ARGV, 4 do local w, k = ARGV[i], ARGV[i + 1] "
    "if w == 's' then redis.call('SET', k, ARGV[i + 2]) "
    "elseif w == 'c' then redis.call('HSET', k, 'm', ARGV[i + 2], 'd', ARGV[i + 3]) "
    "elseif w == 'f' then redis.call('HSET', k, ARGV[i + 2], ARGV[i + 3]) "
    "elseif w == 'x' then redis.call('HDEL', k, ARGV[i + 2]) "
    "else redis.call('UNLINK', k) end end "
    "redis.call('HSET', ARGV[1], 'upto', ARGV[3]) "
    "if ARGV[4] == '1' then redis.call('HSET', ARGV[1], 'complete', '1') end return 1";

static const char *const scripts[] = { portion_script };

struct registry_state {
	struct redis *redis;
	const struct registry_state_events *events;
	void *arg;
	char *db;
	char life[24];
	bool up;
	bool committing;
	struct buf portion; /* arguments of the script */
	uint32_t portion_args;
	struct buf key;
};

/* --- connection: whose fold is there --- */

static void scan(struct registry_state *s, struct bytes cursor);

static bool
is_good(struct registry_state *s, int err, const struct redis_view *reply, enum redis_kind kind)
{
	if (err != 0)
		return false; /* SETUP and ONCE: the connection is over, or redis_fail() says so */
	if (reply->kind == kind)
		return true;
	redis_fail(s->redis, "unexpected reply");
	return false;
}

static void
refused(struct registry_state *s, int err)
{
	if (err != 0 && err != ERR_CLOSED)
		redis_fail(s->redis, "refused");
}

static void
say_up(struct registry_state *s, uint64_t upto)
{
	s->up = true;
	redis_ready(s->redis);
	s->events->up(s->arg, upto);
}

static void
on_marked(void *arg, int err, const struct redis_view *reply)
{
	struct registry_state *s = arg;

	refused(s, err);
	if (is_good(s, err, reply, REDIS_INTEGER))
		say_up(s, 0);
}

/* Nothing of another's is left: this one's begins. */
static void
mark(struct registry_state *s)
{
	redis_command(s->redis, "HSET");
	redis_arg_str(s->redis, REGISTRY_KEY);
	redis_arg_str(s->redis, "db");
	redis_arg_str(s->redis, s->db);
	redis_arg_str(s->redis, "life");
	redis_arg_str(s->redis, s->life);
	redis_arg_str(s->redis, "upto");
	redis_arg_str(s->redis, "0");
	redis_arg_str(s->redis, "complete");
	redis_arg_str(s->redis, "0");
	(void)redis_send(s->redis, REDIS_SETUP, on_marked, s);
}

static void
on_plain(void *arg, int err, const struct redis_view *reply)
{
	struct registry_state *s = arg;

	(void)reply;
	refused(s, err);
}

static void
on_scanned(void *arg, int err, const struct redis_view *reply)
{
	struct registry_state *s = arg;
	struct redis_view cursor, keys;
	struct bytes text;

	refused(s, err);
	if (!is_good(s, err, reply, REDIS_ARRAY))
		return;
	cursor = redis_at(reply, 0);
	keys = redis_at(reply, 1);
	if (keys.kind == REDIS_ARRAY && keys.count > 0) {
		redis_command(s->redis, "UNLINK");
		for (size_t i = 0; i < keys.count; i++) {
			struct redis_view key = redis_at(&keys, i);

			redis_arg(s->redis, redis_text(&key, &text) ? text : (struct bytes){ 0 });
		}
		(void)redis_send(s->redis, REDIS_SETUP, on_plain, s);
	}
	if (!redis_text(&cursor, &text))
		redis_fail(s->redis, "unexpected reply");
	else if (bytes_equal_str(text, "0"))
		mark(s);
	else
		scan(s, text);
}

static void
scan(struct registry_state *s, struct bytes cursor)
{
	redis_command(s->redis, "SCAN");
	redis_arg(s->redis, cursor);
	redis_arg_str(s->redis, "MATCH");
	redis_arg_str(s->redis, REGISTRY_KEY_ALL);
	redis_arg_str(s->redis, "COUNT");
	redis_arg_str(s->redis, SCAN_COUNT);
	(void)redis_send(s->redis, REDIS_SETUP, on_scanned, s);
}

static void
on_owned(void *arg, int err, const struct redis_view *reply)
{
	struct registry_state *s = arg;
	struct redis_view db, upto;
	struct bytes text;
	uint64_t n;

	refused(s, err);
	if (!is_good(s, err, reply, REDIS_ARRAY))
		return;
	db = redis_at(reply, 0);
	upto = redis_at(reply, 1);
	if (redis_text(&db, &text) && bytes_equal_str(text, s->db) &&
	    redis_uint(&upto, INT64_MAX, &n)) {
		say_up(s, n);
		return;
	}
	log_info("registry.redis_anew",
	    LS("why", db.kind == REDIS_NIL ? "Redis holds none" : "Redis holds another's"));
	redis_command(s->redis,
	    "DEL"); /* so that meanwhile nobody is told that there is no such credential */
	redis_arg_str(s->redis, REGISTRY_KEY);
	(void)redis_send(s->redis, REDIS_SETUP, on_plain, s);
	scan(s, bytes_of_str("0"));
}

static void
on_connected(void *arg)
{
	struct registry_state *s = arg;

	/* The life first: what an earlier one still has under way is refused from here on. */
	redis_command(s->redis, "HSET");
	redis_arg_str(s->redis, REGISTRY_KEY);
	redis_arg_str(s->redis, "life");
	redis_arg_str(s->redis, s->life);
	(void)redis_send(s->redis, REDIS_SETUP, on_plain, s);
	redis_command(s->redis, "HMGET");
	redis_arg_str(s->redis, REGISTRY_KEY);
	redis_arg_str(s->redis, "db");
	redis_arg_str(s->redis, "upto");
	(void)redis_send(s->redis, REDIS_SETUP, on_owned, s);
}

static void
on_down(void *arg)
{
	struct registry_state *s = arg;
	bool was_up = s->up;

	s->up = false;
	s->committing = false;
	s->portion_args = 0;
	buf_clear(&s->portion);
	if (was_up)
		s->events->down(s->arg);
}

static const struct redis_use use = {
	.scripts = scripts,
	.script_count = COUNT_OF(scripts),
	.value_max = VALUE_MAX,
	.queue_max = QUEUE_MAX,
	.events = { .connected = on_connected, .down = on_down },
};

int
registry_state_new(struct loop *loop, const char *url, const char *data_dir, const char *db,
    uint64_t life, const struct registry_state_events *events, void *arg,
    struct registry_state **ret_state)
{
	struct registry_state *s = xcalloc(1, sizeof(*s));

	s->events = events;
	s->arg = arg;
	s->db = xstrdup(db);
	snprintf(s->life, sizeof(s->life), "%" PRIu64, life);
	if (redis_open(loop, url, data_dir, &use, s, &s->redis) != 0) {
		registry_state_free(&s);
		return ERR_CONFIG;
	}
	*ret_state = s;
	return 0;
}

void
registry_state_free(struct registry_state **p_s)
{
	struct registry_state *s = *p_s;

	if (s == NULL)
		return;
	*p_s = NULL;
	redis_free(&s->redis);
	buf_fini(&s->portion);
	buf_fini(&s->key);
	free(s->db);
	free(s);
}

/* --- portions --- */

static void
put(struct registry_state *s, const char *what, struct bytes a, struct bytes b)
{
	redis_arg_put(&s->portion, bytes_of_str(what));
	redis_arg_put(&s->portion, buf_bytes(&s->key));
	redis_arg_put(&s->portion, a);
	redis_arg_put(&s->portion, b);
	s->portion_args += 4;
}

static void
key_of(struct registry_state *s, const char *prefix, struct bytes name)
{
	buf_clear(&s->key);
	buf_add_str(&s->key, prefix);
	buf_add(&s->key, name.data, name.len);
}

static void
put_attribute(struct registry_state *s, const struct msg_attribute *a, bool gone, struct bytes body)
{
	struct buf field = { 0 };

	buf_addf(&field, "%u:", (unsigned)a->scope);
	buf_add(&field, a->name.data, a->name.len);
	key_of(s, REGISTRY_KEY_ATTRIBUTES, a->device);
	put(s, gone ? "x" : "f", buf_bytes(&field), body);
	buf_fini(&field);
}

static void
put_credential(
    struct registry_state *s, const struct msg_credential *c, bool gone, struct bytes body)
{
	char kind[16];

	snprintf(kind, sizeof(kind), "%u:", (unsigned)c->kind);
	buf_clear(&s->key);
	buf_add_str(&s->key, REGISTRY_KEY_CREDENTIAL);
	buf_add_str(&s->key, kind);
	buf_add(&s->key, c->lookup.data, c->lookup.len);
	put(s, gone ? "d" : "c", body, c->device);
}

void
registry_state_put(struct registry_state *s, const struct registry_object *o, struct bytes body)
{
	bool gone = registry_is_gone(o);
	struct bytes none = { 0 };

	if (!s->up)
		return;
	if (o->type == MSG_CREDENTIAL) {
		put_credential(s, &o->any.credential, gone, body);
	} else if (o->type == MSG_ATTRIBUTE) {
		put_attribute(s, &o->any.attribute, gone, body);
	} else if (o->type == MSG_PROFILE) {
		key_of(s, REGISTRY_KEY_PROFILE, o->any.profile.name);
		put(s, gone ? "d" : "s", body, none);
	} else {
		key_of(s, REGISTRY_KEY_DEVICE, o->any.device.id);
		put(s, gone ? "d" : "s", body, none);
		if (gone) {
			key_of(s, REGISTRY_KEY_ATTRIBUTES, o->any.device.id);
			put(s, "d", none, none);
		}
	}
}

static void
on_portion(void *arg, int err, const struct redis_view *reply)
{
	struct registry_state *s = arg;

	refused(s, err);
	if (!is_good(s, err, reply, REDIS_INTEGER))
		return;
	if (reply->integer != 1) {
		redis_fail(s->redis, "the registry's mark is gone, or another's");
		return;
	}
	s->committing = false;
	s->events->committed(s->arg);
}

void
registry_state_commit(struct registry_state *s, uint64_t upto, bool complete)
{
	ASSERT(!s->committing);
	if (!s->up)
		return;
	s->committing = true;
	redis_script(s->redis, 0);
	redis_arg_str(s->redis, REGISTRY_KEY);
	redis_arg_str(s->redis, s->life);
	redis_arg_uint(s->redis, upto);
	redis_arg_str(s->redis, complete ? "1" : "0");
	redis_args(s->redis, buf_bytes(&s->portion), s->portion_args);
	buf_clear(&s->portion);
	s->portion_args = 0;
	if (redis_send(s->redis, REDIS_ONCE, on_portion, s) != 0)
		redis_fail(s->redis, "more waits than may");
	else
		redis_flush(s->redis);
}

static void
on_forgotten(void *arg, int err, const struct redis_view *reply)
{
	struct registry_state *s = arg;

	(void)reply;
	if (err != ERR_CLOSED)
		redis_fail(s->redis, "the registry in Redis begins anew");
}

void
registry_state_begin_anew(struct registry_state *s)
{
	redis_command(s->redis, "DEL");
	redis_arg_str(s->redis, REGISTRY_KEY);
	if (redis_send(s->redis, REDIS_ONCE, on_forgotten, s) == 0)
		redis_flush(s->redis);
}
