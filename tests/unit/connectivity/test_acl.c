/* test_acl.c - which topics a client may publish and subscribe to: cases, faults of the text, and a million decisions against
 * an oracle that looks at every topic there is */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"
#include "err.h"
#include "mem.h"
#include "../unit.h"

static struct acl *
parsed(const char *text)
{
	struct buf err = { 0 };
	struct acl *acl = NULL;

	ck_assert_msg(
	    acl_parse(bytes_of_str(text), "acl.yaml", &acl, &err) == 0, "%s", buf_str(&err));
	buf_fini(&err);
	return acl;
}

static struct acl_who
who_of(const char *roles)
{
	return (struct acl_who){ .client = bytes_of_str("cl"),
		.user = bytes_of_str("us"),
		.device = bytes_of_str("gh-1"),
		.roles = bytes_of_str(roles) };
}

/* --- cases --- */

static const char text[] =
    "version: 1\n"
    "roles:\n"
    "  reader:\n"
    "    - { deny: subscribe, topic: 'secret/#' }\n"
    "    - { allow: subscribe, topic: ['a/+/c', 'b/#', 'x/%u/+', 'c-%c-%d/x', '100%%/+'] }\n"
    "  writer:\n"
    "    - { allow: publish, topic: 'b/#' }\n"
    "    - allow: both\n"
    "      topic: secret/#\n"
    "  all:\n"
    "    - { deny: both, topic: 'b/x/#' }\n"
    "    - { allow: both, topic: '#' }\n"
    "  wide:\n"
    "    - { allow: subscribe, topic: '+/#' }\n"
    "    - { allow: subscribe, topic: '$SYS/#' }\n"
    "  gw:\n"
    "    - { allow: publish, topic: '%g/x' }\n"
    "    - { deny: subscribe, topic: 'p/%g/x' }\n"
    "    - { allow: subscribe, topic: 'p/#' }\n";

static const struct {
	const char *roles;
	enum acl_right right;
	const char *what;
	bool want;
} cases[] = {
	{ "", ACL_PUBLISH, "a", false },
	{ "nobody", ACL_PUBLISH, "a", false },
	{ "reader", ACL_SUBSCRIBE, "a/b/c", true },
	{ "reader", ACL_SUBSCRIBE, "a/+/c", true },
	{ "reader", ACL_SUBSCRIBE, "a//c", true },
	{ "reader", ACL_SUBSCRIBE, "a/+/+", false },
	{ "reader", ACL_SUBSCRIBE, "a/#", false },
	{ "reader", ACL_SUBSCRIBE, "+/b/c", false },
	{ "reader", ACL_PUBLISH, "a/b/c", false },
	{ "reader", ACL_SUBSCRIBE, "b", true },
	{ "reader", ACL_SUBSCRIBE, "b/#", true },
	{ "reader", ACL_SUBSCRIBE, "b/+/x/#", true },
	{ "reader", ACL_SUBSCRIBE, "bb", false },
	{ "reader", ACL_SUBSCRIBE, "x/us/y", true },
	{ "reader", ACL_SUBSCRIBE, "x/us/+", true },
	{ "reader", ACL_SUBSCRIBE, "x/uz/y", false },
	{ "reader", ACL_SUBSCRIBE, "x/+/y", false },
	{ "reader", ACL_SUBSCRIBE, "c-cl-gh-1/x", true },
	{ "reader", ACL_SUBSCRIBE, "c-cl-gh-12/x", false },
	{ "reader", ACL_SUBSCRIBE, "c-cl-gh-/x", false },
	{ "reader", ACL_SUBSCRIBE, "100%/a", true },
	{ "reader", ACL_SUBSCRIBE, "100%%/a", false },
	{ "reader", ACL_SUBSCRIBE, "secret", false },
	{ "reader,writer", ACL_SUBSCRIBE, "secret/x", false },
	{ "writer,reader", ACL_SUBSCRIBE, "secret/x", true },
	{ "reader,writer", ACL_PUBLISH, "secret/x", true },
	{ "nobody,writer", ACL_PUBLISH, "b/z", true },
	{ "all", ACL_SUBSCRIBE, "#", false },
	{ "all", ACL_SUBSCRIBE, "b/#", false },
	{ "all", ACL_SUBSCRIBE, "b/+", false },
	{ "all", ACL_SUBSCRIBE, "b/y", true },
	{ "all", ACL_SUBSCRIBE, "+/y", true },
	{ "all", ACL_SUBSCRIBE, "+/+/+", false },
	{ "all", ACL_PUBLISH, "b/x/1", false },
	{ "all", ACL_PUBLISH, "$SYS/x", false },
	{ "wide", ACL_SUBSCRIBE, "#", true },
	{ "wide", ACL_SUBSCRIBE, "+", true },
	{ "wide", ACL_SUBSCRIBE, "$SYS/broker", true },
	{ "wide", ACL_SUBSCRIBE, "$other/x", false },
	{ "gw", ACL_PUBLISH, "gw-2/x", true },
	{ "gw", ACL_PUBLISH, "gh-1/x", false },
	{ "gw", ACL_SUBSCRIBE, "p/gw-2/x", false },
	{ "gw", ACL_SUBSCRIBE, "p/+/x", false },
	{ "gw", ACL_SUBSCRIBE, "p/#", false },
	{ "gw", ACL_SUBSCRIBE, "p/z/#", true },
};

