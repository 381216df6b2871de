/* history_sql.c - the few SQLite calls that history's files have in common */
#include "history_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "history_day.h"
#include "log.h"
#include "mem.h"
#include "room.h"

#define BUSY_MS 2000
#define SQL_PATH_MAX 1024

int
sql_fail(sqlite3 *db, const char *path, const char *doing)
{
	int code = db == NULL ? SQLITE_NOMEM : sqlite3_extended_errcode(db);

	if ((code & 0xff) == SQLITE_FULL ||
	    (((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN) &&
		room_is_lacking(sqlite3_system_errno(db))))
		return ERR_NO_ROOM;
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

/* The bytes of an empty file with its tables, made in memory. NULL: logged. */
static unsigned char *
empty_file(const char *path, const char *schema, sqlite3_int64 *ret_len)
{
	char *sql =
	    xasprintf("PRAGMA page_size=16384; %s; PRAGMA user_version=%d", schema, HISTORY_SCHEMA);
	unsigned char *bytes = NULL;
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		(void)sql_fail(db, path, "creating");
	else if (sql_exec(db, path, sql) == 0)
		bytes = sqlite3_serialize(db, "main", ret_len, 0);
	sqlite3_close(db);
	free(sql);
	/* Bytes 18 and 19 of a database's header: 2 is WAL (sqlite.org/fileformat2.html, 1.3.3). */
	if (bytes != NULL)
		bytes[18] = bytes[19] = 2;
	return bytes;
}

static int
write_file(const char *path, const unsigned char *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t done = 0;
	ssize_t n = 0;
	int err = 0;

	/* The last bytes that there is room for are written without an error. */
	while (fd >= 0 && done < len && (n = write(fd, bytes + done, len - done)) > 0)
		done += (size_t)n;
	if (fd < 0 || n <= 0 || fsync(fd) != 0)
		err = room_is_lacking(errno) ? ERR_NO_ROOM : ERR_IO;
	if (err == ERR_IO)
		log_error("history.create", LS("file", path), LS("fault", strerror(errno)));
	if (fd >= 0)
		close(fd);
	return err;
}

/* Whole or not at all, and with one sync: letting SQLite make it in place takes a dozen. */
static int
create_file(const char *path, const char *schema)
{
	char new_path[SQL_PATH_MAX];
	sqlite3_int64 len = 0;
	unsigned char *bytes = empty_file(path, schema, &len);
	int err;

	if (bytes == NULL)
		return ERR_IO;
	snprintf(new_path, sizeof(new_path), "%s.new", path);
	err = write_file(new_path, bytes, (size_t)len);
	sqlite3_free(bytes);
	if (err == 0 && rename(new_path, path) != 0) {
		err = room_is_lacking(errno) ? ERR_NO_ROOM : ERR_IO;
		if (err == ERR_IO)
			log_error("history.create", LS("file", path), LS("fault", strerror(errno)));
	}
	return err;
}

static int
check_file(sqlite3 *db, const char *path)
{
	int found = 0, err;

	sqlite3_busy_timeout(db, BUSY_MS);
	err = sql_exec(db, path,
	    "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=16777216; PRAGMA cache_size=-4096");
	if (err != 0 || (err = sql_user_version(db, path, &found)) != 0)
		return err;
	if (found == HISTORY_SCHEMA)
		return 0;
	log_error("history.version", LS("file", path), LI("version", found),
	    LS("fault",
		found > HISTORY_SCHEMA ? "written by a later release" : "not a file of history"));
	return found > HISTORY_SCHEMA ? ERR_UNSUPPORTED : ERR_DAMAGED;
}

int
sql_open(const char *path, const char *schema, sqlite3 **ret_db)
{
	sqlite3 *db = NULL;
	int err;

	if (access(path, F_OK) != 0 && (err = create_file(path, schema)) != 0)
		return err;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK)
		err = sql_fail(db, path, "opening");
	else
		err = check_file(db, path);
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
