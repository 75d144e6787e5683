/*
 * Making and unmaking the host's parts; see parts.h.
 */
#include "host/parts.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/thread.h"
#include "host/health.h"
#include "host/host_metrics.h"
#include "host/nodes.h"
#include "plug/bus.h"
#include "plug/catalog.h"
#include "plug/commands.h"
#include "plug/jobs.h"
#include "plug/loop_service.h"
#include "plug/metrics.h"
#include "plug/plugins.h"
#include "plug/scheduler.h"
#include "plug/template_service.h"
#include "session/replay.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *hd_plugin_dir(const struct hd_settings *s, char *out)
{
    struct stat st;
    ssize_t n;
    char *slash;

    if (s->host.plugin_dir.len)
        return s->host.plugin_dir.ptr;
    n = readlink("/proc/self/exe", out, PATH_MAX - sizeof("/plugins.d"));
    if (n > 0) {
        out[n] = 0;
        slash = strrchr(out, '/');
        *slash = 0;
        /* libtool keeps the program itself in .libs, behind a script. */
        slash = strrchr(out, '/');
        if (slash && !strcmp(slash, "/.libs"))
            *slash = 0;
        strcat(out, "/plugins.d");
        if (!stat(out, &st) && S_ISDIR(st.st_mode))
            return out;
    }
    return HD_PLUGIN_DIR;
}

static void tell_change(void *arg, const struct hd_event_plugin *ev)
{
    struct hd_parts *p = arg;

    hd_host_metrics_plugin(p->metrics, ev);
    hd_bus_publish(p->bus, HD_BUS_PLUGIN_STATE, ev, sizeof(*ev));
}

static void fill_env(struct hd_parts *p, const struct hd_settings *s, struct hd_plugins_env *env)
{
    memset(env, 0, sizeof(*env));
    env->workers = (uint32_t)s->host.worker_count;
    env->drain_timeout = s->host.drain_timeout;
    env->plugin_failures = s->host.plugin_failures;
    env->park_timeout = s->host.park_timeout;
    env->changed = tell_change;
    env->arg = p;
}

static int start_plugins(struct hd_parts *p, const struct hd_settings *s, int to_run, struct hd_error *err)
{
    char dir[PATH_MAX];
    struct hd_plugins_env env;

    fill_env(p, s, &env);
    env.control = to_run ? &p->loop : NULL;
    env.plugin_dir = hd_plugin_dir(s, dir);
    return hd_plugins_new(&env, &p->plugins, err);
}

static int set_nodes(struct hd_parts *p, const struct hd_settings *s, struct hd_error *err)
{
    struct hd_job_node *nodes = hd_calloc(s->node_count + 1, sizeof(*nodes));
    int code = nodes ? HD_OK : HD_ENOMEM;

    for (uint32_t i = 0; nodes && i < s->node_count; i++) {
        const struct hd_node_conf *n = &s->nodes[i];
        int64_t timeout = n->connect_timeout ? n->connect_timeout : s->host.connect_timeout;

        nodes[i] = (struct hd_job_node){.name = n->name,
                                        .conninfo = n->conninfo,
                                        .user = n->control_user,
                                        .password = n->control_password,
                                        .connect_timeout = (uint64_t)timeout,
                                        .login = n->user};
    }
    if (!code)
        code = hd_jobs_set_nodes(p->jobs, nodes, s->node_count);
    hd_free(nodes);
    return code ? hd_fail(err, code, "no memory for the nodes of jobs") : HD_OK;
}

static int set_databases(const struct hd_settings *s, struct hd_error *err)
{
    struct hd_job_database *list = hd_calloc(s->database_count + 1, sizeof(*list));
    int code = list ? HD_OK : HD_ENOMEM;

    for (uint32_t i = 0; list && i < s->database_count; i++) {
        const struct hd_database_conf *d = &s->databases[i];

        list[i] = (struct hd_job_database){.name = d->name,
                                           .node = d->node->name,
                                           .dbname = d->node->dbname,
                                           .follows_settings = d->pool_mode == HD_POOL_AUTO};
    }
    if (!code)
        code = hd_jobs_serve_databases(list, s->database_count);
    hd_free(list);
    return code ? hd_fail(err, code, "no memory for the databases") : HD_OK;
}

static int start_jobs(struct hd_parts *p, const struct hd_settings *s, struct hd_error *err)
{
    int code = hd_jobs_new(&p->loop, (size_t)s->host.job_threads, (size_t)s->host.max_jobs, &p->jobs, err);

    if (!code)
        code = set_nodes(p, s, err);
    if (!code)
        code = set_databases(s, err);
    if (code)
        return code;
    p->scheduler = hd_scheduler_new(&p->loop, p->jobs);
    if (!p->scheduler)
        return hd_fail(err, HD_ENOMEM, "no memory for the scheduler");
    p->catalog = hd_catalog_new(p->jobs, (size_t)s->host.max_templates);
    return p->catalog ? HD_OK : hd_fail(err, HD_ENOMEM, "no memory for the catalog");
}

