"""
What the benchmark compares: PostgreSQL itself, PgBouncer and howdahd, all on loopback TCP before the same server,
with the same authentication and the same size of pool. Each says how to connect to it, which modes of pgbench it can
do, and how much CPU and memory its processes have used.
"""

import glob
import os
import pwd
import re
import shutil
import socket
import subprocess
import time

import harness

POOL_SIZE = 20
USER = "app"
PASSWORD = "secret"
DATABASE = "shop"

# The first PgBouncer that keeps prepared statements apart in transaction pooling.
PREPARED_SINCE = (1, 21)


def process_tree(pid):
    """The process and all its descendants."""
    pids = [pid]
    for p in pids:
        for task in os.listdir("/proc/%d/task" % p):
            with open("/proc/%d/task/%s/children" % (p, task)) as f:
                pids += [int(child) for child in f.read().split()]
    return pids


def cpu_seconds(pid):
    """User and system time of one process with all threads that it has or had, by its CPU clock: exact, where
    /proc/PID/stat counts in hundredths of a second."""
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid):
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _seconds_beside(pid):
    seconds = 0.0
    for task in glob.glob("/proc/%d/task/*" % pid):
        with open(task + "/comm") as name, open(task + "/schedstat") as times:
            if not name.read().startswith("hd-worker"):
                seconds += int(times.read().split()[0]) / 1e9
    return seconds


class Way:
    """A way to the server. `processes` is empty where nothing lies between."""

    def __init__(self, name, port, process=None):
        self.name = name
        self.port = port
        self.process = process

    def conninfo(self, database=DATABASE):
        return "host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable" % (self.port, USER, database)

    def job(self, mode, clients):
        """The mode of pgbench and the database to run it on, and a remark where that is not quite what was asked."""
        return mode, DATABASE, ""

    def pids(self):
        return process_tree(self.process.pid) if self.process else []

    def cpu(self):
        """CPU seconds so far; None where nothing lies between."""
        return sum(cpu_seconds(pid) for pid in self.pids()) if self.process else None

    def cpu_beside(self):
        """CPU seconds of howdahd's threads that serve no clients."""
        return sum(_seconds_beside(pid) for pid in self.pids())

    def resident(self):
        return sum(resident_bytes(pid) for pid in self.pids()) if self.process else None

    def alive(self):
        return not self.process or self.process.poll() is None

    def stop(self):
        pass


# --- PostgreSQL -----------------------------------------------------------------------------------------------


def start_postgres(auth, clients, logical=False):
    """A private server, large enough for every client to connect straight to it; with `logical`, one whose changes can be
    read as a stream."""
    hba = "local all all trust\nhost all postgres samehost trust\nhost all all samehost %s\n" % auth
    return harness.Postgres(
        settings={
            "max_connections": str(max(200, clients + 100)),
            "shared_buffers": "512MB",
            "autovacuum": "off",
            "wal_level": "logical" if logical else "minimal",
            "max_wal_senders": "10" if logical else "0",
        },
        hba=hba,
    )


def fill(pg, scale):
    """pgbench's tables, readable to the benchmark's user and all in memory."""
    harness.run_client(harness.postgres_bin("pgbench"), "-i", "-q", "-s", scale, pg.dsn(DATABASE), timeout=600)
    pg.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO %s" % USER)
    pg.execute("SELECT count(*), sum(abalance) FROM pgbench_accounts")


def direct(pg):
    return Way("direct", pg.port)


# --- PgBouncer ------------------------------------------------------------------------------------------------

PGBOUNCER_INI = """\
[databases]
{database} = host={host} port={server_port} dbname={database}
{database}_session = host={host} port={server_port} dbname={database} pool_mode=session
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {auth}
auth_file = {dir}/users.txt
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = {max_clients}
max_prepared_statements = 200
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
"""


def pgbouncer_program():
    path = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
    if not path:
        return None, None
    shown = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", shown)
    return path, (int(found.group(1)), int(found.group(2))) if found else (0, 0)


