"""The protocol, message by message: what PostgreSQL answers directly, it answers through howdahd, byte for byte."""

# Runs under TSan too.

import os
import struct
import time

import harness
import pgwire
import sides
from harness import Host, Postgres, equal, expect_error, main, wait_for
from pgwire import (
    bind,
    close,
    copy_data,
    copy_done,
    copy_fail,
    describe,
    execute,
    flush,
    function_call,
    kinds,
    message,
    packet,
    parse,
    query,
    run,
    startup,
    sync,
)
from sides import Sides

pg = Postgres(settings={"client_min_messages": "notice"})
pg.execute("GRANT CREATE ON SCHEMA public TO app")
pg.execute("CREATE TABLE item (id int PRIMARY KEY, name text, amount numeric)")
pg.execute("INSERT INTO item SELECT i, 'item ' || i, i / 7.0 FROM generate_series(1, 100) i")
pg.execute("CREATE TABLE sink (id int, name text)")
pg.execute("GRANT ALL ON item, sink TO app")
sides.make_twin(pg)

SECTIONS = sides.pool_modes(
    pg,
    {
        "database shop_transaction": {"pool_size": 1},
        "database small": {"node": "shop_transaction", "pool_mode": "transaction", "pool_size": 2}
        | {"max_prepared_statements": 2},
    },
    pool_size=20,
    queue_timeout="5s",
)
host = Host(pg, SECTIONS)

# The same with a filter that asks to see and hold everything, and changes nothing.
VERDICTS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/verdicts.so"))
WATCHING = {"enabled": "yes", "library": VERDICTS, "data": "yes", "before": "yes"}
filtered = Host(pg, {**SECTIONS, "plugin verdicts": WATCHING})

# How a conversation goes through: which host, which database.
WAYS = {mode: (host, "shop_" + mode) for mode in sides.MODES}
WAYS["filtered"] = (filtered, "shop_transaction")
WAYS["filtered session"] = (filtered, "shop_session")
KEEPING = ("session", "auto", "filtered session")


def test(name, of=(host,)):
    """Registers a test that also fails when a host dies of it; the next starts it again."""

    def register(function):
        def run_it():
            for h in of:
                if not h.alive():
                    h.start()
            at = [len(h.log_text()) for h in of]
            try:
                function()
            except Exception as e:
                time.sleep(0.2)
                for h, begin in zip(of, at):
                    if not h.alive():
                        raise AssertionError("howdahd died:\n" + h.log_text()[begin:]) from e
                raise
            for h, begin in zip(of, at):
                assert h.alive(), h.log_text()[begin:]

        harness.test(name)(run_it)
        return function

    return register


def scenario(name, ways=tuple(WAYS)):
    """One test for each way; the function talks to both sides."""

    def register(function):
        for way in ways:
            through, database = WAYS[way]

            def run_it(through=through, database=database):
                with Sides(pg, through, database, disturb=database == "shop_transaction") as s:
                    function(s)
                    # Whatever came before, both sides must be in step at the end.
                    s.query("SELECT 'the end'")
                    s.quiet(0.02)

            test("%s [%s]" % (name, way), of=(through,))(run_it)
        return function

    return register


# --- logging in -------------------------------------------------------------------------------------------------


@test("a login brings the same parameters as the server's own")
def login_parameters():
    for mode in sides.MODES:
        with Sides(pg, host, "shop_" + mode, application_name="x", DateStyle="SQL, DMY") as s:
            equal(s.through.parameters, s.direct.parameters)
            assert s.through.backend_pid and s.through.backend_key
            s.query("SHOW DateStyle")
            s.query("SELECT DATE '2001-02-03'")


@test("startup options are the session's own")
def startup_options():
    options = r"-c work_mem=1234kB --search_path=pg_catalog,public -c application_name=a\ b -c TimeZone=Asia/Tokyo"
    for mode in sides.MODES:
        with Sides(pg, host, "shop_" + mode, options=options) as s:
            equal(s.through.parameters, s.direct.parameters)
            for _ in range(2):
                for name in ("work_mem", "search_path", "application_name", "TimeZone"):
                    s.query("SHOW " + name)
                with host.wire("app", "shop_" + mode) as plain:
                    equal(plain.query("SHOW TimeZone"), pg_default("TimeZone"))
                    equal(plain.query("SHOW work_mem"), pg_default("work_mem"))
            s.query("SET TimeZone = 'UTC'")
            s.query("SHOW TimeZone")


def pg_default(name):
    with pg.wire("app", secret="secret") as w:
        return w.query("SHOW " + name)


@test("an option that cannot be, an empty -c and an unknown setting are refused as the server does")
def bad_options():
    for options in ("-c", "-c ", "-c nonsense=1", "--work_mem", "-c work_mem=much", "-Z", "x", "-c =1"):
        direct = login_error(pg.port, options=options)
        through = login_error(host.port, "shop_transaction", options=options)
        assert (direct is None) == (through is None), (options, direct, through)
        if direct:
            equal(through["V"], "FATAL", options)
            assert through["C"] in (direct["C"], "42601", "0A000"), (options, direct, through)


def login_error(port, database="shop", user="app", secret="secret", **parameters):
    """The fields of the ErrorResponse that a login ends with; None where it succeeds, "closed" without one."""
    with pgwire.Wire("127.0.0.1", port) as w:
        try:
            w.login(user, database, secret, **parameters)
        except pgwire.WireError as e:
            equal(w.expect_closed(), b"", "behind the error")
            return e.fields
        except pgwire.WireClosed:
            return "closed"
    return None


@test("a login in pieces of one byte, TLS and GSSAPI declined")
def login_in_pieces():
    with pgwire.Wire("127.0.0.1", host.port) as w:
        w.send_in_pieces(packet(pgwire.GSSENC_REQUEST))
        equal(w.recv_bytes(1), b"N")
        w.send_in_pieces(packet(pgwire.SSL_REQUEST))
        equal(w.recv_bytes(1), b"N")
        w.send_in_pieces(startup("app", "shop", application_name="pieces"))
        equal(w.recv().body[:4], b"\0\0\0\x0a")
        scram = pgwire.Scram("secret")
        w.send_in_pieces(scram.first())
        challenge = w.recv()
        w.send_in_pieces(scram.final(challenge.body[4:]))
        scram.verify(w.recv().body[4:])
        w.authenticate()
        equal(w.parameters["application_name"], "pieces")
        equal(w.query("SELECT 1"), [["1"]])


@test("a login and a first statement in one packet, where trust allows it")
def login_at_once():
    with Host(pg, {"listener main": {"auth": "trust"}}) as trusting:
        with pgwire.Wire("127.0.0.1", trusting.port) as w:
            w.send(startup("app", "shop"), query("SELECT 7"), run("SELECT 8"))
            got = w.recv_until("Z", 3)
            equal([m.row() for m in got if m.type == "D"], [[b"7"], [b"8"]])


