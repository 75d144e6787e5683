"""Who may log in, and as whom: auth_query, passwords of all kinds, and what an attacker would try."""

# Runs under TSan too.

import contextlib
import re
import socket
import threading
import time

import harness
import pgwire
from harness import Host, Postgres, equal, expect_error, main, test, wait_for
from pgwire import query

pg = Postgres()
pg.execute("CREATE ROLE alice LOGIN PASSWORD 'alice-secret'")
pg.execute("CREATE ROLE bob LOGIN PASSWORD 'bob-secret'")
pg.execute("CREATE ROLE never LOGIN")
pg.execute("CREATE ROLE group_only PASSWORD 'group-secret'")
pg.execute("CREATE ROLE late LOGIN PASSWORD 'late-secret' VALID UNTIL '2000-01-01'")
pg.execute("CREATE ROLE always LOGIN PASSWORD 'always-secret' VALID UNTIL 'infinity'")
pg.execute("SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'old-secret'")

QUERY = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1"


def asking(query_text=QUERY, host_keys=None, node_user="trusted", **keys):
    """A host that knows no user but its admin, and logs in to the server as one of its own."""
    return Host(
        pg,
        {
            "host": host_keys or {},
            "user app": None,
            "user other": None,
            "database *": {"auth_query": query_text, **keys},
            "node main": {
                "conninfo": "host=%s port=%d user=%s" % (pg.host, pg.port, node_user),
                "control_user": "howdah",
                "control_password": "howdah-secret",
            },
        },
    )


def metric(host, name):
    """It may be a second old: workers tell theirs that often."""
    return sum(float(r["value"]) for r in host.console("SHOW METRICS " + name) if r["name"] == name)


def login(host, user, secret, database="shop"):
    with host.wire(user, database, secret) as w:
        return w.query("SELECT 1")


def refused(host, user, secret, sqlstate="28P01", database="shop"):
    with expect_error(sqlstate):
        login(host, user, secret, database)


@test("auth_query lets the server's users in by their passwords, and nobody else")
def lets_in():
    with asking() as host:
        equal(login(host, "alice", "alice-secret"), [["1"]])
        equal(login(host, "bob", "bob-secret"), [["1"]])
        equal(login(host, "always", "always-secret"), [["1"]])
        refused(host, "alice", "bob-secret")
        refused(host, "nobody", "alice-secret")
        refused(host, "never", "")
        refused(host, "never", "x")
        refused(host, "old", "old-secret")
        refused(host, "group_only", "group-secret")


@test("VALID UNTIL is honoured, also for an answer that is remembered")
def valid_until():
    with asking() as host:
        refused(host, "late", "late-secret")
        end = in_seconds(2.5)
        pg.execute("ALTER ROLE bob VALID UNTIL '%s'" % end)
        equal(login(host, "bob", "bob-secret"), [["1"]])
        # The host counts in seconds.
        wait_for(lambda: pg.execute("SELECT now() > timestamptz '%s' + interval '1.1 s'" % end)[0][0], what="the end of bob's password")
        refused(host, "bob", "bob-secret")
        pg.execute("ALTER ROLE bob VALID UNTIL 'infinity'")


def in_seconds(n):
    return pg.execute("SELECT now() + interval '%s seconds'" % n)[0][0].isoformat()


@test("users cannot be told apart from nobody, by words or salt")
def mock():
    with asking() as host:
        first = {}
        for user in ("alice", "nobody", "late", "never"):
            for _ in range(2):
                with pgwire.Wire("127.0.0.1", host.port) as w:
                    w.send(pgwire.startup(user, "shop"))
                    equal(w.recv().type, "R")
                    scram = pgwire.Scram("wrong")
                    w.send(scram.first())
                    challenge = dict(p.split("=", 1) for p in w.recv().body[4:].decode().split(","))
                    equal(first.setdefault(user, challenge["s"]), challenge["s"], "the same salt each time")
                    equal(challenge["i"], "4096")
                    w.send(scram.final(b"r=%s,s=%s,i=4096" % tuple(challenge[k].encode() for k in "rs")))
                    error = w.recv()
                    fields = error.fields()
                    equal((error.type, fields["C"]), ("E", "28P01"))
                    equal(fields["M"], 'password authentication failed for user "%s"' % user)
        equal(len(set(first.values())), 4)


