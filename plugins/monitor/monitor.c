/*
 * The plugin "monitor": descriptor, options and life; see monitor.h.
 */
#include "monitor.h"

#include "collect.h"
#include "commands.h"
#include "history.h"
#include "events.h"
#include "explain.h"
#include "machine.h"
#include "plans.h"
#include "pools.h"
#include "report_send.h"
#include "slow.h"
#include "templates.h"
#include "web.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define R HD_OPTF_RELOADABLE

static const struct hd_option options[] = {
    {"history", "/var/lib/howdah/history.db", NULL,
     "File of the history (SQLite); its folder must be there; nothing is kept when empty", 0, 0,
     HD_OPT_STRING, 0, offsetof(struct mon_conf, history), 0},
    {"history_size", "512M", NULL,
     "Size of that file; at the bound the oldest goes first, and so in a file that is larger", 1048576, 1e12,
     HD_OPT_SIZE, 0, offsetof(struct mon_conf, history_size), 0},
    {"flush_interval", "10s", NULL,
     "Time between two writes to the history: so much is lost with a killed host", 1000, 60000,
     HD_OPT_DURATION, R, offsetof(struct mon_conf, flush_interval), 0},
    {"max_series", "1000", NULL,
     "Series that are sampled every second; further metrics are left out, and counted", 10, 100000,
     HD_OPT_INT, R, offsetof(struct mon_conf, max_series), 0},
    {"template_interval", "1m", NULL, "Time between two gatherings of what templates did", 1000, 3600000,
     HD_OPT_DURATION, R, offsetof(struct mon_conf, template_interval), 0},
    {"top", "20", NULL, "Templates that are metrics of their own: the costliest of late", 1, 1000, HD_OPT_INT,
     R, offsetof(struct mon_conf, top), 0},
    {"collect", "yes", NULL, "Asks the PostgreSQL servers how they are, as their control_user", 0, 0,
     HD_OPT_BOOL, R, offsetof(struct mon_conf, collect), 0},
    {"collect_scale", "1", NULL, "The times between a collector's questions are multiplied by this", 0.01,
     1000, HD_OPT_REAL, R, offsetof(struct mon_conf, collect_scale), 0},
    {"collect_timeout", "2s", NULL, "Longest time that a question to a server may take", 10, 60000,
     HD_OPT_DURATION, R, offsetof(struct mon_conf, collect_timeout), 0},
    {"databases", NULL, NULL, "Databases of the servers whose tables are looked into; the busiest when empty",
     0, 0, HD_OPT_LIST, R, offsetof(struct mon_conf, databases), 0},
    {"max_databases", "5", NULL, "The busiest databases of a server that are looked into", 1, 32, HD_OPT_INT,
     R, offsetof(struct mon_conf, max_databases), 0},
    {"max_findings", "3000", NULL, "Metrics that collectors may make; what is past it is counted", 100,
     100000, HD_OPT_INT, R, offsetof(struct mon_conf, max_findings), 0},
    {"collectors", NULL, NULL, "Plugins that collect as well (howdah.collector/1)", 0, 0, HD_OPT_LIST, 0,
     offsetof(struct mon_conf, collectors), 0},
    {"slow_threshold", "1s", NULL, "A statement that takes so long is slow; 0: none is by that alone", 0,
     86400000, HD_OPT_DURATION, R, offsetof(struct mon_conf, slow_threshold), 0},
    {"slow_factor", "10", NULL,
     "So is one that takes so many times as long as its template usually does; 0: none is", 0, 1000000,
     HD_OPT_REAL, R, offsetof(struct mon_conf, slow_factor), 0},
    {"slow_floor", "100ms", NULL, "What takes less is never slow by slow_factor", 1, 86400000,
     HD_OPT_DURATION, R, offsetof(struct mon_conf, slow_floor), 0},
    {"slow_keep", "200", NULL, "Slow statements that are remembered", 1, 10000, HD_OPT_INT, 0,
     offsetof(struct mon_conf, slow_keep), 0},
    {"slow_rate", "50", NULL,
     "Slow statements a second that are recorded, the others are only counted; 0: all", 0, 1000000,
     HD_OPT_INT, R, offsetof(struct mon_conf, slow_rate), 0},
    {"plans", "off", "off|slow|follow",
     "Asks servers for plans of slow statements; follow: and again later, to see whether they change", 0, 0,
     HD_OPT_ENUM, R, offsetof(struct mon_conf, plans), 0},
    {"plan_interval", "10m", NULL, "A statement's plan is asked for so often at most", 1000, 86400000,
     HD_OPT_DURATION, R, offsetof(struct mon_conf, plan_interval), 0},
    {"plan_rate", "10", NULL, "Plans a minute that are asked for, of all statements", 1, 60, HD_OPT_INT, R,
     offsetof(struct mon_conf, plan_rate), 0},
    {"plan_keep", "200", NULL, "Statements whose plans are kept", 1, 10000, HD_OPT_INT, 0,
     offsetof(struct mon_conf, plan_keep), 0},
    {"report_folder", NULL, NULL,
     "Folder that each day's report is written to, as text, JSON and HTML; none when empty", 0, 0,
     HD_OPT_STRING, R, offsetof(struct mon_conf, report_folder), 0},
    {"report_sinks", NULL, NULL,
     "Sinks of the plugin alerts that each day's report is sent to, such as smtp or webhook:team", 0, 0,
     HD_OPT_LIST, R, offsetof(struct mon_conf, report_sinks), 0},
    {"report_time", "06:00", NULL, "When that is done, by the machine's clock", 0, 0, HD_OPT_STRING, R,
     offsetof(struct mon_conf, report_time), 0},
};

