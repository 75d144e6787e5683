/*
 * The commands about sessions, servers and pools: SHOW CLIENTS, SERVERS, POOLS, STATS; KILL, PAUSE, RESUME.
 */
#ifndef HD_SESSION_SHOW_H
#define HD_SESSION_SHOW_H

#include <howdah/error.h>

struct hd_workers;

/* Registers them with the workers' registry. [control] */
int hd_session_add_commands(struct hd_workers *w, struct hd_error *err);

#endif
