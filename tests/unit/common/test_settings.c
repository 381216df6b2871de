/* test_settings.c - settings from every source, and what is said about each fault */
#include "../unit.h"
#include "settings.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "address.h"
#include "err.h"
#include "mem.h"

static struct buf err;

static void
setup(void)
{
	buf_init(&err, 0);
}

static void
teardown(void)
{
	buf_fini(&err);
}

/* Loads text as a file; its name in err is replaced by F. */
static int
load(struct settings *s, const char *text)
{
	int fd = memfd_create("settings", MFD_CLOEXEC), rc;
	char path[64];
	const char *rest;
	struct buf out = { .max = 0 };

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = settings_load_file(s, path, &err);
	close(fd);
	rest = buf_str(&err);
	if (rc != 0 && strncmp(rest, path, strlen(path)) == 0) {
		buf_addf(&out, "F%s", rest + strlen(path));
		buf_clear(&err);
		buf_add(&err, out.data, out.len);
		buf_fini(&out);
	}
	return rc;
}

static const struct {
	const char *text;
	const char *err;
} bad_files[] = {
	{ "mqtt:\n  lisen: x\n",
	    "F:2:3: unknown key \"mqtt.lisen\", did you mean \"mqtt.listen\"?" },
	{ "listen: x\n", "F:1:1: unknown key \"listen\", did you mean \"mqtt.listen\"?" },
	{ "zzzzzzzz: x\n",
	    "F:1:1: unknown key \"zzzzzzzz\"; `roost settings --doc` lists them all" },
	{ "partitoins: 4\n", "F:1:1: unknown key \"partitoins\", did you mean \"partitions\"?" },
	{ "partitions: many\n",
	    "F:1:13: partitions: \"many\" is not a whole number (1..1024 partitions)" },
	{ "partitions: 16x\n",
	    "F:1:13: partitions: \"16x\" is not a whole number (1..1024 partitions)" },
	{ "partitions: \" 16\"\n",
	    "F:1:13: partitions: \" 16\" is not a whole number (1..1024 partitions)" },
	{ "partitions: 0\n",
	    "F:1:13: partitions: \"0\" is out of range, allowed is 1..1024 partitions" },
	{ "partitions: 1025\n",
	    "F:1:13: partitions: \"1025\" is out of range, allowed is 1..1024 partitions" },
	{ "partitions: 99999999999999999999\n",
	    "F:1:13: partitions: \"99999999999999999999\" is out of "
	    "range, allowed is 1..1024 partitions" },
	{ "partitions: [1]\n", "F:1:13: partitions must be one value, not a list" },
	{ "partitions: {a: 1}\n", "F:1:13: partitions must be one value, not a mapping" },
	{ "partitions:\n", "F:1:12: partitions has no value (write \"\" for an empty text)" },
	{ "partitions: 4\npartitions: 5\n",
	    "F:2:1: \"partitions\" is written twice, first in line 1" },
	{ "mqtt.packet_max: 4096\nmqtt:\n  packet_max: 4096\n",
	    "F:3:3: mqtt.packet_max is set twice, first in line 1" },
	{ "log:\n  level: info\nlog:\n  format: json\n",
	    "F:3:1: \"log\" is written twice, first in line 1" },
	{ "log:\n  level: loud\n", "F:2:10: log.level: \"loud\" is none of debug|info|warn|error" },
	{ "log: info\n", "F:1:6: log is a group of settings: write its keys below it" },
	{ "log: [info]\n", "F:1:6: log is a group of settings: write its keys below it" },
	{ "storage:\n  retention: 60\n",
	    "F:2:14: storage.retention: \"60\" is not a duration: write a "
	    "number and a unit, as in 250ms, 30s, 1h30m" },
	{ "supervisor:\n  watchdog: 1ms\n",
	    "F:2:13: supervisor.watchdog: \"1ms\" is out of range, allowed is 500ms..10m" },
	{ "mqtt:\n  listen: {a: b}\n", "F:2:11: mqtt.listen must be a list, not a mapping" },
	{ "mqtt:\n  listen: [[a]]\n", "F:2:12: mqtt.listen: an entry must be one value" },
	{ "mqtt:\n  listen: [\"a,b\"]\n",
	    "F:2:11: mqtt.listen: \"a,b\" is no entry of a list: empty, or with a comma" },
	{ "data_dir: \"\"\n", "F:1:11: data_dir: \"\" has 0 characters, allowed is 1..80" },
	{ "data_dir: \"a\\nb\"\n", "F:1:11: data_dir: a control character is not allowed" },
	{ "data_dir: \"a\\0b\"\n", "F:1:11: data_dir: a control character is not allowed" },
	{ "data_dir: &a x\nrules_dir: *a\n", "F:2:12: aliases (*name) are not used here" },
	{ "- a\n", "F:1:1: settings are `key: value` lines" },
	{ "just text\n", "F:1:1: settings are `key: value` lines" },
	{ "a: 1\n---\nb: 2\n", "F:1:1: unknown key \"a\"; `roost settings --doc` lists them all" },
	{ "---\npartitions: 4\n---\npartitions: 4\n",
	    "F:3:1: a second document (---) in one file" },
	{ "? [a]\n: b\n", "F:1:3: a key must be a plain name" },
	{ "\"\": b\n", "F:1:1: a key must be 1 to 60 characters" },
};

