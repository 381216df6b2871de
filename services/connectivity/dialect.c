/* dialect.c - whose reading is a message on this topic, and in which format; pure */
#include "dialect.h"

#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_tree.h"
#include "record.h"
#include "utf8.h"

/* Patterns are topics in which a level {device} or {metric} stands for any one level. Without {device} the reading is
 * of the device that the client is authenticated as; without {metric} a bare value is named by the last level. */
static const struct dialect {
	const char *name;
	const char *pattern;
	size_t
	    literal; /* its bytes before the first {: other topics are told apart by these alone */
	enum payload_format format;
} dialects[] = {
#define DIALECT(name, literal, rest, format)                                                       \
	{                                                                                          \
		name, literal rest, sizeof(literal) - 1, format                                    \
	}
	DIALECT("roost", "roost/", "{device}/telemetry", PAYLOAD_ANY),
	DIALECT("roost", "roost/", "{device}/telemetry/{metric}", PAYLOAD_TEXT),
	DIALECT("thingsboard", "v1/devices/me/telemetry", "", PAYLOAD_ANY),
	DIALECT("thingsboard", "v2/t", "", PAYLOAD_ANY),
#undef DIALECT
};

struct match {
	struct bytes device;
	struct bytes metric;
	bool names_device;
};

static bool
matches(const char *pattern, struct bytes topic, struct match *ret)
{
	struct bytes want = bytes_of_str(pattern);
	struct bytes want_level, level = { 0 };
	struct match m = { 0 };

	while (mqtt_level_next(&want, &want_level)) {
		if (!mqtt_level_next(&topic, &level))
			return false;
		if (bytes_equal_str(want_level, "{device}")) {
			m.device = level;
			m.names_device = true;
		} else if (!bytes_equal_str(want_level, "{metric}") &&
			   !bytes_equal(want_level, level)) {
			return false;
		}
	}
	if (topic.data)
		return false;
	m.metric = level;
	*ret = m;
	return true;
}

static const char *
metric_fault(struct bytes metric)
{
	if (metric.len == 0)
		return "the metric in the topic is empty";
	if (metric.len > METRIC_NAME_MAX)
		return "the metric in the topic is longer than 128 bytes";
	if (!utf8_valid(metric) || utf8_has_control(metric))
		return "the metric in the topic is not UTF-8 without control characters";
	return NULL;
}

int
dialect_match(struct bytes topic, struct bytes identity, struct dialect_target *ret)
{
	struct match m;

	if (!topic.data)
		return ERR_NOT_FOUND;
	for (size_t i = 0; i < COUNT_OF(dialects); i++) {
		const char *fault;

		if (topic.len < dialects[i].literal ||
		    memcmp(topic.data, dialects[i].pattern, dialects[i].literal) != 0 ||
		    !matches(dialects[i].pattern, topic, &m))
			continue;
		if (!m.names_device)
			m.device = identity;
		fault = device_id_fault(m.device);
		if (fault && !m.names_device) {
			ret->reason = identity.len == 0 ? "this topic means the client's own "
							  "device, and the client has no identity"
							: fault;
			return ERR_REFUSED;
		}
		if (!fault)
			fault = metric_fault(m.metric);
		if (fault) {
			ret->reason = fault;
			return ERR_MALFORMED;
		}
		*ret = (struct dialect_target){
			.dialect = dialects[i].name,
			.device = m.device,
			.format = dialects[i].format,
			.metric = m.metric,
			.names_device = m.names_device,
		};
		return 0;
	}
	return ERR_NOT_FOUND;
}
