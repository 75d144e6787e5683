/*
 * The plugin "alerts": looks at metrics at intervals, by rules from the configuration, and tells sinks what
 * fires and what is over. What an alert is, is the engine's; this file brings it the host's metrics and
 * clocks, and takes what comes of it to the bus, the sinks and the state file. All of it happens on the
 * control thread.
 */
#include "alerts/alerts.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define DAY_MS     86400000.0
#define STANDBY_MS 1000
/* What the clock of the engine is ahead of the machine's: so that no moment that matters is before its 0. */
#define CLOCK_OFFSET_MS (400ull * 86400000)

#define OPTION(key, fallback, doc, min, max, type, flags, member)                                            \
    {                                                                                                        \
        key, fallback, NULL, doc, min, max, type, flags, offsetof(struct al_conf, member), 0                 \
    }

static const struct hd_option options[] = {
    OPTION("sinks", "log",
           "Where messages go to: NAME is the plugin alert-NAME, such as log, webhook, smtp, exec", 0, 0,
           HD_OPT_LIST, 0, sinks),
    OPTION("name", NULL, "What messages call this host; the machine's name when empty", 0, 0, HD_OPT_STRING,
           HD_OPTF_RELOADABLE, name),
    OPTION("state_file", NULL,
           "Where alerts, silences and undelivered messages are kept over a restart; not kept when empty", 0,
           0, HD_OPT_STRING, 0, state_file),
    OPTION("interval", "10s", "How often the rules are looked at", 100, DAY_MS, HD_OPT_DURATION,
           HD_OPTF_RELOADABLE, interval),
    OPTION("group_wait", "10s", "How long a first message waits for further alerts of its group", 0, DAY_MS,
           HD_OPT_DURATION, HD_OPTF_RELOADABLE, group_wait),
    OPTION("group_interval", "5m", "Shortest time between messages of a group", 0, DAY_MS, HD_OPT_DURATION,
           HD_OPTF_RELOADABLE, group_interval),
    OPTION("flap_window", "1h", "An alert that fires, ends and fires within this time flaps", 0, 32 * DAY_MS,
           HD_OPT_DURATION, HD_OPTF_RELOADABLE, flap_window),
    OPTION("flap_hold", "10m", "One that flaps is told of again when it has not changed for so long", 0,
           32 * DAY_MS, HD_OPT_DURATION, HD_OPTF_RELOADABLE, flap_hold),
    OPTION("absent_for", "1d", "An alert that fires is over when there was no data for so long; 0: never", 0,
           400 * DAY_MS, HD_OPT_DURATION, HD_OPTF_RELOADABLE, absent_for),
    OPTION("max_alerts", "1000",
           "Alerts that are pending, fire or ended lately; further ones are not looked at", 1, 100000,
           HD_OPT_INT, HD_OPTF_RELOADABLE, max_alerts),
    OPTION("max_silences", "200", "Silences that hold; past it further ones are refused", 1, 10000,
           HD_OPT_INT, HD_OPTF_RELOADABLE, max_silences),
    OPTION("max_series", "5000", "Series that rules look at, all rules together", 1, 1000000, HD_OPT_INT,
           HD_OPTF_RELOADABLE, max_series),
    OPTION("max_baselines", "64", "Series that anomaly rules look at, 20 kB each", 0, 10000, HD_OPT_INT,
           HD_OPTF_RELOADABLE, max_baselines),
    OPTION("max_messages", "1000", "Messages that are not delivered yet; past it the oldest is given up", 1,
           100000, HD_OPT_INT, HD_OPTF_RELOADABLE, max_messages),
    OPTION("max_pages", "16M",
           "Bytes of reports and their pages that are not delivered yet; past it messages go without theirs",
           0, 1073741824, HD_OPT_SIZE, HD_OPTF_RELOADABLE, max_pages),
    OPTION("max_queue", "200", "Messages that wait for one target; further ones are given up", 1, 100000,
           HD_OPT_INT, HD_OPTF_RELOADABLE, max_queue),
    OPTION("timeout", "10s", "Longest time for one delivery", 100, 600000, HD_OPT_DURATION,
           HD_OPTF_RELOADABLE, timeout),
    OPTION("retry", "1s", "Wait before a delivery is tried again; doubled each time, and varied", 10, DAY_MS,
           HD_OPT_DURATION, HD_OPTF_RELOADABLE, retry),
    OPTION("max_retry", "5m", "Longest such wait", 10, DAY_MS, HD_OPT_DURATION, HD_OPTF_RELOADABLE,
           max_retry),
    OPTION("max_retry_after", "1h",
           "Longest wait that a receiver may ask for, as by Retry-After; 0: none that is asked for is kept",
           0, DAY_MS, HD_OPT_DURATION, HD_OPTF_RELOADABLE, max_retry_after),
    OPTION("give_up", "1d", "A message that is not delivered by then never is", 1000, 32 * DAY_MS,
           HD_OPT_DURATION, HD_OPTF_RELOADABLE, give_up),
    OPTION("rate", "30", "Messages a minute to one target, in the long run", 1, 100000, HD_OPT_INT,
           HD_OPTF_RELOADABLE, rate),
    OPTION("burst", "10", "Messages to one target that may go at once", 1, 100000, HD_OPT_INT,
           HD_OPTF_RELOADABLE, burst),
};

