/* acl.h - which topics a client may publish and subscribe to: roles; pure
 *
 *	version: 1
 *	roles:
 *	  dashboard:
 *	    - { deny: subscribe, topic: "roost/+/commands/#" }
 *	    - { allow: subscribe, topic: ["roost/#", "app/%u/#"] }
 *
 * A client has the roles that the registry names, one after the other, and a device the role `device` after them. The first line
 * that matches decides; if none does, it is refused. Words are publish, subscribe and both; topics are filters of MQTT, in which
 *	%c is the client id, %u the user name, %d the device that the client is: in a level or part of one; %% is a %
 *	%g as a whole level is any device that the client may speak for
 * A value that is empty or contains / + # matches nothing, nor does one that begins with $ where the topic begins.
 *
 * A filter is allowed by a line that matches all topics that it matches, and denied by one that matches any of them: so a line
 * that allows a part of it counts for nothing, and what is allowed never lets through what an earlier line denies.
 *
 * Without a role `device` in the text there is ours (ACL_DEVICE). */
#ifndef ROOST_ACL_H
#define ROOST_ACL_H

#include <stdbool.h>

#include "buf.h"

#define ACL_TEXT_MAX 1048576
#define ACL_ROLES_MAX 1000
#define ACL_LINES_MAX 20000  /* of all roles */
#define ACL_PATTERN_MAX 1024 /* bytes */
#define ACL_ROLE_NAME_MAX 128

#define ACL_DEVICE                                                                                 \
	"version: 1\n"                                                                             \
	"roles:\n"                                                                                 \
	"  device:\n"                                                                              \
	"    - allow: both\n"                                                                      \
	"      topic: ['roost/%d/#', 'roost/%g/#', 'v1/devices/me/#', 'v2/#', 'response/%c/#']\n"  \
	"    - allow: both\n"                                                                      \
	"      gateway: true\n"                                                                    \
	"      topic: 'v1/gateway/#'\n"

enum acl_right { ACL_PUBLISH = 1, ACL_SUBSCRIBE = 2 };

/* Whose doing it is. Empty: it has none. */
struct acl_who {
	struct bytes client, user, device;
	struct bytes roles;	 /* comma separated */
	struct bytes speaks_for; /* as in DEVICE */
	bool is_device;
};

struct acl;
/* path: for places in messages. ERR_CONFIG: err has sentences, each with path:line:column, one a line (at most 20). An empty text
 * is a file without roles. */
int acl_parse(struct bytes text, const char *path, struct acl **ret_acl, struct buf *err);
void acl_free(struct acl **acl);
/* what: a topic, or, of ACL_SUBSCRIBE, a filter too; valid, without $share/group/. */
bool acl_may(
    const struct acl *acl, const struct acl_who *who, enum acl_right right, struct bytes what);
bool acl_has_role(const struct acl *acl, struct bytes name);

#endif
