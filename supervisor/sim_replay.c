/* sim_replay.c - recordings to play back: `timestamp,value` lines below a header */
#include "sim_replay.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "err.h"
#include "mem.h"

static int
parse_line(char *line, struct sim_point *ret)
{
	char *comma = strchr(line, ',');
	char *end, *space;
	double value;
	int64_t time_us;

	if (comma == NULL)
		return ERR_MALFORMED;
	*comma = '\0';
	space = strchr(line, ' ');
	if (space != NULL)
		*space = 'T';
	if (clock_parse_iso(bytes_of_str(line), &time_us) != 0)
		return ERR_MALFORMED;
	value = strtod(comma + 1, &end);
	if (end == comma + 1 || (*end != '\0' && *end != ',') || !isfinite(value))
		return ERR_MALFORMED;
	*ret = (struct sim_point){ .time_us = time_us, .value = value };
	return 0;
}

static int
by_time(const void *a, const void *b)
{
	const struct sim_point *x = a, *y = b;

	return (x->time_us > y->time_us) - (x->time_us < y->time_us);
}

int
sim_recording_load(const char *path, struct sim_recording *ret, struct buf *err)
{
	struct sim_recording r = { 0 };
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0, room = 0, number = 0;
	int rc = ERR_IO;

	if (f == NULL) {
		buf_addf(err, "%s: %s", path, strerror(errno));
		return ERR_IO;
	}
	while (getline(&line, &cap, f) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		if (++number == 1 || line[0] == '\0')
			continue;
		if (r.count == room) {
			room = room == 0 ? 1024 : room * 2;
			r.points = xrealloc(r.points, room * sizeof(*r.points));
		}
		if (r.count == SIM_REPLAY_MAX) {
			buf_addf(err, "%s: more than %d points", path, SIM_REPLAY_MAX);
			rc = ERR_TOO_BIG;
			goto out;
		}
		if (parse_line(line, &r.points[r.count]) != 0) {
			buf_addf(
			    err, "%s:%zu: not a line of the form timestamp,value", path, number);
			rc = ERR_CONFIG;
			goto out;
		}
		r.count++;
	}
	if (ferror(f)) {
		buf_addf(err, "%s: %s", path, strerror(errno));
		goto out;
	}
	if (r.count == 0) {
		buf_addf(err, "%s: no points below the header line", path);
		rc = ERR_CONFIG;
		goto out;
	}
	qsort(r.points, r.count, sizeof(*r.points), by_time);
	*ret = r;
	r.points = NULL;
	rc = 0;
out:
	free(r.points);
	free(line);
	fclose(f);
	return rc;
}

void
sim_recording_fini(struct sim_recording *r)
{
	free(r->points);
	*r = (struct sim_recording){ 0 };
}
