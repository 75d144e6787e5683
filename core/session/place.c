/*
 * Where clients live; see place.h.
 */
#include "session/place.h"

#include <string.h>

#include "base/alloc.h"
#include "base/units.h"
#include "session/client.h"
#include "session/listener.h"

/* A worker that computes for more of its time, in percent, gets no more clients than the kernel gives it. */
#define BUSY_PERCENT 60

/* A connection on its way to another worker, and back, so that the listener is let go where it belongs. */
struct trip {
    struct hd_post post;
    struct hd_listener *from;
    struct hd_worker *to;
    int fd; /* -1: it has arrived */
};

void hd_place_enter(struct hd_worker *w)
{
    w->session_count++;
    atomic_fetch_add_explicit(&w->placed, 1, memory_order_relaxed);
}

void hd_place_leave(struct hd_worker *w)
{
    w->session_count--;
    atomic_fetch_sub_explicit(&w->placed, 1, memory_order_relaxed);
}

int hd_place_pending(const struct hd_worker *w)
{
    return w->placing > 0;
}

void hd_place_tick(struct hd_worker *w)
{
    uint64_t now = hd_now_ns(), cpu = hd_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t passed = hd_elapsed_ns(now, w->busy_since_ns);
    unsigned before = atomic_load_explicit(&w->busy_percent, memory_order_relaxed);

    if (passed && w->busy_since_ns)
        atomic_store_explicit(&w->busy_percent,
                              (unsigned)((before + (cpu - w->busy_cpu_ns) * 100 / passed) / 2),
                              memory_order_relaxed);
    w->busy_since_ns = now;
    w->busy_cpu_ns = cpu;
}

static int has_room(struct hd_worker *w, int64_t fill)
{
    return atomic_load_explicit(&w->placed, memory_order_relaxed) < fill &&
           atomic_load_explicit(&w->busy_percent, memory_order_relaxed) < BUSY_PERCENT;
}

/* The first worker that has room, or `other`. */
static struct hd_worker *choose(struct hd_workers *all, int64_t fill, struct hd_worker *other)
{
    for (int i = 0; i < all->count; i++)
        if (has_room(&all->worker[i], fill))
            return &all->worker[i];
    return other;
}

/* Back where it was accepted: here it lives when the other worker does not listen any more. */
static void come_back(struct hd_post *p)
{
    struct trip *t = HD_CONTAINER_OF(p, struct trip, post);
    struct hd_listener *l = t->from;

    l->w->placing--;
    l->w->moving--;
    if (t->fd >= 0)
        hd_session_accept(l->w, l, t->fd);
    hd_listener_drop(l);
    hd_free(t);
}

static struct hd_listener *listener_at(struct hd_worker *w, const char *address)
{
    struct hd_listener *l = w->listeners;

    while (l && strcmp(l->address, address) != 0)
        l = l->next;
    return l;
}

static void arrive(struct hd_post *p)
{
    struct trip *t = HD_CONTAINER_OF(p, struct trip, post);
    struct hd_listener *l = listener_at(t->to, t->from->address);

    atomic_fetch_sub_explicit(&t->to->placed, 1,
                              memory_order_relaxed); /* it counts as a session from here on */
    if (l) {
        hd_session_accept(t->to, l, t->fd);
        t->fd = -1;
    }
    t->post.fn = come_back;
    hd_loop_post(&t->from->w->loop, &t->post);
}

void hd_place_client(struct hd_listener *l, int fd)
{
    struct hd_worker *w = l->w, *to = choose(w->all, w->settings->host.worker_fill, w);
    struct trip *t = to == w ? NULL : hd_malloc(sizeof(*t));

    if (!t) {
        hd_session_accept(w, l, fd);
        return;
    }
    *t = (struct trip){{NULL, arrive}, hd_listener_hold(l), to, fd};
    atomic_fetch_add_explicit(&to->placed, 1,
                              memory_order_relaxed); /* so that a burst does not overfill it */
    w->placing++;
    w->moving++;
    hd_loop_post(&to->loop, &t->post);
}
