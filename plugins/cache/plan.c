/*
 * Sorting templates, and binding them to scopes; see plan.h.
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

/* Scopes that a plan is bound to at a time; the one that was used longest ago makes room. */
#define MAX_BOUNDS 64

/* Kinds that write nothing and define nothing by themselves. */
#define HARMLESS                                                                                             \
    (HD_KIND_BIT(SELECT) | HD_KIND_BIT(COPY_TO) | HD_KIND_BIT(BEGIN) | HD_KIND_BIT(COMMIT) |                 \
     HD_KIND_BIT(ROLLBACK) | HD_KIND_BIT(SAVEPOINT) | HD_KIND_BIT(RELEASE) | HD_KIND_BIT(ROLLBACK_TO) |      \
     HD_KIND_BIT(PREPARE_TXN) | HD_KIND_BIT(ROLLBACK_PREPARED) | HD_KIND_BIT(SET) | HD_KIND_BIT(SET_LOCAL) | \
     HD_KIND_BIT(RESET) | HD_KIND_BIT(SHOW) | HD_KIND_BIT(PREPARE) | HD_KIND_BIT(DEALLOCATE) |               \
     HD_KIND_BIT(DECLARE) | HD_KIND_BIT(FETCH) | HD_KIND_BIT(CLOSE) | HD_KIND_BIT(LISTEN) |                  \
     HD_KIND_BIT(UNLISTEN) | HD_KIND_BIT(NOTIFY) | HD_KIND_BIT(DISCARD) | HD_KIND_BIT(LOCK) |                \
     HD_KIND_BIT(EXPLAIN))

/* Facts of a text that may write, or of which nothing is proved. */
#define WRITING (HD_FACT_WRITES | HD_FACT_DEFINES | HD_FACT_UNSURE | HD_FACT_UNSURE_FUNCTION)

/* Facts of a text that is no plain read. */
#define NOT_PLAIN                                                                                            \
    (WRITING | HD_FACT_LOCKS | HD_FACT_VOLATILE | HD_FACT_OUTSIDE | HD_FACT_SESSION | HD_FACT_TXN |          \
     HD_FACT_TEMP | HD_FACT_ADVISORY_LOCK | HD_FACT_SEQUENCE | HD_FACT_LASTVAL | HD_FACT_SET_CONFIG |        \
     HD_FACT_MULTI | HD_FACT_HOLD_CURSOR)

/* Kinds that may commit by themselves. */
#define PROCEDURES (HD_KIND_BIT(CALL) | HD_KIND_BIT(DO) | HD_KIND_BIT(EXECUTE) | HD_KIND_BIT(OTHER))

/* Kinds whose rows may be told. */
#define BY_ROW (HD_KIND_BIT(INSERT) | HD_KIND_BIT(UPDATE) | HD_KIND_BIT(DELETE))

/* --- sorting ------------------------------------------------------------------------------------------- */

static uint32_t marks_of(const struct hd_template_info *info)
{
    uint32_t marks = 0;

    if (info->facts & HD_FACT_ISOLATION)
        marks |= CACHE_TXN_ISOLATED;
    if ((info->kinds & HD_KIND_BIT(SET_LOCAL)) || (info->facts & HD_FACT_SET_CONFIG))
        marks |= CACHE_TXN_SETTINGS;
    if ((info->facts & (HD_FACT_LOCKS | HD_FACT_ADVISORY_LOCK)) || (info->kinds & HD_KIND_BIT(LOCK)))
        marks |= CACHE_TXN_LOCKS;
    if (info->facts & HD_FACT_DEFINES)
        marks |= CACHE_TXN_DEFINES;
    if ((info->facts & HD_FACT_UNSURE) || (info->kinds & PROCEDURES))
        marks |= CACHE_TXN_COMMITS;
    return marks;
}

static enum cache_gid gid_of(const struct hd_template_info *info)
{
    if (info->statements == 1 && !(info->facts & HD_FACT_UNSURE)) {
        if (info->kinds == HD_KIND_BIT(PREPARE_TXN))
            return CACHE_GID_PREPARES;
        if (info->kinds == HD_KIND_BIT(COMMIT_PREPARED))
            return CACHE_GID_COMMITS;
        if (info->kinds == HD_KIND_BIT(ROLLBACK_PREPARED))
            return CACHE_GID_ROLLS_BACK;
    }
    return (info->kinds & HD_KIND_BIT(PREPARE_TXN)) || (info->facts & HD_FACT_UNSURE) ? CACHE_GID_UNKNOWN
                                                                                      : CACHE_GID_NONE;
}

