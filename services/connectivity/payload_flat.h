/* payload_flat.h - the JSON that most devices send, read in one pass; pure
 *
 * It takes objects whose names and texts are plain ASCII without escapes and whose numbers fit their usual types exactly;
 * everything else, right or wrong, is payload_json's. So it never says that something is wrong. */
#ifndef ROOST_PAYLOAD_FLAT_H
#define ROOST_PAYLOAD_FLAT_H

#include "payload_build.h"

#define PAYLOAD_FLAT_MAX 1024 /* bytes of a payload */
#define PAYLOAD_FLAT_PAD 64   /* zeros behind it, so that words may be read anywhere */
#define PAYLOAD_FLAT_SHAPE 16 /* names remembered */
#define PAYLOAD_FLAT_NAME 31  /* longer ones are not */

/* {0} is ready. The shape is what the names of the last payload were, by position: the next one mostly has the same. It
 * changes the speed only. */
struct payload_flat {
	struct payload_flat_name {
		uint8_t text[PAYLOAD_FLAT_NAME +
			     9]; /* and the quote and colon behind it; read by words */
		uint8_t len;	 /* without them; 0: empty */
		uint8_t limit;	 /* enum limit_id of payload_check */
		bool is_ours;	 /* ts, and device, which a document's reader wants to see */
	} shape[PAYLOAD_FLAT_SHAPE];
	uint8_t text[PAYLOAD_FLAT_MAX + PAYLOAD_FLAT_PAD];
};

/* True: b holds what payload_json_decode() puts there. False: undecided, and b is in disorder. Points borrow from f. */
bool payload_flat_decode(struct payload_flat *f, struct payload_build *b, struct bytes payload);
/* The same for an object at the beginning of text, whatever follows it. ret_used: its bytes. */
bool payload_flat_first(
    struct payload_flat *f, struct payload_build *b, struct bytes text, size_t *ret_used);

#endif
