/*
 * The job pool; see jobs.h.
 *
 * A job is in one list at a time: waiting, running, over. What is over waits for the control thread, which is
 * posted to once for a batch, and tells whoever asked.
 */
#include "plug/jobs.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/units.h"
#include "plug/commands.h"
#include "plug/sqljobs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_THREADS 64
#define NAME_BYTES  64
#define TICK_MS     500 /* how late a statement may notice that it waited too long for a thread */
#define EXPIRE_MS   5000

enum state { STATE_WAITING, STATE_RUNNING, STATE_OVER };

struct job {
    struct hd_list node;
    int64_t handle;
    const void *owner;
    char name[NAME_BYTES];
    enum state state;
    int muted;  /* the owner has gone */
    int always; /* is not muted */
    int32_t code;
    uint64_t since_ns;     /* in this state */
    _Atomic int cancelled; /* asked for */
    struct thread *thread; /* that runs it */
    int32_t (*fn)(void *arg);
    void (*done)(void *arg, int32_t code);
    void *arg;
    /* A statement, where fn is NULL. */
    struct hd_sql sql;
    struct hd_arena arena; /* what sql points to */
    uint64_t deadline_ns;
    void (*sql_done)(void *arg, const struct hd_sql_result *result);
    struct hd_sql_answer *answer;
};

struct thread {
    pthread_t id;
    struct hd_jobs *jobs;
    int number;
    int cancel_fd;   /* wakes a statement that waits for its server */
    struct job *job; /* that it runs; under the lock */
};

struct hd_jobs {
    struct hd_loop *control;
    struct hd_sqljobs *sql;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct hd_list waiting, running, over;
    size_t waiting_count, max_waiting;
    uint64_t done_count, refused_count;
    int64_t last_handle;
    int stopping;
    struct hd_post post; /* tells of what is over */
    int posted, closing; /* under the lock */
    struct hd_loop_timer tick;
    uint64_t ticks;
    void (*owner_begins)(const void *owner);
    void (*owner_ends)(const void *owner);
    size_t thread_count;
    struct thread threads[MAX_THREADS];
};

/* The calling thread, where it is one of a pool's. */
static _Thread_local struct thread *myself;

static void free_job(struct job *job)
{
    hd_sql_answer_free(job->answer);
    hd_arena_free(&job->arena);
    hd_free(job);
}

/* --- from list to list ------------------------------------------------------------------------------------
 */

/* All changes of a job's state; under the lock. */
static void change_state(struct hd_jobs *jobs, struct job *job, enum state to)
{
    struct hd_list *lists[] = {
        [STATE_WAITING] = &jobs->waiting, [STATE_RUNNING] = &jobs->running, [STATE_OVER] = &jobs->over};

    HD_ASSERT(to >= job->state);
    if (!hd_list_empty(&job->node) && job->state == STATE_WAITING)
        jobs->waiting_count--;
    hd_list_remove(&job->node);
    hd_list_push_back(lists[to], &job->node);
    if (to == STATE_WAITING)
        jobs->waiting_count++;
    job->state = to;
    job->since_ns = hd_now_ns();
    if (to == STATE_OVER && !jobs->posted) {
        jobs->posted = 1;
        hd_loop_post(jobs->control, &jobs->post);
    }
}

/* Puts words to a statement that was never tried. */
static void never_ran(struct job *job, int code)
{
    job->code = code;
    if (job->fn)
        return;
    job->answer = hd_sql_answer_new();
    hd_sql_answer_end(job->answer, code, "57014",
                      code == HD_ETIMEOUT ? "the deadline passed while it waited for a job thread"
                                          : "cancelled");
}

/* --- threads ----------------------------------------------------------------------------------------------
 */

static int owner_is_busy(struct hd_jobs *jobs, const void *owner)
{
    HD_LIST_EACH(n, &jobs->running)
    {
        struct job *job = HD_LIST_ITEM(n, struct job, node);

        if (job->fn && job->owner == owner)
            return 1;
    }
    return 0;
}

