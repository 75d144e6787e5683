"""The plugin monitor asks PostgreSQL 16, 17 and 18 what it asks PostgreSQL 15, and is answered."""

import psycopg

import monitorworld
from harness import Host, Postgres, equal, main, test, wait_for
from monitorworld import metric
from pgversions import programs

VERSIONS = (16, 17, 18)
servers = {
    v: Postgres(settings={"shared_preload_libraries": "pg_stat_statements", "autovacuum": "off"}, bin=programs(v)) for v in VERSIONS
}
for _v, _pg in servers.items():
    equal(int(_pg.execute("SHOW server_version_num")[0][0]) // 10000, _v)
    with _pg.connect() as _c:
        _c.execute("CREATE SCHEMA stats")
        _c.execute("CREATE EXTENSION pg_stat_statements SCHEMA stats")
        _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
        _c.execute("INSERT INTO item SELECT g, repeat('x', 100) FROM generate_series(1, 5000) g")
        _c.execute("GRANT ALL ON item TO app")
        _c.execute("ANALYZE item")


def configured(**keys):
    nodes = {
        "node v%d" % v: {"conninfo": "host=%s port=%d" % (pg.host, pg.port), "control_user": "postgres"} for v, pg in servers.items()
    }
    main_node = {"conninfo": nodes["node v16"]["conninfo"], "control_user": "postgres"}
    more = {**nodes, "database *": {"node": "v18"}, "node main": main_node}
    return monitorworld.configured(more, collect_scale=0.01, databases="shop", **keys)


@test("every question and every view is understood")
def questions():
    with Host(servers[16], configured()) as host:
        rows = lambda: [r for r in host.console("SHOW COLLECTORS") if r["node"] != "main"]
        everywhere = lambda: len({r["node"] for r in rows() if r["collector"] == "statements"}) == len(VERSIONS)
        wait_for(lambda: everywhere() and all(int(r["runs"]) for r in rows()), what="every collector to have run")
        equal([(r["collector"], r["node"], r["state"], r["error"]) for r in rows() if int(r["failures"]) or r["error"]], [])
        for v in VERSIONS:
            equal(len([r for r in rows() if r["node"] == "v%d" % v]), 17)
        for view in ("ACTIVITY", "LOCKS", "BLOCKING", "REPLICATION", "SLOTS", "TABLES", "INDEXES", "BLOAT", "WRAPAROUND", "PGSTATEMENTS"):
            for v in VERSIONS:
                host.console("SHOW %s NODE v%d" % (view, v))
        for v, pg in servers.items():
            assert host.console("SHOW PGSTATEMENTS NODE v%d" % v), v
            assert metric(host, "howdah_pg_statements_entries", node="v%d" % v, database="shop") > 0


@test("checkpoints are counted wherever the server keeps them")
def checkpoints():
    truth = {16: "SELECT checkpoints_req FROM pg_stat_bgwriter"}
    with Host(servers[16], configured()) as host:
        for v, pg in servers.items():
            told = lambda: metric(host, "howdah_pg_checkpoints_requested_total", node="v%d" % v)
            count = lambda: pg.execute(truth.get(v, "SELECT num_requested FROM pg_stat_checkpointer"))[0][0]
            wait_for(lambda: told() is not None, what="checkpoints of %d" % v)
            before, was = told(), count()
            for _ in range(3):
                pg.execute("CREATE TABLE IF NOT EXISTS dirty (n int)")
                pg.execute("INSERT INTO dirty VALUES (1)")
                pg.execute("CHECKPOINT")
            wait_for(lambda: count() == was + 3, what="the server's own count")
            wait_for(lambda: told() == before + 3, what="3 checkpoints of %d" % v)


@test("plans are asked for and compared, as the server itself makes them")
def plans():
    conf = configured(collect="no", plans="slow", slow_threshold="50ms", plan_rate=60)
    for v, pg in servers.items():
        conf["node p%d" % v] = {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port), "control_user": "postgres"}
        conf["database shop%d" % v] = {"node": "p%d" % v}
    with Host(servers[16], conf) as host:
        for v, pg in servers.items():
            with host.connect("shop%d" % v) as c:
                psycopg.ClientCursor(c).execute("SELECT name, pg_sleep(0.1) FROM item WHERE id = 7")
            [row] = wait_for(lambda: [r for r in host.console("SHOW PLANS") if r["database"] == "shop%d" % v and (r["shape"] or r["error"])],
                             what="the plan of %d" % v)
            equal(row["error"], None)
            lines = [r["plan"].strip() for r in host.console("SHOW PLAN " + row["fingerprint"]) if r["database"] == "shop%d" % v]
            with pg.connect(user="app", password="secret") as c:
                truth = c.execute("EXPLAIN (GENERIC_PLAN) SELECT name, pg_sleep($1) FROM item WHERE id = $2", prepare=False)
                equal(lines, [line.strip() for (line,) in truth])


main()
