/* fuzz_notify_text.c - any text as notify.yaml: a configuration or faults with places, never both; and what is told of an
 * alert with any text in it
 *
 * fuzz: -max_len=4096 */
#include <jansson.h>
#include <string.h>

#include "err.h"
#include "notify_text.h"
#include "route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The body of a webhook is JSON, whatever is in the alert. */
static void
tell(struct bytes text)
{
	struct msg_alert alert = { .id = text,
		.alert_id = text,
		.rule = text,
		.group = text,
		.device = text,
		.severity = text,
		.summary = text,
		.runbook = text,
		.values = text.len && text.data[0] == '{' ? bytes_of_str("{\"t\":1}") : text,
		.state = text.len % 4 };
	struct buf out = { 0 };
	json_t *j;

	route_put_json(&out, &alert);
	j = json_loadb(
	    (const char *)out.data, out.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
	ASSERT(json_is_object(j));
	json_decref(j);
	buf_clear(&out);
	route_put_text(&out, &alert);
	ASSERT(out.len > text.len);
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msg_alert alert = { .rule = bytes_of_str("TooHot"),
		.group = bytes_of_str("g"),
		.device = bytes_of_str("gh-1"),
		.severity = bytes_of_str("critical"),
		.receivers = bytes_of_str("log, ops"),
		.state = ALERT_FIRING };
	struct notify_conf *conf = NULL;
	struct buf err = { 0 };
	int code = notify_text_parse(bytes_of(data, size), "n.yaml", &conf, &err);

	ASSERT(code == 0 ? conf != NULL && err.len == 0 : conf == NULL && err.len > 0);
	if (conf != NULL) {
		uint64_t set = route_receivers(conf, &alert, NULL);

		ASSERT(conf->receiver_count == RECEIVERS_MAX || set >> conf->receiver_count == 0);
	}
	tell(bytes_of(data, size < 512 ? size : 512));
	notify_conf_free(&conf);
	buf_fini(&err);
	return 0;
}
