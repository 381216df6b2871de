/* state.c - what one partition's engine keeps on disk */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "room.h"

#define FORMAT 1
#define BUSY_MS 2000 /* someone reads the file with sqlite3 */

enum statement {
	PUT_POSITION,
	PUT_DEVICE,
	DROP_DEVICE,
	DROP_ALERTS,
	PUT_ALERT,
	PUT_RULE,
	STATEMENTS
};

struct state {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
	const struct rule_index *index; /* while saving */
	char *path;
	int lock_fd;
	struct buf saved; /* ids of the devices of the open one, each length u32 and bytes */
	bool open;	  /* a snapshot is */
	int failed;	  /* how a statement of one did; but for ERR_NO_ROOM there is no other */
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS position(one INTEGER PRIMARY KEY CHECK(one = 1), offset INTEGER "
    "NOT NULL,"
    " next INTEGER NOT NULL, time INTEGER NOT NULL, awake INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS device(id BLOB PRIMARY KEY, latest BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS alert(device BLOB NOT NULL, rule INTEGER NOT NULL, state INTEGER "
    "NOT NULL,"
    " severity INTEGER NOT NULL, since INTEGER NOT NULL, fired_at INTEGER NOT NULL, told_at "
    "INTEGER NOT NULL,"
    " due INTEGER NOT NULL, episode INTEGER NOT NULL, ordinal INTEGER NOT NULL, PRIMARY "
    "KEY(device, rule))"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS rule(identity INTEGER PRIMARY KEY, grp TEXT NOT NULL, alert TEXT "
    "NOT NULL,"
    " meaning INTEGER NOT NULL);";

static const char *const sql[STATEMENTS] = {
	[PUT_POSITION] = "INSERT OR REPLACE INTO position VALUES(1, ?1, ?2, ?3, ?4)",
	[PUT_DEVICE] = "INSERT OR REPLACE INTO device VALUES(?1, ?2)",
	[DROP_DEVICE] = "DELETE FROM device WHERE id = ?1",
	[DROP_ALERTS] = "DELETE FROM alert WHERE device = ?1",
	[PUT_ALERT] = "INSERT INTO alert VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
	[PUT_RULE] = "INSERT OR REPLACE INTO rule VALUES(?1, ?2, ?3, ?4)",
};

/* Where the disk is full the caller says so, and tries again. */
static int
io_error(struct state *s, const char *what)
{
	int code = sqlite3_errcode(s->db) & 0xff;

	if (code == SQLITE_FULL || ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) &&
				       room_is_lacking(sqlite3_system_errno(s->db))))
		return ERR_NO_ROOM;
	log_error("rules.state_failed", LS("path", s->path), LS("at", what),
	    LS("why", sqlite3_errmsg(s->db)));
	return ERR_IO;
}

static bool
is_damage(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

static void
close_db(struct state *s)
{
	for (size_t i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(s->statements[i]);
		s->statements[i] = NULL;
	}
	sqlite3_close(s->db);
	s->db = NULL;
	s->open = false;
}

/* Only where it is missing: a write would cost each of a worker's partitions a sync at its start. */
static int
set_format(struct state *s)
{
	char pragma[48];
	sqlite3_stmt *stmt;
	int version = 0, rc = sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &stmt, NULL);

	if (rc != SQLITE_OK)
		return rc;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		version = sqlite3_column_int(stmt, 0);
	rc = sqlite3_finalize(stmt);
	if (rc != SQLITE_OK || version == FORMAT)
		return rc;
	snprintf(pragma, sizeof(pragma), "PRAGMA user_version=%d", FORMAT);
	return sqlite3_exec(s->db, pragma, NULL, NULL, NULL);
}

static int
open_db(struct state *s)
{
	int rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);

	sqlite3_busy_timeout(s->db, BUSY_MS);
	/* 48 KiB in each of a worker's partitions, for statements that are prepared once. */
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 0, 0);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(
		    s->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = set_format(s);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(s->db, schema, NULL, NULL, NULL);
	for (size_t i = 0; i < STATEMENTS && rc == SQLITE_OK; i++)
		rc = sqlite3_prepare_v2(s->db, sql[i], -1, &s->statements[i], NULL);
	if (rc == SQLITE_OK)
		return 0;
	return is_damage(rc) ? ERR_DAMAGED : io_error(s, "open");
}

/* What a damaged file held can be had again: the journal is read from its oldest record, and what was told before is
 * found there and not told twice. */
static int
put_aside(struct state *s)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	int64_t now = clock_wall_us();

	close_db(s);
	log_error("rules.state_damaged", LS("path", s->path),
	    LS("now", "put aside as .damaged; the partition's journal is read again from its "
		      "oldest record"));
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		char *from = xasprintf("%s%s", s->path, ends[i]);
		char *to = xasprintf("%s.damaged-%" PRId64 "%s", s->path, now, ends[i]);
		if (rename(from, to) != 0 && errno != ENOENT)
			log_error("rules.state_failed", LS("path", from), LS("at", "rename"),
			    LS("why", strerror(errno)));
		free(from);
		free(to);
	}
	return open_db(s) == 0 ? 0 : ERR_IO;
}

