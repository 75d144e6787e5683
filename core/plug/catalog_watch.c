/*
 * Databases and their generations: changes that the host is told of, and those that it finds by asking the
 * server now and then for a fingerprint of its catalogs; see catalog.h.
 */
#include "plug/catalog_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/units.h"
#include "plug/jobs.h"
#include "plug/scheduler.h"

#define DATABASES_MAX   1024
#define WATCH_MS        10000
#define WATCH_JITTER_MS 1000
#define IN_USE_NS       (60 * UINT64_C(1000000000))
#define FINGERPRINT_MS  5000

static int same(const char *a, struct hd_str b)
{
    return strlen(a) == b.len && !memcmp(a, b.ptr, b.len);
}

static struct hd_catalog_database *make_database(struct hd_catalog *c, struct hd_str node,
                                                 struct hd_str dbname)
{
    struct hd_catalog_database *d = hd_calloc(1, sizeof(*d) + node.len + dbname.len + 2);
    char *text = (char *)(d + 1);

    if (!d)
        return NULL;
    d->catalog = c;
    memcpy(text, node.ptr, node.len);
    d->node = text;
    text += node.len + 1;
    memcpy(text, dbname.ptr, dbname.len);
    d->dbname = text;
    hd_list_init(&d->waiting);
    atomic_store(&d->generation, 1);
    return d;
}

struct hd_catalog_database *hd_catalog_database(struct hd_catalog *c, struct hd_str node,
                                                struct hd_str dbname)
{
    struct hd_catalog_database *d;

    for (d = c->databases; d; d = d->next)
        if (same(d->node, node) && same(d->dbname, dbname))
            return d;
    if (c->database_count == DATABASES_MAX || !(d = make_database(c, node, dbname)))
        return NULL;
    d->next = c->databases;
    c->databases = d;
    c->database_count++;
    return d;
}

void hd_catalog_new_generation(struct hd_catalog *c, struct hd_catalog_database *d)
{
    atomic_fetch_add_explicit(&d->generation, 1, memory_order_acq_rel);
    c->changes++;
}

void hd_catalog_changed(struct hd_catalog *c, struct hd_str node, struct hd_str dbname)
{
    pthread_mutex_lock(&c->lock);
    for (struct hd_catalog_database *d = c->databases; d; d = d->next)
        if (same(d->node, node) && (!dbname.len || same(d->dbname, dbname)))
            hd_catalog_new_generation(c, d);
    pthread_mutex_unlock(&c->lock);
}

/* --- watching ------------------------------------------------------------------------------------------ */

static struct hd_sql fingerprint_question(const struct hd_catalog_database *d)
{
    return (struct hd_sql){.size = sizeof(struct hd_sql),
                           .node = d->node,
                           .database = d->dbname,
                           .text = hd_catalog_fingerprint,
                           .statement_timeout_ms = FINGERPRINT_MS,
                           .deadline_ms = FINGERPRINT_MS};
}

/* NULL: it could not be had. */
static char *read_fingerprint(const struct hd_sql_result *r)
{
    if (r->code || r->rows != 1 || r->columns != 1 || !r->cells[0].ptr)
        return NULL;
    return hd_strndup(r->cells[0].ptr, r->cells[0].len);
}

/* One that the watch has found meanwhile is no younger. */
static void on_first_look(void *arg, const struct hd_sql_result *r)
{
    struct hd_catalog_database *d = arg;
    char *found = read_fingerprint(r);

    pthread_mutex_lock(&d->catalog->lock);
    d->first_look = HD_CATALOG_LOOKED;
    if (!d->fingerprint) {
        d->fingerprint = found;
        found = NULL;
    }
    pthread_mutex_unlock(&d->catalog->lock);
    hd_free(found);
    d->looked(d);
}

int hd_catalog_look_first(struct hd_catalog_database *d, void (*then)(struct hd_catalog_database *d))
{
    const struct hd_sql sql = fingerprint_question(d);
    struct hd_catalog *c = d->catalog;
    int was;

    pthread_mutex_lock(&c->lock);
    was = d->first_look;
    if (was == HD_CATALOG_UNSEEN) {
        d->first_look = HD_CATALOG_LOOKING;
        d->looked = then;
    }
    pthread_mutex_unlock(&c->lock);
    if (was != HD_CATALOG_UNSEEN)
        return was == HD_CATALOG_LOOKED ? HD_OK : HD_PENDING;
    if (hd_jobs_sql(c->jobs, NULL, &sql, on_first_look, d) > 0)
        return HD_PENDING;
    pthread_mutex_lock(&c->lock);
    d->first_look = HD_CATALOG_LOOKED;
    pthread_mutex_unlock(&c->lock);
    return HD_OK;
}

/* Asks one database; [job]. Where it cannot be asked, nothing is known of it any more. */
static void look_at(struct hd_catalog *c, struct hd_catalog_database *d)
{
    const struct hd_sql sql = fingerprint_question(d);
    const struct hd_sql_result *r;
    char *found, *was;

    hd_jobs_sql_wait(c->jobs, &sql, &r);
    found = read_fingerprint(r);
    hd_jobs_free_result(r);
    pthread_mutex_lock(&c->lock);
    was = d->fingerprint;
    d->fingerprint = found;
    /* Without one it cannot be told what has changed. */
    if (!found || !was || strcmp(found, was) != 0)
        hd_catalog_new_generation(c, d);
    pthread_mutex_unlock(&c->lock);
    hd_free(was);
}

/* Databases are added at the front and never go: the list may be walked without the lock. */
static int32_t watch(void *arg)
{
    struct hd_catalog *c = arg;
    struct hd_catalog_database *d;
    uint64_t now = hd_now_ns();

    pthread_mutex_lock(&c->lock);
    d = c->databases;
    pthread_mutex_unlock(&c->lock);
    for (; d; d = d->next)
        if (now - atomic_load_explicit(&d->used_ns, memory_order_relaxed) < IN_USE_NS)
            look_at(c, d);
    return HD_OK;
}

int hd_catalog_watch(struct hd_catalog *c, struct hd_scheduler *scheduler, struct hd_error *err)
{
    const struct hd_schedule s = {.size = sizeof(s),
                                  .name = "catalog-watch",
                                  .interval_ms = WATCH_MS,
                                  .jitter_ms = WATCH_JITTER_MS,
                                  .fn = watch,
                                  .arg = c};
    int64_t id = hd_scheduler_add(scheduler, NULL, &s, err);

    return id > 0 ? HD_OK : (int)id;
}
