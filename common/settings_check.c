/* settings_check.c - what is wrong with settings although each key by itself is right; pure */
#include "settings.h"

#include <string.h>

#include "address.h"
#include "err.h"
#include "mem.h"

static int
check_listeners(const struct settings *s, enum setting_id id, struct buf *err)
{
	const char *key = setting_infos[id].key;

	for (size_t i = 0; i < settings_list_count(s, id); i++) {
		const char *text = settings_list_at(s, id, i), *why;
		struct address a;

		if (address_parse(text, &a, &why) != 0) {
			buf_addf(err, "%s: \"%s\": %s", key, text, why);
			return ERR_CONFIG;
		}
	}
	return 0;
}

static int
check_proxy(const struct settings *s, enum setting_id id, enum setting_id listen, struct buf *err)
{
	static const char *const words[] = { "off", "v1", "v2", "any" };
	size_t n = settings_list_count(s, id), addresses = settings_list_count(s, listen);

	for (size_t i = 0; i < n; i++) {
		const char *text = settings_list_at(s, id, i);
		bool known = false;

		for (size_t k = 0; k < COUNT_OF(words); k++)
			known = known || strcmp(text, words[k]) == 0;
		if (!known) {
			buf_addf(err, "%s: \"%s\" is none of off, v1, v2, any",
			    setting_infos[id].key, text);
			return ERR_CONFIG;
		}
	}
	if (n > 1 && n != addresses) {
		buf_addf(err,
		    "%s has %zu values, and %s %zu addresses: give one for all, or as many",
		    setting_infos[id].key, n, setting_infos[listen].key, addresses);
		return ERR_CONFIG;
	}
	return 0;
}

static int
check_trusted(const struct settings *s, struct buf *err)
{
	for (size_t i = 0; i < settings_list_count(s, SET_PROXY_TRUSTED); i++) {
		const char *text = settings_list_at(s, SET_PROXY_TRUSTED, i), *why;
		struct address_net net;

		if (address_net_parse(text, &net, &why) != 0) {
			buf_addf(err, "proxy.trusted: \"%s\": %s", text, why);
			return ERR_CONFIG;
		}
	}
	return 0;
}

static int
check_paths_and_origins(const struct settings *s, struct buf *err)
{
	for (size_t i = 0; i < settings_list_count(s, SET_MQTT_WS_PATHS); i++) {
		const char *text = settings_list_at(s, SET_MQTT_WS_PATHS, i);

		if (*text != '/' && strcmp(text, "*") != 0) {
			buf_addf(err, "mqtt_ws.paths: \"%s\" is neither * nor begins with /", text);
			return ERR_CONFIG;
		}
	}
	for (size_t i = 0; i < settings_list_count(s, SET_MQTT_WS_ORIGINS); i++) {
		const char *text = settings_list_at(s, SET_MQTT_WS_ORIGINS, i);

		if (strcmp(text, "*") != 0 && strcmp(text, "same") != 0 && !strstr(text, "://")) {
			buf_addf(err,
			    "mqtt_ws.origins: \"%s\" is none: write https://host, same, or *",
			    text);
			return ERR_CONFIG;
		}
	}
	return 0;
}

/* The default stands for "if there is a certificate". */
static bool
is_default(const struct settings *s, enum setting_id id)
{
	return settings_list_count(s, id) == 0 ||
	       (settings_list_count(s, id) == 1 &&
		   strcmp(settings_list_at(s, id, 0), setting_infos[id].def) == 0);
}

static int
check_client_certificates(const struct settings *s, struct buf *err)
{
	const char *mode = settings_str(s, SET_TLS_CLIENT_CERTIFICATE);
	bool asked = strcmp(mode, "none") != 0, ca = *settings_str(s, SET_TLS_CLIENT_CA) != '\0';

	if (asked && !ca)
		buf_addf(err,
		    "tls.client_certificate is %s, but no tls.client_ca says whose certificates "
		    "are believed",
		    mode);
	else if (ca && !asked)
		buf_addf(err, "tls.client_ca is given, but tls.client_certificate is none: nobody "
			      "would be asked; set it to optional or required");
	else if (*settings_str(s, SET_TLS_CRL) && !ca)
		buf_addf(err, "tls.crl is given, but no tls.client_ca whose CRLs these are");
	else
		return 0;
	return ERR_CONFIG;
}

