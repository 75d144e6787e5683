/*
 * All plugins of the host; see plugins.h. Commits what plugin_set.c has prepared (starting.c starts it),
 * switches plugins at run time, and knows who waits for whom when plugins end.
 */
#include "plug/plugins.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "base/thread.h"
#include "plug/instance.h"
#include "plug/template_service.h"

#define DEFAULT_PARKED  10000
#define DEFAULT_PARK_MS 60000

/* --- entries ------------------------------------------------------------------------------------------- */

struct hd_plugin_entry *hd_plugins_find(struct hd_plugins *p, const char *id)
{
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        if (!strcmp(e->id, id))
            return e;
    }
    return NULL;
}

static void insert_entry(struct hd_plugins *p, struct hd_plugin_entry *e)
{
    struct hd_plugin_entry **at = &p->entries;

    while (*at && strcmp((*at)->id, e->id) < 0)
        at = &(*at)->next;
    e->next = *at;
    *at = e;
}

struct hd_plugin_entry *hd_plugins_entry(struct hd_plugins *p, const char *id)
{
    struct hd_plugin_entry *e = hd_plugins_find(p, id);

    if (e)
        return e;
    e = hd_calloc(1, sizeof(*e));
    if (!e || !(e->id = hd_strdup(id))) {
        hd_free(e);
        return NULL;
    }
    insert_entry(p, e);
    return e;
}

int hd_plugins_load(struct hd_plugins *p, const char *id, const char *library, struct hd_library **out,
                    struct hd_error *err)
{
    struct hd_strbuf path = HD_STRBUF_INIT;
    int code;

    if (!hd_plugin_id_ok(id))
        return hd_fail(err, HD_EINVAL,
                       "expected a plugin's name of lower case letters, digits and '-', found \"%s\"", id);
    if (library && library[0])
        hd_strbuf_puts(&path, library);
    else
        hd_strbuf_printf(&path, "%s/%s.so", p->plugin_dir, id);
    code = path.failed ? hd_fail(err, HD_ENOMEM, "no memory")
                       : hd_library_load(hd_strbuf_str(&path), id, out, err);
    hd_strbuf_free(&path);
    return code;
}

static void seen(void *arg, const char *id, const char *path)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_plugin_entry *e = hd_plugin_id_ok(id) ? hd_plugins_entry(arg, id) : NULL;

    (void)path;
    if (!e || e->lib || e->configured || e->prepared)
        return;
    e->refused = hd_plugins_load(arg, id, NULL, &e->lib, &err) != HD_OK;
    snprintf(e->reason, sizeof(e->reason), "%s", err.text);
}

void hd_plugins_scan(struct hd_plugins *p)
{
    struct hd_error err = HD_ERROR_INIT;

    if (hd_library_scan(p->plugin_dir, seen, p, &err))
        hd_log(HD_LOG_WARNING, "plugin folder not read", HD_KV("reason", err.text));
}

const char *hd_plugins_state(const struct hd_plugin_entry *e)
{
    struct hd_instance *i = e->instance;

    if (!i)
        return e->refused ? "refused" : e->configured ? "stopped" : "available";
    if (i->state != HD_INSTANCE_RUNNING)
        return "stopping";
    if (hd_instance_quarantined(i))
        return "quarantined";
    return i->mode == HD_MODE_OBSERVE ? "observing" : "running";
}

/* Is it known already that the plugin is in this state, and whether it should be in another? */
static int is_told(const struct hd_plugin_entry *e, const char *state)
{
    if (!e->told) /* it never ran: nobody asks */
        return !strcmp(state, "stopped") || !strcmp(state, "available");
    return !strcmp(e->told, state) && (e->told_mode == HD_MODE_OFF) == (e->mode == HD_MODE_OFF);
}

