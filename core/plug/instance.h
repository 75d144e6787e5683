/*
 * One plugin instance, from create to destroy, and the pieces that plugins.c, chain.c and parks.c share. An
 * instance's state changes on the control thread alone (hd_instance_move); what other threads read of it is
 * atomic, or stands in the immutable snapshot that they hold.
 *
 * The end of an instance takes several steps, each of which may have to wait:
 *
 *     RUNNING -> RETIRING   in no snapshot any more; workers finish what they began with it
 *             -> STOPPING   stop() was called
 *             -> CLEANING   it has ended; what it left with the services is taken away, holds run out
 *             -> GONE       destroy() was called
 *     LEFT                  it did not end in time; never destroyed
 */
#ifndef HD_PLUG_INSTANCE_H
#define HD_PLUG_INSTANCE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/list.h"
#include "io/loop.h"
#include "plug/chain.h"
#include "plug/loader.h"
#include "plug/plugins.h"
#include "plug/services.h"

/* What stands behind an hd_host*. The first member is what plugins see. */
struct hd_host {
    const struct hd_host_v1 *v1; /* `table` */
    struct hd_host_v1 table;
    const char *id;
    struct hd_instance *instance; /* NULL: the host's own */
    pthread_mutex_t lock;         /* guards on_stop */
    struct hd_list on_stop;
    _Atomic int holds;
    void (*released)(hd_host *host); /* the last hold went; [any] */
};

void hd_host_init(hd_host *host, const char *id, uint32_t workers, struct hd_instance *instance,
                  void (*released)(hd_host *host));
/* Runs what is on its on_stop list. [control] */
void hd_host_clean(hd_host *host);
void hd_host_fini(hd_host *host);
/* Like hd_host_hold, but 0 when the last hold is gone already. [any] */
int hd_host_try_hold(hd_host *host);

/* The configuration that an instance has, or will have. */
struct hd_plugin_settings {
    struct hd_arena arena; /* everything below, strings included */
    struct hd_conf conf;
    int required;
    int64_t priority;
    enum hd_on_failure on_failure;
    int64_t failures;
    int64_t time_budget; /* ms */
};

enum hd_instance_state {
    HD_INSTANCE_NEW = 0, /* created */
    HD_INSTANCE_RUNNING,
    HD_INSTANCE_RETIRING,
    HD_INSTANCE_STOPPING,
    HD_INSTANCE_CLEANING,
    HD_INSTANCE_GONE,
    HD_INSTANCE_LEFT,
};

#define HD_FAILURE_SECONDS 60

/* Failures of the last minute, by the second. */
struct hd_failures {
    pthread_mutex_t lock;
    int64_t limit;
    uint64_t now; /* the second that `bucket[now % 60]` counts */
    uint32_t bucket[HD_FAILURE_SECONDS];
    uint64_t total, logged; /* since the start */
    uint64_t log_second;
    char last[128];
};

/* Verdicts, counted per worker by its own thread. */
struct hd_verdict_counts {
    _Atomic uint64_t acted, observed;
    char apart[48]; /* so that workers do not share a cache line */
};

/* One instance's use of another's capability. */
struct hd_plugin_use {
    struct hd_list node; /* in the user's `uses` */
    struct hd_instance *provider;
    const void *vtable;
};

#define HD_INSTANCE_MAGIC 0x48444e49u

struct hd_instance {
    hd_host host; /* first: a plugin's hd_host* is its instance */
    uint32_t magic;
    enum hd_instance_state state; /* [control] */
    struct hd_plugins *plugins;
    struct hd_plugin_entry *entry; /* NULL once it is LEFT */
    const struct hd_library *lib;
    void *self;
    uint32_t blame; /* its number in notes of who is where */
    uint32_t mode;  /* HD_MODE_ON or HD_MODE_OBSERVE */
    struct hd_plugin_settings *settings, *old_settings;
    int slot;                 /* of a filter, from start to the end; -1 */
    uint32_t pinned;          /* a prepared reload counts on it: does not go past RETIRING */
    uint32_t askers;          /* instances that use a capability of this one */
    struct hd_list uses;      /* struct use: whose capabilities it uses */
    uint32_t retired_in;      /* generation of the first snapshot without it */
    _Atomic uint32_t workers; /* that have it in use */
    _Atomic int quarantined;  /* set on any thread, lifted on the control thread */
    struct hd_failures failed;
    struct hd_verdict_counts *counts; /* one per worker */
    struct hd_post notice_post;       /* quarantined: to be told on the control thread */
    struct hd_post stopped_post;
    struct hd_post gone_post;
    _Atomic int notice_posted, stopped_posted;
    struct hd_loop_timer *stop_timer;
    struct hd_instance *left_before; /* among those that were left behind */
    char refusal[128];               /* message of refusals in its stead */
};