START_TEST(test_bad_file)
{
	struct settings *s = settings_new();

	ck_assert_int_eq(load(s, bad_files[_i].text), ERR_CONFIG);
	ck_assert_str_eq(buf_str(&err), bad_files[_i].err);
	ck_assert_int_eq(settings_int(s, SET_PARTITIONS), 16);
	settings_free(&s);
}
END_TEST

/* Text that is no YAML at all: libyaml's words, our place. */
START_TEST(test_not_yaml)
{
	static const char *const texts[] = { "a: [1\n", "a: b: c\n", "\ta: 1\n", "a: \"x\n",
		"\x01\n", "\xff\xfe\xff", "a: 1\n b: 2\n", "%BAD\n", "[a, b\n", "{", "a: *", "!<" };

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct settings *s = settings_new();

		buf_clear(&err);
		ck_assert_msg(load(s, texts[i]) == ERR_CONFIG, "accepted: %s", texts[i]);
		ck_assert_msg(strncmp(buf_str(&err), "F:", 2) == 0, "%s", buf_str(&err));
		settings_free(&s);
	}
}
END_TEST

START_TEST(test_good_file)
{
	struct settings *s = settings_new();

	ck_assert_int_eq(load(s, "# a comment\n"
				 "data_dir: /var/lib/roost\n"
				 "partitions: 32\n"
				 "log:\n"
				 "  level: debug\n"
				 "mqtt.packet_max: 4096\n"
				 "mqtt:\n"
				 "  listen: [\"127.0.0.1:1883\", '[::1]:1883']\n"
				 "  connect_timeout: 30s\n"
				 "limiter:\n"
				 "storage: ~\n"
				 "sink:\n"
				 "  drivers:\n"
				 "    - state\n"),
	    0);
	ck_assert_str_eq(settings_str(s, SET_DATA_DIR), "/var/lib/roost");
	ck_assert_int_eq(settings_int(s, SET_PARTITIONS), 32);
	ck_assert_str_eq(settings_str(s, SET_LOG_LEVEL), "debug");
	ck_assert_int_eq(settings_int(s, SET_MQTT_PACKET_MAX), 4096);
	ck_assert_int_eq(settings_ms(s, SET_MQTT_CONNECT_TIMEOUT), 30000);
	ck_assert_uint_eq(settings_list_count(s, SET_MQTT_LISTEN), 2);
	ck_assert_str_eq(settings_list_at(s, SET_MQTT_LISTEN, 1), "[::1]:1883");
	ck_assert_uint_eq(settings_list_count(s, SET_SINK_DRIVERS), 1);
	ck_assert_str_eq(settings_list_at(s, SET_SINK_DRIVERS, 0), "state");
	settings_free(&s);
}
END_TEST

