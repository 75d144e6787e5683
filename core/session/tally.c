/*
 * Counts that several pools share; see tally.h. A tally lasts as long as somebody holds it, so that names
 * which come and go leave nothing behind.
 */
#include "session/tally.h"

#include <string.h>

#include "base/alloc.h"

struct hd_tally {
    struct hd_tally *next;
    uint32_t refs; /* under the workers' lock */
    _Atomic int64_t count;
    _Atomic(const void *) promised; /* compared, never followed */
    enum hd_tally_kind kind;
    char name[];
};

struct hd_tally *hd_tally_get(struct hd_workers *all, enum hd_tally_kind kind, const char *name)
{
    struct hd_tally *t;

    pthread_mutex_lock(&all->pools_lock);
    for (t = all->tallies; t && !(t->kind == kind && !strcmp(t->name, name)); t = t->next)
        ;
    if (!t && (t = hd_calloc(1, sizeof(*t) + strlen(name) + 1))) {
        t->kind = kind;
        strcpy(t->name, name);
        t->next = all->tallies;
        all->tallies = t;
    }
    if (t)
        t->refs++;
    pthread_mutex_unlock(&all->pools_lock);
    return t;
}

void hd_tally_put(struct hd_workers *all, struct hd_tally *t)
{
    struct hd_tally **at;

    if (!t)
        return;
    pthread_mutex_lock(&all->pools_lock);
    if (--t->refs) {
        t = NULL;
    } else {
        for (at = &all->tallies; *at != t; at = &(*at)->next)
            ;
        *at = t->next;
    }
    pthread_mutex_unlock(&all->pools_lock);
    hd_free(t);
}

static int promised(const struct hd_tally *t, const void *who)
{
    const void *to = atomic_load_explicit(&t->promised, memory_order_relaxed);

    return to && to != who;
}

int hd_tally_owed(const struct hd_tally *t, int64_t max, const void *who)
{
    return promised(t, who) && max && atomic_load_explicit(&t->count, memory_order_relaxed) >= max;
}

int hd_tally_enter(struct hd_tally *t, int64_t max, const void *who)
{
    if (promised(t, who))
        return 0;
    if (atomic_fetch_add(&t->count, 1) >= max && max) {
        atomic_fetch_sub(&t->count, 1);
        return 0;
    }
    return 1;
}

void hd_tally_leave(struct hd_tally *t)
{
    atomic_fetch_sub(&t->count, 1);
}

void hd_tally_promise(struct hd_tally *t, const void *who)
{
    const void *nobody = NULL;

    atomic_compare_exchange_strong(&t->promised, &nobody, who);
}

void hd_tally_waive(struct hd_tally *t, const void *who)
{
    atomic_compare_exchange_strong(&t->promised, &who, NULL);
}

void hd_tallies_free(struct hd_workers *all)
{
    while (all->tallies) {
        struct hd_tally *t = all->tallies;

        all->tallies = t->next;
        hd_free(t);
    }
}
