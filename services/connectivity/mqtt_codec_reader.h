/* mqtt_codec_reader.h - a sticky cursor over one packet's body; for the mqtt_codec files only */
#ifndef ROOST_MQTT_CODEC_READER_H
#define ROOST_MQTT_CODEC_READER_H

#include "mqtt_codec.h"

/* After the first fault every read returns zero. */
struct mqtt_reader {
	const uint8_t *at;
	const uint8_t *end;
	struct mqtt_fault fault;
};

struct mqtt_reader mqtt_reader_of(struct bytes body);
void mqtt_fail(struct mqtt_reader *r, uint8_t reason, const char *what);	/* keeps the first */
bool mqtt_failed(const struct mqtt_reader *r);
size_t mqtt_left(const struct mqtt_reader *r);
uint8_t mqtt_get_u8(struct mqtt_reader *r);
uint16_t mqtt_get_u16(struct mqtt_reader *r);
uint32_t mqtt_get_u32(struct mqtt_reader *r);
uint32_t mqtt_get_varint(struct mqtt_reader *r);	/* shortest form only (MQTT-1.5.5-1) */
struct bytes mqtt_get_binary(struct mqtt_reader *r);
struct bytes mqtt_get_text(struct mqtt_reader *r);	/* UTF-8 is checked */
struct bytes mqtt_get_rest(struct mqtt_reader *r);
/* Nothing may be left. 0 or ERR_MALFORMED. */
int mqtt_reader_end(struct mqtt_reader *r, struct mqtt_fault *ret_fault);

/* Where a property may stand: a packet type's bit, or will. */
#define MQTT_PROPS_OF(type) (1u << (type))
#define MQTT_PROPS_WILL 1u

/* Reads length and properties. For versions before 5 there are none: call it anyway. */
void mqtt_get_props(struct mqtt_reader *r, unsigned version, unsigned where, struct mqtt_props *ret);

#endif