/* The first waiting job that may run now; functions of one plugin never overlap. Under the lock. */
static struct job *next_job(struct hd_jobs *jobs)
{
    HD_LIST_EACH(n, &jobs->waiting)
    {
        struct job *job = HD_LIST_ITEM(n, struct job, node);

        if (!job->fn || !job->owner || !owner_is_busy(jobs, job->owner))
            return job;
    }
    return NULL;
}

static struct hd_sql_wait wait_of(struct job *job, uint64_t deadline_ns, int fd)
{
    return (struct hd_sql_wait){
        .deadline_ns = deadline_ns, .cancelled = job ? &job->cancelled : NULL, .cancel_fd = fd};
}

static void carry_out(struct hd_jobs *jobs, struct job *job, int cancel_fd)
{
    struct hd_sql_wait w = wait_of(job, job->deadline_ns, cancel_fd);

    if (job->fn) {
        job->code = job->fn(job->arg);
        return;
    }
    job->answer = hd_sqljobs_run(jobs->sql, &job->sql, &w);
    job->code = job->answer->result.code;
}

/* Takes a wake that came for a job which is over. */
static void drain(int fd)
{
    uint64_t n;

    while (read(fd, &n, sizeof(n)) > 0)
        ;
}

static void run_one(struct hd_jobs *jobs, struct thread *t, struct job *job)
{
    change_state(jobs, job, STATE_RUNNING);
    job->thread = t;
    t->job = job;
    pthread_mutex_unlock(&jobs->lock);
    carry_out(jobs, job, t->cancel_fd);
    pthread_mutex_lock(&jobs->lock);
    t->job = NULL;
    job->thread = NULL;
    drain(t->cancel_fd);
    jobs->done_count++;
    change_state(jobs, job, STATE_OVER);
    pthread_cond_broadcast(&jobs->work); /* its owner is free for the next */
}

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    struct hd_jobs *jobs = t->jobs;
    struct job *job;

    hd_thread_name(HD_THREAD_JOB, t->number);
    myself = t;
    pthread_mutex_lock(&jobs->lock);
    for (;;) {
        job = next_job(jobs);
        if (job) {
            run_one(jobs, t, job);
            continue;
        }
        if (jobs->stopping && hd_list_empty(&jobs->waiting))
            break;
        pthread_cond_wait(&jobs->work, &jobs->lock);
    }
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* --- asking -----------------------------------------------------------------------------------------------
 */

static struct job *make_job(const void *owner, const char *name)
{
    struct job *job = hd_calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    hd_list_init(&job->node);
    job->owner = owner;
    snprintf(job->name, sizeof(job->name), "%s", name ? name : "");
    return job;
}

/* Queues a job; refuses it at the bound. Takes it over. */
static int64_t submit(struct hd_jobs *jobs, struct job *job)
{
    int64_t handle = HD_EFULL;

    pthread_mutex_lock(&jobs->lock);
    if (jobs->stopping) {
        handle = HD_ECANCELLED;
    } else if (jobs->waiting_count >= jobs->max_waiting) {
        jobs->refused_count++;
    } else {
        handle = job->handle = ++jobs->last_handle;
        if (job->owner && jobs->owner_begins)
            jobs->owner_begins(job->owner);
        change_state(jobs, job, STATE_WAITING);
        pthread_cond_signal(&jobs->work);
        job = NULL;
    }
    pthread_mutex_unlock(&jobs->lock);
    if (job)
        free_job(job);
    return handle;
}

static int64_t run_fn(struct hd_jobs *jobs, const void *owner, int always, const char *name,
                      int32_t (*fn)(void *arg), void (*done)(void *arg, int32_t code), void *arg)
{
    struct job *job = fn ? make_job(owner, name) : NULL;

    if (!job)
        return fn ? HD_ENOMEM : HD_EINVAL;
    job->always = always;
    job->fn = fn;
    job->done = done;
    job->arg = arg;
    return submit(jobs, job);
}

