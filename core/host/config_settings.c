/*
 * Parsed sections become the settings snapshot: addresses and networks, users with their verifiers, nodes
 * with what their conninfo says, databases with their nodes.
 */
#include "base/alloc.h"
#include "base/check.h"
#include "host/address.h"
#include "host/config_build.h"
#include "plug/nearest.h"
#include "wire/scram.h"

#include <errno.h>
#include <libpq-fe.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MAX      256
#define PEER_MAX         127
#define ADDRESSES_A_NAME 8 /* of one that has several */

static uint32_t count_of(const struct hd_build *b, enum hd_kind kind)
{
    uint32_t n = 0;

    HD_EACH_SECTION(s, b->config, kind)
    n++;
    return n;
}

/* An array for the sections of a kind. */
static void *array_for(struct hd_build *b, enum hd_kind kind, size_t size)
{
    return hd_build_alloc(b, (count_of(b, kind) + 1) * size);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* --- [host] ----------------------------------------------------------------------------------------------
 */

static int cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

    return n > WORKERS_MAX ? WORKERS_MAX : n;
}

/* A path that is not absolute starts where its INI lies. */
static void resolve(struct hd_build *b, const struct hd_raw_section *raw, struct hd_str *path)
{
    const char *p = path->len ? hd_path_from(b->arena, raw->dir, path->ptr) : "";

    if (p)
        *path = (struct hd_str){p, strlen(p)};
    else
        hd_problem_memory(b->problems);
}

static void build_host(struct hd_build *b, const struct hd_config_section *s)
{
    struct hd_host_conf *h = &b->settings->host;
    const char *origin = hd_raw_origin(s->raw, "workers");
    char *end;
    long n;

    *h = *(const struct hd_host_conf *)s->keys;
    resolve(b, s->raw, &h->plugin_dir);
    resolve(b, s->raw, &h->pid_file);
    resolve(b, s->raw, &h->log_file);
    if (!strcmp(h->workers.ptr, "auto")) {
        h->worker_count = cores();
    } else {
        n = strtol(h->workers.ptr, &end, 10);
        if (*end || !h->workers.len || n < 1 || n > WORKERS_MAX)
            hd_problem(b->problems, origin, "workers must be auto or between 1 and %d, not \"%.60s\"",
                       WORKERS_MAX, h->workers.ptr);
        h->worker_count = (int32_t)n;
    }
    if (!h->max_memory)
        h->max_memory = sysconf(_SC_PHYS_PAGES) / 4 * 3 * sysconf(_SC_PAGESIZE);
    if (h->control.len && !hd_unix_path(h->control.ptr))
        hd_problem(b->problems, hd_raw_origin(s->raw, "control"),
                   "control must be unix: and an absolute path that a socket can have, not \"%.120s\"",
                   h->control.ptr);
}

/* --- [listener] ------------------------------------------------------------------------------------------
 */

void hd_build_addresses(struct hd_build *b, const struct hd_raw_section *raw, const struct hd_str_list *texts,
                        struct hd_listener_conf *l)
{
    const char *origin = hd_raw_origin(raw, "listen");
    struct hd_address *a = hd_build_alloc(b, texts->count * ADDRESSES_A_NAME * sizeof(*a));
    struct hd_error err = HD_ERROR_INIT;

    l->addresses = a;
    for (uint64_t i = 0; a && i < texts->count; i++) {
        int n = hd_address_parse(texts->items[i].ptr, a + l->address_count, ADDRESSES_A_NAME, &err);

        if (n < 0)
            hd_problem(b->problems, origin, "listen %s", err.text);
        else
            l->address_count += (uint32_t)n;
    }
}

void hd_build_networks(struct hd_build *b, const struct hd_raw_section *raw, const struct hd_str_list *texts,
                       struct hd_listener_conf *l)
{
    struct hd_network *n = hd_build_alloc(b, texts->count * sizeof(*n));
    struct hd_error err = HD_ERROR_INIT;

    l->networks = n;
    for (uint64_t i = 0; n && i < texts->count; i++) {
        if (hd_network_parse(texts->items[i].ptr, &n[l->network_count], &err))
            hd_problem(b->problems, hd_raw_origin(raw, "allow"), "allow %s", err.text);
        else
            l->network_count++;
    }
}

