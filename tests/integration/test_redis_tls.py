"""TLS towards Redis: the cache's store over it, whose certificates are taken, and what is said of others."""

# Runs under TSan too.

import os
import subprocess
import threading

import harness
from harness import Host, SplitProxy, equal, main, make_certificates, test, wait_for
from redisserver import Cluster, Redis, Sentinels
from shelf import Shelf, config, counts, pg, shelf, stored, wait_reason, wait_up

CERTIFICATES = make_certificates(harness.temp_dir())
STRANGERS = make_certificates(harness.temp_dir())
TRUST = {"tls_ca_file": os.path.join(CERTIFICATES, "ca.crt")}
OWN = {
    "tls_cert_file": os.path.join(CERTIFICATES, "client.crt"),
    "tls_key_file": os.path.join(CERTIFICATES, "client.key"),
}

redis = Redis(tls=CERTIFICATES, requirepass="open-sesame")
PASSWORD = {"password": "open-sesame"}


def refused(why, url, **keys):
    """No connection comes about, the reason is told, and statements go on without."""
    with shelf(url, up=False, **keys) as s:
        wait_reason(s.host, why)
        equal((s.code("k"), s.stats()["up"]), ("busy", 0))


@test("values come back byte for byte, short and long, also for another host")
def values():
    with shelf(redis.url, workers=2, **TRUST, **PASSWORD) as a, shelf(redis.url, **TRUST, **PASSWORD) as b:
        sums = {}
        for n, size in enumerate((0, 1, 100, 16000, 16384, 16385, 70000, 900000)):
            key = "tls-%d" % n
            sums[key] = stored(a, key, size, seed=n)
        for key, total in sums.items():
            equal(b.get(key)["sum"], total, key)
        equal(len(redis.keys("howdah:*")), len(sums))
        equal((counts(a.host)["errors"], counts(b.host)["errors"]), (0, 0))


@test("bytes of records in segments of their own; a name in place of the address")
def split():
    with SplitProxy(redis.port, size=3) as proxy:
        with shelf("rediss://localhost:%d" % proxy.port, timeout="5s", connect_timeout="10s", **TRUST, **PASSWORD) as s:
            total = stored(s, "split", 3000, seed=4711)
            equal(s.get("split")["sum"], total)


def certificate_for(name):
    """A folder like make_certificates', whose server certificate is for another name."""
    made = make_certificates(harness.temp_dir())
    with open(os.path.join(made, "san"), "w") as f:
        f.write("subjectAltName=%s\n" % name)
    sign = "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt"
    subprocess.run(sign.split(), check=True, cwd=made, capture_output=True)
    return made


@test("a certificate of a stranger, or for another name, is refused, unless that is not to be verified")
def verified():
    refused("self-signed certificate in certificate chain", redis.url, **PASSWORD)
    refused("certificate is refused", redis.url, tls_ca_file=os.path.join(STRANGERS, "ca.crt"), **PASSWORD)
    for san, why in (("DNS:elsewhere.example", "IP address mismatch"), ("IP:127.0.0.2,DNS:localhost", "IP address mismatch")):
        made = certificate_for(san)
        other = Redis(tls=made)
        trust = {"tls_ca_file": os.path.join(made, "ca.crt")}
        refused(why, other.url, **trust)
        with shelf(other.url, tls_verify="ca", **trust) as s:
            stored(s, "a")
        refused("certificate is refused", other.url, tls_verify="ca", **TRUST)
        with shelf(other.url, tls_verify="none") as s:
            stored(s, "b")
    address_only = certificate_for("IP:127.0.0.1")
    other = Redis(tls=address_only)
    trust = {"tls_ca_file": os.path.join(address_only, "ca.crt")}
    with shelf(other.url, **trust) as s:
        stored(s, "c")
    refused("hostname mismatch", "rediss://localhost:%d" % other.port, **trust)


