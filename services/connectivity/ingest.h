/* ingest.h - the one door: authenticated input of any protocol -> stream of batches -> answers from COMMIT
 *
 * Messages of one device keep their order; messages of several devices may be answered in another order than they were
 * offered: whoever must answer in order (MQTT-4.6.0) keeps a queue of tokens. */
#ifndef ROOST_INGEST_H
#define ROOST_INGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "payload.h"
#include "record.h"
#include "worker.h"

struct ingest;

/* What to do with a payload that cannot be decoded. */
enum ingest_undecodable {
	INGEST_REFUSE, /* the protocol can say why: ingest_offer returns ERR_MALFORMED and the reason */
	INGEST_QUARANTINE, /* it cannot (MQTT 3.1.1): journal the raw bytes as quarantined, then answer accepted */
};

/* What is the same in all messages of one client on one topic. */
struct ingest_origin {
	uint64_t device; /* XXH3 of the device id: its partition follows from it */
	uint64_t topic;	 /* XXH3 */
	uint64_t client; /* as in the record; 0: none */
};
struct ingest_origin ingest_origin_of(
    struct bytes device, struct bytes topic, struct bytes client_id);

struct ingest_message {
	struct bytes device; /* checked: a valid device id */
	struct bytes topic;  /* as received; goes into hash */
	struct bytes payload;
	enum payload_format format;
	struct bytes metric; /* name of a bare value (last level of the topic); may be empty */
	struct bytes client; /* client id; goes into the record's client hash; empty: none */
	uint16_t packet_id;  /* 0: none */
	unsigned qos;
	bool dup;
	enum ingest_undecodable undecodable;
	const struct ingest_origin *origin; /* of device, topic and client, or NULL */
};

/* Whose token it is stands in its two highest bits. */
#define INGEST_OWNER_SHIFT 62
#define INGEST_TOKEN_MASK ((UINT64_C(1) << INGEST_OWNER_SHIFT) - 1)
enum ingest_owner { INGEST_OF_MQTT, INGEST_OF_HTTP, INGEST_OF_COAP, INGEST_OF_ATTRIBUTES };

/* verdict: VERDICT_ACCEPTED or VERDICT_COPY (durable), or a refusal with its retry time. token: as offered.
 * record: the refused record as it was batched, for ingest_reoffer(); borrowed, NULL unless refused. */
typedef void (*ingest_answer_fn)(
    void *arg, uint64_t token, uint32_t verdict, const struct bytes *record);
/* There is room again after ERR_AGAIN. */
typedef void (*ingest_room_fn)(void *arg);

struct ingest *ingest_new(
    struct worker *w, ingest_answer_fn answer, ingest_room_fn room, void *arg);
void ingest_free(struct ingest **in);

/* 0: will be answered with this token. ERR_AGAIN: no credit; stop reading, nothing was taken. ERR_MALFORMED (with INGEST_REFUSE),
 * ERR_TOO_BIG: refused for ever; reason (may be NULL) gets a sentence for the device's developer. */
int ingest_offer(
    struct ingest *in, const struct ingest_message *m, uint64_t token, struct buf *reason);
/* The same of points that are decoded already (telemetry.h): m->payload is what the record's hash is of, m->format and m->metric count
 * for nothing. */
int ingest_offer_points(struct ingest *in, const struct ingest_message *m,
    const struct payload_result *r, uint64_t token, struct buf *reason);
/* The server's time, another one at each call: for telemetry_options. */
int64_t ingest_stamp(struct ingest *in);
/* The latest time that journal and clock have shown: for telemetry_latest(). */
int64_t ingest_latest(const struct ingest *in);
/* Offers a refused record again (MQTT 3.1.1: held until its limit allows). ERR_AGAIN as above. */
int ingest_reoffer(struct ingest *in, struct bytes record, uint64_t token);

/* QoS 2: PUBREL of that packet id came, or its session is over. It is answered (VERDICT_ACCEPTED) when it is durable that this id
 * is free for another message; PUBCOMP after that. partition: of the PUBLISH, by ingest_partition(); -1 if it is not known, or
 * whether there was one: then every shard is told. ERR_AGAIN as above. token 0: nobody waits. */
int ingest_release(struct ingest *in, struct bytes client_id, uint16_t packet_id, int32_t partition,
    uint64_t token);
/* Entries of kind CONTEXT about a device, at most INGEST_CONTEXT_MAX; answered (VERDICT_ACCEPTED) when all are durable. ERR_AGAIN as above. */
#define INGEST_CONTEXT_MAX 64
int ingest_context(struct ingest *in, struct bytes device, const struct bytes *bodies, uint32_t count,
    uint64_t token);
int32_t ingest_partition(const struct ingest *in, struct bytes device);

/* Sends what was gathered; from the worker's turn. */
void ingest_turn(struct ingest *in);
/* Frees what is kept for the next burst. */
void ingest_quiet(struct ingest *in);
/* Nothing is waiting for COMMIT. */
bool ingest_idle(const struct ingest *in);
/* Storage and limiter messages and link changes, from worker_spec. */
void ingest_on_welcome(struct ingest *in, struct bus_msg *m);
void ingest_on_fenced(struct ingest *in, struct bus_msg *m);
void ingest_on_commit(struct ingest *in, struct bus_msg *m);
void ingest_on_gap(struct ingest *in, struct bus_msg *m);
void ingest_on_link(struct ingest *in, struct bus_link *link, bool up);

#endif
