/*
 * Commands: ALERTS, which is SHOW ALERTS, SHOW ALERT RULES, SHOW ALERT SINKS, SHOW SILENCES, SILENCE,
 * UNSILENCE, TEST, which is ALERT TEST.
 */
#include <howdah/howdah.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "alerts/alerts.h"

#define COMMENT_MAX 1000

static const char *const severities[] = {"info", "warning", "page"};

struct table {
    struct al *self;
    hd_result *r;
};

static void text(const struct table *t, const char *s)
{
    t->self->commands->text(t->r, (struct hd_str){s, strlen(s)});
}

static void integer(const struct table *t, int64_t v)
{
    t->self->commands->integer(t->r, v);
}

static void real(const struct table *t, double v)
{
    t->self->commands->real(t->r, v);
}

/* A moment, or NULL for 0. */
static void moment(const struct table *t, int64_t us)
{
    if (us)
        t->self->commands->integer(t->r, us);
    else
        t->self->commands->null(t->r);
}

static void columns(const struct table *t, const char *const *names, const uint32_t *types, size_t count)
{
    for (size_t i = 0; i < count; i++)
        t->self->commands->column(t->r, names[i], types[i]);
}

#define COLUMNS(t, names, types) columns(t, names, types, sizeof(names) / sizeof((names)[0]))

/* --- alerts ----------------------------------------------------------------------------------------------
 */

static void show_alert(const struct table *t, const struct al_alert *a)
{
    static const char *const states[] = {"pending", "firing", "resolved"};
    static const char *const mutes[] = {"", "silenced", "inhibited", "flapping"};
    char labels[AL_TEXT_MAX];

    al_labels_print(a->labels, labels, sizeof(labels));
    text(t, a->rule_name);
    text(t, labels);
    text(t, states[a->state]);
    text(t, severities[a->severity]);
    real(t, a->value);
    real(t, a->threshold);
    moment(t, a->state == AL_PENDING ? 0 : a->started_us);
    moment(t, a->ended_us);
    text(t, a->no_data && a->state != AL_RESOLVED ? "no data" : mutes[a->mute]);
    integer(t, a->told != AL_TOLD_NOTHING);
    text(t, a->summary);
    text(t, a->id);
}

/* A rule of which there is no data is told as a row of its own. */
static void show_no_data(const struct table *t, const struct al_rule *r)
{
    text(t, r->name);
    text(t, "");
    text(t, "no data");
    text(t, severities[r->conf->severity]);
    for (int i = 0; i < 4; i++)
        t->self->commands->null(t->r);
    text(t, r->found ? "no value" : "its metrics are not there");
    integer(t, 0);
    text(t, "");
    text(t, "");
}

static int32_t show_alerts(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const char *const names[] = {"rule",  "labels", "state", "severity", "value",   "threshold",
                                        "since", "until",  "note",  "told",     "summary", "id"};
    static const uint32_t types[] = {HD_COL_TEXT, HD_COL_TEXT, HD_COL_TEXT, HD_COL_TEXT,
                                     HD_COL_REAL, HD_COL_REAL, HD_COL_TIME, HD_COL_TIME,
                                     HD_COL_TEXT, HD_COL_BOOL, HD_COL_TEXT, HD_COL_TEXT};
    struct al *self = arg;
    const struct table t = {self, call->result};

    (void)err;
    COLUMNS(&t, names, types);
    for (enum al_state s = AL_FIRING;; s = s == AL_FIRING ? AL_PENDING : AL_RESOLVED) {
        for (const struct al_alert *a = self->engine.alerts; a; a = a->next)
            if (a->state == s && (s != AL_RESOLVED || a->ended_us))
                show_alert(&t, a);
        if (s == AL_RESOLVED)
            break;
    }
    for (uint32_t i = 0; i < self->engine.rule_count && self->engine.evaluations; i++)
        if (self->engine.rules[i].conf->enabled && !self->engine.rules[i].values)
            show_no_data(&t, &self->engine.rules[i]);
    return HD_OK;
}

/* --- rules -----------------------------------------------------------------------------------------------
 */

static const char *rule_state(const struct al *self, const struct al_rule *r)
{
    const char *state = r->values ? "clear" : "no data";

    if (!r->conf->enabled)
        return "off";
    for (const struct al_alert *a = self->engine.alerts; a; a = a->next) {
        if (a->rule == r && a->state == AL_FIRING)
            return "firing";
        if (a->rule == r && a->state == AL_PENDING)
            state = "pending";
    }
    return state;
}