@test("a user of the INI goes before the server's, and the console asks nobody")
def ini_first():
    with asking() as host:
        host.configure({**host_changes(host), "user alice": {"password": "of-the-ini"}})
        equal(host.control("reload").returncode, 0)
        wait_for(lambda: try_login(host, "alice", "of-the-ini"), what="the reload is done")
        refused(host, "alice", "alice-secret")
        equal(login(host, "bob", "bob-secret"), [["1"]])
        refused(host, "bob", "bob-secret", "28P01", "howdah")
        assert host.console("SHOW VERSION")


def host_changes(host):
    return {k: v for k, v in host.config.items() if k not in ("listener main",)} | {"user app": None, "user other": None}


def try_login(host, user, secret):
    with contextlib.suppress(pgwire.WireError, pgwire.WireClosed):
        return login(host, user, secret)


@test("a changed password is known at the second try at the latest")
def changed():
    with asking() as host:
        equal(login(host, "alice", "alice-secret"), [["1"]])
        pg.execute("ALTER ROLE alice PASSWORD 'alice-new'")
        with contextlib.suppress(pgwire.WireError):
            login(host, "alice", "alice-new")
        equal(login(host, "alice", "alice-new"), [["1"]])
        refused(host, "alice", "alice-secret")
        pg.execute("ALTER ROLE alice PASSWORD 'alice-secret'")


