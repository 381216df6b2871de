/* rows.h - rows of a CSV file as objects of the registry
 *
 * The first line names the columns, in any order: id or user; profile, tags, speaks_for, roles (a;b;c), blocked (yes, no); token;
 * username and password; psk_identity and psk; fingerprint; credentials and attributes as export writes them (JSON). What has
 * no column stays as it is. All rows are read before anything is changed. */
#ifndef ROOST_REGISTRY_ROWS_H
#define ROOST_REGISTRY_ROWS_H

#include "cli.h"

struct row_object {
	struct buf body; /* encoded; a credential whose secret is known already is as it was */
	bool is_new;
};

struct row {
	unsigned line;
	char *id; /* the device; empty: a user's credentials */
	bool is_new;
	struct row_object *objects; /* the device first, if there is one */
	size_t count;
	size_t credentials; /* of these */
};

struct rows {
	struct row *at;
	size_t n;
	size_t faults;
};

/* Faults go to standard error as path:line:column: sentence; the first 20 of them. */
void rows_read(struct cli *cli, const char *path, struct bytes text, struct rows *ret);
void rows_fini(struct rows *rows);

#endif
