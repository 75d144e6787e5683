"""Upgrades that go wrong, or come at a bad time: the old host serves on, whoever asked is told why, nothing is left."""

# Runs under TSan too.

import os
import shutil
import signal
import socket
import threading
import time

import harness
import pgwire
from harness import Host, Postgres, equal, main, test, wait_for
from pgwire import kinds, query
from upgrading import Working, back_within, settled, status, upgrade

pg = Postgres()


def gone(pids):
    """Those of the processes that are not there any more, zombies left out."""

    def is_gone(pid):
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    return [pid for pid in pids if is_gone(pid)]


# --- the program was replaced -------------------------------------------------------------------------------------


class Installed:
    """A host of a program of its own, which can be replaced as a package does it: another file by the same name."""

    def __init__(self, changes=None):
        self.dir = harness.temp_dir()
        self.path = os.path.join(self.dir, "howdahd")
        shutil.copy(harness.HOWDAHD, self.path)
        was, harness.HOWDAHD = harness.HOWDAHD, self.path
        try:
            self.host = Host(pg, changes)
        finally:
            harness.HOWDAHD = was

    def replace(self, text, mode=0o755):
        fresh = self.path + ".new"
        with open(fresh, "w") as f:
            f.write(text)
        os.chmod(fresh, mode)
        os.rename(fresh, self.path)

    def restore(self):
        shutil.copy(harness.HOWDAHD, self.path + ".new")
        os.rename(self.path + ".new", self.path)


def refused_upgrade(host, timeout=60):
    """Asks for an upgrade that fails; returns what was said."""
    done = host.control("upgrade", timeout=timeout)
    equal(done.returncode, 1, done.stdout)
    return done.stderr


# What stands in place of the program, with which mode; and what must be said.
REPLACEMENTS = {
    "is not executable": ("#!/bin/sh\nexit 0\n", 0o644, "cannot run {path}: Permission denied"),
    "is no program": ("\x7fELF nonsense\n", 0o755, "cannot run {path}: Exec format error"),
    "has an interpreter that is not there": ("#!/no/such/shell\n", 0o755, "cannot run {path}: No such file"),
    "ends at once and well": ("#!/bin/sh\nexit 0\n", 0o755, "ended with status 0 before it was ready"),
    "ends at once and says nothing": ("#!/bin/sh\nexit 7\n", 0o755, "ended with status 7 before it was ready"),
    "is ended by a signal": ("#!/bin/sh\nkill -ABRT $$\n", 0o755, "ended by a signal (Aborted)"),
    "hangs": ("#!/bin/sh\nexec sleep 600\n", 0o755, "did not serve within start_timeout (1000 ms)"),
}


@test("a program that was replaced by one that fails is told of, and the old host serves on")
def _():
    installed = Installed({"host": {"start_timeout": "1s"}})
    with installed.host as host:
        client = Working(host, 1)
        pid = host.host_pid()
        with host.wire() as idle:
            for what, (text, mode, said) in REPLACEMENTS.items():
                installed.replace(text, mode)
                equal(os.stat(installed.path).st_mode & 0o777, mode)
                told = refused_upgrade(host)
                assert said.format(path=installed.path) in told, (what, told)
                equal(host.host_pids(), [pid], what)
                equal(kinds(idle.exchange(query("SELECT 1"))), "TDCZ")
                host.wire().close()
            os.unlink(installed.path)
            assert "cannot run %s: No such file" % installed.path in refused_upgrade(host)
            equal(host.host_pids(), [pid])
            before = client.count
            wait_for(lambda: client.failures or client.count > before + 5, what="it goes on")
            installed.restore()
            assert upgrade(host) != pid
            settled(host)
            equal(kinds(idle.exchange(query("SELECT 1"))), "TDCZ")
        client.end()
        equal(client.failures, [])
        equal(status(host)["generation"], str(len(REPLACEMENTS) + 3))


