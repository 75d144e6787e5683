/*
 * Whom a service has given something to: the plugins that it must clean up after, each told of once when it
 * stops.
 */
#ifndef HD_PLUG_OWNERS_H
#define HD_PLUG_OWNERS_H

#include <howdah/types.h>
#include <pthread.h>

#include "base/list.h"

struct hd_owners {
    pthread_mutex_t lock;
    struct hd_list list;
    void (*gone)(hd_host *host); /* the plugin has stopped. [control] */
};

#define HD_OWNERS_INIT(o, fn)                                                                                \
    {                                                                                                        \
        PTHREAD_MUTEX_INITIALIZER, {&(o).list, &(o).list}, (fn)                                              \
    }

/* gone(host) will run when that plugin has stopped; asking again changes nothing. HD_OK or HD_ENOMEM. [any]
 */
int hd_owners_add(struct hd_owners *o, hd_host *host);

#endif
