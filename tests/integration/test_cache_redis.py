"""The cache store in Redis: values there and back, wrong ones, and a Redis that is slow, gone, full or mad."""

# Runs under TSan too.

import re
import threading
import time

import shelf as shelves
from harness import Host, SplitProxy, equal, free_port, main, test, wait_for
from redisserver import FakeRedis, Redis
from shelf import Shelf, counts, pg, servers, stored, wait_reason, wait_up

redis = Redis()


def config(url=None, **keys):
    return shelves.config(url or redis.url, **keys)


def shelf(url=None, **keys):
    return shelves.shelf(url or redis.url, **keys)

@test("values come back byte for byte: short, long, compressed, incompressible, empty; also for another host")
def round_trips():
    with shelf() as a, shelf() as b:
        for size in (0, 1, 100, 1023, 1024, 1025, 70000, 900000):
            for seed in (1, 4711):
                key = "trip-%d-%d" % (size, seed)
                total = stored(a, key, size, seed=seed, head="the-head", describe="the-description", cost=4711)
                for s in (a, b):
                    got = s.get(key)
                    equal((got["size"], got["sum"]), (str(size), total), key)
                    equal((got["head"], got["describe"], got["cost"]), ("the-head", "the-description", "4711"))
                    assert 50000 < int(got["left"]) <= 60000, got
        equal(stored(a, "none", describe="-") and a.get("none")["describe"], "")
        names = redis.keys()
        assert all(re.fullmatch(rb"howdah:default:[0-9a-f]{32}", n) for n in names), names
        sizes = {redis.command("STRLEN", n) for n in names}
        assert sum(s > 900000 for s in sizes) == 1, "the compressible one is compressed, the other is not"
        equal(a.code("nobody"), "miss")
        a.put("trip-100-1", 5, seed=9)
        equal(wait_for(lambda: b.get("trip-100-1")["size"] == "5", what="the newer value"), True)
        b.erase("trip-100-1")
        wait_for(lambda: a.code("trip-100-1") == "miss", what="it is erased")
        equal(counts(a.host)["wrong"] + counts(b.host)["wrong"], 0)


@test("hosts with other namespaces or prefixes do not see each other's values")
def namespaces():
    with shelf() as a, shelf(namespace="other") as b, shelf(prefix="x:") as c:
        stored(a, "mine")
        equal((b.code("mine"), c.code("mine")), ("miss", "miss"))
        stored(b, "mine", 3)
        equal((a.get("mine")["size"], b.get("mine")["size"]), ("100", "3"))


@test("a value lives as long as it may, and says what is left of that; ttl is a bound")
def ttls():
    with shelf(ttl="10s") as a, shelf() as b:
        stored(a, "long", ttl=3600000)
        for s in (a, b):
            assert 5000 < int(s.get("long")["left"]) <= 10000
        stored(b, "short", ttl=1000)
        wait_for(lambda: b.code("short") == "miss", what="it has expired")
        equal(b.put("dead", ttl=0)["code"], "full")
        redis.command("FLUSHALL")
        stored(b, "persisted", ttl=5000)
        redis.command("PERSIST", redis.keys()[0])
        equal(b.get("persisted")["left"], str(2 * 3600000))


@test("what is cut, changed, longer, of another version, of another key or no value at all is a miss")
def wrong_values():
    redis.command("FLUSHALL")
    with shelf() as s:
        stored(s, "one", 5000)
        name = redis.keys()[0]
        good = redis.command("GET", name)
        stored(s, "two")
        other = redis.command("GET", [n for n in redis.keys() if n != name][0])
        bad = [good[:n] for n in (0, 1, 4, 47, 48, 100, len(good) - 1)]
        bad += [good + b"x", good + good, b"x" * len(good), good[:4] + b"\2" + good[5:]]
        bad += [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in list(range(0, 60)) + [len(good) - 1]]
        before = counts(s.host)["wrong"]
        for value in bad:
            redis.command("SET", name, value)
            equal(s.code("one"), "miss", repr(value[:60]))
        equal(counts(s.host)["wrong"] - before, len(bad))
        redis.command("SET", name, other)
        equal(s.code("one"), "miss")
        redis.command("SET", name, good)
        equal(s.code("one"), "ok")
        redis.command("DEL", name)
        redis.command("RPUSH", name, "a", "list")
        equal(s.code("one"), "busy")
        equal(counts(s.host)["errors"], 1)
        equal(s.code("two"), "ok")


