"""
The result cache: what it keeps, what it does not, and that no write through the host leaves an old answer behind.

PostgreSQL is the oracle: what comes from the cache is compared with what a direct connection gets at that moment.
"""

# Runs under TSan too.

import contextlib
import functools
import time

import cacheworld
from cacheworld import encoded
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import bind, copy_data, copy_done, describe, execute, kinds, parse, query, run, sync

PLUGINS = {"plugin cache": {"enabled": "yes", "mode": "ttl"}, "plugin cache-memory": {"enabled": "yes"}}

pg = Postgres({"max_prepared_transactions": 5, "log_statement": "all"})
pg.execute(
    """
    CREATE TABLE item (id int PRIMARY KEY, name text, at timestamptz, n numeric, raw bytea, f float8);
    INSERT INTO item SELECT g, nullif('item ' || g, 'item 3'), '2024-05-06 07:08:09.5+00'::timestamptz + g * interval '1 day',
        g / 7.0, decode(md5(g::text), 'hex'), g / 3.0 FROM generate_series(1, 50) g;
    CREATE TABLE owner (id int PRIMARY KEY, name text);
    CREATE TABLE pet (id int PRIMARY KEY, owner_id int REFERENCES owner ON DELETE CASCADE ON UPDATE CASCADE, name text);
    INSERT INTO owner SELECT g, 'owner ' || g FROM generate_series(1, 20) g;
    INSERT INTO pet SELECT g, g, 'pet ' || g FROM generate_series(1, 20) g;
    CREATE TABLE log (id serial PRIMARY KEY, what text);
    CREATE TABLE watched (id int PRIMARY KEY, v int);
    INSERT INTO watched VALUES (1, 0);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN INSERT INTO log (what) VALUES (TG_OP); RETURN NULL; END$$;
    CREATE TRIGGER note AFTER UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TABLE part (id int, v int) PARTITION BY RANGE (id);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
    CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200);
    INSERT INTO part VALUES (1, 1), (101, 1);
    CREATE VIEW names AS SELECT id, name FROM item WHERE id < 10;
    CREATE TABLE other_table (id int);
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM other_table;
    CREATE FUNCTION write_other() RETURNS int LANGUAGE sql AS 'INSERT INTO other_table VALUES (1) RETURNING 1';
    CREATE PROCEDURE fill_other() LANGUAGE sql AS 'INSERT INTO other_table VALUES (2)';
    CREATE SCHEMA second CREATE TABLE item (id int, name text);
    INSERT INTO second.item VALUES (1, 'of another schema');
    CREATE TABLE guarded (id int, who text);
    INSERT INTO guarded VALUES (1, 'app'), (2, 'other');
    CREATE ROLE reader; GRANT reader TO app;
    GRANT USAGE ON SCHEMA second TO app, reader;
    GRANT ALL ON ALL TABLES IN SCHEMA public, second TO app;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
    GRANT SELECT ON item, guarded TO other, reader;
    """
)
pg.execute("ALTER TABLE item OWNER TO app; ALTER TABLE guarded OWNER TO app; ALTER MATERIALIZED VIEW counted OWNER TO app")
pg.execute("ALTER TABLE other_table OWNER TO app; ALTER VIEW names OWNER TO app; ALTER TABLE watched OWNER TO app; GRANT CREATE ON SCHEMA public TO app")


def sections_with(more):
    """All sections: the databases by pool_mode, whose catalogs can be asked, and the cache."""
    sections = cacheworld.sections(pg, {**PLUGINS, "host": {"workers": 2, "worker_fill": 0}})
    for name, keys in more.items():
        sections[name] = {**sections.get(name, {}), **keys}
    return sections


host = Host(pg, sections_with({}))
stats = functools.partial(cacheworld.stats, host)
Counted = functools.partial(cacheworld.Counted, host)
warm = functools.partial(cacheworld.warm, host)
looked = functools.partial(cacheworld.looked, host)


def client(database="shop_auto", **more):
    return host.wire(database=database, **more)


