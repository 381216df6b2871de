/* fuzz_router.c - subscriptions and retained messages on any filters and topics, against a matcher of another make
 *
 * Steps of one byte and a string each: subscribe (a byte more says who, and in which group), unsubscribe, publish, retain, ask
 * for what is retained. What matches must be what a plain walk over all filters finds.
 *
 * fuzz: -max_len=2048 */
#include <stdlib.h>
#include <string.h>

#include "dialect.h"
#include "err.h"
#include "mem.h"
#include "mqtt_retained.h"
#include "mqtt_router.h"
#include "support.h"

#define SUBS_MAX 64
#define SESSIONS 4
#define TOPICS_MAX 32
#define VISITS 4096

/* A subscription as the test remembers it. */
struct one {
	struct mqtt_sub *sub;
	unsigned session;
	unsigned group; /* 0: not shared */
	struct bytes inner;
	struct buf filter; /* with $share/, if it is shared */
};

struct all {
	struct mqtt_router router;
	struct mqtt_retained retained;
	struct mqtt_sub *lists[SESSIONS];
	struct one subs[SUBS_MAX];
	size_t sub_count;
	struct bytes topics[TOPICS_MAX]; /* retained */
	size_t topic_count;
	size_t found;
	struct bytes filter;
};

/* Section 4.7, byte by byte. */
static bool
matches(struct bytes filter, struct bytes topic)
{
	const uint8_t *f = filter.data, *t = topic.data;
	size_t i = 0, j = 0;

	if (t[0] == '$' && (f[0] == '+' || f[0] == '#'))
		return false;
	for (;; i++, j++) { /* both at the begin of a level */
		if (i + 1 == filter.len && f[i] == '#')
			return true;
		if (i < filter.len && f[i] == '+') {
			i++;
			while (j < topic.len && t[j] != '/')
				j++;
		} else {
			for (; i < filter.len && f[i] != '/'; i++, j++)
				if (j == topic.len || t[j] != f[i])
					return false;
		}
		if (j < topic.len && t[j] != '/')
			return false;
		if (i == filter.len)
			return j == topic.len;
		if (j == topic.len)
			return i + 2 == filter.len && f[i + 1] == '#';
	}
}

static size_t
find(const struct bytes *list, size_t n, struct bytes b)
{
	for (size_t i = 0; i < n; i++)
		if (bytes_equal(list[i], b))
			return i;
	return n;
}

/* Nobody looks into a session. */
static struct mqtt_session *
session_of(unsigned n)
{
	static uint64_t sessions[SESSIONS];

	return (struct mqtt_session *)(void *)&sessions[n];
}

static void
subscribe(struct all *a, struct bytes filter, unsigned who)
{
	struct one new = {
		.session = who % SESSIONS, .group = who / SESSIONS % 3, .inner = filter
	};
	struct mqtt_session *session = session_of(new.session);
	struct bytes name, inner;
	size_t at = 0;

	if (mqtt_filter_says_shared(filter))
		return;
	if (new.group)
		buf_add_str(&new.filter, new.group == 1 ? "$share/g/" : "$share/name/");
	buf_add(&new.filter, filter.data, filter.len);
	filter = buf_bytes(&new.filter);
	ASSERT(mqtt_filter_shared(filter, &name, &inner) == (new.group > 0));
	ASSERT(!new.group || bytes_equal(inner, new.inner));
	while (at < a->sub_count &&
	       !(a->subs[at].session ==
		   new.session &&bytes_equal(buf_bytes(&a->subs[at].filter), filter)))
		at++;
	ASSERT(mqtt_router_find(&a->router, session, filter) ==
	       (at < a->sub_count ? a->subs[at].sub : NULL));
	if (at < a->sub_count || a->sub_count == SUBS_MAX) {
		buf_fini(&new.filter);
		return;
	}
	new.sub = mqtt_router_subscribe(&a->router, session, &a->lists[new.session], filter);
	a->subs[a->sub_count++] = new;
}

static void
unsubscribe(struct all *a, size_t at)
{
	if (at >= a->sub_count)
		return;
	mqtt_router_unsubscribe(&a->router, a->subs[at].sub);
	buf_fini(&a->subs[at].filter);
	a->subs[at] = a->subs[--a->sub_count];
}

static struct one *
one_of(struct all *a, const struct mqtt_sub *sub)
{
	size_t i = 0;

	while (i < a->sub_count && a->subs[i].sub != sub)
		i++;
	ASSERT(i < a->sub_count);
	return &a->subs[i];
}

/* Who shares this subscription's group, itself included. */
static size_t
members(const struct all *a, const struct one *of)
{
	size_t n = 0;

	for (size_t i = 0; i < a->sub_count; i++)
		n += a->subs[i].group == of->group && bytes_equal(a->subs[i].inner, of->inner);
	return n;
}

