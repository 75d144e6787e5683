"""
Answers that are asked for anew while they may still be given: early refresh and stale-while-revalidate; and what the
cache counts rule by rule.

Who asks anew is held at the server by a lock, so that what the others get meanwhile is no matter of time.
"""

# Runs under TSan too.

import contextlib
import functools
import select

import cacheworld
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import query

pg = Postgres()
pg.execute(
    """
    CREATE TABLE item (id int PRIMARY KEY, v text);
    CREATE TABLE stock (id int PRIMARY KEY, v text);
    CREATE TABLE audit (id int PRIMARY KEY, v text);
    CREATE TABLE other (id int PRIMARY KEY, v text);
    INSERT INTO item VALUES (1, 'old'), (2, 'old');
    INSERT INTO stock VALUES (1, 'old'), (2, 'old');
    INSERT INTO audit VALUES (1, 'old');
    INSERT INTO other VALUES (1, 'old');
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
    """
)

PLUGINS = {
    "plugin cache": {"enabled": "yes", "mode": "ttl"},
    "cache items": {"table": "item", "ttl": "50ms", "stale_while_revalidate": "1h"},
    "cache stock": {"table": "stock", "ttl": "2m", "early_refresh": "1000"},
    "cache never": {"table": "audit", "cache": "off"},
    "plugin cache-memory": {"enabled": "yes"},
    "host": {"workers": 2, "worker_fill": 0},
}


def sections(more=None):
    return cacheworld.sections(pg, {**PLUGINS, **(more or {})})


host = Host(pg, sections())
stats = functools.partial(cacheworld.stats, host)
Counted = functools.partial(cacheworld.Counted, host)
warm = functools.partial(cacheworld.warm, host)


def client():
    return host.wire(database="shop_auto")


def rules():
    """(rule, name, reason) -> value"""
    return {(r["rule"], r["name"], r["reason"]): int(r["value"]) for r in host.console("CACHE RULES")}


def known(w, write):
    """Runs a write until the host knows what it touches."""

    def noted():
        before = stats()["unknown_writes"]
        w.query(write)
        return stats()["unknown_writes"] == before

    wait_for(noted, what="%s: what is written is known" % write)


@contextlib.contextmanager
def locked(table, change=None):
    """Nobody reads the table meanwhile; with a change, which is committed when it ends."""
    with pg.connect() as c:
        c.execute("BEGIN; LOCK TABLE %s IN ACCESS EXCLUSIVE MODE" % table)
        if change:
            c.execute(change)
        yield
        c.execute("COMMIT")


def answered(w):
    return bool(w.buffer or select.select([w.sock], [], [], 0)[0])


def is_held(w, sql):
    """Sends the read; True: it has gone to the server, and waits there. What was answered is read."""
    before = stats()["refreshed"]
    w.send(query(sql))
    wait_for(lambda: stats()["refreshed"] > before or answered(w), what="the read is answered, or sent")
    if stats()["refreshed"] > before:
        return True
    w.recv_until("Z")
    return False


def rows(messages):
    return [m.row() for m in messages if m.type == "D"]


@test("past its ttl one reader asks anew, and the others get what is there; then all get the new one")
def stale_while_revalidate():
    read = "SELECT v FROM item WHERE id = 1"
    with client() as first, client() as second, client() as third:
        warm(first, read)
        with locked("item", "UPDATE item SET v = 'new' WHERE id = 1"):
            wait_for(lambda: is_held(first, read), what="a read that asks anew")
            with Counted(hits=4, stale=4, refreshed=0, misses=0):
                for w in (second, third, second, third):
                    equal(w.query(read), [["old"]])
        equal(rows(first.recv_until("Z")), [[b"new"]])
        equal(second.query(read), [["new"]])


@test("a write through the host ends an answer for good: it is not given past its ttl")
def stale_after_write():
    read = "SELECT v FROM item WHERE id = 2"
    with client() as reader, client() as writer:
        known(writer, "UPDATE item SET v = 'before' WHERE id = 2")
        warm(reader, read)
        writer.query("UPDATE item SET v = 'written' WHERE id = 2")
        with Counted(misses=1, stale=0, refreshed=0):
            equal(reader.query(read), [["written"]])
        # Also while somebody asks anew: what the one before the write has got is not kept.
        wait_for(lambda: is_refreshed(reader, read), what="a read past the ttl")
        writer.query("UPDATE item SET v = 'again' WHERE id = 2")
        equal(reader.query(read), [["again"]])


