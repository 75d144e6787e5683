/*
 * Metrics of the single pools: limit, servers, who waits and for how long, by database, user and node. Once a
 * second each worker adds what has changed in its part of a pool; nothing is paid for them on the statement's
 * path. The first `pool_metrics` pools have metrics of their own, all others share those labelled "other".
 */
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "plug/metrics.h"
#include "session/pool_parts.h"

enum { LIMIT, BUSY, IDLE, WAITING, LONGEST, WAITS, WAITED };

_Static_assert(WAITED + 1 == HD_POOL_METRICS, "as many numbers as metrics");

static const struct {
    const char *name, *help;
    uint32_t type;
} table[HD_POOL_METRICS] = {
    [LIMIT] = {"howdah_pool_limit", "Server connections that the pool may have: the least of its limits",
               HD_METRIC_GAUGE},
    [BUSY] = {"howdah_pool_busy", "Server connections of the pool that are in use", HD_METRIC_GAUGE},
    [IDLE] = {"howdah_pool_idle", "Server connections that idle in the pool", HD_METRIC_GAUGE},
    [WAITING] = {"howdah_pool_waiting", "Clients that wait for a server connection of the pool",
                 HD_METRIC_GAUGE},
    [LONGEST] = {"howdah_pool_longest_wait_seconds", "How long the one has waited who waits longest now",
                 HD_METRIC_GAUGE},
    [WAITS] = {"howdah_pool_waits_total", "Times that a client had to wait for a server connection",
               HD_METRIC_COUNTER},
    [WAITED] = {"howdah_pool_wait_seconds_total", "Time that clients have waited so", HD_METRIC_COUNTER},
};

/* --- which metrics
 * ------------------------------------------------------------------------------------------- */

static void make(struct hd_metrics *m, int64_t *id, const char *database, const char *user, const char *node)
{
    const struct hd_label labels[] = {{"database", database}, {"user", user}, {"node", node}};

    for (int i = 0; i < HD_POOL_METRICS; i++) {
        id[i] = hd_metrics_get(m, NULL, table[i].type, table[i].name, table[i].help, labels, 3);
        if (id[i] < 0)
            hd_log(HD_LOG_WARNING, "a metric cannot be kept", HD_KV("metric", table[i].name),
                   HD_KV("database", database));
    }
}

static void drop(struct hd_metrics *m, const int64_t *id)
{
    for (int i = 0; i < HD_POOL_METRICS; i++)
        if (id[i] > 0)
            hd_metrics_drop(m, id[i]);
}

void hd_pool_meter_open(struct hd_workers *all, struct hd_pool_shared *s, int64_t most, const char *database,
                        const char *user, const char *node)
{
    struct hd_pool_meters *others = &all->pool_meters;
    struct hd_metrics *m = all->env.metrics;

    if (!m)
        return;
    s->metered_apart = others->apart < most;
    if (s->metered_apart) {
        others->apart++;
        make(m, s->metrics, database, user, node);
        return;
    }
    if (!others->others++) {
        make(m, others->id, "other", "other", "other");
        others->count_id =
            hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "howdah_pools_other",
                           "Pools past pool_metrics, whose figures are together as \"other\"", NULL, 0);
    }
    memcpy(s->metrics, others->id, sizeof(s->metrics));
    hd_metrics_add(m, others->count_id, 1);
}

void hd_pool_meter_close(struct hd_workers *all, struct hd_pool_shared *s)
{
    struct hd_pool_meters *others = &all->pool_meters;
    struct hd_metrics *m = all->env.metrics;

    if (!m)
        return;
    if (s->metered_apart) {
        others->apart--;
        drop(m, s->metrics);
        return;
    }
    hd_metrics_add(m, s->metrics[LIMIT], -atomic_load(&s->told_limit));
    hd_metrics_add(m, others->count_id, -1);
    if (!--others->others)
        drop(m, others->id);
}

/* --- their values
 * -------------------------------------------------------------------------------------------- */

static uint64_t longest_wait(struct hd_pool *p, uint64_t now)
{
    struct hd_list *first = hd_list_first(&p->waiting);
    uint64_t since = first ? HD_LIST_ITEM(first, struct hd_session, waiting)->since_ns : now;

    return hd_elapsed_ns(now, since);
}

/* Adds what has changed in this worker's part since the last time. */
static void tell(struct hd_pool *p, const int64_t *now)
{
    struct hd_metrics *m = p->w->all->env.metrics;

    for (int i = 0; i < HD_POOL_METRICS; i++) {
        if (now[i] != p->told[i])
            hd_metrics_add(m, p->shared->metrics[i], now[i] - p->told[i]);
        p->told[i] = now[i];
    }
}

static void tell_limit(struct hd_pool *p)
{
    struct hd_pool_shared *s = p->shared;
    int64_t limit = hd_pool_room(p), before = atomic_exchange(&s->told_limit, limit);

    if (limit != before)
        hd_metrics_add(p->w->all->env.metrics, s->metrics[LIMIT], limit - before);
}

/* The longest of all workers, of which each keeps its own up to date. */
static void tell_longest(struct hd_pool *p, uint64_t here)
{
    struct hd_pool_shared *s = p->shared;
    uint64_t most = here;

    atomic_store_explicit(&s->places[p->w->index].longest_ns, here, memory_order_relaxed);
    for (int i = 0; i < p->w->all->count; i++) {
        uint64_t there = atomic_load_explicit(&s->places[i].longest_ns, memory_order_relaxed);

        most = there > most ? there : most;
    }
    hd_metrics_set(p->w->all->env.metrics, s->metrics[LONGEST], (int64_t)most);
}

static void tell_others(struct hd_worker *w, uint64_t here)
{
    uint64_t most = here;
    int64_t id = -1;

    atomic_store_explicit(&w->others_longest_ns, here, memory_order_relaxed);
    for (int i = 0; i < w->all->count; i++) {
        uint64_t there = atomic_load_explicit(&w->all->worker[i].others_longest_ns, memory_order_relaxed);

        most = there > most ? there : most;
    }
    for (const struct hd_pool *p = w->pools; p && id < 0; p = p->next)
        id = p->shared->metered_apart ? -1 : p->shared->metrics[LONGEST];
    hd_metrics_set(w->all->env.metrics, id, (int64_t)most);
}

void hd_pools_meter(struct hd_worker *w, uint64_t now)
{
    uint64_t others = 0;

    if (!w->all->env.metrics)
        return;
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        const int64_t n[HD_POOL_METRICS] = {
            [BUSY] = p->busy_count,
            [IDLE] = p->idle_count,
            [WAITING] = p->waiting_count,
            [WAITS] = (int64_t)p->stats.waits,
            [WAITED] = (int64_t)p->stats.wait_ns,
        };
        uint64_t longest = longest_wait(p, now);

        tell(p, n);
        tell_limit(p);
        if (p->shared->metered_apart)
            tell_longest(p, longest);
        else
            others = longest > others ? longest : others;
    }
    tell_others(w, others);
}

void hd_pool_meter_leave(struct hd_pool *p)
{
    const int64_t last[HD_POOL_METRICS] = {
        [WAITS] = (int64_t)p->stats.waits, [WAITED] = (int64_t)p->stats.wait_ns};

    if (p->w->all->env.metrics)
        tell(p, last);
    atomic_store_explicit(&p->shared->places[p->w->index].longest_ns, 0, memory_order_relaxed);
}
