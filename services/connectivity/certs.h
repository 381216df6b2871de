/* certs.h - a CA of one's own in a folder: certificates for the server and for devices, and a CRL of those that are no good any more
 *
 *	ca.crt, ca.key		the CA; whoever has ca.key can make devices
 *	ca.crl			what it has revoked; over when the CA is
 *	server.crt, server.key	the server's, for its names; server.crt is followed by ca.crt
 *	devices/NAME.crt, .key	a device's, with CN=NAME
 *
 * Keys are EC P-256, mode 0600. Each file appears whole. Functions return 0, or an error and in err what is wrong. */
#ifndef ROOST_CERTS_H
#define ROOST_CERTS_H

#include "buf.h"

#define CERTS_CA_DAYS 3650
#define CERTS_SERVER_DAYS 825
#define CERTS_DEVICE_DAYS 3650
#define CERTS_DAYS_MAX 36500
#define CERTS_NAMES_MAX 64
#define CERTS_NAME_MAX 64 /* of a device: what a common name may have (RFC 5280) */

/* ERR_EXISTS: there is a CA. */
int certs_init(const char *dir, int days, struct buf *err);
/* names: host names and IP addresses. Replaces the one there is. */
int certs_server(const char *dir, const char *const *names, size_t count, int days, struct buf *err);
/* ERR_EXISTS: it has one that is not revoked. */
int certs_device(const char *dir, const char *name, int days, struct buf *err);
/* Its files get the suffix .revoked. ERR_NOT_FOUND. */
int certs_revoke(const char *dir, const char *name, struct buf *err);

#endif