@test("requests for TLS and GSSAPI are declined as often as they come, without harm")
def declined():
    with pgwire.Wire("127.0.0.1", host.port) as w:
        for request in (pgwire.SSL_REQUEST, pgwire.GSSENC_REQUEST):
            w.send(packet(request))
            equal(w.recv_bytes(1), b"N")
        w.login("app", "shop", "secret")
        equal(w.query("SELECT 1"), [["1"]])


@test("startup packets of impossible lengths are refused")
def startup_lengths():
    for length in (0, 1, 4, 7, 20000, 2**31 - 1, 2**31, 2**32 - 1):
        with pgwire.Wire("127.0.0.1", host.port) as w:
            w.send(struct.pack("!II", length, pgwire.PROTOCOL_3_0) + b"user\0app\0\0")
            refused(w)
    with host.wire() as w:
        equal(w.query("SELECT 1"), [["1"]])


def refused(w):
    """Closed, with a FATAL or without a word."""
    left = w.expect_closed()
    assert left == b"" or (left[:1] == b"E" and b"FATAL\0" in left), left


@test("startup packets that do not parse are refused")
def startup_garbage():
    bodies = (
        b"user\0app",
        b"user\0app\0database",
        b"user\0app\0\0\0\0",
        b"\0",
        b"database\0shop\0\0",
        b"user\0\0\0",
    )
    many = b"".join(b"p%d\0v\0" % i for i in range(900)) + b"user\0app\0\0"
    for port, body in [(p, b) for b in bodies for p in (pg.port, host.port)] + [(host.port, many)]:
        with pgwire.Wire("127.0.0.1", port) as w:
            w.send(packet(pgwire.PROTOCOL_3_0, body))
            refused(w)


@test("other protocol versions are answered as the server does")
def versions():
    for version in (2 << 16, 4 << 16, 0, 1):
        for port in (pg.port, host.port):
            with pgwire.Wire("127.0.0.1", port) as w:
                w.send(startup("app", "shop", version))
                answer = w.expect_closed()
                assert answer[:1] == b"E" and b"unsupported frontend protocol" in answer, (version, answer)


@test("a later minor version and unknown protocol options are negotiated")
def negotiation():
    with pgwire.Wire("127.0.0.1", host.port) as w:
        got = w.login("app", "shop", "secret", (3 << 16) + 9, **{"_pq_.not_there": "1"})
        negotiate = [m for m in got if m.type == "v"]
        equal(len(negotiate), 1)
        minor, count = struct.unpack_from("!II", negotiate[0].body)
        assert (minor & 0xFFFF) in (0, 2), minor
        equal((count, negotiate[0].body[8:]), (1, b"_pq_.not_there\0"))
        equal(w.query("SELECT 1"), [["1"]])
    with pgwire.Wire("127.0.0.1", host.port) as w:
        got = w.login("app", "shop", "secret", pgwire.PROTOCOL_3_0)
        assert "v" not in kinds(got)


@test("a replication session of a user without the right is refused by the server")
def replication():
    for value in ("true", "database", "on"):
        error = login_error(host.port, "shop", replication=value)
        assert error and error != "closed" and (error["V"], error["C"]) == ("FATAL", "42501"), error
    with pgwire.Wire("127.0.0.1", host.port) as w:
        w.login("app", "shop", "secret", replication="false")
        equal(w.query("SELECT 1"), [["1"]])


@test("a second StartupMessage makes nobody another user")
def second_startup():
    # Before the password, in the middle of SCRAM, and after the login.
    with pgwire.Wire("127.0.0.1", host.port) as w:
        w.send(startup("app", "shop"), startup("howdah", "shop"))
        got = w.expect_closed()
        assert b"FATAL\0" in got or got.startswith(b"R"), got
    with pgwire.Wire("127.0.0.1", host.port) as w:
        w.send(startup("app", "shop"))
        w.recv()
        scram = pgwire.Scram("secret")
        w.send(scram.first())
        challenge = w.recv()
        w.send(startup("howdah", "shop"), scram.final(challenge.body[4:]))
        got = w.expect_closed()
        assert b"Z\0\0\0\5" not in got, got
    with host.wire() as w:
        w.send(startup("howdah", "shop"))
        got = sides.collect(w)
        equal(kinds(got), "E!")
        equal(got[0].fields()["C"], "08P01")


@test("wrong passwords and unknown users cannot be told apart")
def wrong_password():
    conversations = {}
    for user, secret in (("app", "wrong"), ("nobody_knows", "wrong"), ("nobody_knows", "secret")):
        with pgwire.Wire("127.0.0.1", host.port) as w:
            w.send(startup(user, "shop"))
            methods = w.recv()
            scram = pgwire.Scram(secret)
            w.send(scram.first())
            challenge = w.recv()
            parts = dict(p.split("=", 1) for p in challenge.body[4:].decode().split(","))
            w.send(scram.final(challenge.body[4:]))
            error = w.recv()
            equal(w.expect_closed(), b"")
        fields = {k: v.replace(user, "USER") for k, v in error.fields().items()}
        shape = (methods, challenge.type, len(parts["s"]), len(parts["r"]), parts["i"], tuple(fields.items()))
        conversations[user, secret] = (shape, parts["s"])
        equal(error.fields()["C"], "28P01")
    shapes = {shape for shape, _salt in conversations.values()}
    equal(len(shapes), 1, "conversations differ: %r" % shapes)
    salts = [salt for (user, _), (_, salt) in conversations.items() if user == "nobody_knows"]
    equal(salts[0], salts[1], "an unknown user's salt must be the same each time")


@test("SCRAM messages that cannot be are refused, and end nothing else")
def bad_scram():
    def body(first):
        return message("p", pgwire.cstring("SCRAM-SHA-256") + struct.pack("!I", len(first)) + first)

    firsts = (
        body(b"n,,n=,r=" + b"x" * 5000),
        body(b"n,,n=,r="),
        body(b"n,,m=ext,n=,r=abc"),
        body(b"p=tls-server-end-point,,n=,r=abc"),
        body(b""),
        body(b"n"),
        body(b"n,a=howdah,n=,r=abcdefghijklmnop"),
        message("p", pgwire.cstring("SCRAM-SHA-1") + struct.pack("!I", 5) + b"n,,n="),
        message("p", pgwire.cstring("SCRAM-SHA-256") + struct.pack("!i", -1)),
        message("p", pgwire.cstring("SCRAM-SHA-256") + struct.pack("!i", 2**31 - 1)),
        message("p", pgwire.cstring("SCRAM-SHA-256")),
        message("p", b"SCRAM-SHA-256"),
        message("p"),
        b"p" + struct.pack("!i", -5),
        b"p" + struct.pack("!i", 2**31 - 1),
        query("SELECT 1"),
        b"\xff" * 50,
    )
    for first in firsts:
        with pgwire.Wire("127.0.0.1", host.port) as w:
            w.send(startup("app", "shop"))
            w.recv()
            w.send(first, message("p", b"c=biws"))
            refused_login(w, first)
    finals = (b"c=biws", b"", b"c=biws,r=", b"c=biws,r=x,p=", b"c=biws,r=x,p=AAAA", b"x" * 3000, b",,,", b"p=,r=,c=")
    for final in finals:
        with pgwire.Wire("127.0.0.1", host.port) as w:
            w.send(startup("app", "shop"))
            w.recv()
            w.send(pgwire.Scram("secret").first())
            w.recv()
            w.send(message("p", final))
            refused_login(w, final)
    with host.wire() as w:
        equal(w.query("SELECT 1"), [["1"]])


