/* route.h - which receivers are told about an alert, and what they are told; pure */
#ifndef ROOST_ROUTE_H
#define ROOST_ROUTE_H

#include <stdbool.h>

#include "codec.h"
#include "notify_conf.h"

enum { ALERT_INACTIVE = 0, ALERT_PENDING = 1, ALERT_FIRING = 2, ALERT_CLEARED = 3 };

/* Firing (again with another severity, or repeated) and cleared are told, pending is not. */
bool route_is_told(const struct msg_alert *alert);
/* A set of receivers' indexes. The names in the alert decide if it has any; ret_unknown (may be NULL) is set if one of them
 * is no receiver: then the routes decide too, so that somebody is told. */
uint64_t route_receivers(const struct notify_conf *conf, const struct msg_alert *alert, bool *ret_unknown);
/* The id goes into a header of a request and into a key: printable ASCII without blanks, at most ROUTE_ID_MAX bytes. */
#define ROUTE_ID_MAX 62
bool route_id_is_good(struct bytes id);
/* True if text is pattern, in which * stands for any characters. */
bool route_match(const char *pattern, struct bytes text);

/* One line for people: `firing critical TooHot gh-1: gh-1: 41.5 C`. */
void route_put_text(struct buf *out, const struct msg_alert *alert);
/* A JSON object for programs; deploy/notify.yaml shows it. */
void route_put_json(struct buf *out, const struct msg_alert *alert);

/* How long to wait after attempt n (from 1): 1 s, doubling to 5 min, between 75 and 125 % of it as seed says. */
int64_t route_backoff_us(uint64_t attempts, uint64_t seed);

#endif