int64_t hd_jobs_run(struct hd_jobs *jobs, const void *owner, const char *name, int32_t (*fn)(void *arg),
                    void (*done)(void *arg, int32_t code), void *arg)
{
    return run_fn(jobs, owner, 0, name, fn, done, arg);
}

int64_t hd_jobs_run_for(struct hd_jobs *jobs, const void *owner, const char *name, int32_t (*fn)(void *arg),
                        void (*done)(void *arg, int32_t code), void *arg)
{
    return run_fn(jobs, owner, 1, name, fn, done, arg);
}

static uint64_t deadline_of(const struct hd_sql *sql)
{
    uint64_t ms = sql->deadline_ms ? sql->deadline_ms : HD_SQL_DEADLINE_MS;

    if (ms > UINT64_C(86400000))
        ms = UINT64_C(86400000); /* a day, so that the sum cannot overflow */
    return hd_now_ns() + ms * 1000000u;
}

/* Copies the caller's struct as far as both know it. */
static int read_sql(const struct hd_sql *in, struct hd_sql *out)
{
    memset(out, 0, sizeof(*out));
    if (!in || in->size < offsetof(struct hd_sql, params))
        return HD_EINVAL;
    memcpy(out, in, in->size < sizeof(*out) ? in->size : sizeof(*out));
    out->size = sizeof(*out);
    if (!out->node || !out->text || (out->param_count && !out->params) || out->param_count > UINT16_MAX)
        return HD_EINVAL;
    return HD_OK;
}

/* Copies what the struct points to. */
static int keep_sql(struct job *job, const struct hd_sql *in)
{
    const char **params = hd_arena_alloc(&job->arena, in->param_count * sizeof(*params) + 1);

    job->sql = *in;
    job->sql.node = hd_arena_strdup(&job->arena, in->node);
    job->sql.text = hd_arena_strdup(&job->arena, in->text);
    job->sql.database = in->database ? hd_arena_strdup(&job->arena, in->database) : NULL;
    if (!params || !job->sql.node || !job->sql.text || (in->database && !job->sql.database))
        return HD_ENOMEM;
    for (uint32_t i = 0; i < in->param_count; i++) {
        params[i] = in->params[i] ? hd_arena_strdup(&job->arena, in->params[i]) : NULL;
        if (in->params[i] && !params[i])
            return HD_ENOMEM;
    }
    job->sql.params = params;
    return HD_OK;
}

int64_t hd_jobs_sql(struct hd_jobs *jobs, const void *owner, const struct hd_sql *sql,
                    void (*done)(void *arg, const struct hd_sql_result *result), void *arg)
{
    struct hd_sql asked;
    struct job *job;
    char name[NAME_BYTES];

    if (read_sql(sql, &asked))
        return HD_EINVAL;
    snprintf(name, sizeof(name), "sql on %s", asked.node);
    job = make_job(owner, name);
    if (!job)
        return HD_ENOMEM;
    if (keep_sql(job, &asked)) {
        free_job(job);
        return HD_ENOMEM;
    }
    job->deadline_ns = deadline_of(&asked);
    job->sql_done = done;
    job->arg = arg;
    return submit(jobs, job);
}

int hd_jobs_sql_wait(struct hd_jobs *jobs, const struct hd_sql *sql, const struct hd_sql_result **result)
{
    struct hd_sql_wait w;
    struct hd_sql asked;
    struct hd_sql_answer *a;

    HD_ASSERT(hd_thread_role() != HD_THREAD_CONTROL && hd_thread_role() != HD_THREAD_WORKER);
    if (read_sql(sql, &asked)) {
        *result = NULL;
        return HD_EINVAL;
    }
    w = wait_of(myself ? myself->job : NULL, deadline_of(&asked), myself ? myself->cancel_fd : -1);
    a = hd_sqljobs_run(jobs->sql, &asked, &w);
    *result = &a->result;
    return a->result.code;
}