/* --- instance.c --- */

/* Makes it and calls create(). */
int hd_instance_new(struct hd_plugins *p, struct hd_plugin_entry *entry, const struct hd_library *lib,
                    struct hd_instance **out, struct hd_error *err);
/* Calls start() with the settings, which become the instance's; when it fails they stay the caller's. */
int hd_instance_start(struct hd_instance *i, struct hd_plugin_settings *s, struct hd_error *err);
/* Calls reload(); takes the settings. */
void hd_instance_reload(struct hd_instance *i, struct hd_plugin_settings *s);
/* Destroys one that was never started, or whose start failed. */
void hd_instance_discard(struct hd_instance *i);
/* The first step of the end; the snapshot of that generation, and all later ones, are without it. */
void hd_instance_retire(struct hd_instance *i, uint32_t generation);
/* Takes the next step of the end, as far as that can be done now. */
void hd_instance_advance(struct hd_instance *i);
/* Gives it up: its stop took too long. */
void hd_instance_leave(struct hd_instance *i, const char *why);
/* Counts a failure. [any] */
void hd_instance_failed(struct hd_instance *i, const char *what);
/* Forgets failures and quarantine. */
void hd_instance_forgive(struct hd_instance *i);
uint64_t hd_instance_failures(struct hd_instance *i, char *last, size_t size);
void hd_plugin_settings_free(struct hd_plugin_settings *s);

static inline int hd_instance_quarantined(struct hd_instance *i)
{
    return atomic_load_explicit(&i->quarantined, memory_order_relaxed);
}

/* --- parks.c: statements that a filter has parked --- */

struct hd_parks {
    pthread_mutex_t lock;    /* guards all but `deciding` being written */
    struct hd_loop *loop;    /* NULL: no chain */
    struct hd_list *buckets; /* by handle */
    uint32_t bucket_mask;
    uint32_t count, max;
    struct hd_list early;      /* resumed before statement() had returned */
    _Atomic int early_there;   /* so that the worker need not lock to see that there is none */
    _Atomic uint64_t deciding; /* handle of the statement() that runs now, or 0 */
    void (*ready)(void *arg, struct hd_chain_exec *exec);
    void *arg;
};

/* One parked execution. */
struct hd_park {
    struct hd_list node;  /* in a bucket or in `early` */
    struct hd_list order; /* in the chain's list of deadlines; [worker] */
    struct hd_parks *parks;
    struct hd_instance *instance;
    uint64_t handle;
    struct hd_chain_exec *exec; /* NULL: the execution is over; [worker] */
    uint64_t deadline_ns;
    int own_limit; /* the deadline is the plugin's, not the host's */
    enum { HD_PARK_WAITING = 0, HD_PARK_RESUMED, HD_PARK_READY, HD_PARK_TAKEN } state;
    struct hd_post post;
    struct hd_verdict verdict; /* once RESUMED; strings in `text`, unless `release` is set */
    char *text;
};

int hd_parks_init(struct hd_parks *parks, uint32_t max);
void hd_parks_fini(struct hd_parks *parks);
/* From here on, or no longer, somebody hears of what is resumed. [worker] */
void hd_parks_attach(struct hd_parks *parks, struct hd_loop *loop,
                     void (*ready)(void *arg, struct hd_chain_exec *exec), void *arg);
void hd_parks_detach(struct hd_parks *parks);
/* Takes up a park after statement() has said so; it may have been resumed already. HD_EFULL, HD_ENOMEM. */
int hd_parks_add(struct hd_parks *parks, struct hd_instance *i, struct hd_chain_exec *exec,
                 struct hd_park **out);
