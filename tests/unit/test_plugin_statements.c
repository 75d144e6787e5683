/*
 * The plugin "statements" on the small host: counting, batches of events, SHOW STATEMENTS over several
 * workers, reset, reload, bounds; and its latency sketch against exact values.
 */
#include "unit.h"
#include "check/conf.h"
#include "check/mock.h"
#include "statements/sketch.h"
#include "statements/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORKERS 2

/* A plugin that runs, with the worker's parts. */
struct world {
    struct mock *m;
    void *self;
    struct check_conf conf;
    const struct hd_filter_v1 *filter;
    void *ws[WORKERS];
};

static void world_start(struct world *w, const char *ini)
{
    struct hd_error err = HD_ERROR_INIT;

    w->m = mock_new(WORKERS);
    CU_ASSERT_EQUAL_FATAL(check_conf_read(&w->conf, &howdah_plugin, ini, &err), HD_OK);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.create(mock_host(w->m), &w->self, &err), HD_OK);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.check(w->self, &w->conf.conf, &err), HD_OK);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.start(w->self, &w->conf.conf, &err), HD_OK);
    w->filter = howdah_plugin.capability(HD_CAP_FILTER);
    for (uint32_t i = 0; i < WORKERS; i++) {
        mock_on(w->m, (int32_t)i);
        w->ws[i] = w->filter->worker_start(w->self, i);
        CU_ASSERT_PTR_NOT_NULL_FATAL(w->ws[i]);
    }
    mock_on(w->m, HD_LOOP_CONTROL);
}

static void world_stop_workers(struct world *w)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        mock_on(w->m, (int32_t)i);
        w->filter->worker_stop(w->self, w->ws[i]);
    }
    mock_on(w->m, HD_LOOP_CONTROL);
}

static void world_free(struct world *w)
{
    howdah_plugin.destroy(w->self);
    check_conf_free(&w->conf);
    mock_free(w->m);
}

static void world_stop(struct world *w)
{
    world_stop_workers(w);
    CU_ASSERT_EQUAL(howdah_plugin.stop(w->self), HD_OK);
    CU_ASSERT_EQUAL(mock_failures(w->m), 0);
    world_free(w);
}

/* A template with its plan on one worker. */
struct known {
    hd_template *t;
    struct hd_plan plan;
    uint32_t worker;
};

static struct known know(struct world *w, uint32_t worker, uint64_t fingerprint, const char *text)
{
    struct hd_template_info info = {
        .kind = HD_KIND_SELECT, .fingerprint = fingerprint, .text = {text, strlen(text)}};
    struct known k = {.plan = {.size = sizeof(k.plan)}, .worker = worker};

    k.t = mock_template(w->m, &info);
    CU_ASSERT_EQUAL(w->filter->plan(w->self, w->ws[worker], k.t, &k.plan), HD_OK);
    CU_ASSERT_EQUAL(k.plan.want, HD_WANT_COMPLETE);
    return k;
}

static void forget(struct known *k)
{
    if (k->plan.destroy)
        k->plan.destroy(k->plan.data);
}

/* One execution's end. */
static void ran(struct world *w, struct known *k, const char *database, uint64_t ns, uint64_t rows,
                const char *sqlstate)
{
    struct hd_statement st = {.size = sizeof(st), .tmpl = k->t, .database = {database, strlen(database)}};
    struct hd_outcome o = {
        .size = sizeof(o), .rows = rows, .bytes = 10 * rows, .total_ns = ns, .queue_ns = ns / 2};

    memcpy(o.sqlstate, sqlstate, 6);
    o.failed = strcmp(sqlstate, "00000") != 0;
    mock_on(w->m, (int32_t)k->worker);
    w->filter->complete(w->self, w->ws[k->worker], k->plan.data, &st, &o);
    mock_on(w->m, HD_LOOP_CONTROL);
}

