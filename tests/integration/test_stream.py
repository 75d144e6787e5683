"""The change stream on a real PostgreSQL: what it tells, in which order, how far it is, and what it makes of gaps."""

# Runs under TSan too.

import contextlib
import os
import re
import signal
import threading
import time

import psycopg

import harness
from harness import Host, Postgres, comment, equal, main, test, wait_for

OK, ETIMEOUT, EIO = 0, -6, -8

pg = Postgres({"max_wal_senders": 10, "max_replication_slots": 10, "max_prepared_transactions": 10})
for _statement in """
    CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);
    CREATE TABLE whole (id int, name text); ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE byindex (id int NOT NULL, code text NOT NULL, note text);
    CREATE UNIQUE INDEX byindex_code ON byindex (code); ALTER TABLE byindex REPLICA IDENTITY USING INDEX byindex_code;
    CREATE TABLE long (id int PRIMARY KEY, body text, n int); ALTER TABLE long ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE part (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE part_a PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE part_b PARTITION OF part FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE nokey (id int);
    CREATE UNLOGGED TABLE fast (id int PRIMARY KEY);
    CREATE VIEW aview AS SELECT 1;
    CREATE TABLE later (id int PRIMARY KEY);
    CREATE TABLE other (id int PRIMARY KEY);
    CREATE DATABASE second
    """.split(";"):
    pg.execute(_statement)

FOLLOW = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/follow.so"))


def config(**options):
    return {
        "plugin change-stream": {"enabled": "yes", "retry_interval": "50ms", **options},
        "plugin follow": {"enabled": "yes", "library": FOLLOW},
    }


def oid(table):
    return pg.execute("SELECT '%s'::regclass::oid" % table)[0][0]


class Stream:
    """A stream that the test plugin follows."""

    def __init__(self, host, database="shop"):
        self.host = host
        self.database = database
        self.events = []
        self.seen = 0
        self.number = self.ask("OPEN", "main", database)

    def ask(self, command, *args):
        rows = self.host.console(" ".join(["FOLLOW", command, *map(str, args)]))
        return rows[0]["answer"] if rows else None

    def mine(self, command, *args):
        return self.ask(command, self.number, *args)

    def read(self):
        self.events += [r["event"] for r in self.host.console("FOLLOW EVENTS %s" % self.number)]
        return self.events

    def expect(self, pattern, timeout=20.0):
        """Waits for an event that matches, beyond what was expected before; returns the match."""

        def found():
            for i, event in enumerate(self.read()[self.seen :]):
                m = re.fullmatch(pattern, event)
                if m:
                    self.seen += i + 1
                    return m

        try:
            return wait_for(found, timeout, "an event that matches %r" % pattern)
        except AssertionError:
            comment("events: " + "\n".join(self.events[self.seen :][-40:]))
            raise

    def running(self):
        self.expect("state running")
        return self

    def cover(self, *tables):
        equal(self.mine("COVER", *[oid(t) for t in tables]), "0")
        waiting = {str(oid(t)) for t in tables}
        while waiting:
            waiting.discard(self.expect("coverage (\\d+) yes").group(1))
        for t in tables:
            equal(self.mine("COVERED", oid(t)), "1")
        return self

    def told(self, *statements, database="shop"):
        """The changes of one transaction, without its xid, when all of it was told and settled."""
        with pg.connect(database, autocommit=False) as c:
            for statement in statements:
                c.execute(statement)
            xid = c.execute("SELECT pg_current_xact_id()").fetchone()[0]
        start = self.seen
        self.expect("settled %s" % xid)
        mine = [e.split(" ", 2) for e in self.events[start : self.seen] if " " in e]
        whole = [e for e in self.events[start : self.seen] if re.match(r"\w+ %s( |$)" % xid, e)]
        equal((whole[0], whole[-2], whole[-1]), ("begin %s" % xid, "commit %s" % xid, "settled %s" % xid))
        return [w[0] + " " + w[2] for w in mine if w[1] == str(xid) and len(w) > 2]

    def check(self, ms=20000):
        code, lsn = self.mine("CHECK", ms).split()
        return int(code), int(lsn)

    def wait(self, lsn, ms=20000):
        return int(self.mine("WAIT", lsn, ms).split()[0])

    def close(self):
        self.mine("CLOSE")


def lsn_number(text):
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def slots():
    return pg.execute("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'howdah%'")[0][0]


def show(host, database="shop"):
    return next(r for r in host.console("SHOW STREAMS") if r["database"] == database)


@contextlib.contextmanager
def streaming(*tables, **options):
    with Host(pg, config(**options)) as host:
        stream = Stream(host).running()
        if tables:
            stream.cover(*tables)
        yield host, stream


@test("tells rows, with the identity's columns of what they were")
def rows():
    with streaming("item", "whole", "byindex") as (_, s):
        told = s.told("INSERT INTO item VALUES (1, 'one', 1.50), (2, NULL, 2)")
        equal(told, ["insert item [] [id=1,name=one,price=1.50]", "insert item [] [id=2,name=NULL,price=2]"])
        equal(s.told("UPDATE item SET name = 'uno' WHERE id = 1"), ["update item [] [id=1,name=uno,price=1.50]"])
        equal(
            s.told("UPDATE item SET id = 7 WHERE id = 1"),
            ["update item [id=1,name=(absent),price=(absent)] [id=7,name=uno,price=1.50]"],
        )
        equal(s.told("DELETE FROM item WHERE id = 2"), ["delete item [id=2,name=(absent),price=(absent)] []"])
        equal(s.told("INSERT INTO whole VALUES (1, NULL)"), ["insert whole [] [id=1,name=NULL]"])
        equal(s.told("UPDATE whole SET name = 'x'"), ["update whole [id=1,name=NULL] [id=1,name=x]"])
        equal(s.told("DELETE FROM whole"), ["delete whole [id=1,name=x] []"])
        s.told("INSERT INTO byindex VALUES (1, 'a', 'note')")
        equal(
            s.told("UPDATE byindex SET code = 'b'"),
            ["update byindex [id=(absent),code=a,note=(absent)] [id=1,code=b,note=note]"],
        )
        equal(s.told("UPDATE byindex SET note = 'n'"), ["update byindex [] [id=1,code=b,note=n]"])
        assert "relation public.item d id*:23 name:25 price:1700" in s.events, s.events
        assert "relation public.whole f id*:23 name*:25" in s.events, s.events
        assert "relation public.byindex i id:23 code*:25 note:25" in s.events, s.events


