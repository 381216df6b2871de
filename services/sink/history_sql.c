/* history_sql.c - the few SQLite calls that history's files have in common */
#include "history_sql.h"

#include <stdio.h>

#include "err.h"
#include "history_day.h"
#include "log.h"
#include "mem.h"

#define BUSY_MS 2000
#define SQL_PATH_MAX 1024

int
sql_fail(sqlite3 *db, const char *path, const char *doing)
{
	int code = db == NULL ? SQLITE_NOMEM : sqlite3_extended_errcode(db);

	log_error("history.sqlite", LS("file", path), LS("doing", doing),
	    LS("fault", db == NULL ? "out of memory" : sqlite3_errmsg(db)), LI("code", code));
	return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB ? ERR_DAMAGED
										 : ERR_IO;
}

void
sql_set_aside(const char *path)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char from[SQL_PATH_MAX], to[SQL_PATH_MAX];

	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		snprintf(from, sizeof(from), "%s%s", path, suffixes[i]);
		snprintf(to, sizeof(to), "%s.damaged%s", path, suffixes[i]);
		(void)rename(from, to);
	}
	log_error("history.set_aside", LS("file", path),
	    LS("remedy", "it is now <file>.damaged; sqlite3's .recover may save what it holds"));
}

int
sql_exec(sqlite3 *db, const char *path, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_fail(db, path, sql);
}

int
sql_user_version(sqlite3 *db, const char *path, int *ret_version)
{
	sqlite3_stmt *stmt;
	int err = sql_prepare(db, path, "PRAGMA user_version", &stmt);

	if (err != 0)
		return err;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		*ret_version = sqlite3_column_int(stmt, 0);
	else
		err = sql_fail(db, path, "reading its version");
	sqlite3_finalize(stmt);
	return err;
}

static int
prepare_file(sqlite3 *db, const char *path, const char *schema)
{
	char version[64];
	int found = 0, err;

	sqlite3_busy_timeout(db, BUSY_MS);
	if ((err = sql_exec(db, path,
		 "PRAGMA page_size=16384; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		 " PRAGMA journal_size_limit=16777216; PRAGMA cache_size=-4096")) != 0 ||
	    (err = sql_user_version(db, path, &found)) != 0)
		return err;
	if (found > HISTORY_SCHEMA) {
		log_error("history.version", LS("file", path), LI("version", found),
		    LS("fault", "written by a later release"));
		return ERR_UNSUPPORTED;
	}
	if (found == HISTORY_SCHEMA)
		return 0;
	snprintf(version, sizeof(version), "PRAGMA user_version=%d", HISTORY_SCHEMA);
	if ((err = sql_exec(db, path, "BEGIN IMMEDIATE")) != 0 ||
	    (err = sql_exec(db, path, schema)) != 0 || (err = sql_exec(db, path, version)) != 0)
		return err;
	return sql_exec(db, path, "COMMIT");
}

int
sql_open(const char *path, const char *schema, sqlite3 **ret_db)
{
	sqlite3 *db = NULL;
	int err;

	if (sqlite3_open_v2(path, &db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		NULL) != SQLITE_OK)
		err = sql_fail(db, path, "opening");
	else
		err = prepare_file(db, path, schema);
	if (err != 0) {
		sqlite3_close(db);
		return err;
	}
	*ret_db = db;
	return 0;
}

int
sql_prepare(sqlite3 *db, const char *path, const char *sql, sqlite3_stmt **ret_stmt)
{
	return sqlite3_prepare_v2(db, sql, -1, ret_stmt, NULL) == SQLITE_OK
		   ? 0
		   : sql_fail(db, path, sql);
}

int
sql_run(sqlite3 *db, const char *path, sqlite3_stmt *stmt)
{
	int code;

	do
		code = sqlite3_step(stmt);
	while (code == SQLITE_ROW);
	if (code != SQLITE_DONE)
		code = sql_fail(db, path, sqlite3_sql(stmt));
	else
		code = 0;
	sqlite3_reset(stmt);
	return code;
}

void
sql_bind_bytes(sqlite3_stmt *stmt, int column, struct bytes b)
{
	sqlite3_bind_text(
	    stmt, column, b.len == 0 ? "" : (const char *)b.data, (int)b.len, SQLITE_STATIC);
}

struct bytes
sql_bytes(sqlite3_stmt *stmt, int column)
{
	const void *data = sqlite3_column_blob(stmt, column);
	int len = sqlite3_column_bytes(stmt, column);

	return data == NULL || len <= 0 ? bytes_of("", 0) : bytes_of(data, (size_t)len);
}
