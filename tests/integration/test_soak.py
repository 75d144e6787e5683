"""
Everything at once for a while, with flat memory and descriptors: statements of all kinds, logins, cancels, killed
servers, reloads. HOWDAH_SOAK=3600 makes it an hour; every answer is checked.
"""

# Runs under TSan too.

import contextlib
import os
import random
import threading
import time

import harness
import pgwire
from harness import Host, Postgres, comment, equal, main, test, wait_for
from pgwire import bind, copy_data, copy_done, describe, execute, kinds, parse, query, sync

SECONDS = float(os.environ.get("HOWDAH_SOAK", "40"))
MB = 1024 * 1024

pg = Postgres()
pg.execute("CREATE TABLE sink (id int, name text)")
pg.execute("GRANT ALL ON sink TO app, other")
for _n in range(4):
    pg.execute("CREATE DATABASE soak_%d OWNER app" % _n, "postgres")

# What a client may be told when its server was killed, or it was cancelled, or is one too many.
EXPECTED = ("57P01", "08006", "57014", "53300", "08001", "57P02", "57P03")


class Load:
    """Threads that do one thing each, over and over, until the time is over."""

    def __init__(self, host):
        self.host = host
        self.stop = threading.Event()
        self.counts = {}
        self.problems = []
        self.threads = []

    def add(self, function, count=1):
        for n in range(count):
            self.threads.append(threading.Thread(target=self._run, args=(function, random.Random(n)), daemon=True))

    def _run(self, function, rng):
        name = function.__name__
        while not self.stop.is_set() and not self.problems:
            try:
                function(self.host, rng)
                self.counts[name] = self.counts.get(name, 0) + 1
            except pgwire.WireError as e:
                self._note(name, e.sqlstate)
            except (pgwire.WireClosed, ConnectionError):
                self._note(name, "closed")
            except Exception as e:
                self.problems.append((name, repr(e)))

    def _note(self, name, sqlstate):
        if sqlstate not in EXPECTED + ("closed",):
            self.problems.append((name, sqlstate))
        key = "%s: %s" % (name, sqlstate)
        self.counts[key] = self.counts.get(key, 0) + 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join(60)
        assert not any(t.is_alive() for t in self.threads), "a thread hangs"


def rows(got):
    errors = [m for m in got if m.type == "E"]
    if errors:
        raise pgwire.WireError(errors[0])
    return [m.row() for m in got if m.type == "D"]


def simple(host, rng):
    with host.wire() as w:
        for _ in range(rng.randint(1, 40)):
            n = rng.randint(0, 10**6)
            equal(w.query("SELECT %d + 1" % n), [[str(n + 1)]])


def prepared(host, rng):
    with host.wire() as w:
        for i in range(rng.randint(1, 20)):
            name = "p%d" % i
            rows(w.exchange(parse(name, "SELECT $1::int + %d" % rng.randint(0, 500)) + sync()))
        for _ in range(20):
            got = rows(w.exchange(bind("", "p0", ["1"]) + describe("P") + execute() + sync()))
            equal(len(got), 1)


def pipelined(host, rng):
    with host.wire() as w:
        numbers = [rng.randint(0, 1000) for _ in range(rng.randint(2, 30))]
        got = w.exchange(b"".join(pgwire.run("SELECT %d" % n) for n in numbers), ready=len(numbers))
        equal(rows(got), [[b"%d" % n] for n in numbers])


def transactions(host, rng):
    with host.wire() as w:
        for _ in range(5):
            w.query("BEGIN")
            w.query("INSERT INTO sink VALUES (1, 'never seen')")
            if rng.random() < 0.3:
                return  # leaves in the middle
            w.query("ROLLBACK")


def large(host, rng):
    size = rng.choice((10, 20000, 300000, 3000000))
    with host.wire("other", "shop", "other-secret") as w:
        equal(w.query("SELECT length(repeat('x', %d)), repeat('y', %d)" % (size, size)), [[str(size), "y" * size]])


def copies(host, rng):
    with host.wire() as w:
        w.query("BEGIN")
        lines = rng.randint(1, 2000)
        data = b"".join(b"%d\tsome text\n" % i for i in range(lines))
        rows(w.exchange(query("COPY sink FROM STDIN") + copy_data(data) + copy_done()))
        equal(w.query("SELECT count(*) FROM sink WHERE name = 'some text'"), [[str(lines)]])
        w.query("ROLLBACK")


