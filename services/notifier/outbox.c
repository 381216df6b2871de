/* outbox.c - what is owed to whom, on disk */
#include "outbox.h"

#include <errno.h>
#include <fcntl.h>
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
#include "metrics.h"
#include "room.h"

#define OUTBOX_VERSION 1
#define BUSY_MS 2000
#define PATH_LEN 512
#define MINUTE_US 60000000ll

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS owed(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, "
    "receiver TEXT NOT NULL,"
    " body BLOB NOT NULL, state INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, "
    "created INTEGER NOT NULL,"
    " next_at INTEGER NOT NULL DEFAULT 0, error TEXT, UNIQUE(id, receiver));"
    "CREATE INDEX IF NOT EXISTS owed_next ON owed(receiver, seq) WHERE state=0;"
    "CREATE TABLE IF NOT EXISTS cursor(shard INTEGER PRIMARY KEY, upto INTEGER NOT NULL);"
    "PRAGMA user_version=1";

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	OWE,
	SET_CURSOR,
	NEXT,
	FINISH,
	RETRY,
	PRUNE,
	STATEMENT_COUNT
};

static const char *const sqls[STATEMENT_COUNT] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[OWE] = "INSERT INTO owed(id, receiver, body, created) VALUES(?1, ?2, ?3, ?4) ON "
		"CONFLICT(id, receiver) DO NOTHING",
	[SET_CURSOR] = "INSERT INTO cursor(shard, upto) VALUES(?1, ?2) ON CONFLICT(shard) DO "
		       "UPDATE SET upto=?2",
	[NEXT] = "SELECT seq, id, body, attempts, created, next_at FROM owed WHERE receiver=?1 AND "
		 "state=0 ORDER BY seq LIMIT 1",
	[FINISH] = "UPDATE owed SET state=?2, attempts=?3, error=?4, body=CASE ?2 WHEN 1 THEN x'' "
		   "ELSE body END WHERE seq=?1",
	[RETRY] = "UPDATE owed SET next_at=?2, attempts=?3, error=?4 WHERE seq=?1",
	[PRUNE] = "DELETE FROM owed WHERE state<>0 AND created<?1",
};

struct outbox {
	char path[PATH_LEN];
	int lock;
	sqlite3 *db;
	sqlite3_stmt *stmts[STATEMENT_COUNT];
	uint32_t shards;
	uint64_t *cursors;
	size_t owed;
	size_t owed_before; /* of the open transaction */
	int64_t rebuilt_at; /* 0: never */
};

static void
mark_path(const struct outbox *o, char out[PATH_LEN + 16])
{
	snprintf(out, PATH_LEN + 16, "%s.is-damaged", o->path);
}

static void
mark_damaged(const struct outbox *o)
{
	char path[PATH_LEN + 16];
	int fd;

	mark_path(o, path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
}

/* Where the disk is full the caller says so, and tries again. */
static int
fail(struct outbox *o, const char *doing)
{
	int code = o->db == NULL ? SQLITE_NOMEM : sqlite3_errcode(o->db) & 0xff;

	if (code == SQLITE_FULL || ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) &&
				       room_is_lacking(sqlite3_system_errno(o->db))))
		return ERR_NO_ROOM;
	log_error("outbox.sqlite", LS("file", o->path), LS("doing", doing),
	    LS("fault", o->db == NULL ? "out of memory" : sqlite3_errmsg(o->db)));
	if (code != SQLITE_CORRUPT && code != SQLITE_NOTADB)
		return ERR_IO;
	/* Where it shows only later, the next start must know of it. */
	mark_damaged(o);
	return ERR_DAMAGED;
}

static int
run(struct outbox *o, enum statement which)
{
	int code = sqlite3_step(o->stmts[which]), err = 0;

	if (code != SQLITE_DONE && code != SQLITE_ROW)
		err = fail(o, sqls[which]);
	sqlite3_reset(o->stmts[which]);
	return err;
}

/* --- opening --- */

