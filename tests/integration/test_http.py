"""
The host's HTTP server: real requests over real sockets, who is let in, and what comes at it from the wrong side.
"""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import time

from harness import BUILDDIR, Host, Postgres, end, equal, free_port, main, spawn, temp_dir, test, wait_for

pg = Postgres()


def plugin(name):
    return os.path.join(BUILDDIR, "tests/integration/plugins/.libs/%s.so" % name)



@contextlib.contextmanager
def served(changes=None, **http):
    """A host with [http] on a free port of its own, as host.http_port."""
    port = free_port()
    with Host(pg, {"http": {"listen": "127.0.0.1:%d" % port, **http}, **(changes or {})}) as host:
        host.http_port = port
        yield host


def ask(host, path, method="GET", body=None, headers=None, port=None):
    """One request on a connection of its own: (status, headers, body as text)."""
    c = http.client.HTTPConnection("127.0.0.1", port or host.http_port, timeout=20)
    try:
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        return r.status, r.headers, r.read().decode()
    finally:
        c.close()


@test("/livez answers, on a connection that stays; what is not there is 404 with problem details")
def livez():
    with served() as host:
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
    with served(changes) as host:
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
    with served({"plugin statements": {}, "plugin cache-memory": {}, "plugin cache": {"stores": "memory"}}) as host:
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
    allowed = {"counter": ("_total",), "gauge": ("",), "summary": ("", "_sum", "_count")}
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
    with served(token=token) as host:
        where = temp_dir()
        write(where, "token", token)
        port = free_port()
        config = write(
            where,
            "prometheus.yml",
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
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

            sample = wait_for(scraped, 30, "Prometheus has scraped")[0]
            equal(sample["metric"]["__name__"], "howdah_http_connections")
            assert float(sample["value"][1]) >= 1, sample
            _, _, body = ask(host, "/api/v1/targets", port=port)
            target = json.loads(body)["data"]["activeTargets"][0]
            equal((target["health"], target["lastError"]), ("up", ""))
        finally:
            end(p)


def write(folder, name, text, mode=0o600):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        os.fchmod(f.fileno(), mode)
        f.write(text)
    return path


def post(host, path, body, **headers):
    return ask(host, path, "POST", body, {"Content-Type": "application/json", **headers})


@test("every read-only command of the registry answers as JSON with typed columns; others are posted")
def api():
    with served({"plugin statements": {}, "plugin guard": {}}) as host:
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
    with served({"plugin statements": {}, "plugin guard": {}}) as host:
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
    with served({"plugin statements": {}}) as host:
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
    with served(PAGES) as host:
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
        wait_for(lambda: ask(host, "/pages/")[0] == 404, what="the plugin has stopped")
        equal(host.control("plugin", "pages", "enable").returncode, 0)
        equal(ask(host, "/pages/")[0], 200)


@test("a page that never answers: its request ends with the plugin")
def pages_never():
    with served(PAGES) as host:
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
    with served(PAGES) as host:

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


@test("a stream of events: sent, bounded for slow readers, ended by the plugin, the client, a reload and the end")
def streams():
    with served(PAGES) as host:
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


@test("streams leave half of the connections to others")
def streams_many():
    with served(PAGES, max_connections=10) as host:
        with contextlib.ExitStack() as stack:
            got = [stack.enter_context(open_request(host, "/pages/stream")).getresponse().status for _ in range(6)]
            equal(got, [200] * 5 + [503])
            equal(ask(host, "/readyz")[1]["Content-Type"], "text/plain; charset=utf-8")


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return
    raise AssertionError("something still listens on port %d" % port)


if __name__ == "__main__":
    main()
