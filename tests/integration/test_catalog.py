"""What statements hang on, as the catalog of a real PostgreSQL says: tables behind names, what runs, what changes it."""

# Runs under TSan too.

import os

import harness
import pgwire
import sides
from cacheworld import looked
from harness import Host, Postgres, equal, main, test, wait_for

FACTS, PATH, MISSING, RELATION, SYSTEM, TEMPORARY, SECURITY, VOLATILE, OUTSIDE, FUNCTION, TYPE = (1 << n for n in range(11))
TABLE, PARTITIONED, VIEW, MATVIEW = 1, 2, 3, 4
NAMED, UNLOGGED, IDENTITY, WRITTEN, CASCADED, PARENTS = 1, 2, 4, 8, 16, 32
KIND, NAME, TRIGGER, CALLED, FOREIGN = 1, 2, 4, 8, 16  # footprints
PENDING, EIO = 1, -8

pg = Postgres()
pg.execute(
    """
    CREATE SCHEMA one; CREATE SCHEMA two; CREATE SCHEMA hidden; CREATE SCHEMA app; CREATE SCHEMA reader;
    CREATE ROLE reader;
    CREATE TABLE one.item (id int PRIMARY KEY, name text, at timestamptz);
    CREATE TABLE two.item (id int, name text);
    CREATE TABLE hidden.item (id int);
    CREATE TABLE public.only_here (id int PRIMARY KEY);
    CREATE TABLE app.mine (id int); CREATE TABLE reader.mine (id int);
    CREATE UNLOGGED TABLE one.fast (id int);
    CREATE TABLE one.full_identity (id int); ALTER TABLE one.full_identity REPLICA IDENTITY FULL;
    CREATE TABLE one.no_identity (id int PRIMARY KEY); ALTER TABLE one.no_identity REPLICA IDENTITY NOTHING;
    CREATE SEQUENCE one.numbers;
    CREATE VIEW one.names AS SELECT id, lower(name) AS name FROM one.item WHERE id > 0;
    CREATE VIEW one.names2 AS SELECT n.*, o.id AS other FROM one.names n LEFT JOIN public.only_here o USING (id);
    CREATE VIEW one.recent AS SELECT * FROM one.item WHERE at > now() - interval '1 day';
    CREATE VIEW one.who AS SELECT *, current_user AS me FROM one.item;
    CREATE VIEW one.sampled AS SELECT * FROM one.item TABLESAMPLE system (10);
    CREATE VIEW one.locks AS SELECT * FROM pg_locks;
    CREATE VIEW one.hours AS SELECT date_trunc('hour', at) AS h, at::date AS d, count(*) FROM one.item GROUP BY 1, 2;
    CREATE MATERIALIZED VIEW one.kept AS SELECT count(*) FROM one.item;
    CREATE TABLE one.part (id int, at date) PARTITION BY RANGE (at);
    CREATE TABLE one.part_a PARTITION OF one.part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (id);
    CREATE TABLE one.part_aa PARTITION OF one.part_a FOR VALUES IN (1);
    CREATE TABLE one.parent (id int); CREATE TABLE one.child (more int) INHERITS (one.parent);
    CREATE TABLE one.secret (id int, owner text); ALTER TABLE one.secret ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON one.secret USING (owner = current_user);
    CREATE VIEW one.open AS SELECT id FROM one.secret;
    CREATE FUNCTION one.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
    CREATE FUNCTION one.counted() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM one.item';
    CREATE FUNCTION two.counted() RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 1::bigint';
    CREATE FUNCTION one.luck(int) RETURNS float VOLATILE LANGUAGE sql AS 'SELECT random()';
    CREATE FUNCTION one.lower(bytea) RETURNS text VOLATILE LANGUAGE sql AS 'SELECT random()::text';
    CREATE FUNCTION one.label(one.item) RETURNS text STABLE LANGUAGE sql AS 'SELECT max(name) FROM one.item';
    CREATE VIEW one.using_twice AS SELECT one.twice(id) FROM one.item;
    CREATE VIEW one.using_counted AS SELECT id, one.counted() FROM one.item;
    CREATE AGGREGATE one.lucky(int) (SFUNC = int4pl, STYPE = int4);
    CREATE FUNCTION one.add_luck(int, int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE one.unlucky(int) (SFUNC = one.add_luck, STYPE = int4);
    CREATE OPERATOR one.<+> (FUNCTION = one.add_luck, LEFTARG = int, RIGHTARG = int);
    CREATE FUNCTION one.sure(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
    CREATE OPERATOR one.<-+> (FUNCTION = one.sure, LEFTARG = int, RIGHTARG = int);
    CREATE VIEW one.using_operator AS SELECT id OPERATOR(one.<+>) 1 FROM one.item;
    CREATE TYPE one.mood AS ENUM ('sad', 'glad');
    CREATE DOMAIN one.positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN one.lucky AS int CHECK (VALUE > one.luck(VALUE));
    CREATE TABLE one.by_chance (l one.lucky);
    CREATE TABLE one.moods (m one.mood); CREATE TABLE one.positives (p one.positive);
    CREATE TABLE two."Odd""name\\" (id int);
    GRANT USAGE ON SCHEMA one, two, app, reader TO app, other, reader; GRANT reader TO app;
    """
)

