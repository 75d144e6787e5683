/*
 * hello: a plugin to start from. It counts the statements of each kind that it is asked to count, and tells
 * the number with a greeting: SHOW HELLO.
 *
 * Rename it in three places: the file, `.id` below, and NAME in the Makefile.
 */
#include <howdah/howdah.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Filled by the host from [plugin hello]; see the table below. */
struct hello_conf {
    struct hd_str greeting;
    int32_t reads_only;
    int32_t reserved;
};

/* One instance of the plugin. */
struct hello {
    hd_host *host;
    const struct hd_metrics_v1 *metrics;
    const struct hd_commands_v1 *commands;
    const struct hd_template_v1 *template;
    int64_t counter;
    /* Read on workers while the control thread may change it, hence atomic. */
    int32_t reads_only;
    struct hd_str greeting; /* used on the control thread alone */
};

/* What can be configured. The host parses and checks it, and prints it in `howdahctl options hello`. */
static const struct hd_option options[] = {
    {"greeting", "Hello", NULL, "what SHOW HELLO says first", 0, 0, HD_OPT_STRING, HD_OPTF_RELOADABLE,
     offsetof(struct hello_conf, greeting), 0},
    {"reads_only", "no", NULL, "count only statements that read tables", 0, 0, HD_OPT_BOOL,
     HD_OPTF_RELOADABLE, offsetof(struct hello_conf, reads_only), 0},
};

/* --- the filter: runs on the workers, several at a time, and must not block ------------------------------
 */

/* Once per template: which executions do we want to hear of? */
static int32_t plan(void *arg, void *ws, const hd_template *t, struct hd_plan *out)
{
    struct hello *self = arg;
    struct hd_template_info info = {.size = sizeof(info)};
    int32_t code = self->template->info(t, &info);

    (void)ws;
    if (code != HD_OK)
        return code;
    if (!__atomic_load_n(&self->reads_only, __ATOMIC_RELAXED) || (info.facts & HD_FACT_READS))
        out->want = HD_WANT_COMPLETE;
    return HD_OK;
}

/* After each execution of such a template. */
static void complete(void *arg, void *ws, void *plan_data, const struct hd_statement *st,
                     const struct hd_outcome *o)
{
    struct hello *self = arg;

    (void)ws;
    (void)plan_data;
    (void)st;
    (void)o;
    self->metrics->add(self->host, self->counter, 1);
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .plan = plan,
    .complete = complete,
};

/* --- the command: runs on the control thread -------------------------------------------------------------
 */

static int32_t show_hello(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct hello *self = arg;

    (void)err;
    self->commands->column(call->result, "greeting", HD_COL_TEXT);
    self->commands->column(call->result, "statements", HD_COL_INT);
    self->commands->text(call->result, self->greeting);
    self->commands->integer(call->result, self->metrics->value(self->host, self->counter));
    return HD_OK;
}

/* --- life: all of it on the control thread ---------------------------------------------------------------
 */

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    struct hello *self = calloc(1, sizeof(*self));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory");
    self->host = host;
    *out = self;
    return HD_OK;
}

/* Says what is wrong with a configuration, beyond what the options table can say; changes nothing. */
static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    const struct hello_conf *c = conf->conf;

    (void)arg;
    if (!c->greeting.len)
        return hd_error_set(err, HD_EINVAL, "greeting must not be empty");
    return HD_OK;
}

/* A configuration in force stays in memory until the next one is, so its strings need no copy here. */
static void reload(void *arg, const struct hd_conf *conf)
{
    struct hello *self = arg;
    const struct hello_conf *c = conf->conf;

    self->greeting = c->greeting;
    __atomic_store_n(&self->reads_only, c->reads_only, __ATOMIC_RELAXED);
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct hello *self = arg;
    const struct hd_host_v1 *host = hd_host_api(self->host);

    self->metrics = host->service(self->host, HD_SERVICE_METRICS);
    self->commands = host->service(self->host, HD_SERVICE_COMMANDS);
    self->template = host->service(self->host, HD_SERVICE_TEMPLATE);
    if (!self->metrics || !self->commands || !self->template)
        return hd_error_set(err, HD_EVERSION, "this host lacks a service that hello needs");
    reload(self, conf);
    self->counter = self->metrics->get(self->host, HD_METRIC_COUNTER, "hello_statements_total",
                                       "Statements that hello has seen", NULL, 0);
    return self->commands->add(self->host, "SHOW HELLO", "", "Greets, and tells how many statements ran",
                               HD_CMDF_READ_ONLY, show_hello, self, err);
}

/* Commands, timers and subscriptions end by themselves. */
static int32_t stop(void *arg)
{
    (void)arg;
    return HD_OK;
}

static void destroy(void *arg)
{
    free(arg);
}

static const void *capability(const char *name)
{
    return strcmp(name, HD_CAP_FILTER) == 0 ? &filter : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "hello",
    .version = "1.0",
    .vendor = "you",
    .licence = "Apache-2.0",
    .summary = "Counts statements and greets",
    .options = HD_OPTIONS(struct hello_conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
