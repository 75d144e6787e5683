"""The dashboard's views of servers, the machine, alerts and reports; silences, plans; what an open page asks for."""

# Runs without sanitizers alone.

import contextlib
import os
import re
import threading

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from dashboardworld import HOSTILE, VIEWS, ask, browser, go, load, pg, plot, plotted, rows, shown, table
from harness import equal, main, temp_dir, test, wait_for
from upgrading import settled, upgrade

CONTROL = {"node main": {"control_user": "postgres"}}
LONG = "SELECT " + ", ".join("%d AS a_rather_long_name_of_column_%d" % (i, i) for i in range(20))


def newest(title, lines=1):
    """The newest values of the first lines in a plot's legend, all of the same moment, as soon as they are there: (number, unit)."""
    script = "return [...document.querySelectorAll(arguments[0] + ' .legend .value')].map(v => v.textContent)"

    def numbers():
        texts = browser.run(script, plot(title))[:lines]
        found = [re.fullmatch(r"([0-9.]+)\s*(.*)", text) for text in texts]
        return len(found) == lines and all(found) and [(float(m[1]), m[2]) for m in found]

    return browser.until(numbers, "%d values in %s" % (lines, title))


def button(section, name):
    """The first button of that name in a section's table; None: there is none."""
    found = [b for b in browser.driver.find_elements("css selector", "#%s button" % section) if b.text == name]
    return found[0] if found else None


# --- servers ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def three_deep():
    """Two sessions that wait for a third, one behind the other; yields their processes, the holder first."""
    conns = [pg.connect(autocommit=False), pg.connect(), pg.connect()]
    threads = []
    conns[0].execute("UPDATE item SET name = 'a-secret' WHERE id = 1")
    for conn in conns[1:]:
        t = threading.Thread(target=conn.execute, args=("UPDATE item SET name = 'a-secret' WHERE id = 1",), daemon=True)
        t.start()
        threads.append(t)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE pid = %d AND wait_event_type = 'Lock'" % conn.info.backend_pid
        wait_for(lambda: pg.execute(waiting)[0][0] == 1, what="it waits")
    try:
        yield [str(c.info.backend_pid) for c in conns]
    finally:
        conns[0].rollback()
        for t in threads:
            t.join(30)
        for c in conns:
            c.close()


@test("servers: who blocks whom, what they run, without literals; and nobody when it is over")
def blocking():
    with shown(CONTROL) as host:
        browser.open(host.url + "#servers")
        browser.until(lambda: "Nobody waits" in browser.text("#blocking .note"), "nobody waits")
        with three_deep() as pids:
            browser.until(lambda: len(table("blocking")) >= 3, "the tree")
            tree = table("blocking")
            assert tree[0][0].startswith(pids[0]) and tree[0][0].endswith(", at the root"), tree
            assert tree[1][0].startswith("└ ") and tree[1][0].endswith(", level 1"), tree
            equal(tree[1][2], pids[0])
            equal({p for r in tree for p in pids if p in r[0]}, set(pids))
            browser.until(lambda: set(pids) <= {r[0] for r in table("activity")}, "sessions at work")
            assert any(r[6] == "Lock: transactionid" for r in table("activity")), table("activity")
            assert "a-secret" not in browser.run("return document.documentElement.outerHTML")
            browser.until(lambda: newest("What active sessions wait for")[0][0] >= 2, "the plot of waits", timeout=150)  # asked less often where it takes long
            browser.screenshot("dashboard-servers.png")
            equal(browser.axe(), [])
        browser.until(lambda: "Nobody waits" in browser.text("#blocking .note"), "nobody waits any more")