START_TEST(test_cases)
{
	struct acl *acl = parsed(text);

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct acl_who who = who_of(cases[i].roles);

		who.speaks_for = bytes_of_str("gw-*");
		ck_assert_msg(acl_may(acl, &who, cases[i].right, bytes_of_str(cases[i].what)) ==
				  cases[i].want,
		    "%s %d %s", cases[i].roles, cases[i].right, cases[i].what);
	}
	ck_assert(
	    acl_has_role(acl, bytes_of_str("gw")) && acl_has_role(acl, bytes_of_str("device")));
	ck_assert(!acl_has_role(acl, bytes_of_str("g")));
	acl_free(&acl);
	acl_free(&acl);
}
END_TEST

/* Values that would be more than themselves match nothing. */
START_TEST(test_values)
{
	static const char *const values[] = { "", "a/b", "+", "#", "a+", "$SYS" };
	struct acl *acl =
	    parsed("version: 1\nroles: { r: [{ allow: both, topic: ['%u/x', 'v/%u'] },"
		   " { deny: both, topic: '%c' }, { allow: both, topic: '#' }] }");

	for (size_t i = 0; i < COUNT_OF(values); i++) {
		struct acl_who who = { .user = bytes_of_str(values[i]),
			.roles = bytes_of_str("r"),
			.client = bytes_of_str(values[i]) };
		char topic[64];

		snprintf(topic, sizeof(topic), "%s/x", values[i]);
		ck_assert(
		    acl_may(acl, &who, ACL_PUBLISH, bytes_of_str(topic)) == (values[i][0] != '$'));
		ck_assert(acl_may(acl, &who, ACL_SUBSCRIBE, bytes_of_str("+")));
	}
	acl_free(&acl);
}
END_TEST

