/*
 * One plugin instance: its steps from create to destroy, and the count of its failures; see instance.h.
 */
#include "plug/instance.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/blame.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/units.h"

#define DEFAULT_FAILURES 100

static void on_released(hd_host *host);
static void on_gone(struct hd_post *post);
static void on_stopped(struct hd_post *post);
static void on_notice(struct hd_post *post);
static void on_stop_timeout(struct hd_loop_timer *t);

/* Those that did not end. What they stand on must stay as long as the process. [control] */
static struct hd_instance *left_behind;

void hd_plugin_settings_free(struct hd_plugin_settings *s)
{
    struct hd_arena arena;

    if (!s)
        return;
    arena = s->arena; /* the struct itself lies in it */
    hd_arena_free(&arena);
}

/* --- making -------------------------------------------------------------------------------------------- */

static int32_t call_create(struct hd_instance *i, struct hd_error *err)
{
    struct hd_error e = HD_ERROR_INIT;
    uint32_t was = hd_blame_enter(i->blame);
    int32_t code = i->lib->desc.create(&i->host, &i->self, &e);

    hd_blame_leave(was);
    if (code == HD_OK)
        return HD_OK;
    return hd_fail(err, code < 0 ? code : HD_EFAIL, "create failed (%s): %s", hd_code_name(code),
                   e.text[0] ? e.text : "it gave no reason");
}

static void free_memory(struct hd_instance *i)
{
    hd_host_fini(&i->host);
    pthread_mutex_destroy(&i->failed.lock);
    hd_plugin_settings_free(i->settings);
    hd_plugin_settings_free(i->old_settings);
    hd_free(i->counts);
    i->magic = 0;
    hd_free(i);
}

static struct hd_instance *alloc_instance(struct hd_plugins *p)
{
    size_t workers = p->workers ? p->workers : 1;
    struct hd_instance *i = hd_calloc(1, sizeof(*i));

    if (!i)
        return NULL;
    i->counts = hd_calloc(workers, sizeof(*i->counts));
    if (!i->counts) {
        hd_free(i);
        return NULL;
    }
    return i;
}

int hd_instance_new(struct hd_plugins *p, struct hd_plugin_entry *entry, const struct hd_library *lib,
                    struct hd_instance **out, struct hd_error *err)
{
    struct hd_instance *i = alloc_instance(p);
    int code;

    if (!i)
        return hd_fail(err, HD_ENOMEM, "no memory");
    hd_host_init(&i->host, lib->desc.id, p->workers, i, on_released);
    i->magic = HD_INSTANCE_MAGIC;
    i->plugins = p;
    i->entry = entry;
    i->lib = lib;
    i->blame = hd_blame_number(lib->desc.id);
    i->slot = -1;
    i->failed.limit = p->plugin_failures > 0 ? p->plugin_failures : DEFAULT_FAILURES;
    pthread_mutex_init(&i->failed.lock, NULL);
    hd_list_init(&i->uses);
    i->notice_post.fn = on_notice;
    i->stopped_post.fn = on_stopped;
    i->gone_post.fn = on_gone;
    snprintf(i->refusal, sizeof(i->refusal), "plugin %s failed to decide about this statement", lib->desc.id);
    code = call_create(i, err);
    if (code) {
        hd_host_clean(&i->host);
        free_memory(i);
        return code;
    }
    p->alive++;
    *out = i;
    return HD_OK;
}

void hd_instance_discard(struct hd_instance *i)
{
    HD_CHECK(i->state == HD_INSTANCE_NEW);
    i->state = HD_INSTANCE_CLEANING;
    i->entry = NULL;
    hd_plugins_drop_uses(i);
    hd_host_clean(&i->host);
    if (atomic_load(&i->host.holds) == 1)
        on_gone(&i->gone_post); /* nobody else has it: at once, so that -t needs no loop */
    else
        hd_host_release(&i->host);
}

/* --- starting and changing ----------------------------------------------------------------------------- */

static int take_slot(struct hd_instance *i, struct hd_error *err)
{
    if (!i->lib->is_filter)
        return HD_OK;
    for (int n = 0; n < HD_CHAIN_MAX; n++)
        if (!i->plugins->slots[n]) {
            i->plugins->slots[n] = i;
            i->slot = n;
            return HD_OK;
        }
    return hd_fail(err, HD_EFULL, "there are %d filters already, the most there can be", HD_CHAIN_MAX);
}

static void give_slot(struct hd_instance *i)
{
    if (i->slot >= 0)
        i->plugins->slots[i->slot] = NULL;
    i->slot = -1;
}

static void take_settings(struct hd_instance *i, struct hd_plugin_settings *s)
{
    i->settings = s;
    pthread_mutex_lock(&i->failed.lock);
    i->failed.limit = s->failures > 0                   ? s->failures
                      : i->plugins->plugin_failures > 0 ? i->plugins->plugin_failures
                                                        : DEFAULT_FAILURES;
    pthread_mutex_unlock(&i->failed.lock);
}

