/*
 * From an address to a connection that is logged in: the name is resolved by a job, for that may take long;
 * then socket, TLS, AUTH, SELECT, and a PING that must be answered with PONG.
 */
#include "redis/conn_parts.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ADDRESSES 8 /* of a name, that are tried in turn */

struct address {
    struct sockaddr_storage addr;
    socklen_t len;
};

/* Held by the connection, and by what is under way: the job, its end on the control thread, the way back. */
struct rds_lookup {
    _Atomic int refs;
    int code; /* of getaddrinfo */
    struct rds_env *env;
    struct rds_conn *conn; /* NULL: forgotten; its own thread's */
    int32_t thread;
    uint32_t count;
    struct rds_address where;
    struct address found[ADDRESSES];
};

static void release(struct rds_lookup *l)
{
    if (atomic_fetch_sub(&l->refs, 1) == 1)
        free(l);
}

void rds_conn_forget_lookup(struct rds_conn *c)
{
    if (!c->lookup)
        return;
    c->lookup->conn = NULL;
    release(c->lookup);
    c->lookup = NULL;
}

/* Fills `found`; may block unless AI_NUMERICHOST is among the flags. */
static int resolve(const struct rds_address *where, int flags, struct address *found, uint32_t *count)
{
    struct addrinfo hints = {.ai_flags = flags | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[16];
    int code;

    *count = 0;
    snprintf(port, sizeof(port), "%u", where->port);
    code = getaddrinfo(where->host, port, &hints, &list);
    if (code)
        return code;
    for (struct addrinfo *a = list; a && *count < ADDRESSES; a = a->ai_next) {
        memcpy(&found[*count].addr, a->ai_addr, a->ai_addrlen);
        found[(*count)++].len = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return *count ? 0 : EAI_NONAME;
}

/* --- the socket ------------------------------------------------------------------------------------------
 */

static void set_options(int fd, int family)
{
    int yes = 1, idle = 30;

    if (family == AF_UNIX)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
}

static void connect_to(struct rds_conn *c, const struct address *a)
{
    c->fd = socket(a->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        rds_conn_drop(c, strerror(errno));
        return;
    }
    set_options(c->fd, a->addr.ss_family);
    c->state = RDS_CONNECTING;
    if (connect(c->fd, (const struct sockaddr *)&a->addr, a->len) && errno != EINPROGRESS)
        rds_conn_drop(c, strerror(errno));
    else
        rds_conn_ready_for(c, HD_WRITABLE);
}

static void connect_to_path(struct rds_conn *c, const char *path)
{
    struct address a = {.len = sizeof(struct sockaddr_un)};
    struct sockaddr_un *un = (struct sockaddr_un *)&a.addr;

    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof(un->sun_path), "%.*s", (int)sizeof(un->sun_path) - 1, path);
    connect_to(c, &a);
}

/* --- names -----------------------------------------------------------------------------------------------
 */

/* A name's addresses are taken in turn, one an attempt. */
static void connect_to_one(struct rds_conn *c, const struct address *found, uint32_t count)
{
    connect_to(c, &found[c->attempts++ % count]);
}

/* Back on the connection's thread. */
static void resolved_here(void *arg)
{
    struct rds_lookup *l = arg;
    struct rds_env *env = l->env;
    struct rds_conn *c = l->conn;

    if (c) {
        if (l->code)
            rds_conn_drop(c, gai_strerror(l->code));
        else
            connect_to_one(c, l->found, l->count);
        rds_conn_forget_lookup(c);
    }
    release(l);
    rds_errand_end(env);
}

/* [control] Where the way back is barred, the connection's deadline does the rest. */
static void resolved(void *arg, int32_t code)
{
    struct rds_lookup *l = arg;
    struct rds_env *env = l->env;

    if (code != HD_OK)
        l->code = EAI_AGAIN;
    if (env->loop->post(env->host, l->thread, resolved_here, l) == HD_OK)
        return;
    release(l);
    rds_errand_end(env);
}

static int32_t run_lookup(void *arg)
{
    struct rds_lookup *l = arg;

    l->code = resolve(&l->where, AI_ADDRCONFIG, l->found, &l->count);
    return HD_OK;
}

static void begin_lookup(struct rds_conn *c)
{
    struct rds_lookup *l = calloc(1, sizeof(*l));

    if (!l) {
        rds_conn_drop(c, "no memory");
        return;
    }
    atomic_store(&l->refs, 2);
    l->env = c->env;
    l->conn = c;
    l->thread = c->thread;
    l->where = c->where;
    c->lookup = l;
    rds_errand_begin(c->env);
    if (c->env->jobs->run(c->env->host, "resolve", run_lookup, resolved, l) > 0)
        return;
    rds_conn_forget_lookup(c);
    release(l);
    rds_errand_end(c->env);
    rds_conn_drop(c, "too many jobs wait to resolve its name");
}

void rds_conn_open(struct rds_conn *c, const struct rds_address *where)
{
    struct address found[ADDRESSES];
    uint32_t count;

    c->where = *where;
    c->state = RDS_RESOLVING;
    c->opened_ms = rds_now_ms();
    rds_conn_clock(c);
    if (!where->port)
        connect_to_path(c, where->host);
    else if (!resolve(where, AI_NUMERICHOST, found, &count))
        connect_to_one(c, found, count);
    else
        begin_lookup(c);
}

/* --- login -----------------------------------------------------------------------------------------------
 */

static void refuse(struct rds_conn *c, const char *what, const redisReply *r)
{
    char why[sizeof(c->why)];

    snprintf(why, sizeof(why), "%s: %s", what, r->type == REDIS_REPLY_ERROR ? r->str : "an unknown reply");
    rds_conn_close(c, why);
}

static void on_step(void *arg, int32_t code, const redisReply *r)
{
    if (code == HD_OK && !rds_says(r, REDIS_REPLY_STATUS, "OK"))
        refuse(arg, "login refused", r);
}

static void on_role(void *arg, int32_t code, const redisReply *r)
{
    if (code != HD_OK)
        return;
    if (r->type != REDIS_REPLY_ARRAY || !r->elements)
        refuse(arg, "its role is not known", r);
    else if (!rds_says(r->element[0], REDIS_REPLY_STRING, "master"))
        rds_conn_close(arg, "the server is not the master");
}

static void on_pong(void *arg, int32_t code, const redisReply *r)
{
    struct rds_conn *c = arg;

    if (code != HD_OK)
        return;
    if (!rds_says(r, REDIS_REPLY_STATUS, "PONG")) {
        refuse(c, "not ready", r);
        return;
    }
    c->state = RDS_READY;
    c->events.up(c->events.arg);
}

static int32_t send_login(struct rds_conn *c)
{
    char db[16];
    struct hd_str auth[3] = {RDS_WORD("AUTH")}, select[2] = {RDS_WORD("SELECT"), {db, 0}};
    const struct hd_str role = RDS_WORD("ROLE"), ping = RDS_WORD("PING");
    uint32_t n = 1;
    int32_t code = HD_OK;

    if (*c->login.user)
        auth[n++] = (struct hd_str){c->login.user, strlen(c->login.user)};
    auth[n++] = (struct hd_str){c->login.password, strlen(c->login.password)};
    select[1].len = (uint64_t)snprintf(db, sizeof(db), "%u", c->login.db);
    if (*c->login.password)
        code = rds_conn_queue(c, n, auth, on_step, c);
    if (!code && c->login.db)
        code = rds_conn_queue(c, 2, select, on_step, c);
    if (!code && c->login.master)
        code = rds_conn_queue(c, 1, &role, on_role, c);
    return code ? code : rds_conn_queue(c, 1, &ping, on_pong, c);
}

static void begin_login(struct rds_conn *c)
{
    c->state = RDS_LOGIN;
    rds_conn_ready_for(c, HD_READABLE);
    if (!c->reader || send_login(c))
        rds_conn_close(c, "no memory");
}

void rds_conn_shake(struct rds_conn *c)
{
    switch (rds_tls_shake(c->tls)) {
    case RDS_TLS_DONE:
        begin_login(c);
        break;
    case RDS_TLS_READ:
        rds_conn_ready_for(c, HD_READABLE);
        break;
    case RDS_TLS_WRITE:
        rds_conn_ready_for(c, HD_WRITABLE);
        break;
    case RDS_TLS_FAILED:
        rds_conn_close(c, rds_tls_why(c->tls));
        break;
    }
}

void rds_conn_connected(struct rds_conn *c)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) || error) {
        rds_conn_close(c, strerror(error ? error : errno));
        return;
    }
    if (!c->login.tls) {
        begin_login(c);
        return;
    }
    c->tls = rds_tls_begin(c->login.tls, c->fd, &c->where);
    c->state = RDS_SHAKING;
    if (c->tls)
        rds_conn_shake(c);
    else
        rds_conn_close(c, "no memory for TLS");
}
