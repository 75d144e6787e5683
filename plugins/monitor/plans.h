/*
 * Plans by policy: of statements that are slow, and of those that have been, again at intervals, so that it
 * can be told when the server has begun to do something else. What is kept has a bound; those that have not
 * been slow for longest go first. A change is an event of the history ("plan.changed"), a metric and a column
 * of SHOW SLOW and SHOW TEMPLATES. SHOW PLANS, SHOW PLAN. [control]
 */
#ifndef MONITOR_PLANS_H
#define MONITOR_PLANS_H

#include "monitor.h"

enum { MON_PLANS_OFF, MON_PLANS_SLOW, MON_PLANS_FOLLOW }; /* the option `plans` */

int32_t mon_plans_start(struct mon *self, struct hd_error *err);
void mon_plans_tick(struct mon *self);
void mon_plans_free(struct mon_plans *p); /* NULL is allowed */
/* When a plan of that statement has changed last, in µs since 1970; 0: not that is known. */
int64_t mon_plans_changed(const struct mon_plans *p, uint64_t fingerprint, struct hd_str database,
                          struct hd_str user);
int32_t mon_show_plans(void *arg, const struct hd_call *call, struct hd_error *err);
int32_t mon_show_plan(void *arg, const struct hd_call *call, struct hd_error *err);

#endif
