"""Attacks on the host's HTTP server: pages of others in a real browser, floods, and requests that are none."""

import contextlib
import http.client
import http.server
import json
import re
import resource
import socket
import threading

from browser import Browser
from httphost import ask, served
from harness import Postgres, equal, main, test, wait_for

pg = Postgres()
TOKEN = "0123456789abcdef0123456789abcdef"
COUNTED = {"plugin statements": {}}


def calls(host):
    """What a successful attack would have set back."""
    return sum(r["calls"] for r in host.console("SHOW STATEMENTS") if "attacked" in r["statement"])


class Page(contextlib.AbstractContextManager):
    """A server of somebody else, with one page."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>evil</title><link rel=icon href=data:,><body>")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


# Each tries to send the request and tells what became of it: a status, or why it could not.
ATTACKS = {
    "a fetch that asks first": "fetch(url, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}', credentials: 'include'})",
    "a fetch of text": "fetch(url, {method: 'POST', mode: 'no-cors', body: '{}', credentials: 'include'})",
    "a fetch of text that is called JSON": "fetch(url, {method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'application/json'}, body: '{}'})",
    "a fetch without a body": "fetch(url, {method: 'POST', mode: 'no-cors'})",
    "a beacon": "Promise.resolve({status: navigator.sendBeacon(url, new Blob(['{}'], {type: 'application/json'})) ? 'sent' : 'not sent'})",
    "a beacon of text": "Promise.resolve({status: navigator.sendBeacon(url, '{}') ? 'sent' : 'not sent'})",
    "a form": """new Promise((done) => {
        const frame = document.createElement('iframe');
        frame.name = 'f' + Math.random();
        const form = Object.assign(document.createElement('form'), {method: 'POST', enctype: 'text/plain', action: url, target: frame.name});
        form.append(Object.assign(document.createElement('input'), {name: '{"args": []}', value: ''}));
        document.body.append(frame, form);
        frame.onload = () => done({status: 'loaded'});
        form.submit();
    })""",
}


def attack(browser, code, url):
    script = "const [url, done] = arguments; (%s).then((r) => done(String(r.status)), (e) => done(String(e)))" % code
    return browser.driver.execute_async_script(script, url)


@test("pages of other servers change nothing and read nothing, with a token or without")
def pages_of_others():
    with Page() as page, Browser() as browser:
        for token in (None, TOKEN):
            with served(pg, COUNTED, **({"token": token} if token else {})) as host:
                with host.connect() as c:
                    c.execute("SELECT 1 AS attacked")
                there = "%s127.0.0.1:%d" % ("any:%s@" % token if token else "", host.http_port)
                browser.open("http://%s/health" % there)  # from here on the browser knows the password
                own = "fetch(location.origin + '/api/v1/reload', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})"
                equal(attack(browser, own, ""), "200")  # which says that what follows would succeed
                # Another host name, another port of the same, and a page without any origin.
                for origin in ("http://localhost:%d/" % page.port, "http://127.0.0.1:%d/" % page.port, "data:text/html,<body>"):
                    browser.open(origin)
                    for name, code in ATTACKS.items():
                        told = attack(browser, code, "http://127.0.0.1:%d/api/v1/statements/reset" % host.http_port)
                        assert told != "200", (origin, name, told)
                    read = "fetch(url, {credentials: 'include'}).then((r) => r.text()).then((t) => ({status: 'read ' + t}))"
                    told = attack(browser, read, "http://127.0.0.1:%d/api/v1/statements" % host.http_port)
                    assert "Failed to fetch" in told, (origin, told)
                # Beacons need not have arrived yet: what is asked behind them has.
                wait_for(lambda: idle(host, token), what="all requests are answered")
                equal(calls(host), 1)
        browser.complaints()


def idle(host, token):
    headers = {"Authorization": "Bearer " + token} if token else {}
    return int(re.search(r"^howdah_http_connections (\d+)", ask(host, "/metrics", headers=headers)[2], re.M)[1]) <= 7


@test("a name of somebody else that suddenly means this machine opens nothing")
def rebinding():
    with served(pg, COUNTED) as host, Browser(arguments=["--host-resolver-rules=MAP evil.example 127.0.0.1"]) as browser:
        with host.connect() as c:
            c.execute("SELECT 1 AS attacked")
        browser.open("http://evil.example:%d/health" % host.http_port)
        assert "only requests to localhost" in browser.run("return document.body.innerText")
        for what, code in (("GET", "fetch('/api/v1/statements')"), *ATTACKS.items()):
            told = attack(browser, code, "/api/v1/statements/reset")
            assert told in ("403", "sent", "loaded") and (what != "GET" or told == "403"), (what, told)
        wait_for(lambda: idle(host, None), what="all requests are answered")
        equal(calls(host), 1)
        browser.complaints()


@test("who posts: programs may, pages of this server may, others may not")
def origins():
    with served(pg) as host:
        me = "127.0.0.1:%d" % host.http_port
        json_type = {"Content-Type": "application/json"}
        allowed = [{}, {"Origin": "http://" + me}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"},
                   {"Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"}]  # fmt: skip
        refused = [{"Origin": "null"}, {"Origin": "http://example.com"}, {"Origin": "http://127.0.0.1"}, {"Origin": ""},
                   {"Origin": "http://%s.example.com" % me}, {"Origin": "http://" + me, "Sec-Fetch-Site": "cross-site"},
                   {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": ""}]  # fmt: skip
        for headers in allowed:
            equal(ask(host, "/api/v1/reload", "POST", "{}", {**json_type, **headers})[0], 200, headers)
        for headers in refused:
            status, _, body = ask(host, "/api/v1/reload", "POST", "{}", {**json_type, **headers})
            equal((status, json.loads(body)["detail"]), (403, "pages of other servers may not post here"), headers)
            assert ask(host, "/health", headers=headers)[0] in (200, 503), headers
        # The question that browsers ask before they send JSON elsewhere gets no leave.
        status, headers, _ = ask(host, "/api/v1/reload", "OPTIONS", None,
                                 {"Origin": "http://example.com", "Access-Control-Request-Method": "POST"})  # fmt: skip
        equal((status, [h for h in headers if h.lower().startswith("access-control")]), (405, []))


def raw(host, data):
    """Sends bytes and returns all that comes back until the host closes."""
    with socket.create_connection(("127.0.0.1", host.http_port), 20) as s:
        got = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while chunk := s.recv(65536):
                got += chunk
        return got


POST = b"POST /api/v1/statements/reset HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@test("requests that two readers would read differently, and such as are no HTTP/1.1, reset nothing and hide nothing")
def smuggled():
    hidden = b"POST /api/v1/statements/reset HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    reads = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
    with served(pg, COUNTED, idle_timeout="1s", request_timeout="2s") as host:
        with host.connect() as c:
            c.execute("SELECT 1 AS attacked")
        for data in (
            b"GET /api/v1/statements\r\n",
            b"GET /api/v1/statements\r\n\r\n",
            b"POST http://example.com/api/v1/statements/reset HTTP/1.1\r\nHost: example.com\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            POST + b"Host: example.com\r\nContent-Length: 5, 2\r\n\r\n{}",
            POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + b"x",
            POST + b"Transfer-Encoding: chunked\r\n\r\n2;x=\0\r\n{}\r\nzz\r\n\r\n",
            POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n",
            POST + b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            POST + b" Content-Length: 2\r\n\r\n{}",
            POST + b"Content-Length : 2\r\n\r\n{}",
            POST + b"X: \0\r\nContent-Length: 3\r\n\r\n{}",
            b"PO\0ST /api/v1/statements/reset HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"POST /api/v1/statements/reset HTTP/1.1\nHost: localhost\n\n",
            b"CONNECT example.com:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET http://localhost/livez HTTP/1.1\r\nHost: example.com\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            got = raw(host, data)
            assert b"attacked" not in got and b" 200 " not in got.split(b"\r\n")[0], (data, got)
            equal(ask(host, "/livez")[0], 200)
        # What stands in a body is a body.
        for body in (b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden,
                     b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)):  # fmt: skip
            got = raw(host, reads + body + reads + b"Connection: close\r\n\r\n")
            assert len(re.findall(rb"HTTP/1\.1 \d+ ", got)) <= 2, got
        equal(calls(host), 1)


@test("ten thousand connections, and as many requests in one: bounded, and statements go on")
def floods():
    with served(pg, max_connections=100, max_connections_per_address=0, request_timeout="60s", rate=0) as host:

        def resident():
            with open("/proc/%d/status" % host.host_pid()) as f:
                return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])

        before = resident()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with contextlib.ExitStack() as held, host.connect() as c:
            for i in range(min(10000, hard - 200)):
                s = held.enter_context(socket.create_connection(("127.0.0.1", host.http_port), 20))
                with contextlib.suppress(OSError):
                    s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Bomb: " + b"y" * 2000)
                if i % 500 == 0:
                    equal(c.execute("SELECT 1").fetchone(), (1,))
            equal(c.execute("SELECT 1").fetchone(), (1,))
        wait_for(lambda: alive(host), what="connections are free again")
        # Many requests at once, whose answers nobody reads; then they are read after all.
        with socket.create_connection(("127.0.0.1", host.http_port), 20) as s, host.connect() as c:
            s.setblocking(False)
            data = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10000
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < len(data):
                    sent += s.send(data[sent:])
            equal(c.execute("SELECT 1").fetchone(), (1,))
            equal(ask(host, "/livez")[0], 200)
            s.settimeout(20)
            assert s.recv(12) == b"HTTP/1.1 200"
        grown = resident() - before
        assert grown < 50000, "%d KB more" % grown
        equal(ask(host, "/livez")[0], 200)


def alive(host):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(host, "/livez")[0] == 200


main()
