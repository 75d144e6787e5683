"""
Warming: the reads that are answered most often survive a restart in a file, and are run again by the host itself, as the
users who sent them, so that what is filled is what those users ask for.
"""

# Runs under TSan too.

import functools
import os
import stat

import cacheworld
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import bind, describe, execute, parse, query, sync

pg = Postgres()
pg.execute(
    """
    CREATE TABLE item (id int PRIMARY KEY, v text, at timestamptz);
    INSERT INTO item SELECT g, 'item ' || g, '2024-05-06 07:08:09+00' FROM generate_series(1, 50) g;
    CREATE TABLE secret (id int PRIMARY KEY, v text);
    INSERT INTO secret VALUES (1, 'for reader alone');
    CREATE SCHEMA second CREATE TABLE item (id int, v text);
    INSERT INTO second.item VALUES (1, 'of another schema');
    CREATE ROLE reader; GRANT reader TO app;
    GRANT USAGE ON SCHEMA second TO app, other;
    GRANT ALL ON ALL TABLES IN SCHEMA public, second TO app;
    GRANT SELECT ON item TO other;
    REVOKE ALL ON secret FROM app; GRANT SELECT ON secret TO reader;
    """
)

host = Host(pg, {}, start=False)
stats = functools.partial(cacheworld.stats, host)
Counted = functools.partial(cacheworld.Counted, host)
WARM = os.path.join(host.dir, "cache.warm")


def sections(**cache):
    return cacheworld.sections(
        pg,
        {
            "plugin cache": {"enabled": "yes", "mode": "ttl", "warm_file": WARM, "warm_rate": "1000", **cache},
            "plugin cache-memory": {"enabled": "yes"},
            "host": {"workers": 2, "worker_fill": 0},
        },
    )


host.configure(sections())
host.start()


def restart(**cache):
    """As it was stopped: what is in memory is gone."""
    host.stop()
    host.configure(sections(**cache))
    host.start()


def client(database="shop_auto", **more):
    return host.wire(database=database, **more)


def metric(name, **labels):
    return sum(
        int(m["value"])
        for m in host.console("SHOW METRICS %s" % name)
        if m["name"] == name and all("%s=%s" % pair in m["labels"] for pair in labels.items())
    )


def heat(w, *messages, times=40):
    """Answered from the cache so many times."""
    before = stats()["hits"]

    def hot():
        for _ in range(times):
            w.exchange(*messages)
        return stats()["hits"] - before >= times

    wait_for(hot, what="it is answered from the cache")


def extended(sql, values=(), types=(), formats=(), results=(), described=True):
    return (parse("", sql, types), bind("", "", values, formats, results), describe("P") if described else b"", execute(), sync())


READS = [
    (query("SELECT v FROM item WHERE id = 1"),),
    extended("SELECT v, at FROM item WHERE id = $1", (b"2",), (23,)),
    extended("SELECT v, at FROM item WHERE id = $1", (b"\0\0\0\3",), (23,), (1,), (1,)),
    extended("SELECT v FROM item WHERE id = $1 OR v = $2", (b"4", None), (0, 25), described=False),
]


@test("after a restart the hottest reads are answered from the cache at once: simple, extended, text, binary, described or not")
def survives():
    with client() as w:
        for read in READS:
            heat(w, *read)
    host.stop()
    equal(stat.S_IMODE(os.stat(WARM).st_mode), 0o600)
    host.start()
    wait_for(lambda: metric("howdah_cache_warmed_total") >= len(READS), what="the reads are run again")
    with client() as w, Counted(hits=len(READS), misses=0):
        for read in READS:
            w.exchange(*read)


SETTINGS = [
    ({"TimeZone": "Asia/Tokyo", "DateStyle": "German"}, ()),
    ({"options": "-c search_path=second -c extra_float_digits=0"}, ()),
    ({}, ("SET TimeZone = 'America/New_York'", "SET bytea_output = 'escape'")),
]


@test("each with its own user and settings, of the startup packet and of SET: the very keys that clients ask for")
def settings():
    read = query("SELECT * FROM item WHERE id = 1")
    found = []
    for startup, sets in SETTINGS:
        with client(**startup) as w:
            for sql in sets:
                w.query(sql)
            heat(w, read)
            found.append(w.exchange(read))
    with client(user="other", secret="other-secret") as w:
        heat(w, query("SELECT at FROM item WHERE id = 7"))
    host.stop()
    host.start()
    wait_for(lambda: metric("howdah_cache_warmed_total") >= len(READS) + len(SETTINGS) + 1, what="the reads are run again")
    for (startup, sets), expected in zip(SETTINGS, found):
        with client(**startup) as w:
            for sql in sets:
                w.query(sql)
            w.query("SELECT 1")
            with Counted(hits=1, misses=0):
                equal(b"".join(m.encode() for m in w.exchange(read)), b"".join(m.encode() for m in expected))
    with client(user="other", secret="other-secret") as w:
        w.query("SELECT 1")
        with Counted(hits=1, misses=0):
            w.query("SELECT at FROM item WHERE id = 7")


