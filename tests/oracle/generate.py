"""
Makes up sessions at random. A seed and a mode make the same session each time, whatever comes back.

In transaction mode nothing is made up that this mode does not promise: state of the session beside what PostgreSQL
reports, the startup packet's settings and prepared statements of the protocol.
"""

import random

from script import AGAIN, MOVE, Script

INT4 = 23

NAMES = ("a", "b", "c")
# Of statements that begin or end something, and of EXECUTE itself: what PostgreSQL 15 itself may die of when they are
# run by EXECUTE.
BLOCK_NAME = "block"
TABLES = ("item", "t0", "t1")

STARTUPS = (
    {},
    {},
    {},
    {"DateStyle": "German", "application_name": "at start"},
    {"options": "-c work_mem=5MB -c TimeZone=America/New_York"},
    {"options": "-c search_path=public,pg_catalog", "client_encoding": "LATIN1"},
)

# Statements by what they are about. {n}: a number; {name}, {table}: one of a few.
READS = (
    "SELECT {n}, 'text {n}', NULL",
    "SELECT * FROM item WHERE id = {n}",
    "SELECT * FROM {table} ORDER BY 1, 2",
    "SELECT id, name FROM item WHERE id < {n} ORDER BY id",
    "SELECT i FROM generate_series(1, {small}) i",
    "SELECT repeat('x', {small} * 3000)",
    "SELECT count(*) FROM {table}",
    "VALUES ({n}, 'v'), (2, 'w')",
    "TABLE t0 ORDER BY 1, 2",
    "SELECT DATE '2001-02-03', TIMESTAMPTZ '2001-02-03 04:05:06Z', INTERVAL '1 day 2 hours'",
    "SHOW application_name",
    "SHOW TimeZone",
    "EXPLAIN (COSTS OFF) SELECT * FROM item WHERE id = {n}",
    "",
    "-- a comment",
)
WRITES = (
    "INSERT INTO item VALUES ({n}, 'again', {n}) RETURNING id",
    "INSERT INTO t0 VALUES ({n}, 'new')",
    "INSERT INTO t1 VALUES ({n}, 'neu') ON CONFLICT (a) DO UPDATE SET b = 'alt' RETURNING *",
    "UPDATE item SET amount = amount + 1 WHERE id BETWEEN {n} AND {n} + 3",
    "UPDATE t0 SET b = b || '!' WHERE a = {small} RETURNING a",
    "DELETE FROM item WHERE id = {n}",
    "WITH gone AS (DELETE FROM t0 WHERE a = {n} RETURNING *) SELECT count(*) FROM gone",
    "MERGE INTO t1 USING (VALUES ({n})) v (x) ON a = x"
    " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (x)",
    "TRUNCATE t0",
    "NOTIFY channel_{name}, 'note {n}'",
)
ERRORS = (
    "SELECT 10 / {zero}",
    "SELECT * FROM not_there_{small}",
    "SELEC {n}",
    "SELECT 'x{n}'::int",
    "INSERT INTO item VALUES (1, 'double', 1)",
    "SELECT nothing(1)",
    "SELECT a FROM t0 WHERE nowhere = 1",
    "SET DateStyle = 'Nowhen'",
    "SET TimeZone = 'Nowhere/Land'",
    "FETCH 1 FROM not_open",
    "COMMIT PREPARED 'none'",
    "VACUUM t0, not_there",
)
SCHEMA = (
    "ALTER TABLE t0 ADD COLUMN IF NOT EXISTS c{small} int",
    "ALTER TABLE t0 DROP COLUMN IF EXISTS c{small}",
    "ALTER TABLE t1 ALTER COLUMN b TYPE varchar(30)",
    "ALTER TABLE t1 ALTER COLUMN b TYPE text",
    "DROP TABLE IF EXISTS t0; CREATE TABLE t0 (a int, b text)",
    "DROP TABLE IF EXISTS t0; CREATE TABLE t0 (b text, a bigint)",
    "DROP TABLE IF EXISTS t0",
    "CREATE TABLE IF NOT EXISTS t0 (a int, b text)",
    "CREATE INDEX IF NOT EXISTS by_b ON t0 (b)",
    "CREATE OR REPLACE VIEW seen AS SELECT id FROM item",
    "SELECT count(*) FROM seen",
)
BLOCKS = (
    "BEGIN",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "SAVEPOINT {name}",
    "SAVEPOINT {name}",
    "ROLLBACK TO {name}",
    "RELEASE {name}",
)
BLOCK_WORDS = {text.split(" ")[0] for text in BLOCKS} | {"EXECUTE", "DEALLOCATE"}
CURSORS = (
    "DECLARE cursor_{name} CURSOR FOR SELECT id FROM item ORDER BY id",
    "DECLARE cursor_{name} SCROLL CURSOR FOR SELECT * FROM t0 ORDER BY 1, 2",
    "FETCH 3 FROM cursor_{name}",
    "FETCH BACKWARD 1 FROM cursor_{name}",
    "MOVE 2 IN cursor_{name}",
    "CLOSE cursor_{name}",
    "FETCH 1 FROM p",
    "CLOSE p",
    "CLOSE ALL",
)
REPORTED = (
    "SET application_name = 'app {n}'",
    "SET TimeZone = '{zone}'",
    "SET LOCAL DateStyle = 'German'",
    "SET DateStyle = 'SQL, DMY'",
    "SET IntervalStyle = 'iso_8601'",
    "SELECT set_config('application_name', 'configured {n}', {bool})",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
)
# Each a Query of its own: what follows in the same text or batch sees the server's value, not the startup packet's.
RESETS = (
    "RESET application_name",
    "RESET work_mem",
    "SET TimeZone TO DEFAULT",
    "RESET ALL",
    "DISCARD ALL",
    "RESET DateStyle",
)
NAMED = ("EXECUTE {name}", "EXECUTE {name}", "EXECUTE {name} ({n})", "DEALLOCATE {name}", "DEALLOCATE ALL")
SEQUENCES = (
    "SELECT nextval('counter')",
    "SELECT setval('counter', 70)",
    "INSERT INTO serial (t) VALUES ('x') RETURNING id",
)

