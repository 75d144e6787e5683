"""Alerts on a real host: rules on its own metrics, states, silences, the state file, and a host that ends badly."""

# Runs under TSan too.

import contextlib
import json
import os
import subprocess
import threading
import time

import psycopg

from alertworld import FAST, Receiver
from harness import Host, Postgres, equal, expect_error, main, merge, test, wait_for
from upgrading import replaced

pg = Postgres()

BUSY = {"expr": "howdah_clients", "above": "2.5", "clear": "1.5", "for": "0s", "clear_for": "0s"}


def config(receiver, rules, **changes):
    return {
        "plugin alerts": {**FAST, **changes},
        "plugin alert-webhook": {"enabled": "yes"},
        "webhook hook": {"url": receiver.url},
        **{"alert " + name: rule for name, rule in rules.items()},
    }


def alert(host, rule):
    found = [r for r in host.console("SHOW ALERTS") if r["rule"] == rule]
    return found[0] if found else None


def wait_state(host, rule, state):
    wait_for(lambda: (alert(host, rule) or {}).get("state") == state, what="%s is %s" % (rule, state))


@contextlib.contextmanager
def clients(host, count):
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(host.connect())
        yield


@test("fires above the threshold, is over at the clear level, and each is told once")
def life():
    with Receiver() as hook, Host(pg, config(hook, {"busy": BUSY, "none": {"expr": "no_such_metric", "above": "1"}})) as host:
        wait_state(host, "none", "no data")
        equal(alert(host, "none")["note"], "its metrics are not there")
        with clients(host, 3):
            (message,) = hook.wait(1)
            equal((message["state"], message["firing"], message["host"]), ("firing", 1, "h1"))
            equal([(a["rule"], a["state"], a["threshold"]) for a in message["alerts"]], [("busy", "firing", 2.5)])
            assert message["alerts"][0]["value"] >= 3
            equal(alert(host, "busy")["state"], "firing")
            rules = {r["rule"]: r for r in host.console("SHOW ALERT RULES")}
            equal((rules["busy"]["state"], rules["none"]["state"]), ("firing", "no data"))
        first, second = hook.wait(2)
        equal((second["state"], second["group"]), ("resolved", first["group"]))
        assert first["id"] != second["id"]
        assert second["alerts"][0]["until_us"] >= first["alerts"][0]["since_us"]
        time.sleep(0.5)  # further messages would have come by then
        equal(len(hook.messages()), 2)
        sinks = lambda: [(s["target"], s["sent"], s["dead"], s["waiting"]) for s in host.console("SHOW ALERT SINKS")]
        wait_for(lambda: sinks() == [("webhook:hook", 2, 0, 0)], what="both being known to have arrived")
        equal(len(hook.messages()), 2)


@test("rates and quantiles of statements")
def statements():
    rules = {
        "rate": {"expr": "rate(howdah_statements_total[2s])", "above": "20", "for": "0s"},
        "slow": {"expr": "quantile(0.5, howdah_statement_seconds[2s])", "above": "0.05", "for": "0s"},
        "slo": {
            "type": "burn",
            "expr": "1 - below(50ms, howdah_statement_seconds)",
            "window": "1s",
            "long_window": "3s",
            "objective": "99",
            "for": "0s",
            "severity": "page",
        },
    }
    with Receiver() as hook, Host(pg, merge(config(hook, rules), {"plugin statements": {"enabled": "yes"}})) as host:
        with host.connect() as c:

            def is_firing():  # a rate has two samples, so statements go on until it is seen
                for _ in range(100):
                    c.execute("SELECT 1")
                return (alert(host, "rate") or {}).get("state") == "firing"

            wait_for(is_firing, what="rate is firing")
            assert (alert(host, "slow") or {}).get("state") != "firing"
            missing = {"slow", "slo"}
            for _ in range(100):
                c.execute("SELECT pg_sleep(0.1)")
                missing -= {r["rule"] for r in host.console("SHOW ALERTS") if r["state"] == "firing"}
                if not missing:
                    break
            equal(missing, set())
        told = lambda: [m["alerts"][0]["value"] for m in hook.messages() if m["alerts"][0]["rule"] == "slow"]
        value = wait_for(told, what="a message about the slow ones")[0]
        assert 0.05 < value < 2, value