static int parse_mode(struct hd_build *b, const struct hd_config_section *s, const char *text)
{
    char *end;
    long mode = strtol(text, &end, 8);

    if (*end || *text < '0' || *text > '7' || mode > 0777) {
        hd_problem(b->problems, hd_raw_origin(s->raw, "unix_mode"),
                   "unix_mode must be octal permissions such as 0770, not \"%.60s\"", text);
        return 0;
    }
    return (int)mode;
}

const char *hd_build_file(struct hd_build *b, const struct hd_raw_section *raw, const struct hd_str *path)
{
    const char *p;

    if (!path->len)
        return NULL;
    p = hd_path_from(b->arena, raw->dir, path->ptr);
    if (!p)
        hd_problem_memory(b->problems);
    return p;
}

static void build_listener(struct hd_build *b, const struct hd_config_section *s, struct hd_listener_conf *l)
{
    const struct hd_listener_keys *k = s->keys;

    l->name = hd_build_strdup(b, s->raw->name);
    l->origin = hd_build_strdup(b, s->raw->origin);
    l->auth = (enum hd_auth)k->auth;
    l->tls = (enum hd_tls_mode)k->tls;
    l->tls_cert = hd_build_file(b, s->raw, &k->tls_cert);
    l->tls_key = hd_build_file(b, s->raw, &k->tls_key);
    l->tls_client_ca = hd_build_file(b, s->raw, &k->tls_client_ca);
    l->backlog = k->backlog;
    l->unix_mode = parse_mode(b, s, k->unix_mode.ptr);
    if (!k->listen.count && hd_raw_find(s->raw, "listen"))
        hd_problem(b->problems, hd_raw_origin(s->raw, "listen"),
                   "listen needs an address, such as 127.0.0.1:6432");
    hd_build_addresses(b, s->raw, &k->listen, l);
    hd_build_networks(b, s->raw, &k->allow, l);
}

/* --- [user] ----------------------------------------------------------------------------------------------
 */

/* The verifier that the running configuration made of the same password. */
static const struct hd_scram_verifier *known_verifier(const struct hd_build *b, const struct hd_user_conf *u)
{
    const struct hd_settings *old = b->running ? b->running->settings : NULL;
    const struct hd_user_conf *was = old ? hd_settings_user(old, u->name) : NULL;

    if (!was || strcmp(was->name, u->name) || !was->password || strcmp(was->password, u->password))
        return NULL;
    return was->verifier;
}

static void make_verifier(struct hd_build *b, const struct hd_config_section *s, struct hd_user_conf *u)
{
    const struct hd_user_keys *k = s->keys;
    struct hd_scram_verifier *v;
    struct hd_error err = HD_ERROR_INIT;
    const struct hd_scram_verifier *known;

    if (!k->verifier.len && (!u->password || (b->flags & HD_CONFIG_CHECK)))
        return;
    v = hd_build_alloc(b, sizeof(*v));
    if (!v)
        return;
    u->verifier = v;
    if (k->verifier.len) {
        if (hd_scram_verifier_parse(k->verifier.ptr, v, &err))
            hd_problem(b->problems, hd_raw_origin(s->raw, "verifier"), "verifier: %s", err.text);
        return;
    }
    known = known_verifier(b, u);
    if (known)
        *v = *known;
    else if (hd_scram_verifier_make(u->password, strlen(u->password), v))
        hd_problem(b->problems, hd_raw_origin(s->raw, "password"),
                   "no verifier could be made of the password: it must have 1 to %u bytes",
                   HD_SCRAM_PASSWORD_MAX);
}

static void build_user(struct hd_build *b, const struct hd_config_section *s, struct hd_user_conf *u)
{
    const struct hd_user_keys *k = s->keys;

    u->name = hd_build_strdup(b, s->raw->name);
    u->origin = hd_build_strdup(b, s->raw->origin);
    u->password = hd_build_text(&k->password);
    u->admin = k->admin;
    u->pool_size = k->pool_size;
    u->max_clients = k->max_clients;
    u->max_servers = k->max_servers;
    if (k->password.len && k->verifier.len)
        hd_problem(b->problems, hd_raw_origin(s->raw, "verifier"),
                   "%s has both a password and a verifier; keep one of them", s->raw->label);
    else if (u->name)
        make_verifier(b, s, u);
}

/* --- [node] ----------------------------------------------------------------------------------------------
 */

static const char *conninfo_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o->keyword; o++)
        if (!strcmp(o->keyword, keyword))
            return o->val && *o->val ? o->val : NULL;
    return NULL;
}

