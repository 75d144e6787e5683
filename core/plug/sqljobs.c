/*
 * Statements on control connections; see sqljobs.h.
 */
#include "plug/sqljobs.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/list.h"
#include "base/strbuf.h"
#include "base/units.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define IDLE_SECONDS 60
#define MAX_IDLE     16 /* connections in all; past it the oldest goes */
#define MAX_IDLE_OF  2  /* to one node and database */

/* The definitions of one configuration; counted, because statements that run hold it. */
struct nodes {
    _Atomic int refs;
    struct hd_arena arena;
    size_t count;
    struct hd_job_node *list;
};

/* An idle connection, with all that makes it fit for a statement. */
struct idle {
    struct hd_list node; /* in hd_sqljobs.idle, the longest idle first */
    struct hd_sqlconn *conn;
    uint64_t since_ns;
    char *key;
};

struct hd_sqljobs {
    pthread_mutex_t lock;
    struct nodes *nodes;
    struct hd_list idle;
    size_t idle_count;
};

/* --- definitions ------------------------------------------------------------------------------------------
 */

static void release_nodes(struct nodes *n)
{
    if (!n || atomic_fetch_sub(&n->refs, 1) != 1)
        return;
    hd_arena_free(&n->arena);
    hd_free(n);
}

static struct nodes *hold_nodes(struct hd_sqljobs *s)
{
    struct nodes *n;

    pthread_mutex_lock(&s->lock);
    n = s->nodes;
    atomic_fetch_add(&n->refs, 1);
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* Copies a string that may be NULL; sets *failed when there is no memory. */
static const char *copy(struct hd_arena *a, const char *text, int *failed)
{
    const char *c = text ? hd_arena_strdup(a, text) : NULL;

    if (text && !c)
        *failed = 1;
    return c;
}

static struct nodes *make_nodes(const struct hd_job_node *list, size_t count)
{
    struct nodes *n = hd_calloc(1, sizeof(*n));
    int failed = 0;

    if (!n)
        return NULL;
    atomic_store(&n->refs, 1);
    n->list = hd_arena_alloc(&n->arena, count * sizeof(*n->list) + 1);
    for (size_t i = 0; n->list && i < count; i++) {
        n->list[i] = (struct hd_job_node){.name = copy(&n->arena, list[i].name, &failed),
                                          .conninfo = copy(&n->arena, list[i].conninfo, &failed),
                                          .user = copy(&n->arena, list[i].user, &failed),
                                          .password = copy(&n->arena, list[i].password, &failed),
                                          .connect_timeout = list[i].connect_timeout,
                                          .login = copy(&n->arena, list[i].login, &failed)};
    }
    n->count = count;
    if (n->list && !failed)
        return n;
    release_nodes(n);
    return NULL;
}

static const struct hd_job_node *find_node(const struct nodes *n, const char *name)
{
    for (size_t i = 0; name && i < n->count; i++) {
        if (strcmp(n->list[i].name, name) == 0)
            return &n->list[i];
    }
    return NULL;
}

int hd_sqljobs_set_nodes(struct hd_sqljobs *s, const struct hd_job_node *nodes, size_t n)
{
    struct nodes *fresh = make_nodes(nodes, n), *old;

    if (!fresh)
        return HD_ENOMEM;
    pthread_mutex_lock(&s->lock);
    old = s->nodes;
    s->nodes = fresh;
    pthread_mutex_unlock(&s->lock);
    release_nodes(old);
    return HD_OK;
}

/* --- idle connections -------------------------------------------------------------------------------------
 */

/* Whatever two statements must have in common to share a connection. NULL: no memory. */
static char *make_key(const struct hd_job_node *n, const char *database)
{
    const char *parts[] = {n->name, n->conninfo, n->user, n->password, database};
    struct hd_strbuf b = HD_STRBUF_INIT;
    char *key;

    for (size_t i = 0; i < HD_ARRAY_LEN(parts); i++)
        hd_strbuf_printf(&b, "%zu:%s,", parts[i] ? strlen(parts[i]) + 1 : 0, parts[i] ? parts[i] : "");
    key = b.failed ? NULL : hd_strbuf_take(&b);
    hd_strbuf_free(&b);
    return key;
}

static void free_idle(struct idle *i)
{
    hd_sqlconn_close(i->conn);
    hd_free(i->key);
    hd_free(i);
}

/* Under the lock. */
static struct idle *unlink_idle(struct hd_sqljobs *s, struct hd_list *n)
{
    hd_list_remove(n);
    s->idle_count--;
    return HD_LIST_ITEM(n, struct idle, node);
}

/* The connection of that key that was used last, or NULL. */
static struct idle *take_idle(struct hd_sqljobs *s, const char *key)
{
    struct idle *found = NULL;

