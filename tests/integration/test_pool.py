"""Pools: how many servers there are, who gets one next, and what a session leaves on the one it had."""

# Runs under TSan too.

import contextlib
import os
import threading
import time

import harness
import pgwire
import sides
from harness import Host, Postgres, equal, expect_error, main, test, wait_for
from pgwire import kinds, query, run

pg = Postgres()
pg.execute("GRANT CREATE ON SCHEMA public TO app, other")
pg.execute("CREATE TABLE item (id serial PRIMARY KEY, name text)")
pg.execute("GRANT ALL ON item, item_id_seq TO app, other")

BACKENDS = "usename IN ('app', 'other') AND datname = 'shop'"


def hosts_pools(changes=None, **keys):
    return Host(pg, sides.pool_modes(pg, changes, **keys))


@contextlib.contextmanager
def wires(host, count, database="shop", user="app", secret="secret"):
    clients = []
    try:
        for _ in range(count):
            clients.append(host.wire(user, database, secret))
        yield clients
    finally:
        for w in clients:
            w.close()


def in_threads(count, function):
    """Runs function(i) in threads; fails when one of them does. Returns what they returned."""
    results, errors = [None] * count, []

    def body(i):
        try:
            results[i] = function(i)
        except Exception as e:
            errors.append("%d: %r" % (i, e))

    threads = [threading.Thread(target=body, args=(i,), daemon=True) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads), "threads hang"
    assert not errors, errors[:5]
    return results


class Census(threading.Thread):
    """Counts the server's backends again and again, and keeps the highest count."""

    def __init__(self, where=BACKENDS):
        super().__init__(daemon=True)
        self.where = where
        self.most = 0
        self.done = threading.Event()

    def run(self):
        with pg.connect("postgres") as c:
            while not self.done.is_set():
                count = c.execute("SELECT count(*) FROM pg_stat_activity WHERE " + self.where).fetchone()[0]
                self.most = max(self.most, count)
                time.sleep(0.003)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join(60)


# --- limits -----------------------------------------------------------------------------------------------------


@test("no more servers than pool_size, over two workers")
def limit():
    with hosts_pools(pool_size=3) as host, Census() as census:

        def client(i):
            with host.wire("app", "shop_transaction") as w:
                for n in range(12):
                    if n % 3 == 0:
                        w.query("BEGIN")
                        w.query("SELECT pg_sleep(0.002)")
                        w.query("COMMIT")
                    else:
                        equal(w.query("SELECT pg_sleep(0.002), %d" % i), [["", str(i)]])

        in_threads(24, client)
    equal(census.most, 3)


@test("the limit is each user's and each database's own")
def limit_apart():
    with hosts_pools(pool_size=2) as host:
        with wires(host, 2) as a, wires(host, 2, user="other", secret="other-secret") as b:
            with wires(host, 2, "shop_transaction") as c:
                for w in a + b + c:
                    w.query("BEGIN")
                equal(len({w.query("SELECT pg_backend_pid()")[0][0] for w in a + b + c}), 6)


@test("pools that share one server by max_servers each get their turns, however long connecting takes")
def turns_of_slow_connections():
    sections = {
        "host": {"workers": 1},
        # PostgreSQL waits that long at the start of each connection.
        "node main": {"max_servers": 1, "conninfo": "host=%s port=%d options='-c post_auth_delay=1'" % (pg.host, pg.port)},
    }
    with hosts_pools(sections, queue_timeout="60s") as host:
        with wires(host, 2) as a, wires(host, 2, user="other", secret="other-secret") as b:

            def ask(n):
                for turn in range(7):
                    equal((a + b)[n].query("SELECT %d" % turn), [[str(turn)]])

            in_threads(4, ask)


@test("a user's pool_size goes before the database's")
def limit_of_user():
    changes = {"user app": {"pool_size": 1}, "database *": {"pool_size": 5, "queue_timeout": "200ms"}}
    with Host(pg, changes) as host, wires(host, 2) as (a, b):
        a.query("BEGIN")
        b.send(query("SELECT 1"))
        equal(sides.collect(b)[0].type, "E")


