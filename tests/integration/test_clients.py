"""Real clients, unchanged but for their connection string: psql, pgbench, psycopg and node-postgres."""

# Runs under TSan too.

import os
import random
import re
import subprocess
import threading

import psycopg
from psycopg.types.json import Jsonb

import harness
import sides
from harness import Host, Postgres, equal, expect_error, main, node, pgbench, psql, run_client, test, wait_for

pg = Postgres()
pg.execute("GRANT CREATE ON SCHEMA public TO app")
pg.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
pg.execute("CREATE TABLE product (id int PRIMARY KEY, name text NOT NULL, price numeric, feeling mood, tags text[])")
pg.execute("COMMENT ON TABLE product IS 'what is sold'")
pg.execute("INSERT INTO product SELECT i, 'product ' || i, i / 4.0, 'ok', ARRAY['a', 'b'] FROM generate_series(1, 500) i")
pg.execute("GRANT ALL ON product TO app")

host = Host(pg, sides.pool_modes(pg, pool_size=4, queue_timeout="20s"))

DIRECT = pg.dsn(user="app", password="secret", sslmode="disable")


def dsn(mode, **more):
    return host.dsn("shop_" + mode, **more)


def in_modes(name, modes=sides.MODES, timeout=harness.TEST_TIMEOUT):
    def register(function):
        for mode in modes:
            test("%s [%s]" % (name, mode), timeout)(lambda mode=mode: function(mode))
        return function

    return register


# --- psql -------------------------------------------------------------------------------------------------------


