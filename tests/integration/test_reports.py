"""Reports: sinks that they are sent to, the set time, totals against PostgreSQL's own, and the span before."""

import contextlib
import email
import email.policy
import json
import os
import sqlite3
import time

import aiosmtpd.controller
import psycopg

from alertworld import FAST, Receiver
from harness import Host, Postgres, equal, expect_error, free_port, main, merge, temp_dir, test, wait_for
from httphost import ask, served

pg = Postgres()
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


@test("a report is sent when it is asked for: to a mailbox, a webhook, a chat, a program and the log", timeout=100)
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


@test("the day's report goes to the folder and to its sinks at its time, once, also over a restart", timeout=150)
def daily():
    folder = temp_dir()
    with Receiver() as hook, Receiver() as other:
        sections = {"webhook a": {"url": hook.url}, "webhook b": {"url": other.url}}
        at = time.strftime("%H:%M", time.localtime(time.time() + 1))
        conf = with_sinks("webhook", sections, report_folder=folder, report_sinks="webhook:a", report_time=at)
        with Host(pg, conf) as host:
            host.wait_log("the day's report was sent.*sinks=webhook:a", timeout=70)
            [message] = hook.wait(1)
            equal((message["state"], message["figures"]["report"]), ("message", "daily"))
            [name] = [n for n in os.listdir(folder) if n.endswith(".json")]
            with open(os.path.join(folder, name)) as f:
                equal(json.load(f)["now"], message["figures"]["now"])
            equal(time.strftime("%M", time.localtime(message["figures"]["to"])), at[-2:])
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


@test("sinks that are not there: said at once in the health and the log, and it ends with their coming", timeout=100)
def missing():
    with Receiver() as hook:
        conf = with_sinks("webhook", {"webhook a": {"url": hook.url}}, report_sinks="webhook:a, mail")
        off = merge(conf, {"plugin alerts": {"enabled": "no"}})
        with served(pg, off) as host:
            def configure(changes):
                host.configure({**changes, "http": {"listen": "127.0.0.1:%d" % host.http_port}})
                equal(host.control("reload").returncode, 0)

            host.wait_log('msg="reports cannot be sent".*howdah.alerts/1')
            part = health(host, "reports")
            equal((part["state"], part["active"]), ("missing", False))
            with expect_error(match="howdah.alerts/1"):
                host.console("REPORT SEND HOURLY")
            configure(conf)
            wait_for(lambda: "there is no sink mail" in (health(host, "reports")["reason"] or ""), what="another reason", timeout=40)
            configure(merge(conf, {"plugin monitor": {"report_sinks": "webhook:a"}}))
            wait_for(lambda: health(host, "reports")["state"] == "ready", what="it can be sent", timeout=40)
            host.console("REPORT SEND HOURLY")
            hook.wait(1)
            # Whoever sends now and then keeps nobody from stopping.
            host.console("PLUGIN alerts DISABLE")
            with expect_error(match="howdah.alerts/1"):
                host.console("REPORT SEND HOURLY")
            host.console("PLUGIN alerts ENABLE")
            host.console("REPORT SEND HOURLY")
            hook.wait(2)
            configure(merge(conf, {"plugin monitor": {"report_sinks": ""}}))
            wait_for(lambda: health(host, "reports") is None, what="nothing is said any more", timeout=40)
        result = Host(pg, configured(history="", report_sinks="log"), start=False).run("-t")
        assert result.returncode and "need a history" in result.stderr + result.stdout, result


main()
