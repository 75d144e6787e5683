# Runs under TSan too.
"""SQL jobs, schedules and leadership: on a real PostgreSQL from C (sqljobs.c), and as a running host uses them."""

import json
import os
import signal
import socket
import subprocess
import threading

from harness import BUILDDIR, Host, Postgres, clean_environment, comment, equal, main, test, wait_for

PROGRAM = os.path.join(BUILDDIR, "tests", "integration", "sqljobs")

pg = Postgres()


def rows(host, *args):
    done = host.control("--json", *args)
    equal(done.returncode, 0, done.stderr + done.stdout)
    a = json.loads(done.stdout)
    return [dict(zip(a["columns"], row)) for row in a["rows"]]


def in_c(case):
    """Registers a case of sqljobs.c as a test of its own."""

    @test("from C: " + case)
    def run():
        done = subprocess.run(
            [PROGRAM, case],
            capture_output=True,
            text=True,
            timeout=60,
            env=clean_environment(HD_TEST_CONNINFO=pg.dsn(user="nobody"), HD_TEST_ADMIN=pg.dsn()),
        )
        if done.returncode or "not ok" in done.stdout or "ok 1" not in done.stdout:
            comment(done.stdout + done.stderr)
            raise AssertionError("sqljobs ended with %s" % done.returncode)


for name in (
    "answers",
    "parameters",
    "session",
    "lost connections",
    "copy and size",
    "timeouts",
    "lock timeout",
    "cancel",
    "the blocking form",
    "leader",
):
    in_c(name)


@test("a node that takes connections and says nothing costs its own ping, nobody else's")
def silent_node():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with Host(pg, {"node dark": {"conninfo": "host=127.0.0.1 port=%d" % port}}) as host:
            dark = []
            asking = threading.Thread(target=lambda: dark.extend(rows(host, "node", "ping", "dark")))
            asking.start()
            (row,) = rows(host, "node", "ping", "main")
            equal(row["state"], "up")
            assert not dark, dark
            asking.join(60)
            (row,) = dark
            equal(row["state"], "down")
            equal(row["reason"], "node dark: it cannot be reached in time")
            equal(host.control("show", "version").returncode, 0)


@test("a server that is frozen while a statement runs is given up at the deadline")
def frozen_server():
    frozen = Postgres()
    with Host(pg, {"node other": {"conninfo": frozen.dsn("shop", "app")}}) as host:
        wait_for(lambda: rows(host, "node", "ping", "other")[0]["state"] == "up", what="the node is up")
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(frozen.process.pid)], capture_output=True, text=True, timeout=20
        ).stdout.split()
        stopped = [frozen.process.pid] + [int(p) for p in children]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            (row,) = rows(host, "node", "ping", "other")
            equal(row["state"], "down")
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        wait_for(lambda: rows(host, "node", "ping", "other")[0]["state"] == "up", what="the node is up again")
    frozen.stop()


@test("a reload brings nodes and takes them away")
def reload():
    with Host(pg) as host:
        equal([r["node"] for r in rows(host, "nodes")], ["main"])
        host.configure({"node more": {"conninfo": pg.dsn("shop", "app")}})
        equal(host.control("reload").returncode, 0)
        equal(sorted(r["node"] for r in rows(host, "nodes")), ["main", "more"])
        wait_for(
            lambda: [r["state"] for r in rows(host, "nodes")] == ["up", "up"],
            what="both are up without being asked",
        )
        host.configure({})
        equal(host.control("reload").returncode, 0)
        equal([r["node"] for r in rows(host, "nodes")], ["main"])


@test("connections of jobs are few and wear the host's name")
def connections():
    with Host(pg) as host:
        for _ in range(20):
            rows(host, "node", "ping")
        assert pg.backends("application_name = 'howdah'") <= 2
    wait_for(lambda: pg.backends("application_name = 'howdah'") == 0, what="they end with the host")


@test("a wrong password is told as the reason, and never shown")
def wrong_password():
    changes = {
        "node main": {
            "conninfo": "host=%s port=%d" % (pg.host, pg.port),
            "control_user": "app",
            "control_password": "wr0ng-s3cret",
        }
    }
    with Host(pg, changes) as host:
        (row,) = rows(host, "node", "ping")
        equal(row["state"], "down")
        assert "password authentication failed" in row["reason"], row
        assert "wr0ng-s3cret" not in host.log_text() + json.dumps(rows(host, "events"))


main()
