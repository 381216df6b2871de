/* mqtt_peers.h - what connectivity workers tell each other: in order, and once in each life of the receiver; pure
 *
 * Each worker has a stream to each other one, of items numbered from 1 in its life. The receiver takes the next one only, and
 * acknowledges it when what came of it is written; until then the sender keeps it, and sends it again from there when the link
 * comes back or nothing was heard for a while. What a receiver's life before had taken is known from Redis
 * (mqtt_peers_restore), so that its next life does not take it twice. An item may be sent aside of that (seq 0): then it is
 * lost if it is lost.
 *
 * A life of a peer is noticed by its first word, and told everything then: KNOWN says which life it was said to, for what was
 * said to the life before may still come first. What a peer wanted holds until its new life has said all that it wants. */
#ifndef ROOST_MQTT_PEERS_H
#define ROOST_MQTT_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "codec.h"

#define MQTT_PEERS_MAX 64
#define MQTT_PEERS_WINDOW 1024		/* items on their way to one peer */
#define MQTT_PEERS_RTO_MIN_US 50000
#define MQTT_PEERS_RTO_MAX_US 1000000

enum mqtt_peer_kind {
	MQTT_PEER_WANTS = 1,	/* key: a filter that has subscribers there; number: members of its group */
	MQTT_PEER_WANTS_NOT,	/* key: it has none any more */
	MQTT_PEER_KNOWN,	/* its sessions are loaded, and all that they want was said to the receiver's life `number` (0: none was heard) */
	MQTT_PEER_MESSAGE,	/* to its subscribers; key, packet_id: where it is of, at QoS 2 */
	MQTT_PEER_SHARED,	/* key: to one member of this group */
	MQTT_PEER_RETAIN,	/* number: of the change; an empty payload removes */
	MQTT_PEER_RELEASE,	/* key, packet_id, epoch: as in MESSAGE, which will not be sent again; number: the last route of then; repeat: its client has moved */
	MQTT_PEER_TAKEOVER,	/* key: client that is here now, number: its epoch; repeat: its session there has ended */
	MQTT_PEER_DIRECT,	/* key: client; message, delivery: what is for it; number: its route; custody: whose it is */
	MQTT_PEER_ARRIVED,	/* a session is here that worker `number` had, which may be dead */
	MQTT_PEER_LATE,		/* MESSAGE that such a worker (custody: its number + 1) has not taken: for sessions that arrived from it */
	MQTT_PEER_PLACED,	/* number: custody; what was DIRECT is in the session's queue */
	MQTT_PEER_NOBODY,	/* number: seq of a SHARED of the life `epoch`: there are no members */
	MQTT_PEER_CLEAR,	/* as KNOWN, but out of turn: what was being loaded when the receiver's life `number` was heard is loaded */
};

struct mqtt_peer_item {
	struct mqtt_peer_item *next;
	uint64_t seq;
	size_t bytes;
	struct msg_forward msg;	/* its views lie behind */
};

/* Something that is over when the write of that number is, or the item. */
struct mqtt_peer_wait {
	uint64_t seq;
	uint64_t number;
};

struct mqtt_peer_waits {
	bool mixed;		/* numbers are not in the order of the items */
	struct mqtt_peer_wait *ring;
	uint32_t size;		/* a power of 2, or 0 */
	uint32_t head;
	uint32_t tail;
};

struct mqtt_peer {
	bool up;			/* the link to it */
	bool known;			/* what it wants, or what its life before wanted, was said to our life */
	uint64_t life;			/* 0: nothing was heard */
	struct mqtt_peer_item *head;	/* first that is not acknowledged */
	struct mqtt_peer_item **end;
	struct mqtt_peer_item *unsent;
	uint64_t last;			/* seq of the last item */
	size_t bytes;
	size_t on_way;
	int64_t rto_at_us;		/* 0: nothing is on its way */
	int64_t rto_us;
	struct mqtt_peer_waits out;	/* whose write waits for which item */
	uint64_t taken;			/* of its stream, in `life` */
	uint64_t restored_life;		/* what our life before had taken */
	uint64_t restored;
	uint64_t acked;			/* said */
	struct mqtt_peer_waits in;	/* which item waits for which write */
	bool say;			/* FORWARDED is due */
};

/* Heap, one block. Copies what f shows. */
struct mqtt_peer_item *mqtt_peer_item_new(const struct msg_forward *f);

struct mqtt_peers_ops {
	/* 0, or the peer is behind. */
	int (*send)(void *arg, unsigned peer, enum msg_type type, const void *msg);
	/* The next item, seq 0 too. Returns the number of the write that it waits for; 0: none. */
	uint64_t (*take)(void *arg, unsigned peer, const struct msg_forward *f);
	/* A life of the peer, also the first that is heard: push what it is to know. */
	void (*begun)(void *arg, unsigned peer);
	void *arg;
};

struct mqtt_peers {
	struct mqtt_peers_ops ops;
	unsigned self;
	unsigned count;		/* self included */
	uint64_t life;
	uint64_t written;
	size_t bytes_max;	/* of one peer's items */
	bool open;		/* messages are taken: what was restored is known, and sessions are there */
	struct mqtt_peer peer[MQTT_PEERS_MAX];
};

void mqtt_peers_init(struct mqtt_peers *p, unsigned self, unsigned count, uint64_t life, size_t bytes_max,
    const struct mqtt_peers_ops *ops);
void mqtt_peers_fini(struct mqtt_peers *p);
void mqtt_peers_restore(struct mqtt_peers *p, unsigned peer, uint64_t life, uint64_t seq);
void mqtt_peers_open(struct mqtt_peers *p);

/* Copies what f shows. number: the write that is not done before this item is acknowledged; 0: none. */
void mqtt_peers_push(struct mqtt_peers *p, unsigned peer, const struct msg_forward *f, uint64_t number);
void mqtt_peers_aside(struct mqtt_peers *p, unsigned peer, const struct msg_forward *f);
/* Some peer's items take more than they may: no more is taken from clients. */
bool mqtt_peers_is_full(const struct mqtt_peers *p);
/* No number from this one on is done as far as peers are concerned; UINT64_MAX: all are. */
uint64_t mqtt_peers_waits_for(const struct mqtt_peers *p);
/* The number that this item was pushed with; 0: none, or it is not there. */
uint64_t mqtt_peers_number_of(const struct mqtt_peers *p, unsigned peer, uint64_t seq);
/* The writes up to this number are done. */
void mqtt_peers_written(struct mqtt_peers *p, uint64_t number);

void mqtt_peers_on_link(struct mqtt_peers *p, unsigned peer, bool up);
void mqtt_peers_on_forward(struct mqtt_peers *p, unsigned peer, const struct msg_forward *f);
void mqtt_peers_on_forwarded(struct mqtt_peers *p, unsigned peer, const struct msg_forwarded *f);
/* At the end of each turn: sends what may be sent. Returns when it wants to be called again; 0: when something happens. */
int64_t mqtt_peers_turn(struct mqtt_peers *p, int64_t now_us);

#endif
