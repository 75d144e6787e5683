/*
 * The plan of a slow statement: EXPLAIN of its generic plan, for no values are kept. Nothing is run, but
 * planning may call functions, as EXPLAIN always does. It is asked in a transaction that is read-only, in the
 * rights of the role that the statement ran in, with the session's search_path and settings of the planner,
 * and with those that the user has by ALTER ROLE.
 */
#ifndef MONITOR_EXPLAIN_H
#define MONITOR_EXPLAIN_H

#include "slow_parts.h"

/* An answer, valid during the call. */
struct mon_plan {
    int32_t code; /* then `why` */
    const char *why;
    const char *text; /* masked, see plan_text.h */
};

/* Why there is no plan of a statement; NULL: there can be one. */
const char *mon_explain_why_not(const struct mon_slow_record *r);

/* `done` is called once, where this returns HD_OK. [control] */
int32_t mon_explain(struct mon *self, const struct mon_slow_record *r,
                    void (*done)(void *arg, const struct mon_plan *plan), void *arg, struct hd_error *err);

/* SHOW SLOW PLAN number */
int32_t mon_show_slow_plan(void *arg, const struct hd_call *call, struct hd_error *err);

#endif
