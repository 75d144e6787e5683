/*
 * What is kept over a restart, as JSON: alerts and what was told of them, groups, silences, and messages that
 * are not delivered yet; and baselines, as bytes. Moments are kept as how long ago they were, so that a clock
 * that jumps moves none of them.
 */
#include <howdah/howdah.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alerts/alerts.h"
#include "sinks/json.h"

#define STATE_VERSION 1
#define NEVER         (-1)
#define HISTORY_MARK  "HDALERT1"

/* --- moments ---------------------------------------------------------------------------------------------
 */

/* Milliseconds ago; NEVER for 0. */
static json_int_t ago(const struct al_engine *e, uint64_t ms)
{
    return ms ? (json_int_t)(e->now_ms - ms) : NEVER;
}

static uint64_t since(const struct al_engine *e, const json_t *o, const char *key, uint64_t away_ms)
{
    const json_t *v = json_object_get(o, key);
    json_int_t ms = json_integer_value(v);
    uint64_t back = (uint64_t)ms + away_ms;

    if (!json_is_integer(v) || ms < 0)
        return 0;
    return back < e->now_ms ? e->now_ms - back : 1;
}

/* --- writing ---------------------------------------------------------------------------------------------
 */

static json_t *labels_json(const struct al_labels *l)
{
    json_t *o = json_object();

    for (uint32_t i = 0; o && i < l->count; i++)
        json_object_set_new(o, l->at[i].name, sink_json_text(l->at[i].value));
    return o;
}

static json_t *alert_json(const struct al_engine *e, const struct al_alert *a)
{
    json_t *changes = json_array();

    for (int i = 0; changes && i < AL_CHANGES; i++)
        json_array_append_new(changes, json_integer(ago(e, a->changes[i])));
    return json_pack("{s:o, s:o, s:s, s:o, s:i, s:i, s:i, s:I, s:I, s:I, s:o, s:I, s:I, s:f, s:f}", "rule",
                     sink_json_text(a->rule_name), "labels", labels_json(a->labels), "group", a->group->id,
                     "summary", sink_json_text(a->summary), "state", (int)a->state, "told", (int)a->told,
                     "severity", (int)a->severity, "since", ago(e, a->since_ms), "clear", ago(e, a->clear_ms),
                     "data", ago(e, a->data_ms), "changes", changes, "started_us", (json_int_t)a->started_us,
                     "ended_us", (json_int_t)a->ended_us, "value", a->value, "threshold", a->threshold);
}

static json_t *alerts_json(const struct al_engine *e)
{
    json_t *all = json_array();

    for (const struct al_alert *a = e->alerts; all && a; a = a->next)
        json_array_append_new(all, alert_json(e, a));
    return all;
}

static json_t *groups_json(const struct al_engine *e)
{
    json_t *all = json_array();

    for (const struct al_group *g = e->groups; all && g; g = g->next)
        json_array_append_new(all, json_pack("{s:s, s:o, s:o, s:I, s:I, s:I}", "id", g->id, "title",
                                             sink_json_text(g->title), "sinks", sink_json_text(g->sinks),
                                             "repeat", (json_int_t)g->repeat_ms, "need", ago(e, g->need_ms),
                                             "sent", g->sent ? ago(e, g->sent_ms) : (json_int_t)NEVER));
    return all;
}

static json_t *silences_json(const struct al_engine *e)
{
    json_t *all = json_array();

    for (uint32_t i = 0; all && i < e->silence_count; i++) {
        const struct al_silence *s = &e->silences[i];

        json_array_append_new(all, json_pack("{s:s, s:o, s:o, s:o, s:I, s:I}", "id", s->id, "matchers",
                                             sink_json_text(s->matchers), "comment",
                                             sink_json_text(s->comment), "user", sink_json_text(s->user),
                                             "left", (json_int_t)(s->until_ms - e->now_ms), "made_us",
                                             (json_int_t)s->made_us));
    }
    return all;
}

static json_t *outbox_json(const struct al *self)
{
    json_t *all = json_array();

    for (const struct al_message *m = self->outbox; all && m; m = m->next) {
        json_t *targets = json_array();

        for (uint32_t i = 0; targets && i < m->target_count; i++)
            json_array_append_new(targets, sink_json_text(m->targets[i]));
        json_array_append_new(all, json_pack("{s:o, s:I, s:o}", "targets", targets, "left",
                                             (json_int_t)(m->expires_ms - self->engine.now_ms), "message",
                                             sink_json_whole(&m->m)));
    }
    return all;
}

