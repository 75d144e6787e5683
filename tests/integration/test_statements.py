"""The plugin statements on real traffic: counts, times, texts without literals, several workers, reset, bounds."""

# Runs under TSan too.

import json
import threading

import psycopg

from harness import Host, Postgres, equal, expect_error, main, test, wait_for

pg = Postgres()
with pg.connect(user="app", password="secret") as _c:
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 1000) g")

ON = {"plugin statements": {"enabled": "yes"}}


def row_of(host, text, database="shop", command="SHOW STATEMENTS"):
    """The row of the template whose text contains `text`."""
    found = [r for r in host.console(command) if text in (r["statement"] or "") and r["database"] == database]
    assert len(found) <= 1, found
    return found[0] if found else None


def number(row, column):
    return float(row[column])


@test("counts executions, rows and errors of each template, in both protocols")
def counts():
    with Host(pg, ON) as host:
        with host.connect() as c:
            simple = psycopg.ClientCursor(c)
            for i in range(1, 11):
                simple.execute("SELECT name FROM item WHERE id = %s", (i,))
            for i in range(1, 6):
                c.execute("SELECT id FROM item WHERE id < %s", (i,), prepare=True)
            with expect_error("23505"):
                simple.execute("INSERT INTO item VALUES (1, 'again')")
        row = row_of(host, "select name from item where id = $1")
        equal((int(row["calls"]), int(row["errors"]), int(row["rows"])), (10, 0, 10))
        assert int(row["bytes"]) > 0 and 0 < number(row, "mean_ms") <= number(row, "max_ms")
        assert number(row, "min_ms") <= number(row, "p95_ms") <= number(row, "max_ms")
        row = row_of(host, "select id from item where id < $1")
        equal((int(row["calls"]), int(row["rows"])), (5, 0 + 1 + 2 + 3 + 4))
        row = row_of(host, "insert into item")
        equal((int(row["calls"]), int(row["errors"])), (1, 1))


@test("texts never contain literals")
def no_literals():
    with Host(pg, ON) as host:
        with host.connect() as c:
            psycopg.ClientCursor(c).execute("SELECT 'my-secret', $tag$my-secret$tag$, 4711 /* my-secret */")
        shown = json.dumps(host.console("SHOW STATEMENTS"), default=str)
        assert "my-secret" not in shown and "4711" not in shown, shown
        assert "my-secret" not in host.log_text()


@test("times what the server takes, and sorts by it")
def times():
    with Host(pg, ON) as host:
        with host.connect() as c:
            cursor = psycopg.ClientCursor(c)
            cursor.execute("SELECT pg_sleep(1)")
            for _ in range(20):
                cursor.execute("SELECT 1")
        row = row_of(host, "pg_sleep")
        assert 1000 <= number(row, "mean_ms") < 5000, row
        assert abs(number(row, "p95_ms") / number(row, "max_ms") - 1) < 0.02, row
        for order in ("total", "mean", "p95"):
            top = host.console("SHOW STATEMENTS TOP 1 ORDER BY " + order)
            equal(len(top), 1)
            assert "pg_sleep" in top[0]["statement"], top
        assert number(top[0], "share_percent") > 50
        rows = host.console("SHOW STATEMENTS ORDER BY calls")
        equal(rows, sorted(rows, key=lambda r: -int(r["calls"])))


@test("shows what waiting for a server cost")
def queue_time():
    with Host(pg, {**ON, "database *": {"pool_size": 1}}) as host:
        with host.connect() as a, host.connect() as b:
            with a.transaction():
                a.execute("SELECT 'holds the only server'")
                waiting = threading.Thread(target=lambda: psycopg.ClientCursor(b).execute("SELECT 5, 5"))
                waiting.start()
                wait_for(lambda: host.console("SHOW POOLS")[0]["waiting"] == 1, what="one that waits")
                psycopg.ClientCursor(a).execute("SELECT pg_sleep(0.3)")
            waiting.join()
        queued = {r["statement"]: number(r, "queue_ms") for r in host.console("SHOW STATEMENTS")}
        assert queued["select $1, $2"] >= 300 and queued["select pg_sleep($1)"] < 10, queued


@test("merges all workers, and keeps databases apart")
def merges():
    with Host(pg, {**ON, "host": {"workers": 4}}) as host:
        connections = [host.connect() for _ in range(16)]
        other = host.connect("postgres")
        for c in connections + [other]:
            for i in range(5):
                psycopg.ClientCursor(c).execute("SELECT %s + 1", (i,))
        for c in connections + [other]:
            c.close()
        equal(int(row_of(host, "select $1 + $2")["calls"]), 80)
        equal(int(row_of(host, "select $1 + $2", "postgres")["calls"]), 5)


