/*
 * Things done at intervals; see scheduler.h.
 *
 * One timer on the control loop stands at the earliest next start. A run is a job; when it is over the next
 * start is set from then. An entry that was removed lives on until its run is over, and so does the
 * scheduler.
 */
#include "plug/scheduler.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/list.h"
#include "base/random.h"
#include "base/units.h"
#include "plug/commands.h"
#include "plug/jobs.h"
#include "plug/leader.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS   1000000u
#define RETRY_MS    1000 /* when no job thread could be had */
#define MAX_ENTRIES 1024

/* Leading over a node; as long as the scheduler. */
struct lead {
    struct hd_list node; /* in hd_scheduler.leads */
    struct hd_scheduler *scheduler;
    struct hd_leader leader;
    int users; /* entries */
};

struct entry {
    struct hd_list node; /* in hd_scheduler.entries */
    struct hd_scheduler *scheduler;
    int64_t id;
    const void *owner;
    char *name;
    struct lead *lead; /* NULL: every host runs it */
    uint64_t interval_ms, jitter_ms;
    int32_t (*fn)(void *arg);
    void *arg;
    /* The rest is guarded by the scheduler's lock. */
    int removed;
    int running;  /* its job is queued or runs */
    int skipped;  /* the last run was left to another host */
    int ran;      /* at least once */
    int32_t code; /* of the last run */
    uint64_t next_ns;
    uint64_t start_ns, duration_ns; /* of the last run */
    int64_t start_us;               /* by the wall clock */
    char leads[HD_ERROR_TEXT];      /* "yes", "no", or why it is not known */
};

struct hd_scheduler {
    struct hd_loop *control;
    struct hd_jobs *jobs;
    pthread_mutex_t lock;
    struct hd_list entries, leads;
    size_t count;
    int64_t last_id;
    struct hd_loop_timer timer;
    int resigning; /* jobs that give a lock back */
    int closing, timer_closed;
};

/* The memory may go when nothing of it is in use any more. */
static void finish_closing(struct hd_scheduler *s)
{
    struct hd_list *n;

    if (!s->closing || !s->timer_closed || s->resigning || !hd_list_empty(&s->entries))
        return;
    while ((n = hd_list_pop_front(&s->leads))) {
        struct lead *l = HD_LIST_ITEM(n, struct lead, node);

        hd_leader_free(&l->leader);
        hd_free(l);
    }
    pthread_mutex_destroy(&s->lock);
    hd_free(s);
}

/* --- leads ------------------------------------------------------------------------------------------------
 */

static struct lead *find_lead(struct hd_scheduler *s, const char *node)
{
    HD_LIST_EACH(n, &s->leads)
    {
        struct lead *l = HD_LIST_ITEM(n, struct lead, node);

        if (strcmp(l->leader.node, node) == 0)
            return l;
    }
    return NULL;
}

static struct lead *get_lead(struct hd_scheduler *s, const char *node)
{
    struct lead *l = find_lead(s, node);

    if (l)
        return l;
    l = hd_calloc(1, sizeof(*l));
    if (!l || hd_leader_init(&l->leader, s->jobs, node)) {
        hd_free(l);
        return NULL;
    }
    l->scheduler = s;
    hd_list_push_back(&s->leads, &l->node);
    return l;
}

static int32_t resign(void *arg)
{
    hd_leader_resign(&((struct lead *)arg)->leader);
    return HD_OK;
}

static void on_resigned(void *arg, int32_t code)
{
    struct hd_scheduler *s = ((struct lead *)arg)->scheduler;

    (void)code;
    s->resigning--;
    finish_closing(s);
}

/* One entry fewer needs it; the last one gives the lock back. */
static void leave_lead(struct hd_scheduler *s, struct lead *l)
{
    if (!l || --l->users || s->closing)
        return;
    if (hd_jobs_run(s->jobs, NULL, "resign", resign, on_resigned, l) > 0)
        s->resigning++;
}

/* --- the clock --------------------------------------------------------------------------------------------
 */

static uint64_t jitter(const struct entry *e)
{
    return e->jitter_ms ? hd_random_u64() % (e->jitter_ms + 1) : 0;
}

/* Under the lock. */
static void set_next(struct entry *e, uint64_t now)
{
    e->next_ns = now + (e->interval_ms + jitter(e)) * NS_PER_MS;
}