@test("the server is asked once for many logins at a time, and not again for a while")
def asked_once():
    with asking(host_keys={"auth_cache_time": "60s"}) as host:
        errors = []

        def client():
            try:
                equal(login(host, "alice", "alice-secret"), [["1"]])
            except Exception as e:
                errors.append(e)

        threads = [threading.Thread(target=client) for _ in range(30)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not errors, errors[:3]
        for name in ("howdah_auth_queries_total", "howdah_auth_cached"):
            wait_for(lambda: metric(host, name) >= 1, what="one in " + name)
        time.sleep(1.1)  # others would be told by then
        for name in ("howdah_auth_queries_total", "howdah_auth_cached"):
            equal(metric(host, name), 1)


@test("what is remembered of strangers has a bound")
def bounded():
    with asking(host_keys={"auth_cache_size": 20}) as host:
        host.wait_log("node is up")  # else nobody could be asked, and nothing is remembered
        for n in range(60):
            # A proof that does not fit would make the host forget him: this one leaves before.
            with pgwire.Wire("127.0.0.1", host.port) as w:
                w.send(pgwire.startup("stranger_%d" % n, "shop"))
                equal(w.recv().type, "R")
        wait_for(lambda: metric(host, "howdah_auth_queries_total") == 60, what="all are told")
        wait_for(lambda: metric(host, "howdah_auth_cached") == 20, what="the bound")
        equal(login(host, "alice", "alice-secret"), [["1"]])


@test("a user's search_path, or his objects, do not get between the query and the catalog")
def search_path():
    pg.execute("CREATE SCHEMA trap")
    pg.execute("GRANT ALL ON SCHEMA trap, public TO PUBLIC")
    for schema in ("trap", "public"):
        pg.execute(
            "CREATE VIEW %s.pg_authid AS SELECT 'nobody'::name AS rolname, 'plain'::text AS rolpassword" % schema
        )
    pg.execute("ALTER ROLE howdah SET search_path = trap, public, pg_catalog")
    try:
        with asking() as host:
            with pgwire.Wire("127.0.0.1", host.port) as w, expect_error("28P01"):
                w.login("nobody", "shop", "plain", options="-c search_path=trap", search_path="trap")
            equal(login(host, "alice", "alice-secret"), [["1"]])
    finally:
        pg.execute("ALTER ROLE howdah RESET search_path")
        pg.execute("DROP SCHEMA trap CASCADE")
        pg.execute("DROP VIEW public.pg_authid")


@test("a function may give the passwords, also plain ones")
def function():
    pg.execute("CREATE TABLE accounts (name text, password text)")
    pg.execute("INSERT INTO accounts VALUES ('carol', 'carol-secret'), ('twice', 'a'), ('twice', 'b')")
    pg.execute(
        "CREATE FUNCTION lookup(text) RETURNS TABLE (n text, p text) LANGUAGE sql"
        " AS $$ SELECT name, password FROM public.accounts WHERE name = $1 $$"
    )
    text = "SELECT n, p FROM public.lookup($1);"
    with asking(text) as host:
        host.configure({**host_changes(host), "database shop": {"node": "main", "auth_query": text}})
        equal(host.control("reload").returncode, 0)
        wait_for(lambda: try_login(host, "carol", "carol-secret"), what="the reload is done")
        refused(host, "carol", "wrong")
        refused(host, "twice", "a")
        refused(host, "o'hara\"; --", "x")


def failures(host):
    """Lines about questions that had no answer, as (reason, how many were not logged)."""
    found = re.findall(r"level=warning msg=\"auth_query failed\" node=main sqlstate=\S* reason=(.*) not_logged=(\d+)", host.log_text())
    return [(reason, int(quiet)) for reason, quiet in found]


@test("a query that fails lets nobody in, and says why in the log")
def failing():
    with asking("SELECT rolname, rolpassword FROM nowhere WHERE rolname = $1") as host:
        refused(host, "alice", "alice-secret", "08001")
        host.wait_log("level=warning msg=.auth_query failed. .*42P01.*nowhere")
    with asking("SELECT rolname FROM pg_authid WHERE rolname = $1") as host:
        refused(host, "alice", "alice-secret", "08001")
        host.wait_log("auth_query failed")
    with asking() as host:
        pg.stop()
        try:
            refused(host, "alice", "alice-secret", "08001")
            host.wait_log("level=warning msg=.auth_query failed. node=main sqlstate=08001 reason=.*onnect")
        finally:
            pg.start()


@test("a server that cannot be asked again and again is told of now and then, with how often that was")
def failing_often():
    with asking() as host:
        pg.stop()
        try:
            for _ in range(20):
                refused(host, "alice", "alice-secret", "08001")
            time.sleep(1.1)  # a line a second
            refused(host, "alice", "alice-secret", "08001")
        finally:
            pg.start()
        told = failures(host)
        equal((told[0][1], sum(1 + quiet for _, quiet in told)), (0, 21), told)


@test("logins that wait for nobody, since too many jobs wait, are refused and told")
def failing_full():
    blocked = "SELECT rolname, rolpassword FROM pg_authid, (SELECT pg_advisory_xact_lock_shared(77)) l WHERE rolname = $1"
    with asking(blocked, host_keys={"max_jobs": 1, "job_threads": 1, "connect_timeout": "60s"}) as host:
        host.wait_log("node is up")
        with pg.connect(autocommit=True) as c, contextlib.ExitStack() as clients:
            c.execute("SELECT pg_advisory_lock(77)")
            for user in ("alice", "bob", "always", "nobody"):
                w = clients.enter_context(pgwire.Wire("127.0.0.1", host.port))
                w.send(pgwire.startup(user, "shop"))
            host.wait_log("level=warning msg=.auth_query failed. .*as many jobs wait as max_jobs allows")
            c.execute("SELECT pg_advisory_unlock(77)")


@test("clients that leave while the server is asked, and a host that stops meanwhile")
def leaving():
    text = "SELECT rolname, rolpassword FROM pg_authid, pg_sleep(2) WHERE rolname = $1"
    with asking(text) as host:
        for reset in (0, 1) * 5:
            w = pgwire.Wire("127.0.0.1", host.port)
            w.send(pgwire.startup("alice", "shop"))
            time.sleep(0.02)
            w.reset() if reset else w.close()
        equal(login(host, "alice", "alice-secret"), [["1"]])
        waiting = pgwire.Wire("127.0.0.1", host.port)
        waiting.send(pgwire.startup("bob", "shop"))
        wait_for(lambda: pg.backends("state = 'active' AND query LIKE '%pg_sleep(2)%'"), what="the server is asked for him")
        equal(host.stop(), 0)
        waiting.close()


@test("passwords beyond ASCII are prepared as libpq and PostgreSQL do")
def prepared():
    users = {}
    for n, secret in enumerate(("p\u00e4\u00df\u00a0wort", "I\u00adX\u2168", "\u043f\u0430\u0440\u043e\u043b\u044c", "a\u0308\ufb01\u00aa")):
        users["prep_%d" % n] = secret
        pg.execute("CREATE ROLE prep_%d LOGIN PASSWORD '%s'" % (n, secret))
    with Host(pg, {"user " + u: {"password": s} for u, s in users.items()}) as host:
        for user, secret in users.items():
            with host.connect(user=user, password=secret) as c:
                equal(c.execute("SELECT current_user").fetchone(), (user,))
            with harness.expect_error("28P01"):
                host.connect(user=user, password=secret + "x").close()
    with own_users() as host:
        for user, secret in users.items():
            with host.connect(user=user, password=secret) as c:
                equal(c.execute("SELECT current_user").fetchone(), (user,))


# --- logging in to the server by the keys that a proof shows ---------------------------------------------------


def own_users(changes=None, server_port=None, query_text=QUERY, conninfo=""):
    """A host that knows no password: users log in to the server as themselves."""
    port = server_port or pg.port
    return Host(
        pg,
        {
            "user app": None,
            "user other": None,
            "database *": {"auth_query": query_text, "pool_size": 3},
            "node main": {
                "conninfo": ("host=%s port=%d " % (pg.host, port)) + conninfo,
                "control_user": "howdah",
                "control_password": "howdah-secret",
            },
            **(changes or {}),
        },
    )


def end_servers_of(host, user):
    """The server ends them, and the host has heard of it."""
    pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%s'" % user)
    wait_for(lambda: user not in [r["user"] for r in host.console("SHOW SERVERS")], what="servers of %s are gone" % user)


def who(w):
    return w.query("SELECT current_user, session_user, inet_server_port() IS NOT NULL")


@test("users of auth_query, and of verifiers, are themselves on the server, though nobody knows their passwords")
def by_keys():
    stored = pg.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")[0][0]
    with own_users({"user app": {"password": None, "verifier": stored}}) as host:
        for user, secret in (("alice", "alice-secret"), ("app", "secret"), ("always", "always-secret")):
            for _ in range(2):
                with host.wire(user, "shop", secret, application_name="by keys") as w:
                    equal(who(w), [[user, user, "t"]])
                    equal(w.query("SHOW application_name"), [["by keys"]])
                    equal(w.query("SELECT repeat('x', 300000)"), [["x" * 300000]])
            refused(host, user, "wrong")
        assert 1 <= pg.backends("usename = 'alice'") <= 2
        with host.wire("alice", "shop", "alice-secret") as w:
            w.send(query("SELECT pg_sleep(30)"))
            wait_for(lambda: pg.backends("state = 'active' AND usename = 'alice'"), what="she sleeps")
            with pgwire.Wire("127.0.0.1", host.port) as c:
                c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
                c.expect_closed()
            got = w.recv_until("Z")
            equal([m.fields()["C"] for m in got if m.type == "E"], ["57014"], "a cancel finds the server")
        rows = {r["user"]: r["pid"] for r in host.console("SHOW SERVERS")}
        equal(pg.execute("SELECT usename FROM pg_stat_activity WHERE pid = %s" % rows["alice"]), [("alice",)])


@test("many servers by keys, over two workers, made anew when they were killed")
def keys_again():
    with own_users() as host:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(host.wire("bob", "shop", "bob-secret")) for _ in range(6)]
            for w in clients[:3]:
                w.query("BEGIN")
            equal(pg.backends("usename = 'bob'"), 3)
            for w in clients[:3]:
                w.query("COMMIT")
            end_servers_of(host, "bob")
            for w in clients:
                equal(who(w)[0][0], "bob")


