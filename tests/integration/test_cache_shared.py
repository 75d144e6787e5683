"""
The result cache on a store that hosts share: answers that one host has kept serve the others, and none of them is
given after what it hangs on was written, through whichever host or around them all.
"""

# Runs under TSan too.

import contextlib
import random
import threading
import time

import cacheworld
from cacheworld import gain, stats, warm
from harness import Host, Postgres, comment, equal, main, test, wait_for
from redisserver import Cluster, FakeRedis, Redis, Sentinels

SETTINGS = {"max_wal_senders": 20, "max_replication_slots": 20, "max_prepared_transactions": 5}
TABLES = """
    CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO item SELECT g, 0 FROM generate_series(1, 100) g;
    CREATE TABLE soft (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO soft SELECT g, 0 FROM generate_series(1, 100) g;
    CREATE TABLE slow (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO slow SELECT g, 0 FROM generate_series(1, 100) g;
    CREATE TABLE secret (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO secret VALUES (1, 42);
    CREATE VIEW items AS SELECT id, v FROM item WHERE id < 50;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
    ALTER TABLE secret OWNER TO app;
    ALTER TABLE slow OWNER TO app;
    """

pg = Postgres(SETTINGS)
pg.execute(TABLES)
redis = Redis()

MODES = ("item", "soft", "slow")  # strict, bounded, ttl


def sections(server, url, namespace, bus=True, **more):
    return cacheworld.sections(
        server,
        {
            "plugin cache": {
                "enabled": "yes",
                "mode": "strict",
                "strict_wait": "1m",
                "bound": "500ms",
                "ttl": "10m",
                "stores": "memory, redis",
            },
            "cache soft": {"table": "soft", "mode": "bounded"},
            "cache slow": {"table": "slow", "mode": "ttl"},
            "plugin cache-memory": {"enabled": "yes"},
            # These machines are slow; how quickly it is bypassed is test_cache_redis' business.
            "plugin cache-redis": {"enabled": "yes", "url": url, "namespace": namespace, "timeout": "2s", "max_retry": "300ms"},
            "plugin bus-redis": {"enabled": "yes" if bus else "no", "url": redis.url, "namespace": namespace,
                                 "heartbeat": "200ms", "max_retry": "300ms"},
            "plugin change-stream": {"enabled": "yes", "retry_interval": "50ms"},
            "host": {"workers": 2, "worker_fill": 0},
            **more,
        },
    )  # fmt: skip


names = iter(range(1000))


@contextlib.contextmanager
def hosts(count=2, url=None, servers=None, bus=True, **more):
    """Hosts with a namespace of their own, before the same server or one each, which hear each other."""
    namespace = "t%d" % next(names)
    with contextlib.ExitStack() as stack:
        made = []
        for i in range(count):
            server = servers[i] if servers else pg
            made.append(
                stack.enter_context(Host(server, sections(server, url or redis.url, namespace, bus, **more)))
            )
        for h in made:
            h.namespace = namespace
            if bus:
                wait_for(lambda: h.console("SHOW BUS REDIS")[0]["state"] == "here", what="the bus is here")
        yield made


def client(host, **more):
    return host.wire(database="shop_auto", **more)


def texts(table, i):
    """Texts that are the same read, and other keys: a value of each is stored once."""
    return "SELECT v FROM %s WHERE id = %d" % (table, i)


def cross(a, wa, b, wb, table, timeout=60):
    """Reads that `a` has stored are answered to `b` from there. Fresh ones each time: what is in b's own memory
    proves nothing."""
    until = time.monotonic() + timeout
    ids = random.sample(range(1, 101), 100)
    while time.monotonic() < until and ids:
        i = ids.pop()
        warm(a, wa, texts(table, i))
        before = stats(b)["shared_hits"]
        got = wb.query(texts(table, i))
        if stats(b)["shared_hits"] > before:
            equal(got, [[str(x) for x in r] for r in pg.execute(texts(table, i))])
            return i
        time.sleep(0.05 if len(ids) > 80 else timeout / 100)
    raise AssertionError("b never had a's answer:\n%s\n%s\n%s" % (stats(a), stats(b), b.log_text()[-3000:]))


