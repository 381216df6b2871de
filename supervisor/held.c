/* held.c - has the configuration changed that a held child waits for? */
#include "held.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "mem.h"

struct file_mark {
	uint64_t name;
	uint64_t size;
	uint64_t inode;
	int64_t seconds;
	int64_t nanoseconds;
};

/* 0 for a file that is not there. Sums of marks do not depend on the order of a directory. */
static uint64_t
mark(int dir_fd, const char *name)
{
	struct file_mark m = { .name = XXH3_64bits(name, strlen(name)) };
	struct stat st;

	if (fstatat(dir_fd, name, &st, 0) != 0)
		return 0;
	m.size = (uint64_t)st.st_size;
	m.inode = st.st_ino;
	m.seconds = st.st_ctim.tv_sec;
	m.nanoseconds = st.st_ctim.tv_nsec;
	return XXH3_64bits(&m, sizeof(m));
}

uint64_t
held_fingerprint(const struct settings *settings)
{
	static const enum setting_id files[] = { SET_NOTIFY_FILE, SET_TLS_CLIENT_CA, SET_TLS_CRL };
	static const enum setting_id lists[] = { SET_TLS_CERTIFICATE, SET_TLS_KEY };
	uint64_t sum = 0;
	DIR *dir = opendir(settings_str(settings, SET_RULES_DIR));
	const struct dirent *e;

	for (size_t k = 0; k < COUNT_OF(files); k++)
		sum += mark(AT_FDCWD, settings_str(settings, files[k]));
	for (size_t k = 0; k < COUNT_OF(lists); k++)
		for (size_t i = 0; i < settings_list_count(settings, lists[k]); i++)
			sum += mark(AT_FDCWD, settings_list_at(settings, lists[k], i));
	if (!dir)
		return sum;
	for (unsigned n = 0; n < HELD_FILES_MAX && (e = readdir(dir)); n++)
		if (e->d_name[0] != '.')
			sum += mark(dirfd(dir), e->d_name);
	closedir(dir);
	return sum;
}
