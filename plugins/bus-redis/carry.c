/*
 * Events out and in.
 *
 * Two connections: one publishes, one is subscribed. Nothing is kept for later: what cannot be sent at once
 * is dropped, but its number is used up, so that the other hosts see the gap with the next message or, once a
 * heartbeat, with the next beat; then they are told by their own bus that events were lost. Our own messages
 * come back to us as well: as long as they do, the whole way is there. When they no longer do, or a
 * connection is lost, whoever subscribes to a topic here is told that events of it were lost, once then and
 * once more when the way is there again, for in between nothing was heard.
 */
#include "bus-redis/bus-redis.h"

#include <stdio.h>
#include <string.h>

#define FORGET_BEATS 600 /* of a silent host */

static void count(struct br *self, enum br_count which)
{
    self->count[which]++;
    self->metrics->add(self->env.host, self->metric[which], 1);
}

/* --- what is lost ----------------------------------------------------------------------------------------
 */

static void lose_all(struct br *self)
{
    for (uint32_t i = 0; i < self->topics; i++)
        if (self->topic[i].number > 0)
            self->bus->lost(self->env.host, self->topic[i].number);
    count(self, BR_GAPS);
}

static struct br_topic *topic_of(struct br *self, struct hd_str name)
{
    for (uint32_t i = 0; i < self->topics; i++)
        if (strlen(self->topic[i].name) == name.len && !memcmp(self->topic[i].name, name.ptr, name.len))
            return &self->topic[i];
    return NULL;
}

/* --- out -------------------------------------------------------------------------------------------------
 */

static void on_published(void *arg, int32_t code, const redisReply *r)
{
    struct br *self = arg;

    if (code == HD_OK && r->type == REDIS_REPLY_INTEGER) {
        rds_link_good(self->out);
        return;
    }
    /* The others see by the next message's number that this one is missing, if it is. */
    count(self, BR_DROPPED);
    if (code == HD_OK)
        rds_link_fault(self->out, r);
}

static void send(struct br *self, uint32_t kind, struct hd_str topic, struct hd_str data)
{
    struct br_message m = {.kind = kind, .host = self->host, .topic = topic, .data = data};
    char bytes[BR_MESSAGE_MAX];
    struct hd_str words[] = {RDS_WORD("PUBLISH"), {self->channel, strlen(self->channel)}, {bytes, 0}};

    if (kind != BR_BEAT)
        self->number++;
    m.number = self->number;
    words[2].len = br_message_write(&m, bytes);
    if (!words[2].len || rds_conn_send(self->out->conn, 3, words, on_published, self))
        count(self, BR_DROPPED);
    else if (kind != BR_BEAT)
        count(self, BR_SENT);
}

static void beat(struct br *self)
{
    const struct hd_str none = {"", 0};

    if (rds_link_ready(self->out))
        send(self, BR_BEAT, none, none);
}

/* Something happened here. */
static void on_event(void *arg, const struct hd_event *ev)
{
    struct br_topic *t = arg;
    const struct hd_str name = {t->name, strlen(t->name)};

    if (ev->remote)
        return;
    if (ev->overflow)
        send(t->self, BR_GAP, name, (struct hd_str){"", 0});
    else
        send(t->self, BR_EVENT, name, (struct hd_str){ev->data, ev->data_size});
}

/* --- in --------------------------------------------------------------------------------------------------
 */

static void take_event(struct br *self, const struct br_message *m)
{
    struct br_topic *t = topic_of(self, m->topic);
    _Alignas(8) unsigned char data[HD_EVENT_MAX];

    if (!t || t->number <= 0)
        return;
    if (m->kind == BR_GAP || !m->data.len) {
        self->bus->lost(self->env.host, t->number);
        return;
    }
    memcpy(data, m->data.ptr, m->data.len);
    self->bus->relay(self->env.host, t->number, data, (uint32_t)m->data.len);
    count(self, BR_RECEIVED);
}

static void take_message(struct br *self, struct hd_str bytes)
{
    struct br_message m;
    int32_t code = br_message_read(bytes, &m);
    int old = 0;

    if (code == HD_EPROTO) {
        count(self, BR_WRONG);
        return;
    }
    if (!memcmp(&m.host, &self->host, sizeof(m.host)))
        return;
    if (code) {
        count(self, BR_WRONG);
        lose_all(self);
        return;
    }
    if (br_peers_note(&self->peers, &m, rds_now_ms(), &old))
        lose_all(self);
    if (!old && m.kind != BR_BEAT)
        take_event(self, &m);
}

/* --- the way ---------------------------------------------------------------------------------------------
 */