/* --- clocks and log --------------------------------------------------------------------------------------
 */

static uint64_t clock_ms(clockid_t which)
{
    struct timespec t;

    clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t al_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC) + CLOCK_OFFSET_MS;
}

int64_t al_wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void al_log(struct al *self, uint32_t level, const char *message, const char *key, const char *value,
            const char *key2, const char *value2)
{
    const char *pairs[] = {key, value, key2, value2, NULL};

    hd_host_api(self->host)->log(self->host, level, message, pairs);
}

/* --- metrics of the host ---------------------------------------------------------------------------------
 */

struct seen {
    int64_t id, value;
    uint32_t type;
    struct al_labels *labels;
};

struct seeing {
    const char *name;
    struct seen *all;
    uint32_t count, max;
};

static int32_t see(void *arg, const struct hd_metric_seen *m)
{
    struct seeing *s = arg;

    if (strcmp(m->name, s->name) != 0)
        return HD_OK;
    if (s->count == s->max) {
        uint32_t max = s->max ? 2 * s->max : 16;
        struct seen *all = realloc(s->all, max * sizeof(*all));

        if (!all)
            return HD_ENOMEM;
        s->all = all;
        s->max = max;
    }
    s->all[s->count] = (struct seen){m->id, m->value, m->type, al_labels_new(m->labels, m->label_count)};
    s->count += s->all[s->count].labels != NULL;
    return HD_OK;
}

/* What names in seconds count is nanoseconds. */
static double unit_of(const char *name)
{
    size_t n = strlen(name);

    return (n > 8 && !strcmp(name + n - 8, "_seconds")) ||
                   (n > 14 && !strcmp(name + n - 14, "_seconds_total"))
               ? 1e-9
               : 1;
}

static int32_t read_metric(void *arg, const char *name, int with_bins,
                           void (*fn)(void *fn_arg, const struct al_reading *r), void *fn_arg)
{
    static struct hd_metric_bins bins; /* the control thread's */
    struct al *self = arg;
    struct seeing s = {.name = name};
    int32_t code = self->metrics->each(self->host, name, see, &s);

    for (uint32_t i = 0; i < s.count; i++) {
        struct al_reading r = {.type = s.all[i].type,
                               .label_count = s.all[i].labels->count,
                               .labels = s.all[i].labels->at,
                               .unit = unit_of(name)};

        r.number = (double)s.all[i].value * r.unit;
        bins.size = sizeof(bins);
        if (r.type == HD_METRIC_SKETCH && with_bins && !self->metrics->bins(self->host, s.all[i].id, &bins))
            r.bins = &bins;
        if (r.type != HD_METRIC_SKETCH || r.bins)
            fn(fn_arg, &r);
        free(s.all[i].labels);
    }
    free(s.all);
    return code;
}

/* --- what comes of it ------------------------------------------------------------------------------------
 */

