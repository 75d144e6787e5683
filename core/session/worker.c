/*
 * Worker threads; see worker.h.
 */
#include "session/ending.h"
#include "session/worker.h"

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/units.h"
#include "plug/commands.h"
#include "plug/loop_service.h"
#include "plug/template_service.h"
#include "session/auth.h"
#include "session/client.h"
#include "session/debug.h"
#include "session/handover.h"
#include "session/listener.h"
#include "session/place.h"
#include "session/pool.h"
#include "session/sequence.h"
#include "session/server.h"
#include "session/show.h"
#include "session/settle.h"
#include "session/statement.h"
#include "session/tally.h"

#define TICK_MS         100
#define CONNECT_THREADS 32
/* Parsing a text that is nested as deep as is allowed takes about 4 MiB. Only what is touched becomes memory.
 */
#define STACK_BYTES (16u * 1024 * 1024)

/* --- one worker
 * ---------------------------------------------------------------------------------------------- */

struct start {
    struct hd_worker *w;
    sem_t ready;
    int code;
};

static void on_resume(void *arg, struct hd_chain_exec *exec)
{
    struct hd_chain_session *ending = hd_chain_ending_session(exec);

    (void)arg;
    if (ending)
        hd_ending_resumed(HD_CONTAINER_OF(ending, struct hd_session, chain));
    else
        hd_session_wake(HD_CONTAINER_OF(exec, struct hd_stmt, exec)->session);
}

/* No descriptors were left a moment ago: look again. */
static void resume_accepting(struct hd_worker *w)
{
    w->accept_paused = 0;
    for (struct hd_listener *l = w->listeners; l; l = l->next)
        hd_loop_watch_set(&l->watch, UV_READABLE);
}

static void watch_memory(struct hd_worker *w)
{
    size_t most = (size_t)w->settings->host.max_memory;
    int over = most && hd_alloc_total() > most;

    if (over != atomic_load(&w->all->memory_over))
        hd_log(over ? HD_LOG_WARNING : HD_LOG_INFO,
               over ? "max_memory is reached" : "memory is below max_memory",
               HD_KV("bytes", (int64_t)hd_alloc_total()));
    atomic_store(&w->all->memory_over, over);
}

static void drained_here(struct hd_worker *w);

static void on_tick(struct hd_loop_timer *t)
{
    struct hd_worker *w = HD_CONTAINER_OF(t, struct hd_worker, tick);
    uint64_t now = hd_now_ns();

    hd_pools_tick(w, now);
    hd_settle_tick(w, now);
    hd_sessions_tick(w, now);
    hd_place_tick(w);
    if (!hd_list_empty(&w->io.starved))
        hd_io_retry(&w->io);
    if (w->accept_paused)
        resume_accepting(w);
    if (w->index == 0)
        watch_memory(w);
    if (w->draining)
        drained_here(w);
    else if (w->retiring)
        hd_handover_tick(w);
}

/* Threads start one after the other, so that the reason is written and told once. */
static void choose_io(struct hd_worker *w)
{
    enum hd_io_choice wanted = (enum hd_io_choice)w->settings->host.io;
    struct hd_error err = HD_ERROR_INIT;

    if (wanted == HD_IO_UV || !hd_io_use_uring(&w->io, &err) || w->all->io_reason[0])
        return;
    snprintf(w->all->io_reason, sizeof(w->all->io_reason), "%s", err.text);
    hd_log(wanted == HD_IO_URING ? HD_LOG_WARNING : HD_LOG_INFO, "io_uring cannot be had, io is uv",
           HD_KV("reason", err.text));
}

