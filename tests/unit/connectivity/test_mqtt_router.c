/* test_mqtt_router.c - which filters match which topics, against a matcher of another make; retained messages */
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_retained.h"
#include "mqtt_router.h"
#include "../unit.h"

/* Section 4.7, written down plainly. */
static bool
matches(const char *filter, const char *topic)
{
	if ((filter[0] == '+' || filter[0] == '#') && topic[0] == '$')
		return false;
	for (;;) {
		if (strcmp(filter, "#") == 0)
			return true;
		if (*filter == '+') {
			filter++;
			while (*topic && *topic != '/')
				topic++;
		} else {
			while (*filter && *filter != '/' && *filter == *topic)
				filter++, topic++;
		}
		if (!*topic && strcmp(filter, "/#") == 0)
			return true;
		if (*filter != *topic)
			return false;
		if (!*filter)
			return true;
		filter++, topic++;
	}
}

static const char *const filters[] = {
	"a",
	"a/b",
	"a/b/c",
	"+",
	"+/b",
	"a/+",
	"a/+/c",
	"+/+",
	"#",
	"a/#",
	"a/b/#",
	"+/#",
	"/",
	"/a",
	"/+",
	"+/",
	"a//b",
	"a/+/b",
	"$SYS/#",
	"$SYS/+",
	"$SYS/a",
	"a/b/c/d",
	"+/+/+/+",
	"",
	"b/#",
	"//",
};
static const char *const topics[] = {
	"a",
	"b",
	"a/b",
	"a/b/c",
	"a/b/c/d",
	"/",
	"//",
	"/a",
	"a/",
	"a//b",
	"$SYS/a",
	"$SYS",
	"$SYS/a/b",
	"b",
	"b/a",
	"ab",
	"a/bb",
	"/a/b",
};

static uint64_t
next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

START_TEST(matching)
{
	struct mqtt_router r;
	struct mqtt_sub *lists[COUNT_OF(filters)] = { 0 };
	char session;

	mqtt_router_init(&r);
	for (size_t i = 0; i < COUNT_OF(filters); i++)
		if (filters[i][0])
			mqtt_router_set(&r,
			    mqtt_router_subscribe(
				&r, (void *)(&session + i), &lists[i], bytes_of_str(filters[i])),
			    &(struct mqtt_sub_options){ .id = (uint32_t)i });
	for (size_t t = 0; t < COUNT_OF(topics); t++) {
		struct mqtt_match *found;
		size_t n = mqtt_router_match(&r, bytes_of_str(topics[t]), &found);
		bool got[COUNT_OF(filters)] = { false };

		for (size_t i = 0; i < n; i++) {
			ck_assert(!got[found[i].options.id]);
			got[found[i].options.id] = true;
		}
		for (size_t i = 0; i < COUNT_OF(filters); i++)
			ck_assert_msg(got[i] == (filters[i][0] && matches(filters[i], topics[t])),
			    "%s ~ %s", filters[i], topics[t]);
	}
	for (size_t i = 0; i < COUNT_OF(filters); i++)
		if (lists[i])
			mqtt_router_unsubscribe(&r, lists[i]);
	ck_assert_uint_eq(r.tree.count, 0);
	mqtt_router_fini(&r);
}
END_TEST

#define CLIENTS 40

