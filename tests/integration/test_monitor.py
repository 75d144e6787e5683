"""The plugin monitor: series and their history on disk, templates per database and user, bounds and faults."""

import contextlib
import itertools
import json
import os
import re
import sqlite3
import struct
import threading
import time
import urllib.request

import psycopg

from harness import Host, Postgres, equal, expect_error, free_port, main, temp_dir, test, wait_for

pg = Postgres()
with pg.connect(user="app", password="secret") as _c:
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 1000) g")


def configured(path=None, **keys):
    """statements and monitor; the history in a file of its own unless `path` says where."""
    return {
        "plugin statements": {"enabled": "yes"},
        "plugin monitor": {"enabled": "yes", "history": path or new_history(), "flush_interval": "1s", **keys},
    }


def new_history():
    return os.path.join(temp_dir(), "history.db")


def history(host, *words):
    return host.console("SHOW HISTORY " + " ".join(words))


def values(host, *words):
    return [float(r["value"]) for r in history(host, *words)]


@test("a second's work is in the history within seconds, with its unit")
def seconds():
    with Host(pg, configured()) as host:
        wait_for(lambda: history(host, "howdah_clients", "1m"), what="a second before the work")
        with host.connect() as c:
            cursor = psycopg.ClientCursor(c)
            stop = time.monotonic() + 4
            done = 0
            while time.monotonic() < stop:
                cursor.execute("SELECT name FROM item WHERE id = %s", (done % 1000,))
                done += 1

        def whole():
            """Everything up to a second in which nothing was done any more."""
            rows = history(host, "howdah_statements_total", "1m")
            return len(rows) > 2 and float(rows[-1]["value"]) == 0 and rows

        rows = wait_for(whole, what="a second without work")
        equal({r["series"] for r in rows}, {"howdah_statements_total{database=shop}"})
        equal({r["unit"] for r in rows}, {"1/s"})
        # The rates of the seconds add up to what was done; not all seconds are looked at after just a second.
        total = sum(float(r["value"]) for r in rows)
        assert done * 0.7 < total < done * 1.3, (done, rows)
        assert all(v >= 0 for v in values(host, "howdah_statement_seconds_p95", "1m"))
        equal({r["unit"] for r in history(host, "howdah_statement_seconds_p95", "1m")}, {"s"})
        assert max(values(host, "howdah_clients", "1m")) >= 1


@test("several series in one question, by name or by part of a name")
def together():
    with Host(pg, configured()) as host:
        with host.connect() as c:
            c.execute("SELECT 1")
            wait_for(lambda: history(host, "howdah_clients", "1m"), what="a first second")
            both = history(host, "howdah_servers_idle", "howdah_clients", "1m", "STEP", "5s")
            equal([r["series"] for r in both if r["series"] not in ("howdah_clients", "howdah_servers_idle")], [])
            apart = history(host, "howdah_servers_idle", "1m", "STEP", "5s") + history(host, "howdah_clients", "1m", "STEP", "5s")
            seen = {(r["series"], r["time"]) for r in both}
            assert seen and seen <= {(r["series"], r["time"]) for r in apart}, (both, apart)
            of_all = lambda: {r["series"] for r in host.console("SHOW SERIES") if re.match("howdah_(servers_|clients)", r["series"])}
            before, names = of_all(), {r["series"] for r in host.console("SHOW SERIES howdah_servers_ howdah_clients")}
            assert before and before <= names <= of_all(), (before, names)  # some may come meanwhile
        for wrong in ("howdah_clients", "howdah_clients howdah_pools", "howdah_clients 1m STEP", "a " * 33 + "1m"):
            with expect_error(match="usage: SHOW HISTORY"):
                history(host, wrong)


