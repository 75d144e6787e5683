"""
Sessions and pools where they went wrong once: each test is the shortest conversation that shows a defect.
"""

# Runs under TSan too.

import contextlib
import signal
import threading
import time

import psycopg

import pgwire
from harness import Host, Postgres, SplitProxy, equal, main, test, wait_for
from pgwire import bind, close, copy_data, copy_done, describe, execute, flush, function_call, kinds, parse, query
from pgwire import sync, terminate

pg = Postgres()
ONE = {"database *": {"pool_size": 1}, "host": {"workers": 1}}


def errors(messages):
    return [m.fields()["C"] for m in messages if m.type == "E"]


def value(messages):
    """The first column of the first row."""
    return next(m.row()[0] for m in messages if m.type == "D").decode()


# --- messages that do not look as usual -------------------------------------------------------------------------


@test("a Bind with a portal name that is longer than most messages")
def _():
    with Host(pg, ONE) as host, host.wire() as w:
        equal(kinds(w.exchange(parse("s", "SELECT 1"), sync())), "1Z")
        for length in (63, 64, 100, 9000):
            got = w.exchange(bind("p" * length, "s"), execute("p" * length), sync())
            equal(kinds(got), "2DCZ", length)


@test("a Parse that may be held but is longer than what is held")
def _():
    sections = {"host": {"workers": 1, "max_statement_length": "1K"}}
    with Host(pg, {**sections, "plugin verdicts": verdicts()}) as host, host.wire() as w:
        text = "SELECT 1 /* verdict: route main */ /*" + "x" * 5000 + "*/"
        got = w.exchange(parse("", text), bind(), execute(), sync())
        equal(kinds(got), "12DCZ")


def verdicts():
    import os

    from harness import BUILDDIR

    return {"library": os.path.abspath(os.path.join(BUILDDIR, "tests/integration/plugins/.libs/verdicts.so"))}


# --- the console ------------------------------------------------------------------------------------------------


@test("the console refuses a FunctionCall")
def _():
    with Host(pg, ONE) as host, host.wire("howdah", "howdah", "howdah-secret") as w:
        got = w.exchange(function_call(1, ["x"]))
        equal((kinds(got), errors(got)), ("EZ", ["0A000"]))
        equal(kinds(w.exchange(query("SHOW VERSION")))[-1], "Z")


@test("a cancel of a console command leaves the session usable")
def _():
    with Host(pg, ONE) as host, host.wire("howdah", "howdah", "howdah-secret") as w:
        for _ in range(20):
            w.send(query("SHOW POOLS"))
            with pgwire.Wire("127.0.0.1", host.port) as c:
                c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
                with contextlib.suppress(pgwire.WireClosed, ConnectionError):
                    c.recv()
            w.recv_until("Z")
            equal(kinds(w.exchange(query("SHOW POOLS")))[-1], "Z")


# --- waiting ----------------------------------------------------------------------------------------------------


def held_server(host):
    """A session that keeps the pool's only server."""
    w = host.wire()
    w.exchange(query("BEGIN"))
    return w


@test("one server over two workers: everybody gets a turn")
def _():
    with Host(pg, {"database *": {"pool_size": 1, "queue_timeout": "8s"}, "host": {"workers": 2}}) as host:
        done = []
        clients = [host.wire() for _ in range(12)]

        def work(w):
            for _ in range(40):
                got = w.exchange(query("SELECT 1"))
                equal(kinds(got), "TDCZ")
            done.append(1)

        threads = [threading.Thread(target=work, args=(w,)) for w in clients]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        equal(len(done), len(clients))
        equal(pg.backends("usename = 'app'"), 1)


@test("a Sync that waited for a server and was cancelled is answered")
def _():
    with Host(pg, {**ONE, "plugin verdicts": verdicts()}) as host:
        other = held_server(host)
        with host.wire() as w:
            w.send(parse("", "SELECT 1 /* verdict: answer x */"), bind(), sync())
            wait_for(lambda: host.console("SHOW POOLS")[0]["waiting"] == 1, what="it waits")
            with pgwire.Wire("127.0.0.1", host.port) as c:
                c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
            got = w.recv_until("Z")
            equal((kinds(got), errors(got)), ("EZ", ["57014"]))
        other.close()


