/* test_changes.c - what is asked for is checked, answered once it is in registry.db, and never done twice */
#include "changes.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "record.h"
#include "support_registry.h"

#define PARTITIONS 4
#define SENT_MAX 8192

static struct store *store;
static struct changes *changes;

/* What would go into the journal. */
static struct sent {
	uint32_t partition;
	struct buf body;
} sent[SENT_MAX];
static size_t sent_count, folded_count;

static struct told {
	char peer[32], reason[128];
	uint64_t number, code, version;
	int count;
} told;

static void
append(void *arg, uint32_t partition, struct bytes body)
{
	(void)arg;
	ck_assert_uint_lt(sent_count, SENT_MAX);
	sent[sent_count].partition = partition;
	sent[sent_count].body = (struct buf){ 0 };
	buf_add(&sent[sent_count++].body, body.data, body.len);
}

static void
answer(void *arg, const char *peer, const struct msg_changed *m)
{
	(void)arg;
	snprintf(told.peer, sizeof(told.peer), "%s", peer);
	snprintf(told.reason, sizeof(told.reason), "%.*s", (int)m->reason.len,
	    m->reason.len ? (const char *)m->reason.data : "");
	told.number = m->number;
	told.code = m->code;
	told.version = m->version;
	told.count++;
}

static const struct changes_spec spec = { append, answer };

