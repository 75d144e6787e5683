/*
 * The plugin "guard" on the small host: what rules match, what happens then, throttling, reloads, counts; and
 * every error of its configuration.
 */
#include "unit.h"
#include "check/conf.h"
#include "check/mock.h"
#include "guard/kinds.h"
#include "guard/pattern.h"
#include "guard/throttle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A plugin that runs, on one worker. */
struct world {
    struct mock *m;
    void *self;
    struct check_conf conf;
    const struct hd_filter_v1 *filter;
    void *ws;
};

static void world_start(struct world *w, const char *ini)
{
    struct hd_error err = HD_ERROR_INIT;

    w->m = mock_new(1);
    if (check_conf_read(&w->conf, &howdah_plugin, ini, &err) != HD_OK)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.create(mock_host(w->m), &w->self, &err), HD_OK);
    if (howdah_plugin.check(w->self, &w->conf.conf, &err) != HD_OK)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(howdah_plugin.start(w->self, &w->conf.conf, &err), HD_OK);
    w->filter = howdah_plugin.capability(HD_CAP_FILTER);
    mock_on(w->m, 0);
    w->ws = w->filter->worker_start(w->self, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->ws);
}

static void world_stop(struct world *w)
{
    w->filter->worker_stop(w->self, w->ws);
    mock_on(w->m, HD_LOOP_CONTROL);
    CU_ASSERT_EQUAL(howdah_plugin.stop(w->self), HD_OK);
    CU_ASSERT_EQUAL(mock_failures(w->m), 0);
    CU_ASSERT_EQUAL(mock_timers(w->m), 0);
    howdah_plugin.destroy(w->self);
    check_conf_free(&w->conf);
    mock_free(w->m);
}

/* A template with its plan. */
struct known {
    hd_template *t;
    struct hd_plan plan;
};

static void replan(struct world *w, struct known *k)
{
    struct hd_plan fresh = {.size = sizeof(fresh)};

    if (k->plan.destroy)
        k->plan.destroy(k->plan.data);
    k->plan = fresh;
    CU_ASSERT_EQUAL(w->filter->plan(w->self, w->ws, k->t, &k->plan), HD_OK);
}

static struct known know_info(struct world *w, struct hd_template_info info, const char *text,
                              const char *table, const char *function)
{
    struct known k = {.plan = {.size = sizeof(k.plan)}};

    info.text.ptr = text;
    info.text.len = strlen(text);
    if (!info.kinds)
        info.kinds = UINT64_C(1) << info.kind;
    k.t = mock_template(w->m, &info);
    if (table)
        mock_template_table(k.t, table, HD_ACCESS_READ);
    if (function)
        mock_template_function(k.t, function, 1);
    replan(w, &k);
    return k;
}

static struct known know(struct world *w, uint32_t kind, uint64_t facts, const char *text)
{
    struct hd_template_info info = {.kind = kind, .facts = facts, .fingerprint = 0xF};

    return know_info(w, info, text, NULL, NULL);
}

static void forget(struct known *k)
{
    if (k->plan.destroy)
        k->plan.destroy(k->plan.data);
}

/* An execution between statement() and complete(). */
struct running {
    struct hd_statement st;
    struct hd_verdict v;
    void *slot;
};

static void begin(struct world *w, struct known *k, struct running *r, struct hd_statement st)
{
    struct hd_verdict none = {.size = sizeof(none)};

    r->st = st;
    r->st.size = sizeof(r->st);
    r->st.tmpl = k->t;
    r->st.txn = st.txn ? st.txn : HD_TX_IDLE;
    r->st.slot = &r->slot;
    r->slot = NULL;
    r->v = none;
    if (k->plan.want & HD_WANT_DECIDE)
        CU_ASSERT_EQUAL(w->filter->statement(w->self, w->ws, k->plan.data, &r->st, &r->v), HD_OK);
}

static void end(struct world *w, struct known *k, struct running *r, int observing)
{
    struct hd_outcome o = {.size = sizeof(o), .sqlstate = "00000"};

    if (r->v.kind == HD_VERDICT_REFUSE && !observing) {
        o.failed = 1;
        o.answered_by = 2;
        memcpy(o.sqlstate, r->v.sqlstate, sizeof(o.sqlstate));
    }
    if (k->plan.want & HD_WANT_COMPLETE)
        w->filter->complete(w->self, w->ws, k->plan.data, &r->st, &o);
    mock_run(w->m);
}

