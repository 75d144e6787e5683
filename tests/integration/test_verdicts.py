"""What filters decide, message by message: in pipelines, transactions, COPY and prepared statements."""

# Runs under TSan too.

import os

import harness
import pgwire
import sides
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import bind, close, copy_data, copy_done, describe, execute, flush, kinds, parse, query, run, sync

pg = Postgres()
pg.execute("CREATE TABLE sink (id int, name text)")
pg.execute("GRANT ALL ON sink TO app")

VERDICTS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/verdicts.so"))

changes = {"plugin verdicts": {"enabled": "yes", "library": VERDICTS}, "database *": {"pool_size": 1}}
host = Host(pg, sides.pool_modes(pg, changes, pool_size=1, queue_timeout="5m"))


def hint(verdict, sql="SELECT 'the server'"):
    return "/* verdict: %s */ %s" % (verdict, sql)


PLAIN = run("SELECT 'the server'")
PLAIN_KINDS = "12TDCZ"


def batch(sql, *values):
    """A statement in the extended protocol, without its Sync."""
    return run(sql, values)[:-5]


def rows(messages):
    return [m.row()[0].decode() for m in messages if m.type == "D"]


def errors(messages):
    return [m.fields()["C"] for m in messages if m.type == "E"]


@test("answers stand in their turn in a pipeline")
def answers():
    with host.wire() as w:
        for statement in (run(hint("answer one")), query(hint("answer one"))):
            equal(rows(w.exchange(statement)), ["one"])
        # Behind a batch whose end is not known yet the server is asked: a transaction may have failed.
        got = w.exchange(PLAIN, run(hint("answer one")), PLAIN, query(hint("answer two")), PLAIN, ready=5)
        for row, expected in zip(rows(got), ("the server", "one", "the server", "two", "the server")):
            assert row in (expected, "the server"), rows(got)
        equal(kinds(got), PLAIN_KINDS * 3 + "TDCZ" + PLAIN_KINDS)
        got = w.exchange(batch("SELECT 1"), batch(hint("answer one")), batch("SELECT 2"), batch(hint("done DID")), sync())
        equal(kinds(got), "12TDC" * 3 + "12nCZ")
        equal(rows(got), ["1", "one", "2"])
        got = w.exchange(batch("SELECT 1"), batch("SELECT 1/0"), batch(hint("answer one")), sync())
        equal((rows(got), errors(got)), (["1"], ["22012"]))


@test("behind a transaction that fails in the same pipeline nothing is answered")
def answer_after_failure():
    with host.wire() as w:
        got = w.exchange(run("BEGIN"), run("SELECT 1/0"), run(hint("answer one")), query(hint("answer two")), ready=4)
        equal((rows(got), errors(got)), ([], ["22012", "25P02", "25P02"]))
        w.query("ROLLBACK")


@test("an answer comes with Flush, without Sync")
def answer_flushed():
    with host.wire() as w:
        w.send(batch(hint("answer one")), flush())
        equal(kinds(w.recv_until("C")), "12TDC")
        w.expect_quiet(0.05)
        w.send(batch("SELECT 2"), flush())
        equal(rows(w.recv_until("C")), ["2"])
        equal(kinds(w.exchange(sync())), "Z")


@test("named statements are answered each time, with their own parameters")
def named():
    with host.wire() as w:
        equal(kinds(w.exchange(parse("s", hint("echo", "SELECT $1::text")), describe("S", "s"), sync())), "1tTZ")
        for i in range(4):
            got = w.exchange(bind("", "s", ["p%d" % i]), describe("P"), execute(), sync())
            equal((kinds(got), rows(got)), ("2TDCZ", ["p%d" % i]))
        got = w.exchange(bind("", "s", ["x"]), execute(), sync())
        equal(kinds(got), "2DCZ")
        w.exchange(parse("r", hint("rewrite SELECT $1::int + 100", "SELECT $1::int"), [23]), sync())
        for i in range(4):
            got = w.exchange(bind("", "r", [str(i)]), describe("P"), execute(), sync())
            equal((kinds(got), rows(got)), ("2TDCZ", [str(i + 100)]))
        got = w.exchange(close("S", "r"), bind("", "r", ["1"]), sync())
        equal((kinds(got), errors(got)), ("3EZ", ["26000"]))


