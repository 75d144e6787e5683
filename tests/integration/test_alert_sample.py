"""The sample's rules for alerts, each on its real cause: as they are in conf.d, but for times (and levels, where said)."""

import configparser
import contextlib
import json
import os
import subprocess
import sys

import harness
from alertworld import FAST, Receiver
from harness import SRCDIR, Host, Postgres, equal, main, merge, postgres_bin, spawn, temp_dir, test, wait_for
from httphost import ask, served

VERDICTS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/verdicts.so"))

pg = Postgres(settings={"shared_buffers": "1MB", "autovacuum": "off", "autovacuum_freeze_max_age": "2000000000"})


def sample(*names, **changes):
    """Rules of the sample, which fire and end at once."""
    found = configparser.ConfigParser(interpolation=None, comment_prefixes=(";",), inline_comment_prefixes=None)
    found.read(os.path.join(SRCDIR, "conf.d", "50-alerts.ini"))
    at_once = {"for": "0s", "clear_for": "0s", "absent_for": "100ms", "inhibited_by": None}
    return {"alert " + n: {**found["alert " + n], **at_once, **changes} for n in names}


def configured(hook, rules, changes=None):
    return merge(
        {
            "plugin alerts": FAST,
            "plugin alert-webhook": {"enabled": "yes"},
            "webhook hook": {"url": hook.url},
            "plugin statements": {"enabled": "yes"},
            "plugin monitor": {"enabled": "yes", "history": "", "collect_scale": 0.01},
            "node main": {"control_user": "postgres"},
            **rules,
        },
        changes,
    )


@contextlib.contextmanager
def watched(rules, changes=None, server=pg):
    with Receiver() as hook, Host(server, configured(hook, rules, changes)) as host:
        yield host, hook


def told(hook, count, rule, state="firing"):
    """The alert that the message of that number, counted from 1, tells of."""
    message = hook.wait(count, 60)[count - 1]
    equal((message["state"], [a["rule"] for a in message["alerts"]]), (state, [rule]))
    return message["alerts"][0]


# --- the host's own -----------------------------------------------------------------------------------------------


@test("pool-utilization: a pool is full, and is not")
def pool_utilization():
    with watched(sample("pool-utilization"), {"database *": {"pool_size": 2}}) as (host, hook):
        with host.connect() as one, host.connect() as two:
            with one.transaction(), two.transaction():
                one.execute("SELECT 1")
                two.execute("SELECT 1")
                alert = told(hook, 1, "pool-utilization")
                equal((alert["value"], alert["labels"]), (1, {"database": "shop", "node": "main", "user": "app"}))
            told(hook, 2, "pool-utilization", "resolved")


@test("pool-full-soon: transactions that stay open are more and more")
def pool_full_soon():
    with watched(sample("pool-full-soon"), {"database *": {"pool_size": 50}}) as (host, hook):
        with contextlib.ExitStack() as clients:
            seen = 0

            def looked():
                return hook.requests or sum(r["busy"] for r in host.console("SHOW POOL USE")) > seen

            while not hook.requests:
                c = clients.enter_context(host.connect())
                clients.enter_context(c.transaction())
                c.execute("SELECT 1")
                wait_for(looked, what="the plugin seeing it")
                seen += 1
                assert seen < 49, "the pool is full, and nobody said so"
            alert = told(hook, 1, "pool-full-soon")
            assert 0 < alert["value"] < 600, alert
            equal(alert["labels"], {"database": "shop", "node": "main", "user": "app"})
        told(hook, 2, "pool-full-soon", "resolved")


@test("slow-statements: one in twenty takes long")
def slow_statements():
    with watched(sample("slow-statements")) as (host, hook), host.connect() as c:
        for n in range(20):
            c.execute("SELECT pg_sleep(%s)" % (0.6 if n % 5 == 0 else 0))
        assert 0.5 < told(hook, 1, "slow-statements")["value"] < 3


