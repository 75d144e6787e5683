/*
 * What is counted: as metrics, which CACHE STATS reads too.
 */
#ifndef CACHE_STATS_H
#define CACHE_STATS_H

#include <howdah/howdah.h>

/* Why a read was not looked up. The order is that of the names in stats.c. */
enum cache_bypass {
    CACHE_BYPASS_OFF,         /* a rule, a hint, or the default */
    CACHE_BYPASS_UNPROVED,    /* its answer may hang on more than its tables, parameters and settings */
    CACHE_BYPASS_CATALOG,     /* the server has not been asked yet, or could not be */
    CACHE_BYPASS_SETTINGS,    /* they are not known for sure */
    CACHE_BYPASS_TEMPORARY,   /* temporary objects hide others */
    CACHE_BYPASS_TRANSACTION, /* it has written, locked, or reads by a snapshot of its own */
    CACHE_BYPASS_LIMITED,     /* Execute with a row limit */
    CACHE_BYPASS_WORDS,       /* 'now' and such may stand for the time */
    CACHE_BYPASS_UNSETTLED,   /* a writer's end is not known, or not seen by all yet */
    CACHE_BYPASS_UNCOVERED,   /* the change stream does not tell of its tables, or not yet */
    CACHE_BYPASS_BEHIND,      /* the change stream is further behind than the bound */
    CACHE_BYPASS_BOUND,       /* max_databases, max_tables or no memory */
    CACHE_BYPASS_COUNT
};

struct cache_stats {
    int64_t hits, misses, stored, not_stored, outdated, waited, invalidations, unknown_writes, followed,
        unchecked, stale, refreshed, shared_hits, shared_refused, heard;
    int64_t saved;
    int64_t prepared, blind; /* gauges */
    int64_t bypass[CACHE_BYPASS_COUNT];
};

/* Makes the metrics; an error code where it cannot. */
int32_t cache_stats_init(struct cache_stats *s, hd_host *host, const struct hd_metrics_v1 *metrics);
const char *cache_bypass_name(enum cache_bypass why);

#endif
