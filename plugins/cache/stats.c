/*
 * The metrics of the cache; see stats.h.
 */
#include "stats.h"

static const char *const bypass_names[CACHE_BYPASS_COUNT] = {
    "off",     "unproved", "catalog",   "settings",  "temporary", "transaction",
    "limited", "words",    "unsettled", "uncovered", "behind",    "bound",
};

const char *cache_bypass_name(enum cache_bypass why)
{
    return bypass_names[why];
}

int32_t cache_stats_init(struct cache_stats *s, hd_host *host, const struct hd_metrics_v1 *metrics)
{
    const struct {
        int64_t *id;
        const char *name, *help;
    } plain[] = {
        {&s->hits, "howdah_cache_hits_total", "Reads that were answered from the cache"},
        {&s->misses, "howdah_cache_misses_total", "Reads that were looked up and not found"},
        {&s->stored, "howdah_cache_stored_total", "Answers that were kept"},
        {&s->not_stored, "howdah_cache_not_stored_total",
         "Answers that were not kept: too long, failed, changed meanwhile, or not admitted"},
        {&s->outdated, "howdah_cache_outdated_total", "Answers that were found, and had been invalidated"},
        {&s->waited, "howdah_cache_waited_total", "Reads that were answered by an equal one's answer"},
        {&s->invalidations, "howdah_cache_invalidations_total",
         "Transactions that have ended answers of the tables or rows that they wrote"},
        {&s->unknown_writes, "howdah_cache_unknown_writes_total",
         "Writes that may have touched any table, so all answers of their database were ended"},
        {&s->followed, "howdah_cache_followed_total", "Transactions whose changes the change stream told of"},
        {&s->unchecked, "howdah_cache_unchecked_total",
         "Strict answers that were not given: the check came too late, or found a change"},
        {&s->stale, "howdah_cache_stale_total", "Hits past the ttl, while a new answer was on its way"},
        {&s->refreshed, "howdah_cache_refreshed_total",
         "Reads that were sent though an answer was there: it was about to be, or was, past its ttl"},
        {&s->shared_hits, "howdah_cache_shared_hits_total",
         "Answers that were taken from the store that hosts share, these among the hits"},
        {&s->shared_refused, "howdah_cache_shared_refused_total",
         "Answers that were found there, but could not be proved to hold still"},
        {&s->heard, "howdah_cache_heard_total", "Writes, or gaps in them, that other hosts have told of"},
        {&s->saved, "howdah_cache_saved_nanoseconds_total", "Time of servers that hits have saved"},
    };

    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        *plain[i].id = metrics->get(host, HD_METRIC_COUNTER, plain[i].name, plain[i].help, NULL, 0);
        if (*plain[i].id <= 0)
            return HD_EFULL;
    }
    s->prepared = metrics->get(host, HD_METRIC_GAUGE, "howdah_cache_prepared_transactions",
                               "Prepared transactions of which it is noted what they have written", NULL, 0);
    s->blind =
        metrics->get(host, HD_METRIC_GAUGE, "howdah_cache_shared_blind",
                     "1 while nothing is taken from the store that hosts share: it gives no ticks", NULL, 0);
    if (s->prepared <= 0 || s->blind <= 0)
        return HD_EFULL;
    for (int i = 0; i < CACHE_BYPASS_COUNT; i++) {
        const struct hd_label label = {"reason", bypass_names[i]};

        s->bypass[i] = metrics->get(host, HD_METRIC_COUNTER, "howdah_cache_bypassed_total",
                                    "Reads that were not looked up, by reason", &label, 1);
        if (s->bypass[i] <= 0)
            return HD_EFULL;
    }
    return HD_OK;
}
