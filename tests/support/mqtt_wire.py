"""mqtt_wire.py - MQTT 3.1, 3.1.1 and 5.0 field by field: every packet that a client may send, every answer taken apart

Shares no code with Roost. What must not come is asked for with a PINGREQ: whatever was on its way stands before its answer.
"""
import struct

import mqtt
from mqtt import packet, string

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

# name: (identifier, kind); MQTT 5 table 2-4
PROPERTIES = {
    "payload_format": (0x01, "B"), "message_expiry": (0x02, "I"), "content_type": (0x03, "s"), "response_topic": (0x08, "s"),
    "correlation": (0x09, "b"), "subscription_id": (0x0B, "v"), "session_expiry": (0x11, "I"), "assigned_id": (0x12, "s"),
    "server_keep_alive": (0x13, "H"), "auth_method": (0x15, "s"), "auth_data": (0x16, "b"), "problem_info": (0x17, "B"),
    "will_delay": (0x18, "I"), "response_info": (0x19, "B"), "response_information": (0x1A, "s"),
    "server_reference": (0x1C, "s"), "reason_string": (0x1F, "s"), "receive_maximum": (0x21, "H"),
    "alias_maximum": (0x22, "H"), "alias": (0x23, "H"), "maximum_qos": (0x24, "B"), "retain_available": (0x25, "B"),
    "user": (0x26, "p"), "packet_max": (0x27, "I"), "wildcard_available": (0x28, "B"),
    "subscription_id_available": (0x29, "B"), "shared_available": (0x2A, "B"),
}
BY_ID = {number: (name, kind) for name, (number, kind) in PROPERTIES.items()}
REPEATED = ("user", "subscription_id")

# What a server may say in 5.0: reasons, and properties (table 2-4).
TAKEN = (0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
REASONS = {
    CONNACK: (0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
              0x9C, 0x9D, 0x9F),
    PUBACK: TAKEN, PUBREC: TAKEN, PUBREL: (0x00, 0x92), PUBCOMP: (0x00, 0x92),
    SUBACK: (0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2),
    UNSUBACK: (0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91),
    DISCONNECT: (0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
                 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2),
    AUTH: (0x00, 0x18),
}
SAID = {
    CONNACK: {"session_expiry", "assigned_id", "server_keep_alive", "auth_method", "auth_data", "response_information",
              "server_reference", "reason_string", "receive_maximum", "alias_maximum", "maximum_qos", "retain_available", "user",
              "packet_max", "wildcard_available", "subscription_id_available", "shared_available"},
    PUBLISH: {"payload_format", "message_expiry", "content_type", "response_topic", "correlation", "subscription_id", "alias",
              "user"},
    DISCONNECT: {"server_reference", "reason_string", "user"},
    AUTH: {"auth_method", "auth_data", "reason_string", "user"},
}
for _kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK):
    SAID[_kind] = {"reason_string", "user"}


def properties(**named):
    """The section with its length; a list gives a property as often as it has elements."""
    out = b""
    for name, value in named.items():
        number, kind = PROPERTIES[name]
        for v in value if isinstance(value, list) else [value]:
            out += bytes([number])
            if kind in "BHI":
                out += struct.pack(">" + kind, v)
            elif kind == "v":
                out += mqtt.remaining(v)
            elif kind == "p":
                out += string(v[0]) + string(v[1])
            else:
                out += string(v)
    return mqtt.remaining(len(out)) + out


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, n):
        assert self.at + n <= len(self.data), "packet ends within a field: %s" % self.data.hex()
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0]

    def varint(self):
        value, shift = 0, 0
        while True:
            b = self.number("B")
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                return value

    def text(self):
        return self.take(self.number("H"))

    def left(self):
        return len(self.data) - self.at

    def properties(self):
        """{name: value}; user properties and subscription identifiers as lists, in their order."""
        end = self.varint() + self.at
        found = {}
        while self.at < end:
            name, kind = BY_ID[self.number("B")]
            if kind in "BHI":
                value = self.number(kind)
            elif kind == "v":
                value = self.varint()
            elif kind == "p":
                value = (self.text(), self.text())
            else:
                value = self.text()
            if name in REPEATED:
                found.setdefault(name, []).append(value)
            else:
                assert name not in found, name
                found[name] = value
        assert self.at == end
        return found


