/* auth.h - which device is this, and may it speak; pure */
#ifndef ROOST_AUTH_H
#define ROOST_AUTH_H

#include <stdbool.h>

#include "buf.h"
#include "settings.h"

#define AUTH_NAME_MAX 256	/* bytes of a client id or user name */

enum auth_anonymous { AUTH_LOOPBACK, AUTH_EVERYONE, AUTH_NOBODY };

struct auth {
	enum auth_anonymous anonymous;
};

struct auth_request {
	bool loopback;			/* came by a listener that only this machine can reach */
	struct bytes client_id;
	struct bytes username;		/* empty: none */
};

struct auth_grant {
	struct bytes identity;		/* the device that "me" means; borrows from the request */
	bool any_device;		/* may publish readings of whichever device the topic names */
};

void auth_init(struct auth *a, const struct settings *settings);
/* 0, or ERR_REFUSED and why. */
int auth_check(const struct auth *a, const struct auth_request *q, struct auth_grant *ret_grant, const char **ret_why);
/* May it publish readings of this device? */
bool auth_speaks_for(const struct auth_grant *g, struct bytes device);

#endif
