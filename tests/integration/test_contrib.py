"""
What contrib has for other products, with these products: Kubernetes' objects against their schemas, FastAPI, and the
Grafana dashboard's queries asked of a real Prometheus; and what contrib/test says of tests that fail.
"""

# Runs without sanitizers alone.

import contextlib
import glob
import json
import os
import re
import subprocess
import sys
from urllib.parse import quote

import psycopg
import yaml

from harness import BUILDDIR, HOWDAHCTL, HOWDAHD, SRCDIR, Host, Postgres, end, equal, free_port, main, spawn, temp_dir, test, wait_for
from httphost import ask, served, write

pg = Postgres()
CONTRIB = os.path.join(os.path.abspath(SRCDIR), "contrib")
TOKEN = "0123456789abcdef0123456789abcdef"

# --- Kubernetes ---------------------------------------------------------------------------------------------------


def objects():
    found = []
    for path in sorted(glob.glob(os.path.join(CONTRIB, "kubernetes/*.yaml"))):
        with open(path) as f:
            found += yaml.safe_load_all(f)
    return {o["kind"]: o for o in found}


def node(*args):
    """Runs Node.js on what the last argument says; contrib/test puts npm's packages into the build tree."""
    folders = [os.environ.get("NODE_PATH", ""), os.path.join(os.path.abspath(SRCDIR), "build/node/node_modules")]
    return subprocess.run(
        ["node", *args[:-1]],
        input=args[-1],
        env={**os.environ, "NODE_PATH": os.pathsep.join(filter(None, folders))},
        capture_output=True,
        text=True,
        timeout=60,
    )


def check(list_of_objects):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kubernetes.js")
    return node(script, json.dumps(list_of_objects))


