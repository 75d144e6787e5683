"""
A PostgreSQL server, a browser, and hosts with their dashboards, and how to look at what is on the page: for tests that do.
"""

import calendar
import contextlib
import http.client
import json
import os
import re
import time
import urllib.parse

import psycopg

from browser import Browser
from harness import Host, Postgres, equal, free_port, temp_dir

HOSTILE = "<img src=x onerror=document.title='taken'>"

pg = Postgres()
pg.execute('CREATE DATABASE "%s" OWNER app' % HOSTILE, "postgres")
with pg.connect(user="app", password="secret") as _c:
    _c.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    _c.execute("INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 1000) g")

browser = Browser()


def configured(port, changes=None, **http):
    return {
        "http": {"listen": "127.0.0.1:%d" % port, **http},
        "plugin statements": {},
        "plugin monitor": {
            "history": os.path.join(temp_dir(), "history.db"),
            "flush_interval": "1s",
            "template_interval": "1s",
            "collect_scale": "0.1",
        },
        **(changes or {}),
    }


@contextlib.contextmanager
def shown(changes=None, **http):
    """A host with its dashboard, not opened yet: host.url."""
    port = free_port()
    try:
        with Host(pg, configured(port, changes, **http)) as host:
            host.http_port = port
            host.url = "http://127.0.0.1:%d/" % port
            yield host
    finally:
        browser.open("about:blank")
        browser.complaints()


def ask(host, path, token=None, headers=None):
    """One request: (status, headers, body as text)."""
    c = http.client.HTTPConnection("127.0.0.1", host.http_port, timeout=20)
    try:
        c.request("GET", path, headers={**({"Authorization": "Bearer " + token} if token else {}), **(headers or {})})
        r = c.getresponse()
        return r.status, r.headers, r.read().decode()
    finally:
        c.close()


def rows(host, name, *args):
    query = "&".join("arg=" + urllib.parse.quote(a) for a in args)
    status, _, body = ask(host, "/api/v1/%s?%s" % (name, query))
    equal(status, 200)
    return json.loads(body)["rows"]


def cells_of(selector):
    """The cells of the table in there, row by row."""
    return browser.run(
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map(r => [...r.cells].map(c => c.textContent))",
        selector,
    )


def table(section):
    return cells_of("#" + section)


def clock(moment):
    """A time of the API as the page shows one of today."""
    return time.strftime("%H:%M:%S", time.localtime(calendar.timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S"))))


def tile(name):
    return browser.text('[data-figure="%s"]' % name)


def plot(title):
    """A selector of the plot."""
    return '[data-plot="%s"]' % title


VIEWS = ("overview", "statements", "servers", "machine", "host", "alerts", "reports")


def go(view):
    """As whoever clicks on its link."""
    browser.find('nav a[href="#%s"]' % view).click()
    browser.until(lambda: browser.find('[data-view="%s"]' % view).is_displayed(), view)


def load(host, calls, dbname="shop", literal=None):
    with host.connect(dbname=dbname) as c:
        cursor = psycopg.ClientCursor(c)
        for i in range(calls):
            cursor.execute("SELECT name FROM item WHERE name = %s OR id = %s", (literal or "x", i))


def plotted(title="Throughput"):
    browser.until(lambda: browser.run("return document.querySelector(arguments[0] + ' canvas')?.width > 0", plot(title)), title + " is drawn")


def number(text):
    return float(re.match(r"[\d.,]+", text).group().replace(",", ""))
