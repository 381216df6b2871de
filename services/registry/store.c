/* store.c - registry.db: the lasting fold of the journal's CONTEXT entries, SQLite */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "room.h"

#define BUSY_MS 5000
#define PATH_LEN 512

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS object(key BLOB PRIMARY KEY, type INTEGER NOT NULL, version "
    "INTEGER "
    "NOT NULL, n INTEGER NOT NULL, gone INTEGER NOT NULL, owner BLOB, body BLOB NOT NULL);"
    "CREATE UNIQUE INDEX IF NOT EXISTS object_n ON object(n);"
    "CREATE INDEX IF NOT EXISTS object_owner ON object(owner, type) WHERE owner IS NOT NULL;"
    "CREATE TABLE IF NOT EXISTS cursor(shard INTEGER PRIMARY KEY, upto INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS meta(id TEXT NOT NULL);"
    "INSERT INTO meta SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS(SELECT 1 FROM meta);"
    "PRAGMA user_version=1;"
    "COMMIT";

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	SET_CURSOR,
	GET,
	PUT,
	DROP_ATTRIBUTES,
	CHANGES,
	LIST,
	LIST_OWNED,
	STATEMENT_COUNT
};

static const char *const sqls[STATEMENT_COUNT] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[SET_CURSOR] = "INSERT INTO cursor(shard, upto) VALUES(?1, ?2) ON CONFLICT(shard) DO "
		       "UPDATE SET upto=?2",
	[GET] = "SELECT version, gone, body FROM object WHERE key=?1",
	[PUT] = "INSERT OR REPLACE INTO object(key, type, version, n, gone, owner, body) "
		"VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[DROP_ATTRIBUTES] = "DELETE FROM object WHERE owner=?1 AND type=?2",
	[CHANGES] = "SELECT n, body FROM object WHERE n>?1 ORDER BY n LIMIT ?2",
	[LIST] = "SELECT n, body FROM object WHERE type=?1 AND gone=0 ORDER BY key",
	[LIST_OWNED] =
	    "SELECT n, body FROM object WHERE owner=?2 AND type=?1 AND gone=0 ORDER BY key",
};

struct counts {
	uint64_t last; /* n */
	size_t devices;
	size_t credentials;
};

struct store {
	char path[PATH_LEN];
	int lock;
	sqlite3 *db;
	sqlite3_stmt *stmts[STATEMENT_COUNT];
	char id[STORE_ID_MAX];
	uint32_t shards;
	uint64_t *cursors;
	struct counts now, before; /* before: of the open transaction */
	struct buf key, body;
};

/* Where the disk is full the caller says so, and tries again. */
static int
fail(struct store *s, const char *doing)
{
	int code = s->db == NULL ? SQLITE_NOMEM : sqlite3_errcode(s->db) & 0xff;

	if (code == SQLITE_FULL || ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) &&
				       room_is_lacking(sqlite3_system_errno(s->db))))
		return ERR_NO_ROOM;
	log_error("registry.sqlite", LS("file", s->path), LS("doing", doing),
	    LS("fault", s->db == NULL ? "out of memory" : sqlite3_errmsg(s->db)));
	return code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? ERR_DAMAGED : ERR_IO;
}

static int
run(struct store *s, enum statement which)
{
	int code = sqlite3_step(s->stmts[which]), err = 0;

	if (code != SQLITE_DONE && code != SQLITE_ROW)
		err = fail(s, sqls[which]);
	sqlite3_reset(s->stmts[which]);
	return err;
}

static void
bind(sqlite3_stmt *stmt, int at, struct bytes b)
{
	sqlite3_bind_blob(
	    stmt, at, b.len ? (const void *)b.data : "", (int)b.len, SQLITE_TRANSIENT);
}

static struct bytes
column(sqlite3_stmt *stmt, int at)
{
	const void *data = sqlite3_column_blob(stmt, at);

	return bytes_of(data, data ? (size_t)sqlite3_column_bytes(stmt, at) : 0);
}

/* --- opening --- */

