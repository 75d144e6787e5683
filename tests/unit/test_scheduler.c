/*
 * The scheduler: intervals, running at once, removal in every state, bounds, and its two commands. Leading on
 * a real server is tests/integration/sqljobs.c's.
 */
#include "unit.h"

#include "base/thread.h"
#include "base/units.h"
#include "io/loop.h"
#include "plug/commands.h"
#include "plug/jobs.h"
#include "plug/scheduler.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct hd_loop loop;
static struct hd_jobs *jobs;
static struct hd_scheduler *scheduler;

static void set_up(void)
{
    struct hd_error err = HD_ERROR_INIT;

    hd_thread_name(HD_THREAD_CONTROL, 0);
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&loop), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_jobs_new(&loop, 2, 100, &jobs, &err), HD_OK);
    scheduler = hd_scheduler_new(&loop, jobs);
    CU_ASSERT_PTR_NOT_NULL_FATAL(scheduler);
}

static void tear_down(void)
{
    hd_scheduler_free(scheduler);
    hd_jobs_free(jobs);
    hd_loop_close(&loop);
}

static void until(_Atomic int *what, int value)
{
    while (atomic_load(what) < value)
        uv_run(&loop.uv, UV_RUN_ONCE);
}

struct task {
    _Atomic int runs;
    uint64_t at[16];
    int32_t code;
};

static int32_t run_task(void *arg)
{
    struct task *t = arg;
    int n = atomic_load(&t->runs);

    if (n < 16)
        t->at[n] = hd_now_ns();
    atomic_fetch_add(&t->runs, 1);
    return t->code;
}

static int64_t add(const char *name, uint64_t interval, uint64_t jitter, int32_t (*fn)(void *), void *arg,
                   const void *owner)
{
    struct hd_schedule s = {
        .size = sizeof(s), .name = name, .interval_ms = interval, .jitter_ms = jitter, .fn = fn, .arg = arg};
    struct hd_error err = HD_ERROR_INIT;

    return hd_scheduler_add(scheduler, owner, &s, &err);
}

static void test_interval(void)
{
    struct task t = {0}, u = {0};
    uint64_t began;

    set_up();
    began = hd_now_ns();
    CU_ASSERT(add("tick", 20, 0, run_task, &t, NULL) > 0);
    CU_ASSERT(add("tock", 10, 20, run_task, &u, NULL) > 0);
    until(&t.runs, 5);
    until(&u.runs, 5);
    for (int i = 0; i < 5; i++) {
        CU_ASSERT(t.at[i] - (i ? t.at[i - 1] : began) >= 20000000u);
        CU_ASSERT(u.at[i] - (i ? u.at[i - 1] : began) >= 10000000u);
    }
    tear_down();
}

struct text {
    int code;
    char all[2048], error[HD_ERROR_TEXT];
};

static void collect(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    struct text *t = arg;
    size_t n = 0, len;
    char buf[HD_CELL_TEXT];

    (void)name;
    t->code = code;
    snprintf(t->error, sizeof(t->error), "%s", err->text);
    t->all[0] = 0;
    for (size_t i = 0; r && i < hd_result_row_count(r); i++)
        for (uint32_t k = 0; k < hd_result_column_count(r); k++)
            if (k != 2 && k != 3)
                n += (size_t)snprintf(t->all + n, sizeof(t->all) - n, "%s|",
                                      hd_result_cell_text(r, i, k, buf, &len));
}

static struct text command(struct hd_commands *c, const char *line)
{
    struct text t;

    hd_commands_call(c, line, strlen(line), "", collect, &t);
    return t;
}

static void test_commands(void)
{
    struct hd_commands *c;
    struct hd_error err = HD_ERROR_INIT;
    struct task t = {.code = HD_EIO};
    struct text text;

    set_up();
    c = hd_commands_new(&loop);
    CU_ASSERT_EQUAL(hd_scheduler_add_commands(scheduler, c, &err), HD_OK);
    add("hourly", 3600000, 0, run_task, &t, NULL);
    text = command(c, "show schedules");
    CU_ASSERT_EQUAL(strncmp(text.all, "hourly|1h||", 11), 0);
    text = command(c, "schedule run nothing");
    CU_ASSERT_EQUAL(text.code, HD_ENOENT);
    CU_ASSERT_STRING_EQUAL(text.error, "there is no schedule nothing; SHOW SCHEDULES lists them");
    text = command(c, "schedule run");
    CU_ASSERT_EQUAL(text.code, HD_EINVAL);
    text = command(c, "schedule run Hourly");
    CU_ASSERT_EQUAL(text.code, HD_OK);
    text = command(c, "schedule run hourly");
    CU_ASSERT_EQUAL(text.code, HD_EBUSY);
    until(&t.runs, 1);
    do {
        uv_run(&loop.uv, UV_RUN_ONCE);
        text = command(c, "show schedules");
    } while (strstr(text.all, "running"));
    CU_ASSERT_EQUAL(strncmp(text.all, "hourly|1h|i/o error|", 20), 0);
    hd_commands_free(c);
    tear_down();
}