# What only a kept server has.
SETTINGS = (
    "SET work_mem = '{small}MB'",
    "SET work_mem = '{small}MB'",
    "SHOW work_mem",
    "SELECT current_setting('work_mem'), current_setting('role'), current_user",
    "SET LOCAL work_mem = '{small}MB'",
    "SELECT set_config('work_mem', '{small}MB', {bool})",
    "SET my.thing = 'thing {n}'",
    "SELECT coalesce(current_setting('my.thing', true), '')",
    "SET ROLE clerk",
    "RESET ROLE",
    "SET search_path = pg_catalog, public",
    "SHOW search_path",
    "SET lock_timeout = '101ms'",
)
KEPT = (
    "CREATE TEMP TABLE IF NOT EXISTS temp_{name} (a int)",
    "INSERT INTO temp_{name} VALUES ({n})",
    "SELECT * FROM temp_{name} ORDER BY a",
    "DROP TABLE IF EXISTS temp_{name}",
    "DISCARD TEMP",
    "DECLARE held_{name} CURSOR WITH HOLD FOR SELECT id FROM item ORDER BY id",
    "FETCH 2 FROM held_{name}",
    "CLOSE held_{name}",
    "LISTEN channel_{name}",
    "UNLISTEN channel_{name}",
    "UNLISTEN *",
    "SELECT pg_try_advisory_lock({small})",
    "SELECT pg_advisory_unlock({small})",
    "SELECT pg_advisory_unlock_all()",
    "PREPARE {name} AS SELECT {n}",
    "PREPARE {name} (int) AS SELECT * FROM t0 WHERE a = $1 ORDER BY 1, 2",
    "PREPARE {name} AS INSERT INTO t0 VALUES ({n}, 'prepared')",
    "DO $$ BEGIN RAISE NOTICE 'note {n}'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'own {n}' USING ERRCODE = 'ZZ001', HINT = 'a hint'; END $$",
)
ASKING = ("SELECT lastval()", "SELECT currval('counter')", "SELECT currval('serial_id_seq')", "DISCARD SEQUENCES")

# With parameters: text, and types of the parameters as far as they are told.
WITH_VALUES = (
    ("SELECT $1::int + {n}", [INT4]),
    ("SELECT $1::int + {n}", []),
    ("SELECT name FROM item WHERE id = $1", []),
    ("SELECT * FROM t0 WHERE a = $1 ORDER BY 1, 2", []),
    ("UPDATE t0 SET b = 'bound' WHERE a = $1", []),
    ("INSERT INTO t0 VALUES ($1, 'bound') RETURNING *", [INT4]),
    ("SELECT $1::text || 'x'", []),
    ("SELECT i FROM generate_series(1, $1) i", [INT4]),
)

# FunctionCall: int4pl, abs, division that may fail.
CALLS = ((177, ["{n}", "2"]), (1397, ["{n}"]), (154, ["7", "{zero}"]), (0, []))


