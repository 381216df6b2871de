/* enrol.h - devices that register themselves with the key and secret of their fleet, as ThingsBoard's devices do
 *
 * A fleet is a user of the registry with the role "enrol" (`roost user add FLEET --role enrol`): its name is the key, its password
 * the secret. A device says {"deviceName": ..., "provisionDeviceKey": ..., "provisionDeviceSecret": ...}, without name it gets
 * one. It is registered with the fleet's name as its profile, and is told its token, once. One that is registered already is
 * refused: whoever knows the fleet's secret must not get what other devices of the fleet have. */
#ifndef ROOST_ENROL_H
#define ROOST_ENROL_H

#include "auth.h"
#include "worker.h"

#define ENROL_MAX 256	/* under way; more are told to come again */
#define ENROL_ROLE "enrol"
#define ENROL_REQUEST "/provision/request"
#define ENROL_RESPONSE "/provision/response"

struct enrol;

/* answer: JSON, borrowed. */
typedef void (*enrol_fn)(void *arg, struct bytes answer);

/* NULL: that was logged. */
struct enrol *enrol_new(struct worker *w, struct auth *a);
/* Whoever waits is told to try again. */
void enrol_free(struct enrol **e);
/* fn is called once, perhaps before this returns. peer: may be NULL. */
void enrol_ask(struct enrol *e, struct bytes request, const struct peer *peer, enrol_fn fn, void *arg);
/* CHANGED of the registry. */
void enrol_on_changed(struct enrol *e, const struct msg_changed *m);

#endif
