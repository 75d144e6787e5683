"""The plugin guard on a real PostgreSQL: what is refused never reaches the server, and everything else does."""

# Runs under TSan too.

import json
import threading
import time

import psycopg

import pgwire
from harness import Host, Postgres, equal, expect_error, main, test, wait_for

pg = Postgres()
with pg.connect(user="app", password="secret") as _c:
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 100) g")
    _c.execute("CREATE SCHEMA billing CREATE TABLE invoice (id int)")


def guard(**rules):
    """A configuration with these rules; underscores of their names become dashes."""
    changes = {"plugin guard": {"enabled": "yes"}}
    for name, keys in rules.items():
        changes["guard " + name.replace("_", "-")] = keys
    return changes


NO_WHERE = {"no_where": "yes", "message": "write a WHERE", "hint": "WHERE true means all of them"}
DDL = {"kinds": "ddl, truncate, privilege"}


def rule(host, name):
    return [r for r in host.console("SHOW GUARD") if r["rule"] == name][0]


def rows_of_item():
    return pg.execute("SELECT count(*) FROM item")[0][0]


@test("a write without WHERE is refused with SQLSTATE, message and hint, in both protocols")
def no_where():
    with Host(pg, guard(no_where=NO_WHERE)) as host, host.connect() as c:
        for cursor in (psycopg.ClientCursor(c), c.cursor()):
            for statement in ("DELETE FROM item", "UPDATE item SET name = %s"):
                try:
                    cursor.execute(statement, ("x",) if "%s" in statement else None)
                except psycopg.Error as e:
                    equal(e.diag.sqlstate, "42501")
                    equal(e.diag.message_primary, "write a WHERE")
                    equal(e.diag.message_hint, "WHERE true means all of them")
                    equal(e.diag.severity, "ERROR")
                else:
                    raise AssertionError("not refused: " + statement)
            cursor.execute("DELETE FROM item WHERE id = %s", (-1,))
            equal(c.execute("SELECT 1").fetchone(), (1,))
        equal(rows_of_item(), 100)
        wait_for(lambda: int(rule(host, "no-where")["refused"]) == 4, what="the bus has brought four refusals")
        equal(int(rule(host, "no-where")["matched"]), 4)
        assert rule(host, "no-where")["last"]


@test("what is hidden in a CTE, a batch, EXPLAIN ANALYZE, PREPARE or a comment is refused too")
def hidden():
    rules = guard(no_where=NO_WHERE, no_delete={"kinds": "delete"}, ddl=DDL)
    with Host(pg, rules) as host, host.connect() as c:
        for statement in (
            "WITH gone AS (DELETE FROM item RETURNING *) SELECT count(*) FROM gone",
            "SELECT 1; DELETE FROM item WHERE id = 1",
            "EXPLAIN ANALYZE DELETE FROM item WHERE id = 1",
            "PREPARE p AS DELETE FROM item WHERE id = $1",
            "/* SELECT 1 */ dElEtE /**/ FROM item WHERE id = 1",
            "SELECT ';'; DROP TABLE item",
            "CREATE TEMP TABLE t (a int)",
            "SELECT 1 INTO new_table",
            "GRANT SELECT ON item TO other",
            "TRUNCATE item",
            "BEGIN; ALTER TABLE item ADD COLUMN x int; COMMIT",
        ):
            with expect_error("42501"):
                c.execute(statement)
        for statement in (
            "SELECT 'DELETE FROM item'",
            'SELECT 1 AS "delete"',
            "EXPLAIN DELETE FROM item WHERE id = 1",
            "SELECT 1; SELECT 2",
            "INSERT INTO item VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'item 1'",
            "SELECT * FROM item WHERE id = 1 FOR UPDATE",
        ):
            c.execute(statement)
        equal(rows_of_item(), 100)


