"""coap_wire.py - a bare CoAP client: every byte is the test's own, and so is every repeat and every lost acknowledgement"""
import contextlib
import itertools
import os
import shutil
import signal
import socket
import struct

import roost

CON, NON, ACK, RST = range(4)
GET, POST = 1, 2
ETAG, OBSERVE, PATH, FORMAT, MAX_AGE, QUERY, ACCEPT, BLOCK2, BLOCK1, SIZE1 = 4, 6, 11, 12, 14, 15, 17, 23, 27, 60
NO_RESPONSE = 258
JSON, CBOR, SENML_JSON, SENML_CBOR = 50, 60, 110, 112


def code(text):
    return int(text[0]) << 5 | int(text[2:])


def uint(n):
    return n.to_bytes((n.bit_length() + 7) // 8, "big")


def block(number, more, size=1024):
    return uint(number << 4 | (8 if more else 0) | (size.bit_length() - 5))


def extended(n):
    if n < 13:
        return n, b""
    if n < 269:
        return 13, bytes([n - 13])
    return 14, struct.pack(">H", n - 269)


def encode(kind, number, mid, token=b"", options=(), payload=b""):
    out = bytearray([1 << 6 | kind << 4 | len(token), number]) + struct.pack(">H", mid) + token
    last = 0
    for option, value in sorted(options, key=lambda o: o[0]):
        delta, more_delta = extended(option - last)
        length, more_length = extended(len(value))
        out += bytes([delta << 4 | length]) + more_delta + more_length + value
        last = option
    return bytes(out + (b"\xff" + payload if payload else b""))


class Message:
    def __init__(self, data):
        self.data = data
        assert len(data) >= 4 and data[0] >> 6 == 1, data
        self.kind = data[0] >> 4 & 3
        self.number = data[1]
        self.code = "%d.%02d" % (data[1] >> 5, data[1] & 31)
        self.mid = struct.unpack(">H", data[2:4])[0]
        at = 4 + (data[0] & 15)
        self.token = data[4:at]
        self.options = []
        option = 0

        def extension(nibble, at):
            if nibble == 13:
                return data[at] + 13, at + 1
            if nibble == 14:
                return struct.unpack(">H", data[at:at + 2])[0] + 269, at + 2
            assert nibble < 13
            return nibble, at
        while at < len(data) and data[at] != 0xff:
            head = data[at]
            delta, at = extension(head >> 4, at + 1)
            length, at = extension(head & 15, at)
            option += delta
            self.options.append((option, data[at:at + length]))
            at += length
        self.payload = data[at + 1:]

    def option(self, number):
        """Its value as a number, None without it."""
        for option, value in self.options:
            if option == number:
                return int.from_bytes(value, "big")
        return None

    def __repr__(self):
        return "%s %s mid=%04x token=%s %s %r" % (("CON", "NON", "ACK", "RST")[self.kind], self.code, self.mid,
                                                  self.token.hex(), self.options, self.payload[:80])


def path(text):
    return [(PATH, level.encode()) for level in text.split("/")]


class Client:
    """One UDP socket: one endpoint, as CoAP counts them."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port))
        self.mids = itertools.count(int.from_bytes(os.urandom(2), "big"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.send(data)
        return data

    def receive(self, seconds=10):
        """The next message; None if there is none for so long."""
        self.socket.settimeout(seconds * roost.SLOW)
        try:
            return Message(self.socket.recv(65536))
        except socket.timeout:
            return None
        except ConnectionRefusedError:
            return self.receive(seconds)

    def request(self, number, where, payload=b"", options=(), kind=CON, token=None, mid=None):
        """Sends it, and returns it."""
        token = os.urandom(4) if token is None else token
        mid = next(self.mids) & 0xffff if mid is None else mid
        payload = payload.encode() if isinstance(payload, str) else payload
        return self.send(encode(kind, number, mid, token, path(where) + list(options), payload))

    def answer(self, sent, seconds=10):
        """The answer to this request, in its acknowledgement or later; acknowledges it."""
        want = Message(sent)
        while True:
            got = self.receive(seconds)
            assert got is not None, "no answer to %r" % want
            if got.kind == ACK and got.number == 0:
                assert got.mid == want.mid, got
                continue
            assert got.token == want.token, (got, want)
            if got.kind == CON:
                self.send(encode(ACK, 0, got.mid))
            elif got.kind == ACK:
                assert got.mid == want.mid, got
            return got

    def ask(self, number, where, payload=b"", options=(), **kw):
        return self.answer(self.request(number, where, payload, options, **kw))

    def post(self, where, payload, options=((FORMAT, uint(JSON)),), **kw):
        return self.ask(POST, where, payload, options, **kw)

    def get(self, where, options=(), **kw):
        return self.ask(GET, where, b"", options, **kw)


def tool(*arguments, seconds=20, tls=False):
    """libcoap's own client; its stdout."""
    name = "coap-client-openssl" if tls else "coap-client-notls"
    assert shutil.which(name), "%s is missing: deploy/deps.sh test" % name
    out = roost.run([name, "-B", "10"] + list(arguments), seconds)
    assert out.returncode == 0, (arguments, out)
    return out.stdout + out.stderr


def kill_worker(r, name):
    """kill -9; returns when another one is up."""
    pid = r.pid_of(name)
    os.kill(pid, signal.SIGKILL)
    r.wait_for(lambda: r.pids().get(name, pid) != pid and r.all_up(), 10, "a new " + name)


@contextlib.contextmanager
def stopped(r, name):
    """It stands still meanwhile: shorter than supervisor.watchdog."""
    pid = r.pid_of(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
