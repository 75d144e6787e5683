"""Topics of the bus between hosts: each event once, none back to its sender, and every gap is told."""

# Runs under TSan too.

import contextlib
import os
import time

import harness
from harness import Host, Postgres, equal, main, test, wait_for
from redisserver import Redis, Sentinels

pg = Postgres()
redis = Redis()

RADIO = os.path.abspath(os.path.join(harness.BUILDDIR, "tests/integration/plugins/.libs/radio.so"))


# For tests of what happens when nothing is heard, which takes four of them; else a host that is late would be missed.
QUICK = {"heartbeat": "500ms"}


def config(url=None, queue=4096, **keys):
    return {
        "host": {"workers": 1, "bus_queue": queue},
        "plugin radio": {"enabled": "yes", "library": RADIO},
        "plugin bus-redis": {
            "enabled": "yes",
            "url": url or redis.url,
            "topics": "radio.number/1",
            "heartbeat": "2s",
            "max_retry": "200ms",
            **keys,
        },
    }


def radio(host):
    return {k: int(v) for k, v in host.console("SHOW RADIO")[0].items()}


def bus(host):
    return host.console("SHOW BUS REDIS")


def send(host, count=1):
    host.console("RADIO SEND %d" % count)


def wait_here(host, here=True):
    wait_for(lambda: (bus(host)[0]["state"] == "here") == here, what="the bus is %s" % ("here" if here else "lost"))


def wait_radio(host, **wanted):
    told = []

    def as_wanted():
        told[:] = [radio(host)]
        return {k: told[0][k] for k in wanted} == wanted

    try:
        wait_for(as_wanted)
    except AssertionError:
        equal(told[0], wanted)


def host_topic(host):
    return [r for r in host.console("SHOW TOPICS") if r["topic"] == "radio.number/1"][0]


@contextlib.contextmanager
def hosts(count, url=None, **keys):
    """Hosts that have heard of each other, and the marks that each has by then."""
    with contextlib.ExitStack() as stack:
        all_hosts = [stack.enter_context(Host(pg, config(url, **keys))) for _ in range(count)]
        for host in all_hosts:
            wait_here(host)
        for host in all_hosts:
            # Each has said once that it has not carried the topic before.
            wait_for(
                lambda: [r["number"] for r in bus(host)] == [1] * count and host_topic(host)["subscribers"] == 2,
                what="it knows the others",
            )
        yield all_hosts


@test("an event comes to every other host, once, and not back")
def events():
    with hosts(3) as (a, b, c):
        before = [radio(h) for h in (a, b, c)]
        send(a)
        for h in (b, c):
            wait_radio(h, remote=1, last=1, own=0, wrong=0)
        send(b, 2)
        wait_radio(a, remote=2, last=2, own=1)
        wait_radio(c, remote=3, own=0)
        send(c)  # an echo of theirs would come before this
        wait_radio(a, last=1, remote=3)
        wait_radio(b, last=1, remote=2)
        equal([(radio(h)["own"], radio(h)["remote"]) for h in (a, b, c)], [(1, 3), (2, 2), (1, 3)])
        equal([radio(h)["marks"] for h in (a, b, c)], [r["marks"] for r in before])
        equal([radio(h)["own_marks"] for h in (a, b, c)], [0, 0, 0])
        equal([r["state"] for r in bus(a)], ["here", "heard", "heard"])


@test("thousands of events keep their order, and none is missed")
def order():
    with hosts(2) as (a, b):
        marks, dropped = radio(b)["marks"], bus(a)[0]["dropped"]
        for n in range(1, 11):
            send(a, 1000)
            wait_radio(b, remote=1000 * n)  # no more are under way than any queue has room for
        wait_radio(b, remote=10000, last=10000, jumps=0, wrong=0, marks=marks)
        equal(bus(a)[0]["dropped"], dropped)


