/* Plans by policy; see plans.h. */
#include "plans.h"

#include "explain.h"
#include "history.h"
#include "plan_text.h"
#include "slow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MINUTE_NS   UINT64_C(60000000000)
#define RUNNING_MAX 1 /* plans that are asked for at the same time */

/* A statement in one context: database, user, node, and what else its plan hangs on. */
struct entry {
    uint64_t key;
    struct mon_plans *plans;
    struct mon_slow_record r; /* the last slow one */
    uint64_t slow_ns, asked_ns;
    int64_t asked_us, since_us, changed_us;
    uint64_t shape, changes;
    char *text, *before; /* NULL: none */
    char why[200];       /* it could not be asked for last time */
    int wanted, asking;
    UT_hash_handle hh;
};

struct mon_plans {
    struct mon *self;
    struct entry *all;
    uint64_t seen; /* number of the last slow statement that was looked at */
    uint64_t minute_ns;
    uint32_t in_minute, running;
    int64_t asked, failed, changed, dropped, kept; /* metrics */
};

static int64_t wall_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

/* --- what is kept
 * --------------------------------------------------------------------------------------------------- */

static uint64_t key_of(const struct mon_slow_record *r)
{
    const char *parts[] = {r->database, r->user, r->node, r->dbname, r->role, r->search_path, r->settings};
    uint64_t key = r->fingerprint ^ r->unsure;

    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        key = XXH3_64bits_withSeed(parts[i], strlen(parts[i]) + 1, key);
    return key;
}

static void drop(struct mon_plans *p, struct entry *e)
{
    HASH_DEL(p->all, e);
    free(e->text);
    free(e->before);
    free(e);
}

/* Room for one more: whoever has not been slow for longest goes. 0: all are being asked about. */
static int make_room(struct mon_plans *p)
{
    struct entry *e, *next, *oldest = NULL;

    if (HASH_COUNT(p->all) < (unsigned)p->self->conf->plan_keep)
        return 1;
    HASH_ITER(hh, p->all, e, next)
    if (!e->asking && (!oldest || e->slow_ns < oldest->slow_ns))
        oldest = e;
    if (!oldest)
        return 0;
    drop(p, oldest);
    p->self->metrics->add(p->self->host, p->dropped, 1);
    return 1;
}

static struct entry *entry_of(struct mon_plans *p, const struct mon_slow_record *r)
{
    uint64_t key = key_of(r);
    struct entry *e;

    HASH_FIND(hh, p->all, &key, sizeof(key), e);
    if (e || !make_room(p) || !(e = calloc(1, sizeof(*e))))
        return e;
    e->key = key;
    e->plans = p;
    HASH_ADD(hh, p->all, key, sizeof(e->key), e);
    if (e->hh.tbl)
        return e;
    free(e);
    return NULL;
}

/* Under the lock of the slow ones. */
static void take(void *arg, const struct mon_slow_record *r)
{
    struct mon_plans *p = arg;
    struct entry *e;

    p->seen = r->number;
    if (mon_explain_why_not(r) || !(e = entry_of(p, r)))
        return;
    if (!e->asking) /* its text and context are the same */
        e->r = *r;
    e->slow_ns = mon_now_ns();
    e->wanted = 1;
}

/* --- changes
 * ---------------------------------------------------------------------------------------------------------
 */

static void tell_change(struct mon_plans *p, const struct entry *e)
{
    struct mon *self = p->self;
    struct mon_batch *b = mon_history_batch(self);
    char subject[2 * HD_EVENT_NAME + 24], text[600], hex[20];

    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)e->r.fingerprint);
    snprintf(subject, sizeof(subject), "%s %s %s", hex, e->r.database, e->r.user);
    mon_plan_difference(e->before, e->text, text, sizeof(text));
    if (b)
        mon_batch_event(b, mon_wall_seconds(), "plan.changed", subject, text);
    self->metrics->add(self->host, p->changed, 1);
    mon_log(self, HD_LEVEL_INFO, "a statement's plan has changed", "fingerprint", hex);
}