/* libpq's words, unless they could quote a piece of a password. */
static void conninfo_problem(struct hd_build *b, const struct hd_config_section *s, const char *text,
                             char *why)
{
    const char *origin = hd_raw_origin(s->raw, "conninfo");

    if (why)
        why[strcspn(why, "\n")] = 0;
    if (!why || strstr(text, "pass") || strstr(text, "://"))
        hd_problem(b->problems, origin,
                   "conninfo must be such as host=127.0.0.1 port=5432 dbname=shop; libpq cannot read it");
    else
        hd_problem(b->problems, origin,
                   "conninfo must be such as host=127.0.0.1 port=5432 dbname=shop; libpq says: %s", why);
}

/* The user that the host's own statements run as, by the rule that the documentation gives. */
static void build_control(struct hd_build *b, const struct hd_node_keys *k, const char *conninfo_password,
                          struct hd_node_conf *n)
{
    n->control_password = hd_build_text(&k->control_password);
    n->control_user = k->control_user.len ? k->control_user.ptr : n->user;
    if (n->control_user && n->user && !strcmp(n->control_user, n->user) && !n->control_password &&
        conninfo_password)
        n->control_password = hd_build_strdup(b, conninfo_password);
    HD_EACH_SECTION(u, b->config, HD_KIND_USER)
    {
        const struct hd_user_keys *keys = u->keys;

        if (!n->control_user && keys->admin && strcmp(u->raw->name, "*"))
            n->control_user = hd_build_strdup(b, u->raw->name);
        if (n->control_user && !n->control_password && !strcmp(n->control_user, u->raw->name))
            n->control_password = hd_build_text(&keys->password);
    }
}

static void build_node(struct hd_build *b, const struct hd_config_section *s, struct hd_node_conf *n)
{
    const struct hd_node_keys *k = s->keys;
    PQconninfoOption *options;
    const char *v;
    char *why = NULL;

    n->name = hd_build_strdup(b, s->raw->name);
    n->origin = hd_build_strdup(b, s->raw->origin);
    n->conninfo = k->conninfo.ptr;
    n->connect_timeout = k->connect_timeout;
    n->max_servers = k->max_servers;
    options = PQconninfoParse(n->conninfo, &why);
    if (!options) {
        conninfo_problem(b, s, n->conninfo, why);
        PQfreemem(why);
        return;
    }
    v = conninfo_value(options, "user");
    n->user = v ? hd_build_strdup(b, v) : NULL;
    v = conninfo_value(options, "dbname");
    n->dbname = v ? hd_build_strdup(b, v) : NULL;
    if (conninfo_value(options, "replication"))
        hd_problem(b->problems, hd_raw_origin(s->raw, "conninfo"),
                   "conninfo must not ask for replication: leave that key out");
    build_control(b, k, conninfo_value(options, "password"), n);
    PQconninfoFree(options);
}

/* --- [database] ------------------------------------------------------------------------------------------
 */

static void unknown_node(struct hd_build *b, const struct hd_config_section *s, const char *name)
{
    struct hd_nearest near = hd_nearest_start(name);
    const char *origin = hd_raw_origin(s->raw, "node"), *best;

    for (uint32_t i = 0; i < b->settings->node_count; i++)
        hd_nearest_offer(&near, b->settings->nodes[i].name);
    best = hd_nearest_end(&near);
    if (!best && b->settings->node_count == 1)
        best = b->settings->nodes[0].name;
    if (best)
        hd_problem(b->problems, origin, "there is no [node %s]; did you mean \"%s\"?", name, best);
    else
        hd_problem(b->problems, origin, "there is no [node %s]; add it, with a conninfo", name);
}

/* As it can stand in a FROM clause: without a semicolon at its end. */
static const char *auth_query(struct hd_build *b, const struct hd_config_section *s,
                              const struct hd_str *text)
{
    size_t n = text->len;
    char *q;

    while (n && strchr("; \t", text->ptr[n - 1]))
        n--;
    if (!n)
        return NULL;
    if (memchr(text->ptr, ';', n) || !strstr(text->ptr, "$1"))
        hd_problem(b->problems, hd_raw_origin(s->raw, "auth_query"),
                   "auth_query must be one statement that gives name and password of user $1, such as "
                   "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1");
    q = hd_build_alloc(b, n + 1);
    if (q)
        memcpy(q, text->ptr, n);
    return q;
}

