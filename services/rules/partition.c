/* partition.c - one partition that this worker owns: its state file, its engine, its alerts on their way */
#include "partition.h"

#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "record.h"

#define SNAPSHOT_US 2000000 /* of what changed */
#define CURSOR_US 4000000   /* of the position alone */

static void
on_transition(void *arg, const struct transition *t)
{
	struct partition *p = arg;

	if (p->orphans)
		orphans_known(p->orphans, t->alert_id);
	emit_add(p->emit, t);
}

static struct engine *
new_engine(struct partition *p)
{
	uint64_t partitions = (uint64_t)settings_int(p->w->settings, SET_PARTITIONS);
	uint64_t devices =
	    (uint64_t)settings_int(p->w->settings, SET_RULES_DEVICES_MAX) / partitions;
	struct engine_spec spec = { .on_transition = on_transition,
		.arg = p,
		.devices_max = devices < 16 ? 16 : (size_t)devices };

	return engine_new(&spec, p->index);
}

int
partition_open(struct worker *w, const char *dir, uint32_t number, uint32_t shard,
    struct room *room, struct bus_link *link, struct rule_index *index, uint64_t epoch,
    uint64_t end, struct partition **ret_partition)
{
	struct partition *p = xcalloc(1, sizeof(*p));
	int err;

	p->w = w;
	p->number = number;
	p->shard = shard;
	p->index = index;
	p->room = room;
	p->orphans = orphans_new();
	err = state_open(dir, number, &p->state);
	if (err == 0) {
		p->emit = emit_new(w, number, link, epoch, end);
		p->engine = new_engine(p);
		err = state_load(p->state, p->engine, &p->next);
	}
	if (err == ERR_DAMAGED) {
		/* What loading told before it met the damage will be computed again. */
		emit_free(&p->emit);
		p->emit = emit_new(w, number, link, epoch, end);
		orphans_free(&p->orphans);
		p->orphans = orphans_new();
		engine_free(&p->engine);
		p->engine = new_engine(p);
		p->next = 0;
		err = 0;
	}
	if (err) {
		if (err == ERR_NO_ROOM)
			room_lost(room, loop_now_us(w->loop));
		partition_close(&p);
		return err;
	}
	p->durable = p->next;
	p->snapshot_us = loop_now_us(w->loop);
	log_info("rules.partition", LU("partition", number), LU("from", p->next),
	    LU("devices", engine_devices(p->engine)), LU("firing", engine_firing(p->engine)));
	*ret_partition = p;
	return 0;
}

void
partition_close(struct partition **partition)
{
	struct partition *p = *partition;

	*partition = NULL;
	if (p == NULL)
		return;
	engine_free(&p->engine);
	emit_free(&p->emit);
	orphans_free(&p->orphans);
	state_close(&p->state);
	free(p);
}

static void
take_readings(struct partition *p, const struct block_view *v, struct bytes batch)
{
	struct record_cursor c = record_cursor_of(batch);
	struct record r;
	int err;

	while ((err = record_next(&c, &r)) == 0) {
		metric_add(M_MESSAGES, 1);
		metric_add(M_READINGS, r.point_count);
		if (engine_record(p->engine, v->time, v->offset, &r) != 0)
			log_error("rules.bad_record", LU("partition", p->number),
			    LU("offset", v->offset), LB("device", r.device), LS("now", "skipped"));
	}
	if (err != ERR_NOT_FOUND)
		log_error("rules.bad_batch", LU("partition", p->number), LU("offset", v->offset),
		    LS("why", err_name(err)), LS("now", "the rest of it is skipped"));
}

/* The rule's alert for the device is, or last was, of this firing. */
static bool
engine_has(const struct partition *p, const struct msg_alert *m)
{
	char *group = xstrndup((const char *)m->group.data, m->group.len);
	char *alert = xstrndup((const char *)m->rule.data, m->rule.len);
	const struct alert_fsm *fsm = engine_alert(p->engine, group, alert, m->device);
	char alert_id[ALERT_ID_MAX] = "", id[ALERT_ID_MAX];

	if (fsm)
		alert_ids(fsm, group, alert, m->device.data, (uint32_t)m->device.len, alert_id, id);
	free(group);
	free(alert);
	return bytes_equal_str(m->alert_id, alert_id);
}

static void
take_alert(struct partition *p, struct bytes body)
{
	enum msg_type type;
	union msg_any any;

	if (codec_decode(body, &type, &any) != 0 || type != MSG_ALERT)
		return;
	emit_seen(p->emit, any.alert.id);
	if (p->orphans && !engine_has(p, &any.alert))
		orphans_seen(p->orphans, &any.alert);
}

