/*
 * The outbox: messages that some target has not delivered yet, in the order in which they were written. It
 * has a bound; past it the oldest is given up. And ALERT TEST, whose messages are not kept.
 */
#include <howdah/howdah.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alerts/alerts.h"

#define SPARE_MS 3600000u

static void count(struct al *self, enum al_count what, const char *target)
{
    static const char *const names[AL_COUNTS][2] = {
        [AL_SENT] = {"howdah_alert_messages_sent_total", "Messages that a target has taken"},
        [AL_DEAD] = {"howdah_alert_messages_dead_total", "Messages that a target will never get"},
    };
    struct hd_label label = {"target", target};
    int64_t id = self->metrics->get(self->host, HD_METRIC_COUNTER, names[what][0], names[what][1], &label, 1);

    self->metrics->add(self->host, id, 1);
}

static void give_up(struct al *self, const char *target, const char *why)
{
    count(self, AL_DEAD, target);
    al_log(self, HD_LEVEL_ERROR, "a message about alerts could not be delivered", "target", target, "reason",
           why);
}

/* --- the list --------------------------------------------------------------------------------------------
 */

static void append(struct al *self, struct al_message *m)
{
    struct al_message **at = &self->outbox;

    while (*at)
        at = &(*at)->next;
    m->next = NULL;
    *at = m;
    self->outbox_count++;
    self->outbox_bytes += m->long_bytes;
    self->save_wanted = 1;
}

static void drop_delivered(struct al *self)
{
    struct al_message **at = &self->outbox;

    while (*at) {
        struct al_message *m = *at;

        if (m->target_count) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        self->outbox_count--;
        self->outbox_bytes -= m->long_bytes;
        self->save_wanted = 1;
        al_message_unref(m);
    }
}

static void keep_bound(struct al *self)
{
    while (self->outbox_count > (uint64_t)self->conf->max_messages) {
        struct al_message *m = self->outbox;

        for (uint32_t i = 0; i < m->target_count; i++)
            give_up(self, m->targets[i], "too many messages wait");
        m->target_count = 0;
        drop_delivered(self);
    }
}

void al_outbox_free(struct al *self)
{
    while (self->outbox) {
        struct al_message *m = self->outbox;

        self->outbox = m->next;
        al_message_unref(m);
    }
    while (self->tests) {
        struct al_test *t = self->tests;

        self->tests = t->next;
        al_message_unref(t->message);
        free(t);
    }
}

/* --- sending ---------------------------------------------------------------------------------------------
 */

struct choosing {
    struct al *self;
    struct al_message *message;
};

static void choose(void *arg, const char *target)
{
    struct al_message *m = ((struct choosing *)arg)->message;

    if (m->target_count < AL_TARGETS_MAX)
        snprintf(m->targets[m->target_count++], AL_TARGET_MAX, "%s", target);
}

/* Hands the message to the lanes of its targets; who has none, or no room, gets it never. */
static void push(struct al *self, struct al_message *m)
{
    for (uint32_t i = m->target_count; i-- > 0;) {
        char target[AL_TARGET_MAX];
        int32_t code = al_lanes_push(&self->lanes, m->targets[i], m);

        if (!code)
            continue;
        memcpy(target, m->targets[i], sizeof(target));
        give_up(self, target, code == HD_EFULL ? "too many messages wait for it" : "there is no such target");
        al_message_delivered(m, target);
    }
}

void al_outbox_add(struct al *self, struct al_message *m, const char *sinks)
{
    struct choosing c = {self, m};

    m->expires_ms = al_now_ms() + (uint64_t)self->conf->give_up;
    al_lanes_match(&self->lanes, sinks, choose, &c);
    if (!m->target_count)
        give_up(self, *sinks ? sinks : "none", "there is no such target");
    append(self, m);
    push(self, m);
    drop_delivered(self);
    keep_bound(self);
}

static void count_target(void *arg, const char *target)
{
    (void)target;
    ++*(uint32_t *)arg;
}

uint32_t al_outbox_targets(void *arg, const char *sinks)
{
    struct al *self = arg;
    uint32_t targets = 0;

    al_lanes_match(&self->lanes, sinks, count_target, &targets);
    return targets;
}

static void check_rule(struct al *self, const struct al_rule *r)
{
    for (uint64_t i = 0; i < r->conf->sinks.count; i++) {
        const char *name = r->conf->sinks.items[i].ptr;

        if (r->conf->enabled && !al_outbox_targets(self, name))
            al_log(self, HD_LEVEL_WARNING, "a rule's alerts go to a target that is not there", "rule",
                   r->name, "target", name);
    }
}

void al_outbox_check_rules(struct al *self)
{
    for (uint32_t i = 0; self->unchecked && i < self->engine.rule_count; i++)
        check_rule(self, &self->engine.rules[i]);
    self->unchecked = 0;
}

/* May what a message says at length wait with what waits already? */
static int has_room(struct al *self, const struct hd_alert_words *w)
{
    size_t bytes = (w->body ? strlen(w->body) : 0) + (w->page ? strlen(w->page) : 0);

    if (self->outbox_bytes + bytes <= (uint64_t)self->conf->max_pages)
        return 1;
    al_log(self, HD_LEVEL_WARNING, "too many pages wait to be delivered: a message goes without its own",
           "title", w->title, NULL, NULL);
    return 0;
}