# --- settings ---------------------------------------------------------------------------------------------------


@test("settings of one client's startup packet do not come to another's")
def _():
    with Host(pg, ONE) as host:
        with host.wire(options="-c statement_timeout=5s") as a:
            equal(value(a.exchange(query("SHOW statement_timeout"))), "5s")
            with host.wire(options="-c lock_timeout=1s") as b:
                equal(value(b.exchange(query("SHOW lock_timeout"))), "1s")
                equal(value(b.exchange(query("SHOW statement_timeout"))), "0")
                equal(value(a.exchange(query("SHOW statement_timeout"))), "5s")
                equal(value(b.exchange(query("SHOW statement_timeout"))), "0")


@test("settings of the startup packet outlive DISCARD ALL")
def _():
    with Host(pg, ONE) as host, host.wire(options="-c statement_timeout=5s") as a:
        equal(value(a.exchange(query("SHOW statement_timeout"))), "5s")
        equal(kinds(a.exchange(query("DISCARD ALL")))[-1], "Z")
        equal(value(a.exchange(query("SHOW statement_timeout"))), "5s")


@test("the unnamed statement lives on when another client's settings came in between")
def _():
    with Host(pg, ONE) as host, host.wire(application_name="a") as a, host.wire(application_name="b") as b:
        b.exchange(parse("n", "SHOW application_name"), sync())
        equal(kinds(a.exchange(parse("", "SELECT 42"), sync())), "1Z")
        equal(value(b.exchange(bind("", "n"), execute(), sync())), "b")
        got = a.exchange(bind(), execute(), sync())
        equal((kinds(got), errors(got)), ("2DCZ", []))
        equal(kinds(a.exchange(parse("", "SELECT 43"), sync())), "1Z")
        b.exchange(parse("", "SELECT 44"), sync())
        equal(value(a.exchange(bind(), execute(), sync())), "43")


@test("a reload that changes the node while a login asks a server for its settings")
def _():
    proxy = SplitProxy(pg.port, size=65536)
    with Host(pg, ONE, server_port=proxy.port) as host:
        host.wire().exchange(query("SELECT 1"))
        proxy.stall("down")
        got = []
        login = threading.Thread(target=lambda: got.append(host.wire(options="-c lock_timeout=7s")))
        login.start()
        time.sleep(0.3)
        host.base["node main"]["conninfo"] += " connect_timeout=9"
        host.configure(ONE)
        host.signal(signal.SIGHUP)
        host.wait_log("configuration reloaded")
        time.sleep(0.3)
        proxy.resume("down")
        login.join(60)
        equal(value(got[0].exchange(query("SHOW lock_timeout"))), "7s")
        got[0].close()
    proxy.close()


# --- prepared statements in pipelines ---------------------------------------------------------------------------


@test("eviction in the middle of a pipeline in which something fails")
def _():
    sections = {**ONE, "database *": {"pool_size": 1, "max_prepared_statements": 2}}
    with Host(pg, sections) as host, host.wire() as w:
        for name in "abc":
            equal(kinds(w.exchange(parse(name, "SELECT '%s'" % name), sync())), "1Z")

        def one(name):
            return bind("", name) + execute() + sync()

        fail = parse("", "SELECT 1/0") + bind() + execute()
        got = w.exchange(one("a") + one("b") + fail + bind("", "c") + execute() + sync() + one("b") + one("a")
                         + one("c") + one("b"), ready=7)
        equal(errors(got), ["22012"])
        equal([m.row()[0] for m in got if m.type == "D"], [b"a", b"b", b"b", b"a", b"c", b"b"])


@test("a statement whose result type changed can be prepared anew")
def _():
    pg.execute("DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int); INSERT INTO changing VALUES (1);"
               "GRANT ALL ON changing TO app")
    with Host(pg, ONE) as host, host.wire() as w:
        w.exchange(parse("s", "SELECT * FROM changing"), sync())
        equal(value(w.exchange(bind("", "s"), execute(), sync())), "1")
        pg.execute("ALTER TABLE changing ADD b int")
        equal(errors(w.exchange(bind("", "s"), execute(), sync())), ["0A000"])
        got = w.exchange(close("S", "s"), parse("s", "SELECT * FROM changing"), bind("", "s"), execute(), sync())
        equal((errors(got), kinds(got)), ([], "312DCZ"))


