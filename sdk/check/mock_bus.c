/*
 * The small host's bus: the host's topics are there from the start, events are kept, and delivered when the
 * test runs the loop.
 */
#include "mock_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mock_event_entry {
    unsigned topic;
    uint32_t size;
    void *data;
};

static int find(const struct mock *m, const char *name)
{
    for (unsigned i = 0; i < m->topic_count; i++)
        if (strcmp(m->topics[i].name, name) == 0)
            return (int)i;
    return -1;
}

static unsigned add_topic(struct mock *m, const char *name, uint32_t size)
{
    m->topics = mock_grow(m->topics, m->topic_count, sizeof(*m->topics));
    memset(&m->topics[m->topic_count], 0, sizeof(*m->topics));
    m->topics[m->topic_count].name = mock_copy(name, strlen(name));
    m->topics[m->topic_count].data_size = size;
    return m->topic_count++;
}

static void add_host_topics(struct mock *m)
{
    add_topic(m, HD_TOPIC_SESSION_OPENED, sizeof(struct hd_event_session));
    add_topic(m, HD_TOPIC_SESSION_CLOSED, sizeof(struct hd_event_session));
    add_topic(m, HD_TOPIC_STATEMENT_FINISHED, sizeof(struct hd_event_statements));
    add_topic(m, HD_TOPIC_STATEMENT_REFUSED, sizeof(struct hd_event_refused));
    add_topic(m, HD_TOPIC_DDL_OBSERVED, sizeof(struct hd_event_ddl));
    add_topic(m, HD_TOPIC_NODE_HEALTH, sizeof(struct hd_event_node));
    add_topic(m, HD_TOPIC_CONFIG_RELOADED, sizeof(struct hd_event_reload));
    add_topic(m, HD_TOPIC_PLUGIN_STATE, sizeof(struct hd_event_plugin));
}

static int topic_of(struct mock *m, const char *name)
{
    if (!m->topic_count)
        add_host_topics(m);
    return find(m, name);
}

static int32_t declare(hd_host *host, const char *topic, uint32_t data_size, uint32_t overflow,
                       struct hd_error *err)
{
    struct mock *m = mock_of(host);
    int i = topic_of(m, topic);

    (void)overflow;
    if (i < 0 && data_size <= HD_EVENT_MAX) {
        add_topic(m, topic, data_size);
        return HD_OK;
    }
    if (i >= 0 && m->topics[i].data_size == data_size)
        return HD_OK;
    snprintf(err->text, sizeof(err->text), "topic %s has another shape, or is too large", topic);
    return err->code = HD_EEXIST;
}

static int32_t topic(hd_host *host, const char *name)
{
    int i = topic_of(mock_of(host), name);

    return i < 0 ? HD_ENOENT : i + 1;
}

static int32_t wanted(hd_host *host, int32_t id)
{
    struct mock *m = mock_of(host);
    unsigned i = (unsigned)id - 1;

    return id > 0 && i < m->topic_count && (m->topics[i].wanted || m->topics[i].subscriptions > 0);
}

static int32_t publish(hd_host *host, int32_t id, const void *data, uint32_t data_size)
{
    struct mock *m = mock_of(host);
    struct mock_event_entry *e;

    if (id < 1 || (unsigned)id > m->topic_count || m->topics[id - 1].data_size != data_size)
        return HD_EINVAL;
    if (m->event_limit == 0)
        return HD_EFULL;
    m->event_limit -= m->event_limit > 0;
    m->events = mock_grow(m->events, m->event_count, sizeof(*m->events));
    e = &m->events[m->event_count++];
    e->topic = (unsigned)id - 1;
    e->size = data_size;
    e->data = mock_copy(data, data_size);
    return HD_OK;
}

static int32_t relay(hd_host *host, int32_t id, const void *data, uint32_t data_size)
{
    return publish(host, id, data, data_size);
}

/* Nobody is marked here. */
static int32_t lost(hd_host *host, int32_t id)
{
    return id > 0 && (unsigned)id <= mock_of(host)->topic_count ? HD_OK : HD_ENOENT;
}

static int64_t subscribe(hd_host *host, const char *name, void (*fn)(void *arg, const struct hd_event *ev),
                         void *arg, struct hd_error *err)
{
    struct mock *m = mock_of(host);
    int i = topic_of(m, name);

    if (i < 0) {
        snprintf(err->text, sizeof(err->text), "there is no topic %s", name);
        return err->code = HD_ENOENT;
    }
    m->subscriptions = mock_grow(m->subscriptions, m->subscription_count, sizeof(*m->subscriptions));
    m->subscriptions[m->subscription_count].topic = (unsigned)i;
    m->subscriptions[m->subscription_count].live = 1;
    m->subscriptions[m->subscription_count].fn = fn;
    m->subscriptions[m->subscription_count].arg = arg;
    m->topics[i].subscriptions++;
    return ++m->subscription_count;
}

static void unsubscribe(hd_host *host, int64_t id)
{
    struct mock *m = mock_of(host);

    if (id < 1 || id > m->subscription_count || !m->subscriptions[id - 1].live)
        return;
    m->subscriptions[id - 1].live = 0;
    m->topics[m->subscriptions[id - 1].topic].subscriptions--;
}

void mock_deliver(struct mock *m)
{
    int32_t before = m->here;

    m->here = HD_LOOP_CONTROL;
    while (m->delivered < m->event_count) {
        struct mock_event_entry *e = &m->events[m->delivered++];
        struct hd_event ev = {sizeof(ev), 0, m->topics[e->topic].name, e->data, e->size, 0, 1};

        for (unsigned i = 0; i < m->subscription_count; i++)
            if (m->subscriptions[i].live && m->subscriptions[i].topic == e->topic)
                m->subscriptions[i].fn(m->subscriptions[i].arg, &ev);
    }
    m->here = before;
}

const void *mock_event(const struct mock *m, const char *name, unsigned n)
{
    int t = find(m, name);

    for (unsigned i = 0; i < m->event_count; i++)
        if ((int)m->events[i].topic == t && n-- == 0)
            return m->events[i].data;
    return NULL;
}

unsigned mock_events(const struct mock *m, const char *name)
{
    unsigned n = 0;

    while (mock_event(m, name, n))
        n++;
    return n;
}

void mock_want(struct mock *m, const char *name)
{
    int i = topic_of(m, name);

    if (i >= 0)
        m->topics[i].wanted = 1;
}

void mock_limit_events(struct mock *m, int events)
{
    m->event_limit = events;
}

void mock_bus_free(struct mock *m)
{
    for (unsigned i = 0; i < m->topic_count; i++)
        free(m->topics[i].name);
    for (unsigned i = 0; i < m->event_count; i++)
        free(m->events[i].data);
    free(m->topics);
    free(m->events);
    free(m->subscriptions);
}

const struct hd_bus_v1 mock_bus = {
    .size = sizeof(struct hd_bus_v1),
    .declare = declare,
    .topic = topic,
    .wanted = wanted,
    .publish = publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .relay = relay,
    .lost = lost,
};
