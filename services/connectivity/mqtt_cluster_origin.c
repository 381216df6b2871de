/* mqtt_cluster_origin.c - which sessions had which QoS 2 messages, until their publishers release them
 *
 * A publisher's worker may die after others have taken a message and before that is written: then the message comes again, by
 * another worker perhaps, and the session that had it may be with another worker too. So it is known of each session, in the
 * unit that puts the message into its queue, and goes where the session goes (cluster_on_claimed). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "mem.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy_impl.h"

#define BUCKETS_MIN 64

static uint64_t
hash_of(struct bytes b, uint64_t seed)
{
	return XXH3_64bits_withSeed(b.data, b.len, seed);
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

static void
add(struct mqtt_cluster *k, const struct cluster_origin *what)
{
	struct cluster_origin *o = xmalloc(sizeof(*o));
	struct cluster_origin **bucket;

	if (k->origin_count >= k->origin_size)
		grow(k);
	bucket = bucket_of(k, what->from);
	*o = *what;
	o->next = *bucket;
	*bucket = o;
	k->origin_count++;
}

static struct bytes
text_of(const struct cluster_origin *o, char out[CLUSTER_ORIGIN_SIZE])
{
	int n = snprintf(out, CLUSTER_ORIGIN_SIZE, "%016" PRIx64 ":%016" PRIx64 ":%016" PRIx64,
	    o->from, o->what, o->session);

	return bytes_of(out, (size_t)n);
}

/* Sixteen hexadecimal digits at `at`. */
static bool
hex_at(struct bytes text, size_t at, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = at; i < at + 16; i++) {
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
	return text.len == 3 * 16 + 2 && hex_at(text, 0, &ret->from) && text.data[16] == ':' &&
	       hex_at(text, 17, &ret->what) && text.data[33] == ':' &&
	       hex_at(text, 34, &ret->session);
}

static void
drop(struct mqtt_cluster *k, struct cluster_origin **at)
{
	struct cluster_origin *o = *at;
	char text[CLUSTER_ORIGIN_SIZE];

	if (o->written)
		mqtt_copy_origin_released(k->copy, text_of(o, text));
	*at = o->next;
	k->origin_count--;
	free(o);
}

/* A repeat of it; or it itself, behind its repeat that took another way. */
static bool
is_same(const struct cluster_origin *have, const struct cluster_origin *one)
{
	bool other_way =
	    have->route >> MQTT_ROUTE_WORKER_SHIFT != one->route >> MQTT_ROUTE_WORKER_SHIFT;

	bool same_way = have->route && have->route == one->route;

	return have->what == one->what && (one->repeat || same_way || (have->repeat && other_way));
}

/* Another message under this packet id goes: the one before was released, or given up. */
static bool
find_same(struct mqtt_cluster *k, const struct cluster_origin *one)
{
	struct cluster_origin **at;

	if (k->origin_size == 0)
		return false;
	at = bucket_of(k, one->from);
	while (*at) {
		if ((*at)->from != one->from || (*at)->session != one->session)
			at = &(*at)->next;
		else if (is_same(*at, one))
			return true;
		else
			drop(k, at);
	}
	return false;
}

static bool
had(struct mqtt_cluster *k, const struct cluster_origin *one, struct bytes session)
{
	char text[CLUSTER_ORIGIN_SIZE];

	if (find_same(k, one))
		return true;
	add(k, one);
	if (one->written)
		mqtt_copy_origin(k->copy, session, text_of(one, text));
	return false;
}

bool
cluster_origin_had(
    struct mqtt_cluster *k, const struct mqtt_arrival *a, const struct mqtt_session *s)
{
	const struct cluster_origin one = {
		.from = hash_of(a->client, a->packet_id),
		.what = hash_of(a->view.payload, hash_of(a->view.topic, 0)),
		.session = hash_of(bytes_of(s->id, s->id_len), 0),
		.route = k->broker->route,
		.since_ms = copy_wall_ms(),
		.repeat = a->repeat,
		.written = s->shared,
	};

	return had(k, &one, bytes_of(s->id, s->id_len));
}

bool
cluster_origin_had_text(struct mqtt_cluster *k, struct bytes session, struct bytes text)
{
	struct cluster_origin one = { .since_ms = copy_wall_ms(), .repeat = true, .written = true };

	return parse(text, &one) && had(k, &one, session);
}

struct bytes
cluster_origin_make(
    const struct mqtt_arrival *a, const struct mqtt_session *s, char out[CLUSTER_ORIGIN_SIZE])
{
	const struct cluster_origin one = {
		.from = hash_of(a->client, a->packet_id),
		.what = hash_of(a->view.payload, hash_of(a->view.topic, 0)),
		.session = hash_of(bytes_of(s->id, s->id_len), 0),
	};

	return text_of(&one, out);
}

void
cluster_origin_forget(struct mqtt_cluster *k, const struct mqtt_session *s, uint64_t route)
{
	uint64_t session = hash_of(bytes_of(s->id, s->id_len), 0);

	for (size_t i = 0; route && i < k->origin_size; i++)
		for (struct cluster_origin **at = &k->origins[i]; *at;) {
			if ((*at)->route == route && (*at)->session == session)
				drop(k, at);
			else
				at = &(*at)->next;
		}
}

struct bytes
cluster_origin_text(const struct mqtt_cluster *k, const struct mqtt_session *s, uint64_t route,
    char out[CLUSTER_ORIGIN_SIZE])
{
	uint64_t session = hash_of(bytes_of(s->id, s->id_len), 0);

	for (size_t i = 0; route && i < k->origin_size; i++)
		for (const struct cluster_origin *o = k->origins[i]; o; o = o->next)
			if (o->route == route && o->session == session)
				return text_of(o, out);
	return bytes_of("", 0);
}

void
cluster_origin_release(struct mqtt_cluster *k, struct bytes client, uint64_t packet_id)
{
	uint64_t from = hash_of(client, packet_id);

	for (struct cluster_origin **at = k->origin_size ? bucket_of(k, from) : NULL; at && *at;) {
		if ((*at)->from == from)
			drop(k, at);
		else
			at = &(*at)->next;
	}
}

void
cluster_origin_load(struct mqtt_cluster *k, struct bytes text, int64_t since_ms, bool written)
{
	/* Whatever comes of it now is a repeat, or was overtaken by one. */
	struct cluster_origin one = { .since_ms = since_ms, .repeat = true, .written = written };

	if (!parse(text, &one))
		return;
	for (const struct cluster_origin *o = k->origin_size ? *bucket_of(k, one.from) : NULL; o;
	     o = o->next)
		if (o->from == one.from && o->session == one.session && o->what == one.what)
			return;
	add(k, &one);
}

void
cluster_origin_expire(struct mqtt_cluster *k, int64_t before_ms)
{
	for (size_t i = 0; i < k->origin_size; i++)
		for (struct cluster_origin **at = &k->origins[i]; *at;) {
			if ((*at)->since_ms < before_ms)
				drop(k, at);
			else
				at = &(*at)->next;
		}
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
