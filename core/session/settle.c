/*
 * Ends of transactions that nobody waits for; see settle.h.
 */
#include "session/settle.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/units.h"
#include "plug/jobs.h"

/* Between two questions about a backend: the first time, and at most. */
#define ASK_FIRST_NS 100000000u
#define ASK_MAX_NS   10000000000u
/* Lost connections that are asked about, on a worker; past it nothing comes of more. */
#define LOST_MAX 1000
#define AT_ONCE  8
#define ASK_MS   10000

enum { WAITS, GONE, THERE };

/* A question on its way; the worker and the job each have a reference. */
struct question {
    _Atomic int refs;
    _Atomic int state;
};

struct hd_settling {
    struct hd_list node; /* in worker->lost, while LOST */
    struct hd_worker *w;
    struct hd_server *server; /* while OWED */
    enum { OWED, LOST, NEVER, OVER } state;
    uint64_t session_id;
    struct hd_backend backend;
    struct hd_chain_told *told;
    struct question *question; /* about its backend; NULL: none is under way */
    uint64_t due_ns;           /* when to ask next */
    uint64_t step_ns;
    uint8_t is_told; /* the filters know of it */
    char *database, *user, *node_name, *dbname;
};

/* --- questions ----------------------------------------------------------------------------------------- */

static void drop(struct question *q)
{
    if (q && atomic_fetch_sub(&q->refs, 1) == 1)
        hd_free(q);
}

/* [control] */
static void on_answer(void *arg, const struct hd_sql_result *r)
{
    struct question *q = arg;
    int gone =
        !r->code && r->rows == 1 && r->columns == 1 && r->cells[0].len == 1 && r->cells[0].ptr[0] == 't';

    atomic_store(&q->state, gone ? GONE : THERE);
    drop(q);
}

/* A server that has started anew has none of its old backends; but behind several addresses it may be
 * another server. */
static const char text[] =
    "SELECT CASE WHEN started OPERATOR(pg_catalog.=) $1::pg_catalog.int8 THEN NOT EXISTS (SELECT FROM"
    " pg_catalog.pg_stat_get_activity($2::pg_catalog.int4) WHERE backend_start IS NULL OR " HD_SETTLE_US(
        "backend_start") " OPERATOR(pg_catalog.=) $3::pg_catalog.int8)"
                         " ELSE $4::pg_catalog.bool AND started OPERATOR(pg_catalog.>) $1::pg_catalog.int8 "
                         "END"
                         " FROM (SELECT " HD_SETTLE_US(
                             "pg_catalog.pg_postmaster_start_time()") " AS started) AS s";

static void ask(struct hd_settling *st)
{
    struct hd_jobs *jobs = st->w->all->env.jobs;
    struct question *q = hd_calloc(1, sizeof(*q));
    char started[32], pid[32], since[32];
    const char *params[] = {started, pid, since,
                            hd_jobs_conninfo_says(jobs, st->node_name, ",") ? "false" : "true"};
    const struct hd_sql sql = {.size = sizeof(sql),
                               .node = st->node_name,
                               .text = text,
                               .params = params,
                               .param_count = HD_ARRAY_LEN(params),
                               .statement_timeout_ms = ASK_MS,
                               .deadline_ms = ASK_MS};

    if (!q)
        return;
    snprintf(started, sizeof(started), "%lld", (long long)st->backend.server_us);
    snprintf(pid, sizeof(pid), "%d", st->backend.pid);
    snprintf(since, sizeof(since), "%lld", (long long)st->backend.since_us);
    atomic_init(&q->refs, 2);
    if (hd_jobs_sql(jobs, NULL, &sql, on_answer, q) > 0)
        st->question = q;
    else
        hd_free(q); /* too much is being asked */
}

void hd_settle_learn(struct hd_server *v, const PGresult *answer, int column)
{
    struct hd_backend b;

    for (int i = column; i < column + 3; i++)
        if (i >= PQnfields(answer) || PQgetisnull(answer, 0, i))
            return;
    b = (struct hd_backend){.pid = atoi(PQgetvalue(answer, 0, column)),
                            .since_us = strtoll(PQgetvalue(answer, 0, column + 1), NULL, 10),
                            .server_us = strtoll(PQgetvalue(answer, 0, column + 2), NULL, 10)};
    if (b.pid == PQbackendPID(v->pg)) /* else somebody stands between */
        v->backend = b;
}

/* --- one of them --------------------------------------------------------------------------------------- */

static void leave_list(struct hd_settling *st, int to)
{
    hd_list_remove(&st->node);
    st->w->lost_count--;
    st->state = to;
}

static void free_one(struct hd_settling *st)
{
    if (st->server)
        st->server->settling = NULL;
    if (st->state == LOST)
        leave_list(st, OVER);
    drop(st->question);
    hd_free(st->told);
    hd_free(st->database);
    hd_free(st->user);
    hd_free(st->node_name);
    hd_free(st->dbname);
    hd_free(st);
}

