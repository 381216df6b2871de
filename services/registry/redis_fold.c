/* redis_fold.c - Redis kept as registry.db is */
#include "redis_fold.h"

#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "registry_state.h"

#define PORTION_MAX 256
/* Without changes an empty portion goes this often: it finds out about FLUSHALL. */
#define LOOK_US 1000000

struct redis_fold {
	struct worker *w;
	struct store *store;
	struct registry_state *state;
	bool up;
	bool busy;
	uint64_t upto; /* Redis has all up to here */
	uint64_t sent; /* with the portion under way */
	int64_t look_at;
};

static void
on_up(void *arg, uint64_t upto)
{
	struct redis_fold *f = arg;

	/* registry.db comes from a backup and is older than Redis. */
	if (upto > store_last(f->store)) {
		registry_state_begin_anew(f->state);
		return;
	}
	f->up = true;
	f->busy = false;
	f->upto = upto;
	f->look_at = 0;
	if (f->upto == 0)
		metric_add(M_REGISTRY_REDIS_ANEW, 1);
	log_info("registry.redis", LU("upto", f->upto), LU("of", store_last(f->store)));
}

static void
on_down(void *arg)
{
	((struct redis_fold *)arg)->up = false;
}

static void
on_committed(void *arg)
{
	struct redis_fold *f = arg;

	f->busy = false;
	f->upto = f->sent;
}

static const struct registry_state_events events = { on_up, on_down, on_committed };

int
redis_fold_new(struct worker *w, struct store *store, struct redis_fold **ret_fold)
{
	struct redis_fold *f = xcalloc(1, sizeof(*f));
	int err;

	f->w = w;
	f->store = store;
	err = registry_state_new(w->loop, settings_str(w->settings, SET_REDIS_URL), w->data_dir,
	    store_id(store), w->life, &events, f, &f->state);
	if (err != 0)
		free(f);
	else
		*ret_fold = f;
	return err;
}

void
redis_fold_free(struct redis_fold **p_f)
{
	struct redis_fold *f = *p_f;

	if (f == NULL)
		return;
	*p_f = NULL;
	registry_state_free(&f->state);
	free(f);
}

static int
put_change(void *arg, uint64_t n, struct bytes body)
{
	struct redis_fold *f = arg;
	struct registry_object o;

	f->sent = n;
	if (registry_decode(body, &o, NULL) == 0)
		registry_state_put(f->state, &o, body);
	return 0;
}

void
redis_fold_run(struct redis_fold *f)
{
	uint64_t last = store_last(f->store);
	int64_t now = loop_now_us(f->w->loop);

	if (!f->up || f->busy || (f->upto == last && now < f->look_at))
		return;
	f->sent = f->upto;
	if (f->upto < last && store_changes(f->store, f->upto, PORTION_MAX, put_change, f) != 0)
		return;
	f->busy = true;
	f->look_at = now + LOOK_US;
	registry_state_commit(f->state, f->sent, f->sent == last);
}

uint64_t
redis_fold_upto(const struct redis_fold *f)
{
	return f->up ? f->upto : UINT64_MAX;
}

uint64_t
redis_fold_behind(const struct redis_fold *f)
{
	uint64_t last = store_last(f->store);

	return last > f->upto ? last - f->upto : 0;
}
