"""mqtt.py - a bare MQTT client for what well-behaved ones never send, and for reading answers byte for byte"""
import socket
import struct

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xD0, 0xE0


def remaining(n):
    out = b""
    while True:
        n, b = n >> 7, n & 0x7F
        out += bytes([b | (0x80 if n else 0)])
        if not n:
            return out


def string(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(data)) + data


def packet(first, body):
    return bytes([first]) + remaining(len(body)) + body


def connect(client, version=4, clean=True, keep_alive=0):
    body = string("MQTT") + bytes([version, 2 if clean else 0]) + struct.pack(">H", keep_alive)
    return packet(0x10, body + (b"\0" if version == 5 else b"") + string(client))


def publish(topic, payload, packet_id=1, version=4, qos=1, dup=False):
    data = payload if isinstance(payload, bytes) else payload.encode()
    body = string(topic) + (struct.pack(">H", packet_id) if qos else b"") + (b"\0" if version == 5 else b"") + data
    return packet(0x30 | qos << 1 | (8 if dup else 0), body)


class Closed(Exception):
    """The peer ended the connection."""


class Client:
    def __init__(self, port, client=None, version=4, timeout=10, **kw):
        self.version = version
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.rest = b""
        if client is not None:
            self.send(connect(client, version, **kw))
            first, body = self.receive()
            if first != CONNACK or body[1] != 0:
                raise AssertionError("CONNECT was answered with %02x %s" % (first, body.hex()))

    def send(self, data):
        self.sock.sendall(data)

    def publish(self, topic, payload, packet_id=1, **kw):
        self.send(publish(topic, payload, packet_id, self.version, **kw))

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Closed()
        self.rest += data

    def receive(self):
        """(first byte, body) of the next packet. Closed; socket.timeout."""
        while True:
            length, shift, at = 0, 0, 1
            while at < len(self.rest):
                length |= (self.rest[at] & 0x7F) << shift
                shift += 7
                at += 1
                if not self.rest[at - 1] & 0x80:
                    if at + length <= len(self.rest):
                        first, body = self.rest[0], self.rest[at:at + length]
                        self.rest = self.rest[at + length:]
                        return first, body
                    break
            self.more()

    def puback(self):
        """(packet id, reason) of the next packet, which must be a PUBACK."""
        first, body = self.receive()
        if first != PUBACK:
            raise AssertionError("a PUBACK was expected, %02x %s came" % (first, body.hex()))
        return struct.unpack_from(">H", body)[0], body[2] if len(body) > 2 else 0

    def is_answered(self, seconds):
        """True if a packet comes within seconds; it is left for receive()."""
        self.sock.settimeout(seconds)
        try:
            if not self.rest:
                self.more()
            return True
        except socket.timeout:
            return False
        finally:
            self.sock.settimeout(10)

    def wait_closed(self, seconds):
        """Reads until the peer closes; what came before is returned."""
        self.sock.settimeout(seconds)
        try:
            while True:
                self.more()
        except (Closed, ConnectionError):
            return self.rest

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
