/* history_clock.c - how far retention believes the wall clock; pure */
#include "history_clock.h"

int64_t
history_clock_step(int64_t believed, int64_t wall, int64_t elapsed_us)
{
	if (wall <= believed)
		return believed;
	if (elapsed_us < 0)
		elapsed_us = 0;
	return elapsed_us >= (wall - believed) / HISTORY_CLOCK_PACE + 1
		   ? wall
		   : believed + elapsed_us * HISTORY_CLOCK_PACE;
}
