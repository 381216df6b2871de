/* control.h - the command line's door: a unix socket, one JSON object a line in, one a line out
 *
 *	{"command":"status"}	{"ok":true,...} as in status.h
 *	{"command":"metrics"}	{"ok":true,"text":"# HELP ..."}
 *	{"command":"stop"}	{"ok":true}; the connection ends when the supervisor does
 *	anything else		{"ok":false,"error":"..."}
 *
 * Mode 0600, and the peer must be root or our own user. A client that sends no whole line within CONTROL_IDLE_US, or
 * more than CONTROL_LINE_MAX, is closed; CONTROL_CLIENTS_MAX at a time. */
#ifndef ROOST_CONTROL_H
#define ROOST_CONTROL_H

#include <jansson.h>

#include "buf.h"
#include "loop.h"

#define CONTROL_CLIENTS_MAX 16
#define CONTROL_LINE_MAX 4096
#define CONTROL_REPLY_MAX (16u << 20)
#define CONTROL_IDLE_US 60000000

struct control;

/* Answers one request; the answer is the caller's to free. */
typedef json_t *(*control_fn)(void *arg, const char *command);

/* path: of the socket; one left by an earlier supervisor is replaced. ERR_IO, with a sentence in err. */
int control_open(struct loop *loop, const char *path, control_fn fn, void *arg, struct control **ret,
    struct buf *err);
void control_close(struct control **control);

/* The other side. Asks, waits for the answer at most timeout_ms. until_closed: and then for the end of the supervisor.
 * ERR_NOT_FOUND: nobody listens; ERR_TIMEOUT; ERR_REFUSED: not ours; ERR_IO, ERR_MALFORMED. */
int control_call(const char *path, const char *command, int timeout_ms, bool until_closed,
    json_t **ret_answer);

#endif
