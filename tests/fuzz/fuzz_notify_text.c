/* fuzz_notify_text.c - any text as notify.yaml: a configuration or faults with places, never both */
#include <string.h>

#include "err.h"
#include "notify_text.h"
#include "route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
	notify_conf_free(&conf);
	buf_fini(&err);
	return 0;
}
