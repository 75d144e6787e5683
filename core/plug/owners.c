/*
 * Whom a service has given something to; see owners.h.
 */
#include "plug/owners.h"

#include "base/alloc.h"
#include "plug/services.h"

#include <howdah/error.h>

struct owner {
    struct hd_list node;
    struct hd_on_stop stop;
    struct hd_owners *owners;
    hd_host *host;
};

static void on_stop(struct hd_on_stop *n)
{
    struct owner *o = HD_CONTAINER_OF(n, struct owner, stop);
    struct hd_owners *owners = o->owners;
    hd_host *host = o->host;

    pthread_mutex_lock(&owners->lock);
    hd_list_remove(&o->node);
    pthread_mutex_unlock(&owners->lock);
    hd_free(o);
    owners->gone(host);
}

static int is_known(struct hd_owners *owners, const hd_host *host)
{
    HD_LIST_EACH(n, &owners->list)
    {
        if (HD_LIST_ITEM(n, struct owner, node)->host == host)
            return 1;
    }
    return 0;
}

int hd_owners_add(struct hd_owners *owners, hd_host *host)
{
    struct owner *o = NULL;
    int code = HD_OK;

    pthread_mutex_lock(&owners->lock);
    if (!is_known(owners, host)) {
        o = hd_calloc(1, sizeof(*o));
        if (o) {
            o->owners = owners;
            o->host = host;
            hd_list_push_back(&owners->list, &o->node);
            hd_host_on_stop(host, &o->stop, on_stop);
        } else {
            code = HD_ENOMEM;
        }
    }
    pthread_mutex_unlock(&owners->lock);
    return code;
}
