"""The plugin monitor looks at PostgreSQL servers and the machine: collectors, their pace, and the views."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import threading
import time

import psycopg

import monitorworld
from harness import (
    BUILDDIR,
    SRCDIR,
    Host,
    Postgres,
    clean_environment,
    end,
    equal,
    expect_error,
    free_port,
    main,
    postgres_bin,
    spawn,
    temp_dir,
    test,
    wait_for,
)
from monitorworld import metric, metrics

pg = Postgres(settings={"shared_preload_libraries": "pg_stat_statements", "autovacuum": "off", "wal_level": "logical",
                        "max_prepared_transactions": 5})
with pg.connect() as _c:
    _c.execute("CREATE EXTENSION pg_stat_statements")
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("CREATE INDEX item_unused ON item (name)")
    _c.execute("INSERT INTO item SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g")
    _c.execute("GRANT ALL ON item TO app")
    _c.execute("DELETE FROM item WHERE id > 1000")
    _c.execute("ANALYZE item")

THERMOMETER = os.path.abspath(os.path.join(BUILDDIR, "tests/integration/plugins/.libs/thermometer.so"))


configured = functools.partial(monitorworld.configured, collect_scale=0.01)


def collectors(host):
    return {(r["collector"], r["database"]): r for r in host.console("SHOW COLLECTORS")}


@test("every question is understood by a real server")
def all_asked():
    with Host(pg, configured()) as host:
        def done():
            found = collectors(host)
            return ("statements", "shop") in found and all(int(r["runs"]) > 0 for r in found.values()) and found

        found = wait_for(done, what="every collector to have run")
        equal({k: r["error"] for k, r in found.items() if int(r["failures"])}, {})
        names = {k[0] for k in found}
        for name in ("server", "activity", "waits", "ages", "locks", "database", "size", "replication", "standby", "slots",
                     "checkpoints", "wraparound", "horizon", "tables", "indexes", "bloat", "statements"):
            assert name in names, (name, names)
        equal(metric(host, "howdah_pg_in_recovery", node="main"), 0)
        equal(metric(host, "howdah_pg_max_connections"), float(pg.execute("SHOW max_connections")[0][0]))
        age = float(pg.execute("SELECT max(age(datfrozenxid)) FROM pg_database")[0][0])
        assert abs(metric(host, "howdah_pg_wraparound_age") - age) < 1000
        assert metric(host, "howdah_pg_unused_indexes", database="shop") >= 1
        assert metric(host, "howdah_pg_table_bloat_bytes", table="item") > 100000
        assert metric(host, "howdah_pg_statements_entries", database="shop") > 0


@test("counters of the server are counters of the host, and begin anew with the server's")
def counters():
    with Host(pg, configured()) as host:
        inserted = lambda: metric(host, "howdah_pg_table_inserts_total", table="item")
        wait_for(lambda: inserted() is not None, what="the table")
        before = inserted()
        pg.execute("INSERT INTO item SELECT g, 'y' FROM generate_series(10001, 10100) g")
        wait_for(lambda: inserted() >= before + 100, what="100 inserts")
        equal(inserted(), before + 100)
        pg.execute("SELECT pg_stat_reset()")
        pg.execute("INSERT INTO item SELECT g, 'y' FROM generate_series(20001, 20010) g")
        wait_for(lambda: inserted() >= before + 110, what="10 more")
        equal(inserted(), before + 110)
        # What has come between two readings is spread over the seconds between them: none is lost, none counted twice.
        item = lambda: [r for r in host.console("SHOW HISTORY howdah_pg_table_inserts_total 10m STEP 1s") if "table=item}" in r["series"]]
        told = lambda: sum(r["value"] for r in item())
        wait_for(lambda: abs(told() - inserted()) < 0.001, what="the history having all of them")
        assert all(r["value"] >= 0 for r in item()), item()
        pg.execute("DELETE FROM item WHERE id > 1000")


@test("who blocks whom, and what they run, without its literals")
def blocking():
    a, b, c = pg.connect(autocommit=False), pg.connect(), pg.connect()
    try:
        blocked(a, b, c)
    finally:
        a.close()


def blocked(a, b, c):
    with Host(pg, configured()) as host:
        a.execute("UPDATE item SET name = 'first-secret' WHERE id = 1")
        pids = [x.info.backend_pid for x in (a, b, c)]
        threads = []
        for conn, n in ((b, 2), (c, 3)):
            t = threading.Thread(target=conn.execute, args=("UPDATE item SET name = 'secret-%d' WHERE id = 1" % n,), daemon=True)
            t.start()
            threads.append(t)
            wait_for(lambda: len(host.console("SHOW BLOCKING")) >= n, what="a session more in the tree")
        rows = host.console("SHOW BLOCKING")
        equal((rows[0]["pid"], rows[0]["depth"], rows[0]["blocked_by"]), (pids[0], 0, None))
        equal({r["pid"] for r in rows}, set(pids))
        equal({r["root"] for r in rows}, {pids[0]})
        assert "secret" not in str(rows) and "update item set name = $1" in str(rows), rows
        wait_for(lambda: metric(host, "howdah_pg_blocked_sessions") == 2, what="two blocked sessions")
        wait_for(lambda: metric(host, "howdah_pg_waiting_sessions", type="Lock") == 2, what="two that wait for locks")
        rows = host.console("SHOW ACTIVITY")
        assert set(pids) <= {r["pid"] for r in rows} and "secret" not in str(rows), rows
        locks = host.console("SHOW LOCKS DATABASE shop")
        assert any(r["relation"] == "public.item" and r["mode"] == "RowExclusiveLock" for r in locks), locks
        a.rollback()
        for t in threads:
            t.join()
        wait_for(lambda: metric(host, "howdah_pg_blocked_sessions") == 0, what="nobody blocked")


def waiting_for(conn):
    return pg.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %d" % conn.info.backend_pid) == [("Lock",)]


@test("a chain of four and a queue of twenty-five are one tree, as the server itself says who blocks whom")
def trees():
    update = "UPDATE item SET name = 'y' WHERE id = %d"
    conns = [pg.connect(autocommit=False) for _ in range(29)]
    threads = []
    try:
        for i, c in enumerate(conns[:4]):  # each holds a row, and all but the first want that of the one before
            c.execute(update % (i + 1))
        def wait_its_turn(conn, row):
            with contextlib.suppress(psycopg.OperationalError):  # ended with all others
                conn.execute(update % row)

        for i, c in enumerate(conns[1:]):
            t = threading.Thread(target=wait_its_turn, args=(c, min(i + 1, 4)), daemon=True)
            t.start()
            threads.append(t)
            wait_for(lambda: waiting_for(c), what="a session that waits")
        with Host(pg, configured()) as host:
            rows = host.console("SHOW BLOCKING")
            pids = [c.info.backend_pid for c in conns]
            equal(sorted(r["pid"] for r in rows), sorted(pids))  # each once
            equal({r["root"] for r in rows}, {pids[0]})
            by_pid = {r["pid"]: r for r in rows}
            equal([(by_pid[p]["depth"], by_pid[p]["blocked_by"]) for p in pids[:5]],
                  [(0, None), (1, pids[0]), (2, pids[1]), (3, pids[2]), (4, pids[3])])
            for pid in pids[1:]:
                [(truth,)] = pg.execute("SELECT pg_blocking_pids(%d)" % pid)
                equal({int(x) for x in by_pid[pid]["waits_for"].split()}, set(truth))
                assert by_pid[pid]["blocked_by"] in truth, by_pid[pid]
            wait_for(lambda: metric(host, "howdah_pg_blocked_sessions") == 28, what="all that wait")
            waits = pg.execute("SELECT mode, count(*) FROM pg_locks WHERE NOT granted GROUP BY 1")
            for mode, n in waits:
                wait_for(lambda: metric(host, "howdah_pg_locks_waiting", mode=mode) == n, what="locks waited for: " + mode)
            pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY ('{%s}')" % ",".join(map(str, pids)))
            wait_for(lambda: host.console("SHOW BLOCKING") == [], what="nobody who waits")
    finally:
        for t in threads:
            t.join()
        for c in conns:
            c.close()


@test("sessions that wait for each other are shown, each once, with whoever waits behind them")
def ring():
    update = "UPDATE item SET name = 'y' WHERE id = %d"
    conns = [pg.connect(autocommit=False) for _ in range(4)]
    pids = [c.info.backend_pid for c in conns]
    threads = []

    def wait_for_row(conn, row):
        with contextlib.suppress(psycopg.OperationalError):  # ended with all others
            conn.execute(update % row)

    def end_them():
        pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY ('{%s}')" % ",".join(map(str, pids)))

    try:
        for i, c in enumerate(conns[:3]):
            c.execute("SET deadlock_timeout = '600s'")
            c.execute(update % (i + 1))
        for c, row in zip(conns, (2, 3, 1, 2)):  # three in a ring, and one behind the first's
            threads.append(threading.Thread(target=wait_for_row, args=(c, row), daemon=True))
            threads[-1].start()
            wait_for(lambda: waiting_for(c), what="a session that waits")
        with Host(pg, configured(collect="no")) as host:
            rows = host.console("SHOW BLOCKING")
            equal(sorted(r["pid"] for r in rows), sorted(pids))
            equal({r["root"] for r in rows}, {min(pids[:3])})
            equal(sorted(r["depth"] for r in rows if r["pid"] in pids[:3]), [0, 1, 2])
            by_pid = {r["pid"]: r for r in rows}
            for pid in pids:
                [(truth,)] = pg.execute("SELECT pg_blocking_pids(%d)" % pid)
                equal({int(x) for x in by_pid[pid]["waits_for"].split()}, set(truth))
                assert by_pid[pid]["blocked_by"] in truth, by_pid[pid]
            equal(by_pid[min(pids[:3])]["depth"], 0)
            end_them()
            wait_for(lambda: host.console("SHOW BLOCKING") == [], what="nobody who waits")
    finally:
        end_them()
        for t in threads:
            t.join()
        for c in conns:
            c.close()


@test("an old snapshot, a prepared transaction and a slot hold rows back: their age is the server's own")
def horizon():
    pg.execute("SELECT pg_create_logical_replication_slot('old_slot', 'pgoutput')")
    old, prepared = pg.connect(autocommit=False), pg.connect(autocommit=True)
    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT 1")
    prepared.execute("BEGIN")
    prepared.execute("UPDATE item SET name = name WHERE id = 5")
    prepared.execute("PREPARE TRANSACTION 'held'")
    pg.execute("DO $$BEGIN FOR i IN 1..500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END$$")
    truth = {
        "session": "SELECT age(backend_xmin) FROM pg_stat_activity WHERE pid = %d" % old.info.backend_pid,
        "prepared": "SELECT age(transaction) FROM pg_prepared_xacts",
        "slot": "SELECT max(age(catalog_xmin)) FROM pg_replication_slots",
    }
    try:
        with Host(pg, configured()) as host:
            for holder, sql in truth.items():
                [(age,)] = pg.execute(sql)
                assert age > 500, (holder, age)
                wait_for(lambda: metric(host, "howdah_pg_xmin_age", holder=holder) == age, what="the age of the " + holder)
            equal(metric(host, "howdah_pg_xmin_age", holder="standby"), 0)
            with pg.connect(autocommit=False) as waiting:
                pid = waiting.info.backend_pid
                t = threading.Thread(target=lambda: waiting.execute("UPDATE item SET name = name WHERE id = 5"), daemon=True)
                t.start()
                wait_for(lambda: waiting_for(waiting), what="one that waits for what is prepared")
                equal([(r["depth"], r["pid"], r["blocked_by"], r["statement"]) for r in host.console("SHOW BLOCKING")],
                      [(0, 0, None, None), (1, pid, 0, "update item set name = name where id = $1")])
                pg.execute("ROLLBACK PREPARED 'held'")
                t.join()
                waiting.rollback()
            old.rollback()
            wait_for(lambda: metric(host, "howdah_pg_xmin_age", holder="session") == 0, what="no old session")
    finally:
        old.close()
        if pg.execute("SELECT 1 FROM pg_prepared_xacts"):
            pg.execute("ROLLBACK PREPARED 'held'")
        pg.execute("SELECT pg_drop_replication_slot('old_slot')")


def distance():
    return pg.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 FROM pg_replication_slots WHERE slot_name = 'lagging'")[0][0]


@test("a slot that nobody reads: how far it lags, and that it is lost")
def slot_lag():
    pg.execute("SELECT pg_create_physical_replication_slot('lagging', true)")
    try:
        with Host(pg, configured()) as host:
            lag = lambda: metric(host, "howdah_pg_slot_lag_bytes", slot="lagging")
            for _ in range(2):
                pg.execute("UPDATE item SET name = name WHERE id = 6")
                pg.execute("SELECT pg_switch_wal()")
                least = distance()
                assert least > 16 << 20 or _ == 0, least
                found = wait_for(lambda: (lag() or 0) >= least and lag(), what="the lag")
                assert found <= distance(), (least, found)
            equal(metric(host, "howdah_pg_slot_lost", slot="lagging"), 0)
            for statement in ("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()"):
                pg.execute(statement)
            wait_for(lambda: pg.execute("SHOW max_slot_wal_keep_size") == [("1MB",)], what="the new setting")
            pg.execute("UPDATE item SET name = name WHERE id = 6")
            pg.execute("SELECT pg_switch_wal()")
            pg.execute("CHECKPOINT")
            wait_for(lambda: metric(host, "howdah_pg_slot_lost", slot="lagging") == 1, what="a slot that is lost")
            equal([r["wal_status"] for r in host.console("SHOW SLOTS") if r["slot"] == "lagging"], ["lost"])
    finally:
        pg.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        pg.execute("SELECT pg_reload_conf()")
        pg.execute("SELECT pg_drop_replication_slot('lagging')")


BLOATED = """
CREATE TABLE b_narrow AS SELECT g AS id, g AS other FROM generate_series(1, 40000) g
CREATE TABLE b_wide AS SELECT g AS id, CASE WHEN g % 3 = 0 THEN repeat('w', 300) END AS a, repeat('z', g % 50) AS b FROM generate_series(1, 20000) g
CREATE TABLE b_loose (id int, a text) WITH (fillfactor = 50)
INSERT INTO b_loose SELECT g, repeat('l', 90) FROM generate_series(1, 20000) g
CREATE TABLE b_empty AS SELECT g AS id FROM generate_series(1, 20000) g
CREATE TABLE b_parent (id int, a text)
INSERT INTO b_parent SELECT g, 'short' FROM generate_series(1, 20000) g
CREATE TABLE b_child () INHERITS (b_parent)
INSERT INTO b_child SELECT g, repeat('c', 200) FROM generate_series(1, 20000) g
CREATE TABLE b_tight AS SELECT g AS id, repeat('t', 60) AS a FROM generate_series(1, 20000) g
ANALYZE b_empty
DELETE FROM b_narrow WHERE id % 2 = 0
DELETE FROM b_wide WHERE id % 4 <> 0
DELETE FROM b_loose WHERE id % 2 = 0
DELETE FROM b_empty
DELETE FROM b_parent WHERE id % 2 = 0
DELETE FROM b_child WHERE id % 2 = 0
"""


@test("the estimate of bloat is what VACUUM FULL then gives back, within a tenth of the table")
def bloat():
    pg.execute("CREATE DATABASE bloated")
    with pg.connect("bloated") as c:
        for statement in BLOATED.strip().splitlines():
            c.execute(statement)
        c.execute("ANALYZE")
        tables = [t for (t,) in c.execute("SELECT relname FROM pg_class WHERE relname LIKE 'b\\_%' AND relkind = 'r'")]
        equal(len(tables), 7)
        with Host(pg, configured(databases="bloated")) as host:
            estimate = {r["table"]: (r["bytes"], r["bloat_bytes"]) for r in host.console("SHOW BLOAT")}
            for t in tables:
                size = lambda: c.execute("SELECT pg_relation_size('%s')" % t).fetchone()[0]
                before = size()
                wait_for(lambda: metric(host, "howdah_pg_table_bloat_bytes", table=t) is not None, what="bloat of " + t)
                equal(metric(host, "howdah_pg_table_bloat_bytes", table=t), float(estimate[t][1]))
                c.execute("VACUUM FULL " + t)
                freed = before - size()
                equal(estimate[t][0], before)
                assert abs(estimate[t][1] - freed) <= 0.1 * before, (t, before, freed, estimate[t])
    pg.execute("DROP DATABASE bloated WITH (FORCE)")


@test("what the servers count is what is told: checkpoints, deadlocks, spilled sorts, scans, hits, sessions")
def truth():
    asked = {
        "howdah_pg_deadlocks_total": "SELECT deadlocks FROM pg_stat_database WHERE datname = 'shop'",
        "howdah_pg_temporary_bytes_total": "SELECT temp_bytes FROM pg_stat_database WHERE datname = 'shop'",
        "howdah_pg_checkpoints_requested_total": "SELECT checkpoints_req FROM pg_stat_bgwriter",
        "howdah_pg_table_sequential_scans_total": "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'item'",
        "howdah_pg_table_index_scans_total": "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'item'",
    }
    labels = {"howdah_pg_checkpoints_requested_total": {}, "howdah_pg_deadlocks_total": {"database": "shop"},
              "howdah_pg_temporary_bytes_total": {"database": "shop"}}
    with Host(pg, configured(databases="shop")) as host:
        told = lambda name: metric(host, name, **labels.get(name, {"table": "item"}))
        now = lambda name: pg.execute(asked[name])[0][0]
        for name in asked:
            wait_for(lambda: told(name) is not None, what=name)
        # Followed from the first look on: differences count, and both see the same.
        before = {name: (told(name), now(name)) for name in asked}
        a, b = pg.connect(autocommit=False), pg.connect(autocommit=False)
        a.execute("SET deadlock_timeout = '10s'")
        b.execute("SET deadlock_timeout = '50ms'")
        a.execute("UPDATE item SET name = name WHERE id = 11")
        b.execute("UPDATE item SET name = name WHERE id = 12")
        t = threading.Thread(target=lambda: a.execute("UPDATE item SET name = name WHERE id = 12"), daemon=True)
        t.start()
        wait_for(lambda: waiting_for(a), what="one that waits")
        with expect_error(match="deadlock"):
            b.execute("UPDATE item SET name = name WHERE id = 11")
        b.rollback()
        t.join()
        a.rollback()
        a.close()
        b.close()
        with pg.connect() as c:
            c.execute("SET work_mem = '64kB'")
            c.execute("SELECT count(*) FROM (SELECT g FROM generate_series(1, 50000) g ORDER BY g % 1000, g) x")
            c.execute("SET enable_seqscan = off")
            c.execute("SELECT * FROM item WHERE id = 20")
            c.execute("SET enable_seqscan = on")
            c.execute("SELECT count(*) FROM item")
        pg.execute("CHECKPOINT")
        for name, (told_before, truth_before) in before.items():
            came = wait_for(lambda: now(name) - truth_before, what=name + " at the server")
            wait_for(lambda: told(name) - told_before == now(name) - truth_before, what="%s to come to %d" % (name, came))
        [(hits,)] = pg.execute("SELECT 100.0 * blks_hit / (blks_hit + blks_read) FROM pg_stat_database WHERE datname = 'shop'")
        assert abs(metric(host, "howdah_pg_cache_hit_percent", database="shop") - float(hits)) <= 2, hits
        with pg.connect(autocommit=False) as c, pg.connect(autocommit=False) as d:
            c.execute("SELECT 1")
            with contextlib.suppress(psycopg.Error):
                d.execute("SELECT 1/0")
            wait_for(lambda: metric(host, "howdah_pg_sessions", state="idle in transaction") == 1, what="one in a transaction")
            wait_for(lambda: metric(host, "howdah_pg_sessions", state="idle in transaction (aborted)") == 1, what="one that failed")
            wait_for(lambda: metric(host, "howdah_pg_sessions", state="active") == 0, what="nobody at work: collectors do not count")
            size = pg.execute("SELECT pg_database_size('shop')")[0][0]
            assert abs(metric(host, "howdah_pg_database_bytes", database="shop") - size) < 0.2 * size


ODD = 'odd "schema"'


@test("pg_stat_statements in any schema, in a version that is too old, and nowhere")
def pgstatements():
    for database in ("odd", "bare"):
        pg.execute("CREATE DATABASE " + database)
    quoted = '"%s"' % ODD.replace('"', '""')
    with pg.connect("odd") as c:
        c.execute("CREATE SCHEMA " + quoted)
        c.execute("CREATE EXTENSION pg_stat_statements SCHEMA %s VERSION '1.7'" % quoted)
        with Host(pg, configured(databases="odd, bare")) as host:
            row = lambda db: collectors(host).get(("statements", db), {"state": None})
            old = wait_for(lambda: row("odd")["state"] == "absent" and row("odd"), what="an old version")
            assert "total_exec_time" in old["error"] and int(old["failures"]) == 0, old
            none = wait_for(lambda: row("bare")["state"] == "absent" and row("bare"), what="none")
            assert "pg_stat_statements" in none["error"] and int(none["failures"]) == 0, none
            c.execute("ALTER EXTENSION pg_stat_statements UPDATE")
            for _ in range(50):
                c.execute("SELECT 'marked' AS the_marked_one", prepare=False)
            wait_for(lambda: row("odd")["state"] == "ok", what="the new version to be seen")
            [(number, calls, ms)] = c.execute("SELECT queryid, calls, round(total_exec_time::numeric, 3) FROM %s.pg_stat_statements"
                                              " WHERE query LIKE '%%the_marked_one%%' AND calls = 50" % quoted).fetchall()
            [found] = [r for r in host.console("SHOW PGSTATEMENTS DATABASE odd") if int(r["queryid"]) == number]
            equal((int(found["calls"]), int(found["rows"]), round(float(found["total_ms"]), 3), found["user"]), (calls, 50, float(ms), "postgres"))
            sums = lambda: c.execute("SELECT sum(calls)::int8 FROM %s.pg_stat_statements JOIN pg_database d ON d.oid = dbid"
                                     " WHERE datname = 'odd'" % quoted).fetchone()[0]
            told = lambda: metric(host, "howdah_pg_statements_calls_total", database="odd")
            wait_for(lambda: told() is not None, what="the sum")
            least = told()
            for _ in range(200):
                c.execute("SELECT 1 AS another", prepare=False)
            wait_for(lambda: told() >= least + 200, what="200 calls")
            assert told() - least <= sums(), (least, told(), sums())
    for database in ("odd", "bare"):
        pg.execute("DROP DATABASE %s WITH (FORCE)" % database)


@contextlib.contextmanager
def standby():
    """A copy of the server that streams from it; gives its port."""
    folder = temp_dir(pg.owner)
    copy, port = os.path.join(folder, "copy"), free_port()
    as_owner = {"user": pg.owner.pw_uid, "group": pg.owner.pw_gid, "extra_groups": []} if pg.owner else {}
    command = [postgres_bin("pg_basebackup"), "-d", pg.dsn("postgres"), "-R", "-D", copy, "-X", "stream", "-c", "fast", "--no-sync"]
    subprocess.run(command, check=True, cwd=folder, env=clean_environment(), **as_owner)
    settings = {"port": port, "unix_socket_directories": folder, "cluster_name": "copy", "hot_standby_feedback": "on",
                "wal_receiver_status_interval": "1s"}
    arguments = [x for k, v in settings.items() for x in ("-c", "%s=%s" % (k, v))]
    with open(os.path.join(folder, "log"), "ab") as log:
        process = spawn([postgres_bin("postgres"), "-D", copy, *arguments], death_signal=signal.SIGQUIT, stdout=log, stderr=log,
                        cwd=folder, env=clean_environment(), **as_owner)

    def answers():
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, dbname="shop", user="postgres").close()
            return True

    try:
        wait_for(answers, what="the standby to take connections")
        yield port
    finally:
        end(process, signal.SIGQUIT)


@test("a standby: what it lacks, how old what it has replayed is, and the rows that it holds back at the primary")
def replication():
    with standby() as port:
        ask = lambda sql: psycopg.connect(host="127.0.0.1", port=port, dbname="shop", user="postgres", autocommit=True).execute(sql)
        copy = {"node copy": {"conninfo": "host=127.0.0.1 port=%d" % port, "control_user": "postgres"}}
        with Host(pg, configured(copy, databases="shop")) as host:
            wait_for(lambda: metric(host, "howdah_pg_in_recovery", node="copy") == 1, what="the standby")
            wait_for(lambda: metric(host, "howdah_pg_in_recovery", node="main") == 0, what="the primary")
            rows = lambda: [r for r in host.console("SHOW COLLECTORS") if r["node"] == "copy"]
            wait_for(lambda: len(rows()) == 17 and all(int(r["runs"]) for r in rows()), what="all to have been asked")
            equal([(r["collector"], r["error"]) for r in rows() if int(r["failures"])], [])
            lag = lambda: metric(host, "howdah_pg_replication_lag_bytes", node="main", standby="copy")
            behind = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::int8 FROM pg_stat_replication"
            wait_for(lambda: lag() == 0 and pg.execute(behind) == [(0,)], what="the standby to have all")
            equal(metric(host, "howdah_pg_replication_streams", standby="copy"), 1)
            wait_for(lambda: metric(host, "howdah_pg_standby_delay_seconds", node="copy") == 0, what="no delay")
            ask("SELECT pg_wal_replay_pause()")
            wait_for(lambda: ask("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",), what="the pause")
            pg.execute("UPDATE item SET name = repeat('z', 100)")
            least = wait_for(lambda: pg.execute(behind)[0][0] > 50000 and pg.execute(behind)[0][0], what="a lag")
            wait_for(lambda: least <= lag() <= pg.execute(behind)[0][0], what="the lag to be told")
            wait_for(lambda: metric(host, "howdah_pg_standby_delay_seconds", node="copy") > 0.5, what="an age that grows")
            [row] = [r for r in host.console("SHOW REPLICATION") if r["standby"] == "copy"]
            assert row["lag_bytes"] >= least and row["state"] == "streaming", row
            ask("SELECT pg_wal_replay_resume()")
            wait_for(lambda: lag() == 0, what="nothing lacking")
            wait_for(lambda: metric(host, "howdah_pg_standby_delay_seconds", node="copy") == 0, what="no age")
            with psycopg.connect(host="127.0.0.1", port=port, dbname="shop", user="postgres") as old:
                old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                old.execute("SELECT 1")
                pg.execute("DO $$BEGIN FOR i IN 1..300 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END$$")
                age = "SELECT age(backend_xmin) FROM pg_stat_replication"
                wait_for(lambda: pg.execute(age)[0][0] >= 300, what="the standby's word")
                wait_for(lambda: metric(host, "howdah_pg_xmin_age", node="main", holder="standby") == pg.execute(age)[0][0],
                         what="the age of what the standby needs")
            streaming = lambda: metric(host, "howdah_pg_standby_streaming", node="copy")
            equal((streaming(), metric(host, "howdah_pg_standby_streaming", node="main")), (1, None))
            ask("ALTER SYSTEM SET primary_conninfo = ''")
            ask("SELECT pg_reload_conf()")
            wait_for(lambda: streaming() == 0, what="a standby that is left alone")
            wait_for(lambda: lag() is None, what="no stream at the primary")


@test("all views answer, with types, for all nodes or one")
def views():
    second = {"node second": {"conninfo": "host=%s port=%d" % (pg.host, pg.port), "control_user": "postgres"}}
    with pg.connect() as c:
        c.execute("SELECT pg_create_logical_replication_slot('howdah_test_slot', 'pgoutput')")
    with Host(pg, configured(second, databases="shop")) as host:
        for view in ("ACTIVITY", "LOCKS", "BLOCKING", "REPLICATION", "SLOTS", "TABLES", "INDEXES", "BLOAT",
                     "WRAPAROUND", "PGSTATEMENTS"):
            host.console("SHOW " + view)
        equal({r["node"] for r in host.console("SHOW SLOTS")}, {"main", "second"})
        [slot] = host.console("SHOW SLOTS NODE second")
        equal((slot["slot"], slot["type"], slot["active"]), ("howdah_test_slot", "logical", False))
        [table] = host.console("SHOW TABLES NODE main")
        equal((table["table"], table["database"]), ("item", "shop"))
        assert table["bytes"] > 100000, table
        assert any(r["index"] == "item_unused" and r["scans"] == 0 for r in host.console("SHOW INDEXES NODE main"))
        assert host.console("SHOW BLOAT NODE main")[0]["bloat_percent"] > 30
        assert "statement" not in host.console("SHOW PGSTATEMENTS NODE main")[0]
        wait_for(lambda: metric(host, "howdah_pg_slot_active", slot="howdah_test_slot", node="second") == 0, what="the slot")
        with expect_error(match="no node"):
            host.console("SHOW TABLES NODE nowhere")
        with expect_error(match="usage"):
            host.console("SHOW TABLES SHELF x")
        with expect_error(match="nowhere"):
            host.console("SHOW TABLES NODE main DATABASE nowhere")
    pg.execute("SELECT pg_drop_replication_slot('howdah_test_slot')")


@test("a question that hangs is given up, and asked less and less often; the others go on; then it is asked as before")
def hanging():
    """
    The catalog of extensions is locked for a while, which only the question about pg_stat_statements reads. Others may
    take longer than this short time, too, and are then asked after seconds.
    """
    with Host(pg, configured(collect_timeout="50ms", databases="shop")) as host:
        row = lambda: collectors(host).get(("statements", "shop"))
        wait_for(lambda: row() and row()["state"] == "ok" and int(row()["runs"]), what="an answer")
        usual = int(row()["interval_ms"])
        with pg.connect(autocommit=False) as c:
            c.execute("LOCK TABLE pg_catalog.pg_extension IN ACCESS EXCLUSIVE MODE")
            failures = int(row()["failures"])
            first = wait_for(lambda: int(row()["failures"]) == failures + 1 and row(), what="a failure")
            assert "timeout" in first["error"] and first["state"] == "failing", first
            assert int(first["interval_ms"]) >= 2 * 50 * 50 > usual, (first, usual)
            runs = int(collectors(host)[("activity", None)]["runs"])
            wait_for(lambda: int(collectors(host)[("activity", None)]["runs"]) > runs, what="the others to go on")
            with psycopg.connect(host.dsn(), autocommit=True) as client:
                equal(client.execute("SELECT 1").fetchone(), (1,))
            second = wait_for(lambda: int(row()["failures"]) == failures + 2 and row(), what="a second failure")
            assert int(second["interval_ms"]) >= 4 * 50 * 50, second
            c.rollback()
        well = wait_for(lambda: row()["state"] in ("ok", "slow") and row(), what="an answer again", timeout=100)
        equal(well["error"], None)
        assert int(well["interval_ms"]) < int(first["interval_ms"]), well
        assert metric(host, "howdah_collector_failures_total") >= 2


@test("a control_user who may no more than is said answers every question")
def least():
    for statement in ("CREATE ROLE watcher LOGIN", "GRANT pg_monitor, pg_read_all_data TO watcher"):
        pg.execute(statement)
    conninfo = {"node main": {"conninfo": "host=%s port=%d" % (pg.dir, pg.port), "control_user": "watcher"}}
    with Host(pg, configured(conninfo, databases="shop")) as host:
        found = wait_for(lambda: (lambda rows: len(rows) == 17 and all(int(r["runs"]) for r in rows.values()) and rows)(collectors(host)),
                         what="every collector to have run")
        equal({k: (r["state"], r["error"]) for k, r in found.items() if r["error"] or r["state"] == "absent"}, {})
        with pg.connect() as c:
            c.execute("SELECT 'of another'")
            wait_for(lambda: any(r["statement"] == "select $1" for r in host.console("SHOW ACTIVITY")), what="others' statements")
        assert any(r["table"] == "item" for r in host.console("SHOW BLOAT")), "pg_read_all_data shows statistics"
        assert host.console("SHOW PGSTATEMENTS DATABASE shop")
    for statement in ("REVOKE pg_monitor, pg_read_all_data FROM watcher", "DROP ROLE watcher"):
        pg.execute(statement)


@test("a server that is away, and one without control_user, stop nothing")
def away():
    gone = {
        "node gone": {"conninfo": "host=127.0.0.1 port=1", "control_user": "postgres"},
        "node closed": {"conninfo": "host=127.0.0.1 port=1"},
        "user howdah": {"admin": "yes"},
    }
    with Host(pg, configured(gone)) as host:
        wait_for(lambda: metric(host, "howdah_pg_max_connections", node="main"), what="the node that is there")
        rows = host.console("SHOW COLLECTORS")
        failing = [r for r in rows if r["node"] == "gone"]
        assert failing and all(r["collector"] == "server" for r in failing), failing
        assert host.console("SHOW WRAPAROUND")


@test("what a server said is not said any more once it is gone; its counters stand still, and go on with it")
def gone():
    server = Postgres()
    with Host(server, configured(databases="shop")) as host:
        connections = lambda: metric(host, "howdah_pg_max_connections", node="main")
        sessions = lambda: metric(host, "howdah_pg_sessions", node="main", state="idle")
        commits = lambda: metric(host, "howdah_pg_commits_total", database="shop")
        wait_for(lambda: connections() and sessions() is not None and commits(), what="the server's metrics")
        server.stop("immediate")
        wait_for(lambda: sessions() is None and connections() is None, what="nothing to be said")
        before = commits()
        assert before > 0, before
        server.start()
        wait_for(lambda: sessions() is not None and connections(), what="the server to be back")
        wait_for(lambda: commits() > before, what="its counters to go on")
    server.kill()


@test("a server that comes back is asked at once, however seldom it was asked while it was away", timeout=300)
def back_again():
    server = Postgres()
    server.stop()
    # What fails is asked again in an hour, but for that.
    with Host(server, configured(databases="shop", collect_scale=1000, collect_timeout="60s")) as host:
        asked = lambda: [r for r in host.console("SHOW COLLECTORS") if int(r["failures"])]
        [row] = wait_for(asked, what="a question that has failed", timeout=60)
        equal((row["collector"], row["interval_ms"]), ("server", 3600000))
        server.start()
        wait_for(lambda: metric(host, "howdah_pg_max_connections", node="main"), what="the server's metrics", timeout=200)
        equal(collectors(host)[("server", None)]["state"], "ok")
    server.kill()


@test("a plugin's collector: its findings are metrics, a bounded number of them")
def plugin():
    orders = os.path.join(temp_dir(), "orders")
    thermometer = {"plugin thermometer": {"enabled": "yes", "library": THERMOMETER, "orders": orders}}

    def order(word):
        with open(orders + ".new", "w") as f:
            f.write(word)
        os.rename(orders + ".new", orders)

    order("")
    with Host(pg, configured(thermometer, collectors="thermometer, nobody", max_findings=300)) as host:
        host.wait_log("a collector is missing")
        wait_for(lambda: metric(host, "test_temperature_celsius", place="attic") == 21, what="a temperature")
        # 101, 102, 103, then 4, 5, …: 2 and 4 and what comes after it.
        looks = lambda: metric(host, "test_looks_total")
        wait_for(lambda: (looks() or 0) > 6, what="the counter")
        runs = int(collectors(host)[("thermometer", None)]["runs"])
        seen = looks()
        assert runs - 2 <= seen <= int(collectors(host)[("thermometer", None)]["runs"]) + 4, (runs, seen)
        order("fail")
        row = wait_for(lambda: (lambda r: r["state"] == "failing" and r)(collectors(host)[("thermometer", None)]), what="a failure")
        equal(row["error"], "the thermometer is broken")
        order("")
        wait_for(lambda: not collectors(host)[("thermometer", None)]["error"] and metric(host, "test_temperature_celsius", place="attic") == 21,
                 what="a temperature again")
        order("odd")
        told = "Test-Name can be no metric: names, of labels too, have a-z, 0-9 and _, and each label is there once"
        wait_for(lambda: collectors(host)[("thermometer", None)]["error"] == told, what="what is wrong with a name")
        equal(metric(host, "test_temperature_celsius", place="attic"), 21)
        order("hang")
        wait_for(lambda: (lambda r: r["state"] == "slow" and r["interval_ms"] >= 300 * 50)(collectors(host)[("thermometer", None)]),
                 what="a longer interval")
    order("much")
    with Host(pg, configured(thermometer, collectors="thermometer", max_findings=300)) as host:
        wait_for(lambda: (metric(host, "howdah_findings_lost_total") or 0) > 100, what="findings past the bound")
        assert len(metrics(host, "test_thermometers")) <= 300


@test("collect_scale stretches the times of a plugin's collector, too")
def plugin_pace():
    orders = os.path.join(temp_dir(), "orders")
    conf = configured({"plugin thermometer": {"enabled": "yes", "library": THERMOMETER, "orders": orders}},
                      collectors="thermometer", collect="no", collect_scale=200)
    with Host(pg, conf) as host:
        pace = lambda: collectors(host)[("thermometer", None)]["interval_ms"]
        wait_for(lambda: metric(host, "test_looks_total") is not None, what="the first look")
        assert pace() >= 10000, collectors(host)
        conf["plugin monitor"]["collect_scale"] = 2
        host.configure(conf)
        host.console("RELOAD")
        wait_for(lambda: pace() < 10000, what="its new pace")


@test("the collector of the SDK's examples, built by the template's Makefile")
def example():
    folder, spool = temp_dir(), temp_dir()
    for name in ("template/Makefile", "template/exports.map", "examples/spool.c"):
        shutil.copy(os.path.join(SRCDIR, "sdk", name), folder)
    include = os.path.abspath(os.path.join(SRCDIR, "sdk/include"))
    subprocess.run(["make", "-s", "-C", folder, "NAME=spool", "HOWDAH_CFLAGS=-I" + include], check=True)
    os.chmod(folder + "/spool.so", 0o755)
    for name in ("one", "two"):
        open(os.path.join(spool, name), "w").close()
    os.utime(os.path.join(spool, "two"), (time.time() - 100, time.time() - 100))
    plugin = {"plugin spool": {"enabled": "yes", "library": folder + "/spool.so", "folder": spool}}
    with Host(pg, configured(plugin, collectors="spool", collect="no")) as host:
        wait_for(lambda: metric(host, "spool_files", folder=spool) == 2, what="the files")
        assert 100 <= metric(host, "spool_age_seconds", folder=spool) < 1000
        shutil.rmtree(spool)
        row = wait_for(lambda: (lambda r: r["error"] and r)(collectors(host)[("spool", None)]), what="an error")
        equal(row["error"], spool + ": No such file or directory")


@test("the machine and the host itself")
def machine():
    with Host(pg, configured(collect="no")) as host:
        total = wait_for(lambda: metric(host, "howdah_machine_memory_bytes", kind="total"), what="the memory")
        equal(total, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        size, free = (wait_for(lambda: metric(host, "howdah_machine_filesystem_bytes", kind=k), what="the disk") for k in ("size", "free"))
        assert 0 < free <= size == shutil.disk_usage(temp_dir()).total, (size, free)
        wait_for(lambda: metric(host, "howdah_machine_cpu_percent") is not None, what="two looks at the processor")
        assert 0 <= metric(host, "howdah_machine_cpu_percent") <= 100
        wait_for(lambda: metric(host, "howdah_machine_cpu_seconds_total", mode="user"), what="the processor's time")
        equal(host.console("SHOW COLLECTORS"), [])


main()