@test("percentiles of a second are within 1 % of what clients were given")
def percentiles():
    """The sleeps dominate: the server takes as long as it is told, and what comes on top is counted with them."""
    with Host(pg, configured()) as host:
        with host.connect() as c:
            cursor = psycopg.ClientCursor(c)
            cursor.execute("SELECT 1")
            for _ in range(12):
                cursor.execute("SELECT pg_sleep(0.2)")
        top = host.console("SHOW TEMPLATES TOP 1")[0]
        assert "pg_sleep" in top["statement"], top
        equal(int(top["calls"]), 12)
        low, high = float(top["p50_ms"]), float(top["p99_ms"])
        assert 198 <= low <= high <= float(top["max_ms"]) * 1.01, top
        longest = lambda: max((float(r["max"]) for r in history(host, "howdah_statement_seconds_p99", "1m")), default=0)
        found = wait_for(lambda: longest() >= 0.198 and longest(), what="a second with what takes long")
        assert found <= float(top["max_ms"]) / 1000 * 1.011, (found, top)


@test("templates are told apart by user, with their SQLSTATEs and times")
def templates():
    with Host(pg, configured()) as host:
        for user, secret, n in (("app", "secret", 7), ("other", "other-secret", 3)):
            with host.connect(user=user, password=secret) as c:
                for _ in range(n):
                    psycopg.ClientCursor(c).execute("SELECT 1 + 1 AS told_apart")
                for _ in range(2):
                    with expect_error("22012"):
                        psycopg.ClientCursor(c).execute("SELECT 1 / 0 AS told_apart")
        rows = [r for r in host.console("SHOW TEMPLATES ORDER BY calls") if "told_apart" in r["statement"]]
        sums = {(r["user"], r["sqlstates"]): int(r["calls"]) for r in rows}
        equal(sums, {("app", None): 7, ("app", "22012=2"): 2, ("other", None): 3, ("other", "22012=2"): 2})
        for r in rows:
            mean, queue, server, first = (float(r[k]) for k in ("mean_ms", "queue_ms", "server_ms", "first_ms"))
            assert 0 < server <= mean and 0 <= queue < mean and 0 < first <= mean + 0.001, r
        with expect_error(match="usage"):
            host.console("SHOW TEMPLATES TOP none")
        # The same statement is one row of SHOW STATEMENTS, whoever ran it.
        [row] = [r for r in host.console("SHOW STATEMENTS") if r["statement"] == "select $1 + $2 as told_apart"]
        equal(int(row["calls"]), 10)


@test("the costliest templates are metrics, a bounded number of them, and all others are one")
def top():
    with Host(pg, configured(template_interval="1s", top=3)) as host:
        with host.connect() as c:
            cursor = psycopg.ClientCursor(c)

            def names():
                rows = host.console("SHOW METRICS howdah_template_calls_total")
                return {r["labels"]: float(r["value"]) for r in rows}

            for round_ in range(3):
                for i in range(12):
                    cursor.execute("SELECT %d AS c%d, pg_sleep(0.00%d)" % (i, i + 20 * round_, i % 5))
                assert len(names()) <= 4, names()
            wait_for(lambda: len(names()) == 4, what="three templates and the others")
            others = lambda: next(v for k, v in names().items() if "fingerprint=other" in k)
            before, cheap = others(), itertools.count()

            def counted():
                """One more cheap statement. The odd one may take so long that it has a place among the costliest."""
                cursor.execute("SELECT 1 AS cheap_%d" % next(cheap))
                return others() > before

            wait_for(counted, what="cheap ones being counted with the others")
            equal(len(names()), 4)
            equal(len(host.console("SHOW METRICS howdah_template_p95_seconds")), 3)
            equal(float(host.console("SHOW METRICS howdah_top_templates")[0]["value"]), 3)
            # Who stays the costliest stays, whatever else runs.
            def costly():
                for i in range(3):
                    cursor.execute("SELECT pg_sleep(0.1) AS costly_%d" % i)
                found = {r["fingerprint"] for r in host.console("SHOW TEMPLATES") if "costly" in r["statement"]}
                return len(found) == 3 and all(any(f in name for name in names()) for f in found)

            wait_for(costly, what="three others that cost more")
            kept, before = set(names()), others()
            costly()
            wait_for(counted, what="another gathering")
            equal(set(names()), kept)


