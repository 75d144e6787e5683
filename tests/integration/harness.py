"""
What integration tests stand on: a private PostgreSQL, a howdahd with a configuration of the test's own, a proxy
that splits the stream at any byte, and a runner that prints TAP.

A test file registers functions with @test and ends with main(). All processes are children of the test file: they
end with it, however it ends. HOWDAH_TEST_IO, if set, is the `io` of each howdahd that does not choose one;
HOWDAH_TEST_WORKERS is how many workers it has, 2 by default.
"""

import asyncio
import atexit
import contextlib
import ctypes
import fcntl
import functools
import glob
import hashlib
import os
import pwd
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import psycopg

import pgwire

BUILDDIR = os.environ.get("HD_BUILDDIR", ".")
SRCDIR = os.environ.get("HD_SRCDIR", ".")
HOWDAHD = os.environ.get("HOWDAHD", os.path.join(BUILDDIR, "howdahd"))
HOWDAHCTL = os.environ.get("HOWDAHCTL", os.path.join(BUILDDIR, "howdahctl"))

# These bound what hangs; what is right is never a matter of how long it takes.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
TEST_TIMEOUT = 300.0
WAIT_TIMEOUT = 60.0
POLL = 0.02

PR_SET_PDEATHSIG = 1

# --- processes --------------------------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)
_cleanups = []


def on_exit(function):
    """Runs `function` when the test file ends, last registered first; returns it, for cancel_on_exit."""
    _cleanups.append(function)
    return function


def cancel_on_exit(function):
    if function in _cleanups:
        _cleanups.remove(function)


@atexit.register
def _clean_up():
    while _cleanups:
        try:
            _cleanups.pop()()
        except Exception:  # one failing cleanup must not keep the others from running
            traceback.print_exc()


def _end_on_signal(number, _frame):
    sys.exit(128 + number)


for _signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(_signal, _end_on_signal)


def _die_with_parent(parent, number):
    def in_child():
        _libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def spawn(args, death_signal=signal.SIGKILL, **options):
    """Starts a process that the kernel ends when this one is gone."""
    return subprocess.Popen(
        [str(a) for a in args],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        preexec_fn=_die_with_parent(os.getpid(), death_signal),
        **options,
    )


def end(process, number=signal.SIGTERM, timeout=STOP_TIMEOUT):
    """Ends a process by its pid; by force when it does not go. Returns its exit status."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_for(condition, timeout=WAIT_TIMEOUT, what="condition"):
    """Asks `condition` again and again until it is true; returns what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError("not within %.1f s: %s" % (timeout, what))
        time.sleep(POLL)


_reserved = []


def free_port():
    """
    A loopback port that nobody listens on, and that is nobody else's as long as this test file runs: a socket keeps it that
    never listens, beside which a server that asks for SO_REUSEADDR can. Until one does, and after its end, connections to
    it are refused.
    """
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    _reserved.append(s)
    return s.getsockname()[1]


def temp_dir(owner=None):
    """A directory of its own, removed at the end. Its path is short: it may hold Unix sockets."""
    path = tempfile.mkdtemp(prefix="howdah-", dir="/tmp")
    if owner:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    on_exit(lambda: shutil.rmtree(path, ignore_errors=True))
    return path


def clean_environment(**more):
    """This process's environment without what would steer libpq."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    env.update(more)
    return env


for _name in [name for name in os.environ if name.startswith("PG")]:
    del os.environ[_name]

# --- certificates -----------------------------------------------------------------------------------------------


def make_certificates(directory, client="app"):
    """A CA, a server certificate for localhost and 127.0.0.1, and a client certificate with CN=client."""

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, cwd=directory, capture_output=True)

    def request(name, subject):
        openssl(*_new_key(name), "-subj", subject, "-out", name + ".csr")

    def _new_key(name):
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        return ("req", "-new", *curve, "-nodes", "-keyout", name + ".key")

    openssl(*_new_key("ca"), "-x509", "-days", "2", "-subj", "/CN=howdah test CA", "-out", "ca.crt")
    with open(os.path.join(directory, "san"), "w") as f:
        f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    request("server", "/CN=localhost")
    openssl("x509", "-req", "-in", "server.csr", *signer, "-extfile", "san", "-out", "server.crt")
    request("client", "/CN=" + client)
    openssl("x509", "-req", "-in", "client.csr", *signer, "-out", "client.crt")
    for key in glob.glob(os.path.join(directory, "*.key")):
        os.chmod(key, 0o600)
    return directory


def client_context(certificates, with_certificate=False):
    """A TLS context that trusts make_certificates' CA."""
    context = ssl.create_default_context(cafile=os.path.join(certificates, "ca.crt"))
    if with_certificate:
        context.load_cert_chain(
            os.path.join(certificates, "client.crt"), os.path.join(certificates, "client.key")
        )
    return context


