/*
 * Metrics as plugins see them: "howdah.metrics/1".
 */
#include "plug/metrics.h"

#include "plug/owners.h"
#include "plug/services.h"

static int64_t get(hd_host *host, uint32_t type, const char *name, const char *help,
                   const struct hd_label *labels, uint32_t label_count);
static void add(hd_host *host, int64_t id, int64_t delta);
static void set(hd_host *host, int64_t id, int64_t value);
static void observe(hd_host *host, int64_t id, uint64_t value);
static int64_t value(hd_host *host, int64_t id);
static double quantile(hd_host *host, int64_t id, double q);
static void drop(hd_host *host, int64_t id);
static int32_t each(hd_host *host, const char *prefix, int32_t (*fn)(void *, const struct hd_metric_seen *),
                    void *arg);
static int32_t bins(hd_host *host, int64_t id, struct hd_metric_bins *out);
static double bins_quantile(hd_host *host, const struct hd_metric_bins *b, double q);
static void on_gone(hd_host *host);

static const struct hd_metrics_v1 vtable = {
    .size = sizeof(vtable),
    .get = get,
    .add = add,
    .set = set,
    .observe = observe,
    .value = value,
    .quantile = quantile,
    .drop = drop,
    .each = each,
    .bins = bins,
    .bins_quantile = bins_quantile,
};

static struct hd_metrics *served;
static struct hd_owners owners = HD_OWNERS_INIT(owners, on_gone);

static void on_gone(hd_host *host)
{
    hd_metrics_drop_owner(served, host);
}

static int64_t get(hd_host *host, uint32_t type, const char *name, const char *help,
                   const struct hd_label *labels, uint32_t label_count)
{
    int code = hd_owners_add(&owners, host);

    return code ? code : hd_metrics_get(served, host, type, name, help, labels, label_count);
}

static void add(hd_host *host, int64_t id, int64_t delta)
{
    (void)host;
    hd_metrics_add(served, id, delta);
}

static void set(hd_host *host, int64_t id, int64_t v)
{
    (void)host;
    hd_metrics_set(served, id, v);
}

static void observe(hd_host *host, int64_t id, uint64_t v)
{
    (void)host;
    hd_metrics_observe(served, id, v);
}

static int64_t value(hd_host *host, int64_t id)
{
    (void)host;
    return hd_metrics_value(served, id);
}

static double quantile(hd_host *host, int64_t id, double q)
{
    (void)host;
    return hd_metrics_quantile(served, id, q);
}

static void drop(hd_host *host, int64_t id)
{
    (void)host;
    hd_metrics_drop(served, id);
}

static int32_t each(hd_host *host, const char *prefix, int32_t (*fn)(void *, const struct hd_metric_seen *),
                    void *arg)
{
    (void)host;
    return hd_metrics_each(served, prefix, fn, arg);
}

static int32_t bins(hd_host *host, int64_t id, struct hd_metric_bins *out)
{
    (void)host;
    return hd_metrics_bins(served, id, out);
}

static double bins_quantile(hd_host *host, const struct hd_metric_bins *b, double q)
{
    (void)host;
    return hd_metrics_bins_quantile(b, q);
}

int hd_metrics_serve(struct hd_metrics *m)
{
    served = m;
    return hd_service_add(HD_SERVICE_METRICS, &vtable);
}