@test("what has become costlier takes the place of what has not run for long")
def other_costliest():
    with Host(pg, configured(template_interval="1s", top=2)) as host:
        with host.connect() as c:

            def names():
                rows = host.console("SHOW METRICS howdah_template_calls_total")
                shown = {r["fingerprint"]: r["statement"] for r in host.console("SHOW TEMPLATES")}
                found = [r["labels"].split("fingerprint=")[1].split(",")[0] for r in rows]
                return sorted(shown[f].split()[-1] for f in found if f != "other")

            def run(*marks):
                for mark in marks:
                    c.execute("SELECT pg_sleep(0.01) AS %s" % mark)
                return names()

            wait_for(lambda: run("early", "earlier") == ["earlier", "early"], what="the first two")
            # There are fewer templates than 2 × top, so that none goes by its place alone.
            wait_for(lambda: run("late") == ["earlier", "late"] or run("late") == ["early", "late"], what="one that takes a place")
            wait_for(lambda: run("late", "later") == ["late", "later"], what="two others")


@test("the history goes on after kill -9, and what was written is there")
def killed():
    path = new_history()
    host = Host(pg, configured(path))
    wait_for(lambda: len(values(host, "howdah_clients", "5m")) >= 3, what="three samples")
    before = history(host, "howdah_clients", "5m")
    host.kill()
    equal(sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    with Host(pg, configured(path)) as host:
        after = history(host, "howdah_clients", "5m")
        equal(after[: len(before)], before)
        wait_for(lambda: len(history(host, "howdah_clients", "5m")) > len(before), what="a sample after it")


def fill(path, series, now):
    """A week of minutes and thirteen months of hours, as the host would have written them."""
    with sqlite3.connect(path) as db:
        [(number,)] = db.execute("SELECT id FROM series WHERE key = ?", (series,)).fetchall()
        hour = now - now % 3600
        for start in range(hour - 7 * 86400 + 3600, hour, 3600):
            block = b"".join(struct.pack("3f", m, m - 1, m + 1) for m in range(60))
            db.execute("INSERT OR REPLACE INTO block VALUES (1, ?, ?, ?)", (number, start, block))
        day = now - now % 86400
        for start in range(day - 390 * 86400, day, 86400):
            block = b"".join(struct.pack("3f", h, h - 1, h + 1) for h in range(24))
            db.execute("INSERT OR REPLACE INTO block VALUES (2, ?, ?, ?)", (number, start, block))
    db.close()


@test("ranges from minutes to thirteen months, with steps")
def ranges():
    path = new_history()
    with Host(pg, configured(path)) as host:
        wait_for(lambda: values(host, "howdah_clients", "5m"), what="a sample")
        host.stop()
        fill(path, "howdah_clients", int(time.time()))
        host.start()
        week = history(host, "howdah_clients", "6d", "STEP", "30m")
        assert len(week) >= 6 * 48 - 4, len(week)
        equal({(r["value"], r["min"], r["max"]) for r in week[1:-3]}, {(14.5, -1.0, 30.0), (44.5, 29.0, 60.0)})
        minutes = history(host, "howdah_clients", "3h", "STEP", "1m")
        assert len(minutes) > 100 and {float(r["value"]) for r in minutes} >= set(range(60)), minutes
        year = history(host, "howdah_clients", "13mo", "STEP", "1d")
        assert len(year) > 380, len(year)
        equal({r["value"] for r in year[1:-10]}, {11.5})
        for bad in ("howdah_clients", "howdah_clients 5", "howdah_clients 5m STEP", "howdah_clients 5m STEP x"):
            with expect_error(match="usage"):
                history(host, bad)
        equal(history(host, "no_such_series", "5m"), [])


@test("hours are made of minutes, also those of a host that was killed")
def hours():
    path, began = new_history(), int(time.time())
    host = Host(pg, configured(path))
    wait_for(lambda: values(host, "howdah_clients", "5m"), what="a sample")
    host.kill()
    now = int(time.time())
    fill(path, "howdah_clients", now)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM block WHERE grain = 2")
        db.execute("PRAGMA user_version = 0")
    db.close()
    with Host(pg, configured(path)) as host:
        rows = wait_for(lambda: history(host, "howdah_clients", "8d", "STEP", "1h"), what="hours")
        rows = [r for r in rows if r["time"].timestamp() < began - began % 3600]  # not those with seconds of this host
        assert len(rows) > 160, len(rows)
        equal({(r["value"], r["min"], r["max"]) for r in rows}, {(29.5, -1.0, 60.0)})


@test("a file that is no database is put aside, and one that cannot be made stops nothing")
def damaged():
    path = new_history()
    with open(path, "wb") as f:
        f.write(b"this is no database " * 1000)
    with Host(pg, configured(path)) as host:
        wait_for(lambda: values(host, "howdah_clients", "5m"), what="a sample in a new file")
        assert os.path.exists(path + ".damaged")
        equal(os.stat(path).st_mode & 0o777, 0o600)
    with Host(pg, configured("/nowhere/at/all/history.db")) as host:
        host.wait_log("the history is not written")
        with host.connect() as c:
            equal(c.execute("SELECT 1").fetchone(), (1,))
        with expect_error(match="/nowhere"):
            history(host, "howdah_clients", "5m")
        [row] = host.console("SHOW METRICS howdah_history_up")
        equal(float(row["value"]), 0)
    result = Host(pg, configured("relative/path"), start=False).run("-t")
    assert result.returncode != 0 and "history must be a path" in result.stderr + result.stdout, result


@test("the file keeps to its bound, and the newest stays")
def bounded():
    path = new_history()
    with Host(pg, configured(path, history_size="1M")) as host:
        wait_for(lambda: values(host, "howdah_clients", "5m"), what="a sample")
        host.stop()
        fill(path, "howdah_clients", int(time.time()))
        host.start()
        size = lambda: float(host.console("SHOW METRICS howdah_history_bytes")[0]["value"])
        wait_for(lambda: size() > 0, what="the size")
        # Further series until the bound is met.
        with host.connect() as c:
            for i in range(30):
                psycopg.ClientCursor(c).execute("SELECT %d AS x%d" % (i, i))
        first = len(history(host, "howdah_clients", "1m"))
        wait_for(lambda: len(history(host, "howdah_clients", "1m")) > first + 2, what="new samples")
        assert size() <= 1 << 20, size()


@test("series past max_series are left out and counted")
def series_bound():
    with Host(pg, configured(max_series=10)) as host:
        out = lambda: float(host.console("SHOW METRICS howdah_history_metrics_left_out")[0]["value"])
        wait_for(lambda: out() > 10, what="metrics left out")
        equal(len(host.console("SHOW SERIES")), 10)


@test("without statements there is all but templates; switched off and on it goes on")
def alone():
    path = new_history()
    conf = configured(path)
    conf["plugin statements"] = {"enabled": "no"}
    with Host(pg, conf) as host:
        host.wait_log("no templates")
        with expect_error(match="statements does not run"):
            host.console("SHOW TEMPLATES")
        wait_for(lambda: values(host, "howdah_clients", "5m"), what="a sample")
        host.switch("monitor", "disable")

        def refused():  # once it has stopped
            try:
                history(host, "howdah_clients", "5m")
            except psycopg.Error:
                return True

        wait_for(refused, what="nobody knows a history")
        host.switch("monitor", "enable")
        wait_for(lambda: values(host, "howdah_clients", "5m"), what="a sample after it")


def slow(host, *words):
    return host.console("SHOW SLOW " + " ".join(words))


@test("slow statements are recorded, by a threshold or by their own past, without values")
def slow_statements():
    keys = {"slow_threshold": "1500ms", "slow_factor": 5, "slow_floor": "800ms", "slow_rate": 0, "slow_keep": 3}
    with Host(pg, configured(**keys)) as host:
        with host.connect(application_name="sleeper") as c:
            cursor = psycopg.ClientCursor(c)
            began = time.monotonic()
            cursor.execute("SELECT pg_sleep(0.1), 'my-secret'")
            usual_ms = 1000 * (time.monotonic() - began)
            equal(slow(host), [])
            cursor.execute("SELECT pg_sleep(1.55), 'my-secret'")
            [row] = slow(host)
            equal((row["user"], row["database"], row["application"], row["node"], row["rows"], row["sqlstate"]),
                  ("app", "shop", "sleeper", "main", 1, "00000"))
            assert row["total_ms"] >= 1550 and 100 <= row["usual_ms"] <= usual_ms, (row, usual_ms)
            equal(row["statement"], "select pg_sleep($1), $2")
            # Often fast, then slow for what it is.
            for _ in range(25):
                cursor.execute("SELECT name, pg_sleep(0.001) FROM item WHERE id = 1")
            cursor.execute("SELECT name, pg_sleep(0.9) FROM item WHERE id = 1")
            row = slow(host, "TOP", "1")[0]
            assert "from item" in row["statement"] and row["total_ms"] > 5 * row["usual_ms"], row
            for _ in range(3):
                cursor.execute("SELECT pg_sleep(1.51)")
            equal([r["number"] for r in slow(host)], [5, 4, 3])
            equal(float(host.console("SHOW METRICS howdah_slow_statements_total")[0]["value"]), 5)
        assert "my-secret" not in str(slow(host)) + host.log_text()
        host.console("SLOW RESET")
        equal(slow(host), [])


@test("slow ones that end together are recorded, as many as slow_rate; a template without a past of its own has none")
def slow_together():
    keys = {"slow_threshold": "1500ms", "slow_rate": 3, "slow_factor": 5, "slow_floor": "800ms"}
    conf = configured(**keys)
    conf["plugin statements"]["max_templates"] = 1
    with Host(pg, conf) as host, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(host.connect()) for _ in range(6)]
        for _ in range(30):
            clients[0].execute("SELECT 1")  # the only template that is known by itself
        for i in range(30):
            clients[0].execute("SELECT 1 AS past_the_bound_%d" % i)
        holder = stack.enter_context(pg.connect())
        holder.execute("SELECT pg_advisory_lock(5)")
        threads = [threading.Thread(target=c.execute, args=("SELECT pg_advisory_lock_shared(5)",)) for c in clients]
        for t in threads:
            t.start()
        wait_for(lambda: pg.backends("wait_event_type = 'Lock'") == 6, what="six who wait")
        time.sleep(1.6)  # what is slow takes time
        holder.execute("SELECT pg_advisory_unlock(5)")
        for t in threads:
            t.join()
        rows = slow(host)
        equal(float(host.console("SHOW METRICS howdah_slow_statements_total")[0]["value"]), 6)
        assert 3 <= len(rows) <= 6, rows
        for r in rows:
            assert "pg_advisory_lock_shared" in r["statement"] and int(r["fingerprint"], 16), r
        # All that is past the bound together is no past of any of it.
        clients[0].execute("SELECT 1, pg_sleep(0.9)")
        assert not any("pg_sleep" in r["statement"] for r in slow(host)), slow(host)
        with expect_error(match="usage"):
            host.console("SHOW SLOW TOP 5x")
        with expect_error(match="no slow statement"):
            host.console("SHOW SLOW PLAN 1x")


