/*
 * The inside of a worker's filter chain, which chain.c (filters, plans, sessions) and chain_exec.c
 * (executions) share. [worker]
 */
#ifndef HD_PLUG_CHAIN_PARTS_H
#define HD_PLUG_CHAIN_PARTS_H

#include "base/blame.h"
#include "base/units.h"
#include "plug/instance.h"
#include "plug/values.h"

#define HD_NS_PER_MS 1000000u
/* Handles: the worker's number above, its own sequence below. */
#define HD_HANDLE_SEQUENCE_BITS 48

/* A filter on this worker. */
struct hd_chain_slot {
    struct hd_instance *instance;
    const struct hd_filter_v1 *f;
    void *self, *ws;
    uint64_t budget_ns;
    uint64_t watched_until;                   /* a call took too long: look closer until then; 0: no */
    uint32_t uses;                            /* 1 for the snapshot, 1 for each plan that names it; 0: free */
    uint64_t observed_second, observed_quiet; /* so that observing logs one line a second */
};

/* A filter in a plan. */
struct hd_chain_entry {
    struct hd_chain_slot *slot;
    uint32_t want;
    uint8_t observe, reject;
    uint8_t broken; /* it could not plan and rejects: refuses in its stead */
    void *data;
    void (*destroy)(void *data);
};

struct hd_chain_full_plan {
    struct hd_chain_plan head; /* first */
    struct hd_chain *chain;    /* NULL: hollow */
    struct hd_list node;       /* in chain->plans */
    uint32_t generation;
    uint32_t users; /* executions in flight */
    int kept;       /* by a template */
    struct hd_chain_entry entries[];
};

/* What filters keep for one session, by slot. */
struct hd_chain_states {
    struct hd_list node;
    uint32_t open; /* bit n: state[n] was opened */
    uint32_t room;
    uint64_t session_id;
    void *state[];
};

/* A transaction whose end is being told, one filter after the other. */
struct hd_chain_ending {
    struct hd_chain_exec exec; /* first; a handle and a park, and never a plan */
    struct hd_chain_session *session;
    struct hd_chain_slot *slot; /* in use: its filter holds the end back; NULL: nobody */
};

struct hd_chain {
    struct hd_chain_head head; /* first */
    struct hd_plugins *plugins;
    struct hd_chain_seat *seat;
    uint32_t worker;
    uint32_t keeps; /* bit n: the filter in slot n keeps session states */
    struct hd_chain_snapshot *current;
    uint64_t sequence; /* of handles */
    uint64_t tick_ns;  /* of the clock that measures time budgets */
    struct hd_parks *parks;
    struct hd_list plans, sessions, deadlines;
    struct hd_chain_timer *timer;
    void (*resume)(void *arg, struct hd_chain_exec *exec);
    void *resume_arg;
    struct hd_values values; /* of the execution that is being decided */
    struct hd_chain_slot slots[HD_CHAIN_MAX];
};

struct hd_chain_timer {
    struct hd_loop_timer timer; /* first */
    struct hd_chain *chain;
    uint64_t due_ns; /* 0: not running */
};

/* Takes the filters out of a plan; frees it unless a template still keeps the shell. */
void hd_chain_hollow(struct hd_chain_full_plan *p);
/* Finds the session's state of one filter; opened now where it was not there when the session began. 0, or
 * HD_ENOMEM. */
int hd_chain_find_state(struct hd_chain *c, struct hd_chain_session *cs, const struct hd_chain_slot *s,
                        struct hd_statement *st);
static inline int hd_chain_state_of(struct hd_chain *c, struct hd_chain_session *cs,
                                    const struct hd_chain_slot *s, struct hd_statement *st)
{
    uint32_t n = (uint32_t)(s - c->slots);

    if (HD_UNLIKELY(!cs->states || !(cs->states->open & (1u << n))))
        return hd_chain_find_state(c, cs, s, st);
    st->session_state = cs->states->state[n];
    return HD_OK;
}
/* Ends one use of a slot; the last stops the filter on this worker. */
void hd_chain_slot_unuse(struct hd_chain *c, struct hd_chain_slot *s);
/* The timer of parks' deadlines. */
void hd_chain_on_deadline(struct hd_loop_timer *t);
void hd_chain_arm(struct hd_chain *c, uint64_t due_ns);
/* Whoever was told of the session's transactions is not any more. */
void hd_chain_end_forget(struct hd_chain *c, struct hd_chain_session *cs);
/* A clock that costs a few nanoseconds and is right to one tick: enough to see that a callback blocks. */
static inline uint64_t hd_chain_coarse_ns(void)
{
    return hd_clock_ns(CLOCK_MONOTONIC_COARSE);
}

/* One call of a filter, for its time budget. A call that takes too long may only have been robbed of the
 * processor. So the first one makes the filter watched for a minute: then it is known of each call whether it
 * blocked or computed, and that is what counts as a failure. */
struct hd_chain_call {
    uint64_t start;
    uint64_t cpu_us; /* of the thread; while watched */
    long blocked;    /* times that the thread gave up the processor; while watched */
    int watched;
    uint32_t was; /* the note that this call replaces */
};

void hd_chain_watch(struct hd_chain_slot *s, struct hd_chain_call *call) __attribute__((cold));
void hd_chain_overrun(struct hd_chain_slot *s, const struct hd_chain_call *call, uint64_t took,
                      const char *what) __attribute__((cold));

static inline void hd_chain_call_begins(struct hd_chain_slot *s, struct hd_chain_call *call)
{
    call->start = hd_chain_coarse_ns();
    call->watched = 0;
    call->was = hd_blame_enter(s->instance->blame);
    if (HD_UNLIKELY(s->watched_until))
        hd_chain_watch(s, call);
}

static inline void hd_chain_call_ended(const struct hd_chain *c, struct hd_chain_slot *s,
                                       const struct hd_chain_call *call, const char *what)
{
    uint64_t took = hd_chain_coarse_ns() - call->start;

    hd_blame_leave(call->was);
    if (HD_UNLIKELY(took > s->budget_ns + c->tick_ns))
        hd_chain_overrun(s, call, took, what);
}

#endif
