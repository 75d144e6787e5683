"""
What people ask the result cache for: CACHE EXPLAIN against what then becomes of the statement.
"""

# Runs under TSan too.

import functools
import json

import cacheworld
import sides
from harness import Host, Postgres, equal, expect_error, main, test, wait_for

pg = Postgres({"max_wal_senders": 20, "max_replication_slots": 20})
pg.execute(
    """
    CREATE TABLE item (id int PRIMARY KEY, client_id int, v int NOT NULL);
    INSERT INTO item SELECT g, g %% 10, 0 FROM generate_series(1, 50) g;
    CREATE TABLE doc (id int PRIMARY KEY, client_id int NOT NULL, t text);
    INSERT INTO doc SELECT g, g %% 10, 'doc ' || g FROM generate_series(1, 50) g;
    CREATE TABLE audit (id int PRIMARY KEY);
    CREATE TABLE keyless (id int, v int);
    CREATE TABLE soft (id int PRIMARY KEY, v int);
    CREATE TABLE near (id int PRIMARY KEY, v int);
    CREATE TABLE guarded (id int PRIMARY KEY, who text);
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
    CREATE UNLOGGED TABLE fast (id int PRIMARY KEY, v int);
    CREATE TABLE part (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
    CREATE VIEW items AS SELECT id, v FROM item WHERE id < 40;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM item;
    CREATE FUNCTION own(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
    """.replace("%%", "%")
)

PLUGINS = {
    "plugin cache": {"enabled": "yes", "mode": "strict", "strict_wait": "1m"},
    "cache soft": {"table": "soft", "mode": "ttl", "ttl": "90s"},
    "cache near": {"table": "near", "mode": "bounded", "ttl": "1d"},
    "cache never-audit": {"table": "audit", "cache": "off"},
    "cache doc": {"table": "doc", "tags": "client:{client_id}, doc:{id}:{client_id}, papers"},
    "plugin cache-memory": {"enabled": "yes"},
    "plugin change-stream": {"enabled": "yes", "retry_interval": "50ms"},
    "host": {"workers": 2, "worker_fill": 0},
}


host = Host(pg, cacheworld.sections(pg, PLUGINS))
stats = functools.partial(cacheworld.stats, host)


def client(database="shop_auto"):
    return host.wire(database=database)


def hit_by(w, sql):
    """Is the statement answered from the cache now?"""
    before = stats()["hits"]
    w.query(sql)
    return stats()["hits"] > before


def warm(w, sql):
    wait_for(lambda: hit_by(w, sql), what="%s is answered from the cache" % sql)


# --- CACHE EXPLAIN ---


class Explained:
    def __init__(self, sql, who="app@shop_auto"):
        self.rows = [(r["what"], r["name"], r["value"]) for r in host.console("CACHE EXPLAIN FOR %s %s" % (who, sql))]

    def get(self, what, name=None):
        return [value for w, n, value in self.rows if w == what and (name is None or n == name)]

    def one(self, what, name=None):
        found = self.get(what, name)
        equal(len(found), 1, "%s in %s" % (what, self.rows))
        return found[0]


KEPT = [
    "SELECT v FROM item WHERE id = 7",
    "SELECT count(*) FROM item",
    "SELECT i.v, d.t FROM item i JOIN doc d USING (id) WHERE i.id IN (1, 2)",
    "SELECT * FROM items",
    "SELECT v FROM part WHERE id = 5",
    "SELECT v FROM soft WHERE id = 1",
    "SELECT v FROM near WHERE id = 1",
    "SELECT v FROM soft /* howdah: cache=5m */",
    "WITH x AS (SELECT id FROM item) SELECT count(*) FROM x",
    "SELECT lower(t) FROM doc WHERE t LIKE 'doc%'",
]

