/* support_copy.c - a copy of sessions, as something behind mqtt_ops would keep it: written late, in order, lost in part */
#include "support_copy.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define SESSIONS_MAX 8
#define SUBS_MAX 16
#define DELIVERIES_MAX 256
#define RECEIVED_MAX 256
#define CHANGES_MAX 65536
#define CLAIMS_MAX 16
#define RETAINED_MAX 32
#define NAME_MAX_ 64

struct kept_delivery {
	uint64_t n;
	struct mqtt_message *message;
	uint8_t qos;
	bool retain;
	bool sent;
};

struct kept_session {
	char id[NAME_MAX_];
	uint32_t expiry_s;
	uint64_t sent;
	char filters[SUBS_MAX][NAME_MAX_];
	uint8_t sub_qos[SUBS_MAX];
	size_t sub_count;
	struct kept_delivery deliveries[DELIVERIES_MAX];
	size_t delivery_count;
	uint16_t received[RECEIVED_MAX];
	int32_t partitions[RECEIVED_MAX];
	size_t received_count;
};

struct change {
	uint64_t turn;
	enum mqtt_change_kind kind;
	char id[NAME_MAX_];
	char filter[NAME_MAX_];
	uint32_t expiry_s;
	uint8_t qos;
	bool retain;
	uint64_t n;
	struct mqtt_message *message;
	uint16_t packet_id;
	int32_t partition;
};

static struct kept_session *sessions[SESSIONS_MAX];
static char retained[RETAINED_MAX][NAME_MAX_];
static size_t retained_count;
static struct change changes[CHANGES_MAX];
static uint64_t first, next; /* the oldest that waits, and the next one */
static uint64_t turn;	     /* this one */
static uint64_t written;
static struct {
	char id[NAME_MAX_];
	uint64_t token;
} claims[CLAIMS_MAX];
static size_t claim_count;

static void
name_of(char to[NAME_MAX_], struct bytes name)
{
	ck_assert(name.len < NAME_MAX_);
	if (name.len)
		memcpy(to, name.data, name.len);
	to[name.len] = 0;
}

uint64_t
copy_change(void *arg, const struct mqtt_change *c)
{
	struct change *to = &changes[next % CHANGES_MAX];

	(void)arg;
	/* Only wills come of those that are not kept. */
	if (c->session && !c->session->shared)
		return 0;
	ck_assert(next - first < CHANGES_MAX);
	*to = (struct change){
		.turn = turn, .kind = c->kind, .packet_id = c->packet_id, .partition = c->partition
	};
	if (c->session) {
		name_of(to->id, bytes_of(c->session->id, c->session->id_len));
		to->expiry_s = c->session->expiry_s;
	}
	name_of(to->filter, c->filter);
	if (c->sub)
		to->qos = c->sub->options.qos;
	if (c->delivery) {
		to->n = c->delivery->n;
		to->qos = c->delivery->qos;
		to->retain = c->delivery->retain;
	}
	if (c->kind == MQTT_CHANGE_QUEUED || c->kind == MQTT_CHANGE_RETAINED)
		to->message = mqtt_message_new(c->message);
	next++;
	return turn;
}

void
copy_turn(void)
{
	if (copy_waiting())
		turn = changes[(next - 1) % CHANGES_MAX].turn + 1;
}

bool
copy_claim(void *arg, const struct mqtt_claim *claim, uint64_t token)
{
	(void)arg;
	ck_assert(claim_count < CLAIMS_MAX);
	name_of(claims[claim_count].id, claim->client);
	claims[claim_count++].token = token;
	return false;
}

static struct kept_session *
find(const char *id, bool add)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (sessions[i] && strcmp(sessions[i]->id, id) == 0)
			return sessions[i];
	for (size_t i = 0; add && i < SESSIONS_MAX; i++) {
		if (sessions[i])
			continue;
		sessions[i] = xcalloc(1, sizeof(*sessions[i]));
		strcpy(sessions[i]->id, id);
		return sessions[i];
	}
	ck_assert(!add);
	return NULL;
}

