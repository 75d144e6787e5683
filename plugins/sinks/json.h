/*
 * Messages of alerts as JSON: what webhooks and programs get, and what is kept of those that are not
 * delivered yet.
 */
#ifndef SINKS_JSON_H
#define SINKS_JSON_H

#include <howdah/alert_sink.h>
#include <jansson.h>

/* A text as JSON; bytes that are no UTF-8 become question marks. NULL: no memory. */
json_t *sink_json_text(const char *s);
/* "info", "warning" or "page". */
const char *sink_severity(uint32_t severity);
/* "firing", "resolved", or "message" of one without alerts. */
const char *sink_state(const struct hd_alert_message *m);
/* 2026-01-31T12:00:00.000Z */
void sink_time(int64_t us, char out[32]);

/* The message, but for what it says at length. NULL: no memory. */
json_t *sink_json_message(const struct hd_alert_message *m);
/* All of it. */
json_t *sink_json_whole(const struct hd_alert_message *m);

#endif