void hd_plugins_tell(struct hd_plugins *p, struct hd_plugin_entry *e)
{
    const char *state = hd_plugins_state(e);
    int bad = !strcmp(state, "refused") || !strcmp(state, "quarantined");
    struct hd_event_plugin ev = {.size = sizeof(ev), .mode = e->mode};

    if (is_told(e, state))
        return;
    e->told = state;
    e->told_mode = e->mode;
    hd_log(bad ? HD_LOG_ERROR : HD_LOG_INFO, "plugin", HD_KV("plugin", e->id), HD_KV("state", state),
           HD_KV("version", e->lib ? e->lib->desc.version : ""), HD_KV("reason", e->reason));
    snprintf(ev.plugin, sizeof(ev.plugin), "%s", e->id);
    snprintf(ev.state, sizeof(ev.state), "%s", state);
    snprintf(ev.reason, sizeof(ev.reason), "%s", e->reason);
    if (p->changed)
        p->changed(p->arg, &ev);
}

/* --- commit -------------------------------------------------------------------------------------------- */

/* Takes over what does not depend on the instance. */
static void take_prepared(struct hd_plugin_entry *e)
{
    if (e->next_lib)
        e->lib = e->next_lib;
    e->mode = e->next_mode;
    e->configured = 1;
    e->refused = e->next_refused;
    snprintf(e->reason, sizeof(e->reason), "%s", e->next_reason);
}

static size_t count_entries(struct hd_plugins *p)
{
    size_t n = 0;

    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        n++;
    }
    return n;
}

/* Carries out what is prepared for one entry, its new instance being started. */
static void commit_entry(struct hd_plugins *p, struct hd_plugin_entry *e)
{
    struct hd_instance *i = e->instance;
    uint32_t restart = !i && e->waits ? e->next_mode : HD_MODE_OFF;

    take_prepared(e);
    if (i) {
        i->pinned = 0;
        if (e->candidate) { /* the old one is still ending */
            restart = e->next_mode;
        } else if (e->settings && e->next_mode != HD_MODE_OFF) {
            hd_instance_reload(i, e->settings);
            e->settings = NULL;
            i->mode = e->next_mode;
            i->state = HD_INSTANCE_RUNNING; /* it may have been on its way out */
        } else if (i->state == HD_INSTANCE_RUNNING && e->next_mode == HD_MODE_OFF) {
            hd_instance_retire(i, hd_snapshot_next_generation(p));
        }
    }
    e->restart = restart;
    hd_plugin_entry_abort(e); /* what is left over */
    hd_plugins_tell(p, e);
}

/* Nobody wants it any more: why it did not run is of no interest, unless it cannot even be loaded. */
static void forget_refusal(struct hd_plugins *p, struct hd_plugin_entry *e)
{
    if (!e->told)
        return;
    if (e->refused && e->lib) {
        e->refused = 0;
        e->reason[0] = 0;
    }
    hd_plugins_tell(p, e);
}

/* The configuration does not know the plugin any more. */
static void commit_unknown(struct hd_plugins *p, struct hd_plugin_entry *e)
{
    e->configured = 0;
    e->mode = HD_MODE_OFF;
    e->restart = HD_MODE_OFF;
    if (!e->instance) {
        forget_refusal(p, e);
        return;
    }
    if (e->instance->state == HD_INSTANCE_RUNNING)
        hd_instance_retire(e->instance, hd_snapshot_next_generation(p));
    hd_plugins_tell(p, e);
}

int hd_plugins_commit(struct hd_plugins *p, struct hd_error *err)
{
    struct hd_chain_snapshot *s = hd_snapshot_new();
    struct hd_plugin_entry **order = hd_calloc(count_entries(p) + 1, sizeof(struct hd_plugin_entry *));
    int code = HD_OK;

    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    if (!s || !order)
        code = hd_fail(err, HD_ENOMEM, "no memory");
    else if (!p->prepared)
        code = hd_fail(err, HD_EBUSY, "nothing is prepared");
    else
        code = hd_plugins_start_all(p, order, err);
    if (code) {
        hd_chain_snapshot_release(s);
        hd_plugins_abort(p);
        goto out;
    }
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        if (e->prepared)
            commit_entry(p, e);
        else
            commit_unknown(p, e);
    }
    hd_plugin_set_free(p->set);
    p->set = p->prepared;
    p->prepared = NULL;
    hd_snapshot_publish(p, s);
