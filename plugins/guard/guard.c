/*
 * The plugin "guard": a filter that refuses, warns of or slows down what its rules list.
 *
 * plan() finds out, once for each template, which rules can match its executions; templates that none can
 * match cost nothing per execution. It reads texts, not intentions: what a PREPAREd statement, a DO block, a
 * function, a view, a rule or a trigger does when it runs is not seen. Refuse `execute`, `do` and `call`, or
 * take away the privilege in PostgreSQL, where that matters.
 *
 * What a refused statement was is published when it is over, because only then it is known whether the
 * refusal was carried out (the host may only be observing).
 */
#include "guard.h"
#include "kinds.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct hd_option options[] = {
    {"unsure", "refuse", "refuse|warn|allow",
     "What a rule that asks what a statement does makes of a text that could not be analysed: as if it "
     "matched, a warning, nothing",
     0, 0, HD_OPT_ENUM, HD_OPTF_RELOADABLE, offsetof(struct guard_conf, unsure), 0},
    {"search_path", "public", NULL,
     "Schemas in which names without a schema may be found; rules on SCHEMA.* apply to such names if it is "
     "here",
     0, 0, HD_OPT_LIST, HD_OPTF_RELOADABLE, offsetof(struct guard_conf, search_path), 0},
};

/* A rule that executions of a template may match. */
struct candidate {
    const struct guard_rule *rule;
    enum guard_action action;
    int32_t unsure; /* the template could not be analysed: the rule applies because it cannot be told */
};

struct plan {
    struct guard_rules *rules; /* held */
    uint32_t count;
    uint32_t reserved;
    struct candidate candidates[];
};

/* --- telling what happened ----------------------------------------------------------------------------- */

static void copy_name(char out[HD_EVENT_NAME], struct hd_str s)
{
    size_t n = s.len < HD_EVENT_NAME - 1 ? (size_t)s.len : HD_EVENT_NAME - 1;

    if (n)
        memcpy(out, s.ptr, n);
    out[n] = 0;
}

/* At most one line for each rule and second; the next one says how many were left out. */
static void log_match(struct guard *self, struct guard_tally *tally, const struct hd_event_refused *ev)
{
    char fingerprint[20], quiet[20];
    const char *pairs[] = {"rule",     ev->rule,   "sqlstate",   ev->sqlstate,  "user",
                           ev->user,   "database", ev->database, "fingerprint", fingerprint,
                           "left_out", quiet,      NULL};
    int64_t second = guard_now() / 1000000000;
    int64_t last = atomic_load_explicit(&tally->last_log, memory_order_relaxed);

    if (second == last || !atomic_compare_exchange_strong_explicit(
                              &tally->last_log, &last, second, memory_order_relaxed, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&tally->quiet, 1, memory_order_relaxed);
        return;
    }
    snprintf(fingerprint, sizeof(fingerprint), "%016llx", (unsigned long long)ev->fingerprint);
    snprintf(quiet, sizeof(quiet), "%u", atomic_exchange_explicit(&tally->quiet, 0, memory_order_relaxed));
    hd_host_api(self->host)
        ->log(self->host, HD_LEVEL_WARNING, ev->observed ? "statement matches a rule" : "statement refused",
              pairs);
}

/* The tally's counts of what was refused and warned of. They come over the bus, as they would for anybody who
 * listens; only what the bus dropped is counted where it happened. */
static void count_event(struct guard_tally *tally, const struct hd_event_refused *ev, int64_t wall_us)
{
    atomic_fetch_add_explicit(ev->observed ? &tally->warned : &tally->refused, 1, memory_order_relaxed);
    atomic_store_explicit(&tally->last_us, wall_us, memory_order_relaxed);
}

static void tell(struct guard *self, const struct guard_rule *rule, const struct hd_statement *st,
                 const char *sqlstate, uint32_t observed)
{
    struct hd_template_info info = {.size = sizeof(info)};
    struct hd_event_refused ev;

    memset(&ev, 0, sizeof(ev));
    ev.size = (uint32_t)sizeof(ev);
    ev.observed = observed;
    ev.session_id = st->session_id;
    if (self->template->info(st->tmpl, &info) == HD_OK)
        ev.fingerprint = info.fingerprint;
    memcpy(ev.sqlstate, sqlstate, sizeof(ev.sqlstate));
    memcpy(ev.plugin, "guard", 6);
    snprintf(ev.rule, sizeof(ev.rule), "%s", rule->name);
    copy_name(ev.database, st->database);
    copy_name(ev.user, st->user);
    self->metrics->add(self->host, observed ? rule->tally->warned_metric : rule->tally->refused_metric, 1);
    log_match(self, rule->tally, &ev);
    if (self->bus->publish(self->host, self->topic, &ev, sizeof(ev)) != HD_OK)
        count_event(rule->tally, &ev, (int64_t)time(NULL) * 1000000);
}

