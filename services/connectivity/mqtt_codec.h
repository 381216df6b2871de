/* mqtt_codec.h - bytes <-> MQTT packets; 3.1 (MQIsdp), 3.1.1 and 5.0; pure
 *
 * Parsing allocates nothing: what a parsed packet holds borrows from the input. A length is believed only as far as there
 * are bytes behind it. Every parser returns 0, or ERR_MALFORMED with the reason code that MQTT 5 has for the violation and
 * a sentence about it. The server's side only: it parses what clients send and writes what servers send. */
#ifndef ROOST_MQTT_CODEC_H
#define ROOST_MQTT_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

enum mqtt_version { MQTT_V31 = 3, MQTT_V311 = 4, MQTT_V5 = 5 };

enum mqtt_type {
	MQTT_CONNECT = 1,
	MQTT_CONNACK,
	MQTT_PUBLISH,
	MQTT_PUBACK,
	MQTT_PUBREC,
	MQTT_PUBREL,
	MQTT_PUBCOMP,
	MQTT_SUBSCRIBE,
	MQTT_SUBACK,
	MQTT_UNSUBSCRIBE,
	MQTT_UNSUBACK,
	MQTT_PINGREQ,
	MQTT_PINGRESP,
	MQTT_DISCONNECT,
	MQTT_AUTH,
};

/* MQTT 5 section 2.4 */
enum mqtt_reason {
	MQTT_SUCCESS = 0x00,
	MQTT_WILL_MESSAGE = 0x04,	/* DISCONNECT with will */
	MQTT_NO_SUBSCRIBERS = 0x10,
	MQTT_NO_SUBSCRIPTION = 0x11,
	MQTT_CONTINUE_AUTH = 0x18,
	MQTT_RE_AUTH = 0x19,
	MQTT_UNSPECIFIED = 0x80,
	MQTT_MALFORMED = 0x81,
	MQTT_PROTOCOL_ERROR = 0x82,
	MQTT_IMPLEMENTATION = 0x83,
	MQTT_BAD_VERSION = 0x84,
	MQTT_BAD_CLIENT_ID = 0x85,
	MQTT_BAD_CREDENTIALS = 0x86,
	MQTT_NOT_AUTHORIZED = 0x87,
	MQTT_SERVER_UNAVAILABLE = 0x88,
	MQTT_SERVER_BUSY = 0x89,
	MQTT_SHUTTING_DOWN = 0x8b,
	MQTT_BAD_AUTH_METHOD = 0x8c,
	MQTT_KEEP_ALIVE_TIMEOUT = 0x8d,
	MQTT_TAKEN_OVER = 0x8e,
	MQTT_BAD_FILTER = 0x8f,
	MQTT_BAD_TOPIC = 0x90,
	MQTT_ID_IN_USE = 0x91,
	MQTT_ID_NOT_FOUND = 0x92,
	MQTT_RECEIVE_MAXIMUM = 0x93,
	MQTT_BAD_ALIAS = 0x94,
	MQTT_PACKET_TOO_LARGE = 0x95,
	MQTT_QUOTA_EXCEEDED = 0x97,
	MQTT_BAD_PAYLOAD = 0x99,
	MQTT_NO_QOS = 0x9b,
	MQTT_NO_SHARED = 0x9e,
	MQTT_CONNECTION_RATE = 0x9f,
};

struct mqtt_fault {
	uint8_t reason;		/* enum mqtt_reason */
	const char *what;	/* a literal: "packet id 0" */
};

#define MQTT_HEADER_MAX 5
#define MQTT_PROPS_MAX 0x2b

/* --- properties (MQTT 5 section 2.2.2) --- */

enum mqtt_prop {
	MQTT_PROP_PAYLOAD_FORMAT = 0x01,
	MQTT_PROP_MESSAGE_EXPIRY = 0x02,
	MQTT_PROP_CONTENT_TYPE = 0x03,
	MQTT_PROP_RESPONSE_TOPIC = 0x08,
	MQTT_PROP_CORRELATION = 0x09,
	MQTT_PROP_SUBSCRIPTION_ID = 0x0b,
	MQTT_PROP_SESSION_EXPIRY = 0x11,
	MQTT_PROP_ASSIGNED_ID = 0x12,
	MQTT_PROP_SERVER_KEEP_ALIVE = 0x13,
	MQTT_PROP_AUTH_METHOD = 0x15,
	MQTT_PROP_AUTH_DATA = 0x16,
	MQTT_PROP_PROBLEM_INFO = 0x17,
	MQTT_PROP_WILL_DELAY = 0x18,
	MQTT_PROP_RESPONSE_INFO = 0x19,		/* asks for it */
	MQTT_PROP_RESPONSE_INFORMATION = 0x1a,	/* is it */
	MQTT_PROP_SERVER_REFERENCE = 0x1c,
	MQTT_PROP_REASON_STRING = 0x1f,
	MQTT_PROP_RECEIVE_MAXIMUM = 0x21,
	MQTT_PROP_ALIAS_MAXIMUM = 0x22,
	MQTT_PROP_ALIAS = 0x23,
	MQTT_PROP_MAXIMUM_QOS = 0x24,
	MQTT_PROP_RETAIN_AVAILABLE = 0x25,
	MQTT_PROP_USER = 0x26,
	MQTT_PROP_PACKET_MAX = 0x27,
	MQTT_PROP_WILDCARD_AVAILABLE = 0x28,
	MQTT_PROP_SUBSCRIPTION_ID_AVAILABLE = 0x29,
	MQTT_PROP_SHARED_AVAILABLE = 0x2a,
};

