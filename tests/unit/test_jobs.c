/*
 * The job pool: functions, their owners, bounds and ends; and statements on servers that are not there, or
 * are and say nothing. Statements on a real server are tests/integration/sqljobs.c's.
 */
#include "unit.h"

#include "base/thread.h"
#include "base/units.h"
#include "io/loop.h"
#include "plug/commands.h"
#include "plug/jobs.h"
#include "plug/services.h"

#include <arpa/inet.h>
#include <howdah/nodes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct hd_loop loop;
static struct hd_jobs *jobs;

static void set_up(size_t threads, size_t max_waiting)
{
    struct hd_error err = HD_ERROR_INIT;

    hd_thread_name(HD_THREAD_CONTROL, 0);
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&loop), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_jobs_new(&loop, threads, max_waiting, &jobs, &err), HD_OK);
}

static void tear_down(void)
{
    hd_jobs_free(jobs);
    hd_loop_close(&loop);
}

static void until(_Atomic int *what, int value)
{
    while (atomic_load(what) < value)
        uv_run(&loop.uv, UV_RUN_ONCE);
}

/* --- functions --------------------------------------------------------------------------------------------
 */

struct work {
    int32_t code;
    _Atomic int ran, done;
    int32_t told;
    int wrong;
};

static int32_t work(void *arg)
{
    struct work *w = arg;

    if (hd_thread_role() != HD_THREAD_JOB)
        w->wrong = 1;
    atomic_fetch_add(&w->ran, 1);
    return w->code;
}

static void on_worked(void *arg, int32_t code)
{
    struct work *w = arg;

    if (hd_thread_role() != HD_THREAD_CONTROL)
        w->wrong = 1;
    w->told = code;
    atomic_fetch_add(&w->done, 1);
}

static void test_run(void)
{
    struct work w = {.code = 42};

    set_up(2, 100);
    for (int i = 0; i < 50; i++)
        CU_ASSERT(hd_jobs_run(jobs, NULL, "work", work, on_worked, &w) > 0);
    until(&w.done, 50);
    CU_ASSERT_EQUAL(atomic_load(&w.ran), 50);
    CU_ASSERT_EQUAL(w.told, 42);
    CU_ASSERT_EQUAL(w.wrong, 0);
    CU_ASSERT(hd_jobs_run(jobs, NULL, "work", work, NULL, &w) > 0);
    CU_ASSERT_EQUAL(hd_jobs_run(jobs, NULL, "none", NULL, on_worked, &w), HD_EINVAL);
    tear_down();
    CU_ASSERT_EQUAL(atomic_load(&w.done), 50);
}

/* A function that holds its thread until it is let go. */
struct gate {
    sem_t entered, open;
    _Atomic int done, inside, most;
    int32_t told;
};

static int32_t pass(void *arg)
{
    struct gate *g = arg;
    int now = atomic_fetch_add(&g->inside, 1) + 1;

    if (now > atomic_load(&g->most))
        atomic_store(&g->most, now);
    sem_post(&g->entered);
    sem_wait(&g->open);
    atomic_fetch_sub(&g->inside, 1);
    return HD_OK;
}

static void on_passed(void *arg, int32_t code)
{
    struct gate *g = arg;

    g->told = code;
    atomic_fetch_add(&g->done, 1);
}

static void gate_init(struct gate *g)
{
    memset(g, 0, sizeof(*g));
    sem_init(&g->entered, 0, 0);
    sem_init(&g->open, 0, 0);
}

static void gate_free(struct gate *g)
{
    sem_destroy(&g->entered);
    sem_destroy(&g->open);
}

