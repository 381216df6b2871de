/* fuzz_ingest.c - connectivity's side of the bus: whatever shard and limiter send, only the shard's COMMIT answers
 *
 * Steps of one byte: offer a message, lose or find a link, let time pass, take a frame from the shard (of any bytes, or
 * near to what it should say) or from the limiter. Each message is answered at most once, in order, and never by what
 * came from the limiter: it may change verdicts on the way, but it cannot say that something is durable.
 *
 * fuzz: -max_len=1024 */
#include "fake_bus.h"

#include "ingest.h"
#include "stream.h"
#include "support.h"

static struct {
	struct worker w;
	struct ingest *in;
	uint64_t token;	   /* last that was offered */
	uint64_t answered; /* last that was answered */
	bool may_answer;   /* a frame from the shard is being taken */
	struct buf frame;
	uint64_t seq_max; /* sent to the limiter */
	uint64_t stream;
} x;

static void
on_answer(void *arg, uint64_t token, uint32_t verdict, const struct bytes *record)
{
	(void)arg;
	ASSERT(x.may_answer);
	ASSERT(token > x.answered && token <= x.token);
	ASSERT((record != NULL) == verdict_is_refusal(verdict));
	x.answered = token;
	if (record && verdict % 3 == 0 && ingest_reoffer(x.in, *record, x.token + 1) == 0)
		x.token++;
}

static void
on_room(void *arg)
{
	(void)arg;
}

static void
on_send(struct bus_link *link, const char *peer, enum msg_type type, const void *msg)
{
	(void)link;
	ASSERT(peer == NULL);
	if (type == MSG_STREAM_BATCH) {
		const struct msg_batch *b = msg;

		ASSERT(b->stream && record_check_batch(b->records, NULL, NULL) == 0);
		x.seq_max = b->stream == x.stream && b->seq < x.seq_max ? x.seq_max : b->seq;
		x.stream = b->stream;
	} else {
		ASSERT(type == MSG_HELLO);
	}
}

static void
dispatch(struct worker *w, struct bus_msg *m)
{
	(void)w;
	if (m->type == MSG_WELCOME)
		ingest_on_welcome(x.in, m);
	else if (m->type == MSG_COMMIT)
		ingest_on_commit(x.in, m);
	else if (m->type == MSG_FENCED)
		ingest_on_fenced(x.in, m);
	else
		ingest_on_gap(x.in, m);
}

static void
on_link(struct worker *w, struct bus_link *link, bool up)
{
	(void)w;
	ingest_on_link(x.in, link, up);
}

static const struct worker_spec spec = {
	.name = "connectivity",
	.on = { [MSG_WELCOME] = dispatch,
	    [MSG_COMMIT] = dispatch,
	    [MSG_FENCED] = dispatch,
	    [MSG_GAP] = dispatch },
	.on_link = on_link,
};

static void
offer(unsigned n)
{
	static const char *const payloads[] = { "{\"t\":1}", "7", "{\"a\":\"x\",\"b\":[1,2]}", "" };
	struct ingest_message m = { .device = bytes_of_str("gh-1"),
		.topic = bytes_of_str("roost/gh-1/telemetry"),
		.payload = bytes_of_str(payloads[n % 4]),
		.metric = bytes_of_str("telemetry"),
		.client = bytes_of_str("c"),
		.undecodable = n & 4 ? INGEST_QUARANTINE : INGEST_REFUSE };

	if (ingest_offer(x.in, &m, x.token + 1, NULL) == 0)
		x.token++;
}

/* A frame that is nearly what a good shard would send. */
static struct bytes
nearly(struct input *in)
{
	static struct buf verdicts;
	unsigned kind = input_u8(in);
	uint64_t seq = kind & 64 ? input_u8(in) : x.seq_max + input_u8(in) % 4 - (kind & 8 ? 1 : 0);
	uint64_t stream = kind & 128 ? input_u8(in) : x.stream ? x.stream : 7;

	buf_clear(&x.frame);
	buf_clear(&verdicts);
	for (unsigned n = input_u8(in) % 8; n > 0; n--) {
		u64s_add(&verdicts, x.seq_max - input_u8(in) % 4);
		u64s_add(&verdicts,
		    (uint64_t)(input_u8(in) % 4) << 32 | verdict_make(input_u8(in) % 5, 10));
	}
	if (kind % 4 == 0)
		codec_encode(MSG_WELCOME,
		    &(struct msg_welcome){ .life = x.w.life,
			.stream = stream,
			.upto = kind & 16 ? seq : 0,
			.window = input_u8(in),
			.window_bytes = 1 << 20,
			.verdicts = buf_bytes(&verdicts) },
		    &x.frame);
	else if (kind % 4 == 1)
		codec_encode(MSG_COMMIT,
		    &(struct msg_commit){ .stream = stream,
			.upto = seq,
			.window = input_u8(in),
			.window_bytes = 1 << 20,
			.verdicts = buf_bytes(&verdicts) },
		    &x.frame);
	else if (kind % 4 == 2)
		codec_encode(MSG_GAP, &(struct msg_gap){ .stream = stream, .next = seq }, &x.frame);
	else
		codec_encode(MSG_FENCED,
		    &(struct msg_fenced){ .stream = stream, .life = kind & 16 ? x.w.life : 0 },
		    &x.frame);
	return buf_bytes(&x.frame);
}

static void
step(struct input *in)
{
	struct bus_link *shard = fake_bus_link("shard-0"), *limiter = fake_bus_link("limiter-0");
	unsigned what = input_u8(in);

	switch (what % 8) {
	case 0:
	case 1:
		offer(what >> 3);
		break;
	case 2:
		fake_bus_turn_link(what & 8 ? shard : limiter, what & 16);
		break;
	case 3:
		fake_bus.send_result = what & 8 ? ERR_AGAIN : what & 16 ? ERR_NOT_FOUND : 0;
		break;
	case 4:
		x.may_answer = true;
		(void)fake_bus_deliver(shard, "storage-0", input_block(in));
		x.may_answer = false;
		break;
	case 5:
		x.may_answer = true;
		(void)fake_bus_deliver(shard, "storage-0", nearly(in));
		x.may_answer = false;
		break;
	case 6: /* forged */
		(void)fake_bus_deliver(limiter, "limiter-0", nearly(in));
		break;
	default:
		ingest_turn(x.in);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct settings *settings;
	struct input in = input_of(data, size);
	struct buf err = { 0 };

	if (!settings) {
		fuzz_quiet();
		settings = settings_new();
		ASSERT(settings_set(settings, "partitions=1", "fuzz", &err) == 0);
	}
	memset(&x.w, 0, sizeof x.w);
	x.token = x.answered = x.seq_max = x.stream = 0;
	fake_bus_on_send = on_send;
	ASSERT(worker_tool_start(&x.w, &spec, "connectivity-0", settings) == 0);
	x.w.life = 5;
	x.in = ingest_new(&x.w, on_answer, on_room, NULL);
	ASSERT(x.in);
	fake_bus_turn_link(fake_bus_link("shard-0"), true);
	fake_bus_turn_link(fake_bus_link("limiter-0"), true);
	while (!input_is_over(&in))
		step(&in);
	ASSERT(ingest_idle(x.in) == (x.answered == x.token));
	ingest_free(&x.in);
	worker_tool_stop(&x.w);
	return 0;
}
