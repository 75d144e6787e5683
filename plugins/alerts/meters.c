/* The metrics of the alerts themselves. */
#include <howdah/howdah.h>
#include <stdio.h>

#include "alerts/alerts.h"

void al_meters_find(struct al *self)
{
    const struct {
        int64_t *id;
        uint32_t type;
        const char *name, *help;
    } all[] = {
        {&self->metric_pending, HD_METRIC_GAUGE, "howdah_alerts_pending", "Alerts that may fire soon"},
        {&self->metric_firing, HD_METRIC_GAUGE, "howdah_alerts_firing", "Alerts that fire"},
        {&self->metric_waiting, HD_METRIC_GAUGE, "howdah_alert_messages_waiting",
         "Messages that some target has not taken yet; bound: max_messages"},
        {&self->metric_pages, HD_METRIC_GAUGE, "howdah_alert_page_bytes",
         "What messages that wait say at length, in reports and pages; bound: max_pages"},
        {&self->metric_series, HD_METRIC_GAUGE, "howdah_alert_series",
         "Series that rules look at; bound: max_series"},
        {&self->metric_silences, HD_METRIC_GAUGE, "howdah_alert_silences",
         "Silences that hold; bound: max_silences"},
        {&self->metric_no_data, HD_METRIC_GAUGE, "howdah_alert_rules_without_data",
         "Rules whose metrics are not there"},
        {&self->metric_refused, HD_METRIC_COUNTER, "howdah_alert_refused_total",
         "Series and alerts past max_series, max_baselines or max_alerts, each time that they are met"},
        {&self->metric_save_failures, HD_METRIC_COUNTER, "howdah_alert_state_failures_total",
         "Times that the state file could not be written"},
        {&self->metric_seconds, HD_METRIC_SKETCH, "howdah_alert_evaluation_seconds",
         "Time that looking at all rules has taken"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        *all[i].id = self->metrics->get(self->host, all[i].type, all[i].name, all[i].help, NULL, 0);
}

static void set_queue(struct al *self, const char *target, int64_t waiting)
{
    struct hd_label label = {"target", target};
    int64_t id = self->metrics->get(self->host, HD_METRIC_GAUGE, "howdah_alert_queue",
                                    "Messages that wait for a target; bound: max_queue", &label, 1);

    self->metrics->set(self->host, id, waiting);
}

/* What waits for each target; 0 for those that have gone. */
static void set_queues(struct al *self)
{
    struct al_parts now = {.count = 0};
    struct al_lane_stats s;

    for (uint32_t i = 0; al_lanes_stats(&self->lanes, i, &s) && now.count < AL_PARTS_MAX; i++) {
        set_queue(self, s.name, s.waiting + (uint32_t)s.busy);
        snprintf(now.names[now.count++], AL_TARGET_MAX, "%s", s.name);
    }
    for (uint32_t i = 0; i < self->queues.count; i++)
        if (!al_lanes_has(&self->lanes, self->queues.names[i]))
            set_queue(self, self->queues.names[i], 0);
    self->queues = now;
}

void al_meters_set(struct al *self, uint64_t ns)
{
    const struct hd_metrics_v1 *m = self->metrics;
    const struct al_engine *e = &self->engine;
    int64_t pending = 0, firing = 0, no_data = 0;
    uint64_t refused = e->refused + e->budget.refused;

    for (const struct al_alert *a = e->alerts; a; a = a->next) {
        pending += a->state == AL_PENDING;
        firing += a->state == AL_FIRING;
    }
    for (uint32_t i = 0; i < e->rule_count; i++)
        no_data += e->rules[i].conf->enabled && !e->rules[i].values;
    m->set(self->host, self->metric_pending, pending);
    m->set(self->host, self->metric_firing, firing);
    m->set(self->host, self->metric_silences, e->silence_count);
    m->set(self->host, self->metric_no_data, no_data);
    m->set(self->host, self->metric_waiting, self->outbox_count);
    m->set(self->host, self->metric_pages, (int64_t)self->outbox_bytes);
    set_queues(self);
    m->set(self->host, self->metric_series, e->budget.series);
    m->add(self->host, self->metric_refused, (int64_t)(refused - self->refused_told));
    m->observe(self->host, self->metric_seconds, ns);
    self->refused_told = refused;
}
