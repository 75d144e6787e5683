/*
 * Start, signals and stop of the host; see runtime.h. The reload stands in reload.c.
 */
#include "host/runtime.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "host/control.h"
#include "host/daemon.h"
#include "host/host_commands.h"
#include "host/host_metrics.h"
#include "host/http.h"
#include "host/upgrade.h"
#include "plug/bus.h"
#include "plug/commands.h"
#include "plug/plugins.h"
#include "session/handover.h"
#include "session/replay.h"
#include "session/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const int signal_numbers[] = {SIGHUP, SIGTERM, SIGINT, SIGUSR2};

const char *hd_runtime_state_name(enum hd_runtime_state state)
{
    static const char *const names[] = {"starting", "running", "draining", "stopping"};

    return names[state];
}

/* --- problems --------------------------------------------------------------------------------------------
 */

void hd_problems_log(const struct hd_problems *p)
{
    for (const struct hd_problem *n = p->first; n; n = n->next)
        hd_log(n->warning ? HD_LOG_WARNING : HD_LOG_ERROR, "configuration", HD_KV("problem", n->text));
    if (p->no_memory)
        hd_log(HD_LOG_ERROR, "configuration", HD_KV("problem", "no memory"));
}

static void show(int colour, int warning, const char *text)
{
    const char *on = !colour ? "" : warning ? "\033[33m" : "\033[31m";

    fprintf(stderr, "%s%s%s: %s\n", on, warning ? "warning" : "error", colour ? "\033[0m" : "", text);
}

void hd_problems_show(const struct hd_problems *p)
{
    int colour = isatty(STDERR_FILENO) && !getenv("NO_COLOR");

    for (const struct hd_problem *n = p->first; n; n = n->next)
        show(colour, n->warning, n->text);
    if (p->no_memory)
        show(colour, 0, "no memory");
    if (p->errors + p->warnings > HD_PROBLEMS_MAX)
        fprintf(stderr, "and %u more\n", p->errors + p->warnings - HD_PROBLEMS_MAX);
}

/* --- stop ------------------------------------------------------------------------------------------------
 */

static void stop_loop(void *arg)
{
    struct hd_runtime *rt = arg;

    hd_loop_stop(&rt->parts.loop);
}

static void end_signals(struct hd_runtime *rt)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(signal_numbers) && rt->has_signals; i++)
        uv_close((uv_handle_t *)&rt->signals[i], NULL);
    rt->has_signals = 0;
    signal(SIGHUP, SIG_IGN); /* a reload that comes too late must not look like a crash */
}

/* No plugin runs any more: whoever could still ask goes, then the workers, then what jobs have left. */
static void plugins_stopped(void *arg)
{
    struct hd_runtime *rt = arg;

    hd_control_stop(rt->control);
    rt->control = NULL;
    hd_http_stop(rt->http);
    rt->http = NULL;
    hd_replay_use(NULL);
    if (rt->workers)
        hd_workers_stop(rt->workers);
    rt->workers = NULL;
    hd_parts_quiet(&rt->parts);
    hd_notify_watchdog_stop();
    if (rt->supervised)
        hd_supervised_unwatch(rt->supervised);
    if (rt->retiring)
        hd_loop_timer_close(&rt->retire_timer, NULL);
    end_signals(rt);
    /* Behind everything that those have posted. */
    if (hd_loop_call(&rt->parts.loop, stop_loop, rt))
        hd_loop_stop(&rt->parts.loop);
}

static void drained(void *arg)
{
    struct hd_runtime *rt = arg;

    if (rt->state == HD_STOPPING)
        return;
    rt->state = HD_STOPPING;
    hd_log(HD_LOG_INFO, "drained");
    hd_plugins_stop(rt->parts.plugins, plugins_stopped, rt);
}

/* Asked again while plugins take their time: nothing that is left needs an orderly end. */
static void give_up(struct hd_runtime *rt)
{
    hd_log(HD_LOG_WARNING, "stopping at once");
    hd_pid_file_drop(rt->config->settings->host.pid_file.ptr, rt->pid_fd);
    _exit(1);
}

