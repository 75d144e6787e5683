/*
 * From a read to its answer; see read.h.
 */
#include "read.h"

#include <stdlib.h>

#include "answer.h"
#include "fetch.h"
#include "follow.h"
#include "key.h"
#include "park.h"
#include "refresh.h"
#include "strict.h"
#include "warm.h"
#include "words.h"

static void count(struct cache *self, int64_t metric)
{
    self->metrics->add(self->host, metric, 1);
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

/* The server is asked, and this is what its answer goes to. */
static void depart(struct cache_capture *c, const struct cache_plan *p, const struct hd_statement *st)
{
    struct cache_session *s = st->session_state;

    c->sent_ns = cache_now_ns();
    c->max_bytes = p->rules->max_value_bytes;
    s->captures++;
    *st->slot = c;
    cache_warm_note(p->cache, c->flight->hash, st);
}

/* Something is there, and is to be asked for anew. 0: somebody has already, or it cannot be kept now. */
static int refresh(struct cache_worker *w, const struct cache_plan *p, const struct cache_bound *b,
                   const struct cache_policy *policy, const struct hd_cache_key *key,
                   const struct hd_statement *st)
{
    struct cache *self = w->cache;
    struct cache_flight *flight;
    struct cache_capture *c;
    enum cache_bypass why;

    if (cache_flight_start(&self->flights, key, 0, &flight) != HD_OK)
        return 0;
    c = cache_capture_new(self, b, policy, st, &why);
    if (!c) {
        cache_flight_land(&self->flights, flight);
        cache_resume_all(self, flight, NULL);
        return 0;
    }
    c->flight = flight;
    depart(c, p, st);
    cache_count_refreshed(self, policy->stats);
    return 1;
}

/* Found in a store; does it still hold? */
static int look_in(struct cache_worker *w, const struct cache_plan *p, const struct cache_policy *policy,
                   const struct cache_tier *tier, const struct hd_cache_key *key, const struct cache_bound *b,
                   const struct hd_statement *st, struct hd_verdict *v)
{
    struct cache *self = w->cache;
    enum cache_age age;
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
    cache_warm_hit(w, key->hash);
    age = cache_age(w, policy, &h->value, (tier->store->traits & HD_STORE_SHARED) != 0);
    if (age != CACHE_FRESH && refresh(w, p, b, policy, key, st)) {
        release_hit(h);
        return 1;
    }
    if (age == CACHE_STALE)
        cache_count_stale(self, policy->stats);
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
    cache_count_hit(self, policy->stats, h->value.cost_ns);
    return 1;
}

static int look_up(struct cache_worker *w, const struct cache_plan *p, const struct cache_policy *policy,
                   const struct hd_cache_key *key, const struct cache_bound *b, const struct hd_statement *st,
                   struct hd_verdict *v)
{
    for (uint32_t i = 0; i < w->cache->tier_count; i++)
        if ((b->policy.tiers & (1u << i)) && &w->cache->tiers[i] != w->cache->shared.tier &&
            look_in(w, p, policy, &w->cache->tiers[i], key, b, st, v))
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
    *policy = b->policy;
    if (b->code != HD_OK)
        return NULL;
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
    struct cache_capture *c = cache_capture_new(self, b, policy, st, why);
    int32_t code;

    if (!c)
        return 0;
    code = cache_flight_start(&self->flights, key, may_wait ? st->handle : 0, &c->flight);
    if (code == HD_PENDING)
        cache_park(w, p->rules, st->handle, v);
    if (code != HD_OK) {
        cache_count_miss(self, policy->stats);
        cache_capture_free(c);
        return 1;
    }
    depart(c, p, st);
    if (!cache_fetch(w, p, b, c, st, v))
        cache_count_miss(self, policy->stats);
    return 1;
}

int32_t cache_read_statement(struct cache_worker *w, struct cache_plan *p, const struct hd_statement *st,
                             struct hd_verdict *v)
{
    struct cache_session *s = st->session_state;
    struct cache_policy policy = {0};
    const struct cache_bound *b = NULL;
    struct hd_cache_key key;
    enum cache_bypass why = CACHE_BYPASS_BOUND;

    if (s && !is_excluded(st, s, &why) && (b = find_bound(w, p, s, st, &policy, &why)) &&
        cache_key_make(w, s, st, &key) == HD_OK) {
        if (look_up(w, p, &policy, &key, b, st, v))
            return HD_OK;
        if (cache_has_time_words(st))
            why = CACHE_BYPASS_WORDS;
        else if (miss(w, p, b, &policy, &key, st, v, &why))
            return HD_OK;
    }
    cache_count_bypass(w->cache, policy.stats, why);
    return HD_OK;
}

void cache_read_data(const struct hd_statement *st, struct hd_str bytes)
{
    cache_capture_data(*st->slot, bytes);
}

/* With a head that other hosts can read. */
static int store_shared(const struct cache_tier *t, const struct cache_capture *c,
                        const struct hd_cache_key *key, struct hd_cache_value value)
{
    char head[CACHE_SHARED_HEAD_LEN];

    if (!cache_shared_is_proved(c))
        return 0;
    cache_shared_head_write(&c->shared, head);
    value.head = (struct hd_str){head, sizeof(head)};
    return t->store->put(t->self, key, &value) == HD_OK;
}

static int store(struct cache *self, const struct cache_capture *c, struct hd_cache_value *value)
{
    const struct hd_cache_key key = cache_flight_key(c->flight);
    int stored = 0;

    for (uint32_t i = 0; i < self->tier_count; i++) {
        const struct cache_tier *t = &self->tiers[i];

        if (!(c->policy.tiers & (1u << i)))
            continue;
        value->left_ms = cache_keep_ms(&c->policy, t == self->shared.tier);
        if (t == self->shared.tier)
            stored |= store_shared(t, c, &key, *value);
        else
            stored |= t->store->put(t->self, &key, value) == HD_OK;
    }
    return stored;
}

static void put_in_stores(struct cache *self, const struct cache_capture *c, int good,
                          struct hd_cache_value *value)
{
    int stored = good && store(self, c, value);

    count(self, stored ? self->stats.stored : self->stats.not_stored);
    if (stored)
        cache_warm_kept(self, c->flight->hash);
}

/* The answer is complete: it is kept first, then those who have waited for it get it. */
static void keep(struct cache *self, struct cache_capture *c, const struct hd_statement *st,
                 const struct hd_outcome *o)
{
    struct hd_cache_value value = {.size = sizeof(value)};
    /* Settings that have become others meanwhile are not those of the key. */
    int good = !o->failed && !o->answered_by && !c->dropped && !(st->flags & HD_STMT_SETTINGS_UNSURE) &&
               cache_capture_split(c, &value.describe, &value.bytes) && cache_capture_holds(c);

    if (good) {
        value.head = cache_capture_head(c);
        value.cost_ns = cache_now_ns() - c->sent_ns;
    }
    put_in_stores(self, c, good, &value);
    cache_flight_land(&self->flights, c->flight);
    if (good && c->policy.mode != CACHE_TTL)
        cache_strict_land(self, c->db, c->flight, c, &value, 0);
    else
        cache_resume_all(self, c->flight, good ? &value : NULL);
    cache_capture_free(c);
}

void cache_read_complete(struct cache *self, const struct hd_statement *st, const struct hd_outcome *o)
{
    struct cache_session *s = st->session_state;

    if (s)
        s->captures--;
    if (!cache_fetch_completed(*st->slot))
        keep(self, *st->slot, st, o);
}
