/*
 * Attempts, and how long to wait between them; see link.h.
 */
#include "redis/link.h"

#include "redis/sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTS_MAX 5

/* --- what is shown ---------------------------------------------------------------------------------------
 */

static void note_server(struct rds_link *l, const struct rds_address *a)
{
    pthread_mutex_lock(&l->lock);
    rds_address_print(a, l->state.server);
    pthread_mutex_unlock(&l->lock);
}

static void note_up(struct rds_link *l)
{
    pthread_mutex_lock(&l->lock);
    l->state.up = 1;
    l->state.connects++;
    l->state.why[0] = '\0';
    pthread_mutex_unlock(&l->lock);
}

/* Returns whether this is news: it had been up, or the reason is another than before. */
static int note_down(struct rds_link *l, const char *why, int *was_up)
{
    int news;

    pthread_mutex_lock(&l->lock);
    *was_up = l->state.up;
    news = l->state.up || strcmp(l->state.why, why) != 0;
    l->state.losses += (uint64_t)l->state.up;
    l->state.up = 0;
    snprintf(l->state.why, sizeof(l->state.why), "%s", why);
    pthread_mutex_unlock(&l->lock);
    return news;
}

void rds_link_show(struct rds_link *l, struct rds_link_state *out)
{
    pthread_mutex_lock(&l->lock);
    *out = l->state;
    pthread_mutex_unlock(&l->lock);
}

static void say(struct rds_link *l, uint32_t level, const char *message, const char *why)
{
    hd_host *host = l->conf->env->host;
    char thread[16] = "control";
    const char *pairs[] = {"server", l->state.server, "thread", thread, why ? "reason" : NULL, why, NULL};

    if (l->thread >= 0)
        snprintf(thread, sizeof(thread), "%d", l->thread);
    hd_host_api(host)->log(host, level, message, pairs);
}

/* --- attempts --------------------------------------------------------------------------------------------
 */

/* Not all at once: between three and five quarters of it, differently for each link. */
static uint64_t jittered(const struct rds_link *l, uint64_t ms)
{
    uint64_t x = (uint64_t)(uintptr_t)l ^ rds_now_ms();

    x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15u;
    return ms - ms / 4 + (ms ? (x >> 33) % (ms / 2 + 1) : 0);
}

static void try_later(struct rds_link *l)
{
    const struct rds_link_conf *conf = l->conf;

    conf->env->loop->retime(l->retry, jittered(l, l->wait_ms));
    l->wait_ms = l->wait_ms * 2 < conf->retry_max_ms ? l->wait_ms * 2 : conf->retry_max_ms;
}

static void failed(struct rds_link *l, const char *why)
{
    int was_up;

    if (note_down(l, why, &was_up))
        say(l, HD_LEVEL_WARNING, was_up ? "Redis is lost; it is passed by" : "Redis cannot be reached", why);
    if (was_up && l->events.down)
        l->events.down(l->events.arg, l);
    try_later(l);
}

static void on_retry(void *arg)
{
    struct rds_link *l = arg;

    if (l->sentinel)
        rds_sentinel_ask(l->sentinel);
    else
        rds_conn_open(l->conn, &l->address);
}

static void on_master(void *arg, const struct rds_address *master, const char *why)
{
    struct rds_link *l = arg;

    if (!master) {
        failed(l, why);
        return;
    }
    note_server(l, master);
    rds_conn_open(l->conn, master);
}

static void on_up(void *arg)
{
    struct rds_link *l = arg;

    l->faults = 0;
    note_up(l);
    say(l, HD_LEVEL_INFO, "connected to Redis", NULL);
    if (l->events.up)
        l->events.up(l->events.arg, l);
}

static void on_down(void *arg, const char *why)
{
    failed(arg, why);
}

static void on_push(void *arg, const redisReply *reply)
{
    struct rds_link *l = arg;

    l->wait_ms = l->conf->retry_ms;
    l->events.push(l->events.arg, reply);
}

void rds_link_good(struct rds_link *l)
{
    l->faults = 0;
    l->wait_ms = l->conf->retry_ms;
}

void rds_link_fault(struct rds_link *l, const redisReply *reply)
{
    char why[160];

    l->faults++;
    snprintf(why, sizeof(why), "%.150s",
             reply->type == REDIS_REPLY_ERROR ? reply->str : "replies that make no sense");
    /* A server that is loading its data or is no master any more will not do better with the next command. */
    if (l->faults >= FAULTS_MAX || rds_says(reply, REDIS_REPLY_ERROR, "LOADING") ||
        rds_says(reply, REDIS_REPLY_ERROR, "READONLY") || rds_says(reply, REDIS_REPLY_ERROR, "NOAUTH"))
        rds_conn_drop(l->conn, why);
}

/* --- life ------------------------------------------------------------------------------------------------
 */

/* Sentinels are asked rarely, and may take as long as a connection may. */
static struct rds_sentinel *new_sentinel(struct rds_link *l)
{
    const struct rds_link_conf *conf = l->conf;
    struct rds_limits limits = conf->limits;

    limits.timeout_ms = limits.connect_ms;
    limits.silent_ms = limits.connect_ms * 2;
    limits.max_input = 65536;
    return rds_sentinel_new(conf->env, l->thread, &limits, &conf->sentinel_login, conf->url, on_master, l);
}

struct rds_link *rds_link_new(const struct rds_link_conf *conf, int32_t thread,
                              const struct rds_address *address, const struct rds_link_events *events)
{
    struct rds_link *l = calloc(1, sizeof(*l));
    struct rds_conn_events own = {
        .up = on_up, .down = on_down, .push = events->push ? on_push : NULL, .arg = l};

    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    l->conf = conf;
    l->thread = thread;
    l->address = *address;
    l->events = *events;
    l->wait_ms = conf->retry_ms;
    rds_address_print(address, l->state.server);
    l->conn = rds_conn_new(conf->env, thread, &conf->limits, &conf->login, &own);
    l->retry = conf->env->loop->timer(conf->env->host, 0, 0, on_retry, l);
    if (conf->url->kind == RDS_SENTINEL)
        l->sentinel = new_sentinel(l);
    if (l->conn && l->retry && (l->sentinel || conf->url->kind != RDS_SENTINEL))
        return l;
    rds_link_free(l);
    return NULL;
}

void rds_link_free(struct rds_link *l)
{
    if (l->retry)
        l->conf->env->loop->untimer(l->retry);
    if (l->sentinel)
        rds_sentinel_free(l->sentinel);
    if (l->conn)
        rds_conn_free(l->conn);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
