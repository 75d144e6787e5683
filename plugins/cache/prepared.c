/*
 * The list of prepared transactions; see prepared.h. There are few of them, so it is gone through.
 */
#include "prepared.h"

#include <stdlib.h>
#include <string.h>

#include "writes.h"

struct cache_prepared {
    struct cache_prepared *next;
    uint64_t serial;
    const struct cache_database *db;
    uint32_t gid_len;
    uint32_t flags, count; /* of the footprint */
    char gid[CACHE_GID_MAX];
    struct cache_cell *cells[];
};

void cache_prepared_init(struct cache_prepared_list *l)
{
    memset(l, 0, sizeof(*l));
    pthread_mutex_init(&l->lock, NULL);
}

void cache_prepared_free(struct cache_prepared_list *l)
{
    while (l->first) {
        struct cache_prepared *p = l->first;

        l->first = p->next;
        free(p);
    }
    pthread_mutex_destroy(&l->lock);
}

static int is(const struct cache_prepared *p, const struct cache_database *db, struct hd_str gid)
{
    return p->db == db && p->gid_len == gid.len && !memcmp(p->gid, gid.ptr, gid.len);
}

/* With the lock. */
static void drop_at(struct cache_prepared_list *l, struct cache_prepared **at)
{
    struct cache_prepared *p = *at;

    *at = p->next;
    l->count--;
    free(p);
}

static void publish(struct cache *self)
{
    self->metrics->set(self->host, self->stats.prepared, self->prepared.count);
}

void cache_prepared_forget(struct cache *self, const struct cache_database *db, struct hd_str gid)
{
    struct cache_prepared_list *l = &self->prepared;
    struct cache_prepared **at = &l->first;

    pthread_mutex_lock(&l->lock);
    while (*at) {
        if ((*at)->db == db && (!gid.len || is(*at, db, gid)))
            drop_at(l, at);
        else
            at = &(*at)->next;
    }
    publish(self);
    pthread_mutex_unlock(&l->lock);
}

static struct cache_prepared *make(const struct cache_database *db, struct hd_str gid,
                                   const struct cache_footprint *what)
{
    struct cache_prepared *p = malloc(sizeof(*p) + what->count * sizeof(p->cells[0]));

    if (!p)
        return NULL;
    p->db = db;
    p->gid_len = (uint32_t)gid.len;
    memcpy(p->gid, gid.ptr, gid.len);
    p->flags = what->flags;
    p->count = what->count;
    memcpy(p->cells, what->cells, what->count * sizeof(p->cells[0]));
    return p;
}

void cache_prepared_keep(struct cache *self, const struct cache_database *db, struct hd_str gid,
                         const struct cache_footprint *what)
{
    struct cache_prepared_list *l = &self->prepared;
    struct cache_prepared *p = gid.len && gid.len <= CACHE_GID_MAX ? make(db, gid, what) : NULL;

    if (!p)
        return;
    pthread_mutex_lock(&l->lock);
    p->serial = ++l->serial;
    p->next = l->first;
    l->first = p;
    if (++l->count > l->max) {
        struct cache_prepared **at = &l->first;

        while ((*at)->next)
            at = &(*at)->next;
        drop_at(l, at);
    }
    publish(self);
    pthread_mutex_unlock(&l->lock);
}

uint64_t cache_prepared_find(struct cache *self, const struct cache_database *db, struct hd_str gid,
                             struct cache_footprint *what)
{
    struct cache_prepared_list *l = &self->prepared;
    uint64_t serial = 0;

    pthread_mutex_lock(&l->lock);
    for (const struct cache_prepared *p = l->first; p && !serial; p = p->next) {
        if (!is(p, db, gid))
            continue;
        serial = p->serial;
        what->flags = p->flags;
        what->count = p->count;
        memcpy(what->cells, p->cells, p->count * sizeof(p->cells[0]));
    }
    pthread_mutex_unlock(&l->lock);
    return serial;
}

/* With the lock. */
static struct cache_prepared **look_up(struct cache_prepared_list *l, uint64_t serial)
{
    struct cache_prepared **at = &l->first;

    while (*at && (*at)->serial != serial)
        at = &(*at)->next;
    return at;
}

int cache_prepared_stands(struct cache *self, uint64_t serial)
{
    int stands;

    pthread_mutex_lock(&self->prepared.lock);
    stands = *look_up(&self->prepared, serial) != NULL;
    pthread_mutex_unlock(&self->prepared.lock);
    return stands;
}

void cache_prepared_drop(struct cache *self, uint64_t serial)
{
    struct cache_prepared **at;

    pthread_mutex_lock(&self->prepared.lock);
    at = look_up(&self->prepared, serial);
    if (*at)
        drop_at(&self->prepared, at);
    publish(self);
    pthread_mutex_unlock(&self->prepared.lock);
}
