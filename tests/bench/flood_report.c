/* flood_report.c - latencies in a histogram of 64 steps to a power of two of nanoseconds, and the line at the end */
#include "flood.h"

#include <stdio.h>

void
record_many(struct flood *f, int64_t ns, uint64_t n)
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
	f->histogram[at < HISTOGRAM_SIZE ? at : HISTOGRAM_SIZE - 1] += n;
	f->measured += n;
	f->total_ns += (double)ns * (double)n;
	if (ns > f->longest_ns)
		f->longest_ns = ns;
}

void
record(struct flood *f, int64_t ns)
{
	record_many(f, ns, 1);
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

static void
report_latency(const struct flood *f)
{
	printf("\"latency_us\":{\"n\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,"
	       "\"p999\":%.1f,\"max\":%.1f},",
	    (unsigned long long)f->measured,
	    f->measured ? f->total_ns / (double)f->measured / 1e3 : 0, quantile_us(f, 0.5),
	    quantile_us(f, 0.9), quantile_us(f, 0.99), quantile_us(f, 0.999),
	    (double)f->longest_ns / 1e3);
}

/* What is absent at QoS 0 was shed, at QoS 1 and 2 it is lost. */
void
report_relay(const struct flood *f, uint64_t measured)
{
	bool must_come = f->qos && f->sub_qos;
	double elapsed = (double)(f->end_ns - f->measure_ns) / (double)NS;
	double user = seconds_of(&f->usage_before.ru_utime, &f->usage_after.ru_utime);
	double system = seconds_of(&f->usage_before.ru_stime, &f->usage_after.ru_stime);

	printf("{\"mode\":\"%s\",\"qos\":%u,\"sub_qos\":%u,\"protocol\":%u,\"publishers\":%u,",
	    f->mode == MODE_SUBSCRIBE ? "subscribe" : "relay", f->qos, f->sub_qos, f->protocol,
	    f->publishers);
	printf("\"subscribers\":%u,\"window\":%u,\"ahead\":%u,\"rate_asked\":%.0f,", f->subscribers,
	    f->window, f->ahead, f->rate);
	printf("\"packet_bytes\":%zu,\"payload_bytes\":%zu,", f->packet_len, f->payload_len);
	printf("\"sent\":%llu,\"acked\":%llu,\"expected\":%llu,\"delivered\":%llu,\"shed\":%llu,"
	       "\"lost\":%llu,\"repeated\":%llu,",
	    (unsigned long long)f->sent, (unsigned long long)f->acked,
	    (unsigned long long)f->relay_expected, (unsigned long long)f->relay_total,
	    (unsigned long long)(must_come ? 0 : f->relay_absent),
	    (unsigned long long)(must_come ? f->relay_absent : 0), (unsigned long long)f->repeated);
	printf("\"measured\":%llu,\"seconds\":%.4f,\"rate\":%.0f,\"published_rate\":%.0f,",
	    (unsigned long long)measured, elapsed, elapsed > 0 ? (double)measured / elapsed : 0,
	    elapsed > 0 ? (double)f->relay_published / elapsed : 0);
	report_latency(f);
	printf("\"cpu_user_s\":%.3f,\"cpu_system_s\":%.3f,\"cpu_us_per_message\":%.4f,"
	       "\"generator_busy\":%.2f,",
	    user, system, measured ? (user + system) * 1e6 / (double)measured : 0,
	    elapsed > 0 ? (user + system) / elapsed : 0);
	printf(
	    "\"sends\":%llu,\"sends_blocked\":%llu,\"stalls\":%llu,\"over_receive_maximum\":%llu,"
	    "\"refused\":%llu,\"disconnected\":%llu,\"connects\":%llu,\"unexpected\":%llu}\n",
	    (unsigned long long)f->sends, (unsigned long long)f->partial,
	    (unsigned long long)f->stalls, (unsigned long long)f->over_maximum,
	    (unsigned long long)f->refused, (unsigned long long)f->disconnected,
	    (unsigned long long)f->connects, (unsigned long long)f->unexpected);
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
	report_latency(f);
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
