/* REPORT REALTIME | HOURLY | DAILY | WEEKLY [TEXT | JSON | HTML], and how a report comes to be asked for. */
#include "commands.h"
#include "history.h"
#include "report_parts.h"
#include "templates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    int32_t (*fn)(struct mon_store *store, const struct mon_report_want *want, void *arg,
                  struct hd_error *err);
    void (*done)(void *arg, int32_t code, const struct hd_error *err);
    void *arg;
    struct mon_report_want want;
};

static int32_t see_node(void *arg, struct hd_str name)
{
    struct mon_report_want *want = arg;
    int first = !*want->only;

    snprintf(want->only, sizeof(want->only), "%s", name.ptr);
    return first ? HD_OK : HD_EEXIST;
}

static void see_database(void *arg, const char *database)
{
    struct ask *a = arg;
    struct mon *self = a->self;
    struct hd_served_database served = {.size = sizeof(served)};
    struct mon_served *s = &a->want.served[a->want.served_count];

    if (a->want.served_count == MON_SERVED_MAX ||
        self->nodes->database(self->host, (struct hd_str){database, strlen(database)}, &served) != HD_OK)
        return;
    snprintf(s->database, sizeof(s->database), "%s", database);
    snprintf(s->node, sizeof(s->node), "%s", served.node.ptr);
    a->want.served_count++;
}

/* Who serves what now. */
static void know_nodes(struct ask *a)
{
    struct mon *self = a->self;

    if (self->nodes->each(self->host, see_node, &a->want) == HD_OK)
        return; /* there is one alone */
    *a->want.only = 0;
    mon_templates_databases(self, see_database, a);
}

/* [job] */
static int32_t work(struct mon_store *store, void *arg, struct hd_error *err)
{
    struct ask *a = arg;

    return a->fn(store, &a->want, a->arg, err);
}

static void answer(void *arg, int32_t code, const struct hd_error *err)
{
    struct ask *a = arg;

    a->done(a->arg, code, err);
    free(a);
}

/* Templates have been gathered. */
static void go(void *arg)
{
    struct ask *a = arg;
    struct mon *self = a->self;
    struct hd_error err = HD_ERROR_INIT;
    int32_t code;

    know_nodes(a);
    a->want.to = mon_wall_seconds();
    code = mon_history_ask(self, work, answer, a, &err);
    if (code)
        answer(a, code, &err);
    mon_errand_end(self);
}

int32_t mon_report_ask(struct mon *self, enum mon_report_kind kind,
                       int32_t (*fn)(struct mon_store *store, const struct mon_report_want *want, void *arg,
                                     struct hd_error *err),
                       void (*done)(void *arg, int32_t code, const struct hd_error *err), void *arg,
                       struct hd_error *err)
{
    struct ask *a;

    if (mon_history_is_kept(self, err))
        return HD_ENOENT;
    a = calloc(1, sizeof(*a));
    if (!a)
        return hd_error_set(err, HD_ENOMEM, "no memory for the report");
    *a = (struct ask){.self = self, .fn = fn, .done = done, .arg = arg};
    a->want.stats = self->stats;
    a->want.kind = kind;
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
    enum mon_report_form form;
    char *text;
};

/* [job] */
static int32_t build(struct mon_store *store, const struct mon_report_want *want, void *arg,
                     struct hd_error *err)
{
    struct asked *a = arg;
    json_t *report = mon_report_build(store, want);

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
    *a = (struct asked){self, call->result, (enum mon_report_form)form, NULL};
    code = mon_report_ask(self, (enum mon_report_kind)kind, build, done, a, err);
    if (!code)
        return HD_PENDING;
    free(a);
    return code;
}