static int init(struct hd_worker *w)
{
    int code = hd_loop_init(&w->loop);

    if (code)
        return code;
    code = hd_io_init(&w->io, &w->loop, (size_t)w->settings->host.buffer_memory);
    if (code)
        return code;
    choose_io(w);
    w->params = hd_params_table_new();
    w->templates =
        hd_template_cache_new(w->all->templates, (size_t)w->settings->host.max_templates, hd_chain_plan_drop);
    if (!w->params || !w->templates)
        return HD_ENOMEM;
    code = hd_chain_new(w->all->env.plugins, (uint32_t)w->index, &w->chain);
    if (code)
        return code;
    hd_chain_set_resume(w->chain, on_resume, w);
    hd_loop_serve_worker((uint32_t)w->index, &w->loop);
    hd_loop_timer_init(&w->loop, &w->tick, on_tick);
    hd_loop_timer_start(&w->tick, TICK_MS, TICK_MS);
    return HD_OK;
}

/* The loop has ended: what it still holds is given back. */
static void fini(struct hd_worker *w)
{
    hd_loop_close(&w->loop);
    hd_io_close(&w->io);
    hd_stmts_free(w);
    hd_template_cache_free(w->templates);
    hd_strbuf_free(&w->text);
}

/* Nobody cancels a worker. Where the thread says so, glibc's recv, send and epoll_wait need not lock the bus
 * twice each to make it possible while they wait. */
static void never_cancelled(void)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
}

static void *thread_main(void *arg)
{
    struct start *st = arg;
    struct hd_worker *w = st->w;
    struct hd_sockets *sockets = w->all->sockets; /* a reload may change them as soon as all are there */

    never_cancelled();
    hd_thread_name(HD_THREAD_WORKER, w->index);
    st->code = init(w);
    if (st->code) {
        sem_post(&st->ready);
        return NULL;
    }
    sem_post(&st->ready); /* st is gone from here on */
    sem_wait(&w->go);
    if (!w->all->failed)
        hd_listeners_apply(w, w->settings, sockets);
    hd_loop_run(&w->loop);
    hd_loop_serve_worker((uint32_t)w->index, NULL);
    fini(w);
    return NULL;
}

static int start_worker(struct hd_workers *all, int index)
{
    struct hd_worker *w = &all->worker[index];
    struct start st = {.w = w};
    pthread_attr_t attr;
    int e;

    w->all = all;
    w->index = index;
    w->settings = hd_settings_hold(all->settings);
    hd_list_init(&w->sessions);
    hd_list_init(&w->logins);
    hd_list_init(&w->closing);
    hd_list_init(&w->lost);
    sem_init(&w->go, 0, 0);
    sem_init(&st.ready, 0, 0);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    e = pthread_create(&w->thread, &attr, thread_main, &st);
    pthread_attr_destroy(&attr);
    if (!e)
        sem_wait(&st.ready);
    sem_destroy(&st.ready);
    if (!e && st.code)
        pthread_join(w->thread, NULL);
    if (e || st.code) {
        sem_destroy(&w->go);
        hd_settings_release(w->settings);
        return HD_EFAIL;
    }
    all->started++;
    return HD_OK;
}

/* --- all of them
 * --------------------------------------------------------------------------------------------- */

static void free_all(struct hd_workers *w)
{
    for (int i = 0; i < w->started; i++) {
        sem_destroy(&w->worker[i].go);
        hd_pools_free(&w->worker[i]);
        hd_params_table_free(w->worker[i].params);
        hd_settings_release(w->worker[i].settings);
    }
    hd_tallies_free(w);
    hd_sequences_free(w);
    hd_auth_free(w->auth);
    hd_template_serve_from(NULL);
    hd_templates_free(w->templates);
    hd_prep_table_free(w->preps);
    if (w->sockets && w->succeeded)
        hd_sockets_leave(w->sockets);
    else if (w->sockets && w->failed)
        hd_sockets_drop(w->sockets);
    else if (w->sockets)
        hd_sockets_retire(w->sockets, NULL, w->env.keeper);
    if (w->new_sockets)
        hd_sockets_drop(w->new_sockets);
    hd_settings_release(w->settings);
    hd_settings_release(w->prepared);
    pthread_mutex_destroy(&w->pools_lock);
    hd_free(w->worker);
    hd_free(w);
}

