/*
 * What time does to pools: who has waited too long, servers that have idled too long, retries; see pool.h.
 */
#include <stdio.h>

#include "base/units.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/defaults.h"
#include "session/pool_parts.h"
#include "session/server.h"

/* So long the statement of a client that has left may go on. */
#define ORPHAN_NS 1000000000u

static void time_out_waiting(struct hd_pool *p, uint64_t now)
{
    struct hd_list *n;
    int64_t ms = p->conf->queue_timeout;

    while (ms && (n = hd_list_first(&p->waiting))) {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, waiting);
        char text[600];

        if (hd_elapsed_ns(now, s->since_ns) < (uint64_t)ms * 1000000)
            return;
        hd_pool_dequeue(p, s);
        p->stats.timeouts++;
        if (p->fail_message[0]) {
            snprintf(text, sizeof(text), "node \"%s\" is not available: %s", p->node->name, p->fail_message);
            hd_session_fatal(s, "08001", text, "The host keeps trying to connect.");
        } else {
            snprintf(text, sizeof(text), "no server connection came free within queue_timeout (%lld ms)",
                     (long long)ms);
            hd_session_fatal(s, "53300", text, "Raise pool_size or queue_timeout of the database.");
        }
    }
}

/* The longest idle ones stand at the end. */
static void close_old_idle(struct hd_pool *p, uint64_t now)
{
    while (!hd_list_empty(&p->idle)) {
        struct hd_server *v = HD_LIST_ITEM(p->idle.prev, struct hd_server, node);
        int64_t ms = p->conf->server_idle_timeout;
        int needed = !p->waiting_count && hd_share_others_wait() && hd_pool_yields(p, 0);
        int kept = atomic_load(&p->shared->clients) && hd_pool_total(p) <= p->conf->min_pool_size;

        if (!needed && (kept || !ms || hd_elapsed_ns(now, v->idle_ns) <= (uint64_t)ms * 1000000) &&
            !hd_pool_expired(p, v, now))
            return;
        hd_server_close(v, "idle");
    }
}

/* A client that said Terminate leaves its statement to its end, as it would in PostgreSQL; but not for long,
 * since the connection is others' too. */
static void end_old_orphans(struct hd_pool *p, uint64_t now)
{
    HD_LIST_EACH(n, &p->busy)
    {
        struct hd_server *v = HD_LIST_ITEM(n, struct hd_server, node);

        if (!v->orphan || now < v->orphan_ns + ORPHAN_NS)
            continue;
        hd_cancel_server(v);
        hd_server_close(v, "its client has left");
    }
}

/* Has the first in the queue waited so long that the reserve is for him? */
static int may_use_reserve(const struct hd_pool *p, uint64_t now)
{
    const struct hd_session *s = HD_LIST_ITEM(p->waiting.next, struct hd_session, waiting);

    return p->conf->reserve_pool_size &&
           hd_elapsed_ns(now, s->since_ns) >= (uint64_t)p->conf->reserve_pool_timeout * 1000000;
}

static void help_waiting(struct hd_pool *p, uint64_t now)
{
    hd_pool_connect_more(p, may_use_reserve(p, now) ? p->conf->reserve_pool_size : 0);
    if (p->waiting_count <= hd_pool_coming(p))
        return;
    if (!(p->idle_count + p->busy_count + p->connecting))
        hd_pool_ask_others(p);
    hd_pool_make_room(p);
}

/* The host is at max_memory: what idle servers have prepared is given up, with them. */
static void shed(struct hd_pool *p)
{
    HD_LIST_EACH(n, &p->idle)
    {
        struct hd_server *v = HD_LIST_ITEM(n, struct hd_server, node);

        if (v->preps.count)
            hd_server_close(v, "max_memory is reached");
    }
}

void hd_pools_tick(struct hd_worker *w, uint64_t now)
{
    int over = atomic_load_explicit(&w->all->memory_over, memory_order_relaxed);

    if (over)
        hd_bufs_trim(&w->io.bufs);
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        end_old_orphans(p, now);
        hd_pool_ask_for_welcome(p);
        hd_defaults_tick(p, now);
        time_out_waiting(p, now);
        close_old_idle(p, now);
        if (over)
            shed(p);
        if (p->waiting_count > hd_pool_coming(p))
            help_waiting(p, now);
        else if (!p->waiting_count)
            hd_pool_waive_room(p);
        hd_pool_keep_minimum(p, now);
    }
    hd_pools_sweep(w, now);
}

void hd_pool_pause(struct hd_pool *p, int on)
{
    struct hd_list *n;

    p->paused = (uint8_t)on;
    while (!on && p->waiting_count && (n = hd_list_first(&p->idle))) {
        struct hd_server *v = HD_LIST_ITEM(n, struct hd_server, node);

        if (!hd_pool_serve_waiting(p, v))
            return;
    }
    if (!on)
        hd_pool_connect_more(p, 0);
}
