/* test_room.c - a process without room for its files: when it may try, and what it says */
#include "room.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../unit.h"
#include "metrics.h"

START_TEST(errors_that_say_so)
{
	ck_assert(room_is_lacking(ENOSPC) && room_is_lacking(EDQUOT));
	ck_assert(!room_is_lacking(EIO) && !room_is_lacking(0));
}
END_TEST

START_TEST(tries_when_a_probe_has_room)
{
	char dir[] = "/tmp/roost-test-XXXXXX";
	struct room r = { .dir = dir };
	uint64_t tries = metric_get(M_NO_ROOM_TRIES);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert(room_may_write(&r, 0));
	room_wrote(&r, 0);
	room_lost(&r, 1000);
	ck_assert_uint_eq(metric_get(M_NO_ROOM), 1);
	ck_assert(!room_may_write(&r, 1000 + ROOM_RETRY_US - 1));
	ck_assert(room_may_write(&r, 1000 + ROOM_RETRY_US)); /* the probe says so */
	ck_assert(room_may_write(&r, 1000 + ROOM_RETRY_US));
	room_lost(&r, 2000 + ROOM_RETRY_US); /* and was wrong */
	ck_assert(!room_may_write(&r, 2000 + ROOM_RETRY_US));
	ck_assert(room_may_write(&r, 2000 + 2 * ROOM_RETRY_US));
	ck_assert_uint_eq(metric_get(M_NO_ROOM), 1);
	room_wrote(&r, 3000 + 2 * ROOM_RETRY_US);
	ck_assert_uint_eq(metric_get(M_NO_ROOM), 0);
	ck_assert_uint_eq(metric_get(M_NO_ROOM_TRIES), tries + 2);
	ck_assert_int_eq(rmdir(dir), 0); /* nothing is left of the probe */
}
END_TEST

/* That the folder is away is no lack of room: the write itself will say what is wrong. */
START_TEST(other_errors_are_left_to_the_write)
{
	struct room r = { .dir = "/nonexistent/roost" };

	room_lost(&r, 0);
	ck_assert(room_may_write(&r, ROOM_RETRY_US));
}
END_TEST

UNIT_MAIN(
    "room", errors_that_say_so, tries_when_a_probe_has_room, other_errors_are_left_to_the_write)
