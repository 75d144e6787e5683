"""
The result cache while things around it fail: the store full under load, the stream's slot taken away, the log switched and
idle, the host killed while it fills, the server crashed. Whatever happens, no read in mode strict that starts after a commit
was acknowledged gets an older answer, and caching goes on afterwards.
"""

# Runs under TSan too.

import contextlib
import os
import random
import signal
import threading
import time

import psycopg

from cacheworld import stats, warm
from harness import Host, Postgres, comment, equal, main, test, wait_for
from pgwire import WireClosed, query

ROWS = 400
LONG = 3000  # bytes of a row's text

pg = Postgres({"max_wal_senders": 20, "max_replication_slots": 20, "max_slot_wal_keep_size": "1MB"})
pg.execute(
    """
    CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL, filler text NOT NULL);
    INSERT INTO item SELECT g, 0, repeat('x', %d) FROM generate_series(1, %d) g;
    CREATE TABLE few (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO few SELECT g, 0 FROM generate_series(1, 32) g;
    CREATE TABLE second (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO second VALUES (1, 1);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
    """
    % (LONG, ROWS)
)

# Read with the filler, so that entries are long.
READ = "SELECT v, filler FROM item WHERE id = %d"
SLOW = "SELECT sum(a.v) FROM few a, few b, few c, few d WHERE a.id + b.id <> c.id + d.id + 1000"


def started(**more):
    sections = {
        "host": {"workers": 2, "worker_fill": 0},
        "listener main": {"auth": "trust"},
        "database *": {"pool_mode": "auto"},
        "node main": {"control_user": "postgres"},
        "plugin cache": {"enabled": "yes", "mode": "strict", "strict_wait": "1m"},
        "plugin cache-memory": {"enabled": "yes"},
        "plugin change-stream": {"enabled": "yes", "retry_interval": "50ms"},
    }
    for name, keys in more.items():
        section = "plugin " + name.replace("_", "-")
        sections[section] = {**sections[section], **keys}
    return Host(pg, sections)


def streams(host):
    return host.console("SHOW STREAMS")


class Load:
    """Writers around and through the host, and readers who hold each answer against what was acknowledged before."""

    def __init__(self, host, rows=ROWS):
        self.host, self.rows = host, rows
        pg.execute("UPDATE item SET v = 0")
        self.acknowledged = [0] * (rows + 1)
        self.problems, self.reads, self.stop = [], 0, threading.Event()
        half = rows // 2
        self.threads = [threading.Thread(target=self.read, args=(n,)) for n in range(4)]
        self.threads += [
            threading.Thread(target=self.write, args=(range(1, half), False)),
            threading.Thread(target=self.write, args=(range(half, rows + 1), True)),
        ]

    def read(self, seed):
        dice = random.Random(seed)
        try:
            with self.host.wire() as w:
                while not self.stop.is_set() and not self.problems:
                    n = dice.randint(1, self.rows)
                    least = self.acknowledged[n]
                    ((v, filler),) = w.query(READ % n)
                    self.reads += 1
                    if int(v) < least or len(filler) != LONG:
                        self.problems.append((n, v, least, len(filler)))
        except Exception as e:
            self.problems.append(repr(e))

    def write(self, mine, through):
        dice = random.Random(through)
        try:
            with (self.host.wire() if through else pg.wire(user="app", secret="secret")) as w:
                while not self.stop.is_set() and not self.problems:
                    n = dice.choice(mine)
                    value = self.acknowledged[n] + 1
                    w.query("UPDATE item SET v = %d WHERE id = %d" % (value, n))
                    self.acknowledged[n] = value
                    time.sleep(dice.choice((0, 0.002, 0.01)))
        except Exception as e:
            self.problems.append(repr(e))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def until(self, condition, timeout, what):
        wait_for(lambda: self.problems or condition(), timeout, what)
        equal(self.problems, [])

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        equal(self.problems, [])


@test("the store is full, under load: its bound holds, and no answer is old", timeout=180)
def full():
    with started(cache_memory={"max_bytes": "1M", "shards": "2"}) as host:
        with host.wire() as w:
            warm(host, w, READ % 1)
        over = []

        def enough():
            now = stats(host, "memory")
            if now["bytes"] > now["max_bytes"]:
                over.append(now)
            return now["evictions"] > 300

        with Load(host) as load:
            load.until(enough, 120, "evictions")
        equal(over, [])
        comment("%d reads; %s" % (load.reads, stats(host, "memory")))
        with host.wire() as w:
            equal([v for v, _ in warm(host, w, READ % 7)], [str(load.acknowledged[7])])


@test("an answer's tables are more than are kept apart: it comes from the server")
def bounded_tables():
    with started(cache={"max_tables": "1"}) as host, host.wire() as w:
        warm(host, w, "SELECT v FROM few WHERE id = 1")
        wait_for(lambda: w.query("SELECT v FROM second") and stats(host)["bypassed: bound"] > 0, what="a read beyond the bound")
        pg.execute("UPDATE second SET v = v + 1")
        equal(w.query("SELECT v FROM second"), [["2"]])
        warm(host, w, "SELECT v FROM few WHERE id = 1")