@test("a silence holds back what it matches, for its time, and over a restart")
def silences():
    with Receiver() as hook, Host(pg, config(hook, {"busy": BUSY, "too": BUSY})) as host:
        host.configure(config(hook, {"busy": BUSY, "too": BUSY}, state_file=os.path.join(host.dir, "state.json")))
        host.stop()
        host.start()
        for wrong in ("SILENCE rule=busy", "SILENCE rule FOR 1h", "SILENCE rule=busy FOR 1y", "UNSILENCE none"):
            try:
                host.console(wrong)
            except psycopg.Error:
                continue
            raise AssertionError("%s was taken" % wrong)
        host.console("SILENCE rule=bu* FOR 1h COMMENT it is known")
        with clients(host, 3):
            equal([a["rule"] for a in hook.wait(1)[0]["alerts"]], ["too"])
            equal(alert(host, "busy")["note"], "silenced")
        host.stop()
        host.start()
        (silence,) = host.console("SHOW SILENCES")
        equal((silence["matchers"], silence["comment"], silence["user"]), ("rule=bu*", "it is known", "howdah"))
        assert 3500 < silence["left_s"] <= 3600
        before = len(hook.messages())
        with clients(host, 3):
            wait_state(host, "busy", "firing")
            wait_for(lambda: len(hook.messages()) > before, what="the other is told")
            host.console("UNSILENCE " + silence["id"])
            wait_for(lambda: any(m["alerts"][0]["rule"] == "busy" for m in hook.messages()), what="it is told now")
        equal(host.console("SHOW SILENCES"), [])


def kept(rules=None, **changes):
    """A host with a state file, and its receiver's configuration."""

    def make(hook, host):
        return config(hook, rules or {"always": {"expr": "1", "above": "0", "for": "0s"}},
                      state_file=os.path.join(host.dir, "state.json"), **changes)

    return make


def settled(host):
    """The state file says that nothing waits, and the alert is told."""
    with contextlib.suppress(OSError, ValueError):
        state = json.load(open(os.path.join(host.dir, "state.json")))
        return not state["outbox"] and [a["told"] for a in state["alerts"]] == [1]


@test("a restart repeats nothing, and loses nothing")
def restart():
    make = kept()
    with Receiver() as hook, Host(pg, start=False) as host:
        host.configure(make(hook, host))
        host.start()
        hook.wait(1)
        wait_for(lambda: settled(host), what="it is kept")
        equal(os.stat(os.path.join(host.dir, "state.json")).st_mode & 0o777, 0o600)
        for kill in (False, True, True):
            host.kill() if kill else host.stop()
            host.start()
            wait_state(host, "always", "firing")
            time.sleep(0.4)  # a repeated message would have come by then
            equal(len(hook.messages()), 1)
        since = alert(host, "always")["since"]
        host.stop()
        host.start()
        wait_state(host, "always", "firing")
        equal(alert(host, "always")["since"], since)


def kept_states(host):
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(host.dir, "state.json")) as f:
            return {a["rule"]: a["state"] for a in json.load(f)["alerts"]}
    return {}