/* CREATE TEMP … alone: nobody else ever sees it, and what hides behind its name is told by HD_STMT_TEMP. */
static int is_private(const struct hd_template_info *info)
{
    return info->statements == 1 && info->kinds == HD_KIND_BIT(DDL) && (info->facts & HD_FACT_TEMP) &&
           !(info->facts & (HD_FACT_UNSURE | HD_FACT_UNSURE_FUNCTION));
}

/* 0: the cache has nothing to do with it. */
static int sort(const struct hd_template_info *info, enum cache_class *class)
{
    if (is_private(info))
        return 0;
    if ((info->facts & WRITING) || (info->kinds & ~HARMLESS)) {
        *class = CACHE_WRITE;
        return 1;
    }
    if (info->kinds == HD_KIND_BIT(SELECT) && info->tables && !(info->facts & NOT_PLAIN)) {
        *class = CACHE_READ;
        return 1;
    }
    *class = CACHE_MARK;
    return marks_of(info) != 0 || gid_of(info) != CACHE_GID_NONE;
}

static void clear(struct cache_bound *b, const struct cache *self)
{
    if (b->deps)
        self->catalog->release(b->deps);
    b->deps = NULL;
    free(b->tables);
    free(b->rows);
    cache_rows_free(b->rows_of);
    b->rows_of = NULL;
    b->tables = NULL;
    b->rows = NULL;
    b->silent = 0;
    b->policy = (struct cache_policy){0};
    b->table_count = 0;
}

static void free_bounds(struct cache_plan *p)
{
    while (p->bounds) {
        struct cache_bound *b = p->bounds;

        p->bounds = b->next;
        clear(b, p->cache);
        free(b);
    }
}

static void free_plan(void *data)
{
    struct cache_plan *p = data;

    free_bounds(p);
    cache_rules_unref(p->rules);
    p->cache->template->release(p->tmpl);
    free(p);
}

static struct cache_rules *current_rules(struct cache *self)
{
    struct cache_rules *rules;

    pthread_mutex_lock(&self->lock);
    rules = cache_rules_ref(self->rules);
    pthread_mutex_unlock(&self->lock);
    return rules;
}

static uint32_t want_of(enum cache_class class, uint64_t kinds)
{
    if (class == CACHE_READ)
        return HD_WANT_DECIDE | HD_WANT_REPLACE | HD_WANT_DATA | HD_WANT_COMPLETE;
    if (kinds & BY_ROW) /* which rows it touches may stand in its parameters */
        return HD_WANT_DECIDE | HD_WANT_REPLACE | HD_WANT_COMPLETE | HD_WANT_TRANSACTION;
    return HD_WANT_DECIDE | HD_WANT_COMPLETE | HD_WANT_TRANSACTION;
}

/* A template that may write is never let pass unseen: what cannot be planned is a write of anything, which is
 * a plan of NULL. */
int32_t cache_plan(void *arg, void *ws, const hd_template *t, struct hd_plan *out)
{
    struct cache *self = arg;
    struct hd_template_info info = {.size = sizeof(info)};
    enum cache_class class;
    struct cache_plan *p;

    (void)ws;
    out->want = want_of(CACHE_WRITE, 0);
    if (self->template->info(t, &info) != HD_OK)
        return HD_OK;
    if (!sort(&info, &class)) {
        out->want = 0;
        return HD_OK;
    }
    p = calloc(1, sizeof(*p));
    if (!p)
        return HD_OK;
    p->cache = self;
    p->tmpl = t;
    self->template->hold(t);
    p->rules = current_rules(self);
    p->class = class;
    p->marks = marks_of(&info);
    p->gid = gid_of(&info);
    p->fingerprint = info.fingerprint;
    out->want = want_of(class, info.kinds);
    out->data = p;
    out->destroy = free_plan;
    return HD_OK;
}

/* --- binding ------------------------------------------------------------------------------------------- */

static void not_kept(struct cache_bound *b, int32_t code, enum cache_bypass why)
{
    b->code = code;
    b->why = why;
}

