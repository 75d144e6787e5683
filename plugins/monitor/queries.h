/*
 * What is asked of PostgreSQL: questions that collectors ask at intervals, and views that commands show.
 */
#ifndef MONITOR_QUERIES_H
#define MONITOR_QUERIES_H

#include <stdint.h>

/* Up to where the log reaches. */
#define MON_SQL_NOW_LSN                                                                                      \
    "(CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"      \
    " ELSE pg_current_wal_lsn() END)"

/*
 * Tables with their bytes and what of them is waste, as the statistics of the last VACUUM or ANALYZE tell. A
 * row takes its columns' mean width behind a header of 24 bytes, in steps of eight, and four in the page's
 * list. Parents' statistics of their children (inherited) are not their own. A table that has no rows left is
 * waste.
 */
#define MON_SQL_BLOAT                                                                                        \
    "SELECT n.nspname AS schema, c.relname AS name, c.relpages::int8 * p.size AS bytes,"                     \
    " greatest(0, c.relpages - ceil(c.reltuples * (4 + 8 * ceil((24 + coalesce(w.width, 0)) / 8))"           \
    " / (p.size - 24) * 100 / coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions)"     \
    " WHERE option_name = 'fillfactor'), 100)))::int8 * p.size AS waste"                                     \
    " FROM (SELECT current_setting('block_size')::int8 AS size) p, pg_class c"                               \
    " JOIN pg_namespace n ON n.oid = c.relnamespace"                                                         \
    " LEFT JOIN (SELECT schemaname, tablename, sum((1 - null_frac) * avg_width) AS width FROM pg_stats"      \
    " WHERE NOT inherited GROUP BY 1, 2) w ON w.schemaname = n.nspname AND w.tablename = c.relname"          \
    " WHERE c.relkind IN ('r', 'm') AND c.relpages > 0 AND c.reltuples >= 0"                                 \
    " AND (w.width IS NOT NULL OR c.reltuples = 0)"                                                          \
    " AND n.nspname NOT IN ('pg_catalog', 'information_schema')"

/* pg_stat_statements is found in whatever schema it is installed. Behind this its function is asked, not its
 * view, which would read all texts. */
#define MON_SQL_STATEMENTS_PATH                                                                              \
    "SELECT set_config('search_path', coalesce((SELECT quote_ident(n.nspname) FROM pg_extension e"           \
    " JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'),"                \
    " 'pg_catalog'), true); "

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