@test("a slow statement's plan is its generic one, as its user, and nothing is run")
def plans():
    keys = {"slow_threshold": "50ms", "slow_rate": 0}
    conf = {**configured(**keys), "node main": {"control_user": "postgres"}}
    with pg.connect(user="app", password="secret") as c:
        c.execute("CREATE TABLE called (n int)")
        c.execute("CREATE FUNCTION slowly(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS"
                  " $$BEGIN PERFORM pg_sleep(0.1); INSERT INTO called VALUES (i); RETURN i; END$$")
    with Host(pg, conf) as host:
        with host.connect() as c:
            psycopg.ClientCursor(c).execute("SELECT slowly(1), name FROM item WHERE id = 7")
            c.execute("UPDATE item SET name = 'x' WHERE id = %s AND slowly(2) = 2", (8,))
            psycopg.ClientCursor(c).execute("CREATE TABLE other AS SELECT pg_sleep(0.1)::text")
        rows = {r["statement"][:6]: r["number"] for r in slow(host)}
        plan = "\n".join(r["plan"] for r in host.console("SHOW SLOW PLAN %d" % rows["select"]))
        assert "Index Scan using item_pkey on" in plan and "(id = $2)" in plan, plan
        plan = "\n".join(r["plan"] for r in host.console("SHOW SLOW PLAN %d" % rows["update"]))
        assert "Update on" in plan, plan
        with expect_error(match="has a plan"):
            host.console("SHOW SLOW PLAN %d" % rows["create"])
        with expect_error(match="no slow statement"):
            host.console("SHOW SLOW PLAN 999")
        # Called once each, by the statements themselves.
        equal(pg.execute("SELECT n FROM called ORDER BY n"), [(1,), (2,)])
        # A role that may not read the table gets no plan.
        with host.connect() as c:
            psycopg.ClientCursor(c).execute("SELECT count(*), pg_sleep(0.1) FROM item")
        pg.execute("ALTER TABLE item OWNER TO postgres")
        with expect_error(match="permission denied"):
            host.console("SHOW SLOW PLAN %d" % slow(host, "TOP", "1")[0]["number"])
        pg.execute("ALTER TABLE item OWNER TO app")