struct gate {
    sem_t entered, open;
    _Atomic int runs;
};

static int32_t pass(void *arg)
{
    struct gate *g = arg;

    sem_post(&g->entered);
    sem_wait(&g->open);
    atomic_fetch_add(&g->runs, 1);
    return HD_OK;
}

static void test_removal(void)
{
    struct task t = {0}, after = {0};
    struct gate g = {0};
    int64_t id, gate;
    int owner;

    sem_init(&g.entered, 0, 0);
    sem_init(&g.open, 0, 0);
    set_up();
    id = add("never", 30, 0, run_task, &t, NULL);
    hd_scheduler_remove(scheduler, id);
    hd_scheduler_remove(scheduler, id);
    CU_ASSERT_EQUAL(hd_scheduler_run_now(scheduler, id), HD_ENOENT);

    /* Removed while it runs: it ends, and does not come again. */
    gate = add("gate", 3600000, 0, pass, &g, &owner);
    CU_ASSERT_EQUAL(hd_scheduler_run_now(scheduler, gate), HD_OK);
    CU_ASSERT_EQUAL(hd_scheduler_run_now(scheduler, gate), HD_EBUSY);
    sem_wait(&g.entered);
    hd_scheduler_drop_owner(scheduler, &owner);
    hd_jobs_drop_owner(jobs, &owner);
    sem_post(&g.open);
    add("after", 60, 0, run_task, &after, NULL);
    until(&after.runs, 1);
    CU_ASSERT_EQUAL(atomic_load(&g.runs), 1);
    CU_ASSERT_EQUAL(atomic_load(&t.runs), 0);

    /* Freed while one runs and another waits for its owner. */
    gate = add("gate", 3600000, 0, pass, &g, &owner);
    id = add("waits", 3600000, 0, run_task, &t, &owner);
    hd_scheduler_run_now(scheduler, gate);
    sem_wait(&g.entered);
    hd_scheduler_run_now(scheduler, id);
    sem_post(&g.open);
    tear_down();
    sem_destroy(&g.entered);
    sem_destroy(&g.open);
}

static void test_refusals(void)
{
    struct hd_schedule s = {.size = sizeof(s), .name = "x", .interval_ms = 1, .fn = run_task, .leader = 1};
    struct hd_error err = HD_ERROR_INIT;
    struct task t = {0};
    int64_t id = 1;

    set_up();
    CU_ASSERT_EQUAL(add("", 1, 0, run_task, NULL, NULL), HD_EINVAL);
    CU_ASSERT_EQUAL(add(NULL, 1, 0, run_task, NULL, NULL), HD_EINVAL);
    CU_ASSERT_EQUAL(add("x", 0, 0, run_task, NULL, NULL), HD_EINVAL);
    CU_ASSERT_EQUAL(add("x", UINT64_MAX, 0, run_task, NULL, NULL), HD_EINVAL);
    CU_ASSERT_EQUAL(add("x", 1, 0, NULL, NULL, NULL), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_scheduler_add(scheduler, NULL, NULL, &err), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_scheduler_add(scheduler, NULL, &s, &err), HD_EINVAL);
    CU_ASSERT_STRING_EQUAL(err.text, "schedule x: a leader needs a node");
    for (int i = 0; i < 2000 && id > 0; i++)
        id = add("many", 3600000, 0, run_task, &t, NULL);
    CU_ASSERT_EQUAL(id, HD_EFULL);
    tear_down();
}

static void test_leader_without_node(void)
{
    struct hd_schedule s = {.size = sizeof(s), .name = "led", .node = "gone", .interval_ms = 5, .leader = 1};
    struct hd_commands *c;
    struct hd_error err = HD_ERROR_INIT;
    struct task t = {0}, other = {0};
    struct text text;

    set_up();
    c = hd_commands_new(&loop);
    hd_scheduler_add_commands(scheduler, c, &err);
    s.fn = run_task;
    s.arg = &t;
    CU_ASSERT(hd_scheduler_add(scheduler, NULL, &s, &err) > 0);
    add("other", 20, 0, run_task, &other, NULL);
    until(&other.runs, 3);
    text = command(c, "show schedules");
    CU_ASSERT_PTR_NOT_NULL(strstr(text.all, "there is no node gone|"));
    CU_ASSERT_EQUAL(atomic_load(&t.runs), 0);
    hd_commands_free(c);
    tear_down();
}

UNIT_MAIN("scheduler", {"interval", test_interval}, {"commands", test_commands}, {"removal", test_removal},
          {"refusals", test_refusals}, {"a leader without a node", test_leader_without_node})