@test("events beyond the bound of a queue are lost, and that is told here and there; the next ones come")
def beyond():
    with hosts(2, queue=64) as (a, b):
        before = [radio(h) for h in (a, b)]
        send(a, 1000)
        wait_for(lambda: radio(a)["own_marks"] > before[0]["own_marks"], what="a mark for what did not fit")
        wait_for(lambda: radio(b)["marks"] > before[1]["marks"], what="a mark for what did not come")
        send(a)
        wait_radio(b, last=1001, wrong=0)
        assert radio(a)["own"] <= 65 and radio(b)["remote"] <= 65, (radio(a), radio(b))


@test("over TLS")
def over_tls():
    made = harness.make_certificates(harness.temp_dir())
    with hosts(2, Redis(tls=made).url, tls_ca_file=os.path.join(made, "ca.crt")) as (a, b):
        send(a, 1000)
        wait_radio(b, remote=1000, last=1000, jumps=0, wrong=0)
        send(b)
        wait_radio(a, remote=1, own=1000)


@test("hosts of another namespace are not heard")
def namespaces():
    with hosts(1) as (a,), hosts(1, namespace="other") as (b,):
        send(a)
        send(b)
        time.sleep(1)  # nothing is waited for: that nothing comes is what is tested
        equal((radio(a)["remote"], radio(b)["remote"], len(bus(a))), (0, 0, 1))


@test("while Redis is gone nothing is heard: that is told when it goes and when it is back")
def killed():
    own = Redis()
    with hosts(2, own.url, **QUICK) as (a, b):
        before = radio(b)
        own.kill()
        for h in (a, b):
            wait_here(h, False)
        wait_for(lambda: radio(b)["marks"] > before["marks"], what="a mark for the loss")
        equal(radio(b)["downs"], before["downs"] + 1)
        dropped = bus(a)[0]["dropped"]
        send(a, 3)
        wait_for(lambda: bus(a)[0]["dropped"] == dropped + 3, what="they are dropped")
        own.start()
        for h in (a, b):
            wait_here(h)
        wait_for(lambda: radio(b)["marks"] >= before["marks"] + 2, what="a mark for what was not heard")
        equal(radio(b)["ups"], before["ups"] + 1)
        wait_for(lambda: len(bus(b)) == 2, what="they know each other again")
        wait_for(lambda: bus(a)[0]["number"] == 4 and bus(b)[1]["number"] == 4, what="b knows what it has missed")
        send(a)
        wait_radio(b, remote=1, last=4)
        equal(radio(a)["own_marks"], 0)


@test("a Redis that stands still: told after four heartbeats, and the host goes on")
def frozen():
    own = Redis()
    with hosts(2, own.url, max_pending=16, **QUICK) as (a, b):
        before = [radio(h) for h in (a, b)]
        own.freeze()
        send(a, 100)
        for h, r in zip((a, b), before):
            wait_for(lambda: radio(h)["marks"] > r["marks"] and radio(h)["downs"] > r["downs"], what="it is told")
        wait_for(lambda: int(bus(a)[0]["dropped"]) >= 84, what="what Redis does not take is dropped")
        own.thaw()
        for h in (a, b):
            wait_here(h)
        marks = radio(b)["marks"]
        wait_for(lambda: len(bus(b)) == 2 and bus(b)[1]["number"] == 101, what="b knows how many there were")
        last = radio(b)["remote"]
        send(a)
        wait_for(lambda: radio(b)["remote"] == last + 1 and radio(b)["last"] == 101, what="the next one")
        assert radio(b)["marks"] >= marks


