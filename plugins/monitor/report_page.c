/*
 * A report as one page that needs nothing beside itself: tables, and plots as inline SVG.
 */
#include "report_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void escape(FILE *f, const char *s)
{
    for (; *s; s++)
        switch (*s) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        default:
            fputc(*s, f);
        }
}

static void cell(FILE *f, const char *text)
{
    fputs("<td>", f);
    escape(f, text);
    fputs("</td>", f);
}

/* Titles are separated by |; above numbers they begin with #. */
static void begin_table(FILE *f, const char *titles)
{
    fputs("<div class=wide tabindex=0><table><thead><tr>", f);
    for (size_t n; *titles; titles += n + (titles[n] == '|')) {
        int number = *titles == '#';

        titles += number;
        n = strcspn(titles, "|");
        fprintf(f, "<th%s>%.*s", number ? " class=n" : "", (int)n, titles);
    }
    fputs("</tr></thead><tbody>\n", f);
}

static void end_table(FILE *f)
{
    fputs("</tbody></table></div>\n", f);
}

/* Below a statement: that the server does something else. */
static void page_plan(FILE *f, const json_t *change)
{
    char when[32];

    if (!change)
        return;
    mon_report_when((int64_t)mon_num(change, "time"), when, sizeof(when));
    fprintf(f, "<br>Its plan has changed, %s: ", when);
    escape(f, mon_str(change, "text"));
}

static void page_templates(FILE *f, const json_t *list, const char *title)
{
    const json_t *e;
    size_t i;
    char a[32];

    fprintf(f, "<h2>%s</h2>\n", title);
    if (!json_array_size(list)) {
        fputs("<p>None.</p>\n", f);
        return;
    }
    begin_table(f, "#Calls|#Failed|#Total ms|#Change|#Mean ms|#p95 ms|#Change|User|Database|Statement");
    json_array_foreach(list, i, e)
    {
        const json_t *now = json_object_get(e, "now");

        fprintf(f, "<tr><td class=n>%.0f<td class=n>%.0f<td class=n>%.1f<td class=n>%s",
                mon_num(now, "calls"), mon_num(now, "errors"), mon_num(now, "total_ms"),
                mon_percent(json_object_get(e, "total_change_percent"), a, sizeof(a)));
        fprintf(f, "<td class=n>%.3f<td class=n>%.3f<td class=n>%s</td>", mon_num(now, "mean_ms"),
                mon_num(now, "p95_ms"), mon_percent(json_object_get(e, "p95_change_percent"), a, sizeof(a)));
        cell(f, mon_str(e, "user"));
        cell(f, mon_str(e, "database"));
        fputs("<td><code>", f);
        escape(f, mon_str(e, "statement"));
        fputs("</code>", f);
        page_plan(f, json_object_get(e, "plan_changed"));
        fputs("</td></tr>\n", f);
    }
    end_table(f);
}

static void page_pools(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;

    fputs("<h2>Pools</h2>\n", f);
    if (!json_array_size(list)) {
        fputs("<p>None.</p>\n", f);
        return;
    }
    begin_table(f, "Pool|#Limit|#In use, %|#Before, %|#At most, %|#Waits|#Waited, s|#Longest, s");
    json_array_foreach(list, i, e)
    {
        fputs("<tr>", f);
        cell(f, mon_str(e, "pool"));
        fprintf(f, "<td class=n>%.0f<td class=n>%.1f<td class=n>", mon_num(e, "limit"),
                mon_num(e, "use_percent"));
        if (json_is_number(json_object_get(e, "use_percent_before")))
            fprintf(f, "%.1f", mon_num(e, "use_percent_before"));
        fprintf(f, "<td class=n>%.1f<td class=n>%.0f<td class=n>%.3f<td class=n>%.3f</tr>\n",
                mon_num(e, "most_percent"), mon_num(e, "waits"), mon_num(e, "wait_seconds"),
                mon_num(e, "longest_wait"));
    }
    end_table(f);
}