@test("idle clients hold no server")
def idle_clients():
    with hosts_pools(pool_size=2) as host, wires(host, 60, "shop_auto") as clients:
        for w in clients:
            w.query("SELECT 1")
        assert pg.backends(BACKENDS) <= 2, pg.backends(BACKENDS)


@test("servers are made as they are needed, and reused")
def reuse():
    with hosts_pools(pool_size=10) as host, wires(host, 5, "shop_transaction") as clients:
        pids = {w.query("SELECT pg_backend_pid()")[0][0] for w in clients * 3}
        workers = int(host.config["host"]["workers"])
        assert len(pids) <= workers, "one after the other, %d servers were used" % len(pids)


@test("a server that idles on one worker serves the other's clients too")
def idle_elsewhere():
    with hosts_pools(pool_size=1) as host, wires(host, 12, "shop_transaction") as clients:
        pids = set()
        for w in clients * 4:
            pids.add(w.query("SELECT pg_backend_pid()")[0][0])
        assert len(pids) <= 3, pids


@test("first come, first served within a worker")
def in_order():
    with hosts_pools({"host": {"workers": 1}}, pool_size=1) as host, wires(host, 6, "shop_transaction") as clients:
        first, *others = clients
        first.query("BEGIN")
        for i, w in enumerate(others):
            w.send(query("INSERT INTO item (name) VALUES ('%d') RETURNING id" % i))
            wait_for(lambda: sum(r["waiting"] for r in host.console("SHOW POOLS")) == i + 1, what="it is in the queue")
        first.query("COMMIT")
        ids = [int(next(m for m in w.recv_until("Z") if m.type == "D").row()[0]) for w in others]
        equal(ids, sorted(ids), "served out of order")


@test("nobody starves where many want one server, over two workers")
def fairness():
    with hosts_pools(pool_size=1, queue_timeout="20s") as host:
        until = time.monotonic() + 2.0

        def client(_):
            count = 0
            with host.wire("app", "shop_transaction") as w:
                while time.monotonic() < until:
                    w.query("SELECT pg_sleep(0.001)")
                    count += 1
            return count

        counts = in_threads(12, client)
        assert min(counts) >= max(counts) / 8, counts


@test("who waits longer than queue_timeout gets an error, and can try again")
def queue_timeout():
    with hosts_pools(pool_size=1, queue_timeout="1s") as host, wires(host, 2, "shop_transaction") as (a, b):
        a.query("BEGIN")
        for statement in (query("SELECT 1"), run("SELECT 1")):
            began = time.monotonic()
            b.send(statement)
            got = sides.collect(b)
            took = time.monotonic() - began
            equal(got[0].type, "E", got)
            assert took > 0.9, took
            fields = got[0].fields()
            equal(fields["C"], "53300")
            assert "queue_timeout" in fields["M"], fields
            b = host.wire("app", "shop_transaction")
        a.query("COMMIT")
        equal(b.query("SELECT 2"), [["2"]])
        b.close()


# --- clients' limits --------------------------------------------------------------------------------------------


def refused(host, sqlstate, database="shop", user="app", secret="secret"):
    with expect_error(sqlstate):
        host.wire(user, database, secret).close()


@test("max_clients of the host, of a database and of a user")
def max_clients():
    for changes in (
        {"host": {"max_clients": 3}},
        {"database *": {"max_clients": 3}},
        {"user app": {"max_clients": 3}},
    ):
        with Host(pg, changes) as host:
            with wires(host, 3) as clients:
                refused(host, "53300")
                if "user app" in changes:
                    with host.wire("other", "shop", "other-secret") as w:
                        w.query("SELECT 1")
                for w in clients:
                    equal(w.query("SELECT 1"), [["1"]])
                clients[0].send(pgwire.terminate())
                clients[0].expect_closed()
                wait_for(lambda: lets_in(host), what="the place that came free is given again")


