"""
The PostgreSQL protocol by hand: a client that sends exactly what it is told to send and shows exactly what comes
back, so that an answer through the host can be compared with PostgreSQL's own byte for byte.
"""

import base64
import collections
import functools
import hashlib
import hmac
import os
import socket
import ssl
import struct

PROTOCOL_3_0 = 196608
PROTOCOL_3_2 = 196610
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102

DEFAULT_TIMEOUT = 60.0


class WireClosed(Exception):
    """The other side closed the connection."""


class WireError(Exception):
    """The server answered with an ErrorResponse where none was expected."""

    def __init__(self, message):
        self.fields = message.fields()
        self.sqlstate = self.fields.get("C")
        super().__init__("%s: %s" % (self.sqlstate, self.fields.get("M")))


class Message(collections.namedtuple("Message", "type body")):
    """One backend message: its type as a one-letter string, and its body without the length."""

    __slots__ = ()

    def fields(self):
        """The fields of an ErrorResponse or NoticeResponse, by letter."""
        fields = {}
        for part in self.body.split(b"\0"):
            if part:
                fields[chr(part[0])] = part[1:].decode("utf-8", "replace")
        return fields

    def row(self):
        """The values of a DataRow; None is NULL."""
        (count,) = struct.unpack_from("!H", self.body)
        values, at = [], 2
        for _ in range(count):
            (length,) = struct.unpack_from("!i", self.body, at)
            at += 4
            if length < 0:
                values.append(None)
            else:
                values.append(self.body[at : at + length])
                at += length
        return values

    def columns(self):
        """The column names of a RowDescription."""
        return [name for name, _ in self.described()]

    def described(self):
        """The names of a RowDescription's columns and the OIDs of their types."""
        (count,) = struct.unpack_from("!H", self.body)
        columns, at = [], 2
        for _ in range(count):
            end = self.body.index(b"\0", at)
            columns.append((self.body[at:end].decode(), struct.unpack_from("!I", self.body, end + 7)[0]))
            at = end + 19
        return columns

    def text(self):
        """The body up to its first NUL: a CommandComplete's tag, a ParameterStatus's name."""
        return self.body.split(b"\0", 1)[0].decode("utf-8", "replace")

    def encode(self):
        return message(self.type, self.body)

    def __repr__(self):
        if self.type in "EN":
            return "%s%r" % (self.type, self.fields())
        shown = self.body if len(self.body) <= 200 else self.body[:200] + b"..."
        return "%s%r" % (self.type, shown)


# --- frontend messages ------------------------------------------------------------------------------------------


def _bytes(text):
    return text.encode() if isinstance(text, str) else text


def cstring(text):
    return _bytes(text) + b"\0"


def message(kind, body=b""):
    return kind.encode("latin-1") + struct.pack("!I", len(body) + 4) + body


def packet(code, body=b""):
    """A packet without a type byte: startup and the three requests."""
    return struct.pack("!II", len(body) + 8, code) + body


def startup(user, database=None, protocol=PROTOCOL_3_0, **parameters):
    body = b""
    if user is not None:
        body += cstring("user") + cstring(user)
    if database is not None:
        body += cstring("database") + cstring(database)
    for name, value in parameters.items():
        body += cstring(name) + cstring(value)
    return packet(protocol, body + b"\0")


def cancel_request(pid, key):
    return packet(CANCEL_REQUEST, struct.pack("!I", pid) + key)


def query(sql):
    return message("Q", cstring(sql))


def parse(name, sql, types=()):
    return message("P", cstring(name) + cstring(sql) + struct.pack("!H", len(types)) + _ints("!I", types))


def _ints(form, values):
    return b"".join(struct.pack(form, v) for v in values)


