/* The way to the history; see history.h. */
#include "history.h"

#include <howdah/health.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define QUEUE_MAX 60 /* batches that wait */
#define RETRY_NS  UINT64_C(15000000000)
#define PRUNE_NS  UINT64_C(600000000000)
#define SHRINK_NS UINT64_C(200000000) /* that a file which is too large takes of a job */
#define JUMP_S    600 /* the clock was set by more than that: nothing is deleted for a while */
#define HOLD_NS   UINT64_C(86400000000000)
#define HANG_NS   UINT64_C(30000000000) /* a job that takes longer hangs */
#define AWAY_S    21600 /* a history whose newest is so far from the clock: perhaps the clock is wrong */

#define ASK_MAX 32 /* questions that wait */

struct question {
    struct question *next;
    struct mon *self;
    int32_t (*fn)(struct mon_store *store, void *arg, struct hd_error *err);
    void (*done)(void *arg, int32_t code, const struct hd_error *err);
    void *arg;
    struct hd_error err;
};

/* One job is under way at a time: it writes what there is, then answers a question if there is one. */
struct mon_history {
    struct mon *self;
    char folder[4096]; /* that the file is in */
    /* [control] */
    struct mon_batch *current, *first, *last; /* being filled; waiting, oldest first */
    uint32_t waiting;
    struct question *asked, *asked_last; /* oldest first */
    uint32_t asked_count;
    int busy, ended; /* a job is under way; the last flush has been sent */
    int hangs;       /* the job has not ended for long */
    uint64_t sent_ns, begun_ns;
    int64_t disk_size, disk_free; /* metrics, 0: not made yet */
    int64_t up, bytes, lost, series, left_out, looked_at;
    uint64_t pruned_at_ns, looked_at_ns, held_until_ns, lost_waiting;
    /* Of the job that is under way, or of the control thread while there is none. */
    struct mon_store *store;
    struct mon_batch *work;    /* what it writes; what is left comes back */
    struct question *question; /* NULL: none */
    int64_t size;
    int64_t disk[2]; /* bytes of the file system, and of them those that are free; 0, 0: unknown */
    int64_t now;
    int prune, shrink,
        doubt; /* delete what is old, or too much; no, for by the history the clock may be wrong */
    uint64_t tried_ns, lost_now;
    int32_t code;
    char why[HD_ERROR_TEXT], told[HD_ERROR_TEXT];
};

struct mon_batch *mon_history_batch(struct mon *self)
{
    struct mon_history *h = self->history;

    if (!h->current)
        h->current = mon_batch_new();
    return h->current;
}

/* --- on the job -------------------------------------------------------------------------------------------
 */

static int32_t open_store(struct mon_history *h, struct hd_error *err)
{
    uint64_t now = mon_now_ns();

    if (mon_store_is_open(h->store))
        return HD_OK;
    if (h->tried_ns && now - h->tried_ns < RETRY_NS)
        return hd_error_set(err, HD_EIO, "%s", h->why);
    h->tried_ns = now;
    if (mon_store_open(h->store, err) == HD_OK) {
        int64_t newest = mon_store_newest(h->store);

        h->doubt = newest && (h->now - newest > AWAY_S || newest - h->now > AWAY_S);
        return HD_OK;
    }
    snprintf(h->why, sizeof(h->why), "%s", err->text);
    return HD_EIO;
}

/* One batch; room is made once where there is none. The log comes first: on a disk that was full it may have
 * all the space there is. */
static int32_t write_batch(struct mon_history *h, const struct mon_batch *b)
{
    int32_t code = mon_batch_write(b, h->store, &h->lost_now);
    int32_t room;

    if (code == HD_EFULL && mon_store_empty_log(h->store) == HD_OK)
        code = mon_batch_write(b, h->store, &h->lost_now);
    if (code != HD_EFULL)
        return code;
    room = mon_store_make_room(h->store, h->now);
    return room ? room : mon_batch_write(b, h->store, &h->lost_now);
}

/* Writes what there is; what could not be written stays in `work`. */
static int32_t write_all(struct mon_history *h)
{
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = open_store(h, &err);

    while (!code && h->work) {
        struct mon_batch *b = h->work;

        code = write_batch(h, b);
        if (code)
            break;
        h->work = b->next;
        mon_batch_free(b);
    }
    if (code && mon_store_is_open(h->store)) {
        snprintf(h->why, sizeof(h->why), "%s",
                 code == HD_EFULL    ? "no room for the history, on the disk or below history_size"
                 : code == HD_EPROTO ? "the file is damaged, and is begun anew"
                                     : "the history cannot be written");
        if (code == HD_EPROTO)
            mon_store_put_aside(h->store);
        else if (code == HD_EIO) /* perhaps it is another file by now: open it again */
            mon_store_close(h->store);
    }
    return code;
}