static void counts_and_shows(void)
{
    struct world w;
    struct known a, b;

    world_start(&w, "[plugin statements]\n");
    a = know(&w, 0, 0xABC, "select a from t where id = $1");
    b = know(&w, 1, 0xABC, "select a from t where id = $1");
    for (int i = 0; i < 10; i++)
        ran(&w, &a, "shop", 2000000, 3, "00000");
    ran(&w, &b, "shop", 4000000, 1, "23505");
    ran(&w, &b, "other_db", 1000000, 1, "00000");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 2);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "fingerprint"), "0000000000000abc");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "database"), "shop");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "calls"), "11");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "errors"), "1");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "rows"), "31");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "bytes"), "310");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "mean_ms"), "2.182");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "min_ms"), "2");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "max_ms"), "4");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "queue_ms"), "1.091");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "share_percent"), "96");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "statement"), "select a from t where id = $1");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 1, "database"), "other_db");
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statements_total", "database=shop"), 11);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statement_errors_total", "class=23"), 1);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statement_seconds", ""), 12);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statement_templates", ""), 3);
    forget(&a);
    forget(&b);
    world_stop(&w);
}

static void orders_and_cuts(void)
{
    struct world w;
    struct known often, slow;

    world_start(&w, "");
    often = know(&w, 0, 1, "often");
    slow = know(&w, 0, 2, "slow");
    for (int i = 0; i < 100; i++)
        ran(&w, &often, "d", 10000000, 0, "00000");
    ran(&w, &slow, "d", 500000000, 0, "00000");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS TOP 1"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 1);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "statement"), "often");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS ORDER BY mean"), HD_OK);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "statement"), "slow");
    CU_ASSERT_EQUAL(mock_command(w.m, "show statements order by P95 top 1"), HD_OK);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "statement"), "slow");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "p95_ms"), "500");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS ORDER BY calls"), HD_OK);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "statement"), "often");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS ORDER BY beauty"), HD_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(mock_message(w.m), "usage: SHOW STATEMENTS [TOP n]"));
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS TOP 0"), HD_EINVAL);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS TOP"), HD_EINVAL);
    CU_ASSERT_EQUAL(mock_command(w.m, "STATEMENTS RESET now"), HD_EINVAL);
    forget(&often);
    forget(&slow);
    world_stop(&w);
}

static void resets(void)
{
    struct world w;
    struct known k;

    world_start(&w, "");
    k = know(&w, 1, 7, "select $1");
    ran(&w, &k, "d", 1000, 0, "00000");
    CU_ASSERT_EQUAL(mock_command(w.m, "STATEMENTS RESET"), HD_OK);
    CU_ASSERT_STRING_EQUAL(mock_message(w.m), "STATEMENTS RESET");
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statement_templates", ""), 0);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 0);
    /* A plan from before the reset must not write into what was freed. */
    ran(&w, &k, "d", 1000, 0, "00000");
    ran(&w, &k, "d", 1000, 0, "00000");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_OK);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "calls"), "2");
    forget(&k);
    world_stop(&w);
}

static void keeps_to_its_bound(void)
{
    struct world w;
    struct known k[4];

    world_start(&w, "[plugin statements]\nmax_templates = 2\ntext_length = 20\n");
    for (unsigned i = 0; i < 4; i++) {
        k[i] = know(&w, 0, i + 1, "select aaaaaaaaaaaa\xc3\xa4 from t");
        ran(&w, &k[i], "d", 1000000, 1, "00000");
        ran(&w, &k[i], "d", 1000000, 1, "00000");
    }
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS ORDER BY calls"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 3);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "calls"), "4");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "fingerprint"), "(null)");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "statement"), "(templates past max_templates)");
    /* Cut before the two bytes of one letter. */
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 1, "statement"), "select aaaaaaaaaaaa");
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statements_untracked_total", ""), 4);
    for (unsigned i = 0; i < 4; i++)
        forget(&k[i]);
    world_stop(&w);
}

