/* auth.c - which device is this, and may it speak; pure */
#include "auth.h"

#include <string.h>

#include "err.h"

void
auth_init(struct auth *a, const struct settings *settings)
{
	const char *text = settings_str(settings, SET_AUTH_ANONYMOUS);

	a->anonymous = AUTH_LOOPBACK;
	if (strcmp(text, "true") == 0)
		a->anonymous = AUTH_EVERYONE;
	else if (strcmp(text, "false") == 0)
		a->anonymous = AUTH_NOBODY;
}

int
auth_check(const struct auth *a, const struct auth_request *q, struct auth_grant *ret_grant,
    const char **ret_why)
{
	if (q->username.len > AUTH_NAME_MAX) {
		*ret_why = "user name is longer than 256 bytes";
		return ERR_REFUSED;
	}
	if (a->anonymous == AUTH_NOBODY) {
		*ret_why = "anonymous access is off (auth.anonymous)";
		return ERR_REFUSED;
	}
	if (a->anonymous == AUTH_LOOPBACK && !q->loopback) {
		*ret_why = "anonymous access is for this machine only (auth.anonymous)";
		return ERR_REFUSED;
	}
	ret_grant->identity = q->username.len ? q->username : q->client_id;
	ret_grant->any_device = true;
	return 0;
}

bool
auth_speaks_for(const struct auth_grant *g, struct bytes device)
{
	return g->any_device || bytes_equal(g->identity, device);
}
