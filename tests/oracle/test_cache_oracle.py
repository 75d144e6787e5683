"""
The oracle of the cache: sessions in which the same reads come again and again, among everything that may make an answer
that was kept wrong, are held with one PostgreSQL and, through howdahd with the cache on, with another; every message
that a client sees must be the same. Nothing but the host writes, so no answer may be stale at all. A session that
differs is cut down, and printed in the form in which it can be kept in tests/oracle/cached.

    HOWDAH_ORACLE_SECONDS    how long sessions are made up (30)
    HOWDAH_ORACLE_SESSIONS   or how many, however long that takes
    HOWDAH_ORACLE_SEED       the first one's seed (1)
    HOWDAH_ORACLE_ROUNDS     disturbances in a session, each with reads behind it (20)
    HOWDAH_ORACLE_SHRINK     how many seconds may be spent on cutting one down (40)
    HOWDAH_ORACLE_DIFFER     1: go on behind a session that differs; each is told
"""

import glob
import os
import time

import script
from cache_generate import generate
from cache_texts import SETUP
from harness import Host, Postgres, comment, main, test, wait_for
from play import SECRETS, SETTINGS, Differs, Stage, Unplayable
from shrink import shrink

HERE = os.path.dirname(os.path.abspath(__file__))


def setting(name, default):
    return int(os.environ.get("HOWDAH_ORACLE_" + name) or default)


SECONDS = setting("SECONDS", 30)
SESSIONS = setting("SESSIONS", 0)
SEED = setting("SEED", 1)
ROUNDS = setting("ROUNDS", 20)
SHRINK = setting("SHRINK", 40)
GO_ON = setting("DIFFER", 0)

SERVER = {**SETTINGS, "max_prepared_transactions": "10"}

pg = Postgres(SERVER)
oracle = Postgres(SERVER)

CONFIG = {
    "host": {"workers": 1},
    "user howdah": {"password": "howdah-secret", "admin": "yes"},
    "node main": {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port), "control_user": "postgres"},
    "database *": {"pool_mode": "auto", "pool_size": 6, "queue_timeout": "40s"},
    "plugin cache": {"enabled": "yes", "mode": "ttl"},
    "plugin cache-memory": {"enabled": "yes"},
}


class Apart(Stage):
    """The direct side is a server of its own, since roles and transactions that are prepared belong to a whole server."""

    def __init__(self, host):
        super().__init__(pg, host)
        self.oracle, self.oracle_database = oracle, "shop"

    def reset(self):
        for server in (pg, oracle):
            self._end_sessions(server)
        # Through the host: what was kept of an earlier session must not outlive its tables.
        for wire in (self.direct("howdah"), self.through("reset", "howdah")):
            with wire:
                wire.query("SET client_min_messages = warning")
                wire.query("SET lock_timeout = '10s'")
                wire.query(SETUP)

    @staticmethod
    def _end_sessions(server):
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('app', 'other', 'howdah')"
        wait_for(lambda: not server.execute(ending, "postgres"), what="earlier clients have left")
        for (gid,) in server.execute("SELECT gid FROM pg_prepared_xacts WHERE database = 'shop'", "postgres"):
            server.execute("ROLLBACK PREPARED '%s'" % gid)


for server in (pg, oracle):
    server.execute("CREATE ROLE clerk", "postgres")
host = Host(pg, CONFIG)
stage = Apart(host)


def stats():
    return {row["name"]: int(row["value"]) for row in host.console("CACHE STATS") if row["store"] in ("", None)}


def hold(session, name):
    """Did it go well?"""
    try:
        stage.play(session)
    except Unplayable as e:
        comment("%s: %s" % (name, e))
    except Differs as e:
        comment("%s: %s" % (name, e))
        if SHRINK:
            small, how = shrink(stage, session, SHRINK)
            comment("cut down to %d steps: %s" % (len(small.steps), how or "it does not differ each time"))
            comment(small.text())
        if not GO_ON:
            raise AssertionError(name + " differs") from None
        return False
    return True


@test("recorded sessions", timeout=600)
def recorded():
    for path in sorted(glob.glob(os.path.join(HERE, "cached", "*.session"))):
        hold(script.read(path), os.path.basename(path))


@test("sessions made up from seed %d on" % SEED, timeout=36000)
def made_up():
    before, began, count, different = stats(), time.monotonic(), 0, 0
    while count < SESSIONS if SESSIONS else time.monotonic() - began < SECONDS:
        seed = SEED + count
        different += not hold(generate(seed, ROUNDS), "the session of HOWDAH_ORACLE_SEED=%d" % seed)
        count += 1
    after = stats()
    gained = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    comment("%d sessions of %d rounds, from seed %d on, %d differ" % (count, ROUNDS, SEED, different))
    comment("; ".join("%s %d" % (name, n) for name, n in gained.items()))
    hits, misses = gained.get("hits", 0), gained.get("misses", 0)
    assert hits > misses, "%d hits, %d misses" % (hits, misses)
    assert not different


main()
