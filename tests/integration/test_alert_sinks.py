"""Sinks of alerts: HTTP receivers, Alertmanager, a mail server, programs, UDP; slow, failing and hanging ones."""

import concurrent.futures
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import harness
from harness import Host, Postgres, equal, main, make_certificates, merge, spawn, temp_dir, test, wait_for
from alertworld import FAST, ONE, Receiver, config, over, sinks
from mailserver import Mailbox, mail_server

pg = Postgres()

# --- webhooks ---------------------------------------------------------------------------------------------------


@test("each receiver gets what it expects, while it fires and when it is over")
def formats():
    names = ("generic", "slack", "mattermost", "teams", "pagerduty")
    with contextlib.ExitStack() as stack:
        hooks = {name: stack.enter_context(Receiver()) for name in names}
        sections = {"webhook " + name: {"url": hooks[name].url, "format": name} for name in names}
        sections["webhook pagerduty"]["key"] = "R0UT1NG"
        host = stack.enter_context(Host(pg, config("webhook", sections)))
        for hook in hooks.values():
            hook.wait(1)
        over(host)
        for hook in hooks.values():
            hook.wait(2)
        pages = hooks["pagerduty"].messages()
        equal([p["event_action"] for p in pages], ["trigger", "resolve"])
        equal(len({p["dedup_key"] for p in pages}), 1)
        assert pages[0]["dedup_key"].startswith("h1/"), pages  # another host must not end it
        equal((pages[0]["routing_key"], pages[0]["payload"]["severity"]), ("R0UT1NG", "critical"))
        equal(pages[0]["payload"]["source"], "h1")
        first, last = hooks["slack"].messages()
        assert "one" in first["text"] and "1 &gt; 0" in first["attachments"][0]["text"], first
        assert first["attachments"][0]["color"] != last["attachments"][0]["color"]
        first, _ = hooks["mattermost"].messages()
        assert "1 \\> 0" in first["attachments"][0]["text"] and first["username"] == "howdah", first
        first, last = hooks["teams"].messages()
        card = first["attachments"][0]
        equal((first["type"], card["contentType"]), ("message", "application/vnd.microsoft.card.adaptive"))
        equal(card["content"]["body"][0]["inlines"][0]["color"], "Attention")
        equal(last["attachments"][0]["content"]["body"][0]["inlines"][0]["color"], "Good")
        first, last = hooks["generic"].messages()
        equal((first["state"], last["state"], first["severity"]), ("firing", "resolved", "page"))
        shown = json.dumps(host.console("SHOW ALERT SINKS"), default=str) + host.log_text() + host.run("--dump-config").stdout
        assert "R0UT1NG" not in shown and "/hook" not in shown


@test("the signature, the header Authorization, and TLS that is verified")
def signature():
    certificates = make_certificates(temp_dir())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates + "/server.crt", certificates + "/server.key")
    with Receiver(tls=context) as hook:
        good = {"url": hook.url, "secret": "s3cret", "authorization": "Bearer t0ken", "ca_file": certificates + "/ca.crt"}
        sections = {"webhook good": good, "webhook stranger": {"url": hook.url}}
        with Host(pg, config("webhook", sections)) as host:
            hook.wait(1)
            _, headers, body = hook.requests[0]
            signed = headers["X-Howdah-Timestamp"].encode() + b"." + body
            equal(headers["X-Howdah-Signature"], "v1=" + hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest())
            assert abs(int(headers["X-Howdah-Timestamp"]) - time.time()) < 60
            equal((headers["Authorization"], headers["Content-Type"]), ("Bearer t0ken", "application/json"))
            wait_for(lambda: sinks(host)["webhook:stranger"]["retries"] >= 2, what="it is tried again")
            assert "certificate" in sinks(host)["webhook:stranger"]["reason"], sinks(host)
            equal(len(hook.requests), 1)


@test("what fails is tried again with the same id, what is refused is given up")
def retries():
    with Receiver(answer=lambda n: (500, 401)[n - 1] if n < 3 else 200) as failing, Receiver(answer=404) as refusing:
        sections = {"webhook a": {"url": failing.url}, "webhook b": {"url": refusing.url}}
        with Host(pg, config("webhook", sections)) as host:
            messages = failing.wait(3)
            equal(len({m["id"] for m in messages}), 1)
            wait_for(lambda: sinks(host)["webhook:a"]["sent"] == 1, what="it is delivered")
            wait_for(lambda: sinks(host)["webhook:b"]["dead"] == 1, what="it is given up")
            equal((sinks(host)["webhook:a"]["retries"], sinks(host)["webhook:b"]["retries"]), (2, 0))
            equal(len(refusing.messages()), 1)
            dead = [m for m in host.console("SHOW METRICS messages_dead")]
            equal([(m["labels"], m["value"]) for m in dead], [("target=webhook:b", 1)])


