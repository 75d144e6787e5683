/*
 * The plugin "alert-webhook" as its files share it.
 */
#ifndef ALERT_WEBHOOK_H
#define ALERT_WEBHOOK_H

#include <jansson.h>

#include "sinks/base.h"

enum wh_format { WH_GENERIC, WH_SLACK, WH_MATTERMOST, WH_TEAMS, WH_PAGERDUTY, WH_ALERTMANAGER };

/* [webhook NAME] */
struct wh_conf {
    struct hd_str url, key, secret, authorization, ca_file, proxy;
    int32_t format, verify;
    int64_t hold;
};

/* What is sent; NULL: no memory. */
json_t *wh_body(const struct wh_conf *c, const struct hd_alert_message *m);

/* markup.c: texts as they are, whatever the receiver takes for markup; NULL: no memory. */

json_t *wh_slack_text(const char *s);
json_t *wh_mattermost_text(const char *s);
/* Adds blocks of an Adaptive Card, one for each line. 0, or -1: no memory. */
int wh_teams_text(json_t *blocks, const char *s, const char *weight, const char *shade);

#endif
