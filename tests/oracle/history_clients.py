"""
Clients of a history: what they write, what they read, and how they do so. Each has a session through the host; rows
come in families, by what stands between the table that is written and the one that is read.
"""

import random
import socket
import threading

import pgwire
from history import ABORTED, UNKNOWN

ROWS = 8
BULK_ROWS = 20
ACCOUNTS, BALANCE = 6, 100

SETUP = """
CREATE FUNCTION make(name text, more text DEFAULT '') RETURNS void LANGUAGE plpgsql AS $$BEGIN
  EXECUTE format('CREATE TABLE %%I (id int PRIMARY KEY, v int NOT NULL, w text NOT NULL) %%s', name, more); END$$;
SELECT make('plain'), make('source'), make('mirror'), make('parted', 'PARTITION BY LIST (id)'), make('under'),
  make('called'), make('bulk');
CREATE VIEW seen AS SELECT * FROM plain WHERE id >= 0; CREATE VIEW seen_again AS SELECT id, v, w FROM seen;
CREATE FUNCTION reflect() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN UPDATE public.mirror SET v = NEW.v, w = NEW.w WHERE id = NEW.id; RETURN NULL; END$$;
CREATE TABLE parent (id int PRIMARY KEY, v int, w text, tag text UNIQUE);
CREATE TABLE child (id int PRIMARY KEY, tag text REFERENCES parent (tag) ON UPDATE CASCADE);
CREATE TABLE part_even PARTITION OF parted FOR VALUES IN (0, 2, 4, 6); CREATE TABLE part_odd PARTITION OF parted DEFAULT;
CREATE VIEW over AS SELECT * FROM under;
INSERT INTO plain SELECT i, 0, 'first' FROM generate_series(0, %(last)d) i;
INSERT INTO source TABLE plain; INSERT INTO mirror TABLE plain; INSERT INTO parted TABLE plain;
INSERT INTO under TABLE plain; INSERT INTO called TABLE plain;
INSERT INTO parent SELECT id, v, w, id || ':0:first' FROM plain; INSERT INTO child SELECT id, tag FROM parent;
INSERT INTO bulk SELECT i, 0, 'first' FROM generate_series(1, %(bulk)d) i;
CREATE TRIGGER reflect AFTER UPDATE ON source FOR EACH ROW EXECUTE FUNCTION reflect();
CREATE FUNCTION bump(key int, token text) RETURNS int LANGUAGE sql AS
  $$UPDATE public.called SET v = v + 1, w = $2 WHERE id = $1 RETURNING v$$;
CREATE PROCEDURE bump_too(key int, token text, INOUT version int) LANGUAGE plpgsql AS
  $$BEGIN UPDATE public.called SET v = v + 1, w = token WHERE id = key RETURNING v INTO version; END$$;
CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);
INSERT INTO account SELECT i, %(balance)d FROM generate_series(1, %(accounts)d) i;
CREATE TABLE guarded (id int); INSERT INTO guarded VALUES (1); GRANT SELECT ON guarded TO other;
DO $$DECLARE t text; BEGIN FOR t IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
  AND relkind IN ('r', 'p', 'v') LOOP EXECUTE format('ALTER TABLE %%I OWNER TO app', t); END LOOP; END$$;
ALTER FUNCTION bump OWNER TO app; ALTER PROCEDURE bump_too OWNER TO app; ALTER FUNCTION reflect OWNER TO app;
GRANT ALL ON SCHEMA public TO app
""" % {"last": ROWS - 1, "bulk": BULK_ROWS, "accounts": ACCOUNTS, "balance": BALANCE}