NOT_KEPT = [
    ("SELECT now(), v FROM item", "time"),
    ("SELECT random() FROM item", "volatile"),
    ("SELECT v FROM item FOR UPDATE", "locks"),
    ("SELECT 1", "no table"),
    ("SELECT id FROM audit", "rule"),
    ("/* howdah: cache=off */ SELECT v FROM item WHERE id = 7", "hint"),
    ("SELECT v FROM keyless", "replica identity"),
    ("SELECT v FROM fast", "unlogged"),
    ("SELECT n FROM counted", "materialized"),
    ("SELECT id FROM guarded", "row"),
    ("SELECT own(v) FROM item", "function"),
    ("SELECT relname FROM pg_class WHERE relname = 'item'", "catalog"),
    ("SELECT 'now' FROM item", "stand for the time"),
    ("UPDATE item SET v = v WHERE id = 50", "no SELECT"),
    ("INSERT INTO audit SELECT 1 WHERE false", "no SELECT"),
    ("SHOW work_mem", "no SELECT"),
    ("SELECT v FROM item; SELECT v FROM item", "more than one"),
    ("SELEC v FROM item", "could not be read"),
    ("", "which statement"),
]


@test("explain: what it says of a statement is what becomes of it")
def explain_and_run():
    with client() as w:
        for sql in KEPT:
            said = Explained(sql).one("cached")
            if said == "not yet":
                warm(w, sql)
                wait_for(lambda: Explained(sql).one("cached") == "yes", what="EXPLAIN says yes to %s" % sql)
            else:
                equal(said, "yes", sql)
            warm(w, sql)
        for sql, why in NOT_KEPT:
            if not sql:
                continue
            wait_for(lambda: Explained(sql).one("cached") != "not yet", what="EXPLAIN knows of %s" % sql)
            e = Explained(sql)
            equal(e.one("cached"), "no", "%s: %s" % (sql, e.rows))
            assert why in e.one("reason"), (sql, why, e.rows)
            before = stats()["hits"]
            for _ in range(5):
                w.exchange(sides.pgwire.query(sql))
            equal(stats()["hits"], before, sql)


@test("explain: rule, mode, ttl, stores, tables, and by which rows an answer is ended")
def explain_details():
    with client() as w:
        warm(w, "SELECT v FROM item WHERE id = 7")
        e = Explained("SELECT v FROM item WHERE id = 7")
        equal([e.one(x) for x in ("cached", "rule", "mode", "ttl", "store")], ["yes", "default", "strict", "30m", "memory"])
        assert "rows with id = $1," in e.one("table", "public.item"), e.rows
        assert "READ COMMITTED" in e.one("provided")
        equal(e.one("stream", "public.item"), "tells of its changes around the host")
        assert "CACHE SETUP" in e.one("not covered", "ddl")
        assert "any write" in Explained("SELECT v FROM item").one("table", "public.item")
        e = Explained("SELECT v FROM items WHERE id = 1")
        equal((e.one("table", "public.items"), e.one("table", "public.item")), ("a view", "ended by any write of it"))
        e = Explained("SELECT v FROM soft /* howdah: cache=45s */")
        equal((e.one("rule"), e.one("mode"), e.one("ttl")), ("soft", "ttl", "45s"))
        assert "missed" in e.one("not covered", "writes")
        equal(Explained("SELECT v FROM soft").one("ttl"), "90s")
        e = Explained("SELECT v FROM near")
        equal((e.one("mode"), e.one("bound"), e.one("ttl"), len(e.get("stream"))), ("bounded", "200ms", "1d", 1))
        e = Explained("SELECT id FROM audit")
        equal((e.one("rule"), e.get("stream")), ("never-audit", []))
        # The words are those of who asks: another user may not read it, another pool_mode keeps nothing.
        equal(Explained("SELECT v FROM item", "app@shop_session").one("cached"), "no")
        assert "pool_mode" in Explained("SELECT v FROM item", "app@shop_session").one("reason")
        with client("shop_session") as other:
            before = stats()["hits"]
            for _ in range(5):
                other.query("SELECT v FROM item")
            equal(stats()["hits"], before)


@test("explain: literals are the statement's own; parameters may stand in it; names may be quoted")
def explain_texts():
    e = Explained("SELECT v FROM item WHERE id = $1;")
    assert "id = $1" in e.one("table", "public.item")
    equal(Explained("SELECT v FROM \"item\" WHERE id = 'x'", "'app@shop_auto'").get("rule"), ["default"])
    equal(Explained("SELECT v FROM nowhere").one("cached"), "no")
    assert "not found" in Explained("SELECT v FROM nowhere").one("reason"), Explained("SELECT v FROM nowhere").rows


