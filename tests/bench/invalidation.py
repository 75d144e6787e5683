"""
How exactly the result cache ends what a write concerns, how soon after a write around the host, and how many statements
many equal misses at once are. Each part has a host of its own before one PostgreSQL; all is seen by one process with one
clock, from a client's side.
"""

import random
import re
import time
from statistics import median

import harness
import pgwire
import proxies

ROWS = 100000
# A table with one key and one with two: a write by the first key does not say which value of the second its row has.
TABLES = """
CREATE TABLE single (id int PRIMARY KEY, balance int NOT NULL);
CREATE TABLE double (id int PRIMARY KEY, code int NOT NULL UNIQUE, balance int NOT NULL);
INSERT INTO single SELECT g, 0 FROM generate_series(1, %(rows)d) g;
INSERT INTO double SELECT g, g, 0 FROM generate_series(1, %(rows)d) g;
CREATE TABLE few (id int PRIMARY KEY);
INSERT INTO few SELECT g FROM generate_series(1, 50) g;
GRANT ALL ON single, double, few TO %(user)s;
""" % {"rows": ROWS, "user": proxies.USER}
BATCH = 100  # reads in one round trip


def prepare(pg):
    pg.execute(TABLES)
    pg.execute("VACUUM ANALYZE")


def start_host(pg, **keys):
    """A host whose answers are kept as long as nothing ends them: no read waits for a check of the server."""
    sections = {
        "host": {"workers": "auto", "worker_fill": None},
        "listener main": {"auth": "trust"},
        "user *": {},
        "database *": {"pool_mode": "auto", "pool_size": proxies.POOL_SIZE},
        "node main": {"control_user": "postgres"},
        "plugin cache": {"enabled": "yes", "mode": "bounded", "bound": "1h", "wait": "1h"},
        "plugin cache-memory": {"enabled": "yes", "max_bytes": "256M"},
        "plugin change-stream": {"enabled": "yes"},
    }
    for name, more in keys.items():
        sections[name.replace("_", " ")] = {**sections.get(name.replace("_", " "), {}), **more}
    return harness.Host(pg, sections)


def stats(host):
    return {r["name"]: int(r["value"]) for r in host.console("CACHE STATS") if not r["store"]}


def warm(host, w, text):
    """Until it comes from the cache: the catalog has to be asked, the stream opened, the table covered."""

    def hit():
        before = stats(host)["hits"]
        w.query(text)
        return stats(host)["hits"] > before

    harness.wait_for(hit, 60, "an answer from the cache: " + text)


def known(host, w, write):
    """Until the host knows what the write touches."""

    def is_known():
        before = stats(host)["unknown_writes"]
        w.query(write)
        return stats(host)["unknown_writes"] == before

    harness.wait_for(is_known, 60, "what is written is known: " + write)


# --- survival ---------------------------------------------------------------------------------------------------

# What is read, and what is written; then: through the host or around it.
READS = {
    "one key, read by it": ("SELECT balance FROM single WHERE id = %d", "UPDATE single SET balance = %d WHERE id = %d"),
    "two keys, read by the one that is written by": (
        "SELECT balance FROM double WHERE id = %d",
        "UPDATE double SET balance = %d WHERE id = %d",
    ),
    "two keys, read by the other": ("SELECT balance FROM double WHERE code = %d", "UPDATE double SET balance = %d WHERE id = %d"),
}


def read_all(w, read, keys):
    for at in range(0, len(keys), BATCH):
        some = keys[at : at + BATCH]
        w.send(*(pgwire.query(read % key) for key in some))
        for _ in some:
            w.recv_until("Z")


def survivors(host, w, write_by, texts, keys, writes):
    """The share of the keys' answers that are left after each of so many writes to rows at random."""
    read, write = texts
    shares = []
    for n in range(writes):
        write_by(write % (n, random.randint(1, ROWS)))
        before = stats(host)["hits"]
        read_all(w, read, keys)
        shares.append((stats(host)["hits"] - before) / len(keys))
    return shares


def survival(pg, entries, writes):
    """{what: {way of the write: shares}}, by the answers of so many rows at random."""
    keys = random.sample(range(1, ROWS + 1), entries)
    found = {}
    with start_host(pg) as host, host.wire(user=proxies.USER) as w, pg.wire(user="postgres") as around:

        def write_around(text):
            followed = stats(host)["followed"]
            around.query(text)
            harness.wait_for(lambda: stats(host)["followed"] > followed, 30, "the stream has told of it")

        for what, texts in READS.items():
            warm(host, w, texts[0] % 1)
            known(host, w, texts[1] % (0, 1))
            warm(host, w, texts[0] % 1)
            found[what] = {}
            for way, write_by in (("through the host", w.query), ("around it", write_around)):
                read_all(w, texts[0], keys)
                found[what][way] = survivors(host, w, write_by, texts, keys, writes)
    return found


