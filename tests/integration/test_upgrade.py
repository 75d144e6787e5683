"""The supervisor: hosts that crash are replaced, hosts are upgraded, and clients notice as little as can be."""

# Runs under TSan too.

import contextlib
import os
import signal
import socket
import threading

import harness
import pgwire
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import bind, execute, kinds, parse, query, sync
from upgrading import connected_to, Knocking, Working, back_within, settled, status, upgrade

pg = Postgres()


# --- crashes ----------------------------------------------------------------------------------------------------


@test("a host that is killed is back soon, and no connection is refused meanwhile")
def _():
    unix = harness.temp_dir() + "/s"
    with Host(pg, {"listener local": {"listen": "unix:" + unix, "auth": "scram-sha-256"}}) as host:
        back_within(host, 30)
        with Knocking(host) as tcp, Knocking(host, unix) as local:
            for crash in range(3):
                wait_for(lambda: tcp.count > 50 * (crash + 1), what="connections")
                pid = host.host_pid()
                os.kill(pid, signal.SIGKILL)
                took = back_within(host, 30)
                harness.comment("crash %d: served again after %.3f s" % (crash + 1, took))
                assert host.host_pid() != pid
        equal(tcp.failures, [])
        equal(local.failures, [])
        equal(status(host)["crashes"], "3")
        equal(status(host)["generation"], "4")
        host.wait_log("the host has crashed.*signal=Killed")
        equal(host.control("status").returncode, 0)


@test("a host that keeps crashing is started ever later, and the log says so")
def _():
    with Host(pg) as host:
        back_within(host, 30)
        for _ in range(4):
            pid = host.host_pid()
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: host.host_pids() not in ([pid], [host.process.pid]), what="another host")
            back_within(host, 10)
        host.wait_log("the host keeps crashing.*in_succession=4 next_start_ms=400")


@test("the supervisor ends with its host, with its status; the host dies with its supervisor")
def _():
    with Host(pg) as host:
        back_within(host, 30)
        equal(host.control("shutdown").returncode, 0)
        equal(host.process.wait(60), 0)
    host = Host(pg)
    back_within(host, 30)
    pid = host.host_pid()
    host.kill()
    wait_for(lambda: not os.path.exists("/proc/%d" % pid), what="the host goes")
    with Host(pg) as host:
        back_within(host, 30)
        os.kill(host.host_pid(), signal.SIGTERM)
        equal(host.process.wait(60), 0)


@test("signals reach the host: reload, two for an end at once")
def _():
    host = Host(pg)
    with host.wire() as w:
        w.exchange(query("BEGIN"))
        host.signal(signal.SIGHUP)
        host.wait_log("configuration reloaded")
        host.signal(signal.SIGTERM)
        host.wait_log("draining")
        host.signal(signal.SIGINT)
        host.process.wait(4)


@test("without a supervisor there is one process, and upgrade says why it cannot be")
def _():
    with Host(pg, {"host": {"supervisor": "no"}}) as host:
        back_within(host, 30)
        equal(host.host_pids(), [host.process.pid])
        equal(status(host)["supervisor"], "none")
        done = host.control("upgrade")
        equal(done.returncode, 1)
        assert "there is no supervisor" in done.stdout + done.stderr, done


@test("a reload's new address is kept and its old one given up, over a crash too")
def _():
    second = harness.free_port()
    with Host(pg) as host:
        back_within(host, 30)
        host.configure({"listener more": {"listen": "127.0.0.1:%d" % second, "auth": "scram-sha-256"}})
        equal(host.control("reload").returncode, 0)
        os.kill(host.host_pid(), signal.SIGKILL)
        with pgwire.Wire("127.0.0.1", second) as w:
            w.login("app", "shop", "secret")
        host.configure(None)
        equal(host.control("reload").returncode, 0)
        with contextlib.closing(socket.socket()) as s:
            wait_for(lambda: s.connect_ex(("127.0.0.1", second)), what="the old address refuses")
        os.kill(host.host_pid(), signal.SIGKILL)
        back_within(host, 30)


