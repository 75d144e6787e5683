/*
 * Asking servers for users; see auth.h.
 */
#include "session/auth.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "plug/jobs.h"

#define BUCKETS 1024
/* How often the log says that a server cannot be asked: whoever waits for it tries again. */
#define TELL_NS 1000000000u

/* One user of one node, and who waits to hear of him. */
struct entry {
    struct entry *next; /* in the bucket */
    struct hd_list age; /* oldest first */
    struct hd_auth_wait *waiting;
    uint64_t until_ns; /* 0: the server is being asked */
    uint64_t asked;    /* number of the question that will be answered */
    int code;
    struct hd_scram_verifier verifier;
    uint64_t hash;
    char key[];
};

struct hd_auth_cache {
    pthread_mutex_t lock;
    uint32_t refs; /* the workers, and each job */
    int closed;
    size_t most;
    struct hd_list ages;
    struct entry *buckets[BUCKETS];
    struct hd_auth_stats stats;
    uint64_t told_ns; /* when the log last said that a server cannot be asked */
    uint64_t untold;  /* as often it could not since */
};

/* A session that waits. Belongs to the entry, then to the post; `session` is the worker's own. */
struct hd_auth_wait {
    struct hd_post post;
    struct hd_auth_wait *next;
    struct hd_session *session; /* NULL: it has left */
    struct hd_worker *w;
    hd_auth_done *done;
    int code;
    struct hd_scram_verifier verifier;
};

/* One question to a server. */
struct question {
    struct hd_auth_cache *auth;
    struct hd_jobs *jobs;
    uint64_t number, deadline_ms, keep_ns;
    char *key, *node, *database, *user, *sql;
    int code;
    char sqlstate[8], reason[300]; /* why there is no answer; both may be empty */
    uint64_t valid_ns;             /* of the answer */
    struct hd_scram_verifier verifier;
};

/* --- the cache
 * ---------------------------------------------------------------------------------------------- */

struct hd_auth_cache *hd_auth_new(size_t most)
{
    struct hd_auth_cache *a = hd_calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    hd_list_init(&a->ages);
    a->refs = 1;
    a->most = most;
    return a;
}

static void entry_free(struct entry *e)
{
    while (e->waiting) {
        struct hd_auth_wait *w = e->waiting;

        e->waiting = w->next;
        hd_free(w);
    }
    hd_scram_verifier_wipe(&e->verifier);
    hd_free(e);
}

static void drop(struct hd_auth_cache *a)
{
    int last;

    pthread_mutex_lock(&a->lock);
    last = !--a->refs;
    pthread_mutex_unlock(&a->lock);
    if (!last)
        return;
    while (!hd_list_empty(&a->ages))
        entry_free(HD_LIST_ITEM(hd_list_pop_front(&a->ages), struct entry, age));
    pthread_mutex_destroy(&a->lock);
    hd_free(a);
}

void hd_auth_close(struct hd_auth_cache *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->closed = 1;
    pthread_mutex_unlock(&a->lock);
}

void hd_auth_free(struct hd_auth_cache *a)
{
    if (a)
        drop(a);
}

static struct entry *find(struct hd_auth_cache *a, const char *key, uint64_t hash)
{
    for (struct entry *e = a->buckets[hash % BUCKETS]; e; e = e->next)
        if (e->hash == hash && !strcmp(e->key, key))
            return e;
    return NULL;
}

static void take_out(struct hd_auth_cache *a, struct entry *e)
{
    struct entry **at;

    for (at = &a->buckets[e->hash % BUCKETS]; *at != e; at = &(*at)->next)
        ;
    *at = e->next;
    hd_list_remove(&e->age);
    a->stats.entries--;
}

/* The oldest that nobody waits for gives way. */
static void make_room(struct hd_auth_cache *a)
{
    HD_LIST_EACH(n, &a->ages)
    {
        struct entry *e = HD_LIST_ITEM(n, struct entry, age);

        if (a->stats.entries < a->most)
            return;
        if (!e->until_ns)
            continue;
        take_out(a, e);
        entry_free(e);
        return;
    }
}

