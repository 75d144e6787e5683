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

OK, ENOENT, ETIMEOUT, ECANCELLED, EIO = 0, -3, -6, -7, -8

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
    CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
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
            ("deferred", "it has no replica identity.*"),
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
        pg.execute("INSERT INTO deferred VALUES (1)")
        pg.execute("UPDATE deferred SET id = 2")
    with Host(pg, config()) as host:
        s = Stream(host)  # asked for before the stream runs
        s.mine("COVER", oid("nokey"), oid("item"))
        s.expect("coverage %d no: .*" % oid("nokey"))
        wait_for(lambda: s.mine("COVERED", oid("item")) == "1", what="the table to be covered")


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
        host.switch("follow", "enable")
        Stream(host).running()
    wait_for(lambda: slots() == 0, what="the slot to go with the host")
    host = Host(pg, config())
    Stream(host).running()
    equal(slots(), 1)
    host.kill()
    wait_for(lambda: slots() == 0, what="the slot to go with the process")


@test("waits for positions: those that are there, those that come, and those that do not")
def waits():
    with streaming("item") as (_, s):
        there = int(s.mine("POSITION"))
        equal(s.wait(there), OK)
        pg.execute("TRUNCATE item")
        xid = pg.execute("INSERT INTO item VALUES (1) RETURNING pg_current_xact_id()")[0][0]
        end = lsn_number(pg.execute("SELECT pg_current_wal_flush_lsn()")[0][0])
        equal(s.wait(end), OK)
        assert "commit %s" % xid in s.read(), s.events
        assert int(s.mine("POSITION")) >= end
        equal(s.wait(end + (1 << 40), 100), ETIMEOUT)
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(s.wait(end + (1 << 40), 60000)))
        waiting.start()
        wait_for(lambda: int(show(s.host)["unsettled"]) == 0)
        time.sleep(0.2)
        s.close()
        waiting.join(60)
        assert not waiting.is_alive()
        assert answers in ([ECANCELLED], [ENOENT]), answers


def checked(s, xid, statement="commit"):
    """A check that starts now ends well, and soon, and by then the transaction was told."""
    started = time.monotonic()
    equal(s.check()[0], OK)
    took = time.monotonic() - started
    assert "%s %s" % (statement, xid) in s.read(), (xid, s.events[-20:])
    return took


@test("a check ends when all that was acknowledged was told: log idle, transactions open, commits asynchronous")
def checks():
    with streaming("item") as (host, s):
        pg.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        pg.execute("SELECT pg_reload_conf()")
        pg.execute("TRUNCATE item")
        with pg.connect() as c, pg.connect(autocommit=False) as open_one:
            for i in range(20):
                xid = c.execute("INSERT INTO item VALUES (%d) RETURNING pg_current_xact_id()" % i).fetchone()[0]
                checked(s, xid)
                checked(s, xid)  # nothing has been written since
            for i in range(20, 40):
                open_one.execute("INSERT INTO item VALUES (%d)" % (1000 + i))
                xid = c.execute("INSERT INTO item VALUES (%d) RETURNING pg_current_xact_id()" % i).fetchone()[0]
                checked(s, xid)
            open_one.rollback()
            c.execute("SET synchronous_commit = off")
            slowest = 0
            before = int(show(host)["flushes"])
            for i in range(40, 60):
                xid = c.execute("INSERT INTO item VALUES (%d) RETURNING pg_current_xact_id()" % i).fetchone()[0]
                slowest = max(slowest, checked(s, xid))
            assert slowest < 8, slowest  # without help the log is written after 10 s
            assert int(show(host)["flushes"]) > before
        pg.execute("ALTER SYSTEM RESET wal_writer_delay")
        pg.execute("SELECT pg_reload_conf()")


