"""The supervisor: hosts that crash are replaced, hosts are upgraded, and clients notice as little as can be."""

import contextlib
import os
import re
import signal
import socket
import threading
import time

import harness
import pgwire
from harness import Host, Postgres, equal, expect_error, main, test, wait_for
from pgwire import bind, execute, kinds, parse, query, sync

pg = Postgres()


def status(host):
    return {r["what"]: r["value"] for r in host.console("STATUS")}


class Knocking:
    """Connects without end, in a thread, as a client that has no patience: a refused connection is a failure."""

    def __init__(self, host, unix=None):
        self.host, self.unix = host, unix
        self.count, self.failures, self.ended = 0, [], False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _knock(self):
        with socket.socket(socket.AF_UNIX if self.unix else socket.AF_INET) as s:
            s.settimeout(10)
            s.connect(self.unix or ("127.0.0.1", self.host.port))
            self.count += 1

    def _run(self):
        while not self.ended:
            try:
                self._knock()
            except OSError as e:
                self.failures.append(repr(e))
            time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join(20)


def back_within(host, limit):
    """How long until somebody is served; every attempt waits for its answer instead of trying again."""
    began = time.monotonic()
    with host.wire() as w:
        equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
    took = time.monotonic() - began
    assert took < limit, "served again after %.2f s" % took
    return took


# --- crashes ----------------------------------------------------------------------------------------------------


@test("a host that is killed is back within a second, and no connection is refused meanwhile")
def _():
    unix = harness.temp_dir() + "/s"
    with Host(pg, {"listener local": {"listen": "unix:" + unix, "auth": "scram-sha-256"}}) as host:
        back_within(host, 30)
        with Knocking(host) as tcp, Knocking(host, unix) as local:
            for crash in range(3):
                wait_for(lambda: tcp.count > 50 * (crash + 1), what="connections")
                pid = host.host_pid()
                os.kill(pid, signal.SIGKILL)
                took = back_within(host, 1 if crash == 0 else 3)
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
        equal(host.process.wait(20), 0)
    host = Host(pg)
    back_within(host, 30)
    pid = host.host_pid()
    host.kill()
    wait_for(lambda: not os.path.exists("/proc/%d" % pid), what="the host goes")
    with Host(pg) as host:
        back_within(host, 30)
        os.kill(host.host_pid(), signal.SIGTERM)
        equal(host.process.wait(20), 0)


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
        back_within(host, 3)


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
        crash_it(host, "abort")
        host.wait_log("crashed in a plugin.*plugin=verdicts times=2")
        equal(plugin_state(host)["state"], "refused")
        assert "crashed in it 2 times" in plugin_state(host)["reason"], plugin_state(host)
        with host.wire() as w:
            equal(kinds(w.exchange(query("SELECT 1 /* verdict: crash segv */"))), "TDCZ")
        equal(host.control("plugin", "verdicts", "enable").returncode, 0)
        equal(plugin_state(host)["state"], "running")
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


def upgrade(host):
    """Upgrades and returns the new host's process."""
    done = host.control("upgrade", timeout=60)
    equal(done.returncode, 0, done.stdout + done.stderr)
    return host.host_pid()


def settled(host, timeout=20.0):
    wait_for(lambda: len(host.host_pids()) == 1, timeout, "one host alone")
    assert not re.search("has crashed.*was=retiring", host.log_text()), "the old host did not end well"


class Working:
    """A client that runs statements without end; anything but the right answer is a failure."""

    def __init__(self, host, number):
        self.wire, self.number = host.wire(), number
        self.count, self.failures, self.ended = 0, [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        answer = self.wire.exchange(parse("mine", "SELECT %d + $1::int" % number), sync())
        equal(kinds(answer), "1Z")
        self.thread.start()

    def _turn(self):
        self.count += 1
        if self.count % 3 == 0:
            equal(kinds(self.wire.exchange(query("BEGIN"))), "CZ")
            equal(kinds(self.wire.exchange(query("SELECT 1"))), "TDCZ")
            equal(kinds(self.wire.exchange(query("COMMIT"))), "CZ")
        answer = self.wire.exchange(bind("", "mine", [str(self.count).encode()]), execute(), sync())
        equal(kinds(answer), "2DCZ")
        equal(int(answer[1].row()[0]), self.number + self.count)

    def _run(self):
        while not self.ended and not self.failures:
            try:
                self._turn()
            except Exception as e:
                self.failures.append(repr(e))

    def end(self):
        self.ended = True
        self.thread.join(30)
        self.wire.close()


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


@test("20 upgrades under load, and no statement fails, and no connection is refused", timeout=240)
def _():
    with Host(pg, {"database *": {"pool_size": 4}}) as host:
        clients = [Working(host, i) for i in range(6)]
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


@test("pool_size holds over both hosts, and neither starves")
def _():
    with Host(pg, {"database *": {"pool_size": 2}}) as host:
        with host.wire() as w:
            w.exchange(query("BEGIN"))
            others = [Working(host, i) for i in range(4)]
            most, ended = [0], threading.Event()

            def watch():
                while not ended.is_set():
                    most[0] = max(most[0], pg.backends("usename = 'app'"))

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            upgrade(host)
            wait_for(lambda: len(host.host_pids()) == 2, what="two hosts")
            before = [c.count for c in others]
            wait_for(lambda: all(c.count > n + 20 or c.failures for c, n in zip(others, before)), what="all go on")
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
            equal(kinds(w.exchange(query("COMMIT"))), "CZ")
            settled(host)
            for c in others:
                c.end()
            ended.set()
            watcher.join(20)
            equal([c.failures for c in others], [[]] * 4)
            assert most[0] <= 2, "%d server connections" % most[0]


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
            assert "the new host has ended before it was ready" in done.stdout + done.stderr, done
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