static void publishes_batches(void)
{
    struct world w;
    struct known a, b;
    const struct hd_event_statements *ev;

    world_start(&w, "[plugin statements]\npublish_interval = 1s\n");
    a = know(&w, 0, 1, "a");
    b = know(&w, 0, 2, "b");
    ran(&w, &a, "d", 100, 0, "00000");
    mock_advance(w.m, 1000);
    CU_ASSERT_EQUAL(mock_events(w.m, HD_TOPIC_STATEMENT_FINISHED), 0); /* nobody listens */
    mock_want(w.m, HD_TOPIC_STATEMENT_FINISHED);
    ran(&w, &a, "d", 100, 2, "00000");
    ran(&w, &a, "d", 300, 2, "42P01");
    mock_advance(w.m, 1000);
    CU_ASSERT_EQUAL_FATAL(mock_events(w.m, HD_TOPIC_STATEMENT_FINISHED), 1);
    ev = mock_event(w.m, HD_TOPIC_STATEMENT_FINISHED, 0);
    CU_ASSERT_EQUAL(ev->calls, 2);
    CU_ASSERT_EQUAL(ev->errors, 1);
    CU_ASSERT_EQUAL(ev->rows, 4);
    CU_ASSERT_EQUAL(ev->total_ns, 400);
    CU_ASSERT_EQUAL(ev->max_ns, 300);
    CU_ASSERT_EQUAL(ev->fingerprint, 1);
    CU_ASSERT_STRING_EQUAL(ev->database, "d");
    mock_advance(w.m, 5000);
    CU_ASSERT_EQUAL(mock_events(w.m, HD_TOPIC_STATEMENT_FINISHED), 1); /* nothing new */
    /* What a full bus does not take comes with the next batch. */
    mock_limit_events(w.m, 1);
    ran(&w, &a, "d", 100, 0, "00000");
    ran(&w, &b, "d", 100, 0, "00000");
    mock_advance(w.m, 1000);
    CU_ASSERT_EQUAL(mock_events(w.m, HD_TOPIC_STATEMENT_FINISHED), 2);
    ran(&w, &a, "d", 100, 0, "00000");
    mock_limit_events(w.m, -1);
    mock_advance(w.m, 1000);
    CU_ASSERT_EQUAL_FATAL(mock_events(w.m, HD_TOPIC_STATEMENT_FINISHED), 3);
    ev = mock_event(w.m, HD_TOPIC_STATEMENT_FINISHED, 2);
    CU_ASSERT_EQUAL(ev->fingerprint, 1);
    CU_ASSERT_EQUAL(ev->calls, 2);
    /* The rest is published when the worker stops. */
    ran(&w, &b, "d", 100, 0, "00000");
    forget(&a);
    forget(&b);
    world_stop_workers(&w);
    CU_ASSERT_EQUAL(mock_events(w.m, HD_TOPIC_STATEMENT_FINISHED), 4);
    CU_ASSERT_EQUAL(mock_timers(w.m), 0);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statement_templates", ""), 0);
    CU_ASSERT_EQUAL(howdah_plugin.stop(w.self), HD_OK);
    world_free(&w);
}

static void reloads(void)
{
    struct world w;
    struct check_conf conf;
    struct hd_error err = HD_ERROR_INIT;
    struct known k[3];

    world_start(&w, "[plugin statements]\nmax_templates = 1\n");
    mock_want(w.m, HD_TOPIC_STATEMENT_FINISHED);
    CU_ASSERT_EQUAL(check_conf_read(&conf, &howdah_plugin,
                                    "[plugin statements]\nmax_templates = 100\npublish_interval = 200ms\n",
                                    &err),
                    HD_OK);
    howdah_plugin.reload(w.self, &conf.conf);
    mock_run(w.m);
    for (unsigned i = 0; i < 3; i++) {
        k[i] = know(&w, 0, i + 1, "x");
        ran(&w, &k[i], "d", 1, 0, "00000");
    }
    mock_advance(w.m, 200);
    CU_ASSERT_EQUAL(mock_events(w.m, HD_TOPIC_STATEMENT_FINISHED), 3);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statements_untracked_total", ""), 0);
    /* A lower bound keeps what is there. */
    howdah_plugin.reload(w.self, &w.conf.conf);
    mock_run(w.m);
    ran(&w, &k[2], "d", 1, 0, "00000");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 3);
    for (unsigned i = 0; i < 3; i++)
        forget(&k[i]);
    world_stop(&w);
    check_conf_free(&conf);
}