@test("keys that the server does not take are told as a wrong password, and new ones are learned")
def other_keys():
    first = pg.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'bob'")[0][0]
    pg.execute("ALTER ROLE bob PASSWORD 'bob-secret'")
    with own_users({"user bob": {"verifier": first}}) as host:
        refused(host, "bob", "bob-secret")
        assert "bob" in host.wait_log('cannot connect to node').string
    with own_users() as host:
        with host.wire("bob", "shop", "bob-secret") as w:
            equal(who(w)[0][0], "bob")
            pg.execute("ALTER ROLE bob PASSWORD 'bob-newer'")
            end_servers_of(host, "bob")
            with contextlib.suppress(pgwire.WireError):
                login(host, "bob", "bob-newer")
            equal(login(host, "bob", "bob-newer"), [["1"]])
            equal(who(w)[0][0], "bob")
        pg.execute("ALTER ROLE bob PASSWORD 'bob-secret'")


@test("a replication connection by keys")
def replication_by_keys():
    pg.execute("ALTER ROLE alice REPLICATION")
    with own_users() as host, pgwire.Wire("127.0.0.1", host.port) as w:
        w.login("alice", "shop", "alice-secret", replication="database")
        equal(w.query("SELECT current_user"), [["alice"]])


@test("by keys through a network that splits every byte, to a list of hosts, and to a server's Unix socket")
def keys_anywhere():
    with harness.SplitProxy(pg.port) as proxy, own_users(server_port=proxy.port) as host:
        equal(login(host, "alice", "alice-secret"), [["1"]])
    closed = harness.free_port()
    changes = {
        "node main": {
            "conninfo": "host=127.0.0.1,localhost port=%d,%d" % (closed, pg.port),
            "control_user": "howdah",
            "control_password": "howdah-secret",
        }
    }
    with own_users(changes) as host:
        with host.wire("alice", "shop", "alice-secret") as w:
            equal(who(w)[0][0], "alice")
    changes["node main"]["conninfo"] = "host=%s port=%d" % (pg.dir, pg.port)
    with own_users(changes) as host:
        with host.wire("alice", "shop", "alice-secret") as w:
            equal(w.query("SELECT current_user, inet_server_port()"), [["alice", None]])


