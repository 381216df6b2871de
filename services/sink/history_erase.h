/* history_erase.h - what a device ever said, out of all files of history
 *
 * A device is erased where the journal says so (a DEVICE with `erase`), and only what came before that: of a day, if its file or pack is
 * not complete beyond that place. So a journal that is read again from further back erases nothing that came later. */
#ifndef ROOST_HISTORY_ERASE_H
#define ROOST_HISTORY_ERASE_H

#include <stdint.h>

#include "entry.h"
#include "history_block.h"

struct history_erasure {
	struct bytes device;
	uint32_t shard;
	uint64_t offset; /* of the block that says so */
};

/* A device that a block erases, and which of its entries says so. */
struct history_erased {
	struct bytes device;
	size_t entry;
};

/* The entry erases a device: its id. */
bool history_erases(const struct entry *e, struct bytes *ret_device);
/* The block erases one: all files are to be looked at, which takes its time. */
bool history_view_erases(const struct block_view *v);
/* All that it erases, as a list that the caller frees; they borrow from v. Returns how many. */
size_t history_erased_by(const struct block_view *v, struct history_erased **ret_list);
/* Nothing waits to be written, and no day file is open here. ERR_NO_ROOM: to be tried again as it was; others: logged. What was
 * erased is overwritten. */
int history_erase(const char *dir, uint32_t shards, struct history_codec *codec, const struct history_erasure *erasure);

#endif
