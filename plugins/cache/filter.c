/*
 * The filter: what happens to a statement on its way. A read is looked up, and answered, waits for an equal
 * one, or is sent and its answer kept; of a write its footprint is noted, and the epochs of its tables are
 * bumped when its transaction ends.
 */
#include "cache.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answer.h"
#include "follow.h"
#include "park.h"
#include "session.h"
#include "strict.h"
#include "words.h"

/* What an execution's slot points to: a read's capture, or a write on its way. The class of its plan tells
 * which. */

uint64_t cache_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void count(struct cache *self, int64_t metric)
{
    self->metrics->add(self->host, metric, 1);
}

/* --- keys ---------------------------------------------------------------------------------------------- */

static void put_params(struct cache_bytes *key, const struct hd_statement *st)
{
    cache_put_number(key, st->param_count);
    for (uint32_t i = 0; i < st->param_count; i++) {
        const struct hd_param *p = &st->params[i];

        cache_put_number(key, (uint64_t)p->type << 32 | (uint64_t)(p->data != NULL) << 16 | p->format);
        cache_put_str(key, (struct hd_str){(const char *)p->data, p->data ? p->len : 0});
    }
}

/* Into the worker's buffer; valid until the next statement. */
static int32_t make_key(struct cache_worker *w, const struct cache_session *s, const struct hd_statement *st,
                        struct hd_cache_key *key)
{
    struct cache_bytes *b = &w->key;

    b->len = 0;
    cache_put(b, s->context.digest, sizeof(s->context.digest));
    cache_put_number(b, st->flags & (HD_STMT_EXTENDED | HD_STMT_DESCRIBED));
    cache_put_number(b, st->result_format_count);
    cache_put(b, st->result_formats, st->result_format_count * sizeof(st->result_formats[0]));
    put_params(b, st);
    cache_put_str(b, st->sql);
    if (b->failed) {
        b->failed = 0;
        return HD_ENOMEM;
    }
    *key = (struct hd_cache_key){
        .size = sizeof(*key), .hash = XXH3_64bits(b->p, b->len), .bytes = {(const char *)b->p, b->len}};
    return HD_OK;
}

/* --- hits ---------------------------------------------------------------------------------------------- */

static struct cache_hit *take_hit(struct cache_worker *w)
{
    struct cache_hit *h = w->free_hits;

    if (h)
        w->free_hits = h->next;
    else if ((h = malloc(sizeof(*h))))
        h->worker = w;
    return h;
}

static void give_hit(struct cache_hit *h)
{
    h->next = h->worker->free_hits;
    h->worker->free_hits = h;
}

/* [worker] The answer has gone out. */
static void release_hit(void *arg)
{
    struct cache_hit *h = arg;

    h->tier->store->release(h->tier->self, &h->value);
    give_hit(h);
}

/* Found in a store; does it still hold? */
static int look_in(struct cache_worker *w, const struct cache_tier *tier, const struct hd_cache_key *key,
                   const struct cache_bound *b, const struct hd_statement *st, struct hd_verdict *v)
{
    struct cache *self = w->cache;
    struct cache_hit *h = take_hit(w);
    int32_t code;

    if (!h)
        return 0;
    h->tier = tier;
    h->value.size = sizeof(h->value);
    if (tier->store->get(tier->self, key, &h->value, NULL, NULL) != HD_OK) {
        give_hit(h);
        return 0;
    }
    code = cache_head_check(self, h->value.head, b->generation);
    if (code != HD_OK) {
        release_hit(h);
        if (code == HD_ENOENT) {
            tier->store->erase(tier->self, key);
            count(self, self->stats.outdated);
        }
        return 0;
    }
    if (b->policy.mode == CACHE_STRICT) {
        if (cache_strict_hold(w, b, tier, &h->value, st, v) == HD_OK)
            give_hit(h); /* the value is kept there */
        else
            release_hit(h);
        return v->kind == HD_VERDICT_PARK;
    }
    v->kind = HD_VERDICT_ANSWER;
    v->describe = h->value.describe;
    v->bytes = h->value.bytes;
    v->release = release_hit;
    v->release_arg = h;
    cache_stats_hit(&self->stats, self->host, self->metrics, h->value.cost_ns);
    return 1;
}

