"""TLS to clients and to servers, and logins by certificate."""

# Runs under TSan too.

import os
import socket
import ssl
import threading

import harness
import pgwire
import sides
from harness import Host, Postgres, SplitProxy, client_context, equal, expect_error, main, test, wait_for
from pgwire import kinds, query, run

pg = Postgres(tls=True)
CERTIFICATES = pg.certificates
CA = os.path.join(CERTIFICATES, "ca.crt")

# The host gets a certificate that the server's CA has signed.
TLS = {
    "tls_cert": os.path.join(CERTIFICATES, "server.crt"),
    "tls_key": os.path.join(CERTIFICATES, "server.key"),
}
WITH_CLIENT_CA = {**TLS, "tls_client_ca": CA}


def listening(tls, **keys):
    return {"listener main": {"tls": tls, **TLS, **keys}}


def tls_wire(host, context=None, user="app", secret="secret", database="shop", **parameters):
    w = pgwire.Wire("127.0.0.1", host.port)
    equal(w.request_tls(context or client_context(CERTIFICATES)), b"S")
    w.login(user, database, secret, **parameters)
    return w


@test("tls = allow takes clients with and without")
def allow():
    with Host(pg, listening("allow")) as host:
        with host.wire() as w:
            equal(w.query("SELECT 1"), [["1"]])
        with tls_wire(host) as w:
            equal(w.query("SELECT 1"), [["1"]])
        for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"):
            with host.connect(sslmode=mode, sslrootcert=CA) as c:
                equal(c.execute("SELECT 1").fetchone(), (1,), mode)
                equal(bool(c.pgconn.ssl_in_use), mode not in ("disable", "allow"), mode)


@test("tls = require refuses clients without")
def require():
    with Host(pg, listening("require")) as host:
        with expect_error("28000"):
            host.wire()
        with tls_wire(host) as w:
            equal(w.query("SELECT 1"), [["1"]])
        with host.connect(sslmode="verify-full", sslrootcert=CA) as c:
            equal(c.execute("SELECT 1").fetchone(), (1,))


@test("SCRAM through TLS, with channel binding where it is offered")
def channel_binding():
    with Host(pg, listening("require")) as host:
        for binding in ("disable", "prefer"):
            with host.connect(sslmode="require", channel_binding=binding) as c:
                equal(c.execute("SELECT current_user").fetchone(), ("app",))
        with expect_error(match="password authentication failed"):
            host.connect(sslmode="require", password="wrong")
        w = pgwire.Wire("127.0.0.1", host.port)
        w.request_tls(client_context(CERTIFICATES))
        w.send(pgwire.startup("app", "shop"))
        offered = w.recv().body[4:].rstrip(b"\0").split(b"\0")
        w.close()
        assert b"SCRAM-SHA-256" in offered, offered
        if b"SCRAM-SHA-256-PLUS" in offered:
            with host.connect(sslmode="require", channel_binding="require") as c:
                equal(c.execute("SELECT current_user").fetchone(), ("app",))


@test("auth = cert logs in whom the certificate names, and nobody else")
def certificate():
    changes = listening("require", auth="cert", **WITH_CLIENT_CA)
    with Host(pg, changes) as host:
        with tls_wire(host, client_context(CERTIFICATES, True), secret=None) as w:
            equal(w.query("SELECT current_user"), [["app"]])
        for user in ("other", "howdah", "nobody_knows"):
            with expect_error("28000"):
                tls_wire(host, client_context(CERTIFICATES, True), user=user, secret=None)
        refused = None
        try:
            tls_wire(host, client_context(CERTIFICATES), secret=None).close()
        except (pgwire.WireError, pgwire.WireClosed, OSError) as e:
            refused = e
        assert refused and getattr(refused, "sqlstate", "28000") == "28000", refused
        # Signed by somebody else.
        elsewhere = harness.make_certificates(harness.temp_dir())
        context = client_context(CERTIFICATES)
        context.load_cert_chain(os.path.join(elsewhere, "client.crt"), os.path.join(elsewhere, "client.key"))
        refused = None
        try:
            tls_wire(host, context, secret=None).close()
        except (pgwire.WireError, pgwire.WireClosed, OSError) as e:
            refused = e
        assert refused, "a certificate of another CA was taken"
        where = {"sslmode": "verify-full", "sslrootcert": CA, "password": ""}
        files = {"sslcert": os.path.join(CERTIFICATES, "client.crt"), "sslkey": os.path.join(CERTIFICATES, "client.key")}
        with host.connect(**where, **files) as c:
            equal(c.execute("SELECT current_user").fetchone(), ("app",))


