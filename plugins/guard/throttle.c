/* Token buckets and the statements that wait for them; see throttle.h. */
#include "guard.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t guard_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t guard_bucket_take(struct guard_bucket *b, int64_t now, int64_t interval_ns, int64_t burst)
{
    int64_t slack = (burst - 1) * interval_ns;
    int64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    int64_t next;

    do {
        if (full_at - slack > now)
            return full_at - slack - now;
        next = (full_at > now ? full_at : now) + interval_ns;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return 0;
}

static int64_t take(const struct guard_rule *rule)
{
    return guard_bucket_take(&rule->tally->bucket, guard_now(), rule->interval_ns, rule->burst);
}

/* --- lanes -------------------------------------------------------------------------------------------- */

static struct guard_lane *find_lane(struct guard_worker *w, const struct guard_rule *rule)
{
    struct guard_lane *l = w->lanes;

    while (l && l->rule != rule)
        l = l->next;
    return l;
}

static struct guard_lane *make_lane(struct guard_worker *w, const struct guard_rule *rule)
{
    struct guard_lane *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->rule = rule;
    l->next = w->lanes;
    w->lanes = l;
    return l;
}

static void append(struct guard_lane *l, struct guard_mark *m)
{
    m->lane = l;
    m->prev = l->last;
    if (l->last)
        l->last->next = m;
    else
        l->first = m;
    l->last = m;
}

void guard_throttle_leave(struct guard_worker *w, struct guard_mark *m)
{
    struct guard_lane *l = m->lane;

    if (!l)
        return;
    if (m->prev)
        m->prev->next = m->next;
    else
        l->first = m->next;
    if (m->next)
        m->next->prev = m->prev;
    else
        l->last = m->prev;
    m->lane = NULL;
    m->next = m->prev = NULL;
    atomic_fetch_sub_explicit(&m->rule->tally->waiting, 1, memory_order_relaxed);
    w->self->metrics->add(w->self->host, w->self->waiting_metric, -1);
}

/* --- resuming ------------------------------------------------------------------------------------------- */

static void release(struct guard_worker *w, struct guard_mark *m)
{
    struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_CONTINUE};

    guard_throttle_leave(w, m);
    m->state = GUARD_MARK_RELEASED;
    /* HD_ENOENT says that its end is on the way; complete() will clean up. */
    w->self->statement->resume(w->self->host, m->handle, &v);
}

/* Resumes what has a token. Returns nanoseconds until the next one, 0 when the lane is empty. */
static int64_t run_lane(struct guard_worker *w, struct guard_lane *l)
{
    while (l->first) {
        int64_t wait = take(l->rule);

        if (wait)
            return wait;
        release(w, l->first);
    }
    return 0;
}

/* Whole milliseconds, rounded up so that the timer is not early. */
static uint64_t ms_of(int64_t ns)
{
    return (uint64_t)(ns + 999999) / 1000000;
}

static void on_timer(void *arg)
{
    struct guard_worker *w = arg;
    struct guard_lane **at = &w->lanes;
    int64_t soonest = INT64_MAX;

    while (*at) {
        struct guard_lane *l = *at;
        int64_t wait = run_lane(w, l);

        if (wait) {
            soonest = wait < soonest ? wait : soonest;
            at = &l->next;
        } else {
            *at = l->next;
            free(l);
        }
    }
    w->due = INT64_MAX;
    if (w->lanes) {
        w->due = guard_now() + soonest;
        w->self->loop->retime(w->timer, ms_of(soonest));
    }
}

/* Sees to it that the timer runs `wait` ns from now, or sooner. */
static int32_t arm(struct guard_worker *w, int64_t wait)
{
    const struct hd_loop_v1 *loop = w->self->loop;
    int64_t due = guard_now() + wait;

    if (!w->timer) {
        w->timer = loop->timer(w->self->host, ms_of(wait), 0, on_timer, w);
        if (!w->timer)
            return HD_ENOMEM;
    } else if (due < w->due) {
        loop->retime(w->timer, ms_of(wait));
    } else {
        return HD_OK;
    }
    w->due = due;
    return HD_OK;
}

/* --- waiting -------------------------------------------------------------------------------------------- */

static void refuse_full(struct guard_mark *m, struct hd_verdict *v)
{
    static const char message[] = "too many statements wait for this rule's rate";
    static const char hint[] = "Send fewer, or raise rate or max_waiting of the rule.";

    m->state = GUARD_MARK_REFUSED;
    memcpy(m->sqlstate, "53400", 6);
    v->kind = HD_VERDICT_REFUSE;
    memcpy(v->sqlstate, m->sqlstate, sizeof(m->sqlstate));
    v->message.ptr = message;
    v->message.len = sizeof(message) - 1;
    v->hint.ptr = hint;
    v->hint.len = sizeof(hint) - 1;
}

/* One more that waits, unless that would be too many; the bound holds over all workers. */
static int may_wait(const struct guard_rule *rule)
{
    if ((int64_t)atomic_fetch_add_explicit(&rule->tally->waiting, 1, memory_order_relaxed) <
        rule->max_waiting)
        return 1;
    atomic_fetch_sub_explicit(&rule->tally->waiting, 1, memory_order_relaxed);
    return 0;
}

/* `wait`: until the next token; 0 when others wait for it already, and so the timer runs. */
static int32_t park(struct guard_worker *w, const struct guard_rule *rule, struct guard_mark *m, int64_t wait,
                    struct hd_verdict *v)
{
    struct guard_lane *l = find_lane(w, rule);

    if (!l)
        l = make_lane(w, rule);
    if (!l || (wait && arm(w, wait) != HD_OK)) {
        atomic_fetch_sub_explicit(&rule->tally->waiting, 1, memory_order_relaxed);
        return HD_ENOMEM;
    }
    append(l, m);
    m->state = GUARD_MARK_WAITING;
    v->kind = HD_VERDICT_PARK;
    v->park_ms = (uint64_t)rule->max_wait;
    atomic_fetch_add_explicit(&rule->tally->throttled, 1, memory_order_relaxed);
    w->self->metrics->add(w->self->host, rule->tally->throttled_metric, 1);
    w->self->metrics->add(w->self->host, w->self->waiting_metric, 1);
    return HD_OK;
}

int32_t guard_throttle(struct guard_worker *w, const struct guard_rule *rule, const struct hd_statement *st,
                       struct hd_verdict *v, struct guard_mark **mark)
{
    struct guard_lane *l = find_lane(w, rule);
    struct guard_mark *m;
    int64_t wait = 0;

    /* Nobody overtakes those that wait already. */
    if (!(l && l->first)) {
        wait = take(rule);
        if (!wait)
            return HD_OK;
    }
    m = calloc(1, sizeof(*m));
    if (!m)
        return HD_ENOMEM;
    m->rule = rule;
    m->handle = st->handle;
    if (!may_wait(rule)) {
        refuse_full(m, v);
    } else if (park(w, rule, m, wait, v) != HD_OK) {
        free(m);
        return HD_ENOMEM;
    }
    *mark = m;
    return HD_OK;
}

void guard_throttle_stop(struct guard_worker *w)
{
    if (w->timer)
        w->self->loop->untimer(w->timer);
    w->timer = NULL;
    while (w->lanes) {
        struct guard_lane *l = w->lanes;

        w->lanes = l->next;
        free(l);
    }
}
