/*
 * SQL jobs, schedules and leadership on a real PostgreSQL; test_jobs.py starts one and runs this with a
 * conninfo of it, and perhaps the name of a case.
 */
#include "unit.h"

#include "base/thread.h"
#include "base/units.h"
#include "io/loop.h"
#include "plug/jobs.h"
#include "plug/scheduler.h"
#include "plug/sqlconn.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct hd_loop loop;
static struct hd_jobs *jobs;

static void start(size_t threads)
{
    struct hd_job_node node = {"main", getenv("HD_TEST_CONNINFO"), "app", "secret", 5000, NULL};
    struct hd_error err = HD_ERROR_INIT;

    hd_thread_name(HD_THREAD_CONTROL, 0);
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&loop), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_jobs_new(&loop, threads, 100, &jobs, &err), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_jobs_set_nodes(jobs, &node, 1), HD_OK);
}

static void stop(void)
{
    hd_jobs_free(jobs);
    hd_loop_close(&loop);
}

/* --- one statement ----------------------------------------------------------------------------------------
 */

struct answer {
    _Atomic int done;
    int32_t code;
    char sqlstate[8], message[256], all[512];
    uint32_t rows, columns;
};

static void take(void *arg, const struct hd_sql_result *r)
{
    struct answer *a = arg;
    size_t n = 0;

    a->code = r->code;
    memcpy(a->sqlstate, r->sqlstate, sizeof(a->sqlstate));
    snprintf(a->message, sizeof(a->message), "%.*s", (int)r->message.len, r->message.ptr);
    a->rows = r->rows;
    a->columns = r->columns;
    a->all[0] = 0;
    for (uint32_t i = 0; i < r->rows * r->columns && n < sizeof(a->all) - 1; i++)
        n += (size_t)snprintf(a->all + n, sizeof(a->all) - n, "%.*s|",
                              r->cells[i].ptr ? (int)r->cells[i].len : 4,
                              r->cells[i].ptr ? r->cells[i].ptr : "NULL");
    atomic_store(&a->done, 1);
}

static struct answer wait_for(struct answer *a)
{
    while (!atomic_load(&a->done))
        uv_run(&loop.uv, UV_RUN_ONCE);
    return *a;
}

static struct answer ask(const char *text)
{
    struct hd_sql sql = {.size = sizeof(sql), .node = "main", .text = text};
    struct answer a = {0};

    CU_ASSERT_FATAL(hd_jobs_sql(jobs, NULL, &sql, take, &a) > 0);
    return wait_for(&a);
}

static void test_answers(void)
{
    struct answer a;

    start(2);
    a = ask("SELECT 1 AS one, NULL AS none, 'ä' UNION ALL SELECT 2, 'x', '' ORDER BY 1");
    CU_ASSERT_EQUAL(a.code, HD_OK);
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "00000");
    CU_ASSERT_STRING_EQUAL(a.message, "SELECT 2");
    CU_ASSERT_EQUAL(a.columns, 3);
    CU_ASSERT_STRING_EQUAL(a.all, "1|NULL|ä|2|x||");
    a = ask("SELECT 1 WHERE false");
    CU_ASSERT_EQUAL(a.code, HD_OK);
    CU_ASSERT_EQUAL(a.rows, 0);
    CU_ASSERT_EQUAL(a.columns, 1);
    a = ask("SELECT 1; SELECT 2, 3; SELECT 4"); /* the last one's */
    CU_ASSERT_STRING_EQUAL(a.all, "4|");
    CU_ASSERT_EQUAL(a.columns, 1);
    a = ask("SELECT 1; SELECT 1/0; SELECT 2"); /* the first that failed */
    CU_ASSERT_EQUAL(a.code, HD_ESQL);
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "22012");
    CU_ASSERT_STRING_EQUAL(a.message, "division by zero");
    CU_ASSERT_EQUAL(a.rows, 0);
    a = ask("");
    CU_ASSERT_EQUAL(a.code, HD_OK);
    a = ask("SELEC 1");
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "42601");
    a = ask("DO $$ BEGIN RAISE NOTICE 'quiet'; END $$");
    CU_ASSERT_EQUAL(a.code, HD_OK);
    CU_ASSERT_STRING_EQUAL(a.message, "DO");
    stop();
}

