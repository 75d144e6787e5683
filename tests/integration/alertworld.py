"""What tests of alerts share: a configuration without waits, and an HTTP server that keeps what it is sent."""

import contextlib
import http.server
import json
import threading
import time

from harness import equal, merge, wait_for

FAST = {
    "enabled": "yes",
    "sinks": "webhook",
    "name": "h1",
    "interval": "100ms",
    "group_wait": "0s",
    "group_interval": "0s",
    "flap_window": "0s",
    "retry": "50ms",
    "max_retry": "200ms",
    "rate": "100000",
    "burst": "1000",
}


class Receiver(contextlib.AbstractContextManager):
    """
    An HTTP server that keeps what it is sent. `answer` is a status, a pair of a status and headers, or a function of the
    request's number that gives one.
    """

    def __init__(self, answer=200, tls=None):
        self.answer = answer
        self.requests = []  # (path, headers, body)
        self.times = []  # when they came
        self.seen = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.seen:
                    receiver.requests.append((self.path, dict(self.headers), body))
                    receiver.times.append(time.time())
                    number = len(receiver.requests)
                answer = receiver.answer(number) if callable(receiver.answer) else receiver.answer
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = "%s://127.0.0.1:%d/hook" % ("https" if tls else "http", self.port)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def messages(self):
        with self.seen:
            return [json.loads(body) for _, _, body in self.requests]

    def wait(self, count, timeout=60):
        wait_for(lambda: len(self.requests) >= count, timeout, "%d messages" % count)
        return self.messages()


ONE = {"alert one": {"expr": "1", "above": "0", "for": "0s", "clear_for": "0s", "severity": "page", "summary": "so it is: {value} > {threshold}"}}


def config(sinks, sections, **changes):
    """Sections as {"webhook a": {...}}; the plugins of `sinks` are enabled."""
    plugins = {"plugin alert-" + name: {"enabled": "yes"} for name in sinks.split(", ")}
    return {"plugin alerts": {**FAST, "sinks": sinks, **changes}, **plugins, **sections, **ONE}


def sinks(host):
    return {s["target"]: s for s in host.console("SHOW ALERT SINKS")}


def over(host):
    """The same configuration without the alert's cause."""
    host.configure(merge(host.config, {"alert one": {"expr": "0"}}))
    equal(host.control("reload").returncode, 0)