@test("a kill in every state: pending, told, ended and not told yet, silenced; each change is told once")
def kill_in_every_state():
    # Nobody is there while the host is not, which is to last no longer than clear_for.
    rule = {"expr": "howdah_clients", "above": "1.5", "for": "0s", "clear_for": "8s"}
    rules = {
        "told": rule,
        "ended": {**rule, "above": "3.5", "clear_for": "0s"},  # the console is a client, too
        "waits": {**rule, "for": "3s"},
        "quiet": rule,
    }
    make = kept(rules, group_interval="3s")

    def told(hook):  # what was on its way at the kill may come twice, with the same id
        messages = {m["id"]: m for m in hook.messages()}
        return sorted((a["rule"], a["state"]) for m in messages.values() for a in m["alerts"])

    with Receiver() as hook, Host(pg, start=False) as host:
        host.configure(make(hook, host))
        host.start()
        host.console("SILENCE rule=quiet FOR 4s")
        with contextlib.suppress(psycopg.Error), clients(host, 2):
            with clients(host, 2):
                wait_for(lambda: {("told", "firing"), ("ended", "firing")} <= set(told(hook)), what="two are told")
            wait_state(host, "ended", "resolved")
            wait_for(lambda: kept_states(host).get("ended") == 2, what="that is kept")
            host.kill()
        host.start()
        with clients(host, 2):
            begun = {(name, "firing") for name in rules} | {("ended", "resolved")}
            wait_for(lambda: set(told(hook)) == begun, what="all that was not told yet is")
        wait_for(lambda: len(set(told(hook))) == 8, what="all ends are told")
        equal(told(hook), sorted((name, state) for name in rules for state in ("firing", "resolved")))


@test("burn rates, means and quantiles are those of the statements that were run")
def truth():
    slow = "howdah_statement_seconds"
    rules = {
        "burn": {"expr": "1 - below(400ms, %s)" % slow, "type": "burn", "objective": "99", "window": "1m"},
        "mean": {"expr": "mean(%s[5m]) * increase(howdah_statements_total[5m])" % slow, "above": "1e9"},
        "p50": {"expr": "quantile(0.5, %s[5m])" % slow, "above": "1e9"},
        "p95": {"expr": "quantile(0.95, %s[5m])" % slow, "above": "1e9"},
    }
    with Receiver() as hook, Host(pg, merge(config(hook, rules), {"plugin statements": {}})) as host:

        def shown():
            return {r["rule"]: r["worst"] for r in host.console("SHOW ALERT RULES")}

        wait_for(lambda: host.console("SHOW METRICS howdah_alert_evaluation")[0]["count"] > 2, what="the first reading")
        with host.connect() as c:
            for _ in range(90):
                c.execute("SELECT 1")
            for _ in range(10):
                c.execute("SELECT pg_sleep(0.5)")
        wait_for(lambda: abs((shown()["burn"] or 0) - 10) < 0.001, what="a tenth is slow: ten times the budget of 1 %")
        found = shown()
        assert 5 < found["mean"] < 15, found  # ten times 0.5 s, and ninety that take little
        assert found["p50"] < 0.1 and 0.495 < found["p95"] < 1, found


@test("what could not be delivered is delivered after a restart, once, with the same id")
def undelivered():
    make = kept()
    with Receiver(answer=503) as failing, Receiver() as hook, Host(pg, start=False) as host:
        host.configure(make(failing, host))
        host.start()
        failing.wait(3)
        (sink,) = host.console("SHOW ALERT SINKS")
        equal((sink["sent"], sink["dead"]), (0, 0))
        assert sink["retries"] >= 1 and "503" in sink["reason"], sink
        host.kill()
        host.configure(make(hook, host))  # the same target, at an address that knows nothing of what went before
        host.start()
        hook.wait(1)
        wait_for(lambda: settled(host), what="it is kept")
        time.sleep(0.4)
        equal(len(hook.messages()), 1)
        equal(len({m["id"] for m in failing.messages() + hook.messages()}), 1)
        host.stop()


