"""Memory that runs out: each allocation on the way of a conversation fails in turn; nothing crashes, hangs or lies."""

import json

import pgwire
from harness import Host, Postgres, comment, equal, main, test
from pgwire import bind, close, copy_data, copy_done, describe, execute, flush, kinds, parse, query, sync

pg = Postgres()
pg.execute("CREATE TABLE sink (id int, name text)")
pg.execute("GRANT ALL ON sink TO app")


def can_fail(host):
    """Only debug builds can let an allocation fail; others do not know the command."""
    result = host.control("debug", "allocation", "0")
    if result.returncode:
        assert "debug" in result.stderr.lower(), result.stderr
    return not result.returncode


def fail_at(host, nth):
    """Arms the nth allocation of the worker; says whether the one that was armed before has failed."""
    result = host.control("--json", "debug", "allocation", str(nth))
    equal(result.returncode, 0, result.stderr + result.stdout)
    return bool(json.loads(result.stdout)["rows"][0][0])


class Gone(Exception):
    """The host has ended the connection, with these messages."""


def talk(w, data, ready=1):
    """Sends and reads up to the ready-th ReadyForQuery or the end; fails when neither comes."""
    got = []
    try:
        w.send(data)
        while ready:
            got.append(w.recv(10))
            ready -= got[-1].type == "Z"
    except (pgwire.WireClosed, ConnectionError):
        raise Gone(got)
    return got


def check_refusal(got, what):
    """Whatever was said instead of the right answer is an error of memory."""
    codes = [m.fields()["C"] for m in got if m.type == "E"]
    assert all(c in ("53200", "25P02", "26000", "34000") for c in codes), (what, codes, kinds(got))
    return codes


def answer(got):
    """What the client can tell from the messages."""
    return [(m.type, m.body) for m in got if m.type in "TDC12nstIZEGH"]


CONVERSATIONS = {
    "simple": lambda n: [(query("SELECT %d, 'a text'" % n), 1)],
    "several": lambda n: [(query("SELECT %d; SELECT 2; INSERT INTO sink VALUES (1)" % n), 1)],
    "unnamed": lambda n: [(pgwire.run("SELECT $1::int + %d" % n, ["5"]), 1)],
    "named": lambda n: [
        (parse("s%d" % n, "SELECT $1::int * %d" % n) + describe("S", "s%d" % n) + sync(), 1),
        (bind("", "s%d" % n, ["7"]) + execute() + sync(), 1),
        (bind("p", "s%d" % n, ["8"]) + describe("P", "p") + execute("p", 1) + close("P", "p") + sync(), 1),
        (close("S", "s%d" % n) + sync(), 1),
    ],
    "pipeline": lambda n: [
        (
            b"".join(parse("q%d_%d" % (n, i), "SELECT %d" % (n + i)) + bind("", "q%d_%d" % (n, i)) + execute() + sync() for i in range(4)),
            4,
        )
    ],
    "transaction": lambda n: [
        (query("BEGIN"), 1),
        (query("SELECT %d" % n), 1),
        (pgwire.run("SELECT 'in it, %d'" % n), 1),
        (query("ROLLBACK"), 1),
    ],
    "settings": lambda n: [
        (query("SET application_name = 'name %d'" % n), 1),
        (query("SET search_path = pg_catalog"), 1),
        (query("SELECT current_setting('application_name')"), 1),
        (query("RESET ALL"), 1),
    ],
    "copy": lambda n: [
        # Texts that are known already need no memory.
        (query("COPY sink FROM STDIN /* %d */" % n) + copy_data(b"%d\tx\n" % n) + copy_done(), 1),
        (query("COPY (SELECT %d, generate_series(1, 50)) TO STDOUT" % n), 1),
    ],
    "large": lambda n: [(query("SELECT repeat('x', 200000), '%s'" % ("y" * 40000)), 1)],
    "pinned": lambda n: [
        (query("CREATE TEMP TABLE t_%d (a int)" % n), 1),
        (query("INSERT INTO t_%d VALUES (1)" % n), 1),
        (query("DISCARD ALL"), 1),
    ],
    "sql names": lambda n: [
        (query("PREPARE n_%d AS SELECT %d" % (n, n)), 1),
        (query("EXECUTE n_%d" % n), 1),
        (query("DEALLOCATE n_%d" % n), 1),
    ],
}


def run_one(host, make, n, nth, bystander):
    """One conversation with the nth allocation failing. Returns whether one has failed, and what was told."""
    codes = []
    with host.wire() as w:
        fail_at(host, nth)
        try:
            for data, ready in make(n):
                codes += check_refusal(talk(w, data, ready), nth)
        except Gone as gone:
            codes += check_refusal(gone.args[0], nth)
        hit = fail_at(host, 0)
    assert hit or not codes, "an error without a failure: %s" % codes
    equal(bystander.query("SELECT 'still here'"), [["still here"]])
    return hit, codes


def every_allocation(name, make):
    @test("every allocation of a conversation fails in turn: " + name, timeout=180)
    def run_it():
        with Host(pg, {"host": {"workers": 1}, "database *": {"pool_size": 2, "pool_mode": "auto"}}) as host:
            if not can_fail(host):
                return
            with host.wire() as bystander:
                bystander.query("SELECT 1")
                told = dict.fromkeys(("nothing", "an error", "the end"), 0)
                nth = misses = 0
                while misses < 3 and nth < 400:
                    nth += 1
                    hit, codes = run_one(host, make, 1000 + nth, nth, bystander)
                    misses = 0 if hit else misses + 1
                    told["an error" if codes else "nothing"] += hit
                comment("%d allocations; told: %s" % (nth - misses, told))
                assert told["an error"], told
                with host.wire() as w:
                    for data, ready in make(999):
                        assert "E" not in kinds(talk(w, data, ready))


for _name, _make in CONVERSATIONS.items():
    every_allocation(_name, _make)


@test("every allocation of a login fails in turn")
def logins():
    with Host(pg, {"host": {"workers": 1}, "database *": {"pool_size": 2}}) as host:
        if not can_fail(host):
            return
        with host.wire() as bystander:
            bystander.query("SELECT 1")
            nth = misses = 0
            while misses < 3 and nth < 400:
                nth += 1
                fail_at(host, nth)
                try:
                    with pgwire.Wire("127.0.0.1", host.port) as w:
                        w.login("app", "shop", "secret", application_name="n%d" % nth, DateStyle="SQL, DMY")
                        equal(w.query("SHOW DateStyle"), [["SQL, DMY"]])
                except pgwire.WireError as e:
                    assert e.sqlstate == "53200" or "SCRAM" in str(e), (nth, e)
                except (pgwire.WireClosed, ConnectionError):
                    pass
                misses = 0 if fail_at(host, 0) else misses + 1
                equal(bystander.query("SELECT 'still here'"), [["still here"]])
            comment("%d allocations" % (nth - misses))
            assert nth - misses > 20, nth
            host.wire(application_name="after").close()


main()
