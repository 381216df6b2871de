/* engine.h - the rules engine of one partition: readings and time in, alert transitions out; pure
 *
 * What comes out is a function of the rules, the input and its order only: there is no clock but journal time, which the
 * input brings and which never goes back. Whoever feeds it (the live journal, a test, a back-test) gets the same.
 *
 * A reading updates the latest values of its device and makes the rules be looked at that name one of its metrics and mean
 * the device. A value whose own time is more than ENGINE_LATE_US behind the journal's, or older than the one that is
 * known, is a sign of life but no news: it changes no value and starts nothing. Quarantined values do not exist here.
 *
 * The journal ticks once a second. Where its time leaps by more than ENGINE_GAP_US nobody listened, so that nobody was
 * silent: absences are counted from the end of the gap. */
#ifndef ROOST_ENGINE_H
#define ROOST_ENGINE_H

#include "alert_fsm.h"
#include "record.h"
#include "rule_index.h"

#define ENGINE_LATE_US (5ll * 60 * 1000000)
#define ENGINE_GAP_US (30ll * 1000000)
#define ENGINE_VALUES_JSON_MAX 2048

/* Everything is borrowed until the callback returns. */
struct transition {
	const char *id;		/* the same for the same transition, however often and wherever it is computed */
	const char *alert_id;	/* of this firing */
	const char *alert;
	const char *group;
	struct bytes device;
	enum alert_state state;	/* FIRING or CLEARED */
	enum severity severity;
	int64_t at;
	int64_t since;
	uint64_t offset;	/* of the block that caused it */
	struct bytes summary;
	struct bytes values;	/* JSON object */
	const char *runbook;	/* "" for none */
	const char *receivers;
};

struct engine_spec {
	void (*on_transition)(void *arg, const struct transition *t);
	void *arg;
	size_t devices_max;	/* remembered; then the longest idle without an alert is forgotten for a new one */
};

struct engine_counts {
	uint64_t evaluations;
	uint64_t late;		/* values that were too old to look at */
	uint64_t refused;	/* readings of devices for which there was no room */
	uint64_t forgotten;	/* devices that made room */
};

struct engine;

/* spec is copied; index is borrowed until engine_adopt() or engine_free(). */
struct engine *engine_new(const struct engine_spec *spec, struct rule_index *index);
void engine_free(struct engine **e);

/* Time passes: timers that are due by then run, in order. offset is the block's that says so. */
void engine_advance(struct engine *e, int64_t time, uint64_t offset);
/* A reading in the block at offset; advances to time first. ERR_MALFORMED if its points are broken: nothing of it counts. */
int engine_record(struct engine *e, int64_t time, uint64_t offset, const struct record *r);
/* The same from points at hand. */
void engine_points(struct engine *e, int64_t time, uint64_t offset, struct bytes device, const struct point *points, size_t n);
/* An attribute or tag of a device changes. */
void engine_context(struct engine *e, int64_t time, uint64_t offset, struct bytes device, enum expr_source source, struct bytes name, const struct value *value);

/* Another index takes effect, all of it at once. Alerts of rules whose meaning is the same go on; of a changed rule a
 * firing alert stays and is looked at by the new text, a pending one begins anew; of a rule that is gone, or no longer means
 * the device, a firing alert is told as cleared. The old index may be freed afterwards. */
void engine_adopt(struct engine *e, struct rule_index *index);

int64_t engine_time(const struct engine *e);
uint64_t engine_offset(const struct engine *e);
int64_t engine_awake_since(const struct engine *e);
size_t engine_devices(const struct engine *e);
size_t engine_firing(const struct engine *e);
const struct engine_counts *engine_counts(const struct engine *e);
/* For tests and tools: the alert of a rule and device; NULL if it never was anything but inactive. */
const struct alert_fsm *engine_alert(const struct engine *e, const char *group, const char *alert, struct bytes device);

/* --- what outlives the process --- */

struct engine_saver {
	/* latest: the device's values, for engine_load_device(). All alerts of the device follow; others are gone. */
	void (*on_device)(void *arg, struct bytes device, struct bytes latest);
	void (*on_alert)(void *arg, struct bytes device, uint64_t identity, const struct alert_fsm *fsm);
	void (*on_forgotten)(void *arg, struct bytes device);
	void *arg;
};

/* Every device that changed since the last call. */
void engine_save(struct engine *e, const struct engine_saver *saver);
bool engine_is_dirty(const struct engine *e);
/* What was saved could not be kept: the next engine_save() has these again. ids: each length u32 and bytes. */
void engine_unsaved(struct engine *e, struct bytes ids);

/* Into a new engine: where it stood, then devices, then their alerts. ERR_MALFORMED, ERR_FULL. */
void engine_load_position(struct engine *e, int64_t time, uint64_t offset, int64_t awake_since);
int engine_load_device(struct engine *e, struct bytes id, struct bytes latest);
struct engine_saved_alert {
	struct bytes device;
	const char *group;
	const char *alert;
	uint64_t identity;
	uint64_t meaning;	/* of the rule when it was saved */
	struct alert_fsm fsm;
};
int engine_load_alert(struct engine *e, const struct engine_saved_alert *saved);
/* After the last: timers are set. */
void engine_load_end(struct engine *e);

#endif