/* Sets the timer to the earliest start. Under the lock, on the control thread. */
static void set_timer(struct hd_scheduler *s)
{
    uint64_t now = hd_now_ns(), first = UINT64_MAX;

    HD_LIST_EACH(n, &s->entries)
    {
        struct entry *e = HD_LIST_ITEM(n, struct entry, node);

        if (!e->removed && !e->running && e->next_ns < first)
            first = e->next_ns;
    }
    if (s->closing)
        return;
    if (first == UINT64_MAX)
        hd_loop_timer_stop(&s->timer);
    else
        hd_loop_timer_start(&s->timer, first > now ? (first - now) / NS_PER_MS + 1 : 0, 0);
}

/* --- runs -------------------------------------------------------------------------------------------------
 */

/* May this host run it? Says in the entry what was found. [job] */
static int may_run(struct entry *e)
{
    struct hd_error err = HD_ERROR_INIT;
    int leads = e->lead ? hd_leader_try(&e->lead->leader, &err) : 1;

    pthread_mutex_lock(&e->scheduler->lock);
    if (e->lead && leads >= 0)
        snprintf(e->leads, sizeof(e->leads), "%s", leads ? "yes" : "no");
    else if (e->lead)
        memcpy(e->leads, err.text, sizeof(e->leads));
    e->skipped = leads != 1;
    pthread_mutex_unlock(&e->scheduler->lock);
    return leads == 1;
}

static int begin(struct entry *e)
{
    struct hd_scheduler *s = e->scheduler;
    int removed;

    pthread_mutex_lock(&s->lock);
    removed = e->removed;
    e->start_ns = hd_now_ns();
    if (!removed)
        e->start_us = hd_wall_us();
    pthread_mutex_unlock(&s->lock);
    return !removed;
}

static int32_t run_entry(void *arg)
{
    struct entry *e = arg;

    if (!begin(e))
        return HD_ECANCELLED;
    return may_run(e) ? e->fn(e->arg) : HD_OK;
}

static void free_entry(struct entry *e)
{
    struct hd_scheduler *s = e->scheduler;

    hd_list_remove(&e->node);
    s->count--;
    leave_lead(s, e->lead);
    hd_free(e->name);
    hd_free(e);
}

static void on_ran(void *arg, int32_t code)
{
    struct entry *e = arg;
    struct hd_scheduler *s = e->scheduler;
    uint64_t now = hd_now_ns();

    pthread_mutex_lock(&s->lock);
    e->running = 0;
    if (!e->skipped) {
        e->ran = 1;
        e->code = code;
        e->duration_ns = now - e->start_ns;
    }
    set_next(e, now);
    if (e->removed)
        free_entry(e);
    set_timer(s);
    pthread_mutex_unlock(&s->lock);
    finish_closing(s);
}

/* Queues a run. Under the lock. */
static int start(struct entry *e)
{
    struct hd_scheduler *s = e->scheduler;
    int64_t handle;

    if (e->running)
        return HD_EBUSY;
    e->running = 1;
    handle = hd_jobs_run_for(s->jobs, e->owner, e->name, run_entry, on_ran, e);
    if (handle > 0)
        return HD_OK;
    e->running = 0;
    e->code = (int32_t)handle;
    e->next_ns = hd_now_ns() + (uint64_t)RETRY_MS * NS_PER_MS;
    return (int)handle;
}

static void on_timer(struct hd_loop_timer *t)
{
    struct hd_scheduler *s = HD_CONTAINER_OF(t, struct hd_scheduler, timer);
    uint64_t now = hd_now_ns();

    pthread_mutex_lock(&s->lock);
    HD_LIST_EACH(n, &s->entries)
    {
        struct entry *e = HD_LIST_ITEM(n, struct entry, node);

        if (!e->removed && !e->running && e->next_ns <= now)
            start(e);
    }
    set_timer(s);
    pthread_mutex_unlock(&s->lock);
}

/* --- entries ----------------------------------------------------------------------------------------------
 */

