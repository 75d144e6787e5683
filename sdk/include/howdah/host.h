/*
 * The host as a plugin sees it: services by name and version, and the log.
 */
#ifndef HOWDAH_HOST_H
#define HOWDAH_HOST_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Levels of log lines. Since ABI 0.1. */
#define HD_LEVEL_ERROR   0
#define HD_LEVEL_WARNING 1
#define HD_LEVEL_INFO    2
#define HD_LEVEL_DEBUG   3

/* What every plugin gets; the first member of every `hd_host`. Since ABI 0.1. */
struct hd_host_v1 {
    uint32_t size;      /* sizeof(struct hd_host_v1) as the host was compiled */
    uint32_t abi_major; /* the host's */
    uint32_t abi_minor;
    uint32_t workers; /* number of worker threads; fixed while the process lives */
    /* The service of that name and version, a pointer to its vtable, or NULL if this host has none. [any] */
    const void *(*service)(hd_host *host, const char *name);
    /* A capability that another plugin provides; `self` of that instance comes along, to be passed to the
     * vtable's functions. `plugin_id` says which one's; NULL: any. A plugin asks in its start: one that is
     * enabled and has not started yet starts first, in whatever order they stand in the files. HD_ENOENT: no
     * plugin that runs provides it, and `err` says why; HD_EBUSY: it has to stop first, and a start that
     * fails because of it is done again when it is back; HD_EINVAL: plugins that ask for each other. The
     * provider stays started until the asker has stopped. [control] */
    int32_t (*capability)(hd_host *host, const char *name, const char *plugin_id, const void **vtable,
                          void **self, struct hd_error *err);
    /* Writes one line to the log: message, then `pairs` key/value strings (NULL-terminated array, keys and
     * values in turn), with the plugin's id added. Never pass literals of statements or secrets. [any] */
    void (*log)(hd_host *host, uint32_t level, const char *message, const char *const *pairs);
    /* Counts a failure of the plugin, as the host does for failing callbacks; past the limit it is
     * quarantined. [any] */
    void (*failed)(hd_host *host, const char *what);
    /* The end of a `stop` that had returned HD_PENDING. [any] */
    void (*stopped)(hd_host *host);
    /* Gives back what capability() gave, once for each time that it was asked for: neither is used from here
     * on, and the provider may stop before the asker does. For those who need another plugin now and then
     * only, and can do without it. [control] */
    void (*release)(hd_host *host, const void *vtable, void *self);
};

/* An hd_host is never defined for plugins; it begins with a pointer to this table. */
struct hd_host_head {
    const struct hd_host_v1 *v1;
};

static inline const struct hd_host_v1 *hd_host_api(hd_host *host)
{
    return ((const struct hd_host_head *)(const void *)host)->v1;
}

/* A service that the plugin cannot do without: HD_OK and *out, or HD_EVERSION and an error that names it.
 * Part of the header, not of the host. [control] Since ABI 0.1. */
static inline int32_t hd_host_need(hd_host *host, const char *name, const void **out, struct hd_error *err)
{
    *out = hd_host_api(host)->service(host, name);
    return *out ? HD_OK : hd_error_set(err, HD_EVERSION, "this host has no service %s", name);
}

#ifdef __cplusplus
}
#endif
#endif
