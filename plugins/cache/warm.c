/*
 * What is noted of hot reads, and running them again; see warm.h.
 *
 * Reads are noted in a table that is hashed and has no chains: of two that meet in a place the one that is
 * asked for more often stays. A hit costs a comparison, and each eighth an addition.
 */
#include "warm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "warm_read.h"

#define SAMPLE    8 /* of so many hits of a worker one is counted, for all */
#define AT_A_TIME 8
#define PASSES                                                                                               \
    5 /* the catalog and the stream may have to be asked first, so what was not kept is tried again */
#define PASS_MS     1000
#define FIRST_MS    200
#define TICK_MS     10
#define TIMEOUT_MS  30000
#define PLACES_EACH 2 /* places in the table for each read that the file may have */

struct place {
    _Atomic uint64_t hash;
    _Atomic uint32_t hits;
    _Atomic uint32_t kept;        /* since the run began */
    struct cache_warm_read *read; /* guarded by the lock */
};

/* A read of the run. */
struct task {
    struct cache_warm *warm;
    struct cache_warm_read *read;
    int32_t over; /* kept, or never will be */
};

enum failure { FAILED_LOGIN, FAILED_STATEMENT, FAILED_LOST, FAILED_NOT_KEPT, FAILURES };

struct cache_warm {
    struct cache *cache;
    const struct hd_replay_v1 *replay;
    const struct hd_scheduler_v1 *scheduler;
    int64_t schedule; /* 0: none */
    char *path;
    uint32_t entries;
    uint32_t mask;
    struct place *places;
    pthread_mutex_t lock;
    uint64_t aged; /* hits of all when they were halved last; guarded by lock */
    _Atomic int32_t running;
    int32_t stopped;
    /* The run; of the control thread. */
    struct task *tasks;
    uint32_t count, at, under_way, pass;
    hd_timer *timer, *again;
    uint64_t rate;
    int64_t warmed, left, failed[FAILURES];
};

/* --- noting -------------------------------------------------------------------------------------------- */

static struct place *place_of(const struct cache_warm *w, uint64_t hash)
{
    return &w->places[hash & w->mask];
}

static void put(struct cache_warm *w, struct place *p, struct cache_warm_read *r)
{
    struct cache_warm_read *old;

    pthread_mutex_lock(&w->lock);
    old = p->read;
    p->read = r;
    atomic_store_explicit(&p->hits, r->hits, memory_order_relaxed);
    atomic_store_explicit(&p->kept, 0, memory_order_relaxed);
    atomic_store_explicit(&p->hash, r->hash, memory_order_release);
    pthread_mutex_unlock(&w->lock);
    free(old);
}

void cache_warm_note(struct cache *self, uint64_t hash, const struct hd_statement *st)
{
    struct cache_warm *w = self->warm;
    struct cache_warm_read *r;
    struct place *p;
    uint32_t hits;

    if (!w)
        return;
    p = place_of(w, hash);
    if (atomic_load_explicit(&p->hash, memory_order_relaxed) == hash)
        return;
    hits = atomic_load_explicit(&p->hits, memory_order_relaxed);
    if (hits) /* it has been asked for: each newcomer wears it down */
        atomic_store_explicit(&p->hits, hits / 2, memory_order_relaxed);
    else if ((r = cache_warm_read_new(hash, st)))
        put(w, p, r);
}

void cache_warm_kept(struct cache *self, uint64_t hash)
{
    struct cache_warm *w = self->warm;

    if (w && atomic_load_explicit(&w->running, memory_order_relaxed) &&
        atomic_load_explicit(&place_of(w, hash)->hash, memory_order_relaxed) == hash)
        atomic_store_explicit(&place_of(w, hash)->kept, 1, memory_order_release);
}

void cache_warm_hit(struct cache_worker *worker, uint64_t hash)
{
    struct cache_warm *w = worker->cache->warm;

    if (!w)
        return;
    if (++worker->sample % SAMPLE == 0 &&
        atomic_load_explicit(&place_of(w, hash)->hash, memory_order_relaxed) == hash)
        atomic_fetch_add_explicit(&place_of(w, hash)->hits, SAMPLE, memory_order_relaxed);
    cache_warm_kept(worker->cache, hash);
}

/* --- which are the hottest ----------------------------------------------------------------------------- */

