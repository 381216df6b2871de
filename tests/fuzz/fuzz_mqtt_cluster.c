/* fuzz_mqtt_cluster.c - a connectivity worker whose peers say anything, while clients of its own come, publish and go
 *
 * Input is a list of steps of four bytes: what (low bits) and who, and three numbers; texts and messages are chosen by the
 * numbers, or are the bytes that follow. Its peers are 1 and 2; 3 is not there. */
#include "../unit/cluster/fake_cluster.h"

#define CLIENTS 3

enum step { FORWARD, FORWARD_NEXT, FORWARD_ALSO, FORWARDED, RAW, CLIENT, TURNS, LINK, STEP_COUNT };

struct fuzz_client {
	struct mqtt_conn *conn;
	struct buf unsent;
};

static struct fuzz_client clients[CLIENTS];
static uint64_t lives[3], seqs[3];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const texts[] = { "", "a", "b", "c", "t/#", "t/x", "$share/g/t/#",
	"$share/g/t/x", "$share/", "$share//", "#", "+", "t/+/", "a/#/b", "$SYS/x", "/", "\xff",
	"0123456789abcdef:01234567:0123456789abcdef:0123456789abcdef",
	"0000000000000000:00000000:0000000000000000:000000000000000g" };

/* One of the texts; or the next so many bytes. */
static struct bytes
text_of(unsigned n, const uint8_t **data, size_t *size)
{
	struct bytes out;
	size_t len;

	if (n % 32 < COUNT_OF(texts))
		return bytes_of_str(texts[n % 32]);
	len = n / 4;
	out = bytes_of(*data, len < *size ? len : *size);
	*data += out.len;
	*size -= out.len;
	return out;
}

static void
forward(unsigned peer, enum step how, const uint8_t *n, const uint8_t **data, size_t *size)
{
	struct buf message = { 0 }, delivery = { 0 }, ids = { 0 }, frame = { 0 };
	struct msg_forward f = { .life = lives[peer] + (how == FORWARD ? n[0] / 64 : 0),
		.kind = n[1] % 16u,
		.number = n[0] % 8u,
		.packet_id = n[2] % 4u,
		.epoch = n[0] % 16u,
		.repeat = n[2] & 4 };
	struct msg_mqtt_message m = { .qos = n[2] / 8 % 3u, .retain = n[2] & 64 };
	struct msg_mqtt_delivery d = { .qos = n[1] / 16 % 4u };

	if (f.kind == MQTT_PEER_DIRECT && n[0] & 8)
		f.custody = (uint64_t)(1 + n[0] / 16 % 4) << MQTT_ROUTE_WORKER_SHIFT | n[2] % 8u;
	if (f.kind == MQTT_PEER_PLACED)
		f.number = (1ull << MQTT_ROUTE_WORKER_SHIFT | 1ull << 24) + n[0] % 8u;
	f.seq = how == FORWARD ? n[1] : ++seqs[peer];
	f.first = how == FORWARD ? n[2] : 0;
	f.key = text_of(n[0], data, size);
	m.topic = text_of(n[1], data, size);
	m.payload = text_of(n[2], data, size);
	f.origin = text_of(n[0] ^ n[1], data, size);
	if (f.origin.len > 64)
		f.origin.len = 64;
	u64s_add(&ids, n[2]);
	d.ids = buf_bytes(&ids);
	codec_encode(MSG_MQTT_MESSAGE, &m, &message);
	codec_encode(MSG_MQTT_DELIVERY, &d, &delivery);
	f.message = n[1] == 255 ? text_of(n[2], data, size) : buf_bytes(&message);
	f.delivery = n[1] == 254 ? text_of(n[2], data, size) : buf_bytes(&delivery);
	codec_encode(MSG_FORWARD, &f, &frame);
	fake_frame(&fake_workers[0], fake_workers[peer].w.name, buf_bytes(&frame));
	lives[peer] = f.life;
	buf_fini(&message);
	buf_fini(&delivery);
	buf_fini(&ids);
	buf_fini(&frame);
}

static void
forwarded(unsigned peer, const uint8_t *n)
{
	const struct msg_forwarded msg = { .life = n[0] & 1 ? fake_workers[0].life : n[0],
		.seq = n[1],
		.mine = lives[peer] + n[2] / 128 };
	struct buf frame = { 0 };

	codec_encode(MSG_FORWARDED, &msg, &frame);
	fake_frame(&fake_workers[0], fake_workers[peer].w.name, buf_bytes(&frame));
	buf_fini(&frame);
}