static int
check_tls(const struct settings *s, struct buf *err)
{
	static const enum setting_id listen[] = { SET_MQTTS_LISTEN, SET_MQTT_WSS_LISTEN,
		SET_HTTPS_LISTEN };
	size_t certificates = settings_list_count(s, SET_TLS_CERTIFICATE);
	size_t keys = settings_list_count(s, SET_TLS_KEY);
	int rc;

	if (certificates != keys) {
		buf_addf(err,
		    "tls.certificate names %zu files, and tls.key %zu: each certificate has a key, "
		    "in the same order",
		    certificates, keys);
		return ERR_CONFIG;
	}
	for (size_t i = 0; i < COUNT_OF(listen); i++) {
		if (certificates == 0 && !is_default(s, listen[i])) {
			buf_addf(err,
			    "%s: there is no tls.certificate; name one, `roost certs init DIR` "
			    "makes it",
			    setting_infos[listen[i]].key);
			return ERR_CONFIG;
		}
		if (certificates && (rc = check_listeners(s, listen[i], err)) != 0)
			return rc;
	}
	return check_client_certificates(s, err);
}

static int
check_sinks(const struct settings *s, struct buf *err)
{
	static const char *const drivers[] = { "history", "state" };

	for (size_t i = 0; i < settings_list_count(s, SET_SINK_DRIVERS); i++) {
		const char *name = settings_list_at(s, SET_SINK_DRIVERS, i);
		bool known = false;

		for (size_t k = 0; k < COUNT_OF(drivers); k++)
			known = known || strcmp(name, drivers[k]) == 0;
		if (!known) {
			buf_addf(err,
			    "sink.drivers: there is no driver \"%s\"; there are history, state",
			    name);
			return ERR_CONFIG;
		}
		for (size_t k = 0; k < i; k++) {
			if (strcmp(name, settings_list_at(s, SET_SINK_DRIVERS, k)) == 0) {
				buf_addf(err, "sink.drivers: \"%s\" is listed twice", name);
				return ERR_CONFIG;
			}
		}
	}
	return 0;
}

static int
check_at_most(const struct settings *s, enum setting_id small, enum setting_id large, int64_t times,
    struct buf *err)
{
	int64_t a = settings_int(s, small), b = settings_int(s, large);

	if (a * times <= b)
		return 0;
	if (times == 1)
		buf_addf(err, "%s is %lld, more than %s, which is %lld", setting_infos[small].key,
		    (long long)a, setting_infos[large].key, (long long)b);
	else
		buf_addf(err, "%s is %lld, less than %lld times %s, which is %lld",
		    setting_infos[large].key, (long long)b, (long long)times,
		    setting_infos[small].key, (long long)a);
	return ERR_CONFIG;
}

int
settings_check(const struct settings *s, struct buf *err)
{
	const char *url = settings_str(s, SET_REDIS_URL);
	int rc;

	if (*url && strncmp(url, "unix:///", 8) != 0 && strncmp(url, "redis://", 8) != 0) {
		buf_addf(
		    err, "redis.url: \"%s\" is neither unix:///path nor redis://host:port", url);
		return ERR_CONFIG;
	}
	if ((rc = check_listeners(s, SET_MQTT_LISTEN, err)) != 0 ||
	    (rc = check_listeners(s, SET_MQTT_WS_LISTEN, err)) != 0 ||
	    (rc = check_listeners(s, SET_COAP_LISTEN, err)) != 0 ||
	    (rc = check_listeners(s, SET_HTTP_LISTEN, err)) != 0 ||
	    (rc = check_proxy(s, SET_HTTP_PROXY_PROTOCOL, SET_HTTP_LISTEN, err)) != 0 ||
	    (rc = check_proxy(s, SET_HTTPS_PROXY_PROTOCOL, SET_HTTPS_LISTEN, err)) != 0 ||
	    (rc = check_listeners(s, SET_COAPS_LISTEN, err)) != 0 ||
	    (rc = check_proxy(s, SET_MQTT_PROXY_PROTOCOL, SET_MQTT_LISTEN, err)) != 0 ||
	    (rc = check_proxy(s, SET_MQTT_WS_PROXY_PROTOCOL, SET_MQTT_WS_LISTEN, err)) != 0 ||
	    (rc = check_tls(s, err)) != 0 ||
	    (rc = check_proxy(s, SET_MQTTS_PROXY_PROTOCOL, SET_MQTTS_LISTEN, err)) != 0 ||
	    (rc = check_proxy(s, SET_MQTT_WSS_PROXY_PROTOCOL, SET_MQTT_WSS_LISTEN, err)) != 0 ||
	    (rc = check_trusted(s, err)) != 0 || (rc = check_paths_and_origins(s, err)) != 0 ||
	    (rc = check_sinks(s, err)) != 0)
		return rc;
	if ((rc = check_at_most(s, SET_STORAGE_REPLICAS, SET_STORAGE_SHARDS, 1, err)) != 0)
		return rc;
	if ((rc = check_at_most(s, SET_STORAGE_SHARDS, SET_PARTITIONS, 1, err)) != 0)
		return rc;
	return check_at_most(s, SET_STORAGE_SEGMENT_MIB, SET_STORAGE_QUOTA_MIB, 3, err);
}
