/* glob.c - patterns of device ids: * any text, ? any one character; pure */
#include "glob.h"

#include <string.h>

/* On a mismatch only the last * can give way, so this is linear in pattern times text at worst, without recursion. */
bool
glob_match(struct bytes pattern, struct bytes text)
{
	size_t p = 0, t = 0, star = SIZE_MAX, star_text = 0;

	while (t < text.len) {
		if (p < pattern.len && pattern.data[p] == '*') {
			star = p++;
			star_text = t;
		} else if (p < pattern.len && pattern.data[p] == '?') {
			p++;
			for (t++; t < text.len && (text.data[t] & 0xc0) == 0x80;)
				t++;
		} else if (p < pattern.len && pattern.data[p] == text.data[t]) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			t = ++star_text;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.data[p] == '*')
		p++;
	return p == pattern.len;
}

bool
glob_match_any(const char *list, struct bytes text)
{
	for (;;) {
		const char *end = strchrnul(list, '\n');
		if (glob_match(bytes_of(list, (size_t)(end - list)), text))
			return true;
		if (*end == '\0')
			return false;
		list = end + 1;
	}
}
