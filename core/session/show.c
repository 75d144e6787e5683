/*
 * The commands about sessions, servers and pools; see show.h. What they show lives on the workers: each adds
 * its rows to the result in turn, under a lock, and the command is finished when the last one has.
 */
#include "session/show.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/units.h"
#include "plug/commands.h"
#include "session/client.h"
#include "session/client_log.h"
#include "session/console.h"
#include "session/listener.h"
#include "session/pool.h"
#include "session/server.h"
#include "session/tunnel.h"

/* One command under way on all workers. */
struct gather {
    struct hd_workers *w;
    hd_result *r;
    pthread_mutex_t lock;
    void (*rows)(struct hd_worker *w, struct gather *g);
    char name[128]; /* PAUSE, RESUME: the database; empty: all */
    uint64_t id;    /* KILL */
    int on;
    int hits;
    uint64_t now_ns;
    struct pool_sum *sums; /* SHOW POOLS, SHOW STATS: one pool's rows of all workers together */
    uint32_t sum_count, sum_cap;
};

static void on_worker(struct hd_worker *w, void *arg)
{
    struct gather *g = arg;

    pthread_mutex_lock(&g->lock);
    g->rows(w, g);
    pthread_mutex_unlock(&g->lock);
}

static void gather_free(struct gather *g)
{
    pthread_mutex_destroy(&g->lock);
    hd_free(g->sums);
    hd_free(g);
}

static void finish_rows(void *arg)
{
    struct gather *g = arg;

    hd_result_finish(g->r, HD_OK, NULL);
    gather_free(g);
}

static struct gather *begin(struct hd_workers *w, const struct hd_call *call,
                            void (*rows)(struct hd_worker *w, struct gather *g))
{
    struct gather *g = hd_calloc(1, sizeof(*g));

    if (!g)
        return NULL;
    g->w = w;
    g->r = call->result;
    g->rows = rows;
    g->now_ns = hd_now_ns();
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

static int32_t start(struct gather *g, void (*done)(void *arg), struct hd_error *err)
{
    if (!g)
        return hd_fail(err, HD_ENOMEM, "no memory");
    if (hd_workers_each(g->w, on_worker, done, g)) {
        gather_free(g);
        return hd_fail(err, HD_ENOMEM, "no memory");
    }
    return HD_PENDING;
}

/* --- SHOW CLIENTS
 * -------------------------------------------------------------------------------------------- */

static double seconds_since(const struct gather *g, uint64_t ns)
{
    return g->now_ns > ns ? (double)(g->now_ns - ns) / 1e9 : 0;
}

static void client_rows(struct hd_worker *w, struct gather *g)
{
    HD_LIST_EACH(n, &w->sessions)
    {
        const struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, all);
        char text[160];

        hd_result_integer(g->r, (int64_t)s->id);
        hd_result_cstr(g->r, s->pool ? s->pool->database : s->console ? "howdah" : NULL);
        hd_result_cstr(g->r, s->pool ? s->pool->user : s->console ? hd_console_user(s) : NULL);
        hd_result_cstr(g->r, s->params ? hd_params_get(s->params, "application_name") : NULL);
        hd_client_address(s, text, sizeof(text));
        hd_result_cstr(g->r, text);
        hd_result_cstr(g->r, hd_session_state_name(s));
        if (s->server)
            hd_result_integer(g->r, PQbackendPID(s->server->pg));
        else if (s->tunnel && hd_tunnel_connection(s))
            hd_result_integer(g->r, PQbackendPID(hd_tunnel_connection(s)));
        else
            hd_result_null(g->r);
        hd_result_cstr(g->r, hd_session_pin_names(s->pins, text, sizeof(text)));
        hd_result_integer(g->r, (int64_t)s->statements);
        hd_result_integer(g->r, (int64_t)s->transactions);
        hd_result_real(g->r, seconds_since(g, s->since_ns));
        hd_result_cstr(g->r, s->link.tls ? hd_tls_version(s->link.tls) : NULL);
        hd_result_integer(g->r, w->index);
    }
}

