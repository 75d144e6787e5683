"""The harness itself, on PostgreSQL alone: what the other tests lean on must not lie."""

# Runs without sanitizers alone.

import contextlib
import os
import signal
import socket
import subprocess
import sys

import psycopg

import harness
import pgwire
from harness import Postgres, SplitProxy, client_context, equal, expect_error, expect_refused, main, test, wait_for

pg = Postgres(tls=True)


@test("psycopg logs in by SCRAM, and a wrong password is refused")
def scram():
    with pg.connect(user="app", password="secret") as c:
        equal(c.execute("SELECT current_user, current_database()").fetchone(), ("app", "shop"))
    with expect_error(match="password authentication failed"):
        pg.connect(user="app", password="wrong")


@test("the raw client logs in by trust and by SCRAM")
def raw_login():
    with pg.wire("trusted") as w:
        equal(w.query("SELECT 1, NULL, 'x'"), [["1", None, "x"]])
        assert w.backend_pid and len(w.backend_key) == 4
        equal(w.parameters["client_encoding"], "UTF8")
        equal(w.status(), "I")
    with pg.wire("app", secret="secret") as w:
        equal(w.query("SELECT current_user"), [["app"]])
    with expect_error("28P01"):
        pg.wire("app", secret="wrong")


@test("the raw client speaks TLS and over Unix sockets")
def raw_tls():
    w = pgwire.Wire(pg.host, pg.port)
    equal(w.request_tls(client_context(pg.certificates)), b"S")
    w.login("trusted", "shop")
    equal(w.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), [["t"]])
    w.close()
    w = pgwire.Wire(pg.dir, pg.port)
    w.login("app", "shop")
    equal(w.query("SELECT inet_client_addr()"), [[None]])
    w.close()


@test("every frontend message of the raw client is understood")
def raw_messages():
    with pg.wire() as w:
        got = w.exchange(
            pgwire.parse("s", "SELECT $1::int + 1, $2::text", [23, 25]),
            pgwire.describe("S", "s"),
            pgwire.bind("p", "s", ["41", None], [0], [1, 0]),
            pgwire.describe("P", "p"),
            pgwire.execute("p", 1),
            pgwire.close("P", "p"),
            pgwire.close("S", "s"),
            pgwire.sync(),
        )
        equal(pgwire.kinds(got), "1tT2TDs33Z")
        equal(got[5].row(), [b"\0\0\0\x2a", None])
        w.send(pgwire.parse("", "SELECT 1"), pgwire.flush())
        equal(w.recv().type, "1")
        w.exchange(pgwire.sync())
        w.query("CREATE TEMP TABLE t (a int, b text)")
        w.send(pgwire.query("COPY t FROM STDIN"))
        equal(w.recv().type, "G")
        got = w.exchange(pgwire.copy_data("1\tx\n2\ty\n"), pgwire.copy_done())
        equal((got[0].type, got[0].text()), ("C", "COPY 2"))
        w.send(pgwire.query("COPY t FROM STDIN"))
        equal(w.recv().type, "G")
        got = w.exchange(pgwire.copy_fail("changed my mind"))
        equal((got[0].type, got[0].fields()["C"]), ("E", "57014"))
        got = w.exchange(pgwire.query("COPY t TO STDOUT"))
        equal(pgwire.kinds(got), "HddcCZ")
        oid = int(w.query("SELECT 'pg_catalog.abs(int4)'::regprocedure::oid")[0][0])
        got = w.exchange(pgwire.function_call(oid, [b"-7"]))
        equal((pgwire.kinds(got), got[0].body[4:]), ("VZ", b"7"))
        equal(pgwire.kinds(w.exchange(pgwire.run("SELECT $1::text", ["x"]))), "12TDCZ")
        w.send(pgwire.terminate())
        equal(w.expect_closed(), b"")


@test("a cancel by the raw client ends a statement")
def raw_cancel():
    with pg.wire() as w:
        w.send(pgwire.query("SELECT pg_sleep(60)"))
        wait_for(lambda: pg.backends("state = 'active' AND query LIKE '%pg_sleep%'"), what="the sleeper is there")
        with pgwire.Wire(pg.host, pg.port) as canceller:
            canceller.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
            canceller.expect_closed()
        equal(w.recv_until("Z")[-2].fields()["C"], "57014")
        w.expect_quiet()


@test("comparable sees a difference of one byte and ignores keys")
def comparing():
    with pg.wire() as a, pg.wire() as b:
        one = pgwire.query("SELECT 1 AS x; SELECT 1/0")
        equal(pgwire.comparable(a.exchange(one)), pgwire.comparable(b.exchange(one)))
        other = pgwire.query("SELECT 2 AS x; SELECT 1/0")
        assert pgwire.comparable(a.exchange(one)) != pgwire.comparable(b.exchange(other))
    with pgwire.Wire(pg.host, pg.port) as a, pgwire.Wire(pg.host, pg.port) as b:
        equal(
            pgwire.comparable(a.login("trusted", "shop")),
            pgwire.comparable(b.login("trusted", "shop")),
        )


