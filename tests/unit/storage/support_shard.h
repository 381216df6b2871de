/* support_shard.h - a shard in process, with what it sent */
#ifndef ROOST_TEST_SUPPORT_SHARD_H
#define ROOST_TEST_SUPPORT_SHARD_H

#include "record.h"
#include "shard.h"

#define SENT_MAX 4096
#define SECOND 1000000ll
#define SUBSCRIBE_NUMBER 77 /* of every subscription that is not shared */

struct sent {
	char to[BUS_NAME_MAX];
	enum msg_type type;
	union msg_any any;
	struct buf bytes; /* what the message borrowed */
};

struct device_message {
	uint32_t verdict;
	uint32_t flags;
	uint64_t client;
	uint16_t packet_id;
	uint64_t hash;
};

extern char shard_dir[64];
extern struct shard *sh;
extern struct sent sent[SENT_MAX];
extern size_t sent_count;
extern int send_result;
extern int64_t mono, wall;
extern struct shard_config config;

void open_shard(void);
void crash(void);
void shard_setup(void);
void shard_teardown(void);
void pass(int64_t us);
void turn(void);
void fresh(void);
const struct sent *last(const char *to, enum msg_type type);
size_t count(const char *to, enum msg_type type);
void add_record(struct buf *out, const struct device_message *d);
uint64_t hello_epoch(const char *name, uint64_t life, uint32_t partition, uint64_t stream,
    uint64_t acked, uint64_t epoch);
uint64_t hello(const char *name, uint64_t life, uint32_t partition);
void batch_of(const char *from, uint64_t stream, uint64_t seq, uint32_t partition, unsigned kind,
    struct bytes records, uint64_t acked);
void batch(uint64_t stream, uint64_t seq, const struct device_message *d);
void subscribe(const char *name, const char *group, bool shared, uint64_t life, uint64_t from,
    uint64_t credit);
void progress(
    const char *name, const char *group, uint64_t received, uint64_t cursor, uint64_t epoch);
size_t delivered(const char *to, uint64_t *upto, uint64_t seqs[SENT_MAX]);
const struct msg_assign *assign_of(const char *name);
void resume(const char *name, const struct msg_assign *a, uint64_t offset);

#endif
