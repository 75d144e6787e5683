/*
 * The plugin "alert-log": a sink that writes alerts to the host's log, a line for each.
 */
#include <howdah/howdah.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX 512

struct conf {
    int64_t max_lines;
};

struct self {
    hd_host *host;
    int64_t max_lines; /* atomically: a reload changes it */
};

static const struct hd_option options[] = {
    {"max_lines", "50", NULL, "Lines for one message; the last says how many alerts are left out", 1, 10000,
     HD_OPT_INT, HD_OPTF_RELOADABLE, offsetof(struct conf, max_lines), 0},
};

static void log_alert(struct self *self, const struct hd_alert *a)
{
    char labels[LABELS_MAX] = "", value[32], threshold[32];
    const char *pairs[] = {"rule", a->rule,     "labels",  labels, "summary", a->summary, "value",
                           value,  "threshold", threshold, "id",   a->id,     NULL};
    uint32_t level = !a->firing || a->severity == HD_ALERT_INFO ? HD_LEVEL_INFO
                     : a->severity == HD_ALERT_PAGE             ? HD_LEVEL_ERROR
                                                                : HD_LEVEL_WARNING;
    size_t len = 0;

    for (uint32_t i = 0; i < a->label_count && len < sizeof(labels); i++)
        len += (size_t)snprintf(labels + len, sizeof(labels) - len, "%s%s=%s", i ? "," : "",
                                a->labels[i].name, a->labels[i].value);
    snprintf(value, sizeof(value), "%.6g", a->value);
    snprintf(threshold, sizeof(threshold), "%.6g", a->threshold);
    hd_host_api(self->host)->log(self->host, level, a->firing ? "alert" : "alert is over", pairs);
}

static int32_t send_message(void *arg, const char *target, const struct hd_alert_message *m,
                            uint64_t timeout_ms, const volatile int32_t *stop, struct hd_error *err)
{
    struct self *self = arg;
    uint32_t most = (uint32_t)__atomic_load_n(&self->max_lines, __ATOMIC_RELAXED);
    char left[16];
    const char *pairs[] = {"alerts", left, NULL}, *none[] = {NULL};

    (void)target, (void)timeout_ms, (void)stop, (void)err;
    if (!m->alert_count)
        hd_host_api(self->host)->log(self->host, HD_LEVEL_INFO, m->title, none);
    for (uint32_t i = 0; i < m->alert_count && i < most; i++)
        log_alert(self, &m->alerts[i]);
    if (m->alert_count > most) {
        snprintf(left, sizeof(left), "%u", m->alert_count - most);
        hd_host_api(self->host)->log(self->host, HD_LEVEL_WARNING, "further alerts are left out", pairs);
    }
    return HD_OK;
}

static const struct hd_alert_sink_v1 sink = {.size = sizeof(sink), .send = send_message};

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    struct self *self = calloc(1, sizeof(*self));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    self->host = host;
    *out = self;
    return HD_OK;
}

static int32_t check(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)self, (void)conf, (void)err;
    return HD_OK;
}

static void reload(void *arg, const struct hd_conf *conf)
{
    struct self *self = arg;

    __atomic_store_n(&self->max_lines, ((const struct conf *)conf->conf)->max_lines, __ATOMIC_RELAXED);
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)err;
    reload(self, conf);
    return HD_OK;
}

static int32_t stop(void *self)
{
    (void)self;
    return HD_OK;
}

static const void *capability(const char *name)
{
    return strcmp(name, HD_CAP_ALERT_SINK) == 0 ? &sink : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "alert-log",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Writes alerts to the log",
    .options = HD_OPTIONS(struct conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = free,
    .capability = capability,
};
