"""The dashboard in a real browser: figures, ranges, colours, keyboard, hostile names, tokens, a host that is gone."""

# Runs without sanitizers alone.

import json
import os
import re
import sqlite3
import struct
import time

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from dashboardworld import HOSTILE, VIEWS, ask, browser, cells_of, clock, go, load, number, plot, plotted, rows, shown, table, tile
from harness import SRCDIR, equal, main, temp_dir, test, wait_for

# --- figures ------------------------------------------------------------------------------------------------------


@test("figures on the page are those of the API, after a known load")
def figures():
    with shown({"plugin cache-memory": {}, "plugin cache": {"stores": "memory", "mode": "ttl", "ttl": "1m"}}) as host:
        held = [host.connect() for _ in range(3)]
        load(host, 137, literal="a secret word")
        browser.open(host.url + "#statements")
        calls = lambda: [r for r in table("statements") if "where name = $1 or id = $2" in r[0]]
        browser.until(lambda: calls() and calls()[0][3] == "137", "the statement's calls")
        api = [r for r in rows(host, "templates") if "where name = $1" in r["statement"]][0]
        shown_row = calls()[0]
        equal((api["calls"], api["database"], api["user"]), (137, shown_row[1], shown_row[2]))
        equal(shown_row[4], str(api["errors"]))
        mean = number(shown_row[5]) / (1000 if "µs" in shown_row[5] else 1)
        assert abs(mean - api["mean_ms"]) < 0.02 * api["mean_ms"] + 0.001, (shown_row, api)
        go("overview")
        browser.until(lambda: tile("clients") == "3", "as many clients as there are")
        equal(rows(host, "series", "howdah_clients")[0]["value"], 3)
        # Only normalized texts: nothing of what was asked for is anywhere in the page.
        assert "a secret word" not in browser.run("return document.documentElement.outerHTML")
        nodes, pools = rows(host, "nodes"), rows(host, "pools")
        browser.until(lambda: table("nodes") and table("nodes")[0][1] == "up", "the node is up")
        equal([r[0] for r in table("nodes")], [n["node"] for n in nodes])
        plotted()
        browser.screenshot("dashboard-light.png")
        go("host")
        browser.until(lambda: table("pools") and table("events"), "pools and events")
        equal([(r[0], r[1], r[7]) for r in table("pools")], [(p["database"], p["user"], "0 of 10") for p in pools])
        states = {r[0]: r[1] for r in table("plugins")}
        for p in rows(host, "plugins"):
            equal(states[p["name"]], "off" if p["state"] == "available" else p["state"])
        browser.until(lambda: "parts work" in browser.text("#host-state"), "health is told")
        health = json.loads(ask(host, "/health")[2])
        assert browser.text("#host-state").startswith("%d of %d parts work" % (health["active"], health["total"]))
        browser.until(lambda: any("plugin monitor is running" in r[2] for r in table("events")), "events")
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
            browser.open(host.url + "#statements")
            browser.until(lambda: any(r[1] == HOSTILE for r in table("statements")), "the statement's database")
            go("host")
            browser.until(lambda: any(r[0] == HOSTILE for r in table("pools")), "the pool's database")
            browser.find("#all-events").click()
            browser.until(lambda: any(HOSTILE in r[2] for r in table("events")), "the session's event")
            assert any('"<script>document.title=2</script>"' in r[0] for r in table("statements"))
            for view in VIEWS:
                go(view)
                equal(browser.run("return [document.images.length, document.scripts.length]"), [0, 3])
            equal(browser.driver.title, "Howdah: Reports")
            go("statements")
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
            what = "arg=%ds&arg=STEP&arg=%ds" % (span, step)
            browser.until(lambda: any("arg=howdah_clients&" in a and what in a for a in asked_spans()), what)
        equal(browser.text(".range-name"), "13 months")
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
        for view in VIEWS:
            go(view)
            section = {"overview": "nodes", "statements": "statements", "servers": "activity", "host": "pools"}.get(view)
            browser.until(lambda: not section or table(section) or browser.text("#%s .note" % section), view)
            wide = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
            equal((view, wide), (view, [340, 340]))
        go("overview")
        browser.screenshot("dashboard-narrow.png")
        browser.resize(1400, 1000)


