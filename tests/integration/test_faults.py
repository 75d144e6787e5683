"""What goes wrong in production: clients that vanish or don't read, servers that die, restart or hang, huge values."""

import contextlib
import os
import random
import resource
import signal
import socket
import struct
import threading
import time

import harness
import pgwire
import sides
from harness import Host, Postgres, SplitProxy, comment, equal, expect_error, main, test, wait_for
from pgwire import bind, copy_data, copy_done, execute, flush, kinds, parse, query, run, sync

pg = Postgres()
pg.execute("CREATE TABLE sink (id int, name text)")
pg.execute("GRANT ALL ON sink TO app")

MB = 1024 * 1024
BACKENDS = "usename = 'app' AND datname = 'shop'"

# What a client may be told when its server is gone or cannot be had.
GONE = ("57P01", "57P02", "57P03", "08006", "08001", "08003", "08000", "57P05", "53300", "57014")


def small_host(pool_size=1, **keys):
    return Host(pg, {"database *": {"pool_size": pool_size, "queue_timeout": "8s", **keys}})


def memory(host):
    """The host's resident memory in bytes."""
    with open("/proc/%d/status" % host.host_pid()) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


# A sanitizer keeps what was freed and shadows what is there: figures of memory mean nothing then.
def sanitized():
    with open(harness.HOWDAHD, "rb") as f:
        return b"__asan_init" in f.read() or "sanitize" in os.environ.get("HD_BUILDDIR", "")


