"""What is counted of statements, figure by figure, against PostgreSQL's own counts and what clients were given."""

# Runs under TSan too.

import collections
import contextlib
import itertools
import os
import sqlite3
import threading

import psycopg

import httphost
import pgwire
import sides
from harness import Host, Postgres, equal, expect_error, free_port, main, temp_dir, test, wait_for

pg = Postgres(
    settings={
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.track": "top",
        "compute_query_id": "on",
    }
)
pg.execute("CREATE EXTENSION pg_stat_statements")
with pg.connect(user="app", password="secret") as _c:
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 1000) g")
    _c.execute("CREATE TABLE heap (id int, name text)")
    _c.execute(
        "CREATE FUNCTION raises(code text) RETURNS int LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = code; END$$"
    )
    _c.execute(
        "CREATE FUNCTION several(n int) RETURNS SETOF int LANGUAGE plpgsql AS"
        " $$BEGIN FOR i IN 1..n LOOP RETURN QUERY SELECT i; END LOOP; END$$"
    )

USERS = (("app", "secret"), ("other", "other-secret"))


def configured(more=None, **keys):
    return {
        "plugin statements": {"enabled": "yes"},
        "plugin monitor": {
            "enabled": "yes",
            "collect": "no",
            "history": os.path.join(temp_dir(), "history.db"),
            **keys,
        },
        **(more or {}),
    }


def templates(host, mark, **wanted):
    """What SHOW TEMPLATES says of statements with that mark in their text."""
    rows = [r for r in host.console("SHOW TEMPLATES TOP 100000") if mark in (r["statement"] or "")]
    return [r for r in rows if all(r[k] == v for k, v in wanted.items())]


def told(host, mark, **wanted):
    """Calls, errors, rows and SQLSTATEs of all of them together."""
    rows = templates(host, mark, **wanted)
    states = collections.Counter()
    for r in rows:
        for pair in filter(None, (r["sqlstates"] or "").split(",")):
            code, n = pair.split("=")
            states[code] += int(n)
    calls, errors, brought = (sum(int(r[k]) for r in rows) for k in ("calls", "errors", "rows"))
    equal(errors, sum(states.values()), mark)
    return calls, errors, brought, dict(states)


def by_server(mark):
    """Calls and rows by pg_stat_statements, which counts what did not fail."""
    return pg.execute(
        "SELECT coalesce(sum(calls), 0)::int, coalesce(sum(rows), 0)::int FROM pg_stat_statements"
        " WHERE position('%s' in query) > 0 AND position('pg_stat_statements' in query) = 0" % mark
    )[0]


def agrees(host, mark, calls, rows, states=None):
    """The host tells what is expected, and PostgreSQL agrees with it."""
    states = states or {}
    failed = sum(states.values())
    equal(told(host, mark), (calls + failed, failed, rows, states), mark)
    equal(by_server(mark), (calls, rows), mark + " by the server")


def simple(c, sql):
    return psycopg.ClientCursor(c).execute(sql)


# PostgreSQL's counts take no notice of aliases, so those that are compared with them differ in their columns.
def plain_reads(c):
    for i in range(10):
        simple(c, "SELECT id AS m_simple FROM item WHERE id <= %d" % i).fetchall()
    for i in range(7):
        c.execute("SELECT id, name AS m_unnamed FROM item WHERE id <= %s", (i,), prepare=False).fetchall()
    for i in range(12):
        c.execute("SELECT id, id AS m_named FROM item WHERE id <= %s", (i,), prepare=True).fetchall()
    with c.pipeline():
        for i in range(50):
            c.execute("SELECT name AS m_pipe FROM item WHERE id <= %s", (i % 5,))
    simple(c, "SELECT m_function FROM several(9) AS m_function")


READS = {
    "m_simple": (10, sum(range(10))),
    "m_unnamed": (7, sum(range(7))),
    "m_named": (12, sum(range(12))),
    "m_pipe": (50, 10 * (0 + 1 + 2 + 3 + 4)),
    "m_function": (1, 9),
}


@test("reads: calls and rows of each protocol are those that the server counted, per user")
def reads():
    pg.execute("SELECT pg_stat_statements_reset()")
    with Host(pg, configured()) as host:
        pg.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO other")
        for user, password in USERS:
            with host.connect(user=user, password=password) as c:
                plain_reads(c)
        for mark, (calls, rows) in READS.items():
            agrees(host, mark, 2 * calls, 2 * rows)
            for user, _ in USERS:
                equal(told(host, mark, user=user, database="shop")[:3], (calls, 0, rows), mark)