def lets_in(host):
    try:
        host.wire().close()
    except pgwire.WireError:
        return False
    return True


@test("only the networks that a listener allows may connect")
def networks():
    socket_path = os.path.join(harness.temp_dir(), ".s.PGSQL.6432")
    changes = {
        "listener main": {"allow": "10.0.0.0/8, ::1/128, 127.0.0.1/32"},
        "listener closed": {
            "listen": "127.0.0.1:%d" % (closed := harness.free_port()),
            "auth": "scram-sha-256",
            "allow": "10.0.0.0/8",
        },
        "listener local": {"listen": "unix:" + socket_path, "auth": "scram-sha-256", "allow": "10.0.0.0/8"},
    }
    with Host(pg, changes) as host:
        with host.wire() as w:
            equal(w.query("SELECT 1"), [["1"]])
        with pgwire.Wire("127.0.0.1", closed) as w:
            w.send(pgwire.startup("app", "shop"))
            got = sides.collect(w)
            assert got[-1].type == "!" and "R" not in kinds(got), got
        with pgwire.Wire(os.path.dirname(socket_path), 6432) as w:
            w.login("app", "shop", "secret")
            equal(w.query("SELECT 2"), [["2"]])


# --- who may log in ---------------------------------------------------------------------------------------------


@test("a user known by a verifier alone, through a node with a user of its own")
def verifier():
    stored = pg.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")[0][0]
    changes = {
        "user app": {"password": None, "verifier": stored},
        "node main": {"conninfo": "host=%s port=%d user=trusted" % (pg.host, pg.port)},
    }
    with Host(pg, changes) as host:
        with host.wire() as w:
            equal(w.query("SELECT current_user"), [["trusted"]])
        refused(host, "28P01", secret="wrong")


@test("[user *] with trust lets any name through")
def trust():
    changes = {"listener main": {"auth": "trust"}, "user *": {}}
    with Host(pg, changes) as host:
        for user in ("trusted", "postgres"):
            with host.wire(user, "shop", None) as w:
                equal(w.query("SELECT current_user"), [[user]])
        with host.wire("app", "shop", None) as w:
            equal(w.query("SELECT current_user"), [["app"]])
        refused(host, "28P01", user="not_there", secret=None)


@test("a password that the server does not take is told as the server tells it")
def server_password():
    with Host(pg, {"user app": {"password": "not the server's"}, "database *": {"queue_timeout": "2s"}}) as host:
        refused(host, "28P01", secret="not the server's")


# --- what a session leaves behind -------------------------------------------------------------------------------


@test("in transaction mode a transaction is one server's, and statements share it")
def transaction_mode():
    with hosts_pools(pool_size=1, queue_timeout="3s") as host, wires(host, 2, "shop_transaction") as (a, b):
        pid = a.query("SELECT pg_backend_pid()")
        equal(b.query("SELECT pg_backend_pid()"), pid)
        a.query("BEGIN")
        a.query("INSERT INTO item (name) VALUES ('in a transaction')")
        b.send(query("SELECT count(*) FROM item WHERE name = 'in a transaction'"))
        b.expect_quiet()
        a.query("ROLLBACK")
        equal([m.row() for m in b.recv_until("Z") if m.type == "D"], [[b"0"]])
        # The same without BEGIN: until its Sync, a pipeline keeps the server.
        a.send(run("SELECT 1")[:-5], pgwire.flush())
        a.recv_until("C")
        b.send(query("SELECT 'waits'"))
        b.expect_quiet()
        a.exchange(pgwire.sync())
        equal(kinds(b.recv_until("Z")), "TDCZ")


