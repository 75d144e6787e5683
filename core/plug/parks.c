/*
 * Parked statements of one worker: which handle waits for whom, so that resume() may come from any thread, at
 * any time, also twice or too late. A park is WAITING in a bucket; resume takes it out and posts it to the
 * worker; there it becomes READY and the session is told. What its verdict points to lives until the
 * execution is done with it.
 *
 * A plugin's own thread may resume before statement() has come back with HD_VERDICT_PARK: such an early
 * resume is kept aside until the worker looks for it.
 */
#include "plug/instance.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

#define BUCKETS 256

static struct hd_list *bucket_of(struct hd_parks *parks, uint64_t handle)
{
    return &parks->buckets[handle & parks->bucket_mask];
}

int hd_parks_init(struct hd_parks *parks, uint32_t max)
{
    memset(parks, 0, sizeof(*parks));
    parks->buckets = hd_malloc(BUCKETS * sizeof(*parks->buckets));
    if (!parks->buckets)
        return HD_ENOMEM;
    for (size_t i = 0; i < BUCKETS; i++)
        hd_list_init(&parks->buckets[i]);
    parks->bucket_mask = BUCKETS - 1;
    parks->max = max;
    hd_list_init(&parks->early);
    pthread_mutex_init(&parks->lock, NULL);
    return HD_OK;
}

void hd_parks_fini(struct hd_parks *parks)
{
    if (!parks->buckets)
        return;
    HD_CHECK(!parks->count && hd_list_empty(&parks->early));
    pthread_mutex_destroy(&parks->lock);
    hd_free(parks->buckets);
}

void hd_parks_attach(struct hd_parks *parks, struct hd_loop *loop,
                     void (*ready)(void *arg, struct hd_chain_exec *exec), void *arg)
{
    pthread_mutex_lock(&parks->lock);
    parks->loop = loop;
    parks->ready = ready;
    parks->arg = arg;
    pthread_mutex_unlock(&parks->lock);
}

/* --- verdicts that outlive the call which brought them ------------------------------------------------- */

static void let_go(struct hd_park *park)
{
    if (park->verdict.release)
        park->verdict.release(park->verdict.release_arg);
    memset(&park->verdict, 0, sizeof(park->verdict));
    hd_free(park->text);
    park->text = NULL;
}

static struct hd_str put(char **to, struct hd_str s)
{
    struct hd_str copy = {*to, s.len};

    if (s.len)
        memcpy(*to, s.ptr, s.len);
    *to += s.len;
    return copy;
}

/* Copies what the plugin knew of the struct, and its strings. */
static int copy_verdict(struct hd_park *park, const struct hd_verdict *from)
{
    struct hd_verdict *v = &park->verdict;
    char *to;

    memset(v, 0, sizeof(*v));
    memcpy(v, from, from->size < sizeof(*v) ? from->size : sizeof(*v));
    v->size = sizeof(*v);
    to = park->text = hd_malloc(v->text.len + v->message.len + v->detail.len + v->hint.len +
                                (v->release ? 0 : v->describe.len + v->bytes.len));
    if (!to) {
        memset(v, 0, sizeof(*v));
        return HD_ENOMEM;
    }
    v->text = put(&to, v->text);
    v->message = put(&to, v->message);
    v->detail = put(&to, v->detail);
    v->hint = put(&to, v->hint);
    if (!v->release) {
        v->describe = put(&to, v->describe);
        v->bytes = put(&to, v->bytes);
    }
    return HD_OK;
}

/* --- waiting ------------------------------------------------------------------------------------------- */

/* The worker hears of a resumed park; nobody is told when its execution is over. */
static void on_resumed(struct hd_post *post)
{
    struct hd_park *park = HD_CONTAINER_OF(post, struct hd_park, post);

    park->state = HD_PARK_READY;
    if (park->exec)
        park->parks->ready(park->parks->arg, park->exec);
    else
        hd_free(park);
}

/* Puts a park that has its verdict on its way to the worker; under the lock. */
static void send_ready(struct hd_park *park)
{
    park->state = HD_PARK_RESUMED;
    hd_list_remove(&park->node);
    hd_loop_post(park->parks->loop, &park->post);
}

static struct hd_park *new_park(struct hd_parks *parks, struct hd_instance *i, uint64_t handle)
{
    struct hd_park *park = hd_calloc(1, sizeof(*park));

    if (!park)
        return NULL;
    hd_list_init(&park->node);
    hd_list_init(&park->order);
    park->parks = parks;
    park->instance = i;
    park->handle = handle;
    park->post.fn = on_resumed;
    return park;
}

