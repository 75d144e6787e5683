/*
 * The errand through the workers and back; see gather.h. A gather belongs to one worker's part at a time for
 * each part, and to the control thread before the first and after the last.
 */
#include "gather.h"

#include <stdlib.h>
#include <string.h>

/* Entries that a worker copies before it turns to its sessions again. */
#define SLICE 256
/* … and that it folds into another. */
#define FORGET_SLICE 64

static void finish(void *arg);

static void part_clear(struct stmts_part *p)
{
    for (uint32_t r = 0; r < p->count; r++) {
        stmts_text_unref(p->rows[r].text);
        stmts_sketch_clear(&p->rows[r].sketch);
    }
    p->count = 0;
}

void stmts_gather_free(struct stmts_gather *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        part_clear(&g->parts[i]);
        free(g->parts[i].rows);
    }
    free(g->keys);
    free(g);
}

/* Tells whoever asked, and goes. */
static void over(struct stmts_gather *g, int32_t code)
{
    struct stmts *self = g->self;

    g->done(g, code);
    stmts_gather_free(g);
    stmts_errand_end(self);
}

/* One part less; whoever ends the last one sends the gather home. */
static void part_done(struct stmts_part *p, int32_t code)
{
    struct stmts_gather *g = p->gather;

    p->code = code;
    if (atomic_fetch_sub_explicit(&g->left, 1, memory_order_acq_rel) != 1)
        return;
    if (g->self->loop->post(g->self->host, HD_LOOP_CONTROL, finish, g) != HD_OK)
        over(g, HD_EFULL);
}

static int32_t copy_entry(struct stmts_part *p, const struct stmts_entry *e)
{
    struct stmts_row *r;

    if (p->count == p->room) {
        uint32_t room = p->room ? 2 * p->room : SLICE;
        struct stmts_row *rows = realloc(p->rows, room * sizeof(*rows));

        if (!rows)
            return HD_ENOMEM;
        p->rows = rows;
        p->room = room;
    }
    r = &p->rows[p->count++];
    memset(r, 0, sizeof(*r));
    r->fingerprint = e->fingerprint;
    r->generation = p->generation;
    if (e->who) {
        memcpy(r->database, e->who->db->name, sizeof(r->database));
        memcpy(r->user, e->who->user, sizeof(r->user));
    }
    if (e->states)
        r->states = *e->states;
    r->text = stmts_text_ref(e->text);
    r->sums = e->all;
    stmts_sketch_merge(&r->sketch, &e->sketch);
    return HD_OK;
}

/* Copies the next slice. HD_PENDING: there is more. [worker] */
static int32_t copy_slice(struct stmts_part *p, struct stmts_table *t)
{
    if (p->next && p->generation == t->generation && p->epoch != t->epoch) {
        part_clear(p); /* some have gone into "other": once more from the beginning */
        p->next = 0;
    }
    if (p->next == 0) {
        p->generation = t->generation;
        p->epoch = t->epoch;
        if (t->other.all.calls && copy_entry(p, &t->other) != HD_OK)
            return HD_ENOMEM;
    }
    if (p->generation != t->generation)
        return HD_OK; /* a reset came between: what it left was copied */
    for (uint32_t end = p->next + SLICE; p->next < t->count; p->next++) {
        if (p->next == end)
            return HD_PENDING;
        if (copy_entry(p, t->entries[p->next]) != HD_OK)
            return HD_ENOMEM;
    }
    return HD_OK;
}

int stmts_key_order(const void *a, const void *b)
{
    const struct stmts_key *x = a, *y = b;
    int order;

    if (x->fingerprint != y->fingerprint)
        return x->fingerprint < y->fingerprint ? -1 : 1;
    order = strcmp(x->database, y->database);
    return order ? order : strcmp(x->user, y->user);
}

static int goes(const void *arg, const struct stmts_entry *e)
{
    const struct stmts_gather *g = arg;
    struct stmts_key key = {.fingerprint = e->fingerprint};

    memcpy(key.database, e->who->db->name, sizeof(key.database));
    memcpy(key.user, e->who->user, sizeof(key.user));
    return bsearch(&key, g->keys, g->key_count, sizeof(key), stmts_key_order) != NULL;
}

/* HD_PENDING: there may be more. [worker] */
static int32_t forget_slice(const struct stmts_gather *g, struct stmts_worker *w)
{
    uint32_t gone = stmts_table_forget(&w->table, FORGET_SLICE, goes, g);

    if (!w->ended)
        g->self->metrics->add(g->self->host, g->self->templates, -(int64_t)gone);
    return gone == FORGET_SLICE ? HD_PENDING : HD_OK;
}

