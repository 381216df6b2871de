/* fuzz_codec.c - frames of any bytes through the message decoder, and what such a message carries through its own
 *
 * A frame that decodes is encoded again and must decode the same; unknown fields may be gone. */
#include <stdint.h>
#include <string.h>

#include "codec.h"
#include "entry.h"
#include "err.h"
#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_again(enum msg_type type, const union msg_any *any)
{
	static struct buf once, twice;
	enum msg_type again_type;
	union msg_any again;

	buf_clear(&once);
	buf_clear(&twice);
	codec_encode(type, any, &once);
	ASSERT(once.len == codec_size(type, any));
	ASSERT(codec_decode(buf_bytes(&once), &again_type, &again) == 0);
	ASSERT(again_type == type);
	codec_encode(again_type, &again, &twice);
	ASSERT(bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
}

static void
walk_entries(struct bytes rest)
{
	struct entry e;

	while (entry_next(&rest, &e) == 0) {
		ASSERT(e.body.len <= ENTRY_BODY_MAX);
		if (e.kind == ENTRY_READINGS)
			record_check_batch(e.body, NULL, NULL);
	}
}

static void
walk_views(struct bytes rest)
{
	struct block_view v;

	while (view_next(&rest, &v) == 0)
		walk_entries(v.entries);
}

static void
walk_list(struct bytes list)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < u64s_count(list); i++)
		sum += u64s_at(list, i);
	(void)sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes frame = bytes_of(data, size);
	struct mp_cursor c = mp_cursor_of(frame);
	enum msg_type type;
	union msg_any any;
	int err = codec_decode(frame, &type, &any);

	if (err) {
		ASSERT(err == ERR_MALFORMED || err == ERR_TOO_BIG || err == ERR_UNSUPPORTED);
	} else {
		check_again(type, &any);
		if (type == MSG_DELIVER)
			walk_views(any.deliver.blocks);
		else if (type == MSG_COMMIT)
			walk_list(any.commit.verdicts);
		else if (type == MSG_STREAM_BATCH)
			record_check_batch(any.batch.records, NULL, NULL);
	}
	walk_entries(frame);
	while (!c.failed && c.at != c.end) {
		const uint8_t *before = c.at;

		mp_skip(&c);
		ASSERT(c.failed || c.at > before);
	}
	return 0;
}
