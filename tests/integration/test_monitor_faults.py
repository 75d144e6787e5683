"""The monitor's history and the alerts when the machine misbehaves: a full disk, clocks that are set, counters that begin anew."""

import contextlib
import json
import math
import os
import sqlite3
import struct
import threading
import time

from alertworld import FAST, Receiver
from faultworld import Clock, FrozenDisk, SmallDisk
from httphost import ask, served
from harness import Host, Postgres, equal, expect_error, main, temp_dir, test, wait_for
from monitorworld import metric
from upgrading import upgrade

pg = Postgres()
SAMPLED = "howdah_statements_total"


def configured(path, more=None, **keys):
    return {
        "plugin statements": {"enabled": "yes"},
        "plugin monitor": {"enabled": "yes", "history": path, "flush_interval": "1s", "template_interval": "1s", **keys},
        **(more or {}),
    }


def history(host, *words):
    return host.console("SHOW HISTORY " + " ".join(words))


def part(host, name):
    return next(c for c in json.loads(ask(host, "/health")[2])["components"] if c["name"] == name)


def whole(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        equal(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])


def remember(path, days, now=None):
    """So many days of a series, by the hour, as an earlier host would have left them."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        [(number,)] = db.execute("SELECT id FROM series WHERE key = 'howdah_clients'").fetchall()
        today = int(now or time.time()) // 86400 * 86400
        for day in range(today - days * 86400, today, 86400):
            block = b"".join(struct.pack("3f", 7, 7, 7) for _ in range(24))
            db.execute("INSERT OR REPLACE INTO block VALUES (2, ?, ?, ?)", (number, day, block))


def remembered(host, days):
    """How many of those days are there, but for the first and the last."""
    rows = history(host, "howdah_clients", "%dd" % (days + 2), "STEP", "1d")
    return sum(r["value"] == 7 for r in rows)


def stuff(path):
    """Uses the free pages within the file up, so that it has to grow for what comes next."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as db:
        db.execute("CREATE TABLE stuffing (bytes BLOB)")
        while db.execute("PRAGMA freelist_count").fetchone()[0]:
            with db:
                db.execute("INSERT INTO stuffing VALUES (zeroblob(4000))")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class Load:
    """Some fifty statements a second, from one client, none of which may fail."""

    def __init__(self, host):
        self.host = host
        self.done = 0
        self.failure = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            with self.host.connect() as c:
                while not self.stop.wait(0.02):
                    equal(c.execute("SELECT 1").fetchone(), (1,))
                    self.done += 1
        except Exception as e:  # told where the block ends
            self.failure = e

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        if self.failure:
            raise self.failure

    def goes_on(self):
        before = self.done
        wait_for(lambda: self.failure or self.done > before + 20, what="statements go on")


@test("a full disk: statements go on, nothing that was kept is lost, and the history goes on when there is room")
def full_disk():
    with SmallDisk(3 << 20) as disk, Receiver() as hook:
        path = os.path.join(disk.dir, "history.db")
        more = {
            "plugin alerts": {**FAST, "state_file": os.path.join(disk.dir, "state")},
            "plugin alert-webhook": {"enabled": "yes"},
            "webhook hook": {"url": hook.url},
            "alert history": {"expr": "howdah_history_up", "below": "0.5", "for": "0s", "clear_for": "0s"},
        }
        with served(pg, configured(path, more, history_size="64M"), under=disk.under) as host:
            wait_for(lambda: history(host, "howdah_clients", "1m"), what="a sample")
            disk.inside(remember, path, 300)
            equal(metric(host, "howdah_history_up"), 1)
            before = remembered(host, 300)
            assert before > 290, before
            with disk.full(), Load(host) as load:
                host.wait_log("the history is not written.*no room")
                equal(metric(host, "howdah_history_up"), 0)
                assert "no room" in part(host, "monitor: history")["reason"]
                begun = time.time()
                # Alerts go on as well, which cannot keep their state either.
                equal([a["rule"] for a in hook.wait(1)[0]["alerts"]], ["history"])
                host.wait_log("the state of the alerts cannot be kept.*No space left")
                load.goes_on()
                # What waits has a bound; the oldest of it is given up.
                wait_for(lambda: metric(host, "howdah_history_lost_samples_total") > 0, 100, "samples being given up")
                load.goes_on()
                equal(remembered(host, 300), before)
            host.wait_log("the history is written again")
            equal(metric(host, "howdah_history_up"), 1)
            equal(part(host, "monitor: history")["state"], "written")
            equal(hook.wait(2)[1]["state"], "resolved")
            host.wait_log("the state of the alerts is kept again")
            equal(remembered(host, 300), before)
            # All that waited is there, up to what was given up.
            times = {r["time"].timestamp() for r in history(host, "howdah_clients", "10m", "STEP", "1s")}
            end = max(times)
            assert sum(1 for t in times if t > begun) > 30 and end > begun + 60, sorted(times)
            disk.inside(whole, path)
            so_far = len(host.log_text())
            disk.inside(stuff, path)
            with disk.full():
                host.wait_log("the history is not written.*no room", after=so_far)
                host.kill()
                host.start()
                with Load(host) as load:
                    host.wait_log("the history is not written", after=host.log_text().rfind("history is written again"))
                    load.goes_on()
            wait_for(lambda: metric(host, "howdah_history_up") == 1, what="the history being written")
            equal(remembered(host, 300), before)
            disk.inside(whole, path)