def bind(portal="", statement="", values=(), formats=(), result_formats=()):
    """Values are bytes, text or None (NULL); formats are 0 (text) or 1 (binary)."""
    body = cstring(portal) + cstring(statement)
    body += struct.pack("!H", len(formats)) + _ints("!H", formats)
    body += struct.pack("!H", len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            value = _bytes(value)
            body += struct.pack("!i", len(value)) + value
    body += struct.pack("!H", len(result_formats)) + _ints("!H", result_formats)
    return message("B", body)


def describe(kind, name=""):
    """kind is "S" for a statement, "P" for a portal."""
    return message("D", kind.encode() + cstring(name))


def close(kind, name=""):
    return message("C", kind.encode() + cstring(name))


def execute(portal="", max_rows=0):
    return message("E", cstring(portal) + struct.pack("!I", max_rows))


def sync():
    return message("S")


def flush():
    return message("H")


def terminate():
    return message("X")


def copy_data(data):
    return message("d", _bytes(data))


def copy_done():
    return message("c")


def copy_fail(reason="no"):
    return message("f", cstring(reason))


def function_call(oid, values=(), formats=(), result_format=0):
    body = struct.pack("!IH", oid, len(formats)) + _ints("!H", formats) + struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + _bytes(value)
    return message("F", body + struct.pack("!H", result_format))


def password(text):
    return message("p", cstring(text))


def run(sql, values=(), types=(), formats=(), result_formats=()):
    """Parse, Bind, Describe, Execute of an unnamed statement, and Sync."""
    return (
        parse("", sql, types)
        + bind("", "", values, formats, result_formats)
        + describe("P")
        + execute()
        + sync()
    )


# --- SCRAM ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)  # what makes a login slow is the same for each of one user's
def _salted(secret, salt, iterations):
    return hashlib.pbkdf2_hmac("sha256", secret, base64.b64decode(salt), iterations)


class Scram:
    """The client's side of SCRAM-SHA-256, for one login."""

    def __init__(self, secret, nonce=None):
        self.secret = _bytes(secret)
        self.nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self.first_bare = "n=,r=" + self.nonce

    def first(self):
        body = _bytes("n,," + self.first_bare)
        return message("p", cstring("SCRAM-SHA-256") + struct.pack("!I", len(body)) + body)

    def final(self, server_first):
        server_first = server_first.decode()
        parts = dict(p.split("=", 1) for p in server_first.split(","))
        if not parts["r"].startswith(self.nonce):
            raise ValueError("the server's nonce does not begin with ours")
        salted = _salted(self.secret, parts["s"], int(parts["i"]))
        client_key = self._mac(salted, b"Client Key")
        without_proof = "c=biws,r=" + parts["r"]
        self.auth = _bytes(",".join((self.first_bare, server_first, without_proof)))
        signature = self._mac(hashlib.sha256(client_key).digest(), self.auth)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.server_key = self._mac(salted, b"Server Key")
        return message("p", _bytes(without_proof + ",p=" + base64.b64encode(proof).decode()))

    def verify(self, server_final):
        expected = b"v=" + base64.b64encode(self._mac(self.server_key, self.auth))
        if not hmac.compare_digest(server_final, expected):
            raise ValueError("the server does not know the password")

    @staticmethod
    def _mac(key, text):
        return hmac.new(key, text, hashlib.sha256).digest()


# --- the client -------------------------------------------------------------------------------------------------


class Wire:
    """One connection. Nothing is sent that was not asked for."""

    def __init__(self, host="127.0.0.1", port=5432, timeout=DEFAULT_TIMEOUT):
        """`host` is an address, or the path of a Unix socket's directory."""
        self.timeout = timeout
        self.buffer = bytearray()
        self.parameters = {}
        self.backend_pid = None
        self.backend_key = None
        if str(host).startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect("%s/.s.PGSQL.%d" % (host, port))
        else:
            self.sock = socket.create_connection((host, port), timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes without a Terminate."""
        self.sock.close()

    def reset(self):
        """Closes so that the other side sees a reset, not an orderly end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # Sending.

    def send(self, *messages):
        self.sock.sendall(b"".join(messages))

    def send_in_pieces(self, data, size=1):
        for at in range(0, len(data), size):
            self.sock.sendall(data[at : at + size])

    # Receiving.

    def recv_bytes(self, count, timeout=None):
        self.sock.settimeout(self.timeout if timeout is None else timeout)
        while len(self.buffer) < count:
            data = self.sock.recv(65536)
            if not data:
                raise WireClosed("closed with %d bytes of a message" % len(self.buffer))
            self.buffer += data
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def recv(self, timeout=None):
        """The next message."""
        head = self.recv_bytes(5, timeout)
        (length,) = struct.unpack_from("!I", head, 1)
        if length < 4:
            raise ValueError("message %r with length %d" % (head[:1], length))
        received = Message(chr(head[0]), self.recv_bytes(length - 4, timeout))
        if received.type == "S":
            name, value = received.body.split(b"\0")[:2]
            self.parameters[name.decode()] = value.decode()
        elif received.type == "K":
            (self.backend_pid,) = struct.unpack_from("!I", received.body)
            self.backend_key = received.body[4:]
        return received

    def recv_until(self, kinds="Z", count=1, timeout=None):
        """Messages up to and with the count-th whose type is in `kinds`."""
        received = []
        while count:
            received.append(self.recv(timeout))
            if received[-1].type in kinds:
                count -= 1
        return received

    def exchange(self, *messages, ready=1, timeout=None):
        """Sends all at once; returns everything up to the ready-th ReadyForQuery."""
        self.send(*messages)
        return self.recv_until("Z", ready, timeout)

    def expect_quiet(self, seconds=0.2):
        """Fails when anything arrives."""
        if self.buffer:
            raise AssertionError("unexpected: %r" % bytes(self.buffer))
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(65536)
        except (socket.timeout, ssl.SSLWantReadError):
            return
        raise AssertionError("unexpected: %r" % data if data else "closed")

    def expect_closed(self, timeout=None):
        """Reads what is left; returns it once the other side has closed, and fails when it does not."""
        self.sock.settimeout(self.timeout if timeout is None else timeout)
        try:
            while data := self.sock.recv(65536):
                self.buffer += data
        except ConnectionResetError:
            pass
        left = bytes(self.buffer)
        self.buffer.clear()
        return left

    # Logging in.

    def request_tls(self, context=None):
        """SSLRequest; returns the answering byte, after the handshake where it is S and a context was given."""
        self.send(packet(SSL_REQUEST))
        answer = self.recv_bytes(1)
        if answer == b"S" and context:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        return answer

    def login(self, user, database=None, secret=None, protocol=PROTOCOL_3_0, **parameters):
        """Startup and authentication; returns the messages up to the first ReadyForQuery."""
        self.send(startup(user, database, protocol, **parameters))
        return self.authenticate(secret)

    def authenticate(self, secret=None):
        received, scram = [], None
        while True:
            m = self.recv()
            received.append(m)
            if m.type == "E":
                raise WireError(m)
            if m.type == "Z":
                return received
            if m.type != "R":
                continue
            (kind,) = struct.unpack_from("!I", m.body)
            if kind == 3:
                self.send(password(secret))
            elif kind == 10:
                scram = Scram(secret)
                self.send(scram.first())
            elif kind == 11:
                self.send(scram.final(m.body[4:]))
            elif kind == 12:
                scram.verify(m.body[4:])
            elif kind != 0:
                raise ValueError("authentication request %d" % kind)

    # Shorthands.

    def query(self, sql, timeout=None):
        """Runs a simple query; returns its rows as lists of text, and raises WireError on an error."""
        received = self.exchange(query(sql), timeout=timeout)
        for m in received:
            if m.type == "E":
                raise WireError(m)
        return [[None if v is None else v.decode() for v in m.row()] for m in received if m.type == "D"]

    def status(self):
        """The transaction status that an empty query reports: I, T or E."""
        return self.exchange(query(""))[-1].body.decode()


# --- comparing --------------------------------------------------------------------------------------------------


def comparable(messages, without="K", ignore_fields=""):
    """Messages in a form to compare: drops the types in `without`, and from errors the fields in `ignore_fields`."""
    result = []
    for m in messages:
        if m.type in without:
            continue
        if m.type in "EN" and ignore_fields:
            fields = {k: v for k, v in m.fields().items() if k not in ignore_fields}
            result.append((m.type, tuple(sorted(fields.items()))))
        else:
            result.append((m.type, m.body))
    return result


def kinds(messages):
    """The message types as one string: "TDDCZ"."""
    return "".join(m.type for m in messages)