@test("a rule that has gone is over, one that comes is looked at, and a wrong one changes nothing")
def reload():
    with Receiver() as hook, Host(pg, config(hook, {"a": {"expr": "1", "above": "0", "for": "0s"}})) as host:
        hook.wait(1)
        host.configure(config(hook, {"a": {"expr": "1 +", "above": "0", "for": "0s"}}))
        result = host.control("reload")
        assert result.returncode and "[alert a]" in result.stderr and "the end" in result.stderr, result
        equal(alert(host, "a")["state"], "firing")
        host.configure(config(hook, {"b": {"expr": "2", "above": "0", "for": "0s"}}))
        equal(host.control("reload").returncode, 0)
        told = {(a["rule"], a["state"]) for m in hook.wait(3) for a in m["alerts"]}
        equal(told, {("a", "firing"), ("a", "resolved"), ("b", "firing")})


@contextlib.contextmanager
def full_disk(folder):
    """A small file system that is full until the function that this gives is called. Only root can mount one: for
    others a folder stands where the new file would."""
    os.mkdir(folder)
    if os.getuid():
        blocker = os.path.join(folder, "state.json.new")
        os.mkdir(blocker)
        yield lambda: os.rmdir(blocker)
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
    try:
        filler = os.path.join(folder, "filler")
        fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(fd, b"x" * 4096)
        os.close(fd)
        yield lambda: os.unlink(filler)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@test("a state file that cannot be written: alerts go on, it is said, and made good later")
def disk_full():
    with Receiver() as hook, Host(pg, start=False) as host, full_disk(os.path.join(host.dir, "small")) as make_room:
        path = os.path.join(host.dir, "small/state.json")
        host.configure(config(hook, {"busy": BUSY}, state_file=path))
        host.start()
        with clients(host, 3):
            hook.wait(1)
            host.wait_log("the state of the alerts cannot be kept")
        rows = host.console("SHOW METRICS alert_state")
        assert [m["value"] for m in rows if m["name"] == "howdah_alert_state_failures_total"][0] >= 1, rows
        assert not os.path.exists(path)
        make_room()
        wait_for(lambda: os.path.exists(path), what="the file is written")
        json.load(open(path))
        host.stop()


@test("a state file whose folder comes later")
def late_folder():
    with Receiver() as hook, Host(pg, start=False) as host:
        folder = os.path.join(host.dir, "later")
        host.configure(config(hook, {"busy": BUSY}, state_file=folder + "/state.json"))
        host.start()
        host.wait_log("the state of the alerts cannot be kept")
        os.mkdir(folder)
        host.console("SILENCE rule=busy FOR 1h")
        wait_for(lambda: os.path.exists(folder + "/state.json"), what="the file is written")
        host.stop()


@test("a state file that is broken is put aside")
def broken_state():
    make = kept()
    for text in ("", "{", "[]", '{"version": 99}', '{"version": 1, "alerts": [1, {"rule": 3}, {"rule": "x", "labels": 1}]}'):
        with Receiver() as hook, Host(pg, start=False) as host:
            path = os.path.join(host.dir, "state.json")
            with open(path, "w") as f:
                f.write(text)
            with open(path + ".history", "w") as f:
                f.write("HDALERT1 and no more")
            host.configure(make(hook, host))
            host.start()
            hook.wait(1)
            equal(os.path.exists(path + ".unreadable"), '"version": 1,' not in text)
            host.stop()


