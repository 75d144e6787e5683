"""
What the cache must not keep although nothing in the text says so, and writes that reach the server on ways of their own:
what is said of the time by words and by data, FunctionCall, replication connections, very long statements.
"""

import struct

import pgwire
from harness import Host, Postgres, equal, main, test, wait_for

pg = Postgres({"max_prepared_transactions": "5"})
pg.execute(
    """
    CREATE TABLE item (id int PRIMARY KEY, word text, words text[], doc jsonb);
    INSERT INTO item VALUES (1, 'now', '{now}', '{"t": "now"}');
    CREATE DOMAIN moment AS timestamptz;
    CREATE VIEW moments AS SELECT id, word::timestamptz AS at FROM item;
    CREATE TYPE pair AS (id int, at timestamptz);
    CREATE TABLE counted (id int PRIMARY KEY, n int); INSERT INTO counted VALUES (1, 0);
    CREATE FUNCTION add_one(int) RETURNS int LANGUAGE sql AS 'UPDATE counted SET n = n + 1 WHERE id = $1 RETURNING n';
    ALTER TABLE item OWNER TO app; ALTER TABLE counted OWNER TO app; ALTER VIEW moments OWNER TO app
    """
)
CONFIG = {
    "host": {"workers": 1},
    "node main": {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port), "control_user": "postgres"},
    "database *": {"pool_mode": "auto"},
    "plugin cache": {"enabled": "yes", "mode": "ttl"},
    "plugin cache-memory": {"enabled": "yes"},
}
host = Host(pg, CONFIG)

TEXT = 25


def settle():
    wait_for(lambda: not host.console("SHOW JOBS"), what="the host's jobs to end")


def hits():
    return sum(int(r["value"]) for r in host.console("CACHE STATS") if r["name"] == "hits" and not r["store"])


def answers(w, *messages):
    """The same statement again and again; the last answers, when all is known of it."""
    got = []
    for again in range(4):
        got.append([m.row() for m in w.exchange(*messages) if m.type == "D"])
        if again == 0:
            settle()
    assert got[0], "%r gives no rows" % (messages,)
    return got[1:]


NOW = (
    "SELECT id, 'now'::timestamptz FROM item",
    "SELECT id, timestamptz 'NOW' FROM item",
    "SELECT id, CAST(' now ' AS timestamptz) FROM item",
    "SELECT id, timestamptz 'no'\n 'w' FROM item",
    "SELECT id, timestamptz 'no' -- in pieces\n 'w' FROM item",
    "SELECT id, timestamptz $$now$$ FROM item",
    "SELECT id, timestamptz E'n\\157w' FROM item",
    "SELECT id, timestamptz U&'n\\006fw' FROM item",
    "SELECT id, 'now'::moment FROM item",
    "SELECT id, '{now}'::timestamptz[] FROM item",
    "SELECT id, '[now,]'::tstzrange FROM item",
    "SELECT id, '(1,now)'::pair FROM item",
    "SELECT id, ('no' || 'w')::timestamptz FROM item",
    "SELECT id, reverse('won')::timestamptz FROM item",
    "SELECT id, (chr(110) || chr(111) || chr(119))::timestamptz FROM item",
    "SELECT id, word::timestamptz FROM item",
    "SELECT id, words::timestamptz[] FROM item",
    "SELECT id, word::moment FROM item",
    "SELECT id, timestamptz(word) FROM item",
    "SELECT id, ARRAY[word]::timestamptz[] FROM item",
    "SELECT id, (SELECT word)::timestamptz FROM item",
    "SELECT id, coalesce(word, 'x')::time FROM item",
    "SELECT id, ('(1,' || word || ')')::pair FROM item",
    "SELECT id, ('[' || word || ',]')::tstzrange FROM item",
    "SELECT id, (doc->>'t')::timestamptz FROM item",
    "SELECT id, r.at FROM item, jsonb_to_record('{\"at\": \"now\"}') AS r (at timestamptz)",
    "SELECT id, r.t FROM item, jsonb_to_record(doc) AS r (t timestamptz)",
    "SELECT id, (jsonb_populate_record(NULL::pair, jsonb_build_object('at', word))).at FROM item",
    "SELECT * FROM moments",
    "SELECT id, max(at) FROM moments GROUP BY id",
)


@test("what stands for the time, in a literal or in the data, is no answer to keep")
def time_in_texts():
    kept = []
    with host.wire() as w:
        for sql in NOW:
            for message in (pgwire.query(sql), pgwire.run(sql)):
                got = answers(w, message)
                if any(a == b for a, b in zip(got, got[1:])):
                    kept.append(sql)
    equal(sorted(set(kept)), [])


