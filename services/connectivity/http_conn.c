/* http_conn.c - one HTTP connection: heads, bodies, and their answers, one request after the other
 *
 *	IDLE -> HEAD -> [AUTH] -> [BODY] -> [WORK] -> IDLE
 *
 * What a request cannot be answered well for is said as soon as it is known. If its body has not come by then, nothing more
 * is read: the connection is closed behind the answer (RFC 9110, 10.1.1; RFC 9112, 9.3). */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "http_credentials.h"
#include "http_server_impl.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "transport.h"
#include "version.h"

#define SECOND_US 1000000

struct http_conn *
http_conn_of(struct conn *c)
{
	return (struct http_conn *)(void *)c;
}

/* Deadlines are whole seconds, so that one that is set for each request seldom changes. */
static void
set_deadline(struct http_conn *c, int64_t after_us)
{
	int64_t at = (c->server->now_us + after_us + SECOND_US - 1) / SECOND_US * SECOND_US;

	if (after_us < SECOND_US)
		at = c->server->now_us + after_us;
	if (c->io.deadline_us != at)
		conn_deadline(&c->io, at);
}

struct conn *
http_conn_new(struct http_server *s, bool loopback)
{
	struct http_conn *c = xcalloc(1, sizeof(*c));

	conn_init(&c->io, &s->set);
	c->server = s;
	c->loopback = loopback;
	c->next = s->conns;
	if (c->next)
		c->next->prev = c;
	s->conns = c;
	metric_add(M_HTTP_CONNECTIONS_OPENED, 1);
	metric_set(M_HTTP_CONNECTIONS, metric_get(M_HTTP_CONNECTIONS) + 1);
	set_deadline(c, s->config.head_timeout_us); /* who connects has something to say */
	return &c->io;
}

/* The request of a connection that will not hear its answer. */
static void
abandon(struct http_conn *c)
{
	struct http_request *r = c->request;

	c->request = NULL;
	if (c->state == HTTP_AUTH)
		c->server->ops.forget(c->server->ops.arg, c);
	if (r && r->in_work)
		http_ingest_detach(r);
	else
		http_request_free(&r);
}

void
http_conn_free(struct http_conn **p_c)
{
	struct http_conn *c = *p_c;

	*p_c = NULL;
	if (!c)
		return;
	abandon(c);
	auth_grant_unref(&c->grant);
	*(c->prev ? &c->prev->next : &c->server->conns) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	metric_set(M_HTTP_CONNECTIONS, metric_get(M_HTTP_CONNECTIONS) - 1);
	conn_fini(&c->io);
	free(c);
}

void
http_conn_announced(struct http_conn *c, bool loopback)
{
	c->loopback = c->loopback && loopback;
}

/* --- answers --- */

static void
count_answer(unsigned status)
{
	static const struct {
		unsigned status;
		enum metric_id id;
	} counters[] = {
		{ 200, M_HTTP_ANSWERS_2XX },
		{ 204, M_HTTP_ANSWERS_2XX },
		{ 400, M_HTTP_ANSWERS_400 },
		{ 401, M_HTTP_ANSWERS_401 },
		{ 403, M_HTTP_ANSWERS_403 },
		{ 404, M_HTTP_ANSWERS_404 },
		{ 408, M_HTTP_ANSWERS_408 },
		{ 413, M_HTTP_ANSWERS_413 },
		{ 415, M_HTTP_ANSWERS_415 },
		{ 429, M_HTTP_ANSWERS_429 },
		{ 503, M_HTTP_ANSWERS_503 },
	};

	for (size_t i = 0; i < COUNT_OF(counters); i++) {
		if (counters[i].status == status) {
			metric_add(counters[i].id, 1);
			return;
		}
	}
	metric_add(M_HTTP_ANSWERS_OTHER, 1);
}

