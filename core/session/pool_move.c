/*
 * Servers that go to another worker, where sessions wait that have none; see pool.h.
 */
#include "base/alloc.h"
#include "session/pool_parts.h"
#include "session/server.h"

/* So many sessions of its own a worker serves with its only server while another worker waits. */
#define OWN_TURNS 8

static void moved(struct hd_server *v, struct hd_pool *to)
{
    to->connecting--;
    hd_pool_set_state(v, HD_SERVER_CLEANING);
    hd_pool_ask_for_welcome(to);
    if (v->must_close || v->node_hash != hd_pool_node_hash(to) || !hd_pool_welcome(to)) {
        hd_server_close(v, "could not be moved"); /* the node may have changed on its way */
        return;
    }
    if (hd_pool_check(v))
        return;
    hd_pool_set_state(v, HD_SERVER_IDLE);
    if (!hd_pool_serve_waiting(to, v)) /* who asked has been served meanwhile */
        hd_pool_put(v);
}

struct donation {
    struct hd_post post;
    struct hd_pool *from, *to;
};

/* On its new worker, before it is there. */
static void announced(struct hd_pool *to)
{
    to->connecting++;
}

int hd_pool_give_away(struct hd_pool *to, struct hd_server *v)
{
    struct hd_pool *p = v->pool;

    if (!hd_link_quiet(&v->link) || v->cancels || hd_server_move(v, to, announced, moved))
        return 0;
    p->turns = 0;
    hd_pool_set_state(v, HD_SERVER_MOVING);
    return 1;
}

static void on_donation(struct hd_post *post)
{
    struct donation d = *HD_CONTAINER_OF(post, struct donation, post);
    struct hd_server *v;

    hd_free(HD_CONTAINER_OF(post, struct donation, post));
    if (d.from->w->stopping || d.from->waiting_count || !(v = hd_pool_take_idle(d.from)))
        return;
    hd_pool_give_away(d.to, v);
}

void hd_pool_ask_others(struct hd_pool *p)
{
    struct hd_workers *all = p->w->all;

    for (int i = 1; i < all->count; i++) {
        int other = (p->w->index + i) % all->count;
        struct hd_pool *from = atomic_load(&p->shared->places[other].pool);
        struct donation *d;

        if (!from || !(d = hd_malloc(sizeof(*d))))
            continue;
        *d = (struct donation){.post = {NULL, on_donation}, .from = from, .to = p};
        hd_loop_post(&from->w->loop, &d->post);
    }
}

/* Another worker that should have this server rather than us; NULL: none. Whoever waits gets what nobody here
 * waits for. One that waits and has nothing at work gets one of several; our only one after a few turns of
 * our own, so that it does not travel for every statement. */
struct hd_pool *hd_pool_needier(struct hd_pool *p)
{
    struct hd_workers *all = p->w->all;

    for (int i = 1; i < all->count && !p->w->stopping; i++) {
        struct hd_pool_place *q = &p->shared->places[(p->w->index + i) % all->count];
        unsigned flags = atomic_load_explicit(&q->flags, memory_order_relaxed);

        if (!(flags & HD_PLACE_WAITS))
            continue;
        if (!p->waiting_count || (!(flags & HD_PLACE_BUSY) && (p->busy_count > 1 || p->turns >= OWN_TURNS)))
            return atomic_load(&q->pool);
    }
    return NULL;
}
