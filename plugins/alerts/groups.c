/*
 * Groups: which alerts come in one message, what of them is not said, and when; see engine.h.
 *
 * An alert that fires and is over again and again is told at most twice, by its first change and the next;
 * then only when it has stayed for flap_hold. The end of what was told is always told, so that nobody waits
 * for it: neither silence nor inhibition holds it back.
 */
#include "alerts/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 1024

static void free_group(struct al_group *g)
{
    free(g->title);
    free(g->sinks);
    free(g);
}

/* --- which group -----------------------------------------------------------------------------------------
 */

/* The separator is left out at the beginning. */
static void append(char *out, const char *separator, const char *text)
{
    size_t len = strlen(out);

    snprintf(out + len, KEY_MAX - len, "%s%s", len ? separator : "", text);
}

/* "rule" and labels in the order of group_by. */
static void name_group(const struct al_rule *rule, const char *rule_name, const struct al_labels *labels,
                       char title[KEY_MAX])
{
    title[0] = '\0';
    for (uint64_t i = 0; rule && i < rule->conf->group_by.count; i++) {
        const char *name = rule->conf->group_by.items[i].ptr;
        const char *value = strcmp(name, "rule") == 0 ? rule_name : al_labels_get(labels, name);

        if (value && value != rule_name) {
            append(title, " ", name);
            append(title, "=", value);
        } else if (value) {
            append(title, " ", rule_name);
        }
    }
    if (!*title)
        append(title, "", rule_name);
}

static void join_sinks(const struct al_rule *rule, char out[KEY_MAX])
{
    out[0] = '\0';
    for (uint64_t i = 0; rule && i < rule->conf->sinks.count; i++)
        append(out, ",", rule->conf->sinks.items[i].ptr);
}

struct al_group *al_group_find(struct al_engine *e, const char *id)
{
    struct al_group *g = e->groups;

    while (g && strcmp(g->id, id) != 0)
        g = g->next;
    return g;
}

struct al_group *al_group_make(struct al_engine *e, const char *id, const char *title, const char *sinks)
{
    struct al_group *g = al_group_find(e, id);

    if (g)
        return g;
    g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    snprintf(g->id, sizeof(g->id), "%s", id);
    g->title = strdup(title);
    g->sinks = strdup(sinks);
    if (!g->title || !g->sinks) {
        free_group(g);
        return NULL;
    }
    g->next = e->groups;
    e->groups = g;
    return g;
}

struct al_group *al_group_of(struct al_engine *e, const struct al_rule *rule, const char *rule_name,
                             const struct al_labels *labels)
{
    char title[KEY_MAX], sinks[KEY_MAX], id[17];
    struct al_group *g;

    name_group(rule, rule_name, labels, title);
    join_sinks(rule, sinks);
    snprintf(id, sizeof(id), "%016llx", (unsigned long long)al_hash(al_hash(1, title), sinks));
    g = al_group_make(e, id, title, sinks);
    if (g && rule)
        g->repeat_ms = (uint64_t)rule->conf->repeat;
    return g;
}

/* --- what is not said ------------------------------------------------------------------------------------
 */

static int names(const struct hd_str_list *list, const char *name)
{
    for (uint64_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].ptr, name) == 0)
            return 1;
    return 0;
}

static int agree(const struct hd_str_list *equal, const struct al_labels *a, const struct al_labels *b)
{
    for (uint64_t i = 0; i < equal->count; i++) {
        const char *x = al_labels_get(a, equal->items[i].ptr), *y = al_labels_get(b, equal->items[i].ptr);

        if (x && y && strcmp(x, y) != 0)
            return 0;
    }
    return 1;
}

static int inhibited(const struct al_engine *e, const struct al_alert *a)
{
    const struct al_rule_conf *c = a->rule ? a->rule->conf : NULL;

    if (!c || !c->inhibited_by.count)
        return 0;
    for (const struct al_alert *b = e->alerts; b; b = b->next)
        if (b != a && b->state == AL_FIRING && names(&c->inhibited_by, b->rule_name) &&
            agree(&c->equal, a->labels, b->labels))
            return 1;
    return 0;
}

