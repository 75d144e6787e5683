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
    uint32_t type;
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

static struct finding *find(const struct mon_findings *f, const char *key)
{
    struct finding *x;

    HASH_FIND_STR(f->all, key, x);
    return x;
}

/* Takes the key over. HD_EFULL, HD_ENOMEM, or why it can be no metric. */
static int32_t add(struct mon_findings *f, char *key, int64_t id, struct finding **out)
{
    struct finding *x = id > 0 ? calloc(1, sizeof(*x)) : NULL;

    if (x) {
        x->key = key;
        x->id = id;
        HASH_ADD_KEYPTR(hh, f->all, x->key, strlen(x->key), x);
    }
    if (!x || !x->hh.tbl) {
        free(key);
        free(x);
        return id > 0 ? HD_ENOMEM : (int32_t)id;
    }
    f->self->findings++;
    *out = x;
    return HD_OK;
}

static int32_t finding_of(struct mon_findings *f, uint32_t type, const char *name, const char *help,
                          const struct hd_label *labels, uint32_t count, struct finding **out)
{
    struct mon *self = f->self;
    char *key = make_key(name, labels, count);

    if (!key)
        return HD_ENOMEM;
    *out = find(f, key);
    if (*out || self->findings >= (uint64_t)self->conf->max_findings) {
        free(key);
        return *out ? HD_OK : HD_EFULL;
    }
    return add(f, key, self->metrics->get(self->host, type, name, help, labels, count), out);
}

/* What a counter has come to by now. */
static void grow(struct mon_findings *f, struct finding *x, int64_t value)
{
    const struct mon *self = f->self;
    int64_t grown = !x->has_before ? 0 : value >= x->before ? value - x->before : value;

    self->metrics->add(self->host, x->id, grown);
    mon_series_read(self->series, x->id, grown, mon_wall(), mon_now_ns());
}

int32_t mon_found(struct mon_findings *f, uint32_t type, const char *name, const char *help,
                  const struct hd_label *labels, uint32_t label_count, int64_t value)
{
    const struct hd_metrics_v1 *m = f->self->metrics;
    struct finding *x = NULL;
    int32_t code = finding_of(f, type, name, help, labels, label_count, &x);

    if (code) {
        m->add(f->self->host, f->self->findings_lost, 1);
        return code;
    }
    x->type = type;
    if (type == HD_METRIC_GAUGE)
        m->set(f->self->host, x->id, value);
    else
        grow(f, x, value);
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

void mon_findings_unknown(struct mon_findings *f)
{
    struct finding *x, *next;

    HASH_ITER(hh, f->all, x, next)
    {
        if (x->type == HD_METRIC_GAUGE)
            forget(f, x);
    }
}
