/*
 * Counts that several pools share; see tally.h. A tally lasts as long as somebody holds it, so that names
 * which come and go leave nothing behind.
 */
#include "session/tally.h"

#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "session/share.h"

struct hd_tally {
    struct hd_tally *next;
    uint32_t refs; /* under the workers' lock */
    _Atomic int64_t count;
    _Atomic(const void *) promised; /* compared, never followed */
    struct hd_share *share;         /* of servers, with another host; NULL: not shared */
    enum hd_tally_kind kind;
    char name[];
};

/* Limits of servers are the node's to bear, whichever host they come from. */
static struct hd_share *share_of(enum hd_tally_kind kind, const char *name)
{
    struct hd_strbuf key = HD_STRBUF_INIT;
    struct hd_share *share = NULL;

    if (kind == HD_TALLY_DATABASE || kind == HD_TALLY_USER)
        return NULL;
    hd_strbuf_printf(&key, "\n%d\n%s", (int)kind, name);
    if (!key.failed)
        share = hd_share_of(hd_strbuf_str(&key));
    hd_strbuf_free(&key);
    return share;
}

struct hd_tally *hd_tally_get(struct hd_workers *all, enum hd_tally_kind kind, const char *name)
{
    struct hd_tally *t;

    pthread_mutex_lock(&all->pools_lock);
    for (t = all->tallies; t && !(t->kind == kind && !strcmp(t->name, name)); t = t->next)
        ;
    if (!t && (t = hd_calloc(1, sizeof(*t) + strlen(name) + 1))) {
        t->kind = kind;
        t->share = share_of(kind, name);
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
    if ((atomic_fetch_add(&t->count, 1) < max || !max) && hd_share_enter(t->share, max))
        return 1;
    atomic_fetch_sub(&t->count, 1);
    return 0;
}

void hd_tally_leave(struct hd_tally *t)
{
    atomic_fetch_sub(&t->count, 1);
    hd_share_leave(t->share);
}

void hd_tally_wait(struct hd_tally *t, int by)
{
    hd_share_wait(t->share, by);
}

int hd_tally_yield(struct hd_tally *t)
{
    if (!hd_share_other_waits(t->share))
        return 0;
    hd_share_yield(t->share);
    return 1;
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
