/*
 * What a server has prepared; see stock.h.
 */
#include "session/stock.h"

#include <howdah/error.h>

#include "base/alloc.h"

#define BUCKETS 64

void hd_stock_init(struct hd_stock *s)
{
    *s = (struct hd_stock){0};
    hd_list_init(&s->lru);
}

void hd_stock_clear(struct hd_stock *s, struct hd_prep_table *t)
{
    struct hd_list *n;

    while ((n = hd_list_pop_front(&s->lru))) {
        struct hd_stocked *e = HD_LIST_ITEM(n, struct hd_stocked, lru);

        hd_prep_drop(t, e->prep);
        hd_free(e);
    }
    hd_free(s->buckets);
    hd_free(s->retired);
    hd_stock_init(s);
}

/* --- finding --- */

static struct hd_stocked **bucket(struct hd_stock *s, const struct hd_prep *p)
{
    return &s->buckets[p->key.lo & (s->bucket_count - 1)];
}

struct hd_stocked *hd_stock_find(struct hd_stock *s, const struct hd_prep *p, uint64_t id, uint64_t rows)
{
    struct hd_stocked *same = NULL;

    for (struct hd_stocked *e = s->count ? *bucket(s, p) : NULL; e; e = e->next) {
        if (e->prep != p)
            continue;
        if (e->id == id)
            return e;
        if (rows != HD_ROWS_UNKNOWN && e->rows == rows)
            same = e;
    }
    return same;
}

struct hd_stocked *hd_stock_twin(struct hd_stock *s, const struct hd_stocked *e)
{
    for (struct hd_stocked *o = *bucket(s, e->prep); o; o = o->next)
        if (o != e && o->prep == e->prep && o->rows == e->rows && e->rows != HD_ROWS_UNKNOWN)
            return o;
    return NULL;
}

struct hd_stocked *hd_stock_of_id(struct hd_stock *s, uint64_t id)
{
    HD_LIST_EACH(n, &s->lru)
    {
        struct hd_stocked *e = HD_LIST_ITEM(n, struct hd_stocked, lru);

        if (e->id == id)
            return e;
    }
    return NULL;
}

void hd_stock_touch(struct hd_stock *s, struct hd_stocked *e)
{
    hd_list_remove(&e->lru);
    hd_list_push_back(&s->lru, &e->lru);
}

struct hd_stocked *hd_stock_oldest(struct hd_stock *s)
{
    struct hd_list *n = hd_list_first(&s->lru);

    return n ? HD_LIST_ITEM(n, struct hd_stocked, lru) : NULL;
}

/* --- changing --- */

int hd_stock_add(struct hd_stock *s, struct hd_prep *p, uint64_t id, uint64_t rows)
{
    struct hd_stocked *e = hd_malloc(sizeof(*e));

    if (!s->buckets) {
        s->buckets = hd_calloc(BUCKETS, sizeof(*s->buckets));
        s->bucket_count = s->buckets ? BUCKETS : 0;
    }
    if (!e || !s->buckets) {
        hd_free(e);
        return HD_ENOMEM;
    }
    e->prep = hd_prep_hold(p);
    e->id = id;
    e->rows = rows;
    e->next = *bucket(s, p);
    *bucket(s, p) = e;
    hd_list_push_back(&s->lru, &e->lru);
    s->count++;
    return HD_OK;
}

static void out_of_bucket(struct hd_stock *s, struct hd_stocked *e)
{
    struct hd_stocked **at = bucket(s, e->prep);

    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
}

void hd_stock_resolve(struct hd_stock *s, struct hd_prep_table *t, struct hd_stocked *e, struct hd_prep *p,
                      uint64_t rows)
{
    struct hd_prep *old = e->prep;

    out_of_bucket(s, e);
    e->prep = hd_prep_hold(p);
    e->rows = rows;
    e->next = *bucket(s, p);
    *bucket(s, p) = e;
    hd_prep_drop(t, old);
}

void hd_stock_remove(struct hd_stock *s, struct hd_prep_table *t, struct hd_stocked *e)
{
    out_of_bucket(s, e);
    hd_list_remove(&e->lru);
    hd_prep_drop(t, e->prep);
    hd_free(e);
    s->count--;
}

int hd_stock_retire(struct hd_stock *s, uint64_t id)
{
    if (s->retired_count == s->retired_cap) {
        uint32_t cap = s->retired_cap ? 2 * s->retired_cap : 4;
        void *p = hd_realloc(s->retired, cap * sizeof(*s->retired));

        if (!p)
            return HD_ENOMEM;
        s->retired = p;
        s->retired_cap = cap;
    }
    s->retired[s->retired_count++] = id;
    return HD_OK;
}

int hd_stock_retire_all(struct hd_stock *s, struct hd_prep_table *t, int all)
{
    HD_LIST_EACH(n, &s->lru)
    {
        struct hd_stocked *e = HD_LIST_ITEM(n, struct hd_stocked, lru);

        if (!all && e->rows != HD_ROWS_NOT_ASKED)
            continue;
        if (hd_stock_retire(s, e->id))
            return HD_ENOMEM;
        hd_stock_remove(s, t, e);
    }
    return HD_OK;
}
