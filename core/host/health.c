/*
 * What plugins say about their parts: "howdah.health/1". Kept under a lock, for they say it from any thread.
 */
#include "host/health.h"

#include <howdah/health.h>

#include "base/alloc.h"
#include "base/list.h"
#include "plug/owners.h"
#include "plug/services.h"

#include <pthread.h>
#include <string.h>

#define PARTS_MAX   64 /* of a plugin */
#define STATE_BYTES 32

struct part {
    struct hd_list node;
    hd_host *owner;
    char name[64], state[STATE_BYTES], reason[200];
    int well;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hd_list parts = {&parts, &parts};

static void on_gone(hd_host *host)
{
    pthread_mutex_lock(&lock);
    HD_LIST_EACH(n, &parts)
    {
        struct part *p = HD_LIST_ITEM(n, struct part, node);

        if (p->owner != host)
            continue;
        hd_list_remove(n);
        hd_free(p);
    }
    pthread_mutex_unlock(&lock);
}

static struct hd_owners owners = HD_OWNERS_INIT(owners, on_gone);

static void copy(char *out, size_t cap, const char *text)
{
    size_t n = text ? strnlen(text, cap - 1) : 0;

    memcpy(out, text ? text : "", n);
    out[n] = 0;
}

/* The plugin's part of that name; how many it has goes to *count. */
static struct part *find(const hd_host *owner, const char *name, size_t *count)
{
    struct part *found = NULL;

    *count = 0;
    HD_LIST_EACH(n, &parts)
    {
        struct part *p = HD_LIST_ITEM(n, struct part, node);

        if (p->owner != owner)
            continue;
        ++*count;
        if (!strncmp(p->name, name, sizeof(p->name) - 1))
            found = p;
    }
    return found;
}

static int32_t set(hd_host *host, const char *name, const char *state, uint32_t well, const char *reason)
{
    int code = hd_owners_add(&owners, host);
    struct part *p;
    size_t count;

    if (code)
        return code;
    pthread_mutex_lock(&lock);
    p = find(host, name, &count);
    if (!p && count >= PARTS_MAX)
        code = HD_EFULL;
    else if (!p && !(p = hd_calloc(1, sizeof(*p))))
        code = HD_ENOMEM;
    if (!code) {
        if (!p->owner)
            hd_list_push_back(&parts, &p->node);
        p->owner = host;
        p->well = !!well;
        copy(p->name, sizeof(p->name), name);
        copy(p->state, sizeof(p->state), state);
        copy(p->reason, sizeof(p->reason), reason);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static void drop(hd_host *host, const char *name)
{
    struct part *p;
    size_t count;

    pthread_mutex_lock(&lock);
    p = find(host, name, &count);
    if (p)
        hd_list_remove(&p->node);
    pthread_mutex_unlock(&lock);
    hd_free(p);
}

static const struct hd_health_v1 vtable = {.size = sizeof(vtable), .set = set, .drop = drop};

int hd_health_serve(void)
{
    return hd_service_add(HD_SERVICE_HEALTH, &vtable);
}

void hd_health_each(void (*fn)(void *arg, const struct hd_health_part *part), void *arg)
{
    pthread_mutex_lock(&lock);
    HD_LIST_EACH(n, &parts)
    {
        const struct part *p = HD_LIST_ITEM(n, struct part, node);
        struct hd_health_part info = {hd_host_id(p->owner), p->name, p->state, p->reason, p->well};

        fn(arg, &info);
    }
    pthread_mutex_unlock(&lock);
}
