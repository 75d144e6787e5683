/*
 * What is asked of PostgreSQL: questions that collectors ask at intervals, and views that commands show.
 */
#ifndef MONITOR_QUERIES_H
#define MONITOR_QUERIES_H

#include <stdint.h>

/*
 * A question. Columns named "l:NAME" are labels, "g:NAME" gauges and "c:NAME" counters, which become metrics
 * howdah_pg_NAME with the label node; what ends in _seconds is in seconds. Others are for collect.c.
 */
struct mon_query {
    const char *name;
    const char *doc; /* the metrics' help */
    uint64_t interval_ms;
    int each_database; /* else once for a node */
    int32_t from, to;  /* server versions: from <= version < to; 0: any */
    int optional;      /* what it reads may not be there: no failure */
    const char *sql;
};

extern const struct mon_query mon_queries[];
extern const unsigned mon_query_count;

/*
 * A view: a command SHOW NAME. Columns are "NAME" or "NAME:TYPE" with int, real, bool, time (µs since 1970)
 * or sql: a statement's text, of which only the normalized form is shown.
 */
struct mon_view {
    const char *command, *doc;
    int each_database;
    int32_t from, to;
    const char *sql;
};

extern const struct mon_view mon_views[];
extern const unsigned mon_view_count;

#endif
