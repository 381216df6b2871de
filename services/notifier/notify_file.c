/* notify_file.c - reads notify.yaml from disk */
#include "notify_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "notify_text.h"

static int
read_all(int fd, struct buf *text)
{
	ssize_t n;

	do {
		uint8_t *room = buf_reserve(text, 65536);

		if (room == NULL)
			return 0; /* over the maximum: the parser says so */
		n = read(fd, room, 65536);
		if (n > 0)
			text->len += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n == 0 ? 0 : ERR_IO;
}

int
notify_file_load(
    const char *path, struct notify_conf **ret_conf, struct stat *ret_stat, struct buf *err)
{
	struct buf text;
	int fd = open(path, O_RDONLY | O_CLOEXEC), code;

	if (fd < 0) {
		buf_addf(err, "%s: %s", path, strerror(errno));
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	}
	buf_init(&text, NOTIFY_TEXT_MAX + 131072);
	if (fstat(fd, ret_stat) != 0 || read_all(fd, &text) != 0) {
		buf_addf(err, "%s: %s", path, strerror(errno));
		code = ERR_IO;
	} else {
		code = notify_text_parse(buf_bytes(&text), path, ret_conf, err);
	}
	close(fd);
	buf_fini(&text);
	return code;
}