@test("servers that ask for a certificate get one, or the reason is told")
def own_certificate():
    strict = Redis(tls=CERTIFICATES, tls_auth_clients="yes")
    with shelf(strict.url, **TRUST, **OWN) as s:
        stored(s, "a")
    with shelf(strict.url, up=False, **TRUST) as s:
        wait_reason(s.host, "TLS: ")
        equal(s.code("a"), "busy")


@test("TLS to a server without, and none to one with")
def one_side():
    plain = Redis()
    refused("does the server speak TLS", plain.url.replace("redis:", "rediss:"), connect_timeout="300ms", **TRUST)
    with shelf(redis.url.replace("rediss:", "redis:"), up=False, **PASSWORD) as s:
        wait_reason(s.host)
        equal(s.code("a"), "busy")


@test("a server that is frozen, killed and started again, under load from several workers")
def killed():
    own = Redis(tls=CERTIFICATES)
    with Host(pg, config(own.url, workers=2, timeout="200ms", **TRUST)) as host:
        wait_up(host)
        stop, failures, seen = threading.Event(), [], set()

        def load(n):
            s = Shelf(host)
            while not stop.is_set():
                try:
                    s.put("k%d" % n, 100000, seed=n)
                    got = s.get("k%d" % n)
                    seen.add(got["code"])
                    if got["code"] == "ok":
                        equal(got["size"], "100000")
                except Exception as e:
                    failures.append(e)
                    return

        threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        for end, back in ((own.freeze, own.thaw), (own.kill, own.start)):
            wait_for(lambda: failures or "ok" in seen, what="values")
            end()
            wait_for(lambda: failures or "busy" in seen, what="it is passed by")
            back()
            wait_up(host)
            seen.clear()
        wait_for(lambda: failures or "ok" in seen, what="values again")
        stop.set()
        for t in threads:
            t.join()
        equal(failures, [])


@test("sentinels and their master, and a failover")
def sentinels():
    s = Sentinels(tls=CERTIFICATES)
    with shelf(s.url, **TRUST) as a:
        stored(a, "one")
        wait_for(lambda: len(s.replica.keys()) == 1, what="the replica has it")
        s.master.kill()
        wait_for(lambda: s.master_port() == s.replica.port, what="the sentinels have promoted the replica")
        wait_for(lambda: a.code("one") == "ok", what="the new master is found")
    refused("certificate is refused", s.url)


@test("a cluster")
def cluster():
    c = Cluster(tls=CERTIFICATES)
    with shelf(c.url, **TRUST) as a, shelf(c.url, **TRUST) as b:
        sums = {"spread-%d" % i: stored(a, "spread-%d" % i, 50 + i) for i in range(40)}
        assert min(len(n.keys()) for n in c.nodes) > 0
        for key, total in sums.items():
            equal(b.get(key)["sum"], total)
        equal((counts(a.host)["errors"], counts(b.host)["errors"]), (0, 0))


@test("what cannot be used is told before anything starts")
def wrong():
    missing, key = os.path.join(CERTIFICATES, "none.crt"), os.path.join(STRANGERS, "client.key")
    for keys, text in (
        (dict(url=redis.url, tls_ca_file=missing), "tls_ca_file cannot be used: " + missing),
        (dict(url=redis.url, tls_ca_file=OWN["tls_key_file"]), "tls_ca_file cannot be used"),
        (dict(url=redis.url, tls_cert_file=missing, tls_key_file=key), "tls_cert_file cannot be used: " + missing),
        (dict(url=redis.url, **{**OWN, "tls_key_file": key}), "has to fit tls_cert_file"),
        (dict(url=redis.url, tls_cert_file=OWN["tls_cert_file"]), "go together"),
        (dict(url=redis.url, tls_verify="maybe"), "tls_verify"),
        (dict(url="redis://127.0.0.1:1", **TRUST), "without TLS: write rediss://"),
    ):
        result = Host(pg, config(**keys), start=False).run("-t")
        said = result.stdout + result.stderr
        assert result.returncode != 0 and text in said, (keys, said)


main()