static int32_t show_clients(void *arg, const struct hd_call *call, struct hd_error *err)
{
    hd_result_columns(call->result, "id", HD_COL_INT, "database", HD_COL_TEXT, "user", HD_COL_TEXT,
                      "application_name", HD_COL_TEXT, "address", HD_COL_TEXT, "state", HD_COL_TEXT,
                      "server_pid", HD_COL_INT, "pinned", HD_COL_TEXT, "statements", HD_COL_INT,
                      "transactions", HD_COL_INT, "seconds", HD_COL_REAL, "tls", HD_COL_TEXT, "worker",
                      HD_COL_INT, NULL);
    return start(begin(arg, call, client_rows), finish_rows, err);
}

/* --- SHOW SERVERS
 * -------------------------------------------------------------------------------------------- */

static void server_row(struct gather *g, const struct hd_server *v)
{
    static const char *const states[] = {"", "idle", "linked", "cleaning", "moving", "closed"};

    hd_result_integer(g->r, PQbackendPID(v->pg));
    hd_result_cstr(g->r, v->pool->node->name);
    hd_result_cstr(g->r, v->pool->database);
    hd_result_cstr(g->r, v->pool->user);
    hd_result_cstr(g->r, v->session && v->expects.count ? "active" : states[v->state]);
    if (v->session)
        hd_result_integer(g->r, (int64_t)v->session->id);
    else
        hd_result_null(g->r);
    hd_result_integer(g->r, v->preps.count);
    hd_result_real(g->r, seconds_since(g, v->connected_ns));
    hd_result_cstr(g->r, v->link.tls ? hd_tls_version(v->link.tls) : NULL);
    hd_result_integer(g->r, v->w->index);
}

static void server_rows(struct hd_worker *w, struct gather *g)
{
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        HD_LIST_EACH(n, &p->idle)
        server_row(g, HD_LIST_ITEM(n, struct hd_server, node));
        HD_LIST_EACH(m, &p->busy)
        server_row(g, HD_LIST_ITEM(m, struct hd_server, node));
    }
}

static int32_t show_servers(void *arg, const struct hd_call *call, struct hd_error *err)
{
    hd_result_columns(call->result, "pid", HD_COL_INT, "node", HD_COL_TEXT, "database", HD_COL_TEXT, "user",
                      HD_COL_TEXT, "state", HD_COL_TEXT, "client", HD_COL_INT, "prepared", HD_COL_INT,
                      "age_seconds", HD_COL_REAL, "tls", HD_COL_TEXT, "worker", HD_COL_INT, NULL);
    return start(begin(arg, call, server_rows), finish_rows, err);
}

/* --- SHOW POOLS, SHOW STATS
 * ---------------------------------------------------------------------------------- */

/* One pool, all workers together. */
struct pool_sum {
    char database[64], user[64], node[64];
    int mode;
    int64_t size, min_size, reserve, sessions, waiting, busy, idle, connecting;
    double longest_wait;
    int paused;
    char failure[200];
    struct hd_pool_stats stats;
};

static struct pool_sum *sum_of(struct gather *g, const struct hd_pool *p)
{
    struct pool_sum *s;
    uint32_t cap;

    for (uint32_t i = 0; i < g->sum_count; i++) {
        s = &g->sums[i];
        if (!strncmp(s->database, p->database, 63) && !strncmp(s->user, p->user, 63) &&
            !strncmp(s->node, p->node->name, 63))
            return s;
    }
    if (g->sum_count == g->sum_cap) {
        cap = g->sum_cap ? g->sum_cap * 2 : 16;
        s = hd_realloc(g->sums, cap * sizeof(*s));
        if (!s)
            return NULL;
        g->sums = s;
        g->sum_cap = cap;
    }
    s = &g->sums[g->sum_count++];
    memset(s, 0, sizeof(*s));
    snprintf(s->database, sizeof(s->database), "%s", p->database);
    snprintf(s->user, sizeof(s->user), "%s", p->user);
    snprintf(s->node, sizeof(s->node), "%s", p->node->name);
    s->mode = p->conf->pool_mode;
    s->size = hd_pool_limit(p);
    s->min_size = p->conf->min_pool_size;
    s->reserve = p->conf->reserve_pool_size;
    return s;
}