/* The request is over; the next one may come. */
static void
finish(struct http_conn *c)
{
	struct http_request *r = c->request;

	c->request = NULL;
	http_request_free(&r);
	c->state = HTTP_IDLE;
	c->scan = (struct http_scan){ 0 };
	conn_resume(&c->io, HTTP_PAUSED_BUSY);
	set_deadline(c, c->server->config.idle_timeout_us);
}

void
http_conn_answer(struct http_conn *c, struct http_answer *a, enum http_rest rest)
{
	const struct http_request *r = c->request;

	a->date = http_server_date(c->server);
	a->minor = r ? r->minor : 1;
	a->head = r && r->head;
	a->close = !r || !r->keep_alive || rest == HTTP_REST_COMES || c->server->draining;
	count_answer(a->status);
	http_answer_put(conn_out(&c->io), a);
	conn_touch(&c->io);
	if (a->close)
		conn_close(&c->io);
	finish(c);
}

void
http_conn_problem(struct http_conn *c, const struct http_problem *p, const char *fields,
    uint32_t retry_ms, enum http_rest rest)
{
	struct buf body = { .max = 0 };
	char peer[PEER_TEXT_MAX];

	log_warn("http.refused", LS("peer", peer_text(&c->io.peer, peer)),
	    LS("route", c->request && c->request->route ? c->request->route->path : ""),
	    LU("status", p->status), LS("why", p->detail), LS("field", p->field ? p->field : ""));
	http_problem_put(&body, p);
	http_conn_answer(c,
	    &(struct http_answer){ .status = p->status,
		.type = HTTP_PROBLEM_TYPE,
		.body = buf_bytes(&body),
		.fields = fields,
		.retry_ms = retry_ms },
	    rest);
	buf_fini(&body);
}

static void
refuse(struct http_conn *c, unsigned status, const char *why, const char *fields, uint32_t retry_ms,
    enum http_rest rest)
{
	const struct http_problem p = {
		.status = status,
		.dialect =
		    c->request && c->request->route ? c->request->route->dialect : HTTP_PLAIN,
		.detail = why,
	};

	http_conn_problem(c, &p, fields, retry_ms, rest);
}

static void
say(struct http_conn *c, unsigned status, const char *type, const char *body, const char *fields)
{
	http_conn_answer(c,
	    &(struct http_answer){ .status = status,
		.type = type,
		.body = body ? bytes_of_str(body) : bytes_of(NULL, 0),
		.fields = fields },
	    HTTP_REST_NONE);
}

/* --- requests without readings --- */

#define INFLUX_FIELDS "X-Influxdb-Build: Roost\r\nX-Influxdb-Version: v2.7-roost\r\n"

static void
serve_state(struct http_conn *c)
{
	switch (c->request->route->serves) {
	case HTTP_INFLUX_PING:
		say(c, 204, NULL, NULL, INFLUX_FIELDS);
		break;
	case HTTP_INFLUX_HEALTH:
		say(c, 200, "application/json",
		    "{\"name\":\"influxdb\",\"message\":\"ready for writes\",\"status\":\"pass\","
		    "\"checks\":[],\"version\":\"v2.7-roost\",\"commit\":\"\"}\n",
		    INFLUX_FIELDS);
		break;
	case HTTP_TELEMETRY:
	case HTTP_DEVICE_TELEMETRY:
	case HTTP_LINES:
	case HTTP_INFLUX_QUERY:
	case HTTP_HEALTHZ:
		say(c, 200, "application/json", "{\"status\":\"ok\"}\n", NULL);
		break;
	}
}

/* Collectors make sure that their database is there before they write: q=CREATE DATABASE ... */
static bool
is_create(struct bytes parameters)
{
	static const char create[] = "CREATE DATABASE ";
	uint8_t text[3 * (sizeof(create) - 1)]; /* three characters may stand for one */
	struct bytes q;

	if (!http_query_find(parameters, "q", &q))
		return false;
	q.len = q.len < sizeof(text) ? q.len : sizeof(text);
	return http_unescape(q, HTTP_PLUS_IS_SPACE, text) >= sizeof(create) - 1 &&
	       http_equal(bytes_of(text, sizeof(create) - 1), create);
}