DEPENDS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/depends.so"))
CONFIG = sides.pool_modes(
    pg,
    {
        "plugin depends": {"enabled": "yes", "library": DEPENDS},
        "host": {"workers": 1},
        "node shop_auto": {"control_user": "postgres"},
        "node nobody": {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port), "control_user": "nobody_there"},
        "database nobody": {"node": "nobody", "pool_mode": "auto"},
    },
)
host = Host(pg, CONFIG)


class Told:
    def __init__(self, text):
        problems, self.reason, generation, footprint, self.footprint_reason, tables = text.split("|")
        self.problems = int(problems)
        self.generation = int(generation)
        self.footprint = int(footprint)
        self.tables = {}
        for table in tables.split():
            name, kind, flags, mention = table.rsplit(":", 3)
            self.tables[name] = (int(kind), int(flags), int(mention))


def mark(w, word, sql="SELECT 'the server'"):
    """The plugin's answer; while the host asks the server what a SET has come to, that answers."""
    told = []

    def answered():
        rows = w.exchange(pgwire.query("/* %s */ %s" % (word, sql)))
        if rows[0].type == "T" and b"depends" in rows[0].body:
            told.append(rows[1].row()[0].decode())
        return told

    wait_for(answered, what="the plugin to answer")
    return told[0]


def depends(w, sql):
    """What the statement hangs on, once that is known."""
    told = []

    def known():
        told.append(mark(w, "depends", sql))
        return told[-1] != str(PENDING)

    wait_for(known, what="the catalog to be asked")
    assert "|" in told[-1], told[-1]
    return Told(told[-1])


def client(path=None, database="shop_auto", **more):
    if path is not None:
        more["search_path"] = path
    return host.wire(database=database, **more)


def names(w, sql, problems=0):
    told = depends(w, sql)
    equal(told.problems, problems, "%s: %s" % (sql, told.reason))
    return sorted(told.tables)


def columns(w, sql):
    """Of each relation its parent, and its columns as NUMBER@POSITION:NAME:CANONICAL:FLAGS."""
    depends(w, sql)
    told = {}
    for table in mark(w, "columns", sql).split("|"):
        name, rest = table.split("<")
        parent, *told[name] = rest.split(" ")
        told[name].insert(0, parent)
    return told