static void test_parameters(void)
{
    const char *params[] = {"7", NULL, "'; DROP TABLE x; --"};
    struct hd_sql sql = {.size = sizeof(sql),
                         .node = "main",
                         .text = "SELECT $1::int + 1, $2::text, $3::text",
                         .param_count = 3,
                         .params = params};
    struct answer a = {0};

    start(1);
    CU_ASSERT_FATAL(hd_jobs_sql(jobs, NULL, &sql, take, &a) > 0);
    wait_for(&a);
    CU_ASSERT_STRING_EQUAL(a.all, "8|NULL|'; DROP TABLE x; --|");
    memset(&a, 0, sizeof(a));
    sql.text = "SELECT $1; SELECT $2"; /* several statements cannot have parameters */
    CU_ASSERT_FATAL(hd_jobs_sql(jobs, NULL, &sql, take, &a) > 0);
    wait_for(&a);
    CU_ASSERT_EQUAL(a.code, HD_ESQL);
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "42601");
    memset(&a, 0, sizeof(a));
    sql.text = "SELECT current_database()";
    sql.param_count = 0;
    sql.database = "postgres";
    CU_ASSERT_FATAL(hd_jobs_sql(jobs, NULL, &sql, take, &a) > 0);
    wait_for(&a);
    CU_ASSERT_STRING_EQUAL(a.all, "postgres|");
    stop();
}

static void test_session(void)
{
    struct answer a, b;
    struct hd_jobs_stats s;

    start(1);
    a = ask("SELECT current_setting('search_path'), current_setting('lock_timeout'),"
            " current_setting('statement_timeout'), current_setting('application_name'), current_user");
    CU_ASSERT_STRING_EQUAL(a.all, "pg_catalog|1s|30s|howdah|app|");
    a = ask("SELECT pg_backend_pid()");
    hd_jobs_stats(jobs, &s);
    CU_ASSERT_EQUAL(s.connections, 1);
    /* The connection is used again, and nothing of the statement before is left on it. */
    ask("SET search_path = public; SET ROLE NONE; CREATE TEMP TABLE left_over (); SELECT pg_advisory_lock(1);"
        " LISTEN x; PREPARE p AS SELECT 1");
    b = ask("SELECT pg_backend_pid()");
    CU_ASSERT_STRING_EQUAL(a.all, b.all);
    b = ask("SELECT current_setting('search_path'), to_regclass('pg_temp.left_over'),"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
            " (SELECT count(*) FROM pg_prepared_statements)");
    CU_ASSERT_STRING_EQUAL(b.all, "pg_catalog|NULL|0|0|");
    /* One that is left inside a transaction is not. */
    ask("BEGIN");
    b = ask("SELECT pg_backend_pid()");
    CU_ASSERT_STRING_NOT_EQUAL(a.all, b.all);
    stop();
}

static void test_lost_connections(void)
{
    struct answer a;
    char text[128];

    start(1);
    a = ask("SELECT pg_terminate_backend(pg_backend_pid())");
    CU_ASSERT_EQUAL(a.code, HD_ESQL);
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "57P01");
    /* An idle one that was ended from outside is noticed before it is used. */
    a = ask("SELECT pg_backend_pid()");
    snprintf(text, sizeof(text), "SELECT pg_terminate_backend(%d, 5000)", atoi(a.all));
    {
        PGconn *c = PQconnectdb(getenv("HD_TEST_ADMIN"));
        PGresult *r = PQexec(c, text);

        CU_ASSERT_STRING_EQUAL(PQgetvalue(r, 0, 0), "t");
        PQclear(r);
        PQfinish(c);
    }
    a = ask("SELECT 1");
    CU_ASSERT_EQUAL(a.code, HD_OK);
    CU_ASSERT_STRING_EQUAL(a.all, "1|");
    stop();
}

