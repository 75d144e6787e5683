/*
 * Messages; see message.h.
 */
#include "alerts/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TITLE_MAX  500
#define TEXT_MAX   8000
#define TEXT_LINES 40
#define BODY_MAX   65536
#define PAGE_MAX   524288
#define JSON_MAX   65536

static const char *const severities[] = {"info", "warning", "page"};

/* --- memory ----------------------------------------------------------------------------------------------
 */

static struct al_message *make(uint32_t alerts)
{
    struct al_message *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->refs = 1;
    m->memory = al_memory_new();
    m->m.size = sizeof(m->m);
    m->m.attempt = 1;
    m->m.body = m->m.page = m->m.json = "";
    m->m.alerts = m->memory ? al_memory_take(m->memory, (alerts + 1) * sizeof(struct hd_alert)) : NULL;
    if (!m->m.alerts) {
        al_message_unref(m);
        return NULL;
    }
    return m;
}

struct al_message *al_message_ref(struct al_message *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void al_message_unref(struct al_message *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) > 1)
        return;
    al_memory_free(m->memory);
    free(m);
}

/* Length without a character at the end that was cut. */
static size_t whole_length(const char *s)
{
    size_t len = strlen(s), at = len, wanted;

    while (at && len - at < 3 && (s[at - 1] & 0xc0) == 0x80)
        at--;
    if (!at || !(s[at - 1] & 0x80))
        return len;
    wanted = (s[at - 1] & 0xe0) == 0xc0 ? 2 : (s[at - 1] & 0xf0) == 0xe0 ? 3 : 4;
    return len - (at - 1) < wanted ? at - 1 : len;
}

/* A copy of a text, and "" where there is no memory for it. */
static const char *copy(struct al_message *m, const char *s)
{
    size_t len = whole_length(s);
    char *to = al_memory_take(m->memory, len + 1);

    return to ? memcpy(to, s, len) : "";
}

/* The same of at most `max` bytes; no character of UTF-8 is cut. */
static const char *copy_some(struct al_message *m, const char *s, size_t max)
{
    size_t n = strnlen(s, max);
    char *to;

    while (n && s[n] && (s[n] & 0xc0) == 0x80)
        n--;
    to = al_memory_take(m->memory, n + 1);
    if (!to)
        return "";
    memcpy(to, s, n);
    to[n] = '\0';
    return to;
}