/* One whole execution; the verdict. */
static uint32_t run(struct world *w, struct known *k, struct hd_statement st)
{
    struct running r;

    begin(w, k, &r, st);
    end(w, k, &r, 0);
    return r.v.kind;
}

static uint32_t run_as(struct world *w, struct known *k, const char *user, const char *database,
                       const char *application)
{
    struct hd_statement st = {
        .user = hd_str_of(user), .database = hd_str_of(database), .application_name = hd_str_of(application)};

    return run(w, k, st);
}

static const struct hd_statement plain;

/* The verdict on a new template. */
static uint32_t verdict(struct world *w, uint32_t kind, uint64_t facts, const char *text)
{
    struct known k = know(w, kind, facts, text);
    uint32_t v = run(w, &k, plain);

    forget(&k);
    return v;
}

#define REFUSED(...)  CU_ASSERT_EQUAL(verdict(&w, __VA_ARGS__), HD_VERDICT_REFUSE)
#define LET_PASS(...) CU_ASSERT_EQUAL(verdict(&w, __VA_ARGS__), HD_VERDICT_CONTINUE)

/* --- kinds ------------------------------------------------------------------------------------------------
 */

#define K(kind) HD_KIND_BIT(kind)

static void kinds_by_name(void)
{
    CU_ASSERT_EQUAL(guard_kinds_named(hd_str_of("copy")), K(COPY_FROM) | K(COPY_TO));
    CU_ASSERT_EQUAL(guard_kinds_named(hd_str_of("DDL")), K(DDL));
    CU_ASSERT((guard_kinds_named(hd_str_of("writes")) & K(TRUNCATE)) != 0);
    CU_ASSERT_EQUAL(guard_kinds_named(hd_str_of("selec")), 0);
    CU_ASSERT_EQUAL(guard_kinds_named(hd_str_of("")), 0);
    CU_ASSERT_STRING_EQUAL(guard_kinds_nearest(hd_str_of("slect")), "select");
    CU_ASSERT_STRING_EQUAL(guard_kinds_nearest(hd_str_of("trunkate")), "truncate");
}

/* --- names ------------------------------------------------------------------------------------------------
 */

static int means(const char *pattern, const char *schema, const char *name)
{
    struct hd_str path[] = {{"public", 6}};
    struct guard_pattern p;

    CU_ASSERT_EQUAL_FATAL(guard_pattern_parse(hd_str_of(pattern), &p), HD_OK);
    return guard_pattern_means(&p, hd_str_of(schema), hd_str_of(name), path, 1);
}