@test("what a function deallocated is prepared again")
def _():
    with Host(pg, ONE) as host, host.wire() as w, host.wire() as other:
        w.exchange(parse("s", "SELECT 7"), sync())
        other.exchange(query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"))
        w.exchange(bind("", "s"), execute(), sync())
        equal(value(w.exchange(bind("", "s"), execute(), sync())), "7")


@test("DEALLOCATE ALL and a Parse behind it in one pipeline")
def _():
    with Host(pg, ONE) as host, host.wire() as w:
        w.exchange(parse("s", "SELECT 7"), sync())
        got = w.exchange(query("DEALLOCATE ALL") + parse("s", "SELECT 7") + bind("", "s") + execute() + sync(), ready=2)
        equal((errors(got), kinds(got)), ([], "CZ12DCZ"))


# --- pipelines and the end --------------------------------------------------------------------------------------


@test("COPY IN sent in one go, with a Sync before and behind the data")
def _():
    pg.execute("DROP TABLE IF EXISTS copied; CREATE TABLE copied (a int); GRANT ALL ON copied TO app")
    with Host(pg, ONE) as host, host.wire() as w, host.wire() as other:
        batch = parse("", "COPY copied FROM STDIN") + bind() + execute()
        got = w.exchange(batch + sync() + copy_data("1\n") + copy_done() + sync())
        equal(kinds(got), "12GCZ")
        equal(value(other.exchange(query("SELECT count(*) FROM copied"))), "1")
        equal(value(w.exchange(query("SELECT count(*) FROM copied"))), "1")


@test("a Terminate behind a pipeline does not take it back")
def _():
    pg.execute("DROP TABLE IF EXISTS fired; CREATE TABLE fired (a int); GRANT ALL ON fired TO app")
    with Host(pg, ONE) as host:
        for i in range(5):
            w = host.wire()
            w.send(query("SELECT pg_sleep(0.1); INSERT INTO fired VALUES (%d)" % i) + terminate())
            with contextlib.suppress(ConnectionError):
                while w.sock.recv(65536):
                    pass
        with host.wire() as w:
            equal(value(w.exchange(query("SELECT count(*) FROM fired"))), "5")
        equal(pg.backends("usename = 'app'"), 1)


@test("a flood of Parses is slowed down, not gathered")
def _():
    with Host(pg, ONE) as host, host.wire() as w:
        n = 20000
        text = "SELECT '" + "x" * 500 + "%d'"
        sender = threading.Thread(
            target=lambda: w.send(*(parse("", text % i) for i in range(n)), sync()), daemon=True
        )
        sender.start()
        got = w.recv_until("Z")
        sender.join(60)
        equal(len(got), n + 1)


@test("a server that says why it ends is heard, though data was on its way to it")
def _():
    with Host(pg, ONE) as host:
        for _ in range(5):
            with host.wire() as w:
                w.exchange(query("BEGIN"))
                pid = value(w.exchange(query("SELECT pg_backend_pid()")))
                w.send(query("SELECT pg_sleep(5)"), *([query("SELECT '" + "x" * 100000 + "'")] * 20))
                time.sleep(0.1)
                pg.execute("SELECT pg_terminate_backend(%s)" % pid)
                got = []
                with contextlib.suppress(pgwire.WireClosed, ConnectionError):
                    while True:
                        got.append(w.recv())
                equal(errors(got), ["57P01"])


@test("a session that keeps its server but does nothing with it does not hold up the end")
def _():
    sections = {"database *": {"pool_mode": "session"}, "host": {"drain_timeout": "30s"}}
    with Host(pg, sections) as host, host.wire() as idle, host.wire() as busy:
        idle.exchange(query("SELECT 1"))
        busy.exchange(query("SELECT 1"))
        busy.exchange(query("BEGIN"))
        host.signal(signal.SIGTERM)
        equal(errors([idle.recv()]), ["57P01"])
        equal(value(busy.exchange(query("SELECT 2"))), "2")
        equal(kinds(busy.exchange(query("COMMIT"))), "CZ")
        equal(errors([busy.recv()]), ["57P01"])
        wait_for(lambda: not host.alive(), what="it has ended")


if __name__ == "__main__":
    main()