/* Names may have line feeds in them, and make a line look like another's. */
static char *one_line(char *s)
{
    for (char *c = s; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    return s;
}

/* What makes no sense when it is cut: all of it, or nothing. */
static const char *copy_whole(struct al_message *m, const char *s, size_t max)
{
    return s && strnlen(s, max + 1) <= max ? copy(m, s) : "";
}

static struct hd_alert *add_alert(struct al_message *m)
{
    struct hd_alert *a = (struct hd_alert *)(uintptr_t)&m->m.alerts[m->m.alert_count++];

    a->size = sizeof(*a);
    return a;
}

/* Copies labels; none where there is no memory. */
static void copy_labels(struct al_message *m, struct hd_alert *a, const struct hd_label *from, uint32_t count)
{
    struct hd_label *to = al_memory_take(m->memory, (count + 1) * sizeof(*to));

    for (uint32_t i = 0; to && i < count; i++)
        to[i] = (struct hd_label){copy(m, from[i].name), copy(m, from[i].value)};
    a->labels = to;
    a->label_count = to ? count : 0;
}

/* --- texts -----------------------------------------------------------------------------------------------
 */

static void add_text(char *text, size_t *len, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add_text(char *text, size_t *len, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text + *len, TEXT_MAX - *len, format, args);
    va_end(args);
    *len += n > 0 ? (size_t)n : 0;
    if (*len >= TEXT_MAX)
        *len = TEXT_MAX - 1;
}

static void add_line(char *text, size_t *len, const struct hd_alert *a)
{
    size_t from = *len;

    add_text(text, len, "%s%s", a->firing ? "" : "over: ", a->rule);
    for (uint32_t i = 0; i < a->label_count; i++)
        add_text(text, len, "%s%s=%s", i ? ", " : " {", a->labels[i].name, a->labels[i].value);
    add_text(text, len, "%s: %s", a->label_count ? "}" : "", a->summary);
    one_line(text + from);
    add_text(text, len, "\n");
}

/* Counts, the title and the text, from the alerts. */
static void describe(struct al_message *m, const char *title, int repeat)
{
    char text[TEXT_MAX], head[600];
    size_t len = 0;
    uint32_t worst[2] = {0};

    text[0] = '\0';
    for (uint32_t i = 0; i < m->m.alert_count; i++) {
        const struct hd_alert *a = &m->m.alerts[i];

        m->m.firing += a->firing;
        if (a->severity > worst[a->firing])
            worst[a->firing] = a->severity;
        if (i < TEXT_LINES)
            add_line(text, &len, a);
    }
    if (m->m.alert_count > TEXT_LINES)
        add_text(text, &len, "and %u more\n", m->m.alert_count - TEXT_LINES);
    if (!m->m.firing && m->m.open)
        add_text(text, &len, "%u of which nothing is said now are not over\n", m->m.open);
    m->m.severity = worst[m->m.firing > 0];
    if (m->m.firing)
        snprintf(head, sizeof(head), "%s%s: %s (%u)", severities[m->m.severity], repeat ? ", still" : "",
                 title, m->m.firing);
    else
        snprintf(head, sizeof(head), "over: %s (%u)", title, m->m.alert_count);
    m->m.title = copy(m, one_line(head));
    m->m.text = copy(m, text);
}

static void name(struct al_message *m, const char *group, const char *host, int64_t wall_us, uint64_t seed)
{
    char id[17];
    uint64_t h = al_hash(al_hash(seed ^ (uint64_t)wall_us, group), host);

    snprintf(id, sizeof(id), "%016llx", (unsigned long long)h);
    m->m.id = copy(m, id);
    m->m.group = copy(m, group);
    m->m.host = copy(m, host);
    m->m.time_us = wall_us;
}

/* --- making ----------------------------------------------------------------------------------------------
 */

struct al_message *al_message_new(const struct al_group *g, struct al_alert *const *alerts, uint32_t count,
                                  int repeat, const char *host, int64_t wall_us, uint64_t seed)
{
    struct al_message *m = make(count);

    if (!m)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct al_alert *from = alerts[i];
        struct hd_alert *a = add_alert(m);

        a->severity = from->severity;
        a->firing = from->state == AL_FIRING;
        a->rule = copy(m, from->rule_name);
        a->id = copy(m, from->id);
        a->summary = copy(m, from->summary);
        copy_labels(m, a, from->labels->at, from->labels->count);
        a->value = from->value;
        a->threshold = from->threshold;
        a->since_us = from->started_us;
        a->until_us = from->ended_us;
    }
    m->m.open = g->open;
    name(m, g->id, host, wall_us, seed);
    describe(m, g->title, repeat);
    return m;
}

struct al_message *al_message_test(const char *host, int64_t wall_us, uint64_t seed)
{
    struct al_message *m = make(1);
    struct hd_alert *a;

    if (!m)
        return NULL;
    a = add_alert(m);
    a->severity = HD_ALERT_INFO;
    a->firing = 1;
    a->rule = "test";
    a->id = "0000000000000000";
    a->summary = "somebody wants to know whether this arrives; nothing is wrong";
    a->labels = (const struct hd_label *)(const void *)m->m.alerts;
    a->since_us = wall_us;
    m->m.test = m->m.open = 1;
    name(m, "test", host, wall_us, seed);
    describe(m, "test", 0);
    return m;
}

