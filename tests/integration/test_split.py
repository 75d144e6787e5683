"""
Messages that arrive in pieces, at every byte and at random sizes, between client and host and between host and
server: what comes out is what PostgreSQL says directly.
"""

# Runs under TSan too.

import pgwire
import sides
from harness import Host, Postgres, SplitProxy, equal, main, test
from pgwire import bind, close, copy_data, copy_done, copy_fail, describe, execute, flush, parse, query, run, sync

pg = Postgres()
pg.execute("GRANT CREATE ON SCHEMA public TO app")
pg.execute("CREATE TABLE sink (id int, name text)")
pg.execute("GRANT ALL ON sink TO app")
sides.make_twin(pg)


def simple(s):
    s.query("SELECT 1 AS one, NULL, 'two'")
    s.query("SELECT 1; SELECT 1/0; SELECT 2")
    s.query("")
    s.query("SET application_name = 'in pieces'; SHOW application_name")
    s.query("BEGIN")
    s.query("DO $$ BEGIN RAISE NOTICE 'a notice'; END $$")
    s.query("ROLLBACK")
    s.query("SELECT i, repeat('x', i) FROM generate_series(1, 20) i")
    s.exchange(query("SELECT 1"), query("SELECT 2"), query("SELEC"), query("SELECT 4"), ready=4)


def extended(s):
    s.run("SELECT $1::int, $2::text", "1", "two")
    s.exchange(parse("s", "SELECT $1::int"), describe("S", "s"), bind("p", "s", ["7"]), execute("p"), sync())
    s.exchange(bind("", "s", ["1"]), execute(), bind("", "s", ["x"]), execute(), sync(), run("SELECT 2"), ready=2)
    s.exchange(parse("s", "SELECT 'taken'"), sync(), own=True)
    s.exchange(close("S", "s"), bind("", "s", ["1"]), sync(), own=True)
    s.exchange(parse("", "SELECT i FROM generate_series(1, 5) i"), bind(), execute("", 2), execute(), sync())
    s.send(parse("", "SELECT 1"), flush())
    s.receive(1)
    s.exchange(sync(), sync(), ready=2)


def copies(s):
    s.query("COPY (SELECT i, 'text ' || i FROM generate_series(1, 30) i) TO STDOUT")
    s.send(query("COPY sink FROM STDIN"))
    s.receive(1)
    s.exchange(copy_data("1\tone\n2\tt"), copy_data("wo\n"), copy_done())
    s.send(query("COPY sink FROM STDIN"))
    s.receive(1)
    s.exchange(copy_data("x\n"), copy_data("2\ttwo\n"), copy_done(), query("DELETE FROM sink"), ready=2)
    s.send(parse("", "COPY sink FROM STDIN"), bind(), execute(), sync())
    s.receive(3)
    s.exchange(copy_fail("no"), sync())


KINDS = {"simple": simple, "extended": extended, "COPY": copies}


class Through:
    """Where Sides connects instead of the host: a proxy in front of it."""

    def __init__(self, port):
        self.port = port

    def wire(self, user, database, secret, **parameters):
        w = pgwire.Wire("127.0.0.1", self.port, timeout=30.0)
        w.login(user, database, secret, **parameters)
        return w


def converse(port):
    with sides.Sides(pg, Through(port)) as s:
        for conversation in KINDS.values():
            conversation(s)


for kind, conversation in KINDS.items():
    for mode in ("transaction", "auto"):

        @test("every byte on its own from and to the client, %s [%s]" % (kind, mode))
        def client_side(conversation=conversation, mode=mode):
            with Host(pg, {"database *": {"pool_mode": mode}}) as host, SplitProxy(host.port) as proxy:
                with sides.Sides(pg, Through(proxy.port)) as s:
                    conversation(s)
                assert proxy.forwarded["up"] > 300 and proxy.forwarded["down"] > 300

    @test("every byte on its own from and to the server, %s" % kind)
    def server_side(conversation=conversation):
        with SplitProxy(pg.port) as proxy:
            with Host(pg, server_port=proxy.port) as host, sides.Sides(pg, host) as s:
                conversation(s)
            assert proxy.connections >= 1


@test("every byte on its own on both sides")
def both_sides():
    with SplitProxy(pg.port) as below, Host(pg, server_port=below.port) as host, SplitProxy(host.port) as above:
        converse(above.port)


@test("random sizes on both sides, several seeds")
def random_sizes():
    for seed in range(4):
        with SplitProxy(pg.port, size=40, seed=seed) as below, Host(pg, server_port=below.port) as host:
            with SplitProxy(host.port, size=60, seed=seed + 100) as above:
                converse(above.port)


@test("large values in pieces of odd sizes")
def large():
    with SplitProxy(pg.port, size=4093) as below, Host(pg, server_port=below.port) as host:
        with SplitProxy(host.port, size=1021) as above, sides.Sides(pg, Through(above.port)) as s:
            s.run("SELECT $1::text", "x" * 500_000)
            s.query("SELECT repeat('y', 500000), '%s'" % ("z" * 200_000))
            s.query("COPY (SELECT i, repeat('x', 20) FROM generate_series(1, 5000) i) TO STDOUT")


@test("a header that is split at each of its bytes")
def header():
    with Host(pg) as host, host.wire() as w:
        statement = query("SELECT 'header'")
        for at in range(1, len(statement)):
            w.send(statement[:at])
            w.expect_quiet(0.004)
            w.send(statement[at:])
            equal(pgwire.kinds(w.recv_until("Z")), "TDCZ", at)


main()
