/* death.c - why a child ended, in words; pure */
#include "death.h"

#include <stdio.h>
#include <string.h>

#include "exit_codes.h"

const char *
signal_text(int signal, char out[24])
{
	const char *name = sigabbrev_np(signal);

	if (name)
		snprintf(out, 24, "SIG%s", name);
	else
		snprintf(out, 24, "signal %d", signal);
	return out;
}

const char *
span_text(int64_t us, char out[24])
{
	long long s = us / 1000000;

	if (s < 1)
		snprintf(out, 24, "%lldms", (long long)(us / 1000));
	else if (s < 60)
		snprintf(out, 24, "%llds", s);
	else if (s < 3600)
		snprintf(out, 24, "%lldm%02llds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, 24, "%lldh%02lldm", s / 3600, s / 60 % 60);
	else
		snprintf(out, 24, "%lldd%02lldh", s / 86400, s / 3600 % 24);
	return out;
}

static const char *
exit_meaning(int code)
{
	switch (code) {
	case 0:
		return "without an error";
	case EXIT_USAGE:
		return "usage";
	case EXIT_DEPENDENCY:
		return "a dependency is away";
	case EXIT_CONFIG:
		return "its configuration is wrong";
	default:
		return "a failure of its own";
	}
}

const char *
death_text(const struct death *d, char out[DEATH_TEXT_MAX])
{
	char sig[24], span[24], when[48], what[64];

	if (d->at_wall_us == 0) {
		snprintf(out, DEATH_TEXT_MAX, "never");
		return out;
	}
	if (d->spawn_errno) {
		snprintf(out, DEATH_TEXT_MAX, "%s could not be started: %s",
		    d->program ? d->program : "it", strerror(d->spawn_errno));
		return out;
	}
	if (d->up_us < 0)
		snprintf(when, sizeof(when), " before READY");
	else
		snprintf(when, sizeof(when), " after %s", span_text(d->up_us, span));
	if (d->exit_code < 0)
		snprintf(what, sizeof(what), "%s%s", signal_text(d->signal, sig),
		    d->core ? " (core dumped)" : "");
	else
		snprintf(
		    what, sizeof(what), "exit %d, %s", d->exit_code, exit_meaning(d->exit_code));
	if (d->cause)
		snprintf(out, DEATH_TEXT_MAX, "%s: %s%s", d->cause, what, when);
	else
		snprintf(out, DEATH_TEXT_MAX, "%s%s%s", d->exit_code < 0 ? "killed by " : "", what,
		    when);
	return out;
}