@test("what a role may read is filled for that role alone")
def roles():
    read = query("SELECT v FROM secret WHERE id = 1")
    with client() as w:
        w.query("SET ROLE reader")
        heat(w, read)
    host.stop()
    host.start()
    wait_for(lambda: metric("howdah_cache_warmed_total") > 0 and not is_running(), what="all reads are run again")
    with client() as w:
        w.query("SELECT 1")
        with Counted(hits=0):
            w.query("SELECT v FROM secret WHERE id = 1")
        w.query("SET ROLE reader")
        w.query("SELECT 1")
        with Counted(hits=1, misses=0):
            w.exchange(read)


def is_running():
    return metric("howdah_cache_warm_left") > 0


@test("CACHE WARM runs them on demand; a write in between is read anew")
def on_demand():
    wait_for(lambda: not is_running(), what="nothing is run")
    read = "SELECT v FROM item WHERE id = 20"
    with client() as w:
        heat(w, query(read))
        host.console("CACHE FLUSH")
        pg.execute("UPDATE item SET v = 'around' WHERE id = 20")
        before = metric("howdah_cache_warmed_total")
        wait_for(lambda: host.control("CACHE", "WARM").returncode == 0)
        wait_for(lambda: metric("howdah_cache_warmed_total") > before and not is_running())
        with Counted(hits=1, misses=0):
            equal(w.query(read), [["around"]])


@test("it is written at intervals, too: a host that is killed has lost little")
def killed():
    restart(warm_save="1s")
    with client() as w:
        heat(w, query("SELECT v FROM item WHERE id = 30"))
        wait_for(lambda: b"WHERE id = 30" in open(WARM, "rb").read(), what="the file is written with that")
    host.kill()
    host.start()
    wait_for(lambda: metric("howdah_cache_warmed_total") > 0, what="reads are run again")


@test("a file that others may read, a link, a damaged or cut one: said, not used, and replaced; the host runs")
def bad_files():
    restart()
    host.stop()
    good = open(WARM, "rb").read()
    middle = len(good) // 2
    bad = [good[:middle], b"", b"x" * 100, good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :], good + b"x"]
    said = host.log_text().count("are not used")
    for content in bad:
        with open(WARM, "wb") as f:
            f.write(content)
        host.start()
        wait_for(lambda: host.log_text().count("are not used") == said + 1, what="it is said")
        said += 1
        host.stop()
        equal(len(open(WARM, "rb").read()) >= 32, True)
    with open(WARM, "wb") as f:
        f.write(good)
    os.chmod(WARM, 0o644)
    host.start()
    wait_for(lambda: "nobody else may read or write" in host.log_text(), what="it is said")
    equal(metric("howdah_cache_warmed_total"), 0)
    host.stop()
    equal(stat.S_IMODE(os.stat(WARM).st_mode), 0o600)
    os.unlink(WARM)
    os.symlink("/etc/passwd", WARM)
    host.start()
    host.stop()
    equal(os.path.islink(WARM), False)
    host.start()


@test("users whom the host cannot log in are passed over, and counted; so are statements that fail")
def passed_over():
    pg.execute("CREATE TABLE gone (id int); GRANT ALL ON gone TO app")
    with client() as w:
        heat(w, query("SELECT id FROM gone"))
    host.stop()
    pg.execute("DROP TABLE gone")
    host.start()
    wait_for(lambda: metric("howdah_cache_warm_failed_total", reason="statement") >= 1, what="it is counted")
    # Of the other one the host knows a verifier alone: what logs him in to the server only his own login shows.
    with client(user="other", secret="other-secret") as w:
        heat(w, query("SELECT v FROM item WHERE id = 8"))
    host.stop()
    verifier = pg.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'other'")[0][0]
    host.configure({**sections(), "user other": {"password": None, "verifier": verifier}})
    host.start()
    wait_for(lambda: metric("howdah_cache_warm_failed_total", reason="login") >= 1, what="it is counted")
    with client(user="other", secret="other-secret") as w:
        heat(w, query("SELECT v FROM item WHERE id = 8"))
    restart()


@test("a relative path is refused, and without a file nothing is noted")
def refused():
    host.configure(sections(warm_file="cache.warm"))
    done = host.control("reload")
    equal(done.returncode != 0, True)
    host.wait_log("is no absolute path")
    restart(warm_file="")
    said = host.control("CACHE", "WARM")
    equal(said.returncode != 0, True)
    equal("warm_file" in said.stderr + said.stdout, True)


main()
