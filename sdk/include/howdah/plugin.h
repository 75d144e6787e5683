/*
 * The descriptor: the one symbol that a plugin exports.
 *
 *     const struct hd_plugin howdah_plugin = { HD_PLUGIN_HEAD, .id = "guard", … };
 *
 * It is plain constant data. The host reads and checks it before it calls anything in the library.
 */
#ifndef HOWDAH_PLUGIN_H
#define HOWDAH_PLUGIN_H

#include <howdah/options.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_PLUGIN_MAGIC 0x48574448u /* "HDWH" in memory on a little-endian machine */

/*
 * The ABI's number. While the major is 0 it may change freely.
 *   0.1  first: descriptor, options, filters, templates, metrics, bus, jobs, scheduler, commands, loop, log
 */
#define HD_ABI_MAJOR 0
#define HD_ABI_MINOR 1

/* How a plugin is switched on, as hd_event_plugin tells. A filter need not know: what it decides is the same,
 * and hd_outcome.answered_by says what came of it. Since ABI 0.1. */
#define HD_MODE_OFF     0
#define HD_MODE_ON      1
#define HD_MODE_OBSERVE 2 /* a filter decides, logs and counts, but its verdicts are not carried out */

/*
 * The descriptor. Life of an instance: create -> check -> start -> (check -> reload)* -> stop -> destroy.
 * `void *self` is whatever `create` returned. All of these are [control] and never overlap. Since ABI 0.1.
 */
struct hd_plugin {
    uint32_t magic;         /* HD_PLUGIN_MAGIC */
    uint32_t size;          /* sizeof(struct hd_plugin) as compiled */
    uint32_t abi_major;     /* HD_ABI_MAJOR as compiled */
    uint32_t abi_minor;     /* HD_ABI_MINOR as compiled */
    uint32_t host_minor;    /* the lowest minor of the host that this plugin can work with */
    uint32_t section_count; /* entries in `sections` */
    const char *id;         /* lower case letters, digits, '-'; the library's file name without .so */
    const char *version;    /* the plugin's own */
    const char *vendor;
    const char *licence; /* an SPDX expression */
    const char *summary; /* one line */
    struct hd_options options;
    const struct hd_section_kind *sections; /* kinds of sections of its own, or NULL */

    /* Makes an instance: no I/O, no threads. `host` stays valid until destroy returns. */
    int32_t (*create)(hd_host *host, void **self, struct hd_error *err);
    /* Pure validation of a configuration that may or may not be used later. Must not change `self`. */
    int32_t (*check)(void *self, const struct hd_conf *conf, struct hd_error *err);
    /* Takes up work with a configuration that passed `check`. */
    int32_t (*start)(void *self, const struct hd_conf *conf, struct hd_error *err);
    /* Changes over to a configuration that passed `check`. Cannot fail. Workers may be inside the plugin:
     * what they read must be exchanged atomically; the old configuration stays valid until the next reload.
     */
    void (*reload)(void *self, const struct hd_conf *conf);
    /* Ends all activity. HD_OK when done, or HD_PENDING and then hd_host_v1.stopped() once, within the host's
     * drain timeout. No callback of the plugin runs after that but destroy. */
    int32_t (*stop)(void *self);
    /* Frees the instance. */
    void (*destroy)(void *self);
    /* The capability of that name and version ("howdah.filter/1"), a pointer to its static const vtable, or
     * NULL. [any], may be called before create. */
    const void *(*capability)(const char *name);
};

#define HD_PLUGIN_HEAD                                                                                       \
    .magic = HD_PLUGIN_MAGIC, .size = (uint32_t)sizeof(struct hd_plugin), .abi_major = HD_ABI_MAJOR,         \
    .abi_minor = HD_ABI_MINOR, .host_minor = 1

/* Every plugin exports this one data symbol and no other. */
#if defined(__GNUC__)
#define HD_EXPORT __attribute__((visibility("default")))
#else
#define HD_EXPORT
#endif
extern HD_EXPORT const struct hd_plugin howdah_plugin;

#ifdef __cplusplus
}
#endif
#endif
