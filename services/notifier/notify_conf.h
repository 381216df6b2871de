/* notify_conf.h - who can be told, and who is told about what: notify.yaml as the notifier works by it */
#ifndef ROOST_NOTIFY_CONF_H
#define ROOST_NOTIFY_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECEIVERS_MAX 64	/* a set of receivers is a uint64_t */
#define ROUTES_MAX 256
#define HEADERS_MAX 16
#define RECEIVER_NAME_MAX 64

enum channel { CHANNEL_LOG, CHANNEL_WEBHOOK };

struct receiver {
	char *name;
	enum channel channel;
	char *url;			/* webhook */
	char *headers[HEADERS_MAX];	/* webhook: "Name: value" */
	size_t header_count;
	int64_t timeout_ms;		/* webhook: of a whole request */
};

/* Each pattern is NULL (anything) or a name with * for any run of characters. */
struct route {
	char *alert;
	char *group;
	char *device;
	char *severity;
	uint64_t receivers;
	bool go_on;			/* also look at the routes below */
};

struct notify_conf {
	struct receiver receivers[RECEIVERS_MAX];
	size_t receiver_count;
	struct route routes[ROUTES_MAX];
	size_t route_count;
};

#endif
