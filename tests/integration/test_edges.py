"""The pool's edges: minimum, reserve, limits that several pools share, connections that end by age, pools that go."""

# Runs under TSan too.

import contextlib
import threading
import time

import harness
import pgwire
import sides
from harness import Host, Postgres, equal, expect_error, main, test, wait_for
from pgwire import kinds, query

pg = Postgres()
BACKENDS = "usename IN ('app', 'other') AND datname = 'shop'"


@contextlib.contextmanager
def wires(host, count, user="app", secret="secret", database="shop"):
    clients = [host.wire(user, database, secret) for _ in range(count)]
    try:
        yield clients
    finally:
        for w in clients:
            w.close()


def backends(where=BACKENDS):
    return pg.backends(where)


def pool_host(pool_size=2, sections=None, **keys):
    changes = {"database *": {"pool_size": pool_size, **keys}, **(sections or {})}
    return Host(pg, changes)


def pool_row(host, user="app"):
    rows = [r for r in host.console("SHOW POOLS") if r["user"] == user]
    equal(len(rows), 1, rows)
    return rows[0]


def stat(host, column, user="app"):
    return sum(int(r[column]) for r in host.console("SHOW STATS") if r["user"] == user)


def metric(host, name):
    return sum(float(r["value"]) for r in host.console("SHOW METRICS " + name) if r["name"] == name)


# --- how many servers -------------------------------------------------------------------------------------------


@test("min_pool_size servers are kept while the user has clients, and idle out behind the last")
def minimum():
    with pool_host(6, min_pool_size=3, server_idle_timeout="300ms") as host:
        with host.wire():
            wait_for(lambda: backends() == 3, what="three servers are kept ready")
            time.sleep(1.0)
            equal(backends(), 3)
            equal(int(pool_row(host)["min_pool_size"]), 3)
        wait_for(lambda: backends() == 0, what="no server is kept for nobody")


@test("a minimum is made up after its servers were killed")
def minimum_again():
    with pool_host(4, min_pool_size=2) as host, host.wire() as w:
        wait_for(lambda: backends() == 2, what="two servers are kept ready")
        pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + BACKENDS)
        wait_for(lambda: backends() == 2, what="two servers are ready again")
        equal(w.query("SELECT 1"), [["1"]])


@test("the reserve is used by who waits longer than reserve_pool_timeout, and only then")
def reserve():
    keys = {"reserve_pool_size": 2, "reserve_pool_timeout": "500ms"}
    with pool_host(1, **keys) as host, wires(host, 5) as clients:
        clients[0].query("BEGIN")
        began = time.monotonic()
        clients[1].send(query("BEGIN"))
        equal(kinds(clients[1].recv_until("Z")), "CZ")
        waited = time.monotonic() - began
        assert waited >= 0.4, waited
        clients[2].send(query("BEGIN"))
        equal(kinds(clients[2].recv_until("Z")), "CZ")
        equal(backends(), 3)
        clients[3].send(query("SELECT 1"))
        clients[3].expect_quiet(1.0)
        equal(backends(), 3)
        clients[0].query("COMMIT")
        equal(kinds(clients[3].recv_until("Z")), "TDCZ")
        for w in clients[1:3]:
            w.query("COMMIT")
        wait_for(lambda: backends() == 1, what="the reserve is given up when nobody waits")
        assert stat(host, "reserve_connects") >= 2


@test("a server older than server_lifetime is replaced, idle or at work")
def lifetime():
    with pool_host(1, server_lifetime="400ms") as host, host.wire() as w:
        pid = w.query("SELECT pg_backend_pid()")
        wait_for(lambda: backends() == 0, what="an old idle server is closed")
        w.query("BEGIN")
        second = w.query("SELECT pg_backend_pid()")
        assert second != pid
        time.sleep(0.8)
        equal(w.query("SELECT pg_backend_pid()"), second, "not in a transaction")
        w.query("COMMIT")
        assert w.query("SELECT pg_backend_pid()") != second


