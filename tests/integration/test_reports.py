"""Reports: sinks that they are sent to, the set time, totals against PostgreSQL's own, and the span before."""

import contextlib
import email
import email.policy
import json
import math
import os
import re
import sqlite3
import struct
import subprocess
import threading
import time

import aiosmtpd.controller
import psycopg

from alertworld import FAST, Receiver
from harness import Host, Postgres, equal, expect_error, free_port, main, merge, temp_dir, test, wait_for
from httphost import ask, post, served

pg = Postgres({"shared_preload_libraries": "pg_stat_statements"})
pg.execute("CREATE EXTENSION pg_stat_statements")
with pg.connect(user="app", password="secret") as _c:
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 100) g")


def configured(**keys):
    """statements and monitor with a history of its own; no questions to the server, which its counts would show."""
    monitor = {"enabled": "yes", "history": os.path.join(temp_dir(), "history.db"), "flush_interval": "1s", "collect": "no", **keys}
    return {"plugin statements": {"enabled": "yes"}, "plugin monitor": monitor}


def with_sinks(sinks, sections, **keys):
    plugins = {"plugin alert-" + name: {"enabled": "yes"} for name in sinks.split(", ")}
    return merge(configured(**keys), {"plugin alerts": {**FAST, "sinks": sinks}, **plugins, **sections})


def report(host, *words):
    [row] = host.console("REPORT " + " ".join(words))
    return row["report"]


def figures(host, kind):
    return json.loads(report(host, kind, "JSON"))


def work(host, times=10):
    with host.connect() as c:
        cursor = psycopg.ClientCursor(c)
        for i in range(times):
            cursor.execute("SELECT name AS worked FROM item WHERE id = %s AND '<b>' <> ''", (i,))


class Mailbox:
    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@contextlib.contextmanager
def mail_server(box):
    controller = aiosmtpd.controller.Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield {"server": "127.0.0.1:%d" % controller.port, "tls": "none", "from": "h@example.org", "to": "a@example.org"}
    finally:
        controller.stop()


def program(folder):
    """One that keeps what it reads."""
    path = folder + "/take"
    with open(path, "w") as f:
        f.write('#!/bin/sh\ncat > "$1/in.new"; mv "$1/in.new" "$1/in"\n')
    os.chmod(path, 0o755)
    return {"command": path, "args": folder}


def health(host, part):
    parts = [c for c in json.loads(ask(host, "/health")[2])["components"] if c["name"] == "monitor: " + part]
    return parts[0] if parts else None


@test("a report is sent when it is asked for: to a mailbox, a webhook, a chat, a program and the log")
def send():
    box, folder = Mailbox(), temp_dir()
    with contextlib.ExitStack() as stack:
        hook, chat, pager = (stack.enter_context(Receiver()) for _ in range(3))
        sections = {
            "webhook a": {"url": hook.url},
            "webhook chat": {"url": chat.url, "format": "slack"},
            "webhook pager": {"url": pager.url, "format": "pagerduty", "key": "k"},
            "smtp a": stack.enter_context(mail_server(box)),
            "exec a": program(folder),
        }
        host = stack.enter_context(Host(pg, with_sinks("webhook, smtp, exec, log", sections)))
        work(host)
        with expect_error(match="names no sink"):
            host.console("REPORT SEND HOURLY")
        for bad in ("", "YEARLY", "HOURLY TO", "HOURLY AT log", "HOURLY TO log now"):
            with expect_error(match="usage"):
                host.console("REPORT SEND " + bad)
        with expect_error(match="no target is called"):
            host.console("REPORT SEND HOURLY TO nobody")
        [row] = host.console("REPORT SEND HOURLY TO 'log,smtp,exec:a,webhook'")
        equal((row["sinks"], row["targets"]), ("log,smtp,exec:a,webhook", 6))
        assert row["report"].startswith("hourly report: 10 statements"), row

        [message] = hook.wait(1)
        equal((message["state"], message["severity"], message["alerts"], message["title"]), ("message", "info", [], row["report"]))
        equal((message["figures"]["report"], message["figures"]["now"]["calls"]), ("hourly", 10))
        assert "Statements" in message["text"] and "p50/p95/p99" in message["text"] and len(message["text"]) < 2000, message["text"]
        assert "page" not in message and "body" not in message, list(message)
        [message] = chat.wait(1)
        equal(message["text"], row["report"])
        assert "worked" in message["attachments"][0]["text"], message

        mail = wait_for(lambda: box.mails and box.mails[0], what="a mail")
        assert row["report"] in mail["Subject"], mail["Subject"]
        text = mail.get_body(("plain",)).get_content()
        assert "Statements that took the most time" in text and "select name as worked" in text.lower(), text
        [page] = mail.iter_attachments()
        equal((page.get_content_type(), page.get_filename()), ("text/html", "report.html"))
        page = page.get_content()
        assert page.startswith("<!doctype html>") and "&lt;&gt;" in page and page.rstrip().endswith("</html>"), page[:500]

        wait_for(lambda: os.path.exists(folder + "/in"), what="the program has run")
        with open(folder + "/in") as f:
            message = json.load(f)
        equal((message["title"], message["page"], message["figures"]["now"]["calls"]), (row["report"], page, 10))
        assert "Statements that took the most time" in message["body"], message["body"]
        host.wait_log('msg="hourly report: 10 statements')
        sent = {s["target"]: s["sent"] for s in wait_for(
            lambda: (lambda r: all(s["sent"] for s in r) and r)(host.console("SHOW ALERT SINKS")), what="all have it")}
        equal(sent, dict.fromkeys(["log", "smtp:a", "exec:a", "webhook:a", "webhook:chat", "webhook:pager"], 1))
        equal(pager.messages(), [])


