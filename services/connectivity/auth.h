/* auth.h - who is this, and may it speak: asked of every protocol, answered at once or later; never blocks
 *
 * A grant is what a credential that was proven gives: one object for all connections of that credential, counted. When the
 * registry changes what stands behind it (blocked, revoked, removed, other roles), the grant is changed in place or cut, and
 * who has live sessions is told to look at the grants of these. */
#ifndef ROOST_AUTH_H
#define ROOST_AUTH_H

#include <stdbool.h>

#include "buf.h"
#include "loop.h"
#include "peer.h"
#include "registry_change.h"
#include "settings.h"

#define AUTH_NAME_MAX 256	/* bytes of a client id or user name */
#define AUTH_GUEST "provision"	/* the user name of who wants nothing but to enrol, as ThingsBoard's devices have it */
#define AUTH_LISTENERS_MAX 4	/* protocols that have sessions */

enum auth_protocol { AUTH_MQTT, AUTH_HTTP, AUTH_COAP };

/* All borrowed until auth_check() returns. */
struct auth_request {
	enum auth_protocol protocol;
	const struct peer *peer;	/* NULL: not known */
	bool loopback;			/* came by a listener that only this machine can reach */
	bool tls;
	struct bytes client_id;		/* MQTT; else empty */
	struct bytes username, password;	/* empty: none. A user name alone is tried as a token, as ThingsBoard's devices send it */
	struct bytes token;
	struct bytes certificate;	/* leaf, DER; its chain was verified by TLS */
	struct bytes ca, subject;	/* as credential_ca_lookup() wants them */
	struct bytes psk_identity;	/* proven by the handshake */
};

enum auth_verdict {
	AUTH_GRANTED,
	AUTH_PENDING,		/* done is called later */
	AUTH_BAD_CREDENTIALS,
	AUTH_NOT_AUTHORIZED,	/* blocked, or without credentials where these are needed */
	AUTH_UNAVAILABLE,	/* Redis is away, and this credential was not seen since the start */
	AUTH_BUSY,		/* too many connect, or too many have failed from there: retry_ms */
};

struct auth_grant {
	uint32_t refs;
	bool is_device;
	bool any_device;	/* may publish readings of whichever device the topic names */
	bool cut;		/* gone: its sessions end */
	bool guest;		/* may do nothing but enrol (enrol.h) */
	bool changed;		/* while listeners are told: roles or speaks_for are others now */
	uint8_t kind;		/* enum credential_kind; 0: anonymous */
	struct bytes identity;	/* device, or user; empty: anonymous: what the client calls itself */
	struct bytes speaks_for;	/* as in DEVICE */
	struct bytes roles;	/* comma separated */
	struct bytes lookup;	/* of the credential */
	int64_t expires_us;	/* wall clock; 0: never */
	struct buf names, rights;	/* what identity and lookup, roles and speaks_for borrow from */
};

struct auth_answer {
	struct auth_grant *grant;	/* GRANTED: a reference, the caller's */
	uint32_t retry_ms;		/* BUSY */
	const char *why;		/* else: for logs and reason strings; a literal */
};

struct auth;

/* Called once, from the loop; never from within auth_check(). */
typedef void (*auth_done_fn)(void *arg, enum auth_verdict verdict, const struct auth_answer *answer);
/* Grants were cut or changed: the sessions that have these are ended or go on with other rights. */
typedef void (*auth_listen_fn)(void *arg);

/* ERR_CONFIG: logged. */
int auth_new(struct loop *loop, const struct settings *settings, struct auth **ret_auth);
void auth_free(struct auth **a);
enum auth_verdict auth_check(struct auth *a, const struct auth_request *q, auth_done_fn done, void *arg, struct auth_answer *ret);
/* Whoever asked with this arg is gone. */
void auth_forget(struct auth *a, const void *arg);
void auth_listen(struct auth *a, auth_listen_fn fn, void *arg);
/* The registry has changed this (context.h); changes were missed. */
void auth_hear(struct auth *a, const struct registry_object *o);
void auth_missed(struct auth *a);
/* The pre-shared key of this identity, for TLS and DTLS handshakes, which cannot wait: its length, at most max; ERR_AGAIN: it is
 * being looked up, the next handshake may find it; ERR_NOT_FOUND: there is none. */
int auth_psk(struct auth *a, struct bytes identity, uint8_t *ret_key, size_t max);

struct auth_grant *auth_anyone(void);	/* without credentials: a reference, the caller's */
struct auth_grant *auth_guest(void);	/* the same, for AUTH_GUEST */
struct auth_grant *auth_grant_ref(struct auth_grant *g);
void auth_grant_unref(struct auth_grant **g);	/* NULL is none */
/* Whose doing something is; own: what an anonymous client calls itself. */
struct bytes auth_identity(const struct auth_grant *g, struct bytes own);
/* The device that "me" means; empty: none. */
struct bytes auth_device(const struct auth_grant *g, struct bytes own);
/* May it publish readings of this device? own: as for auth_device(). */
bool auth_speaks_for(const struct auth_grant *g, struct bytes own, struct bytes device);

#endif
