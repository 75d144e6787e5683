"""Reloading, draining and stopping a howdahd that is at work."""

# Runs under TSan too.

import signal
import time

import harness
import pgwire
import sides
from harness import Host, Postgres, equal, expect_error, main, test, wait_for
from pgwire import kinds, query
from upgrading import Working

pg = Postgres()


def reload(host, changes, wait=True):
    """Writes the configuration anew and asks for it; returns what the log then says."""
    at = len(host.log_text())
    host.configure(changes)
    host.signal(signal.SIGHUP)
    if wait:
        host.wait_log(r"reload", after=at)
        time.sleep(0.1)
    return host.log_text()[at:]


@test("a reload with a bad file changes nothing, and says where it is bad")
def bad_file():
    with Host(pg) as host, host.wire() as w:
        path = host.write("90-bad.ini", "[database shop]\nnode = main\npool_sise = 3\n")
        at = len(host.log_text())
        host.signal(signal.SIGHUP)
        host.wait_log(r"90-bad\.ini:3", after=at)
        assert "pool_size" in host.log_text()[at:], host.log_text()[at:]
        equal(w.query("SELECT 1"), [["1"]])
        with host.wire() as another:
            equal(another.query("SELECT 2"), [["2"]])
        with open(path, "w"):
            pass


@test("pool_size, users and passwords follow a reload; sessions stay")
def follows():
    with Host(pg, {"database *": {"pool_size": 1, "queue_timeout": "500ms"}, "user other": None}) as host:
        with host.wire() as a, host.wire() as b:
            with expect_error("28P01"):
                host.wire("other", "shop", "other-secret")
            reload(host, {"database *": {"pool_size": 2}})
            a.query("BEGIN")
            b.query("BEGIN")
            for w in (a, b):
                w.query("COMMIT")
            host.wire("other", "shop", "other-secret").close()
            pg.execute("ALTER ROLE app PASSWORD 'changed'")
            try:
                reload(host, {"user app": {"password": "changed"}})
                with expect_error("28P01"):
                    host.wire()
                with host.wire(secret="changed") as c:
                    equal(c.query("SELECT 1"), [["1"]])
                equal(a.query("SELECT 1"), [["1"]])
            finally:
                pg.execute("ALTER ROLE app PASSWORD 'secret'")


@test("listeners come and go with a reload; their clients stay")
def listeners():
    port = harness.free_port()
    more = {"listener more": {"listen": "127.0.0.1:%d" % port, "auth": "scram-sha-256"}}
    with Host(pg) as host:
        reload(host, more)
        w = pgwire.Wire("127.0.0.1", port)
        w.login("app", "shop", "secret")
        reload(host, {})
        wait_for(lambda: not listens(port), what="the listener is gone")
        equal(w.query("SELECT 1"), [["1"]])
        w.close()


def listens(port):
    try:
        pgwire.Wire("127.0.0.1", port).close()
        return True
    except OSError:
        return False


@test("a node that moves gets the next transactions, running ones end where they are")
def node_moves():
    pg2 = Postgres()
    with Host(pg, {"database *": {"pool_size": 3}}) as host, host.wire() as a, host.wire() as b:
        a.query("BEGIN")
        b.query("SELECT 1")
        reload(host, {"node main": {"conninfo": "host=%s port=%d" % (pg2.host, pg2.port)}})
        equal(b.query("SHOW port"), [[str(pg2.port)]])
        equal(a.query("SHOW port"), [[str(pg.port)]])
        a.query("COMMIT")
        equal(a.query("SHOW port"), [[str(pg2.port)]])
        wait_for(lambda: pg.backends("usename = 'app'") == 0, what="the old servers are gone")
    pg2.stop()


def reload_under_load(mode):
    with Host(pg, {"database *": {"pool_size": 3, "pool_mode": mode}}) as host:
        clients = [Working(host, i, sets=mode == "auto") for i in range(6)]
        for n in range(200):
            host.configure({"database *": {"pool_size": 2 + n % 4, "pool_mode": mode}})
            done = host.control("reload")
            equal(done.returncode, 0, done.stderr)
        before = [c.count for c in clients]
        wait_for(lambda: all(c.failures or c.count > n for c, n in zip(clients, before)), what="all go on")
        for c in clients:
            c.end()
        equal([c.failures for c in clients], [[]] * 6)
        assert all(before), before


@test("200 reloads under load lose no statement: transaction")
def under_load_transaction():
    reload_under_load("transaction")


@test("200 reloads under load lose no statement: auto")
def under_load_auto():
    reload_under_load("auto")


@test("SIGTERM ends idle clients, lets transactions finish, and takes no new ones")
def drains():
    host = Host(pg, {"host": {"drain_timeout": "10s"}})
    idle, busy = host.wire(), host.wire()
    busy.query("BEGIN")
    host.signal(signal.SIGTERM)
    got = sides.collect(idle)
    equal((got[0].type, got[0].fields()["C"], got[-1].type), ("E", "57P01", "!"))
    wait_for(lambda: not listens(host.port), what="the listener is closed")
    equal(busy.query("SELECT 'goes on'"), [["goes on"]])
    busy.send(query("COMMIT"))
    assert kinds(sides.collect(busy)).startswith("CZ")
    equal(host.process.wait(60), 0)
    host.stop()


@test("drain_timeout ends what does not finish, a second SIGTERM at once")
def impatient():
    for second in (False, True):
        host = Host(pg, {"host": {"drain_timeout": "10m" if second else "700ms"}})
        w = host.wire()
        w.query("BEGIN")
        host.signal(signal.SIGTERM)
        host.wait_log("draining")  # two signals at once are one
        if second:
            assert host.alive()
            host.signal(signal.SIGTERM)
        equal(host.process.wait(60), 0)
        w.close()
        host.stop()
    wait_for(lambda: pg.backends("usename = 'app'") == 0, what="no server is left")


main()
