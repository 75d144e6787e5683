/* Events worth telling of; see events.h. */
#include "events.h"

#include "collect.h"
#include "history.h"

#include <stdio.h>
#include <string.h>

#define A_SECOND 20 /* events that are kept, at most */

/* Not more than so many a second: a flapping node must not fill the history. */
static int has_room(struct mon *self, int64_t second)
{
    if (self->events_second != second) {
        self->events_second = second;
        self->events_count = 0;
    }
    return self->events_count++ < A_SECOND;
}

static void keep(struct mon *self, const struct hd_event *ev, const char *subject, const char *text)
{
    struct mon_batch *b = mon_history_batch(self);
    char topic[HD_EVENT_NAME];

    snprintf(topic, sizeof(topic), "%s", ev->topic);
    topic[strcspn(topic, "/")] = 0;
    if (b && !self->retiring && has_room(self, ev->wall_us / 1000000))
        mon_batch_event(b, ev->wall_us / 1000000, topic, subject, text);
}

static void on_plugin(void *arg, const struct hd_event *ev)
{
    const struct hd_event_plugin *p = ev->data;
    char text[256];

    if (!p)
        return;
    snprintf(text, sizeof(text), "%s%s%s", p->state, p->reason[0] ? ": " : "", p->reason);
    keep(arg, ev, p->plugin, text);
}

static void on_node(void *arg, const struct hd_event *ev)
{
    const struct hd_event_node *n = ev->data;
    char text[200];

    if (!n)
        return;
    snprintf(text, sizeof(text), "%s%s%s", n->up ? "up" : "down", n->reason[0] ? ": " : "", n->reason);
    keep(arg, ev, n->node, text);
    if (n->up && !ev->remote && !((struct mon *)arg)->retiring)
        mon_collect_again(arg, n->node);
}

static void on_reload(void *arg, const struct hd_event *ev)
{
    const struct hd_event_reload *r = ev->data;

    if (r)
        keep(arg, ev, "configuration", r->ok ? "in force" : r->reason);
}

static void on_ddl(void *arg, const struct hd_event *ev)
{
    const struct hd_event_ddl *d = ev->data;

    if (d)
        keep(arg, ev, d->database, d->tag);
}

static void on_alert(void *arg, const struct hd_event *ev)
{
    const struct hd_event_alert *a = ev->data;

    if (a)
        keep(arg, ev, a->rule, a->summary);
}

/* What was sampled until now is written; from now on another host does that. */
static void on_retiring(void *arg, const struct hd_event *ev)
{
    struct mon *self = arg;
    struct mon_batch *b = mon_history_batch(self);

    if (!ev->data || ev->remote)
        return;
    self->retiring = 1;
    if (b)
        mon_series_flush(self->series, 1, b);
}

int32_t mon_events_start(struct mon *self, struct hd_error *err)
{
    static const struct {
        const char *topic;
        void (*fn)(void *arg, const struct hd_event *ev);
    } topics[] = {{HD_TOPIC_PLUGIN_STATE, on_plugin},    {HD_TOPIC_NODE_HEALTH, on_node},
                  {HD_TOPIC_CONFIG_RELOADED, on_reload}, {HD_TOPIC_DDL_OBSERVED, on_ddl},
                  {HD_TOPIC_ALERT_RAISED, on_alert},     {HD_TOPIC_ALERT_CLEARED, on_alert},
                  {HD_TOPIC_HOST_RETIRING, on_retiring}};

    for (unsigned i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        int64_t id = self->bus->subscribe(self->host, topics[i].topic, topics[i].fn, self, err);

        if (id < 0 && id != HD_ENOENT) /* a topic that this host does not have tells nothing */
            return (int32_t)id;
    }
    return HD_OK;
}