def known(w, write):
    """Runs a write until the host knows what it touches: the first ones count as writes of anything."""

    def noted():
        before = stats()["unknown_writes"]
        w.query(write)
        return stats()["unknown_writes"] == before

    wait_for(noted, what="%s: what is written is known" % write)


def direct(*messages, user="app", settings=(), ready=1):
    with pg.wire(user=user, secret={"app": "secret", "other": "other-secret"}.get(user)) as w:
        for sql in settings:
            w.query(sql)
        return w.exchange(*messages, ready=ready)


def same_as_direct(w, sql, **more):
    equal(encoded(w.exchange(query(sql))), encoded(direct(query(sql), **more)), sql)


# --- what comes from the cache ---

COLUMNS = "id, name, at, n, raw, f"
READ = "SELECT %s FROM item WHERE id <= $1 ORDER BY id" % COLUMNS


@test("simple and extended, text and binary, described or not: the bytes that PostgreSQL sends")
def shapes():
    sql = READ.replace("$1", "5")
    with client() as w:
        equal(encoded(warm(w, query(sql))), encoded(direct(query(sql))))
        for formats in ((), (1,), (1, 0, 1, 0, 1, 0)):
            messages = run(READ, ("5",), result_formats=formats)
            got = warm(w, messages)
            equal(kinds(got), "12TDDDDDCZ")
            equal(encoded(got), encoded(direct(messages)))
            messages = parse("", READ) + bind("", "", ("4",), result_formats=formats) + execute() + sync()
            equal(encoded(warm(w, messages)), encoded(direct(messages)))
        messages = run(READ, (b"\0\0\0\5",), formats=(1,), types=(23,))
        equal(encoded(warm(w, messages)), encoded(direct(messages)))
        equal(kinds(warm(w, run(READ, (None,)))), "12TCZ")


@test("a named statement, executed many times")
def named():
    with client() as w:
        equal(kinds(w.exchange(parse("one", READ), describe("S", "one"), sync())), "1tTZ")
        for value in ("1", "3", "1", "3"):
            got = warm(w, bind("", "one", (value,)), execute(), sync())
            equal(kinds(got), "2" + int(value) * "D" + "CZ")
        # A pipeline: some are kept, some are not.
        messages = b"".join(
            bind("", "one", (str(v),)) + execute() + sync() for v in (1, 20, 3, 21, 1, 22)
        )
        got = w.exchange(messages, ready=6)
        equal([len(got)], [6 * 3 + 1 + 20 + 3 + 21 + 1 + 22])


@test("one that fails is not kept, and fails the next time too")
def failing():
    with client() as w:
        for _ in range(4):
            equal(w.exchange(query("SELECT 1 / (id - 1) FROM item"))[-2].fields()["C"], "22012")
        # In a pipeline what follows an error up to Sync is not answered, kept or not.
        kept = run("SELECT count(*) FROM item WHERE id > $1", ("0",))
        warm(w, kept)
        broken = parse("", "SELECT 1 / (id - 1) FROM item") + bind() + execute() + kept
        equal(kinds(w.exchange(broken))[-2:], "EZ")
        equal(kinds(w.exchange(kept)), "12TDCZ")


@test("settings that change what is written are part of the key")
def settings():
    sql = "SELECT at, raw, f, at - '2024-01-01' FROM item WHERE id = 7"
    for change in (
        "SET TimeZone = 'Asia/Tokyo'", "SET DateStyle = 'German'", "SET IntervalStyle = 'sql_standard'",
        "SET extra_float_digits = -3", "SET bytea_output = 'escape'", "SET client_encoding = 'LATIN1'",
    ):  # fmt: skip
        with client() as w:
            warm(w, query(sql))
            w.query(change)
            got = warm(w, query(sql))
            equal(encoded(got), encoded(direct(query(sql), settings=[change])), change)
            w.query("RESET ALL")
            equal(encoded(warm(w, query(sql))), encoded(direct(query(sql))), change)