int hd_instance_start(struct hd_instance *i, struct hd_plugin_settings *s, struct hd_error *err)
{
    struct hd_error e = HD_ERROR_INIT;
    uint32_t was;
    int32_t code;

    HD_CHECK(i->state == HD_INSTANCE_NEW);
    if (take_slot(i, err))
        return HD_EFULL;
    was = hd_blame_enter(i->blame);
    code = i->lib->desc.start(i->self, &s->conf, &e);
    hd_blame_leave(was);
    if (code != HD_OK) {
        give_slot(i);
        return hd_fail(err, code < 0 ? code : HD_EFAIL, "start failed (%s): %s", hd_code_name(code),
                       e.text[0] ? e.text : "it gave no reason");
    }
    take_settings(i, s);
    i->state = HD_INSTANCE_RUNNING;
    return HD_OK;
}

void hd_instance_reload(struct hd_instance *i, struct hd_plugin_settings *s)
{
    uint32_t was = hd_blame_enter(i->blame);

    i->lib->desc.reload(i->self, &s->conf);
    hd_blame_leave(was);
    hd_plugin_settings_free(i->old_settings); /* nobody points into it any more: see struct hd_conf */
    i->old_settings = i->settings;
    take_settings(i, s);
}

/* --- the end ------------------------------------------------------------------------------------------- */

static void timer_closed(struct hd_loop_timer *t)
{
    hd_free(t);
}

static void end_stop_timer(struct hd_instance *i)
{
    if (i->stop_timer)
        hd_loop_timer_close(i->stop_timer, timer_closed);
    i->stop_timer = NULL;
}

struct stop_timer {
    struct hd_loop_timer timer; /* first */
    struct hd_instance *instance;
};

static void start_stop_timer(struct hd_instance *i)
{
    struct stop_timer *t = hd_calloc(1, sizeof(*t));

    if (!t)
        return; /* without memory it may take as long as it takes */
    t->instance = i;
    hd_loop_timer_init(i->plugins->control, &t->timer, on_stop_timeout);
    hd_loop_timer_start(&t->timer, (uint64_t)(i->plugins->drain_timeout > 0 ? i->plugins->drain_timeout : 1),
                        0);
    i->stop_timer = &t->timer;
}

static void on_stop_timeout(struct hd_loop_timer *t)
{
    struct hd_instance *i = HD_CONTAINER_OF(t, struct stop_timer, timer)->instance;

    hd_instance_leave(i, i->state == HD_INSTANCE_STOPPING
                             ? "its stop did not end within the drain timeout"
                             : "its work on other threads did not end within the drain timeout");
}

void hd_instance_retire(struct hd_instance *i, uint32_t generation)
{
    HD_CHECK(i->state == HD_INSTANCE_RUNNING);
    i->state = HD_INSTANCE_RETIRING;
    i->retired_in = generation;
}

/* Has every worker let go of it, and everybody who uses what it provides? */
static int is_retired(struct hd_instance *i)
{
    struct hd_plugins *p = i->plugins;
    int all = 1;

    if (i->askers || i->pinned)
        return 0;
    pthread_mutex_lock(&p->lock);
    for (uint32_t w = 0; w < p->workers && all; w++)
        all = !p->seats[w].chain || (int32_t)(atomic_load(&p->seats[w].generation) - i->retired_in) >= 0;
    pthread_mutex_unlock(&p->lock);
    return all && !atomic_load(&i->workers);
}

static void clean(struct hd_instance *i)
{
    i->state = HD_INSTANCE_CLEANING;
    hd_host_clean(&i->host);
    hd_plugins_drop_uses(i);
    hd_host_release(&i->host);
}

static void stop(struct hd_instance *i)
{
    uint32_t was;
    int32_t code;

    i->state = HD_INSTANCE_STOPPING;
    start_stop_timer(i);
    was = hd_blame_enter(i->blame);
    code = i->lib->desc.stop(i->self);
    hd_blame_leave(was);
    if (code == HD_PENDING)
        return;
    if (code != HD_OK)
        hd_log(HD_LOG_WARNING, "plugin failed to stop", HD_KV("plugin", i->host.id),
               HD_KV("code", hd_code_name(code)));
    clean(i);
}

void hd_instance_advance(struct hd_instance *i)
{
    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    if (i->state == HD_INSTANCE_RETIRING && is_retired(i))
        stop(i);
}

static void on_stopped(struct hd_post *post)
{
    struct hd_instance *i = HD_CONTAINER_OF(post, struct hd_instance, stopped_post);

    if (i->state == HD_INSTANCE_STOPPING)
        clean(i);
    else
        hd_log(HD_LOG_WARNING, "plugin says it has stopped, unasked or twice", HD_KV("plugin", i->host.id));
}