static int check_schedule(const struct hd_schedule *in, struct hd_schedule *out, struct hd_error *err)
{
    const uint64_t longest = UINT64_C(366) * 86400000;

    memset(out, 0, sizeof(*out));
    if (!in || in->size < offsetof(struct hd_schedule, arg))
        return hd_fail(err, HD_EINVAL, "a schedule of unknown shape");
    memcpy(out, in, in->size < sizeof(*out) ? in->size : sizeof(*out));
    if (!out->name || !out->name[0] || !out->fn)
        return hd_fail(err, HD_EINVAL, "a schedule needs a name and a function");
    if (!out->interval_ms || out->interval_ms > longest || out->jitter_ms > longest)
        return hd_fail(err, HD_EINVAL, "schedule %s: its interval is from 1 ms to a year", out->name);
    if (out->leader && !out->node)
        return hd_fail(err, HD_EINVAL, "schedule %s: a leader needs a node", out->name);
    return HD_OK;
}

static struct entry *make_entry(struct hd_scheduler *s, const void *owner, const struct hd_schedule *asked)
{
    struct entry *e = hd_calloc(1, sizeof(*e));

    if (!e)
        return NULL;
    e->name = hd_strdup(asked->name);
    if (e->name && asked->leader)
        e->lead = get_lead(s, asked->node);
    if (!e->name || (asked->leader && !e->lead)) {
        hd_free(e->name);
        hd_free(e);
        return NULL;
    }
    if (e->lead)
        e->lead->users++;
    e->scheduler = s;
    e->owner = owner;
    e->interval_ms = asked->interval_ms;
    e->jitter_ms = asked->jitter_ms;
    e->fn = asked->fn;
    e->arg = asked->arg;
    return e;
}

int64_t hd_scheduler_add(struct hd_scheduler *s, const void *owner, const struct hd_schedule *schedule,
                         struct hd_error *err)
{
    struct hd_schedule asked;
    struct entry *e = NULL;
    int64_t id = check_schedule(schedule, &asked, err);

    if (id)
        return id;
    pthread_mutex_lock(&s->lock);
    if (s->count >= MAX_ENTRIES)
        id = hd_fail(err, HD_EFULL, "schedule %s: there are %d already", asked.name, MAX_ENTRIES);
    else if (!(e = make_entry(s, owner, &asked)))
        id = hd_fail(err, HD_ENOMEM, "no memory for schedule %s", asked.name);
    if (e) {
        id = e->id = ++s->last_id;
        s->count++;
        hd_list_push_back(&s->entries, &e->node);
        set_next(e, hd_now_ns());
        set_timer(s);
    }
    pthread_mutex_unlock(&s->lock);
    return id;
}

static struct entry *find(struct hd_scheduler *s, int64_t id)
{
    HD_LIST_EACH(n, &s->entries)
    {
        struct entry *e = HD_LIST_ITEM(n, struct entry, node);

        if (e->id == id && !e->removed)
            return e;
    }
    return NULL;
}

