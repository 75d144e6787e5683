"""
The host's HTTP server: real requests over real sockets, who is let in, and what comes at it from the wrong side.
"""

import base64
import contextlib
import gzip
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import time

from httphost import ask, post, served, write
from harness import BUILDDIR, Host, Postgres, end, equal, expect_error, free_port, main, make_certificates, spawn, temp_dir, test, wait_for

pg = Postgres()


def plugin(name):
    return os.path.join(BUILDDIR, "tests/integration/plugins/.libs/%s.so" % name)



@test("/livez answers, on a connection that stays; what is not there is 404 with problem details")
def livez():
    with served(pg) as host:
        c = http.client.HTTPConnection("127.0.0.1", host.http_port, timeout=20)
        for _ in range(3):
            c.request("GET", "/livez")
            r = c.getresponse()
            equal((r.status, r.read()), (200, b"ok\n"))
            equal(r.headers["X-Content-Type-Options"], "nosniff")
        c.request("HEAD", "/livez")
        r = c.getresponse()
        equal((r.status, r.read(), r.headers["Content-Length"]), (200, b"", "3"))
        c.close()
        status, headers, body = ask(host, "/nothing")
        equal((status, headers["Content-Type"]), (404, "application/problem+json"))
        equal(json.loads(body)["status"], 404)


@test("without [http] nothing listens; a reload opens, moves and closes it")
def reload():
    a, b = free_port(), free_port()
    with Host(pg) as host:
        for port in (a, b):
            host.configure({"http": {"listen": "127.0.0.1:%d" % port}})
            equal(host.control("reload").returncode, 0)
            equal(ask(host, "/livez", port=port)[0], 200)
        refused(a)
        host.configure(None)
        equal(host.control("reload").returncode, 0)
        refused(b)


@test("/readyz and /health: a node that goes makes the host not ready, and comes back")
def ready():
    own = Postgres()
    port = free_port()
    with Host(own, {"http": {"listen": "127.0.0.1:%d" % port}}) as host:
        host.http_port = port
        wait_for(lambda: ask(host, "/readyz")[0] == 200, what="the node is known to be up")
        status, headers, body = ask(host, "/health")
        report = json.loads(body)
        equal((status, headers["Content-Type"], report["status"]), (200, "application/json", "ok"))
        equal(report["active"], report["total"])
        kinds = {c["kind"] for c in report["components"]}
        equal(kinds, {"host", "listener", "node", "jobs"})
        own.stop()
        host.control("node", "ping")
        status, _, body = ask(host, "/readyz")
        equal((status, body), (503, "no node is reachable\n"))
        status, _, body = ask(host, "/health")
        report = json.loads(body)
        node = [c for c in report["components"] if c["kind"] == "node"][0]
        equal((status, report["ready"], node["active"], node["state"]), (503, False, False, "down"))
        assert node["reason"], node
        equal(ask(host, "/livez")[0], 200)
        own.start()
        host.control("node", "ping")
        equal(ask(host, "/readyz")[0], 200)
    own.stop()


@test("/health names a plugin that is refused, and none that is switched off")
def health_plugins():
    changes = {"plugin statements": {}, "plugin nowhere": {"library": "/nowhere.so"}, "plugin guard": {"enabled": "no"}}
    with served(pg, changes) as host:
        status, _, body = ask(host, "/health")
        parts = {c["name"]: c for c in json.loads(body)["components"] if c["kind"] == "plugin"}
        equal(status, 503)
        equal(sorted(parts), ["nowhere", "statements"])
        equal((parts["statements"]["active"], parts["nowhere"]["active"]), (True, False))
        assert "nowhere.so" in parts["nowhere"]["reason"], parts


def promtool(text):
    return subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)


