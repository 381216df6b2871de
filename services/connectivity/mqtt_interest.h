/* mqtt_interest.h - which other workers have subscribers to a topic; pure */
#ifndef ROOST_MQTT_INTEREST_H
#define ROOST_MQTT_INTEREST_H

#include <stdbool.h>
#include <stdint.h>

#include "mqtt_tree.h"

#define MQTT_INTEREST_WORKERS_MAX 64

/* Those who share a filter under one name: how many, where. */
struct mqtt_interest_group {
	struct mqtt_interest_group *next; /* of the same filter */
	uint32_t members[MQTT_INTEREST_WORKERS_MAX];
	uint64_t doubted; /* bit i: as worker i's life before said */
	uint16_t key_len;
	char key[]; /* $share/{name}/{filter} */
};

struct mqtt_interest {
	struct mqtt_tree tree;
	size_t count; /* of filters and groups */
	struct mqtt_interest_group **groups;
	size_t group_count;
	size_t group_cap;
};

void mqtt_interest_init(struct mqtt_interest *n);
void mqtt_interest_fini(struct mqtt_interest *n);
/* members 0: none any more. Of a filter that is not shared only whether there are some counts. */
void mqtt_interest_set(struct mqtt_interest *n, unsigned worker, struct bytes key, uint32_t members);
/* A new life of the worker begins: what it wanted holds until it is settled, ... */
void mqtt_interest_doubt(struct mqtt_interest *n, unsigned worker);
/* ... then only what was set since. */
void mqtt_interest_settle(struct mqtt_interest *n, unsigned worker);
/* The worker wants nothing. */
void mqtt_interest_clear(struct mqtt_interest *n, unsigned worker);
/* Bit i: worker i has subscribers. n->groups are those that match, good until the next call. */
uint64_t mqtt_interest_match(struct mqtt_interest *n, struct bytes topic);
/* NULL: no worker has members. */
const struct mqtt_interest_group *mqtt_interest_find(const struct mqtt_interest *n, struct bytes key);

#endif