def refused_login(w, sent):
    got = sides.collect(w)
    assert got[-1].body in (b"WireClosed", b"ConnectionResetError"), (sent[:60], got)
    assert "Z" not in kinds(got) and not any(m.type == "R" and m.body == b"\0\0\0\0" for m in got), got


@test("an unknown database is refused as the server does")
def unknown_database():
    direct = login_error(pg.port, "not_there")
    through = login_error(host.port, "not_there")
    equal((through["V"], through["C"]), (direct["V"], direct["C"]))
    equal(through["C"], "3D000")
    assert "not_there" in through["M"], through


# --- simple protocol --------------------------------------------------------------------------------------------


@scenario("simple queries")
def simple(s):
    s.query("SELECT 1 AS one, NULL AS none, 'text' AS t, 1.5::numeric, '\\x00ff'::bytea, ARRAY[1, 2]")
    s.query("SELECT * FROM item ORDER BY id")
    s.query("SELECT * FROM item WHERE false")
    s.query("SELECT")
    s.query("UPDATE item SET amount = amount WHERE id < 5 RETURNING id")
    s.query("INSERT INTO sink VALUES (1, 'one'), (2, NULL)")
    s.query("DELETE FROM sink")
    s.query("SELECT repeat('x', 100000)")
    s.query("SELECT i, repeat('y', i) FROM generate_series(1, 2000) i")


@scenario("empty queries and comments")
def empty(s):
    for sql in ("", ";", ";;", "  ", "-- nothing", "/* nothing */", "/* a */ ; -- b", "\n\t"):
        s.query(sql)


@scenario("several statements in one query")
def several(s):
    s.query("SELECT 1; SELECT 2; SELECT 3")
    s.query("SELECT 1; ; SELECT 2;")
    s.query("SELECT 1; SELECT 1/0; SELECT 3")
    s.query("SELECT 1; SELEC 2")
    s.query("BEGIN; SELECT 1; COMMIT")
    s.query("BEGIN; SELECT 1")
    s.query("SELECT 2; ROLLBACK")
    s.query("BEGIN; SELECT 1/0; COMMIT")
    s.query("SELECT 1")
    s.query("ROLLBACK")
    s.query("INSERT INTO sink VALUES (1, 'x'); COMMIT; SELECT 1/0")
    s.query("DELETE FROM sink; SELECT count(*) FROM sink")
    s.query("SET application_name = 'in a row'; SHOW application_name; RESET application_name")


@scenario("errors with their position, detail, hint and constraint")
def errors(s):
    s.query("SELECT * FROM not_there")
    s.query("SELECT nope FROM item")
    s.query("SELECT 1 +")
    s.query("SELECT 'unterminated")
    s.query("INSERT INTO item VALUES (1, 'again')")
    s.query("SELECT upper(1, 2, 3)")
    s.query("SELECT 1/0")
    s.query("SELECT 'x'::int")
    s.query("DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'ZZ123', HINT = 'none', DETAIL = 'some'; END $$")
    s.query("\x01\x02")
    s.query("SELECT 'ä€𝄞', nope")
    s.exchange(message("Q", b"SELECT '\xff\xfe'\0"))


@scenario("notices and warnings")
def notices(s):
    s.query("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$; SELECT 3")
    s.query("ROLLBACK")
    s.query("BEGIN; BEGIN; COMMIT; COMMIT")
    s.query("DROP TABLE IF EXISTS not_there")
    s.run("DO $$ BEGIN FOR i IN 1..50 LOOP RAISE NOTICE 'row %', i; END LOOP; END $$")


@scenario("transactions and their status")
def transactions(s):
    s.query("BEGIN")
    s.query("SELECT 1")
    s.query("SAVEPOINT a")
    s.query("SELECT 1/0")
    s.query("SELECT 1")
    s.query("ROLLBACK TO a")
    s.query("SELECT 2")
    s.query("RELEASE a")
    s.query("COMMIT")
    s.query("COMMIT")
    s.query("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE")
    s.query("SHOW transaction_isolation")
    s.query("INSERT INTO sink VALUES (1, 'x')")
    s.query("")
    s.run("SELECT 1")
    s.query("COMMIT")
    s.query("START TRANSACTION READ WRITE; SELECT 1")
    s.query("COMMIT AND CHAIN")
    s.query("ROLLBACK AND CHAIN")
    s.query("END")
    s.run("BEGIN")
    s.run("SELECT 1")
    s.run("COMMIT")


@scenario("cursors in a transaction")
def cursors(s):
    s.query("BEGIN")
    s.query("DECLARE c SCROLL CURSOR FOR SELECT * FROM item ORDER BY id")
    s.query("FETCH 3 FROM c")
    s.query("FETCH BACKWARD 2 FROM c")
    s.exchange(describe("P", "c"), execute("c", 2), sync())
    s.query("MOVE 10 IN c; FETCH c")
    s.query("CLOSE c")
    s.query("FETCH c")
    s.query("ROLLBACK")


# --- settings ---------------------------------------------------------------------------------------------------


@scenario("settings that the server reports follow the session")
def settings(s):
    for sql in (
        "SET application_name = 'mine'",
        "SHOW application_name",
        "SET TimeZone = 'Asia/Kolkata'",
        "SELECT TIMESTAMPTZ '2001-02-03 04:05:06Z'",
        "SET DateStyle = 'German'",
        "SELECT DATE '2001-02-03'",
        "SET TIME ZONE 'UTC'",
        "SET application_name TO 'it''s \"quoted\"'",
        "SHOW application_name",
        "SET IntervalStyle = 'iso_8601'; SELECT INTERVAL '1 day'",
        "SHOW IntervalStyle",
        "SET standard_conforming_strings = off",
        "SELECT 'a\\'b'",
        "SELECT 'a;b\\';c'",
        "SET standard_conforming_strings = on",
        "SELECT 'a\\'",
        "RESET application_name",
        "SHOW application_name",
        "RESET DateStyle",
        "SHOW DateStyle",
        "SET client_encoding = 'LATIN1'",
        "SHOW client_encoding",
        "SELECT chr(228)",
        "RESET client_encoding",
        "SELECT chr(228)",
    ):
        s.query(sql)
    s.run("SET application_name = 'extended'")
    s.run("SHOW application_name")
    s.run("SELECT set_config('application_name', 'function', false)")
    s.run("SHOW application_name")