@test("search_path is part of the key, and of what a name means")
def search_path():
    sql = "SELECT id, name FROM item WHERE id = 1"
    with client() as w:
        equal(warm(w, query(sql))[1].row(), [b"1", b"item 1"])
        w.query("SET search_path = second, public")
        equal(warm(w, query(sql))[1].row(), [b"1", b"of another schema"])
        w.query("RESET search_path")
        equal(warm(w, query(sql))[1].row(), [b"1", b"item 1"])


# --- what does not ---

NEVER = [
    "SELECT now() FROM item WHERE id = 1",
    "SELECT random() FROM item WHERE id = 1",
    "SELECT 'now'::text, id FROM item WHERE at < 'now' AND id = 1",
    "SELECT id FROM item WHERE at < 'Tomorrow' AND id = 1",
    "SELECT id FROM item WHERE at < E'n\\157w' AND id = 1",
    "SELECT current_user, id FROM item WHERE id = 1",
    "SELECT id FROM item WHERE id = 1 FOR SHARE",
    "SELECT count(*) FROM pg_class WHERE relname = 'item'",
    "SELECT nextval('log_id_seq'), id FROM item WHERE id = 1",
    "SELECT 1",
    "SELECT pg_backend_pid() FROM item WHERE id = 1",
    "SELECT ctid, id FROM item TABLESAMPLE system (100) WHERE id = 1",
]


@test("never kept: what hangs on the time, on who asks, on chance, on catalogs; what locks")
def never():
    with client() as w:
        for sql in NEVER:
            with Counted(hits=0, stored=0):
                for _ in range(4):
                    equal(w.exchange(query(sql))[-1].type, "Z")
        with Counted(hits=0, stored=0):
            for _ in range(4):
                w.exchange(run("SELECT id FROM item WHERE at < $1 AND id = 1", ("now",)))


@test("rows of one user are not another's; SET ROLE is another user")
def users():
    sql = "SELECT id, who FROM guarded ORDER BY id"
    with client() as mine, client(user="other", secret="other-secret") as others:
        warm(mine, query(sql))
        with Counted(hits=0):
            equal(len(others.query(sql)), 2)
        pg_direct = "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY"
        mine.query(pg_direct)
        mine.query("CREATE POLICY own ON guarded FOR SELECT USING (who = current_user)")
        for _ in range(5):
            equal(others.query(sql), [["2", "other"]])
            equal(len(mine.query(sql)), 2)  # the owner's
            time.sleep(0.02)
        mine.query("SET ROLE reader")
        for _ in range(5):
            equal(mine.query(sql), [])
        mine.query("RESET ROLE")
        mine.query("DROP POLICY own ON guarded")
        mine.query("ALTER TABLE guarded DISABLE ROW LEVEL SECURITY")
        warm(others, query(sql))
        mine.query("REVOKE SELECT ON guarded FROM other")
        equal(others.exchange(query(sql))[0].fields()["C"], "42501")
        mine.query("GRANT SELECT ON guarded TO other")


# --- writes ---