/* Beside the database: SQLite's own locks lie on the database file and would be dropped by closing it here. */
static int
take_lock(struct store *s, const char *dir)
{
	char path[PATH_LEN];

	snprintf(path, sizeof(path), "%s/registry.lock", dir);
	s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock >= 0 && flock(s->lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (s->lock >= 0 && errno == EWOULDBLOCK)
		return ERR_AGAIN;
	if (room_is_lacking(errno))
		return ERR_NO_ROOM;
	log_error("registry.lock", LS("file", path), LS("fault", strerror(errno)));
	return ERR_IO;
}

typedef void (*row_fn)(struct store *s, sqlite3_stmt *row);

static int
read_rows(struct store *s, const char *sql, row_fn fn)
{
	sqlite3_stmt *row;
	int code;

	if (sqlite3_prepare_v2(s->db, sql, -1, &row, NULL) != SQLITE_OK)
		return fail(s, sql);
	while ((code = sqlite3_step(row)) == SQLITE_ROW)
		fn(s, row);
	sqlite3_finalize(row);
	return code == SQLITE_DONE ? 0 : fail(s, sql);
}

static void
take_version(struct store *s, sqlite3_stmt *row)
{
	s->now.last = (uint64_t)sqlite3_column_int64(row, 0);
}

static void
take_id(struct store *s, sqlite3_stmt *row)
{
	const char *id = (const char *)sqlite3_column_text(row, 0);

	snprintf(s->id, sizeof(s->id), "%s", id ? id : "");
}

static void
take_cursor(struct store *s, sqlite3_stmt *row)
{
	int64_t shard = sqlite3_column_int64(row, 0);

	if (shard >= 0 && shard < s->shards)
		s->cursors[shard] = (uint64_t)sqlite3_column_int64(row, 1);
}

static void
take_counts(struct store *s, sqlite3_stmt *row)
{
	s->now.last = (uint64_t)sqlite3_column_int64(row, 0);
	s->now.devices = (size_t)sqlite3_column_int64(row, 1);
	s->now.credentials = (size_t)sqlite3_column_int64(row, 2);
}

static int
set_up(struct store *s, bool readonly)
{
	static const char counts[] =
	    "SELECT ifnull(max(n), 0), ifnull(sum(type=41 AND gone=0), 0), "
	    "ifnull(sum(type=42 AND gone=0), 0) FROM object";
	int err;

	_Static_assert(MSG_DEVICE == 41 && MSG_CREDENTIAL == 42, "they stand in the statement");
	if ((err = read_rows(s, "PRAGMA user_version", take_version)) != 0)
		return err;
	if (s->now.last > STORE_VERSION) {
		log_error("registry.version", LS("file", s->path), LU("version", s->now.last),
		    LS("fault", "written by a later release"));
		return ERR_UNSUPPORTED;
	}
	if (s->now.last < STORE_VERSION) {
		if (readonly)
			return ERR_NOT_FOUND;
		if (sqlite3_exec(s->db, schema, NULL, NULL, NULL) != SQLITE_OK)
			return fail(s, "creating tables");
	}
	for (size_t i = 0; i < STATEMENT_COUNT; i++)
		if (sqlite3_prepare_v2(s->db, sqls[i], -1, &s->stmts[i], NULL) != SQLITE_OK)
			return fail(s, sqls[i]);
	if ((err = read_rows(s, counts, take_counts)) == 0 &&
	    (err = read_rows(s, "SELECT id FROM meta", take_id)) == 0)
		err = read_rows(s, "SELECT shard, upto FROM cursor", take_cursor);
	return err;
}

static struct store *
new_store(const char *dir, uint32_t shards)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->lock = -1;
	s->shards = shards;
	s->cursors = xcalloc(shards ? shards : 1, sizeof(s->cursors[0]));
	snprintf(s->path, sizeof(s->path), "%s/registry.db", dir);
	return s;
}