@test("the Kubernetes objects are what their schemas say, and what is wrong with one is found")
def kubernetes_schema():
    all_objects = objects()
    equal(sorted(all_objects), ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service"])
    result = check(list(all_objects.values()))
    equal((result.returncode, result.stdout, result.stderr), (0, "", ""))
    wrong = json.loads(json.dumps(all_objects["Deployment"]))
    container = wrong["spec"]["template"]["spec"]["containers"][0]
    container["livenessProbe"]["periodSecond"] = 1
    container["ports"][0]["containerPort"] = "6432"
    result = check([wrong])
    equal(result.returncode, 1)
    assert "unknown field" in result.stdout and "periodSecond" in result.stdout, result.stdout
    assert "containerPort must be" in result.stdout, result.stdout


@test("the Kubernetes configuration starts a host with the secret's values, and the probes answer")
def kubernetes_configuration():
    found = objects()
    pod = found["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    ini = found["ConfigMap"]["data"]["10-howdah.ini"]
    http, port = free_port(), free_port()
    values = {"app-password": "secret", "http-token": TOKEN}
    env = {}
    for e in container["env"]:
        source = e.get("valueFrom", {}).get("secretKeyRef")
        env[e["name"]] = values[source["key"]] if source else e["value"]
    env.update(HOWDAH_NODE_HOST=pg.host, HOWDAH_NODE_PORT=str(pg.port))
    equal(set(re.findall(r"\$\{(\w+)", ini)), set(env))
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    for name, own in (("postgresql", port), ("http", http)):
        assert "0.0.0.0:%d" % ports[name] in ini, ini
        ini = ini.replace("0.0.0.0:%d" % ports[name], "0.0.0.0:%d" % own)
    drain = int(re.search(r"drain_timeout = (\d+)s", ini)[1])
    assert drain < pod["terminationGracePeriodSeconds"]
    host = Host(pg, env=env, start=False)
    os.remove(os.path.join(host.conf_dir, "10-test.ini"))
    host.write("10-howdah.ini", ini.replace("/run/howdah", host.dir))
    host.port, host.http_port = port, http
    with host.start():
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container[name]["httpGet"]
            equal(probe["port"], "http")
            wait_for(lambda path=probe["path"]: ask(host, path)[0] == 200, what=name)
        equal(ask(host, "/metrics")[0], 401)
        equal(ask(host, "/metrics", headers={"Authorization": "Bearer " + TOKEN})[0], 200)
        with host.connect() as c:
            equal(c.execute("SELECT 1").fetchone(), (1,))


@test("an image has the libraries that the programs need, and builds from all that the source has")
def container():
    programs = [HOWDAHD, HOWDAHCTL, *glob.glob(os.path.join(BUILDDIR, "plugins.d", "*.so"))]
    program_of = lambda p: os.path.join(os.path.dirname(p), ".libs", os.path.basename(p))
    programs = [program_of(p) if os.path.exists(program_of(p)) else os.path.realpath(p) for p in programs]
    assert len(programs) > 10, programs
    needed = set()
    for p in programs:
        wanted = set(re.findall(r"NEEDED +(\S+)", subprocess.check_output(["objdump", "-p", p], text=True)))
        found = dict(re.findall(r"(\S+) => (/\S+)", subprocess.check_output(["ldd", p], text=True)))
        needed |= {os.path.realpath(found[w]) for w in wanted & set(found)}
    owners = subprocess.check_output(["dpkg-query", "-S", *(os.path.basename(n) for n in needed)], text=True)
    packages = {line.split(":")[0] for line in owners.splitlines() if line.split()[-1] in needed
                or "/usr" + line.split()[-1] in needed}  # fmt: skip
    with open(os.path.join(SRCDIR, "contrib", "packages")) as f:
        named = set(re.search(r"^host=\(([^)]*)\)", f.read(), re.M)[1].split())
    assert len(packages) > 8 and packages - {"libc6"} <= named, (packages, named)
    with open(os.path.join(SRCDIR, "contrib", "kubernetes", "Containerfile")) as f:
        recipe = f.read()
    copied = set(re.findall(r"^COPY (\S+) /src/\1$", recipe, re.M)) - {"contrib/packages"}
    with open(os.path.join(SRCDIR, "Makefile.am")) as f:
        equal(copied, {i.split("/")[0] for i in re.findall(r"^include (\S+)", f.read(), re.M)})
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    user = "%d:%d" % (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"])
    assert "\nUSER %s\n" % user in recipe, user
    equal(json.loads(re.search(r"^CMD (.*)$", recipe, re.M)[1]), pod["containers"][0]["command"])
    equal({int(p) for p in re.search(r"^EXPOSE (.*)$", recipe, re.M)[1].split()},
          {p["containerPort"] for p in pod["containers"][0]["ports"]})  # fmt: skip
    assert pod["containers"][0]["image"] in recipe


@test("the OpenAPI description is one, by OpenAPI's own schema")
def openapi():
    script = """
        const path = require.resolve("@seriousme/openapi-schema-validator");
        const description = JSON.parse(require("fs").readFileSync(0, "utf8"));
        import(require("url").pathToFileURL(path))
            .then(({ Validator }) => new Validator().validate(description))
            .then((result) => console.log(JSON.stringify(result)));
    """
    with served(pg, {"plugin statements": {}, "plugin guard": {}, "plugin monitor": {"history": ""}}) as host:
        description = ask(host, "/api/v1/openapi.json")[2]
        for text, valid in ((description, True), (description.replace('"responses"', '"answers"', 1), False)):
            result = node("-e", script, text)
            equal(result.stderr, "")
            equal(json.loads(result.stdout)["valid"], valid, result.stdout)


# --- FastAPI ------------------------------------------------------------------------------------------------------


@test("the FastAPI application shows the host's health and performance next to its own")
def fastapi():
    with served(pg, {"plugin statements": {}}, token=TOKEN) as host:
        port = free_port()
        env = {**os.environ, "HOWDAH_URL": "http://127.0.0.1:%d" % host.http_port, "HOWDAH_TOKEN": TOKEN}
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        app = spawn(
            ["/usr/bin/python3", "-m", "uvicorn", "--port", str(port), "--log-level", "warning", "app:app"],
            cwd=os.path.join(CONTRIB, "fastapi"),
            env=env,
        )
        try:

            def get(path):
                with contextlib.suppress(OSError):
                    status, _, body = ask(host, path, port=port)
                    return status, json.loads(body)

            with host.connect() as c:
                c.execute("SELECT 1")
                status, health = wait_for(lambda: (a := get("/health")) and a[0] == 200 and a, what="both are well")
                equal((health["status"], health["howdah"]["status"]), ("ok", "ok"))
                equal(health["howdah"]["active"], health["howdah"]["total"])
                status, performance = get("/performance")
                equal(status, 200)
                assert performance["application"]["requests"] >= 1, performance
                equal(performance["howdah"]["pools"][0]["database"], "shop")
                assert any("select" in s["statement"].lower() for s in performance["howdah"]["statements"]), performance
            host.stop()
            status, health = get("/health")
            equal((status, health["status"], health["application"]["status"]), (503, "degraded", "ok"))
            assert health["howdah"]["detail"], health
        finally:
            end(app)


# --- Grafana ------------------------------------------------------------------------------------------------------


@test("every query of the Grafana dashboard is one that Prometheus understands, about metrics that there are")
def grafana():
    with open(os.path.join(CONTRIB, "grafana/howdah.json")) as f:
        dashboard = json.load(f)
    ids = [p["id"] for p in dashboard["panels"]]
    equal(len(ids), len(set(ids)))
    queries = [t["expr"] for p in dashboard["panels"] for t in p["targets"]]
    plugins = {"plugin statements": {}, "plugin monitor": {}, "plugin cache-memory": {},
               "plugin cache": {"stores": "memory", "mode": "ttl"}}  # fmt: skip
    with served(pg, plugins) as host:
        with host.connect() as c:
            for _ in range(20):
                c.execute("SELECT 1")
            with contextlib.suppress(psycopg.Error):
                c.execute("SELECT 1 / 0")
        port, where = free_port(), temp_dir()
        config = write(
            where,
            "prometheus.yml",
            "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
            "scrape_configs: [{job_name: howdah, static_configs: [{targets: ['127.0.0.1:%d']}]}]\n" % host.http_port,
        )
        p = spawn(
            ["prometheus", "--config.file=" + config, "--storage.tsdb.path=" + where + "/data",
             "--web.listen-address=127.0.0.1:%d" % port, "--log.level=error"],
            cwd=where,
        )  # fmt: skip
        try:

            def query(text):
                with contextlib.suppress(OSError):
                    answer = json.loads(ask(host, "/api/v1/query?query=" + quote(text), port=port)[2])
                    equal(answer["status"], "success", (text, answer))
                    return answer["data"]["result"]

            def scraped():
                with contextlib.suppress(Exception):
                    return query("count_over_time(howdah_generation[1m]) > 3")

            wait_for(scraped, what="Prometheus has scraped")
            for expression in queries:
                expression = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
                assert "$" not in expression, expression
                query(expression)
                for name in re.findall(r"howdah_\w+", expression):  # a scrape that takes too long is made good by the next
                    wait_for(lambda: query(name), what="a metric " + name)
        finally:
            end(p)


# --- contrib/test -------------------------------------------------------------------------------------------------

FAILING = """
import sys
print("1..6")
print("# of a case that passes")
print("ok 1 - suite: one that passes")
print("# 0.10 s")
for i in range(40):
    print("# ts=2026-01-02T03:04:05.%03dZ level=info msg=%s" % (i, "x" * 300))
print("# Traceback (most recent call last):")
for i in range(50):
    print('#   File "a.py", line %d, in f' % i)
print("# AssertionError: one and one")
print("#   got      3")
print("#   expected 2")
print("not ok 2 - suite: the sum")
print("# 0.20 s")
print("ok 3 - suite: another that passes")
print("# test_x.c:12: a == b")
print("not ok 4 - suite: one of C")
print("ok 5 - suite: left out # SKIP there is none")
"""


def reasons(last_words):
    """What contrib/test says in the end of a test that ends with these."""
    folder = temp_dir()
    log, results = os.path.join(folder, "a.log"), os.path.join(folder, "a.trs")
    tools = os.path.join(CONTRIB, "autotools")
    driver = ["sh", os.path.join(tools, "tap-driver.sh"), "--test-name", "a.py", "--log-file", log, "--trs-file", results]
    subprocess.run([*driver, "--", sys.executable, "-u", "-c", FAILING + last_words], stdout=subprocess.DEVNULL, timeout=60, check=True)
    told = subprocess.run(["awk", "-f", os.path.join(tools, "failures.awk"), log, log], stdout=subprocess.PIPE, timeout=60, check=True)
    lines = told.stdout.decode().splitlines()
    equal(lines[: len(lines) // 2], lines[len(lines) // 2 :], "of each file the same")
    return lines[: len(lines) // 2]


@test("of each case that fails contrib/test says in the end what it said itself, and nothing of the others")
def failures():
    lines = reasons("sys.exit(1)")
    equal(
        [line for line in lines if line.startswith("*")],
        [
            "* FAIL: a.py 2 - suite: the sum",
            "* FAIL: a.py 4 - suite: one of C",
            "* SKIP: a.py 5 - suite: left out # SKIP there is none",
            "* ERROR: a.py - too few tests run (expected 6, got 5)",
        ],
    )
    sum_of = lines[1 : lines.index("* FAIL: a.py 4 - suite: one of C")]
    equal(len(sum_of), 15 + 54, "the last lines before the traceback, and all of that")
    equal([line[4:16] for line in sum_of[:15]], ["03:04:05.%03d" % i for i in range(25, 40)])
    equal(max(len(line) for line in sum_of), 4 + 160 + 1)
    equal(sum_of[15:17], ["    Traceback (most recent call last):", '      File "a.py", line 0, in f'])
    equal(sum_of[-3:], ["    AssertionError: one and one", "      got      3", "      expected 2"])
    equal(lines[lines.index("* FAIL: a.py 4 - suite: one of C") + 1], "    test_x.c:12: a == b")
    assert not any("passes" in line for line in lines), lines


@test("a test that dies is told with its status")
def died():
    equal(reasons("import os; os.kill(os.getpid(), 9)")[-1], "* ERROR: a.py - exited with status 137 (terminated by signal 9?)")


if __name__ == "__main__":
    main()
