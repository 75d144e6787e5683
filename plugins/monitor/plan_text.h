/*
 * What EXPLAIN has answered, made fit to be kept and compared: no literals, for those of views, policies and
 * index predicates stand in it; and its shape, which is the same while the server would do the same.
 */
#ifndef MONITOR_PLAN_TEXT_H
#define MONITOR_PLAN_TEXT_H

#include <howdah/types.h>

/* The lines, joined, with ? for each literal; cut at `max` bytes. Costs stay. malloc'ed; NULL: no memory. */
char *mon_plan_mask(const struct hd_str *lines, uint32_t count, size_t max);

/* Of a masked plan: without costs, estimates and numbers. Never 0. */
uint64_t mon_plan_shape(const char *plan);

/* "Index Scan using a on t -> Seq Scan on t": the first line that is another in `now`. */
void mon_plan_difference(const char *before, const char *now, char *out, size_t room);

#endif