static int32_t show_rules(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const char *const names[] = {"rule",      "type",  "state",  "severity", "expr",
                                        "threshold", "clear", "values", "worst"};
    static const uint32_t kinds[] = {HD_COL_TEXT, HD_COL_TEXT, HD_COL_TEXT, HD_COL_TEXT, HD_COL_TEXT,
                                     HD_COL_REAL, HD_COL_REAL, HD_COL_INT,  HD_COL_REAL};
    static const char *const types[] = {"threshold", "burn", "anomaly"};
    struct al *self = arg;
    const struct table t = {self, call->result};

    (void)err;
    COLUMNS(&t, names, kinds);
    for (uint32_t i = 0; i < self->engine.rule_count; i++) {
        const struct al_rule *r = &self->engine.rules[i];

        text(&t, r->name);
        text(&t, types[r->conf->type]);
        text(&t, rule_state(self, r));
        text(&t, severities[r->conf->severity]);
        text(&t, r->conf->expr.ptr);
        for (int k = 0; k < 2; k++) {
            if (r->conf->type == AL_ANOMALY)
                self->commands->null(t.r);
            else
                real(&t, k ? r->clear : r->threshold);
        }
        integer(&t, r->values);
        if (r->values)
            real(&t, r->worst);
        else
            self->commands->null(t.r);
    }
    return HD_OK;
}

/* --- sinks -----------------------------------------------------------------------------------------------
 */

static void show_lane(const struct table *t, const struct al_lane_stats *s)
{
    text(t, s->name);
    text(t, s->busy ? s->attempt > 1 ? "trying again" : "sending" : s->waiting ? "waiting" : "idle");
    integer(t, (int64_t)s->sent);
    integer(t, (int64_t)s->retries);
    integer(t, (int64_t)s->dead);
    integer(t, s->waiting + (uint32_t)s->busy);
    moment(t, s->sent_us);
    text(t, s->error);
}

static int32_t show_sinks(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const char *const names[] = {"target", "state",   "sent",      "retries",
                                        "dead",   "waiting", "last_sent", "reason"};
    static const uint32_t types[] = {HD_COL_TEXT, HD_COL_TEXT, HD_COL_INT,  HD_COL_INT,
                                     HD_COL_INT,  HD_COL_INT,  HD_COL_TIME, HD_COL_TEXT};
    struct al *self = arg;
    const struct table t = {self, call->result};
    struct al_lane_stats s = {0};

    (void)err;
    COLUMNS(&t, names, types);
    for (uint32_t i = 0; al_lanes_stats(&self->lanes, i, &s); i++)
        show_lane(&t, &s);
    for (uint32_t i = 0; i < self->sink_count; i++) {
        if (self->sinks[i].v1)
            continue;
        text(&t, self->sinks[i].name);
        text(&t, "missing");
        for (int k = 0; k < 4; k++)
            integer(&t, 0);
        moment(&t, 0);
        text(&t, self->sinks[i].problem);
    }
    return HD_OK;
}

/* --- silences --------------------------------------------------------------------------------------------
 */

static int32_t show_silences(void *arg, const struct hd_call *call, struct hd_error *err)
{
    static const char *const names[] = {"id", "matchers", "left_s", "made", "user", "comment"};
    static const uint32_t types[] = {HD_COL_TEXT, HD_COL_TEXT, HD_COL_INT,
                                     HD_COL_TIME, HD_COL_TEXT, HD_COL_TEXT};
    struct al *self = arg;
    const struct table t = {self, call->result};
    uint64_t now = al_now_ms();

    (void)err;
    COLUMNS(&t, names, types);
    for (uint32_t i = 0; i < self->engine.silence_count; i++) {
        const struct al_silence *s = &self->engine.silences[i];

        if (s->until_ms <= now)
            continue;
        text(&t, s->id);
        text(&t, s->matchers);
        integer(&t, (int64_t)(s->until_ms - now + 999) / 1000);
        moment(&t, s->made_us);
        text(&t, s->user);
        text(&t, s->comment);
    }
    return HD_OK;
}

/* 30m and the like, in milliseconds; 0: it is none. */
static uint64_t duration(const char *s)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    unsigned long long n = strtoull(s, &end, 10);

    for (size_t i = 0; end != s && *s >= '0' && *s <= '9' && i < 4; i++)
        if (strcmp(end, units[i].unit) == 0 && n <= 366 * 86400000ull / units[i].ms)
            return n * units[i].ms;
    return 0;
}

/* 0: there is no room. */
static int join(char out[COMMENT_MAX], const struct hd_str *word)
{
    size_t len = strlen(out);

    return snprintf(out + len, COMMENT_MAX - len, "%s%s", len ? " " : "", word->ptr) <
           (int)(COMMENT_MAX - len);
}

/* A word that was cut would silence more than was meant. */
static int32_t too_long(struct hd_error *err)
{
    return hd_error_set(err, HD_EINVAL, "matchers and comment have at most %d bytes each", COMMENT_MAX - 1);
}