@test("explain: what is wrong with a call is said")
def explain_errors():
    for sql, why in (
        ("CACHE EXPLAIN", "which statement"),
        ("CACHE EXPLAIN FOR app SELECT 1", "USER@DATABASE"),
        ("CACHE EXPLAIN FOR app@ SELECT 1", "USER@DATABASE"),
        ("CACHE EXPLAIN FOR app@shop_auto", "which statement"),
        ("CACHE EXPLAIN SELECT 1", "whose statement"),
    ):
        done = host.control(sql)
        assert done.returncode and why in done.stderr, (sql, done.stdout, done.stderr)
    with expect_error(match="in which database"):  # there are several
        host.console("CACHE EXPLAIN SELECT 1")
    # The only database there is needs no name.
    one = {"database shop": {"node": "main", "pool_mode": "auto"}, "database *": None}
    with Host(pg, {**{k: v for k, v in PLUGINS.items() if k != "plugin change-stream"}, **one,
                   "plugin cache": {"enabled": "yes", "mode": "ttl"}, "cache near": None}) as other:  # fmt: skip
        rows = {r["what"]: r["value"] for r in other.console("CACHE EXPLAIN SELECT v FROM item")}
        equal((rows["cached"], rows["mode"], rows["table"]), ("yes", "ttl", "ended by any write of it"))
        done = other.control("CACHE EXPLAIN FOR app@nowhere SELECT v FROM item")
        assert done.returncode and "no [database nowhere]" in done.stderr, done


@test("explain: howdahctl prints it, as JSON too")
def explain_ctl():
    done = host.control("--json", "cache explain for app@shop_auto SELECT v FROM item WHERE id = 7")
    equal(done.returncode, 0, done.stderr)
    answer = json.loads(done.stdout)
    equal(answer["columns"], ["what", "name", "value"])
    equal(answer["rows"][0], ["cached", "", "yes"])
    table = host.control("cache", "explain", "for", "app@shop_auto", "SELECT v FROM item WHERE id = 7")
    equal(table.returncode, 0, table.stderr)
    assert "rows with id = $1" in table.stdout, table.stdout


# --- tags and patterns ---


def ends(command, sql):
    """Does the command end the answer of the statement, which is kept?"""
    with client() as w:
        warm(w, sql)
        warm(w, "SELECT t FROM doc WHERE client_id = 99")  # another one, of the same table
        host.console(command)
        return not hit_by(w, sql)


DOC = "SELECT t FROM doc WHERE client_id = 4"


@test("tags: a rule's, with the values that columns are compared with; over what they were not given they go by")
def rule_tags():
    for command, expected in (
        ("CACHE INVALIDATE TAG client:4", True),
        ("CACHE INVALIDATE TAG papers", True),
        ("CACHE INVALIDATE TAG client:5 client:4", True),
        ("CACHE INVALIDATE TAG client:5", False),
        ("CACHE INVALIDATE TAG client", False),
        ("CACHE INVALIDATE TAG 4", False),
        ("CACHE INVALIDATE TAG doc:1:4", False),  # id is compared with nothing
        ("CACHE INVALIDATE TAG 'client:4'", True),
    ):
        equal(ends(command, DOC), expected, command)
    equal(ends("CACHE INVALIDATE TAG doc:1:4", DOC + " AND id = 1"), True)
    equal(ends("CACHE INVALIDATE TAG client:4", "SELECT t FROM doc WHERE client_id IN (3, 4)"), True)
    equal(ends("CACHE INVALIDATE TAG client:4", "SELECT i.v FROM item i JOIN doc d USING (id) WHERE d.client_id = 4"), True)
    equal(ends("CACHE INVALIDATE TAG client:4", "SELECT v FROM item WHERE client_id = 4"), False)  # no rule of its own


@test("tags: of a comment in the statement")
def hint_tags():
    sql = "/* howdah: tag=a:1 tag=b */ SELECT v FROM item WHERE id = 9"
    for tag, expected in (("a:1", True), ("b", True), ("a:2", False), ("a:", False)):
        equal(ends("CACHE INVALIDATE TAG %s" % tag, sql), expected, tag)