/* Beside the database: SQLite's own locks lie on the database file and would be dropped by closing it here. */
static int
take_lock(struct outbox *o, const char *dir)
{
	char path[PATH_LEN];

	snprintf(path, sizeof(path), "%s/outbox.lock", dir);
	o->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (o->lock < 0 && room_is_lacking(errno))
		return ERR_NO_ROOM;
	if (o->lock < 0) {
		log_error("outbox.lock", LS("file", path), LS("fault", strerror(errno)));
		return ERR_IO;
	}
	if (flock(o->lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return ERR_AGAIN;
	log_error("outbox.lock", LS("file", path), LS("fault", strerror(errno)));
	return ERR_IO;
}

static int
read_int(struct outbox *o, const char *sql, int64_t *ret_v)
{
	sqlite3_stmt *stmt;
	int err = 0;

	if (sqlite3_prepare_v2(o->db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return fail(o, sql);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		*ret_v = sqlite3_column_int64(stmt, 0);
	else
		err = fail(o, sql);
	sqlite3_finalize(stmt);
	return err;
}

static int
load_cursors(struct outbox *o)
{
	sqlite3_stmt *stmt;
	int code;

	if (sqlite3_prepare_v2(o->db, "SELECT shard, upto FROM cursor", -1, &stmt, NULL) !=
	    SQLITE_OK)
		return fail(o, "reading cursors");
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t shard = sqlite3_column_int64(stmt, 0);

		if (shard >= 0 && shard < o->shards)
			o->cursors[shard] = (uint64_t)sqlite3_column_int64(stmt, 1);
	}
	sqlite3_finalize(stmt);
	return code == SQLITE_DONE ? 0 : fail(o, "reading cursors");
}

static int
open_db(struct outbox *o)
{
	int64_t version = 0, owed = 0, rebuilt = 0;
	int err;

	if (sqlite3_open_v2(o->path, &o->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		NULL) != SQLITE_OK)
		return fail(o, "opening");
	sqlite3_busy_timeout(o->db, BUSY_MS);
	if (sqlite3_exec(o->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", NULL, NULL,
		NULL) != SQLITE_OK)
		return fail(o, "setting up");
	if ((err = read_int(o, "PRAGMA user_version", &version)) != 0)
		return err;
	if (version > OUTBOX_VERSION) {
		log_error("outbox.version", LS("file", o->path), LI("version", version),
		    LS("fault", "written by a later release"));
		return ERR_UNSUPPORTED;
	}
	/* The version is written last; to write it again would cost each start a sync. */
	if (version < OUTBOX_VERSION && sqlite3_exec(o->db, schema, NULL, NULL, NULL) != SQLITE_OK)
		return fail(o, "creating tables");
	for (size_t i = 0; i < STATEMENT_COUNT; i++)
		if (sqlite3_prepare_v2(o->db, sqls[i], -1, &o->stmts[i], NULL) != SQLITE_OK)
			return fail(o, sqls[i]);
	if ((err = read_int(o, "SELECT count(*) FROM owed WHERE state=0", &owed)) != 0)
		return err;
	o->owed = (size_t)owed;
	if ((err = read_int(o, "PRAGMA application_id", &rebuilt)) != 0)
		return err;
	o->rebuilt_at = rebuilt * MINUTE_US;
	return load_cursors(o);
}

static void
close_db(struct outbox *o)
{
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		sqlite3_finalize(o->stmts[i]);
		o->stmts[i] = NULL;
	}
	sqlite3_close(o->db);
	o->db = NULL;
}

/* --- a damaged file --- */

/* A row as the schema wants it; a damaged file may hold anything. */
static bool
row_is_sound(sqlite3_stmt *row)
{
	int64_t state = sqlite3_column_int64(row, 4);

	return sqlite3_column_type(row, 1) == SQLITE_TEXT &&
	       sqlite3_column_bytes(row, 1) < OUTBOX_KEY_MAX / 2 &&
	       sqlite3_column_type(row, 2) == SQLITE_TEXT &&
	       sqlite3_column_bytes(row, 2) < OUTBOX_KEY_MAX / 2 &&
	       sqlite3_column_type(row, 3) == SQLITE_BLOB &&
	       sqlite3_column_type(row, 4) == SQLITE_INTEGER && state >= OUTBOX_OWED &&
	       state <= OUTBOX_DEAD;
}

/* Rows from one end, as far as the file can be read. */
static int
save_rows(struct outbox *o, sqlite3 *from, const char *order, uint64_t *ret_rows)
{
	char *sql =
	    xasprintf("SELECT seq, id, receiver, body, state, attempts, created, next_at, error "
		      "FROM owed NOT INDEXED ORDER BY seq %s",
		order);
	sqlite3_stmt *row = NULL, *put = NULL;
	int err = 0;

	if (sqlite3_prepare_v2(o->db,
		"INSERT OR IGNORE INTO owed VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)", -1, &put,
		NULL) != SQLITE_OK)
		err = fail(o, "saving rows");
	else
		(void)sqlite3_prepare_v2(from, sql, -1, &row, NULL);
	while (row != NULL && err == 0 && sqlite3_step(row) == SQLITE_ROW) {
		if (!row_is_sound(row))
			continue;
		for (int i = 0; i < 9; i++)
			sqlite3_bind_value(put, i + 1, sqlite3_column_value(row, i));
		if (sqlite3_step(put) == SQLITE_DONE)
			*ret_rows += (uint64_t)sqlite3_changes(o->db);
		else
			err = fail(o, "saving rows");
		sqlite3_reset(put);
	}
	sqlite3_finalize(row);
	sqlite3_finalize(put);
	free(sql);
	return err;
}

static int
save_what_can_be_read(struct outbox *o, uint64_t *ret_rows)
{
	sqlite3 *from = NULL;
	int err = 0;

	if (sqlite3_open_v2(o->path, &from, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK) {
		/* It stays as it was found. */
		sqlite3_db_config(from, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		if ((err = save_rows(o, from, "ASC", ret_rows)) == 0)
			err = save_rows(o, from, "DESC", ret_rows);
	}
	sqlite3_close(from);
	return err;
}

static int
exec(struct outbox *o, const char *sql)
{
	return sqlite3_exec(o->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(o, sql);
}

/* A new outbox with the rows of the damaged one, which is not touched; whole under its name, or not there. No cursors: whatever
 * is owed and cannot be read any more is in the journal. */
static int
build(struct outbox *o, const char *rebuilt)
{
	char *path = xasprintf("%s.rebuild", o->path), *journal = xasprintf("%s-journal", path),
	     *mark =
		 xasprintf("PRAGMA application_id=%lld", (long long)(clock_wall_us() / MINUTE_US));
	uint64_t rows = 0;
	int err = 0;

	(void)unlink(path);
	(void)unlink(journal);
	if (sqlite3_open_v2(path, &o->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
	    SQLITE_OK)
		err = fail(o, "rebuilding");
	if (err == 0 && (err = exec(o, "PRAGMA synchronous=FULL; BEGIN IMMEDIATE")) == 0 &&
	    (err = exec(o, schema)) == 0 && (err = exec(o, mark)) == 0 &&
	    (err = save_what_can_be_read(o, &rows)) == 0)
		err = exec(o, "COMMIT");
	close_db(o);
	if (err == 0 && rename(path, rebuilt) != 0)
		err = room_is_lacking(errno) ? ERR_NO_ROOM : ERR_IO;
	if (err == 0)
		log_warn("outbox.rebuilt", LU("rows", rows),
		    LS("effect",
			"the journal is read from its oldest record; what was not in these rows is "
			"told again, under the same key"));
	free(path);
	free(journal);
	free(mark);
	return err;
}

/* The damaged one is set aside and the rebuilt one takes its place: wherever this is interrupted, the next start goes on. */
static int
put_in_place(struct outbox *o, const char *rebuilt)
{
	static const char *const ends[] = { "-wal", "-shm", "" };
	char mark[PATH_LEN + 16];
	char *aside = xasprintf("%s.damaged-%lld", o->path, (long long)clock_wall_us());
	int err = 0;

	for (size_t i = 0; i < COUNT_OF(ends) && err == 0; i++) {
		char *from = xasprintf("%s%s", o->path, ends[i]),
		     *to = xasprintf("%s%s", aside, ends[i]);

		if (rename(from, to) != 0 && errno != ENOENT)
			err = room_is_lacking(errno) ? ERR_NO_ROOM : ERR_IO;
		free(from);
		free(to);
	}
	mark_path(o, mark);
	if (err == 0) {
		(void)unlink(mark);
		if (rename(rebuilt, o->path) != 0)
			err = room_is_lacking(errno) ? ERR_NO_ROOM : ERR_IO;
	}
	if (err == 0) {
		log_error("outbox.damaged", LS("file", o->path), LS("now", aside),
		    LS("remedy", "none is needed; sqlite3's .recover may show what it held"));
		metric_add(M_NOTIFIER_SET_ASIDE, 1);
	}
	free(aside);
	return err;
}

static bool
is_marked(const struct outbox *o)
{
	char path[PATH_LEN + 16];

	mark_path(o, path);
	return access(path, F_OK) == 0;
}

static int
open_or_rebuild(struct outbox *o)
{
	char *rebuilt = xasprintf("%s.rebuilt", o->path);
	int err = 0;

	/* The last start did not come to the end of it. */
	if (access(rebuilt, F_OK) == 0)
		err = put_in_place(o, rebuilt);
	if (err == 0)
		err = is_marked(o) ? ERR_DAMAGED : open_db(o);
	if (err == ERR_DAMAGED) {
		close_db(o);
		memset(o->cursors, 0, o->shards * sizeof(o->cursors[0]));
		if ((err = build(o, rebuilt)) == 0 && (err = put_in_place(o, rebuilt)) == 0)
			err = open_db(o);
	}
	free(rebuilt);
	return err;
}

int
outbox_open(const char *dir, uint32_t shards, struct outbox **ret_outbox)
{
	struct outbox *o;
	int err;

	if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
		if (room_is_lacking(errno))
			return ERR_NO_ROOM;
		log_error("outbox.mkdir", LS("dir", dir), LS("fault", strerror(errno)));
		return ERR_IO;
	}
	o = xcalloc(1, sizeof(*o));
	o->shards = shards;
	o->cursors = xcalloc(shards, sizeof(o->cursors[0]));
	snprintf(o->path, sizeof(o->path), "%s/outbox.db", dir);
	err = take_lock(o, dir);
	if (err == 0)
		err = open_or_rebuild(o);
	if (err != 0) {
		outbox_close(&o);
		return err;
	}
	*ret_outbox = o;
	return 0;
}

void
outbox_close(struct outbox **p_o)
{
	struct outbox *o = *p_o;

	if (o == NULL)
		return;
	*p_o = NULL;
	close_db(o);
	if (o->lock >= 0)
		close(o->lock);
	free(o->cursors);
	free(o);
}

int64_t
outbox_rebuilt_at(const struct outbox *o)
{
	return o->rebuilt_at;
}

uint64_t
outbox_cursor(const struct outbox *o, uint32_t shard)
{
	return shard < o->shards ? o->cursors[shard] : 0;
}

size_t
outbox_owed(const struct outbox *o)
{
	return o->owed;
}

/* --- from the journal --- */

int
outbox_begin(struct outbox *o)
{
	o->owed_before = o->owed;
	return run(o, BEGIN);
}

static int
give_up(struct outbox *o, int err)
{
	o->owed = o->owed_before;
	if (sqlite3_get_autocommit(o->db) == 0)
		(void)run(o, ROLLBACK);
	return err;
}

int
outbox_owe(struct outbox *o, struct bytes id, const char *receiver, struct bytes body, int64_t now)
{
	sqlite3_stmt *s = o->stmts[OWE];
	int err;

	sqlite3_bind_text(s, 1, (const char *)id.data, (int)id.len, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, receiver, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, 3, body.data, (int)body.len, SQLITE_STATIC);
	sqlite3_bind_int64(s, 4, now);
	if ((err = run(o, OWE)) != 0)
		return give_up(o, err);
	if (sqlite3_changes(o->db) == 0)
		return ERR_EXISTS;
	o->owed++;
	return 0;
}

int
outbox_commit(struct outbox *o, const uint64_t *cursors)
{
	sqlite3_stmt *s = o->stmts[SET_CURSOR];
	int err = 0;

	for (uint32_t shard = 0; err == 0 && shard < o->shards; shard++) {
		sqlite3_bind_int64(s, 1, shard);
		sqlite3_bind_int64(s, 2, (int64_t)cursors[shard]);
		err = run(o, SET_CURSOR);
	}
	if (err == 0)
		err = run(o, COMMIT);
	if (err != 0)
		return give_up(o, err);
	memcpy(o->cursors, cursors, o->shards * sizeof(cursors[0]));
	return 0;
}

/* --- to receivers --- */

int
outbox_next(struct outbox *o, const char *receiver, struct outbox_item *ret_item)
{
	sqlite3_stmt *s = o->stmts[NEXT];
	int code, err = 0;

	sqlite3_bind_text(s, 1, receiver, -1, SQLITE_STATIC);
	code = sqlite3_step(s);
	if (code == SQLITE_ROW) {
		ret_item->seq = sqlite3_column_int64(s, 0);
		snprintf(ret_item->key, sizeof(ret_item->key), "%s/%s",
		    (const char *)sqlite3_column_text(s, 1), receiver);
		buf_clear(&ret_item->body);
		buf_add(
		    &ret_item->body, sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
		ret_item->attempts = (uint64_t)sqlite3_column_int64(s, 3);
		ret_item->created = sqlite3_column_int64(s, 4);
		ret_item->next_at = sqlite3_column_int64(s, 5);
	} else {
		err = code == SQLITE_DONE ? ERR_NOT_FOUND : fail(o, sqls[NEXT]);
	}
	sqlite3_reset(s);
	return err;
}

void
outbox_item_fini(struct outbox_item *item)
{
	buf_fini(&item->body);
}

static int
finish(struct outbox *o, int64_t seq, enum outbox_state state, uint64_t attempts, const char *error)
{
	sqlite3_stmt *s = o->stmts[FINISH];
	int err;

	sqlite3_bind_int64(s, 1, seq);
	sqlite3_bind_int64(s, 2, state);
	sqlite3_bind_int64(s, 3, (int64_t)attempts);
	sqlite3_bind_text(s, 4, error, -1, SQLITE_STATIC);
	if ((err = run(o, FINISH)) == 0 && o->owed > 0)
		o->owed--;
	return err;
}

int
outbox_delivered(struct outbox *o, int64_t seq, uint64_t attempts)
{
	return finish(o, seq, OUTBOX_DELIVERED, attempts, NULL);
}

int
outbox_dead(struct outbox *o, int64_t seq, uint64_t attempts, const char *error)
{
	return finish(o, seq, OUTBOX_DEAD, attempts, error);
}

int
outbox_retry(struct outbox *o, int64_t seq, uint64_t attempts, int64_t next_at, const char *error)
{
	sqlite3_stmt *s = o->stmts[RETRY];

	sqlite3_bind_int64(s, 1, seq);
	sqlite3_bind_int64(s, 2, next_at);
	sqlite3_bind_int64(s, 3, (int64_t)attempts);
	sqlite3_bind_text(s, 4, error, -1, SQLITE_STATIC);
	return run(o, RETRY);
}

int
outbox_prune(struct outbox *o, int64_t now)
{
	sqlite3_bind_int64(o->stmts[PRUNE], 1, now - OUTBOX_KEEP_US);
	return run(o, PRUNE);
}

int
outbox_receivers(struct outbox *o, void (*fn)(void *arg, const char *receiver), void *arg)
{
	sqlite3_stmt *s;
	int code;

	if (sqlite3_prepare_v2(o->db, "SELECT DISTINCT receiver FROM owed WHERE state=0", -1, &s,
		NULL) != SQLITE_OK)
		return fail(o, "listing receivers");
	while ((code = sqlite3_step(s)) == SQLITE_ROW)
		fn(arg, (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	return code == SQLITE_DONE ? 0 : fail(o, "listing receivers");
}

/* --- for people --- */

int
outbox_list(const char *dir, size_t max, outbox_row_fn fn, void *arg)
{
	struct outbox o = { 0 };
	sqlite3_stmt *s = NULL;
	int code, err = 0;

	snprintf(o.path, sizeof(o.path), "%s/outbox.db", dir);
	if (access(o.path, F_OK) != 0)
		return ERR_NOT_FOUND;
	if (sqlite3_open_v2(o.path, &o.db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(o.db,
		"SELECT seq, id, receiver, state, attempts, created, next_at, error FROM owed "
		"ORDER BY seq DESC LIMIT ?1",
		-1, &s, NULL) != SQLITE_OK) {
		err = fail(&o, "opening");
		goto out;
	}
	sqlite3_busy_timeout(o.db, BUSY_MS);
	sqlite3_bind_int64(s, 1, (int64_t)max);
	while ((code = sqlite3_step(s)) == SQLITE_ROW) {
		struct outbox_row row = { .seq = sqlite3_column_int64(s, 0),
			.id = (const char *)sqlite3_column_text(s, 1),
			.receiver = (const char *)sqlite3_column_text(s, 2),
			.state = (enum outbox_state)sqlite3_column_int(s, 3),
			.attempts = (uint64_t)sqlite3_column_int64(s, 4),
			.created = sqlite3_column_int64(s, 5),
			.next_at = sqlite3_column_int64(s, 6),
			.error = (const char *)sqlite3_column_text(s, 7) };

		fn(arg, &row);
	}
	if (code != SQLITE_DONE)
		err = fail(&o, "reading");
out:
	sqlite3_finalize(s);
	sqlite3_close(o.db);
	return err;
}
