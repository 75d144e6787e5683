/*
 * The filter: what happens to a statement on its way. Reads are read.c's; of a write its footprint is noted,
 * and the epochs of its tables are bumped when its transaction ends.
 */
#include <stdlib.h>
#include <time.h>

#include "park.h"
#include "read.h"
#include "session.h"
#include "two_phase.h"

/* What an execution's slot points to: a read's capture, or a write on its way. The class of its plan tells
 * which. */

uint64_t cache_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- writes -------------------------------------------------------------------------------------------- */

/* Tables that it may write, as far as that is proved: else anything. */
static struct cache_footprint footprint_of(struct cache_worker *w, struct cache_plan *p,
                                           struct cache_session *s, const struct hd_statement *st)
{
    const struct cache_footprint anything = {.flags = CACHE_TXN_WRITES | CACHE_TXN_ANYTHING};
    struct cache_footprint what = {.flags = CACHE_TXN_WRITES};
    struct cache_mark marks[CACHE_WRITES_MAX];
    struct cache *self = w->cache;
    const struct cache_bound *b;
    uint32_t n;

    if (p && p->class == CACHE_MARK)
        return (struct cache_footprint){0};
    if (cache_context_update(w, &s->context, st) || !p ||
        (st->flags & (HD_STMT_SETTINGS_UNSURE | HD_STMT_TEMP)) ||
        !(b = cache_plan_bind(p, s->context.scope)) || b->anything ||
        atomic_load_explicit(&s->context.scope->db->defining, memory_order_acquire))
        return anything;
    n = cache_rows_marks(b->rows_of, self->host, self->statement, st, marks, CACHE_WRITES_MAX);
    if (n > CACHE_WRITES_MAX)
        n = cache_rows_tables(b->rows_of, marks, CACHE_WRITES_MAX);
    if (n > CACHE_WRITES_MAX)
        return anything;
    cache_footprint_marks(&what, s->context.scope->db, self->epochs.max_tables, marks, n);
    return what;
}

static void write_statement(struct cache_worker *w, struct cache_plan *p, const struct hd_statement *st)
{
    struct cache_session *s = st->session_state;
    struct cache_database *db;
    struct cache_footprint what;
    struct cache_write *one;
    uint64_t prepared = 0;

    cache_two_phase_prepare(w->cache, p, s ? &s->writes : NULL, st);
    if (!s)
        return; /* transaction() knows no footprint then */
    if (p && (p->gid == CACHE_GID_COMMITS || p->gid == CACHE_GID_ROLLS_BACK))
        what = cache_two_phase_end(w->cache, p, st, &prepared);
    else
        what = footprint_of(w, p, s, st);
    if (p)
        what.flags |= p->marks;
    db = s->context.scope ? s->context.scope->db
                          : cache_epochs_database(&w->cache->epochs, st->node, st->dbname);
    if ((what.flags & CACHE_TXN_DEFINES) && db)
        cache_writes_define(&s->writes, db);
    *st->slot = one = cache_writes_begin(&s->writes, st->handle, db, &what);
    if (one)
        one->prepared = prepared;
}

/* --- the filter ---------------------------------------------------------------------------------------- */

static int32_t on_statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                            struct hd_verdict *v)
{
    struct cache_plan *p = plan;

    (void)self;
    *st->slot = NULL;
    if (p && p->class == CACHE_READ)
        return cache_read_statement(ws, p, st, v);
    write_statement(ws, p, st);
    return HD_OK;
}

static void on_complete(void *self, void *ws, void *plan, const struct hd_statement *st,
                        const struct hd_outcome *o)
{
    const struct cache_plan *p = plan;
    struct cache_session *s = st->session_state;

    (void)ws;
    if (!*st->slot)
        return;
    if (p && p->class == CACHE_READ)
        cache_read_complete(self, st, o);
    else if (s)
        cache_writes_complete(self, &s->writes, *st->slot, o->failed != 0);
}

static void on_data(void *self, void *ws, void *plan, const struct hd_statement *st, struct hd_str bytes)
{
    (void)self;
    (void)ws;
    (void)plan;
    if (*st->slot)
        cache_read_data(st, bytes);
}

static int32_t on_transaction(void *self, void *ws, const struct hd_transaction *t)
{
    struct cache_session *s = t->session_state;

    (void)ws;
    cache_writes_end(self, s ? &s->writes : NULL, t);
    return HD_OK;
}

static void *session_open(void *self, void *ws, uint64_t id, struct hd_str database, struct hd_str user)
{
    (void)self;
    (void)ws;
    (void)id;
    (void)database;
    (void)user;
    return calloc(1, sizeof(struct cache_session));
}

static void session_close(void *self, void *ws, void *state)
{
    struct cache_session *s = state;

    (void)self;
    (void)ws;
    if (!s)
        return;
    cache_writes_free(&s->writes);
    free(s);
}

static void *worker_start(void *self, uint32_t worker)
{
    struct cache_worker *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->cache = self;
    cache_shared_worker_start(w, worker);
    return w;
}

static void worker_stop(void *self, void *ws)
{
    struct cache_worker *w = ws;

    (void)self;
    if (!w)
        return;
    cache_park_stop(w);
    cache_scopes_free(w);
    free(w->key.p);
    while (w->free_hits) {
        struct cache_hit *h = w->free_hits;

        w->free_hits = h->next;
        free(h);
    }
    if (!cache_shared_worker_stop(w))
        free(w);
}

const struct hd_filter_v1 cache_filter = {
    .size = sizeof(struct hd_filter_v1),
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .session_open = session_open,
    .session_close = session_close,
    .plan = cache_plan,
    .statement = on_statement,
    .data = on_data,
    .complete = on_complete,
    .transaction = on_transaction,
};