@test("a check ends where a page or a file of the log has just begun")
def borders():
    with streaming("item") as (_, s):
        pg.execute("TRUNCATE item")
        with pg.connect() as c:
            for _ in range(5):
                c.execute("SELECT pg_switch_wal()")
                equal(s.check()[0], OK)
                c.execute("CHECKPOINT")
                equal(s.check()[0], OK)
            # Messages that fill the page to its end, or to some bytes before it.
            found = 0
            for i in range(60):
                at = lsn_number(c.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]) % 8192
                left = 8192 - at
                # Header of the record, of the message, the prefix, and the alignment.
                length = left - 24 - 2 - 5 - 21 - 7 - (i % 4) * 8
                if length < 300:
                    c.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 2000))")
                    continue
                c.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', %s))" % length)
                at = lsn_number(c.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]) % 8192
                found += at in (24, 40)
                equal(s.check()[0], OK)
            assert found, "no record ended with its page"


@test("many checks share questions")
def shared():
    with streaming("item") as (host, s):
        before = show(host)
        answers = []

        def ask():
            for _ in range(10):
                answers.append(s.check()[0])

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        equal(answers, [OK] * 160)
        after = show(host)
        equal(int(after["checks"]) - int(before["checks"]), 160)


def waits_for_standby(pid):
    return pg.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %d" % pid) == [("SyncRep",)]


def stall_commits():
    """From here on a commit waits for a standby that never comes; those with synchronous_commit = local do not."""
    pg.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    pg.execute("SELECT pg_reload_conf()")
    with pg.connect() as c:
        pid = c.info.backend_pid

        def stalls():
            trial = threading.Thread(target=lambda: c.execute("INSERT INTO nokey VALUES (3)"))
            trial.start()
            while trial.is_alive() and not waits_for_standby(pid):
                time.sleep(harness.POLL)
            stalled = trial.is_alive()
            while trial.is_alive():
                pg.execute("SELECT pg_cancel_backend(%d)" % pid)
                trial.join(harness.POLL)
            return stalled

        wait_for(stalls, what="commits to stall")


@test("a commit that is stalled by a standby is told, and settled only when others see it")
def stalled():
    with streaming("item") as (_, s):
        pg.execute("TRUNCATE item")
        pg.execute("INSERT INTO item VALUES (1, 'old')")
        stall_commits()
        try:
            with pg.connect() as writer:
                pid = writer.info.backend_pid
                stuck = threading.Thread(target=lambda: writer.execute("UPDATE item SET name = 'new'"))
                stuck.start()
                xid = s.expect("update (\\d+) item .*name=new.*").group(1)
                s.expect("commit %s" % xid)
                wait_for(lambda: waits_for_standby(pid), what="the writer to wait for its standby")
                equal(pg.execute("SELECT name FROM item"), [("old",)])
                # Who follows from now on has missed that commit: he is not told RUNNING before it is over.
                late = Stream(s.host)
                late.expect("state starting")
                for _ in range(5):
                    equal(s.check()[0], OK)
                assert "state running" not in late.read(), late.events
                for _ in range(5):  # each question takes a snapshot
                    equal(s.check()[0], OK)
                assert "settled %s" % xid not in s.read(), s.events
                equal(s.mine("INFO").split()[2], "1")
                # Others', which are visible, are settled meanwhile.
                with pg.connect() as c:
                    c.execute("SET synchronous_commit = local")
                    other = c.execute("INSERT INTO item VALUES (2) RETURNING pg_current_xact_id()").fetchone()[0]
                s.expect("settled %s" % other)
                assert "settled %s" % xid not in s.read(), s.events
                # A stream that begins now does not run before the stalled one is over.
                pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
                s.expect("lost .*")
                s.expect("state starting")
                time.sleep(0.5)
                assert "state running" not in s.read()[s.seen :], s.events
                pg.execute("ALTER SYSTEM RESET synchronous_standby_names")
                pg.execute("SELECT pg_reload_conf()")
                stuck.join(60)
                s.expect("state running")
        finally:
            pg.execute("ALTER SYSTEM RESET synchronous_standby_names")
            pg.execute("SELECT pg_reload_conf()")


