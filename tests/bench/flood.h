/* flood.h - what the parts of the generator share: its options, its connections, what happened */
#ifndef FLOOD_H
#define FLOOD_H

#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#define CONNECTIONS_MAX 20000
#define WINDOW_MAX 10000
#define SECONDS_MAX 3600
#define PING_MAX 10000
#define METRICS_MAX 8
#define PAYLOAD_MAX 4096
#define DEVICES_MAX 1000
#define OPENING_MAX 100 /* connections on their way up at once */
#define POOL 4096	/* rendered payloads */
#define SLOTS_MIN 64
#define EVENTS 256
#define READ_MAX 65536
#define CARRY_MAX 8
#define FILTERS_MAX 100 /* in a SUBSCRIBE */
#define TIME_DIGITS 16
#define NS 1000000000LL
#define HISTOGRAM_BITS 6
#define HISTOGRAM_SIZE ((64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)

enum mode { MODE_PUBLISH, MODE_CONNECT, MODE_IDLE, MODE_RELAY, MODE_SUBSCRIBE };

enum state { CONN_CLOSED, CONN_CONNECTING, CONN_GREETING, CONN_UP, CONN_LEAVING };

struct conn {
	int fd;
	enum state state;
	bool want_write;
	uint8_t carry_len;
	uint8_t carry[CARRY_MAX];
	uint32_t index;
	uint32_t pool_at; /* next of the pool */
	uint64_t sent;	  /* messages handed to the kernel, or begun */
	uint64_t acked;	  /* of them */
	uint64_t due;	  /* messages that may be sent by now; open loop only */
	uint8_t *image;
	int64_t *since_ns;	/* of each slot: when its message was due */
	size_t out_at, out_end; /* bytes of the image that the kernel has not taken */
	int64_t time_us;	/* of the newest message */
	int64_t opened_ns;
};

struct flood {
	enum mode mode;
	struct sockaddr_in server;
	const char *topic;
	const char *prefix;
	const char *user;
	const char *password;
	uint32_t connections, window, qos, ping, metrics, size, devices, burst, sources;
	uint32_t keep_alive;
	double rate, seconds, warmup, drain;
	uint64_t count;
	int64_t from_us, step_us; /* device times: where they begin (0: now) and how far apart */
	bool small_writes, device_time, prove, persistent;
	/* relay and subscribe modes, and ids of connect */
	const char *filter;
	uint32_t publishers, subscribers, ahead, sub_qos, topics, protocol, receive_maximum,
	    filters, subscriptions, retain, ids;
	uint64_t expect;
	/* made of these */
	uint32_t slots;
	size_t packet_len, payload_at, payload_len, values_at, values_len, time_at;
	uint8_t *pool; /* POOL times values_len bytes */
	struct conn *conns;
	int epoll;
	uint32_t opened, opening, up, next_open, next_id;
	uint64_t bursts; /* begun, open loop */
	/* what happened */
	uint64_t sent, acked, sends, partial, unexpected, lost, refused, late, connects;
	uint64_t histogram[HISTOGRAM_SIZE], measured;
	int64_t longest_ns;
	double total_ns;
	int64_t begin_ns, measure_ns, end_ns, last_ack_ns;
	uint64_t acked_before; /* the measured time */
	struct rusage usage_before, usage_after;
	bool measuring, measured_once, ending;
	/* messages of the relay mode: in the measured time, and in all */
	uint64_t relay_published, relay_delivered, relay_total, relay_expected, relay_absent,
	    repeated, stalls, over_maximum, disconnected;
};

/* flood.c */
extern volatile sig_atomic_t asked_to_stop;
void die(const char *what);
void *must(void *p);
int64_t clock_ns(clockid_t id);
int64_t now_ns(void);

/* flood_packet.c */
void make_digits(void);
size_t make_proof(struct flood *f, struct conn *c, uint8_t *packet);
void make_pool(struct flood *f);
size_t topic_of(const struct flood *f, uint32_t device, char *topic, size_t room);
void make_image(struct flood *f, struct conn *c);
size_t image_at(const struct flood *f, uint64_t n);
void write_time(uint8_t *at, int64_t us);

/* flood_conn.c */
void conn_open(struct flood *f, struct conn *c, int64_t now);
void conn_send(struct flood *f, struct conn *c, int64_t now);
int64_t due_ns(const struct flood *f, const struct conn *c, uint64_t n);
int64_t turn(struct flood *f, int64_t until_ns);

/* flood_report.c */
void record(struct flood *f, int64_t ns);
void record_many(struct flood *f, int64_t ns, uint64_t n);
void report_relay(const struct flood *f, uint64_t measured);
void report(const struct flood *f, uint64_t measured);

#endif
