/*
 * Where epochs are kept; see epochs.h.
 */
#include "epochs.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parts of a table: 0 is `written`. */
#define PART_WHOLE 1
#define PART_ROWS  2

void cache_epochs_init(struct cache_epochs *e)
{
    memset(e, 0, sizeof(*e));
    pthread_mutex_init(&e->lock, NULL);
    for (uint32_t i = 0; i < CACHE_TAG_CELLS; i++)
        e->tags[i].part = i;
}

static void free_database(struct cache_database *db)
{
    for (size_t i = 0; i < CACHE_TABLE_BUCKETS; i++) {
        while (db->buckets[i]) {
            struct cache_table *t = db->buckets[i];

            db->buckets[i] = t->next;
            free(atomic_load_explicit(&t->rows, memory_order_relaxed));
            free(t->schema);
            free(t->name);
            free(t->refused);
            free(t);
        }
    }
    pthread_mutex_destroy(&db->lock);
    pthread_mutex_destroy(&db->opening);
    free(db);
}

void cache_epochs_free(struct cache_epochs *e)
{
    while (e->databases) {
        struct cache_database *db = e->databases;

        e->databases = db->next;
        free_database(db);
    }
    pthread_mutex_destroy(&e->lock);
}

static int same(struct hd_str a, struct hd_str b)
{
    return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

/* Both names in the memory behind the struct, each with a NUL. */
static struct cache_database *make_database(struct hd_str node, struct hd_str dbname)
{
    struct cache_database *db = calloc(1, sizeof(*db) + node.len + dbname.len + 2);
    char *names = db ? (char *)(db + 1) : NULL;

    if (!db)
        return NULL;
    if (node.len)
        memcpy(names, node.ptr, node.len);
    if (dbname.len)
        memcpy(names + node.len + 1, dbname.ptr, dbname.len);
    db->node = (struct hd_str){names, node.len};
    db->dbname = (struct hd_str){names + node.len + 1, dbname.len};
    pthread_mutex_init(&db->lock, NULL);
    pthread_mutex_init(&db->opening, NULL);
    return db;
}

static struct cache_database *look_up(const struct cache_epochs *e, struct hd_str node, struct hd_str dbname)
{
    struct cache_database *db = e->databases;

    while (db && !(same(db->dbname, dbname) && same(db->node, node)))
        db = db->next;
    return db;
}

struct cache_database *cache_epochs_find(struct cache_epochs *e, struct hd_str node, struct hd_str dbname)
{
    struct cache_database *db;

    pthread_mutex_lock(&e->lock);
    db = look_up(e, node, dbname);
    pthread_mutex_unlock(&e->lock);
    return db;
}

struct cache_database *cache_epochs_database(struct cache_epochs *e, struct hd_str node, struct hd_str dbname)
{
    struct cache_database *db;

    pthread_mutex_lock(&e->lock);
    db = look_up(e, node, dbname);
    if (!db && e->count < e->max_databases && (db = make_database(node, dbname))) {
        db->next = e->databases;
        e->databases = db;
        e->count++;
    }
    pthread_mutex_unlock(&e->lock);
    return db;
}

static struct cache_table **bucket(struct cache_database *db, uint32_t oid)
{
    return &db->buckets[(oid * 2654435761u >> 24) % CACHE_TABLE_BUCKETS];
}

static struct cache_table *look_up_table(struct cache_table *t, uint32_t oid)
{
    while (t && t->oid != oid)
        t = t->next;
    return t;
}

struct cache_table *cache_database_find(struct cache_database *db, uint32_t oid)
{
    struct cache_table *t;

    pthread_mutex_lock(&db->lock);
    t = look_up_table(*bucket(db, oid), oid);
    pthread_mutex_unlock(&db->lock);
    return t;
}

struct cache_table *cache_database_table(struct cache_database *db, uint32_t oid, uint32_t max)
{
    struct cache_table *t;

    pthread_mutex_lock(&db->lock);
    t = look_up_table(*bucket(db, oid), oid);
    if (!t && db->count < max && (t = calloc(1, sizeof(*t)))) {
        t->oid = t->written.oid = t->whole.oid = oid;
        t->whole.part = PART_WHOLE;
        t->next = *bucket(db, oid);
        *bucket(db, oid) = t;
        db->count++;
    }
    pthread_mutex_unlock(&db->lock);
    return t;
}

/* --- names --------------------------------------------------------------------------------------------- */

void cache_table_named(struct cache_database *db, struct cache_table *t, struct hd_str schema,
                       struct hd_str name)
{
    pthread_mutex_lock(&db->lock);
    if (!t->name && (t->schema = hd_str_dup(schema)) && !(t->name = hd_str_dup(name))) {
        free(t->schema);
        t->schema = NULL;
    }
    pthread_mutex_unlock(&db->lock);
}

void cache_table_refused(struct cache_database *db, struct cache_table *t, const char *why)
{
    pthread_mutex_lock(&db->lock);
    free(t->refused);
    t->refused = why ? strdup(why) : NULL;
    pthread_mutex_unlock(&db->lock);
}

void cache_table_why(struct cache_database *db, struct cache_table *t, char *out, size_t room)
{
    pthread_mutex_lock(&db->lock);
    snprintf(out, room, "%s", t->refused ? t->refused : "");
    pthread_mutex_unlock(&db->lock);
}

static int is(const char *a, struct hd_str b)
{
    return a && strlen(a) == b.len && !memcmp(a, b.ptr, b.len);
}

/* Which tables are meant: by their name, or else by a pattern. */
struct wanted {
    struct hd_str schema, name;
    const char *pattern;
    cache_ends_fn ends;
    void *arg;
};

static int is_like(const struct cache_table *t, const char *pattern)
{
    char name[300];

    if (!t->name)
        return 1; /* nobody knows */
    snprintf(name, sizeof(name), "%s.%s:", t->schema, t->name);
    return !fnmatch(pattern, name, 0) || !fnmatch(pattern, name + strlen(t->schema) + 1, 0);
}

static int is_wanted(const struct cache_table *t, const struct wanted *w)
{
    if (w->pattern)
        return is_like(t, w->pattern);
    return is(t->name, w->name) && (!w->schema.len || is(t->schema, w->schema));
}

static uint32_t end_tables(struct cache_database *db, const struct wanted *w)
{
    uint32_t n = 0;

    pthread_mutex_lock(&db->lock);
    for (size_t i = 0; i < CACHE_TABLE_BUCKETS; i++) {
        for (struct cache_table *t = db->buckets[i]; t; t = t->next) {
            if (!is_wanted(t, w))
                continue;
            w->ends(w->arg, db, t);
            cache_bump(&t->written);
            cache_bump(&t->whole);
            n++;
        }
    }
    pthread_mutex_unlock(&db->lock);
    return n;
}

static uint32_t end_all(struct cache_epochs *e, const struct wanted *w)
{
    uint32_t n = 0;

    pthread_mutex_lock(&e->lock);
    for (struct cache_database *db = e->databases; db; db = db->next)
        n += end_tables(db, w);
    pthread_mutex_unlock(&e->lock);
    return n;
}

uint32_t cache_epochs_end_named(struct cache_epochs *e, struct hd_str schema, struct hd_str name,
                                cache_ends_fn ends, void *arg)
{
    return end_all(e, &(struct wanted){.schema = schema, .name = name, .ends = ends, .arg = arg});
}

uint32_t cache_epochs_end_like(struct cache_epochs *e, const char *pattern, cache_ends_fn ends, void *arg)
{
    return end_all(e, &(struct wanted){.pattern = pattern, .ends = ends, .arg = arg});
}

/* --- cells --------------------------------------------------------------------------------------------- */

/* Made by whoever needs them first; of two at once one's are kept. */
static struct cache_cell *rows_of(struct cache_table *t)
{
    struct cache_cell *rows = atomic_load_explicit(&t->rows, memory_order_acquire), *made;

    if (rows)
        return rows;
    made = calloc(CACHE_ROW_CELLS, sizeof(*made));
    for (uint32_t i = 0; made && i < CACHE_ROW_CELLS; i++) {
        made[i].oid = t->oid;
        made[i].part = PART_ROWS + i;
    }
    if (!made || atomic_compare_exchange_strong_explicit(&t->rows, &rows, made, memory_order_acq_rel,
                                                         memory_order_acquire))
        return made;
    free(made);
    return rows;
}

struct cache_cell *cache_table_cell(struct cache_table *t, const struct cache_mark *mark)
{
    struct cache_cell *rows;
    uint64_t h;

    if (mark->kind == CACHE_MARK_WRITTEN)
        return &t->written;
    if (mark->kind == CACHE_MARK_WHOLE)
        return &t->whole;
    rows = rows_of(t);
    h = (mark->column * 31 + mark->kind) * UINT64_C(0x9E3779B97F4A7C15) + mark->hash;
    h = (h ^ h >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return rows ? &rows[(h >> 40) % CACHE_ROW_CELLS] : NULL;
}

struct cache_cell *cache_table_part(struct cache_table *t, uint32_t part)
{
    struct cache_cell *rows;

    if (part < PART_ROWS)
        return part == PART_WHOLE ? &t->whole : &t->written;
    rows = part - PART_ROWS < CACHE_ROW_CELLS ? rows_of(t) : NULL;
    return rows ? &rows[part - PART_ROWS] : NULL;
}