static void
end(const char *id)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		if (!sessions[i] || strcmp(sessions[i]->id, id) != 0)
			continue;
		for (size_t d = 0; d < sessions[i]->delivery_count; d++)
			mqtt_message_unref(&sessions[i]->deliveries[d].message);
		free(sessions[i]);
		sessions[i] = NULL;
		return;
	}
}

static void
change_sub(struct kept_session *s, const struct change *c)
{
	size_t i = 0;

	while (i < s->sub_count && strcmp(s->filters[i], c->filter) != 0)
		i++;
	if (c->kind == MQTT_CHANGE_SUB) {
		ck_assert(i < SUBS_MAX);
		if (i == s->sub_count)
			s->sub_count++;
		strcpy(s->filters[i], c->filter);
		s->sub_qos[i] = c->qos;
	} else if (i < s->sub_count) {
		s->sub_count--;
		memmove(s->filters[i], s->filters[s->sub_count], NAME_MAX_);
		s->sub_qos[i] = s->sub_qos[s->sub_count];
	}
}

static void
change_delivery(struct kept_session *s, struct change *c)
{
	size_t i = 0;

	if (c->kind == MQTT_CHANGE_QUEUED) {
		ck_assert(s->delivery_count < DELIVERIES_MAX);
		s->deliveries[s->delivery_count++] = (struct kept_delivery){
			.n = c->n, .message = c->message, .qos = c->qos, .retain = c->retain
		};
		c->message = NULL;
		return;
	}
	while (i < s->delivery_count && s->deliveries[i].n != c->n)
		i++;
	if (c->kind == MQTT_CHANGE_SENT && c->n > s->sent)
		s->sent = c->n;
	if (i == s->delivery_count)
		return;
	if (c->kind == MQTT_CHANGE_SENT) {
		s->deliveries[i].sent = true;
	} else if (c->kind == MQTT_CHANGE_RELEASED) {
		mqtt_message_unref(&s->deliveries[i].message);
	} else {
		mqtt_message_unref(&s->deliveries[i].message);
		s->delivery_count--;
		memmove(&s->deliveries[i], &s->deliveries[i + 1],
		    (s->delivery_count - i) * sizeof(s->deliveries[0]));
	}
}

static void
change_received(struct kept_session *s, const struct change *c)
{
	size_t i = 0;

	while (i < s->received_count && s->received[i] != c->packet_id)
		i++;
	if (c->kind == MQTT_CHANGE_RECEIVED) {
		ck_assert(i < RECEIVED_MAX);
		if (i == s->received_count)
			s->received_count++;
		s->received[i] = c->packet_id;
		s->partitions[i] = c->partition;
	} else if (i < s->received_count) {
		s->received_count--;
		s->received[i] = s->received[s->received_count];
		s->partitions[i] = s->partitions[s->received_count];
	}
}

static void
change_retained(const struct change *c)
{
	char topic[NAME_MAX_];
	size_t i = 0;

	name_of(topic, c->message->topic);
	while (i < retained_count && strcmp(retained[i], topic) != 0)
		i++;
	ck_assert(i < RETAINED_MAX);
	if (c->message->payload.len) {
		strcpy(retained[i], topic);
		retained_count += i == retained_count;
	} else if (i < retained_count) {
		memmove(retained[i], retained[--retained_count], NAME_MAX_);
	}
}

static void
apply(struct change *c)
{
	struct kept_session *s;

	switch (c->kind) {
	case MQTT_CHANGE_SESSION:
		find(c->id, true)->expiry_s = c->expiry_s;
		break;
	case MQTT_CHANGE_END:
		end(c->id);
		break;
	case MQTT_CHANGE_RETAINED:
		change_retained(c);
		break;
	case MQTT_CHANGE_SUB:
	case MQTT_CHANGE_UNSUB:
	case MQTT_CHANGE_QUEUED:
	case MQTT_CHANGE_SENT:
	case MQTT_CHANGE_RELEASED:
	case MQTT_CHANGE_DONE:
	case MQTT_CHANGE_RECEIVED:
	case MQTT_CHANGE_FORGOTTEN:
		s = find(c->id, false);
		ck_assert_msg(s != NULL, "a change of %s, which is not there", c->id);
		if (c->kind <= MQTT_CHANGE_UNSUB)
			change_sub(s, c);
		else if (c->kind <= MQTT_CHANGE_DONE)
			change_delivery(s, c);
		else
			change_received(s, c);
		break;
	}
	mqtt_message_unref(&c->message);
}

