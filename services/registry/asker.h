/* asker.h - a tool's way to the registry: changes asked for, many under way, each asked again until it is answered */
#ifndef ROOST_REGISTRY_ASKER_H
#define ROOST_REGISTRY_ASKER_H

#include "registry_change.h"
#include "settings.h"

#define ASKER_WINDOW 512	     /* asked and not answered; more wait here */
#define ASKER_SILENCE_US 30000000 /* no answer to anything for so long: given up */

struct asker;

/* code: enum change_code. reason: a sentence or empty. May push more. */
typedef void (*asker_fn)(void *arg, uint64_t code, struct bytes reason, uint64_t version);

/* actor: who asks. */
struct asker *asker_new(const struct settings *settings, const char *actor);
void asker_free(struct asker **a);
/* o is copied. */
void asker_push(struct asker *a, const struct registry_object *o, bool create, uint64_t expected, asker_fn fn, void *arg);
size_t asker_waiting(const struct asker *a);
/* Until at most `left` wait for their answer. ERR_NOT_FOUND: no registry runs here; ERR_TIMEOUT: it does not answer, and what was
 * asked may have been done or be done yet. why: a sentence. */
int asker_run(struct asker *a, size_t left, const char **ret_why);

#endif
