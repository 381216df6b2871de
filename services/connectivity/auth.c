/* auth.c - who is this, and may it speak: the door for every protocol */
#include "auth.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

enum auth_anonymous { AUTH_LOOPBACK, AUTH_EVERYONE, AUTH_NOBODY };

struct listening {
	auth_listen_fn fn;
	void *arg;
};

struct auth {
	enum auth_anonymous anonymous;
	struct listening listening[AUTH_LISTENERS_MAX];
	size_t listening_count;
};

struct auth *
auth_new(const struct settings *settings)
{
	struct auth *a = xcalloc(1, sizeof(*a));
	const char *text = settings_str(settings, SET_AUTH_ANONYMOUS);

	if (strcmp(text, "true") == 0)
		a->anonymous = AUTH_EVERYONE;
	else if (strcmp(text, "false") == 0)
		a->anonymous = AUTH_NOBODY;
	return a;
}

void
auth_free(struct auth **p_a)
{
	free(*p_a);
	*p_a = NULL;
}

static enum auth_verdict
refuse(enum auth_verdict verdict, const char *why, struct auth_answer *ret)
{
	*ret = (struct auth_answer){ .why = why };
	return verdict;
}

enum auth_verdict
auth_check(struct auth *a, const struct auth_request *q, auth_done_fn done, void *arg,
    struct auth_answer *ret)
{
	(void)done;
	(void)arg;
	if (q->username.len > AUTH_NAME_MAX)
		return refuse(AUTH_BAD_CREDENTIALS, "user name is longer than 256 bytes", ret);
	if (a->anonymous == AUTH_NOBODY)
		return refuse(AUTH_NOT_AUTHORIZED, "anonymous access is off (auth.anonymous)", ret);
	if (a->anonymous == AUTH_LOOPBACK && !q->loopback)
		return refuse(AUTH_NOT_AUTHORIZED,
		    "anonymous access is for this machine only (auth.anonymous)", ret);
	*ret = (struct auth_answer){ .grant = auth_anyone() };
	return AUTH_GRANTED;
}

void
auth_forget(struct auth *a, const void *arg)
{
	(void)a;
	(void)arg;
}

void
auth_listen(struct auth *a, auth_listen_fn fn, void *arg)
{
	ASSERT(a->listening_count < AUTH_LISTENERS_MAX);
	a->listening[a->listening_count++] = (struct listening){ fn, arg };
}

int
auth_psk(struct auth *a, struct bytes identity, uint8_t *ret_key, size_t max)
{
	(void)a;
	(void)identity;
	(void)ret_key;
	(void)max;
	return ERR_NOT_FOUND;
}
