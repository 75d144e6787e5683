"""
The result cache's commands where two hosts share one Redis: what one host sets under a plain key the other has; tags and
patterns end what both have.
"""

# Runs under TSan too.

import os

import cacheworld
import harness
from harness import Host, Postgres, equal, expect_error, main, pgbench, test, wait_for
from redisserver import Redis

pg = Postgres()
pg.execute(
    """
    CREATE TABLE doc (id int PRIMARY KEY, client_id int NOT NULL, t text);
    INSERT INTO doc SELECT g, g % 10, 'doc ' || g FROM generate_series(1, 50) g;
    GRANT ALL ON doc TO app;
    """
)
redis = Redis()

LOADS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/loads.so"))

def sections():
    return cacheworld.sections(
        pg,
        {
            "host": {"workers": 3, "worker_fill": 0},
            "plugin cache": {"enabled": "yes", "mode": "ttl", "stores": "memory, redis"},
            "cache doc": {"table": "doc", "tags": "client:{client_id}"},
            "plugin cache-memory": {"enabled": "yes"},
            "plugin cache-redis": {"enabled": "yes", "url": redis.url, "timeout": "2s", "max_retry": "300ms"},
            "plugin bus-redis": {"enabled": "yes", "url": redis.url, "heartbeat": "200ms", "max_retry": "300ms"},
            "plugin loads": {"enabled": "yes", "library": LOADS},
        },
    )


one = Host(pg, sections())
two = Host(pg, sections())


def up(host):
    def all_up():
        rows = host.console("SHOW REDIS SERVERS")
        return rows and all(r["state"] == "up" for r in rows)

    wait_for(all_up, what="all connections to Redis are up")
    wait_for(lambda: host.console("SHOW BUS REDIS")[0]["state"] == "here", what="the bus is here")


def get(host, key):
    rows = host.console("CACHE GET %s" % key)
    return rows[0]["value"] if rows else None


def soon(host, key, value):
    """What the other host has done is on its way to Redis when it says so."""
    wait_for(lambda: get(host, key) == value, what="%s is %s" % (key, value))


def do(host, words):
    with host.wire() as w:
        return w.query("SELECT 1 /* loads: %s */" % words)[0][0].split(" ", 1)


for each in (one, two):
    up(each)


@test("what one host sets, exchanges and deletes is so in the other")
def shared():
    for i in range(20):
        one.console("CACHE SET a:%d first" % i)
        equal(get(one, "a:%d" % i), "first")
        soon(two, "a:%d" % i, "first")
        two.console("CACHE SET a:%d second" % i)
        equal(get(two, "a:%d" % i), "second")
        soon(one, "a:%d" % i, "second")
        one.console("CACHE DELETE a:%d" % i)
        equal(get(one, "a:%d" % i), None)
        soon(two, "a:%d" % i, None)


@test("a value has its time, in both")
def ttl():
    one.console("CACHE SET short x TTL 50ms")
    wait_for(lambda: get(two, "short") is None and get(one, "short") is None, what="its time is over")


@test("patterns end keys at once in the host that is asked, and soon in the other")
def patterns():
    keys = ["a:%d" % i for i in range(10)] + ["b:%d" % i for i in range(10)] + ["plain"]

    def left(host):
        return "".join(sorted({key[0] for key in keys if get(host, key)}))

    for pattern, expected in (("a:*", "bp"), ("b:3", "ap"), ("c:*", "abp"), ("p*", ""), ("*", "")):
        for key in keys:
            one.console("CACHE SET %s x" % key)
        equal(left(one), "abp")
        wait_for(lambda: left(two) == "abp", what="the other host has them all")
        two.console("CACHE INVALIDATE PATTERN '%s'" % pattern)
        equal(left(two), expected, pattern)
        wait_for(lambda: left(one) == expected, what="the other host sees that %s are ended" % pattern)
        equal(left(two), expected, pattern)


@test("a load of one host spares the other its own")
def loads():
    first = do(one, "load l:1 60000 job")
    equal(first[0], "ok")
    soon(two, "l:1", first[1])
    equal(do(two, "load l:1 60000 job"), first)
    equal(do(one, "load l:1 60000 job"), first)


