/*
 * The plugin "bus-redis": carries chosen topics of the bus between hosts, over a channel in Redis. What it
 * does is carry.c's; all of it happens on the control thread.
 */
#include "bus-redis/bus-redis.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const struct hd_option options[] = {
    {"url", "redis://127.0.0.1:6379/0", NULL,
     "Where Redis is: redis://[user:password@]host:port, unix:PATH, "
     "redis+sentinel://h1:p1,h2:p2/master-name; of a "
     "cluster one server, as redis://; over TLS rediss://, rediss+sentinel://",
     0, 0, HD_OPT_SECRET, 0, offsetof(struct br_conf, url), 0},
    {"password", NULL, NULL, "The password for Redis, where the URL has none", 0, 0, HD_OPT_SECRET, 0,
     offsetof(struct br_conf, password), 0},
    {"sentinel_password", NULL, NULL, "The password for the sentinels, which is not that for Redis", 0, 0,
     HD_OPT_SECRET, 0, offsetof(struct br_conf, sentinel_password), 0},
    RDS_TLS_OPTIONS(struct br_conf, tls),
    {"prefix", "howdah:", NULL, "What the channel's name begins with", 0, 0, HD_OPT_STRING, 0,
     offsetof(struct br_conf, prefix), 0},
    {"namespace", "default", NULL, "Part of the channel's name: hosts hear each other if they have the same",
     0, 0, HD_OPT_STRING, 0, offsetof(struct br_conf, name_space), 0},
    {"topics", "table.written/1", NULL,
     "Topics that are carried, such as table.written/1, ddl.observed/1; all hosts should have the same", 0, 0,
     HD_OPT_LIST, 0, offsetof(struct br_conf, topics), 0},
    {"heartbeat", "1s", NULL,
     "How often hosts let hear of themselves; after four times that without a word one counts as lost", 50,
     60000, HD_OPT_DURATION, 0, offsetof(struct br_conf, heartbeat), 0},
    {"connect_timeout", "1s", NULL, "Longest time for one connection, its login included", 10, 60000,
     HD_OPT_DURATION, 0, offsetof(struct br_conf, connect_timeout), 0},
    {"retry", "100ms", NULL, "Wait before a lost server is tried again; doubled each time that this fails",
     10, 60000, HD_OPT_DURATION, 0, offsetof(struct br_conf, retry), 0},
    {"max_retry", "2s", NULL, "Longest such wait", 10, 600000, HD_OPT_DURATION, 0,
     offsetof(struct br_conf, max_retry), 0},
    {"max_pending", "10000", NULL,
     "Events on their way to Redis; further ones are dropped, and the other hosts told of the gap", 16,
     1000000, HD_OPT_INT, 0, offsetof(struct br_conf, max_pending), 0},
};

/* --- configuration ---------------------------------------------------------------------------------------
 */

static int32_t check_label(struct hd_str s, const char *what, struct hd_error *err)
{
    if (s.len > BR_LABEL_MAX)
        return hd_error_set(err, HD_EINVAL, "%s: longer than %d bytes", what, BR_LABEL_MAX);
    for (uint64_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
            return hd_error_set(err, HD_EINVAL, "%s: only printable ASCII without blanks", what);
    return HD_OK;
}

static int32_t check_topics(const struct hd_str_list *topics, struct hd_error *err)
{
    if (!topics->count || topics->count > BR_TOPICS_MAX)
        return hd_error_set(err, HD_EINVAL, "topics: 1 to %d of them", BR_TOPICS_MAX);
    for (uint64_t i = 0; i < topics->count; i++) {
        const struct hd_str *t = &topics->items[i];

        if (t->len >= HD_EVENT_NAME || !memchr(t->ptr, '/', t->len))
            return hd_error_set(err, HD_EINVAL,
                                "topics: \"%.*s\" is none; they are named as in table.written/1", (int)t->len,
                                t->ptr);
    }
    return HD_OK;
}

/* One password from the URL or the option. */
static int32_t take_secret(struct hd_str given, const char *what, char out[RDS_NAME_SIZE],
                           struct hd_error *err)
{
    if (!given.len)
        return HD_OK;
    if (*out)
        return hd_error_set(err, HD_EINVAL, "%s: the URL has one already; leave one of them out", what);
    if (given.len >= RDS_NAME_SIZE)
        return hd_error_set(err, HD_EINVAL, "%s: longer than %d bytes", what, RDS_NAME_SIZE - 1);
    memcpy(out, given.ptr, given.len);
    out[given.len] = '\0';
    return HD_OK;
}

static int32_t read_conf(const struct br_conf *c, struct rds_url *url, char password[RDS_NAME_SIZE],
                         char sentinel_password[RDS_NAME_SIZE], struct hd_error *err)
{
    int32_t code = rds_url_parse(c->url, url, err);

    if (code)
        return code;
    if (url->kind == RDS_CLUSTER)
        return hd_error_set(err, HD_EINVAL, "url: name one server of the cluster, as redis://host:port");
    memcpy(password, url->password, RDS_NAME_SIZE);
    sentinel_password[0] = '\0';
    if ((code = take_secret(c->password, "password", password, err)) ||
        (code = take_secret(c->sentinel_password, "sentinel_password", sentinel_password, err)) ||
        (code = check_label(c->prefix, "prefix", err)) ||
        (code = check_label(c->name_space, "namespace", err)) || (code = check_topics(&c->topics, err)))
        return code;
    return c->retry > c->max_retry ? hd_error_set(err, HD_EINVAL, "retry is longer than max_retry") : HD_OK;
}

static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    char password[RDS_NAME_SIZE], sentinel_password[RDS_NAME_SIZE];
    const struct br_conf *c = conf->conf;
    struct rds_tls *tls = NULL;
    struct rds_url url;
    int32_t code = read_conf(c, &url, password, sentinel_password, err);

    (void)arg;
    if (code == HD_OK)
        code = rds_tls_new(&c->tls, &url, &tls, err);
    rds_tls_free(tls);
    return code;
}

