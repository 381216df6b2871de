/* history_points.h - points of one series in memory: what blocks are made from and read into
 *
 * String bytes lie in one buffer and points hold where, so that the array may grow and be sorted. */
#ifndef ROOST_HISTORY_POINTS_H
#define ROOST_HISTORY_POINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "record.h"

struct history_point {
	int64_t time;		/* us since the Unix epoch */
	union {
		double f;
		int64_t i;
		bool b;
		struct {
			uint32_t at;	/* in history_points.strings */
			uint32_t len;
		} s;
	} v;
	uint8_t kind;		/* enum value_kind */
	bool device_time;	/* the device gave the time: another point of the same time is a copy */
};

/* {0} is a valid empty list. */
struct history_points {
	struct history_point *at;
	size_t n;
	size_t cap;
	struct buf strings;
};

void history_points_fini(struct history_points *p);
void history_points_clear(struct history_points *p);	/* keeps the memory */
void history_points_reserve(struct history_points *p, size_t more);
/* Copies v. A string is at most POINT_STRING_MAX bytes. */
void history_points_add(struct history_points *p, int64_t time, const struct value *v, bool device_time);
void history_points_append(struct history_points *p, const struct history_points *other, size_t from, size_t n);
/* A string borrows until the next change of p. */
struct value history_points_value(const struct history_points *p, size_t i);
/* By time; points of one time keep their order. */
void history_points_sort(struct history_points *p);
/* Sorted points: drops those with a device's time that follow one of the same time; returns how many. */
size_t history_points_drop_copies(struct history_points *p);
/* About what these points cost in a block: its size, not more. */
size_t history_points_bytes(const struct history_points *p, size_t from, size_t n);

#endif
