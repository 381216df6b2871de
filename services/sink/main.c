/* main.c - sink: the journal in, one driver's way out; which driver, the process's name says */
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "sink.h"
#include "worker.h"

static const struct sink_driver *const drivers[] = {
	&history_driver, /* readings into SQLite files, one a day */
	&state_driver,	 /* latest values and alerts into Redis */
};

static const struct sink_driver *driver;

static int
start(struct worker *w)
{
	for (size_t i = 0; i < COUNT_OF(drivers); i++)
		if (strcmp(w->instance, drivers[i]->name) == 0)
			driver = drivers[i];
	if (driver == NULL) {
		log_error("sink.driver", LS("name", w->instance), LS("fault", "no such driver"),
		    LS("remedy", "sink.drivers may list: history, state"));
		return ERR_CONFIG;
	}
	return driver->start(w);
}

static void
stop(struct worker *w)
{
	if (driver != NULL)
		driver->stop(w);
}

static void
turn(struct worker *w)
{
	if (driver->turn != NULL)
		driver->turn(w);
}

static void
tick(struct worker *w)
{
	driver->tick(w);
}

static void
quiet(struct worker *w)
{
	if (driver->quiet != NULL)
		driver->quiet(w);
}

static void
drain(struct worker *w)
{
	if (driver->drain != NULL)
		driver->drain(w);
}

static bool
drained(struct worker *w)
{
	return driver->drained == NULL || driver->drained(w);
}

static const struct worker_spec spec = {
	.name = "sink",
	.start = start, /* READY goes out when this returns 0 */
	.stop = stop,
	.turn = turn,
	.tick = tick,
	.tick_ms = SINK_TICK_MS,
	.quiet = quiet,
	.priority = { .nice = 10, .idle_only = true },
	.drain = drain,
	.drained = drained,
};

int
main(int argc, char **argv)
{
	return worker_main(&spec, argc, argv);
}
