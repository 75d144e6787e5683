"""
pool_mode = auto held against PostgreSQL itself: two clients or more over one or two servers, each beside a direct
connection that is told the same. What a session has set stays its own; what it leaves on a server pins it there for
as long as it is there.
"""

# Runs under TSan too.

import pgwire
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import bind, execute, kinds, parse, query, run, sync
from sides import Sides, make_twin

pg = Postgres()
pg.execute(
    "CREATE TABLE serial (id serial PRIMARY KEY, t text); CREATE TABLE plain (t text);"
    " GRANT ALL ON serial, plain, serial_id_seq TO app; GRANT pg_monitor TO app;"
    " CREATE SEQUENCE other_seq; GRANT ALL ON SEQUENCE other_seq TO app"
)
pg.execute("CREATE ROLE clerk; GRANT clerk TO app", "postgres")
make_twin(pg)


def auto(size=1, workers=1, **keys):
    return Host(pg, {"database *": {"pool_mode": "auto", "pool_size": size, **keys}, "host": {"workers": workers}})


def pinned(host, wire=None):
    """Why the clients are pinned, in the order of their logins."""
    return [row["pinned"] or "" for row in host.console("SHOW CLIENTS") if row["database"] == "shop"]


def free(host):
    """Nobody is pinned, once the host has asked."""
    wait_for(lambda: not any(pinned(host)), what="nobody is pinned: %r" % pinned(host))


def value(wire, sql):
    return wire.query(sql)[0][0]


# --- settings ---------------------------------------------------------------------------------------------------

