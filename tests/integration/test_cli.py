"""
The command line: checking, printing, the background, signals, reloads that change all or nothing, and the samples in
conf.d.
"""

import os
import re
import select
import signal
import socket
import subprocess

import psycopg

from harness import BUILDDIR, HOWDAHD, SRCDIR, Host, Postgres, clean_environment, equal, expect_error, free_port, main
from harness import expect_refused, on_exit, temp_dir, test, wait_for

pg = Postgres()
NOSTART = os.path.abspath(os.path.join(BUILDDIR, "tests/integration/plugins/.libs/nostart.so"))


def howdahd(*args, **env):
    return subprocess.run([HOWDAHD, *args], env=clean_environment(**env), capture_output=True, text=True, timeout=30)


def contains(text, *parts):
    for part in parts:
        if part not in text:
            raise AssertionError("%r is missing in:\n%s" % (part, text))


def idle_host(changes=None):
    """A host that was not started: for -t and the like."""
    return Host(pg, changes, start=False)


@test("--version and --help")
def _():
    version = howdahd("--version")
    equal(version.returncode, 0)
    contains(version.stdout, "howdahd ", "plugin ABI 0.")
    text = howdahd("--help")
    equal((text.returncode, text.stderr), (0, ""))
    contains(text.stdout, "Usage: howdahd", "--dump-config", "/conf.d")


@test("a wrong command line ends with status 2 and a hint")
def _():
    for args in (["--colour"], ["-c"], ["more"], ["-t", "more"]):
        result = howdahd(*args)
        equal(result.returncode, 2, args)
        contains(result.stderr, "Try howdahd --help.")


@test("-t takes a good configuration and starts nothing")
def _():
    host = idle_host()
    result = host.run("-t")
    equal((result.returncode, result.stderr), (0, ""))
    contains(result.stdout, "good: 1 listeners, 3 users, 1 databases, 1 nodes")
    equal(os.path.exists(host.control_path), False)
    with expect_refused():
        socket.create_connection(("127.0.0.1", host.port), 1)


@test("-t says all that is wrong, each with its place and what would be right")
def _():
    host = idle_host({"database *": {"pool_size": "0", "node": "mian"}, "user app": {"pasword": "x"}})
    host.write("20-more.ini", "[user app]\npassword = y\n[guard x]\nkindz = ddl\n[nonsense y]\n[listener z]\nlisten = 1\n")
    result = host.run("-t")
    equal((result.returncode, result.stdout), (1, ""))
    contains(
        result.stderr,
        "10-test.ini:",
        "pool_size must be between 1 and 10000, not 0",
        'there is no [node mian]; did you mean "main"?',
        'unknown key "pasword" in [user app]; did you mean "password"?',
        "20-more.ini:1: [user app] is there twice; the first stands at ",
        "20-more.ini:7: listen must be such as 127.0.0.1:6432",
    )


@test("-t asks the plugins too")
def _():
    host = idle_host({"plugin guard": {"enabled": "observe"}, "guard x": {"kinds": "dld"}})
    result = host.run("-t")
    equal(result.returncode, 1)
    contains(result.stderr, "10-test.ini:", "dld", "ddl")
    host.configure({"plugin guard": {"enabled": "no", "unsur": "warn"}})
    result = host.run("-t")
    equal(result.returncode, 1)
    contains(result.stderr, 'unknown key "unsur"', '"unsure"')
    host.configure({"nonsense x": {}})
    result = host.run("-t")
    equal(result.returncode, 1)
    contains(result.stderr, "10-test.ini:", "nonsense")


@test("a plugin that is not there: the host runs without it, unless it is required")
def _():
    host = idle_host({"plugin phantom": {}})
    result = host.run("-t")
    equal(result.returncode, 0)
    contains(result.stderr, "warning: ", "phantom.so")
    host.configure({"plugin phantom": {"required": "yes"}})
    result = host.run("-t")
    equal(result.returncode, 1)
    contains(result.stderr, "error: ", "phantom.so")
    equal(host.run().returncode, 1)