# --- how soon ---------------------------------------------------------------------------------------------------


def time_of_one(w, around, read, value):
    """ns from when an UPDATE is sent straight to PostgreSQL until a read through the host has brought what it wrote, and from
    when its acknowledgement was seen; and how many reads brought the old answer meanwhile."""
    old, acknowledged = 0, None
    began = time.perf_counter_ns()
    around.send(pgwire.query("UPDATE single SET balance = %d WHERE id = 1" % value))
    around.sock.setblocking(False)
    while True:
        if acknowledged is None and b"Z" in peek(around):
            acknowledged = time.perf_counter_ns()
        got = int(w.query(read)[0][0])
        now = time.perf_counter_ns()
        if got == value:
            break
        old += 1
    around.sock.setblocking(True)
    around.recv_until("Z")
    return now - began, max(0, now - acknowledged) if acknowledged else 0, old


def peek(w):
    import socket

    try:
        return w.sock.recv(4096, socket.MSG_PEEK)[-6:-5]
    except BlockingIOError:
        return b""


def stream_times(pg, count):
    """[(ns from sent, ns from acknowledged, old answers meanwhile)]"""
    read = "SELECT balance FROM single WHERE id = 1"
    found = []
    with start_host(pg) as host, host.wire(user=proxies.USER) as w, pg.wire(user="postgres") as around:
        for n in range(count):
            if n == 0:
                warm(host, w, read)
            for _ in range(5):
                w.query(read)
            found.append(time_of_one(w, around, read, n + 1))
        hits = stats(host)["hits"]
    return found, hits


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


# --- many at once -----------------------------------------------------------------------------------------------

SLOW = "SELECT count(*), %d FROM few a, few b, few c, few d WHERE a.id + b.id <> c.id + d.id + 1000"


def stampede(pg, clients, rounds):
    """[statements at the server] for so many equal misses at once, a round each."""
    found = []
    with start_host(pg, host={"max_clients": clients + 100}) as host:
        with host.wire(user=proxies.USER) as w:
            warm(host, w, SLOW % 0)
        wires = [host.wire(user=proxies.USER) for _ in range(clients)]
        for n in range(1, rounds + 1):
            text = SLOW % n
            for w in wires:
                w.send(pgwire.query(text))
            for w in wires:
                w.recv_until("Z", timeout=120)
            found.append(len(re.findall(re.escape(text), pg.log_text())))
        for w in wires:
            w.close()
    return found


# --- all --------------------------------------------------------------------------------------------------------

SURVIVAL_BAR, STREAM_BAR_MS = 0.95, 10.0


def judged(good, bar):
    return ("keeps the bar of %s" if good else "MISSES the bar of %s") % bar


def lines(arguments):
    """Measures all and says it, a line at a time."""
    pg = harness.Postgres(
        settings={"max_connections": "100", "wal_level": "logical", "autovacuum": "off", "log_min_duration_statement": "0"},
        hba="local all all trust\nhost all all samehost trust\n",
    )
    prepare(pg)
    for what, ways in survival(pg, arguments.entries, arguments.writes).items():
        for way, shares in ways.items():
            said = "; no bar" if "other" in what else "; " + judged(median(shares) >= SURVIVAL_BAR, SURVIVAL_BAR)
            yield "left after each write to one of %d rows, %s, %s: %.2f %% (median of %d; least %.2f %%)%s" % (
                ROWS,
                what,
                way,
                100 * median(shares),
                len(shares),
                100 * min(shares),
                said,
            )
    times, _ = stream_times(pg, arguments.commits)
    for what, at in (("sent", 0), ("acknowledged", 1)):
        ms = [t[at] / 1e6 for t in times]
        p99 = percentile(ms, 0.99)
        yield "from when a commit around the host was %s until a read has it: p50 %.2f ms, p99 %.2f ms, %s" % (
            what,
            percentile(ms, 0.5),
            p99,
            judged(p99 < STREAM_BAR_MS, "%g ms" % STREAM_BAR_MS),
        )
    yield "old answers meanwhile: %d to %d" % (min(t[2] for t in times), max(t[2] for t in times))
    sent = stampede(pg, arguments.crowd, arguments.rounds)
    yield "%d equal misses at once: %s statements at the server in rounds, %s" % (
        arguments.crowd,
        ", ".join(map(str, sent)),
        judged(max(sent) == 1, 1),
    )
