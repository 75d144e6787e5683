/*
 * What templates do: at intervals the counts of the plugin `statements` are gathered, and what came since the
 * time before goes into the history, the costliest by themselves and all others as one.
 *
 * The costliest of late are metrics as well, a bounded number of them: a template comes in when it is among
 * the first `top` and there is room, or it is twice as costly as the least of those that are in, which then
 * goes; and it goes when it is not among the first 2 × `top` any more. So those at the edge do not come and
 * go. SHOW TEMPLATES.
 *
 * Where there are more than max_templates, those that have not run for some gatherings make room for those
 * that have: what they have counted goes into the row of all others.
 */
#ifndef MONITOR_TEMPLATES_H
#define MONITOR_TEMPLATES_H

#include "monitor.h"

int32_t mon_templates_start(struct mon *self, struct hd_error *err);
/* Nothing is under way any more. */
void mon_templates_free(struct mon_templates *t); /* NULL is allowed */
/* Gathers when the time has come. */
void mon_templates_tick(struct mon *self);
/* Gathers now, and then calls fn, once, on the control thread: at once where nobody counts, and also when it
 * could not be done. HD_EFULL: too many wait for that; HD_ENOMEM. */
int32_t mon_templates_fresh(struct mon *self, void (*fn)(void *arg), void *arg);
/* The databases that templates were seen in since the start, up to a bound. */
void mon_templates_databases(struct mon *self, void (*fn)(void *arg, const char *database), void *arg);
/* The plugin stops: nobody waits any longer. What was counted until now goes into the history, which is
 * written then. */
void mon_templates_stop(struct mon *self);

#endif