@test("a configuration that was broken while the host ran keeps a crashed host away until it is mended")
def _():
    with Host(pg) as host:
        back_within(host, 30)
        path = host.write("90-bad.ini", "[host]\nworkers = many\n")
        os.kill(host.host_pid(), signal.SIGKILL)
        host.wait_log("the host keeps crashing")
        with Knocking(host) as tcp:
            wait_for(lambda: tcp.count > 10, what="connections")
            os.unlink(path)
            back_within(host, 30)
        equal(tcp.failures, [])


# --- plugins that crash -----------------------------------------------------------------------------------------

VERDICTS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/verdicts.so"))


def plugin_host(**keys):
    return Host(pg, {"plugin verdicts": {"enabled": "yes", "library": VERDICTS, **keys}})


def plugin_state(host):
    (row,) = [r for r in host.console("SHOW PLUGINS") if r["name"] == "verdicts"]
    return row


def plugin_metric(host, name):
    """The gauge of that name, of this plugin; None: there is none."""
    rows = [r for r in host.console("SHOW METRICS %s" % name) if "verdicts" in str(r)]
    return int(float(rows[0]["value"])) if rows else None


def crash_it(host, how):
    """Runs a statement that takes the host with it, and waits for the next host."""
    pid = host.host_pid()
    with host.wire() as w:
        w.send(query("SELECT 1 /* verdict: crash %s */" % how))
        wait_for(lambda: host.host_pids() not in ([pid], [host.process.pid]), what="another host")
    back_within(host, 10)


@test("a plugin in which the host has crashed twice is left out, until it is enabled again")
def _():
    with plugin_host() as host:
        back_within(host, 30)
        crash_it(host, "segv")
        host.wait_log("crashed in a plugin.*plugin=verdicts times=1")
        equal(plugin_state(host)["state"], "running")
        equal([plugin_metric(host, "howdah_plugin_" + m) for m in ("up", "crashes")], [1, 1])
        crash_it(host, "abort")
        host.wait_log("crashed in a plugin.*plugin=verdicts times=2")
        equal([plugin_metric(host, "howdah_plugin_" + m) for m in ("up", "crashes")], [0, 2])
        equal(plugin_state(host)["state"], "refused")
        assert "crashed in it 2 times" in plugin_state(host)["reason"], plugin_state(host)
        with host.wire() as w:
            equal(kinds(w.exchange(query("SELECT 1 /* verdict: crash segv */"))), "TDCZ")
        upgrade(host)
        settled(host)
        equal(plugin_state(host)["state"], "refused")
        equal(host.control("reload").returncode, 0)
        equal(plugin_state(host)["state"], "refused")
        equal(host.control("plugin", "verdicts", "enable").returncode, 0)
        equal(plugin_state(host)["state"], "running")
        equal([plugin_metric(host, "howdah_plugin_" + m) for m in ("up", "crashes")], [1, 0])
        crash_it(host, "stack")
        host.wait_log("crashed in a plugin.*plugin=verdicts times=1", after=0)
        equal(plugin_state(host)["state"], "running")
        crash_it(host, "exit")
        equal(plugin_state(host)["state"], "refused")


@test("a plugin whose statements are to be refused when it fails is never left out")
def _():
    with plugin_host(on_failure="reject") as host:
        back_within(host, 30)
        for _ in range(3):
            crash_it(host, "segv")
        host.wait_log("crashed in plugin verdicts 3 times; it is kept")
        equal(plugin_state(host)["state"], "running")


@test("a host that is killed from outside is no plugin's fault")
def _():
    with plugin_host() as host:
        back_within(host, 30)
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
            pid = host.host_pid()
            os.kill(pid, number)
            wait_for(lambda: host.host_pids() not in ([pid], [host.process.pid]), what="another host")
            back_within(host, 10)
        assert "crashed in a plugin" not in host.log_text()
        equal(plugin_state(host)["state"], "running")


# --- upgrades -----------------------------------------------------------------------------------------------------


