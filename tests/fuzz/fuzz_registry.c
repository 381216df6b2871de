/* fuzz_registry.c - bodies of CONTEXT entries and of CHANGE: what is taken is sound, and stays the same when it is written again */
#include <stdint.h>
#include <string.h>

#include "credential.h"
#include "err.h"
#include "registry_change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct buf once, key;
	static const uint8_t seal[CREDENTIAL_KEY_LEN];
	struct registry_object o, again;
	struct buf psk = { .max = CREDENTIAL_STORED_MAX };
	const char *why = NULL;
	int err = registry_decode(bytes_of(data, size), &o, &why);

	if (err != 0) {
		ASSERT(err == ERR_MALFORMED || err == ERR_TOO_BIG || err == ERR_UNSUPPORTED);
		ASSERT(why != NULL);
		return 0;
	}
	buf_clear(&once);
	buf_clear(&key);
	registry_put_key(&o, &key);
	ASSERT(key.len > 0 && registry_partition_key(&o).len > 0);
	registry_encode(&o, &once);
	ASSERT(registry_decode(buf_bytes(&once), &again, NULL) == 0);
	ASSERT(registry_is_same(&o, &again) && registry_version(&o) == registry_version(&again));
	registry_stamp(&o, 7, 8, bytes_of_str("x"));
	ASSERT(registry_is_same(&o, &again) && registry_is_gone(&o) == registry_is_gone(&again));
	if (o.type == MSG_DEVICE)
		(void)registry_speaks_for(o.any.device.speaks_for, o.any.device.id);
	/* Argon2id takes what its parameters say: too slow to be searched. */
	if (o.type == MSG_CREDENTIAL && !credential_is_slow(&o.any.credential)) {
		(void)credential_matches(&o.any.credential, o.any.credential.lookup);
		ASSERT(credential_unseal(seal, &o.any.credential, &psk) != 0);
	}
	buf_fini(&psk);
	return 0;
}