@test("the day's report goes to the folder and to its sinks at its time, once, also over a restart")
def daily():
    folder = temp_dir()
    with Receiver() as hook, Receiver() as other:
        sections = {"webhook a": {"url": hook.url}, "webhook b": {"url": other.url}}
        due = int(time.time()) // 60 * 60
        conf = with_sinks("webhook", sections, report_folder=folder, report_sinks="webhook:a",
                          report_time=time.strftime("%H:%M", time.localtime(due)))  # fmt: skip
        with Host(pg, conf) as host:
            host.wait_log("the day's report was sent.*sinks=webhook:a", timeout=70)
            [message] = hook.wait(1)
            equal((message["state"], message["figures"]["report"]), ("message", "daily"))
            [name] = [n for n in os.listdir(folder) if n.endswith(".json")]
            with open(os.path.join(folder, name)) as f:
                equal(json.load(f)["now"], message["figures"]["now"])
            assert due <= message["figures"]["to"] <= time.time() + 60, message["figures"]
            for n in os.listdir(folder):
                os.unlink(os.path.join(folder, n))
            host.stop()
            host.start()  # perhaps within the same minute
            equal(host.console("REPORT SEND DAILY TO webhook:a")[0]["targets"], 1)
            equal(len(hook.wait(2)), 2)
            equal((len(other.requests), os.listdir(folder)), (0, []))
            # Had the host been away at the time, it would make up for it.
            host.stop()
            with sqlite3.connect(conf["plugin monitor"]["history"]) as db:
                equal(db.execute("DELETE FROM note WHERE key LIKE 'daily%'").rowcount, 2)
            db.close()
            host.start()
            equal([m["figures"]["report"] for m in hook.wait(3)], ["daily"] * 3)
            wait_for(lambda: len(os.listdir(folder)) == 3, what="its files")