@scenario("settings that are taken back with their transaction")
def settings_rolled_back(s):
    s.query("SET application_name = 'before'")
    s.query("BEGIN")
    s.query("SET application_name = 'within'")
    s.query("SAVEPOINT a")
    s.query("SET application_name = 'deeper'")
    s.query("ROLLBACK TO a")
    s.query("SHOW application_name")
    s.query("ROLLBACK")
    s.query("SHOW application_name")
    s.query("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; SHOW TimeZone")
    s.query("COMMIT")
    s.query("SHOW TimeZone")
    s.query("BEGIN; SET application_name = 'lost'; SELECT 1/0")
    s.query("COMMIT")
    s.query("SHOW application_name")
    s.query("SET application_name = 'kept'; SELECT 1/0")
    s.query("SHOW application_name")
    s.query("SET application_name = 'own'")
    s.query("DISCARD ALL")
    s.query("SHOW application_name")


@scenario("settings that the server does not report", ways=KEEPING)
def settings_unreported(s):
    for sql in (
        "SET work_mem = '3MB'",
        "SHOW work_mem",
        "SET search_path = pg_catalog",
        "SELECT 'item'::text, current_schemas(true)",
        "SELECT * FROM item",
        "RESET search_path",
        "SELECT count(*) FROM item",
        "SET statement_timeout = 20",
        "SELECT pg_sleep(1)",
        "SET statement_timeout TO DEFAULT",
        "SET my.setting = 'x'",
        "SHOW my.setting",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "INSERT INTO sink VALUES (1, 'x')",
        "RESET ALL",
        "SHOW my.setting",
        "SHOW work_mem",
    ):
        s.query(sql)


# --- extended protocol ------------------------------------------------------------------------------------------


@scenario("extended queries, text and binary")
def extended(s):
    s.run("SELECT $1::int + 1, $2::text", "41", None)
    s.run("SELECT * FROM item WHERE id = $1", "7")
    s.run("SELECT 1 WHERE false")
    s.run("")
    s.run("-- nothing")
    s.run("UPDATE item SET name = name WHERE id = $1", "3")
    s.exchange(
        parse("", "SELECT $1::int8, $2::bytea, $3", [20, 17, 25]),
        describe("S"),
        bind("", "", [struct.pack("!q", 5), b"\0\1\2", "text"], [1, 1, 0], [1, 1, 0]),
        describe("P"),
        execute(),
        sync(),
    )
    s.run("SELECT $1", "no type")
    s.run("SELECT nope")
    s.run("SELECT 1/$1::int", "0")
    s.run("SELECT 1; SELECT 2")
    s.run("SELECT $1::int", "not a number")
    s.run("SELECT $1::text", "x" * 70000)


@scenario("named statements and portals")
def named(s):
    s.exchange(parse("s", "SELECT $1::int * 2", [23]), sync())
    for i in range(5):
        s.exchange(bind("", "s", [str(i)]), execute(), sync())
    s.exchange(describe("S", "s"), sync())
    s.exchange(bind("p", "s", ["4"]), describe("P", "p"), execute("p"), close("P", "p"), sync())
    s.exchange(bind("", "s", ["4"]), execute(), sync())
    s.exchange(bind("p", "s", ["4"]), bind("p", "s", ["5"]), execute("p"), sync())
    s.exchange(bind("p", "s", ["5"]), sync(), execute("p"), sync(), ready=2)
    s.exchange(close("S", "s"), sync())
    s.exchange(bind("", "s", ["4"]), execute(), sync(), own=True)
    s.exchange(parse("s", "SELECT 'another'"), bind("", "s"), execute(), sync())
    s.exchange(parse("t", "SELECT 't'"), parse("u", "SELECT 'u'"), bind("", "t"), execute(), sync())
    s.exchange(bind("", "u"), execute(), bind("", "s"), execute(), bind("", "t"), execute(), sync())


@scenario("a parameterless statement is described with a ParameterDescription")
def described(s):
    got = s.exchange(parse("s", "SELECT 1"), describe("S", "s"), sync())
    equal(kinds(got), "1tTZ")
    s.exchange(parse("", "INSERT INTO sink VALUES ($1, $2)"), describe("S"), sync())
    s.exchange(parse("", ""), describe("S"), sync())
    s.exchange(parse("b", "BEGIN"), describe("S", "b"), sync())


@scenario("names that are taken, unknown or closed twice")
def names(s):
    s.exchange(parse("s", "SELECT 1"), sync())
    s.exchange(parse("s", "SELECT 2"), sync(), own=True)
    s.exchange(parse("s", "SELECT 1"), bind("", "s"), execute(), sync(), own=True)
    s.exchange(bind("", "s"), execute(), sync())
    s.exchange(close("S", "s"), close("S", "s"), close("S", "never"), close("P", "never"), close("S"), sync())
    s.exchange(bind("", "never"), execute(), sync(), own=True)
    s.exchange(describe("S", "never"), sync(), own=True)
    s.exchange(describe("P", "never"), sync(), own=True)
    s.exchange(execute("never"), sync(), own=True)
    s.exchange(close("S", "s"), parse("s", "SELECT 3"), bind("", "s"), execute(), sync())
    s.exchange(close("S", "s"), sync())
    s.exchange(parse("s", "SELECT 4"), sync())
    s.exchange(close("S", "s"), bind("", "s"), execute(), sync(), own=True)
    long = "n" * 200
    s.exchange(parse(long, "SELECT 'long'"), bind("", long), execute(), sync())
    s.exchange(parse(" ä'\"", "SELECT 'odd'"), bind("", " ä'\""), execute(), sync())
    s.exchange(close("S", long), bind("", " ä'\""), execute(), sync())


@scenario("parameters that do not fit the statement")
def parameters(s):
    s.exchange(parse("s", "SELECT $1::int", [23]), sync())
    s.exchange(bind("", "s", []), execute(), sync())
    s.exchange(bind("", "s", ["1", "2"]), execute(), sync())
    s.exchange(bind("", "s", [b"\1"], [1]), execute(), sync())
    s.exchange(bind("", "s", ["1"], [0], [2]), execute(), sync())
    s.exchange(bind("", "s", ["1"], [0, 0]), execute(), sync())
    s.exchange(bind("", "s", ["1"], [0], [0, 0]), execute(), sync())
    s.exchange(bind("", "s", ["2"]), execute(), sync())


@scenario("a statement whose Parse failed is not there")
def failed_parse(s):
    s.exchange(parse("s", "SELEC 1"), sync())
    s.exchange(bind("", "s"), execute(), sync(), own=True)
    s.exchange(parse("s", "SELECT * FROM not_there"), bind("", "s"), execute(), sync())
    s.exchange(describe("S", "s"), sync(), own=True)
    s.exchange(parse("s", "SELECT 'now'"), bind("", "s"), execute(), sync())
    # The same text fails and then works: what failed must not be remembered by its content either.
    s.exchange(parse("u", "SELECT * FROM later_there"), sync())
    s.query("BEGIN; CREATE TABLE later_there (a int)")
    s.exchange(parse("u", "SELECT * FROM later_there"), bind("", "u"), describe("P"), execute(), sync())
    s.query("ROLLBACK")
    s.exchange(bind("", "u"), execute(), sync())


