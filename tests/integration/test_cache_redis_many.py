"""The cache store in several Redis servers: behind sentinels that fail over, and in a cluster whose slots move."""

import contextlib
import threading
import time

from harness import Host, equal, main, test, wait_for
from redisserver import Cluster, RedisError, Sentinels
from shelf import Shelf, config, counts, pg, servers, shelf, stored, wait_reason, wait_up


def role(server):
    """What ROLE says; nothing while the server closes its clients, as it does when its role changes."""
    try:
        return server.command("ROLE")
    except (ConnectionError, OSError):
        return [None] * 5


@test("sentinels name the master, and a failover is followed")
def failover():
    s = Sentinels(requirepass="open-sesame", masterauth="open-sesame")
    with shelf(s.url, password="open-sesame") as a, shelf(s.url, password="open-sesame") as b:
        stored(a, "one")
        equal(b.code("one"), "ok")
        wait_for(lambda: len(s.replica.keys()) == 1, what="the replica has it")
        s.master.kill()
        for one in (a, b):
            wait_for(lambda: one.code("one") == "busy", what="it is passed by")
        wait_for(lambda: s.master_port() == s.replica.port, what="the sentinels have promoted the replica")
        for one in (a, b):
            wait_for(lambda: one.code("one") == "ok", what="the new master is found")
        stored(a, "two")
        equal(b.code("two"), "ok")
        equal(servers(a.host)[0]["server"], "127.0.0.1:%d" % s.replica.port)
        # The old one comes back, and is told to follow; nobody writes to it.
        s.master.start()
        wait_for(lambda: role(s.master)[0] == b"slave", what="it follows")
        stored(b, "three")
        # A switch by hand: both live, and the old master closes its clients.
        switched = s.master
        wait_for(lambda: role(s.master)[3] == b"connected", what="it has all")

        def have_switched():
            """Asked for again: one that finds that no replica is fit is given up without a word."""
            if s.master_port() == switched.port:
                return True
            with contextlib.suppress(RedisError):
                s.sentinels[0].command("SENTINEL", "FAILOVER", s.name)
            return False

        wait_for(have_switched, what="the sentinels have switched")
        for one in (a, b):
            wait_for(lambda: servers(one.host)[0]["server"].endswith(":%d" % switched.port), what="the switch is followed")
            wait_up(one.host)
            # Sentinels do not wait until a replica has the last writes: the value may be lost, but nothing else.
            assert one.code("three") in ("ok", "miss"), (counts(one.host), switched.keys(), s.replica.keys())
        stored(a, "four")


@test("sentinels that are gone, unknown names: the reason is told, and the next sentinel is asked")
def sentinels_gone():
    s = Sentinels()
    s.sentinels[0].kill()
    with shelf(s.url) as a:
        stored(a, "one")
        for one in s.sentinels:
            one.kill()
        stored(a, "two")
        s.master.kill()
        wait_reason(a.host)
        equal(a.code("one"), "busy")
        s.master.start()
        for one in s.sentinels:
            one.start()
        wait_up(a.host)
        stored(a, "three")
    with shelf(s.url.replace("/main", "/other"), up=False) as a:
        wait_reason(a.host, "does not know the master other")
        equal(a.code("one"), "busy")


cluster = Cluster()


def fill(s, prefix, count=60):
    sums = {}
    for i in range(count):
        key = "%s-%d" % (prefix, i)
        sums[key] = stored(s, key, 50 + i)
    return sums


