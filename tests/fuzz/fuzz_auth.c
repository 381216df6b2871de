/* fuzz_auth.c - who is let in, while the registry changes, its fold in Redis is behind, and clients show anything
 *
 * The input says what happens in which order: the registry changes something (that is heard at once), the fold follows, a question
 * is answered from the fold or not at all, a CONNECT packet or a known credential is shown, somebody goes. A model of a few
 * lines knows what is true. Nobody may be let in by what is not true, and whoever is in by it must be cut. */
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "clock.h"
#include "credential.h"
#include "err.h"
#include "mem.h"
#include "mqtt_codec.h"
#include "registry_lookup.h"
#include "support.h"

#define DEVICES 3
#define TOKENS 6 /* token i is of device i % DEVICES, the last one of a user */
#define HELD_MAX 16
#define QUESTIONS_MAX 64
#define PENDING_MAX 32
#define STEPS_MAX 400

/* --- what is true, and what Redis has of it --- */

struct fact {
	uint64_t version;
	bool valid; /* a device: not blocked; a token: not revoked */
	unsigned rights;
};

static struct {
	struct fact devices[DEVICES], tokens[TOKENS];
} truth, fold;

static char texts[TOKENS][CREDENTIAL_SECRET_LEN + 1];
static char lookups[TOKENS][CREDENTIAL_NAME_LEN];
static char names[DEVICES][8];
static struct credential_secret secrets[TOKENS];
static const char *const rights[] = { "", "a-*", "b\nc" };

static struct msg_device
device_of(const struct fact *f, unsigned i)
{
	return (struct msg_device){
		.id = bytes_of_str(names[i]),
		.version = f->version,
		.blocked = !f->valid,
		.speaks_for = bytes_of_str(rights[f->rights]),
	};
}

static struct msg_credential
token_of(const struct fact *f, unsigned i)
{
	struct msg_credential c = {
		.kind = CREDENTIAL_TOKEN,
		.lookup = bytes_of_str(lookups[i]),
		.version = f->version,
		.revoked = !f->valid,
	};

	if (i == TOKENS - 1)
		c.user = bytes_of_str("app");
	else
		c.device = bytes_of_str(names[i % DEVICES]);
	if (f->valid)
		credential_put(&c, &secrets[i]);
	return c;
}

static bool
is_true(unsigned token)
{
	return truth.tokens[token].valid &&
	       (token == TOKENS - 1 || truth.devices[token % DEVICES].valid);
}

/* --- Redis --- */

static struct question {
	registry_lookup_fn fn;
	void *arg;
	char lookup[CREDENTIAL_LOOKUP_MAX + 1];
	enum credential_kind kind;
} questions[QUESTIONS_MAX];
static size_t question_count;

int
registry_lookup_new(
    struct loop *loop, const char *url, const char *data_dir, struct registry_lookup **ret_lookup)
{
	(void)loop;
	(void)url;
	(void)data_dir;
	*ret_lookup = NULL;
	question_count = 0;
	*ret_lookup = (struct registry_lookup *)(void *)questions;
	return 0;
}

void
registry_lookup_free(struct registry_lookup **l)
{
	*l = NULL;
	question_count = 0;
}

int
registry_lookup_credential(struct registry_lookup *l, enum credential_kind kind,
    struct bytes lookup, registry_lookup_fn fn, void *arg)
{
	struct question *q;

	(void)l;
	ASSERT(lookup.len > 0 && lookup.len <= CREDENTIAL_LOOKUP_MAX);
	if (question_count == QUESTIONS_MAX)
		return ERR_FULL;
	q = &questions[question_count++];
	*q = (struct question){ .fn = fn, .arg = arg, .kind = kind };
	memcpy(q->lookup, lookup.data, lookup.len);
	return 0;
}

/* The nth, as the fold is now; or that nobody knows. */
static void
answer(size_t n, bool away)
{
	struct registry_answer a = { .has_device = false };
	struct question q;
	int err = away ? ERR_AGAIN : ERR_NOT_FOUND;

	if (question_count == 0)
		return;
	n %= question_count;
	q = questions[n];
	questions[n] = questions[--question_count];
	for (unsigned i = 0; !away && i < TOKENS; i++) {
		const struct fact *f = &fold.tokens[i];

		if (q.kind != CREDENTIAL_TOKEN || strcmp(q.lookup, lookups[i]) != 0 || !f->valid ||
		    f->version == 0)
			continue;
		err = 0;
		a.credential = token_of(f, i);
		a.has_device = i != TOKENS - 1;
		if (a.has_device)
			a.device = device_of(&fold.devices[i % DEVICES], i % DEVICES);
	}
	q.fn(q.arg, err, err == 0 ? &a : NULL);
}

/* --- clients --- */

static struct auth *auth;
static struct {
	struct auth_grant *grant;
	unsigned token;
} held[HELD_MAX];
static struct pending {
	bool waits;
	int token; /* -1: something else */
} pending[PENDING_MAX];

static void
hold(struct auth_grant *g)
{
	for (unsigned i = 0; i < TOKENS; i++) {
		if (!bytes_equal_str(g->lookup, lookups[i]))
			continue;
		for (size_t k = 0; k < HELD_MAX; k++) {
			if (held[k].grant)
				continue;
			held[k].grant = g;
			held[k].token = i;
			return;
		}
	}
	auth_grant_unref(&g);
}

static void
verdict_is_sound(int token, enum auth_verdict verdict, const struct auth_answer *a)
{
	if (verdict != AUTH_GRANTED) {
		ASSERT(a->why != NULL && a->grant == NULL);
		return;
	}
	if (a->grant->kind) {
		ASSERT(token >= 0 && is_true((unsigned)token) && !a->grant->cut);
		ASSERT(bytes_equal_str(a->grant->lookup, lookups[token]));
	}
	hold(a->grant);
}