/* Each group that matches is there once, with all its members, and then it is the next one's turn. */
static size_t
check_groups(struct all *a, struct bytes topic)
{
	size_t in_groups = 0;

	for (size_t i = 0; i < a->router.group_count; i++) {
		struct mqtt_group *g = a->router.groups[i];
		struct mqtt_sub *first = g->members;
		const struct one *of = one_of(a, first);
		size_t n = 0;

		for (size_t k = 0; k < i; k++)
			ASSERT(a->router.groups[k] != g);
		for (const struct mqtt_sub *sub = first; sub; sub = sub->next, n++) {
			const struct one *member = one_of(a, sub);

			ASSERT(sub->group == g && member->group == of->group && member->group);
			ASSERT(
			    bytes_equal(member->inner, of->inner) && matches(member->inner, topic));
		}
		ASSERT(n == g->count && n == members(a, of));
		in_groups += n;
		mqtt_group_turn(first);
		ASSERT(n == 1 ? g->members == first : g->members != first);
	}
	return in_groups;
}

static void
publish(struct all *a, struct bytes topic)
{
	struct mqtt_match *ret;
	size_t n = mqtt_router_match(&a->router, topic, &ret), want = 0, want_shared = 0;

	for (size_t i = 0; i < a->sub_count; i++)
		if (matches(a->subs[i].inner, topic))
			*(a->subs[i].group ? &want_shared : &want) += 1;
	ASSERT(n == want);
	for (size_t i = 0; i < n; i++) {
		const struct one *of = one_of(a, ret[i].sub);

		ASSERT(!of->group && matches(of->inner, topic));
		for (size_t k = 0; k < i; k++)
			ASSERT(ret[k].sub != ret[i].sub);
	}
	ASSERT(check_groups(a, topic) == want_shared);
}

static void
retain(struct all *a, struct bytes topic, bool empty)
{
	struct mqtt_message head = {
		.topic = topic, .payload = bytes_of("x", empty ? 0 : 1), .props = bytes_of("", 0)
	};
	struct mqtt_message *m = mqtt_message_new(&head);
	size_t at = find(a->topics, a->topic_count, topic);
	int err = mqtt_retained_set(&a->retained, m);

	mqtt_message_unref(&m);
	ASSERT(err == 0 || err == ERR_FULL);
	ASSERT(!(err && (empty || at < a->topic_count)) || a->retained.bytes > 0);
	if (err == 0 && !empty && at == a->topic_count)
		a->topics[a->topic_count++] = topic;
	if (empty && at < a->topic_count)
		a->topics[at] = a->topics[--a->topic_count];
	ASSERT(a->retained.count == a->topic_count);
}

static void
on_retained(void *arg, struct mqtt_message *m)
{
	struct all *a = arg;

	a->found++;
	ASSERT(matches(a->filter, m->topic));
	ASSERT(find(a->topics, a->topic_count, m->topic) < a->topic_count);
}

static void
look(struct all *a, struct bytes filter)
{
	size_t visits = VISITS, want = 0;

	a->found = 0;
	a->filter = filter;
	ASSERT(mqtt_retained_match(&a->retained, filter, 1, &visits, on_retained, a) == 0);
	for (size_t i = 0; i < a->topic_count; i++)
		want += matches(filter, a->topics[i]);
	ASSERT(a->found == want);
}

static void
target(struct bytes topic)
{
	struct dialect_target t;
	int err = dialect_match(topic, bytes_of_str("me"), &t);

	ASSERT(err == 0 || err == ERR_NOT_FOUND || err == ERR_MALFORMED || err == ERR_REFUSED);
	if (err == 0)
		ASSERT(device_id_fault(t.device) == NULL && t.metric.len > 0 && t.dialect);
	(void)dialect_match(topic, bytes_of("", 0), &t);
	(void)dialect_match(topic, topic, &t);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	struct all a = { 0 };

	mqtt_router_init(&a.router);
	mqtt_retained_init(&a.retained, TOPICS_MAX, 4096);
	while (!input_is_over(&in)) {
		unsigned step = input_u8(&in);
		struct bytes s = input_bytes(&in, step >> 3);
		bool is_topic = mqtt_topic_valid(s), is_filter = mqtt_filter_valid(s);

		target(s);
		if (step % 8 == 0 && is_filter)
			subscribe(&a, s, input_u8(&in));
		else if (step % 8 == 1)
			unsubscribe(&a, step >> 3);
		else if (step % 8 <= 4 && is_topic)
			publish(&a, s);
		else if (step % 8 <= 6 && is_topic)
			retain(&a, s, step % 8 == 6);
		else if (is_filter)
			look(&a, s);
	}
	while (a.sub_count)
		unsubscribe(&a, 0);
	ASSERT(a.router.sub_count == 0 && a.router.shared_count == 0 && a.router.tree.count <= 1);
	mqtt_router_fini(&a.router);
	mqtt_retained_fini(&a.retained);
	return 0;
}