@test("what is longer than max_value_bytes is neither kept nor taken")
def too_long():
    redis.command("FLUSHALL")
    with shelf() as a, shelf(max_value_bytes="1K") as b:
        equal(b.put("big", 2000)["code"], "invalid")
        stored(a, "big", 20000, seed=2)
        equal(b.code("big"), "miss")
        stored(a, "huge", 500000, seed=5000)
        assert b.code("huge") in ("miss", "busy")
        wait_up(b.host)
        stored(b, "small", 100)


@test("a flush drops what is of its namespace, for all hosts, and nothing else")
def flush():
    redis.command("FLUSHALL")
    strange = "we[i]rd*?:"
    with shelf(prefix=strange) as a, shelf(prefix=strange) as b, shelf(prefix="we") as c:
        with redis.client() as r:
            for i in range(3000):
                r.command("SET", "%sdefault:%032x" % (strange, i), "x")
            r.command("SET", "weird*?:default:1", "stays")
            r.command("SET", "users", "stay")
        stored(a, "one")
        stored(b, "two")
        stored(c, "three")
        equal(a.host.console("SHELF FLUSH"), None)
        equal([s.code(k) for s, k in ((a, "one"), (b, "two"), (c, "three"))], ["miss", "miss", "ok"])
        equal(redis.command("DBSIZE"), 3)
        stored(a, "one")
        threads = [threading.Thread(target=s.host.console, args=("SHELF FLUSH",)) for s in (a, b, a)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        equal(redis.command("DBSIZE"), 3)


@test("logs in with a password, as a user, into a database; over a Unix socket; and says why it cannot")
def logins():
    own = Redis(requirepass="open sesame%/@", user="worker on >pass-word ~howdah:* +@all")
    where = "127.0.0.1:%d" % own.port
    good = (
        dict(url="redis://:open%%20sesame%%25%%2F%%40@%s/3" % where),
        dict(url="redis://%s" % where, password="open sesame%/@"),
        dict(url="redis://worker:pass-word@%s" % where),
        dict(url="redis://worker@%s/1" % where, password="pass-word"),
        dict(url="unix:" + own.socket_path, password="open sesame%/@"),
    )
    for n, keys in enumerate(good):
        keys["url"] = keys["url"].replace("%%", "%")
        with shelf(**keys) as s:
            stored(s, "k%d" % n)
            shown = s.host.log_text() + str(servers(s.host)) + s.host.run("--dump-config").stdout
            assert "sesame" not in shown and "pass-word" not in shown, shown
    with own.client() as r:
        equal([(r.command("SELECT", db), r.command("DBSIZE"))[1] for db in (0, 1, 3)], [3, 1, 1])
    for keys, why in (
        (dict(url="redis://:wrong@" + where), "WRONGPASS"),
        (dict(url="redis://nobody:x@" + where), "WRONGPASS"),
        (dict(url="redis://" + where), "NOAUTH"),
        (dict(url="redis://%s/99" % where, password="open sesame%/@"), "DB index"),
        (dict(url="unix:/nowhere/redis.sock"), "No such file"),
    ):
        with shelf(up=False, **keys) as s:
            wait_reason(s.host, why)
            equal((s.code("k"), s.put("k")["code"]), ("busy", "busy"))
            equal(s.stats()["up"], 0)


@test("a name that has to be resolved")
def by_name():
    with shelf("redis://localhost:%d" % redis.port) as s:
        stored(s, "by-name")
    with shelf("redis://no-such-host.invalid:6379", up=False) as s:
        wait_reason(s.host)
        equal(s.code("x"), "busy")


@test("a wrong configuration is told before anything starts, without its secrets")
def wrong_configurations():
    for keys, text in (
        (dict(url="http://x"), "expected redis://"),
        (dict(url="redis+tls://x"), "rediss"),
        (dict(url="redis://"), "host:port"),
        (dict(url="redis://a:0"), "host:port"),
        (dict(url="redis://:secret@a/b"), "a number"),
        (dict(url="redis://a,b"), "several hosts"),
        (dict(url="redis+sentinel://a:1"), "master's name"),
        (dict(url="redis+cluster://a:1/1"), "no database but 0"),
        (dict(url="redis://:secret@a", password="secret"), "leave one"),
        (dict(url="redis://me@a"), "no password"),
        (dict(prefix="a b"), "without blanks"),
        (dict(retry="6s"), "max_retry"),
    ):
        host = Host(pg, config(**keys), start=False)
        result = host.run("-t")
        said = result.stdout + result.stderr
        assert result.returncode != 0 and text in said and "secret" not in said, (keys, said)


@test("every byte in a segment of its own")
def split():
    redis.command("FLUSHALL")
    with SplitProxy(redis.port, size=3) as proxy, shelf("redis://127.0.0.1:%d" % proxy.port, timeout="5s") as s:
        total = stored(s, "split", 3000, seed=4711)
        equal(s.get("split")["sum"], total)


@test("a Redis that stands still is passed by after the timeout, at once while it is known, and comes back")
def frozen():
    own = Redis()
    with shelf(own.url, timeout="5ms") as s:
        wait_for(lambda: s.put("a")["code"] == "ok" and s.code("a") == "ok", what="a value")
        losses, timeouts = int(servers(s.host)[0]["losses"]), counts(s.host)["timeouts"]
        own.freeze()

        def given_up():
            equal(s.code("a"), "busy")
            return int(servers(s.host)[0]["losses"]) > losses

        wait_for(given_up, what="it is given up")
        s.host.wait_log(r"Redis is lost.*(no reply within 200 ms|too late)")
        before = counts(s.host)
        assert before["timeouts"] > timeouts, before
        equal({s.code("a") for _ in range(200)}, {"busy"})
        equal(s.put("b")["code"], "busy")
        now = counts(s.host)
        equal((now["timeouts"] - before["timeouts"], now["bypassed"] - before["bypassed"]), (0, 201))
        own.thaw()
        wait_for(lambda: s.code("a") == "ok", what="it is back")
        wait_for(lambda: s.put("b")["code"] == "ok" and s.code("b") == "ok", what="a value")
        s.host.wait_log("connected to Redis")


@test("a reply that comes late belongs to nobody else")
def late():
    own = Redis()
    with shelf(own.url, timeout="20ms", connect_timeout="5s") as s:
        for key, size in (("a", 10), ("b", 20)):  # where the machine is busy these come too late as well
            wait_for(lambda: s.put(key, size)["code"] == "ok" and s.code(key) == "ok", what="a value")
        for _ in range(10):
            own.freeze()
            equal(s.code("a"), "busy")
            own.thaw()
            # Whether the connection has survived or not: an answer is the answer to its own question.
            got = wait_for(lambda: (lambda g: g["code"] != "busy" and g)(s.get("b")), what="it answers again")
            equal(got["size"], "20")


@test("a Redis that is killed and started again, under load from several workers")
def killed():
    own = Redis()
    with Host(pg, config(own.url, workers=2)) as host:
        wait_up(host)
        stop, failures, seen = threading.Event(), [], set()

        def load(n):
            s = Shelf(host)
            while not stop.is_set():
                try:
                    key = "k%d" % (n % 3)
                    s.put(key, 1000, seed=n % 3)
                    got = s.get(key)
                    seen.add(got["code"])
                    if got["code"] == "ok":
                        equal(got["size"], "1000")
                except Exception as e:
                    failures.append(e)
                    return

        threads = [threading.Thread(target=load, args=(n,)) for n in range(6)]
        for t in threads:
            t.start()
        for _ in range(3):
            wait_for(lambda: "ok" in seen, what="values")
            own.kill()
            wait_up(host, False)
            seen.clear()
            wait_for(lambda: "busy" in seen, what="it is passed by")
            own.start()
            wait_up(host)
            seen.clear()
        wait_for(lambda: "ok" in seen, what="values again")
        stop.set()
        for t in threads:
            t.join()
        equal(failures, [])
        assert all(int(r["losses"]) == 3 for r in servers(host)), servers(host)


@test("a Redis that is full gives what it has, and is written to again when it has room")
def full():
    own = Redis(maxmemory_policy="noeviction")
    with shelf(own.url) as s:
        stored(s, "kept")
        own.command("CONFIG", "SET", "maxmemory", "1")
        wait_for(lambda: s.put("more")["code"] == "busy", what="writes are held back")
        equal((s.code("kept"), s.code("more")), ("ok", "miss"))
        assert counts(s.host)["full"] >= 1
        s.host.wait_log("Redis takes no writes.*OOM")
        own.command("CONFIG", "SET", "maxmemory", "0")
        wait_for(lambda: s.put("more")["code"] == "ok" and s.code("more") == "ok", what="writes go on")
        equal(servers(s.host)[0]["losses"], 0)


@test("a Redis that is loading its data is left alone until it has")
def loading():
    own = Redis(key_load_delay=2000, loading_process_events_interval_bytes=1024)
    with own.client() as c:
        for i in range(300):
            c.command("SET", "filler-%d" % i, "x" * 300)
        c.command("SAVE")
    with shelf(own.url) as s:
        own.kill()
        own.start(wait=False)
        wait_reason(s.host, "LOADING")
        equal(s.code("x"), "busy")
        own.command("CONFIG", "SET", "key-load-delay", "0")
        wait_up(s.host)
        stored(s, "x")


PONG = b"+PONG\r\n"


def fake(answer):
    return FakeRedis(lambda words: PONG if words[0] == b"PING" else answer(words))


@test("replies that make no sense, too many of them, or of absurd sizes: passed by, and no harm done")
def nonsense():
    for name, answer in (
        ("another protocol", lambda w: b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("a status", lambda w: b"+OK\r\n"),
        ("an array", lambda w: b"*2\r\n$1\r\na\r\n:1\r\n"),
        ("an error", lambda w: b"-ERR no\r\n"),
        ("an empty error", lambda w: b"-\r\n"),
        ("two replies for one", lambda w: b"$-1\r\n:5\r\n:5\r\n"),
        ("a huge array", lambda w: b"*2147483647\r\n"),
        ("an array beyond all numbers", lambda w: b"*99999999999999999999\r\n"),
        ("a huge string", lambda w: b"$9223372036854775807\r\nx"),
        ("a negative length", lambda w: b"$-5\r\n"),
        ("nested arrays", lambda w: b"*1\r\n" * 20),
        ("endless bytes", lambda w: b"$100000000\r\n" + b"x" * 3000000),
        ("nothing", lambda w: None),
    ):
        server = fake(answer)
        with shelf(server.url, timeout="50ms") as s:

            def dropped():
                got = s.code("x")
                assert got in ("busy", "miss"), (name, got)
                return int(servers(s.host)[0]["losses"]) >= 1

            wait_for(dropped, what="it is dropped: " + name)
            equal(s.c.execute("SELECT 1").fetchone(), (1,))
        server.close()
    for greeting in (b"-ERR max number of clients reached\r\n", b"+OK\r\n", b"\0\0\0", b"*-7\r\n"):
        server = FakeRedis(lambda w: PONG, greeting)
        with shelf(server.url, up=False) as s:
            wait_reason(s.host)
            equal(s.code("x"), "busy")
        server.close()


@test("a Redis whose replies always come too late is left alone, tried again, and used once it is quicker")
def always_late():
    delay = [0.15]

    def answer(words):
        time.sleep(delay[0])
        return b":1000\r\n" if words[0] == b"PTTL" else b"$-1\r\n"

    server = fake(answer)
    with shelf(server.url, timeout="50ms") as s:

        def given_up():
            equal(s.code("x"), "busy")
            return any("too late" in r["reason"] for r in servers(s.host))

        wait_for(given_up, what="it is given up")
        equal(counts(s.host)["misses"], 0)
        delay[0] = 0
        wait_for(lambda: s.code("x") == "miss", what="it is asked again")
    server.close()


@test("no more than max_pending commands and max_buffer bytes wait for a Redis that is slow")
def bounds():
    hold = threading.Event()

    def slow(words):
        hold.wait(300)
        return b":1000\r\n" if words[0] == b"PTTL" else b"$-1\r\n" if words[0] == b"GET" else b"+OK\r\n"

    server = fake(slow)
    with Host(pg, config(server.url, timeout="10s", max_pending=8, max_buffer="64K", workers=1)) as host:
        wait_up(host)
        clients = [Shelf(host) for _ in range(12)]
        results = []
        threads = [threading.Thread(target=lambda s=s: results.append(s.code("k"))) for s in clients[1:]]
        for t in threads:
            t.start()
        wait_for(lambda: len(results) >= 7, what="some are refused at once")
        equal(set(results), {"busy"})
        equal(clients[0].put("big", 70000, seed=5000)["code"], "busy")
        hold.set()
        for t in threads:
            t.join()
        # Each look-up is two commands, and begins only where there is room for four.
        equal((results.count("miss"), results.count("busy")), (3, 8))
        equal(counts(host)["bypassed"], 9)
    server.close()


@test("switched off and on again while it is used; reloads take what they may")
def switching():
    with Host(pg, config(workers=2)) as host:
        wait_up(host)
        stop, failures = threading.Event(), []

        def load():
            s = Shelf(host)
            while not stop.is_set():
                try:
                    s.c.execute("SELECT 1").fetchone()
                    s("stats")
                except Exception as e:
                    failures.append(e)
                    return

        threads = [threading.Thread(target=load) for _ in range(3)]
        for t in threads:
            t.start()
        for _ in range(5):
            # A store stays as long as somebody uses it.
            for plugin, mode in (
                ("shelf", "disable"),
                ("cache-redis", "disable"),
                ("cache-redis", "enable"),
                ("shelf", "enable"),
            ):
                host.switch(plugin, mode)
            wait_up(host)
        stop.set()
        for t in threads:
            t.join()
        # While `shelf` is off, its comments are only comments, and the server's 1 is no figure.
        equal([f for f in failures if not isinstance(f, (ValueError, AttributeError, TypeError))], [])
        s = Shelf(host)
        stored(s, "again")
        host.configure(config(workers=2, ttl="5s"))
        host.console("RELOAD")
        stored(s, "bounded")
        wait_for(lambda: s.put("bounded") and int(s.get("bounded")["left"]) <= 5000, what="the new ttl")


@test("figures: SHOW CACHE REDIS, metrics, the store's own")
def figures():
    redis.command("FLUSHALL")
    with shelf() as s:
        stored(s, "a")
        before = counts(s.host)
        s.get("a"), s.get("nobody"), s.put("a"), s.put("a", ttl=0)
        now = counts(s.host)
        equal({k: now[k] - before[k] for k in now if now[k] != before[k]}, dict(hits=1, misses=1, puts=1, rejected=1))
        stats = s.stats()
        equal((stats["up"], stats["hits"], stats["puts"]), (1, now["hits"], now["puts"]))
        metrics = {r["name"]: r for r in s.host.console("SHOW METRICS")}
        assert "howdah_cache_redis_hits_total" in metrics and "howdah_cache_redis_seconds" in metrics, metrics


@test("nobody listens at first")
def begins_later():
    port = free_port()
    with shelf("redis://127.0.0.1:%d" % port, up=False) as s:
        wait_reason(s.host, "refused")
        equal(s.code("a"), "busy")
        own = Redis(port=port)
        wait_up(s.host)
        stored(s, "a")
        own.kill()


main()
