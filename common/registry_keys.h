/* registry_keys.h - where the registry stands in Redis; written by registry_state, read by registry_lookup
 *
 *	roost:registry				hash: db, which registry.db it is a fold of; upto, change of it that all before is here;
 *						complete, 1 once all of it was; life, of the registry that writes
 *	roost:registry:device:{id}		DEVICE, encoded
 *	roost:registry:credential:{kind}:{lookup}	hash: m, CREDENTIAL, encoded; d, its device or empty
 *	roost:registry:attributes:{id}		hash: scope:name -> ATTRIBUTE, encoded
 *	roost:registry:profile:{name}		PROFILE, encoded
 *
 * ({id} stands for the device's id, without braces.) What is removed or revoked is not there. */
#ifndef ROOST_REGISTRY_KEYS_H
#define ROOST_REGISTRY_KEYS_H

#define REGISTRY_KEY "roost:registry"
#define REGISTRY_KEY_DEVICE "roost:registry:device:"
#define REGISTRY_KEY_CREDENTIAL "roost:registry:credential:"
#define REGISTRY_KEY_ATTRIBUTES "roost:registry:attributes:"
#define REGISTRY_KEY_PROFILE "roost:registry:profile:"
#define REGISTRY_KEY_ALL "roost:registry:*"

#endif