/* One value is a list of one, [] a list of none; an empty file says nothing. */
START_TEST(test_lists_and_empty)
{
	struct settings *s = settings_new();

	ck_assert_int_eq(load(s, ""), 0);
	ck_assert_int_eq(load(s, "# nothing\n---\n"), 0);
	ck_assert_int_eq(load(s, "mqtt: {listen: '127.0.0.1:1'}\nsink: {drivers: []}\n"), 0);
	ck_assert_uint_eq(settings_list_count(s, SET_MQTT_LISTEN), 1);
	ck_assert_str_eq(settings_list_at(s, SET_MQTT_LISTEN, 0), "127.0.0.1:1");
	ck_assert_uint_eq(settings_list_count(s, SET_SINK_DRIVERS), 0);
	settings_free(&s);
}
END_TEST

START_TEST(test_file_missing_or_huge)
{
	struct settings *s = settings_new();
	struct buf text = { .max = 0 };

	ck_assert_int_eq(settings_load_file(s, "/nonexistent/roost.yaml", &err), ERR_CONFIG);
	ck_assert_str_eq(buf_str(&err), "/nonexistent/roost.yaml: No such file or directory");
	buf_clear(&err);
	ck_assert_int_eq(settings_load_file(s, "/", &err), ERR_CONFIG);
	buf_clear(&err);
	while (text.len < 1100000)
		buf_add_str(&text, "# a comment that goes on and on\n");
	ck_assert_int_eq(load(s, buf_str(&text)), ERR_CONFIG);
	ck_assert_str_eq(buf_str(&err), "F: larger than 1048576 bytes");
	buf_fini(&text);
	settings_free(&s);
}
END_TEST

/* Nothing that a file may hold makes the reader do more than say no. */
START_TEST(test_file_prefixes)
{
	struct buf doc = { .max = 0 };

	settings_doc(&doc);
	for (size_t len = 0; len < doc.len; len += 7) {
		struct settings *s = settings_new();
		char *part = xstrndup((const char *)doc.data, len);

		buf_clear(&err);
		(void)load(s, part);
		settings_free(&s);
		free(part);
	}
	buf_fini(&doc);
}
END_TEST

START_TEST(test_deep_and_wide)
{
	struct settings *s = settings_new();
	struct buf text = { .max = 0 };

	for (int i = 0; i < 2000; i++)
		buf_add_str(&text, "{log: ");
	ck_assert_int_eq(load(s, buf_str(&text)), ERR_CONFIG);
	buf_clear(&err);
	buf_clear(&text);
	buf_add_str(&text, "mqtt: {listen: [a");
	for (int i = 0; i < 100; i++)
		buf_add_str(&text, ",a");
	buf_add_str(&text, "]}");
	ck_assert_int_eq(load(s, buf_str(&text)), ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(buf_str(&err), "more than 64 entries"));
	buf_fini(&text);
	settings_free(&s);
}
END_TEST