START_TEST(test_device)
{
	static const struct {
		const char *what;
		bool device, gateway;
	} topics[] = {
		{ "roost/gh-1/telemetry", true, true },
		{ "roost/gh-1/#", true, true },
		{ "roost/gh-1", true, true },
		{ "roost/gh-2/telemetry", false, false },
		{ "roost/gw-7/telemetry", false, true },
		{ "roost/+/telemetry", false, false },
		{ "roost/#", false, false },
		{ "#", false, false },
		{ "v1/devices/me/telemetry", true, true },
		{ "v1/devices/me/rpc/request/+", true, true },
		{ "v1/gateway/telemetry", false, true },
		{ "response/cl/1", true, true },
		{ "response/other/1", false, false },
		{ "chat", false, false },
	};
	struct acl *acl = parsed("");
	struct acl_who who = who_of("");

	for (size_t i = 0; i < COUNT_OF(topics); i++) {
		who.is_device = false;
		who.speaks_for = (struct bytes){ 0 };
		ck_assert(!acl_may(acl, &who, ACL_SUBSCRIBE, bytes_of_str(topics[i].what)));
		who.is_device = true;
		ck_assert_msg(acl_may(acl, &who, ACL_SUBSCRIBE, bytes_of_str(topics[i].what)) ==
				  topics[i].device,
		    "%s", topics[i].what);
		who.speaks_for = bytes_of_str("gw-*\nother");
		ck_assert_msg(acl_may(acl, &who, ACL_SUBSCRIBE, bytes_of_str(topics[i].what)) ==
				  topics[i].gateway,
		    "%s", topics[i].what);
	}
	acl_free(&acl);
	acl = parsed("version: 1\nroles:\n  device:\n    - { allow: publish, topic: up/%d }\n");
	who.speaks_for = (struct bytes){ 0 };
	ck_assert(acl_may(acl, &who, ACL_PUBLISH, bytes_of_str("up/gh-1")));
	ck_assert(!acl_may(acl, &who, ACL_PUBLISH, bytes_of_str("roost/gh-1/telemetry")));
	acl_free(&acl);
}
END_TEST

/* --- faults --- */

static const struct {
	const char *text;
	const char *want;
} faults[] = {
	{ "roles: {}", "acl.yaml:1:1: version: 1 is missing" },
	{ "version: 2", "acl.yaml:1:10: this release reads version 1, not \"2\"" },
	{ "- a", "acl.yaml:1:1: version and roles are wanted" },
	{ "version: 1\nrules: {}",
	    "acl.yaml:2:1: unknown key; there are version and roles: \"rules\"" },
	{ "version: 1\nversion: 1", "acl.yaml:2:1: given twice: \"version\"" },
	{ "version: 1\nroles: [a]", "acl.yaml:2:8: roles are names, each with a list of lines" },
	{ "version: 1\nroles:\n  a: b", "acl.yaml:3:6: a role is a list of lines" },
	{ "version: 1\nroles:\n  a: []\n  a: []", "acl.yaml:4:3: given twice: \"a\"" },
	{ "version: 1\nroles:\n  a b: []",
	    "acl.yaml:3:3: this cannot be the name of a role: \"a b\"" },
	{ "version: 1\nroles:\n  a:\n    - allow",
	    "acl.yaml:4:7: a line is { allow: publish, topic: \"a/b\" }" },
	{ "version: 1\nroles:\n  a:\n    - { topic: x }",
	    "acl.yaml:4:7: a line has neither allow nor deny" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both }", "acl.yaml:4:7: a line has no topic" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: # }\n }",
	    "acl.yaml:5:2: a topic is wanted; one with # stands in quotes" },
	{ "version: 1\nroles:\n  a:\n    - { allow: all, topic: x }",
	    "acl.yaml:4:16: neither publish, subscribe nor both: \"all\"" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, deny: both, topic: x }",
	    "acl.yaml:4:22: a line has one of allow and deny, once" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: x, topic: y }",
	    "acl.yaml:4:32: given twice: \"topic\"" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: x, qos: 1 }",
	    "acl.yaml:4:32: unknown key; there are allow, deny, topic, gateway: \"qos\"" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: x, gateway: 1 }",
	    "acl.yaml:4:41: neither true nor false: \"1\"" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: [x, 'a/#/b'] }",
	    "acl.yaml:4:33: it is no filter of MQTT: + and # are whole levels, # is the last one "
	    "\"a/#/b\"" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: a/%x }",
	    "acl.yaml:4:29: % is followed by c, u, d, g or % \"a/%x\"" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: a% }",
	    "acl.yaml:4:29: % is followed by c, u, d, g or % \"a%\"" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: x-%g/a }",
	    "acl.yaml:4:29: %g is a whole level \"x-%g/a\"" },
	{ "version: 1\nroles:\n  a:\n    - { allow: both, topic: $share/g/a }",
	    "acl.yaml:4:29: the filter of a shared subscription is written without $share and "
	    "group \"$share/g/a\"" },
	{ "version: 1\n---\nversion: 1", "acl.yaml:3:1: there is a second document" },
	{ "version: [", "acl.yaml:2:1: did not find expected node content" },
	{ "version: 1\nroles:\n  a:\n    - { allow: x, topic: y }\n    - { deny: z, topic: y }",
	    "acl.yaml:4:16: neither publish, subscribe nor both: \"x\"\nacl.yaml:5:15: neither "
	    "publish, subscribe nor both: \"z\"" },
};