static void wildcards(void)
{
    CU_ASSERT(guard_wildcard(hd_str_of("*"), hd_str_of("")));
    CU_ASSERT(guard_wildcard(hd_str_of("a*c*e"), hd_str_of("abcde")));
    CU_ASSERT(guard_wildcard(hd_str_of("*sleep*"), hd_str_of("pg_sleep_for")));
    CU_ASSERT(!guard_wildcard(hd_str_of("a*b"), hd_str_of("abc")));
    CU_ASSERT(!guard_wildcard(hd_str_of(""), hd_str_of("a")));
    CU_ASSERT(guard_wildcard(hd_str_of("**a**"), hd_str_of("bab")));
    CU_ASSERT(
        !guard_wildcard(hd_str_of("*a*a*a*a*a*b"), hd_str_of("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
}

static void names_with_schemas(void)
{
    struct guard_pattern p;

    CU_ASSERT(means("invoices", "billing", "invoices"));
    CU_ASSERT(means("invoices", "", "invoices"));
    CU_ASSERT(means("billing.*", "billing", "invoices"));
    CU_ASSERT(!means("billing.*", "shop", "invoices"));
    CU_ASSERT(!means("billing.*", "", "invoices")); /* not in the path */
    CU_ASSERT(means("public.*", "", "invoices"));
    CU_ASSERT(means("billing.invoices", "", "invoices")); /* may be that one */
    CU_ASSERT(!means("billing.invoices", "shop", "invoices"));
    CU_ASSERT_EQUAL(guard_pattern_parse(hd_str_of(""), &p), HD_EINVAL);
    CU_ASSERT_EQUAL(guard_pattern_parse(hd_str_of(".a"), &p), HD_EINVAL);
    CU_ASSERT_EQUAL(guard_pattern_parse(hd_str_of("a."), &p), HD_EINVAL);
    CU_ASSERT_EQUAL(guard_pattern_parse(hd_str_of("a.b.c"), &p), HD_EINVAL);
}

/* --- conditions -------------------------------------------------------------------------------------------
 */

static void refuses_kinds(void)
{
    struct world w;
    struct hd_template_info several = {.kind = HD_KIND_MULTI, .facts = HD_FACT_MULTI};
    struct known k;
    struct running r;

    world_start(
        &w, "[guard no-ddl]\nkinds = ddl, truncate\nsqlstate = 42939\nmessage = no DDL here\nhint = ask\n");
    REFUSED(HD_KIND_DDL, HD_FACT_DEFINES, "drop table t");
    REFUSED(HD_KIND_TRUNCATE, HD_FACT_WRITES, "truncate t");
    several.kinds = K(SELECT) | K(TRUNCATE);
    k = know_info(&w, several, "select $1; truncate t", NULL, NULL);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_REFUSE);
    forget(&k);
    several.kinds = K(SELECT) | K(DELETE);
    k = know_info(&w, several, "select $1; delete from t", NULL, NULL);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_CONTINUE);
    forget(&k);
    LET_PASS(HD_KIND_SELECT, HD_FACT_READS, "select drop from t");
    k = know(&w, HD_KIND_SELECT, 0, "select $1");
    CU_ASSERT_EQUAL(k.plan.want, 0);
    CU_ASSERT_PTR_NULL(k.plan.data);
    forget(&k);
    k = know(&w, HD_KIND_DDL, HD_FACT_DEFINES, "create table t ()");
    begin(&w, &k, &r, plain);
    CU_ASSERT_STRING_EQUAL(r.v.sqlstate, "42939");
    CU_ASSERT_STRING_EQUAL(r.v.message.ptr, "no DDL here");
    CU_ASSERT_STRING_EQUAL(r.v.hint.ptr, "ask");
    end(&w, &k, &r, 0);
    forget(&k);
    world_stop(&w);
}

static void refuses_what_has_no_where_or_limit(void)
{
    struct world w;
    struct hd_template_info info = {.kind = HD_KIND_SELECT, .facts = HD_FACT_READS};
    struct known k;

    world_start(&w, "[guard where]\nno_where = yes\n[guard limit]\nno_limit = yes\n");
    REFUSED(HD_KIND_DELETE, HD_FACT_WRITES | HD_FACT_NO_WHERE, "delete from t");
    LET_PASS(HD_KIND_DELETE, HD_FACT_WRITES, "delete from t where a = $1");
    LET_PASS(HD_KIND_SELECT, 0, "select $1");
    k = know_info(&w, info, "select a from t", "t", NULL);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_REFUSE);
    forget(&k);
    info.facts |= HD_FACT_AGGREGATE;
    k = know_info(&w, info, "select count(*) from t", "t", NULL);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_CONTINUE);
    forget(&k);
    info.facts |= HD_FACT_GROUP_BY;
    k = know_info(&w, info, "select count(*) from t group by a", "t", NULL);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_REFUSE);
    forget(&k);
    info.facts |= HD_FACT_LIMIT;
    k = know_info(&w, info, "select count(*) from t group by a limit $1", "t", NULL);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_CONTINUE);
    forget(&k);
    world_stop(&w);
}

