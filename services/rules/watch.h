/* watch.h - tells when a directory may have changed: inotify, and a slow poll for what inotify does not see */
#ifndef ROOST_WATCH_H
#define ROOST_WATCH_H

#include "loop.h"

struct watch;

/* fn runs WATCH_SETTLE_US after the last event (an editor writes in several steps), and each WATCH_POLL_US. */
#define WATCH_SETTLE_US 100000
#define WATCH_POLL_US 5000000
struct watch *watch_new(struct loop *loop, const char *dir, loop_fn fn, void *arg);
void watch_free(struct watch **w);

#endif
