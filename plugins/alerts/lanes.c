/*
 * Lanes; see lanes.h.
 */
#include "alerts/lanes.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alerts/alerts.h"

#define MS_PER_S   1000u
#define MINUTE_MS  60000.0
#define MS_PER_US  1000
#define SHORT_WAIT 1000000 /* ns; until a full post queue is tried again */

struct item {
    struct item *next;
    struct al_message *message;
    uint32_t attempt;
    uint64_t due_ms;
};

struct al_lane {
    struct al_lane *next;
    struct al_lanes *all;
    struct al_lane_stats stats;
    const struct hd_alert_sink_v1 *v1;
    void *self;
    char *target; /* NULL: the sink has no choice */
    pthread_t thread;
    pthread_cond_t wake;
    struct item *items, **last;
    int32_t stop; /* what send() looks at, atomically */
    int wanted;
    int ended; /* 1: its thread does nothing more; 2: the control thread knows */
    double tokens;
    uint64_t filled_ms;
    uint64_t random;
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * MS_PER_S + (uint64_t)t.tv_nsec / 1000000;
}

static int64_t wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void al_report_free(struct al_report *r)
{
    al_message_unref(r->message);
    free(r);
}

/* --- reports ---------------------------------------------------------------------------------------------
 */

/* With the lock held. What cannot be posted now is found by the next tick. */
static void wake_control(struct al_lanes *all)
{
    if (!all->posted)
        all->posted = all->wake(all->arg);
}

/* With the lock held. Takes the item over. Without memory the message stays in the outbox until it is given
 * up there. */
static void report(struct al_lane *l, struct item *i, int32_t code, uint64_t took_ms, const char *error)
{
    struct al_report *r = calloc(1, sizeof(*r));

    if (r) {
        r->message = i->message;
        memcpy(r->target, l->stats.name, sizeof(r->target));
        r->code = code;
        r->took_ms = took_ms;
        snprintf(r->error, sizeof(r->error), "%s", error);
        *l->all->last_report = r;
        l->all->last_report = &r->next;
        wake_control(l->all);
    } else {
        al_message_unref(i->message);
    }
    free(i);
}

/* --- the thread ------------------------------------------------------------------------------------------
 */

static void push_front(struct al_lane *l, struct item *i)
{
    i->next = l->items;
    if (!l->items)
        l->last = &i->next;
    l->items = i;
    l->stats.waiting++;
}

static struct item *pop(struct al_lane *l)
{
    struct item *i = l->items;

    l->items = i->next;
    if (!l->items)
        l->last = &l->items;
    l->stats.waiting--;
    return i;
}

/* Evenly between 0 and 1. */
static double chance(struct al_lane *l)
{
    l->random = l->random * 6364136223846793005u + 1442695040888963407u;
    return (double)(l->random >> 11) / (double)(1ull << 53);
}

/* Half of the wait is fixed, the rest is chance, so that targets that fail together do not return together.
 */
static uint64_t wait_before(struct al_lane *l, uint32_t attempt)
{
    const struct al_lane_conf *c = &l->all->conf;
    double ms = (double)c->retry_ms;

    for (uint32_t i = 1; i < attempt && ms < (double)c->max_retry_ms; i++)
        ms *= 2;
    if (ms > (double)c->max_retry_ms)
        ms = (double)c->max_retry_ms;
    return (uint64_t)(ms * (0.5 + 0.5 * chance(l)));
}

/* The wait that the receiver has asked for, as far as that may be, and chance; no longer than the message
 * has, so that it is tried once more before it is given up. */
static uint64_t wait_asked(struct al_lane *l, const struct item *i, uint64_t asked)
{
    const struct al_lane_conf *c = &l->all->conf;
    uint64_t own = wait_before(l, i->attempt), now = al_now_ms(), left;

    if (asked > c->max_asked_ms)
        asked = c->max_asked_ms;
    if (asked)
        asked += (uint64_t)((double)c->retry_ms * chance(l));
    if (asked < own)
        asked = own;
    left = i->message->expires_ms > now ? i->message->expires_ms - now : 0;
    return asked < left ? asked : left;
}

/* When the next message may go by the rate. */
static uint64_t rate_allows(struct al_lane *l, uint64_t now)
{
    const struct al_lane_conf *c = &l->all->conf;

    l->tokens += (double)(now - l->filled_ms) * c->rate / MINUTE_MS;
    l->filled_ms = now;
    if (l->tokens > c->burst)
        l->tokens = c->burst;
    return l->tokens >= 1 ? now : now + (uint64_t)((1 - l->tokens) * MINUTE_MS / c->rate) + 1;
}

static void wait_until(struct al_lane *l, uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / MS_PER_S), .tv_nsec = (long)(ms % MS_PER_S) * 1000000};

    pthread_cond_timedwait(&l->wake, &l->all->lock, &t);
}

static int is_final(const struct item *i, int32_t code)
{
    return code == HD_OK || code == HD_EINVAL || code == HD_EPERM || code == HD_ENOENT ||
           i->message->m.test || al_now_ms() >= i->message->expires_ms;
}