@test("a message that is missing is noticed by the next one, or by the next beat")
def gaps():
    with hosts(1) as (b,):
        with redis.client() as r:
            host = bytes(range(16))

            def message(kind, number, topic=b"", data=b"", version=1):
                header = b"HDBM" + version.to_bytes(2, "little") + kind.to_bytes(2, "little") + host
                header += number.to_bytes(8, "little") + b"\x08\x02\0\0"
                header += len(topic).to_bytes(2, "little") + len(data).to_bytes(2, "little")
                return r.command("PUBLISH", "howdah:default:bus", header + topic + data)

            topic = b"radio.number/1"
            data = (56).to_bytes(4, "little") + bytes(4) + (1).to_bytes(8, "little") + b"number 1".ljust(40, b"\0")
            marks = radio(b)["marks"]
            message(2, 0)
            message(1, 1, topic, data)
            wait_radio(b, remote=1, wrong=0, marks=marks)
            message(1, 3, topic, data)  # 2 is missing
            wait_radio(b, remote=2, marks=marks + 1)
            message(2, 3)
            message(1, 3, topic, data)  # an old one
            message(2, 5)  # 4 and 5 are missing
            wait_radio(b, remote=2, marks=marks + 2)
            message(3, 6, topic)  # the sender has lost some
            wait_radio(b, remote=2, marks=marks + 3)
            message(1, 7, b"some.other/1", data)
            message(1, 8, topic, data[:20])  # a shorter struct, as an older host has
            wait_radio(b, remote=3, marks=marks + 3)
            message(1, 9, version=2)
            wait_radio(b, remote=3, marks=marks + 4)
            wrong = int(bus(b)[0]["wrong"])
            for bad in (b"", b"HDBM", b"x" * 40, b"HDBM" + b"\1\0\1\0" + bytes(32) + b"more", b"x" * 5000):
                r.command("PUBLISH", "howdah:default:bus", bad)
            wait_for(lambda: int(bus(b)[0]["wrong"]) == wrong + 5, what="they are counted")
            # It is never heard again.
            wait_for(lambda: bus(b)[1]["state"] == "silent", what="its silence is noticed")
            wait_for(lambda: radio(b)["marks"] >= marks + 5, what="a mark")


@test("a host that is killed is missed; when it is back it is another one")
def host_killed():
    with hosts(2, **QUICK) as (a, b):
        marks = radio(b)["marks"]
        a.kill()
        wait_for(lambda: radio(b)["marks"] == marks + 1, what="a mark for the silence")
        equal(bus(b)[1]["state"], "silent")
        a.start()
        wait_for(lambda: sorted(r["state"] for r in bus(b)) == ["heard", "here", "silent"], what="it is heard")
        wait_for(lambda: host_topic(a)["subscribers"] == 2, what="it carries the topic")
        send(a)
        wait_radio(b, remote=1, last=1)


@test("a topic that is declared later, and plugins that come and go")
def later():
    with hosts(2) as (a, b):
        b.switch("radio", "disable")
        send(a)
        b.switch("radio", "enable")
        wait_for(lambda: (send(a), radio(b)["remote"])[1] > 0, what="it is heard again")
        for command in ("disable", "enable"):
            b.switch("bus-redis", command)
        wait_here(b)
        heard = radio(b)["remote"]
        wait_for(lambda: (send(a), radio(b)["remote"])[1] > heard, what="it is heard again")


@test("a failover of the sentinels' master")
def failover():
    s = Sentinels()
    with hosts(2, s.url) as (a, b):
        downs = [radio(h)["downs"] for h in (a, b)]
        s.master.kill()
        for h, n in zip((a, b), downs):
            wait_for(lambda: radio(h)["downs"] > n, what="the bus is lost")
        wait_for(lambda: s.master_port() == s.replica.port, what="the sentinels have promoted the replica")
        for h in (a, b):
            wait_for(lambda: bus(h)[0]["state"] == "here", what="the new master is found")
        heard = radio(b)["remote"]
        wait_for(lambda: (send(a), radio(b)["remote"])[1] > heard, what="it is heard again")


@test("a wrong configuration is told before anything starts")
def wrong_configurations():
    for keys, text in (
        (dict(url="redis+cluster://a:1"), "one server of the cluster"),
        (dict(url="http://a"), "expected redis://"),
        (dict(topics=""), "1 to 32"),
        (dict(topics="what is this"), "is none"),
        (dict(namespace="a b"), "without blanks"),
        (dict(url="redis://:secret@a", password="secret"), "leave one"),
    ):
        host = Host(pg, config(**keys), start=False)
        result = host.run("-t")
        said = result.stdout + result.stderr
        assert result.returncode != 0 and text in said and "secret" not in said, (keys, said)


main()
