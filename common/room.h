/* room.h - a process whose files have no room on the disk: it lives on, says so, and goes on when there is some
 *
 * A follower that ended for it would come back after its back-off only. Instead: what could not be written is taken back
 * (ERR_NO_ROOM), room_lost() says it once, and room_may_write() is false until, at most ROOM_RETRY_US after there is room, a
 * file of ROOM_PROBE bytes can be had where the files are. Then the first write that succeeds, room_wrote(), says that it is over.
 * The loop turns all the while, so that no watchdog needs to be told. */
#ifndef ROOST_ROOM_H
#define ROOST_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#define ROOM_RETRY_US 500000
#define ROOM_PROBE (1 << 20)
#define ROOM_SAY_US 60000000ll /* how often it is said again */

enum room_state { ROOM_THERE, ROOM_LACKING, ROOM_TRYING };

/* Zeroed but for dir, which is borrowed. */
struct room {
	const char *dir; /* of the files */
	enum room_state state;
	int64_t since_us;
	int64_t next_us; /* when it is looked at again */
	int64_t say_us;
};

/* errno (or what stands for it) says that there is no space, or that a quota is used up. */
bool room_is_lacking(int os_error);
/* A write found none. now_us: of the loop. */
void room_lost(struct room *r, int64_t now_us);
/* True if a write may be tried. */
bool room_may_write(struct room *r, int64_t now_us);
void room_wrote(struct room *r, int64_t now_us);

#endif