/* --- every second -----------------------------------------------------------------------------------------
 */

/* What one host alone does. */
static void look(struct mon *self)
{
    struct mon_batch *b = mon_history_batch(self);

    mon_pools_tick(self->pools);
    if (b)
        mon_series_sample(self->series, mon_wall_seconds(), mon_now_ns(), b);
    mon_machine_tick(self->machine);
    mon_collect_tick(self);
    mon_plans_tick(self);
    mon_report_tick(self);
}

static void on_timer(void *arg)
{
    struct mon *self = arg;

    if (!self->retiring)
        look(self);
    mon_templates_tick(self);
    mon_history_flush(self, 0);
}

/* --- life --------------------------------------------------------------------------------------------------
 */

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    struct mon *self = calloc(1, sizeof(*self));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    self->host = host;
    *out = self;
    return HD_OK;
}

static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    const struct mon_conf *c = conf->conf;

    (void)arg;
    if (c->history.len && c->history.ptr[0] != '/')
        return hd_error_set(err, HD_EINVAL, "history must be a path from the root: %s", c->history.ptr);
    if (mon_report_minute(c->report_time) < 0)
        return hd_error_set(err, HD_EINVAL, "report_time must be HH:MM: %s", c->report_time.ptr);
    if (c->report_folder.len && c->report_folder.ptr[0] != '/')
        return hd_error_set(err, HD_EINVAL, "report_folder must be a path from the root: %s",
                            c->report_folder.ptr);
    if ((c->report_folder.len || c->report_sinks.count) && !c->history.len)
        return hd_error_set(err, HD_EINVAL, "report_folder and report_sinks need a history");
    return HD_OK;
}

static int32_t find_services(struct mon *self, struct hd_error *err)
{
    const void *metrics, *bus, *commands, *loop, *jobs, *nodes, *template;
    int32_t code;

    if ((code = hd_host_need(self->host, HD_SERVICE_METRICS, &metrics, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_BUS, &bus, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_COMMANDS, &commands, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_LOOP, &loop, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_JOBS, &jobs, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_NODES, &nodes, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_TEMPLATE, &template, err)))
        return code;
    self->metrics = metrics;
    self->bus = bus;
    self->commands = commands;
    self->loop = loop;
    self->jobs = jobs;
    self->nodes = nodes;
    self->template = template;
    return HD_OK;
}

/* Without the plugin `statements` there is everything but templates. */
static void find_stats(struct mon *self)
{
    struct hd_error why = HD_ERROR_INIT;
    const void *vtable = NULL;

    self->stats = NULL;
    if (hd_host_api(self->host)
            ->capability(self->host, HD_CAP_STATEMENT_STATS, NULL, &vtable, &self->stats_self, &why) == HD_OK)
        self->stats = vtable;
    else
        mon_log(self, HD_LEVEL_WARNING, "no templates: nobody counts statements", "reason", why.text);
}

