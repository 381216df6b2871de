"""Ten thousand devices come at once, each with a credential of its own, to a worker that knows none of them; others publish meanwhile."""
import csv
import errno
import io
import os
import re
import resource
import select
import socket
import time

import mqtt
import roost
from devices import done
from load import Load
from roost import Roost

ALONE = True
THOROUGH_ONLY = True
DEVICES = int(os.environ.get("STORM", "10000"))
SERVED_S = 30
RATE = 2000
SECONDS = 12
ROUNDS = 3


class Storm:
    """Every device connects at once; who is told to come again later does so then, as it is told."""

    def __init__(self, port, tokens, version=5):
        self.port = port
        self.packets = [self.packet(n, t, version) for n, t in enumerate(tokens)]
        self.poll = select.epoll()
        self.open = {}  # descriptor -> (socket, device)
        self.up = {}  # device -> socket
        self.later = []  # (when, device)
        self.put_off = 0
        self.latencies = []

    @staticmethod
    def packet(n, token, version):
        body = mqtt.string("MQTT") + bytes([version, 0x82, 0, 0]) + (b"\0" if version == 5 else b"")
        return mqtt.packet(0x10, body + mqtt.string("storm-%d" % n) + mqtt.string(token))

    def connect(self, device):
        s = socket.socket()
        s.setblocking(False)
        code = s.connect_ex(("127.0.0.1", self.port))
        assert code in (0, errno.EINPROGRESS), os.strerror(code)
        self.open[s.fileno()] = (s, device)
        self.poll.register(s.fileno(), select.EPOLLOUT)

    def answered(self, s, device, data):
        if not data:  # closed before it was served: again
            self.later.append((time.monotonic() + 0.5, device))
            s.close()
            return
        code = data[3]
        if code == 0:
            self.up[device] = s
            self.latencies.append(time.monotonic() - self.since)
            return
        hint = re.search(rb"retry in (\d+) ms", data)
        assert code == 0x9F and hint, data
        self.put_off += 1
        self.later.append((time.monotonic() + int(hint.group(1)) / 1000, device))
        s.close()

    def turn(self, at_once):
        for fd, event in self.poll.poll(0.01, 1000):
            s, device = self.open[fd]
            if event & select.EPOLLOUT:
                s.send(self.packets[device])
                self.poll.modify(fd, select.EPOLLIN)
                continue
            try:
                data = s.recv(4096)
            except OSError:
                data = b""
            self.poll.unregister(fd)
            del self.open[fd]
            self.answered(s, device, data)
        now = time.monotonic()
        due = [d for at, d in self.later if at <= now][:at_once]
        if due:
            chosen = set(due)
            self.later = [(at, d) for at, d in self.later if d not in chosen]
            for device in due:
                self.connect(device)

    def run(self, seconds):
        self.since = time.monotonic()
        self.later = [(self.since, n) for n in range(len(self.packets))]
        while len(self.up) < len(self.packets):
            assert time.monotonic() - self.since < seconds, "%d of %d after %d s" % (len(self.up), len(self.packets), seconds)
            self.turn(2000)
        return time.monotonic() - self.since

    def close(self):
        for s in list(self.up.values()) + [s for s, _ in self.open.values()]:
            s.close()
        self.poll.close()


def tokens_of(r, n):
    path = os.path.join(r.folder, "devices.csv")
    r.write(path, "id\n" + "".join("storm-%d\n" % i for i in range(n)))
    out = done(r, "import", path)
    rows = list(csv.reader(io.StringIO(out.stdout)))
    assert len(rows) == n, (len(rows), out.stderr)
    return [row[1] for row in rows]


def steady(r, prefix, storm=None):
    """What the load generator says of SECONDS at RATE; and how long the storm took."""
    took = None
    with Load(r, connections=50, window=4, rate=RATE, seconds=SECONDS, drain=30, prefix=prefix) as load:
        r.wait_for(lambda: load.acked() > RATE // 2, 20, "the first acknowledgements")
        if storm:
            took = storm.run(SERVED_S)
        return load.finish(120), took


def test_ten_thousand_at_once():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DEVICES + 500), hard))
    # The first listener is this machine's own, for steady traffic; the second asks everybody for a credential.
    with Roost({"mqtt.listen": "127.0.0.1:0,0.0.0.0:0"}) as r:
        tokens = tokens_of(r, DEVICES)
        for n in range(ROUNDS):
            calm, _ = steady(r, "calm%d" % n)
            pid = r.pid_of("connectivity-0")
            os.kill(pid, 9)  # whoever comes now is known to nobody
            r.wait_for(lambda: r.pid_of("connectivity-0") != pid and r.all_up(), 20, "a new worker")
            storm = Storm(r.port_of("mqtt", 1), tokens)
            try:
                windy, took = steady(r, "windy%d" % n, storm)
            finally:
                storm.close()
            metrics = r.cli("metrics").stdout
            assert int(re.search(r"auth_granted_total\S* (\d+)", metrics).group(1)) >= DEVICES
            roost.note("storm of %d: served in %.1f s, %d told to come later; PUBACK p99 %.2f ms before, %.2f ms meanwhile" % (
                DEVICES, took, storm.put_off, calm["p99_ms"], windy["p99_ms"]))
            assert took < SERVED_S


if __name__ == "__main__":
    roost.main(globals())
