"""Several hosts behind one balancer: a cancel that arrives at the wrong one finds its way, once."""

# Runs under TSan too.

import contextlib
import hashlib
import hmac
import os
import socket
import struct
import threading
import time

import psycopg

import harness
import pgwire
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import query

pg = Postgres()
PEER_REQUEST = 80877180
SECRET = "a-secret-of-both-hosts"


class Balancer:
    """Forwards connections to the targets in turn."""

    def __init__(self, *ports):
        self.ports = ports
        self.count = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                target = socket.create_connection(("127.0.0.1", self.ports[self.count % len(self.ports)]))
                self.count += 1
                for a, b in ((client, target), (target, client)):
                    threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    @staticmethod
    def _pump(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


def two_hosts(secrets=(SECRET, SECRET), addresses=None):
    hosts = [Host(pg, start=False), Host(pg, start=False)]
    for i, host in enumerate(hosts):
        address = addresses[i] if addresses else "127.0.0.1:%d" % hosts[1 - i].port
        host.configure(
            {"host": {"id": i + 1}, "peer %d" % (2 - i): {"address": address, "secret": secrets[i]}}
        )
        host.start()
    return hosts


@contextlib.contextmanager
def running(*args, **kwargs):
    hosts = two_hosts(*args, **kwargs)
    with hosts[0], hosts[1]:
        yield hosts


def sleeping(mark):
    return lambda: pg.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%%pg_sleep%%%s%%'"
        " AND pid <> pg_backend_pid()" % mark
    )[0][0]


def cancel_at(port, pid, key):
    with pgwire.Wire("127.0.0.1", port) as c:
        c.send(pgwire.cancel_request(pid, key))
        c.expect_closed(8)


def is_cancelled(w):
    got = w.recv_until("Z")
    return [m.fields()["C"] for m in got if m.type == "E"] == ["57014"]


@test("libpq's cancel through a balancer that takes turns")
def balanced():
    with running() as hosts:
        balancer = Balancer(hosts[0].port, hosts[1].port)
        dsn = psycopg.conninfo.make_conninfo(hosts[0].dsn(), port=balancer.port)
        for n in range(6):
            with psycopg.connect(dsn, autocommit=True) as c:
                timer = threading.Timer(0.3, c.cancel)
                timer.start()
                with harness.expect_error("57014"):
                    c.execute("SELECT pg_sleep(60)")
                timer.join()
                equal(c.execute("SELECT %d" % n).fetchone(), (n,))

        def relayed():
            rows = [host.console("SHOW METRICS howdah_cancels_relayed_total")[0] for host in hosts]
            return sum(int(row["value"]) for row in rows)

        wait_for(lambda: relayed() >= 6, what="six cancels that were passed on")
        equal(relayed(), 6)
        balancer.close()


@test("a cancel at the wrong host hits its own session and no other, both ways round")
def both_ways():
    with running() as hosts:
        for here, there in ((0, 1), (1, 0)):
            with hosts[here].wire() as a, hosts[here].wire() as b, hosts[there].wire() as c:
                for w, mark in ((a, "aa"), (b, "bb"), (c, "cc")):
                    w.send(query("SELECT pg_sleep(1.5), '%s'" % mark))
                    wait_for(sleeping(mark), what="it sleeps")
                cancel_at(hosts[there].port, a.backend_pid, a.backend_key)
                assert is_cancelled(a)
                equal(pgwire.kinds(b.recv_until("Z")), "TDCZ")
                equal(pgwire.kinds(c.recv_until("Z")), "TDCZ")
                cancel_at(hosts[there].port, a.backend_pid, b"\0\0\0\0")
                equal(a.query("SELECT 1"), [["1"]])


@test("the asker is let go only when the cancel was sent")
def in_order():
    with running() as hosts, hosts[0].wire() as a:
        for n in range(20):
            a.send(query("SELECT pg_sleep(10), 'in order %d'" % n))
            wait_for(sleeping("in order %d" % n), what="it sleeps")
            cancel_at(hosts[1].port, a.backend_pid, a.backend_key)
            assert is_cancelled(a)
            equal(a.query("SELECT pg_sleep(0.01), 'next'"), [["", "next"]])


def packet(sender, pid, key, secret=SECRET, nonce=None):
    signed = struct.pack("!II", PEER_REQUEST, sender) + (nonce or os.urandom(16)) + struct.pack("!I", pid) + key
    mac = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return struct.pack("!I", 4 + len(signed) + len(mac)) + signed + mac


