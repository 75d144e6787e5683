/*
 * The capability: looking up, keeping and dropping values from a worker.
 *
 * A look-up asks for the time left first and for the value then: if another host exchanges the value in
 * between, the new one is given the old one's shorter time. A value that may be lost at any time is not sent
 * twice: where a cluster says that its key has moved, the next one goes there.
 */
#include "cache-redis/cache-redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define REDIRECTS_MAX 4
#define FULL_MS       1000 /* without writes, after Redis had no room for one */
#define KEPT_CALLS    64
#define FRAME_BYTES   256 /* of a command beside its value: words and the name */

/* A command under way. */
struct cr_call {
    struct cr_call *next; /* when it is free */
    struct cr_worker *worker;
    struct rds_link *link;
    struct hd_cache_key key; /* bytes are the asker's */
    void (*done)(void *arg, int32_t code, const struct hd_cache_value *value);
    void *arg;
    uint64_t began_ns;
    int64_t left_ms;
    uint32_t redirects;
    uint32_t name_len;
    char name[CR_NAME_MAX];
};

void cr_count(struct cr_worker *w, enum cr_count which)
{
    atomic_store_explicit(&w->count[which], atomic_load_explicit(&w->count[which], memory_order_relaxed) + 1,
                          memory_order_relaxed);
    w->self->metrics->add(w->self->env.host, w->self->metric[which], 1);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- calls -----------------------------------------------------------------------------------------------
 */

/* PREFIX NAMESPACE : and the key's hash, 128 bits in hexadecimal. */
static void make_name(struct cr_call *call)
{
    const struct cr *self = call->worker->self;
    XXH128_hash_t h = XXH3_128bits(call->key.bytes.ptr, call->key.bytes.len);
    char *at = call->name;

    memcpy(at, self->head, self->head_len);
    at += self->head_len;
    for (int i = 0; i < 32; i++) {
        uint64_t half = i < 16 ? h.high64 : h.low64;

        *at++ = "0123456789abcdef"[half >> (60 - 4 * (i & 15)) & 15];
    }
    call->name_len = (uint32_t)(at - call->name);
}

/* A call that knows its link; NULL: there is none that would take it now. */
static struct cr_call *new_call(struct cr_worker *w, const struct hd_cache_key *key, uint32_t commands,
                                uint64_t bytes)
{
    struct cr_call *call = w->free_calls;

    if (call)
        w->free_calls = call->next;
    else
        call = malloc(sizeof(*call));
    if (!call)
        return NULL;
    memset(call, 0, offsetof(struct cr_call, name));
    call->worker = w;
    call->key = *key;
    make_name(call);
    call->link = rds_servers_for(w->servers, (struct hd_str){call->name, call->name_len});
    if (call->link && rds_conn_room(call->link->conn, commands, bytes + FRAME_BYTES))
        return call;
    call->next = w->free_calls;
    w->free_calls = call;
    return NULL;
}

static void end_call(struct cr_call *call)
{
    call->next = call->worker->free_calls;
    call->worker->free_calls = call;
}

void cr_free_calls(struct cr_worker *w)
{
    while (w->free_calls) {
        struct cr_call *call = w->free_calls;

        w->free_calls = call->next;
        free(call);
    }
}

/* --- looking up ------------------------------------------------------------------------------------------
 */

static void on_left(void *arg, int32_t code, const redisReply *r);
static void on_value(void *arg, int32_t code, const redisReply *r);

static void finish(struct cr_call *call, int32_t code, const struct hd_cache_value *value)
{
    struct cr_worker *w = call->worker;

    w->self->metrics->observe(w->self->env.host, w->self->seconds, now_ns() - call->began_ns);
    call->done(call->arg, code, value);
    end_call(call);
}

static int32_t send_get(struct cr_call *call, int asking)
{
    const struct hd_str name = {call->name, call->name_len}, ask = RDS_WORD("ASKING");
    const struct hd_str left[] = {RDS_WORD("PTTL"), name}, get[] = {RDS_WORD("GET"), name};
    struct rds_conn *conn = call->link->conn;

    if (!rds_conn_room(conn, 4, FRAME_BYTES * 2))
        return HD_EBUSY;
    if (asking)
        rds_conn_send(conn, 1, &ask, NULL, NULL);
    if (rds_conn_send(conn, 2, left, on_left, call) == HD_OK) {
        if (asking)
            rds_conn_send(conn, 1, &ask, NULL, NULL);
        if (rds_conn_send(conn, 2, get, on_value, call) == HD_OK)
            return HD_OK;
    }
    /* Room was there, so memory was not. Replies to a half of it are not waited for. */
    rds_conn_drop(conn, "no memory for a command");
    return HD_EBUSY;
}

static void on_left(void *arg, int32_t code, const redisReply *r)
{
    struct cr_call *call = arg;

    call->left_ms = code == HD_OK && r->type == REDIS_REPLY_INTEGER ? r->integer : 0;
}

/* An error instead of a value: it may say where the value is. */
static void on_refused(struct cr_call *call, const redisReply *r)
{
    struct cr_worker *w = call->worker;
    int asking = 0;
    struct rds_link *other =
        call->redirects++ < REDIRECTS_MAX ? rds_servers_follow(w->servers, call->link, r, &asking) : NULL;

    if (other) {
        call->link = other;
        call->left_ms = 0;
        if (send_get(call, asking) == HD_OK)
            return;
    } else {
        rds_link_fault(call->link, r);
    }
    cr_count(w, CR_ERRORS);
    finish(call, HD_EBUSY, NULL);
}

static void on_bytes(struct cr_call *call, struct hd_str bytes)
{
    struct cr_worker *w = call->worker;
    struct hd_cache_value value;
    int32_t code = cr_value_decode(bytes, &call->key, w->self->max_value, &w->room, &value);

    if (code != HD_OK || call->left_ms < -1 || call->left_ms == 0) {
        cr_count(w, code == HD_OK || code == HD_ENOENT ? CR_MISSES : CR_WRONG);
        finish(call, HD_ENOENT, NULL);
        return;
    }
    cr_count(w, CR_HITS);
    value.left_ms = call->left_ms < 0 ? atomic_load(&w->self->ttl_ms) : (uint64_t)call->left_ms;
    finish(call, HD_OK, &value);
}

static void on_value(void *arg, int32_t code, const redisReply *r)
{
    struct cr_call *call = arg;
    struct cr_worker *w = call->worker;

    if (code != HD_OK) {
        cr_count(w, code == HD_ETIMEOUT ? CR_TIMEOUTS : CR_ERRORS);
        finish(call, HD_EBUSY, NULL);
    } else if (r->type == REDIS_REPLY_STRING) {
        rds_link_good(call->link);
        on_bytes(call, (struct hd_str){r->str, (uint64_t)r->len});
    } else if (r->type == REDIS_REPLY_NIL) {
        rds_link_good(call->link);
        cr_count(w, CR_MISSES);
        finish(call, HD_ENOENT, NULL);
    } else {
        on_refused(call, r);
    }
}

static int32_t get(void *self, const struct hd_cache_key *key, struct hd_cache_value *value,
                   void (*done)(void *arg, int32_t code, const struct hd_cache_value *value), void *arg)
{
    struct cr_worker *w = cr_here(self);
    struct cr_call *call;

    (void)value;
    if (!w || !done)
        return HD_EBUSY;
    call = new_call(w, key, 4, FRAME_BYTES);
    if (!call) {
        cr_count(w, CR_BYPASSED);
        return HD_EBUSY;
    }
    call->done = done;
    call->arg = arg;
    call->began_ns = now_ns();
    if (send_get(call, 0) == HD_OK)
        return HD_PENDING;
    end_call(call);
    cr_count(w, CR_BYPASSED);
    return HD_EBUSY;
}

/* Nothing is ever given that would have to be given back. */
static void release(void *self, struct hd_cache_value *value)
{
    (void)self, (void)value;
}

/* --- keeping ---------------------------------------------------------------------------------------------
 */

static void say_full(struct cr_worker *w, const char *why)
{
    const char *pairs[] = {"reason", why, NULL};

    w->full_until_ms = rds_now_ms() + FULL_MS;
    cr_count(w, CR_FULL);
    if (!w->full)
        hd_host_api(w->self->env.host)
            ->log(w->self->env.host, HD_LEVEL_WARNING, "Redis takes no writes; values are read only", pairs);
    w->full = 1;
}

static void on_kept(void *arg, int32_t code, const redisReply *r)
{
    struct cr_call *call = arg;
    struct cr_worker *w = call->worker;
    int asking;

    if (code != HD_OK) {
        cr_count(w, code == HD_ETIMEOUT ? CR_TIMEOUTS : CR_ERRORS);
    } else if (rds_says(r, REDIS_REPLY_STATUS, "OK")) {
        rds_link_good(call->link);
        w->full = 0;
    } else if (rds_says(r, REDIS_REPLY_ERROR, "OOM") || rds_says(r, REDIS_REPLY_ERROR, "MISCONF")) {
        say_full(w, r->str);
    } else {
        cr_count(w, CR_ERRORS);
        if (r->type != REDIS_REPLY_ERROR || !rds_servers_follow(w->servers, call->link, r, &asking))
            rds_link_fault(call->link, r);
    }
    end_call(call);
}

static int32_t send_set(struct cr_call *call, uint64_t left_ms)
{
    struct cr_worker *w = call->worker;
    uint64_t ttl = atomic_load(&w->self->ttl_ms);
    char ms[24];
    struct hd_str words[] = {
        RDS_WORD("SET"), {call->name, call->name_len}, {w->entry.ptr, w->entry.len}, RDS_WORD("PX"), {ms, 0}};

    words[4].len =
        (uint64_t)snprintf(ms, sizeof(ms), "%llu", (unsigned long long)(left_ms < ttl ? left_ms : ttl));
    return rds_conn_send(call->link->conn, 5, words, on_kept, call);
}

static int32_t put(void *self, const struct hd_cache_key *key, const struct hd_cache_value *value)
{
    struct cr *cr = self;
    struct cr_worker *w = cr_here(cr);
    uint64_t bytes = cr_value_size(value) + key->bytes.len;
    struct cr_call *call;

    if (!w)
        return HD_EBUSY;
    if (!value->left_ms || bytes > cr->max_value) {
        cr_count(w, CR_REJECTED);
        return value->left_ms ? HD_EINVAL : HD_EFULL;
    }
    call = w->full && rds_now_ms() < w->full_until_ms ? NULL : new_call(w, key, 1, bytes + CR_HEADER);
    if (!call || cr_value_encode(key, value, atomic_load(&cr->compress_above), &w->entry) ||
        send_set(call, value->left_ms)) {
        if (call)
            end_call(call);
        cr_count(w, CR_BYPASSED);
        return HD_EBUSY;
    }
    cr_count(w, CR_PUTS);
    return HD_OK;
}

/* --- dropping --------------------------------------------------------------------------------------------
 */

static void send_unlink(struct cr_call *call, int asking);

static void on_erased(void *arg, int32_t code, const redisReply *r)
{
    struct cr_call *call = arg;
    struct rds_link *other = NULL;
    int asking = 0;

    if (code == HD_OK && r->type == REDIS_REPLY_ERROR && call->redirects++ < REDIRECTS_MAX)
        other = rds_servers_follow(call->worker->servers, call->link, r, &asking);
    if (other) {
        call->link = other;
        send_unlink(call, asking);
        return;
    }
    if (code != HD_OK || r->type != REDIS_REPLY_INTEGER)
        cr_count(call->worker, CR_ERRORS);
    end_call(call);
}

static void send_unlink(struct cr_call *call, int asking)
{
    const struct hd_str words[] = {RDS_WORD("UNLINK"), {call->name, call->name_len}},
                        ask = RDS_WORD("ASKING");
    struct rds_conn *conn = call->link->conn;

    if (asking)
        rds_conn_send(conn, 1, &ask, NULL, NULL);
    if (rds_conn_send(conn, 2, words, on_erased, call) == HD_OK)
        return;
    cr_count(call->worker, CR_BYPASSED);
    end_call(call);
}

static void erase(void *self, const struct hd_cache_key *key)
{
    struct cr_worker *w = cr_here(self);
    struct cr_call *call = w ? new_call(w, key, 1, 0) : NULL;

    if (call)
        send_unlink(call, 0);
    else if (w)
        cr_count(w, CR_BYPASSED);
}

/* --- figures ---------------------------------------------------------------------------------------------
 */

uint64_t cr_counted(struct cr *self, enum cr_count which)
{
    uint64_t sum = 0;

    pthread_mutex_lock(&self->lock);
    for (int i = 0; i < CR_WORKERS_MAX; i++)
        if (self->worker[i])
            sum += atomic_load_explicit(&self->worker[i]->count[which], memory_order_relaxed);
    pthread_mutex_unlock(&self->lock);
    return sum;
}

static void look(void *arg, struct rds_link *l)
{
    struct rds_link_state state;

    rds_link_show(l, &state);
    *(int *)arg |= state.up;
}

static int32_t stats(void *arg, struct hd_cache_store_stats *out)
{
    struct cr *self = arg;
    struct hd_cache_store_stats s = {.size = out->size};
    int up = 0;

    pthread_mutex_lock(&self->lock);
    for (int i = 0; i < CR_WORKERS_MAX; i++)
        if (self->worker[i])
            rds_servers_each(self->worker[i]->servers, look, &up);
    pthread_mutex_unlock(&self->lock);
    s.up = (uint32_t)up;
    s.hits = cr_counted(self, CR_HITS);
    s.misses = cr_counted(self, CR_MISSES);
    s.puts = cr_counted(self, CR_PUTS);
    s.rejected = cr_counted(self, CR_REJECTED) + cr_counted(self, CR_FULL);
    s.errors = cr_counted(self, CR_ERRORS) + cr_counted(self, CR_WRONG) + cr_counted(self, CR_TIMEOUTS);
    s.bypassed = cr_counted(self, CR_BYPASSED);
    memcpy(out, &s, out->size < sizeof(s) ? out->size : sizeof(s));
    return HD_OK;
}

const struct hd_cache_store_v1 cr_store = {
    .size = sizeof(struct hd_cache_store_v1),
    .traits = HD_STORE_SHARED,
    .get = get,
    .release = release,
    .put = put,
    .erase = erase,
    .flush = cr_flush,
    .stats = stats,
    .tick = cr_tick,
};