@test("what one host has kept answers the other's clients, in each mode")
def serves():
    with hosts() as (a, b), client(a) as wa, client(b) as wb:
        for table in MODES:
            cross(a, wa, b, wb, table)
            cross(b, wb, a, wa, table)
        before = stats(b)
        hot = texts("slow", 7)
        warm(a, wa, hot)
        comment({"a": stats(a), "b": stats(b)})
        assert "shared_hits" not in gain(b, before)


@test("its own clients see at once what was written through a host, whatever is stored")
def own_writes():
    with hosts() as (a, b), client(a) as wa, client(b) as wb:
        for table in MODES:
            i = cross(a, wa, b, wb, table)
            for n in range(1, 31):
                wb.query("UPDATE %s SET v = %d WHERE id = %d" % (table, n, i))
                equal(wb.query(texts(table, i)), [[str(n)]], table)


@test("strict: what was acknowledged through either host, or around them, is in every read of both")
def strict():
    with hosts() as (a, b), client(a) as wa, client(b) as wb, pg.connect() as around:
        i = cross(a, wa, b, wb, "item")
        j = cross(b, wb, a, wa, "item")
        writers = [wa.query, wb.query, around.execute]
        before = stats(a), stats(b)
        for n in range(1, 151):
            k = random.choice((i, j))
            random.choice(writers)("UPDATE item SET v = %d WHERE id = %d" % (n, k))
            for w in random.sample((wa, wb, wa, wb), 4):
                equal(w.query(texts("item", k)), [[str(n)]])
                equal(w.query("SELECT v FROM items WHERE id = %d" % k), [[str(n)]] if k < 50 else [])
        comment((gain(a, before[0]), gain(b, before[1])))
        cross(a, wa, b, wb, "item")
        cross(b, wb, a, wa, "item")


@test("bounded: a read is never older than the bound, whoever has written")
def bounded():
    with hosts() as (a, b), client(a) as wa, client(b) as wb, pg.connect() as around:
        i = cross(a, wa, b, wb, "soft")
        writers = [wa.query, wb.query, around.execute]
        for n in range(1, 61):
            writers[n % 3]("UPDATE soft SET v = %d WHERE id = %d" % (n, i))
            done = time.monotonic()
            while True:
                sent = time.monotonic()
                got = [int(w.query(texts("soft", i))[0][0]) for w in (wa, wb)]
                if got == [n, n]:
                    break
                assert sent - done <= 0.5, "read %.3f s later: %s instead of %d" % (sent - done, got, n)
        cross(a, wa, b, wb, "soft")


DO = "DO $$ BEGIN UPDATE slow SET v = v + 1; END $$"


@test("ttl: the other host hears of it over the bus")
def ttl():
    with hosts() as (a, b), client(a) as wa, client(b) as wb:
        i = cross(a, wa, b, wb, "slow")
        for n in range(1, 31):
            wa.query("UPDATE slow SET v = %d WHERE id = %d" % (n, i))
            wait_for(lambda: wb.query(texts("slow", i)) == [[str(n)]], what="b reads %d" % n)
            equal(wa.query(texts("slow", i)), [[str(n)]])
        # Of transactions of another kind, and of many rows.
        for write in (
            "BEGIN; UPDATE slow SET v = 1000 WHERE id = %d; COMMIT" % i,
            "UPDATE slow SET v = v + 1",
            DO,
            "BEGIN; SAVEPOINT s; UPDATE slow SET v = 0; ROLLBACK TO s; UPDATE slow SET v = 7777; COMMIT",
        ):
            if write is DO:  # nothing is known of a session's settings after that
                with client(a) as other:
                    other.query(write)
            else:
                wa.query(write)
            wanted = [[str(x) for x in r] for r in pg.execute(texts("slow", i))]
            equal(wa.query(texts("slow", i)), wanted)
            wait_for(lambda: wb.query(texts("slow", i)) == wanted, what="b reads it after " + write)
        cross(a, wa, b, wb, "slow")


@test("without the bus each still keeps its promises, and values are shared all the same")
def no_bus():
    with hosts(bus=False) as (a, b), client(a) as wa, client(b) as wb:
        i = cross(a, wa, b, wb, "item")
        for n in range(1, 31):
            (wa, wb)[n % 2].query("UPDATE item SET v = %d WHERE id = %d" % (n, i))
            equal([w.query(texts("item", i)) for w in (wa, wb)], [[[str(n)]]] * 2)
        i = cross(a, wa, b, wb, "slow")
        wa.query("UPDATE slow SET v = 5 WHERE id = %d" % i)
        equal(wa.query(texts("slow", i)), [["5"]])
        cross(b, wb, a, wa, "item")