@test("writes: rows that were inserted, changed, deleted, copied and fetched are counted")
def written():
    pg.execute("SELECT pg_stat_statements_reset()")
    with Host(pg, configured()) as host:
        with host.connect() as c:
            for i in range(4):
                simple(c, "INSERT INTO heap AS m_insert VALUES (%d, 'a'), (2, 'b'), (3, 'c')" % (5000 + i))
            c.execute("INSERT INTO heap AS m_returning VALUES (%s, 'a'), (6001, 'b') RETURNING id", (6000,)).fetchall()
            c.execute("UPDATE heap AS m_update SET name = %s WHERE id >= %s", ("y", 5000))
            c.execute("DELETE FROM heap AS m_delete WHERE id >= %s", (5000,))
            simple(c, "CREATE TABLE m_made AS SELECT generate_series(1, 6)")
            simple(c, "DROP TABLE m_made")
            with c.cursor().copy("COPY heap (id, name) FROM STDIN WHERE 'm_copied' <> ''") as copy:
                for i in range(25):
                    copy.write_row((i, "name"))
            with c.cursor().copy("COPY (SELECT id AS m_out FROM item WHERE id <= 30) TO STDOUT") as copy:
                equal(len(list(copy)), 30)
            with c.transaction():
                simple(c, "DECLARE m_cursor CURSOR FOR SELECT id FROM item WHERE id <= 25")
                equal([len(simple(c, "FETCH 10 FROM m_cursor").fetchall()) for _ in range(4)], [10, 10, 5, 0])
                simple(c, "MOVE ABSOLUTE 3 FROM m_cursor")
                simple(c, "CLOSE m_cursor")
        for mark, calls, rows in (
            ("m_insert", 4, 12),
            ("m_returning", 1, 2),
            ("m_update", 1, 6),
            ("m_delete", 1, 6),
            ("m_made as", 1, 6),
            ("m_out", 1, 30),
            ("fetch", 4, 25),
            ("copy heap", 1, 25),
        ):
            equal(told(host, mark)[:3], (calls, 0, rows), mark)
        for mark, calls, rows in (("m_insert", 4, 12), ("m_out", 1, 30), ("FETCH", 4, 25), ("COPY heap", 1, 25)):
            equal(by_server(mark), (calls, rows), mark)


@test("several statements in a Query, SQL's PREPARE, empty ones, and portals that are read by pieces")
def odd_shapes():
    with Host(pg, configured()) as host:
        with host.connect() as c:
            for _ in range(3):
                simple(c, "SELECT 1 AS m_several; INSERT INTO heap VALUES (1, 'a'), (2, 'b'); SELECT id FROM item WHERE id <= 4")
            simple(c, "PREPARE m_prepared AS SELECT id FROM item WHERE id <= $1")
            for i in range(5):
                simple(c, "EXECUTE m_prepared(%d)" % i)
            simple(c, "DEALLOCATE m_prepared")
            simple(c, "")
        equal(told(host, "m_several"), (3, 0, 3 * (1 + 2 + 4), {}))
        equal(told(host, "execute m_prepared"), (5, 0, 0 + 1 + 2 + 3 + 4, {}))
        equal(told(host, "prepare m_prepared"), (1, 0, 0, {}))
        with host.wire() as w:
            w.send(
                pgwire.parse("", "SELECT id AS m_portal FROM item WHERE id <= 10"),
                pgwire.bind(),
                pgwire.execute(max_rows=4),
                pgwire.execute(max_rows=4),
                pgwire.execute(max_rows=4),
                pgwire.sync(),
            )
            equal(pgwire.kinds(w.recv_until()), "12DDDDsDDDDsDDCZ")
        # Each Execute is answered by itself, and so counted, as a FETCH of a cursor is.
        equal(told(host, "m_portal"), (3, 0, 10, {}))