@test("servers: slots, wraparound, tables and bloat are what the server says; of one node when it is chosen")
def servers():
    second = {"node second": {"conninfo": "host=%s port=%d" % (pg.host, pg.port), "control_user": "postgres"}}
    pg.execute("SELECT pg_create_physical_replication_slot('kept', true)")
    pg.execute("ANALYZE")
    try:
        with shown({**CONTROL, **second}) as host:
            with pg.connect(dbname=HOSTILE) as c:
                c.execute('CREATE TABLE "%s" ()' % HOSTILE)
            wait_for(lambda: len([n for n in rows(host, "nodes") if n["state"] == "up"]) == 2, what="both nodes")
            browser.open(host.url + "#servers")
            browser.until(lambda: {r[1] for r in table("slots")} == {"main", "second"}, "slots of both")
            browser.until(lambda: table("tables") and table("wraparound") and table("collectors"), "all tables")
            Select(browser.find("#node")).select_by_value("second")
            browser.until(lambda: {r[1] for r in table("slots")} == {"second"}, "slots of one")
            kept = table("slots")[0]
            equal((kept[0], kept[5]), ("kept", "nobody reads it"))
            browser.until(lambda: {r[1] for r in table("wraparound")} == {"second"}, "ages of one")
            names = {r[0] for r in pg.execute("SELECT datname FROM pg_database")}
            equal({r[0] for r in table("wraparound")}, names)
            browser.until(lambda: {r[1] for r in table("tables")} == {"second"}, "tables of one")
            item = [r for r in table("tables") if r[0] == "public.item"][0]
            equal((item[2], item[4]), ("shop", "1,000"))
            newest("Sessions", 3)
            of_two = lambda: rows(host, "series", "howdah_pg_sessions{node=second,state=idle}")
            wait_for(lambda: len(of_two()) == 1, what="the second node's in the history")
            browser.until(lambda: any(r[0] == "public." + HOSTILE for r in table("tables")) or table("tables"), "names as text")
            equal(browser.run("return document.images.length"), 0)
            equal(browser.complaints(), [])
    finally:
        pg.execute("SELECT pg_drop_replication_slot('kept')")
        with pg.connect(dbname=HOSTILE) as c:
            c.execute('DROP TABLE "%s"' % HOSTILE)


@test("a node that was away is said so, with its share of the range")
def node_history():
    with shown(CONTROL) as host:
        browser.open(host.url)
        share = lambda: (table("nodes") or [["", "", ""]])[0][2].strip()
        browser.until(lambda: share() == "100 %", "it was up all the time")
        pg.stop()
        rows(host, "node/ping")
        try:
            browser.until(lambda: (table("nodes") or [["", ""]])[0][1] == "down", "it is down")
            browser.until(lambda: share() not in ("100 %", "no history"), "less than all the time")
            assert float(share().split()[0]) < 100, share()
            browser.until(lambda: browser.text("#host-state").startswith("Not ready: "), "the host is not ready")
        finally:
            pg.start()
        rows(host, "node/ping")
        browser.until(lambda: table("nodes")[0][1] == "up", "it is back")


@test("the machine's plots are drawn, and its memory is what the kernel says")
def machine():
    with shown() as host:
        browser.open(host.url + "#machine")
        for title in ("Processors", "Memory", "Disks", "Network", "This host's memory"):
            plotted(title)
        with open("/proc/meminfo") as f:
            kib = int([line for line in f if line.startswith("MemTotal:")][0].split()[1])
        total, unit = newest("Memory", 4)[3]
        assert unit == "GiB" and abs(total - kib / 1024 / 1024) < 0.1, (total, unit, kib)
        shares = [share for share, _ in newest("Processors", 4)]
        assert 0 <= sum(shares) <= 100.5, shares


def history(body):
    """What a function with the page's module as m returns."""
    begin, end = 'import("/history.js").then((m) => {', "}).then(arguments[0], (e) => arguments[0](String(e)))"
    return browser.driver.execute_async_script(begin + body + end)


