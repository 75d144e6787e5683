/*
 * Throttling: a token bucket for each rule, which all workers share, and for each worker the statements that
 * wait for a token, first come first served. A statement waits parked; a timer of the worker's loop resumes
 * it.
 */
#ifndef GUARD_THROTTLE_H
#define GUARD_THROTTLE_H

#include <howdah/howdah.h>
#include <stdatomic.h>

/* The bucket: the time at which it is full again. Nothing else is needed: a token that is taken moves that
 * time by the interval, and there is one while it lies less than a burst ahead. */
struct guard_bucket {
    _Atomic int64_t full_at; /* monotonic, nanoseconds */
};

/* Takes a token and returns 0, or returns how many nanoseconds there is none. [any] */
int64_t guard_bucket_take(struct guard_bucket *b, int64_t now, int64_t interval_ns, int64_t burst);

int64_t guard_now(void);

struct guard_rule;
struct guard_worker;

/* What a statement carries from statement() to complete(): the rule that stopped it. */
struct guard_mark {
    const struct guard_rule *rule;
    enum { GUARD_MARK_REFUSED, GUARD_MARK_WAITING, GUARD_MARK_RELEASED } state;
    uint32_t reserved;
    char sqlstate[8]; /* that it was refused with */
    uint64_t handle;
    struct guard_lane *lane; /* while it waits */
    struct guard_mark *next, *prev;
};

/* The statements of one worker that wait for one rule. */
struct guard_lane {
    struct guard_lane *next;
    const struct guard_rule *rule;
    struct guard_mark *first, *last;
};

/* Lets the statement go on (verdict untouched), parks it, or refuses it because too many wait; then `mark` is
 * set. HD_OK, or HD_ENOMEM. [worker] */
int32_t guard_throttle(struct guard_worker *w, const struct guard_rule *rule, const struct hd_statement *st,
                       struct hd_verdict *v, struct guard_mark **mark);
/* A mark whose statement is over waits no more. [worker] */
void guard_throttle_leave(struct guard_worker *w, struct guard_mark *mark);
/* Ends the timer and frees the lanes. [worker] */
void guard_throttle_stop(struct guard_worker *w);

#endif
