/* support_ingest.h - ingest between a limiter and a shard that the test plays over real ipc sockets */
#ifndef ROOST_SUPPORT_INGEST_H
#define ROOST_SUPPORT_INGEST_H

#include <check.h>

#include "ingest.h"
#include "stream.h"

#define TELEMETRY "{\"temperature\":21.5}"
#define SEEN_MAX 4096
#define ANSWERS_MAX 400000

struct seen { /* a batch that reached the limiter */
	uint64_t stream;
	uint64_t seq;
	uint64_t acked;
	bool retry;
	unsigned kind;
	uint32_t records;
	struct buf bytes;
};

struct fixture {
	char dir[32];
	struct settings *settings;
	struct worker w;
	struct ingest *in;
	struct bus *limiter_bus, *shard_bus;
	struct bus_link *limiter, *shard, *other_shard;
	int hellos;
	struct msg_hello hello;
	uint64_t stream; /* WELCOME's; 0: HELLO is not answered */
	uint64_t upto;
	uint64_t time; /* of the journal, in WELCOME */
	uint32_t window;
	int seen_count;
	struct seen seen[SEEN_MAX];
	int answers;
	uint64_t tokens[ANSWERS_MAX];
	uint32_t verdicts[ANSWERS_MAX];
	struct buf refused; /* the last refused record */
	int rooms;
};

extern struct fixture x;

void fixture_setup(void);
void fixture_setup_two(void); /* with two partitions */
void fixture_setup_shards(void); /* with four in two shards */
void fixture_teardown(void);
void open_limiter(void);
void open_shard(void);
/* The shard says COMMIT. */
void commit(uint64_t upto, struct bytes verdicts);
void commit_of(struct bus_link *shard, uint64_t stream, uint64_t upto, struct bytes verdicts);
/* One turn of the loop and of ingest. */
void turn(int64_t wait_us);
/* Turns until *value is at_least; fails after 5 s. */
void wait_for(const int *value, int at_least);
struct ingest_message message(const char *payload);
/* Offers TELEMETRY of gh-1. */
int offer(uint64_t token);

#endif
