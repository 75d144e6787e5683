/* The questions that collectors ask; see queries.h. Each is bounded: fixed sets of labels, or the first so
 * many. */
#include "queries.h"

const struct mon_query mon_queries[] = {
    {"server", "The server: recovery, uptime, connections allowed", 60000, 0, 0, 0, 0,
     "SELECT current_setting('server_version_num') AS version, pg_is_in_recovery()::int AS \"g:in_recovery\","
     " extract(epoch FROM now() - pg_postmaster_start_time()) AS \"g:uptime_seconds\","
     " current_setting('max_connections')::int AS \"g:max_connections\""},
    {"activity", "Sessions of clients by state", 10000, 0, 0, 0, 0,
     "SELECT s.state AS \"l:state\", count(a.pid) AS \"g:sessions\""
     " FROM unnest(ARRAY['active', 'idle', 'idle in transaction', 'idle in transaction (aborted)']) s (state)"
     " LEFT JOIN pg_stat_activity a ON a.state = s.state AND a.backend_type = 'client backend'"
     " AND a.pid <> pg_backend_pid() GROUP BY 1"},
    {"waits", "Active sessions by what they wait for", 10000, 0, 0, 0, 0,
     "SELECT t.type AS \"l:type\", count(a.pid) AS \"g:waiting_sessions\""
     " FROM unnest(ARRAY['Lock', 'LWLock', 'BufferPin', 'IO', 'IPC', 'Client', 'Timeout', 'Extension']) t "
     "(type)"
     " LEFT JOIN pg_stat_activity a ON a.wait_event_type = t.type AND a.state = 'active'"
     " AND a.backend_type = 'client backend' GROUP BY 1"},
    {"ages", "The longest transaction and statement, and sessions that are blocked", 10000, 0, 0, 0, 0,
     "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) AS"
     " \"g:longest_transaction_seconds\","
     " coalesce(max(extract(epoch FROM clock_timestamp() - query_start)) FILTER (WHERE state = 'active'), 0) "
     "AS"
     " \"g:longest_statement_seconds\","
     " count(*) FILTER (WHERE wait_event_type = 'Lock') AS \"g:blocked_sessions\""
     " FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"},
    {"locks", "Locks by mode, held and waited for", 15000, 0, 0, 0, 0,
     "SELECT m.mode AS \"l:mode\", count(l.pid) FILTER (WHERE l.granted) AS \"g:locks_held\","
     " count(l.pid) FILTER (WHERE NOT l.granted) AS \"g:locks_waiting\""
     " FROM unnest(ARRAY['AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock',"
     " 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock']) m (mode)"
     " LEFT JOIN pg_locks l ON l.mode = m.mode AND l.pid <> pg_backend_pid() GROUP BY 1"},
    {"database", "What databases have done, as the server counts it", 10000, 0, 0, 0, 0,
     "SELECT datname AS \"l:database\", datname AS database, numbackends AS \"g:backends\","
     " xact_commit AS \"c:commits_total\", xact_rollback AS \"c:rollbacks_total\","
     " blks_hit AS \"c:blocks_hit_total\", blks_read AS \"c:blocks_read_total\","
     " coalesce(round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0)), 100) AS \"g:cache_hit_percent\","
     " tup_returned AS \"c:rows_read_total\", tup_fetched AS \"c:rows_fetched_total\","
     " tup_inserted AS \"c:rows_inserted_total\", tup_updated AS \"c:rows_updated_total\","
     " tup_deleted AS \"c:rows_deleted_total\", temp_bytes AS \"c:temporary_bytes_total\","
     " deadlocks AS \"c:deadlocks_total\", conflicts AS \"c:conflicts_total\""
     " FROM pg_stat_database WHERE datname NOT IN ('template0', 'template1')"
     " ORDER BY xact_commit + xact_rollback DESC LIMIT 20"},
    {"size", "Sizes of the databases on disk", 300000, 0, 0, 0, 0,
     "SELECT d.datname AS \"l:database\", pg_database_size(d.oid) AS \"g:database_bytes\""
     " FROM pg_database d JOIN pg_stat_database s ON s.datid = d.oid WHERE NOT d.datistemplate"
     " AND has_database_privilege(d.oid, 'CONNECT') ORDER BY s.xact_commit DESC LIMIT 20"},
    {"replication", "Standbys that stream from this server, and how far they are behind", 10000, 0, 0, 0, 0,
     "SELECT application_name AS \"l:standby\","
     " max(pg_wal_lsn_diff(" MON_SQL_NOW_LSN ", replay_lsn))::int8 AS \"g:replication_lag_bytes\","
     " coalesce(max(extract(epoch FROM replay_lag)), 0) AS \"g:replication_lag_seconds\","
     " count(*) AS \"g:replication_streams\" FROM pg_stat_replication GROUP BY 1 LIMIT 50"},
    {"standby",
     "A standby: age of what it has replayed last (0 where that is all it has), and whether log streams to "
     "it",
     10000, 0, 0, 0, 0,
     "SELECT CASE WHEN pg_is_in_recovery() AND pg_last_wal_receive_lsn() IS DISTINCT FROM "
     "pg_last_wal_replay_lsn()"
     " THEN extract(epoch FROM now() - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))"
     " ELSE 0 END AS \"g:standby_delay_seconds\","
     " CASE WHEN pg_is_in_recovery() THEN (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = "
     "'streaming')"
     " END AS \"g:standby_streaming\""},
    {"slots", "Replication slots: log that the server keeps for them, and whether they are read", 30000, 0, 0,
     0, 0,
     "SELECT slot_name AS \"l:slot\", coalesce(pg_wal_lsn_diff(" MON_SQL_NOW_LSN
     ", restart_lsn), 0)::int8 AS \"g:slot_lag_bytes\","
     " active::int AS \"g:slot_active\", coalesce((wal_status = 'lost')::int, 0) AS \"g:slot_lost\""
     " FROM pg_replication_slots ORDER BY 2 DESC LIMIT 50"},
    {"checkpoints", "Checkpoints and the background writer", 30000, 0, 0, 170000, 0,
     "SELECT checkpoints_timed AS \"c:checkpoints_timed_total\", checkpoints_req AS "
     "\"c:checkpoints_requested_total\","
     " checkpoint_write_time / 1000 AS \"c:checkpoint_write_seconds_total\","
     " checkpoint_sync_time / 1000 AS \"c:checkpoint_sync_seconds_total\","
     " buffers_checkpoint AS \"c:checkpoint_buffers_total\", buffers_clean AS \"c:bgwriter_buffers_total\","
     " maxwritten_clean AS \"c:bgwriter_stops_total\", buffers_alloc AS \"c:buffers_allocated_total\""
     " FROM pg_stat_bgwriter"},
    {"checkpoints", "Checkpoints and the background writer", 30000, 0, 170000, 0, 0,
     "SELECT k.num_timed AS \"c:checkpoints_timed_total\", k.num_requested AS "
     "\"c:checkpoints_requested_total\","
     " k.write_time / 1000 AS \"c:checkpoint_write_seconds_total\","
     " k.sync_time / 1000 AS \"c:checkpoint_sync_seconds_total\","
     " k.buffers_written AS \"c:checkpoint_buffers_total\", w.buffers_clean AS \"c:bgwriter_buffers_total\","
     " w.maxwritten_clean AS \"c:bgwriter_stops_total\", w.buffers_alloc AS \"c:buffers_allocated_total\""
     " FROM pg_stat_checkpointer k, pg_stat_bgwriter w"},
    {"wraparound", "Age of the oldest transaction that is not frozen", 60000, 0, 0, 0, 0,
     "SELECT max(age(datfrozenxid)) AS \"g:wraparound_age\", max(mxid_age(datminmxid)) AS "
     "\"g:multixact_age\","
     " round(100.0 * max(age(datfrozenxid)) / 2147483647) AS \"g:wraparound_percent\" FROM pg_database"},
    {"horizon", "Age of the oldest transaction whose rows cannot be removed yet, by what holds it back",
     30000, 0, 0, 0, 0,
     "SELECT 'session' AS \"l:holder\","
     " coalesce(max(greatest(age(backend_xmin), age(backend_xid))), 0)::int8 AS \"g:xmin_age\""
     " FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
     " UNION ALL SELECT 'standby', coalesce(max(age(backend_xmin)), 0)::int8 FROM pg_stat_replication"
     " UNION ALL SELECT 'slot', coalesce(max(greatest(age(xmin), age(catalog_xmin))), 0)::int8"
     " FROM pg_replication_slots"
     " UNION ALL SELECT 'prepared', coalesce(max(age(transaction)), 0)::int8 FROM pg_prepared_xacts"},
    {"tables", "The tables that are used most", 60000, 1, 0, 0, 0,
     "SELECT schemaname AS \"l:schema\", relname AS \"l:table\", seq_scan AS "
     "\"c:table_sequential_scans_total\","
     " coalesce(idx_scan, 0) AS \"c:table_index_scans_total\", n_tup_ins AS \"c:table_inserts_total\","
     " n_tup_upd AS \"c:table_updates_total\", n_tup_del AS \"c:table_deletes_total\","
     " n_live_tup AS \"g:table_live_rows\", n_dead_tup AS \"g:table_dead_rows\""
     " FROM pg_stat_user_tables ORDER BY coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) + n_tup_ins"
     " + n_tup_upd + n_tup_del DESC, relid LIMIT 10"},
    {"indexes", "Indexes that nobody has used, but for those that keep rows unique", 300000, 1, 0, 0, 0,
     "SELECT count(*) AS \"g:unused_indexes\", coalesce(sum(pg_relation_size(s.indexrelid)), 0)::int8 AS"
     " \"g:unused_index_bytes\" FROM (SELECT s.indexrelid FROM pg_stat_user_indexes s"
     " JOIN pg_index i USING (indexrelid) WHERE s.idx_scan = 0 AND NOT i.indisunique LIMIT 1000) s"},
    {"bloat", "Room in the most bloated tables that rows do not need, as statistics tell", 900000, 1, 0, 0, 0,
     "SELECT schema AS \"l:schema\", name AS \"l:table\", waste AS \"g:table_bloat_bytes\" FROM "
     "(" MON_SQL_BLOAT ") b ORDER BY waste DESC, 1, 2 LIMIT 10"},
    {"statements", "Sums of pg_stat_statements, where it is installed", 60000, 1, 0, 0, 1,
     MON_SQL_STATEMENTS_PATH
     "SELECT sum(calls)::int8 AS \"c:statements_calls_total\","
     " sum(total_exec_time) / 1000 AS \"c:statements_seconds_total\","
     " sum(rows)::int8 AS \"c:statements_rows_total\", count(*) AS \"g:statements_entries\""
     " FROM pg_stat_statements(false) WHERE dbid = (SELECT oid FROM pg_database WHERE datname = "
     "current_database())"},
};

const unsigned mon_query_count = sizeof(mon_queries) / sizeof(mon_queries[0]);