static void refuses_tables_and_functions(void)
{
    struct world w;
    struct hd_template_info info = {.kind = HD_KIND_SELECT, .facts = HD_FACT_READS};
    static const struct {
        const char *table, *function;
        uint32_t verdict;
    } cases[] = {
        {"billing.invoices", NULL, HD_VERDICT_REFUSE},
        {"shop.invoices", NULL, HD_VERDICT_CONTINUE},
        {"secrets", NULL, HD_VERDICT_REFUSE},
        {NULL, "pg_sleep", HD_VERDICT_REFUSE},
        {NULL, "pg_catalog.pg_sleep_for", HD_VERDICT_REFUSE},
        {NULL, "mine.pg_sleep", HD_VERDICT_CONTINUE},
        {NULL, "lower", HD_VERDICT_CONTINUE},
    };

    world_start(&w, "[guard t]\ntables = billing.*, secrets\n[guard f]\nfunctions = pg_catalog.pg_sleep*\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct known k = know_info(&w, info, "select", cases[i].table, cases[i].function);

        CU_ASSERT_EQUAL(run(&w, &k, plain), cases[i].verdict);
        forget(&k);
    }
    world_stop(&w);
}

static void refuses_by_size(void)
{
    struct world w;
    struct hd_template_info info = {.kind = HD_KIND_SELECT, .facts = HD_FACT_READS};
    struct hd_statement st = {.sql = {"0123456789", 10}};
    struct known k;

    world_start(
        &w, "[guard joins]\nmax_joins = 2\n[guard subs]\nmax_subselects = 0\n[guard tables]\nmax_tables = 1\n"
            "[guard long]\nmax_length = 10\n");
    info.joins = 2;
    k = know_info(&w, info, "select", NULL, NULL);
    CU_ASSERT_EQUAL(run(&w, &k, st), HD_VERDICT_CONTINUE);
    st.sql.len = 11;
    CU_ASSERT_EQUAL(run(&w, &k, st), HD_VERDICT_REFUSE);
    st.sql.len = 0;
    st.flags = HD_STMT_NO_TEXT;
    CU_ASSERT_EQUAL(run(&w, &k, st), HD_VERDICT_REFUSE);
    forget(&k);
    info.joins = 3;
    k = know_info(&w, info, "select", NULL, NULL);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_REFUSE);
    forget(&k);
    info.joins = 0;
    info.subselects = 1;
    k = know_info(&w, info, "select", NULL, NULL);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_REFUSE);
    forget(&k);
    info.subselects = 0;
    k = know_info(&w, info, "select", "a", NULL);
    mock_template_table(k.t, "b", HD_ACCESS_READ);
    replan(&w, &k);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_REFUSE);
    forget(&k);
    world_stop(&w);
}

