/*
 * Publishes on the bus when it is told to, and counts what it hears there: for tests of what carries topics
 * between hosts.
 *
 *     RADIO SEND COUNT        publishes so many numbers, each one more than the last
 *     SHOW RADIO              numbers of this host's and of others, the last one of others, how many of those
 *                             did not follow the one before, marks, and what was told of the way
 */
#include "skeleton.h"

#include <stdio.h>

#define TOPIC "radio.number/1"

struct number {
    uint32_t size;
    uint32_t reserved;
    uint64_t value;
    char text[40];
};

struct self {
    struct base base;
    const struct hd_bus_v1 *bus;
    int32_t topic;
    int32_t watching; /* bus.link, which may come later */
    uint64_t sent, own, remote, last, jumps, own_marks, remote_marks, ups, downs, wrong;
    hd_timer *timer;
};

struct conf {
    int32_t unused;
};

static const struct hd_option table[] = {
    {"unused", "no", NULL, "nothing", 0, 0, HD_OPT_BOOL, HD_OPTF_RELOADABLE, offsetof(struct conf, unused),
     0},
};

static void on_number(void *arg, const struct hd_event *ev)
{
    struct self *s = arg;
    const struct number *n = ev->data;

    if (ev->overflow) {
        *(ev->remote ? &s->remote_marks : &s->own_marks) += 1;
    } else if (!ev->remote) {
        s->own++;
    } else {
        char text[40];

        snprintf(text, sizeof(text), "number %llu", (unsigned long long)n->value);
        s->wrong += n->size != sizeof(*n) || strcmp(text, n->text) != 0;
        s->jumps += n->value != s->last + 1;
        s->last = n->value;
        s->remote++;
    }
}

static void on_link(void *arg, const struct hd_event *ev)
{
    struct self *s = arg;
    const struct hd_event_link *l = ev->data;

    if (!ev->overflow)
        *(l->up ? &s->ups : &s->downs) += 1;
}

static void on_timer(void *arg)
{
    struct self *s = arg;
    struct hd_error err = HD_ERROR_INIT;

    if (!s->watching)
        s->watching = s->bus->subscribe(s->base.host, HD_TOPIC_BUS_LINK, on_link, s, &err) > 0;
}

static int32_t send(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;
    int count = call->arg_count == 1 ? atoi(call->args[0].ptr) : 0;

    (void)err;
    for (int i = 0; i < count; i++) {
        struct number n = {.size = sizeof(n), .value = ++s->sent};

        snprintf(n.text, sizeof(n.text), "number %llu", (unsigned long long)n.value);
        s->bus->publish(s->base.host, s->topic, &n, sizeof(n));
    }
    return HD_OK;
}

static int32_t show(void *arg, const struct hd_call *call, struct hd_error *err)
{
    struct self *s = arg;
    const struct hd_commands_v1 *c = s->base.commands;
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"sent", s->sent},          {"own", s->own},     {"remote", s->remote},
                  {"last", s->last},          {"jumps", s->jumps}, {"own_marks", s->own_marks},
                  {"marks", s->remote_marks}, {"ups", s->ups},     {"downs", s->downs},
                  {"wrong", s->wrong}};

    (void)err;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        c->column(call->result, counts[i].name, HD_COL_INT);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        c->integer(call->result, (int64_t)counts[i].value);
    return HD_OK;
}

static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct self), self);
}

static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct self *s = self;
    int32_t code = get_services(&s->base);

    (void)conf;
    s->bus = hd_host_api(s->base.host)->service(s->base.host, HD_SERVICE_BUS);
    if (code || !s->bus)
        return HD_EVERSION;
    code = s->bus->declare(s->base.host, TOPIC, sizeof(struct number), HD_TOPIC_MUST_KNOW, err);
    if (code)
        return code;
    s->topic = s->bus->topic(s->base.host, TOPIC);
    if (s->bus->subscribe(s->base.host, TOPIC, on_number, s, err) < 0)
        return HD_EFAIL;
    s->timer = s->base.loop->timer(s->base.host, 20, 1, on_timer, s);
    on_timer(s);
    code = s->base.commands->add(s->base.host, "RADIO SEND", "COUNT", "publishes", 0, send, s, err);
    return code ? code
                : s->base.commands->add(s->base.host, "SHOW RADIO", "", "what was heard", HD_CMDF_READ_ONLY,
                                        show, s, err);
}

static const struct hd_filter_v1 filter = {.size = sizeof(struct hd_filter_v1)};

const struct hd_plugin howdah_plugin = {
    TEST_PLUGIN_HEAD,
    TEST_PLUGIN_QUIET,
    .id = "radio",
    .summary = "publishes and listens",
    .options = HD_OPTIONS(struct conf, table),
    .create = create,
    .start = start,
    .capability = no_capability,
};