# What is read, what is written: through the host, and each is seen by whoever reads next.
WRITES = [
    ("SELECT name FROM item WHERE id = 1", "UPDATE item SET name = 'changed' WHERE id = 1"),
    ("SELECT count(*) FROM item", "INSERT INTO item (id) VALUES (1000)"),
    ("SELECT count(*) FROM item", "DELETE FROM item WHERE id = 1000"),
    ("SELECT count(*) FROM item", "WITH x AS (INSERT INTO item (id) VALUES (1001) RETURNING id) SELECT * FROM x"),
    ("SELECT count(*), max(name) FROM names", "UPDATE names SET name = 'zzz' WHERE id = 2"),
    ("SELECT max(name) FROM names", "UPDATE item SET name = 'zzzz' WHERE id = 4"),
    ("SELECT max(name) FROM item", "INSERT INTO item (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'zzzzz'"),
    ("SELECT max(name) FROM item", "MERGE INTO item USING (SELECT 1 AS id) s USING (id) WHEN MATCHED THEN UPDATE SET name = 'zzzzzz'".replace("USING (id)", "ON item.id = s.id")),
    ("SELECT count(*) FROM pet", "DELETE FROM owner WHERE id = 1"),
    ("SELECT sum(owner_id) FROM pet", "UPDATE owner SET id = 100 WHERE id = 2"),
    ("SELECT count(*) FROM log", "UPDATE watched SET v = v + 1"),
    ("SELECT sum(v) FROM part", "UPDATE part_1 SET v = v + 1"),
    ("SELECT sum(v) FROM part_2", "UPDATE part SET v = v + 1"),
    ("SELECT count(*) FROM part_2", "UPDATE part SET id = 150 WHERE id = 1"),
    ("SELECT count(*) FROM other_table", "SELECT write_other()"),
    ("SELECT count(*) FROM other_table", "CALL fill_other()"),
    ("SELECT count(*) FROM other_table", "DO $$BEGIN INSERT INTO other_table VALUES (3); END$$"),
    ("SELECT n FROM counted", "REFRESH MATERIALIZED VIEW counted"),
    ("SELECT count(*) FROM other_table", "TRUNCATE other_table"),
    ("SELECT n FROM counted", "REFRESH MATERIALIZED VIEW counted"),
    ("SELECT count(*) FROM pet", "BEGIN; DELETE FROM pet WHERE id = 5; COMMIT"),
    ("SELECT * FROM other_table", "ALTER TABLE other_table ADD COLUMN more int DEFAULT 7"),
    ("SELECT * FROM other_table", "ALTER TABLE other_table RENAME COLUMN more TO renamed"),
    ("SELECT * FROM names", "CREATE OR REPLACE VIEW names AS SELECT id, name FROM item WHERE id < 5"),
]


def check_write(reader, write, read):
    """What was kept is seen anew once the write has been acknowledged."""
    before = encoded(warm(reader, query(read)))
    equal(before, encoded(direct(query(read))), read)
    write()
    same_as_direct(reader, read)
    return before


@test("every kind of write ends what hangs on it, before its client is told")
def writes():
    with client() as reader, client() as writer:
        for read, write in WRITES:
            before = check_write(reader, lambda: writer.query(write), read)
            now = encoded(direct(query(read)))
            assert now != before, "the test changes nothing: %s" % write


@test("the same by COPY, by parameters, by PREPARE and EXECUTE, by a cursor")
def other_writes():
    read = "SELECT count(*), sum(id) FROM other_table"
    with client() as reader, client() as writer:
        check_write(reader, lambda: writer.exchange(query("COPY other_table (id) FROM STDIN") + copy_data(b"5\n6\n") + copy_done()), read)
        check_write(reader, lambda: writer.exchange(run("INSERT INTO other_table (id) VALUES ($1)", ("9",))), read)
        writer.query("PREPARE ins AS INSERT INTO other_table (id) VALUES ($1)")
        check_write(reader, lambda: writer.query("EXECUTE ins (11)"), read)
        writer.query("DEALLOCATE ins")
        writer.query("BEGIN")
        writer.query("DECLARE c CURSOR FOR SELECT * FROM other_table FOR UPDATE")
        writer.query("FETCH c")
        writer.query("UPDATE other_table SET id = id + 1 WHERE CURRENT OF c")
        check_write(reader, lambda: writer.query("COMMIT"), read)


@test("transactions: kept until COMMIT for others, never for the one that wrote; ROLLBACK ends nothing")
def transactions():
    read = "SELECT name FROM item WHERE id = 6"
    looked()
    with client() as reader, client() as writer:
        known(writer, "UPDATE item SET name = 'item 6' WHERE id = 6")
        warm(reader, query(read))
        warm(writer, query(read))
        writer.query("BEGIN")
        writer.query("UPDATE item SET name = 'mine' WHERE id = 6")
        with Counted(hits=0):
            equal(writer.query(read), [["mine"]])
        with Counted(hits=1):
            equal(reader.query(read), [["item 6"]])
        writer.query("ROLLBACK")
        with Counted(hits=2):
            equal(reader.query(read), [["item 6"]])
            equal(writer.query(read), [["item 6"]])
        writer.query("BEGIN")
        writer.query("SAVEPOINT a")
        writer.query("UPDATE item SET name = 'lost' WHERE id = 6")
        writer.query("ROLLBACK TO a")
        writer.query("UPDATE item SET name = 'kept' WHERE id = 6")
        writer.query("COMMIT")
        equal(reader.query(read), [["kept"]])
        equal(writer.query(read), [["kept"]])


