/*
 * What an expression comes to, from the series that were read; see series.h.
 */
#include "alerts/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- memory ----------------------------------------------------------------------------------------------
 */

struct piece {
    struct piece *next;
    max_align_t bytes[];
};

struct al_memory {
    struct piece *pieces;
};

struct al_memory *al_memory_new(void)
{
    return calloc(1, sizeof(struct al_memory));
}

void al_memory_clear(struct al_memory *m)
{
    while (m->pieces) {
        struct piece *p = m->pieces;

        m->pieces = p->next;
        free(p);
    }
}

void al_memory_free(struct al_memory *m)
{
    if (m)
        al_memory_clear(m);
    free(m);
}

void *al_memory_take(struct al_memory *m, size_t bytes)
{
    struct piece *p = calloc(1, sizeof(*p) + bytes);

    if (!p)
        return NULL;
    p->next = m->pieces;
    m->pieces = p;
    return p->bytes;
}

/* --- values ----------------------------------------------------------------------------------------------
 */

static const struct al_labels no_labels;

static int32_t scalar(double value, struct al_memory *m, struct al_vector *out)
{
    out->samples = al_memory_take(m, sizeof(*out->samples));
    if (!out->samples)
        return HD_ENOMEM;
    out->samples[0] = (struct al_sample){.labels = &no_labels, .value = value};
    out->count = out->scalar = 1;
    return HD_OK;
}

static int32_t metric(struct al_selector *sel, struct al_memory *m, struct al_vector *out)
{
    out->samples = al_memory_take(m, (sel->found + 1) * sizeof(*out->samples));
    if (!out->samples)
        return HD_ENOMEM;
    for (struct al_series *s = al_series_next(sel, NULL); s && out->count < sel->found;
         s = al_series_next(sel, s)) {
        struct al_sample *to = &out->samples[out->count];

        to->labels = al_series_labels(s);
        out->count += (uint32_t)al_series_value(sel, s, &to->value);
    }
    return HD_OK;
}

/* --- arithmetic ------------------------------------------------------------------------------------------
 */

static double apply(enum al_op op, double a, double b)
{
    switch (op) {
    case AL_ADD:
        return a + b;
    case AL_SUBTRACT:
        return a - b;
    case AL_MULTIPLY:
        return a * b;
    default:
        return a / b;
    }
}

static const struct al_sample *partner(const struct al_vector *v, const struct al_labels *l)
{
    if (v->scalar || (v->count == 1 && !v->samples[0].labels->count))
        return v->count ? &v->samples[0] : NULL;
    for (uint32_t i = 0; i < v->count; i++)
        if (al_labels_equal(v->samples[i].labels, l))
            return &v->samples[i];
    return NULL;
}

/* Samples of equal labels go together; one without labels goes with all. What has no partner, or is divided
 * by nothing, has no value. */
static int32_t combine(enum al_op op, const struct al_vector *a, const struct al_vector *b,
                       struct al_memory *m, struct al_vector *out)
{
    int turn = a->scalar || (a->count == 1 && !a->samples[0].labels->count);
    const struct al_vector *lead = turn ? b : a, *other = turn ? a : b;

    out->samples = al_memory_take(m, (lead->count + 1) * sizeof(*out->samples));
    if (!out->samples)
        return HD_ENOMEM;
    out->scalar = a->scalar && b->scalar;
    for (uint32_t i = 0; i < lead->count; i++) {
        const struct al_sample *x = &lead->samples[i], *y = partner(other, x->labels);
        double value = y ? turn ? apply(op, y->value, x->value) : apply(op, x->value, y->value) : NAN;

        if (isfinite(value))
            out->samples[out->count++] = (struct al_sample){.labels = x->labels, .value = value};
    }
    return HD_OK;
}

/* --- aggregates ------------------------------------------------------------------------------------------
 */

static const struct al_labels *picked(const struct al_node *n, const struct al_labels *l, struct al_memory *m)
{
    struct al_labels *made, *kept;
    struct hd_label labels[AL_BY_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < n->by_count; i++) {
        const char *value = al_labels_get(l, n->by[i]);

        if (value)
            labels[count++] = (struct hd_label){n->by[i], value};
    }
    if (!count)
        return &no_labels;
    made = al_labels_new(labels, count);
    kept = made ? al_memory_take(m, made->bytes) : NULL;
    if (kept) {
        ptrdiff_t moved = (char *)kept - (char *)made;

        memcpy(kept, made, made->bytes);
        for (uint32_t i = 0; i < kept->count; i++) {
            kept->at[i].name += moved;
            kept->at[i].value += moved;
        }
    }
    free(made);
    return kept;
}

static void fold_in(enum al_fold fold, double value, double *into)
{
    if (fold == AL_MAX)
        *into = value > *into ? value : *into;
    else if (fold == AL_MIN)
        *into = value < *into ? value : *into;
    else
        *into += fold == AL_COUNT ? 1 : value;
}

static int32_t aggregate(const struct al_node *n, const struct al_vector *v, struct al_memory *m,
                         struct al_vector *out)
{
    uint32_t *sizes = al_memory_take(m, (v->count + 1) * sizeof(*sizes));

    out->samples = al_memory_take(m, (v->count + 1) * sizeof(*out->samples));
    if (!out->samples || !sizes)
        return HD_ENOMEM;
    for (uint32_t i = 0; i < v->count; i++) {
        const struct al_labels *l = picked(n, v->samples[i].labels, m);
        double value = v->samples[i].value;
        uint32_t g = 0;

        if (!l)
            return HD_ENOMEM;
        while (g < out->count && !al_labels_equal(out->samples[g].labels, l))
            g++;
        if (g == out->count) {
            out->samples[out->count++] = (struct al_sample){l, n->fold == AL_COUNT ? 1 : value};
        } else {
            fold_in(n->fold, value, &out->samples[g].value);
        }
        sizes[g]++;
    }
    for (uint32_t g = 0; n->fold == AL_AVG && g < out->count; g++)
        out->samples[g].value /= sizes[g];
    return HD_OK;
}

/* --- expressions -----------------------------------------------------------------------------------------
 */

int32_t al_eval(const struct al_node *n, struct al_memory *m, struct al_vector *out)
{
    struct al_vector a = {0}, b = {0};
    int32_t code = HD_OK;

    memset(out, 0, sizeof(*out));
    if (n->op == AL_NUMBER)
        return scalar(n->number, m, out);
    if (n->op == AL_METRIC)
        return metric(n->selector, m, out);
    if (n->left)
        code = al_eval(n->left, m, &a);
    if (!code && n->right)
        code = al_eval(n->right, m, &b);
    if (!code && n->op == AL_NEGATE)
        code = scalar(0, m, &b);
    if (code)
        return code;
    if (n->op == AL_NEGATE)
        return combine(AL_SUBTRACT, &b, &a, m, out);
    if (n->op == AL_OR) {
        *out = a.count ? a : b;
        return HD_OK;
    }
    return n->op == AL_AGGREGATE ? aggregate(n, &a, m, out) : combine(n->op, &a, &b, m, out);
}
