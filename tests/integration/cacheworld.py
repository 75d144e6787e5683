"""What tests of the cache have in common: its sections, its counts, and statements that it is to answer."""

import sides
from harness import equal, wait_for


def sections(pg, plugins):
    """Databases in each pool mode, whose nodes the host may ask about their catalogs."""
    made = sides.pool_modes(pg, plugins)
    for name in made:
        if name.startswith("node "):
            made[name]["control_user"] = "postgres"
    return made


def stats(host, store=""):
    """The cache's counts, or those of one of its stores."""
    return {r["name"]: int(r["value"]) for r in host.console("CACHE STATS") if (r["store"] or "") == store}


def gain(host, before):
    """Which counts have changed since `before`, and by how much."""
    now = stats(host)
    return {k: now[k] - before[k] for k in now if now[k] != before[k]}


class Counted:
    """How the cache's counts change within a block: with Counted(host, hits=1): …"""

    def __init__(self, host, **expected):
        self.host = host
        self.expected = expected

    def __enter__(self):
        self.before = stats(self.host)

    def __exit__(self, kind, *_):
        if kind is None:
            after = stats(self.host)
            equal({name: after[name] - self.before[name] for name in self.expected}, self.expected)


def looked(host):
    """
    The host has looked at the servers' catalogs: no change of them, from before this, ends answers later. It looks every ten
    seconds by itself, and what was defined meanwhile, also through it, ends then what it knows.
    """

    def is_running():
        return [r for r in host.console("SHOW SCHEDULES") if r["name"] == "catalog-watch"][0]["next in"] == "running"

    # Refused while it is running.
    wait_for(lambda: host.control("schedule", "run", "catalog-watch").returncode == 0, what="a look at the catalogs begins")
    wait_for(lambda: not is_running(), what="the catalogs were looked at")


def warm(host, w, *messages, timeout=60, ready=1):
    """
    Sends messages, or the text of a statement, until this host answers by itself: the catalog has to be asked, the stream
    opened, tables covered. Returns the answer.
    """
    found = []

    def hit():
        before = stats(host)["hits"]
        found[:] = w.query(messages[0]) if isinstance(messages[0], str) else w.exchange(*messages, ready=ready)
        return stats(host)["hits"] > before

    try:
        wait_for(hit, timeout, "an answer from the cache")
    except AssertionError as e:
        raise AssertionError("%s: %s\n%s" % (e, stats(host), host.log_text()[-3000:])) from None
    return found


def encoded(messages):
    return b"".join(m.encode() for m in messages)