@test("a row limit is the server's to keep: an answer does not apply")
def limited():
    with host.wire() as w:
        sql = hint("answer one", "SELECT i::text FROM generate_series(1, 3) i")
        got = w.exchange(parse("", sql), bind(), execute("", 2), execute("", 2), sync())
        equal(rows(got), ["1", "2", "3"])


@test("a refusal fails its batch and no other")
def refusals():
    with host.wire() as w:
        refused = hint("refuse 42501 not this one")
        got = w.exchange(PLAIN, run(refused), PLAIN, query(refused), PLAIN, ready=5)
        equal(errors(got), ["42501", "42501"])
        equal(kinds(got).replace("12EZ", "EZ").replace("1EZ", "EZ"), PLAIN_KINDS + "EZ" + PLAIN_KINDS + "EZ" + PLAIN_KINDS)
        got = w.exchange(
            batch("INSERT INTO sink VALUES (1, 'x')"),
            batch(refused),
            batch("SELECT 'skipped'"),
            parse("skipped", "SELECT 1"),
            query("SELECT 'skipped too'"),
            sync(),
            bind("", "skipped"),
            sync(),
            PLAIN,
            ready=3,
        )
        equal(errors(got), ["42501", "26000"])
        equal(rows(got), ["the server"])
        equal(w.query("SELECT count(*) FROM sink"), [["0"]])


@test("a refusal in a transaction fails the block, an answer does not")
def in_blocks():
    with host.wire() as w:
        w.query("BEGIN")
        w.query("INSERT INTO sink VALUES (1, 'x')")
        equal(w.query(hint("answer one")), [["one"]])
        equal(w.status(), "T")
        for statement in (query(hint("refuse 42501 no")), run(hint("refuse 42501 no"))):
            got = w.exchange(statement)
            equal((errors(got), got[-1].body), (["42501"], b"E"))
        equal(errors(w.exchange(query("SELECT 1"))), ["25P02"])
        equal(errors(w.exchange(query(hint("answer one")))), ["25P02"])
        equal(errors(w.exchange(run(hint("answer one")))), ["25P02"])
        w.query("ROLLBACK")
        equal(w.query("SELECT count(*) FROM sink"), [["0"]])
        got = w.exchange(run("BEGIN"), run(hint("refuse 42501 no")), run("SELECT 1"), run("ROLLBACK"), PLAIN, ready=5)
        equal(errors(got), ["42501", "25P02"])
        equal([m.body for m in got if m.type == "Z"], [b"T", b"E", b"E", b"I", b"I"])


@test("a COPY that is refused leaves its data without effect")
def copies():
    with host.wire() as w:
        sql = hint("refuse 42501 no", "COPY sink FROM STDIN")
        got = w.exchange(query(sql), copy_data("1\tx\n"), copy_done(), query("SELECT 1"), ready=2)
        equal((errors(got), rows(got)), (["42501"], ["1"]))
        got = w.exchange(batch(sql), sync(), copy_data("1\tx\n"), copy_done(), sync(), PLAIN, ready=3)
        equal((errors(got), rows(got)), (["42501"], ["the server"]))
        w.query("BEGIN")
        w.send(query(hint("rewrite COPY sink (id) FROM STDIN", "COPY sink FROM STDIN")))
        equal(w.recv().type, "G")
        w.exchange(copy_data("7\n"), copy_done())
        equal(w.query("SELECT id, name FROM sink"), [["7", None]])
        w.query("ROLLBACK")


