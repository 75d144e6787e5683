"""
The host's HTTP server: real requests over real sockets, who is let in, and what comes at it from the wrong side.
"""

import contextlib
import http.client
import json
import os
import socket
import time

from harness import Host, Postgres, equal, free_port, main, test, wait_for

pg = Postgres()


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


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return
    raise AssertionError("something still listens on port %d" % port)


if __name__ == "__main__":
    main()