/* Forgets a resume that came for a statement() which did not park. [worker] */
void hd_parks_drop_early(struct hd_parks *parks);
/* hd_statement_v1.resume. [any] */
int hd_parks_resume(struct hd_parks *parks, struct hd_instance *i, uint64_t handle,
                    const struct hd_verdict *v);
/* The deadline has passed: no resume counts any more. 1, or 0 when it had been resumed before. [worker] */
int hd_park_expire(struct hd_park *park);
/* The execution is over, or done with the verdict. [worker] */
void hd_park_drop(struct hd_park *park);

/* --- what workers share with the control thread --- */

/* A filter as a snapshot has it. */
struct hd_chain_filter {
    struct hd_instance *instance;
    uint32_t slot;
    uint32_t observe;
    uint32_t reject;
    uint64_t budget_ns;
};

/* The filters at one time, in order. Immutable. */
struct hd_chain_snapshot {
    _Atomic int refs;
    uint32_t generation;
    uint32_t count;
    struct hd_chain_filter filters[];
};

void hd_chain_snapshot_release(struct hd_chain_snapshot *s);

/* Where a worker's chain sits; outlives it. */
struct hd_chain_seat {
    struct hd_plugins *plugins;
    uint32_t worker;
    struct hd_chain *chain; /* guarded by plugins->lock */
    struct hd_loop *loop;
    int posted;
    struct hd_post post;         /* a new snapshot is there */
    _Atomic uint32_t generation; /* of the snapshot that the chain runs */
    uint64_t sequence;           /* of handles; goes on when another chain takes the seat. [worker] */
    struct hd_parks parks;
};

/* Registers a chain and gives it the snapshot to start with; and the end of that. [worker] */
struct hd_chain_snapshot *hd_chain_seat_take(struct hd_chain_seat *seat, struct hd_chain *chain,
                                             struct hd_loop *loop);
void hd_chain_seat_leave(struct hd_chain_seat *seat);
/* chain.c: goes over to a snapshot, whose reference it takes. [worker] */
void hd_chain_set(struct hd_chain *chain, struct hd_chain_snapshot *s);

extern const struct hd_statement_v1 hd_statement_service;

/* --- plugins.c and plugin_set.c --- */

/* A plugin known by its id; lives as long as the hd_plugins. */
struct hd_plugin_entry {
    struct hd_plugin_entry *next; /* in plugins->entries, by id; never taken out */
    const char *id;
    struct hd_library *lib;       /* NULL: not loaded, or refused */
    struct hd_instance *instance; /* from start to the end */
    uint32_t mode;                /* what was asked for: HD_MODE_… */
    const char *told;             /* the state that was told last */
    uint32_t told_mode;           /* and what was asked for then */
    int configured;               /* there is a [plugin X] section, or it was switched on at run time */
    int refused;
    char reason[HD_ERROR_TEXT]; /* of `refused`, of a quarantine, or how it ended */
    /* Prepared: */
    int prepared;
    uint32_t next_mode;
    int next_refused;
    char next_reason[HD_ERROR_TEXT];
    struct hd_library *next_lib;
    struct hd_plugin_settings *settings; /* for `candidate`, or for a reload of `instance` */
    struct hd_instance *candidate;       /* created and checked */
    uint32_t restart; /* start it in this mode when `instance`, or what it waits for, has ended; or OFF */
    int waits;        /* its last start failed because something that it asked for was still stopping */
    int starting;     /* its start() runs */
    struct hd_plugin_entry *asked_by; /* while it does: who asked for this one, or NULL */
};

/* A configuration, copied, so that plugins can be switched on later. Lies in its own arena. */
struct hd_plugin_set {
    struct hd_arena arena;
    uint32_t plugin_count, section_count;
    struct hd_plugin_conf *plugins;
    struct hd_raw_section *sections;
};