@test("plaintext behind SSLRequest is refused")
def smuggled():
    with Host(pg, listening("allow")) as host:
        w = pgwire.Wire("127.0.0.1", host.port)
        w.send(pgwire.packet(pgwire.SSL_REQUEST), pgwire.startup("app", "shop"))
        left = w.expect_closed()
        assert left[:1] in (b"", b"E", b"S") and b"R\0\0\0" not in left, left
        w.close()
        equal(host.wire().query("SELECT 1"), [["1"]])


@test("a handshake that is nonsense, and one that stops, end nothing else")
def broken_handshakes():
    with Host(pg, {**listening("allow"), "host": {"login_timeout": "1s"}}) as host:
        stopped = pgwire.Wire("127.0.0.1", host.port)
        equal(stopped.request_tls(), b"S")
        stopped.send(b"\x16\x03\x01")
        for nonsense in (b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 70000):
            w = pgwire.Wire("127.0.0.1", host.port)
            equal(w.request_tls(), b"S")
            try:
                w.send(nonsense)
            except OSError:
                pass
            w.sock.settimeout(5)
            w.expect_closed()
            w.close()
        with tls_wire(host) as w:
            equal(w.query("SELECT 1"), [["1"]])
            stopped.expect_closed()
            equal(w.query("SELECT 2"), [["2"]])
        stopped.close()


def direct_wire(host, alpn):
    """A client that begins with TLS, without asking."""
    context = client_context(CERTIFICATES)
    if alpn:
        context.set_alpn_protocols([alpn])
    w = pgwire.Wire("127.0.0.1", host.port)
    w.sock = context.wrap_socket(w.sock, server_hostname="localhost")
    return w


@test("a client may begin with TLS at once, if it names the protocol by ALPN")
def direct_tls():
    for tls in ("allow", "require"):
        with Host(pg, listening(tls)) as host:
            for _ in range(3):
                with direct_wire(host, "postgresql") as w:
                    equal(w.sock.selected_alpn_protocol(), "postgresql")
                    w.login("app", "shop", "secret")
                    equal(w.query("SELECT repeat('x', 100000)"), [["x" * 100000]])
            # The handshake in pieces, and the login in one go with its end.
            with SplitProxy(host.port, size=7) as proxy:
                context = client_context(CERTIFICATES)
                context.set_alpn_protocols(["postgresql"])
                w = pgwire.Wire("127.0.0.1", proxy.port)
                w.sock = context.wrap_socket(w.sock, server_hostname="localhost")
                w.login("app", "shop", "secret")
                equal(w.query("SELECT 1"), [["1"]])
                w.close()


@test("a client that begins with TLS without ALPN, or with another, or where there is none, is refused")
def direct_tls_refused():
    with Host(pg, listening("allow")) as host:
        with direct_wire(host, None) as w:
            w.send(pgwire.startup("app", "shop"))
            assert b"ALPN" in w.expect_closed()
        try:
            with direct_wire(host, "http/1.1") as w:
                assert w.sock.selected_alpn_protocol() is None
                w.expect_closed()
        except (ssl.SSLError, ConnectionError):
            pass
        for data in (b"\x16", b"\x16\x03\x01\x00\x05junk!", b"\x16" * 20000):
            with pgwire.Wire("127.0.0.1", host.port) as w:
                w.send(data)
                if len(data) == 1:
                    continue
                w.expect_closed()
        # SSLRequest inside direct TLS, and a second handshake.
        with direct_wire(host, "postgresql") as w:
            w.send(pgwire.packet(pgwire.SSL_REQUEST))
            assert b"08P01" in w.expect_closed()
        equal(host.wire().query("SELECT 1"), [["1"]])
    with Host(pg) as host:
        with pgwire.Wire("127.0.0.1", host.port) as w:
            w.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 500)
            equal(w.expect_closed(), b"")
        equal(host.wire().query("SELECT 1"), [["1"]])


@test("a conversation through TLS is the same as without")
def same():
    sides.make_twin(pg)
    with Host(pg, {**listening("allow"), "database *": {"pool_mode": "transaction"}}) as host:
        with sides.Sides(pg, host) as s:
            s.through.close()
            s.through = tls_wire(host)
            one = run("SELECT $1::text", ["a"])
            s.query("SELECT i, repeat('x', i) FROM generate_series(1, 3000) i")
            s.exchange(*[one] * 500, ready=500)
            s.exchange(*[run("SELECT 1/0"), one] * 100, ready=200)
            s.query("SELECT repeat('large', 1000000)")
            s.run("SELECT length($1::text), md5($1)", "y" * 3_000_000)
            s.query("COPY (SELECT i, repeat('z', 50) FROM generate_series(1, 50000) i) TO STDOUT")


