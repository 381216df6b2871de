/* flood_report.c - latencies in a histogram of 64 steps to a power of two of nanoseconds, and the line at the end */
#include "flood.h"

#include <stdio.h>

void
record(struct flood *f, int64_t ns)
{
	uint64_t v = ns < 0 ? 0 : (uint64_t)ns;
	unsigned int exponent, at;

	if (v < (1u << HISTOGRAM_BITS)) {
		at = (unsigned int)v;
	} else {
		exponent = 63u - (unsigned int)__builtin_clzll(v);
		at = ((exponent - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS) |
		     (unsigned int)((v >> (exponent - HISTOGRAM_BITS)) &
				    ((1u << HISTOGRAM_BITS) - 1));
	}
	f->histogram[at < HISTOGRAM_SIZE ? at : HISTOGRAM_SIZE - 1]++;
	f->measured++;
	f->total_ns += (double)ns;
	if (ns > f->longest_ns)
		f->longest_ns = ns;
}

static double
quantile_us(const struct flood *f, double q)
{
	uint64_t want = (uint64_t)(q * (double)f->measured), seen = 0;
	unsigned int at, exponent;
	double low, width;

	for (at = 0; at < HISTOGRAM_SIZE - 1; at++) {
		seen += f->histogram[at];
		if (seen > want)
			break;
	}
	if (f->measured == 0)
		return 0;
	if (at < (1u << HISTOGRAM_BITS))
		return at / 1e3;
	exponent = (at >> HISTOGRAM_BITS) + HISTOGRAM_BITS - 1;
	width = (double)(1ULL << (exponent - HISTOGRAM_BITS));
	low = (double)(1ULL << exponent) + (at & ((1u << HISTOGRAM_BITS) - 1)) * width;
	return (low + width / 2) / 1e3;
}

static double
seconds_of(const struct timeval *a, const struct timeval *b)
{
	return (double)(b->tv_sec - a->tv_sec) + (double)(b->tv_usec - a->tv_usec) / 1e6;
}

void
report(const struct flood *f, uint64_t measured)
{
	static const char *const modes[] = { "publish", "connect", "idle" };
	double elapsed = (double)(f->end_ns - f->measure_ns) / (double)NS;
	double user = seconds_of(&f->usage_before.ru_utime, &f->usage_after.ru_utime);
	double system = seconds_of(&f->usage_before.ru_stime, &f->usage_after.ru_stime);

	printf("{\"mode\":\"%s\",\"qos\":%u,\"connections\":%u,\"window\":%u,\"rate_asked\":%.0f,",
	    modes[f->mode], f->qos, f->connections, f->window, f->rate);
	printf("\"packet_bytes\":%zu,\"payload_bytes\":%zu,", f->packet_len, f->payload_len);
	printf("\"sent\":%llu,\"acked\":%llu,\"measured\":%llu,\"seconds\":%.3f,\"rate\":%.0f,",
	    (unsigned long long)f->sent, (unsigned long long)f->acked, (unsigned long long)measured,
	    elapsed, elapsed > 0 ? (double)measured / elapsed : 0);
	printf("\"latency_us\":{\"n\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,"
	       "\"p999\":%.1f,\"max\":%.1f},",
	    (unsigned long long)f->measured,
	    f->measured ? f->total_ns / (double)f->measured / 1e3 : 0, quantile_us(f, 0.5),
	    quantile_us(f, 0.9), quantile_us(f, 0.99), quantile_us(f, 0.999),
	    (double)f->longest_ns / 1e3);
	printf("\"cpu_user_s\":%.3f,\"cpu_system_s\":%.3f,\"cpu_us_per_message\":%.4f,", user,
	    system, measured ? (user + system) * 1e6 / (double)measured : 0);
	printf("\"sends\":%llu,\"sends_blocked\":%llu,\"late\":%llu,\"connects\":%llu,\"refused\":%"
	       "llu,\"lost\":%llu,"
	       "\"unexpected\":%llu}\n",
	    (unsigned long long)f->sends, (unsigned long long)f->partial,
	    (unsigned long long)f->late, (unsigned long long)f->connects,
	    (unsigned long long)f->refused, (unsigned long long)f->lost,
	    (unsigned long long)f->unexpected);
}
