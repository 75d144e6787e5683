/*
 * Pools of servers; see pool.h. All state changes of a server with regard to its pool are here.
 */
#include "session/pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/units.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/server.h"

#define RETRY_FIRST_MS 50
#define RETRY_MAX_MS   1000
/* An idle server that was used within this time is not asked whether it still lives. */
#define FRESH_NS 50000000u
/* So long the statement of a client that has left may go on. */
#define ORPHAN_NS 1000000000u
/* So many sessions of its own a worker serves with its only server while another worker waits. */
#define OWN_TURNS 8

/* What all workers' pools of one key share. */
struct hd_pool_shared {
    struct hd_pool_shared *next;
    _Atomic unsigned forgotten; /* how often `welcome` has proved to be out of date */
    char *key;
    _Atomic int64_t limit;
    _Atomic int total;              /* servers and connects under way, all workers */
    struct hd_params_copy *welcome; /* what a new server has, by the settings numbered `generation`; under the
                                     * workers' lock */
    uint64_t generation;
    struct hd_pool_place {
        _Atomic(struct hd_pool *) pool;
        _Atomic unsigned flags; /* PLACE_…, kept by the pool's own worker */
    } places[];                 /* by worker */
};

#define PLACE_WAITS 1u /* sessions wait here */
#define PLACE_BUSY  2u /* and it has servers at work, so that its turn will come */

/* --- finding and making
 * ------------------------------------------------------------------------------------- */

static int64_t limit_of(const struct hd_database_conf *conf, const struct hd_user_conf *user)
{
    return user && user->pool_size ? user->pool_size : conf->pool_size;
}

static char *make_key(const char *database, const char *user, const char *node)
{
    struct hd_strbuf b = HD_STRBUF_INIT;

    hd_strbuf_printf(&b, "%s\n%s\n%s", database, user, node);
    return hd_strbuf_take(&b);
}

/* Finds or makes the shared part; the lock is the workers'. */
static struct hd_pool_shared *shared_get(struct hd_workers *all, char *key)
{
    struct hd_pool_shared *s;

    pthread_mutex_lock(&all->pools_lock);
    for (s = all->pools; s && strcmp(s->key, key); s = s->next)
        ;
    if (s) {
        hd_free(key);
    } else if ((s = hd_calloc(1, sizeof(*s) + (size_t)all->count * sizeof(s->places[0])))) {
        s->key = key;
        s->next = all->pools;
        all->pools = s;
    } else {
        hd_free(key);
    }
    pthread_mutex_unlock(&all->pools_lock);
    return s;
}

static int matches(const struct hd_pool *p, const char *database, const char *user, const char *node)
{
    return !strcmp(p->database, database) && !strcmp(p->user, user) && !strcmp(p->node->name, node);
}

static struct hd_pool *pool_new(struct hd_worker *w, const struct hd_node_conf *node, const char *database,
                                const char *user)
{
    struct hd_pool *p = hd_calloc(1, sizeof(*p));
    char *key = make_key(database, user, node->name);

    if (p) {
        p->database = hd_strdup(database);
        p->user = hd_strdup(user);
    }
    if (!p || !p->database || !p->user || !key || !(p->shared = shared_get(w->all, key))) {
        if (p) {
            hd_free(p->database);
            hd_free(p->user);
        }
        hd_free(p);
        return NULL;
    }
    p->w = w;
    hd_list_init(&p->idle);
    hd_list_init(&p->busy);
    hd_list_init(&p->waiting);
    p->next = w->pools;
    w->pools = p;
    atomic_store(&p->shared->places[w->index].pool, p);
    return p;
}

static void configure(struct hd_pool *p, const struct hd_database_conf *conf, const struct hd_user_conf *user,
                      const struct hd_node_conf *node)
{
    struct hd_settings *old = p->settings;

    p->settings = hd_settings_hold(p->w->settings);
    p->conf = conf;
    p->user_conf = user;
    p->node = node;
    atomic_store(&p->shared->limit, limit_of(conf, user));
    hd_settings_release(old);
}

