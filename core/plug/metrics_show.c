/*
 * SHOW METRICS.
 */
#include "plug/metrics.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "plug/commands.h"

static void show_labels(hd_result *r, const struct hd_metric_view *v)
{
    struct hd_strbuf b = HD_STRBUF_INIT;

    for (uint32_t i = 0; i < v->label_count; i++)
        hd_strbuf_printf(&b, "%s%s=%s", i ? "," : "", v->labels[i].name, v->labels[i].value);
    hd_result_cstr(r, hd_strbuf_str(&b));
    hd_strbuf_free(&b);
}

static void show_numbers(hd_result *r, const struct hd_metric_view *v)
{
    if (v->type != HD_METRIC_SKETCH) {
        hd_result_real(r, v->number);
        for (int i = 0; i < 6; i++)
            hd_result_null(r);
        return;
    }
    hd_result_null(r);
    hd_result_integer(r, (int64_t)v->count);
    hd_result_real(r, v->count ? v->sum / (double)v->count : 0);
    hd_result_real(r, v->p50);
    hd_result_real(r, v->p95);
    hd_result_real(r, v->p99);
    hd_result_real(r, v->max);
}

static int32_t show_metrics(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const char *const types[] = {"", "counter", "gauge", "sketch"};
    hd_result *r = call->result;
    struct hd_metrics_snapshot s;

    if (hd_metrics_snapshot(arg, call->arg_count ? call->args[0].ptr : NULL, &s))
        return hd_fail(err, HD_ENOMEM, "no memory for the metrics");
    hd_result_columns(r, "name", HD_COL_TEXT, "labels", HD_COL_TEXT, "type", HD_COL_TEXT, "value",
                      HD_COL_REAL, "count", HD_COL_INT, "mean", HD_COL_REAL, "p50", HD_COL_REAL, "p95",
                      HD_COL_REAL, "p99", HD_COL_REAL, "max", HD_COL_REAL, NULL);
    for (size_t i = 0; i < s.count; i++) {
        const struct hd_metric_view *v = &s.views[i];

        hd_result_cstr(r, v->name);
        show_labels(r, v);
        hd_result_cstr(r, types[v->type]);
        show_numbers(r, v);
    }
    hd_metrics_snapshot_free(&s);
    return HD_OK;
}

int hd_metrics_add_commands(struct hd_metrics *m, struct hd_commands *commands, struct hd_error *err)
{
    return hd_commands_add(commands, NULL, "SHOW METRICS", "[PART OF A NAME]",
                           "Counters, gauges and distributions", HD_CMDF_READ_ONLY, show_metrics, m, err);
}
