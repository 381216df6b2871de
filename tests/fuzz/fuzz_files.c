/* fuzz_files.c - the small text files: recordings that roost sim plays, the supervisor's lives, storage's FORMAT and cursors,
 * and the listening sockets that a worker is told of
 *
 * First byte: which.
 *
 * fuzz: -max_len=512 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cursors.h"
#include "err.h"
#include "format.h"
#include "lives.h"
#include "mem.h"
#include "sim_replay.h"
#include "support.h"
#include "worker.h"

static void
recording(struct bytes text)
{
	struct sim_recording r = { 0 };
	struct buf err = { 0 };
	int rc;

	fuzz_write("r.csv", text);
	rc = sim_recording_load(fuzz_path("r.csv"), &r, &err);
	ASSERT(rc == 0 ? r.count > 0 && err.len == 0 : err.len > 0);
	for (size_t i = 0; rc == 0 && i < r.count; i++) {
		ASSERT(isfinite(r.points[i].value));
		ASSERT(i == 0 || r.points[i].time_us >= r.points[i - 1].time_us);
	}
	if (rc == 0)
		sim_recording_fini(&r);
	buf_fini(&err);
}

/* Numbers that were given out never come again. */
static void
lives(struct bytes text)
{
	struct lives l = { 0 }, again = { 0 };
	struct buf err = { 0 };
	uint64_t first, second;

	fuzz_write("lives", text);
	if (lives_open(&l, fuzz_dir(), &err) == 0 && lives_next(&l, &first) == 0 &&
	    lives_open(&again, fuzz_dir(), &err) == 0 && lives_next(&again, &second) == 0)
		ASSERT(second > first);
	buf_fini(&err);
}

static void
format(struct bytes text)
{
	int rc;

	mkdir(fuzz_path("journal"), 0700);
	fuzz_write("journal/FORMAT", text);
	rc = format_check(fuzz_dir(), 16, 1);
	ASSERT(rc == 0 || rc == ERR_CONFIG);
}

static void
cursors(struct bytes text)
{
	struct cursors c, again;
	uint64_t hold;

	fuzz_write("cursors", text);
	cursors_init(&c, fuzz_dir(), "rules,history");
	ASSERT(c.count <= CURSORS_MAX);
	cursors_advance(&c, "rules", UINT64_MAX);
	cursors_advance(&c, "history", UINT64_MAX - 1);
	hold = cursors_hold(&c);
	cursors_save(&c);
	cursors_init(&again, fuzz_dir(), "rules,history");
	ASSERT(cursors_hold(&again) == hold);
	cursors_fini(&c);
	cursors_fini(&again);
}

static void
listeners(struct bytes text)
{
	char *copy = xstrndup((const char *)text.data, text.len);
	struct worker w = { 0 };

	if (worker_read_listeners(&w, copy) == 0) {
		for (size_t i = 0; i < w.listener_count; i++)
			ASSERT(w.listeners[i].fd >= 0 && w.listeners[i].kind[0] &&
			       w.listeners[i].address[0]);
	}
	free(w.listeners);
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const all[])(
	    struct bytes text) = { recording, lives, format, cursors, listeners };

	fuzz_quiet();
	if (size > 0)
		all[data[0] % COUNT_OF(all)](bytes_of(data + 1, size - 1));
	return 0;
}