@test("an upgrade: the new host has the alerts at once, though the old one goes on; nothing is lost or told twice")
def upgraded():
    accept = threading.Event()
    rules = {
        "always": {"expr": "1", "above": "0", "for": "0s"},
        "later": {"expr": "howdah_clients", "above": "2.5", "clear": "1.5", "for": "0s", "clear_for": "0s"},
        "quiet": {"expr": "0", "above": "0", "for": "0s"},
    }
    make = kept(rules, interval="200ms")
    with Receiver(lambda _: 200 if accept.is_set() else 503) as hook, Host(pg, start=False) as host:
        host.configure(make(hook, host))
        host.start()
        host.console("SILENCE rule=quiet FOR 1h COMMENT it is known")
        rules["quiet"]["expr"] = "1"
        host.configure(make(hook, host))
        equal(host.control("reload").returncode, 0)
        wait_state(host, "quiet", "firing")
        ids = lambda: [m["id"] for m in hook.messages()]
        waiting = lambda: sum(s["waiting"] for s in host.console("SHOW ALERT SINKS"))
        wait_for(lambda: ids() and waiting() == 1, what="a message that cannot be delivered")
        with host.connect() as stays, stays.transaction():
            stays.execute("SELECT 1")
            replaced(host)
            host.wait_log("the alerts are this host's now")
            wait_state(host, "always", "firing")
            equal(len(host.host_pids()), 2)
            equal([(s["matchers"], s["comment"]) for s in host.console("SHOW SILENCES")], [("rule=quiet", "it is known")])
            equal(alert(host, "quiet")["note"], "silenced")
            accept.set()
            wait_for(lambda: waiting() == 0, what="its delivery")
            equal(set(ids()), {ids()[0]})  # tried by both hosts, and taken once
            tried = len(ids())
            with clients(host, 3):
                told = hook.wait(tried + 1)[-1]
                equal([(a["rule"], a["state"]) for a in told["alerts"]], [("later", "firing")])
            told = hook.wait(tried + 2)[-1]
            equal([(a["rule"], a["state"]) for a in told["alerts"]], [("later", "resolved")])
            equal(len(host.host_pids()), 2)
            stays.execute("SELECT 1")
        wait_for(lambda: len(host.host_pids()) == 1, what="the old host's end")
        equal(len(ids()), tried + 2)
        host.stop()
        equal(len(ids()), tried + 2)


@test("two hosts with one state file: the second waits for the first")
def standby():
    make = kept()
    with Receiver() as hook, Host(pg, start=False) as first, Host(pg, start=False) as second:
        conf = make(hook, first)
        for host in (first, second):
            host.configure(conf)
            host.start()
        hook.wait(1)
        second.wait_log("another host has the alerts")
        equal(second.console("SHOW ALERTS"), [])
        for late in ("SILENCE rule=x FOR 1h", "UNSILENCE 1"):
            with expect_error(match="another host has the alerts"):
                second.console(late)
        first.stop()
        second.wait_log("the alerts are this host's now")
        wait_state(second, "always", "firing")
        time.sleep(0.4)
        equal(len(hook.messages()), 1)
        first.start()


@test("events of the bus, and metrics of the alerts themselves")
def events():
    with Receiver() as hook, Host(pg, config(hook, {"busy": BUSY})) as host:
        def topics():
            return {t["topic"]: t for t in host.console("SHOW TOPICS")}

        assert {"alert.raised/1", "alert.cleared/1"} <= set(topics()), topics()
        with clients(host, 3):
            hook.wait(1)

            def firing():
                return [m["value"] for m in host.console("SHOW METRICS alerts_firing")]

            wait_for(lambda: firing() == [1], what="the gauge says so")
        hook.wait(2)
        wait_for(lambda: firing() == [0], what="the gauge says so")


@test("wrong rules are refused with file, line and reason")
def wrong_rules():
    with Receiver() as hook, Host(pg, start=False) as host:
        for rule, reason in [
            ({"above": "1"}, "expr is missing"),
            ({"expr": "rate(a", "above": "1"}, ") is expected"),
            ({"expr": "a"}, "either above or below"),
            ({"expr": "a", "type": "anomaly", "severity": "page"}, "never pages"),
            ({"expr": "a", "above": "1", "inhibited_by": "nobody"}, "no [alert nobody]"),
        ]:
            host.configure(config(hook, {"x": rule}))
            result = host.run("-t")
            assert result.returncode and reason in result.stderr and "10-test.ini:" in result.stderr, result.stderr
        host.configure(config(hook, {"x": BUSY}))
        result = host.run("-t")
        equal((result.returncode, result.stderr), (0, result.stderr))
        host.start()


main()
