/*
 * The filter chain: what a worker does with filters on a statement's way. One hd_chain per worker runs an
 * immutable, counted snapshot of the filters, ordered by priority and id; the control thread hands over
 * another one when plugins change. Everything here is [worker], on the chain's own thread.
 *
 * The way of one execution:
 *
 *     plan = hd_chain_plan(chain, tmpl, &slot, &generation);      once per template, else one comparison
 *     if (plan->want == 0) …                                      nothing more is called
 *     hd_chain_begin(chain, plan, &exec)
 *     hd_chain_decide(chain, &cs, &exec, &st, &verdict)           if want has HD_WANT_DECIDE
 *         HD_VERDICT_PARK: nothing until `resume` is called with this exec; then decide again
 *     hd_chain_data(…)                                            if want has HD_WANT_DATA
 *     hd_chain_complete(chain, &cs, &exec, &st, &outcome)         exactly once for each begin
 *
 * A filter that is switched off still gets complete() for what it began: an execution keeps its plan, a plan
 * keeps its filters; worker_stop() follows the last.
 */
#ifndef HD_PLUG_CHAIN_H
#define HD_PLUG_CHAIN_H

#include <howdah/filter.h>
#include "base/check.h"

struct hd_plugins;
struct hd_chain;
struct hd_chain_states;
struct hd_park;

/* Filters at a time; and those whose per-execution state needs no allocation. */
#define HD_CHAIN_MAX    32
#define HD_CHAIN_INLINE 8

/* What the filters want of one template on this worker. */
struct hd_chain_plan {
    uint32_t want;  /* all filters' HD_WANT_… together; 0: call nothing more */
    uint32_t count; /* entries; the rest is the chain's own */
};

/* One execution; embedded in the session's statement. Zeroed is "none". */
struct hd_chain_exec {
    struct hd_chain_plan *plan; /* held from begin to complete; NULL: none is under way */
    uint64_t handle;            /* names it for resume; never used twice */
    struct hd_park *park;       /* while parked, and until the resumed verdict is done with */
    uint32_t called;            /* bit i: complete() is due to entry i of the plan */
    uint32_t next;              /* entry that decides next */
    void **slots;               /* per entry, the filter's own; `few` or allocated */
    void *few[HD_CHAIN_INLINE];
};

/* What filters keep for a session; embedded in the session. Zeroed is "none". */
struct hd_chain_session {
    struct hd_chain_states *states; /* NULL while no filter keeps anything */
    uint32_t touched;               /* bit n: the filter in slot n is told of the transaction's end */
    struct hd_chain_ending *ending; /* NULL until there is one to tell of */
};

/* The head of every hd_chain. */
struct hd_chain_head {
    uint32_t generation; /* of the snapshot; never 0 */
    uint32_t filters;    /* in it */
};

/* Makes the chain of this worker, on its thread, with its loop current. It takes the filters that are there
 * now and follows all later changes by itself. */
int hd_chain_new(struct hd_plugins *plugins, uint32_t worker, struct hd_chain **out);
/* After all sessions are closed and all executions complete. Plans that templates still hold become hollow
 * and may be dropped later. The loop must still run once, to close the chain's timer. */
void hd_chain_free(struct hd_chain *chain);

/* `fn` is called, from the loop, when a parked execution may go on: call hd_chain_decide again. It is called
 * at most once per park, and not after complete. */
void hd_chain_set_resume(struct hd_chain *chain, void (*fn)(void *arg, struct hd_chain_exec *exec),
                         void *arg);

struct hd_chain_plan *hd_chain_replan(struct hd_chain *chain, const hd_template *tmpl, void **slot,
                                      uint32_t *generation) HD_MUST_USE;

/* The plan of a template; `slot` and `generation` are kept with the template in this worker's cache, zero at
 * first. NULL: no memory (answer 53200). */
