"""
The same conversation held twice, with PostgreSQL itself and with howdahd in between: the same bytes must come back.

PostgreSQL is the oracle: a test says what is sent, and no more than that about what is right. The direct side has a
database of its own, the twin of the other's, so that the two don't see each other's rows.
"""

import socket

import harness
import pgwire

MODES = ("transaction", "session", "auto")

# Where an error came up in PostgreSQL's source: an error that the host has to raise itself does not say.
SOURCE_FIELDS = "FLR"

# PostgreSQL numbers its own objects below.
FIRST_OWN_OBJECT = 16384


def leavings(who, statement):
    """
    What leaves on a server what is not to reach its next user: a statement without a name, one that had a name and is
    closed, a setting and an error. Answered by three ReadyForQuery.
    """
    return [
        pgwire.parse("", "SELECT 'of %s'" % who),
        pgwire.parse(statement, "SELECT 'of %s, named'" % who),
        pgwire.close("S", statement),
        pgwire.sync(),
        pgwire.query("SET application_name = '%s'" % who),
        pgwire.parse("", "SELECT 1/0"),
        pgwire.bind(),
        pgwire.execute(),
        pgwire.sync(),
    ]


def pool_modes(pg, changes=None, **keys):
    """Sections for the databases shop_transaction, shop_session and shop_auto: all three the server's shop."""
    sections = {}
    for mode in MODES:
        node = "shop_" + mode
        sections["node " + node] = {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port)}
        sections["database " + node] = {"node": node, "pool_mode": mode, **keys}
    return harness.merge(sections, changes)


def collect(wire, ready=1, timeout=None):
    """Messages up to the ready-th ReadyForQuery, or up to where they stop: then the last one says how."""
    received = []
    try:
        while ready:
            received.append(wire.recv(timeout))
            ready -= received[-1].type == "Z"
    except (socket.timeout, pgwire.WireClosed, ConnectionResetError) as e:
        received.append(pgwire.Message("!", type(e).__name__.encode()))
    return received


def without_numbers(m):
    """A description without the numbers of tables and types: one made on both sides is a different object on each."""
    if m.type not in "Tt":
        return m
    body = bytearray(m.body)
    at = 2
    while at < len(body):
        if m.type == "t":
            _hide_number(body, at)
            at += 4
        else:
            at = body.index(b"\0", at) + 1
            _hide_number(body, at)
            _hide_number(body, at + 6)
            at += 18
    return pgwire.Message(m.type, bytes(body))


def _hide_number(body, at):
    if int.from_bytes(body[at : at + 4], "big") >= FIRST_OWN_OBJECT:
        body[at : at + 4] = b"\0\0\0\1"


def make_twin(pg):
    """Copies the database shop, with its object numbers, to where the direct side works."""
    pg.execute("CREATE DATABASE twin TEMPLATE shop OWNER app", "postgres")


class Sides:
    """
    One client on each side, logged in alike. With a `disturber`, a third client uses the host's server whenever
    the conversation leaves it free, so that what belongs to a session has to come along with it.
    """

    def __init__(self, pg, host, database="shop", user="app", secret="secret", disturb=False, **parameters):
        self.direct = pg.wire(user, "twin", secret, **parameters)
        self.through = host.wire(user, database, secret, **parameters)
        self.disturber = host.wire(user, database, secret) if disturb else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for wire in (self.direct, self.through, self.disturber):
            if wire:
                wire.close()

    def _same(self, sent, direct, through, own):
        ignored = SOURCE_FIELDS if own else ""
        a = pgwire.comparable(map(without_numbers, direct), ignore_fields=ignored)
        b = pgwire.comparable(map(without_numbers, through), ignore_fields=ignored)
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            raise AssertionError(
                "sent %s\n  direct  %s\n  through %s\n  first difference at %d:\n    direct  %r\n    through %r"
                % (
                    b"".join(sent)[:400],
                    pgwire.kinds(direct),
                    pgwire.kinds(through),
                    at,
                    direct[at : at + 1],
                    through[at : at + 1],
                )
            )

    def exchange(self, *messages, ready=1, own=False, timeout=None):
        """Sends all at once on both sides; returns PostgreSQL's answer, which the host's equals."""
        self.direct.send(*messages)
        direct = collect(self.direct, ready, timeout)
        self.through.send(*messages)
        through = collect(self.through, ready, timeout)
        self._same(messages, direct, through, own)
        if self.disturber and direct and direct[-1].type == "Z" and direct[-1].body == b"I":
            self.disturb()
        return direct

    def query(self, sql, **options):
        return self.exchange(pgwire.query(sql), **options)

    def run(self, sql, *values, **options):
        return self.exchange(pgwire.run(sql, values), **options)

    def send(self, *messages):
        self.direct.send(*messages)
        self.through.send(*messages)

    def receive(self, count, own=False):
        """The next `count` messages of both sides."""
        direct = [self.direct.recv() for _ in range(count)]
        through = [self.through.recv() for _ in range(count)]
        self._same([], direct, through, own)
        return direct

    def closed(self):
        """Both sides close; returns what each said before, the error's severity and SQLSTATE."""
        return [self._last_words(w) for w in (self.direct, self.through)]

    @staticmethod
    def _last_words(wire):
        words = [m for m in collect(wire) if m.type == "E"]
        return [(m.fields()["V"], m.fields()["C"]) for m in words]

    def quiet(self, seconds=0.1):
        self.direct.expect_quiet(seconds)
        self.through.expect_quiet(seconds)

    def disturb(self):
        """Leaves on the server that comes free what is not to reach others."""
        self.disturber.exchange(*leavings("disturber", "s"), ready=3)
