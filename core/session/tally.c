/*
 * Clients of databases and users; see tally.h. A tally stays once it was made: there are as many as names
 * that clients have logged in with, and those are known ones.
 */
#include "session/tally.h"

#include <string.h>

#include "base/alloc.h"

struct hd_tally {
    struct hd_tally *next;
    _Atomic int64_t clients;
    enum hd_tally_kind kind;
    char name[];
};

/* The tally of that name, found or made. */
static struct hd_tally *tally_of(struct hd_workers *all, enum hd_tally_kind kind, const char *name)
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
    pthread_mutex_unlock(&all->pools_lock);
    return t;
}

int hd_tally_enter(struct hd_workers *all, enum hd_tally_kind kind, const char *name, int64_t max,
                   struct hd_tally **out)
{
    struct hd_tally *t = tally_of(all, kind, name);

    if (!t)
        return HD_ENOMEM;
    if (atomic_fetch_add(&t->clients, 1) >= max && max) {
        atomic_fetch_sub(&t->clients, 1);
        return HD_EFULL;
    }
    *out = t;
    return HD_OK;
}

void hd_tally_leave(struct hd_tally *t)
{
    if (t)
        atomic_fetch_sub(&t->clients, 1);
}

void hd_tallies_free(struct hd_workers *all)
{
    while (all->tallies) {
        struct hd_tally *t = all->tallies;

        all->tallies = t->next;
        hd_free(t);
    }
}
