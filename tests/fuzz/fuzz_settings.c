/* fuzz_settings.c - settings from any file, environment, --set and memfd: taken whole or refused with a sentence
 *
 * First byte: the way in. What was taken is written and read again as the same.
 *
 * fuzz: -max_len=4096 */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "settings.h"
#include "support.h"

static int
load(struct settings *s, unsigned way, struct bytes text, struct buf *err)
{
	char *env[3] = { NULL }, *copy;
	int rc;

	switch (way % 4) {
	case 0:
		fuzz_write("roost.yaml", text);
		return settings_load_file(s, fuzz_path("roost.yaml"), err);
	case 1:
		copy = xstrndup((const char *)text.data, text.len);
		rc = settings_set(s, copy, "--set", err);
		free(copy);
		return rc;
	case 2:
		env[0] = xstrndup((const char *)text.data, text.len);
		copy = memchr(text.data, '\n', text.len);
		if (copy) {
			env[0][copy - (const char *)text.data] = '\0';
			env[1] = xstrndup(
			    copy + 1, text.len - (size_t)(copy + 1 - (const char *)text.data));
		}
		rc = settings_load_env(s, env, err);
		free(env[0]);
		free(env[1]);
		return rc;
	default:
		return settings_read(s, text, err);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings *s = settings_new(), *again = settings_new();
	struct buf err = { 0 }, before = { 0 }, text = { 0 }, twice = { 0 };
	int rc;

	if (size == 0) {
		settings_free(&s);
		settings_free(&again);
		return 0;
	}
	settings_write(s, &before);
	rc = load(s, data[0], bytes_of(data + 1, size - 1), &err);
	settings_write(s, &text);
	if (rc) {
		ASSERT(rc == ERR_CONFIG && err.len > 0);
		ASSERT(bytes_equal(buf_bytes(&before), buf_bytes(&text)));
	} else {
		ASSERT(err.len == 0);
		ASSERT(settings_read(again, buf_bytes(&text), &err) == 0);
		settings_write(again, &twice);
		ASSERT(bytes_equal(buf_bytes(&text), buf_bytes(&twice)));
		rc = settings_check(s, &err);
		ASSERT(rc == 0 ? err.len == 0 : err.len > 0);
	}
	settings_free(&s);
	settings_free(&again);
	buf_fini(&err);
	buf_fini(&before);
	buf_fini(&text);
	buf_fini(&twice);
	return 0;
}
