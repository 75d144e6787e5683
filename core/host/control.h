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

#define HD_CONTROL_LINE (128 * 1024) /* bytes of a request */

/* Listens on `address`: "unix:/path" or a path. A socket file that nobody serves is replaced, one that
 * another host serves is HD_EEXIST. [control] */
int hd_control_start(struct hd_loop *loop, struct hd_commands *commands, const char *address,
                     struct hd_control **out, struct hd_error *err);
/* Ends listening, removes the file, drops the clients. [control] */
void hd_control_stop(struct hd_control *c);

#endif
