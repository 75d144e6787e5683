/* How pools are used; see pools.h. */
#include "pools.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What finds no memory in a table is not in it: never the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "trend.h"

#define FULL_IN "howdah_pool_full_in_seconds"

enum { DATABASE, NODE, USER, LABELS }; /* as metrics have them: in the order of their names */
enum { LIMIT, BUSY, IDLE, WAITING, LONGEST, WAITS, WAITED, NUMBERS };

static const char *const label_names[LABELS] = {"database", "node", "user"};
static const char *const metric_names[NUMBERS] = {"howdah_pool_limit",
                                                  "howdah_pool_busy",
                                                  "howdah_pool_idle",
                                                  "howdah_pool_waiting",
                                                  "howdah_pool_longest_wait_seconds",
                                                  "howdah_pool_waits_total",
                                                  "howdah_pool_wait_seconds_total"};

struct pool {
    char key[3 * 64 + 4];
    char label[LABELS][64];
    int64_t number[NUMBERS];
    int64_t use_id, full_id; /* 0: not made */
    uint64_t tick;
    struct mon_trend trend;
    UT_hash_handle hh; /* by key */
};

struct mon_pools {
    struct mon *self;
    struct pool *all; /* as many as the host has told of: bound: its pool_metrics */
    uint64_t tick;
};

struct mon_pools *mon_pools_new(struct mon *self)
{
    struct mon_pools *p = calloc(1, sizeof(*p));

    if (p)
        p->self = self;
    return p;
}

/* --- looking
 * -------------------------------------------------------------------------------------------------- */

static struct pool *pool_of(struct mon_pools *all, const struct hd_metric_seen *m)
{
    char key[sizeof(((struct pool *)0)->key)];
    struct pool *p;

    snprintf(key, sizeof(key), "%.63s\n%.63s\n%.63s", m->labels[DATABASE].value, m->labels[NODE].value,
             m->labels[USER].value);
    HASH_FIND_STR(all->all, key, p);
    if (p || !(p = calloc(1, sizeof(*p))))
        return p;
    memcpy(p->key, key, sizeof(key));
    for (int i = 0; i < LABELS; i++)
        snprintf(p->label[i], sizeof(p->label[i]), "%s", m->labels[i].value);
    HASH_ADD_STR(all->all, key, p);
    if (p->hh.tbl)
        return p;
    free(p);
    return NULL;
}

/* Within each(): takes the value along, and calls nothing of the metrics. */
static int32_t see(void *arg, const struct hd_metric_seen *m)
{
    struct mon_pools *all = arg;
    struct pool *p;
    int i;

    for (i = 0; i < NUMBERS && strcmp(m->name, metric_names[i]) != 0; i++)
        ;
    if (i == NUMBERS || m->label_count != LABELS || !(p = pool_of(all, m)))
        return HD_OK;
    p->number[i] = m->value;
    p->tick = all->tick;
    return HD_OK;
}

static double use_percent(const struct pool *p)
{
    return p->number[LIMIT] > 0 ? 100 * (double)p->number[BUSY] / (double)p->number[LIMIT] : 0;
}

/* Negative: there is no telling. What is full already has no time left. */
static double full_in(const struct pool *p)
{
    if (p->number[LIMIT] > 0 && p->number[BUSY] >= p->number[LIMIT])
        return 0;
    return mon_trend_until(&p->trend, (double)p->number[LIMIT]);
}

static void drop(struct mon *self, int64_t *id)
{
    if (*id > 0)
        self->metrics->drop(self->host, *id);
    *id = 0;
}

static int64_t gauge(struct mon *self, const struct pool *p, const char *name, const char *help)
{
    struct hd_label labels[LABELS];

    for (int i = 0; i < LABELS; i++)
        labels[i] = (struct hd_label){label_names[i], p->label[i]};
    return self->metrics->get(self->host, HD_METRIC_GAUGE, name, help, labels, LABELS);
}

static void publish(struct mon *self, struct pool *p)
{
    double seconds = full_in(p);

    if (p->use_id <= 0)
        p->use_id = gauge(self, p, "howdah_pool_use_percent",
                          "How much of the server connections that the pool may have is in use");
    self->metrics->set(self->host, p->use_id, lround(use_percent(p)));
    if (seconds < 0) {
        drop(self, &p->full_id);
        return;
    }
    if (p->full_id <= 0)
        p->full_id = gauge(self, p, FULL_IN,
                           "When the pool is full if its use grows on as in the last minutes; none: never");
    self->metrics->set(self->host, p->full_id, llround(seconds * 1e9));
}

static void forget(struct mon_pools *all, struct pool *p)
{
    drop(all->self, &p->use_id);
    drop(all->self, &p->full_id);
    HASH_DEL(all->all, p);
    free(p);
}

void mon_pools_tick(struct mon_pools *all)
{
    struct pool *p, *next;
    int64_t second = (int64_t)(mon_now_ns() / 1000000000);

    all->tick++;
    all->self->metrics->each(all->self->host, "howdah_pool_", see, all);
    HASH_ITER(hh, all->all, p, next)
    {
        if (p->tick != all->tick) {
            forget(all, p);
            continue;
        }
        mon_trend_add(&p->trend, second, (double)p->number[BUSY]);
        publish(all->self, p);
    }
}

void mon_pools_free(struct mon_pools *all)
{
    struct pool *p, *next;

    if (!all)
        return;
    HASH_ITER(hh, all->all, p, next) forget(all, p);
    free(all);
}

/* --- SHOW POOL USE
 * -------------------------------------------------------------------------------------------- */

static int by_key(const struct pool *a, const struct pool *b)
{
    return strcmp(a->key, b->key);
}

static void show_pool(const struct mon *self, hd_result *r, const struct pool *p)
{
    double seconds = full_in(p);

    mon_text(self, r, p->label[DATABASE]);
    mon_text(self, r, p->label[USER]);
    mon_text(self, r, p->label[NODE]);
    for (int i = LIMIT; i <= WAITING; i++)
        self->commands->integer(r, p->number[i]);
    mon_real(self, r, (double)p->number[LONGEST] / 1e9);
    self->commands->integer(r, p->number[WAITS]);
    mon_real(self, r, (double)p->number[WAITED] / 1e9);
    mon_real(self, r, use_percent(p));
    mon_real(self, r, 60 * mon_trend_slope(&p->trend));
    mon_real(self, r, seconds < 0 ? NAN : seconds);
}

int32_t mon_show_pool_use(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    struct mon_pools *all = self->pools;
    struct pool *p, *next;

    if (call->arg_count)
        return hd_error_set(err, HD_EINVAL, "SHOW POOL USE takes no arguments");
    mon_columns(self, call->result, "database", HD_COL_TEXT, "user", HD_COL_TEXT, "node", HD_COL_TEXT,
                "limit", HD_COL_INT, "busy", HD_COL_INT, "idle", HD_COL_INT, "waiting", HD_COL_INT,
                "longest_wait", HD_COL_REAL, "waits", HD_COL_INT, "wait_seconds", HD_COL_REAL, "use_percent",
                HD_COL_REAL, "change_per_minute", HD_COL_REAL, "full_in", HD_COL_REAL, NULL);
    HASH_SORT(all->all, by_key);
    HASH_ITER(hh, all->all, p, next) show_pool(self, call->result, p);
    return HD_OK;
}
