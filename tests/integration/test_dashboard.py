"""The dashboard in a real browser: figures, ranges, colours, keyboard, hostile names, tokens, a host that is gone."""

import calendar
import contextlib
import http.client
import json
import os
import re
import sqlite3
import struct
import time
import urllib.parse

import psycopg
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from browser import Browser
from harness import Host, Postgres, equal, free_port, main, temp_dir, test, wait_for

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
        },
        **(changes or {}),
    }


@contextlib.contextmanager
def shown(changes=None, **http):
    """A host with its dashboard, not opened yet: host.url."""
    port = free_port()
    with Host(pg, configured(port, changes, **http)) as host:
        host.http_port = port
        host.url = "http://127.0.0.1:%d/" % port
        yield host
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
    """The plot's number among all, from 1 on, for selectors."""
    titles = browser.run("return [...document.querySelectorAll('.plot h3')].map(h => h.textContent)")
    return ".plot:nth-of-type(%d)" % (titles.index(title) + 1)


def load(host, calls, dbname="shop", literal=None):
    with host.connect(dbname=dbname) as c:
        cursor = psycopg.ClientCursor(c)
        for i in range(calls):
            cursor.execute("SELECT name FROM item WHERE name = %s OR id = %s", (literal or "x", i))


def plotted(title="Throughput"):
    browser.until(lambda: browser.run("return document.querySelector(arguments[0] + ' canvas')?.width > 0", plot(title)), title + " is drawn")


def number(text):
    return float(re.match(r"[\d.,]+", text).group().replace(",", ""))


# --- figures ------------------------------------------------------------------------------------------------------


@test("figures on the page are those of the API, after a known load")
def figures():
    with shown({"plugin cache-memory": {}, "plugin cache": {"stores": "memory", "mode": "ttl", "ttl": "1m"}}) as host:
        held = [host.connect() for _ in range(3)]
        load(host, 137, literal="a secret word")
        browser.open(host.url)
        calls = lambda: [r for r in table("statements") if "where name = $1 or id = $2" in r[0]]
        browser.until(lambda: calls() and calls()[0][3] == "137", "the statement's calls")
        api = [r for r in rows(host, "templates") if "where name = $1" in r["statement"]][0]
        shown_row = calls()[0]
        equal((api["calls"], api["database"], api["user"]), (137, shown_row[1], shown_row[2]))
        equal(shown_row[4], str(api["errors"]))
        mean = number(shown_row[5]) / (1000 if "µs" in shown_row[5] else 1)
        assert abs(mean - api["mean_ms"]) < 0.02 * api["mean_ms"] + 0.001, (shown_row, api)
        browser.until(lambda: tile("clients") == "3", "as many clients as there are")
        equal(rows(host, "series", "howdah_clients")[0]["value"], 3)
        # Only normalized texts: nothing of what was asked for is anywhere in the page.
        assert "a secret word" not in browser.run("return document.documentElement.outerHTML")
        nodes, pools = rows(host, "nodes"), rows(host, "pools")
        browser.until(lambda: table("nodes") and table("nodes")[0][1] == "up", "the node is up")
        equal([r[0] for r in table("nodes")], [n["node"] for n in nodes])
        equal([(r[0], r[1], r[7]) for r in table("pools")], [(p["database"], p["user"], "0 of 10") for p in pools])
        states = {r[0]: r[1] for r in table("plugins")}
        for p in rows(host, "plugins"):
            equal(states[p["name"]], "off" if p["state"] == "available" else p["state"])
        browser.until(lambda: "parts work" in browser.text("#host-state"), "health is told")
        health = json.loads(ask(host, "/health")[2])
        assert browser.text("#host-state").startswith("%d of %d parts work" % (health["active"], health["total"]))
        browser.until(lambda: any("plugin monitor is running" in r[2] for r in table("events")), "events")
        plotted()
        browser.screenshot("dashboard-light.png")
        equal(browser.complaints(), [])
        for c in held:
            c.close()