class Peak(threading.Thread):
    """The highest memory of the host while the block runs, above what it was at the start."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host = host
        self.start_value = memory(host)
        self.most = self.start_value
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.005):
            self.most = max(self.most, memory(self.host))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()

    def check(self, limit):
        growth = self.most - self.start_value
        assert SANITIZED or growth < limit, "memory grew by %.1f MB" % (growth / MB)


SANITIZED = os.path.exists(harness.HOWDAHD) and sanitized()


def read_all(w, count, chunk=1 << 20):
    """Reads `count` bytes and drops them."""
    left = count - len(w.buffer)
    w.buffer.clear()
    w.sock.settimeout(30)
    while left > 0:
        got = len(w.sock.recv(min(chunk, left)))
        assert got, "closed with %d bytes to come" % left
        left -= got


# --- large values -----------------------------------------------------------------------------------------------


@test("64 MB to the client, memory flat")
def large_down():
    with small_host(2) as host, host.wire() as w:
        w.query("SELECT repeat('x', 1000000)")
        with Peak(host) as peak:
            for statement in (query("SELECT repeat('x', 67108864)"), run("SELECT repeat('y', 67108864)")):
                got = w.exchange(statement, timeout=60)
                equal(sum(len(m.row()[0]) for m in got if m.type == "D"), 64 * MB)
        peak.check(24 * MB)
        equal(w.query("SELECT 1"), [["1"]])


@test("64 MB to the server, as a parameter, a literal, COPY data and a prepared text, memory flat")
def large_up():
    value = b"x" * (64 * MB)
    with small_host(2) as host, host.wire() as w:
        with Peak(host) as peak:
            for name, statement in (
                ("a parameter", run("SELECT length($1::text)", [value])),
                ("a literal", pgwire.message("Q", b"SELECT length('" + value + b"')\0")),
                (
                    "a text that is parsed",
                    pgwire.message("P", b"\0SELECT length('" + value + b"')\0\0\0") + bind() + execute() + sync(),
                ),
            ):
                got = w.exchange(statement, timeout=60)
                equal([m.row() for m in got if m.type == "D"], [[b"%d" % len(value)]], name)
            w.send(query("COPY sink FROM STDIN"))
            w.recv()
            for _ in range(16):
                w.send(copy_data(b"1\t" + value[: 4 * MB] + b"\n"))
            equal(w.exchange(copy_done(), timeout=60)[0].text(), "COPY 16")
        peak.check(40 * MB)
        pg.execute("TRUNCATE sink")
        equal(w.query("SELECT 1"), [["1"]])


@test("many large values at once, and small ones beside them")
def large_beside():
    with small_host(6) as host:
        stop, longest, errors = threading.Event(), [0.0], []

        def small():
            with host.wire() as w:
                while not stop.is_set():
                    began = time.monotonic()
                    w.query("SELECT 1")
                    longest[0] = max(longest[0], time.monotonic() - began)

        def large():
            try:
                with host.wire() as w:
                    got = w.exchange(query("SELECT repeat('x', 30000000)"), timeout=60)
                    equal(len(got[1].row()[0]), 30_000_000)
            except Exception as e:
                errors.append(repr(e))

        small_one = threading.Thread(target=small, daemon=True)
        small_one.start()
        many = [threading.Thread(target=large, daemon=True) for _ in range(4)]
        for t in many:
            t.start()
        for t in many:
            t.join(60)
        stop.set()
        small_one.join(60)
        assert not errors, errors
        assert longest[0] < 30, longest


@test("a slow reader holds up nobody, and memory stays flat")
def slow_reader():
    with small_host(3) as host, host.wire() as slow, host.wire() as other:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        with Peak(host) as peak:
            slow.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 150000) i"))
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                equal(other.query("SELECT 1"), [["1"]])
            got = 0
            while True:
                m = slow.recv()
                got += m.type == "D"
                if m.type == "Z":
                    break
        equal(got, 150000)
        peak.check(16 * MB)


@test("a client that writes and does not read blocks itself alone, and gets all in the end")
def both_write():
    count = 300
    with small_host(2) as host, host.wire() as w, host.wire() as other:
        statement = run("SELECT repeat('x', 100000), length($1::text)", ["y" * 100000])
        sender = threading.Thread(target=lambda: w.send(statement * count), daemon=True)
        with Peak(host) as peak:
            sender.start()
            until = time.monotonic() + 0.7
            while time.monotonic() < until:
                equal(other.query("SELECT 1"), [["1"]])
            ready = 0
            while ready < count:
                ready += w.recv(20).type == "Z"
            sender.join(60)
        assert not sender.is_alive()
        peak.check(24 * MB)


@test("a slow server holds up nobody else's statements")
def slow_server():
    with SplitProxy(pg.port, size=1 << 16) as proxy:
        changes = {
            "node slow": {"conninfo": "host=127.0.0.1 port=%d dbname=shop" % proxy.port},
            "database slow": {"node": "slow", "pool_mode": "transaction", "pool_size": 2, "queue_timeout": "3s"},
        }
        with Host(pg, changes) as host, host.wire("app", "slow") as slow, host.wire() as other:
            slow.query("SELECT 1")
            proxy.stall("up")
            with Peak(host) as peak:
                sender = threading.Thread(
                    target=lambda: slow.send(run("SELECT length($1::text)", ["y" * (40 * MB)])), daemon=True
                )
                sender.start()
                until = time.monotonic() + 0.5
                while time.monotonic() < until:
                    equal(other.query("SELECT 1"), [["1"]])
            peak.check(16 * MB)
            proxy.resume("up")
            got = sides.collect(slow)
            equal([m.row() for m in got if m.type == "D"], [[b"%d" % (40 * MB)]])
            sender.join(60)


# --- clients that vanish ----------------------------------------------------------------------------------------

LEFT = {
    "idle": (),
    "in a transaction": (query("BEGIN; INSERT INTO sink VALUES (1, 'vanished')"),),
    "in a failed transaction": (query("BEGIN"), query("SELECT 1/0")),
    "before the rest of a message": (query("SELECT 'half'")[:9],),
    "before the rest of a large message": (pgwire.message("Q", b"SELECT '" + b"x" * 3_000_000 + b"'\0")[:1_000_000],),
    "before the rest of a Bind": (parse("", "SELECT $1::text"), bind("", "", ["x" * 3_000_000])[:1_000_000]),
    "in the middle of rows": (query("SELECT i, repeat('x', 500) FROM generate_series(1, 200000) i"),),
    "in the middle of one large row": (query("SELECT repeat('x', 50000000)"),),
    "while its statement runs": (query("SELECT pg_sleep(60)"),),
    "while its statement runs in a transaction": (query("BEGIN"), query("SELECT pg_sleep(60)")),
    "without a Sync": (parse("", "INSERT INTO sink VALUES (1, 'vanished')"), bind(), execute(), flush()),
    "with a portal open": (query("BEGIN"), parse("", "SELECT i FROM generate_series(1, 1000) i"), bind(), execute("", 1), sync()),
    "with a pipeline to come": (run("SELECT pg_sleep(0.02)") * 30,),
    "in COPY in": (query("COPY sink FROM STDIN"), copy_data("1\tvanished\n")),
    "in COPY in of the extended protocol": (parse("", "COPY sink FROM STDIN"), bind(), execute(), flush(), copy_data("1\tvanished\n")),
    "in half a CopyData": (query("COPY sink FROM STDIN"), copy_data("1\tvanished\n" * 100)[:300]),
    "in COPY out": (query("COPY (SELECT i, repeat('x', 500) FROM generate_series(1, 200000) i) TO STDOUT"),),
    "with settings changed": (query("SET application_name = 'vanished'"), query("SET TimeZone = 'Asia/Tokyo'")),
}


@test("a client that vanishes leaves a clean server to the next, wherever it was")
def vanishing():
    with small_host(1) as host, host.wire() as other:
        for how in ("reset", "close", "terminate"):
            for name, sent in LEFT.items():
                what = "%s, %s" % (name, how)
                if how == "terminate" and name.startswith("while its statement runs"):
                    continue  # who says goodbye wants what it asked for, as PostgreSQL has it
                w = host.wire()
                for s in sent:
                    w.send(s)
                    time.sleep(0.01)
                leave(w, how)
                equal(other.query("SELECT 'fine', current_setting('application_name')"), [["fine", ""]], what)
                equal(other.status(), "I", what)
                equal(other.query("SELECT count(*) FROM sink"), [["0"]], what)
                equal(kinds(other.exchange(run("SELECT $1::int", ["1"]))), "12TDCZ", what)
        wait_for(lambda: pg.backends("state = 'active' AND query LIKE '%pg_sleep%'") == 0, what="sleepers are cancelled")


def leave(w, how):
    if how == "reset":
        w.reset()
    elif how == "close":
        w.close()
    else:
        with contextlib.suppress(OSError):
            w.send(pgwire.terminate())
        w.close()


@test("a client that vanishes while it waits gives up its place")
def vanishing_waiter():
    with small_host(1) as host, host.wire() as a, host.wire() as c:
        a.query("BEGIN")
        gone = [host.wire() for _ in range(5)]
        for w in gone:
            w.send(query("INSERT INTO sink VALUES (1, 'from the grave')"))
        c.send(query("SELECT 'in turn'"))
        wait_for(lambda: sum(r["waiting"] for r in host.console("SHOW POOLS")) == 6, what="all wait")
        for w in gone:
            w.reset()
        wait_for(lambda: clients_left(host) == 2, what="the host has seen them go")
        a.query("COMMIT")
        equal(kinds(c.recv_until("Z")), "TDCZ")
        equal(c.query("SELECT count(*) FROM sink"), [["0"]])


@test("clients that vanish at random, over and over, harm no other")
def vanishing_at_random():
    rng = random.Random(4)
    with small_host(3) as host:
        stop, errors, done = threading.Event(), [], [0]

        def steady(number):
            try:
                with host.wire() as w:
                    while not stop.is_set():
                        w.query("BEGIN")
                        equal(w.query("SELECT %d" % number), [[str(number)]])
                        w.query("COMMIT")
                        equal(kinds(w.exchange(run("SELECT $1::int", [str(number)]))), "12TDCZ")
                        done[0] += 1
            except Exception as e:
                errors.append(repr(e))

        threads = [threading.Thread(target=steady, args=(i,), daemon=True) for i in range(4)]
        for t in threads:
            t.start()
        parts = list(LEFT.values())
        until = time.monotonic() + 3
        while time.monotonic() < until:
            w = host.wire()
            data = b"".join(rng.choice(parts))
            with contextlib.suppress(OSError):
                w.send(data[: rng.randrange(len(data) + 1)])
                time.sleep(rng.choice((0, 0, 0.002, 0.02)))
            leave(w, rng.choice(("reset", "close")))
        stop.set()
        for t in threads:
            t.join(60)
        assert not errors, errors[:3]
        assert done[0] > 20, done
        wait_for(lambda: pg.backends(BACKENDS + " AND state <> 'idle'") == 0, what="all servers are idle")
        assert pg.backends(BACKENDS) <= 3
        equal(pg.execute("SELECT count(*) FROM sink"), [(0,)])


@test("descriptors and memory come back after many short connections")
def many_connections():
    with small_host(2) as host:

        def cycle(count):
            for i in range(count):
                if i % 5 == 0:
                    pgwire.Wire("127.0.0.1", host.port).close()
                elif i % 5 == 1:
                    w = pgwire.Wire("127.0.0.1", host.port)
                    w.send(pgwire.startup("app", "shop"))
                    w.reset()
                else:
                    with host.wire() as w:
                        w.exchange(parse("s%d" % i, "SELECT %d" % (i % 50)), bind("", "s%d" % i), execute(), sync())

        def descriptors():
            return len(os.listdir("/proc/%d/fd" % host.host_pid()))

        cycle(200)
        wait_for(lambda: clients_left(host) == 0, what="sessions have ended")
        before, base = memory(host), descriptors()
        cycle(400)
        wait_for(lambda: descriptors() <= base, what="descriptors come back: %d" % base)
        growth = memory(host) - before
        assert SANITIZED or growth < 4 * MB, "memory grew by %.1f MB" % (growth / MB)


def clients_left(host):
    return len([r for r in host.console("SHOW CLIENTS") if "shop" in map(str, r.values())])


@test("a client that never logs in is closed after login_timeout")
def silent():
    with Host(pg, {"host": {"login_timeout": "500ms"}}) as host:
        for sent in (b"", b"\0\0", pgwire.startup("app", "shop")):
            w = pgwire.Wire("127.0.0.1", host.port)
            w.send(sent)
            w.expect_closed()
            w.close()


def junk_startup(i):
    names = {"junk_%d_%d" % (i, n): "v" * 120 for n in range(40)}
    return pgwire.startup("app", "shop", **names, **{"_pq_.junk_%d" % n: "w" * 50 for n in range(20)})


@test("1,000 half-open logins with junk parameters cost little, and nobody else notices")
def half_open():
    with Host(pg, {"host": {"login_timeout": "60s"}}) as host, host.wire() as other:
        growth = []
        base = memory(host)
        for turn in range(3):
            clients = []
            for i in range(1000):
                w = pgwire.Wire("127.0.0.1", host.port)
                w.send(junk_startup(i) if i % 3 else junk_startup(i)[: 100 + i])
                clients.append(w)
                if i % 100 == 0:
                    equal(other.query("SELECT 1"), [["1"]])
            asked = clients[1].recv()
            equal(asked.type, "v", "unknown protocol options are negotiated before anything else")
            growth.append(memory(host) - base)
            for w in clients:
                w.close()
            wait_for(lambda: clients_left(host) == 1, what="they are gone")
        comment("memory above the start: %s MB" % ["%.1f" % (g / MB) for g in growth])
        assert SANITIZED or max(growth) < 32 * MB, growth
        assert SANITIZED or growth[2] - growth[0] < 4 * MB, growth


@test("without descriptors accepting pauses, and goes on when there are some again")
def no_descriptors():
    with small_host(2, server_idle_timeout="60s") as host, host.wire() as other:
        other.query("SELECT 1")
        pid = host.host_pid()
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/%d/fd" % pid))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 10, limits[1]))
        clients = [pgwire.Wire("127.0.0.1", host.port) for _ in range(30)]
        host.wait_log("accepting paused")
        before = cpu_seconds(pid)
        for i in range(50):
            equal(other.query("SELECT %d" % i), [[str(i)]])
            time.sleep(0.02)
        assert cpu_seconds(pid) - before < 0.6, "it does not spin"
        for w in clients[:20]:
            w.close()
        for w in clients[20:]:
            w.login("app", "shop", "secret")
            equal(w.query("SELECT 1"), [["1"]])
            w.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@test("a log that cannot be written stops nothing")
def full_disk():
    with Host(pg, {"host": {"log_file": "/dev/full", "log_level": "debug"}}) as host:
        for i in range(20):
            with host.wire() as w:
                equal(w.query("SELECT %d" % i), [[str(i)]])
            with expect_error("28P01"):
                host.wire(secret="wrong")
        equal(host.control("reload").returncode, 0)
        with host.wire() as w:
            equal(w.query("SELECT 'still here'"), [["still here"]])

        def lost():
            rows = host.console("SHOW METRICS howdah_log_lost_lines_total")
            return [float(r["value"]) for r in rows if r["name"] == "howdah_log_lost_lines_total"]

        # at least each login and refusal had something to say; the host looks once a second
        wait_for(lambda: lost()[0] > 40, what="lost lines in the metrics")


# --- cancels ----------------------------------------------------------------------------------------------------


def cancel(w, port):
    with pgwire.Wire("127.0.0.1", port) as c:
        c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
        c.expect_closed(15)


@test("cancels that race the end of their statements hit nobody else, 10,000 times")
def cancel_races():
    with small_host(2) as host:
        victims, bystanders = [host.wire() for _ in range(2)], [host.wire() for _ in range(2)]
        stop, problems, counts = threading.Event(), [], {"good": 0, "cancelled": 0, "cancels": 0}

        def run_statements(w, may_be_cancelled):
            try:
                while not stop.is_set():
                    got = w.exchange(query("SELECT count(*) FROM generate_series(1, 2000)"))
                    codes = [m.fields()["C"] for m in got if m.type == "E"]
                    if not codes:
                        assert [m.row() for m in got if m.type == "D"] == [[b"2000"]], kinds(got)
                        counts["good"] += 1
                    elif codes == ["57014"] and may_be_cancelled:
                        counts["cancelled"] += 1
                    else:
                        problems.append((codes, may_be_cancelled))
            except Exception as e:
                problems.append(e)

        def cancel_often(w):
            try:
                while not stop.is_set() and counts["cancels"] < 10000:
                    cancel(w, host.port)
                    counts["cancels"] += 1
            except Exception as e:
                problems.append(e)

        workers = [threading.Thread(target=run_statements, args=(w, True)) for w in victims]
        workers += [threading.Thread(target=run_statements, args=(w, False)) for w in bystanders]
        cancellers = [threading.Thread(target=cancel_often, args=(w,)) for w in victims * 2]
        for t in workers + cancellers:
            t.start()
        until = time.monotonic() + 200
        while time.monotonic() < until and any(t.is_alive() for t in cancellers) and not problems:
            time.sleep(0.05)
        stop.set()
        for t in workers + cancellers:
            t.join(60)
        comment(counts)
        assert not problems, problems[:5]
        assert counts["cancels"] >= 10000 and counts["cancelled"] > 0 and counts["good"] > 0, counts
        for w in victims + bystanders:
            equal(w.query("SELECT 1"), [["1"]])
            w.close()


@test("cancels to a server that is not there any more hold up neither others' cancels nor the end")
def cancel_black_hole():
    proxy = SplitProxy(pg.port, size=65536)
    changes = {
        "database hole": {"node": "hole", "pool_mode": "transaction", "pool_size": 40},
        "node hole": {"conninfo": "host=127.0.0.1 port=%d dbname=shop" % proxy.port},
    }
    with Host(pg, changes) as host, host.wire() as other:
        clients = [host.wire("app", "hole") for _ in range(40)]
        for w in clients:
            w.send(query("SELECT pg_sleep(60)"))
        wait_for(lambda: pg.backends(BACKENDS + " AND state = 'active'") == 40, what="all sleep")
        proxy.stall("up")
        proxy.stall("down")
        askers = []
        for w in clients:
            c = pgwire.Wire("127.0.0.1", host.port)
            c.send(pgwire.cancel_request(w.backend_pid, w.backend_key))
            askers.append(c)
        other.send(query("SELECT pg_sleep(60)"))
        time.sleep(0.3)
        cancel(other, host.port)
        equal([m.fields()["C"] for m in other.recv_until("Z") if m.type == "E"], ["57014"])
        host.signal(signal.SIGTERM)
        host.wait_log("draining")  # two signals at once are one
        host.signal(signal.SIGTERM)
        equal(host.process.wait(60), 0)
        equal(host.stop(), 0)
        for w in clients + askers:
            w.close()
    proxy.close()
    pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + BACKENDS)


# --- servers that die -------------------------------------------------------------------------------------------


def terminate(where="true"):
    return pg.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE %s AND (%s)" % (BACKENDS, where)
    )[0][0]


@test("servers that are terminated while idle are not handed out")
def killed_idle():
    with small_host(4) as host:
        clients = [host.wire() for _ in range(6)]
        for turn in range(5):
            for w in clients[:4]:
                w.query("BEGIN")
            for w in clients[:4]:
                w.query("COMMIT")
            assert terminate() >= 1
            wait_for(lambda: pg.backends(BACKENDS) == 0, what="the servers are gone")
            for w in clients:
                equal(w.query("SELECT %d" % turn), [[str(turn)]])
        for w in clients:
            w.close()


@test("servers that PostgreSQL's own timeouts end: idle ones are not handed out, others say why to their clients")
def server_timeouts():
    def timeouts(idle, transaction, statement):
        for name, value in (
            ("idle_session_timeout", idle),
            ("idle_in_transaction_session_timeout", transaction),
            ("statement_timeout", statement),
        ):
            pg.execute("ALTER ROLE app SET %s = '%s'" % (name, value))

    # Long beside what a busy machine may keep the host waiting between asking a server and sending it a statement.
    timeouts("1s", "1500ms", "2s")
    try:
        with small_host(3) as host, host.wire() as a, host.wire() as b:
            for turn in range(4):
                for w in (a, b):
                    equal(w.query("SELECT %d" % turn), [[str(turn)]])
                time.sleep((0.1, 1.5)[turn % 2])
            wait_for(lambda: pg.backends(BACKENDS) == 0, what="PostgreSQL has ended the idle ones")
            with expect_error("57014"):
                a.query("SELECT pg_sleep(20)")
            b.query("BEGIN")
            got = sides.collect(b)
            equal([m.fields()["C"] for m in got if m.type == "E"], ["25P03"])
            equal(a.query("SELECT 'still here'"), [["still here"]])
    finally:
        for name in ("idle_session_timeout", "idle_in_transaction_session_timeout", "statement_timeout"):
            pg.execute("ALTER ROLE app RESET " + name)


@test("a server that ends right behind its answer, before the host has read that, ends no session")
def terminated_behind_its_answer():
    for mode in ("transaction", "auto"):
        with small_host(1, pool_mode=mode) as host, host.wire() as w:
            ((pid,),) = w.query("SELECT pg_backend_pid()")
            w.send(query("SELECT 'answer' FROM pg_sleep(0.3)"))
            mine = "SELECT state FROM pg_stat_activity WHERE pid = %s" % pid
            wait_for(lambda: pg.execute(mine) == [("active",)], what="the statement runs")
            os.kill(host.host_pid(), signal.SIGSTOP)
            try:
                wait_for(lambda: pg.execute(mine) == [("idle",)], what="the server has answered")
                pg.execute("SELECT pg_terminate_backend(%s)" % pid)
                wait_for(lambda: not pg.execute(mine), what="the server has ended")
            finally:
                os.kill(host.host_pid(), signal.SIGCONT)
            equal(kinds(w.recv_until("Z")), "TDCZ")
            equal(kinds(w.exchange(query("SELECT 1"))), "TDCZ")
            assert w.query("SELECT pg_backend_pid()") != [[pid]]


@test("a statement does not go to a server that PostgreSQL is ending for having idled")
def ending_meanwhile():
    # What the server says at its end is held up on its way: for the host it idles still.
    pg.execute("ALTER ROLE app SET idle_session_timeout = '600ms'")
    try:
        with SplitProxy(pg.port, size=1 << 16) as proxy:
            sections = {"database *": {"pool_size": 2, "pool_mode": "auto"}, "host": {"workers": 1}}
            with Host(pg, sections, server_port=proxy.port) as host, host.wire() as w, host.wire() as other:
                w.query("BEGIN")
                other.query("SELECT 1")
                w.query("COMMIT")
                proxy.stall("down")
                wait_for(lambda: pg.backends(BACKENDS) == 0, what="PostgreSQL has ended them")
                sent = proxy.forwarded["up"]
                for client in (w, other):
                    client.send(query("SELECT 'heard'"))
                wait_for(lambda: proxy.forwarded["up"] > sent, what="the host has asked the servers")
                proxy.resume("down")
                for client in (w, other):
                    equal(kinds(client.recv_until("Z")), "TDCZ")
    finally:
        pg.execute("ALTER ROLE app RESET idle_session_timeout")


@test("a server that is terminated in a transaction ends that one alone")
def killed_in_transaction():
    with small_host(3) as host, host.wire() as other:
        for terminate_how in ("idle", "active"):
            w = host.wire()
            w.query("BEGIN")
            pid = int(w.query("SELECT pg_backend_pid()")[0][0])
            other.query("BEGIN")
            if terminate_how == "active":
                w.send(query("SELECT pg_sleep(20)"))
                wait_for(lambda: pg.backends("pid = %d AND state = 'active'" % pid), what="it runs")
            pg.execute("SELECT pg_terminate_backend(%d)" % pid)
            if terminate_how == "idle":
                wait_for(lambda: pg.backends("pid = %d" % pid) == 0, what="it is gone")
                with contextlib.suppress(OSError):
                    w.send(query("SELECT 1"))
            got = sides.collect(w)
            told(got)
            equal(other.query("SELECT 'fine'"), [["fine"]])
            other.query("COMMIT")
            w.close()


def told(got):
    """The client has an ErrorResponse of the right kind, and its connection ends or is idle, never in between."""
    errors = [m for m in got if m.type == "E"]
    assert errors, got[-3:]
    assert errors[-1].fields()["C"] in GONE, errors
    assert got[-1].type == "!" or got[-1].body == b"I", got[-1]
    assert got[-1].body != b"TimeoutError", got


@test("a server that dies in the middle of rows is told as an error, and the row is not completed")
def killed_mid_row():
    for statement in (
        query("SELECT i, repeat('x', 100000) FROM generate_series(1, 10000000) i"),
        run("SELECT i, repeat('x', 100000) FROM generate_series(1, 10000000) i"),
        query("COPY (SELECT i, repeat('x', 100000) FROM generate_series(1, 10000000) i) TO STDOUT"),
    ):
        with small_host(2) as host, host.wire() as w, host.wire() as other:
            w.send(statement)
            for _ in range(50):
                w.recv()
            assert terminate("state = 'active'") >= 1
            got = collect_tail(w)
            # In the middle of a row there is no place for words.
            if got[-1].body != b"WireClosed" or "E" in kinds(got):
                told(got)
            equal(other.query("SELECT 'fine'"), [["fine"]])


def collect_tail(w):
    """Reads to the end, keeping the last few messages."""
    tail = []
    try:
        while not tail or tail[-1].type != "Z":
            tail = tail[-5:] + [w.recv()]
    except (socket.timeout, pgwire.WireClosed, ConnectionResetError) as e:
        tail.append(pgwire.Message("!", type(e).__name__.encode()))
    return tail


def cut_all(proxy, host):
    """All connections to servers are cut, and the host has seen it."""
    proxy.cut()
    wait_for(lambda: not host.console("SHOW SERVERS"), what="the host knows of no server")


@test("a connection that breaks in the middle of a row, and one that is cut while idle")
def cut():
    with SplitProxy(pg.port, size=1 << 16) as proxy:
        with Host(pg, server_port=proxy.port) as host, host.wire() as w:
            w.send(query("SELECT repeat('x', 50000000)"))
            read_all(w, 1_000_000)
            proxy.cut()
            w.expect_closed()
            with host.wire() as again:
                again.query("SELECT 1")
                cut_all(proxy, host)
                equal(again.query("SELECT 2"), [["2"]])
                again.exchange(parse("s", "SELECT 's'"), sync())
                cut_all(proxy, host)
                equal(kinds(again.exchange(bind("", "s"), execute(), sync())), "2DCZ")


@test("a killed backend brings all servers down, and all work again after recovery")
def kill_nine():
    with small_host(3) as host:
        idle, running = host.wire(), host.wire()
        running.query("BEGIN")
        pid = int(running.query("SELECT pg_backend_pid()")[0][0])
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            running.send(query("SELECT 1"))
        told(sides.collect(running))
        wait_for(lambda: answers(host), what="the host serves again")
        equal(idle.query("SELECT 'was idle'"), [["was idle"]])
        idle.close()
        running.close()


def answers(host):
    try:
        with host.wire() as w:
            return w.query("SELECT 1") == [["1"]]
    except (pgwire.WireError, pgwire.WireClosed, OSError):
        return False


@test("prepared statements survive the death of the server that had them")
def prepared_survive():
    with small_host(1) as host, host.wire() as w:
        for i in range(10):
            w.exchange(parse("s%d" % i, "SELECT %d" % i), sync())
        for _ in range(3):
            for i in range(10):
                got = w.exchange(bind("", "s%d" % i), execute(), sync())
                equal(kinds(got), "2DCZ")
            terminate()
            wait_for(lambda: pg.backends(BACKENDS) == 0, what="the server is gone")


@test("a database that is dropped by force while its servers idle")
def dropped():
    pg.execute("CREATE DATABASE passing OWNER app", "postgres")
    with small_host(2, queue_timeout="1s") as host:
        w = host.wire("app", "passing")
        w.query("SELECT 1")
        pg.execute("DROP DATABASE passing WITH (FORCE)", "postgres")
        got = sides.collect(w) if not w.send(query("SELECT 2")) else None
        equal(got[0].type, "E", got)
        assert got[0].fields()["C"] in GONE + ("3D000",), got
        w.close()
        equal(error_of(host, "passing"), "3D000")
        pg.execute("CREATE DATABASE passing OWNER app", "postgres")
        wait_for(lambda: lets_in(host, "passing"), what="the database is there again")
        pg.execute("DROP DATABASE passing WITH (FORCE)", "postgres")


def error_of(host, database):
    """The SQLSTATE of what a new client is told, at the login or at its first statement."""
    try:
        with host.wire("app", database) as w:
            w.send(query("SELECT 1"))
            return next(m for m in sides.collect(w) if m.type == "E").fields()["C"]
    except pgwire.WireError as e:
        return e.sqlstate


def lets_in(host, database):
    try:
        with host.wire("app", database) as w:
            return w.query("SELECT 1") == [["1"]]
    except (pgwire.WireError, pgwire.WireClosed):
        return False


# --- PostgreSQL down and up -------------------------------------------------------------------------------------


@test("while PostgreSQL is down clients wait, then get a clear error; when it is back all works")
def down():
    with small_host(2, queue_timeout="1s") as host:
        clients = [host.wire() for _ in range(4)]
        for w in clients:
            w.query("SELECT 1")
        pg.stop()
        try:
            for i, statement in enumerate((query("SELECT 2"), run("SELECT 2"))):
                began = time.monotonic()
                clients[i].send(statement)
                got = sides.collect(clients[i])
                took = time.monotonic() - began
                equal(got[0].type, "E", got)
                fields = got[0].fields()
                assert fields["C"] in GONE, fields
                assert took > 0.7, took
            with contextlib.suppress(pgwire.WireClosed):
                with expect_error():
                    host.wire().query("SELECT 1")
        finally:
            pg.start()
        for w in clients[2:]:
            equal(w.query("SELECT 3"), [["3"]])
        equal(host.wire().query("SELECT 4"), [["4"]])
        for w in clients:
            w.close()


@test("who waits while PostgreSQL restarts is served when it is back")
def restart_in_time():
    with small_host(2, queue_timeout="20s") as host, host.wire() as a, host.wire() as b:
        a.query("SELECT 1")
        pg.stop()
        a.send(query("SELECT 'waited'"))
        b.send(run("SELECT 'waited'"))
        time.sleep(0.3)
        pg.start()
        equal(kinds(a.recv_until("Z")), "TDCZ")
        equal(kinds(b.recv_until("Z")), "12TDCZ")


@test("PostgreSQL is stopped and started under load: errors end, and every answer is right")
def restarts_under_load():
    for mode in ("fast", "immediate"):
        with small_host(4, queue_timeout="10s") as host:
            stop, wrong, counts = threading.Event(), [], {"good": 0, "failed": 0}

            def client(number):
                w = None
                while not stop.is_set():
                    try:
                        w = w or host.wire()
                        equal(w.query("SELECT %d" % number), [[str(number)]])
                        w.exchange(parse("s", "SELECT $1::int"), sync())
                        got = w.exchange(bind("", "s", [str(number)]), execute(), pgwire.close("S", "s"), sync())
                        if "E" in kinds(got):
                            raise pgwire.WireError([m for m in got if m.type == "E"][0])
                        equal(kinds(got), "2DC3Z")
                        equal(got[1].row(), [str(number).encode()])
                        counts["good"] += 1
                    except (pgwire.WireError, pgwire.WireClosed, OSError) as e:
                        counts["failed"] += 1
                        if isinstance(e, pgwire.WireError) and e.sqlstate not in GONE:
                            wrong.append(repr(e))
                        if isinstance(e, socket.timeout):
                            wrong.append("no answer")
                        with contextlib.suppress(Exception):
                            w.close()
                        w = None
                    except Exception as e:
                        wrong.append(repr(e))
                        return

            threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(8)]
            for t in threads:
                t.start()
            time.sleep(0.3)
            pg.restart(mode)
            after = counts["good"]
            wait_for(lambda: counts["good"] > after + 50, what="work goes on")
            stop.set()
            for t in threads:
                t.join(60)
            assert not any(t.is_alive() for t in threads)
            assert not wrong, wrong[:5]


@test("a server that takes connections and never answers hurts no other database")
def black_hole():
    hole = socket.create_server(("127.0.0.1", 0))
    changes = {
        "host": {"connect_timeout": "1s"},
        "node hole": {"conninfo": "host=127.0.0.1 port=%d dbname=shop" % hole.getsockname()[1]},
        "database hole": {"node": "hole", "queue_timeout": "1s"},
    }
    with Host(pg, changes) as host, host.wire() as other:
        waiting = [threading.Thread(target=lets_in, args=(host, "hole"), daemon=True) for _ in range(6)]
        for t in waiting:
            t.start()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            equal(other.query("SELECT 1"), [["1"]])
            with host.wire() as w:
                equal(w.query("SELECT 2"), [["2"]])
        for t in waiting:
            t.join(60)
        assert not any(t.is_alive() for t in waiting)
    hole.close()


@test("many clients of a server that never answers delay nobody else's connections and cancels")
def black_hole_crowded():
    hole = socket.create_server(("127.0.0.1", 0), backlog=200)
    changes = {
        "host": {"connect_timeout": "60s"},
        "node hole": {"conninfo": "host=127.0.0.1 port=%d dbname=shop" % hole.getsockname()[1]},
        "database hole": {"node": "hole", "pool_size": 60, "queue_timeout": "60s"},
        "database late": {"node": "late", "pool_size": 10},
        "node late": {"conninfo": "host=%s port=%d dbname=shop" % (pg.host, pg.port)},
    }
    with Host(pg, changes) as host, host.wire() as other:
        waiting = []
        for _ in range(80):
            w = pgwire.Wire("127.0.0.1", host.port)
            w.send(pgwire.startup("app", "hole"))
            scram = pgwire.Scram("secret")
            w.recv()
            w.send(scram.first())
            w.send(scram.final(w.recv().body[4:]))
            waiting.append(w)
        time.sleep(0.5)
        began = time.monotonic()
        for _ in range(3):
            with host.wire(database="late") as w:
                equal(w.query("SELECT 1"), [["1"]])
        other.send(query("SELECT pg_sleep(30)"))
        wait_for(lambda: pg.backends(BACKENDS + " AND state = 'active'") == 1, what="it sleeps")
        cancel(other, host.port)
        equal([m.fields()["C"] for m in other.recv_until("Z") if m.type == "E"], ["57014"])
        took = time.monotonic() - began
        assert took < 30, "%.1f s" % took  # half of what those wait for
        for w in waiting:
            w.close()
    hole.close()


@test("a node that nobody listens on is told clearly")
def nobody_there():
    changes = {
        "node none": {"conninfo": "host=127.0.0.1 port=%d dbname=shop" % harness.free_port()},
        "database none": {"node": "none", "queue_timeout": "500ms"},
    }
    with Host(pg, changes) as host:
        with expect_error(match="none|connect|refused"):
            host.wire("app", "none")


@test("a server that speaks nonsense is not listened to")
def nonsense():
    answers_with = (
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
        b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\1\0\0\0\1Z\0\0\0\x05I" + b"\xff" * 40,
        b"E\0\0\0\x05\0",
        b"R\xff\xff\xff\xff",
    )
    for answer in answers_with:
        server = socket.create_server(("127.0.0.1", 0))

        def serve(server=server, answer=answer):
            with contextlib.suppress(OSError):
                while True:
                    c, _ = server.accept()
                    c.settimeout(2)
                    with contextlib.suppress(OSError):
                        c.recv(1000)
                        c.sendall(answer)
                        time.sleep(0.05)
                    c.close()

        threading.Thread(target=serve, daemon=True).start()
        changes = {
            "node bad": {"conninfo": "host=127.0.0.1 port=%d dbname=shop sslmode=disable" % server.getsockname()[1]},
            "database bad": {"node": "bad", "queue_timeout": "500ms"},
        }
        with Host(pg, changes) as host, host.wire() as other:
            try:
                with host.wire("app", "bad") as w:
                    w.send(query("SELECT 1"))
                    assert "D" not in kinds(sides.collect(w))
            except (pgwire.WireError, pgwire.WireClosed):
                pass
            equal(other.query("SELECT 1"), [["1"]])
        server.close()


class RogueServer:
    """A server that logs anyone in and answers each Query with given bytes."""

    def __init__(self, answer):
        self.answer = answer
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        parameters = {"server_version": "15.5", "client_encoding": "UTF8", "standard_conforming_strings": "on"}
        with contextlib.suppress(OSError):
            c.recv(4000)
            hello = pgwire.message("R", struct.pack("!I", 0))
            for name, value in parameters.items():
                hello += pgwire.message("S", pgwire.cstring(name) + pgwire.cstring(value))
            c.sendall(hello + pgwire.message("K", struct.pack("!II", 1, 2)) + pgwire.message("Z", b"I"))
            while c.recv(4000):
                c.sendall(self.answer)
        c.close()

    def close(self):
        self.socket.close()


READY = pgwire.message("Z", b"I")

ROGUE_ANSWERS = (
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"D\0\0\0\0",
    b"D\x7f\xff\xff\xff" + b"x" * 100,
    b"D\x80\0\0\0",
    pgwire.message("E", b"") + READY,
    pgwire.message("E", b"\0") + READY,
    pgwire.message("E", b"SERROR\0Mno sqlstate\0\0") + READY,
    pgwire.message("E", b"Cshort") + READY,
    pgwire.message("E", b'C26000\0M"howdah_') + READY,
    pgwire.message("C", b"no end") + READY,
    pgwire.message("Z", b""),
    pgwire.message("Z", b"?"),
    READY * 5,
    pgwire.message("S", b"name") + READY,
    pgwire.message("1") + pgwire.message("2") + READY,
    pgwire.message("s") + READY,
    pgwire.message("G", b"\0\0\0"),
    pgwire.message("W", b"\0\0\0") + READY,
    pgwire.message("A", b"\0"),
    pgwire.message("R", struct.pack("!I", 3)),
)


@test("a server that breaks the protocol after its login ends its own clients alone")
def rogue():
    servers = [RogueServer(answer) for answer in ROGUE_ANSWERS]
    changes = {}
    for i, server in enumerate(servers):
        changes["node rogue%d" % i] = {"conninfo": "host=127.0.0.1 port=%d dbname=x sslmode=disable" % server.port}
        changes["database rogue%d" % i] = {"node": "rogue%d" % i, "queue_timeout": "500ms"}
    with Host(pg, changes) as host, host.wire() as other:

        def victim(i):
            for statement in (query("SELECT 1"), run("SELECT 1"), query("BEGIN")):
                with contextlib.suppress(pgwire.WireError, pgwire.WireClosed, OSError, ValueError):
                    with host.wire("app", "rogue%d" % i) as w:
                        w.send(statement)
                        sides.collect(w, timeout=0.3)

        threads = [threading.Thread(target=victim, args=(i,), daemon=True) for i in range(len(servers))]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            equal(other.query("SELECT 1"), [["1"]])
        assert host.alive()
    for server in servers:
        server.close()


main()
