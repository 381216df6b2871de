/* access.h - what a proven client may publish and subscribe to: the roles of auth.acl_file, as they are now
 *
 * Whoever needs no credentials may do everything. */
#ifndef ROOST_ACCESS_H
#define ROOST_ACCESS_H

#include "acl.h"
#include "auth.h"

struct access;

/* ERR_CONFIG: logged, with line and column. */
int access_new(const struct settings *settings, struct access **ret_access);
void access_free(struct access **a);
/* Reads the file again. true: other roles are in force; what is wrong is logged, and nothing changes. */
bool access_reload(struct access *a);
/* client: of MQTT, else empty. username: as it was given, or empty. what: as of acl_may(). */
bool access_may(const struct access *a, const struct auth_grant *grant, struct bytes client,
    struct bytes username, enum acl_right right, struct bytes what);
/* May it report readings of this device, whatever the protocol: as if it published them to roost/{device}/telemetry. own: as for
 * auth_device(). */
bool access_may_report(
    const struct access *a, const struct auth_grant *grant, struct bytes own, struct bytes device);

#endif