static int look_up(struct cache_worker *w, const struct hd_cache_key *key, const struct cache_bound *b,
                   const struct hd_statement *st, struct hd_verdict *v)
{
    for (uint32_t i = 0; i < w->cache->tier_count; i++)
        if ((b->policy.tiers & (1u << i)) && look_in(w, &w->cache->tiers[i], key, b, st, v))
            return 1;
    return 0;
}

/* --- may it be looked up? ------------------------------------------------------------------------------ */

/* What can be told before anything is looked at. */
static int is_excluded(const struct hd_statement *st, const struct cache_session *s, enum cache_bypass *why)
{
    uint32_t transaction = cache_writes_flags(&s->writes);

    if (st->flags & HD_STMT_SETTINGS_UNSURE || (transaction & CACHE_TXN_SETTINGS))
        *why = CACHE_BYPASS_SETTINGS;
    else if (st->flags & HD_STMT_TEMP)
        *why = CACHE_BYPASS_TEMPORARY;
    else if (st->flags & (HD_STMT_LIMITED | HD_STMT_NO_TEXT))
        *why = CACHE_BYPASS_LIMITED;
    else if (st->txn == HD_TX_FAILED || transaction)
        *why = CACHE_BYPASS_TRANSACTION;
    else
        return 0;
    return 1;
}

/* The schema may change at any time, or there was no memory for what must be known. */
static int is_unknown(const struct cache *self, const struct cache_database *db)
{
    return atomic_load_explicit(&db->defining, memory_order_acquire) ||
           atomic_load_explicit(&self->epochs.broken, memory_order_acquire);
}

/* The plan as it is bound now, if this read may be kept; *policy is what is to be done with it. */
static const struct cache_bound *find_bound(struct cache_worker *w, struct cache_plan *p,
                                            struct cache_session *s, const struct hd_statement *st,
                                            struct cache_policy *policy, enum cache_bypass *why)
{
    const struct cache_bound *b;

    *why = CACHE_BYPASS_BOUND;
    if (!s || cache_context_update(w, &s->context, st) || !(b = cache_plan_bind(p, s->context.scope)))
        return NULL;
    *why = b->why;
    if (b->code != HD_OK)
        return NULL;
    *policy = b->policy;
    cache_rules_hint(p->rules, st->sql, policy);
    *why = CACHE_BYPASS_OFF;
    if (!policy->on)
        return NULL;
    if (s->context.isolated)
        *why = CACHE_BYPASS_TRANSACTION;
    else if (is_unknown(w->cache, b->scope->db))
        *why = CACHE_BYPASS_UNSETTLED;
    else if (policy->mode != CACHE_TTL && (b->silent || !cache_follow_covers(w->cache, b)))
        *why = CACHE_BYPASS_UNCOVERED;
    else if (policy->mode == CACHE_BOUNDED &&
             !cache_follow_is_fresh(w->cache, b->scope->db, policy->bound_ms))
        *why = CACHE_BYPASS_BEHIND;
    else
        return b;
    return NULL;
}

/* --- reads --------------------------------------------------------------------------------------------- */

/* Nothing was found: ask the server, or wait for who has asked it already. 0: nothing of the kind, *why. */
static int miss(struct cache_worker *w, const struct cache_plan *p, const struct cache_bound *b,
                const struct cache_policy *policy, const struct hd_cache_key *key,
                const struct hd_statement *st, struct hd_verdict *v, enum cache_bypass *why)
{
    struct cache *self = w->cache;
    struct cache_session *s = st->session_state;
    /* In a block it has a server, which the one that it waits for may want. */
    int may_wait = !s->captures && st->txn == HD_TX_IDLE && cache_park_possible(w, p->rules);
    struct cache_capture *c = cache_capture_new(self, b, st, why);
    int32_t code;

    if (!c)
        return 0;
    count(self, self->stats.misses);
    code = cache_flight_start(&self->flights, key, may_wait ? st->handle : 0, &c->flight);
    if (code == HD_PENDING)
        cache_park(w, p->rules, st->handle, v);
    if (code != HD_OK) {
        cache_capture_free(c);
        return 1;
    }
    c->policy = *policy;
    c->sent_ns = cache_now_ns();
    c->max_bytes = p->rules->max_value_bytes;
    s->captures++;
    *st->slot = c;
    return 1;
}