START_TEST(test_set)
{
	static const struct {
		const char *assignment;
		const char *err; /* NULL: fine */
	} cases[] = {
		{ "partitions=64", NULL },
		{ "data_dir=/a=b", NULL },
		{ "mqtt.listen=127.0.0.1:0, [::1]:0", NULL },
		{ "sink.drivers=", NULL },
		{ "redis.url=", NULL },
		{ "partitions", "--set partitions: write key=value" },
		{ "=1", "--set =1: write key=value" },
		{ "partition=1", "--set: unknown key \"partition\", did you mean \"partitions\"?" },
		{ "mqtt=1", "--set: \"mqtt\" is a group of settings: write mqtt.<name>=value" },
		{ "partitions=",
		    "--set: partitions: \"\" is not a whole number (1..1024 partitions)" },
		{ "mqtt.listen=a,,b",
		    "--set: mqtt.listen: \"\" is no entry of a list: empty, or with a comma" },
	};
	struct settings *s = settings_new();

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&err);
		ck_assert_int_eq(settings_set(s, cases[i].assignment, "--set", &err),
		    cases[i].err ? ERR_CONFIG : 0);
		ck_assert_str_eq(buf_str(&err), cases[i].err ? cases[i].err : "");
	}
	ck_assert_int_eq(settings_int(s, SET_PARTITIONS), 64);
	ck_assert_str_eq(settings_str(s, SET_DATA_DIR), "/a=b");
	ck_assert_str_eq(settings_list_at(s, SET_MQTT_LISTEN, 1), "[::1]:0");
	ck_assert_uint_eq(settings_list_count(s, SET_SINK_DRIVERS), 0);
	settings_free(&s);
}
END_TEST

/* A key of any length is answered, not trusted. */
START_TEST(test_long_keys)
{
	struct settings *s = settings_new();

	for (size_t len = 1; len < 400; len++) {
		char *key = xmalloc(len + 3);

		memset(key, 'p', len);
		memcpy(key + len, "=1", 3);
		buf_clear(&err);
		ck_assert_int_eq(settings_set(s, key, "--set", &err), ERR_CONFIG);
		free(key);
	}
	settings_free(&s);
}
END_TEST

