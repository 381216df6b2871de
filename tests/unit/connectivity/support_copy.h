/* support_copy.h - a copy of sessions, as something behind mqtt_ops would keep it: written late, in order, lost in part */
#ifndef SUPPORT_COPY_H
#define SUPPORT_COPY_H

#include "mqtt_session.h"

/* For mqtt_ops. What is told waits; all that is told in one turn is written at once, and has one number. */
uint64_t copy_change(void *arg, const struct mqtt_change *change);
bool copy_claim(void *arg, const struct mqtt_claim *claim, uint64_t token);

/* Forgets everything. */
void copy_reset(void);
/* And is told by this broker. */
void copy_begin(struct mqtt_broker *b);
/* A turn is over. */
void copy_turn(void);
/* Writes what so many turns have told; returns the number of the last one written. */
uint64_t copy_write(uint64_t turns);
void copy_write_all(struct mqtt_broker *b);	/* and says so */
uint64_t copy_waiting(void);	/* turns */
/* The process died: what is not written is gone. */
void copy_crash(void);
/* Answers the claims that wait, with what there is of the sessions. */
void copy_answer_claims(struct mqtt_broker *b);
void copy_refuse_claims(struct mqtt_broker *b, uint8_t reason);
/* What a new life does: those that are not loaded for a claim yet, too. */
void copy_load_all(struct mqtt_broker *b);
/* Sessions that are written. */
size_t copy_sessions(void);
/* Of a session: messages and packet ids that are written. */
size_t copy_deliveries(const char *id);
size_t copy_received(const char *id);
size_t copy_subs(const char *id);
size_t copy_retained(void);

#endif