@scenario("what was skipped after an error did not happen")
def skipped(s):
    s.exchange(parse("kept", "SELECT 'kept'"), sync())
    s.exchange(
        parse("", "SELECT 1/0"),
        bind(),
        execute(),
        parse("skipped", "SELECT 'skipped'"),
        close("S", "kept"),
        bind("", "skipped"),
        execute(),
        sync(),
    )
    s.exchange(bind("", "skipped"), execute(), sync(), own=True)
    s.exchange(bind("", "kept"), execute(), sync())
    s.exchange(bind("", "never"), parse("skipped", "SELECT 1"), close("S", "kept"), sync(), own=True)
    s.exchange(bind("", "kept"), execute(), sync())
    s.exchange(bind("", "skipped"), execute(), sync(), own=True)
    # In the middle of a pipeline the error of one segment leaves the next alone.
    s.exchange(
        parse("a", "SELECT 'a'"),
        sync(),
        parse("b", "SELEC"),
        parse("c", "SELECT 'c'"),
        sync(),
        bind("", "a"),
        execute(),
        sync(),
        bind("", "c"),
        execute(),
        sync(),
        parse("c", "SELECT 'c'"),
        bind("", "c"),
        execute(),
        sync(),
        ready=5,
        own=True,
    )


@scenario("a pipelined Query after an error is discarded")
def query_after_error(s):
    got = s.exchange(parse("", "SELEC"), query("SELECT 'never'"), sync())
    equal(kinds(got), "EZ")
    s.exchange(bind("", "unknown"), query("SELECT 'never'"), flush(), query("SELECT 1"), sync(), own=True)
    s.exchange(query("SELECT 1/0"), query("SELECT 2"), query("SELECT 3"), ready=3)


@scenario("pipelines with several Syncs")
def pipelines(s):
    one = run("SELECT $1::text", ["a"])
    s.exchange(one, one, one, ready=3)
    s.exchange(sync(), sync(), one, sync(), ready=4)
    s.exchange(one, run("SELECT 1/0"), one, query("SELECT 'simple'"), one, ready=5)
    s.exchange(sync(), query("SELECT 1"), sync(), ready=3)
    s.exchange(*[run("SELECT %d" % i) for i in range(200)], ready=200)
    s.exchange(run("BEGIN"), run("SELECT 1"), run("SELECT 1/0"), run("SELECT 2"), run("ROLLBACK"), one, ready=6)
    s.exchange(
        *[bind_many for i in range(300) for bind_many in (parse("", "SELECT %d" % i), bind(), execute())], sync()
    )
    s.exchange(query(""), run(""), sync(), query(";"), ready=4)


@scenario("an implicit transaction lasts to its Sync")
def implicit(s):
    s.exchange(run("DELETE FROM sink")[:-5], run("INSERT INTO sink VALUES (1, 'x')")[:-5], run("SELECT 1/0"))
    s.query("SELECT count(*) FROM sink")
    s.exchange(run("INSERT INTO sink VALUES (1, 'x')")[:-5], run("SELECT count(*) FROM sink"))
    s.query("SELECT count(*) FROM sink")
    s.exchange(run("SELECT 1")[:-5], query("SELECT 2"), sync(), ready=2)
    s.exchange(run("DELETE FROM sink")[:-5], run("BEGIN")[:-5], run("SELECT 1"))
    s.exchange(run("COMMIT"))


@scenario("Flush without Sync brings the replies")
def flushed(s):
    s.send(parse("", "SELECT $1::int", [23]), flush())
    s.receive(1)
    s.send(describe("S"), flush())
    s.receive(2)
    s.send(bind("", "", ["1"]), flush())
    s.receive(1)
    s.send(execute(), flush())
    s.receive(2)
    s.quiet()
    s.exchange(sync())
    s.send(parse("", "SELEC"), flush())
    s.receive(1)
    s.send(parse("", "SELECT 1"), flush())
    s.quiet()
    s.exchange(sync())
    s.send(flush())
    s.quiet(0.03)
    s.send(parse("f", "SELECT 1"), flush())
    s.receive(1)
    s.send(close("S", "f"), flush())
    s.receive(1)
    s.exchange(sync())


@scenario("a name is answered locally in its turn")
def local_in_turn(s):
    s.exchange(parse("s", "SELECT 's'"), sync())
    s.exchange(
        query("SELECT 1"),
        close("S", "s"),
        parse("s", "SELECT 's again'"),
        parse("s", "SELECT 's'"),
        sync(),
        bind("", "s"),
        execute(),
        parse("w", "SELECT pg_sleep(0.05), 'w'"),
        bind("", "w"),
        execute(),
        bind("", "unknown"),
        sync(),
        close("S", "unknown"),
        sync(),
        ready=4,
        own=True,
    )
    s.send(parse("slow", "SELECT pg_sleep(0.1)"), bind("", "slow"), execute(), close("S", "slow"), flush())
    s.receive(5)
    s.exchange(sync())


@scenario("the unnamed statement outlives its Sync, and not a Query")
def unnamed(s):
    s.exchange(parse("", "SELECT 'mine', $1::int", [23]), sync())
    for i in range(3):
        s.exchange(bind("", "", [str(i)]), execute(), sync())
    s.exchange(describe("S"), sync())
    s.exchange(bind("p", "", ["9"]), execute("p"), sync())
    s.query("SELECT 'a query'")
    s.exchange(bind("", "", ["1"]), execute(), sync(), own=True)
    s.exchange(describe("S"), sync(), own=True)
    s.exchange(parse("", "SELEC"), sync())
    s.exchange(bind(), execute(), sync(), own=True)
    s.exchange(parse("", "SELECT 1"), parse("", "SELECT 2"), bind(), execute(), sync())
    s.exchange(close("S"), bind(), execute(), sync(), own=True)
    s.exchange(parse("", "SELECT 3"), close("P"), bind(), execute(), sync())
    s.exchange(bind(), execute(), sync())
    s.exchange(parse("", "SELECT 4"), query("SELECT 5"), bind(), execute(), sync(), ready=2, own=True)


@scenario("portals with row limits")
def row_limits(s):
    s.exchange(parse("s", "SELECT i FROM generate_series(1, 10) i"), sync())
    got = s.exchange(bind("", "s"), execute("", 3), execute("", 3), execute("", 3), execute("", 3), sync())
    equal(kinds(got), "2DDDsDDDsDDDsDCZ")
    s.exchange(bind("p", "s"), execute("p", 10), execute("p", 10), sync())
    s.query("BEGIN")
    s.exchange(bind("p", "s"), execute("p", 4), sync())
    s.exchange(execute("p", 4), sync())
    s.exchange(bind("q", "s"), execute("q", 1), execute("p", 1), sync())
    s.exchange(describe("P", "q"), close("S", "s"), execute("q", 1), close("P", "p"), sync())
    s.exchange(execute("q"), sync())
    s.query("COMMIT")
    s.exchange(execute("q"), sync(), own=True)
    s.send(parse("", "SELECT i FROM generate_series(1, 3) i"), bind("r"), execute("r", 2), flush())
    s.receive(5)
    s.quiet(0.05)
    s.send(execute("r", 2), flush())
    s.receive(2)
    s.exchange(close("P", "r"), sync())


