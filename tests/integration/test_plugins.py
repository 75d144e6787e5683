# Runs under TSan too.
"""The plugin host on real traffic: every verdict, parks, failures, switching at run time, and bad plugins."""

import os
import shutil
import threading
import time

import psycopg

import harness
import pgwire
from harness import Host, Postgres, equal, expect_error, main, test, wait_for

pg = Postgres()
with pg.connect(user="app", password="secret") as _c:
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 100) g")

VERDICTS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/verdicts.so"))
BAD = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/unit/plugins/.libs"))


def on(**keys):
    return {"plugin verdicts": {"enabled": "yes", "library": VERDICTS, **keys}}


def hint(verdict, sql="SELECT 'the server'"):
    return "/* verdict: %s */ %s" % (verdict, sql)


def one(c, sql, *args, **options):
    return c.execute(sql, *args, **options).fetchone()[0]


def counts(host):
    return {name: value for name, value in host.console("SHOW VERDICTS")[0].items()}


def both(c):
    """The two ways to execute: simple and extended protocol, the latter also with a prepared statement."""
    simple = psycopg.ClientCursor(c)
    yield "simple", lambda sql: simple.execute(sql)
    yield "extended", lambda sql: c.execute(sql, prepare=False, binary=False)
    yield "prepared", lambda sql: c.execute(sql, prepare=True)


def state(host, name):
    rows = [r for r in host.console("SHOW PLUGINS") if name in r.values()]
    equal(len(rows), 1)
    return rows[0]


# --- verdicts ----------------------------------------------------------------------------------------------------


@test("without a hint everything goes through")
def nothing():
    with Host(pg, on()) as host, host.connect() as c:
        for name, run in both(c):
            equal((name, run("SELECT 'the server'").fetchone()[0]), (name, "the server"))
        equal(one(c, "SELECT count(*) FROM item"), 100)


@test("refuses with its own SQLSTATE, and the session goes on")
def refuse():
    with Host(pg, on()) as host, host.connect() as c:
        for name, run in both(c):
            try:
                run(hint("refuse 42501 not today"))
                raise AssertionError("%s was not refused" % name)
            except psycopg.Error as e:
                equal((name, e.sqlstate, e.diag.message_primary), (name, "42501", "not today"))
                equal(e.diag.message_hint, "the test wants it so")
            equal((name, run("SELECT 'the server'").fetchone()[0]), (name, "the server"))


@test("a refusal in a transaction fails the block")
def refuse_in_block():
    with Host(pg, on()) as host, host.connect(autocommit=False) as c:
        c.execute("SELECT 1")
        with expect_error("42501"):
            c.execute(hint("refuse 42501 no"))
        c.rollback()
        equal(one(c, "SELECT 'the server'"), "the server")


@test("answers without a server")
def answer():
    with Host(pg, on()) as host, host.connect() as c:
        for name, run in both(c):
            for _ in range(3):
                equal((name, run(hint("answer from a filter")).fetchone()[0]), (name, "from a filter"))
            cursor = run(hint("done INSERT 0 7", "INSERT INTO item VALUES (1, 'never')"))
            equal((name, cursor.statusmessage, cursor.rowcount), (name, "INSERT 0 7", 7))
        equal(one(c, "SELECT name FROM item WHERE id = 1"), "item 1")


@test("sees parameters")
def parameters():
    with Host(pg, on()) as host, host.connect() as c:
        for prepare in (False, True):
            value = one(c, hint("echo", "SELECT %s::text"), ("my value",), prepare=prepare)
            equal((prepare, value), (prepare, "my value"))


@test("rewrites")
def rewrite():
    with Host(pg, on()) as host, host.connect() as c:
        for name, run in both(c):
            for _ in range(3):
                cursor = run(hint("rewrite SELECT name FROM item WHERE id = 7"))
                equal((name, cursor.fetchone()[0]), (name, "item 7"))
            equal((name, run("SELECT 'the server'").fetchone()[0]), (name, "the server"))