static inline struct hd_chain_plan *hd_chain_plan(struct hd_chain *chain, const hd_template *tmpl,
                                                  void **slot, uint32_t *generation)
{
    if (HD_LIKELY(*generation == ((const struct hd_chain_head *)(const void *)chain)->generation))
        return (struct hd_chain_plan *)*slot;
    return hd_chain_replan(chain, tmpl, slot, generation);
}

/* The template leaves the worker's cache: gives its plan back. May be called with NULL. */
void hd_chain_plan_drop(void *plan);

/* The slots of those who want HD_WANT_TRANSACTION. */
uint32_t hd_chain_touching(const struct hd_chain_plan *plan);

/* Begins an execution. HD_OK, or HD_ENOMEM (answer 53200). With a plan that wants nothing it is as if there
 * were none: decide says continue, data and complete do nothing. */
int hd_chain_begin(struct hd_chain *chain, struct hd_chain_plan *plan,
                   struct hd_chain_exec *exec) HD_MUST_USE;

/* Asks the filters in order, from where it stopped before. Returns v->kind; `v` is always filled. The chain
 * sets st->handle, st->session_state and st->slot. What `v` points to is valid until the next call on this
 * chain, or until v->release is called, where that is set: by whoever called, once. */
uint32_t hd_chain_decide(struct hd_chain *chain, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                         struct hd_statement *st, struct hd_verdict *v);

/* Bytes of the answer, in order, as they pass. */
void hd_chain_data(struct hd_chain *chain, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                   struct hd_statement *st, struct hd_str bytes);

/* The end of an execution, whatever it was; a park is given up. With HD_WANT_BEFORE in plan->want it must
 * come before the client sees the end of its answer. Leaves exec without a plan. */
void hd_chain_complete(struct hd_chain *chain, struct hd_chain_session *cs, struct hd_chain_exec *exec,
                       struct hd_statement *st, const struct hd_outcome *outcome);

/* --- the end of transactions (chain_end.c) --- */

/* An execution that belongs to the session's transaction begins. */
static inline void hd_chain_touch(struct hd_chain_session *cs, const struct hd_chain_plan *plan)
{
    if (HD_UNLIKELY(plan->want & HD_WANT_TRANSACTION))
        cs->touched |= hd_chain_touching(plan);
}

/* Tells the filters that were touched; `t` but for its handle and session_state. HD_OK, and there is nobody
 * left to tell; or HD_PENDING, where `hold` is set: after the `resume` of hd_chain_ending_session() it is to
 * be called again. */
int hd_chain_end(struct hd_chain *chain, struct hd_chain_session *cs, const struct hd_transaction *t,
                 int hold);
/* Whom an end was told that may not be one yet, so that they can be told when it is. */
struct hd_chain_told {
    uint32_t count;
    struct hd_chain_told_one {
        uint32_t slot;
        const void *instance; /* compared, never followed */
        uint64_t handle;
    } of[];
};
/* For those that the session has touched. NULL: no memory, or there are none. Freed by hd_free. */
struct hd_chain_told *hd_chain_told_new(const struct hd_chain_session *cs);
/* As hd_chain_end, without holding anything; `told` may be NULL. */
void hd_chain_lost(struct hd_chain *chain, struct hd_chain_session *cs, const struct hd_transaction *t,
                   struct hd_chain_told *told);
/* Tells those who are still there that it is over. `t` but for end, about, handle and session_state. */
void hd_chain_settled(struct hd_chain *chain, const struct hd_chain_told *told,
                      const struct hd_transaction *t);
/* The session of an exec that `resume` was called with; NULL: it is an execution's. */
struct hd_chain_session *hd_chain_ending_session(struct hd_chain_exec *exec);

/* After authentication, and at the session's end. Filters that are switched on later open theirs at the
 * session's next execution. */
void hd_chain_session_open(struct hd_chain *chain, struct hd_chain_session *cs, uint64_t session_id,
                           struct hd_str database, struct hd_str user);
void hd_chain_session_close(struct hd_chain *chain, struct hd_chain_session *cs);

#endif
