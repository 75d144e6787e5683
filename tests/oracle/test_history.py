"""
The history checker: many clients read and write at random, all at once, through one host with several workers and the
cache on, or through two that share Redis and around them, while sessions, statements and servers are ended; history.py
says which reads were right.

With one host nothing but the host writes, so a read that begins after a commit was acknowledged to anybody never shows what
was before. With two that holds in mode strict, whoever writes; in the other modes it holds for what was written through the
same host, and for the rest after a while.

    HOWDAH_HISTORY_OPERATIONS    how many there are in all (20000)
    HOWDAH_HISTORY_SECONDS       or fewer, if this time is over (40), each: of one host, of two in each mode
    HOWDAH_HISTORY_SEED          of what the clients do; not of the order in which it is done (1)
    HOWDAH_HISTORY_CLIENTS       (12)
    HOWDAH_HISTORY_WRITES        how many in 100, roughly (8)
"""

import os
import random
import threading
import time

from harness import Host, Postgres, comment, main, test
from history import Ledger, Switch
from redisserver import Redis
from history_clients import SETUP, Client


def setting(name, default):
    return int(os.environ.get("HOWDAH_HISTORY_" + name) or default)


OPERATIONS = setting("OPERATIONS", 20000)
SECONDS = setting("SECONDS", 40)
AT_MOST = 10 * OPERATIONS
SEED = setting("SEED", 1)
CLIENTS = setting("CLIENTS", 12)
WRITES = setting("WRITES", 8)

SERVER = {"max_prepared_transactions": "20", "lock_timeout": "2s", "deadlock_timeout": "200ms"}

# Seconds.
BETWEEN_DEFINITIONS = 5.0
MORE = 300.0  # where the time is over before the cache has done what is to be looked at

# Of what is told of violations.
MOST_TOLD = 10


class Share:
    """What the clients of a history have in common."""

    def __init__(self, pg, hosts, lag=0.0, around=0, defines_around=False):
        self.pg = pg
        # Which of them a client has: two through each host for one around them.
        self.hosts = hosts * 2 + [pg] * around
        self.defines_around = defines_around
        self.writes = WRITES if len(hosts) == 1 else max(1, WRITES // 3)  # else hardly anything lives to be shared
        self.ledger = Ledger(lag)
        self.grant = Switch(lag)
        self.bulk_lock = threading.Lock()
        self.bulk_version = 0
        self.seed, self.patience = SEED, 60.0
        self.done = 0
        self.defined = time.monotonic()
        self.until = time.monotonic() + SECONDS
        self.stopped = False
        self.shown = False  # the cache has done what is to be looked at

    def go_on(self):
        """On a machine that is busy the cache knows the catalog late: then more is done until it has answered."""
        too_late = time.monotonic() > (self.until if self.shown else self.until + MORE)
        enough = self.done >= OPERATIONS and (self.shown or self.done >= AT_MOST)
        return not (self.stopped or too_late or enough or self.ledger.violations)

    def may_define(self, host):
        """Not too often: after each change of the schema all is asked for anew."""
        now = time.monotonic()
        if host is self.pg and not self.defines_around:
            return False
        if now < self.defined + BETWEEN_DEFINITIONS:
            return False
        self.defined = now
        return True

    def roll_back_prepared(self, gid):
        """Whatever has become of it; without a cache that could know, since nothing has changed then."""
        if self.pg.execute("SELECT FROM pg_prepared_xacts WHERE gid = '%s'" % gid):
            self.pg.execute("ROLLBACK PREPARED '%s'" % gid)


def disturb(share, clients, shows, also):
    """Ends servers now and then, until the clients have ended; and everything when one has failed."""
    rng = random.Random(SEED)
    while any(c.is_alive() for c in clients):
        if also and rng.random() < 0.1:
            also(rng)
        for c in clients:
            c.join(0.4 / len(clients))
        share.stopped |= any(c.failure for c in clients)
        share.shown = (share.done >= OPERATIONS or time.monotonic() > share.until) and shows()
        share.pg.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND datname = 'shop'"
            " ORDER BY md5(pid || '%d') LIMIT 1" % rng.randint(0, 10**6),
            "postgres",
        )


