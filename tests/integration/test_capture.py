"""What a cache needs of the host: it sees answers whole, gives them again byte for byte, and knows what they hang on."""

# Runs under TSan too.

import os

import harness
import pgwire
import sides
from harness import Host, Postgres, equal, main, test
from pgwire import bind, close, describe, execute, flush, kinds, parse, query, run, sync

pg = Postgres()
pg.execute("CREATE TABLE item (id int PRIMARY KEY, name text, at timestamptz, n numeric, raw bytea)")
pg.execute(
    "INSERT INTO item SELECT g, nullif('item ' || g, 'item 3'), '2024-05-06 07:08:09.5+00'::timestamptz + g * interval '1 day',"
    " g / 7.0, decode(md5(g::text), 'hex') FROM generate_series(1, 50) g"
)
pg.execute("CREATE TABLE wide (id int, v text)")
pg.execute("INSERT INTO wide SELECT g, repeat(chr(96 + g), 300000) FROM generate_series(1, 3) g")
pg.execute("CREATE SCHEMA other CREATE TABLE item (id int, name text)")
pg.execute("INSERT INTO other.item VALUES (1, 'of another schema')")
pg.execute("CREATE ROLE reader; GRANT reader TO app; GRANT USAGE ON SCHEMA other TO app, reader")
pg.execute("GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public, other TO app, reader")

KEEP = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/keep.so"))
host = Host(pg, sides.pool_modes(pg, {"plugin keep": {"enabled": "yes", "library": KEEP}, "host": {"workers": 1}}))


def client(database="shop_auto", **more):
    return host.wire(database=database, **more)


def counts():
    return {name: int(value) for name, value in host.console("SHOW KEEP")[0].items()}


def change(w, sql):
    """Runs it, and waits until the host knows what has come of it: it asks the server, which then answers this."""
    w.query(sql)
    w.query("SELECT 1")


class Counted:
    """How the counts change within a block."""

    def __init__(self, **expected):
        self.expected = expected

    def __enter__(self):
        self.before = counts()

    def __exit__(self, kind, *_):
        if kind is None:
            after = counts()
            equal({name: after[name] - self.before[name] for name in self.expected}, self.expected)


def twice(w, *messages, ready=1):
    """The same messages twice, first from the server, then kept; both must be the same bytes."""
    with Counted(hits=0, misses=1, stored=1):
        first = w.exchange(*messages, ready=ready)
    with Counted(hits=1, misses=0):
        second = w.exchange(*messages, ready=ready)
    equal(b"".join(m.encode() for m in second), b"".join(m.encode() for m in first))
    return first


COLUMNS = "id, name, at, n, raw"
SHAPES = [
    ("text", ()),
    ("binary", (1,)),
    ("mixed", (1, 0, 1, 0, 1)),
]


@test("simple and extended, text and binary, described or not: the same bytes again")
def shapes():
    with client() as w:
        got = twice(w, query("/* keep */ SELECT %s FROM item ORDER BY id" % COLUMNS))
        equal(kinds(got), "T" + 50 * "D" + "CZ")
        sql = "/* keep */ SELECT %s FROM item WHERE id <= $1 ORDER BY id" % COLUMNS
        for what, formats in SHAPES:
            got = twice(w, run(sql, ("5",), result_formats=formats))
            equal(kinds(got), "12TDDDDDCZ", what)
            got = twice(w, parse("", sql), bind("", "", ("4",), result_formats=formats), execute(), sync())
            equal(kinds(got), "12DDDDCZ", what)
        # A value in binary is another key, and brings the same rows.
        binary = twice(w, run(sql, (b"\0\0\0\5",), formats=(1,), types=(23,)))
        equal(binary[2:-1], w.exchange(run(sql, ("5",)))[2:-1])
        # NULL is no empty value.
        equal(kinds(twice(w, run(sql, (None,)))), "12TCZ")


@test("a named statement's answers need no description, and have none")
def named():
    sql = "/* keep */ SELECT name FROM item WHERE id = $1"
    with client() as w:
        equal(kinds(w.exchange(parse("one", sql), describe("S", "one"), sync())), "1tTZ")
        for value in ("1", "3"):
            equal(kinds(twice(w, bind("", "one", (value,)), execute(), sync())), "2DCZ")
        described = twice(w, bind("", "one", ("1",)), describe("P"), execute(), sync())
        equal(kinds(described), "2TDCZ")
        # The description comes first, even with Flush in front of what is executed.
        w.send(bind("", "one", ("2",)), describe("P"), flush())
        equal(kinds(w.recv_until("T")), "2T")
        equal(kinds(w.exchange(execute(), sync())), "DCZ")


@test("another session gets what one has kept; another user does not")
def others():
    sql = "/* keep */ SELECT count(*) FROM item WHERE id > $1"
    with client() as w:
        first = twice(w, run(sql, ("10",)))
    with client() as w, Counted(hits=1, misses=0):
        equal([m.encode() for m in w.exchange(run(sql, ("10",)))], [m.encode() for m in first])
    with client(user="other", secret="other-secret") as w, Counted(hits=0, misses=1, stored=0, dropped=1):
        equal(w.exchange(run(sql, ("10",)))[-2].fields()["C"], "42501")