def is_refreshed(w, sql):
    before = stats()["refreshed"]
    w.query(sql)
    return stats()["refreshed"] > before


@test("who asks anew and fails leaves the answer there, and the next one asks")
def refresh_fails():
    read = "SELECT v FROM item WHERE id = 1"
    with client() as first, client() as second:
        warm(first, read)
        first.query("SET statement_timeout = '100ms'")
        with locked("item"):
            wait_for(lambda: is_held(first, read), what="a read that asks anew")
            first.recv_until("Z")  # cancelled by the timeout
            with Counted(refreshed=1):
                wait_for(lambda: is_held(second, read), what="another read that asks anew")
            with Counted(stale=1):
                first.query(read)
        second.recv_until("Z")


@test("early refresh: before the ttl is over one reader asks anew, the others get what is there")
def early():
    read = "SELECT v FROM stock WHERE id = 1"
    with client() as first, client() as second:
        # What took long to make is asked for earlier.
        warm(first, "SELECT v FROM stock WHERE id = 2")
        with locked("stock"):
            before = stats()["misses"]
            first.send(query(read))
            wait_for(lambda: stats()["misses"] > before, what="the first read")
            pg.execute("SELECT pg_sleep(0.3)")
        first.recv_until("Z")
        with locked("stock"):
            wait_for(lambda: is_held(first, read), what="a read that asks anew")
            with Counted(hits=3, stale=0, refreshed=0, misses=0):
                for _ in range(3):
                    equal(second.query(read), [["old"]])
        equal(rows(first.recv_until("Z")), [[b"old"]])


@test("a rule that says neither asks nobody")
def neither():
    read = "SELECT v FROM other WHERE id = 1"
    with client() as w:
        warm(w, read)
        with Counted(hits=50, refreshed=0, stale=0, misses=0):
            for _ in range(50):
                w.query(read)


@test("stale answers break what strict and bounded promise: such a rule is refused, and what is wrong is said")
def refused():
    for mode in ("strict", "bounded"):
        more = {"cache items": {"table": "item", "mode": mode, "stale_while_revalidate": "1s"}}
        host.configure(sections({**more, "plugin change-stream": {"enabled": "yes"}}))
        done = host.control("reload")
        equal(done.returncode != 0, True)
        equal("[cache items] stale_while_revalidate" in done.stdout + done.stderr, True, done.stdout + done.stderr)
        equal("mode = %s allows" % mode in done.stdout + done.stderr, True, done.stdout + done.stderr)
    for wrong in ("maybe", "-1", "1001", "1x", "nan"):
        host.configure(sections({"cache items": {"table": "item", "early_refresh": wrong}}))
        done = host.control("reload")
        equal(done.returncode != 0, True, wrong)
        equal("early_refresh" in done.stdout + done.stderr, True, done.stdout + done.stderr)
    host.configure(sections())
    equal(host.control("reload").returncode, 0)


@test("CACHE RULES counts hits, misses, bypasses by reason and time saved, by rule")
def by_rule():
    read, default = "SELECT v FROM stock WHERE id = 3", "SELECT v FROM other WHERE id = 1"
    with client() as w:
        warm(w, default)
        before = rules()
        wait_for(lambda: is_counted(w, "SELECT v FROM audit WHERE id = 1", ("never", "bypassed", "off")))
        w.query(default)
        w.query(default)
        after = rules()
        equal(after["default", "hits", ""] - before["default", "hits", ""], 2)
        equal(after["default", "saved_ns", ""] > before["default", "saved_ns", ""], True)
        equal(after["stock", "hits", ""] - before["stock", "hits", ""], 0)
        equal(after["never", "hits", ""], 0)
        # A miss, then a hit; in a transaction that has written neither.
        wait_for(lambda: is_counted(w, read, ("stock", "misses", "")))
        w.query("BEGIN")
        w.query("UPDATE other SET v = v WHERE id = 1")
        before = stats()["bypassed: transaction"]
        w.query(read)
        equal(stats()["bypassed: transaction"] - before, 1)
        w.query("ROLLBACK")
    names = [m for m in host.console("SHOW METRICS") if m["name"].startswith("howdah_cache_rule_hits_total")]
    equal(len(names), 4)


def is_counted(w, sql, what):
    before = rules()[what]
    w.query(sql)
    return rules()[what] > before


main()
