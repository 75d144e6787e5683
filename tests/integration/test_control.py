# Runs under TSan too.
"""howdahctl and the control socket of a running host; its services as people see them."""

import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time

from harness import HOWDAHCTL, Host, Postgres, clean_environment, equal, main, test, wait_for

pg = Postgres()
host = Host(pg)


def answer(*args, code=0):
    """Runs howdahctl --json and returns its answer."""
    done = host.control("--json", *args)
    equal(done.returncode, code, done.stderr + done.stdout)
    return json.loads(done.stdout)


def rows(*args):
    a = answer(*args)
    return [dict(zip(a["columns"], row)) for row in a["rows"]]


@test("the socket is its owner's alone")
def mode():
    equal(stat.S_IMODE(os.stat(host.control_path).st_mode), 0o600)


@test("a table for people, with SHOW or without")
def table():
    for words in (["show", "nodes"], ["nodes"], ["SHOW NODES;"], ["Show", "Nodes"]):
        done = host.control(*words)
        equal(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        equal(lines[0].split()[0], "node")
        assert set(lines[1]) == {"-", "+"}, lines[1]
        equal(lines[2].split()[0], "main")
        equal(lines[3], "(1 row)")
        assert "\033" not in done.stdout


@test("JSON for programs")
def as_json():
    a = answer("show", "nodes")
    equal(a["columns"][:2], ["node", "state"])
    equal(a["types"][:4], ["text", "text", "time", "real"])
    equal(len(a["rows"]), 1)
    equal(a["command"], "SHOW NODES")
    behind = host.control("show", "nodes", "--json")
    equal(behind.returncode, 0, behind.stderr)
    equal(json.loads(behind.stdout)["columns"], a["columns"])
    equal(host.control("--", "show", "nodes", "--json").returncode, 1)


@test("exit statuses tell what went wrong")
def statuses():
    done = host.control("frobnicate")
    equal((done.returncode, done.stdout), (1, ""))
    assert 'there is no command "FROBNICATE"' in done.stderr, done.stderr
    done = host.control("show", "nods")
    equal(done.returncode, 1)
    assert "did you mean SHOW NODES?" in done.stderr, done.stderr
    done = host.control("show", "nodes", "of", "mine")
    equal(done.returncode, 1)
    assert 'SHOW NODES takes no arguments, found "of"' in done.stderr, done.stderr
    done = host.control("nods")
    assert "did you mean SHOW NODES?" in done.stderr, done.stderr
    equal(host.control("--json", "frobnicate").returncode, 1)
    equal(host.control("--nonsense").returncode, 2)
    equal(host.control().returncode, 2)
    equal(host.control("--watch", "never", "show", "nodes").returncode, 2)
    done = subprocess.run(
        [HOWDAHCTL, "-S", host.dir + "/none.sock", "status"],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=60,
    )
    equal(done.returncode, 3)
    assert "no host answers at" in done.stderr, done.stderr


@test("--help lists the host's commands where it can be reached")
def help_text():
    text = host.control("--help").stdout
    for word in ("Usage:", "SHOW METRICS", "NODE PING", "SCHEDULE RUN"):
        assert word in text, text
    alone = subprocess.run(
        [HOWDAHCTL, "-S", host.dir + "/none.sock", "--help"],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=60,
    )
    equal((alone.returncode, alone.stderr), (0, ""))
    assert "Exit status" in alone.stdout
    assert host.control("--version").stdout.startswith("howdahctl ")


@test("HOWDAH_CONTROL names the socket")
def environment():
    done = subprocess.run(
        [HOWDAHCTL, "nodes"],
        capture_output=True,
        text=True,
        env=clean_environment(HOWDAH_CONTROL="unix:" + host.control_path),
        timeout=60,
    )
    equal(done.returncode, 0, done.stderr)


@test("--watch repeats until it is interrupted")
def watch():
    process = subprocess.Popen(
        [HOWDAHCTL, "-S", host.control_path, "--watch", "200ms", "nodes"],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    seen = 0
    while seen < 3:
        line = process.stdout.readline()
        assert line, "it ended"
        seen += "row)" in line
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


@test("the SQL console gives the same answers")
def console():
    equal([r["node"] for r in host.console("SHOW NODES")], [r["node"] for r in rows("nodes")])
    names = {r["command"] for r in host.console("SHOW HELP")}
    equal(names, {r["command"] for r in rows("help")})
    (me,) = [r for r in host.console("SHOW CLIENTS") if r["database"] == "howdah"]
    equal(me["user"], "howdah")


@test("a node that is there is up; NODE PING asks anew")
def node_ping():
    wait_for(lambda: rows("nodes")[0]["state"] == "up", what="the node is up")
    before = rows("nodes")[0]["checked"]
    (row,) = rows("node", "ping", "main")
    equal((row["node"], row["state"], row["role"]), ("main", "up", "primary"))
    assert row["version"].startswith("15"), row
    assert row["checked"] > before and row["latency ms"] >= 0, row
    equal(len(rows("node", "ping")), 1)
    done = host.control("node", "ping", "nowhere")
    equal(done.returncode, 1)
    assert "there is no node nowhere; SHOW NODES lists them" in done.stderr, done.stderr


@test("a server that stops is down, one that returns is up, and the bus says so")
def node_health():
    pg.stop()
    (row,) = rows("node", "ping")
    equal(row["state"], "down")
    assert row["reason"], row
    pg.start()
    wait_for(lambda: rows("node", "ping")[0]["state"] == "up", what="the node is up again")
    told = [r["event"] for r in rows("events") if r["topic"] == "node.health/1"]
    assert any(e.startswith("node main is down: ") for e in told), told
    equal(told[-1], "node main is up")


@test("schedules are shown and run")
def schedules():
    (row,) = [r for r in rows("schedules") if r["name"] == "node-health"]
    equal(row["interval"], "10s")
    checked = rows("nodes")[0]["checked"]
    done = host.control("schedule", "run", "node-health")
    equal((done.returncode, done.stdout), (0, "started\n"))
    wait_for(lambda: rows("nodes")[0]["checked"] > checked, what="the schedule pings")
    wait_for(lambda: [r for r in rows("schedules") if r["result"] == "ok"], what="it says how it went")
    equal(host.control("schedule", "run", "nothing").returncode, 1)


@test("metrics of the process")
def metrics():
    values = {r["name"]: r["value"] for r in rows("metrics", "howdah_process")}
    assert values["howdah_process_resident_bytes"] > 1e6, values
    assert 0 < values["howdah_process_open_fds"] < 1000, values
    assert 0 < values["howdah_process_uptime_seconds"] < 600, values
    assert values["howdah_process_threads"] >= 3, values


@test("topics and jobs")
def others():
    names = [r["topic"] for r in rows("topics")]
    assert "ddl.observed/1" in names and "node.health/1" in names, names
    equal([r for r in rows("jobs") if r["state"] not in ("running", "waiting")], [])


@test("many clients ask at once")
def many():
    failed = []

    def ask():
        for _ in range(10):
            done = host.control("--json", "show", "version")
            if done.returncode:
                failed.append(done.stderr)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(failed, [])


@test("bad requests harm nobody")
def bad_requests():
    for text in (b"", b"\n", b"{", b"\xff\xfe\n", b'{"command":{}}\n', b'{"command":"x\\u0000y"}\n', b"x" * 200000):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(host.control_path)
            try:
                s.sendall(text)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass
    equal(host.control("show", "version").returncode, 0)


@test("a second host does not take over a socket that is served")
def second():
    other = Host(pg, {"host": {"control": "unix:" + host.control_path}}, start=False)
    done = subprocess.run(
        [os.environ.get("HOWDAHD", "howdahd"), "-c", other.conf_dir],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=60,
    )
    assert done.returncode != 0, done.stderr
    assert "another host serves it" in done.stderr, done.stderr
    equal(host.control("show", "version").returncode, 0)


@test("a host that was killed leaves a socket that the next one replaces; one that stops leaves none")
def stale():
    other = Host(pg)
    path = other.control_path
    other.kill()
    assert os.path.exists(path)
    other.start()
    equal(other.control("show", "version").returncode, 0)
    equal(other.stop(), 0)
    assert not os.path.exists(path)


@test("a worker's question that is under way when the host stops is no harm")
def stop_while_asked():
    with Host(pg, {"node dark": {"conninfo": "host=127.0.0.1 port=%d" % silent_port()}}) as other:
        threads = [threading.Thread(target=ask_quietly, args=(other,)) for _ in range(4)]
        for t in threads:
            t.start()
        time.sleep(0.3)
    for t in threads:
        t.join()


_silent = []


def silent_port():
    """A port that takes connections and says nothing."""
    s = socket.create_server(("127.0.0.1", 0))
    _silent.append(s)
    return s.getsockname()[1]


def ask_quietly(other):
    try:
        other.console("NODE PING")
    except Exception:  # the host ends meanwhile
        pass


@test("the host ends well")
def ends():
    equal(host.stop(), 0)


main()