@test("the cache's hit ratio is that of its counters")
def hit_ratio():
    cached = {
        "plugin cache-memory": {},
        "plugin cache": {"mode": "ttl", "ttl": "1m"},
        "database *": {"pool_mode": "auto"},
        "node main": {"control_user": "postgres"},
    }
    with shown(cached) as host:
        browser.open(host.url)
        with host.connect() as c:
            read = lambda: c.execute("SELECT name FROM item WHERE id = 5").fetchall()
            hits = lambda: sum(r["value"] or 0 for r in rows(host, "series", "howdah_cache_hits_total"))
            wait_for(lambda: read() and hits(), what="hits")
            wait_for(lambda: read() and "100 %" == tile("hits"), what="a second of hits alone")
        plotted("Cache hit ratio")
        browser.find(plot("Cache hit ratio") + " summary").click()
        browser.until(
            lambda: any(r[1] == "100 %" for r in cells_of(plot("Cache hit ratio"))), "a second of hits alone"
        )
        shown_ratios = {r[0]: number(r[1]) for r in cells_of(plot("Cache hit ratio")) if r[1] != "no data"}
        totals = {}
        for name in ("hits", "misses"):
            for r in rows(host, "history", "howdah_cache_%s_total" % name, "300s", "STEP", "1s"):
                totals.setdefault(clock(r["time"]), {})[name] = r["value"]
        ratios = {at: 100 * t["hits"] / sum(t.values()) for at, t in totals.items() if sum(t.values())}
        # The page may have been asked before the last second was there.
        assert shown_ratios and set(shown_ratios) <= set(ratios), (shown_ratios, ratios)
        for at, ratio in shown_ratios.items():
            assert abs(ratio - ratios[at]) < 0.6, (shown_ratios, ratios)


@test("a plot's table holds what the history says, second by second")
def plot_values():
    with shown() as host:
        with host.connect(), host.connect():
            browser.open(host.url)
            plotted("Connections")
            browser.find(plot("Connections") + " summary").click()
            times = lambda: cells_of(plot("Connections"))
            browser.until(lambda: len([t for t in times() if t[1] == "2"]) > 3, "seconds with two clients")
            seen = times()
        history = {}
        for r in rows(host, "history", "howdah_clients", "300s", "STEP", "1s"):
            history[clock(r["time"])] = r["value"]
        compared = [(history[t[0]], float(t[1])) for t in seen if t[0] in history and t[1] != "no data"]
        assert len(compared) > 3, (seen, history)
        for a, b in compared:
            equal(a, b)


@test("names that are markup stay text")
def hostile():
    with shown() as host:
        with host.connect(dbname=HOSTILE, application_name=HOSTILE) as c:
            c.execute('SELECT 1 AS "<script>document.title=2</script>"')
            browser.open(host.url)
            browser.until(lambda: any(r[1] == HOSTILE for r in table("statements")), "the statement's database")
            browser.until(lambda: any(r[0] == HOSTILE for r in table("pools")), "the pool's database")
            browser.find("#all-events").click()
            browser.until(lambda: any(HOSTILE in r[2] for r in table("events")), "the session's event")
            assert any('"<script>document.title=2</script>"' in r[0] for r in table("statements"))
            equal(browser.run("return document.images.length"), 0)
            equal(browser.run("return document.scripts.length"), 3)
            equal(browser.driver.title, "Howdah")
            # Its course over time is found under that name.
            words = "return [...document.querySelectorAll('#statements tbody tr')].filter(r => r.cells[1].textContent === arguments[0])[0].querySelector('canvas').ariaLabel"
            browser.until(lambda: browser.run(words, HOSTILE).startswith("time spent"), "its sparkline")
            equal(browser.complaints(), [])


# --- ranges -------------------------------------------------------------------------------------------------------


def asked_spans():
    return browser.run(
        "return performance.getEntriesByType('resource').map(e => e.name).filter(n => n.includes('/history')).map(decodeURIComponent)"
    )


