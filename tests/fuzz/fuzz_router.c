/* fuzz_router.c - subscriptions and retained messages on any filters and topics, against a matcher of another make
 *
 * Steps of one byte and a string each: subscribe, unsubscribe, publish, retain, ask for what is retained. What matches must
 * be what a plain walk over all filters finds.
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
#define TOPICS_MAX 32
#define VISITS 4096

struct all {
	struct mqtt_router router;
	struct mqtt_retained retained;
	struct mqtt_sub *list; /* all are of one session, which nobody looks into */
	struct mqtt_sub *subs[SUBS_MAX];
	struct bytes filters[SUBS_MAX];
	size_t sub_count;
	struct bytes topics[TOPICS_MAX]; /* retained */
	size_t topic_count;
	size_t found;
	struct bytes filter;
};

/* Section 4.7, level by level. */
static bool
matches(struct bytes filter, struct bytes topic)
{
	struct bytes f, t = { 0 };
	bool first = true, more;

	for (;;) {
		if (!mqtt_level_next(&filter, &f))
			return !mqtt_level_next(&topic, &t);
		more = mqtt_level_next(&topic, &t);
		if (first && more && t.len && t.data[0] == '$' && f.len == 1 &&
		    (f.data[0] == '+' || f.data[0] == '#'))
			return false;
		if (bytes_equal_str(f, "#"))
			return true;
		if (!more || (!bytes_equal_str(f, "+") && !bytes_equal(f, t)))
			return false;
		first = false;
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

static void
subscribe(struct all *a, struct bytes filter)
{
	size_t at = find(a->filters, a->sub_count, filter);

	ASSERT((mqtt_router_find(&a->router, NULL, filter) != NULL) == (at < a->sub_count));
	if (at < a->sub_count || a->sub_count == SUBS_MAX)
		return;
	a->filters[a->sub_count] = filter;
	a->subs[a->sub_count++] = mqtt_router_subscribe(&a->router, NULL, &a->list, filter);
}

static void
unsubscribe(struct all *a, size_t at)
{
	if (at >= a->sub_count)
		return;
	mqtt_router_unsubscribe(&a->router, a->subs[at]);
	a->sub_count--;
	a->subs[at] = a->subs[a->sub_count];
	a->filters[at] = a->filters[a->sub_count];
}

static void
publish(struct all *a, struct bytes topic)
{
	struct mqtt_sub *const *ret;
	size_t n = mqtt_router_match(&a->router, topic, &ret), want = 0;

	for (size_t i = 0; i < a->sub_count; i++)
		want += matches(a->filters[i], topic);
	ASSERT(n == want);
	for (size_t i = 0; i < n; i++) {
		size_t at = 0;

		while (at < a->sub_count && a->subs[at] != ret[i])
			at++;
		ASSERT(at < a->sub_count && matches(a->filters[at], topic));
	}
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
			subscribe(&a, s);
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
	ASSERT(a.router.sub_count == 0 && a.router.tree.count <= 1);
	mqtt_router_fini(&a.router);
	mqtt_retained_fini(&a.retained);
	return 0;
}
