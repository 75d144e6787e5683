/*
 * Putting questions to the servers' catalogs. What it costs to ask is mostly the planning of the question, so
 * that templates which wait are asked about together; after a change of the schema all that run are.
 */
#include "plug/catalog_ask.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "plug/jobs.h"

#define RETRY_NS     (5 * UINT64_C(1000000000))
#define QUESTION_MS  10000
#define TOGETHER_MAX 32 /* templates in one question */
#define UNDER_WAY    2  /* questions to a database at a time */

/* About one template. */
struct question {
    struct hd_list waiting;   /* in its database's list */
    struct hd_template *tmpl; /* held */
    struct hd_hash128 key;
    struct hd_catalog_params params;
    int alone; /* it was one of several that failed together */
};

/* What is asked at once. */
struct batch {
    struct hd_catalog *catalog;
    struct hd_catalog_database *database;
    uint64_t generation; /* before the server was asked */
    uint32_t count;
    struct question *of[TOGETHER_MAX];
};

static void free_question(struct question *q)
{
    hd_template_release(q->tmpl);
    hd_catalog_params_free(&q->params);
    hd_free(q);
}

/* --- answers ------------------------------------------------------------------------------------------- */

/* The rows about the template of that number, without the number. */
static uint32_t pick_rows(const struct hd_sql_result *r, uint32_t number, struct hd_str *out)
{
    char text[16];
    size_t len = (size_t)snprintf(text, sizeof(text), "%u", number);
    uint32_t rows = 0;

    for (uint32_t i = 0; i < r->rows; i++) {
        const struct hd_str *row = r->cells + (size_t)i * r->columns;

        if (row[0].len != len || memcmp(row[0].ptr, text, len) != 0)
            continue;
        memcpy(out + (size_t)rows * (r->columns - 1), row + 1, (r->columns - 1) * sizeof(*row));
        rows++;
    }
    return rows;
}

static struct hd_dependencies *judge(const struct batch *b, uint32_t i, const struct hd_sql_result *r,
                                     struct hd_str *cells)
{
    struct hd_dependencies *d = hd_calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    atomic_store(&d->refs, 1);
    d->database = b->database;
    d->generation = b->generation;
    if (!hd_catalog_judge(b->of[i]->tmpl->facts, cells, pick_rows(r, i + 1, cells), r->columns - 1,
                          &d->answer))
        return d;
    hd_dependencies_release(d);
    return NULL;
}

static void log_failure(const struct batch *b, const struct hd_sql_result *r)
{
    char why[200] = "its answer cannot be read";

    if (r && r->code)
        snprintf(why, sizeof(why), "%.*s", (int)r->message.len, r->message.ptr ? r->message.ptr : "");
    hd_log(HD_LOG_WARNING, "the catalog could not be asked", HD_KV("node", b->database->node),
           HD_KV("database", b->database->dbname), HD_KV("reason", r ? why : "no job could be had"));
}

/* d NULL: it could not be asked. */
static void settle(struct hd_catalog *c, const struct question *q, struct hd_dependencies *d)
{
    struct hd_catalog_entry *e;

    pthread_mutex_lock(&c->lock);
    c->asking--;
    c->failed += !d;
    e = hd_catalog_find(c, q->key);
    if (e) {
        struct hd_dependencies *old = e->known;

        e->known = d;
        e->asking = 0;
        e->retry_ns = d ? 0 : hd_now_ns() + RETRY_NS;
        d = old;
    }
    pthread_mutex_unlock(&c->lock);
    hd_dependencies_release(d);
}

/* --- questions ----------------------------------------------------------------------------------------- */

static void send_waiting(struct hd_catalog_database *d);

/* Each of them by itself: one may have been what failed. */
static void ask_alone(struct batch *b)
{
    pthread_mutex_lock(&b->catalog->lock);
    for (uint32_t i = 0; i < b->count; i++) {
        b->of[i]->alone = 1;
        hd_list_push_back(&b->database->waiting, &b->of[i]->waiting);
    }
    pthread_mutex_unlock(&b->catalog->lock);
}

