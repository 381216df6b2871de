/* csv.h - comma separated values (RFC 4180), with the line and column of each field; pure */
#ifndef ROOST_REGISTRY_CSV_H
#define ROOST_REGISTRY_CSV_H

#include "buf.h"

#define CSV_FIELDS_MAX 32
#define CSV_FIELD_MAX 131072 /* bytes of one field */

struct csv {
	struct bytes rest;
	unsigned line; /* of what comes next, from 1 */
	struct buf text; /* fields of this record, unquoted */
};

struct csv_record {
	size_t count;
	struct bytes fields[CSV_FIELDS_MAX];
	unsigned line;
	unsigned columns[CSV_FIELDS_MAX]; /* where each begins, in bytes, from 1 */
};

struct csv csv_of(struct bytes text);
void csv_fini(struct csv *c);
/* The next record; its fields are valid until the next call. Empty lines are passed over. ERR_NOT_FOUND at the end. ERR_MALFORMED,
 * ERR_TOO_BIG: *why is a sentence, and line and columns[count] (if there is one) of ret_record say where. */
int csv_next(struct csv *c, struct csv_record *ret_record, const char **why);
/* Appends a field; quoted where it has to be. */
void csv_put(struct buf *out, struct bytes field);

#endif