/* Random subscribing and leaving: the router always agrees with a plain list, and nothing is left at the end. */
START_TEST(random_changes)
{
	struct mqtt_router r;
	struct mqtt_sub *lists[CLIENTS] = { 0 };
	bool has[CLIENTS][COUNT_OF(filters)] = { { false } };
	char sessions[CLIENTS];
	uint64_t seed = 7;

	mqtt_router_init(&r);
	for (unsigned step = 0; step < 20000; step++) {
		size_t c = next(&seed) % CLIENTS, f = next(&seed) % COUNT_OF(filters);
		struct bytes filter = bytes_of_str(filters[f]);
		struct mqtt_sub *sub;

		if (!filter.len)
			continue;
		sub = mqtt_router_find(&r, (void *)&sessions[c], filter);
		ck_assert_int_eq(sub != NULL, has[c][f]);
		if (sub)
			mqtt_router_unsubscribe(&r, sub);
		else
			mqtt_router_subscribe(&r, (void *)&sessions[c], &lists[c], filter);
		has[c][f] = !has[c][f];
		if (step % 50 == 0) {
			const char *topic = topics[next(&seed) % COUNT_OF(topics)];
			struct mqtt_match *found;
			size_t want = 0;

			for (c = 0; c < CLIENTS; c++)
				for (f = 0; f < COUNT_OF(filters); f++)
					want += has[c][f] && matches(filters[f], topic);
			ck_assert_uint_eq(mqtt_router_match(&r, bytes_of_str(topic), &found), want);
		}
	}
	for (size_t c = 0; c < CLIENTS; c++)
		while (lists[c])
			mqtt_router_unsubscribe(&r, lists[c]);
	ck_assert_uint_eq(r.tree.count, 0);
	ck_assert_uint_eq(r.sub_count, 0);
	mqtt_router_fini(&r);
}
END_TEST

/* Topics and filters of any few levels, plain and with wildcards, empty ones and $ among them. */
static void
random_text(uint64_t *seed, char to[64], bool filter)
{
	static const char *const names[] = { "a", "b", "", "$x", "+", "#" };
	size_t levels = next(seed) % 7 + 1, len = 0;

	for (size_t i = 0; i < levels; i++) {
		const char *name = names[next(seed) % (filter ? 6 : 4)];

		if (i)
			to[len++] = '/';
		for (; *name; name++)
			to[len++] = *name;
		if (len && to[len - 1] == '#')
			break;
	}
	if (len == 0)
		to[len++] = 'a';
	to[len] = 0;
}

/* Whether one session may be among the matches twice, asked for the first time and again. */
START_TEST(sessions_that_match_twice)
{
	const struct {
		const char *topic;
		size_t count;
		bool distinct;
	} cases[] = {
		{ "a/b", 3, false },
		{ "a/c", 1, true },
		{ "x", 0, true },
		{ "y", 2, true },
		{ "z/0", 5, true }, /* more than are remembered */
		{ "z/1", 6, false },
	};
	struct mqtt_sub *lists[5] = { NULL };
	static char sessions[5];
	struct mqtt_match *found;
	struct mqtt_router r;

	mqtt_router_init(&r);
	mqtt_router_subscribe(&r, (void *)&sessions[0], &lists[0], bytes_of_str("a/b"));
	mqtt_router_subscribe(&r, (void *)&sessions[0], &lists[0], bytes_of_str("a/+"));
	mqtt_router_subscribe(&r, (void *)&sessions[1], &lists[1], bytes_of_str("a/b"));
	mqtt_router_subscribe(&r, (void *)&sessions[0], &lists[0], bytes_of_str("y"));
	mqtt_router_subscribe(&r, (void *)&sessions[1], &lists[1], bytes_of_str("y"));
	for (size_t i = 0; i < 5; i++)
		mqtt_router_subscribe(&r, (void *)&sessions[i], &lists[i], bytes_of_str("z/+"));
	mqtt_router_subscribe(&r, (void *)&sessions[4], &lists[4], bytes_of_str("z/1"));
	for (size_t i = 0; i < 4 * COUNT_OF(cases); i++) {
		size_t n = i % COUNT_OF(cases);

		ck_assert_uint_eq(
		    mqtt_router_match(&r, bytes_of_str(cases[n].topic), &found), cases[n].count);
		ck_assert_msg(r.distinct == cases[n].distinct, "%s", cases[n].topic);
	}
	for (size_t i = 0; i < 5; i++)
		while (lists[i])
			mqtt_router_unsubscribe(&r, lists[i]);
	mqtt_router_fini(&r);
}
END_TEST

#define RANDOM_FILTERS 400