@test("what the session has set is known when it counts")
def settings():
    sql = "/* keep */ SELECT at, n FROM item WHERE id = 7"
    with client() as w:
        first = twice(w, query(sql))
        for name, values in (
            ("TimeZone", ("Asia/Tokyo", "America/New_York")),
            ("DateStyle", ("German", "ISO, DMY")),
            ("extra_float_digits", ("0", "-3")),  # the server does not tell of it by itself
            ("search_path", ("public", "public, other")),
            ("bytea_output", ("escape", "hex")),
        ):
            for value in values:
                change(w, "SET %s = '%s'" % (name, value) if name != "search_path" else "SET search_path = " + value)
                twice(w, query(sql))
            change(w, "RESET " + name)
            with Counted(hits=1):
                equal(w.exchange(query(sql)), first)
        change(w, "BEGIN; SET TimeZone = 'Asia/Tokyo'; ROLLBACK")
        with Counted(hits=1):
            equal(w.exchange(query(sql)), first)
    with client(TimeZone="Asia/Tokyo") as w, Counted(hits=1):
        assert "+09" in w.query(sql)[0][0]


@test("settings are read once, not with each statement")
def settings_are_read_once():
    sql = "/* keep */ SELECT name FROM item WHERE id = 8"
    with client() as w:
        w.query(sql)
        with Counted(settings_read=0, hits=20):
            for _ in range(20):
                w.query(sql)
        change(w, "SET TimeZone = 'Asia/Tokyo'")
        with Counted(settings_read=1):
            w.query(sql)
            w.query(sql)


@test("search_path and role are part of what an answer hangs on")
def path_and_role():
    sql = "/* keep */ SELECT name FROM item WHERE id = 1"
    with client() as w:
        equal(twice(w, query(sql))[1].row(), [b"item 1"])
        change(w, "SET search_path = other")
        equal(twice(w, query(sql))[1].row(), [b"of another schema"])
        change(w, "SET ROLE reader")
        equal(twice(w, query(sql))[1].row(), [b"of another schema"])
        pg.execute("REVOKE SELECT ON other.item FROM reader")
        change(w, "SET search_path = public")
        equal(twice(w, query(sql))[1].row(), [b"item 1"])


@test("within a transaction, with temporary tables and with settings that are not known nothing is kept")
def passed():
    sql = "/* keep */ SELECT count(*) FROM item"
    with client() as w, Counted(hits=0, misses=0, passed=5):
        w.query("BEGIN")
        w.query(sql)
        w.query("COMMIT")
        w.query("CREATE TEMP TABLE item (id int)")
        equal(w.query(sql), [["0"]])
        w.query("DROP TABLE pg_temp.item")
        w.query("DO 'BEGIN END'")
        w.query(sql)
        w.exchange(parse("", sql), bind(), execute("", 1), sync())
        with client("shop_session") as other:
            other.query(sql)


@test("errors, notices and what hangs on more than tables and settings")
def not_kept():
    with client() as w:
        with Counted(stored=0, dropped=1):
            equal(kinds(w.exchange(query("/* keep */ SELECT 1 / (id - 3) FROM item ORDER BY id"))), "TEZ")
        for call in ("now()", "current_user", "random()", "age(at)", "'item'::regclass", "pg_backend_pid()"):
            with Counted(misses=0, stored=0):
                w.query("/* keep */ SELECT %s FROM item LIMIT 1" % call)
        with Counted(misses=0):
            w.query("/* keep */ SELECT count(*) FROM item TABLESAMPLE bernoulli (50)")
            w.query("/* keep */ SELECT name FROM item WHERE id = 1 FOR SHARE")
        twice(w, query("/* keep */ SELECT age(at, at), to_char(at, 'DD'), date_trunc('day', at) FROM item"))


@test("an answer that comes in pieces is seen whole, one past the limit is not kept")
def pieces():
    with client() as w:
        got = twice(w, query("/* keep */ SELECT v FROM wide ORDER BY id"))
        equal([len(m.row()[0]) for m in got if m.type == "D"], [300000] * 3)
        twice(w, run("/* keep */ SELECT v FROM wide ORDER BY id", result_formats=(1,)))
        with Counted(misses=2, stored=0, dropped=2):
            for _ in range(2):
                equal(len(w.query("/* keep */ SELECT v || v || v || v FROM wide ORDER BY id")), 3)


@test("in a pipeline each answer is its own statement's")
def pipeline():
    def one(number, described):
        middle = (describe("P"),) if described else ()
        sql = "/* keep */ SELECT name, %d FROM item WHERE id = %d" % (number, number)
        return b"".join((parse("", sql), bind(), *middle, execute()))

    with client() as w:
        batch = [one(n, n % 2) for n in range(11, 17)]
        with Counted(misses=6, stored=6):
            first = w.exchange(*batch, sync())
        with Counted(hits=6):
            second = w.exchange(*batch, sync())
        equal([m.encode() for m in second], [m.encode() for m in first])
        equal(kinds(first), "12TDC12DC" * 3 + "Z")
        # Each with its own Sync: behind one that may have failed the server is asked.
        got = w.exchange(*(b + sync() for b in batch), ready=6)
        equal([m.row()[0] for m in got if m.type == "D"], [b"item %d" % n for n in range(11, 17)])
        with Counted(stored=1, dropped=2):  # what fails, and what is skipped behind it
            w.exchange(one(21, 1), parse("", "/* keep */ SELECT id / 0 FROM item"), bind(), execute(), one(22, 0), sync())


main()
