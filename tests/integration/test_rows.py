"""
Which rows reads hang on and writes touch, with PostgreSQL as the oracle: reads are kept by their marks, writes made at
random end what they mark, and whatever is left must be what PostgreSQL answers.
"""

import collections
import os
import random
import time

import harness
import sides
from harness import Host, Postgres, equal, main, test
from pgwire import query, run


pg = Postgres()
pg.execute(
    """
    CREATE TABLE item (gone int, id int PRIMARY KEY, name text, email varchar(20) UNIQUE, n int DEFAULT 0);
    ALTER TABLE item DROP gone;
    CREATE TABLE serial (id bigserial PRIMARY KEY, n int);
    CREATE TABLE code (id uuid PRIMARY KEY, n int);
    CREATE TABLE part (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
    CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (-10) TO (5);
    CREATE TABLE part_high (n int, more int UNIQUE, id int NOT NULL);
    ALTER TABLE part_high DROP more; ALTER TABLE part_high ADD UNIQUE (n);
    ALTER TABLE part ATTACH PARTITION part_high FOR VALUES FROM (5) TO (100);
    CREATE TABLE old (id int PRIMARY KEY, n int); CREATE TABLE kid (id int PRIMARY KEY) INHERITS (old);
    CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE, n int);
    CREATE TABLE leaf (id int PRIMARY KEY, tree int REFERENCES tree ON DELETE SET NULL ON UPDATE CASCADE);
    CREATE VIEW items AS SELECT id, n FROM item;
    CREATE VIEW named AS SELECT i.id, i.name, s.n FROM item i JOIN serial s ON s.id = i.id;
    CREATE TABLE whole (a int, b text); ALTER TABLE whole REPLICA IDENTITY FULL;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
    """
)

ROWS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/rows.so"))
CONFIG = sides.pool_modes(
    pg,
    {
        "plugin rows": {"enabled": "yes", "library": ROWS},
        "host": {"workers": 1},
        "node shop_auto": {"control_user": "postgres"},
    },
)
host = Host(pg, CONFIG)
through, direct = host.wire(database="shop_auto"), pg.wire(user="app", secret="secret")


def message(sql, values):
    return run(sql, values) if values else query(sql)


def marks(sql, values=()):
    """The marks; None where nothing is proved: a read that is not kept, a write of anything."""
    deadline = time.monotonic() + 60
    while True:
        fields = [m.fields() for m in through.exchange(message("/* marks */ " + sql, values)) if m.type == "E"][0]
        equal(fields["C"], "HD001")
        if not fields["M"].startswith("code "):
            break
        assert time.monotonic() < deadline, "the catalog was not asked"
        time.sleep(0.005)
    if fields["M"] in ("unproved", "anything"):
        return None
    return [tuple(int(word) for word in line.split()) for line in fields["M"].splitlines()]


def answer(sql, values=()):
    got = direct.exchange(message(sql, values))
    return [m.row() for m in got if m.type == "D"], [m.fields()["C"] for m in got if m.type == "E"]


class Kept:
    """Answers of reads, as long as nothing that they hang on has been touched."""

    def __init__(self):
        self.epochs = collections.Counter()
        self.everything = 0
        self.answers = {}
        self.ended = 0

    def state(self, cells):
        return self.everything, [self.epochs[cell] for cell in cells]

    def read(self, sql, values=()):
        told = marks(sql, values)
        rows, errors = answer(sql, values)
        equal(errors, [], sql)
        if told is None:
            return
        cells = [mark[:4] for mark in told if not (mark[4] and rows)]
        self.answers[sql, values] = (rows, cells, self.state(cells))
        if len(self.answers) > MAX_KEPT:
            del self.answers[next(iter(self.answers))]

    def write(self, sql, values=()):
        told = marks(sql, values)
        errors = answer(sql, values)[1]
        for mark in told or ():
            self.epochs[mark[:4]] += 1
        self.everything += told is None
        return errors

    def check(self, sql, values):
        """Is what is kept, if it still is, what PostgreSQL answers? Says whether it was kept."""
        rows, cells, state = self.answers[sql, values]
        if state != self.state(cells):
            del self.answers[sql, values]
            self.ended += 1
            return False
        equal(rows, answer(sql, values)[0], "%s %s" % (sql, values))
        return True


