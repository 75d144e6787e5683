/*
 * The control socket: howdahctl's way in. A Unix socket that only its owner may open; one line of JSON asks
 * ({"command": "SHOW POOLS"}), one line answers (see host/render.h). Everything is bounded: clients, the
 * length of a line, what waits to be read by a slow client.
 */
#ifndef HD_HOST_CONTROL_H
#define HD_HOST_CONTROL_H

#include <howdah/error.h>

#include "io/loop.h"

struct hd_commands;
struct hd_control;
struct hd_keeper;

#define HD_CONTROL_LINE (128 * 1024) /* bytes of a request */

/* Listens on `address`: "unix:/path" or a path; on the socket of an earlier host where `keeper` (may be NULL)
 * has one. A socket file that nobody serves is replaced, one that another host serves is HD_EEXIST. [control]
 */
int hd_control_start(struct hd_loop *loop, struct hd_commands *commands, const char *address,
                     const struct hd_keeper *keeper, struct hd_control **out, struct hd_error *err);
/* This host serves: a socket that it has from an earlier one is its own from now on. Until then it leaves it
 * as it is when it stops. [control] */
void hd_control_own(struct hd_control *c);
/* Another host listens from now on: accepts no more. Clients that are here have their answers. [control] */
void hd_control_leave(struct hd_control *c);
/* Ends listening, removes the file (unless it was left), drops the clients. [control] */
void hd_control_stop(struct hd_control *c);

#endif
