/* mqtt_cluster_origin.c - which sessions had which QoS 2 messages, until their publishers release them
 *
 * A publisher that has no PUBREC sends its message again, perhaps to another worker, and the session that had it may be with
 * another worker too. So it is known of each session, in the unit that puts the message into its queue, and goes where the
 * session goes: it is loaded with it.
 *
 *	what comes, of the same client, packet id, topic and
 *	payload							is
 *	same route						the same, by another way
 *	an older epoch of its publisher				of before it moved: sent again since (see below)
 *	a repeat, not released yet				the same
 *	another topic or payload, or anything else		another message: the one before was released, or given up
 *
 * A worker may read a PUBLISH from a connection whose client has been with another worker for long: sent it again there,
 * released it, and used the packet id anew. And what one worker passes on to the next for a session on its way may come when
 * the message was released long ago. So what is released is remembered for RELEASED_US, if publisher or session have moved: by
 * session, and, for messages that no session of ours had, by packet id alone. That one counts only for what its sender has not
 * been told to be taken: of that the publisher has no PUBREC. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "mem.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy_impl.h"

#define BUCKETS_MIN 64
#define ORIGIN_LEN 59
#define RELEASED_US 60000000 /* a worker that stands still for longer was replaced */

static uint64_t
hash_of(struct bytes b, uint64_t seed)
{
	return XXH3_64bits_withSeed(b.data, b.len, seed);
}

/* No session's is 0. */
static uint64_t
session_hash(struct bytes id)
{
	return hash_of(id, 0) | 1;
}

static struct cluster_origin **
bucket_of(const struct mqtt_cluster *k, uint64_t from)
{
	return &k->origins[from & (k->origin_size - 1)];
}

static void
grow(struct mqtt_cluster *k)
{
	struct cluster_origin **old = k->origins;
	size_t old_size = k->origin_size;

	k->origin_size = old_size ? 2 * old_size : BUCKETS_MIN;
	k->origins = xcalloc(k->origin_size, sizeof(struct cluster_origin *));
	for (size_t i = 0; i < old_size; i++) {
		while (old[i]) {
			struct cluster_origin *o = old[i];
			struct cluster_origin **bucket = bucket_of(k, o->from);

			old[i] = o->next;
			o->next = *bucket;
			*bucket = o;
		}
	}
	free(old);
}

static struct cluster_origin *
add(struct mqtt_cluster *k, const struct cluster_origin *what, struct bytes session)
{
	struct cluster_origin *o = xmalloc(sizeof(*o) + session.len);
	struct cluster_origin **bucket;

	if (k->origin_count >= k->origin_size)
		grow(k);
	bucket = bucket_of(k, what->from);
	*o = *what;
	o->next = *bucket;
	o->id_len = (uint16_t)session.len;
	if (session.len)
		memcpy(o->id, session.data, session.len);
	*bucket = o;
	k->origin_count++;
	return o;
}

static struct bytes
text_of(const struct cluster_origin *o, char out[CLUSTER_ORIGIN_SIZE])
{
	int n = snprintf(out, CLUSTER_ORIGIN_SIZE,
	    "%016" PRIx64 ":%08" PRIx32 ":%016" PRIx64 ":%016" PRIx64, o->from, o->what, o->epoch,
	    o->released_link ? o->upto : o->route);

	return bytes_of(out, (size_t)n);
}