# By family: how a row is written (with its new version as the answer), and how it is read. In the order in which a
# transaction locks them.
UPDATE = "UPDATE %s SET v = v + 1, w = '{w}' WHERE id = {id} RETURNING v"
SLOW = " AND (SELECT count(*) FROM generate_series(1, 10000)) > 0"
FAMILIES = {
    "plain": (
        (
            UPDATE % "plain",
            UPDATE % "plain",
            UPDATE % "seen_again",
            "INSERT INTO plain VALUES ({id}, 0, '') ON CONFLICT (id) DO UPDATE SET v = plain.v + 1, w = '{w}' RETURNING v",
            "WITH x AS (UPDATE plain SET v = v + 1, w = '{w}' WHERE id = {id} RETURNING v) SELECT v FROM x",
        ),
        (
            "SELECT v, w FROM plain WHERE id = {id}",
            "SELECT v, w FROM plain WHERE id = {id}",
            "SELECT v, w FROM seen_again WHERE id = {id}",
            "SELECT v, w FROM plain WHERE id = {id}" + SLOW,
        ),
    ),
    "mirror": (
        (UPDATE % "source",),
        (
            "SELECT v, w FROM mirror WHERE id = {id}",
            "SELECT v, w FROM source WHERE id = {id}",
            "SELECT s.v, s.w FROM source s JOIN mirror m ON m.id = s.id AND m.v = s.v AND m.w = s.w WHERE s.id = {id}",
        ),
    ),
    "cascade": (
        ("UPDATE parent SET v = v + 1, w = '{w}', tag = id || ':' || v + 1 || ':' || '{w}' WHERE id = {id} RETURNING v",),
        ("SELECT split_part(tag, ':', 2), split_part(tag, ':', 3) FROM child WHERE id = {id}",),
    ),
    "parts": (
        (UPDATE % "parted", UPDATE % "part_{part}"),
        ("SELECT v, w FROM parted WHERE id = {id}", "SELECT v, w FROM part_{part} WHERE id = {id}"),
    ),
    "view": (
        (UPDATE % "over",),
        ("SELECT v, w FROM under WHERE id = {id}", "SELECT v, w FROM over WHERE id = {id}"),
    ),
    "function": (
        ("SELECT bump({id}, '{w}')", "CALL bump_too({id}, '{w}', NULL)"),
        ("SELECT v, w FROM called WHERE id = {id}",),
    ),
}
FAMILY_NAMES = list(FAMILIES)

# One client in so many calls functions; of one that has, settings are not known any more, and all that it reads goes to
# the server.
CALLERS = 4

BULK = ("bulk", 0)

# Of a server or a session that was ended on purpose, or a statement that was; of what cannot be serialized.
EXPECTED = ("57P01", "57P02", "57P03", "57014", "08006", "08003", "08000", "40001", "40P01", "55P03")


class Lost(Exception):
    """The connection is gone, or the server behind it."""


