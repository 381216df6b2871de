/* test_mqtt_window.c - numbers on their way against a plain table */
#include "mem.h"
#include "mqtt_window.h"
#include "../unit.h"

START_TEST(an_empty_one)
{
	struct mqtt_window w = { 0 };

	ck_assert(!mqtt_window_has(&w, 1));
	ck_assert(!mqtt_window_take(&w, 1));
	ck_assert(!mqtt_window_take(&w, 0));
	ck_assert(mqtt_window_fits(&w, 1));
	mqtt_window_trim(&w);
	mqtt_window_fini(&w);
}
END_TEST

START_TEST(packet_ids_go_round)
{
	ck_assert_uint_eq(mqtt_packet_id_of(1), 1);
	ck_assert_uint_eq(mqtt_packet_id_of(65535), 65535);
	ck_assert_uint_eq(mqtt_packet_id_of(65536), 1);
	ck_assert_uint_eq(mqtt_packet_id_of(2 * 65535), 65535);
}
END_TEST

/* The oldest is not acknowledged: a bound is reached, whichever of the others are. */
START_TEST(one_that_stays)
{
	for (uint64_t from = 1; from < 200000; from += 31337) {
		struct mqtt_window w = { 0 };
		uint64_t n = from;

		while (mqtt_window_fits(&w, n)) {
			mqtt_window_add(&w, n);
			if (n != from && !mqtt_window_take(&w, mqtt_packet_id_of(n)))
				ck_abort_msg("number %llu", (unsigned long long)n);
			n++;
		}
		ck_assert_uint_eq(w.count, 1);
		ck_assert_uint_le(n - from, MQTT_WINDOW_MAX);
		ck_assert_uint_gt(n - from, MQTT_WINDOW_MAX - 64);
		ck_assert(mqtt_window_has(&w, mqtt_packet_id_of(from)));
		ck_assert(!mqtt_window_has(&w, mqtt_packet_id_of(n)));
		mqtt_window_trim(&w);
		ck_assert_ptr_nonnull(w.bits);
		ck_assert(mqtt_window_take(&w, mqtt_packet_id_of(from)));
		ck_assert(!mqtt_window_take(&w, mqtt_packet_id_of(from)));
		/* An older one may not come behind it. */
		ck_assert(!mqtt_window_fits(&w, n - 2));
		ck_assert(mqtt_window_fits(&w, n + 1000000));
		mqtt_window_trim(&w);
		ck_assert_ptr_null(w.bits);
		mqtt_window_fini(&w);
	}
}
END_TEST

/* Added with gaps, acknowledged in any order, now fewer, now more of them, several rounds of packet ids. */
START_TEST(random_changes)
{
	static uint64_t number[65536]; /* of that packet id; 0: not on its way */
	struct mqtt_window w = { 0 };
	uint64_t seed = 5, n = 1;
	uint32_t count = 0;

	for (unsigned step = 0; step < 1000000; step++) {
		uint16_t id;
		bool there;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if ((seed >> 33) % 100 < (step / 20000 % 2 ? 70u : 30u)) {
			n += (seed >> 40) % 50 == 0 ? (seed >> 50) % 200 : 1;
			id = mqtt_packet_id_of(n);
			if (mqtt_window_fits(&w, n) && !number[id]) {
				mqtt_window_add(&w, n);
				number[id] = n;
				count++;
			}
		}
		/* One of those near, or any. */
		id = (uint16_t)(seed >> 20);
		if (step % 16)
			id = mqtt_packet_id_of(n > id % 2048u ? n - id % 2048u : 1);
		there = id && number[id];
		/* Each ck_assert writes to a file. */
		if (mqtt_window_has(&w, id) != there || mqtt_window_take(&w, id) != there)
			ck_abort_msg("step %u: packet id %u", step, id);
		count -= there;
		number[id] = 0;
		if (w.count != count)
			ck_abort_msg("step %u: %u of %u", step, w.count, count);
	}
	for (unsigned id = 1; id < 65536; id++)
		if (mqtt_window_take(&w, (uint16_t)id) != (number[id] != 0))
			ck_abort_msg("packet id %u", id);
	ck_assert_uint_eq(w.count, 0);
	mqtt_window_fini(&w);
}
END_TEST

UNIT_MAIN("mqtt_window", an_empty_one, packet_ids_go_round, one_that_stays, random_changes)
