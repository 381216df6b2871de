/* private_redis.h - the private redis-server: its configuration, and whether it answers
 *
 * It holds what workers share about devices and is on no reading's path. Unix socket only, append-only file synced each
 * second, no snapshots. Paths are relative to <data_dir>/redis, where it runs, so that the socket's name stays short. */
#ifndef ROOST_PRIVATE_REDIS_H
#define ROOST_PRIVATE_REDIS_H

#include "buf.h"
#include "loop.h"

#define REDIS_CONFIG "redis.conf"
#define REDIS_PROBE_US 20000

/* The text of redis.conf. */
void redis_config(struct buf *out);
/* sh -c SCRIPT redis PATH, in <data_dir>/redis: becomes redis-server, after its file was checked. A power cut may leave zeros at
 * the end of the file, and with those redis-server does not start: they are cut off. A kill may cut a transaction (all writes of
 * a script are one): redis-server 7.0 then keeps those of its commands that are whole, without their EXEC, and carries them out
 * at its next start but one: they are cut off too. What cannot be mended is put aside. */
extern const char redis_repair_script[];
/* Makes <data_dir>/redis and the configuration in it. ERR_IO, with a sentence in err. */
int redis_prepare(const char *data_dir, struct buf *err);

/* Asks PING each REDIS_PROBE_US until it answers PONG; "-LOADING" means that it is alive and reads its file. */
struct redis_probe {
	struct loop *loop;
	struct loop_timer timer;
	struct loop_fd *watch;
	int fd; /* -1: none */
	char path[112];
	char answer[64];
	size_t answer_len;
	void (*on_answer)(void *arg, bool ready); /* ready: PONG, asked no more; else still loading */
	void *arg;
};

void redis_probe_start(struct redis_probe *p, struct loop *loop, const char *data_dir,
    void (*on_answer)(void *arg, bool ready), void *arg);
void redis_probe_stop(struct redis_probe *p); /* also on one that never started: zeroed */

#endif