@test("a killed walsender is a gap: lost, and then again")
def killed():
    with streaming("item", "whole") as (host, s):
        pg.execute("TRUNCATE item")
        pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
        s.expect("lost terminating connection.*")
        s.expect("state starting")
        s.expect("state running")
        wait_for(lambda: s.mine("COVERED", oid("item")) == s.mine("COVERED", oid("whole")) == "1", what="the tables")
        equal(s.told("INSERT INTO item VALUES (5)"), ["insert item [] [id=5,name=NULL,price=NULL]"])
        equal(show(host)["restarts"], 1)
        equal(show(host)["state"], "running")
        pg.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'howdah change-stream' AND backend_type = 'client backend'"
        )
        s.expect("lost .*")
        s.expect("state running")
        equal(slots(), 1)


@test("a server that restarts is a gap, too, and waiting ends")
def restarted():
    own = Postgres()
    with Host(own, config()) as host:
        s = Stream(host).running()
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(s.wait(1 << 60, 60000)))
        waiting.start()
        wait_for(lambda: int(show(host)["checks"]) == 0 and waiting.is_alive())
        own.stop("immediate")
        s.expect("lost .*")
        waiting.join(60)
        equal(answers, [EIO])
        equal(s.mine("POSITION"), "0")
        equal(s.check()[0], EIO)
        own.start()
        s.expect("state running")
        equal(s.check()[0], OK)


@test("a table that is asked for late is covered when those who were writing it have ended")
def late():
    with streaming("item") as (_, s):
        with pg.connect(autocommit=False) as writer:
            writer.execute("INSERT INTO later VALUES (1)")
            s.mine("COVER", oid("later"))
            wait_for(
                lambda: pg.execute("SELECT 1 FROM pg_publication_rel WHERE prrelid = 'later'::regclass"),
                what="the table to be in the publication",
            )
            for _ in range(5):
                equal(s.check()[0], OK)
            equal(s.mine("COVERED", oid("later")), "0")
            writer.execute("INSERT INTO later VALUES (2)")
            writer.commit()
        s.expect("coverage %d yes" % oid("later"))
        equal(s.told("DELETE FROM later WHERE id = 1"), ["delete later [id=1] []"])
        # Who comes second is told what is covered, and runs.
        t = Stream(s.host).running()
        equal({e for e in t.read() if e.startswith("coverage")}, {"coverage %d yes" % oid(x) for x in ("item", "later")})
        equal(t.told("INSERT INTO later VALUES (3)"), ["insert later [] [id=3]"])


@test("finds out when a table leaves the publication, if only for a moment, and when it is dropped")
def tampered():
    pg.execute("CREATE TABLE dropped (id int PRIMARY KEY)")
    with streaming("item", "later", "dropped") as (_, s):
        gone = oid("dropped")
        with pg.connect() as c:
            c.execute("ALTER PUBLICATION howdah DROP TABLE later")
            c.execute("INSERT INTO later VALUES (100)")
            c.execute("ALTER PUBLICATION howdah ADD TABLE later")
        equal(s.check()[0], OK)
        s.expect("coverage %d no: it was taken out of the publication" % oid("later"))
        equal(s.mine("COVERED", oid("item")), "1")
        pg.execute("DROP TABLE dropped")
        equal(s.check()[0], OK)
        s.expect("coverage %d no: .*" % gone)
        equal(s.mine("COVERED", oid("item")), "1")
        wait_for(
            lambda: (s.mine("COVER", oid("later")), s.mine("COVERED", oid("later")))[1] == "1",
            what="the table to be covered again",
        )
        equal(s.told("DELETE FROM later WHERE id = 100"), ["delete later [id=100] []"])
        pg.execute("ALTER PUBLICATION howdah SET (publish = 'insert')")
        code, _ = s.check()
        equal(code, EIO)
        s.expect("lost the publication was changed")
        wait_for(lambda: "has to publish" in show(s.host)["reason"], what="the reason to be shown")
        pg.execute("ALTER PUBLICATION howdah SET (publish = 'insert, update, delete, truncate')")
        s.expect("state running")


