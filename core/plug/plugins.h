/*
 * All plugins of the host: which are there, which run, with what configuration. Loads them, starts and stops
 * them, changes their configuration in two steps, keeps count of their failures, and makes the snapshot of
 * filters that the workers' chains run (plug/chain.h).
 *
 * Everything here is [control] unless it says otherwise. A plugin's life:
 *
 *     available -> (create, check, start) -> running | observing -> stopping -> stopped
 *     refused      could not be loaded, created or started; the host runs on without it
 *     quarantined  failed too often: its filter is passed by, or refuses, until it is enabled again
 *
 * Those that are no filters start first (they may provide what filters ask for), then the filters, each by
 * priority and id; and what is asked for before its turn starts then. Filters stop first, and a provider
 * never before whoever uses it.
 */
#ifndef HD_PLUG_PLUGINS_H
#define HD_PLUG_PLUGINS_H

#include <howdah/events.h>
#include <howdah/plugin.h>

#include "plug/options.h"

struct hd_loop;
struct hd_plugins;

enum hd_on_failure { HD_ON_FAILURE_BYPASS = 0, HD_ON_FAILURE_REJECT };

/* What the host's own keys of a [plugin X] section say. Copied by hd_plugins_prepare. */
struct hd_plugin_conf {
    const char *id;      /* X */
    const char *library; /* absolute path; NULL or empty: ID.so in plugin_dir */
    uint32_t mode;       /* HD_MODE_…; with HD_MODE_OFF it is checked and left unused */
    int required;        /* the host does not run without it */
    int64_t priority;    /* order of filters, low first; 100 is usual */
    enum hd_on_failure on_failure;
    int64_t failures;    /* within a minute, that quarantine it; 0: the host's `plugin_failures` */
    int64_t time_budget; /* ms that one call on a worker may take; 0: the host's */
    /* The whole section; its `also` is the table of the host's keys above, its other keys are the plugin's.
     */
    const struct hd_raw_section *section;
};

/* A whole configuration: the [plugin …] sections, and all sections whose kind is not one of the host's, in
 * the order of the files. Whose kind they are is found out here, from the descriptors. */
struct hd_plugin_confs {
    const struct hd_plugin_conf *plugins;
    const struct hd_raw_section *const *sections;
    uint32_t plugin_count, section_count;
};

/* What the plugins stand on. Copied; what it points to outlives them. */
struct hd_plugins_env {
    struct hd_loop *control; /* NULL where nothing is to run (-t): prepare and abort alone are allowed */
    uint32_t workers;        /* number of worker threads */
    const char *plugin_dir;  /* copied */
    int64_t drain_timeout;   /* ms that a plugin's stop may take */
    int64_t plugin_failures; /* within a minute, that quarantine a plugin */
    int64_t time_budget;     /* ms that one call on a worker may take; 0: 10 */
    int64_t park_timeout;    /* ms, longest park */
    int64_t max_parked;      /* statements parked at a time, per worker; 0: 10000 */
    /* A plugin changed its state: to be published as plugin.state. [control]; may be NULL. */
    void (*changed)(void *arg, const struct hd_event_plugin *ev);
    void *arg;
};

int hd_plugins_new(const struct hd_plugins_env *env, struct hd_plugins **out, struct hd_error *err);
/* So many crashes, and a plugin is left out. */
#define HD_BLAMED_TOO_OFTEN 2
/* Who remembers how often the host has crashed in a plugin, and forgets it when the plugin is enabled again.
 */
void hd_plugins_set_blamed(struct hd_plugins *p, uint32_t (*blamed)(void *arg, const char *id),
                           void (*forgive)(void *arg, const char *id), void *arg);
/* After a reload of [host]; the number of workers stays. */
void hd_plugins_set_limits(struct hd_plugins *p, const struct hd_plugins_env *env);

/* First step: loads libraries that are new, parses all options and sections, makes the instances that will be
 * started and lets everybody check. Nothing that runs is touched. What is wrong goes to `problems`: errors
 * where the configuration is not to be used, warnings where the host runs without a plugin. HD_OK, or a code
 * when there was any error, and then nothing is prepared. A second prepare drops the first. */
int hd_plugins_prepare(struct hd_plugins *p, const struct hd_plugin_confs *confs,
                       struct hd_problems *problems);
/* Second step: starts what is new, and if all that is required came up, reloads what stays, stops what is no
 * longer wanted and hands the new chain to the workers. Fails only where a plugin with `required` does not
 * start; then nothing has changed and nothing is prepared any more (what had started is stopping). */
int hd_plugins_commit(struct hd_plugins *p, struct hd_error *err);
/* Forgets what was prepared. */
void hd_plugins_abort(struct hd_plugins *p);

/* At run time, until the next reload: HD_MODE_OFF stops it (the end may come later), HD_MODE_ON and
 * HD_MODE_OBSERVE start it or change its mode, and lift a quarantine. A plugin of plugin_dir without a
 * section gets defaults. HD_ENOENT, HD_EBUSY while it is stopping or others use it, or why it does not start.
 */
int hd_plugins_set_mode(struct hd_plugins *p, const char *id, uint32_t mode, struct hd_error *err);

/* One line of SHOW PLUGINS; borrowed for the call. Texts are never NULL. */
struct hd_plugin_info {
    const char *id;
    const char *version;
    const char *summary;
    const char *vendor;
    const char *licence;
    const char *state;  /* available running observing stopping stopped refused quarantined */
    const char *mode;   /* off on observe: what was asked for */
    const char *reason; /* why it is refused or quarantined; may be empty */
    const char *library;
    const char *capabilities; /* names with commas between; may be empty */
    int64_t priority;
    const char *on_failure;
    uint64_t failures; /* since start */
    uint64_t acted;    /* verdicts other than continue that were carried out */
    uint64_t observed; /* and those that were only noticed */
};

/* Every plugin that is configured or lies in plugin_dir, by id. Libraries seen for the first time are loaded
 * to be described. */
void hd_plugins_list(struct hd_plugins *p, void (*fn)(void *arg, const struct hd_plugin_info *info),
                     void *arg);
/* One of them, as far as it is known; HD_ENOENT. */
int hd_plugins_get(struct hd_plugins *p, const char *id, struct hd_plugin_info *out);
/* The id of the plugin that an owner (an hd_host) is, among those that run; NULL: none. */
const char *hd_plugins_owner(struct hd_plugins *p, const void *owner);
/* The descriptor of a plugin that is configured or lies in plugin_dir, for OPTIONS; or why there is none. */
const struct hd_plugin *hd_plugins_describe(struct hd_plugins *p, const char *id, struct hd_error *err);
/* The configuration that a running plugin has; NULL when it is not running. Valid during this turn. */
const struct hd_conf *hd_plugins_conf(struct hd_plugins *p, const char *id);

/* Stops all, in order; `done` runs on the control loop when the last has stopped or was given up after the
 * drain timeout. The workers' chains are gone by then (hd_chain_free), or go meanwhile. */
void hd_plugins_stop(struct hd_plugins *p, void (*done)(void *arg), void *arg);
/* After stop, or where nothing was ever committed. */
void hd_plugins_free(struct hd_plugins *p);

#endif