static void build_database(struct hd_build *b, const struct hd_config_section *s, struct hd_database_conf *d)
{
    const struct hd_database_keys *k = s->keys;

    d->name = hd_build_strdup(b, s->raw->name);
    d->origin = hd_build_strdup(b, s->raw->origin);
    d->pool_mode = (enum hd_pool_mode)k->pool_mode;
    d->auth_query = auth_query(b, s, &k->auth_query);
    d->pool_size = k->pool_size;
    d->min_pool_size = k->min_pool_size;
    d->reserve_pool_size = k->reserve_pool_size;
    d->reserve_pool_timeout = k->reserve_pool_timeout;
    d->max_clients = k->max_clients;
    d->max_servers = k->max_servers;
    d->queue_timeout = k->queue_timeout;
    d->idle_transaction_timeout = k->idle_transaction_timeout;
    d->client_idle_timeout = k->client_idle_timeout;
    d->server_idle_timeout = k->server_idle_timeout;
    d->server_lifetime = k->server_lifetime;
    d->max_prepared_statements = k->max_prepared_statements;
    if (k->min_pool_size > k->pool_size)
        hd_problem(b->problems, hd_raw_origin(s->raw, "min_pool_size"),
                   "min_pool_size (%lld) must not be above pool_size (%lld)", (long long)k->min_pool_size,
                   (long long)k->pool_size);
    d->node = hd_settings_node(b->settings, k->node.ptr);
    if (!d->node && hd_raw_find(s->raw, "node"))
        unknown_node(b, s, k->node.ptr);
}

/* --- [peer] ----------------------------------------------------------------------------------------------
 */

static void build_peer(struct hd_build *b, const struct hd_config_section *s, struct hd_peer_conf *p)
{
    const struct hd_peer_keys *k = s->keys;
    struct hd_address a[ADDRESSES_A_NAME];
    struct hd_error err = HD_ERROR_INIT;
    char *end;
    long id = strtol(s->raw->name, &end, 10);

    p->name = hd_build_strdup(b, s->raw->name);
    p->origin = hd_build_strdup(b, s->raw->origin);
    p->secret = k->secret.ptr;
    p->id = (uint32_t)id;
    if (*end || id < 1 || id > PEER_MAX)
        hd_problem(b->problems, s->raw->origin, "%s: a peer is named by its id, 1 to %d", s->raw->label,
                   PEER_MAX);
    if (!k->secret.len)
        hd_problem(b->problems, s->raw->origin, "%s needs a secret, the same on both hosts", s->raw->label);
    if (hd_address_parse(k->address.ptr, a, ADDRESSES_A_NAME, &err) < 1)
        hd_problem(b->problems, hd_raw_origin(s->raw, "address"), "address %s", err.text);
    else
        p->address = a[0];
}

/* --- all -------------------------------------------------------------------------------------------------
 */

/* Defines build_KINDs(): the array of a kind, its entries in the order of their names. */
#define BUILD_ALL(all, one, type, kind, array, number)                                                       \
    static void all(struct hd_build *b)                                                                      \
    {                                                                                                        \
        struct type *to = array_for(b, kind, sizeof(*to));                                                   \
        uint32_t n = 0;                                                                                      \
                                                                                                             \
        if (!to)                                                                                             \
            return;                                                                                          \
        HD_EACH_SECTION(s, b->config, kind)                                                                  \
        one(b, s, &to[n++]);                                                                                 \
        if (b->problems->no_memory)                                                                          \
            return;                                                                                          \
        qsort(to, n, sizeof(*to), name_order);                                                               \
        b->settings->array = to;                                                                             \
        b->settings->number = n;                                                                             \
    }

BUILD_ALL(build_listeners, build_listener, hd_listener_conf, HD_KIND_LISTENER, listeners, listener_count)
BUILD_ALL(build_users, build_user, hd_user_conf, HD_KIND_USER, users, user_count)
BUILD_ALL(build_nodes, build_node, hd_node_conf, HD_KIND_NODE, nodes, node_count)
BUILD_ALL(build_peers, build_peer, hd_peer_conf, HD_KIND_PEER, peers, peer_count)
BUILD_ALL(build_databases, build_database, hd_database_conf, HD_KIND_DATABASE, databases, database_count)

void hd_build_settings(struct hd_build *b)
{
    HD_EACH_SECTION(s, b->config, HD_KIND_HOST)
    build_host(b, s);
    build_listeners(b);
    build_users(b);
    build_nodes(b);
    build_peers(b);
    build_databases(b); /* which look for nodes */
    hd_build_http(b);
}
