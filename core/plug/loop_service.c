/*
 * Watches and timers for plugins; see loop_service.h.
 *
 * What a plugin makes hangs in a list of the thread that made it. When the plugin has stopped, a message goes
 * to every loop, which ends there what is left of that plugin; until the last one has, its instance is not
 * destroyed.
 */
#include "plug/loop_service.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/list.h"
#include "plug/services.h"

#include <howdah/error.h>
#include <howdah/host.h>
#include <pthread.h>
#include <stdatomic.h>

#define MAX_WORKERS 256
#define MAX_POSTS   65536 /* under way, of all plugins */

/* A plugin that has or had something here. Counted: by its place in the list, and by each thing of it. */
struct client {
    struct hd_list node; /* in `clients`, until it has stopped */
    struct hd_on_stop stop;
    hd_host *host;
    _Atomic int refs;
    _Atomic int gone; /* it has stopped: none of its functions is called any more */
};

struct hd_watch {
    struct hd_loop_watch watch;
    struct hd_list node; /* in the thread's list */
    struct client *client;
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

struct hd_timer {
    struct hd_loop_timer timer;
    struct hd_list node;
    struct client *client;
    void (*fn)(void *arg);
    void *arg;
    uint32_t repeat;
};

/* A function on its way to a loop. */
struct message {
    struct hd_post post;
    struct client *client;
    void (*fn)(void *arg); /* NULL: ends what the client has on that loop */
    void *arg;
};

static hd_watch *watch(hd_host *host, int32_t fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
                       void *arg);
static void rewatch(hd_watch *w, uint32_t events);
static void unwatch(hd_watch *w);
static hd_timer *timer(hd_host *host, uint64_t ms, uint32_t repeat, void (*fn)(void *arg), void *arg);
static void retime(hd_timer *t, uint64_t ms);
static void untimer(hd_timer *t);
static int32_t post(hd_host *host, int32_t worker, void (*fn)(void *arg), void *arg);

static const struct hd_loop_v1 vtable = {
    .size = sizeof(vtable),
    .watch = watch,
    .rewatch = rewatch,
    .unwatch = unwatch,
    .timer = timer,
    .retime = retime,
    .untimer = untimer,
    .post = post,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the loops and the clients' list */
static struct hd_list clients = {&clients, &clients};
static struct hd_loop *control;
static struct hd_loop *workers[MAX_WORKERS];
static _Atomic int32_t worker_end; /* one past the highest worker that ever had a loop */
static _Atomic int posts;

/* What the calling thread's loop carries for plugins. */
static _Thread_local struct hd_list watches, timers;

static void init_lists(void)
{
    if (watches.next)
        return;
    hd_list_init(&watches);
    hd_list_init(&timers);
}

/* --- clients ----------------------------------------------------------------------------------------------
 */

static void on_stop(struct hd_on_stop *n);

static void release(struct client *c)
{
    if (atomic_fetch_sub(&c->refs, 1) == 1)
        hd_free(c);
}

/* Under the lock. */
static struct client *make_client(hd_host *host)
{
    struct client *c = hd_calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->host = host;
    atomic_store(&c->refs, 1);
    hd_list_push_back(&clients, &c->node);
    hd_host_on_stop(host, &c->stop, on_stop);
    return c;
}

/* A hold of the client that a host is; NULL: no memory. */
static struct client *hold_client(hd_host *host)
{
    struct client *found = NULL;

    pthread_mutex_lock(&lock);
    HD_LIST_EACH(n, &clients)
    {
        struct client *c = HD_LIST_ITEM(n, struct client, node);

        if (c->host == host)
            found = c;
    }
    if (!found)
        found = make_client(host);
    if (found)
        atomic_fetch_add(&found->refs, 1);
    pthread_mutex_unlock(&lock);
    return found;
}

/* --- watches ----------------------------------------------------------------------------------------------
 */

static int to_uv(uint32_t events)
{
    int uv = 0;

    if (events & HD_READABLE)
        uv |= UV_READABLE;
    if (events & HD_WRITABLE)
        uv |= UV_WRITABLE;
    return uv ? uv | UV_DISCONNECT : 0;
}

static void on_ready(struct hd_loop_watch *lw, int status, int events)
{
    hd_watch *w = HD_CONTAINER_OF(lw, struct hd_watch, watch);
    uint32_t got = 0;

    if (status < 0 || events & UV_DISCONNECT)
        got |= HD_HANGUP;
    if (events & UV_READABLE)
        got |= HD_READABLE;
    if (events & UV_WRITABLE)
        got |= HD_WRITABLE;
    if (!atomic_load(&w->client->gone))
        w->fn(w->arg, got);
}

static void free_watch(struct hd_loop_watch *lw)
{
    hd_watch *w = HD_CONTAINER_OF(lw, struct hd_watch, watch);

    release(w->client);
    hd_free(w);
}

static hd_watch *watch(hd_host *host, int32_t fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
                       void *arg)
{
    struct hd_loop *loop = hd_loop_current();
    hd_watch *w = loop && fn ? hd_calloc(1, sizeof(*w)) : NULL;

    if (!w)
        return NULL;
    w->client = hold_client(host);
    /* Where this fails nothing was begun: the descriptor is none, or is watched already. */
    if (!w->client || hd_loop_watch_init(loop, &w->watch, fd, on_ready)) {
        if (w->client)
            release(w->client);
        hd_free(w);
        return NULL;
    }
    w->fn = fn;
    w->arg = arg;
    init_lists();
    hd_list_push_back(&watches, &w->node);
    hd_loop_watch_set(&w->watch, to_uv(events));
    return w;
}

static void rewatch(hd_watch *w, uint32_t events)
{
    hd_loop_watch_set(&w->watch, to_uv(events));
}

static void unwatch(hd_watch *w)
{
    hd_list_remove(&w->node);
    hd_loop_watch_close(&w->watch, free_watch);
}

/* --- timers -----------------------------------------------------------------------------------------------
 */

static void on_time(struct hd_loop_timer *lt)
{
    hd_timer *t = HD_CONTAINER_OF(lt, struct hd_timer, timer);

    if (!atomic_load(&t->client->gone))
        t->fn(t->arg);
}

static void free_timer(struct hd_loop_timer *lt)
{
    hd_timer *t = HD_CONTAINER_OF(lt, struct hd_timer, timer);

    release(t->client);
    hd_free(t);
}

/* A repeating timer of 0 ms would never let the loop sleep. */
static void start(hd_timer *t, uint64_t ms)
{
    hd_loop_timer_start(&t->timer, ms, t->repeat ? ms + !ms : 0);
}

static hd_timer *timer(hd_host *host, uint64_t ms, uint32_t repeat, void (*fn)(void *arg), void *arg)
{
    struct hd_loop *loop = hd_loop_current();
    hd_timer *t = loop && fn ? hd_calloc(1, sizeof(*t)) : NULL;

    if (!t)
        return NULL;
    t->client = hold_client(host);
    if (!t->client) {
        hd_free(t);
        return NULL;
    }
    t->fn = fn;
    t->arg = arg;
    t->repeat = repeat;
    init_lists();
    hd_list_push_back(&timers, &t->node);
    hd_loop_timer_init(loop, &t->timer, on_time);
    start(t, ms);
    return t;
}

static void retime(hd_timer *t, uint64_t ms)
{
    start(t, ms);
}

static void untimer(hd_timer *t)
{
    hd_list_remove(&t->node);
    hd_loop_timer_close(&t->timer, free_timer);
}

/* --- messages to loops ------------------------------------------------------------------------------------
 */

/* Ends what a client left on the calling thread's loop; all clients' where it is NULL. */
static void end_here(const struct client *c)
{
    init_lists();
    HD_LIST_EACH(n, &watches)
    {
        hd_watch *w = HD_LIST_ITEM(n, struct hd_watch, node);

        if (!c || w->client == c)
            unwatch(w);
    }
    HD_LIST_EACH(n, &timers)
    {
        hd_timer *t = HD_LIST_ITEM(n, struct hd_timer, node);

        if (!c || t->client == c)
            untimer(t);
    }
}

static void on_message(struct hd_post *p)
{
    struct message *m = HD_CONTAINER_OF(p, struct message, post);

    atomic_fetch_sub(&posts, 1);
    if (!m->fn)
        end_here(m->client);
    else if (!atomic_load(&m->client->gone))
        m->fn(m->arg);
    hd_host_release(m->client->host);
    release(m->client);
    hd_free(m);
}

/* Posts to the control thread (a negative number) or a worker. HD_ENOENT when it has no loop. Takes the
 * caller's hold of the client, whatever happens. */
static int send_message(struct client *c, int32_t worker, void (*fn)(void *arg), void *arg)
{
    struct message *m = hd_calloc(1, sizeof(*m));
    struct hd_loop *loop = NULL;

    pthread_mutex_lock(&lock);
    if (worker < 0)
        loop = control;
    else if (worker < MAX_WORKERS)
        loop = workers[worker];
    if (m && loop) {
        *m = (struct message){.post.fn = on_message, .client = c, .fn = fn, .arg = arg};
        hd_host_hold(c->host);
        atomic_fetch_add(&posts, 1);
        hd_loop_post(loop, &m->post);
    }
    pthread_mutex_unlock(&lock);
    if (m && loop)
        return HD_OK;
    release(c);
    hd_free(m);
    return m ? HD_ENOENT : HD_ENOMEM;
}

static int32_t post(hd_host *host, int32_t worker, void (*fn)(void *arg), void *arg)
{
    struct client *c;

    if (!fn || worker < HD_LOOP_CONTROL)
        return HD_EINVAL;
    if (atomic_load(&posts) >= MAX_POSTS)
        return HD_EFULL;
    c = hold_client(host);
    return c ? send_message(c, worker, fn, arg) : HD_ENOMEM;
}

/* --- ends -------------------------------------------------------------------------------------------------
 */

/* The plugin has stopped. [control] */
static void on_stop(struct hd_on_stop *n)
{
    struct client *c = HD_CONTAINER_OF(n, struct client, stop);

    atomic_store(&c->gone, 1);
    pthread_mutex_lock(&lock);
    hd_list_remove(&c->node);
    pthread_mutex_unlock(&lock);
    end_here(c);
    for (int32_t i = 0; i < atomic_load(&worker_end); i++) {
        atomic_fetch_add(&c->refs, 1);
        send_message(c, i, NULL, NULL);
    }
    release(c);
}

int hd_loop_serve(struct hd_loop *loop)
{
    pthread_mutex_lock(&lock);
    control = loop;
    pthread_mutex_unlock(&lock);
    return hd_service_add(HD_SERVICE_LOOP, &vtable);
}

void hd_loop_serve_worker(uint32_t worker, struct hd_loop *loop)
{
    HD_CHECK(worker < MAX_WORKERS);
    pthread_mutex_lock(&lock);
    workers[worker] = loop;
    if ((int32_t)worker >= atomic_load(&worker_end))
        atomic_store(&worker_end, (int32_t)worker + 1);
    pthread_mutex_unlock(&lock);
    if (!loop)
        end_here(NULL);
}