@test("what comes late is asked for again, as long as it may come; names are told from labels")
def late_series():
    with shown() as host:
        browser.open(host.url + "#reports")

        def known(**last):
            """Up to where all is there, in seconds, of series with such last points."""
            takes = "".join("take(%r, %d);" % item for item in last.items())
            return history(
                "const track = new m.Track(['a'], new m.Range('1h'));"
                "const take = (key, at) => track.take({ series: key, time: new Date(at * 1000).toISOString(), value: 1 });"
                "%s return track.known() / 1000" % takes
            )

        equal(known(), 0)
        equal(known(a=5000), 5000)
        equal(known(a=5000, b=4940), 4940)
        equal(known(b=4940, a=5000, c=4701), 4701)
        equal(known(a=5000, b=4940, ended=4700), 4940)
        # Labels hold anything: the last ones win only where they are labels.
        body = """
        const range = new m.Range("5m"), track = new m.Track(["a"], range);
        const add = (key, value) => track.take({ series: key, time: new Date(1000000).toISOString(), value });
        add("a{database=x,y=z} \\n<b>,node=one}", 1);
        add("a{database=d,node=two}", 2);
        add("a", 4);
        add("ab{node=one}", 8);
        const of = (source, more) => [...track.all(source, (a, b) => a + b, more).values()];
        return [of("a", {}), of("a", { node: "one" }), of("a{node=two}", {}), of("a{database=d}", { node: "one" })];
        """
        equal(history(body), [[7], [1], [2], []])


# --- statements ---------------------------------------------------------------------------------------------------


@test("a long statement is opened by whoever wants all of it, and stays open; a slow one has its plan")
def long_statements():
    changes = {**CONTROL, "plugin monitor": {"history": "", "slow_threshold": "1s"}}
    with shown(changes) as host:
        with host.connect() as c:
            c.execute(LONG)
            c.execute("SELECT pg_sleep(1.1) FROM item WHERE id = 77")
        browser.open(host.url + "#statements")
        opened = "return document.querySelector('#statements details.long')?.open"
        browser.until(lambda: browser.run(opened) is False, "a long one, closed")
        browser.find("#statements details.long summary").send_keys(Keys.ENTER)
        browser.until(lambda: browser.run(opened), "it opens by keyboard")
        assert browser.find("#statements details.long p").is_displayed()
        with host.connect() as c:
            c.execute(LONG)
        calls = lambda: [r[3] for r in table("statements") if "a_rather_long_name" in r[0]]
        browser.until(lambda: calls() == ["2"], "another call")
        equal(browser.run(opened), True)
        browser.until(lambda: button("slow", "Plan"), "a slow statement")
        button("slow", "Plan").click()
        browser.until(lambda: "Scan using item_pkey" in browser.text("#plan-text"), "its plan")
        assert "77" not in browser.text("#plan"), browser.text("#plan")
        equal(browser.axe(), [])
        browser.keys(Keys.ESCAPE)
        browser.until(lambda: not browser.find("#plan").is_displayed(), "it closes")


# --- alerts and reports -------------------------------------------------------------------------------------------


@test("an alert is silenced from the page, as it is named, and the silence is ended there")
def silence():
    changes = {
        "plugin alerts": {"interval": "100ms", "state_file": "", "flap_window": "0s"},
        "alert pools": {"expr": "howdah_pool_limit", "above": "0", "for": "0s"},
        "alert clients": {"expr": "howdah_clients", "above": "0", "for": "0s"},
    }
    with shown(changes) as host:
        with host.connect(dbname=HOSTILE), host.connect():
            note = lambda labels: [r[8] for r in table("all-alerts") if r[0] == "pools" and labels in r[3]]
            browser.open(host.url + "#alerts")
            browser.until(lambda: len(note("")) == 2, "both pools")
            wanted = "return [...document.querySelectorAll('#all-alerts tr')].find(r => r.textContent.includes(arguments[0])).querySelector('button').click()"
            browser.run(wanted, HOSTILE)
            browser.until(lambda: browser.find("#silence").is_displayed(), "the question")
            assert HOSTILE in browser.text("#silence-what"), browser.text("#silence-what")
            equal(browser.axe(), [])
            Select(browser.find("#silence-for")).select_by_value("30m")
            browser.find("#silence-comment").send_keys("known, and <b>harmless</b>", Keys.ENTER)
            browser.until(lambda: note("img") == ["silenced"], "it is silenced")
            equal(note('database="shop"'), [""])
            told = rows(host, "silences")
            equal([(s["comment"], s["left_s"] <= 1800) for s in told], [("known, and <b>harmless</b>", True)])
            browser.until(lambda: table("silences"), "the silence is listed")
            equal(table("silences")[0][4], "known, and <b>harmless</b>")
            browser.until(lambda: button("silences", "End"), "a way to end it").click()
            browser.until(lambda: not table("silences") and note("img") == [""], "it is over")
            equal(rows(host, "silences"), [])
            # All alerts of a rule; what the host refuses is said.
            browser.run(wanted, 'database="shop"')
            browser.until(lambda: browser.find("#silence").is_displayed(), "the question again")
            Select(browser.find("#silence-scope")).select_by_value("rule")
            browser.run("document.getElementById('silence-for').options[0].value = 'soon'")
            Select(browser.find("#silence-for")).select_by_value("soon")
            browser.find("#silence button[type=submit]").click()
            browser.until(lambda: "say for how long" in browser.text("#silence-failed"), "why not")
            Select(browser.find("#silence-for")).select_by_value("1h")
            browser.find("#silence button[type=submit]").click()
            browser.until(lambda: note("") == ["silenced"] * 2, "both are silenced")
            browser.screenshot("dashboard-alerts.png")