/* Of the file system that the file is in. */
static void look_at_disk(struct mon_history *h)
{
    struct statvfs fs;

    h->disk[0] = h->disk[1] = 0;
    if (statvfs(h->folder, &fs) != 0)
        return;
    h->disk[0] = (int64_t)(fs.f_blocks * fs.f_frsize);
    h->disk[1] = (int64_t)(fs.f_bavail * fs.f_frsize);
}

static int32_t job(void *arg)
{
    struct mon_history *h = arg;

    look_at_disk(h);
    h->code = write_all(h);
    if (!h->code)
        mon_store_roll(h->store, h->now);
    if (!h->code && h->prune && !h->doubt)
        mon_store_prune(h->store, h->now);
    if (!h->code && h->shrink && !h->doubt)
        mon_store_shrink(h->store, h->now, SHRINK_NS);
    h->size = mon_store_bytes(h->store);
    if (!h->question)
        return h->code;
    if (!mon_store_is_open(h->store))
        return hd_error_set(&h->question->err, HD_EIO, "%s", h->why);
    return h->question->fn(h->store, h->question->arg, &h->question->err);
}

/* --- on the control thread --------------------------------------------------------------------------------
 */

/* Past the bound the oldest of what waits is given up, but for the names of its series. */
static void keep_bound(struct mon_history *h)
{
    while (h->waiting > QUEUE_MAX && h->first->next) {
        struct mon_batch *b = h->first;

        h->first = b->next;
        h->waiting--;
        h->lost_waiting += b->value_count;
        mon_batch_inherit(h->first, b);
    }
}

/* What is being filled waits from here on. */
static void close_batch(struct mon_history *h)
{
    if (!h->current)
        return;
    if (h->last)
        h->last->next = h->current;
    else
        h->first = h->current;
    h->last = h->current;
    h->current = NULL;
    h->waiting++;
    keep_bound(h);
}

/* What the job could not write goes before what has come meanwhile. */
static void take_back(struct mon_history *h)
{
    struct mon_batch **at = &h->work;

    while (*at) {
        if (!h->last && !(*at)->next)
            h->last = *at;
        at = &(*at)->next;
        h->waiting++;
    }
    *at = h->first;
    h->first = h->work;
    h->work = NULL;
    keep_bound(h);
}

/* At /health; `why` is NULL where it is well. */
static void tell_health(const struct mon_history *h, const char *state, const char *why)
{
    hd_host *host = h->self->host;
    const struct hd_health_v1 *health = hd_host_api(host)->service(host, HD_SERVICE_HEALTH);

    if (health && !h->self->stopping)
        health->set(host, "history", state, why == NULL, why);
}

static void tell_disk(struct mon_history *h)
{
    static const char name[] = "howdah_machine_filesystem_bytes", help[] = "The file system of the history";
    const struct hd_metrics_v1 *m = h->self->metrics;
    hd_host *host = h->self->host;

    if (!h->disk[0])
        return;
    if (!h->disk_size) {
        h->disk_size = m->get(host, HD_METRIC_GAUGE, name, help, &(struct hd_label){"kind", "size"}, 1);
        h->disk_free = m->get(host, HD_METRIC_GAUGE, name, help, &(struct hd_label){"kind", "free"}, 1);
    }
    m->set(host, h->disk_size, h->disk[0]);
    m->set(host, h->disk_free, h->disk[1]);
}

static void tell_lost(struct mon_history *h)
{
    h->self->metrics->add(h->self->host, h->lost, (int64_t)h->lost_waiting);
    h->lost_waiting = 0;
}

static void tell(struct mon_history *h)
{
    struct mon *self = h->self;

    self->metrics->set(self->host, h->up, h->code == HD_OK);
    self->metrics->set(self->host, h->bytes, h->size);
    h->lost_waiting += h->lost_now;
    h->lost_now = 0;
    tell_lost(h);
    tell_disk(h);
    if (h->code == HD_OK) {
        if (h->told[0])
            mon_log(self, HD_LEVEL_INFO, "the history is written again", NULL, NULL);
        h->told[0] = 0;
    } else if (strcmp(h->told, h->why) != 0) {
        mon_log(self, HD_LEVEL_WARNING, "the history is not written", "reason", h->why);
        memcpy(h->told, h->why, sizeof(h->told));
    }
    tell_health(h, h->code == HD_OK ? "written" : "waiting", h->code == HD_OK ? NULL : h->why);
}