/* No worker takes a client before all are there: a cancel may name any of them. */
static void let_go(struct hd_workers *w)
{
    for (int i = 0; i < w->started; i++)
        sem_post(&w->worker[i].go);
}

int hd_workers_start(struct hd_settings *s, const struct hd_workers_env *env, struct hd_workers **out,
                     struct hd_error *err)
{
    struct hd_workers *w = hd_calloc(1, sizeof(*w));
    int code;

    if (!w)
        return hd_fail(err, HD_ENOMEM, "no memory for workers");
    w->env = *env;
    w->count = s->host.worker_count;
    w->settings = hd_settings_hold(s);
    atomic_init(&w->next_session, 1);
    pthread_mutex_init(&w->pools_lock, NULL);
    hd_random_bytes(w->mock_secret, sizeof(w->mock_secret));
    w->worker = hd_calloc((size_t)w->count, sizeof(*w->worker));
    w->preps = hd_prep_table_new();
    w->templates = hd_templates_new((size_t)s->host.max_templates);
    w->connector = hd_connector_new(CONNECT_THREADS);
    w->auth = hd_auth_new((size_t)s->host.auth_cache_size);
    if (w->templates)
        hd_templates_set_text_limit(w->templates, (size_t)s->host.max_statement_length);
    hd_template_serve_from(w->templates);
    if (!w->worker || !w->preps || !w->templates || !w->connector || !w->auth)
        code = hd_fail(err, HD_ENOMEM, "no memory for workers");
    else
        code = hd_sockets_open(s, NULL, w->count, env->keeper, &w->sockets, err);
    if (!code)
        hd_sockets_keep(w->sockets, env->keeper);
    if (!code && env->metrics)
        code = hd_meter_init(w, err);
    for (int i = 0; i < w->count && !code; i++)
        if (start_worker(w, i))
            code = hd_fail(err, HD_EFAIL, "worker %d of %d cannot start", i, w->count);
    if (!code && env->commands)
        code = hd_session_add_commands(w, err);
    if (!code && env->commands)
        code = hd_debug_add_commands(w, err);
    w->failed = code != HD_OK;
    let_go(w);
    if (code) {
        hd_workers_stop(w);
        return code;
    }
    *out = w;
    return HD_OK;
}

int hd_workers_count(const struct hd_workers *w)
{
    return w->count;
}

const char *hd_workers_io(const struct hd_workers *w, const char **reason)
{
    *reason = w->io_reason;
    return hd_io_engine(&w->worker[0].io);
}

struct hd_loop *hd_workers_loop(struct hd_workers *w, int worker)
{
    return &w->worker[worker].loop;
}

/* --- a function on each worker
 * ------------------------------------------------------------------------------- */

struct each;

struct each_one {
    struct hd_post post;
    struct each *each;
    struct hd_worker *w;
};

struct each {
    void (*fn)(struct hd_worker *worker, void *arg);
    void (*done)(void *arg);
    void *arg;
    struct hd_loop *control;
    struct hd_post back;
    _Atomic int left;
    struct each_one one[];
};

static void each_done(struct hd_post *p)
{
    struct each *e = HD_CONTAINER_OF(p, struct each, back);

    if (e->done)
        e->done(e->arg);
    hd_free(e);
}

static void each_run(struct hd_post *p)
{
    struct each_one *o = HD_CONTAINER_OF(p, struct each_one, post);
    struct each *e = o->each;

    e->fn(o->w, e->arg);
    if (atomic_fetch_sub(&e->left, 1) == 1) {
        e->back.fn = each_done;
        hd_loop_post(e->control, &e->back);
    }
}

