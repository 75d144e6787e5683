/*
 * How many servers there may be: the pool's own limit, and those of the database, the user and the node,
 * which several pools count in. Who finds such a common limit reached has an idle server of another pool
 * closed; a pool that has none at all, while the others' are all at work, is promised the next place.
 */
#include "base/alloc.h"
#include "session/pool_parts.h"
#include "session/server.h"

/* So many sessions a pool serves with its only server while another pool is promised the place. */
#define OWN_TURNS 8
/* So many each worker serves before the pool gives up a server for another host that waits: not fewer than it
 * serves before it gives one to another worker, or that one would never have a turn. */
#define SHARED_TURNS 8

static int64_t max_of(const struct hd_pool *p, int i)
{
    const int64_t max[HD_POOL_TALLIES] = {p->conf->max_servers, p->user_conf->max_servers,
                                          p->node->max_servers};

    return max[i];
}

int64_t hd_pool_room(const struct hd_pool *p)
{
    int64_t room = hd_pool_limit(p);

    for (int i = 0; i < HD_POOL_TALLIES; i++)
        if (max_of(p, i) && max_of(p, i) < room)
            room = max_of(p, i);
    return room;
}

/* Into all common counts, or into none. */
static int enter_tallies(struct hd_pool *p)
{
    struct hd_pool_shared *s = p->shared;

    for (int i = 0; i < HD_POOL_TALLIES; i++) {
        if (hd_tally_enter(s->tallies[i], max_of(p, i), p))
            continue;
        p->capped = s->tallies[i];
        while (i--)
            hd_tally_leave(s->tallies[i]);
        return 0;
    }
    p->capped = NULL;
    return 1;
}

int hd_pool_enter_apart(struct hd_pool *p)
{
    return enter_tallies(p);
}

void hd_pool_leave_apart(struct hd_pool *p)
{
    for (int i = 0; i < HD_POOL_TALLIES; i++)
        hd_tally_leave(p->shared->tallies[i]);
}

int hd_pool_reserve(struct hd_pool *p, int64_t extra)
{
    struct hd_pool_shared *s = p->shared;
    int64_t max = atomic_load(&s->limit) + extra;

    p->capped = NULL;
    if (atomic_fetch_add(&s->total, 1) < max && hd_share_enter(s->share, max)) {
        if (enter_tallies(p)) {
            hd_pool_waive_room(p);
            return 1;
        }
        hd_share_leave(s->share);
    }
    atomic_fetch_sub(&s->total, 1);
    return 0;
}

void hd_pool_unreserve(struct hd_pool *p)
{
    atomic_fetch_sub(&p->shared->total, 1);
    hd_share_leave(p->shared->share);
    hd_pool_leave_apart(p);
}

void hd_pool_waive_room(struct hd_pool *p)
{
    if (!p->promised)
        return;
    hd_tally_waive(p->promised, p);
    hd_tally_wait(p->promised, -1);
    p->promised = NULL;
}

int hd_pool_owes_room(struct hd_pool *p)
{
    struct hd_pool_shared *s = p->shared;

    for (int i = 0; i < HD_POOL_TALLIES; i++)
        if (hd_tally_owed(s->tallies[i], max_of(p, i), p))
            return atomic_load(&s->total) > 1 || !p->waiting_count || p->turns >= OWN_TURNS;
    return 0;
}

int hd_pool_yields(struct hd_pool *p, int waits)
{
    struct hd_pool_shared *s = p->shared;
    int yields;

    if (waits && atomic_load(&s->turns) < SHARED_TURNS * p->w->all->count)
        return 0;
    atomic_store(&s->turns, 0);
    yields = hd_share_other_waits(s->share);
    hd_share_yield(s->share);
    for (int i = 0; i < HD_POOL_TALLIES; i++)
        yields |= hd_tally_yield(s->tallies[i]);
    return yields;
}

/* Closes the idle server, of this worker's other pools in the same count, that has idled longest. */
static int close_idle_one(struct hd_worker *w, const struct hd_tally *t, const struct hd_pool_shared *not_of)
{
    struct hd_server *oldest = NULL;

    for (struct hd_pool *p = w->pools; p; p = p->next) {
        struct hd_server *v;
        int counted = 0;

        for (int i = 0; i < HD_POOL_TALLIES; i++)
            counted |= p->shared->tallies[i] == t;
        if (!counted || p->shared == not_of || hd_list_empty(&p->idle))
            continue;
        v = HD_LIST_ITEM(p->idle.prev, struct hd_server, node);
        if (!oldest || v->idle_ns < oldest->idle_ns)
            oldest = v;
    }
    if (!oldest)
        return 0;
    oldest->pool->stats.evicted++;
    hd_server_close(oldest, "another pool needs its place");
    return 1;
}

/* A request to the other workers, one after the other, and back. */
struct hd_pool_plea {
    struct hd_post post;
    struct hd_pool *pool;
    struct hd_tally *tally;
    int step; /* workers asked */
};

static void plea_back(struct hd_post *post)
{
    struct hd_pool_plea *a = HD_CONTAINER_OF(post, struct hd_pool_plea, post);
    struct hd_pool *p = a->pool;

    p->plea = 0;
    p->w->moving--;
    hd_free(a);
    if (p->waiting_count)
        hd_pool_connect_more(p, 0);
}

static void send_plea(struct hd_pool_plea *a);

static void on_plea(struct hd_post *post)
{
    struct hd_pool_plea *a = HD_CONTAINER_OF(post, struct hd_pool_plea, post);
    struct hd_workers *all = a->pool->w->all;
    struct hd_worker *w = &all->worker[(a->pool->w->index + a->step) % all->count];

    if (close_idle_one(w, a->tally, a->pool->shared))
        a->step = all->count;
    send_plea(a);
}

static void send_plea(struct hd_pool_plea *a)
{
    struct hd_worker *home = a->pool->w;
    struct hd_workers *all = home->all;
    int here = ++a->step >= all->count;

    a->post.fn = here ? plea_back : on_plea;
    hd_loop_post(here ? &home->loop : &all->worker[(home->index + a->step) % all->count].loop, &a->post);
}

/* It has none at all: the next place is its own, unless that is promised already; then perhaps the one after.
 */
static void want_room(struct hd_pool *p)
{
    if (p->promised != p->capped) {
        hd_pool_waive_room(p);
        p->promised = p->capped;
        hd_tally_wait(p->promised, 1);
    }
    hd_tally_promise(p->promised, p);
}

void hd_pool_make_room(struct hd_pool *p)
{
    struct hd_pool_plea *a;

    if (!p->capped || p->plea)
        return;
    if (!hd_pool_total(p))
        want_room(p);
    if (close_idle_one(p->w, p->capped, p->shared)) {
        hd_pool_connect_more(p, 0);
        return;
    }
    if (p->w->all->count == 1 || !(a = hd_calloc(1, sizeof(*a))))
        return;
    a->pool = p;
    a->tally = p->capped;
    p->plea = 1;
    p->w->moving++;
    send_plea(a);
}