/* Their health is watched while the host runs, and not while a configuration is only looked at. */
static int start_nodes(struct hd_parts *p, const struct hd_settings *s, struct hd_error *err)
{
    struct hd_nodes_env env = {.control = &p->loop,
                               .jobs = p->jobs,
                               .scheduler = p->scheduler,
                               .bus = p->bus,
                               .commands = p->commands,
                               .metrics = p->metrics};
    int code = hd_nodes_new(&env, &p->nodes, err);

    return code ? code : hd_nodes_set(p->nodes, s, err);
}

/* Each part offers itself to plugins and brings its commands. */
static int serve(struct hd_parts *p, struct hd_error *err)
{
    int code = hd_commands_serve(p->commands);

    if (!code)
        code = hd_metrics_serve(p->metrics);
    if (!code)
        code = hd_bus_serve(p->bus);
    if (!code)
        code = hd_jobs_serve(p->jobs);
    if (!code)
        code = hd_jobs_serve_nodes(p->jobs);
    if (!code)
        code = hd_scheduler_serve(p->scheduler);
    if (!code)
        code = hd_loop_serve(&p->loop);
    if (!code)
        code = hd_health_serve();
    if (!code)
        code = hd_template_serve();
    if (!code)
        code = hd_catalog_serve(p->catalog);
    if (!code)
        code = hd_replay_serve(&p->loop);
    if (code)
        return hd_fail(err, code, "the services for plugins could not be registered: %s", hd_code_name(code));
    code = hd_metrics_add_commands(p->metrics, p->commands, err);
    if (!code)
        code = hd_bus_add_commands(p->bus, p->commands, err);
    if (!code)
        code = hd_jobs_add_commands(p->jobs, p->commands, err);
    if (!code)
        code = hd_scheduler_add_commands(p->scheduler, p->commands, err);
    if (!code)
        code = hd_catalog_add_commands(p->catalog, p->commands, err);
    return code;
}

int hd_parts_start(struct hd_parts *p, const struct hd_settings *s, int to_run, struct hd_error *err)
{
    int code;

    memset(p, 0, sizeof(*p));
    hd_thread_name(HD_THREAD_CONTROL, 0);
    code = hd_loop_init(&p->loop);
    if (code)
        return hd_fail(err, code, "the control loop could not be made: %s", hd_code_name(code));
    p->has_loop = 1;
    p->commands = hd_commands_new(&p->loop);
    p->metrics = hd_metrics_new((size_t)s->host.max_metrics);
    p->bus = hd_bus_new(&p->loop, (size_t)s->host.bus_queue);
    code = p->commands && p->metrics && p->bus ? HD_OK : hd_fail(err, HD_ENOMEM, "no memory");
    if (!code)
        code = start_jobs(p, s, err);
    if (!code)
        code = serve(p, err);
    if (!code && to_run)
        code = start_nodes(p, s, err);
    if (!code && to_run)
        code = hd_catalog_watch(p->catalog, p->scheduler, err);
    if (!code)
        code = start_plugins(p, s, to_run, err);
    if (code)
        hd_parts_discard(p);
    return code;
}

int hd_parts_reload(struct hd_parts *p, const struct hd_settings *s, struct hd_error *err)
{
    struct hd_plugins_env env;
    int code;

    fill_env(p, s, &env);
    hd_plugins_set_limits(p->plugins, &env);
    code = set_nodes(p, s, err);
    if (!code)
        code = set_databases(s, err);
    return code ? code : hd_nodes_set(p->nodes, s, err);
}

void hd_parts_quiet(struct hd_parts *p)
{
    if (p->scheduler)
        hd_scheduler_free(p->scheduler);
    p->scheduler = NULL;
    if (p->jobs)
        hd_jobs_free(p->jobs);
    p->jobs = NULL;
    hd_nodes_free(p->nodes);
    p->nodes = NULL;
}

void hd_parts_end(struct hd_parts *p)
{
    if (p->plugins)
        hd_plugins_free(p->plugins);
    hd_catalog_free(p->catalog);
    if (p->commands)
        hd_commands_free(p->commands);
    if (p->bus)
        hd_bus_free(p->bus);
    if (p->metrics)
        hd_metrics_free(p->metrics);
    if (p->has_loop)
        hd_loop_close(&p->loop);
    memset(p, 0, sizeof(*p));
}

static void stop_loop(void *loop)
{
    hd_loop_stop(loop);
}

void hd_parts_discard(struct hd_parts *p)
{
    hd_parts_quiet(p);
    if (p->has_loop && !hd_loop_call(&p->loop, stop_loop, &p->loop))
        hd_loop_run(&p->loop);
    hd_parts_end(p);
}
