/*
 * The event bus; see bus.h.
 *
 * A publisher copies its struct into a slot of its ring and moves the ring's head; the control thread reads
 * from the tail. Whoever finds nothing under way posts the drain to the control loop, so that a batch of
 * events costs one wake.
 */
#include "plug/bus.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/list.h"
#include "base/thread.h"
#include "base/units.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define MAX_TOPICS   256
#define HISTORY      32 /* events kept of each of the host's topics */
#define HOST_TOPICS  HD_BUS_HOST_RETIRING
#define SMALLEST     8 /* slots of a ring */
#define SHARED_SLOTS 1024

/* Where events of a must-know topic were lost. */
#define LOST_HERE   1u
#define LOST_BEFORE 2u /* on their way from other hosts */

/* What an event is, and whether another host has published it. */
struct stamp {
    int32_t topic;
    uint32_t remote;
};

struct record {
    int64_t wall_us;
    struct stamp stamp;
    _Alignas(8) unsigned char data[HD_EVENT_MAX];
};

/* One writer, one reader. head and tail only grow; slots are taken modulo cap. */
struct ring {
    struct ring *next; /* in the bus's list */
    size_t cap;
    _Atomic size_t head; /* written by the publisher */
    char apart[64];      /* each on a cache line of its own */
    _Atomic size_t tail; /* written by the control thread */
    char apart_too[64];
    struct record slots[];
};

struct subscription {
    struct hd_list node; /* in the topic's list */
    int64_t id;
    const void *owner;
    void (*fn)(void *arg, const struct hd_event *ev);
    void *arg;
    int dead; /* ended while events are delivered; reaped after */
};

struct topic {
    char name[HD_EVENT_NAME];
    uint32_t data_size, overflow;
    struct hd_list subscriptions;
    _Atomic uint32_t listeners; /* live subscriptions, and one for the history */
    _Atomic uint32_t lost;      /* must-know: events were lost since the last mark: LOST_… */
    _Atomic uint64_t dropped;
    uint64_t published, delivered, marks; /* [control] */
};

/* The last events of one of the host's topics. */
struct history {
    size_t count;           /* ever; the newest stands at (count - 1) % HISTORY */
    uint64_t seen[HISTORY]; /* their order among all topics */
    struct record events[HISTORY];
};

struct hd_bus {
    uint64_t id; /* tells buses apart in thread-local storage */
    struct hd_loop *control;
    struct hd_post post; /* the drain */
    _Atomic int awake;   /* the drain is posted and has not begun */
    size_t queue;
    pthread_mutex_t lock;         /* guards the shared ring's writing side, and joining `rings` */
    struct ring *shared;          /* of threads that are not the host's */
    _Atomic(struct ring *) rings; /* of its threads */
    _Atomic int topic_count;
    struct topic topics[MAX_TOPICS];
    int64_t last_id;
    int delivering, closing, reap;
    uint64_t seen;           /* events delivered */
    struct history *history; /* HOST_TOPICS of them */
};

/* The calling thread's ring, and the bus that it is of. */
static _Thread_local struct {
    uint64_t bus;
    struct ring *ring;
} mine;

/* --- rings ------------------------------------------------------------------------------------------------
 */

static struct ring *make_ring(size_t cap)
{
    size_t bytes;
    struct ring *r;

    if (cap < SMALLEST)
        cap = SMALLEST;
    if (__builtin_mul_overflow(cap, sizeof(struct record), &bytes))
        return NULL;
    r = hd_calloc(1, sizeof(*r) + bytes);
    if (r)
        r->cap = cap;
    return r;
}

/* Copies an event in; HD_EFULL when there is no slot. One thread at a time. */
static int push(struct ring *r, const struct topic *t, struct stamp stamp, const void *data, uint32_t size)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    struct record *slot = &r->slots[head % r->cap];

    if (head - atomic_load_explicit(&r->tail, memory_order_acquire) == r->cap)
        return HD_EFULL;
    if (size > t->data_size)
        size = t->data_size;
    slot->wall_us = hd_wall_us();
    slot->stamp = stamp;
    memcpy(slot->data, data, size);
    memset(slot->data + size, 0, t->data_size - size);
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return HD_OK;
}

