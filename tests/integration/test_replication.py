"""Replication connections: they pass through to a server of their own, and PostgreSQL's own tools work by them."""

# Runs under TSan too.

import os
import subprocess
import time

import harness
import pgwire
from harness import Host, Postgres, equal, expect_error, main, postgres_bin, run_client, test, wait_for
from pgwire import kinds, query

pg = Postgres()
pg.execute("CREATE ROLE repl LOGIN REPLICATION PASSWORD 'repl-secret'")
pg.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
pg.execute("GRANT ALL ON item TO app")

SECTIONS = {"user repl": {"password": "repl-secret"}, "database *": {"pool_mode": "transaction", "pool_size": 2}}


def repl_host(changes=None):
    return Host(pg, {**SECTIONS, **(changes or {})})


def environment():
    return {"PGPASSWORD": "repl-secret"}


def walsenders():
    return pg.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'")[0][0]


def wal_position():
    return pg.execute("SELECT pg_current_wal_lsn()")[0][0]


@test("a physical replication connection says what the server says")
def physical():
    with repl_host() as host:
        answers = []
        for port in (pg.port, host.port):
            with pgwire.Wire("127.0.0.1", port) as w:
                greeting = w.login("repl", "postgres", "repl-secret", replication="true", application_name="a b\\c")
                equal(w.parameters["application_name"], "a b\\c")
                got = w.exchange(query("IDENTIFY_SYSTEM"))
                answers.append((sorted(w.parameters.items()), kinds(got), got[1].row()[:2], got[1].row()[3]))
                equal(kinds(w.exchange(query("SHOW wal_level"))), "TDCZ")
                equal(kinds(w.exchange(query("NOT A COMMAND"))), "EZ")
        equal(answers[1], answers[0])
        wait_for(lambda: walsenders() == 0, what="the server's end follows the client's")
        equal(pg.backends("usename = 'repl'"), 0)


@test("a logical replication connection runs SQL and streams changes by CopyBoth")
def logical():
    with repl_host() as host, host.wire() as app, pgwire.Wire("127.0.0.1", host.port) as w:
        w.login("repl", "shop", "repl-secret", replication="database")
        equal(w.query("SELECT current_database(), 1"), [["shop", "1"]])
        got = w.exchange(query("CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL test_decoding"))
        equal(kinds(got), "TDCZ")
        w.send(query("START_REPLICATION SLOT s LOGICAL 0/0"))
        equal(w.recv_until("W")[-1].type, "W")
        for i in range(20):
            app.query("INSERT INTO item VALUES (%d, '%s')" % (i, "x" * 10000))
        inserted = 0
        while inserted < 20:
            m = w.recv(10)
            equal(m.type, "d")
            inserted += b"table public.item: INSERT" in m.body
        w.send(pgwire.copy_done())
        tail = w.recv_until("Z")
        assert kinds([m for m in tail if m.type != "d"]).endswith("CZ") or kinds(tail)[-3:] == "CCZ", kinds(tail)
        equal(w.query("SELECT 2"), [["2"]])
        rows = [r for r in host.console("SHOW CLIENTS") if r["state"] == "replication"]
        equal([r["user"] for r in rows], ["repl"])
    pg.execute("TRUNCATE item")


@test("pg_basebackup copies the cluster, and the copy starts")
def basebackup():
    with repl_host() as host:
        target = os.path.join(harness.temp_dir(), "copy")
        run_client(
            postgres_bin("pg_basebackup"), "-h", "127.0.0.1", "-p", host.port, "-U", "repl", "-D", target, "-X",
            "stream", "-c", "fast", "--no-sync", **environment()
        )  # fmt: skip
        assert os.path.exists(os.path.join(target, "PG_VERSION"))
        result = subprocess.run([postgres_bin("pg_verifybackup"), target], capture_output=True, text=True)
        equal(result.returncode, 0, result.stdout + result.stderr)