@test("routes to another node")
def route():
    other = Postgres()
    changes = {**on(), "node other": {"conninfo": "host=%s port=%d" % (other.host, other.port)}}
    with Host(pg, changes) as host, host.connect() as c:
        for name, run in both(c):
            port = "SELECT current_setting('port')"
            equal((name, run(hint("route other", port)).fetchone()[0]), (name, str(other.port)))
            equal((name, run(port).fetchone()[0]), (name, str(pg.port)))
        with expect_error():
            c.execute(hint("route nowhere"))
        equal(one(c, "SELECT 'the server'"), "the server")


@test("completes every execution exactly once, and closes every session")
def completes():
    for before in ("no", "yes"):
        with Host(pg, on(before=before, data="yes")) as host:
            with host.connect() as c:
                for _, run in both(c):
                    for _ in range(10):
                        run("SELECT name FROM item WHERE id < 5")
                    run(hint("answer x"))
                    with expect_error("22012"):
                        run("SELECT 1/0")
                    with expect_error("42501"):
                        run(hint("refuse 42501 no"))
                equal(counts(host)["sessions"], 1)
            wait_for(lambda: counts(host)["sessions"] == 0, what="sessions close")
            seen = counts(host)
            equal(seen["statements"], seen["completes"])
            assert seen["statements"] >= 39, seen
            equal(seen["failures"], 6)
            assert seen["rows"] >= 120 and seen["data_bytes"] > 0, seen
            equal(seen["released"], 3)
            equal(state(host, "verdicts")["failures"], 0)


# --- parks -------------------------------------------------------------------------------------------------------


@test("parks, and goes on from a thread or a timer")
def parks():
    with Host(pg, on()) as host, host.connect() as c:
        for name, run in both(c):
            for how in ("thread", "timer"):
                for ms in (0, 30):
                    cursor = run(hint("%s %d" % (how, ms)))
                    equal((name, how, ms, cursor.fetchone()[0]), (name, how, ms, "the server"))
                    cursor = run(hint("%s %d answer %s" % (how, ms, "later")))
                    equal((name, how, ms, cursor.fetchone()[0]), (name, how, ms, "later"))
                    cursor = run(hint("%s %d rewrite SELECT 'rewritten'" % (how, ms)))
                    equal((name, how, ms, cursor.fetchone()[0]), (name, how, ms, "rewritten"))
                    with expect_error("57000", "later no"):
                        run(hint("%s %d refuse 57000 later no" % (how, ms)))
        seen = counts(host)
        equal(seen["statements"], seen["completes"])
        equal(seen["late"], 0)


@test("a second resume is late")
def twice():
    with Host(pg, on()) as host, host.connect() as c:
        for _, run in both(c):
            for ms in (0, 20):
                equal(run(hint("twice %d answer x" % ms)).fetchone()[0], "x")
        seen = counts(host)
        equal((seen["resumed"], seen["late"]), (6, 6))


@test("a park ends at its deadline")
def deadline():
    changes = {**on(), "host": {"park_timeout": "500ms"}}
    with Host(pg, changes) as host, host.connect() as c:
        for name, run in both(c):
            for ms in ("200", ""):
                start = time.monotonic()
                with expect_error("57014"):
                    run(hint("never " + ms))
                assert 0.15 < time.monotonic() - start < 5, (name, ms)
        equal(one(c, "SELECT 'the server'"), "the server")


@test("a client that goes while it is parked harms nobody")
def parked_and_gone():
    with Host(pg, on()) as host:
        for parked, how in enumerate(("never", "thread 300 answer x", "timer 300 answer x"), 1):
            w = host.wire()
            w.send(pgwire.query(hint(how)))
            wait_for(lambda: counts(host)["statements"] == parked, what="it is parked")
            w.close()
        wait_for(lambda: counts(host)["sessions"] == 0, what="sessions close")
        time.sleep(0.4)
        seen = counts(host)
        equal(seen["statements"], seen["completes"])
        equal(seen["resumed"], 0)
        with host.connect() as c:
            equal(one(c, "SELECT 'the server'"), "the server")