def psql_all(where, script, *options):
    """What psql prints for a script, errors included, with the line numbers of its own."""
    result = subprocess.run(
        ["psql", "-XAq", *options, where],
        input=script,
        env=harness.clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result.stdout + result.stderr


def same_in_psql(mode, script, *options):
    equal(psql_all(dsn(mode), script, *options), psql_all(DIRECT, script, *options))


@in_modes("psql prints the same: queries, several statements, errors with their position")
def psql_queries(mode):
    same_in_psql(
        mode,
        r"""
        SELECT 1 AS one, 'two' AS two, NULL AS three;
        SELECT * FROM product WHERE id < 5;
        SELECT 1 \; SELECT 2 \; SELECT 3;
        SELECT 1 \; SELECT 1/0 \; SELECT 3;
        SELECT nope FROM product;
        SELECT * FROM product WHERE prize > 3;
        BEGIN;
        UPDATE product SET price = price WHERE id = 1;
        SELECT 1/0;
        SELECT 2;
        ROLLBACK;
        \errverbose
        DO $$ BEGIN RAISE NOTICE 'noted'; END $$;
        SELECT 'no semicolon'
        """,
    )


@in_modes("psql's \\d family, \\gdesc, \\gexec, \\crosstabview, \\watch and cursors by FETCH_COUNT")
def psql_commands(mode):
    same_in_psql(
        mode,
        r"""
        \d
        \d product
        \d+ product
        \dt+
        \dT+
        \df pg_catalog.abs
        \du app
        \l shop
        \dn
        \dconfig work_mem
        SELECT id, name, price * 2 AS double FROM product \gdesc
        SELECT nope FROM product \gdesc
        SELECT format('SELECT %s + 1 AS next', i) FROM generate_series(1, 3) i \gexec
        SELECT i, j, i * j FROM generate_series(1, 3) i, generate_series(1, 3) j \crosstabview
        \set FETCH_COUNT 7
        SELECT id FROM product ORDER BY id LIMIT 30;
        SELECT 1/(4 - i) FROM generate_series(1, 10) i;
        \set FETCH_COUNT 0
        \encoding
        SELECT $1::int + $2::int \bind 1 2 \g
        """.replace(
            "        SELECT $1::int + $2::int \\bind 1 2 \\g\n", ""
        ),
    )


@in_modes("psql's AUTOCOMMIT off, ON_ERROR_ROLLBACK and single transactions")
def psql_transactions(mode):
    same_in_psql(
        mode,
        r"""
        \set AUTOCOMMIT off
        SELECT 1;
        CREATE TABLE passing (a int);
        INSERT INTO passing VALUES (1), (2);
        \set ON_ERROR_ROLLBACK on
        INSERT INTO passing VALUES ('x');
        SELECT count(*) FROM passing;
        ROLLBACK;
        SELECT count(*) FROM passing;
        ROLLBACK;
        """,
    )
    same_in_psql(mode, "CREATE TABLE passing (a int);\nSELECT 1/0;\n", "-1", "-v", "ON_ERROR_STOP=1")
    with expect_error("42P01"):
        pg.execute("SELECT * FROM passing")


@in_modes("psql copies out and in")
def psql_copy(mode):
    folder = harness.temp_dir()
    path = os.path.join(folder, "copied")
    where = dsn(mode)
    psql(where, "\\copy product TO '%s'" % path)
    with open(path) as f:
        lines = f.readlines()
    equal(len(lines), 500)
    equal(lines[0], "1\tproduct 1\t0.25000000000000000000\tok\t{a,b}\n")
    name = "copy_" + mode
    psql(where, "CREATE TABLE %s (LIKE product)" % name, "\\copy %s FROM '%s'" % (name, path))
    psql(where, "\\copy %s FROM '%s'" % (name, path), "\\copy %s (id, name) FROM PROGRAM 'seq 3 | sed s/$/,x/' CSV" % name)
    equal(psql(where, "SELECT count(*), sum(price) FROM " + name), "1003|62625.00000000000000000000\n")
    psql(where, "\\copy (SELECT * FROM %s) TO '%s' (FORMAT binary)" % (name, path))
    psql(where, "TRUNCATE %s" % name, "\\copy %s FROM '%s' (FORMAT binary)" % (name, path))
    equal(psql(where, "SELECT count(*) FROM " + name), "1003\n")
    equal(psql(where, input="COPY %s (id, name) FROM STDIN;\n1\tx\n2\ty\n\\.\nSELECT 'after';\n" % name), "after\n")
    bad = "COPY %s (id, name) FROM STDIN;\n1\tx\nnone\ty\n\\.\nSELECT 'after';\n" % name
    equal(psql_all(where, bad), psql_all(DIRECT, bad))
    psql(where, "DROP TABLE " + name)


@test("psql reaches the host over a Unix socket, and by a URI")
def psql_uri():
    folder = harness.temp_dir()
    path = os.path.join(folder, ".s.PGSQL.7000")
    with Host(pg, {"listener local": {"listen": "unix:" + path, "auth": "scram-sha-256"}}) as other:
        equal(psql("host=%s port=7000 user=app password=secret dbname=shop" % folder, "SELECT 1"), "1\n")
        equal(psql("postgresql://app:secret@127.0.0.1:%d/shop?application_name=x" % other.port, "SELECT 2"), "2\n")


@test("pg_dump's output restores")
def dump():
    dump_path = os.path.join(os.path.dirname(harness.postgres_bin("psql")), "pg_dump")
    for mode in ("session", "auto"):
        dumped = run_client(dump_path, "-t", "product", dsn(mode))
        assert "product 500" in dumped and "COMMENT ON TABLE" in dumped


# --- pgbench ----------------------------------------------------------------------------------------------------


@in_modes("pgbench initializes and runs: simple, extended and prepared, many clients on few servers", timeout=120)
def bench(mode):
    where = dsn(mode)
    # Sessions keep their server, so there pgbench may not have more of them than that.
    clients = 4 if mode == "session" else 24
    pgbench(where, "-i", "-q", "-s", "1", timeout=90)
    for protocol in ("simple", "extended", "prepared"):
        for script in ("-S", "-N"):
            # It prepares one client's statement while it stands still, and with it those that hold the servers.
            n = 4 if protocol == "prepared" and script == "-N" else clients
            printed = pgbench(where, script, "-M", protocol, "-c", str(n), "-j", "2", "-t", "25", timeout=60)
            assert re.search(r"number of failed transactions: 0 ", printed), printed
            equal(int(re.search(r"actually processed: (\d+)", printed)[1]), 25 * n)
    printed = pgbench(where, "-S", "-M", "prepared", "-C", "-c", "4", "-t", "15", timeout=60)
    assert re.search(r"number of failed transactions: 0 ", printed), printed
    if mode != "session":
        assert pg.backends("datname = 'shop' AND usename = 'app'") <= 12


@in_modes("pgbench pipelines")
def bench_pipeline(mode):
    script = os.path.join(harness.temp_dir(), "script")
    with open(script, "w") as f:
        f.write("\\startpipeline\nSELECT 1;\nSELECT :client_id;\nSELECT abalance FROM pgbench_accounts WHERE aid = 5;\n\\endpipeline\n")
    clients = 4 if mode == "session" else 16
    for protocol in ("extended", "prepared"):
        printed = pgbench(dsn(mode), "-n", "-f", script, "-M", protocol, "-c", str(clients), "-j", "2", "-t", "60")
        assert re.search(r"number of failed transactions: 0 ", printed), printed


# --- psycopg ----------------------------------------------------------------------------------------------------


def connect(mode, **options):
    return psycopg.connect(dsn(mode), **options)


@in_modes("psycopg: types in text and binary, in and out")
def py_types(mode):
    values = (
        None,
        True,
        2**40,
        1.5,
        "ä€𝄞",
        bytes(range(256)),
        [1, 2, None],
        Jsonb({"a": [1, {"b": None}]}),
        psycopg.types.range.Range(1, 5),
    )
    for binary in (False, True):
        with connect(mode, autocommit=True) as c, psycopg.connect(DIRECT, autocommit=True) as d:
            for value in values:
                for cursor in (c.cursor(binary=binary), c.cursor()):
                    got = cursor.execute("SELECT %s AS v", [value], binary=binary).fetchone()
                    expected = d.execute("SELECT %s AS v", [value], binary=binary).fetchone()
                    equal(got, expected)
            equal(
                c.execute("SELECT * FROM product WHERE id < 20 ORDER BY id", binary=binary).fetchall(),
                d.execute("SELECT * FROM product WHERE id < 20 ORDER BY id", binary=binary).fetchall(),
            )


@in_modes("psycopg: server-side prepared statements, evicted and deallocated by psycopg")
def py_prepared(mode):
    with connect(mode, autocommit=True, prepare_threshold=0) as c:
        c.prepared_max = 3
        for turn in range(4):
            for i in range(8):
                row = c.execute("SELECT %%s::int + %d" % i, [turn]).fetchone()
                equal(row, (turn + i,))
        equal(c.execute("SELECT count(*) FROM product WHERE name = %s", ["product 7"], prepare=True).fetchone(), (1,))
        for _ in range(10):
            with expect_error("22012"):
                c.execute("SELECT 1 / %s", [0], prepare=True)


@in_modes("psycopg: many connections with prepared statements on few servers", ("transaction", "auto"))
def py_many(mode):
    connections = [connect(mode, autocommit=True, prepare_threshold=1) for _ in range(12)]
    errors = []

    def work(number, c):
        try:
            for turn in range(30):
                got = c.execute("SELECT %s::text || '/' || %s::text", [str(number), str(turn)]).fetchone()
                equal(got, ("%d/%d" % (number, turn),))
                with c.transaction():
                    c.execute("UPDATE product SET price = price WHERE id = %s", [number + 1])
        except Exception as e:
            errors.append(repr(e))

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    for c in connections:
        c.close()
    assert not errors, errors[:3]


@in_modes("psycopg: pipeline mode, with errors in it")
def py_pipeline(mode):
    with connect(mode, autocommit=True) as c:
        with c.pipeline():
            cursors = [c.execute("SELECT %s::int", [i]) for i in range(100)]
        equal([cursor.fetchone()[0] for cursor in cursors], list(range(100)))
        with expect_error("22012"):
            with c.pipeline() as p:
                c.execute("SELECT 1")
                p.sync()
                c.execute("SELECT 1 / 0")
                p.sync()
        equal(c.execute("SELECT 'goes on'").fetchone(), ("goes on",))
        with c.pipeline():
            with c.transaction():
                first = c.execute("INSERT INTO product (id, name) VALUES (-1, 'x') RETURNING id")
                c.execute("DELETE FROM product WHERE id = -1")
        equal(first.fetchone(), (-1,))
        with c.pipeline(), c.cursor() as cursor:
            cursor.executemany("SELECT %s::int * 2", [(i,) for i in range(20)], returning=True)
            got = []
            while True:
                got.append(cursor.fetchone()[0])
                if not cursor.nextset():
                    break
        equal(got, [2 * i for i in range(20)])


@in_modes("psycopg: COPY in and out, text and binary, and a COPY that fails")
def py_copy(mode):
    name = "py_copy_" + mode
    rows = [(i, "text %d \\ \t ä" % i, None if i % 3 else i * 1.5) for i in range(2000)]
    with connect(mode, autocommit=True) as c:
        c.execute("CREATE TABLE %s (a int, b text, c float8)" % name)
        for form in ("", " (FORMAT binary)"):
            with c.transaction(), c.cursor() as cursor:
                with cursor.copy("COPY %s FROM STDIN%s" % (name, form)) as copy:
                    if form:
                        copy.set_types(["int4", "text", "float8"])
                    for row in rows:
                        copy.write_row(row)
                with cursor.copy("COPY (SELECT * FROM %s ORDER BY a) TO STDOUT%s" % (name, form)) as copy:
                    copy.set_types(["int4", "text", "float8"])
                    equal(list(copy.rows()), rows)
                cursor.execute("TRUNCATE " + name)
        with expect_error("22P02"):
            with c.cursor().copy("COPY %s FROM STDIN" % name) as copy:
                for _ in range(5000):
                    copy.write(b"not a number\tx\t1\n")
        equal(c.execute("SELECT count(*) FROM " + name).fetchone(), (0,))
        with expect_error("57014"):
            with c.cursor().copy("COPY %s FROM STDIN" % name) as copy:
                copy.write(b"1\tx\t1\n")
                raise psycopg.ProgrammingError("changed my mind")
        equal(c.execute("SELECT count(*) FROM " + name).fetchone(), (0,))
        equal(c.execute("SELECT 'goes on'").fetchone(), ("goes on",))
        c.execute("DROP TABLE " + name)


@in_modes("psycopg: notices, encodings and parameters")
def py_session(mode):
    heard = []
    with psycopg.connect(dsn(mode, application_name="py"), autocommit=True) as c:
        c.add_notice_handler(lambda d: heard.append((d.severity, d.message_primary, d.message_hint)))
        c.execute("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two' USING HINT = 'three'; END $$")
        equal(heard, [("NOTICE", "one", None), ("WARNING", "two", "three")])
        equal(c.info.parameter_status("application_name"), "py")
        c.execute("SET client_encoding TO latin1")
        equal(c.info.encoding, "iso8859-1")
        equal(c.execute("SELECT chr(228)").fetchone(), ("ä",))
        c.execute("SET client_encoding TO utf8")
        c.execute("SET TIME ZONE 'Europe/Vienna'")
        equal(str(c.info.timezone), "Europe/Vienna")
        equal(c.info.server_version, 150000 + c.info.server_version % 10000)


@in_modes("psycopg: cancel")
def py_cancel(mode):
    with connect(mode, autocommit=True) as c:
        for statement in ("SELECT pg_sleep(30)", "SELECT count(*) FROM generate_series(1, 100000000000) i"):
            timer = threading.Timer(0.3, c.cancel)
            timer.start()
            with expect_error("57014"):
                c.execute(statement)
            timer.join()
        equal(c.execute("SELECT 1").fetchone(), (1,))


@in_modes("psycopg: server-side cursors, also WITH HOLD and scrolling")
def py_cursors(mode):
    with connect(mode) as c:
        with c.cursor(name="big") as cursor:
            cursor.itersize = 37
            equal(sum(row[0] for row in cursor.execute("SELECT id FROM product")), 125250)
        with c.cursor(name="scrolling", scrollable=True) as cursor:
            cursor.execute("SELECT i FROM generate_series(1, 10) i")
            cursor.scroll(5)
            equal(cursor.fetchone(), (6,))
            cursor.scroll(-3)
            equal(cursor.fetchone(), (4,))
    if mode != "transaction":
        with connect(mode) as c:
            cursor = c.cursor(name="held", withhold=True)
            cursor.execute("SELECT i FROM generate_series(1, 10) i")
            cursor.fetchone()
            c.commit()
            equal(cursor.fetchall(), [(i,) for i in range(2, 11)])
            cursor.close()


@in_modes("psycopg: transactions, savepoints, isolation and read only")
def py_transactions(mode):
    with connect(mode) as c:
        c.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        c.read_only = True
        equal(c.execute("SHOW transaction_isolation").fetchone(), ("serializable",))
        with expect_error("25006"):
            c.execute("DELETE FROM product")
        c.rollback()
        c.read_only = False
        with c.transaction():
            c.execute("INSERT INTO product (id, name) VALUES (-5, 'x')")
            try:
                with c.transaction():
                    c.execute("INSERT INTO product (id, name) VALUES (-5, 'x')")
            except psycopg.errors.UniqueViolation as e:
                equal(e.diag.constraint_name, "product_pkey")
            equal(c.execute("SELECT count(*) FROM product WHERE id = -5").fetchone(), (1,))
            raise psycopg.Rollback()
        equal(c.execute("SELECT count(*) FROM product WHERE id = -5").fetchone(), (0,))


@in_modes("psycopg: large objects and a large value", ("session", "auto"))
def py_large(mode):
    with connect(mode) as c:
        value = random.Random(1).randbytes(3_000_000)
        oid = c.execute("SELECT lo_from_bytea(0, %s)", [value]).fetchone()[0]
        equal(c.execute("SELECT lo_get(%s)", [oid], binary=True).fetchone()[0], value)
        c.execute("SELECT lo_unlink(%s)", [oid])


@in_modes("psycopg: asyncio, many at once")
def py_async(mode):
    import asyncio

    async def one(i):
        c = await psycopg.AsyncConnection.connect(dsn(mode), autocommit=True)
        async with c:
            cursor = await c.execute("SELECT %s::int, pg_sleep(0.005)", [i])
            return (await cursor.fetchone())[0]

    async def all_of_them():
        return await asyncio.gather(*[one(i) for i in range(30)])

    equal(asyncio.run(all_of_them()), list(range(30)))


# --- node-postgres ----------------------------------------------------------------------------------------------

NODE = r"""
const { Client, Pool, types } = require('pg');
const assert = require('assert');
const url = process.argv[1];

async function main() {
    const c = new Client({ connectionString: url, application_name: 'node' });
    const notices = [];
    c.on('notice', n => notices.push(n.message));
    await c.connect();

    let r = await c.query('SELECT $1::int + 1 AS n, $2::text AS t, $3::jsonb AS j', [1, 'ä', { a: [1, null] }]);
    assert.deepStrictEqual(r.rows, [{ n: 2, t: 'ä', j: { a: [1, null] } }]);
    r = await c.query('SELECT id, name FROM product WHERE id <= 3 ORDER BY id');
    assert.strictEqual(r.rowCount, 3);
    r = await c.query({ text: 'SELECT $1::bytea AS b', values: [Buffer.from([0, 1, 255])], rowMode: 'array' });
    assert.deepStrictEqual(r.rows[0][0], Buffer.from([0, 1, 255]));
    for (let i = 0; i < 20; i++) {
        r = await c.query({ name: 'by-id', text: 'SELECT name FROM product WHERE id = $1', values: [i + 1] });
        assert.strictEqual(r.rows[0].name, 'product ' + (i + 1));
    }
    r = await c.query('SELECT 1 AS a; SELECT 2 AS b; SELECT 3 AS c');
    assert.deepStrictEqual(r.map(x => Object.values(x.rows[0])[0]), [1, 2, 3]);
    await assert.rejects(c.query('SELECT nope'), e => e.code === '42703' && e.position === '8');
    await assert.rejects(c.query('SELECT 1 / $1::int', [0]), e => e.code === '22012');
    await c.query("DO $$ BEGIN RAISE NOTICE 'noted'; END $$");
    assert.deepStrictEqual(notices, ['noted']);
    assert.strictEqual((await c.query('SHOW application_name')).rows[0].application_name, 'node');

    await c.query('BEGIN');
    await c.query('UPDATE product SET price = price WHERE id = $1', [1]);
    await assert.rejects(c.query('SELECT 1/0'));
    await assert.rejects(c.query('SELECT 1'), e => e.code === '25P02');
    await c.query('ROLLBACK');

    // Queued without waiting: node-postgres sends them one after the other.
    const many = await Promise.all([...Array(50).keys()].map(i => c.query('SELECT $1::int AS i', [i])));
    assert.deepStrictEqual(many.map(x => x.rows[0].i), [...Array(50).keys()]);
    const big = 'x'.repeat(5_000_000);
    assert.strictEqual((await c.query('SELECT $1::text AS big', [big])).rows[0].big.length, big.length);
    await c.end();

    const pool = new Pool({ connectionString: url, max: Number(process.argv[2]) });
    const got = await Promise.all([...Array(100).keys()].map(async i => {
        const one = await pool.connect();
        try {
            await one.query('BEGIN');
            const x = await one.query({ name: 'pooled', text: 'SELECT $1::int AS i', values: [i] });
            await one.query('COMMIT');
            return x.rows[0].i;
        } finally {
            one.release();
        }
    }));
    assert.deepStrictEqual(got, [...Array(100).keys()]);
    await pool.end();
    console.log('done');
}
main().catch(e => { console.error(e); process.exit(1); });
"""


@in_modes("node-postgres: queries, names, errors, notices, transactions and its pool")
def node_postgres(mode):
    url = "postgresql://app:secret@127.0.0.1:%d/shop_%s" % (host.port, mode)
    equal(node(NODE, url, "4" if mode == "session" else "15"), "done\n")


@test("howdahd ends well")
def ends():
    equal(host.stop(), 0, host.log_text()[-4000:])


main()