out:
    hd_free(order);
    return code;
}

/* --- at run time --------------------------------------------------------------------------------------- */

/* Creates, checks and starts one plugin by itself. */
static int switch_on(struct hd_plugins *p, struct hd_plugin_entry *e, uint32_t mode, struct hd_error *err)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_error why = HD_ERROR_INIT;
    int code = HD_OK;

    hd_plugin_set_prepare(p, p->set, e, mode, &problems);
    if (hd_problems_any(&problems))
        code = hd_fail(err, problems.no_memory ? HD_ENOMEM : HD_EINVAL, "%s",
                       problems.no_memory ? "no memory" : hd_problems_first(&problems));
    else if (e->next_refused || !e->candidate)
        code = hd_fail(err, HD_EFAIL, "%s", e->next_reason);
    else if ((code = hd_plugins_start_entry(e, &why)))
        hd_fail(err, code, "%s", why.text);
    if (!code || e->next_refused)
        take_prepared(e);
    if (!code)
        e->restart = HD_MODE_OFF;
    hd_plugin_entry_abort(e);
    hd_problems_free(&problems);
    hd_plugins_tell(p, e);
    return code;
}

static int uses(const struct hd_instance *asker, const struct hd_instance *provider)
{
    HD_LIST_EACH(n, &asker->uses)
    {
        if (HD_LIST_ITEM(n, struct hd_plugin_use, node)->provider == provider)
            return 1;
    }
    return 0;
}

/* Says by whom it is used. One that was started anew may still be used by an instance that stops. */
static int fail_used(const struct hd_plugins *p, const struct hd_instance *i, struct hd_error *err)
{
    struct hd_strbuf names = HD_STRBUF_INIT;
    int code;

    for (const struct hd_plugin_entry *e = p->entries; e; e = e->next)
        if (e->instance && uses(e->instance, i))
            hd_strbuf_printf(&names, "%s%s", names.len ? ", " : "", e->id);
    code = hd_fail(err, HD_EBUSY, "plugin %s is used by %s; disable that first", i->entry->id,
                   names.len ? hd_strbuf_str(&names) : "one that stops");
    hd_strbuf_free(&names);
    return code;
}

static int switch_off(struct hd_plugins *p, struct hd_plugin_entry *e, struct hd_error *err)
{
    struct hd_instance *i = e->instance;

    if (i && i->state == HD_INSTANCE_RUNNING && i->askers)
        return fail_used(p, i, err);
    e->restart = HD_MODE_OFF;
    e->mode = HD_MODE_OFF;
    if (!i)
        forget_refusal(p, e);
    if (!i || i->state != HD_INSTANCE_RUNNING)
        return HD_OK;
    hd_instance_retire(i, hd_snapshot_next_generation(p));
    hd_plugins_tell(p, e);
    return HD_OK;
}

static int switch_to(struct hd_plugins *p, struct hd_plugin_entry *e, uint32_t mode, struct hd_error *err)
{
    struct hd_instance *i = e->instance;

    if (!i)
        return switch_on(p, e, mode, err);
    if (i->state != HD_INSTANCE_RUNNING && i->state != HD_INSTANCE_RETIRING)
        return hd_fail(err, HD_EBUSY, "plugin %s is still stopping; try again later", e->id);
    if (mode == HD_MODE_OBSERVE && !i->lib->is_filter)
        return hd_fail(err, HD_EINVAL, "plugin %s is no filter and has nothing to observe", e->id);
    i->state = HD_INSTANCE_RUNNING;
    i->mode = e->mode = mode;
    hd_instance_forgive(i);
    hd_plugins_tell(p, e);
    return HD_OK;
}