static void refuses_by_who_and_where(void)
{
    struct world w;
    struct hd_statement st = {.user = {"app_1", 5}, .database = {"shop", 4}, .application_name = {"psql", 4}};
    struct known k;

    world_start(&w, "[guard one]\nkinds = delete\nusers = app_*\nnot_users = app_2\ndatabases = shop, bar\n"
                    "applications = psql*\n[guard two]\nkinds = update\nin_transaction = yes\n"
                    "[guard three]\nkinds = insert\nin_transaction = no\n");
    k = know(&w, HD_KIND_DELETE, HD_FACT_WRITES, "delete from t where a = $1");
    CU_ASSERT_EQUAL(run(&w, &k, st), HD_VERDICT_REFUSE);
    CU_ASSERT_EQUAL(run_as(&w, &k, "app_2", "shop", "psql"), HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(run_as(&w, &k, "bob", "shop", "psql"), HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(run_as(&w, &k, "app_3", "shops", "psql"), HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(run_as(&w, &k, "app_3", "bar", ""), HD_VERDICT_CONTINUE);
    CU_ASSERT_EQUAL(run_as(&w, &k, "app_3", "bar", "psql 15"), HD_VERDICT_REFUSE);
    forget(&k);
    k = know(&w, HD_KIND_UPDATE, HD_FACT_WRITES, "update t set a = $1 where b");
    CU_ASSERT_EQUAL(run(&w, &k, st), HD_VERDICT_CONTINUE);
    st.txn = HD_TX_ACTIVE;
    CU_ASSERT_EQUAL(run(&w, &k, st), HD_VERDICT_REFUSE);
    forget(&k);
    k = know(&w, HD_KIND_INSERT, HD_FACT_WRITES, "insert into t values ($1)");
    CU_ASSERT_EQUAL(run(&w, &k, st), HD_VERDICT_CONTINUE);
    st.txn = HD_TX_IDLE;
    CU_ASSERT_EQUAL(run(&w, &k, st), HD_VERDICT_REFUSE);
    forget(&k);
    world_stop(&w);
}

static void treats_unsure_as_it_is_told(void)
{
    static const struct {
        const char *ini;
        uint32_t verdict, want;
        int warned;
    } cases[] = {
        {"[guard r]\nkinds = ddl\n", HD_VERDICT_REFUSE, HD_WANT_DECIDE | HD_WANT_COMPLETE, 0},
        {"[plugin guard]\nunsure = warn\n[guard r]\nkinds = ddl\n", HD_VERDICT_CONTINUE, HD_WANT_DECIDE, 1},
        {"[plugin guard]\nunsure = allow\n[guard r]\nkinds = ddl\n", HD_VERDICT_CONTINUE, 0, 0},
        {"[guard r]\nkinds = ddl\naction = warn\n", HD_VERDICT_CONTINUE, HD_WANT_DECIDE, 1},
        {"[plugin guard]\nunsure = allow\n[guard r]\nunsure = yes\n", HD_VERDICT_REFUSE,
         HD_WANT_DECIDE | HD_WANT_COMPLETE, 0},
        {"[plugin guard]\nunsure = allow\n[guard r]\nusers = *\n", HD_VERDICT_REFUSE,
         HD_WANT_DECIDE | HD_WANT_COMPLETE, 0},
        {"[guard r]\nkinds = ddl\nusers = somebody\n", HD_VERDICT_CONTINUE, HD_WANT_DECIDE | HD_WANT_COMPLETE,
         0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world w;
        struct known k;

        world_start(&w, cases[i].ini);
        k = know(&w, HD_KIND_UNKNOWN, HD_FACT_UNSURE, "<unsure>");
        CU_ASSERT_EQUAL(k.plan.want, cases[i].want);
        CU_ASSERT_EQUAL(run(&w, &k, plain), cases[i].verdict);
        CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_guard_warned_total", "rule=r"), cases[i].warned);
        forget(&k);
        world_stop(&w);
    }
}

/* --- what happens ------------------------------------------------------------------------------------------
 */

static void warns_and_goes_on(void)
{
    struct world w;
    const struct hd_event_refused *ev;

    world_start(
        &w, "[guard soft]\nkinds = delete\naction = warn\n[guard hard]\nkinds = delete\nno_where = yes\n");
    LET_PASS(HD_KIND_DELETE, HD_FACT_WRITES, "delete from t where a");
    REFUSED(HD_KIND_DELETE, HD_FACT_WRITES | HD_FACT_NO_WHERE, "delete from t");
    CU_ASSERT_EQUAL_FATAL(mock_events(w.m, HD_TOPIC_STATEMENT_REFUSED), 3);
    ev = mock_event(w.m, HD_TOPIC_STATEMENT_REFUSED, 0);
    CU_ASSERT_EQUAL(ev->observed, 1);
    CU_ASSERT_STRING_EQUAL(ev->rule, "soft");
    ev = mock_event(w.m, HD_TOPIC_STATEMENT_REFUSED, 2);
    CU_ASSERT_EQUAL(ev->observed, 0);
    CU_ASSERT_STRING_EQUAL(ev->rule, "hard");
    CU_ASSERT_STRING_EQUAL(ev->plugin, "guard");
    CU_ASSERT_STRING_EQUAL(ev->sqlstate, "42501");
    CU_ASSERT_EQUAL(ev->fingerprint, 0xF);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_guard_warned_total", "rule=soft"), 2);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_guard_refused_total", "rule=hard"), 1);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(mock_log(w.m), "WARNING statement matches a rule rule=soft sqlstate=42501"));
    CU_ASSERT_PTR_NOT_NULL(strstr(mock_log(w.m), "WARNING statement refused rule=hard"));
    CU_ASSERT_PTR_NULL(strstr(mock_log(w.m), "delete"));
    world_stop(&w);
}

static void counts_over_the_bus(void)
{
    struct world w;

    world_start(&w, "[guard a]\nkinds = delete\n[guard b]\nkinds = update\naction = warn\n");
    for (int i = 0; i < 3; i++)
        REFUSED(HD_KIND_DELETE, HD_FACT_WRITES, "delete from t where a");
    LET_PASS(HD_KIND_UPDATE, HD_FACT_WRITES, "update t set a = $1");
    mock_limit_events(w.m, 0); /* what the bus drops is counted all the same */
    REFUSED(HD_KIND_DELETE, HD_FACT_WRITES, "delete from t where a");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW GUARD"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 2);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "rule"), "a");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "action"), "refuse");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "matched"), "4");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "refused"), "4");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "warned"), "0");
    CU_ASSERT_STRING_NOT_EQUAL(mock_cell(w.m, 0, "last"), "(null)");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 1, "action"), "warn");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 1, "warned"), "1");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 1, "origin"), "test.ini:3");
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW GUARD twice"), HD_EINVAL);
    world_stop(&w);
}