/* The ring of a thread of the host, made when it first publishes; NULL: no memory. */
static struct ring *own_ring(struct hd_bus *bus)
{
    struct ring *r;

    if (mine.bus == bus->id)
        return mine.ring;
    r = make_ring(bus->queue);
    if (!r)
        return NULL;
    pthread_mutex_lock(&bus->lock);
    r->next = atomic_load_explicit(&bus->rings, memory_order_relaxed);
    atomic_store_explicit(&bus->rings, r, memory_order_release);
    pthread_mutex_unlock(&bus->lock);
    mine.bus = bus->id;
    mine.ring = r;
    return r;
}

/* --- publishing -------------------------------------------------------------------------------------------
 */

static void wake(struct hd_bus *bus)
{
    if (!atomic_exchange_explicit(&bus->awake, 1, memory_order_acq_rel))
        hd_loop_post(bus->control, &bus->post);
}

static struct topic *topic_at(struct hd_bus *bus, int number)
{
    if (number < 1 || number > atomic_load_explicit(&bus->topic_count, memory_order_acquire))
        return NULL;
    return &bus->topics[number - 1];
}

/* An event did not fit: it is counted, and where that matters, told. */
static int overflow(struct hd_bus *bus, struct topic *t, uint32_t where)
{
    atomic_fetch_add_explicit(&t->dropped, 1, memory_order_relaxed);
    if (t->overflow == HD_TOPIC_MUST_KNOW && !atomic_fetch_or_explicit(&t->lost, where, memory_order_acq_rel))
        wake(bus);
    return HD_EFULL;
}

static int publish(struct hd_bus *bus, int topic, uint32_t remote, const void *data, uint32_t data_size)
{
    const struct stamp stamp = {topic, remote};
    struct topic *t = topic_at(bus, topic);
    struct ring *r;
    int code;

    if (!t || !data || !data_size)
        return HD_EINVAL;
    if (hd_thread_role() == HD_THREAD_OTHER) {
        pthread_mutex_lock(&bus->lock);
        code = push(bus->shared, t, stamp, data, data_size);
        pthread_mutex_unlock(&bus->lock);
    } else {
        r = own_ring(bus);
        code = r ? push(r, t, stamp, data, data_size) : HD_EFULL;
    }
    if (code)
        return overflow(bus, t, remote ? LOST_BEFORE : LOST_HERE);
    wake(bus);
    return HD_OK;
}

int hd_bus_publish(struct hd_bus *bus, int topic, const void *data, uint32_t data_size)
{
    return publish(bus, topic, 0, data, data_size);
}

int hd_bus_relay(struct hd_bus *bus, int topic, const void *data, uint32_t data_size)
{
    return publish(bus, topic, 1, data, data_size);
}

int hd_bus_lost(struct hd_bus *bus, int topic)
{
    struct topic *t = topic_at(bus, topic);

    if (!t)
        return HD_ENOENT;
    overflow(bus, t, LOST_BEFORE);
    return HD_OK;
}

int hd_bus_wanted(struct hd_bus *bus, int topic)
{
    struct topic *t = topic_at(bus, topic);

    return t && atomic_load_explicit(&t->listeners, memory_order_relaxed);
}

/* --- topics -----------------------------------------------------------------------------------------------
 */

int hd_bus_find(struct hd_bus *bus, const char *topic)
{
    int n = atomic_load_explicit(&bus->topic_count, memory_order_acquire);

    for (int i = 0; topic && i < n; i++) {
        if (strcmp(bus->topics[i].name, topic) == 0)
            return i + 1;
    }
    return HD_ENOENT;
}

/* "name.of-it/1" */
static int is_topic_name(const char *name)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strspn(name, word), digits;

    if (!n || name[n] != '/' || strlen(name) >= HD_EVENT_NAME)
        return 0;
    digits = strspn(name + n + 1, "0123456789");
    return digits && !name[n + 1 + digits];
}

static int add_topic(struct hd_bus *bus, const char *name, uint32_t data_size, uint32_t overflow_rule,
                     struct hd_error *err)
{
    int n = atomic_load_explicit(&bus->topic_count, memory_order_relaxed);
    struct topic *t = &bus->topics[n];

