/* test_notify_text.c - notify.yaml is read, or its faults are named with their places */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "notify_text.h"

static const char good[] =
    "version: 1\n"
    "receivers:\n"
    "  - name: ops\n"
    "    webhook: { url: \"https://example.org/hook\", timeout: 3s, headers: { "
    "Authorization: \"Bearer x\" } }\n"
    "  - name: on-screen\n"
    "    log: {}\n"
    "  - name: bare\n"
    "    log:\n"
    "routes:\n"
    "  - match: { severity: critical, device: \"gh-*\" }\n"
    "    receivers: [ops]\n"
    "    continue: true\n"
    "  - receivers: [on-screen, bare]\n";

START_TEST(reads_a_good_file)
{
	struct notify_conf *conf = NULL;
	struct buf err = { 0 };

	ck_assert_msg(
	    notify_text_parse(bytes_of_str(good), "n.yaml", &conf, &err) == 0, "%s", buf_str(&err));
	ck_assert_uint_eq(conf->receiver_count, 3);
	ck_assert_str_eq(conf->receivers[0].name, "ops");
	ck_assert_int_eq(conf->receivers[0].channel, CHANNEL_WEBHOOK);
	ck_assert_str_eq(conf->receivers[0].url, "https://example.org/hook");
	ck_assert_int_eq(conf->receivers[0].timeout_ms, 3000);
	ck_assert_uint_eq(conf->receivers[0].header_count, 1);
	ck_assert_str_eq(conf->receivers[0].headers[0], "Authorization: Bearer x");
	ck_assert_int_eq(conf->receivers[1].channel, CHANNEL_LOG);
	ck_assert_uint_eq(conf->route_count, 2);
	ck_assert_str_eq(conf->routes[0].severity, "critical");
	ck_assert_ptr_null(conf->routes[0].alert);
	ck_assert(conf->routes[0].go_on && !conf->routes[1].go_on);
	ck_assert_uint_eq(conf->routes[0].receivers, 1);
	ck_assert_uint_eq(conf->routes[1].receivers, 6);
	notify_conf_free(&conf);
	ck_assert_int_eq(notify_text_parse(bytes_of_str("version: 1\n"), "n.yaml", &conf, &err), 0);
	notify_conf_free(&conf);
	notify_conf_free(&conf);
	buf_fini(&err);
}
END_TEST

