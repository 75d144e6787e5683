"""
The oracle: sessions made up at random run straight on PostgreSQL and through howdahd, each on a database of its own,
and every message must be the same byte for byte.

    tests/integration/run tests/oracle/test_oracle.py [--seed N] [--sessions N] [--steps N]

A failure names its seed; the same seed makes the same session again.
"""

import argparse
import random
import re
import sys

import pgwire
import sides
from harness import Host, Postgres, main, test
from pgwire import bind, close, copy_data, copy_done, copy_fail, describe, execute, parse, query, sync

options = argparse.ArgumentParser()
options.add_argument("--seed", type=int, default=1)
options.add_argument("--sessions", type=int, default=25)
options.add_argument("--steps", type=int, default=40)
options = options.parse_args()
sys.argv = sys.argv[:1]

pg = Postgres()
pg.execute("CREATE TABLE item (id int PRIMARY KEY, name text, amount numeric)")
pg.execute("INSERT INTO item SELECT i, 'item ' || i, i / 7.0 FROM generate_series(1, 50) i")
pg.execute("GRANT ALL ON item TO app")
sides.make_twin(pg)


class Both(sides.Sides):
    """
    Sides that forgive what an application cannot build on: how an error calls a statement that was closed behind it in
    the pipeline, and with which message and error of a batch a transaction that has failed already refuses it.
    """

    failed = False

    def _forgiven(self, messages):
        kept, failed = [], self.failed
        for m in messages:
            if m.type == "E":
                m = pgwire.Message("E", re.sub(rb'statement "[^"]*"', b"statement", m.body))
                if failed:
                    m = pgwire.Message("E", b"")
                    while kept and kept[-1].type in "123tn":
                        kept.pop()
            elif m.type == "Z":
                failed = m.body == b"E"
            kept.append(m)
        return kept

    def _same(self, sent, direct, through, own):
        super()._same(sent, self._forgiven(direct), self._forgiven(through), own)
        if direct and direct[-1].type == "Z":
            self.failed = direct[-1].body == b"E"


