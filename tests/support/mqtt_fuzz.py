"""mqtt_fuzz.py - clients that break MQTT in every way, against a whole Roost over TCP: make fuzz T=live [S=seconds] [SEED=n]

An episode is a few connections and what is sent on them, all of it chosen by (seed, number of the episode) before the first
byte goes out, whatever the answers are. So `SEED=n` is the same again, and `SEED=n:m` is episode m of it alone. Meanwhile
devices that behave publish at QoS 1 (load.c). In the end: no worker died, each reading of theirs that was acknowledged is
stored once, memory and descriptors are what they were, and nothing was logged that needs a person.

WORKERS=2 has them meet two connectivity workers; REDIS_STOPS=1 has Redis stand still every now and then, for a moment or
until what waits for it is told so.
"""
import os
import random
import select
import signal
import socket
import struct
import sys
import time

import mqtt
import roost
from load import Load
from mqtt import packet, remaining, string
from roost import Roost, rss_kib

# Everything that a client can make the worker keep is bounded low, so that memory is at its bounds soon.
SETTINGS = {"mqtt.sessions_max": "64", "mqtt.retained_max": "200", "mqtt.retained_mib": "1", "mqtt.wills_mib": "1", "mqtt.offline_mib": "2",
            "mqtt.subscriptions_max": "50", "mqtt.outbound_max": "65536", "mqtt.outbound_mib": "1", "mqtt.connect_timeout": "1s",
            "mqtt.packet_max": "65536", "mqtt.receive_maximum": "16", "history.flush": "1s"}
WORKERS = int(os.environ.get("WORKERS") or 1)
REDIS_STOPS = bool(os.environ.get("REDIS_STOPS"))
CLIENTS = ["a", "b", "c", "", "fz-1", "x" * 200, "\u00e9\u4e16"]
TOPICS = ["t", "t/1", "t/1/2", "t/2", "/", "roost/fz-1/telemetry", "roost/fz-2/telemetry", "roost/fz-1/telemetry/level",
          "v1/devices/me/telemetry", "v2/t", "roost/+/telemetry", "roost//telemetry", "", "#", "a/#/b", "$SYS/x", "$share/g/t",
          "l/" * 60 + "x", "l/" * 200, "n\0l", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), b"\xff\xfe", "y" * 2000]
FILTERS = ["t", "t/+", "t/#", "#", "+", "+/+", "$share/g/t", "$share/g/#", "$share//t", "$share/+/t", "a/#/b", "a+", "", "$SYS/#",
           "l/" * 60 + "#", "l/" * 200, b"\xff", "n\0l", "roost/+/telemetry", "z" * 2000]