static void tell_link(struct br *self, int up, const char *why)
{
    struct hd_event_link ev = {.size = sizeof(ev), .up = (uint32_t)up};

    snprintf(ev.reason, sizeof(ev.reason), "%s", why);
    self->bus->publish(self->env.host, self->link_topic, &ev, sizeof(ev));
    self->metrics->set(self->env.host, self->metric_up, up);
}

static void joined(struct br *self)
{
    if (self->joined)
        return;
    self->joined = 1;
    br_peers_clear(&self->peers);
    lose_all(self);
    tell_link(self, 1, "");
    beat(self);
}

static void parted(struct br *self, const char *why)
{
    if (!self->joined)
        return;
    self->joined = 0;
    lose_all(self);
    tell_link(self, 0, why);
}

/* ["subscribe", channel, 1] or ["message", channel, bytes] */
static void on_push(void *arg, const redisReply *r)
{
    struct br *self = arg;
    const redisReply *what;

    self->silent = 0;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3) {
        rds_link_fault(self->in, r);
        return;
    }
    what = r->element[0];
    if (rds_says(what, REDIS_REPLY_STRING, "subscribe"))
        joined(self);
    else if (rds_says(what, REDIS_REPLY_STRING, "message") && r->element[2]->type == REDIS_REPLY_STRING)
        take_message(self, (struct hd_str){r->element[2]->str, (uint64_t)r->element[2]->len});
    else
        rds_link_fault(self->in, r);
}

static void on_in_up(void *arg, struct rds_link *l)
{
    struct br *self = arg;
    const struct hd_str words[] = {RDS_WORD("SUBSCRIBE"), {self->channel, strlen(self->channel)}};

    self->silent = 0;
    if (rds_conn_send(l->conn, 2, words, NULL, NULL))
        rds_conn_drop(l->conn, "no memory for a command");
}

static void on_in_down(void *arg, struct rds_link *l)
{
    struct rds_link_state state;

    rds_link_show(l, &state);
    parted(arg, state.why);
}

/* Those who could not hear us see now what they have missed. */
static void on_out_up(void *arg, struct rds_link *l)
{
    (void)l;
    beat(arg);
}

/* --- topics ----------------------------------------------------------------------------------------------
 */

/* A topic that somebody has declared. What was published of it until now, here and elsewhere, was not
 * carried. */
static void take_up(struct br *self, struct br_topic *t)
{
    struct hd_error err = HD_ERROR_INIT;

    t->subscription = self->bus->subscribe(self->env.host, t->name, on_event, t, &err);
    if (t->subscription <= 0)
        return;
    self->bus->lost(self->env.host, t->number);
    send(self, BR_GAP, (struct hd_str){t->name, strlen(t->name)}, (struct hd_str){"", 0});
}

/* One that nobody has declared yet is looked for again with each beat. */
static void find_topics(struct br *self)
{
    for (uint32_t i = 0; i < self->topics; i++) {
        struct br_topic *t = &self->topic[i];

        if (t->subscription > 0)
            continue;
        t->number = self->bus->topic(self->env.host, t->name);
        if (t->number > 0)
            take_up(self, t);
    }
}

static void on_timer(void *arg)
{
    struct br *self = arg;

    find_topics(self);
    beat(self);
    if (rds_link_ready(self->in) && ++self->silent > BR_SILENT_BEATS)
        rds_conn_drop(self->in->conn, "nothing was heard, not even our own messages");
    if (br_peers_look(&self->peers, BR_SILENT_BEATS + 1, FORGET_BEATS))
        lose_all(self);
}

/* --- life ------------------------------------------------------------------------------------------------
 */

int32_t br_carry_start(struct br *self, struct hd_error *err)
{
    const struct rds_link_events out = {.up = on_out_up, .arg = self};
    const struct rds_link_events in = {.up = on_in_up, .down = on_in_down, .push = on_push, .arg = self};

    self->out = rds_link_new(&self->link, HD_LOOP_CONTROL, &self->url.host[0], &out);
    self->in = rds_link_new(&self->subscriber, HD_LOOP_CONTROL, &self->url.host[0], &in);
    self->timer = self->env.loop->timer(self->env.host, self->heartbeat_ms, 1, on_timer, self);
    if (!self->out || !self->in || !self->timer) {
        br_carry_stop(self);
        return hd_error_set(err, HD_ENOMEM, "no memory for connections to Redis");
    }
    find_topics(self);
    return HD_OK;
}

void br_carry_stop(struct br *self)
{
    if (self->timer)
        self->env.loop->untimer(self->timer);
    if (self->in)
        rds_link_free(self->in);
    if (self->out)
        rds_link_free(self->out);
    self->timer = NULL;
    self->in = self->out = NULL;
}
