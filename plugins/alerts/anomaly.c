/*
 * What is usual; see anomaly.h.
 *
 * The weighted mean takes over at most three deviations of a value, so that an outlier does not become usual
 * at once, and a lasting change does in the course of some of its memories.
 */
#include "alerts/anomaly.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SMOOTH_MS   20000
#define WARM_MS     1800000 /* seen before anything is judged */
#define WARM_VALUES 20
#define PART_US     600000000ll
#define HOUR_US     3600000000ll
#define WEEK_US     (AL_HOURS * HOUR_US)
#define LEAST       12     /* means of past weeks that are enough */
#define SIGMA       1.4826 /* median deviation to standard deviation */
#define MEAN_SIGMA  1.2533 /* mean deviation to standard deviation */
#define FLOOR       0.05   /* of what is usual: the least deviation */
#define GAP_MS      600000 /* without values: the weighted mean is begun anew after six of these */

struct usual {
    double value, deviation;
};

static double weight(uint64_t dt_ms, double memory_ms)
{
    return 1 - exp(-(double)dt_ms / memory_ms);
}

/* --- past weeks ------------------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *v, uint32_t n)
{
    qsort(v, n, sizeof(*v), by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void keep_part(struct al_baseline *b)
{
    int64_t us = b->part * PART_US;
    int32_t week = (int32_t)(us / WEEK_US);
    struct al_history *h = &b->hours[us / HOUR_US % AL_HOURS];
    uint32_t w = (uint32_t)week % AL_WEEKS, i = (uint32_t)(b->part % AL_PER_HOUR);

    if (h->week[w] != week) {
        h->week[w] = week;
        h->have[w] = 0;
    }
    h->mean[w][i] = (float)(b->part_sum / b->part_count);
    h->have[w] |= (uint8_t)(1u << i);
}

static void remember(struct al_baseline *b, double value, int64_t wall_us)
{
    int64_t part = wall_us / PART_US;

    if (part <= 0)
        return;
    if (part != b->part) {
        if (b->part_count)
            keep_part(b);
        b->part = part;
        b->part_sum = b->part_count = 0;
    }
    b->part_sum += value;
    b->part_count++;
}

/* What this hour has been in past weeks. 0: too little is known. */
static int from_weeks(const struct al_baseline *b, int64_t wall_us, struct usual *out)
{
    const struct al_history *h;
    double v[AL_WEEKS * AL_PER_HOUR];
    int32_t week = (int32_t)(wall_us / WEEK_US);
    uint32_t n = 0;

    if (wall_us <= 0)
        return 0;
    h = &b->hours[wall_us / HOUR_US % AL_HOURS];
    for (int w = 0; w < AL_WEEKS; w++)
        for (int i = 0; i < AL_PER_HOUR; i++)
            if (h->week[w] < week && h->week[w] >= week - AL_WEEKS && h->have[w] >> i & 1)
                v[n++] = (double)h->mean[w][i];
    if (n < LEAST)
        return 0;
    out->value = median(v, n);
    for (uint32_t i = 0; i < n; i++)
        v[i] = fabs(v[i] - out->value);
    out->deviation = median(v, n) * SIGMA;
    return 1;
}

/* --- the weighted mean -----------------------------------------------------------------------------------
 */

static void begin(struct al_baseline *b, double value)
{
    b->smooth = b->mean = value;
    b->deviation = 0;
    b->known_ms = 0;
    b->values = 0;
}

static double floor_of(const struct usual *u)
{
    return fmax(u->deviation, FLOOR * fabs(u->value));
}

static void learn(struct al_baseline *b, const struct al_judge *j, uint64_t dt, int usual)
{
    /* At first the mean of all that was seen. */
    double memory = fmin((double)j->memory_ms, (double)b->known_ms + (double)dt);
    double a = weight(dt, memory), off = b->smooth - b->mean;
    struct usual u = {b->mean, b->deviation * MEAN_SIGMA};
    double most = 3 * floor_of(&u);

    if (b->known_ms > WARM_MS / 3 && fabs(off) > most)
        off = off > 0 ? most : -most;
    b->mean += a * off;
    if (usual)
        b->deviation += a * (fabs(off) - b->deviation);
}

/* --- judgement -------------------------------------------------------------------------------------------
 */

static enum al_verdict judge(const struct al_judge *j, double value, const struct usual *u, double *bound)
{
    double least = fmax(j->sensitivity * floor_of(u), j->min_change * fabs(u->value));
    double off = value - u->value;

    *bound = off >= 0 ? u->value + least : u->value - least;
    if ((off > 0 && !j->up) || (off < 0 && !j->down))
        return AL_USUAL;
    if (fabs(off) > least)
        return AL_UNUSUAL;
    return fabs(off) > 0.7 * least ? AL_BETWEEN : AL_USUAL;
}

enum al_verdict al_baseline_feed(struct al_baseline *b, const struct al_judge *j, double value,
                                 uint64_t now_ms, int64_t wall_us, double *usual, double *bound)
{
    uint64_t dt = now_ms - b->last_ms;
    enum al_verdict verdict = AL_USUAL;
    struct usual u;
    int weeks;

    if (!b->last_ms || now_ms <= b->last_ms || dt > 6 * GAP_MS) {
        begin(b, value);
        dt = 0;
    }
    b->last_ms = now_ms;
    b->smooth += weight(dt, SMOOTH_MS) * (value - b->smooth);
    weeks = from_weeks(b, wall_us, &u);
    if (!weeks)
        u = (struct usual){b->mean, b->deviation * MEAN_SIGMA};
    *usual = *bound = u.value;
    if (weeks || (b->known_ms >= WARM_MS && b->values >= WARM_VALUES))
        verdict = judge(j, b->smooth, &u, bound);
    if (dt)
        learn(b, j, dt, verdict != AL_UNUSUAL);
    b->known_ms += dt > GAP_MS ? GAP_MS : dt;
    b->values++;
    remember(b, value, wall_us);
    return verdict;
}
