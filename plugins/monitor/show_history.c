/*
 * SHOW HISTORY and SHOW SERIES.
 */
#include "commands.h"

#include "history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX  200000 /* of one answer */
#define POINTS    300    /* that a range is cut into where no step was asked for */
#define NAMES_MAX 32

/* A question, on its way through the job and back. */
struct show {
    struct mon *self;
    hd_result *result;
    char **names; /* the last is NULL */
    int grain;
    int64_t from, to, step;
    /* The span of time that is being filled. */
    char *key, *unit;
    int64_t at;
    double sum, min, max;
    uint64_t n, rows;
};

/* Writes the span that is full. Results may be filled by any one thread. */
static void put(struct show *s)
{
    const struct hd_commands_v1 *c = s->self->commands;

    if (!s->n)
        return;
    c->integer(s->result, s->at * 1000000);
    mon_text(s->self, s->result, s->key);
    mon_text(s->self, s->result, s->unit);
    c->real(s->result, s->sum / (double)s->n);
    c->real(s->result, s->min);
    c->real(s->result, s->max);
    s->n = 0;
    s->rows++;
}

static int32_t take(void *arg, const struct mon_sample *sample)
{
    struct show *s = arg;
    int64_t at = sample->time - sample->time % s->step;

    if (!s->key || strcmp(s->key, sample->key) != 0 || at != s->at) {
        put(s);
        if (s->rows >= ROWS_MAX)
            return HD_EFULL;
        if (!s->key || strcmp(s->key, sample->key) != 0) {
            free(s->key);
            free(s->unit);
            s->key = strdup(sample->key);
            s->unit = strdup(sample->unit);
            if (!s->key || !s->unit)
                return HD_ENOMEM;
        }
        s->at = at;
        s->sum = 0;
    }
    s->min = s->n && s->min < sample->min ? s->min : sample->min;
    s->max = s->n && s->max > sample->max ? s->max : sample->max;
    s->sum += sample->mean;
    s->n++;
    return HD_OK;
}

static int32_t read_history(struct mon_store *store, void *arg, struct hd_error *err)
{
    struct show *s = arg;
    int32_t code = HD_OK;

    for (char **name = s->names; *name && !code; name++)
        code = mon_store_read(store, *name, s->grain, s->from, s->to, take, s);
    put(s);
    if (code == HD_EFULL)
        return hd_error_set(err, code, "more than %d rows: ask for a shorter range or a longer step",
                            ROWS_MAX);
    return code ? hd_error_set(err, code, "the history could not be read") : HD_OK;
}

static void free_show(struct show *s)
{
    for (char **name = s ? s->names : NULL; name && *name; name++)
        free(*name);
    if (s) {
        free(s->names);
        free(s->key);
        free(s->unit);
    }
    free(s);
}

static void finish(void *arg, int32_t code, const struct hd_error *err)
{
    struct show *s = arg;

    s->self->commands->finish(s->result, code, code ? err : NULL);
    free_show(s);
}

static struct show *new_show(const struct hd_call *call, uint32_t names)
{
    struct show *s = calloc(1, sizeof(*s));

    if (s)
        s->names = calloc(names + 1, sizeof(*s->names));
    for (uint32_t i = 0; s && s->names && i < names; i++)
        if (!(s->names[i] = strdup(call->args[i].ptr)))
            break;
    if (s && s->names && s->names[names - 1])
        return s;
    free_show(s);
    return NULL;
}

/* The finest grain that reaches that far back and is not finer than what was asked for. */
static int grain_for(int64_t range, int64_t step)
{
    for (int g = 0; g < MON_GRAINS; g++)
        if (range <= mon_grains[g].keep && (g + 1 == MON_GRAINS || step < mon_grains[g + 1].step))
            return g;
    return MON_HOUR;
}

/* How many names there are; 0: it is not said right. */
static uint32_t parse(const struct hd_call *call, int64_t *range, int64_t *step)
{
    uint32_t n = call->arg_count;

    if (n >= 4 && mon_word_is(call->args[n - 2], "STEP")) {
        *step = mon_span(call->args[n - 1]);
        if (!*step)
            return 0;
        n -= 2;
    }
    if (n < 2 || n > NAMES_MAX + 1)
        return 0;
    *range = mon_span(call->args[n - 1]);
    return *range > 0 ? n - 1 : 0;
}

int32_t mon_show_history(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct mon *self = arg;
    int64_t range = 0, step = 0, now = mon_wall_seconds();
    uint32_t names = parse(call, &range, &step);
    struct show *s;
    int32_t code;

    if (!names)
        return hd_error_set(err, HD_EINVAL,
                            "usage: SHOW HISTORY %s; spans are like 90s, 5m, 2h, 7d, 2w, 13mo",
                            MON_HISTORY_USAGE);
    s = new_show(call, names);
    if (!s)
        return hd_error_set(err, HD_ENOMEM, "no memory to ask the history");
    s->self = self;
    s->result = call->result;
    s->grain = grain_for(range, step ? step : range / POINTS);
    s->step = step ? step : range / POINTS;
    if (s->step < mon_grains[s->grain].step)
        s->step = mon_grains[s->grain].step;
    s->to = now + 1;
    s->from = now - range;
    mon_columns(self, s->result, "time", HD_COL_TIME, "series", HD_COL_TEXT, "unit", HD_COL_TEXT, "value",
                HD_COL_REAL, "min", HD_COL_REAL, "max", HD_COL_REAL, NULL);
    code = mon_history_ask(self, read_history, finish, s, err);
    if (code == HD_OK)
        return HD_PENDING;
    free_show(s);
    return code;
}

/* --- SHOW SERIES ------------------------------------------------------------------------------------------
 */

struct list {
    struct mon *self;
    const struct hd_call *call;
};

/* No parts ask for all. */
static int is_asked_for(const struct hd_call *call, const char *key)
{
    for (uint32_t i = 0; i < call->arg_count; i++)
        if (strstr(key, call->args[i].ptr))
            return 1;
    return !call->arg_count;
}

static void show_latest(void *arg, const struct mon_latest *l)
{
    struct list *s = arg;

    if (!is_asked_for(s->call, l->key))
        return;
    mon_text(s->self, s->call->result, l->key);
    mon_text(s->self, s->call->result, l->unit);
    mon_real(s->self, s->call->result, l->value);
}

int32_t mon_show_series(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct list s = {arg, call};

    (void)err;
    mon_columns(s.self, call->result, "series", HD_COL_TEXT, "unit", HD_COL_TEXT, "value", HD_COL_REAL, NULL);
    mon_series_each(s.self->series, NULL, show_latest, &s);
    return HD_OK;
}
