"""Values of statements and passwords are in nothing that is shown, logged, served or kept on disk."""

# Runs under TSan too.

import contextlib
import json
import os

import psycopg

import httphost
import pgwire
from harness import Host, Postgres, free_port, main, temp_dir, test, wait_for

TEXT = "MARKEDxVALUE"
NUMBER = "86753098675"
PASSWORD = "MARKEDxPASSWORDxMARKED"
MARKS = (TEXT, TEXT.encode().hex(), NUMBER, PASSWORD)

pg = Postgres({"shared_preload_libraries": "pg_stat_statements"})
pg.execute("CREATE EXTENSION pg_stat_statements")
pg.execute("CREATE ROLE marked LOGIN SUPERUSER PASSWORD '%s'" % PASSWORD)
pg.execute("CREATE TABLE kept (id bigint PRIMARY KEY, name text)")

# All of them in simple Queries; each may fail.
QUERIES = """
SELECT '{t}', {n}, pg_sleep(0.002)
SELECT E'{t}', E'a\\'{t}', U&'{t}', N'{t}', $${t}$$, $a${t}$a$, X'{h}', pg_sleep(0.002)
SELECT 1 /* {t} */, 2 -- {t}
SELECT '{t}' '{t}' || '{t}'::text AS a, -{n}, {n}.5, 1e{n}
SET standard_conforming_strings = off
SELECT 'it\\'s {t}', '\\'{t}'
RESET standard_conforming_strings
SET app.secret = '{t}'
SET LOCAL app.secret TO '{t}'
SELECT set_config('app.secret', '{t}', false)
INSERT INTO kept VALUES ({n}, '{t}')
INSERT INTO kept VALUES ({n}, '{t}')
UPDATE kept SET name = '{t}' WHERE id = {n} AND pg_sleep(0.002) IS NOT NULL
SELECT '{t}'::int
SELECT ('{t}' || 'x')::date
SELECT FROM '{t}' WHERE
SELECT '{t}
SELECT $z${t}
SELECT 1 /* {t}
SELEC '{t}'
CREATE USER marked_user PASSWORD '{p}'
CREATE ROLE marked_role ENCRYPTED PASSWORD '{p}' VALID UNTIL '2099-01-01'
ALTER USER marked_user PASSWORD '{p}'
ALTER ROLE marked_role WITH LOGIN PASSWORD '{p}'
ALTER SYSTEM SET application_name = '{t}'
ALTER ROLE marked_role SET app.secret = '{t}'
ALTER DATABASE shop SET app.secret = '{t}'
CREATE SUBSCRIPTION marked_sub CONNECTION 'host=127.0.0.1 port=1 password={p}' PUBLICATION x
CREATE USER MAPPING FOR app SERVER nowhere OPTIONS (user 'x', password '{p}')
CREATE EXTENSION dblink
SELECT * FROM dblink('host=127.0.0.1 port=1 password={p}', 'SELECT 1') AS t(a int)
DO $$BEGIN PERFORM '{t}', pg_sleep(0.002); END$$
DO $$BEGIN RAISE EXCEPTION '{t}' USING DETAIL = '{t}', HINT = '{t}', ERRCODE = 'P1234'; END$$
DO $$BEGIN RAISE WARNING '{t}'; END$$
CREATE FUNCTION marked() RETURNS text LANGUAGE sql AS $$SELECT '{t}'$$
CREATE VIEW marked_view AS SELECT '{t}' AS a
CREATE INDEX marked_index ON kept (id) WHERE name = '{t}'
CREATE VIEW marked_rows AS SELECT id FROM kept WHERE name = '{t}' AND id < {n}
SELECT * FROM marked_rows, pg_sleep(0.002)
SELECT marked(), id FROM kept, pg_sleep(0.002) WHERE name = marked()
CREATE TABLE marked_table (a text DEFAULT '{t}' CHECK (a <> '{t}'))
COMMENT ON TABLE kept IS '{t}'
NOTIFY heard, '{t}'
PREPARE marked_plan AS SELECT '{t}', $1::text
EXECUTE marked_plan('{t}')
EXPLAIN SELECT * FROM kept WHERE name = '{t}'
EXPLAIN (ANALYZE) SELECT * FROM kept WHERE name = '{t}' AND pg_sleep(0.002) IS NULL
DECLARE marked_cursor CURSOR WITH HOLD FOR SELECT '{t}', pg_sleep(0.002)
FETCH ALL FROM marked_cursor
COPY (SELECT '{t}', pg_sleep(0.002)) TO STDOUT
COPY kept TO PROGRAM 'echo {t}'
CREATE TABLE marked_as AS SELECT '{t}'::text AS a, pg_sleep(0.002)
SECURITY LABEL FOR nobody ON TABLE kept IS '{t}'
SELECT '{t}'; SELECT {n}; SELECT pg_sleep(0.002)
CALL nothing('{t}', {n})
PREPARE TRANSACTION '{t}'
LISTEN heard
"""

PLUGINS = {
    "plugin statements": {"enabled": "yes"},
    "plugin alerts": {"enabled": "yes"},
    "plugin guard": {"enabled": "yes"},
    "plugin cache": {"enabled": "yes", "mode": "ttl"},
    "plugin cache-memory": {"enabled": "yes"},
}