# --- PostgreSQL -------------------------------------------------------------------------------------------------


def postgres_bin(name):
    """The newest PostgreSQL's program of that name."""
    found = glob.glob("/usr/lib/postgresql/*/bin/" + name)
    if found:
        return max(found, key=lambda path: int(path.split("/")[4]))
    path = shutil.which(name)
    if not path:
        raise RuntimeError("%s is missing: run contrib/packages test" % name)
    return path


def _server_user():
    """The account to run PostgreSQL as, for it refuses root; None where we are not root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("no account to run PostgreSQL as")


# Unix sockets and `trusted` need no password; everyone else proves one by SCRAM.
HBA = """\
local all all trust
host all trusted,postgres,howdah samehost trust
host replication all samehost trust
host all all samehost scram-sha-256
"""

# Roles beside the superuser postgres, with SUPERUSER or not, and passwords.
ROLES = """\
CREATE ROLE howdah LOGIN SUPERUSER PASSWORD 'howdah-secret';
CREATE ROLE app LOGIN PASSWORD 'secret';
CREATE ROLE other LOGIN PASSWORD 'other-secret';
CREATE ROLE trusted LOGIN;
CREATE DATABASE shop OWNER app;
"""

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "wal_level": "logical",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %u@%d ",
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0777",
}


def _as(owner):
    """What makes a process run under that account."""
    if not owner:
        return {}
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _make_cluster(data, owner, bin):
    """A data directory with ROLES; no server is started for it."""

    def run(program, *args, **options):
        result = subprocess.run(
            [bin(program), *args],
            cwd=os.path.dirname(data),
            env=clean_environment(),
            capture_output=True,
            text=True,
            **options,
            **_as(owner),
        )
        if result.returncode:
            raise RuntimeError("%s: %s" % (program, result.stderr))

    how = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
    run("initdb", "-D", data, *how)
    run("postgres", "--single", "-F", "-D", data, "postgres", input=ROLES)


def _template(owner):
    """A data directory in the build tree that is made once, for all test files to copy."""
    made_of = "%s %s %s" % (postgres_bin("initdb"), owner, ROLES)
    path = os.path.join(BUILDDIR, "tests/postgresql-" + hashlib.sha256(made_of.encode()).hexdigest()[:12])
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(path):
            fresh = os.path.join(temp_dir(owner), "data")
            _make_cluster(fresh, owner, postgres_bin)
            shutil.rmtree(path + ".new", ignore_errors=True)
            subprocess.run(["cp", "-a", fresh, path + ".new"], check=True)
            os.rename(path + ".new", path)
    return path


_copied = False


def _new_cluster(data, owner, bin):
    """
    A copy of the template for the first server of a test file. A copy has the template's system identifier, by which
    servers are told apart, so all others are made anew.
    """
    global _copied
    if _copied or bin is not postgres_bin or "HD_BUILDDIR" not in os.environ:
        _make_cluster(data, owner, bin)
    else:
        _copied = True
        subprocess.run(["cp", "-a", _template(owner), data], check=True)


class Postgres:
    """
    A PostgreSQL server of the test's own, on a free loopback port and a Unix socket in a temporary directory.

    It has the database shop and the roles app (password secret), other (other-secret), trusted (none) and the
    superusers postgres and howdah. `tls=True` gives it a certificate; self.certificates then names the folder. `bin`
    finds the programs of another PostgreSQL, by name.
    """

    def __init__(self, settings=None, hba=HBA, tls=False, bin=postgres_bin):
        self.bin = bin
        self.owner = _server_user()
        self.dir = temp_dir(self.owner)
        os.chmod(self.dir, 0o755)
        self.data = os.path.join(self.dir, "data")
        self.log_path = os.path.join(self.dir, "log")
        self.host = "127.0.0.1"
        self.port = free_port()
        self.hba = hba
        self.certificates = None
        self.process = None
        self.settings = dict(SETTINGS, **(settings or {}))
        _new_cluster(self.data, self.owner, self.bin)
        if tls:
            self._use_tls()
        self._configure()
        self.start()
        on_exit(self.kill)

    def _as_owner(self):
        return _as(self.owner)

    def _use_tls(self):
        self.certificates = os.path.join(self.dir, "certificates")
        os.mkdir(self.certificates)
        make_certificates(self.certificates)
        for name in ("server.key", "server.crt", "ca.crt"):
            target = os.path.join(self.data, name)
            shutil.copy(os.path.join(self.certificates, name), target)
            os.chmod(target, 0o600)
            if self.owner:
                os.chown(target, self.owner.pw_uid, self.owner.pw_gid)
        self.settings.update(ssl="on", ssl_ca_file="ca.crt")

    def _configure(self):
        fixed = {"port": self.port, "listen_addresses": self.host, "unix_socket_directories": self.dir}
        with open(os.path.join(self.data, "postgresql.conf"), "a") as f:
            for name, value in {**self.settings, **fixed}.items():
                f.write("%s = '%s'\n" % (name, str(value).replace("'", "''")))
        with open(os.path.join(self.data, "pg_hba.conf"), "w") as f:
            f.write(self.hba)

    def start(self):
        """Starts the server, again after stop(), on the same port."""
        with open(self.log_path, "ab") as log:
            self.process = spawn(
                [self.bin("postgres"), "-D", self.data],
                death_signal=signal.SIGQUIT,
                stdout=log,
                stderr=log,
                cwd=self.dir,
                env=clean_environment(),
                **self._as_owner(),
            )
        wait_for(self._answers, START_TIMEOUT, "PostgreSQL takes connections")

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError("PostgreSQL did not start:\n" + self.log_text())
        with contextlib.suppress(psycopg.OperationalError):
            self.connect("postgres").close()
            return True

    def stop(self, mode="fast"):
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        return end(self.process, number)

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def kill(self):
        self.stop("immediate")

    def log_text(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def dsn(self, dbname="shop", user="postgres", **more):
        """A conninfo over TCP."""
        return psycopg.conninfo.make_conninfo(
            **{"host": self.host, "port": self.port, "dbname": dbname, "user": user, **more}
        )

    def connect(self, dbname="shop", user="postgres", autocommit=True, **more):
        return psycopg.connect(self.dsn(dbname, user, **more), autocommit=autocommit)

    def execute(self, sql, dbname="shop"):
        """Runs one statement as superuser, directly; returns its rows, if it has any."""
        with self.connect(dbname) as c:
            cursor = c.execute(sql)
            return cursor.fetchall() if cursor.description else None

    def wire(self, user="trusted", database="shop", secret=None, **parameters):
        """A logged-in raw client."""
        w = pgwire.Wire(self.host, self.port)
        w.login(user, database, secret, **parameters)
        return w

    def backends(self, where="true"):
        """How many client connections the server has now, our asking one left out."""
        return self.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() AND (%s)" % where,
            "postgres",
        )[0][0]


# --- howdahd ----------------------------------------------------------------------------------------------------


def default_config(pg, port, directory, server_port=None):
    """
    The sections of a configuration that works: the users app and other as on the server, howdah as admin; any
    database of the server under its own name.
    """
    return {
        "host": {
            "workers": int(os.environ.get("HOWDAH_TEST_WORKERS", 2)),
            "worker_fill": 0,
            "control": "unix:%s/control.sock" % directory,
            "drain_timeout": "5s",
            "io": os.environ.get("HOWDAH_TEST_IO"),
        },
        "listener main": {"listen": "127.0.0.1:%d" % port, "auth": "scram-sha-256", "allow": "127.0.0.0/8"},
        "user app": {"password": "secret"},
        "user other": {"password": "other-secret"},
        "user howdah": {"password": "howdah-secret", "admin": "yes"},
        "database *": {"node": "main", "pool_mode": "transaction", "pool_size": 10, "queue_timeout": "10s"},
        "node main": {"conninfo": "host=%s port=%d" % (pg.host, server_port or pg.port)},
    }


def write_config(path, config):
    """Writes sections; a value of None leaves the key out, a section of None leaves the section out."""
    with open(path, "w") as f:
        os.fchmod(f.fileno(), 0o600)
        for section, keys in config.items():
            if keys is None:
                continue
            f.write("[%s]\n" % section)
            for key, value in keys.items():
                if value is not None:
                    f.write("%s = %s\n" % (key, value))
            f.write("\n")


def merge(config, changes):
    """A configuration with some sections changed key by key; None removes."""
    merged = {section: dict(keys) for section, keys in config.items()}
    for section, keys in (changes or {}).items():
        if keys is None:
            merged[section] = None
        else:
            merged[section] = {**(merged.get(section) or {}), **keys}
    return merged


def _runs(pid):
    """Is there such a process, and no zombie that nobody has waited for yet?"""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _console_error(fields):
    text = fields["M"] + "".join("\n%s:  %s" % (k, fields[f]) for f, k in (("D", "DETAIL"), ("H", "HINT")) if f in fields)
    try:
        return psycopg.errors.lookup(fields["C"])(text)
    except KeyError:
        error = psycopg.DatabaseError(text)
        error.sqlstate = fields["C"]
        return error


def _console_rows(received):
    """What psycopg would make of the first result. A driver's login costs ten times as much, and tests ask often."""
    columns, rows = None, []
    for m in received:
        if m.type == "E":
            raise _console_error(m.fields())
        if m.type == "T" and columns is None:
            columns = [(name, _loader(oid)) for name, oid in m.described()]
        elif m.type == "D":
            rows.append({name: v if v is None else load(v) for (name, load), v in zip(columns, m.row())})
        elif m.type == "C":
            break
    return None if columns is None else rows