@test("reads a publication that somebody else manages, and adds nothing to it")
def managed():
    pg.execute("DROP PUBLICATION IF EXISTS theirs")
    with Host(pg, config(publication="theirs", manage_publication="no")) as host:
        s = Stream(host)
        wait_for(lambda: "there is no publication" in show(host)["reason"], what="the reason to be shown")
        pg.execute("CREATE PUBLICATION theirs FOR TABLE item, later WHERE (id > 5)")
        s.running()
        s.mine("COVER", oid("item"), oid("later"), oid("other"))
        s.expect("coverage %d no: it is not in the publication.*" % oid("other"))
        wait_for(lambda: s.mine("COVERED", oid("item")) == "1", what="the listed table to be covered")
        assert any("filter" in e and str(oid("later")) in e for e in s.read()), s.events
        equal(pg.execute("SELECT count(*) FROM pg_publication_tables WHERE pubname = 'theirs'")[0][0], 2)
        pg.execute("ALTER PUBLICATION theirs ADD TABLE other")
        wait_for(
            lambda: (s.mine("COVER", oid("other")), s.mine("COVERED", oid("other")))[1] == "1",
            what="the added table to be covered",
        )
        equal(s.told("INSERT INTO other VALUES (1)"), ["insert other [] [id=1]"])
    pg.execute("DROP PUBLICATION theirs")


@test("waits for a writer whose transaction is younger than the one that has added the table")
def younger():
    pg.execute("DROP PUBLICATION IF EXISTS theirs")
    pg.execute("CREATE PUBLICATION theirs FOR TABLE item")
    with Host(pg, config(publication="theirs", manage_publication="no")) as host:
        s = Stream(host).running()
        with pg.connect(autocommit=False) as adds, pg.connect(autocommit=False) as writes:
            adds.execute("ALTER PUBLICATION theirs ADD TABLE other")
            writes.execute("INSERT INTO other VALUES (77)")
            adds.commit()
            s.mine("COVER", oid("other"))
            before = show(host)["questions"]
            wait_for(lambda: show(host)["questions"] > before + 5, what="questions to be asked")
            equal(s.mine("COVERED", oid("other")), "0")
            writes.commit()
        s.expect("coverage %d yes" % oid("other"))
        equal(s.told("DELETE FROM other WHERE id = 77"), ["delete other [id=77] []"])
    pg.execute("DROP PUBLICATION theirs")


@test("gives up its slot when the server has to keep too much for it")
def too_much():
    with Host(pg, config(max_lag="2M")) as host:
        s = Stream(host).running()
        with pg.connect(autocommit=False) as holds:
            holds.execute("INSERT INTO nokey VALUES (1)")
            for _ in range(4):
                pg.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000))")
            pg.execute("CHECKPOINT")
            s.expect("lost the server holds more of its log than max_lag")
        s.expect("state running")


