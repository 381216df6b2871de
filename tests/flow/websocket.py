"""MQTT over WebSocket: with paho, and with a bare client for what paho would not send."""
import threading

import mqtt
import roost
import ws
from foreign import paho
from roost import Roost

LISTEN = {"mqtt_ws.listen": "127.0.0.1:0"}


class Paho:
    """A paho client over WebSocket whose callbacks only note what came."""

    def __init__(self, port, name, version=paho.MQTTv311, path="/mqtt"):
        self.got = []
        self.acked = set()
        self.up = threading.Event()
        self.subscribed = threading.Event()
        self.c = paho.Client(name, transport="websockets", protocol=version)
        self.c.ws_set_options(path=path)
        self.c.on_connect = lambda *_: self.up.set()
        self.c.on_subscribe = lambda *_: self.subscribed.set()
        self.c.on_message = lambda _c, _u, m: self.got.append((m.topic, m.payload))
        self.c.on_publish = lambda _c, _u, mid: self.acked.add(mid)
        self.c.connect("127.0.0.1", port)
        self.c.loop_start()
        assert self.up.wait(10 * roost.SLOW), "no CONNACK"

    def subscribe(self, topic, qos):
        self.c.subscribe(topic, qos)
        assert self.subscribed.wait(10 * roost.SLOW), "no SUBACK"

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


def test_paho_publishes_and_subscribes():
    with Roost(LISTEN) as r:
        port = r.port_of("mqtt-ws")
        for version in (paho.MQTTv31, paho.MQTTv311, paho.MQTTv5):
            name = "v%d" % version
            sub = Paho(port, "sub-" + name, version)
            sub.subscribe(name + "/#", 1)
            pub = Paho(port, "pub-" + name, version, path="/")
            # Longer than a frame that Roost sends, and than one read.
            payloads = [b"x", b"", b"y" * 70000, b"z" * 200000]
            for payload in payloads:
                pub.c.publish(name + "/a", payload, qos=1)
            r.wait_for(lambda: len(sub.got) >= len(payloads), 10, "the messages")
            assert sub.got == [(name + "/a", p) for p in payloads], [(t, len(p)) for t, p in sub.got]
            r.wait_for(lambda: len(pub.acked) == len(payloads), 10, "PUBACKs")
            pub.close()
            sub.close()


def test_a_reading_over_websocket_is_durable_before_its_puback():
    with Roost(LISTEN) as r:
        with ws.Client(r.port_of("mqtt-ws"), "gh-1") as c:
            for n in range(20):
                c.publish("roost/gh-1/telemetry", '{"ts":%d,"temperature":%d}' % (1700000000 + n, n), packet_id=n + 1)
            for n in range(20):
                assert c.puback() == (n + 1, 0)
        r.kill_all()
        r.start()
        r.wait_for(lambda: len(r.query("gh-1", "temperature")) == 20, 15, "all that was acknowledged")


def test_packets_begin_and_end_anywhere_in_frames():
    """MQTT-6.0.0-2."""
    with Roost(LISTEN) as r:
        port = r.port_of("mqtt-ws")
        for each in (1, 2, 3, 7, 100):
            with ws.Client(port, "pieces", each=each) as c:
                c.publish("roost/gh-%d/telemetry" % each, '{"a":%d}' % each, packet_id=each)
                assert c.puback() == (each, 0)
        with ws.Socket(port) as s:  # all in one frame, behind CONNECT, and a message of several frames with a ping within
            packets = mqtt.connect("at-once") + b"".join(mqtt.publish("roost/gh-0/telemetry", '{"a":1}', n) for n in range(1, 51))
            s.send(ws.frame(ws.BINARY, packets[:100], fin=False) + ws.frame(ws.PING, b"alive?") +
                   ws.frame(ws.CONTINUATION, packets[100:101], fin=False) + ws.frame(ws.CONTINUATION, b"", fin=False) +
                   ws.frame(ws.CONTINUATION, packets[101:]))
            got, pongs = b"", []
            while len(got) < 4 + 50 * 4:
                opcode, payload = s.frame()
                if opcode == ws.PONG:
                    pongs.append(payload)
                else:
                    got += payload
            assert pongs == [b"alive?"], pongs
            assert got == b"\x20\x02\x00\x00" + b"".join(bytes([0x40, 2, 0, n]) for n in range(1, 51)), got.hex()
            s.send(ws.frame(ws.CLOSE, b"\x03\xe8bye"))
            assert s.close_code() == 1000
        with ws.Socket(port) as s:  # frames in one packet with the handshake's last bytes, and the handshake in pieces
            s.close()
        with ws.Socket(port, open=False) as s:
            text = ws.request() + ws.frame(ws.BINARY, mqtt.connect("hasty"))
            for i in range(0, len(text), 11):
                s.send(text[i:i + 11])
            assert s.answer()[0] == 101
            assert s.frame() == (ws.BINARY, b"\x20\x02\x00\x00")


