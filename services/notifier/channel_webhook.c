/* channel_webhook.c - HTTP POST by libcurl's multi interface, driven by the loop
 *
 * Only http and https, no redirects (the operator named the address, the receiver does not choose another), answers are
 * read up to WEBHOOK_REPLY_MAX, every request has an end by its time-out. */
#include "channel.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "err.h"
#include "mem.h"

#define CONNECT_TIMEOUT_MS 5000l
#define LIBRARY "libcurl.so.4"

/* libcurl brings 40 libraries with it, which would cost each start 10 ms of processor and 5 MiB: it is loaded for the first
 * webhook. Its functions, by their names without curl_. */
#define CALLS(X)                                                                                   \
	X(multi_socket_action)                                                                     \
	X(multi_assign)                                                                            \
	X(multi_remove_handle)                                                                     \
	X(easy_cleanup)                                                                            \
	X(slist_free_all)                                                                          \
	X(easy_getinfo)                                                                            \
	X(easy_strerror)                                                                           \
	X(multi_info_read)                                                                         \
	X(easy_setopt)                                                                             \
	X(slist_append)                                                                            \
	X(easy_init)                                                                               \
	X(multi_add_handle)                                                                        \
	X(global_init)                                                                             \
	X(multi_init)                                                                              \
	X(multi_setopt)                                                                            \
	X(multi_cleanup)                                                                           \
	X(global_cleanup)

static struct {
#define X(name) __typeof__(curl_##name) *(name);
	CALLS(X)
#undef X
} curl;

struct request {
	struct request *next;
	struct request **prev;
	CURL *easy;
	struct curl_slist *headers;
	char *body;
	size_t reply_len;
	char error[CURL_ERROR_SIZE];
	channel_end_fn fn;
	void *arg;
};

struct webhook {
	struct loop *loop;
	CURLM *multi; /* NULL until the first webhook */
	struct loop_timer timer;
	struct loop_timer fault_timer;
	char fault[256]; /* why there is no libcurl */
	struct request *requests;
	struct socket_watch *watches;
};

struct socket_watch {
	struct socket_watch *next;
	struct socket_watch **prev;
	struct webhook *w;
	struct loop_fd *lfd;
};

static void finish_requests(struct webhook *w);

/* --- curl says what it waits for --- */

static void
on_fd(void *arg, int fd, uint32_t events)
{
	struct webhook *w = ((struct socket_watch *)arg)->w;
	int mask = 0, running;

	if ((events & EPOLLIN) != 0)
		mask |= CURL_CSELECT_IN;
	if ((events & EPOLLOUT) != 0)
		mask |= CURL_CSELECT_OUT;
	if ((events & (EPOLLERR | EPOLLHUP)) != 0)
		mask |= CURL_CSELECT_ERR;
	curl.multi_socket_action(w->multi, fd, mask, &running);
	finish_requests(w);
}

static void
on_timer(void *arg)
{
	struct webhook *w = arg;
	int running;

	curl.multi_socket_action(w->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	finish_requests(w);
}

static void
watch_end(struct socket_watch *s)
{
	loop_fd_del(s->w->loop, &s->lfd);
	*s->prev = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
	free(s);
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct webhook *w = arg;
	struct socket_watch *s = socket_arg;
	uint32_t events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
			  (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s != NULL)
			watch_end(s);
		curl.multi_assign(w->multi, fd, NULL);
		return 0;
	}
	if (s != NULL) {
		loop_fd_mod(w->loop, s->lfd, events);
		return 0;
	}
	s = xcalloc(1, sizeof(*s));
	s->w = w;
	s->next = w->watches;
	s->prev = &w->watches;
	if (s->next != NULL)
		s->next->prev = &s->next;
	w->watches = s;
	s->lfd = loop_fd_add(w->loop, fd, events, on_fd, s);
	curl.multi_assign(w->multi, fd, s);
	return 0;
}

static int
on_timeout(CURLM *multi, long ms, void *arg)
{
	struct webhook *w = arg;

	(void)multi;
	if (ms < 0)
		loop_timer_clear(w->loop, &w->timer);
	else
		loop_timer_set(w->loop, &w->timer, (int64_t)ms * 1000, on_timer, w);
	return 0;
}

/* --- requests --- */

static size_t
on_reply(const char *data, size_t size, size_t n, void *arg)
{
	struct request *r = arg;

	(void)data;
	r->reply_len += size * n;
	/* Anything but size * n ends the transfer: the status was read by then, and decides. */
	return r->reply_len > WEBHOOK_REPLY_MAX ? 0 : size * n;
}

static void
request_free(struct webhook *w, struct request *r)
{
	*r->prev = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	if (r->easy != NULL) {
		curl.multi_remove_handle(w->multi, r->easy);
		curl.easy_cleanup(r->easy);
		curl.slist_free_all(r->headers);
	}
	free(r->body);
	free(r);
}

enum channel_end
webhook_judge(long status)
{
	if (status >= 200 && status < 300)
		return CHANNEL_ACCEPTED;
	if (status >= 400 && status < 500 && status != 408 && status != 429)
		return CHANNEL_REJECTED;
	/* A redirect is a mistake in notify.yaml: trying again does not mend it, correcting the file does. */
	return status >= 300 && status < 400 ? CHANNEL_REJECTED : CHANNEL_FAILED;
}