/* The host only observes: the verdict is not carried out, and the statement ends well. */
static void knows_that_it_was_only_observing(void)
{
    struct world w;
    struct known k;
    struct running r;

    world_start(&w, "[guard a]\nkinds = delete\n");
    k = know(&w, HD_KIND_DELETE, HD_FACT_WRITES, "delete from t");
    begin(&w, &k, &r, plain);
    CU_ASSERT_EQUAL(r.v.kind, HD_VERDICT_REFUSE);
    end(&w, &k, &r, 1);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW GUARD"), HD_OK);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "refused"), "0");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "warned"), "1");
    forget(&k);
    world_stop(&w);
}

/* --- throttling --------------------------------------------------------------------------------------------
 */

static void bucket_keeps_its_rate(void)
{
    struct guard_bucket b = {0};
    int64_t now = 1000000;
    int taken = 0;

    /* A burst of 5, then one each 100 ns. */
    for (int i = 0; i < 10; i++)
        taken += guard_bucket_take(&b, now, 100, 5) == 0;
    CU_ASSERT_EQUAL(taken, 5);
    CU_ASSERT_EQUAL(guard_bucket_take(&b, now, 100, 5), 100);
    CU_ASSERT_EQUAL(guard_bucket_take(&b, now + 99, 100, 5), 1);
    for (int i = 1; i <= 1000; i++)
        taken += guard_bucket_take(&b, now + 100 + i, 100, 5) == 0;
    CU_ASSERT_EQUAL(taken, 5 + 11);
    /* What was not used does not pile up past the burst. */
    now += 1000000;
    taken = 0;
    for (int i = 0; i < 100; i++)
        taken += guard_bucket_take(&b, now, 100, 5) == 0;
    CU_ASSERT_EQUAL(taken, 5);
}

static void wait_ms(struct world *w, unsigned ms)
{
    struct timespec ts = {0, (long)ms * 1000000};

    /* Tokens come by the real clock, the small host's timers by its own. */
    nanosleep(&ts, NULL);
    mock_advance(w->m, ms);
}

static void parks_and_resumes_in_order(void)
{
    struct world w;
    struct known k;
    struct running r[5];

    world_start(
        &w, "[guard slow]\nkinds = select\naction = throttle\nrate = 20\nmax_waiting = 3\nmax_wait = 7s\n");
    k = know(&w, HD_KIND_SELECT, 0, "select $1");
    for (unsigned i = 0; i < 5; i++) {
        struct hd_statement st = {.handle = 100 + i};

        begin(&w, &k, &r[i], st);
    }
    CU_ASSERT_EQUAL(r[0].v.kind, HD_VERDICT_CONTINUE);
    for (unsigned i = 1; i < 4; i++) {
        CU_ASSERT_EQUAL(r[i].v.kind, HD_VERDICT_PARK);
        CU_ASSERT_EQUAL(r[i].v.park_ms, 7000);
    }
    CU_ASSERT_EQUAL(r[4].v.kind, HD_VERDICT_REFUSE);
    CU_ASSERT_STRING_EQUAL(r[4].v.sqlstate, "53400");
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_guard_waiting", ""), 3);
    end(&w, &k, &r[0], 0);
    end(&w, &k, &r[4], 0);
    /* One of those that wait is given up before its turn. */
    end(&w, &k, &r[2], 0);
    CU_ASSERT_EQUAL(mock_metric(w.m, "howdah_guard_waiting", ""), 2);
    for (int i = 0; i < 100 && mock_resumes(w.m) < 2; i++)
        wait_ms(&w, 10);
    CU_ASSERT_EQUAL(mock_resumes(w.m), 2);
    CU_ASSERT_EQUAL(mock_resumed(w.m, 0, NULL), 101);
    CU_ASSERT_EQUAL(mock_resumed(w.m, 1, NULL), 103);
    end(&w, &k, &r[1], 0);
    end(&w, &k, &r[3], 0);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW GUARD"), HD_OK);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "throttled"), "3");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "waiting"), "0");
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "refused"), "1");
    mock_advance(w.m, 1000);
    CU_ASSERT_EQUAL(mock_timers(w.m), 0);
    forget(&k);
    world_stop(&w);
}