@test("many small messages in one TLS record, and one message over many records")
def records():
    with Host(pg, listening("require")) as host, tls_wire(host) as w:
        w.send(b"".join(query("SELECT %d" % i) for i in range(600)))
        got = w.recv_until("Z", 600)
        equal([int(m.row()[0]) for m in got if m.type == "D"], list(range(600)))
        data = pgwire.message("Q", b"SELECT '" + b"x" * 5000 + b"'\0")
        for at in range(0, len(data), 7):
            w.sock.sendall(data[at : at + 7])
        equal(kinds(w.recv_until("Z")), "TDCZ")


@test("clients by TLS at once, each gets its own")
def many():
    with Host(pg, {**listening("require"), "database *": {"pool_size": 3}}) as host:
        errors = []

        def client(i):
            try:
                with tls_wire(host) as w:
                    for n in range(20):
                        equal(w.query("SELECT '%d/%d', repeat('x', %d)" % (i, n, n * 2000))[0][0], "%d/%d" % (i, n))
            except Exception as e:
                errors.append(repr(e))

        threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert not errors, errors[:3]


@test("a cancel through TLS and one without reach a client by TLS")
def cancels():
    with Host(pg, listening("allow")) as host, tls_wire(host) as w:
        for with_tls in (True, False):
            w.send(query("SELECT pg_sleep(30)"))
            wait_for(lambda: pg.backends("query LIKE '%pg_sleep(30)%' AND state = 'active'"), what="the sleeper")
            c = pgwire.Wire("127.0.0.1", host.port)
            if with_tls:
                c.request_tls(client_context(CERTIFICATES))
            c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
            equal(c.expect_closed(), b"")
            c.close()
            equal(w.recv_until("Z")[-2].fields()["C"], "57014")


def server_by_tls(mode="verify-full"):
    conninfo = "host=localhost hostaddr=%s port=%d sslmode=%s sslrootcert=%s" % (pg.host, pg.port, mode, CA)
    return {"node main": {"conninfo": conninfo}}


@test("TLS to the server, with its certificate checked")
def to_server():
    for mode in ("require", "verify-full"):
        with Host(pg, server_by_tls(mode)) as host, host.wire() as w:
            equal(w.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), [["t"]])
            got = w.exchange(query("SELECT repeat('x', 20000000)"))
            equal(len([m for m in got if m.type == "D"][0].row()[0]), 20_000_000)
            got = w.exchange(run("SELECT length($1::text)", ["y" * 20_000_000]))
            equal([m for m in got if m.type == "D"][0].row(), [b"20000000"])
            w.send(b"".join(query("SELECT %d" % i) for i in range(600)))
            equal(len([m for m in w.recv_until("Z", 600) if m.type == "D"]), 600)
            w.send(query("SELECT pg_sleep(30)"))
            wait_for(lambda: pg.backends("query LIKE '%pg_sleep(30)%' AND state = 'active'"), what="the sleeper")
            with pgwire.Wire("127.0.0.1", host.port) as c:
                c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
                c.expect_closed()
            equal(w.recv_until("Z")[-2].fields()["C"], "57014")


@test("a server whose certificate is not the right one is not talked to")
def wrong_server():
    elsewhere = harness.make_certificates(harness.temp_dir())
    conninfo = "host=localhost hostaddr=%s port=%d sslmode=verify-full sslrootcert=%s" % (
        pg.host,
        pg.port,
        os.path.join(elsewhere, "ca.crt"),
    )
    with Host(pg, {"node main": {"conninfo": conninfo}, "database *": {"queue_timeout": "1s"}}) as host:
        with expect_error(match="certificate"):
            host.wire()


@test("TLS on both sides, in pieces of one byte")
def split():
    with SplitProxy(pg.port) as below:
        conninfo = "host=localhost hostaddr=127.0.0.1 port=%d sslmode=require" % below.port
        with Host(pg, {**listening("require"), "node main": {"conninfo": conninfo}}) as host:
            with SplitProxy(host.port) as above:
                w = pgwire.Wire("127.0.0.1", above.port)
                w.request_tls(client_context(CERTIFICATES))
                w.login("app", "shop", "secret")
                equal(w.query("SELECT 1, repeat('x', 500)"), [["1", "x" * 500]])
                equal(kinds(w.exchange(run("SELECT $1::text", ["a"]), run("SELECT 1/0"), ready=2)), "12TDCZ1EZ")
                w.close()
                assert below.connections >= 1


@test("a client that is gone within TLS leaves a clean server")
def gone():
    with Host(pg, {**listening("allow"), "database *": {"pool_size": 1}}) as host, host.wire() as other:
        for sent in (query("BEGIN"), query("SELECT i, repeat('x', 1000) FROM generate_series(1, 100000) i")):
            w = tls_wire(host)
            w.send(sent)
            w.recv()
            w.reset()
            equal(other.query("SELECT 'fine'"), [["fine"]])
            equal(other.status(), "I")


main()
