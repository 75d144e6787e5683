/*
 * Services: what the host offers to plugins by name and version ("howdah.metrics/1"), and what a service's
 * implementation can learn from the hd_host* that each call brings: whose call it is, and when that plugin
 * goes.
 */
#ifndef HD_PLUG_SERVICES_H
#define HD_PLUG_SERVICES_H

#include <howdah/host.h>
#include "base/list.h"

struct hd_instance;

/* Registers a service; before any plugin is loaded, at start. Name and vtable stay the caller's and live as
 * long as the process. HD_EEXIST, HD_EFULL. [control] */
int hd_service_add(const char *name, const void *vtable);
/* The vtable, or NULL. [any] */
const void *hd_service_find(const char *name);
/* Answers with a struct that starts with its size: copies to `out`, of `room` bytes, what both sides know of
 * it, and leaves out's size as it is. HD_EINVAL: no room for a size. [any] */
int32_t hd_service_give(void *out, uint32_t room, const void *from, uint32_t size);

/* Whose host object it is. [any] */
struct hd_instance *hd_host_instance(hd_host *host);
/* The plugin's id; lives as long as the process. [any] */
const char *hd_host_id(hd_host *host);

/* Something that a plugin leaves behind when it stops: a subscription, a command, a timer. Embed it. */
struct hd_on_stop {
    struct hd_list node;
    void (*fn)(struct hd_on_stop *n);
};

/* fn(n) runs once, on the control thread, after the plugin's stop has ended and before its destroy; the last
 * added runs first. n is out of the list when fn runs, and may be freed there. [any] */
void hd_host_on_stop(hd_host *host, struct hd_on_stop *n, void (*fn)(struct hd_on_stop *n));
/* Takes n out again, when the thing ends earlier; 0, or HD_ENOENT when fn runs or ran already. [any] */
int hd_host_off_stop(hd_host *host, struct hd_on_stop *n);

/* Keeps the instance from being destroyed: while one of its functions runs or is queued on another thread.
 * Each hold needs one release. [any] */
void hd_host_hold(hd_host *host);
void hd_host_release(hd_host *host);

/* A host object for the host's own use of services that want one, and for tests: id, no plugin behind it.
 * NULL: no memory. Freeing runs what is on its list. [control] */
hd_host *hd_host_new_plain(const char *id);
void hd_host_free_plain(hd_host *host);

#endif
