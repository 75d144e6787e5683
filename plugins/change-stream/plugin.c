/*
 * change-stream: what transactions change in the servers' databases, read by logical replication, for those
 * who keep something that hangs on it. This file: options, services, and the life of the plugin, whose end
 * waits for that of its streams.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

#define OPT(type, member, value, lo, hi, doc)                                                                \
    {                                                                                                        \
#member, value, NULL, doc, lo, hi, HD_OPT_##type, 0, offsetof(struct conf, member), 0                \
    }

static const struct hd_option options[] = {
    OPT(STRING, user, NULL, 0, 0,
        "Who reads the stream: has to have the attribute REPLICATION; the node's control_user when empty"),
    OPT(SECRET, password, NULL, 0, 0, "Its password"),
    OPT(STRING, publication, "howdah", 0, 0, "Publication of the tables whose changes are read"),
    OPT(BOOL, manage_publication, "yes", 0, 0,
        "Makes the publication, and adds the tables that are asked for, as control_user; they have to have a "
        "replica identity"),
    OPT(BOOL, watch_roles, "yes", 0, 0,
        "Each question to the server looks whether roles have changed, which costs time with thousands of "
        "them"),
    OPT(INT, max_streams, "16", 1, 1000, "Databases of nodes that are read at a time"),
    OPT(INT, max_tables, "1000", 1, 100000, "Tables that may be asked for in one database"),
    OPT(INT, max_waiting, "10000", 1, 1e6,
        "Reads that may wait for a stream at a time; others go without it"),
    OPT(SIZE, max_lag, "1G", 1e6, 1e15,
        "Log that a server may have to keep for a stream; past it the stream gives up its slot and begins "
        "anew"),
    OPT(DURATION, status_interval, "1s", 10, 60000,
        "How often a server is told how far its stream has been read"),
    OPT(DURATION, receive_timeout, "30s", 1000, 3.6e6, "Silence after which a server counts as gone"),
    OPT(DURATION, retry_interval, "500ms", 10, 3.6e6,
        "Pause after a stream was lost; doubled up to 30 s while it cannot be had"),
};

void cs_log(struct plugin *p, uint32_t level, const char *message, const struct stream *s, const char *why)
{
    const char *const pairs[] = {"node", s->node, "database", s->dbname, "reason", why, NULL};

    hd_host_api(p->host)->log(p->host, level, message, pairs);
}

void cs_stream_gone(struct stream *s)
{
    struct plugin *p = s->plugin;
    hd_host *host = p->host;
    int last;

    pthread_mutex_lock(&p->lock);
    for (struct stream **at = &p->streams; *at; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            break;
        }
    }
    last = --p->stream_count == 0 && p->stopping;
    pthread_mutex_unlock(&p->lock);
    cs_health_end(s);
    cs_stream_free(s);
    if (last)
        hd_host_api(host)->stopped(host);
}

/* --- the capability ------------------------------------------------------------------------------------ */

static uint64_t position(hd_stream *h)
{
    return atomic_load(&h->running) ? atomic_load(&h->stream->position) : 0;
}

static const char *setup(void *self)
{
    (void)self;
    return cs_setup_sql;
}

static const char *unsetup(void *self)
{
    (void)self;
    return cs_unsetup_sql;
}

static const struct hd_change_stream_v1 vtable = {
    .size = sizeof(struct hd_change_stream_v1),
    .open = cs_open,
    .close = cs_close,
    .cover = cs_cover,
    .covered = cs_covered,
    .position = position,
    .wait = cs_wait,
    .check = cs_check,
    .info = cs_info,
    .setup = setup,
    .unsetup = unsetup,
};

static const void *capability(const char *name)
{
    return strcmp(name, HD_CAP_CHANGE_STREAM) == 0 ? &vtable : NULL;
}

/* --- life ---------------------------------------------------------------------------------------------- */

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    struct plugin *p = calloc(1, sizeof(*p));

    if (!p)
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    p->host = host;
    p->topic = -1;
    pthread_mutex_init(&p->lock, NULL);
    *self = p;
    return HD_OK;
}

static int32_t check(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    const struct conf *c = conf->conf;

    (void)self;
    if (!c->publication.len || c->publication.len > 63)
        return hd_error_set(err, HD_EINVAL, "%s: publication has to have a name of at most 63 bytes",
                            conf->origin);
    if (c->password.len && !c->user.len)
        return hd_error_set(err, HD_EINVAL, "%s: a password without a user", conf->origin);
    return HD_OK;
}

static int32_t find_services(struct plugin *p, struct hd_error *err)
{
    const struct hd_host_v1 *api = hd_host_api(p->host);

    p->nodes = api->service(p->host, HD_SERVICE_NODES);
    p->jobs = api->service(p->host, HD_SERVICE_JOBS);
    p->bus = api->service(p->host, HD_SERVICE_BUS);
    p->commands = api->service(p->host, HD_SERVICE_COMMANDS);
    p->metrics = api->service(p->host, HD_SERVICE_METRICS);
    p->health = api->service(p->host, HD_SERVICE_HEALTH);
    if (p->nodes && p->jobs && p->bus && p->commands && p->metrics && p->health)
        return HD_OK;
    return hd_error_set(err, HD_EVERSION,
                        "this host lacks a service that is needed: nodes, jobs, bus, commands, metrics");
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct plugin *p = self;
    int32_t code = find_services(p, err);

    if (code)
        return code;
    p->conf = conf->conf;
    code =
        p->bus->declare(p->host, HD_TOPIC_ROW_CHANGED, sizeof(struct hd_event_row), HD_TOPIC_MUST_KNOW, err);
    if (code)
        return code;
    p->topic = p->bus->topic(p->host, HD_TOPIC_ROW_CHANGED);
    return p->commands->add(p->host, "SHOW STREAMS", "", "Change streams with their positions and counts",
                            HD_CMDF_READ_ONLY, cs_show, p, err);
}

/* All values stay, in other memory. */
static void reload(void *self, const struct hd_conf *conf)
{
    struct plugin *p = self;

    p->conf = conf->conf;
}

static int32_t stop(void *self)
{
    struct plugin *p = self;
    int32_t code;

    pthread_mutex_lock(&p->lock);
    p->stopping = 1;
    code = p->stream_count ? HD_PENDING : HD_OK;
    for (struct stream *s = p->streams; s; s = s->next) {
        atomic_store(&s->stop, 1);
        cs_wake(s);
    }
    pthread_mutex_unlock(&p->lock);
    return code;
}

static void destroy(void *self)
{
    struct plugin *p = self;

    pthread_mutex_destroy(&p->lock);
    free(p);
}

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "change-stream",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Reads what changes in databases, by logical replication",
    .options = HD_OPTIONS(struct conf, options),
    .create = create,
    .check = check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .destroy = destroy,
    .capability = capability,
};