static void publish(struct al *self, const struct al_alert *a)
{
    int32_t topic = a->state == AL_FIRING ? self->raised : self->cleared;
    struct hd_event_alert ev = {.size = sizeof(ev),
                                .severity = a->severity,
                                .value = a->value,
                                .threshold = a->threshold,
                                .since_us = a->started_us};

    if (!self->bus->wanted(self->host, topic))
        return;
    snprintf(ev.id, sizeof(ev.id), "%s", a->id);
    snprintf(ev.rule, sizeof(ev.rule), "%s", a->rule_name);
    snprintf(ev.summary, sizeof(ev.summary), "%s", a->summary);
    al_labels_print(a->labels, ev.labels, sizeof(ev.labels));
    self->bus->publish(self->host, topic, &ev, sizeof(ev));
}

static void changed(void *arg, const struct al_alert *a)
{
    publish(arg, a);
}

static void tell(void *arg, const struct al_group *g, struct al_alert *const *alerts, uint32_t count,
                 int repeat)
{
    struct al *self = arg;
    struct al_message *m = al_message_new(g, alerts, count, repeat, self->name, self->engine.wall_us,
                                          self->random + self->sequence++);

    if (m)
        al_outbox_add(self, m, g->sinks);
    else
        al_log(self, HD_LEVEL_ERROR, "no memory for a message about alerts", "group", g->title, NULL, NULL);
}

/* --- ticks -----------------------------------------------------------------------------------------------
 */

/* Whoever waits for the alerts looks for them often: meanwhile nobody has them. */
static uint64_t tick_ms(const struct al *self)
{
    return self->standby && self->conf->interval > STANDBY_MS ? STANDBY_MS : (uint64_t)self->conf->interval;
}

/* Where a host before this one still runs, it has the alerts. */
static int have_state(struct al *self)
{
    if (!self->standby)
        return 1;
    self->engine.now_ms = al_now_ms();
    self->engine.wall_us = al_wall_us();
    if (al_save_open(self))
        return 0;
    self->standby = 0;
    self->loop->retime(self->timer, tick_ms(self));
    al_log(self, HD_LEVEL_INFO, "the alerts are this host's now", NULL, NULL, NULL, NULL);
    al_outbox_resume(self);
    return 1;
}

static void tick(void *arg)
{
    struct al *self = arg;
    struct timespec from, to;

    al_sinks_look(self);
    al_outbox_check_rules(self);
    if (!have_state(self))
        return;
    clock_gettime(CLOCK_MONOTONIC, &from);
    al_engine_tick(&self->engine, al_now_ms(), al_wall_us());
    clock_gettime(CLOCK_MONOTONIC, &to);
    al_outbox_reports(self);
    al_sinks_health(self);
    al_meters_set(self, (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)to.tv_nsec -
                            (uint64_t)from.tv_nsec);
    al_save_tick(self);
}

static void reports(void *arg)
{
    struct al *self = arg;

    al_outbox_reports(self);
    if (self->stopping || self->leaving)
        al_finish_stop(self);
    else if (!self->standby)
        al_save_tick(self);
}

/* [any] */
static int wake(void *arg)
{
    struct al *self = arg;

    return self->loop->post(self->host, HD_LOOP_CONTROL, reports, self) == HD_OK;
}

/* --- configuration ---------------------------------------------------------------------------------------
 */

static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    const struct al_conf *c = conf->conf;

    (void)arg;
    if (c->sinks.count > AL_SINKS_MAX)
        return hd_error_set(err, HD_EINVAL, "sinks: at most %d", AL_SINKS_MAX);
    for (uint64_t i = 0; i < c->sinks.count; i++)
        if (c->sinks.items[i].len >= sizeof(((struct al_sink *)0)->name))
            return hd_error_set(err, HD_EINVAL, "sinks: \"%.60s\" is too long", c->sinks.items[i].ptr);
    if (c->retry > c->max_retry)
        return hd_error_set(err, HD_EINVAL, "retry is longer than max_retry");
    if (c->state_file.len && c->state_file.ptr[0] != '/')
        return hd_error_set(err, HD_EINVAL, "state_file: a whole path is needed, from / on");
    return al_rules_check(conf, &c->sinks, err);
}