@test("DDL, GRANT and REVOKE through the other host")
def privileges():
    with hosts() as (a, b), client(a) as wa, client(b) as wb:
        cross(a, wa, b, wb, "slow")
        for w, h in ((wa, a), (wb, b)):
            equal(warm(h, w, "SELECT v FROM secret WHERE id = 1"), [["42"]])
        wa.query("REVOKE SELECT ON secret FROM app")
        for w in (wa, wb):
            wait_for(lambda: "42501" in failure(w, "SELECT v FROM secret WHERE id = 1"), what="it is refused")
        wa.query("GRANT SELECT ON secret TO app")
        for w in (wa, wb):
            wait_for(lambda: failure(w, "SELECT v FROM secret WHERE id = 1") == "", what="it is allowed")
        star = "SELECT * FROM slow WHERE id = 3"
        for w, h in ((wa, a), (wb, b)):
            warm(h, w, star)
        wa.query("ALTER TABLE slow ADD COLUMN more text DEFAULT 'x'")
        for w in (wa, wb):
            wait_for(lambda: len(w.query(star)[0]) == 3, what="the new column")
        wa.query("ALTER TABLE slow DROP COLUMN more")
        for w in (wa, wb):
            wait_for(lambda: len(w.query(star)[0]) == 2, what="the column is gone")
        cross(a, wa, b, wb, "slow")


def failure(w, sql):
    try:
        w.query(sql)
    except Exception as e:
        return str(getattr(e, "sqlstate", "") or e)
    return ""


@test("a host takes nothing that was stored before it ran, and what it stores serves the others")
def restarted():
    with hosts() as (a, b), client(a) as wa:
        with client(b) as wb:
            cross(a, wa, b, wb, "slow")
        hot = texts("slow", 11)
        warm(a, wa, hot)
        b.kill()
        wa.query("SELECT 1")
        pg.execute("UPDATE slow SET v = 111 WHERE id = 11")  # around them: nobody tells
        b.start()
        with client(b) as wb:
            equal(wb.query(hot), [["111"]])
            cross(b, wb, a, wa, "slow")


@test("Redis is killed, comes back empty, is flushed, and flushed with its clock")
def redis_gone():
    own = Redis()
    with hosts(url=own.url) as (a, b), client(a) as wa, client(b) as wb:
        for what in ("killed", "flushed", "frozen"):
            i = {t: cross(a, wa, b, wb, t) for t in MODES}
            if what == "killed":
                own.kill()
            elif what == "flushed":
                own.command("FLUSHALL")
            else:
                own.freeze()
            for n in range(1, 11):
                for t in ("item", "slow"):
                    wb.query("UPDATE %s SET v = %d WHERE id = %d" % (t, n, i[t]))
                    equal(wb.query(texts(t, i[t])), [[str(n)]], what)
                equal(wa.query(texts("item", i["item"])), [[str(n)]], what)
            if what == "killed":
                own.start()
            elif what == "frozen":
                own.thaw()
            for t in MODES:
                cross(a, wa, b, wb, t)
                cross(b, wb, a, wa, t)


@test("a Redis that is full takes no values, and no answer is wrong")
def redis_full():
    own = Redis(maxmemory="3mb", maxmemory_policy="noeviction")
    with hosts(url=own.url) as (a, b), client(a) as wa, client(b) as wb:
        i = cross(a, wa, b, wb, "slow")
        with own.client() as c:
            with contextlib.suppress(Exception):
                for n in range(100000):
                    c.command("SET", "filler%d" % n, "x" * 1000)
        for n in range(1, 31):
            wb.query("UPDATE slow SET v = %d WHERE id = %d" % (n, i))
            equal(wb.query(texts("slow", i)), [[str(n)]])
            wait_for(lambda: wa.query(texts("slow", i)) == [[str(n)]], what="a reads %d" % n)
        own.command("FLUSHALL")
        cross(b, wb, a, wa, "slow")


