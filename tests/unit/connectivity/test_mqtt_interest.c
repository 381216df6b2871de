/* test_mqtt_interest.c - which workers have subscribers to a topic, against the router that each would have */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "mem.h"
#include "mqtt_interest.h"
#include "mqtt_router.h"

#define WORKERS 3
#define FILTERS 12

static const char *const filters[FILTERS] = { "a", "a/b", "a/+", "a/#", "#", "+/b", "$x/#", "a/b/c",
	"$share/g/a/#", "$share/h/a/#", "$share/g/+/b", "$share/g/$x/y" };
static const char *const topics[] = { "a", "a/b", "a/c", "b", "b/b", "a/b/c", "$x/y", "$x", "/a",
	"" };

static struct bytes
s(const char *text)
{
	return bytes_of_str(text);
}

static void
compare(struct mqtt_interest *n, bool has[WORKERS][FILTERS], struct mqtt_router routers[WORKERS])
{
	for (size_t t = 0; t < COUNT_OF(topics); t++) {
		uint64_t workers = mqtt_interest_match(n, s(topics[t]));

		for (unsigned i = 0; i < WORKERS; i++) {
			struct mqtt_match *matches;
			size_t plain = mqtt_router_match(&routers[i], s(topics[t]), &matches);
			size_t groups = 0;

			ck_assert_msg((workers >> i & 1) == (plain > 0), "topic %s", topics[t]);
			for (size_t g = 0; g < n->group_count; g++)
				groups += n->groups[g]->members[i] > 0;
			ck_assert_uint_eq(groups, routers[i].group_count);
		}
	}
	for (unsigned f = 8; f < FILTERS; f++) {
		const struct mqtt_interest_group *g = mqtt_interest_find(n, s(filters[f]));

		for (unsigned i = 0; i < WORKERS; i++)
			ck_assert_uint_eq(g ? g->members[i] : 0, has[i][f]);
	}
}

START_TEST(as_their_routers)
{
	struct mqtt_interest n;
	struct mqtt_router routers[WORKERS];
	struct mqtt_sub *lists[WORKERS] = { NULL };
	bool has[WORKERS][FILTERS] = { { false } };
	int sessions[WORKERS];

	srand(3);
	mqtt_interest_init(&n);
	for (unsigned i = 0; i < WORKERS; i++)
		mqtt_router_init(&routers[i]);
	for (unsigned step = 0; step < 5000; step++) {
		unsigned i = (unsigned)rand() % WORKERS, f = (unsigned)rand() % FILTERS;
		struct mqtt_session *session = (struct mqtt_session *)(void *)&sessions[i];

		if (rand() % 50 == 0) {
			mqtt_interest_clear(&n, i);
			while (lists[i])
				mqtt_router_unsubscribe(&routers[i], lists[i]);
			memset(has[i], 0, sizeof(has[i]));
		} else if (has[i][f]) {
			mqtt_interest_set(&n, i, s(filters[f]), 0);
			mqtt_router_unsubscribe(
			    &routers[i], mqtt_router_find(&routers[i], session, s(filters[f])));
			has[i][f] = false;
		} else {
			mqtt_interest_set(&n, i, s(filters[f]), 1);
			(void)mqtt_router_subscribe(&routers[i], session, &lists[i], s(filters[f]));
			has[i][f] = true;
		}
		if (step % 10 == 0)
			compare(&n, has, routers);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		while (lists[i])
			mqtt_router_unsubscribe(&routers[i], lists[i]);
		mqtt_router_fini(&routers[i]);
	}
	mqtt_interest_fini(&n);
	ck_assert_uint_eq(n.count, 0);
}
END_TEST

struct told {
	char keys[FILTERS][32];
	uint32_t counts[FILTERS];
	size_t count;
};

static void
on_changed(
    void *arg, const struct mqtt_node *node, const struct mqtt_group *group, uint32_t members)
{
	struct told *told = arg;
	struct buf key = { 0 };

	mqtt_router_key(&key, node, group);
	snprintf(told->keys[told->count], sizeof(told->keys[0]), "%.*s", (int)key.len,
	    (const char *)key.data);
	told->counts[told->count++] = members;
	buf_fini(&key);
}