static void take_conf(struct br *self, const struct br_conf *c)
{
    self->heartbeat_ms = (uint64_t)c->heartbeat;
    snprintf(self->channel, sizeof(self->channel), "%.*s%.*s:bus", (int)c->prefix.len, c->prefix.ptr,
             (int)c->name_space.len, c->name_space.ptr);
    self->topics = (uint32_t)c->topics.count;
    for (uint32_t i = 0; i < self->topics; i++) {
        self->topic[i].self = self;
        memcpy(self->topic[i].name, c->topics.items[i].ptr, c->topics.items[i].len);
    }
    self->link = (struct rds_link_conf){
        .env = &self->env,
        .limits = {.timeout_ms = (uint64_t)c->heartbeat,
                   .silent_ms = (uint64_t)c->heartbeat * 4,
                   .connect_ms = (uint64_t)c->connect_timeout,
                   .max_pending = (uint32_t)c->max_pending,
                   .max_output = (uint64_t)c->max_pending * BR_MESSAGE_MAX,
                   .max_input = 1 << 20},
        .login = {.user = self->url.user,
                  .password = self->password,
                  .db = self->url.db,
                  .master = self->url.kind == RDS_SENTINEL,
                  .tls = self->tls},
        .url = &self->url,
        .sentinel_login = {.user = "", .password = self->sentinel_password, .tls = self->tls},
        .retry_ms = (uint64_t)c->retry,
        .retry_max_ms = (uint64_t)c->max_retry,
    };
    self->subscriber = self->link;
    self->subscriber.limits.max_pending = 16;
}

/* --- life ------------------------------------------------------------------------------------------------
 */

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    struct br *self = calloc(1, sizeof(*self));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    self->env.host = host;
    *out = self;
    return HD_OK;
}

static int32_t find_services(struct br *self, struct hd_error *err)
{
    hd_host *host = self->env.host;

    self->metrics = hd_host_api(host)->service(host, HD_SERVICE_METRICS);
    self->commands = hd_host_api(host)->service(host, HD_SERVICE_COMMANDS);
    self->bus = hd_host_api(host)->service(host, HD_SERVICE_BUS);
    if (!self->metrics || !self->commands || !self->bus || !HD_HAS(self->bus, lost))
        return hd_error_set(err, HD_EVERSION,
                            "this host has no metrics, no commands or no bus that can be carried on");
    return rds_env_start(&self->env, host, err);
}

static void find_metrics(struct br *self)
{
    static const struct {
        const char *name, *help;
    } metrics[BR_COUNTS] = {
        [BR_SENT] = {"howdah_bus_redis_sent_total", "Events sent to other hosts"},
        [BR_RECEIVED] = {"howdah_bus_redis_received_total", "Events that came from other hosts"},
        [BR_DROPPED] = {"howdah_bus_redis_dropped_total", "Messages that could not be sent"},
        [BR_GAPS] = {"howdah_bus_redis_gaps_total", "Times that events of other hosts may have been missed"},
        [BR_WRONG] = {"howdah_bus_redis_wrong_total", "Messages that could not be read"},
    };

    for (int i = 0; i < BR_COUNTS; i++)
        self->metric[i] =
            self->metrics->get(self->env.host, HD_METRIC_COUNTER, metrics[i].name, metrics[i].help, NULL, 0);
    self->metric_up = self->metrics->get(self->env.host, HD_METRIC_GAUGE, "howdah_bus_redis_up",
                                         "1 while other hosts are heard", NULL, 0);
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct br *self = arg;
    int32_t code = find_services(self, err);

    if (code == HD_OK)
        code = read_conf(conf->conf, &self->url, self->password, self->sentinel_password, err);
    if (code == HD_OK)
        code = rds_tls_new(&((const struct br_conf *)conf->conf)->tls, &self->url, &self->tls, err);
    if (code == HD_OK)
        code = self->bus->declare(self->env.host, HD_TOPIC_BUS_LINK, sizeof(struct hd_event_link),
                                  HD_TOPIC_MUST_KNOW, err);
    if (code == HD_OK)
        code = br_show_start(self, err);
    if (code)
        return code;
    if (getrandom(&self->host, sizeof(self->host), 0) != sizeof(self->host))
        return hd_error_set(err, HD_EIO, "no random numbers for the host's name");
    self->link_topic = self->bus->topic(self->env.host, HD_TOPIC_BUS_LINK);
    take_conf(self, conf->conf);
    find_metrics(self);
    return br_carry_start(self, err);
}

/* Nothing can be changed without a restart. */
static void reload(void *arg, const struct hd_conf *conf)
{
    (void)arg;
    (void)conf;
}

static int32_t stop(void *arg)
{
    struct br *self = arg;

    br_carry_stop(self);
    return rds_env_stop(&self->env);
}

static void destroy(void *arg)
{
    rds_tls_free(((struct br *)arg)->tls);
    explicit_bzero(arg, sizeof(struct br));
    free(arg);
}

static const void *capability(const char *name)
{
    (void)name;
    return NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "bus-redis",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Carries topics of the bus between hosts, over Redis",
    .options = HD_OPTIONS(struct br_conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