MAX_KEPT = 40

UUIDS = ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1%d" % n for n in range(4)]


def spell(rng, kind, value):
    """A value as a literal, in one of the ways that there are."""
    if value is None:
        return "NULL"
    if kind == "int":
        return rng.choice(["%d", "'%d'", "' %d '", "E'\\x20%d'", "'%d'::int", "(%d)::bigint"]) % value
    if kind == "uuid":
        return "'%s'" % rng.choice([value, value.upper(), "{%s}" % value, value.replace("-", "")])
    return rng.choice(["'%s'", "$$%s$$", "U&'%s'"]) % value


def any_value(rng, kind, null=0.0):
    if rng.random() < null:
        return None
    if kind == "int":
        return rng.randrange(-1, 7)
    return rng.choice(UUIDS if kind == "uuid" else ["a", "b", "7", "é", "f "])


class Text:
    """Puts values into a text: as literals, or as parameters."""

    def __init__(self, rng):
        self.rng = rng
        self.bound = [] if rng.random() < 0.4 else None

    def value(self, kind, null=0.0):
        value = any_value(self.rng, kind, null)
        if self.bound is None:
            return spell(self.rng, kind, value)
        self.bound.append(None if value is None else str(value).encode())
        return "$%d%s" % (len(self.bound), self.rng.choice(["", "", "::" + kind]))

    def condition(self, column, kind, prefix="", numbered=True):
        """`numbered`: the table has a column n."""
        form = self.rng.randrange(8 if numbered else 4)
        column, n = prefix + column, prefix + "n"
        if form < 3:
            return "%s = %s" % (column, self.value(kind))
        if form == 3:
            return "%s IN (%s, %s)" % (column, self.value(kind), self.value(kind))
        if form == 4:
            return "%s > %s" % (column, self.value(kind))
        if form < 7:
            return "%s = %s AND (%s > 1 OR %s IS NULL)" % (column, self.value(kind), n, n)
        return "(%s = %s OR %s = 3)" % (column, self.value(kind), n)


# Table, column, kind; those without a key among them.
COLUMNS = [
    *[("item", "id", "int"), ("item", "email", "text")] * 3, ("item", "name", "text"), ("serial", "id", "int"), ("serial", "n", "int"),
    ("code", "id", "uuid"), ("part", "id", "int"), ("part_low", "id", "int"), ("part_high", "id", "int"),
    ("part_high", "n", "int"), ("part", "n", "int"), ("old", "id", "int"), ("kid", "id", "int"), ("tree", "id", "int"),
    ("leaf", "id", "int"), ("items", "id", "int"),
]  # fmt: skip

READS = [
    *["SELECT * FROM {table} WHERE {condition}"] * 8,
    "SELECT count(*), max(n) FROM (SELECT n FROM {numbered} WHERE {numbered_condition}) x",
    "SELECT 1 FROM {numbered} WHERE {numbered_condition} HAVING true",
    "SELECT count(*) FROM {table} WHERE {condition}",
    "SELECT t.*, i.name FROM {table} t LEFT JOIN item i ON i.id = 3 WHERE {aliased}",
    "SELECT i.name, t.* FROM item i LEFT JOIN {table} t ON i.email IS NOT NULL WHERE {aliased}",
    "SELECT * FROM {table} t WHERE {aliased} AND EXISTS (SELECT 1 FROM item WHERE item.id = 3)",
    "SELECT * FROM {table} t WHERE {aliased} AND t.{column} IN (SELECT {column} FROM {table})",
    "SELECT n FROM {numbered} WHERE {numbered_condition} UNION ALL SELECT n FROM serial WHERE id = 2",
    "SELECT * FROM named WHERE id = {int}",
    "SELECT * FROM whole WHERE a = {int}",
]