@scenario("a portal of a failed or finished transaction is gone")
def portals_end(s):
    s.exchange(parse("s", "SELECT i FROM generate_series(1, 10) i"), sync())
    s.query("BEGIN")
    s.exchange(bind("p", "s"), execute("p", 1), sync())
    s.query("SELECT 1/0")
    s.exchange(execute("p", 1), sync())
    s.exchange(bind("p", "s"), sync())
    s.query("ROLLBACK")
    s.exchange(execute("p", 1), sync(), own=True)
    s.exchange(bind("p", "s"), execute("p", 1), sync(), execute("p", 1), sync(), ready=2)


@scenario("DEALLOCATE and DISCARD take this session's names away")
def deallocate(s):
    names = ("a", "b", "c")
    s.exchange(*[parse(n, "SELECT '%s'" % n) for n in names], sync())
    s.query("DEALLOCATE a")
    s.exchange(bind("", "a"), execute(), sync(), own=True)
    s.exchange(bind("", "b"), execute(), sync())
    s.run("DEALLOCATE PREPARE b")
    s.exchange(bind("", "b"), execute(), sync(), own=True)
    s.query("DEALLOCATE ALL")
    s.exchange(bind("", "c"), execute(), sync(), own=True)
    s.exchange(*[parse(n, "SELECT '%s'" % n) for n in names], sync())
    s.exchange(bind("", "a"), execute(), bind("", "c"), execute(), sync())
    s.query("DISCARD ALL")
    s.exchange(bind("", "a"), execute(), sync(), own=True)
    s.exchange(parse("a", "SELECT 'a'"), bind("", "a"), execute(), sync())
    s.run("DISCARD PLANS")
    s.exchange(bind("", "a"), execute(), sync())
    s.run("DEALLOCATE ALL")
    s.exchange(bind("", "a"), execute(), sync(), own=True)
    s.query("DEALLOCATE never", own=True)
    s.query('DEALLOCATE "Never"', own=True)


@test("DEALLOCATE ALL and DISCARD ALL of one client leave the names of others")
def deallocate_others():
    with host.wire("app", "shop_transaction") as a, host.wire("app", "shop_transaction") as b:
        for w in (a, b):
            w.exchange(parse("s", "SELECT 'same'"), parse("t", "SELECT 't'"), sync())
        for sql in ("DEALLOCATE ALL", "DISCARD ALL", "DEALLOCATE ALL"):
            a.query(sql)
            got = b.exchange(bind("", "s"), execute(), bind("", "t"), execute(), sync())
            equal(kinds(got), "2DC2DCZ", sql)
            equal(kinds(a.exchange(bind("", "s"), sync())), "EZ", sql)
            a.exchange(parse("s", "SELECT 'same'"), sync())
            equal(kinds(a.exchange(bind("", "s"), execute(), sync())), "2DCZ", sql)


@scenario("statements prepared by SQL", ways=KEEPING)
def sql_prepare(s):
    s.query("PREPARE q (int) AS SELECT $1 + 1")
    s.query("EXECUTE q (41)")
    s.run("EXECUTE q (42)")
    s.exchange(bind("", "q", ["43"]), execute(), sync())
    s.exchange(describe("S", "q"), sync())
    s.query("PREPARE q AS SELECT 1")
    s.query("DEALLOCATE q")
    s.query("EXECUTE q (1)")


@scenario("cached plans whose result changes")
def changed_plans(s):
    # Two sessions of one server would see each other's tables: each side has a table of its own name's length.
    for side, w in (("direct", s.direct), ("through", s.through)):
        w.query("DROP TABLE IF EXISTS plan_%s" % side)
        w.query("CREATE TABLE plan_%s (a int)" % side)
        got = [w.exchange(parse("s", "SELECT * FROM plan_%s" % side), bind("", "s"), execute(), sync())]
        w.query("ALTER TABLE plan_%s ADD b int" % side)
        got.append(w.exchange(bind("", "s"), execute(), sync()))
        got.append(w.exchange(close("S", "s"), parse("s", "SELECT * FROM plan_%s" % side), sync()))
        if side == "direct":
            expected = [kinds(g) for g in got]
            got.append(w.exchange(bind("", "s"), describe("P"), execute(), sync()))
            expected = [kinds(g) for g in got]
        else:
            got.append(w.exchange(bind("", "s"), describe("P"), execute(), sync()))
            equal([kinds(g) for g in got], expected)
        w.query("DROP TABLE plan_%s" % side)


@scenario("function calls")
def function_calls(s):
    oids = {}
    for name in ("abs(int4)", "upper(text)", "int4div(int4,int4)"):
        oids[name] = int(s.direct.query("SELECT 'pg_catalog.%s'::regprocedure::oid" % name)[0][0])
    s.exchange(function_call(oids["abs(int4)"], [b"-7"]))
    s.exchange(function_call(oids["abs(int4)"], [struct.pack("!i", -7)], [1], 1))
    s.exchange(function_call(oids["upper(text)"], ["äbc"]))
    s.exchange(function_call(oids["upper(text)"], [None]))
    s.exchange(function_call(oids["int4div(int4,int4)"], ["1", "0"]))
    s.exchange(function_call(oids["abs(int4)"], []))
    s.exchange(function_call(999999999, []))
    s.exchange(run("SELECT 1"), function_call(oids["abs(int4)"], [b"-8"]), query("SELECT 2"), ready=3)
    s.exchange(parse("", "SELEC"), function_call(oids["abs(int4)"], [b"-9"]), sync())
    s.query("BEGIN")
    s.exchange(function_call(oids["abs(int4)"], [b"-10"]))
    s.query("ROLLBACK")


# --- COPY -------------------------------------------------------------------------------------------------------


def copy_in(s, start, *messages, ready=1):
    """`start` brings CopyInResponse on both sides; then come the messages."""
    s.send(start)
    s.receive(1)
    return s.exchange(*messages, ready=ready)


COPY = "COPY sink FROM STDIN"


@scenario("COPY out")
def copies_out(s):
    s.query("COPY item TO STDOUT")
    s.query("COPY (SELECT i FROM generate_series(1, 10000) i) TO STDOUT")
    s.query("COPY item TO STDOUT (FORMAT binary)")
    s.query("COPY (SELECT 1/(5 - i) FROM generate_series(1, 10) i) TO STDOUT")
    s.query("COPY item TO STDOUT; SELECT 1; COPY (SELECT 2) TO STDOUT (FORMAT csv)")
    s.exchange(parse("", "COPY item TO STDOUT"), bind(), describe("P"), execute(), sync())
    s.exchange(parse("c", "COPY (SELECT 1) TO STDOUT"), bind("", "c"), execute(), sync(), run("SELECT 1"), ready=2)


