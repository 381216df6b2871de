/* history_erase.c - what a device ever said, out of all files of history */
#include "history_erase.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "history_day.h"
#include "history_pack.h"
#include "history_sql.h"
#include "log.h"
#include "mem.h"
#include "registry_change.h"

#define PATH_LEN 768

bool
history_erases(const struct entry *e, struct bytes *ret_device)
{
	struct registry_object o;

	if (e->kind != ENTRY_CONTEXT || registry_decode(e->body, &o, NULL) != 0 ||
	    o.type != MSG_DEVICE || !o.any.device.erase)
		return false;
	*ret_device = o.any.device.id;
	return true;
}

bool
history_view_erases(const struct block_view *v)
{
	struct bytes rest = v->entries, device;
	struct entry e;

	while (entry_next(&rest, &e) == 0)
		if (history_erases(&e, &device))
			return true;
	return false;
}

size_t
history_erased_by(const struct block_view *v, struct history_erased **ret_list)
{
	struct bytes rest = v->entries, device;
	struct history_erased *list = NULL;
	size_t n = 0;
	struct entry e;

	for (size_t i = 0; entry_next(&rest, &e) == 0; i++) {
		if (!history_erases(&e, &device))
			continue;
		list = xrealloc(list, (n + 1) * sizeof(*list));
		list[n++] = (struct history_erased){ device, i };
	}
	*ret_list = list;
	return n;
}

/* Packing ended between the pack and the file that is in it: this is the rest of that. */
static bool
is_packed(const char *dir, const char *path, int64_t day)
{
	const struct pack_day *packed;
	struct history_pack *p = NULL;
	int64_t changed;
	bool same;

	if (history_pack_open(dir, history_pack_month(day), &p) != 0)
		return false;
	packed = history_pack_day(p, day);
	same = packed != NULL && packed->ident == history_pack_ident(path, &changed);
	history_pack_close(&p);
	return same;
}

static int
get_int(sqlite3 *db, const char *path, sqlite3_stmt *stmt, int64_t *ret)
{
	int code = sqlite3_step(stmt), err = 0;

	*ret = 0;
	if (code == SQLITE_ROW)
		*ret = sqlite3_column_int64(stmt, 0);
	else if (code != SQLITE_DONE)
		err = sql_fail(db, path, sqlite3_sql(stmt));
	sqlite3_finalize(stmt);
	return err;
}

/* 0 rows: the file has nothing to erase. */
static int
count_series(sqlite3 *db, const char *path, const struct history_erasure *e, int64_t *ret_rows)
{
	sqlite3_stmt *stmt;
	int64_t upto;
	int err = sql_prepare(db, path, "SELECT upto FROM cursor WHERE shard=?1", &stmt);

	if (err != 0)
		return err;
	sqlite3_bind_int64(stmt, 1, e->shard);
	if ((err = get_int(db, path, stmt, &upto)) != 0)
		return err;
	*ret_rows = 0;
	if ((uint64_t)upto > e->offset)
		return 0;
	if ((err = sql_prepare(db, path, "SELECT count(*) FROM series WHERE device=?1", &stmt)) !=
	    0)
		return err;
	sql_bind_bytes(stmt, 1, e->device);
	return get_int(db, path, stmt, ret_rows);
}

static int
erase_rows(sqlite3 *db, const char *path, const struct history_erasure *e)
{
	static const char *const sqls[] = {
		"DELETE FROM block WHERE series IN (SELECT id FROM series WHERE device=?1)",
		"DELETE FROM masked WHERE series IN (SELECT id FROM series WHERE device=?1)",
		"DELETE FROM series WHERE device=?1",
	};
	int err = sql_exec(db, path, "PRAGMA secure_delete=ON; BEGIN IMMEDIATE");

	for (size_t i = 0; err == 0 && i < COUNT_OF(sqls); i++) {
		sqlite3_stmt *stmt;

		if ((err = sql_prepare(db, path, sqls[i], &stmt)) != 0)
			break;
		sql_bind_bytes(stmt, 1, e->device);
		err = sql_run(db, path, stmt);
		sqlite3_finalize(stmt);
	}
	if (err == 0)
		err = sql_exec(db, path, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
	return err;
}

/* Retention goes by a file's last change: this is none. */
static void
keep_time(const char *path, const struct stat *before)
{
	const struct timespec times[2] = { before->st_atim, before->st_mtim };

	if (utimensat(AT_FDCWD, path, times, 0) != 0)
		log_warn("history.time", LS("file", path), LS("fault", strerror(errno)));
}

static int
erase_day(const char *dir, const char *name, int64_t day, const struct history_erasure *e)
{
	char path[PATH_LEN];
	sqlite3 *db = NULL;
	struct stat before;
	int64_t rows = 0;
	int err;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (stat(path, &before) != 0)
		return errno == ENOENT ? 0 : ERR_IO;
	if (is_packed(dir, path, day)) {
		if (unlink(path) != 0)
			log_warn("history.remove", LS("file", path), LS("fault", strerror(errno)));
		return 0;
	}
	err = sql_open(path, "", &db);
	if (err == ERR_DAMAGED) /* said; it is set aside when it is next written to */
		return 0;
	if (err == 0 && (err = count_series(db, path, e, &rows)) == 0 && rows > 0)
		err = erase_rows(db, path, e);
	sqlite3_close(db);
	keep_time(path, &before);
	return err;
}

int
history_erase(const char *dir, uint32_t shards, struct history_codec *codec,
    const struct history_erasure *erasure)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;
	int64_t number;
	int err = 0;

	if (d == NULL) {
		log_error("history.erase", LS("dir", dir), LS("fault", strerror(errno)));
		return ERR_IO;
	}
	while (err == 0 && (entry = readdir(d)) != NULL) {
		if (history_day_parse(entry->d_name, &number))
			err = erase_day(dir, entry->d_name, number, erasure);
		else if (history_pack_parse(entry->d_name, &number))
			err = history_pack_erase(dir, number, shards, codec, erasure);
	}
	closedir(d);
	if (err == 0)
		log_info("history.erased", LB("device", erasure->device),
		    LU("shard", erasure->shard), LU("offset", erasure->offset));
	return err;
}