@test("in session mode a session keeps its server, and the next finds it clean")
def session_mode():
    with hosts_pools(pool_size=1, queue_timeout="5s") as host:
        with host.wire("app", "shop_session") as a:
            pid = a.query("SELECT pg_backend_pid()")
            litter(a)
            equal(a.query("SELECT pg_backend_pid()"), pid)
            with host.wire("app", "shop_session") as b:
                b.send(query("SELECT pg_backend_pid()"))
                b.expect_quiet()
                a.send(pgwire.terminate())
                a.expect_closed()
                equal(kinds(b.recv_until("Z")), "TDCZ")
                clean(b)


def litter(w):
    """Everything that lives as long as a session."""
    for sql in (
        "CREATE TEMP TABLE litter (a int)",
        "SELECT pg_advisory_lock(4711)",
        "LISTEN litter",
        "PREPARE litter AS SELECT 1",
        "SET work_mem = '77MB'",
        "SET search_path = pg_catalog",
        "SET default_transaction_read_only = on",
        "SET application_name = 'litter'",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET my.litter = 'x'",
    ):
        w.query(sql)
    w.exchange(pgwire.parse("litter2", "SELECT 2"), pgwire.sync())
    w.query("DECLARE litter CURSOR WITH HOLD FOR SELECT 1")


def clean(w):
    equal(w.query("SELECT to_regclass('pg_temp.litter')"), [[None]])
    equal(w.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"), [["0"]])
    equal(w.query("SELECT * FROM pg_listening_channels()"), [])
    equal(w.query("SELECT count(*) FROM pg_prepared_statements WHERE name IN ('litter', 'litter2')"), [["0"]])
    equal(w.query("SELECT count(*) FROM pg_cursors"), [["0"]])
    equal(w.query("SHOW work_mem"), [["4MB"]])
    equal(w.query("SHOW search_path"), [['"$user", public']])
    equal(w.query("SHOW default_transaction_read_only"), [["off"]])
    equal(w.query("SHOW application_name"), [[""]])
    assert w.query("SHOW TimeZone") != [["Asia/Tokyo"]]
    assert w.query("SELECT current_setting('my.litter', true)") in ([[None]], [[""]])


@test("in auto mode everything of a session stays with it and reaches nobody else")
def auto_mode():
    with hosts_pools(pool_size=3, queue_timeout="5s") as host, wires(host, 4, "shop_auto") as (a, b, c, d):
        litter(a)
        for _ in range(3):
            for w in (b, c, d):
                clean(w)
        equal(a.query("SELECT count(*) FROM litter"), [["0"]])
        equal(a.query("SHOW work_mem"), [["77MB"]])
        equal(a.query("FETCH litter"), [["1"]])
        equal(a.query("EXECUTE litter"), [["1"]])
        equal(a.query("SELECT pg_advisory_unlock(4711)"), [["t"]])
        a.send(pgwire.terminate())
        a.expect_closed()
        for _ in range(3):
            for w in (b, c, d):
                clean(w)


AUTO_STATE = {
    "a temporary table": ("CREATE TEMP TABLE mine (a int)", "SELECT count(*) FROM mine", "0"),
    "SELECT INTO TEMP": ("SELECT 1 AS a INTO TEMP mine", "SELECT a FROM mine", "1"),
    "CREATE TEMP SEQUENCE": ("CREATE TEMP SEQUENCE mine", "SELECT nextval('mine')", "1"),
    "a temporary view": ("CREATE TEMP VIEW mine AS SELECT 5 AS a", "SELECT a FROM mine", "5"),
    "pg_temp by name": ("CREATE TABLE pg_temp.mine (a int)", "SELECT count(*) FROM pg_temp.mine", "0"),
    "SET": ("SET work_mem = '3MB'", "SHOW work_mem", "3MB"),
    "set_config": ("SELECT set_config('work_mem', '3MB', false)", "SHOW work_mem", "3MB"),
    "set_config, a row at a time": (
        "SELECT set_config('work_mem', v, false) FROM (VALUES ('3MB')) t (v)",
        "SHOW work_mem",
        "3MB",
    ),
    "SET in a DO block": ("DO $$ BEGIN SET work_mem = '3MB'; END $$", "SHOW work_mem", "3MB"),
    "SET within a transaction": ("BEGIN; SET work_mem = '3MB'; COMMIT", "SHOW work_mem", "3MB"),
    "SET ROLE": ("SET ROLE app", "SHOW role", "app"),
    "SET SESSION CHARACTERISTICS": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW transaction_read_only",
        "on",
    ),
    "an update of pg_settings": (
        "UPDATE pg_settings SET setting = '3072' WHERE name = 'work_mem'",
        "SHOW work_mem",
        "3MB",
    ),
    "LISTEN": ("LISTEN mine", "SELECT * FROM pg_listening_channels()", "mine"),
    "an advisory lock": (
        "SELECT pg_advisory_lock(12)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "1",
    ),
    "an advisory lock that is tried": (
        "SELECT pg_try_advisory_lock(1, 2)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "1",
    ),
    "PREPARE": ("PREPARE mine AS SELECT 4", "EXECUTE mine", "4"),
    "a cursor WITH HOLD": ("DECLARE mine CURSOR WITH HOLD FOR SELECT 6", "FETCH mine", "6"),
    "lastval": ("SELECT nextval('item_id_seq') IS NOT NULL", "SELECT lastval() = currval('item_id_seq')", "t"),
    "a setting in an EXPLAIN ANALYZE": (
        "EXPLAIN ANALYZE SELECT set_config('work_mem', '3MB', false)",
        "SHOW work_mem",
        "3MB",
    ),
    "a setting in a function": ("SELECT sets_work_mem()", "SHOW work_mem", "3MB"),
    "a setting by CALL": ("CALL calls_work_mem()", "SHOW work_mem", "3MB"),
}