@test("parked statements keep their place, and hold up nobody else")
def parked():
    for how in ("thread", "timer"):
        with host.wire() as w, host.wire() as other:
            statements = (
                PLAIN,
                run(hint(how + " 80 answer parked")),
                PLAIN,
                query(hint(how + " 30 rewrite SELECT 'rewritten'")),
                run(hint(how + " 30 refuse 42501 no")),
                PLAIN,
            )
            w.send(*statements)
            for _ in range(3):
                equal(other.query("SELECT 'beside'"), [["beside"]])
            got = w.recv_until("Z", 6)
            equal(rows(got), ["the server", "parked", "the server", "rewritten", "the server"])
            equal(errors(got), ["42501"])
    with host.wire() as w, host.wire() as other:  # and if it were for ever
        w.send(PLAIN, query(hint("never 600000")), PLAIN)
        equal(kinds(w.recv_until("Z")), PLAIN_KINDS)
        for _ in range(3):
            equal(other.query("SELECT 'beside'"), [["beside"]])
        w.expect_quiet(0.05)


@test("a park within a transaction keeps the transaction's server")
def parked_in_block():
    with host.wire() as w:
        w.query("BEGIN")
        pid = w.query("SELECT pg_backend_pid()")
        equal(w.query(hint("thread 30 go", "SELECT pg_backend_pid()")), pid)
        got = w.exchange(run(hint("thread 30 go", "SELECT pg_backend_pid()")))
        equal([rows(got)], pid)
        w.query("COMMIT")


def statements():
    """How many the filter has decided about; one that it parks is parked when the host's worker does anything else."""
    return int(host.console("SHOW VERDICTS")[0]["statements"])


@test("a cancel ends a parked statement")
def cancelled():
    with host.wire() as w:
        for statement in (query(hint("never 600000")), run(hint("never 600000"))):
            seen = statements()
            w.send(statement)
            wait_for(lambda: statements() > seen, what="it is parked")
            with pgwire.Wire("127.0.0.1", host.port) as c:
                c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
                equal(c.expect_closed(), b"")
            got = w.recv_until("Z")
            equal(errors(got), ["57014"])
            equal(w.query("SELECT 1"), [["1"]])


@test("a client that goes while parked in a transaction leaves a clean server")
def gone():
    with host.wire() as other:
        for statement in (query(hint("never 600000")), run(hint("thread 60 answer late")), PLAIN + run(hint("never 600000"))):
            w = host.wire()
            w.query("BEGIN; INSERT INTO sink VALUES (1, 'gone')")
            seen = statements()
            w.send(statement)
            wait_for(lambda: statements() > seen, what="it is parked")
            w.reset()
            equal(other.query("SELECT count(*) FROM sink"), [["0"]])
            equal(other.status(), "I")


@test("every execution completes once, whatever became of it")
def completes():
    def now():
        return {k: int(v) for k, v in host.console("SHOW VERDICTS")[0].items() if str(v).isdigit()}

    with host.wire() as w:
        wait_for(lambda: (lambda n: n["statements"] == n["completes"])(now()), what="those of clients who have gone complete")
        before = now()
        w.exchange(PLAIN, run(hint("answer one")), run(hint("refuse 42501 no")), run("SELECT 1/0"), ready=4)
        w.exchange(batch("SELECT 1/0"), batch("SELECT 'skipped'"), sync())
        w.exchange(query("SELECT 1; SELECT 2"), query(""), query("SELEC"), ready=3)
        w.send(query("COPY sink FROM STDIN"))
        w.recv()
        w.exchange(copy_data("bad\n"), copy_done())

        def balanced():
            after = now()
            began = after["statements"] - before["statements"]
            return began >= 8 and after["completes"] - before["completes"] == began

        wait_for(balanced, what="as many completions as statements")


@test("howdahd ends well")
def ends():
    equal(host.stop(), 0, host.log_text()[-4000:])


main()
