/* mqtt_codec_text.c - texts, topic names, topic filters; pure */
#include "mqtt_codec.h"

#include <string.h>

#include "utf8.h"

enum { HAS_NUL = 1, HAS_WILDCARD = 2, HAS_HIGH = 0x80 };

static unsigned
classes_of(struct bytes text)
{
	unsigned found = 0;

	for (size_t i = 0; i < text.len; i++) {
		unsigned b = text.data[i];

		found |= (b & HAS_HIGH) | (b == 0 ? HAS_NUL : 0u) |
			 (b == '+' || b == '#' ? HAS_WILDCARD : 0u);
	}
	return found;
}

bool
mqtt_utf8_valid(struct bytes text)
{
	unsigned found = classes_of(text);

	return !(found & HAS_NUL) && (!(found & HAS_HIGH) || utf8_valid(text));
}

bool
mqtt_topic_valid(struct bytes topic)
{
	unsigned found = classes_of(topic);

	if (topic.len == 0 || found & (HAS_NUL | HAS_WILDCARD))
		return false;
	return !(found & HAS_HIGH) || utf8_valid(topic);
}

bool
mqtt_filter_valid(struct bytes filter)
{
	for (size_t i = 0; i < filter.len; i++) {
		uint8_t b = filter.data[i];
		bool first = i == 0 || filter.data[i - 1] == '/';
		bool last = i + 1 == filter.len || filter.data[i + 1] == '/';

		if (b == '+' && !(first && last))
			return false;
		if (b == '#' && !(first && i + 1 == filter.len))
			return false;
	}
	return filter.len > 0;
}

#define SHARE "$share/"
#define SHARE_LEN (sizeof(SHARE) - 1)

bool
mqtt_filter_says_shared(struct bytes filter)
{
	return filter.len >= SHARE_LEN && memcmp(filter.data, SHARE, SHARE_LEN) == 0;
}

bool
mqtt_filter_shared(struct bytes filter, struct bytes *ret_name, struct bytes *ret_filter)
{
	size_t at = SHARE_LEN;

	if (!mqtt_filter_says_shared(filter))
		return false;
	while (at < filter.len && filter.data[at] != '/') {
		if (filter.data[at] == '+' || filter.data[at] == '#')
			return false;
		at++;
	}
	if (at == SHARE_LEN || filter.len - at < 2)
		return false;
	*ret_name = bytes_of(filter.data + SHARE_LEN, at - SHARE_LEN);
	*ret_filter = bytes_of(filter.data + at + 1, filter.len - at - 1);
	return true;
}

size_t
mqtt_levels(struct bytes topic)
{
	size_t n = 1;

	for (size_t i = 0; i < topic.len; i++)
		n += topic.data[i] == '/';
	return n;
}
