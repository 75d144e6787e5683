/*
 * The small host's loop service: one queue of posts for all threads, and timers on a clock that only
 * mock_advance moves. Descriptors are remembered but never ready.
 */
#include "mock_parts.h"

#include <stdlib.h>

struct mock_post_entry {
    struct mock_post_entry *next;
    int32_t thread;
    void (*fn)(void *arg);
    void *arg;
};

struct hd_timer {
    struct hd_timer *next;
    struct mock *mock;
    int32_t thread;
    int armed;
    uint64_t due, repeat;
    void (*fn)(void *arg);
    void *arg;
};

struct hd_watch {
    struct hd_watch *next;
    struct mock *mock;
};

void mock_on(struct mock *m, int32_t worker)
{
    m->here = worker;
}

void mock_limit_posts(struct mock *m, int posts)
{
    m->post_limit = posts;
}

static int32_t post(hd_host *host, int32_t worker, void (*fn)(void *arg), void *arg)
{
    struct mock *m = mock_of(host);
    struct mock_post_entry *p;

    if (worker >= (int32_t)m->v1.workers || worker < HD_LOOP_CONTROL)
        return HD_EINVAL;
    if (m->post_limit == 0)
        return HD_EFULL;
    m->post_limit -= m->post_limit > 0;
    p = mock_zalloc(sizeof(*p));
    p->thread = worker;
    p->fn = fn;
    p->arg = arg;
    if (m->last_post)
        m->last_post->next = p;
    else
        m->posts = p;
    m->last_post = p;
    return HD_OK;
}

static void run_posts(struct mock *m)
{
    int32_t before = m->here;

    while (m->posts) {
        struct mock_post_entry p = *m->posts;

        free(m->posts);
        m->posts = p.next;
        if (!m->posts)
            m->last_post = NULL;
        m->here = p.thread;
        p.fn(p.arg);
    }
    m->here = before;
}

void mock_run(struct mock *m)
{
    run_posts(m);
    mock_deliver(m);
    run_posts(m);
}

/* --- timers -------------------------------------------------------------------------------------------- */

static hd_timer *timer(hd_host *host, uint64_t ms, uint32_t repeat, void (*fn)(void *arg), void *arg)
{
    struct mock *m = mock_of(host);
    struct hd_timer *t = mock_zalloc(sizeof(*t));

    t->mock = m;
    t->thread = m->here;
    t->armed = 1;
    t->due = m->now_ms + ms;
    t->repeat = repeat ? ms : 0;
    t->fn = fn;
    t->arg = arg;
    t->next = m->timers;
    m->timers = t;
    return t;
}

static void retime(hd_timer *t, uint64_t ms)
{
    t->armed = 1;
    t->due = t->mock->now_ms + ms;
    if (t->repeat)
        t->repeat = ms;
}

static void untimer(hd_timer *t)
{
    struct hd_timer **at = &t->mock->timers;

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    free(t);
}

static struct hd_timer *next_due(const struct mock *m, uint64_t until)
{
    struct hd_timer *first = NULL;

    for (struct hd_timer *t = m->timers; t; t = t->next)
        if (t->armed && t->due <= until && (!first || t->due < first->due))
            first = t;
    return first;
}

void mock_advance(struct mock *m, uint64_t ms)
{
    uint64_t until = m->now_ms + ms;
    int32_t before = m->here;
    struct hd_timer *t;

    mock_run(m);
    while ((t = next_due(m, until))) {
        m->now_ms = t->due;
        t->due += t->repeat;
        t->armed = t->repeat > 0;
        m->here = t->thread;
        t->fn(t->arg);
        mock_run(m);
    }
    m->now_ms = until;
    m->here = before;
}

unsigned mock_timers(const struct mock *m)
{
    unsigned n = 0;

    for (const struct hd_timer *t = m->timers; t; t = t->next)
        n += t->armed != 0;
    return n;
}

/* --- watches ------------------------------------------------------------------------------------------- */

static hd_watch *watch(hd_host *host, int32_t fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
                       void *arg)
{
    struct mock *m = mock_of(host);
    struct hd_watch *w = mock_zalloc(sizeof(*w));

    (void)fd, (void)events, (void)fn, (void)arg;
    w->mock = m;
    w->next = m->watches;
    m->watches = w;
    return w;
}

static void rewatch(hd_watch *w, uint32_t events)
{
    (void)w, (void)events;
}

static void unwatch(hd_watch *w)
{
    struct hd_watch **at = &w->mock->watches;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    free(w);
}

void mock_loop_free(struct mock *m)
{
    while (m->posts) {
        struct mock_post_entry *p = m->posts;

        m->posts = p->next;
        free(p);
    }
    while (m->timers)
        untimer(m->timers);
    while (m->watches)
        unwatch(m->watches);
}

const struct hd_loop_v1 mock_loop = {
    .size = sizeof(struct hd_loop_v1),
    .watch = watch,
    .rewatch = rewatch,
    .unwatch = unwatch,
    .timer = timer,
    .retime = retime,
    .untimer = untimer,
    .post = post,
};
