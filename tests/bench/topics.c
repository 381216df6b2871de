/* topics.c - how long it takes to match, subscribe and unsubscribe with so many subscriptions: topics [count] [matches]
 *
 * Six levels, area/{a}/site/{s}/device/{d}. Of the filters 89 % are exact, 10 % have a + (in the first, second or third place, or in two),
 * 1 % end in #. Each is of one of 1,000 sessions. Topics are drawn from the same names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "clock.h"
#include "mem.h"
#include "mqtt_router.h"

#define SESSIONS 1000
#define TOPICS 100000

static uint64_t seed = 1;

static unsigned
dice(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

static size_t
topic_of(char *to, size_t size)
{
	return (size_t)snprintf(
	    to, size, "area/%u/site/%u/device/%u", dice(20), dice(100), dice(1000));
}

static size_t
filter_of(char *to, size_t size)
{
	unsigned kind = dice(100);
	unsigned a = dice(20), s = dice(100), d = dice(1000);

	if (kind >= 11)
		return (size_t)snprintf(to, size, "area/%u/site/%u/device/%u", a, s, d);
	switch (kind) {
	case 0:
		return (size_t)snprintf(to, size, "area/%u/site/%u/#", a, s);
	case 1:
		return (size_t)snprintf(to, size, "area/+/site/+/device/%u", d);
	case 2:
	case 3:
	case 4:
		return (size_t)snprintf(to, size, "area/+/site/%u/device/%u", s, d);
	case 5:
	case 6:
	case 7:
		return (size_t)snprintf(to, size, "area/%u/site/+/device/%u", a, d);
	default:
		return (size_t)snprintf(to, size, "area/%u/site/%u/device/+", a, s);
	}
}

static double
ns_each(int64_t us, size_t n)
{
	return (double)us * 1000 / (double)n;
}

static long
rss_mib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss / 1024;
}

int
main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
	size_t matches = argc > 2 ? strtoul(argv[2], NULL, 10) : 2000000;
	static struct mqtt_sub *lists[SESSIONS];
	static char sessions[SESSIONS];
	struct mqtt_router r;
	char(*topics)[64] = xcalloc(TOPICS, sizeof(*topics));
	struct mqtt_sub **all = xcalloc(count, sizeof(struct mqtt_sub *));
	char filter[64];
	size_t found = 0, n = 0;
	int64_t at_us;

	mqtt_router_init(&r);
	at_us = clock_mono_us();
	while (n < count) {
		size_t len = filter_of(filter, sizeof(filter));
		unsigned s = dice(SESSIONS);
		struct mqtt_session *session = (void *)&sessions[s];

		if (mqtt_router_find(&r, session, bytes_of(filter, len)))
			continue;
		all[n++] = mqtt_router_subscribe(&r, session, &lists[s], bytes_of(filter, len));
	}
	printf("subscriptions %zu, levels %zu\n", r.sub_count, r.tree.count);
	printf("subscribe     %.0f ns, its text included\n", ns_each(clock_mono_us() - at_us, n));
	printf("memory        %ld MiB\n", rss_mib());
	for (size_t i = 0; i < TOPICS; i++)
		topic_of(topics[i], sizeof(topics[i]));
	at_us = clock_mono_us();
	for (size_t i = 0; i < matches; i++) {
		const char *topic = topics[i % TOPICS];
		struct mqtt_match *ret;

		found += mqtt_router_match(&r, bytes_of(topic, strlen(topic)), &ret);
	}
	if (matches)
		printf("match         %.0f ns, %.1f found\n",
		    ns_each(clock_mono_us() - at_us, matches), (double)found / (double)matches);
	at_us = clock_mono_us();
	while (n > 0)
		mqtt_router_unsubscribe(&r, all[--n]);
	printf("unsubscribe   %.0f ns\n", ns_each(clock_mono_us() - at_us, count));
	mqtt_router_fini(&r);
	free(topics);
	free(all);
	return 0;
}
