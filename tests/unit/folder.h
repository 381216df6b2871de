/* folder.h - a private folder of a test, and its end with the files in it */
#ifndef ROOST_UNIT_FOLDER_H
#define ROOST_UNIT_FOLDER_H

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "mem.h"

static inline char *
unit_folder_new(void)
{
	char *made = xstrdup("/tmp/roost-test-XXXXXX");

	ck_assert_ptr_nonnull(mkdtemp(made));
	return made;
}

static inline void
unit_folder_free(char **p_dir)
{
	DIR *d = opendir(*p_dir);
	const struct dirent *e;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			ck_assert_int_eq(unlinkat(dirfd(d), e->d_name, 0), 0);
	closedir(d);
	ck_assert_int_eq(rmdir(*p_dir), 0);
	free(*p_dir);
	*p_dir = NULL;
}

#endif
