/* support_session_state.h - session_state clients of a test, and what they were told */
#ifndef ROOST_SUPPORT_SESSION_STATE_H
#define ROOST_SUPPORT_SESSION_STATE_H

#include "session_state.h"
#include "support_redis.h"

#define TOLD_MAX 256
#define TEXT_MAX 64
#define TEST_QUEUE_MAX (8u << 20)

struct told_item {
	enum session_state_kind kind;
	char key[TEXT_MAX];
	struct session_state_item item;	/* its views are not valid any more */
	char payload[TEXT_MAX];
	uint64_t qos;
};

struct told_refusal {
	uint64_t token;
	int err;
	char id[TEXT_MAX];
	uint64_t epoch;
	uint64_t n;
	bool queues;
};

struct client {
	struct loop *loop;
	struct session_state *ss;
	int ups, downs, losts, fenced, rooms;
	uint64_t begun;		/* units; tokens count from 1 */
	uint64_t done;		/* answered, in order */
	uint64_t failed;	/* of these with an error */
	uint64_t seq;		/* the last retained_seq */
	uint64_t seqs;		/* how many were told */
	struct told_refusal refusals[TOLD_MAX];
	size_t refusal_count;
	struct session_state_claim claim;
	char owner[TEXT_MAX];
	int claims, claim_err;
	bool claim_up;		/* questions are taken in the callback */
	struct told_item items[TOLD_MAX];
	size_t item_count;	/* also those beyond TOLD_MAX */
	uint64_t last_n;
	int ends, end_err;
	void (*on_done)(struct client *c, uint64_t token, int err);
};

void client_start(struct client *c, struct loop *loop, struct test_redis *t, const char *worker, uint64_t life);
/* Turns the loop until cond holds; fails the test after 20 s. */
#define UNTIL(loop, cond)                                                                                                      \
	do {                                                                                                                   \
		int64_t until_ = clock_mono_us() + 20000000;                                                                   \
		while (!(cond)) {                                                                                              \
			ck_assert_msg(clock_mono_us() < until_, "in vain: %s", #cond);                                         \
			loop_turn(loop, 10000);                                                                                \
		}                                                                                                              \
	} while (0)
uint64_t client_unit(struct client *c);		/* its token */
void client_flush(struct client *c);		/* and waits for all units' answers */
/* The claim is in c->claim. Returns its epoch. */
uint64_t client_claim(struct client *c, const char *id, bool clean, uint32_t expiry_s, int64_t now_ms);
void client_load(struct client *c, const char *id);
void client_list(struct client *c, enum session_state_kind kind, const char *worker);
/* The item told of that kind and key (NULL: any) and n (0: any), or NULL. */
const struct told_item *client_told(const struct client *c, enum session_state_kind kind, const char *key, uint64_t n);
/* An encoded MQTT_MESSAGE, borrowed until the next call. */
struct bytes message_of(const char *topic, const char *payload);
extern const struct msg_mqtt_delivery qos1;

#endif