static struct entry *put_in(struct hd_auth_cache *a, const char *key, uint64_t hash)
{
    size_t len = strlen(key) + 1;
    struct entry *e = hd_calloc(1, sizeof(*e) + len);

    if (!e)
        return NULL;
    make_room(a);
    memcpy(e->key, key, len);
    e->hash = hash;
    e->next = a->buckets[hash % BUCKETS];
    a->buckets[hash % BUCKETS] = e;
    hd_list_push_back(&a->ages, &e->age);
    a->stats.entries++;
    return e;
}

static char *make_key(const struct hd_database_conf *conf, const char *user)
{
    struct hd_strbuf b = HD_STRBUF_INIT;

    hd_strbuf_printf(&b, "%s\n%s\n%s\n%s", conf->node->conninfo, conf->node->name, conf->auth_query, user);
    return hd_strbuf_take(&b);
}

void hd_auth_forget(struct hd_auth_cache *a, const struct hd_database_conf *conf, const char *user)
{
    char *key = make_key(conf, user);
    struct entry *e;

    if (!key)
        return;
    pthread_mutex_lock(&a->lock);
    e = find(a, key, hd_hash64(key, strlen(key)));
    if (e && e->until_ns) {
        take_out(a, e);
        entry_free(e);
    }
    pthread_mutex_unlock(&a->lock);
    hd_free(key);
}

void hd_auth_get_stats(struct hd_auth_cache *a, struct hd_auth_stats *out)
{
    pthread_mutex_lock(&a->lock);
    *out = a->stats;
    pthread_mutex_unlock(&a->lock);
}

/* --- asking
 * ------------------------------------------------------------------------------------------------- */

static void question_free(struct question *q)
{
    hd_scram_verifier_wipe(&q->verifier);
    hd_free(q->key);
    hd_free(q->node);
    hd_free(q->database);
    hd_free(q->user);
    hd_free(q->sql);
    hd_free(q);
}

/* The configured query, held against the role that the server has of that name: one that may not log in, or
 * whose VALID UNTIL has passed, is nobody. */
#define QUERY_BEGIN                                                                                          \
    "SELECT a.password, r.rolcanlogin, CASE WHEN r.rolvaliduntil <= pg_catalog.now() THEN 0 "                \
    "WHEN pg_catalog.isfinite(r.rolvaliduntil) THEN "                                                        \
    "pg_catalog.ceil(EXTRACT(epoch FROM r.rolvaliduntil - pg_catalog.now()))::pg_catalog.int8 END FROM ("
#define QUERY_END                                                                                            \
    "\n) AS a (name, password) LEFT JOIN pg_catalog.pg_roles r ON r.rolname = a.name::pg_catalog.name "      \
    "WHERE a.name::pg_catalog.text = $1::pg_catalog.text"

/* A password as the server keeps it, or as it is. HD_OK or HD_ENOENT. */
static int read_password(struct question *q, struct hd_str password)
{
    struct hd_error err = HD_ERROR_INIT;
    char *text = hd_strndup(password.ptr, password.len);
    int code = HD_ENOENT;

    if (!text)
        return HD_ENOMEM;
    if (hd_scram_is_verifier(text))
        code = hd_scram_verifier_parse(text, &q->verifier, &err);
    else if (!strncmp(text, "md5", 3) && password.len == 35)
        hd_log(HD_LOG_WARNING, "a user cannot log in: his password is kept as md5, not as scram-sha-256",
               HD_KV("node", q->node), HD_KV("user", q->user));
    else
        code = hd_scram_verifier_make(text, password.len, &q->verifier);
    OPENSSL_cleanse(text, password.len);
    hd_free(text);
    return code ? HD_ENOENT : HD_OK;
}

static int read_answer(struct question *q, const struct hd_sql_result *r)
{
    const struct hd_str *c = r->cells;

    if (r->rows > 1)
        hd_log(HD_LOG_WARNING, "auth_query gives several rows for one user", HD_KV("node", q->node),
               HD_KV("user", q->user));
    if (r->rows != 1 || !c[0].ptr || !c[0].len)
        return HD_ENOENT;
    if (c[1].ptr && c[1].ptr[0] != 't')
        return HD_ENOENT;
    if (c[2].ptr) {
        q->valid_ns = strtoull(c[2].ptr, NULL, 10) * 1000000000u;
        if (!q->valid_ns)
            return HD_ENOENT;
    }
    return read_password(q, c[0]);
}