void hd_jobs_free_result(const struct hd_sql_result *result)
{
    hd_sql_answer_free(hd_sql_answer_of(result));
}

void hd_jobs_wait(uint64_t deadline_ms, struct hd_sql_wait *out)
{
    *out = wait_of(myself ? myself->job : NULL, hd_now_ns() + deadline_ms * 1000000u,
                   myself ? myself->cancel_fd : -1);
}

int hd_jobs_connect(struct hd_jobs *jobs, const char *node, const struct hd_sql_wait *w,
                    struct hd_sqlconn **out, struct hd_error *err)
{
    return hd_sqljobs_connect(jobs->sql, node, w, out, err);
}

/* --- cancelling -------------------------------------------------------------------------------------------
 */

/* Under the lock. */
static void cancel_job(struct hd_jobs *jobs, struct job *job)
{
    uint64_t one = 1;

    if (job->state == STATE_WAITING) {
        never_ran(job, HD_ECANCELLED);
        change_state(jobs, job, STATE_OVER);
    } else if (job->state == STATE_RUNNING) {
        atomic_store(&job->cancelled, 1);
        if (write(job->thread->cancel_fd, &one, sizeof(one)) < 0)
            hd_log(HD_LOG_WARNING, "a job could not be woken to be cancelled");
    }
}

static struct job *find_in(struct hd_list *list, int64_t handle)
{
    HD_LIST_EACH(n, list)
    {
        struct job *job = HD_LIST_ITEM(n, struct job, node);

        if (job->handle == handle)
            return job;
    }
    return NULL;
}

int hd_jobs_cancel(struct hd_jobs *jobs, int64_t handle)
{
    struct job *job;

    pthread_mutex_lock(&jobs->lock);
    job = find_in(&jobs->waiting, handle);
    if (!job)
        job = find_in(&jobs->running, handle);
    if (job)
        cancel_job(jobs, job);
    pthread_mutex_unlock(&jobs->lock);
    return job ? HD_OK : HD_ENOENT;
}

/* All jobs, or an owner's. Under the lock. */
static void cancel_list(struct hd_jobs *jobs, struct hd_list *list, const void *owner, int mute)
{
    HD_LIST_EACH(n, list)
    {
        struct job *job = HD_LIST_ITEM(n, struct job, node);

        if (owner && job->owner != owner)
            continue;
        job->muted |= mute && !job->always;
        cancel_job(jobs, job);
    }
}

void hd_jobs_drop_owner(struct hd_jobs *jobs, const void *owner)
{
    HD_ASSERT(owner);
    pthread_mutex_lock(&jobs->lock);
    cancel_list(jobs, &jobs->over, owner, 1);
    cancel_list(jobs, &jobs->running, owner, 1);
    cancel_list(jobs, &jobs->waiting, owner, 1);
    pthread_mutex_unlock(&jobs->lock);
}

void hd_jobs_watch_owners(struct hd_jobs *jobs, void (*begin)(const void *owner),
                          void (*end)(const void *owner))
{
    jobs->owner_begins = begin;
    jobs->owner_ends = end;
}

/* --- on the control thread --------------------------------------------------------------------------------
 */

/* `muted` is only changed on this thread once a job is over. */
static void tell(struct hd_jobs *jobs, struct job *job)
{
    if (!job->muted && job->fn && job->done)
        job->done(job->arg, job->code);
    if (!job->muted && !job->fn && job->sql_done)
        job->sql_done(job->arg, &job->answer->result);
    if (job->owner && jobs->owner_ends)
        jobs->owner_ends(job->owner);
    free_job(job);
}

static void tell_all(struct hd_jobs *jobs)
{
    struct hd_list *n;

    for (;;) {
        pthread_mutex_lock(&jobs->lock);
        n = hd_list_pop_front(&jobs->over);
        pthread_mutex_unlock(&jobs->lock);
        if (!n)
            return;
        tell(jobs, HD_LIST_ITEM(n, struct job, node));
    }
}