/* What is changed here would be lost. */
static int32_t check_ours(const struct al *self, struct hd_error *err)
{
    if (!self->standby && !self->leaving)
        return HD_OK;
    return hd_error_set(err, HD_EBUSY,
                        "another host has the alerts, and their state file; silences are made there");
}

/* The matchers before FOR, as text. *next becomes the first word that is none. */
static int32_t read_matchers(struct al *self, const struct hd_call *call, char out[AL_MATCHERS_TEXT],
                             uint32_t *next, struct hd_error *err)
{
    struct al_matchers *m = al_matchers_new();
    int32_t code = m ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory for the silence");

    for (; !code && *next < call->arg_count && strcasecmp(call->args[*next].ptr, "for") != 0; ++*next)
        code = al_matchers_add(m, call->args[*next].ptr, 1, err);
    if (code == HD_OK)
        code = al_matchers_check(m, err);
    if (code == HD_OK && al_matchers_print(m, out))
        code = too_long(err);
    if (code == HD_OK)
        code = al_silence_check(&self->engine, m, err);
    al_matchers_free(m);
    return code;
}

/* MATCHER … FOR DURATION [COMMENT …] */
static int32_t silence(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct al *self = arg;
    char matchers[AL_MATCHERS_TEXT], comment[COMMENT_MAX] = "", answer[64];
    uint64_t ms = 0;
    const char *id;
    uint32_t i = 0;

    if (check_ours(self, err) || read_matchers(self, call, matchers, &i, err))
        return err->code;
    if (i + 1 < call->arg_count)
        ms = duration(call->args[i + 1].ptr);
    if (!ms)
        return hd_error_set(err, HD_EINVAL, "say for how long: FOR 30m (s, m, h or d; at most 366d)");
    i += 2;
    if (i < call->arg_count && strcasecmp(call->args[i].ptr, "comment") == 0)
        i++;
    while (i < call->arg_count)
        if (!join(comment, &call->args[i++]))
            return too_long(err);
    id = al_silence_add(&self->engine, matchers, comment, call->user, al_now_ms() + ms, al_wall_us(), err);
    if (!id)
        return err->code;
    snprintf(answer, sizeof(answer), "SILENCE %s", id);
    self->commands->message(call->result, answer);
    al_save_tick(self);
    return HD_OK;
}

static int32_t unsilence(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct al *self = arg;

    if (check_ours(self, err))
        return err->code;
    if (call->arg_count != 1)
        return hd_error_set(err, HD_EINVAL, "which one: UNSILENCE ID; SHOW SILENCES lists them");
    if (al_silence_end(&self->engine, call->args[0].ptr))
        return hd_error_set(err, HD_ENOENT, "there is no silence %.40s", call->args[0].ptr);
    al_save_tick(self);
    return HD_OK;
}

static int32_t test(void *arg, const struct hd_call *call, struct hd_error *err)
{
    return al_outbox_test(arg, call, err);
}

int32_t al_show_start(struct al *self, struct hd_error *err)
{
    static const struct {
        const char *name, *usage, *doc;
        uint32_t flags;
        int32_t (*fn)(void *arg, const struct hd_call *call, struct hd_error *err);
    } all[] = {
        {"ALERTS", "", "As SHOW ALERTS", HD_CMDF_READ_ONLY | HD_CMDF_ALIAS, show_alerts},
        {"SHOW ALERTS", "", "Alerts that fire, may fire soon or ended lately, and rules without data",
         HD_CMDF_READ_ONLY, show_alerts},
        {"SHOW ALERT RULES", "", "Rules, their state, and the worst of their values", HD_CMDF_READ_ONLY,
         show_rules},
        {"SHOW ALERT SINKS", "", "Where messages go, and how that goes", HD_CMDF_READ_ONLY, show_sinks},
        {"SHOW SILENCES", "", "What nothing is said of, and for how long still", HD_CMDF_READ_ONLY,
         show_silences},
        {"SILENCE", "rule=NAME | LABEL=VALUE … FOR DURATION [COMMENT …]",
         "Says nothing of such alerts for a time; * stands for anything; also LABEL=\"VALUE\" as it stands, "
         "LABEL=~\"EXPRESSION\", != and !~",
         0, silence},
        {"UNSILENCE", "ID", "Ends a silence", 0, unsilence},
        {"ALERT TEST", "[SINK | SINK:TARGET]",
         "Sends a message to all sinks or one, and says whether it arrived", 0, test},
        {"TEST", "[SINK | SINK:TARGET]", "As ALERT TEST", HD_CMDF_ALIAS, test},
    };
    int32_t code = HD_OK;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && !code; i++) {
        code = self->commands->add(self->host, all[i].name, all[i].usage, all[i].doc, all[i].flags, all[i].fn,
                                   self, err);
        if (code == HD_EEXIST && all[i].flags & HD_CMDF_ALIAS)
            code = HD_OK; /* the long name is enough */
    }
    return code;
}