def report(host, *words):
    [row] = host.console("REPORT " + " ".join(words))
    return row["report"]


@test("a report tells what came, and how that differs from before")
def reports():
    path = new_history()
    with Host(pg, configured(path, template_interval="1s")) as host:
        with host.connect() as c:
            cursor = psycopg.ClientCursor(c)
            cursor.execute("SELECT 1")
            members = lambda: float(host.console("SHOW METRICS howdah_top_templates")[0]["value"])
            wait_for(lambda: members() >= 1, what="the first gathering")

            def told(kind="HOURLY"):
                return json.loads(report(host, kind, "JSON"))

            for _ in range(30):
                cursor.execute("SELECT name AS reported FROM item WHERE id = 5 AND '<b>' <> 'x'")
            with expect_error("22012"):
                cursor.execute("SELECT 1 / 0 AS reported")
            c.execute("CREATE TABLE made_for_a_report ()")

            def whole():
                r = told()
                heard = any(e["topic"] == "ddl.observed" for e in r["events"])
                return heard and r["now"]["errors"] >= 1 and r["now"]["calls"] >= 33 and r

            now = wait_for(whole, what="the calls, and what the bus says of them")
            [one] = [t for t in now["slowest"] if "reported from item" in t["statement"]]
            equal((one["now"]["calls"], one["user"], one["database"]), (30, "app", "shop"))
            assert 0 < one["now"]["p50_ms"] <= one["now"]["p95_ms"] <= one["now"]["p99_ms"], one
            equal(now["before"]["calls"], 0)
            assert any(e["topic"] == "ddl.observed" and e["text"] == "CREATE TABLE" for e in now["events"]), now["events"]
            clients = lambda: any(s["series"].startswith("howdah_clients") and s["points"] for s in told("REALTIME")["series"])
            wait_for(clients, what="the clients' course")
        # The hour before, in which the same took a third of the time: a regression now.
        host.stop()
        with sqlite3.connect(path) as db:
            hour = int(time.time()) // 3600 * 3600
            db.execute("INSERT INTO template SELECT grain, start - 3600, fingerprint, db, user, calls, errors, answered, rows,"
                       " bytes, total / 3, queue, server / 3, longest, ?1 FROM template WHERE grain = 1 AND calls >= 20",
                       (struct.pack("IIQ", 64, 0, 30),))
        db.close()
        host.start()
        then = json.loads(report(host, "HOURLY", "JSON"))
        [worse] = [t for t in then["regressions"] if "reported from item" in t["statement"]]
        assert worse["p95_change_percent"] > 50 and worse["before"]["calls"] == 30, worse
        equal(then["before"]["calls"], 30)
        text = report(host, "HOURLY")
        assert "reported from item" in text and "Regressions" in text, text
        page = report(host, "DAILY", "HTML")
        assert page.startswith("<!doctype html>") and "&lt;&gt;" in page and "reported from item" in page, page[:3000]
        assert "<script" not in page and "http" not in page.replace("http://www.w3.org", ""), page
        for kind in ("REALTIME", "WEEKLY"):
            assert report(host, kind, "TEXT") and report(host, kind, "HTML")
        for bad in ("", "YEARLY", "DAILY PDF", "DAILY HTML now"):
            with expect_error(match="usage"):
                report(host, bad)


