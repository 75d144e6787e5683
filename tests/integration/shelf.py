"""A client of a cache store: the plugin `shelf` does with the store of cache-redis what its statements say."""

import contextlib
import os

import psycopg

import harness
from harness import Host, Postgres, equal, wait_for

pg = Postgres()

SHELF = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/shelf.so"))


def config(url, workers=1, **keys):
    """Times are generous: they bound what hangs, unless a test is about them and says so."""
    return {
        "host": {"workers": workers},
        "plugin shelf": {"enabled": "yes", "library": SHELF},
        "plugin cache-redis": {"enabled": "yes", "url": url, "timeout": "10s", "connect_timeout": "10s", **keys},
    }


class Shelf:
    """A client that speaks to the store."""

    def __init__(self, host):
        self.host = host
        self.c = psycopg.ClientCursor(host.connect())

    def __call__(self, words):
        return self.c.execute("SELECT 1 /* shelf: %s */" % words).fetchone()[0]

    def put(self, key, size=100, seed=1, ttl=60000, head="head", describe="desc", cost=7):
        said = self("put %s %s %s %d %d %d %d" % (key, head, describe, size, seed, ttl, cost))
        return dict(code=said.split()[0], sum=said.split("=")[1])

    def get(self, key):
        said = self("get " + key).split()
        return dict([("code", said[0])] + [w.split("=", 1) for w in said[1:]])

    def code(self, key):
        return self.get(key)["code"]

    def erase(self, key):
        self("erase " + key)

    def stats(self):
        return {k: int(v) for k, v in (w.split("=") for w in self("stats").split())}


@contextlib.contextmanager
def shelf(url, up=True, **keys):
    """A host with a client of its store, which is connected."""
    with Host(pg, config(url, **keys)) as host:
        if up:
            wait_up(host)
        yield Shelf(host)


def servers(host):
    return host.console("SHOW REDIS SERVERS")


def wait_reason(host, why=""):
    """Waits until the first connection says that it failed, and so; a worker makes its own a moment after the start."""

    def told():
        rows = servers(host)
        return rows and rows[0]["reason"] and why in rows[0]["reason"]

    wait_for(told, what=why or "a reason")


def wait_up(host, up=True):
    def all_up():
        rows = servers(host)
        return rows and all((r["state"] == "up") == up for r in rows)

    wait_for(all_up, what="connections to Redis are %s" % ("up" if up else "down"))


def counts(host):
    rows = host.console("SHOW CACHE REDIS")
    return {k: sum(int(r[k]) for r in rows) for k in rows[0] if k != "worker"}


def stored(s, key, size=100, **more):
    """Puts, and waits until it is there."""
    put = s.put(key, size, **more)
    equal(put["code"], "ok")
    wait_for(lambda: s.code(key) == "ok", what=key + " is in Redis")
    return put["sum"]