static void take_conf(struct al *self, const struct hd_conf *conf)
{
    const struct al_conf *c = conf->conf;
    struct al_lane_conf lanes = {.timeout_ms = (uint64_t)c->timeout,
                                 .retry_ms = (uint64_t)c->retry,
                                 .max_retry_ms = (uint64_t)c->max_retry,
                                 .max_asked_ms = (uint64_t)c->max_retry_after,
                                 .max_queue = (uint32_t)c->max_queue,
                                 .rate = (uint32_t)c->rate,
                                 .burst = (uint32_t)c->burst};

    self->conf = c;
    self->unchecked = 1;
    if (c->name.len)
        snprintf(self->name, sizeof(self->name), "%s", c->name.ptr);
    else if (gethostname(self->name, sizeof(self->name) - 1))
        snprintf(self->name, sizeof(self->name), "howdah");
    self->engine.policy = (struct al_policy){.group_wait = (uint64_t)c->group_wait,
                                             .group_interval = (uint64_t)c->group_interval,
                                             .flap_window = (uint64_t)c->flap_window,
                                             .flap_hold = (uint64_t)c->flap_hold,
                                             .absent_for = (uint64_t)c->absent_for,
                                             .max_alerts = (uint32_t)c->max_alerts,
                                             .max_silences = (uint32_t)c->max_silences};
    self->engine.budget.max_series = (uint32_t)c->max_series;
    self->engine.budget.max_baselines = (uint32_t)c->max_baselines;
    al_lanes_configure(&self->lanes, &lanes);
}

/* --- life ------------------------------------------------------------------------------------------------
 */

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    struct al *self = calloc(1, sizeof(*self));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    self->host = host;
    self->lock_fd = -1;
    *out = self;
    return HD_OK;
}

static int32_t find_services(struct al *self, struct hd_error *err)
{
    const struct hd_host_v1 *api = hd_host_api(self->host);

    self->metrics = api->service(self->host, HD_SERVICE_METRICS);
    self->commands = api->service(self->host, HD_SERVICE_COMMANDS);
    self->bus = api->service(self->host, HD_SERVICE_BUS);
    self->loop = api->service(self->host, HD_SERVICE_LOOP);
    self->jobs = api->service(self->host, HD_SERVICE_JOBS);
    self->health = api->service(self->host, HD_SERVICE_HEALTH);
    if (!self->metrics || !self->commands || !self->bus || !self->loop || !self->jobs ||
        !HD_HAS(self->metrics, bins))
        return hd_error_set(err, HD_EVERSION, "this host has not all services that alerts need");
    return HD_OK;
}

void al_finish_stop(struct al *self)
{
    if (self->stopping == 2 || self->saving || al_lanes_live(&self->lanes))
        return;
    al_save_close(self);
    if (!self->stopping)
        return;
    self->stopping = 2;
    hd_host_api(self->host)->stopped(self->host);
}

/* Looks at nothing any more, and lets what is being delivered end. */
static void leave(struct al *self)
{
    if (self->timer)
        self->loop->untimer(self->timer);
    self->timer = NULL;
    al_lanes_stop(&self->lanes);
}

/* The host that serves in this one's place has seen the alerts in standby; it takes them over with their
 * file.
 */
static void on_retiring(void *arg, const struct hd_event *ev)
{
    struct al *self = arg;

    if (!ev->data || ev->remote || self->stopping)
        return;
    al_log(self, HD_LEVEL_INFO, "the alerts are the other host's now", NULL, NULL, NULL, NULL);
    self->leaving = 1;
    leave(self);
    al_finish_stop(self);
}