/* With the lock held; gives it up while the sink is at work. */
static void deliver(struct al_lane *l, struct item *i)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_alert_message m = i->message->m;
    uint64_t timeout = l->all->conf.timeout_ms, from = now_ms(), asked = 0;
    int32_t code;

    m.attempt = i->attempt;
    m.retry_after_ms = &asked;
    l->tokens -= 1;
    l->stats.busy = 1;
    l->stats.attempt = i->attempt;
    pthread_mutex_unlock(&l->all->lock);
    code = l->v1->send(l->self, l->target, &m, timeout, &l->stop, &err);
    pthread_mutex_lock(&l->all->lock);
    l->stats.busy = 0;
    if (code == HD_OK) {
        l->stats.sent++;
        l->stats.sent_us = wall_us();
        l->stats.error[0] = '\0';
    } else {
        snprintf(l->stats.error, sizeof(l->stats.error), "%s", err.text);
    }
    if (is_final(i, code)) {
        l->stats.dead += code != HD_OK && !i->message->m.test;
        report(l, i, code, now_ms() - from, err.text);
        return;
    }
    l->stats.retries++;
    i->due_ms = now_ms() + wait_asked(l, i, asked);
    i->attempt++;
    push_front(l, i);
}

static void work(struct al_lane *l)
{
    while (l->wanted) {
        uint64_t now = now_ms(), due;

        if (!l->items) {
            pthread_cond_wait(&l->wake, &l->all->lock);
            continue;
        }
        due = rate_allows(l, now);
        if (l->items->due_ms > due)
            due = l->items->due_ms;
        if (due > now)
            wait_until(l, due);
        else
            deliver(l, pop(l));
    }
}

/* Whoever has asked for a test waits for its answer; other messages stay in the outbox. */
static void cancel_tests(struct al_lane *l)
{
    for (struct item **at = &l->items; *at;) {
        struct item *i = *at;

        if (!i->message->m.test) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        l->stats.waiting--;
        report(l, i, HD_ECANCELLED, 0, "the target is there no more");
    }
}

static void *run(void *arg)
{
    struct al_lane *l = arg;
    struct al_lanes *all = l->all;

    pthread_mutex_lock(&all->lock);
    work(l);
    cancel_tests(l);
    l->ended = 1;
    wake_control(all);
    /* Where the control thread is behind with its posts it must hear of this one all the same. */
    while (!all->posted && l->ended == 1) {
        pthread_mutex_unlock(&all->lock);
        nanosleep(&(struct timespec){.tv_nsec = SHORT_WAIT}, NULL);
        pthread_mutex_lock(&all->lock);
        wake_control(all);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

/* --- lanes -----------------------------------------------------------------------------------------------
 */

int32_t al_lanes_init(struct al_lanes *all, int (*wake)(void *arg), void *arg)
{
    all->wake = wake;
    all->arg = arg;
    all->last_report = &all->reports;
    return pthread_mutex_init(&all->lock, NULL) ? HD_ENOMEM : HD_OK;
}

void al_lanes_configure(struct al_lanes *all, const struct al_lane_conf *conf)
{
    pthread_mutex_lock(&all->lock);
    all->conf = *conf;
    pthread_mutex_unlock(&all->lock);
}

static struct al_lane *find(struct al_lanes *all, const char *name)
{
    struct al_lane *l = all->lanes;

    while (l && (strcmp(l->stats.name, name) != 0 || !l->wanted))
        l = l->next;
    return l;
}

static void free_lane(struct al_lane *l)
{
    while (l->items) {
        struct item *i = pop(l);

        al_message_unref(i->message);
        free(i);
    }
    pthread_cond_destroy(&l->wake);
    free(l->target);
    free(l);
}

/* Signals are for the host's own threads. */
static int start_thread(struct al_lane *l)
{
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed)
        pthread_setname_np(l->thread, "alert-sink");
    return failed;
}

static struct al_lane *make(struct al_lanes *all, const char *name, const struct al_sink *s,
                            const char *target)
{
    struct al_lane *l = calloc(1, sizeof(*l));
    pthread_condattr_t attr;

    if (!l)
        return NULL;
    snprintf(l->stats.name, sizeof(l->stats.name), "%s", name);
    l->all = all;
    l->v1 = s->v1;
    l->self = s->self;
    l->target = target ? strdup(target) : NULL;
    l->last = &l->items;
    l->wanted = 1;
    l->tokens = all->conf.burst;
    l->filled_ms = now_ms();
    l->random = al_hash((uint64_t)wall_us(), name);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &attr);
    pthread_condattr_destroy(&attr);
    if ((target && !l->target) || start_thread(l)) {
        free_lane(l);
        return NULL;
    }
    return l;
}

/* With the lock held. */
static void end_lane(struct al_lane *l)
{
    l->wanted = 0;
    __atomic_store_n(&l->stop, 1, __ATOMIC_RELAXED);
    pthread_cond_signal(&l->wake);
}

