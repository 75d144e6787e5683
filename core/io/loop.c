/*
 * One thread's event loop; see loop.h.
 */
#include "io/loop.h"

#include "base/alloc.h"
#include "base/check.h"

#include <howdah/error.h>
#include <string.h>

static _Thread_local struct hd_loop *current;

struct call {
    struct hd_post post;
    void (*fn)(void *arg);
    void *arg;
};

struct hd_loop *hd_loop_current(void)
{
    return current;
}

static void run_inbox(struct hd_loop *l)
{
    struct hd_post *p;

    pthread_mutex_lock(&l->lock);
    p = l->head;
    l->head = l->tail = NULL;
    pthread_mutex_unlock(&l->lock);
    while (p) {
        struct hd_post *next = p->next;

        p->fn(p);
        p = next;
    }
}

static void on_wake(uv_async_t *a)
{
    run_inbox(a->data);
}

static void run_deferred(struct hd_loop *l)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&l->deferred))) {
        struct hd_deferred *d = HD_LIST_ITEM(n, struct hd_deferred, node);

        d->fn(d);
    }
}

static void on_before_sleep(uv_prepare_t *h)
{
    run_deferred(h->data);
}

int hd_loop_init(struct hd_loop *l)
{
    memset(l, 0, sizeof(*l));
    if (uv_loop_init(&l->uv))
        return HD_ENOMEM;
    pthread_mutex_init(&l->lock, NULL);
    hd_list_init(&l->deferred);
    if (uv_async_init(&l->uv, &l->wake, on_wake)) {
        uv_loop_close(&l->uv);
        return HD_EFAIL;
    }
    uv_prepare_init(&l->uv, &l->before_sleep);
    l->wake.data = l->before_sleep.data = l;
    uv_prepare_start(&l->before_sleep, on_before_sleep);
    uv_unref((uv_handle_t *)&l->before_sleep);
    current = l;
    return HD_OK;
}

/* libuv tells by a timeout of 0 that it has something to do that no descriptor announces. */
static void turn_with_waiter(struct hd_loop *l, int sleep)
{
    int due;

    do {
        run_deferred(l);
        l->waiter->prepare(l->waiter);
    } while (!hd_list_empty(&l->deferred));
    due = l->waiter->wait(l->waiter, sleep ? uv_backend_timeout(&l->uv) : 0);
    uv_update_time(&l->uv);
    if (due || uv_backend_timeout(&l->uv) == 0)
        uv_run(&l->uv, UV_RUN_NOWAIT);
}

void hd_loop_turn(struct hd_loop *l)
{
    if (l->waiter)
        turn_with_waiter(l, 1);
    else
        uv_run(&l->uv, UV_RUN_ONCE);
}

void hd_loop_turn_awake(struct hd_loop *l)
{
    if (l->waiter)
        turn_with_waiter(l, 0);
    else
        uv_run(&l->uv, UV_RUN_NOWAIT);
}

void hd_loop_run(struct hd_loop *l)
{
    while (!l->stopping)
        hd_loop_turn(l);
}

void hd_loop_stop(struct hd_loop *l)
{
    l->stopping = 1;
    uv_async_send(&l->wake); /* so that a loop about to sleep comes round */
}

void hd_loop_close(struct hd_loop *l)
{
    run_inbox(l);
    if (l->waiter)
        l->waiter->drain(l->waiter);
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->before_sleep, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    run_inbox(l);
    HD_CHECK(uv_loop_close(&l->uv) == 0);
    pthread_mutex_destroy(&l->lock);
    if (current == l)
        current = NULL;
}

void hd_loop_post(struct hd_loop *l, struct hd_post *post)
{
    int first;

    post->next = NULL;
    pthread_mutex_lock(&l->lock);
    first = !l->head;
    if (first)
        l->head = post;
    else
        l->tail->next = post;
    l->tail = post;
    pthread_mutex_unlock(&l->lock);
    if (first)
        uv_async_send(&l->wake);
}

static void run_call(struct hd_post *p)
{
    struct call c = *HD_CONTAINER_OF(p, struct call, post);

    hd_free(HD_CONTAINER_OF(p, struct call, post));
    c.fn(c.arg);
}

int hd_loop_call(struct hd_loop *l, void (*fn)(void *arg), void *arg)
{
    struct call *c = hd_malloc(sizeof(*c));

    if (!c)
        return HD_ENOMEM;
    *c = (struct call){{NULL, run_call}, fn, arg};
    hd_loop_post(l, &c->post);
    return HD_OK;
}

void hd_loop_defer(struct hd_loop *l, struct hd_deferred *d)
{
    if (hd_list_empty(&d->node))
        hd_list_push_back(&l->deferred, &d->node);
}

static void on_timer(uv_timer_t *h)
{
    struct hd_loop_timer *t = HD_CONTAINER_OF(h, struct hd_loop_timer, uv);

    t->fn(t);
}

void hd_loop_timer_init(struct hd_loop *l, struct hd_loop_timer *t, void (*fn)(struct hd_loop_timer *t))
{
    uv_timer_init(&l->uv, &t->uv);
    t->fn = fn;
    t->closed = NULL;
}

void hd_loop_timer_start(struct hd_loop_timer *t, uint64_t ms, uint64_t repeat_ms)
{
    uv_timer_start(&t->uv, on_timer, ms, repeat_ms);
}

void hd_loop_timer_stop(struct hd_loop_timer *t)
{
    uv_timer_stop(&t->uv);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct hd_loop_timer *t = HD_CONTAINER_OF(h, struct hd_loop_timer, uv);

    if (t->closed)
        t->closed(t);
}

void hd_loop_timer_close(struct hd_loop_timer *t, void (*closed)(struct hd_loop_timer *t))
{
    t->closed = closed;
    uv_close((uv_handle_t *)&t->uv, on_timer_closed);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct hd_loop_watch *w = HD_CONTAINER_OF(h, struct hd_loop_watch, uv);

    if (status < 0)
        w->events = 0; /* libuv has stopped watching */
    w->fn(w, status, events);
}

int hd_loop_watch_init(struct hd_loop *l, struct hd_loop_watch *w, int fd,
                       void (*fn)(struct hd_loop_watch *w, int status, int events))
{
    w->fn = fn;
    w->closed = NULL;
    w->fd = fd;
    w->events = 0;
    return uv_poll_init(&l->uv, &w->uv, fd) ? HD_EIO : HD_OK;
}

void hd_loop_watch_set(struct hd_loop_watch *w, int events)
{
    if (w->events == events)
        return;
    w->events = events;
    if (events)
        uv_poll_start(&w->uv, events, on_poll);
    else
        uv_poll_stop(&w->uv);
}

static void on_poll_closed(uv_handle_t *h)
{
    struct hd_loop_watch *w = HD_CONTAINER_OF((uv_poll_t *)h, struct hd_loop_watch, uv);

    if (w->closed)
        w->closed(w);
}

void hd_loop_watch_close(struct hd_loop_watch *w, void (*closed)(struct hd_loop_watch *w))
{
    w->closed = closed;
    w->events = 0;
    uv_close((uv_handle_t *)&w->uv, on_poll_closed);
}