struct hd_pool *hd_pool_get(struct hd_worker *w, const struct hd_database_conf *conf,
                            const struct hd_user_conf *user, const struct hd_node_conf *node,
                            const char *database, const char *user_name)
{
    struct hd_pool *p;

    for (p = w->pools; p && !matches(p, database, user_name, node->name); p = p->next)
        ;
    if (p)
        return p;
    p = pool_new(w, node, database, user_name);
    if (p)
        configure(p, conf, user, node);
    return p;
}

/* --- what a new server is like
 * ------------------------------------------------------------------------------ */

/* Lets the other workers know, so that logins there need not wait for a server of their own. */
static void share_welcome(struct hd_pool *p)
{
    struct hd_pool_shared *s = p->shared;
    struct hd_params_copy *copy = hd_params_copy(p->welcome);

    pthread_mutex_lock(&p->w->all->pools_lock);
    if (copy && s->generation <= p->settings->generation) {
        struct hd_params_copy *old = s->welcome;

        s->welcome = copy;
        s->generation = p->settings->generation;
        copy = old;
    }
    pthread_mutex_unlock(&p->w->all->pools_lock);
    hd_params_copy_free(copy);
}

/* A server refuses for good (the database was dropped, the password changed): whoever logs in from now on, on
 * any worker, has to see a server first. */
static void forget_welcome(struct hd_pool *p)
{
    struct hd_pool_shared *s = p->shared;

    pthread_mutex_lock(&p->w->all->pools_lock);
    hd_params_copy_free(s->welcome);
    s->welcome = NULL;
    atomic_fetch_add(&s->forgotten, 1);
    pthread_mutex_unlock(&p->w->all->pools_lock);
}

struct hd_params *hd_pool_welcome(struct hd_pool *p)
{
    struct hd_pool_shared *s = p->shared;
    unsigned forgotten = atomic_load(&s->forgotten);

    if (p->forgotten != forgotten && !p->busy_count && !p->idle_count) {
        p->forgotten = forgotten;
        hd_params_drop(p->welcome);
        p->welcome = NULL;
    }
    if (p->welcome)
        return p->welcome;
    pthread_mutex_lock(&p->w->all->pools_lock);
    if (s->welcome && s->generation == p->settings->generation)
        p->welcome = hd_params_like(p->w->params, s->welcome);
    pthread_mutex_unlock(&p->w->all->pools_lock);
    return p->welcome;
}

static void learn_welcome(struct hd_pool *p, struct hd_params *welcome)
{
    if (p->welcome)
        return;
    p->welcome = hd_params_hold(welcome);
    share_welcome(p);
    hd_session_welcomed(p);
}

/* Another worker may have learned it meanwhile. */
static void ask_for_welcome(struct hd_pool *p)
{
    if (p->waiting_count && !p->welcome && hd_pool_welcome(p))
        hd_session_welcomed(p);
}

/* --- going over to new settings
 * ----------------------------------------------------------------------------- */

static uint64_t node_hash(const struct hd_pool *p)
{
    return hd_hash64(p->node->conninfo, strlen(p->node->conninfo));
}

/* Did anything change that a server connection depends on? */
static int same_node(const struct hd_node_conf *a, const struct hd_node_conf *b)
{
    return !strcmp(a->conninfo, b->conninfo);
}

static void close_idle(struct hd_pool *p, const char *why)
{
    struct hd_list *n;

    while ((n = hd_list_first(&p->idle)))
        hd_server_close(HD_LIST_ITEM(n, struct hd_server, node), why);
}

