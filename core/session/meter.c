/*
 * Metrics of sessions and pools; see meter.h. Every one is a sum over the workers: a worker adds the
 * difference between what it has now and what it told last, so gauges and counters are kept alike.
 */
#include "session/meter.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "plug/metrics.h"
#include "session/auth.h"
#include "session/pool.h"
#include "session/session.h"

/* What one worker has at this moment, in the order of the table below. */
struct now {
    int64_t clients, waiting, busy, idle, connecting;
    int64_t accepted, refused_clients, logins, login_failures, cancels, cancels_relayed;
    int64_t transactions, statements, bytes_in, bytes_out;
    int64_t waits, wait_ms, timeouts, connects, connect_failures, answered, refused;
    int64_t buffer_bytes, buffers_refused, templates;
    int64_t pools, reserved, evicted;
    int64_t memory;
    int64_t auth_asked, auth_failed, auth_entries;
};

static const struct {
    const char *name, *help;
    uint32_t type;
    size_t offset;
} table[] = {
#define GAUGE(member, name, help)                                                                            \
    {                                                                                                        \
        name, help, HD_METRIC_GAUGE, offsetof(struct now, member)                                            \
    }
#define COUNTER(member, name, help)                                                                          \
    {                                                                                                        \
        name, help, HD_METRIC_COUNTER, offsetof(struct now, member)                                          \
    }
    GAUGE(clients, "howdah_clients", "Client connections"),
    GAUGE(waiting, "howdah_clients_waiting", "Clients that wait for a server connection"),
    GAUGE(busy, "howdah_servers_busy", "Server connections at work"),
    GAUGE(idle, "howdah_servers_idle", "Server connections that idle in their pools"),
    GAUGE(connecting, "howdah_servers_connecting", "Server connections being made"),
    COUNTER(accepted, "howdah_accepted_total", "Connections accepted"),
    COUNTER(refused_clients, "howdah_not_allowed_total",
            "Connections closed because their network may not connect"),
    COUNTER(logins, "howdah_logins_total", "Clients that logged in"),
    COUNTER(login_failures, "howdah_login_failures_total", "Clients that did not"),
    COUNTER(cancels, "howdah_cancels_total", "Cancel requests that found their session"),
    COUNTER(cancels_relayed, "howdah_cancels_relayed_total", "Cancel requests passed on to another host"),
    COUNTER(transactions, "howdah_transactions_total", "Transactions that servers ended"),
    COUNTER(statements, "howdah_forwarded_total", "Statements sent to servers"),
    COUNTER(bytes_in, "howdah_client_bytes_total", "Bytes of clients' messages sent to servers"),
    COUNTER(bytes_out, "howdah_server_bytes_total", "Bytes received from servers"),
    COUNTER(waits, "howdah_waits_total", "Times that a client had to wait for a server connection"),
    COUNTER(wait_ms, "howdah_wait_milliseconds_total", "Time that clients have waited so"),
    COUNTER(timeouts, "howdah_queue_timeouts_total", "Clients refused after queue_timeout"),
    COUNTER(connects, "howdah_connects_total", "Server connections made"),
    COUNTER(connect_failures, "howdah_connect_failures_total", "Server connections that could not be made"),
    COUNTER(answered, "howdah_answered_total", "Statements answered by a filter"),
    COUNTER(refused, "howdah_refused_total", "Statements refused by a filter or the host"),
    GAUGE(buffer_bytes, "howdah_buffer_bytes",
          "Bytes in buffers that are in use; bound: buffer_memory per worker"),
    COUNTER(buffers_refused, "howdah_buffers_refused_total",
            "Times that reading stopped for want of buffers"),
    GAUGE(templates, "howdah_cached_templates",
          "Templates in the workers' caches; bound: max_templates each"),
    GAUGE(pools, "howdah_pools", "Pools of server connections, each worker's counted"),
    COUNTER(reserved, "howdah_reserve_connects_total", "Server connections made from the reserve"),
    COUNTER(evicted, "howdah_evicted_total",
            "Idle server connections closed because another pool needed the place"),
    GAUGE(memory, "howdah_memory_bytes", "Memory allocated; bound: max_memory"),
    COUNTER(auth_asked, "howdah_auth_queries_total", "Times that a server was asked for a user"),
    COUNTER(auth_failed, "howdah_auth_query_failures_total", "Times that it could not be asked"),
    GAUGE(auth_entries, "howdah_auth_cached", "Users remembered; bound: auth_cache_size"),
#undef GAUGE
#undef COUNTER
};

