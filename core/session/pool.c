/*
 * Pools of servers: finding, making and freeing them, what a new server is like, and going over to new
 * settings; see pool.h.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/units.h"
#include "session/client.h"
#include "session/pool_parts.h"
#include "session/server.h"

/* A pool without clients and servers is kept so long, for who comes back. */
#define UNUSED_NS 5000000000u

/* --- what the workers share
 * --------------------------------------------------------------------------------- */

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

static void shared_free(struct hd_workers *all, struct hd_pool_shared *s)
{
    if (!s)
        return;
    for (int i = 0; i < HD_POOL_TALLIES; i++)
        hd_tally_put(all, s->tallies[i]);
    hd_params_copy_free(s->welcome);
    hd_params_copy_free(s->defaults);
    OPENSSL_cleanse(&s->keys, sizeof(s->keys));
    hd_free(s->key);
    hd_free(s);
}

static struct hd_pool_shared *shared_new(struct hd_workers *all, const char *database, const char *user,
                                         const char *node)
{
    struct hd_pool_shared *s = hd_calloc(1, sizeof(*s) + (size_t)all->count * sizeof(s->places[0]));

    if (!s)
        return NULL;
    s->key = make_key(database, user, node);
    s->share = s->key ? hd_share_of(s->key) : NULL;
    s->tallies[0] = hd_tally_get(all, HD_TALLY_DATABASE_SERVERS, database);
    s->tallies[1] = hd_tally_get(all, HD_TALLY_USER_SERVERS, user);
    s->tallies[2] = hd_tally_get(all, HD_TALLY_NODE_SERVERS, node);
    if (s->key && s->tallies[0] && s->tallies[1] && s->tallies[2])
        return s;
    shared_free(all, s);
    return NULL;
}

/* Finds or makes the shared part, and holds it. */
static struct hd_pool_shared *shared_get(struct hd_worker *w, const char *database, const char *user,
                                         const char *node)
{
    struct hd_workers *all = w->all;
    struct hd_pool_shared *fresh = shared_new(all, database, user, node), *s;

    if (!fresh)
        return NULL;
    pthread_mutex_lock(&all->pools_lock);
    for (s = all->pools; s && strcmp(s->key, fresh->key); s = s->next)
        ;
    if (!s) {
        s = fresh;
        fresh = NULL;
        s->next = all->pools;
        all->pools = s;
        hd_pool_meter_open(all, s, w->settings->host.pool_metrics, database, user, node);
    }
    s->refs++;
    pthread_mutex_unlock(&all->pools_lock);
    shared_free(all, fresh);
    return s;
}

static void shared_put(struct hd_workers *all, struct hd_pool_shared *s)
{
    struct hd_pool_shared **at;

    pthread_mutex_lock(&all->pools_lock);
    if (--s->refs) {
        s = NULL;
    } else {
        for (at = &all->pools; *at != s; at = &(*at)->next)
            ;
        *at = s->next;
        hd_pool_meter_close(all, s); /* before others can make one of that name */
    }
    pthread_mutex_unlock(&all->pools_lock);
    shared_free(all, s);
}

/* --- finding and making
 * ------------------------------------------------------------------------------------- */

static int matches(const struct hd_pool *p, const char *database, const char *user, const char *node)
{
    return !strcmp(p->database, database) && !strcmp(p->user, user) && !strcmp(p->node->name, node);
}

static struct hd_pool *pool_new(struct hd_worker *w, const struct hd_node_conf *node, const char *database,
                                const char *user)
{
    struct hd_pool *p = hd_calloc(1, sizeof(*p));

    if (p) {
        p->database = hd_strdup(database);
        p->user = hd_strdup(user);
    }
    if (!p || !p->database || !p->user || !(p->shared = shared_get(w, database, user, node->name))) {
        if (p) {
            hd_free(p->database);
            hd_free(p->user);
        }
        hd_free(p);
        return NULL;
    }
    p->w = w;
    p->check_ns = HD_POOL_CHECK_NS;
    hd_list_init(&p->idle);
    hd_list_init(&p->busy);
    hd_list_init(&p->waiting);
    p->next = w->pools;
    w->pools = p;
    atomic_store(&p->shared->places[w->index].pool, p);
    return p;
}