static void settle_all(struct batch *b, const struct hd_sql_result *r)
{
    int good = r && !r->code && r->columns > 1, logged = r && r->code == HD_ECANCELLED;
    struct hd_str *cells = good ? hd_calloc((size_t)r->rows * r->columns + 1, sizeof(*cells)) : NULL;

    for (uint32_t i = 0; i < b->count; i++) {
        struct hd_dependencies *d = cells ? judge(b, i, r, cells) : NULL;

        if (!d && !logged++)
            log_failure(b, r);
        settle(b->catalog, b->of[i], d);
        free_question(b->of[i]);
    }
    hd_free(cells);
}

static void on_answer(void *arg, const struct hd_sql_result *r)
{
    struct batch *b = arg;
    struct hd_catalog *c = b->catalog;
    struct hd_catalog_database *d = b->database;

    if (b->count > 1 && r->code == HD_ESQL)
        ask_alone(b);
    else
        settle_all(b, r);
    hd_free(b);
    pthread_mutex_lock(&c->lock);
    d->under_way--;
    pthread_mutex_unlock(&c->lock);
    send_waiting(d);
}

static int submit(struct batch *b)
{
    const struct hd_catalog_params *each[TOGETHER_MAX];
    struct hd_sql sql = {.size = sizeof(sql),
                         .node = b->database->node,
                         .database = b->database->dbname,
                         .text = hd_catalog_question,
                         .param_count = HD_CATALOG_PARAMS,
                         .statement_timeout_ms = QUESTION_MS,
                         .deadline_ms = QUESTION_MS};
    struct hd_catalog_params all;
    int64_t handle = HD_ENOMEM;

    for (uint32_t i = 0; i < b->count; i++)
        each[i] = &b->of[i]->params;
    if (!hd_catalog_ask_together(each, b->count, &all)) {
        sql.params = all.value;
        handle = hd_jobs_sql(b->catalog->jobs, NULL, &sql, on_answer, b);
    }
    hd_catalog_params_free(&all);
    return handle > 0 ? HD_OK : (int)handle;
}

/* The next ones that may be asked together; NULL: none, or enough are under way. */
static struct batch *take_waiting(struct hd_catalog *c, struct hd_catalog_database *d)
{
    struct batch *b = hd_calloc(1, sizeof(*b));

    if (!b)
        return NULL;
    *b = (struct batch){.catalog = c, .database = d};
    pthread_mutex_lock(&c->lock);
    while (d->under_way < UNDER_WAY && !hd_list_empty(&d->waiting) && b->count < TOGETHER_MAX) {
        struct question *q = HD_LIST_ITEM(d->waiting.next, struct question, waiting);

        if (q->alone && b->count)
            break;
        hd_list_remove(&q->waiting);
        b->of[b->count++] = q;
        if (q->alone)
            break;
    }
    d->under_way += b->count != 0;
    b->generation = atomic_load(&d->generation);
    pthread_mutex_unlock(&c->lock);
    if (b->count)
        return b;
    hd_free(b);
    return NULL;
}

static void send_waiting(struct hd_catalog_database *d)
{
    struct hd_catalog *c = d->catalog;
    struct batch *b;

    while ((b = take_waiting(c, d))) {
        int code = submit(b);

        if (!code)
            continue;
        settle_all(b, code == HD_ECANCELLED ? &(struct hd_sql_result){.code = code} : NULL);
        hd_free(b);
        pthread_mutex_lock(&c->lock);
        d->under_way--;
        pthread_mutex_unlock(&c->lock);
    }
}

int hd_catalog_put_question(struct hd_catalog *c, const hd_template *t, const struct hd_catalog_view *view,
                            struct hd_hash128 key, struct hd_catalog_database *database)
{
    struct question *q = hd_calloc(1, sizeof(*q));
    int code;

    if (!q)
        return HD_ENOMEM;
    q->key = key;
    q->tmpl = hd_template_hold(t);
    code = hd_catalog_ask(t->facts, t->text, view, &q->params);
    if (code) {
        free_question(q);
        return code;
    }
    pthread_mutex_lock(&c->lock);
    hd_list_push_back(&database->waiting, &q->waiting);
    pthread_mutex_unlock(&c->lock);
    if (hd_catalog_look_first(database, send_waiting) == HD_OK)
        send_waiting(database);
    return HD_PENDING;
}
