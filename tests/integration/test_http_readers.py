"""
What is served over HTTP, as others read it: the parsers of Prometheus, its Python client and JSON Schema, with names
that have everything in them that a name may have.
"""

import http.client
import json
import os
import re
import subprocess

import jsonschema
import prometheus_client.openmetrics.parser
import prometheus_client.parser

from harness import Postgres, clean_environment, equal, main, postgres_bin, test
from httphost import ask, post, served

pg = Postgres()

NAMES = (b'a"b', b"x\ny", b"back\\slash", b"tr\\", b"tab\t", "ü\u2028".encode(), b"bad\xff\xc3name")
SHOWN = {'a"b', "x\ny", "back\\slash", "tr\\", "tab\t", "ü\u2028", "bad\\xff\\xc3name"}


def psql(port, user, dbname, *commands):
    dsn = b"host=127.0.0.1 port=%d user=%s password=secret client_encoding=SQL_ASCII dbname='%s'" % (
        port, user, dbname.replace(b"\\", b"\\\\").replace(b"'", b"\\'"))  # fmt: skip
    arguments = [a for c in commands for a in (b"-c", c)]
    command = [os.fsencode(postgres_bin("psql")), b"-XAtq", dsn, *arguments]
    subprocess.run(command, env=clean_environment(), stdout=subprocess.DEVNULL, check=True)


def make_databases():
    for name in NAMES:
        quoted = b'"%s"' % name.replace(b'"', b'""')
        psql(pg.port, b"postgres", b"ascii", b"CREATE DATABASE %s TEMPLATE ascii2 ENCODING 'SQL_ASCII'" % quoted)


def scrape(host, accept):
    c = http.client.HTTPConnection("127.0.0.1", host.http_port, timeout=20)
    try:
        c.request("GET", "/metrics", headers={"Accept": accept})
        return c.getresponse().read()
    finally:
        c.close()


@test("metrics are UTF-8 that promtool and both parsers of the Python client read, whatever databases are called")
def names():
    ascii = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    for name in ("ascii", "ascii2"):
        pg.execute("CREATE DATABASE %s %s" % (name, ascii))
    make_databases()
    with served(pg, {"plugin statements": {}, "database *": {}}) as host:
        for name in NAMES:
            psql(host.port, b"app", name, b"SELECT 1")
        text = scrape(host, "text/plain")
        result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
        equal((result.returncode, result.stderr), (0, b""))
        readers = {
            "text/plain": prometheus_client.parser,
            "application/openmetrics-text; version=1.0.0": prometheus_client.openmetrics.parser,
        }
        for accept, reader in readers.items():
            families = list(reader.text_string_to_metric_families(scrape(host, accept).decode()))
            shown = {s.labels.get("database") for f in families for s in f.samples}
            equal(SHOWN - shown, set(), accept)
            assert all(f.documentation for f in families), [f.name for f in families if not f.documentation]
        pools = json.loads(ask(host, "/api/v1/pools")[2])
        equal(SHOWN - {row["database"] for row in pools["rows"]}, set())


# --- the description ----------------------------------------------------------------------------------------------

STAYS = ("/api/v1/shutdown", "/api/v1/upgrade")  # which would end it
ARGUMENTS = ("", "?arg=", "?arg", "?arg=nowhere", "?arg=a&arg=b&arg=c", "?arg=%00", "?arg=%ff%fe", "?arg=" + "x" * 3000,
             "?arg='%3b--", "?top=1")  # fmt: skip


def check_answer(description, operation, path, answer):
    """Is the answer one that the description tells of?"""
    status, headers, body = answer
    told = operation["responses"].get(str(status)) or operation["responses"]["default" if status != 200 else "200"]
    kind = headers["Content-Type"].split(";")[0]
    assert kind in told["content"], (path, status, kind, told)
    if kind.endswith("json"):
        schema = {**told["content"][kind]["schema"], "components": description["components"]}
        jsonschema.validate(json.loads(body), schema)


def check_rows(path, result):
    python = {"int": int, "text": str, "bool": bool, "real": (float, int), "time": str}
    types = {c["name"]: c["type"] for c in result.get("columns", [])}
    for row in result.get("rows", []):
        equal(sorted(row), sorted(types), path)
        for name, value in row.items():
            assert value is None or isinstance(value, python[types[name]]), (path, name, value)
            if types[name] == "time" and value:
                assert re.fullmatch(r"[-0-9]+T[0-9:.]+Z", value), (path, name, value)


@test("every answer, to good and to bad arguments, is one that the OpenAPI description tells of")
def described():
    plugins = {
        "plugin statements": {},
        "plugin monitor": {"history": ""},
        "plugin guard": {},
        "plugin cache-memory": {},
        "plugin cache": {"stores": "memory", "mode": "ttl"},
        "plugin alerts": {"sinks": "log"},
        "plugin alert-log": {},
        "plugin missing": {"library": "/nowhere.so"},
    }
    with served(pg, plugins, rate="0") as host:
        with host.connect() as c:
            c.execute("SELECT 1")
        description = json.loads(ask(host, "/api/v1/openapi.json")[2])
        for path, item in description["paths"].items():
            for query in ARGUMENTS if "get" in item else ():
                status, _, body = answer = ask(host, path + query)
                check_answer(description, item["get"], path + query, answer)
                assert status != 500, (path, query, body)
                if status == 200 and path.startswith("/api/v1/"):
                    check_rows(path, json.loads(body))
            for arguments in (["nowhere"], [""], list("abcdef")) if "post" in item and path not in STAYS else ():
                answer = post(host, path, json.dumps({"args": arguments}))
                check_answer(description, item["post"], path, answer)
                assert answer[0] != 500, (path, arguments, answer)


@test("what is posted with arguments in its address is refused: the command would run without them")
def arguments_in_address():
    with served(pg) as host:
        for query in ("?arg=nowhere", "?arg", "?x=1"):
            status, _, body = post(host, "/api/v1/node/ping" + query, "")
            equal((status, "in the body" in json.loads(body)["detail"]), (400, True), query)
        equal(post(host, "/api/v1/node/ping?", "")[0], 200)


main()