static void take_names(struct hd_pool *p)
{
    p->names = (struct hd_pool_names){
        .database = hd_str_of(p->database),
        .user = hd_str_of(p->user),
        .node = hd_str_of(p->node->name),
        .dbname = hd_str_of(p->node->dbname ? p->node->dbname : p->database),
    };
}

static void configure(struct hd_pool *p, struct hd_settings *settings, const struct hd_database_conf *conf,
                      const struct hd_user_conf *user, const struct hd_node_conf *node)
{
    struct hd_settings *old = p->settings;

    p->settings = hd_settings_hold(settings);
    p->conf = conf;
    p->user_conf = user;
    p->node = node;
    take_names(p);
    atomic_store(&p->shared->limit, limit_of(conf, user));
    atomic_store(&p->shared->reserve, conf->reserve_pool_size);
    hd_settings_release(old);
}

struct hd_pool *hd_pool_get(struct hd_worker *w, struct hd_settings *settings,
                            const struct hd_database_conf *conf, const struct hd_user_conf *user,
                            const struct hd_node_conf *node, const char *database, const char *user_name)
{
    struct hd_pool *p;

    for (p = w->pools; p && !matches(p, database, user_name, node->name); p = p->next)
        ;
    if (p)
        return p;
    p = pool_new(w, node, database, user_name);
    if (p)
        configure(p, settings, conf, user, node);
    return p;
}

int hd_pool_keys(struct hd_pool *p, struct hd_scram_keys *out)
{
    struct hd_pool_shared *s = p->shared;
    int has;

    if (p->node->user || p->user_conf->password)
        return 0;
    pthread_mutex_lock(&p->w->all->pools_lock);
    has = s->has_keys;
    *out = s->keys;
    pthread_mutex_unlock(&p->w->all->pools_lock);
    return has;
}

void hd_pool_set_keys(struct hd_pool *p, const struct hd_scram_keys *keys)
{
    struct hd_pool_shared *s = p->shared;

    if (p->node->user || p->user_conf->password)
        return;
    pthread_mutex_lock(&p->w->all->pools_lock);
    s->keys = *keys;
    s->has_keys = 1;
    pthread_mutex_unlock(&p->w->all->pools_lock);
}

void hd_pool_share_keys(struct hd_pool *from, struct hd_pool *to)
{
    struct hd_scram_keys keys;

    if (hd_pool_keys(from, &keys))
        hd_pool_set_keys(to, &keys);
    OPENSSL_cleanse(&keys, sizeof(keys));
}

void hd_pool_enter(struct hd_pool *p)
{
    p->sessions++;
    atomic_fetch_add(&p->shared->clients, 1);
}

void hd_pool_leave(struct hd_pool *p)
{
    p->sessions--;
    atomic_fetch_sub(&p->shared->clients, 1);
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
void hd_pool_forget_welcome(struct hd_pool *p)
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

void hd_pool_learn_welcome(struct hd_pool *p, struct hd_params *welcome)
{
    if (p->welcome)
        return;
    p->welcome = hd_params_hold(welcome);
    share_welcome(p);
    hd_session_welcomed(p);
}

/* Another worker may have learned it meanwhile. */
void hd_pool_ask_for_welcome(struct hd_pool *p)
{
    if (p->waiting_count && !p->welcome && hd_pool_welcome(p))
        hd_session_welcomed(p);
}

/* --- going over to new settings
 * ----------------------------------------------------------------------------- */

uint64_t hd_pool_node_hash(const struct hd_pool *p)
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
        const struct hd_user_conf *user = hd_settings_user_of(s, conf, p->user);
        const struct hd_node_conf *node = hd_settings_node(s, p->node->name);

        if (!conf || !user || !node)
            continue;
        if (!same_node(node, p->node)) {
            hd_params_drop(p->welcome);
            p->welcome = NULL;
            hd_params_drop(p->defaults);
            p->defaults = NULL;
            hd_session_forget_logins(p);
            close_idle(p, "the node's configuration changed");
            HD_LIST_EACH(n, &p->busy)
            HD_LIST_ITEM(n, struct hd_server, node)->must_close = 1;
        }
        configure(p, s, conf, user, node);
        if (p->welcome)
            share_welcome(p);
    }
}