@test("the proxy splits at every byte and nothing is lost")
def split_every_byte():
    with SplitProxy(pg.port) as proxy:
        with psycopg.connect(pg.dsn(user="app", password="secret", sslmode="disable", port=proxy.port)) as c:
            equal(c.execute("SELECT repeat('x', 3000)").fetchone(), ("x" * 3000,))
        equal(proxy.connections, 1)
        assert proxy.forwarded["down"] > 3000


@test("the proxy splits at random sizes, and each read sees a piece")
def split_random():
    received = []
    server = socket.create_server(("127.0.0.1", 0))
    with SplitProxy(server.getsockname()[1], size=5, seed=7, pause=0.001) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port))
        client.sendall(bytes(range(100)))
        client.shutdown(socket.SHUT_WR)
        peer, _ = server.accept()
        while data := peer.recv(1000):
            received.append(data)
        peer.close()
        client.close()
    server.close()
    equal(b"".join(received), bytes(range(100)))
    assert len(received) > 20, received


@test("the proxy stalls, goes on, cuts and refuses")
def proxy_faults():
    with SplitProxy(pg.port, size=1000) as proxy:
        w = pgwire.Wire("127.0.0.1", proxy.port)
        w.login("trusted", "shop")
        proxy.stall("down")
        w.send(pgwire.query("SELECT 1"))
        w.expect_quiet()
        proxy.resume("down")
        equal(pgwire.kinds(w.recv_until("Z")), "TDCZ")
        proxy.cut()
        equal(w.expect_closed(), b"")
        proxy.refuse()
        refused = pgwire.Wire("127.0.0.1", proxy.port)
        equal(refused.expect_closed(), b"")


@test("PostgreSQL restarts on the same port and keeps its data")
def restart():
    pg.execute("CREATE TABLE kept (a int)")
    pg.restart("immediate")
    equal(pg.execute("SELECT count(*) FROM kept"), [(0,)])
    equal(pg.backends("usename = 'nobody'"), 0)


@test("psql, pgbench and node-postgres run")
def clients():
    dsn = pg.dsn(user="app", password="secret", sslmode="disable")
    equal(harness.psql(dsn, "SELECT 1", "SELECT 'two'"), "1\ntwo\n")
    harness.pgbench(dsn, "-i", "-q", "-s", "1")
    assert "number of failed transactions: 0" in harness.pgbench(dsn, "-S", "-t", "10", "-c", "2")
    printed = harness.node(
        """
        const { Client } = require('pg');
        const client = new Client({ connectionString: process.argv[1] });
        client.connect()
            .then(() => client.query('SELECT $1::int + 1 AS two', [1]))
            .then(r => { console.log(r.rows[0].two); return client.end(); })
        """,
        "postgresql://app:secret@%s:%d/shop" % (pg.host, pg.port),
    )
    equal(printed, "2\n")


VICTIM = """
import sys
sys.path.insert(0, %r)
import harness
pg = harness.Postgres()
print(pg.process.pid, pg.dir, flush=True)
sys.stdin.read()
"""


def start_victim():
    """A test file of its own that waits; returns it, its PostgreSQL's pid and folder."""
    victim = harness.spawn(
        [sys.executable, "-c", VICTIM % os.path.dirname(os.path.abspath(harness.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    pid, folder = victim.stdout.readline().decode().split()
    return victim, int(pid), folder


def gone(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@test("an interrupted test file ends its PostgreSQL and removes its folder")
def interrupted():
    victim, pid, folder = start_victim()
    assert not gone(pid)
    equal(harness.end(victim, signal.SIGINT), 128 + signal.SIGINT)
    assert gone(pid)
    assert not os.path.exists(folder)


@test("a killed test file takes its PostgreSQL along")
def killed():
    victim, pid, folder = start_victim()
    harness.end(victim, signal.SIGKILL)
    wait_for(lambda: gone(pid), what="PostgreSQL is gone")
    harness.shutil.rmtree(folder, ignore_errors=True)


@test("a free port stays free for the server that it is for, before it listens and after its end")
def ports():
    port = harness.free_port()

    def others():
        with contextlib.ExitStack() as stack:
            taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(200)]
            return {s.getsockname()[1] for s in taken}

    for _ in range(2):
        with expect_refused():
            socket.create_connection(("127.0.0.1", port))
        assert port not in others()
        with socket.create_server(("127.0.0.1", port)) as server:
            socket.create_connection(("127.0.0.1", port)).close()
            server.accept()[0].close()
    assert len({harness.free_port() for _ in range(100)} | {port}) == 101


@test("configurations are merged key by key, and None removes")
def configuration():
    config = harness.default_config(pg, 6432, "/tmp/x")
    merged = harness.merge(config, {"database *": {"pool_size": 1, "queue_timeout": None}, "user other": None})
    equal(merged["database *"]["pool_size"], 1)
    equal(config["database *"]["pool_size"], 10)
    path = os.path.join(harness.temp_dir(), "x.ini")
    harness.write_config(path, merged)
    with open(path) as f:
        text = f.read()
    assert "pool_size = 1\n" in text and "queue_timeout" not in text and "other" not in text, text
    assert "[node main]\nconninfo = host=127.0.0.1 port=%d\n" % pg.port in text, text


@test("wait_for gives up in time")
def gives_up():
    try:
        wait_for(lambda: False, 0.2)
    except AssertionError:
        return
    raise AssertionError("waited for ever")


main()