@test("no configuration, an empty folder and a file that is missing")
def _():
    folder = temp_dir()
    result = howdahd("-t", "-c", folder)
    equal(result.returncode, 1)
    contains(result.stderr, "there is no *.ini or *.conf file in this folder")
    result = howdahd("-c", folder + "/none")
    equal(result.returncode, 1)
    contains(result.stderr, "/none: cannot open it: No such file or directory")


@test("--dump-config fills in defaults, shows no secret, and prints a configuration that prints the same")
def _():
    host = idle_host(
        {
            "user app": {"password": "hush-1"},
            "user other": {"password": "${HUSH:-hush-2}"},
            "node main": {"conninfo": "host=127.0.0.1 password=hush-3", "control_password": "hush-4"},
            "plugin statements": {},
            "plugin guard": {"enabled": "observe"},
            "guard ddl": {"kinds": "ddl"},
        }
    )
    result = host.run("--dump-config")
    equal((result.returncode, result.stderr), (0, ""))
    contains(result.stdout, "pool_size = 10", "queue_timeout = 10s", "login_timeout = 1m", "[guard ddl]", "kinds = ddl")
    contains(result.stdout, "conninfo = password=******** host=127.0.0.1", "max_templates = ")
    equal("hush" in result.stdout, False)
    again = temp_dir()
    with open(again + "/a.ini", "w") as f:
        f.write(result.stdout)
    once_more = howdahd("-c", again, "--dump-config")
    equal((once_more.returncode, once_more.stderr), (0, ""))
    without_places = lambda text: re.sub(r"(?m)^; .*$", "", text)
    equal(without_places(once_more.stdout), without_places(result.stdout))


@test("--sample prints every kind of section and every plugin")
def _():
    every = howdahd("--sample")
    equal(every.returncode, 0)
    contains(every.stdout, "[host]", "[listener main]", "[user app]", "[database shop]", "[node main]", "[plugin NAME]")
    contains(howdahd("--sample=guard").stdout, "[plugin guard]", "[guard NAME]", ";action = ")
    wrong = howdahd("--sample=gard")
    equal(wrong.returncode, 1)
    contains(wrong.stderr, 'did you mean "guard"?')


def keys_of(text):
    """The keys of each kind of section, those that are commented out too."""
    found, kind = {}, None
    for line in text.splitlines():
        header = re.match(r";?\[(\S+)(?: (\S+))?\]", line)
        key = re.match(r";?([a-z_]+) =", line)
        if header:
            kind = header[1] + (" " + header[2] if header[1] == "plugin" else "")
        elif key and kind:
            found.setdefault(kind, set()).add(key[1])
    return found


@test("the samples in conf.d load, and show every key there is")
def _():
    folder = os.path.join(SRCDIR, "conf.d")
    result = howdahd("-t", "-c", folder)
    equal((result.returncode, result.stderr), (0, ""))
    names = sorted(n for n in os.listdir(folder) if n.endswith(".ini"))
    written = keys_of("\n".join(open(os.path.join(folder, n)).read() for n in names))
    known = keys_of(howdahd("--sample").stdout)
    known.pop("plugin NAME")
    for name in names[1:]:
        known.update(keys_of(howdahd("--sample=" + re.sub(r"^\d+-|\.ini$", "", name)).stdout))
    equal(written, known)


@test("the environment: ${NAME} is expanded, PG variables reach files but not libpq")
def _():
    host = idle_host({"database *": {"pool_size": "${SIZE}"}, "node main": {"conninfo": "host=${PGHOST} port=%d" % pg.port}})
    result = host.run("-t")
    equal(result.returncode, 1)
    contains(result.stderr, "${SIZE} is not set in the environment", "${PGHOST} is not set in the environment")
    host.env = {"SIZE": "7", "PGHOST": "127.0.0.1", "PGTZ": "Pacific/Auckland", "PGOPTIONS": "-c work_mem=77MB"}
    with host.start():
        with host.connect() as c:
            equal(c.execute("SHOW work_mem").fetchone()[0] == "77MB", False)
            equal(c.execute("SHOW timezone").fetchone()[0] == "Pacific/Auckland", False)
        host.signal(signal.SIGHUP)
        host.wait_log("configuration reloaded")