static void
client(struct fuzz_client *c, unsigned what, unsigned n)
{
	static const struct {
		const char *bytes;
		size_t len;
	} packets[] = {
#define PACKET(bytes) { bytes, sizeof(bytes) - 1 }
		PACKET("\x10\x0d\0\4MQTT\4\0\0\0\0\1a"),
		PACKET("\x10\x0d\0\4MQTT\4\2\0\0\0\1b"),
		PACKET("\x10\x13\0\4MQTT\5\0\0\0\5\x11\0\0\0\x64\0\1c"),
		PACKET("\x82\x08\0\1\0\3t/#\2"),
		PACKET("\x82\x11\0\2\0\x0c$share/g/t/#\1"),
		PACKET("\xa2\x07\0\3\0\3t/#"),
		PACKET("\x32\x08\0\3t/x\0\1m"),
		PACKET("\x34\x08\0\3t/x\0\2m"),
		PACKET("\x3c\x08\0\3t/x\0\2m"),
		PACKET("\x62\2\0\2"),
		PACKET("\x40\2\0\1"),
		PACKET("\x50\2\0\1"),
		PACKET("\x70\2\0\1"),
		PACKET("\x31\x06\0\3t/xr"),
		PACKET("\xe0\0"),
#undef PACKET
	};
	struct mqtt_broker *b = &fake_workers[0].broker;
	size_t need, took;

	if (what % 16 == COUNT_OF(packets)) {
		if (c->conn)
			mqtt_conn_free(&c->conn);
		buf_clear(&c->unsent);
		return;
	}
	b->now_us = fake_now_us;
	if (!c->conn)
		c->conn = mqtt_conn_new(b, true);
	(void)n;
	buf_add(&c->unsent, packets[what % 16].bytes, packets[what % 16].len);
	while (c->unsent.len && c->conn->io.closing == CONN_OPEN && !c->conn->io.paused) {
		took = mqtt_conn_input(c->conn, buf_bytes(&c->unsent), &need);
		if (took == 0)
			break;
		buf_consume(&c->unsent, took);
	}
}

static void
turns(unsigned count, int64_t us)
{
	for (unsigned i = 0; i < count; i++) {
		fake_now_us += us;
		fake_redis_run(fake_workers[0].ss);
		fake_turn_in(0);
		fake_turn_end(0);
		for (size_t c = 0; c < CLIENTS; c++)
			if (clients[c].conn) {
				conn_buf_give(clients[c].conn->io.set, &clients[c].conn->io.out);
				mqtt_conn_on_sent(clients[c].conn);
				if (clients[c].conn->io.closing != CONN_OPEN)
					mqtt_conn_free(&clients[c].conn);
			}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_init("fuzz", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	fake_now_us = 1000 * FAKE_SECOND;
	fake_random_state = size;
	fake_worker_count = 3;
	fake_workers[0].life = 0;
	for (unsigned i = 0; i < 3; i++)
		snprintf(fake_workers[i].w.name, BUS_NAME_MAX, "connectivity-%u", i);
	fake_start(0);
	lives[1] = lives[2] = 1;
	seqs[1] = seqs[2] = 0;
	while (size >= 4) {
		enum step step = (enum step)(data[0] % STEP_COUNT);
		unsigned who = data[0] / STEP_COUNT;
		const uint8_t *n = data + 1;

		data += 4;
		size -= 4;
		switch (step) {
		case FORWARD:
		case FORWARD_NEXT:
		case FORWARD_ALSO:
			forward(1 + who % 2, step, n, &data, &size);
			break;
		case FORWARDED:
			forwarded(1 + who % 2, n);
			break;
		case RAW:
			fake_frame(&fake_workers[0], fake_workers[1 + who % 2].w.name,
			    text_of(n[0] | 31u, &data, &size));
			break;
		case CLIENT:
			client(&clients[who % CLIENTS], n[0], n[1]);
			break;
		case TURNS:
			turns(n[0] % 8, n[1] * n[2] * 100ll);
			break;
		case LINK:
			mqtt_cluster_on_link(fake_workers[0].cluster,
			    fake_link_to(&fake_workers[0], 1 + who % 2), n[0] & 1);
			break;
		case STEP_COUNT:
			break;
		}
	}
	turns(4, 1000);
	for (size_t c = 0; c < CLIENTS; c++) {
		if (clients[c].conn)
			mqtt_conn_free(&clients[c].conn);
		buf_fini(&clients[c].unsent);
	}
	fake_end();
	return 0;
}
