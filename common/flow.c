/* flow.c - which messages may go from which service to which: flow.def, asked */
#include "flow.h"

#include <string.h>

#include "codec.h"
#include "mem.h"

#define SERVICE_MAX 16

struct flow_edge {
	const char *from;
	const char *to;
	enum msg_type type;
};

static const struct flow_edge flow[] = {
#define FLOW(from, to, MESSAGE, policy) { #from, #to, MSG_##MESSAGE },
#include "flow.def"
#undef FLOW
};

/* "limiter-0" is of service limiter. */
static void
service_of(const char *name, char ret_service[SERVICE_MAX])
{
	size_t n = strcspn(name, "-");

	if (n >= SERVICE_MAX)
		n = SERVICE_MAX - 1;
	memcpy(ret_service, name, n);
	ret_service[n] = '\0';
}

uint64_t
flow_types(const char *from, const char *to)
{
	char from_service[SERVICE_MAX], to_service[SERVICE_MAX];
	uint64_t types = 0;

	service_of(from, from_service);
	service_of(to, to_service);
	for (size_t i = 0; i < COUNT_OF(flow); i++) {
		if (strcmp(flow[i].from, from_service) == 0 && strcmp(flow[i].to, to_service) == 0)
			types |= 1ull << flow[i].type;
	}
	return types;
}
