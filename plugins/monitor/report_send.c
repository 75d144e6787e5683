/* Reports on their way to sinks of alerts; see report_send.h. */
#include "report_send.h"

#include "commands.h"
#include "report_parts.h"

#include <howdah/alert_sink.h>
#include <howdah/health.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS UINT64_C(30000000000)
#define PART    "reports" /* in /health */

/* --- what is sent
 * ------------------------------------------------------------------------------------------------ */

/* What programs make graphs of; the statements are in the page. */
static char *figures(const json_t *report)
{
    static const char *const keys[] = {"report", "from", "to", "now", "before", "change", "nodes", "alerts"};
    json_t *o = json_object(), *value;
    char *text;

    for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if ((value = json_object_get(report, keys[i])))
            json_object_set(o, keys[i], value);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

int32_t mon_words_make(struct mon_words *w, const json_t *report)
{
    w->title = mon_report_title(report);
    w->text = mon_report_brief(report);
    w->body = mon_report_text(report);
    w->page = mon_report_html(report);
    w->json = figures(report);
    if (w->title && w->text && w->body && w->page && w->json)
        return HD_OK;
    mon_words_free(w);
    return HD_ENOMEM;
}

void mon_words_free(struct mon_words *w)
{
    free(w->title);
    free(w->text);
    free(w->body);
    free(w->page);
    free(w->json);
    memset(w, 0, sizeof(*w));
}

/* --- the plugin that has the sinks
 * ------------------------------------------------------------------------------- */

/* Given back with release(). */
static int32_t borrow(struct mon *self, const struct hd_alerts_v1 **v1, void **instance, struct hd_error *err)
{
    const struct hd_host_v1 *api = hd_host_api(self->host);
    const void *vtable = NULL;
    int32_t code = api->capability(self->host, HD_CAP_ALERTS, NULL, &vtable, instance, err);

    *v1 = vtable;
    if (code || HD_HAS(*v1, targets))
        return code;
    api->release(self->host, vtable, *instance);
    return hd_error_set(err, HD_EVERSION, "the plugin that provides %s is too old to take a report",
                        HD_CAP_ALERTS);
}

int32_t mon_words_send(struct mon *self, const char *sinks, const struct mon_words *w, uint32_t *targets,
                       struct hd_error *err)
{
    const struct hd_alert_words words = {.size = sizeof(words),
                                         .title = w->title,
                                         .text = w->text,
                                         .body = w->body,
                                         .page = w->page,
                                         .json = w->json};
    const struct hd_alerts_v1 *v1;
    void *instance = NULL;
    int32_t code = borrow(self, &v1, &instance, err);

    if (code)
        return code;
    *targets = v1->targets(instance, sinks);
    code = v1->say(instance, sinks, &words, err);
    hd_host_api(self->host)->release(self->host, v1, instance);
    return code;
}

char *mon_report_sinks(const struct mon *self)
{
    const struct hd_str_list *list = &self->conf->report_sinks;
    size_t bytes = 1;
    char *sinks, *at;

    for (uint64_t i = 0; i < list->count; i++)
        bytes += list->items[i].len + 1;
    sinks = at = malloc(bytes);
    for (uint64_t i = 0; sinks && i < list->count; i++)
        at = stpcpy(stpcpy(at, i ? "," : ""), list->items[i].ptr);
    if (sinks)
        *at = 0;
    return sinks;
}

/* Is there a target for each of the names? */
static int32_t look(struct mon *self, struct hd_error *err)
{
    const struct hd_str_list *list = &self->conf->report_sinks;
    const struct hd_alerts_v1 *v1;
    void *instance = NULL;
    int32_t code = borrow(self, &v1, &instance, err);

    if (code)
        return code;
    for (uint64_t i = 0; !code && i < list->count; i++)
        if (!v1->targets(instance, list->items[i].ptr))
            code = hd_error_set(err, HD_ENOENT, "there is no sink %s; SHOW ALERT SINKS lists them",
                                list->items[i].ptr);
    hd_host_api(self->host)->release(self->host, v1, instance);
    return code;
}

void mon_report_sinks_tick(struct mon *self)
{
    const struct hd_health_v1 *health;
    struct hd_error err = HD_ERROR_INIT;
    uint64_t now = mon_now_ns();

    if (self->sinks_looked_ns && now - self->sinks_looked_ns < LOOK_NS)
        return;
    self->sinks_looked_ns = now;
    health = hd_host_api(self->host)->service(self->host, HD_SERVICE_HEALTH);
    if (!self->conf->report_sinks.count) {
        if (health)
            health->drop(self->host, PART);
        self->sinks_missing = 0;
        return;
    }
    if (look(self, &err)) {
        if (!self->sinks_missing)
            mon_log(self, HD_LEVEL_WARNING, "reports cannot be sent", "reason", err.text);
        self->sinks_missing = 1;
    } else if (self->sinks_missing) {
        mon_log(self, HD_LEVEL_INFO, "reports can be sent again", NULL, NULL);
        self->sinks_missing = 0;
        if (self->report_retry_ns)
            self->report_retry_ns = now; /* the day's may have waited for that */
    }
    if (health)
        health->set(self->host, PART, self->sinks_missing ? "missing" : "ready", !self->sinks_missing,
                    self->sinks_missing ? err.text : NULL);
}

/* --- REPORT SEND
 * ------------------------------------------------------------------------------------------------- */

struct sending {
    struct mon *self;
    hd_result *result;
    char *sinks;
    struct mon_words words;
};

/* [job] */
static int32_t build(struct mon_store *store, const struct mon_report_want *want, void *arg,
                     struct hd_error *err)
{
    struct sending *s = arg;
    json_t *report = mon_report_build(store, want);
    int32_t code;

    if (!report)
        return hd_error_set(err, HD_EIO,
                            "the history could not be read, or there was no memory for the report");
    code = mon_words_make(&s->words, report);
    json_decref(report);
    return code ? hd_error_set(err, code, "no memory for the report") : HD_OK;
}

static void done(void *arg, int32_t code, const struct hd_error *why)
{
    struct sending *s = arg;
    struct mon *self = s->self;
    struct hd_error err = HD_ERROR_INIT;
    uint32_t targets = 0;

    if (code)
        hd_error_set(&err, code, "%s", why->text);
    else
        code = mon_words_send(self, s->sinks, &s->words, &targets, &err);
    if (!code) {
        mon_columns(self, s->result, "report", HD_COL_TEXT, "sinks", HD_COL_TEXT, "targets", HD_COL_INT,
                    NULL);
        mon_text(self, s->result, s->words.title);
        mon_text(self, s->result, s->sinks);
        self->commands->integer(s->result, targets);
    }
    self->commands->finish(s->result, code, code ? &err : NULL);
    mon_words_free(&s->words);
    free(s->sinks);
    free(s);
}

int32_t mon_report_send_command(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    int to = call->arg_count == 3 && mon_word_is(call->args[1], "TO") && call->args[2].len;
    enum mon_report_kind kind = call->arg_count ? mon_report_kind_of(call->args[0]) : MON_REPORTS;
    struct sending *s;
    int32_t code;

    if (kind == MON_REPORTS || (call->arg_count != 1 && !to))
        return hd_error_set(err, HD_EINVAL, "usage: REPORT SEND %s", MON_SEND_USAGE);
    if (!to && !self->conf->report_sinks.count)
        return hd_error_set(err, HD_EINVAL, "report_sinks of [plugin monitor] names no sink: say TO which");
    s = calloc(1, sizeof(*s));
    if (s)
        s->sinks = to ? strdup(call->args[2].ptr) : mon_report_sinks(self);
    if (!s || !s->sinks) {
        free(s);
        return hd_error_set(err, HD_ENOMEM, "no memory for the report");
    }
    s->self = self;
    s->result = call->result;
    code = mon_report_ask(self, kind, build, done, s, err);
    if (!code)
        return HD_PENDING;
    free(s->sinks);
    free(s);
    return code;
}
