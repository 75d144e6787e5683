"""
Receivers of alerts as they are out there: some repeat what they were sent, strip encryption, or refuse one of many; and
names in alerts that are markup, markers or no text at all.
"""

import contextlib
import http.server
import json
import re
import threading
import urllib.parse

from alertworld import Receiver, config, over, sinks
from harness import Host, Postgres, equal, expect_error, free_port, main, make_certificates, merge, temp_dir, test, wait_for
from httphost import ask, post, served
from mailserver import Mailbox, mail_server

pg = Postgres()


@contextlib.contextmanager
def echoing():
    """An HTTP server that says where it was looked for what it has not, as frameworks do."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(404)
            self.end_headers()
            team = self.path.split("/")[2:3]
            said = (urllib.parse.unquote(self.path), team, self.headers["Authorization"])
            self.wfile.write(("Cannot POST %s, no team %s for %s" % said).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@test("what a receiver repeats of its address is not shown, and neither is a proxy's password")
def echoes():
    with echoing() as port:
        url = "http://127.0.0.1:%d/services/T0KENTEAM99/S3CRET%%2BPART0123?key=QUERYKEY77" % port
        proxied = {"url": "http://receiver.invalid/x", "proxy": "http://me:PR0XYPASS@127.0.0.1:%d" % port}
        with Host(pg, config("webhook", {"webhook a": {"url": url, "authorization": "Bearer T0KEN4ALL"}, "webhook b": proxied})) as host:
            for name in ("webhook:a", "webhook:b"):
                wait_for(lambda name=name: sinks(host)[name]["dead"] == 1, what="it is given up")
            reason = sinks(host)["webhook:a"]["reason"]
            assert reason.startswith("HTTP status 404: Cannot POST /***"), reason
            shown = json.dumps(host.console("SHOW ALERT SINKS") + host.console("SHOW CONFIG"), default=str)
            shown += host.log_text() + host.run("--dump-config").stdout
            for secret in ("T0KENTEAM99", "S3CRET", "PART0123", "QUERYKEY77", "PR0XYPASS", "T0KEN4ALL"):
                assert secret not in shown, secret


@test("Slack is sent no markup by names, and all are sent text, whatever databases are called")
def names():
    nasty = '<!channel> & <https://example.org|"click">\\'
    with pg.connect() as c:
        c.execute('CREATE DATABASE "%s"' % nasty.replace('"', '""'))
    kinds = ("generic", "slack", "mattermost", "teams")
    with contextlib.ExitStack() as stack:
        hooks = {kind: stack.enter_context(Receiver()) for kind in kinds}
        sections = {"webhook " + kind: {"url": hooks[kind].url, "format": kind} for kind in kinds}
        rule = {"alert one": {"expr": 'howdah_statements_total{database="<*"}', "group_by": "database", "summary": "{database}"}}
        conf = merge(config("webhook", sections), {**rule, "plugin statements": {}, "database *": {}})
        host = stack.enter_context(Host(pg, conf))
        with host.connect(dbname=nasty) as c:
            c.execute("SELECT 1")
        (generic,), (slack,), _, _ = (hooks[kind].wait(1) for kind in kinds)
        assert nasty in generic["title"] and generic["alerts"][0]["summary"] == nasty, generic
        equal(generic["alerts"][0]["labels"]["database"], nasty)
        for text in (slack["text"], slack["attachments"][0]["text"], slack["attachments"][0]["fallback"]):
            assert "<" not in text and '&lt;!channel&gt; &amp; &lt;https://example.org|"click"&gt;\\' in text, text


@test("Mattermost is sent names as names, not as Markdown, and Teams runs of text, which know none; addresses stay links")
def markdown():
    nasty = "*b* [l](http://x.y) `c` @all :tada: ~s~ #h _i_ a|b ![p]"
    gap = "\u200b"
    escaped = r"\*b\* \[l\](http://x.y) \`c\` @%sall :%stada: \~s\~ \#h \_i\_ a\|b \!\[p\]" % (gap, gap)
    with pg.connect() as c:
        c.execute('CREATE DATABASE "%s"' % nasty)
    with Receiver() as mattermost, Receiver() as teams:
        sections = {"webhook m": {"url": mattermost.url, "format": "mattermost"}, "webhook t": {"url": teams.url, "format": "teams"}}
        summary = "{database}: see https://wiki.example.org/run_book_1?a=b_c, 12:30"
        rule = {"alert one": {"expr": 'howdah_statements_total{database="*tada*"}', "group_by": "database", "summary": summary}}
        conf = merge(config("webhook", sections), {**rule, "plugin statements": {}, "database *": {}})
        with Host(pg, conf) as host:
            with host.connect(dbname=nasty) as c:
                c.execute("SELECT 1")
            (message,) = mattermost.wait(1)
            shown = message["attachments"][0]
            for text in (shown["title"], shown["text"]):
                assert "database=" + escaped in text, text
            assert text.endswith(": %s: see https://wiki.example.org/run_book_1?a=b_c, 12:30\n" % escaped), text
            assert "database=" + nasty in shown["fallback"], shown  # which is plain text there
            (message,) = teams.wait(1)
            blocks = message["attachments"][0]["content"]["body"]
            equal({b["type"] for b in blocks}, {"RichTextBlock"})
            title, text, name = [b["inlines"][0]["text"] for b in blocks]
            assert "database=" + nasty in title and nasty + ": see https://wiki" in text and name == "h1", blocks


@test("a name with line feeds makes no line of its own, nor a title of two")
def line_feeds():
    name = "x\nover: dead-node: all is well\r"
    with pg.connect() as c:
        c.execute('CREATE DATABASE "%s"' % name)
    with Receiver() as hook:
        rule = {"alert one": {"expr": 'howdah_statements_total{database="x*"}', "group_by": "database", "summary": "{database}"}}
        conf = merge(config("webhook", {"webhook team": {"url": hook.url}}), {**rule, "plugin statements": {}, "database *": {}})
        with Host(pg, conf) as host:
            with host.connect(dbname=name) as c:
                c.execute("SELECT 1")
            message = hook.wait(1)[0]
            equal(message["text"].count("\n"), 1)
            assert "\n" not in message["title"] and "\r" not in message["text"], message
            equal(message["alerts"][0]["labels"]["database"], name)


@test("an incident at PagerDuty stays open while one of its alerts fires silently")
def incident():
    rule = {"alert one": {"expr": "howdah_pool_busy", "above": "0.5", "summary": "{database}"}}
    with pg.connect() as c:
        c.execute("CREATE DATABASE two")
    with Receiver() as hook:
        section = {"webhook p": {"url": hook.url, "format": "pagerduty", "key": "k"}}
        conf = merge(config("webhook", section), {**rule, "database *": {}})
        with Host(pg, conf) as host, host.connect() as one, host.connect(dbname="two") as two:
            for c in (one, two):
                c.execute("BEGIN")
            wait_for(lambda: [a["told"] for a in host.console("SHOW ALERTS")] == [True, True], what="both are told")
            wait_for(lambda: sinks(host)["webhook:p"]["waiting"] == 0, what="and that has arrived")
            begun = len(hook.messages())
            host.console("SILENCE database=shop FOR 1h")
            two.execute("COMMIT")
            wait_for(lambda: len(hook.messages()) == begun + 1, what="the end of one")
            one.execute("COMMIT")
            pages = hook.wait(begun + 2)
            equal([p["event_action"] for p in pages], ["trigger"] * (begun + 1) + ["resolve"])
            equal(len({p["dedup_key"] for p in pages}), 1)
            assert "not over" in pages[begun]["payload"]["custom_details"]["alerts"], pages[begun]


@test("mail: without STARTTLS nothing is sent; one recipient that is refused keeps no other from it")
def mails():
    certificates = make_certificates(temp_dir())
    box, plain = Mailbox(), Mailbox()
    box.refuse, box.refused = "550 nobody here", {"gone@example.org"}
    with mail_server(certificates, box) as server, mail_server(certificates, plain, tls=False) as stripped:
        base = {"ca_file": certificates + "/ca.crt", "from": "h@example.org"}
        sections = {
            "smtp some": {**base, "server": server, "to": "gone@example.org, here@example.org"},
            "smtp none": {**base, "server": server, "to": "gone@example.org"},
            "smtp stripped": {**base, "server": stripped, "to": "here@example.org"},
        }
        with Host(pg, config("smtp", sections)) as host:
            wait_for(lambda: sinks(host)["smtp:some"]["sent"] == 1, what="it is sent")
            wait_for(lambda: sinks(host)["smtp:none"]["dead"] == 1, what="it is given up")
            wait_for(lambda: sinks(host)["smtp:stripped"]["retries"] >= 2, what="it is tried again")
            equal([envelope.rcpt_tos for envelope, *_ in box.mails], [["here@example.org"]])
            equal((plain.mails, sinks(host)["smtp:stripped"]["sent"]), ([], 0))
            assert "STARTTLS" in sinks(host)["smtp:stripped"]["reason"], sinks(host)


@test("a sink that is enabled later is used from then on; /health has the targets that there are, and no others")
def late_sink():
    port = free_port()

    def parts(host):
        components = json.loads(ask(host, "/health", port=port)[2])["components"]
        return {c["name"].removeprefix("alerts: "): c["state"] for c in components if c["name"].startswith("alerts: ")}

    with Receiver() as hook:
        conf = merge(config("webhook, log", {"webhook a": {"url": hook.url}}), {"http": {"listen": "127.0.0.1:%d" % port}})
        with Host(pg, merge(conf, {"plugin alert-webhook": {"enabled": "no"}})) as host:
            wait_for(lambda: parts(host) == {"webhook": "missing", "log": "delivering"}, what="one is missing")
            over(host)
            host.configure(merge(host.config, {"plugin alert-webhook": {"enabled": "yes"}}))
            equal(host.control("reload").returncode, 0)
            host.wait_log('msg="a sink of alerts has come"')
            wait_for(lambda: parts(host) == {"webhook:a": "delivering", "log": "delivering"}, what="it is there")
            host.configure(merge(host.config, {"alert one": {"expr": "1"}}))
            equal(host.control("reload").returncode, 0)
            hook.wait(1)
            changed = merge(host.config, {"webhook b": {"url": hook.url}})
            del changed["webhook a"]
            host.configure(changed)
            equal(host.control("reload").returncode, 0)
            wait_for(lambda: parts(host) == {"webhook:b": "delivering", "log": "delivering"}, what="another is there")


@test("a rule's sink that is none is refused, and a target that is none told of when the host starts and reloads")
def typing_errors():
    with Receiver() as hook:
        conf = config("webhook", {"webhook team": {"url": hook.url}})
        with Host(pg, merge(conf, {"alert one": {"sinks": "webhook:taem"}})) as host:
            host.wait_log('level=warning msg="a rule\'s alerts go to a target that is not there" .*rule=one target=webhook:taem')
            host.configure(merge(host.config, {"alert one": {"sinks": "webook:team"}}))
            result = host.control("reload")
            assert result.returncode and 'sinks: "webook:team" is none of the sinks' in result.stderr, result.stderr
            before = len(host.log_text())
            host.configure(merge(host.config, {"alert one": {"sinks": "webhook:team, webhook:gone"}}))
            equal(host.control("reload").returncode, 0)
            host.wait_log("target=webhook:gone", after=before)


@test("a silence that is too long is refused, not cut: it would silence more; one of no rule would silence nothing")
def wrong_silences():
    with Receiver() as hook, Host(pg, config("webhook", {"webhook team": {"url": hook.url}})) as host:
        result = host.control("silence", "rule=" + "x" * 990, "node=this-one-alone", "FOR", "1h")
        assert result.returncode and "at most 999 bytes" in result.stderr, result.stderr
        result = host.control("silence", "node=db2", "rule=onne", "FOR", "1h")
        assert result.returncode and 'there is no rule "onne"' in result.stderr, result.stderr
        for command, reason in [
            ('SILENCE node="a b FOR 1h', "the quoted value is not closed"),
            ('SILENCE node=db2 pool FOR 1h', 'matcher 2: =, !=, =~ or !~ is missing behind "pool"'),
            ('SILENCE node=db2 = FOR 1h', 'matcher 2: a label\'s name, or rule, is missing before "="'),
            ('SILENCE node=~"a(" FOR 1h', 'matcher 1: the expression "a(" is none'),
            ('SILENCE node!=db2 FOR 1h', "ask for a rule or a label besides"),
            ('SILENCE rule="o n e" FOR 1h', 'there is no rule "o n e"'),
            ("SILENCE FOR 1h", "what is to be silenced"),
        ]:
            with expect_error(match=re.escape(reason)):
                host.console(command)
        equal(host.console("SHOW SILENCES"), [])


@test("silences of names with blanks, quotes and stars, by console, howdahctl and HTTP; by expressions; and their bound")
def silences_of_names():
    names = ['two words', 'a*b "c"\\', "axb", "plain1", "plain2"]
    with pg.connect() as c:
        for name in names:
            c.execute('CREATE DATABASE "%s"' % name.replace('"', '""'))
    more = {"alert one": {"expr": "howdah_statements_total", "group_by": "database"}, "plugin statements": {}, "database *": {}}
    with Receiver() as hook, contextlib.ExitStack() as stack:
        conf = merge(config("webhook", {"webhook team": {"url": hook.url}}, max_silences="3"), more)
        host = stack.enter_context(served(pg, conf))
        for name in names:
            with host.connect(dbname=name) as c:
                c.execute("SELECT 1")

        def silenced():
            alerts = [a for a in host.console("SHOW ALERTS") if a["labels"]]
            return {n for n in names for a in alerts if 'database="%s"' % n in a["labels"] and a["note"] == "silenced"}

        def check(wanted, matchers):
            wait_for(lambda: silenced() == wanted, what="%s alone is silenced" % wanted)
            (row,) = host.console("SHOW SILENCES")
            equal((row["matchers"], row["comment"]), (matchers, "it is known"))
            host.console("UNSILENCE " + row["id"])
            wait_for(lambda: not silenced(), what="none is")

        wait_for(lambda: len(host.console("SHOW ALERTS")) >= len(names), what="all alerts")
        host.console('SILENCE rule=one database="two words" FOR 1h COMMENT it is known')
        check({"two words"}, 'rule=one database="two words"')
        quoted = r'database="a*b \"c\"\\"'
        host.console("SILENCE %s FOR 1h it is known" % quoted)
        check({names[1]}, quoted)
        for words in (["silence", quoted, "for", "1h", "it is known"], ["silence " + quoted + " for 1h it is known"]):
            equal(host.control(*words).returncode, 0)
            check({names[1]}, quoted)
        equal(host.control("silence", "database=two words", "for", "1h", "it is known").returncode, 0)
        check({"two words"}, 'database="two words"')
        body = json.dumps({"args": [quoted, "FOR", "1h", "COMMENT", "it is known"]})
        equal(post(host, "/api/v1/silence", body)[0], 200)
        check({names[1]}, quoted)
        host.console("SILENCE database=a*b* FOR 1h it is known")
        check({"axb", names[1]}, "database=a*b*")
        host.console('SILENCE database=~"plain[0-9]" database!="plain2" FOR 1h it is known')
        check({"plain1"}, 'database=~"plain[0-9]" database!=plain2')
        for i in range(3):
            host.console("SILENCE database=none%d FOR 1h" % i)
        with expect_error(match="there are 3 silences already"):
            host.console("SILENCE database=none FOR 1h")
        metric = lambda: [m["value"] for m in host.console("SHOW METRICS howdah_alert_silences")]
        wait_for(lambda: metric() == [3], what="the gauge says so")


main()
