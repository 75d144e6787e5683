/*
 * Footprints of transactions, and what their end invalidates; see writes.h.
 */
#include "writes.h"

#include <stdlib.h>
#include <string.h>

void cache_footprint_add(struct cache_footprint *to, const struct cache_footprint *what)
{
    to->flags |= what->flags;
    for (uint32_t i = 0; i < what->count && !(to->flags & CACHE_TXN_ANYTHING); i++) {
        uint32_t k = 0;

        while (k < to->count && to->oids[k] != what->oids[i])
            k++;
        if (k < to->count)
            continue;
        if (to->count == CACHE_WRITES_MAX)
            to->flags |= CACHE_TXN_ANYTHING;
        else
            to->oids[to->count++] = what->oids[i];
    }
}

struct cache_write *cache_writes_begin(struct cache_writes *w, uint64_t handle, struct cache_database *db,
                                       const struct cache_footprint *what)
{
    struct cache_write *one = malloc(sizeof(*one));

    if (!one) {
        w->done_flags |= what->flags | CACHE_TXN_WRITES | CACHE_TXN_ANYTHING;
        return NULL;
    }
    one->what = *what;
    one->handle = handle;
    one->ended = 0;
    one->db = db;
    one->schema = db ? cache_epoch(&db->schema) : 0;
    one->next = w->pending;
    w->pending = one;
    return one;
}

/* A footprint that was found by another schema than the statement has met, such as one without a trigger, is
 * worth nothing. */
static void check_schema(struct cache_write *one)
{
    if (one->db && cache_epoch(&one->db->schema) == one->schema)
        return;
    if (one->what.flags & CACHE_TXN_WRITES)
        one->what.flags |= CACHE_TXN_ANYTHING;
}

void cache_writes_complete(struct cache_writes *w, struct cache_write *one)
{
    struct cache_write **at = &w->pending;

    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
    check_schema(one);
    if (one->ended)
        ;
    else if (!w->done && !(w->done = calloc(1, sizeof(*w->done))))
        w->done_flags |= one->what.flags | CACHE_TXN_WRITES | CACHE_TXN_ANYTHING;
    else
        cache_footprint_add(w->done, &one->what);
    free(one);
}

uint32_t cache_writes_flags(const struct cache_writes *w)
{
    uint32_t flags = w->done_flags | (w->done ? w->done->flags : 0);

    for (const struct cache_write *p = w->pending; p; p = p->next)
        flags |= p->ended ? 0 : p->what.flags;
    return flags;
}

/* --- bumping ------------------------------------------------------------------------------------------- */

static void bump_database(struct cache *self, struct cache_database *db, int unsettled)
{
    if (unsettled)
        atomic_fetch_add_explicit(&db->unsettled, 1, memory_order_acq_rel);
    cache_bump(&db->written);
    self->metrics->add(self->host, self->stats.unknown_writes, 1);
}

static void bump_table(struct cache *self, struct cache_database *db, uint32_t oid, int unsettled)
{
    struct cache_table *t =
        unsettled ? cache_database_table(db, oid, self->epochs.max_tables) : cache_database_find(db, oid);

    if (!t && unsettled) {
        bump_database(self, db, 1);
        return;
    }
    if (!t)
        return;
    if (unsettled)
        atomic_fetch_add_explicit(&t->unsettled, 1, memory_order_acq_rel);
    cache_bump(&t->written);
    self->metrics->add(self->host, self->stats.invalidations, 1);
}

static void bump(struct cache *self, struct cache_database *db, const struct cache_footprint *what,
                 int unsettled)
{
    if (!(what->flags & CACHE_TXN_WRITES))
        return;
    if (what->flags & CACHE_TXN_ANYTHING) {
        bump_database(self, db, unsettled);
        return;
    }
    for (uint32_t i = 0; i < what->count; i++)
        bump_table(self, db, what->oids[i], unsettled);
}

/* --- schemas ------------------------------------------------------------------------------------------- */

void cache_writes_define(struct cache_writes *w, struct cache_database *db)
{
    if (w->defining)
        return;
    w->defining = db;
    atomic_fetch_add_explicit(&db->defining, 1, memory_order_acq_rel);
    cache_bump(&db->schema);
}

/* Unless another such statement is on its way. */
static void end_defining(struct cache_writes *w)
{
    for (const struct cache_write *p = w->pending; p; p = p->next)
        if (!p->ended && (p->what.flags & CACHE_TXN_DEFINES))
            return;
    if (w->defining)
        atomic_fetch_sub_explicit(&w->defining->defining, 1, memory_order_acq_rel);
    w->defining = NULL;
}

/* --- ends ---------------------------------------------------------------------------------------------- */

/* Of a session that nothing is known of, or that had no memory. */
static const struct cache_footprint anything = {.flags = CACHE_TXN_WRITES | CACHE_TXN_ANYTHING};

/* What belongs to the transaction that has ended. */
static void forget(struct cache_writes *w, const struct hd_transaction *t)
{
    if (w->done) {
        w->done->flags = 0;
        w->done->count = 0;
    }
    w->done_flags = 0;
    for (struct cache_write *p = w->pending; p; p = p->next)
        p->ended |= p->handle < t->behind;
    end_defining(w);
}

/* Where its database has no epochs nothing hangs on it, but what is unsettled must be noted. */
static struct cache_database *database_of(struct cache *self, const struct hd_transaction *t, int unsettled)
{
    struct cache_database *db = unsettled ? cache_epochs_database(&self->epochs, t->node, t->dbname)
                                          : cache_epochs_find(&self->epochs, t->node, t->dbname);

    if (!db && unsettled)
        atomic_store_explicit(&self->epochs.broken, 1, memory_order_release);
    return db;
}

/* Nothing was noted, though something must have been: the plugin was switched on in the midst of the
 * transaction, or was in quarantine. */
static int is_empty(const struct cache_writes *w)
{
    return !w || (!w->done_flags && !w->pending && (!w->done || !w->done->flags));
}

/* What is on its way has its part in it, too, or may have. */
static void bump_all(struct cache *self, struct cache_database *db, const struct cache_writes *w,
                     int unsettled)
{
    if (is_empty(w) || (w->done_flags & CACHE_TXN_ANYTHING))
        bump(self, db, &anything, unsettled);
    if (w && w->done)
        bump(self, db, w->done, unsettled);
    for (struct cache_write *p = w ? w->pending : NULL; p; p = p->next) {
        check_schema(p);
        bump(self, db, &p->what, unsettled);
    }
}

/* A procedure may have committed before it was rolled back; and what was not noted may have been one. */
static int may_have_committed(const struct cache_writes *w)
{
    return is_empty(w) || (cache_writes_flags(w) & CACHE_TXN_COMMITS) || w->done_flags;
}

void cache_writes_end(struct cache *self, struct cache_writes *w, const struct hd_transaction *t)
{
    int unsettled = t->end == HD_END_ABANDONED;
    int nothing = t->end == HD_END_PREPARED || (t->end == HD_END_ROLLED_BACK && !may_have_committed(w));
    struct cache_database *db = nothing ? NULL : database_of(self, t, unsettled);

    if (db)
        bump_all(self, db, w, unsettled);
    if (w)
        forget(w, t);
}

void cache_writes_free(struct cache_writes *w)
{
    while (w->pending) {
        struct cache_write *p = w->pending;

        w->pending = p->next;
        free(p);
    }
    end_defining(w);
    free(w->done);
}
