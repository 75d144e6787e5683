/*
 * A rig for tests of the plugin host: a control loop on the test's own thread, workers with their loops and
 * chains on theirs, and configurations built line by line. Plugins are the probes in tests/unit/plugins.
 */
#ifndef HD_TESTS_PLUG_HARNESS_H
#define HD_TESTS_PLUG_HARNESS_H

#include <pthread.h>
#include <semaphore.h>

#include "base/strbuf.h"
#include "io/loop.h"
#include "plug/chain.h"
#include "plug/plugins.h"
#include "plugins/probe.h"

#define RIG_WORKERS 4
#define RIG_PLUGINS 8
#define RIG_KEYS    8
#define RIG_EVENTS  64

struct rig;

struct rig_worker {
    struct rig *rig;
    uint32_t number;
    pthread_t thread;
    struct hd_loop loop;
    struct hd_chain *chain; /* NULL when there is none (yet, or any more) */
    sem_t ready;
    struct hd_chain_exec *_Atomic resumed; /* what the chain's resume callback got last */
    _Atomic int resumes;
};

struct rig {
    struct hd_loop control;
    struct hd_plugins *plugins;
    uint32_t worker_count;
    struct rig_worker workers[RIG_WORKERS];
    /* The configuration being written. */
    struct hd_plugin_conf confs[RIG_PLUGINS];
    struct hd_raw_section plugin_sections[RIG_PLUGINS], sections[RIG_PLUGINS];
    struct hd_raw_key keys[2 * RIG_PLUGINS][RIG_KEYS];
    const struct hd_raw_section *section_list[RIG_PLUGINS];
    uint32_t plugin_count, section_count;
    struct hd_strbuf problems; /* what the last prepare said, line by line; warnings start with "warning: " */
    struct hd_plugin_info info; /* of rig_info; its texts are copied into: */
    char texts[12][512];
    struct hd_event_plugin events[RIG_EVENTS];
    uint32_t event_count;
    _Atomic int stopped;
};

/* The folder where the build has put the test plugins. */
const char *rig_plugin_dir(void);

/* Starts the control loop and workers; `env` may be NULL, or give limits and the plugin_dir. */
void rig_open(struct rig *r, uint32_t workers, const struct hd_plugins_env *env);
/* Ends the workers' chains, stops all plugins, and frees everything. */
void rig_close(struct rig *r);

/* Writing a configuration. */
void rig_clear(struct rig *r);
struct hd_plugin_conf *rig_plugin(struct rig *r, const char *id, uint32_t mode);
/* A key of the last plugin; `value` lives as long as the configuration. */
void rig_key(struct rig *r, const char *key, const char *value);
/* Points the last plugin to a probe. */
void rig_probe(struct rig *r, struct probe *p);
void rig_section(struct rig *r, const char *kind, const char *name, const char *key, const char *value);
/* Prepares, and commits if that went well. */
int rig_prepare(struct rig *r);
int rig_apply(struct rig *r);

/* The state of a plugin as SHOW PLUGINS has it; NULL when it is not listed. */
const struct hd_plugin_info *rig_info(struct rig *r, const char *id);
const char *rig_state(struct rig *r, const char *id);

/* Runs fn on the worker's thread and waits for it. */
void rig_on(struct rig *r, uint32_t worker, void (*fn)(struct rig_worker *w, void *arg), void *arg);
/* Lets the control loop run what is there. */
void rig_turn(struct rig *r);

/* Runs the control loop until `expr` holds; 0 when it does not within some seconds. */
#define RIG_WAIT(r, expr)                                                                                    \
    ({                                                                                                       \
        int rig_left = 10000;                                                                                \
                                                                                                             \
        while (!(expr) && rig_left-- > 0)                                                                    \
            rig_turn(r);                                                                                     \
        rig_left > 0;                                                                                        \
    })

/* One session with one statement at a time, as session/ would have it. Used on the worker's thread. */
struct rig_session {
    struct hd_chain_session cs;
    struct hd_chain_exec exec;
    struct hd_statement st;
    struct hd_verdict verdict;
    void *slot; /* of the template in the worker's cache */
    uint32_t generation;
    struct hd_chain_plan *plan;
};

void rig_session_open(struct rig_worker *w, struct rig_session *s, uint64_t id);
void rig_session_close(struct rig_worker *w, struct rig_session *s);
/* Plans and, if anybody wants it, begins and decides. Returns the verdict's kind. */
uint32_t rig_execute(struct rig_worker *w, struct rig_session *s);
/* Completes, if it was begun. */
void rig_complete(struct rig_worker *w, struct rig_session *s);

#endif