    if (n == MAX_TOPICS)
        return hd_fail(err, HD_EFULL, "topic %s: there are %d topics already", name, MAX_TOPICS);
    memcpy(t->name, name, strlen(name) + 1);
    t->data_size = data_size;
    t->overflow = overflow_rule;
    hd_list_init(&t->subscriptions);
    atomic_store_explicit(&bus->topic_count, n + 1, memory_order_release);
    return HD_OK;
}

int hd_bus_declare(struct hd_bus *bus, const char *topic, uint32_t data_size, uint32_t overflow_rule,
                   struct hd_error *err)
{
    struct topic *t;
    int number;

    if (!topic || !is_topic_name(topic))
        return hd_fail(err, HD_EINVAL,
                       "\"%.80s\" is no topic: a name, a slash and a version (\"row.seen/1\")",
                       topic ? topic : "");
    if (!data_size || data_size > HD_EVENT_MAX)
        return hd_fail(err, HD_EINVAL, "topic %s: its struct has %u bytes; 1 to %d are allowed", topic,
                       data_size, HD_EVENT_MAX);
    if (overflow_rule != HD_TOPIC_LOSSY && overflow_rule != HD_TOPIC_MUST_KNOW)
        return hd_fail(err, HD_EINVAL, "topic %s: it is lossy or must-know", topic);
    number = hd_bus_find(bus, topic);
    if (number < 0)
        return add_topic(bus, topic, data_size, overflow_rule, err);
    t = topic_at(bus, number);
    if (t->data_size == data_size && t->overflow == overflow_rule)
        return HD_OK;
    return hd_fail(err, HD_EEXIST, "topic %s is there already, with %u bytes and %s", topic, t->data_size,
                   t->overflow == HD_TOPIC_LOSSY ? "lossy" : "must-know");
}

static int add_host_topics(struct hd_bus *bus)
{
    static const struct {
        const char *name;
        uint32_t size, overflow;
    } host[HOST_TOPICS] = {
        {HD_TOPIC_SESSION_OPENED, sizeof(struct hd_event_session), HD_TOPIC_LOSSY},
        {HD_TOPIC_SESSION_CLOSED, sizeof(struct hd_event_session), HD_TOPIC_LOSSY},
        {HD_TOPIC_STATEMENT_FINISHED, sizeof(struct hd_event_statements), HD_TOPIC_LOSSY},
        {HD_TOPIC_STATEMENT_REFUSED, sizeof(struct hd_event_refused), HD_TOPIC_LOSSY},
        {HD_TOPIC_DDL_OBSERVED, sizeof(struct hd_event_ddl), HD_TOPIC_MUST_KNOW},
        {HD_TOPIC_NODE_HEALTH, sizeof(struct hd_event_node), HD_TOPIC_LOSSY},
        {HD_TOPIC_CONFIG_RELOADED, sizeof(struct hd_event_reload), HD_TOPIC_LOSSY},
        {HD_TOPIC_PLUGIN_STATE, sizeof(struct hd_event_plugin), HD_TOPIC_LOSSY},
        {HD_TOPIC_HOST_RETIRING, sizeof(struct hd_event_retiring), HD_TOPIC_LOSSY},
    };
    int code = HD_OK;

    for (int i = 0; !code && i < HOST_TOPICS; i++) {
        code = hd_bus_declare(bus, host[i].name, host[i].size, host[i].overflow, NULL);
        atomic_fetch_add(&bus->topics[i].listeners, 1);
    }
    return code;
}

int hd_bus_topic_stats(struct hd_bus *bus, int topic, struct hd_bus_topic_stats *out)
{
    struct topic *t = topic_at(bus, topic);
    uint32_t listeners;

    if (!t)
        return HD_ENOENT;
    listeners = atomic_load_explicit(&t->listeners, memory_order_relaxed);
    *out = (struct hd_bus_topic_stats){
        .name = t->name,
        .data_size = t->data_size,
        .overflow = t->overflow,
        .published = t->published,
        .dropped = atomic_load_explicit(&t->dropped, memory_order_relaxed),
        .delivered = t->delivered,
        .marks = t->marks,
        .subscribers = topic <= HOST_TOPICS ? listeners - 1 : listeners,
    };
    return HD_OK;
}

/* --- subscribing ------------------------------------------------------------------------------------------
 */