@test("a pipeline counts each of its statements once")
def pipeline():
    with Host(pg, ON) as host:
        with host.connect() as c:
            with c.pipeline():
                for i in range(50):
                    c.execute("SELECT name FROM item WHERE id = %s + 0", (i,))
        equal(int(row_of(host, "where id = $1 + ")["calls"]), 50)


@test("STATEMENTS RESET forgets, and counting goes on")
def reset():
    with Host(pg, ON) as host:
        with host.connect() as c:
            cursor = psycopg.ClientCursor(c)
            cursor.execute("SELECT id FROM item LIMIT 1")
            assert row_of(host, "limit")
            host.console("STATEMENTS RESET")
            equal(row_of(host, "limit"), None)
            cursor.execute("SELECT id FROM item LIMIT 1")
            equal(int(row_of(host, "limit")["calls"]), 1)


@test("past max_templates everything else is one row")
def bound():
    with Host(pg, {"plugin statements": {"enabled": "yes", "max_templates": 5}, "host": {"workers": 1}}) as host:
        with host.connect() as c:
            for i in range(20):
                c.execute("SELECT 1 AS column_%d" % i)
        rows = host.console("SHOW STATEMENTS")
        equal(len(rows), 6)
        other = [r for r in rows if r["fingerprint"] is None]
        equal(len(other), 1)
        equal(sum(int(r["calls"]) for r in rows), 20)


@test("what changed is published, and metrics count")
def publishes():
    with Host(pg, {"plugin statements": {"enabled": "yes", "publish_interval": "200ms"}}) as host:
        with host.connect() as c:
            for _ in range(3):
                c.execute("SELECT name FROM item WHERE id = 7")
            with expect_error("42P01"):
                c.execute("SELECT * FROM no_such_table")
        metrics = json.dumps(host.console("SHOW METRICS"), default=str)
        for name in ("howdah_statements_total", "howdah_statement_errors_total", "howdah_statement_seconds"):
            assert name in metrics, metrics
        wait_for(
            lambda: any("statement.finished" in json.dumps(r, default=str) for r in host.console("SHOW EVENTS")),
            what="statement.finished in SHOW EVENTS",
        )


@test("a reload changes its options under load")
def reloads():
    with Host(pg, ON) as host:
        stop = threading.Event()
        failures = []

        def load():
            with host.connect() as c:
                while not stop.is_set():
                    try:
                        psycopg.ClientCursor(c).execute("SELECT id FROM item WHERE id = 3")
                    except psycopg.Error as e:
                        failures.append(e)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads:
            t.start()
        for size in (10, 1000, 7, 5000):
            host.console("RELOAD")
            host.configure({"plugin statements": {"enabled": "yes", "max_templates": size, "publish_interval": "100ms"}})
            host.console("RELOAD")
            wait_for(lambda: row_of(host, "where id = $1"), what="statements are counted")
        stop.set()
        for t in threads:
            t.join()
        equal(failures, [])


@test("switched off and on again at run time it starts anew")
def off_and_on():
    with Host(pg, ON) as host:
        with host.connect() as c:
            c.execute("SELECT id FROM item WHERE id = 1")
            equal(host.control("plugin", "statements", "disable").returncode, 0)
            c.execute("SELECT id FROM item WHERE id = 1")
            wait_for(
                lambda: [r for r in host.console("SHOW PLUGINS") if r["name"] == "statements"][0]["state"]
                in ("stopped", "available"),
                what="statements has stopped",
            )
            with expect_error():
                host.console("SHOW STATEMENTS")
            equal(host.control("plugin", "statements", "enable").returncode, 0)

            def counted():  # the worker takes the plugin a moment later
                c.execute("SELECT id FROM item WHERE id = 1")
                return row_of(host, "where id = $1")

            equal(int(wait_for(counted, what="statements are counted again")["calls"]), 1)


@test("howdahctl shows the same, as JSON too")
def by_control():
    with Host(pg, ON) as host:
        with host.connect() as c:
            c.execute("SELECT id FROM item WHERE id = 1")
        shown = host.control("--json", "show", "statements", "top", "5")
        equal(shown.returncode, 0)
        assert "select id from item where id = $1" in shown.stdout, shown.stdout
        shown = host.control("show", "statements", "order", "by", "nonsense")
        equal(shown.returncode, 1)
        assert "usage: SHOW STATEMENTS [TOP n]" in shown.stdout + shown.stderr


@test("a wrong option is told with file and line")
def wrong_option():
    host = Host(pg, {"plugin statements": {"enabled": "yes", "max_template": 5}}, start=False)
    result = host.run("-t")
    assert result.returncode != 0
    assert "max_templates" in result.stderr and ":" in result.stderr, result.stderr


main()