@test("sinks that are not there: said at once in the health and the log, and it ends with their coming")
def missing():
    with Receiver() as hook:
        at = time.strftime("%H:%M", time.localtime())
        conf = with_sinks("webhook", {"webhook a": {"url": hook.url}}, report_sinks="webhook:a, mail", report_time=at)
        off = merge(conf, {"plugin alerts": {"enabled": "no"}})
        with served(pg, off) as host:
            def configure(changes):
                host.configure({**changes, "http": {"listen": "127.0.0.1:%d" % host.http_port}})
                equal(host.control("reload").returncode, 0)

            host.wait_log('msg="reports cannot be sent".*howdah.alerts/1')
            host.wait_log('msg="the day\'s report was not sent".*howdah.alerts/1')
            part = health(host, "reports")
            equal((part["state"], part["active"]), ("missing", False))
            with expect_error(match="howdah.alerts/1"):
                host.console("REPORT SEND HOURLY")
            configure(conf)
            wait_for(lambda: "there is no sink mail" in (health(host, "reports")["reason"] or ""), what="another reason")
            configure(merge(conf, {"plugin monitor": {"report_sinks": "webhook:a"}}))
            wait_for(lambda: health(host, "reports")["state"] == "ready", what="it can be sent")
            equal([m["figures"]["report"] for m in hook.wait(1)], ["daily"])  # which has waited
            host.console("REPORT SEND HOURLY")
            hook.wait(2)
            status, _, body = post(host, "/api/v1/report/send", json.dumps({"args": ["realtime", "to", "webhook"]}))
            equal((status, json.loads(body)["rows"][0]["sinks"]), (200, "webhook"))
            equal(hook.wait(3)[2]["figures"]["report"], "realtime")
            equal(ask(host, "/api/v1/report/send?arg=hourly")[0], 405)
            # Whoever sends now and then keeps nobody from stopping.
            host.console("PLUGIN alerts DISABLE")
            with expect_error(match="howdah.alerts/1"):
                host.console("REPORT SEND HOURLY")
            host.console("PLUGIN alerts ENABLE")
            host.console("REPORT SEND HOURLY")
            equal([m["figures"]["report"] for m in hook.wait(4)], ["daily", "hourly", "realtime", "hourly"])
            configure(merge(conf, {"plugin monitor": {"report_sinks": ""}}))
            wait_for(lambda: health(host, "reports") is None, what="nothing is said any more")
        result = Host(pg, configured(history="", report_sinks="log"), start=False).run("-t")
        assert result.returncode and "need a history" in result.stderr + result.stdout, result


# --- totals -----------------------------------------------------------------------------------------------------

KINDS = ("REALTIME", "HOURLY", "DAILY", "WEEKLY")


def pgbench(host, script, *options):
    """Runs it as app, through the host; how many transactions it says that it has made."""
    path = os.path.join(temp_dir(), "script.sql")
    with open(path, "w") as f:
        f.write(script)
    run = [os.path.join(os.path.dirname(pg.bin("postgres")), "pgbench"), "-n", "-f", path, "-h", "127.0.0.1", "-p", str(host.port), "-U", "app", *options, "shop"]
    out = subprocess.run(run, env={**os.environ, "PGPASSWORD": "secret"}, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"actually processed: (\d+)", out)[1])


def by_server():
    """What pg_stat_statements has counted of app's statements, but for what the host asks on new connections: calls and rows."""
    [row] = pg.execute("SELECT sum(calls)::int8, sum(rows)::int8 FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid"
                       " WHERE rolname = 'app' AND query NOT LIKE '%pg_catalog.%'")
    return row


@test("every period and form tells what pgbench and the server have counted")
def truth():
    script = "\\set i random(1, 100)\nBEGIN;\nSELECT name FROM item WHERE id BETWEEN :i AND :i + 2;\nUPDATE item SET name = 'x' WHERE id = :i;\nEND;\n"
    with Host(pg, configured(collect="yes", collect_scale="0.1")) as host:
        with host.connect() as c:
            psycopg.ClientCursor(c).execute("SELECT 1")
        before = by_server()
        done = pgbench(host, script, "-c", "4", "-t", "250")
        equal(done, 1000)
        failures = 7
        with host.connect() as c:
            for _ in range(failures):
                with expect_error("22012"):
                    psycopg.ClientCursor(c).execute("SELECT id / 0 AS failed FROM item")
        calls, rows = (a - b for a, b in zip(by_server(), before))
        equal(calls, 4 * done)  # what fails is not among its calls
        for kind in KINDS:
            told = figures(host, kind)
            now = told["now"]
            equal((now["calls"], now["errors"], now["rows"]), (1 + calls + failures, failures, 1 + rows), kind)
            equal((told["before"]["calls"], told["change"]["calls_percent"]), (0, None), kind)
            [node] = told["nodes"]
            equal((node["node"], node["calls"], node["errors"], node["p95_ms"]), ("main", now["calls"], failures, now["p95_ms"]), kind)
            by_statement = {t["statement"].split()[0].lower(): t["now"]["calls"] for t in told["slowest"] if "failed" not in t["statement"]}
            equal([by_statement[w] for w in ("begin", "update", "end")], [done] * 3, kind)
            # The latencies add up, and lie in each other's order.
            parts = sum(t["now"]["total_ms"] for t in told["slowest"])
            assert abs(parts - now["total_ms"]) < 0.01 and len(told["slowest"]) <= 10, (kind, parts, now)
            assert 0 < now["p50_ms"] <= now["p95_ms"] <= now["p99_ms"] and now["mean_ms"] * now["calls"] - now["total_ms"] < 10, (kind, now)
            text, page = report(host, kind, "TEXT"), report(host, kind, "HTML")
            for form in (text, page):
                assert str(now["calls"]) in form and "main" in form and "update item" in form.lower(), (kind, form[:3000])
            assert "{0:14d}".format(now["calls"]) in text, text
            assert "The host was there for" in text and told["observed"]["before_percent"] == 0, told["observed"]

        # The server's own counts come by a collector.
        def known():
            [node] = figures(host, "HOURLY")["nodes"]
            return node["commits"] is not None and node["up_percent"] == 100

        wait_for(known, what="the server's counts")


