/*
 * Metrics as Prometheus reads them: its text format 0.0.4, or OpenMetrics 1.0 for whoever asks for that.
 *
 * A sketch is a summary, whose quantiles are those of all values ever, and, where it holds seconds, a
 * histogram besides: from that Prometheus can tell the quantiles of any time, and of several hosts together.
 * Names of metrics say their unit at the end; those that count milli- or nanoseconds are shown in seconds, as
 * the convention wants it.
 */
#include "base/check.h"
#include "base/error.h"
#include "base/utf8.h"
#include "host/http_metrics.h"
#include "host/http_parts.h"
#include "host/runtime.h"
#include "plug/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TYPE_TEXT "text/plain; version=0.0.4; charset=utf-8"
#define TYPE_OPEN "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define NAME_MOST 200
#define HISTOGRAM 4 /* beside HD_METRIC_… */

/* A name as it is shown. */
struct shown {
    char family[NAME_MOST]; /* without "_total" */
    const char *unit;       /* "seconds"; NULL: none */
    double factor;          /* of its numbers */
    uint32_t type;
};

static size_t cut_suffix(char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);

    if (n <= k || strcmp(name + n - k, suffix))
        return 0;
    name[n - k] = 0;
    return k;
}

static void show_name(const struct hd_metric_view *v, struct shown *out)
{
    static const struct {
        const char *suffix;
        double factor;
    } small[] = {{"_nanoseconds", 1e-9}, {"_microseconds", 1e-6}, {"_milliseconds", 1e-3}};
    static const char *const units[] = {"seconds", "bytes", "ratio"};

    snprintf(out->family, sizeof(out->family) - 24, "%s", v->name);
    out->unit = NULL;
    out->factor = 1;
    out->type = v->type;
    if (v->type == HD_METRIC_COUNTER)
        cut_suffix(out->family, "_total");
    for (size_t i = 0; i < HD_ARRAY_LEN(small); i++)
        if (cut_suffix(out->family, small[i].suffix)) {
            strcat(out->family, "_seconds");
            out->factor = small[i].factor;
        }
    for (size_t i = 0; i < HD_ARRAY_LEN(units); i++) {
        size_t n = strlen(out->family), k = strlen(units[i]);

        if (n > k && out->family[n - k - 1] == '_' && !strcmp(out->family + n - k, units[i]))
            out->unit = units[i];
    }
}

/* Backslash, line feed and, in the value of a label, the quote are escaped. A scrape that has a byte which is
 * no UTF-8 is refused as a whole: such a byte is written \xNN, whose backslash is escaped like any other. */
static void put_escaped(struct hd_strbuf *out, const char *s, int quoted)
{
    size_t len = strlen(s), n;
    uint32_t code;

    for (size_t i = 0; i < len; i += n ? n : 1) {
        n = hd_utf8_next(s + i, len - i, &code);
        if (!n)
            hd_strbuf_printf(out, "\\\\x%02x", (unsigned char)s[i]);
        else if (s[i] == '\n')
            hd_strbuf_puts(out, "\\n");
        else if (s[i] == '\\' || (quoted && s[i] == '"'))
            hd_strbuf_printf(out, "\\%c", s[i]);
        else
            hd_strbuf_add(out, s + i, n);
    }
}

static void put_number(struct hd_strbuf *out, double n)
{
    if (isnan(n))
        hd_strbuf_puts(out, "NaN\n");
    else if (isinf(n))
        hd_strbuf_puts(out, n > 0 ? "+Inf\n" : "-Inf\n");
    else if (n == floor(n) && fabs(n) < 1e15)
        hd_strbuf_printf(out, "%.0f\n", n);
    else
        hd_strbuf_printf(out, "%.15g\n", n);
}

static void put_sample(struct hd_strbuf *out, const struct shown *s, const char *suffix,
                       const struct hd_metric_view *v, const char *more, double n)
{
    const char *sep = "{";

    hd_strbuf_puts(out, s->family);
    hd_strbuf_puts(out, suffix);
    for (uint32_t i = 0; i < v->label_count; i++) {
        hd_strbuf_puts(out, sep);
        hd_strbuf_puts(out, v->labels[i].name);
        hd_strbuf_puts(out, "=\"");
        put_escaped(out, v->labels[i].value, 1);
        hd_strbuf_putc(out, '"');
        sep = ",";
    }
    if (more)
        hd_strbuf_printf(out, "%s%s", sep, more);
    if (more || v->label_count)
        hd_strbuf_putc(out, '}');
    hd_strbuf_putc(out, ' ');
    put_number(out, n);
}