@functools.cache
def _loader(oid):
    return psycopg.adapters.get_loader(oid, psycopg.pq.Format.TEXT)(oid, None).load


class Host:
    """
    A howdahd in the foreground, with default_config and the test's `changes` in a conf.d of its own.

        with Host(pg, {"database *": {"pool_size": 1}}) as host:
            with host.connect() as c: ...

    Leaving the block stops it and fails when it does not end well (a sanitizer's report does that).
    """

    def __init__(self, pg, changes=None, args=(), env=None, server_port=None, start=True, under=()):
        self.pg = pg
        self.dir = temp_dir()
        self.port = free_port()
        self.conf_dir = os.path.join(self.dir, "conf.d")
        self.log_path = os.path.join(self.dir, "log")
        self.control_path = os.path.join(self.dir, "control.sock")
        self.args = list(args)
        self.under = list(under)  # a program that becomes howdahd, and its arguments
        self.env = env or {}
        self.process = None
        os.mkdir(self.conf_dir)
        self.base = default_config(pg, self.port, self.dir, server_port)
        self.configure(changes)
        if start:
            self.start()

    def configure(self, changes):
        """Writes the configuration anew; takes effect with start() or reload()."""
        self.config = merge(self.base, changes)
        write_config(os.path.join(self.conf_dir, "10-test.ini"), self.config)

    def write(self, name, text):
        """Another file of the configuration."""
        path = os.path.join(self.conf_dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def run(self, *args, timeout=STOP_TIMEOUT):
        """Runs howdahd with this configuration and further arguments (-t, --dump-config) to its end."""
        return subprocess.run(
            [HOWDAHD, "-c", self.conf_dir, *args],
            env=clean_environment(**self.env),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = spawn(
                [*self.under, HOWDAHD, "-c", self.conf_dir, *self.args],
                stdout=log,
                stderr=log,
                cwd=self.dir,
                env=clean_environment(**self.env),
            )
        self._ending = on_exit(self.kill)
        wait_for(self._listens, START_TIMEOUT, "howdahd takes connections")
        return self

    def _listens(self):
        if self.process.poll() is not None:
            raise RuntimeError("howdahd did not start (%s):\n%s" % (self.process.returncode, self.log_text()))
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            comment("howdahd's log:\n" + "\n".join(self.log_text().splitlines()[-60:]))
        status = self.stop()
        if not kind and status != 0:
            raise AssertionError("howdahd ended with %s:\n%s" % (status, self.log_text()[-8000:]))

    def stop(self, number=signal.SIGTERM):
        """Ends it with all its processes and returns its exit status; at once once it has ended."""
        if self.process.poll() is None:
            pids = self.host_pids()
            end(self.process, number)
            wait_for(lambda: not any(_runs(pid) for pid in pids), STOP_TIMEOUT, "howdahd's processes end")
        cancel_on_exit(self._ending)
        return self.process.returncode

    def kill(self):
        """The supervisor is killed, and the kernel kills its hosts; returns when they are gone."""
        pids = self.host_pids() if self.alive() else []
        self.stop(signal.SIGKILL)
        wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in pids), what="its hosts are gone")

    def signal(self, number):
        self.process.send_signal(number)

    def alive(self):
        return self.process.poll() is None

    def host_pids(self):
        """The processes that serve clients, the youngest last: the supervisor's children, or the process itself."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as f:
            return [int(pid) for pid in f.read().split()] or [self.process.pid]

    def host_pid(self):
        return self.host_pids()[-1]

    def log_text(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_log(self, pattern, timeout=WAIT_TIMEOUT, after=0):
        """Waits for a log line that matches, beyond the first `after` characters; returns the match."""
        return wait_for(
            lambda: re.search(pattern, self.log_text()[after:]), timeout, "log line matching %r" % pattern
        )

    def control(self, *args, timeout=STOP_TIMEOUT):
        """Runs howdahctl on this host."""
        return subprocess.run(
            [HOWDAHCTL, "-S", self.control_path, *args],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def switch(self, plugin, mode):
        """Switches a plugin; what is still stopping is first waited for."""
        wait_for(lambda: self.control("plugin", plugin, mode).returncode == 0, what="%s of plugin %s" % (mode, plugin))

    def dsn(self, dbname="shop", user="app", password="secret", **more):
        where = {"host": "127.0.0.1", "port": self.port, "sslmode": "disable"}
        return psycopg.conninfo.make_conninfo(
            **{**where, "dbname": dbname, "user": user, "password": password, **more}
        )

    def connect(self, dbname="shop", user="app", password="secret", autocommit=True, **more):
        return psycopg.connect(self.dsn(dbname, user, password, **more), autocommit=autocommit)

    def console(self, sql):
        """Runs a statement on the SQL console; returns rows as dictionaries. Errors are psycopg's."""
        try:
            with self.wire("howdah", "howdah", "howdah-secret") as w:
                received = w.exchange(pgwire.query(sql), timeout=60)
                w.send(pgwire.terminate())
        except pgwire.WireError as e:
            raise _console_error(e.fields) from None
        except (OSError, pgwire.WireClosed) as e:
            raise psycopg.OperationalError(str(e)) from None
        return _console_rows(received)

    def wire(self, user="app", database="shop", secret="secret", **parameters):
        """A logged-in raw client."""
        w = pgwire.Wire("127.0.0.1", self.port)
        w.login(user, database, secret, **parameters)
        return w