@test("what Redis has lost is set anew")
def lost():
    one.console("CACHE SET a:1 x")
    soon(two, "a:1", "x")  # or it comes to Redis after the flush
    redis.command("FLUSHALL")
    equal((get(one, "a:1"), get(two, "a:1")), (None, None))

    def set_again():
        two.console("CACHE SET a:1 y")
        return (get(one, "a:1"), get(two, "a:1")) == ("y", "y")

    wait_for(set_again, what="both hosts have the value")


@test("under load in both hosts, each value is its key's")
def under_load():
    script = os.path.join(one.dir, "loads.sql")
    with open(script, "w") as f:
        f.write("\\set k random(1, 20)\n")
        f.write("SELECT 1 /* loads: load key:k: 1000 job */;\n")
        f.write("SELECT 1 /* loads: load key:k: 1000 now */;\n")
        f.write("SELECT 1 /* loads: erase key:k: */;\n")
    for host in (one, two):
        pgbench(host.dsn(), "-n", "-f", script, "-c", "8", "-j", "2", "-t", "100", "-M", "simple")
        said = dict(x.split("=") for x in " ".join(do(host, "stats")).split())
        equal((said["wrong"], said["twice"]), ("0", "0"))


# --- tags ---

DOC = "SELECT t FROM doc WHERE client_id = %d"


def kept(host, sql):
    """Does the host answer it without its server?"""
    with host.wire(database="shop_auto") as w:
        before = {r["name"]: int(r["value"]) for r in host.console("CACHE STATS") if not r["store"]}
        w.query(sql)
        after = {r["name"]: int(r["value"]) for r in host.console("CACHE STATS") if not r["store"]}
    return any(after[name] > before[name] for name in ("hits", "shared_hits"))


def ended(command, client_id):
    """Whether the command ends the answer in the host that it is given to."""
    for host in (one, two):
        wait_for(lambda: kept(host, DOC % client_id), what="the answer is kept")
    one.console(command)
    return not kept(one, DOC % client_id)


@test("tags end answers in the host that is asked, and, as soon as it has heard, in the other; also those in Redis")
def tags():
    for command, client_id, expected in (
        ("CACHE INVALIDATE TAG client:4", 4, True),
        ("CACHE INVALIDATE TAG client:4", 5, False),
        ("CACHE INVALIDATE PATTERN 'client:*'", 5, True),
        ("CACHE INVALIDATE PATTERN 'doc:*'", 6, True),
        ("CACHE INVALIDATE PATTERN 'other:*'", 6, False),
    ):
        equal(ended(command, client_id), expected, command)
    # What the other host keeps is ended there, too: here nobody asks for it anew, so nothing else can end it.
    wait_for(lambda: kept(two, DOC % 7), what="the answer is kept")
    pg.execute("UPDATE doc SET t = 'new' WHERE client_id = 7")  # around the hosts: in mode ttl nobody sees it
    one.console("CACHE INVALIDATE TAG client:7")

    def is_new():
        with two.wire(database="shop_auto") as w:
            return w.query(DOC % 7)[0] == ["new"]

    wait_for(is_new, what="the other host asks its server anew")
    with one.wire(database="shop_auto") as w:
        equal(w.query(DOC % 7)[0], ["new"])


@test("explain: which stores, and what of other hosts the mode does not cover")
def explain():
    rows = one.console("CACHE EXPLAIN FOR app@shop_auto " + DOC % 4)
    equal([r["value"] for r in rows if r["what"] in ("cached", "store")], ["yes", "memory", "redis"])
    equal([r["name"] for r in rows if r["what"] == "not covered"], ["writes", "other hosts", "ddl"])


@test("without Redis nothing is there, and what cannot be done is said")
def gone():
    one.console("CACHE SET a:1 x")
    redis.kill()
    equal(get(one, "a:1"), None)
    with expect_error(match="no store could be asked"):
        one.console("CACHE SET a:1 y")
    with expect_error(match="could not be asked"):
        one.console("CACHE INVALIDATE PATTERN 'a:*'")
    equal(do(one, "load a:2 60000 now")[0], "ok")  # is given, though it cannot be kept
    equal(get(one, "a:2"), None)
    redis.start()
    for host in (one, two):
        up(host)
    one.console("CACHE SET a:1 z")
    wait_for(lambda: get(two, "a:1") == "z", what="values are kept again")


main()