struct al_message *al_message_words(const struct hd_alert_words *words, int at_length, const char *host,
                                    int64_t wall_us, uint64_t seed)
{
    struct al_message *m = make(0);
    char title[TITLE_MAX + 1];

    if (!m)
        return NULL;
    name(m, "words", host, wall_us, seed);
    snprintf(title, sizeof(title), "%s", copy_some(m, words->title, TITLE_MAX));
    m->m.title = copy(m, one_line(title));
    m->m.text = copy_some(m, words->text ? words->text : "", TEXT_MAX);
    m->m.json = copy_whole(m, words->json, JSON_MAX);
    if (at_length) {
        m->m.body = copy_some(m, words->body ? words->body : "", BODY_MAX);
        m->m.page = copy_whole(m, words->page, PAGE_MAX);
    }
    m->long_bytes = strlen(m->m.body) + strlen(m->m.page);
    return m;
}

/* --- from JSON -------------------------------------------------------------------------------------------
 */

static const char *text_of(struct al_message *m, const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return copy(m, s ? s : "");
}

static uint32_t severity_of(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "severity"));

    for (uint32_t i = 0; s && i <= HD_ALERT_PAGE; i++)
        if (strcmp(s, severities[i]) == 0)
            return i;
    return HD_ALERT_WARNING;
}

static int fires(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "state"));

    return s && strcmp(s, "firing") == 0;
}

static void alert_from(struct al_message *m, const json_t *o)
{
    struct hd_label labels[AL_LABELS_MAX];
    struct hd_alert *a = add_alert(m);
    uint32_t count = 0;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)json_object_get(o, "labels"), key, value)
    {
        if (count < AL_LABELS_MAX && json_string_value(value))
            labels[count++] = (struct hd_label){key, json_string_value(value)};
    }
    copy_labels(m, a, labels, count);
    a->severity = severity_of(o);
    a->firing = (uint32_t)fires(o);
    a->rule = text_of(m, o, "rule");
    a->id = text_of(m, o, "id");
    a->summary = text_of(m, o, "summary");
    a->value = json_number_value(json_object_get(o, "value"));
    a->threshold = json_number_value(json_object_get(o, "threshold"));
    a->since_us = json_integer_value(json_object_get(o, "since_us"));
    a->until_us = json_integer_value(json_object_get(o, "until_us"));
}

static const char *figures_from(struct al_message *m, const json_t *o)
{
    char *text = json_is_object(o) ? json_dumps(o, JSON_COMPACT) : NULL;
    const char *figures = text ? copy(m, text) : "";

    free(text);
    return figures;
}

struct al_message *al_message_from_json(const json_t *o)
{
    const json_t *alerts = json_object_get(o, "alerts");
    struct al_message *m = json_is_array(alerts) ? make((uint32_t)json_array_size(alerts)) : NULL;

    if (!m)
        return NULL;
    for (size_t i = 0; i < json_array_size(alerts); i++)
        alert_from(m, json_array_get(alerts, i));
    m->m.id = text_of(m, o, "id");
    m->m.group = text_of(m, o, "group");
    m->m.host = text_of(m, o, "host");
    m->m.title = text_of(m, o, "title");
    m->m.text = text_of(m, o, "text");
    m->m.body = text_of(m, o, "body");
    m->m.page = text_of(m, o, "page");
    m->m.json = figures_from(m, json_object_get(o, "figures"));
    m->long_bytes = strlen(m->m.body) + strlen(m->m.page);
    m->m.severity = severity_of(o);
    m->m.firing = (uint32_t)json_integer_value(json_object_get(o, "firing"));
    m->m.time_us = json_integer_value(json_object_get(o, "time_us"));
    m->m.open = (uint32_t)json_integer_value(json_object_get(o, "open"));
    return m;
}

int al_message_delivered(struct al_message *m, const char *target)
{
    for (uint32_t i = 0; i < m->target_count; i++)
        if (strcmp(m->targets[i], target) == 0) {
            memmove(m->targets[i], m->targets[--m->target_count], AL_TARGET_MAX);
            return 1;
        }
    return 0;
}