@test("columns that tell rows apart: of the replica identity or unique, and of a type that has one form")
def row_columns():
    pg.execute(
        """
        CREATE SCHEMA rows; GRANT USAGE ON SCHEMA rows TO app; SET search_path = rows;
        CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE plain (gone int, id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email varchar(50) UNIQUE,
            code uuid NOT NULL UNIQUE, small smallint UNIQUE, name text, note text COLLATE blind UNIQUE,
            amount numeric UNIQUE, fixed char(3) UNIQUE, twice int GENERATED ALWAYS AS (2) STORED UNIQUE,
            late int UNIQUE DEFERRABLE, part int);
        ALTER TABLE plain DROP gone;
        CREATE UNIQUE INDEX ON plain (part) WHERE part > 5;
        CREATE TABLE pair (a int, b text, c int, PRIMARY KEY (a, b) INCLUDE (c), UNIQUE (c) INCLUDE (a));
        CREATE TABLE whole (a int, b text, c numeric); ALTER TABLE whole REPLICA IDENTITY FULL;
        CREATE TABLE chosen (a int PRIMARY KEY, b int NOT NULL UNIQUE);
        ALTER TABLE chosen REPLICA IDENTITY USING INDEX chosen_b_key;
        CREATE TABLE split (k int, id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (10);
        CREATE TABLE split_2 (id int NOT NULL, k int); ALTER TABLE split ATTACH PARTITION split_2 FOR VALUES FROM (10) TO (20);
        CREATE TABLE one (id int PRIMARY KEY); CREATE TABLE two (id int PRIMARY KEY);
        CREATE TABLE shared () INHERITS (one, two);
        CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE);
        CREATE TABLE leaf (id int PRIMARY KEY, tree int REFERENCES tree ON DELETE SET NULL);
        GRANT ALL ON ALL TABLES IN SCHEMA rows TO app;
        """
    )
    with client("rows") as w:
        told = columns(w, "SELECT * FROM plain, pair, whole, chosen, split")
        equal(
            told["rows.plain"],
            ["", "2@1:id:1:15", "3@2:email:3:2", "4@3:code:2:6", "5@4:small:1:2"],
        )
        equal(told["rows.pair"], ["", "1@1:a:1:5", "2@2:b:3:5", "3@3:c:1:2"])
        equal(told["rows.whole"], ["", "1@1:a:1:1", "2@2:b:3:1"])
        equal(told["rows.chosen"], ["", "1@1:a:1:6", "2@2:b:1:7"])
        equal(told["rows.split"], ["", "2@2:id:1:7"])
        equal(told["rows.split_1"], ["split", "2@2:id:1:7"])
        equal(told["rows.split_2"], ["split", "1@1:id:1:7"])
        told = columns(w, "SELECT * FROM one, two")
        assert told["rows.shared"][0] in ("one", "two")
        equal(depends(w, "SELECT * FROM one, two").tables["rows.shared"][1] & PARENTS, PARENTS)
        equal(depends(w, "SELECT * FROM one").tables["rows.shared"][1] & PARENTS, 0)
        told = depends(w, "DELETE FROM tree WHERE id = 5").tables
        equal((told["rows.tree"][1] & CASCADED, told["rows.leaf"][1] & CASCADED), (CASCADED, CASCADED))
        equal(depends(w, "DELETE FROM leaf").tables["rows.leaf"][1] & CASCADED, 0)
        pg.execute(
            "CREATE FUNCTION rows.same(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true';"
            "CREATE OPERATOR rows.= (FUNCTION = rows.same, LEFTARG = int, RIGHTARG = int)"
        )
        mark(w, "changed")
        equal(columns(w, "SELECT * FROM pair")["rows.pair"], ["", "2@2:b:3:5"])
        pg.execute("DROP OPERATOR rows.= (int, int)")
        mark(w, "changed")