static int32_t find_topics(struct al *self, struct hd_error *err)
{
    int32_t code = self->bus->declare(self->host, HD_TOPIC_ALERT_RAISED, sizeof(struct hd_event_alert),
                                      HD_TOPIC_LOSSY, err);

    if (code == HD_OK)
        code = self->bus->declare(self->host, HD_TOPIC_ALERT_CLEARED, sizeof(struct hd_event_alert),
                                  HD_TOPIC_LOSSY, err);
    if (code == HD_OK && self->bus->subscribe(self->host, HD_TOPIC_HOST_RETIRING, on_retiring, self, err) < 0)
        al_log(self, HD_LEVEL_DEBUG, "this host does not tell when another serves", NULL, NULL, NULL, NULL);
    self->raised = self->bus->topic(self->host, HD_TOPIC_ALERT_RAISED);
    self->cleared = self->bus->topic(self->host, HD_TOPIC_ALERT_CLEARED);
    return code;
}

static int32_t start_engine(struct al *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct al_engine *e = &self->engine;
    int32_t code = al_engine_init(e);

    e->source = (struct al_source){read_metric, self};
    e->hooks = (struct al_hooks){changed, tell, self};
    e->now_ms = al_now_ms();
    e->wall_us = al_wall_us();
    if (code)
        return hd_error_set(err, code, "no memory for the rules");
    return al_engine_rules(e, conf, err);
}

static void open_state(struct al *self)
{
    if (!self->conf->state_file.len) {
        al_log(self, HD_LEVEL_INFO, "alerts are not kept over a restart: there is no state_file", NULL, NULL,
               NULL, NULL);
        return;
    }
    self->standby = al_save_open(self) == HD_EBUSY;
    if (self->standby)
        al_log(self, HD_LEVEL_INFO, "another host has the alerts; this one waits for their state file",
               "file", self->conf->state_file.ptr, NULL, NULL);
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct al *self = arg;
    int32_t code = find_services(self, err);

    if (code == HD_OK && al_lanes_init(&self->lanes, wake, self))
        code = hd_error_set(err, HD_ENOMEM, "no memory for the sinks");
    if (code)
        return code;
    self->started = 1;
    if (getrandom(&self->random, sizeof(self->random), 0) != sizeof(self->random))
        self->random = al_now_ms();
    take_conf(self, conf);
    code = al_sinks_find(self, err);
    if (code == HD_OK)
        code = find_topics(self, err);
    if (code == HD_OK)
        code = start_engine(self, conf, err);
    if (code == HD_OK)
        code = al_show_start(self, err);
    if (code)
        return code;
    al_meters_find(self);
    open_state(self);
    self->timer = self->loop->timer(self->host, tick_ms(self), 1, tick, self);
    if (!self->timer)
        return hd_error_set(err, HD_ENOMEM, "no memory for a timer");
    al_sinks_look(self);
    al_outbox_resume(self);
    return HD_OK;
}

static void reload(void *arg, const struct hd_conf *conf)
{
    struct hd_error err = HD_ERROR_INIT;
    struct al *self = arg;
    int64_t interval = self->conf->interval;

    take_conf(self, conf);
    if (al_engine_rules(&self->engine, conf, &err))
        al_log(self, HD_LEVEL_ERROR, "the rules could not be taken over", "reason", err.text, NULL, NULL);
    if (self->conf->interval != interval && self->timer)
        self->loop->retime(self->timer, tick_ms(self));
}

static int32_t stop(void *arg)
{
    struct al *self = arg;

    self->stopping = 1;
    leave(self);
    if (self->saving || al_lanes_live(&self->lanes))
        return HD_PENDING;
    self->stopping = 2;
    al_save_close(self);
    return HD_OK;
}

static void destroy(void *arg)
{
    struct al *self = arg;

    if (self->started) {
        al_outbox_free(self);
        al_lanes_free(&self->lanes);
        al_engine_free(&self->engine);
    }
    free(self);
}

static const struct hd_alerts_v1 alerts = {
    .size = sizeof(alerts), .tell = al_outbox_tell, .say = al_outbox_say, .targets = al_outbox_targets};

static const void *capability(const char *name)
{
    return strcmp(name, HD_CAP_ALERTS) == 0 ? &alerts : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "alerts",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Looks at metrics by rules, and tells sinks what fires and what is over",
    .options = HD_OPTIONS(struct al_conf, options),
    .section_count = 1,
    .sections = &al_rule_kind,
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