/* Stopping while a reload is on its way to the workers: the end comes after it. */
static void stops_after_its_errands(void)
{
    struct world w;

    world_start(&w, "");
    howdah_plugin.reload(w.self, &w.conf.conf);
    world_stop_workers(&w);
    CU_ASSERT_EQUAL(howdah_plugin.stop(w.self), HD_PENDING);
    CU_ASSERT_EQUAL(mock_stopped(w.m), 0);
    mock_run(w.m);
    CU_ASSERT_EQUAL(mock_stopped(w.m), 1);
    world_free(&w);
}

static void survives_full_queues(void)
{
    struct world w;
    struct known k;

    world_start(&w, "");
    k = know(&w, 0, 1, "x");
    ran(&w, &k, "d", 1, 0, "00000");
    for (int posts = 0; posts < WORKERS + 1; posts++) {
        mock_limit_posts(w.m, posts);
        CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_EFULL);
    }
    mock_limit_posts(w.m, 0);
    howdah_plugin.reload(w.self, &w.conf.conf);
    CU_ASSERT_EQUAL(mock_failures(w.m), WORKERS);
    mock_limit_posts(w.m, -1);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_OK);
    forget(&k);
    world_stop_workers(&w);
    CU_ASSERT_EQUAL(howdah_plugin.stop(w.self), HD_OK);
    world_free(&w);
}

static void gathers_in_slices(void)
{
    struct world w;
    char text[32];

    world_start(&w, "");
    for (unsigned i = 0; i < 1500; i++) {
        struct known k;

        snprintf(text, sizeof(text), "select %u", i);
        k = know(&w, i % WORKERS, i / 2 + 1, text);
        ran(&w, &k, "d", 1000 * (i + 1), 0, "00000");
        forget(&k);
    }
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 750);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "calls"), "2");
    world_stop(&w);
}

static void many_databases_share_a_name(void)
{
    struct world w;
    struct known k;
    char name[100];

    world_start(&w, "");
    k = know(&w, 0, 1, "x");
    for (unsigned i = 0; i < STMTS_DATABASES + 10; i++) {
        snprintf(name, sizeof(name), "db%u", i);
        ran(&w, &k, name, 1, 0, "00000");
    }
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    ran(&w, &k, name, 1, 0, "00000");
    ran(&w, &k, "", 1, 0, "00000");
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statements_total", "database=other"), 12);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), STMTS_DATABASES + 1);
    forget(&k);
    world_stop(&w);
}

/* --- the capability ------------------------------------------------------------------------------------ */

struct taken {
    int32_t code;
    uint64_t rows;
    struct hd_stats_template row;
    double p50;
    struct hd_stats_state states[HD_STATS_STATES + 1];
};

static void take(void *arg, int32_t code, const hd_stats *stats, uint64_t rows)
{
    const struct hd_statement_stats_v1 *cap = howdah_plugin.capability(HD_CAP_STATEMENT_STATS);
    struct taken *t = arg;

    t->code = code;
    t->rows = rows;
    t->row.size = sizeof(t->row);
    CU_ASSERT_EQUAL(cap->row(stats, rows, &t->row), HD_ENOENT);
    CU_ASSERT_EQUAL(cap->row(stats, 0, &t->row), HD_OK);
    CU_ASSERT(t->row.database.len == 4 && memcmp(t->row.database.ptr, "shop", 4) == 0);
    t->p50 = cap->quantile(t->row.bins, t->row.bin_count, 0.5);
    memcpy(t->states, t->row.states, t->row.state_count * sizeof(t->states[0]));
}