static void put_head(struct hd_strbuf *out, const struct shown *s, const struct hd_metric_view *v, int open)
{
    static const char *const types[] = {"", "counter", "gauge", "summary", "histogram"};
    const char *suffix = !open && v->type == HD_METRIC_COUNTER ? "_total" : "";

    hd_strbuf_printf(out, "# TYPE %s%s %s\n", s->family, suffix, types[s->type]);
    if (open && s->unit)
        hd_strbuf_printf(out, "# UNIT %s %s\n", s->family, s->unit);
    hd_strbuf_printf(out, "# HELP %s%s ", s->family, suffix);
    put_escaped(out, v->help[0] ? v->help : s->family, open);
    hd_strbuf_putc(out, '\n');
}

static void put_values(struct hd_strbuf *out, const struct shown *s, const struct hd_metric_view *v)
{
    if (v->type != HD_METRIC_SKETCH) {
        put_sample(out, s, v->type == HD_METRIC_COUNTER ? "_total" : "", v, NULL, v->number * s->factor);
        return;
    }
    put_sample(out, s, "", v, "quantile=\"0.5\"", v->count ? v->p50 * s->factor : NAN);
    put_sample(out, s, "", v, "quantile=\"0.95\"", v->count ? v->p95 * s->factor : NAN);
    put_sample(out, s, "", v, "quantile=\"0.99\"", v->count ? v->p99 * s->factor : NAN);
    put_sample(out, s, "_sum", v, NULL, v->sum * s->factor);
    put_sample(out, s, "_count", v, NULL, (double)v->count);
}

/* --- histograms -----------------------------------------------------------------------------------------
 */

static void put_histogram(struct hd_strbuf *out, const struct shown *s, const struct hd_metric_view *v)
{
    char le[32];

    for (int i = 0; i < HD_METRIC_BOUNDS; i++) {
        uint64_t ns = hd_metric_bounds[i], whole = ns / 1000000000;

        if (ns % 1000000000)
            snprintf(le, sizeof(le), "le=\"%g\"", (double)ns / 1e9);
        else
            snprintf(le, sizeof(le), "le=\"%llu.0\"", (unsigned long long)whole);
        put_sample(out, s, "_bucket", v, le, (double)v->below[i]);
    }
    put_sample(out, s, "_bucket", v, "le=\"+Inf\"", (double)v->count);
    put_sample(out, s, "_sum", v, NULL, v->sum);
    put_sample(out, s, "_count", v, NULL, (double)v->count);
}

/* Those of a family of sketches, in a family beside it. */
static void put_histograms(struct hd_strbuf *out, const struct hd_metric_view *v, size_t count, int open)
{
    struct shown s;

    if (!count || !v->below)
        return;
    show_name(v, &s);
    cut_suffix(s.family, "_seconds");
    strcat(s.family, "_duration_seconds");
    s.type = HISTOGRAM;
    put_head(out, &s, v, open);
    for (size_t i = 0; i < count; i++)
        put_histogram(out, &s, &v[i]);
}

/* --- all ------------------------------------------------------------------------------------------------
 */

int hd_http_metrics_text(struct hd_metrics *m, int open, struct hd_strbuf *out)
{
    struct hd_metrics_snapshot snapshot;
    struct shown now, last = {.family = ""};
    size_t first = 0; /* of the family */

    if (hd_metrics_snapshot(m, NULL, &snapshot))
        return HD_ENOMEM;
    for (size_t i = 0; i < snapshot.count; i++) {
        const struct hd_metric_view *v = &snapshot.views[i];

        show_name(v, &now);
        if (strcmp(now.family, last.family) || now.type != last.type) {
            put_histograms(out, &snapshot.views[first], i - first, open);
            put_head(out, &now, v, open);
            first = i;
        }
        put_values(out, &now, v);
        last = now;
    }
    put_histograms(out, &snapshot.views[first], snapshot.count - first, open);
    hd_metrics_snapshot_free(&snapshot);
    if (open)
        hd_strbuf_puts(out, "# EOF\n");
    return out->failed ? HD_ENOMEM : HD_OK;
}

void hd_http_metrics(struct http_request *rq)
{
    static const char *const types[] = {"application/openmetrics-text", NULL};
    static const char *const others[] = {"text/plain", NULL};
    int open = hd_http_prefers(rq, types, others);
    struct hd_strbuf body = HD_STRBUF_INIT;

    if (hd_http_metrics_text(rq->engine->http->rt->parts.metrics, open, &body)) {
        hd_strbuf_free(&body);
        hd_http_problem(rq, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory");
        return;
    }
    hd_http_answer(rq, MHD_HTTP_OK, open ? TYPE_OPEN : TYPE_TEXT, &body);
    hd_http_set_header(rq, MHD_HTTP_HEADER_VARY, "Accept");
}