int hd_plugins_set_mode(struct hd_plugins *p, const char *id, uint32_t mode, struct hd_error *err)
{
    struct hd_plugin_entry *e = hd_plugins_known(p, id, err);
    struct hd_chain_snapshot *s;
    int code;

    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    if (!e)
        return HD_ENOENT;
    if (p->stopping)
        return hd_fail(err, HD_EBUSY, "the host is stopping");
    s = hd_snapshot_new();
    if (!s)
        return hd_fail(err, HD_ENOMEM, "no memory");
    hd_plugins_abort(p); /* it knew other states */
    if (mode != HD_MODE_OFF && p->forgive)
        p->forgive(p->blamed_arg, e->id);
    code = mode == HD_MODE_OFF ? switch_off(p, e, err) : switch_to(p, e, mode, err);
    if (code)
        hd_chain_snapshot_release(s);
    else
        hd_snapshot_publish(p, s);
    return code;
}

/* --- ends ---------------------------------------------------------------------------------------------- */

static void restart(struct hd_plugins *p, struct hd_plugin_entry *e)
{
    struct hd_chain_snapshot *s = hd_snapshot_new();
    struct hd_error err = HD_ERROR_INIT;
    uint32_t mode = e->restart;

    e->restart = HD_MODE_OFF;
    e->waits = 0;
    if (s && !switch_on(p, e, mode, &err)) {
        hd_snapshot_publish(p, s);
        return;
    }
    hd_chain_snapshot_release(s);
    if (e->waits)
        e->restart = mode;
}

/* What could not start because something that it asked for was still stopping, tries again. */
static void restart_waiting(struct hd_plugins *p)
{
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next)
        if (e->restart != HD_MODE_OFF && !e->instance)
            restart(p, e);
}

static void check_stopped(struct hd_plugins *p)
{
    if (p->stopping != 1 || p->alive)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = 2;
    pthread_mutex_unlock(&p->lock);
    hd_loop_post(p->control, &p->stop_post);
}

void hd_plugins_ended(struct hd_plugins *p, struct hd_plugin_entry *e)
{
    if (e) {
        e->instance = NULL;
        hd_plugins_tell(p, e);
        if (e->restart != HD_MODE_OFF && !p->stopping)
            restart(p, e);
        if (!p->stopping)
            restart_waiting(p);
    }
    check_stopped(p);
}

struct stop_timer {
    struct hd_loop_timer timer; /* first */
    struct hd_plugins *plugins;
};

static void timer_closed(struct hd_loop_timer *t)
{
    hd_free(HD_CONTAINER_OF(t, struct stop_timer, timer));
}

static void on_stopped(struct hd_post *post)
{
    struct hd_plugins *p = HD_CONTAINER_OF(post, struct hd_plugins, stop_post);
    int poked;

    pthread_mutex_lock(&p->lock);
    poked = p->poke_posted;
    pthread_mutex_unlock(&p->lock);
    if (poked) { /* it stands in the loop's inbox: end behind it */
        hd_loop_post(p->control, post);
        return;
    }
    if (p->stop_timer)
        hd_loop_timer_close(p->stop_timer, timer_closed);
    p->stop_timer = NULL;
    p->stopped(p->stopped_arg);
}

/* Each had its own drain timeout; this is for those that waited for others. */
static void on_stop_timeout(struct hd_loop_timer *t)
{
    struct hd_plugins *p = HD_CONTAINER_OF(t, struct stop_timer, timer)->plugins;

    for (struct hd_plugin_entry *e = p->entries; e; e = e->next) {
        if (e->instance)
            hd_instance_leave(e->instance, "the host stops and something still uses it");
    }
}

static void start_timer(struct hd_plugins *p)
{
    struct stop_timer *t = hd_calloc(1, sizeof(*t));

    if (!t)
        return;
    t->plugins = p;
    hd_loop_timer_init(p->control, &t->timer, on_stop_timeout);
    hd_loop_timer_start(&t->timer, 2 * (uint64_t)(p->drain_timeout > 0 ? p->drain_timeout : 1), 0);
    p->stop_timer = &t->timer;
}

/* Takes all filters out of the chains. Without memory for an empty snapshot the chains' own end lets go of
 * them. */
