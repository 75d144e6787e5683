"""The plugin monitor keeps plans of slow statements: whose, which, how many, and that they have changed."""

import functools
import glob
import json
import os
import threading
import time

import psycopg

import monitorworld
from harness import Host, Postgres, equal, expect_error, main, temp_dir, test, wait_for
from monitorworld import metric

pg = Postgres(settings={"autovacuum": "off"})
with pg.connect() as _c:
    _c.execute("CREATE TABLE called (n int)")
    _c.execute("GRANT ALL ON called TO app")
    _c.execute("CREATE FUNCTION slowly() RETURNS int LANGUAGE plpgsql VOLATILE AS"
               " $$BEGIN PERFORM pg_sleep(0.1); INSERT INTO called VALUES (1); RETURN 1; END$$")
    for _schema in ("public", "tenant"):
        _c.execute("CREATE SCHEMA IF NOT EXISTS " + _schema)
        _c.execute("GRANT USAGE ON SCHEMA %s TO app" % _schema)
        _c.execute("CREATE TABLE %s.item (id int, kind text, name text)" % _schema)
        _c.execute("INSERT INTO %s.item SELECT g, 'k' || g %% 500, repeat('x', 50) FROM generate_series(1, 20000) g" % _schema)
        _c.execute("CREATE INDEX %s_kind ON %s.item (kind)" % (_schema, _schema))
        _c.execute("GRANT ALL ON %s.item TO app" % _schema)
        _c.execute("ANALYZE %s.item" % _schema)

configured = functools.partial(monitorworld.configured, slow_threshold="50ms", slow_rate=0, collect="no", plans="slow")
SLOW = "SELECT slowly(), count(*) FROM item WHERE kind = %s"


def run(conn, sql, *params):
    """With the values as literals in the text."""
    return psycopg.ClientCursor(conn).execute(sql, params or None)


def kept(host, statement=""):
    return [r for r in host.console("SHOW PLANS") if statement in r["statement"] and (r["shape"] or r["error"])]


def plan(host, fingerprint, which="now"):
    return [r["plan"] for r in host.console("SHOW PLAN " + fingerprint) if r["which"] == which]


def bare(lines):
    return [line.split("  (cost=")[0].strip() for line in lines]


def truth(conn, text="SELECT slowly(), count(*) FROM item WHERE kind = $1", values="NULL"):
    """The generic plan, as that client's own session makes it."""
    conn.execute("SET plan_cache_mode = force_generic_plan")
    run(conn, "PREPARE truth AS " + text)
    lines = [line for (line,) in run(conn, "EXPLAIN (COSTS OFF) EXECUTE truth (%s)" % values).fetchall()]
    conn.execute("RESET plan_cache_mode")
    conn.execute("DEALLOCATE truth")
    return [line.strip() for line in lines]


@test("off is the default; with slow a statement's plan is asked for once an interval, and nothing is run")
def policy():
    with Host(pg, configured(plans=None)) as host:
        with host.connect() as c:
            run(c, SLOW, "k1")
        wait_for(lambda: host.console("SHOW SLOW"), what="a slow statement")
        equal((host.console("SHOW PLANS"), metric(host, "howdah_plans_asked_total")), ([], 0))
    before = pg.execute("SELECT count(*) FROM called")[0][0]
    with Host(pg, configured()) as host:
        with host.connect() as c:
            for value in ("k1", "k2", "my-secret"):
                run(c, SLOW, value)
            run(c, "CREATE TEMP TABLE other AS SELECT slowly()")
            run(c, "UPDATE item SET name = 'my-secret' WHERE id = 3 AND slowly() = 1")
        [row] = wait_for(lambda: kept(host, "count(*)"), what="the plan")
        wait_for(lambda: kept(host, "update"), what="the other plan")
        equal(pg.execute("SELECT count(*) FROM called")[0][0] - before, 5)
        equal((row["database"], row["user"], row["node"], row["changes"], row["changed"], row["error"]),
              ("shop", "app", "main", 0, None, None))
        with pg.connect(user="app", password="secret") as direct:
            equal(bare(plan(host, row["fingerprint"])), truth(direct))
        equal(metric(host, "howdah_plans_asked_total"), 2)
        equal(metric(host, "howdah_plans_kept"), 2)
        assert "my-secret" not in str(host.console("SHOW PLANS")) + host.log_text()
        with expect_error(match="no plan of that statement"):
            host.console("SHOW PLAN 1234")
        with expect_error(match="usage"):
            host.console("SHOW PLAN none")


