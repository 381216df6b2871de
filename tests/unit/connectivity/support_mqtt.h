/* support_mqtt.h - packets as clients send them, for the MQTT tests */
#ifndef SUPPORT_MQTT_H
#define SUPPORT_MQTT_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct packet_vector {
	const char *label;
	unsigned version;
	const char *bytes;
	size_t len;
};

/* Well-formed packets of every type that a client sends. */
extern const struct packet_vector packet_vectors[];
extern const size_t packet_vector_count;

struct packet_fault {
	const char *label;
	unsigned version;
	unsigned first;		/* 0: bytes is the whole packet; else what follows first byte and length */
	const char *bytes;
	size_t len;
	uint8_t reason;		/* MQTT 5's */
};

/* Packets that break MQTT, of every type that a client sends. */
extern const struct packet_fault packet_faults[];
extern const size_t packet_fault_count;
void put_fault(struct buf *out, const struct packet_fault *f);

/* A whole packet: first byte, length, body. */
void put_packet(struct buf *out, unsigned first, const void *body, size_t len);
/* client id "", will none, user none unless given */
void put_connect(struct buf *out, unsigned version, int clean, unsigned keep_alive, const char *id);
void put_connect_expiring(struct buf *out, int clean, uint32_t expiry_s, const char *id);
void put_publish(struct buf *out, unsigned version, unsigned flags, unsigned packet_id, const char *topic, const char *payload);
void put_subscribe(struct buf *out, unsigned version, unsigned packet_id, const char *filter, unsigned options);
void put_unsubscribe(struct buf *out, unsigned version, unsigned packet_id, const char *filter);
void put_puback(struct buf *out, unsigned packet_id);

#endif
