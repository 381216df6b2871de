/* record_layout.h - fixed places in a record: bin32 tag and length, array tag, then the verdict as uint32 */
#ifndef ROOST_RECORD_LAYOUT_H
#define ROOST_RECORD_LAYOUT_H

#define RECORD_TAG 0xc6
#define RECORD_HEAD 5
#define RECORD_ARRAY 0x98 /* array of 8 */
#define VERDICT_TAG 0xce
#define VERDICT_AT (RECORD_HEAD + 2)
#define RECORD_MIN (VERDICT_AT + 4)

#endif