static void
clear_orphan(void *arg, const struct msg_alert *last)
{
	struct partition *p = arg;
	char id[ALERT_ID_MAX];
	char *strings[] = { xstrndup((const char *)last->alert_id.data, last->alert_id.len),
		xstrndup((const char *)last->rule.data, last->rule.len),
		xstrndup((const char *)last->group.data, last->group.len),
		xstrndup((const char *)last->runbook.data, last->runbook.len),
		xstrndup((const char *)last->receivers.data, last->receivers.len) };
	struct transition t = { .id = id,
		.alert_id = strings[0],
		.alert = strings[1],
		.group = strings[2],
		.device = last->device,
		.state = ALERT_CLEARED,
		.at = engine_time(p->engine),
		.since = last->since,
		.offset = engine_offset(p->engine),
		.summary = last->summary,
		.values = last->values,
		.runbook = strings[3],
		.receivers = strings[4] };

	(void)severity_of(last->severity, &t.severity);
	orphan_cleared_id(last->id, id);
	log_warn("rules.orphan", LS("alert", t.alert), LB("device", t.device), LS("id", t.alert_id),
	    LS("why", "it was told as firing and does not come of the rules as they are now"));
	emit_add(p->emit, &t);
	for (size_t i = 0; i < COUNT_OF(strings); i++)
		free(strings[i]);
}

/* Everything that earlier owners told was read. */
static void
end_catching_up(struct partition *p)
{
	struct orphans *o = p->orphans;

	p->orphans = NULL;
	if (orphans_each(o, clear_orphan, p) != 0)
		log_warn("rules.orphans_unknown", LU("partition", p->number),
		    LS("why", "too many alerts came by while catching up"));
	orphans_free(&o);
}

/* A snapshot must not pass what only the journal before it tells of. */
static bool
may_snapshot(const struct partition *p)
{
	return !p->writing && (p->orphans == NULL || orphans_count(p->orphans) == 0);
}

void
partition_entry(struct partition *p, const struct block_view *v, const struct entry *e)
{
	if (v->offset < p->next)
		return;
	if (e->kind == ENTRY_READINGS)
		take_readings(p, v, e->body);
	else if (e->kind == ENTRY_ALERT)
		take_alert(p, e->body);
	else if (e->kind == ENTRY_TICK)
		engine_advance(p->engine, v->time, v->offset);
}

void
partition_reached(struct partition *p, uint64_t upto, uint64_t end)
{
	if (upto > p->next)
		p->next = upto;
	emit_reached(p->emit, p->next, end);
	if (p->orphans && !emit_is_holding(p->emit))
		end_catching_up(p);
}

static int
begin_snapshot(struct partition *p)
{
	int err = state_begin(p->state, p->engine, p->index, p->next);

	if (err)
		return err;
	p->writing = true;
	p->writing_next = p->next;
	p->writing_mark = emit_mark(p->emit);
	return 0;
}

static int
end_snapshot(struct partition *p)
{
	int err;

	if (!p->writing || !emit_is_durable(p->emit, p->writing_mark))
		return 0;
	err = state_commit(p->state, p->engine);
	p->writing = p->writing && err != 0 && err != ERR_NO_ROOM;
	if (err)
		return err;
	p->durable = p->writing_next;
	room_wrote(p->room, loop_now_us(p->w->loop));
	return 0;
}

int
partition_turn(struct partition *p)
{
	int64_t now = loop_now_us(p->w->loop);
	bool dirty = engine_is_dirty(p->engine);
	int err = 0;

	(void)emit_pump(p->emit);
	if (may_snapshot(p) && now - p->snapshot_us >= (dirty ? SNAPSHOT_US : CURSOR_US) &&
	    (dirty || p->next != p->durable) && room_may_write(p->room, now)) {
		p->snapshot_us = now;
		err = begin_snapshot(p);
	}
	if (err == 0)
		err = end_snapshot(p);
	if (err != ERR_NO_ROOM)
		return err;
	room_lost(p->room, now);
	p->snapshot_us = now - CURSOR_US; /* as soon as there is room */
	return 0;
}

uint64_t
partition_settled(const struct partition *p)
{
	bool waits = p->writing || p->orphans || emit_waiting(p->emit) > 0;

	return waits || engine_is_dirty(p->engine) ? p->durable : p->next;
}

bool
partition_wants_turn(const struct partition *p)
{
	return emit_waiting(p->emit) > 0 || p->writing;
}

void
partition_flush(struct partition *p)
{
	int err = end_snapshot(p);

	if (err || !may_snapshot(p) || !emit_is_durable(p->emit, emit_mark(p->emit)))
		return;
	if (engine_is_dirty(p->engine) || p->next != p->durable) {
		err = begin_snapshot(p);
		if (err == 0)
			(void)end_snapshot(p);
	}
}

void
partition_quiet(struct partition *p)
{
	state_quiet(p->state);
}

void
partition_adopt(struct partition *p, struct rule_index *index)
{
	engine_adopt(p->engine, index);
	p->index = index;
}