static void gathers_for_others(void)
{
    const struct hd_statement_stats_v1 *cap = howdah_plugin.capability(HD_CAP_STATEMENT_STATS);
    struct hd_error err = HD_ERROR_INIT;
    struct taken t = {0};
    struct world w;
    struct known a, b;
    char state[6];

    world_start(&w, "");
    a = know(&w, 0, 7, "select x from t");
    b = know(&w, 1, 7, "select x from t");
    for (int i = 0; i < 9; i++)
        ran(&w, &a, "shop", 5000000, 2, "00000");
    for (int i = 0; i < 20; i++) {
        snprintf(state, sizeof(state), "%05d", i < 10 ? 1 : i);
        ran(&w, &b, "shop", 7000000, 0, state);
    }
    CU_ASSERT_EQUAL(cap->gather(w.self, take, &t, &err), HD_OK);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS"), HD_OK); /* runs what is posted */
    CU_ASSERT_EQUAL(t.code, HD_OK);
    CU_ASSERT_EQUAL(t.rows, 1);
    CU_ASSERT_EQUAL(t.row.calls, 29);
    CU_ASSERT_EQUAL(t.row.errors, 20);
    CU_ASSERT_EQUAL(t.row.rows, 18);
    CU_ASSERT_EQUAL(t.row.total_ns, 9 * 5000000u + 20 * 7000000u);
    CU_ASSERT_EQUAL(t.row.queue_ns + t.row.server_ns, t.row.total_ns);
    CU_ASSERT(fabs(t.p50 / 7000000 - 1) <= 0.01);
    CU_ASSERT_EQUAL(t.row.state_count, HD_STATS_STATES + 1);
    CU_ASSERT_STRING_EQUAL(t.states[0].sqlstate, "00001");
    CU_ASSERT_EQUAL(t.states[0].count, 10);
    CU_ASSERT_STRING_EQUAL(t.states[HD_STATS_STATES].sqlstate, "");
    CU_ASSERT_EQUAL(t.states[HD_STATS_STATES].count, 10 - (HD_STATS_STATES - 1));
    forget(&a);
    forget(&b);
    world_stop(&w);
}

static void over(void *arg, int32_t code)
{
    *(int32_t *)arg = code;
}

/* Of three templates on two workers one is forgotten: its counts are those of the row past the bound. */
static void forgets(void)
{
    const struct hd_statement_stats_v1 *cap = howdah_plugin.capability(HD_CAP_STATEMENT_STATS);
    const struct hd_stats_key keys[] = {{9, {"nowhere", 7}, {"app", 3}}, {8, {"shop", 4}, {"", 0}}};
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = -1;
    struct world w;
    struct known k[4];

    world_start(&w, "[plugin statements]\nmax_templates = 2\n");
    for (uint32_t i = 0; i < 4; i++)
        k[i] = know(&w, i % 2, 7 + i / 2, i / 2 ? "select gone" : "select kept");
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t n = 0; n <= i; n++)
            ran(&w, &k[i], "shop", 5000000, 2, n ? "00000" : "22012");
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statement_templates", ""), 4);
    CU_ASSERT_EQUAL(cap->forget(w.self, keys, 2, over, &code, &err), HD_OK);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS ORDER BY calls"), HD_OK);
    CU_ASSERT_EQUAL(code, HD_OK);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_statement_templates", ""), 2);
    CU_ASSERT_EQUAL(mock_rows(w.m), 2);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "statement"), "(templates past max_templates)");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "calls"), "7");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "errors"), "2");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "rows"), "14");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 1, "calls"), "3");
    /* It is counted anew; what stayed goes on. */
    ran(&w, &k[2], "shop", 5000000, 2, "00000");
    ran(&w, &k[0], "shop", 5000000, 2, "00000");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW STATEMENTS ORDER BY calls"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 3);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 1, "calls"), "4");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 2, "statement"), "select gone");
    for (uint32_t i = 0; i < 4; i++)
        forget(&k[i]);
    world_stop(&w);
}