static void number_cell(FILE *f, const json_t *o, const char *key)
{
    fputs("<td class=n>", f);
    if (mon_has(o, key))
        fprintf(f, "%.15g", mon_num(o, key));
}

static void page_rows(FILE *f, const json_t *list, const char *titles, const char *const *keys, size_t count)
{
    const json_t *e;
    size_t i;

    if (!json_array_size(list)) {
        fputs("<p>None.</p>\n", f);
        return;
    }
    begin_table(f, titles);
    json_array_foreach(list, i, e)
    {
        fputs("<tr>", f);
        for (size_t c = 0; c < count; c++)
            if (json_is_string(json_object_get(e, keys[c])))
                cell(f, mon_str(e, keys[c]));
            else
                number_cell(f, e, keys[c]);
        fputs("</tr>\n", f);
    }
    end_table(f);
}

static void page_nodes(FILE *f, const json_t *list)
{
    static const char *const ours[] = {
        "node",   "up_percent",    "downs", "calls", "calls_change_percent", "errors",
        "p95_ms", "p95_ms_before", "busy",  "waits", "wait_seconds"};
    static const char *const theirs[] = {"node",
                                         "sessions",
                                         "commits",
                                         "commits_before",
                                         "rollbacks",
                                         "deadlocks",
                                         "cache_hit_percent",
                                         "longest_transaction_seconds",
                                         "replication_lag_bytes",
                                         "slot_lag_bytes",
                                         "wraparound_percent"};

    fputs("<h2>Nodes</h2>\n", f);
    page_rows(
        f, list,
        "Node|#Up, %|#Times down|#Statements|#Change, %|#Failed|#p95, ms|#Before, ms|#Connections in use"
        "|#Waits|#Waited, s",
        ours, sizeof(ours) / sizeof(ours[0]));
    fputs("<h2>What their servers count</h2>\n", f);
    page_rows(
        f, list,
        "Node|#Sessions|#Commits|#Before|#Rollbacks|#Deadlocks|#Blocks in memory, %|#Longest transaction, s"
        "|#Replication lag, B|#Log kept for slots, B|#To wraparound, %",
        theirs, sizeof(theirs) / sizeof(theirs[0]));
}

static void page_cache(FILE *f, const json_t *c)
{
    if (!json_is_object(c))
        return;
    fprintf(f,
            "<h2>Cache</h2>\n<p>%.0f hits and %.0f misses: %.1f %%; before, %.0f hits and %.0f misses. %.0f "
            "answers kept, %.0f invalidations, %.1f s of servers saved.</p>\n",
            mon_num(c, "hits"), mon_num(c, "misses"), mon_num(c, "hit_percent"), mon_num(c, "hits_before"),
            mon_num(c, "misses_before"), mon_num(c, "stored"), mon_num(c, "invalidations"),
            mon_num(c, "saved_seconds"));
}

static void page_alerts(FILE *f, const json_t *list)
{
    const json_t *e;
    size_t i;
    char a[40];

    fputs("<h2>Alerts</h2>\n", f);
    if (json_array_size(list))
        begin_table(f, "Rule|#Raised|#Ended|Last|What it said");
    else
        fputs("<p>None.</p>\n", f);
    json_array_foreach(list, i, e)
    {
        mon_report_when((int64_t)mon_num(e, "last"), a, sizeof(a));
        fputs("<tr>", f);
        cell(f, mon_str(e, "rule"));
        fprintf(f, "<td class=n>%.0f<td class=n>%.0f", mon_num(e, "raised"), mon_num(e, "cleared"));
        cell(f, a);
        cell(f, mon_str(e, "text"));
        fputs("</tr>\n", f);
    }
    if (json_array_size(list))
        end_table(f);
}