@test("a configuration that is refused is told of with its file and line")
def _():
    with Host(pg) as host, host.wire() as w:
        pid = host.host_pid()
        path = host.write("90-bad.ini", "[database shop]\nnode = main\npool_sise = 3\n")
        told = refused_upgrade(host)
        assert path + ":3" in told and "pool_size" in told, told
        equal(host.host_pids(), [pid])
        equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
        os.unlink(path)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            where = "127.0.0.1:%d" % taken.getsockname()[1]
            host.configure({"listener more": {"listen": where, "auth": "scram-sha-256"}})
            told = refused_upgrade(host)
            assert where in told and "in use" in told, told
        equal(host.host_pids(), [pid])
        equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
        upgrade(host)
        settled(host)
        equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")


@test("a crashed host whose program hangs is given up and started again")
def _():
    installed = Installed({"host": {"start_timeout": "500ms"}})
    with installed.host as host:
        back_within(host, 30)
        installed.replace("#!/bin/sh\nexec sleep 600\n")
        os.kill(host.host_pid(), signal.SIGKILL)
        host.wait_log("was=starting")
        installed.restore()
        back_within(host, 20)


@test("SIGTERM while a new host hangs at its start ends both")
def _():
    installed = Installed()
    with installed.host as host:
        back_within(host, 30)
        installed.replace("#!/bin/sh\nexec sleep 600\n")
        threading.Thread(target=host.control, args=("upgrade",), daemon=True).start()
        wait_for(lambda: len(host.host_pids()) == 2, what="two hosts")
        pids = host.host_pids()
        host.signal(signal.SIGTERM)
        equal(host.process.wait(60), 0)
        equal(sorted(gone(pids)), sorted(pids))


# --- at a bad time ------------------------------------------------------------------------------------------------


def upgrade_on(host):
    """A new host that serves, while the old one still has clients."""
    pid = upgrade(host)
    wait_for(lambda: len(host.host_pids()) == 2, what="two hosts")
    return pid


@test("a client that authenticates during an upgrade is let in by the host that it reached")
def _():
    with Host(pg) as host:
        half = [pgwire.Wire("127.0.0.1", host.port) for _ in range(3)]
        half[0].send(pgwire.startup(user="app", database="shop")[:9])
        half[1].send(pgwire.startup(user="app", database="shop"))
        equal(half[1].sock.recv(1, socket.MSG_PEEK), b"R")  # it is asked for its password; half[2] is silent
        upgrade_on(host)
        half[0].send(pgwire.startup(user="app", database="shop")[9:])
        for w in half[:2]:
            w.authenticate("secret")
        half[2].login("app", "shop", "secret")
        for w in half:
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
        settled(host)
        for w in half:
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
            w.close()


@test("logins without end through upgrades: none fails")
def _():
    with Host(pg) as host:
        failures, count, ended = [], [0], threading.Event()

        def log_in():
            while not ended.is_set() and not failures:
                try:
                    with host.wire() as w:
                        equal(w.query("SELECT 1"), [["1"]])
                        count[0] += 1
                except Exception as e:
                    failures.append(repr(e))

        threads = [threading.Thread(target=log_in, daemon=True) for _ in range(4)]
        for t in threads:
            t.start()
        for _ in range(8):
            before = count[0]
            upgrade(host)
            settled(host)
            wait_for(lambda: failures or count[0] > before + 5, what="logins")
        ended.set()
        for t in threads:
            t.join(60)
        equal(failures, [])


@test("COPY in and out that stream during an upgrade come to their ends where they began")
def _():
    pg.execute("DROP TABLE IF EXISTS streamed; CREATE TABLE streamed (n int); GRANT ALL ON streamed TO app")
    with Host(pg) as host:
        with host.connect() as into, host.connect() as out:
            writing, reading = into.cursor(), out.cursor()
            with writing.copy("COPY streamed FROM STDIN") as copy:
                for n in range(1000):
                    copy.write_row((n,))
                with reading.copy("COPY (SELECT generate_series(1, 400000)) TO STDOUT") as rows:
                    got = sum(1 for _ in zip(range(1000), rows.rows()))
                    old = host.host_pid()
                    upgrade_on(host)
                    for n in range(1000, 2000):
                        copy.write_row((n,))
                    got += sum(1 for _ in rows.rows())
            equal(got, 400000)
            equal(into.execute("SELECT count(*), sum(n) FROM streamed").fetchone(), (2000, 1999000))
            settled(host)
            assert old not in host.host_pids()
            equal(out.execute("SELECT 1").fetchone(), (1,))