@test("an idle client moves to the new host with its statements, settings and address, and notices nothing")
def _():
    with Host(pg) as host:
        with host.wire(application_name="traveller") as w:
            equal(kinds(w.exchange(parse("s1", "SELECT $1::int * 2"), parse("", "SELECT 7"), sync())), "11Z")
            w.exchange(query("SET application_name = 'wanderer'"), parse("", "SELECT 7"), sync(), ready=2)
            before = host.host_pid()
            assert upgrade(host) != before
            settled(host)
            rows = [r for r in host.console("SHOW CLIENTS") if r["database"] == "shop"]
            equal([r["application_name"] for r in rows], ["wanderer"])
            answer = w.exchange(bind("", "s1", [b"21"]), execute(), sync())
            equal(kinds(answer), "2DCZ")
            equal(answer[1].row()[0], b"42")
            answer = w.exchange(query("SHOW application_name"))
            equal(answer[1].row()[0], b"wanderer")
            w.exchange(parse("", "SELECT 7"), sync())
            upgrade(host)
            settled(host)
            answer = w.exchange(bind(), execute(), sync())
            equal(kinds(answer), "2DCZ")
            equal(answer[1].row()[0], b"7")
        equal(status(host)["generation"], "3")
        equal(status(host)["crashes"], "0")


def upgrade_under_load(mode):
    with Host(pg, {"database *": {"pool_size": 4, "pool_mode": mode}}) as host:
        clients = [Working(host, i, sets=mode == "auto") for i in range(6)]
        with Knocking(host) as tcp:
            for _ in range(20):
                upgrade(host)
                settled(host)
                before = [c.count for c in clients]
                wait_for(lambda: all(c.failures or c.count > n for c, n in zip(clients, before)), what="all go on")
        for c in clients:
            c.end()
        equal([c.failures for c in clients], [[]] * 6)
        equal(tcp.failures, [])
        equal(status(host)["generation"], "21")
        harness.comment("%d statements" % sum(c.count for c in clients))


@test("20 upgrades under load, and no statement fails, and no connection is refused: transaction")
def _():
    upgrade_under_load("transaction")


@test("20 upgrades under load, and no statement fails, and no connection is refused: auto")
def _():
    upgrade_under_load("auto")


@test("who is in a transaction stays with the old host until its end; a cancel reaches it from the new one")
def _():
    with Host(pg) as host:
        with host.wire() as w, host.wire() as idle:
            w.exchange(query("BEGIN"))
            upgrade(host)
            wait_for(lambda: len(host.host_pids()) == 2, what="two hosts")
            equal(host.control("upgrade").returncode, 1)
            w.send(query("SELECT pg_sleep(30)"))
            wait_for(lambda: pg.backends("query LIKE '%pg_sleep(30)%' AND state = 'active'"), what="it runs")
            with pgwire.Wire("127.0.0.1", host.port) as c:
                c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
            answer = [m for m in w.recv_until("Z") if m.type == "E"]
            equal(answer[0].fields()["C"], "57014")
            equal(kinds(idle.exchange(query("SELECT 1"))), "TDCZ")
            equal(kinds(w.exchange(query("ROLLBACK"))), "CZ")
            settled(host)
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")


class Watching:
    """
    The most server connections that there are of some users at a time. PostgreSQL tells whose they are; it lists one for a
    while that the host has closed, so that those count which are not closed when it has told.
    """

    def __init__(self, users):
        self.users, self.most, self.ended = users, 0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with pg.connect("postgres") as c:
            while not self.ended.is_set():
                rows = c.execute("SELECT client_port FROM pg_stat_activity WHERE usename = ANY(%s)", [self.users])
                listed = {port for (port,) in rows.fetchall()}
                self.most = max(self.most, len(listed & connected_to(pg.port)))

    def end(self):
        self.ended.set()
        self.thread.join(60)
        return self.most


def all_go_on(clients, turns=6):
    before = [c.count for c in clients]
    wait_for(
        lambda: all(c.count > n + turns or c.failures for c, n in zip(clients, before)), 60, what="all go on"
    )


