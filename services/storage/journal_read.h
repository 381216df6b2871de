/* journal_read.h - reading a journal's committed blocks from any cursor, for followers that are behind */
#ifndef ROOST_STORAGE_JOURNAL_READ_H
#define ROOST_STORAGE_JOURNAL_READ_H

#include "journal.h"

#define JOURNAL_UNREADABLE_US 10000000 /* what the disk refuses for so long is damage */

struct journal_reader;

struct journal_reader *journal_reader_new(struct journal *j);
void journal_reader_free(struct journal_reader **r);
/* The first block at or behind the cursor; its body is valid until the next call. ERR_DAMAGED: nothing readable in
 * [offset, next) of ret_block, go on from next. ERR_NOT_FOUND: nothing is committed behind the cursor. ERR_IO: said in the
 * log, ask again later. A cursor before the oldest segment is read as the oldest. */
int journal_reader_next(struct journal_reader *r, uint64_t cursor, struct block *ret_block);

#endif