# --- signals and reloads ----------------------------------------------------------------------------------------


def reload(host, expected):
    """SIGHUP, and what the log says of it."""
    after = len(host.log_text())
    host.signal(signal.SIGHUP)
    return host.wait_log(expected, after=after)


@test("SIGHUP brings a new configuration into force")
def _():
    with Host(pg) as host:
        with expect_error(match="late"):
            host.connect(user="late", password="x")
        pg.execute("CREATE ROLE late LOGIN PASSWORD 'x'")
        host.write("20-late.ini", "[user late]\npassword = x\n")
        reload(host, "configuration reloaded")
        with host.connect(user="late", password="x") as c:
            equal(c.execute("SELECT current_user").fetchone()[0], "late")
        events = [e for e in host.console("SHOW EVENTS") if "config.reloaded" in str(e)]
        equal(len(events) >= 1, True, "an event says so")


@test("a reload with a bad file changes nothing, says why, and running clients see nothing of it")
def _():
    with Host(pg) as host, host.connect() as c:
        c.execute("BEGIN")
        bad = host.write("20-bad.ini", "[user late2]\npassword = x\n[database *]\nnode = main\n")
        reload(host, r"configuration refused; the old one stays.*20-bad\.ini:3: \[database \*\] is there twice")
        with open(bad, "w") as f:
            f.write("[user late2]\npassword = x\n[guard x]\nkinds = dld\n[plugin guard]\n")
        reload(host, r"configuration refused.*20-bad\.ini:3: \[guard x\]")
        with open(bad, "w") as f:
            f.write("[user late2]\npassword = x\n[listener taken]\nlisten = 127.0.0.1:%d\n" % pg.port)
        reload(host, r"configuration refused.*%d" % pg.port)
        with expect_error():
            host.connect(user="late2", password="x")
        equal(c.execute("SELECT 1").fetchone()[0], 1)
        with expect_error(match="taken"):
            host.console("RELOAD")
        os.unlink(bad)
        host.console("RELOAD")
        status = {r["what"]: r["value"] for r in host.console("STATUS")}
        equal((status["reloads"], status["reloads refused"]), ("1", "4"))


@test("where a plugin that is required does not start, a reload takes everything back")
def _():
    with Host(pg, {"plugin statements": {}}) as host:
        port = free_port()
        needed = {
            "listener more": {"listen": "127.0.0.1:%d" % port},
            "plugin statements": None,
            "plugin nostart": {"required": "yes", "library": NOSTART},
        }
        host.configure(needed)
        reload(host, "configuration refused.*not today")
        with expect_refused():
            socket.create_connection(("127.0.0.1", port), 1)
        states = {r["name"]: r["state"] for r in host.console("SHOW PLUGINS")}
        equal(states["statements"], "running")
        needed["plugin nostart"]["required"] = "no"
        host.configure(needed)
        reload(host, "configuration reloaded")
        socket.create_connection(("127.0.0.1", port), 1).close()
        states = {r["name"]: (r["state"], r["reason"]) for r in host.console("SHOW PLUGINS")}
        equal(states["nostart"][0], "refused")
        contains(states["nostart"][1], "not today")
    host = idle_host({"plugin nostart": {"required": "yes", "library": NOSTART}})
    result = host.run()
    equal(result.returncode, 1)
    contains(result.stderr, "not today")


@test("what cannot change while the host runs is refused by name")
def _():
    with Host(pg) as host:
        host.configure({"host": {"workers": 1}})
        reload(host, r"configuration refused.*workers in \[host\] cannot change while the host runs")


@test("a listener comes and goes with a reload")
def _():
    with Host(pg) as host:
        port = free_port()
        host.configure({"listener more": {"listen": "127.0.0.1:%d" % port}})
        reload(host, "configuration reloaded")
        with psycopg.connect(host.dsn(port=port)) as c:
            equal(c.execute("SELECT 1").fetchone()[0], 1)
        host.configure({})
        reload(host, "configuration reloaded")

        def refused():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except ConnectionRefusedError:
                return True

        wait_for(refused, what="the listener is gone")