int64_t hd_bus_subscribe(struct hd_bus *bus, const void *owner, const char *topic,
                         void (*fn)(void *arg, const struct hd_event *ev), void *arg, struct hd_error *err)
{
    int number = hd_bus_find(bus, topic);
    struct subscription *s;

    if (number < 0)
        return hd_fail(err, HD_ENOENT, "there is no topic %s", topic ? topic : "(null)");
    s = hd_calloc(1, sizeof(*s));
    if (!s)
        return hd_fail(err, HD_ENOMEM, "no memory for a subscription of %s", topic);
    s->id = ++bus->last_id;
    s->owner = owner;
    s->fn = fn;
    s->arg = arg;
    hd_list_push_back(&bus->topics[number - 1].subscriptions, &s->node);
    atomic_fetch_add(&bus->topics[number - 1].listeners, 1);
    return s->id;
}

static void reap(struct topic *t)
{
    HD_LIST_EACH(n, &t->subscriptions)
    {
        struct subscription *s = HD_LIST_ITEM(n, struct subscription, node);

        if (s->dead) {
            hd_list_remove(n);
            hd_free(s);
        }
    }
}

static void reap_all(struct hd_bus *bus)
{
    int n = atomic_load(&bus->topic_count);

    for (int i = 0; bus->reap && i < n; i++)
        reap(&bus->topics[i]);
    bus->reap = 0;
}

/* Ends subscriptions: the one with that id, or all of an owner where id is 0. */
static void end_subscriptions(struct hd_bus *bus, int64_t id, const void *owner)
{
    int count = atomic_load(&bus->topic_count);

    for (int i = 0; i < count; i++) {
        HD_LIST_EACH(n, &bus->topics[i].subscriptions)
        {
            struct subscription *s = HD_LIST_ITEM(n, struct subscription, node);

            if (s->dead || (id ? s->id != id : s->owner != owner))
                continue;
            s->dead = 1;
            bus->reap = 1;
            atomic_fetch_sub(&bus->topics[i].listeners, 1);
        }
    }
    if (!bus->delivering)
        reap_all(bus);
}

void hd_bus_unsubscribe(struct hd_bus *bus, int64_t id)
{
    if (id > 0)
        end_subscriptions(bus, id, NULL);
}

void hd_bus_drop_owner(struct hd_bus *bus, const void *owner)
{
    end_subscriptions(bus, 0, owner);
}

/* --- delivering -------------------------------------------------------------------------------------------
 */

static void deliver(struct topic *t, const struct hd_event *ev)
{
    HD_LIST_EACH(n, &t->subscriptions)
    {
        struct subscription *s = HD_LIST_ITEM(n, struct subscription, node);

        if (s->dead)
            continue;
        s->fn(s->arg, ev);
        t->delivered += !ev->overflow;
        t->marks += ev->overflow;
    }
}

static void remember(struct hd_bus *bus, const struct record *r)
{
    struct history *h;

    if (r->stamp.topic > HOST_TOPICS)
        return;
    h = &bus->history[r->stamp.topic - 1];
    h->seen[h->count % HISTORY] = ++bus->seen;
    h->events[h->count++ % HISTORY] = *r;
}

static void deliver_record(struct hd_bus *bus, const struct record *r)
{
    struct topic *t = &bus->topics[r->stamp.topic - 1];
    struct hd_event ev = {.size = sizeof(ev),
                          .topic = t->name,
                          .data = r->data,
                          .data_size = t->data_size,
                          .remote = r->stamp.remote,
                          .wall_us = r->wall_us};

    t->published++;
    remember(bus, r);
    deliver(t, &ev);
}

/* What stood in the ring when this began; what comes meanwhile has a wake of its own. */
static void drain_ring(struct hd_bus *bus, struct ring *r)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    size_t head = atomic_load_explicit(&r->head, memory_order_acquire);

    while (tail != head) {
        deliver_record(bus, &r->slots[tail % r->cap]);
        atomic_store_explicit(&r->tail, ++tail, memory_order_release);
    }
}