@test("a plan that becomes another one is told: by an event, by a metric, beside the statement")
def changes():
    with Host(pg, configured(plans="follow", plan_interval="1s", plan_rate=60, template_interval="1s")) as host:
        with host.connect() as c:
            run(c, SLOW, "k1")
            [row] = wait_for(lambda: kept(host), what="the plan")
            assert any("public_kind" in line for line in plan(host, row["fingerprint"])), row
            [slow] = host.console("SHOW SLOW")
            equal((slow["fingerprint"], slow["plan_changed"]), (row["fingerprint"], None))
            asked = metric(host, "howdah_plans_asked_total")
            wait_for(lambda: metric(host, "howdah_plans_asked_total") >= asked + 2, what="two further looks")
            equal(metric(host, "howdah_plans_changed_total"), 0)
            pg.execute("DROP INDEX public_kind")
            wait_for(lambda: metric(host, "howdah_plans_changed_total") == 1, what="the change")
            [row] = kept(host)
            assert row["changes"] == 1 and row["changed"] == row["since"], row
            equal(bare(plan(host, row["fingerprint"]))[1:], ["->  Seq Scan on item", "Filter: (kind = $1)"])
            assert any("public_kind" in line for line in plan(host, row["fingerprint"], "before")), row
            equal(host.console("SHOW SLOW")[0]["plan_changed"], row["changed"])
            [template] = wait_for(lambda: [t for t in host.console("SHOW TEMPLATES") if t["fingerprint"] == row["fingerprint"]],
                                  what="the template")
            equal(template["plan_changed"], row["changed"])
            report = lambda: host.console("REPORT REALTIME TEXT")[0]["report"]
            wait_for(lambda: "plan.changed" in report(), what="the event in the report")
            difference = "Bitmap Heap Scan on item -> Seq Scan on item"
            assert difference in report(), report()
            run(c, SLOW, "k2")

            def in_report():
                found = json.loads(host.console("REPORT REALTIME JSON")[0]["report"])["slowest"]
                return [t["plan_changed"] for t in found if t["fingerprint"] == row["fingerprint"] and "plan_changed" in t]

            [told] = wait_for(in_report, what="the statement in the report")
            equal((told["text"], told["time"] - row["changed"].timestamp() < 5), (difference, True))
            assert "its plan has changed" in report() and difference in report(), report()
            assert difference.replace(">", "&gt;") in host.console("REPORT REALTIME HTML")[0]["report"]
    pg.execute("CREATE INDEX public_kind ON item (kind)")


@test("literals of views and policies are in no plan that is shown or kept")
def secrets():
    pg.execute("CREATE VIEW hidden AS SELECT * FROM item WHERE name <> E'view-secret\nsecond-secret' AND id <> 987654")
    pg.execute("GRANT SELECT ON hidden TO app")
    folder = temp_dir()
    with Host(pg, configured(history=os.path.join(folder, "history.db"))) as host:
        with host.connect() as c:
            run(c, "SELECT slowly(), count(*) FROM hidden WHERE kind = 'literal-secret'")
        [row] = wait_for(lambda: kept(host), what="the plan")
        equal(row["error"], None)
        all_of_it = str(host.console("SHOW PLAN " + row["fingerprint"])) + str(host.console("SHOW PLANS"))
        number = host.console("SHOW SLOW")[0]["number"]
        on_demand = "\n".join(r["plan"] for r in host.console("SHOW SLOW PLAN %d" % number))
        assert "(name <> ?" in on_demand and "(id <> ?)" in on_demand, on_demand
        all_of_it += on_demand + host.log_text()
    for path in glob.glob(folder + "/*"):
        with open(path, "rb") as f:
            all_of_it += f.read().decode("latin-1")
    for secret in ("view-secret", "second-secret", "literal-secret", "987654"):
        assert secret not in all_of_it, secret
    pg.execute("DROP VIEW hidden")