@test("reports open as pages that stand alone, and as text")
def reports():
    with shown() as host:
        statement = "where name = $1 or id = $2"
        reported = lambda: load(host, 5) or statement in ask(host, "/reports/hourly.txt")[2]
        wait_for(reported, what="the statement in the history")
        browser.open(host.url + "#reports")
        equal(len(browser.driver.find_elements("css selector", "#reports a")), 8)
        first = browser.driver.current_window_handle
        browser.find('#reports a[href="reports/hourly.html"]').click()
        browser.until(lambda: len(browser.driver.window_handles) == 2, "a tab of its own")
        browser.driver.switch_to.window([w for w in browser.driver.window_handles if w != first][0])
        browser.until(lambda: browser.driver.title == "Howdah: hourly report", "the report")
        assert statement in browser.text("body"), browser.text("body")
        # Its styles hold: the policy lets them, and nothing else.
        equal(browser.run("return document.styleSheets.length > 0 && document.styleSheets[0].cssRules.length > 0"), True)
        equal(browser.complaints(), [])
        # One file that stands alone, where scripts run for whoever looks whether everybody can read it.
        saved = os.path.join(temp_dir(), "report.html")
        with open(saved, "w") as f:
            f.write(ask(host, "/reports/hourly.html")[2])
        browser.open("file://" + saved)
        equal(browser.axe(least=12), [])
        browser.driver.close()
        browser.driver.switch_to.window(first)
        for kind in ("realtime", "hourly", "daily", "weekly"):
            status, headers, text = ask(host, "/reports/%s.txt" % kind)
            equal((status, headers["Content-Type"]), (200, "text/plain; charset=utf-8"))
            assert text.startswith("Howdah, %s report" % kind), text[:80]
            status, headers, _ = ask(host, "/reports/%s.html" % kind)
            equal((status, headers.get_all("Content-Security-Policy")[1:]), (200, []))
            assert "sandbox" in headers["Content-Security-Policy"], headers
        for wrong in ("", "daily", "daily.pdf", "dailyx.html", "yearly.html", "../health"):
            assert ask(host, "/reports/" + wrong)[0] in (400, 404), wrong
    with shown({"plugin monitor": {"history": ""}}) as host:
        status, _, text = ask(host, "/reports/daily.html")
        assert status == 404 and "there is no history" in text, (status, text)


# --- for everybody, and for the host ------------------------------------------------------------------------------