WRITES = [
    "INSERT INTO item (id, name, email) VALUES ({int}, {text}, {text?})",
    "INSERT INTO item VALUES ({int}, {text}, {text?}), ({int}, 'x', {text?}) ON CONFLICT DO NOTHING",
    "INSERT INTO item (id, email, n) VALUES ({int}, {text?}, {int}) ON CONFLICT (id) DO UPDATE SET n = item.n + 1",
    "INSERT INTO item (id, email, n) VALUES ({int}, {text?}, {int}) ON CONFLICT (email) DO UPDATE SET n = 4, id = 6",
    "INSERT INTO item (id, email) VALUES ({int}, {text?}) ON CONFLICT (id) DO UPDATE SET email = excluded.email",
    "INSERT INTO item (id, email) SELECT {int}, {text?} ON CONFLICT DO NOTHING",
    "UPDATE item SET n = {int} WHERE id = {int}",
    "UPDATE item SET email = '007'::int WHERE id = {int}",
    "UPDATE item SET n = n + 1, email = {text?} WHERE id = {int}",
    "UPDATE item SET id = {int} WHERE id = {int}",
    "UPDATE item SET id = id + 1 WHERE id = {int}",
    "UPDATE item SET (id, name) = ({int}, 'y') WHERE email = {text}",
    "UPDATE item i SET name = {text} FROM serial s WHERE i.id = {int} AND s.n IS NOT NULL",
    "UPDATE items SET n = {int} WHERE id = {int}",
    "DELETE FROM item WHERE {condition_item}",
    "DELETE FROM item USING serial s WHERE item.id = s.id AND item.id = {int}",
    "WITH x AS (DELETE FROM item WHERE id = {int} RETURNING id) INSERT INTO serial (n) SELECT id FROM x",
    "INSERT INTO serial (n) VALUES ({int})",
    "INSERT INTO serial (n) VALUES ({int}), ({int}) RETURNING id",
    "INSERT INTO serial (id, n) VALUES (DEFAULT, {int})",
    "INSERT INTO serial VALUES ({int}, {int}) ON CONFLICT DO NOTHING",
    "SELECT setval('serial_id_seq', greatest(1, {int}))",
    "DELETE FROM serial WHERE id = {int}",
    "INSERT INTO code VALUES ({uuid}, {int})",
    "UPDATE code SET n = {int} WHERE id = {uuid}",
    "DELETE FROM code WHERE id = {uuid}",
    "INSERT INTO part VALUES ({int}, {int})",
    "INSERT INTO part (n, id) VALUES ({int}, {int}) ON CONFLICT (id) DO UPDATE SET n = 7",
    "UPDATE part SET id = {int} WHERE id = {int}",
    "UPDATE part SET n = {int} WHERE n = {int}",
    "DELETE FROM part WHERE id = {int}",
    "UPDATE part_high SET n = {int?} WHERE id = {int}",
    "INSERT INTO part_high (n, id) VALUES ({int?}, {int})",
    "DELETE FROM part_low WHERE id IN ({int}, {int})",
    "INSERT INTO old VALUES ({int}, {int})",
    "INSERT INTO kid VALUES ({int}, {int})",
    "UPDATE old SET n = {int} WHERE id = {int}",
    "UPDATE ONLY old SET id = {int} WHERE id = {int}",
    "DELETE FROM old WHERE id = {int}",
    "INSERT INTO tree (id, up) VALUES ({int}, {int?})",
    "DELETE FROM tree WHERE id = {int}",
    "UPDATE tree SET id = {int} WHERE id = {int}",
    "INSERT INTO leaf VALUES ({int}, {int?})",
    "INSERT INTO whole VALUES ({int}, {text})",
    "UPDATE whole SET a = {int} WHERE a = {int}",
    "DELETE FROM whole WHERE a = {int}",
]


SEED = [
    "INSERT INTO item (id, name, email, n) SELECT i, 'x', chr(96 + i), i FROM generate_series(1, 5) i ON CONFLICT DO NOTHING",
    "INSERT INTO code (id, n) VALUES ('%s', 1), ('%s', 2) ON CONFLICT DO NOTHING" % (UUIDS[0], UUIDS[1]),
    "INSERT INTO part (id, n) SELECT i, i FROM generate_series(1, 6) i ON CONFLICT DO NOTHING",
    "INSERT INTO old VALUES (1, 1), (2, 2) ON CONFLICT DO NOTHING",
    "INSERT INTO tree (id, up) VALUES (1, NULL), (2, 1), (3, 2), (4, 1) ON CONFLICT DO NOTHING",
    "INSERT INTO leaf VALUES (1, 2), (2, 3), (3, 1) ON CONFLICT DO NOTHING",
    "INSERT INTO whole VALUES (1, 'a'), (2, 'b')",
]