struct hd_plugins {
    struct hd_loop *control;
    uint32_t workers;
    char *plugin_dir;
    int64_t drain_timeout, plugin_failures, time_budget, park_timeout;
    void (*changed)(void *arg, const struct hd_event_plugin *ev);
    void *arg;
    uint32_t (*blamed)(void *arg, const char *id); /* NULL: nobody remembers crashes */
    void (*forgive)(void *arg, const char *id);
    void *blamed_arg;
    struct hd_plugin_entry *entries;
    struct hd_instance *slots[HD_CHAIN_MAX];
    uint32_t alive; /* instances created and not destroyed yet */
    uint32_t left;  /* instances that were given up */
    struct hd_plugin_set *set, *prepared;
    int starting; /* hd_plugins_start_all runs: what is prepared may be asked for */
    pthread_mutex_t
        lock; /* guards snapshot, poke_posted, `stopping` being 2, and seats' chain, loop, posted */
    struct hd_chain_snapshot *snapshot;
    struct hd_chain_seat *seats;
    struct hd_post poke;
    int poke_posted;
    struct hd_post stop_post; /* all have stopped */
    struct hd_loop_timer *stop_timer;
    int stopping; /* 1: hd_plugins_stop was called; 2: all have stopped, written under the lock */
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* --- snapshot.c --- */

/* An empty snapshot, to be filled by publish; NULL: no memory. [control] */
struct hd_chain_snapshot *hd_snapshot_new(void);
/* The generation that the next one published will have. [control] */
uint32_t hd_snapshot_next_generation(const struct hd_plugins *p);
/* Hands the workers what runs now; takes `s`. Cannot fail. [control] */
void hd_snapshot_publish(struct hd_plugins *p, struct hd_chain_snapshot *s);
/* What the posts of seats and of hd_plugins do. */
void hd_snapshot_on_published(struct hd_post *post);
void hd_plugins_on_poke(struct hd_post *post);
/* Something about workers changed that an instance's end may wait for. [any] */
void hd_plugins_poke(struct hd_plugins *p);
/* The instance has ended (or was left): its entry is free for another. e may be NULL. */
void hd_plugins_ended(struct hd_plugins *p, struct hd_plugin_entry *e);
/* Tells log and bus the state of an entry, if it has changed. */
void hd_plugins_tell(struct hd_plugins *p, struct hd_plugin_entry *e);
/* The entry of that id, made where there is none; NULL: no memory. */
struct hd_plugin_entry *hd_plugins_entry(struct hd_plugins *p, const char *id);
struct hd_plugin_entry *hd_plugins_find(struct hd_plugins *p, const char *id);
/* The name of the state that it is in. */
const char *hd_plugins_state(const struct hd_plugin_entry *e);
/* plugins_show.c: the entry of a plugin that is configured or can be; NULL and the reason: there is none. */
struct hd_plugin_entry *hd_plugins_known(struct hd_plugins *p, const char *id, struct hd_error *err);
/* Loads the libraries of plugin_dir that are not known yet. */
void hd_plugins_scan(struct hd_plugins *p);
int hd_plugins_load(struct hd_plugins *p, const char *id, const char *library, struct hd_library **out,
                    struct hd_error *err);

/* Copies a configuration. NULL: no memory. */
struct hd_plugin_set *hd_plugin_set_new(const struct hd_plugin_confs *confs);
void hd_plugin_set_free(struct hd_plugin_set *set);
const struct hd_plugin_conf *hd_plugin_set_find(const struct hd_plugin_set *set, const char *id);
/* Prepares one entry for `mode`: parses, creates, checks. What is wrong goes to `problems`. */
void hd_plugin_set_prepare(struct hd_plugins *p, const struct hd_plugin_set *set, struct hd_plugin_entry *e,
                           uint32_t mode, struct hd_problems *problems);
/* Forgets what was prepared for an entry. */
void hd_plugin_entry_abort(struct hd_plugin_entry *e);

/* --- starting.c --- */

/* Starts the prepared instance of an entry whose place is free. */
int hd_plugins_start_entry(struct hd_plugin_entry *e, struct hd_error *err);
/* Starts everything that was created; `order` has room for all entries. When what is required does not come
 * up, nothing is left started. */
int hd_plugins_start_all(struct hd_plugins *p, struct hd_plugin_entry **order, struct hd_error *err);
/* hd_host_v1.capability */
int hd_plugins_capability(struct hd_instance *asker, const char *name, const char *plugin_id,
                          const void **vtable, void **self, struct hd_error *err);
/* hd_host_v1.release */
void hd_plugins_release(struct hd_instance *asker, const void *vtable, const void *self);
/* Gives back what an instance used. */
void hd_plugins_drop_uses(struct hd_instance *i);

#endif
