/* flood_relay.h - what the parts of the relay mode share: its connections and what they count */
#ifndef FLOOD_RELAY_H
#define FLOOD_RELAY_H

#include "flood.h"

#define STAMP_LEN 24			/* of each payload: time, number, publisher, mark */
#define BATCH_MAX 65536			/* bytes of messages to a send */
#define INPUT_MAX (256u << 10)		/* bytes to a read */
#define BACKLOG_MAX (64u << 20)		/* bytes that the kernel does not take */
#define CARRY_ROOM (PAYLOAD_MAX + 1024) /* largest packet that a server may send */
#define IDS 65536
#define MARK 0x646f6c66u /* "flod" */

/* One connection: a publisher, or a subscriber. */
struct link {
	int fd;
	bool publisher, want_write, broken, pinged;
	uint32_t index;
	uint8_t *out; /* what the kernel has not taken */
	size_t out_at, out_len, out_room;
	uint8_t carry[CARRY_ROOM]; /* the packet that is not whole yet */
	size_t carry_len;
	/* a publisher */
	uint8_t *packet;
	size_t digits_at, id_at, stamp_at, packet_len;
	uint32_t window;
	uint64_t sent, acked;
	uint8_t *open; /* of each packet id: it is in flight */
	uint32_t next_id;
	/* a subscriber */
	uint64_t *next;	     /* of each publisher: the number that comes next */
	uint8_t *unreleased; /* of each packet id, QoS 2 */
	uint32_t outstanding, completing;
	uint32_t suback_left;
};

struct relay {
	struct flood *f;
	struct link *links; /* publishers, then subscribers */
	uint32_t n_links, fan, turn;
	uint64_t sent, acked;
	uint64_t delivered; /* messages that came, repeats not counted */
	uint64_t accounted; /* the same and what was left out before them */
	uint64_t repeated, missing, over_maximum, stalls, forgiven, refused, disconnected,
	    subscribed;
	uint64_t wrong; /* packets, numbers or payloads that must not come */
	uint32_t pongs;
	int64_t last_ns; /* when something last came */
	int64_t stamp;	 /* the run of messages of one time */
	uint64_t stamped;
	uint64_t delivered_before, published_before;
	uint8_t *seen; /* --expect: bit per number */
};

/* flood_relay.c */
uint64_t relay_run(struct flood *f);
uint64_t subscribe_run(struct flood *f);

/* flood_relay_open.c */
void relay_open(struct relay *r);
void link_subscribe(struct relay *r, struct link *l, uint32_t first, uint32_t n);
size_t put_length(uint8_t *at, size_t len);

/* flood_relay_conn.c */
void relay_watch(struct relay *r, struct link *l);
void relay_turn(struct relay *r, int64_t until_ns);
void link_send(struct relay *r, struct link *l, const uint8_t *bytes, size_t len);
void flush_stamps(struct relay *r, int64_t now);

#endif