@scenario("COPY in")
def copies_in(s):
    s.query("BEGIN")
    copy_in(s, query(COPY), copy_data("1\tone\n"), copy_data("2\ttw"), copy_data("o\n3\t\\N\n"), copy_done())
    copy_in(s, query(COPY), copy_done())
    copy_in(s, query(COPY), copy_data("1\tone\n") * 3000, copy_done())
    s.query("SELECT count(*) FROM sink")
    s.query("ROLLBACK")
    copy_in(s, query(COPY), copy_data("1\tone\n"), copy_fail("changed my mind"))
    copy_in(s, query(COPY), copy_fail(""), query("SELECT 1"), ready=2)
    copy_in(s, query("COPY sink (name) FROM STDIN (FORMAT csv)"), copy_data('"a\n'), copy_fail())
    s.query("SELECT count(*) FROM sink")


@scenario("Flush and Sync in the middle of COPY in", ways=KEEPING)
def sync_in_copy(s):
    copy_in(s, query(COPY), copy_data("1\tone\n"), flush(), sync(), flush(), copy_fail("after Sync"))
    s.query("SELECT 1")
    copy_in(s, query(COPY), sync(), copy_data("bad\n"), copy_done(), query("SELECT 2"), ready=2)


@scenario("COPY in and out among several statements")
def copies_mixed(s):
    s.send(query("SELECT 1; COPY sink FROM STDIN; SELECT 2; COPY sink FROM STDIN; DELETE FROM sink"))
    s.receive(4)
    s.send(copy_data("1\tone\n"), copy_done())
    s.receive(5)
    s.exchange(copy_data("2\ttwo\n"), copy_done())
    s.send(query("COPY sink FROM STDIN; SELECT 1/0"))
    s.receive(1)
    s.exchange(copy_data("1\tone\n"), copy_done(), query("SELECT count(*) FROM sink"), ready=2)


@scenario("an error before CopyDone, and data that comes after it")
def copy_errors(s):
    copy_in(s, query(COPY), copy_data("not a number\tx\n"), copy_data("2\ttwo\n"), copy_done())
    s.query("SELECT 1")
    copy_in(s, query(COPY), copy_data("1\ttoo\tmany\n"), copy_fail("late"), query("SELECT 2"), ready=2)
    # Behind the error: what is left over must not be taken for anything else.
    s.send(query(COPY))
    s.receive(1)
    s.send(copy_data("bad\n"))
    s.receive(2)
    s.send(copy_data("1\tone\n") * 100, copy_done())
    s.query("SELECT 3")
    s.exchange(copy_data("x"), copy_done(), copy_fail(), query("SELECT 4"))
    # A COPY that never starts.
    s.exchange(query("COPY not_there FROM STDIN"), copy_data("1\n"), copy_done())
    s.query("SELECT 5")
    s.query("SELECT count(*) FROM sink")


@scenario("COPY in within the extended protocol")
def copies_extended(s):
    start = parse("", COPY) + bind() + describe("P") + execute()
    s.query("BEGIN")
    # As libpq does it: the Sync behind Execute is read during the COPY and ignored.
    s.send(start, sync())
    s.receive(4)
    s.exchange(copy_data("1\tone\n"), copy_data("2\ttwo\n"), copy_done(), sync())
    s.send(start, flush())
    s.receive(4)
    s.exchange(copy_data("3\tthree\n"), copy_done(), sync())
    s.query("SELECT count(*) FROM sink")
    s.query("ROLLBACK")
    s.send(start, sync())
    s.receive(4)
    s.exchange(copy_fail("no more"), sync())
    s.send(start, sync())
    s.receive(4)
    s.exchange(copy_data("bad\n"), copy_data("1\tone\n"), copy_done(), sync())
    s.send(start, flush())
    s.receive(4)
    s.exchange(copy_data("bad\n"), copy_done(), query("SELECT 'discarded'"), sync())
    s.query("SELECT count(*) FROM sink")
    # Without waiting for CopyInResponse.
    s.exchange(start, copy_data("1\tone\n"), copy_done(), sync())
    s.exchange(query("DELETE FROM sink"))
    s.exchange(start, sync(), copy_data("1\tone\n"), copy_done(), sync(), run("SELECT 1"), ready=2)
    s.exchange(query("DELETE FROM sink"))
    s.exchange(parse("", "COPY not_there FROM STDIN"), bind(), execute(), copy_data("1\n"), copy_done(), sync())
    s.exchange(run("COPY not_there FROM STDIN"), copy_data("1\n"), copy_done(), sync(), ready=2)


@test("a Query in the middle of COPY in ends the connection and the COPY")
def query_in_copy():
    for mode in sides.MODES:
        with Sides(pg, host, "shop_" + mode) as s:
            s.send(query(COPY))
            s.receive(1)
            s.send(copy_data("1\tone\n"), query("SELECT 1"))
            direct, through = s.closed()
            equal(through, direct, mode)
        equal(pg.execute("SELECT count(*) FROM sink"), [(0,)], mode)


@scenario("COPY messages where no COPY is")
def stray_copy(s):
    s.exchange(copy_data("x"), copy_done(), copy_fail(), query("SELECT 1"))
    s.exchange(parse("", "SELECT 1"), copy_data("x"), bind(), copy_done(), execute(), sync())


# --- what no client should send ---------------------------------------------------------------------------------


def broken(name, *data, errors=("08P01",)):
    """Both sides end the connection; others go on."""

    @test(name)
    def run_it():
        for mode in sides.MODES:
            for one in data:
                with Sides(pg, host, "shop_" + mode) as s, host.wire("app", "shop_auto") as bystander:
                    s.send(one)
                    direct, through = s.closed()
                    assert all(v == "FATAL" and c in errors for v, c in through), (one[:20], direct, through)
                    if direct:
                        equal(through, direct, repr(one[:20]))
                    equal(bystander.query("SELECT 1"), [["1"]])


broken("unknown message types end the connection", *(message(t, b"abc") for t in "@x1Z\0\xff"))
broken(
    "impossible lengths end the connection",
    *(t + struct.pack("!I", n) for t in (b"Q", b"P", b"S", b"H", b"X") for n in (0, 1, 3, 2**31, 2**32 - 1)),
    *(t + struct.pack("!I", 2**31 - 1) for t in (b"Q", b"P", b"B", b"E", b"D", b"S", b"H", b"C", b"F", b"X")),
    errors=("08P01", "53200", "54000"),
)


@scenario("messages that are too short or not terminated")
def malformed(s):
    for one in (
        message("B", b""),
        message("B", b"\0"),
        message("B", b"\0\0\0\x01"),
        message("B", b"\0\0" + struct.pack("!HHi", 0, 1, 100)),
        message("B", b"\0\0" + struct.pack("!HHi", 0, 1, -2)),
        message("P", b""),
        message("P", b"x"),
        message("P", b"x\0SELECT 1"),
        message("P", b"\0SELECT 1\0\0\x05"),
        message("D", b""),
        message("D", b"X\0"),
        message("D", b"S"),
        message("C", b"Y\0"),
        message("C", b"S"),
        message("E", b""),
        message("E", b"\0"),
        message("E", b"\0\0\0"),
    ):
        s.exchange(one, sync(), own=True)
    for one in (message("Q", b""), message("Q", b"SELECT 1"), message("Q", b"SELECT 1\0more")):
        s.exchange(one, own=True)
    s.exchange(message("E", b"\0\0\0\0\0trailing"), sync(), own=True)