@test("a refused statement in a transaction fails as PostgreSQL's errors do")
def in_transaction():
    with Host(pg, guard(no_where=NO_WHERE)) as host, host.connect() as c:
        with c.transaction(force_rollback=True):
            c.execute("INSERT INTO item VALUES (1000, 'new')")
            with expect_error("42501"):
                c.execute("DELETE FROM item")
        equal(c.execute("SELECT count(*) FROM item").fetchone(), (100,))
        equal(c.info.transaction_status, psycopg.pq.TransactionStatus.IDLE)


@test("a refused statement ends its pipeline's segment, and the next one runs")
def in_pipeline():
    with Host(pg, guard(no_where=NO_WHERE)) as host, host.wire() as w:
        got = w.exchange(
            pgwire.parse("", "SELECT 1"),
            pgwire.bind(),
            pgwire.execute(),
            pgwire.parse("", "DELETE FROM item"),
            pgwire.bind(),
            pgwire.execute(),
            pgwire.parse("", "SELECT 2"),
            pgwire.bind(),
            pgwire.execute(),
            pgwire.sync(),
        )
        # Its Parse and Bind may reach the server; its Execute does not, nor what comes behind it.
        assert "".join(m.type for m in got) in ("12DCEZ", "12DC1EZ", "12DC12EZ"), got
        got = w.exchange(pgwire.parse("", "SELECT 3"), pgwire.bind(), pgwire.execute(), pgwire.sync())
        equal("".join(m.type for m in got), "12DCZ")
    equal(rows_of_item(), 100)


@test("rules are for the users, databases and applications that they name")
def who():
    rules = guard(
        one={"kinds": "update", "users": "ap*", "databases": "shop", "applications": "batch*"},
        two={"kinds": "delete", "not_users": "app"},
    )
    with Host(pg, rules) as host:
        with host.connect(application_name="batch-7") as c, expect_error("42501"):
            c.execute("UPDATE item SET name = name WHERE id = 1")
        with host.connect(application_name="web") as c:
            c.execute("UPDATE item SET name = name WHERE id = 1")
            c.execute("SET application_name = 'batch-8'")
            c.execute("DELETE FROM item WHERE id = -1")
        with host.connect(user="other", password="other-secret") as c, expect_error("42501", "refused by rule .two"):
            c.execute("DELETE FROM item WHERE id = -1")


@test("tables and functions by name and wildcard")
def names():
    rules = guard(
        billing={"tables": "billing.*", "sqlstate": "42P01"},
        sleep={"functions": "pg_sleep*, pg_catalog.pg_read_*"},
    )
    with Host(pg, rules) as host, host.connect() as c:
        with expect_error("42P01", "refused by rule .billing"):
            c.execute("SELECT * FROM item, billing.invoice")
        for call in ("pg_sleep(0)", "PG_CATALOG.pg_sleep_for('0 s')", "pg_read_file('x')"):
            with expect_error("42501"):
                c.execute("SELECT " + call)
        c.execute("SELECT * FROM item LIMIT 1")


@test("length, joins, tables, sub-selects and LIMIT have bounds")
def sizes():
    rules = guard(
        long={"max_length": "2K"},
        joins={"max_joins": 1},
        subs={"max_subselects": 1},
        tables={"max_tables": 2},
        limit={"no_limit": "yes", "tables": "billing.invoice"},
    )
    with Host(pg, rules) as host, host.connect() as c:
        c.execute("SELECT '%s'" % ("x" * 1000))
        with expect_error("42501", "long"):
            c.execute("SELECT '%s'" % ("x" * 3000))
        with expect_error("42501", "long"):
            c.execute("SELECT '%s'" % ("x" * 300000))
        c.execute("SELECT 'short', %s::int", (1,))  # in the extended protocol
        with expect_error("42501", "long"):
            c.execute("SELECT '%s', %%s::int" % ("x" * 3000), (1,))
        c.execute("SELECT 1 FROM item a JOIN item b USING (id)")
        with expect_error("42501", "joins"):
            c.execute("SELECT 1 FROM item a JOIN item b USING (id) JOIN item d USING (id)")
        with expect_error("42501"):
            c.execute("SELECT (SELECT 1), (SELECT 2)")
        with expect_error("42501"):
            c.execute("SELECT 1 FROM item a, item b, item d")
        with expect_error("42501", "limit"):
            c.execute("SELECT * FROM billing.invoice")
        c.execute("SELECT * FROM billing.invoice LIMIT 5")
        c.execute("SELECT count(*) FROM billing.invoice")


