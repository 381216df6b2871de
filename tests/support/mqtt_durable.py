"""mqtt_durable.py - a client that keeps its side of the protocol over every end of its connection, and counts what it got

    c = Durable(port, "c", subscribe=[("a/#", 2)])
    c.publish("a/b", "1", 2)
    turn([c, ...], 5, lambda: c.is_done())

What it published is sent again (DUP) after each new CONNECT until its last acknowledgement; QoS 2 PUBLISHes that came are
remembered until PUBREL. It is written from the standard, without Roost's code."""
import select
import socket
import struct
import time

from mqtt import connect, packet, remaining, string

RETRY_S = 0.02


def connect_with(client, clean, will):
    if not will:
        return connect(client, 4, clean)
    body = string("MQTT") + bytes([4, (2 if clean else 0) | 4]) + struct.pack(">H", 0)
    return packet(0x10, body + string(client) + string(will[0]) + string(will[1]))


class Durable:
    def __init__(self, port, client, subscribe=(), clean=False, quota=20):
        self.port = port
        self.client = client
        self.clean = clean
        self.wanted = list(subscribe)
        self.subscribed = not self.wanted
        self.quota = quota
        self.will = None  # (topic, payload)
        self.pick = None  # pick(socket) says whether this connection will do: another worker may be wanted
        self.sock = None
        self.up = False
        self.data = b""
        self.retry_at = 0.0
        self.next_id = 1
        self.waiting = []  # (topic, payload, qos), not sent yet
        self.out = {}  # packet id: [topic, payload, qos, released, sent on some connection]
        self.incoming = set()  # QoS 2 packet ids between PUBLISH and PUBREL
        self.acked = []  # (payload, qos), last acknowledgement seen
        self.got = []  # (topic, payload, qos, retain)
        self.connects = 0
        self.lost_session = 0

    # --- what the test asks for ---

    def publish(self, topic, payload, qos):
        self.waiting.append((topic, payload, qos))

    def is_done(self):
        return self.up and not self.waiting and not self.out and self.subscribed

    def drop(self):
        """The connection ends as a cable is cut."""
        if self.sock:
            self.sock.close()
        self.sock = None
        self.up = False
        self.data = b""
        self.retry_at = time.monotonic() + RETRY_S

    # --- the connection ---

    def begin(self):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        try:
            self.sock.connect(("127.0.0.1", self.port))
        except BlockingIOError:
            pass
        if self.pick and not self.pick(self.sock):
            self.drop()
            return
        self.connects += 1
        self.pending = connect_with(self.client, self.clean, self.will)

    def send(self, data):
        self.pending += data

    def flush(self):
        try:
            n = self.sock.send(self.pending)
            self.pending = self.pending[n:]
        except BlockingIOError:
            pass
        except OSError:
            self.drop()

    def on_readable(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop()
            return
        self.data += data
        while self.sock and self.take():
            pass

    def take(self):
        length, shift, at = 0, 0, 1
        while at < len(self.data):
            length |= (self.data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not self.data[at - 1] & 0x80:
                if at + length > len(self.data):
                    return False
                first, body = self.data[0], self.data[at:at + length]
                self.data = self.data[at + length:]
                self.on_packet(first, body)
                return True
        return False

    # --- packets ---

    def put_publish(self, packet_id):
        topic, payload, qos, _, sent = self.out[packet_id]
        body = string(topic) + struct.pack(">H", packet_id) + payload.encode()
        self.send(packet(0x30 | qos << 1 | (8 if sent else 0), body))
        self.out[packet_id][4] = True

    def put_ack(self, first, packet_id):
        self.send(bytes([first, 2]) + struct.pack(">H", packet_id))

    def on_connack(self, body):
        if body[1] != 0:
            self.drop()
            return
        if not body[0] & 1:
            if self.subscribed and self.wanted and self.connects > 1 and not self.clean:
                self.lost_session += 1
            self.subscribed = not self.wanted
            self.incoming.clear()
        self.up = True
        for packet_id, (_, _, _, released, _) in list(self.out.items()):
            if released:
                self.put_ack(0x62, packet_id)
            else:
                self.put_publish(packet_id)
        if not self.subscribed:
            body = struct.pack(">H", 0xFFFF) + b"".join(string(t) + bytes([q]) for t, q in self.wanted)
            self.send(packet(0x82, body))

    def on_publish(self, first, body):
        qos = first >> 1 & 3
        n = struct.unpack_from(">H", body)[0]
        topic, at = body[2:2 + n].decode(), 2 + n
        packet_id = 0
        if qos:
            packet_id = struct.unpack_from(">H", body, at)[0]
            at += 2
        if qos < 2 or packet_id not in self.incoming:
            self.got.append((topic, body[at:].decode(), qos, first & 1))
        if qos == 1:
            self.put_ack(0x40, packet_id)
        elif qos == 2:
            self.incoming.add(packet_id)
            self.put_ack(0x50, packet_id)

    def on_packet(self, first, body):
        kind = first & 0xF0
        packet_id = struct.unpack_from(">H", body)[0] if len(body) >= 2 else 0
        if kind == 0x20:
            self.on_connack(body)
        elif kind == 0x30:
            self.on_publish(first, body)
        elif kind == 0x40 or kind == 0x70:
            if packet_id in self.out and (kind == 0x40) == (self.out[packet_id][2] == 1):
                entry = self.out.pop(packet_id)
                self.acked.append((entry[1], entry[2]))
        elif kind == 0x50:
            if packet_id in self.out:
                self.out[packet_id][3] = True
            self.put_ack(0x62, packet_id)
        elif kind == 0x60:
            self.incoming.discard(packet_id)
            self.put_ack(0x70, packet_id)
        elif kind == 0x90:
            assert 0x80 not in body[2:], "SUBSCRIBE was refused"
            self.subscribed = True

    def feed(self):
        while self.up and self.waiting and len(self.out) < self.quota:
            topic, payload, qos = self.waiting.pop(0)
            if qos == 0:
                self.send(packet(0x30, string(topic) + payload.encode()))
                continue
            while self.next_id in self.out or self.next_id == 0xFFFF:
                self.next_id = self.next_id % 0xFFFE + 1
            self.out[self.next_id] = [topic, payload, qos, False, False]
            self.put_publish(self.next_id)
            self.next_id = self.next_id % 0xFFFE + 1


def turn(clients, seconds, until=None, each=None):
    """Lets them work for so long, or until the condition holds: then True."""
    deadline = time.monotonic() + seconds
    while True:
        now = time.monotonic()
        if until and until():
            return True
        if now > deadline:
            return False
        if each:
            each()
        for c in clients:
            if c.sock is None and now >= c.retry_at:
                c.begin()
            if c.sock:
                c.feed()
        live = {c.sock: c for c in clients if c.sock}
        readable, writable, _ = select.select(
            list(live), [s for s, c in live.items() if c.pending], [], 0.01)
        for s in writable:
            live[s].flush()
        for s in readable:
            if live[s].sock is s:
                live[s].on_readable()


assert remaining(127) == b"\x7f"
