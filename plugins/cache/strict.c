/*
 * Reads that wait for a check; see strict.h. What comes after the check runs on the stream's thread.
 */
#include "strict.h"

#include <stdlib.h>
#include <string.h>

#include "follow.h"
#include "park.h"

/* One or more reads that wait for the same answer. */
struct waiting {
    struct cache *cache;
    struct cache_database *db;
    struct cache_flight *flight;   /* whose waiters it is for; NULL: for none */
    const struct cache_tier *tier; /* that has lent the value; NULL: it is a copy, behind this struct */
    uint64_t handle;               /* of the statement that it is for; 0: for none */
    uint64_t generation;           /* of the catalog, that the read was bound by */
    const struct cache_rule_stats *rule;
    struct hd_cache_value value;
};

/* What has been found holds, and nothing of it is unsettled. */
static int still_holds(const struct waiting *w)
{
    return !atomic_load_explicit(&w->db->defining, memory_order_acquire) &&
           cache_head_check(w->cache, w->value.head, w->generation) == HD_OK;
}

static void free_waiting(struct waiting *w)
{
    if (w->tier)
        w->tier->store->release(w->tier->self, &w->value);
    free(w);
}

static void answer_one(struct waiting *w, int good)
{
    struct cache *self = w->cache;
    const struct hd_verdict v = {.size = sizeof(v),
                                 .kind = good ? HD_VERDICT_ANSWER : HD_VERDICT_CONTINUE,
                                 .describe = w->value.describe,
                                 .bytes = w->value.bytes};

    if (self->statement->resume(self->host, w->handle, &v) == HD_OK && good)
        cache_count_hit(self, w->rule, w->value.cost_ns);
}

/* The check is over. */
static void on_checked(void *arg, int32_t code, uint64_t lsn)
{
    struct waiting *w = arg;
    int good = code == HD_OK && still_holds(w);

    (void)lsn;
    if (!good)
        w->cache->metrics->add(w->cache->host, w->cache->stats.unchecked, 1);
    if (w->handle)
        answer_one(w, good);
    if (w->flight)
        cache_resume_all(w->cache, w->flight, good ? &w->value : NULL);
    free_waiting(w);
}

int32_t cache_strict_hold(struct cache_worker *w, const struct cache_bound *b, const struct cache_tier *tier,
                          const struct hd_cache_value *value, const struct hd_statement *st,
                          struct hd_verdict *v)
{
    struct cache *self = w->cache;
    struct waiting *one = malloc(sizeof(*one));
    int32_t code;

    if (!one)
        return HD_ENOMEM;
    *one = (struct waiting){.cache = self,
                            .db = b->scope->db,
                            .tier = tier,
                            .handle = st->handle,
                            .generation = b->generation,
                            .rule = b->policy.stats,
                            .value = *value};
    code = cache_follow_check(self, b->scope->db, b->policy.strict_wait_ms, on_checked, one);
    if (code != HD_PENDING) {
        free(one);
        return code == HD_OK ? HD_EFAIL : code;
    }
    v->kind = HD_VERDICT_PARK;
    return HD_OK;
}

/* --- flights ------------------------------------------------------------------------------------------- */

static struct hd_str copy(char **at, struct hd_str s)
{
    char *p = *at;

    if (s.len)
        memcpy(p, s.ptr, s.len);
    *at += s.len;
    return (struct hd_str){p, s.len};
}

/* They go to the server. */
static void let_go(struct cache *self, struct cache_flight *flight, uint64_t own)
{
    const struct hd_verdict v = {.size = sizeof(v), .kind = HD_VERDICT_CONTINUE};

    if (own)
        (void)self->statement->resume(self->host, own, &v);
    cache_resume_all(self, flight, NULL);
}

void cache_strict_land(struct cache *self, struct cache_database *db, struct cache_flight *flight,
                       const struct cache_capture *c, const struct hd_cache_value *value, uint64_t own)
{
    struct waiting *w;
    char *at;

    if (!flight->count && !own) {
        cache_resume_all(self, flight, NULL);
        return;
    }
    w = malloc(sizeof(*w) + value->head.len + value->describe.len + value->bytes.len);
    if (!w) {
        let_go(self, flight, own);
        return;
    }
    *w = (struct waiting){.cache = self,
                          .db = db,
                          .flight = flight,
                          .handle = own,
                          .generation = c->head.generation,
                          .rule = c->policy.stats,
                          .value = *value};
    at = (char *)(w + 1);
    w->value.head = copy(&at, value->head);
    w->value.describe = copy(&at, value->describe);
    w->value.bytes = copy(&at, value->bytes);
    if (cache_follow_check(self, db, c->policy.strict_wait_ms, on_checked, w) == HD_PENDING)
        return;
    let_go(self, flight, own);
    free(w);
}