static void test_bound_and_cancel(void)
{
    struct hd_jobs_stats s;
    struct work w = {.code = 1};
    struct gate g;
    int64_t first, second;

    gate_init(&g);
    set_up(1, 2);
    CU_ASSERT(hd_jobs_run(jobs, NULL, "gate", pass, on_passed, &g) > 0);
    sem_wait(&g.entered);
    first = hd_jobs_run(jobs, NULL, "first", work, on_worked, &w);
    second = hd_jobs_run(jobs, NULL, "second", work, on_worked, &w);
    CU_ASSERT(first > 0 && second > first);
    CU_ASSERT_EQUAL(hd_jobs_run(jobs, NULL, "third", work, on_worked, &w), HD_EFULL);
    hd_jobs_stats(jobs, &s);
    CU_ASSERT_EQUAL(s.running, 1);
    CU_ASSERT_EQUAL(s.waiting, 2);
    CU_ASSERT_EQUAL(s.refused, 1);
    CU_ASSERT_EQUAL(hd_jobs_cancel(jobs, first), HD_OK);
    CU_ASSERT_EQUAL(hd_jobs_cancel(jobs, first), HD_ENOENT);
    CU_ASSERT_EQUAL(hd_jobs_cancel(jobs, 4711), HD_ENOENT);
    until(&w.done, 1);
    CU_ASSERT_EQUAL(w.told, HD_ECANCELLED);
    CU_ASSERT_EQUAL(atomic_load(&w.ran), 0);
    sem_post(&g.open);
    until(&w.done, 2);
    CU_ASSERT_EQUAL(w.told, 1);
    tear_down();
    gate_free(&g);
}

static void test_owners_never_overlap(void)
{
    struct gate g;
    int owner;

    gate_init(&g);
    set_up(3, 100);
    for (int i = 0; i < 6; i++)
        CU_ASSERT(hd_jobs_run(jobs, &owner, "mine", pass, on_passed, &g) > 0);
    for (int i = 0; i < 6; i++) {
        sem_wait(&g.entered);
        sem_post(&g.open);
    }
    until(&g.done, 6);
    CU_ASSERT_EQUAL(atomic_load(&g.most), 1);
    /* The host's own may. */
    for (int i = 0; i < 3; i++)
        CU_ASSERT(hd_jobs_run(jobs, NULL, "host's", pass, on_passed, &g) > 0);
    for (int i = 0; i < 3; i++)
        sem_wait(&g.entered);
    CU_ASSERT_EQUAL(atomic_load(&g.inside), 3);
    for (int i = 0; i < 3; i++)
        sem_post(&g.open);
    until(&g.done, 9);
    tear_down();
    gate_free(&g);
}

static _Atomic int begins, overs;

static void count_begin(const void *owner)
{
    (void)owner;
    atomic_fetch_add(&begins, 1);
}

static void count_over(const void *owner)
{
    (void)owner;
    atomic_fetch_add(&overs, 1);
}

static void test_owner_goes(void)
{
    struct work w = {.code = 1}, other = {.code = 1};
    struct gate g;
    int owner;

    gate_init(&g);
    set_up(1, 100);
    atomic_store(&overs, 0);
    hd_jobs_watch_owners(jobs, count_begin, count_over);
    hd_jobs_run(jobs, &owner, "gate", pass, on_passed, &g);
    sem_wait(&g.entered);
    hd_jobs_run(jobs, &owner, "waits", work, on_worked, &w);
    hd_jobs_run(jobs, NULL, "other", work, on_worked, &other);
    hd_jobs_drop_owner(jobs, &owner);
    sem_post(&g.open);
    until(&other.done, 1);
    until(&overs, 2);
    CU_ASSERT_EQUAL(atomic_load(&begins), 2);
    CU_ASSERT_EQUAL(atomic_load(&g.done), 0); /* nobody is told */
    CU_ASSERT_EQUAL(atomic_load(&w.done), 0);
    CU_ASSERT_EQUAL(atomic_load(&w.ran), 0);
    tear_down();
    gate_free(&g);
}

static void test_free_tells(void)
{
    struct work w = {.code = 1};
    struct gate g;

    gate_init(&g);
    set_up(1, 100);
    hd_jobs_run(jobs, NULL, "gate", pass, on_passed, &g);
    sem_wait(&g.entered);
    hd_jobs_run(jobs, NULL, "waits", work, on_worked, &w);
    sem_post(&g.open);
    hd_jobs_free(jobs);
    CU_ASSERT_EQUAL(atomic_load(&g.done), 1);
    CU_ASSERT_EQUAL(atomic_load(&w.done), 1);
    hd_loop_close(&loop);
    gate_free(&g);
}