@test("a receiver that says when to come again is not asked before, unless somebody tests it; what is too long is cut")
def retry_after():
    dates = []

    def later(number):
        if number == 1:
            return 429, {"Retry-After": "1"}
        if number == 2:
            dates.append(int(time.time()) + 3)
            return 503, {"Retry-After": email.utils.formatdate(dates[0], usegmt=True)}
        return 200

    long = {"Retry-After": "864000"}
    senseless = lambda n: (503, {"Retry-After": ("soon", "-5", "Mon, 01 Jan 1990 00:00:00 GMT")[n - 1]}) if n < 4 else 200
    with Receiver(later) as one, Receiver((429, long)) as two, Receiver(senseless) as three:
        sections = {"webhook " + name: {"url": hook.url} for name, hook in (("one", one), ("two", two), ("three", three))}
        with Host(pg, config("webhook", sections, max_retry_after="1d")) as host:
            one.wait(3)
            assert one.times[1] - one.times[0] >= 1, one.times  # waits of the host's own are 50 to 200 ms
            assert one.times[2] >= dates[0], (one.times, dates)
            three.wait(4)
            for name in ("one", "three"):
                wait_for(lambda name=name: sinks(host)["webhook:" + name]["sent"] == 1, what="it is delivered")
            wait_for(lambda: "429" in sinks(host)["webhook:two"]["reason"], what="it is to wait")
            equal([r["delivered"] for r in host.console("ALERT TEST webhook:two")], [False])
            equal([m["test"] for m in two.messages()], [False, True])
    with Receiver(lambda n: (429, long) if n < 3 else 200) as hook:
        with Host(pg, config("webhook", {"webhook two": {"url": hook.url}}, max_retry_after="100ms")) as host:
            wait_for(lambda: sinks(host)["webhook:two"]["sent"] == 1, what="it is delivered")
            equal(len(hook.messages()), 3)


@test("a target that hangs delays no other, nor the host's end")
def hanging():
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, Receiver() as hook:
        url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
        sections = {"webhook hangs": {"url": url}, "webhook works": {"url": hook.url}}
        with Host(pg, config("webhook", sections, timeout="10m")) as host:
            hook.wait(1)
            connection, _ = listener.accept()
            equal(sinks(host)["webhook:hangs"]["state"], "sending")
            over(host)
            hook.wait(2)
            wait_for(lambda: sinks(host)["webhook:works"]["sent"] == 2, what="both are delivered")
            equal(sinks(host)["webhook:hangs"]["waiting"], 2)
            equal(host.stop(), 0)  # which would wait for ten minutes else
            connection.close()


class Silent(contextlib.AbstractContextManager):
    """A server that takes connections, reads what comes, says what `says` has, and then nothing, nor hangs up."""

    def __init__(self, says=b"", endless=False):
        self.says, self.endless, self.kept = says, endless, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.kept.append(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError):
            connection.sendall(self.says)
            while self.endless:
                connection.sendall(b"x" * 1000)
            while connection.recv(65536):
                pass

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.kept:
            connection.close()


