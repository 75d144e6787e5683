"""Filters hear of transactions' ends before the client does, and may hold back what tells it."""

# Runs under TSan too.

import os
import select
import time

import harness
import sides
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import bind, describe, execute, flush, kinds, parse, query, run, sync

pg = Postgres({"max_prepared_transactions": "5"})
pg.execute("CREATE TABLE item (id int)")
pg.execute("GRANT ALL ON item TO app")

ENDS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/ends.so"))
changes = {"plugin ends": {"enabled": "yes", "library": ENDS}, "host": {"workers": 1, "park_timeout": "1s"}}
host = Host(pg, sides.pool_modes(pg, changes, pool_size=2))


def client(database="shop_auto"):
    return host.wire(database=database)


def ends():
    """What was told since it was asked last, but for what became of those that were left alone."""
    return [row["end"] for row in host.console("SHOW ENDS") if row["end"] != "settled"]


def rows_of_item():
    return pg.execute("SELECT count(*) FROM item")[0][0]


INSERT = "INSERT INTO item VALUES (1)"


def held(mark):
    return "/* ends %s */ %s" % (mark, INSERT)


@test("a statement outside a block is a transaction of its own, in both protocols")
def alone():
    ends()
    for database in ("shop_auto", "shop_transaction", "shop_session"):
        with client(database) as w:
            w.query("SELECT 1")
            equal(ends(), [])
            w.query(INSERT)
            equal(ends(), ["unknown"])
            w.exchange(run(INSERT))
            equal(ends(), ["unknown"])
            w.exchange(query("INSERT INTO item VALUES ('x')"))
            equal(ends(), ["unknown"])
            w.query(INSERT + "; " + INSERT)
            equal(ends(), ["unknown"])


@test("a block ends with COMMIT or ROLLBACK, told once")
def blocks():
    with client() as w:
        for end, told in (("COMMIT", "committed"), ("ROLLBACK", "rolled back"), ("END", "committed"), ("ABORT", "rolled back")):
            w.query("BEGIN")
            w.query(INSERT)
            w.exchange(run(INSERT))
            equal(ends(), [])
            w.query(end)
            equal(ends(), [told])
        w.query("BEGIN")
        w.query(INSERT)
        w.exchange(query("SELECT 1/0"))
        w.query("COMMIT")  # of a failed transaction: a ROLLBACK
        equal(ends(), ["rolled back"])
        w.query("BEGIN; SAVEPOINT s; %s; ROLLBACK TO s" % INSERT)
        equal(ends(), [])
        w.exchange(run("COMMIT"))
        equal(ends(), ["committed"])
        # One that goes on behind its COMMIT may have written there, too.
        w.query("BEGIN; %s; COMMIT; SELECT 1" % INSERT)
        equal(ends(), ["committed", "unknown"])
        w.query("BEGIN; %s; COMMIT; %s" % (INSERT, INSERT))
        equal(ends(), ["committed", "unknown"])
        w.query("BEGIN")
        w.query(INSERT)
        w.query("COMMIT AND CHAIN")
        equal(ends(), ["committed"])
        w.query("SELECT 1")
        w.query("COMMIT")
        equal(ends(), [])


@test("two-phase commits")
def two_phases():
    with client() as w:
        w.query("BEGIN")
        w.query(INSERT)
        w.query("PREPARE TRANSACTION 'one'")
        equal(ends(), ["prepared"])
        w.query("COMMIT PREPARED 'one'")
        equal(ends(), [])  # it asks for no end by itself here


@test("in a pipeline each transaction is told of")
def pipeline():
    with client() as w:
        w.exchange(run(INSERT), run("SELECT 1"), run(INSERT), run(INSERT), ready=4)
        told = ends()
        assert 3 <= len(told) <= 4 and set(told) == {"unknown"}, told  # SELECT 1's end may be taken for one of those behind
        batch = b"".join((parse("", INSERT), bind(), execute()))
        got = w.exchange(batch, batch, sync())
        equal(kinds(got), "12C12CZ")
        equal(ends(), ["unknown"])