@test("a cluster: each key goes to its server, erasing and flushing too")
def keys_in_cluster():
    with shelf(cluster.url) as a, shelf(cluster.url) as b:
        sums = fill(a, "spread")
        parts = [len(n.keys()) for n in cluster.nodes]
        equal(sum(parts), len(sums))
        assert min(parts) > 0, parts
        for key, total in sums.items():
            equal(b.get(key)["sum"], total)
        equal(len(servers(a.host)), 3)
        b.erase("spread-7")
        wait_for(lambda: a.code("spread-7") == "miss", what="it is erased")
        cluster.nodes[0].command("SET", "{x}unrelated", 1) if cluster.slot("{x}unrelated") < 5462 else None
        a.host.console("SHELF FLUSH")
        for key in sums:
            equal(b.code(key), "miss")
        equal(sum(n.command("DBSIZE") for n in cluster.nodes if not n.keys("*unrelated")), 0)
        equal(counts(a.host)["errors"] + counts(b.host)["errors"], 0)


@test("a slot that moves: ASK while it does, MOVED when it has, and no value is lost or taken for another")
def resharding():
    with shelf(cluster.url) as a, shelf(cluster.url, workers=2) as b:
        total = stored(a, "mover", 500)
        names = [set(n.keys()) for n in cluster.nodes]
        stored(a, "other", 300)
        name = [k for k in set().union(*names)][0]
        source = cluster.owner(name)
        target = [n for n in cluster.nodes if n is not source][0]
        slot = cluster.slot(name)
        cluster.begin_move(slot, source, target)
        for s in (a, b):
            equal(s.get("mover")["sum"], total)
        cluster.move_key(name, source, target)
        for s in (a, b):  # ASK
            equal(s.get("mover")["sum"], total)
            assert int(s.get("mover")["left"]) > 50000
        assert name in target.keys() and name not in source.keys()
        cluster.end_move(slot, target)
        for s in (a, b):  # MOVED
            equal(s.get("mover")["sum"], total)
        stored(b, "mover", 700)
        equal(a.get("mover")["size"], "700")
        a.erase("mover")
        wait_for(lambda: b.code("mover") == "miss", what="it is erased")
        equal(counts(a.host)["errors"] + counts(b.host)["errors"], 0)
        a.host.console("SHELF FLUSH")
        # And back, under load: every answer is right or none.
        stored(a, "mover", 500)
        stop, failures = threading.Event(), []

        def load(s):
            while not stop.is_set():
                got = s.get("mover")
                if got["code"] not in ("ok", "busy") or (got["code"] == "ok" and got["sum"] != total):
                    failures.append(got)

        threads = [threading.Thread(target=load, args=(s,)) for s in (a, b)]
        for t in threads:
            t.start()
        for here, there in ((target, source), (source, target), (target, source)):
            cluster.begin_move(slot, here, there)
            cluster.move_key(name, here, there)
            time.sleep(0.05)  # some commands in each state; none is waited for
            cluster.end_move(slot, there)
            time.sleep(0.05)
        stop.set()
        for t in threads:
            t.join()
        equal(failures, [])


@test("a server of the cluster dies: its keys are passed by, the others not; and comes back")
def node_dies():
    with shelf(cluster.url, timeout="100ms") as s:
        sums = fill(s, "part", 30)
        lost = cluster.nodes[1]
        lost.kill()
        wait_for(lambda: any(r["state"] == "down" for r in servers(s.host)), what="it is missed")
        # Its slots are not covered, so after a while the rest refuses as well; nothing is wrong, though.
        codes = {s.code(key) for key in sums}
        assert codes <= {"ok", "busy"}, codes
        lost.start()
        wait_for(cluster.ok, what="the cluster is complete")
        wait_up(s.host)
        wait_for(lambda: all(s.code(key) in ("ok", "miss") for key in sums), what="all slots are served")
        stored(s, "after")


@test("a seed that is gone does not matter as long as another is there")
def seeds():
    url = "redis+cluster://127.0.0.1:1,127.0.0.1:%d" % cluster.nodes[2].port
    with shelf(url, up=False) as s:
        wait_for(lambda: len(servers(s.host)) == 3, what="the map is known, and the dead seed is left")
        wait_up(s.host)
        fill(s, "seeds", 10)
    with shelf("redis+cluster://127.0.0.1:1", up=False) as s:
        equal((s.code("a"), s.put("a")["code"]), ("busy", "busy"))


main()