/* A rule that waits for seconds must not hold up one that waits for milliseconds. */
static void lanes_do_not_hold_each_other_up(void)
{
    struct world w;
    struct known slow, fast;
    struct running r[4];
    struct hd_statement st = {.handle = 1};

    world_start(&w, "[guard slow]\nkinds = select\naction = throttle\nrate = 0.1\n"
                    "[guard fast]\nkinds = insert\naction = throttle\nrate = 100\nburst = 1\n");
    slow = know(&w, HD_KIND_SELECT, 0, "select $1");
    fast = know(&w, HD_KIND_INSERT, HD_FACT_WRITES, "insert into t values ($1)");
    begin(&w, &slow, &r[0], st);
    begin(&w, &slow, &r[1], st);
    CU_ASSERT_EQUAL(r[1].v.kind, HD_VERDICT_PARK);
    begin(&w, &fast, &r[2], st);
    st.handle = 2;
    begin(&w, &fast, &r[3], st);
    CU_ASSERT_EQUAL(r[3].v.kind, HD_VERDICT_PARK);
    for (int i = 0; i < 100 && !mock_resumes(w.m); i++)
        wait_ms(&w, 10);
    CU_ASSERT_EQUAL(mock_resumes(w.m), 1);
    CU_ASSERT_EQUAL(mock_resumed(w.m, 0, NULL), 2);
    for (unsigned i = 0; i < 4; i++)
        end(&w, i < 2 ? &slow : &fast, &r[i], 0);
    forget(&slow);
    forget(&fast);
    w.filter->worker_stop(w.self, w.ws);
    w.ws = w.filter->worker_start(w.self, 0);
    world_stop(&w);
}

static void a_refusal_comes_before_a_wait(void)
{
    struct world w;

    world_start(&w, "[guard slow]\nkinds = delete\naction = throttle\nrate = 0.01\n"
                    "[guard no]\nkinds = delete\nno_where = yes\n");
    REFUSED(HD_KIND_DELETE, HD_FACT_WRITES | HD_FACT_NO_WHERE, "delete from t");
    LET_PASS(HD_KIND_DELETE, HD_FACT_WRITES, "delete from t where a"); /* its token is still there */
    world_stop(&w);
}

/* --- reloads -----------------------------------------------------------------------------------------------
 */

static void reloads_under_statements(void)
{
    struct world w;
    struct check_conf conf;
    struct hd_error err = HD_ERROR_INIT;
    struct known k;
    struct running parked, first;

    world_start(&w, "[guard a]\nkinds = select\naction = throttle\nrate = 20\n");
    k = know(&w, HD_KIND_SELECT, 0, "select $1");
    begin(&w, &k, &first, plain);
    begin(&w, &k, &parked, plain);
    CU_ASSERT_EQUAL(parked.v.kind, HD_VERDICT_PARK);
    CU_ASSERT_EQUAL(
        check_conf_read(&conf, &howdah_plugin, "[guard a]\nkinds = select\n[guard b]\nkinds = ddl\n", &err),
        HD_OK);
    howdah_plugin.reload(w.self, &conf.conf);
    /* The old plan still holds the old rules; a new one takes the new ones. */
    for (int i = 0; i < 100 && !mock_resumes(w.m); i++)
        wait_ms(&w, 10);
    CU_ASSERT_EQUAL(mock_resumes(w.m), 1);
    end(&w, &k, &first, 0);
    end(&w, &k, &parked, 0);
    replan(&w, &k);
    CU_ASSERT_EQUAL(run(&w, &k, plain), HD_VERDICT_REFUSE);
    CU_ASSERT_EQUAL(mock_command(w.m, "SHOW GUARD"), HD_OK);
    CU_ASSERT_EQUAL(mock_rows(w.m), 2);
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "matched"), "3"); /* counts stay with the name */
    CU_ASSERT_STRING_EQUAL(mock_cell(w.m, 0, "throttled"), "1");
    forget(&k);
    world_stop(&w);
    check_conf_free(&conf);
}