@test("tells of DDL around the host once the event triggers are set up, and of roles")
def ddl():
    with streaming("item") as (_, s):
        setup, unsetup = s.ask("SETUP"), s.ask("UNSETUP")
        equal(s.mine("INFO").split()[1], "0")
        for _ in range(2):  # it may be run again
            with pg.connect() as c:
                for statement in re.split(r";\n(?=CREATE|DROP|ALTER)", setup):
                    c.execute(statement)
        equal(s.check()[0], OK)
        s.expect("changed ddl")
        equal(s.mine("INFO").split()[1], "1")

        def messages(*statements):
            with pg.connect(autocommit=False) as c:
                for statement in statements:
                    c.execute(statement)
            start = len(s.read())
            equal(s.check()[0], OK)
            told = [e.split(" ", 3) for e in s.read() if e.startswith("message")]
            s.seen = start
            del s.events[:]
            s.seen = 0
            return [w[3] for w in told if w[2] == "howdah-ddl"]

        messages()
        told = messages("CREATE TABLE made (id int)")
        equal(told, ["CREATE TABLE %d" % oid("made")])
        equal(messages("ALTER TABLE made ADD more text"), ["ALTER TABLE %d" % oid("made")])
        told = messages("ALTER TABLE made ALTER id TYPE bigint")
        equal(sorted(told), ["ALTER TABLE %d" % oid("made")] * 2)
        equal(messages("GRANT SELECT ON made TO app"), ["GRANT"])
        equal(messages("CREATE TEMP TABLE mine (id int)", "DROP TABLE mine"), [])
        equal(messages("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"), ["CREATE FUNCTION"])
        equal(messages("DROP TABLE made"), ["DROP TABLE"])
        pg.execute("CREATE ROLE fresh")
        equal(s.check()[0], OK)
        s.expect("changed roles")
        pg.execute("GRANT fresh TO app")
        equal(s.check()[0], OK)
        s.expect("changed roles")
        pg.execute("ALTER ROLE app SET work_mem = '5MB'")
        equal(s.check()[0], OK)
        s.expect("changed roles")
        with pg.connect() as c:
            for statement in unsetup.split(";\n"):
                if statement:
                    c.execute(statement)
        equal(s.check()[0], OK)
        s.expect("changed ddl")
        equal(s.mine("INFO").split()[1], "0")
        pg.execute("DROP ROLE fresh")


@test("publishes row.changed to whoever subscribes")
def bus():
    with streaming("item") as (host, s):
        number = s.ask("BUS")
        pg.execute("TRUNCATE item")
        xid = pg.execute("INSERT INTO item VALUES (3) RETURNING pg_current_xact_id()")[0][0]
        told = []

        def events():
            told.extend(r["event"] for r in host.console("FOLLOW EVENTS " + number))
            return told

        wait_for(lambda: len(events()) >= 2, what="the events to come")
        equal(told[0].split()[0], "truncate")
        equal(told[1], "insert %s main shop public.item %d" % (xid, oid("item")))
        pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
        wait_for(lambda: events()[-1].startswith("gap"), what="the gap to be told")


@test("says why there is no stream: a server that is not set up, a user who may not, a database that is not there")
def reasons():
    own = Postgres({"wal_level": "replica"})
    own.execute("CREATE ROLE reader LOGIN PASSWORD 'reader-secret'", "postgres")
    with Host(own, config()) as host:
        Stream(host)
        wait_for(lambda: "wal_level" in show(host)["reason"], what="wal_level to be named")
    own.settings["wal_level"] = "logical"
    own._configure()
    own.restart()
    with Host(own, config(user="reader", password="reader-secret")) as host:
        Stream(host)
        wait_for(lambda: show(host)["reason"], what="a reason")
        reason = wait_for(lambda: show(host)["reason"])
        assert "superuser or replication role" in reason or "no pg_hba.conf entry" in reason, reason
        assert "reader-secret" not in host.log_text()
        own.execute("ALTER ROLE reader REPLICATION", "postgres")
        s = Stream(host).running()
        own.execute("CREATE TABLE item (id int PRIMARY KEY)")
        number = own.execute("SELECT 'item'::regclass::oid")[0][0]
        s.mine("COVER", number)
        s.expect("coverage %d yes" % number)
        equal(s.check()[0], OK)
        t = Stream(host, "nowhere")
        wait_for(lambda: "does not exist" in show(host, "nowhere")["reason"], what="the reason to be shown")
        t.close()
        wait_for(lambda: len(host.console("SHOW STREAMS")) == 1, what="the stream to go")


main()