@test("SIGTERM: no new clients, a transaction may end, an idle client is told")
def _():
    host = Host(pg, {"host": {"drain_timeout": "20s"}})
    busy, idle = host.connect(), host.connect()
    busy.execute("BEGIN")
    busy.execute("CREATE TEMPORARY TABLE drained (a int)")
    host.signal(signal.SIGTERM)
    # Until its worker has heard of it, a client is served.
    wait_for(lambda: select.select([idle.fileno()], [], [], 0)[0], what="the idle client is told")
    with expect_error("57P01"):
        idle.execute("SELECT 1")

    def no_new_client():
        try:
            host.connect(connect_timeout=2).close()
        except psycopg.OperationalError:
            return True

    wait_for(no_new_client, what="new clients are turned away")
    equal(host.alive(), True)
    busy.execute("INSERT INTO drained VALUES (1)")
    equal(busy.execute("SELECT count(*) FROM drained").fetchone()[0], 1)
    busy.execute("COMMIT")
    wait_for(lambda: not host.alive(), what="the host ends")
    equal(host.stop(), 0)


@test("a transaction that does not end is cut after drain_timeout")
def _():
    host = Host(pg, {"host": {"drain_timeout": "1s"}})
    busy = host.connect()
    busy.execute("BEGIN")
    host.signal(signal.SIGTERM)
    wait_for(lambda: not host.alive(), what="the host ends")
    equal(host.stop(), 0)
    with expect_error("57P01"):
        busy.execute("SELECT 1")


@test("a second SIGTERM stops at once")
def _():
    host = Host(pg, {"host": {"drain_timeout": "60s"}})
    busy = host.connect()
    busy.execute("BEGIN")
    host.signal(signal.SIGTERM)
    host.wait_log("draining")
    host.signal(signal.SIGTERM)
    wait_for(lambda: not host.alive(), what="the host ends")
    equal(host.stop(), 0)
    busy.close()


@test("SHUTDOWN from the console")
def _():
    host = Host(pg)
    host.console("SHUTDOWN")
    wait_for(lambda: not host.alive(), what="the host ends")
    equal(host.stop(), 0)


@test("the log file is made, and opened again on SIGHUP")
def _():
    path = temp_dir() + "/howdahd.log"
    with Host(pg, {"host": {"log_file": path}}) as host:
        wait_for(lambda: "msg=ready" in open(path).read(), what="it says that it is ready")
        os.rename(path, path + ".1")
        host.signal(signal.SIGHUP)
        wait_for(lambda: os.path.exists(path) and "reloaded" in open(path).read(), what="a new log")
    contains(open(path).read(), "msg=stopped")


# --- the background ---------------------------------------------------------------------------------------------


class Background:
    """A howdahd that has gone to the background."""

    def __init__(self, host, path):
        self.path = path
        # Output goes to files: a pipe would stay open as long as the child.
        with open(host.log_path, "ab") as log:
            self.status = subprocess.run(
                [HOWDAHD, "-d", "-c", host.conf_dir], stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=30
            ).returncode
        on_exit(self.kill)

    def pid(self):
        return int(open(self.path).read())

    def kill(self):
        if os.path.exists(self.path):
            os.kill(self.pid(), signal.SIGKILL)
            os.unlink(self.path)


@test("-d returns when the host is ready; the pid file names it, keeps a second out, and goes with it")
def _():
    host = idle_host({"host": {"drain_timeout": "1s"}})
    path = host.dir + "/pid"
    host.configure({"host": {"pid_file": path}})
    first = Background(host, path)
    equal(first.status, 0)
    with host.connect() as c:
        equal(c.execute("SELECT 1").fetchone()[0], 1)
    pid = first.pid()
    equal(os.stat("/proc/%d/cwd" % pid).st_ino, os.stat("/").st_ino)
    second = host.run()
    equal(second.returncode, 1)
    contains(second.stderr, "is held by process %d" % pid)
    equal(first.pid(), pid)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not os.path.exists(path), what="the pid file goes")
    wait_for(lambda: not os.path.exists("/proc/%d" % pid), what="the process goes")


