/*
 * What a test shares with the probe plugin that it has loaded: hooks that the plugin calls, and counts of
 * what was called. The plugin gets the address through its INI (option `probe`).
 */
#ifndef HD_TESTS_PROBE_H
#define HD_TESTS_PROBE_H

#include <howdah/howdah.h>
#include <stdatomic.h>

struct probe {
    /* What start and check answer; what stop does. */
    int32_t check_code, start_code, stop_code;
    _Atomic int creates, checks, starts, reloads, stops, destroys;
    _Atomic int worker_starts, worker_stops, opens, closes, plans, plan_destroys, statements, datas,
        completes, transactions;
    hd_host *host; /* of the last instance started */
    void *self;
    int64_t number; /* the option of that name, as start or reload saw it last */
    uint32_t sections;
    /* Hooks; NULL does nothing and says HD_OK. */
    int32_t (*plan)(struct probe *p, const hd_template *t, struct hd_plan *out);
    int32_t (*statement)(struct probe *p, const struct hd_statement *st, struct hd_verdict *v);
    void (*complete)(struct probe *p, const struct hd_statement *st, const struct hd_outcome *o);
    int32_t (*transaction)(struct probe *p, const struct hd_transaction *t);
    int32_t (*on_start)(struct probe *p, struct hd_error *err);
    uint32_t want; /* of plans, where there is no hook */
    void *arg;
};

#endif