@test("pg_receivewal streams what is written, and ends with its client")
def receivewal():
    with repl_host() as host, host.wire() as app:
        target = harness.temp_dir()
        args = ["-h", "127.0.0.1", "-p", str(host.port), "-U", "repl", "-D", target, "--no-sync", "-n", "-s", "1"]
        process = harness.spawn(
            [postgres_bin("pg_receivewal"), *args],
            env=harness.clean_environment(**environment()),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: walsenders() == 1, what="the receiver streams")
            for i in range(100, 130):
                app.query("INSERT INTO item VALUES (%d, repeat('y', 100000))" % i)
            pg.execute("SELECT pg_switch_wal()")
            wait_for(
                lambda: [n for n in os.listdir(target) if not n.endswith(".partial")], 20, "a whole segment is there"
            )
        finally:
            process.kill()
            process.wait()
        wait_for(lambda: walsenders() == 0, what="the walsender ends")
        pg.execute("TRUNCATE item")


@test("a user without the right to replicate hears it from the server")
def refused():
    with repl_host() as host:
        for mode in ("true", "database"):
            with pgwire.Wire("127.0.0.1", host.port) as w, expect_error("42501"):
                w.login("app", "shop", "secret", replication=mode)
        with pgwire.Wire("127.0.0.1", host.port) as w, expect_error("3D000"):
            w.login("repl", "not_there", "repl-secret", replication="database")
        with pgwire.Wire("127.0.0.1", host.port) as w, expect_error("28P01"):
            w.login("repl", "shop", "wrong", replication="database")
        with host.wire() as w:
            equal(w.query("SELECT 1"), [["1"]])


@test("a replication connection takes nothing from the pool, but counts under max_servers")
def counted():
    with repl_host({"node main": {"max_servers": 2}, "database *": {"pool_size": 1}}) as host:
        with pgwire.Wire("127.0.0.1", host.port) as w:
            w.login("repl", "shop", "repl-secret", replication="database")
            with pgwire.Wire("127.0.0.1", host.port) as more:
                more.login("repl", "shop", "repl-secret", replication="database")
                with pgwire.Wire("127.0.0.1", host.port) as third, expect_error("53300"):
                    third.login("repl", "shop", "repl-secret", replication="database")
            wait_for(lambda: pg.backends("usename = 'repl'") + walsenders() == 1, what="the second is gone")
            with host.wire() as app:
                equal(app.query("SELECT 1"), [["1"]])


@test("a cancel ends what a replication connection runs")
def cancelled():
    with repl_host() as host, pgwire.Wire("127.0.0.1", host.port) as w:
        w.login("repl", "shop", "repl-secret", replication="database")
        w.send(query("SELECT pg_sleep(30)"))
        wait_for(lambda: pg.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"))
        with pgwire.Wire("127.0.0.1", host.port) as c:
            c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
            c.expect_closed()
        got = w.recv_until("Z")
        equal([m.fields()["C"] for m in got if m.type == "E"], ["57014"])


@test("a server that ends, a client that does not read, and a host that stops")
def ends():
    with repl_host({"host": {"drain_timeout": "10m"}}) as host:
        with pgwire.Wire("127.0.0.1", host.port) as w:
            w.login("repl", "shop", "repl-secret", replication="database")
            pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'repl'")
            got = w.expect_closed()
            assert b"57P01" in got, got
        slow = pgwire.Wire("127.0.0.1", host.port)
        slow.login("repl", "shop", "repl-secret", replication="database")
        slow.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
        time.sleep(1.0)
        with open("/proc/%d/status" % host.host_pid()) as f:
            rss = [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0]
        assert rss < 150 * 1024 or sanitized(), "%d KiB" % rss
        read = 0
        while True:
            data = slow.sock.recv(1 << 20)
            read += len(data)
            if data.endswith(b"Z\0\0\0\5I"):
                break
        assert read > 100_000_000, read
        equal(host.stop(), 0)  # long before drain_timeout: a replication connection does not keep the host
        slow.expect_closed()
        slow.close()


def sanitized():
    with open(harness.HOWDAHD, "rb") as f:
        return b"__asan_init" in f.read() or "sanitize" in os.environ.get("HD_BUILDDIR", "")


main()