class Client(threading.Thread):
    """One of them; `share` is what all have in common."""

    def __init__(self, share, number):
        super().__init__(name="client %d" % number, daemon=True)
        self.share = share
        self.ledger = share.ledger
        self.rng = random.Random("history %d %d" % (share.seed, number))
        self.number = number
        self.calls = number % CALLERS == 0
        self.host = share.hosts[number % len(share.hosts)]
        self.count = 0
        self.wire = self.other = None
        self.prepared = {}
        self.failure = None

    def run(self):
        try:
            while self.share.go_on():
                try:
                    self._operation()
                except Lost:
                    self._leave()
                self.share.done += 1
        except Exception as e:  # told by whoever waits for this thread
            self.failure = e
        finally:
            self._leave()

    # --- the connection ---

    def _leave(self):
        for wire in (self.wire, self.other):
            if wire:
                wire.close()
        self.wire = self.other = None
        self.prepared = {}

    def _connect(self, user="app", secret="secret"):
        while True:
            try:
                return self.host.wire(user, "shop", secret)
            except (pgwire.WireError, pgwire.WireClosed, OSError):
                if not self.share.go_on():
                    raise Lost from None

    def _exchange(self, *messages, ready=1):
        """Everything up to the end; its first error, or None, and its rows as text."""
        if not self.wire:
            self.wire = self._connect()
        try:
            heard = self.wire.exchange(*messages, ready=ready, timeout=self.share.patience)
        except socket.timeout:
            raise AssertionError("no answer within %s s to %r" % (self.share.patience, messages)) from None
        except (pgwire.WireClosed, OSError):
            raise Lost from None
        error = next((m.fields()["C"] for m in heard if m.type == "E"), None)
        if error and error not in EXPECTED:
            raise AssertionError("%s to %r" % ([m.fields() for m in heard if m.type == "E"], messages))
        return error, [[v if v is None else v.decode() for v in m.row()] for m in heard if m.type == "D"]

    def _messages(self, sql, row=None, token=""):
        """One of the ways in which clients send it."""
        if self.rng.random() < 0.3:
            return pgwire.query(self._fill(sql, row, token))
        values = [str(row[1])] * ("{id}" in sql) + [token] * ("{w}" in sql) if row else []
        sql = self._fill(sql.replace("{id}", "$1").replace("'{w}'", "$2"), row)
        name, parse = "", b""
        if self.rng.random() < 0.5:
            name = self.prepared.get(sql, "s%d" % len(self.prepared))
        if not name or sql not in self.prepared:
            parse = pgwire.parse(name, sql)
        if name:
            self.prepared[sql] = name
        described = pgwire.describe("P") if self.rng.random() < 0.7 else b""
        return parse + pgwire.bind("", name, values) + described + pgwire.execute() + pgwire.sync()

    # --- what is done ---

    def _operation(self):
        ways = (
            (self._read, 100 - self.share.writes),
            (self._read_sum, 6),
            (self._read_bulk, 6),
            (self._read_guarded, 3),
            (self._write_alone, self.share.writes * 0.4),
            (self._write_block, self.share.writes * 0.4),
            (self._transfer, self.share.writes * 0.1),
            (self._write_bulk, self.share.writes * 0.03),
            (self._two_phase, self.share.writes * 0.05),
            (self._cancelled, self.share.writes * 0.02),
            (self._walk_off, self.share.writes * 0.01),
            (self._turn, self.share.writes * 0.02),
        )
        self.rng.choices(*zip(*ways))[0]()

    def _some_row(self, to_write=False):
        family = self.rng.choice(FAMILY_NAMES)
        if to_write and family == "function" and not self.calls:
            family = "plain"
        return family, int(ROWS * self.rng.random() ** 2)

    @staticmethod
    def _fill(sql, row, token=""):
        return sql.format(id=row[1], w=token, part="odd" if row[1] % 2 else "even") if row else sql

    def _write_text(self, row, token):
        return self._fill(self.rng.choice(FAMILIES[row[0]][0]), row, token)

    def _write_messages(self, row, token):
        return self._messages(self.rng.choice(FAMILIES[row[0]][0]), row, token)

    def _token(self):
        self.count += 1
        token = "c%dn%d" % (self.number, self.count)
        self.ledger.issue(token)
        return token

    # --- reads ---

    def _read(self):
        self._check_read(self._some_row())

    def _check_read(self, row, own=None):
        """Returns whether there was an answer; `own` is what this transaction has written into it."""
        sql = self.rng.choice(FAMILIES[row[0]][1])
        floor = self.ledger.floor(row, self.host)
        error, rows = self._exchange(self._messages(sql, row))
        if error:
            return None
        if len(rows) != 1:
            self.ledger.fail("%s gives %r" % (sql, rows))
            return None
        version, token = int(rows[0][0]), rows[0][1]
        if not own:
            self.ledger.read(row, floor, version, token, sql)
        elif own != (version, token):
            self.ledger.fail("%s gives %r, and not its transaction's own %r" % (sql, rows[0], own))
        return version, token

    def _read_sum(self):
        sql = self.rng.choice(("SELECT sum(balance), count(*) FROM account", "SELECT balance, 1 FROM account ORDER BY id"))
        error, rows = self._exchange(self._messages(sql))
        total = [sum(int(r[n]) for r in rows) for n in (0, 1)]
        if not error and total != [ACCOUNTS * BALANCE, ACCOUNTS]:
            self.ledger.fail("%s gives %r: torn" % (sql, rows))
        self.ledger.counts["reads"] += 1

    def _read_bulk(self):
        floor = self.ledger.floor(BULK, self.host)
        sql = "SELECT count(*), min(v), max(v), min(w), max(w) FROM bulk"
        error, rows = self._exchange(self._messages(sql))
        if error:
            return
        count, least, most, w, last = rows[0]
        if (count, least, w) != (str(BULK_ROWS), most, last):
            self.ledger.fail("%s gives %r: torn" % (sql, rows))
        else:
            self.ledger.read(BULK, floor, int(least), w, sql)

    def _read_guarded(self):
        """By one who may, or may not."""
        if not self.other:
            self.other = self._connect("other", "other-secret")
        done = self.share.grant.known()
        try:
            heard = self.other.exchange(pgwire.query("SELECT id FROM guarded"), timeout=self.share.patience)
        except (pgwire.WireClosed, OSError) as e:
            raise Lost from e
        error = next((m.fields()["C"] for m in heard if m.type == "E"), None)
        if error in (None, "42501") and not self.share.grant.possible(done, error is None):
            self.ledger.fail("a privilege is %s, and a read got %s" % ("revoked" if done % 2 else "granted", error))

    # --- writes ---

    def _write_alone(self):
        row, token = self._some_row(True), self._token()
        error, rows = self._unless_lost([token], self._write_messages(row, token))
        if error:
            self.ledger.ended(token, ABORTED if error in ("57014", "40001", "40P01", "55P03") else UNKNOWN)
        else:
            self.ledger.committed(row, int(rows[0][0]), token, self.host)

    def _unless_lost(self, tokens, *messages, ready=1):
        """An exchange of which nobody can say what has come of it, if it gets no answer."""
        try:
            return self._exchange(*messages, ready=ready)
        except Lost:
            for token in tokens:
                self.ledger.ended(token, UNKNOWN)
            raise

    def _within(self, tokens, *messages):
        """An exchange within a transaction: whatever fails, it is aborted. Returns the rows, or None."""
        try:
            error, rows = self._exchange(*messages)
        except Lost:
            for token in tokens:
                self.ledger.ended(token, ABORTED)
            raise
        if not error:
            return rows
        for token in tokens:
            self.ledger.ended(token, ABORTED)
        self._exchange(pgwire.query("ROLLBACK"))
        return None

    def _change_some(self, written):
        """Changes rows in the open transaction; `written` gets their tokens and versions. Returns whether it still runs."""
        rows = {self._some_row(True) for _ in range(self.rng.randint(1, 3))}
        for row in sorted(rows, key=lambda r: (FAMILY_NAMES.index(r[0]), r[1])):
            if self.rng.random() < 0.15 and not self._change_and_take_back(written, row):
                return False
            token = self._token()
            answer = self._within(
                [t for _, t in written.values()] + [token], self._write_messages(row, token)
            )
            if answer is None:
                return False
            written[row] = int(answer[0][0]), token
        return True

    def _change_and_take_back(self, written, row):
        token = self._token()
        tokens = [t for _, t in written.values()] + [token]
        for sql in ("SAVEPOINT s", self._write_text(row, token), "ROLLBACK TO s"):
            if self._within(tokens, pgwire.query(sql)) is None:
                return False
        self.ledger.ended(token, ABORTED)
        return True

    def _write_block(self):
        begin = self.rng.choice(("BEGIN",) * 4 + ("BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"))
        written = {}
        if self._within([], pgwire.query(begin)) is None or not self._change_some(written):
            return
        tokens = [t for _, t in written.values()]
        if self.rng.random() < 0.5:
            row = self.rng.choice(list(written))
            try:
                seen = self._check_read(row, written[row])
            except Lost:
                seen = None
                for token in tokens:
                    self.ledger.ended(token, ABORTED)
                raise
            if not seen:
                for token in tokens:
                    self.ledger.ended(token, ABORTED)
                self._exchange(pgwire.query("ROLLBACK"))
                return
        self._end_block(written, tokens)

    def _end_block(self, written, tokens):
        if self.rng.random() < 0.2:
            for token in tokens:
                self.ledger.ended(token, ABORTED)
            self._exchange(self._messages("ROLLBACK"))
            return
        error, _ = self._unless_lost(tokens, self._messages("COMMIT"))
        for row, (version, token) in written.items():
            if not error:
                self.ledger.committed(row, version, token, self.host)
            else:
                self.ledger.ended(token, ABORTED if error == "40001" else UNKNOWN)

    def _two_phase(self):
        if not self.share.may_define(self.host):  # what COMMIT PREPARED has done may be anything
            return
        gid, written = "g%dn%d" % (self.number, self.count), {}
        if self._within([], pgwire.query("BEGIN")) is None or not self._change_some(written):
            return
        tokens = [t for _, t in written.values()]
        error, _ = self._unless_lost(tokens, pgwire.query("PREPARE TRANSACTION '%s'" % gid))
        if error:
            self._finish(gid)
            return
        if self.rng.random() < 0.3:
            self._read()
        end = self.rng.choice(("COMMIT", "COMMIT", "ROLLBACK"))
        self._leave()  # somebody else ends it
        while True:
            try:
                error, _ = self._exchange(pgwire.query("%s PREPARED '%s'" % (end, gid)))
            except Lost:
                self._leave()
                self._finish(gid)
                return
            if not error:
                break
        for row, (version, token) in written.items():
            if end == "COMMIT":
                self.ledger.committed(row, version, token, self.host)
            else:
                self.ledger.ended(token, ABORTED)

    def _finish(self, gid):
        """Nobody knows what has come of it; but it must not keep its locks."""
        self.share.roll_back_prepared(gid)

    def _cancelled(self):
        """A transaction whose statement is cancelled, and one that races with it."""
        row, token = self._some_row(True), self._token()
        if self._within([token], pgwire.query("BEGIN; " + self._write_text(row, token))) is None:
            return
        racing = threading.Timer(self.rng.random() * 0.01, self._cancel, (self.wire.backend_pid, self.wire.backend_key))
        racing.start()
        try:
            if self._within([token], pgwire.query("SELECT pg_sleep(0.005)")) is not None:
                self._undo(token)
        finally:
            racing.join()

    def _undo(self, token):
        self.ledger.ended(token, ABORTED)
        self._exchange(pgwire.query("ROLLBACK"))

    def _cancel(self, pid, key):
        try:
            with socket.create_connection(("127.0.0.1", self.host.port), 5) as s:
                s.sendall(pgwire.cancel_request(pid, key))
                s.recv(1)
        except OSError:
            pass

    def _walk_off(self):
        """Leaves in mid-transaction, or right behind COMMIT."""
        row, token = self._some_row(True), self._token()
        sql = self._write_text(row, token)
        what = self.rng.randrange(3)
        if what < 2 and self._within([token], pgwire.query("BEGIN; " + sql)) is None:
            return
        self.ledger.ended(token, ABORTED if what == 0 else UNKNOWN)
        try:
            if not self.wire:
                self.wire = self._connect()
            if what:
                self.wire.send(pgwire.query("COMMIT" if what == 1 else sql))
            self.wire.reset() if self.rng.random() < 0.5 else self.wire.close()
        except OSError:
            pass
        self.wire = None
        self._leave()

    def _transfer(self):
        a, b = sorted(self.rng.sample(range(1, ACCOUNTS + 1), 2))
        move = "UPDATE account SET balance = balance %+d WHERE id = %d"
        amount = self.rng.randint(-9, 9)
        statements = ["BEGIN", move % (amount, a), move % (-amount, b), self.rng.choice(("COMMIT", "COMMIT", "ROLLBACK"))]
        if self.rng.random() < 0.3:
            self._exchange(*(pgwire.query(sql) for sql in statements), ready=4)
            self._exchange(pgwire.query("ROLLBACK"))
            return
        for sql in statements:
            if self._within([], self._messages(sql)) is None:
                return

    def _write_bulk(self):
        with self.share.bulk_lock:
            token = self._token()
            version = self.share.bulk_version + 1
            fill = "INSERT INTO bulk SELECT i, %d, '%s' FROM generate_series(1, %d) i" % (version, token, BULK_ROWS)
            empty = self.rng.choice(("TRUNCATE bulk", "DELETE FROM bulk"))
            if self.rng.random() < 0.5 and self.share.may_define(self.host):
                empty = "DROP TABLE bulk; CREATE TABLE bulk (id int PRIMARY KEY, v int, w text)"
            for sql in ("BEGIN", empty, fill):
                if self._within([token], pgwire.query(sql)) is None:
                    return
            if self.rng.random() < 0.1:
                self._undo(token)
                return
            self.share.bulk_version = version
            error, _ = self._unless_lost([token], pgwire.query("COMMIT"))
            if not error:
                self.ledger.committed(BULK, version, token, self.host)
            else:
                self.ledger.ended(token, UNKNOWN)

    def _turn(self):
        if not self.share.may_define(self.host):
            return

        def change(on):
            sql = "GRANT SELECT ON guarded TO other" if on else "REVOKE SELECT ON guarded FROM other"
            while True:  # done again it is the same
                try:
                    if not self._exchange(pgwire.query(sql))[0]:
                        return
                except Lost:
                    self._leave()

        self.share.grant.turn(change)