START_TEST(any_filters)
{
	struct mqtt_router r;
	struct mqtt_sub *lists[RANDOM_FILTERS] = { NULL };
	static char texts[RANDOM_FILTERS][64];
	static char sessions[RANDOM_FILTERS];
	uint64_t seed = 42;

	mqtt_router_init(&r);
	for (unsigned round = 0; round < 3000; round++) {
		size_t i = next(&seed) % RANDOM_FILTERS, want = 0;
		struct mqtt_match *found;
		char topic[64];

		if (lists[i])
			mqtt_router_unsubscribe(&r, lists[i]);
		random_text(&seed, texts[i], true);
		mqtt_router_set(&r,
		    mqtt_router_subscribe(
			&r, (void *)&sessions[i], &lists[i], bytes_of_str(texts[i])),
		    &(struct mqtt_sub_options){ .id = (uint32_t)i });
		random_text(&seed, topic, false);
		if (round % 3 == 0) /* asked for again and again, while nothing changes */
			ck_assert_uint_eq(mqtt_router_match(&r, bytes_of_str(topic), &found),
			    mqtt_router_match(&r, bytes_of_str(topic), &found));
		for (i = 0; i < RANDOM_FILTERS; i++)
			want += lists[i] && matches(texts[i], topic);
		ck_assert_uint_eq(mqtt_router_match(&r, bytes_of_str(topic), &found), want);
		for (i = 0; i < want; i++)
			ck_assert(matches(texts[found[i].options.id], topic));
	}
	for (size_t i = 0; i < RANDOM_FILTERS; i++)
		if (lists[i])
			mqtt_router_unsubscribe(&r, lists[i]);
	ck_assert_uint_eq(r.tree.count, 0);
	mqtt_router_fini(&r);
}
END_TEST

static int
retain(struct mqtt_retained *r, const char *topic, const char *payload, int64_t expires_us)
{
	struct mqtt_message view = { .topic = bytes_of_str(topic),
		.payload = bytes_of_str(payload),
		.has_expiry = expires_us != 0,
		.expires_us = expires_us };
	struct mqtt_message *m = mqtt_message_new(&view);
	int err = mqtt_retained_set(r, m);

	mqtt_message_unref(&m);
	return err;
}

static void
count(void *arg, struct mqtt_message *m)
{
	(void)m;
	++*(size_t *)arg;
}

static size_t
retained_found(struct mqtt_retained *r, const char *filter, int64_t now_us)
{
	size_t n = 0, visits = 1000;

	ck_assert_int_eq(
	    mqtt_retained_match(r, bytes_of_str(filter), now_us, &visits, count, &n), 0);
	return n;
}

START_TEST(retained_matching_is_bounded)
{
	struct mqtt_retained r;
	size_t n = 0, visits = 10;
	char topic[16];

	mqtt_retained_init(&r, 100, 1 << 20);
	for (size_t t = 0; t < 50; t++) {
		snprintf(topic, sizeof(topic), "a/%zu", t);
		ck_assert_int_eq(retain(&r, topic, "x", 0), 0);
	}
	ck_assert_int_eq(
	    mqtt_retained_match(&r, bytes_of_str("#"), 0, &visits, count, &n), ERR_FULL);
	ck_assert_uint_eq(visits, 0);
	ck_assert_uint_eq(n, 8);
	n = 0;
	visits = 100;
	ck_assert_int_eq(mqtt_retained_match(&r, bytes_of_str("a/+"), 0, &visits, count, &n), 0);
	ck_assert_uint_eq(n, 50);
	ck_assert_uint_eq(visits, 48);
	mqtt_retained_fini(&r);
}
END_TEST

START_TEST(retained_matching)
{
	struct mqtt_retained r;

	mqtt_retained_init(&r, 100, 1 << 20);
	for (size_t t = 0; t < COUNT_OF(topics); t++)
		ck_assert_int_eq(retain(&r, topics[t], "x", 0), 0);
	ck_assert_uint_eq(r.count, COUNT_OF(topics) - 1); /* one is there twice */
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		size_t want = 0;

		if (!filters[i][0])
			continue;
		for (size_t t = 0; t < COUNT_OF(topics); t++)
			want += t != 1 && matches(filters[i], topics[t]);
		ck_assert_msg(retained_found(&r, filters[i], 0) == want, "%s", filters[i]);
	}
	for (size_t t = 0; t < COUNT_OF(topics); t++)
		ck_assert_int_eq(retain(&r, topics[t], "", 0), 0);
	ck_assert_uint_eq(r.count, 0);
	ck_assert_uint_eq(r.bytes, 0);
	ck_assert_uint_eq(r.tree.count, 0);
	mqtt_retained_fini(&r);
}
END_TEST

