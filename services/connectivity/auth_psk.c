/* auth_psk.c - pre-shared keys, for handshakes that cannot wait */
#include "auth_impl.h"

#include <string.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "metrics.h"

#define SEAL_AGAIN_US 10000000
#define HANDSHAKE_US 5000000 /* a handshake that came too early may come again so long */
#define WANTED_MAX 4096

static bool
load_seal(struct auth *a)
{
	int64_t now = loop_now_us(a->loop);
	int err;

	if (a->has_seal || now < a->seal_again_us)
		return a->has_seal;
	a->seal_again_us = now + SEAL_AGAIN_US;
	err = credential_key_load(a->seal_path, false, a->seal);
	if (err == ERR_NOT_FOUND)
		log_warn("auth.seal_key", LS("file", a->seal_path),
		    LS("effect", "no pre-shared key can be used until the registry has made it"));
	a->has_seal = err == 0;
	return a->has_seal;
}

static int
unseal(struct auth *a, const struct auth_entry *e, uint8_t *ret_key, size_t max)
{
	struct msg_credential c;
	struct buf key = { 0 };
	int n = ERR_NOT_FOUND;

	auth_entry_credential(e, &c);
	if (!load_seal(a))
		return ERR_AGAIN;
	if (credential_unseal(a->seal, &c, &key) != 0)
		log_warn("auth.psk", LB("identity", c.lookup),
		    LS("fault", "sealed with another key, or damaged"));
	else if (key.len <= max) {
		memcpy(ret_key, key.data, key.len);
		n = (int)key.len;
	}
	if (key.len)
		credential_wipe(key.data, key.len);
	buf_fini(&key);
	return n;
}

int
auth_psk(struct auth *a, struct bytes identity, uint8_t *ret_key, size_t max)
{
	struct auth_entry *e;

	if (identity.len == 0 || identity.len > CREDENTIAL_LOOKUP_MAX ||
	    auth_is_absent(a, CREDENTIAL_PSK, identity))
		return ERR_NOT_FOUND;
	e = auth_cache_find(&a->cache, CREDENTIAL_PSK, identity);
	if (e && auth_entry_is_known(e)) {
		if (e->blocked || (e->expires_us && e->expires_us <= clock_wall_us()))
			return ERR_NOT_FOUND;
		auth_cache_used(&a->cache, e);
		return unseal(a, e, ret_key, max);
	}
	if (!e && a->want_count >= WANTED_MAX)
		return ERR_AGAIN;
	if (!e)
		e = auth_cache_add(&a->cache, CREDENTIAL_PSK, identity);
	if (!e->for_psk)
		e->refresh_us = loop_now_us(a->loop) + HANDSHAKE_US;
	e->for_psk = true;
	auth_ask(a, e);
	return ERR_AGAIN;
}