pg.execute(
    "CREATE FUNCTION sets_work_mem() RETURNS int LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM set_config('work_mem', '3MB', false); RETURN 1; END $$"
)
pg.execute(
    "CREATE PROCEDURE calls_work_mem() LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '3MB'; END $$"
)


@test("in auto mode each kind of session state is seen and pinned")
def auto_kinds():
    problems = []
    with hosts_pools(pool_size=3, queue_timeout="3s") as host:
        with wires(host, 1, "shop_auto") as (first,):
            first.exchange(query("SELECT lastval()"))  # from now on the host knows that the database asks
        for protocol in ("simple", "extended"):
            for name, (make, ask, expected) in AUTO_STATE.items():
                if protocol == "extended" and ";" in make.replace("3MB'; END", ""):
                    continue
                with wires(host, 2, "shop_auto") as (a, b):
                    # Others use the same pool in between, so that a session that is not pinned loses its server.
                    with wires(host, 2, "shop_auto") as others:
                        for w in (b, *others):
                            w.query("BEGIN")
                        for w in (b, *others):
                            w.query("COMMIT")
                        made = a.exchange(query(make) if protocol == "simple" else run(make))
                        if "E" in kinds(made):
                            problems.append("%s, %s: %r" % (name, protocol, made))
                            continue
                        got = []
                        for _ in range(3):
                            b.send(query("SELECT pg_sleep(0.01)"))
                            others[0].send(query("SELECT pg_sleep(0.01)"))
                            try:
                                got.append(a.query(ask))
                            except pgwire.WireError as e:
                                got.append(str(e))
                            b.recv_until("Z")
                            others[0].recv_until("Z")
                            if "FETCH" in ask or "nextval" in ask:
                                break
                        if any(g != [[expected]] for g in got):
                            problems.append("%s, %s: %r" % (name, protocol, got))
                        # Gone with its session, as far as the next can see.
                        a.send(pgwire.terminate())
                        a.expect_closed()
                        if "lastval" in name:
                            continue
                        for w in (b, *others):
                            w.query("BEGIN")
                        for w in (b, *others):
                            try:
                                left = w.query(ask)
                            except pgwire.WireError:
                                left = None
                            if left == [[expected]] and "ROLE" not in make:
                                problems.append("%s, %s: left to the next" % (name, protocol))
    assert not problems, "\n".join(problems)


