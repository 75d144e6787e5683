/*
 * The state file: written by a job to a file beside it, which then takes its place, so that it is always
 * whole. A host holds a lock on it while it runs; one that starts meanwhile waits for it and says nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <howdah/howdah.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alerts/alerts.h"

#define HISTORY_EVERY_MS 3600000u
#define FILE_MAX         (64 << 20)

static char *beside(const char *path, const char *suffix)
{
    char *out = malloc(strlen(path) + strlen(suffix) + 1);

    return out ? strcat(strcpy(out, path), suffix) : NULL;
}

/* --- files -----------------------------------------------------------------------------------------------
 */

/* The whole file; NULL: there is none, or it cannot be read, with errno. */
static char *read_file(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char *text = NULL;
    struct stat st;
    ssize_t n;

    if (fd < 0)
        return NULL;
    *size = 0;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX)
        text = malloc((size_t)st.st_size + 1);
    while (text && *size < (size_t)st.st_size) {
        n = read(fd, text + *size, (size_t)st.st_size - *size);
        if (n <= 0)
            break;
        *size += (size_t)n;
    }
    if (text)
        text[*size] = '\0';
    close(fd);
    return text;
}

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = write(fd, bytes, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

/* So that the new name is on the disk, too. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];
    int fd;

    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* Exchanges a file for another as a whole. errno says why it cannot. */
static int replace_file(const char *path, const char *bytes, size_t size)
{
    char *fresh = beside(path, ".new");
    int fd = fresh ? open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    int failed = fd < 0, why;

    if (fd >= 0) {
        failed = fchmod(fd, 0600) || write_all(fd, bytes, size) || fsync(fd);
        why = errno;
        failed = close(fd) || failed;
        failed = failed || rename(fresh, path);
        why = failed && errno ? errno : why;
        if (failed)
            unlink(fresh);
        else
            sync_folder(path);
        errno = why;
    }
    free(fresh);
    return failed ? -1 : 0;
}

/* --- the job ---------------------------------------------------------------------------------------------
 */

static int32_t write_state(struct al_saving *s)
{
    char *history = s->history ? beside(s->path, ".history") : NULL;

    s->code = HD_OK;
    errno = 0;
    if (replace_file(s->path, s->text, strlen(s->text)) ||
        (history && replace_file(history, s->history, s->history_size))) {
        s->code = HD_EIO;
        snprintf(s->error, sizeof(s->error), "%s", errno ? strerror(errno) : "it cannot be written");
    }
    free(history);
    return s->code;
}

/* [job] */
static int32_t run(void *arg)
{
    return write_state(&((struct al *)arg)->job);
}

static int prepare(struct al *self, int with_history)
{
    struct al_saving *s = &self->job;

    s->path = hd_str_dup(self->conf->state_file);
    s->text = al_state_text(self);
    s->history = with_history ? al_history_bytes(self, &s->history_size) : NULL;
    return s->path && s->text;
}

static void forget(struct al_saving *s)
{
    free(s->path);
    free(s->text);
    free(s->history);
    s->path = s->text = s->history = NULL;
}

static void note_failure(struct al *self, const char *error)
{
    self->save_wanted = 1;
    self->metrics->add(self->host, self->metric_save_failures, 1);
    if (strcmp(self->save_error, error) != 0)
        al_log(self, HD_LEVEL_WARNING, "the state of the alerts cannot be kept; it is tried again", "file",
               self->conf->state_file.ptr, "reason", error);
    snprintf(self->save_error, sizeof(self->save_error), "%s", error);
}

static void note_success(struct al *self)
{
    if (*self->save_error)
        al_log(self, HD_LEVEL_INFO, "the state of the alerts is kept again", "file",
               self->conf->state_file.ptr, NULL, NULL);
    self->save_error[0] = '\0';
}

static void saved(void *arg, int32_t code)
{
    struct al *self = arg;

    self->saving = 0;
    if (code == HD_OK)
        note_success(self);
    else
        note_failure(self, *self->job.error ? self->job.error : "its job was given up");
    forget(&self->job);
    if (self->stopping || self->leaving)
        al_finish_stop(self);
}

/* HD_EBUSY: another host has it; HD_EIO: it cannot be had. */
static int32_t take_lock(struct al *self)
{
    char *lock = beside(self->conf->state_file.ptr, ".lock");
    int fd = lock ? open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;

    free(lock);
    if (fd < 0) {
        note_failure(self, strerror(errno));
        return HD_EIO;
    }
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        close(fd);
        return HD_EBUSY;
    }
    self->lock_fd = fd;
    return HD_OK;
}

void al_save_tick(struct al *self)
{
    int history = self->engine.budget.baselines && self->engine.now_ms - self->history_ms >= HISTORY_EVERY_MS;

    self->save_wanted |= self->engine.changed || history;
    self->engine.changed = 0;
    if (!self->save_wanted || self->saving || !self->conf->state_file.len || self->standby || self->leaving)
        return;
    if (self->lock_fd < 0 && take_lock(self)) /* its folder was not there when the host started */
        return;
    self->job.error[0] = '\0';
    if (!prepare(self, history) || self->jobs->run(self->host, "alerts-state", run, saved, self) < 0) {
        forget(&self->job);
        return; /* the next tick tries again */
    }
    self->save_wanted = 0;
    self->saving = 1;
    if (history)
        self->history_ms = self->engine.now_ms;
}

/* --- open and close --------------------------------------------------------------------------------------
 */

static void put_aside(struct al *self, const char *path)
{
    char *aside = beside(path, ".unreadable");

    if (aside)
        rename(path, aside);
    al_log(self, HD_LEVEL_WARNING, "the state of the alerts cannot be read; it is put aside", "file", path,
           NULL, NULL);
    free(aside);
}

static void load(struct al *self, const char *path)
{
    char *history = beside(path, ".history"), *text;
    uint64_t away_ms = 0;
    size_t size;

    text = read_file(path, &size);
    if (text && al_state_load(self, text, &away_ms))
        put_aside(self, path);
    free(text);
    text = history ? read_file(history, &size) : NULL;
    if (text && al_history_load(self, text, size, away_ms))
        put_aside(self, history);
    free(text);
    free(history);
    self->history_ms = self->engine.now_ms;
    self->engine.changed = 0;
}

int32_t al_save_open(struct al *self)
{
    int32_t code = take_lock(self);

    if (code == HD_OK)
        load(self, self->conf->state_file.ptr);
    return code == HD_EBUSY ? code : HD_OK;
}

void al_save_close(struct al *self)
{
    if (self->lock_fd < 0)
        return;
    if (prepare(self, self->engine.budget.baselines > 0) && write_state(&self->job))
        note_failure(self, self->job.error);
    forget(&self->job);
    close(self->lock_fd);
    self->lock_fd = -1;
}