struct slow {
    int count;
    uint64_t calls, total_ns;
};

static void hear(void *arg, const struct hd_statement *st, const struct hd_outcome *o,
                 const struct hd_stats_past *past)
{
    struct slow *s = arg;

    CU_ASSERT(o->total_ns >= 1000000);
    CU_ASSERT_EQUAL(st->database.len, 4);
    s->count++;
    s->calls = past->calls;
    s->total_ns = past->total_ns;
}

static void tells_what_is_slow(void)
{
    const struct hd_statement_stats_v1 *cap = howdah_plugin.capability(HD_CAP_STATEMENT_STATS);
    struct slow s = {0};
    struct hd_stats_watch watch = {.size = sizeof(watch), .floor_ns = 1000000, .slow = hear, .arg = &s};
    struct world w;
    struct known k;

    world_start(&w, "");
    k = know(&w, 0, 7, "select x from t");
    ran(&w, &k, "shop", 5000000, 0, "00000");
    CU_ASSERT_EQUAL(cap->watch(w.self, &watch), HD_OK);
    CU_ASSERT_EQUAL(cap->watch(w.self, &watch), HD_EBUSY);
    ran(&w, &k, "shop", 999999, 0, "00000");
    CU_ASSERT_EQUAL(s.count, 0);
    ran(&w, &k, "shop", 1000000, 0, "00000");
    CU_ASSERT_EQUAL(s.count, 1);
    CU_ASSERT_EQUAL(s.calls, 2);
    CU_ASSERT_EQUAL(s.total_ns, 5999999);
    CU_ASSERT_EQUAL(cap->watch(w.self, NULL), HD_OK);
    ran(&w, &k, "shop", 1000000, 0, "00000");
    CU_ASSERT_EQUAL(s.count, 1);
    forget(&k);
    world_stop(&w);
}

/* --- the sketch -------------------------------------------------------------------------------------------
 */

static uint64_t rng_state = 88172645463325252u;

static double rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (double)(rng_state >> 11) / 9007199254740992.0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static double exponential(void)
{
    return -log(1 - rng()) * 3e6;
}

static double log_normal(void)
{
    return exp(13 + 2 * (rng() + rng() + rng() + rng() - 2));
}

static double uniform(void)
{
    return 2000 + rng() * 1e9;
}

/* Answers of a cache, and those of a server; nothing in between. */
static double bimodal(void)
{
    return rng() < 0.9 ? 4000 + rng() * 4000 : 5e7 + rng() * 5e7;
}

/* A Pareto distribution without a mean. */
static double heavy_tail(void)
{
    return fmin(2000 / pow(1 - rng(), 1.25), 1e12);
}

static double one_value(void)
{
    return 123456;
}

/* The bins that other plugins are given of a sketch say the same as the sketch. */
static double quantile_of_bins(const struct stmts_sketch *s, double q)
{
    static struct hd_stats_bin bins[STMTS_SKETCH_ALL];
    const struct hd_statement_stats_v1 *cap = howdah_plugin.capability(HD_CAP_STATEMENT_STATS);
    uint32_t n = 0;

    for (uint32_t i = 0; i < STMTS_SKETCH_ALL; i++) {
        const uint64_t *octave = s->octaves[i / STMTS_SKETCH_BUCKETS];

        if (octave && octave[i % STMTS_SKETCH_BUCKETS])
            bins[n++] = (struct hd_stats_bin){i, 0, octave[i % STMTS_SKETCH_BUCKETS]};
    }
    return cap->quantile(bins, n, q);
}