static int32_t add_commands(struct mon *self, struct hd_error *err)
{
    static const struct {
        const char *name, *usage, *doc;
        int32_t (*fn)(void *arg, const struct hd_call *call, struct hd_error *err);
        uint32_t flags;
    } commands[] = {
        {"SHOW HISTORY", MON_HISTORY_USAGE,
         "What a series was worth: of the last hour by the second, of a week by "
         "the minute, of thirteen months by the hour",
         mon_show_history, HD_CMDF_READ_ONLY},
        {"SHOW COLLECTORS", "", "What is asked of servers and plugins, how often, and how it goes",
         mon_show_collectors, HD_CMDF_READ_ONLY},
        {"SHOW SERIES", "[PART OF A NAME …]", "The series that are sampled, with their units and last values",
         mon_show_series, HD_CMDF_READ_ONLY},
        {"SHOW TEMPLATES", MON_TEMPLATES_USAGE,
         "All that is counted of each statement, per database and user", mon_show_templates,
         HD_CMDF_READ_ONLY},
        {"SHOW SLOW", "[TOP n]", "Slow statements, the last first, without their values", mon_show_slow,
         HD_CMDF_READ_ONLY},
        {"SHOW SLOW PLAN", "number", "The generic plan of a slow statement; nothing is run",
         mon_show_slow_plan, HD_CMDF_READ_ONLY},
        {"SHOW PLANS", "", "Statements whose plans are kept, and when these have changed", mon_show_plans,
         HD_CMDF_READ_ONLY},
        {"SHOW PLAN", "fingerprint", "The plan of a statement that is kept, and the one before it",
         mon_show_plan, HD_CMDF_READ_ONLY},
        {"SHOW POOL USE", "", "Pools: how much is in use, who waits, and in how many seconds each is full",
         mon_show_pool_use, HD_CMDF_READ_ONLY},
        {"REPORT", MON_REPORT_USAGE, "What has happened, and how that differs from the same span before",
         mon_report_command, HD_CMDF_READ_ONLY},
        {"REPORT SEND", MON_SEND_USAGE, "Sends a report to sinks of alerts, those of report_sinks or others",
         mon_report_send_command, 0},
        {"SLOW RESET", "", "Forgets the slow statements", mon_slow_reset, 0},
    };
    int32_t code = HD_OK;

    for (unsigned i = 0; !code && i < sizeof(commands) / sizeof(commands[0]); i++)
        code = self->commands->add(self->host, commands[i].name, commands[i].usage, commands[i].doc,
                                   commands[i].flags, commands[i].fn, self, err);
    return code;
}

static int32_t start_parts(struct mon *self, struct hd_error *err)
{
    int32_t code;

    self->series = mon_series_new(self->host, self->metrics, (uint32_t)self->conf->max_series);
    if (!self->series)
        return hd_error_set(err, HD_ENOMEM, "no memory for the series");
    self->findings_lost = self->metrics->get(self->host, HD_METRIC_COUNTER, "howdah_findings_lost_total",
                                             "Findings of collectors past max_findings", NULL, 0);
    self->machine = mon_machine_new(self);
    if (!self->machine)
        return hd_error_set(err, HD_ENOMEM, "no memory to look at the machine");
    self->pools = mon_pools_new(self);
    if (!self->pools)
        return hd_error_set(err, HD_ENOMEM, "no memory to look at pools");
    if ((code = mon_history_start(self, err)) || (code = mon_templates_start(self, err)) ||
        (code = mon_collect_start(self, err)) || (code = mon_slow_start(self, err)) ||
        (code = mon_plans_start(self, err)) || (code = mon_events_start(self, err)) ||
        (code = mon_views_start(self, err)) || (code = add_commands(self, err)) ||
        (code = mon_web_start(self->host, err)) || (code = mon_report_web_start(self, err)))
        return code;
    self->timer = self->loop->timer(self->host, 1000, 1, on_timer, self);
    return self->timer ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory for a timer");
}

static void free_parts(struct mon *self)
{
    mon_slow_free(self->slow);
    self->slow = NULL;
    mon_plans_free(self->plans);
    self->plans = NULL;
    mon_collect_free(self->collect);
    mon_machine_free(self->machine);
    mon_pools_free(self->pools);
    self->pools = NULL;
    free(self->views);
    self->collect = NULL;
    self->machine = NULL;
    self->views = NULL;
    mon_templates_free(self->templates);
    mon_history_free(self->history);
    mon_series_free(self->series);
    self->templates = NULL;
    self->history = NULL;
    self->series = NULL;
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct mon *self = arg;
    int32_t code = find_services(self, err);

    if (code)
        return code;
    self->conf = conf->conf;
    self->stopping = 0;
    find_stats(self);
    code = start_parts(self, err);
    if (code) {
        free_parts(self);
        return code;
    }
    atomic_store(&self->errands, 1);
    on_timer(self);
    return HD_OK;
}

static void reload(void *arg, const struct hd_conf *conf)
{
    struct mon *self = arg;

    self->conf = conf->conf;
    self->sinks_looked_ns = 0;
    mon_series_limit(self->series, (uint32_t)self->conf->max_series);
    mon_collect_reload(self);
    mon_slow_reload(self);
}

/* What was sampled is written before the end. */
static int32_t stop(void *arg)
{
    struct mon *self = arg;

    self->stopping = 1;
    self->loop->untimer(self->timer);
    mon_slow_stop(self);
    mon_templates_stop(self);
    return atomic_fetch_sub_explicit(&self->errands, 1, memory_order_acq_rel) == 1 ? HD_OK : HD_PENDING;
}

static void destroy(void *arg)
{
    struct mon *self = arg;

    free_parts(self);
    free(self);
}

static const void *capability(const char *name)
{
    (void)name;
    return NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "monitor",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Samples the host, its plugins, PostgreSQL and the machine, and keeps a history",
    .options = HD_OPTIONS(struct mon_conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
