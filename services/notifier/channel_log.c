/* channel_log.c - the receiver that is always there: a line in the notifier's own log */
#include "channel.h"

#include "log.h"

void
channel_log_send(const char *key, struct bytes body, channel_end_fn fn, void *arg)
{
	log_info("alert", LB("text", body), LS("key", key));
	fn(arg, CHANNEL_ACCEPTED, NULL, 0);
}
