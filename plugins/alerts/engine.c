/*
 * Alerts and their states; see engine.h.
 *
 *     (nothing) -> pending -> firing -> resolved -> (nothing)
 *
 * An alert without data stays in its state: pending begins anew, firing stays.
 */
#include "alerts/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int32_t al_engine_init(struct al_engine *e)
{
    e->memory = al_memory_new();
    return e->memory ? HD_OK : HD_ENOMEM;
}

/* --- alerts ----------------------------------------------------------------------------------------------
 */

struct al_rule *al_engine_rule(struct al_engine *e, const char *name)
{
    for (uint32_t i = 0; i < e->rule_count; i++)
        if (strcmp(e->rules[i].name, name) == 0)
            return &e->rules[i];
    return NULL;
}

static struct al_alert *find(struct al_engine *e, const char *id)
{
    struct al_alert *a = e->alerts;

    while (a && strcmp(a->id, id) != 0)
        a = a->next;
    return a;
}

struct al_alert *al_engine_alert(struct al_engine *e, struct al_rule *rule, const char *rule_name,
                                 const struct al_labels *labels)
{
    struct al_alert *a;
    char id[17];

    al_id(rule_name, labels, id);
    a = find(e, id);
    if (a)
        return a;
    if (e->alert_count >= e->policy.max_alerts || !(a = calloc(1, sizeof(*a)))) {
        e->refused++;
        return NULL;
    }
    a->labels = al_labels_copy(labels);
    a->group = a->labels ? al_group_of(e, rule, rule_name, labels) : NULL;
    if (!a->group) {
        free(a->labels);
        free(a);
        return NULL;
    }
    a->group->members++;
    a->rule = rule;
    snprintf(a->rule_name, sizeof(a->rule_name), "%s", rule_name);
    memcpy(a->id, id, sizeof(id));
    a->severity = rule ? (uint32_t)rule->conf->severity : 0;
    a->next = e->alerts;
    e->alerts = a;
    e->alert_count++;
    return a;
}

static void free_alert(struct al_engine *e, struct al_alert *a)
{
    a->group->members--;
    free(a->labels);
    free(a);
    e->alert_count--;
}

/* An alert's state is changed here alone. */
static void enter(struct al_engine *e, struct al_alert *a, enum al_state state)
{
    a->state = state;
    a->since_ms = e->now_ms;
    a->clear_ms = 0;
    e->changed = 1;
    if (state == AL_PENDING)
        return;
    memmove(a->changes + 1, a->changes, (AL_CHANGES - 1) * sizeof(a->changes[0]));
    a->changes[0] = e->now_ms;
    if (state == AL_FIRING)
        a->started_us = e->wall_us;
    a->ended_us = state == AL_RESOLVED ? e->wall_us : 0;
    e->hooks.changed(e->hooks.arg, a);
}

static void note(struct al_engine *e, struct al_alert *a, const struct al_finding *f)
{
    a->value = f->value;
    a->threshold = f->threshold;
    a->data_ms = e->now_ms;
    a->tick = e->tick;
    a->no_data = 0;
    if (!f->clear || a->state != AL_FIRING)
        al_rule_summary(a->rule, f, a->summary, sizeof(a->summary));
}

static void step_firing(struct al_engine *e, struct al_alert *a, const struct al_finding *f)
{
    if (!f->clear) {
        a->clear_ms = 0;
        return;
    }
    if (!a->clear_ms)
        a->clear_ms = e->now_ms;
    if (e->now_ms - a->clear_ms >= (uint64_t)a->rule->conf->clear_for)
        enter(e, a, AL_RESOLVED);
}

/* Whom it is told to is what its rule says when it begins; its end goes to those who were told of it. */
static void regroup(struct al_engine *e, struct al_alert *a)
{
    struct al_group *g = a->rule ? al_group_of(e, a->rule, a->rule_name, a->labels) : NULL;

    if (!g || g == a->group || a->told == AL_TOLD_FIRING)
        return;
    a->group->members--;
    a->group = g;
    g->members++;
}

/* Pending that comes to nothing leaves the state in which it was before: none, or resolved. */
static void step(struct al_engine *e, struct al_alert *a, const struct al_finding *f)
{
    if (a->state == AL_FIRING) {
        step_firing(e, a, f);
        return;
    }
    if (!f->beyond) {
        if (a->state == AL_PENDING)
            a->state = AL_RESOLVED;
        return;
    }
    if (a->state == AL_RESOLVED) {
        regroup(e, a);
        enter(e, a, AL_PENDING);
    }
    if (e->now_ms - a->since_ms >= (uint64_t)a->rule->conf->hold)
        enter(e, a, AL_FIRING);
}

struct judging {
    struct al_engine *e;
    struct al_rule *rule;
};

static void take(void *arg, const struct al_finding *f)
{
    struct judging *j = arg;
    struct al_alert *a;
    char id[17];

    al_id(j->rule->name, f->labels, id);
    a = find(j->e, id);
    if (!a) {
        if (!f->beyond)
            return;
        a = al_engine_alert(j->e, j->rule, j->rule->name, f->labels);
        if (!a)
            return;
        a->state = AL_RESOLVED; /* from which it becomes pending */
    }
    note(j->e, a, f);
    step(j->e, a, f);
}