@test("a write and a read in one pipeline: the read comes after")
def pipelined():
    read = run("SELECT name FROM item WHERE id = $1", ("8",))
    with client() as w:
        for i in range(10):
            warm(w, read)
            change = run("UPDATE item SET name = $1 WHERE id = 8", ("name %d" % i,))
            got = w.exchange(change + read, ready=2)
            equal([m.row() for m in got if m.type == "D"], [[b"name %d" % i]])
            warm(w, read)
            # One transaction, as no Sync stands between.
            got = w.exchange(change[: -len(sync())] + read)
            equal([m.row() for m in got if m.type == "D"], [[b"name %d" % i]])


@test("reads in a block: READ COMMITTED alone, and not behind a write or a lock")
def in_blocks():
    read = "SELECT name FROM item WHERE id = 12"
    looked()
    with client() as w:
        warm(w, query(read))
        for begin, before, hits in (
            ("BEGIN", [], 1),
            ("BEGIN READ ONLY", [], 1),
            ("BEGIN ISOLATION LEVEL READ COMMITTED", ["SELECT 1"], 1),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ", [], 0),
            ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", [], 0),
            ("BEGIN", ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"], 0),
            ("BEGIN", ["SET LOCAL search_path = second, public"], 0),
            ("BEGIN", ["UPDATE pet SET name = 'q' WHERE id = 9"], 0),
            ("BEGIN", ["SELECT id FROM pet WHERE id = 9 FOR UPDATE"], 0),
            ("BEGIN", ["SELECT pg_advisory_xact_lock(1)"], 0),
            ("BEGIN", ["LOCK TABLE pet IN SHARE MODE"], 0),
        ):
            w.query(begin)
            for sql in before:
                w.query(sql)
            with Counted(hits=hits):
                w.query(read)
            w.query("ROLLBACK")
        w.query("SET default_transaction_isolation = 'repeatable read'")
        for _ in range(3):
            w.query("BEGIN")
            with Counted(hits=0):
                w.query(read)
            w.query("COMMIT")
            with Counted(hits=0):
                w.query(read)
        w.query("RESET default_transaction_isolation")
        warm(w, query(read))


@test("what a role has by default is part of the key, and of what names mean")
def defaults():
    sql = "SELECT id, name, raw FROM item WHERE id = 1"
    with client(user="other", secret="other-secret") as w:
        equal(encoded(warm(w, query(sql))), encoded(direct(query(sql), user="other")))
    pg.execute("ALTER ROLE other SET bytea_output = 'escape'")
    altered = pg.execute("SELECT clock_timestamp()")[0][0]
    try:
        with client(user="other", secret="other-secret") as w:
            def as_direct():
                return encoded(w.exchange(query(sql))) == encoded(direct(query(sql), user="other"))

            # The servers that are there have the old default; once they have gone it is the new one for good.
            theirs = "FROM pg_stat_activity WHERE usename = 'other' AND backend_start < '%s'" % altered
            pg.execute("SELECT pg_terminate_backend(pid) " + theirs)
            wait_for(lambda: not pg.execute("SELECT 1 " + theirs), what="the servers have gone")
            wait_for(as_direct, what="the new default is in force")
            assert encoded(warm(w, query(sql))) == encoded(direct(query(sql), user="other"))
    finally:
        pg.execute("ALTER ROLE other RESET bytea_output")


@test("a write of one row ends what hangs on that row: the others' answers stay")
def by_row():
    read, update = "SELECT name FROM item WHERE id = %d", "UPDATE item SET name = '%s' WHERE id = %d"
    with client() as w:
        for write in (lambda n, v: w.query(update % (v, n)),
                      lambda n, v: w.exchange(run("UPDATE item SET name = $1 WHERE id = $2", (v, str(n))))):
            warm(w, query(read % 20))
            looked()
            known(w, update % ("x", 50))
            write(50, "x")
            write(50, "x")
            for n in range(20, 40):
                warm(w, query(read % n))
            warm(w, query("SELECT count(*) FROM item WHERE name = 'row 21'"))
            before = stats()
            write(21, "row 21")
            equal(w.query(read % 21), [["row 21"]])
            equal(w.query("SELECT count(*) FROM item WHERE name = 'row 21'"), [["1"]])
            equal(stats()["hits"] - before["hits"], 0)
            for n in range(20, 40):
                w.query(read % n)
            survived = stats()["hits"] - before["hits"]
            assert survived >= 18, (survived, stats())
        # One that takes a key's value, and gives it to another row.
        warm(w, query(read % 20))
        warm(w, query(read % 900))
        w.query("UPDATE item SET id = 900 WHERE id = 20")
        equal(w.query(read % 20), [])
        equal(w.query(read % 900), direct_rows(read % 900))
        w.query("UPDATE item SET id = 20 WHERE id = 900")


def direct_rows(sql):
    return [[None if v is None else str(v) for v in row] for row in pg.execute(sql)]


@test("several transactions in one Query: each ends what it has written")
def several():
    read = "SELECT name FROM item WHERE id = 10"
    with client() as reader, client() as writer:
        for n, sql in enumerate((
            "UPDATE pet SET name = 'x' WHERE id = 7; UPDATE item SET name = '%s' WHERE id = 10",
            "BEGIN; UPDATE pet SET name = 'y' WHERE id = 7; COMMIT; UPDATE item SET name = '%s' WHERE id = 10",
            "UPDATE item SET name = '%s' WHERE id = 10; COMMIT; UPDATE pet SET name = 'z' WHERE id = 7; ROLLBACK",
            "UPDATE pet SET name = 'x' WHERE id = 7; ROLLBACK; UPDATE item SET name = '%s' WHERE id = 10",
        )):  # fmt: skip
            warm(reader, query(read))
            writer.query(sql % ("several %d" % n))
            equal(reader.query(read), [["several %d" % n]], sql)


@test("two-phase commits: seen once they are committed, by whomever")
def two_phase():
    read = "SELECT name FROM item WHERE id = 9"
    looked()
    with client() as reader, client() as writer, client() as other:
        warm(reader, query(read))
        writer.query("BEGIN")
        writer.query("UPDATE item SET name = 'two-phase' WHERE id = 9")
        writer.query("PREPARE TRANSACTION 'one'")
        with Counted(hits=1):
            equal(reader.query(read), [["item 9"]])
        other.query("COMMIT PREPARED 'one'")
        equal(reader.query(read), [["two-phase"]])


PET, OWNER = "SELECT name FROM pet WHERE id = 20", "SELECT name FROM owner WHERE id = 20"


def prepare(w, gid, name, table="pet"):
    for sql in ("BEGIN", "UPDATE %s SET name = '%s' WHERE id = 20" % (table, name), "PREPARE TRANSACTION %s" % gid):
        w.query(sql)


@test("two-phase commits end what their transaction has written and no more, however the name is spelt")
def two_phase_footprint():
    looked()
    with client() as reader, client() as writer, client() as other:
        known(writer, "UPDATE pet SET name = 'before' WHERE id = 20")
        for n, spelt in enumerate(("'kept'", "E'ke\\x70t'", "$$kept$$", "'ke'\n'pt'")):
            warm(reader, query(OWNER))
            warm(reader, query(PET))
            prepare(writer, spelt, "kept %d" % n)
            equal(stats()["prepared"], 1)
            with Counted(hits=2, unknown_writes=0, invalidations=1):
                reader.query(PET)
                other.query("COMMIT PREPARED 'kept'")
                reader.query(OWNER)
            equal(reader.query(PET), [["kept %d" % n]])
            equal(stats()["prepared"], 0)


@test("ROLLBACK PREPARED ends nothing; a COMMIT PREPARED that fails leaves what is noted")
def two_phase_rollback():
    looked()
    with client() as reader, client() as writer:
        known(writer, "UPDATE pet SET name = 'still' WHERE id = 20")
        warm(reader, query(PET))
        prepare(writer, "'back'", "never")
        equal(reader.query(PET), [["still"]])
        writer.query("BEGIN")
        equal(kinds(writer.exchange(query("COMMIT PREPARED 'back'"))), "EZ")  # not in a block
        writer.query("ROLLBACK")
        equal(stats()["prepared"], 1)
        with Counted(hits=1, unknown_writes=0, invalidations=0):
            writer.query("ROLLBACK PREPARED 'back'")
            equal(reader.query(PET), [["still"]])
        equal(stats()["prepared"], 0)


@test("a name that is used again, around the host or in a pipeline, never ends too little")
def two_phase_again():
    looked()
    with client() as reader, client() as writer:
        known(writer, "UPDATE owner SET name = 'a' WHERE id = 20")
        known(writer, "UPDATE pet SET name = 'a' WHERE id = 20")
        # Rolled back around the host, and prepared again with other tables: through the host.
        prepare(writer, "'again'", "b", "owner")
        pg.execute("ROLLBACK PREPARED 'again'")
        warm(reader, query(PET))
        prepare(writer, "'again'", "c")
        writer.query("COMMIT PREPARED 'again'")
        equal(reader.query(PET), [["c"]])
        # Both in one round trip: what is committed has not been noted yet.
        prepare(writer, "'again'", "d", "owner")
        pg.execute("ROLLBACK PREPARED 'again'")
        warm(reader, query(PET))
        writer.query("BEGIN")
        writer.query("UPDATE pet SET name = 'e' WHERE id = 20")
        writer.exchange(run("PREPARE TRANSACTION 'again'"), run("COMMIT PREPARED 'again'"), ready=2)
        equal(reader.query(PET), [["e"]])
        # In one text.
        prepare(writer, "'again'", "f", "owner")
        pg.execute("ROLLBACK PREPARED 'again'")
        warm(reader, query(PET))
        writer.query("BEGIN; UPDATE pet SET name = 'g' WHERE id = 20; PREPARE TRANSACTION 'again'")
        with Counted(unknown_writes=1):
            writer.query("COMMIT PREPARED 'again'")
        equal(reader.query(PET), [["g"]])


@test("what a prepared transaction has defined counts once it is committed")
def two_phase_defines():
    with client() as reader, client() as writer:
        writer.query("CREATE TABLE short (id int)")
        writer.query("INSERT INTO short VALUES (1)")
        warm(reader, query("SELECT * FROM short"))
        prepare(writer, "'plain'", "plain")
        for sql in ("BEGIN", "ALTER TABLE short ADD COLUMN more int DEFAULT 7", "PREPARE TRANSACTION 'defines'"):
            writer.query(sql)
        writer.query("COMMIT PREPARED 'defines'")
        equal(reader.query("SELECT * FROM short"), [["1", "7"]])
        writer.query("COMMIT PREPARED 'plain'")
        writer.query("DROP TABLE short")


@test("what was prepared around the host ends all of its database when it is committed")
def two_phase_unknown():
    looked()
    with client() as reader, client() as writer:
        known(writer, "UPDATE pet SET name = 'a' WHERE id = 20")
        with pg.wire(user="app", secret="secret") as around:
            prepare(around, "'around'", "around")
        warm(reader, query(PET))
        with Counted(unknown_writes=1):
            writer.query("COMMIT PREPARED 'around'")
        equal(reader.query(PET), [["around"]])


@test("after DDL the catalog is asked about many templates together, and each is answered as PostgreSQL would")
def many_templates():
    columns = ["id", "name", "at", "n", "raw", "f"]
    reads = ["SELECT %s FROM item WHERE id = 1" % ", ".join(columns[a:b]) for a in range(6) for b in range(a + 1, 7)]
    reads += ["SELECT count(*) FROM %s" % t for t in ("owner", "pet", "part", "names", "counted", "second.item")]
    with client() as w:
        for _ in range(2):
            for sql in reads:
                same_as_direct(w, sql)
            for sql in reads:
                warm(w, query(sql))
                same_as_direct(w, sql)
            w.query("CREATE TABLE many (id int)")
            w.query("DROP TABLE many")


# --- rules ---


@contextlib.contextmanager
def configured(sections):
    host.configure(sections_with(sections))
    equal(host.control("reload").returncode, 0)
    try:
        yield
    finally:
        host.configure(sections_with({}))
        equal(host.control("reload").returncode, 0)


@test("rules: off by default, on for a table; a ttl; hints; off for a user")
def rules():
    with client() as w:
        with configured({"plugin cache": {"default": "off"}, "cache items": {"table": "public.item", "ttl": "2s"}}):
            with Counted(hits=0, stored=0):
                for _ in range(5):
                    w.query("SELECT count(*) FROM pet WHERE id > 1")
                    time.sleep(0.02)
            warm(w, query("SELECT count(*) FROM item WHERE id > 1"))
            # Past its ttl an answer is asked for anew: here, of what was changed around the host.
            pg.execute("UPDATE item SET name = 'around' WHERE id = 30")
            read = query("SELECT name FROM item WHERE id = 30")
            warm(w, read)
            pg.execute("UPDATE item SET name = 'around again' WHERE id = 30")
            wait_for(lambda: w.exchange(read)[1].row() == [b"around again"], what="the old answer is dropped")
            warm(w, query("/* howdah: cache=5m */ SELECT count(*) FROM pet WHERE id > 1"))
            warm(w, query("SELECT count(*) FROM pet WHERE id > 2 -- x\n/* howdah: cache=on */"))
            with Counted(hits=0, stored=0):
                for _ in range(3):
                    w.query("SELECT '/* howdah: cache=on */', count(*) FROM pet WHERE id > 3")
                    w.query("/* howdah: cache=off */ SELECT count(*) FROM item WHERE id > 3")
        with configured({"cache nobody": {"user": "app", "cache": "off"}}), Counted(hits=0, stored=0):
            for _ in range(5):
                w.query("SELECT count(*) FROM item WHERE id > 1")
        warm(w, query("SELECT count(*) FROM item WHERE id > 1"))


@test("what is wrong with rules is said, and the old ones stay")
def wrong_rules():
    for sections, words in (
        ({"cache a": {"ttl": "5m"}}, "[cache a] names no reads"),
        ({"cache a": {"fingerprint": "xyz"}}, "is not 16 hexadecimal digits"),
        ({"cache a": {"table": "item", "stores": "disk"}}, "\"disk\" is not among the stores of [plugin cache]"),
        ({"plugin cache": {"stores": "memory, memory"}}, "stores in [plugin cache] cannot change while the host runs"),
    ):
        host.configure(sections_with(sections))
        got = host.control("reload")
        assert got.returncode and words in got.stderr, (words, got.stderr)
    host.configure(sections_with({}))
    equal(host.control("reload").returncode, 0)


@test("CACHE INVALIDATE TABLE drops what hangs on that table")
def invalidate():
    mine, others, row = "SELECT count(*) FROM pet WHERE id > 3", "SELECT count(*) FROM owner", "SELECT name FROM pet WHERE id = 11"
    with client() as w:
        for table in ("pet", "public.pet"):
            looked()
            for sql in (mine, others, row):
                warm(w, query(sql))
            equal(host.control("cache", "invalidate", "table", table).returncode, 0)
            with Counted(hits=1, misses=2):
                for sql in (mine, others, row):
                    w.query(sql)
        assert host.control("cache", "invalidate", "table").returncode, "no table was named"


@test("CACHE FLUSH drops everything")
def flush_all():
    with client() as w:
        looked()
        warm(w, query("SELECT count(*) FROM pet WHERE id > 4"))
        host.console("CACHE FLUSH")
        equal(stats("memory")["entries"], 0)
        with Counted(hits=0, misses=1, stored=1):
            w.query("SELECT count(*) FROM pet WHERE id > 4")


main()
