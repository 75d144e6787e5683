/*
 * REPORT REALTIME | HOURLY | DAILY | WEEKLY [TEXT | JSON | HTML], and the report of each day that is written
 * to a folder at a set time.
 */
#include "report.h"

#include "commands.h"
#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RETRY_NS UINT64_C(300000000000)

enum form { TEXT, JSON, HTML, FORMS };

static const char *const form_names[FORMS] = {"text", "json", "html"};
static const char *const tails[FORMS] = {"txt", "json", "html"};

struct asked {
    struct mon *self;
    hd_result *result; /* NULL: for the folder */
    enum mon_report_kind kind;
    enum form form;
    char *text;
    char folder[4096];
    int64_t day; /* for the folder: whose report it is */
    int noted;   /* that has been written already */
};

static char *rendered(const json_t *report, enum form form)
{
    if (form == JSON)
        return json_dumps(report, JSON_INDENT(1));
    return form == HTML ? mon_report_html(report) : mon_report_text(report);
}

/* --- to the folder
 * ---------------------------------------------------------------------------------------------------- */

/* A file that is whole or not there. */
static int32_t write_file(const char *path, const char *text, struct hd_error *err)
{
    char fresh[4200];
    size_t len = strlen(text);
    int fd, failed;

    snprintf(fresh, sizeof(fresh), "%s.new", path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return hd_error_set(err, HD_EIO, "%s: %s", fresh, strerror(errno));
    failed = write(fd, text, len) != (ssize_t)len || fsync(fd);
    failed |= close(fd) || rename(fresh, path);
    if (failed) {
        hd_error_set(err, HD_EIO, "%s: %s", path, strerror(errno));
        unlink(fresh);
    }
    return failed ? HD_EIO : HD_OK;
}

static int32_t write_all(const struct asked *a, const json_t *report, struct hd_error *err)
{
    char path[4160], day[16];
    time_t t = (time_t)json_integer_value(json_object_get(report, "to"));
    struct tm tm;
    int32_t code = HD_OK;

    localtime_r(&t, &tm);
    strftime(day, sizeof(day), "%Y-%m-%d", &tm);
    for (int f = 0; !code && f < FORMS; f++) {
        char *text = rendered(report, (enum form)f);

        snprintf(path, sizeof(path), "%s/%s-%s.%s", a->folder, mon_report_spans[a->kind].name, day, tails[f]);
        code = text ? write_file(path, text, err) : hd_error_set(err, HD_ENOMEM, "no memory for the report");
        free(text);
    }
    return code;
}

/* --- the way through the job
 * --------------------------------------------------------------------------------------------- */

/* [job] */
static int32_t build(struct mon_store *store, void *arg, struct hd_error *err)
{
    struct asked *a = arg;
    json_t *report;
    char note[32];
    int32_t code = HD_OK;

    snprintf(note, sizeof(note), "daily %lld", (long long)a->day);
    if (!a->result && mon_store_has_note(store, note)) {
        a->noted = 1;
        return HD_OK;
    }
    report = mon_report_build(store, a->self->stats, a->kind, mon_wall_seconds());
    if (!report)
        return hd_error_set(err, HD_EIO,
                            "the history could not be read, or there was no memory for the report");
    if (!a->result)
        code = write_all(a, report, err);
    else if (!(a->text = rendered(report, a->form)))
        code = hd_error_set(err, HD_ENOMEM, "no memory for the report");
    if (!a->result && !code)
        mon_store_note(store, note, mon_wall_seconds());
    json_decref(report);
    return code;
}

static void give(const struct asked *a)
{
    mon_columns(a->self, a->result, "report", HD_COL_TEXT, NULL);
    mon_text(a->self, a->result, a->text);
}

/* It is tried again while the day lasts. */
static void not_written(struct mon *self, const char *why)
{
    self->report_retry_ns = mon_now_ns() + RETRY_NS;
    mon_log(self, HD_LEVEL_WARNING, "the day's report was not written", "reason", why);
}

static void done(void *arg, int32_t code, const struct hd_error *err)
{
    struct asked *a = arg;
    struct mon *self = a->self;

    if (a->result) {
        if (!code)
            give(a);
        self->commands->finish(a->result, code, code ? err : NULL);
    } else if (code) {
        not_written(self, err->text);
    } else if (!a->noted) {
        mon_log(self, HD_LEVEL_INFO, "the day's report was written", "folder", a->folder);
    }
    free(a->text);
    free(a);
}

static int32_t ask(struct mon *self, hd_result *result, enum mon_report_kind kind, enum form form,
                   struct hd_error *err)
{
    struct asked *a = calloc(1, sizeof(*a));
    int32_t code;

    if (!a)
        return hd_error_set(err, HD_ENOMEM, "no memory for the report");
    a->self = self;
    a->result = result;
    a->kind = kind;
    a->form = form;
    a->day = self->report_day;
    snprintf(a->folder, sizeof(a->folder), "%s",
             self->conf->report_folder.len ? self->conf->report_folder.ptr : "");
    code = mon_history_ask(self, build, done, a, err);
    if (code)
        free(a);
    return code;
}

int32_t mon_report_command(void *arg, const struct hd_call *call, struct hd_error *err)
{
    unsigned kind = 0, form = TEXT;
    int32_t code;

    while (call->arg_count && kind < MON_REPORTS && !mon_word_is(call->args[0], mon_report_spans[kind].name))
        kind++;
    for (form = call->arg_count == 2 ? 0 : TEXT;
         call->arg_count == 2 && form < FORMS && !mon_word_is(call->args[1], form_names[form]); form++)
        ;
    if (!call->arg_count || call->arg_count > 2 || kind == MON_REPORTS || form == FORMS)
        return hd_error_set(err, HD_EINVAL, "usage: REPORT %s", MON_REPORT_USAGE);
    code = ask(arg, call->result, (enum mon_report_kind)kind, (enum form)form, err);
    return code ? code : HD_PENDING;
}

/* --- once a day
 * ------------------------------------------------------------------------------------------------------------
 */

void mon_report_tick(struct mon *self)
{
    int minute = mon_report_minute(self->conf->report_time);
    struct hd_error err = HD_ERROR_INIT;
    int64_t day;

    if (!self->conf->report_folder.len || minute < 0)
        return;
    day = mon_report_due((time_t)mon_wall_seconds(), minute);
    if (!day || (self->report_day == day && (!self->report_retry_ns || mon_now_ns() < self->report_retry_ns)))
        return;
    self->report_day = day;
    self->report_retry_ns = 0;
    if (ask(self, NULL, MON_DAILY, TEXT, &err))
        not_written(self, err.text);
}