static void on_over(struct hd_post *post)
{
    struct hd_jobs *jobs = HD_CONTAINER_OF(post, struct hd_jobs, post);

    if (jobs->closing) {
        pthread_mutex_destroy(&jobs->lock);
        hd_free(jobs);
        return;
    }
    pthread_mutex_lock(&jobs->lock);
    jobs->posted = 0;
    pthread_mutex_unlock(&jobs->lock);
    tell_all(jobs);
}

/* Statements whose deadline passes while all threads are taken. */
static void time_out_waiting(struct hd_jobs *jobs)
{
    uint64_t now = hd_now_ns();

    pthread_mutex_lock(&jobs->lock);
    HD_LIST_EACH(n, &jobs->waiting)
    {
        struct job *job = HD_LIST_ITEM(n, struct job, node);

        if (job->fn || now < job->deadline_ns)
            continue;
        never_ran(job, HD_ETIMEOUT);
        change_state(jobs, job, STATE_OVER);
    }
    pthread_mutex_unlock(&jobs->lock);
}

static void on_tick(struct hd_loop_timer *t)
{
    struct hd_jobs *jobs = HD_CONTAINER_OF(t, struct hd_jobs, tick);

    time_out_waiting(jobs);
    if (++jobs->ticks % (EXPIRE_MS / TICK_MS) == 0)
        hd_sqljobs_expire(jobs->sql);
}

/* --- start and end ----------------------------------------------------------------------------------------
 */

