"""The plugin monitor looks at PostgreSQL servers and the machine: collectors, their pace, and the views."""

import os
import threading
import time

import psycopg

from harness import BUILDDIR, Host, Postgres, equal, expect_error, main, temp_dir, test, wait_for

pg = Postgres(settings={"shared_preload_libraries": "pg_stat_statements", "autovacuum": "off", "wal_level": "logical"})
with pg.connect() as _c:
    _c.execute("CREATE EXTENSION pg_stat_statements")
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("CREATE INDEX item_unused ON item (name)")
    _c.execute("INSERT INTO item SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g")
    _c.execute("GRANT ALL ON item TO app")
    _c.execute("DELETE FROM item WHERE id > 1000")
    _c.execute("ANALYZE item")

THERMOMETER = os.path.abspath(os.path.join(BUILDDIR, "tests/integration/plugins/.libs/thermometer.so"))


def configured(more=None, **keys):
    return {
        "plugin statements": {"enabled": "yes"},
        "plugin monitor": {
            "enabled": "yes",
            "history": os.path.join(temp_dir(), "history.db"),
            "flush_interval": "1s",
            "collect_scale": 0.01,
            **keys,
        },
        "node main": {"control_user": "postgres"},
        **(more or {}),
    }


def metrics(host, part):
    return {(r["name"], r["labels"]): float(r["value"]) for r in host.console("SHOW METRICS " + part) if r["value"] is not None}


def metric(host, name, **labels):
    """The value of the metric with these labels among its own; None where there is none."""
    for (n, text), value in metrics(host, name).items():
        if n == name and all("%s=%s" % i in text.split(",") for i in labels.items()):
            return value
    return None


def collectors(host):
    return {(r["collector"], r["database"]): r for r in host.console("SHOW COLLECTORS")}


@test("every question is understood by a real server")
def all_asked():
    with Host(pg, configured()) as host:
        def done():
            found = collectors(host)
            return ("statements", "shop") in found and all(int(r["runs"]) > 0 for r in found.values()) and found

        found = wait_for(done, what="every collector to have run", timeout=30)
        equal({k: r["error"] for k, r in found.items() if int(r["failures"])}, {})
        names = {k[0] for k in found}
        for name in ("server", "activity", "waits", "ages", "locks", "database", "size", "replication", "standby", "slots",
                     "checkpoints", "wraparound", "tables", "indexes", "bloat", "statements"):
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
        wait_for(lambda: inserted() is not None, what="the table", timeout=20)
        before = inserted()
        pg.execute("INSERT INTO item SELECT g, 'y' FROM generate_series(10001, 10100) g")
        wait_for(lambda: inserted() >= before + 100, what="100 inserts", timeout=20)
        equal(inserted(), before + 100)
        pg.execute("SELECT pg_stat_reset()")
        pg.execute("INSERT INTO item SELECT g, 'y' FROM generate_series(20001, 20010) g")
        wait_for(lambda: inserted() >= before + 110, what="10 more", timeout=20)
        equal(inserted(), before + 110)
        rates = host.console("SHOW HISTORY howdah_pg_table_inserts_total 5m")
        assert all(float(r["value"]) >= 0 for r in rates), rates
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


@test("a question that hangs is given up, and asked less and less often; the others go on")
def hanging():
    """The view of pg_stat_statements is locked for a while."""
    with Host(pg, configured(collect_timeout="300ms", databases="shop")) as host:
        wait_for(lambda: ("statements", "shop") in collectors(host), what="the collector", timeout=20)
        with pg.connect(autocommit=False) as c:
            c.execute("LOCK TABLE public.pg_stat_statements IN ACCESS EXCLUSIVE MODE")
            row = wait_for(lambda: (lambda r: int(r["failures"]) >= 1 and r)(collectors(host)[("statements", "shop")]),
                           what="a failure", timeout=20)
            assert "timeout" in row["error"], row
            assert int(row["interval_ms"]) >= 300 * 50, row
            runs = int(collectors(host)[("activity", None)]["runs"])
            wait_for(lambda: int(collectors(host)[("activity", None)]["runs"]) > runs, what="the others to go on")
            with psycopg.connect(host.dsn(), autocommit=True) as client:
                equal(client.execute("SELECT 1").fetchone(), (1,))
            c.rollback()
        assert metric(host, "howdah_collector_failures_total") >= 1


@test("a server that is away, and one without control_user, stop nothing")
def away():
    gone = {
        "node gone": {"conninfo": "host=127.0.0.1 port=1", "control_user": "postgres"},
        "node closed": {"conninfo": "host=127.0.0.1 port=1"},
        "user howdah": {"admin": "yes"},
    }
    with Host(pg, configured(gone)) as host:
        wait_for(lambda: metric(host, "howdah_pg_max_connections", node="main"), what="the node that is there", timeout=20)
        rows = host.console("SHOW COLLECTORS")
        failing = [r for r in rows if r["node"] == "gone"]
        assert failing and all(r["collector"] == "server" for r in failing), failing
        assert host.console("SHOW WRAPAROUND")


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
        assert runs - 2 <= looks() <= runs + 4, (runs, looks())
        order("fail")
        row = wait_for(lambda: (lambda r: r["state"] == "failing" and r)(collectors(host)[("thermometer", None)]), what="a failure")
        equal(row["error"], "the thermometer is broken")
        order("hang")
        wait_for(lambda: (lambda r: r["state"] == "slow" and r["interval_ms"] >= 300 * 50)(collectors(host)[("thermometer", None)]),
                 what="a longer interval", timeout=30)
    order("much")
    with Host(pg, configured(thermometer, collectors="thermometer", max_findings=300)) as host:
        wait_for(lambda: (metric(host, "howdah_findings_lost_total") or 0) > 100, what="findings past the bound")
        assert len(metrics(host, "test_thermometers")) <= 300


@test("the machine and the host itself")
def machine():
    with Host(pg, configured(collect="no")) as host:
        total = wait_for(lambda: metric(host, "howdah_machine_memory_bytes", kind="total"), what="the memory")
        equal(total, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        assert 0 < metric(host, "howdah_machine_filesystem_bytes", kind="free")
        wait_for(lambda: metric(host, "howdah_machine_cpu_percent") is not None, what="two looks at the processor")
        assert 0 <= metric(host, "howdah_machine_cpu_percent") <= 100
        wait_for(lambda: metric(host, "howdah_machine_cpu_seconds_total", mode="user"), what="the processor's time")
        equal(host.console("SHOW COLLECTORS"), [])


main()