@test("targets that hang in connecting, in TLS, in their answer, in a mail server's greeting; answers without end", timeout=300)
def hanging_stages():
    full = socket.socket()  # its backlog has room for one, and nobody accepts
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(full)
        stack.enter_context(socket.create_connection(full.getsockname()))
        silent = stack.enter_context(Silent())
        says = lambda text, **more: stack.enter_context(Silent(text, **more)).address
        mail = {"from": "h@example.org", "to": "a@example.org", "tls": "none"}
        sections = {
            "webhook connect": {"url": "http://127.0.0.1:%d/" % full.getsockname()[1]},
            "webhook tls": {"url": "https://%s/" % silent.address},
            "webhook header": {"url": "http://%s/" % says(b"HTTP/1.1 ")},
            "webhook drip": {"url": "http://%s/" % says(b"HTTP/1.1 503 No\r\n\r\nnot now, ", endless=True)},
            "webhook body": {"url": "http://%s/" % says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthank you")},
            "webhook endless": {"url": "http://%s/" % says(b"HTTP/1.1 200 OK\r\n\r\n", endless=True)},
            "smtp greeting": {**mail, "server": silent.address},
            "smtp hello": {**mail, "server": says(b"220 here\r\n")},
            "smtp tls": {**mail, "server": says(b"220 here\r\n250-here\r\n250 STARTTLS\r\n220 go\r\n"), "tls": "starttls"},
        }
        hook = stack.enter_context(Receiver())
        sections["webhook works"] = {"url": hook.url}
        with Host(pg, config("webhook, smtp", sections, timeout="500ms")) as host:
            hook.wait(1)
            for name in ("webhook:connect", "webhook:tls", "webhook:header", "smtp:greeting", "smtp:hello", "smtp:tls"):
                wait_for(lambda name=name: sinks(host)[name]["retries"] >= 2, 60, name + " is tried again")
                assert "timed out" in sinks(host)[name]["reason"] or "timeout" in sinks(host)[name]["reason"].lower(), sinks(host)[name]
            drips = lambda: "HTTP status 503: not now" in sinks(host)["webhook:drip"]["reason"]
            wait_for(lambda: drips() and sinks(host)["webhook:drip"]["retries"] >= 2, 60, "what drips is tried again")
            for name in ("webhook:body", "webhook:endless"):  # they have the message
                wait_for(lambda name=name: sinks(host)[name]["sent"] == 1, 60, name + " has it")
            for name in ("webhook:connect", "smtp:tls"):
                equal([s["value"] for s in host.console("SHOW METRICS howdah_alert_queue") if s["labels"] == "target=" + name], [1])
            equal(host.stop(), 0)


@test("a name that no server resolves delays nothing but its own target, and is given up in time", timeout=300)
def hanging_names():
    """Only root can hang a server of names under one host; for others a name that is none must do."""
    with contextlib.ExitStack() as stack:
        hook = stack.enter_context(Receiver())
        under, reason = (), "resolve"
        if not os.getuid():
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            server.bind(("127.0.0.%d" % (100 + os.getpid() % 100), 53))
            path = os.path.join(temp_dir(), "resolv.conf")
            with open(path, "w") as f:
                f.write("nameserver %s\noptions timeout:30 attempts:5\n" % server.getsockname()[0])
            under = ("unshare", "-m", "sh", "-c", 'mount --bind %s /etc/resolv.conf && exec "$@"' % path, "sh")
            reason = "Resolving timed out"
        sections = {"webhook a": {"url": "http://hangs.invalid/"}, "webhook b": {"url": hook.url}}
        host = stack.enter_context(Host(pg, config("webhook", sections, timeout="300ms"), under=under))
        hook.wait(1)
        wait_for(lambda: sinks(host)["webhook:a"]["retries"] >= 2, 60, "it is tried again")
        assert reason in sinks(host)["webhook:a"]["reason"], sinks(host)
        equal(host.stop(), 0)


@test("who waits for the test of a target hears when it goes")
def test_of_what_goes():
    with Silent() as silent, Receiver() as hook:
        conf = config("webhook", {"webhook a": {"url": "http://%s/" % silent.address}, "webhook b": {"url": hook.url}}, timeout="10m")
        with Host(pg, conf) as host, concurrent.futures.ThreadPoolExecutor(1) as asker:
            wait_for(lambda: sinks(host)["webhook:a"]["state"] == "sending", what="it hangs")
            asked = asker.submit(host.console, "TEST webhook:a")
            wait_for(lambda: sinks(host)["webhook:a"]["waiting"] == 2, what="the test waits")
            del conf["webhook a"]
            host.configure(conf)
            equal(host.control("reload").returncode, 0)
            (row,) = asked.result(60)
            equal((row["delivered"], row["reason"]), (False, "the target is there no more"))


@test("the rate of a target, and the bound of its queue")
def rate():
    rules = {"alert r%d" % i: {"expr": "1", "above": "0", "for": "0s"} for i in range(30)}
    with Receiver() as hook:
        conf = config("webhook", {"webhook a": {"url": hook.url}}, rate="60", burst="5", max_queue="10")
        with Host(pg, merge(conf, rules)) as host:
            hook.wait(6)
            stats = sinks(host)["webhook:a"]
            assert stats["dead"] >= 10, stats
            assert len(hook.messages()) <= 5 + 1 + 60 / 60 * 10, stats
            host.wait_log("too many messages wait for it")


@test("targets come, change and go with a reload")
def reload():
    with Receiver() as one, Receiver() as two:
        with Host(pg, config("webhook", {"webhook a": {"url": one.url}})) as host:
            one.wait(1)
            equal(host.console("ALERT TEST"), [{"target": "webhook:a", "delivered": True, "took_ms": host_ms(one), "reason": ""}])
            host.configure(config("webhook", {"webhook a": {"url": two.url}, "webhook b": {"url": one.url}}))
            equal(host.control("reload").returncode, 0)
            wait_for(lambda: set(sinks(host)) == {"webhook:a", "webhook:b"}, what="both are there")
            equal([(r["target"], r["delivered"]) for r in host.console("ALERT TEST webhook:a")], [("webhook:a", True)])
            equal(two.messages()[-1]["test"], True)
            host.configure(config("webhook", {"webhook b": {"url": one.url}}))
            equal(host.control("reload").returncode, 0)
            wait_for(lambda: set(sinks(host)) == {"webhook:b"}, what="one is gone")
            assert host.control("alert", "test", "webhook:a").returncode


class host_ms:
    """Any duration."""

    def __init__(self, _):
        pass

    def __eq__(self, other):
        return 0 <= other < 60000

    def __ne__(self, other):
        return not self == other


@test("sections that cannot work are refused")
def wrong_sections():
    with Host(pg, start=False) as host:
        for sink, section, reason in [
            ("webhook", {"webhook a": {}}, "url is missing"),
            ("webhook", {"webhook a": {"url": "file:///etc/passwd"}}, "http://"),
            ("webhook", {"webhook a": {"format": "pagerduty"}}, "key is missing"),
            ("smtp", {"smtp a": {"server": "x", "from": "a", "to": "b@c"}}, "from:"),
            ("smtp", {"smtp a": {"server": "x", "from": "a@b", "to": "b@c, d"}}, "no address"),
            ("smtp", {"smtp a": {"server": "x/y", "from": "a@b", "to": "b@c"}}, "server:"),
            ("smtp", {"smtp a": {"server": "x", "from": "a@b", "to": "b@c", "user": "u"}}, "belong together"),
            ("smtp", {"smtp a": {"server": "x", "from": "a@b", "to": "b@c", "user": "u", "password": "p", "tls": "none"}}, "in the clear"),
            ("smtp", {"smtp a": {"server": "x", "from": "a@b", "to": "b@c", "subject": "x" * 101}}, "subject: one line of at most 100"),
            ("exec", {"exec a": {"command": "rm"}}, "whole path"),
        ]:
            host.configure(config(sink, section))
            result = host.run("-t")
            assert result.returncode and reason in result.stderr, (section, result.stderr)
        host.configure(config("log", {}))
        host.start()


@test("a sink that is not there keeps no other from its work")
def missing():
    with Host(pg, merge(config("log, webhook", {}), {"plugin alert-webhook": {"enabled": "no"}})) as host:
        host.wait_log('msg=alert .*rule=one')
        wait_for(lambda: sinks(host)["log"]["sent"] == 1, what="it counts as sent")
        equal(sinks(host)["webhook"]["state"], "missing")
        over(host)
        host.wait_log('msg="alert is over" .*rule=one')


# --- Alertmanager -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alertmanager():
    folder = temp_dir()
    with open(folder + "/alertmanager.yml", "w") as f:
        f.write("route:\n  receiver: nobody\nreceivers:\n- name: nobody\n")
    program = shutil.which("prometheus-alertmanager")
    arguments = ["--config.file=" + folder + "/alertmanager.yml", "--storage.path=" + folder]
    listen = ["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]
    log = folder + "/log"
    with open(log, "w") as out:
        process = spawn([program, *arguments, *listen], stdout=out, stderr=out)

    def address():  # the port is its choice, and stands in its log
        with open(log) as f:
            return re.search(r'msg="?Listening on"? address=(127\.0\.0\.1:\d+)\s', f.read())

    def ready(url):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url + "/-/ready", timeout=2).status == 200

    try:
        url = "http://" + wait_for(address, what="Alertmanager listens")[1]
        wait_for(lambda: ready(url), what="Alertmanager is ready")
        yield url
    finally:
        harness.end(process)


@test("a real Alertmanager takes alerts, and their end")
def real_alertmanager():
    with alertmanager() as url:

        def alerts():
            with urllib.request.urlopen(url + "/api/v2/alerts", timeout=5) as answer:
                return json.load(answer)

        with Host(pg, config("webhook", {"webhook am": {"url": url + "/", "format": "alertmanager"}})) as host:
            (found,) = wait_for(alerts, what="the alert is there")
            equal(found["labels"], {"alertname": "one", "severity": "page", "howdah": "h1"})
            equal((found["annotations"]["summary"], found["status"]["state"]), ("so it is: 1 > 0", "active"))
            assert found["endsAt"] > found["startsAt"]
            equal([r["delivered"] for r in host.console("ALERT TEST")], [True])
            wait_for(lambda: len(alerts()) == 2, what="the test is there")
            over(host)
            wait_for(lambda: [a["labels"]["alertname"] for a in alerts()] == ["test"], what="it is over there")


# --- mail -------------------------------------------------------------------------------------------------------


@test("mail, by STARTTLS and a login")
def mail():
    certificates = make_certificates(temp_dir())
    box = Mailbox()
    with mail_server(certificates, box, [("howdah", "p@ss")]) as server:
        section = {
            "server": server,
            "ca_file": certificates + "/ca.crt",
            "user": "howdah",
            "password": "p@ss",
            "from": "howdah@example.org",
            "to": "a@example.org, b@example.org",
        }
        rule = {"alert one": {"summary": "größer als erlaubt: {value} – " + "ä" * 60}}
        with Host(pg, merge(config("smtp", {"smtp team": section}, name="hüst"), rule)) as host:
            wait_for(lambda: box.mails, what="a mail")
            over(host)
            wait_for(lambda: len(box.mails) == 2, what="another mail")
            assert "p@ss" not in host.log_text()
        (envelope, first, encrypted, authenticated), (_, last, _, _) = box.mails
        equal((encrypted, authenticated), (True, True))
        equal((envelope.mail_from, envelope.rcpt_tos), ("howdah@example.org", ["a@example.org", "b@example.org"]))
        assert first["Subject"].startswith("[howdah] page: one"), first["Subject"]
        assert "größer als erlaubt: 1 – äää" in first.get_body().get_content() and "hüst" in first.get_body().get_content()
        assert "over" in last["Subject"], last["Subject"]
        equal((first["References"], first["Importance"]), (last["References"], "high"))
        assert first["Message-ID"] != last["Message-ID"] and first["Date"].datetime
        equal([a.addr_spec for a in first["To"].addresses], ["a@example.org", "b@example.org"])


@test("mail: a wrong password is tried again, a refused recipient given up, an unknown certificate not trusted")
def mail_failures():
    certificates = make_certificates(temp_dir())
    box = Mailbox()
    box.refuse = "550 nobody here"
    with mail_server(certificates, box, [("howdah", "right")]) as server:
        base = {"server": server, "ca_file": certificates + "/ca.crt", "from": "h@example.org", "to": "a@example.org", "user": "howdah"}
        sections = {
            "smtp wrong": {**base, "password": "wrong"},
            "smtp refused": {**base, "password": "right"},
            "smtp stranger": {**base, "password": "right", "ca_file": "/etc/ssl/certs/ca-certificates.crt"},
        }
        # The server takes its time after a wrong password.
        with Host(pg, config("smtp", sections, timeout="2s")) as host:
            wait_for(lambda: sinks(host)["smtp:refused"]["dead"] == 1, what="it is given up")
            for name in ("smtp:wrong", "smtp:stranger"):
                wait_for(lambda name=name: sinks(host)[name]["retries"] >= 2, what="it is tried again")
                equal((sinks(host)[name]["dead"], sinks(host)[name]["sent"]), (0, 0))
            equal(box.mails, [])


@test("subjects and headers cannot be forged by labels")
def header_injection():
    certificates = make_certificates(temp_dir())
    box = Mailbox()
    with mail_server(certificates, box) as server:
        section = {"server": server, "ca_file": certificates + "/ca.crt", "from": "h@example.org", "to": "a@example.org"}
        rules = {"alert one": {"expr": "howdah_statements_total", "above": "0", "group_by": "database"}}
        conf = merge(config("smtp", {"smtp a": section}), rules, )
        conf["plugin statements"] = {"enabled": "yes"}
        name = "x\r\nBcc: all@example.org\r\n\r\nbody"
        with pg.connect() as c:
            c.execute('CREATE DATABASE "%s"' % name)
        with Host(pg, merge(conf, {"database *": {}})) as host:
            for dbname in (name, "shop"):
                with host.connect(dbname=dbname) as c:
                    c.execute("SELECT 1")
            wait_for(lambda: len(box.mails) >= 2, what="a mail about each")
        assert any("Bcc: all" in m["Subject"] for _, m, _, _ in box.mails), [m["Subject"] for _, m, _, _ in box.mails]
        for envelope, message, _, _ in box.mails:
            equal((message["Bcc"], envelope.rcpt_tos), (None, ["a@example.org"]))


# --- programs ---------------------------------------------------------------------------------------------------


def script(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


@test("a program gets the message, its arguments as they are, and nothing of the host's environment")
def program():
    folder = temp_dir()
    path = script(folder, "take", 'cat > "$1/in.json.new"; env > "$1/env"; echo "$2" > "$1/arg"; pwd > "$1/cwd"\n'
                  'ls /proc/self/fd | wc -l > "$1/fds"; mv "$1/in.json.new" "$1/in.json"\n')
    section = {"exec run": {"command": path, "args": folder + ", $(touch /tmp/howdah-injected); `id`"}}
    with Host(pg, config("exec", section), env={"SECRET_OF_THE_HOST": "x"}) as host:
        wait_for(lambda: os.path.exists(folder + "/in.json"), what="it has run")
        wait_for(lambda: sinks(host)["exec:run"]["sent"] == 1, what="it is delivered")

        def read(name):
            with open(os.path.join(folder, name)) as f:
                return f.read()

        message = json.loads(read("in.json"))
        equal((message["state"], message["alerts"][0]["rule"]), ("firing", "one"))
        names = {line.split("=")[0] for line in read("env").splitlines()}
        equal(names - {"PWD", "_", "OLDPWD", "SHLVL"}, {"PATH"} | {"HOWDAH_ALERT_" + n for n in ("STATE", "SEVERITY", "TITLE", "ID", "GROUP", "HOST")})
        equal((read("arg").strip(), read("cwd").strip()), ("$(touch /tmp/howdah-injected); `id`", "/"))
        assert int(read("fds")) <= 4, read("fds")  # 0, 1, 2 and ls's own
        assert not os.path.exists("/tmp/howdah-injected")


@test("a program that fails, that will never work, that hangs with children of its own, and none")
def programs():
    folder = temp_dir()
    sections = {
        "exec fails": {"command": script(folder, "fails", "echo no room >&2; exit 1\n")},
        "exec never": {"command": script(folder, "never", "exit 65\n")},
        "exec hangs": {"command": script(folder, "hangs", "sleep 1000 & cd %s; echo $! > new; mv new child; sleep 1000\n" % folder), "timeout": "300ms"},
        "exec none": {"command": folder + "/missing"},
        "exec deaf": {"command": "/bin/true"},
        "exec loud": {"command": script(folder, "loud", "head -c 10000000 /dev/zero >&2; head -c 10000000 /dev/zero\n")},
    }
    with Host(pg, config("exec", sections)) as host:
        wait_for(lambda: sinks(host)["exec:deaf"]["sent"] == 1, what="one works")
        wait_for(lambda: sinks(host)["exec:loud"]["sent"] == 1, what="another works")
        wait_for(lambda: sinks(host)["exec:never"]["dead"] == 1, what="one is given up")
        for name, reason in [("fails", "exit status 1: no room"), ("hangs", "killed"), ("none", "No such file")]:
            wait_for(lambda name=name: sinks(host)["exec:" + name]["retries"] >= 1, what=name + " is tried again")
            assert reason in sinks(host)["exec:" + name]["reason"], sinks(host)["exec:" + name]
        wait_for(lambda: os.path.exists(folder + "/child"), what="one that came as far as that")
        with open(folder + "/child") as f:
            child = int(f.read())
        host.stop()
        wait_for(lambda: not running(child), what="what it started is gone, too")


def running(pid):
    with contextlib.suppress(OSError), open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0] != "Z"


# --- a vendor's own ---------------------------------------------------------------------------------------------


@test("what another plugin has to say goes to the sinks that it names")
def words():
    library = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/teller.so"))
    with Receiver() as hook, Receiver() as pager:
        targets = {"webhook a": {"url": hook.url}, "webhook p": {"url": pager.url, "format": "pagerduty", "key": "k"}}
        conf = merge(config("webhook, log", targets), {"plugin teller": {"enabled": "yes", "library": library}})
        with Host(pg, merge(conf, {"alert one": {"enabled": "no"}})) as host:
            host.console("TELL '' 'a\nreport' 'all is well'")
            (message,) = hook.wait(1)
            equal((message["state"], message["title"], message["text"]), ("message", "a report", "all is well"))
            equal((message["alerts"], message["severity"]), ([], "info"))
            host.wait_log('msg="a report"')
            wait_for(lambda: [s["sent"] for s in sinks(host).values()] == [1, 1, 1], what="all have it")
            equal(pager.messages(), [])  # it has no word for that
            host.console("TELL log 'for the log' x")
            host.wait_log('msg="for the log"')
            assert host.control("tell", "nobody", "x", "y").returncode
            equal(len(hook.messages()), 1)


@test("TEST is ALERT TEST until another plugin has a command of that name; what is no second name is refused, and says whose it is")
def names_of_commands():
    library = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/teller.so"))
    with Receiver() as hook:
        conf = config("webhook", {"webhook a": {"url": hook.url}, "webhook b": {"url": hook.url}})
        with Host(pg, conf) as host:
            hook.wait(2)
            equal([(r["target"], r["delivered"]) for r in host.console("TEST webhook:b")], [("webhook:b", True)])
            equal(sorted((r["target"], r["delivered"]) for r in host.console("TEST")), [("webhook:a", True), ("webhook:b", True)])
            assert "there is no such target" in host.control("test", "webhook:c").stderr
            whose = lambda: [(r["command"], r["arguments"]) for r in host.console("HELP TEST")]
            equal(whose(), [("TEST", "[SINK | SINK:TARGET]")])
            teller = {"enabled": "yes", "library": library, "command": "TEST"}
            host.configure(merge(conf, {"plugin teller": teller}))
            equal(host.control("reload").returncode, 0)
            wait_for(lambda: whose() == [("TEST", "SINKS TITLE TEXT")], what="it is the other's")
            assert "three words are needed" in host.control("test", "webhook:b").stderr
            equal([r["delivered"] for r in host.console("ALERT TEST webhook:b")], [True])
            equal(host.control("plugin", "teller", "disable").returncode, 0)
            wait_for(lambda: whose() == [("TEST", "[SINK | SINK:TARGET]")], what="it is back")
        with Host(pg, merge(conf, {"plugin teller": {**teller, "command": "SILENCE"}})) as host:
            assert "the command SILENCE is there already: it is of the plugin alerts" in str(host.console("SHOW PLUGINS")), host.console("SHOW PLUGINS")
        with Host(pg, merge(conf, {"plugin teller": {**teller, "command": "SHOW POOLS"}})) as host:
            host.wait_log("gives way to the host's of that name.* command=\"SHOW POOLS\"")
            assert "database" in str(host.console("HELP SHOW POOLS") + host.console("SHOW POOLS")), host.console("HELP SHOW POOLS")
        with Host(pg, merge(conf, {"plugin teller": {**teller, "command": "SHOW METRICS"}})) as host:
            assert "the command SHOW METRICS is the host's" in str(host.console("SHOW PLUGINS")), host.console("SHOW PLUGINS")


@test("the example of the SDK, built by the template's Makefile")
def vendor():
    folder = temp_dir()
    for name in ("template/Makefile", "template/exports.map", "examples/alert-udp.c"):
        shutil.copy(os.path.join(harness.SRCDIR, "sdk", name), folder)
    include = os.path.abspath(os.path.join(harness.SRCDIR, "sdk/include"))
    subprocess.run(["make", "-s", "-C", folder, "NAME=alert-udp", "HOWDAH_CFLAGS=-I" + include], check=True)
    with open(folder + "/alert-udp.c") as f:
        assert len(f.readlines()) < 60
    os.chmod(folder + "/alert-udp.so", 0o755)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        plugin = {"enabled": "yes", "library": folder + "/alert-udp.so", "port": str(receiver.getsockname()[1])}
        with Host(pg, merge(config("udp", {}), {"plugin alert-udp": plugin})) as host:
            text = receiver.recv(1000).decode()
            assert "firing page: one" in text, text
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", 0))
                other.settimeout(20)
                host.configure(merge(host.config, {"plugin alert-udp": {"port": str(other.getsockname()[1])}}))
                over(host)
                assert " over " in other.recv(1000).decode()


main()
