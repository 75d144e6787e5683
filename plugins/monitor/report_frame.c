/*
 * The two spans that a report compares, and reading series over them: by the grain that is kept that long,
 * and what it has not got yet by finer ones. How long the host was there within each step is told by its
 * uptime, so that rates make totals also of a minute in which it began.
 */
#include "report_parts.h"

#include <math.h>
#include <stdlib.h>

#define UPTIME "howdah_process_uptime_seconds"

const struct mon_report_span mon_report_spans[MON_REPORTS] = {
    {"realtime", 300, 60, MON_SECOND},
    {"hourly", 3600, 60, MON_MINUTE},
    {"daily", 86400, 60, MON_MINUTE},
    {"weekly", 7 * 86400, 3600, MON_HOUR},
};

struct reading {
    const struct mon_frame *f;
    int64_t step;
    void (*fn)(void *arg, const struct mon_sample *s, int now, double seconds);
    void *arg;
};

static int32_t take(void *arg, const struct mon_sample *s)
{
    const struct reading *r = arg;
    const struct mon_frame *f = r->f;
    int64_t i = (s->time - f->before) / f->step;
    double seconds = (double)r->step;

    if (r->step == f->step && i >= 0 && i < f->steps && f->seconds[i])
        seconds = f->seconds[i];
    r->fn(r->arg, s, s->time >= f->from, seconds);
    return HD_OK;
}

static int32_t read_grain(const struct mon_frame *f, const char *name, int grain, int64_t from,
                          void (*fn)(void *arg, const struct mon_sample *s, int now, double seconds),
                          void *arg)
{
    struct reading r = {f, mon_grains[grain].step, fn, arg};
    int64_t end = f->to + 1, cut = end - end % r.step;
    int32_t code = mon_store_read(f->store, name, grain, from, cut > from ? cut : from, take, &r);

    return code || grain == MON_SECOND ? code
                                       : read_grain(f, name, grain - 1, cut > from ? cut : from, fn, arg);
}

int32_t mon_frame_read(const struct mon_frame *f, const char *name,
                       void (*fn)(void *arg, const struct mon_sample *s, int now, double seconds), void *arg)
{
    return read_grain(f, name, f->grain, f->before, fn, arg);
}

static void take_uptime(void *arg, const struct mon_sample *s, int now, double seconds)
{
    struct mon_frame *f = arg;
    int64_t i = (s->time - f->before) / f->step;
    double there = fmin(seconds, round(s->max - s->min) + 1);

    f->observed[now] += there;
    if (seconds > 1 && i >= 0 && i < f->steps && (double)f->step == seconds)
        f->seconds[i] = (uint16_t)there;
}

int32_t mon_frame_open(struct mon_frame *f, struct mon_store *store, enum mon_report_kind kind, int64_t to)
{
    const struct mon_report_span *span = &mon_report_spans[kind];

    *f = (struct mon_frame){.store = store, .to = to, .grain = span->grain};
    f->step = mon_grains[span->grain].step;
    f->from = to - to % span->align + span->align - span->seconds;
    f->before = f->from - span->seconds;
    f->steps = (to - f->before) / f->step + 1;
    f->seconds = calloc((size_t)f->steps, sizeof(*f->seconds));
    return f->seconds ? mon_frame_read(f, UPTIME, take_uptime, f) : HD_ENOMEM;
}

void mon_frame_close(struct mon_frame *f)
{
    free(f->seconds);
}

double mon_frame_observed(const struct mon_frame *f, int now)
{
    double length = (double)(now ? f->to - f->from + 1 : f->from - f->before);

    return round(1000 * fmin(1, f->observed[now] / length)) / 10;
}

double mon_frame_scale(const struct mon_frame *f)
{
    return (double)(f->from - f->before) / (double)(f->to - f->from + 1);
}

json_t *mon_rounded(double v)
{
    return isfinite(v) ? json_real(round(v * 1e3) / 1e3) : json_null();
}

json_t *mon_change(double now, double before)
{
    return before != 0 ? mon_rounded(100 * (now - before) / before) : json_null();
}
