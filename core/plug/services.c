/*
 * Services and host objects; see services.h. The functions of hd_host_v1 stand here; what they do to an
 * instance stands in instance.c.
 */
#include "plug/services.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "plug/instance.h"

#define SERVICES_MAX 32
/* Pairs of one log line of a plugin. */
#define LOG_PAIRS_MAX 16

struct service {
    const char *name;
    const void *vtable;
};

/* Entries are only ever added, each complete before the count says so. */
static struct service services[SERVICES_MAX];
static _Atomic size_t service_count;

int hd_service_add(const char *name, const void *vtable)
{
    size_t n = atomic_load(&service_count);

    if (hd_service_find(name))
        return HD_EEXIST;
    if (n == SERVICES_MAX)
        return HD_EFULL;
    services[n] = (struct service){name, vtable};
    atomic_store_explicit(&service_count, n + 1, memory_order_release);
    return HD_OK;
}

const void *hd_service_find(const char *name)
{
    size_t n = atomic_load_explicit(&service_count, memory_order_acquire);

    for (size_t i = 0; i < n; i++)
        if (!strcmp(services[i].name, name))
            return services[i].vtable;
    return NULL;
}

int32_t hd_service_give(void *out, uint32_t room, const void *from, uint32_t size)
{
    if (room < sizeof(uint32_t))
        return HD_EINVAL;
    if (size > room)
        size = room;
    memcpy((char *)out + sizeof(uint32_t), (const char *)from + sizeof(uint32_t), size - sizeof(uint32_t));
    return HD_OK;
}

/* --- hd_host_v1 ---------------------------------------------------------------------------------------- */

static const void *v1_service(hd_host *host, const char *name)
{
    (void)host;
    return name ? hd_service_find(name) : NULL;
}

static int32_t v1_capability(hd_host *host, const char *name, const char *plugin_id, const void **vtable,
                             void **self, struct hd_error *err)
{
    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    if (!host->instance || !name || !vtable || !self)
        return hd_fail(err, HD_EINVAL, "a capability needs a name and somewhere to put it");
    return hd_plugins_capability(host->instance, name, plugin_id, vtable, self, err);
}

static void v1_release(hd_host *host, const void *vtable, void *self)
{
    HD_ASSERT_THREAD(HD_THREAD_CONTROL);
    if (host->instance)
        hd_plugins_release(host->instance, vtable, self);
}

static void v1_log(hd_host *host, uint32_t level, const char *message, const char *const *pairs)
{
    struct hd_kv kv[LOG_PAIRS_MAX + 2];
    size_t n = 1;

    if (level > HD_LEVEL_DEBUG)
        level = HD_LEVEL_DEBUG;
    if ((enum hd_log_level)level > hd_log_level())
        return;
    kv[0] = (struct hd_kv){.key = NULL}; /* hd_log_write skips it */
    kv[n++] = hd_kv_str("plugin", host->id);
    for (; pairs && pairs[0] && pairs[1] && n < HD_ARRAY_LEN(kv); pairs += 2)
        kv[n++] = hd_kv_str(pairs[0], pairs[1]);
    hd_log_write((enum hd_log_level)level, message ? message : "", kv, n);
}

static void v1_failed(hd_host *host, const char *what)
{
    if (host->instance)
        hd_instance_failed(host->instance, what ? what : "unknown");
}

static void v1_stopped(hd_host *host)
{
    struct hd_instance *i = host->instance;

    if (i && !atomic_exchange(&i->stopped_posted, 1))
        hd_loop_post(i->plugins->control, &i->stopped_post);
}

static const struct hd_host_v1 v1 = {
    .size = sizeof(struct hd_host_v1),
    .abi_major = HD_ABI_MAJOR,
    .abi_minor = HD_ABI_MINOR,
    .service = v1_service,
    .capability = v1_capability,
    .log = v1_log,
    .failed = v1_failed,
    .stopped = v1_stopped,
    .release = v1_release,
};

/* --- host objects -------------------------------------------------------------------------------------- */

void hd_host_init(hd_host *host, const char *id, uint32_t workers, struct hd_instance *instance,
                  void (*released)(hd_host *host))
{
    host->table = v1;
    host->table.workers = workers;
    host->v1 = &host->table;
    host->id = id;
    host->instance = instance;
    pthread_mutex_init(&host->lock, NULL);
    hd_list_init(&host->on_stop);
    atomic_init(&host->holds, 1);
    host->released = released;
}

void hd_host_fini(hd_host *host)
{
    HD_CHECK(hd_list_empty(&host->on_stop));
    pthread_mutex_destroy(&host->lock);
}

struct hd_instance *hd_host_instance(hd_host *host)
{
    return host->instance;
}

const char *hd_host_id(hd_host *host)
{
    return host->id;
}

void hd_host_on_stop(hd_host *host, struct hd_on_stop *n, void (*fn)(struct hd_on_stop *n))
{
    n->fn = fn;
    pthread_mutex_lock(&host->lock);
    hd_list_push_front(&host->on_stop, &n->node);
    pthread_mutex_unlock(&host->lock);
}

int hd_host_off_stop(hd_host *host, struct hd_on_stop *n)
{
    int there;

    pthread_mutex_lock(&host->lock);
    there = !hd_list_empty(&n->node);
    hd_list_remove(&n->node);
    pthread_mutex_unlock(&host->lock);
    return there ? HD_OK : HD_ENOENT;
}

void hd_host_clean(hd_host *host)
{
    struct hd_list *n;

    for (;;) {
        struct hd_on_stop *s;

        pthread_mutex_lock(&host->lock);
        n = hd_list_pop_front(&host->on_stop);
        pthread_mutex_unlock(&host->lock);
        if (!n)
            return;
        s = HD_LIST_ITEM(n, struct hd_on_stop, node);
        s->fn(s);
    }
}

void hd_host_hold(hd_host *host)
{
    int before = atomic_fetch_add(&host->holds, 1);

    HD_CHECK(before > 0);
}

int hd_host_try_hold(hd_host *host)
{
    int n = atomic_load(&host->holds);

    while (n > 0)
        if (atomic_compare_exchange_weak(&host->holds, &n, n + 1))
            return 1;
    return 0;
}

void hd_host_release(hd_host *host)
{
    int before = atomic_fetch_sub(&host->holds, 1);

    HD_CHECK(before > 0);
    if (before == 1)
        host->released(host);
}

static void plain_released(hd_host *host)
{
    hd_host_fini(host);
    hd_free((char *)host->id);
    hd_free(host);
}

hd_host *hd_host_new_plain(const char *id)
{
    hd_host *host = hd_calloc(1, sizeof(*host));
    char *copy = hd_strdup(id);

    if (!host || !copy) {
        hd_free(host);
        hd_free(copy);
        return NULL;
    }
    hd_host_init(host, copy, 0, NULL, plain_released);
    return host;
}

void hd_host_free_plain(hd_host *host)
{
    hd_host_clean(host);
    hd_host_release(host);
}