@test("pool_size holds over both hosts, and neither starves")
def _():
    with Host(pg, {"database *": {"pool_size": 2}}) as host:
        with host.wire() as w:
            w.exchange(query("BEGIN"))
            others = [Working(host, i) for i in range(4)]
            watching = Watching(["app"])
            upgrade(host)
            wait_for(lambda: len(host.host_pids()) == 2, what="two hosts")
            all_go_on(others)
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
            equal(kinds(w.exchange(query("COMMIT"))), "CZ")
            settled(host)
            for c in others:
                c.end()
            equal([c.failures for c in others], [[]] * 4)
            assert watching.end() <= 2, "%d server connections" % watching.most


CERTIFICATES = harness.make_certificates(harness.temp_dir())
TLS = {
    "tls": "allow",
    "tls_cert": os.path.join(CERTIFICATES, "server.crt"),
    "tls_key": os.path.join(CERTIFICATES, "server.key"),
}


def staying(host, user="app", secret="secret"):
    """A client with TLS, which cannot move."""
    w = pgwire.Wire("127.0.0.1", host.port)
    equal(w.request_tls(harness.client_context(CERTIFICATES)), b"S")
    w.login(user, "shop", secret)
    return w


def share_over_both(config, users, most):
    """Clients that stay and clients that move all want the same few servers: each gets its turn."""
    with Host(pg, harness.merge({"listener main": TLS, "database *": {"queue_timeout": "60s"}}, config)) as host:
        stay = [Working(host, i, staying(host, *users[0])) for i in range(2)]
        move = [Working(host, 10 + i, host.wire(users[-1][0], "shop", users[-1][1])) for i in range(2)]
        watching = Watching([u for u, _ in users])
        upgrade(host)
        wait_for(lambda: len(host.host_pids()) == 2, what="two hosts")
        all_go_on(stay + move)
        for c in stay:
            c.end()
        settled(host)
        for c in move:
            c.end()
        equal([c.failures for c in stay + move], [[]] * 4)
        equal(watching.end(), most)


@test("both hosts have clients at work on a pool of one server, and each gets its turn")
def _():
    share_over_both({"database *": {"pool_size": 1}}, [("app", "secret")], 1)


@test("max_servers of a node holds over both hosts, and each gets its turn")
def _():
    users = [("app", "secret"), ("other", "other-secret")]
    share_over_both({"node main": {"max_servers": 1}}, users, 1)


@test("max_servers of a user and of a database hold over both hosts")
def _():
    users = [("app", "secret"), ("other", "other-secret")]
    share_over_both({"user app": {"max_servers": 1}}, users[:1], 1)
    share_over_both({"database *": {"max_servers": 1}}, users, 1)


@test("a client that cannot move is ended after upgrade_timeout")
def _():
    with Host(pg, {"host": {"upgrade_timeout": "1s", "drain_timeout": "1s"}}) as host:
        with host.wire() as w:
            w.exchange(query("BEGIN"))
            upgrade(host)
            host.wait_log("upgrade_timeout is over")
            settled(host)


@test("an upgrade whose new host does not start leaves the old one serving")
def _():
    with Host(pg) as host:
        with host.wire() as w:
            pid = host.host_pid()
            path = host.write("90-bad.ini", "[host]\nworkers = many\n")
            done = host.control("upgrade")
            equal(done.returncode, 1)
            assert "the new host cannot start: %s:1: [host] is there twice" % path in done.stdout + done.stderr, done
            equal(host.host_pids(), [pid])
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
            os.unlink(path)
            assert upgrade(host) != pid
            settled(host)
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")


@test("SIGUSR2 upgrades; the new host may have another number of workers and fewer addresses")
def _():
    more = harness.free_port()
    with Host(pg, {"listener more": {"listen": "127.0.0.1:%d" % more, "auth": "scram-sha-256"}}) as host:
        clients = [host.wire() for _ in range(6)]
        host.configure({"host": {"workers": 1}})
        host.signal(signal.SIGUSR2)
        host.wait_log("msg=upgraded")
        settled(host)
        with contextlib.closing(socket.socket()) as s:
            assert s.connect_ex(("127.0.0.1", more))
        for _ in range(40):
            host.wire().close()
        host.configure({"host": {"workers": 3}})
        upgrade(host)
        settled(host)
        for w in clients:
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
            w.close()


main()
