/* cli.h - what `roost device` and `roost user` have in common: options, settings, registry.db to read, the registry to ask
 *
 * Exit codes: 0 done, or so already; 1 refused: not found, exists, changed meanwhile; 64 usage; 65 an input is wrong; 69 no registry
 * here; 75 no answer: it may be done or be done yet, the same command again tells; 78 configuration. */
#ifndef ROOST_REGISTRY_CLI_H
#define ROOST_REGISTRY_CLI_H

#include "asker.h"
#include "exit_codes.h"
#include "store.h"

#define EXIT_REFUSED 1
#define EXIT_DATA 65
#define CLI_NAMES_MAX 4
#define CLI_LIST_MAX 64
#define CLI_INPUT_MAX (256u << 20)

struct cli_list {
	const char *at[CLI_LIST_MAX];
	size_t n;
};

struct cli {
	const char *tool; /* "roost device" */
	const char *usage;
	struct settings *settings;
	char *dir;
	char actor[64];
	bool json;
	const char *names[CLI_NAMES_MAX]; /* command and what it is about */
	size_t name_count;
	struct cli_list tags, speaks_for, roles, attributes;
	const char *profile;
	const char *user, *password_file, *token_file, *certificate, *ca, *subject, *psk, *psk_file;
	const char *expires;
	int64_t expires_at; /* wall clock, us; 0: never */
	bool no_credential;
	bool keep;
	bool clear;
	struct store *store; /* opened by cli_store() */
	struct asker *asker; /* by cli_asker() */
	struct buf out;
	int code; /* of exit, so far */
};

/* Options into cli; exits if they are wrong. */
void cli_parse(struct cli *cli, int argc, char **argv);
void cli_fini(struct cli *cli);
/* "roost device: WHAT: DETAIL" and the end of the process. */
_Noreturn void cli_fail(struct cli *cli, int code, const char *what, const char *detail);
/* NULL: there is none, because no registry ever ran here. */
struct store *cli_store(struct cli *cli);
struct asker *cli_asker(struct cli *cli);
/* Until at most so many changes wait for their answer; ends the process if they get none. */
void cli_wait(struct cli *cli, size_t left);
/* One change, and its answer's code; reason is appended. what: for people, if the registry is away. */
uint64_t cli_ask(struct cli *cli, const struct registry_object *o, bool create, uint64_t expected, struct buf *reason);
/* The same, and the end of the process unless it is done or was so: what names the object. */
void cli_change(struct cli *cli, const char *what, const struct registry_object *o, bool create, uint64_t expected);
/* The object as registry.db has it, gone ones included; body holds it. */
bool cli_get(struct cli *cli, const struct registry_object *named, struct buf *body, struct registry_object *ret);
bool cli_get_device(struct cli *cli, const char *id, struct buf *body, struct registry_object *ret); /* that is registered */
/* A whole file, or standard input for "-"; ends the process if it cannot be read or is larger than max. */
void cli_read(struct cli *cli, const char *path, size_t max, struct buf *ret);
/* Its first line: a secret. */
void cli_read_secret(struct cli *cli, const char *path, struct buf *ret);
void cli_flush(struct cli *cli);

/* "a=1;b=2", or an option said several times, as lines; sorted: ascending. */
void cli_put_lines(struct bytes text, char separator, bool sorted, struct buf *out);
void cli_join(const struct cli_list *list, char separator, bool sorted, struct buf *out);

#endif
