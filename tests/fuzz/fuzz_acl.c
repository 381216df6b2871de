/* fuzz_acl.c - the text of roles, of any bytes: roles, or faults with their places; and what roles decide
 *
 * What is behind a zero byte are topics to be asked about, one a line. A filter that is allowed lets no topic through that is not. */
#include <stdint.h>
#include <string.h>

#include "acl.h"
#include "err.h"
#include "mqtt_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The filter with a level in the place of each + and #. */
static struct bytes
topic_of(struct bytes filter, char *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < filter.len && n < max; i++)
		out[n++] =
		    (char)(filter.data[i] == '+' || filter.data[i] == '#' ? 'q' : filter.data[i]);
	return bytes_of(out, n);
}

static void
ask(const struct acl *acl, struct bytes what)
{
	char topic[4096];
	const struct acl_who who = { .client = bytes_of_str("cl"),
		.user = bytes_of_str("us"),
		.device = bytes_of_str("gh-1"),
		.roles = bytes_of_str("a,b,none"),
		.speaks_for = bytes_of_str("s-*\nx"),
		.is_device = true };

	if (!mqtt_filter_valid(what) || what.len > sizeof(topic))
		return;
	if (acl_may(acl, &who, ACL_SUBSCRIBE, what))
		ASSERT(acl_may(acl, &who, ACL_SUBSCRIBE, topic_of(what, topic, sizeof(topic))));
	(void)acl_may(acl, &who, ACL_PUBLISH, topic_of(what, topic, sizeof(topic)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	size_t len = zero ? (size_t)(zero - data) : size;
	struct bytes rest = bytes_of(data + len, size - len);
	struct acl *acl = NULL;
	struct buf err = { 0 };
	int rc = acl_parse(bytes_of(data, len), "acl.yaml", &acl, &err);

	ASSERT(rc == 0 || (rc == ERR_CONFIG && err.len > 0 && !acl));
	while (rc == 0 && rest.len > 1) {
		const uint8_t *line = rest.data + 1;
		const uint8_t *end = memchr(line, '\n', rest.len - 1);
		size_t n = end ? (size_t)(end - line) : rest.len - 1;

		ask(acl, bytes_of(line, n));
		rest = bytes_of(line + n, rest.len - 1 - n);
	}
	acl_free(&acl);
	buf_fini(&err);
	return 0;
}
