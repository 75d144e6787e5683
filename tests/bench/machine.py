"""
The machine that is measured on: what has to be installed and built, how many files may be open, and what to say of it.
Importing it makes the modules of tests/integration importable.
"""

import os
import platform
import resource
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.path.dirname(os.path.dirname(HERE))
os.environ.setdefault("HD_SRCDIR", SRC)
os.environ.setdefault("HD_BUILDDIR", os.path.join(SRC, "build"))
sys.path[:0] = [HERE, os.path.join(SRC, "tests/integration")]


def raise_limits():
    """A thousand clients are two thousand sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def prepare(ways):
    """Installs what is missing and builds howdahd where it is not built."""
    subprocess.run([os.path.join(SRC, "contrib/packages"), "bench"], check=True)
    if "HOWDAHD" not in os.environ and any(way.startswith("howdah") for way in ways):
        _build("all")


def program(name):
    """One of the benchmark's own programs, built where it is not."""
    _build(name)
    return os.path.join(os.environ["HD_BUILDDIR"], name)


def _build(target):
    build = os.environ["HD_BUILDDIR"]
    if not os.path.exists(os.path.join(SRC, "configure")):
        subprocess.run(["autoreconf", "-i"], cwd=SRC, check=True)
    os.makedirs(build, exist_ok=True)
    if not os.path.exists(os.path.join(build, "Makefile")):
        subprocess.run([os.path.join(SRC, "configure"), "-q"], cwd=build, check=True)
    subprocess.run(["make", "-s", "-j%d" % os.cpu_count(), target], cwd=build, check=True)


def describe_machine():
    with open("/proc/cpuinfo") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }


def describe_programs():
    """The first line of what each program says of itself."""
    import harness  # finds the programs that prepare() has built
    import proxies

    def first_line(program):
        if not program or not os.path.exists(program):
            return "not here"
        return subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split("\n")[0]

    return {
        "postgres": first_line(harness.postgres_bin("postgres")),
        "pgbouncer": first_line(proxies.pgbouncer_program()[0]),
        "howdahd": first_line(harness.HOWDAHD),
    }


def describe():
    """Prints what it runs on and what is measured; returns both."""
    machine, programs = describe_machine(), describe_programs()
    print("%(processor)s, %(cores)d cores, Linux %(kernel)s, load %(load).2f at the start" % machine)
    print("; ".join(programs.values()), flush=True)
    return machine, programs


def choose_ways(wanted):
    """Those of the wanted ways that can be had here; says which cannot."""
    import pgpool
    import proxies

    for name in wanted:
        if not proxies.known(name):
            sys.exit("%s: no way is called %s; see --help" % (sys.argv[0], name))
    if "pgbouncer" in wanted and not proxies.pgbouncer_program()[0]:
        print("PgBouncer is not installed: left out")
        wanted = [name for name in wanted if name != "pgbouncer"]
    if "pgpool" in wanted and not pgpool.program():
        print("Pgpool-II is not installed: left out")
        wanted = [name for name in wanted if name != "pgpool"]
    return wanted