@test("the day's report is written at its time")
def daily():
    folder = temp_dir()
    at = time.localtime(time.time() + 1)
    keys = {"report_folder": folder, "report_time": time.strftime("%H:%M", at)}
    with Host(pg, configured(**keys)) as host:
        names = lambda: sorted(n.split(".")[-1] for n in os.listdir(folder) if n.startswith("daily-"))
        wait_for(lambda: names() == ["html", "json", "txt"], what="three files", timeout=70)
        host.wait_log("the day's report was written")
    result = Host(pg, configured(report_time="25:00"), start=False).run("-t")
    assert result.returncode != 0 and "report_time must be HH:MM" in result.stderr + result.stdout, result


def pool_metrics(host, **labels):
    """The pool's metrics by name, without what the plugin makes of them."""
    wanted = ",".join("%s=%s" % item for item in sorted(labels.items()))
    rows = host.console("SHOW METRICS howdah_pool_")
    return {r["name"]: float(r["value"]) for r in rows if r["labels"] == wanted}


class Queue:
    """Clients in threads of their own, who each want a server connection for one transaction."""

    def __init__(self, host, count):
        self.clients = [host.connect() for _ in range(count)]
        self.go = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(c,)) for c in self.clients]
        for t in self.threads:
            t.start()

    def _run(self, c):
        with c.transaction():
            c.execute("SELECT 1")
            self.go.wait()

    def end(self):
        self.go.set()
        for t in self.threads:
            t.join()
        for c in self.clients:
            c.close()