@test("what tells the client is held back; what was done is done")
def holds():
    def waits(w, *messages, before=""):
        w.send(*messages)
        if before:
            equal(kinds(w.recv_until(before[-1])), before)
        w.expect_quiet(0.1)

    with client() as w:
        count = rows_of_item()
        waits(w, query(held("hold 200")))
        equal(rows_of_item(), count + 1)
        equal(kinds(w.recv_until("Z")), "CZ")
        # In the extended protocol it is not done before the Sync.
        w.send(parse("", held("hold 200")), bind(), describe("P"), execute(), flush())
        equal(kinds(w.recv_until("C")), "12nC")
        equal(rows_of_item(), count + 1)
        waits(w, sync())
        equal(rows_of_item(), count + 2)
        equal(kinds(w.recv_until("Z")), "Z")
        # COMMIT's own answer is held.
        w.query("BEGIN")
        w.query(held("hold 200"))
        waits(w, query("COMMIT"))
        equal(rows_of_item(), count + 3)
        equal(kinds(w.recv_until("Z")), "CZ")
        w.query("BEGIN")
        w.query(held("hold 200"))
        waits(w, parse("", "COMMIT"), bind(), execute(), flush(), before="12")
        equal(rows_of_item(), count + 4)
        equal(kinds(w.recv_until("C")), "C")
        equal(kinds(w.exchange(sync())), "Z")
        # What is behind it in the pipeline waits, too.
        begun = time.monotonic()
        got = w.exchange(query(held("hold 200")), query("SELECT 1"), query(held("hold 200")), ready=3)
        equal(kinds(got), "CZTDCZCZ")
        assert time.monotonic() - begun > 0.19  # the loop's clock is kept in milliseconds, and not read at each event
        w.query(held("thread"))  # it is resumed before transaction() has returned
        equal(rows_of_item(), count + 7)
    ends()


@test("another session goes on meanwhile, on the same worker")
def others():
    with client() as w, client() as other:
        w.send(query(held("hold 900")))
        other.query(INSERT)
        assert not select.select([w.sock], [], [], 0)[0], "the other was served behind who is held"
        equal(kinds(w.recv_until("Z")), "CZ")
    ends()


@test("nobody holds for ever, and a plugin that does not let go has failed")
def never():
    with client() as w:
        begun = time.monotonic()
        w.query(held("never"))
        assert time.monotonic() - begun > 0.9
        w.query("SELECT 1")
    row = [r for r in host.console("SHOW PLUGINS") if "ends" in r.values()][0]
    equal(int(row["failures"]), 1)
    ends()


@test("a client that leaves while it is held, and one in the middle of its transaction")
def abandoned():
    with client() as w:
        w.send(query(held("hold 300")))
        wait_for(lambda: ends() == ["unknown"], what="the end to be told")
    with client() as w:
        w.query("SELECT 1")
    with client() as w:
        w.query("BEGIN")
        w.query(INSERT)
    wait_for(lambda: ends() == ["rolled back"], what="the end to be told")
    with client() as w:
        w.query("BEGIN")
        w.query(INSERT)
        w.send(query("SELECT pg_sleep(30)"))
    wait_for(lambda: ends() == ["abandoned"], what="the end to be told")
    with client() as w:  # a batch without its Sync
        w.send(parse("", INSERT), bind(), execute(), flush())
        w.recv_until("C")
    wait_for(lambda: ends() == ["rolled back"], what="the end to be told")
    with client() as w:  # the pool is whole
        with client() as other:
            w.query("BEGIN")
            other.query("BEGIN")
    equal(ends(), [])


@test("a server that goes while it is held, and one in the middle of a transaction")
def lost():
    for statements in ((query(held("hold 300")),), (query("BEGIN"), query(INSERT))):
        with client() as w:
            w.send(*statements)
            if len(statements) == 1:
                wait_for(lambda: ends() == ["unknown"], what="the end to be told")
            else:
                for _ in statements:
                    w.recv_until("Z")
            pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
            if len(statements) == 1:
                equal(kinds(w.recv_until("Z"))[:1], "C")  # it had run
            else:
                wait_for(lambda: ends() == ["unknown"], what="the end to be told")
    ends()


@test("the plugin may be switched off while it holds")
def switched_off():
    with client() as w:
        w.send(query(held("hold 300")))
        wait_for(lambda: ends() == ["unknown"], what="the end to be told")
        host.control("plugin", "ends", "disable")
        equal(kinds(w.recv_until("Z")), "CZ")
        w.query(INSERT)
        host.switch("ends", "enable")

        def told():  # the worker takes the plugin a moment later
            w.query(INSERT)
            return ends() == ["unknown"]

        wait_for(told, what="ends are told again")


@test("a plugin that only observes holds nothing")
def observes():
    host.control("plugin", "ends", "observe")
    with client() as w:
        w.query(held("never"))
        equal(ends(), ["unknown"])
    host.control("plugin", "ends", "enable")


main()