static void
serve_query(struct http_conn *c, const struct http_request *r, struct bytes body)
{
	if (r->creates || is_create(body))
		say(c, 200, "application/json", "{\"results\":[{\"statement_id\":0}]}\n",
		    INFLUX_FIELDS);
	else
		refuse(c, 400, "queries are not answered here, only CREATE DATABASE is", NULL, 0,
		    HTTP_REST_NONE);
}

/* --- the body --- */

static void
begin_body(struct http_conn *c, struct http_request *r)
{
	c->state = HTTP_BODY;
	set_deadline(c, c->server->config.body_timeout_us);
	if (r->expects_continue)
		buf_add_str(conn_out(&c->io), "HTTP/1.1 100 Continue\r\n\r\n");
	conn_touch(&c->io);
}

static void
work(struct http_conn *c, struct http_request *r, struct bytes body)
{
	metric_add(M_HTTP_BODY_BYTES, body.len);
	c->state = HTTP_WORK;
	if (r->route->serves == HTTP_INFLUX_QUERY)
		serve_query(c, r, body);
	else
		http_ingest_begin(r, body);
}

/* Keeps a piece of the body; false: it was refused. */
static bool
keep(struct http_conn *c, struct http_request *r, struct bytes data)
{
	size_t cap = r->data.cap;

	if (data.len > c->server->config.body_max - r->data.len) {
		refuse(c, 413, "the body is longer than http.body_max", NULL, 0, HTTP_REST_COMES);
		return false;
	}
	buf_add(&r->data, data.data, data.len);
	if (http_charge(r, r->data.cap - cap))
		return true;
	metric_add(M_HTTP_OVER_BUFFER, 1);
	refuse(c, 503, "too many bodies are under way (http.buffer_mib)", NULL, HTTP_RETRY_MS,
	    HTTP_REST_COMES);
	return false;
}

static size_t
on_body(struct http_conn *c, struct bytes in)
{
	struct http_request *r = c->request;
	struct http_fault fault;
	struct bytes data;
	int err;
	size_t n = http_body_read(&r->body, in, &data, &err, &fault);

	if (err) {
		refuse(c, fault.status, fault.why, NULL, 0, HTTP_REST_COMES);
		return in.len;
	}
	if (data.len && !keep(c, r, data))
		return in.len;
	if (http_body_is_done(&r->body))
		work(c, r, buf_bytes(&r->data));
	return n;
}

/* --- who it is --- */

static void
refuse_sender(struct http_conn *c, enum auth_verdict verdict, const struct auth_answer *a,
    enum http_rest rest)
{
	static const char challenge[] =
	    "WWW-Authenticate: Bearer realm=\"roost\"\r\n"
	    "WWW-Authenticate: Basic realm=\"roost\", charset=\"UTF-8\"\r\n";
	const char *why = a->why ? a->why : "not authorized";

	switch (verdict) {
	case AUTH_BAD_CREDENTIALS:
		refuse(c, 401, why, challenge, 0, rest);
		break;
	case AUTH_NOT_AUTHORIZED:
		/* Credentials may help who said none. */
		if (c->credential == 0)
			refuse(c, 401, why, challenge, 0, rest);
		else
			refuse(c, 403, why, NULL, 0, rest);
		break;
	case AUTH_BUSY:
		refuse(c, 429, why, NULL, a->retry_ms ? a->retry_ms : HTTP_RETRY_MS, rest);
		break;
	case AUTH_GRANTED:
	case AUTH_PENDING:
	case AUTH_UNAVAILABLE:
		refuse(c, 503, why, NULL, a->retry_ms ? a->retry_ms : HTTP_RETRY_MS, rest);
		break;
	}
}

