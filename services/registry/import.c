/* import.c - rows of a file into the registry, many under way */
#include "import.h"

#include <stdio.h>
#include <stdlib.h>

#include "credential.h"
#include "csv.h"
#include "err.h"
#include "mem.h"
#include "rows.h"
#include "secret.h"
#include "show.h"
#include "value_text.h"

struct counts {
	size_t added, changed, unchanged, refused;
};

struct import {
	struct cli *cli;
	const char *path;
	struct counts counts;
};

/* One row under way: its device, then the rest of it, one behind the other. */
struct going {
	struct import *im;
	const struct row *row;
	size_t next; /* of its objects */
	bool generates;
	bool is_new, is_changed;
	struct secret secret;
};

static void go_on(struct going *g);

static void
finish(struct going *g, bool refused)
{
	struct counts *c = &g->im->counts;

	*(refused	    ? &c->refused
	    : g->is_new	    ? &c->added
	    : g->is_changed ? &c->changed
			    : &c->unchanged) += 1;
	secret_wipe(&g->secret);
	free(g);
}

static void
put_token(struct going *g)
{
	struct cli *cli = g->im->cli;

	if (cli->json) {
		const char *const pairs[][2] = { { "id", g->row->id },
			{ "token", g->secret.generated } };

		show_done(cli, pairs, 2);
		return;
	}
	csv_put(&cli->out, bytes_of_str(g->row->id));
	buf_addf(&cli->out, ",%s\n", g->secret.generated);
	cli_flush(cli);
}

static void
on_answer(void *arg, uint64_t code, struct bytes reason, uint64_t version)
{
	struct going *g = arg;

	(void)version;
	if (code != CHANGE_DONE && code != CHANGE_UNCHANGED) {
		fprintf(stderr, "%s:%u: %.*s\n", g->im->path, g->row->line, (int)reason.len,
		    reason.len ? (const char *)reason.data : "");
		finish(g, true);
		return;
	}
	g->is_changed |= code == CHANGE_DONE;
	if (g->generates) {
		put_token(g);
		finish(g, false);
		return;
	}
	go_on(g);
}

static int
stop_at_one(void *arg, uint64_t n, struct bytes body)
{
	(void)n;
	(void)body;
	*(bool *)arg = true;
	return ERR_EXISTS;
}

/* registry.db has what the registry answered: an import that was broken off is not given second tokens. */
static bool
wants_token(const struct going *g)
{
	bool has = false;

	if (g->im->cli->no_credential || g->row->credentials > 0 || g->row->id[0] == '\0')
		return false;
	(void)store_list(
	    cli_store(g->im->cli), MSG_CREDENTIAL, bytes_of_str(g->row->id), stop_at_one, &has);
	return !has;
}

static void
go_on(struct going *g)
{
	struct asker *asker = cli_asker(g->im->cli);
	struct registry_object o;

	if (g->next < g->row->count) {
		const struct row_object *object = &g->row->objects[g->next++];

		(void)registry_decode(
		    buf_bytes(&object->body), &o, NULL); /* it was, when the file was read */
		asker_push(asker, &o, object->is_new, 0, on_answer, g);
	} else if (wants_token(g)) {
		g->generates = true;
		(void)secret_token(&g->secret, (struct bytes){ 0 });
		secret_owner(&g->secret, g->row->id, "", (struct bytes){ 0 });
		asker_push(asker, &g->secret.credential, true, 0, on_answer, g);
	} else {
		finish(g, false);
	}
}

void
import_file(struct cli *cli, const char *path)
{
	struct import im = { .cli = cli, .path = path };
	struct buf text = { 0 };
	struct rows rows;

	cli_read(cli, path, CLI_INPUT_MAX, &text);
	rows_read(cli, path, buf_bytes(&text), &rows);
	if (text.len)
		credential_wipe(text.data, text.len);
	buf_fini(&text);
	if (rows.faults > 0)
		cli_fail(cli, EXIT_DATA, path, "nothing was changed");
	for (size_t i = 0; i < rows.n; i++) {
		struct going *g = xcalloc(1, sizeof(*g));

		g->im = &im;
		g->row = &rows.at[i];
		g->is_new = rows.at[i].is_new;
		go_on(g);
		cli_wait(cli, ASKER_WINDOW - 1);
	}
	cli_wait(cli, 0);
	fprintf(stderr, "%s: %zu new, %zu changed, %zu as they were, %zu refused\n", path,
	    im.counts.added, im.counts.changed, im.counts.unchanged, im.counts.refused);
	if (im.counts.refused > 0)
		cli->code = EXIT_REFUSED;
	rows_fini(&rows);
}