int hd_scheduler_run_now(struct hd_scheduler *s, int64_t id)
{
    struct entry *e;
    int code;

    pthread_mutex_lock(&s->lock);
    e = find(s, id);
    code = e ? start(e) : HD_ENOENT;
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* Under the lock. */
static void remove_entry(struct entry *e)
{
    e->removed = 1;
    if (!e->running)
        free_entry(e);
}

void hd_scheduler_remove(struct hd_scheduler *s, int64_t id)
{
    struct entry *e;

    pthread_mutex_lock(&s->lock);
    e = find(s, id);
    if (e)
        remove_entry(e);
    pthread_mutex_unlock(&s->lock);
}

/* All entries, or an owner's. Under the lock. */
static void remove_all(struct hd_scheduler *s, const void *owner)
{
    HD_LIST_EACH(n, &s->entries)
    {
        struct entry *e = HD_LIST_ITEM(n, struct entry, node);

        if (!e->removed && (!owner || e->owner == owner))
            remove_entry(e);
    }
}

void hd_scheduler_drop_owner(struct hd_scheduler *s, const void *owner)
{
    HD_ASSERT(owner);
    pthread_mutex_lock(&s->lock);
    remove_all(s, owner);
    pthread_mutex_unlock(&s->lock);
}

/* --- start and end ----------------------------------------------------------------------------------------
 */

struct hd_scheduler *hd_scheduler_new(struct hd_loop *control, struct hd_jobs *jobs)
{
    struct hd_scheduler *s = hd_calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->control = control;
    s->jobs = jobs;
    pthread_mutex_init(&s->lock, NULL);
    hd_list_init(&s->entries);
    hd_list_init(&s->leads);
    hd_loop_timer_init(control, &s->timer, on_timer);
    return s;
}

static void on_timer_closed(struct hd_loop_timer *t)
{
    struct hd_scheduler *s = HD_CONTAINER_OF(t, struct hd_scheduler, timer);

    s->timer_closed = 1;
    finish_closing(s);
}

void hd_scheduler_free(struct hd_scheduler *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = 1;
    remove_all(s, NULL);
    pthread_mutex_unlock(&s->lock);
    hd_loop_timer_close(&s->timer, on_timer_closed);
}

/* --- commands ---------------------------------------------------------------------------------------------
 */

static void show_last(hd_result *r, const struct entry *e)
{
    if (e->ran) {
        hd_result_integer(r, e->start_us);
        hd_result_real(r, (double)(e->duration_ns / 1000) / 1000);
        hd_result_cstr(r, hd_code_name(e->code));
        return;
    }
    for (int i = 0; i < 3; i++)
        hd_result_null(r);
}

/* Milliseconds until the next start, in whole seconds where there are some. */
static int64_t ms_to_next(const struct entry *e, uint64_t now)
{
    int64_t ms = e->next_ns > now ? (int64_t)((e->next_ns - now) / NS_PER_MS) : 0;

    return ms > 1000 ? ms / 1000 * 1000 : ms;
}

static void show_entry(hd_result *r, const struct entry *e, uint64_t now)
{
    char text[24];

    hd_result_cstr(r, e->name);
    hd_result_cstr(r, hd_format_duration((int64_t)e->interval_ms, text));
    show_last(r, e);
    hd_result_cstr(r, e->running ? "running" : hd_format_duration(ms_to_next(e, now), text));
    if (e->lead)
        hd_result_cstr(r, e->leads);
    else
        hd_result_null(r);
}

static int32_t show_schedules(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hd_scheduler *s = arg;
    uint64_t now = hd_now_ns();

    (void)err;
    hd_result_columns(call->result, "name", HD_COL_TEXT, "interval", HD_COL_TEXT, "last start", HD_COL_TIME,
                      "duration ms", HD_COL_REAL, "result", HD_COL_TEXT, "next in", HD_COL_TEXT, "leader",
                      HD_COL_TEXT, NULL);
    pthread_mutex_lock(&s->lock);
    HD_LIST_EACH(n, &s->entries)
    {
        struct entry *e = HD_LIST_ITEM(n, struct entry, node);

        if (!e->removed)
            show_entry(call->result, e, now);
    }
    pthread_mutex_unlock(&s->lock);
    return HD_OK;
}

/* The id of the schedule of that name, or HD_ENOENT. */
static int64_t id_of(struct hd_scheduler *s, const char *name)
{
    int64_t id = HD_ENOENT;

    pthread_mutex_lock(&s->lock);
    HD_LIST_EACH(n, &s->entries)
    {
        struct entry *e = HD_LIST_ITEM(n, struct entry, node);

        if (!e->removed && id < 0 && strcasecmp(e->name, name) == 0)
            id = e->id;
    }
    pthread_mutex_unlock(&s->lock);
    return id;
}

static int32_t run_schedule(void *arg, const struct hd_call *call, struct hd_error *err)
{
    int64_t id;
    int code;

    if (call->arg_count != 1)
        return hd_fail(err, HD_EINVAL, "SCHEDULE RUN needs the name of one schedule");
    id = id_of(arg, call->args[0].ptr);
    code = id > 0 ? hd_scheduler_run_now(arg, id) : (int)id;
    if (code == HD_ENOENT)
        return hd_fail(err, code, "there is no schedule %s; SHOW SCHEDULES lists them", call->args[0].ptr);
    if (code == HD_EBUSY)
        return hd_fail(err, code, "schedule %s is running", call->args[0].ptr);
    if (code)
        return hd_fail(err, code, "schedule %s cannot run now: %s", call->args[0].ptr, hd_code_name(code));
    hd_result_message(call->result, "started");
    return HD_OK;
}

int hd_scheduler_add_commands(struct hd_scheduler *s, struct hd_commands *commands, struct hd_error *err)
{
    int code = hd_commands_add(commands, NULL, "SHOW SCHEDULES", "", "What is done at intervals",
                               HD_CMDF_READ_ONLY, show_schedules, s, err);

    return code ? code
                : hd_commands_add(commands, NULL, "SCHEDULE RUN", "NAME", "Runs a schedule now", 0,
                                  run_schedule, s, err);
}
