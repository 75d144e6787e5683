/* Findings; see findings.h. */
#include "findings.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define ROUNDS 3 /* that a metric may be missing */

struct finding {
    char *key;
    int64_t id, before;
    int has_before;
    uint64_t seen;
    UT_hash_handle hh;
};

struct mon_findings {
    struct mon *self;
    struct finding *all;
    uint64_t round;
};

struct mon_findings *mon_findings_new(struct mon *self)
{
    struct mon_findings *f = calloc(1, sizeof(*f));

    if (f)
        f->self = self;
    return f;
}

static void forget(struct mon_findings *f, struct finding *x)
{
    f->self->metrics->drop(f->self->host, x->id);
    f->self->findings--;
    HASH_DEL(f->all, x);
    free(x->key);
    free(x);
}

void mon_findings_free(struct mon_findings *f)
{
    struct finding *x, *next;

    if (!f)
        return;
    HASH_ITER(hh, f->all, x, next)
    {
        forget(f, x);
    }
    free(f);
}

void mon_findings_begin(struct mon_findings *f)
{
    f->round++;
}

static char *make_key(const char *name, const struct hd_label *labels, uint32_t count)
{
    size_t len = strlen(name) + 1;
    char *key, *at;

    for (uint32_t i = 0; i < count; i++)
        len += strlen(labels[i].name) + strlen(labels[i].value) + 2;
    key = malloc(len);
    if (!key)
        return NULL;
    at = stpcpy(key, name);
    for (uint32_t i = 0; i < count; i++)
        at = stpcpy(stpcpy(stpcpy(stpcpy(at, "\n"), labels[i].name), "\n"), labels[i].value);
    return key;
}

static struct finding *finding_of(struct mon_findings *f, uint32_t type, const char *name, const char *help,
                                  const struct hd_label *labels, uint32_t count)
{
    char *key = make_key(name, labels, count);
    struct finding *x = NULL;

    if (!key)
        return NULL;
    HASH_FIND_STR(f->all, key, x);
    if (x || f->self->findings >= (uint64_t)f->self->conf->max_findings || !(x = calloc(1, sizeof(*x)))) {
        free(key);
        return x;
    }
    x->key = key;
    x->id = f->self->metrics->get(f->self->host, type, name, help, labels, count);
    if (x->id > 0)
        HASH_ADD_KEYPTR(hh, f->all, x->key, strlen(x->key), x);
    if (x->id > 0 && x->hh.tbl) {
        f->self->findings++;
        return x;
    }
    free(key);
    free(x);
    return NULL;
}

int32_t mon_found(struct mon_findings *f, uint32_t type, const char *name, const char *help,
                  const struct hd_label *labels, uint32_t label_count, int64_t value)
{
    struct finding *x = finding_of(f, type, name, help, labels, label_count);
    const struct hd_metrics_v1 *m = f->self->metrics;

    if (!x) {
        m->add(f->self->host, f->self->findings_lost, 1);
        return HD_EFULL;
    }
    if (type == HD_METRIC_GAUGE)
        m->set(f->self->host, x->id, value);
    else if (x->has_before)
        m->add(f->self->host, x->id, value >= x->before ? value - x->before : value);
    x->before = value;
    x->has_before = 1;
    x->seen = f->round;
    return HD_OK;
}

void mon_findings_end(struct mon_findings *f)
{
    struct finding *x, *next;

    HASH_ITER(hh, f->all, x, next)
    {
        if (f->round - x->seen >= ROUNDS)
            forget(f, x);
    }
}