int
state_open(const char *dir, uint32_t partition, struct state **ret_state)
{
	struct state *s = xcalloc(1, sizeof(*s));
	char *lock = xasprintf("%s/p-%u.lock", dir, partition);
	int err = 0;

	s->path = xasprintf("%s/p-%u.db", dir, partition);
	s->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0 || flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		err = s->lock_fd >= 0 && errno == EWOULDBLOCK ? ERR_AGAIN
		      : room_is_lacking(errno)		      ? ERR_NO_ROOM
							      : ERR_IO;
		if (err == ERR_IO)
			log_error("rules.state_failed", LS("path", lock), LS("at", "lock"),
			    LS("why", strerror(errno)));
	}
	if (err == 0)
		err = open_db(s);
	if (err == ERR_DAMAGED)
		err = put_aside(s);
	free(lock);
	if (err)
		state_close(&s);
	else
		*ret_state = s;
	return err;
}

void
state_close(struct state **state)
{
	struct state *s = *state;

	*state = NULL;
	if (s == NULL)
		return;
	if (s->open)
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	close_db(s);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	buf_fini(&s->saved);
	free(s->path);
	free(s);
}

static struct bytes
column_bytes(sqlite3_stmt *q, int column)
{
	const void *data = sqlite3_column_blob(q, column);

	return bytes_of(data, (size_t)sqlite3_column_bytes(q, column));
}

struct loading {
	struct engine *engine;
	uint64_t next; /* offset to read on from */
};

static int
load_position(sqlite3_stmt *q, struct loading *to)
{
	engine_load_position(to->engine, sqlite3_column_int64(q, 2),
	    (uint64_t)sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 3));
	to->next = (uint64_t)sqlite3_column_int64(q, 1);
	return 0;
}

static int
load_device(sqlite3_stmt *q, struct loading *to)
{
	return engine_load_device(to->engine, column_bytes(q, 0), column_bytes(q, 1));
}

static int
load_alert(sqlite3_stmt *q, struct loading *to)
{
	const char *group = (const char *)sqlite3_column_text(q, 10);
	const char *alert = (const char *)sqlite3_column_text(q, 11);
	struct engine_saved_alert a = {
		.device = column_bytes(q, 0),
		.group = group ? group : "",
		.alert = alert ? alert : "",
		.identity = (uint64_t)sqlite3_column_int64(q, 1),
		.meaning = (uint64_t)sqlite3_column_int64(q, 12),
		.fsm = {
			.state = (enum alert_state)sqlite3_column_int(q, 2),
			.severity = (unsigned)sqlite3_column_int(q, 3),
			.since = sqlite3_column_int64(q, 4),
			.fired_at = sqlite3_column_int64(q, 5),
			.told_at = sqlite3_column_int64(q, 6),
			.due = sqlite3_column_int64(q, 7),
			.episode = (uint64_t)sqlite3_column_int64(q, 8),
			.ordinal = (uint64_t)sqlite3_column_int64(q, 9),
		},
	};

	return engine_load_alert(to->engine, &a);
}

static const struct {
	const char *sql;
	int (*take)(sqlite3_stmt *q, struct loading *to);
} loads[] = {
	{ "SELECT offset, next, time, awake FROM position", load_position },
	{ "SELECT id, latest FROM device", load_device },
	{ "SELECT a.device, a.rule, a.state, a.severity, a.since, a.fired_at, a.told_at, a.due, "
	  "a.episode, a.ordinal,"
	  " r.grp, r.alert, r.meaning FROM alert a LEFT JOIN rule r ON r.identity = a.rule",
	    load_alert },
};

int
state_load(struct state *s, struct engine *e, uint64_t *ret_next)
{
	struct loading to = { .engine = e };
	int rc = SQLITE_DONE, err = 0;

	for (size_t i = 0; i < COUNT_OF(loads) && rc == SQLITE_DONE && err == 0; i++) {
		sqlite3_stmt *q = NULL;
		rc = sqlite3_prepare_v2(s->db, loads[i].sql, -1, &q, NULL);
		while (rc == SQLITE_OK && err == 0 && (rc = sqlite3_step(q)) == SQLITE_ROW) {
			err = loads[i].take(q, &to);
			if (err ==
			    ERR_FULL) /* counted by the engine; the device begins anew when it speaks */
				err = 0;
			rc = SQLITE_OK;
		}
		sqlite3_finalize(q);
	}
	if (err || is_damage(rc))
		return put_aside(s) == 0 ? ERR_DAMAGED : ERR_IO;
	if (rc != SQLITE_DONE)
		return io_error(s, "load");
	engine_load_end(e);
	*ret_next = to.next;
	return 0;
}