void hd_pools_apply(struct hd_worker *w, struct hd_settings *s)
{
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        const struct hd_database_conf *conf = hd_settings_database(s, p->database);
        const struct hd_user_conf *user = hd_settings_user(s, p->user);
        const struct hd_node_conf *node = hd_settings_node(s, p->node->name);

        if (!conf || !user || !node)
            continue;
        if (!same_node(node, p->node)) {
            hd_params_drop(p->welcome);
            p->welcome = NULL;
            hd_session_forget_logins(p);
            close_idle(p, "the node's configuration changed");
            HD_LIST_EACH(n, &p->busy)
            HD_LIST_ITEM(n, struct hd_server, node)->must_close = 1;
        }
        configure(p, conf, user, node);
        if (p->welcome)
            share_welcome(p);
    }
}

static void pool_free(struct hd_pool *p)
{
    atomic_store(&p->shared->places[p->w->index].pool, NULL);
    hd_session_forget_logins(p);
    hd_params_drop(p->welcome);
    hd_settings_release(p->settings);
    hd_free(p->database);
    hd_free(p->user);
    hd_free(p);
}

void hd_pools_close(struct hd_worker *w)
{
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        struct hd_list *n;

        close_idle(p, "the host is stopping");
        while ((n = hd_list_first(&p->busy)))
            hd_server_close(HD_LIST_ITEM(n, struct hd_server, node), "the host is stopping");
    }
}

void hd_pools_free(struct hd_worker *w)
{
    while (w->pools) {
        struct hd_pool *p = w->pools;

        w->pools = p->next;
        pool_free(p);
    }
}

void hd_pools_free_shared(struct hd_workers *all)
{
    while (all->pools) {
        struct hd_pool_shared *s = all->pools;

        all->pools = s->next;
        hd_params_copy_free(s->welcome);
        hd_free(s->key);
        hd_free(s);
    }
}

int hd_pool_total(const struct hd_pool *p)
{
    return atomic_load(&p->shared->total);
}

int64_t hd_pool_limit(const struct hd_pool *p)
{
    return atomic_load(&p->shared->limit);
}

/* --- states of a server
 * ------------------------------------------------------------------------------------- */

/* Tells the other workers how it stands here, when that has changed. */
static void publish(struct hd_pool *p)
{
    unsigned flags = (p->waiting_count ? PLACE_WAITS : 0) | (p->busy_count ? PLACE_BUSY : 0);

    if (flags == p->published)
        return;
    p->published = flags;
    atomic_store_explicit(&p->shared->places[p->w->index].flags, flags, memory_order_relaxed);
}

/* The one place where a server changes state and list. */
static void set_state(struct hd_server *v, enum hd_server_state to)
{
    struct hd_pool *p = v->pool;

    if (v->state == HD_SERVER_IDLE)
        p->idle_count--;
    else if (v->state == HD_SERVER_LINKED || v->state == HD_SERVER_CLEANING)
        p->busy_count--;
    hd_list_remove(&v->node);
    v->state = to;
    if (to == HD_SERVER_IDLE) {
        hd_list_push_front(&p->idle, &v->node); /* the last used is the next used: its caches are warm */
        p->idle_count++;
        v->idle_ns = hd_now_ns();
    } else if (to == HD_SERVER_LINKED || to == HD_SERVER_CLEANING) {
        hd_list_push_back(&p->busy, &v->node);
        p->busy_count++;
    }
    publish(p);
}

static int reserve(struct hd_pool_shared *s)
{
    if (atomic_fetch_add(&s->total, 1) < atomic_load(&s->limit))
        return 1;
    atomic_fetch_sub(&s->total, 1);
    return 0;
}

/* Has this worker any server, or one coming? */
static int has_servers(const struct hd_pool *p)
{
    return p->idle_count + p->busy_count + p->connecting > 0;
}

/* --- waiting
 * ------------------------------------------------------------------------------------------------ */

static void ask_others(struct hd_pool *p);
static void connect_more(struct hd_pool *p);

static void enqueue(struct hd_pool *p, struct hd_session *s)
{
    s->since_ns = hd_now_ns();
    hd_list_push_back(&p->waiting, &s->waiting);
    p->waiting_count++;
    p->stats.waits++;
    publish(p);
}

