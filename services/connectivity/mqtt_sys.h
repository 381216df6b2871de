/* mqtt_sys.h - the $SYS topics: what monitoring made for mosquitto reads of a broker, under mosquitto's names */
#ifndef ROOST_MQTT_SYS_H
#define ROOST_MQTT_SYS_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

struct mqtt_broker;
struct mqtt_sys;

void mqtt_sys_free(struct mqtt_sys **sys);
/* May only the server publish there? Not the state of a bridge, which mosquitto's bridges tell: $SYS/broker/connection/+/state. */
bool mqtt_sys_is_ours(struct bytes topic);
/* From the broker's tick: publishes, retained and at QoS 0, what has changed since config.sys_interval_us ago. The numbers are
 * of this worker. */
void mqtt_sys_tick(struct mqtt_broker *b);

#endif