@test("each range asks for its span and step, up to thirteen months, and is kept for the next visit")
def ranges():
    path = os.path.join(temp_dir(), "history.db")
    changes = {"plugin monitor": {"history": path, "flush_interval": "1s"}}
    with shown(changes) as host:
        wait_for(lambda: rows(host, "history", "howdah_clients", "60s"), what="the history begins")
    # A year of clients: 7 in each hour.
    now = int(time.time())
    with sqlite3.connect(path) as db:
        (series,) = db.execute("SELECT id FROM series WHERE key = 'howdah_clients'").fetchone()
        for day in range(2, 366):
            start = (now - day * 86400) // 86400 * 86400
            db.execute("INSERT OR REPLACE INTO block VALUES (2, ?, ?, ?)", (series, start, struct.pack("3f", 7, 7, 7) * 24))
    db.close()
    with shown(changes) as host:
        browser.open(host.url)
        steps = {"5m": (300, 1), "15m": (900, 3), "1h": (3600, 12), "6h": (21600, 120), "1d": (86400, 300)}
        steps.update({"7d": (604800, 2040), "30d": (2592000, 10800), "90d": (7776000, 28800), "13mo": (34257600, 115200)})
        values = [o.get_attribute("value") for o in Select(browser.find("#range")).options]
        equal(values, list(steps))
        for name, (span, step) in steps.items():
            Select(browser.find("#range")).select_by_value(name)
            what = "arg=howdah_clients&arg=%ds&arg=STEP&arg=%ds" % (span, step)
            browser.until(lambda: any(what in a for a in asked_spans()), what)
        equal(browser.text("#range-name"), "13 months")
        plotted("Connections")
        browser.until(lambda: browser.text(plot("Connections") + " .value") == "7", "a year's clients")
        browser.find(plot("Connections") + " summary").click()
        cells = "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map(r => r.cells[1].textContent)"
        browser.until(lambda: browser.run(cells, plot("Connections")).count("7") > 40, "all of the year")
        browser.screenshot("dashboard-year.png")
        browser.open(host.url)
        equal(browser.find("#range").get_attribute("value"), "13mo")
        Select(browser.find("#range")).select_by_value("5m")
        equal(browser.complaints(), [])


# --- for everybody ------------------------------------------------------------------------------------------------


def background():
    """How bright the page is, 0 to 255."""
    rgb = browser.run("return getComputedStyle(document.body).backgroundColor")
    return sum(int(n) for n in re.findall(r"\d+", rgb)[:3]) / 3


@test("light and dark: as the system says, and as chosen, which is kept")
def colours():
    with shown() as host:
        browser.prefer(prefers_color_scheme="light")
        browser.open(host.url)
        assert background() > 200
        browser.prefer(prefers_color_scheme="dark")
        assert background() < 60
        Select(browser.find("#theme")).select_by_value("light")
        assert background() > 200
        browser.open(host.url)
        assert background() > 200
        Select(browser.find("#theme")).select_by_value("dark")
        browser.prefer(prefers_color_scheme="light")
        assert background() < 60
        Select(browser.find("#theme")).select_by_value("auto")
        assert background() > 200
        browser.prefer()


