"""What filters are told of values: literals as PostgreSQL itself reads them, parameters as they were bound."""

# Runs under TSan too.

import os
import random

import harness
from harness import Host, Postgres, equal, main, test
from pgwire import query, run

NULL, PARAM, INTEGER, NUMERIC, STRING, BITS = range(1, 7)
ENOENT, EUNSUPP = -3, -12

pg = Postgres()
VALUES = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/values.so"))
host = Host(pg, {"plugin values": {"enabled": "yes", "library": VALUES}, "host": {"workers": 1}})
direct, through = pg.wire(), host.wire()


def values(message, wire=None):
    """Of each $n its (kind, type, format, bytes), or a code; the last, behind all $n, is left out."""
    error = [m for m in (wire or through).exchange(message) if m.type == "E"][0].fields()
    equal(error["C"], "HD001")
    told = []
    for line in error["M"].splitlines():
        kind, *more = line.split(" ")
        told.append((int(kind), int(more[0]), int(more[1]), bytes.fromhex(more[2])) if more else int(kind))
    equal(told.pop(), ENOENT)
    return told


def row(sql, wire=None):
    """What PostgreSQL answers; None for an error."""
    rows = [m.row() for m in (wire or direct).exchange(query(sql)) if m.type == "D"]
    return rows[0] if rows else None


def compare(literals, wire=None, oracle=None):
    """Compares each literal's value with PostgreSQL's; returns how many were told."""
    told = values(query("/* values */ SELECT " + ", ".join(literals)), wire)
    equal(len(told), len(literals))
    n = 0
    for literal, value in zip(literals, told):
        if value == EUNSUPP:
            continue
        kind, _, _, mine = value
        is_number = kind in (INTEGER, NUMERIC)
        theirs = row("SELECT %s" % ("(%s)::numeric" % literal if is_number else literal), oracle)
        if theirs is None:
            continue
        n += 1
        if is_number:
            equal(row("SELECT '%s'::numeric" % mine.decode()), theirs)
        else:
            equal((literal, mine), (literal, theirs[0]))
        equal(kind == BITS, literal[0] in "bBxX")
    return n


LITERALS = [
    "5", "007", "2147483647", "2147483648", "9999999999999999999999", "1.50", ".5", "5.", "1e3", "1.5E-2",
    "''", "'x'", "'it''s'", "''''", "'a\\n'", "'a'\n'b'", "'a' \r\n\t 'b'''\n'c'", "$$a'b$$", "$x$ $$ $y$ $x$", "$$$$",
    "'é€😀'", "E'é\\\\'", "e'\\b\\f\\n\\r\\t\\q\\'\\101\\1018\\x41\\x4\\xg'", "E'a\\n'\n'\\tb'", "E'\\u00e9\\U0001f600\\ud83d\\ude00'",
    "U&'d\\0061t\\+0000E9\\\\ '''", "u&'\\d83d\\de00'", "b'0101'", "B''", "b'01'\n'10'", "x'1fA'", "X''",
]  # fmt: skip


@test("literals are told as PostgreSQL reads them")
def literals():
    equal(compare(LITERALS), len(LITERALS))


FRAGMENTS = {
    "'": ["a", " ", "\\", "''", "$$", "é", "\n", "--", "/*", "'\n'", "'\r \n\t'", "u", "0"],
    "E'": ["a", "\\n", "\\\\", "\\'", "''", "\\101", "\\7", "\\x4", "\\x41", "\\u0041", "\\u00e9", "\\U0001F600", "\\ud83d"]
    + ["\\ude00", "\\q", "é", "'\n'", "\n", "1", "f", "\\x", "\\u00", "\\0", "\\200"],
    "U&'": ["a", "\\0041", "\\00e9", "\\+01F600", "\\d83d", "\\de00", "\\\\", "''", "é", "'\n'", "1", "\\", "\\+", "!"],
    "b'": ["0", "1", "'\n'", "2"],
    "x'": ["0", "a", "F", "'\n'", "g"],
}


def random_literal(rng):
    prefix = rng.choice(list(FRAGMENTS))
    return prefix + "".join(rng.choice(FRAGMENTS[prefix]) for _ in range(rng.randrange(8))) + "'"


@test("literals made at random are told as PostgreSQL reads them, or not at all")
def random_literals():
    rng = random.Random(5)
    told = sum(compare([random_literal(rng) for _ in range(20)]) for _ in range(40))
    assert told > 300, told


@test("escapes of characters beyond ASCII are told in UTF-8 alone")
def other_encodings():
    with host.wire(client_encoding="LATIN1") as latin, pg.wire(client_encoding="LATIN1") as oracle:
        equal(values(query("/* values */ SELECT E'\\u00e9', U&'\\00e9', E'\\u0041'"), latin)[:2], [EUNSUPP] * 2)
        equal(compare(["E'a\\tb'", "E'\\u0041'", "U&'\\0041'", "'x'"], latin, oracle), 4)


@test("what the server's encoding decides, or another type, is not told")
def unsupported():
    for literal in ("N'x'", "E'\\xe9'", "E'\\351'", "U&'d!0061' UESCAPE '!'"):
        equal(values(query("/* values */ SELECT %s" % literal))[0], EUNSUPP)


@test("a minus before a number that is compared belongs to it")
def minus():
    told = values(query("/* values */ SELECT 1 - 2 FROM (SELECT 1) t (a) WHERE a = -5 AND a IN (- 6, 7) AND a = 2 - 3"))
    equal([v[3] for v in told], [b"1", b"2", b"1", b"-5", b"-6", b"7", b"2", b"3"])
    equal(values(query("/* values */ SELECT FROM (SELECT 1) t (a) WHERE a = -9999999999"))[1], (NUMERIC, 0, 0, b"-9999999999"))


@test("parameters are told as they were bound, literals behind them")
def parameters():
    equal(
        values(run("/* values */ SELECT $1::int, 'x', $2, $3, -7", [b"5", None, b"\0\0\0\1"], types=[23, 25], formats=[0, 0, 1])),
        [(PARAM, 23, 0, b"5"), (NULL, 25, 0, b""), (PARAM, 0, 1, b"\0\0\0\1"), (STRING, 0, 0, b"x"), (INTEGER, 0, 0, b"7")],
    )


@test("where the text is not looked into there are no values")
def not_looked_into():
    with host.wire(standard_conforming_strings="off") as w:
        equal(values(query("/* values */ SELECT 'x'"), w), [])


@test("settings whose names are continued strings are followed")
def continued_name():
    with host.wire() as w:
        w.query("SELECT set_config('work'\n'_mem', '3MB', false)")
        equal(row("SHOW work_mem", w), [b"3MB"])


main()