def sections(history, folder):
    token = httphost.write(folder, "token", PASSWORD + "\n")
    return {
        **PLUGINS,
        "host": {"log_level": "debug"},
        "user marked": {"password": PASSWORD},
        "node main": {"conninfo": "host=%s port=%d password=%s" % (pg.host, pg.port, PASSWORD), "control_user": "marked"},
        "database *": {"pool_mode": "auto"},
        "plugin monitor": {
            "enabled": "yes",
            "history": history,
            "flush_interval": "1s",
            "template_interval": "1s",
            "collect_scale": 0.05,
            "slow_threshold": "1ms",
            "slow_rate": 0,
            "slow_keep": 1000,
            "plans": "follow",
            "plan_interval": "1s",
            "plan_rate": 60,
        },
        "http": {"listen": "127.0.0.1:%d" % free_port(), "token_file": token},
    }


def play(host):
    values = {"t": TEXT, "n": NUMBER, "p": PASSWORD, "h": TEXT.encode().hex()}
    with host.wire(user="marked", secret=PASSWORD) as w:
        for query in QUERIES.strip().splitlines():
            w.send(pgwire.query(query.format(**values)))
            w.recv_until()
        long = "SELECT " + ", ".join(["'%s'" % TEXT] * 3000) + ", pg_sleep(0.002)"
        w.send(pgwire.query(long))
        w.recv_until()
    with host.connect(user="marked", password=PASSWORD) as c:
        c.execute("SELECT %s::text, %s::numeric, pg_sleep(0.002)", (TEXT, NUMBER))
        c.execute("SELECT %s::text, '" + TEXT + "', pg_sleep(0.002)", (TEXT,), prepare=True)
        c.execute("SELECT %b::bytea, pg_sleep(0.002)", (TEXT.encode(),), prepare=True)
        for _ in range(3):
            c.execute("SELECT name FROM kept WHERE name = %s", (TEXT,))
        with contextlib.suppress(psycopg.Error), c.pipeline():
            c.execute("SELECT %s::text::int", (TEXT,))
        with contextlib.suppress(psycopg.Error), c.cursor().copy("COPY kept FROM STDIN") as copy:
            copy.write("%s\t%s\n" % (TEXT, TEXT))
    with contextlib.suppress(psycopg.Error):
        host.connect(user="marked", password=PASSWORD + "x")


def check(what, text):
    if isinstance(text, str):
        text = text.encode()
    for mark in MARKS:
        at = text.lower().find(mark.lower().encode())
        assert at < 0, "%s has %s: %r" % (what, mark, text[max(0, at - 150) : at + 100])


def outputs(host):
    """Whatever can be asked for without being told a value: (where, text)."""
    for row in host.console("HELP"):
        command = row["command"]
        if not command.startswith("SHOW"):
            continue
        with contextlib.suppress(psycopg.Error):
            yield command, json.dumps(host.console(command), default=str)
    for kind in ("REALTIME", "HOURLY", "DAILY", "WEEKLY"):
        for form in ("TEXT", "JSON", "HTML"):
            yield "REPORT", json.dumps(host.console("REPORT %s %s" % (kind, form)))
    for row in host.console("SHOW SLOW"):
        try:
            yield "plan", json.dumps(host.console("SHOW SLOW PLAN %d" % row["number"]))
        except psycopg.Error as e:
            yield "plan's error", str(e)
    for row in host.console("SHOW PLANS"):
        with contextlib.suppress(psycopg.Error):  # there may be none
            yield "kept plan", json.dumps(host.console("SHOW PLAN " + row["fingerprint"]), default=str)
    for path in json.loads(httphost.ask(host, "/api/v1/openapi.json", headers=host.token)[2])["paths"]:
        yield path, httphost.ask(host, path, headers=host.token)[2]
    for path in ("/", "/metrics", "/health", "/livez", "/readyz"):
        yield path, httphost.ask(host, path, headers=host.token)[2]
    yield "--dump-config", host.run("--dump-config").stdout


def files(folder):
    """What is in the files of the history."""
    parts = []
    for name in os.listdir(folder):
        if name != "token":
            with open(os.path.join(folder, name), "rb") as f:
                parts.append(f.read())
    return b"\n".join(parts)


@test("values and passwords are in no command, page, report, plan, log or file")
def nothing_told():
    folder = temp_dir()
    history = os.path.join(folder, "history.db")
    with Host(pg, sections(history, folder)) as host:
        host.http_port = int(host.config["http"]["listen"].rsplit(":")[-1])
        host.token = {"Authorization": "Bearer " + PASSWORD}
        play(host)
        slow = host.console("SHOW SLOW")
        assert len(slow) >= 15, slow
        wait_for(lambda: b"pg_sleep" in files(folder), what="templates in the history")
        wait_for(lambda: host.console("SHOW PLANS"), what="plans by policy")
        seen = {}
        for what, text in outputs(host):
            check(what, text)
            seen[what] = len(text)
        assert "kept plan" in seen and len(seen) > 50 and seen["/"] > 1000, seen
        check("the log", host.log_text())
    assert b"pg_sleep" in files(folder)
    check("the history's files", files(folder))


main()