@test("five clients of a pool of two: what is told of it is what SHOW POOLS says")
def pools():
    port = free_port()
    changes = {"database *": {"pool_size": 2}, "http": {"listen": "127.0.0.1:%d" % port}, **configured()}
    labels = {"database": "shop", "node": "main", "user": "app"}
    with Host(pg, changes) as host:
        queue = Queue(host, 5)
        try:
            # Clients are on their way, and what workers tell now and then is of a moment before.
            def settled():
                [row] = host.console("SHOW POOLS")
                m = pool_metrics(host, **labels)
                told = (m.get("howdah_pool_busy"), m.get("howdah_pool_waiting"))
                return (row["busy"], row["waiting"]) == told == (2, 3) and (row, m)

            row, m = wait_for(settled, what="three who wait")
            for column, metric in (("pool_size", "limit"), ("busy", "busy"), ("idle", "idle"), ("waiting", "waiting")):
                equal(m["howdah_pool_" + metric], float(row[column]))
            before = float(host.console("SHOW POOLS")[0]["longest_wait"])
            told = wait_for(lambda: (lambda s: s >= before and s)(pool_metrics(host, **labels)["howdah_pool_longest_wait_seconds"]), what="the wait's length")
            assert told <= float(host.console("SHOW POOLS")[0]["longest_wait"]), told
            use = lambda: host.console("SHOW POOL USE")
            full = wait_for(lambda: (lambda r: r and (r[0]["busy"], r[0]["waiting"]) == (2, 3) and r[0])(use()), what="the plugin seeing it")
            equal(
                [full[k] for k in ("database", "user", "node", "limit", "busy", "idle", "waiting", "use_percent", "full_in")],
                ["shop", "app", "main", 2, 2, 0, 3, 100.0, 0.0],
            )
            with urllib.request.urlopen("http://127.0.0.1:%d/api/v1/pool/use" % port, timeout=10) as answer:
                [over_http] = json.load(answer)["rows"]
            equal([over_http[k] for k in ("limit", "busy", "waiting", "use_percent")], [2, 2, 3, 100.0])
            wait_for(lambda: 100.0 in values(host, "howdah_pool_use_percent", "1m"), what="it being in the history")
            equal({r["unit"] for r in history(host, "howdah_pool_use_percent", "1m")}, {"%"})
        finally:
            queue.end()
        free = wait_for(lambda: (lambda r: r["busy"] == 0 and r)(use()[0]), what="the pool being free")
        # The first connections of a pool are waited for, too: what SHOW STATS has counted is what is told.
        [stats] = host.console("SHOW STATS")
        equal(free["waits"], stats["waits"])
        assert free["waits"] >= 3 and abs(free["wait_seconds"] - float(stats["wait_seconds"])) < 1e-6, (free, stats)
        equal((free["idle"], free["waiting"], free["longest_wait"], free["use_percent"], free["full_in"]), (2, 0, 0.0, 0.0, None))
        with expect_error(match="takes no arguments"):
            host.console("SHOW POOL USE now")
        [told] = json.loads(report(host, "REALTIME", "JSON"))["pools"]
        equal((told["pool"], told["limit"], told["most_percent"]), ("database=shop,node=main,user=app", 2, 100))
        assert 0 < told["use_percent"] < 100 and told["longest_wait"] > 0, told
        assert "Pools" in report(host, "REALTIME") and "<h2>Pools</h2>" in report(host, "REALTIME", "HTML")