static void without_data(struct al_engine *e, struct al_alert *a)
{
    uint64_t own = a->rule ? (uint64_t)a->rule->conf->absent_for : 0, most = own ? own : e->policy.absent_for;

    a->no_data = 1;
    a->clear_ms = 0;
    if (a->state == AL_PENDING)
        a->since_ms = e->now_ms;
    if (a->state == AL_PENDING && e->now_ms - a->data_ms >= e->policy.flap_window)
        a->state = AL_RESOLVED; /* of what was told before, the end may still have to be */
    if (a->state == AL_FIRING && most && e->now_ms - a->data_ms >= most) {
        snprintf(a->summary, sizeof(a->summary), "there is no data any more");
        enter(e, a, AL_RESOLVED);
    }
}

/* Is there nothing left to say, and nothing to remember of its changes? */
static int is_over(const struct al_engine *e, const struct al_alert *a)
{
    if (a->state != AL_RESOLVED || a->told == AL_TOLD_FIRING)
        return 0;
    return !a->changes[0] || e->now_ms - a->changes[0] >= e->policy.flap_window;
}

static void sweep(struct al_engine *e)
{
    struct al_alert **at = &e->alerts;

    while (*at) {
        struct al_alert *a = *at;

        if (!is_over(e, a)) {
            at = &a->next;
            continue;
        }
        *at = a->next;
        free_alert(e, a);
    }
}

/* --- ticks -----------------------------------------------------------------------------------------------
 */

static void evaluate(struct al_engine *e, struct al_rule *r)
{
    struct judging j = {e, r};

    if (!r->conf->enabled)
        return;
    al_rule_read(r, &e->source, e->now_ms, &e->budget);
    al_rule_judge(r, e->now_ms, e->wall_us, e->memory, &e->budget, take, &j);
    al_memory_clear(e->memory);
    e->evaluations++;
}

void al_engine_tick(struct al_engine *e, uint64_t now_ms, int64_t wall_us)
{
    e->now_ms = now_ms;
    e->wall_us = wall_us;
    e->tick++;
    for (uint32_t i = 0; i < e->rule_count; i++)
        evaluate(e, &e->rules[i]);
    for (struct al_alert *a = e->alerts; a; a = a->next)
        if (a->tick != e->tick)
            without_data(e, a);
    al_silences_expire(e);
    al_groups_tell(e);
    sweep(e);
    al_groups_sweep(e);
}

/* --- rules -----------------------------------------------------------------------------------------------
 */

static uint32_t count_rules(const struct hd_conf *conf)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < conf->section_count; i++)
        count += !strcmp(conf->sections[i].kind, "alert");
    return count;
}

static void free_rules(struct al_engine *e, struct al_rule *rules, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        al_rule_free(&rules[i], &e->budget);
    free(rules);
}

/* An alert goes over to the rule of its name; where there is none, or it is switched off, it is over. */
static void move_alert(struct al_engine *e, struct al_alert *a)
{
    struct al_rule *rule = al_engine_rule(e, a->rule_name);

    a->rule = rule;
    if (rule)
        a->severity = (uint32_t)rule->conf->severity;
    regroup(e, a);
    if (rule && rule->conf->enabled)
        return;
    if (a->state == AL_FIRING) {
        snprintf(a->summary, sizeof(a->summary), "the rule is there no more");
        enter(e, a, AL_RESOLVED);
    }
    a->state = AL_RESOLVED;
}

void al_engine_settle(struct al_engine *e)
{
    for (struct al_alert *a = e->alerts; a; a = a->next)
        move_alert(e, a);
}

int32_t al_engine_rules(struct al_engine *e, const struct hd_conf *conf, struct hd_error *err)
{
    uint32_t count = count_rules(conf), made = 0, old_count = e->rule_count;
    struct al_rule *rules = calloc(count + 1, sizeof(*rules)), *old = e->rules;

    for (uint32_t i = 0; rules && i < conf->section_count; i++) {
        if (strcmp(conf->sections[i].kind, "alert") != 0)
            continue;
        if (al_rule_init(&rules[made++], &conf->sections[i], err)) {
            free_rules(e, rules, made);
            return err->code;
        }
    }
    if (!rules)
        return hd_error_set(err, HD_ENOMEM, "no memory for the rules");
    e->rules = rules;
    e->rule_count = count;
    for (uint32_t i = 0; i < old_count; i++) {
        struct al_rule *rule = al_engine_rule(e, old[i].name);

        if (rule)
            al_rule_inherit(rule, &old[i]);
    }
    al_engine_settle(e);
    free_rules(e, old, old_count);
    return HD_OK;
}

void al_engine_free(struct al_engine *e)
{
    while (e->alerts) {
        struct al_alert *a = e->alerts;

        e->alerts = a->next;
        free_alert(e, a);
    }
    al_groups_free(e);
    al_silences_free(e);
    free_rules(e, e->rules, e->rule_count);
    al_memory_free(e->memory);
    memset(e, 0, sizeof(*e));
}
