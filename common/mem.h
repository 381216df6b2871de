/* mem.h - allocation that cannot fail: out of memory aborts, and the supervisor restarts the worker.
 * Sizes that come from outside are capped by the caller before they get here. */
#ifndef ROOST_MEM_H
#define ROOST_MEM_H

#include <stddef.h>

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *old, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t len) __attribute__((malloc, returns_nonnull));
void *xmemdup(const void *data, size_t len) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