START_TEST(test_faults)
{
	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		struct acl *acl = NULL;
		struct buf err = { 0 };

		ck_assert_int_eq(
		    acl_parse(bytes_of_str(faults[i].text), "acl.yaml", &acl, &err), ERR_CONFIG);
		ck_assert_ptr_null(acl);
		ck_assert_str_eq(buf_str(&err), faults[i].want);
		buf_fini(&err);
	}
}
END_TEST

START_TEST(test_bounds)
{
	struct buf big = { 0 }, err = { 0 };
	struct acl *acl = NULL;

	buf_add_str(&big, "version: 1\nroles:\n  a:\n    - allow: both\n      topic:\n");
	for (int i = 0; i <= ACL_LINES_MAX; i++)
		buf_add_str(&big, "       - a\n");
	ck_assert_int_eq(acl_parse(buf_bytes(&big), "acl.yaml", &acl, &err), ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(buf_str(&err), "more than 20000 topics"));
	while (big.len <= ACL_TEXT_MAX)
		buf_add_str(&big, "       - a\n");
	buf_clear(&err);
	ck_assert_int_eq(acl_parse(buf_bytes(&big), "acl.yaml", &acl, &err), ERR_CONFIG);
	ck_assert_ptr_nonnull(strstr(buf_str(&err), "larger than 1 MiB"));
	buf_fini(&big);
	buf_fini(&err);
}
END_TEST

/* --- the oracle --- */

/* All topics of up to four levels out of these. z stands in no pattern. ? stands for the words that only values make (aab), one
 * pattern at a time, and in no filter. */
static const char *const words[] = { "a", "b", "ab", "", "$x", "z", "?" };
#define WORDS 7u
#define ASKED 6u   /* that stand in filters */
#define SPELLED 5u /* that stand in patterns */
#define PLUS WORDS
#define HASH (WORDS + 1)
#define CODES (WORDS + 2)
#define DEPTH_MAX 4u
#define TOPICS (7u + 49 + 343 + 2401)
#define FILTERS (CODES * CODES * CODES * CODES)

struct path {
	unsigned n;
	unsigned code[DEPTH_MAX];
};

static struct path topics[TOPICS];
static uint64_t *sets[FILTERS]; /* which topics a filter matches, once it was asked for */
#define SET_WORDS (TOPICS / 64 + 1)

static uint64_t seed = 88172645463325252u;

static unsigned
pick(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % n);
}

/* MQTT 4.7, level by level. */
static bool
matches(const struct path *f, unsigned i, const struct path *t, unsigned k)
{
	if (i == f->n)
		return k == t->n;
	if (f->code[i] == HASH)
		return !(i == 0 && words[t->code[0]][0] == '$');
	if (k == t->n)
		return false;
	if (f->code[i] == PLUS)
		return !(i == 0 && words[t->code[0]][0] == '$') && matches(f, i + 1, t, k + 1);
	return f->code[i] == t->code[k] && matches(f, i + 1, t, k + 1);
}

static const uint64_t *
set_of(const struct path *f)
{
	unsigned index = 0;

	for (unsigned i = 0; i < DEPTH_MAX; i++)
		index = index * CODES + (i < f->n ? f->code[i] : HASH);
	/* a and a/# are two: those that end in # are kept apart by their length. */
	if (f->n && f->code[f->n - 1] == HASH) {
		static uint64_t *open[DEPTH_MAX + 1][FILTERS];

		if (!open[f->n][index]) {
			open[f->n][index] = xcalloc(SET_WORDS, sizeof(uint64_t));
			for (unsigned i = 0; i < TOPICS; i++)
				if (matches(f, 0, &topics[i], 0))
					open[f->n][index][i / 64] |= 1ull << i % 64;
		}
		return open[f->n][index];
	}
	if (!sets[index]) {
		sets[index] = xcalloc(SET_WORDS, sizeof(uint64_t));
		for (unsigned i = 0; i < TOPICS; i++)
			if (matches(f, 0, &topics[i], 0))
				sets[index][i / 64] |= 1ull << i % 64;
	}
	return sets[index];
}