void hd_runtime_shutdown(struct hd_runtime *rt, int now)
{
    uint64_t timeout = (uint64_t)rt->config->settings->host.drain_timeout;

    if (rt->state == HD_STOPPING) {
        give_up(rt);
        return;
    }
    now = now || rt->state == HD_DRAINING;
    hd_log(HD_LOG_INFO, now ? "stopping" : "draining", HD_KV("timeout_ms", now ? (uint64_t)0 : timeout));
    if (rt->state != HD_DRAINING) {
        if (rt->supervised && rt->state == HD_RUNNING)
            hd_supervised_stopping(rt->supervised);
        hd_notify_stopping();
    }
    rt->state = HD_DRAINING;
    if (rt->workers)
        hd_workers_drain(rt->workers, now ? 0 : timeout, drained, rt);
    else
        drained(rt);
}

/* --- signals ---------------------------------------------------------------------------------------------
 */

static void on_signal(uv_signal_t *signal, int number)
{
    struct hd_runtime *rt = signal->data;
    struct hd_error err = HD_ERROR_INIT;

    if (number == SIGUSR2) {
        if (!rt->supervised || hd_supervised_upgrade(rt->supervised))
            hd_log(HD_LOG_WARNING, "no upgrade: there is no supervisor");
    } else if (number != SIGHUP) {
        hd_log(HD_LOG_INFO, "signal", HD_KV("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"));
        hd_runtime_shutdown(rt, 0);
    } else if (rt->state == HD_RUNNING) {
        (void)hd_runtime_reload(rt, &err); /* which says in the log how it went */
    }
}

static void hear_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < HD_ARRAY_LEN(signal_numbers); i++)
        sigaddset(&set, signal_numbers[i]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int start_signals(struct hd_runtime *rt, struct hd_error *err)
{
    int rc = 0;

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < HD_ARRAY_LEN(signal_numbers); i++) {
        uv_signal_init(&rt->parts.loop.uv,
                       &rt->signals[i]); /* cannot fail on Unix once a loop has its own pipe */
        rt->signals[i].data = rt;
    }
    rt->has_signals = 1;
    for (size_t i = 0; i < HD_ARRAY_LEN(signal_numbers) && !rc; i++)
        rc = uv_signal_start(&rt->signals[i], on_signal, signal_numbers[i]);
    hear_signals(); /* a supervisor has held them back until now */
    return rc ? hd_fail(err, HD_EIO, "signals cannot be watched: %s", uv_strerror(rc)) : HD_OK;
}

/* --- start -----------------------------------------------------------------------------------------------
 */

static int start_log(struct hd_runtime *rt, struct hd_error *err)
{
    const struct hd_host_conf *h = &rt->config->settings->host;
    int e = h->log_file.len ? hd_log_open(h->log_file.ptr) : 0;

    hd_log_set_level((enum hd_log_level)h->log_level);
    return e ? hd_fail(err, HD_EIO, "cannot open the log %s: %s", h->log_file.ptr, strerror(e)) : HD_OK;
}

static int start_plugins(struct hd_runtime *rt, struct hd_error *err)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    int code = hd_plugins_prepare(rt->parts.plugins, &rt->config->plugins, &problems);

    if (code) {
        hd_problems_show(&problems);
        hd_fail(err, code, "%s", hd_problems_first(&problems));
    } else {
        hd_problems_log(&problems);
        code = hd_plugins_commit(rt->parts.plugins, err);
    }
    hd_problems_free(&problems);
    return code;
}

static const struct hd_keeper *keeper(struct hd_runtime *rt)
{
    return rt->supervised ? hd_supervised_keeper(rt->supervised) : NULL;
}

/* A control socket that nobody asked for in the INI may be missing: its folder often is, for an ordinary
 * user. */
static int start_control(struct hd_runtime *rt, struct hd_error *err)
{
    const struct hd_str *address = &rt->config->settings->host.control;
    int code;

    if (!address->len)
        return HD_OK;
    code = hd_control_start(&rt->parts.loop, rt->parts.commands, address->ptr, keeper(rt), &rt->control, err);
    if (code && !hd_raw_find(rt->config->host, "control")) {
        hd_log(HD_LOG_WARNING, "no control socket; set [host] control", HD_KV("reason", err->text));
        return HD_OK;
    }
    return code;
}

static int start_http(struct hd_runtime *rt, struct hd_error *err)
{
    int code = hd_http_prepare(rt->http, rt->config->settings, keeper(rt), err);

    if (!code)
        hd_http_commit(rt->http);
    return code;
}