/* The epochs of all tables that it reads. Those of views are none, but cost nothing. */
static int find_tables(struct cache_bound *b, const struct cache *self, uint32_t count)
{
    struct hd_dependency d = {.size = sizeof(d)};

    b->tables = calloc(count ? count : 1, sizeof(*b->tables));
    b->rows = calloc(count ? count : 1, 1);
    if (!b->tables || !b->rows)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        if (self->catalog->table(b->deps, i, &d) != HD_OK)
            return HD_EFAIL;
        b->tables[i] = cache_database_table(b->scope->db, d.oid, self->epochs.max_tables);
        if (!b->tables[i])
            return HD_EFULL;
        cache_table_named(b->scope->db, b->tables[i], d.schema, d.name);
        b->rows[i] = d.kind == HD_RELATION_TABLE;
        b->silent |= d.kind == HD_RELATION_MATVIEW || (d.flags & HD_RELATION_UNLOGGED) ||
                     (b->rows[i] && !(d.flags & HD_RELATION_IDENTITY));
        b->table_count++;
    }
    return HD_OK;
}

static struct cache_rows_from rows_from(const struct cache *self, const struct cache_bound *b,
                                        const hd_template *tmpl)
{
    return (struct cache_rows_from){
        .templates = self->template, .catalog = self->catalog, .tmpl = tmpl, .deps = b->deps};
}

static void read_dependencies(struct cache_bound *b, struct cache *self, const struct cache_rules *rules,
                              const hd_template *tmpl, uint64_t fingerprint)
{
    const struct cache_rows_from from = rows_from(self, b, tmpl);
    struct hd_dependencies_info info = {.size = sizeof(info)};
    const struct cache_subject subject = {.fingerprint = fingerprint,
                                          .user = b->scope->user,
                                          .database = b->scope->database,
                                          .catalog = self->catalog,
                                          .deps = b->deps};

    if (self->catalog->info(b->deps, &info) != HD_OK) {
        not_kept(b, HD_EFAIL, CACHE_BYPASS_CATALOG);
        return;
    }
    b->generation = info.generation;
    b->policy = cache_rules_find(rules, &subject);
    if (info.problems)
        not_kept(b, HD_EUNSUPP, CACHE_BYPASS_UNPROVED);
    else if (find_tables(b, self, info.tables) || !(b->rows_of = cache_rows_read(&from)))
        not_kept(b, HD_EFULL, CACHE_BYPASS_BOUND);
    else
        b->code = HD_OK;
}

/* What it may write; whatever is not proved is anything. */
static void read_footprint(struct cache_bound *b, const struct cache *self, const hd_template *tmpl)
{
    struct hd_dependencies_info info = {.size = sizeof(info)};
    const struct cache_rows_from from = rows_from(self, b, tmpl);

    if (self->catalog->info(b->deps, &info) != HD_OK || info.footprint)
        return;
    b->rows_of = cache_rows_write(&from);
    b->anything = !b->rows_of;
}

/* Asks the catalog, where what it said is not current any more. */
static void ask(struct cache_plan *p, struct cache_bound *b)
{
    struct cache *self = p->cache;

    if (b->deps && self->catalog->current(b->deps))
        return;
    clear(b, self);
    b->anything = 1;
    if (self->catalog->dependencies(self->host, p->tmpl, &b->scope->catalog, &b->deps) != HD_OK) {
        b->deps = NULL;
        not_kept(b, HD_PENDING, CACHE_BYPASS_CATALOG);
    } else if (p->class == CACHE_READ) {
        read_dependencies(b, self, p->rules, p->tmpl, p->fingerprint);
    } else {
        read_footprint(b, self, p->tmpl);
    }
}

/* The one at the end of the list, which was used longest ago, is taken for another scope. */
static struct cache_bound *take_last(struct cache_plan *p)
{
    struct cache_bound **at = &p->bounds, *b;

    while ((*at)->next)
        at = &(*at)->next;
    b = *at;
    *at = NULL;
    clear(b, p->cache);
    memset(b, 0, sizeof(*b));
    return b;
}

struct cache_bound *cache_plan_bind(struct cache_plan *p, struct cache_scope *scope)
{
    struct cache_bound **at = &p->bounds, *b;

    for (; (b = *at) && b->scope != scope; at = &b->next)
        ;
    if (b) {
        *at = b->next;
    } else if (p->bound_count < MAX_BOUNDS) {
        b = calloc(1, sizeof(*b));
        if (!b)
            return NULL;
        p->bound_count++;
    } else {
        b = take_last(p);
    }
    b->scope = scope;
    b->next = p->bounds; /* those in use come first */
    p->bounds = b;
    ask(p, b);
    return b;
}
