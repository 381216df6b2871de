/* secret.h - credentials for people's options and for rows of a file: made here, so that no secret ever leaves the tool */
#ifndef ROOST_REGISTRY_SECRET_H
#define ROOST_REGISTRY_SECRET_H

#include "cli.h"
#include "credential.h"

#define SECRET_FAST_MIN 16 /* bytes of a device's password that is hashed fast; a shorter one gets Argon2id */

/* A credential and, if it was generated, what to tell once. */
struct secret {
	struct registry_object credential; /* fields borrow from here, and from what was given */
	struct credential_secret stored;
	char lookup[CREDENTIAL_LOOKUP_MAX + 1];
	char generated[2 * CREDENTIAL_SECRET_LEN + 1]; /* empty: it was given */
};

void secret_wipe(struct secret *s);
/* Each: device or user is empty. text: the secret; empty: one is generated. NULL, or what is wrong with it. */
const char *secret_token(struct secret *s, struct bytes text);
/* people: Argon2id if the secret was given. */
const char *secret_password(struct secret *s, struct bytes user, struct bytes text, bool people);
/* hex digits of 16 to 64 bytes. */
const char *secret_psk(struct cli *cli, struct secret *s, struct bytes identity, struct bytes hex);
/* fp: and 64 hex digits, or these alone, colons between two of them allowed. */
const char *secret_fingerprint(struct secret *s, struct bytes text);
/* --certificate, --ca, --subject. */
void secret_certificate(struct cli *cli, struct secret *s);
/* What the options ask for: a certificate, a PSK, a password, a token given; else a token if `fallback`. false: nothing. */
bool secret_from_options(struct cli *cli, struct secret *s, bool people, bool fallback);
void secret_owner(struct secret *s, const char *device, const char *user, struct bytes roles);

bool secret_read_hex(struct bytes hex, struct buf *out);
void secret_put_hex(struct bytes data, struct buf *out);

#endif
