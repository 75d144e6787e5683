"""
The history checker: many clients read and write at random, all at once, through one host with several workers and the
cache on, while sessions, statements and servers are ended; history.py says which reads were right. Nothing but the host
writes, so a read that begins after a commit was acknowledged to anybody never shows what was before.

    HOWDAH_HISTORY_OPERATIONS    how many there are in all (20000)
    HOWDAH_HISTORY_SECONDS       or fewer, if this time is over (40)
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
from history_clients import SETUP, Client


def setting(name, default):
    return int(os.environ.get("HOWDAH_HISTORY_" + name) or default)


OPERATIONS = setting("OPERATIONS", 20000)
SECONDS = setting("SECONDS", 40)
SEED = setting("SEED", 1)
CLIENTS = setting("CLIENTS", 12)
WRITES = setting("WRITES", 8)

SERVER = {"max_prepared_transactions": "20", "lock_timeout": "2s", "deadlock_timeout": "200ms"}

# Seconds.
BETWEEN_DEFINITIONS = 5.0

# Of what is told of violations.
MOST_TOLD = 10


class Share:
    """What the clients of a history have in common."""

    def __init__(self, pg, hosts):
        self.pg = pg
        self.hosts = hosts
        self.ledger = Ledger()
        self.grant = Switch()
        self.bulk_lock = threading.Lock()
        self.bulk_version = 0
        self.seed, self.writes, self.patience = SEED, WRITES, 20.0
        self.done = 0
        self.defined = time.monotonic()
        self.until = time.monotonic() + SECONDS
        self.stopped = False

    def go_on(self):
        too_late = time.monotonic() > self.until
        return not (self.stopped or too_late or self.done >= OPERATIONS or self.ledger.violations)

    def may_define(self):
        """Not too often: after each change of the schema all is asked for anew."""
        now = time.monotonic()
        if now < self.defined + BETWEEN_DEFINITIONS:
            return False
        self.defined = now
        return True

    def roll_back_prepared(self, gid):
        """Whatever has become of it; without a cache that could know, since nothing has changed then."""
        if self.pg.execute("SELECT FROM pg_prepared_xacts WHERE gid = '%s'" % gid):
            self.pg.execute("ROLLBACK PREPARED '%s'" % gid)


def disturb(share, clients):
    """Ends servers now and then, until the clients have ended; and everything when one has failed."""
    rng = random.Random(SEED)
    while any(c.is_alive() for c in clients):
        for c in clients:
            c.join(0.4 / len(clients))
        share.stopped |= any(c.failure for c in clients)
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


def hold(pg, hosts):
    share = Share(pg, hosts)
    clients = [Client(share, number) for number in range(CLIENTS)]
    began = time.monotonic()
    for c in clients:
        c.start()
    disturb(share, clients)
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
    looked_up = told["hits"] + told["misses"]
    comment("hit ratio %.1f %%" % (100.0 * told["hits"] / max(1, looked_up)))
    assert told["hits"] > looked_up / 20, "too few hits to show anything"


@test("one host, four workers", timeout=36000)
def one_host():
    pg = Postgres(SERVER)
    pg.execute(SETUP)
    config = {
        "host": {"workers": 4},
        "node main": {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port), "control_user": "postgres"},
        "database *": {"pool_mode": "auto", "pool_size": 20},
        "plugin cache": {"enabled": "yes", "mode": "ttl"},
        "plugin cache-memory": {"enabled": "yes"},
    }
    with Host(pg, config) as host:
        hold(pg, [host])


main()