# --- real clients -----------------------------------------------------------------------------------------------


def run_client(*args, input=None, timeout=60, **env):
    """Runs a client program to its end; returns what it printed, and fails when it does."""
    result = subprocess.run(
        [str(a) for a in args],
        input=input,
        env=clean_environment(**env),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if result.returncode:
        raise AssertionError("%s: status %d\n%s%s" % (args[0], result.returncode, result.stdout, result.stderr))
    return result.stdout


def psql(dsn, *commands, input=None):
    """Runs each command by psql, unaligned and without headers; stops at the first error."""
    arguments = [a for c in commands for a in ("-c", c)]
    return run_client("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", dsn, *arguments, input=input)


def pgbench(dsn, *args, **options):
    """Runs pgbench; the dsn is its last argument."""
    return run_client(postgres_bin("pgbench"), *args, dsn, **options)


def node(script, *args, **options):
    """Runs JavaScript that may require('pg')."""
    places = (os.path.join(SRCDIR, "build/node/node_modules"), "/usr/share/nodejs")
    return run_client("node", "-e", script, *args, NODE_PATH=":".join(places), **options)


# --- the splitting proxy ----------------------------------------------------------------------------------------


class SplitProxy:
    """
    A TCP proxy that forwards in small pieces, each in a segment of its own: at every byte (size=1), of a fixed
    size, or of random sizes up to `size` with a seed. Put between client and host, and between host and server.

    stall() stops reading in one direction ("up" is from the client to the server), resume() goes on; cut() breaks
    all connections with a reset; refuse(True) takes no new ones.
    """

    def __init__(self, port, host="127.0.0.1", size=1, seed=None, pause=0.0):
        self.target = (host, port)
        self.size = size
        self.pause = pause
        self.random = random.Random(seed) if seed is not None else None
        self.connections = 0
        self.forwarded = {"up": 0, "down": 0}
        self.writers = set()
        self.refusing = False
        self.loop = asyncio.new_event_loop()
        self.flowing = {}
        started = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self.thread.start()
        started.wait()
        on_exit(self.close)

    def _run(self, started):
        asyncio.set_event_loop(self.loop)
        for direction in ("up", "down"):
            self.flowing[direction] = asyncio.Event()
            self.flowing[direction].set()
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        started.set()
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, up_writer}
        self.writers |= pair
        try:
            await asyncio.gather(
                self._pump("up", reader, up_writer), self._pump("down", up_reader, writer)
            )
        finally:
            for w in pair:
                w.close()
            self.writers -= pair

    async def _pump(self, direction, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.transport.set_write_buffer_limits(0)
        with contextlib.suppress(OSError):
            while True:
                await self.flowing[direction].wait()
                data = await reader.read(65536)
                if not data:
                    break
                await self._forward(direction, data, writer)
            writer.write_eof()

    async def _forward(self, direction, data, writer):
        at = 0
        while at < len(data):
            size = self.random.randint(1, self.size) if self.random else self.size
            await self.flowing[direction].wait()
            writer.write(data[at : at + size])
            await writer.drain()
            await asyncio.sleep(self.pause)
            self.forwarded[direction] += min(size, len(data) - at)
            at += size

    def _call(self, function, *args):
        """Runs `function` on the proxy's thread and waits for it."""

        async def call():
            return function(*args)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(WAIT_TIMEOUT)

    def stall(self, direction):
        self._call(self.flowing[direction].clear)

    def resume(self, direction):
        self._call(self.flowing[direction].set)

    def refuse(self, yes=True):
        self.refusing = yes

    def cut(self):
        def abort_all():
            for w in list(self.writers):
                with contextlib.suppress(OSError):  # some are closed by now
                    s = w.get_extra_info("socket")
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                w.transport.abort()

        self._call(abort_all)

    async def _end_tasks(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self):
        if self.loop.is_running():
            self._call(self.server.close)
            self.cut()
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(self._end_tasks(), self.loop).result(WAIT_TIMEOUT)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(WAIT_TIMEOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# --- running ----------------------------------------------------------------------------------------------------

_tests = []


def test(name, timeout=TEST_TIMEOUT):
    """Registers a test; the function fails by raising."""

    def register(function):
        _tests.append((name, function, timeout))
        return function

    return register


def comment(text):
    for line in str(text).splitlines():
        print("# " + line)


@contextlib.contextmanager
def expect_refused():
    """The body connects to where nobody may listen."""
    try:
        yield
    except ConnectionRefusedError:
        return
    raise AssertionError("somebody listens")


@contextlib.contextmanager
def expect_error(sqlstate=None, match=None):
    """The block must fail with a database error of that SQLSTATE and a text that matches."""
    try:
        yield
    except psycopg.Error as e:
        state = e.sqlstate or (e.diag.sqlstate if e.diag else None)
        if sqlstate and state and state != sqlstate:
            raise AssertionError("SQLSTATE %s instead of %s: %s" % (state, sqlstate, e)) from e
        if match and not re.search(match, str(e)):
            raise AssertionError("%r does not match %r" % (str(e), match)) from e
        return
    except pgwire.WireError as e:
        if sqlstate and e.sqlstate != sqlstate:
            raise AssertionError("SQLSTATE %s instead of %s: %s" % (e.sqlstate, sqlstate, e)) from e
        if match and not re.search(match, str(e)):
            raise AssertionError("%r does not match %r" % (str(e), match)) from e
        return
    raise AssertionError("no error, where %s was due" % (sqlstate or "one"))


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s\n  got      %r\n  expected %r" % (what, got, expected))


def _timed_out(_number, _frame):
    raise AssertionError("the test took too long")


def _run_one(function, timeout):
    """Returns None, or the text of what went wrong."""
    signal.signal(signal.SIGALRM, _timed_out)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        function()
    except Exception:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def main():
    """Runs the registered tests whose name contains one of the arguments (all without), and exits."""
    wanted = sys.argv[1:]
    chosen = [t for t in _tests if not wanted or any(w in t[0] for w in wanted)]
    suite = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    failures = 0
    print("1..%d" % len(chosen))
    for number, (name, function, timeout) in enumerate(chosen, 1):
        began = time.monotonic()
        problem = _run_one(function, timeout)
        if problem:
            failures += 1
            comment(problem)
        print("%s %d - %s: %s" % ("not ok" if problem else "ok", number, suite, name))
        comment("%.2f s" % (time.monotonic() - began))
    sys.exit(1 if failures else 0)
