"""The PROXY protocol: HAProxy as a real sender, and headers that must not be believed."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

import mqtt
import roost
import ws
from roost import Roost

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 1883\r\n"
ADDRESSES = bytes([192, 0, 2, 1, 127, 0, 0, 1]) + struct.pack(">HH", 40000, 1883)


def v2(command=1, family=0x11, body=ADDRESSES):
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack(">H", len(body)) + body


def closed_without_a_word(sock):
    sock.settimeout(10 * roost.SLOW)
    try:
        return sock.recv(100) == b""
    except ConnectionError:
        return True


def connack(port, header, client="c", cut=0):
    """The return code of CONNECT behind this header; None: closed without one. cut: bytes at a time."""
    with mqtt.Client(port) as c:
        text = header + mqtt.connect(client)
        try:
            for i in range(0, len(text), cut or len(text)):
                c.send(text[i:i + (cut or len(text))])
            return c.receive()[1][1]
        except (mqtt.Closed, ConnectionError):
            return None


class HaProxy:
    """In front of a port of ours, sending what its option says: send-proxy, send-proxy-v2."""

    def __init__(self, target, option):
        with socket.socket() as s:  # HAProxy takes a free port only by number
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="roost-test-haproxy-")
        path = os.path.join(self.folder, "haproxy.cfg")
        with open(path, "w", encoding="utf-8") as f:
            f.write("defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
                    "listen mqtt\n bind 127.0.0.1:%d\n server roost 127.0.0.1:%d %s\n" % (self.port, target, option))
        haproxy = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        self.proc = subprocess.Popen([haproxy, "-db", "-q", "-f", path], stdin=subprocess.DEVNULL)
        roost.wait_for(self.listens, 10, "HAProxy to listen")

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except ConnectionError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(10 * roost.SLOW)
        shutil.rmtree(self.folder)


def test_haproxy_speaks_for_clients():
    listen = {"mqtt.listen": "127.0.0.1:0,127.0.0.1:0", "mqtt.proxy_protocol": "off,any",
              "mqtt_ws.listen": "127.0.0.1:0", "mqtt_ws.proxy_protocol": "v2"}
    with Roost(listen) as r:
        behind = r.port_of("mqtt", 1)
        for option in ("send-proxy", "send-proxy-v2"):
            with HaProxy(behind, option) as h, mqtt.Client(h.port, "dev-" + option) as c:
                c.publish("roost/dev-%s/telemetry" % option, '{"a":1}')
                assert c.puback() == (1, 0)
                name = c.sock.getsockname()
                c.send(b"\xf0\0")  # AUTH, which 3.1.1 does not know
                c.wait_closed(10 * roost.SLOW)
                r.wait_log(r"mqtt.fault .*peer=%s:%d " % name, 10)
        with HaProxy(r.port_of("mqtt-ws"), "send-proxy-v2") as h, ws.Client(h.port, "browser") as c:
            c.publish("roost/browser/telemetry", '{"a":1}')
            assert c.puback() == (1, 0)


def test_a_client_behind_a_proxy_is_not_on_this_machine():
    with Roost({"mqtt.proxy_protocol": "any"}) as r:  # auth.anonymous is loopback
        unix = v2(family=0x31, body=b"/client".ljust(108, b"\0") + b"/roost".ljust(108, b"\0"))
        cases = [
            ("v1, elsewhere", V1, 5), ("v2, elsewhere", v2(), 5),
            ("v1, unknown", b"PROXY UNKNOWN\r\n", 5), ("v2, unspecified", v2(family=0, body=b""), 5),
            ("v6, elsewhere", b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", 5),
            ("v1, here", b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 1883\r\n", 0),
            ("v2, the proxy itself", v2(command=0), 0), ("v2, a client on the proxy's machine", unix, 0),
            ("v2, TLVs", v2(body=ADDRESSES + b"\x20\0\5\1\0\0\0\0" * 300), 5),
        ]
        for name, header, want in cases:
            for cut in (0, 5):
                got = connack(r.port, header, cut=cut)
                assert got == want, (name, cut, got)
        r.wait_log(r"mqtt.connect_refused peer=192\.0\.2\.1:40000 ", 10)


def test_a_connection_without_the_header_is_closed():
    with Roost({"mqtt.proxy_protocol": "v2", "mqtt.connect_timeout": "1s"}) as r:
        for name, header in [("none", b""), ("v1", V1), ("twice", v2(command=0) * 2), ("broken", v2()[:-1] + b"\xff" * 20),
                             ("too long", SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 5000)]:
            got = connack(r.port, header)
            assert got is None or (name == "broken" and got == 5), (name, got)
        with mqtt.Client(r.port) as c:  # by deadline
            c.send(v2()[:20])
            assert closed_without_a_word(c.sock)
        assert connack(r.port, v2(command=0)) == 0


def test_only_trusted_proxies_are_let_in():
    with Roost({"mqtt.proxy_protocol": "any", "proxy.trusted": "127.0.0.7,10.0.0.0/8"}) as r:
        assert connack(r.port, V1) is None
        r.wait_log(r"listener.untrusted peer=127\.0\.0\.1:", 10)
        with socket.socket() as s:
            s.bind(("127.0.0.7", 0))
            s.connect(("127.0.0.1", r.port))
            s.sendall(v2(command=0) + mqtt.connect("trusted"))
            s.settimeout(10 * roost.SLOW)
            assert s.recv(4) == b"\x20\x02\x00\x00"
    with Roost() as r:  # where no header is asked for, none is taken for anything but bad MQTT
        assert connack(r.port, v2(command=0)) is None
        assert connack(r.port, b"") == 0


def test_each_address_has_its_limit():
    with Roost({"mqtt.listen": "127.0.0.1:0,127.0.0.1:0", "mqtt.proxy_protocol": "off,v1", "mqtt.connections_per_address": "2",
                "auth.anonymous": "true"}) as r:
        direct, behind = r.port_of("mqtt"), r.port_of("mqtt", 1)

        def client(port, name, header=b""):
            c = mqtt.Client(port)
            c.send(header + mqtt.connect(name))
            try:
                return c if c.receive()[1][1] == 0 else None
            except (mqtt.Closed, ConnectionError):
                return None

        def header(last):
            return b"PROXY TCP4 192.0.2.%d 127.0.0.1 40000 1883\r\n" % last
        first, second = client(direct, "a"), client(direct, "b")
        assert first and second and not client(direct, "c")
        for last in (1, 2, 3):  # the proxy is one address, its clients are many
            mine = [client(behind, "p-%d-%d" % (last, n), header(last)) for n in range(3)]
            assert mine[0] and mine[1] and not mine[2], (last, mine)
        assert client(behind, "unknown", b"PROXY UNKNOWN\r\n")
        r.wait_log(r"listener.address_limit peer=192\.0\.2\.3:40000 ", 10)
        first.close()
        r.wait_for(lambda: client(direct, "c"), 10, "room for another")


if __name__ == "__main__":
    roost.main(globals())