/* The request goes on as this one's. */
static void
take_grant(struct http_conn *c, const struct auth_answer *a)
{
	auth_grant_unref(&c->grant);
	c->grant = a->grant;
	c->request->grant = auth_grant_ref(a->grant);
}

/* Who it is, is known. */
static void
go_on(struct http_conn *c, struct http_request *r, enum http_rest rest, struct bytes body)
{
	if (r->foreign_page && r->grant->kind == 0)
		refuse(c, 403, "pages of other origins may not send readings without credentials",
		    NULL, 0, rest);
	else if (rest == HTTP_REST_COMES)
		begin_body(c, r);
	else
		work(c, r, body);
}

static void
on_checked(void *arg, enum auth_verdict verdict, const struct auth_answer *a)
{
	struct http_conn *c = arg;
	enum http_rest rest =
	    http_body_is_done(&c->request->body) ? HTTP_REST_NONE : HTTP_REST_COMES;

	c->state = HTTP_BODY;
	if (verdict != AUTH_GRANTED) {
		refuse_sender(c, verdict, a, rest);
		return;
	}
	take_grant(c, a);
	conn_resume(&c->io, HTTP_PAUSED_BUSY);
	go_on(c, c->request, rest, bytes_of(NULL, 0));
}

static uint64_t
hash_of(const struct http_server *s, const struct http_credentials *k)
{
	const struct bytes all[] = { k->username, k->password, k->token };
	XXH64_hash_t h = s->seed;

	if (k->username.len + k->password.len + k->token.len == 0)
		return 0;
	for (size_t i = 0; i < COUNT_OF(all); i++)
		h = XXH3_64bits_withSeed(all[i].data, all[i].len, h + all[i].len + 1);
	return h | 1;
}

/* Idempotency-Key: as a quoted string or bare. 0 or a sentence. */
static const char *
read_key(struct http_request *r, const struct http_head *h)
{
	struct bytes key = http_head_field(h, "Idempotency-Key");

	r->has_key = http_head_count(h, "Idempotency-Key") > 0;
	if (!r->has_key)
		return NULL;
	if (http_head_count(h, "Idempotency-Key") > 1)
		return "more than one Idempotency-Key";
	if (key.len >= 2 && key.data[0] == '"' && key.data[key.len - 1] == '"')
		key = bytes_of(key.data + 1, key.len - 2);
	if (key.len == 0 || key.len > HTTP_IDEMPOTENCY_KEY_MAX)
		return "Idempotency-Key has 1 to 255 characters";
	r->key = XXH3_64bits(key.data, key.len);
	return NULL;
}

static bool
is_address(struct bytes host)
{
	bool digits = host.len > 0;

	if (host.len && host.data[0] == '[')
		return true;
	for (size_t i = 0; i < host.len && host.data[i] != ':'; i++)
		digits =
		    digits && ((host.data[i] >= '0' && host.data[i] <= '9') || host.data[i] == '.');
	return digits;
}

/* Browsers, and only they, say whose page it is that sends. Where nobody needs credentials any page that someone has open could
 * send readings: so it has to be one of this server, asked for by an address or as localhost, because a name may have been
 * pointed here for this (DNS rebinding). */
static bool
is_foreign_page(const struct http_head *h)
{
	struct bytes origin = http_head_field(h, "Origin"), host = http_head_field(h, "Host");
	size_t scheme = origin.len > 8 && http_equal(bytes_of(origin.data, 8), "https://") ? 8 : 7;

	if (http_head_count(h, "Origin") == 0)
		return false;
	if (origin.len <= scheme || http_head_count(h, "Origin") > 1 ||
	    !bytes_equal(bytes_of(origin.data + scheme, origin.len - scheme), host))
		return true;
	return !is_address(host) &&
	       !(host.len >= 9 && http_equal(bytes_of(host.data, 9), "localhost") &&
		   (host.len == 9 || host.data[9] == ':'));
}