@test("servers grow old while others wait for them, too")
def lifetime_busy():
    with pool_host(2, server_lifetime="500ms") as host:
        pids, stop = set(), time.monotonic() + 2.5

        def client():
            with host.wire() as w:
                while time.monotonic() < stop:
                    pids.add(w.query("SELECT pg_backend_pid(), pg_sleep(0.005)")[0][0])

        threads = [threading.Thread(target=client) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(pids) >= 4, pids


# --- limits that pools share ------------------------------------------------------------------------------------


def shared_limit(sections, where=BACKENDS, **keys):
    """Two users of one database under a common limit of two servers: an idle one makes room for who waits."""
    with pool_host(2, sections, **keys) as host:
        with wires(host, 2) as a, wires(host, 1, "other", "other-secret") as b:
            for w in a:
                w.query("BEGIN")
            equal(backends(where), 2)
            b[0].send(query("SELECT 1"))
            b[0].expect_quiet(0.5)
            equal(backends(where), 2)
            a[0].query("COMMIT")
            equal(kinds(b[0].recv_until("Z")), "TDCZ")
            wait_for(lambda: backends(where) == 2, what="the one that was closed has ended")
            a[1].query("COMMIT")
            # The other way round: b's idle server goes for a's.
            for w in a:
                w.query("BEGIN")
            wait_for(lambda: backends(where) == 2, what="the one that was closed has ended")
            equal(backends(where + " AND usename = 'other'"), 0)
            assert stat(host, "evicted", "other") >= 1
            for w in a:
                w.query("ROLLBACK")


@test("max_servers of a database holds over its users, and an idle server makes room")
def database_limit():
    shared_limit({}, max_servers=2)


@test("max_servers of a node holds over all its pools")
def node_limit():
    shared_limit({"node main": {"max_servers": 2}})


@test("max_servers of a user holds over databases")
def user_limit():
    pg.execute("CREATE DATABASE second OWNER app", "postgres")
    with pool_host(5, {"user app": {"max_servers": 1}}) as host:
        with host.wire() as a, host.wire(database="second") as b:
            a.query("BEGIN")
            b.send(query("SELECT 1"))
            b.expect_quiet(0.5)
            a.query("COMMIT")
            equal(kinds(b.recv_until("Z")), "TDCZ")
            equal(backends("usename = 'app'"), 1)
            equal(a.query("SELECT 2"), [["2"]])
            equal(backends("usename = 'app'"), 1)


@test("under a common limit a pool that has no server is not starved by one that is always busy")
def not_starved():
    with pool_host(6, max_servers=6, queue_timeout="20s") as host:
        done = threading.Event()

        def busy():
            with host.wire() as w:
                while not done.is_set():
                    w.query("SELECT pg_sleep(0.002)")

        threads = [threading.Thread(target=busy) for _ in range(12)]
        for t in threads:
            t.start()
        try:
            with wires(host, 1, "other", "other-secret") as (b,):
                for _ in range(3):
                    equal(b.query("SELECT 1"), [["1"]])
                    time.sleep(0.5)
            made = stat(host, "connects")
            assert made <= 6 + 3 * 4, "one place is made each time, not six: %d" % made
        finally:
            done.set()
            for t in threads:
                t.join()


# --- pools that go ----------------------------------------------------------------------------------------------


@test("pools that nobody uses are freed, their counts stay, and a new client gets a new one")
def freed():
    changes = {"user *": {"password": "secret"}, "database *": {"pool_size": 2, "server_idle_timeout": "200ms"}}
    with Host(pg, changes) as host:
        for n in range(6):
            pg.execute("CREATE DATABASE many_%d OWNER app" % n, "postgres")
            with host.wire(database="many_%d" % n) as w:
                w.query("SELECT 1")
        with host.wire(database="many_0") as stays:
            wait_for(lambda: len(host.console("SHOW POOLS")) == 1, what="five pools are freed")
            wait_for(lambda: metric(host, "howdah_forwarded_total") == 6, what="what they had counted is kept")
            equal(stays.query("SELECT 2"), [["2"]])
            for n in range(6):
                with host.wire(database="many_%d" % n) as w:
                    equal(w.query("SELECT 3"), [["3"]])


@test("pools come and go under load on two workers")
def freed_under_load():
    with pool_host(1, server_idle_timeout="100ms", server_lifetime="1s") as host:
        until = time.monotonic() + 14
        errors = []

        def client(i):
            with contextlib.ExitStack() as stack:
                try:
                    while time.monotonic() < until:
                        w = stack.enter_context(host.wire())
                        for n in range(3):
                            equal(w.query("SELECT %d" % n), [[str(n)]])
                        w.close()
                        if i == 0:
                            continue
                        time.sleep(6.0)
                except Exception as e:
                    errors.append(e)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not errors, errors


# --- memory -----------------------------------------------------------------------------------------------------


def prepare_until_refused(w, prefix, size, most):
    """Prepares different texts until the host says no; returns how many it took, and the error's fields."""
    for n in range(most):
        text = "SELECT %d, '%s'" % (n, prefix.ljust(size, "x"))
        got = w.exchange(pgwire.parse("%s%d" % (prefix, n), text), pgwire.sync())
        errors = [m.fields() for m in got if m.type == "E"]
        if errors:
            return n, errors[0]
    raise AssertionError("%d statements of %d bytes, and no refusal" % (most, size))


@test("one client's prepared statements are capped, and there is room again when some are closed")
def session_memory():
    with Host(pg, {"host": {"max_session_memory": "1M"}}) as host, host.wire() as w, host.wire() as other:
        count, error = prepare_until_refused(w, "p", 20000, 200)
        equal((error["S"], error["C"]), ("ERROR", "53200"))
        assert 40 <= count <= 60 and "max_session_memory" in error["H"], (count, error)
        got = w.exchange(pgwire.bind("", "p0"), pgwire.execute(), pgwire.sync())
        equal(kinds(got)[-2:], "CZ", "what it has still works")
        for n in range(10):
            w.exchange(pgwire.close("S", "p%d" % n), pgwire.sync())
        equal(kinds(w.exchange(pgwire.parse("again", "SELECT '%s'" % ("y" * 20000)), pgwire.sync())), "1Z")
        prepare_until_refused(w, "q", 20000, 200)
        equal(w.query("DEALLOCATE ALL"), [])
        equal(kinds(w.exchange(pgwire.parse("p5", "SELECT 5"), pgwire.sync())), "1Z")
        equal(kinds(other.exchange(pgwire.parse("p5", "SELECT '%s'" % ("z" * 20000)), pgwire.sync())), "1Z")


@test("max_memory: logins and new statements are refused in clear words, what runs goes on, and it ends")
def host_memory():
    with Host(pg, {"host": {"max_memory": "1G"}}) as host, host.wire() as w, host.wire() as other:
        time.sleep(1.2)
        base = int(metric(host, "howdah_memory_bytes"))
        host.configure({"host": {"max_memory": str(base + 6 * 1024 * 1024), "max_templates": 10000}})
        equal(host.control("reload").returncode, 0)
        count, error = prepare_until_refused(w, "m", 50000, 1000)
        equal((error["S"], error["C"]), ("ERROR", "53200"))
        assert "max_memory" in error["H"], error
        host.wait_log("max_memory is reached")
        with expect_error("53200", "max_memory"):
            host.wire()
        equal(other.query("SELECT 1"), [["1"]])
        equal(kinds(w.exchange(pgwire.bind("", "m0"), pgwire.execute(), pgwire.sync()))[-2:], "CZ")
        w.close()

        def lets_in():  # near the limit it may have been below more than once
            with contextlib.suppress(pgwire.WireError):
                return host.wire()

        with wait_for(lets_in, what="logins are taken again") as again:
            equal(again.query("SELECT 1"), [["1"]])


main()
