/* pressure.c - whether readings come faster than the processors do all that follows from them; pure */
#include "pressure.h"

bool
pressure_look_is_due(const struct pressure *p, int64_t now_us)
{
	return p->above != 0 && (p->at_us == 0 || now_us - p->at_us >= PRESSURE_LOOK_US);
}

void
pressure_look(struct pressure *p, int64_t now_us, uint64_t bytes, uint64_t waited_us)
{
	uint64_t us = (uint64_t)(now_us - p->at_us), percent, bytes_s;

	if (!pressure_look_is_due(p, now_us))
		return;
	if (p->at_us != 0) {
		percent = (waited_us - p->waited_us) * 100 / us;
		bytes_s = (bytes - p->bytes) * 1000000 / us;
		/* Less of both keeps it on than brings it: with the followers out of the way both fall. */
		p->on = percent >= (p->on ? PRESSURE_STILL_PERCENT : PRESSURE_WAIT_PERCENT) &&
			bytes_s >= (p->on ? p->above / 4 * 3 : p->above);
	}
	p->at_us = now_us;
	p->bytes = bytes;
	p->waited_us = waited_us;
}
