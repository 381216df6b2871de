/* test_status_table.c - the table of `roost status`, from whole and from mangled objects */
#include "status.h"

#include <string.h>

#include "../unit.h"

static const char whole[] =
    "{\"ok\":true,\"healthy\":false,\"supervisor\":{\"version\":\"1.2\",\"pid\":7,\"uptime_ms\":"
    "61000,"
    "\"memory_bytes\":1048576,\"data_dir\":\"/d\",\"phase\":\"running\"},"
    "\"listeners\":[{\"kind\":\"mqtt\",\"address\":\"127.0.0.1:1883\"}],\"processes\":["
    "{\"name\":\"storage-0\",\"service\":\"storage\",\"state\":\"UP\",\"held\":false,\"pid\":8,"
    "\"uptime_ms\":5000,\"restarts\":2,\"last_death\":{\"text\":\"killed by SIGKILL after "
    "1s\",\"at\":\"x\"},"
    "\"next_try_ms\":null,\"readings_per_s\":1234.5,\"memory_bytes\":2048},"
    "{\"name\":\"rules-0\",\"service\":\"rules\",\"state\":\"DOWN\",\"held\":true,\"pid\":null,"
    "\"uptime_ms\":0,\"restarts\":0,\"last_death\":null,\"next_try_ms\":null,\"readings_per_s\":0."
    "0,"
    "\"memory_bytes\":0},"
    "{\"name\":\"limiter-0\",\"state\":\"BACKOFF\",\"next_try_ms\":2500}],"
    "\"mqtt\":[{\"name\":\"connectivity-0\",\"connections\":3,\"sessions\":5,\"subscriptions\":8,"
    "\"retained\":2,\"waiting\":13,\"waiting_bytes\":3072}],"
    "\"followers\":[{\"group\":\"rules\",\"shard\":0,\"lag_bytes\":4096,\"lag_ms\":12,\"members\":"
    "1}]}";

static const char table[] =
    "Roost 1.2, running for 1m01s, pid 7, 1.0 MiB, data in /d\n"
    "mqtt listens on 127.0.0.1:1883\n"
    "\n"
    "PROCESS            STATE         PID       UP RESTARTS  READINGS/s     MEMORY  LAST DEATH\n"
    "storage-0          UP              8       5s        2        1234    2.0 KiB  killed by "
    "SIGKILL "
    "after 1s\n"
    "rules-0            DOWN            -        -        0           0          -  -; held until "
    "its "
    "configuration changes\n"
    "limiter-0          BACKOFF         -        -        0           0          -  -; next try in "
    "2s\n"
    "\n"
    "MQTT               CONNECTIONS SESSIONS SUBSCRIPTIONS RETAINED  WAITING      BYTES\n"
    "connectivity-0               3        5             8        2       13    3.0 KiB\n"
    "\n"
    "FOLLOWER           SHARD       BEHIND        AGE  MEMBERS\n"
    "rules                  0      4.0 KiB       12ms        1\n";

START_TEST(test_whole)
{
	json_t *o = json_loads(whole, 0, NULL);
	struct buf out = { .max = 0 };

	ck_assert_ptr_nonnull(o);
	status_table(o, &out);
	ck_assert_str_eq(buf_str(&out), table);
	buf_fini(&out);
	json_decref(o);
}
END_TEST

/* Any field missing, or of another type: a table all the same. */
START_TEST(test_mangled)
{
	static const char *const others[] = { "null", "1", "\"x\"", "[1]", "{}" };
	const char *at = whole;

	while ((at = strstr(at, "\":"))) {
		const char *value = at + 2;
		size_t len = *value == '"' ? strcspn(value + 1, "\"") + 2 : strcspn(value, ",}]");

		for (size_t i = 0; *value != '{' && *value != '[' && i < 5; i++) {
			struct buf text = { .max = 0 }, out = { .max = 0 };
			json_t *o;

			buf_add(&text, whole, (size_t)(value - whole));
			buf_add_str(&text, others[i]);
			buf_add_str(&text, value + len);
			o = json_loads(buf_str(&text), 0, NULL);
			ck_assert_msg(o != NULL, "%s", buf_str(&text));
			status_table(o, &out);
			ck_assert_ptr_nonnull(strstr(buf_str(&out), "PROCESS"));
			buf_fini(&text);
			buf_fini(&out);
			json_decref(o);
		}
		at = value;
	}
	for (size_t i = 0; i < 5; i++) {
		json_t *o = json_loads(others[i], JSON_DECODE_ANY, NULL);
		struct buf out = { .max = 0 };

		status_table(o, &out);
		ck_assert_uint_gt(out.len, 0);
		buf_fini(&out);
		json_decref(o);
	}
}
END_TEST

UNIT_MAIN("status_table", test_whole, test_mangled)