/* So many hexadecimal digits at `at`. */
static bool
hex_at(struct bytes text, size_t at, size_t digits, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = at; i < at + digits; i++) {
		uint8_t c = text.data[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*ret = v;
	return true;
}

static bool
parse(struct bytes text, struct cluster_origin *ret)
{
	uint64_t what;

	if (text.len != ORIGIN_LEN || text.data[16] != ':' || text.data[25] != ':' ||
	    text.data[42] != ':' || !hex_at(text, 17, 8, &what))
		return false;
	ret->what = (uint32_t)what;
	return hex_at(text, 0, 16, &ret->from) && hex_at(text, 26, 16, &ret->epoch) &&
	       hex_at(text, 43, 16, &ret->route);
}

static void
not_written(struct mqtt_cluster *k, struct cluster_origin *o)
{
	char text[CLUSTER_ORIGIN_SIZE];

	if (o->written)
		mqtt_copy_origin_released(k->copy, bytes_of(o->id, o->id_len), text_of(o, text));
	o->written = false;
}

static void
not_released(struct mqtt_cluster *k, struct cluster_origin *o)
{
	if (!o->released_link)
		return;
	*o->released_link = o->released_next;
	if (o->released_next)
		o->released_next->released_link = o->released_link;
	else
		k->released_end = o->released_link;
	o->released_link = NULL;
	k->released_count--;
}

static void
drop(struct mqtt_cluster *k, struct cluster_origin **at)
{
	struct cluster_origin *o = *at;

	not_written(k, o);
	not_released(k, o);
	*at = o->next;
	k->origin_count--;
	free(o);
}

static struct cluster_origin **
find(const struct mqtt_cluster *k, uint64_t from, uint64_t session, uint32_t what)
{
	struct cluster_origin **at = k->origin_size ? bucket_of(k, from) : NULL;

	while (
	    at && *at && ((*at)->from != from || (*at)->session != session || (*at)->what != what))
		at = &(*at)->next;
	return at && *at ? at : NULL;
}

static bool
is_older(uint64_t epoch, uint64_t than)
{
	return epoch && epoch < than;
}

/* Of one worker's life routes grow, and so do epochs of a session. */
static bool
is_over(const struct cluster_origin *o, uint64_t epoch, uint64_t route)
{
	return o->epoch != epoch ? o->epoch < epoch : o->route <= route;
}

static bool
is_same(const struct cluster_origin *have, const struct cluster_origin *one)
{
	if (have->released_link)
		return is_over(one, have->epoch, have->upto);
	return is_older(one->epoch, have->epoch) || (have->route && have->route == one->route) ||
	       one->repeat;
}

static void release(
    struct mqtt_cluster *k, struct cluster_origin *o, uint64_t epoch, uint64_t route);

/* Another message under its packet id: those before were released, though we have not heard it. */
static void
succeed(struct mqtt_cluster *k, const struct cluster_origin *one)
{
	for (struct cluster_origin *o = k->origin_size ? *bucket_of(k, one->from) : NULL; o;
	     o = o->next)
		if (o->from == one->from && o->session == one->session && !o->released_link &&
		    is_over(o, one->epoch, one->route))
			release(k, o, o->epoch, o->route);
}

static bool
had(struct mqtt_cluster *k, const struct cluster_origin *one, struct bytes session)
{
	struct cluster_origin **have = find(k, one->from, one->session, one->what);
	char text[CLUSTER_ORIGIN_SIZE];

	if (have && is_same(*have, one))
		return true;
	if (have)
		drop(k, have);
	succeed(k, one);
	add(k, one, session);
	if (one->written)
		mqtt_copy_origin(k->copy, session, text_of(one, text), one->since_ms);
	return false;
}

static struct cluster_origin
origin_of(const struct mqtt_cluster *k, const struct mqtt_arrival *a, const struct mqtt_session *s)
{
	return (struct cluster_origin){
		.from = hash_of(a->client, a->packet_id),
		.what = (uint32_t)hash_of(a->view.payload, hash_of(a->view.topic, 0)),
		.session = s ? session_hash(bytes_of(s->id, s->id_len)) : 0,
		.route = k->broker->route,
		.epoch = a->route ? a->epoch : mqtt_copy_epoch(k->copy, a->client),
		.since_ms = copy_wall_ms(),
		.repeat = a->repeat,
		.written = s && s->shared,
	};
}

bool
cluster_origin_had(
    struct mqtt_cluster *k, const struct mqtt_arrival *a, const struct mqtt_session *s)
{
	const struct cluster_origin one = origin_of(k, a, s);

	return had(k, &one, bytes_of(s->id, s->id_len));
}

bool
cluster_origin_has(
    const struct mqtt_cluster *k, const struct mqtt_arrival *a, const struct mqtt_session *s)
{
	const struct cluster_origin one = origin_of(k, a, s);
	struct cluster_origin **have = find(k, one.from, one.session, one.what);

	return have && is_same(*have, &one);
}

bool
cluster_origin_had_direct(struct mqtt_cluster *k, const struct msg_forward *f)
{
	struct cluster_origin one = { .session = session_hash(f->key),
		.since_ms = copy_wall_ms(),
		.repeat = f->repeat,
		.written = true };

	return parse(f->origin, &one) && had(k, &one, f->key);
}

void
cluster_origin_make(const struct mqtt_cluster *k, const struct mqtt_arrival *a,
    struct msg_forward *f, char out[CLUSTER_ORIGIN_SIZE])
{
	const struct cluster_origin one = origin_of(k, a, NULL);

	f->origin = text_of(&one, out);
	f->repeat = a->repeat;
}

void
cluster_origin_forget(struct mqtt_cluster *k, struct bytes client, uint64_t route)
{
	uint64_t session = session_hash(client);

	for (size_t i = 0; route && i < k->origin_size; i++)
		for (struct cluster_origin **at = &k->origins[i]; *at;) {
			if ((*at)->route != route || (*at)->session != session) {
				at = &(*at)->next;
				continue;
			}
			/* It was refused with the message; what Redis has meanwhile is another worker's. */
			(*at)->written = false;
			drop(k, at);
		}
}

void
cluster_origin_put(const struct mqtt_cluster *k, const struct mqtt_session *s, uint64_t route,
    struct msg_forward *f, char out[CLUSTER_ORIGIN_SIZE])
{
	uint64_t session = session_hash(bytes_of(s->id, s->id_len));

	for (size_t i = 0; route && i < k->origin_size; i++)
		for (const struct cluster_origin *o = k->origins[i]; o; o = o->next)
			if (o->route == route && o->session == session) {
				f->origin = text_of(o, out);
				f->repeat = o->repeat;
				return;
			}
}

bool
cluster_origin_is_over(const struct mqtt_cluster *k, const struct msg_forward *f)
{
	struct cluster_origin **have = find(k, hash_of(f->key, f->packet_id), 0, 0);

	return is_older(f->epoch, mqtt_copy_epoch(k->copy, f->key)) ||
	       (have && is_older(f->epoch, (*have)->epoch));
}

/* Where the session goes next that is to be known as well: the time 0 says so. */
static void
release(struct mqtt_cluster *k, struct cluster_origin *o, uint64_t epoch, uint64_t route)
{
	char text[CLUSTER_ORIGIN_SIZE];
	bool written = o->written;

	not_written(k, o);
	not_released(k, o);
	o->epoch = epoch;
	o->upto = route;
	o->released_us = k->broker->now_us;
	o->released_next = NULL;
	if (!k->released_end)
		k->released_end = &k->released;
	o->released_link = k->released_end;
	*k->released_end = o;
	k->released_end = &o->released_next;
	k->released_count++;
	if (written)
		mqtt_copy_origin(k->copy, bytes_of(o->id, o->id_len), text_of(o, text), 0);
	o->written = written;
}

static void
drop_released(struct mqtt_cluster *k)
{
	struct cluster_origin **at = bucket_of(k, k->released->from);

	while (*at != k->released)
		at = &(*at)->next;
	drop(k, at);
}

/* The session comes, or has gone: more of the same may be on its way. */
static bool
is_moving(const struct mqtt_cluster *k, const struct cluster_origin *o)
{
	const struct mqtt_session *s = mqtt_store_find(k->broker, bytes_of(o->id, o->id_len));

	return !s || s->arriving || s->moved_to;
}

void
cluster_origin_release(struct mqtt_cluster *k, const struct msg_forward *f)
{
	uint64_t from = hash_of(f->key, f->packet_id);

	for (struct cluster_origin **at = k->origin_size ? bucket_of(k, from) : NULL; at && *at;) {
		struct cluster_origin *o = *at;

		/* What a session had before is released already; of a later one it may have had nothing yet. */
		if (o->from != from || !is_over(o, f->epoch, f->number) ||
		    (o->released_link && o->session)) {
			at = &o->next;
		} else if (f->repeat || o->session == 0 || is_moving(k, o)) {
			release(k, o, f->epoch, f->number);
			at = &o->next;
		} else {
			drop(k, at);
		}
	}
	if (!f->repeat)
		return;
	if (!find(k, from, 0, 0))
		release(k, add(k, &(struct cluster_origin){ .from = from }, bytes_of("", 0)),
		    f->epoch, f->number);
	while (k->released_count > CLUSTER_RELEASED_MAX)
		drop_released(k);
}

void
cluster_origin_load(
    struct mqtt_cluster *k, struct bytes session, struct bytes text, int64_t since_ms)
{
	struct cluster_origin one = {
		.session = session_hash(session), .since_ms = since_ms, .repeat = true
	};
	struct cluster_origin **have, *o;

	if (!parse(text, &one))
		return;
	have = find(k, one.from, one.session, one.what);
	if (have) {
		(*have)->written = false;
		drop(k, have);
	}
	o = add(k, &one, session);
	o->written = true;
	/* Its release may have come before the session did. */
	have = find(k, one.from, 0, 0);
	if (since_ms == 0)
		release(k, o, one.epoch, one.route);
	else if (have && is_over(&one, (*have)->epoch, (*have)->upto))
		release(k, o, (*have)->epoch, (*have)->upto);
	/* Of what is released it is not known which one it was. */
	if (since_ms == 0)
		o->route = 0;
}

void
cluster_origin_expire(struct mqtt_cluster *k, int64_t before_ms)
{
	for (size_t i = 0; i < k->origin_size; i++)
		for (struct cluster_origin **at = &k->origins[i]; *at;) {
			if (!(*at)->released_link && (*at)->since_ms < before_ms)
				drop(k, at);
			else
				at = &(*at)->next;
		}
}

void
cluster_origin_tick(struct mqtt_cluster *k)
{
	while (k->released && k->released->released_us < k->broker->now_us - RELEASED_US)
		drop_released(k);
}

void
cluster_origin_fini(struct mqtt_cluster *k)
{
	for (size_t i = 0; i < k->origin_size; i++)
		while (k->origins[i]) {
			struct cluster_origin *o = k->origins[i];

			k->origins[i] = o->next;
			free(o);
		}
	free(k->origins);
}