    pthread_mutex_lock(&s->lock);
    for (struct hd_list *n = s->idle.prev; n != &s->idle; n = n->prev) {
        if (strcmp(HD_LIST_ITEM(n, struct idle, node)->key, key) == 0) {
            found = unlink_idle(s, n);
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* One connection too many: of this key, or in all; else NULL. Under the lock. */
static struct idle *surplus(struct hd_sqljobs *s, const char *key)
{
    size_t same = 0;

    for (struct hd_list *n = s->idle.prev; n != &s->idle; n = n->prev) {
        if (strcmp(HD_LIST_ITEM(n, struct idle, node)->key, key) == 0 && ++same > MAX_IDLE_OF)
            return unlink_idle(s, n);
    }
    return s->idle_count > MAX_IDLE ? unlink_idle(s, s->idle.next) : NULL;
}

/* Keeps a connection for later, or closes it. Takes over conn and key. */
static void give_back(struct hd_sqljobs *s, struct hd_sqlconn *conn, char *key)
{
    struct idle *i = hd_sqlconn_reset(conn) ? NULL : hd_calloc(1, sizeof(*i)), *out;

    if (!i) {
        hd_sqlconn_close(conn);
        hd_free(key);
        return;
    }
    *i = (struct idle){.conn = conn, .since_ns = hd_now_ns(), .key = key};
    pthread_mutex_lock(&s->lock);
    hd_list_push_back(&s->idle, &i->node);
    s->idle_count++;
    out = surplus(s, key);
    pthread_mutex_unlock(&s->lock);
    if (out)
        free_idle(out);
}

void hd_sqljobs_expire(struct hd_sqljobs *s)
{
    const uint64_t limit = (uint64_t)IDLE_SECONDS * 1000000000u;
    uint64_t now = hd_now_ns();
    struct idle *i;

    do {
        i = NULL;
        pthread_mutex_lock(&s->lock);
        if (!hd_list_empty(&s->idle) && now - HD_LIST_ITEM(s->idle.next, struct idle, node)->since_ns > limit)
            i = unlink_idle(s, s->idle.next);
        pthread_mutex_unlock(&s->lock);
        if (i)
            free_idle(i);
    } while (i);
}

size_t hd_sqljobs_idle(struct hd_sqljobs *s)
{
    size_t n;

    pthread_mutex_lock(&s->lock);
    n = s->idle_count;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* --- running ----------------------------------------------------------------------------------------------
 */

/* An idle connection that still works, or a new one. */
static int get_connection(struct hd_sqljobs *s, const struct hd_job_node *node, const char *database,
                          const char *key, const struct hd_sql_wait *w, struct hd_sqlconn **out,
                          struct hd_error *err)
{
    struct idle *i;

    while ((i = take_idle(s, key))) {
        int dead = hd_sqlconn_ready(i->conn, w);

        if (!dead) {
            *out = i->conn;
            i->conn = NULL;
        }
        free_idle(i);
        if (!dead)
            return HD_OK;
    }
    return hd_sqlconn_open(node, database, w, out, err);
}

static int run_on(struct hd_sqljobs *s, const struct hd_job_node *node, const struct hd_sql *sql,
                  const struct hd_sql_wait *w, struct hd_sql_answer *a)
{
    char *key = make_key(node, sql->database);
    struct hd_error err = HD_ERROR_INIT;
    struct hd_sqlconn *conn = NULL;
    int code;

    if (!key)
        return hd_sql_answer_end(a, HD_ENOMEM, "53200", "no memory for the statement");
    code = get_connection(s, node, sql->database, key, w, &conn, &err);
    if (code) {
        hd_free(key);
        return hd_sql_answer_end(a, code, "08001", err.text);
    }
    code = hd_sqlconn_run(conn, sql, w, a);
    if (code && code != HD_ESQL) {
        hd_sqlconn_close(conn);
        hd_free(key);
        return code;
    }
    give_back(s, conn, key);
    return code;
}

struct hd_sql_answer *hd_sqljobs_run(struct hd_sqljobs *s, const struct hd_sql *sql,
                                     const struct hd_sql_wait *w)
{
    struct hd_sql_answer *a = hd_sql_answer_new();
    struct hd_error err = HD_ERROR_INIT;
    const struct hd_job_node *node;
    struct nodes *nodes;

    if (a->result.code)
        return a;
    nodes = hold_nodes(s);
    node = find_node(nodes, sql->node);
    if (node) {
        run_on(s, node, sql, w, a);
    } else {
        hd_fail(&err, HD_ENOENT, "there is no node %s", sql->node ? sql->node : "(null)");
        hd_sql_answer_end(a, HD_ENOENT, "42704", err.text);
    }
    release_nodes(nodes);
    return a;
}

int hd_sqljobs_connect(struct hd_sqljobs *s, const char *node, const struct hd_sql_wait *w,
                       struct hd_sqlconn **out, struct hd_error *err)
{
    struct nodes *nodes = hold_nodes(s);
    const struct hd_job_node *n = find_node(nodes, node);
    int code = n ? hd_sqlconn_open(n, NULL, w, out, err)
                 : hd_fail(err, HD_ENOENT, "there is no node %s", node ? node : "(null)");

    release_nodes(nodes);
    return code;
}

int hd_sqljobs_conninfo(struct hd_sqljobs *s, struct hd_str node, struct hd_str dbname, char *out, size_t len,
                        struct hd_error *err)
{
    struct nodes *nodes = hold_nodes(s);
    char name[256];
    const struct hd_job_node *n;
    int code;

    snprintf(name, sizeof(name), "%.*s", (int)(node.len < sizeof(name) ? node.len : sizeof(name)),
             node.len ? node.ptr : "");
    n = find_node(nodes, name);
    code = n ? hd_sqlconn_conninfo(n, dbname, out, len, err)
             : hd_fail(err, HD_ENOENT, "there is no node %s", name);
    release_nodes(nodes);
    return code;
}

int hd_sqljobs_conninfo_says(struct hd_sqljobs *s, const char *node, const char *word)
{
    struct nodes *nodes = hold_nodes(s);
    const struct hd_job_node *n = find_node(nodes, node);
    int says = !n || strstr(n->conninfo, word) != NULL;

    release_nodes(nodes);
    return says;
}

int hd_sqljobs_login(struct hd_sqljobs *s, const char *node, char *out, size_t room)
{
    struct nodes *nodes = hold_nodes(s);
    const struct hd_job_node *n = find_node(nodes, node);
    int found = n && n->login;

    if (found && (size_t)snprintf(out, room, "%s", n->login) >= room)
        found = -1;
    release_nodes(nodes);
    return found;
}

int hd_sqljobs_each_node(struct hd_sqljobs *s, int32_t (*fn)(void *arg, struct hd_str node), void *arg)
{
    struct nodes *nodes = hold_nodes(s);
    int32_t code = HD_OK;

    for (size_t i = 0; !code && i < nodes->count; i++)
        if (nodes->list[i].user)
            code = fn(arg, (struct hd_str){nodes->list[i].name, strlen(nodes->list[i].name)});
    release_nodes(nodes);
    return code;
}

/* --- start and end ----------------------------------------------------------------------------------------
 */

struct hd_sqljobs *hd_sqljobs_new(void)
{
    struct hd_sqljobs *s = hd_calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->nodes = make_nodes(NULL, 0);
    if (!s->nodes) {
        hd_free(s);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    hd_list_init(&s->idle);
    return s;
}

void hd_sqljobs_free(struct hd_sqljobs *s)
{
    struct hd_list *n;

    if (!s)
        return;
    while ((n = hd_list_first(&s->idle)))
        free_idle(unlink_idle(s, n));
    release_nodes(s->nodes);
    pthread_mutex_destroy(&s->lock);
    hd_free(s);
}
