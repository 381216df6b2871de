/* history_sql.h - the few SQLite calls that history's files have in common */
#ifndef ROOST_HISTORY_SQL_H
#define ROOST_HISTORY_SQL_H

#include <sqlite3.h>
#include <stdbool.h>

#include "buf.h"

/* Logs what SQLite says about db and returns ERR_IO, or ERR_DAMAGED if it is the file; ERR_NO_ROOM is left to the caller to say. */
int sql_fail(sqlite3 *db, const char *path, const char *doing);
/* Opens for writing: WAL, synchronous=FULL, 16 KiB pages; creates the file, tables and all, if there is none. ERR_DAMAGED: it is
 * no file of history. */
int sql_open(const char *path, const char *schema, sqlite3 **ret_db);
/* Renames a file that is no database any more, loudly, so that a new one can begin. */
void sql_set_aside(const char *path);
int sql_exec(sqlite3 *db, const char *path, const char *sql);
int sql_user_version(sqlite3 *db, const char *path, int *ret_version);	
int sql_prepare(sqlite3 *db, const char *path, const char *sql, sqlite3_stmt **ret_stmt);
/* Runs to the end and resets. */
int sql_run(sqlite3 *db, const char *path, sqlite3_stmt *stmt);
void sql_bind_bytes(sqlite3_stmt *stmt, int column, struct bytes b);	/* borrowed until reset */
struct bytes sql_bytes(sqlite3_stmt *stmt, int column);			/* until the next step */

#endif