static void
all_topics(void)
{
	unsigned at = 0;

	for (unsigned n = 1, many = WORDS; n <= DEPTH_MAX; n++, many *= WORDS)
		for (unsigned i = 0; i < many; i++) {
			unsigned rest = i;

			topics[at].n = n;
			for (unsigned k = 0; k < n; k++, rest /= WORDS)
				topics[at].code[k] = rest % WORDS;
			at++;
		}
	ck_assert_uint_eq(at, TOPICS);
}

/* Three levels at most, so that four tell what # matches below. */
static struct path
random_filter(unsigned literals)
{
	struct path f = { .n = 1 + pick(3) };

	for (unsigned i = 0; i < f.n; i++)
		f.code[i] = pick(4) ? pick(literals) : PLUS;
	if (pick(4) == 0)
		f.code[f.n - 1] = HASH;
	return f;
}

static void
put_path(struct buf *out, const struct path *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		if (i)
			buf_add_u8(out, '/');
		buf_add_str(out, f->code[i] == HASH   ? "#"
				 : f->code[i] == PLUS ? "+"
						      : words[f->code[i]]);
	}
}

#define LINES 5
struct line {
	bool allow;
	unsigned rights;
	unsigned n;
	struct {
		unsigned code;
		char letter; /* c, u, d: the level is its value, or a before it */
		bool part;
	} level[3];
};

struct role {
	unsigned n;
	struct line line[LINES];
};

/* A value that stands for one of the words; else for none. */
static const char *const values[] = { "a", "b", "ab", "", "$x", "a/b", "+", "#" };

static unsigned
word_of(const char *s)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (strcmp(words[i], s) == 0)
			return i;
	return WORDS - 1;
}

/* The line's pattern with the values put in; false: it matches nothing. */
static bool
expand(const struct line *l, const unsigned value[3], struct path *ret)
{
	ret->n = l->n;
	for (unsigned i = 0; i < l->n; i++) {
		char joined[16];
		const char *v;

		ret->code[i] = l->level[i].code;
		if (!l->level[i].letter)
			continue;
		v = values[value[l->level[i].letter == 'c'   ? 0
				 : l->level[i].letter == 'u' ? 1
							     : 2]];
		if (!v[0] || strpbrk(v, "/+#") || (i == 0 && !l->level[i].part && v[0] == '$'))
			return false;
		snprintf(joined, sizeof(joined), "%s%s", l->level[i].part ? "a" : "", v);
		ret->code[i] = word_of(joined);
	}
	return true;
}

static bool
oracle(const struct role *const *roles, unsigned count, const unsigned value[3], unsigned right,
    const struct path *what)
{
	const uint64_t *wanted = set_of(what);

	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; k < roles[i]->n; k++) {
			const struct line *l = &roles[i]->line[k];
			bool all = true, any = false;
			struct path pattern;

			if (!(l->rights & right) || !expand(l, value, &pattern))
				continue;
			for (unsigned w = 0; w < SET_WORDS; w++) {
				uint64_t has = set_of(&pattern)[w];

				all = all && (wanted[w] & ~has) == 0;
				any = any || (wanted[w] & has) != 0;
			}
			if (l->allow ? all : any)
				return l->allow;
		}
	return false;
}