@test("in auto mode plain statements and transactions pin nothing")
def auto_plain():
    with hosts_pools(pool_size=1, queue_timeout="3s") as host, wires(host, 3, "shop_auto") as clients:
        for w in clients * 2:
            w.query("SELECT 1")
            w.query("BEGIN; SELECT 2; COMMIT")
            w.query("BEGIN")
            w.query("SET LOCAL work_mem = '3MB'")
            w.query("COMMIT")
            w.exchange(run("SELECT $1::int", ["3"]))
            w.exchange(pgwire.parse("", "SELECT 4"), pgwire.sync())
            w.query("SET application_name = 'plain'")
            w.query("SELECT now(), count(*) FROM item")
            w.query("SELECT pg_advisory_xact_lock(3)")
            w.query("INSERT INTO item (id, name) VALUES (-1, 'x') ON CONFLICT (id) DO NOTHING")
            w.query("DELETE FROM item WHERE id = -1")


@test("settings that the server reports follow their session and reach no other")
def reported():
    with hosts_pools(pool_size=1) as host, wires(host, 3, "shop_transaction") as (a, b, c):
        a.query("SET TimeZone = 'Asia/Tokyo'")
        a.query("SET DateStyle = 'German'")
        a.query("SET application_name = 'a'")
        b.query("SET TimeZone = 'America/New_York'")
        b.exchange(run("SET application_name = 'b'"))
        for _ in range(3):
            equal(a.query("SELECT DATE '2001-02-03', current_setting('application_name')"), [["03.02.2001", "a"]])
            equal(b.query("SELECT DATE '2001-02-03', current_setting('application_name')"), [["2001-02-03", "b"]])
            equal(c.query("SELECT current_setting('application_name')"), [[""]])
            equal(a.query("SHOW TimeZone"), [["Asia/Tokyo"]])
            equal(b.query("SHOW TimeZone"), [["America/New_York"]])
        equal(a.parameters["TimeZone"], "Asia/Tokyo")
        equal(b.parameters["TimeZone"], "America/New_York")
        assert c.parameters["TimeZone"] not in ("Asia/Tokyo", "America/New_York")
        # A client hears of its own changes alone.
        for w in (a, b, c):
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")


@test("a setting that stands already costs no statement")
def no_needless_set():
    pg.execute("ALTER SYSTEM SET log_statement = 'all'")
    pg.execute("SELECT pg_reload_conf()")
    try:
        with hosts_pools(pool_size=1) as host, wires(host, 2, "shop_transaction") as (a, b):
            for w in (a, b):
                w.query("SET application_name = 'same'")
            wait_for(lambda: pg.execute("SHOW log_statement") == [("all",)], what="statements are logged")
            a.query("SELECT 'mark 1'")
            before = pg.log_text()
            for _ in range(20):
                a.query("SELECT 'plain'")
                b.query("SELECT 'plain'")
            logged = pg.log_text()[len(before) :]
            equal(logged.count("SELECT 'plain'"), 40)
            assert "application_name" not in logged.replace("pg_stat", ""), logged[:2000]
    finally:
        pg.execute("ALTER SYSTEM RESET log_statement")
        pg.execute("SELECT pg_reload_conf()")


@test("NOTIFY reaches the session that listens, while it is idle")
def notify():
    for mode in ("auto", "session"):
        with hosts_pools(pool_size=3) as host, wires(host, 2, "shop_" + mode) as (a, b):
            a.query("LISTEN news")
            b.query("NOTIFY news, 'hello'")
            m = a.recv()
            equal((m.type, m.body[4:]), ("A", b"news\0hello\0"))
            b.query("BEGIN; NOTIFY news, 'never'; ROLLBACK")
            a.expect_quiet()
            a.query("UNLISTEN *")
            b.query("NOTIFY news, 'nobody'")
            a.expect_quiet()


