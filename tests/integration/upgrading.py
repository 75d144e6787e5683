"""What tests of crashes and upgrades share: clients that knock or work without end, and the change-over itself."""

import os
import re
import socket
import threading
import time

from harness import equal, wait_for
from pgwire import bind, execute, kinds, parse, query, sync

# So many seconds a client at work waits for an answer: many may want few servers, on a machine that is busy.
PATIENCE = 45


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
        self.thread.join(60)


def back_within(host, limit):
    """How long until somebody is served; every attempt waits for its answer instead of trying again."""
    began = time.monotonic()
    with host.wire() as w:
        equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
    took = time.monotonic() - began
    assert took < limit, "served again after %.2f s" % took
    return took


def upgrade(host):
    """Upgrades and returns the new host's process."""
    done = host.control("upgrade", timeout=60)
    equal(done.returncode, 0, done.stdout + done.stderr)
    return host.host_pid()


def _sockets(state):
    """Of the kernel's table of TCP sockets over IPv4: local port, remote port and inode of those in that state."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return [(int(r[1].split(":")[1], 16), int(r[2].split(":")[1], 16), r[9]) for r in rows if r[3] == state]


def connected_to(port):
    """The local ports of connections to that port that neither end has closed."""
    return {local for local, remote, _ in _sockets("01") if remote == port}


def _listens(pid, port):
    """Has that process a socket that listens there?"""
    there = {"socket:[%s]" % inode for local, _, inode in _sockets("0A") if local == port}
    try:
        return any(os.readlink(fd.path) in there for fd in os.scandir("/proc/%d/fd" % pid))
    except FileNotFoundError:  # the process has ended, or closes what was listed
        return os.path.exists("/proc/%d" % pid) and _listens(pid, port)


def replaced(host):
    """Upgrades, and waits until whoever connects comes to the new host: for a moment both of them accept."""
    old = host.host_pid()
    upgrade(host)
    wait_for(lambda: not _listens(old, host.port), what="the old host leaving the address")


def settled(host, timeout=20.0):
    wait_for(lambda: len(host.host_pids()) == 1, timeout, "one host alone")
    assert not re.search("has crashed.*was=retiring", host.log_text()), "the old host did not end well"


class Working:
    """A client that runs statements without end; anything but the right answer is a failure."""

    def __init__(self, host, number, wire=None, sets=False):
        self.wire, self.number, self.sets = wire or host.wire(), number, sets
        self.wire.timeout = PATIENCE
        self.count, self.failures, self.ended = 0, [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        answer = self.wire.exchange(parse("mine", "SELECT %d + $1::int" % number), sync())
        equal(kinds(answer), "1Z")
        self.thread.start()

    def _in_a_transaction(self):
        equal(kinds(self.wire.exchange(query("BEGIN"))), "CZ")
        equal(kinds(self.wire.exchange(query("SELECT 1"))), "TDCZ")
        equal(kinds(self.wire.exchange(query("COMMIT"))), "CZ")

    def _with_a_setting(self):
        """One that the server does not report."""
        value = b"%ds" % (self.number * 1000 + self.count)
        equal(kinds(self.wire.exchange(query("SET statement_timeout = '%s'" % value.decode()))), "CZ")
        answer = self.wire.exchange(query("SELECT setting || 's' FROM pg_settings WHERE name = 'statement_timeout'"))
        equal(answer[1].row()[0], b"%d000s" % (self.number * 1000 + self.count))

    def _turn(self):
        self.count += 1
        if self.count % 3 == 0:
            self._in_a_transaction()
        if self.sets and self.count % 3 == 1:
            self._with_a_setting()
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
        self.thread.join(60)
        self.wire.close()
