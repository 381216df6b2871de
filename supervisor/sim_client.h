/* sim_client.h - simulated devices' MQTT clients: libmosquitto connections in one epoll set */
#ifndef ROOST_SIM_CLIENT_H
#define ROOST_SIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define SIM_CLIENTS_MAX 15000
#define SIM_WINDOW 64 /* unacknowledged messages of one client */
#define SIM_HISTOGRAM_SIZE 480 /* eight steps to each power of two up to 2^63 us */

struct sim_totals {
	uint64_t sent;
	uint64_t acked;
	uint64_t connects;
	uint64_t lost;		/* connections that ended while they were wanted */
	uint64_t connect_failures;
	uint32_t connected;
	uint64_t histogram[SIM_HISTOGRAM_SIZE]; /* of time to acknowledgement */
	int64_t longest_us;
};

struct sim_clients;

/* name_of writes client i's id. qos: 0, 1 or 2. */
struct sim_clients *sim_clients_new(const char *host, uint16_t port, uint32_t count, int qos,
    void (*name_of)(void *arg, uint32_t i, struct buf *out), void *arg);
void sim_clients_free(struct sim_clients **c);
/* Handles what is ready, waiting at most wait_ms; reconnects what is due. */
void sim_clients_turn(struct sim_clients *all, int wait_ms);
bool sim_client_ready(const struct sim_clients *c, uint32_t i);
/* The client is ready. False: the library refused it; try again later. */
bool sim_client_publish(struct sim_clients *c, uint32_t i, const char *topic, struct bytes payload);
const struct sim_totals *sim_clients_totals(const struct sim_clients *all);
double sim_totals_percentile_ms(const struct sim_totals *t, double p);

#endif