static void count_rows(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    (void)name;
    (void)err;
    *(size_t *)arg = code ? 0 : hd_result_row_count(r);
}

static void test_show(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_commands *commands;
    struct gate g;
    size_t rows = 0;

    gate_init(&g);
    set_up(1, 100);
    commands = hd_commands_new(&loop);
    CU_ASSERT_EQUAL(hd_jobs_add_commands(jobs, commands, &err), HD_OK);
    hd_jobs_run(jobs, NULL, "gate", pass, on_passed, &g);
    sem_wait(&g.entered);
    hd_jobs_run(jobs, NULL, "gate", pass, on_passed, &g);
    hd_commands_call(commands, "show jobs", 9, "", count_rows, &rows);
    CU_ASSERT_EQUAL(rows, 2);
    sem_post(&g.open);
    sem_post(&g.open);
    until(&g.done, 2);
    hd_commands_free(commands);
    tear_down();
    gate_free(&g);
}

/* --- threads that ask -------------------------------------------------------------------------------------
 */

enum { ASKERS = 3, EACH = 500 };

struct asker {
    pthread_t thread;
    struct work *w;
    int refused;
};

static void *ask(void *arg)
{
    struct asker *a = arg;

    for (int i = 0; i < EACH; i++) {
        int64_t h = hd_jobs_run(jobs, i % 3 ? a : NULL, "work", work, on_worked, a->w);

        if (h < 0)
            a->refused++;
        else if (i % 5 == 0)
            hd_jobs_cancel(jobs, h);
    }
    return NULL;
}

static void test_askers(void)
{
    struct work w = {.code = 1};
    struct asker a[ASKERS] = {0};
    int expected = ASKERS * EACH;

    set_up(3, 50);
    for (int i = 0; i < ASKERS; i++) {
        a[i].w = &w;
        CU_ASSERT_EQUAL(pthread_create(&a[i].thread, NULL, ask, &a[i]), 0);
    }
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(a[i].thread, NULL);
        expected -= a[i].refused;
    }
    until(&w.done, expected);
    tear_down();
    CU_ASSERT_EQUAL(atomic_load(&w.done), expected);
}

/* --- statements -------------------------------------------------------------------------------------------
 */

struct answer {
    _Atomic int done;
    int code;
    char message[256];
};

static void on_answer(void *arg, const struct hd_sql_result *r)
{
    struct answer *a = arg;

    a->code = r->code;
    snprintf(a->message, sizeof(a->message), "%.*s", (int)r->message.len, r->message.ptr);
    atomic_fetch_add(&a->done, 1);
}

static int64_t ask_sql(const char *node, uint64_t deadline_ms, struct answer *a)
{
    struct hd_sql sql = {.size = sizeof(sql), .node = node, .text = "SELECT 1", .deadline_ms = deadline_ms};

    return hd_jobs_sql(jobs, NULL, &sql, on_answer, a);
}

/* A server that takes connections and never says a word. */
static int silent_server(char *conninfo, size_t size)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, 16), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(conninfo, size, "host=127.0.0.1 port=%d dbname=x password=hush", ntohs(sa.sin_port));
    return fd;
}

