/*
 * Room for templates that run, where workers have as many as they may: what has not run for some gatherings
 * goes into the row of those past the bound. No count is lost, and none comes twice: what such a template had
 * counted has come before.
 */
#include "templates_parts.h"

#include <stdlib.h>
#include <string.h>

#define QUIET 5    /* gatherings without a run, after which a template makes room */
#define ROOM  1000 /* templates that do so at once */

/* The row of templates past the bound, where any of them has run since the gathering before. */
static struct mon_known *crowd(const struct mon_templates *t)
{
    struct mon_known *k;

    for (k = t->all; k && (k->fingerprint || k->database[0] || k->user[0]); k = k->hh.next)
        ;
    return k && k->came.calls ? k : NULL;
}

/* What it has counted is in the other's row from now on, and has not come since. */
static void hand_over(struct mon_known *k, struct mon_known *other)
{
    struct mon_template *to = &other->was;

    mon_template_add(to, &k->was);
    (void)mon_bins_merge(&to->bins, &to->bin_count, k->was.bins, k->was.bin_count);
}

/* Of those that are metrics, or of those that are not. */
static uint64_t choose_quiet(struct mon_templates *t, int member, struct mon_known **quiet,
                             struct hd_stats_key *keys)
{
    uint64_t n = 0;

    for (struct mon_known *k = t->all; k && n < ROOM; k = k->hh.next) {
        if (!k->fingerprint || k->quiet < QUIET || k->member != member)
            continue;
        quiet[n] = k;
        keys[n++] = (struct hd_stats_key){
            k->fingerprint, {k->database, strlen(k->database)}, {k->user, strlen(k->user)}};
    }
    return n;
}

int mon_templates_room(struct mon_templates *t)
{
    struct mon *self = t->self;
    int can = self->stats->size >= sizeof(struct hd_statement_stats_v1);
    struct mon_known *other = can ? crowd(t) : NULL,
                     **quiet = other ? calloc(ROOM, sizeof(struct mon_known *)) : NULL;
    struct hd_stats_key *keys = quiet ? calloc(ROOM, sizeof(*keys)) : NULL;
    uint64_t n = keys ? choose_quiet(t, 0, quiet, keys) : 0;
    struct hd_error err = HD_ERROR_INIT;
    int begun;

    if (keys && !n)
        n = choose_quiet(t, 1, quiet, keys);
    begun = n && self->stats->forget(self->stats_self, keys, n, mon_templates_over, t, &err) == HD_OK;
    for (uint64_t i = 0; begun && i < n; i++) {
        hand_over(quiet[i], other);
        mon_known_drop(t, quiet[i]);
    }
    if (begun)
        self->metrics->add(self->host, t->forgotten, (int64_t)n);
    free(quiet);
    free(keys);
    return begun;
}
