/*
 * Slow statements: a ring of records of executions that took long, by a fixed threshold or compared with the
 * template's own past. A record has the template's text, in which literals and parameters are $n, and never a
 * value. SHOW SLOW, SLOW RESET.
 */
#ifndef MONITOR_SLOW_H
#define MONITOR_SLOW_H

#include "monitor.h"

int32_t mon_slow_start(struct mon *self, struct hd_error *err);
void mon_slow_reload(struct mon *self);
/* Nobody calls back after the errands that this begins have ended. */
void mon_slow_stop(struct mon *self);
void mon_slow_free(struct mon_slow *s); /* NULL is allowed */
int32_t mon_show_slow(void *arg, const struct hd_call *call, struct hd_error *err);
int32_t mon_slow_reset(void *arg, const struct hd_call *call, struct hd_error *err);

#endif