static void take_plan(struct entry *e, const char *text)
{
    char *copy = strdup(text);
    uint64_t shape = mon_plan_shape(text);
    int changed = e->text && shape != e->shape;

    if (!copy)
        return;
    if (changed) {
        free(e->before);
        e->before = e->text;
        e->changed_us = e->asked_us;
        e->changes++;
    } else {
        free(e->text);
    }
    if (changed || !e->since_us)
        e->since_us = e->asked_us;
    e->text = copy;
    e->shape = shape;
    if (changed)
        tell_change(e->plans, e);
}

static void answered(void *arg, const struct mon_plan *plan)
{
    struct entry *e = arg;
    struct mon_plans *p = e->plans;

    e->asking = 0;
    p->running--;
    snprintf(e->why, sizeof(e->why), "%s", plan->code ? plan->why : "");
    if (plan->code)
        p->self->metrics->add(p->self->host, p->failed, 1);
    else if (!p->self->stopping)
        take_plan(e, plan->text);
}

/* --- asking
 * ------------------------------------------------------------------------------------------------------ */

static int is_due(const struct entry *e, uint64_t now)
{
    const struct mon_conf *c = e->plans->self->conf;

    return !e->asking && (e->wanted || c->plans == MON_PLANS_FOLLOW) &&
           (!e->asked_ns || now - e->asked_ns >= (uint64_t)c->plan_interval * 1000000);
}

/* Whoever has waited longest. */
static struct entry *most_overdue(const struct mon_plans *p, uint64_t now)
{
    struct entry *e, *next, *found = NULL;

    HASH_ITER(hh, p->all, e, next)
    if (is_due(e, now) && (!found || e->asked_ns < found->asked_ns))
        found = e;
    return found;
}

static int may_ask(struct mon_plans *p, uint64_t now)
{
    if (!p->minute_ns || now - p->minute_ns >= MINUTE_NS) {
        p->minute_ns = now;
        p->in_minute = 0;
    }
    return p->running < RUNNING_MAX && p->in_minute < (uint32_t)p->self->conf->plan_rate;
}

static void ask(struct mon_plans *p, struct entry *e, uint64_t now)
{
    struct hd_error err = HD_ERROR_INIT;

    e->wanted = 0;
    e->asked_ns = now;
    e->asked_us = wall_us();
    e->asking = 1;
    p->running++;
    p->in_minute++;
    p->self->metrics->add(p->self->host, p->asked, 1);
    if (mon_explain(p->self, &e->r, answered, e, &err) != HD_OK)
        answered(e, &(struct mon_plan){.code = err.code, .why = err.text});
}

void mon_plans_tick(struct mon *self)
{
    struct mon_plans *p = self->plans;
    uint64_t now = mon_now_ns();
    struct entry *e;

    if (self->stopping || self->conf->plans == MON_PLANS_OFF)
        return;
    mon_slow_each(self->slow, p->seen, take, p);
    if (may_ask(p, now) && (e = most_overdue(p, now)))
        ask(p, e, now);
    self->metrics->set(self->host, p->kept, (int64_t)HASH_COUNT(p->all));
}

/* --- life
 * -------------------------------------------------------------------------------------------------------- */

int32_t mon_plans_start(struct mon *self, struct hd_error *err)
{
    const struct hd_metrics_v1 *m = self->metrics;
    struct mon_plans *p = calloc(1, sizeof(*p));

    if (!p)
        return hd_error_set(err, HD_ENOMEM, "no memory for plans");
    p->self = self;
    self->plans = p;
    p->asked = m->get(self->host, HD_METRIC_COUNTER, "howdah_plans_asked_total",
                      "Plans of slow statements that servers were asked for; bound: plan_rate", NULL, 0);
    p->failed = m->get(self->host, HD_METRIC_COUNTER, "howdah_plans_failed_total",
                       "Of them, those that were not given", NULL, 0);
    p->changed = m->get(self->host, HD_METRIC_COUNTER, "howdah_plans_changed_total",
                        "Plans that were another than the time before", NULL, 0);
    p->dropped = m->get(self->host, HD_METRIC_COUNTER, "howdah_plans_dropped_total",
                        "Statements whose plans were forgotten to make room", NULL, 0);
    p->kept = m->get(self->host, HD_METRIC_GAUGE, "howdah_plans_kept",
                     "Statements whose plans are kept; bound: plan_keep", NULL, 0);
    return HD_OK;
}