START_TEST(names_what_is_wrong)
{
	static const struct {
		const char *text;
		const char *err;
	} cases[] = {
		{ "", "n.yaml:1:1: the file is empty" },
		{ "receivers: []\n", "n.yaml:1:1: `version: 1` is missing" },
		{ "version: 2\n", "n.yaml:1:10: version: 1 is wanted, not \"2\"" },
		{ "version: 1\nreceivrs: []\n",
		    "n.yaml:2:1: unknown key \"receivrs\", did you mean \"receivers\"?" },
		{ "version: 1\nversion: 1\n", "n.yaml:2:1: given twice: \"version\"" },
		{ "version: 1\nroutes: 3\n", "n.yaml:2:9: routes: a list is wanted" },
		{ "version: 1\nreceivers:\n  - webhook: { url: http://x/ }\n",
		    "n.yaml:3:5: this receiver has no name" },
		{ "version: 1\nreceivers:\n  - name: a b\n    log: {}\n",
		    "n.yaml:3:5: a name has" },
		{ "version: 1\nreceivers:\n  - name: a\n",
		    "n.yaml:3:5: a receiver has one of webhook: and log:" },
		{ "version: 1\nreceivers:\n  - { name: a, log: {} }\n  - { name: a, log: {} }\n",
		    "n.yaml:4:5: there are two receivers of this name: \"a\"" },
		{ "version: 1\nreceivers:\n  - { name: a, webhook: {} }\n",
		    "n.yaml:3:16: webhook: has no url" },
		{ "version: 1\nreceivers:\n  - { name: a, webhook: { url: \"ftp://x/\" } }\n",
		    "n.yaml:3:32: url: an http:// or https:// address is wanted" },
		{ "version: 1\nreceivers:\n  - { name: a, webhook: { url: \"file:///etc/passwd\" } "
		  "}\n",
		    "n.yaml:3:32: url:" },
		{ "version: 1\nreceivers:\n  - { name: a, webhook: { url: http://x/, timeout: 5 } "
		  "}\n",
		    "n.yaml:3:52: timeout: a duration from 100ms to 2m is wanted, not \"5\"" },
		{ "version: 1\nreceivers:\n  - { name: a, webhook: { url: http://x/, headers: { "
		  "\"a b\": c } } }\n",
		    "n.yaml:3:54: no header that HTTP allows: \"a b\"" },
		{ "version: 1\nreceivers:\n  - { name: a, webhook: { url: http://x/, headers: { a: "
		  "\"b\\r\\nc: d\" } } }\n",
		    "n.yaml:3:54: no header that HTTP allows: \"a\"" },
		{ "version: 1\nreceivers:\n  - { name: ops, log: {} }\nroutes:\n  - receivers: "
		  "[opss]\n",
		    "n.yaml:5:17: no such receiver: \"opss\", did you mean \"ops\"?" },
		{ "version: 1\nroutes:\n  - continue: yes\n",
		    "n.yaml:3:15: continue: true or false is wanted, not \"yes\"" },
		{ "version: 1\nroutes:\n  - match: { sevrity: x }\n",
		    "n.yaml:3:14: unknown key \"sevrity\", did you mean \"severity\"?" },
		{ "version: [1\n", "n.yaml:2:1: " },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct notify_conf *conf = NULL;
		struct buf err = { 0 };

		ck_assert_int_eq(
		    notify_text_parse(bytes_of_str(cases[i].text), "n.yaml", &conf, &err),
		    ERR_CONFIG);
		ck_assert_msg(strncmp(buf_str(&err), cases[i].err, strlen(cases[i].err)) == 0,
		    "%s\nwanted: %s\ngot:    %s", cases[i].text, cases[i].err, buf_str(&err));
		ck_assert_ptr_null(conf);
		buf_fini(&err);
	}
}
END_TEST

START_TEST(faults_and_sizes_are_bounded)
{
	struct buf text = { 0 }, err = { 0 };
	struct notify_conf *conf = NULL;
	size_t lines = 1;

	buf_add_str(&text, "version: 1\n");
	for (int i = 0; i < 1000; i++)
		buf_addf(&text, "k%d: 1\n", i);
	ck_assert_int_eq(notify_text_parse(buf_bytes(&text), "n.yaml", &conf, &err), ERR_CONFIG);
	for (const char *c = buf_str(&err); *c != '\0'; c++)
		lines += *c == '\n';
	ck_assert_uint_eq(lines, 20);
	buf_clear(&text);
	buf_clear(&err);
	buf_add_str(&text, "version: 1\nreceivers:\n");
	for (int i = 0; i < 65; i++)
		buf_addf(&text, "  - { name: r%d, log: {} }\n", i);
	ck_assert_int_eq(notify_text_parse(buf_bytes(&text), "n.yaml", &conf, &err), ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(buf_str(&err), "more than 64 receivers"));
	buf_fini(&text);
	buf_fini(&err);
}
END_TEST

/* Every beginning of a good file is a good file or a fault, never anything else. */
START_TEST(every_prefix)
{
	for (size_t len = 0; len < sizeof(good); len++) {
		struct notify_conf *conf = NULL;
		struct buf err = { 0 };
		char *cut = xmemdup(good, len + 1);
		int code = notify_text_parse(bytes_of(cut, len), "n.yaml", &conf, &err);

		ck_assert(
		    code == 0 ? conf != NULL : code == ERR_CONFIG && conf == NULL && err.len > 0);
		notify_conf_free(&conf);
		buf_fini(&err);
		free(cut);
	}
}
END_TEST

UNIT_MAIN("notify_text", reads_a_good_file, names_what_is_wrong, faults_and_sizes_are_bounded,
    every_prefix)
