/*
 * Templates: which texts share one, what the table and the workers' caches keep and let go, and that nothing
 * of a text's literals is left in them.
 */
#include "unit.h"
#include "base/alloc.h"
#include "base/strbuf.h"
#include "sql/template.h"

#include <howdah/error.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int dropped, dropped_plans;

static void drop(void *plan)
{
    dropped++;
    dropped_plans += plan != NULL;
}

struct world {
    struct hd_templates *ts;
    struct hd_template_cache *c;
};

static struct world world(size_t table, size_t cache)
{
    struct world w;

    w.ts = hd_templates_new(table);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w.ts);
    w.c = hd_template_cache_new(w.ts, cache, drop);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w.c);
    dropped = dropped_plans = 0;
    return w;
}

static void end(struct world *w)
{
    hd_template_cache_free(w->c);
    hd_templates_free(w->ts);
}

static struct hd_template_entry *query(struct world *w, const char *sql)
{
    struct hd_template_entry *e = hd_template_cache_query(w->c, sql, strlen(sql), 0);

    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    return e;
}

static struct hd_template_entry *exact(struct world *w, const char *sql)
{
    struct hd_template_entry *e = hd_template_cache_exact(w->c, sql, strlen(sql), 0);

    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    return e;
}

static void sharing(void)
{
    struct world w = world(100, 100);
    struct hd_template_entry *e = query(&w, "SELECT a FROM t WHERE b = 5");
    struct hd_template *t = e->tmpl;

    CU_ASSERT_STRING_EQUAL(t->text, "select a from t where b = $1");
    CU_ASSERT_EQUAL(t->len, strlen(t->text));
    CU_ASSERT_EQUAL(t->fingerprint, hd_fingerprint64(t->text, t->len));
    CU_ASSERT_EQUAL(t->n_literals, 1);
    CU_ASSERT_EQUAL(t->facts->n_statements, 1);
    CU_ASSERT_EQUAL(t->facts->comparisons[0].conjunctive, 1);
    CU_ASSERT_PTR_NULL(e->plan);
    CU_ASSERT_EQUAL(e->plan_generation, 0);
    e->plan = &w;
    e->plan_generation = 7;
    CU_ASSERT_PTR_EQUAL(query(&w, "select a from t where b = 6"), e);
    CU_ASSERT_PTR_EQUAL(exact(&w, "select a from t where b = 7"), e);
    CU_ASSERT_PTR_EQUAL(exact(&w, "select a from t where b = 7"), e);
    CU_ASSERT_PTR_EQUAL(exact(&w, "select a from t  where b = 7"), e);
    CU_ASSERT_PTR_EQUAL(e->tmpl, t);
    CU_ASSERT_EQUAL(e->plan_generation, 7);
    CU_ASSERT_PTR_NOT_EQUAL(query(&w, "select a from t where b = '6'"), e);
    CU_ASSERT_PTR_NOT_EQUAL(exact(&w, "select a from t where b = $1"), e);
    CU_ASSERT_PTR_EQUAL(hd_template_cache_entry(w.c, t), e);
    end(&w);
    CU_ASSERT_EQUAL(dropped, 3);
    CU_ASSERT_EQUAL(dropped_plans, 1);
}

static void scan_of_last(void)
{
    struct world w = world(10, 10);
    const struct hd_scan *scan = hd_template_cache_scan(w.c);

    query(&w, "select 1, 'x'");
    CU_ASSERT_EQUAL(scan->n_literals, 2);
    CU_ASSERT_EQUAL(scan->literals[1].offset, 10);
    query(&w, "select 1, 'xy', 3");
    CU_ASSERT_EQUAL(scan->n_literals, 3);
    exact(&w, "select 1, 'xy', 4");
    exact(&w, "select 1, 'xy', 4");
    CU_ASSERT_EQUAL(scan->n_literals, 0);
    query(&w, "select 1, 2, 'xy");
    CU_ASSERT_EQUAL(scan->n_literals, 0);
    end(&w);
}

static void unsure(void)
{
    static const char secret[] = "select 'it''s secret', \"secret";
    struct world w = world(10, 10);
    struct hd_template_entry *e = query(&w, secret);

    CU_ASSERT_EQUAL(e->tmpl->facts->flags, HD_FACT_UNSURE);
    CU_ASSERT_PTR_NULL(strstr(e->tmpl->text, "secret"));
    CU_ASSERT_EQUAL(strncmp(e->tmpl->text, "<unsure>", 8), 0);
    CU_ASSERT_PTR_EQUAL(query(&w, secret), e);
    CU_ASSERT_PTR_NOT_EQUAL(query(&w, "select 'it''s secret', \"secre"), e);
    e = query(&w, "select 'a' 'b'");
    CU_ASSERT_EQUAL(e->tmpl->facts->flags, HD_FACT_UNSURE | HD_FACT_SYNTAX_ERROR);
    CU_ASSERT_STRING_EQUAL(e->tmpl->text, "select $1 $2");
    end(&w);
}

