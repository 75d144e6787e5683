/* The views that commands show; see queries.h. */
#include "queries.h"

#define EPOCH(column) "(extract(epoch FROM " column ") * 1000000)::int8"
#define AGE(column)   "round(extract(epoch FROM clock_timestamp() - " column ")::numeric * 1000, 3)"

/* clang-format off */
const struct mon_view mon_views[] = {
    {"SHOW ACTIVITY", "Sessions of the PostgreSQL servers, the longest transactions first", 0, 0, 0,
     "SELECT pid AS \"pid:int\", datname AS database, usename AS \"user\", application_name AS application,"
     " state, wait_event_type AS wait_type, wait_event AS wait,"
     " " AGE("xact_start") " AS \"transaction_ms:real\","
     " " AGE("query_start") " AS \"statement_ms:real\","
     " query AS \"statement:sql\""
     " FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
     " ORDER BY xact_start NULLS LAST, pid LIMIT 500"},

    {"SHOW LOCKS", "Locks on relations by mode, those waited for first", 0, 0, 0,
     "SELECT d.datname AS database,"
     " CASE WHEN l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
     " THEN l.relation::regclass::text ELSE l.relation::text END AS relation, l.mode,"
     " count(*) FILTER (WHERE NOT l.granted) AS \"waiting:int\","
     " count(*) FILTER (WHERE l.granted) AS \"held:int\","
     " min(l.pid) FILTER (WHERE l.granted) AS \"holder:int\""
     " FROM pg_locks l LEFT JOIN pg_database d ON d.oid = l.database"
     " WHERE l.relation IS NOT NULL AND l.pid <> pg_backend_pid()"
     " GROUP BY 1, 2, 3 ORDER BY 4 DESC, 5 DESC LIMIT 500"},

    /* Each session that waits stands once in the tree, below one of those that it waits for: one that
     * does not wait itself if there is one, else whoever has waited longest. All paths would double with
     * each who queues. Those that wait for each other, until the server's deadlock_timeout, have no such end:
     * the first of each such ring is a root that waits itself. */
    {"SHOW BLOCKING", "Who waits for whom: sessions that are blocked, below those that block them", 0, 0,
     0,
     "WITH RECURSIVE waiting AS MATERIALIZED (SELECT pid, query_start, pg_blocking_pids(pid) AS by"
     " FROM pg_stat_activity WHERE wait_event_type = 'Lock' ORDER BY query_start LIMIT 500),"
     " below AS MATERIALIZED (SELECT DISTINCT ON (w.pid) w.pid, b.by AS parent, w.by AS all_of"
     " FROM waiting w CROSS JOIN unnest(w.by) b (by) LEFT JOIN waiting o ON o.pid = b.by"
     " ORDER BY w.pid, o.pid IS NOT NULL, o.query_start, b.by),"
     " up AS (SELECT pid, parent, ARRAY[pid] AS seen FROM below WHERE parent IN (SELECT pid FROM below)"
     " UNION ALL SELECT u.pid, b.parent, u.seen || b.pid FROM up u JOIN below b ON b.pid = u.parent"
     " WHERE u.parent <> ALL (u.seen) AND cardinality(u.seen) < 100),"
     " ring AS MATERIALIZED (SELECT DISTINCT (SELECT min(x) FROM unnest(seen) x) AS pid FROM up WHERE parent = pid),"
     " tree AS (SELECT DISTINCT parent AS pid, NULL::int AS parent, NULL::int[] AS all_of, parent AS root,"
     " 0 AS depth, ARRAY[parent] AS path FROM below WHERE parent NOT IN (SELECT pid FROM below)"
     " UNION ALL SELECT b.pid, b.parent, b.all_of, b.pid, 0, ARRAY[b.pid] FROM ring JOIN below b USING (pid)"
     " UNION ALL SELECT b.pid, b.parent, b.all_of, t.root, t.depth + 1, t.path || b.pid"
     " FROM tree t JOIN below b ON b.parent = t.pid WHERE t.depth < 100 AND b.pid <> t.root)"
     " SELECT t.root AS \"root:int\", t.depth AS \"depth:int\", t.pid AS \"pid:int\","
     " t.parent AS \"blocked_by:int\", a.datname AS database, a.usename AS \"user\", a.state,"
     " " AGE("a.query_start") " AS \"statement_ms:real\","
     " a.query AS \"statement:sql\","
     " (SELECT string_agg(DISTINCT x::text, ' ') FROM unnest(t.all_of) x) AS waits_for"
     " FROM tree t LEFT JOIN pg_stat_activity a ON a.pid = t.pid ORDER BY t.path LIMIT 500"},

    {"SHOW REPLICATION", "Standbys that stream from the servers", 0, 0, 0,
     "SELECT application_name AS standby, host(client_addr) AS address, state, sync_state AS sync,"
     " pg_wal_lsn_diff(" MON_SQL_NOW_LSN ", replay_lsn)::int8 AS \"lag_bytes:int\","
     " round(extract(epoch FROM replay_lag)::numeric * 1000, 3) AS \"lag_ms:real\","
     " sent_lsn::text AS sent, replay_lsn::text AS replayed"
     " FROM pg_stat_replication ORDER BY 1 LIMIT 500"},

    {"SHOW SLOTS", "Replication slots and the log that is kept for them", 0, 0, 0,
     "SELECT slot_name AS slot, slot_type AS type, plugin, database, active AS \"active:bool\","
     " pg_wal_lsn_diff(" MON_SQL_NOW_LSN ", restart_lsn)::int8 AS \"lag_bytes:int\", wal_status"
     " FROM pg_replication_slots ORDER BY 1 LIMIT 500"},

    {"SHOW TABLES", "Tables: use, rows, sizes and upkeep, those that are used most first", 1, 0, 0,
     "SELECT current_database() AS database, schemaname AS schema, relname AS \"table\","
     " seq_scan AS \"sequential_scans:int\", coalesce(idx_scan, 0) AS \"index_scans:int\","
     " n_live_tup AS \"live_rows:int\", n_dead_tup AS \"dead_rows:int\", n_tup_ins AS \"inserts:int\","
     " n_tup_upd AS \"updates:int\", n_tup_del AS \"deletes:int\","
     " pg_total_relation_size(relid) AS \"bytes:int\","
     " " EPOCH("greatest(last_vacuum, last_autovacuum)") " AS \"vacuumed:time\","
     " " EPOCH("greatest(last_analyze, last_autoanalyze)") " AS \"analyzed:time\""
     " FROM pg_stat_user_tables ORDER BY coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) + n_tup_ins"
     " + n_tup_upd + n_tup_del DESC, relid LIMIT 100"},

    {"SHOW INDEXES", "Indexes: use and sizes, those that nobody uses first", 1, 0, 0,
     "SELECT current_database() AS database, s.schemaname AS schema, s.relname AS \"table\","
     " s.indexrelname AS index, s.idx_scan AS \"scans:int\", s.idx_tup_read AS \"entries:int\","
     " i.indisunique AS \"is_unique:bool\", i.indisvalid AS \"valid:bool\","
     " pg_relation_size(s.indexrelid) AS \"bytes:int\""
     " FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid) ORDER BY s.idx_scan, 9 DESC LIMIT 100"},

    {"SHOW BLOAT", "Room in tables that their rows do not need, as statistics tell: an estimate", 1, 0, 0,
     "SELECT current_database() AS database, schema, name AS \"table\", bytes AS \"bytes:int\","
     " waste AS \"bloat_bytes:int\", round(100.0 * waste / nullif(bytes, 0), 1) AS \"bloat_percent:real\""
     " FROM (" MON_SQL_BLOAT ") b ORDER BY waste DESC, 1, 2, 3 LIMIT 100"},

    {"SHOW WRAPAROUND", "Age of databases' oldest transactions that are not frozen", 0, 0, 0,
     "SELECT datname AS database, age(datfrozenxid) AS \"age:int\", mxid_age(datminmxid) AS \"multixact_age:int\","
     " round(100.0 * age(datfrozenxid) / 2147483647, 1) AS \"percent:real\","
     " current_setting('autovacuum_freeze_max_age')::int8 AS \"freezes_at:int\""
     " FROM pg_database ORDER BY 2 DESC LIMIT 100"},

    {"SHOW PGSTATEMENTS", "pg_stat_statements, where it is installed: the costliest, without their texts",
     1, 0, 0,
     MON_SQL_STATEMENTS_PATH
     "SELECT current_database() AS database, queryid AS \"queryid:int\", u.rolname AS \"user\","
     " calls AS \"calls:int\", round(total_exec_time::numeric, 3) AS \"total_ms:real\","
     " round(mean_exec_time::numeric, 3) AS \"mean_ms:real\", round(max_exec_time::numeric, 3) AS \"max_ms:real\","
     " rows AS \"rows:int\", shared_blks_hit AS \"blocks_hit:int\", shared_blks_read AS \"blocks_read:int\","
     " temp_blks_written AS \"temp_blocks:int\""
     " FROM pg_stat_statements(false) s LEFT JOIN pg_roles u ON u.oid = s.userid"
     " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
     " ORDER BY total_exec_time DESC LIMIT 100"},
};
/* clang-format on */

const unsigned mon_view_count = sizeof(mon_views) / sizeof(mon_views[0]);