@test("axe-core finds nothing against any view: light, dark and narrow")
def axe():
    changes = {
        **CONTROL,
        "plugin broken": {"library": "/nowhere.so"},
        "plugin alerts": {"interval": "100ms", "state_file": ""},
        "alert clients": {"expr": "howdah_clients", "above": "0", "for": "0s"},
    }
    filled = {"statements": "statements", "servers": "activity", "host": "events", "alerts": "rules"}
    with shown(changes) as host, host.connect() as c:
        c.autocommit = False
        c.execute(LONG)
        load(host, 5)
        browser.open(host.url)
        for view in VIEWS:
            go(view)
            if view in filled:
                browser.until(lambda: table(filled[view]), "the tables of " + view)
            if view in ("overview", "machine", "servers"):
                plotted({"overview": "Throughput", "machine": "Memory", "servers": "Sessions"}[view])
            browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
            for theme in ("light", "dark"):
                browser.prefer(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
                equal((view, theme, browser.axe()), (view, theme, []))
            browser.resize(360, 800)
            equal((view, "narrow", browser.axe()), (view, "narrow", []))
            browser.resize(1400, 1000)
        browser.prefer()


COUNT = """
const from = arguments[0];
const seen = performance.getEntriesByType('resource').filter(e => e.startTime > from && /\\/(api|health)/.test(e.name));
return [performance.now(), seen.length, seen.reduce((sum, e) => sum + e.transferSize, 0)];
"""


@test("an open page asks little, for its view alone, and nothing while it is paused or nobody sees it")
def cost():
    with shown(CONTROL) as host:
        browser.open(host.url)
        plotted()
        browser.run("performance.setResourceTimingBufferSize(5000)")
        now = lambda: browser.run("return performance.now()")
        rounds = "return performance.getEntriesByType('resource').filter(e => e.startTime > arguments[0] && e.name.includes('/nodes')).length"
        begin = now()
        browser.until(lambda: browser.run(rounds, begin) >= 4, "four rounds")
        end, count, size = browser.run(COUNT, begin)
        seen = browser.run(rounds, begin)
        print("# an open page: %.1f requests and %.0f bytes a second" % (1000 * count / (end - begin), 1000 * size / (end - begin)))
        # A round asks for six things at most, and so do plots: one question for all of them.
        assert count <= 8 * (seen + 1) + (end - begin) / 2000 + 2, (count, seen)
        names = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
        assert not [n for n in names if re.search("/v1/(activity|templates|tables|slow|alert/)", n)], names
        # Paused: a round under way may end.
        browser.find("#pause").click()
        asked_at = lambda: browser.run("return Math.max(...performance.getEntriesByType('resource').map(e => e.startTime))")
        quiet = lambda: now() - asked_at() > 7000
        browser.until(quiet, "nothing is asked for seven seconds")
        browser.find("#pause").click()
        browser.until(lambda: now() - asked_at() < 2000, "it goes on")
        browser.driver.minimize_window()
        browser.until(lambda: browser.run("return document.hidden"), "nobody sees it")
        browser.until(quiet, "nothing is asked for seven seconds")
        browser.driver.set_window_rect(0, 0, 1400, 1000)
        browser.until(lambda: now() - asked_at() < 2000, "it goes on when it is seen")


@test("a page that is open over an upgrade of the host goes on, and says when there is a new version")
def upgraded():
    with shown() as host:
        browser.open(host.url)
        plotted("Connections")
        before = host.host_pid()
        upgrade(host)
        settled(host)
        assert host.host_pid() != before
        with host.connect(), host.connect():
            browser.until(lambda: browser.text('[data-figure="clients"]') == "2", "figures of the new host")
            browser.until(lambda: "parts work" in browser.text("#host-state"), "its health")
        equal(browser.find("#banner").get_attribute("hidden"), "true")
        equal(browser.find("#news").get_attribute("hidden"), "true")
        # As a host of another version would say.
        browser.run(
            """const real = window.fetch;
            window.fetch = async (path, ...more) => {
              const answer = await real(path, ...more);
              if (path !== "health") return answer;
              return new Response(JSON.stringify({...(await answer.json()), version: "99.1"}), answer);
            };"""
        )
        browser.until(lambda: "version 99.1 now" in browser.text("#news"), "the news")
        equal(browser.axe(), [])
        browser.find("#news button").click()
        browser.until(lambda: browser.text("#version") not in (None, "", "99.1"), "the page anew")
        equal(browser.find("#news").get_attribute("hidden"), "true")


main()