@test("Terminate closes without a word")
def terminated():
    with host.wire() as w:
        w.send(query("SELECT 1"))
        w.recv_until("Z")
        w.send(pgwire.terminate())
        equal(w.expect_closed(), b"")


# --- prepared statements over several servers -------------------------------------------------------------------


@test("names are prepared where their client comes to run: pool of 2, many clients")
def names_everywhere():
    clients = [host.wire("app", "small") for _ in range(6)]
    try:
        for i, w in enumerate(clients):
            w.exchange(parse("mine", "SELECT %d" % i), parse("same", "SELECT 'same', $1::int", [23]), sync())
        for turn in range(15):
            for i, w in enumerate(clients):
                w.send(bind("", "mine"), execute(), bind("", "same", [str(turn)]), execute(), sync())
            for i, w in enumerate(clients):
                got = w.recv_until("Z")
                equal(kinds(got), "2DC2DCZ")
                equal(got[1].row(), [b"%d" % i])
                equal(got[4].row(), [b"same", b"%d" % turn])
        assert pg.backends("usename = 'app' AND datname = 'shop'") >= 2
    finally:
        for w in clients:
            w.close()


@test("the least recently used statements are evicted in the middle of a pipeline")
def eviction():
    order = [0, 1, 2, 3, 0, 3, 2, 1, 4, 4, 0, 1, 4, 2]
    with Sides(pg, host, "small") as s:
        s.exchange(*[parse("n%d" % i, "SELECT 'n%d', $1::text" % i) for i in range(5)], sync())
        segment = [m for i in order for m in (bind("", "n%d" % i, ["x%d" % i]), describe("P"), execute())]
        for _ in range(3):
            s.exchange(*segment, sync())
            s.exchange(*[m for at in range(0, len(segment), 3) for m in (*segment[at : at + 3], sync())], ready=len(order))
        s.exchange(*segment[:9], bind("", "never"), *segment[9:], sync(), *segment, sync(), ready=2, own=True)
        for i in range(40):
            s.exchange(parse("m%d" % i, "SELECT %d" % i), bind("", "m%d" % i), execute(), sync())
        s.exchange(*[m for i in range(40) for m in (bind("", "m%d" % i), execute())], sync())
    with host.wire("app", "small") as w:
        got = w.query("SELECT count(*) FROM pg_prepared_statements")
        assert int(got[0][0]) <= 2, got


@test("an open portal survives the eviction of its statement")
def eviction_portal():
    with Sides(pg, host, "small") as s:
        s.query("BEGIN")
        s.exchange(parse("g", "SELECT i FROM generate_series(1, 10) i"), bind("p", "g"), execute("p", 2), sync())
        for i in range(6):
            s.exchange(parse("m%d" % i, "SELECT %d" % i), bind("", "m%d" % i), execute(), sync())
        s.exchange(execute("p", 2), describe("P", "p"), sync())
        s.exchange(execute("p"), bind("", "g"), execute(), sync())
        s.query("COMMIT")


# --- cancelling -------------------------------------------------------------------------------------------------


def cancel(pid, key, port=None):
    with pgwire.Wire("127.0.0.1", port or host.port) as w:
        w.send(pgwire.cancel_request(pid, key))
        equal(w.expect_closed(), b"")


def sleeping(mark):
    return lambda: pg.backends("state = 'active' AND query LIKE '%%pg_sleep%%%s%%'" % mark)


@test("a cancel with the right key ends the statement")
def cancel_right():
    for mode in sides.MODES:
        with host.wire("app", "shop_" + mode) as w:
            for statement in (query("SELECT pg_sleep(30), 'c1'"), run("SELECT pg_sleep(30), 'c1'")):
                w.send(statement)
                wait_for(sleeping("c1"), what="the sleeper is there")
                cancel(w.backend_pid, w.backend_key)
                got = w.recv_until("Z")
                equal(got[-2].fields()["C"], "57014")
            equal(w.query("SELECT 1"), [["1"]])


@test("a cancel with a wrong key or an unknown process does nothing")
def cancel_wrong():
    with host.wire("app", "shop_auto") as w:
        w.send(query("SELECT pg_sleep(0.7), 'c2'"))
        wait_for(sleeping("c2"), what="the sleeper is there")
        wrong = bytes(b ^ 1 for b in w.backend_key)
        for pid, key in ((w.backend_pid, wrong), (w.backend_pid ^ 1, w.backend_key), (0, b"\0\0\0\0")):
            cancel(pid, key)
        for key in (b"", b"x", w.backend_key + b"x" * 28):
            with pgwire.Wire("127.0.0.1", host.port) as c:
                c.send(pgwire.cancel_request(w.backend_pid, key))
                refused(c)
        equal(kinds(w.recv_until("Z")), "TDCZ")


@test("a cancel that is late hits nobody")
def cancel_late():
    with host.wire("app", "shop_transaction") as a, host.wire("app", "shop_transaction") as b:
        a.query("SELECT 1")
        b.send(query("SELECT pg_sleep(0.5), 'c3'"))
        wait_for(sleeping("c3"), what="the sleeper is there")
        for _ in range(5):
            cancel(a.backend_pid, a.backend_key)
        equal(kinds(b.recv_until("Z")), "TDCZ")
        for i in range(30):
            a.send(query("SELECT %d" % i))
            cancel(a.backend_pid, a.backend_key)
            b.send(query("SELECT 'b', pg_sleep(0.002)"))
            got = kinds(a.recv_until("Z"))
            assert got in ("TDCZ", "EZ", "TEZ", "TDEZ"), got
            equal(kinds(b.recv_until("Z")), "TDCZ")


@test("a cancel while waiting for a server ends the waiting or does nothing")
def cancel_waiting():
    with host.wire("app", "shop_transaction") as a, host.wire("app", "shop_transaction") as b:
        a.query("BEGIN")
        b.send(query("SELECT 'waited'"))
        wait_for(lambda: sum(r["waiting"] for r in host.console("SHOW POOLS")) == 1, what="it waits")
        cancel(b.backend_pid, b.backend_key)
        a.query("SELECT 'a goes on'")
        a.query("COMMIT")
        got = b.recv_until("Z")
        assert kinds(got) == "TDCZ" or got[0].fields()["C"] == "57014", got
        equal(b.query("SELECT 2"), [["2"]])


@test("after Terminate a cancel key is worth nothing")
def cancel_gone():
    with host.wire("app", "shop_transaction") as a, host.wire("app", "shop_transaction") as b:
        pid, key = a.backend_pid, a.backend_key
        a.send(pgwire.terminate())
        a.expect_closed()
        b.send(query("SELECT pg_sleep(0.3), 'c4'"))
        wait_for(sleeping("c4"), what="the sleeper is there")
        cancel(pid, key)
        equal(kinds(b.recv_until("Z")), "TDCZ")


@harness.test("howdahd ends well")
def ends():
    for h in (host, filtered):
        equal(h.stop(), 0, h.log_text()[-4000:])


main()