static void dequeue(struct hd_pool *p, struct hd_session *s)
{
    hd_list_remove(&s->waiting);
    s->queue = NULL;
    p->waiting_count--;
    p->stats.wait_ns += hd_now_ns() - s->since_ns;
    publish(p);
}

static void link_up(struct hd_server *v, struct hd_session *s)
{
    set_state(v, HD_SERVER_LINKED);
    v->session = s;
    s->server = v;
}

/* Is the connection still there, as far as the socket tells? An error that waits to be read is its last word.
 */
static int alive(struct hd_server *v)
{
    char c;
    ssize_t n;

    if (hd_now_ns() - v->idle_ns < FRESH_NS || v->link.tls)
        return 1;
    n = recv(v->link.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n > 0 ? c != HD_MSG_ERROR_RESPONSE : n < 0 && errno == EAGAIN;
}

static struct hd_server *take_idle(struct hd_pool *p)
{
    struct hd_list *n;

    while ((n = hd_list_first(&p->idle))) {
        struct hd_server *v = HD_LIST_ITEM(n, struct hd_server, node);

        if (!v->must_close && !v->cancels && alive(v))
            return v;
        hd_server_close(v, "found dead in the pool");
    }
    return NULL;
}

int hd_pool_acquire(struct hd_pool *p, struct hd_session *s)
{
    struct hd_server *v = p->waiting_count || p->paused ? NULL : take_idle(p);

    if (v) {
        link_up(v, s);
        hd_session_linked(s, v);
        return 1;
    }
    enqueue(p, s);
    connect_more(p);
    if (p->waiting_count > p->connecting)
        ask_others(p);
    return 0;
}

void hd_pool_give_up(struct hd_pool *p, struct hd_session *s)
{
    dequeue(p, s);
}

void hd_pool_want_welcome(struct hd_pool *p, struct hd_session *s)
{
    enqueue(p, s);
    connect_more(p);
    if (p->waiting_count > p->connecting)
        ask_others(p);
}

/* Gives a free server to whoever waits here. 1 when somebody took it. */
static int serve_waiting(struct hd_pool *p, struct hd_server *v)
{
    struct hd_list *n;
    struct hd_session *s;

    if (p->paused || !(n = hd_list_first(&p->waiting)))
        return 0;
    s = HD_LIST_ITEM(n, struct hd_session, waiting);
    p->turns++;
    dequeue(p, s);
    link_up(v, s);
    hd_session_granted(s, v);
    return 1;
}

/* --- between workers
 * ---------------------------------------------------------------------------------------- */

static void moved(struct hd_server *v, struct hd_pool *to)
{
    to->connecting--;
    set_state(v, HD_SERVER_CLEANING);
    ask_for_welcome(to);
    if (v->must_close || v->node_hash != node_hash(to) || !hd_pool_welcome(to)) {
        hd_server_close(v, "could not be moved"); /* the node may have changed on its way */
        return;
    }
    set_state(v, HD_SERVER_IDLE);
    if (!serve_waiting(to, v)) /* who asked has been served meanwhile */
        hd_pool_put(v);
}

struct donation {
    struct hd_post post;
    struct hd_pool *from, *to;
};

/* On its new worker, before it is there. */
static void announced(struct hd_pool *to)
{
    to->connecting++;
}

/* Another worker's sessions wait: it gets this server. The count of servers stays. 0: it cannot leave. */
static int give_away(struct hd_pool *to, struct hd_server *v)
{
    struct hd_pool *p = v->pool;

    if (!hd_link_quiet(&v->link) || v->cancels || hd_server_move(v, to, announced, moved))
        return 0;
    p->turns = 0;
    set_state(v, HD_SERVER_MOVING);
    return 1;
}

static void on_donation(struct hd_post *post)
{
    struct donation d = *HD_CONTAINER_OF(post, struct donation, post);
    struct hd_server *v;

    hd_free(HD_CONTAINER_OF(post, struct donation, post));
    if (d.from->w->stopping || d.from->waiting_count || !(v = take_idle(d.from)))
        return;
    give_away(d.to, v);
}

/* The limit is reached and servers may idle elsewhere. */
static void ask_others(struct hd_pool *p)
{
    struct hd_workers *all = p->w->all;

    for (int i = 1; i < all->count; i++) {
        int other = (p->w->index + i) % all->count;
        struct hd_pool *from = atomic_load(&p->shared->places[other].pool);
        struct donation *d;

        if (!from || !(d = hd_malloc(sizeof(*d))))
            continue;
        *d = (struct donation){.post = {NULL, on_donation}, .from = from, .to = p};
        hd_loop_post(&from->w->loop, &d->post);
    }
}

/* Another worker that should have this server rather than us; NULL: none. Whoever waits gets what nobody here
 * waits for. One that waits and has nothing at work gets one of several; our only one after a few turns of
 * our own, so that it does not travel for every statement. */
static struct hd_pool *needier(struct hd_pool *p)
{
    struct hd_workers *all = p->w->all;

    for (int i = 1; i < all->count && !p->w->stopping; i++) {
        struct hd_pool_place *q = &p->shared->places[(p->w->index + i) % all->count];
        unsigned flags = atomic_load_explicit(&q->flags, memory_order_relaxed);

        if (!(flags & PLACE_WAITS))
            continue;
        if (!p->waiting_count || (!(flags & PLACE_BUSY) && (p->busy_count > 1 || p->turns >= OWN_TURNS)))
            return atomic_load(&q->pool);
    }
    return NULL;
}

/* --- coming free
 * -------------------------------------------------------------------------------------------- */

static int expired(const struct hd_pool *p, const struct hd_server *v, uint64_t now)
{
    return p->conf->server_lifetime &&
           hd_elapsed_ns(now, v->connected_ns) > (uint64_t)p->conf->server_lifetime * 1000000;
}

/* A server that is inside its own event cannot leave this worker yet. It stays in nobody's hands until the
 * loop comes round; held, as by a cancel, so that it does not go meanwhile. */
static void on_put_later(struct hd_post *post)
{
    struct hd_server *v = HD_CONTAINER_OF(post, struct hd_server, later);

    v->cancels--;
    if (v->freed && !v->cancels)
        hd_server_free(v);
    else if (v->state == HD_SERVER_CLEANING && !v->expects.count)
        hd_pool_cleaned(v);
}

static void put_later(struct hd_server *v)
{
    set_state(v, HD_SERVER_CLEANING);
    v->cancels++;
    v->later.fn = on_put_later;
    hd_loop_post(&v->w->loop, &v->later);
}

void hd_pool_put(struct hd_server *v)
{
    struct hd_pool *p = v->pool, *to;

    HD_ASSERT(!v->session && !v->expects.count && v->txn == HD_TXN_IDLE);
    v->orphan = 0;
    if (v->must_close || hd_pool_total(p) > hd_pool_limit(p) ||
        (!p->waiting_count && expired(p, v, hd_now_ns()))) {
        hd_server_close(v, "not wanted any more");
        return;
    }
    if (v->cancels) { /* the cancel must not hit the next one's statement */
        set_state(v, HD_SERVER_CLEANING);
        return;
    }
    to = needier(p);
    if (to && v->link.busy) {
        put_later(v);
        return;
    }
    set_state(v, HD_SERVER_IDLE);
    if (!to || !give_away(to, v))
        serve_waiting(p, v);
}

void hd_pool_put_cleaning(struct hd_server *v)
{
    set_state(v, HD_SERVER_CLEANING);
}

void hd_pool_cleaned(struct hd_server *v)
{
    if (v->cancels)
        return;
    if (v->txn != HD_TXN_IDLE)
        hd_server_close(v, "left in a transaction");
    else
        hd_pool_put(v);
}

void hd_pool_remove(struct hd_server *v)
{
    struct hd_pool *p = v->pool;

    set_state(v, HD_SERVER_CLOSED);
    atomic_fetch_sub(&p->shared->total, 1);
    if (p->waiting_count && !p->w->stopping)
        connect_more(p);
}

/* --- connecting
 * --------------------------------------------------------------------------------------------- */

struct pool_connect {
    struct hd_connect c;
    struct hd_pool *pool;
    struct hd_settings *settings; /* the strings that c points to */
    const char *conninfo;
};

static void node_up(struct hd_pool *p)
{
    if (p->fail_message[0])
        hd_log(HD_LOG_INFO, "node answers again", HD_KV("node", p->node->name),
               HD_KV("database", p->database));
    p->fail_message[0] = p->fail_sqlstate[0] = 0;
    p->retry_step = 0;
    p->retry_ns = 0;
}

/* Some refusals will not change by waiting: whoever waits is told at once, as PostgreSQL would. */
static int is_final(const char *sqlstate)
{
    static const char *const codes[] = {"28000", "28P01", "3D000", "42501"};

    for (size_t i = 0; i < HD_ARRAY_LEN(codes); i++)
        if (!strcmp(sqlstate, codes[i]))
            return 1;
    return 0;
}

static void refuse_waiting(struct hd_pool *p)
{
    struct hd_list *n;

    while ((n = hd_list_first(&p->waiting))) {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, waiting);

        dequeue(p, s);
        hd_session_fatal(s, p->fail_sqlstate, p->fail_message, NULL);
    }
}

