/*
 * The plugin "cache-redis": a cache store that several hosts share, in Redis. Each worker has connections of
 * its own on its own loop, and keeps what is needed to use them in a variable of its thread; nothing is
 * shared on the way of a statement.
 *
 * Plugins start before workers do, so each worker is told to begin as soon as it can be told anything.
 */
#include "cache-redis/cache-redis.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAKE_MS   20
#define LABEL_MAX 64 /* of prefix and namespace */

static const struct hd_option options[] = {
    {"url", "redis://127.0.0.1:6379/0", NULL,
     "Where Redis is: redis://[user:password@]host:port/db, unix:PATH, "
     "redis+sentinel://h1:p1,h2:p2/master-name, "
     "redis+cluster://h1:p1,h2:p2; over TLS rediss://, rediss+sentinel://, rediss+cluster://",
     0, 0, HD_OPT_SECRET, 0, offsetof(struct cr_conf, url), 0},
    {"password", NULL, NULL, "The password for Redis, where the URL has none", 0, 0, HD_OPT_SECRET, 0,
     offsetof(struct cr_conf, password), 0},
    {"sentinel_password", NULL, NULL, "The password for the sentinels, which is not that for Redis", 0, 0,
     HD_OPT_SECRET, 0, offsetof(struct cr_conf, sentinel_password), 0},
    RDS_TLS_OPTIONS(struct cr_conf, tls),
    {"prefix", "howdah:", NULL, "What the names of all keys in Redis begin with", 0, 0, HD_OPT_STRING, 0,
     offsetof(struct cr_conf, prefix), 0},
    {"namespace", "default", NULL,
     "Part of the names behind the prefix: hosts share values if they have the same, and must not unless "
     "their [node]s of the same name are the same servers",
     0, 0, HD_OPT_STRING, 0, offsetof(struct cr_conf, name_space), 0},
    {"ttl", "2h", NULL, "Longest time that a value is kept", 1, 31536000000.0, HD_OPT_DURATION,
     HD_OPTF_RELOADABLE, offsetof(struct cr_conf, ttl), 0},
    {"max_value_bytes", "1M", NULL, "Longer values are not kept here; the key counts", 1024, 67108864,
     HD_OPT_SIZE, 0, offsetof(struct cr_conf, max_value_bytes), 0},
    {"compress_above", "1K", NULL, "Longer values are compressed (LZ4)", 0, 67108864, HD_OPT_SIZE,
     HD_OPTF_RELOADABLE, offsetof(struct cr_conf, compress_above), 0},
    {"timeout", "5ms", NULL, "Longest wait for a reply; then the statement goes on without it", 1, 10000,
     HD_OPT_DURATION, 0, offsetof(struct cr_conf, timeout), 0},
    {"connect_timeout", "1s", NULL, "Longest time for one connection, its login included", 10, 60000,
     HD_OPT_DURATION, 0, offsetof(struct cr_conf, connect_timeout), 0},
    {"retry", "100ms", NULL, "Wait before a lost server is tried again; doubled each time that this fails",
     10, 60000, HD_OPT_DURATION, 0, offsetof(struct cr_conf, retry), 0},
    {"max_retry", "5s", NULL, "Longest such wait", 10, 600000, HD_OPT_DURATION, 0,
     offsetof(struct cr_conf, max_retry), 0},
    {"max_pending", "1000", NULL, "Commands without a reply, per connection; further ones are not tried", 8,
     100000, HD_OPT_INT, 0, offsetof(struct cr_conf, max_pending), 0},
    {"max_buffer", "16M", NULL, "Bytes that wait to be sent, per connection; past it values are not sent",
     65536, 1073741824, HD_OPT_SIZE, 0, offsetof(struct cr_conf, max_buffer), 0},
};

/* --- what each worker has --------------------------------------------------------------------------------
 */

static _Thread_local struct cr_worker *here;

struct cr_worker *cr_here(struct cr *self)
{
    return here && here->self == self ? here : NULL;
}

/* On its way to one worker. */
struct errand {
    struct cr *self;
    int32_t worker;
};

static void end_errand(struct errand *e)
{
    struct rds_env *env = &e->self->env;

    free(e);
    rds_errand_end(env);
}

static void show_worker(struct cr *self, int32_t number, struct cr_worker *w)
{
    pthread_mutex_lock(&self->lock);
    self->worker[number] = w;
    pthread_mutex_unlock(&self->lock);
}