@test("/metrics pass promtool, in Prometheus' format; OpenMetrics where it is asked for")
def metrics():
    with served(pg, {"plugin statements": {}, "plugin cache-memory": {}, "plugin cache": {"stores": "memory"}}) as host:
        with host.connect() as c:
            for i in range(50):
                c.execute("SELECT %d" % i)
        status, headers, text = ask(host, "/metrics")
        equal((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        result = promtool(text)
        equal((result.returncode, result.stdout, result.stderr), (0, "", ""))
        assert "\nhowdah_http_requests_total{code=" in text, text
        assert re.search(r"^howdah_statement_seconds\{.*quantile=\"0.95\"\} [0-9.e-]+$", text, re.M), text
        accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        status, headers, text = ask(host, "/metrics", headers=accept)
        equal(headers["Content-Type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
        assert text.endswith("\n# EOF\n"), text[-200:]
        families = openmetrics(text)
        equal(families["howdah_http_requests"]["type"], "counter")
        equal(families["howdah_statement_seconds"]["unit"], "seconds")


def openmetrics(text):
    """A strict reading of OpenMetrics 1.0: families in one piece, types before samples, suffixes as the type says."""
    families, seen, now = {}, set(), None
    allowed = {"counter": ("_total",), "gauge": ("",), "summary": ("", "_sum", "_count"),
               "histogram": ("_bucket", "_sum", "_count")}
    lines = text.split("\n")
    equal(lines[-2:], ["# EOF", ""])
    for line in lines[:-2]:
        if line.startswith("# "):
            _, what, name, rest = (line + " ").split(" ", 3)
            if what == "TYPE":
                assert name not in families, "family %s is in pieces" % name
                now = families[name] = {"type": rest.strip(), "samples": 0}
                now["name"] = name
            elif what == "UNIT":
                now["unit"] = rest.strip()
                assert name.endswith("_" + now["unit"]), line
            else:
                equal(what, "HELP")
            equal(name, now["name"])
            continue
        m = re.fullmatch(r'([a-z_:][a-z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)', line)
        assert m, line
        suffix = m[1].removeprefix(now["name"])
        assert suffix in allowed[now["type"]], line
        assert (m[1], m[2]) not in seen, line
        seen.add((m[1], m[2]))
        float(m[3])
        now["samples"] += 1
    assert all(f["samples"] for f in families.values())
    return families


@test("a real Prometheus scrapes it, with a token from a file")
def prometheus():
    token = "a-token-of-forty-characters-or-nearly-so"
    with served(pg, token=token) as host:
        where = temp_dir()
        write(where, "token", token)
        port = free_port()
        config = write(
            where,
            "prometheus.yml",
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n"
            "  - job_name: howdah\n"
            "    authorization: {credentials_file: %s/token}\n"
            "    static_configs: [{targets: ['127.0.0.1:%d']}]\n" % (where, host.http_port),
        )
        p = spawn(
            ["prometheus", "--config.file=" + config, "--storage.tsdb.path=" + where + "/data",
             "--web.listen-address=127.0.0.1:%d" % port, "--log.level=error"],
            cwd=where,
        )  # fmt: skip
        try:

            def scraped():
                with contextlib.suppress(OSError):
                    status, _, body = ask(host, "/api/v1/query?query=howdah_http_connections", port=port)
                    return status == 200 and json.loads(body)["data"]["result"]

            sample = wait_for(scraped, what="Prometheus has scraped")[0]
            equal(sample["metric"]["__name__"], "howdah_http_connections")
            assert float(sample["value"][1]) >= 1, sample

            def up():  # a scrape that takes too long is made good by the next
                _, _, body = ask(host, "/api/v1/targets", port=port)
                target = json.loads(body)["data"]["activeTargets"][0]
                return (target["health"], target["lastError"]) == ("up", "")

            wait_for(up, what="Prometheus is content")
            where = {"Authorization": "Bearer " + token}
            assert "\nhowdah_http_compressed_total 0\n" not in ask(host, "/metrics", headers=where)[2]  # it takes gzip
        finally:
            end(p)


@test("every read-only command of the registry answers as JSON with typed columns; others are posted")
def api():
    with served(pg, {"plugin statements": {}, "plugin guard": {}}) as host:
        with host.connect() as c:
            c.execute("SELECT 'a''b', 1")
            status, headers, body = ask(host, "/api/v1/pools")
        equal((status, headers["Content-Type"]), (200, "application/json"))
        pools = json.loads(body)
        equal(pools["command"], "SHOW POOLS")
        types = {c["name"]: c["type"] for c in pools["columns"]}
        row = pools["rows"][0]
        equal(sorted(row), sorted(types))
        python = {"int": int, "text": str, "bool": bool, "real": (float, int), "time": str}
        for name, value in row.items():
            assert value is None or isinstance(value, python[types[name]]), (name, value, types[name])
        for name, usage, *_ in [tuple(r.values()) for r in host.console("HELP")]:
            path = "/api/v1/" + name.removeprefix("SHOW ").lower().replace(" ", "/")
            argument = {"OPTIONS": "?arg=guard"}.get(name, "")
            status, headers, body = ask(host, path + argument)
            if status == 405:
                equal(headers["Allow"], "POST")
            else:
                equal(status, 200, body)
        _, _, body = ask(host, "/api/v1/options?arg=statements")
        assert all("statements" in r["section"] for r in json.loads(body)["rows"]), body
        nodes = json.loads(ask(host, "/api/v1/nodes")[2])
        since = [r for r in nodes["rows"]][0]
        times = [c["name"] for c in nodes["columns"] if c["type"] == "time"]
        assert times and all(re.fullmatch(r"[-0-9]+T[0-9:.]+Z", since[t]) for t in times if since[t]), nodes


@test("POST takes a JSON object of arguments and says what is wrong with it")
def api_post():
    with served(pg, {"plugin statements": {}, "plugin guard": {}}) as host:
        status, _, body = post(host, "/api/v1/plugin", '{"args": ["guard", "DISABLE"]}')
        equal((status, json.loads(body)["command"]), (200, "PLUGIN"))
        state = {r["name"]: r["state"] for r in host.console("SHOW PLUGINS")}["guard"]
        assert state in ("stopped", "stopping"), state
        equal(post(host, "/api/v1/statements/reset", "")[0], 200)
        equal(post(host, "/api/v1/statements/reset", "{}")[0], 200)
        equal(post(host, "/api/v1/reload", "{}")[0], 200)
        equal(post(host, "/api/v1/node/ping", '{"args": ["main"]}')[0], 200)
        equal(post(host, "/api/v1/node/ping", '{"args": ["nowhere"]}')[0], 404)
        for wrong in ("[]", "{", '{"args": 1}', '{"args": [null]}', '{"args": [[1]]}', '{"arg": []}', '"x"',
                      '{"args": [], "args": []}', '{"args": ["\\u0000"]}', "\xff"):  # fmt: skip
            status, headers, body = post(host, "/api/v1/node/ping", wrong.encode("latin-1"))
            equal((status, headers["Content-Type"]), (400, "application/problem+json"), wrong)
            assert json.loads(body)["detail"], body
        equal(ask(host, "/api/v1/reload")[0], 405)
        equal(ask(host, "/api/v1/pools?top=5")[0], 400)
        equal(ask(host, "/api/v1/pools?arg=5")[0], 400)
        equal(ask(host, "/api/v1/POOLS")[0], 404)
        equal(ask(host, "/api/v1/")[0], 404)
        equal(ask(host, "/api/v1/pools/")[0], 404)
        equal(ask(host, "/api/v1/../livez")[0], 404)
        equal(ask(host, "/api/v1/reload", "POST", "{}", {"Content-Type": "text/plain"})[0], 415)
        equal(ask(host, "/api/v1/reload", "PUT", "{}")[0], 405)
        quoted = "a'b\"c; SHUTDOWN --"
        status, _, body = post(host, "/api/v1/node/ping", json.dumps({"args": [quoted]}))
        equal(status, 404, body)
        assert quoted in json.loads(body)["detail"], body


@test("the OpenAPI description lists every command, once")
def openapi():
    with served(pg, {"plugin statements": {}}) as host:
        d = json.loads(ask(host, "/api/v1/openapi.json")[2])
        equal(d["openapi"], "3.1.0")
        described = {op["x-command"] for p in d["paths"].values() for op in p.values() if "x-command" in op}
        names = {r["command"] for r in host.console("HELP")}
        equal(names - described, {"HELP"})  # which is SHOW HELP
        ids = [op["operationId"] for p in d["paths"].values() for op in p.values()]
        equal(len(ids), len(set(ids)))
        for path, item in d["paths"].items():
            for method, op in item.items():
                if "x-command" in op and method == "get" and "parameters" not in op:
                    equal(ask(host, path)[0], 200, path)
        text = json.dumps(d)
        for ref in re.findall(r'"\$ref": "#/([^"]*)"', text):
            at = d
            for step in ref.split("/"):
                at = at[step]


# --- pages of plugins ---------------------------------------------------------------------------------------------

PAGES = {"plugin pages": {"library": plugin("pages")}}


@test("a plugin's pages: at once, later from another thread, an error, none; they go with the plugin")
def pages():
    with served(pg, PAGES) as host:
        status, headers, body = ask(host, "/pages/")
        equal((status, headers["ETag"], headers["Cache-Control"]), (200, '"v1"', "no-cache"))
        assert body.startswith("<!doctype html>"), body
        assert "default-src 'self'" in headers["Content-Security-Policy"], headers
        status, headers, body = ask(host, "/pages/", headers={"If-None-Match": '"v0", "v1"'})
        equal((status, body, headers["ETag"]), (304, "", '"v1"'))
        equal(ask(host, "/pages/later")[2], "later\n")
        status, headers, body = ask(host, "/pages/nowhere")
        equal((status, headers["Content-Type"]), (404, "application/problem+json"))
        equal(ask(host, "/pages/twice")[2], "once\n")
        host.wait_log("answered twice or too late")
        equal(ask(host, "/pages/nothing")[0], 500)
        equal(post(host, "/pages/echo", '{"a": 1}')[2], '{"a": 1}')
        equal(post(host, "/pages/later", "{}")[0], 405)
        equal(ask(host, "/pagesX")[0], 404)
        equal(host.control("plugin", "pages", "disable").returncode, 0)
        wait_for(lambda: "is stopped" in ask(host, "/pages/")[2], what="the plugin has stopped")
        status, headers, body = ask(host, "/pages/later")
        equal((status, headers["Content-Type"], json.loads(body)["detail"]),
              (503, "application/problem+json", "the plugin pages, which has this, is stopped"))  # fmt: skip
        equal(host.control("plugin", "pages", "enable").returncode, 0)
        equal(ask(host, "/pages/")[0], 200)


@test("what a quarantined or stopped plugin has, pages and commands, is 503 with the reason, as text for browsers")
def plugins_down():
    plugins = {"plugin " + name: {"enabled": "yes", "library": plugin(name), "failures": 3} for name in ("pages", "verdicts")}
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    with served(pg, plugins) as host:
        equal(json.loads(ask(host, "/api/v1/verdicts")[2])["command"], "SHOW VERDICTS")
        with host.connect() as c:
            for _ in range(4):
                c.execute("/* verdict: fail */ SELECT 1")
        wait_for(lambda: "quarantined" in ask(host, "/api/v1/verdicts")[2], what="the quarantine")
        status, _, body = ask(host, "/api/v1/verdicts")
        (row,) = [r for r in host.console("SHOW PLUGINS") if r["name"] == "verdicts"]
        assert row["reason"], row
        equal((status, json.loads(body)["detail"]),
              (503, "the plugin verdicts, which has this, is quarantined: " + row["reason"]))  # fmt: skip
        assert host.console("SHOW VERDICTS"), "at the console whoever mends it may look"
        host.console("PLUGIN verdicts DISABLE")
        wait_for(lambda: "is stopped" in ask(host, "/api/v1/verdicts")[2], what="the plugin has stopped")
        with expect_error(match="SHOW VERDICTS is of the plugin verdicts, which does not run"):
            host.console("SHOW VERDICTS")
        for _ in range(3):
            equal(ask(host, "/pages/nothing")[0], 500)
        status, headers, body = ask(host, "/pages/", headers=browser)
        equal((status, headers["Content-Type"]), (503, "text/plain; charset=utf-8"))
        assert body.startswith("503 Service Unavailable\n\nthe plugin pages, which has this, is quarantined: "), body
        equal(ask(host, "/nothing", headers=browser)[1]["Content-Type"], "text/plain; charset=utf-8")
        equal(ask(host, "/api/v1/nothing")[0], 404)
        host.console("PLUGIN pages ENABLE")
        host.console("PLUGIN verdicts ENABLE")
        equal([ask(host, p)[0] for p in ("/pages/", "/api/v1/verdicts")], [200, 200])
        host.configure({"http": {"listen": "127.0.0.1:%d" % host.http_port}})
        equal(host.control("reload").returncode, 0)
        wait_for(lambda: [ask(host, p)[0] for p in ("/pages/", "/api/v1/verdicts")] == [404, 404], what="nothing of them")


@test("an open page needs no token, what is posted to it does, and it opens nothing else, not even at /")
def pages_open():
    with served(pg, PAGES, token=TOKEN) as host:
        for path in ("/", "/pages/public/", "/pagesX"):
            assert ask(host, path)[0] in (200, 404), path
        equal(post(host, "/pages/public/", "{}")[0], 401)
        equal(post(host, "/pages/public/", "{}", Authorization="Bearer " + TOKEN)[2], "{}")
        for path in ("/pages/", "/pages/later", "/health", "/metrics", "/api", "/api/", "/api/v1/pools",
                     "/api/v1/openapi.json", "/api/v1/nothing", "/api/v2", "/%61pi/v1/pools", "/health%00"):  # fmt: skip
            status, headers, _ = ask(host, path)
            if path == "/health%00":
                equal(status, 404)  # is not /health, but a page that there is not
            else:
                equal((status, len(headers.get_all("WWW-Authenticate", []))), (401, 2), path)
        headers = ask(host, "/health", headers={"Sec-Fetch-Mode": "cors"})[1]
        equal(headers.get_all("WWW-Authenticate"), ['Bearer realm="howdah"'])


@test("answers that nobody reads are bounded: larger ones are refused meanwhile, small ones are not")
def unread():
    with served(pg, PAGES, answer_memory="1M") as host:
        equal(len(ask(host, "/pages/large?n=0")[2]), 0)
        equal(len(ask(host, "/pages/large?n=5000000")[2]), 5000000)
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(20)
        s.connect(("127.0.0.1", host.http_port))
        s.sendall(b"GET /pages/large?n=20000000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = len(s.recv(1000))
        status, _, body = ask(host, "/pages/large?n=5000")
        equal((status, json.loads(body)["detail"]), (503, "too many answers have not been read yet"))
        equal(ask(host, "/pages/large?n=4000")[0], 200)
        equal(ask(host, "/livez")[0], 200)
        while chunk := s.recv(1 << 20):
            got += len(chunk)
        assert got > 20000000, got
        s.close()
        equal(len(ask(host, "/pages/large?n=5000")[2]), 5000)
        # The gauge is of the moment before: of this answer nothing is counted yet.
        assert "\nhowdah_http_answer_bytes 0\n" in ask(host, "/metrics")[2]


@test("a page that never answers: its request ends with the plugin")
def pages_never():
    with served(pg, PAGES) as host:
        with open_request(host, "/pages/never") as c:
            wait_for(lambda: "howdah_http_connections 2" in ask(host, "/metrics")[2], what="the request is there")
            equal(host.control("plugin", "pages", "disable").returncode, 0)
            equal(c.getresponse().status, 503)
        with open_request(host, "/livez") as c:
            equal(c.getresponse().status, 200)


@contextlib.contextmanager
def open_request(host, path):
    c = http.client.HTTPConnection("127.0.0.1", host.http_port, timeout=20)
    try:
        c.request("GET", path)
        yield c
    finally:
        c.close()


@test("a plugin's health is shown at /health and goes with it")
def pages_health():
    with served(pg, PAGES) as host:

        def heart():
            status, _, body = ask(host, "/health")
            found = [c for c in json.loads(body)["components"] if c["name"] == "pages: heart"]
            return status, found[0]["state"] if found else None

        wait_for(lambda: heart() == (200, None), what="the node is known to be up")
        ask(host, "/pages/health?still")
        equal(heart(), (503, "still"))
        ask(host, "/pages/health?well")
        equal(heart()[1], "still")  # its value is empty
        ask(host, "/pages/health?is=well")
        equal(heart(), (200, "beating"))
        ask(host, "/pages/health?is=still")
        host.control("plugin", "pages", "disable")
        wait_for(lambda: heart() == (200, None), what="the plugin has stopped")


@test("/health says why a change stream does not run, and when it does")
def health_stream():
    own = Postgres({"wal_level": "replica"})
    changes = {
        "plugin change-stream": {"retry_interval": "50ms"},
        "plugin cache-memory": {},
        "plugin cache": {"stores": "memory"},
        "node main": {"control_user": "postgres"},
        "database *": {"pool_mode": "auto"},
    }
    own.execute("CREATE TABLE numbers (id int PRIMARY KEY); GRANT ALL ON numbers TO PUBLIC")
    with served(own, changes) as host:

        def stream():
            with host.connect() as c:
                c.execute("SELECT * FROM numbers WHERE id = 1")
            parts = json.loads(ask(host, "/health")[2])["components"]
            found = [p for p in parts if p["kind"] == "part" and p["name"].startswith("change-stream: stream main")]
            return found and found[0]

        part = wait_for(lambda: (p := stream()) and p.get("reason") and p, what="it says why the stream does not run")
        equal((part["active"], ask(host, "/health")[0]), (False, 503))
        assert "wal_level" in part["reason"], part
        own.execute("ALTER SYSTEM SET wal_level = logical")
        own.restart()
        wait_for(lambda: (p := stream()) and p["active"], 30, what="the stream runs")
    own.stop()


@test("a stream of events: sent, bounded for slow readers, ended by the plugin, the client, a reload and the end")
def streams():
    with served(pg, PAGES) as host:
        with open_request(host, "/pages/stream") as c:
            r = c.getresponse()
            equal((r.status, r.headers["Content-Type"]), (200, "text/event-stream"))
            equal([r.readline() for _ in range(6)],
                  [b": howdah\n", b"\n", b"event: hello\n", b"data: one\n", b"data: two\n", b"\n"])  # fmt: skip
            ask(host, "/pages/send?n=1")
            equal(r.readline(), b"data: x" + b"\0" * 1023 + b"\n")
            equal(r.readline(), b"\n")
            ask(host, "/pages/end")
            equal(r.read(), b"")
            wait_for(lambda: "closed 1 " in ask(host, "/pages/send")[2], what="the plugin knows that it ended")
        with open_request(host, "/pages/stream") as c:
            c.getresponse().readline()
            _, _, counts = ask(host, "/pages/send?n=100000")
            assert int(re.search(r"full (\d+)", counts)[1]) > 0, counts
        # The client has gone, which shows when something is written.
        wait_for(lambda: "closed 2 " in ask(host, "/pages/send?n=1")[2], what="the plugin knows that the client went")
        with open_request(host, "/pages/stream") as c:
            r = c.getresponse()
            r.readline()
            host.configure({**PAGES, "http": {"listen": "127.0.0.1:%d" % host.http_port, "max_connections": 100}})
            equal(host.control("reload").returncode, 0)
            r.read()
            wait_for(lambda: "closed 3 " in ask(host, "/pages/send")[2], what="the reload has ended the stream")
        with open_request(host, "/pages/stream") as c:
            r = c.getresponse()
            r.readline()
            host.stop()
            r.read()


@test("what is long goes out as gzip to whoever takes that, and is another version of the same")
def compressed():
    def answers(host, path, accepted, **headers):
        c = http.client.HTTPConnection("127.0.0.1", host.http_port, timeout=20)
        c.request("GET", path, headers={"Accept-Encoding": accepted, **headers} if accepted is not None else headers)
        r = c.getresponse()
        body = r.read()
        c.close()
        packed = r.headers["Content-Encoding"] == "gzip"
        return r, packed, gzip.decompress(body) if packed else body, len(body)

    with served(pg, PAGES, compress_most="64K") as host:
        for accepted, packs in [
            ("gzip", True), ("br, gzip;q=0.5", True), ("GZIP", True), ("*", True), ("deflate, *;q=0.1", True),
            (None, False), ("", False), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.0, *", False), ("br", False),
            ("*;q=0", False), ("xgzip", False), ("x-gzip", True), ("gzip;q=0.5, identity", False), ("gzip;q=0.5, identity;q=0.4", True),
            ("gzip;level=1;q=0", False), ("gzip;q=0.000", False), ("gzip;q=0.001", True), ('deflate;a="b,gzip"', False), ("gzipx, deflate", False), (";;,,q=1,gzip;;", True), (",;=" * 500, False),
        ]:  # fmt: skip
            r, packed, body, length = answers(host, "/api/v1/openapi.json", accepted)
            equal((r.status, packed, r.headers["Vary"]), (200, packs, "Accept-Encoding"), accepted)
            equal(json.loads(body)["openapi"], "3.1.0")
            equal(int(r.headers["Content-Length"]), length)
            assert not packs or length < len(body) / 3, (length, len(body))
        r, packed, body, _ = answers(host, "/metrics", "gzip")
        equal((packed, r.headers.get_all("Vary")), (True, ["Accept-Encoding", "Accept"]))
        promtool(body.decode())
        for path in ("/livez", "/api/v1/nothing", "/pages/later"):  # are short
            r, packed, *_ = answers(host, path, "gzip")
            equal((packed, r.headers["Vary"]), (False, None), path)
        for length, packs in ((1023, False), (1024, True), (65536, True), (65537, False)):
            r, packed, body, _ = answers(host, "/pages/large?n=%d" % length, "gzip")
            equal((packed, len(body)), (packs, length))
        host.configure({**PAGES, "http": {"listen": "127.0.0.1:%d" % host.http_port, "compress_from": "1"}})
        equal(host.control("reload").returncode, 0)
        r, packed, body, _ = answers(host, "/pages/", "gzip")
        equal((packed, r.headers["ETag"], r.headers["Vary"]), (True, '"v1-gzip"', "Accept-Encoding"))
        assert body.startswith(b"<!doctype html>"), body
        for accepted, known, status in (("gzip", '"v1-gzip"', 304), ("gzip", '"v1"', 200), (None, '"v1"', 304),
                                        (None, '"v1-gzip"', 200), ("gzip", 'W/"v0", W/"v1-gzip"', 304), (None, "*", 304),
                                        (None, '"v0","v1"', 304), (None, 'v1', 200), (None, '"x"v1"', 200)):  # fmt: skip
            r, packed, body, length = answers(host, "/pages/", accepted, **{"If-None-Match": known})
            equal((r.status, r.headers["ETag"]), (status, '"v1-gzip"' if accepted else '"v1"'), (accepted, known))
            equal((packed, length > 0, r.headers["Vary"]), (bool(accepted) and status == 200, status == 200, "Accept-Encoding"))
        c = http.client.HTTPConnection("127.0.0.1", host.http_port, timeout=20)
        c.request("HEAD", "/metrics", headers={"Accept-Encoding": "gzip"})
        r = c.getresponse()
        equal((r.status, r.headers["Content-Encoding"], r.read()), (200, "gzip", b""))
        c.close()
        saved = [n for n in ask(host, "/metrics")[2].splitlines() if n.startswith("howdah_http_compressed_saved_bytes_total ")]
        assert float(saved[0].split()[1]) > 60000, saved
        host.configure({**PAGES, "http": {"listen": "127.0.0.1:%d" % host.http_port, "compress_from": "0"}})
        equal(host.control("reload").returncode, 0)
        r, packed, *_ = answers(host, "/metrics", "gzip")
        equal((packed, r.headers.get_all("Vary")), (False, ["Accept"]))


@test("Accept and If-None-Match are weighed as HTTP says, over all their lines; Allow says what may be done")
def negotiated():
    def get(host, path, *lines, method="GET"):
        c = http.client.HTTPConnection("127.0.0.1", host.http_port, timeout=20)
        c.putrequest(method, path)
        for name, value in lines:
            c.putheader(name, value)
        c.endheaders()
        r = c.getresponse()
        body = r.read()
        c.close()
        return r, body

    with served(pg, PAGES) as host:
        openmetrics = "application/openmetrics-text"
        for accepted, is_open in [
            (openmetrics, True), (openmetrics.upper(), True), (openmetrics + ";q=0", False), (openmetrics + ";version=1.0.0;q=0", False),
            (openmetrics + ";version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.6", False), ("*/*", False), ("text/plain", False),
            (openmetrics + ";version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.9", True), ("x" + openmetrics, False),
        ]:  # fmt: skip
            r, _ = get(host, "/metrics", ("Accept", accepted))
            equal((r.status, r.headers["Content-Type"].startswith(openmetrics)), (200, is_open), accepted)
        r, _ = get(host, "/metrics", ("Accept", "text/plain;q=0.5"), ("Accept", openmetrics))
        assert r.headers["Content-Type"].startswith(openmetrics), r.headers.items()
        for accepted, kind in [("text/html", "text/plain"), ("text/html;q=0", "application/problem"), ("*/*", "application/problem"),
                               ("text/html, application/json;q=0", "text/plain"), ("text/html, application/json", "application/problem")]:  # fmt: skip
            r, _ = get(host, "/api/v1/nothing", ("Accept", accepted))
            equal((r.status, r.headers["Content-Type"].startswith(kind)), (404, True), accepted)
        r, body = get(host, "/pages/", ("If-None-Match", '"v0"'), ("If-None-Match", '"v1"'))
        equal((r.status, body, r.headers["ETag"], r.headers["Cache-Control"]), (304, b"", '"v1"', "no-cache"))
        r, body = get(host, "/pages/", method="HEAD")
        plain, whole = get(host, "/pages/")
        equal((r.status, body, r.headers["ETag"], r.headers["Content-Length"]), (200, b"", '"v1"', str(len(whole))))
        equal(sorted(r.headers.keys()), sorted(plain.headers.keys()), "HEAD says what GET does")
        equal(get(host, "/pages/", ("If-None-Match", "*"), method="HEAD")[0].status, 304)
        for path, methods in (("/livez", "GET, HEAD"), ("/metrics", "GET, HEAD"), ("/pages/later", "GET, HEAD"),
                              ("/pages/echo", "GET, HEAD, POST"), ("/api/v1/node/ping", "GET, HEAD, POST")):  # fmt: skip
            r, _ = get(host, path, method="DELETE")
            equal((r.status, r.headers["Allow"]), (405, methods), path)
        r, _ = get(host, "/livez", ("Content-Length", "0"), ("Content-Type", "application/json"), method="POST")
        equal((r.status, r.headers["Allow"]), (405, "GET, HEAD"))


@test("streams leave half of the connections to others")
def streams_many():
    with served(pg, PAGES, max_connections=10) as host:
        with contextlib.ExitStack() as stack:
            got = [stack.enter_context(open_request(host, "/pages/stream")).getresponse().status for _ in range(6)]
            equal(got, [200] * 5 + [503])
            equal(ask(host, "/readyz")[1]["Content-Type"], "text/plain; charset=utf-8")


# --- who is let in ------------------------------------------------------------------------------------------------

TOKEN = "0123456789abcdef0123456789abcdef"


def basic(password, user="any"):
    return "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()


@test("with a token all but the probes need it, as bearer or as password; a wrong one is counted and logged once")
def tokens():
    with served(pg) as host:
        folder = temp_dir()
        path = write(folder, "token", TOKEN + "\n")
        host.configure({"http": {"listen": "127.0.0.1:%d" % host.http_port, "token_file": path}})
        equal(host.control("reload").returncode, 0)
        for probe in ("/livez", "/readyz"):
            assert ask(host, probe)[0] in (200, 503)
        began = time.monotonic()
        wrong = [None, "Bearer", "Bearer ", "Bearer x", "Bearer " + TOKEN + "x", "Bearer " + TOKEN[:-1], TOKEN,
                 basic(""), basic("x"), "Basic " + TOKEN, "Basic !!!", "Basic", "Digest " + TOKEN,
                 "Basic " + "A" * 4000, "Basic " + base64.b64encode(TOKEN.encode()).decode()]  # fmt: skip
        for path in ("/", "/health", "/metrics", "/api/v1/pools", "/api/v1/openapi.json", "/nothing"):
            for value in wrong:
                headers = {} if value is None else {"Authorization": value}
                status, got, body = ask(host, path, headers=headers)
                equal((status, got["Content-Type"]), (401, "application/problem+json"), value)
                equal(got.get_all("WWW-Authenticate")[0], 'Bearer realm="howdah"')
                assert TOKEN not in body, body
        equal(post(host, "/api/v1/reload", "{}")[0], 401)
        for right in ("Bearer " + TOKEN, "bearer " + TOKEN, basic(TOKEN), basic(TOKEN, ""), "Basic " + basic(TOKEN)[6:]):
            equal(ask(host, "/metrics", headers={"Authorization": right})[0], 200, right)
            equal(post(host, "/api/v1/statements", "{}", Authorization=right)[0], 404)
        text = ask(host, "/metrics", headers={"Authorization": basic(TOKEN)})[2]
        failures = int(re.search(r"^howdah_http_auth_failures_total (\d+)", text, re.M)[1])
        equal(failures, 6 * len(wrong) + 1)
        # One line in ten seconds.
        assert 1 <= host.log_text().count("without the right token") <= 1 + (time.monotonic() - began) // 10
        assert TOKEN not in host.log_text()
        assert TOKEN not in host.run("--dump-config").stdout


@test("without a token only names of this machine are answered, and what is posted must be JSON")
def no_token():
    with served(pg) as host:
        for name in ("localhost", "127.0.0.1", "[::1]", "127.1.2.3:80", "LOCALHOST:%d" % host.http_port):
            equal(ask(host, "/health", headers={"Host": name})[1]["Content-Type"], "application/json", name)
        for name in ("example.com", "localhost.example.com", "10.0.0.1", "[2001:db8::1]", "", "[::1", "x" * 300):
            equal(ask(host, "/health", headers={"Host": name})[0], 403, name)
            equal(ask(host, "/livez", headers={"Host": name})[0], 200, name)
        for kind in (None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
            headers = {"Content-Type": kind} if kind else {}
            equal(ask(host, "/api/v1/reload", "POST", "{}", headers)[0], 415, kind)
        equal(post(host, "/api/v1/reload", "{}", **{"Content-Type": "application/json; charset=utf-8"})[0], 200)
        for name in ("Access-Control-Allow-Origin", "Server"):
            assert name not in ask(host, "/health", headers={"Origin": "http://example.com"})[1], name


@test("-t and the start refuse other addresses without a token, tokens that are none, and files that others may read")
def refused_settings():
    folder = temp_dir()
    listen = "127.0.0.1:%d" % free_port()
    cases = [
        ({"listen": "0.0.0.0:%d" % free_port()}, "that needs a token"),
        ({"listen": "[::]:%d" % free_port()}, "that needs a token"),
        ({"listen": listen, "token": "short"}, "token must have 16"),
        ({"listen": listen, "token": "with blanks in it, which is wrong"}, "printable ASCII"),
        ({"listen": listen, "token_file": write(folder, "open", TOKEN, 0o644)}, "others may read or write it"),
        ({"listen": listen, "token_file": write(folder, "empty", "")}, "token_file gives no token"),
        ({"listen": listen, "token": ""}, "token gives no token"),
        ({"listen": listen, "token_file": folder + "/nowhere"}, "nowhere"),
        ({"listen": listen, "tls_cert": folder + "/nowhere"}, "tls needs tls_cert and tls_key"),
        ({"listen": "unix:/tmp/x"}, "listen must be an address and a port"),
        ({"listen": listen + ", " + listen}, "is listened on already by [http]"),
        ({"listen": listen, "rates": "1"}, "rate"),
    ]
    with Host(pg) as host:
        for keys, text in cases:
            host.configure({"http": keys})
            result = host.run("-t")
            equal(result.returncode, 1, keys)
            assert text in result.stderr, (keys, result.stderr)
            result = host.control("reload")
            equal(result.returncode, 1, keys)
            assert TOKEN not in result.stderr
        host.configure({"http": {"listen": "127.0.0.1:%d" % host.port}})
        assert "is listened on already by [listener main]" in host.run("-t").stderr
        taken = socket.create_server(("127.0.0.1", 0))
        host.configure({"http": {"listen": "127.0.0.1:%d" % taken.getsockname()[1]}})
        result = host.control("reload")
        assert "cannot listen on" in result.stderr and "Address already in use" in result.stderr, result.stderr
        taken.close()
        host.configure({"http": {"listen": "0.0.0.0:%d" % free_port(), "token": TOKEN}})
        result = host.run("-t")
        equal(result.returncode, 0, result.stderr)
        assert "the token goes in the clear" in result.stderr, result.stderr


@test("TLS: versions below 1.2 are refused, a reload takes a new certificate")
def tls():
    folder, other = temp_dir(), temp_dir()
    make_certificates(folder)
    make_certificates(other)
    port = free_port()

    def keys(where):
        return {"http": {"listen": "localhost:%d" % port, "tls_cert": where + "/server.crt",
                         "tls_key": where + "/server.key", "token": TOKEN}}  # fmt: skip

    def ask_tls(where, **context):
        c = http.client.HTTPSConnection("localhost", port, timeout=20, context=tls_context(where, **context))
        try:
            c.request("GET", "/metrics", headers={"Authorization": "Bearer " + TOKEN})
            r = c.getresponse()
            return r.status, c.sock.version() if c.sock else None, r.read()
        finally:
            c.close()

    with Host(pg, keys(folder)) as host:
        status, version, body = ask_tls(folder)
        equal((status, version), (200, "TLSv1.3"))
        assert b"howdah_http_connections 1" in body
        equal(ask_tls(folder, maximum=ssl.TLSVersion.TLSv1_2)[:2], (200, "TLSv1.2"))
        for broken in (lambda: ask_tls(folder, maximum=ssl.TLSVersion.TLSv1_1), lambda: ask_tls(other)):
            try:
                broken()
            except ssl.SSLError:
                continue
            raise AssertionError("that connection should have failed")
        s = socket.create_connection(("localhost", port), 20)
        s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"200 OK" not in s.recv(1000)
        s.close()
        host.configure(keys(other))
        equal(host.control("reload").returncode, 0)
        equal(ask_tls(other)[0], 200)


def tls_context(folder, maximum=None):
    context = ssl.create_default_context(cafile=folder + "/ca.crt")
    if maximum:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = maximum
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@test("allow keeps other networks out")
def allow():
    with served(pg, allow="127.0.0.2/32") as host:
        s = socket.create_connection(("127.0.0.1", host.http_port), 20)
        equal(s.recv(10), b"")
        s.close()
        s = socket.create_connection(("127.0.0.1", host.http_port), 20, source_address=("127.0.0.2", 0))
        s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in s.recv(1000)
        s.close()


# --- what comes at it ---------------------------------------------------------------------------------------------


def raw(host, data, half_close=False):
    """Sends bytes and returns all that comes back until the host closes."""
    s = socket.create_connection(("127.0.0.1", host.http_port), 20)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := s.recv(65536):
                got += chunk
        return got
    finally:
        s.close()


@test("malformed requests are refused and harm nobody")
def malformed():
    head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
    with served(pg, idle_timeout="1s", request_timeout="1s") as host:
        bad = [
            b"\0" * 1000, b"\r\n" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            b"GET " + b"/" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", head + b"X: " + b"y" * 100000 + b"\r\n\r\n",
            head + b"X: y\r\n" * 20000 + b"\r\n", b"GET /livez HTTP/1.1\r\n\r\n",
            b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n{}",
            b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /%zz%00%ff%2e%2e/..//api/v1/pools HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"GET /api/v1/pools%00x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"GET /api/v1/options?arg=%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"GET /api/v1/options?arg=%ff%fe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"GET /api/v1/options?" + b"arg=x&" * 1000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 5\r\n\r\nab",
        ]  # fmt: skip
        for data in bad:
            got = raw(host, data)
            statuses = re.findall(rb"HTTP/1\.[01] (\d+) ", got)
            assert all(s[:1] == b"4" or s == b"505" for s in statuses) or data.startswith((b"GET /livez HTTP/1.1\r\n\r\n", b"GET /metrics")), (
                data[:200], got[:500])  # fmt: skip
            equal(ask(host, "/livez")[0], 200)
        equal(raw(host, head[: len(head) // 2], half_close=True), b"")
        both = raw(host, head + b"\r\n" + head + b"Connection: close\r\n\r\n")
        equal(both.count(b"200 OK"), 2)


@test("bodies past max_request_size are refused, announced or not")
def large():
    with served(pg, max_request_size="1K") as host:
        for size, status in ((500, 400), (1024, 400), (1025, 413), (10 << 20, 413)):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                equal(post(host, "/api/v1/node/ping", b"[" + b" " * (size - 2) + b"]")[0], status, size)
        chunks = b"".join(b"400\r\n" + b" " * 0x400 + b"\r\n" for _ in range(100)) + b"0\r\n\r\n"
        got = raw(host, b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                  b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)  # fmt: skip
        assert b" 413 " in got or not got, got
        equal(ask(host, "/livez")[0], 200)


@test("who sends a byte now and then, or nothing, is cut off; others are served meanwhile")
def slow():
    with served(pg, request_timeout="1s", idle_timeout="10m") as host:
        silent = socket.create_connection(("127.0.0.1", host.http_port), 20)
        drip = socket.create_connection(("127.0.0.1", host.http_port), 20)
        body = socket.create_connection(("127.0.0.1", host.http_port), 20)
        body.sendall(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 50\r\n\r\n")  # fmt: skip
        request = iter(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"y" * 10000)
        ended = set()

        def all_ended():
            for s in (drip, body):
                with contextlib.suppress(OSError):
                    s.sendall(bytes([next(request)]) if s is drip else b" ")
            for s in (silent, drip, body):
                s.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    try:
                        if s.recv(1000) == b"":
                            ended.add(s)
                    except ConnectionResetError:
                        ended.add(s)
            equal(ask(host, "/livez")[0], 200)
            return len(ended) == 3

        wait_for(all_ended, what="all three are cut off")


@test("a flood of connections: those past the bound are closed, and when it ends others are served")
def flood():
    with served(pg, max_connections=20, max_connections_per_address=0) as host:
        held = []
        for _ in range(500):
            s = socket.create_connection(("127.0.0.1", host.http_port), 20)
            s.sendall(b"GET /livez HTTP/1.1\r\n")
            held.append(s)
        with host.connect() as c:
            equal(c.execute("SELECT 1").fetchone(), (1,))
        for s in held:
            s.close()
        wait_for(lambda: answers(host), what="connections are free again")
        text = ask(host, "/metrics")[2]
        assert int(re.search(r"^howdah_http_refused_connections_total (\d+)", text, re.M)[1]) >= 400, text


def answers(host):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(host, "/livez")[0] == 200


@test("more requests than rate are refused with 429, but probes are not")
def rate():
    with served(pg, rate=5) as host:
        got = [ask(host, "/metrics") for _ in range(30)]
        statuses = [g[0] for g in got]
        assert statuses[:5] == [200] * 5 and 429 in statuses, statuses
        equal([g[1]["Retry-After"] for g in got if g[0] == 429][0], "1")
        equal([ask(host, "/livez")[0] for _ in range(30)], [200] * 30)


@test("a host that drains is alive, not ready, and still tells how it is")
def draining():
    with served(pg, {"host": {"drain_timeout": "60s"}}) as host:
        with host.connect(autocommit=False) as c:
            c.execute("SELECT 1")
            equal(post(host, "/api/v1/shutdown", "{}")[0], 200)
            wait_for(lambda: ask(host, "/readyz")[0] == 503, what="it drains")
            equal(ask(host, "/readyz")[2], "draining\n")
            equal(ask(host, "/livez")[0], 200)
            status, _, body = ask(host, "/health")
            equal((status, json.loads(body)["components"][0]["state"]), (503, "draining"))
            c.commit()
        host.process.wait(20)
        refused(host.http_port)


@test("an upgrade: the socket stays open, and the new host answers")
def upgrade():
    with served(pg) as host:
        old = host.host_pid()
        status, _, body = post(host, "/api/v1/upgrade", "{}")
        equal(status, 200, body)
        assert json.loads(body)["message"].startswith("upgraded"), body

        def answered_by():
            rows = json.loads(ask(host, "/api/v1/status")[2])["rows"]
            return next(r["value"] for r in rows if r["what"] == "pid")

        # Both have the socket until the old one has left it.
        wait_for(lambda: answered_by() != str(old), what="the new host answers")
        wait_for(lambda: len(host.host_pids()) == 1, what="the old host has gone")
        equal(ask(host, "/livez")[0], 200)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def refused(port):
    """Soon: the supervisor has the socket, too, and closes it when it is told."""
    wait_for(lambda: not listens(port), what="nothing listens on port %d any more" % port)


if __name__ == "__main__":
    main()