static void pool_rows(struct hd_worker *w, struct gather *g)
{
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        struct pool_sum *s = sum_of(g, p);
        struct hd_list *first = hd_list_first(&p->waiting);

        if (!s)
            return;
        s->sessions += p->sessions;
        s->waiting += p->waiting_count;
        s->busy += p->busy_count;
        s->idle += p->idle_count;
        s->connecting += p->connecting;
        s->paused |= p->paused;
        if (first) {
            double t = seconds_since(g, HD_LIST_ITEM(first, struct hd_session, waiting)->since_ns);

            s->longest_wait = t > s->longest_wait ? t : s->longest_wait;
        }
        if (p->fail_message[0])
            snprintf(s->failure, sizeof(s->failure), "%.199s", p->fail_message);
        hd_pool_stats_add(&s->stats, &p->stats);
    }
}

static void finish_pools(void *arg)
{
    static const char *const modes[] = {"auto", "transaction", "session"};
    struct gather *g = arg;

    for (uint32_t i = 0; i < g->sum_count; i++) {
        const struct pool_sum *s = &g->sums[i];

        hd_result_cstr(g->r, s->database);
        hd_result_cstr(g->r, s->user);
        hd_result_cstr(g->r, s->node);
        hd_result_cstr(g->r, modes[s->mode]);
        hd_result_integer(g->r, s->size);
        hd_result_integer(g->r, s->sessions);
        hd_result_integer(g->r, s->waiting);
        hd_result_integer(g->r, s->busy);
        hd_result_integer(g->r, s->idle);
        hd_result_integer(g->r, s->connecting);
        hd_result_real(g->r, s->longest_wait);
        hd_result_integer(g->r, s->paused);
        hd_result_cstr(g->r, s->failure[0] ? s->failure : NULL);
        hd_result_integer(g->r, s->min_size);
        hd_result_integer(g->r, s->reserve);
    }
    finish_rows(g);
}

static int32_t show_pools(void *arg, const struct hd_call *call, struct hd_error *err)
{
    hd_result_columns(call->result, "database", HD_COL_TEXT, "user", HD_COL_TEXT, "node", HD_COL_TEXT, "mode",
                      HD_COL_TEXT, "pool_size", HD_COL_INT, "clients", HD_COL_INT, "waiting", HD_COL_INT,
                      "busy", HD_COL_INT, "idle", HD_COL_INT, "connecting", HD_COL_INT, "longest_wait",
                      HD_COL_REAL, "paused", HD_COL_BOOL, "failure", HD_COL_TEXT, "min_pool_size", HD_COL_INT,
                      "reserve_pool_size", HD_COL_INT, NULL);
    return start(begin(arg, call, pool_rows), finish_pools, err);
}