/* The router tells when a filter gets its first subscriber and loses its last, and each change of a group. */
START_TEST(what_a_router_tells)
{
	static const struct {
		const char *key;
		uint32_t count;
	} want[] = { { "a/+", 1 }, { "$share/g/a/+", 1 }, { "$share/g/a/+", 2 },
		{ "$share/g/a/+", 1 }, { "a/+", 0 }, { "$share/g/a/+", 0 } };
	struct told told = { .count = 0 }, all = { .count = 0 };
	struct mqtt_router r;
	struct mqtt_sub *list = NULL, *subs[4];
	int a, b;
	struct mqtt_session *one = (struct mqtt_session *)(void *)&a;
	struct mqtt_session *two = (struct mqtt_session *)(void *)&b;

	mqtt_router_init(&r);
	r.changed = on_changed;
	r.changed_arg = &told;
	subs[0] = mqtt_router_subscribe(&r, one, &list, s("a/+"));
	subs[1] = mqtt_router_subscribe(&r, two, &list, s("a/+"));
	subs[2] = mqtt_router_subscribe(&r, one, &list, s("$share/g/a/+"));
	subs[3] = mqtt_router_subscribe(&r, two, &list, s("$share/g/a/+"));
	r.changed_arg = &all;
	mqtt_router_tell_all(&r);
	ck_assert_uint_eq(all.count, 2);
	r.changed_arg = &told;
	mqtt_router_unsubscribe(&r, subs[2]);
	mqtt_router_unsubscribe(&r, subs[0]);
	mqtt_router_unsubscribe(&r, subs[1]);
	mqtt_router_unsubscribe(&r, subs[3]);
	ck_assert_uint_eq(told.count, COUNT_OF(want));
	for (size_t i = 0; i < COUNT_OF(want); i++) {
		ck_assert_str_eq(told.keys[i], want[i].key);
		ck_assert_uint_eq(told.counts[i], want[i].count);
	}
	mqtt_router_fini(&r);
}
END_TEST

/* A worker that begins anew: nothing is forgotten before it has said all, nothing stays that it did not say. */
START_TEST(what_a_life_before_wanted)
{
	struct mqtt_interest n;

	mqtt_interest_init(&n);
	mqtt_interest_set(&n, 1, s("a/+"), 1);
	mqtt_interest_set(&n, 2, s("a/+"), 1);
	mqtt_interest_set(&n, 1, s("a/#"), 1);
	mqtt_interest_set(&n, 1, s("$share/g/a/b"), 3);
	mqtt_interest_set(&n, 1, s("$share/h/a/b"), 1);
	mqtt_interest_doubt(&n, 1);
	ck_assert_uint_eq(mqtt_interest_match(&n, s("a/b")), 1 << 1 | 1 << 2);
	ck_assert_uint_eq(n.group_count, 2);
	mqtt_interest_set(&n, 1, s("a/#"), 1);
	mqtt_interest_set(&n, 1, s("$share/g/a/b"), 2);
	mqtt_interest_set(&n, 1, s("c"), 1);
	mqtt_interest_settle(&n, 1);
	ck_assert_uint_eq(n.count, 4);
	ck_assert_uint_eq(mqtt_interest_match(&n, s("a/b")), 1 << 1 | 1 << 2);
	ck_assert_uint_eq(n.group_count, 1);
	ck_assert_uint_eq(n.groups[0]->members[1], 2);
	mqtt_interest_clear(&n, 1);
	ck_assert_uint_eq(mqtt_interest_match(&n, s("a/b")), 1 << 2);
	ck_assert_uint_eq(mqtt_interest_match(&n, s("c")), 0);
	ck_assert_uint_eq(n.count, 1);
	mqtt_interest_fini(&n);
}
END_TEST

UNIT_MAIN("mqtt_interest", as_their_routers, what_a_life_before_wanted, what_a_router_tells)
