/* bus_without.c - what libzmq and libczmq could load and the bus never uses
 *
 * Linked as shared libraries the two bring 26 others with them: PGM and NORM (multicast), Kerberos, systemd and all that
 * these need. Each start of a worker would map and relocate them: 4 ms of processor, and memory that stays. So libzmq is
 * linked from its archive, and its references to those four end here. Of all calls only those that answer are ever made:
 * the bus has ipc and inproc addresses, no mechanism, and no socket from systemd. */
#include <stddef.h>

#include "err.h"

/* At the context's start and end: there is nothing to initialise, which is success. */
int pgm_init(void **error);
int pgm_shutdown(void);
/* czmq asks once how many descriptors came from systemd. */
int sd_listen_fds(int unset);

int
pgm_init(void **error)
{
	(void)error;
	return 1;
}

int
pgm_shutdown(void)
{
	return 1;
}

int
sd_listen_fds(int unset)
{
	(void)unset;
	return 0;
}

static _Noreturn void
never(void)
{
	err_assert_failed("a call of what libzmq is linked without", __FILE__, __LINE__);
}

#define NEVER(name) _Noreturn void name(void) __attribute__((alias("never")))

NEVER(NormCreateInstance);
NEVER(NormCreateSession);
NEVER(NormDestroyInstance);
NEVER(NormDestroySession);
NEVER(NormGetDescriptor);
NEVER(NormGetNextEvent);
NEVER(NormGetRandomSessionId);
NEVER(NormIsUnicastAddress);
NEVER(NormNodeDelete);
NEVER(NormObjectGetType);
NEVER(NormObjectGetUserData);
NEVER(NormObjectSetUserData);
NEVER(NormSetCongestionControl);
NEVER(NormSetDefaultSyncPolicy);
NEVER(NormSetDefaultUnicastNack);
NEVER(NormSetLoopback);
NEVER(NormSetMulticastInterface);
NEVER(NormSetRxPortReuse);
NEVER(NormSetTTL);
NEVER(NormStartReceiver);
NEVER(NormStartSender);
NEVER(NormStopInstance);
NEVER(NormStopReceiver);
NEVER(NormStopSender);
NEVER(NormStreamFlush);
NEVER(NormStreamOpen);
NEVER(NormStreamRead);
NEVER(NormStreamSeekMsgStart);
NEVER(NormStreamWrite);
NEVER(gss_accept_sec_context);
NEVER(gss_acquire_cred);
NEVER(gss_delete_sec_context);
NEVER(gss_display_name);
NEVER(gss_import_name);
NEVER(gss_init_sec_context);
NEVER(gss_release_buffer);
NEVER(gss_release_cred);
NEVER(gss_release_name);
NEVER(gss_unwrap);
NEVER(gss_wrap);
NEVER(pgm_bind3);
NEVER(pgm_close);
NEVER(pgm_connect);
NEVER(pgm_error_free);
NEVER(pgm_free);
NEVER(pgm_freeaddrinfo);
NEVER(pgm_getaddrinfo);
NEVER(pgm_getsockopt);
NEVER(pgm_gsi_create_from_data);
NEVER(pgm_recvmsgv);
NEVER(pgm_send);
NEVER(pgm_setsockopt);
NEVER(pgm_socket);
NEVER(sd_is_socket_inet);
NEVER(sd_is_socket_unix);

/* Compared with by what is never called. */
#define NOTHING(name)                                                                              \
	extern const void *const name;                                                             \
	const void *const name = NULL

NOTHING(GSS_C_NT_HOSTBASED_SERVICE);
NOTHING(GSS_C_NT_USER_NAME);
NOTHING(NORM_INSTANCE_INVALID);
NOTHING(NORM_NODE_ANY);
NOTHING(NORM_OBJECT_INVALID);
NOTHING(NORM_SESSION_INVALID);