static void finish_stats(void *arg)
{
    struct gather *g = arg;

    for (uint32_t i = 0; i < g->sum_count; i++) {
        const struct pool_sum *s = &g->sums[i];
        const struct hd_pool_stats *t = &s->stats;

        hd_result_cstr(g->r, s->database);
        hd_result_cstr(g->r, s->user);
        hd_result_cstr(g->r, s->node);
        hd_result_integer(g->r, (int64_t)t->transactions);
        hd_result_integer(g->r, (int64_t)t->queries);
        hd_result_integer(g->r, (int64_t)t->bytes_in);
        hd_result_integer(g->r, (int64_t)t->bytes_out);
        hd_result_integer(g->r, (int64_t)t->waits);
        hd_result_real(g->r, (double)t->wait_ns / 1e9);
        hd_result_integer(g->r, (int64_t)t->timeouts);
        hd_result_integer(g->r, (int64_t)t->connects);
        hd_result_integer(g->r, (int64_t)t->connect_failures);
        hd_result_integer(g->r, (int64_t)t->answered);
        hd_result_integer(g->r, (int64_t)t->refused);
        hd_result_integer(g->r, (int64_t)t->reserved);
        hd_result_integer(g->r, (int64_t)t->evicted);
    }
    finish_rows(g);
}

static int32_t show_stats(void *arg, const struct hd_call *call, struct hd_error *err)
{
    hd_result_columns(call->result, "database", HD_COL_TEXT, "user", HD_COL_TEXT, "node", HD_COL_TEXT,
                      "transactions", HD_COL_INT, "statements", HD_COL_INT, "bytes_in", HD_COL_INT,
                      "bytes_out", HD_COL_INT, "waits", HD_COL_INT, "wait_seconds", HD_COL_REAL, "timeouts",
                      HD_COL_INT, "connects", HD_COL_INT, "connect_failures", HD_COL_INT, "answered",
                      HD_COL_INT, "refused", HD_COL_INT, "reserve_connects", HD_COL_INT, "evicted",
                      HD_COL_INT, NULL);
    return start(begin(arg, call, pool_rows), finish_stats, err);
}

/* --- SHOW WORKERS
 * -------------------------------------------------------------------------------------------- */

static void worker_row(struct hd_worker *w, struct gather *g)
{
    hd_result_integer(g->r, w->index);
    hd_result_integer(g->r, w->session_count);
    hd_result_integer(g->r, (int64_t)atomic_load_explicit(&w->busy_percent, memory_order_relaxed));
    hd_result_integer(g->r, (int64_t)w->stats.accepted);
    hd_result_integer(g->r, (int64_t)w->stats.refused_clients);
    hd_result_integer(g->r, (int64_t)w->stats.logins);
    hd_result_integer(g->r, (int64_t)w->stats.login_failures);
    hd_result_integer(g->r, (int64_t)w->stats.cancels);
    hd_result_integer(g->r, (int64_t)w->stats.cancels_unknown);
    hd_result_integer(g->r, (int64_t)w->io.bufs.used);
    hd_result_integer(g->r, (int64_t)w->io.bufs.limit);
    hd_result_integer(g->r, (int64_t)w->io.bufs.refused);
    hd_result_integer(g->r, (int64_t)w->io.recv_calls);
    hd_result_integer(g->r, (int64_t)w->io.send_calls);
    hd_result_cstr(g->r, hd_io_engine(&w->io));
}

static int32_t show_workers(void *arg, const struct hd_call *call, struct hd_error *err)
{
    hd_result_columns(call->result, "worker", HD_COL_INT, "clients", HD_COL_INT, "busy_percent", HD_COL_INT,
                      "accepted", HD_COL_INT, "refused", HD_COL_INT, "logins", HD_COL_INT, "login_failures",
                      HD_COL_INT, "cancels", HD_COL_INT, "cancels_unknown", HD_COL_INT, "buffer_bytes",
                      HD_COL_INT, "buffer_limit", HD_COL_INT, "buffers_refused", HD_COL_INT, "recv_calls",
                      HD_COL_INT, "send_calls", HD_COL_INT, "io", HD_COL_TEXT, NULL);
    return start(begin(arg, call, worker_row), finish_rows, err);
}

/* --- KILL, PAUSE, RESUME
 * ------------------------------------------------------------------------------------- */

static void kill_here(struct hd_worker *w, struct gather *g)
{
    HD_LIST_EACH(n, &w->sessions)
    {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, all);

        if (s->id != g->id)
            continue;
        g->hits++;
        hd_session_fatal(s, "57P01", "terminating connection due to administrator command", NULL);
        return;
    }
}