@test("each failure has its SQLSTATE, and what follows it in its transaction or pipeline")
def failures():
    with Host(pg, configured()) as host:
        with host.connect() as c:
            for sql, code, n in (
                ("SELECT 1 / 0 AS m_zero", "22012", 3),
                ("SELECT * FROM m_nowhere", "42P01", 2),
                ("SELECT m_syntax FROM FROM", "42601", 2),
                ("INSERT INTO item (id) VALUES (1) RETURNING 'm_unique'", "23505", 2),
                ("SELECT 'm' ::int AS m_text", "22P02", 1),
                ("SELECT raises('40001') AS m_raised", "40001", 4),
                ("SELECT raises('P0001') AS m_raised", "P0001", 1),
                ("SELECT raises('57P01') AS m_raised", "57P01", 1),
            ):
                for i in range(n):
                    with expect_error(code):
                        if i % 2:
                            c.execute(sql)
                        else:
                            simple(c, sql)
            c.execute("SET statement_timeout = '50ms'")
            with expect_error("57014"):
                simple(c, "SELECT pg_sleep(5) AS m_timeout")
            c.execute("RESET statement_timeout")
            runs = lambda: pg.backends("query LIKE '%m_cancel%' AND state = 'active'")
            canceller = threading.Thread(target=lambda: wait_for(runs, what="it running") and c.cancel())
            canceller.start()
            with expect_error("57014"):
                simple(c, "SELECT pg_sleep(60) AS m_cancel")
            canceller.join()
            c.execute("BEGIN")
            with expect_error("22012"):
                simple(c, "SELECT 1 / 0 AS m_first")
            for _ in range(3):
                with expect_error("25P02"):
                    simple(c, "SELECT 1 AS m_behind")
            c.execute("ROLLBACK")
        equal(told(host, "m_zero"), (3, 3, 0, {"22012": 3}))
        equal(told(host, "m_nowhere"), (2, 2, 0, {"42P01": 2}))
        equal(told(host, "m_syntax"), (2, 2, 0, {"42601": 2}))
        equal(told(host, "m_text"), (1, 1, 0, {"22P02": 1}))
        equal(told(host, "m_raised"), (6, 6, 0, {"40001": 4, "P0001": 1, "57P01": 1}))
        equal(told(host, "m_timeout"), (1, 1, 0, {"57014": 1}))
        equal(told(host, "m_cancel"), (1, 1, 0, {"57014": 1}))
        equal(told(host, "m_behind"), (3, 3, 0, {"25P02": 3}))
        equal(told(host, "insert into item")[3], {"23505": 2})
        classes = {r["labels"]: float(r["value"]) for r in host.console("SHOW METRICS howdah_statement_errors_total")}
        equal(
            classes,
            {"class=22": 5, "class=42": 4, "class=23": 2, "class=40": 4, "class=P0": 1, "class=57": 3, "class=25": 3},
        )


@test("what ends with its client, its server or its queue is counted once, too")
def other_ends():
    conf = configured({"database *": {"pool_size": 1, "queue_timeout": "1s"}})
    with Host(pg, conf) as host:
        w = host.wire()
        w.send(pgwire.query("SELECT pg_sleep(30) AS m_left"))
        wait_for(lambda: pg.backends("query LIKE '%m_left%' AND state = 'active'"), what="it running")
        w.close()
        wait_for(lambda: told(host, "m_left") == (1, 1, 0, {"08006": 1}), what="its end")
        with host.connect() as c, host.connect() as d:
            killer = threading.Thread(
                target=lambda: (
                    wait_for(lambda: pg.backends("query LIKE '%m_killed%' AND state = 'active'"), what="it running"),
                    pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%m_killed%' AND pid <> pg_backend_pid()"),
                )
            )
            killer.start()
            with expect_error():
                simple(c, "SELECT pg_sleep(30) AS m_killed")
            killer.join()
            equal(told(host, "m_killed"), (1, 1, 0, {"57P01": 1}))
            c.close()
            with d.transaction():
                simple(d, "SELECT 1 AS m_holder")
                with expect_error("53300"), host.connect() as e:
                    simple(e, "SELECT 1 AS m_queued")
        equal(told(host, "m_queued"), (1, 1, 0, {"53300": 1}))
        [row] = templates(host, "m_queued")
        assert row["queue_ms"] >= 900 and row["server_ms"] == 0 and row["max_ms"] >= row["queue_ms"], row


def size_of(messages, kinds):
    return sum(1 + 4 + len(m.body) for m in messages if m.type in kinds)


@test("bytes are those of the answer on the wire")
def answer_bytes():
    with Host(pg, configured()) as host:
        with host.wire() as w:
            w.send(pgwire.query("SELECT id AS m_bytes, name FROM item WHERE id <= 100"))
            answer = w.recv_until()
            equal(templates(host, "m_bytes")[0]["bytes"], size_of(answer, "TDCZ"))
            w.send(pgwire.run("SELECT id AS x_bytes, name FROM item WHERE id <= $1", (b"77",)))
            answer = w.recv_until()
            equal(templates(host, "x_bytes")[0]["bytes"], size_of(answer, "DC"))


