/*
 * Snapshots of the filters that run: made on the control thread, handed to the chain of each worker, and the
 * word back that a worker is done with an old one.
 */
#include "plug/instance.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

#define DEFAULT_BUDGET_MS 10
#define NS_PER_MS         1000000u

struct hd_chain_snapshot *hd_snapshot_new(void)
{
    struct hd_chain_snapshot *s =
        hd_calloc(1, sizeof(*s) + HD_CHAIN_MAX * sizeof(((struct hd_chain_snapshot *)0)->filters[0]));

    if (s)
        atomic_init(&s->refs, 1);
    return s;
}

static int by_order(const void *a, const void *b)
{
    const struct hd_instance *x = ((const struct hd_chain_filter *)a)->instance;
    const struct hd_instance *y = ((const struct hd_chain_filter *)b)->instance;

    if (x->settings->priority != y->settings->priority)
        return x->settings->priority < y->settings->priority ? -1 : 1;
    return strcmp(x->host.id, y->host.id);
}

static uint64_t budget_ns(const struct hd_plugins *p, const struct hd_plugin_settings *s)
{
    int64_t ms = s->time_budget > 0   ? s->time_budget
                 : p->time_budget > 0 ? p->time_budget
                                      : DEFAULT_BUDGET_MS;

    return (uint64_t)ms * NS_PER_MS;
}

static void fill_snapshot(struct hd_plugins *p, struct hd_chain_snapshot *s)
{
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        struct hd_instance *i = e->instance;

        if (!i || i->state != HD_INSTANCE_RUNNING || i->slot < 0)
            continue;
        s->filters[s->count++] =
            (struct hd_chain_filter){.instance = i,
                                     .slot = (uint32_t)i->slot,
                                     .observe = i->mode == HD_MODE_OBSERVE,
                                     .reject = i->settings->on_failure == HD_ON_FAILURE_REJECT,
                                     .budget_ns = budget_ns(p, i->settings)};
    }
    qsort(s->filters, s->count, sizeof(s->filters[0]), by_order);
}

uint32_t hd_snapshot_next_generation(const struct hd_plugins *p)
{
    uint32_t g = p->snapshot->generation + 1;

    return g ? g : 1;
}

void hd_snapshot_publish(struct hd_plugins *p, struct hd_chain_snapshot *s)
{
    struct hd_chain_snapshot *old = p->snapshot;

    s->generation = hd_snapshot_next_generation(p);
    fill_snapshot(p, s);
    pthread_mutex_lock(&p->lock);
    p->snapshot = s;
    for (uint32_t w = 0; w < p->workers; w++) {
        struct hd_chain_seat *seat = &p->seats[w];

        if (seat->chain && !seat->posted) {
            seat->posted = 1;
            hd_loop_post(seat->loop, &seat->post);
        }
    }
    pthread_mutex_unlock(&p->lock);
    hd_chain_snapshot_release(old);
    hd_plugins_poke(p);
}

/* [worker] */
void hd_snapshot_on_published(struct hd_post *post)
{
    struct hd_chain_seat *seat = HD_CONTAINER_OF(post, struct hd_chain_seat, post);
    struct hd_plugins *p = seat->plugins;
    struct hd_chain_snapshot *s;
    struct hd_chain *chain;

    pthread_mutex_lock(&p->lock);
    seat->posted = 0;
    chain = seat->chain;
    s = p->snapshot;
    atomic_fetch_add(&s->refs, 1);
    pthread_mutex_unlock(&p->lock);
    if (chain)
        hd_chain_set(chain, s);
    else
        hd_chain_snapshot_release(s);
}

struct hd_chain_snapshot *hd_chain_seat_take(struct hd_chain_seat *seat, struct hd_chain *chain,
                                             struct hd_loop *loop)
{
    struct hd_plugins *p = seat->plugins;
    struct hd_chain_snapshot *s;

    pthread_mutex_lock(&p->lock);
    HD_CHECK(!seat->chain);
    seat->chain = chain;
    seat->loop = loop;
    s = p->snapshot;
    atomic_fetch_add(&s->refs, 1);
    atomic_store(&seat->generation, 0); /* it has run none yet */
    pthread_mutex_unlock(&p->lock);
    return s;
}

void hd_chain_seat_leave(struct hd_chain_seat *seat)
{
    pthread_mutex_lock(&seat->plugins->lock);
    seat->chain = NULL;
    pthread_mutex_unlock(&seat->plugins->lock);
    hd_plugins_poke(seat->plugins);
}

/* Filters end before what is none: that may be what they ask. */
void hd_plugins_on_poke(struct hd_post *post)
{
    struct hd_plugins *p = HD_CONTAINER_OF(post, struct hd_plugins, poke);

    pthread_mutex_lock(&p->lock);
    p->poke_posted = 0;
    pthread_mutex_unlock(&p->lock);
    for (int filters = 1; filters >= 0; filters--)
        for (struct hd_plugin_entry *e = p->entries; e; e = e->next)
            if (e->instance && e->instance->lib->is_filter == filters)
                hd_instance_advance(e->instance);
}

void hd_plugins_poke(struct hd_plugins *p)
{
    pthread_mutex_lock(&p->lock);
    if (!p->poke_posted && p->control && p->stopping < 2) { /* all have stopped: nobody waits any more */
        p->poke_posted = 1;
        hd_loop_post(p->control, &p->poke);
    }
    pthread_mutex_unlock(&p->lock);
}