static void node_down(struct hd_pool *p, const struct hd_connect *c)
{
    uint64_t ms = RETRY_FIRST_MS << (p->retry_step < 5 ? p->retry_step : 5);

    p->stats.connect_failures++;
    p->retry_step++;
    p->retry_ns = hd_now_ns() + (ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS) * 1000000;
    if (strcmp(p->fail_message, c->message))
        hd_log(HD_LOG_WARNING, "cannot connect to node", HD_KV("node", p->node->name),
               HD_KV("database", p->database), HD_KV("user", p->user), HD_KV("sqlstate", c->sqlstate),
               HD_KV("reason", c->message));
    snprintf(p->fail_message, sizeof(p->fail_message), "%s", c->message);
    snprintf(p->fail_sqlstate, sizeof(p->fail_sqlstate), "%s", c->sqlstate);
    if (is_final(c->sqlstate)) {
        forget_welcome(p);
        refuse_waiting(p);
    }
}

static void on_connected(struct hd_connect *c)
{
    struct pool_connect *pc = HD_CONTAINER_OF(c, struct pool_connect, c);
    struct hd_pool *p = pc->pool;
    struct hd_server *v = NULL;
    int outdated = 0;

    p->connecting--;
    if (c->conn && (p->w->stopping || strcmp(pc->conninfo, p->node->conninfo))) {
        PQfinish(c->conn); /* the node is another one by now */
        c->conn = NULL;
        outdated = 1;
    }
    if (c->conn && !(v = hd_server_new(p, c->conn)))
        snprintf(c->message, sizeof(c->message), "out of memory");
    if (v) {
        p->stats.connects++;
        node_up(p);
        v->node_hash = node_hash(p);
        set_state(v, HD_SERVER_CLEANING);
        learn_welcome(p, v->params);
        hd_pool_put(v);
    } else {
        atomic_fetch_sub(&p->shared->total, 1);
        if (!p->w->stopping && !outdated)
            node_down(p, c);
    }
    hd_settings_release(pc->settings);
    hd_free(pc);
    if (!p->w->stopping)
        connect_more(p);
}