@test("by keyboard alone: past the header, along a plot's points, through all controls and out again")
def keyboard():
    with shown() as host:
        with host.connect():
            clients = lambda: [r["value"] for r in rows(host, "history", "howdah_clients", "60s", "STEP", "1s")]
            wait_for(lambda: clients()[-5:] == [1] * 5, what="points of the plot that are alike")
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
            assert "Nodes" in [f[2] for f in reached], reached
            equal(reached[-1][2], "licence")
            # From view to view, and to what each has.
            for view, wanted in (("statements", "order-by"), ("host", "all-events"), ("reports", "The last day, as a page")):
                browser.find('nav a[href="#%s"]' % view).send_keys(Keys.ENTER)
                browser.until(lambda: browser.text("#said").lower() == view, "screen readers are told of the view")
                equal(browser.text('nav [aria-current="page"]').lower(), view)
                names = []
                while "licence" not in names:
                    browser.keys(Keys.TAB)
                    focus = browser.focus()
                    names.append(focus[1] or focus[2])
                    shown_outline = "return getComputedStyle(document.activeElement).outlineStyle"
                    assert browser.run(shown_outline) != "none", focus
                assert wanted in names, (wanted, names)
            go("overview")
            browser.find("#range").send_keys("15")
            equal(browser.text(".range-name"), "15 minutes")
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
        browser.open(host.url + "#statements")
        browser.until(lambda: "plugin statements" in browser.text("#statements .note"), "who counts statements")
        go("alerts")
        browser.until(lambda: "The plugin alerts is off." in browser.text("#rules .note"), "who watches")
        go("overview")
        browser.until(lambda: "No history: " in browser.text(plot("Throughput") + " .note"), "why there is no history")
        browser.until(lambda: "The plugin cache is off." in browser.text("#tiles"), "why there is no hit ratio")
        equal(tile("p95"), "no data")
        browser.until(lambda: tile("clients") == "0", "figures that need neither")
        browser.until(lambda: table("health"), "the part that does not work")
        equal(table("health")[0][0], "broken")
        assert "nowhere.so" in table("health")[0][3], table("health")
        go("host")
        broken = lambda: [r for r in table("plugins") if r[0] == "broken"]
        browser.until(broken, "the plugin that does not work")
        assert broken()[0][1] == "refused" and "nowhere.so" in broken()[0][6], broken()


@test("slow statements are listed, the newest first, without their values")
def slow():
    changes = {"plugin monitor": {"history": "", "slow_threshold": "50ms"}}
    with shown(changes) as host:
        with host.connect() as c:
            for name in ("first", "second"):
                c.execute("SELECT pg_sleep(0.1), 'a value' AS %s" % name)
        browser.open(host.url + "#statements")
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
        row = lambda name, section="wrong": ([r for r in table(section) if r[0] == name] or [[""] * 11])[0]
        browser.open(host.url + "#alerts")
        browser.until(lambda: row("absent", "all-alerts")[1] == "no data", "a rule without data")
        go("overview")
        browser.until(lambda: "Of 1 rule there is no data." in browser.text("#wrong .note"), "nothing is wrong")
        equal(row("busy")[1], "")
        held = [host.connect() for _ in range(3)]
        browser.until(lambda: row("busy")[1] == "firing", "it fires")
        equal((row("busy")[2], row("busy")[4:6], row("busy")[9]), ("page", ["3", "2.5"], "<b>3</b> clients"))
        browser.until(lambda: browser.text("#host-state").endswith(", 1 alert fires"), "the header says so")
        browser.until(lambda: browser.text("#said").endswith(", 1 alert fires"), "screen readers are told")
        equal(browser.driver.title, "(1) Howdah")
        equal(browser.axe(), [])
        go("alerts")
        browser.until(lambda: ["busy", "firing"] in [r[:2] for r in table("rules")], "its rule")
        browser.until(lambda: table("sinks") and table("sinks")[0][0] == "log", "who is told")
        equal(browser.axe(), [])
        go("overview")
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
        for path in ("/api/v1/pools", "/api/v1/openapi.json", "/api/v1/nothing", "/api/", "/health", "/metrics", "/reports/daily.html"):
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
        wait_for(lambda: ask(host, "/health")[0] == 200, what="the node is known to be up")
        status, headers, page = ask(host, "/")
        equal((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        for path in ["/"] + ["/" + p for p in re.findall(r'(?:href|src)="([^"]+)"', page) if not p.startswith("#")]:
            status, headers, body = ask(host, path)
            equal((path, status), (path, 200))
            if path.startswith("/reports/") or path in ("/health", "/metrics", "/api/v1/openapi.json"):
                continue
            assert body, path
            equal(ask(host, path, headers={"If-None-Match": headers["ETag"]})[0], 304)
        listed = re.findall(r"web/([a-z]+\.(?:js|css|svg|html))", open(os.path.join(SRCDIR, "plugins/monitor/Makefile.inc")).read())
        assert len(listed) > 12, listed
        for name in listed:
            status, _, text = ask(host, "/" + name)
            equal((name, status), (name, 200))
            text = text.replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"(?:https?:|wss?:|[\"'(])//[a-z]", text), name
        assert "Permission is hereby granted" in ask(host, "/dygraphs-licence.txt")[2]
        assert not re.search(r'(?:href|src)="(?:https?:)?//', page)
        assert not re.search(r"<script>|<style|style=|onclick=", page)
        browser.open(host.url)
        plotted()
        hosts = browser.run("return [...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).host))]")
        equal(hosts, ["127.0.0.1:%d" % host.http_port])
        equal(ask(host, "/nothing.js")[0], 404)


main()
