/* access.c - what a proven client may publish and subscribe to: the roles of auth.acl_file, as they are now */
#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "record.h"

#define READ_SIZE 65536

struct access {
	char *path; /* "": only what is built in */
	struct acl *acl;
	struct buf text; /* of the file, as it was read last */
};

static int
read_file(const char *path, struct buf *text, struct buf *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = fd >= 0 ? 0 : errno == ENOENT ? ERR_NOT_FOUND : ERR_CONFIG;
	ssize_t n = 1;

	/* One byte more than may be, so that the parser sees it. */
	while (fd >= 0 && n > 0 && text->len <= ACL_TEXT_MAX) {
		n = read(fd, buf_reserve(text, READ_SIZE), READ_SIZE);
		if (n > 0)
			text->len += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	if (rc || n < 0)
		buf_addf(err, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return n < 0 ? ERR_CONFIG : rc;
}

/* One line of the log for each. */
static void
log_faults(struct buf *err)
{
	char *rest = (char *)(uintptr_t)buf_str(err), *line;

	while ((line = strsep(&rest, "\n")) != NULL)
		log_error("acl.wrong", LS("what", line));
}

static int
load(struct access *a, bool *ret_changed)
{
	struct buf text = { 0 }, err = { 0 };
	struct acl *acl = NULL;
	int rc = a->path[0] ? read_file(a->path, &text, &err) : 0;

	*ret_changed = false;
	/* Without it nobody may more, so it need not be there from the start. */
	if (rc == ERR_NOT_FOUND && !a->acl) {
		log_warn("acl.missing", LS("file", a->path));
		buf_clear(&err);
		rc = 0;
	}
	if (rc == 0 && a->acl && bytes_equal(buf_bytes(&text), buf_bytes(&a->text))) {
		buf_fini(&text);
		return 0;
	}
	if (rc == 0)
		rc = acl_parse(buf_bytes(&text), a->path, &acl, &err);
	if (rc != 0) {
		log_faults(&err);
		metric_add(M_ACL_RELOAD_FAILED, 1);
		buf_fini(&text);
	} else {
		acl_free(&a->acl);
		buf_fini(&a->text);
		a->acl = acl;
		a->text = text;
		*ret_changed = true;
	}
	buf_fini(&err);
	return rc;
}

int
access_new(const struct settings *settings, struct access **ret_access)
{
	struct access *a = xcalloc(1, sizeof(*a));
	bool changed;
	int rc;

	a->path = xstrdup(settings_str(settings, SET_AUTH_ACL_FILE));
	rc = load(a, &changed);
	if (rc != 0)
		access_free(&a);
	else
		*ret_access = a;
	return rc;
}

void
access_free(struct access **p_a)
{
	struct access *a = *p_a;

	*p_a = NULL;
	if (!a)
		return;
	acl_free(&a->acl);
	buf_fini(&a->text);
	free(a->path);
	free(a);
}

bool
access_reload(struct access *a)
{
	bool changed;

	if (load(a, &changed) != 0 || !changed)
		return false;
	log_info("acl.reloaded", LS("file", a->path));
	return true;
}

bool
access_may(const struct access *a, const struct auth_grant *grant, struct bytes client,
    struct bytes username, enum acl_right right, struct bytes what)
{
	struct acl_who who = {
		.client = client,
		.user = grant->is_device ? username : grant->identity,
		.device = auth_device(grant, (struct bytes){ 0 }),
		.roles = grant->roles,
		.speaks_for = grant->speaks_for,
		.is_device = grant->is_device,
	};

	return grant->kind == 0 || acl_may(a->acl, &who, right, what);
}

bool
access_may_report(
    const struct access *a, const struct auth_grant *grant, struct bytes own, struct bytes device)
{
	char topic[DEVICE_ID_MAX + 32];
	int n;

	if (grant->kind == 0)
		return auth_speaks_for(grant, own, device);
	if (grant->is_device && !auth_speaks_for(grant, own, device))
		return false;
	n = snprintf(topic, sizeof(topic), "roost/%.*s/telemetry", (int)device.len,
	    (const char *)device.data);
	return device.len <= DEVICE_ID_MAX &&
	       access_may(a, grant, (struct bytes){ 0 }, (struct bytes){ 0 }, ACL_PUBLISH,
		   bytes_of(topic, (size_t)n));
}