/* What the request says of itself besides its sender; false: it was refused. */
static bool
check_content(
    struct http_conn *c, struct http_request *r, const struct http_head *h, enum http_rest rest)
{
	const char *why;
	int err;

	if (r->framing == HTTP_BODY_LENGTH && r->length > c->server->config.body_max) {
		refuse(c, 413, "the body is longer than http.body_max", NULL, 0, rest);
		return false;
	}
	err = http_content_of(r->route, h, &r->content, &why);
	if (err == ERR_UNSUPPORTED) {
		refuse(c, 415, why, HTTP_ACCEPT, 0, rest);
		return false;
	}
	if (err)
		refuse(c, 400, why, NULL, 0, rest);
	return err == 0;
}

/* Asks who it is; false: it was refused, or is looked up. */
static bool
identify(struct http_conn *c, struct http_request *r, const struct http_head *h, struct bytes token,
    enum http_rest rest)
{
	struct http_server *s = c->server;
	struct http_credentials k;
	struct auth_answer answer = { 0 };
	struct tls_facts facts;
	enum auth_verdict verdict;
	struct bytes own;
	uint64_t credential;
	const char *why;

	if (http_credentials_of(r->route, h, token, &k, &why) != 0) {
		refuse(c, 400, why, NULL, 0, rest);
		return false;
	}
	own = token.len ? k.token : k.username;
	if (own.len && own.len <= sizeof(r->text)) {
		memcpy(r->text, own.data, own.len);
		r->own = bytes_of(r->text, own.len);
	}
	credential = hash_of(s, &k);
	if (c->grant && credential == c->credential && !c->grant->cut &&
	    (c->grant->expires_us == 0 || s->wall_us < c->grant->expires_us)) {
		r->grant = auth_grant_ref(c->grant);
		return true;
	}
	c->credential = credential;
	transport_facts(c->io.transport, &facts);
	verdict = s->ops.check(s->ops.arg,
	    &(struct auth_request){ .protocol = AUTH_HTTP,
		.peer = &c->io.peer,
		.loopback = c->loopback,
		.tls = c->io.transport && transport_is_tls(c->io.transport),
		.certificate = facts.certificate,
		.ca = facts.ca,
		.subject = facts.subject,
		.psk_identity = facts.psk_identity,
		.username = k.username,
		.password = k.password,
		.token = k.token },
	    on_checked, c, &answer);
	tls_facts_fini(&facts);
	if (verdict == AUTH_GRANTED) {
		take_grant(c, &answer);
		return true;
	}
	if (verdict == AUTH_PENDING) {
		c->state = HTTP_AUTH;
		conn_pause(&c->io, HTTP_PAUSED_BUSY);
	} else {
		refuse_sender(c, verdict, &answer, rest);
	}
	return false;
}

/* What needs no sender; true: it was answered. */
static bool
serve_anyone(
    struct http_conn *c, struct http_request *r, const struct http_head *h, enum http_rest rest)
{
	const struct http_route *route = r->route;

	if (!route && !bytes_equal_str(h->path, "*")) {
		refuse(c, 404, "nothing is here; readings go to /v1/telemetry", NULL, 0, rest);
	} else if (bytes_equal_str(h->method, "OPTIONS")) {
		http_conn_answer(c,
		    &(struct http_answer){ .status = 204, .fields = route ? route->allow : NULL },
		    rest);
	} else if (!http_route_takes(route, h->method)) {
		refuse(c, 405, "this method is none of those that are served here", route->allow, 0,
		    rest);
	} else if (!route->has_body && (r->framing == HTTP_BODY_CHUNKED || r->length > 0)) {
		refuse(c, 400, "a request of this method has no body here", NULL, 0, rest);
	} else if (!route->needs_credentials) {
		serve_state(c);
	} else {
		return false;
	}
	return true;
}