static void
finish_one(struct webhook *w, struct request *r, CURLcode code)
{
	enum channel_end end = CHANNEL_FAILED;
	channel_end_fn fn = r->fn;
	void *arg = r->arg;
	curl_off_t wait_s = 0;
	long status = 0;
	char why[CURL_ERROR_SIZE + 32];

	curl.easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	curl.easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &wait_s);
	/* CURLE_WRITE_ERROR is ours: the answer was too long, its status counts. */
	if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && status != 0)) {
		end = webhook_judge(status);
		snprintf(why, sizeof(why), "HTTP %ld", status);
	} else {
		snprintf(why, sizeof(why), "%s",
		    r->error[0] != '\0' ? r->error : curl.easy_strerror(code));
	}
	if (wait_s < 0 || wait_s > WEBHOOK_WAIT_MAX_US / 1000000)
		wait_s = WEBHOOK_WAIT_MAX_US / 1000000;
	request_free(w, r);
	fn(arg, end, end == CHANNEL_ACCEPTED ? NULL : why, (int64_t)wait_s * 1000000);
}

static void
finish_requests(struct webhook *w)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl.multi_info_read(w->multi, &left)) != NULL) {
		CURLcode code = msg->data.result;
		char *private = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl.easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
		finish_one(w, (struct request *)(void *)private, code);
	}
}

static void
set_options(struct request *r, const struct receiver *to, struct bytes body)
{
	CURL *e = r->easy;

	curl.easy_setopt(e, CURLOPT_PRIVATE, r);
	curl.easy_setopt(e, CURLOPT_ERRORBUFFER, r->error);
	curl.easy_setopt(e, CURLOPT_URL, to->url);
	curl.easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl.easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0l);
	curl.easy_setopt(e, CURLOPT_NOSIGNAL, 1l);
	curl.easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)to->timeout_ms);
	curl.easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
	    to->timeout_ms < CONNECT_TIMEOUT_MS ? (long)to->timeout_ms : CONNECT_TIMEOUT_MS);
	curl.easy_setopt(e, CURLOPT_POST, 1l);
	curl.easy_setopt(e, CURLOPT_POSTFIELDS, r->body);
	curl.easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long)body.len);
	curl.easy_setopt(e, CURLOPT_HTTPHEADER, r->headers);
	curl.easy_setopt(e, CURLOPT_USERAGENT, "roost-notifier");
	curl.easy_setopt(e, CURLOPT_WRITEFUNCTION, on_reply);
	curl.easy_setopt(e, CURLOPT_WRITEDATA, r);
}

static void
add_header(struct request *r, const char *header)
{
	struct curl_slist *more = curl.slist_append(r->headers, header);

	ASSERT(more != NULL);
	r->headers = more;
}

/* --- libcurl --- */

static bool
load_calls(struct webhook *w)
{
	void *lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	bool all = lib != NULL;

#define X(name) all = all && (*(void **)&curl.name = dlsym(lib, "curl_" #name)) != NULL;
	CALLS(X)
#undef X
	if (!all) {
		const char *why = dlerror();

		snprintf(w->fault, sizeof(w->fault), "%s", why ? why : LIBRARY);
	}
	return all;
}

static bool
have_curl(struct webhook *w)
{
	if (w->multi != NULL)
		return true;
	if (!load_calls(w))
		return false;
	ASSERT(curl.global_init(CURL_GLOBAL_DEFAULT) == 0);
	w->multi = curl.multi_init();
	ASSERT(w->multi != NULL);
	curl.multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl.multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w);
	curl.multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	curl.multi_setopt(w->multi, CURLMOPT_TIMERDATA, w);
	return true;
}

/* Those that were made while there was no libcurl. Whoever is told may send the next one: it waits for its own turn. */
static void
on_fault(void *arg)
{
	struct webhook *w = arg;
	struct request *r = w->requests, *next;

	for (; r != NULL; r = next) {
		channel_end_fn fn = r->fn;
		void *fn_arg = r->arg;

		next = r->next;
		if (r->easy != NULL)
			continue;
		request_free(w, r);
		fn(fn_arg, CHANNEL_FAILED, w->fault, 0);
	}
}

void
webhook_send(struct webhook *w, const struct receiver *to, const char *key, struct bytes body,
    channel_end_fn fn, void *arg)
{
	struct request *r = xcalloc(1, sizeof(*r));
	char *header;

	r->fn = fn;
	r->arg = arg;
	r->next = w->requests;
	r->prev = &w->requests;
	if (r->next != NULL)
		r->next->prev = &r->next;
	w->requests = r;
	if (!have_curl(w)) {
		loop_timer_set(w->loop, &w->fault_timer, 0, on_fault, w);
		return;
	}
	r->easy = curl.easy_init();
	ASSERT(r->easy != NULL);
	r->body = xmemdup(body.data, body.len);
	add_header(r, "Content-Type: application/json");
	add_header(r, "Expect:");
	header = xasprintf("Idempotency-Key: %s", key);
	add_header(r, header);
	free(header);
	for (size_t i = 0; i < to->header_count; i++)
		add_header(r, to->headers[i]);
	set_options(r, to, body);
	curl.multi_add_handle(w->multi, r->easy);
}

struct webhook *
webhook_new(struct loop *loop)
{
	struct webhook *w = xcalloc(1, sizeof(*w));

	w->loop = loop;
	return w;
}

void
webhook_free(struct webhook **p_w)
{
	struct webhook *w = *p_w;

	if (w == NULL)
		return;
	*p_w = NULL;
	for (struct request *r = w->requests, *next; r != NULL; r = next) {
		next = r->next;
		request_free(w, r);
	}
	if (w->multi != NULL)
		curl.multi_cleanup(w->multi);
	for (struct socket_watch *s = w->watches, *next; s != NULL; s = next) {
		next = s->next;
		watch_end(s);
	}
	loop_timer_clear(w->loop, &w->timer);
	loop_timer_clear(w->loop, &w->fault_timer);
	if (w->multi != NULL)
		curl.global_cleanup();
	free(w);
}