static int start_thread(struct hd_jobs *jobs, int number, struct hd_error *err)
{
    struct thread *t = &jobs->threads[number];
    int failed;

    *t = (struct thread){.jobs = jobs, .number = number, .cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (t->cancel_fd < 0)
        return hd_fail(err, HD_EFAIL, "cannot start job thread %d: %s", number, strerror(errno));
    failed = pthread_create(&t->id, NULL, run_thread, t);
    if (failed) {
        close(t->cancel_fd);
        return hd_fail(err, HD_EFAIL, "cannot start job thread %d: %s", number, strerror(failed));
    }
    jobs->thread_count++;
    return HD_OK;
}

/* The threads take no signals: those are the control loop's. */
static int start_threads(struct hd_jobs *jobs, size_t threads, struct hd_error *err)
{
    sigset_t all, before;
    int code = HD_OK;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (size_t i = 0; !code && i < threads; i++)
        code = start_thread(jobs, (int)i, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

int hd_jobs_new(struct hd_loop *control, size_t threads, size_t max_waiting, struct hd_jobs **out,
                struct hd_error *err)
{
    struct hd_jobs *jobs = hd_calloc(1, sizeof(*jobs));
    int code;

    if (!jobs)
        return hd_fail(err, HD_ENOMEM, "no memory for the job pool");
    jobs->sql = hd_sqljobs_new();
    if (!jobs->sql) {
        hd_free(jobs);
        return hd_fail(err, HD_ENOMEM, "no memory for the job pool");
    }
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->work, NULL);
    hd_list_init(&jobs->waiting);
    hd_list_init(&jobs->running);
    hd_list_init(&jobs->over);
    jobs->control = control;
    jobs->max_waiting = max_waiting;
    jobs->post.fn = on_over;
    hd_loop_timer_init(control, &jobs->tick, on_tick);
    hd_loop_timer_start(&jobs->tick, TICK_MS, TICK_MS);
    code = start_threads(jobs, threads > MAX_THREADS ? MAX_THREADS : threads, err);
    if (code)
        hd_jobs_free(jobs);
    else
        *out = jobs;
    return code;
}

static void join_threads(struct hd_jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->stopping = 1;
    cancel_list(jobs, &jobs->running, NULL, 0);
    cancel_list(jobs, &jobs->waiting, NULL, 0);
    pthread_cond_broadcast(&jobs->work);
    pthread_mutex_unlock(&jobs->lock);
    for (size_t i = 0; i < jobs->thread_count; i++) {
        pthread_join(jobs->threads[i].id, NULL);
        close(jobs->threads[i].cancel_fd);
    }
}

/* The timer has closed: the memory may go, unless the post is still on its way. */
static void on_tick_closed(struct hd_loop_timer *t)
{
    struct hd_jobs *jobs = HD_CONTAINER_OF(t, struct hd_jobs, tick);

    jobs->closing = 1;
    if (!jobs->posted)
        on_over(&jobs->post);
}

void hd_jobs_free(struct hd_jobs *jobs)
{
    if (!jobs)
        return;
    join_threads(jobs);
    tell_all(jobs);
    hd_sqljobs_free(jobs->sql);
    pthread_cond_destroy(&jobs->work);
    hd_loop_timer_close(&jobs->tick, on_tick_closed);
}

int hd_jobs_conninfo(struct hd_jobs *jobs, struct hd_str node, struct hd_str dbname, char *out, size_t len,
                     struct hd_error *err)
{
    return hd_sqljobs_conninfo(jobs->sql, node, dbname, out, len, err);
}

int hd_jobs_conninfo_says(struct hd_jobs *jobs, const char *node, const char *word)
{
    return hd_sqljobs_conninfo_says(jobs->sql, node, word);
}

int hd_jobs_login(struct hd_jobs *jobs, const char *node, char *out, size_t room)
{
    return hd_sqljobs_login(jobs->sql, node, out, room);
}

int hd_jobs_each_node(struct hd_jobs *jobs, int32_t (*fn)(void *arg, struct hd_str node), void *arg)
{
    return hd_sqljobs_each_node(jobs->sql, fn, arg);
}

int hd_jobs_set_nodes(struct hd_jobs *jobs, const struct hd_job_node *nodes, size_t n)
{
    return hd_sqljobs_set_nodes(jobs->sql, nodes, n);
}

/* --- SHOW JOBS --------------------------------------------------------------------------------------------
 */

void hd_jobs_stats(struct hd_jobs *jobs, struct hd_jobs_stats *out)
{
    pthread_mutex_lock(&jobs->lock);
    *out = (struct hd_jobs_stats){.threads = jobs->thread_count,
                                  .waiting = jobs->waiting_count,
                                  .done = jobs->done_count,
                                  .refused = jobs->refused_count};
    HD_LIST_EACH(n, &jobs->running)
    out->running++;
    pthread_mutex_unlock(&jobs->lock);
    out->connections = hd_sqljobs_idle(jobs->sql);
}

static void show_list(struct hd_list *list, const char *state, hd_result *r)
{
    uint64_t now = hd_now_ns();

    HD_LIST_EACH(n, list)
    {
        struct job *job = HD_LIST_ITEM(n, struct job, node);

        hd_result_integer(r, job->handle);
        hd_result_cstr(r, job->name);
        hd_result_cstr(r, state);
        hd_result_real(r, (double)((now - job->since_ns) / 1000000u) / 1000);
    }
}

static int32_t show_jobs(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_jobs *jobs = arg;

    (void)err;
    hd_result_columns(call->result, "job", HD_COL_INT, "name", HD_COL_TEXT, "state", HD_COL_TEXT, "seconds",
                      HD_COL_REAL, NULL);
    pthread_mutex_lock(&jobs->lock);
    show_list(&jobs->running, "running", call->result);
    show_list(&jobs->waiting, "waiting", call->result);
    pthread_mutex_unlock(&jobs->lock);
    return HD_OK;
}

int hd_jobs_add_commands(struct hd_jobs *jobs, struct hd_commands *commands, struct hd_error *err)
{
    return hd_commands_add(commands, NULL, "SHOW JOBS", "", "What runs and waits on the job pool",
                           HD_CMDF_READ_ONLY, show_jobs, jobs, err);
}
