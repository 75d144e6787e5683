"""
The result cache under many at once: a thousand equal misses are one statement at the server, equal misses within pipelines
wait for nobody who waits for them, and who reads after a write was acknowledged sees it.
"""

# Runs under TSan too.

import contextlib
import functools
import resource
import threading

import cacheworld
from cacheworld import encoded
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import kinds, query, run, sync

CROWD = 1000

# Their sockets.
resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)

pg = Postgres({"max_connections": 30, "log_statement": "all"})
pg.execute(
    """
    CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO item SELECT g, g FROM generate_series(1, 50) g;
    GRANT ALL ON item TO app;
    """
)

# Nobody comes to the end of `wait`: a test would come to its own before.
CONFIG = {
    "host": {"workers": 2, "worker_fill": 0, "max_clients": CROWD + 100},
    "listener main": {"auth": "trust"},
    "database *": {"pool_mode": "auto", "pool_size": 10},
    "node main": {"control_user": "postgres"},
    "plugin cache": {"enabled": "yes", "mode": "ttl", "wait": "1h"},
    "plugin cache-memory": {"enabled": "yes"},
}
host = Host(pg, CONFIG)
stats = functools.partial(cacheworld.stats, host)
warm = functools.partial(cacheworld.warm, host)


@contextlib.contextmanager
def crowd(count):
    wires = []
    try:
        for _ in range(count):
            wires.append(host.wire())
        yield wires
    finally:
        for w in wires:
            w.close()


SLOW = "SELECT count(*), %s FROM item a, item b, item c, item d WHERE a.id + b.id <> c.id + d.id + 1000"


@test("a thousand equal misses at once are one statement at the server", timeout=300)
def stampede():
    forms = (
        ("simple", 2, query(SLOW % 2), SLOW % 2),
        ("extended", 3, run(SLOW % "$1::int", ("3",)), SLOW % "$1::int"),
    )
    with host.wire() as w:
        warm(w, query(SLOW % 1))
        warm(w, run(SLOW % "$1::int", ("1",)))
    with crowd(CROWD) as wires, pg.wire(user="app", secret="secret") as direct:
        for how, _, message, text in forms:
            before, sent = stats(), pg.log_text().count(text)
            for w in wires:
                w.send(message)
            answers = {encoded(w.recv_until("Z", timeout=120)) for w in wires}
            changed = {name: value - before[name] for name, value in stats().items()}
            # On a slow machine the last ones may come when the answer is there already.
            equal((how, changed["stored"], changed["misses"] + changed["hits"]), (how, 1, CROWD))
            equal(changed["waited"], changed["misses"] - 1)
            assert changed["waited"] > CROWD / 10, changed
            equal(pg.log_text().count(text) - sent, 1, how)
            equal(answers, {encoded(direct.exchange(message))}, how)


@test("those who wait for one that fails: each gets an error of its own, and none waits for ever")
def failing():
    text = "SELECT 1 / (count(*) - %d) FROM item a, item b, item c"
    with host.wire() as w:
        warm(w, query(text % 1))
    with crowd(100) as wires:
        before = stats()
        for w in wires:
            w.send(query(text % 125000))
        for w in wires:
            answer = w.recv_until("Z", timeout=120)
            equal([m.fields()["C"] for m in answer if m.type == "E"], ["22012"])
        changed = {name: value - before[name] for name, value in stats().items()}
        equal((changed["stored"], changed["waited"], changed["hits"]), (0, 0, 0))
        # Nobody is left in flight: an equal one is asked for again.
        equal(kinds(wires[0].exchange(query(text % 125000))), "TEZ")


@test("equal misses in one pipeline, and across two: nobody waits for himself")
def pipelined_misses():
    def read(n):
        return run("SELECT count(*) FROM item WHERE id > $1", (str(n),))

    def batch(*numbers):
        return b"".join(read(n)[: -len(sync())] for n in numbers) + sync()

    with host.wire() as one, host.wire() as two:
        warm(one, read(100))
        for n in range(101, 121):
            one.send(batch(n, n, n + 100))
            two.send(batch(n + 100, n))
            equal(kinds(one.recv_until("Z")), 3 * "12TDC" + "Z")
            equal(kinds(two.recv_until("Z")), 2 * "12TDC" + "Z")


@test("who waits behind a pipeline for an equal answer leaves the only server to him who asks for it")
def one_server():
    read = run("SELECT v FROM item WHERE id = $1", ("7",))
    sections = {**CONFIG, "database *": {**CONFIG["database *"], "pool_size": 1}}
    with Host(pg, sections) as other, other.wire() as one, other.wire() as two, pg.connect() as holder:
        cacheworld.warm(other, two, read.replace(b"7", b"8"))
        before = cacheworld.stats(other)["misses"]

        def missed(n):
            wait_for(lambda: cacheworld.stats(other)["misses"] == before + n, what="%d misses" % n)

        holder.execute("BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        one.send(query("SELECT v FROM item WHERE id = 9 /* howdah: cache=off */"))
        wait_for(lambda: pg.backends("wait_event_type = 'Lock' AND query LIKE '%cache=off%'") == 1, what="the server to be taken")
        two.send(read)
        missed(1)
        one.send(read)
        missed(2)
        holder.execute("COMMIT")
        equal(two.recv_until("Z")[3].row(), [b"7"])
        equal([m.row() for m in one.recv_until("Z", 2) if m.type == "D"][1:], [[b"7"]])
        equal(cacheworld.stats(other)["waited"], 1)


@test("writers and readers at once: who reads after a write was acknowledged sees it")
def at_once():
    problems, acknowledged, stop = [], [0], threading.Event()
    pg.execute("CREATE TABLE counter (id int PRIMARY KEY, v int)")
    pg.execute("INSERT INTO counter VALUES (1, 0)")
    pg.execute("GRANT ALL ON counter TO app")

    def reads():
        with host.wire() as w:
            while not stop.is_set() and not problems:
                least = acknowledged[0]
                got = int(w.query("SELECT v FROM counter WHERE id = 1")[0][0])
                if got < least:
                    problems.append((got, least))

    threads = [threading.Thread(target=reads) for _ in range(4)]
    for t in threads:
        t.start()
    with host.wire() as w:
        for i in range(1, 300):
            w.query("UPDATE counter SET v = %d WHERE id = 1" % i)
            acknowledged[0] = i
    stop.set()
    for t in threads:
        t.join()
    equal(problems, [])
    with host.wire() as w:
        equal(warm(w, query("SELECT v FROM counter WHERE id = 1"))[1].row(), [b"299"])


main()