def test_a_packet_that_claims_more_than_its_frame_holds():
    """NanoMQ CVE-2026-25627: the rest of it is what the next frames bring, not what lies behind this one in memory."""
    with Roost(LISTEN) as r:
        port = r.port_of("mqtt-ws")
        with ws.Client(port, "sub") as sub, ws.Client(port, "pub") as pub:
            sub.send(mqtt.packet(0x82, b"\0\1" + mqtt.string("cut") + b"\0"))
            assert sub.receive()[0] == mqtt.SUBACK
            whole = mqtt.publish("cut", b"p" * 3000)
            for at in (1, 2, 3, 5, 8, 9, 100):
                pub.ws.send(ws.frame(ws.BINARY, whole[:at]))
                assert not pub.is_answered(0.02)
                pub.ws.send(ws.frame(ws.BINARY, whole[at:-1]) + ws.frame(ws.BINARY, b"") + ws.frame(ws.BINARY, whole[-1:]))
                assert pub.puback() == (1, 0)
                assert sub.receive() == (mqtt.PUBLISH, mqtt.string("cut") + b"p" * 3000)


def test_a_large_packet_in_many_frames():
    with Roost(LISTEN) as r:
        port = r.port_of("mqtt-ws")
        with ws.Client(port, "sub") as sub, ws.Client(port, "pub", each=1000) as pub:
            sub.send(mqtt.packet(0x82, b"\0\1" + mqtt.string("big") + b"\0"))
            assert sub.receive()[0] == mqtt.SUBACK
            payload = bytes(range(256)) * 900
            pub.publish("big", payload)
            assert pub.puback() == (1, 0)
            first, body = sub.receive()
            assert first == mqtt.PUBLISH and body == mqtt.string("big") + payload


REFUSED = [
    (ws.request(path="/elsewhere"), 404, "/mqtt"),
    (ws.request(path="/mqtt/"), 404, "/mqtt"),
    (ws.request(first="POST /mqtt HTTP/1.1"), 405, "GET"),
    (ws.request(first="GET /mqtt HTTP/1.0"), 505, "1.1"),
    (b"GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n", 426, "Upgrade"),
    (ws.request(Sec_WebSocket_Version="8"), 426, "13"),
    (ws.request(protocol=None), 400, "subprotocol"),
    (ws.request(protocol="chat, MQTT"), 400, "subprotocol"),
    (ws.request(Sec_WebSocket_Key="short"), 400, "Key"),
    (ws.request(Sec_WebSocket_Key=None), 400, "Key"),
    (ws.request(Host=None), 400, "Host"),
    (ws.request(Content_Length="3"), 400, "body"),
    (ws.request(Origin="https://evil.example"), 403, "origin"),
    (ws.request(X_Long="a" * 9000), 431, "8192"),
    (b"GET /mqtt HTTP/1.1\nHost: a\n\n", 400, "line end"),
    (mqtt.connect("lost"), 400, "MQTT without WebSocket"),
]


def test_a_refused_handshake_says_why():
    with Roost(LISTEN) as r:
        port = r.port_of("mqtt-ws")
        for text, status, word in REFUSED:
            with ws.Socket(port, open=False) as s:
                s.send(text)
                got, headers, body = s.answer()
                assert got == status and word in body, (text[:60], got, body)
                assert headers["connection"].startswith("close")
                if status == 426:
                    assert headers["upgrade"] == "websocket" and headers["sec-websocket-version"] == "13"
                try:
                    s.more()
                    raise AssertionError("not closed after %d" % status)
                except (mqtt.Closed, ConnectionError):
                    pass
        for text in (ws.request(Origin="http://localhost"), ws.request(protocol="x, mqttv3.1 ,mqtt", path="/mqtt?token=1")):
            with ws.Socket(port, open=False) as s:
                s.send(text)
                status, headers, _ = s.answer()
                assert status == 101 and headers["sec-websocket-protocol"] in ("mqtt", "mqttv3.1")


def test_a_handshake_that_does_not_end_is_closed_by_deadline():
    with Roost({**LISTEN, "mqtt.connect_timeout": "500ms"}) as r:
        with ws.Socket(r.port_of("mqtt-ws"), open=False) as s:
            s.send(ws.request()[:40])
            try:
                s.more()
            except (mqtt.Closed, ConnectionError):
                return
            raise AssertionError("it was answered: %s" % s.rest)