@test("a pid file that a crash left behind is taken over")
def _():
    host = idle_host()
    path = host.dir + "/pid"
    with open(path, "w") as f:
        f.write("1\n")
    host.configure({"host": {"pid_file": path}})
    with host.start():
        equal(int(open(path).read()), host.process.pid)
    equal(os.path.exists(path), False)


@test("-d fails where the foreground would")
def _():
    host = idle_host()
    host.configure({"listener main": {"listen": "127.0.0.1:%d" % pg.port}, "host": {"pid_file": host.dir + "/pid"}})
    equal(Background(host, host.dir + "/pid").status, 1)
    contains(host.log_text(), str(pg.port))
    equal(os.path.exists(host.dir + "/pid"), False)


# --- systemd ----------------------------------------------------------------------------------------------------


@test("systemd is told: ready, reloading, stopping")
def _():
    path = temp_dir() + "/notify"
    messages = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(10)
        with Host(pg, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}) as host:
            def until(word):
                while True:
                    messages.append(s.recv(4096).decode())
                    if word in messages[-1]:
                        return messages[-1]

            first = until("READY=1")
            contains(first, "STATUS=")
            until("WATCHDOG=1")
            host.signal(signal.SIGHUP)
            contains(until("RELOADING=1"), "MONOTONIC_USEC=")
            until("READY=1")
            host.signal(signal.SIGTERM)
            until("STOPPING=1")


# --- commands ---------------------------------------------------------------------------------------------------


@test("SHOW CONFIG shows values and places, and no secret")
def _():
    with Host(pg, {"user app": {"password": "secret"}}) as host:
        rows = host.console("SHOW CONFIG")
        equal(any("secret" in str(r["value"]) for r in rows), False)
        found = {(r["section"], r["key"]): r for r in rows}
        equal(found["[database *]", "pool_size"]["value"], "10")
        equal(found["[user app]", "password"]["value"], "********")
        contains(found["[database *]", "pool_size"]["origin"], "10-test.ini:")


@test("OPTIONS documents a plugin and a kind of section, and knows what was meant")
def _():
    with Host(pg) as host:
        keys = {(r["section"], r["key"]) for r in host.console("OPTIONS guard")}
        equal({("[plugin guard]", "enabled"), ("[plugin guard]", "unsure"), ("[guard NAME]", "action")} <= keys, True)
        equal("conninfo" in {r["key"] for r in host.console("OPTIONS node")}, True)
        with expect_error(match="did you mean"):
            host.console("OPTIONS gaurd")


@test("SHOW PLUGINS lists what runs and what is available; PLUGIN switches")
def _():
    with Host(pg, {"plugin guard": {"enabled": "observe"}, "guard ddl": {"kinds": "ddl"}}) as host:
        state = lambda: {r["name"]: r["state"] for r in host.console("SHOW PLUGINS")}
        equal(state()["guard"], "observing")
        equal(state()["statements"], "available")
        host.console("PLUGIN guard ENABLE")
        equal(state()["guard"], "running")
        with host.connect() as c, expect_error("42501"):
            c.execute("CREATE TABLE never (a int)")
        host.console("PLUGIN guard DISABLE")
        wait_for(lambda: state()["guard"] == "stopped", what="guard stops")
        host.console("PLUGIN statements OBSERVE")
        with expect_error(match="gaurd"):
            host.console("PLUGIN gaurd ENABLE")
        with expect_error(match="expected PLUGIN NAME"):
            host.console("PLUGIN guard")


@test("SHOW DATABASES, SHOW VERSION and STATUS")
def _():
    with Host(pg) as host:
        equal([r["name"] for r in host.console("SHOW DATABASES")], ["*"])
        equal(host.console("SHOW VERSION")[0]["part"], "howdahd")
        status = {r["what"]: r["value"] for r in host.console("STATUS")}
        equal(status["state"], "running")
        equal(int(status["supervisor"]), host.process.pid)
        equal(int(status["pid"]), host.host_pid())


main()
