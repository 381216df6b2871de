/* support_redis.h - a redis-server of the test's own: a private folder, a unix socket, an append-only file */
#ifndef ROOST_SUPPORT_REDIS_H
#define ROOST_SUPPORT_REDIS_H

#include <hiredis/hiredis.h>
#include <sys/types.h>

struct test_redis {
	char dir[64];
	char socket[96];
	char url[112];
	pid_t pid;
};

/* fsync: "always" or "everysec"; arg, value: one more option, or NULL. It answers when this returns. */
void redis_start(struct test_redis *t, const char *fsync);
/* In the same folder: with what its file holds. Without waiting for an answer if arg is given. */
void redis_restart(struct test_redis *t, const char *fsync, const char *arg, const char *value);
void redis_kill(struct test_redis *t);	/* -9 */
void redis_remove(struct test_redis *t);	/* and its folder */
/* One command; the reply as an integer (-1: nil or an error), or its length if it is text or an array. */
long long redis_do(struct test_redis *t, int argc, const char **argv);
#define REDIS(t, ...) \
	redis_do(t, (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)), (const char *[]){ __VA_ARGS__ })

#endif