/* Why there is no answer, in words for the log. */
static void keep_reason(struct question *q, const struct hd_sql_result *r)
{
    if (r->code) {
        snprintf(q->sqlstate, sizeof(q->sqlstate), "%s", r->sqlstate);
        snprintf(q->reason, sizeof(q->reason), "%.*s",
                 (int)(r->message.len < sizeof(q->reason) ? r->message.len : sizeof(q->reason) - 1),
                 r->message.ptr ? r->message.ptr : "");
    } else {
        snprintf(q->reason, sizeof(q->reason),
                 "auth_query gives %u columns instead of two: name and password",
                 r->columns ? r->columns - 1 : 0);
    }
}

/* [job] */
static int32_t ask(void *arg)
{
    struct question *q = arg;
    const char *const params[] = {q->user};
    const struct hd_sql sql = {.size = sizeof(sql),
                               .param_count = 1,
                               .node = q->node,
                               .database = q->database,
                               .text = q->sql,
                               .params = params,
                               .deadline_ms = q->deadline_ms};
    const struct hd_sql_result *r = NULL;
    int code = hd_jobs_sql_wait(q->jobs, &sql, &r);

    if (r && (r->code || r->columns != 3)) {
        keep_reason(q, r);
        code = HD_EIO;
    } else if (r) {
        code = read_answer(q, r);
    } else if (!code) {
        code = HD_ENOMEM;
    }
    if (r)
        hd_jobs_free_result(r);
    q->code = code;
    return code;
}

/* Nobody learns of a user for that reason; of many such answers the log has one now and then. The lock is
 * held.
 */
static void not_answered(struct hd_auth_cache *a, const struct question *q)
{
    uint64_t now = hd_now_ns();
    const char *reason = q->reason;

    a->stats.failed++;
    if (q->code == HD_ECANCELLED)
        return; /* the host ends */
    if (a->told_ns && now - a->told_ns < TELL_NS) {
        a->untold++;
        return;
    }
    if (!*reason)
        reason = q->code == HD_EFULL ? "as many jobs wait as max_jobs allows" : hd_code_name(q->code);
    hd_log(HD_LOG_WARNING, "auth_query failed", HD_KV("node", q->node), HD_KV("sqlstate", q->sqlstate),
           HD_KV("reason", reason), HD_KV("not_logged", a->untold));
    a->told_ns = now;
    a->untold = 0;
}

/* On the worker. */
static void tell(struct hd_post *post)
{
    struct hd_auth_wait *w = HD_CONTAINER_OF(post, struct hd_auth_wait, post);

    if (w->session)
        w->done(w->session, w->code, &w->verifier);
    hd_scram_verifier_wipe(&w->verifier);
    hd_free(w);
}

static void tell_all(struct entry *e, const struct question *q)
{
    struct hd_auth_wait *w;

    while ((w = e->waiting)) {
        e->waiting = w->next;
        w->code = q->code;
        w->verifier = q->verifier;
        w->post.fn = tell;
        hd_loop_post(&w->w->loop, &w->post);
    }
}

/* [control] The answer is kept, unless the server could not be asked. */
static void answered(void *arg, int32_t code)
{
    struct question *q = arg;
    struct hd_auth_cache *a = q->auth;
    int known = q->code == HD_OK || q->code == HD_ENOENT;
    uint64_t keep = q->valid_ns && q->valid_ns < q->keep_ns ? q->valid_ns : q->keep_ns;
    struct entry *e;

    if (code != q->code) { /* it never ran */
        q->code = code;
        known = 0;
    }
    pthread_mutex_lock(&a->lock);
    if (!known)
        not_answered(a, q);
    e = a->closed ? NULL : find(a, q->key, hd_hash64(q->key, strlen(q->key)));
    if (e && e->asked == q->number) {
        tell_all(e, q);
        e->code = q->code;
        e->verifier = q->verifier;
        e->until_ns = hd_now_ns() + keep;
        if (!known || !keep) {
            take_out(a, e);
            entry_free(e);
        }
    }
    pthread_mutex_unlock(&a->lock);
    question_free(q);
    drop(a);
}

