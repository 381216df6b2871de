/* mqtt_cluster.h - several connectivity workers as one broker
 *
 * Each tells the others which filters have subscribers with it (mqtt_interest.h), and passes on, once, what its clients publish to
 * those. Whoever published is acknowledged when it is written here and taken there. Of the members of a shared subscription, wherever they are, one
 * gets a message. Retained messages are everywhere; Redis numbers their changes, and the highest number counts.
 *
 * A client may come to any worker: its session is claimed in Redis, which cuts what the worker before could write; what that
 * one could not, and what comes for the client there until all know where it is, it passes on (DIRECT). What comes by two ways is
 * taken once: each message has a number of its publisher's worker. */
#ifndef ROOST_MQTT_CLUSTER_H
#define ROOST_MQTT_CLUSTER_H

#include "mqtt_copy.h"
#include "mqtt_session.h"
#include "worker.h"

struct mqtt_cluster;

/* NULL: there are no other workers. */
struct mqtt_cluster *mqtt_cluster_new(struct worker *w, struct mqtt_broker *broker);
void mqtt_cluster_free(struct mqtt_cluster **cluster);
/* For mqtt_copy_options; arg is set. NULL if cluster is. */
const struct mqtt_copy_hooks *mqtt_cluster_hooks(struct mqtt_cluster *cluster);
/* The broker's ops, and the copy, are there. */
int mqtt_cluster_start(struct mqtt_cluster *cluster, struct mqtt_copy *copy);

/* mqtt_ops; arg is the cluster. */
uint64_t mqtt_cluster_forward(void *arg, const struct mqtt_arrival *a, struct mqtt_group *const *groups, size_t count);
void mqtt_cluster_direct(void *arg, const struct mqtt_session *s, struct mqtt_arrival *a, const struct mqtt_how *how);
bool mqtt_cluster_share(void *arg, const struct mqtt_arrival *a, struct bytes group);
bool mqtt_cluster_is_new(void *arg, const struct mqtt_session *s, uint64_t route);

void mqtt_cluster_on_forward(struct mqtt_cluster *cluster, struct bus_msg *m);
void mqtt_cluster_on_forwarded(struct mqtt_cluster *cluster, struct bus_msg *m);
void mqtt_cluster_on_link(struct mqtt_cluster *cluster, struct bus_link *link, bool up);
/* At the end of each turn, before the copy's. */
void mqtt_cluster_turn(struct mqtt_cluster *cluster);
void mqtt_cluster_tick(struct mqtt_cluster *cluster);

#endif