START_TEST(retained_is_bounded)
{
	struct mqtt_retained r;
	size_t one;

	mqtt_retained_init(&r, 1, SIZE_MAX);
	ck_assert_int_eq(retain(&r, "a", "1", 0), 0);
	one = r.bytes + r.tree.bytes;
	mqtt_retained_fini(&r);

	mqtt_retained_init(&r, 2, 3 * one);
	ck_assert_int_eq(retain(&r, "a", "1", 0), 0);
	ck_assert_int_eq(retain(&r, "b", "1", 0), 0);
	ck_assert_int_eq(retain(&r, "c", "1", 0), ERR_FULL);
	ck_assert_int_eq(retain(&r, "b", "2", 0), 0);
	ck_assert_uint_eq(retained_found(&r, "#", 0), 2);
	ck_assert_int_eq(retain(&r, "a", "", 0), 0);
	ck_assert_int_eq(retain(&r, "c", "1", 0), 0);
	mqtt_retained_fini(&r);

	mqtt_retained_init(&r, 100, 2 * one);
	ck_assert_int_eq(retain(&r, "a", "1", 0), 0);
	ck_assert_int_eq(retain(&r, "b", "1", 0), 0);
	ck_assert_int_eq(retain(&r, "c", "1", 0), ERR_FULL);
	ck_assert_int_eq(retain(&r, "b", "22", 0), ERR_FULL);
	ck_assert_uint_eq(retained_found(&r, "b", 0), 1);
	ck_assert_uint_eq(r.tree.count, 2);
	mqtt_retained_fini(&r);
}
END_TEST

/* Many short levels take more than the message does: they count too, and go with a message that is refused. */
START_TEST(retained_levels_are_bounded)
{
	struct mqtt_retained r;
	char topic[256];
	unsigned taken = 0;

	mqtt_retained_init(&r, 1000000, 1 << 20);
	for (int n = 0; n < 1000; n++) {
		int len = snprintf(topic, sizeof(topic), "%d", n);

		for (int level = 1; level < 100; level++)
			len += snprintf(topic + len, sizeof(topic) - (size_t)len, "/x");
		taken += retain(&r, topic, "1", 0) == 0;
	}
	ck_assert_uint_gt(taken, 10);
	ck_assert_uint_lt(taken, (1 << 20) / (100 * sizeof(struct mqtt_node)));
	ck_assert_uint_eq(r.count, taken);
	ck_assert_uint_eq(r.tree.count, 100 * taken);
	ck_assert_uint_le(r.bytes + r.tree.bytes, 1 << 20);
	/* One that is there may be replaced. */
	snprintf(topic, 2, "0");
	for (int level = 1; level < 100; level++)
		strcat(topic, "/x");
	ck_assert_int_eq(retain(&r, topic, "2", 0), 0);
	mqtt_retained_fini(&r);
}
END_TEST

START_TEST(retained_expires)
{
	struct mqtt_retained r;

	mqtt_retained_init(&r, 100, 1 << 20);
	retain(&r, "a", "1", 10);
	retain(&r, "a/b/c", "1", 10);
	retain(&r, "a/b/d", "1", 20);
	retain(&r, "x/y/z", "1", 10);
	retain(&r, "e", "1", 0);
	ck_assert_uint_eq(retained_found(&r, "#", 9), 5);
	ck_assert_uint_eq(retained_found(&r, "#", 10), 2);
	mqtt_retained_expire(&r, 10);
	ck_assert_uint_eq(r.count, 2);
	ck_assert_uint_eq(r.tree.count, 4);
	mqtt_retained_expire(&r, 20);
	ck_assert_uint_eq(r.count, 1);
	ck_assert_uint_eq(r.tree.count, 1);
	mqtt_retained_fini(&r);
}
END_TEST

UNIT_MAIN("mqtt_router", matching, random_changes, sessions_that_match_twice, any_filters,
    retained_matching, retained_matching_is_bounded, retained_is_bounded,
    retained_levels_are_bounded, retained_expires)