static void
on_done(void *arg, enum auth_verdict verdict, const struct auth_answer *a)
{
	struct pending *p = arg;

	ASSERT(p->waits);
	p->waits = false;
	verdict_is_sound(p->token, verdict, a);
}

static void
ask(const struct auth_request *q)
{
	struct pending *p = pending;
	struct auth_answer a = { 0 };
	enum auth_verdict verdict;
	int token = -1;

	while (p < pending + PENDING_MAX && p->waits)
		p++;
	if (p == pending + PENDING_MAX)
		return;
	for (int i = 0; i < TOKENS; i++)
		if (bytes_equal_str(q->token.len ? q->token : q->username, texts[i]) &&
		    (q->token.len || !q->password.len))
			token = i;
	p->waits = true;
	p->token = token;
	verdict = auth_check(auth, q, on_done, p, &a);
	if (verdict == AUTH_PENDING)
		return;
	p->waits = false;
	verdict_is_sound(token, verdict, &a);
}

static void
show_packet(struct bytes packet, bool loopback)
{
	struct mqtt_connect c = { .version = 0 };
	struct mqtt_fault fault;
	struct mqtt_frame f;
	size_t need;

	if (mqtt_frame_next(packet, 0, 65536, &f, &need, &fault) != 0 || f.type != MQTT_CONNECT ||
	    mqtt_parse_connect(&f, &c, &fault) != 0)
		return;
	ask(&(struct auth_request){ .loopback = loopback,
	    .client_id = c.client_id,
	    .username = c.username,
	    .password = c.password });
}

/* --- steps --- */

static void
change(unsigned what)
{
	struct registry_object o;
	unsigned i = what / 4;
	struct fact *f;

	if (what & 1) {
		i %= DEVICES;
		f = &truth.devices[i];
		f->version++;
		if (what & 2)
			f->valid = !f->valid;
		else
			f->rights = (f->rights + 1) % COUNT_OF(rights);
		o = (struct registry_object){ MSG_DEVICE, { .device = device_of(f, i) } };
	} else {
		i %= TOKENS;
		f = &truth.tokens[i];
		f->version++;
		f->valid = !f->valid;
		o = (struct registry_object){ MSG_CREDENTIAL, { .credential = token_of(f, i) } };
	}
	ASSERT(registry_fault(&o) == NULL);
	auth_hear(auth, &o);
}

static void
step(struct input *in, struct loop *loop)
{
	unsigned what = input_u8(in), n = input_u8(in);
	uint8_t key[64];

	switch (what % 10) {
	case 0:
	case 1:
		change(n);
		break;
	case 2:
		fold = truth;
		break;
	case 3:
	case 4:
		answer(n, what & 16);
		break;
	case 5:
		ask(&(struct auth_request){ .username = bytes_of_str(texts[n % TOKENS]) });
		break;
	case 6:
		ask(&(struct auth_request){ .token = bytes_of_str(texts[n % TOKENS]) });
		break;
	case 7:
		show_packet(input_bytes(in, n), what & 16);
		break;
	case 8:
		if (what & 16)
			(void)auth_psk(auth, input_bytes(in, n), key, sizeof(key));
		else if (held[n % HELD_MAX].grant)
			auth_grant_unref(&held[n % HELD_MAX].grant);
		break;
	default:
		if (pending[n % PENDING_MAX].waits && what & 16) {
			auth_forget(auth, &pending[n % PENDING_MAX]);
			pending[n % PENDING_MAX].waits = false;
		} else if (what & 32) {
			auth_missed(auth);
		} else {
			loop_turn(loop, 0);
		}
	}
}

static void
all_is_sound(void)
{
	for (size_t i = 0; i < HELD_MAX; i++) {
		const struct auth_grant *g = held[i].grant;
		unsigned device = held[i].token % DEVICES;

		if (!g)
			continue;
		ASSERT(g->cut || is_true(held[i].token));
		if (!g->cut && g->is_device)
			ASSERT(
			    bytes_equal_str(g->speaks_for, rights[truth.devices[device].rights]));
	}
}

static void
begin(void)
{
	for (unsigned i = 0; i < TOKENS; i++) {
		memset(texts[i], 'a' + (int)i, CREDENTIAL_SECRET_LEN);
		credential_token_lookup(bytes_of_str(texts[i]), lookups[i]);
		if (secrets[i].stored_len == 0)
			(void)credential_hash(
			    CREDENTIAL_SHA256, bytes_of_str(texts[i]), &secrets[i]);
		truth.tokens[i] = (struct fact){ .version = 1, .valid = true };
	}
	for (unsigned i = 0; i < DEVICES; i++) {
		memcpy(names[i], "gh-0", 5);
		names[i][3] = (char)('0' + i);
		truth.devices[i] = (struct fact){ .version = 1, .valid = true };
	}
	fold = truth;
	memset(pending, 0, sizeof(pending));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	struct settings *settings = settings_new();
	struct loop *loop = loop_new();
	int err;

	fuzz_quiet();
	begin();
	err = auth_new(loop, settings, &auth);
	ASSERT(err == 0);
	for (int i = 0; i < STEPS_MAX && !input_is_over(&in); i++) {
		step(&in, loop);
		all_is_sound();
	}
	auth_free(&auth);
	for (size_t i = 0; i < HELD_MAX; i++)
		auth_grant_unref(&held[i].grant);
	loop_free(&loop);
	settings_free(&settings);
	return 0;
}
