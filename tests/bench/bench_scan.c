/*
 * What a statement's look-up costs: scanning, a hit in the worker's cache, and a miss that parses.
 * Nanoseconds per statement, the best of several rounds; for comparing one change with another on one
 * machine.
 */
#include "base/units.h"
#include "sql/template.h"

#include <howdah/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 5

static const char *const texts[] = {
    "BEGIN",
    "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
    "SELECT abalance FROM pgbench_accounts WHERE aid = 4711337;",
    "UPDATE pgbench_accounts SET abalance = abalance + -1234 WHERE aid = 4711337;",
    "select d.id, u.name from documents d join users u on u.id = d.owner where d.status in ('open', 'held') "
    "and "
    "d.created > '2024-01-01' order by d.created desc limit 20",
};

struct bench {
    struct hd_scan scan;
    struct hd_templates *templates;
    struct hd_template_cache *cache;
};

static void scan_text(struct bench *b, const char *sql, size_t len)
{
    if (hd_scan_normalize(sql, len, &b->scan) != HD_OK)
        exit(1);
}

static void look_up_query(struct bench *b, const char *sql, size_t len)
{
    if (!hd_template_cache_query(b->cache, sql, len, 0))
        exit(1);
}

static void look_up_exact(struct bench *b, const char *sql, size_t len)
{
    if (!hd_template_cache_exact(b->cache, sql, len, 0))
        exit(1);
}

static void parse(struct bench *b, const char *sql, size_t len)
{
    struct hd_facts *f;

    scan_text(b, sql, len);
    if (hd_facts_parse(sql, len, &b->scan, &f) != HD_OK)
        exit(1);
    hd_facts_free(f);
}

static double best(struct bench *b, void (*what)(struct bench *, const char *, size_t), const char *sql,
                   int times)
{
    size_t len = strlen(sql);
    double least = 1e18;

    what(b, sql, len);
    for (int r = 0; r < ROUNDS; r++) {
        uint64_t start = hd_now_ns();
        double ns;

        for (int i = 0; i < times; i++)
            what(b, sql, len);
        ns = (double)(hd_now_ns() - start) / times;
        least = ns < least ? ns : least;
    }
    return least;
}

int main(void)
{
    struct bench b = {.scan = HD_SCAN_INIT};

    b.templates = hd_templates_new(1000);
    b.cache = b.templates ? hd_template_cache_new(b.templates, 1000, NULL) : NULL;
    if (!b.cache)
        return 1;
    printf("%8s %8s %8s %8s %8s\n", "bytes", "scan", "query", "exact", "parse");
    for (size_t i = 0; i < HD_ARRAY_LEN(texts); i++)
        printf("%8zu %8.0f %8.0f %8.0f %8.0f\n", strlen(texts[i]), best(&b, scan_text, texts[i], 200000),
               best(&b, look_up_query, texts[i], 200000), best(&b, look_up_exact, texts[i], 200000),
               best(&b, parse, texts[i], 2000));
    hd_template_cache_free(b.cache);
    hd_templates_free(b.templates);
    hd_scan_free(&b.scan);
    return 0;
}