/* --- freeing
 * ------------------------------------------------------------------------------------------------ */

static void pool_free(struct hd_pool *p)
{
    struct hd_workers *all = p->w->all;

    hd_pool_waive_room(p);
    hd_pool_meter_leave(p);
    atomic_store(&p->shared->places[p->w->index].pool, NULL);
    hd_session_forget_logins(p);
    hd_params_drop(p->welcome);
    hd_params_drop(p->defaults);
    hd_settings_release(p->settings);
    shared_put(all, p->shared);
    hd_free(p->database);
    hd_free(p->user);
    hd_free(p);
}

/* A pool that nobody uses any more is taken out of the other workers' sight; when each of them has come round
 * its loop, and with it all that was on its way here or there, nobody can have it in hand. */
struct hd_pool_farewell {
    struct hd_post post;
    struct hd_pool *pool;
    _Atomic int left;
    struct farewell_at {
        struct hd_post post;
        struct hd_pool_farewell *of;
    } at[];
};

static int unused(const struct hd_pool *p)
{
    return !p->refs && !p->sessions && !p->idle_count && !p->busy_count && !p->waiting_count &&
           !hd_pool_coming(p) && !p->plea && !p->paused;
}

static void retire(struct hd_pool *p)
{
    struct hd_pool **at;

    for (at = &p->w->pools; *at != p; at = &(*at)->next)
        ;
    *at = p->next;
    hd_pool_stats_add(&p->w->retired, &p->stats);
    pool_free(p);
}

static void on_farewell_back(struct hd_post *post)
{
    struct hd_pool_farewell *f = HD_CONTAINER_OF(post, struct hd_pool_farewell, post);
    struct hd_pool *p = f->pool;

    p->farewell = NULL;
    if (unused(p) && p->unused_ns) {
        retire(p);
    } else {
        atomic_store(&p->shared->places[p->w->index].pool, p); /* somebody came back */
    }
    hd_free(f);
}

static void on_farewell(struct hd_post *post)
{
    struct hd_pool_farewell *f = HD_CONTAINER_OF(post, struct farewell_at, post)->of;

    if (atomic_fetch_sub(&f->left, 1) == 1)
        hd_loop_post(&f->pool->w->loop, &f->post);
}

static void say_farewell(struct hd_pool *p)
{
    struct hd_workers *all = p->w->all;
    struct hd_pool_farewell *f = hd_calloc(1, sizeof(*f) + (size_t)all->count * sizeof(f->at[0]));

    if (!f)
        return; /* another time */
    f->pool = p;
    f->post.fn = on_farewell_back;
    atomic_init(&f->left, all->count);
    p->farewell = f;
    atomic_store(&p->shared->places[p->w->index].pool, NULL);
    for (int i = 0; i < all->count; i++) {
        f->at[i] = (struct farewell_at){{NULL, on_farewell}, f};
        hd_loop_post(&all->worker[i].loop, &f->at[i].post);
    }
}

void hd_pools_sweep(struct hd_worker *w, uint64_t now)
{
    for (struct hd_pool *p = w->pools; p; p = p->next) {
        if (!unused(p))
            p->unused_ns = 0;
        else if (!p->unused_ns)
            p->unused_ns = now;
        else if (!p->farewell && hd_elapsed_ns(now, p->unused_ns) > UNUSED_NS && !w->stopping)
            say_farewell(p);
    }
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
        hd_free(p->farewell);
        pool_free(p);
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

void hd_pool_stats_add(struct hd_pool_stats *to, const struct hd_pool_stats *a)
{
    const uint64_t *from = (const uint64_t *)a;
    uint64_t *at = (uint64_t *)to;

    for (size_t i = 0; i < sizeof(*a) / sizeof(*from); i++)
        at[i] += from[i];
}
