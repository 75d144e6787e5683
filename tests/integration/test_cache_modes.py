"""
How old the result cache's answers may be, when others write around the host: strict, bounded, ttl. Writes go straight
to PostgreSQL; a read that starts after such a write was acknowledged gets it, or, in mode bounded, soon.
"""

# Runs under TSan too.

import functools
import random
import threading
import time

import cacheworld
from harness import Host, Postgres, comment, equal, main, test, wait_for

pg = Postgres({"max_wal_senders": 20, "max_replication_slots": 20, "max_prepared_transactions": 5})
pg.execute(
    """
    CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO item SELECT g, 0 FROM generate_series(1, 50) g;
    CREATE TABLE soft (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO soft SELECT g, 0 FROM generate_series(1, 50) g;
    CREATE TABLE keyless (id int, v int);
    INSERT INTO keyless VALUES (1, 0);
    CREATE UNLOGGED TABLE fast (id int PRIMARY KEY, v int);
    INSERT INTO fast VALUES (1, 0);
    CREATE TABLE part (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
    INSERT INTO part VALUES (1, 0);
    CREATE VIEW items AS SELECT id, v FROM item WHERE id < 40;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
    """
)

PLUGINS = {
    "plugin cache": {"enabled": "yes", "mode": "strict", "strict_wait": "1m", "bound": "200ms"},
    "cache soft": {"table": "soft", "mode": "bounded"},
    "plugin cache-memory": {"enabled": "yes"},
    "plugin change-stream": {"enabled": "yes", "retry_interval": "50ms"},
    "host": {"workers": 2, "worker_fill": 0},
}


host = Host(pg, cacheworld.sections(pg, PLUGINS))
stats = functools.partial(cacheworld.stats, host)
warm = functools.partial(cacheworld.warm, host)


def client():
    return host.wire(database="shop_auto")


READ = "SELECT v FROM item WHERE id = %d"


@test("strict: what was acknowledged around the host is in every read that starts after")
def strict():
    with client() as w, pg.connect() as around:
        warm(w, READ % 1)
        before = stats()
        for i in range(1, 101):
            around.execute("UPDATE item SET v = %d WHERE id = 1" % i)
            for _ in range(3):
                equal(w.query(READ % 1), [[str(i)]])
        after = stats()
        comment({k: after[k] - before[k] for k in after if after[k] != before[k]})
        warm(w, READ % 1)
        before = stats()
        for _ in range(100):
            equal(w.query(READ % 1), [["100"]])
        assert stats()["hits"] - before["hits"] > 50, "hardly anything came from the cache"


@test("the same behind a view, in a partition, by TRUNCATE, COPY, and commits that are not waited for")
def more_writes():
    with client() as w, pg.connect() as around:
        for read, writes in (
            ("SELECT sum(v) FROM items", ["UPDATE item SET v = v + 1 WHERE id = 5", "DELETE FROM item WHERE id = 30"]),
            ("SELECT sum(v), count(*) FROM part", ["UPDATE part SET v = 7", "INSERT INTO part VALUES (2, 5)", "TRUNCATE part_1"]),
            ("SELECT count(*) FROM item", ["SET synchronous_commit = off; INSERT INTO item VALUES (%d, 1)" % n for n in range(1000, 1020)]),
            ("SELECT count(*) FROM item", ["BEGIN; INSERT INTO item VALUES (2000, 1); SAVEPOINT a; INSERT INTO item VALUES (2001, 1);"
                                          " ROLLBACK TO a; COMMIT"]),
        ):  # fmt: skip
            warm(w, read)
            for write in writes:
                around.execute(write)
                equal(w.query(read), [[None if x is None else str(x) for x in row] for row in around.execute(read).fetchall()], write)
                warm(w, read)


@test("bounded: an answer is not older than the bound")
def bounded():
    read = "SELECT v FROM soft WHERE id = 1"
    worst = 0.0
    with client() as w, pg.connect() as around:
        warm(w, read)
        for i in range(1, 31):
            around.execute("UPDATE soft SET v = %d WHERE id = 1" % i)
            written = time.monotonic()
            while True:
                started = time.monotonic()
                got = w.query(read)
                if got == [[str(i)]]:
                    break
                worst = max(worst, started - written)
                assert started - written <= 0.2, "%.3f s after the write: %s" % (started - written, got)
            warm(w, read)
    comment("the oldest answer was from before a write %.0f ms ago" % (worst * 1000))