@test("names are looked up by the session's search_path, its user's rights, and its role")
def search_path():
    with client("one, two") as w:
        equal(names(w, "SELECT * FROM item"), ["one.item"])
        equal(names(w, "SELECT * FROM two.item"), ["two.item"])
        equal(names(w, "SELECT * FROM item, two.item x"), ["one.item", "two.item"])
        w.query("SET search_path = two, one")
        equal(names(w, "SELECT * FROM item"), ["two.item"])
        w.query("SET search_path = hidden, one")  # where it may not look
        equal(names(w, "SELECT * FROM item"), ["one.item"])
        w.query("SET search_path = nowhere, 'two'")
        equal(names(w, "SELECT * FROM item"), ["two.item"])
        w.query('SET search_path = "$user", public')
        equal(names(w, "SELECT * FROM mine"), ["app.mine"])
        w.query("SET ROLE reader")
        equal(names(w, "SELECT * FROM mine"), ["reader.mine"])
        w.query("SET ROLE NONE")
        equal(names(w, "SELECT * FROM mine"), ["app.mine"])
        told = depends(w, 'SELECT * FROM two."Odd""name\\"')
        equal((told.problems, len(told.tables)), (0, 1))
        told = depends(w, "SELECT * FROM nowhere_at_all")
        equal((told.problems, told.reason), (MISSING, "a table was not found"))


@test("the default search_path: the server's, the database's, the user's")
def default_path():
    with client() as w:
        equal(names(w, "/* by default */ SELECT * FROM only_here"), ["public.only_here"])
        pg.execute("ALTER DATABASE shop SET search_path = two, public")
        mark(w, "changed")
        equal(names(w, "/* by default */ SELECT * FROM item"), ["two.item"])
        pg.execute("ALTER ROLE app SET search_path = one")
        mark(w, "changed")
        equal(names(w, "/* by default */ SELECT * FROM item"), ["one.item"])
        pg.execute("ALTER ROLE app IN DATABASE shop SET search_path = two")
        mark(w, "changed")
        equal(names(w, "/* by default */ SELECT * FROM item"), ["two.item"])
        pg.execute("ALTER ROLE app RESET ALL; ALTER ROLE app IN DATABASE shop RESET ALL; ALTER DATABASE shop RESET ALL")
        mark(w, "changed")
        pg.execute("ALTER SYSTEM SET search_path = one, public")
        equal(pg.execute("SELECT pg_reload_conf()"), [(True,)])
        wait_for(lambda: pg.execute("SHOW search_path") == [("one, public",)], what="the server to reload")
        mark(w, "changed")
        equal(names(w, "/* by default */ SELECT * FROM item"), ["one.item"])
        pg.execute("ALTER SYSTEM RESET search_path")
        pg.execute("SELECT pg_reload_conf()")
        mark(w, "changed")


@test("the search_path that the pool's servers have by themselves")
def server_path():
    with client() as w, client() as other:
        equal(names(w, "SELECT * FROM only_here"), ["public.only_here"])
        pg.execute("ALTER ROLE app SET search_path = two")
        mark(w, "changed")
        w.query("BEGIN")
        equal(names(w, "SELECT * FROM only_here"), ["public.only_here"])  # its server is older
        pg.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app' AND state = 'idle'")
        other.query("SELECT 1")  # on a new one
        w.query("COMMIT")
        equal(names(w, "SELECT * FROM item"), ["two.item"])
        pg.execute("ALTER ROLE app RESET ALL")


@test("views, partitions and children are followed to their tables")
def followed():
    with client("one") as w:
        told = depends(w, "SELECT * FROM names2")
        equal(told.problems, 0, told.reason)
        equal(
            told.tables,
            {
                "one.names2": (VIEW, NAMED, 0),
                "one.names": (VIEW, 0, -1),
                "one.item": (TABLE, IDENTITY, -1),
                "public.only_here": (TABLE, IDENTITY, -1),
            },
        )
        told = depends(w, "SELECT * FROM item, part p, item i2")
        equal(
            told.tables,
            {
                "one.item": (TABLE, NAMED | IDENTITY, 0),
                "one.part": (PARTITIONED, NAMED, 1),
                "one.part_a": (PARTITIONED, 0, -1),
                "one.part_aa": (TABLE, 0, -1),
            },
        )
        equal(names(w, "SELECT * FROM parent"), ["one.child", "one.parent"])
        equal(names(w, "SELECT * FROM kept"), ["one.kept"])
        equal(depends(w, "SELECT * FROM kept").tables["one.kept"][0], MATVIEW)
        equal(depends(w, "SELECT * FROM fast").tables["one.fast"][1], NAMED | UNLOGGED)
        equal(depends(w, "SELECT * FROM full_identity").tables["one.full_identity"][1], NAMED | IDENTITY)
        equal(depends(w, "SELECT * FROM no_identity").tables["one.no_identity"][1], NAMED)


