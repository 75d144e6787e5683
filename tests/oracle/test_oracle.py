"""
The oracle: sessions, recorded (tests/oracle/sessions) and made up at random, are held with PostgreSQL itself and
through howdahd, in each pool mode and with a filter that sees and holds everything, over more servers than one; every
message that a client sees must be the same. One that differs is cut down to the least that does, and printed in the
form in which it can be kept.

    HOWDAH_ORACLE_SECONDS    how long sessions are made up, in all (20)
    HOWDAH_ORACLE_SESSIONS   or how many of each kind, however long that takes
    HOWDAH_ORACLE_SEED       the first one's seed (1)
    HOWDAH_ORACLE_STEPS      how long a session is (40)
    HOWDAH_ORACLE_SHRINK     how many seconds may be spent on cutting one down (40)

The same seed makes the same session again: `HOWDAH_ORACLE_SEED=N HOWDAH_ORACLE_SESSIONS=1`.
"""

import contextlib
import glob
import os
import time

import script
from generate import generate
from harness import BUILDDIR, Host, Postgres, comment, main, test
from play import SETTINGS, Differs, Stage, prepare
from shrink import shrink

HERE = os.path.dirname(os.path.abspath(__file__))


def setting(name, default):
    return int(os.environ.get("HOWDAH_ORACLE_" + name) or default)


SEED = setting("SEED", 1)
SESSIONS = setting("SESSIONS", 0)
STEPS = setting("STEPS", 40)

# How a session goes through: the pool mode, and whether there is a filter.
WAYS = {mode: (mode, False) for mode in script.MODES}
WAYS["auto, filtered"] = ("auto", True)

SECONDS = setting("SECONDS", 20) / len(WAYS)
SHRINK = setting("SHRINK", 40)

pg = Postgres(SETTINGS)
prepare(pg)


# It changes nothing.
VERDICTS = os.path.abspath(os.path.join(BUILDDIR, "tests/integration/plugins/.libs/verdicts.so"))
FILTER = {"plugin verdicts": {"enabled": "yes", "library": VERDICTS, "data": "yes", "before": "yes"}}


@contextlib.contextmanager
def stage(mode, filtered):
    """A host whose databases, whatever their names, are all the server's shop; the pool has more than the clients."""
    changes = {
        "host": {"workers": 1},
        "node main": {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port)},
        "database *": {"pool_mode": mode, "pool_size": 6, "max_prepared_statements": 12, "queue_timeout": "40s"},
        **(FILTER if filtered else {}),
    }
    with Host(pg, changes) as host:
        yield Stage(pg, host)


def hold(at, session, name):
    try:
        at.play(session)
    except Differs as e:
        comment("%s: %s" % (name, e))
        if SHRINK:
            small, how = shrink(at, session, SHRINK)
            comment("cut down to %d steps: %s" % (len(small.steps), how or "it does not differ each time"))
            comment(small.text())
        raise AssertionError(name + " differs") from None


def hold_recorded(mode, filtered):
    with stage(mode, filtered) as at:
        for path in sorted(glob.glob(os.path.join(HERE, "sessions", "*.session"))):
            session = script.read(path)
            if mode in session.modes:
                hold(at, session, os.path.basename(path))


def hold_generated(way):
    mode, filtered = WAYS[way]
    began, count = time.monotonic(), 0
    with stage(mode, filtered) as at:
        while count < SESSIONS if SESSIONS else time.monotonic() - began < SECONDS:
            seed = SEED + count
            hold(at, generate(mode, seed, STEPS), "the session of HOWDAH_ORACLE_SEED=%d [%s]" % (seed, way))
            count += 1
    comment("%d sessions of %d steps, from seed %d on" % (count, STEPS, SEED))


for name in WAYS:

    @test("recorded sessions [%s]" % name, timeout=600)
    def recorded(way=name):
        hold_recorded(*WAYS[way])

    @test("sessions made up from seed %d on [%s]" % (SEED, name), timeout=36000)
    def made_up(way=name):
        hold_generated(way)


main()
