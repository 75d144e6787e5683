/*
 * Connections that pools make, and nodes that refuse them; see pool.h.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/units.h"
#include "session/client.h"
#include "session/defaults.h"
#include "session/pool_parts.h"
#include "session/server.h"

#define RETRY_FIRST_MS   50
#define RETRY_MAX_MS     1000
#define CONNECTS_AT_ONCE 4
/* For each such time that somebody has waited, one more is made at once. */
#define PATIENCE_NS 50000000u

struct pool_connect {
    struct hd_connect c;
    struct hd_pool *pool;
    struct hd_settings *settings; /* the strings that c points to */
    struct hd_scram_keys keys;
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

        hd_pool_dequeue(p, s);
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
        hd_pool_forget_welcome(p);
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
    if (c->conn && !(v = hd_server_new(p, c->conn, &c->key)))
        snprintf(c->message, sizeof(c->message), "out of memory");
    if (v) {
        p->stats.connects++;
        if (atomic_load(&p->shared->total) == 1)
            p->turns = 0; /* it has served nobody: given up at once for another pool, it never would */
        node_up(p);
        v->node_hash = hd_pool_node_hash(p);
        hd_pool_set_state(v, HD_SERVER_CLEANING);
        hd_defaults_learn(v, c->answers);
        hd_pool_learn_welcome(p, v->params);
        hd_pool_put(v);
    } else {
        hd_pool_unreserve(p);
        if (!p->w->stopping && !outdated)
            node_down(p, c);
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(c->answers); i++)
        PQclear(c->answers[i]);
    hd_settings_release(pc->settings);
    OPENSSL_cleanse(&pc->keys, sizeof(pc->keys));
    hd_free(pc);
    if (!p->w->stopping)
        hd_pool_connect_more(p, 0);
}

void hd_connect_add(struct hd_connect *c, const char *key, const char *value)
{
    size_t n = 0;

    if (!value)
        return;
    while (c->keywords[n])
        n++;
    c->keywords[n] = key;
    c->values[n] = value;
}

void hd_pool_where(struct hd_pool *p, struct hd_connect *c, struct hd_scram_keys *keys, const char *database,
                   const char *user)
{
    const struct hd_node_conf *node = p->node;
    int64_t ms = node->connect_timeout ? node->connect_timeout : p->settings->host.connect_timeout;

    hd_connect_add(c, "dbname", node->conninfo);
    if (hd_pool_keys(p, keys))
        c->keys = keys;
    if (!node->user) {
        hd_connect_add(c, "user", user);
        hd_connect_add(c, "password", p->user_conf->password);
    }
    if (!node->dbname)
        hd_connect_add(c, "dbname", database);
    hd_connect_add(c, "gssencmode", "disable");
    c->timeout_ms = (uint64_t)ms;
    c->loop = &p->w->loop;
}

static int start_connect(struct hd_pool *p)
{
    struct pool_connect *pc = hd_calloc(1, sizeof(*pc));
    struct hd_connect *c;

    if (!pc) {
        hd_pool_unreserve(p);
        return HD_ENOMEM; /* the next tick tries again */
    }
    c = &pc->c;
    pc->pool = p;
    pc->conninfo = p->node->conninfo;
    pc->settings = hd_settings_hold(p->settings);
    hd_pool_where(p, c, &pc->keys, p->database, p->user);
    c->question = hd_defaults_question(p);
    c->done = on_connected;
    p->connecting++;
    hd_connector_connect(p->w->all->connector, c);
    return HD_OK;
}

/* How many connections are made at a time. A login costs the machine as much as hundreds of short statements,
 * and those who wait for one need a server so briefly that the first that comes may do for all; so it is one,
 * and more only when that does not help soon. Where the node does not answer, one is enough to see that it
 * does again. */
static uint32_t at_once(const struct hd_pool *p, uint64_t now)
{
    const struct hd_session *s = HD_LIST_ITEM(p->waiting.next, struct hd_session, waiting);
    uint64_t n = p->waiting_count ? 1 + hd_elapsed_ns(now, s->since_ns) / PATIENCE_NS : 1;

    return p->retry_step ? 1 : n < CONNECTS_AT_ONCE ? (uint32_t)n : CONNECTS_AT_ONCE;
}

void hd_pool_connect_more(struct hd_pool *p, int64_t extra)
{
    uint64_t now = hd_now_ns();

    p->capped = NULL;
    if (p->w->stopping || now < p->retry_ns) {
        hd_pool_waive_room(p); /* others could use it meanwhile */
        return;
    }
    while (hd_pool_coming(p) < p->waiting_count && p->connecting < at_once(p, now) &&
           hd_pool_reserve(p, extra)) {
        p->stats.reserved += hd_pool_total(p) > hd_pool_limit(p);
        if (start_connect(p))
            break;
    }
}

void hd_pool_keep_minimum(struct hd_pool *p, uint64_t now)
{
    if (p->w->stopping || p->w->draining || p->w->retiring || p->paused || p->connecting ||
        now < p->retry_ns || !atomic_load(&p->shared->clients))
        return;
    if (hd_pool_total(p) < p->conf->min_pool_size && hd_pool_reserve(p, 0))
        start_connect(p);
}