static void want(struct al_lanes *all, const struct al_sink *s, const char *target, struct al_lane **kept)
{
    char name[AL_TARGET_MAX];
    struct al_lane *l;
    uint32_t place = 0;

    while (place < AL_TARGETS_MAX && kept[place])
        place++;
    if (place == AL_TARGETS_MAX) {
        all->left_out++;
        return;
    }
    snprintf(name, sizeof(name), "%s%s%s", s->name, target ? ":" : "", target ? target : "");
    l = find(all, name);
    if (!l && (l = make(all, name, s, target))) {
        l->next = all->lanes;
        all->lanes = l;
    }
    kept[place] = l;
}

void al_lanes_update(struct al_lanes *all, const struct al_sink *sinks, uint32_t count)
{
    struct al_lane *kept[AL_TARGETS_MAX] = {NULL};

    pthread_mutex_lock(&all->lock);
    all->left_out = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct al_sink *s = &sinks[i];
        const char *target;

        if (s->v1 && !s->v1->target)
            want(all, s, NULL, kept);
        for (uint32_t t = 0; s->v1 && s->v1->target && (target = s->v1->target(s->self, t)); t++)
            want(all, s, target, kept);
    }
    for (struct al_lane *l = all->lanes; l; l = l->next) {
        int found = 0;

        for (int i = 0; i < AL_TARGETS_MAX; i++)
            found |= kept[i] == l;
        if (!found && l->wanted)
            end_lane(l);
    }
    pthread_mutex_unlock(&all->lock);
}

int32_t al_lanes_push(struct al_lanes *all, const char *target, struct al_message *m)
{
    struct item *i = calloc(1, sizeof(*i));
    struct al_lane *l;
    int32_t code = HD_OK;

    if (!i)
        return HD_ENOMEM;
    i->message = m;
    i->attempt = 1;
    pthread_mutex_lock(&all->lock);
    l = find(all, target);
    if (!l)
        code = HD_ENOENT;
    else if (l->stats.waiting >= all->conf.max_queue) {
        code = HD_EFULL;
        l->stats.dead += !m->m.test;
    } else {
        al_message_ref(m);
        if (m->m.test) {
            push_front(l, i);
        } else {
            *l->last = i;
            l->last = &i->next;
            l->stats.waiting++;
        }
        pthread_cond_signal(&l->wake);
    }
    pthread_mutex_unlock(&all->lock);
    if (code)
        free(i);
    return code;
}

/* Is the lane one of "SINK,SINK:TARGET"? */
static int meant(const char *sinks, const char *name)
{
    size_t sink = strcspn(name, ":"), whole = strlen(name);

    if (!*sinks)
        return 1;
    while (*sinks) {
        size_t n = strcspn(sinks, ",");

        if ((n == sink || n == whole) && strncmp(sinks, name, n) == 0)
            return 1;
        sinks += n + (sinks[n] == ',');
    }
    return 0;
}

void al_lanes_match(struct al_lanes *all, const char *sinks, void (*fn)(void *arg, const char *target),
                    void *arg)
{
    for (struct al_lane *l = all->lanes; l; l = l->next)
        if (l->wanted && meant(sinks, l->stats.name))
            fn(arg, l->stats.name);
}

int al_lanes_has(struct al_lanes *all, const char *target)
{
    int found;

    pthread_mutex_lock(&all->lock);
    found = find(all, target) != NULL;
    pthread_mutex_unlock(&all->lock);
    return found;
}

int al_lanes_stats(struct al_lanes *all, uint32_t i, struct al_lane_stats *out)
{
    struct al_lane *l;

    pthread_mutex_lock(&all->lock);
    for (l = all->lanes; l && i; l = l->next)
        i--;
    if (l)
        *out = l->stats;
    pthread_mutex_unlock(&all->lock);
    return l != NULL;
}

static void drop_ended(struct al_lanes *all)
{
    struct al_lane **at = &all->lanes;

    while (*at) {
        struct al_lane *l = *at;

        if (!l->ended) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        l->ended = 2;
        pthread_mutex_unlock(&all->lock); /* which the thread takes no more; it is about to end */
        pthread_join(l->thread, NULL);
        pthread_mutex_lock(&all->lock);
        free_lane(l);
    }
}

struct al_report *al_lanes_reports(struct al_lanes *all)
{
    struct al_report *r;

    pthread_mutex_lock(&all->lock);
    all->posted = 0;
    r = all->reports;
    all->reports = NULL;
    all->last_report = &all->reports;
    drop_ended(all);
    pthread_mutex_unlock(&all->lock);
    return r;
}

void al_lanes_stop(struct al_lanes *all)
{
    pthread_mutex_lock(&all->lock);
    for (struct al_lane *l = all->lanes; l; l = l->next)
        end_lane(l);
    pthread_mutex_unlock(&all->lock);
}

int al_lanes_live(struct al_lanes *all)
{
    int live;

    pthread_mutex_lock(&all->lock);
    live = all->lanes || all->posted;
    pthread_mutex_unlock(&all->lock);
    return live;
}

void al_lanes_free(struct al_lanes *all)
{
    struct al_report *r;

    while ((r = all->reports)) {
        all->reports = r->next;
        al_report_free(r);
    }
    pthread_mutex_destroy(&all->lock);
}