@test("the server takes the stream's slot away, under load", timeout=180)
def slot_lost():
    with started() as host:
        with host.wire() as w:
            warm(host, w, READ % 1)
        with Load(host, 20) as load:
            for _ in range(3):
                load.until(lambda: streams(host)[0]["state"] == "running", 60, "the stream runs")
                restarts, lost = int(streams(host)[0]["restarts"]), pg.log_text().count("to release replication slot")
                # It has to keep the log since an open transaction began, and may not.
                with pg.connect(autocommit=False) as holds:
                    holds.execute("UPDATE second SET v = v + 1")

                    def taken():
                        pg.execute("SELECT pg_logical_emit_message(false, 'filler', 'x')")
                        pg.execute("SELECT pg_switch_wal()")
                        pg.execute("CHECKPOINT")
                        return int(streams(host)[0]["restarts"]) > restarts

                    load.until(taken, 60, "the slot is lost")
                assert pg.log_text().count("to release replication slot") > lost, "it was lost for another reason"
            load.until(lambda: streams(host)[0]["state"] == "running", 60, "the stream runs again")
        with host.wire() as w:
            equal([v for v, _ in warm(host, w, READ % 3)], [str(load.acknowledged[3])])
        equal(pg.execute("SELECT count(*) FROM pg_replication_slots WHERE NOT temporary OR wal_status = 'lost'")[0][0], 0)


@test("the log is switched, and idle: hits go on, and a write right behind is seen")
def switched():
    with started() as host, host.wire() as w, pg.connect() as around:
        warm(host, w, "SELECT v FROM few WHERE id = 2")
        for n in range(1, 11):
            pg.execute("SELECT pg_switch_wal()")
            before = stats(host)
            for _ in range(20):
                equal(w.query("SELECT v FROM few WHERE id = 2"), [[str(n - 1)]])
            after = stats(host)
            equal((after["hits"] - before["hits"], after["unchecked"] - before["unchecked"]), (20, 0))
            if n % 2:
                pg.execute("SELECT pg_switch_wal()")
            around.execute("UPDATE few SET v = %d WHERE id = 2" % n)
            equal(w.query("SELECT v FROM few WHERE id = 2"), [[str(n)]])
            warm(host, w, "SELECT v FROM few WHERE id = 2")


@contextlib.contextmanager
def in_flight(host, wires):
    """All miss the same answer, which PostgreSQL is at work on until the block ends: a lock holds it back."""
    with host.wire() as w:
        warm(host, w, SLOW.replace("1000", "1001"))
    with pg.connect() as holder:
        holder.execute("UPDATE few SET v = v + 1")  # it may have been kept
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE few IN ACCESS EXCLUSIVE MODE")
        for w in wires:
            w.send(query(SLOW))
        wait_for(lambda: pg.backends("wait_event_type = 'Lock' AND query LIKE 'SELECT sum(a.v)%'") > 0, what="it runs")
        yield


@test("the host is killed while it fills: nothing is left of it, and the next one knows nothing old")
def killed():
    with started() as host:
        for n in range(3):
            wires = [host.wire() for _ in range(20)]
            with in_flight(host, wires):
                os.kill(host.host_pid(), signal.SIGKILL)
                for w in wires:
                    w.expect_closed()
            pg.execute("UPDATE few SET v = v + 1")
            wanted = [[str(v) for v, in pg.execute(SLOW)]]
            with host.wire() as w:
                equal(w.query(SLOW), wanted)
                equal(warm(host, w, SLOW), wanted)
            wait_for(
                lambda: pg.execute("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'howdah%'")[0][0] == 1,
                what="one slot alone",
            )
            pg.execute("UPDATE few SET v = v + 1")
            with host.wire() as w:
                equal(w.query(SLOW), [[str(v) for v, in pg.execute(SLOW)]])


@test("the server crashes while it is asked: those who waited get an error or an answer, and nothing old is left")
def server_crashes():
    with started() as host:
        wires = [host.wire() for _ in range(20)]
        with contextlib.suppress(psycopg.OperationalError), in_flight(host, wires):  # the lock's holder is ended as well
            pg.restart("immediate")
        before = [[str(v) for v, in pg.execute(SLOW)]]
        for w in wires:
            try:
                answer = w.recv_until("ZE", timeout=60)
                if answer[-1].type == "Z":
                    equal([[v.decode() for v in m.row()] for m in answer if m.type == "D"], before)
            except WireClosed:
                pass
            w.close()
        with host.wire() as w:
            equal(warm(host, w, SLOW), before)
            pg.execute("UPDATE few SET v = v + 1")
            wanted = [[str(v) for v, in pg.execute(SLOW)]]
            equal(w.query(SLOW), wanted)
            equal(warm(host, w, SLOW), wanted)


main()