static int start_workers(struct hd_runtime *rt, struct hd_error *err)
{
    const struct hd_workers_env env = {.control = &rt->parts.loop,
                                       .plugins = rt->parts.plugins,
                                       .commands = rt->parts.commands,
                                       .bus = rt->parts.bus,
                                       .metrics = rt->parts.metrics,
                                       .jobs = rt->parts.jobs,
                                       .catalog = rt->parts.catalog,
                                       .keeper = keeper(rt)};

    int code = hd_workers_start(rt->config->settings, &env, &rt->workers, err);

    if (!code)
        hd_replay_use(rt->workers);
    return code;
}

static void log_ready(const struct hd_runtime *rt)
{
    const struct hd_settings *s = rt->config->settings;

    for (uint32_t l = 0; l < s->listener_count; l++)
        for (uint32_t i = 0; i < s->listeners[l].address_count; i++)
            hd_log(HD_LOG_INFO, "listening", HD_KV("listener", s->listeners[l].name),
                   HD_KV("address", s->listeners[l].addresses[i].text));
    hd_log(HD_LOG_INFO, "ready", HD_KV("version", PACKAGE_VERSION), HD_KV("pid", (int64_t)getpid()),
           HD_KV("workers", s->host.worker_count), HD_KV("config", rt->path));
}

/* --- the supervisor --------------------------------------------------------------------------------------
 */

/* Nobody is left, or the time is over. */
static void retired(void *arg)
{
    struct hd_runtime *rt = arg;

    if (rt->state == HD_RUNNING)
        hd_runtime_shutdown(rt, 0);
}

static void on_retire_timeout(struct hd_loop_timer *t)
{
    struct hd_runtime *rt = HD_CONTAINER_OF(t, struct hd_runtime, retire_timer);

    hd_log(HD_LOG_WARNING, "upgrade_timeout is over: clients that are left are ended");
    retired(rt);
}

/* Another host serves. */
static void retire(void *arg)
{
    const struct hd_event_retiring ev = {.size = sizeof(ev)};
    struct hd_runtime *rt = arg;

    if (rt->state != HD_RUNNING || rt->retiring)
        return;
    hd_log(HD_LOG_INFO, "another host serves");
    rt->retiring = 1;
    hd_bus_publish(rt->parts.bus, HD_BUS_HOST_RETIRING, &ev, sizeof(ev));
    hd_control_leave(rt->control);
    hd_http_leave(rt->http);
    hd_loop_timer_init(&rt->parts.loop, &rt->retire_timer, on_retire_timeout);
    hd_loop_timer_start(&rt->retire_timer, (uint64_t)rt->config->settings->host.upgrade_timeout, 0);
    if (hd_handover_begin(rt->workers, retired, rt))
        retired(rt);
}

static void upgraded(void *arg, pid_t pid, const char *why)
{
    struct hd_runtime *rt = arg;
    struct hd_error err = HD_ERROR_INIT;
    hd_result *r = rt->upgrade;
    char text[80];

    rt->upgrade = NULL;
    if (!r)
        return; /* a signal has asked, or nobody waits any more */
    if (why) {
        hd_fail(&err, HD_EFAIL, "%s", why);
    } else {
        snprintf(text, sizeof(text), "upgraded: process %ld serves", (long)pid);
        hd_result_message(r, text);
    }
    hd_result_finish(r, why ? HD_EFAIL : HD_OK, why ? &err : NULL);
}

static void peer(void *arg, int fd)
{
    struct hd_runtime *rt = arg;

    if (!rt->workers)
        close(fd);
    else if (hd_handover_open(rt->workers, fd))
        hd_log(HD_LOG_WARNING, "no way to the other host");
}

static int start_supervised(struct hd_runtime *rt, struct hd_error *err)
{
    const struct hd_supervised_ops ops = {rt, retire, upgraded, peer};

    if (!rt->supervised || !hd_supervised_watch(rt->supervised, &rt->parts.loop, &ops))
        return HD_OK;
    return hd_fail(err, HD_EIO, "the supervisor cannot be listened to");
}