static struct guard_tally *find_tally(const struct guard *self, const char *name)
{
    struct guard_tally *t = self->tallies;

    while (t && strcmp(t->name, name) != 0)
        t = t->next;
    return t;
}

/* [control] */
static void on_refused(void *arg, const struct hd_event *event)
{
    const struct guard *self = arg;
    const struct hd_event_refused *ev = event->data;
    struct guard_tally *tally;

    if (event->overflow || strcmp(ev->plugin, "guard") != 0)
        return;
    tally = find_tally(self, ev->rule);
    if (tally)
        count_event(tally, ev, event->wall_us);
}

/* --- the filter ---------------------------------------------------------------------------------------- */

static void *worker_start(void *arg, uint32_t worker)
{
    struct guard *self = arg;
    struct guard_worker *w = calloc(1, sizeof(*w));

    (void)worker;
    if (w)
        w->self = self;
    else
        hd_host_api(self->host)->failed(self->host, "no memory for a worker's state");
    return w;
}

static void worker_stop(void *arg, void *ws)
{
    (void)arg;
    if (!ws)
        return;
    guard_throttle_stop(ws);
    free(ws);
}

static struct guard_rules *current_rules(struct guard *self)
{
    struct guard_rules *rules;

    pthread_mutex_lock(&self->lock);
    rules = guard_rules_ref(self->rules);
    pthread_mutex_unlock(&self->lock);
    return rules;
}

/* What a rule does to a template that could not be analysed; 0: nothing. */
static int unsure_candidate(enum guard_unsure unsure, struct candidate *c)
{
    if (unsure == GUARD_UNSURE_WARN)
        c->action = GUARD_WARN;
    c->unsure = 1;
    return unsure != GUARD_UNSURE_ALLOW;
}

static void find_candidates(const struct guard *self, const hd_template *t,
                            const struct hd_template_info *info, struct plan *p)
{
    for (uint32_t i = 0; i < p->rules->count; i++) {
        const struct guard_rule *rule = &p->rules->items[i];
        struct candidate c = {rule, rule->action, 0};
        enum guard_match m = guard_rule_template(p->rules, rule, self->template, t, info);

        if (m == GUARD_YES || (m == GUARD_UNSURE && unsure_candidate(p->rules->unsure, &c)))
            p->candidates[p->count++] = c;
    }
}

static void plan_free(void *data)
{
    struct plan *p = data;

    guard_rules_unref(p->rules);
    free(p);
}

static int32_t plan(void *arg, void *ws, const hd_template *t, struct hd_plan *out)
{
    struct guard *self = arg;
    struct hd_template_info info = {.size = sizeof(info)};
    struct guard_rules *rules;
    struct plan *p;
    int32_t code = self->template->info(t, &info);

    if (code != HD_OK)
        return code;
    if (!ws)
        return HD_ENOMEM;
    rules = current_rules(self);
    p = calloc(1, sizeof(*p) + rules->count * sizeof(struct candidate));
    if (!p) {
        guard_rules_unref(rules);
        return HD_ENOMEM;
    }
    p->rules = rules;
    find_candidates(self, t, &info, p);
    if (!p->count) {
        plan_free(p);
        return HD_OK;
    }
    out->want = HD_WANT_DECIDE;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->candidates[i].action != GUARD_WARN)
            out->want |= HD_WANT_COMPLETE;
    out->data = p;
    out->destroy = plan_free;
    return HD_OK;
}

static int32_t refuse(const struct candidate *c, struct hd_verdict *v, struct guard_mark **mark)
{
    struct guard_mark *m = calloc(1, sizeof(*m));

    if (!m)
        return HD_ENOMEM;
    m->rule = c->rule;
    m->state = GUARD_MARK_REFUSED;
    memcpy(m->sqlstate, c->rule->sqlstate, sizeof(m->sqlstate));
    v->kind = HD_VERDICT_REFUSE;
    memcpy(v->sqlstate, c->rule->sqlstate, sizeof(v->sqlstate));
    v->message = c->unsure ? c->rule->unsure_message : c->rule->message;
    v->hint = c->rule->hint;
    *mark = m;
    return HD_OK;
}

