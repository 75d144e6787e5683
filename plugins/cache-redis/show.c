/*
 * SHOW CACHE REDIS: what each worker has done; SHOW REDIS SERVERS: its connections.
 */
#include "cache-redis/cache-redis.h"

static void count_link(void *arg, struct rds_link *l)
{
    struct rds_link_state state;
    int *up = arg;

    rds_link_show(l, &state);
    *up += state.up;
}

static int32_t show_counts(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const char *const names[CR_COUNTS] = {
        [CR_HITS] = "hits",         [CR_MISSES] = "misses",     [CR_PUTS] = "puts",
        [CR_REJECTED] = "rejected", [CR_TIMEOUTS] = "timeouts", [CR_WRONG] = "wrong",
        [CR_ERRORS] = "errors",     [CR_BYPASSED] = "bypassed", [CR_FULL] = "full"};
    struct cr *self = arg;
    const struct hd_commands_v1 *c = self->commands;

    (void)err;
    c->column(call->result, "worker", HD_COL_INT);
    c->column(call->result, "servers_up", HD_COL_INT);
    for (int i = 0; i < CR_COUNTS; i++)
        c->column(call->result, names[i], HD_COL_INT);
    pthread_mutex_lock(&self->lock);
    for (int n = 0; n < CR_WORKERS_MAX; n++) {
        struct cr_worker *w = self->worker[n];
        int up = 0;

        if (!w)
            continue;
        rds_servers_each(w->servers, count_link, &up);
        c->integer(call->result, n);
        c->integer(call->result, up);
        for (int i = 0; i < CR_COUNTS; i++)
            c->integer(call->result, (int64_t)atomic_load_explicit(&w->count[i], memory_order_relaxed));
    }
    pthread_mutex_unlock(&self->lock);
    return HD_OK;
}

/* A row of SHOW REDIS SERVERS on its way. */
struct row {
    const struct hd_commands_v1 *commands;
    hd_result *result;
    int worker;
};

static void show_link(void *arg, struct rds_link *l)
{
    const struct row *row = arg;
    const struct hd_commands_v1 *c = row->commands;
    struct rds_link_state s;

    rds_link_show(l, &s);
    c->integer(row->result, row->worker);
    c->text(row->result, hd_str_of(s.server));
    c->text(row->result, hd_str_of(s.up ? "up" : "down"));
    c->integer(row->result, (int64_t)s.connects);
    c->integer(row->result, (int64_t)s.losses);
    c->text(row->result, hd_str_of(s.why));
}

static int32_t show_servers(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct cr *self = arg;
    const struct hd_commands_v1 *c = self->commands;
    struct row row = {c, call->result, 0};

    (void)err;
    c->column(call->result, "worker", HD_COL_INT);
    c->column(call->result, "server", HD_COL_TEXT);
    c->column(call->result, "state", HD_COL_TEXT);
    c->column(call->result, "connects", HD_COL_INT);
    c->column(call->result, "losses", HD_COL_INT);
    c->column(call->result, "reason", HD_COL_TEXT);
    pthread_mutex_lock(&self->lock);
    for (row.worker = 0; row.worker < CR_WORKERS_MAX; row.worker++)
        if (self->worker[row.worker])
            rds_servers_each(self->worker[row.worker]->servers, show_link, &row);
    pthread_mutex_unlock(&self->lock);
    return HD_OK;
}

int32_t cr_show_start(struct cr *self, struct hd_error *err)
{
    int32_t code = self->commands->add(self->env.host, "SHOW CACHE REDIS", "",
                                       "What the cache store in Redis has done, per worker",
                                       HD_CMDF_READ_ONLY, show_counts, self, err);

    if (code == HD_OK)
        code = self->commands->add(self->env.host, "SHOW REDIS SERVERS", "",
                                   "Each worker's connections to Redis, and why one is down",
                                   HD_CMDF_READ_ONLY, show_servers, self, err);
    return code;
}