/* What clients send; a field is meaningful only if its bit is in present. */
struct mqtt_props {
	uint64_t present;		/* 1 << enum mqtt_prop */
	struct bytes raw;		/* the whole section, without its length */
	uint32_t payload_format;
	uint32_t message_expiry;
	uint32_t subscription_id;
	uint32_t session_expiry;
	uint32_t problem_info;
	uint32_t will_delay;
	uint32_t receive_maximum;
	uint32_t alias_maximum;
	uint32_t alias;
	uint32_t packet_max;
	uint32_t response_info;
	struct bytes content_type;
	struct bytes response_topic;
	struct bytes correlation;
	struct bytes auth_method;
	struct bytes auth_data;
	struct bytes reason_string;
	struct bytes server_reference;
};

bool mqtt_has(const struct mqtt_props *p, enum mqtt_prop prop);
/* What is passed on with a PUBLISH: everything but alias and expiry. Borrows p->raw if that is all of it, else out. */
struct bytes mqtt_props_forward(const struct mqtt_props *p, struct buf *out);
/* The payload is what the payload format indicator says (section 3.3.2.3.2). */
bool mqtt_payload_valid(const struct mqtt_props *p, struct bytes payload);

/* --- frames --- */

struct mqtt_frame {
	enum mqtt_type type;
	uint8_t flags;
	struct bytes body;
	struct bytes whole;	/* with its fixed header */
};

/* Takes the next whole packet off the front of in. version: 0 before CONNECT; in 3.1 the flags of most packets have no
 * meaning. 0; ERR_SHORT: more is needed, ret_need is the packet's size if that is known, else 0; ERR_TOO_BIG (packet_max
 * counts the whole packet) and ERR_MALFORMED as soon as they can be known. */
int mqtt_frame_next(struct bytes in, unsigned version, size_t packet_max, struct mqtt_frame *ret_frame, size_t *ret_need,
    struct mqtt_fault *ret_fault);
/* Protocol level of a CONNECT of which perhaps only the first bytes are there, whether there is such a level or not; -1:
 * not MQTT, or not to be told. */
int mqtt_peek_level(struct bytes in);

/* --- what clients send --- */

struct mqtt_connect {
	unsigned version;		/* enum mqtt_version */
	bool clean;			/* clean session, clean start */
	uint16_t keep_alive_s;
	struct mqtt_props props;
	struct bytes client_id;
	bool has_will;
	unsigned will_qos;
	bool will_retain;
	struct mqtt_props will_props;
	struct bytes will_topic;
	struct bytes will_payload;
	bool has_username;
	struct bytes username;
	bool has_password;
	struct bytes password;
};

struct mqtt_publish {
	struct bytes topic;		/* empty: by alias */
	struct bytes payload;
	unsigned qos;
	bool retain;
	bool dup;
	uint16_t packet_id;		/* 0 at QoS 0 */
	struct mqtt_props props;
};

struct mqtt_ack {			/* PUBACK, PUBREC, PUBREL, PUBCOMP */
	uint16_t packet_id;
	uint8_t reason;
	struct mqtt_props props;
};

enum mqtt_retain_handling { MQTT_RETAIN_SEND, MQTT_RETAIN_SEND_IF_NEW, MQTT_RETAIN_NOT };

struct mqtt_filter {
	struct bytes filter;		/* checked by mqtt_filter_valid() */
	unsigned qos;
	bool no_local;
	bool retain_as_published;
	enum mqtt_retain_handling retain_handling;
};

struct mqtt_subscribe {			/* SUBSCRIBE, UNSUBSCRIBE */
	uint16_t packet_id;
	uint32_t count;			/* of filters, at least 1 */
	struct bytes filters;		/* checked; walk with mqtt_filter_next() */
	bool options;			/* each filter is followed by its options, ... */
	bool qos_only;			/* ... of which versions before 5 have the QoS only */
	struct mqtt_props props;
};

struct mqtt_disconnect {		/* DISCONNECT, AUTH */
	uint8_t reason;			/* of DISCONNECT: whatever it is, the connection ends */
	struct mqtt_props props;
};

