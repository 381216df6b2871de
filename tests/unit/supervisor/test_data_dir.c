/* test_data_dir.c - lock, format and lives of a data_dir, across restarts and damage */
#include "data_dir.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "lives.h"
#include "../unit.h"

static char dir[64];
static struct buf err;

static void
begin(void)
{
	snprintf(dir, sizeof(dir), "/dev/shm/roost-data-dir-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	buf_init(&err, 0);
}

static void
end(void)
{
	static const char *const names[] = { "run", "supervisor.lock", "format", "lives" };
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)remove(path);
	}
	ck_assert_int_eq(rmdir(dir), 0);
	buf_fini(&err);
}

static void
write_text(const char *name, const char *text)
{
	ck_assert_int_eq(data_dir_write(dir, name, bytes_of_str(text)), 0);
}

START_TEST(test_lock_is_exclusive)
{
	char path[128];
	struct stat st;
	int fd = -1, second = -1;

	begin();
	ck_assert_int_eq(data_dir_open(dir, "", &fd, &err), 0);
	snprintf(path, sizeof(path), "%s/run", dir);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777u, 0700);
	/* A second open of the file is a second holder, even in one process. */
	ck_assert_int_eq(data_dir_open(dir, " -c x", &second, &err), ERR_AGAIN);
	ck_assert_ptr_nonnull(strstr(buf_str(&err), "roost stop -c x"));
	snprintf(path, sizeof(path), "(pid %d)", (int)getpid());
	ck_assert_ptr_nonnull(strstr(buf_str(&err), path));
	ck_assert_int_eq(second, -1);
	close(fd);
	ck_assert_int_eq(data_dir_open(dir, "", &fd, &err), 0);
	close(fd);
	end();
}
END_TEST

/* Whether that process has the lock's file open. */
static bool
has_it_open(pid_t pid)
{
	char folder[64], path[350], target[128];
	const struct dirent *e;
	bool found = false;
	DIR *d;

	snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)pid);
	d = opendir(folder);
	while (d && !found && (e = readdir(d))) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		found = strstr(target, "/supervisor.lock") != NULL;
	}
	if (d)
		closedir(d);
	return found;
}

/* A child of one that was killed while it started it has the lock for a moment longer. */
START_TEST(test_lock_of_one_that_was_killed)
{
	pid_t parent = getpid(), dead, child;
	char text[16];
	int fd = -1, closed[2];

	begin();
	ck_assert_int_eq(data_dir_open(dir, "", &fd, &err), 0);
	dead = fork();
	if (dead == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(dead, NULL, 0), dead);
	snprintf(text, sizeof(text), "%-10d\n", (int)dead);
	ck_assert_int_eq(pwrite(fd, text, strlen(text), 0), (int)strlen(text));
	ck_assert_int_eq(pipe(closed), 0);
	child = fork();
	if (child == 0) {
		/* Its parent closes the lock, and opens it again to take it. */
		(void)!read(closed[0], text, 1);
		while (!has_it_open(parent))
			;
		_exit(0);
	}
	close(fd);
	ck_assert_int_eq(write(closed[1], "x", 1), 1);
	ck_assert_msg(data_dir_open(dir, "", &fd, &err) == 0, "%s", buf_str(&err));
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	close(closed[0]);
	close(closed[1]);
	close(fd);
	end();
}
END_TEST

START_TEST(test_writable_by_others)
{
	int fd = -1;

	begin();
	ck_assert_int_eq(chmod(dir, 0777), 0);
	ck_assert_int_eq(data_dir_open(dir, "", &fd, &err), ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(buf_str(&err), "writable by others"));
	ck_assert_int_eq(chmod(dir, 0755), 0);
	buf_clear(&err);
	ck_assert_int_eq(data_dir_open(dir, "", &fd, &err), 0);
	close(fd);
	end();
}
END_TEST