static struct hd_settling *make_one(struct hd_session *s)
{
    struct hd_settling *st = hd_calloc(1, sizeof(*st));
    const struct hd_pool *p = s->server->pool;

    if (!st)
        return NULL;
    hd_list_init(&st->node);
    st->w = s->w;
    st->server = s->server;
    st->session_id = s->id;
    st->backend = s->server->backend;
    st->told = hd_chain_told_new(&s->chain);
    st->database = hd_strdup(s->pool->database);
    st->user = hd_strdup(s->pool->user);
    st->node_name = hd_strdup(p->node->name);
    st->dbname = hd_strdup(p->node->dbname ? p->node->dbname : p->database);
    if (st->told && st->database && st->user && st->node_name && st->dbname)
        return st;
    free_one(st);
    return NULL;
}

/* It is over. Filters that have not been told of it yet will not be told that it is open (hd_settle_tell). */
static void over(struct hd_settling *st)
{
    const struct hd_transaction t = {
        .size = sizeof(t),
        .session_id = st->session_id,
        .database = hd_str_of(st->database),
        .user = hd_str_of(st->user),
        .node = hd_str_of(st->node_name),
        .dbname = hd_str_of(st->dbname),
        .behind = UINT64_MAX,
    };

    if (st->state == LOST)
        leave_list(st, OVER);
    st->state = OVER;
    if (!st->is_told)
        return;
    hd_chain_settled(st->w->chain, st->told, &t);
    free_one(st);
}

/* --- what happens to sessions and servers -------------------------------------------------------------- */

struct hd_leaving hd_settle_begin(struct hd_session *s)
{
    struct hd_leaving l = {NULL, s->chain.touched && s->server};

    if (!l.open || s->server->settling)
        return l;
    l.settling = make_one(s);
    s->server->settling = l.settling;
    return l;
}

void hd_settle_tell(struct hd_session *s, struct hd_leaving l, struct hd_transaction *t)
{
    struct hd_settling *st = l.settling;
    int open = l.open && t->end != HD_END_ROLLED_BACK && !(st && st->state == OVER);

    if (open)
        t->flags |= HD_TRANSACTION_OPEN;
    if (st) {
        t->node = hd_str_of(st->node_name);
        t->dbname = hd_str_of(st->dbname);
    }
    hd_chain_lost(s->w->chain, &s->chain, t, st && open ? st->told : NULL);
    if (!st)
        return;
    st->is_told = 1;
    if (st->state == OVER || st->state == NEVER || !st->told->count)
        free_one(st);
}

static struct hd_settling *take(struct hd_server *v)
{
    struct hd_settling *st = v->settling;

    v->settling = NULL;
    st->server = NULL;
    return st;
}

void hd_settle_drained(struct hd_server *v)
{
    over(take(v));
}

void hd_settle_lost(struct hd_server *v)
{
    struct hd_settling *st = take(v);
    struct hd_worker *w = st->w;

    if (!st->backend.pid || !w->all->env.jobs || w->lost_count >= LOST_MAX) {
        st->state = NEVER;
        if (st->is_told)
            free_one(st);
        return;
    }
    st->state = LOST;
    hd_list_push_back(&w->lost, &st->node);
    w->lost_count++;
    st->step_ns = ASK_FIRST_NS;
    st->due_ns = hd_now_ns() + st->step_ns;
}

/* --- time ---------------------------------------------------------------------------------------------- */

/* Looks whether its question was answered; 1 while one is on its way. */
static int look_at(struct hd_settling *st, uint64_t now)
{
    int state = st->question ? atomic_load(&st->question->state) : THERE;

    if (state == WAITS)
        return 1;
    if (state == GONE) {
        over(st);
        return 0;
    }
    if (st->question) {
        drop(st->question);
        st->question = NULL;
        st->due_ns = now + st->step_ns;
        st->step_ns = st->step_ns < ASK_MAX_NS / 2 ? 2 * st->step_ns : ASK_MAX_NS;
    }
    return 0;
}

void hd_settle_tick(struct hd_worker *w, uint64_t now)
{
    int asking = 0;

    HD_LIST_EACH(n, &w->lost)
    asking += look_at(HD_LIST_ITEM(n, struct hd_settling, node), now);
    HD_LIST_EACH(n, &w->lost)
    {
        struct hd_settling *st = HD_LIST_ITEM(n, struct hd_settling, node);

        if (asking < AT_ONCE && !st->question && now >= st->due_ns) {
            ask(st);
            asking++;
        }
    }
}

void hd_settle_free(struct hd_worker *w)
{
    struct hd_list *n;

    while ((n = hd_list_first(&w->lost)))
        free_one(HD_LIST_ITEM(n, struct hd_settling, node));
}