@test("tags: of parameters, in text and binary, the value counts and not how it is written")
def parameter_tags():
    sql = "SELECT t FROM doc WHERE client_id = $1"
    with host.connect("shop_auto") as c, pg.connect() as direct:

        def read(value, binary):
            before = stats()["hits"]
            rows = c.cursor(binary=binary).execute("SELECT t FROM doc WHERE client_id = %s", [value], binary=binary).fetchall()
            equal(rows, direct.execute("SELECT t FROM doc WHERE client_id = %s", [value]).fetchall())
            return stats()["hits"] > before

        for binary in (False, True):
            for value in (4, 5):
                wait_for(lambda: read(value, binary), what="a parameter's answer is kept")
            host.console("CACHE INVALIDATE TAG client:4")
            equal((read(5, binary), read(4, binary)), (True, False), "binary: %s" % binary)


@test("patterns: over tags and tables; never less than what they match")
def patterns():
    for command, expected in (
        ("CACHE INVALIDATE PATTERN 'client:*'", True),
        ("CACHE INVALIDATE PATTERN 'cl?ent:4'", True),
        ("CACHE INVALIDATE PATTERN '*'", True),
        ("CACHE INVALIDATE PATTERN 'doc:*'", True),  # the table
        ("CACHE INVALIDATE PATTERN 'public.doc:*'", True),
        ("CACHE INVALIDATE PATTERN 'other:*'", False),
        ("CACHE INVALIDATE PATTERN 'item:*'", False),
    ):
        equal(ends(command, DOC), expected, command)
    untagged = "SELECT v FROM item WHERE id = 9"
    for command, expected in (
        ("CACHE INVALIDATE PATTERN 'client:*'", False),
        ("CACHE INVALIDATE PATTERN 'it*'", True),
        ("CACHE INVALIDATE PATTERN 'item:*'", True),
        ("CACHE INVALIDATE PATTERN '*.item:'", True),
        ("CACHE INVALIDATE PATTERN 'item'", False),
    ):
        equal(ends(command, untagged), expected, command)


@test("tags: an answer that is on its way while its tag ends is not kept")
def tag_race():
    read = "SELECT max(t) FROM doc WHERE client_id = 4"
    with client() as w:
        warm(w, read)
        host.console("CACHE INVALIDATE TAG client:4")
        before = stats()
        with pg.connect() as holder:
            holder.execute("BEGIN; LOCK TABLE doc IN ACCESS EXCLUSIVE MODE")
            w.send(sides.pgwire.query(read))
            wait_for(lambda: stats()["misses"] > before["misses"], what="the statement is on its way")
            host.console("CACHE INVALIDATE TAG client:4")
            holder.execute("COMMIT")
        sides.collect(w)
        equal(stats()["not_stored"], before["not_stored"] + 1)
        equal(hit_by(w, read), False)


@test("explain: which tags apply")
def explain_tags():
    e = Explained(DOC)
    equal(e.one("tag", "client:{client_id}"), "applies with client_id = $1")
    assert "id is compared with no constant" in e.one("tag", "doc:{id}:{client_id}"), e.rows
    equal(e.one("tag", "papers"), "applies")
    equal(sorted(e.get("tagged")), ["client:4", "papers"])
    e = Explained("SELECT t FROM doc WHERE client_id IN (4, '005') AND id = -1 /* howdah: tag=b */")
    equal(sorted(e.get("tagged", "client:{client_id}")), ["client:005", "client:4", "client:5"])
    equal(sorted(e.get("tagged", "doc:{id}:{client_id}")), ["doc:-1:005", "doc:-1:4", "doc:-1:5"])
    equal(Explained("SELECT t FROM doc WHERE client_id = $1").get("tagged", "client:{client_id}"), [])
    equal(Explained("/* howdah: tag=b */ SELECT v FROM item").one("tag", "b"), "of the hint")


@test("tags: what a rule may not say is refused with its place")
def bad_tags():
    for tags, why in (("a b", "blank"), ("a{", "not closed"), ("a{}", "which column"), ("a{{b}}", "braces")):
        config = cacheworld.sections(pg, PLUGINS)
        config["cache doc"]["tags"] = tags
        other = Host(pg, config, start=False)
        result = other.run("-t")
        assert result.returncode and "[cache doc] tags" in result.stdout + result.stderr and why in result.stdout + result.stderr, (tags, result)


main()
