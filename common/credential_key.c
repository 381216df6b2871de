/* credential_key.c - random bytes, and the file of the key that pre-shared keys are sealed with; without OpenSSL */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "credential.h"
#include "err.h"
#include "log.h"
#include "mem.h"

void
credential_wipe(void *data, size_t len)
{
	explicit_bzero(data, len);
}

void
credential_random(uint8_t *out, size_t len)
{
	size_t n = 0;

	while (n < len) {
		ssize_t got = getrandom(out + n, len - n, 0);

		ASSERT(got > 0 || errno == EINTR);
		n += got > 0 ? (size_t)got : 0;
	}
}

static int
key_failed(const char *path, const char *fault, int err)
{
	log_error("credential.seal_key", LS("file", path), LS("fault", fault));
	return err;
}

/* Whole under its name, or not there; whoever is first has made it. */
static int
key_create(const char *path)
{
	char *unnamed = xasprintf("%s.%ld", path, (long)getpid());
	uint8_t key[CREDENTIAL_KEY_LEN];
	char text[2 * CREDENTIAL_KEY_LEN + 2];
	int err = 0, fd = open(unnamed, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	credential_random(key, sizeof(key));
	for (size_t i = 0; i < sizeof(key); i++)
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	memcpy(text + 2 * sizeof(key), "\n", 2);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fsync(fd) != 0 ||
	    (link(unnamed, path) != 0 && errno != EEXIST))
		err = key_failed(path, strerror(errno), ERR_IO);
	if (fd >= 0) {
		close(fd);
		(void)unlink(unnamed);
	}
	credential_wipe(key, sizeof(key));
	credential_wipe(text, sizeof(text));
	free(unnamed);
	return err;
}

static bool
read_hex(const char *text, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned byte = 0;

		for (size_t k = 0; k < 2; k++) {
			char c = text[2 * i + k];

			if (c >= '0' && c <= '9')
				byte = byte << 4 | (unsigned)(c - '0');
			else if (c >= 'a' && c <= 'f')
				byte = byte << 4 | (unsigned)(c - 'a' + 10);
			else
				return false;
		}
		out[i] = (uint8_t)byte;
	}
	return true;
}

int
credential_key_load(const char *path, bool create, uint8_t ret_key[CREDENTIAL_KEY_LEN])
{
	char text[2 * CREDENTIAL_KEY_LEN + 1] = { 0 };
	uint8_t key[CREDENTIAL_KEY_LEN];
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0 && errno == ENOENT && create) {
		if ((err = key_create(path)) != 0)
			return err;
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND : key_failed(path, strerror(errno), ERR_IO);
	if (fstat(fd, &st) != 0)
		err = key_failed(path, strerror(errno), ERR_IO);
	else if ((st.st_mode & 077) != 0)
		err = key_failed(path, "others may read it: chmod 600", ERR_CONFIG);
	else if (read(fd, text, sizeof(text)) < 2 * CREDENTIAL_KEY_LEN ||
		 !read_hex(text, key, sizeof(key)))
		err = key_failed(path, "it holds no key: 64 digits 0-9 a-f", ERR_CONFIG);
	if (err == 0)
		memcpy(ret_key, key, sizeof(key));
	credential_wipe(text, sizeof(text));
	credential_wipe(key, sizeof(key));
	close(fd);
	return err;
}