@test("tells truncates, long values that stay as they are, and leaves of partitioned tables")
def kinds():
    with streaming("item", "long", "part_a", "part_b") as (_, s):
        told = s.told("TRUNCATE item, long")
        equal(len(told), 1)
        equal(sorted(told[0].split()[1:]), sorted([str(oid("item")), str(oid("long"))]))
        s.told("INSERT INTO long VALUES (1, repeat('x', 5000), 1)")
        equal(s.told("UPDATE long SET n = 2"), ["update long [] [id=1,body=(unchanged),n=2]"])
        equal(s.told("INSERT INTO part VALUES (1, '2024-05-05')"), ["insert part_a [] [id=1,at=2024-05-05]"])
        equal(
            s.told("UPDATE part SET at = '2025-05-05'"),
            ["delete part_a [id=1,at=2024-05-05] []", "insert part_b [] [id=1,at=2025-05-05]"],
        )


@test("says which tables it cannot cover, and why")
def refused():
    with streaming("item") as (_, s):
        for table, why in (
            ("nokey", "it has no replica identity.*"),
            ("fast", "it is unlogged or temporary"),
            ("aview", "it is no ordinary table"),
            ("part", "it is partitioned.*"),
            ("pg_class", "it is no ordinary table"),
        ):
            s.mine("COVER", oid(table))
            s.expect("coverage %s no: %s" % (oid(table), why))
            equal(s.mine("COVERED", oid(table)), "0")
        s.mine("COVER", 4000000000)
        s.expect("coverage 4000000000 no: there is no such table")
        # The application's updates of it still work: it is not in the publication.
        pg.execute("INSERT INTO nokey VALUES (1)")
        pg.execute("UPDATE nokey SET id = 2")


@test("tells transactions whole, in the order of their commits, and none that is rolled back")
def order():
    with streaming("item") as (_, s):
        pg.execute("TRUNCATE item")
        with pg.connect(autocommit=False) as a, pg.connect(autocommit=False) as b, pg.connect(autocommit=False) as c:
            xids = {}
            for name, connection in (("a", a), ("b", b), ("c", c)):
                n = ord(name)
                connection.execute("INSERT INTO item VALUES (%d, '%s')" % (n, name))
                xids[name] = connection.execute("SELECT pg_current_xact_id()").fetchone()[0]
            a.execute("SAVEPOINT s")
            a.execute("INSERT INTO item VALUES (1000, 'gone')")
            a.execute("ROLLBACK TO s")
            a.execute("SAVEPOINT t")
            a.execute("INSERT INTO item VALUES (1001, 'kept')")
            c.commit()
            b.rollback()
            a.commit()
        with pg.connect() as p:
            p.execute("BEGIN")
            p.execute("INSERT INTO item VALUES (2000, 'prepared')")
            xid = p.execute("SELECT pg_current_xact_id()").fetchone()[0]
            p.execute("PREPARE TRANSACTION 'stream'")
        equal(s.check()[0], OK)
        assert not [e for e in s.read() if "2000" in e], s.events
        pg.execute("COMMIT PREPARED 'stream'")
        s.expect("settled %s" % xid)
        told = [e for e in s.events if e.startswith(("begin", "insert", "commit")) and e.split()[1] in
                map(str, [*xids.values(), xid])]
        equal(
            told,
            [
                "begin %s" % xids["c"], "insert %s item [] [id=99,name=c,price=NULL]" % xids["c"], "commit %s" % xids["c"],
                "begin %s" % xids["a"], "insert %s item [] [id=97,name=a,price=NULL]" % xids["a"],
                "insert %s item [] [id=1001,name=kept,price=NULL]" % xids["a"], "commit %s" % xids["a"],
                "begin %s" % xid, "insert %s item [] [id=2000,name=prepared,price=NULL]" % xid, "commit %s" % xid,
            ],
        )  # fmt: skip


@test("has no slot before, and leaves none when its consumer goes, when it stops and when it is killed")
def no_slot_left():
    with Host(pg, config()) as host:
        equal(slots(), 0)
        s = Stream(host).running()
        t = Stream(host).running()
        equal(slots(), 1)
        equal(pg.execute("SELECT temporary, plugin FROM pg_replication_slots")[0], (True, "pgoutput"))
        s.close()
        equal(slots(), 1)
        t.close()
        wait_for(lambda: slots() == 0, what="the slot to go with the last consumer")
        Stream(host).running()
        Stream(host, "second").running()
        equal(slots(), 2)
        host.control("plugin", "follow", "disable")
        wait_for(lambda: slots() == 0, what="the slots to go")
        host.control("plugin", "follow", "enable")
        Stream(host).running()
    wait_for(lambda: slots() == 0, what="the slot to go with the host")
    host = Host(pg, config())
    Stream(host).running()
    equal(slots(), 1)
    host.kill()
    wait_for(lambda: slots() == 0, what="the slot to go with the process")


main()