static void test_silent_server(void)
{
    struct answer a = {0}, b = {0}, c = {0}, d = {0};
    char conninfo[128];
    struct hd_job_node nodes[] = {{"silent", conninfo, "u", NULL, 0, NULL},
                                  {"short", conninfo, "u", NULL, 100, NULL}};
    int fd = silent_server(conninfo, sizeof(conninfo));
    uint64_t began;
    int64_t handle;

    set_up(1, 100);
    CU_ASSERT_EQUAL(hd_jobs_set_nodes(jobs, nodes, 2), HD_OK);
    began = hd_now_ns();
    CU_ASSERT(ask_sql("silent", 300, &a) > 0);
    CU_ASSERT(ask_sql("silent", 50, &b) > 0); /* it waits for the only thread */
    until(&a.done, 1);
    until(&b.done, 1);
    CU_ASSERT_EQUAL(a.code, HD_ETIMEOUT);
    CU_ASSERT_STRING_EQUAL(a.message, "node silent: it cannot be reached in time");
    CU_ASSERT_EQUAL(b.code, HD_ETIMEOUT);
    CU_ASSERT(hd_now_ns() - began < 5000000000u);

    CU_ASSERT(ask_sql("short", 60000, &c) > 0); /* the node's own connect_timeout */
    until(&c.done, 1);
    CU_ASSERT_EQUAL(c.code, HD_ETIMEOUT);

    handle = ask_sql("silent", 60000, &d);
    while (hd_jobs_cancel(jobs, handle) != HD_OK)
        ;
    until(&d.done, 1);
    CU_ASSERT_EQUAL(d.code, HD_ECANCELLED);

    ask_sql("silent", 60000, &d); /* freeing does not wait for it */
    tear_down();
    CU_ASSERT_EQUAL(atomic_load(&d.done), 2);
    close(fd);
}

static void test_waiting_too_long(void)
{
    struct answer a = {0};
    struct gate g;

    gate_init(&g);
    set_up(1, 100);
    hd_jobs_run(jobs, NULL, "gate", pass, on_passed, &g);
    sem_wait(&g.entered);
    CU_ASSERT(ask_sql("none", 20, &a) > 0);
    until(&a.done, 1);
    CU_ASSERT_EQUAL(a.code, HD_ETIMEOUT);
    CU_ASSERT_STRING_EQUAL(a.message, "the deadline passed while it waited for a job thread");
    sem_post(&g.open);
    tear_down();
    gate_free(&g);
}

static void test_no_server(void)
{
    struct hd_job_node nodes[] = {{"refused", "host=127.0.0.1 port=1 password=hush", "u", NULL, 0, NULL},
                                  {"userless", "host=127.0.0.1", NULL, NULL, 0, NULL},
                                  {"broken", "host=x password='hush", "u", NULL, 0, NULL}};
    static const struct {
        const char *node;
        int code;
        const char *message;
    } cases[] = {
        {"nowhere", HD_ENOENT, "there is no node nowhere"},
        {"userless", HD_EINVAL,
         "node userless: statements need a control_user, a user in conninfo or a [user] with admin = yes"},
        {"broken", HD_EINVAL, "node broken: its conninfo cannot be read"},
    };

    set_up(2, 100);
    CU_ASSERT_EQUAL(hd_jobs_set_nodes(jobs, nodes, 3), HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        struct answer a = {0};

        CU_ASSERT(ask_sql(cases[i].node, 0, &a) > 0);
        until(&a.done, 1);
        CU_ASSERT_EQUAL(a.code, cases[i].code);
        CU_ASSERT_STRING_EQUAL(a.message, cases[i].message);
    }
    struct answer a = {0};

    CU_ASSERT(ask_sql("refused", 0, &a) > 0);
    until(&a.done, 1);
    CU_ASSERT_EQUAL(a.code, HD_EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(a.message, "refused"));
    CU_ASSERT_PTR_NULL(strstr(a.message, "hush"));
    tear_down();
}

