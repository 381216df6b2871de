/* orphan.c - alerts that fire by the journal and that nothing computes any more; pure */
#include "orphan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "mem.h"

#define BUCKETS 4096 /* a power of two */

struct firing {
	struct firing *next;	/* in its bucket */
	struct firing *younger; /* in the order of the journal */
	char alert_id[ALERT_ID_MAX];
	bool known;
	struct buf last; /* encoded; empty: known, or cleared */
};

struct orphans {
	struct firing *buckets[BUCKETS];
	struct firing *oldest, **end;
	size_t firings;
	size_t count;
	bool full;
};

struct orphans *
orphans_new(void)
{
	struct orphans *o = xcalloc(1, sizeof(*o));

	o->end = &o->oldest;
	return o;
}

void
orphans_free(struct orphans **p_o)
{
	struct orphans *o = *p_o;
	struct firing *f, *younger;

	*p_o = NULL;
	for (f = o ? o->oldest : NULL; f; f = younger) {
		younger = f->younger;
		buf_fini(&f->last);
		free(f);
	}
	free(o);
}

/* NULL: there are too many. */
static struct firing *
get(struct orphans *o, struct bytes alert_id)
{
	struct firing **bucket, *f;

	if (alert_id.len >= ALERT_ID_MAX)
		return NULL;
	bucket = &o->buckets[XXH3_64bits(alert_id.data, alert_id.len) & (BUCKETS - 1)];
	for (f = *bucket; f; f = f->next) {
		if (bytes_equal_str(alert_id, f->alert_id))
			return f;
	}
	o->full |= o->firings == ORPHANS_MAX;
	if (o->full)
		return NULL;
	o->firings++;
	f = xcalloc(1, sizeof(*f));
	memcpy(f->alert_id, alert_id.data, alert_id.len);
	f->next = *bucket;
	*bucket = f;
	*o->end = f;
	o->end = &f->younger;
	return f;
}

static void
forget_last(struct orphans *o, struct firing *f)
{
	o->count -= f->last.len > 0;
	buf_fini(&f->last);
}

void
orphans_known(struct orphans *o, const char *alert_id)
{
	struct firing *f = get(o, bytes_of_str(alert_id));

	if (f == NULL)
		return;
	f->known = true;
	forget_last(o, f);
}

void
orphans_seen(struct orphans *o, const struct msg_alert *m)
{
	struct firing *f = get(o, m->alert_id);

	if (f == NULL || f->known)
		return;
	forget_last(o, f);
	if (m->state != ALERT_FIRING)
		return;
	codec_encode(MSG_ALERT, m, &f->last);
	o->count++;
}

size_t
orphans_count(const struct orphans *o)
{
	return o->full ? 0 : o->count;
}

int
orphans_each(struct orphans *o, void (*fn)(void *arg, const struct msg_alert *last), void *arg)
{
	enum msg_type type;
	union msg_any any;

	if (o->full)
		return ERR_FULL;
	for (struct firing *f = o->oldest; f; f = f->younger) {
		if (f->last.len && codec_decode(buf_bytes(&f->last), &type, &any) == 0)
			fn(arg, &any.alert);
	}
	return 0;
}

void
orphan_cleared_id(struct bytes last_id, char ret_id[ALERT_ID_MAX])
{
	static const char what[] = "cleared as an orphan: ";
	struct buf text = { 0 };
	XXH128_hash_t h;

	buf_add_str(&text, what);
	buf_add(&text, last_id.data, last_id.len);
	h = XXH3_128bits(text.data, text.len);
	snprintf(ret_id, ALERT_ID_MAX, "%016llx%016llx", (unsigned long long)h.high64,
	    (unsigned long long)h.low64);
	buf_fini(&text);
}