static void sketch_is_within_its_error(void)
{
    static double (*const draw[])(void) = {exponential, log_normal, uniform, bimodal, heavy_tail, one_value};
    static const double q[] = {0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1};
    enum { N = 20000 };
    static uint64_t values[N];

    for (unsigned d = 0; d < sizeof(draw) / sizeof(draw[0]); d++) {
        struct stmts_sketch a = {0}, b = {0};

        for (unsigned i = 0; i < N; i++) {
            values[i] = (uint64_t)draw[d]();
            values[i] = values[i] < 1024 ? 1024 : values[i];
            stmts_sketch_add(i % 3 ? &a : &b, values[i]);
        }
        stmts_sketch_merge(&a, &b);
        qsort(values, N, sizeof(values[0]), by_value);
        for (unsigned i = 0; i < sizeof(q) / sizeof(q[0]); i++) {
            double rank = ceil(q[i] * N);
            double exact = (double)values[rank > 0 ? (size_t)rank - 1 : 0];

            CU_ASSERT(fabs(stmts_sketch_quantile(&a, q[i]) / exact - 1) <= 0.01);
            CU_ASSERT_EQUAL(quantile_of_bins(&a, q[i]), stmts_sketch_quantile(&a, q[i]));
        }
        CU_ASSERT_EQUAL(a.count, N);
        stmts_sketch_clear(&a);
        stmts_sketch_clear(&b);
        CU_ASSERT_EQUAL(stmts_sketch_quantile(&a, 0.5), 0);
    }
}

static void sketch_takes_extremes(void)
{
    struct stmts_sketch s = {0};

    stmts_sketch_add(&s, 0);
    CU_ASSERT(fabs(stmts_sketch_quantile(&s, 0.5) / 1024 - 1) < 0.02);
    stmts_sketch_add(&s, UINT64_MAX);
    CU_ASSERT(fabs(stmts_sketch_quantile(&s, 1) / 1.0995e12 - 1) < 0.02);
    CU_ASSERT_EQUAL(s.count, 2);
    stmts_sketch_clear(&s);
}

/* --- what it costs
 * ------------------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The statement's path in one worker's table; the bound is wide, for sanitizers and busy machines. */
static void counting_is_cheap(void)
{
    enum { N = 200000 };
    struct stmts_table t;
    struct hd_str name = {"shop", 4}, text = {"select", 6};
    struct hd_outcome o = {.size = sizeof(o), .total_ns = 1500000};
    struct stmts_who *who;
    uint64_t start, each;

    CU_ASSERT_EQUAL_FATAL(stmts_table_init(&t, 100, 10), HD_OK);
    who = stmts_table_who(&t, name, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stmts_table_add(&t, 42, who, text, 100));
    start = now_ns();
    for (int i = 0; i < N; i++)
        stmts_table_count(&t, stmts_table_find(&t, 42, who), &o);
    each = (now_ns() - start) / N;
    printf("# %llu ns for finding and counting\n", (unsigned long long)each);
    CU_ASSERT(each < 2000);
    stmts_table_free(&t);
}

UNIT_MAIN("plugin_statements", {"counts and shows", counts_and_shows}, {"orders and cuts", orders_and_cuts},
          {"resets", resets}, {"keeps to its bound", keeps_to_its_bound},
          {"publishes batches", publishes_batches}, {"reloads", reloads},
          {"stops after its errands", stops_after_its_errands},
          {"survives full queues", survives_full_queues}, {"gathers in slices", gathers_in_slices},
          {"gathers for others", gathers_for_others}, {"forgets", forgets},
          {"tells what is slow", tells_what_is_slow},
          {"many databases share a name", many_databases_share_a_name},
          {"sketch is within its error", sketch_is_within_its_error},
          {"sketch takes extremes", sketch_takes_extremes}, {"counting is cheap", counting_is_cheap})
