/*
 * From the names in statements of two-phase commits to footprints; see two_phase.h.
 */
#include "two_phase.h"

#include <stdlib.h>
#include <string.h>

/* The name in the text, as PostgreSQL reads it. Empty: it cannot be told. */
static struct hd_str gid_of(struct cache *self, const struct hd_statement *st)
{
    struct hd_value v = {.size = sizeof(v)};

    if ((st->flags & HD_STMT_NO_TEXT) || self->statement->value(self->host, st, 1, &v) != HD_OK ||
        v.kind != HD_VAL_STRING || v.data.len > CACHE_GID_MAX)
        return (struct hd_str){NULL, 0};
    return v.data;
}

/* Its transaction's footprint is kept under that name, when it has ended so. Of two on their way in one
 * pipeline neither is. */
static void note(struct cache_writes *w, uint64_t handle, struct hd_str gid)
{
    struct cache_preparing *p = w->preparing;

    if (!p && !(p = w->preparing = calloc(1, sizeof(*p))))
        return;
    p->several = p->handle != 0;
    p->handle = handle;
    p->len = (uint32_t)gid.len;
    if (gid.len)
        memcpy(p->gid, gid.ptr, gid.len);
}

void cache_two_phase_prepare(struct cache *self, const struct cache_plan *p, struct cache_writes *w,
                             const struct hd_statement *st)
{
    struct hd_str gid = {NULL, 0};
    struct cache_database *db;

    if (p && p->gid != CACHE_GID_PREPARES && p->gid != CACHE_GID_UNKNOWN)
        return;
    if (p && p->gid == CACHE_GID_PREPARES)
        gid = gid_of(self, st);
    db = cache_epochs_find(&self->epochs, st->node, st->dbname);
    if (db)
        cache_prepared_forget(self, db, gid);
    if (w && gid.len)
        note(w, st->handle, gid);
}

struct cache_footprint cache_two_phase_end(struct cache *self, const struct cache_plan *p,
                                           const struct hd_statement *st, uint64_t *prepared)
{
    struct cache_footprint what = {.flags = CACHE_TXN_WRITES};
    struct cache_database *db = cache_epochs_find(&self->epochs, st->node, st->dbname);
    struct hd_str gid = db ? gid_of(self, st) : (struct hd_str){NULL, 0};

    *prepared = gid.len ? cache_prepared_find(self, db, gid, &what) : 0;
    if (p->gid == CACHE_GID_ROLLS_BACK)
        return (struct cache_footprint){.flags = CACHE_TXN_WRITES};
    if (!*prepared)
        what.flags |= CACHE_TXN_ANYTHING | CACHE_TXN_DEFINES;
    return what;
}