static int32_t read_statement(struct cache_worker *w, struct cache_plan *p, const struct hd_statement *st,
                              struct hd_verdict *v)
{
    struct cache_session *s = st->session_state;
    struct cache_policy policy;
    const struct cache_bound *b = NULL;
    struct hd_cache_key key;
    enum cache_bypass why = CACHE_BYPASS_BOUND;

    if (s && !is_excluded(st, s, &why) && (b = find_bound(w, p, s, st, &policy, &why)) &&
        make_key(w, s, st, &key) == HD_OK) {
        if (look_up(w, &key, b, st, v))
            return HD_OK;
        if (cache_has_time_words(st))
            why = CACHE_BYPASS_WORDS;
        else if (miss(w, p, b, &policy, &key, st, v, &why))
            return HD_OK;
    }
    count(w->cache, w->cache->stats.bypass[why]);
    return HD_OK;
}

static void on_data(void *self, void *ws, void *plan, const struct hd_statement *st, struct hd_str bytes)
{
    struct cache_capture *c = *st->slot;

    (void)self;
    (void)ws;
    (void)plan;
    if (c)
        cache_capture_data(c, bytes);
}

static int store(struct cache *self, const struct cache_capture *c, const struct hd_cache_value *value)
{
    const struct hd_cache_key key = {.size = sizeof(key),
                                     .hash = c->flight->hash,
                                     .bytes = {(const char *)c->flight->key, c->flight->key_len}};
    int stored = 0;

    for (uint32_t i = 0; i < self->tier_count; i++)
        if (c->policy.tiers & (1u << i))
            stored |= self->tiers[i].store->put(self->tiers[i].self, &key, value) == HD_OK;
    return stored;
}

/* The answer is complete: it is kept first, then those who have waited for it get it. */
static void read_complete(struct cache *self, struct cache_capture *c, const struct hd_outcome *o)
{
    struct hd_cache_value value = {.size = sizeof(value)};
    int good = !o->failed && !o->answered_by && !c->dropped &&
               cache_capture_split(c, &value.describe, &value.bytes) && cache_capture_holds(c);

    if (good) {
        value.head = (struct hd_str){(const char *)&c->head,
                                     sizeof(c->head) + c->head.count * sizeof(c->head.conditions[0])};
        value.left_ms = c->policy.ttl_ms;
        value.cost_ns = cache_now_ns() - c->sent_ns;
    }
    count(self, good && store(self, c, &value) ? self->stats.stored : self->stats.not_stored);
    cache_flight_land(&self->flights, c->flight);
    if (good && c->policy.mode != CACHE_TTL)
        cache_strict_land(self, c->db, c->flight, c, &value);
    else
        cache_resume_all(self, c->flight, good ? &value : NULL);
    cache_capture_free(c);
}

/* --- writes -------------------------------------------------------------------------------------------- */

/* Tables that it may write, as far as that is proved: else anything. */
static struct cache_footprint footprint_of(struct cache_worker *w, struct cache_plan *p,
                                           struct cache_session *s, const struct hd_statement *st)
{
    const struct cache_footprint anything = {.flags = CACHE_TXN_WRITES | CACHE_TXN_ANYTHING};
    struct cache_footprint what = {.flags = CACHE_TXN_WRITES};
    struct cache_mark marks[CACHE_WRITES_MAX];
    struct cache *self = w->cache;
    const struct cache_bound *b;
    uint32_t n;