char *al_state_text(struct al *self)
{
    const struct al_engine *e = &self->engine;
    json_t *o = json_pack("{s:i, s:I, s:o, s:o, s:o, s:o}", "version", STATE_VERSION, "saved_us",
                          (json_int_t)e->wall_us, "groups", groups_json(e), "alerts", alerts_json(e),
                          "silences", silences_json(e), "outbox", outbox_json(self));
    char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;

    json_decref(o);
    return text;
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static void load_group(struct al_engine *e, const json_t *o, uint64_t away_ms)
{
    struct al_group *g = al_group_make(e, text_of(o, "id"), text_of(o, "title"), text_of(o, "sinks"));

    if (!g)
        return;
    g->repeat_ms = (uint64_t)json_integer_value(json_object_get(o, "repeat"));
    g->need_ms = since(e, o, "need", away_ms);
    g->sent_ms = since(e, o, "sent", away_ms);
    g->sent = g->sent_ms > 0;
}

static struct al_labels *load_labels(const json_t *o)
{
    struct hd_label labels[AL_LABELS_MAX];
    uint32_t count = 0;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        if (count < AL_LABELS_MAX && json_string_value(value))
            labels[count++] = (struct hd_label){key, json_string_value(value)};
    }
    return al_labels_new(labels, count);
}

/* An alert whose rule is gone stays in the group that it was in, where its end can be told. */
static void regroup(struct al_engine *e, struct al_alert *a, const char *group)
{
    struct al_group *g = a->rule ? NULL : al_group_find(e, group);

    if (!g || g == a->group)
        return;
    a->group->members--;
    a->group = g;
    g->members++;
}

static int in_range(const json_t *o, const char *key, int most)
{
    json_int_t v = json_integer_value(json_object_get(o, key));

    return v < 0 || v > most ? 0 : (int)v;
}

static void load_alert(struct al_engine *e, const json_t *o, uint64_t away_ms)
{
    const char *name = text_of(o, "rule");
    struct al_labels *labels = load_labels(json_object_get(o, "labels"));
    struct al_alert *a = labels && *name ? al_engine_alert(e, al_engine_rule(e, name), name, labels) : NULL;
    const json_t *changes = json_object_get(o, "changes");

    free(labels);
    if (!a)
        return;
    regroup(e, a, text_of(o, "group"));
    snprintf(a->summary, sizeof(a->summary), "%s", text_of(o, "summary"));
    a->state = (enum al_state)in_range(o, "state", AL_RESOLVED);
    a->told = (enum al_told)in_range(o, "told", AL_TOLD_RESOLVED);
    if (!a->rule)
        a->severity = (uint32_t)in_range(o, "severity", HD_ALERT_PAGE);
    a->since_ms = since(e, o, "since", away_ms);
    a->clear_ms = 0; /* it has to be clear for the whole time again: nobody has looked meanwhile */
    a->data_ms = since(e, o, "data", 0);
    for (size_t i = 0; i < AL_CHANGES; i++) {
        json_int_t ms = json_integer_value(json_array_get(changes, i));

        a->changes[i] =
            ms >= 0 && (uint64_t)ms + away_ms < e->now_ms ? e->now_ms - (uint64_t)ms - away_ms : 0;
    }
    a->started_us = json_integer_value(json_object_get(o, "started_us"));
    a->ended_us = json_integer_value(json_object_get(o, "ended_us"));
    a->value = json_number_value(json_object_get(o, "value"));
    a->threshold = json_number_value(json_object_get(o, "threshold"));
    if (a->state == AL_PENDING)
        a->since_ms = e->now_ms;
}

/* One that holds no more, or cannot be read, is left out, and the latter told. */
static void load_silence(struct al *self, const json_t *o, uint64_t away_ms)
{
    json_int_t left = json_integer_value(json_object_get(o, "left"));
    struct hd_error err = HD_ERROR_INIT;
    struct al_engine *e = &self->engine;

    if (left <= 0 || (uint64_t)left <= away_ms)
        return;
    if (!al_silence_add(e, text_of(o, "matchers"), text_of(o, "comment"), hd_str_of(text_of(o, "user")),
                        e->now_ms + (uint64_t)left - away_ms,
                        json_integer_value(json_object_get(o, "made_us")), &err)) {
        al_log(self, HD_LEVEL_WARNING, "a silence holds no more", "matchers", text_of(o, "matchers"),
               "reason", err.text);
        return;
    }
    snprintf(e->silences[e->silence_count - 1].id, sizeof(e->silences->id), "%s", text_of(o, "id"));
}