/* One worker's turn. A worker that runs no part of the plugin has nothing to give. [worker] */
static void visit(void *arg)
{
    struct stmts_part *p = arg;
    struct stmts *self = p->gather->self;
    struct stmts_worker *w = self->workers[p->worker];
    int32_t code = HD_OK;

    if (w && p->gather->reset) {
        if (!w->ended)
            self->metrics->add(self->host, self->templates, -(int64_t)w->table.count);
        stmts_table_reset(&w->table);
    } else if (w && p->gather->keys) {
        code = forget_slice(p->gather, w);
    } else if (w) {
        code = copy_slice(p, &w->table);
    }
    if (code == HD_PENDING) {
        code = self->loop->post(self->host, (int32_t)p->worker, visit, p);
        if (code == HD_OK)
            return;
    }
    part_done(p, code);
}

/* --- on the control thread again ---------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    const struct stmts_row *x = *(struct stmts_row *const *)a, *y = *(struct stmts_row *const *)b;

    if (x->fingerprint != y->fingerprint)
        return x->fingerprint < y->fingerprint ? -1 : 1;
    return strcmp(x->database, y->database);
}

static int by_key_and_user(const void *a, const void *b)
{
    int order = by_key(a, b);

    return order ? order
                 : strcmp((*(struct stmts_row *const *)a)->user, (*(struct stmts_row *const *)b)->user);
}

static void fold(struct stmts_row *to, const struct stmts_row *from)
{
    to->generation = to->generation > from->generation ? to->generation : from->generation;
    stmts_sums_add(&to->sums, &from->sums);
    stmts_sketch_merge(&to->sketch, &from->sketch);
    for (uint32_t i = 0; i < from->states.count; i++)
        stmts_states_add(&to->states, from->states.at[i].sqlstate, from->states.at[i].count);
}

struct stmts_row **stmts_gather_merge(struct stmts_gather *g, int users, size_t *count)
{
    int (*order)(const void *, const void *) = users ? by_key_and_user : by_key;
    size_t n = 0, kept = 0;
    struct stmts_row **rows;

    for (uint32_t i = 0; i < g->count; i++)
        n += g->parts[i].count;
    rows = malloc((n ? n : 1) * sizeof(struct stmts_row *));
    if (!rows)
        return NULL;
    n = 0;
    for (uint32_t i = 0; i < g->count; i++)
        for (uint32_t r = 0; r < g->parts[i].count; r++)
            rows[n++] = &g->parts[i].rows[r];
    qsort(rows, n, sizeof(struct stmts_row *), order);
    for (size_t i = 0; i < n; i++) {
        if (kept && order(&rows[kept - 1], &rows[i]) == 0)
            fold(rows[kept - 1], rows[i]);
        else
            rows[kept++] = rows[i];
    }
    *count = kept;
    return rows;
}

/* Every worker has answered. [control] */
static void finish(void *arg)
{
    struct stmts_gather *g = arg;
    int32_t code = HD_OK;

    for (uint32_t i = 0; i < g->count; i++)
        if (g->parts[i].code != HD_OK)
            code = g->parts[i].code;
    over(g, code);
}

struct stmts_gather *stmts_gather_new(struct stmts *self, void (*done)(struct stmts_gather *g, int32_t code),
                                      void *arg)
{
    uint32_t workers = hd_host_api(self->host)->workers;
    struct stmts_gather *g = calloc(1, sizeof(*g) + workers * sizeof(struct stmts_part));

    if (!g)
        return NULL;
    g->self = self;
    g->done = done;
    g->arg = arg;
    g->count = workers;
    atomic_init(&g->left, workers);
    for (uint32_t i = 0; i < workers; i++) {
        g->parts[i].gather = g;
        g->parts[i].worker = i;
    }
    return g;
}

void stmts_gather_send(struct stmts_gather *g)
{
    struct stmts *self = g->self;
    uint32_t count = g->count;

    stmts_errand_begin(self);
    for (uint32_t i = 0; i < count; i++) {
        struct stmts_part *p = &g->parts[i];
        int32_t code = self->loop->post(self->host, (int32_t)i, visit, p);

        /* The last part to end frees the gather, so this is the last look at it. */
        if (code != HD_OK)
            part_done(p, code);
    }
}