@test("tables whose changes are not told are not kept")
def untold():
    with client() as w:
        for table in ("keyless", "fast"):
            before = stats()

            def bypassed():
                equal(w.query("SELECT v FROM %s" % table), [["0"]])
                return stats()["bypassed: uncovered"] > before["bypassed: uncovered"] + 3

            wait_for(bypassed, what="four reads that are not kept for that")
            equal(stats()["hits"], before["hits"])


@test("a commit that is decoded but not to be seen yet: nobody gets it, and the old row is not kept")
def stalled():
    pg.execute("UPDATE item SET v = 0 WHERE id = 10")
    with client() as w, pg.connect() as writer:
        warm(w, READ % 10)
        pg.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
        pg.execute("SELECT pg_reload_conf()")
        wait_for(lambda: pg.execute("SHOW synchronous_standby_names")[0][0] == "absent", what="the server waits for a standby")
        before = stats()["followed"]
        thread = threading.Thread(target=writer.execute, args=("UPDATE item SET v = 1 WHERE id = 10",))
        thread.start()
        wait_for(lambda: stats()["followed"] > before, what="the stream tells of the commit")
        for _ in range(20):
            equal(w.query(READ % 10), [["0"]])
        pg.execute("ALTER SYSTEM RESET synchronous_standby_names")
        pg.execute("SELECT pg_reload_conf()")
        thread.join(60)
        assert not thread.is_alive()
        for _ in range(5):
            equal(w.query(READ % 10), [["1"]])
        equal(warm(w, READ % 10), [["1"]])


@test("a stream that is lost, again and again: nothing old is ever given")
def lost():
    with client() as w, pg.connect() as around:
        warm(w, READ % 20)
        for i in range(1, 9):
            pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
            for k in range(5):
                around.execute("UPDATE item SET v = %d WHERE id = 20" % (i * 10 + k))
                equal(w.query(READ % 20), [[str(i * 10 + k)]])
        equal(warm(w, READ % 20), [["84"]])


@test("writers around and through the host, readers, a stream that breaks: no read is older than what was acknowledged")
def history():
    rows, seconds = 20, 6.0
    acknowledged = [0] * (rows + 1)
    problems, reads, stop = [], [0], threading.Event()
    pg.execute("UPDATE item SET v = 0")

    def reader(seed):
        rng = random.Random(seed)
        with client() as w:
            while not stop.is_set() and not problems:
                n = rng.randint(1, rows)
                least = acknowledged[n]
                got = int(w.query(READ % n)[0][0])
                reads[0] += 1
                if got < least:
                    problems.append((n, got, least))

    def writer(seed, mine, through):
        rng = random.Random(seed)
        with (client() if through else pg.wire(user="app", secret="secret")) as w:
            while not stop.is_set() and not problems:
                n = rng.choice(mine)
                value = acknowledged[n] + 1
                w.query("UPDATE item SET v = %d WHERE id = %d" % (value, n))
                acknowledged[n] = value
                time.sleep(rng.choice((0, 0.002, 0.02)))

    threads = [threading.Thread(target=reader, args=(n,)) for n in range(4)]
    threads += [threading.Thread(target=writer, args=(10, range(1, 8), False))]
    threads += [threading.Thread(target=writer, args=(11, range(8, 15), True))]
    before = stats()
    for t in threads:
        t.start()
    until = time.monotonic() + seconds
    while (time.monotonic() < until or reads[0] < 1000) and not problems:
        time.sleep(seconds / 3)
        pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
    stop.set()
    for t in threads:
        t.join()
    after = stats()
    comment("%d reads, %s" % (reads[0], {k: after[k] - before[k] for k in after if after[k] != before[k]}))
    equal(problems, [])
    with client() as w:
        equal(warm(w, READ % 1), [[str(acknowledged[1])]])


@test("DDL around the host, where the server tells of it")
def ddl_around():
    sql = host.console("CACHE SETUP")[0]["sql"]
    pg.execute(sql)
    pg.execute("CREATE VIEW around AS SELECT v FROM item WHERE id = 3; GRANT SELECT ON around TO app")
    with client() as w:
        for i in range(5):
            warm(w, "SELECT v FROM around")
            pg.execute("CREATE OR REPLACE VIEW around AS SELECT v + %d AS v FROM item WHERE id = 3" % (i * 1000))
            equal(w.query("SELECT v FROM around"), [[str(v)] for v, in pg.execute("SELECT v FROM around")])


@test("strict without the change stream is refused, and says what would do")
def without():
    made = {k: v for k, v in cacheworld.sections(pg, PLUGINS).items() if k != "plugin change-stream"}
    with Host(pg, made) as bare:
        assert "say mode = ttl" in str(bare.console("SHOW PLUGINS")), bare.console("SHOW PLUGINS")


main()