@test("servers that end, hang or lie in the middle of a login by keys")
def keys_faults():
    answers = (
        b"",
        b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",
        b"R\0\0\0\x0c\0\0\0\x05salt",
        b"R\0\0\0\x08\0\0\0\x03",
        b"R\xff\xff\xff\xff",
        b"E\0\0\0\x05\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0R\0\0\0\x0c\0\0\0\x0bjunk",
        b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0R\0\0\0\x0c\0\0\0\x0cv=xx",
    )
    liar = socket.create_server(("127.0.0.1", 0))
    at = [0]

    def serve():
        with contextlib.suppress(OSError):
            while True:
                s = liar.accept()[0]
                with contextlib.suppress(OSError):
                    s.sendall(answers[at[0]])
                    if at[0] % 2:
                        time.sleep(0.05)
                        s.close()
                held.append(s)

    held = []
    threading.Thread(target=serve, daemon=True).start()
    stored = pg.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'alice'")[0][0]
    changes = {
        "host": {"connect_timeout": "500ms"},
        "user alice": {"verifier": stored},
        "database *": {"auth_query": None, "queue_timeout": "1s"},
        "node main": {"conninfo": "host=127.0.0.1 port=%d" % liar.getsockname()[1]},
    }
    with own_users(changes) as host:
        for n in range(len(answers)):
            at[0] = n
            with expect_error():
                login(host, "alice", "alice-secret")
        assert host.alive()
        at[0] = 0
        hanging = pgwire.Wire("127.0.0.1", host.port)
        hanging.send(pgwire.startup("alice", "shop"))
    hanging.close()
    liar.close()


@test("what is wrong with an auth_query is said by -t")
def checked():
    host = asking()
    host.stop()
    for text, words in (
        ("SELECT 1, 2", "must be one statement"),
        ("SELECT $1, 'x'; DROP TABLE t", "must be one statement"),
    ):
        host.configure({**host_changes(host), "database *": {"auth_query": text}})
        result = host.run("-t")
        assert result.returncode and words in result.stderr + result.stdout, result.stderr + result.stdout
    changes = host_changes(host)
    changes["node main"] = {"conninfo": "host=127.0.0.1", "control_user": None, "control_password": None}
    changes["user howdah"] = None
    changes["user app"] = {"password": "x"}
    host.configure(changes)
    result = host.run("-t")
    assert "control_user" in result.stderr + result.stdout, result.stderr + result.stdout
    changes = host_changes(host)
    changes["database *"]["auth_query"] = QUERY
    changes["user howdah"] = {"password": "howdah-secret", "admin": "yes"}
    for more, words in ((" sslmode=require", "asks for TLS"), (" target_session_attrs=read-write", "target_session")):
        changes["node main"] = {"conninfo": "host=127.0.0.1" + more, "control_user": "howdah"}
        host.configure(changes)
        result = host.run("-t")
        assert words in result.stderr + result.stdout, result.stderr + result.stdout


main()