/* Backslashes in strings, or bytes like them inside characters: nothing may be concluded, nothing may be
 * shown. */
static void nonstandard(void)
{
    static const char sql[] = "select 'a\\' or secret = ''";
    struct world w = world(10, 10);
    struct hd_template_entry *e = query(&w, "select 1"), *n;

    n = hd_template_cache_query(w.c, "select 1", 8, HD_TEMPLATE_NONSTANDARD);
    CU_ASSERT_PTR_NOT_EQUAL(n, e);
    CU_ASSERT_EQUAL(n->tmpl->facts->flags, HD_FACT_UNSURE);
    CU_ASSERT_EQUAL(n->tmpl->flags, HD_TEMPLATE_NONSTANDARD);
    CU_ASSERT_PTR_EQUAL(hd_template_cache_exact(w.c, "select 1", 8, HD_TEMPLATE_NONSTANDARD), n);
    CU_ASSERT_PTR_EQUAL(hd_template_cache_exact(w.c, "select 1", 8, HD_TEMPLATE_NONSTANDARD), n);
    CU_ASSERT_PTR_EQUAL(hd_template_cache_exact(w.c, "select 1", 8, 0), e);
    n = hd_template_cache_query(w.c, sql, sizeof(sql) - 1, HD_TEMPLATE_NONSTANDARD);
    CU_ASSERT_PTR_NULL(strstr(n->tmpl->text, "secret"));
    CU_ASSERT_EQUAL(hd_template_cache_scan(w.c)->n_literals, 0);
    end(&w);
}

static void too_long(void)
{
    struct world w = world(10, 10);
    struct hd_template_entry *e = query(&w, "select 123456");

    hd_templates_set_text_limit(w.ts, 10);
    CU_ASSERT_PTR_NOT_EQUAL(query(&w, "select 123456"), e);
    e = query(&w, "select 123456");
    CU_ASSERT_STRING_EQUAL(e->tmpl->text, "<unsure> too long");
    CU_ASSERT_EQUAL(e->tmpl->facts->flags, HD_FACT_UNSURE);
    CU_ASSERT_PTR_EQUAL(query(&w, "select 1234567"), e);
    CU_ASSERT_PTR_EQUAL(exact(&w, "select 12345678"), e);
    CU_ASSERT_PTR_EQUAL(hd_template_cache_query(w.c, NULL, 1 << 20, 0), e);
    CU_ASSERT_PTR_EQUAL(hd_template_cache_exact(w.c, NULL, 1 << 20, HD_TEMPLATE_NONSTANDARD), e);
    CU_ASSERT_STRING_EQUAL(query(&w, "select 1")->tmpl->text, "select $1");
    end(&w);
}

static const char *numbered(char *out, size_t n, const char *head, int i)
{
    snprintf(out, n, "%s%d", head, i);
    return out;
}

static void bounds(void)
{
    struct world w = world(50, 20);
    struct hd_templates_stats ts;
    struct hd_template_cache_stats cs;
    struct hd_template *held = hd_template_hold(query(&w, "select held")->tmpl);
    char sql[64];

    for (int i = 0; i < 1000; i++) {
        query(&w, numbered(sql, sizeof(sql), "select c", i))->plan = &w;
        exact(&w, numbered(sql, sizeof(sql), "select d", i));
    }
    hd_templates_stats(w.ts, &ts);
    hd_template_cache_stats(w.c, &cs);
    CU_ASSERT_EQUAL(ts.entries, 50);
    CU_ASSERT_EQUAL(ts.max, 50);
    CU_ASSERT_EQUAL(ts.misses, 2001);
    CU_ASSERT_EQUAL(ts.evictions, 1951);
    CU_ASSERT(ts.bytes > 50 * sizeof(struct hd_template) && ts.bytes < 50 * 10000);
    CU_ASSERT_EQUAL(cs.entries, 20);
    CU_ASSERT_EQUAL(cs.evictions, 1981);
    CU_ASSERT_EQUAL(dropped, 1981);
    CU_ASSERT_STRING_EQUAL(held->text, "select held");
    end(&w);
    CU_ASSERT_EQUAL(dropped, 2001);
    CU_ASSERT_EQUAL(dropped_plans, 1000);
    CU_ASSERT_STRING_EQUAL(held->text, "select held");
    hd_template_release(held);
    hd_template_release(NULL);
}

/* What is used again and again outlives a flood of what never comes again. */
static void flood(void)
{
    struct world w = world(64, 16);
    struct hd_templates_stats before, after;
    struct hd_template_cache_stats cs;
    char sql[64];

    query(&w, "select hot");
    for (int i = 0; i < 2000; i++) {
        query(&w, "select hot")->plan = &w;
        query(&w, numbered(sql, sizeof(sql), "select cold", i));
    }
    CU_ASSERT_PTR_EQUAL(query(&w, "select hot")->plan, &w);
    hd_template_cache_stats(w.c, &cs);
    CU_ASSERT_EQUAL(cs.hits, 2001);
    hd_templates_stats(w.ts, &before);
    hd_template_release(hd_template_get(w.ts, "select cold1999", 15, hd_template_cache_scan(w.c), 0));
    hd_templates_stats(w.ts, &after);
    CU_ASSERT_EQUAL(after.hits + after.misses, before.hits + before.misses + 1);
    end(&w);
}