class Packet:
    """What a server sent. kind, flags, and of its fields those that it has."""

    def __init__(self, first, body, version):
        self.kind, self.flags, self.raw = first >> 4, first & 15, body
        self.packet_id = self.reason = None
        self.properties = {}
        r = Reader(body)
        if self.kind == PUBLISH:
            self.dup, self.qos, self.retain = bool(first & 8), first >> 1 & 3, bool(first & 1)
            self.topic = r.text().decode()
            if self.qos:
                self.packet_id = r.number("H")
            if version == 5:
                self.properties = r.properties()
            self.payload = r.take(r.left())
        elif self.kind == CONNACK:
            self.session_present, self.reason = r.number("B"), r.number("B")
            if version == 5:
                self.properties = r.properties()
        elif self.kind in (SUBACK, UNSUBACK):
            self.packet_id = r.number("H")
            if version == 5:
                self.properties = r.properties()
            self.codes = list(r.take(r.left()))
        elif self.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.packet_id = r.number("H")
            self.reason = r.number("B") if r.left() else 0
            if r.left():
                self.properties = r.properties()
        elif self.kind in (DISCONNECT, AUTH):
            self.reason = r.number("B") if r.left() else 0
            if r.left():
                self.properties = r.properties()
        assert r.left() == 0, "bytes left over: %02x %s" % (first, body.hex())
        self.check(version)

    def check(self, version):
        """What no server may send, whatever was said before.

        5.0: MQTT-2.1.3-1, MQTT-2.2.1-2, -4, MQTT-3.2.2-1, -6, -8, -20, MQTT-3.3.1-2, -4, MQTT-3.3.2-1, -2, MQTT-3.4.2-1, -3,
        MQTT-3.5.2-1, -3, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2, MQTT-3.14.2-1, -2, -4, MQTT-4.12.0-6.
        3.1.1: MQTT-2.2.2-1, MQTT-2.3.1-1, MQTT-3.2.2-4, MQTT-3.3.1-2, -4, MQTT-3.3.2-2, MQTT-3.9.3-2."""
        if self.kind == PUBLISH:
            assert self.qos < 3 and not (self.dup and self.qos == 0) and self.packet_id != 0, self
            assert (self.topic or "alias" in self.properties) and not set(self.topic) & set("+#\0"), self
            assert self.properties.get("alias") != 0, self
        else:
            assert self.flags == (2 if self.kind == PUBREL else 0), self
        assert self.kind in SAID or self.kind == PINGRESP, self
        if self.kind == CONNACK:
            assert self.session_present in ((0, 1) if self.reason == 0 else (0,)), self
        assert set(self.properties) <= SAID.get(self.kind, set()), self
        codes = getattr(self, "codes", [self.reason] if self.reason is not None else [])
        if version == 5:
            assert self.kind == PUBLISH or set(codes) <= set(REASONS.get(self.kind, ())), self
        elif self.kind == CONNACK:
            assert self.reason <= 5, self
        elif self.kind == SUBACK:
            assert set(codes) <= ({0, 1, 2, 0x80} if version == 4 else {0, 1, 2}), self
        else:
            assert self.kind not in (DISCONNECT, AUTH) and len(self.raw) == (0 if self.kind == PINGRESP else 2) or \
                self.kind == PUBLISH, self

    def __repr__(self):
        return "Packet(%s)" % ", ".join("%s=%r" % kv for kv in sorted(vars(self).items()))


def connect(client, version=4, clean=True, keep_alive=0, user=None, password=None, will=None, will_qos=0, will_retain=False,
            will_properties=None, flags=None, name=None, level=None, **props):
    """will: (topic, payload). flags, name and level replace what follows from the rest."""
    bits = (2 if clean else 0) | (128 if user is not None else 0) | (64 if password is not None else 0)
    if will:
        bits |= 4 | will_qos << 3 | (32 if will_retain else 0)
    body = string(name or ("MQIsdp" if version == 3 else "MQTT"))
    body += bytes([version if level is None else level, bits if flags is None else flags]) + struct.pack(">H", keep_alive)
    if version == 5:
        body += properties(**props)
    body += string(client)
    if will:
        body += (properties(**(will_properties or {})) if version == 5 else b"") + string(will[0]) + string(will[1])
    for field in (user, password):
        body += string(field) if field is not None else b""
    return packet(0x10, body)


