/* support_registry.h - objects of tests, and a folder for registry.db */
#ifndef ROOST_SUPPORT_REGISTRY_H
#define ROOST_SUPPORT_REGISTRY_H

#include "store.h"

struct bytes text(const char *s);
struct registry_object device(const char *id, uint64_t version);
struct registry_object token(const char *lookup, const char *owner, uint64_t version, bool revoked);
struct registry_object attribute(const char *owner, const char *name, const char *value, uint64_t version);
/* In a transaction of its own unless one is open: what store_apply() says. */
int apply(struct store *s, const struct registry_object *o);
/* The version in force; 0: there is none. */
uint64_t version_of(struct store *s, const struct registry_object *named, bool *ret_gone);

/* A folder of the test's own, and what stands around each test. */
extern char *dir;
void make_dir(void);
void remove_dir(void);

#endif