/* A small cache against a plain model of what it was asked. */
static void random_look_ups(void)
{
    struct world w = world(9, 5);
    char sql[64], want[64];
    unsigned seed = 4711;

    for (int i = 0; i < 20000; i++) {
        int n = (int)(rand_r(&seed) % 23), how = (int)(rand_r(&seed) % 3);
        struct hd_template_entry *e;

        snprintf(sql, sizeof(sql), "select c%d  , %d", n, i % 7);
        snprintf(want, sizeof(want), "select c%d , $1", n);
        e = how ? query(&w, sql) : exact(&w, sql);
        CU_ASSERT_STRING_EQUAL(e->tmpl->text, want);
        CU_ASSERT(!e->plan || e->plan == (void *)e->tmpl);
        e->plan = e->tmpl;
    }
    end(&w);
}

static void entry_of_evicted(void)
{
    struct world w = world(4, 4);
    struct hd_template *t = hd_template_hold(query(&w, "select first")->tmpl);
    struct hd_template_entry *e;
    char sql[64];

    for (int i = 0; i < 20; i++)
        query(&w, numbered(sql, sizeof(sql), "select c", i));
    e = hd_template_cache_entry(w.c, t);
    CU_ASSERT_PTR_EQUAL(e->tmpl, t);
    CU_ASSERT_PTR_NULL(e->plan);
    CU_ASSERT_PTR_EQUAL(query(&w, "select first"), e);
    hd_template_release(t);
    end(&w);
}

static void once(void *arg)
{
    struct hd_templates *ts = hd_templates_new(10);
    struct hd_template_cache *c = ts ? hd_template_cache_new(ts, 10, NULL) : NULL;

    (void)arg;
    if (c) {
        (void)!hd_template_cache_query(c, "select a from t where b = 1", 27, 0);
        (void)!hd_template_cache_exact(c, "select a from t where c = $1", 28, 0);
        (void)!hd_template_cache_query(c, "select 'x", 9, 0);
        (void)!hd_template_cache_query(c, NULL, 0, 0);
    }
    hd_template_cache_free(c);
    hd_templates_free(ts);
}

static void no_memory(void)
{
    int failures = unit_each_alloc_failure(once, NULL);

    CU_ASSERT(!unit_can_fail_alloc() || failures > 15);
}

/* The hit path allocates nothing: with every allocation failing it still answers. */
static void hits_do_not_allocate(void)
{
    struct world w = world(10, 10);

    query(&w, "select a from t where b = 1 and c = 'x'");
    exact(&w, "select a from t where b = $1");
    hd_alloc_fail_at(1);
    query(&w, "select a from t where b = 2 and c = 'y'");
    exact(&w, "select a from t where b = $1");
    CU_ASSERT_EQUAL(hd_alloc_failed(), 0);
    hd_alloc_fail_at(0);
    end(&w);
}

struct racer {
    pthread_t thread;
    struct hd_templates *ts;
    unsigned seed;
    int failed;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    struct hd_template_cache *c = hd_template_cache_new(r->ts, 8, NULL);
    char sql[64];

    if (!c)
        r->failed = 1;
    for (int i = 0; c && i < 3000; i++) {
        int n = (int)(rand_r(&r->seed) % 30);
        struct hd_template_entry *e;

        snprintf(sql, sizeof(sql), "select c%d from t%d where a = %d", n, n, i);
        e = hd_template_cache_query(c, sql, strlen(sql), 0);
        if (!e || atoi(e->tmpl->text + 8) != n || atoi(e->tmpl->facts->tables[0].name + 1) != n)
            r->failed = 1;
    }
    hd_template_cache_free(c);
    return NULL;
}

static void threads(void)
{
    struct hd_templates *ts = hd_templates_new(16);
    struct racer r[4];

    CU_ASSERT_PTR_NOT_NULL_FATAL(ts);
    for (unsigned i = 0; i < 4; i++) {
        r[i] = (struct racer){.ts = ts, .seed = i + 1};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&r[i].thread, NULL, race, &r[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(r[i].thread, NULL);
        CU_ASSERT_EQUAL(r[i].failed, 0);
    }
    hd_templates_free(ts);
}

UNIT_MAIN("sql template", {"texts share templates", sharing}, {"the last text's literals", scan_of_last},
          {"texts that are not sure", unsure}, {"other quoting, other encodings", nonstandard},
          {"texts that are too long", too_long}, {"table and cache are bounded", bounds},
          {"a flood leaves what is used", flood}, {"random look-ups", random_look_ups},
          {"an entry comes back", entry_of_evicted}, {"no memory", no_memory},
          {"hits do not allocate", hits_do_not_allocate}, {"four threads", threads})
