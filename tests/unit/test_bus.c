/*
 * The event bus: order, batches, both kinds of overflow, subscribers that come and go inside a delivery, and
 * several threads that publish at once.
 */
#include "unit.h"

#include "base/error.h"
#include "base/thread.h"
#include "io/loop.h"
#include "plug/bus.h"
#include "plug/commands.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct number {
    uint32_t size;
    uint32_t thread;
    uint64_t value;
};

struct seen {
    struct hd_bus *bus;
    uint64_t events, marks, wrong;
    uint64_t last[8]; /* of each thread */
    int64_t id;       /* to be ended by the callback */
};

static struct hd_loop loop;
static struct hd_bus *bus;

static void set_up(size_t queue)
{
    hd_thread_name(HD_THREAD_CONTROL, 0);
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&loop), HD_OK);
    bus = hd_bus_new(&loop, queue);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bus);
}

static void tear_down(void)
{
    hd_bus_free(bus);
    hd_loop_close(&loop);
}

static void turn(void)
{
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static int declare(const char *name, uint32_t rule)
{
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL(hd_bus_declare(bus, name, sizeof(struct number), rule, &err), HD_OK);
    return hd_bus_find(bus, name);
}

static int publish(int topic, uint32_t thread, uint64_t value)
{
    struct number n = {sizeof(n), thread, value};

    return hd_bus_publish(bus, topic, &n, sizeof(n));
}

static void on_number(void *arg, const struct hd_event *ev)
{
    const struct number *n = ev->data;
    struct seen *s = arg;

    if (ev->overflow) {
        s->marks++;
        if (ev->data || ev->data_size)
            s->wrong++;
        return;
    }
    s->events++;
    if (ev->size != sizeof(*ev) || ev->data_size != sizeof(*n) || n->size != sizeof(*n) || n->thread >= 8 ||
        n->value <= s->last[n->thread] || ev->wall_us <= 0)
        s->wrong++;
    else
        s->last[n->thread] = n->value;
}

static int64_t subscribe(const char *topic, const void *owner, struct seen *s,
                         void (*fn)(void *, const struct hd_event *))
{
    struct hd_error err = HD_ERROR_INIT;
    int64_t id = hd_bus_subscribe(bus, owner, topic, fn, s, &err);

    CU_ASSERT(id > 0);
    return id;
}

static struct hd_bus_topic_stats stats(int topic)
{
    struct hd_bus_topic_stats s = {0};

    CU_ASSERT_EQUAL(hd_bus_topic_stats(bus, topic, &s), HD_OK);
    return s;
}

static void test_order(void)
{
    struct seen s = {0}, late = {0};
    int topic;

    set_up(64);
    topic = declare("count/1", HD_TOPIC_LOSSY);
    CU_ASSERT_EQUAL(hd_bus_wanted(bus, topic), 0);
    CU_ASSERT_EQUAL(publish(topic, 0, 1), HD_OK);
    subscribe("count/1", NULL, &s, on_number);
    CU_ASSERT_EQUAL(hd_bus_wanted(bus, topic), 1);
    for (uint64_t i = 2; i <= 60; i++)
        CU_ASSERT_EQUAL(publish(topic, 0, i), HD_OK);
    CU_ASSERT_EQUAL(s.events, 0);
    turn();
    CU_ASSERT_EQUAL(s.events, 60);
    subscribe("count/1", NULL, &late, on_number);
    publish(topic, 0, 61);
    turn();
    CU_ASSERT_EQUAL(s.events, 61);
    CU_ASSERT_EQUAL(late.events, 1);
    CU_ASSERT_EQUAL(s.wrong + late.wrong, 0);
    CU_ASSERT_EQUAL(stats(topic).published, 61);
    CU_ASSERT_EQUAL(stats(topic).delivered, 62);
    CU_ASSERT_EQUAL(stats(topic).subscribers, 2);
    tear_down();
}

static void test_overflow(void)
{
    struct seen lossy = {0}, must = {0}, also = {0};
    int a, b;

    set_up(16);
    a = declare("lossy/1", HD_TOPIC_LOSSY);
    b = declare("must/1", HD_TOPIC_MUST_KNOW);
    subscribe("lossy/1", NULL, &lossy, on_number);
    subscribe("must/1", NULL, &must, on_number);
    subscribe("must/1", NULL, &also, on_number);
    for (uint64_t i = 1; i <= 20; i++)
        CU_ASSERT_EQUAL(publish(a, 0, i), i <= 16 ? HD_OK : HD_EFULL);
    for (uint64_t i = 1; i <= 3; i++)
        CU_ASSERT_EQUAL(publish(b, 0, i), HD_EFULL);
    turn();
    CU_ASSERT_EQUAL(lossy.events, 16);
    CU_ASSERT_EQUAL(lossy.marks, 0);
    CU_ASSERT_EQUAL(must.events, 0);
    CU_ASSERT_EQUAL(must.marks, 1);
    CU_ASSERT_EQUAL(also.marks, 1);
    CU_ASSERT_EQUAL(stats(a).dropped, 4);
    CU_ASSERT_EQUAL(stats(b).dropped, 3);
    CU_ASSERT_EQUAL(stats(b).marks, 2);
    publish(b, 0, 4);
    turn();
    CU_ASSERT_EQUAL(must.events, 1);
    CU_ASSERT_EQUAL(must.marks, 1);
    CU_ASSERT_EQUAL(lossy.wrong + must.wrong + also.wrong, 0);
    tear_down();
}

/* --- what other hosts have published -------------------------------------------------------------------- */

struct remote_seen {
    uint64_t own, remote, marks, remote_marks;
};

static void on_remote(void *arg, const struct hd_event *ev)
{
    struct remote_seen *s = arg;

    if (ev->overflow) {
        s->marks++;
        s->remote_marks += ev->remote;
    } else {
        s->own += !ev->remote;
        s->remote += ev->remote;
    }
}

static void test_remote(void)
{
    struct remote_seen seen = {0};
    struct hd_error err = HD_ERROR_INIT;
    struct number n = {.size = sizeof(n)};
    int must, lossy;

    set_up(8);
    must = declare("must/1", HD_TOPIC_MUST_KNOW);
    lossy = declare("lossy/1", HD_TOPIC_LOSSY);
    CU_ASSERT(hd_bus_subscribe(bus, NULL, "must/1", on_remote, &seen, &err) > 0);
    CU_ASSERT(hd_bus_subscribe(bus, NULL, "lossy/1", on_remote, &seen, &err) > 0);
    CU_ASSERT_EQUAL(hd_bus_publish(bus, must, &n, sizeof(n)), HD_OK);
    CU_ASSERT_EQUAL(hd_bus_relay(bus, must, &n, sizeof(n)), HD_OK);
    CU_ASSERT_EQUAL(hd_bus_relay(bus, lossy, &n, sizeof(n)), HD_OK);
    turn();
    CU_ASSERT(seen.own == 1 && seen.remote == 2 && seen.marks == 0);
    CU_ASSERT_EQUAL(hd_bus_lost(bus, must), HD_OK);
    CU_ASSERT_EQUAL(hd_bus_lost(bus, must), HD_OK);
    CU_ASSERT_EQUAL(hd_bus_lost(bus, lossy), HD_OK);
    CU_ASSERT_EQUAL(hd_bus_lost(bus, 99), HD_ENOENT);
    turn();
    CU_ASSERT(seen.marks == 1 && seen.remote_marks == 1);
    /* A loss here is not another host's, even if there is one too. */
    for (int i = 0; i < 9; i++)
        hd_bus_relay(bus, must, &n, sizeof(n));
    turn();
    CU_ASSERT(seen.marks == 2 && seen.remote_marks == 2);
    for (int i = 0; i < 9; i++)
        hd_bus_publish(bus, must, &n, sizeof(n));
    hd_bus_lost(bus, must);
    turn();
    CU_ASSERT(seen.marks == 3 && seen.remote_marks == 2);
    tear_down();
}

static void on_number_end(void *arg, const struct hd_event *ev)
{
    struct seen *s = arg;

    on_number(arg, ev);
    hd_bus_unsubscribe(s->bus, s->id);
}

static void on_number_publish(void *arg, const struct hd_event *ev)
{
    const struct number *n = ev->data;
    struct seen *s = arg;

    on_number(arg, ev);
    if (n->value < 5)
        CU_ASSERT_EQUAL(hd_bus_publish(s->bus, hd_bus_find(s->bus, ev->topic),
                                       &(struct number){sizeof(*n), 0, n->value + 1}, sizeof(*n)),
                        HD_OK);
}

static void test_subscribers_change(void)
{
    struct seen first = {0}, second = {0}, third = {0};
    int topic, owner;

    set_up(16);
    topic = declare("count/1", HD_TOPIC_LOSSY);
    first.bus = second.bus = bus;
    /* The first ends the second's subscription while the event is on its way to it. */
    subscribe("count/1", NULL, &first, on_number_end);
    first.id = subscribe("count/1", NULL, &second, on_number);
    subscribe("count/1", &owner, &third, on_number);
    publish(topic, 0, 1);
    turn();
    CU_ASSERT_EQUAL(first.events, 1);
    CU_ASSERT_EQUAL(second.events, 0);
    CU_ASSERT_EQUAL(third.events, 1);
    hd_bus_drop_owner(bus, &owner);
    publish(topic, 0, 2);
    turn();
    CU_ASSERT_EQUAL(first.events, 2);
    CU_ASSERT_EQUAL(third.events, 1);
    CU_ASSERT_EQUAL(stats(topic).subscribers, 1);
    hd_bus_unsubscribe(bus, 4711);
    hd_bus_unsubscribe(bus, 0);
    CU_ASSERT_EQUAL(stats(topic).subscribers, 1);
    tear_down();
}

static void test_publish_inside(void)
{
    struct seen s = {0};
    int topic;

    set_up(16);
    topic = declare("count/1", HD_TOPIC_LOSSY);
    s.bus = bus;
    subscribe("count/1", NULL, &s, on_number_publish);
    publish(topic, 0, 1);
    for (int i = 0; i < 10; i++)
        turn();
    CU_ASSERT_EQUAL(s.events, 5);
    tear_down();
}

static void test_refusals(void)
{
    static const char *const bad[] = {
        "",    "x",    "x/",    "/1",
        "X/1", "x/1a", "x y/1", "x123456789012345678901234567890123456789012345678901234567890123/1"};
    struct hd_error err = HD_ERROR_INIT;
    struct number n = {sizeof(n), 0, 1};
    char name[32];
    int code = HD_OK;

    set_up(16);
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        CU_ASSERT_EQUAL(hd_bus_declare(bus, bad[i], 8, HD_TOPIC_LOSSY, &err), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_bus_declare(bus, "a/1", 0, HD_TOPIC_LOSSY, &err), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_bus_declare(bus, "a/1", HD_EVENT_MAX + 1, HD_TOPIC_LOSSY, &err), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_bus_declare(bus, "a/1", 8, 3, &err), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_bus_declare(bus, "a/1", 8, HD_TOPIC_LOSSY, &err), HD_OK);
    CU_ASSERT_EQUAL(hd_bus_declare(bus, "a/1", 8, HD_TOPIC_LOSSY, &err), HD_OK);
    CU_ASSERT_EQUAL(hd_bus_declare(bus, "a/1", 16, HD_TOPIC_LOSSY, &err), HD_EEXIST);
    CU_ASSERT_STRING_EQUAL(err.text, "topic a/1 is there already, with 8 bytes and lossy");
    CU_ASSERT_EQUAL(hd_bus_find(bus, "b/1"), HD_ENOENT);
    CU_ASSERT_EQUAL(hd_bus_subscribe(bus, NULL, "b/1", on_number, NULL, &err), HD_ENOENT);
    CU_ASSERT_EQUAL(hd_bus_publish(bus, 0, &n, sizeof(n)), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_bus_publish(bus, 99, &n, sizeof(n)), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_bus_publish(bus, 1, NULL, 8), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_bus_wanted(bus, -3), 0);
    for (int i = 0; i < 300 && !code; i++) {
        snprintf(name, sizeof(name), "many-%d/1", i);
        code = hd_bus_declare(bus, name, 8, HD_TOPIC_LOSSY, &err);
    }
    CU_ASSERT_EQUAL(code, HD_EFULL);
    tear_down();
}

/* A struct from an older or newer publisher is filled up or cut to the topic's size. */
static void on_raw(void *arg, const struct hd_event *ev)
{
    memcpy(arg, ev->data, ev->data_size);
}

static void test_sizes(void)
{
    struct hd_error err = HD_ERROR_INIT;
    unsigned char got[16], in[32];

    set_up(16);
    memset(in, 7, sizeof(in));
    hd_bus_declare(bus, "sized/1", 16, HD_TOPIC_LOSSY, &err);
    CU_ASSERT(hd_bus_subscribe(bus, NULL, "sized/1", on_raw, got, &err) > 0);
    memset(got, 1, sizeof(got));
    hd_bus_publish(bus, hd_bus_find(bus, "sized/1"), in, 4);
    turn();
    CU_ASSERT_EQUAL(got[3], 7);
    CU_ASSERT_EQUAL(got[4], 0);
    CU_ASSERT_EQUAL(got[15], 0);
    hd_bus_publish(bus, hd_bus_find(bus, "sized/1"), in, 32);
    turn();
    CU_ASSERT_EQUAL(got[15], 7);
    tear_down();
}

/* --- SHOW EVENTS ------------------------------------------------------------------------------------------
 */

struct text {
    char all[8192];
};

static void collect(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    struct text *t = arg;
    size_t n = 0, len;
    char buf[HD_CELL_TEXT];

    (void)name;
    (void)err;
    CU_ASSERT_EQUAL_FATAL(code, HD_OK);
    for (size_t i = 0; i < hd_result_row_count(r); i++)
        n += (size_t)snprintf(t->all + n, sizeof(t->all) - n, "%s\n",
                              hd_result_cell_text(r, i, hd_result_column_count(r) - 1, buf, &len));
}

static void test_show_events(void)
{
    struct hd_commands *commands;
    struct hd_error err = HD_ERROR_INIT;
    struct text text = {""};
    struct hd_event_node node = {sizeof(node), 0, "main", "connection refused"};
    struct hd_event_reload reload = {.size = sizeof(reload), .ok = 1};
    struct hd_event_ddl ddl = {.size = sizeof(ddl), .session_id = 7, .tag = "CREATE TABLE"};

    set_up(64);
    commands = hd_commands_new(&loop);
    CU_ASSERT_EQUAL(hd_bus_add_commands(bus, commands, &err), HD_OK);
    memset(ddl.database, 'x', sizeof(ddl.database)); /* not closed */
    hd_bus_publish(bus, HD_BUS_NODE_HEALTH, &node, sizeof(node));
    hd_bus_publish(bus, HD_BUS_CONFIG_RELOADED, &reload, sizeof(reload));
    hd_bus_publish(bus, HD_BUS_DDL_OBSERVED, &ddl, sizeof(ddl));
    turn();
    hd_commands_call(commands, "show events", 11, "", collect, &text);
    CU_ASSERT_STRING_EQUAL(text.all,
                           "node main is down: connection refused\n"
                           "a new configuration is in force\n"
                           "CREATE TABLE on xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                           "xxxxxxxx, session 7\n");
    for (int i = 0; i < 100; i++) {
        hd_bus_publish(bus, HD_BUS_NODE_HEALTH, &node, sizeof(node));
        turn();
    }
    memset(&text, 0, sizeof(text));
    hd_commands_call(commands, "show events", 11, "", collect, &text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text.all, "a new configuration is in force")); /* not pushed out */
    memset(&text, 0, sizeof(text));
    hd_commands_call(commands, "show topics", 11, "", collect, &text);
    CU_ASSERT_STRING_EQUAL(text.all, "0\n0\n0\n0\n0\n0\n0\n0\n0\n");
    hd_commands_free(commands);
    tear_down();
}

static void test_every_event_text(void)
{
    static const unsigned char zero[HD_EVENT_MAX];

    for (int i = HD_BUS_SESSION_OPENED; i <= HD_BUS_HOST_RETIRING; i++) {
        struct hd_strbuf b = HD_STRBUF_INIT;

        hd_bus_event_text(&b, i, zero);
        CU_ASSERT(b.len > 0);
        hd_strbuf_free(&b);
    }
}

/* --- threads ----------------------------------------------------------------------------------------------
 */

enum { WRITERS = 4, EACH = 20000 };

struct writer {
    pthread_t thread;
    uint32_t number;
    int topic;
    uint64_t sent, refused;
};

static _Atomic int writers_left;

static void *write_events(void *arg)
{
    struct writer *w = arg;

    if (w->number < 2)
        hd_thread_name(HD_THREAD_WORKER, (int)w->number); /* the others share the ring of strangers */
    for (uint64_t i = 1; i <= EACH; i++) {
        if (publish(w->topic, w->number, i) == HD_OK)
            w->sent++;
        else
            w->refused++;
    }
    atomic_fetch_sub(&writers_left, 1);
    uv_async_send(&loop.wake);
    return NULL;
}

static void test_threads(void)
{
    struct writer writers[WRITERS] = {0};
    struct seen s = {0};
    uint64_t sent = 0, refused = 0;
    int topic;

    set_up(256);
    topic = declare("count/1", HD_TOPIC_MUST_KNOW);
    subscribe("count/1", NULL, &s, on_number);
    atomic_store(&writers_left, WRITERS);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        writers[i].topic = topic;
        CU_ASSERT_EQUAL(pthread_create(&writers[i].thread, NULL, write_events, &writers[i]), 0);
    }
    while (atomic_load(&writers_left))
        uv_run(&loop.uv, UV_RUN_ONCE);
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        sent += writers[i].sent;
        refused += writers[i].refused;
    }
    turn();
    CU_ASSERT_EQUAL(sent + refused, WRITERS * EACH);
    CU_ASSERT_EQUAL(s.events, sent);
    CU_ASSERT_EQUAL(s.wrong, 0);
    CU_ASSERT_EQUAL(stats(topic).dropped, refused);
    CU_ASSERT_EQUAL(s.marks > 0, refused > 0);
    tear_down();
}

static void test_free_with_wake(void)
{
    int topic;

    set_up(16);
    topic = declare("count/1", HD_TOPIC_LOSSY);
    publish(topic, 0, 1);
    hd_bus_free(bus); /* the posted drain frees it */
    hd_loop_close(&loop);
}

UNIT_MAIN("bus", {"order", test_order}, {"what other hosts publish", test_remote},
          {"overflow", test_overflow}, {"subscribers change", test_subscribers_change},
          {"publish inside a delivery", test_publish_inside}, {"refusals", test_refusals},
          {"sizes of structs", test_sizes}, {"show events", test_show_events},
          {"a text for every event", test_every_event_text}, {"threads", test_threads},
          {"freed while awake", test_free_with_wake})