@test("axe-core finds nothing against it: light, dark, with plots as tables")
def axe():
    with shown({"plugin broken": {"library": "/nowhere.so"}}) as host:
        load(host, 20)
        browser.open(host.url)
        plotted()
        browser.until(lambda: table("health"), "a part that does not work")
        browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
        for theme in ("light", "dark"):
            browser.prefer(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
            equal(browser.axe(), [])
        browser.screenshot("dashboard-dark.png")
        browser.prefer()


@test("axe-core finds nothing against it: narrow, and without a host")
def axe_narrow():
    with shown() as host:
        browser.resize(360, 800)
        browser.open(host.url)
        browser.until(lambda: table("nodes"), "tables")
        equal(browser.axe(), [])
        host.stop()
        browser.until(lambda: not browser.find("#banner").get_attribute("hidden"), "the banner")
        equal(browser.axe(), [])
        browser.resize(1400, 1000)
        host.start()


@test("a narrow screen needs no scrolling sideways but within tables")
def narrow():
    with shown() as host:
        load(host, 20, dbname="shop")
        browser.resize(340, 800)
        browser.open(host.url)
        plotted()
        browser.until(lambda: table("statements") and table("pools"), "tables")
        assert browser.run("return document.documentElement.scrollWidth") <= 340
        browser.screenshot("dashboard-narrow.png")
        browser.resize(1400, 1000)


@test("by keyboard alone: past the header, along a plot's points, through all controls and out again")
def keyboard():
    with shown() as host:
        with host.connect():
            browser.open(host.url)
            plotted("Connections")
            browser.keys(Keys.TAB)
            equal(browser.focus()[2], "Skip to the figures")
            browser.keys(Keys.ENTER)
            equal(browser.focus()[:2], ["MAIN", "main"])
            reached, first = [], None
            for _ in range(60):
                browser.keys(Keys.TAB)
                focus = browser.focus()
                reached.append(focus)
                if focus[2].startswith("Connections. Clients:"):
                    browser.keys(Keys.ARROW_LEFT)
                    browser.keys(Keys.ARROW_LEFT)
                    reading = plot("Connections") + " [aria-live]"
                    browser.until(lambda: re.match(r"\d\d:\d\d:\d\d: Clients 1, Servers", browser.text(reading)), "a point is read")
                    browser.keys(Keys.HOME)
                    browser.keys(Keys.ESCAPE)
                    equal(browser.text(reading), "")
                if focus[0] == "A" and focus[2] == "licence":
                    break
            names = [f[1] or f[2] for f in reached]
            for wanted in ("order-by", "all-events", "Nodes", "Plugins"):
                assert wanted in names, (wanted, names)
            equal(reached[-1][2], "licence")
            browser.find("#range").send_keys("15")
            equal(browser.text("#range-name"), "15 minutes")
            equal(browser.text("#said"), "The last 15 minutes")
            browser.find("#pause").send_keys(Keys.SPACE)
            equal(browser.find("#pause").get_attribute("aria-pressed"), "true")
            browser.find("#range").send_keys("5 ")


# --- what goes wrong ----------------------------------------------------------------------------------------------


@test("a host that is gone is said so, and figures come back with it")
def gone():
    with shown() as host:
        with host.connect():
            browser.open(host.url)
            browser.until(lambda: tile("clients") == "1", "one client")
        host.stop()
        browser.until(lambda: "cannot be reached" in browser.text("#banner"), "the page says that nobody answers")
        equal(browser.text("#host-state"), "The host cannot be reached")
        equal(browser.text("#said"), "The host cannot be reached")
        assert "stale" in browser.run("return document.body.className")
        browser.screenshot("dashboard-gone.png")
        host.start()
        browser.until(lambda: browser.find("#banner").get_attribute("hidden"), "the banner goes")
        browser.until(lambda: tile("clients") == "0", "figures of the new host")
        assert "stale" not in browser.run("return document.body.className")
        plotted("Connections")


@test("plugins that are off, and a history that is not kept, are said in their places")
def off():
    changes = {"plugin statements": None, "plugin monitor": {"history": ""}, "plugin broken": {"library": "/nowhere.so"}}
    with shown(changes) as host:
        browser.open(host.url)
        browser.until(lambda: "plugin statements" in browser.text("#statements .note"), "who counts statements")
        browser.until(lambda: "No history: " in browser.text(plot("Throughput") + " .note"), "why there is no history")
        browser.until(lambda: "The plugin cache is off." in browser.text("#tiles"), "why there is no hit ratio")
        equal(tile("p95"), "no data")
        browser.until(lambda: tile("clients") == "0", "figures that need neither")
        browser.until(lambda: table("health"), "the part that does not work")
        equal(table("health")[0][0], "broken")
        assert "nowhere.so" in table("health")[0][3], table("health")


@test("slow statements are listed, the newest first, without their values")
def slow():
    changes = {"plugin monitor": {"history": "", "slow_threshold": "50ms"}}
    with shown(changes) as host:
        with host.connect() as c:
            for name in ("first", "second"):
                c.execute("SELECT pg_sleep(0.1), 'a value' AS %s" % name)
        browser.open(host.url)
        browser.until(lambda: len(table("slow")) == 2, "both")
        shown_rows = table("slow")
        assert "as second" in shown_rows[0][1] and "as first" in shown_rows[1][1], shown_rows
        api = rows(host, "slow")
        equal([r[1] for r in shown_rows], [r["statement"] for r in api])
        assert abs(number(shown_rows[0][5]) - api[0]["total_ms"]) <= 1, (shown_rows, api)
        assert "a value" not in browser.run("return document.documentElement.outerHTML")


@test("an alert is shown while it fires and when it is over, and counted in the header")
def alerts():
    changes = {
        "plugin alert-log": {},
        "plugin alerts": {"interval": "100ms", "state_file": "", "flap_window": "0s"},
        "alert busy": {
            "expr": "howdah_clients",
            "above": "2.5",
            "clear": "1.5",
            "for": "0s",
            "clear_for": "0s",
            "severity": "page",
            "summary": "<b>{value}</b> clients",
        },
        "alert absent": {"expr": "howdah_nothing_of_the_kind", "above": "1"},
    }
    with shown(changes) as host:
        row = lambda name: ([r for r in table("alerts") if r[0] == name] or [[""] * 10])[0]
        browser.open(host.url)
        browser.until(lambda: row("absent")[1] == "no data", "a rule without data")
        equal(row("busy")[1], "")
        held = [host.connect() for _ in range(3)]
        browser.until(lambda: row("busy")[1] == "firing", "it fires")
        equal((row("busy")[2], row("busy")[4:6], row("busy")[9]), ("page", ["3", "2.5"], "<b>3</b> clients"))
        browser.until(lambda: browser.text("#host-state").endswith(", 1 alert fires"), "the header says so")
        browser.until(lambda: browser.text("#said").endswith(", 1 alert fires"), "screen readers are told")
        equal(browser.axe(), [])
        for c in held:
            c.close()
        browser.until(lambda: row("busy")[1] != "firing", "it is over")
        browser.until(lambda: "fires" not in browser.text("#host-state"), "the header, too")


@test("with a token the page asks for it, keeps it in this tab alone, and says so when it is wrong")
def token():
    path = os.path.join(temp_dir(), "token")
    with open(path, "w") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write("the-right-token-of-this-host\n")
    with shown(token_file=path) as host:
        equal(ask(host, "/app.js")[0], 200)
        for path in ("/api/v1/pools", "/api/v1/openapi.json", "/api/v1/nothing", "/api/", "/health", "/metrics"):
            equal((path, ask(host, path)[0]), (path, 401))
        browser.open(host.url)
        browser.until(lambda: browser.find("#login").get_attribute("open"), "the page asks for the token")
        equal(browser.axe(), [])
        browser.find("#token").send_keys("not-the-right-token-at-all", Keys.ENTER)
        browser.until(lambda: "not this host's token" in browser.text("#login-why"), "that it was wrong")
        browser.keys(Keys.ESCAPE)
        browser.until(lambda: browser.text("#banner button") == "Give the token", "a way to give it later")
        browser.find("#banner button").click()
        browser.find("#token").send_keys("the-right-token-of-this-host", Keys.ENTER)
        browser.until(lambda: tile("clients") == "0", "figures")
        kept = "return [Object.values(sessionStorage).includes('the-right-token-of-this-host'), Object.values(localStorage).includes('the-right-token-of-this-host'), document.cookie]"
        equal(browser.run(kept), [True, False, ""])
        browser.open(host.url)
        browser.until(lambda: tile("clients") == "0", "figures, without being asked again")
        first = browser.driver.current_window_handle
        browser.driver.switch_to.new_window("tab")
        browser.open(host.url)
        browser.until(lambda: browser.find("#login").get_attribute("open"), "another tab asks for itself")
        browser.driver.close()
        browser.driver.switch_to.window(first)


@test("files have versions and a policy, and come from nowhere else")
def files():
    with shown() as host:
        status, headers, page = ask(host, "/")
        equal((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        for path in ["/"] + ["/" + p for p in re.findall(r'(?:href|src)="([^"]+)"', page) if not p.startswith("#")]:
            status, headers, body = ask(host, path)
            equal((path, status), (path, 200))
            if path in ("/health", "/metrics", "/api/v1/openapi.json"):
                continue
            assert body, path
            equal(ask(host, path, headers={"If-None-Match": headers["ETag"]})[0], 304)
        assert "Permission is hereby granted" in ask(host, "/dygraphs-licence.txt")[2]
        assert not re.search(r'(?:href|src)="(?:https?:)?//', page)
        assert not re.search(r"<script>|<style|style=|onclick=", page)
        browser.open(host.url)
        plotted()
        hosts = browser.run("return [...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).host))]")
        equal(hosts, ["127.0.0.1:%d" % host.http_port])
        equal(ask(host, "/nothing.js")[0], 404)


main()