static void publish_nothing(struct hd_plugins *p)
{
    struct hd_chain_snapshot *s = hd_snapshot_new();

    if (s)
        hd_snapshot_publish(p, s);
}

void hd_plugins_stop(struct hd_plugins *p, void (*done)(void *arg), void *arg)
{
    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    hd_plugins_abort(p);
    p->stopping = 1;
    p->stopped = done;
    p->stopped_arg = arg;
    start_timer(p);
    for (struct hd_plugin_entry *e = p->entries; e; e = e->next)
        if (e->instance && e->instance->state == HD_INSTANCE_RUNNING)
            hd_instance_retire(e->instance, hd_snapshot_next_generation(p));
    publish_nothing(p);
    check_stopped(p);
}

/* --- making and freeing -------------------------------------------------------------------------------- */

void hd_plugins_set_limits(struct hd_plugins *p, const struct hd_plugins_env *env)
{
    p->drain_timeout = env->drain_timeout;
    p->plugin_failures = env->plugin_failures;
    p->time_budget = env->time_budget;
    p->park_timeout = env->park_timeout > 0 ? env->park_timeout : DEFAULT_PARK_MS;
}

void hd_plugins_set_blamed(struct hd_plugins *p, uint32_t (*blamed)(void *arg, const char *id),
                           void (*forgive)(void *arg, const char *id), void *arg)
{
    p->blamed = blamed;
    p->forgive = forgive;
    p->blamed_arg = arg;
}

static int make_seats(struct hd_plugins *p, const struct hd_plugins_env *env)
{
    p->seats = hd_calloc(env->workers ? env->workers : 1, sizeof(*p->seats));
    if (!p->seats)
        return HD_ENOMEM;
    for (; p->workers < env->workers; p->workers++) {
        struct hd_chain_seat *seat = &p->seats[p->workers];

        seat->plugins = p;
        seat->worker = p->workers;
        seat->post.fn = hd_snapshot_on_published;
        if (hd_parks_init(&seat->parks, (uint32_t)(env->max_parked > 0 ? env->max_parked : DEFAULT_PARKED)))
            return HD_ENOMEM;
    }
    return HD_OK;
}

int hd_plugins_new(const struct hd_plugins_env *env, struct hd_plugins **out, struct hd_error *err)
{
    struct hd_plugins *p = hd_calloc(1, sizeof(*p));

    if (!p)
        return hd_fail(err, HD_ENOMEM, "no memory");
    pthread_mutex_init(&p->lock, NULL);
    p->control = env->control;
    p->changed = env->changed;
    p->arg = env->arg;
    p->poke.fn = hd_plugins_on_poke;
    p->stop_post.fn = on_stopped;
    hd_plugins_set_limits(p, env);
    p->plugin_dir = hd_strdup(env->plugin_dir);
    p->snapshot = hd_snapshot_new();
    if (!p->plugin_dir || !p->snapshot || make_seats(p, env)) {
        hd_plugins_free(p);
        return hd_fail(err, HD_ENOMEM, "no memory");
    }
    p->snapshot->generation = 1;
    hd_service_add(HD_SERVICE_STATEMENT, &hd_statement_service); /* HD_EEXIST: they are there already */
    hd_template_serve();
    *out = p;
    return HD_OK;
}

void hd_plugins_free(struct hd_plugins *p)
{
    hd_plugins_abort(p);
    if (p->left)
        return; /* what was left behind may still call the host */
    HD_CHECK(!p->alive);
    while (p->entries) {
        struct hd_plugin_entry *e = p->entries;

        p->entries = e->next;
        hd_free((char *)e->id);
        hd_free(e);
    }
    for (uint32_t w = 0; w < p->workers; w++)
        hd_parks_fini(&p->seats[w].parks);
    hd_free(p->seats);
    hd_plugin_set_free(p->set);
    hd_chain_snapshot_release(p->snapshot);
    pthread_mutex_destroy(&p->lock);
    hd_free(p->plugin_dir);
    hd_free(p);
}