START_TEST(test_env)
{
	static const struct {
		const char *entry;
		const char *err;
	} cases[] = {
		{ "ROOST_MQTT_LISTEN=127.0.0.1:1", NULL },
		{ "ROOST_STORAGE_SEGMENT_MIB=8", NULL },
		{ "PATH=/bin", NULL },
		{ "ROOST", NULL },
		{ "ROOST_NAME=limiter-0", NULL },
		{ "ROOST_TEST_FAULT=x", NULL },
		{ "ROOST_PORT_1883_TCP=tcp://10.0.0.1:1883", NULL },
		{ "ROOST_MQTT_LISEN=x",
		    "ROOST_MQTT_LISEN in the environment is no setting, did you mean "
		    "ROOST_MQTT_LISTEN?" },
		{ "ROOST_ZZZZZZZZ=x", "ROOST_ZZZZZZZZ in the environment is no setting; "
				      "`roost settings --doc` lists them all" },
		{ "ROOST_PARTITIONS=x", "ROOST_PARTITIONS: partitions: \"x\" is not a whole number "
					"(1..1024 partitions)" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *entry = xstrdup(cases[i].entry), *const env[] = { entry, NULL };
		struct settings *s = settings_new();

		buf_clear(&err);
		ck_assert_int_eq(settings_load_env(s, env, &err), cases[i].err ? ERR_CONFIG : 0);
		ck_assert_str_eq(buf_str(&err), cases[i].err ? cases[i].err : "");
		if (i == 0)
			ck_assert_str_eq(settings_list_at(s, SET_MQTT_LISTEN, 0), "127.0.0.1:1");
		if (i == 1)
			ck_assert_int_eq(settings_int(s, SET_STORAGE_SEGMENT_MIB), 8);
		settings_free(&s);
		free(entry);
	}
}
END_TEST

/* One wrong name undoes the whole call. */
START_TEST(test_env_is_all_or_nothing)
{
	char *const env[] = { (char[]){ "ROOST_PARTITIONS=8" }, (char[]){ "ROOST_X=1" }, NULL };
	struct settings *s = settings_new();

	ck_assert_int_eq(settings_load_env(s, env, &err), ERR_CONFIG);
	ck_assert_int_eq(settings_int(s, SET_PARTITIONS), 16);
	settings_free(&s);
}
END_TEST

/* No two keys may share a name in the environment, and none is reserved. */
START_TEST(test_env_names_differ)
{
	for (int i = 0; i < SETTING_COUNT; i++) {
		char entry[256], *env[] = { entry, NULL };
		struct settings *s = settings_new();
		struct buf text = { .max = 0 };
		size_t len;

		for (int k = 0; k < i; k++) {
			char a[128], b[128];

			snprintf(a, sizeof(a), "%s", setting_infos[i].key);
			snprintf(b, sizeof(b), "%s", setting_infos[k].key);
			for (char *c = a; *c; c++)
				*c = *c == '.' ? '_' : *c;
			for (char *c = b; *c; c++)
				*c = *c == '.' ? '_' : *c;
			ck_assert_str_ne(a, b);
		}
		len = (size_t)snprintf(entry, sizeof(entry), "ROOST_%s", setting_infos[i].key);
		for (size_t k = 0; k < len; k++)
			entry[k] = entry[k] == '.'			? '_'
				   : entry[k] >= 'a' && entry[k] <= 'z' ? (char)(entry[k] - 32)
									: entry[k];
		snprintf(entry + len, sizeof(entry) - len, "=\x01");
		/* Reserved names are skipped silently; a real key objects to the control character. */
		buf_clear(&err);
		ck_assert_msg(settings_load_env(s, env, &err) == ERR_CONFIG, "%s", entry);
		buf_fini(&text);
		settings_free(&s);
	}
}
END_TEST

START_TEST(test_text_form)
{
	struct settings *a = settings_new(), *b = settings_new();
	struct buf one = { .max = 0 }, two = { .max = 0 };

	ck_assert_int_eq(settings_set(a, "mqtt.listen=127.0.0.1:1,[::1]:2", "t", &err), 0);
	ck_assert_int_eq(settings_set(a, "data_dir=/tmp/x=y z", "t", &err), 0);
	ck_assert_int_eq(settings_set(a, "sink.drivers=", "t", &err), 0);
	settings_write(a, &one);
	ck_assert_int_eq(settings_read(b, buf_bytes(&one), &err), 0);
	settings_write(b, &two);
	ck_assert_str_eq(buf_str(&one), buf_str(&two));
	ck_assert_str_eq(settings_str(b, SET_DATA_DIR), "/tmp/x=y z");
	ck_assert_int_eq(settings_read(b, bytes_of_str("partitions=4\nnope\n"), &err), ERR_CONFIG);
	ck_assert_str_eq(buf_str(&err), "settings:2 nope: write key=value");
	ck_assert_int_eq(settings_int(b, SET_PARTITIONS), 16);
	buf_fini(&one);
	buf_fini(&two);
	settings_free(&a);
	settings_free(&b);
	settings_free(&b);
}
END_TEST

START_TEST(test_check)
{
	static const struct {
		const char *set[3];
		const char *err; /* beginning; NULL: fine */
	} cases[] = {
		{ { NULL }, NULL },
		{ { "mqtt.listen=127.0.0.2:0,localhost:5,[::1]:7" }, NULL },
		{ { "mqtt.listen=0.0.0.0:1883,*:1884,[::]:1885" }, NULL },
		{ { "mqtt.listen=0.0.0.0:1883", "auth.anonymous=true" }, NULL },
		{ { "mqtt.listen=0.0.0.0:1883", "auth.anonymous=false" }, NULL },
		{ { "mqtt.listen=example.org:1883" },
		    "mqtt.listen: \"example.org:1883\": the host is" },
		{ { "mqtt.listen=127.0.0.1" }, "mqtt.listen: \"127.0.0.1\": the port is missing" },
		{ { "mqtt.listen=127.0.0.1:65536" },
		    "mqtt.listen: \"127.0.0.1:65536\": the port is not a number" },
		{ { "mqtt.listen=" }, NULL },
		{ { "mqtt_ws.listen=127.0.0.1:8083" }, NULL },
		{ { "mqtt_ws.listen=8083" }, "mqtt_ws.listen: \"8083\": the port is missing" },
		{ { "mqtt_ws.paths=/a,*", "mqtt_ws.origins=same,*,https://a.example" }, NULL },
		{ { "mqtt_ws.paths=mqtt" }, "mqtt_ws.paths: \"mqtt\" is neither" },
		{ { "mqtt_ws.origins=a.example" }, "mqtt_ws.origins: \"a.example\" is none" },
		{ { "mqtt.proxy_protocol=any" }, NULL },
		{ { "mqtt.proxy_protocol=on" },
		    "mqtt.proxy_protocol: \"on\" is none of off, v1, v2, any" },
		{ { "mqtt.listen=127.0.0.1:1,127.0.0.1:2", "mqtt.proxy_protocol=off,v2" }, NULL },
		{ { "mqtt.proxy_protocol=off,v2" },
		    "mqtt.proxy_protocol has 2 values, and mqtt.listen 1 addresses" },
		{ { "mqtt_ws.proxy_protocol=v1,v2" }, "mqtt_ws.proxy_protocol has 2 values" },
		{ { "proxy.trusted=10.0.0.0/8,::1,2001:db8::/32,0.0.0.0/0" }, NULL },
		{ { "proxy.trusted=localhost" }, "proxy.trusted: \"localhost\": it is neither" },
		{ { "proxy.trusted=10.0.0.0/33" }, "proxy.trusted: \"10.0.0.0/33\": it is" },
		{ { "proxy.trusted=10.0.0.0/" }, "proxy.trusted: \"10.0.0.0/\": it is" },
		{ { "proxy.trusted=::1/1x" }, "proxy.trusted: \"::1/1x\": it is" },
		{ { "storage.replicas=2" },
		    "storage.replicas is 2, more than storage.shards, which is 1" },
		{ { "storage.replicas=2", "storage.shards=2" }, NULL },
		{ { "storage.shards=4", "partitions=2" },
		    "storage.shards is 4, more than partitions, which is 2" },
		{ { "storage.quota_mib=700" }, "storage.quota_mib is 700, less than 3 times "
					       "storage.segment_mib, which is 256" },
		{ { "redis.url=http://x" }, "redis.url: \"http://x\" is neither" },
		{ { "redis.url=unix:///run/redis.sock" }, NULL },
		{ { "redis.url=redis://redis:6379" }, NULL },
		{ { "sink.drivers=history,kafka" }, "sink.drivers: there is no driver \"kafka\"" },
		{ { "sink.drivers=state,state" }, "sink.drivers: \"state\" is listed twice" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct settings *s = settings_new();

		buf_clear(&err);
		for (size_t k = 0; k < 3 && cases[i].set[k]; k++)
			ck_assert_msg(
			    settings_set(s, cases[i].set[k], "t", &err) == 0, "%s", buf_str(&err));
		ck_assert_int_eq(settings_check(s, &err), cases[i].err ? ERR_CONFIG : 0);
		if (cases[i].err)
			ck_assert_msg(
			    strncmp(buf_str(&err), cases[i].err, strlen(cases[i].err)) == 0, "%s",
			    buf_str(&err));
		settings_free(&s);
	}
}
END_TEST

START_TEST(test_address)
{
	static const struct {
		const char *text;
		const char *back; /* NULL: malformed */
		bool loopback;
	} cases[] = {
		{ "127.0.0.1:1883", "127.0.0.1:1883", true },
		{ "127.9.9.9:0", "127.9.9.9:0", true },
		{ "localhost:80", "127.0.0.1:80", true },
		{ "0.0.0.0:65535", "0.0.0.0:65535", false },
		{ "*:1", "[::]:1", false },
		{ "[::1]:1", "[::1]:1", true },
		{ "[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true },
		{ "[fe80::1]:1", "[fe80::1]:1", false },
		{ "::1:1", NULL, false },
		{ "[::1]", NULL, false },
		{ "[::1:1", NULL, false },
		{ "[]:1", NULL, false },
		{ "[127.0.0.1]:1", NULL, false },
		{ ":1", NULL, false },
		{ "", NULL, false },
		{ "127.0.0.1:", NULL, false },
		{ "127.0.0.1:-1", NULL, false },
		{ "127.0.0.1:000001", NULL, false },
		{ "127.1:1", NULL, false },
		{ "1111111111111111111111111111111111111111111111111111111111111111111111:1", NULL,
		    false },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char text[ADDRESS_TEXT_MAX];
		const char *why = NULL;
		struct address a;
		int rc = address_parse(cases[i].text, &a, &why);

		ck_assert_msg(rc == (cases[i].back ? 0 : ERR_MALFORMED), "%s", cases[i].text);
		ck_assert(rc == 0 || why);
		if (rc == 0) {
			ck_assert_str_eq(address_text(&a.sa, text), cases[i].back);
			ck_assert_int_eq(a.loopback, cases[i].loopback);
		}
	}
}
END_TEST

/* The documentation read back is exactly the defaults. */
START_TEST(test_doc_is_defaults)
{
	struct settings *a = settings_new(), *b = settings_new();
	struct buf doc = { .max = 0 }, one = { .max = 0 }, two = { .max = 0 };

	settings_doc(&doc);
	ck_assert_int_eq(settings_set(b, "partitions=3", "t", &err), 0);
	ck_assert_msg(load(b, buf_str(&doc)) == 0, "%s", buf_str(&err));
	settings_write(a, &one);
	settings_write(b, &two);
	ck_assert_str_eq(buf_str(&one), buf_str(&two));
	for (int i = 0; i < SETTING_COUNT; i++) {
		char word[24];

		snprintf(word, sizeof(word), "%.12s", setting_infos[i].meaning);
		ck_assert_msg(strstr(buf_str(&doc), word) != NULL, "%s is not explained",
		    setting_infos[i].key);
	}
	ck_assert_int_eq(settings_check(a, &err), 0);
	buf_fini(&doc);
	buf_fini(&one);
	buf_fini(&two);
	settings_free(&a);
	settings_free(&b);
}
END_TEST

/* If this fails: build/bin/roost settings --doc > deploy/roost.yaml */
START_TEST(test_doc_is_deployed)
{
	struct buf doc = { .max = 0 }, file = { .max = 1048576 };
	FILE *f = fopen("deploy/roost.yaml", "re");
	size_t n = 1;

	ck_assert_msg(f != NULL, "run from the top of the tree");
	while (n > 0) {
		uint8_t *at = buf_reserve(&file, 4096);

		ck_assert_ptr_nonnull(at);
		n = fread(at, 1, 4096, f);
		file.len += n;
	}
	fclose(f);
	settings_doc(&doc);
	ck_assert_str_eq(buf_str(&file), buf_str(&doc));
	buf_fini(&doc);
	buf_fini(&file);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("settings");
	TCase *tc = tcase_create("settings");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_bad_file, 0, (int)COUNT_OF(bad_files));
	tcase_add_test(tc, test_not_yaml);
	tcase_add_test(tc, test_good_file);
	tcase_add_test(tc, test_lists_and_empty);
	tcase_add_test(tc, test_file_missing_or_huge);
	tcase_add_test(tc, test_file_prefixes);
	tcase_add_test(tc, test_deep_and_wide);
	tcase_add_test(tc, test_set);
	tcase_add_test(tc, test_long_keys);
	tcase_add_test(tc, test_env);
	tcase_add_test(tc, test_env_is_all_or_nothing);
	tcase_add_test(tc, test_env_names_differ);
	tcase_add_test(tc, test_text_form);
	tcase_add_test(tc, test_check);
	tcase_add_test(tc, test_address);
	tcase_add_test(tc, test_doc_is_defaults);
	tcase_add_test(tc, test_doc_is_deployed);
	suite_add_tcase(suite, tc);
	return unit_end(suite);
}