def blocks(db, key, unit, grain, step, slots, samples):
    """Puts samples, {time: (mean, least, most)}, into the history as it keeps them."""
    db.execute("INSERT OR IGNORE INTO series (key, unit) VALUES (?, ?)", (key, unit))
    [number] = db.execute("SELECT id FROM series WHERE key = ?", (key,)).fetchone()
    by_block = {}
    for at, values in samples.items():
        start = at - at % (step * slots)
        by_block.setdefault(start, [math.nan] * (3 * slots))[3 * (at - start) // step : 3 * (at - start) // step + 3] = values
    for start, values in by_block.items():
        db.execute("INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?)", (grain, number, start, struct.pack("%df" % len(values), *values)))


def put_calls(db, at, calls, errors=0):
    """A template's work in one minute, in the rows of minutes and of hours."""
    for grain, start in ((1, at - at % 60), (2, at - at % 3600)):
        bins = struct.pack("IIQ", 1000 if calls < 1000 else 1100, 0, calls)
        db.execute("INSERT INTO template VALUES (?, ?, 4711, 'shop', 'app', ?, ?, 0, ?, 0, ?, 0, ?, 0, ?) ON CONFLICT DO UPDATE SET"
                   " calls = calls + excluded.calls, errors = errors + excluded.errors, total = total + excluded.total",
                   (grain, start, calls, errors, 2 * calls, calls * 1000000, calls * 1000000, bins))  # fmt: skip


@test("the span before: what stands at the edges is counted once, on the right side")
def edges():
    """Each edge has a number of its own; the minute may end meanwhile, and then it is done again."""
    spans = {"REALTIME": (300, 60), "HOURLY": (3600, 60), "DAILY": (86400, 60), "WEEKLY": (7 * 86400, 3600)}
    for kind, (seconds, align) in spans.items():
        while True:
            keys = configured()
            now = int(time.time())
            start = now - now % align + align - seconds
            with Host(pg, keys) as host:
                figures(host, kind)  # the file is there
            with contextlib.closing(sqlite3.connect(keys["plugin monitor"]["history"])) as db, db:
                db.execute("DELETE FROM template")
                db.execute("INSERT INTO text VALUES (4711, 'select made_up', ?)", (now,))
                put_calls(db, start - seconds - align, 100000)  # too old
                put_calls(db, start - seconds, 1)
                put_calls(db, start - align, 20, errors=5)
                put_calls(db, start, 300)
                put_calls(db, now, 4000, errors=10)
            with Host(pg, keys) as host:
                told = figures(host, kind)
            if told["from"] == start:
                break
        equal((told["before"]["calls"], told["before"]["errors"], told["before"]["rows"]), (21, 5, 42), kind)
        equal((told["now"]["calls"], told["now"]["errors"], told["now"]["rows"]), (4300, 10, 8600), kind)
        scale = seconds / (told["to"] - start + 1)
        equal(told["change"]["calls_percent"], round(100 * (4300 * scale - 21) / 21, 3), kind)
        equal(told["change"]["errors_percent"], round(100 * (10 * scale - 5) / 5, 3), kind)
        [one] = told["slowest"]
        equal((one["statement"], one["now"]["calls"], one["before"]["calls"]), ("select made_up", 4300, 21), kind)
        equal([t["statement"] for t in told["regressions"]], ["select made_up"], kind)  # a bin that is 100 higher
        [node] = told["nodes"]
        equal((node["calls"], node["calls_before"], node["errors"]), (4300, 21, 10), kind)


@test("totals of what is sampled as rates: cache, pools, nodes, and a minute in which the host began")
def rates():
    while True:
        keys = configured()
        now = int(time.time())
        minute, start = now - now % 60, now - now % 60 + 60 - 3600
        with Host(pg, keys) as host:
            figures(host, "HOURLY")
        after = list(range(start, minute, 60))
        first = list(range(start - 3600, start, 60))
        with contextlib.closing(sqlite3.connect(keys["plugin monitor"]["history"])) as db, db:
            db.execute("DELETE FROM block")
            db.execute("DELETE FROM event")

            def put(key, unit, rate_before, rate_now):
                samples = {**{t: (rate_before,) * 3 for t in first[30:]}, **{t: (rate_now,) * 3 for t in after}}
                blocks(db, key, unit, 1, 60, 60, samples)

            # There from the middle of the hour before; and in the first minute of this one for ten seconds alone.
            up = {t: (0, 100 + t - start, 159 + t - start) for t in first[30:] + after}
            up[start] = (0, 0, 9)
            blocks(db, "howdah_process_uptime_seconds", "s", 1, 60, 60, up)
            put("howdah_cache_hits_total", "1/s", 1, 3)
            put("howdah_cache_misses_total", "1/s", 1, 1)
            put("howdah_guard_refused_total{rule=r}", "1/s", 0.5, 0.5)
            put("howdah_node_up{node=far}", "1", 1, 0.5)
            pool = "{database=shop,node=far,user=app}"
            put("howdah_pool_use_percent" + pool, "%", 10, 40)
            put("howdah_pool_waits_total" + pool, "1/s", 2, 4)
            put("howdah_pool_wait_seconds_total" + pool, "s/s", 0.5, 0.5)
            put("howdah_pg_commits_total{database=shop,node=far}", "1/s", 10, 20)
            put("howdah_pg_commits_total{database=other,node=far}", "1/s", 1, 1)
            put("howdah_pg_blocks_hit_total{database=shop,node=far}", "1/s", 1, 9)
            put("howdah_pg_blocks_read_total{database=shop,node=far}", "1/s", 1, 1)
            put("howdah_pg_replication_lag_bytes{node=far,standby=s}", "B", 5, 7)
            events = [(start + 5, "node.health", "far", "down: refused"), (start + 9, "node.health", "far", "up"),
                      (start + 20, "alert.raised", "slow", "it is slow"), (start + 30, "alert.cleared", "slow", "it was slow"),
                      (start + 40, "alert.raised", "slow", "it is slow again"), (start + 50, "plugin.state", "guard", "quarantined: failed"),
                      (start - 1, "alert.raised", "slow", "before"), (start - 1, "node.health", "far", "down: before")]  # fmt: skip
            db.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", events)
        with Host(pg, keys) as host:
            told, text, page = (report(host, "HOURLY", form) for form in ("JSON", "TEXT", "HTML"))
        told = json.loads(told)
        if told["from"] == start:
            break
    there = 10 + 60 * (len(after) - 1)
    cache = told["cache"]
    equal((cache["hits"], cache["hits_before"], cache["misses"], cache["misses_before"]), (3 * there, 1800, there, 1800))
    equal((cache["hit_percent"], cache["hit_percent_before"]), (75, 50))
    [guard] = [p for p in told["plugins"] if p["plugin"] == "guard"]
    equal(guard["did"], [{"what": "statements refused", "count": there // 2, "before": 900}])
    equal((guard["changes"], guard["state"]), (1, "quarantined: failed"))
    [far] = [n for n in told["nodes"] if n["node"] == "far"]
    equal((far["up_percent"], far["up_percent_before"], far["downs"]), (50, 100, 1))
    equal((far["commits"], far["commits_before"]), (21 * there, 11 * 1800))
    equal((far["cache_hit_percent"], far["cache_hit_percent_before"], far["replication_lag_bytes"]), (90, 50, 7))
    equal((far["waits"], far["wait_seconds"]), (4 * there, there / 2))
    [used] = told["pools"]
    equal((used["use_percent"], used["use_percent_before"], used["waits"], used["wait_seconds"]), (40, 10, 4 * there, there / 2))
    equal(told["alerts"], [{"rule": "slow", "raised": 2, "cleared": 1, "last": start + 40, "text": "it is slow again"}])
    equal(told["observed"]["before_percent"], 50)
    for form in (text, page):
        for words in ("far", "it is slow again", "statements refused", str(3 * there) + " hits", "50 % of the one before"):
            assert words in form, (words, form)


@test("of two nodes each has the statements of its own databases, and the time that it was down")
def two_nodes():
    second = Postgres()
    second.execute("CREATE DATABASE distant")
    nodes = {"node far": {"conninfo": "host=127.0.0.1 port=%d" % second.port}, "database distant": {"node": "far"}}
    with Host(pg, {**configured(), **nodes}) as host:
        work(host, 5)
        with host.connect(dbname="distant") as c:
            cursor = psycopg.ClientCursor(c)
            for _ in range(3):
                cursor.execute("SELECT 1 AS afar")
            with expect_error("42P01"):
                cursor.execute("SELECT * FROM nowhere")

        def nodes_of(kind="HOURLY"):
            return {n["node"]: n for n in figures(host, kind)["nodes"]}

        told = nodes_of()
        equal({n: (o["calls"], o["errors"], o["downs"]) for n, o in told.items()}, {"main": (5, 0, 0), "far": (4, 1, 0)})
        equal(sum(o["calls"] for o in told.values()), figures(host, "DAILY")["now"]["calls"])
        second.stop()
        far = wait_for(lambda: (lambda o: o["downs"] == 1 and o["up_percent"] < 100 and o)(nodes_of("REALTIME")["far"]), what="it is down")
        equal((nodes_of("REALTIME")["main"]["up_percent"], far["calls"]), (100, 4))
        text = report(host, "REALTIME")
        assert "far: up" in text and "1 times down" in text, text


@test("a report waits for its target over a restart, whole; past max_pages it goes without its page")
def waiting():
    folder = temp_dir()
    state = {"plugin alerts": {"state_file": os.path.join(temp_dir(), "alerts.json")}}
    late = {**program(folder), "command": folder + "/late"}
    conf = merge(with_sinks("exec", {"exec a": late}), state)
    with Host(pg, conf) as host:
        work(host)
        equal(host.console("REPORT SEND HOURLY TO exec")[0]["targets"], 1)
        wait_for(lambda: host.console("SHOW ALERT SINKS")[0]["retries"] >= 1, what="it is tried again")
        pages = lambda: float(host.console("SHOW METRICS howdah_alert_page_bytes")[0]["value"])
        wait_for(lambda: pages() > 4000, what="its page is counted")
        host.stop()
        os.rename(folder + "/take", folder + "/late")
        host.start()
        wait_for(lambda: os.path.exists(folder + "/in"), what="it has arrived")
        with open(folder + "/in") as f:
            message = json.load(f)
        assert message["page"].rstrip().endswith("</html>") and "Statements that took the most time" in message["body"], message
        equal((message["figures"]["now"]["calls"], message["state"]), (10, "message"))
        wait_for(lambda: pages() == 0, what="nothing waits")
        os.unlink(folder + "/in")
        host.configure(merge(conf, {"plugin alerts": {"max_pages": "1K"}}))
        equal(host.control("reload").returncode, 0)
        host.console("REPORT SEND HOURLY TO exec")
        wait_for(lambda: os.path.exists(folder + "/in"), what="the next has arrived")
        with open(folder + "/in") as f:
            message = json.load(f)
        assert "page" not in message and "body" not in message and "Statements" in message["text"], message
        host.wait_log("too many pages wait")


@test("many reports at once are made or refused, also while the host stops")
def many():
    with Host(pg, configured()) as host:
        work(host)
        answers = []

        def ask_one():
            try:
                answers.append(figures(host, "HOURLY")["now"]["calls"])
            except (psycopg.Error, OSError) as e:
                answers.append(str(e))

        def at_once(count):
            threads = [threading.Thread(target=ask_one) for _ in range(count)]
            for t in threads:
                t.start()
            return threads

        for t in at_once(50):
            t.join()
        assert 10 in answers and all(a == 10 or "wait already" in a or "too many reports" in a for a in answers), answers
        threads = at_once(30)
        equal(host.stop(), 0)
        for t in threads:
            t.join()


main()
