/* test_plan.c - which children there are, and in which order */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "../unit.h"

static struct plan plan;

static void
make(const char *const *sets)
{
	struct settings *s = settings_new();
	struct buf err = { .max = 0 };

	for (; *sets; sets++)
		ck_assert_msg(settings_set(s, *sets, "test", &err) == 0, "%s", buf_str(&err));
	plan_make(&plan, s);
	settings_free(&s);
}

static void
check_names(const char *wanted)
{
	char got[4096] = "";

	for (size_t i = 0; i < plan.count; i++) {
		strcat(got, i ? " " : "");
		strcat(got, plan.children[i].name);
	}
	ck_assert_str_eq(got, wanted);
}

START_TEST(test_defaults)
{
	make((const char *const[]){ NULL });
	check_names(
	    "redis storage-0 limiter-0 rules-0 notifier-0 registry-0 sink-history sink-state "
	    "connectivity-0");
	for (size_t i = 0; i < plan.count; i++) {
		bool redis = strcmp(plan.children[i].service, "redis") == 0;

		ck_assert_int_eq(plan.children[i].kind, redis ? PLAN_REDIS : PLAN_WORKER);
		ck_assert_int_eq(plan.children[i].listens,
		    strcmp(plan.children[i].service, "connectivity") == 0);
	}
}
END_TEST

START_TEST(test_replicas_and_drivers)
{
	make((const char *const[]){ "redis.url=redis://redis:6379", "storage.shards=2",
	    "storage.replicas=2", "limiter.replicas=0", "rules.replicas=3", "sink.drivers=state",
	    "connectivity.replicas=2", NULL });
	check_names("storage-0 storage-1 rules-0 rules-1 rules-2 notifier-0 registry-0 sink-state "
		    "connectivity-0 "
		    "connectivity-1");
	make((const char *const[]){ "redis.url=redis://redis:6379", "storage.replicas=0",
	    "limiter.replicas=0", "rules.replicas=0", "notifier.replicas=0", "registry.replicas=0",
	    "sink.drivers=", "connectivity.replicas=0", NULL });
	ck_assert_uint_eq(plan.count, 0);
}
END_TEST

/* The most that settings allow fits. */
START_TEST(test_largest)
{
	make((const char *const[]){ "storage.shards=64", "partitions=64", "storage.replicas=64",
	    "limiter.replicas=64", "rules.replicas=64", "notifier.replicas=2",
	    "registry.replicas=2", "connectivity.replicas=64", NULL });
	ck_assert_uint_eq(plan.count, 1 + 64 * 4 + 2 + 2 + 2);
	ck_assert_uint_le(plan.count + 16, PLAN_CHILDREN_MAX);
}
END_TEST

static const struct plan_child *
child(const char *service)
{
	for (size_t i = 0; i < plan.count; i++)
		if (strcmp(plan.children[i].service, service) == 0)
			return &plan.children[i];
	ck_abort_msg("no %s", service);
	return NULL;
}

/* The door opens last and closes first; storage outlives all that read from it; Redis is first up and last down. */
START_TEST(test_order)
{
	static const char *const others[] = { "storage", "limiter", "rules", "notifier", "registry",
		"sink" };
	static const char *const readers[] = { "connectivity", "limiter", "rules", "notifier",
		"registry", "sink" };

	make((const char *const[]){ NULL });
	for (size_t i = 0; i < 6; i++) {
		ck_assert_uint_lt(
		    child(others[i])->start_stage, child("connectivity")->start_stage);
		ck_assert_uint_gt(
		    child(others[i])->drain_stage, child("connectivity")->drain_stage);
		ck_assert_uint_lt(child(readers[i])->drain_stage, child("storage")->drain_stage);
		ck_assert_uint_gt(child(readers[i])->start_stage, child("storage")->start_stage);
	}
	ck_assert_uint_eq(child("redis")->start_stage, 0);
	ck_assert_uint_eq(child("redis")->drain_stage, PLAN_STAGES - 1);
	for (size_t i = 1; i < plan.count; i++)
		ck_assert_uint_ge(plan.children[i].start_stage, plan.children[i - 1].start_stage);
}
END_TEST

UNIT_MAIN("plan", test_defaults, test_replicas_and_drivers, test_largest, test_order)
