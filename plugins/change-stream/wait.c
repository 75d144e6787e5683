/*
 * Who waits: for a position, or for a check. Waiters come from any thread into two lists under the lock; the
 * stream's thread takes them over, and everything else is its own. `done` is called with `calling` held and
 * `lock` not.
 */
#include "stream.h"

#include <stdlib.h>

static struct waiter *get(struct stream *s)
{
    struct waiter *w = s->spare;

    if (s->waiter_count >= (uint32_t)s->plugin->conf->max_waiting)
        return NULL;
    if (w)
        s->spare = w->next;
    else
        w = malloc(sizeof(*w));
    if (w)
        s->waiter_count++;
    return w;
}

static int32_t add(hd_stream *h, struct waiter **list, const struct waiter *what)
{
    struct stream *s = h->stream;
    struct waiter *w;
    int first, full;

    pthread_mutex_lock(&s->lock);
    full = s->waiter_count >= (uint32_t)s->plugin->conf->max_waiting;
    w = get(s);
    first = w && !*list;
    if (w) {
        *w = *what;
        w->next = *list;
        *list = w;
    }
    pthread_mutex_unlock(&s->lock);
    if (!w)
        return full ? HD_EFULL : HD_ENOMEM;
    if (first)
        cs_wake(s);
    return HD_PENDING;
}

int32_t cs_wait(hd_stream *h, uint64_t lsn, uint64_t timeout_ms,
                void (*done)(void *arg, int32_t code, uint64_t lsn), void *arg)
{
    uint64_t now = cs_now();
    struct waiter w = {.hold = h,
                       .lsn = lsn,
                       .since_ns = now,
                       .deadline_ns = now + timeout_ms * NS_PER_MS,
                       .done = done,
                       .arg = arg};

    if (!atomic_load(&h->running))
        return HD_EIO;
    if (atomic_load(&h->stream->position) >= lsn)
        return HD_OK;
    return add(h, &h->stream->new_waits, &w);
}

int32_t cs_check(hd_stream *h, uint64_t timeout_ms, void (*done)(void *arg, int32_t code, uint64_t lsn),
                 void *arg)
{
    uint64_t now = cs_now();
    struct waiter w = {.hold = h,
                       .since_ns = now,
                       .deadline_ns = now + timeout_ms * NS_PER_MS,
                       .is_check = 1,
                       .done = done,
                       .arg = arg};

    if (!atomic_load(&h->running))
        return HD_EIO;
    atomic_fetch_add_explicit(&h->stream->checks, 1, memory_order_relaxed);
    return add(h, &h->stream->new_checks, &w);
}

/* --- the stream's side --------------------------------------------------------------------------------- */

static void finish(struct stream *s, struct waiter *w, int32_t code)
{
    struct plugin *p = s->plugin;

    if (w->is_check && !code)
        p->metrics->observe(p->host, s->m_check_seconds, cs_now() - w->since_ns);
    w->done(w->arg, code, w->lsn);
    pthread_mutex_lock(&s->lock);
    s->waiter_count--;
    w->next = s->spare;
    s->spare = w;
    pthread_mutex_unlock(&s->lock);
}

/* Ends those of a list that belong to the hold (NULL: all) or are late. */
static void sweep(struct stream *s, struct waiter **list, const struct hd_stream *hold, int all, int32_t code)
{
    uint64_t now = all || hold ? 0 : cs_now();

    while (*list) {
        struct waiter *w = *list;
        int take = all || (hold && w->hold == hold) || (!hold && w->deadline_ns <= now);

        if (!take) {
            list = &w->next;
            continue;
        }
        *list = w->next;
        finish(s, w, code);
    }
}

static void push(struct waiter **list, struct waiter *more)
{
    while (*list)
        list = &(*list)->next;
    *list = more;
}

static struct waiter *take_new(struct stream *s, struct waiter **list)
{
    struct waiter *w;

    pthread_mutex_lock(&s->lock);
    w = *list;
    *list = NULL;
    pthread_mutex_unlock(&s->lock);
    return w;
}

void cs_waiters_end(struct stream *s, const struct hd_stream *hold, int32_t code)
{
    struct waiter *checks = take_new(s, &s->new_checks), *waits = take_new(s, &s->new_waits);

    sweep(s, &checks, hold, !hold, code);
    sweep(s, &waits, hold, !hold, code);
    sweep(s, &s->next_checks, hold, !hold, code);
    sweep(s, &s->asked_checks, hold, !hold, code);
    sweep(s, &s->waits, hold, !hold, code);
    pthread_mutex_lock(&s->lock);
    push(&s->new_checks, checks);
    push(&s->new_waits, waits);
    pthread_mutex_unlock(&s->lock);
}

/* Those whose position was reached. */
static void serve(struct stream *s)
{
    uint64_t position = atomic_load(&s->position);

    for (struct waiter **list = &s->waits; *list;) {
        struct waiter *w = *list;

        if (w->lsn > position) {
            list = &w->next;
            continue;
        }
        *list = w->next;
        finish(s, w, HD_OK);
    }
}

int cs_checks_ask(struct stream *s)
{
    push(&s->asked_checks, s->next_checks);
    s->next_checks = NULL;
    return s->asked_checks != NULL;
}

void cs_checks_again(struct stream *s)
{
    push(&s->next_checks, s->asked_checks);
    s->asked_checks = NULL;
}

void cs_waiters_step(struct stream *s)
{
    push(&s->next_checks, take_new(s, &s->new_checks));
    sweep(s, &s->next_checks, NULL, 0, HD_ETIMEOUT);
    push(&s->waits, take_new(s, &s->new_waits));
    if (s->waits) {
        serve(s);
        sweep(s, &s->waits, NULL, 0, HD_ETIMEOUT);
    }
    sweep(s, &s->asked_checks, NULL, 0, HD_ETIMEOUT);
}

static uint64_t earliest(const struct waiter *w, uint64_t due)
{
    for (; w; w = w->next)
        if (w->deadline_ns < due)
            due = w->deadline_ns;
    return due;
}

uint64_t cs_waiters_due(const struct stream *s)
{
    return earliest(s->next_checks, earliest(s->asked_checks, earliest(s->waits, UINT64_MAX)));
}

uint64_t cs_waiters_target(const struct stream *s)
{
    uint64_t lowest = 0;

    for (const struct waiter *w = s->waits; w; w = w->next)
        if (!lowest || w->lsn < lowest)
            lowest = w->lsn;
    return lowest;
}

void cs_checks_answered(struct stream *s, uint64_t lsn)
{
    for (struct waiter *w = s->asked_checks; w; w = w->next)
        w->lsn = lsn;
    push(&s->waits, s->asked_checks);
    s->asked_checks = NULL;
}

void cs_waiters_free(struct stream *s)
{
    while (s->spare) {
        struct waiter *w = s->spare;

        s->spare = w->next;
        free(w);
    }
}
