/*
 * The reload: everybody looks at the new configuration first, and only when nobody has anything against it,
 * all change over. One bad file, and everything stays as it is.
 */
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "host/daemon.h"
#include "host/http.h"
#include "host/runtime.h"
#include "host/upgrade.h"
#include "plug/bus.h"
#include "session/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void publish(struct hd_runtime *rt, int ok, const char *reason)
{
    struct hd_event_reload ev = {.size = sizeof(ev), .ok = (uint32_t)ok};

    snprintf(ev.reason, sizeof(ev.reason), "%s", reason);
    hd_bus_publish(rt->parts.bus, HD_BUS_CONFIG_RELOADED, &ev, sizeof(ev));
}

static int refused(struct hd_error *err, const struct hd_problems *problems)
{
    if (problems->errors > 1)
        return hd_fail(err, HD_EINVAL, "%s (and %u more errors; see the log)", hd_problems_first(problems),
                       problems->errors - 1);
    return hd_fail(err, HD_EINVAL, "%s", hd_problems_first(problems));
}

/* The steps that change nothing. */
static int prepare(struct hd_runtime *rt, struct hd_config *next, struct hd_problems *problems,
                   struct hd_error *err)
{
    int code;

    if (hd_plugins_prepare(rt->parts.plugins, &next->plugins, problems))
        return refused(err, problems);
    code = hd_http_prepare(rt->http, next->settings,
                           rt->supervised ? hd_supervised_keeper(rt->supervised) : NULL, err);
    if (!code)
        code = hd_workers_prepare(rt->workers, next->settings, err);
    if (code) {
        hd_http_abort(rt->http);
        hd_plugins_abort(rt->parts.plugins);
    }
    return code;
}

/* A plugin that is required did not start: what the workers have prepared goes too, by preparing what they
 * have. */
static void take_back(struct hd_runtime *rt)
{
    struct hd_error err = HD_ERROR_INIT;

    hd_http_abort(rt->http);
    if (hd_workers_prepare(rt->workers, rt->config->settings, &err))
        hd_log(HD_LOG_ERROR, "sockets of the refused configuration stay open", HD_KV("reason", err.text));
}

/* The log goes where the new configuration says; the same file is opened again, for it may have been rotated.
 */
static void change_log(struct hd_supervised *supervised, const struct hd_host_conf *was,
                       const struct hd_host_conf *is)
{
    int same = was->log_file.len == is->log_file.len && !strcmp(was->log_file.ptr, is->log_file.ptr);
    int e = same ? hd_log_reopen() : hd_log_open(is->log_file.len ? is->log_file.ptr : NULL);

    if (e)
        hd_log(HD_LOG_ERROR, "cannot open the log", HD_KV("file", is->log_file.ptr),
               HD_KV("reason", strerror(e)));
    hd_log_set_level((enum hd_log_level)is->log_level);
    if (!supervised)
        return;
    hd_supervised_log(supervised, is->log_file.ptr, is->log_level);
    hd_supervised_start_timeout(supervised, is->start_timeout);
}

static int change_over(struct hd_runtime *rt, struct hd_config *next, struct hd_error *err)
{
    struct hd_error jobs = HD_ERROR_INIT;
    int code = hd_plugins_commit(rt->parts.plugins, err);

    if (code) {
        take_back(rt);
        return code;
    }
    hd_workers_commit(rt->workers);
    hd_http_commit(rt->http);
    if (hd_parts_reload(&rt->parts, next->settings, &jobs))
        hd_log(HD_LOG_ERROR, "jobs keep the old nodes", HD_KV("reason", jobs.text));
    change_log(rt->supervised, &rt->config->settings->host, &next->settings->host);
    hd_config_free(rt->config);
    rt->config = next;
    rt->loaded_us = hd_wall_us();
    rt->reloads++;
    return HD_OK;
}

int hd_runtime_reload(struct hd_runtime *rt, struct hd_error *err)
{
    struct hd_problems problems = HD_PROBLEMS_INIT;
    struct hd_config *next;
    int code;

    if (rt->retiring)
        return hd_fail(err, HD_EBUSY, "another host serves already; reload that one");
    if (rt->state != HD_RUNNING)
        return hd_fail(err, HD_EBUSY, "the host is %s", hd_runtime_state_name(rt->state));
    hd_notify_reloading();
    next = hd_config_load(rt->path, rt->config, 0, &problems);
    code = next ? prepare(rt, next, &problems, err) : refused(err, &problems);
    hd_problems_log(&problems);
    if (!code)
        code = change_over(rt, next, err);
    if (code) {
        hd_config_free(next);
        rt->refused_reloads++;
        hd_log_reopen();
        hd_log(HD_LOG_ERROR, "configuration refused; the old one stays", HD_KV("reason", err->text));
    } else {
        hd_log(HD_LOG_INFO, "configuration reloaded", HD_KV("generation", rt->config->settings->generation));
    }
    publish(rt, !code, code ? err->text : "");
    hd_notify_ready(code ? "ready; the last reload was refused" : "ready");
    hd_problems_free(&problems);
    return code;
}
