/*
 * Messages as JSON; see json.h.
 */
#include "sinks/json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Length of the character at s; 0: the bytes are none. jansson knows. */
static size_t character(const char *s)
{
    for (size_t n = 1; n <= 4 && s[n - 1]; n++) {
        json_t *one = json_stringn(s, n);

        json_decref(one);
        if (one)
            return n;
    }
    return 0;
}

json_t *sink_json_text(const char *s)
{
    json_t *text = json_string(s);
    char *clean, *c;

    if (text)
        return text;
    clean = c = strdup(s);
    while (c && *c) {
        size_t n = character(c);

        if (!n)
            *c = '?';
        c += n ? n : 1;
    }
    text = clean ? json_string(clean) : NULL;
    free(clean);
    return text;
}

const char *sink_severity(uint32_t severity)
{
    static const char *const names[] = {"info", "warning", "page"};

    return names[severity <= HD_ALERT_PAGE ? severity : HD_ALERT_WARNING];
}

const char *sink_state(const struct hd_alert_message *m)
{
    return m->firing ? "firing" : m->alert_count ? "resolved" : "message";
}

void sink_time(int64_t us, char out[32])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    char text[24];

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 32, "%s.%03dZ", text, (int)(us / 1000 % 1000));
}

static json_t *time_text(int64_t us)
{
    char text[32];

    if (!us)
        return json_null();
    sink_time(us, text);
    return json_string(text);
}

static json_t *labels_of(const struct hd_alert *a)
{
    json_t *o = json_object();

    for (uint32_t i = 0; o && i < a->label_count; i++)
        json_object_set_new(o, a->labels[i].name, sink_json_text(a->labels[i].value));
    return o;
}

static json_t *alert(const struct hd_alert *a)
{
    return json_pack("{s:o, s:o, s:s, s:s, s:o, s:o, s:f, s:f, s:o, s:o, s:I, s:I}", "rule",
                     sink_json_text(a->rule), "id", sink_json_text(a->id), "state",
                     a->firing ? "firing" : "resolved", "severity", sink_severity(a->severity), "summary",
                     sink_json_text(a->summary), "labels", labels_of(a), "value", a->value, "threshold",
                     a->threshold, "since", time_text(a->since_us), "until", time_text(a->until_us),
                     "since_us", (json_int_t)a->since_us, "until_us", (json_int_t)a->until_us);
}

/* What somebody else has written: it is left out where it is no JSON object. */
static void add_figures(json_t *o, const char *text)
{
    json_t *figures = *text ? json_loads(text, 0, NULL) : NULL;

    if (json_is_object(figures))
        json_object_set(o, "figures", figures);
    json_decref(figures);
}

json_t *sink_json_message(const struct hd_alert_message *m)
{
    json_t *alerts = json_array(), *o;

    for (uint32_t i = 0; alerts && i < m->alert_count; i++)
        json_array_append_new(alerts, alert(&m->alerts[i]));
    o = json_pack("{s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:i, s:i, s:b, s:o, s:I, s:o}", "id",
                  sink_json_text(m->id), "group", sink_json_text(m->group), "host", sink_json_text(m->host),
                  "state", sink_state(m), "severity", sink_severity(m->severity), "title",
                  sink_json_text(m->title), "text", sink_json_text(m->text), "firing", (int)m->firing, "open",
                  (int)m->open, "test", (int)m->test, "time", time_text(m->time_us), "time_us",
                  (json_int_t)m->time_us, "alerts", alerts);
    if (o)
        add_figures(o, m->json);
    return o;
}

json_t *sink_json_whole(const struct hd_alert_message *m)
{
    json_t *o = sink_json_message(m);

    if (o && *m->body)
        json_object_set_new(o, "body", sink_json_text(m->body));
    if (o && *m->page)
        json_object_set_new(o, "page", sink_json_text(m->page));
    return o;
}