static void add(struct hd_connect *c, int *n, const char *key, const char *value)
{
    if (!value)
        return;
    c->keywords[*n] = key;
    c->values[(*n)++] = value;
}

static int start_connect(struct hd_pool *p)
{
    struct pool_connect *pc = hd_calloc(1, sizeof(*pc));
    struct hd_connect *c;
    int64_t ms;
    int n = 0;

    if (!pc) {
        atomic_fetch_sub(&p->shared->total, 1);
        return HD_ENOMEM; /* the next tick tries again */
    }
    c = &pc->c;
    pc->pool = p;
    pc->conninfo = p->node->conninfo;
    pc->settings = hd_settings_hold(p->settings);
    add(c, &n, "dbname", p->node->conninfo);
    if (!p->node->user) {
        add(c, &n, "user", p->user);
        add(c, &n, "password", p->user_conf->password);
    }
    if (!p->node->dbname)
        add(c, &n, "dbname", p->database);
    add(c, &n, "gssencmode", "disable");
    ms = p->node->connect_timeout ? p->node->connect_timeout : p->settings->host.connect_timeout;
    c->timeout_ms = (uint64_t)ms;
    c->loop = &p->w->loop;
    c->done = on_connected;
    p->connecting++;
    hd_connector_connect(p->w->all->connector, c);
    return HD_OK;
}