/* The last hold went. On any thread; the rest is the control thread's. */
static void on_released(hd_host *host)
{
    struct hd_instance *i = host->instance;

    hd_loop_post(i->plugins->control, &i->gone_post);
}

static void on_gone(struct hd_post *post)
{
    struct hd_instance *i = HD_CONTAINER_OF(post, struct hd_instance, gone_post);
    struct hd_plugins *p = i->plugins;
    struct hd_plugin_entry *e = i->entry;

    if (i->state == HD_INSTANCE_LEFT)
        return; /* too late: whoever held it so long may still use it */
    i->state = HD_INSTANCE_GONE;
    end_stop_timer(i);
    give_slot(i);
    i->lib->desc.destroy(i->self);
    free_memory(i);
    p->alive--;
    hd_plugins_ended(p, e);
}

void hd_instance_leave(struct hd_instance *i, const char *why)
{
    struct hd_plugin_entry *e = i->entry;

    hd_log(HD_LOG_ERROR, "plugin left behind", HD_KV("plugin", i->host.id), HD_KV("reason", why));
    if (i->state != HD_INSTANCE_CLEANING)
        hd_host_clean(&i->host);
    i->state = HD_INSTANCE_LEFT;
    i->entry = NULL;
    end_stop_timer(i);
    give_slot(i);
    i->left_before = left_behind;
    left_behind = i;
    i->plugins->left++;
    i->plugins->alive--;
    if (e)
        snprintf(e->reason, sizeof(e->reason), "%s", why);
    hd_plugins_ended(i->plugins, e);
}

/* --- failures ------------------------------------------------------------------------------------------ */

/* Adds one to the present second's bucket and returns the sum of the last minute. */
static uint64_t count_failure(struct hd_failures *f, uint64_t second)
{
    uint64_t sum = 0;

    if (second - f->now >= HD_FAILURE_SECONDS) {
        memset(f->bucket, 0, sizeof(f->bucket));
        f->now = second;
    }
    while (f->now < second)
        f->bucket[++f->now % HD_FAILURE_SECONDS] = 0;
    f->bucket[second % HD_FAILURE_SECONDS]++;
    f->total++;
    for (int i = 0; i < HD_FAILURE_SECONDS; i++)
        sum += f->bucket[i];
    return sum;
}

void hd_instance_failed(struct hd_instance *i, const char *what)
{
    struct hd_failures *f = &i->failed;
    uint64_t second = hd_now_ns() / 1000000000u, sum, total, quiet = 0;
    int log, limit_reached;

    pthread_mutex_lock(&f->lock);
    sum = count_failure(f, second);
    total = f->total;
    snprintf(f->last, sizeof(f->last), "%s", what);
    log = f->log_second != second; /* one line a second, however many there are */
    if (log) {
        f->log_second = second;
        quiet = total - f->logged - 1;
        f->logged = total;
    }
    limit_reached = sum >= (uint64_t)f->limit && !atomic_exchange(&i->quarantined, 1);
    pthread_mutex_unlock(&f->lock);
    if (log)
        hd_log(HD_LOG_WARNING, "plugin failed", HD_KV("plugin", i->host.id), HD_KV("what", what),
               HD_KV("within_a_minute", sum), HD_KV("not_logged", quiet));
    if (limit_reached && i->plugins->control && !atomic_exchange(&i->notice_posted, 1) &&
        hd_host_try_hold(&i->host))
        hd_loop_post(i->plugins->control, &i->notice_post);
}

static void on_notice(struct hd_post *post)
{
    struct hd_instance *i = HD_CONTAINER_OF(post, struct hd_instance, notice_post);
    char last[128];

    atomic_store(&i->notice_posted, 0);
    if (i->entry && i->entry->instance == i && hd_instance_quarantined(i)) {
        hd_instance_failures(i, last, sizeof(last));
        snprintf(i->entry->reason, sizeof(i->entry->reason), "failed %lld times within a minute, last: %s",
                 (long long)i->failed.limit, last);
        hd_plugins_tell(i->plugins, i->entry);
    }
    hd_host_release(&i->host);
}

void hd_instance_forgive(struct hd_instance *i)
{
    pthread_mutex_lock(&i->failed.lock);
    memset(i->failed.bucket, 0, sizeof(i->failed.bucket));
    atomic_store(&i->quarantined, 0);
    pthread_mutex_unlock(&i->failed.lock);
    if (i->entry)
        i->entry->reason[0] = 0;
}

uint64_t hd_instance_failures(struct hd_instance *i, char *last, size_t size)
{
    uint64_t total;

    pthread_mutex_lock(&i->failed.lock);
    total = i->failed.total;
    if (last)
        snprintf(last, size, "%s", i->failed.last);
    pthread_mutex_unlock(&i->failed.lock);
    return total;
}