static struct hd_park *find(struct hd_list *list, const struct hd_instance *i, uint64_t handle)
{
    HD_LIST_EACH(n, list)
    {
        struct hd_park *park = HD_LIST_ITEM(n, struct hd_park, node);

        if (park->handle == handle && park->instance == i)
            return park;
    }
    return NULL;
}

int hd_parks_add(struct hd_parks *parks, struct hd_instance *i, struct hd_chain_exec *exec,
                 struct hd_park **out)
{
    struct hd_park *park = new_park(parks, i, exec->handle), *early;
    int code = HD_OK;

    if (!park)
        return HD_ENOMEM;
    pthread_mutex_lock(&parks->lock);
    early = find(&parks->early, i, exec->handle);
    if (parks->count >= parks->max) {
        code = HD_EFULL;
    } else if (early) {
        early->exec = exec;
        send_ready(early);
        *out = early;
    } else {
        park->exec = exec;
        hd_list_push_back(bucket_of(parks, exec->handle), &park->node);
        parks->count++;
        *out = park;
    }
    atomic_store_explicit(&parks->deciding, 0, memory_order_relaxed);
    pthread_mutex_unlock(&parks->lock);
    if (code || early)
        hd_free(park);
    return code;
}

void hd_parks_drop_early(struct hd_parks *parks)
{
    for (;;) {
        struct hd_list *n;

        pthread_mutex_lock(&parks->lock);
        n = hd_list_pop_front(&parks->early);
        atomic_store_explicit(&parks->early_there, 0, memory_order_relaxed);
        pthread_mutex_unlock(&parks->lock);
        if (!n)
            return;
        let_go(HD_LIST_ITEM(n, struct hd_park, node));
        hd_free(HD_LIST_ITEM(n, struct hd_park, node));
    }
}

/* --- resuming ------------------------------------------------------------------------------------------ */

/* resume() came while the worker was still inside statement(); under the lock. */
static int keep_early(struct hd_parks *parks, struct hd_instance *i, uint64_t handle,
                      const struct hd_verdict *v)
{
    struct hd_park *early;
    int code;

    if (!handle || atomic_load_explicit(&parks->deciding, memory_order_relaxed) != handle)
        return HD_ENOENT;
    if (find(&parks->early, i, handle))
        return HD_ENOENT; /* resumed before */
    early = new_park(parks, i, handle);
    if (!early)
        return HD_ENOMEM;
    code = copy_verdict(early, v);
    if (code) {
        hd_free(early);
        return code;
    }
    hd_list_push_back(&parks->early, &early->node);
    atomic_store_explicit(&parks->early_there, 1, memory_order_relaxed);
    return HD_OK;
}

int hd_parks_resume(struct hd_parks *parks, struct hd_instance *i, uint64_t handle,
                    const struct hd_verdict *v)
{
    struct hd_park *park;
    int code;

    pthread_mutex_lock(&parks->lock);
    park = parks->loop ? find(bucket_of(parks, handle), i, handle) : NULL;
    if (!park) {
        code = parks->loop ? keep_early(parks, i, handle, v) : HD_ENOENT;
    } else {
        code = copy_verdict(park, v);
        if (!code) {
            parks->count--;
            send_ready(park);
        }
    }
    pthread_mutex_unlock(&parks->lock);
    return code;
}

/* Takes a park out of its bucket, unless resume() was there first. */
static int take_waiting(struct hd_park *park)
{
    struct hd_parks *parks = park->parks;
    int waiting;

    pthread_mutex_lock(&parks->lock);
    waiting = park->state == HD_PARK_WAITING;
    if (waiting) {
        hd_list_remove(&park->node);
        parks->count--;
        park->state = HD_PARK_READY;
    }
    pthread_mutex_unlock(&parks->lock);
    return waiting;
}

int hd_park_expire(struct hd_park *park)
{
    return take_waiting(park);
}

void hd_park_drop(struct hd_park *park)
{
    hd_list_remove(&park->order);
    if (!take_waiting(park) && park->state == HD_PARK_RESUMED) {
        let_go(park); /* its post is under way and frees it */
        park->exec = NULL;
        return;
    }
    let_go(park);
    hd_free(park);
}

void hd_parks_detach(struct hd_parks *parks)
{
    hd_parks_drop_early(parks);
    pthread_mutex_lock(&parks->lock);
    HD_CHECK(!parks->count);
    parks->loop = NULL;
    pthread_mutex_unlock(&parks->lock);
    hd_parks_drop_early(parks);
}
