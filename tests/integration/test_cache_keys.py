"""
Plain keys in the result cache's stores: CACHE SET, GET and DELETE, and the service howdah.cache/1, as a plugin uses it
that does what statements say: its loads are once for each key, however many clients wait on however many workers.
"""

# Runs under TSan too.

import functools
import json
import os

import cacheworld
import harness
from harness import Host, Postgres, equal, expect_error, main, pgbench, test, wait_for
from pgwire import query

pg = Postgres()

LOADS = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/loads.so"))

SECTIONS = {
    "host": {"workers": 4, "worker_fill": 0},
    "plugin cache": {
        "enabled": "yes",
        "mode": "ttl",
        "max_key_bytes": 64,
        "max_value_bytes": 1000,
        "max_calls": 100,
        "load_timeout": "1h",
    },
    "plugin cache-memory": {"enabled": "yes"},
    "plugin loads": {"enabled": "yes", "library": LOADS},
}

host = Host(pg, SECTIONS)
stats = functools.partial(cacheworld.stats, host)


def get(key):
    rows = host.console("CACHE GET '%s'" % key)
    return rows[0]["value"] if rows else None


def under_way(a_host):
    """How many calls of the service have not come back."""
    rows = a_host.console("SHOW METRICS howdah_cache_plain_calls")
    return sum(float(r["value"]) for r in rows if r["name"] == "howdah_cache_plain_calls")


def text(words):
    return "SELECT 1 /* loads: %s */" % words


def do(words):
    """What the plugin answers: a word and, of some, a value."""
    with host.wire() as w:
        return w.query(text(words))[0][0].split(" ", 1)


def counts():
    return {k: int(v) for k, v in (x.split("=") for x in " ".join(do("stats")).split())}


# --- commands ---


@test("set, get, delete: a value is there until it is deleted or exchanged")
def set_get_delete():
    equal(get("greeting"), None)
    host.console("CACHE SET greeting hello")
    equal(get("greeting"), "hello")
    equal(get("Greeting"), None)
    host.console("CACHE SET greeting 'it''s; another /* one */'")
    equal(get("greeting"), "it's; another /* one */")
    host.console("CACHE DELETE greeting")
    equal(get("greeting"), None)
    host.console("CACHE DELETE greeting")
    host.console("CACHE SET empty ''")
    equal(get("empty"), "")
    host.console("CACHE SET unicode 'é€😀'")
    equal(get("unicode"), "é€😀")


@test("set: its time is over")
def ttl():
    host.console("CACHE SET short 1 TTL 50ms")
    host.console("CACHE SET long 1 TTL 1h")
    wait_for(lambda: get("short") is None, what="a value's time is over")
    equal(get("long"), "1")


@test("howdahctl prints values; bytes that are no text come as PostgreSQL shows a bytea")
def ctl():
    done = host.control("cache", "set", "by ctl", "a value")
    equal((done.returncode, done.stderr), (0, ""))
    answer = json.loads(host.control("--json", "cache", "get", "by ctl").stdout)
    equal((answer["columns"], answer["rows"]), (["value"], [["a value"]]))
    answer = json.loads(host.control("--json", "cache", "get", "nothing").stdout)
    equal((answer["columns"], answer["rows"]), (["value"], []))
    with host.connect() as c:
        c.cursor().execute(b"SELECT 1 /* loads: set bytes \xff\xc0\x80\xed\xa0\x80 60000 */")
        c.cursor().execute(b"SELECT 1 /* loads: set text \xc3\xa9\xf0\x9f\x98\x80 60000 */")
    equal((get("bytes"), get("text")), (r"\xffc080eda080", "é😀"))


@test("what is wrong with a call is said")
def errors():
    for sql, why in (
        ("CACHE SET a", "KEY VALUE"),
        ("CACHE SET a b 5m", "KEY VALUE"),
        ("CACHE SET a b TTL soon", "KEY VALUE"),
        ("CACHE SET a b TTL 5m x", "KEY VALUE"),
        ("CACHE SET '' b", "max_key_bytes"),
        ("CACHE SET %s b" % ("k" * 65), "max_key_bytes"),
        ("CACHE SET a '%s'" % ("v" * 1001), "max_value_bytes"),
        ("CACHE GET", "one key"),
        ("CACHE GET a b", "one key"),
        ("CACHE DELETE", "one key"),
    ):
        with expect_error(match=why):
            host.console(sql)
    host.console("CACHE SET %s '%s'" % ("k" * 64, "v" * 1000))
    equal(get("k" * 64), "v" * 1000)


@test("patterns end keys by their beginning, FLUSH ends all")
def patterns():
    def set_all():
        for key in ("a:1", "a:2", "b:1", "plain"):
            host.console("CACHE SET %s x" % key)

    def left():
        return [key for key in ("a:1", "a:2", "b:1", "plain") if get(key)]

    for command, expected in (
        ("CACHE INVALIDATE PATTERN 'a:*'", ["b:1", "plain"]),
        ("CACHE INVALIDATE PATTERN 'a:1'", ["b:1", "plain"]),  # its group; rather too many
        ("CACHE INVALIDATE PATTERN 'c:*'", ["a:1", "a:2", "b:1", "plain"]),
        ("CACHE INVALIDATE PATTERN 'pl*'", []),
        ("CACHE INVALIDATE TAG a:1", ["a:1", "a:2", "b:1", "plain"]),  # a tag is not a key
        ("CACHE FLUSH", []),
    ):
        set_all()
        host.console(command)
        equal(left(), expected, command)


# --- the service ---