@test("pools past pool_metrics are told of together, and what has ended is dropped")
def other_pools():
    with Host(pg, {"host": {"pool_metrics": 1}, "database *": {"pool_size": 2, "server_idle_timeout": "1s"}, **configured()}) as host:
        names = lambda: {r["labels"] for r in host.console("SHOW METRICS howdah_pool_limit")}
        own, others = "database=shop,node=main,user=app", "database=other,node=other,user=other"
        with host.connect() as first:
            first.execute("SELECT 1")
            with host.connect(user="other", password="other-secret") as second, second.transaction():
                second.execute("SELECT 1")
                equal(names(), {own, others})
                wait_for(lambda: pool_metrics(host, database="other", node="other", user="other").get("howdah_pool_busy") == 1, what="the other's use")
                equal(float(host.console("SHOW METRICS howdah_pools_other")[0]["value"]), 1)
                equal(pool_metrics(host, database="other", node="other", user="other")["howdah_pool_limit"], 2)
            wait_for(lambda: names() == {own}, what="the end of the other pool")
            equal(float(host.console("SHOW METRICS howdah_pools_other")[0]["value"]), 0)
        wait_for(lambda: names() == set(), what="the end of the first")
        wait_for(lambda: host.console("SHOW POOL USE") == [], what="the plugin forgetting them")


@test("the limit is the least of those that the pool counts in; growing use says when it is reached")
def growing_pool():
    changes = {"database *": {"pool_size": 60, "max_servers": 50}, **configured()}
    labels = {"database": "shop", "node": "main", "user": "app"}
    with Host(pg, changes) as host, contextlib.ExitStack() as clients:
        row = None

        def grown():
            """One more transaction that stays open, until the plugin can tell where that leads."""
            nonlocal row
            c = clients.enter_context(host.connect())
            clients.enter_context(c.transaction())
            c.execute("SELECT 1")

            def looked():
                [now] = host.console("SHOW POOL USE") or [None]
                return now and now["busy"] > (row["busy"] if row else 0) and now

            row = wait_for(looked, what="the plugin seeing it")
            return row["full_in"] is not None

        while not grown():
            assert row["busy"] < 49, row  # the host looks each second, so that there have been 45 of them
        equal((row["limit"], row["waiting"]), (50, 0))
        assert row["change_per_minute"] > 0, row
        assert 0 <= row["full_in"] <= 60 * 50 / row["change_per_minute"], row
        ahead = wait_for(lambda: pool_metrics(host, **labels).get("howdah_pool_full_in_seconds"), what="its metric")
        assert 0 < ahead < 3600, ahead


main()
