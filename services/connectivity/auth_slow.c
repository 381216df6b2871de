/* auth_slow.c - passwords that take 0.1 s and 64 MiB to check: one after the other, in a thread of their own */
#include "auth_slow.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "mem.h"

struct job {
	struct job *next;
	auth_slow_fn fn; /* NULL: whoever asked is gone. The loop's alone */
	void *arg;	 /* the same */
	bool matches;
	size_t hash_len, secret_len;
	uint8_t hash[CREDENTIAL_STORED_MAX];
	uint8_t secret[CREDENTIAL_SECRET_MAX];
};

struct jobs {
	struct job *first, **end;
};

struct auth_slow {
	struct loop *loop;
	struct loop_fd *lfd;
	struct job *all[AUTH_SLOW_MAX]; /* the loop's: those without an answer */
	size_t count;
	bool running;
	pthread_t thread;
	int event; /* something is done */
	/* Both threads', under the lock: */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct jobs waiting, done;
	bool stop;
};

static void
jobs_push(struct jobs *j, struct job *job)
{
	job->next = NULL;
	if (!j->first)
		j->end = &j->first;
	*j->end = job;
	j->end = &job->next;
}

static struct job *
jobs_pop(struct jobs *j)
{
	struct job *job = j->first;

	if (job)
		j->first = job->next;
	return job;
}

static void
job_free(struct job *job)
{
	credential_wipe(job, sizeof(*job));
	free(job);
}

/* --- the thread --- */

static void
check(struct job *job)
{
	struct msg_credential c = { .scheme = CREDENTIAL_ARGON2ID,
		.hash = bytes_of(job->hash, job->hash_len) };

	job->matches = credential_matches(&c, bytes_of(job->secret, job->secret_len));
	credential_wipe(job->secret, sizeof(job->secret));
}

static void *
work(void *arg)
{
	struct auth_slow *s = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct job *job;

		while (!s->stop && !s->waiting.first)
			pthread_cond_wait(&s->wake, &s->lock);
		if (s->stop)
			break;
		job = jobs_pop(&s->waiting);
		pthread_mutex_unlock(&s->lock);
		check(job);
		pthread_mutex_lock(&s->lock);
		jobs_push(&s->done, job);
		/* Its counter is far from full. */
		(void)!write(s->event, &one, sizeof(one));
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Signals are the loop's. */
static int
begin(struct auth_slow *s)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&s->thread, NULL, work, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		log_error("auth.thread", LS("fault", strerror(rc)));
		return ERR_IO;
	}
	s->running = true;
	return 0;
}

/* --- the loop --- */

static void
forget_job(struct auth_slow *s, const struct job *job)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->all[i] == job) {
			s->all[i] = s->all[--s->count];
			return;
		}
	}
}

static void
on_done(void *arg, int fd, uint32_t events)
{
	struct auth_slow *s = arg;
	struct jobs done;
	uint64_t n;

	(void)events;
	(void)!read(fd, &n, sizeof(n));
	pthread_mutex_lock(&s->lock);
	done = s->done;
	s->done.first = NULL;
	pthread_mutex_unlock(&s->lock);
	for (struct job *job; (job = jobs_pop(&done)) != NULL;) {
		auth_slow_fn fn = job->fn;
		void *fn_arg = job->arg;
		bool matches = job->matches;

		forget_job(s, job);
		job_free(job);
		if (fn)
			fn(fn_arg, matches);
	}
}

struct auth_slow *
auth_slow_new(struct loop *loop)
{
	struct auth_slow *s = xcalloc(1, sizeof(*s));

	s->loop = loop;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->event < 0)
		log_error("auth.thread", LS("fault", strerror(errno)));
	else
		s->lfd = loop_fd_add(loop, s->event, EPOLLIN, on_done, s);
	return s;
}

void
auth_slow_free(struct auth_slow **p_s)
{
	struct auth_slow *s = *p_s;
	struct job *job;

	*p_s = NULL;
	if (!s)
		return;
	if (s->running) {
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_signal(&s->wake);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	while ((job = jobs_pop(&s->waiting)) != NULL || (job = jobs_pop(&s->done)) != NULL)
		job_free(job);
	if (s->event >= 0) {
		loop_fd_del(s->loop, &s->lfd);
		close(s->event);
	}
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int
auth_slow_ask(struct auth_slow *s, const struct msg_credential *c, struct bytes secret,
    auth_slow_fn fn, void *arg)
{
	struct job *job;
	int err;

	if (s->count == AUTH_SLOW_MAX)
		return ERR_FULL;
	if (s->event < 0)
		return ERR_IO;
	if (!s->running && (err = begin(s)) != 0)
		return err;
	job = xcalloc(1, sizeof(*job));
	job->fn = fn;
	job->arg = arg;
	/* What is too long matches nothing, and takes as long. */
	job->hash_len = c->hash.len <= sizeof(job->hash) ? c->hash.len : 0;
	job->secret_len = secret.len <= sizeof(job->secret) ? secret.len : 0;
	if (job->hash_len)
		memcpy(job->hash, c->hash.data, job->hash_len);
	if (job->secret_len)
		memcpy(job->secret, secret.data, job->secret_len);
	s->all[s->count++] = job;
	pthread_mutex_lock(&s->lock);
	jobs_push(&s->waiting, job);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void
auth_slow_forget(struct auth_slow *s, const void *arg)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->all[i]->arg == arg)
			s->all[i]->fn = NULL;
}

size_t
auth_slow_waiting(const struct auth_slow *s)
{
	return s->count;
}