@test("a relayed cancel must be signed, and goes no further")
def signed():
    with running() as hosts, hosts[0].wire() as a:
        good = packet(2, a.backend_pid, a.backend_key)
        forged = [
            packet(2, a.backend_pid, a.backend_key, "another secret"),
            packet(3, a.backend_pid, a.backend_key),
            packet(1, a.backend_pid, a.backend_key),
            good[:-1] + bytes([good[-1] ^ 1]),
            good[:12] + bytes([good[12] ^ 1]) + good[13:],
            struct.pack("!I", 20) + good[4:20],
            struct.pack("!I", 8 + 300) + good[4:] + b"x" * 400,
            packet(2, a.backend_pid, b"\0" * 4),
            packet(2, a.backend_pid, b""),
            packet(2, a.backend_pid, a.backend_key + b"more"),
        ]
        a.send(query("SELECT pg_sleep(2), 'signed'"))
        wait_for(sleeping("signed"), what="it sleeps")
        for data in forged:
            with pgwire.Wire("127.0.0.1", hosts[0].port) as c:
                c.send(data)
                c.expect_closed()
        # Signed well, but for the other host: not passed on a second time.
        with pgwire.Wire("127.0.0.1", hosts[1].port) as c:
            c.send(packet(1, a.backend_pid, a.backend_key))
            c.expect_closed()
        equal(pgwire.kinds(a.recv_until("Z")), "TDCZ")
        a.send(query("SELECT pg_sleep(20), 'signed well'"))
        wait_for(sleeping("signed well"), what="it sleeps")
        with pgwire.Wire("127.0.0.1", hosts[0].port) as c:
            c.send(good)
            c.expect_closed()
        assert is_cancelled(a)


@test("other secrets, a peer that is away, one that does not answer, and one that is the host itself")
def unreachable():
    with running(secrets=(SECRET, "not the same secret")) as hosts, hosts[0].wire() as a:
        harmless(hosts, a)
    silent = socket.create_server(("127.0.0.1", 0))
    closed = harness.free_port()
    for port in (closed, silent.getsockname()[1]):
        with running(addresses=["127.0.0.1:%d" % port] * 2) as hosts, hosts[0].wire() as a:
            harmless(hosts, a)
    hosts = [Host(pg, start=False), Host(pg, start=False)]
    for i, host in enumerate(hosts):
        host.configure(
            {"host": {"id": i + 1}, "peer %d" % (2 - i): {"address": "127.0.0.1:%d" % host.port, "secret": SECRET}}
        )
        host.start()
    with hosts[0], hosts[1], hosts[0].wire() as a:
        harmless(hosts, a)
    silent.close()


def harmless(hosts, a):
    a.send(query("SELECT pg_sleep(0.5), 'away'"))
    wait_for(sleeping("away"), what="it sleeps")
    cancel_at(hosts[1].port, a.backend_pid, a.backend_key)
    equal(pgwire.kinds(a.recv_until("Z")), "TDCZ")


@test("a host that stops does not wait for a peer that does not answer")
def stops():
    silent = socket.create_server(("127.0.0.1", 0))
    with running(addresses=["127.0.0.1:%d" % silent.getsockname()[1]] * 2) as hosts, hosts[0].wire() as a:
        c = pgwire.Wire("127.0.0.1", hosts[1].port)
        c.send(pgwire.cancel_request(a.backend_pid, a.backend_key))
        time.sleep(0.3)
        began = time.monotonic()
        equal(hosts[1].stop(), 0)
        assert time.monotonic() - began < 3
        c.close()
    silent.close()


@test("what is wrong with peers is said by -t")
def checked():
    host = Host(pg, start=False)
    for changes, words in (
        ({"peer 2": {"address": "127.0.0.1:1", "secret": "x"}}, "set id in"),
        ({"host": {"id": 2}, "peer 2": {"address": "127.0.0.1:1", "secret": "x"}}, "has the id of this host"),
        ({"host": {"id": 2}, "peer two": {"address": "127.0.0.1:1", "secret": "x"}}, "named by its id"),
        ({"host": {"id": 2}, "peer 1": {"address": "127.0.0.1", "secret": "x"}}, "address"),
        ({"host": {"id": 2}, "peer 1": {"address": "127.0.0.1:1"}}, "needs a secret"),
        ({"host": {"id": 200}}, "127"),
    ):
        host.configure(changes)
        result = host.run("-t")
        assert result.returncode and words in result.stderr + result.stdout, (words, result.stderr + result.stdout)
    host.configure({"host": {"id": 2}, "peer 1": {"address": "127.0.0.1:1", "secret": "hidden-words"}})
    result = host.run("--dump-config")
    assert "hidden-words" not in result.stdout and "[peer 1]" in result.stdout, result.stdout


main()
