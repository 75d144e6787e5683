"""
One run of pgbench against one way to the server, and what its processes used for it.

What counts is the time when all clients are connected and busy: from pgbench's first progress line, a second into
the run, to its last. Rates on both sides of that window, transactions a second and CPU seconds a second, divide into
CPU per transaction. Logins are counted apart: CPU from before pgbench starts to that first line, less what the second
of work in it took.
"""

import re
import signal
import subprocess
import threading
import time

import harness
import proxies

WARM_UP = 1
# pgbench's clock runs while its clients still log in, so it is given more than enough and ended by its own alarm.
AT_MOST = 180
# From here on the cost of a login stands out from the noise of the work beside it.
MANY_LOGINS = 50

_PROGRESS = re.compile(r"progress: (\d+\.\d+) s, ([\d.]+) tps, lat ([\d.]+) ms stddev ([\d.]+|NaN)")


class BenchFailed(Exception):
    pass


def run(way, mode, clients, seconds, threads, script=None):
    """`script` is a file of pgbench's to be run in place of its -S. Returns a dictionary: tps, latency_ms, cpu_us (per transaction), login_us (per client), resident, remark."""
    mode, database, remark = way.job(mode, clients)
    work = ["-f", script] if script else ["-S"]
    command = [harness.postgres_bin("pgbench"), "-n", *work, "-M", mode, "-c", clients, "-j", min(threads, clients)]
    command += ["-T", AT_MOST, "-P", 1, "--progress-timestamp", way.conninfo(database)]
    before = way.cpu()
    process = harness.spawn(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=harness.clean_environment(PGPASSWORD=proxies.PASSWORD),
    )
    watchdog = threading.Timer(AT_MOST, process.kill)
    watchdog.start()
    try:
        samples, said = _follow(process, way, WARM_UP + seconds)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            harness.end(process)
    if process.returncode or len(samples) < 2 or not any(s["tps"] for s in samples[1:]):
        raise BenchFailed("%s: pgbench ended with %s:\n%s" % (way.name, process.returncode, said[-2000:]))
    result = _figures(samples, before, clients)
    result["remark"] = remark
    return result


def warm(way, mode, transactions, script):
    """Runs so many transactions of a script, for what is to be in memory before anything is measured."""
    mode, database, _ = way.job(mode, 1)
    command = [harness.postgres_bin("pgbench"), "-n", "-f", script, "-M", mode, "-t", transactions, way.conninfo(database)]
    harness.run_client(*command, timeout=AT_MOST)


def _follow(process, way, lines):
    """Samples the way's processes at each progress line, and ends pgbench with the last."""
    samples = []
    said = ""
    for line in process.stderr:
        said += line
        found = _PROGRESS.match(line)
        if not found or len(samples) == lines:
            continue
        samples.append(_sample(found, way))
        if len(samples) == lines:
            process.send_signal(signal.SIGALRM)
    process.wait()
    return samples, said


def _sample(found, way):
    return {
        "at": float(found.group(1)),
        "tps": float(found.group(2)),
        "latency_ms": float(found.group(3)),
        "read_at": time.time(),
        "cpu": way.cpu(),
        "resident": way.resident(),
    }


def _figures(samples, before, clients):
    first, last = samples[0], samples[-1]
    window = last["at"] - first["at"]
    transactions = sum(s["tps"] * (s["at"] - p["at"]) for p, s in zip(samples, samples[1:]))
    waited = sum(s["latency_ms"] * s["tps"] * (s["at"] - p["at"]) for p, s in zip(samples, samples[1:]))
    tps = transactions / window
    result = {"tps": tps, "latency_ms": waited / transactions, "resident": last["resident"]}
    if before is not None:
        per_transaction = (last["cpu"] - first["cpu"]) / (last["read_at"] - first["read_at"]) / tps
        result["cpu_us"] = per_transaction * 1e6
        if clients >= MANY_LOGINS:
            worked = first["tps"] * WARM_UP * per_transaction
            result["login_us"] = max(0.0, first["cpu"] - before - worked) / clients * 1e6
    return result