@test("in each pool_mode the same is counted, and times add up")
def pool_modes():
    with Host(pg, sides.pool_modes(pg, configured({"host": {"workers": 2}}))) as host:
        databases = [section.split()[1] for section in host.config if section.startswith("database shop_")]
        assert len(databases) >= 3, databases
        for database in databases:
            with host.connect(database) as c:
                plain_reads(c)
        for database in databases:
            for mark, (calls, rows) in READS.items():
                equal(told(host, mark, database=database)[:3], (calls, 0, rows), database + " " + mark)
        for r in templates(host, "m_"):
            assert abs(r["mean_ms"] - r["queue_ms"] - r["server_ms"]) <= 0.0021, r
            assert 0 < r["first_ms"] <= r["mean_ms"] + 0.001 and r["p50_ms"] <= r["p95_ms"] <= r["p99_ms"] <= r["max_ms"], r
        counted = {r["labels"]: r["value"] for r in host.console("SHOW METRICS howdah_statements_total")}
        for database in databases:
            equal(
                float(counted["database=" + database]),
                sum(int(r["calls"]) for r in host.console("SHOW TEMPLATES TOP 100000") if r["database"] == database),
            )


@test("past max_users a database's further users are one; past a hundred databases those are one; nothing is lost")
def bounded_names():
    conf = configured({"host": {"workers": 1}, "plugin statements": {"enabled": "yes", "max_users": 3}})
    conf["node main"] = {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port)}
    conf["database *"] = {"pool_mode": "transaction", "server_idle_timeout": "1s"}
    names = ["db%d" % i for i in range(103)]
    with Host(pg, conf) as host:
        for name in names:
            for user, password in USERS if name == "db1" else USERS[:1]:
                with host.connect(name, user=user, password=password) as c:
                    simple(c, "SELECT 1 AS m_bound")
        rows = {(r["database"], r["user"]): int(r["calls"]) for r in templates(host, "m_bound")}
        wanted = {(name, "app"): 1 for name in names[:2]}
        wanted.update({(name, "other"): 1 for name in names[2:100]})
        wanted.update({("db1", "other"): 1, ("other", "other"): 3})
        equal(rows, wanted)
        metrics = {r["labels"]: float(r["value"]) for r in host.console("SHOW METRICS howdah_statements_total")}
        equal(metrics["database=other"], 3)
        equal(metrics["database=db99"], 1)
        equal(len(metrics), 101)


def enable(host):
    """Switches the plugin on again, as soon as it has stopped."""
    wait_for(lambda: host.control("plugin", "monitor", "enable").returncode == 0, what="the plugin running again")