/* All rules in their order: warnings are given, the first refusal ends it, and of those that throttle the
 * first one counts, once nothing refuses. */
static int32_t statement(void *arg, void *ws, void *plan_data, const struct hd_statement *st,
                         struct hd_verdict *v)
{
    const struct plan *p = plan_data;
    const struct guard_rule *slow = NULL;
    struct guard_mark *mark = NULL;
    int32_t code = HD_OK;

    for (uint32_t i = 0; i < p->count && !mark && code == HD_OK; i++) {
        const struct candidate *c = &p->candidates[i];

        if (!guard_rule_statement(c->rule, st))
            continue;
        atomic_fetch_add_explicit(&c->rule->tally->matched, 1, memory_order_relaxed);
        if (c->action == GUARD_REFUSE)
            code = refuse(c, v, &mark);
        else if (c->action == GUARD_WARN)
            tell(arg, c->rule, st, c->rule->sqlstate, 1);
        else if (!slow)
            slow = c->rule;
    }
    if (slow && !mark && code == HD_OK)
        code = guard_throttle(ws, slow, st, v, &mark);
    *st->slot = mark;
    return code;
}

static void complete(void *arg, void *ws, void *plan_data, const struct hd_statement *st,
                     const struct hd_outcome *o)
{
    struct guard_mark *m = *st->slot;

    (void)plan_data;
    if (!m)
        return;
    if (m->state == GUARD_MARK_REFUSED)
        tell(arg, m->rule, st, m->sqlstate, !(o->answered_by == 2 && strcmp(o->sqlstate, m->sqlstate) == 0));
    guard_throttle_leave(ws, m);
    free(m);
}

static const struct hd_filter_v1 filter = {
    .size = sizeof(struct hd_filter_v1),
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .plan = plan,
    .statement = statement,
    .complete = complete,
};

/* --- SHOW GUARD ---------------------------------------------------------------------------------------- */

static void show_text(const struct guard *self, hd_result *out, const char *text)
{
    struct hd_str s = {text, strlen(text)};

    self->commands->text(out, s);
}

static void show_rule(const struct guard *self, hd_result *out, const struct guard_rule *rule)
{
    const struct hd_commands_v1 *c = self->commands;
    struct guard_tally *t = rule->tally;
    int64_t last = atomic_load(&t->last_us);

    show_text(self, out, rule->name);
    show_text(self, out, guard_action_name(rule->action));
    c->integer(out, (int64_t)atomic_load(&t->matched));
    c->integer(out, (int64_t)atomic_load(&t->refused));
    c->integer(out, (int64_t)atomic_load(&t->warned));
    c->integer(out, (int64_t)atomic_load(&t->throttled));
    c->integer(out, (int64_t)atomic_load(&t->waiting));
    if (last)
        c->integer(out, last);
    else
        c->null(out);
    show_text(self, out, rule->origin);
}

/* [control], as are reloads, so the rules stay while they are shown. */
static int32_t show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const struct {
        const char *name;
        uint32_t type;
    } columns[] = {
        {"rule", HD_COL_TEXT},   {"action", HD_COL_TEXT}, {"matched", HD_COL_INT},
        {"refused", HD_COL_INT}, {"warned", HD_COL_INT},  {"throttled", HD_COL_INT},
        {"waiting", HD_COL_INT}, {"last", HD_COL_TIME},   {"origin", HD_COL_TEXT},
    };
    const struct guard *self = arg;

    if (call->arg_count)
        return hd_error_set(err, HD_EINVAL, "usage: SHOW GUARD");
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        self->commands->column(call->result, columns[i].name, columns[i].type);
    for (uint32_t i = 0; i < self->rules->count; i++)
        show_rule(self, call->result, &self->rules->items[i]);
    return HD_OK;
}

/* --- life ------------------------------------------------------------------------------------------------
 */

static int64_t rule_metric(const struct guard *self, const char *name, const char *help, const char *rule)
{
    struct hd_label label = {"rule", rule};

    return self->metrics->get(self->host, HD_METRIC_COUNTER, name, help, &label, 1);
}

static struct guard_tally *make_tally(struct guard *self, const char *name)
{
    struct guard_tally *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->refused_metric =
        rule_metric(self, "howdah_guard_refused_total", "Statements that a rule refused", name);
    t->warned_metric = rule_metric(self, "howdah_guard_warned_total",
                                   "Statements that a rule warned of, or would refuse", name);
    t->throttled_metric = rule_metric(self, "howdah_guard_throttled_total",
                                      "Statements that had to wait for a rule's rate", name);
    t->next = self->tallies;
    self->tallies = t;
    return t;
}

