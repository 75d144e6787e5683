/*
 * The plugin "monitor": descriptor, options and life; see monitor.h.
 */
#include "monitor.h"

#include "commands.h"
#include "history.h"
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
    {"history_size", "512M", NULL, "Size of that file; at the bound the oldest goes first", 1048576, 1e12,
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
};

/* --- every second -----------------------------------------------------------------------------------------
 */

static void on_timer(void *arg)
{
    struct mon *self = arg;
    struct mon_batch *b = mon_history_batch(self);

    if (b)
        mon_series_sample(self->series, mon_wall_seconds(), mon_now_ns(), b);
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
    return HD_OK;
}

static int32_t service(struct mon *self, const char *name, const void **out, struct hd_error *err)
{
    *out = hd_host_api(self->host)->service(self->host, name);
    return *out ? HD_OK : hd_error_set(err, HD_EVERSION, "this host has no service %s", name);
}

static int32_t find_services(struct mon *self, struct hd_error *err)
{
    const void *metrics, *bus, *commands, *loop, *jobs;
    int32_t code;

    if ((code = service(self, HD_SERVICE_METRICS, &metrics, err)) ||
        (code = service(self, HD_SERVICE_BUS, &bus, err)) ||
        (code = service(self, HD_SERVICE_COMMANDS, &commands, err)) ||
        (code = service(self, HD_SERVICE_LOOP, &loop, err)) ||
        (code = service(self, HD_SERVICE_JOBS, &jobs, err)))
        return code;
    self->metrics = metrics;
    self->bus = bus;
    self->commands = commands;
    self->loop = loop;
    self->jobs = jobs;
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
    } commands[] = {
        {"SHOW HISTORY", MON_HISTORY_USAGE,
         "What a series was worth: of the last hour by the second, of a week by "
         "the minute, of thirteen months by the hour",
         mon_show_history},
        {"SHOW SERIES", "[PART OF A NAME]", "The series that are sampled, with their units and last values",
         mon_show_series},
        {"SHOW TEMPLATES", MON_TEMPLATES_USAGE,
         "All that is counted of each statement, per database and user", mon_show_templates},
    };
    int32_t code = HD_OK;

    for (unsigned i = 0; !code && i < sizeof(commands) / sizeof(commands[0]); i++)
        code = self->commands->add(self->host, commands[i].name, commands[i].usage, commands[i].doc,
                                   HD_CMDF_READ_ONLY, commands[i].fn, self, err);
    return code;
}

static int32_t start_parts(struct mon *self, struct hd_error *err)
{
    int32_t code;

    self->series = mon_series_new(self->host, self->metrics, (uint32_t)self->conf->max_series);
    if (!self->series)
        return hd_error_set(err, HD_ENOMEM, "no memory for the series");
    if ((code = mon_history_start(self, err)) || (code = mon_templates_start(self, err)) ||
        (code = add_commands(self, err)) || (code = mon_web_start(self->host, err)))
        return code;
    self->timer = self->loop->timer(self->host, 1000, 1, on_timer, self);
    return self->timer ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory for a timer");
}

static void free_parts(struct mon *self)
{
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
    mon_series_limit(self->series, (uint32_t)self->conf->max_series);
}

/* What was sampled is written before the end. */
static int32_t stop(void *arg)
{
    struct mon *self = arg;

    self->stopping = 1;
    self->loop->untimer(self->timer);
    mon_history_flush(self, 1);
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
