/*
 * A report as text: all of it, a few lines, and one; and what its page is made with, too.
 */
#include "report_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BRIEF 3 /* of a list in the few lines */

void mon_report_when(int64_t seconds, char *to, size_t room)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(to, room, "%Y-%m-%d %H:%M:%S UTC", &tm);
}

const char *mon_str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

double mon_num(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

int mon_has(const json_t *o, const char *key)
{
    return json_is_number(json_object_get(o, key));
}

const char *mon_percent(const json_t *v, char *to, size_t room)
{
    if (json_is_number(v))
        snprintf(to, room, "%+.1f %%", json_number_value(v));
    else
        snprintf(to, room, "-");
    return to;
}

char *mon_out_end(struct mon_out *o)
{
    if (!fclose(o->file))
        return o->text;
    free(o->text);
    return NULL;
}

/* How much of the span the host has seen, where that is not all of it. */
static void observed(FILE *f, const json_t *r)
{
    const json_t *o = json_object_get(r, "observed");

    if (mon_num(o, "now_percent") < 99 || mon_num(o, "before_percent") < 99)
        fprintf(f, "The host was there for %.0f %% of this span, and for %.0f %% of the one before.\n",
                mon_num(o, "now_percent"), mon_num(o, "before_percent"));
}

/* --- sections
 * ---------------------------------------------------------------------------------------------------- */

static void totals(FILE *f, const json_t *r)
{
    const json_t *now = json_object_get(r, "now"), *c = json_object_get(r, "change");
    char a[32];

    fprintf(f, "Statements   %14.0f  %s\n", mon_num(now, "calls"),
            mon_percent(json_object_get(c, "calls_percent"), a, sizeof(a)));
    fprintf(f, "Failed       %14.0f  %s\n", mon_num(now, "errors"),
            mon_percent(json_object_get(c, "errors_percent"), a, sizeof(a)));
    fprintf(f, "Time         %11.1f ms  %s\n", mon_num(now, "total_ms"),
            mon_percent(json_object_get(c, "total_percent"), a, sizeof(a)));
    fprintf(f, "p50/p95/p99  %.3f / %.3f / %.3f ms  %s\n", mon_num(now, "p50_ms"), mon_num(now, "p95_ms"),
            mon_num(now, "p99_ms"), mon_percent(json_object_get(c, "p95_percent"), a, sizeof(a)));
}

/* The title of a list; 0: there is nothing in it. */
static int begin(FILE *f, const json_t *list, const char *title)
{
    fprintf(f, "\n%s\n", title);
    if (json_array_size(list))
        return 1;
    fprintf(f, "  none\n");
    return 0;
}

/* Below a statement: that the server does something else. */
static void plan(FILE *f, const json_t *change)
{
    char when[32];

    if (!change)
        return;
    mon_report_when((int64_t)mon_num(change, "time"), when, sizeof(when));
    fprintf(f, "             its plan has changed, %s: %s\n", when, mon_str(change, "text"));
}

static void templates(FILE *f, const json_t *list, const char *title)
{
    const json_t *e;
    size_t i;
    char a[32], b[32];

    begin(f, list, title);
    json_array_foreach(list, i, e)
    {
        const json_t *now = json_object_get(e, "now");

        fprintf(f, "  %10.0f calls  %12.1f ms (%s)  p95 %9.3f ms (%s)  %s@%s  %.120s\n",
                mon_num(now, "calls"), mon_num(now, "total_ms"),
                mon_percent(json_object_get(e, "total_change_percent"), a, sizeof(a)), mon_num(now, "p95_ms"),
                mon_percent(json_object_get(e, "p95_change_percent"), b, sizeof(b)), mon_str(e, "user"),
                mon_str(e, "database"), mon_str(e, "statement"));
        plan(f, json_object_get(e, "plan_changed"));
    }
}

static void pools(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;

    begin(f, list, "Pools");
    json_array_foreach(list, i, e) fprintf(
        f, "  %-60s %5.1f %% of %.0f in use, at most %5.1f %%; %.0f waits, %.3f s in all, longest %.3f s\n",
        mon_str(e, "pool"), mon_num(e, "use_percent"), mon_num(e, "limit"), mon_num(e, "most_percent"),
        mon_num(e, "waits"), mon_num(e, "wait_seconds"), mon_num(e, "longest_wait"));
}

/* ", WORDS NUMBER UNIT", where there is something to say. */
static void maybe(FILE *f, const json_t *o, const char *key, const char *words, const char *unit)
{
    if (mon_num(o, key) != 0)
        fprintf(f, ", %s %.15g%s", words, mon_num(o, key), unit);
}

static void nodes(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;
    char a[32];

    begin(f, list, "Nodes");
    json_array_foreach(list, i, e)
    {
        fprintf(f, "  %s: up %.4g %% of the time, %.0f times down; %.0f statements (%s), %.0f failed",
                mon_str(e, "node"), mon_num(e, "up_percent"), mon_num(e, "downs"), mon_num(e, "calls"),
                mon_percent(json_object_get(e, "calls_change_percent"), a, sizeof(a)), mon_num(e, "errors"));
        maybe(f, e, "p95_ms", "p95", " ms");
        fprintf(f, "\n    ");
        fprintf(f, "connections in use %.4g", mon_num(e, "busy"));
        maybe(f, e, "waits", "waits", "");
        maybe(f, e, "commits", "commits", "");
        maybe(f, e, "rollbacks", "rollbacks", "");
        maybe(f, e, "deadlocks", "deadlocks", "");
        maybe(f, e, "cache_hit_percent", "blocks in memory", " %");
        maybe(f, e, "longest_transaction_seconds", "longest transaction", " s");
        maybe(f, e, "replication_lag_bytes", "replication lag at most", " B");
        maybe(f, e, "slot_lag_bytes", "log kept for slots at most", " B");
        maybe(f, e, "wraparound_percent", "of the way to wraparound", " %");
        fprintf(f, "\n");
    }
}

static void cache(FILE *f, const json_t *c)
{
    if (!json_is_object(c))
        return;
    fprintf(f, "\nCache\n  %.0f hits and %.0f misses: %.1f %%", mon_num(c, "hits"), mon_num(c, "misses"),
            mon_num(c, "hit_percent"));
    if (mon_has(c, "hit_percent_before"))
        fprintf(f, " (%.1f %% before)", mon_num(c, "hit_percent_before"));
    fprintf(f, "; %.0f answers kept, %.0f invalidations, %.1f s of servers saved\n", mon_num(c, "stored"),
            mon_num(c, "invalidations"), mon_num(c, "saved_seconds"));
}

static void alerts(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;
    char a[40];

    begin(f, list, "Alerts");
    json_array_foreach(list, i, e)
    {
        mon_report_when((int64_t)mon_num(e, "last"), a, sizeof(a));
        fprintf(f, "  %s: raised %.0f times, ended %.0f times; last %s: %s\n", mon_str(e, "rule"),
                mon_num(e, "raised"), mon_num(e, "cleared"), a, mon_str(e, "text"));
    }
}

static void plugins(FILE *f, const json_t *list)
{
    const json_t *e, *did;
    size_t i, k;

    begin(f, list, "Plugins");
    json_array_foreach(list, i, e)
    {
        fprintf(f, "  %s:", mon_str(e, "plugin"));
        if (mon_has(e, "changes"))
            fprintf(f, " %s (changes of its state: %.0f)", mon_str(e, "state"), mon_num(e, "changes"));
        json_array_foreach(json_object_get(e, "did"), k, did)
            fprintf(f, "%s %.0f %s (%.0f before)", k || mon_has(e, "changes") ? "," : "",
                    mon_num(did, "count"), mon_str(did, "what"), mon_num(did, "before"));
        fprintf(f, "\n");
    }
}

static void series(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;
    char a[32];

    begin(f, list, "Series");
    json_array_foreach(list, i, e)
        fprintf(f, "  %-60s %14.6g %-4s %s\n", mon_str(e, "series"), mon_num(e, "mean"), mon_str(e, "unit"),
                mon_percent(json_object_get(e, "change_percent"), a, sizeof(a)));
}

static void events(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;
    char a[40];

    begin(f, list, "Events");
    json_array_foreach(list, i, e)
    {
        mon_report_when((int64_t)mon_num(e, "time"), a, sizeof(a));
        fprintf(f, "  %s  %s %s %s\n", a, mon_str(e, "topic"), mon_str(e, "subject"), mon_str(e, "text"));
    }
}

char *mon_report_text(const json_t *r)
{
    struct mon_out o = {0};
    char from[40], to[40];

    o.file = open_memstream(&o.text, &o.len);
    if (!o.file)
        return NULL;
    mon_report_when((int64_t)mon_num(r, "from"), from, sizeof(from));
    mon_report_when((int64_t)mon_num(r, "to"), to, sizeof(to));
    fprintf(o.file, "Howdah, %s report: %s to %s, and the change against the same span before\n",
            mon_str(r, "report"), from, to);
    observed(o.file, r);
    fprintf(o.file, "\n");
    totals(o.file, r);
    templates(o.file, json_object_get(r, "slowest"), "Statements that took the most time");
    templates(o.file, json_object_get(r, "changed"), "Statements whose time has changed most");
    templates(o.file, json_object_get(r, "regressions"), "Regressions: half as slow again, and of weight");
    cache(o.file, json_object_get(r, "cache"));
    pools(o.file, json_object_get(r, "pools"));
    nodes(o.file, json_object_get(r, "nodes"));
    alerts(o.file, json_object_get(r, "alerts"));
    plugins(o.file, json_object_get(r, "plugins"));
    series(o.file, json_object_get(r, "series"));
    events(o.file, json_object_get(r, "events"));
    return mon_out_end(&o);
}

/* --- in short
 * ---------------------------------------------------------------------------------------------------- */

char *mon_report_title(const json_t *r)
{
    const json_t *now = json_object_get(r, "now"), *c = json_object_get(r, "change");
    struct mon_out o = {0};
    char a[32], b[32];

    o.file = open_memstream(&o.text, &o.len);
    if (!o.file)
        return NULL;
    fprintf(o.file, "%s report: %.0f statements (%s), %.0f failed, p95 %.3f ms (%s)", mon_str(r, "report"),
            mon_num(now, "calls"), mon_percent(json_object_get(c, "calls_percent"), a, sizeof(a)),
            mon_num(now, "errors"), mon_num(now, "p95_ms"),
            mon_percent(json_object_get(c, "p95_percent"), b, sizeof(b)));
    return mon_out_end(&o);
}

static void brief_templates(FILE *f, const json_t *list, const char *title)
{
    const json_t *e;
    size_t i;
    char a[32];

    json_array_foreach(list, i, e)
    {
        if (i == BRIEF)
            return;
        fprintf(f, "%s: %.0f calls, p95 %.3f ms (%s), %.100s\n", title,
                mon_num(json_object_get(e, "now"), "calls"), mon_num(json_object_get(e, "now"), "p95_ms"),
                mon_percent(json_object_get(e, "p95_change_percent"), a, sizeof(a)), mon_str(e, "statement"));
    }
}

static void brief_nodes(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;

    json_array_foreach(list, i, e)
    {
        if (mon_num(e, "downs") > 0)
            fprintf(f, "Node %s: down %.0f times, up %.4g %% of the time\n", mon_str(e, "node"),
                    mon_num(e, "downs"), mon_num(e, "up_percent"));
    }
}

static void brief_alerts(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;

    json_array_foreach(list, i, e)
    {
        if (i < BRIEF)
            fprintf(f, "Alert %s: raised %.0f times\n", mon_str(e, "rule"), mon_num(e, "raised"));
    }
}

char *mon_report_brief(const json_t *r)
{
    struct mon_out o = {0};
    char from[40], to[40];

    o.file = open_memstream(&o.text, &o.len);
    if (!o.file)
        return NULL;
    mon_report_when((int64_t)mon_num(r, "from"), from, sizeof(from));
    mon_report_when((int64_t)mon_num(r, "to"), to, sizeof(to));
    fprintf(o.file, "%s to %s\n", from, to);
    observed(o.file, r);
    totals(o.file, r);
    brief_templates(o.file, json_object_get(r, "regressions"), "Slower");
    brief_templates(o.file, json_object_get(r, "slowest"), "Most time");
    brief_nodes(o.file, json_object_get(r, "nodes"));
    brief_alerts(o.file, json_object_get(r, "alerts"));
    return mon_out_end(&o);
}