@test("a cluster has one clock, too")
def cluster():
    own = Cluster()
    with hosts(url=own.url) as (a, b), client(a) as wa, client(b) as wb:
        for t in MODES:
            i = cross(a, wa, b, wb, t)
            for n in range(1, 11):
                wb.query("UPDATE %s SET v = %d WHERE id = %d" % (t, n, i))
                equal(wb.query(texts(t, i)), [[str(n)]], t)
        name = next(k for n in own.nodes for k in n.keys() if k.endswith(b"#tick"))
        source, slot = own.owner(name), own.slot(name)
        target = next(n for n in own.nodes if n is not source)
        own.begin_move(slot, source, target)
        own.move_key(name, source, target)
        own.end_move(slot, target)
        i = cross(a, wa, b, wb, "slow")
        for n in range(1, 11):
            wb.query("UPDATE slow SET v = %d WHERE id = %d" % (n, i))
            equal(wb.query(texts("slow", i)), [[str(n)]])
    for n in own.nodes:
        n.kill()


@test("a failover of Redis: the clock goes on, though the replica was behind")
def failover():
    own = Sentinels()
    with hosts(url=own.url) as (a, b), client(a) as wa, client(b) as wb:
        i = {t: cross(a, wa, b, wb, t) for t in MODES}
        own.replica.freeze()
        for n in range(1, 11):
            wb.query("UPDATE slow SET v = %d WHERE id = %d" % (n, i["slow"]))
            equal(wb.query(texts("slow", i["slow"])), [[str(n)]])
        own.master.kill()
        own.replica.thaw()
        for n in range(11, 31):
            for t in ("item", "slow"):
                wb.query("UPDATE %s SET v = %d WHERE id = %d" % (t, n, i[t]))
                equal(wb.query(texts(t, i[t])), [[str(n)]])
            equal(wa.query(texts("item", i["item"])), [[str(n)]])
        wait_for(lambda: own.master_port() == own.replica.port, what="the replica is the master")
        for t in MODES:
            i = cross(a, wa, b, wb, t)
            for n in range(100, 111):
                wb.query("UPDATE %s SET v = %d WHERE id = %d" % (t, n, i))
                equal(wb.query(texts(t, i)), [[str(n)]])
    for r in own.sentinels + [own.replica]:
        r.kill()


@test("a Redis that answers nonsense is no Redis")
def nonsense():
    said = iter(range(10**9))
    answers = (b"+OK\r\n", b":0\r\n", b"$-1\r\n", b"$3\r\nabc\r\n", b"-ERR no\r\n", b"*0\r\n", b"$20\r\n99999999999999999999\r\n",
               b"$17\r\n99999999999999999\r\n", b"$1\r\n1\r\n")  # fmt: skip
    fake = FakeRedis(lambda words: b"+PONG\r\n" if words[0].upper() == b"PING" else answers[next(said) % len(answers)])
    with hosts(url=fake.url) as (a, b), client(a) as wa, client(b) as wb:
        for t in ("item", "slow"):
            warm(a, wa, texts(t, 5))
            for n in range(1, 41):
                wa.query("UPDATE %s SET v = %d WHERE id = 5" % (t, n))
                equal(wa.query(texts(t, 5)), [[str(n)]])
                if t == "item":
                    equal(wb.query(texts(t, 5)), [[str(n)]])
        equal((stats(a)["shared_hits"], stats(b)["shared_hits"]), (0, 0))


@test("the bus is cut while Redis stays: strict goes on, and what was missed is made up for")
def bus_cut():
    own = Redis()
    with hosts(bus=True, **{"plugin bus-redis": {"enabled": "yes", "url": own.url, "heartbeat": "200ms", "max_retry": "200ms"}}) as (
        a,
        b,
    ), client(a) as wa, client(b) as wb:
        i = {t: cross(a, wa, b, wb, t) for t in MODES}
        own.kill()
        for h in (a, b):
            wait_for(lambda: h.console("SHOW BUS REDIS")[0]["state"] != "here", what="the bus is lost")
        warm(b, wb, texts("slow", i["slow"]))
        for n in range(1, 11):
            for t in ("item", "slow"):
                wa.query("UPDATE %s SET v = %d WHERE id = %d" % (t, n, i[t]))
                equal(wa.query(texts(t, i[t])), [[str(n)]])
            equal(wb.query(texts("item", i["item"])), [["%d" % n]])
        own.start()
        wait_for(lambda: wb.query(texts("slow", i["slow"])) == [["10"]], what="what was missed")
        for t in MODES:
            cross(a, wa, b, wb, t)