def states(host, rng):
    with host.wire() as w:
        zone = rng.choice(("UTC", "Asia/Tokyo", "America/Lima"))
        w.query("SET TimeZone = '%s'" % zone)
        w.query("CREATE TEMP TABLE mine (a int)")
        w.query("INSERT INTO mine VALUES (1)")
        equal(w.query("SELECT count(*), current_setting('TimeZone') FROM mine"), [["1", zone]])


def databases(host, rng):
    with host.wire("app", "soak_%d" % rng.randint(0, 3)) as w:
        equal(len(w.query("SELECT current_database()")), 1)
    time.sleep(0.05)


def leaving(host, rng):
    """Clients that vanish wherever they are."""
    w = pgwire.Wire("127.0.0.1", host.port)
    try:
        what = rng.randint(0, 4)
        if what == 0:
            w.send(pgwire.startup("app", "shop")[: rng.randint(0, 30)])
        elif what == 1:
            w.send(pgwire.startup("nobody", "shop"))
        elif what == 2:
            with contextlib.suppress(pgwire.WireError):
                w.login("app", "shop", "wrong")
        else:
            w.login("app", "shop", "secret")
            w.send(query("SELECT pg_sleep(0.05), repeat('z', 100000)"))
            if what == 4:
                w.recv()
    finally:
        w.reset() if rng.random() < 0.5 else w.close()


def cancelled(host, rng):
    with host.wire() as w:
        w.send(query("SELECT pg_sleep(%f), 'cancelled'" % rng.choice((0.001, 0.02, 5))))
        time.sleep(rng.choice((0, 0.01, 0.05)))
        with pgwire.Wire("127.0.0.1", host.port) as c:
            c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
            c.expect_closed()
        got = w.recv_until("Z")
        codes = [m.fields()["C"] for m in got if m.type == "E"]
        assert codes in ([], ["57014"]) or codes[0] in EXPECTED, codes
        equal(w.query("SELECT 1"), [["1"]])


def killing(host, rng):
    time.sleep(2.0)
    pg.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('app', 'other')"
        " AND backend_type = 'client backend' AND random() < 0.3"
    )


def reloading(host, rng):
    time.sleep(1.0)
    host.configure({**CHANGES, "database *": {**CHANGES["database *"], "pool_size": rng.randint(5, 9)}})
    equal(host.control("reload").returncode, 0)


CHANGES = {
    "database *": {
        "pool_mode": "auto",
        "pool_size": 8,
        "reserve_pool_size": 2,
        "reserve_pool_timeout": "200ms",
        "server_lifetime": "3s",
        "server_idle_timeout": "2s",
        "queue_timeout": "20s",
    },
    "node main": {"max_servers": 40},
}


def memory(host):
    with open("/proc/%d/status" % host.host_pid()) as f:
        return [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0] * 1024


def descriptors(host):
    return len(os.listdir("/proc/%d/fd" % host.host_pid()))


def settled(host):
    """Memory and descriptors once everybody has left and the pools have closed what idles."""
    wait_for(lambda: host.console("SHOW SERVERS") == [], what="all servers are closed")
    return memory(host), descriptors(host)


def run_load(host, seconds):
    load = Load(host)
    for function, count in (
        (simple, 3), (prepared, 2), (pipelined, 2), (transactions, 1), (large, 1), (copies, 1), (states, 1),
        (databases, 1), (leaving, 2), (cancelled, 2), (killing, 1), (reloading, 1),
    ):  # fmt: skip
        load.add(function, count)
    with load:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not load.problems:
            time.sleep(0.1)
    assert not load.problems, load.problems[:5]
    for function in (simple, prepared, pipelined, transactions, large, copies, states, databases, leaving, cancelled):
        assert load.counts.get(function.__name__), "%s never came through: %s" % (function.__name__, load.counts)
    return load.counts


@test("everything at once: right answers, flat memory and descriptors", timeout=SECONDS * 2 + 120)
def soak():
    with Host(pg, CHANGES) as host:
        run_load(host, SECONDS / 3)
        before = settled(host)
        counts = run_load(host, SECONDS * 2 / 3)
        after = settled(host)
        comment(counts)
        comment("memory %.1f -> %.1f MB, descriptors %d -> %d" % (before[0] / MB, after[0] / MB, before[1], after[1]))
        assert after[1] <= before[1] + 2, (before, after)
        assert harness_sanitized() or after[0] - before[0] < 6 * MB, (before, after)
        equal(pg.execute("SELECT count(*) FROM sink"), [(0,)])


def harness_sanitized():
    with open(harness.HOWDAHD, "rb") as f:
        return b"__asan_init" in f.read() or "san" in os.environ.get("HD_BUILDDIR", "")


main()
