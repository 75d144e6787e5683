/*
 * Pools: how much of each is in use, as a metric and so in the history, and in how long it will be full if it
 * goes on as in the last minutes. It reads what the host tells of its pools, and touches no pool. SHOW POOL
 * USE. [control]
 */
#ifndef MONITOR_POOLS_H
#define MONITOR_POOLS_H

#include "monitor.h"

struct mon_pools *mon_pools_new(struct mon *self);
void mon_pools_free(struct mon_pools *p); /* NULL is allowed */
/* Each second. */
void mon_pools_tick(struct mon_pools *p);

int32_t mon_show_pool_use(void *arg, const struct hd_call *call, struct hd_error *err);

#endif