@test("what hangs on more than tables and settings is a problem, in the text and within views")
def problems():
    cases = (
        ("SELECT count(*) FROM item", 0),
        ("WITH x AS (SELECT * FROM item) SELECT lower(name), to_char(at, 'DD') FROM x ORDER BY 1", VOLATILE),  # one.lower(bytea)
        ("SELECT upper(name), to_char(at, 'DD'), age(at, at) FROM item", 0),
        ("SELECT now() FROM item", OUTSIDE),
        ("SELECT age(at) FROM item", OUTSIDE),
        ("SELECT random() FROM item", VOLATILE),
        ("SELECT * FROM hours", 0),
        ("SELECT * FROM recent", OUTSIDE),
        ("SELECT * FROM who", OUTSIDE),
        ("SELECT * FROM sampled", VOLATILE),
        ("SELECT * FROM pg_class", SYSTEM),
        ("SELECT * FROM numbers", RELATION),
        ("SELECT * FROM secret", SECURITY),
        ("SELECT * FROM open", SECURITY),
        ("SELECT twice(id) FROM item", 0),
        ("SELECT counted() FROM item", FUNCTION),
        ("SELECT two.counted() FROM item", 0),
        ("SELECT luck(id) FROM item", VOLATILE),
        ("SELECT no_such(id) FROM item", MISSING),
        ("SELECT * FROM using_twice", 0),
        ("SELECT * FROM using_counted", FUNCTION),
        ("SELECT * FROM using_operator", VOLATILE),
        ("SELECT lucky(id) FROM item", 0),
        ("SELECT unlucky(id) FROM item", VOLATILE),
        ("SELECT id <+> 1 FROM item", VOLATILE),
        ("SELECT id OPERATOR(one.<+>) 1 FROM item", VOLATILE),
        ("SELECT id <-+> 1 FROM item", 0),
        ("SELECT id <#-> 1 FROM item", MISSING),
        ("SELECT i.label FROM item i", FUNCTION),  # a function as a column
        ("SELECT 'sad'::mood, m FROM moods", 0),
        ("SELECT 1::positive FROM item", 0),
        ("SELECT * FROM positives", 0),
        ("SELECT 1::lucky FROM item", TYPE),
        ("SELECT * FROM by_chance", TYPE),
        ("SELECT * FROM item FOR UPDATE", FACTS),
        ("SELECT 1; SELECT * FROM item", FACTS),
        ("DELETE FROM item", FACTS),
        ("WITH d AS (DELETE FROM item RETURNING *) SELECT * FROM d", FACTS),
        ("SELECT current_user, coalesce(name, 'x'), greatest(id, 1) FROM item", OUTSIDE),
    )
    with client("one") as w:
        for sql, expected in cases:
            told = depends(w, sql)
            equal(told.problems, expected, "%s: %s" % (sql, told.reason))
            equal(told.reason == "", expected == 0)
        assert depends(w, "SELECT * FROM locks").problems & (VOLATILE | SYSTEM)


