/*
 * Footprints of transactions, and what their end invalidates; see writes.h.
 */
#include "writes.h"

#include <stdlib.h>
#include <string.h>

#include "tell.h"

void cache_footprint_add(struct cache_footprint *to, const struct cache_footprint *what)
{
    to->flags |= what->flags;
    for (uint32_t i = 0; i < what->count && !(to->flags & CACHE_TXN_ANYTHING); i++) {
        uint32_t k = 0;

        while (k < to->count && to->cells[k] != what->cells[i])
            k++;
        if (k < to->count)
            continue;
        if (to->count == CACHE_WRITES_MAX)
            to->flags |= CACHE_TXN_ANYTHING;
        else
            to->cells[to->count++] = what->cells[i];
    }
}

void cache_footprint_marks(struct cache_footprint *to, struct cache_database *db, uint32_t max_tables,
                           const struct cache_mark *marks, uint32_t count)
{
    for (uint32_t i = 0; i < count && !(to->flags & CACHE_TXN_ANYTHING); i++) {
        struct cache_table *t = cache_database_table(db, marks[i].oid, max_tables);
        struct cache_footprint one = {.flags = CACHE_TXN_WRITES, .count = 1};

        one.cells[0] = t ? cache_table_cell(t, &marks[i]) : NULL;
        if (one.cells[0])
            cache_footprint_add(to, &one);
        else
            to->flags |= CACHE_TXN_ANYTHING;
    }
}

void cache_footprint_unsettle(const struct cache_footprint *what, struct cache_database *db, int32_t change)
{
    if (what->flags & CACHE_TXN_ANYTHING) {
        atomic_fetch_add_explicit(&db->written.unsettled, (uint32_t)change, memory_order_acq_rel);
        return;
    }
    for (uint32_t i = 0; i < what->count; i++)
        atomic_fetch_add_explicit(&what->cells[i]->unsettled, (uint32_t)change, memory_order_acq_rel);
}

void cache_footprint_bump(struct cache *self, const struct cache_footprint *what, struct cache_database *db)
{
    if (what->flags & CACHE_TXN_ANYTHING) {
        cache_bump(&db->written);
        self->metrics->add(self->host, self->stats.unknown_writes, 1);
        return;
    }
    for (uint32_t i = 0; i < what->count; i++)
        cache_bump(what->cells[i]);
    self->metrics->add(self->host, self->stats.invalidations, what->count != 0);
}

void cache_footprint_end(struct cache *self, const struct cache_footprint *what, struct hd_str node,
                         struct hd_str dbname)
{
    struct cache_database *db = cache_epochs_database(&self->epochs, node, dbname);
    struct cache_cell *written = db ? &db->written : NULL;

    if (!db) /* what is not known here may be there */
        cache_shared_lose(self);
    else if (what->flags & CACHE_TXN_ANYTHING)
        cache_shared_raise(self, &written, 1);
    else if (what->count)
        cache_shared_raise(self, what->cells, what->count);
    if (db)
        cache_footprint_bump(self, what, db);
    cache_tell_written(self, what, node, dbname);
}

void cache_footprint_told(const struct cache_footprint *what, struct cache_database *db, uint64_t lsn)
{
    if (what->flags & CACHE_TXN_ANYTHING) {
        cache_cell_told(&db->written, lsn);
        return;
    }
    for (uint32_t i = 0; i < what->count; i++)
        cache_cell_told(what->cells[i], lsn);
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
    one->prepared = 0;
    one->schema = db ? cache_epoch(&db->schema) : 0;
    one->next = w->pending;
    w->pending = one;
    return one;
}

/* A footprint that was found by another schema than the statement has met, such as one without a trigger, is
 * worth nothing; nor is that of a prepared transaction whose name was used again. */
static void check(struct cache *self, struct cache_write *one)
{
    if (one->db && cache_epoch(&one->db->schema) == one->schema &&
        (!one->prepared || cache_prepared_stands(self, one->prepared)))
        return;
    if (one->what.flags & CACHE_TXN_WRITES)
        one->what.flags |= CACHE_TXN_ANYTHING;
}