/* Nobody is asked any more: the errands have ended. */
void mon_plans_free(struct mon_plans *p)
{
    struct entry *e, *next;

    if (!p)
        return;
    HASH_ITER(hh, p->all, e, next)
    drop(p, e);
    free(p);
}

/* --- commands
 * ---------------------------------------------------------------------------------------------------- */

static int is_name(const char *name, struct hd_str text)
{
    return strlen(name) == text.len && memcmp(name, text.ptr, (size_t)text.len) == 0;
}

int64_t mon_plans_changed(const struct mon_plans *p, uint64_t fingerprint, struct hd_str database,
                          struct hd_str user)
{
    int64_t last = 0;

    for (const struct entry *e = p->all; e; e = e->hh.next)
        if (e->r.fingerprint == fingerprint && e->changed_us > last && is_name(e->r.database, database) &&
            is_name(e->r.user, user))
            last = e->changed_us;
    return last;
}

static void show_time(const struct mon *self, hd_result *out, int64_t us)
{
    if (us)
        self->commands->integer(out, us);
    else
        self->commands->null(out);
}

static void show_hex(const struct mon *self, hd_result *out, uint64_t n)
{
    char hex[20];

    snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)n);
    mon_text(self, out, n ? hex : NULL);
}

static const char *unsure_text(uint32_t unsure)
{
    static const char *const texts[] = {NULL, "search_path", "settings", "search_path, settings"};

    return texts[unsure & 3];
}

int32_t mon_show_plans(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    hd_result *out = call->result;

    (void)err;
    mon_columns(self, out, "fingerprint", HD_COL_TEXT, "database", HD_COL_TEXT, "user", HD_COL_TEXT, "node",
                HD_COL_TEXT, "shape", HD_COL_TEXT, "asked", HD_COL_TIME, "since", HD_COL_TIME, "changed",
                HD_COL_TIME, "changes", HD_COL_INT, "unsure", HD_COL_TEXT, "error", HD_COL_TEXT, "statement",
                HD_COL_TEXT, NULL);
    for (const struct entry *e = self->plans->all; e; e = e->hh.next) {
        show_hex(self, out, e->r.fingerprint);
        mon_text(self, out, e->r.database);
        mon_text(self, out, e->r.user);
        mon_text(self, out, e->r.node);
        show_hex(self, out, e->text ? e->shape : 0);
        show_time(self, out, e->asked_us);
        show_time(self, out, e->text ? e->since_us : 0);
        show_time(self, out, e->changed_us);
        self->commands->integer(out, (int64_t)e->changes);
        mon_text(self, out, unsure_text(e->r.unsure));
        mon_text(self, out, e->why[0] ? e->why : NULL);
        mon_text(self, out, e->r.text);
    }
    return HD_OK;
}

static void show_lines(const struct mon *self, hd_result *out, const struct entry *e, const char *which,
                       const char *text)
{
    while (text && *text) {
        size_t n = strcspn(text, "\n");

        mon_text(self, out, e->r.database);
        mon_text(self, out, e->r.user);
        mon_text(self, out, e->r.node);
        mon_text(self, out, which);
        self->commands->text(out, (struct hd_str){text, n});
        text += n + (text[n] == '\n');
    }
}

int32_t mon_show_plan(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    uint64_t fingerprint = call->arg_count == 1 ? strtoull(call->args[0].ptr, NULL, 16) : 0;
    int found = 0;

    if (!fingerprint)
        return hd_error_set(err, HD_EINVAL, "usage: SHOW PLAN fingerprint");
    for (const struct entry *e = self->plans->all; e; e = e->hh.next) {
        if (e->r.fingerprint != fingerprint || !e->text)
            continue;
        if (!found++)
            mon_columns(self, call->result, "database", HD_COL_TEXT, "user", HD_COL_TEXT, "node", HD_COL_TEXT,
                        "which", HD_COL_TEXT, "plan", HD_COL_TEXT, NULL);
        show_lines(self, call->result, e, "now", e->text);
        show_lines(self, call->result, e, "before", e->before);
    }
    return found
               ? HD_OK
               : hd_error_set(err, HD_ENOENT,
                              "no plan of that statement is kept: see plans, SHOW PLANS and SHOW SLOW PLAN");
}