@test("the plan is the one of the session: its search_path, its settings and those of its user")
def context():
    auto = {"database *": {"node": "main", "pool_mode": "auto"}}
    with Host(pg, configured(auto, plan_rate=60)) as host:
        def known(c):
            """The plan of one more, once the host has asked the server what the session has set. (After a function that it
            cannot see through it would never know.)"""
            run(c, "SELECT pg_sleep(0.1), count(*) FROM item WHERE kind = 'k1'")
            number = host.console("SHOW SLOW TOP 1")[0]["number"]
            lines = [r["plan"] for r in host.console("SHOW SLOW PLAN %d" % number)]
            return not lines[0].startswith("--") and bare(lines)

        def same_as_client(*statements):
            with host.connect() as c:
                for s in statements:
                    c.execute(s)
                lines = wait_for(lambda: known(c), what="settings that are known")
                equal(lines, truth(c, "SELECT pg_sleep($1), count(*) FROM item WHERE kind = $2", "NULL, NULL"))
            return lines

        usual = same_as_client()
        assert "public_kind" in str(usual), usual
        tenant = same_as_client("SET search_path = tenant, public")
        assert "tenant_kind" in str(tenant), tenant
        plain = same_as_client("SET enable_indexscan = off", "SET enable_bitmapscan = off", "SET enable_indexonlyscan = off")
        assert "Seq Scan" in str(plain), plain
        # Each context is a plan of its own, and none of them a change.
        sure = lambda: [r for r in kept(host) if not r["unsure"]]
        wait_for(lambda: len(sure()) == 3, what="three plans")
        equal((len({r["fingerprint"] for r in kept(host)}), metric(host, "howdah_plans_changed_total")), (1, 0))
        for s in ("ALTER ROLE app SET enable_bitmapscan = off", "ALTER ROLE app IN DATABASE shop SET enable_indexscan = off",
                  "ALTER ROLE app SET enable_indexonlyscan = off"):
            pg.execute(s)
    with Host(pg, configured(auto, plan_rate=60)) as host:
        try:
            assert "Seq Scan" in str(same_as_client_of(host)), "the user's settings"
        finally:
            pg.execute("ALTER ROLE app RESET ALL")
            pg.execute("ALTER ROLE app IN DATABASE shop RESET ALL")


def same_as_client_of(host):
    with host.connect() as c:
        run(c, SLOW, "k1")
        expected = truth(c)
    number = host.console("SHOW SLOW TOP 1")[0]["number"]
    lines = [r["plan"] for r in host.console("SHOW SLOW PLAN %d" % number) if not r["plan"].startswith("--")]
    equal(bare(lines), expected)
    return expected


@test("a control_user who is no superuser asks for plans of the roles that it is a member of, and a reload begins and ends that")
def member():
    for statement in ("CREATE ROLE watcher LOGIN", "GRANT pg_monitor TO watcher"):
        pg.execute(statement)
    conf = configured(plans="off", plan_interval="1s", plan_rate=60)
    conf["node main"] = {"conninfo": "host=%s port=%d" % (pg.dir, pg.port), "control_user": "watcher"}
    with Host(pg, conf) as host:
        with host.connect() as c:
            run(c, SLOW, "k1")
            wait_for(lambda: host.console("SHOW SLOW"), what="a slow statement")
            equal(host.console("SHOW PLANS"), [])
            conf["plugin monitor"]["plans"] = "slow"
            host.configure(conf)
            host.control("reload")
            [row] = wait_for(lambda: kept(host), what="an answer")
            equal((row["shape"], row["error"]), (None, 'permission denied to set role "app"'))
            pg.execute("GRANT app TO watcher")
            run(c, SLOW, "k2")
            [row] = wait_for(lambda: [r for r in kept(host) if r["shape"]], what="the plan")
            equal((row["error"], bare(plan(host, row["fingerprint"]))[0]), (None, "Aggregate"))
            conf["plugin monitor"]["plans"] = "off"
            host.configure(conf)
            host.control("reload")
            asked = metric(host, "howdah_plans_asked_total")
            run(c, "SELECT slowly(), 1 AS further")
            wait_for(lambda: "further" in host.console("SHOW SLOW TOP 1")[0]["statement"], what="a further one")
            equal((len(host.console("SHOW PLANS")), metric(host, "howdah_plans_asked_total")), (1, asked))
    for statement in ("REVOKE app FROM watcher", "REVOKE pg_monitor FROM watcher", "DROP ROLE watcher"):
        pg.execute(statement)


