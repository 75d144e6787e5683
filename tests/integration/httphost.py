"""
A host with an HTTP server, and how to ask it: for tests that do.
"""

import contextlib
import http.client
import os

from harness import Host, free_port


@contextlib.contextmanager
def served(pg, changes=None, under=(), env=None, **http):
    """A host with [http] on a free port of its own, as host.http_port."""
    port = free_port()
    with Host(pg, {"http": {"listen": "127.0.0.1:%d" % port, **http}, **(changes or {})}, under=under, env=env) as host:
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


def post(host, path, body, **headers):
    return ask(host, path, "POST", body, {"Content-Type": "application/json", **headers})


def write(folder, name, text, mode=0o600):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        os.fchmod(f.fileno(), mode)
        f.write(text)
    return path