_Static_assert(HD_ARRAY_LEN(table) == HD_METER_COUNT, "as many numbers as metrics");

int hd_meter_init(struct hd_workers *all, struct hd_error *err)
{
    for (size_t i = 0; i < HD_METER_COUNT; i++) {
        all->meter.id[i] =
            hd_metrics_get(all->env.metrics, NULL, table[i].type, table[i].name, table[i].help, NULL, 0);
        if (all->meter.id[i] < 0)
            return hd_fail(err, (int)all->meter.id[i], "metric %s cannot be made: %s", table[i].name,
                           hd_code_name((int)all->meter.id[i]));
    }
    return HD_OK;
}

static void add_pool(struct now *n, const struct hd_pool *p)
{
    n->pools++;
    n->waiting += p->waiting_count;
    n->busy += p->busy_count;
    n->idle += p->idle_count;
    n->connecting += p->connecting;
}

static void add_stats(struct now *n, const struct hd_pool_stats *s)
{
    n->transactions += (int64_t)s->transactions;
    n->statements += (int64_t)s->queries;
    n->bytes_in += (int64_t)s->bytes_in;
    n->bytes_out += (int64_t)s->bytes_out;
    n->waits += (int64_t)s->waits;
    n->wait_ms += (int64_t)(s->wait_ns / 1000000);
    n->timeouts += (int64_t)s->timeouts;
    n->connects += (int64_t)s->connects;
    n->connect_failures += (int64_t)s->connect_failures;
    n->answered += (int64_t)s->answered;
    n->refused += (int64_t)s->refused;
    n->reserved += (int64_t)s->reserved;
    n->evicted += (int64_t)s->evicted;
}

static void add_worker(struct now *n, const struct hd_worker *w)
{
    struct hd_template_cache_stats t;

    hd_template_cache_stats(w->templates, &t);
    n->clients = w->session_count;
    n->accepted = (int64_t)w->stats.accepted;
    n->refused_clients = (int64_t)w->stats.refused_clients;
    n->logins = (int64_t)w->stats.logins;
    n->login_failures = (int64_t)w->stats.login_failures;
    n->cancels = (int64_t)w->stats.cancels;
    n->cancels_relayed = (int64_t)w->stats.cancels_relayed;
    n->buffer_bytes = (int64_t)w->io.bufs.used;
    n->buffers_refused = (int64_t)w->io.bufs.refused;
    n->templates = (int64_t)t.entries;
    if (w->index == 0) { /* one for all workers */
        struct hd_auth_stats a;

        n->memory = (int64_t)hd_alloc_total();
        hd_auth_get_stats(w->all->auth, &a);
        n->auth_asked = (int64_t)a.asked;
        n->auth_failed = (int64_t)a.failed;
        n->auth_entries = a.entries;
    }
}

void hd_meter_update(struct hd_worker *w)
{
    struct hd_metrics *m = w->all->env.metrics;
    struct now n = {0};

    if (!m)
        return;
    add_worker(&n, w);
    add_stats(&n, &w->retired);
    for (const struct hd_pool *p = w->pools; p; p = p->next) {
        add_pool(&n, p);
        add_stats(&n, &p->stats);
    }
    for (size_t i = 0; i < HD_METER_COUNT; i++) {
        int64_t value;

        memcpy(&value, (const char *)&n + table[i].offset, sizeof(value));
        if (value != w->meter.told[i])
            hd_metrics_add(m, w->all->meter.id[i], value - w->meter.told[i]);
        w->meter.told[i] = value;
    }
}
