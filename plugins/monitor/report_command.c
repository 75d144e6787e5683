/* REPORT REALTIME | HOURLY | DAILY | WEEKLY [TEXT | JSON | HTML], and how a report comes to be asked for. */
#include "commands.h"
#include "history.h"
#include "report_parts.h"
#include "templates.h"

#include <stdlib.h>

static const char *const form_names[MON_FORMS] = {"text", "json", "html"};

char *mon_report_rendered(const json_t *report, enum mon_report_form form)
{
    if (form == MON_JSON)
        return json_dumps(report, JSON_INDENT(1));
    return form == MON_HTML ? mon_report_html(report) : mon_report_text(report);
}

enum mon_report_kind mon_report_kind_of(struct hd_str word)
{
    unsigned kind = 0;

    while (kind < MON_REPORTS && !mon_word_is(word, mon_report_spans[kind].name))
        kind++;
    return (enum mon_report_kind)kind;
}

/* --- asking: the last counts first
 * ------------------------------------------------------------------------------- */

struct ask {
    struct mon *self;
    int32_t (*fn)(struct mon_store *store, void *arg, struct hd_error *err);
    void (*done)(void *arg, int32_t code, const struct hd_error *err);
    void *arg;
};

/* Templates have been gathered. */
static void go(void *arg)
{
    struct ask *a = arg;
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = mon_history_ask(a->self, a->fn, a->done, a->arg, &err);

    if (code)
        a->done(a->arg, code, &err);
    mon_errand_end(a->self);
    free(a);
}

int32_t mon_report_ask(struct mon *self,
                       int32_t (*fn)(struct mon_store *store, void *arg, struct hd_error *err),
                       void (*done)(void *arg, int32_t code, const struct hd_error *err), void *arg,
                       struct hd_error *err)
{
    struct ask *a = malloc(sizeof(*a));

    if (!a)
        return hd_error_set(err, HD_ENOMEM, "no memory for the report");
    *a = (struct ask){self, fn, done, arg};
    mon_errand_begin(self);
    if (mon_templates_fresh(self, go, a) == HD_OK)
        return HD_OK;
    mon_errand_end(self);
    free(a);
    return hd_error_set(err, HD_EFULL, "too many reports are under way; ask again");
}

/* --- REPORT
 * ------------------------------------------------------------------------------------------------------ */

struct asked {
    struct mon *self;
    hd_result *result;
    enum mon_report_kind kind;
    enum mon_report_form form;
    char *text;
};

/* [job] */
static int32_t build(struct mon_store *store, void *arg, struct hd_error *err)
{
    struct asked *a = arg;
    json_t *report = mon_report_build(store, a->self->stats, a->kind, mon_wall_seconds());

    if (!report)
        return hd_error_set(err, HD_EIO,
                            "the history could not be read, or there was no memory for the report");
    a->text = mon_report_rendered(report, a->form);
    json_decref(report);
    return a->text ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory for the report");
}

static void done(void *arg, int32_t code, const struct hd_error *err)
{
    struct asked *a = arg;
    struct mon *self = a->self;

    if (!code) {
        mon_columns(self, a->result, "report", HD_COL_TEXT, NULL);
        mon_text(self, a->result, a->text);
    }
    self->commands->finish(a->result, code, code ? err : NULL);
    free(a->text);
    free(a);
}

int32_t mon_report_command(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    unsigned kind = call->arg_count ? mon_report_kind_of(call->args[0]) : MON_REPORTS, form = MON_TEXT;
    struct asked *a;
    int32_t code;

    for (form = call->arg_count == 2 ? 0 : MON_TEXT;
         call->arg_count == 2 && form < MON_FORMS && !mon_word_is(call->args[1], form_names[form]); form++)
        ;
    if (call->arg_count > 2 || kind == MON_REPORTS || form == MON_FORMS)
        return hd_error_set(err, HD_EINVAL, "usage: REPORT %s", MON_REPORT_USAGE);
    a = calloc(1, sizeof(*a));
    if (!a)
        return hd_error_set(err, HD_ENOMEM, "no memory for the report");
    *a = (struct asked){self, call->result, (enum mon_report_kind)kind, (enum mon_report_form)form, NULL};
    code = mon_report_ask(self, build, done, a, err);
    if (!code)
        return HD_PENDING;
    free(a);
    return code;
}