static void page_plugins(FILE *f, const json_t *list)
{
    const json_t *e, *did;
    size_t i, k;

    fputs("<h2>Plugins</h2>\n", f);
    if (json_array_size(list))
        begin_table(f, "Plugin|State|#Changes of it|What it did");
    else
        fputs("<p>None.</p>\n", f);
    json_array_foreach(list, i, e)
    {
        fputs("<tr>", f);
        cell(f, mon_str(e, "plugin"));
        cell(f, mon_str(e, "state"));
        number_cell(f, e, "changes");
        fputs("<td>", f);
        json_array_foreach(json_object_get(e, "did"), k, did)
            fprintf(f, "%s%.0f %s (%.0f before)", k ? "<br>" : "", mon_num(did, "count"),
                    mon_str(did, "what"), mon_num(did, "before"));
        fputs("</tr>\n", f);
    }
    if (json_array_size(list))
        end_table(f);
}

/* The least and greatest point; 0: there is none. */
static int range_of(const json_t *points, double *low, double *high)
{
    const json_t *p;
    size_t i;
    int any = 0;

    json_array_foreach(points, i, p)
    {
        double v = json_number_value(p);

        if (!json_is_number(p))
            continue;
        *low = any && *low < v ? *low : v;
        *high = any && *high > v ? *high : v;
        any = 1;
    }
    if (*low > 0 && *low > *high / 2)
        return any; /* far from 0: what moves is told better without it */
    *low = *low < 0 ? *low : 0;
    return any;
}

static void page_plot(FILE *f, const json_t *s)
{
    const json_t *points = json_object_get(s, "points"), *p;
    size_t i, n = json_array_size(points);
    double low = 0, high = 0, top;
    int pen = 0, has_unit = strcmp(mon_str(s, "unit"), "1") != 0;
    char a[32];

    if (n < 2 || !range_of(points, &low, &high))
        return;
    top = high;
    high = high > low ? high : low + 1; /* a line of one value lies at the bottom */
    fputs("<figure><figcaption>", f);
    escape(f, mon_str(s, "title"));
    fputs("<br><small>", f);
    escape(f, mon_str(s, "series"));
    fprintf(f, "</small><br>mean %.6g%s%s, %s</figcaption><svg viewBox='0 0 420 110' role=img aria-label='",
            mon_num(s, "mean"), has_unit ? " " : "", has_unit ? mon_str(s, "unit") : "",
            mon_percent(json_object_get(s, "change_percent"), a, sizeof(a)));
    escape(f, mon_str(s, "title"));
    fprintf(f, "'><text x=0 y=12>%.4g</text><text x=0 y=106>%.4g</text><path d='", top, low);
    json_array_foreach(points, i, p)
    {
        if (!json_is_number(p)) {
            pen = 0;
            continue;
        }
        fprintf(f, "%c%.1f %.1f", pen ? 'L' : 'M', 60 + 355.0 * (double)i / (double)(n - 1),
                104 - 98 * (json_number_value(p) - low) / (high - low));
        if (!pen)
            fputs("h.1", f); /* a point by itself is seen, too */
        pen = 1;
    }
    fputs("'/></svg></figure>\n", f);
}

static void page_head(FILE *f, const json_t *r)
{
    const json_t *o = json_object_get(r, "observed");
    char from[40], to[40];

    mon_report_when((int64_t)mon_num(r, "from"), from, sizeof(from));
    mon_report_when((int64_t)mon_num(r, "to"), to, sizeof(to));
    fprintf(
        f,
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
        "content='width=device-width'>"
        "<title>Howdah: %s report</title><style>:root{color-scheme:light dark}body{font:15px/1.4 system-ui,"
        "sans-serif;max-width:75rem;margin:1rem auto;padding:0 "
        "1rem}table{border-collapse:collapse;width:100%%;"
        "font-size:13px}th,td{text-align:left;padding:.2rem .5rem;border-bottom:1px solid "
        "#8885;vertical-align:top}"
        ".n{text-align:right}td.n{white-space:nowrap}.wide{overflow-x:auto}code{overflow-wrap:anywhere}."
        "plots{"
        "display:grid;gap:1rem;"
        "grid-template-columns:repeat(auto-fill,minmax(22rem,1fr))}figure{margin:0}figcaption{font-size:13px}"
        "svg{width:100%%}svg "
        "path{fill:none;stroke:#2a7de1;stroke-width:1.5;stroke-linecap:round}h1{font-size:1.5rem}h2{font-"
        "size:1.15rem;margin:1.5rem 0 .3rem}svg text{font-size:10px;"
        "fill:currentColor}</style></head><body><main><h1>Howdah: %s report</h1><p>%s to %s; changes are "
        "against the same "
        "span "
        "before.</p>\n",
        mon_str(r, "report"), mon_str(r, "report"), from, to);
    if (mon_num(o, "now_percent") < 99 || mon_num(o, "before_percent") < 99)
        fprintf(f, "<p>The host was there for %.0f %% of this span, and for %.0f %% of the one before.</p>\n",
                mon_num(o, "now_percent"), mon_num(o, "before_percent"));
}