@test("what cannot be analysed does not slip through, unless that is wanted")
def unsure():
    text = "SELECT 1 FROM item WHERE THIS IS NOT SQL"
    with Host(pg, guard(ddl=DDL)) as host, host.connect() as c:
        with expect_error("42501", "cannot tell what it does"):
            c.execute(text)
    changes = guard(ddl=DDL)
    changes["plugin guard"]["unsure"] = "warn"
    with Host(pg, changes) as host, host.connect() as c:
        with expect_error("42601"):
            c.execute(text)
        wait_for(lambda: int(rule(host, "ddl")["warned"]) == 1, what="one warning")
    changes["plugin guard"]["unsure"] = "allow"
    with Host(pg, changes) as host, host.connect() as c:
        with expect_error("42601"):
            c.execute(text)
        equal(int(rule(host, "ddl")["matched"]), 0)


@test("a session whose encoding is not read is refused")
def other_encoding():
    with Host(pg, guard(ddl=DDL)) as host, host.connect() as c:
        c.execute("SET client_encoding = 'SJIS'")
        with expect_error("42501"):
            c.execute("SELECT 1")


@test("action = warn logs, counts and lets it pass")
def warns():
    with Host(pg, guard(soft={**NO_WHERE, "action": "warn"})) as host, host.connect() as c:
        c.execute("UPDATE item SET name = name")
        host.wait_log(r"statement matches a rule.*rule=soft")
        wait_for(lambda: int(rule(host, "soft")["warned"]) == 1, what="one warning")
        equal(int(rule(host, "soft")["refused"]), 0)
        assert "UPDATE item" not in host.log_text() and "update item" not in host.log_text()


@test("enabled = observe decides and counts, but does not act; enable and disable at run time")
def observes():
    changes = guard(no_where=NO_WHERE)
    changes["plugin guard"]["enabled"] = "observe"
    with Host(pg, changes) as host, host.connect() as c:
        c.execute("UPDATE item SET name = name")
        wait_for(lambda: int(rule(host, "no-where")["warned"]) == 1, what="what would have been refused")
        equal(int(rule(host, "no-where")["refused"]), 0)
        equal(host.control("plugin", "guard", "enable").returncode, 0)
        with expect_error("42501"):
            c.execute("UPDATE item SET name = name")
        equal(host.control("plugin", "guard", "observe").returncode, 0)
        c.execute("UPDATE item SET name = name")
        equal(host.control("plugin", "guard", "disable").returncode, 0)
        c.execute("UPDATE item SET name = name")


@test("action = throttle holds a rate, over all sessions and workers")
def throttles():
    rules = guard(slow={"kinds": "select", "tables": "item", "action": "throttle", "rate": 50, "burst": 1})
    with Host(pg, {**rules, "host": {"workers": 2}}) as host:
        done = []

        def work():
            with host.connect() as c:
                for _ in range(10):
                    c.execute("SELECT name FROM item WHERE id = 1")
                    done.append(time.monotonic())

        threads = [threading.Thread(target=work) for _ in range(4)]
        began = time.monotonic()
        for t in threads:
            t.start()
        with host.connect() as c:
            c.execute("SELECT 1")  # no rule is for this one
        for t in threads:
            t.join()
        equal(len(done), 40)
        seconds = max(done) - began
        assert seconds > 39 / 50 * 0.95, seconds
        state = rule(host, "slow")
        equal((int(state["matched"]), int(state["waiting"])), (40, 0))
        assert int(state["throttled"]) > 20, state