class Session:
    """One made-up session. Each step sends something on both sides; Sides compares what comes back."""

    def __init__(self, both, rng, pinned):
        self.both = both
        self.rng = rng
        # State that only a kept server has: not in transaction pooling.
        self.pinned = pinned

    def number(self):
        return self.rng.randint(-2, 60)

    def name(self):
        return self.rng.choice(("a", "b", "c", "d"))

    def statement(self):
        """One statement without parameters."""
        n, rng = self.number(), self.rng
        plain = (
            "SELECT %d, 'text %d', NULL" % (n, n),
            "SELECT * FROM item WHERE id = %d" % n,
            "SELECT id, name FROM item WHERE id < %d ORDER BY id" % n,
            "INSERT INTO item VALUES (%d, 'again', %d) RETURNING id" % (n, n),
            "UPDATE item SET amount = amount + 1 WHERE id BETWEEN %d AND %d" % (n, n + 5),
            "DELETE FROM item WHERE id = %d" % n,
            "SELECT 10 / %d" % rng.choice((0, 1, 2)),
            "SELECT * FROM not_there_%d" % n,
            "SELEC %d" % n,
            "SELECT repeat('x', %d)" % (abs(n) * 1000),
            "SELECT i FROM generate_series(1, %d) i" % abs(n),
            "DO $$ BEGIN RAISE NOTICE 'note %d'; END $$" % n,
            "DO $$ BEGIN RAISE EXCEPTION 'own %d' USING ERRCODE = 'ZZ001'; END $$" % n,
            "BEGIN",
            "BEGIN ISOLATION LEVEL REPEATABLE READ",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT %s" % self.name(),
            "ROLLBACK TO %s" % self.name(),
            "RELEASE %s" % self.name(),
            "DECLARE cursor_%s CURSOR FOR SELECT id FROM item ORDER BY id" % self.name(),
            "FETCH 3 FROM cursor_%s" % self.name(),
            "CLOSE cursor_%s" % self.name(),
            "SET application_name = 'app %d'" % n,
            "SHOW application_name",
            "SET TimeZone = '%s'" % rng.choice(("UTC", "Asia/Tokyo", "Nowhere/Land")),
            "SELECT TIMESTAMPTZ '2001-02-03 04:05:06Z'",
            "SET LOCAL DateStyle = 'German'",
            "SELECT DATE '2001-02-03'",
            "RESET application_name",
            "COPY (SELECT id FROM item ORDER BY id LIMIT %d) TO STDOUT" % abs(n),
            "EXPLAIN (COSTS OFF) SELECT * FROM item WHERE id = %d" % n,
            "",
            "-- a comment",
        )
        kept = (
            "SET work_mem = '%dMB'" % rng.randint(1, 9),
            "SHOW work_mem",
            "CREATE TEMP TABLE IF NOT EXISTS temp_%s (a int)" % self.name(),
            "INSERT INTO temp_%s VALUES (%d)" % (self.name(), n),
            "SELECT * FROM temp_%s ORDER BY a" % self.name(),
            "DECLARE held_%s CURSOR WITH HOLD FOR SELECT id FROM item ORDER BY id" % self.name(),
            "FETCH 2 FROM held_%s" % self.name(),
            "RESET ALL",
        )
        return rng.choice(plain + kept if self.pinned else plain)

    def simple(self):
        if self.rng.random() < 0.05:
            return query(self.rng.choice(("DEALLOCATE ALL", "DISCARD ALL")))
        return query("; ".join(self.statement() for _ in range(self.rng.choice((1, 1, 1, 2, 3)))))

    def parse(self, name, *rest):
        """As drivers do, a name is closed before it is given again."""
        return (close("S", name) if name else b"") + parse(name, *rest)

    def message(self):
        """One message of a batch in the extended protocol."""
        # Portals that are not there any more are left alone: PostgreSQL 15 itself has died of describing them.
        name, portal = self.name(), self.rng.choice(("", "", "p"))
        values = self.rng.choice(([], [str(self.number())], [str(self.number())]))
        run = bind(portal, name, values) + self.rng.choice((b"", describe("P", portal)))
        run += execute(portal, self.rng.choice((0, 0, 0, 1, 2)))
        return self.rng.choice(
            (
                lambda: self.parse(name, self.statement()),
                lambda: self.parse(name, "SELECT $1::int + %d" % self.number(), [23]) + run,
                lambda: self.parse(name, "SELECT name FROM item WHERE id = $1") + run,
                lambda: run + close("P", portal),
                lambda: run,
                lambda: bind(portal, name, values),
                lambda: describe("S", name),
                lambda: close("S", name),
                lambda: close("P", portal),
            )
        )()

    def whole(self):
        """A statement as drivers send it."""
        name = self.rng.choice(("", "", self.name()))
        return self.parse(name, self.statement()) + bind("", name) + describe("P") + execute()

    def pipeline(self):
        parts, ready = [], 0
        for _ in range(self.rng.choice((1, 1, 2, 4))):
            if self.rng.random() < 0.2:
                parts.append(self.simple())
            else:
                count = self.rng.randint(1, 5)
                parts += [self.whole() if self.rng.random() < 0.5 else self.message() for _ in range(count)]
                parts.append(sync())
            ready += 1
        # A Query behind messages without a Sync may be discarded with them: it always follows one here.
        self.both.exchange(*parts, ready=ready, own=True)

    def copy(self):
        self.both.query("ROLLBACK")
        self.both.send(query("COPY item FROM STDIN"))
        self.both.receive(1)
        rows = [copy_data("%d\tcopied\t1\n" % self.rng.choice((1, 1000 + i))) for i in range(self.rng.randint(0, 3))]
        if self.rng.random() < 0.2:
            rows.append(copy_data("not a number\n"))
        self.both.exchange(*rows, self.rng.choice((copy_done, copy_fail))())
        self.both.query("DELETE FROM item WHERE id >= 1000")

    def step(self):
        what = self.rng.random()
        if what < 0.4:
            self.both.exchange(self.simple(), own=True)
        elif what < 0.95:
            self.pipeline()
        else:
            self.copy()

    def run(self, steps):
        for _ in range(steps):
            self.step()
        self.both.query("ROLLBACK")
        self.both.query("SELECT * FROM item ORDER BY id")


def compare(way, host):
    for seed in range(options.seed, options.seed + options.sessions):
        with Both(pg, host, "shop_" + way, disturb=way == "transaction") as both:
            try:
                Session(both, random.Random("%s %d" % (way, seed)), way != "transaction").run(options.steps)
            except Exception as e:
                raise AssertionError("--seed %d --sessions 1, %s: %s" % (seed, way, e)) from e


for mode in sides.MODES:

    @test("sessions from seed %d on are the same [%s]" % (options.seed, mode), timeout=36000)
    def same(mode=mode):
        changes = {"database shop_transaction": {"pool_size": 1, "max_prepared_statements": 30}}
        with Host(pg, sides.pool_modes(pg, changes, queue_timeout="5s")) as host:
            compare(mode, host)


main()