@test("what a statement may write: children, views' tables, foreign keys' actions; and where that is not all")
def footprints():
    pg.execute(
        """
        CREATE TABLE one.customer (id int PRIMARY KEY, n int DEFAULT 1);
        CREATE TABLE one.orders (id int PRIMARY KEY, customer int REFERENCES one.customer ON DELETE CASCADE);
        CREATE TABLE one.lines (o int REFERENCES one.orders ON UPDATE SET NULL);
        CREATE TABLE one.logged (c int REFERENCES one.customer);
        CREATE VIEW one.customers AS SELECT * FROM one.customer WHERE id > 0;
        CREATE TABLE one.triggered (id int);
        CREATE FUNCTION one.act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER act BEFORE INSERT ON one.triggered FOR EACH ROW EXECUTE FUNCTION one.act();
        CREATE TABLE one.off (id int); CREATE TRIGGER act BEFORE INSERT ON one.off EXECUTE FUNCTION one.act();
        ALTER TABLE one.off DISABLE TRIGGER act;
        CREATE TABLE one.ruled (id int); CREATE RULE r AS ON INSERT TO one.ruled DO ALSO DELETE FROM one.item;
        CREATE FUNCTION one.draw() RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1';
        CREATE TABLE one.drawn (id int DEFAULT one.draw()); CREATE TABLE one.numbered (id serial, at timestamptz DEFAULT now());
        CREATE TABLE one.policed (id int); CREATE POLICY p ON one.policed USING (id > one.draw());
        """
    )
    written = lambda told: sorted(name.split(".")[1] for name, (_, flags, _m) in told.tables.items() if flags & WRITTEN)
    cases = (
        ("INSERT INTO item SELECT * FROM two.item", 0, ["item"]),
        ("UPDATE item SET name = 'x' FROM two.item t WHERE t.id = item.id", 0, ["item"]),
        ("DELETE FROM customer WHERE id = 1", 0, ["customer", "lines", "orders"]),
        ("TRUNCATE customer CASCADE", 0, ["customer", "lines", "logged", "orders"]),
        ("UPDATE customers SET n = 2", 0, ["customer", "customers", "lines", "orders"]),
        ("COPY part FROM STDIN", 0, ["part", "part_a", "part_aa"]),
        ("MERGE INTO item USING two.item s ON s.id = item.id WHEN MATCHED THEN DELETE", 0, ["item"]),
        ("WITH d AS (DELETE FROM item RETURNING id) INSERT INTO full_identity SELECT id FROM d", 0, ["full_identity", "item"]),
        ("DELETE FROM item; UPDATE full_identity SET id = 1", 0, ["full_identity", "item"]),
        ("INSERT INTO numbered DEFAULT VALUES", 0, ["numbered"]),
        ("SELECT * FROM item FOR UPDATE", 0, []),
        ("SELECT random(), twice(id), counted() FROM item", 0, []),
        ("SELECT draw() FROM item", CALLED, []),
        ("SELECT unlucky(id) FROM item", CALLED, []),
        ("SELECT * FROM policed", CALLED, []),
        ("INSERT INTO triggered VALUES (1)", TRIGGER, ["triggered"]),
        ("INSERT INTO off VALUES (1)", 0, ["off"]),
        ("INSERT INTO ruled VALUES (1)", TRIGGER, ["ruled"]),
        ("INSERT INTO drawn DEFAULT VALUES", CALLED, ["drawn"]),
        ("INSERT INTO nowhere VALUES (1)", NAME, []),
        ("UPDATE pg_class SET relname = 'x'", FOREIGN, ["pg_class"]),
        ("CALL something()", KIND | NAME, []),
        ("DO 'BEGIN END'", KIND, []),
        ("DROP TABLE item", KIND, []),
        ("REFRESH MATERIALIZED VIEW kept", 0, ["kept"]),
        ("VACUUM item", 0, []),
        ("ALTER MATERIALIZED VIEW kept RENAME TO other", KIND, []),
        ("EXECUTE something", KIND, []),
        ("BEGIN", 0, []),
        ("COMMIT PREPARED 'x'", KIND, []),
        ("THIS IS NO SQL", KIND, []),
    )
    with client("one") as w:
        mark(w, "changed")
        for sql, footprint, tables in cases:
            told = depends(w, sql)
            equal((told.footprint, written(told)), (footprint, tables), "%s: %s" % (sql, told.footprint_reason))
            equal(told.footprint_reason == "", footprint == 0)