@test("service: what a plugin keeps and what commands keep is the same")
def service():
    equal(do("get s:1"), ["miss", ""])
    equal(do("set s:1 value 60000"), ["ok", ""])
    equal(do("get s:1"), ["ok", "value"])
    equal(get("s:1"), "value")
    host.console("CACHE SET s:1 other")
    equal(do("get s:1"), ["ok", "other"])
    equal(do("erase s:1"), ["ok", ""])
    equal(get("s:1"), None)
    equal(do("set s:1 value 20"), ["ok", ""])
    wait_for(lambda: do("get s:1") == ["miss", ""], what="its time is over")
    equal(do("get " + "k" * 65), ["refused", "invalid"])


@test("load: calls the loader where the key is not there, from a job or at once; then it is there")
def load():
    for how in ("now", "job"):
        key = "load:" + how
        first = do("load %s 60000 %s" % (key, how))
        assert first[0] == "ok" and first[1].startswith(key + "#"), first
        before = stats()["plain_loads"]
        for _ in range(5):
            equal(do("load %s 60000 %s" % (key, how)), first)
        equal(stats()["plain_loads"], before)
        equal(get(key), first[1])


@test("load: an error is given to who waits, and not kept")
def load_error():
    before = counts()["loads"]
    equal(do("load bad 60000 fail"), ["busy", ""])
    equal(do("load bad 60000 fail"), ["busy", ""])
    equal(counts()["loads"], before + 2)
    equal(do("load bad 60000 now")[0], "ok")


def waiting(n, a_host=host):
    wait_for(lambda: under_way(a_host) == n, what="%d calls wait" % n)


def is_held():
    """A call is under way before its load is begun, which is the business of the key's worker."""
    wait_for(lambda: counts()["held"] == 1, what="a load is held")


@test("load: all who want a key wait for one load; those of other keys do not")
def one_load():
    before = counts()
    clients = [host.wire() for _ in range(24)]
    for w in clients:
        w.send(query(text("load held:1 60000 held")))
    waiting(24)
    is_held()
    equal(do("load other:1 60000 now")[0], "ok")
    equal(do("get held:1"), ["miss", ""])
    equal(do("release"), ["ok"])
    got = {w.exchange()[1].row()[0] for w in clients}
    equal(len(got), 1, got)
    assert got.pop().startswith(b"ok held:1#")
    after = counts()
    equal((after["loads"] - before["loads"], after["twice"] - before["twice"]), (2, 0))
    waiting(0)
    for w in clients:
        w.close()


def held(key, *meanwhile):
    """A load of the key, and what is done before it is over: what the load gives, and what is there then."""
    with host.wire() as w:
        w.send(query(text("load %s 60000 held" % key)))
        is_held()
        for command in meanwhile:
            host.console(command)
        do("release")
        answered = w.exchange()[1].row()[0].decode()
    return answered, get(key)


@test("load: what is set, deleted or ended while it is under way is not undone by it")
def superseded():
    answered, kept = held("m:1")
    equal(answered, "ok " + kept)
    answered, kept = held("m:2", "CACHE SET m:2 newer")
    equal((answered.startswith("ok m:2#"), kept), (True, "newer"))
    for key, command in (("m:3", "CACHE DELETE m:3"), ("m:4", "CACHE INVALIDATE PATTERN 'm:*'")):
        answered, kept = held(key, command)
        equal((answered.startswith("ok %s#" % key), kept), (True, None), command)


@test("load: what does not come within load_timeout is an error; coming late, it is let pass")
def timeout():
    sections = {**SECTIONS, "plugin cache": {**SECTIONS["plugin cache"], "load_timeout": "100ms"}}
    with Host(pg, sections) as other, other.wire() as w:
        equal(w.query(text("load late 60000 held")), [["timeout "]])
        equal(w.query(text("release")), [["ok"]])
        equal(w.query(text("get late")), [["miss "]])
        equal(w.query(text("load late 60000 now"))[0][0][:7], "ok late")


@test("calls have a bound; what is over it is refused and counted")
def bound():
    sections = {**SECTIONS, "plugin cache": {**SECTIONS["plugin cache"], "max_calls": 3}}
    with Host(pg, sections) as other:
        clients = [other.wire() for _ in range(3)]
        for w in clients:
            w.send(query(text("load k 60000 held")))
        with other.wire() as w:
            waiting(3, other)  # a call to find that out would take the place of one of theirs
            wait_for(lambda: "held=1" in w.query(text("stats"))[0][0], what="their load is held")
            equal(w.query(text("get k")), [["refused full"]])
            with expect_error(match="max_calls"):
                other.console("CACHE GET k")
            w.query(text("release"))
            for c in clients:
                equal(c.exchange()[1].row()[0][:4], b"ok k")
            equal(w.query(text("get k"))[0][0][:4], "ok k")
        for c in clients:
            c.close()


@test("load: under load on four workers, each value is its key's, and no key is loaded twice at a time")
def under_load():
    script = os.path.join(host.dir, "loads.sql")
    with open(script, "w") as f:
        f.write("\\set k random(1, 30)\n\\set t random(1, 20)\n")
        f.write("SELECT 1 /* loads: load key:k: :t job */;\n")
        f.write("SELECT 1 /* loads: load key:k: :t now */;\n")
        f.write("SELECT 1 /* loads: erase key:k: */;\n")
    before = counts()
    pgbench(host.dsn(), "-n", "-f", script, "-c", "16", "-j", "2", "-t", "300", "-M", "simple")
    after = counts()
    equal((after["wrong"], after["twice"]), (before["wrong"], before["twice"]))
    assert after["calls"] - before["calls"] >= 16 * 300 * 3, after
    assert after["loads"] > before["loads"]
    waiting(0)


@test("the host stops when all has come back")
def stopping():
    other = Host(pg, SECTIONS)
    w = other.wire()
    w.send(query(text("load k 60000 now")))
    w.exchange()
    other.console("CACHE SET a b")
    other.stop()
    w.close()


main()