/* As many connections as sessions wait, under the limit, and not while the node refuses. */
static void connect_more(struct hd_pool *p)
{
    if (p->w->stopping || hd_now_ns() < p->retry_ns)
        return;
    while (p->connecting < p->waiting_count && reserve(p->shared))
        if (start_connect(p))
            break;
}

/* --- time
 * --------------------------------------------------------------------------------------------------- */

static void time_out_waiting(struct hd_pool *p, uint64_t now)
{
    struct hd_list *n;
    int64_t ms = p->conf->queue_timeout;

    while (ms && (n = hd_list_first(&p->waiting))) {
        struct hd_session *s = HD_LIST_ITEM(n, struct hd_session, waiting);
        char text[600];

        if (hd_elapsed_ns(now, s->since_ns) < (uint64_t)ms * 1000000)
            return;
        dequeue(p, s);
        p->stats.timeouts++;
        if (p->fail_message[0]) {
            snprintf(text, sizeof(text), "node \"%s\" is not available: %s", p->node->name, p->fail_message);
            hd_session_fatal(s, "08001", text, "The host keeps trying to connect.");
        } else {
            snprintf(text, sizeof(text), "no server connection came free within queue_timeout (%lld ms)",
                     (long long)ms);
            hd_session_fatal(s, "53300", text, "Raise pool_size or queue_timeout of the database.");
        }
    }
}

/* The longest idle ones stand at the end. */
static void close_old_idle(struct hd_pool *p, uint64_t now)
{
    while (!hd_list_empty(&p->idle)) {
        struct hd_server *v = HD_LIST_ITEM(p->idle.prev, struct hd_server, node);
        int64_t ms = p->conf->server_idle_timeout;

        if (!(ms && hd_elapsed_ns(now, v->idle_ns) > (uint64_t)ms * 1000000) && !expired(p, v, now))
            return;
        hd_server_close(v, "idle");
    }
}

/* A client that said Terminate leaves its statement to its end, as it would in PostgreSQL; but not for long,
 * since the connection is others' too. */
static void end_old_orphans(struct hd_pool *p, uint64_t now)
{
    HD_LIST_EACH(n, &p->busy)
    {
        struct hd_server *v = HD_LIST_ITEM(n, struct hd_server, node);

        if (!v->orphan || now < v->orphan_ns + ORPHAN_NS)
            continue;
        hd_cancel_server(v);
        hd_server_close(v, "its client has left");
    }
}

void hd_pools_tick(struct hd_worker *w, uint64_t now)
{
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        end_old_orphans(p, now);
        ask_for_welcome(p);
        time_out_waiting(p, now);
        close_old_idle(p, now);
        if (p->waiting_count > p->connecting) {
            connect_more(p);
            if (!has_servers(p))
                ask_others(p);
        }
    }
}

void hd_pool_pause(struct hd_pool *p, int on)
{
    struct hd_list *n;

    p->paused = (uint8_t)on;
    while (!on && p->waiting_count && (n = hd_list_first(&p->idle))) {
        struct hd_server *v = HD_LIST_ITEM(n, struct hd_server, node);

        if (!serve_waiting(p, v))
            return;
    }
    if (!on)
        connect_more(p);
}
