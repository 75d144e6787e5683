/*
 * Services as plugins see them, on a host object without a plugin: watches, timers and posts on two loops,
 * and what each service clears away when its user stops.
 */
#include "unit.h"

#include "base/thread.h"
#include "io/loop.h"
#include "plug/bus.h"
#include "plug/commands.h"
#include "plug/jobs.h"
#include "plug/loop_service.h"
#include "plug/metrics.h"
#include "plug/scheduler.h"
#include "plug/services.h"

#include <howdah/howdah.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static struct hd_loop loop;
static const struct hd_loop_v1 *api;
static hd_host *host;

static void set_up(void)
{
    hd_thread_name(HD_THREAD_CONTROL, 0);
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&loop), HD_OK);
    hd_loop_serve(&loop);
    api = hd_service_find(HD_SERVICE_LOOP);
    host = hd_host_new_plain("test");
    CU_ASSERT_PTR_NOT_NULL_FATAL(api);
    CU_ASSERT_PTR_NOT_NULL_FATAL(host);
}

static void tear_down(void)
{
    hd_host_free_plain(host);
    hd_loop_close(&loop);
}

static void turn(void)
{
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static void until(_Atomic int *what, int value)
{
    while (atomic_load(what) < value)
        uv_run(&loop.uv, UV_RUN_ONCE);
}

static void count(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

struct pipe_end {
    int fd;
    _Atomic int calls;
    uint32_t events;
    char byte;
};

static void on_events(void *arg, uint32_t events)
{
    struct pipe_end *p = arg;

    p->calls++;
    p->events |= events;
    if (events & HD_READABLE)
        CU_ASSERT(read(p->fd, &p->byte, 1) >= 0);
}

static void test_watch(void)
{
    struct pipe_end in = {0};
    hd_watch *w;
    int fds[2];

    set_up();
    CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
    in.fd = fds[0];
    w = api->watch(host, fds[0], HD_READABLE, on_events, &in);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    CU_ASSERT_PTR_NULL(api->watch(host, fds[0], HD_READABLE, on_events, &in)); /* watched already */
    CU_ASSERT_PTR_NULL(api->watch(host, -1, HD_READABLE, on_events, &in));
    CU_ASSERT_PTR_NULL(api->watch(host, fds[0], HD_READABLE, NULL, &in));
    turn();
    CU_ASSERT_EQUAL(in.calls, 0);
    CU_ASSERT_EQUAL(write(fds[1], "x", 1), 1);
    until(&in.calls, 1);
    CU_ASSERT_EQUAL(in.byte, 'x');
    api->rewatch(w, 0);
    CU_ASSERT_EQUAL(write(fds[1], "y", 1), 1);
    turn();
    CU_ASSERT_EQUAL(in.calls, 1);
    api->rewatch(w, HD_READABLE);
    until(&in.calls, 2);
    CU_ASSERT_EQUAL(in.byte, 'y');
    close(fds[1]);
    until(&in.calls, 3);
    CU_ASSERT(in.events & (HD_HANGUP | HD_READABLE));
    api->unwatch(w);
    turn();
    close(fds[0]);
    tear_down();
}

static void test_timer(void)
{
    _Atomic int once = 0, often = 0, never = 0;
    hd_timer *a, *b;

    set_up();
    a = api->timer(host, 1, 0, count, &once);
    b = api->timer(host, 1, 1, count, &often);
    CU_ASSERT_PTR_NOT_NULL(api->timer(host, 3600000, 0, count, &never)); /* left behind */
    CU_ASSERT_PTR_NULL(api->timer(host, 1, 0, NULL, NULL));
    until(&often, 3);
    CU_ASSERT_EQUAL(atomic_load(&once), 1);
    api->retime(a, 1);
    until(&once, 2);
    api->untimer(a);
    api->untimer(b);
    CU_ASSERT_PTR_NOT_NULL(api->timer(host, 0, 1, count, &never)); /* would be due at once */
    tear_down();
    CU_ASSERT_EQUAL(atomic_load(&never), 0);
}

/* A worker with a loop. */
struct worker {
    pthread_t thread;
    struct hd_loop loop;
    _Atomic int ready, made, stopped;
    _Atomic int ticks;
};

static void *run_worker(void *arg)
{
    struct worker *w = arg;

    hd_thread_name(HD_THREAD_WORKER, 0);
    CU_ASSERT_EQUAL(hd_loop_init(&w->loop), HD_OK);
    hd_loop_serve_worker(0, &w->loop);
    atomic_store(&w->ready, 1);
    uv_async_send(&loop.wake);
    hd_loop_run(&w->loop);
    hd_loop_serve_worker(0, NULL);
    hd_loop_close(&w->loop);
    return NULL;
}

static void make_things(void *arg)
{
    struct worker *w = arg;

    CU_ASSERT(hd_loop_current() == &w->loop);
    CU_ASSERT_PTR_NOT_NULL(api->timer(host, 1, 1, count, &w->ticks));
    CU_ASSERT_PTR_NOT_NULL(api->timer(host, 3600000, 0, count, &w->ticks));
    CU_ASSERT_EQUAL(api->post(host, HD_LOOP_CONTROL, count, &w->made), HD_OK);
}

static void stop_worker(void *arg)
{
    hd_loop_stop(&((struct worker *)arg)->loop);
}

static void test_post_and_stop(void)
{
    struct worker w = {0};
    _Atomic int here = 0;
    hd_host *other;
    int before;

    set_up();
    CU_ASSERT_EQUAL(api->post(host, 0, count, &here), HD_ENOENT); /* no worker yet */
    CU_ASSERT_EQUAL(api->post(host, -2, count, &here), HD_EINVAL);
    CU_ASSERT_EQUAL(api->post(host, 0, NULL, &here), HD_EINVAL);
    CU_ASSERT_EQUAL(api->post(host, 100000, count, &here), HD_ENOENT);
    CU_ASSERT_EQUAL(pthread_create(&w.thread, NULL, run_worker, &w), 0);
    until(&w.ready, 1);
    CU_ASSERT_EQUAL(api->post(host, 0, make_things, &w), HD_OK);
    until(&w.made, 1);
    while (!atomic_load(&w.ticks))
        turn();

    /* The plugin stops: what it left on the worker ends there, and what is under way is not called. */
    other = hd_host_new_plain("other");
    CU_ASSERT_EQUAL(api->post(host, HD_LOOP_CONTROL, count, &here), HD_OK);
    CU_ASSERT_EQUAL(api->post(other, HD_LOOP_CONTROL, count, &w.made), HD_OK);
    hd_host_free_plain(host);
    until(&w.made, 2);
    CU_ASSERT_EQUAL(atomic_load(&here), 0);
    before = atomic_load(&w.ticks);
    host = other;
    CU_ASSERT_EQUAL(api->post(host, 0, stop_worker, &w), HD_OK);
    pthread_join(w.thread, NULL); /* its loop closes only when nothing is left on it */
    CU_ASSERT(atomic_load(&w.ticks) <= before + 1);
    turn();
    tear_down();
}

/* --- the other services -----------------------------------------------------------------------------------
 */

static int32_t answer(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)arg;
    (void)call;
    (void)err;
    return HD_OK;
}

static void on_event(void *arg, const struct hd_event *ev)
{
    (void)ev;
    count(arg);
}

static int32_t run_job(void *arg)
{
    count(arg);
    return HD_OK;
}

static void on_job(void *arg, int32_t code)
{
    (void)code;
    count(arg);
}

static void code_of(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    (void)r;
    (void)name;
    (void)err;
    *(int *)arg = code;
}

static void test_services(void)
{
    struct hd_commands *commands;
    struct hd_metrics *metrics;
    struct hd_bus *bus;
    struct hd_jobs *jobs;
    struct hd_scheduler *scheduler;
    const struct hd_commands_v1 *c;
    const struct hd_metrics_v1 *m;
    const struct hd_bus_v1 *b;
    const struct hd_jobs_v1 *j;
    const struct hd_scheduler_v1 *s;
    struct hd_schedule sched = {.size = sizeof(sched), .name = "s", .interval_ms = 3600000, .fn = run_job};
    struct hd_event_node node = {.size = sizeof(node)};
    struct hd_error err = HD_ERROR_INIT;
    _Atomic int events = 0, ran = 0, runs = 0;
    int64_t id, schedule;
    int code = 1;

    set_up();
    commands = hd_commands_new(&loop);
    metrics = hd_metrics_new(100);
    bus = hd_bus_new(&loop, 64);
    CU_ASSERT_EQUAL_FATAL(hd_jobs_new(&loop, 1, 10, &jobs, &err), HD_OK);
    scheduler = hd_scheduler_new(&loop, jobs);
    CU_ASSERT_EQUAL(hd_commands_serve(commands), HD_OK);
    CU_ASSERT_EQUAL(hd_metrics_serve(metrics), HD_OK);
    CU_ASSERT_EQUAL(hd_bus_serve(bus), HD_OK);
    CU_ASSERT_EQUAL(hd_jobs_serve(jobs), HD_OK);
    CU_ASSERT_EQUAL(hd_scheduler_serve(scheduler), HD_OK);
    c = hd_service_find(HD_SERVICE_COMMANDS);
    m = hd_service_find(HD_SERVICE_METRICS);
    b = hd_service_find(HD_SERVICE_BUS);
    j = hd_service_find(HD_SERVICE_JOBS);
    s = hd_service_find(HD_SERVICE_SCHEDULER);
    CU_ASSERT_FATAL(c && m && b && j && s);

    CU_ASSERT_EQUAL(c->add(host, "MINE", NULL, NULL, 0, answer, NULL, &err), HD_OK);
    CU_ASSERT_EQUAL(c->add(host, NULL, NULL, NULL, 0, answer, NULL, &err), HD_EINVAL);
    hd_commands_call(commands, "mine", 4, "", code_of, &code);
    CU_ASSERT_EQUAL(code, HD_OK);
    id = m->get(host, HD_METRIC_COUNTER, "mine_total", NULL, NULL, 0);
    m->add(host, id, 3);
    CU_ASSERT_EQUAL(m->value(host, id), 3);
    CU_ASSERT(b->subscribe(host, HD_TOPIC_NODE_HEALTH, on_event, &events, &err) > 0);
    CU_ASSERT_EQUAL(b->publish(host, b->topic(host, HD_TOPIC_NODE_HEALTH), &node, sizeof(node)), HD_OK);
    until(&events, 1);
    CU_ASSERT(j->run(host, "job", run_job, on_job, &ran) > 0);
    until(&ran, 2);
    sched.arg = &runs;
    schedule = s->add(host, &sched, &err);
    CU_ASSERT(schedule > 0);
    CU_ASSERT_EQUAL(s->run_now(host, schedule), HD_OK);
    while (!atomic_load(&runs))
        turn();

    /* The plugin stops: nothing of it is left. */
    hd_host_free_plain(host);
    host = hd_host_new_plain("next");
    hd_commands_call(commands, "mine", 4, "", code_of, &code);
    CU_ASSERT_EQUAL(code, HD_ENOENT);
    CU_ASSERT_EQUAL(hd_metrics_value(metrics, id), 0);
    hd_bus_publish(bus, HD_BUS_NODE_HEALTH, &node, sizeof(node));
    turn();
    CU_ASSERT_EQUAL(atomic_load(&events), 1);
    CU_ASSERT_EQUAL(hd_scheduler_run_now(scheduler, schedule), HD_ENOENT);

    hd_scheduler_free(scheduler);
    hd_jobs_free(jobs);
    turn();
    hd_commands_free(commands);
    hd_bus_free(bus);
    hd_metrics_free(metrics);
    tear_down();
}

UNIT_MAIN("services", {"watch", test_watch}, {"timer", test_timer}, {"post and stop", test_post_and_stop},
          {"the other services", test_services})