uint64_t
copy_write(uint64_t turns)
{
	copy_turn();
	while (turns-- && copy_waiting()) {
		written = changes[first % CHANGES_MAX].turn;
		while (first < next && changes[first % CHANGES_MAX].turn == written)
			apply(&changes[first++ % CHANGES_MAX]);
	}
	return written;
}

uint64_t
copy_waiting(void)
{
	if (first == next)
		return 0;
	return changes[(next - 1) % CHANGES_MAX].turn - changes[first % CHANGES_MAX].turn + 1;
}

void
copy_crash(void)
{
	while (first < next)
		mqtt_message_unref(&changes[first++ % CHANGES_MAX].message);
	claim_count = 0;
	/* The next life numbers its own. */
	first = next = 0;
	turn = 1;
	written = 0;
}

void
copy_reset(void)
{
	copy_crash();
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (sessions[i])
			end(sessions[i]->id);
	retained_count = 0;
}

static void
load(struct mqtt_broker *b, const struct kept_session *k)
{
	struct mqtt_session *s = mqtt_load_session(
	    b, bytes_of_str(k->id), k->expiry_s, b->now_us + k->expiry_s * 1000000ll, k->sent);

	for (size_t i = 0; i < k->sub_count; i++) {
		struct mqtt_filter f = { .filter = bytes_of_str(k->filters[i]),
			.qos = k->sub_qos[i] };

		ck_assert_int_eq(mqtt_load_sub(b, s, &f, 0), 0);
	}
	for (size_t i = 0; i < k->delivery_count; i++) {
		const struct kept_delivery *d = &k->deliveries[i];
		struct mqtt_loaded_delivery l = { .n = d->n,
			.message = d->message,
			.qos = d->qos,
			.retain = d->retain,
			.sent = d->sent };

		ck_assert_int_eq(mqtt_load_delivery(b, s, &l), 0);
	}
	for (size_t i = 0; i < k->received_count; i++)
		mqtt_load_received(b, s, k->received[i], k->partitions[i]);
}

static bool
is_there(const struct mqtt_broker *b, const char *id)
{
	for (size_t i = 0; i < b->table_size; i++)
		for (const struct mqtt_session *s = b->table[i]; s; s = s->hash_next)
			if (strcmp(s->id, id) == 0)
				return true;
	return false;
}

void
copy_answer_claims(struct mqtt_broker *b)
{
	for (size_t i = 0; i < claim_count; i++) {
		const struct kept_session *k = find(claims[i].id, false);

		if (k && !is_there(b, k->id))
			load(b, k);
		mqtt_broker_claimed(b, claims[i].token, MQTT_SUCCESS);
	}
	claim_count = 0;
}

void
copy_load_all(struct mqtt_broker *b)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (sessions[i] && !is_there(b, sessions[i]->id))
			load(b, sessions[i]);
	mqtt_broker_loading(b, false);
}

void
copy_refuse_claims(struct mqtt_broker *b, uint8_t reason)
{
	for (size_t i = 0; i < claim_count; i++)
		mqtt_broker_claimed(b, claims[i].token, reason);
	claim_count = 0;
}

size_t
copy_sessions(void)
{
	size_t n = 0;

	for (size_t i = 0; i < SESSIONS_MAX; i++)
		n += sessions[i] != NULL;
	return n;
}

size_t
copy_deliveries(const char *id)
{
	const struct kept_session *s = find(id, false);

	return s ? s->delivery_count : 0;
}

size_t
copy_received(const char *id)
{
	const struct kept_session *s = find(id, false);

	return s ? s->received_count : 0;
}

size_t
copy_subs(const char *id)
{
	const struct kept_session *s = find(id, false);

	return s ? s->sub_count : 0;
}

size_t
copy_retained(void)
{
	return retained_count;
}

void
copy_begin(struct mqtt_broker *b)
{
	copy_reset();
	b->ops.change = copy_change;
	b->config.sessions_max = 10;
}

void
copy_write_all(struct mqtt_broker *b)
{
	mqtt_broker_written(b, copy_write(UINT64_MAX));
}