/* Nothing that is old is deleted for a day. */
static void hold(struct mon_history *h, const char *why)
{
    h->held_until_ns = mon_now_ns() + HOLD_NS;
    mon_log(h->self, HD_LEVEL_WARNING, "nothing of the history is deleted for a day", "reason", why);
}

static void start_job(struct mon_history *h);

static void answer(struct mon_history *h, int32_t code)
{
    struct question *q = h->question;

    h->question = NULL;
    if (!q)
        return;
    if (code && !q->err.text[0])
        hd_error_set(&q->err, code, "the history could not be read");
    q->done(q->arg, code, &q->err);
    free(q);
}

static void job_done(void *arg, int32_t code)
{
    struct mon_history *h = arg;
    struct mon *self = h->self;

    h->busy = h->hangs = 0;
    take_back(h);
    tell(h);
    if (h->doubt)
        hold(h, "its newest is hours from what the clock says");
    h->doubt = 0;
    answer(h, code);
    if (!h->busy && (h->asked || (self->stopping && !h->ended)))
        start_job(h);
    mon_errand_end(self);
}

/* --- a disk that hangs -------------------------------------------------------------------------------------
 */

static const char hanging[] = "what reads or writes its file has not ended for long: does the disk hang?";

/* Nobody waits for a disk that may never answer, but who has asked what the job does now. */
static void refuse_questions(struct mon_history *h)
{
    struct question *q;

    while ((q = h->asked)) {
        h->asked = q->next;
        h->asked_count--;
        hd_error_set(&q->err, HD_EIO, "%s", hanging);
        q->done(q->arg, HD_EIO, &q->err);
        free(q);
    }
}

/* Looks whether the job hangs, which is told once; its own members are the job's until it ends. */
static void watch_job(struct mon_history *h)
{
    struct mon *self = h->self;

    if (!h->busy || mon_now_ns() - h->begun_ns < HANG_NS)
        return;
    tell_lost(h);
    if (h->hangs)
        return;
    h->hangs = 1;
    self->metrics->set(self->host, h->up, 0);
    mon_log(self, HD_LEVEL_WARNING, "the history is not written", "reason", hanging);
    snprintf(h->told, sizeof(h->told), "%s", hanging);
    tell_health(h, "hanging", hanging);
    refuse_questions(h);
}

/* Was the clock set since the last look? */
static void watch_clock(struct mon_history *h)
{
    uint64_t mono = mon_now_ns();
    int64_t passed = (int64_t)((mono - h->looked_at_ns) / 1000000000), jump = h->now - h->looked_at - passed;

    if (h->looked_at_ns && (jump > JUMP_S || jump < -JUMP_S))
        hold(h, "the clock was set");
    h->looked_at_ns = mono;
    h->looked_at = h->now;
}

/* Old things are deleted every ten minutes, and not while the clock is in doubt. */
static int time_to_prune(struct mon_history *h)
{
    uint64_t mono = mon_now_ns();

    watch_clock(h);
    if (mono < h->held_until_ns || (h->pruned_at_ns && mono - h->pruned_at_ns < PRUNE_NS))
        return 0;
    h->pruned_at_ns = mono;
    return 1;
}

/* Closes the batch that is being filled, and hands all that wait to the job. */
static void load(struct mon_history *h)
{
    close_batch(h);
    h->work = h->first;
    h->first = h->last = NULL;
    h->waiting = 0;
    h->now = mon_wall_seconds();
    h->prune = time_to_prune(h);
    h->shrink = !h->asked && mon_now_ns() >= h->held_until_ns; /* nobody waits for it */
    h->busy = 1;
    h->sent_ns = h->begun_ns = mon_now_ns();
}

static void start_job(struct mon_history *h)
{
    struct mon *self = h->self;
    struct mon_batch *b = mon_history_batch(self);

    if (b && self->series)
        mon_series_flush(self->series, self->stopping, b);
    h->ended = self->stopping;
    load(h);
    h->question = h->asked;
    if (h->question) {
        h->asked = h->question->next;
        h->asked_count--;
    }
    mon_errand_begin(self);
    if (self->jobs->run(self->host, "history", job, job_done, h) > 0)
        return;
    h->busy = 0;
    take_back(h);
    if (h->question)
        hd_error_set(&h->question->err, HD_EFULL, "too many jobs wait; ask again");
    answer(h, HD_EFULL);
    mon_errand_end(self);
}

