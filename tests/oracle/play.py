"""
Holds a session (script.py) with PostgreSQL itself and through howdahd, and compares every message that its clients see.

Forgiven is only what cannot be the same: keys for cancelling, numbers of processes and of objects made on each side;
where in PostgreSQL's source an error came up, since some are told by the host in PostgreSQL's words; and which of two
errors there is, where the wrong number of parameters is given to a statement that cannot run, either.
"""

import socket

import pgwire
import sides
from answers import Answers
from harness import wait_for
from script import AGAIN, MOVE, SETTLE, encode

SETUP = """
CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO app, clerk; SET search_path = public;
CREATE TABLE item (id int PRIMARY KEY, name text, amount numeric);
INSERT INTO item SELECT i, 'item ' || i, i / 7.0 FROM generate_series(1, 20) i;
CREATE TABLE t0 (a int, b text); INSERT INTO t0 VALUES (1, 'one'), (2, 'two');
CREATE TABLE t1 (a int PRIMARY KEY, b text); INSERT INTO t1 VALUES (1, 'eins');
CREATE TABLE serial (id serial, t text); CREATE SEQUENCE counter;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, clerk;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app, clerk;
ALTER TABLE t0 OWNER TO app; ALTER TABLE t1 OWNER TO app
"""

# So long a message may take. Nothing here takes longer than lock_timeout, but machines are busy.
PATIENCE = 60.0


# What stands for a message where none comes.
SILENCE = pgwire.Message("!", b"nothing more comes")
END = pgwire.Message("!", b"the connection ends")


class Differs(AssertionError):
    """The two sides have not said the same."""


class Unplayable(Exception):
    """PostgreSQL itself does not answer: the session is no conversation."""


# Who waits for another client's lock waits for ever, since one step follows the other; and no plan may depend on when a
# table was analyzed.
SETTINGS = {"lock_timeout": "100ms", "autovacuum": "off"}


def prepare(pg):
    """The server as sessions need it: a second database, which the direct side works in."""
    pg.execute("CREATE ROLE clerk; GRANT clerk TO app", "postgres")
    pg.execute("CREATE DATABASE twin TEMPLATE shop OWNER app", "postgres")


class Client:
    """One client of the session on one side; `number_of` tells that side's numbers of functions."""

    def __init__(self, connect, parameters, number_of):
        self.wire = connect(**parameters)
        self.number_of = number_of
        self.answers = Answers()
        self.notified = []

    def exchange(self, messages, patience):
        heard = []
        self.answers.sent(messages)
        try:
            self.wire.send(*(self._encode(m) for m in messages))
            while not self.answers.done():
                m = self.wire.recv(patience)
                self.answers.heard(m)
                if m.type == "A":
                    self.notified.append(m.body[4:])
                else:
                    heard.append(m)
        except socket.timeout:
            heard.append(SILENCE)
        except (pgwire.WireClosed, OSError):
            heard.append(END)
        return heard

    def _encode(self, message):
        if message[0] == "F" and isinstance(message[1], str):
            message = ["F", self.number_of(message[1])] + message[2:]
        return encode(message)

    def leave(self):
        self.wire.send(pgwire.terminate())
        self.wire.close()


SECRETS = {"app": "secret", "other": "other-secret", "howdah": "howdah-secret"}


class Stage:
    """Where sessions are played: a host, the server behind it, and the direct side, a database of that server."""

    def __init__(self, pg, host):
        self.pg = pg
        self.host = host
        self.oracle, self.oracle_database = pg, "twin"
        self.played = 0

    def direct(self, user="app", **parameters):
        return self.oracle.wire(user, self.oracle_database, SECRETS[user], **parameters)

    def through(self, database, user="app", **parameters):
        return self.host.wire(user, database, SECRETS[user], **parameters)

    def direct_number_of(self, function):
        return _number_of(self.oracle, function, self.oracle_database)

    def number_of(self, function):
        return _number_of(self.pg, function, "shop")

    def crashes(self):
        return self.oracle.log_text().count("terminated by signal")

    def settle(self):
        """Waits until the host has nothing left to do by itself: what it asks the server for templates' sake."""
        wait_for(lambda: not self.host.console("SHOW JOBS"), what="the host's jobs to end")

    def reset(self):
        """Both databases as at first, and no connections left of what was played before."""
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('shop', 'twin')"
        wait_for(lambda: not self.pg.execute(ending, "postgres"), what="earlier clients have left")
        for database in ("shop", "twin"):
            with self.pg.connect(database) as c:
                c.execute("SET lock_timeout = '10s'")
                c.execute("DROP SCHEMA IF EXISTS public CASCADE")
                c.execute(SETUP)

    def play(self, script, patience=PATIENCE):
        """Fails with Differs, or with Unplayable."""
        self.reset()
        self.played += 1
        # Under a name of its own the host has a pool of its own for it.
        play = Play(self, "s%d" % self.played, script, patience)
        try:
            play.run()
        finally:
            play.close()