static void finish_kill(void *arg)
{
    struct gather *g = arg;
    struct hd_error err = HD_ERROR_INIT;

    if (g->hits)
        hd_result_finish(g->r, HD_OK, NULL);
    else
        hd_result_finish(g->r,
                         hd_fail(&err, HD_ENOENT, "there is no client %llu; SHOW CLIENTS lists them",
                                 (unsigned long long)g->id),
                         &err);
    gather_free(g);
}

static int32_t kill_client(void *arg, const struct hd_call *call, struct hd_error *err)
{
    char text[32] = "", *end;
    struct gather *g;

    if (call->arg_count == 1 && call->args[0].len < sizeof(text))
        memcpy(text, call->args[0].ptr, call->args[0].len);
    errno = 0;
    g = begin(arg, call, kill_here);
    if (!g)
        return hd_fail(err, HD_ENOMEM, "no memory");
    g->id = strtoull(text, &end, 10);
    if (!*text || *end || errno) {
        gather_free(g);
        return hd_fail(err, HD_EINVAL, "KILL takes the id of a client, as SHOW CLIENTS lists it");
    }
    return start(g, finish_kill, err);
}

static void pause_here(struct hd_worker *w, struct gather *g)
{
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        if (g->name[0] && strcmp(p->database, g->name))
            continue;
        g->hits++;
        hd_pool_pause(p, g->on);
    }
}

static int32_t pause_or_resume(struct hd_workers *w, const struct hd_call *call, int on, struct hd_error *err)
{
    struct gather *g;

    if (call->arg_count > 1 || (call->arg_count && call->args[0].len >= sizeof(g->name)))
        return hd_fail(err, HD_EINVAL, "%s takes the name of one database, or nothing for all",
                       on ? "PAUSE" : "RESUME");
    g = begin(w, call, pause_here);
    if (!g)
        return hd_fail(err, HD_ENOMEM, "no memory");
    g->on = on;
    if (call->arg_count)
        memcpy(g->name, call->args[0].ptr, call->args[0].len);
    return start(g, finish_rows, err);
}

static int32_t pause_database(void *arg, const struct hd_call *call, struct hd_error *err)
{
    return pause_or_resume(arg, call, 1, err);
}

static int32_t resume_database(void *arg, const struct hd_call *call, struct hd_error *err)
{
    return pause_or_resume(arg, call, 0, err);
}

static const struct {
    const char *name, *usage, *doc;
    uint32_t flags;
    hd_command_fn *fn;
} commands[] = {
    {"SHOW CLIENTS", NULL, "Clients: state, pins, server, counts", HD_CMDF_READ_ONLY, show_clients},
    {"SHOW SERVERS", NULL, "Connections to servers", HD_CMDF_READ_ONLY, show_servers},
    {"SHOW POOLS", NULL, "Pools: use, waiting, failures", HD_CMDF_READ_ONLY, show_pools},
    {"SHOW STATS", NULL, "Counts of each pool since start", HD_CMDF_READ_ONLY, show_stats},
    {"SHOW WORKERS", NULL, "Worker threads: clients, buffers, system calls", HD_CMDF_READ_ONLY, show_workers},
    {"KILL", "id", "End a client's session", 0, kill_client},
    {"PAUSE", "[database]", "Give no server to anybody until RESUME; clients wait", 0, pause_database},
    {"RESUME", "[database]", "End a PAUSE", 0, resume_database},
};

int hd_session_add_commands(struct hd_workers *w, struct hd_error *err)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(commands); i++) {
        int code = hd_commands_add(w->env.commands, NULL, commands[i].name, commands[i].usage,
                                   commands[i].doc, commands[i].flags, commands[i].fn, w, err);

        if (code)
            return code;
    }
    return HD_OK;
}
