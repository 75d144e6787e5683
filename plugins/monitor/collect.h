/*
 * Collectors: what is asked of each PostgreSQL server and of its busiest databases at intervals, by SQL jobs,
 * and what other plugins collect. At most one question is on its way to a server, and two to all of them. A
 * question that takes long is asked less often, so that it costs a server at most a fiftieth of its time, and
 * one that fails or times out is asked half as often each time. What is found are metrics. SHOW COLLECTORS.
 */
#ifndef MONITOR_COLLECT_H
#define MONITOR_COLLECT_H

#include "monitor.h"

int32_t mon_collect_start(struct mon *self, struct hd_error *err);
void mon_collect_free(struct mon_collect *c); /* nothing is under way any more; NULL is allowed */
/* Asks what is due. */
void mon_collect_tick(struct mon *self);
/* A node is up again: what has failed there is asked now. */
void mon_collect_again(struct mon *self, const char *node);
/* Takes up another configuration. */
void mon_collect_reload(struct mon *self);
int32_t mon_show_collectors(void *arg, const struct hd_call *call, struct hd_error *err);

/* Databases of a node that are looked into, as `databases` says or as they were found busiest: calls fn for
 * each, with NULL for the node's own where none is known. */
void mon_collect_databases(struct mon *self, const char *node, void (*fn)(void *arg, const char *database),
                           void *arg);

#endif