def publish(topic, payload=b"", qos=0, packet_id=1, version=4, retain=False, dup=False, **props):
    body = string(topic) + (struct.pack(">H", packet_id) if qos else b"")
    body += properties(**props) if version == 5 else b""
    return packet(0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0),
                  body + (payload if isinstance(payload, bytes) else payload.encode()))


def subscribe(filters, packet_id=1, version=4, **props):
    """filters: (filter, options), ..."""
    body = struct.pack(">H", packet_id) + (properties(**props) if version == 5 else b"")
    return packet(0x82, body + b"".join(string(f) + bytes([o]) for f, o in filters))


def unsubscribe(filters, packet_id=1, version=4, **props):
    body = struct.pack(">H", packet_id) + (properties(**props) if version == 5 else b"")
    return packet(0xA2, body + b"".join(string(f) for f in filters))


def ack(kind, packet_id, reason=None):
    body = struct.pack(">H", packet_id) + (b"" if reason is None else bytes([reason]))
    return packet(kind << 4 | (2 if kind == PUBREL else 0), body)


def disconnect(reason=None, **props):
    return packet(0xE0, b"" if reason is None else bytes([reason]) + (properties(**props) if props else b""))


class Client(mqtt.Client):
    """Connected at once, unless accept is False: then the CONNACK is left to the caller."""

    def __init__(self, port, client="", version=4, accept=True, timeout=10, **kw):
        super().__init__(port, version=version, timeout=timeout)
        self.early = []  # messages that came while an answer was waited for
        self.send(connect(client, version, **kw))
        self.connack = None
        if accept:
            self.connack = self.expect(CONNACK)
            assert self.connack.reason == 0, self.connack

    def next(self):
        first, body = self.receive()
        return Packet(first, body, self.version)

    def expect(self, kind):
        if kind == PUBLISH and self.early:
            return self.early.pop(0)
        got = self.next()
        while got.kind == PUBLISH != kind:
            self.early.append(got)
            got = self.next()
        assert got.kind == kind, "%d was expected: %r" % (kind, got)
        return got

    def message(self, answer=True):
        """The next packet, a PUBLISH; acknowledged at QoS 1."""
        got = self.expect(PUBLISH)
        if answer and got.qos == 1:
            self.send(ack(PUBACK, got.packet_id))
        return got

    def nothing(self):
        """Nothing is on its way to this client."""
        self.send(b"\xc0\0")
        self.expect(PINGRESP)
        assert not self.early, "nothing was expected: %r" % self.early

    def messages(self, answer=True):
        """All that is on its way."""
        self.send(b"\xc0\0")
        self.expect(PINGRESP)
        found, self.early = self.early, []
        for got in found:
            if answer and got.qos == 1:
                self.send(ack(PUBACK, got.packet_id))
        return found

    def put(self, topic, payload=b"", qos=1, packet_id=1, **kw):
        """Publishes and returns the answer: what was on its way to subscribers was on its way before."""
        self.send(publish(topic, payload, qos, packet_id, self.version, **kw))
        if qos == 0:
            return None
        answer = self.expect(PUBACK if qos == 1 else PUBREC)
        assert answer.packet_id == packet_id, answer
        return answer

    def sub(self, *filters, packet_id=1, **props):
        """filters: a filter (QoS 2), or (filter, options). The codes of the SUBACK; retained messages follow it."""
        pairs = [f if isinstance(f, tuple) else (f, 2) for f in filters]
        self.send(subscribe(pairs, packet_id, self.version, **props))
        answer = self.expect(SUBACK)
        assert answer.packet_id == packet_id and len(answer.codes) == len(pairs), answer
        return answer.codes

    def unsub(self, *filters, packet_id=1):
        self.send(unsubscribe(filters, packet_id, self.version))
        answer = self.expect(UNSUBACK)
        assert answer.packet_id == packet_id, answer
        return answer.codes

    def end(self, reason=None, **props):
        self.send(disconnect(reason, **props))
        rest = self.wait_closed(10)
        self.close()
        return rest

    def closed(self):
        """The packets that come until the server closes."""
        self.wait_closed(10)
        found = []
        while len(self.rest) >= 2:
            first, body = self.receive()
            found.append(Packet(first, body, self.version))
        return found