static void test_bad_requests(void)
{
    const char *params[1] = {NULL};
    struct hd_sql sql = {.size = 4, .node = "n", .text = "t"};
    const struct hd_sql_result *r;

    set_up(1, 100);
    CU_ASSERT_EQUAL(hd_jobs_sql(jobs, NULL, NULL, NULL, NULL), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_jobs_sql(jobs, NULL, &sql, NULL, NULL), HD_EINVAL);
    sql.size = sizeof(sql);
    sql.text = NULL;
    CU_ASSERT_EQUAL(hd_jobs_sql(jobs, NULL, &sql, NULL, NULL), HD_EINVAL);
    sql.text = "SELECT $1";
    sql.param_count = 1;
    CU_ASSERT_EQUAL(hd_jobs_sql(jobs, NULL, &sql, NULL, NULL), HD_EINVAL);
    sql.params = params;
    CU_ASSERT(hd_jobs_sql(jobs, NULL, &sql, NULL, NULL) > 0); /* nobody hears of it */
    hd_thread_name(HD_THREAD_OTHER, 0);
    CU_ASSERT_EQUAL(hd_jobs_sql_wait(jobs, &sql, &r), HD_ENOENT);
    CU_ASSERT_EQUAL(r->code, HD_ENOENT);
    hd_jobs_free_result(r);
    sql.text = NULL;
    CU_ASSERT_EQUAL(hd_jobs_sql_wait(jobs, &sql, &r), HD_EINVAL);
    CU_ASSERT_PTR_NULL(r);
    hd_jobs_free_result(r);
    hd_thread_name(HD_THREAD_CONTROL, 0);
    tear_down();
}

/* --- databases, as "howdah.nodes/1" tells of them ------------------------------------------------------- */

/* "NODE/DBNAME", with a '+' where settings are followed; "" where there is none. */
static const char *served(const struct hd_nodes_v1 *nodes, const char *name)
{
    static char text[100];
    struct hd_served_database d = {.size = sizeof(d)};

    text[0] = 0;
    if (nodes->database(NULL, (struct hd_str){name, strlen(name)}, &d) == HD_OK)
        snprintf(text, sizeof(text), "%.*s/%.*s%s", (int)d.node.len, d.node.ptr, (int)d.dbname.len,
                 d.dbname.ptr, d.flags & HD_SERVED_SETTINGS ? "+" : "");
    return text;
}

static void test_databases(void)
{
    static const struct hd_job_database all[] = {
        {"shop", "main", "shop_live", 1}, {"own", "main", NULL, 0}, {"*", "other", NULL, 0}};
    const struct hd_nodes_v1 *nodes;

    set_up(1, 1);
    CU_ASSERT_EQUAL_FATAL(hd_jobs_serve_nodes(jobs), HD_OK);
    nodes = hd_service_find(HD_SERVICE_NODES);
    CU_ASSERT_STRING_EQUAL(served(nodes, "shop"), "");
    CU_ASSERT_EQUAL(hd_jobs_serve_databases(all, 1), HD_OK);
    CU_ASSERT_STRING_EQUAL(served(nodes, "shop"), "main/shop_live+");
    CU_ASSERT_STRING_EQUAL(served(nodes, ""), "main/shop_live+");
    CU_ASSERT_STRING_EQUAL(served(nodes, "shop_live"), "");
    CU_ASSERT_EQUAL(hd_jobs_serve_databases(all, 3), HD_OK);
    CU_ASSERT_STRING_EQUAL(served(nodes, "own"), "main/own");
    CU_ASSERT_STRING_EQUAL(served(nodes, "any"), "other/any");
    CU_ASSERT_STRING_EQUAL(served(nodes, ""), "");
    CU_ASSERT_EQUAL(hd_jobs_serve_databases(all + 2, 1), HD_OK);
    CU_ASSERT_STRING_EQUAL(served(nodes, "any"), "other/any");
    CU_ASSERT_STRING_EQUAL(served(nodes, ""), "");
    CU_ASSERT_EQUAL(hd_jobs_serve_databases(NULL, 0), HD_OK);
    tear_down();
}

UNIT_MAIN("jobs", {"run", test_run}, {"bound and cancel", test_bound_and_cancel},
          {"owners never overlap", test_owners_never_overlap}, {"the owner goes", test_owner_goes},
          {"freeing tells", test_free_tells}, {"show", test_show}, {"many ask", test_askers},
          {"a silent server", test_silent_server}, {"waiting too long", test_waiting_too_long},
          {"no server", test_no_server}, {"bad requests", test_bad_requests}, {"databases", test_databases})