@test("what stands for the time in a parameter, as text or binary")
def time_in_parameters():
    kept = []
    cases = (
        ("SELECT id, $1::timestamptz FROM item", [], "now", 0),
        ("SELECT id, $1::text::timestamptz FROM item", [], "now", 0),
        ("SELECT id, $1::text::timestamptz FROM item", [TEXT], "now", 1),
        ("SELECT id, $1::text::timestamptz FROM item", [], "now", 1),
        ("SELECT id, ($1::text || 'w')::timestamptz FROM item", [TEXT], "no", 0),
        ("SELECT id, $1::timestamptz[] FROM item", [], "{now}", 0),
    )
    with host.wire() as w:
        for sql, types, value, form in cases:
            message = pgwire.run(sql, [value], types, [form])
            got = answers(w, message)
            if any(a == b for a, b in zip(got, got[1:])):
                kept.append((sql, value, form))
    equal(kept, [])


READ = "SELECT n FROM counted WHERE id = 1"


def kept_read(w):
    """The counter's value, out of the cache."""
    found = []

    def hit():
        before = hits()
        found[:] = w.query(READ)
        return hits() > before

    wait_for(hit, what="an answer from the cache")
    return int(found[0][0])


@test("a node whose connections are all one user's: what that one may see counts, not whom the client is for the host")
def one_login():
    pg.execute(
        """
        CREATE TABLE secret (id int PRIMARY KEY, who text); INSERT INTO secret VALUES (1, 'app'), (2, 'other');
        ALTER TABLE secret OWNER TO app; ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
        CREATE POLICY by_setting ON secret USING (who = current_setting('my.who', true));
        GRANT SELECT ON secret, counted TO other; ALTER ROLE other NOINHERIT; GRANT app TO other
        """
    )
    changes = {**CONFIG}
    changes["node main"] = {"conninfo": pg.dsn("shop", user="other", password="other-secret"), "control_user": "postgres"}
    changes["user ghost"] = {"password": "boo"}
    with Host(pg, changes) as one:

        def hits_of():
            return sum(int(r["value"]) for r in one.console("CACHE STATS") if r["name"] == "hits" and not r["store"])

        with one.wire(user="ghost", secret="boo") as w:
            equal(w.query("SELECT current_user"), [["other"]])
            wait_for(lambda: w.query("SELECT n FROM counted WHERE id = 1") and hits_of() > 0, what="an answer from the cache")
        # app owns the table, and no policy would hold for it; it is for other, who asks.
        with one.wire(user="app") as w:
            for who in ("app", "other", "nobody", "app"):
                w.query("SET my.who = '%s'" % who)
                for _ in range(3):
                    equal(w.query("SELECT who FROM secret"), [[who]] if who != "nobody" else [])
                    wait_for(lambda: not one.console("SHOW JOBS"), what="the host's jobs to end")
            w.query("SET ROLE app")
            for _ in range(3):
                equal(w.query("SELECT who FROM secret ORDER BY id"), [["app"], ["other"]])
            w.query("RESET ROLE")
            equal(w.query("SELECT who FROM secret"), [["app"]])


@test("a FunctionCall that writes")
def function_call():
    number = pg.execute("SELECT 'add_one'::regproc::oid::int")[0][0]
    with host.wire() as w, host.wire() as other:
        value = kept_read(w)
        for n in (1, 2):
            other.exchange(pgwire.function_call(number, [struct.pack("!i", 1)], [1], 1))
            equal(w.query(READ), [[str(value + n)]])


@test("a statement that is too long to be looked at")
def long_statement():
    with host.wire() as w, host.wire() as other:
        value = kept_read(w)
        for n, message in ((1, pgwire.query), (2, pgwire.run)):
            other.exchange(message("/* %s */ UPDATE counted SET n = n + 1" % ("x" * 20_000_000)), timeout=60)
            equal(w.query(READ), [[str(value + n)]])


@test("writes of a session in another pool mode, and of one whose texts are not read")
def other_ways():
    with host.wire() as w, host.wire() as other:
        value = kept_read(w)
        other.query("SET client_encoding = 'SJIS'")
        other.query("UPDATE counted SET n = n + 1")
        equal(w.query(READ), [[str(value + 1)]])
        other.query("SET client_encoding = 'UTF8'")
        other.query("SET standard_conforming_strings = off")
        equal(kept_read(w), value + 1)
        other.query("UPDATE counted SET n = n + 1 WHERE 'a\\'b' <> ''")
        equal(w.query(READ), [[str(value + 2)]])


main()
