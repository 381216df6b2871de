/* sim_model.c - what a simulated device measures: daily curves, noise, now and then a fault; pure */
#include "sim_model.h"

#include <math.h>

#define DAY_US 86400000000.0
#define FAULT_ONE_IN 4000 /* readings of a well device */
#define FAULT_READINGS_MIN 20
#define FAULT_READINGS_SPREAD 200
#define PI 3.14159265358979323846

static const char *const metric_names[SIM_KIND_COUNT][3] = {
	[SIM_CLIMATE] = { "temperature", "humidity", "co2" },
	[SIM_MACHINE] = { "vibration_rms", "temperature", "rpm" },
	[SIM_METER] = { "power_w", "energy_kwh", "voltage" },
	[SIM_TANK] = { "level_pct", "flow_lpm", "temperature" },
};

static uint64_t
random_next(uint64_t *state)
{
	/* xorshift64*: the state is never 0 */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* -1..1 */
static double
random_unit(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / 4503599627370496.0 - 1.0;
}

/* About normal, deviation 1. */
static double
random_noise(uint64_t *state)
{
	return (random_unit(state) + random_unit(state) + random_unit(state)) * 1.0;
}

void
sim_device_init(struct sim_device *d, uint32_t index, uint64_t seed)
{
	*d = (struct sim_device){ .kind = (enum sim_kind)(index % SIM_KIND_COUNT) };
	d->random = (seed ^ ((uint64_t)index + 1) * 0x9e3779b97f4a7c15ull) | 1;
	random_next(&d->random);
	d->offset = random_unit(&d->random);
	d->phase = random_unit(&d->random) / 48;
	d->counter = 1000 * (d->offset + 2);
}

/* Each kind's curve at a time of day (0..1); well values only. */
static void
measure(struct sim_device *d, double day, double hours)
{
	double sun = sin(2 * PI * (day - 0.375)); /* highest at 15:00 UTC */
	double work = day > 0.25 && day < 0.75 ? 1 : 0.15;
	double evening = exp(-pow((day - 0.79) * 12, 2)) + 0.6 * exp(-pow((day - 0.31) * 14, 2));
	uint64_t *r = &d->random;

	switch (d->kind) {
	case SIM_CLIMATE:
		d->value[0] = 21 + 5 * sun + 2 * d->offset + 0.1 * random_noise(r);
		d->value[1] = 55 - 12 * sun + 6 * d->offset + 0.4 * random_noise(r);
		d->value[2] = 520 + 260 * work + 40 * d->offset + 8 * random_noise(r);
		break;
	case SIM_MACHINE:
		d->value[0] = 1.1 + 1.4 * work + 0.3 * d->offset + 0.06 * random_noise(r);
		d->value[1] = 38 + 24 * work + 3 * d->offset + 0.3 * random_noise(r);
		d->value[2] = 1480 * work + 12 * random_noise(r);
		break;
	case SIM_METER:
		d->value[0] = 180 + 2100 * evening * (1 + 0.3 * d->offset) + 25 * random_noise(r);
		d->counter += (d->value[0] > 0 ? d->value[0] : 0) * hours / 1000;
		d->value[1] = d->counter;
		d->value[2] = 231 - evening + 0.6 * random_noise(r);
		break;
	case SIM_TANK:
		d->value[0] = 92 - 60 * fmod(day * 3 + d->phase + 1, 1.0) + 0.05 * random_noise(r);
		d->value[1] = 14 * work + 2 * d->offset + 0.2 * random_noise(r);
		d->value[2] = 15 + 2 * sun + d->offset + 0.05 * random_noise(r);
		break;
	case SIM_KIND_COUNT:
		break;
	}
}

static void
begin_fault(struct sim_device *d)
{
	uint64_t r = random_next(&d->random);

	if (r % FAULT_ONE_IN != 0)
		return;
	d->fault = (enum sim_fault)(SIM_STUCK + (r >> 20) % 4);
	d->fault_left = d->fault == SIM_SPIKE
			    ? 1
			    : FAULT_READINGS_MIN + (uint32_t)((r >> 32) % FAULT_READINGS_SPREAD);
	d->fault_age = 0;
}

void
sim_device_reading(struct sim_device *d, int64_t now_us, struct buf *out)
{
	/* Times are whole milliseconds and never repeat: history knows a reading by its time. */
	int64_t time_ms = now_us / 1000 > d->last_us / 1000 ? now_us / 1000 : d->last_us / 1000 + 1;
	double day = fmod((double)now_us / DAY_US + d->phase + 1, 1.0);
	double hours = d->last_us == 0 ? 0 : (double)(time_ms * 1000 - d->last_us) / 3.6e9;
	const char *separator = "";

	if (d->fault == SIM_WELL)
		begin_fault(d);
	if (d->fault != SIM_STUCK)
		measure(d, day, hours);
	d->last_us = time_ms * 1000;
	if (d->fault == SIM_DRIFT)
		d->value[0] += 0.4 * d->fault_age;
	if (d->fault == SIM_SPIKE)
		d->value[0] *= 3;
	buf_addf(out, "{\"ts\":%lld,\"values\":{", (long long)time_ms);
	for (int i = 0; i < 3; i++) {
		if (d->fault == SIM_MISSING && i == 0)
			continue;
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): the table has a name in each place */
		buf_addf(out, "%s\"%s\":%.*f", separator, metric_names[d->kind][i],
		    d->value[i] < 100 ? 2 : 1, d->value[i]);
		separator = ",";
	}
	buf_add_str(out, "}}");
	if (d->fault != SIM_WELL) {
		d->fault_age++;
		if (--d->fault_left == 0)
			d->fault = SIM_WELL;
	}
}
