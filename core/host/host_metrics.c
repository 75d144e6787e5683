/*
 * Metrics of the host as a whole; see host_metrics.h.
 */
#include "host/host_metrics.h"

#include <howdah/plugin.h>
#include <string.h>

#include "base/log.h"
#include "host/upgrade.h"
#include "plug/metrics.h"

static void set_labelled(struct hd_metrics *m, const char *name, const char *help, const char *label,
                         const char *of, int64_t value)
{
    const struct hd_label l = {label, of};
    int64_t id = hd_metrics_get(m, NULL, HD_METRIC_GAUGE, name, help, &l, of != NULL);

    if (id < 0)
        hd_log(HD_LOG_WARNING, "a metric cannot be kept", HD_KV("metric", name), HD_KV(label, of ? of : ""));
    else
        hd_metrics_set(m, id, value);
}

/* A gauge of one plugin's, or the host's where that is NULL. */
static void set(struct hd_metrics *m, const char *name, const char *help, const char *plugin, int64_t value)
{
    set_labelled(m, name, help, "plugin", plugin, value);
}

void hd_host_metrics_node(struct hd_metrics *m, const struct hd_event_node *ev)
{
    set_labelled(m, "howdah_node_up", "1: the node answered the host's last ping; 0: it did not", "node",
                 ev->node, ev->up);
}

void hd_host_metrics_node_gone(struct hd_metrics *m, const char *node)
{
    const struct hd_label l = {"node", node};

    hd_metrics_drop(m, hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "howdah_node_up", "", &l, 1));
}

void hd_host_metrics_plugin(struct hd_metrics *m, const struct hd_event_plugin *ev)
{
    static const char name[] = "howdah_plugin_up";
    const struct hd_label l = {"plugin", ev->plugin};
    int up = !strcmp(ev->state, "running") || !strcmp(ev->state, "observing");

    if (up || ev->mode != HD_MODE_OFF)
        set(m, name,
            "1: the plugin runs or observes; 0: it should, but is quarantined, refused or left out; one that "
            "is switched off has no value",
            ev->plugin, up);
    else
        hd_metrics_drop(m, hd_metrics_get(m, NULL, HD_METRIC_GAUGE, name, "", &l, 1));
}

void hd_host_metrics_crashes(struct hd_metrics *m, const char *plugin, uint32_t times)
{
    set(m, "howdah_plugin_crashes",
        "Hosts that have crashed in the plugin, until it is enabled again; past 1 it is left out", plugin,
        (int64_t)times);
}

static void one(void *m, const char *plugin, uint32_t times)
{
    hd_host_metrics_crashes(m, plugin, times);
}

void hd_host_metrics_start(struct hd_metrics *m, const struct hd_supervised *s)
{
    set(m, "howdah_generation", "Which host this is since the supervisor started, counted from 1", NULL,
        hd_supervised_generation(s));
    set(m, "howdah_crashes", "Hosts that have crashed since the supervisor started", NULL,
        hd_supervised_crashes(s));
    hd_supervised_each_blamed(s, one, m);
}