void cache_writes_complete(struct cache *self, struct cache_writes *w, struct cache_write *one, int failed)
{
    struct cache_write **at = &w->pending;

    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
    check(self, one);
    if (one->prepared && !failed)
        cache_prepared_drop(self, one->prepared);
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

/* What such a transaction may have written, all together. What is on its way has its part in it, or may have.
 */
static struct cache_footprint sum_of(struct cache *self, const struct cache_writes *w)
{
    struct cache_footprint sum = {.flags = CACHE_TXN_WRITES};

    /* Nothing was noted, though something must have been: the plugin was switched on in the midst of the
     * transaction, or was in quarantine. */
    if (!w || (!w->done_flags && !w->pending && (!w->done || !w->done->flags)))
        sum.flags |= CACHE_TXN_ANYTHING;
    if (!w)
        return sum;
    sum.flags |= w->done_flags;
    if (w->done)
        cache_footprint_add(&sum, w->done);
    for (struct cache_write *p = w->pending; p; p = p->next) {
        check(self, p);
        cache_footprint_add(&sum, &p->what);
    }
    return sum;
}

/* --- transactions that are left ------------------------------------------------------------------------ */

static void give_up(struct cache *self)
{
    atomic_store_explicit(&self->epochs.broken, 1, memory_order_release);
}

/* Until it is settled, what it may write is neither kept nor given. */
static void leave(struct cache *self, const struct hd_transaction *t, const struct cache_footprint *what)
{
    struct cache_database *db = cache_epochs_database(&self->epochs, t->node, t->dbname);
    struct cache_left *left = db ? malloc(sizeof(*left)) : NULL;

    if (!left) {
        give_up(self);
        return;
    }
    *left = (struct cache_left){.handle = t->handle, .db = db, .what = *what};
    cache_footprint_unsettle(&left->what, db, 1);
    cache_footprint_bump(self, &left->what, db);
    pthread_mutex_lock(&self->left_lock);
    left->next = self->left;
    self->left = left;
    pthread_mutex_unlock(&self->left_lock);
}

static void settle(struct cache *self, uint64_t handle)
{
    struct cache_left **at = &self->left, *left;

    pthread_mutex_lock(&self->left_lock);
    while (*at && (*at)->handle != handle)
        at = &(*at)->next;
    left = *at;
    if (left)
        *at = left->next;
    pthread_mutex_unlock(&self->left_lock);
    if (!left)
        return;
    cache_footprint_end(self, &left->what, left->db->node, left->db->dbname);
    cache_footprint_unsettle(&left->what, left->db, -1);
    free(left);
}

void cache_writes_forget_left(struct cache *self)
{
    while (self->left) {
        struct cache_left *left = self->left;

        self->left = left->next;
        free(left);
    }
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

/* What belongs to the transaction that has ended. */
static void forget(struct cache_writes *w, const struct hd_transaction *t)
{
    if (w->done) {
        w->done->flags = 0;
        w->done->count = 0;
    }
    w->done_flags = 0;
    if (w->preparing && w->preparing->handle < t->behind)
        w->preparing->handle = 0;
    for (struct cache_write *p = w->pending; p; p = p->next)
        p->ended |= p->handle < t->behind;
    end_defining(w);
}

/* Until somebody commits it, or rolls it back. Where no write was noted one may have gone by unseen. */
static void keep_prepared(struct cache *self, const struct cache_writes *w, const struct hd_transaction *t,
                          const struct cache_footprint *sum)
{
    const struct cache_preparing *p = w ? w->preparing : NULL;
    struct cache_database *db = cache_epochs_find(&self->epochs, t->node, t->dbname);

    if (db && w && w->done && (w->done->flags & CACHE_TXN_WRITES) && p && p->handle && !p->several &&
        p->handle < t->behind && !(sum->flags & CACHE_TXN_ANYTHING))
        cache_prepared_keep(self, db, (struct hd_str){p->gid, p->len}, sum);
}

static void invalidate(struct cache *self, const struct cache_writes *w, const struct hd_transaction *t)
{
    const struct cache_footprint sum = sum_of(self, w);

    if (t->end == HD_END_PREPARED) {
        keep_prepared(self, w, t, &sum);
        return;
    }
    /* A procedure may have committed before it was rolled back; and what was not noted may have been one. */
    if (t->end == HD_END_ROLLED_BACK && !(sum.flags & CACHE_TXN_COMMITS) && !(w && w->done_flags))
        return;
    if (t->flags & HD_TRANSACTION_OPEN) {
        leave(self, t, &sum);
        return;
    }
    cache_footprint_end(self, &sum, t->node, t->dbname);
}

void cache_writes_end(struct cache *self, struct cache_writes *w, const struct hd_transaction *t)
{
    if (t->end == HD_END_SETTLED) {
        settle(self, t->about);
        return;
    }
    invalidate(self, w, t);
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
    free(w->preparing);
    free(w->done);
}