PAYLOADS = [b'{"a":1}', b'{"ts":1732233600000,"values":{"b":2.5,"c":"x"}}', b"[1,2", b"7", b"", b"{" * 100, b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff", b"\x82\xa1a\x01\xa1b\xcb@\x09\0\0\0\0\0\0", b"\x91" * 40, b"nan", b'"' + b"s" * 5000 + b'"', b"\0" * 3000]
# Identifier -> how its value looks (section 2.2.2.2).
PROPERTIES = {1: "b", 2: "i", 3: "s", 8: "s", 9: "s", 11: "v", 17: "i", 18: "s", 19: "h", 21: "s", 22: "s", 23: "b", 24: "i", 25: "b",
              26: "s", 28: "s", 31: "s", 33: "h", 34: "h", 35: "h", 36: "b", 37: "b", 38: "p", 39: "i", 40: "b", 41: "b", 42: "b"}


class Grammar:
    """Packets: most of them nearly right."""

    def __init__(self, rng):
        self.rng = rng

    def number(self, bits):
        r = self.rng
        return r.choice([0, 1, 2, 3, 10, (1 << bits) - 1, 1 << bits - 1, r.getrandbits(bits)])

    def text(self):
        return self.rng.choice(["", "a", "k" * 300, b"\xc0\x80", "u"])

    def property(self, known):
        r = self.rng
        number = r.choice(known) if known and r.random() < 0.9 else r.choice(list(PROPERTIES) + [0, 99, 127])
        kind = PROPERTIES.get(number, "b")
        value = {"b": lambda: bytes([r.choice([0, 1, 2, 255])]), "h": lambda: struct.pack(">H", self.number(16)),
                 "i": lambda: struct.pack(">I", self.number(32)), "v": lambda: remaining(self.number(28)),
                 "s": lambda: string(r.choice([self.text(), "t", "t/1"])), "p": lambda: string(self.text()) + string(self.text())}[kind]()
        return bytes([number]) + value

    def properties(self, version, *known):
        """Of a version 5 packet; with those that belong there, mostly."""
        if version != 5:
            return b""
        n = self.rng.choice([0, 0, 0, 1, 2, 5, 60])
        data = b"".join(self.property(known) for _ in range(n))
        length = len(data) if self.rng.random() < 0.95 else self.number(14)
        return remaining(length) + data

    def connect(self, version, keep=False):
        r = self.rng
        name, level = r.choice([("MQTT", version)] * 20 + [("MQIsdp", 3), ("MQTT", 3), ("mqtt", 4), ("MQTT", 0x84), ("", 0), ("M" * 500, 4)])
        if version == 3 and r.random() < 0.9:
            name, level = "MQIsdp", 3
        flags = r.choice([0, 2, 2, 2, 4, 6, 0x0E, 0x16, 0x26, 0x2E, 0x80, 0xC2, 0x40, 0xC6, 1, 0x18, 0xFF])
        if keep:
            flags &= 0xFD
        body = string(name) + bytes([level, flags]) + struct.pack(">H", r.choice([0, 1, 2, 60, 65535]))
        body += self.properties(version, 17, 33, 34, 39, 25, 23, 38)
        body += string(r.choice(CLIENTS))
        if flags & 4:
            body += self.properties(version, 24, 1, 2, 3, 8, 9, 38) + string(r.choice(TOPICS)) + string(r.choice(PAYLOADS))
        if flags & 0x80:
            body += string(self.text())
        if flags & 0x40:
            body += string(self.text())
        return packet(0x10, body)

    def publish(self, version):
        r = self.rng
        qos = r.choice([0, 0, 1, 1, 1, 1, 2, 3])
        first = 0x30 | qos << 1 | r.choice([0, 0, 0, 8]) | r.choice([0, 0, 1])
        body = string(r.choice(TOPICS)) + (struct.pack(">H", self.number(16)) if qos else b"")
        return packet(first, body + self.properties(version, 35, 35, 1, 2, 3, 8, 9, 38, 11) + r.choice(PAYLOADS))

    def subscribe(self, version):
        r = self.rng
        body = struct.pack(">H", self.number(16)) + self.properties(version, 11, 38)
        for _ in range(r.choice([0, 1, 1, 1, 3, 60])):
            body += string(r.choice(FILTERS)) + bytes([r.choice([0, 1, 2, 0, 1, 4, 8, 0x10, 0x2D, 3, 0xC0])])
        return packet(r.choice([0x82] * 9 + [0x80]), body)

    def unsubscribe(self, version):
        r = self.rng
        body = struct.pack(">H", self.number(16)) + self.properties(version, 38)
        return packet(0xA2, body + b"".join(string(r.choice(FILTERS)) for _ in range(r.choice([0, 1, 1, 5]))))

    def ack(self, version):
        r = self.rng
        body = struct.pack(">H", r.choice([1, 2, 3, 4, self.number(16)]))
        if version == 5 and r.random() < 0.4:
            body += bytes([r.choice([0, 16, 128, 135, 255])]) + self.properties(version, 31, 38)
        return packet(r.choice([0x40, 0x40, 0x40, 0x50, 0x62, 0x60, 0x70]), body)

    def other(self, version):
        r = self.rng
        return r.choice([b"\xc0\0", b"\xc0\0", b"\xe0\0", packet(0xE0, bytes([r.choice([0, 4, 0x93])]) + self.properties(version, 17, 31, 38)),
                         packet(0xF0, b"\x18" + self.properties(version, 21, 22)), b"\x20\x02\0\0", b"\x90\x03\0\1\0", b"\xb0\x02\0\1", b"\xd0\0",
                         b"\0\0", b"\xf5\0", b"\xc0\1\0", b"\xc1\0"])

    def claim(self):
        """More than ever comes."""
        r = self.rng
        return bytes([r.choice([0x10, 0x30, 0x32, 0x82, 0xE0])]) + r.choice([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x00",
                                                                            b"\xff\xff\x03", b"\x80\x80\x01"]) + bytes(r.randrange(300))

    def mutate(self, data):
        r = self.rng
        data = bytearray(data)
        for _ in range(r.choice([1, 1, 2, 8])):
            at = r.randrange(len(data) + 1)
            how = r.randrange(5)
            if how == 0 and at < len(data):
                data[at] ^= 1 << r.randrange(8)
            elif how == 1 and at < len(data):
                data[at] = r.choice([0, 1, 0x7F, 0x80, 0xFF])
            elif how == 2:
                del data[at:at + r.randrange(1, 9)]
            elif how == 3:
                data[at:at] = bytes(r.getrandbits(8) for _ in range(r.randrange(1, 9)))
            else:
                data[at:at] = data[r.randrange(len(data) + 1):][:r.randrange(1, 65)]
        return bytes(data)

    def packet(self, version):
        r = self.rng
        make = r.choice([self.publish] * 6 + [self.subscribe] * 3 + [self.unsubscribe, self.ack, self.ack, self.other, self.other, self.connect])
        data = make(version)
        if r.random() < 0.03:
            return self.claim()
        return self.mutate(data) if r.random() < 0.15 else data

    def episode(self):
        """[(connection, what, data)]: what is open, send, split, read, half, close or reset."""
        r = self.rng
        steps = []
        connections = r.choice([1, 2, 3, 5])
        versions = [r.choice([3, 4, 4, 5, 5, 5]) for _ in range(connections)]
        opened = set()
        for _ in range(r.choice([5, 20, 60])):
            c = r.randrange(connections)
            if c not in opened:
                opened.add(c)
                steps.append((c, "open", b""))
                if r.random() < 0.85:
                    steps.append((c, "send", self.connect(versions[c], keep=r.random() < 0.3)))
                continue
            what = r.choice(["send"] * 12 + ["split", "read", "read", "half", "close", "reset"])
            data = b"".join(self.packet(versions[c]) for _ in range(r.choice([1, 1, 1, 3, 20]))) if what in ("send", "split") else b""
            steps.append((c, what, data))
            if what in ("close", "reset"):
                opened.discard(c)
        return steps


class Runner:
    def __init__(self, port, seed):
        self.port = port
        self.seed = seed
        self.number = 0
        self.socks = {}
        self.counts = {"episodes": 0, "connections": 0, "sends": 0, "bytes": 0, "answer bytes": 0}

    def read(self, c):
        try:
            self.counts["answer bytes"] += len(self.socks[c].recv(262144))
        except OSError:
            pass

    def send(self, c, data):
        """What the other side does not take now is not sent."""
        try:
            sent = self.socks[c].send(data)
            self.counts["bytes"] += sent
            self.counts["sends"] += 1
            return sent == len(data)
        except OSError:
            return False

    def split(self, c, data):
        """Byte by byte, for a while; then the rest."""
        for n in range(min(len(data), 200)):
            if not self.send(c, data[n:n + 1]):
                return
        if len(data) > 200:
            self.send(c, data[200:])

    def end(self, c, reset=False):
        sock = self.socks.pop(c, None)
        if sock:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def step(self, c, what, data):
        if what == "open":
            self.end(c)
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self.socks[c] = sock
            self.counts["connections"] += 1
        elif c not in self.socks:
            return
        elif what == "send":
            self.send(c, data)
        elif what == "split":
            self.split(c, data)
        elif what == "read":
            self.read(c)
        elif what == "half":
            try:
                self.socks[c].shutdown(socket.SHUT_WR)
            except OSError:
                pass
        else:
            self.end(c, what == "reset")

    def episode(self, number):
        self.number = number
        rng = random.Random("%d:%d" % (self.seed, number))
        for c, what, data in Grammar(rng).episode():
            self.step(c, what, data)
        # A look at the answers before the end, so that both sides are met in the middle of things.
        select.select(list(self.socks.values()), [], [], 0.002)
        for c in list(self.socks):
            self.read(c)
            self.end(c, rng.random() < 0.3)
        self.counts["episodes"] += 1


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def served(port):
    with mqtt.Client(port, "honest") as c:
        c.publish("roost/honest/telemetry", '{"a":1}')
        assert c.puback() == (1, 0)


def check_memory(r, pids, warm, before_fds):
    """Of the connectivity workers; returns the most that one has grown by."""
    most = 0
    for name, kib in warm.items():
        r.wait_for(lambda: descriptors(pids[name]) <= before_fds[name], 20, "descriptors of closed connections given back")
        grown = rss_kib(pids[name]) - kib
        # A sanitizer keeps freed memory for a while.
        limit = 4096 if roost.SLOW == 1 else 400 * 1024
        assert grown < limit, "%s grew by %d KiB after it was warm" % (name, grown)
        most = max(most, grown)
    return most


class Stops:
    """Redis stands still from one episode to another, both chosen by their numbers."""

    def __init__(self, pid):
        self.pid = pid
        self.stopped = False

    def before(self, number):
        turn, at = divmod(number, 256)
        wanted = at < (160 if turn % 8 == 7 else 16) and turn > 0
        if wanted != self.stopped:
            os.kill(self.pid, signal.SIGSTOP if wanted else signal.SIGCONT)
            self.stopped = wanted

    def end(self):
        self.before(0)


def fuzz(seconds, seed, only=None):
    """Returns what was done; fails if anything was broken by it."""
    print("seed %d; again: make fuzz T=live SEED=%d, one episode: SEED=%d:N" % (seed, seed, seed), flush=True)
    connectivity = ["connectivity-%d" % n for n in range(WORKERS)]
    with Roost(dict(SETTINGS, **{"connectivity.replicas": str(WORKERS)}), workers=roost.WORKERS + connectivity[1:]) as r:
        pids = r.pids()
        runner = Runner(r.port, seed)
        before_fds = {name: descriptors(p) for name, p in pids.items()}
        stops = Stops(pids["redis"])

        def memory():
            return {name: rss_kib(pids[name]) for name in connectivity}
        with Load(r, connections=4, rate=200, seconds=int(seconds) + 1, per_device=100 * (int(seconds) + 2)) as load:
            start = time.monotonic()
            warm = None
            number = 0 if only is None else only
            try:
                while True:
                    if REDIS_STOPS:
                        stops.before(number)
                    runner.episode(number)
                    number += 1
                    spent = time.monotonic() - start
                    if warm is None and spent > seconds / 3:
                        warm = memory()
                    if spent > seconds or only is not None:
                        break
                    if number % 256 == 0:
                        served(runner.port)
            except Exception:
                print("broken in or before episode %d of seed %d" % (runner.number, seed))
                raise
            finally:
                stops.end()
            served(r.port)
            load.finish(60 + seconds)
            load.assert_accounted_for()
        died = [line for line in r.log_text().split("\n") if " child.died " in line or " child.overdue " in line]
        assert r.pids() == pids and not died, (pids, r.pids(), died)
        assert all(p["restarts"] == 0 for p in r.status()["processes"]), r.status()["processes"]
        grown = check_memory(r, pids, warm or memory(), before_fds)
        assert not r.log_lines("error"), r.log_lines("error")[:10]
        runner.counts["grown KiB"] = grown
        return runner.counts


def main(argv):
    seed, _, only = (argv[2] if len(argv) > 2 else "%d" % random.SystemRandom().getrandbits(31)).partition(":")
    counts = fuzz(float(argv[1]) if len(argv) > 1 else 60, int(seed), int(only) if only else None)
    print(", ".join("%d %s" % (v, k) for k, v in counts.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