static int flaps(const struct al_engine *e, const struct al_alert *a)
{
    uint64_t first = a->changes[AL_CHANGES - 1];

    return first && a->changes[0] - first < e->policy.flap_window &&
           e->now_ms - a->changes[0] < e->policy.flap_hold;
}

static enum al_mute mute_of(const struct al_engine *e, const struct al_alert *a)
{
    if (flaps(e, a))
        return AL_FLAPPING;
    if (a->state != AL_FIRING)
        return AL_NOT_MUTED;
    if (al_silenced(e, a))
        return AL_SILENCED;
    return inhibited(e, a) ? AL_INHIBITED : AL_NOT_MUTED;
}

/* --- messages --------------------------------------------------------------------------------------------
 */

static int is_news(const struct al_alert *a)
{
    if (a->mute != AL_NOT_MUTED)
        return 0;
    if (a->state == AL_FIRING)
        return a->told != AL_TOLD_FIRING;
    return a->state == AL_RESOLVED && a->told == AL_TOLD_FIRING;
}

static int still_fires(const struct al_alert *a)
{
    return a->state == AL_FIRING && a->told == AL_TOLD_FIRING && a->mute == AL_NOT_MUTED;
}

/* Notes that they are told. What fires silently is as open as it was. */
static void note_told(struct al_engine *e, struct al_group *g, struct al_alert *const *list, uint32_t count)
{
    g->open = 0;
    for (uint32_t i = 0; i < count; i++)
        list[i]->told = list[i]->state == AL_FIRING ? AL_TOLD_FIRING : AL_TOLD_RESOLVED;
    for (const struct al_alert *a = e->alerts; a; a = a->next)
        g->open += a->group == g && a->told == AL_TOLD_FIRING;
    g->sent_ms = e->now_ms;
    g->sent = 1;
    g->need_ms = 0;
    e->changed = 1;
}

/* Hands the group's alerts over, firing ones first. */
static void send(struct al_engine *e, struct al_group *g, int repeat)
{
    struct al_alert **list = calloc(g->members + 1, sizeof(struct al_alert *));
    uint32_t count = 0;

    if (!list)
        return; /* and tried again with the next tick */
    for (int firing = 1; firing >= 0; firing--)
        for (struct al_alert *a = e->alerts; a; a = a->next)
            if (a->group == g && (a->state == AL_FIRING) == firing && (is_news(a) || still_fires(a)))
                list[count++] = a;
    note_told(e, g, list, count);
    e->hooks.message(e->hooks.arg, g, list, count, repeat);
    free(list);
}

static void tell(struct al_engine *e, struct al_group *g, uint32_t news, uint32_t firing)
{
    uint64_t since = e->now_ms - g->sent_ms;

    if (news) {
        if (!g->need_ms)
            g->need_ms = e->now_ms;
        if (e->now_ms - g->need_ms >= e->policy.group_wait && (!g->sent || since >= e->policy.group_interval))
            send(e, g, 0);
        return;
    }
    g->need_ms = 0;
    if (firing && g->sent && g->repeat_ms && since >= g->repeat_ms)
        send(e, g, 1);
}

void al_groups_tell(struct al_engine *e)
{
    for (struct al_alert *a = e->alerts; a; a = a->next)
        a->mute = mute_of(e, a);
    for (struct al_group *g = e->groups; g; g = g->next) {
        uint32_t news = 0, firing = 0;

        for (struct al_alert *a = e->alerts; a && g->members; a = a->next) {
            news += a->group == g && is_news(a);
            firing += a->group == g && still_fires(a);
        }
        tell(e, g, news, firing);
    }
}

/* --- end -------------------------------------------------------------------------------------------------
 */

void al_groups_sweep(struct al_engine *e)
{
    struct al_group **at = &e->groups;

    while (*at) {
        struct al_group *g = *at;

        if (g->members || (g->sent && e->now_ms - g->sent_ms < e->policy.group_interval)) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        free_group(g);
    }
}

void al_groups_free(struct al_engine *e)
{
    while (e->groups) {
        struct al_group *g = e->groups;

        e->groups = g->next;
        free_group(g);
    }
}