static void page_totals(FILE *f, const json_t *r)
{
    const json_t *now = json_object_get(r, "now"), *before = json_object_get(r, "before"),
                 *c = json_object_get(r, "change");
    static const struct {
        const char *title, *key, *change;
    } rows[] = {{"Statements", "calls", "calls_percent"},
                {"Failed", "errors", "errors_percent"},
                {"Answered without a server", "answered", NULL},
                {"Time in all, ms", "total_ms", "total_percent"},
                {"Median, ms", "p50_ms", NULL},
                {"95th percentile, ms", "p95_ms", "p95_percent"},
                {"99th percentile, ms", "p99_ms", NULL}};
    char a[32];

    fputs("<h2>Totals</h2>\n", f);
    begin_table(f, "Of all statements|#Now|#Before|#Change");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        fprintf(f, "<tr><td>%s<td class=n>%.15g<td class=n>%.15g<td class=n>%s</tr>\n", rows[i].title,
                mon_num(now, rows[i].key), mon_num(before, rows[i].key),
                rows[i].change ? mon_percent(json_object_get(c, rows[i].change), a, sizeof(a)) : "");
    end_table(f);
}

static void page_events(FILE *f, const json_t *r)
{
    const json_t *e;
    size_t i;
    char a[40];

    fputs("<h2>Events</h2>\n", f);
    begin_table(f, "Time|Topic|Of|What");
    json_array_foreach(json_object_get(r, "events"), i, e)
    {
        mon_report_when((int64_t)mon_num(e, "time"), a, sizeof(a));
        fputs("<tr>", f);
        cell(f, a);
        cell(f, mon_str(e, "topic"));
        cell(f, mon_str(e, "subject"));
        cell(f, mon_str(e, "text"));
        fputs("</tr>\n", f);
    }
    end_table(f);
    fputs("</main></body></html>\n", f);
}

char *mon_report_html(const json_t *r)
{
    struct mon_out o = {0};
    const json_t *s;
    size_t i;

    o.file = open_memstream(&o.text, &o.len);
    if (!o.file)
        return NULL;
    page_head(o.file, r);
    page_totals(o.file, r);
    page_templates(o.file, json_object_get(r, "slowest"), "Statements that took the most time");
    page_templates(o.file, json_object_get(r, "changed"), "Statements whose time has changed most");
    page_templates(o.file, json_object_get(r, "regressions"),
                   "Regressions: half as slow again, and of weight");
    page_cache(o.file, json_object_get(r, "cache"));
    page_pools(o.file, json_object_get(r, "pools"));
    page_nodes(o.file, json_object_get(r, "nodes"));
    page_alerts(o.file, json_object_get(r, "alerts"));
    page_plugins(o.file, json_object_get(r, "plugins"));
    fputs("<h2>Series</h2><div class=plots>\n", o.file);
    json_array_foreach(json_object_get(r, "series"), i, s) page_plot(o.file, s);
    fputs("</div>\n", o.file);
    page_events(o.file, r);
    return mon_out_end(&o);
}
