/* acl_impl.h - roles in memory; pure */
#ifndef ROOST_ACL_IMPL_H
#define ROOST_ACL_IMPL_H

#include "acl.h"

struct acl_line {
	bool allow;
	bool gateway;	/* counts for those only who speak for others */
	uint8_t rights; /* enum acl_right */
	uint16_t len;
	char *pattern; /* a valid filter; % stands before c, u, d, g or % */
};

struct acl_role {
	char *name;
	struct acl_line *lines;
	size_t count;
};

struct acl {
	struct acl_role *roles; /* `device` among them */
	size_t count;
	size_t line_count;
};

#endif