@test("a host that is killed while it fills leaves nothing that is wrong")
def killed():
    with hosts() as (a, b), client(b) as wb:
        with client(a) as wa:
            cross(a, wa, b, wb, "item")
        stop = threading.Event()

        def load():
            while not stop.is_set():
                with contextlib.suppress(Exception):
                    with client(a) as w:
                        while not stop.is_set():
                            i = random.randint(1, 100)
                            w.query(texts("item", i))
                            if random.random() < 0.2:
                                w.query("UPDATE item SET v = v + 1 WHERE id = %d" % i)
                time.sleep(0.02)  # there is no host

        threads = [threading.Thread(target=load) for _ in range(3)]
        for t in threads:
            t.start()
        for _ in range(3):
            time.sleep(0.5)  # of load
            a.kill()
            for i in range(1, 101):
                wanted = [[str(x) for x in r] for r in pg.execute(texts("item", i))]
                equal(wb.query(texts("item", i)), wanted)
            a.start()
        stop.set()
        for t in threads:
            t.join()
        for i in range(1, 101):
            equal(wb.query(texts("item", i)), [[str(x) for x in r] for r in pg.execute(texts("item", i))])


@test("two servers behind nodes of one name never answer for each other")
def strangers():
    other = Postgres(SETTINGS)
    other.execute(TABLES)
    for t in MODES:
        other.execute("UPDATE %s SET v = 900" % t)
    pg.execute("UPDATE item SET v = 1; UPDATE soft SET v = 1; UPDATE slow SET v = 1")
    with hosts(servers=[pg, other]) as (a, b), client(a) as wa, client(b) as wb:
        for t in MODES:
            for i in range(1, 6):
                equal(warm(a, wa, texts(t, i)), [["1"]])
                equal(warm(b, wb, texts(t, i)), [["900"]])
                equal(wa.query(texts(t, i)), [["1"]])
        equal((stats(a)["shared_hits"], stats(b)["shared_hits"]), (0, 0))
    other.stop("immediate")


@test("what an administrator ends on one host is ended on the other")
def commands():
    with hosts() as (a, b), client(a) as wa, client(b) as wb:
        for command in ("CACHE FLUSH", "CACHE INVALIDATE TABLE slow", "CACHE INVALIDATE PATTERN 'slow:*'",
                        "CACHE INVALIDATE TAG five"):  # fmt: skip
            i = cross(a, wa, b, wb, "slow")
            read = texts("slow", i) + " /* howdah: tag=five cache=on */"
            for h, w in ((a, wa), (b, wb)):
                warm(h, w, read)
            pg.execute("UPDATE slow SET v = v + 1")  # around them: nobody tells
            wanted = [[str(x) for x in r] for r in pg.execute(texts("slow", i))]
            a.console(command)
            equal(wa.query(read), wanted, command)
            wait_for(lambda: wb.query(read) == wanted, what="b has heard of " + command)


def kept_in_redis(host, w, read):
    """Reads what no host has kept until it has come to Redis, too."""
    pattern = "howdah:%s:*" % host.namespace
    before = len(redis.keys(pattern))
    warm(host, w, read)
    wait_for(lambda: len(redis.keys(pattern)) > before, what="it has come to Redis")


@test("equal reads of many clients share one look-up, and one statement where nothing is found")
def stampede():
    with hosts() as (a, b), client(a) as wa, client(b) as wb, contextlib.ExitStack() as stack:
        cross(a, wa, b, wb, "slow")
        clients = [stack.enter_context(client(b)) for _ in range(20)]
        heavy = "SELECT count(*), max(x.v) FROM slow x, slow y, slow z WHERE x.id > %d"
        kept_in_redis(b, wb, heavy % 1)
        heavy %= 2
        kept_in_redis(a, wa, heavy)
        before = stats(b)
        got = []
        threads = [threading.Thread(target=lambda c=c: got.append(c.query(heavy))) for c in clients]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        equal(len({str(g) for g in got}), 1)
        g = gain(b, before)
        comment(g)
        equal((g.get("shared_hits"), g.get("misses", 0) - g.get("waited", 0) <= 0), (1, True))


main()