    if (p && p->class == CACHE_MARK)
        return (struct cache_footprint){0};
    if (cache_context_update(w, &s->context, st) || !p ||
        (st->flags & (HD_STMT_SETTINGS_UNSURE | HD_STMT_TEMP)) ||
        !(b = cache_plan_bind(p, s->context.scope)) || b->anything ||
        atomic_load_explicit(&s->context.scope->db->defining, memory_order_acquire))
        return anything;
    n = cache_rows_marks(b->rows_of, self->host, self->statement, st, marks, CACHE_WRITES_MAX);
    if (n > CACHE_WRITES_MAX)
        n = cache_rows_tables(b->rows_of, marks, CACHE_WRITES_MAX);
    if (n > CACHE_WRITES_MAX)
        return anything;
    cache_footprint_marks(&what, s->context.scope->db, self->epochs.max_tables, marks, n);
    return what;
}

static void write_statement(struct cache_worker *w, struct cache_plan *p, const struct hd_statement *st)
{
    struct cache_session *s = st->session_state;
    struct cache_database *db;
    struct cache_footprint what;

    if (!s)
        return; /* transaction() knows no footprint then */
    what = footprint_of(w, p, s, st);
    if (p)
        what.flags |= p->marks;
    db = s->context.scope ? s->context.scope->db
                          : cache_epochs_database(&w->cache->epochs, st->node, st->dbname);
    if ((what.flags & CACHE_TXN_DEFINES) && db)
        cache_writes_define(&s->writes, db);
    *st->slot = cache_writes_begin(&s->writes, st->handle, db, &what);
}

/* --- the filter ---------------------------------------------------------------------------------------- */

static int32_t on_statement(void *self, void *ws, void *plan, const struct hd_statement *st,
                            struct hd_verdict *v)
{
    struct cache_plan *p = plan;

    (void)self;
    *st->slot = NULL;
    if (p && p->class == CACHE_READ)
        return read_statement(ws, p, st, v);
    write_statement(ws, p, st);
    return HD_OK;
}

static void on_complete(void *self, void *ws, void *plan, const struct hd_statement *st,
                        const struct hd_outcome *o)
{
    const struct cache_plan *p = plan;
    struct cache_session *s = st->session_state;

    (void)ws;
    if (!*st->slot)
        return;
    if (p && p->class == CACHE_READ) {
        if (s)
            s->captures--;
        read_complete(self, *st->slot, o);
    } else if (s)
        cache_writes_complete(&s->writes, *st->slot);
}

static int32_t on_transaction(void *self, void *ws, const struct hd_transaction *t)
{
    struct cache_session *s = t->session_state;

    (void)ws;
    cache_writes_end(self, s ? &s->writes : NULL, t);
    return HD_OK;
}

static void *session_open(void *self, void *ws, uint64_t id, struct hd_str database, struct hd_str user)
{
    (void)self;
    (void)ws;
    (void)id;
    (void)database;
    (void)user;
    return calloc(1, sizeof(struct cache_session));
}

static void session_close(void *self, void *ws, void *state)
{
    struct cache_session *s = state;

    (void)self;
    (void)ws;
    if (!s)
        return;
    cache_writes_free(&s->writes);
    free(s);
}

static void *worker_start(void *self, uint32_t worker)
{
    struct cache_worker *w = calloc(1, sizeof(*w));

    (void)worker;
    if (w)
        w->cache = self;
    return w;
}

static void worker_stop(void *self, void *ws)
{
    struct cache_worker *w = ws;

    (void)self;
    if (!w)
        return;
    cache_park_stop(w);
    cache_scopes_free(w);
    free(w->key.p);
    while (w->free_hits) {
        struct cache_hit *h = w->free_hits;

        w->free_hits = h->next;
        free(h);
    }
    free(w);
}

const struct hd_filter_v1 cache_filter = {
    .size = sizeof(struct hd_filter_v1),
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .session_open = session_open,
    .session_close = session_close,
    .plan = cache_plan,
    .statement = on_statement,
    .data = on_data,
    .complete = on_complete,
    .transaction = on_transaction,
};
