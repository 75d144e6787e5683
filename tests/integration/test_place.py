"""[host] worker_fill: which worker a client's session lives on."""

import concurrent.futures
import os

import harness
import pgwire
from harness import Host, Postgres, equal, main, temp_dir, test, wait_for

pg = Postgres()
WORKERS = 3


def host_with(fill):
    return Host(pg, {"host": {"workers": WORKERS, "worker_fill": fill}})


def reload(host, changes):
    host.configure(harness.merge({"host": {"workers": WORKERS, "worker_fill": host.config["host"]["worker_fill"]}}, changes))
    host.console("RELOAD")


def column(host, name):
    """One column of SHOW WORKERS, by worker."""
    return [row[name] for row in sorted(host.console("SHOW WORKERS"), key=lambda row: row["worker"])]


def placed(host, open_ones):
    """How many clients each worker has, once all of `open_ones` and the console that asks are there."""

    def look():
        counts = column(host, "clients")
        return counts if sum(counts) == open_ones + 1 else None

    return wait_for(look, what="%d clients" % open_ones)


@test("workers are filled one after the other, and beyond that the kernel spreads")
def _():
    with host_with(4) as host:
        clients = [host.wire() for _ in range(3)]
        equal(placed(host, 3), [4, 0, 0])  # with the console that asks
        clients += [host.wire() for _ in range(7)]
        equal(placed(host, 10), [4, 4, 3])
        clients += [host.wire() for _ in range(20)]
        counts = placed(host, 30)
        assert min(counts) >= 4, counts
        for client in clients:
            equal(client.query("SELECT 1"), [["1"]])
        for client in clients:
            client.close()
        wait_for(lambda: column(host, "clients") == [1, 0, 0], what="the console alone")


@test("a worker that clients have left is filled again")
def _():
    with host_with(4) as host:
        first = [host.wire() for _ in range(4)]
        second = [host.wire() for _ in range(2)]
        equal(placed(host, 6), [4, 3, 0])
        for client in first[:2]:
            client.close()
        wait_for(lambda: column(host, "clients") == [3, 2, 0], what="two fewer")
        first += [host.wire()]
        equal(placed(host, 5), [4, 2, 0])
        for client in first[2:] + second:
            equal(client.query("SELECT 1"), [["1"]])


def client_over_unix(path):
    client = pgwire.Wire(os.path.dirname(path), 6432)
    client.login("app", "shop", "secret")
    return client


@test("a burst of connections overfills no worker, on each kind of socket")
def _():
    path = os.path.join(temp_dir(), ".s.PGSQL.6432")
    with host_with(10) as host:
        reload(host, {"listener more": {"listen": "unix:" + path, "auth": "scram-sha-256"}})
        for make in (host.wire, lambda: client_over_unix(path)):
            with concurrent.futures.ThreadPoolExecutor(28) as pool:
                clients = list(pool.map(lambda _: make(), range(28)))
            equal(sorted(placed(host, 28)), [9, 10, 10])
            for client in clients:
                equal(client.status(), "I")
                client.close()
            wait_for(lambda: column(host, "clients") == [1, 0, 0], what="the console alone")


@test("0 leaves it to the kernel, also after a reload")
def _():
    with host_with(1000) as host:
        clients = [host.wire() for _ in range(30)]
        equal(placed(host, 30), [31, 0, 0])
        reload(host, {"host": {"worker_fill": 0}})
        clients += [host.wire() for _ in range(30)]
        counts = placed(host, 60)
        assert counts[0] >= 31 and counts[1] and counts[2], counts
        for client in clients:
            client.close()


@test("SHOW WORKERS tells how busy they are")
def _():
    with host_with(16) as host, host.connect() as client:
        wait_for(lambda: column(host, "busy_percent") == [0, 0, 0], what="idle workers")

        def work():
            for _ in range(2000):
                client.execute("SELECT 1")
            busy = column(host, "busy_percent")
            return busy if busy[0] else None

        busy = wait_for(work, what="a busy worker")
        assert busy[0] <= 100 and busy[1] == busy[2] == 0, busy


main()