/* ret->version and ret->props.packet_max (0: not given) are told even if it fails: the answer depends on them. */
int mqtt_parse_connect(const struct mqtt_frame *f, struct mqtt_connect *ret, struct mqtt_fault *ret_fault);
int mqtt_parse_publish(const struct mqtt_frame *f, unsigned version, struct mqtt_publish *ret, struct mqtt_fault *ret_fault);
/* As mqtt_parse_publish, for a PUBLISH to this valid topic, without properties. false: it is none; ask mqtt_parse_publish. */
bool mqtt_parse_publish_to(const struct mqtt_frame *f, unsigned version, struct bytes topic, struct mqtt_publish *ret);
int mqtt_parse_ack(const struct mqtt_frame *f, unsigned version, struct mqtt_ack *ret, struct mqtt_fault *ret_fault);
int mqtt_parse_subscribe(const struct mqtt_frame *f, unsigned version, struct mqtt_subscribe *ret,
    struct mqtt_fault *ret_fault);
int mqtt_parse_disconnect(const struct mqtt_frame *f, unsigned version, struct mqtt_disconnect *ret,
    struct mqtt_fault *ret_fault);
int mqtt_parse_empty(const struct mqtt_frame *f, struct mqtt_fault *ret_fault);	/* PINGREQ */
/* false at the end. */
bool mqtt_filter_next(struct mqtt_subscribe *s, struct mqtt_filter *ret_filter);

/* --- texts --- */

/* Well-formed UTF-8 without NUL (MQTT 5 section 1.5.4). */
bool mqtt_utf8_valid(struct bytes text);
/* UTF-8, at least one character, no wildcard. */
bool mqtt_topic_valid(struct bytes topic);
/* Not empty, + and # only as whole levels, # only as the last (section 4.7.1). UTF-8 was checked by the parser. */
bool mqtt_filter_valid(struct bytes filter);
size_t mqtt_levels(struct bytes topic);
/* $share/{name}/{filter} (section 4.8.2). false: an ordinary filter. */
bool mqtt_filter_shared(struct bytes filter, struct bytes *ret_name, struct bytes *ret_filter);
/* Says that it is meant to be shared, whether it is well-formed or not. */
bool mqtt_filter_says_shared(struct bytes filter);

/* --- what servers send; each appends one packet --- */

struct mqtt_connack {
	bool session_present;
	uint8_t reason;			/* enum mqtt_reason */
	struct bytes assigned_id;	/* empty: none */
	uint32_t session_expiry;
	bool has_session_expiry;
	bool has_server_keep_alive;
	uint16_t server_keep_alive_s;
	uint16_t receive_maximum;
	uint16_t alias_maximum;
	uint32_t packet_max;		/* 0: only a reason follows (refused) */
	struct bytes response_information;	/* empty: none */
	struct bytes reason_string;	/* left out if it does not fit */
	uint32_t size_max;		/* the client's maximum packet size; 0: none */
};

struct mqtt_outgoing {
	struct bytes topic;		/* may be empty if the alias is known */
	uint16_t alias;			/* 0: none */
	struct bytes payload;
	struct bytes props;		/* as mqtt_props_forward() made them */
	unsigned qos;
	bool retain;
	bool dup;
	uint16_t packet_id;
	bool has_expiry;
	uint32_t expiry_s;
	const uint32_t *subscription_ids;
	size_t subscription_id_count;
};

/* ERR_UNSUPPORTED: a version before 5 has no return code for that reason (3.1.1: MQTT-3.2.2-6); ERR_TOO_BIG: the client takes
 * no packet of that size (MQTT-3.1.2-24). Then nothing was appended, and the connection is just to be closed. */
int mqtt_put_connack(struct buf *out, unsigned version, const struct mqtt_connack *c);
size_t mqtt_publish_size(unsigned version, const struct mqtt_outgoing *p);
void mqtt_put_publish(struct buf *out, unsigned version, const struct mqtt_outgoing *p);
/* PUBACK, PUBREC, PUBREL, PUBCOMP. reason and reason_string (may be empty) are MQTT 5's. */
void mqtt_put_ack(struct buf *out, unsigned version, enum mqtt_type type, uint16_t packet_id, uint8_t reason,
    struct bytes reason_string);
/* SUBACK, UNSUBACK; reasons as MQTT 5 has them. For 3.1.1 failures become 0x80; for 3.1, which has none, QoS 0. UNSUBACK of
 * both has no reasons. */
size_t mqtt_suback_size(unsigned version, enum mqtt_type type, size_t reasons);
void mqtt_put_suback(struct buf *out, unsigned version, enum mqtt_type type, uint16_t packet_id, struct bytes reasons);
void mqtt_put_pingresp(struct buf *out);
void mqtt_put_disconnect(struct buf *out, uint8_t reason, struct bytes reason_string);	/* MQTT 5 only */

#endif