@test("a disk that can only be read at the start: statements go on, and the history when it can be written")
def read_only():
    with SmallDisk(3 << 20) as disk:
        path = os.path.join(disk.dir, "history.db")
        with Host(pg, configured(path), under=disk.under) as host:
            wait_for(lambda: history(host, "howdah_clients", "1m"), what="a sample")
            disk.inside(remember, path, 100)
            host.stop()
            with disk.read_only():
                host.start()
                host.wait_log("the history is not written.*Read-only file system")
                with Load(host) as load:
                    load.goes_on()
            host.wait_log("the history is written again")
            assert remembered(host, 100) > 90
            disk.inside(whole, path)


def grow(path, series=40, days=300):
    """Some MB of hours, as of series that have been there for long."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        today = int(time.time()) // 86400 * 86400
        block = b"".join(struct.pack("3f", 7, 7, 7) for _ in range(24))
        for n in range(series):
            db.execute("INSERT INTO series (key, unit) VALUES (?, '1')", ("of_old{n=%d}" % n,))
            [(number,)] = db.execute("SELECT last_insert_rowid()").fetchall()
            db.executemany("INSERT INTO block VALUES (2, ?, ?, ?)", ((number, today - d * 86400, block) for d in range(1, days + 1)))


@test("a lowered history_size: the file gets smaller while statements go on, also after a kill, and the newest stays", timeout=400)
def lowered_size():
    path, least = os.path.join(temp_dir(), "history.db"), 2 << 20
    with Host(pg, configured(path, collect="no")) as host:
        wait_for(lambda: history(host, "howdah_clients", "1m"), what="a sample")
        host.stop()
        grow(path)
        size = os.path.getsize(path)
        assert size > 2 * least, size
        host.configure(configured(path, collect="no", history_size="2M"))
        host.start()
        told = lambda: metric(host, "howdah_history_bytes")
        with Load(host) as load:
            wait_for(lambda: 0 < told() < size, what="it getting smaller")
            load.goes_on()
        host.kill()
        whole(path)
        host.start()
        with Load(host) as load:
            wait_for(lambda: 0 < told() <= least, 200, "it being below the bound")
            load.goes_on()
            equal(metric(host, "howdah_history_up"), 1)
        wait_for(lambda: os.path.getsize(path) <= least, what="the file itself being so")
        # What is left is the newest, without a hole.
        days = [r["time"].timestamp() for r in history(host, "of_old{n=3}", "310d", "STEP", "1d")]
        today = int(time.time()) // 86400 * 86400
        equal(days, [today - d * 86400 for d in range(len(days), 0, -1)])
        assert 20 < len(days) < 300, len(days)
        host.stop()
        assert os.path.getsize(path) <= least, os.path.getsize(path)
        whole(path)


@test("a disk that hangs: statements, metrics and health go on and tell it, nobody waits for the history, and it goes on")
def hanging_disk():
    disk = FrozenDisk()
    why = "has not ended for long: does the disk hang"
    path = os.path.join(disk.dir, "history.db")
    with served(pg, configured(path), env=disk.env) as host:
        wait_for(lambda: history(host, "howdah_clients", "1m"), what="a sample")
        size = wait_for(lambda: metric(host, "howdah_machine_filesystem_bytes", kind="size"), what="the size of its disk", timeout=60)
        with Load(host) as load:
            with disk.frozen():
                begun = time.time()
                load.goes_on()
                host.wait_log("the history is not written.*" + why, timeout=90)
                equal(metric(host, "howdah_history_up"), 0)
                told = part(host, "monitor: history")
                assert told["state"] == "hanging" and why in told["reason"], told
                equal(ask(host, "/livez")[0], 200)
                equal(ask(host, "/readyz")[0], 200)
                status, _, text = ask(host, "/metrics")
                assert status == 200 and "howdah_history_up 0" in text, text[:2000]
                for question in ("SHOW HISTORY howdah_clients 1m", "REPORT REALTIME"):
                    with expect_error(match=why):
                        host.console(question)
                # All else is looked at still, on the thread that would wait for the disk if any part did.
                uptime = lambda: metric(host, "howdah_process_uptime_seconds")
                before = uptime()
                wait_for(lambda: uptime() > before, 60, "metrics go on")
                equal(len(host.console("SHOW TEMPLATES TOP 1")), 1)
                load.goes_on()
                end = time.time()
            host.wait_log("the history is written again", timeout=60)
            load.goes_on()
        equal(part(host, "monitor: history")["state"], "written")
        equal(metric(host, "howdah_machine_filesystem_bytes", kind="size"), size)
        # What was sampled meanwhile has waited.
        times = {int(r["time"].timestamp()) for r in history(host, "howdah_clients", "10m", "STEP", "1s")}
        there = [t for t in range(int(begun), int(end)) if t in times]
        assert len(there) > 20, (begun, end, sorted(times))
    whole(path)


@test("a clock that is set: rates, ranges, alerts, silences, messages and reports are as if it had not been")
def clocks():
    clock = Clock()
    path, reports = os.path.join(temp_dir(), "history.db"), temp_dir()
    late = {"status": 500}
    with Receiver() as hook, Receiver(lambda _: late["status"]) as other:
        more = {
            "plugin alerts": {**FAST, "give_up": "10m", "state_file": os.path.join(temp_dir(), "state")},
            "plugin alert-webhook": {"enabled": "yes"},
            "webhook hook": {"url": hook.url},
            "webhook late": {"url": other.url},
            "alert busy": {"expr": "howdah_clients", "above": "0.5", "for": "0s", "repeat": "30m"},
            "alert soon": {"expr": "howdah_clients", "above": "0.5", "for": "30m"},
            "alert absurd": {"expr": "rate(howdah_statements_total[30s])", "above": "1000", "for": "0s"},
            "alert quiet": {"expr": "howdah_clients", "above": "0.5", "for": "0s"},
        }
        keys = {"report_folder": reports, "report_time": "00:00"}
        with Host(pg, configured(path, more, **keys), env=clock.env) as host, Load(host) as load:
            host.console("SILENCE rule=quiet FOR 30m")
            hook.wait(1)
            days = set()
            for offset in (0, 3600, 0, 86400, 86399, -86400, 0, -3600, 2, -3):
                clock.set(offset)
                look_at_history(host, time.time() + offset)
                days.add(time.strftime("%Y-%m-%d", time.localtime(time.time() + offset)))
                load.goes_on()
            host.wait_log("nothing of the history is deleted for a day.*the clock was set")
            states = {r["rule"]: r["state"] for r in host.console("SHOW ALERT RULES")}
            equal((states["busy"], states["soon"], states["absurd"]), ("firing", "pending", "clear"))
            equal(len(host.console("SHOW SILENCES")), 1)
            equal([(m["state"], [a["rule"] for a in m["alerts"]]) for m in hook.messages()], [("firing", ["busy"])])
            # The other target could not be reached for a day by the clock, and for half a minute in truth.
            late["status"] = 200
            wait_for(lambda: not json.load(open(more["plugin alerts"]["state_file"]))["outbox"], what="its message being delivered")
            equal(host.log_text().count("could not be delivered"), 0)
            # Days that the clock has shown have one report each.
            written = lambda: {n[6:16] for n in os.listdir(reports) if n.endswith(".json")}
            wait_for(lambda: written() >= days, what="their reports")
            equal(host.log_text().count("the day's report was written"), len(written()))
        whole(path)


def look_at_history(host, now):
    """New samples come, each second has one, all are possible, and every range answers."""

    def fresh():
        rows = history(host, SAMPLED, "30s", "STEP", "1s")
        return len([r for r in rows if now - 5 <= r["time"].timestamp() <= now + 60]) >= 2 and rows

    rows = wait_for(fresh, what="samples at the new time")
    assert all(0 <= r["min"] <= r["value"] <= r["max"] <= 500 for r in rows), rows
    keys = [(r["series"], r["time"]) for r in rows]
    equal(len(keys), len(set(keys)))
    for span in ("1m", "3h", "6d", "13mo"):
        assert all(0 <= r["min"] <= r["max"] <= 500 for r in history(host, SAMPLED, span)), span


@test("a start with a clock that is months ahead, or in 1970, deletes nothing that is right")
def wrong_start():
    clock = Clock()
    path = os.path.join(temp_dir(), "history.db")
    with Host(pg, configured(path), env=clock.env) as host:
        wait_for(lambda: history(host, "howdah_clients", "1m"), what="a sample")
        host.stop()
        remember(path, 390)
        for offset in (200 * 86400, 3650 * 86400, -int(time.time()) + 5000):
            clock.set(offset)
            before = len(host.log_text())
            host.start()
            host.wait_log("its newest is hours from what the clock says", after=before)
            wait_for(lambda: history(host, "howdah_clients", "1m"), what="a sample")
            host.stop()
        clock.set(0)
        host.start()
        wait_for(lambda: history(host, "howdah_clients", "1m"), what="a sample")
        assert remembered(host, 390) > 380, remembered(host, 390)
        whole(path)


def rates(path):
    """All rates by the second: {series: values}."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        found = {}
        for key, block in db.execute("SELECT s.key, b.data FROM block b JOIN series s ON s.id = b.series WHERE b.grain = 0 AND s.unit LIKE '%/s'"):
            values = struct.unpack("%df" % (len(block) // 4), block)
            found.setdefault(key, []).extend(v for v in values if not math.isnan(v))
        return found


@test("counters that begin anew: the host's, a plugin's, the server's; no rate is negative or absurd")
def resets():
    own = Postgres()
    path = os.path.join(temp_dir(), "history.db")
    more = {
        "node main": {"control_user": "postgres"},
        "plugin alerts": {**FAST, "sinks": "", "interval": "100ms"},
        "plugin guard": {"enabled": "yes"},
        "alert absurd": {"expr": "rate(howdah_statements_total[30s])", "above": "1000", "for": "0s"},
        "alert below": {"expr": "rate(howdah_statements_total[30s])", "below": "-0.001", "for": "0s"},
    }
    with Host(own, configured(path, more, collect_scale="0.05")) as host:
        samples = lambda series: len(history(host, series, "3m", "STEP", "1s"))
        guarded = "howdah_guard_waiting"

        def goes_on(what, series=SAMPLED):
            before = samples(series)
            wait_for(lambda: samples(series) >= before + 2, what="samples after " + what)

        def again(plugin):
            told = host.control("plugin", plugin, "disable")
            equal((told.returncode, told.stderr), (0, ""))
            wait_for(lambda: host.control("plugin", plugin, "enable").returncode == 0, what="it has stopped")

        with Load(host) as load:
            goes_on("the start")
            goes_on("the start", guarded)
            for _ in range(3):  # within a second, so that the sampler sees the old metrics and the new ones at once
                again("guard")
                goes_on("the plugin's", guarded)
            host.console("STATEMENTS RESET")
            goes_on("STATEMENTS RESET")
            own.execute("SELECT pg_stat_reset()")
            own.execute("SELECT pg_stat_reset_shared('bgwriter')")
            goes_on("the server's reset")
            again("monitor")
            goes_on("the monitor's own")
            load.goes_on()
            states = {r["rule"]: r["state"] for r in host.console("SHOW ALERT RULES")}
            equal((states["absurd"], states["below"]), ("clear", "clear"))
        own.restart()
        host.kill()
        host.start()
        with Load(host) as load:
            goes_on("the host's")
            load.goes_on()
            told = json.loads(host.console("REPORT REALTIME JSON")[0]["report"])
            assert 0 <= told["now"]["calls"] < 5000 and 0 <= told["now"]["p95_ms"] < 10000, told["now"]
            for t in told["slowest"]:
                assert 0 < t["now"]["calls"] < 5000 and 0 <= t["now"]["p50_ms"] <= t["now"]["p99_ms"] < 60000, t
        host.stop()
        found = rates(path)
        assert len(found) > 20 and any("howdah_pg_" in key for key in found), sorted(found)
        for key, values in found.items():
            assert all(0 <= v < (1e11 if "_bytes" in key else 1e6) for v in values), (key, values)
        assert max(found[SAMPLED + "{database=shop}"]) < 500, found
    own.stop()


@test("an upgrade: the new host has the history at once; the old one, which a client keeps, adds only what that does")
def upgraded():
    path = os.path.join(temp_dir(), "history.db")
    with Host(pg, configured(path, {"node main": {"control_user": "postgres"}}, collect_scale=0.01)) as host:
        generations = lambda: [r["value"] for r in history(host, "howdah_generation", "5m") if r["value"] is not None]
        wait_for(lambda: len(generations()) > 2, what="a history")
        with host.connect() as stays, stays.transaction():
            stays.execute("SELECT 1")
            upgrade(host)
            wait_for(lambda: generations()[-1] == 2, what="the new host's first second")
            second = len(generations())
            wait_for(lambda: len(generations()) > second + 8, what="more of them")
            equal(set(generations()[second:]), {2.0})
            equal(len(host.host_pids()), 2)
            for _ in range(7):
                stays.execute("SELECT 1 AS with_the_old_one")
        wait_for(lambda: len(host.host_pids()) == 1, what="the old host's end")

        def counted():
            with contextlib.closing(sqlite3.connect(path)) as db:
                return db.execute(
                    "SELECT sum(calls) FROM template JOIN text USING (fingerprint)"
                    " WHERE grain = 2 AND instr(text, 'with_the_old_one')"
                ).fetchone()[0]

        wait_for(lambda: counted() == 7, what="what the client did with the old host")
        equal(set(generations()[second:]), {2.0})


main()