int32_t al_outbox_say(void *arg, const char *sinks, const struct hd_alert_words *words, struct hd_error *err)
{
    struct al *self = arg;
    struct al_message *m;

    if (self->leaving)
        return hd_error_set(err, HD_EBUSY, "another host has the alerts");
    if (!al_outbox_targets(self, sinks) || self->stopping)
        return hd_error_set(err, HD_ENOENT, "no target is called \"%.100s\"", sinks);
    m = al_message_words(words, has_room(self, words), self->name, al_wall_us(),
                         self->random + self->sequence++);
    if (!m)
        return hd_error_set(err, HD_ENOMEM, "no memory for the message");
    al_outbox_add(self, m, sinks);
    return HD_OK;
}

int32_t al_outbox_tell(void *arg, const char *sinks, const char *title, const char *text,
                       struct hd_error *err)
{
    const struct hd_alert_words words = {.size = sizeof(words), .title = title, .text = text};

    return al_outbox_say(arg, sinks, &words, err);
}

void al_outbox_restore(struct al *self, struct al_message *m)
{
    append(self, m);
}

void al_outbox_resume(struct al *self)
{
    for (struct al_message *m = self->outbox; m; m = m->next)
        push(self, m);
    drop_delivered(self);
    keep_bound(self);
}

/* --- tests -----------------------------------------------------------------------------------------------
 */

static void show_outcome(struct al *self, hd_result *r, const char *target, int32_t code, uint64_t took_ms,
                         const char *error)
{
    self->commands->text(r, (struct hd_str){target, strlen(target)});
    self->commands->integer(r, code == HD_OK);
    self->commands->integer(r, (int64_t)took_ms);
    self->commands->text(r, (struct hd_str){error, strlen(error)});
}

/* Takes a test off the list when its last target has answered. */
static void finish_test(struct al *self, struct al_test *t)
{
    struct al_test **at = &self->tests;

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    self->commands->finish(t->result, HD_OK, NULL);
    al_message_unref(t->message);
    free(t);
}

static void test_answered(struct al *self, const struct al_report *r)
{
    struct al_test *t = self->tests;

    while (t && t->message != r->message)
        t = t->next;
    if (!t)
        return;
    show_outcome(self, t->result, r->target, r->code, r->took_ms, r->code ? r->error : "");
    if (!--t->waiting)
        finish_test(self, t);
}

int32_t al_outbox_test(struct al *self, const struct hd_call *call, struct hd_error *err)
{
    struct al_test *t = calloc(1, sizeof(*t));
    struct choosing c = {self, NULL};

    c.message = t ? al_message_test(self->name, al_wall_us(), self->random + self->sequence++) : NULL;
    if (!c.message) {
        free(t);
        return hd_error_set(err, HD_ENOMEM, "no memory for the test");
    }
    al_lanes_match(&self->lanes, call->arg_count ? call->args[0].ptr : "", choose, &c);
    t->message = c.message;
    t->result = call->result;
    t->next = self->tests;
    self->commands->column(t->result, "target", HD_COL_TEXT);
    self->commands->column(t->result, "delivered", HD_COL_BOOL);
    self->commands->column(t->result, "took_ms", HD_COL_INT);
    self->commands->column(t->result, "reason", HD_COL_TEXT);
    for (uint32_t i = 0; i < c.message->target_count; i++) {
        int32_t code = al_lanes_push(&self->lanes, c.message->targets[i], c.message);

        if (code)
            show_outcome(self, t->result, c.message->targets[i], code, 0, "too many messages wait for it");
        t->waiting += code == HD_OK;
    }
    if (!t->waiting) {
        int none = !c.message->target_count;

        al_message_unref(t->message);
        free(t);
        return none ? hd_error_set(err, HD_ENOENT, "there is no such target; SHOW ALERT SINKS lists them")
                    : HD_OK;
    }
    self->tests = t;
    return HD_PENDING;
}

/* --- reports ---------------------------------------------------------------------------------------------
 */

static void take_report(struct al *self, const struct al_report *r)
{
    if (r->message->m.test) {
        test_answered(self, r);
        return;
    }
    if (!al_message_delivered(r->message, r->target))
        return;
    self->save_wanted = 1;
    if (r->code == HD_OK)
        count(self, AL_SENT, r->target);
    else
        give_up(self, r->target, r->error);
}

/* Why a target will never have the message; NULL: it may. A lane gives up by itself what it has; what it had
 * no memory to tell of is given up here. */
static const char *lost(struct al *self, const struct al_message *m, const char *target)
{
    if (!al_lanes_has(&self->lanes, target))
        return "there is no such target any more";
    return al_now_ms() > m->expires_ms + SPARE_MS ? "it is too old" : NULL;
}

static void drop_lost(struct al *self)
{
    for (struct al_message *m = self->outbox; m && !self->stopping; m = m->next)
        for (uint32_t i = m->target_count; i-- > 0;) {
            const char *why = lost(self, m, m->targets[i]);

            if (!why)
                continue;
            give_up(self, m->targets[i], why);
            al_message_delivered(m, m->targets[i]);
        }
}

void al_outbox_reports(struct al *self)
{
    struct al_report *r = al_lanes_reports(&self->lanes);

    while (r) {
        struct al_report *next = r->next;

        take_report(self, r);
        al_report_free(r);
        r = next;
    }
    drop_lost(self);
    drop_delivered(self);
}