static void begin_worker(void *arg)
{
    struct errand *e = arg;
    struct cr *self = e->self;
    struct cr_worker *w = calloc(1, sizeof(*w));

    if (w) {
        w->self = self;
        w->number = e->worker;
        w->servers = rds_servers_new(&self->link, e->worker);
    }
    if (w && w->servers) {
        here = w;
        show_worker(self, e->worker, w);
    } else {
        free(w);
        hd_host_api(self->env.host)
            ->failed(self->env.host, "no memory for a worker's connections; it goes without");
    }
    end_errand(e);
}

static void end_worker(void *arg)
{
    struct errand *e = arg;
    struct cr_worker *w = cr_here(e->self);

    if (w) {
        show_worker(e->self, e->worker, NULL);
        here = NULL;
        rds_servers_free(w->servers);
        cr_free_calls(w);
        cr_buffer_free(&w->entry);
        cr_buffer_free(&w->room);
        free(w);
    }
    end_errand(e);
}

/* 0: the worker cannot be told, or not now. */
static int tell_worker(struct cr *self, int32_t worker, void (*fn)(void *arg))
{
    struct errand *e = calloc(1, sizeof(*e));

    if (!e)
        return 0;
    e->self = self;
    e->worker = worker;
    rds_errand_begin(&self->env);
    if (self->env.loop->post(self->env.host, worker, fn, e) == HD_OK)
        return 1;
    end_errand(e);
    return 0;
}

static int32_t workers(const struct cr *self)
{
    uint32_t n = hd_host_api(self->env.host)->workers;

    return n < CR_WORKERS_MAX ? (int32_t)n : CR_WORKERS_MAX;
}

/* Again and again until all workers are there. */
static void wake(void *arg)
{
    struct cr *self = arg;
    int missing = 0;

    for (int32_t i = 0; i < workers(self); i++) {
        if (!self->told[i])
            self->told[i] = (uint8_t)tell_worker(self, i, begin_worker);
        missing += !self->told[i];
    }
    if (missing)
        return;
    self->env.loop->untimer(self->wake);
    self->wake = NULL;
}

/* --- configuration ---------------------------------------------------------------------------------------
 */

/* Everything that is not secret stays as it was given. */
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