/* What had no time left is tried once more. */
static void load_message(struct al *self, const json_t *o, uint64_t away_ms)
{
    struct al_message *m = al_message_from_json(json_object_get(o, "message"));
    const json_t *targets = json_object_get(o, "targets");
    json_int_t left = json_integer_value(json_object_get(o, "left"));

    if (!m)
        return;
    m->expires_ms = self->engine.now_ms;
    if (left > 0 && (uint64_t)left > away_ms)
        m->expires_ms += (uint64_t)left - away_ms;
    for (size_t i = 0; i < json_array_size(targets) && i < AL_TARGETS_MAX; i++) {
        const char *name = json_string_value(json_array_get(targets, i));

        if (name)
            snprintf(m->targets[m->target_count++], AL_TARGET_MAX, "%s", name);
    }
    al_outbox_restore(self, m);
}

int32_t al_state_load(struct al *self, const char *text, uint64_t *away_ms)
{
    struct al_engine *e = &self->engine;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *each;
    int64_t away;
    size_t i;

    if (json_integer_value(json_object_get(o, "version")) != STATE_VERSION) {
        json_decref(o);
        return HD_EPROTO;
    }
    /* A clock that was set back meanwhile says nothing. */
    away = e->wall_us - json_integer_value(json_object_get(o, "saved_us"));
    *away_ms = away > 0 ? (uint64_t)away / 1000 : 0;
    json_array_foreach(json_object_get(o, "groups"), i, each) load_group(e, each, *away_ms);
    json_array_foreach(json_object_get(o, "alerts"), i, each) load_alert(e, each, *away_ms);
    json_array_foreach(json_object_get(o, "silences"), i, each) load_silence(self, each, *away_ms);
    json_array_foreach(json_object_get(o, "outbox"), i, each) load_message(self, each, *away_ms);
    al_engine_settle(e);
    json_decref(o);
    return HD_OK;
}

/* --- baselines -------------------------------------------------------------------------------------------
 */

struct head {
    char mark[8];
    uint32_t entry_size, count;
    uint64_t check; /* of the entries */
};

struct entry {
    char rule[HD_EVENT_NAME];
    char id[17];
    char padding[7];
    struct al_baseline baseline; /* last_ms is how long ago */
};

static uint64_t check_of(const char *bytes, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return h;
}

char *al_history_bytes(struct al *self, size_t *size)
{
    const struct al_engine *e = &self->engine;
    struct head head = {.entry_size = sizeof(struct entry), .count = e->budget.baselines};
    char *bytes = head.count ? calloc(1, sizeof(head) + head.count * sizeof(struct entry)) : NULL;
    struct entry *to = bytes ? (struct entry *)(void *)(bytes + sizeof(head)) : NULL;

    if (!bytes)
        return NULL;
    for (uint32_t r = 0; r < e->rule_count; r++)
        for (const struct al_known *k = e->rules[r].known; k; k = k->next, to++) {
            snprintf(to->rule, sizeof(to->rule), "%s", e->rules[r].name);
            memcpy(to->id, k->id, sizeof(to->id));
            to->baseline = k->baseline;
            to->baseline.last_ms = e->now_ms - k->baseline.last_ms;
        }
    memcpy(head.mark, HISTORY_MARK, sizeof(head.mark));
    head.check = check_of(bytes + sizeof(head), head.count * sizeof(struct entry));
    memcpy(bytes, &head, sizeof(head));
    *size = sizeof(head) + head.count * sizeof(struct entry);
    return bytes;
}

int32_t al_history_load(struct al *self, const char *bytes, size_t size, uint64_t away_ms)
{
    struct al_engine *e = &self->engine;
    struct head head;
    struct entry one;

    if (size < sizeof(head))
        return HD_EPROTO;
    memcpy(&head, bytes, sizeof(head));
    if (memcmp(head.mark, HISTORY_MARK, sizeof(head.mark)) != 0 || head.entry_size != sizeof(struct entry) ||
        (size - sizeof(head)) / sizeof(struct entry) != head.count ||
        check_of(bytes + sizeof(head), size - sizeof(head)) != head.check)
        return HD_EPROTO;
    for (uint32_t i = 0; i < head.count; i++) {
        struct al_rule *rule;
        struct al_baseline *b;

        memcpy(&one, bytes + sizeof(head) + i * sizeof(one), sizeof(one));
        one.rule[sizeof(one.rule) - 1] = one.id[sizeof(one.id) - 1] = '\0';
        rule = al_engine_rule(e, one.rule);
        b = rule && rule->conf->type == AL_ANOMALY ? al_rule_baseline(rule, one.id, &e->budget) : NULL;
        if (!b)
            continue;
        *b = one.baseline;
        b->last_ms += away_ms;
        b->last_ms = b->last_ms < e->now_ms ? e->now_ms - b->last_ms : 0;
    }
    return HD_OK;
}