static void
random_role(struct role *r, const char *name, struct buf *out)
{
	static const char *const rights[] = { "", "publish", "subscribe", "both" };

	r->n = 1 + pick(LINES);
	buf_addf(out, "  %s:\n", name);
	for (unsigned i = 0; i < r->n; i++) {
		struct line *l = &r->line[i];
		struct path f = random_filter(SPELLED);

		l->allow = pick(3) != 0;
		l->rights = 1 + pick(3);
		l->n = f.n;
		buf_addf(out, "    - %s: %s\n      topic: '", l->allow ? "allow" : "deny",
		    rights[l->rights]);
		for (unsigned k = 0; k < f.n; k++) {
			l->level[k].code = f.code[k];
			l->level[k].letter = f.code[k] < WORDS && pick(4) == 0 ? "cud"[pick(3)] : 0;
			l->level[k].part = l->level[k].letter && pick(3) == 0;
			if (k)
				buf_add_u8(out, '/');
			if (l->level[k].letter)
				buf_addf(
				    out, "%s%%%c", l->level[k].part ? "a" : "", l->level[k].letter);
			else
				put_path(out, &(struct path){ .n = 1, .code = { f.code[k] } });
		}
		buf_add_str(out, "'\n");
	}
}

/* A single empty level is no pattern and no topic. */
static bool
is_nothing(const struct path *f)
{
	return f->n == 1 && f->code[0] < WORDS && words[f->code[0]][0] == '\0';
}

static bool
has_nothing(const struct role *r)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->line[i].n == 1 && !r->line[i].level[0].letter &&
		    is_nothing(&(struct path){ .n = 1, .code = { r->line[i].level[0].code } }))
			return true;
	return false;
}

static const char *shown; /* the text of the roles */

static void
ask(const struct acl *acl, const struct role *roles, unsigned *ret_allowed)
{
	static const char *const names[] = { "r0", "r1", "r0,r1", "r1,none,r0" };
	const struct role *lists[][2] = { { &roles[0] }, { &roles[1] }, { &roles[0], &roles[1] },
		{ &roles[1], &roles[0] } };
	static const unsigned counts[] = { 1, 1, 2, 2 };
	unsigned value[3] = { pick(COUNT_OF(values)), pick(COUNT_OF(values)),
		pick(COUNT_OF(values)) };
	unsigned list = pick(4), right = 1 + pick(2);
	struct path what = random_filter(ASKED);
	struct acl_who who = { .client = bytes_of_str(values[value[0]]),
		.user = bytes_of_str(values[value[1]]),
		.device = bytes_of_str(values[value[2]]),
		.roles = bytes_of_str(names[list]) };
	static struct buf out;
	bool want, got;

	if (is_nothing(&what))
		what.code[0] = 0;
	for (unsigned i = 0; right == ACL_PUBLISH && i < what.n; i++)
		if (what.code[i] >= WORDS)
			what.code[i] = pick(3);
	buf_clear(&out);
	put_path(&out, &what);
	want = oracle(lists[list], counts[list], value, right, &what);
	got = acl_may(acl, &who, (enum acl_right)right, buf_bytes(&out));
	ck_assert_msg(got == want,
	    "%s: %s, wanted %s; client %s, user %s, device %s, right %u, roles %s of\n%s",
	    buf_str(&out), got ? "allowed" : "refused", want ? "allowed" : "refused",
	    values[value[0]], values[value[1]], values[value[2]], right, names[list], shown);
	*ret_allowed += got;
}

START_TEST(test_oracle)
{
	unsigned asked = 0, allowed = 0;

	all_topics();
	while (asked < 1000000) {
		struct role roles[2];
		struct buf out = { 0 };
		struct acl *acl;

		buf_add_str(&out, "version: 1\nroles:\n");
		random_role(&roles[0], "r0", &out);
		random_role(&roles[1], "r1", &out);
		if (!has_nothing(&roles[0]) && !has_nothing(&roles[1])) {
			acl = parsed(buf_str(&out));
			shown = buf_str(&out);
			for (int i = 0; i < 500; i++, asked++)
				ask(acl, roles, &allowed);
			acl_free(&acl);
		}
		buf_fini(&out);
	}
	/* Both are common. */
	ck_assert_uint_gt(allowed, 100000);
	ck_assert_uint_lt(allowed, 900000);
}
END_TEST

UNIT_MAIN("acl", test_cases, test_values, test_device, test_faults, test_bounds, test_oracle)