static int32_t check_label(struct hd_str s, const char *what, struct hd_error *err)
{
    if (s.len > LABEL_MAX)
        return hd_error_set(err, HD_EINVAL, "%s: longer than %d bytes", what, LABEL_MAX);
    for (uint64_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
            return hd_error_set(err, HD_EINVAL, "%s: only printable ASCII without blanks", what);
    return HD_OK;
}

/* Reads the parts that are more than a value in its range. */
static int32_t read_conf(const struct cr_conf *c, struct rds_url *url, char password[RDS_NAME_SIZE],
                         char sentinel_password[RDS_NAME_SIZE], struct hd_error *err)
{
    int32_t code = rds_url_parse(c->url, url, err);

    if (code)
        return code;
    memcpy(password, url->password, RDS_NAME_SIZE);
    sentinel_password[0] = '\0';
    if ((code = take_secret(c->password, "password", password, err)) ||
        (code = take_secret(c->sentinel_password, "sentinel_password", sentinel_password, err)) ||
        (code = check_label(c->prefix, "prefix", err)) ||
        (code = check_label(c->name_space, "namespace", err)))
        return code;
    if (*url->user && !*password)
        return hd_error_set(err, HD_EINVAL, "url: it names a user, but there is no password");
    return c->retry > c->max_retry ? hd_error_set(err, HD_EINVAL, "retry is longer than max_retry") : HD_OK;
}

static int32_t check(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    char password[RDS_NAME_SIZE], sentinel_password[RDS_NAME_SIZE];
    const struct cr_conf *c = conf->conf;
    struct rds_tls *tls = NULL;
    struct rds_url url;
    int32_t code = read_conf(c, &url, password, sentinel_password, err);

    (void)arg;
    if (code == HD_OK)
        code = rds_tls_new(&c->tls, &url, &tls, err);
    rds_tls_free(tls);
    return code;
}

static void reload(void *arg, const struct hd_conf *conf)
{
    struct cr *self = arg;
    const struct cr_conf *c = conf->conf;

    atomic_store(&self->ttl_ms, (uint64_t)c->ttl);
    atomic_store(&self->compress_above, (uint64_t)c->compress_above);
}

static void take_conf(struct cr *self, const struct cr_conf *c)
{
    uint64_t timeout = (uint64_t)c->timeout;

    self->max_value = (uint64_t)c->max_value_bytes;
    self->head_len = (size_t)snprintf(self->head, sizeof(self->head), "%.*s%.*s:", (int)c->prefix.len,
                                      c->prefix.ptr, (int)c->name_space.len, c->name_space.ptr);
    self->link = (struct rds_link_conf){
        .env = &self->env,
        .limits = {.timeout_ms = timeout,
                   .silent_ms = timeout * 20 < 200 ? 200 : timeout * 20,
                   .connect_ms = (uint64_t)c->connect_timeout,
                   .max_pending = (uint32_t)c->max_pending,
                   .max_output = (uint64_t)c->max_buffer,
                   .max_input = self->max_value + 65536},
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
}

/* --- life ------------------------------------------------------------------------------------------------
 */

static int32_t create(hd_host *host, void **out, struct hd_error *err)
{
    struct cr *self = calloc(1, sizeof(*self));

    if (!self)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    self->env.host = host;
    pthread_mutex_init(&self->lock, NULL);
    *out = self;
    return HD_OK;
}

static void find_metrics(struct cr *self)
{
    static const struct {
        const char *name, *help;
    } metrics[CR_COUNTS] = {
        [CR_HITS] = {"howdah_cache_redis_hits_total", "Values found in Redis"},
        [CR_MISSES] = {"howdah_cache_redis_misses_total", "Values that were not there"},
        [CR_PUTS] = {"howdah_cache_redis_puts_total", "Values sent to Redis"},
        [CR_REJECTED] = {"howdah_cache_redis_rejected_total",
                         "Values that were too long, or without any time left"},
        [CR_TIMEOUTS] = {"howdah_cache_redis_timeouts_total", "Commands that Redis did not answer in time"},
        [CR_WRONG] = {"howdah_cache_redis_wrong_values_total",
                      "Values that were cut, changed or of another version"},
        [CR_ERRORS] = {"howdah_cache_redis_errors_total", "Commands that failed, lost connections included"},
        [CR_BYPASSED] = {"howdah_cache_redis_bypassed_total",
                         "Calls that were not tried: Redis was down or slow"},
        [CR_FULL] = {"howdah_cache_redis_full_total", "Values that Redis had no room for"},
    };

    for (int i = 0; i < CR_COUNTS; i++)
        self->metric[i] =
            self->metrics->get(self->env.host, HD_METRIC_COUNTER, metrics[i].name, metrics[i].help, NULL, 0);
    self->seconds = self->metrics->get(self->env.host, HD_METRIC_SKETCH, "howdah_cache_redis_seconds",
                                       "Time from a look-up in Redis to its end, well or not", NULL, 0);
}

static int32_t find_services(struct cr *self, struct hd_error *err)
{
    hd_host *host = self->env.host;

    self->metrics = hd_host_api(host)->service(host, HD_SERVICE_METRICS);
    self->commands = hd_host_api(host)->service(host, HD_SERVICE_COMMANDS);
    if (!self->metrics || !self->commands)
        return hd_error_set(err, HD_EVERSION, "this host has no metrics or no commands");
    return rds_env_start(&self->env, host, err);
}

static int32_t start(void *arg, const struct hd_conf *conf, struct hd_error *err)
{
    struct cr *self = arg;
    int32_t code = find_services(self, err);

    if (code == HD_OK)
        code = read_conf(conf->conf, &self->url, self->password, self->sentinel_password, err);
    if (code == HD_OK)
        code = rds_tls_new(&((const struct cr_conf *)conf->conf)->tls, &self->url, &self->tls, err);
    if (code == HD_OK)
        code = cr_show_start(self, err);
    if (code)
        return code;
    take_conf(self, conf->conf);
    reload(self, conf);
    find_metrics(self);
    self->wake = self->env.loop->timer(self->env.host, WAKE_MS, 1, wake, self);
    return self->wake ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory for a timer");
}

static int32_t stop(void *arg)
{
    struct cr *self = arg;

    if (self->wake)
        self->env.loop->untimer(self->wake);
    self->wake = NULL;
    cr_flush_stop(self);
    for (int32_t i = 0; i < workers(self); i++)
        if (self->told[i])
            tell_worker(self, i, end_worker);
    return rds_env_stop(&self->env);
}

static void destroy(void *arg)
{
    struct cr *self = arg;

    pthread_mutex_destroy(&self->lock);
    rds_tls_free(self->tls);
    explicit_bzero(self, sizeof(*self));
    free(self);
}

static const void *capability(const char *name)
{
    return strcmp(name, HD_CAP_CACHE_STORE) == 0 ? &cr_store : NULL;
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "cache-redis",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Keeps results of the cache in Redis, for all hosts",
    .options = HD_OPTIONS(struct cr_conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