static void test_copy_and_size(void)
{
    struct answer a;

    start(1);
    a = ask("COPY (SELECT 1) TO STDOUT");
    CU_ASSERT_EQUAL(a.code, HD_EUNSUPP);
    a = ask("CREATE TEMP TABLE t (i int); COPY t FROM STDIN");
    CU_ASSERT_EQUAL(a.code, HD_EUNSUPP);
    a = ask("SELECT repeat('x', 1000000) FROM generate_series(1, 100)");
    CU_ASSERT_EQUAL(a.code, HD_EFULL);
    CU_ASSERT_STRING_EQUAL(a.message, "the answer is larger than 64 MiB");
    a = ask("SELECT length(repeat('x', 30000000)), repeat('y', 30000000) <> ''");
    CU_ASSERT_STRING_EQUAL(a.all, "30000000|t|");
    a = ask("SELECT g FROM generate_series(1, 100000) g");
    CU_ASSERT_EQUAL(a.rows, 100000);
    stop();
}

/* --- time -------------------------------------------------------------------------------------------------
 */

static void test_timeouts(void)
{
    struct hd_sql sql = {.size = sizeof(sql), .node = "main", .text = "SELECT pg_sleep(60)"};
    struct answer a = {0};
    uint64_t began = hd_now_ns();

    start(2);
    sql.statement_timeout_ms = 100; /* the server ends it */
    CU_ASSERT_FATAL(hd_jobs_sql(jobs, NULL, &sql, take, &a) > 0);
    wait_for(&a);
    CU_ASSERT_EQUAL(a.code, HD_ESQL);
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "57014");
    memset(&a, 0, sizeof(a));
    sql.statement_timeout_ms = 0;
    sql.deadline_ms = 300;
    CU_ASSERT_FATAL(hd_jobs_sql(jobs, NULL, &sql, take, &a) > 0);
    wait_for(&a);
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "57014");
    CU_ASSERT(a.code == HD_ETIMEOUT || a.code == HD_ESQL); /* whoever is first */
    CU_ASSERT(hd_now_ns() - began < 10000000000u);
    stop();
}

static void test_lock_timeout(void)
{
    PGconn *c = PQconnectdb(getenv("HD_TEST_ADMIN"));
    struct hd_sql sql = {.size = sizeof(sql),
                         .node = "main",
                         .text = "LOCK TABLE public.locked IN ACCESS EXCLUSIVE MODE",
                         .lock_timeout_ms = 100};
    struct answer a = {0};

    start(1);
    PQclear(PQexec(c, "DROP TABLE IF EXISTS public.locked"));
    PQclear(PQexec(c, "CREATE TABLE public.locked ()"));
    PQclear(PQexec(c, "GRANT ALL ON public.locked TO app"));
    PQclear(PQexec(c, "BEGIN; LOCK TABLE public.locked"));
    CU_ASSERT_FATAL(hd_jobs_sql(jobs, NULL, &sql, take, &a) > 0);
    wait_for(&a);
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "25P01"); /* not in a transaction block */
    memset(&a, 0, sizeof(a));
    sql.text = "BEGIN; LOCK TABLE public.locked IN ACCESS EXCLUSIVE MODE; COMMIT";
    CU_ASSERT_FATAL(hd_jobs_sql(jobs, NULL, &sql, take, &a) > 0);
    wait_for(&a);
    CU_ASSERT_STRING_EQUAL(a.sqlstate, "55P03");
    PQclear(PQexec(c, "ROLLBACK; DROP TABLE public.locked"));
    PQfinish(c);
    stop();
}