def generate(mode, seed, steps):
    return _Maker(mode, random.Random("%s %d" % (mode, seed)), steps).script()


class _Maker:
    def __init__(self, mode, rng, steps):
        self.rng = rng
        self.kept = mode != "transaction"
        self.count = steps
        self.mode = mode
        self.clients = rng.choice((1, 2, 2, 3))
        self.asking = mode == "auto" and rng.random() < 0.3
        self.in_block = set()
        self.startup = {c: dict(rng.choice(STARTUPS)) for c in range(self.clients)}
        kinds = [(READS, 30), (WRITES, 15), (ERRORS, 8), (SCHEMA, 7), (BLOCKS, 18), (CURSORS, 8), (REPORTED, 6)]
        kinds += [(NAMED, 8), (SEQUENCES, 2)]
        if self.kept:
            kinds += [(SETTINGS, 10), (KEPT, rng.choice((0, 4, 20)))]
        if self.asking or mode == "session":
            kinds.append((ASKING, 6))
        self.kinds, self.weights = zip(*kinds)

    def script(self):
        steps = []
        while len(steps) < self.count:
            steps += self._steps()
        return Script(steps, self.startup, self.asking, (self.mode,))

    # --- texts ---

    def _fill(self, text):
        rng = self.rng
        return text.format(
            n=rng.randint(-2, 30),
            small=rng.randint(1, 5),
            zero=rng.choice((0, 1, 2)),
            name=rng.choice(NAMES),
            table=rng.choice(TABLES),
            zone=rng.choice(("UTC", "Asia/Tokyo")),
            bool=rng.choice(("true", "false")),
        )

    def _statement(self):
        return self._fill(self.rng.choice(self.rng.choices(self.kinds, self.weights)[0]))

    def _single(self):
        """One statement that is no text of several."""
        while True:
            text = self._statement()
            if "; C" not in text:
                return text

    def _text(self):
        if self.rng.random() < 0.06:
            return self.rng.choice(RESETS)
        return "; ".join(self._statement() for _ in range(self.rng.choice((1, 1, 1, 1, 2, 3))))

    # --- messages ---

    def _name(self):
        return self.rng.choice(("",) + NAMES + NAMES + (BLOCK_NAME,))

    @staticmethod
    def _name_for(text, name):
        return BLOCK_NAME if name and text.split(" ")[0] in BLOCK_WORDS else name

    def _parse(self, name, text, types=()):
        """As drivers do, most close a name before they give it again."""
        close = [["C", "S", name]] if name and self.rng.random() < 0.9 else []
        return close + [["P", name, text, list(types)]]

    def _with_values(self):
        text, types = self.rng.choice(WITH_VALUES)
        return self._fill(text), types

    def _values(self, most=1):
        value = self.rng.choice([str(self.rng.randint(-1, 12))] * 8 + ["no number", None])
        return [value] * self.rng.choice((0,) + (1,) * (2 * most) + (2,) * (self.rng.random() < 0.1))

    def _bind(self, portal, name, values):
        formats = self.rng.choice(([], [], [], [1]))
        return ["B", portal, name, values, [], formats]

    def _run(self, portal, name, values):
        """Bind and Execute. One that may not be there is never described, nor the unnamed one run that an earlier
        batch has left: PostgreSQL 15 itself has died of both."""
        described = [["D", "P", portal]] if self.rng.random() < 0.5 else []
        return [self._bind(portal, name, values)] + described + [["E", portal, self.rng.choice((0, 0, 0, 1, 2))]]

    def _whole(self):
        """A statement as drivers send it."""
        text = self._single()
        name = self._name_for(text, self.rng.choice(("", "", self._name())))
        return self._parse(name, text) + [["B", "", name], ["D", "P", ""], ["E", "", 0]]

    def _part(self):
        """Some messages of a batch."""
        rng, name, portal = self.rng, self._name(), self.rng.choice(("", "", "p"))
        text, types = self._with_values()
        what = rng.randrange(11)
        if what < 2:
            return self._parse(name, text, types) + self._run(portal, name, self._values())
        if what == 2:
            text = self._single()
            return self._parse(self._name_for(text, name), text)
        if what == 3:
            return self._parse(name, text, types) + [["D", "S", name]]
        if what < 6:
            return self._run(portal, name, self._values())
        if what == 6:
            return self._run(portal, name, []) + [["E", portal, 1], ["C", "P", portal]]
        if what == 7:
            return [["D", "S", name]]
        if what == 8:
            return [["C", rng.choice("SP"), rng.choice((name, "p"))]]
        if what == 9:
            return [self._bind(portal, name, self._values())]
        return [["E", "p", rng.choice((0, 1))]]

    def _batch(self):
        parts = []
        for _ in range(self.rng.randint(1, 4)):
            parts += self._whole() if self.rng.random() < 0.5 else self._part()
        if self.rng.random() < 0.1:
            parts.insert(self.rng.randint(0, len(parts)), ["H"])
        return parts

    def _copied(self):
        rows = [["d", "%d\tcopied\n" % (1000 + i)] for i in range(self.rng.randint(0, 3))]
        if self.rng.random() < 0.2:
            rows.append(["d", "not a number\n"])
        return rows + [self.rng.choice((["c"], ["c"], ["c"], ["f", "no more"]))]

    # --- steps ---

    def _client(self):
        """Mostly one client has a transaction at a time: else all wait for locks."""
        if self.in_block and self.rng.random() < 0.7:
            return self.rng.choice(sorted(self.in_block))
        return self.rng.randrange(self.clients)

    def _steps(self):
        rng, client = self.rng, self._client()
        ways = (
            (self._query, 30),
            (self._pipeline, 36),
            (self._copy, 5),
            (self._copy_in_batch, 4),
            (self._flushed, 5),
            (self._call, 2),
            (self._transaction, 6),
            (self._end_of_block, 12 if client in self.in_block else 2),
        )
        if rng.random() < 0.2:
            return [(None, MOVE)]
        if rng.random() < 0.03:
            self.in_block.discard(client)
            return [(client, AGAIN)]
        steps = [(client, messages) for messages in rng.choices(*zip(*ways))[0]()]
        self._note_blocks(client, steps)
        return steps

    def _note_blocks(self, client, steps):
        for _, messages in steps:
            for m in messages:
                text = m[1] if m[0] == "Q" else m[2] if m[0] == "P" else ""
                if "BEGIN" in text or "START" in text:
                    self.in_block.add(client)
                elif "COMMIT" in text or "ROLLBACK" in text:
                    self.in_block.discard(client)

    def _query(self):
        return [[["Q", self._text()]]]

    def _pipeline(self):
        messages = []
        for _ in range(self.rng.choice((1, 1, 2, 4))):
            what = self.rng.random()
            if what < 0.2:
                messages += [["Q", self._text()]]
            elif what < 0.25:
                messages += self._batch() + [["Q", self._text()], ["S"]]
            else:
                messages += self._batch() + [["S"]]
        return [messages]

    def _copy(self):
        rng = self.rng
        if rng.random() < 0.4:
            return [[["Q", self._fill("COPY (SELECT id FROM item ORDER BY id LIMIT {small}) TO STDOUT")]]]
        table = rng.choice(("t0 (a, b)", "t0 (a, b)", "not_there"))
        text = "COPY %s FROM STDIN%s" % (table, rng.choice(("", "; SELECT 1")))
        data = self._copied()
        if rng.random() < 0.5:
            return [[["Q", text]] + data]
        return [[["Q", text]], data]

    def _copy_in_batch(self):
        what = ("t0 (a, b) FROM STDIN", "t0 FROM STDIN", "item TO STDOUT", "not_there FROM STDIN")
        text = "COPY " + self.rng.choice(what)
        start = self._parse("", text) + [["B", "", ""], ["E", "", 0]]
        if self.rng.random() < 0.5:
            start = self._whole() + start
        sync_in_it = [["S"]] if self.rng.random() < 0.2 else []
        return [start + sync_in_it + self._copied() + [["S"]]]

    def _flushed(self):
        return [self._batch() + [["H"]], self._batch() + [["H"]], [["S"]]]

    def _call(self):
        if not self.kept:
            return self._query()
        oid, values = self.rng.choice(CALLS)
        return [[["F", oid, [self._fill(v) for v in values]]]]

    def _transaction(self):
        """A whole one, in steps of their own."""
        steps = [[["Q", "BEGIN"]]]
        for _ in range(self.rng.randint(1, 3)):
            steps += self._query() if self.rng.random() < 0.5 else self._pipeline()
        return steps + self._end_of_block()

    def _end_of_block(self):
        text = self.rng.choice(("COMMIT", "ROLLBACK"))
        if self.rng.random() < 0.5:
            return [[["Q", text]]]
        return [[["P", "", text], ["B", "", ""], ["E", "", 0], ["S"]]]