static int
open_db(struct store *s, int flags)
{
	if (sqlite3_open_v2(s->path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		return fail(s, "opening");
	sqlite3_busy_timeout(s->db, BUSY_MS);
	return 0;
}

int
store_open(const char *dir, uint32_t shards, struct store **ret_store)
{
	struct store *s;
	int err;

	if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
		if (room_is_lacking(errno))
			return ERR_NO_ROOM;
		log_error("registry.mkdir", LS("dir", dir), LS("fault", strerror(errno)));
		return ERR_IO;
	}
	s = new_store(dir, shards);
	if ((err = take_lock(s, dir)) == 0)
		err = open_db(s, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
	if (err == 0 && sqlite3_exec(s->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
			    NULL, NULL, NULL) != SQLITE_OK)
		err = fail(s, "setting up");
	if (err == 0)
		err = set_up(s, false);
	if (err != 0) {
		store_close(&s);
		return err;
	}
	*ret_store = s;
	return 0;
}

int
store_open_readonly(const char *dir, struct store **ret_store)
{
	struct store *s = new_store(dir, 0);
	int err = ERR_NOT_FOUND;

	if (access(s->path, F_OK) == 0 && (err = open_db(s, SQLITE_OPEN_READONLY)) == 0)
		err = set_up(s, true);
	if (err != 0) {
		store_close(&s);
		return err;
	}
	*ret_store = s;
	return 0;
}

void
store_close(struct store **p_s)
{
	struct store *s = *p_s;

	if (s == NULL)
		return;
	*p_s = NULL;
	for (size_t i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(s->stmts[i]);
	sqlite3_close(s->db);
	if (s->lock >= 0)
		close(s->lock);
	buf_fini(&s->key);
	buf_fini(&s->body);
	free(s->cursors);
	free(s);
}

const char *
store_id(const struct store *s)
{
	return s->id;
}

uint64_t
store_cursor(const struct store *s, uint32_t shard)
{
	return shard < s->shards ? s->cursors[shard] : 0;
}

uint64_t
store_last(const struct store *s)
{
	return s->now.last;
}

size_t
store_devices(const struct store *s)
{
	return s->now.devices;
}

size_t
store_credentials(const struct store *s)
{
	return s->now.credentials;
}

/* --- from the journal --- */

int
store_begin(struct store *s)
{
	s->before = s->now;
	return run(s, BEGIN);
}

void
store_rollback(struct store *s)
{
	s->now = s->before;
	if (sqlite3_get_autocommit(s->db) == 0)
		(void)run(s, ROLLBACK);
}

static int
give_up(struct store *s, int err)
{
	store_rollback(s);
	return err;
}

/* 0 or ERR_NOT_FOUND. */
static int
version_of(struct store *s, struct bytes key, uint64_t *ret_version, bool *ret_gone)
{
	sqlite3_stmt *get = s->stmts[GET];
	int code, err = 0;

	bind(get, 1, key);
	code = sqlite3_step(get);
	if (code == SQLITE_ROW) {
		*ret_version = (uint64_t)sqlite3_column_int64(get, 0);
		*ret_gone = sqlite3_column_int(get, 1) != 0;
	} else {
		err = code == SQLITE_DONE ? ERR_NOT_FOUND : fail(s, sqls[GET]);
	}
	sqlite3_reset(get);
	return err;
}

static struct bytes
owner_of(const struct registry_object *o)
{
	return o->type == MSG_CREDENTIAL || o->type == MSG_ATTRIBUTE ? registry_partition_key(o)
								     : (struct bytes){ 0 };
}

static int
put(struct store *s, const struct registry_object *o, struct bytes body)
{
	sqlite3_stmt *put = s->stmts[PUT];
	struct bytes owner = owner_of(o);
	int err;

	bind(put, 1, buf_bytes(&s->key));
	sqlite3_bind_int(put, 2, (int)o->type);
	sqlite3_bind_int64(put, 3, (int64_t)registry_version(o));
	sqlite3_bind_int64(put, 4, (int64_t)++s->now.last);
	sqlite3_bind_int(put, 5, registry_is_gone(o));
	if (owner.len)
		bind(put, 6, owner);
	else
		sqlite3_bind_null(put, 6);
	bind(put, 7, body);
	err = run(s, PUT);
	if (err == 0 && o->type == MSG_DEVICE && o->any.device.removed) {
		bind(s->stmts[DROP_ATTRIBUTES], 1, o->any.device.id);
		sqlite3_bind_int(s->stmts[DROP_ATTRIBUTES], 2, MSG_ATTRIBUTE);
		err = run(s, DROP_ATTRIBUTES);
	}
	return err;
}

static void
count(struct store *s, const struct registry_object *o, bool was_there)
{
	bool is_there = !registry_is_gone(o);
	size_t *counted = o->type == MSG_DEVICE	      ? &s->now.devices
			  : o->type == MSG_CREDENTIAL ? &s->now.credentials
						      : NULL;

	if (counted)
		*counted = *counted + is_there - was_there;
}

static int
apply(struct store *s, const struct registry_object *o, struct bytes body)
{
	struct registry_object said = *o;
	uint64_t have = 0;
	bool gone = true;
	int err;

	buf_clear(&s->key);
	if (o->type == MSG_ATTRIBUTE) {
		struct registry_object device = { MSG_DEVICE,
			{ .device = { .id = o->any.attribute.device } } };

		registry_put_key(&device, &s->key);
		err = version_of(s, buf_bytes(&s->key), &have, &gone);
		if (err != 0 || gone)
			return err != 0 ? err : ERR_NOT_FOUND;
		have = 0;
		gone = true;
		buf_clear(&s->key);
	}
	registry_put_key(o, &s->key);
	err = version_of(s, buf_bytes(&s->key), &have, &gone);
	if (err != 0 && err != ERR_NOT_FOUND)
		return err;
	if (registry_version(o) == 0 && o->type == MSG_ATTRIBUTE) {
		said.any.attribute.version = have + 1;
		buf_clear(&s->body);
		registry_encode(&said, &s->body);
		body = buf_bytes(&s->body);
	} else if (err == 0 && registry_version(o) <= have) {
		return ERR_EXISTS;
	}
	if ((err = put(s, &said, body)) == 0)
		count(s, o, !gone);
	return err;
}

int
store_apply(struct store *s, const struct registry_object *o, struct bytes body)
{
	int err = apply(s, o, body);

	return err == 0 || err == ERR_EXISTS || err == ERR_NOT_FOUND ? err : give_up(s, err);
}

int
store_commit(struct store *s, const uint64_t *cursors)
{
	sqlite3_stmt *set = s->stmts[SET_CURSOR];
	int err = 0;

	for (uint32_t shard = 0; err == 0 && shard < s->shards; shard++) {
		sqlite3_bind_int64(set, 1, shard);
		sqlite3_bind_int64(set, 2, (int64_t)cursors[shard]);
		err = run(s, SET_CURSOR);
	}
	if (err == 0)
		err = run(s, COMMIT);
	if (err != 0)
		return give_up(s, err);
	memcpy(s->cursors, cursors, s->shards * sizeof(cursors[0]));
	return 0;
}

/* --- reading --- */

int
store_get(struct store *s, struct bytes key, struct buf *ret)
{
	sqlite3_stmt *get = s->stmts[GET];
	struct bytes body;
	int code, err = 0;

	bind(get, 1, key);
	code = sqlite3_step(get);
	if (code == SQLITE_ROW) {
		body = column(get, 2);
		buf_add(ret, body.data, body.len);
	} else {
		err = code == SQLITE_DONE ? ERR_NOT_FOUND : fail(s, sqls[GET]);
	}
	sqlite3_reset(get);
	return err;
}

static int
walk(struct store *s, enum statement which, store_fn fn, void *arg)
{
	sqlite3_stmt *row = s->stmts[which];
	int code = SQLITE_DONE, err = 0;

	while (err == 0 && (code = sqlite3_step(row)) == SQLITE_ROW)
		err = fn(arg, (uint64_t)sqlite3_column_int64(row, 0), column(row, 1));
	if (err == 0 && code != SQLITE_DONE)
		err = fail(s, sqls[which]);
	sqlite3_reset(row);
	return err;
}

int
store_changes(struct store *s, uint64_t after, size_t max, store_fn fn, void *arg)
{
	sqlite3_bind_int64(s->stmts[CHANGES], 1, (int64_t)after);
	sqlite3_bind_int64(s->stmts[CHANGES], 2, (int64_t)max);
	return walk(s, CHANGES, fn, arg);
}

int
store_list(struct store *s, enum msg_type type, struct bytes owner, store_fn fn, void *arg)
{
	enum statement which = owner.len ? LIST_OWNED : LIST;

	sqlite3_bind_int(s->stmts[which], 1, (int)type);
	if (owner.len)
		bind(s->stmts[which], 2, owner);
	return walk(s, which, fn, arg);
}
