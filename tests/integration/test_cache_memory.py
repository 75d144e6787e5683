"""
The memory store under the result cache: its bound holds under load and every answer is right, a reload changes the bound
of a running host, values that are too long are not kept, and both algorithms work.
"""

# Runs under TSan too.

import random
import threading

from harness import Host, Postgres, equal, main, test, wait_for

ROWS = 3000

pg = Postgres()
pg.execute(
    """
    CREATE TABLE page (id int PRIMARY KEY, body text);
    INSERT INTO page SELECT g, repeat(md5(g::text), 20 + g %% 100) FROM generate_series(1, %d) g;
    INSERT INTO page VALUES (0, repeat('x', 200000));
    GRANT ALL ON page TO app;
    """
    % ROWS
)
BODIES = dict(pg.execute("SELECT id, body FROM page"))


def started(**options):
    return Host(
        pg,
        {
            "host": {"workers": 2, "worker_fill": 0},
            "database *": {"pool_mode": "auto"},
            "node main": {"control_user": "postgres"},
            "plugin cache": {"enabled": "yes", "mode": "ttl"},
            "plugin cache-memory": {"enabled": "yes", **options},
        },
    )


def show(host, shard="all"):
    return next(r for r in host.console("SHOW CACHE MEMORY") if r["shard"] == shard)


def number(host, name):
    return int(show(host)[name])


def read_at_random(host, seed, count, wrong):
    """Reads that are checked; what differs is noted."""
    dice = random.Random(seed)
    with host.connect() as c:
        for _ in range(count):
            key = int(dice.random() ** 3 * ROWS) + 1
            body = c.execute("SELECT body FROM page WHERE id = %s", (key,)).fetchone()[0]
            if body != BODIES[key]:
                wrong.append(key)


def read_all_around(host, seeds, count):
    """Several clients at once; returns the keys whose rows were not what they should be."""
    wrong = []
    threads = [threading.Thread(target=read_at_random, args=(host, seed, count, wrong)) for seed in seeds]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return wrong


def read_until_hit(host, c, key):
    """The first reads of a template come before the catalog has said what it hangs on."""

    def hit():
        equal(c.execute("SELECT body FROM page WHERE id = %d" % key).fetchone()[0], BODIES[key])
        return number(host, "hits") > 0

    wait_for(hit, what="a hit")


def under_load(host):
    """Reads by several clients, with an eye on the bound meanwhile."""
    over = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            row = show(host)
            if int(row["bytes"]) > int(row["max_bytes"]):
                over.append(row)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        wrong = read_all_around(host, range(4), 700)
    finally:
        done.set()
        watcher.join()
    equal((wrong, over), ([], []))


@test("the bound holds under load, and every answer is right")
def _():
    for algorithm in ("s3-fifo", "lru"):
        with started(max_bytes="1M", algorithm=algorithm) as host:
            with host.connect() as c:
                read_until_hit(host, c, 1)

            def seen():
                under_load(host)
                row = show(host)
                return int(row["hits"]) > 300 and int(row["evictions"]) > 100

            # How soon each worker knows what the statement hangs on is the machine's matter.
            wait_for(seen, what=algorithm + ": hits and evictions")


@test("a reload lowers the bound at once, and raises it, of a host under load")
def _():
    with started(max_bytes="8M", shards="2") as host:

        def more():
            equal(read_all_around(host, range(4), 500), [])
            return number(host, "bytes") > 1 << 20

        wait_for(more, what="more is kept than the next bound allows")
        host.configure({**host.config, "plugin cache-memory": {"max_bytes": "1M", "shards": "2"}})
        host.console("RELOAD")
        equal(number(host, "max_bytes"), 1 << 20)
        equal(number(host, "bytes") <= 1 << 20, True)
        equal(number(host, "entries") > 0, True, "the rest is kept")
        under_load(host)
        host.configure({**host.config, "plugin cache-memory": {"max_bytes": "16M", "shards": "2"}})
        host.console("RELOAD")
        under_load(host)
        wait_for(more, what="more is kept than the bound before allowed")


@test("an answer that is longer than the store takes is not kept, and comes from the server each time")
def _():
    with started(max_value_bytes="100K") as host, host.connect() as c:
        read_until_hit(host, c, 1)
        entries, hits = number(host, "entries"), number(host, "hits")
        for _ in range(3):
            equal(c.execute("SELECT body FROM page WHERE id = 0").fetchone()[0], BODIES[0])
        equal((number(host, "entries"), number(host, "hits")), (entries, hits))


@test("shards that the memory does not suffice for are refused, with what would be right")
def _():
    host = started(max_bytes="4M", shards="32")
    with host:
        pass
    host.configure({**host.config, "plugin cache-memory": {"max_bytes": "2M", "shards": "32"}})
    said = host.run("-t")
    equal((said.returncode, "too little for 32 shards" in said.stderr), (1, True), said.stderr)


@test("the metrics follow")
def _():
    with started() as host, host.connect() as c:
        read_until_hit(host, c, 2)
        kept = number(host, "entries")  # two, where the session's settings were known only after the first
        wait_for(lambda: metric(host, "howdah_cache_memory_entries") == kept, what="the entries are told to the metrics")
        hits = number(host, "hits")  # some may have come after that was told
        wait_for(lambda: metric(host, "howdah_cache_memory_hits_total") == hits, what="and the hits")


def metric(host, name):
    found = [r for r in host.console("SHOW METRICS " + name) if r["name"] == name]
    return int(float(found[0]["value"])) if found else None


main()