static void
setup(void)
{
	make_dir();
	log_init("test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	ck_assert_int_eq(store_open(dir, 2, &store), 0);
	changes = changes_new(store, PARTITIONS, 100, &spec, NULL);
}

static void
teardown(void)
{
	changes_free(&changes);
	changes_free(&changes);
	store_close(&store);
	for (size_t i = 0; i < sent_count; i++)
		buf_fini(&sent[i].body);
	remove_dir();
}

/* --- --- */

static const char *actor = "test";

static uint64_t
ask_as(const char *peer, uint64_t number, const struct registry_object *o, bool create,
    uint64_t expected)
{
	struct buf body = { 0 };
	struct msg_change m = {
		.number = number, .actor = text(actor), .create = create, .expected = expected
	};
	int before = told.count;

	registry_encode(o, &body);
	m.body = buf_bytes(&body);
	changes_ask(changes, peer, &m, 1000 + (int64_t)number);
	buf_fini(&body);
	return told.count > before ? told.code : UINT64_MAX; /* UINT64_MAX: on its way */
}

static uint64_t numbers;

static uint64_t
ask(const struct registry_object *o, bool create, uint64_t expected)
{
	return ask_as("device-1", ++numbers, o, create, expected);
}

/* What the journal has and registry.db has not met. */
static void
fold_entry(size_t i)
{
	struct registry_object o;
	int err;

	ck_assert_int_eq(registry_decode(buf_bytes(&sent[i].body), &o, NULL), 0);
	err = store_apply(store, &o, buf_bytes(&sent[i].body));
	changes_folded(changes, sent[i].partition, buf_bytes(&sent[i].body), err);
}

static void
fold(void)
{
	const uint64_t cursors[2] = { 0, 0 };

	ck_assert_int_eq(store_begin(store), 0);
	while (folded_count < sent_count)
		fold_entry(folded_count++);
	ck_assert_int_eq(store_commit(store, cursors), 0);
	changes_committed(changes);
}

/* Asked, folded, answered. */
static uint64_t
change(const struct registry_object *o, bool create, uint64_t expected)
{
	int before = told.count;
	uint64_t code = ask(o, create, expected);

	if (code == UINT64_MAX) {
		fold();
		ck_assert_int_eq(told.count, before + 1);
		code = told.code;
	}
	ck_assert_uint_eq(told.number, numbers);
	ck_assert_uint_eq(changes_waiting(changes), 0);
	return code;
}

START_TEST(test_answered_when_it_is_there)
{
	struct registry_object d = device("gh-1", 77);

	ck_assert_uint_eq(ask(&d, true, 0), UINT64_MAX);
	ck_assert_uint_eq(changes_waiting(changes), 1);
	ck_assert_int_eq(store_begin(store), 0);
	fold_entry(0);
	ck_assert_int_eq(told.count, 0); /* met, and not yet in registry.db */
	store_rollback(store);
	changes_undone(changes);
	changes_committed(changes);
	ck_assert_int_eq(told.count, 0);
	fold();
	ck_assert_int_eq(told.count, 1);
	ck_assert(
	    told.code == CHANGE_DONE && told.version == 1 && strcmp(told.peer, "device-1") == 0);
	ck_assert_uint_eq(version_of(store, &d, NULL), 1); /* versions are the registry's to say */
}
END_TEST

START_TEST(test_devices)
{
	struct registry_object d = device("gh-1", 0), other = device("gh-2", 0);
	bool gone;

	ck_assert_uint_eq(change(&d, false, 0), CHANGE_NOT_FOUND);
	ck_assert_uint_eq(change(&d, true, 0), CHANGE_DONE);
	/* A repeat finds it as it is to be; another does not. */
	ck_assert_uint_eq(change(&d, true, 0), CHANGE_UNCHANGED);
	d.any.device.blocked = true;
	ck_assert_uint_eq(change(&d, true, 0), CHANGE_EXISTS);
	ck_assert_uint_eq(change(&d, false, 7), CHANGE_CONFLICT);
	ck_assert_uint_eq(told.version, 1);
	ck_assert_uint_eq(change(&d, false, 1), CHANGE_DONE);
	ck_assert_uint_eq(told.version, 2);
	ck_assert_uint_eq(change(&d, false, 1), CHANGE_UNCHANGED);
	/* Gone, and back. */
	d = device("gh-1", 0);
	d.any.device.removed = true;
	ck_assert_uint_eq(change(&d, false, 0), CHANGE_DONE);
	ck_assert_uint_eq(change(&d, false, 0), CHANGE_UNCHANGED);
	d.any.device.erase = true;
	ck_assert_uint_eq(
	    change(&d, false, 0), CHANGE_DONE); /* removed before; now its history goes too */
	ck_assert_uint_eq(change(&d, false, 0), CHANGE_UNCHANGED);
	ck_assert_uint_eq(version_of(store, &d, &gone), 4);
	ck_assert(gone);
	d = device("gh-1", 0);
	ck_assert_uint_eq(change(&d, false, 0), CHANGE_NOT_FOUND);
	ck_assert_uint_eq(change(&d, true, 0), CHANGE_DONE);
	ck_assert_uint_eq(told.version, 5);
	/* What was never registered has a history all the same. */
	other.any.device.removed = true;
	ck_assert_uint_eq(change(&other, false, 0), CHANGE_NOT_FOUND);
	other.any.device.erase = true;
	ck_assert_uint_eq(change(&other, false, 0), CHANGE_DONE);
	other = device("a/b", 0);
	ck_assert_uint_eq(change(&other, true, 0), CHANGE_INVALID);
	ck_assert_str_eq(told.reason, "the device id contains + # or /");
	other = device("gh-3", 0);
	actor = "\x1b[2J";
	ck_assert_uint_eq(change(&other, true, 0), CHANGE_INVALID);
	actor = "test";
}
END_TEST

START_TEST(test_credentials)
{
	struct registry_object a = device("a", 0), b = device("b", 0),
			       t = token("t", "a", 0, false), mine = token("t", "b", 0, false),
			       gone = token("t", "a", 0, true);

	ck_assert_uint_eq(change(&t, true, 0), CHANGE_NOT_FOUND);
	ck_assert_uint_eq(change(&a, true, 0), CHANGE_DONE);
	ck_assert_uint_eq(change(&b, true, 0), CHANGE_DONE);
	ck_assert_uint_eq(change(&gone, false, 0), CHANGE_NOT_FOUND);
	ck_assert_uint_eq(change(&t, false, 0), CHANGE_NOT_FOUND);
	ck_assert_uint_eq(change(&t, true, 0), CHANGE_DONE);
	ck_assert_uint_eq(change(&t, true, 0), CHANGE_UNCHANGED);
	ck_assert_uint_eq(change(&mine, true, 0), CHANGE_EXISTS);
	ck_assert_uint_eq(change(&mine, false, 0), CHANGE_EXISTS);
	ck_assert_uint_eq(change(&gone, false, 1), CHANGE_DONE);
	ck_assert_uint_eq(change(&gone, false, 0), CHANGE_UNCHANGED);
	ck_assert_uint_eq(change(&mine, true, 0), CHANGE_DONE); /* nobody's any more */
	ck_assert_uint_eq(told.version, 3);
}
END_TEST

/* A device goes, and before it all that lets it in: what registry.db has, and what is on its way. */
START_TEST(test_removal_revokes)
{
	struct registry_object d = device("a", 0), one = token("one", "a", 0, false),
			       two = token("two", "a", 0, false), other = device("b", 0),
			       third = token("three", "b", 0, false), last;
	bool gone = false;

	change(&d, true, 0);
	change(&other, true, 0);
	change(&one, true, 0);
	change(&third, true, 0);
	ck_assert_uint_eq(ask(&two, true, 0), UINT64_MAX);
	d.any.device.removed = true;
	ck_assert_uint_eq(ask(&d, false, 0), UINT64_MAX);
	ck_assert_uint_eq(changes_waiting(changes), 4);
	ck_assert_int_eq(registry_decode(buf_bytes(&sent[sent_count - 1].body), &last, NULL), 0);
	ck_assert(last.type == MSG_DEVICE);
	two = token("four", "a", 0, false);
	ck_assert_uint_eq(
	    ask(&two, true, 0), CHANGE_NOT_FOUND); /* it is gone, as far as anybody may know */
	fold();
	ck_assert(version_of(store, &one, &gone) == 2 && gone);
	two = token("two", "a", 0, false);
	ck_assert(version_of(store, &two, &gone) == 2 && gone);
	ck_assert(version_of(store, &third, &gone) == 1 && !gone);
	ck_assert_uint_eq(store_credentials(store), 1);
}
END_TEST

/* Changes of one object follow one another though none is durable yet. */
START_TEST(test_under_way)
{
	struct registry_object d = device("a", 0), t = token("t", "a", 0, false),
			       a = attribute("a", "x", "1", 0);

	ck_assert_uint_eq(ask_as("device-1", 1, &d, true, 0), UINT64_MAX);
	ck_assert_uint_eq(
	    ask_as("device-1", 1, &d, true, 0), UINT64_MAX); /* asked again: nothing more */
	ck_assert_uint_eq(sent_count, 1);
	ck_assert_uint_eq(ask_as("device-2", 1, &d, true, 0), CHANGE_BUSY);
	ck_assert_uint_eq(ask_as("device-1", 2, &t, true, 0), UINT64_MAX);
	ck_assert_uint_eq(ask_as("device-1", 3, &a, false, 0), UINT64_MAX);
	d.any.device.blocked = true;
	ck_assert_uint_eq(ask_as("device-1", 4, &d, false, 1), UINT64_MAX);
	d.any.device.blocked = false;
	ck_assert_uint_eq(ask_as("device-1", 5, &d, false, 1), CHANGE_CONFLICT);
	ck_assert_uint_eq(ask_as("device-1", 6, &d, false, 2), UINT64_MAX);
	fold();
	ck_assert_uint_eq(told.number, 6);
	ck_assert_uint_eq(version_of(store, &d, NULL), 3);
	ck_assert_uint_eq(version_of(store, &a, NULL), 1);
	a = attribute("b", "x", "1", 0);
	ck_assert_uint_eq(ask(&a, false, 0), CHANGE_NOT_FOUND);
}
END_TEST

/* Another registry wrote the same version first: the journal decides, and ours is a conflict. */
START_TEST(test_another_was_first)
{
	struct registry_object d = device("a", 0), theirs = device("a", 1);
	const uint64_t cursors[2] = { 0, 0 };
	struct buf body = { 0 };

	theirs.any.device.profile = text("theirs");
	registry_encode(&theirs, &body);
	ck_assert_uint_eq(ask(&d, true, 0), UINT64_MAX);
	ck_assert_int_eq(store_begin(store), 0);
	changes_folded(changes, sent[0].partition, buf_bytes(&body),
	    store_apply(store, &theirs, buf_bytes(&body)));
	changes_folded(changes, PARTITIONS, buf_bytes(&body), 0);
	ck_assert_int_eq(store_commit(store, cursors), 0);
	changes_committed(changes);
	ck_assert_int_eq(told.count, 0);
	fold();
	ck_assert_uint_eq(told.code, CHANGE_CONFLICT);
	/* A stream that had to be begun again brings ours once more. */
	folded_count = 0;
	fold();
	ck_assert_int_eq(told.count, 1);
	buf_fini(&body);
}
END_TEST

START_TEST(test_bounds)
{
	struct registry_object d, t;
	char id[16];

	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "d%d", i);
		d = device(id, 0);
		ck_assert_uint_eq(ask(&d, true, 0), UINT64_MAX);
	}
	d = device("one-more", 0);
	ck_assert_uint_eq(ask(&d, true, 0), CHANGE_FULL);
	fold();
	ck_assert_uint_eq(ask(&d, true, 0), CHANGE_FULL);
	for (int i = 0; i < CHANGES_CREDENTIALS_MAX; i++) {
		snprintf(id, sizeof(id), "t%d", i);
		t = token(id, "d1", 0, false);
		ck_assert_uint_eq(change(&t, true, 0), CHANGE_DONE);
	}
	t = token("one-more", "d1", 0, false);
	ck_assert_uint_eq(change(&t, true, 0), CHANGE_FULL);
	for (int i = 0; i < CHANGES_MAX; i++) {
		d = device("d2", 0);
		d.any.device.blocked = i % 2 == 0;
		ck_assert_uint_eq(ask(&d, false, 0), UINT64_MAX);
	}
	ck_assert_uint_eq(ask(&d, false, 0), CHANGE_BUSY);
	fold();
	ck_assert_uint_eq(changes_waiting(changes), 0);
	d = device("d1", 0);
	d.any.device.removed = true;
	ck_assert_uint_eq(change(&d, false, 0), CHANGE_DONE);
	ck_assert_uint_eq(store_credentials(store), 0);
}
END_TEST

UNIT_MAIN_IN("changes", setup, teardown, test_answered_when_it_is_there, test_devices,
    test_credentials, test_removal_revokes, test_under_way, test_another_was_first, test_bounds)