/* Of what follows the head as much is taken as is returned. */
static size_t
begin_request(struct http_conn *c, const struct http_head *h, struct bytes in)
{
	struct bytes token = { 0 };
	const struct http_route *route = http_route_find(h->path, &token);
	struct http_request *r = http_request_new(c, route);
	bool whole = h->framing != HTTP_BODY_CHUNKED && h->length <= in.len;
	enum http_rest rest = whole ? HTTP_REST_NONE : HTTP_REST_COMES;
	size_t taken = whole ? (size_t)h->length : 0;
	const char *why;

	c->request = r;
	r->minor = h->minor;
	r->head = bytes_equal_str(h->method, "HEAD");
	r->keep_alive = h->keep_alive;
	r->expects_continue = h->expects_continue && !whole;
	r->framing = h->framing;
	r->length = h->length;
	r->foreign_page = is_foreign_page(h);
	r->creates = is_create(h->query);
	http_body_init(&r->body, h);
	metric_add(route ? route->requests : M_HTTP_OTHER_REQUESTS, 1);
	if (serve_anyone(c, r, h, rest) || !check_content(c, r, h, rest))
		return taken;
	why = read_key(r, h);
	if (why) {
		refuse(c, 400, why, NULL, 0, rest);
		return taken;
	}
	if (identify(c, r, h, token, rest))
		go_on(c, r, rest, bytes_of(in.data, taken));
	else if (c->state == HTTP_AUTH)
		return 0; /* it is read when that is known */
	return taken;
}

/* --- input --- */

static size_t
on_head(struct http_conn *c, struct bytes in)
{
	struct http_fault fault;
	struct http_head head;
	size_t len;
	int err = http_head_read(in, &c->scan, &head, &len, &fault);

	if (err == ERR_SHORT) {
		if (c->state == HTTP_IDLE && in.len > c->scan.head) {
			c->state = HTTP_HEAD;
			set_deadline(c, c->server->config.head_timeout_us);
		}
		return 0;
	}
	if (err) {
		metric_add(M_HTTP_MALFORMED, 1);
		refuse(c, fault.status, fault.why, NULL, 0, HTTP_REST_COMES);
		return in.len;
	}
	return len + begin_request(c, &head, bytes_of(in.data + len, in.len - len));
}

size_t
http_conn_input(struct http_conn *c, struct bytes in, size_t *ret_need)
{
	size_t at = 0, n;

	*ret_need = 0;
	while (c->io.closing == CONN_OPEN && at < in.len) {
		struct bytes rest = bytes_of(in.data + at, in.len - at);

		if (c->state == HTTP_AUTH || c->state == HTTP_WORK) {
			conn_pause(&c->io, HTTP_PAUSED_BUSY);
			return at;
		}
		if (c->state == HTTP_BODY) {
			at += on_body(c, rest);
			continue;
		}
		if (conn_out_len(&c->io) > HTTP_OUT_HIGH) {
			conn_pause(&c->io, HTTP_PAUSED_OUTPUT);
			c->io.hungry = true;
			return at;
		}
		n = on_head(c, rest);
		if (n == 0)
			return at;
		at += n;
	}
	return in.len;
}

void
http_conn_on_sent(struct http_conn *c)
{
	conn_resume(&c->io, HTTP_PAUSED_OUTPUT);
}

void
http_conn_on_deadline(struct http_conn *c)
{
	switch (c->state) {
	case HTTP_IDLE:
		conn_close(&c->io);
		break;
	case HTTP_HEAD:
		metric_add(M_HTTP_SLOW, 1);
		refuse(c, 408, "the head of the request has not come in time (http.header_timeout)",
		    NULL, 0, HTTP_REST_COMES);
		break;
	case HTTP_BODY:
		metric_add(M_HTTP_SLOW, 1);
		refuse(c, 408, "the body has not come in time (http.body_timeout)", NULL, 0,
		    HTTP_REST_COMES);
		break;
	case HTTP_AUTH:
	case HTTP_WORK: /* http_server_tick() looks after these */
		set_deadline(c, c->server->config.idle_timeout_us);
		break;
	}
}
