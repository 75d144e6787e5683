/*
 * One link, whose address is given or found by sentinels; or a cluster's.
 *
 * A cluster's map of slots is asked for when the first of the named servers is there, when a server says that
 * a key has moved, and again and again while a server that has slots cannot be reached. Commands go by what
 * is known meanwhile. Servers that the map no longer names are left; if nobody answers, the URL's are tried
 * again.
 */
#include "redis/servers.h"

#include "redis/slots.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX 250  /* known at a time */
#define NO_NODE   0xff /* of a slot */
#define SOON_MS   20   /* until the map is asked for; so several reasons make one question */
#define AGAIN_MS  250  /* while something is wrong with it */

struct rds_servers {
    const struct rds_link_conf *conf;
    int32_t thread;
    pthread_mutex_t lock; /* guards the list, which its own thread changes and any may read */
    struct rds_link *links;
    struct rds_link *only; /* without a cluster */
    hd_timer *timer;       /* what follows is a cluster's */
    struct rds_link *node[NODES_MAX];
    uint8_t slots[RDS_SLOTS];  /* indices of nodes */
    uint8_t wanted[NODES_MAX]; /* has slots */
    int stale, asking, known;
    struct rds_link *asked; /* while asking */
    uint32_t turn;          /* whom to ask next */
};

/* --- links -----------------------------------------------------------------------------------------------
 */

static void on_up(void *arg, struct rds_link *l);
static void on_down(void *arg, struct rds_link *l);

static struct rds_link *add_link(struct rds_servers *s, const struct rds_address *a)
{
    const struct rds_link_events events = {.up = on_up, .down = on_down, .arg = s};
    struct rds_link *l = rds_link_new(s->conf, s->thread, a, &events);

    if (!l)
        return NULL;
    pthread_mutex_lock(&s->lock);
    l->next = s->links;
    s->links = l;
    pthread_mutex_unlock(&s->lock);
    return l;
}

static void drop_link(struct rds_servers *s, struct rds_link *l)
{
    struct rds_link **at = &s->links;

    pthread_mutex_lock(&s->lock);
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    pthread_mutex_unlock(&s->lock);
    rds_link_free(l);
}

/* --- a cluster's nodes and slots -------------------------------------------------------------------------
 */

/* The index of a server, which is connected to if it is new; NO_NODE: there are too many, or no memory. */
static uint32_t node_of(struct rds_servers *s, const struct rds_address *a)
{
    uint32_t free_at = NO_NODE;

    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (s->node[i] && rds_address_same(&s->node[i]->address, a))
            return i;
        if (!s->node[i] && free_at == NO_NODE)
            free_at = i;
    }
    if (free_at != NO_NODE)
        s->node[free_at] = add_link(s, a);
    return free_at != NO_NODE && s->node[free_at] ? free_at : NO_NODE;
}

static void set_slots(void *arg, uint32_t from, uint32_t to, const struct rds_address *master)
{
    struct rds_servers *s = arg;
    uint32_t n = node_of(s, master);

    memset(s->slots + from, (int)n, to - from + 1);
}

/* Which nodes have slots? */
static void count_slots(struct rds_servers *s)
{
    memset(s->wanted, 0, sizeof(s->wanted));
    for (uint32_t i = 0; i < RDS_SLOTS; i++)
        if (s->slots[i] != NO_NODE)
            s->wanted[s->slots[i]] = 1;
}

static void add_seeds(struct rds_servers *s)
{
    for (uint32_t i = 0; i < s->conf->url->hosts; i++)
        node_of(s, &s->conf->url->host[i]);
}

/* Leaves the nodes that have no slots. Only from the timer: never from within a link's callback. */
static void sweep(struct rds_servers *s)
{
    count_slots(s);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (!s->node[i] || s->wanted[i])
            continue;
        drop_link(s, s->node[i]);
        s->node[i] = NULL;
    }
}

static void refresh_within(struct rds_servers *s, uint64_t ms)
{
    if (!s->timer)
        return;
    s->stale = 1;
    s->conf->env->loop->retime(s->timer, ms);
}

static void on_map(void *arg, int32_t code, const redisReply *r)
{
    struct rds_servers *s = arg;
    uint8_t before[RDS_SLOTS];

    s->asking = 0;
    if (code != HD_OK)
        return;
    memcpy(before, s->slots, sizeof(before));
    memset(s->slots, NO_NODE, sizeof(s->slots));
    if (rds_slots_read(r, &s->asked->address, set_slots, s)) {
        memcpy(s->slots, before, sizeof(before));
        return;
    }
    s->known = 1;
    s->stale = 0;
    s->conf->env->loop->retime(s->timer, 0); /* to sweep */
}