class PgBouncer(Way):
    """
    Before 1.21 PgBouncer mixes up prepared statements in transaction pooling. There it does what it can: session
    pooling as long as there are no more clients than servers, else the same statements unprepared.
    """

    def __init__(self, pg, auth, clients):
        self.program, self.version = pgbouncer_program()
        self.dir = harness.temp_dir()
        port = harness.free_port()
        ini = PGBOUNCER_INI.format(
            database=DATABASE,
            host=pg.host,
            server_port=pg.port,
            port=port,
            auth=auth,
            dir=self.dir,
            pool_size=POOL_SIZE,
            max_clients=clients + 100,
        )
        if self.version < PREPARED_SINCE:
            ini = re.sub("max_prepared_statements.*\n", "", ini)
        self._write("pgbouncer.ini", ini)
        self._write("users.txt", '"%s" "%s"\n' % (USER, PASSWORD))
        super().__init__("pgbouncer", port, self._start())
        harness.on_exit(self.stop)

    def _write(self, name, text):
        with open(os.path.join(self.dir, name), "w") as f:
            f.write(text)

    def _start(self):
        account = {}
        if os.getuid() == 0:  # it refuses root
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.dir, nobody.pw_uid, nobody.pw_gid)
        self.log = os.path.join(self.dir, "log")
        with open(self.log, "ab") as log:
            return harness.spawn(
                [self.program, "-q", os.path.join(self.dir, "pgbouncer.ini")],
                stdout=log,
                stderr=log,
                cwd=self.dir,
                env=harness.clean_environment(),
                **account,
            )

    def job(self, mode, clients):
        if mode != "prepared" or self.version >= PREPARED_SINCE:
            return mode, DATABASE, ""
        if clients <= POOL_SIZE:
            return mode, DATABASE + "_session", "session pooling: %d.%d cannot prepare in transactions" % self.version
        return "extended", DATABASE, "not prepared: %d.%d cannot in transaction pooling" % self.version

    def stop(self):
        harness.end(self.process)

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


# --- howdahd --------------------------------------------------------------------------------------------------

# Plugins that a variant may switch on: sections of the configuration.
PLUGINS = {
    "statements": {"plugin statements": {"enabled": "yes"}},
    "monitor": {
        "plugin statements": {"enabled": "yes"},
        "plugin monitor": {"enabled": "yes", "history": os.path.join(harness.temp_dir(), "history.db")},
        "node main": {"control_user": "postgres"},
    },
    "guard": {
        "plugin guard": {"enabled": "yes"},
        "guard no-where": {"kinds": "update, delete", "no_where": "yes", "action": "refuse"},
        "guard ddl": {"kinds": "ddl, truncate", "action": "refuse"},
    },
    # With `transaction` nobody knows the settings that an answer hangs on.
    "cache": {
        "database *": {"pool_mode": "auto"},
        "plugin cache": {"enabled": "yes", "stores": "memory", "mode": "ttl"},
        "plugin cache-memory": {"enabled": "yes"},
    },
    "strict": {
        "database *": {"pool_mode": "auto"},
        "node main": {"control_user": "postgres"},
        "plugin cache": {"enabled": "yes", "stores": "memory", "mode": "strict"},
        "plugin cache-memory": {"enabled": "yes"},
        "plugin change-stream": {"enabled": "yes"},
    },
}


class Howdahd(Way):
    def __init__(self, name, pg, auth, clients, workers, plugins=(), io=None):
        changes = {
            "host": {"workers": workers, "worker_fill": None, "max_clients": max(10000, clients + 100), **({"io": io} if io else {})},
            "listener main": {"auth": auth},
            "database *": {"pool_mode": "transaction", "pool_size": POOL_SIZE, "queue_timeout": "60s"},
        }
        if auth == "trust":
            changes["user *"] = {}
        for plugin in plugins:
            for section, keys in PLUGINS[plugin].items():
                changes[section] = {**changes.get(section, {}), **keys}
        self.host = harness.Host(pg, changes)
        super().__init__(name, self.host.port, self.host.process)

    def stop(self):
        self.host.stop()

    def log_text(self):
        return self.host.log_text()


def howdahd_name(name):
    """howdah-1, howdah-auto, howdah-2+statements+guard, howdah-1@uring: (workers, plugins, io), or None."""
    found = re.fullmatch(r"howdah-(auto|\d+)((?:\+\w+)*)(?:@(auto|uv|uring))?", name)
    if not found:
        return None
    plugins = [p for p in found.group(2).split("+") if p]
    return (found.group(1), plugins, found.group(3)) if set(plugins) <= set(PLUGINS) else None


# --- all ------------------------------------------------------------------------------------------------------


def start(name, pg, auth, clients):
    """Starts the variant of that name; returns it once it answers."""
    if name == "direct":
        return direct(pg)
    if name == "pgbouncer":
        way = PgBouncer(pg, auth, clients)
    elif name == "pgpool":
        import pgpool

        way = pgpool.Pgpool(pg, clients)
    else:
        workers, plugins, io = howdahd_name(name)
        way = Howdahd(name, pg, auth, clients, workers, plugins, io)
    way.name = name
    harness.wait_for(lambda: _answers(way), 10, "%s answers" % name)
    return way


def _answers(way):
    if not way.alive():
        raise RuntimeError("%s did not start:\n%s" % (way.name, way.log_text()[-4000:]))
    try:
        socket.create_connection(("127.0.0.1", way.port), 1).close()
    except OSError:
        return False
    harness.psql(way.conninfo() + " password=" + PASSWORD, "SELECT 1")
    return True


def known(name):
    return name in ("direct", "pgbouncer", "pgpool") or howdahd_name(name) is not None