int hd_workers_each(struct hd_workers *w, void (*fn)(struct hd_worker *worker, void *arg),
                    void (*done)(void *arg), void *arg)
{
    struct each *e = hd_calloc(1, sizeof(*e) + (size_t)w->count * sizeof(e->one[0]));

    if (!e)
        return HD_ENOMEM;
    e->fn = fn;
    e->done = done;
    e->arg = arg;
    e->control = w->env.control;
    atomic_init(&e->left, w->count);
    for (int i = 0; i < w->count; i++) {
        e->one[i] = (struct each_one){.post = {NULL, each_run}, .each = e, .w = &w->worker[i]};
        hd_loop_post(&w->worker[i].loop, &e->one[i].post);
    }
    return HD_OK;
}

/* --- reload
 * -------------------------------------------------------------------------------------------------- */

int hd_workers_prepare(struct hd_workers *w, struct hd_settings *s, struct hd_error *err)
{
    struct hd_sockets *k = NULL;
    int code = hd_sockets_open(s, w->sockets, w->count, NULL, &k, err);

    if (code)
        return code;
    if (w->new_sockets)
        hd_sockets_drop(w->new_sockets);
    hd_settings_release(w->prepared);
    w->new_sockets = k;
    w->prepared = hd_settings_hold(s);
    return HD_OK;
}

struct apply {
    struct hd_workers *w;
    struct hd_settings *settings;
    struct hd_sockets *sockets, *old;
};

static void apply_here(struct hd_worker *w, void *arg)
{
    struct apply *a = arg;
    struct hd_settings *old = w->settings;

    w->settings = hd_settings_hold(a->settings);
    hd_pools_apply(w, a->settings);
    if (!w->draining && !w->retiring)
        hd_listeners_apply(w, a->settings, a->sockets);
    hd_settings_release(old);
}

static void applied(void *arg)
{
    struct apply *a = arg;

    hd_sockets_retire(a->old, a->sockets, a->w->env.keeper);
    hd_settings_release(a->settings);
    hd_free(a);
}

void hd_workers_commit(struct hd_workers *w)
{
    struct apply *a = hd_malloc(sizeof(*a));

    HD_CHECK(a && w->prepared);
    *a = (struct apply){w, w->prepared, w->new_sockets, w->sockets};
    hd_settings_release(w->settings);
    w->settings = hd_settings_hold(w->prepared);
    w->sockets = w->new_sockets;
    hd_sockets_keep(w->sockets, w->env.keeper);
    w->prepared = NULL;
    w->new_sockets = NULL;
    HD_CHECK(hd_workers_each(w, apply_here, applied, a) == HD_OK);
}

/* --- the end
 * ------------------------------------------------------------------------------------------------- */

static void on_drained(struct hd_post *p)
{
    struct hd_workers *w = HD_CONTAINER_OF(p, struct hd_workers, drained_post);

    if (w->drained)
        w->drained(w->drained_arg);
}

/* Nothing of it is under way: no statement, no transaction. What a pin keeps must not keep the host. */
static int at_rest(const struct hd_session *s)
{
    const struct hd_server *v = s->server;

    if (s->state == HD_SESSION_WAITING || (s->state == HD_SESSION_PARKED && s->pending))
        return 0;
    return !v || (s->state == HD_SESSION_READY && v->txn == HD_TXN_IDLE && !v->expects.count &&
                  !s->unsynced && !s->pass_rest);
}

/* Ends sessions: those at rest, or all. One that ends may end others, or give them a server, so that no
 * pointer into the list would last. */
static void end_for_drain(struct hd_worker *w, int all)
{
    struct hd_list rest, *n;

    hd_list_init(&rest);
    while ((n = hd_list_pop_front(&w->sessions)))
        hd_list_push_back(&rest, n);
    while ((n = hd_list_pop_front(&rest))) {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, all);

        hd_list_push_back(&w->sessions, n);
        if (all || at_rest(s))
            hd_session_fatal(s, "57P01", "terminating connection due to administrator command", NULL);
    }
}

