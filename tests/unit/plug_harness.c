/*
 * The rig for tests of the plugin host; see plug_harness.h.
 */
#include "plug_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/thread.h"

const char *rig_plugin_dir(void)
{
    static char dir[4096];
    const char *build = getenv("HD_BUILDDIR");

    snprintf(dir, sizeof(dir), "%s/tests/unit/plugins/.libs", build ? build : ".");
    return dir;
}

/* --- workers ------------------------------------------------------------------------------------------- */

static void on_resume(void *arg, struct hd_chain_exec *exec)
{
    struct rig_worker *w = arg;

    w->resumed = exec;
    w->resumes++;
}

static void *run_worker(void *arg)
{
    struct rig_worker *w = arg;

    hd_thread_name(HD_THREAD_WORKER, (int)w->number);
    HD_CHECK(hd_loop_init(&w->loop) == 0);
    HD_CHECK(hd_chain_new(w->rig->plugins, w->number, &w->chain) == HD_OK);
    hd_chain_set_resume(w->chain, on_resume, w);
    sem_post(&w->ready);
    hd_loop_run(&w->loop);
    if (w->chain)
        hd_chain_free(w->chain);
    hd_loop_close(&w->loop);
    return NULL;
}

struct on {
    struct rig_worker *w;
    void (*fn)(struct rig_worker *w, void *arg);
    void *arg;
    sem_t done;
};

static void run_on(void *arg)
{
    struct on *o = arg;

    o->fn(o->w, o->arg);
    sem_post(&o->done);
}

void rig_on(struct rig *r, uint32_t worker, void (*fn)(struct rig_worker *w, void *arg), void *arg)
{
    struct on o = {.w = &r->workers[worker], .fn = fn, .arg = arg};

    sem_init(&o.done, 0, 0);
    HD_CHECK(hd_loop_call(&o.w->loop, run_on, &o) == HD_OK);
    while (sem_wait(&o.done))
        ;
    sem_destroy(&o.done);
}

static void stop_worker(struct rig_worker *w, void *arg)
{
    (void)arg;
    hd_loop_stop(&w->loop);
}

/* --- the rig ------------------------------------------------------------------------------------------- */

static void on_changed(void *arg, const struct hd_event_plugin *ev)
{
    struct rig *r = arg;

    if (r->event_count < RIG_EVENTS)
        r->events[r->event_count++] = *ev;
}

void rig_open(struct rig *r, uint32_t workers, const struct hd_plugins_env *env)
{
    struct hd_plugins_env e = {.drain_timeout = 2000, .plugin_failures = 5, .park_timeout = 5000};
    struct hd_error err = HD_ERROR_INIT;

    if (env)
        e = *env;
    memset(r, 0, sizeof(*r));
    hd_thread_name(HD_THREAD_CONTROL, 0);
    HD_CHECK(hd_loop_init(&r->control) == 0);
    e.control = &r->control;
    e.workers = r->worker_count = workers;
    e.changed = on_changed;
    e.arg = r;
    if (!e.plugin_dir)
        e.plugin_dir = rig_plugin_dir();
    HD_CHECK(hd_plugins_new(&e, &r->plugins, &err) == HD_OK);
    for (uint32_t i = 0; i < workers; i++) {
        struct rig_worker *w = &r->workers[i];

        w->rig = r;
        w->number = i;
        sem_init(&w->ready, 0, 0);
        HD_CHECK(!pthread_create(&w->thread, NULL, run_worker, w));
        while (sem_wait(&w->ready))
            ;
    }
}

static void on_all_stopped(void *arg)
{
    ((struct rig *)arg)->stopped = 1;
}

void rig_close(struct rig *r)
{
    for (uint32_t i = 0; i < r->worker_count; i++) {
        rig_on(r, i, stop_worker, NULL);
        pthread_join(r->workers[i].thread, NULL);
        sem_destroy(&r->workers[i].ready);
    }
    hd_plugins_stop(r->plugins, on_all_stopped, r);
    HD_CHECK(RIG_WAIT(r, r->stopped));
    hd_plugins_free(r->plugins);
    hd_loop_close(&r->control);
    hd_strbuf_free(&r->problems);
}

void rig_turn(struct rig *r)
{
    struct timespec ms = {0, 1000000};

    uv_run(&r->control.uv, UV_RUN_NOWAIT);
    nanosleep(&ms, NULL); /* the condition that is waited for is another thread's */
}

/* --- configurations ------------------------------------------------------------------------------------ */

void rig_clear(struct rig *r)
{
    r->plugin_count = r->section_count = 0;
}

struct hd_plugin_conf *rig_plugin(struct rig *r, const char *id, uint32_t mode)
{
    struct hd_raw_section *s = &r->plugin_sections[r->plugin_count];
    struct hd_plugin_conf *c = &r->confs[r->plugin_count];

    *s = (struct hd_raw_section){.kind = "plugin",
                                 .name = id,
                                 .label = "[plugin]",
                                 .origin = "test.ini:1",
                                 .dir = "/",
                                 .keys = r->keys[r->plugin_count]};
    *c = (struct hd_plugin_conf){.id = id, .mode = mode, .priority = 100, .section = s};
    r->plugin_count++;
    return c;
}