def fill(rng, templates):
    form, text = rng.choice(templates), Text(rng)
    table, column, kind = rng.choice(COLUMNS)
    numbered = rng.choice(["item", "serial", "part", "old"])
    parts = {"table": table, "column": column, "numbered": numbered}
    out = ""
    while form:  # in their order, so that parameters are numbered in it
        before, brace, form = form.partition("{")
        out += before
        if not brace:
            break
        word, _, form = form.partition("}")
        if word == "condition":
            out += text.condition(column, kind, numbered=table != "leaf")
        elif word == "aliased":
            out += text.condition(column, kind, "t.", table != "leaf")
        elif word == "numbered_condition":
            out += text.condition("id", "int")
        elif word == "condition_item":
            out += text.condition("id", "int")
        elif word in parts:
            out += parts[word]
        else:
            out += text.value(word.rstrip("?"), 0.2 if word.endswith("?") else 0.0)
    return out, tuple(text.bound or ())


@test("what is kept by its rows is what PostgreSQL answers, whatever was written")
def random_writes():
    rng = random.Random(11)
    kept = Kept()
    held = writes = refused = 0
    for step in range(120):
        if step % 10 == 0:  # so that there is something to write
            for sql in SEED:
                kept.write(sql)
        for _ in range(4):
            kept.read(*fill(rng, READS))
        refused += bool(kept.write(*fill(rng, WRITES)))
        writes += 1
        for sql, values in list(kept.answers):
            held += kept.check(sql, values)
    print("# %d writes (%d refused) ended %d answers; kept ones were right %d times" % (writes, refused, kept.ended, held))
    assert held > 1000 and kept.ended > 100, (held, kept.ended)


def ends(read, write, values=()):
    """Does the write end the read?"""
    kept = Kept()
    kept.read(read, values)
    kept.write(write)
    return not kept.check(read, values)


@test("a write of other rows ends no read by its key")
def precise():
    pg.execute("TRUNCATE item, serial, part; INSERT INTO item (id, email) VALUES (1, 'a'), (2, 'b'); INSERT INTO part VALUES (1, 1), (7, 7)")
    pg.execute("INSERT INTO serial (id, n) VALUES (5000, 1)")
    for read, write, ended in (
        ("SELECT * FROM item WHERE id = 1", "UPDATE item SET n = 5 WHERE id = 2", False),
        ("SELECT * FROM item WHERE id = 1", "UPDATE item SET n = 5 WHERE id = '1'", True),
        ("SELECT * FROM item WHERE email = 'a'", "UPDATE item SET n = 6 WHERE email = 'b'", False),
        ("SELECT * FROM item WHERE email = 'a'", "UPDATE item SET n = 6 WHERE id = 2", True),  # not told whose email
        ("SELECT * FROM item WHERE id = 1", "INSERT INTO item (id) VALUES (3)", False),
        ("SELECT count(*) FROM item", "UPDATE item SET n = 7 WHERE id = 2", True),
        ("SELECT * FROM part WHERE id = 1", "UPDATE part SET n = 9 WHERE id = 7", False),
        ("SELECT * FROM part WHERE id = 1", "UPDATE part_low SET n = 9 WHERE id = 1", True),
        ("SELECT * FROM part_low WHERE id = 1", "UPDATE part SET n = 3 WHERE id = 1", True),
        ("SELECT * FROM serial WHERE id = 5000", "INSERT INTO serial (n) VALUES (2)", False),
        ("SELECT * FROM serial WHERE id = 6000", "INSERT INTO serial (n) VALUES (2)", True),  # it might have been that
        ("SELECT count(*) FROM serial WHERE id = 5000", "INSERT INTO serial (n) VALUES (2)", True),
    ):
        equal(ends(read, write), ended, "%s / %s" % (read, write))
    equal(ends("SELECT * FROM item WHERE id = $1", "UPDATE item SET n = 8 WHERE id = 2", (b"1",)), False)
    equal(ends("SELECT * FROM item WHERE id = $1", "UPDATE item SET n = 8 WHERE id = 1", (b"1",)), True)


main()