BROKEN = [
    ("text", ws.frame(ws.TEXT, b"\x10"), 1003),
    ("not masked", ws.frame(ws.BINARY, b"\x10", mask=False), 1002),
    ("reserved bits", ws.frame(ws.BINARY, b"\x10", rsv=4), 1002),
    ("unknown data frame", ws.frame(3, b"\x10"), 1002),
    ("unknown control frame", ws.frame(11, b""), 1002),
    ("continuation of nothing", ws.frame(ws.CONTINUATION, b"\x10"), 1002),
    ("message within a message", ws.frame(ws.BINARY, b"\x10", fin=False) + ws.frame(ws.BINARY, b"\x10"), 1002),
    ("long ping", ws.frame(ws.PING, b"x" * 126), 1002),
    ("ping in pieces", ws.frame(ws.PING, b"x", fin=False), 1002),
    ("huge frame", ws.frame(ws.BINARY, b"\x10", length=1 << 40), 1009),
    ("length with its highest bit", ws.frame(ws.BINARY, b"\x10", length=1 << 63), 1002),
    ("length in more bytes than it needs", bytes([0x82, 0xfe, 0, 5]) + b"\0" * 9, 1002),
    ("close of one byte", ws.frame(ws.CLOSE, b"\x03"), 1002),
    ("close with a code that is none", ws.frame(ws.CLOSE, b"\x03\xed"), 1002),
    ("close with no UTF-8", ws.frame(ws.CLOSE, b"\x03\xe8\xff"), 1007),
    ("close without a code", ws.frame(ws.CLOSE), 0),
    ("close of an application", ws.frame(ws.CLOSE, b"\x0f\xa0bye"), 4000),
]


def test_broken_frames_are_closed_with_their_code():
    """MQTT-6.0.0-1, and RFC 6455."""
    with Roost(LISTEN) as r:
        port = r.port_of("mqtt-ws")
        pid = r.pid_of("connectivity-0")
        for name, text, code in BROKEN:
            for before in (b"", ws.frame(ws.BINARY, mqtt.connect("breaker"))):
                with ws.Socket(port) as s:
                    s.send(before + text)
                    got = s.close_code()
                    assert got == code, (name, got)
        assert r.pid_of("connectivity-0") == pid


def test_the_will_of_a_connection_that_breaks_off():
    with Roost(LISTEN) as r:
        port = r.port_of("mqtt-ws")
        body = mqtt.string("MQTT") + b"\x04\x06\0\0" + mqtt.string("mortal") + mqtt.string("wills") + mqtt.string("gone")
        for end in (ws.frame(ws.CLOSE, b"\x03\xe9"), ws.frame(ws.TEXT, b"x"), None):
            with ws.Client(port, "heir") as heir, ws.Socket(port) as s:
                heir.send(mqtt.packet(0x82, b"\0\1" + mqtt.string("wills") + b"\0"))
                assert heir.receive()[0] == mqtt.SUBACK
                s.send(ws.frame(ws.BINARY, mqtt.packet(0x10, body)))
                assert s.frame() == (ws.BINARY, b"\x20\x02\x00\x00")
                if end:
                    s.send(end)
                else:
                    s.close()
                assert heir.receive() == (mqtt.PUBLISH, mqtt.string("wills") + b"gone")
        with ws.Client(port, "heir") as heir, ws.Socket(port) as s:  # DISCONNECT in one frame with others, then Close: no will
            heir.send(mqtt.packet(0x82, b"\0\1" + mqtt.string("wills") + b"\0"))
            assert heir.receive()[0] == mqtt.SUBACK
            s.send(ws.frame(ws.BINARY, mqtt.packet(0x10, body) + b"\xe0\0") + ws.frame(ws.CLOSE, b"\x03\xe8"))
            assert s.close_code() == 1000
            heir.publish("wills", "none before this")
            assert heir.receive()[0] == mqtt.PUBACK  # who hears itself is answered first
            assert heir.receive() == (mqtt.PUBLISH, mqtt.string("wills") + b"none before this")


def test_pings_without_end_take_no_memory():
    with Roost(LISTEN) as r:
        port = r.port_of("mqtt-ws")
        pid = r.pid_of("connectivity-0")
        before = roost.rss_kib(pid)
        pings = ws.frame(ws.PING, b"p" * 125) * 500
        flooder = ws.Socket(port)
        flooder.sock.setblocking(False)
        sent = 0
        try:  # it never reads
            while sent < 64 << 20:
                sent += flooder.sock.send(pings)
        except BlockingIOError:
            pass
        with ws.Client(port, "other") as c:
            c.publish("roost/gh-1/telemetry", '{"a":1}')
            assert c.puback() == (1, 0)
        assert roost.rss_kib(pid) - before < 8 * 1024, (before, roost.rss_kib(pid), sent)
        flooder.close()


if __name__ == "__main__":
    roost.main(globals())