void rig_key(struct rig *r, const char *key, const char *value)
{
    struct hd_raw_section *s = &r->plugin_sections[r->plugin_count - 1];

    r->keys[r->plugin_count - 1][s->count++] = (struct hd_raw_key){key, value, "test.ini:2"};
}

void rig_probe(struct rig *r, struct probe *p)
{
    static char text[RIG_PLUGINS][32];
    char *t = text[r->plugin_count - 1];

    snprintf(t, sizeof(text[0]), "%p", (void *)p);
    rig_key(r, "probe", t);
}

void rig_section(struct rig *r, const char *kind, const char *name, const char *key, const char *value)
{
    uint32_t n = r->section_count++;

    r->keys[RIG_PLUGINS + n][0] = (struct hd_raw_key){key, value, "test.ini:21"};
    r->sections[n] = (struct hd_raw_section){.kind = kind,
                                             .name = name,
                                             .label = "[section]",
                                             .origin = "test.ini:20",
                                             .dir = "/",
                                             .keys = r->keys[RIG_PLUGINS + n],
                                             .count = key ? 1 : 0};
    r->section_list[n] = &r->sections[n];
}

int rig_prepare(struct rig *r)
{
    struct hd_plugin_confs confs = {r->confs, r->section_list, r->plugin_count, r->section_count};
    struct hd_problems problems = HD_PROBLEMS_INIT;
    int code = hd_plugins_prepare(r->plugins, &confs, &problems);

    hd_strbuf_reset(&r->problems);
    for (struct hd_problem *p = problems.first; p; p = p->next)
        hd_strbuf_printf(&r->problems, "%s%s\n", p->warning ? "warning: " : "", p->text);
    hd_problems_free(&problems);
    return code;
}

int rig_apply(struct rig *r)
{
    struct hd_error err = HD_ERROR_INIT;
    int code = rig_prepare(r);

    if (!code)
        code = hd_plugins_commit(r->plugins, &err);
    if (err.text[0])
        hd_strbuf_printf(&r->problems, "commit: %s\n", err.text);
    return code;
}

struct lookup {
    struct rig *r;
    const char *id;
    int found;
};

static void copy_text(struct rig *r, int n, const char **text)
{
    snprintf(r->texts[n], sizeof(r->texts[n]), "%s", *text);
    *text = r->texts[n];
}

static void on_info(void *arg, const struct hd_plugin_info *info)
{
    struct lookup *l = arg;
    struct hd_plugin_info *to = &l->r->info;

    if (strcmp(info->id, l->id))
        return;
    *to = *info;
    l->found = 1;
    copy_text(l->r, 0, &to->id);
    copy_text(l->r, 1, &to->version);
    copy_text(l->r, 2, &to->summary);
    copy_text(l->r, 3, &to->state);
    copy_text(l->r, 4, &to->mode);
    copy_text(l->r, 5, &to->reason);
    copy_text(l->r, 6, &to->library);
    copy_text(l->r, 7, &to->capabilities);
    copy_text(l->r, 8, &to->on_failure);
}

const struct hd_plugin_info *rig_info(struct rig *r, const char *id)
{
    struct lookup l = {r, id, 0};

    hd_plugins_list(r->plugins, on_info, &l);
    return l.found ? &r->info : NULL;
}

const char *rig_state(struct rig *r, const char *id)
{
    const struct hd_plugin_info *info = rig_info(r, id);

    return info ? info->state : "(not listed)";
}

/* --- sessions ------------------------------------------------------------------------------------------ */

void rig_session_open(struct rig_worker *w, struct rig_session *s, uint64_t id)
{
    struct hd_str shop = {"shop", 4}, app = {"app", 3};

    memset(s, 0, sizeof(*s));
    s->st = (struct hd_statement){
        .size = sizeof(s->st), .session_id = id, .database = shop, .user = app, .txn = HD_TX_IDLE};
    hd_chain_session_open(w->chain, &s->cs, id, shop, app);
}

void rig_session_close(struct rig_worker *w, struct rig_session *s)
{
    hd_chain_session_close(w->chain, &s->cs);
    hd_chain_plan_drop(s->slot);
    s->slot = NULL;
    s->generation = 0;
}

uint32_t rig_execute(struct rig_worker *w, struct rig_session *s)
{
    s->plan = hd_chain_plan(w->chain, s->st.tmpl, &s->slot, &s->generation);
    HD_CHECK(s->plan);
    if (!s->plan->want)
        return HD_VERDICT_CONTINUE;
    HD_CHECK(hd_chain_begin(w->chain, s->plan, &s->exec) == HD_OK);
    return hd_chain_decide(w->chain, &s->cs, &s->exec, &s->st, &s->verdict);
}

void rig_complete(struct rig_worker *w, struct rig_session *s)
{
    struct hd_outcome o = {.size = sizeof(o), .sqlstate = "00000"};

    if (s->exec.plan)
        hd_chain_complete(w->chain, &s->cs, &s->exec, &s->st, &o);
}