@test("a definition that changes through the host ends what was known before its client is told")
def changes_through_the_host():
    def told_again(w, sql, expected):
        equal(mark(w, "current"), "0")
        equal(names(w, sql), expected)
        equal(mark(w, "current"), "1")

    with client("one, two") as w, client(user="app") as other:
        pg.execute("GRANT ALL ON SCHEMA one, two TO app")
        mark(w, "changed")
        looked(host)  # or it looks by itself when something has been defined, and finds that, too
        equal(names(w, "SELECT * FROM changing", MISSING), [])
        other.query("CREATE TABLE two.changing (id int)")
        told_again(w, "SELECT * FROM changing", ["two.changing"])
        other.query("SELECT 1 AS id INTO one.changing")  # its tag is SELECT 1
        told_again(w, "SELECT * FROM changing", ["one.changing"])
        other.query("BEGIN")
        other.query("DROP TABLE one.changing")
        equal(mark(w, "current"), "1")
        other.query("COMMIT")
        told_again(w, "SELECT * FROM changing", ["two.changing"])
        other.query("DO 'BEGIN CREATE TABLE one.changing (); END'")
        told_again(w, "SELECT * FROM changing", ["one.changing"])
        other.query("DROP TABLE one.changing, two.changing")
        equal(mark(w, "current"), "0")
        equal(names(w, "SELECT * FROM changing", MISSING), [])
        other.query("SELECT 1")
        equal(mark(w, "current"), "1")


@test("a definition that changes around the host is found")
def changes_around_the_host():
    with client("one, two") as w:
        equal(names(w, "SELECT * FROM item"), ["one.item"])
        looked(host)  # what was defined by others is found
        equal(names(w, "SELECT * FROM item"), ["one.item"])
        for _ in range(3):
            looked(host)
            equal(mark(w, "current"), "1", "nothing has changed")
        pg.execute("ALTER TABLE one.item RENAME TO was_item")
        looked(host)
        equal(mark(w, "current"), "0", "the change is found")
        equal(names(w, "SELECT * FROM item"), ["two.item"])
        pg.execute("ALTER TABLE one.was_item RENAME TO item")
        mark(w, "changed")


@test("what was known before the host has looked for the first time still stands after")
def first_look():
    with Host(pg, CONFIG) as fresh, fresh.wire(database="shop_auto", search_path="one, two") as w:
        equal(names(w, "SELECT * FROM item"), ["one.item"])
        looked(fresh)
        equal(mark(w, "current"), "1")
        pg.execute("ALTER TABLE one.item RENAME TO was_item")
        looked(fresh)
        equal(mark(w, "current"), "0")
        equal(names(w, "SELECT * FROM item"), ["two.item"])
        pg.execute("ALTER TABLE one.was_item RENAME TO item")
    with client() as w:
        mark(w, "changed")


@test("a server that cannot be asked is told in the log, and nothing is known")
def cannot_be_asked():
    with client(database="nobody") as w:
        answers = []
        wait_for(lambda: answers.append(mark(w, "depends")) or answers[-1] != str(PENDING), what="an answer")
        equal(answers[-1], str(EIO))
        host.wait_log("the catalog could not be asked.*nobody")
        equal(w.query("SELECT 1"), [["1"]])


@test("SHOW CATALOG")
def shown():
    row = [r for r in host.console("SHOW CATALOG") if r["node"] == "shop_auto"][0]
    equal(row["database"], "shop")
    assert int(row["generation"]) > 1 and int(row["asked"]) > 20 and int(row["entries"]) > 20, row


main()
