/* test_ingest_release.c - PUBREL into the stream, and its answer when every part of it is durable */
#include <stdlib.h>

#include "../unit.h"
#include "attributes.h"
#include "entry.h"
#include "err.h"
#include "ingest_record.h"
#include "ingest_releases.h"
#include "mem.h"
#include "registry_change.h"
#include "support_ingest.h"

static struct bytes
client(void)
{
	return bytes_of_str("client-1");
}

static void
no_setup(void)
{
}

/* Each number is of one release at a time. */
START_TEST(numbers)
{
	struct ingest_releases r = { 0 };
	uint32_t number[300];
	uint64_t token = 0;

	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < COUNT_OF(number); i++)
			number[i] = ingest_releases_add(&r, 1000 + i, i % 3 + 1);
		for (unsigned part = 0; part < 3; part++)
			for (uint32_t i = 0; i < COUNT_OF(number); i++) {
				if (part > i % 3)
					continue;
				ck_assert(
				    ingest_releases_part(&r, number[i], &token) == (part == i % 3));
				if (part == i % 3)
					ck_assert_uint_eq(token, 1000 + i);
			}
	}
	ck_assert_uint_eq(r.cap, 512);
	ingest_releases_fini(&r);
}
END_TEST

/* Readings and releases of a turn are two batches of one stream. */
START_TEST(answered_by_commit)
{
	struct bytes body;
	struct pubrel p;

	fixture_setup();
	for (uint64_t i = 0; i < 3; i++) {
		ck_assert_int_eq(offer(i), 0);
		ck_assert_int_eq(
		    ingest_release(x.in, client(), (uint16_t)(70 + i),
			i == 0 ? -1 : ingest_partition(x.in, bytes_of_str("gh-1")), 100 + i),
		    0);
	}
	ck_assert(!ingest_idle(x.in));
	wait_for(&x.seen_count, 2);
	ck_assert_uint_eq(x.seen[0].kind, ENTRY_READINGS);
	ck_assert_uint_eq(x.seen[0].records, 3);
	ck_assert_uint_eq(x.seen[1].kind, ENTRY_PUBREL);
	ck_assert_uint_eq(x.seen[1].seq, 2);
	body = buf_bytes(&x.seen[1].bytes);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(pubrel_next(&body, &p));
		ck_assert_uint_eq(p.packet_id, 70 + i);
		ck_assert_uint_eq(p.client, ingest_client_of(client()));
	}
	ck_assert(!pubrel_next(&body, &p));
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 3);
	ck_assert_uint_eq(x.tokens[2], 2);
	commit(2, (struct bytes){ 0 });
	wait_for(&x.answers, 6);
	ck_assert_uint_eq(x.tokens[3], 100);
	ck_assert_uint_eq(x.tokens[5], 102);
	ck_assert_uint_eq(x.verdicts[5], VERDICT_ACCEPTED);
	ck_assert(ingest_idle(x.in));
	fixture_teardown();
}
END_TEST

START_TEST(every_shard_is_told)
{
	fixture_setup_shards();
	ck_assert_int_eq(ingest_release(x.in, client(), 5, -1, 9), 0);
	wait_for(&x.seen_count, 2);
	ck_assert_uint_ne(x.seen[0].stream, x.seen[1].stream);
	for (int i = 0; i < 2; i++)
		ck_assert_uint_lt(x.seen[i].stream, x.stream + 2);
	commit_of(x.other_shard, x.stream + 1, 1, (struct bytes){ 0 });
	for (int i = 0; i < 20; i++)
		turn(1000);
	ck_assert_int_eq(x.answers, 0);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
	ck_assert_uint_eq(x.tokens[0], 9);
	fixture_teardown();
}
END_TEST

/* Without credit nothing is taken, in none of the lanes. */
START_TEST(no_room)
{
	uint64_t taken = 0;

	fixture_setup_shards();
	x.window = 1;
	while (ingest_release(x.in, client(), (uint16_t)taken, 1, taken) == 0)
		taken++;
	ck_assert_int_eq(ingest_release(x.in, client(), 1, -1, 7), ERR_AGAIN);
	ck_assert_int_eq(ingest_release(x.in, client(), 1, 2, 7), 0);
	wait_for(&x.hellos, 4);
	x.window = 64;
	while ((uint64_t)x.answers <= taken) {
		turn(1000);
		for (int i = 0; i < x.seen_count; i++) {
			struct seen *s = &x.seen[i];

			commit_of(s->stream == x.stream + 1 ? x.other_shard : x.shard, s->stream,
			    s->seq, (struct bytes){ 0 });
			buf_fini(&s->bytes);
		}
		x.seen_count = 0;
	}
	ck_assert_int_ge(x.rooms, 1);
	ck_assert_int_eq(ingest_release(x.in, client(), 1, -1, 7), 0);
	fixture_teardown();
}
END_TEST

/* What a device says of itself: an entry an attribute, one answer for all of them. */
START_TEST(attributes_are_context)
{
	struct bytes device = bytes_of_str("gh-1");
	struct buf why = { 0 };
	struct attributes *a;
	struct registry_object o;

	fixture_setup();
	a = attributes_new(x.in);
	ck_assert_int_eq(attributes_post(a, device, PAYLOAD_JSON, bytes_of_str("{\"a\":"), 7, &why),
	    ERR_MALFORMED);
	ck_assert_uint_gt(why.len, 0);
	ck_assert_int_eq(
	    attributes_post(a, device, PAYLOAD_JSON, bytes_of_str("{}"), 7, &why), ERR_MALFORMED);
	ck_assert_int_eq(attributes_post(a, device, PAYLOAD_JSON,
			     bytes_of_str("{\"fw\":\"1.2\",\"net\":{\"rssi\":-70}}"), 7, &why),
	    0);
	wait_for(&x.seen_count, 2);
	ck_assert_uint_eq(x.seen[0].kind, ENTRY_CONTEXT);
	ck_assert_int_eq(registry_decode(buf_bytes(&x.seen[0].bytes), &o, NULL), 0);
	ck_assert(o.type == MSG_ATTRIBUTE && o.any.attribute.scope == ATTRIBUTE_CLIENT);
	ck_assert(bytes_equal_str(o.any.attribute.name, "fw"));
	ck_assert(bytes_equal_str(o.any.attribute.value, "\"1.2\""));
	ck_assert_int_eq(registry_decode(buf_bytes(&x.seen[1].bytes), &o, NULL), 0);
	ck_assert(bytes_equal_str(o.any.attribute.name, "net.rssi"));
	ck_assert(bytes_equal_str(o.any.attribute.value, "-70"));
	commit(1, (struct bytes){ 0 });
	turn(1000);
	ck_assert_int_eq(x.answers, 0);
	commit(2, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
	ck_assert_uint_eq(x.tokens[0], 7);
	ck_assert(ingest_idle(x.in));
	attributes_free(&a);
	buf_fini(&why);
	fixture_teardown();
}
END_TEST

UNIT_MAIN_IN("ingest_release", no_setup, no_setup, numbers, answered_by_commit, every_shard_is_told,
    no_room, attributes_are_context)