# --- timeouts ---------------------------------------------------------------------------------------------------


@test("an idle server is closed after server_idle_timeout")
def server_idle():
    with hosts_pools(pool_size=5, server_idle_timeout="400ms") as host, wires(host, 4, "shop_transaction") as clients:
        for w in clients:
            w.query("BEGIN")
        for w in clients:
            w.query("COMMIT")
        wait_for(lambda: pg.backends(BACKENDS) == 0, what="idle servers are closed")
        equal(clients[0].query("SELECT 1"), [["1"]])


@test("an idle client is closed after client_idle_timeout, one in a transaction is not")
def client_idle():
    with hosts_pools(client_idle_timeout="500ms") as host, wires(host, 2, "shop_transaction") as (a, b):
        b.query("BEGIN")
        got = sides.collect(a)
        equal((got[0].type, got[0].fields()["V"], got[0].fields()["C"]), ("E", "FATAL", "57P05"))
        equal(b.query("SELECT 1"), [["1"]])


@test("an idle transaction is ended after idle_transaction_timeout, and its server is clean")
def transaction_idle():
    with hosts_pools(idle_transaction_timeout="500ms", pool_size=1) as host:
        with wires(host, 3, "shop_transaction") as (a, b, c):
            a.query("BEGIN")
            a.query("INSERT INTO item (name) VALUES ('idle in transaction')")
            got = sides.collect(a)
            equal((got[0].type, got[0].fields()["V"], got[0].fields()["C"]), ("E", "FATAL", "25P03"))
            equal(b.query("SELECT count(*) FROM item WHERE name = 'idle in transaction'"), [["0"]])
            equal(b.status(), "I")
            # A transaction that works is not idle.
            c.query("BEGIN")
            equal(c.query("SELECT pg_sleep(0.9), 1"), [["", "1"]])
            c.query("COMMIT")


# --- the console ------------------------------------------------------------------------------------------------


@test("PAUSE holds statements back until RESUME")
def pause():
    with hosts_pools(pool_size=2) as host, wires(host, 2, "shop_transaction") as (a, b):
        a.query("SELECT 1")
        host.console("PAUSE shop_transaction")
        a.send(query("SELECT 2"))
        a.expect_quiet(0.3)
        host.console("RESUME shop_transaction")
        equal(kinds(a.recv_until("Z")), "TDCZ")
        equal(b.query("SELECT 3"), [["3"]])


@test("SHOW CLIENTS, SERVERS, POOLS and STATS say what is there")
def shows():
    with hosts_pools(pool_size=2) as host, wires(host, 3, "shop_transaction") as clients:
        for w in clients:
            w.query("SELECT 1")
        clients[0].query("BEGIN")
        mine = [r for r in host.console("SHOW CLIENTS") if "shop_transaction" in map(str, r.values())]
        equal(len(mine), 3)
        assert len(host.console("SHOW SERVERS")) >= 1
        assert any("shop_transaction" in map(str, r.values()) for r in host.console("SHOW POOLS"))
        assert host.console("SHOW STATS")
        assert any("shop_transaction" in map(str, r.values()) for r in host.console("SHOW DATABASES"))


@test("KILL ends one client and no other")
def kill():
    with hosts_pools(pool_size=2) as host, wires(host, 2, "shop_transaction") as (a, b):
        for w, name in ((a, "the one"), (b, "the other")):
            w.query("SET application_name = '%s'" % name)
        rows = host.console("SHOW CLIENTS")
        ids = [r["id"] for r in rows if "the one" in map(str, r.values())]
        equal(len(ids), 1, rows)
        host.console("KILL %s" % ids[0])
        got = sides.collect(a)
        equal(kinds(got), "E!")
        equal(got[0].fields()["C"], "57P01")
        equal(b.query("SELECT 1"), [["1"]])


@test("the console is for admins alone")
def console_admins():
    with Host(pg) as host:
        refused(host, "42501", database="howdah")
        assert host.console("SHOW VERSION")


main()