/* Once there were twice as many hits as at the last time all are halved, so that what was hot once cools. */
static void age(struct cache_warm *w)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i <= w->mask; i++)
        sum += atomic_load_explicit(&w->places[i].hits, memory_order_relaxed);
    if (sum < 2 * w->aged)
        return;
    w->aged = sum / 2;
    for (uint32_t i = 0; i <= w->mask; i++) {
        uint32_t hits = atomic_load_explicit(&w->places[i].hits, memory_order_relaxed);

        atomic_store_explicit(&w->places[i].hits, hits - hits / 2, memory_order_relaxed);
    }
}

static int hotter(const void *a, const void *b)
{
    const struct cache_warm_read *const *x = a, *const *y = b;

    return ((*x)->hits < (*y)->hits) - ((*x)->hits > (*y)->hits);
}

static void free_reads(struct cache_warm_read **reads, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(reads[i]);
    free(reads);
}

/* Copies, hottest first, as many as the file may have. NULL: no memory. [any] */
static struct cache_warm_read **hottest(struct cache_warm *w, uint32_t *count)
{
    struct cache_warm_read **all = calloc((size_t)w->mask + 2, sizeof(struct cache_warm_read *));
    uint32_t n = 0;

    if (!all)
        return NULL;
    pthread_mutex_lock(&w->lock);
    for (uint32_t i = 0; i <= w->mask; i++) {
        struct place *p = &w->places[i];
        uint32_t hits = atomic_load_explicit(&p->hits, memory_order_relaxed);

        if (!p->read || !hits || !(all[n] = cache_warm_read_copy(p->read)))
            continue;
        all[n++]->hits = hits;
    }
    age(w);
    pthread_mutex_unlock(&w->lock);
    qsort(all, n, sizeof(struct cache_warm_read *), hotter);
    while (n > w->entries)
        free(all[--n]);
    *count = n;
    return all;
}

/* --- the file ------------------------------------------------------------------------------------------ */

static void warn(const struct cache_warm *w, const char *what, const char *reason)
{
    hd_host_api(w->cache->host)
        ->log(w->cache->host, HD_LEVEL_WARNING, what, (const char *const[]){"reason", reason, NULL});
}

/* [job], or [control] when no job does it any more. */
static int32_t save(void *arg)
{
    struct cache_warm *w = arg;
    struct hd_error err = HD_ERROR_INIT;
    struct cache_warm_read **reads;
    uint32_t count = 0;
    int32_t code;

    reads = hottest(w, &count);
    if (!reads)
        return HD_ENOMEM;
    code = cache_warm_file_write(w->path, reads, count, &err);
    if (code != HD_OK)
        warn(w, "the reads to be run again at the next start are not written", err.text);
    free_reads(reads, count);
    return code;
}

static void load(struct cache_warm *w)
{
    struct hd_error err = HD_ERROR_INIT;
    struct cache_warm_read **reads;
    uint32_t count;
    int32_t code = cache_warm_file_read(w->path, w->entries, &reads, &count, &err);

    if (code == HD_ENOENT)
        return;
    if (code != HD_OK) {
        warn(w, "the reads to be run again are not used", err.text);
        return;
    }
    for (uint32_t i = count; i--;) /* the hottest last: it keeps its place */
        put(w, place_of(w, reads[i]->hash), reads[i]);
    free(reads);
}

/* --- a run --------------------------------------------------------------------------------------------- */

static void count_failure(struct cache_warm *w, enum failure why)
{
    w->cache->metrics->add(w->cache->host, w->failed[why], 1);
}

static void publish(struct cache_warm *w)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < w->count; i++)
        left += !w->tasks[i].over;
    w->cache->metrics->set(w->cache->host, w->left, left);
}

static void end_run(struct cache_warm *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        free(w->tasks[i].read);
    free(w->tasks);
    w->tasks = NULL;
    w->count = 0;
    atomic_store_explicit(&w->running, 0, memory_order_release);
    if (w->timer)
        w->cache->loop->untimer(w->timer);
    w->timer = NULL;
    publish(w);
}

/* All have been tried: those that were not kept are once more, if they may be. */
static void end_pass(struct cache_warm *w)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < w->count; i++) {
        struct task t = w->tasks[i];

        if (t.over)
            free(t.read);
        else
            w->tasks[left++] = t;
    }
    w->count = left;
    w->at = 0;
    if (++w->pass < PASSES && left) {
        w->cache->loop->retime(w->timer, PASS_MS);
        return;
    }
    for (uint32_t i = 0; i < left; i++)
        count_failure(w, FAILED_NOT_KEPT);
    end_run(w);
}

