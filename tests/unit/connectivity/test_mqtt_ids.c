/* test_mqtt_ids.c - a set of packet ids against a plain table */
#include "mem.h"
#include "mqtt_ids.h"
#include "../unit.h"

START_TEST(an_empty_one)
{
	struct mqtt_ids s = { 0 };
	uint32_t at = 0;

	ck_assert_ptr_null(mqtt_ids_find(&s, 1));
	mqtt_ids_remove(&s, 1);
	ck_assert_ptr_null(mqtt_ids_next(&s, &at));
	mqtt_ids_fini(&s);
}
END_TEST

/* Ids that are consecutive, go round, or share their place in the table. */
START_TEST(random_changes)
{
	static uint32_t want[65536]; /* 0: not there */
	struct mqtt_ids s = { 0 };
	uint64_t seed = 3;
	uint32_t count = 0;

	for (unsigned step = 0; step < 300000; step++) {
		uint16_t id;
		struct mqtt_id_entry *e;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		id = (uint16_t)(seed >> 33);
		if (step % 3 == 0)
			id = (uint16_t)(id & 0xf00f);
		if (id == 0)
			continue;
		e = mqtt_ids_find(&s, id);
		ck_assert_int_eq(e != NULL, want[id] != 0);
		if (e) {
			ck_assert_uint_eq(e->value, want[id]);
			mqtt_ids_remove(&s, id);
			want[id] = 0;
			count--;
		} else if (step / 50000 % 2 == 0) { /* grows, shrinks, grows ... */
			mqtt_ids_add(&s, id)->value = want[id] = step + 1;
			count++;
		}
		ck_assert_uint_eq(s.count, count);
	}
	for (uint32_t at = 0; at < 65536; at++)
		if (want[at])
			mqtt_ids_remove(&s, (uint16_t)at);
	ck_assert_uint_eq(s.count, 0);
	ck_assert_ptr_null(s.table);
	mqtt_ids_fini(&s);
}
END_TEST

START_TEST(all_there_are)
{
	struct mqtt_ids s = { 0 };
	const struct mqtt_id_entry *e;
	uint32_t at = 0, n = 0;

	for (uint32_t id = 1; id <= 65535; id++)
		mqtt_ids_add(&s, (uint16_t)id);
	while ((e = mqtt_ids_next(&s, &at)))
		n++;
	ck_assert_uint_eq(n, 65535);
	mqtt_ids_fini(&s);
}
END_TEST

UNIT_MAIN("mqtt_ids", an_empty_one, random_changes, all_there_are)