static struct question *question_new(struct hd_session *s, const struct hd_database_conf *conf,
                                     const char *key, const char *user)
{
    struct question *q = hd_calloc(1, sizeof(*q));
    struct hd_strbuf sql = HD_STRBUF_INIT;

    if (!q)
        return NULL;
    hd_strbuf_puts(&sql, QUERY_BEGIN);
    hd_strbuf_puts(&sql, conf->auth_query);
    hd_strbuf_puts(&sql, QUERY_END);
    q->sql = hd_strbuf_take(&sql);
    q->key = hd_strdup(key);
    q->node = hd_strdup(conf->node->name);
    q->user = hd_strdup(user);
    q->jobs = s->w->all->env.jobs;
    q->keep_ns = (uint64_t)s->w->settings->host.auth_cache_time * 1000000;
    q->deadline_ms = (uint64_t)s->w->settings->host.connect_timeout;
    q->code = HD_EIO;
    if (!conf->node->dbname && strcmp(conf->name, "*")) {
        q->database = hd_strdup(conf->name);
        if (!q->database)
            goto fail;
    }
    if (q->sql && q->key && q->node && q->user)
        return q;
fail:
    question_free(q);
    return NULL;
}

/* The lock is held. */
static int ask_server(struct hd_auth_cache *a, struct entry *e, struct hd_session *s,
                      const struct hd_database_conf *conf, const char *user)
{
    struct question *q = question_new(s, conf, e->key, user);
    int64_t handle;

    if (!q)
        return HD_ENOMEM;
    q->auth = a;
    q->number = e->asked = ++a->stats.asked;
    a->refs++;
    e->until_ns = 0;
    handle = hd_jobs_run(q->jobs, NULL, "auth_query", ask, answered, q);
    if (handle > 0)
        return HD_OK;
    a->refs--;
    q->code = (int)handle;
    not_answered(a, q);
    question_free(q);
    return (int)handle;
}

static int wait_for(struct entry *e, struct hd_session *s, hd_auth_done *done, struct hd_auth_wait **wait)
{
    struct hd_auth_wait *w = hd_calloc(1, sizeof(*w));

    if (!w)
        return HD_ENOMEM;
    w->session = s;
    w->w = s->w;
    w->done = done;
    w->next = e->waiting;
    e->waiting = w;
    *wait = w;
    return HD_PENDING;
}

/* The lock is held. */
static int find_or_ask(struct hd_auth_cache *a, const char *key, struct hd_session *s,
                       const struct hd_database_conf *conf, const char *user, hd_auth_done *done,
                       struct hd_scram_verifier *out, struct hd_auth_wait **wait)
{
    uint64_t hash = hd_hash64(key, strlen(key));
    struct entry *e = a->closed ? NULL : find(a, key, hash);
    int code = HD_OK, fresh = 0;

    if (a->closed)
        return HD_EIO;
    if (e && e->until_ns > hd_now_ns()) {
        *out = e->verifier;
        return e->code;
    }
    if (!e) {
        e = put_in(a, key, hash);
        fresh = 1;
    }
    if (!e)
        return HD_ENOMEM;
    if (fresh || e->until_ns)
        code = ask_server(a, e, s, conf, user);
    if (!code)
        return wait_for(e, s, done, wait);
    take_out(a, e);
    entry_free(e);
    return code;
}

int hd_auth_find(struct hd_session *s, const struct hd_database_conf *conf, const char *user,
                 hd_auth_done *done, struct hd_scram_verifier *out, struct hd_auth_wait **wait)
{
    struct hd_auth_cache *a = s->w->all->auth;
    char *key;
    int code;

    if (!conf->node->control_user || !s->w->all->env.jobs)
        return HD_EIO;
    key = make_key(conf, user);
    if (!key)
        return HD_ENOMEM;
    pthread_mutex_lock(&a->lock);
    code = find_or_ask(a, key, s, conf, user, done, out, wait);
    pthread_mutex_unlock(&a->lock);
    hd_free(key);
    return code;
}

void hd_auth_give_up(struct hd_auth_wait *w)
{
    if (w)
        w->session = NULL;
}
