/*
 * The report of each day, which goes to a folder and to sinks once its time has come; that it has is noted in
 * the history for each.
 */
#include "history.h"
#include "report_parts.h"
#include "report_send.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RETRY_NS UINT64_C(300000000000)

static const char *const tails[MON_FORMS] = {"txt", "json", "html"};

struct day {
    struct mon *self;
    int64_t day; /* as 20261231 */
    char *folder, *sinks;
    int write, send; /* which of them do not have it yet */
    struct mon_words words;
    struct hd_error not_written;
};

/* --- to the folder
 * ---------------------------------------------------------------------------------------------- */

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
    errno = ENOSPC; /* a write that ends early does not say why */
    failed = write(fd, text, len) != (ssize_t)len || fsync(fd);
    failed |= close(fd) || rename(fresh, path);
    if (failed) {
        hd_error_set(err, HD_EIO, "%s: %s", path, strerror(errno));
        unlink(fresh);
    }
    return failed ? HD_EIO : HD_OK;
}

static int32_t write_all(struct day *d, const json_t *report)
{
    char path[4160], day[40];
    int32_t code = HD_OK;

    snprintf(day, sizeof(day), "%04d-%02d-%02d", (int)(d->day / 10000), (int)(d->day / 100 % 100),
             (int)(d->day % 100));
    for (int f = 0; !code && f < MON_FORMS; f++) {
        char *text = mon_report_rendered(report, (enum mon_report_form)f);

        snprintf(path, sizeof(path), "%s/daily-%s.%s", d->folder, day, tails[f]);
        code = text ? write_file(path, text, &d->not_written)
                    : hd_error_set(&d->not_written, HD_ENOMEM, "no memory for the report");
        free(text);
    }
    return code;
}

/* --- the job
 * --------------------------------------------------------------------------------------------------- */

/* The key of the note that a day's report has gone there. */
static const char *key_of(const struct day *d, const char *where, char to[40])
{
    snprintf(to, 40, "daily%s %lld", where, (long long)d->day);
    return to;
}

/* [job] */
static int32_t build(struct mon_store *store, const struct mon_report_want *want, void *arg,
                     struct hd_error *err)
{
    struct day *d = arg;
    char key[40];
    json_t *report;
    int32_t code = HD_OK;

    d->write = *d->folder && !mon_store_has_note(store, key_of(d, "", key));
    d->send =
        *d->sinks && d->self->report_sent != d->day && !mon_store_has_note(store, key_of(d, " sent", key));
    if (!d->write && !d->send)
        return HD_OK;
    report = mon_report_build(store, want);
    if (!report)
        return hd_error_set(err, HD_EIO,
                            "the history could not be read, or there was no memory for the report");
    if (d->write && write_all(d, report) == HD_OK)
        mon_store_note(store, key_of(d, "", key), mon_wall_seconds());
    if (d->send)
        code = mon_words_make(&d->words, report);
    json_decref(report);
    return code ? hd_error_set(err, code, "no memory for the report") : HD_OK;
}

static void free_day(struct day *d)
{
    mon_words_free(&d->words);
    free(d->folder);
    free(d->sinks);
    free(d);
}

/* What could not be done is tried again while the day lasts. */
static void again(struct mon *self, const char *what, const char *why)
{
    self->report_retry_ns = mon_now_ns() + RETRY_NS;
    mon_log(self, HD_LEVEL_WARNING, what, "reason", why);
}

/* [job] */
static int32_t note_sent(struct mon_store *store, void *arg, struct hd_error *err)
{
    char key[40];

    (void)err;
    return mon_store_note(store, key_of(arg, " sent", key), mon_wall_seconds());
}

static void noted(void *arg, int32_t code, const struct hd_error *err)
{
    struct day *d = arg;

    if (code)
        mon_log(d->self, HD_LEVEL_WARNING, "that the day's report was sent could not be noted", "reason",
                err->text);
    free_day(d);
}

/* Takes the day over. */
static void send_it(struct day *d)
{
    struct mon *self = d->self;
    struct hd_error err = HD_ERROR_INIT;
    uint32_t targets = 0;

    if (mon_words_send(self, d->sinks, &d->words, &targets, &err)) {
        again(self, "the day's report was not sent", err.text);
        free_day(d);
        return;
    }
    self->report_sent = d->day;
    mon_log(self, HD_LEVEL_INFO, "the day's report was sent", "sinks", d->sinks);
    if (mon_history_ask(self, note_sent, noted, d, &err))
        noted(d, err.code, &err);
}

static void done(void *arg, int32_t code, const struct hd_error *err)
{
    struct day *d = arg;

    if (code)
        again(d->self, "the day's report was not made", err->text);
    else if (d->write && d->not_written.code)
        again(d->self, "the day's report was not written", d->not_written.text);
    else if (d->write)
        mon_log(d->self, HD_LEVEL_INFO, "the day's report was written", "folder", d->folder);
    if (!code && d->send)
        send_it(d);
    else
        free_day(d);
}

/* --- its time
 * -------------------------------------------------------------------------------------------------- */

static int32_t begin(struct mon *self, struct hd_error *err)
{
    struct day *d = calloc(1, sizeof(*d));
    int32_t code;

    if (!d)
        return hd_error_set(err, HD_ENOMEM, "no memory for the report");
    d->self = self;
    d->day = self->report_day;
    d->folder = hd_str_dup(self->conf->report_folder);
    d->sinks = mon_report_sinks(self);
    code = d->folder && d->sinks ? mon_report_ask(self, MON_DAILY, build, done, d, err)
                                 : hd_error_set(err, HD_ENOMEM, "no memory for the report");
    if (code)
        free_day(d);
    return code;
}

void mon_report_tick(struct mon *self)
{
    int minute = mon_report_minute(self->conf->report_time);
    struct hd_error err = HD_ERROR_INIT;
    int64_t day;

    mon_report_sinks_tick(self);
    if ((!self->conf->report_folder.len && !self->conf->report_sinks.count) || minute < 0)
        return;
    day = mon_report_due((time_t)mon_wall_seconds(), minute);
    if (!day || (self->report_day == day && (!self->report_retry_ns || mon_now_ns() < self->report_retry_ns)))
        return;
    self->report_day = day;
    self->report_retry_ns = 0;
    if (begin(self, &err))
        again(self, "the day's report was not made", err.text);
}
