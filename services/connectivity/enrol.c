/* enrol.c - devices that register themselves with the key and secret of their fleet
 *
 *	state		event			what is done
 *	PROVING		the fleet is proven	CHANGE of the device (to be new)	-> DEVICE
 *	DEVICE		done, or so already	CHANGE of its token			-> TOKEN
 *	TOKEN		done, or so already	its token is told			-> over
 *	any		no answer, or busy	the same again, until GIVE_UP_US
 *	any		anything else		it is told what is wrong		-> over
 *
 * A change that is asked for again, because its answer was lost, is found to be so already. That it is ours, and not an
 * enrolment of before, shows in the device's tag "enrolled", which is random. */
#include "enrol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "credential.h"
#include "device_id.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "payload.h"
#include "value_text.h"

#define AGAIN_US 1000000
#define BUSY_US 200000
#define GIVE_UP_US 15000000
#define PROFILE_MAX 64
#define REQUEST_MAX 4096
#define TAG_LEN 16
#define NAME_LEN 20

enum state { PROVING, DEVICE, TOKEN };

struct asking {
	struct enrol *e;
	struct asking *next;
	enum state state;
	uint64_t number; /* of the CHANGE under way */
	int64_t give_up_us;
	enrol_fn fn;
	void *arg;
	struct loop_timer timer;
	struct credential_secret secret;
	char fleet[PROFILE_MAX + 1];
	char device[DEVICE_ID_MAX + 1];
	char tags[64];
	char token[CREDENTIAL_SECRET_LEN + 1];
	char lookup[CREDENTIAL_NAME_LEN];
};

struct enrol {
	struct worker *w;
	struct auth *auth;
	struct bus_link *registry;
	struct payload_decoder *decoder;
	struct asking *first;
	size_t count;
	uint64_t numbers;
};

struct enrol *
enrol_new(struct worker *w, struct auth *a)
{
	struct enrol *e = xcalloc(1, sizeof(*e));

	e->w = w;
	e->auth = a;
	e->decoder = payload_decoder_new();
	if (bus_connect(w->bus, "registry", &e->registry) != 0)
		enrol_free(&e);
	return e;
}

/* --- its end --- */

static void
asking_free(struct asking *q)
{
	struct asking **at = &q->e->first;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	q->e->count--;
	loop_timer_clear(q->e->w->loop, &q->timer);
	auth_forget(q->e->auth, q);
	credential_wipe(q, sizeof(*q));
	free(q);
}

static void
refuse(enrol_fn fn, void *arg, const char *why)
{
	struct buf out = { 0 };

	metric_add(M_ENROL_REFUSED, 1);
	buf_add_str(
	    &out, "{\"status\":\"FAILURE\",\"provisionDeviceStatus\":\"FAILURE\",\"errorMsg\":");
	json_put_string(&out, bytes_of_str(why));
	buf_add_u8(&out, '}');
	fn(arg, buf_bytes(&out));
	buf_fini(&out);
}

static void
give_up(struct asking *q, const char *why)
{
	enrol_fn fn = q->fn;
	void *arg = q->arg;

	log_warn("enrol.refused", LS("device", q->device), LS("fleet", q->fleet), LS("why", why));
	asking_free(q);
	refuse(fn, arg, why);
}

void
enrol_free(struct enrol **p_e)
{
	struct enrol *e = *p_e;

	*p_e = NULL;
	if (!e)
		return;
	while (e->first)
		give_up(e->first, "Roost stops; try again");
	if (e->registry)
		bus_close(e->w->bus, &e->registry);
	payload_decoder_free(&e->decoder);
	free(e);
}

static void
tell(struct asking *q)
{
	struct buf out = { 0 };
	enrol_fn fn = q->fn;
	void *arg = q->arg;

	metric_add(M_ENROLLED, 1);
	log_info("enrol.done", LS("device", q->device), LS("fleet", q->fleet));
	buf_add_str(
	    &out, "{\"status\":\"SUCCESS\",\"provisionDeviceStatus\":\"SUCCESS\",\"deviceName\":");
	json_put_string(&out, bytes_of_str(q->device));
	buf_addf(
	    &out, ",\"credentialsType\":\"ACCESS_TOKEN\",\"credentialsValue\":\"%s\"}", q->token);
	asking_free(q);
	fn(arg, buf_bytes(&out));
	credential_wipe(out.data, out.len);
	buf_fini(&out);
}

/* --- the registry --- */

static void send_change(struct asking *q);

static void
on_time(void *arg)
{
	struct asking *q = arg;

	if (loop_now_us(q->e->w->loop) >= q->give_up_us)
		give_up(q, "the registry does not answer; try again");
	else
		send_change(q);
}

static void
send_change(struct asking *q)
{
	struct registry_object o = { .type = MSG_DEVICE };
	struct msg_change m = {
		.number = q->number, .actor = bytes_of_str("enrolment"), .create = true
	};
	struct buf body = { 0 };

	if (q->state == DEVICE) {
		o.any.device = (struct msg_device){ .id = bytes_of_str(q->device),
			.profile = bytes_of_str(q->fleet),
			.tags = bytes_of_str(q->tags) };
	} else {
		o.type = MSG_CREDENTIAL;
		o.any.credential = (struct msg_credential){ .kind = CREDENTIAL_TOKEN,
			.lookup = bytes_of_str(q->lookup),
			.device = bytes_of_str(q->device) };
		credential_put(&o.any.credential, &q->secret);
	}
	registry_encode(&o, &body);
	m.body = buf_bytes(&body);
	(void)bus_send(q->e->registry, NULL, MSG_CHANGE, &m);
	buf_fini(&body);
	loop_timer_set(q->e->w->loop, &q->timer, AGAIN_US, on_time, q);
}