static void tell_ready(struct hd_runtime *rt)
{
    if (rt->supervised) {
        hd_supervised_start_timeout(rt->supervised, rt->config->settings->host.start_timeout);
        hd_supervised_ready(rt->supervised);
    }
    hd_notify_ready("ready");
    if (rt->ready_fd >= 0)
        hd_daemon_ready(rt->ready_fd);
    else if (rt->supervised && hd_supervised_background(rt->supervised))
        hd_daemon_leave_terminal();
    rt->ready_fd = -1;
}

/* All but the parts, which are there already. */
static int start(struct hd_runtime *rt, struct hd_error *err)
{
    int code = start_signals(rt, err);

    if (!code)
        code = hd_host_commands_add(rt, err);
    if (!code)
        code = hd_http_new(rt, &rt->http, err);
    if (!code)
        code = start_plugins(rt, err);
    if (!code)
        code = start_control(rt, err);
    if (!code)
        code = start_http(rt, err);
    if (!code)
        code = start_workers(rt, err);
    if (!code)
        code = start_supervised(rt, err);
    if (code)
        return code;
    rt->state = HD_RUNNING;
    hd_control_own(rt->control);
    log_ready(rt);
    hd_notify_watchdog(&rt->parts.loop);
    tell_ready(rt);
    return HD_OK;
}

static void warn_of_files(const struct hd_host_conf *h, unsigned long limit)
{
    if (limit && (unsigned long)h->max_clients + 100 > limit)
        hd_log(HD_LOG_WARNING, "too few files may be open for so many clients",
               HD_KV("max_clients", h->max_clients), HD_KV("files", limit));
}

/* To whoever has started it: a person at a terminal, or one who waits for an upgrade. */
static void say(const struct hd_runtime *rt, const struct hd_error *err)
{
    fprintf(stderr, "howdahd: %s\n", err->text);
    if (rt->supervised)
        hd_supervised_failed(rt->supervised, err->text);
}

static int take_pid_file(struct hd_runtime *rt, struct hd_error *err)
{
    const struct hd_str *path = &rt->config->settings->host.pid_file;

    if (path->len && !rt->supervised) /* else it is the supervisor's */
        rt->pid_fd = hd_pid_file_take(path->ptr, err);
    return rt->pid_fd < -1 ? rt->pid_fd : HD_OK;
}

static uint32_t blamed(void *rt, const char *plugin)
{
    return hd_supervised_blamed(((struct hd_runtime *)rt)->supervised, plugin);
}

static void forgive(void *arg, const char *plugin)
{
    struct hd_runtime *rt = arg;

    if (hd_supervised_blamed(rt->supervised, plugin))
        hd_host_metrics_crashes(rt->parts.metrics, plugin, 0);
    hd_supervised_forgive(rt->supervised, plugin);
}

/* At the hosts before this one. */
static void look_back(struct hd_runtime *rt)
{
    hd_plugins_set_blamed(rt->parts.plugins, blamed, forgive, rt);
    hd_host_metrics_start(rt->parts.metrics, rt->supervised);
}

int hd_runtime_run(const char *path, struct hd_config *config, struct hd_supervised *supervised, int ready_fd)
{
    struct hd_runtime rt = {
        .path = path, .config = config, .supervised = supervised, .ready_fd = ready_fd, .pid_fd = -1};
    const struct hd_host_conf *h = &config->settings->host;
    struct hd_error err = HD_ERROR_INIT;

    rt.started_us = rt.loaded_us = hd_wall_us();
    rt.exit_code = 1;
    if (take_pid_file(&rt, &err) || start_log(&rt, &err) ||
        hd_parts_start(&rt.parts, config->settings, 1, &err)) {
        say(&rt, &err);
        goto out;
    }
    if (supervised)
        look_back(&rt);
    warn_of_files(h, hd_daemon_raise_files());
    if (start(&rt, &err)) {
        say(&rt, &err);
        hd_log(HD_LOG_ERROR, "not started", HD_KV("reason", err.text));
        hd_runtime_shutdown(&rt, 1);
    } else {
        rt.exit_code = 0;
    }
    hd_loop_run(&rt.parts.loop);
    hd_log(HD_LOG_INFO, "stopped");
    hd_parts_end(&rt.parts);
out:
    if (rt.pid_fd >= 0)
        hd_pid_file_drop(rt.config->settings->host.pid_file.ptr, rt.pid_fd);
    hd_config_free(rt.config);
    hd_supervised_free(rt.supervised);
    return rt.exit_code;
}
