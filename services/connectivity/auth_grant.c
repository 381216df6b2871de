/* auth_grant.c - what a proven credential gives; pure */
#include <stdlib.h>

#include "auth.h"
#include "registry_change.h"

/* One for all, so that a connection without credentials has no more than a pointer. The reference here is never let go. */
static struct auth_grant anyone = { .refs = 1, .any_device = true };

struct auth_grant *
auth_anyone(void)
{
	return auth_grant_ref(&anyone);
}

struct auth_grant *
auth_guest(void)
{
	static struct auth_grant guest = { .refs = 1, .guest = true };

	guest.identity = bytes_of_str(AUTH_GUEST);
	return auth_grant_ref(&guest);
}

struct auth_grant *
auth_grant_ref(struct auth_grant *g)
{
	g->refs++;
	return g;
}

void
auth_grant_unref(struct auth_grant **p_g)
{
	struct auth_grant *g = *p_g;

	*p_g = NULL;
	if (!g || --g->refs > 0)
		return;
	buf_fini(&g->names);
	buf_fini(&g->rights);
	free(g);
}

struct bytes
auth_identity(const struct auth_grant *g, struct bytes own)
{
	return g->identity.len ? g->identity : own;
}

struct bytes
auth_device(const struct auth_grant *g, struct bytes own)
{
	if (!g->identity.len)
		return own;
	return g->is_device ? g->identity : (struct bytes){ 0 };
}

bool
auth_speaks_for(const struct auth_grant *g, struct bytes own, struct bytes device)
{
	return g->any_device || bytes_equal(auth_device(g, own), device) ||
	       registry_speaks_for(g->speaks_for, device);
}