static void
run(struct state *s, sqlite3_stmt *q)
{
	/* SQLite may have ended the transaction: what came now would be one of its own. */
	if (s->failed)
		return;
	if (sqlite3_step(q) != SQLITE_DONE)
		s->failed = io_error(s, "snapshot");
	sqlite3_reset(q);
}

static void
note_saved(struct state *s, struct bytes device)
{
	uint32_t len = (uint32_t)device.len;

	buf_add(&s->saved, &len, sizeof(len));
	buf_add(&s->saved, device.data, len);
}

/* Nothing of the snapshot is left; what the disk had no room for changed, as far as the engine knows, just now. */
static int
take_back(struct state *s, struct engine *e, int err)
{
	if (sqlite3_get_autocommit(s->db) == 0)
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	s->open = false;
	if (err == ERR_NO_ROOM) {
		engine_unsaved(e, buf_bytes(&s->saved));
		s->failed = 0;
	}
	buf_clear(&s->saved);
	return err;
}

static void
bind_bytes(sqlite3_stmt *q, int at, struct bytes b)
{
	sqlite3_bind_blob(q, at, b.len ? (const void *)b.data : "", (int)b.len, SQLITE_STATIC);
}

static void
save_device(void *arg, struct bytes device, struct bytes latest)
{
	struct state *s = arg;

	note_saved(s, device);
	bind_bytes(s->statements[PUT_DEVICE], 1, device);
	bind_bytes(s->statements[PUT_DEVICE], 2, latest);
	run(s, s->statements[PUT_DEVICE]);
	bind_bytes(s->statements[DROP_ALERTS], 1, device);
	run(s, s->statements[DROP_ALERTS]);
}

static void
save_alert(void *arg, struct bytes device, uint64_t identity, const struct alert_fsm *a)
{
	struct state *s = arg;
	sqlite3_stmt *q = s->statements[PUT_ALERT], *put_rule = s->statements[PUT_RULE];
	const struct rule *r;
	uint32_t number;

	bind_bytes(q, 1, device);
	sqlite3_bind_int64(q, 2, (int64_t)identity);
	sqlite3_bind_int(q, 3, (int)a->state);
	sqlite3_bind_int(q, 4, (int)a->severity);
	sqlite3_bind_int64(q, 5, a->since);
	sqlite3_bind_int64(q, 6, a->fired_at);
	sqlite3_bind_int64(q, 7, a->told_at);
	sqlite3_bind_int64(q, 8, a->due);
	sqlite3_bind_int64(q, 9, (int64_t)a->episode);
	sqlite3_bind_int64(q, 10, (int64_t)a->ordinal);
	run(s, q);
	if (rule_index_find(s->index, identity, &number) != 0)
		return;
	r = rule_index_at(s->index, number);
	sqlite3_bind_int64(put_rule, 1, (int64_t)identity);
	sqlite3_bind_text(put_rule, 2, r->group, -1, SQLITE_STATIC);
	sqlite3_bind_text(put_rule, 3, r->alert, -1, SQLITE_STATIC);
	sqlite3_bind_int64(put_rule, 4, (int64_t)r->meaning);
	run(s, put_rule);
}

static void
save_forgotten(void *arg, struct bytes device)
{
	struct state *s = arg;

	note_saved(s, device);
	bind_bytes(s->statements[DROP_DEVICE], 1, device);
	run(s, s->statements[DROP_DEVICE]);
	bind_bytes(s->statements[DROP_ALERTS], 1, device);
	run(s, s->statements[DROP_ALERTS]);
}

int
state_begin(struct state *s, struct engine *e, const struct rule_index *index, uint64_t next)
{
	struct engine_saver saver = { .on_device = save_device,
		.on_alert = save_alert,
		.on_forgotten = save_forgotten,
		.arg = s };
	sqlite3_stmt *q = s->statements[PUT_POSITION];

	const char *sync =
	    engine_is_dirty(e) ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL";

	ASSERT(!s->open);
	/* The engine has forgotten what the one that failed was to save. */
	if (s->failed)
		return s->failed;
	if (sqlite3_exec(s->db, sync, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return io_error(s, "begin");
	s->open = true;
	s->index = index;
	engine_save(e, &saver);
	s->index = NULL;
	sqlite3_bind_int64(q, 1, (int64_t)engine_offset(e));
	sqlite3_bind_int64(q, 2, (int64_t)next);
	sqlite3_bind_int64(q, 3, engine_time(e));
	sqlite3_bind_int64(q, 4, engine_awake_since(e));
	run(s, q);
	return s->failed ? take_back(s, e, s->failed) : 0;
}

int
state_commit(struct state *s, struct engine *e)
{
	ASSERT(s->open);
	if (sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		return take_back(s, e, io_error(s, "commit"));
	s->open = false;
	buf_clear(&s->saved);
	return 0;
}

void
state_quiet(struct state *s)
{
	if (s->db)
		(void)sqlite3_db_release_memory(s->db);
}