/* The marks come before the events: whoever must assume the worst cannot do it too early. */
static void deliver_marks(struct hd_bus *bus)
{
    int n = atomic_load_explicit(&bus->topic_count, memory_order_acquire);

    for (int i = 0; i < n; i++) {
        struct topic *t = &bus->topics[i];
        struct hd_event ev = {.size = sizeof(ev), .overflow = 1, .topic = t->name};
        uint32_t lost = atomic_load_explicit(&t->lost, memory_order_relaxed);

        if (!lost)
            continue;
        lost = atomic_exchange_explicit(&t->lost, 0, memory_order_acq_rel);
        ev.remote = !(lost & LOST_HERE);
        ev.wall_us = hd_wall_us();
        deliver(t, &ev);
    }
}

void hd_bus_drain(struct hd_bus *bus)
{
    HD_ASSERT(!bus->delivering);
    bus->delivering = 1;
    deliver_marks(bus);
    drain_ring(bus, bus->shared);
    for (struct ring *r = atomic_load_explicit(&bus->rings, memory_order_acquire); r; r = r->next)
        drain_ring(bus, r);
    bus->delivering = 0;
    reap_all(bus);
}

static void destroy(struct hd_bus *bus)
{
    struct ring *r = atomic_load(&bus->rings);
    int n = atomic_load(&bus->topic_count);

    for (int i = 0; i < n; i++) {
        HD_LIST_EACH(s, &bus->topics[i].subscriptions)
        hd_free(HD_LIST_ITEM(s, struct subscription, node));
    }
    while (r) {
        struct ring *next = r->next;

        hd_free(r);
        r = next;
    }
    hd_free(bus->shared);
    hd_free(bus->history);
    pthread_mutex_destroy(&bus->lock);
    hd_free(bus);
}

static void on_wake(struct hd_post *post)
{
    struct hd_bus *bus = HD_CONTAINER_OF(post, struct hd_bus, post);

    if (bus->closing) {
        destroy(bus);
        return;
    }
    atomic_exchange_explicit(&bus->awake, 0, memory_order_acq_rel);
    hd_bus_drain(bus);
}

/* --- start and end ----------------------------------------------------------------------------------------
 */

struct hd_bus *hd_bus_new(struct hd_loop *control, size_t queue)
{
    static _Atomic uint64_t ids;
    struct hd_bus *bus = hd_calloc(1, sizeof(*bus));

    if (!bus)
        return NULL;
    pthread_mutex_init(&bus->lock, NULL);
    bus->id = atomic_fetch_add(&ids, 1) + 1;
    bus->control = control;
    bus->post.fn = on_wake;
    bus->queue = queue;
    bus->shared = make_ring(queue < SHARED_SLOTS ? queue : SHARED_SLOTS);
    bus->history = hd_calloc(HOST_TOPICS, sizeof(*bus->history));
    if (!bus->shared || !bus->history || add_host_topics(bus)) {
        destroy(bus);
        return NULL;
    }
    return bus;
}

void hd_bus_free(struct hd_bus *bus)
{
    if (!bus)
        return;
    bus->closing = 1;
    if (!atomic_load(&bus->awake))
        destroy(bus); /* else the drain that is posted does it */
}

/* --- looking back -----------------------------------------------------------------------------------------
 */

/* The topic whose next event, by the cursors in `at`, was delivered first; NULL when all are through. */
static struct history *oldest_next(struct hd_bus *bus, const size_t *at)
{
    struct history *oldest = NULL;
    uint64_t first = UINT64_MAX;

    for (int i = 0; i < HOST_TOPICS; i++) {
        struct history *h = &bus->history[i];

        if (at[i] == h->count || h->seen[at[i] % HISTORY] > first)
            continue;
        oldest = h;
        first = h->seen[at[i] % HISTORY];
    }
    return oldest;
}

void hd_bus_history(struct hd_bus *bus,
                    void (*fn)(void *arg, int topic, const char *name, int64_t wall_us, const void *data),
                    void *arg)
{
    size_t at[HOST_TOPICS];
    struct history *h;

    for (int i = 0; i < HOST_TOPICS; i++)
        at[i] = bus->history[i].count > HISTORY ? bus->history[i].count - HISTORY : 0;
    while ((h = oldest_next(bus, at))) {
        const struct record *r = &h->events[at[h - bus->history]++ % HISTORY];

        fn(arg, r->stamp.topic, bus->topics[r->stamp.topic - 1].name, r->wall_us, r->data);
    }
}
