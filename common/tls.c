/* tls.c - what settings say of TLS is in force: read at the start, and again when its files change */
#include "tls_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "credential.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

bool
tls_is_configured(const struct settings *s)
{
	return settings_list_count(s, SET_TLS_CERTIFICATE) > 0;
}

static uint64_t
mark(const char *path, uint64_t seed)
{
	struct stat st;
	struct {
		uint64_t size, inode;
		int64_t seconds, nanoseconds;
	} m = { 0 };

	if (*path && stat(path, &st) == 0) {
		m.size = (uint64_t)st.st_size;
		m.inode = st.st_ino;
		m.seconds = st.st_mtim.tv_sec;
		m.nanoseconds = st.st_mtim.tv_nsec;
	}
	return XXH3_64bits_withSeed(&m, sizeof(m), seed);
}

static uint64_t
fingerprint(const struct settings *s)
{
	static const enum setting_id lists[] = { SET_TLS_CERTIFICATE, SET_TLS_KEY };
	uint64_t sum = mark(settings_str(s, SET_TLS_CLIENT_CA), 1);

	for (size_t k = 0; k < COUNT_OF(lists); k++)
		for (size_t i = 0; i < settings_list_count(s, lists[k]); i++)
			sum = mark(settings_list_at(s, lists[k], i), sum);
	return mark(settings_str(s, SET_TLS_CRL), sum);
}

static void
tell(const struct tls *t)
{
	metric_set(M_TLS_CERTIFICATE_EXPIRES, (uint64_t)t->set.expires_s);
	metric_set(M_TLS_CRL_EXPIRES, (uint64_t)t->set.crl_expires_s);
}

int
tls_make(const struct settings *s, const char *run_dir, bool datagrams, struct tls **ret,
    struct buf *err)
{
	struct tls *t = xcalloc(1, sizeof(*t));
	int rc;

	*ret = NULL;
	t->settings = s;
	t->datagrams = datagrams;
	if (datagrams) {
		credential_random(t->cookie_key, sizeof(t->cookie_key));
	} else {
		if (run_dir)
			snprintf(
			    t->ticket_path, sizeof(t->ticket_path), "%s/tls-tickets.key", run_dir);
		tls_tickets_look(t);
	}
	/* Before they are read: what changes meanwhile is read again. */
	t->seen = fingerprint(s);
	rc = tls_set_load(t, &t->set, err);
	if (rc != 0) {
		tls_free(&t);
		return rc;
	}
	tell(t);
	*ret = t;
	return 0;
}

int
tls_new(const struct settings *s, const char *run_dir, struct tls **ret, struct buf *err)
{
	return tls_make(s, run_dir, false, ret, err);
}

void
tls_free(struct tls **p_t)
{
	struct tls *t = *p_t;

	*p_t = NULL;
	if (!t)
		return;
	tls_conn_free(&t->listening);
	tls_set_fini(&t->set);
	free(t->plain);
	buf_fini(&t->spare);
	OPENSSL_cleanse(t->tickets, sizeof(t->tickets));
	free(t);
}

int64_t
tls_expires_s(const struct tls *t)
{
	return t->set.expires_s;
}

int64_t
tls_crl_expires_s(const struct tls *t)
{
	return t->set.crl_expires_s;
}

void
tls_set_psk(struct tls *t, tls_psk_fn fn, void *arg)
{
	t->psk = fn;
	t->psk_arg = arg;
}

static void
read_again(struct tls *t)
{
	struct buf err = { .max = 0 };
	struct tls_set set;

	if (tls_set_load(t, &set, &err) != 0) {
		metric_add(M_TLS_RELOAD_FAULTS, 1);
		log_error("tls.reload", LS("fault", buf_str(&err)),
		    LS("effect", "what was read before stays in force"));
		/* Files that are written just now are whole when they are looked at next. */
		t->seen = 0;
	} else {
		tls_conn_free(&t->listening);
		tls_set_fini(&t->set);
		t->set = set;
		metric_add(M_TLS_RELOADS, 1);
		log_info("tls.reload", LU("certificates", set.count), LI("expires", set.expires_s));
		tell(t);
	}
	buf_fini(&err);
}

void
tls_look(struct tls *t, int64_t now_us, bool reload)
{
	uint64_t now;

	if (!reload && now_us - t->look_us < TLS_LOOK_US)
		return;
	t->look_us = now_us;
	if (!t->datagrams)
		tls_tickets_look(t);
	now = fingerprint(t->settings);
	if (!reload && now == t->seen)
		return;
	t->seen = now;
	read_again(t);
}