@test("past max_waiting 53400, past max_wait 57014, and a client that leaves frees its place")
def throttle_bounds():
    keys = {"kinds": "select", "tables": "item", "action": "throttle", "rate": 0.01, "max_waiting": 1}
    query = pgwire.query("SELECT name FROM item WHERE id = 1")
    with Host(pg, guard(slow={**keys, "max_wait": "500ms"})) as host:
        with host.connect() as c:
            c.execute("SELECT name FROM item WHERE id = 1")  # takes the only token
            began = time.monotonic()
            with expect_error("57014"):
                c.execute("SELECT name FROM item WHERE id = 1")
            assert time.monotonic() - began > 0.4
            equal(int(rule(host, "slow")["waiting"]), 0)
    with Host(pg, guard(slow={**keys, "max_wait": "60s"})) as host:
        with host.connect() as c:
            c.execute("SELECT name FROM item WHERE id = 1")
            w = host.wire()
            w.send(query)
            wait_for(lambda: int(rule(host, "slow")["waiting"]) == 1, what="one waits")
            with expect_error("53400"):
                c.execute("SELECT name FROM item WHERE id = 1")
            w.close()
            wait_for(lambda: int(rule(host, "slow")["waiting"]) == 0, what="its place is free")


@test("a reload exchanges the rules under load, and a bad one changes nothing")
def reloads():
    first = guard(no_where=NO_WHERE)
    with Host(pg, first) as host, host.connect() as c:
        stop = threading.Event()
        failures = []

        def load():
            with host.connect() as d:
                while not stop.is_set():
                    try:
                        d.execute("SELECT name FROM item WHERE id = 1")
                    except psycopg.Error as e:
                        failures.append(e)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for t in threads:
            t.start()
        host.configure(guard(no_where=NO_WHERE, no_ddl=DDL))
        host.console("RELOAD")
        with expect_error("42501"):
            c.execute("DROP TABLE item")
        host.configure(guard(no_ddl={"kinds": "dll"}))
        with expect_error(match='did you mean "ddl"'):
            host.console("RELOAD")
        with expect_error("42501"):
            c.execute("DELETE FROM item")
        for _ in range(10):
            host.configure(first)
            host.console("RELOAD")
            host.configure(guard(no_ddl=DDL))
            host.console("RELOAD")
        stop.set()
        for t in threads:
            t.join()
        equal(failures, [])
        equal([r["rule"] for r in host.console("SHOW GUARD")], ["no-ddl"])


@test("a wrong rule is told with file, line and what would be right")
def wrong_rules():
    for keys, text in (
        ({"kinds": "slect"}, 'did you mean "select"'),
        ({"action": "refuse"}, "there is no condition"),
        ({"kinds": "ddl", "sqlstate": "425"}, "no SQLSTATE"),
        ({"kinds": "ddl", "actoin": "warn"}, "action"),
        ({"kinds": "ddl", "action": "stop"}, "warn"),
    ):
        host = Host(pg, guard(bad=keys), start=False)
        result = host.run("-t")
        said = result.stdout + result.stderr
        assert result.returncode != 0, keys
        assert text in said and "10-test.ini:" in said, said


@test("metrics and events tell what was refused")
def metrics():
    with Host(pg, guard(no_where=NO_WHERE)) as host, host.connect() as c:
        with expect_error("42501"):
            c.execute("DELETE FROM item")
        shown = json.dumps(host.console("SHOW METRICS"), default=str)
        assert "howdah_guard_refused_total" in shown and "no-where" in shown, shown
        wait_for(
            lambda: any("no-where" in json.dumps(r, default=str) for r in host.console("SHOW EVENTS")),
            what="statement.refused in SHOW EVENTS",
        )
        host.wait_log(r"statement refused.*rule=no-where")


main()