@test("cpu: all processors are busy")
def cpu():
    with watched(sample("cpu")) as (host, hook):
        burners = [spawn([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
        try:
            assert told(hook, 1, "cpu")["value"] > 90
        finally:
            for b in burners:
                b.kill()
                b.wait()


@test("plugin-down: one that is quarantined, until it is switched off; none that was switched off before")
def plugin_down():
    def is_now(host, state):
        return [r for r in host.console("SHOW PLUGINS") if r["name"] == "verdicts" and r["state"] == state]

    def quarantine(host):
        """Statements that fail until it is: workers take up a plugin that was switched on a moment later."""
        with host.connect() as c:
            wait_for(lambda: c.execute("/* verdict: fail */ SELECT 1") and is_now(host, "quarantined"), what="the quarantine")

    def up(host):
        lines = [n for n in ask(host, "/metrics")[2].splitlines() if n.startswith('howdah_plugin_up{plugin="verdicts"}')]
        return lines and lines[0].split()[1] or None

    plugin = {"plugin verdicts": {"enabled": "yes", "library": VERDICTS, "failures": 3}}
    with Receiver() as hook, served(pg, configured(hook, {**sample("plugin-down"), **plugin})) as host:
        equal(up(host), "1")
        host.console("PLUGIN verdicts DISABLE")
        wait_for(lambda: is_now(host, "stopped"), what="the plugin stopping")
        equal(up(host), None)
        host.console("PLUGIN verdicts ENABLE")
        equal(up(host), "1")
        quarantine(host)
        equal(told(hook, 1, "plugin-down")["labels"], {"plugin": "verdicts"})  # and none of when it was stopped
        equal(up(host), "0")
        host.console("PLUGIN verdicts ENABLE")
        told(hook, 2, "plugin-down", "resolved")
        quarantine(host)
        told(hook, 3, "plugin-down")
        host.console("PLUGIN verdicts DISABLE")
        told(hook, 4, "plugin-down", "resolved")
        equal(up(host), None)


@test("plugin-down: one that cannot start, until the configuration does not want it any more")
def plugin_refused():
    with Receiver() as hook:
        changes = {"plugin verdicts": {"enabled": "yes", "library": "/nowhere/verdicts.so"}}
        with Host(pg, configured(hook, {**sample("plugin-down"), **changes})) as host:
            equal(told(hook, 1, "plugin-down")["labels"], {"plugin": "verdicts"})
            equal(host.console("ALERTS"), host.console("SHOW ALERTS"))
            short, long = (json.loads(host.control("--json", *c).stdout) for c in (["alerts"], ["show", "alerts"]))
            equal((short["command"], short["rows"]), ("ALERTS", long["rows"]))
            host.configure(configured(hook, sample("plugin-down")))
            equal(host.control("reload").returncode, 0)
            told(hook, 2, "plugin-down", "resolved")


# --- the server's -------------------------------------------------------------------------------------------------


@test("dead-node and no-node: the server is gone, and comes back")
def dead_node():
    own = Postgres()
    with watched(sample("dead-node", "no-node"), server=own) as (host, hook):
        wait_for(lambda: [r["values"] for r in host.console("SHOW ALERT RULES")] == [1, 1], what="the node is known")
        own.stop()
        wait_for(lambda: host.console("NODE PING main") is None or len(hook.requests) > 1, what="it is missed")
        first = {m["alerts"][0]["rule"]: m for m in hook.wait(2, 60)[:2]}
        equal({m["severity"] for m in first.values()}, {"page"})
        equal({r: m["alerts"][0]["labels"] for r, m in first.items()}, {"dead-node": {"node": "main"}, "no-node": {}})
        own.start()
        equal({(m["state"], m["alerts"][0]["rule"]) for m in hook.wait(4, 60)[2:]}, {("resolved", r) for r in first})


@test("buffer-cache: tables that are larger than the server's memory are read")
def buffer_cache():
    pg.execute("CREATE TABLE large AS SELECT g, repeat('x', 1000) FROM generate_series(1, 10000) g")
    with watched(sample("buffer-cache")) as (host, hook), pg.connect() as c:

        def read():
            c.execute("SELECT count(*) FROM large")
            return hook.requests

        wait_for(read, what="the server's memory being too small")
        alert = told(hook, 1, "buffer-cache")
        assert alert["value"] < 90 and alert["labels"] == {"node": "main"}, alert
    pg.execute("DROP TABLE large")


@test("long-transaction: one is open for long (here, a second)")
def long_transaction():
    with watched(sample("long-transaction", above="1", clear="0.5")) as (host, hook):
        with pg.connect(autocommit=False) as c:
            c.execute("SELECT 1")
            assert told(hook, 1, "long-transaction")["value"] > 1
        told(hook, 2, "long-transaction", "resolved")


@test("slot-lag: log that a slot holds back (here, 20 MB), until the slot is dropped")
def slot_lag():
    with watched(sample("slot-lag", above="20e6", clear="10e6")) as (host, hook):
        pg.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
        for _ in range(3):
            pg.execute("CREATE TABLE written AS SELECT 1")
            pg.execute("DROP TABLE written")
            pg.execute("SELECT pg_switch_wal()")
        alert = told(hook, 1, "slot-lag")
        assert alert["value"] > 20e6 and alert["labels"] == {"node": "main", "slot": "forgotten"}, alert
        pg.execute("SELECT pg_drop_replication_slot('forgotten')")
        told(hook, 2, "slot-lag", "resolved")


@test("slot-lost: the server has given up what a slot holds back, until the slot is dropped")
def slot_lost():
    with watched(sample("slot-lost")) as (host, hook):
        pg.execute("SELECT pg_create_physical_replication_slot('abandoned', true)")
        pg.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        pg.execute("SELECT pg_reload_conf()")
        wait_for(lambda: pg.execute("SHOW max_slot_wal_keep_size") == [("1MB",)], what="the new setting")
        for _ in range(2):
            pg.execute("CREATE TABLE written AS SELECT 1")
            pg.execute("DROP TABLE written")
            pg.execute("SELECT pg_switch_wal()")
        pg.execute("CHECKPOINT")
        alert = told(hook, 1, "slot-lost")
        equal(alert["labels"], {"node": "main", "slot": "abandoned"})
        pg.execute("SELECT pg_drop_replication_slot('abandoned')")
        told(hook, 2, "slot-lost", "resolved")
    pg.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
    pg.execute("SELECT pg_reload_conf()")


class Standby(Postgres):
    """A server that follows another."""

    def __init__(self, primary):
        self.owner, self.host, self.port, self.hba = primary.owner, primary.host, harness.free_port(), primary.hba
        self.bin = primary.bin
        self.dir = temp_dir(self.owner)
        os.chmod(self.dir, 0o755)
        self.data, self.log_path = os.path.join(self.dir, "data"), os.path.join(self.dir, "log")
        self.settings = {}
        subprocess.run(
            [self.bin("pg_basebackup"), "-h", primary.host, "-p", str(primary.port), "-U", "postgres", "-D", self.data]
            + ["-R", "-X", "stream", "-c", "fast", "--no-sync"],
            check=True,
            env=harness.clean_environment(),
            **self._as_owner(),
        )
        self._configure()
        self.start()
        harness.on_exit(self.kill)


@test("replication-lag: a standby does not replay (here, for a second)")
def replication_lag():
    standby = Standby(pg)

    def behind():  # the server tells of lag only while something is written
        pg.execute("INSERT INTO replayed VALUES (0)")
        return pg.execute("SELECT replay_lag FROM pg_stat_replication WHERE replay_lag IS NOT NULL")

    try:
        with watched(sample("replication-lag", above="1", clear="0.5")) as (host, hook):
            pg.execute("CREATE TABLE replayed (n int)")
            wait_for(behind, what="the standby having told how far it is")
            standby.execute("SELECT pg_wal_replay_pause()", "postgres")
            pg.execute("INSERT INTO replayed SELECT generate_series(1, 1000)")
            alert = told(hook, 1, "replication-lag")
            assert alert["value"] > 1 and alert["labels"] == {"node": "main", "standby": "walreceiver"}, alert
            standby.execute("SELECT pg_wal_replay_resume()", "postgres")

            def over():  # here, too
                pg.execute("INSERT INTO replayed VALUES (1)")
                return len(hook.requests) > 1

            wait_for(over, what="it having caught up")
            told(hook, 2, "replication-lag", "resolved")
    finally:
        standby.stop()


@test("wraparound: more than a thousand million transaction numbers without a freeze, then one")
def wraparound():
    number = 1200000000
    pg.stop()
    segment = os.path.join(pg.data, "pg_xact", "%04X" % (number // 32768 // 32))
    with open(segment, "wb") as f:
        f.write(bytes(32 * 8192))
    if pg.owner:
        os.chown(segment, pg.owner.pw_uid, pg.owner.pw_gid)
    subprocess.run([postgres_bin("pg_resetwal"), "-x", str(number), "-D", pg.data], check=True, stdout=subprocess.DEVNULL,
                   **pg._as_owner())  # fmt: skip
    pg.start()
    with watched(sample("wraparound")) as (host, hook):
        alert = told(hook, 1, "wraparound")
        equal((alert["value"], alert["labels"]), (56, {"node": "main"}))
        pg.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
        for (name,) in pg.execute("SELECT datname FROM pg_database"):
            pg.execute("VACUUM (FREEZE)", name)
        told(hook, 2, "wraparound", "resolved")


main()