/* --- errors of the configuration -------------------------------------------------------------------------
 */

static void names_what_is_wrong(void)
{
    static const struct {
        const char *ini, *error;
    } cases[] = {
        {"[guard a]\nkinds = slect\n",
         "test.ini:1: [guard a] kinds: \"slect\" is no kind of statement; did you mean "
         "\"select\"?"},
        {"\n[guard a]\n", "test.ini:2: [guard a]: there is no condition"},
        {"[guard a]\naction = warn\n", "[guard a]: there is no condition"},
        {"[guard a]\nkinds = ddl\nunsure = yes\n",
         "[guard a] unsure: a text that could not be analysed has none"},
        {"[guard a]\nkinds = ddl\nsqlstate = 4250\n", "\"4250\" is no SQLSTATE of an error, such as 42501"},
        {"[guard a]\nkinds = ddl\nsqlstate = 00000\n", "is no SQLSTATE of an error"},
        {"[guard a]\nkinds = ddl\nsqlstate = 42xyz\n", "is no SQLSTATE of an error"},
        {"[guard a]\nkinds = ddl\naction = throttle\n", "[guard a] rate: action = throttle needs a rate"},
        {"[guard a]\nkinds = ddl\nrate = 5\n", "[guard a] rate: only action = throttle has a rate"},
        {"[guard a]\ntables = a.b.c\n", "[guard a] tables: \"a.b.c\" is neither NAME nor SCHEMA.NAME"},
        {"[guard a]\nfunctions = .f\n", "[guard a] functions: \".f\" is neither NAME nor SCHEMA.NAME"},
        {"[guard aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nkinds = ddl\n",
         "the name is longer than 63 characters"},
    };
    struct mock *m = mock_new(1);
    void *self;
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL_FATAL(howdah_plugin.create(mock_host(m), &self, &err), HD_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct check_conf conf;
        int code = check_conf_read(&conf, &howdah_plugin, cases[i].ini, &err);

        if (code == HD_OK)
            code = howdah_plugin.check(self, &conf.conf, &err);
        CU_ASSERT_EQUAL(code, HD_EINVAL);
        if (!strstr(err.text, cases[i].error))
            printf("# %s\n", err.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].error));
        check_conf_free(&conf);
    }
    howdah_plugin.destroy(self);
    mock_free(m);
}

UNIT_MAIN("plugin_guard", {"kinds by name", kinds_by_name}, {"wildcards", wildcards},
          {"names with schemas", names_with_schemas}, {"refuses kinds", refuses_kinds},
          {"refuses what has no WHERE or LIMIT", refuses_what_has_no_where_or_limit},
          {"refuses tables and functions", refuses_tables_and_functions},
          {"refuses by size", refuses_by_size}, {"refuses by who and where", refuses_by_who_and_where},
          {"treats unsure as it is told", treats_unsure_as_it_is_told},
          {"warns and goes on", warns_and_goes_on}, {"counts over the bus", counts_over_the_bus},
          {"knows that it was only observing", knows_that_it_was_only_observing},
          {"bucket keeps its rate", bucket_keeps_its_rate},
          {"parks and resumes in order", parks_and_resumes_in_order},
          {"lanes do not hold each other up", lanes_do_not_hold_each_other_up},
          {"a refusal comes before a wait", a_refusal_comes_before_a_wait},
          {"reloads under statements", reloads_under_statements},
          {"names what is wrong", names_what_is_wrong})
