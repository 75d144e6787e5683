/*
 * What has been counted per template, for plugins that show or judge it: the counting is done once, by the
 * plugin `statements`. Capability "howdah.statement-stats/1".
 *
 * Whoever wants the numbers gathers them from all workers, now and then: counts grow until a reset, so two
 * gatherings tell what came between them. What is slow is told at once.
 */
#ifndef HOWDAH_STATEMENT_STATS_H
#define HOWDAH_STATEMENT_STATS_H

#include <howdah/filter.h>
#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_CAP_STATEMENT_STATS "howdah.statement-stats/1"

/* What has been gathered; valid during the callback that gets it. Since ABI 0.1. */
typedef struct hd_stats hd_stats;

/* SQLSTATEs of one template that are counted apart. Since ABI 0.1. */
#define HD_STATS_STATES 8

/* A bin of a latency sketch that is not empty. The same bin means the same latencies everywhere, so sketches
 * are merged, and one is taken from another, bin by bin. Since ABI 0.1. */
struct hd_stats_bin {
    uint32_t bin;
    uint32_t reserved;
    uint64_t count;
};

/* Failures with one SQLSTATE; an empty one stands for all others. Since ABI 0.1. */
struct hd_stats_state {
    char sqlstate[8];
    uint64_t count;
};

/* What a template has done in one database for one user, all workers together. Since ABI 0.1. */
struct hd_stats_template {
    uint32_t size;
    uint32_t bin_count;
    uint64_t fingerprint;   /* the template's; 0 with an empty database: templates past the bound */
    struct hd_str database; /* as the client asked for it; "other" past the bound */
    struct hd_str user;     /* that logged in */
    struct hd_str text;     /* normalized, cut; may be empty */
    uint64_t generation;    /* another one: there was a reset since, and the counts begin anew */
    uint64_t calls;
    uint64_t errors;   /* of them, those that failed */
    uint64_t answered; /* of them, those that a filter answered or refused */
    uint64_t rows;
    uint64_t bytes;
    uint64_t total_ns;               /* sum of the times from arrival to the end of the answer */
    uint64_t queue_ns;               /* of it, waiting for a server connection, or parked */
    uint64_t server_ns;              /* of it, the rest of those that a server answered */
    uint64_t first_ns;               /* sum of the times to the first byte, … */
    uint64_t firsts;                 /* … over so many that had one */
    uint64_t min_ns, max_ns;         /* of a call's whole time */
    const struct hd_stats_bin *bins; /* of the whole time, in rising order */
    uint32_t state_count;
    uint32_t reserved;
    const struct hd_stats_state *states; /* of the failures; at most HD_STATS_STATES + 1 */
};

/* A template of a database and user, as rows have them. Since ABI 0.1. */
struct hd_stats_key {
    uint64_t fingerprint;
    struct hd_str database;
    struct hd_str user;
};

/* What a template had done on this worker before an execution that is slow. Since ABI 0.1. */
struct hd_stats_past {
    uint32_t size;
    uint32_t reserved;
    uint64_t fingerprint;
    uint64_t calls;
    uint64_t total_ns;
};

/* Who wants to hear of slow executions. Since ABI 0.1. */
struct hd_stats_watch {
    uint32_t size;
    uint32_t reserved;
    uint64_t floor_ns; /* of those that took at least that long; must not be 0 */
    /* st->sql and params are empty, as in complete(). [worker] */
    void (*slow)(void *arg, const struct hd_statement *st, const struct hd_outcome *o,
                 const struct hd_stats_past *past);
    void *arg;
};

/* Capability "howdah.statement-stats/1". Since ABI 0.1. */
struct hd_statement_stats_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Gathers from all workers, then calls `done` once: with the number of rows [control], or with a code and
     * no rows [any]. Where it returns an error, `done` is not called. [control] */
    int32_t (*gather)(void *self, void (*done)(void *arg, int32_t code, const hd_stats *stats, uint64_t rows),
                      void *arg, struct hd_error *err);
    /* Row number i of what was gathered, in no order; its strings and arrays are valid until the next call.
     * HD_ENOENT past the end. [control], within `done` */
    int32_t (*row)(const hd_stats *stats, uint64_t i, struct hd_stats_template *out);
    /* The q-quantile (0 … 1) of such bins in nanoseconds, within 1 %: the least latency that a share of q of
     * all does not exceed; 0 when there are none. [any] */
    double (*quantile)(const struct hd_stats_bin *bins, uint32_t count, double q);
    /* From now on `watch`, which stays the caller's and must stay as it is; NULL: nobody. A worker may be in
     * the old one's slow() until something that is posted to it afterwards has run. There is one watcher at a
     * time; HD_EBUSY: there is another. [control] */
    int32_t (*watch)(void *self, const struct hd_stats_watch *watch);
    /* Has what these have counted go into the row of templates past the bound, so that there is room for
     * others; what is run again is counted anew. `done` is called once, with HD_OK [control] or why it may be
     * half done [any]; not where forget returns an error. Whoever takes differences of rows is alone in
     * calling it. [control] */
    int32_t (*forget)(void *self, const struct hd_stats_key *keys, uint64_t count,
                      void (*done)(void *arg, int32_t code), void *arg, struct hd_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
