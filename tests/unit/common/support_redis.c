/* support_redis.c - a redis-server of the test's own */
#include "support_redis.h"

#include <check.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include "clock.h"

#define START_US 10000000

static bool
answers(struct test_redis *t)
{
	redisContext *c = redisConnectUnix(t->socket);
	redisReply *r = c != NULL && c->err == 0 ? redisCommand(c, "PING") : NULL;
	bool ok = r != NULL && r->type == REDIS_REPLY_STATUS;

	if (r != NULL)
		freeReplyObject(r);
	if (c != NULL)
		redisFree(c);
	return ok;
}

/* As the private Redis is started (supervisor/private_redis.c): redis-server alone leaves the beginning of a batch that a kill has
 * cut off in its file, and carries it out at the start after the next. */
static void
check_file(const struct test_redis *t)
{
	char command[256];

	snprintf(command, sizeof(command),
	    "f=%s/appendonlydir/appendonly.aof.manifest; [ ! -e $f ] || echo y | "
	    "redis-check-aof --fix $f > /dev/null 2>&1",
	    t->dir);
	ck_assert_int_eq(system(command), 0);
}

void
redis_restart(struct test_redis *t, const char *fsync, const char *arg, const char *value)
{
	int64_t deadline;

	check_file(t);
	deadline = clock_mono_us() + START_US;
	t->pid = fork();
	ck_assert_int_ge(t->pid, 0);
	if (t->pid == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", t->socket,
		    "--dir", t->dir, "--appendonly", "yes", "--appendfsync", fsync, "--save", "",
		    arg, value, (char *)NULL);
		_exit(127);
	}
	while (arg == NULL && !answers(t)) {
		ck_assert_msg(clock_mono_us() < deadline, "redis-server does not answer");
		poll(NULL, 0, 2);
	}
}

void
redis_start(struct test_redis *t, const char *fsync)
{
	strcpy(t->dir, "/tmp/roost-redis-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(t->dir));
	snprintf(t->socket, sizeof(t->socket), "%s/sock", t->dir);
	snprintf(t->url, sizeof(t->url), "unix://%s", t->socket);
	redis_restart(t, fsync, NULL, NULL);
}

void
redis_kill(struct test_redis *t)
{
	ck_assert_int_eq(kill(t->pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(t->pid, NULL, 0), t->pid);
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
redis_remove(struct test_redis *t)
{
	redis_kill(t);
	ck_assert_int_eq(nftw(t->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

long long
redis_do(struct test_redis *t, int argc, const char **argv)
{
	redisContext *c = redisConnectUnix(t->socket);
	long long result = -1;
	redisReply *r;

	ck_assert(c != NULL && c->err == 0);
	r = redisCommandArgv(c, argc, argv, NULL);
	ck_assert_ptr_nonnull(r);
	if (r->type == REDIS_REPLY_INTEGER)
		result = r->integer;
	else if (r->type == REDIS_REPLY_ARRAY)
		result = (long long)r->elements;
	else if (r->type != REDIS_REPLY_NIL && r->type != REDIS_REPLY_ERROR)
		result = (long long)r->len;
	freeReplyObject(r);
	redisFree(c);
	return result;
}
