"""[host] io: the engine that is asked for is the one that runs, and what cannot be had is told and done without."""

import contextlib
import os

import harness
from harness import Host, Postgres, equal, main, temp_dir, test

pg = Postgres()

# Runs howdahd where a filter of system calls refuses io_uring_setup, which has this number everywhere.
REFUSING = """\
#!/usr/bin/python3
import ctypes, os, struct, sys
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, EPERM, IO_URING_SETUP = 22, 38, 1, 425
program = b"".join(struct.pack("HBBI", *i) for i in (
    (0x20, 0, 0, 0),               # the call's number
    (0x15, 0, 1, IO_URING_SETUP),
    (0x06, 0, 0, 0x50000 | EPERM), # refuse
    (0x06, 0, 0, 0x7FFF0000),      # allow
))
kept = ctypes.create_string_buffer(program)
head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, 2, head, 0, 0):
    sys.exit("no filter: %%s" %% os.strerror(ctypes.get_errno()))
os.execv(%r, sys.argv)
"""


def refused(io):
    """A host that asks for `io` and cannot have io_uring."""
    wrapper = os.path.join(temp_dir(), "howdahd")
    with open(wrapper, "w") as f:
        f.write(REFUSING % harness.HOWDAHD)
    os.chmod(wrapper, 0o700)
    real, harness.HOWDAHD = harness.HOWDAHD, wrapper
    try:
        return Host(pg, {"host": {"io": io}})
    finally:
        harness.HOWDAHD = real


def engines(host):
    """What STATUS says, and what SHOW WORKERS says of each worker."""
    status = {row["what"]: row["value"] for row in host.console("STATUS")}
    return status["io"], {row["io"] for row in host.console("SHOW WORKERS")}


def rings(host):
    directory = "/proc/%d/fd" % host.host_pid()
    found = 0
    for fd in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += "io_uring" in os.readlink(os.path.join(directory, fd))
    return found


def works(host):
    with host.connect() as c:
        equal(c.execute("SELECT sum(i) FROM generate_series(1, 100000) i").fetchone()[0], 5000050000)


@test("uv uses no ring")
def uv():
    with Host(pg, {"host": {"io": "uv"}}) as host:
        equal(engines(host), ("uv", {"uv"}))
        equal(rings(host), 0)
        works(host)


@test("auto and uring take a ring for each worker, or say why not")
def ring():
    for io in ("auto", "uring"):
        with Host(pg, {"host": {"io": io}}) as host:
            says, workers = engines(host)
            if says == "uring":
                equal(workers, {"uring"})
                equal(rings(host), 2)
            else:
                assert says.startswith("uv (no io_uring: "), says
                equal(workers, {"uv"})
            works(host)


@test("where a filter refuses io_uring, uv carries on: one line in the log says so")
def filtered():
    for io, level in (("auto", "info"), ("uring", "warning")):
        with refused(io) as host:
            says, workers = engines(host)
            assert says.startswith("uv (no io_uring: "), says
            equal((workers, rings(host)), ({"uv"}, 0))
            works(host)
            told = [line for line in host.log_text().splitlines() if "io_uring" in line]
            equal(len(told), 1, told)
            assert "level=%s" % level in told[0], told


main()