def _number_of(pg, function, database):
    """0: there is none."""
    return pg.execute("SELECT coalesce(to_regprocedure('public.%s')::oid, 0)::int" % function, database)[0][0]


WRONG_NUMBER = ("42601", "08P01")
CANNOT_RUN = ("0A000", "42P01", "25P02")


def _forgiven(direct, through):
    """What came through, with the error that it should have where either is right."""
    same = list(through)
    for at, (a, b) in enumerate(zip(direct, through)):
        if a.type == b.type == "E" and a.fields()["C"] in WRONG_NUMBER and b.fields()["C"] in CANNOT_RUN:
            same[at] = a
    return same


class Play:
    """One session, held once."""

    def __init__(self, stage, database, script, patience):
        self.stage = stage
        self.database = database
        self.script = script
        self.patience = patience
        self.clients = {}  # by number: the direct one and the one through the host
        self.others = []
        self.crashes = stage.crashes()

    def _through(self, **parameters):
        return self.stage.through(self.database, **parameters)

    def _log_in(self, number):
        parameters = self.script.startup.get(number, {})
        pair = (
            Client(self.stage.direct, parameters, self.stage.direct_number_of),
            Client(self._through, parameters, self.stage.number_of),
        )
        if pair[0].wire.parameters != pair[1].wire.parameters:
            raise Differs(
                "client %d is told of other settings\n  direct  %r\n  through %r"
                % (number, pair[0].wire.parameters, pair[1].wire.parameters)
            )
        return pair

    def run(self):
        self.others = [self._through() for _ in range(2)]
        if self.script.asking:
            self.others[0].exchange(pgwire.query("SELECT lastval()"))
        for number in self.script.clients():
            self.clients[number] = self._log_in(number)
        for at, (number, what) in enumerate(self.script.steps, 1):
            if what == MOVE:
                self._move(at)
            elif what == SETTLE:
                self.stage.settle()
            elif what == AGAIN:
                self._again(number)
            elif number in self.clients:
                self._step(at, number, what)
        self._end()

    def _step(self, at, number, messages):
        direct, through = (c.exchange(messages, self.patience) for c in self.clients[number])
        if direct[-1:] == [SILENCE] or (direct[-1:] == [END] and self._crashed()):
            raise Unplayable("step %d: PostgreSQL: %s" % (at, direct[-1].body.decode()))
        if direct[-1:] == [END] and through[-1:] == [END]:
            # What was said at the end may have been lost on the way, where the other side had more to read.
            del self.clients[number]
        else:
            self._compare("step %d, client %d" % (at, number), messages, direct, through)

    def _crashed(self):
        return self.stage.crashes() > self.crashes

    def _end(self):
        for number in list(self.clients):
            self._step(len(self.script.steps) + 1, number, [["S"], ["Q", "ROLLBACK"]])
        for number, (direct, through) in self.clients.items():
            if direct.notified != through.notified:
                raise Differs(
                    "client %d was notified\n  direct  %r\n  through %r"
                    % (number, direct.notified, through.notified)
                )

    def _compare(self, where, sent, direct, through):
        a, b = (
            pgwire.comparable(map(sides.without_numbers, heard), ignore_fields=sides.SOURCE_FIELDS)
            for heard in (direct, _forgiven(direct, through))
        )
        if a == b:
            return
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        raise Differs(
            "%s: sent %s\n  direct  %s\n  through %s\n  first difference at %d:\n    direct  %r\n    through %r"
            % (where, sent, pgwire.kinds(direct), pgwire.kinds(through), at, direct[at : at + 1], through[at : at + 1])
        )

    def _again(self, number):
        for c in self.clients.pop(number, ()):
            c.leave()
        self.clients[number] = self._log_in(number)

    def _move(self, at):
        """Two others take a server each at the same time, and leave on it what is not to reach anybody else."""
        first, second = self.others
        try:
            first.exchange(pgwire.query("BEGIN"), timeout=self.patience)
            left = sides.leavings("another", "a")
            second.exchange(*left, pgwire.query("BEGIN"), ready=4, timeout=self.patience)
            first.exchange(pgwire.query("COMMIT"), timeout=self.patience)
            second.exchange(pgwire.query("COMMIT"), timeout=self.patience)
        except (pgwire.WireClosed, OSError) as e:
            raise Differs("step %d: others get no server: %s" % (at, type(e).__name__)) from e

    def close(self):
        for wire in self.others + [c.wire for pair in self.clients.values() for c in pair]:
            wire.close()
