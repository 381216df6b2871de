/* support_session.h - an MQTT broker without sockets, and a test's own ingest behind it */
#ifndef SUPPORT_SESSION_H
#define SUPPORT_SESSION_H

#include <check.h>
#include <stdlib.h>

#include "mqtt_session.h"

#define OFFERS_MAX 256
#define SECOND 1000000ll

/* Stands for ingest: takes what is offered and keeps the tokens for the test to answer. */
struct fake_ingest {
	uint64_t tokens[OFFERS_MAX];
	char devices[OFFERS_MAX][32];
	size_t count;
	size_t reoffered;
	size_t room;
	uint16_t released[OFFERS_MAX];	/* packet ids */
	size_t released_count;
	int32_t partition;		/* of the last release; -1: not known */
	enum ingest_undecodable undecodable;
};

extern struct fake_ingest fake;
extern struct mqtt_broker b;
extern struct buf in;	/* what feed() gives next */
extern const struct mqtt_config config;

/* Gives what was put into in; returns how much was taken. */
size_t feed(struct mqtt_conn *c);
void check_out(struct mqtt_conn *c, const char *want, size_t len, int line);
#define CHECK_OUT(c, want) check_out(c, want, sizeof(want) - 1, __LINE__)
void ignore_out(struct mqtt_conn *c);
struct mqtt_conn *connected(unsigned version, int clean, const char *id);
struct mqtt_conn *resumed(uint32_t expiry_s, const char *id);	/* 5.0; CONNACK is left in its output */
struct mqtt_conn *kept(unsigned version, const char *id);	/* its session outlives it; CONNACK is read */
void gone(struct mqtt_conn *c);
void subscribe(struct mqtt_conn *c, const char *filter, unsigned options);	/* SUBACK is read */
void put_ack(unsigned type, unsigned packet_id);	/* PUBACK ... PUBCOMP into in, as 3.1.1 has them */

/* What the broker of the tests calls. */
extern const struct mqtt_ops session_ops;

/* Runs the tests, each with a broker of its own. */
int session_tests(const char *name, const TTest *const *tests, size_t count);

#endif