static void test_cancel(void)
{
    struct hd_sql sql = {.size = sizeof(sql), .node = "main", .text = "SELECT pg_sleep(60)"};
    PGconn *c = PQconnectdb(getenv("HD_TEST_ADMIN"));
    struct answer a = {0};
    uint64_t began = hd_now_ns();
    int64_t handle;
    char count[8] = "0";

    start(1);
    handle = hd_jobs_sql(jobs, NULL, &sql, take, &a);
    while (strcmp(count, "1") != 0) { /* until it sleeps on the server */
        PGresult *r = PQexec(c, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND"
                                " application_name = 'howdah'");

        snprintf(count, sizeof(count), "%s", PQgetvalue(r, 0, 0));
        PQclear(r);
    }
    CU_ASSERT_EQUAL(hd_jobs_cancel(jobs, handle), HD_OK);
    wait_for(&a);
    CU_ASSERT_EQUAL(a.code, HD_ECANCELLED);
    CU_ASSERT(hd_now_ns() - began < 10000000000u);
    while (strcmp(count, "0") != 0) { /* and the server has ended it */
        PGresult *r = PQexec(c, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");

        snprintf(count, sizeof(count), "%s", PQgetvalue(r, 0, 0));
        PQclear(r);
    }
    PQfinish(c);
    stop();
}

/* --- the blocking form ------------------------------------------------------------------------------------
 */

struct inside {
    char text[16];
    _Atomic int32_t code; /* one more than the job's */
};

static int32_t run_inside(void *arg)
{
    struct hd_sql sql = {.size = sizeof(sql), .node = "main", .text = "SELECT 6 * 7"};
    struct inside *i = arg;
    const struct hd_sql_result *r;
    int code = hd_jobs_sql_wait(jobs, &sql, &r);

    snprintf(i->text, sizeof(i->text), "%s", r->rows ? r->cells[0].ptr : "none");
    hd_jobs_free_result(r);
    return code;
}

static void done_inside(void *arg, int32_t code)
{
    struct inside *i = arg;

    atomic_store(&i->code, code + 1);
}

static void test_blocking(void)
{
    struct inside i = {.text = ""};

    start(1);
    CU_ASSERT(hd_jobs_run(jobs, NULL, "inside", run_inside, done_inside, &i) > 0);
    while (!atomic_load(&i.code))
        uv_run(&loop.uv, UV_RUN_ONCE);
    CU_ASSERT_EQUAL(atomic_load(&i.code), HD_OK + 1);
    CU_ASSERT_STRING_EQUAL(i.text, "42");
    stop();
}

/* --- leadership -------------------------------------------------------------------------------------------
 */

static int32_t count_run(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    return HD_OK;
}

/* Two schedulers stand for two hosts. */
static void test_leader(void)
{
    struct hd_schedule s = {
        .size = sizeof(s), .name = "led", .leader = 1, .node = "main", .interval_ms = 10, .fn = count_run};
    struct hd_scheduler *one, *two;
    struct hd_error err = HD_ERROR_INIT;
    _Atomic int first = 0, second = 0;
    PGconn *c = PQconnectdb(getenv("HD_TEST_ADMIN"));
    int64_t id;
    int before;

    start(2);
    one = hd_scheduler_new(&loop, jobs);
    two = hd_scheduler_new(&loop, jobs);
    s.arg = (void *)&first;
    id = hd_scheduler_add(one, NULL, &s, &err);
    CU_ASSERT(id > 0);
    while (atomic_load(&first) < 3)
        uv_run(&loop.uv, UV_RUN_ONCE);
    s.arg = (void *)&second;
    CU_ASSERT(hd_scheduler_add(two, NULL, &s, &err) > 0);
    before = atomic_load(&first);
    while (atomic_load(&first) < before + 10)
        uv_run(&loop.uv, UV_RUN_ONCE);
    CU_ASSERT_EQUAL(atomic_load(&second), 0);

    /* The leader's connection is lost: somebody leads again, and only one. */
    PQclear(PQexec(c, "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"));
    before = atomic_load(&first) + atomic_load(&second);
    while (atomic_load(&first) + atomic_load(&second) < before + 5)
        uv_run(&loop.uv, UV_RUN_ONCE);

    /* The first resigns with its last schedule: the second leads. */
    hd_scheduler_remove(one, id);
    before = atomic_load(&second);
    while (atomic_load(&second) < before + 3)
        uv_run(&loop.uv, UV_RUN_ONCE);
    PQfinish(c);
    hd_scheduler_free(one);
    hd_scheduler_free(two);
    stop();
}

UNIT_MAIN("sqljobs", {"answers", test_answers}, {"parameters", test_parameters}, {"session", test_session},
          {"lost connections", test_lost_connections}, {"copy and size", test_copy_and_size},
          {"timeouts", test_timeouts}, {"lock timeout", test_lock_timeout}, {"cancel", test_cancel},
          {"the blocking form", test_blocking}, {"leader", test_leader})