def kept(path, mark):
    """Calls, errors and rows in the history on disk, by the hour."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(
            "SELECT coalesce(sum(calls), 0), coalesce(sum(errors), 0), coalesce(sum(rows), 0) FROM template"
            " JOIN text USING (fingerprint) WHERE grain = 2 AND instr(text, ?1)",
            (mark,),
        ).fetchone()


@test("what was counted is in the history when the host ends, is upgraded, or the plugin is switched off")
def until_the_end():
    path = os.path.join(temp_dir(), "history.db")
    conf = configured(history=path, template_interval="1h")
    done = 0

    def run(host, n):
        nonlocal done
        with host.connect() as c:
            for _ in range(n):
                simple(c, "SELECT id AS m_kept FROM item WHERE id <= 3")
            with expect_error("22012"):
                simple(c, "SELECT 1 / 0 AS m_kept")
        done += n

    with Host(pg, conf) as host:
        run(host, 4)
        equal(host.control("plugin", "monitor", "disable").returncode, 0)
        wait_for(lambda: kept(path, "m_kept") == (done + 1, 1, 3 * done), what="what was counted before it was switched off")
        run(host, 2)  # is counted, but nobody looks
        done -= 2
        enable(host)
        run(host, 5)
        old = host.host_pid()
        equal(host.control("upgrade").returncode, 0)
        wait_for(lambda: host.host_pids() != [old] and old not in host.host_pids(), what="the old host's end")
        equal(kept(path, "m_kept"), (done + 2, 2, 3 * done))
        run(host, 6)
    equal(kept(path, "m_kept"), (done + 3, 3, 3 * done))


@test("whoever looks, resets, reloads or switches off meanwhile: no statement is counted twice or lost")
def all_at_once():
    conf = configured(template_interval="1s", flush_interval="1s", slow_threshold="1ms", slow_rate=0)
    conf["http"] = {"listen": "127.0.0.1:%d" % free_port()}
    clients, each = 6, 400
    with Host(pg, conf) as host:
        host.http_port = int(conf["http"]["listen"].rsplit(":")[-1])

        def work(mark):
            with host.connect() as c:
                for i in range(each):
                    c.execute("SELECT %s AS " + mark + ", pg_sleep(0.0002)", (i,), prepare=i % 3 == 0)
                    if i % 40 == 0:
                        with contextlib.suppress(psycopg.Error):
                            c.execute("SELECT 1 / 0 AS " + mark)

        def play(mark, *steps):
            """The load, and the steps over and over until it is done."""
            threads = [threading.Thread(target=work, args=(mark,)) for _ in range(clients)]
            for t in threads:
                t.start()
            while any(t.is_alive() for t in threads):
                for step in steps:
                    step()
            for t in threads:
                t.join()

        def asks(*commands):
            return [lambda command=command: host.console(command) for command in commands]

        def reload():
            keys = {"slow_threshold": "%dms" % (1 + next(numbers) % 3), "top": 1 + next(numbers) % 5}
            host.configure({**conf, "plugin monitor": {**conf["plugin monitor"], **keys}})
            host.console("RELOAD")

        def switch():
            host.control("plugin", "monitor", "disable")
            enable(host)

        numbers = itertools.count()
        looks = asks("SHOW STATEMENTS", "SHOW TEMPLATES", "SHOW SLOW", "SHOW METRICS", "REPORT REALTIME JSON")
        scrape = lambda: equal(httphost.ask(host, "/metrics")[0], 200)
        play("m_resets", *asks("STATEMENTS RESET", "SLOW RESET"), *looks)
        play("m_alone", *looks, scrape, reload)
        equal(told(host, "m_alone")[:2], (clients * (each + each // 40), clients * each // 40))
        play("m_switched", switch, scrape)
        equal(told(host, "m_switched")[:2], (clients * (each + each // 40), clients * each // 40))
        equal(told(host, "m_alone")[0], clients * (each + each // 40))


@test("where there is no room, what has not run for long makes it, and all sums stay what they were")
def room():
    path = os.path.join(temp_dir(), "history.db")
    conf = configured({"host": {"workers": 2}}, history=path, template_interval="1s", flush_interval="1s")
    conf["plugin statements"]["max_templates"] = 10
    done = 0
    with Host(pg, conf) as host, host.connect() as c, host.connect() as d:

        def run(mark, n=1):
            nonlocal done
            for connection in (c, d):
                for _ in range(n):
                    simple(connection, "SELECT 1 AS " + mark)
            done += 2 * n
            return True

        def seen(mark):
            run("m_always")
            run(mark)
            return templates(host, mark)

        for i in range(25):
            run("m_once_%d" % i, 2)
        for mark in ("m_late", "m_later"):
            wait_for(lambda: seen(mark), what="a template that comes late")
        rows = host.console("SHOW TEMPLATES")
        equal(sum(int(r["calls"]) for r in rows), done)
        equal(sum(int(r["rows"]) for r in rows), done)
        assert len(rows) <= 21, rows
        # Whoever runs all the time keeps its counts from when it came in.
        before = int(templates(host, "m_always")[0]["calls"])
        run("m_always", 3)
        equal(int(templates(host, "m_always")[0]["calls"]), before + 6)
        assert float(host.console("SHOW METRICS howdah_templates_forgotten_total")[0]["value"]) >= 2
    with contextlib.closing(sqlite3.connect(path)) as db:
        for grain in (1, 2):
            equal(db.execute("SELECT sum(calls), sum(rows) FROM template WHERE grain = ?1", (grain,)).fetchone(), (done, done))


@test("an answer from the cache is a call with its rows and bytes, and takes no time of a server")
def cached():
    cache = {"plugin cache": {"enabled": "yes", "mode": "ttl"}, "plugin cache-memory": {"enabled": "yes"}}
    nodes = {"node main": {"control_user": "postgres"}, "database *": {"pool_mode": "auto"}}
    with Host(pg, configured({**cache, **nodes})) as host:
        for extended in (False, True):
            mark = "m_cached_%d" % extended
            ask = "SELECT id AS %s, name FROM item WHERE id <= 40" % mark
            message = pgwire.run(ask) if extended else pgwire.query(ask)
            with host.wire() as w:
                answers = []

                def answered():
                    w.send(message)
                    answers.append(w.recv_until())
                    return templates(host, mark)[0]["answered"] >= 5

                wait_for(answered, what="answers of the cache")
            [row] = templates(host, mark)
            calls = len(answers)
            size = size_of(answers[0], "DC" if extended else "TDCZ")
            equal((row["calls"], row["errors"], row["rows"], row["bytes"]), (calls, 0, 40 * calls, size * calls))
            assert 0 < row["first_ms"] <= row["mean_ms"] + 0.001, row
            assert 0 < row["server_ms"] <= row["max_ms"], row


main()