@test("a plan is that of the text, or there is none: literals behind a type, numbers of columns, what is no plan's")
def texts():
    with Host(pg, configured(plans="off")) as host:
        with host.connect() as c:
            def slow(sql):
                run(c, sql)
                return host.console("SHOW SLOW TOP 1")[0]["number"]

            number = slow("SELECT slowly(), count(*) FROM item WHERE now() - interval '1 day' < date '2020-01-01' AND kind = 'k1'")
            lines = str([r["plan"] for r in host.console("SHOW SLOW PLAN %d" % number)])
            assert "((now() - $1) < $2)" in lines and "Index Cond: (kind = $3)" in lines, lines
            for sql in ("SELECT slowly(), kind FROM item WHERE id < 3 ORDER BY 2", "SELECT kind, slowly(), count(*) FROM item WHERE id < 3 GROUP BY 1"):
                number = slow(sql)
                with expect_error(match="number of a column"):
                    host.console("SHOW SLOW PLAN %d" % number)
            number = slow("DO $$BEGIN PERFORM slowly(); END$$")
            with expect_error(match="has a plan"):
                host.console("SHOW SLOW PLAN %d" % number)


@test("what is asked and what is kept is bounded; what cannot be explained says why; a lock holds nobody up")
def bounds():
    pg.execute("CREATE TABLE passing AS SELECT 1 AS id")
    pg.execute("GRANT ALL ON passing TO app")
    with Host(pg, configured(plan_rate=3, plan_keep=2)) as host:
        began = time.monotonic()
        with host.connect() as c:
            run(c, "SELECT slowly(), id FROM passing")
            pg.execute("DROP TABLE passing")
            [row] = wait_for(lambda: kept(host), what="an answer")
            assert "passing" in row["error"] and row["shape"] is None, row
            equal(metric(host, "howdah_plans_failed_total"), 1)
            with pg.connect(autocommit=False) as lock:
                lock.execute("LOCK TABLE tenant.item IN ACCESS EXCLUSIVE MODE")
                t = threading.Thread(target=lambda: run(c, "SELECT slowly(), count(*) FROM tenant.item"), daemon=True)
                t.start()
                wait_for(lambda: pg.execute("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(1,)], what="one that waits")
                with host.connect() as d:
                    run(d, "SELECT slowly(), 1 AS one, count(*) FROM item")
                wait_for(lambda: kept(host, "one"), what="the plan of another")
                lock.rollback()
                t.join()
            for n in range(4):
                run(c, "SELECT slowly(), 2 AS c%d FROM item WHERE id = 1" % n)
            wait_for(lambda: metric(host, "howdah_plans_dropped_total") >= 4, what="the oldest to go")
            wait_for(lambda: metric(host, "howdah_plans_asked_total") >= 3, what="three of them")
            asked, minutes = metric(host, "howdah_plans_asked_total"), (time.monotonic() - began) / 60
            assert asked <= 3 + 3 * minutes, (asked, minutes)
            equal((metric(host, "howdah_plans_kept"), len(host.console("SHOW PLANS"))), (2, 2))


main()
