/*
 * What debug builds can be told to do to themselves: DEBUG ALLOCATION, for tests of memory that runs out.
 */
#ifndef HD_SESSION_DEBUG_H
#define HD_SESSION_DEBUG_H

#include <howdah/error.h>

struct hd_workers;

/* Registers the command; in other builds there is none. [control] */
int hd_debug_add_commands(struct hd_workers *w, struct hd_error *err);

#endif