void mon_history_flush(struct mon *self, int end)
{
    struct mon_history *h = self->history;
    uint64_t now = mon_now_ns();

    watch_job(h);
    if (!end && now - h->sent_ns < (uint64_t)self->conf->flush_interval * 1000000)
        return;
    if (end)
        h->ended = 0; /* a job that runs is followed by another */
    if (h->busy) {    /* the disk hangs, perhaps: what comes meanwhile has its bound, too */
        h->sent_ns = now;
        close_batch(h);
        return;
    }
    self->metrics->set(self->host, h->series, mon_series_count(self->series));
    self->metrics->set(self->host, h->left_out, mon_series_left_out(self->series));
    if (h->store) {
        start_job(h);
        return;
    }
    mon_batch_free(h->current);
    h->current = NULL;
}

int32_t mon_history_is_kept(const struct mon *self, struct hd_error *err)
{
    if (self->history->store)
        return HD_OK;
    return hd_error_set(err, HD_ENOENT, "there is no history: the key history of [plugin monitor] is empty");
}

int32_t mon_history_ask(struct mon *self,
                        int32_t (*fn)(struct mon_store *store, void *arg, struct hd_error *err),
                        void (*done)(void *arg, int32_t code, const struct hd_error *err), void *arg,
                        struct hd_error *err)
{
    struct mon_history *h = self->history;
    struct question *q;

    if (mon_history_is_kept(self, err))
        return HD_ENOENT;
    if (h->hangs)
        return hd_error_set(err, HD_EIO, "%s", hanging);
    if (h->asked_count == ASK_MAX)
        return hd_error_set(err, HD_EFULL, "%d questions to the history wait already; ask again", ASK_MAX);
    q = calloc(1, sizeof(*q));
    if (!q)
        return hd_error_set(err, HD_ENOMEM, "no memory to ask the history");
    *q = (struct question){NULL, self, fn, done, arg, HD_ERROR_INIT};
    if (h->asked)
        h->asked_last->next = q;
    else
        h->asked = q;
    h->asked_last = q;
    h->asked_count++;
    if (!h->busy)
        start_job(h);
    return HD_OK;
}

/* --- life --------------------------------------------------------------------------------------------------
 */

static void find_metrics(struct mon_history *h)
{
    const struct hd_metrics_v1 *m = h->self->metrics;
    hd_host *host = h->self->host;

    h->up = m->get(host, HD_METRIC_GAUGE, "howdah_history_up", "1 while the history can be written", NULL, 0);
    h->bytes = m->get(host, HD_METRIC_GAUGE, "howdah_history_bytes",
                      "Size of the history; bound: history_size", NULL, 0);
    h->lost = m->get(host, HD_METRIC_COUNTER, "howdah_history_lost_samples_total",
                     "Samples that the history did not take", NULL, 0);
    h->series = m->get(host, HD_METRIC_GAUGE, "howdah_history_series",
                       "Series that are sampled; bound: max_series", NULL, 0);
    h->left_out = m->get(host, HD_METRIC_GAUGE, "howdah_history_metrics_left_out",
                         "Metrics past max_series, which are not sampled", NULL, 0);
}

static void find_folder(struct mon_history *h)
{
    char *slash;

    snprintf(h->folder, sizeof(h->folder), "%s", h->self->conf->history.ptr);
    slash = strrchr(h->folder, '/');
    if (slash)
        slash[slash == h->folder] = 0;
}

int32_t mon_history_start(struct mon *self, struct hd_error *err)
{
    struct mon_history *h = calloc(1, sizeof(*h));

    if (!h)
        return hd_error_set(err, HD_ENOMEM, "no memory for the history");
    h->self = self;
    self->history = h;
    find_metrics(h);
    if (!self->conf->history.len)
        return HD_OK;
    find_folder(h);
    h->store = mon_store_new(self->conf->history.ptr, self->conf->history_size);
    return h->store ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory for the history");
}

static void free_list(struct mon_batch *b)
{
    while (b) {
        struct mon_batch *next = b->next;

        mon_batch_free(b);
        b = next;
    }
}

void mon_history_free(struct mon_history *h)
{
    if (!h)
        return;
    free_list(h->current);
    free_list(h->first);
    free_list(h->work);
    mon_store_free(h->store);
    free(h);
}