/* Makes the rules of a configuration and gives each its tally. */
static int32_t make_rules(struct guard *self, const struct hd_conf *conf, struct guard_rules **out,
                          struct hd_error *err)
{
    struct guard_rules *rules;
    int32_t code = guard_rules_new(conf, &rules, err);

    if (code != HD_OK)
        return code;
    for (uint32_t i = 0; i < rules->count; i++) {
        struct guard_rule *rule = &rules->items[i];

        rule->tally = find_tally(self, rule->name);
        if (!rule->tally)
            rule->tally = make_tally(self, rule->name);
        if (!rule->tally) {
            guard_rules_unref(rules);
            return hd_error_set(err, HD_ENOMEM, "no memory for the rules of guard");
        }
    }
    *out = rules;
    return HD_OK;
}

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    struct guard *self = calloc(1, sizeof(*self));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    self->host = host;
    pthread_mutex_init(&self->lock, NULL);
    *out = self;
    return HD_OK;
}

static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct guard_rules *rules;
    int32_t code = guard_rules_new(conf, &rules, err);

    (void)arg;
    guard_rules_unref(rules);
    return code;
}

static int32_t find_services(struct guard *self, struct hd_error *err)
{
    const void *metrics, *bus, *commands, *loop, *template, *stmt;
    int32_t code;

    if ((code = hd_host_need(self->host, HD_SERVICE_METRICS, &metrics, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_BUS, &bus, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_COMMANDS, &commands, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_LOOP, &loop, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_TEMPLATE, &template, err)) ||
        (code = hd_host_need(self->host, HD_SERVICE_STATEMENT, &stmt, err)))
        return code;
    self->metrics = metrics;
    self->bus = bus;
    self->commands = commands;
    self->loop = loop;
    self->template = template;
    self->statement = stmt;
    return HD_OK;
}

/* Listens to what guards refuse, and makes the command known. */
static int32_t take_part(struct guard *self, struct hd_error *err)
{
    int64_t id;

    self->topic = self->bus->topic(self->host, HD_TOPIC_STATEMENT_REFUSED);
    if (self->topic < 0)
        return hd_error_set(err, self->topic, "the bus has no topic %s", HD_TOPIC_STATEMENT_REFUSED);
    id = self->bus->subscribe(self->host, HD_TOPIC_STATEMENT_REFUSED, on_refused, self, err);
    if (id < 0)
        return (int32_t)id;
    self->waiting_metric = self->metrics->get(self->host, HD_METRIC_GAUGE, "howdah_guard_waiting",
                                              "Statements that wait for a rule's rate", NULL, 0);
    return self->commands->add(self->host, "SHOW GUARD", "", "Rules of the guard and what they did",
                               HD_CMDF_READ_ONLY, show, self, err);
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct guard *self = arg;
    int32_t code = find_services(self, err);

    if (code == HD_OK)
        code = make_rules(self, conf, &self->rules, err);
    if (code == HD_OK)
        code = take_part(self, err);
    return code;
}

static void reload(void *arg, const struct hd_conf *conf)
{
    struct guard *self = arg;
    struct guard_rules *rules, *old = self->rules;
    struct hd_error err = HD_ERROR_INIT;

    if (make_rules(self, conf, &rules, &err) != HD_OK) {
        hd_host_api(self->host)->failed(self->host, err.text);
        return; /* the old rules stay in force */
    }
    pthread_mutex_lock(&self->lock);
    self->rules = rules;
    pthread_mutex_unlock(&self->lock);
    guard_rules_unref(old);
}

/* Workers are out of the filter by now, and everything else ran on this thread. */
static int32_t stop(void *arg)
{
    struct guard *self = arg;

    guard_rules_unref(self->rules);
    self->rules = NULL;
    return HD_OK;
}

static void destroy(void *arg)
{
    struct guard *self = arg;

    guard_rules_unref(self->rules);
    while (self->tallies) {
        struct guard_tally *t = self->tallies;

        self->tallies = t->next;
        free(t);
    }
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static const void *capability(const char *name)
{
    return strcmp(name, HD_CAP_FILTER) == 0 ? &filter : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .section_count = sizeof(guard_sections) / sizeof(guard_sections[0]),
    .id = "guard",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Refuses, warns of or slows down the statements that its rules list",
    .options = HD_OPTIONS(struct guard_conf, options),
    .sections = guard_sections,
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