/* Is this worker empty, or must it be made so? The last one tells the control thread. */
static void drained_here(struct hd_worker *w)
{
    if (w->session_count)
        end_for_drain(w, hd_now_ns() > w->drain_deadline_ns);
    if (w->session_count || hd_place_pending(w) || w->told_drained)
        return;
    w->told_drained = 1;
    if (atomic_fetch_sub(&w->all->draining_left, 1) == 1) {
        w->all->drained_post.fn = on_drained;
        hd_loop_post(w->all->env.control, &w->all->drained_post);
    }
}

static void drain_here(struct hd_worker *w, void *arg)
{
    w->drain_deadline_ns = *(uint64_t *)arg;
    if (!w->draining) {
        w->draining = 1;
        hd_listeners_close(w);
    }
    drained_here(w);
}

void hd_workers_drain(struct hd_workers *w, uint64_t timeout_ms, void (*done)(void *arg), void *arg)
{
    uint64_t *deadline = hd_malloc(sizeof(*deadline));

    HD_CHECK(deadline);
    *deadline = hd_now_ns() + timeout_ms * 1000000;
    if (!w->drained) {
        w->drained = done;
        w->drained_arg = arg;
        atomic_store(&w->draining_left, w->count);
    }
    HD_CHECK(hd_workers_each(w, drain_here, hd_free, deadline) == HD_OK);
}

static void end_sessions(struct hd_worker *w)
{
    w->stopping = 1;
    hd_listeners_close(w);
    while (!hd_list_empty(&w->sessions))
        hd_session_close(HD_LIST_ITEM(hd_list_first(&w->sessions), struct hd_session, all));
}

static void stop_first(struct hd_post *p)
{
    struct hd_worker *w = HD_CONTAINER_OF(p, struct hd_worker, stop_post);

    end_sessions(w);
    if (w->moving)
        hd_loop_post(&w->loop, p); /* what leaves must have arrived before its new worker ends */
    else
        sem_post(&w->all->stopped);
}

static void stop_settled(struct hd_post *p)
{
    sem_post(&HD_CONTAINER_OF(p, struct hd_worker, stop_post)->all->stopped);
}

static void stop_second(struct hd_post *p)
{
    struct hd_worker *w = HD_CONTAINER_OF(p, struct hd_worker, stop_post);

    end_sessions(w); /* what arrived from another worker meanwhile */
    hd_pools_close(w);
    hd_settle_free(w);
    hd_chain_free(w->chain);
    hd_loop_timer_close(&w->tick, NULL);
    hd_loop_stop(&w->loop);
}

static void post_to_all(struct hd_workers *w, void (*fn)(struct hd_post *post))
{
    for (int i = 0; i < w->started; i++) {
        w->worker[i].stop_post.fn = fn;
        hd_loop_post(&w->worker[i].loop, &w->worker[i].stop_post);
    }
}

/* The same, and waits until each has said that it is done. */
static void do_on_all(struct hd_workers *w, void (*fn)(struct hd_post *post))
{
    post_to_all(w, fn);
    for (int i = 0; i < w->started; i++)
        sem_wait(&w->stopped);
}

/* Sessions first, everywhere; then the threads that connect, so that nothing arrives any more; then what
 * these and the sessions still had to say to each other's workers (servers that move, cancels that come
 * back); then the loops. */
void hd_workers_stop(struct hd_workers *w)
{
    sem_init(&w->stopped, 0, 0);
    hd_auth_close(w->auth);
    do_on_all(w, stop_first);
    hd_connector_free(w->connector);
    do_on_all(w, stop_settled);
    sem_destroy(&w->stopped);
    post_to_all(w, stop_second);
    for (int i = 0; i < w->started; i++) {
        pthread_join(w->worker[i].thread, NULL);
        hd_commands_drop_loop(w->env.commands, &w->worker[i].loop);
    }
    hd_handover_close(w);
    free_all(w);
}
