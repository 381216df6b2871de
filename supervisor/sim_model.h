/* sim_model.h - what a simulated device measures; pure */
#ifndef ROOST_SIM_MODEL_H
#define ROOST_SIM_MODEL_H

#include <stdint.h>

#include "buf.h"

enum sim_kind { SIM_CLIMATE, SIM_MACHINE, SIM_METER, SIM_TANK, SIM_KIND_COUNT };

/* A fault lasts for a number of readings, then the device is well again. */
enum sim_fault { SIM_WELL, SIM_STUCK, SIM_DRIFT, SIM_SPIKE, SIM_MISSING };

struct sim_device {
	enum sim_kind kind;
	enum sim_fault fault;
	uint32_t fault_left; /* readings */
	uint32_t fault_age;
	uint64_t random;
	double offset;	/* this one's place and calibration, about -1..1 */
	double phase;	/* of its day, in days */
	double counter; /* of a meter; grows */
	int64_t last_us;
	double value[3];
};

void sim_device_init(struct sim_device *d, uint32_t index, uint64_t seed);
/* The reading at now_us (Unix epoch) as a JSON payload with its own time, in ms and different from the last one's. */
void sim_device_reading(struct sim_device *d, int64_t now_us, struct buf *out);

#endif