def stats(hosts):
    total = {}
    for host in hosts:
        for row in host.console("CACHE STATS"):
            if not row["store"]:
                total[row["name"]] = total.get(row["name"], 0) + int(row["value"])
    return total


def hold(pg, hosts, also=None, **more):
    share = Share(pg, hosts, **more)
    clients = [Client(share, number) for number in range(CLIENTS)]
    began = time.monotonic()
    for c in clients:
        c.start()
    disturb(share, clients, lambda: faults(stats(hosts), hosts) == [], also)
    took = time.monotonic() - began
    share.ledger.close()
    told = stats(hosts)
    comment("%d operations in %.1f s: %.0f in a second; %d reads, %d tokens" % (
        share.done, took, share.done / took, share.ledger.counts["reads"], len(share.ledger.tokens)))
    comment("; ".join("%s %d" % (name, n) for name, n in told.items() if n))
    for what in share.ledger.violations[:MOST_TOLD]:
        comment(what)
    for c in clients:
        if c.failure:
            raise AssertionError("%s ended early" % c.name) from c.failure
    assert not share.ledger.violations, "%d reads do not fit" % len(share.ledger.violations)
    assert share.done > 10 * CLIENTS, "hardly anything was done"
    comment("hit ratio %.1f %%" % (100.0 * told["hits"] / max(1, told["hits"] + told["misses"])))
    assert not faults(told, hosts), "; ".join(faults(told, hosts))


def faults(told, hosts):
    """What keeps these figures from showing anything."""
    few = told["hits"] <= (told["hits"] + told["misses"]) / 20
    alone = len(hosts) > 1 and told["shared_hits"] == 0
    return ["too few hits"] * few + ["neither host has had an answer of the other's"] * alone


def config(pg, workers, **cache):
    return {
        "host": {"workers": workers},
        "node main": {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port), "control_user": "postgres"},
        "database *": {"pool_mode": "auto", "pool_size": 20},
        "plugin cache": {"enabled": "yes", **cache},
        "plugin cache-memory": {"enabled": "yes"},
    }


@test("one host, four workers", timeout=36000)
def one_host():
    pg = Postgres(SERVER)
    pg.execute(SETUP)
    with Host(pg, config(pg, 4, mode="ttl")) as host:
        hold(pg, [host])


def two_hosts(mode, lag=0.0, defines_around=True, **cache):
    """They share Redis, which is emptied now and then, and one client of five goes around them."""
    pg = Postgres(SERVER)
    pg.execute(SETUP)
    redis = Redis()
    sections = config(pg, 2, mode=mode, stores="memory, redis", **cache)
    sections["plugin cache-redis"] = {"enabled": "yes", "url": redis.url, "timeout": "100ms"}
    sections["plugin bus-redis"] = {"enabled": "yes", "url": redis.url, "heartbeat": "500ms"}
    if mode != "ttl":
        sections["plugin change-stream"] = {"enabled": "yes", "retry_interval": "50ms"}
    with Host(pg, sections) as a, Host(pg, sections) as b:
        if mode != "ttl":
            pg.execute(a.console("CACHE SETUP")[0]["sql"])

        def empty(rng):
            redis.command("FLUSHALL" if rng.random() < 0.5 else "FLUSHDB")

        hold(pg, [a, b], empty, lag=lag, around=1, defines_around=defines_around)


@test("two hosts and writers around them, strict", timeout=36000)
def two_strict():
    two_hosts("strict", strict_wait="500ms")


# Waits of a client's own thread count in its lag, and here there are more threads than processors.
@test("two hosts and writers around them, bounded", timeout=36000)
def two_bounded():
    two_hosts("bounded", lag=0.5, bound="500ms")


# What is written around them is missed for the ttl, from when the answer came, which was sent before.
@test("two hosts and writers around them, ttl", timeout=36000)
def two_ttl():
    two_hosts("ttl", lag=5.0, defines_around=False, ttl="1s")


main()
