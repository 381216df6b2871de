/* mqtt_copy.h - the copy of MQTT sessions in Redis: what the broker tells (mqtt_shared.h) is written, what is there is loaded
 *
 * What a turn changed is one unit (session_state.h), carried out whole or not at all; its number is that of the write. A client
 * that comes is claimed there first, so that two workers never have one session.
 *
 * A new life of this worker asks for what its name owns: wills, retained messages, sessions. Until all are loaded publishes that
 * are not readings wait; what a client asks for goes first. The will of a client that was connected is published when it has
 * not come back in time.
 *
 * What could not be written (Redis lost its memory, has none left, or was away for longer than its queue lasts) is written anew
 * from memory, session by session, under new epochs; acknowledgements wait for that, as they wait for Redis. */
#ifndef ROOST_MQTT_COPY_H
#define ROOST_MQTT_COPY_H

#include "loop.h"
#include "mqtt_session.h"
#include "session_state.h"

#define MQTT_COPY_LOADS_MAX 32	/* sessions claimed and loaded at a time without anybody waiting for them */

struct mqtt_copy;

/* What several workers need to know of each other's copies. */
struct mqtt_copy_hooks {
	/* No number from this one on is done. */
	uint64_t (*waits_for)(void *arg);
	/* Everything up to this number is written. */
	void (*written)(void *arg, uint64_t number);
	/* No more is taken from clients: not all peers are known. */
	bool (*ready)(void *arg);
	/* All of a session is there, and goes into the broker: loaded follows. */
	void (*arrives)(void *arg);
	/* A client's session was another worker's until now, anew: and has ended; and it is loaded (s). */
	void (*claimed)(void *arg, struct bytes client, struct bytes owner, uint64_t epoch, bool anew);
	void (*loaded)(void *arg, struct mqtt_session *s);
	/* It was, and the claim was ours, but yet another one has claimed it since: who had it before has not heard of that. */
	void (*passed)(void *arg, struct bytes client, struct bytes owner, uint64_t epoch, bool anew);
	/* Delivery n, of the write of that number, was not written, for the session is another worker's. */
	void (*refused)(void *arg, struct bytes client, uint64_t n, uint64_t number);
	/* The packet id of a QoS 2 PUBLISH is free again. */
	void (*forgotten)(void *arg, struct bytes client, uint16_t packet_id);
	/* A retained message has its number; an empty payload: it is none any more. */
	void (*retained)(void *arg, struct mqtt_message *m, uint64_t seq);
	/* A session that is being loaded had this QoS 2 message. */
	void (*had)(void *arg, struct bytes client, struct bytes origin, int64_t since_ms);
	/* Whether this worker, which was asked about, has sessions in Redis. */
	void (*owns)(void *arg, unsigned peer, bool some);
	/* How far the streams of others were taken. */
	void (*taken)(void *arg, struct bytes peer, uint64_t life, uint64_t seq);
	void *arg;
};

struct mqtt_copy_options {
	struct loop *loop;
	struct mqtt_broker *broker;
	const char *redis_url;
	const char *data_dir;
	const char *worker;	/* its name; outlives the call */
	uint64_t life;
	size_t packet_max;
	size_t queue_max;	/* bytes of writes that wait for Redis */
	const struct mqtt_copy_hooks *hooks;	/* NULL: it is alone */
	unsigned workers;	/* how many there are, this one included */
	bool alone;		/* no other worker has clients: who is not kept needs no claim */
	int64_t wait_us;	/* a client that is to be kept waits this long for Redis */
	int64_t will_grace_us;
	void (*fenced)(void *arg);	/* a newer life of this worker has begun */
	void *arg;
};

/* ERR_CONFIG: no such url. */
int mqtt_copy_new(const struct mqtt_copy_options *options, struct mqtt_copy **ret_copy);
void mqtt_copy_free(struct mqtt_copy **copy);

/* mqtt_ops.change and .claim; arg is the copy. */
uint64_t mqtt_copy_change(void *arg, const struct mqtt_change *change);
bool mqtt_copy_claim(void *arg, const struct mqtt_claim *claim, uint64_t token);

/* The number of what is being done now, though nothing of it is written. */
uint64_t mqtt_copy_number(struct mqtt_copy *copy);
/* What the hooks say may have changed. */
void mqtt_copy_look(struct mqtt_copy *copy);
/* In the unit of what it caused, if that is written: an item of that peer's life was taken. */
void mqtt_copy_taken(struct mqtt_copy *copy, struct bytes peer, uint64_t life, uint64_t seq);
/* Which QoS 2 message a session has, until it is released; in the unit that puts it into its queue. */
void mqtt_copy_origin(struct mqtt_copy *copy, struct bytes session, struct bytes origin, int64_t since_ms);
void mqtt_copy_origin_released(struct mqtt_copy *copy, struct bytes session, struct bytes origin);
/* Its session is another worker's: nothing is written any more. */
void mqtt_copy_moved(struct mqtt_copy *copy, struct bytes client);
/* Another worker has claimed it under this epoch: if ours, whose answer is on its way, is older, it is void. */
void mqtt_copy_overtaken(struct mqtt_copy *copy, struct bytes client, uint64_t epoch);
/* Of the session that is here, 0 if it is not claimed. */
uint64_t mqtt_copy_epoch(const struct mqtt_copy *copy, struct bytes client);
/* A write was refused, and whoever has claimed it has not said so yet. */
bool mqtt_copy_is_fenced(const struct mqtt_copy *copy, struct bytes client);
/* Another worker, or life, had the session before: what was sent there may still be on its way. */
bool mqtt_copy_has_moved(const struct mqtt_copy *copy, struct bytes client);

/* At the end of each turn: what was changed leaves. */
void mqtt_copy_turn(struct mqtt_copy *copy);
/* About once a second. */
void mqtt_copy_tick(struct mqtt_copy *copy);
/* All that this worker's name owned is in memory; or Redis is away since the start, and that is not waited for any longer. */
bool mqtt_copy_is_loaded(const struct mqtt_copy *copy);
/* It is in memory. */
bool mqtt_copy_has_loaded(const struct mqtt_copy *copy);
bool mqtt_copy_is_up(const struct mqtt_copy *copy);	/* Redis is there */
/* Those that are being claimed or loaded now; whether some of them still are. */
void mqtt_copy_mark(struct mqtt_copy *copy);
bool mqtt_copy_is_marked(const struct mqtt_copy *copy);
/* hooks.owns answers, if Redis does. peer: below 64. */
void mqtt_copy_ask_owned(struct mqtt_copy *copy, unsigned peer, const char *worker);
/* Nothing waits to be written. */
bool mqtt_copy_is_idle(const struct mqtt_copy *copy);

#endif