static int is_kept(const struct cache_warm *w, uint64_t hash)
{
    const struct place *p = place_of(w, hash);

    return atomic_load_explicit(&p->hash, memory_order_relaxed) == hash &&
           atomic_load_explicit(&p->kept, memory_order_acquire);
}

/* [control] */
static void on_replayed(void *arg, const struct hd_replayed *how)
{
    struct task *t = arg;
    struct cache_warm *w = t->warm;

    w->under_way--;
    if (w->stopped)
        return;
    if (how->code == HD_EPERM || how->code == HD_EFAIL) {
        t->over = 1;
        count_failure(w, how->code == HD_EPERM ? FAILED_LOGIN : FAILED_STATEMENT);
    } else if (how->code != HD_OK) {
        count_failure(w, FAILED_LOST);
    } else if (is_kept(w, t->read->hash)) {
        t->over = 1;
        w->cache->metrics->add(w->cache->host, w->warmed, 1);
    }
    publish(w);
}

/* 0: later. */
static int send_one(struct cache_warm *w, struct task *t)
{
    struct hd_replay what;
    void *memory;
    int32_t code = cache_warm_read_replay(t->read, &what, &memory);

    if (code == HD_OK) {
        what.timeout_ms = TIMEOUT_MS;
        code = w->replay->run(w->cache->host, &what, on_replayed, t);
        free(memory);
    }
    if (code == HD_PENDING) {
        w->under_way++;
    } else if (code == HD_EBUSY || code == HD_ENOMEM) {
        return 0; /* clients are not let in yet, say */
    } else {
        t->over = 1;
        count_failure(w, FAILED_STATEMENT);
    }
    return 1;
}

/* How long until the next may be sent, and how many then. */
static uint64_t pace(const struct cache_warm *w, uint64_t *count)
{
    uint64_t tick = w->rate * TICK_MS >= 1000 ? TICK_MS : 1000 / w->rate;

    *count = w->rate * tick / 1000;
    *count += !*count;
    return tick;
}

static void on_tick(void *arg)
{
    struct cache_warm *w = arg;
    uint64_t count, tick = pace(w, &count);

    while (count-- && w->at < w->count && w->under_way < AT_A_TIME && send_one(w, &w->tasks[w->at]))
        w->at++;
    w->cache->loop->retime(w->timer, tick);
    if (w->at == w->count && !w->under_way)
        end_pass(w);
}

/* HD_EBUSY: one is under way. */
static int32_t start_run(struct cache_warm *w, uint64_t first_ms)
{
    struct cache_warm_read **reads;
    uint32_t count = 0;

    if (w->tasks)
        return HD_EBUSY;
    reads = hottest(w, &count);
    w->tasks = reads ? calloc(count + 1, sizeof(*w->tasks)) : NULL;
    if (w->tasks)
        w->timer = w->cache->loop->timer(w->cache->host, first_ms, 0, on_tick, w);
    if (!w->tasks || !w->timer) {
        free_reads(reads, count);
        free(w->tasks);
        w->tasks = NULL;
        return HD_ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        w->tasks[i] = (struct task){w, reads[i], 0};
        atomic_store_explicit(&place_of(w, reads[i]->hash)->kept, 0, memory_order_relaxed);
    }
    free(reads);
    w->count = count;
    w->at = w->pass = 0;
    publish(w);
    atomic_store_explicit(&w->running, 1, memory_order_release);
    return HD_OK;
}

static void on_interval(void *arg)
{
    (void)start_run(arg, TICK_MS); /* where one is under way, that is the one */
}

/* --- commands, start and stop -------------------------------------------------------------------------- */

int32_t cache_warm_command(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct cache *self = arg;
    struct cache_warm *w = self->warm;
    char said[80];
    int32_t code;

    if (!w)
        return hd_error_set(err, HD_EUNSUPP, "reads are not noted: name a warm_file in [plugin cache]");
    code = start_run(w, TICK_MS);
    if (code == HD_EBUSY)
        return hd_error_set(err, code, "reads are being run already");
    if (code != HD_OK)
        return hd_error_set(err, code, "no memory");
    snprintf(said, sizeof(said), "%u reads", w->count);
    self->commands->message(call->result, said);
    return HD_OK;
}

