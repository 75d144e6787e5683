"""
Redis servers of a test's own, on free loopback ports in temporary directories, and a small client to look into
them; and servers that only look like Redis.
"""

import contextlib
import os
import shutil
import signal
import socket
import threading

from harness import client_context, end, free_port, on_exit, spawn, temp_dir, wait_for

START_TIMEOUT = 60.0


class RedisError(Exception):
    pass


class Client:
    """One connection; command() sends and waits. Replies are bytes, ints, lists or None; errors are raised."""

    def __init__(self, where, password=None, certificates=None):
        if isinstance(where, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(60)
            self.socket.connect(where)
        else:
            self.socket = socket.create_connection(("127.0.0.1", where), 60)
        if certificates:
            context = client_context(certificates, with_certificate=True)
            context.check_hostname = False
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.file = self.socket.makefile("rb")
        if password:
            self.command("AUTH", password)

    def command(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        out = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
        self.socket.sendall(out)
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if int(rest) < 0 else self.file.read(int(rest) + 2)[:-2]
        return None if int(rest) < 0 else [self.reply() for _ in range(int(rest))]

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Redis:
    """
    A redis-server in a temporary directory. Settings are redis.conf's, a list for those that come repeatedly;
    `sentinel` has a sentinel's. `tls` is a folder of harness.make_certificates: then it speaks nothing but TLS.

        redis = Redis(requirepass="secret")
        redis.command("SET", "a", 1)
    """

    def __init__(self, start=True, port=None, sentinel=None, tls=None, **settings):
        self.program = shutil.which("redis-server")
        if not self.program:
            raise RuntimeError("redis-server is missing: run contrib/packages test")
        self.dir = temp_dir()
        self.port = port or free_port()
        self.socket_path = os.path.join(self.dir, "redis.sock")
        self.log_path = os.path.join(self.dir, "log")
        self.sentinel = sentinel
        self.tls = tls
        self.process = None
        self.settings = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.dir,
            "logfile": self.log_path,
            "protected-mode": "no",
        }
        if tls:
            self.settings.update(self._tls_settings())
        if sentinel:
            self.settings["sentinel"] = sentinel
        else:
            self.settings.update(unixsocket=self.socket_path, save='""', appendonly="no")
        self.settings.update({k.replace("_", "-"): v for k, v in settings.items()})
        self.password = self.settings.get("requirepass")
        if self.password:
            self.settings["requirepass"] = '"%s"' % self.password
        self.write()
        if start:
            self.start()

    def _tls_settings(self):
        files = {"cert": "server.crt", "key": "server.key", "ca-cert": "ca.crt"}
        settings = {"tls-%s-file" % name: os.path.join(self.tls, file) for name, file in files.items()}
        return {"port": 0, "tls-port": self.port, "tls-auth-clients": "no", "tls-replication": "yes", **settings}

    def write(self):
        self.conf = os.path.join(self.dir, "redis.conf")
        with open(self.conf, "w") as f:
            for name, value in self.settings.items():
                for one in value if isinstance(value, list) else [value]:
                    f.write("%s %s\n" % (name, one))

    def start(self, wait=True):
        self.process = spawn([self.program, self.conf] + (["--sentinel"] if self.sentinel else []), cwd=self.dir)
        on_exit(self.kill)
        if wait:
            wait_for(self.answers, START_TIMEOUT, "redis-server answers")
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError("redis-server did not start:\n" + self.log_text())
        with contextlib.suppress(OSError, RedisError):
            return self.command("PING") == b"PONG"

    def log_text(self):
        with contextlib.suppress(FileNotFoundError), open(self.log_path, errors="replace") as f:
            return f.read()
        return ""

    def client(self):
        return Client(self.port, self.password, self.tls)

    def command(self, *words):
        with self.client() as c:
            return c.command(*words)

    def keys(self, pattern="*"):
        return sorted(self.command("KEYS", pattern))

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            end(self.process, signal.SIGKILL)

    @property
    def url(self):
        return "%s://127.0.0.1:%d/0" % (self.scheme, self.port)

    @property
    def scheme(self):
        return "rediss" if self.tls else "redis"


class Sentinels:
    """A master, a replica and three sentinels that watch them under the name `name`."""

    def __init__(self, name="main", **settings):
        self.name = name
        self.master = Redis(**settings)
        self.replica = Redis(replicaof="127.0.0.1 %d" % self.master.port, repl_diskless_sync_delay=0, **settings)
        lines = [
            "monitor %s 127.0.0.1 %d 2" % (name, self.master.port),
            "down-after-milliseconds %s 2000" % name,
            "failover-timeout %s 3000" % name,
        ]
        if self.master.password:
            lines.append("auth-pass %s %s" % (name, self.master.password))
        self.sentinels = [Redis(sentinel=lines, tls=self.master.tls) for _ in range(3)]
        wait_for(self._complete, START_TIMEOUT, "the sentinels know each other and the replica")

    def _complete(self):
        for s in self.sentinels:
            state = s.command("SENTINEL", "MASTER", self.name)
            state = dict(zip(state[::2], state[1::2]))
            if (state[b"num-other-sentinels"], state[b"num-slaves"]) != (b"2", b"1"):
                return False
        with_replica = self.replica.command("ROLE")
        return with_replica[0] == b"slave" and with_replica[3] == b"connected"

    def master_port(self):
        return int(self.sentinels[0].command("SENTINEL", "get-master-addr-by-name", self.name)[1])

    @property
    def url(self):
        hosts = ",".join("127.0.0.1:%d" % s.port for s in self.sentinels)
        return "%s+sentinel://%s/%s" % (self.master.scheme, hosts, self.name)


class Cluster:
    """Three masters with a third of the slots each."""

    def __init__(self, count=3, **settings):
        self.nodes = [
            Redis(**({"tls_cluster": "yes"} if settings.get("tls") else {}), cluster_enabled="yes", cluster_port=free_port(), cluster_node_timeout=1000, **settings)
            for _ in range(count)
        ]
        size = 16384 // count + 1
        for n, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            node.command("CLUSTER", "ADDSLOTSRANGE", n * size, min((n + 1) * size, 16384) - 1)
            node.id = node.command("CLUSTER", "MYID")
        for node in self.nodes[1:]:
            node.command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].settings["cluster-port"])
        wait_for(self.ok, START_TIMEOUT, "the cluster is complete")

    def ok(self):
        return all(
            b"cluster_state:ok" in n.command("CLUSTER", "INFO")
            and b"cluster_known_nodes:%d" % len(self.nodes) in n.command("CLUSTER", "INFO")
            for n in self.nodes
        )

    def slot(self, name):
        return self.nodes[0].command("CLUSTER", "KEYSLOT", name)

    def owner(self, name):
        """The node that has this name."""
        return [n for n in self.nodes if name in n.keys()][0]

    def begin_move(self, slot, source, target):
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_key(self, name, source, target):
        source.command("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)

    def end_move(self, slot, target):
        for node in [target] + [n for n in self.nodes if n is not target]:
            node.command("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    @property
    def url(self):
        return "%s+cluster://127.0.0.1:%d" % (self.nodes[0].scheme, self.nodes[0].port)


class FakeRedis:
    """
    Listens as Redis does and answers each command by `answer(words)`: bytes, or None to say nothing. It may be
    changed at any time. `greeting` is sent to each new connection.
    """

    def __init__(self, answer, greeting=b""):
        self.answer = answer
        self.greeting = greeting
        self.connections = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.open = set()
        threading.Thread(target=self._accept, daemon=True).start()
        on_exit(self.close)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                self.connections += 1
                self.open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError, ValueError):
            connection.sendall(self.greeting)
            f = connection.makefile("rb")
            while True:
                line = f.readline()
                if not line:
                    break
                words = []
                for _ in range(int(line[1:])):
                    n = int(f.readline()[1:])
                    words.append(f.read(n + 2)[:-2])
                answer = self.answer(words)
                if answer:
                    connection.sendall(answer)
        self.open.discard(connection)
        connection.close()

    def close(self):
        self.server.close()
        for c in list(self.open):
            with contextlib.suppress(OSError):
                c.shutdown(socket.SHUT_RDWR)

    @property
    def url(self):
        return "redis://127.0.0.1:%d/0" % self.port
