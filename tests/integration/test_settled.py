"""Filters that were told of a transaction which nobody waits for any more hear when its server is done with it."""

import contextlib
import os
import time

import harness
import sides
from harness import Host, Postgres, SplitProxy, equal, main, merge, test, wait_for
from pgwire import query, terminate

# A commit of who wants it waits for a standby that there is not.
pg = Postgres({"synchronous_standby_names": "nobody", "synchronous_commit": "local"})
pg.execute("CREATE TABLE item (id int)")
pg.execute("GRANT ALL ON item TO app")

ENDS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/ends.so"))
STALLS = "SET LOCAL synchronous_commit = on"


def sections(node=None):
    plugin = {"plugin ends": {"enabled": "yes", "library": ENDS}, "host": {"workers": 1}}
    changes = sides.pool_modes(pg, plugin, pool_size=2)
    for name in [name for name in changes if name.startswith("node ")]:
        changes[name].update({"control_user": "postgres", **(node or {})})
    return changes


class Told:
    """What a host has told the plugin."""

    def __init__(self, host):
        self.host = host
        self.rows = []

    def look(self):
        self.rows += self.host.console("SHOW ENDS")
        return [(row["end"], int(row["open"])) for row in self.rows]

    def becomes(self, expected, timeout=60):
        until = time.monotonic() + timeout
        while self.look() != expected and time.monotonic() < until:
            time.sleep(0.02)
        equal(self.look(), expected)
        if expected[-1][0] == "settled":
            equal(self.rows[-1]["about"], self.rows[-2]["handle"])
            equal(self.rows[-1]["session"], self.rows[-2]["session"])


def items(i):
    return pg.execute("SELECT count(*) FROM item WHERE id = %d" % i)[0][0]


def is_there(pid):
    return bool(pg.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %d" % pid))


def begin_stalled(w, i):
    """A transaction whose COMMIT waits."""
    w.query("BEGIN")
    w.query(STALLS)
    w.query("INSERT INTO item VALUES (%d)" % i)
    w.send(query("COMMIT"))
    wait_for(lambda: pg.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), what="the commit to wait")
    return pg.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")[0][0]


@contextlib.contextmanager
def through_proxy(**more):
    with SplitProxy(pg.port, size=65536) as proxy:
        conninfo = "host=127.0.0.1 port=%d dbname=shop" % proxy.port
        with Host(pg, sections({"conninfo": conninfo, **more})) as host:
            yield proxy, host, Told(host)


@test("a connection that is cut in the middle of a commit: its backend commits later, and that is told then")
def cut():
    for i, mode in enumerate(sides.MODES):
        more = {"control_user": "app", "control_password": "secret"} if i else {}  # who sees less of others
        with through_proxy(**more) as (proxy, host, told), host.wire(database="shop_" + mode) as w:
            pid = begin_stalled(w, i)
            proxy.cut()
            told.becomes([("unknown", 1)])
            until = time.monotonic() + 1.5
            while time.monotonic() < until:  # it is asked meanwhile, more than once
                equal((told.look(), items(i), is_there(pid)), ([("unknown", 1)], 0, True))
            pg.execute("SELECT pg_cancel_backend(%d)" % pid)  # ends the wait, not the commit
            told.becomes([("unknown", 1), ("settled", 0)])
            equal((items(i), is_there(pid)), (1, False))


@test("a client that dies in the middle of its commit")
def killed():
    with Host(pg, sections()) as host:
        told = Told(host)
        w = host.wire(database="shop_auto")
        pid = begin_stalled(w, 10)
        w.sock.close()  # the host cancels what it waits for: the commit stands
        told.becomes([("abandoned", 1), ("settled", 0)])
        equal((items(10), is_there(pid)), (1, False))


@test("a client that leaves behind a statement that runs on, and one within a block")
def left():
    with Host(pg, sections()) as host:
        told = Told(host)
        with pg.connect() as holder:
            holder.execute("SELECT pg_advisory_lock(20)")
            with host.wire(database="shop_auto") as w:
                w.send(query("INSERT INTO item SELECT 20 FROM pg_advisory_xact_lock(20)"), terminate())
                wait_for(lambda: pg.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"), what="it to run")
            told.becomes([("abandoned", 1)])
            equal(items(20), 0)
        told.becomes([("abandoned", 1), ("settled", 0)])
        equal(items(20), 1)
        told.rows.clear()
        with host.wire(database="shop_auto") as w:
            w.query("BEGIN")
            w.query("INSERT INTO item VALUES (21)")
        told.becomes([("rolled back", 0)])
        equal(items(21), 0)
        told.rows.clear()
        with host.wire(database="shop_auto") as w:  # nothing is left open
            w.query("INSERT INTO item VALUES (22)")
        told.becomes([("unknown", 0)])


@test("a server that ends at once, and starts anew")
def restarted():
    with Host(pg, sections()) as host, host.wire(database="shop_auto") as w:
        told = Told(host)
        w.query("BEGIN")
        w.query("INSERT INTO item VALUES (30)")
        pg.restart("immediate")
        told.becomes([("unknown", 1), ("settled", 0)])
        equal(items(30), 0)


@test("the cache keeps nothing of a table meanwhile, and then again")
def cached():
    plugins = {"plugin cache": {"enabled": "yes", "mode": "ttl"}, "plugin cache-memory": {"enabled": "yes"}}
    sql = "SELECT count(*) FROM item WHERE id = 50"

    def stats():
        return {r["name"]: int(r["value"]) for r in host.console("CACHE STATS") if not r["store"]}

    def hits(w):
        before = stats()["hits"]
        rows = w.query(sql)
        return rows, stats()["hits"] > before

    with SplitProxy(pg.port, size=65536) as proxy:
        changes = sections({"conninfo": "host=127.0.0.1 port=%d dbname=shop" % proxy.port})
        with Host(pg, merge(changes, plugins)) as host:
            with host.wire(database="shop_auto") as reader, host.wire(database="shop_auto") as w:
                wait_for(lambda: hits(reader) == ([["0"]], True), what="it to be kept")
                pid = begin_stalled(w, 50)
                proxy.cut()
                wait_for(lambda: Told(host).look() == [("unknown", 1)], what="the end to be told")
            with host.wire(database="shop_auto") as reader:
                for _ in range(20):
                    equal(hits(reader), ([["0"]], False))
                pg.execute("SELECT pg_cancel_backend(%d)" % pid)
                wait_for(lambda: hits(reader) == ([["1"]], True), what="it to be kept again")


@test("where it cannot be found out it is never told")
def never():
    two = "host=%s,%s port=%d,%d dbname=shop" % (pg.host, pg.host, pg.port, pg.port)
    for more, reason in (({"control_user": "nobody_there"}, "nobody can ask"), ({"conninfo": two}, "two addresses")):
        with Host(pg, sections(more)) as host, host.wire(database="shop_auto") as w:
            told = Told(host)
            w.query("BEGIN")
            w.query("INSERT INTO item VALUES (40)")
            pg.restart("immediate")
            told.becomes([("unknown", 1)])
            with host.wire(database="shop_auto") as other:
                equal(other.query("SELECT 1"), [["1"]], reason)
            time.sleep(2)  # nothing is waited for: that nothing comes is what is tested
            equal(told.look(), [("unknown", 1)])


main()
