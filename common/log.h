/* log.h - one line an event: `time level process event key=value ...`, or JSON by setting
 *
 *	log_warn("bus.drop", LS("peer", name), LU("messages", n));
 *
 * error: a person is needed; warn: heals itself; info: a state changed; debug: for developers.
 * Text from outside is escaped. A warning or error repeated more than 10 times in 10 s is counted instead of
 * written; the count goes out with its next line. Secrets never get here. */
#ifndef ROOST_LOG_H
#define ROOST_LOG_H

#include <stdint.h>

#include "buf.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum log_kind { LOG_END, LOG_STR, LOG_BYTES, LOG_INT, LOG_UINT, LOG_FLOAT };

struct log_field {
	enum log_kind kind;
	const char *key;
	union {
		const char *str;
		struct bytes bytes;
		int64_t i;
		uint64_t u;
		double f;
	} v;
};

#define LS(k, val) ((struct log_field){ .kind = LOG_STR, .key = (k), .v = { .str = (val) } })
#define LB(k, val) ((struct log_field){ .kind = LOG_BYTES, .key = (k), .v = { .bytes = (val) } })
#define LI(k, val) ((struct log_field){ .kind = LOG_INT, .key = (k), .v = { .i = (val) } })
#define LU(k, val) ((struct log_field){ .kind = LOG_UINT, .key = (k), .v = { .u = (val) } })
#define LF(k, val) ((struct log_field){ .kind = LOG_FLOAT, .key = (k), .v = { .f = (val) } })

/* Each takes an event name (a literal) and at least one field. */
#define log_error(event, ...) log_emit(LOG_LEVEL_ERROR, event, LOG_FIELDS(__VA_ARGS__))
#define log_warn(event, ...) log_emit(LOG_LEVEL_WARN, event, LOG_FIELDS(__VA_ARGS__))
#define log_info(event, ...) log_emit(LOG_LEVEL_INFO, event, LOG_FIELDS(__VA_ARGS__))
#define log_debug(event, ...) log_emit(LOG_LEVEL_DEBUG, event, LOG_FIELDS(__VA_ARGS__))
#define LOG_FIELDS(...) ((const struct log_field[]){ __VA_ARGS__, { .kind = LOG_END } })

/* process is copied ("limiter-0"); until called, level is info, format text, process "roost". */
void log_init(const char *process, enum log_level level, enum log_format format);
void log_emit(enum log_level level, const char *event, const struct log_field *fields);

#endif
