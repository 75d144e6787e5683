/*
 * What each kind of receiver is sent: Slack's and Mattermost's attachments, an Adaptive Card for Teams, an
 * event of PagerDuty's API v2, alerts of Alertmanager's API v2, or the message as it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert-webhook/alert-webhook.h"
#include "sinks/json.h"

#define SUMMARY_MAX 1024 /* PagerDuty's */
#define KEY_MAX     256
#define MS_PER_S    1000

static const char *color(const struct hd_alert_message *m)
{
    if (!m->firing && m->alert_count)
        return "#2eb886";
    return m->severity == HD_ALERT_PAGE ? "#d50200" : m->severity == HD_ALERT_WARNING ? "#daa038" : "#439fe0";
}

static json_t *slack(const struct hd_alert_message *m)
{
    return json_pack("{s:o, s:b, s:[{s:s, s:o, s:o, s:[], s:o, s:I}]}", "text", wh_slack_text(m->title),
                     "mrkdwn", 0, "attachments", "color", color(m), "fallback", wh_slack_text(m->title),
                     "text", wh_slack_text(m->text), "mrkdwn_in", "footer", wh_slack_text(m->host), "ts",
                     (json_int_t)(m->time_us / 1000000));
}

/* What stands in for the attachment in notifications is plain text. */
static json_t *mattermost(const struct hd_alert_message *m)
{
    return json_pack("{s:s, s:[{s:s, s:o, s:o, s:o, s:o}]}", "username", "howdah", "attachments", "color",
                     color(m), "fallback", sink_json_text(m->title), "title", wh_mattermost_text(m->title),
                     "text", wh_mattermost_text(m->text), "footer", sink_json_text(m->host));
}

static json_t *teams(const struct hd_alert_message *m)
{
    const char *shade = !m->firing && m->alert_count      ? "Good"
                        : m->severity == HD_ALERT_WARNING ? "Warning"
                        : m->severity == HD_ALERT_PAGE    ? "Attention"
                                                          : "Accent";
    json_t *body = json_array(), *card;

    if (!body || wh_teams_text(body, m->title, "Bolder", shade) ||
        wh_teams_text(body, m->text, "Default", "Default") ||
        wh_teams_text(body, m->host, "Lighter", "Default")) {
        json_decref(body);
        return NULL;
    }
    card = json_pack("{s:s, s:s, s:s, s:o}", "$schema", "http://adaptivecards.io/schemas/adaptive-card.json",
                     "type", "AdaptiveCard", "version", "1.4", "body", body);
    return json_pack("{s:s, s:[{s:s, s:o}]}", "type", "message", "attachments", "contentType",
                     "application/vnd.microsoft.card.adaptive", "content", card);
}

/* A group of one host is one incident there, with a key by which later messages find it: another host with
 * the same rules does not end it. It is over when all of the group is, what was silenced meanwhile, too. */
static json_t *pagerduty(const struct wh_conf *c, const struct hd_alert_message *m)
{
    static const char *const severities[] = {"info", "warning", "critical"};
    char summary[SUMMARY_MAX], key[KEY_MAX], time[32];
    json_t *payload;

    snprintf(summary, sizeof(summary), "%s", m->title);
    snprintf(key, sizeof(key), "%.200s/%s", m->host, m->group);
    sink_time(m->time_us, time);
    payload = json_pack("{s:o, s:o, s:s, s:s, s:s, s:{s:o, s:i}}", "summary", sink_json_text(summary),
                        "source", sink_json_text(m->host), "severity", severities[m->severity], "timestamp",
                        time, "component", "howdah", "custom_details", "alerts", sink_json_text(m->text),
                        "firing", (int)m->firing);
    return json_pack("{s:o, s:s, s:o, s:o}", "routing_key", sink_json_text(c->key.ptr), "event_action",
                     m->firing || m->open ? "trigger" : "resolve", "dedup_key", sink_json_text(key),
                     "payload", payload);
}

/* An alert that fires ends there by itself unless it is repeated. */
static json_t *prometheus_alert(const struct wh_conf *c, const struct hd_alert_message *m,
                                const struct hd_alert *a)
{
    json_t *labels = json_object();
    char since[32], until[32];
    int64_t hold_us = m->test ? 60000000 : c->hold * MS_PER_S;

    for (uint32_t i = 0; labels && i < a->label_count; i++)
        json_object_set_new(labels, a->labels[i].name, sink_json_text(a->labels[i].value));
    json_object_set_new(labels, "alertname", sink_json_text(a->rule));
    json_object_set_new(labels, "severity", json_string(sink_severity(a->severity)));
    json_object_set_new(labels, "howdah", sink_json_text(m->host));
    sink_time(a->since_us, since);
    sink_time(a->firing ? m->time_us + hold_us : a->until_us, until);
    return json_pack("{s:o, s:{s:o, s:s}, s:s, s:s}", "labels", labels, "annotations", "summary",
                     sink_json_text(a->summary), "id", a->id, "startsAt", since, "endsAt", until);
}

static json_t *alertmanager(const struct wh_conf *c, const struct hd_alert_message *m)
{
    json_t *all = json_array();

    for (uint32_t i = 0; all && i < m->alert_count; i++)
        json_array_append_new(all, prometheus_alert(c, m, &m->alerts[i]));
    return all;
}

json_t *wh_body(const struct wh_conf *c, const struct hd_alert_message *m)
{
    switch ((enum wh_format)c->format) {
    case WH_SLACK:
        return slack(m);
    case WH_MATTERMOST:
        return mattermost(m);
    case WH_TEAMS:
        return teams(m);
    case WH_PAGERDUTY:
        return pagerduty(c, m);
    case WH_ALERTMANAGER:
        return alertmanager(c, m);
    default:
        return sink_json_message(m);
    }
}