static int32_t add_metrics(struct cache_warm *w)
{
    static const char *const reasons[FAILURES] = {"login", "statement", "lost", "not_kept"};
    struct cache *self = w->cache;

    w->warmed = self->metrics->get(self->host, HD_METRIC_COUNTER, "howdah_cache_warmed_total",
                                   "Reads that were run by the host itself, and are kept", NULL, 0);
    w->left = self->metrics->get(self->host, HD_METRIC_GAUGE, "howdah_cache_warm_left",
                                 "Reads that the host itself is about to run", NULL, 0);
    for (int i = 0; i < FAILURES; i++) {
        const struct hd_label label = {"reason", reasons[i]};

        w->failed[i] = self->metrics->get(self->host, HD_METRIC_COUNTER, "howdah_cache_warm_failed_total",
                                          "Reads that the host itself has run in vain, by reason", &label, 1);
        if (w->failed[i] <= 0)
            return HD_EFULL;
    }
    return w->warmed > 0 && w->left > 0 ? HD_OK : HD_EFULL;
}

static struct cache_warm *make(struct cache *self, const struct cache_conf *conf)
{
    struct cache_warm *w = calloc(1, sizeof(*w));
    uint32_t places = 1;

    if (!w)
        return NULL;
    w->cache = self;
    w->entries = (uint32_t)conf->warm_entries;
    w->rate = (uint64_t)conf->warm_rate;
    while (places < w->entries * PLACES_EACH)
        places *= 2;
    w->mask = places - 1;
    w->places = calloc(places, sizeof(*w->places));
    w->path = hd_str_dup(conf->warm_file);
    pthread_mutex_init(&w->lock, NULL);
    return w;
}

static int32_t add_schedule(struct cache_warm *w, const struct cache_conf *conf, struct hd_error *err)
{
    const struct hd_schedule s = {.size = sizeof(s),
                                  .name = "cache-warm-file",
                                  .interval_ms = (uint64_t)conf->warm_save_ms,
                                  .jitter_ms = (uint64_t)conf->warm_save_ms / 10,
                                  .fn = save,
                                  .arg = w};

    w->schedule = w->scheduler->add(w->cache->host, &s, err);
    return w->schedule > 0 ? HD_OK : (int32_t)w->schedule;
}

int32_t cache_warm_start(struct cache *self, const struct cache_conf *conf, struct hd_error *err)
{
    const struct hd_host_v1 *api = hd_host_api(self->host);
    struct cache_warm *w;

    if (!conf->warm_file.len)
        return HD_OK;
    self->warm = w = make(self, conf);
    if (!w || !w->places || !w->path)
        return hd_error_set(err, HD_ENOMEM, "no memory for the reads that are to be run again");
    w->replay = api->service(self->host, HD_SERVICE_REPLAY);
    w->scheduler = api->service(self->host, HD_SERVICE_SCHEDULER);
    if (!w->replay || !w->scheduler)
        return hd_error_set(err, HD_EVERSION, "this host lacks a service that warm_file needs");
    if (add_metrics(w) != HD_OK)
        return hd_error_set(err, HD_EFULL, "no room for the cache's metrics: see [host] max_metrics");
    load(w);
    if (conf->warm_interval_ms)
        w->again = self->loop->timer(self->host, (uint64_t)conf->warm_interval_ms, 1, on_interval, w);
    if (conf->warm_interval_ms && !w->again)
        return hd_error_set(err, HD_ENOMEM, "no memory for a timer");
    (void)start_run(w, FIRST_MS);
    return add_schedule(w, conf, err);
}

void cache_warm_reload(struct cache *self, const struct cache_conf *conf)
{
    if (self->warm)
        self->warm->rate = (uint64_t)conf->warm_rate;
}

void cache_warm_stop(struct cache *self)
{
    struct cache_warm *w = self->warm;

    if (!w || w->stopped)
        return;
    w->stopped = 1;
    if (w->schedule > 0)
        w->scheduler->remove(self->host, w->schedule);
    if (w->again)
        self->loop->untimer(w->again);
    if (w->timer)
        self->loop->untimer(w->timer);
    w->timer = w->again = NULL;
    (void)save(w);
}

void cache_warm_free(struct cache *self)
{
    struct cache_warm *w = self->warm;

    if (!w)
        return;
    self->warm = NULL;
    for (uint32_t i = 0; i < w->count; i++)
        free(w->tasks[i].read);
    free(w->tasks);
    for (uint32_t i = 0; w->places && i <= w->mask; i++)
        free(w->places[i].read);
    free(w->places);
    free(w->path);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
