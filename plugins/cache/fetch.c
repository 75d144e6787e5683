/*
 * Asking the shared store; see fetch.h. Everything happens on the statement's worker: its statement(), the
 * store's answer, and its complete(), which comes last but where the client has gone meanwhile.
 */
#include "fetch.h"

#include "follow.h"
#include "park.h"
#include "refresh.h"
#include "strict.h"

static void count(struct cache *self, int64_t metric)
{
    self->metrics->add(self->host, metric, 1);
}

/* --- what came ----------------------------------------------------------------------------------------- */

/* With this process' own head, in its own stores. */
static void keep_near(struct cache *self, const struct cache_capture *c, const struct hd_cache_value *value)
{
    const struct hd_cache_key key = cache_flight_key(c->flight);

    for (uint32_t i = 0; i < self->tier_count; i++)
        if ((c->policy.tiers & (1u << i)) && &self->tiers[i] != self->shared.tier)
            self->tiers[i].store->put(self->tiers[i].self, &key, value);
}

static void resume_own(struct cache *self, const struct cache_capture *c, const struct hd_cache_value *value)
{
    const struct hd_verdict v = {
        .size = sizeof(v), .kind = HD_VERDICT_ANSWER, .describe = value->describe, .bytes = value->bytes};

    if (self->statement->resume(self->host, c->handle, &v) == HD_OK)
        cache_count_hit(self, c->policy.stats, value->cost_ns);
}

static void take(struct cache *self, struct cache_capture *c, const struct hd_cache_value *found)
{
    struct cache_flight *flight = c->flight;
    struct hd_cache_value value = *found;

    if (value.bytes.len && *value.bytes.ptr == 'D')
        c->head.count -= c->absences; /* what was looked for is there */
    value.head = cache_capture_head(c);
    if (c->policy.ttl_ms < value.left_ms)
        value.left_ms = c->policy.ttl_ms;
    value.left_ms += cache_keep_ms(&c->policy, 0) - cache_keep_ms(&c->policy, 1);
    count(self, self->stats.shared_hits);
    keep_near(self, c, &value);
    cache_flight_land(&self->flights, flight);
    c->flight = NULL;
    c->dropped = 1; /* should it go to the server after all */
    if (c->policy.mode == CACHE_STRICT) {
        cache_strict_land(self, c->db, flight, c, &value, c->handle);
        return;
    }
    resume_own(self, c, &value);
    cache_resume_all(self, flight, &value);
}

static void go_on(struct cache *self, struct cache_capture *c)
{
    const struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_CONTINUE};

    cache_count_miss(self, c->policy.stats);
    c->sent_ns = cache_now_ns();
    cache_shared_note_again(self, c);
    (void)self->statement->resume(self->host, c->handle, &v);
}

static void give_up(struct cache *self, struct cache_capture *c)
{
    cache_flight_land(&self->flights, c->flight);
    cache_resume_all(self, c->flight, NULL);
    cache_capture_free(c);
}

/* [worker] */
static void on_value(void *arg, int32_t code, const struct hd_cache_value *value)
{
    struct cache_capture *c = arg;
    struct cache_worker *w = c->worker;
    struct cache *self = w->cache;
    int good = code == HD_OK && !c->over && cache_shared_accepts(self, c, value);

    c->fetching = 0;
    if (code == HD_OK && !good)
        count(self, self->stats.shared_refused);
    if (c->over)
        give_up(self, c);
    else if (good)
        take(self, c, value);
    else
        go_on(self, c);
    cache_shared_called(w);
}

/* --- asking -------------------------------------------------------------------------------------------- */

/* Changes of the schema that the catalog knows of end what others have stored. */
static int is_new_schema(struct cache *self, const struct cache_bound *b)
{
    struct cache_database *db = b->scope->db;
    uint64_t was = atomic_load_explicit(&db->generation, memory_order_acquire);
    struct cache_cell *written = &db->written;

    if (was >= b->generation)
        return 0;
    cache_shared_raise(self, &written, 1);
    while (was < b->generation &&
           !atomic_compare_exchange_weak_explicit(&db->generation, &was, b->generation, memory_order_acq_rel,
                                                  memory_order_acquire))
        ;
    return 1;
}

static int may_ask(struct cache_worker *w, const struct cache_plan *p, const struct cache_bound *b,
                   const struct cache_capture *c)
{
    const struct cache_tier *tier = w->cache->shared.tier;

    return tier && (c->policy.tiers & (1u << (tier - w->cache->tiers))) && !is_new_schema(w->cache, b) &&
           cache_shared_is_proved(c) && cache_park_possible(w, p->rules);
}

int cache_fetch(struct cache_worker *w, const struct cache_plan *p, const struct cache_bound *b,
                struct cache_capture *c, const struct hd_statement *st, struct hd_verdict *v)
{
    const struct cache_tier *tier = w->cache->shared.tier;
    const struct hd_cache_key key = cache_flight_key(c->flight);
    struct hd_cache_value value = {.size = sizeof(value)};

    if (!may_ask(w, p, b, c))
        return 0;
    cache_park(w, p->rules, st->handle, v);
    if (v->kind != HD_VERDICT_PARK)
        return 0;
    c->worker = w;
    c->handle = st->handle;
    c->fetching = 1;
    cache_shared_call(w);
    if (tier->store->get(tier->self, &key, &value, on_value, c) == HD_PENDING)
        return 1;
    cache_shared_called(w);
    c->fetching = 0;
    v->kind = HD_VERDICT_CONTINUE;
    return 0;
}

int cache_fetch_completed(struct cache_capture *c)
{
    if (c->fetching) {
        c->over = 1;
        return 1;
    }
    if (c->flight)
        return 0;
    cache_capture_free(c); /* answered */
    return 1;
}