static void
go_to(struct asking *q, enum state state)
{
	q->state = state;
	q->number = ++q->e->numbers;
	send_change(q);
}

void
enrol_on_changed(struct enrol *e, const struct msg_changed *m)
{
	struct asking *q = e->first;

	while (q && q->number != m->number)
		q = q->next;
	if (!q || q->state == PROVING)
		return;
	if (m->code == CHANGE_BUSY)
		loop_timer_set(e->w->loop, &q->timer, BUSY_US, on_time, q);
	else if (m->code == CHANGE_EXISTS && q->state == DEVICE)
		give_up(q, "this device is registered already");
	else if (m->code != CHANGE_DONE && m->code != CHANGE_UNCHANGED)
		give_up(q, "the registry does not take this device");
	else if (q->state == DEVICE)
		go_to(q, TOKEN);
	else
		tell(q);
}

/* --- the fleet --- */

static bool
may_enrol(const struct auth_grant *g)
{
	struct bytes rest = g->roles;

	if (!g->kind || g->is_device || g->identity.len > PROFILE_MAX)
		return false;
	while (rest.len) {
		const uint8_t *end = memchr(rest.data, ',', rest.len);
		size_t len = end ? (size_t)(end - rest.data) : rest.len;

		if (bytes_equal_str(bytes_of(rest.data, len), ENROL_ROLE))
			return true;
		len += end ? 1 : 0;
		rest = bytes_of(rest.data + len, rest.len - len);
	}
	return false;
}

static void
on_proven(void *arg, enum auth_verdict verdict, const struct auth_answer *answer)
{
	struct asking *q = arg;
	struct auth_grant *g = verdict == AUTH_GRANTED ? answer->grant : NULL;
	bool may = g && may_enrol(g);

	if (may)
		memcpy(q->fleet, g->identity.data, g->identity.len);
	auth_grant_unref(&g);
	if (may)
		go_to(q, DEVICE);
	else if (verdict == AUTH_BUSY || verdict == AUTH_UNAVAILABLE)
		give_up(q, "not now; try again");
	else
		give_up(q, "key or secret of the fleet is wrong");
}

static struct bytes
text_of(const struct payload_result *r, const char *name)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (bytes_equal_str(r->points[i].name, name) &&
		    r->points[i].value.kind == VALUE_STRING)
			return r->points[i].value.v.s;
	return bytes_of("", 0);
}

static void
name_it(struct asking *q, struct bytes name)
{
	char made[CREDENTIAL_SECRET_LEN + 1];

	credential_generate(made);
	made[TAG_LEN] = '\0';
	snprintf(q->tags, sizeof(q->tags), "enrolled=%s", made);
	if (name.len) {
		memcpy(q->device, name.data, name.len);
		return;
	}
	credential_generate(made);
	memcpy(q->device, made, NAME_LEN);
}

static void
begin(struct enrol *e, struct bytes name, const struct auth_request *fleet, enrol_fn fn, void *arg)
{
	struct asking *q = xcalloc(1, sizeof(*q));
	struct auth_answer answer = { 0 };
	enum auth_verdict verdict;

	q->e = e;
	q->fn = fn;
	q->arg = arg;
	q->next = e->first;
	e->first = q;
	e->count++;
	q->give_up_us = loop_now_us(e->w->loop) + GIVE_UP_US;
	name_it(q, name);
	credential_generate(q->token);
	credential_token_lookup(bytes_of_str(q->token), q->lookup);
	(void)credential_hash(CREDENTIAL_SHA256, bytes_of_str(q->token), &q->secret);
	verdict = auth_check(e->auth, fleet, on_proven, q, &answer);
	if (verdict != AUTH_PENDING)
		on_proven(q, verdict, &answer);
}

void
enrol_ask(struct enrol *e, struct bytes request, const struct peer *peer, enrol_fn fn, void *arg)
{
	struct auth_request fleet = { .protocol = AUTH_MQTT, .peer = peer };
	struct payload_result r;
	struct bytes name;

	if (e->count >= ENROL_MAX || e->w->draining) {
		refuse(fn, arg, "many enrol just now; try again");
		return;
	}
	if (request.len > REQUEST_MAX || payload_decode(e->decoder, PAYLOAD_JSON, request,
					     bytes_of("", 0), clock_wall_us(), &r, NULL) != 0) {
		refuse(fn, arg,
		    "what is expected is {\"deviceName\":...,\"provisionDeviceKey\":...,"
		    "\"provisionDeviceSecret\":...}");
		return;
	}
	name = text_of(&r, "deviceName");
	fleet.username = text_of(&r, "provisionDeviceKey");
	fleet.password = text_of(&r, "provisionDeviceSecret");
	if (name.len && device_id_fault(name))
		refuse(fn, arg, device_id_fault(name));
	else if (!fleet.username.len || !fleet.password.len)
		refuse(fn, arg, "key or secret of the fleet is wrong");
	else
		begin(e, name, &fleet, fn, arg);
}
