/* The series of a report: their means in both spans, and points for their plots. */
#include "report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POINTS 120 /* of a plot */
#define LINES  60  /* series that are told of */

/* The series that a report compares and plots, where they are there. */
static const struct {
    const char *name, *title;
} plots[] = {
    {"howdah_statements_total", "Statements"},
    {"howdah_statement_seconds_p95", "95th percentile of a statement's time"},
    {"howdah_statement_errors_total", "Failed statements"},
    {"howdah_clients", "Clients"},
    {"howdah_clients_waiting", "Clients that wait for a server connection"},
    {"howdah_servers_busy", "Server connections at work"},
    {"howdah_cache_hits_total", "Cache hits"},
    {"howdah_cache_misses_total", "Cache misses"},
    {"howdah_machine_cpu_percent", "The machine's processors"},
    {"howdah_process_resident_bytes", "Memory of the host"},
    {"howdah_pg_sessions", "Sessions of the servers"},
    {"howdah_pg_cache_hit_percent", "Blocks that servers found in memory"},
    {"howdah_pg_replication_lag_bytes", "Replication lag"},
};

/* One series of a name, both spans. */
struct line {
    char *key, *unit;
    double sum[2];
    uint64_t n[2];
    double point[POINTS];
    uint32_t points[POINTS];
};

struct lines {
    json_t *array;
    const char *title;
    int64_t from, middle, to;
    struct line line;
};

static void end_line(struct lines *l)
{
    struct line *line = &l->line;
    json_t *o, *points;
    double now = line->n[1] ? line->sum[1] / (double)line->n[1] : NAN;
    double before = line->n[0] ? line->sum[0] / (double)line->n[0] : NAN;

    if (line->key && line->n[1] && json_array_size(l->array) < LINES) {
        o = json_object();
        points = json_array();
        for (int i = 0; i < POINTS; i++)
            json_array_append_new(points, line->points[i] ? json_real(line->point[i] / line->points[i])
                                                          : json_null());
        json_object_set_new(o, "series", json_string(line->key));
        json_object_set_new(o, "title", json_string(l->title));
        json_object_set_new(o, "unit", json_string(line->unit));
        json_object_set_new(o, "mean", json_real(now));
        json_object_set_new(o, "mean_before", line->n[0] ? json_real(before) : json_null());
        json_object_set_new(o, "change_percent", line->n[0] ? mon_change(now, before) : json_null());
        json_object_set_new(o, "points", points);
        json_array_append_new(l->array, o);
    }
    free(line->key);
    free(line->unit);
    memset(line, 0, sizeof(*line));
}

static int32_t take_sample(void *arg, const struct mon_sample *s)
{
    struct lines *l = arg;
    int now = s->time >= l->middle;

    if (l->line.key && strcmp(l->line.key, s->key) != 0)
        end_line(l);
    if (!l->line.key) {
        l->line.key = strdup(s->key);
        l->line.unit = strdup(s->unit);
        if (!l->line.key || !l->line.unit)
            return HD_ENOMEM;
    }
    l->line.sum[now] += s->mean;
    l->line.n[now]++;
    if (now) {
        int64_t i = (s->time - l->middle) * POINTS / (l->to - l->middle);

        l->line.point[i < POINTS ? i : POINTS - 1] += s->mean;
        l->line.points[i < POINTS ? i : POINTS - 1]++;
    }
    return HD_OK;
}

int32_t mon_report_series(const struct mon_frame *f, json_t *report)
{
    struct lines l = {.array = json_array(), .from = f->before, .middle = f->from, .to = f->to + 1};
    int32_t code = HD_OK;

    for (unsigned i = 0; !code && i < sizeof(plots) / sizeof(plots[0]); i++) {
        l.title = plots[i].title;
        code = mon_store_read(f->store, plots[i].name, f->grain, l.from, l.to, take_sample, &l);
        end_line(&l);
    }
    json_object_set_new(report, "series", l.array);
    return code;
}
