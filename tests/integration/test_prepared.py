"""
Prepared statements where pooling could show: each conversation is held with PostgreSQL directly and through the host,
and both must hear the same.
"""

# Runs under TSan too.

from harness import Host, Postgres, equal, main, test
from pgwire import Wire, bind, execute, parse, query, sync

pg = Postgres()
SETTINGS = {"database *": {"pool_size": 2, "pool_mode": "transaction"}, "host": {"workers": 1}}


def heard(messages):
    """What a client can tell: kinds, rows, SQLSTATEs and tags."""
    out = []
    for m in messages:
        if m.type == "E":
            out.append("E" + m.fields()["C"])
        elif m.type == "D":
            out.append(("D", m.row()))
        elif m.type not in "SN":
            out.append(m.type)
    return out


def direct():
    w = Wire("127.0.0.1", pg.port)
    w.login("app", "shop", "secret")
    return w


def same(conversation):
    """Holds it on both sides; returns what was heard."""
    with Host(pg, SETTINGS) as host:
        sides = []
        for connect in (direct, host.wire):
            with connect() as w:
                sides.append([heard(got) for got in conversation(w)])
        equal(sides[1], sides[0])
        return sides[0]


@test("names made behind DEALLOCATE ALL or DISCARD ALL in one pipeline stay")
def clearing():
    for text in ("DEALLOCATE ALL", "DISCARD ALL"):

        def talk(w):
            yield w.exchange(parse("a", "SELECT 1"), sync())
            yield w.exchange(parse("", text), bind(), execute(), parse("b", "SELECT 2"), sync())
            yield w.exchange(bind("", "b"), execute(), sync())
            yield w.exchange(bind("", "a"), execute(), sync())
            yield w.exchange(query(text), parse("a", "SELECT 1"), bind("", "a"), execute(), sync(), ready=2)

        equal(same(talk)[2], ["2", ("D", [b"2"]), "C", "Z"])


@test("a Parse of known text in a failed transaction fails as it does directly")
def failed_block():
    def talk(w):
        yield w.exchange(parse("a", "SELECT 1"), sync())
        yield w.exchange(query("BEGIN"))
        yield w.exchange(query("SELECT 1/0"))
        yield w.exchange(parse("b", "SELECT 1"), sync())
        yield w.exchange(query("ROLLBACK"))
        yield w.exchange(bind("", "b"), execute(), sync())

    equal(same(talk)[3], ["E25P02", "Z"])


@test("an error leaves the unnamed statement of before")
def unnamed():
    def talk(w):
        yield w.exchange(parse("", "SELECT 7"), sync())
        yield w.exchange(bind("p", "none"), parse("", "SELECT 8"), sync())
        yield w.exchange(bind(), execute(), sync())

    equal(same(talk)[2], ["2", ("D", [b"7"]), "C", "Z"])


@test("DEALLOCATE of a protocol name among other statements of a Query, and in a pipeline")
def deallocate():
    def talk(w):
        yield w.exchange(parse("a", "SELECT 1"), parse("b", "SELECT 2"), parse("c", "SELECT 3"), sync())
        yield w.exchange(query("SELECT 0; DEALLOCATE a; SELECT 1"))
        yield w.exchange(bind("", "a"), execute(), sync())
        yield w.exchange(query("DEALLOCATE b"), query("SELECT 5"), ready=2)
        yield w.exchange(bind("", "b"), execute(), sync())
        yield w.exchange(query("EXECUTE c"))

    got = same(talk)
    equal((got[2], got[4]), (["E26000", "Z"], ["E26000", "Z"]))


@test("a table that is gone fails the Parse, not the Bind")
def dropped():
    def talk(w):
        yield w.exchange(query("CREATE TABLE gone (a int)"))
        yield w.exchange(parse("a", "SELECT * FROM gone"), sync())
        yield w.exchange(query("DROP TABLE gone"))
        yield w.exchange(parse("b", "SELECT * FROM gone"), bind("", "b"), execute(), sync())
        yield w.exchange(bind("", "a"), execute(), sync())

    equal(same(talk)[3], ["E42P01", "Z"])


@test("a name that SQL PREPARE made is taken")
def taken():
    def talk(w):
        yield w.exchange(query("PREPARE a AS SELECT 1"))
        yield w.exchange(parse("a", "SELECT 2"), sync())
        yield w.exchange(query("EXECUTE a"))
        yield w.exchange(query("DEALLOCATE a"))

    with Host(pg, {**SETTINGS, "database *": {"pool_size": 2, "pool_mode": "auto"}}) as host:
        sides = []
        for connect in (direct, host.wire):
            with connect() as w:
                sides.append([heard(got) for got in talk(w)])
        equal(sides[1], sides[0])


@test("EXECUTE of a protocol name whose table is gone, on another server")
def moved():
    with Host(pg, SETTINGS) as host, host.wire() as a, host.wire() as b:
        a.query("DROP TABLE IF EXISTS going; CREATE TABLE going (a int)")
        equal(heard(a.exchange(parse("s", "SELECT * FROM going"), sync())), ["1", "Z"])
        b.query("BEGIN")
        b.query("DROP TABLE going")
        others = host.wire()
        b.query("COMMIT")
        b.query("BEGIN")
        for _ in range(4):
            equal(heard(a.exchange(query("EXECUTE s"))), ["E42P01", "Z"])
            equal(heard(a.exchange(query("SELECT 1"))), ["T", ("D", [b"1"]), "C", "Z"])
            equal(heard(a.exchange(bind("", "s"), execute(), sync())), ["E42P01", "Z"])
            equal(heard(a.exchange(query("SELECT 1"))), ["T", ("D", [b"1"]), "C", "Z"])
        b.query("COMMIT")
        others.close()


if __name__ == "__main__":
    main()