/* Asks the next node that is there; 0: nobody is. */
static int ask_map(struct rds_servers *s)
{
    const struct hd_str words[] = {RDS_WORD("CLUSTER"), RDS_WORD("SLOTS")};

    for (uint32_t i = 0; i < NODES_MAX && !s->asking; i++) {
        struct rds_link *l = s->node[s->turn++ % NODES_MAX];

        if (!l || rds_conn_send(l->conn, 2, words, on_map, s))
            continue;
        s->asking = 1;
        s->asked = l;
    }
    return s->asking;
}

static int all_up(const struct rds_servers *s)
{
    for (uint32_t i = 0; i < NODES_MAX; i++)
        if (s->node[i] && s->wanted[i] && !rds_link_ready(s->node[i]))
            return 0;
    return 1;
}

static void on_timer(void *arg)
{
    struct rds_servers *s = arg;

    if (s->known && !s->stale)
        sweep(s);
    else if (!ask_map(s))
        add_seeds(s);
    if (s->stale || !s->known || !all_up(s))
        refresh_within(s, AGAIN_MS);
}

static void on_up(void *arg, struct rds_link *l)
{
    struct rds_servers *s = arg;

    (void)l;
    if (s->stale || !s->known)
        refresh_within(s, 0);
}

static void on_down(void *arg, struct rds_link *l)
{
    (void)l;
    refresh_within(arg, SOON_MS);
}

/* --- for the plugin --------------------------------------------------------------------------------------
 */

struct rds_servers *rds_servers_new(const struct rds_link_conf *conf, int32_t thread)
{
    struct rds_servers *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    s->conf = conf;
    s->thread = thread;
    memset(s->slots, NO_NODE, sizeof(s->slots));
    if (conf->url->kind == RDS_CLUSTER) {
        s->timer = conf->env->loop->timer(conf->env->host, AGAIN_MS, 0, on_timer, s);
        s->stale = 1;
        add_seeds(s);
    } else {
        s->only = add_link(s, &conf->url->host[0]);
    }
    if (s->links && (s->only || s->timer))
        return s;
    rds_servers_free(s);
    return NULL;
}

void rds_servers_free(struct rds_servers *s)
{
    if (s->timer)
        s->conf->env->loop->untimer(s->timer);
    s->timer = NULL;
    while (s->links)
        drop_link(s, s->links);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct rds_link *rds_servers_for(struct rds_servers *s, struct hd_str key)
{
    uint32_t n;

    if (s->only)
        return s->only;
    n = s->slots[rds_slot(key)];
    return n == NO_NODE ? NULL : s->node[n];
}

struct rds_link *rds_servers_follow(struct rds_servers *s, const struct rds_link *from,
                                    const redisReply *error, int *asking)
{
    struct rds_address where;
    uint32_t slot, n;

    if (s->only || error->type != REDIS_REPLY_ERROR ||
        rds_redirect_read((struct hd_str){error->str, strlen(error->str)}, &from->address, &slot, asking,
                          &where))
        return NULL;
    n = node_of(s, &where);
    if (n == NO_NODE)
        return NULL;
    if (!*asking) {
        s->slots[slot] = (uint8_t)n;
        s->wanted[n] = 1;
        if (!s->stale)
            refresh_within(s, SOON_MS);
    }
    return s->node[n];
}

int rds_servers_ready(const struct rds_servers *s)
{
    return s->only ? rds_link_ready(s->only) : s->known && !s->stale && all_up(s);
}

struct rds_link *rds_servers_nth(struct rds_servers *s, uint32_t n)
{
    if (s->only)
        return n ? NULL : s->only;
    for (uint32_t i = 0; i < NODES_MAX; i++)
        if (s->node[i] && s->wanted[i] && !n--)
            return s->node[i];
    return NULL;
}

void rds_servers_each(struct rds_servers *s, void (*fn)(void *arg, struct rds_link *l), void *arg)
{
    pthread_mutex_lock(&s->lock);
    for (struct rds_link *l = s->links; l; l = l->next)
        fn(arg, l);
    pthread_mutex_unlock(&s->lock);
}