@test("many clients park at once")
def many():
    def work(failed):
        try:
            with host.connect() as c:
                for i in range(30):
                    how = ("thread", "timer")[i % 2]
                    equal(c.execute(hint("%s %d answer %d" % (how, i % 5, i))).fetchone()[0], str(i))
        except Exception as e:  # told by the test's own thread
            failed.append(e)

    with Host(pg, on()) as host:
        failed = []
        threads = [threading.Thread(target=work, args=(failed,)) for _ in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failed, failed
        wait_for(lambda: counts(host)["sessions"] == 0, what="sessions close")
        seen = counts(host)
        equal(seen["statements"], seen["completes"])
        equal(seen["released"], 600)


# --- failures ----------------------------------------------------------------------------------------------------


@test("a failing filter is passed by, then quarantined, then taken back")
def bypass():
    with Host(pg, on(failures=5)) as host, host.connect() as c:
        for _ in range(8):
            equal(one(c, hint("fail")), "the server")
        wait_for(lambda: state(host, "verdicts")["state"] == "quarantined")
        host.wait_log("quarantined")
        equal(one(c, hint("answer x")), "the server")
        host.console("PLUGIN verdicts ENABLE")
        equal(state(host, "verdicts")["state"], "running")
        wait_for(lambda: one(c, hint("answer x")) == "x")


@test("on_failure = reject refuses instead")
def reject():
    with Host(pg, on(failures=3, on_failure="reject")) as host, host.connect() as c:
        for _ in range(5):
            with expect_error("58000"):
                c.execute(hint("fail"))
        wait_for(lambda: state(host, "verdicts")["state"] == "quarantined", what="the quarantine")
        with expect_error("58000"):
            c.execute("SELECT 'also this, it is quarantined'")


@test("a blocking filter is a failure")
def slow():
    with Host(pg, on()) as host, host.connect() as c:
        for n in range(3):  # the first one only makes the host look closer
            equal(one(c, hint("slow 100")), "the server")
            equal(state(host, "verdicts")["failures"], n)


# --- switching ---------------------------------------------------------------------------------------------------


@test("observes without acting")
def observe():
    with Host(pg, on(enabled="observe")) as host, host.connect() as c:
        for name, run in both(c):
            for what in ("refuse 42501 no", "answer x", "rewrite SELECT 1", "thread 0", "never"):
                equal((name, what, run(hint(what)).fetchone()[0]), (name, what, "the server"))
        row = state(host, "verdicts")
        equal(row["state"], "observing")
        host.console("PLUGIN verdicts ENABLE")
        wait_for(lambda: one(c, hint("answer x")) == "x")


@test("is switched on and off while statements run")
def switching():
    failed = []
    ending = threading.Event()

    def work():
        try:
            with host.connect() as c:
                while not ending.is_set():
                    assert one(c, hint("answer x")) in ("x", "the server")
                    assert one(c, hint("thread 1 answer x")) in ("x", "the server")
                    equal(one(c, "SELECT name FROM item WHERE id = %s", (3,)), "item 3")
        except Exception as e:  # told by the test's own thread
            failed.append(e)

    with Host(pg, on()) as host:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        for mode in ("OBSERVE", "ENABLE", "DISABLE", "ENABLE", "DISABLE", "OBSERVE", "DISABLE", "ENABLE") * 3:
            time.sleep(0.05)
            with expect_nothing_but_busy():
                host.console("PLUGIN verdicts " + mode)
        ending.set()
        for t in threads:
            t.join()
        assert not failed, failed


class expect_nothing_but_busy:
    """A plugin that is still stopping cannot be switched on yet: the host says so."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        return kind is not None and issubclass(kind, psycopg.Error) and "still stopping" in str(error)


@test("a reload switches plugins, all or nothing")
def reloads():
    with Host(pg, on()) as host, host.connect() as c:
        equal(one(c, hint("answer x")), "x")
        host.configure({**on(), "plugin guard": {"enabled": "yes", "unknown_key": "1"}})
        with expect_error(match="unknown_key"):
            host.console("RELOAD")
        equal(one(c, hint("answer x")), "x")
        host.configure({})
        host.console("RELOAD")
        wait_for(lambda: one(c, hint("answer x")) == "the server")
        host.configure(on())
        host.console("RELOAD")
        wait_for(lambda: one(c, hint("answer x")) == "x")


@test("a plugin that another asks for starts first, wherever it stands, and stays as long as it is used")
def asked_for():
    both = {"plugin cache": {"enabled": "yes", "mode": "ttl"}, "plugin cache-memory": {"enabled": "yes"}}
    with Host(pg, {}) as host:
        for names in (list(both), list(both)[::-1]):  # by its name cache would be the first
            host.configure({name: both[name] for name in names})
            host.console("RELOAD")
            equal([state(host, name)["state"] for name in ("cache", "cache-memory")], ["running", "running"])
            with expect_error(match="plugin cache-memory is used by cache; disable that first"):
                host.console("PLUGIN cache-memory DISABLE")
            host.configure({"plugin cache": {"enabled": "yes", "mode": "ttl"}, "plugin cache-memory": {"enabled": "no"}})
            with expect_error(match="plugin cache uses plugin cache-memory, which this configuration switches off"):
                host.console("RELOAD")
            host.configure({})
            host.console("RELOAD")
            wait_for(lambda: state(host, "cache-memory")["state"] in ("stopped", "available"), what="both to stop")
        host.configure({"plugin cache": {"enabled": "yes", "mode": "ttl"}, "plugin cache-memory": {"enabled": "no"}})
        host.console("RELOAD")
        row = state(host, "cache")
        equal(row["state"], "refused")
        assert "plugin cache-memory, which provides howdah.cache-store/1, is not enabled" in row["reason"], row


# --- bad plugins -------------------------------------------------------------------------------------------------


@test("bad plugins are left out with a clear line, and the host serves on")
def bad_plugins():
    names = ("magic", "major", "host-minor", "short", "huge", "create", "undefined", "no-symbol", "id")
    changes = on()
    for name in names:
        changes["plugin bad-" + name] = {"enabled": "yes", "library": "%s/bad-%s.so" % (BAD, name)}
    junk = os.path.join(harness.temp_dir(), "junk.so")
    with open(junk, "w") as f:
        f.write("no library at all\n" * 100)
    changes["plugin junk"] = {"enabled": "yes", "library": junk}
    loose = os.path.join(os.path.dirname(junk), "statements.so")
    shutil.copy(os.path.join(harness.BUILDDIR, "plugins.d/statements.so"), loose)
    os.chmod(loose, 0o666)
    changes["plugin statements"] = {"enabled": "yes", "library": loose}
    with Host(pg, changes) as host, host.connect() as c:
        equal(one(c, hint("answer x")), "x")
        log = host.log_text()
        for words in ("magic number", "expected ABI 0.x, found 1.1", "upgrade the host", "found size 40",
                      "no luck", "nobody_defines_this", "howdah_plugin, found none", "not a library", "chmod go-w"):
            assert words in log, words
        for name in names:
            equal(state(host, "bad-" + name)["state"], "refused")
        equal(state(host, "statements")["state"], "refused")


@test("a required plugin that cannot be had keeps the host from starting")
def required():
    bad = {"plugin bad-magic": {"enabled": "yes", "required": "yes", "library": BAD + "/bad-magic.so"}}
    host = Host(pg, bad, start=False)
    for args in (("-t",), ()):
        result = host.run(*args)
        assert result.returncode != 0, args
        assert "bad-magic is required" in result.stderr + result.stdout, result
        assert "10-test.ini:" in result.stderr + result.stdout, result


main()