START_TEST(test_not_a_directory)
{
	int fd = -1;

	begin();
	ck_assert_int_eq(data_dir_open("/dev/null", "", &fd, &err), ERR_CONFIG);
	buf_clear(&err);
	ck_assert_int_eq(data_dir_open("/nonexistent/data", "", &fd, &err), ERR_CONFIG);
	ck_assert_str_eq(buf_str(&err), "data_dir: /nonexistent/data: No such file or directory");
	write_text("run", "a file in its way");
	buf_clear(&err);
	ck_assert_int_eq(data_dir_open(dir, "", &fd, &err), ERR_CONFIG);
	ck_assert_int_eq(fd, -1);
	end();
}
END_TEST

START_TEST(test_format_is_fixed)
{
	struct settings *s = settings_new();

	begin();
	ck_assert_int_eq(data_dir_check_format(dir, s, &err), 0);
	ck_assert_int_eq(data_dir_check_format(dir, s, &err), 0);
	ck_assert_int_eq(settings_set(s, "partitions=32", "t", &err), 0);
	ck_assert_int_eq(data_dir_check_format(dir, s, &err), ERR_CONFIG);
	ck_assert_msg(
	    strncmp(buf_str(&err), "partitions is 32, but data_dir was created with 16", 50) == 0,
	    "%s", buf_str(&err));
	ck_assert_int_eq(settings_set(s, "partitions=16", "t", &err), 0);
	ck_assert_int_eq(settings_set(s, "storage.shards=2", "t", &err), 0);
	buf_clear(&err);
	ck_assert_int_eq(data_dir_check_format(dir, s, &err), ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(buf_str(&err), "set storage.shards=1"));
	end();
	settings_free(&s);
}
END_TEST

START_TEST(test_format_damage)
{
	static const char *const texts[] = { "", "x", "roost 1\n", "roost 1\npartitions\n",
		"roost 1\npartitions 16\nshards x\n", "roost 2\npartitions 16\nshards 1\n" };
	struct settings *s = settings_new();

	begin();
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		write_text("format", texts[i]);
		buf_clear(&err);
		ck_assert_int_eq(data_dir_check_format(dir, s, &err), ERR_CONFIG);
		ck_assert_uint_gt(err.len, 0);
	}
	end();
	settings_free(&s);
}
END_TEST

/* Every number is larger than every one before, over restarts at any moment, and durable before it is used. */
START_TEST(test_lives_grow)
{
	uint64_t last = 0, life = 0;
	struct lives l;

	begin();
	for (int restart = 0; restart < 5; restart++) {
		ck_assert_int_eq(lives_open(&l, dir, &err), 0);
		for (int n = 0; n < LIVES_RESERVED * restart + 3; n++) {
			char path[128], text[32] = "";
			FILE *f;

			ck_assert_int_eq(lives_next(&l, &life), 0);
			ck_assert_uint_gt(life, last);
			last = life;
			if (n % 500 != 0 && n % LIVES_RESERVED != 0)
				continue;
			snprintf(path, sizeof(path), "%s/lives", dir);
			f = fopen(path, "re");
			ck_assert(f && fgets(text, sizeof(text), f));
			fclose(f);
			ck_assert_uint_gt(strtoull(text, NULL, 10), life);
		}
	}
	end();
}
END_TEST

START_TEST(test_lives_damage)
{
	static const char *const texts[] = { "", "\n", "12", "12x\n", "-1\n", "1\n2\n",
		"99999999999999999999\n", "0099999999999999999999\n", "99999999999999999999999\n" };
	struct lives l;

	begin();
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		write_text("lives", texts[i]);
		buf_clear(&err);
		ck_assert_msg(lives_open(&l, dir, &err) == ERR_DAMAGED, "%s", texts[i]);
	}
	write_text("lives", "9000000000000000000\n");
	ck_assert_int_eq(lives_open(&l, dir, &err), 0);
	end();
}
END_TEST

UNIT_MAIN("data_dir", test_lock_is_exclusive, test_lock_of_one_that_was_killed,
    test_writable_by_others, test_not_a_directory, test_format_is_fixed, test_format_damage,
    test_lives_grow, test_lives_damage)