@test("a pipeline that is under way during an upgrade is answered in full")
def _():
    with Host(pg) as host, host.wire() as w:
        batch = [pgwire.parse("", "SELECT pg_sleep(0.4)"), pgwire.bind(), pgwire.execute(), pgwire.sync()]
        w.send(*batch, *batch, query("SELECT 'end'"))
        wait_for(lambda: pg.backends("query LIKE '%pg_sleep(0.4)%' AND state = 'active'"), what="it runs")
        upgrade_on(host)
        answer = []
        for _ in range(3):
            answer += w.recv_until("Z")
        equal(kinds(answer), "12DCZ12DCZTDCZ")
        settled(host)
        equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")


@test("two upgrades at once: one is done, the other told that it is")
def _():
    with Host(pg) as host, host.wire() as w:
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(host.control("upgrade", timeout=60)), daemon=True)
            for _ in range(4)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        settled(host)
        good = [r for r in results if r.returncode == 0]
        equal(len(results), 4)
        assert good, results
        for r in results:
            if r.returncode:
                assert any(s in r.stderr for s in ("under way", "is not over", "being replaced")), r
        equal(status(host)["generation"], str(1 + len(good)))
        equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")


@test("SIGTERM during an upgrade drains both hosts, and nothing is left")
def _():
    with Host(pg, {"host": {"drain_timeout": "10s"}}) as host:
        with host.wire() as w:
            w.exchange(query("BEGIN"))
            upgrade_on(host)
            pids = host.host_pids()
            with host.wire() as v:
                v.exchange(query("BEGIN"))
                host.signal(signal.SIGTERM)
                for x in (w, v):
                    equal(kinds(x.exchange(query("SELECT 1"))), "TDCZ")
                    equal(kinds(x.exchange(query("COMMIT")))[:2], "CZ")
                equal(host.process.wait(60), 0)
        equal(sorted(gone(pids)), sorted(pids))
    wait_for(lambda: pg.backends("usename = 'app'") == 0, what="no server is left")


@test("SIGTERM at every moment of an upgrade ends all of it in good order")
def _():
    for pause in (0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1):
        host = Host(pg)
        back_within(host, 30)
        host.signal(signal.SIGUSR2)
        time.sleep(pause)  # the moment is what is tried out
        pids = host.host_pids()
        host.signal(signal.SIGTERM)
        equal(host.process.wait(60), 0, "after %.3f s" % pause)
        wait_for(lambda: len(gone(pids)) == len(pids), what="no host is left")
        host.stop()


@test("a host that stops in the moment in which the new one gets ready ends all of it in good order")
def _():
    installed = Installed()
    with installed.host as host:
        back_within(host, 30)
        real, go = os.path.join(installed.dir, "real"), os.path.join(installed.dir, "go")
        shutil.copy(harness.HOWDAHD, real)
        installed.replace('#!/bin/sh\nuntil [ -e %s ]; do sleep 0.05; done\nexec %s "$@"\n' % (go, real))
        old = host.host_pid()
        host.signal(signal.SIGUSR2)
        host.wait_log("upgrade begins")  # a new host has then been told all that it starts with
        pids = host.host_pids()
        (new,) = (pid for pid in pids if pid != old)
        # The supervisor finds both words at once when it goes on: that of the old host, which it reads first, has the
        # new one killed, whose own has been sent already.
        host.signal(signal.SIGSTOP)
        open(go, "w").close()
        wait_for(lambda: "%d" % new in host.control("status").stdout, what="the new host answers, so it has said that it is ready")
        os.kill(old, signal.SIGTERM)
        wait_for(lambda: gone([old]), what="the old host has ended")
        host.signal(signal.SIGCONT)
        equal(host.process.wait(60), 0)
        equal(sorted(gone(pids)), sorted(pids))