SETTINGS = {
    "SET": ["SET work_mem = '3MB'"],
    "SET TO a list": ["SET search_path TO pg_catalog, public, \"$user\""],
    "SET of two values by one text": ["SET statement_timeout = '7s'; SET lock_timeout = 3000"],
    "a custom setting": ["SET my.thing = 'it''s \\ here'"],
    "set_config": ["SELECT set_config('work_mem', '3MB', false)"],
    "set_config for the transaction": ["SELECT set_config('work_mem', '3MB', true)"],
    "SET LOCAL": ["BEGIN", "SET LOCAL work_mem = '3MB'", "COMMIT"],
    "SET, then SET LOCAL": ["BEGIN", "SET work_mem = '3MB'", "SET LOCAL work_mem = '4MB'", "COMMIT"],
    "SET in a transaction": ["BEGIN", "SET work_mem = '3MB'", "COMMIT"],
    "SET rolled back": ["SET work_mem = '2MB'", "BEGIN", "SET work_mem = '3MB'", "ROLLBACK"],
    "SET rolled back to a savepoint": [
        "BEGIN", "SET work_mem = '2MB'", "SAVEPOINT a", "SET work_mem = '3MB'", "ROLLBACK TO a", "COMMIT",
    ],
    "SET released": ["BEGIN", "SAVEPOINT a", "SET work_mem = '3MB'", "RELEASE a", "COMMIT"],
    "SET in a transaction that fails": ["BEGIN", "SET work_mem = '3MB'", "SELECT 1/0", "COMMIT"],
    "SET in a text that fails": ["SET work_mem = '3MB'; SELECT 1/0"],
    "SET, committed within a text that fails": ["BEGIN; SET work_mem = '3MB'; COMMIT; SELECT 1/0"],
    "a SET that is denied": ["SET lc_messages = 'C'"],
    "a SET that is denied again": ["SET lc_messages = 'C'", "SET work_mem = '3MB'", "SET LC_Messages = 'C'"],
    "a SET of what cannot be changed": ["SET max_connections = 5"],
    "a SET of what there is not": ["SET nothing = 5"],
    "a SET that the next one takes along": ["SET work_mem = '3MB'; SET lc_messages = 'C'"],
    "a SET, committed before the next one is denied": ["BEGIN; SET work_mem = '3MB'; COMMIT; SET lc_messages = 'C'"],
    "a SET that is denied behind a savepoint": [
        "BEGIN", "SET work_mem = '3MB'", "SAVEPOINT a", "SET lc_messages = 'C'", "ROLLBACK TO a", "COMMIT",
    ],
    "a SET that fails behind a savepoint": [
        "BEGIN", "SET work_mem = '3MB'", "SAVEPOINT a", "SET work_mem = 'much'", "ROLLBACK TO a", "COMMIT",
    ],
    "set_config that is never called": ["SELECT set_config('lc_messages', 'C', false) WHERE false"],
    "a custom setting rolled back": ["BEGIN", "SET my.thing = 'x'", "ROLLBACK"],
    "a SET that fails": ["SET work_mem = '3MB'", "SET work_mem = 'much'"],
    "RESET": ["SET work_mem = '3MB'", "RESET work_mem"],
    "RESET rolled back": ["SET work_mem = '3MB'", "BEGIN", "RESET work_mem", "ROLLBACK"],
    "RESET in a transaction": ["SET work_mem = '3MB'", "BEGIN", "RESET work_mem", "COMMIT"],
    "RESET, committed within a text that fails": ["SET work_mem = '3MB'", "BEGIN; RESET work_mem; COMMIT; SELECT 1/0"],
    "RESET ALL": ["SET work_mem = '3MB'", "SET my.thing = 'x'", "SET DateStyle = German", "RESET ALL"],
    "RESET ALL rolled back": ["SET work_mem = '3MB'", "BEGIN", "RESET ALL", "ROLLBACK"],
    "TO DEFAULT": ["SET work_mem = '3MB'", "SET work_mem TO DEFAULT"],
    "DISCARD ALL": ["SET work_mem = '3MB'", "SET TimeZone = 'Asia/Tokyo'", "DISCARD ALL"],
    "SET ROLE": ["SET ROLE clerk"],
    "SET ROLE, then RESET ALL": ["SET ROLE clerk", "RESET ALL"],
    "SET ROLE NONE": ["SET ROLE clerk", "SET ROLE NONE"],
    "SET TIME ZONE": ["SET TIME ZONE 'Asia/Tokyo'"],
    "SET TIME ZONE LOCAL": ["SET TIME ZONE 'Asia/Tokyo'", "SET TIME ZONE LOCAL"],
    "SET NAMES": ["SET NAMES 'LATIN1'"],
    "SET SESSION CHARACTERISTICS": ["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE"],
    "SET TRANSACTION": ["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "COMMIT"],
    "default_transaction_read_only": ["SET default_transaction_read_only = on"],
}

ASK = (
    "SELECT current_setting('work_mem'), current_setting('search_path'), current_setting('statement_timeout'),"
    " current_setting('lock_timeout'), coalesce(current_setting('my.thing', true), ''), current_setting('role'),"
    " current_setting('TimeZone'), current_setting('client_encoding'), current_setting('DateStyle'),"
    " current_setting('default_transaction_isolation'), current_setting('default_transaction_read_only'),"
    " current_setting('transaction_read_only'), current_user, session_user"
)


def settings_case(name, extended, **startup):
    def send(sides, sql):
        return sides.run(sql) if extended and ";" not in sql else sides.query(sql)

    with auto(2) as host, host.wire() as other, Sides(pg, host, "shop", **startup) as sides:
        before = other.query(ASK)
        for sql in SETTINGS[name]:
            send(sides, sql)
            if sides.direct.status() == "I" and sides.through.status() == "I":
                equal(other.query(ASK), before, "%s: another client, after %s" % (name, sql))
                with_both_servers(other, host)
        for _ in range(2):
            sides.query(ASK)
            with_both_servers(other, host)
            equal(other.query(ASK), before, name)
        free(host)


def with_both_servers(other, host):
    """Another session takes the server that was used last, and so the next statement gets another."""
    with host.wire() as third:
        other.query("BEGIN")
        third.query("BEGIN")
        third.query("SELECT 1")
        other.query("COMMIT")
        third.query("COMMIT")


@test("settings, as PostgreSQL has them after each statement: simple protocol")
def _():
    for name in SETTINGS:
        settings_case(name, False)


@test("settings, as PostgreSQL has them after each statement: extended protocol")
def _():
    for name in SETTINGS:
        settings_case(name, True)


@test("settings of the startup packet are what RESET goes back to")
def _():
    for extended in (False, True):
        for name in ("RESET", "RESET ALL", "DISCARD ALL", "TO DEFAULT", "RESET rolled back", "RESET ALL rolled back",
                     "SET rolled back", "RESET in a transaction", "SET TIME ZONE LOCAL",
                     "RESET, committed within a text that fails"):
            settings_case(name, extended, options="-c work_mem=5MB -c TimeZone=America/New_York", DateStyle="German")


@test("RESET goes back to the startup packet's settings where the host reads no other text")
def _():
    for unread in ("SET standard_conforming_strings = off", "SET client_encoding = 'SJIS'"):
        for sql in ("RESET ALL", "reset\twork_mem;", "RESET client_encoding"):
            for form in (query, run):
                startup = {"client_encoding": "LATIN1", "options": "-c work_mem=5MB"}
                with auto(2) as host, Sides(pg, host, "shop", **startup) as sides:
                    sides.exchange(form("SET work_mem = '3MB'"))
                    sides.exchange(form(unread))
                    sides.exchange(form(sql))
                    sides.query(ASK)


@test("set_config whose names stand in parameters")
def _():
    with auto(2) as host, host.wire() as other, Sides(pg, host, "shop") as sides:
        before = other.query(ASK)
        sides.run("SELECT set_config($1, $2, false)", "my.thing", "of a parameter")
        with_both_servers(other, host)
        sides.query(ASK)
        equal(other.query(ASK), before)
        free(host)
        sides.run("SELECT set_config(n, v, false) FROM (VALUES ('work_mem', '3MB')) t (n, v)")
        equal(pinned(host)[-1], "setting")
        sides.query(ASK)
        sides.query("DISCARD ALL")
        free(host)


@test("a pipeline of settings and statements")
def _():
    with auto(2) as host, host.wire() as other, Sides(pg, host, "shop", options="-c work_mem=5MB") as sides:
        sides.exchange(
            query("SET work_mem = '3MB'"), query("SHOW work_mem"), query("RESET work_mem"), query("SHOW work_mem"),
            query("BEGIN"), query("SET work_mem = '6MB'"), query("SELECT 1/0"), query("COMMIT"), query("SHOW work_mem"),
            ready=9,
        )
        with_both_servers(other, host)
        sides.exchange(
            run("SET work_mem = '7MB'"), run("DISCARD ALL"), run("SHOW work_mem"), run("SET my.thing = 'z'"), ready=4
        )
        with_both_servers(other, host)
        sides.query(ASK)
        free(host)


@test("a RESET and a COPY in one batch")
def _():
    with auto(2) as host, Sides(pg, host, "shop", options="-c work_mem=5MB") as sides:
        sides.send(
            parse("", "RESET work_mem"), bind(), execute(), parse("", "COPY plain FROM STDIN"), bind(), execute(), sync()
        )
        sides.receive(6)
        sides.exchange(pgwire.copy_data(b"copied\n"), pgwire.copy_done(), sync())
        sides.query("SELECT count(*) FROM plain WHERE t = 'copied'")
        sides.query("RESET ALL; SELECT 1")
        sides.query("SHOW work_mem")


@test("a role comes along, and the next client has its own")
def _():
    with auto(1) as host, host.wire() as b, Sides(pg, host, "shop") as sides:
        sides.query("SET ROLE clerk")
        sides.query("SET work_mem = '3MB'")
        for _ in range(2):
            equal(b.query("SELECT current_user"), [["app"]])
            sides.query("SELECT current_user, session_user, current_setting('work_mem')")
        sides.query("RESET ROLE")
        sides.query("SELECT current_user, session_user, current_setting('work_mem')")
        free(host)


@test("a role that was taken away meanwhile: its statements are not run by other rights")
def _():
    with auto(1) as host, host.wire() as a, host.wire() as b:
        a.query("SET ROLE clerk")
        free(host)
        equal(b.query("SELECT current_user"), [["app"]])
        pg.execute("REVOKE clerk FROM app", "postgres")
        try:
            a.send(query("INSERT INTO plain VALUES ('by app')"))
            a.expect_closed()
            equal(b.query("SELECT count(*) FROM plain WHERE t = 'by app'"), [["0"]])
        finally:
            pg.execute("GRANT clerk TO app", "postgres")


# --- pins that come and go --------------------------------------------------------------------------------------

# What makes state, the reason that is shown, and what takes it away.
PINS = {
    "LISTEN": ("LISTEN a", "listen", "UNLISTEN *"),
    "LISTEN, by name": ("LISTEN a", "listen", "UNLISTEN a"),
    "a temporary table": ("CREATE TEMP TABLE mine (a int)", "temp", "DROP TABLE mine"),
    "DISCARD TEMP": ("CREATE TEMP TABLE mine (a int)", "temp", "DISCARD TEMP"),
    "an advisory lock": ("SELECT pg_advisory_lock(7)", "lock", "SELECT pg_advisory_unlock(7)"),
    "advisory locks": ("SELECT pg_advisory_lock(7), pg_advisory_lock(8)", "lock", "SELECT pg_advisory_unlock_all()"),
    "a cursor WITH HOLD": ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursor", "CLOSE c"),
    "PREPARE": ("PREPARE p AS SELECT 1", "prepare", "DEALLOCATE p"),
    "DISCARD ALL": ("CREATE TEMP TABLE mine (a int); PREPARE p AS SELECT 2; LISTEN a", "temp,listen,prepare", None),
    "what is unsure": ("DO $$ BEGIN END $$", "unsure", None),
}


@test("a pin lasts as long as what it is for")
def _():
    for name, (make, why, end) in PINS.items():
        for form in (query, run):
            if form is run and ";" in make and "DO" not in make:
                continue
            with auto(2) as host, Sides(pg, host, "shop") as sides, host.wire() as other:
                sides.exchange(form(make))
                wait_for(lambda: pinned(host)[0] == why, what="%s: %r" % (name, pinned(host)))
                other.query("SELECT 1")
                equal(pinned(host)[0], why, name)
                sides.exchange(form(end or "DISCARD ALL"))
                free(host)
                sides.query("SELECT 1")


@test("state that a rollback takes away pins no longer, and state that it does not does")
def _():
    gone = ["CREATE TEMP TABLE mine (a int)", "LISTEN a", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"]
    stays = {"SELECT pg_advisory_lock(7)": "lock", "PREPARE p AS SELECT 1": "prepare"}
    with auto(2) as host:
        for sql in gone + list(stays):
            with Sides(pg, host, "shop") as sides:
                sides.query("BEGIN")
                sides.query(sql)
                sides.query("ROLLBACK")
                wait_for(lambda: pinned(host) == [stays.get(sql, "")], what="%s: %r" % (sql, pinned(host)))
            wait_for(lambda: not pinned(host), what="it has left")


@test("ON COMMIT DROP, and a lock that was not got, pin nobody")
def _():
    with auto(2) as host, Sides(pg, host, "shop") as sides, host.wire() as holder:
        sides.query("BEGIN")
        sides.query("CREATE TEMP TABLE mine (a int) ON COMMIT DROP")
        sides.query("INSERT INTO mine VALUES (1)")
        sides.query("COMMIT")
        free(host)
        sides.direct.query("SELECT pg_advisory_xact_lock(1)")
        holder.query("SELECT pg_advisory_lock(99)")
        equal(sides.through.query("SELECT pg_try_advisory_lock(99)"), [["f"]])
        wait_for(lambda: pinned(host)[0] == "", what="not pinned")
        holder.query("SELECT pg_advisory_unlock_all()")


@test("EXECUTE of what can be seen through leaves no pin of its own")
def _():
    with auto(2) as host, host.wire() as w:
        w.query("PREPARE p (int) AS SELECT $1 + 1")
        equal(w.query("EXECUTE p(1)"), [["2"]])
        equal(pinned(host), ["prepare"])
        w.query("DEALLOCATE p")
        free(host)


@test("setseed and LOAD stay, and the server is nobody else's")
def _():
    with auto(1) as host:
        for sql, why in (("SELECT setseed(0.5)", "seed"), ("SET seed = 0.5", "seed"), ("LOAD 'plpgsql'", "load")):
            with host.wire("howdah", "shop", "howdah-secret") as w:
                before = w.query("SELECT pg_backend_pid()")
                w.query(sql)
                w.query("DISCARD ALL")
                equal(pinned(host), [why], sql)
                w.send(pgwire.terminate())
                w.expect_closed()
            with host.wire("howdah", "shop", "howdah-secret") as w:
                assert w.query("SELECT pg_backend_pid()") != before, sql


@test("a pinned session that leaves gives back a clean server")
def _():
    with auto(1) as host:
        with host.wire() as w:
            w.query("SET my.thing = 'x'; CREATE TEMP TABLE mine (a int); SELECT pg_advisory_lock(3)")
            w.send(pgwire.terminate())
            w.expect_closed()
        with host.wire() as w:
            equal(value(w, "SELECT count(*) FROM pg_class WHERE relname = 'mine'"), "0")
            equal(value(w, "SELECT coalesce(current_setting('my.thing', true), '')"), "")
            equal(value(w, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0")


# --- sequences --------------------------------------------------------------------------------------------------


def lastval(wire, form=query):
    got = wire.exchange(form("SELECT lastval()"))
    for m in got:
        if m.type == "E":
            return m.fields()["C"]
        if m.type == "D":
            return m.row()[0].decode()
    raise AssertionError(kinds(got))


def insert(wire, table="serial"):
    column = "id" if table == "serial" else "0"
    return value(wire, "INSERT INTO %s (t) VALUES ('x') RETURNING %s" % (table, column))


@test("lastval is a session's own once its database is known to ask")
def _():
    for form in (query, run):
        with auto(3) as host, host.wire() as a, host.wire() as b, host.wire() as c:
            equal(lastval(c, form), "55000")
            ids = [insert(a), insert(b)]
            equal([lastval(a, form), lastval(b, form)], ids)
            equal(pinned(host)[:2], ["sequence", "sequence"])
            equal(lastval(c, form), "55000")
            equal([lastval(a, form), lastval(b, form)], ids)
            a.query("DISCARD SEQUENCES")
            wait_for(lambda: pinned(host)[0] == "", what="not pinned")
            equal(lastval(a, form), "55000")


@test("nobody is told another's lastval before that is known")
def _():
    for form in (query, run):
        with auto(1) as host, host.wire() as a, host.wire() as b:
            insert(a)
            insert(b)
            equal(lastval(a, form), "55000")
            mine = insert(a)
            equal(lastval(a, form), mine)
        with auto(1) as host, host.wire() as a, host.wire() as b:
            insert(a)
            b.query("BEGIN")
            insert(b, "plain")
            equal(lastval(b, form), "55000")
            b.query("ROLLBACK")
        with auto(1) as host, host.wire() as a, host.wire() as b:
            insert(a)
            b.query("BEGIN")
            got = b.exchange(parse("", "INSERT INTO plain VALUES ('x')"), bind(), execute(),
                             parse("", "SELECT lastval()"), bind(), execute(), sync())
            equal([m.fields()["C"] for m in got if m.type == "E"], ["55000"])
            b.query("ROLLBACK")


@test("a session prefers the server where it drew, and is pinned nowhere while nobody asks")
def _():
    with auto(2) as host, host.wire() as a, host.wire() as b:
        insert(a)
        mine = insert(a)
        pid = value(a, "SELECT pg_backend_pid()")
        a.query("BEGIN")
        b.query("SELECT 1")
        a.query("COMMIT")
        equal(value(a, "SELECT pg_backend_pid()"), pid)
        equal(pinned(host), ["", ""])
        equal(lastval(a), mine)


@test("an INSERT and its lastval in one text, one batch, one transaction")
def _():
    with auto(1) as host, host.wire() as other, Sides(pg, host, "shop") as sides:
        insert(other)
        pg.execute("SELECT setval('serial_id_seq', 1000)")
        with pg.connect("twin") as c:
            c.execute("SELECT setval('serial_id_seq', 1000)")
        sides.query("INSERT INTO serial (t) VALUES ('x'); SELECT lastval(), currval('serial_id_seq')")
        sides.query("DISCARD SEQUENCES")
        sides.query("SELECT lastval()", own=True)
        sides.query("BEGIN")
        sides.query("INSERT INTO serial (t) VALUES ('y')")
        sides.query("SELECT lastval()")
        sides.query("COMMIT")
        sides.query("SELECT currval('serial_id_seq')")
        sides.query("SELECT currval('other_seq')", own=True)


main()