@test("a supervisor that is killed during an upgrade takes both hosts along, and can be started again")
def _():
    unix = harness.temp_dir() + "/s"
    changes = {
        "listener local": {"listen": "unix:" + unix, "auth": "scram-sha-256"},
        "host": {"pid_file": harness.temp_dir() + "/pid"},
    }
    host = Host(pg, changes)
    with host.wire() as w:
        w.exchange(query("BEGIN"))
        upgrade_on(host)
        pids = host.host_pids()
        os.kill(host.process.pid, signal.SIGKILL)
        host.process.wait(60)
        wait_for(lambda: len(gone(pids)) == 2, what="both hosts go")
        w.expect_closed()
    wait_for(lambda: pg.backends("usename = 'app'") == 0, what="no server is left")
    host.stop()
    host.start()
    back_within(host, 30)
    equal(host.control("upgrade").returncode, 0)
    settled(host)
    equal(host.stop(), 0)


@test("the new host crashes while it takes over: another one follows, those who had not moved notice nothing")
def _():
    with Host(pg, {"database *": {"pool_mode": "session"}}) as host:
        with host.wire() as stays:
            stays.exchange(query("CREATE TEMP TABLE mine AS SELECT 1 AS n"))
            new = upgrade_on(host)
            os.kill(new, signal.SIGKILL)
            equal(stays.query("SELECT n FROM mine"), [["1"]])
            # Whoever is on the way to a host that crashes is lost with it.
            wait_for(lambda: new not in host.host_pids(), what="the new host has gone")
            back_within(host, 10)
            equal(stays.query("SELECT n FROM mine"), [["1"]])
            equal(len(host.host_pids()), 2)
        settled(host)
        equal(status(host)["generation"], "3")
        upgrade(host)
        settled(host)


@test("the old host crashes while it hands over: the new one serves on, and the next upgrade is possible")
def _():
    with Host(pg) as host:
        with host.wire() as w, host.wire() as moves:
            w.exchange(query("BEGIN"))
            old = host.host_pid()
            upgrade_on(host)
            wait_for(lambda: len(host.console("SHOW CLIENTS")) >= 2, what="one has moved")
            os.kill(old, signal.SIGKILL)
            wait_for(lambda: len(host.host_pids()) == 1, what="one host")
            equal(kinds(moves.exchange(query("SELECT 1"))), "TDCZ")
            w.expect_closed()
            host.wire().close()
        upgrade(host)
        settled_after_crash(host)


def settled_after_crash(host):
    wait_for(lambda: len(host.host_pids()) == 1, what="one host alone")


@test("the old host crashes before the new one is ready: the new one serves")
def _():
    installed = Installed()
    with installed.host as host:
        back_within(host, 30)
        real, go = os.path.join(installed.dir, "real"), os.path.join(installed.dir, "go")
        shutil.copy(harness.HOWDAHD, real)
        installed.replace('#!/bin/sh\nuntil [ -e %s ]; do sleep 0.05; done\nexec %s "$@"\n' % (go, real))
        old = host.host_pid()
        asking = threading.Thread(target=host.control, args=("upgrade",), daemon=True)
        asking.start()
        host.wait_log("upgrade begins")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: len(host.host_pids()) == 1, what="the old host has gone")
        open(go, "w").close()
        asking.join(60)
        back_within(host, 20)
        equal(len(host.host_pids()), 1)
        equal(status(host)["generation"], "2")


@test("a loop of crashes is answered ever later, and its end resets nothing too early")
def _():
    installed = Installed()
    with installed.host as host:
        back_within(host, 30)
        installed.replace("#!/bin/sh\nexit 3\n")
        os.kill(host.host_pid(), signal.SIGKILL)
        host.wait_log("in_succession=5 next_start_ms=800")
        waits = [int(line.rsplit("=", 1)[1]) for line in host.log_text().splitlines() if "next_start_ms" in line]
        equal(waits[:4], [100, 200, 400, 800])
        installed.restore()
        back_within(host, 20)
        os.kill(host.host_pid(), signal.SIGKILL)
        host.wait_log("in_succession=[6-9] next_start_ms=(1600|3200)")


main()
