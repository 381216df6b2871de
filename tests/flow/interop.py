"""Clients and brokers that other people wrote, doing what each is made for: libmosquitto, paho, a bridging mosquitto.

Of nats-server there is nothing to bridge: its MQTT side (2.9) only listens, and its links to other servers speak NATS."""
import os
import shutil
import socket
import subprocess
import tempfile
import threading

import roost
from foreign import PacketTypes, Properties, paho
from roost import Roost

V311, V5 = paho.MQTTv311, paho.MQTTv5


class Paho:
    """A paho client whose callbacks only note what came."""

    def __init__(self, port, name, version=V311, will=None, clean=True, expiry=0):
        self.got = []
        self.messages = []
        self.acked = set()
        self.present = None
        self.up = threading.Event()
        self.granted = None
        kw = {} if version == V5 else {"clean_session": clean}
        self.c = paho.Client(name, protocol=version, **kw)
        self.c.on_connect = self.on_connect
        self.c.on_subscribe = lambda _c, _u, _m, granted, *_: setattr(self, "granted", granted)
        self.c.on_message = self.on_message
        self.c.on_publish = lambda _c, _u, mid: self.acked.add(mid)
        if will:
            self.c.will_set(*will)
        if version == V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
            self.c.connect("127.0.0.1", port, clean_start=clean, properties=properties)
        else:
            self.c.connect("127.0.0.1", port)
        self.c.loop_start()
        assert self.up.wait(10 * roost.SLOW), "no CONNACK"

    def on_connect(self, _c, _u, flags, code, *_):
        assert code == 0, code
        self.present = flags["session present"]
        self.up.set()

    def on_message(self, _c, _u, m):
        self.messages.append(m)
        self.got.append((m.topic, m.payload, m.qos, bool(m.retain)))

    def subscribe(self, r, topic, qos):
        self.granted = None
        self.c.subscribe(topic, qos)
        r.wait_for(lambda: self.granted is not None, 10, "SUBACK")
        return [g if isinstance(g, int) else g.value for g in self.granted]

    def publish(self, r, topic, payload, qos, **kw):
        mid = self.c.publish(topic, payload, qos, **kw).mid
        r.wait_for(lambda: mid in self.acked, 10, "the acknowledgement of QoS %d" % qos)

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()

    def vanish(self):
        self.c.loop_stop()
        self.c._sock_close()  # without DISCONNECT


def test_paho_at_every_qos():
    with Roost() as r:
        for version in (V311, V5):
            sub = Paho(r.port, "sub", version)
            for qos in (0, 1, 2):
                assert sub.subscribe(r, "q%d/+" % qos, qos) == [qos]
            pub = Paho(r.port, "pub", version)
            want = []
            for sub_qos in (0, 1, 2):
                for pub_qos in (0, 1, 2):
                    payload = b"%d to %d" % (pub_qos, sub_qos)
                    pub.publish(r, "q%d/a" % sub_qos, payload, pub_qos)
                    want.append(("q%d/a" % sub_qos, payload, min(pub_qos, sub_qos), False))
            r.wait_for(lambda: len(sub.got) >= len(want), 10, "all messages")
            assert sorted(sub.got) == sorted(want), sub.got
            pub.close()
            sub.close()


def test_paho_finds_its_session_again():
    with Roost() as r:
        for version in (V311, V5):
            name = "keeper-%d" % version
            first = Paho(r.port, name, version, clean=False, expiry=600)
            assert not first.present
            first.subscribe(r, name + "/#", 2)
            first.close()
            pub = Paho(r.port, "pub", version)
            for n in range(50):
                pub.publish(r, name + "/a", b"%d" % n, n % 2 + 1)
            pub.close()
            again = Paho(r.port, name, version, clean=False, expiry=600)
            assert again.present
            r.wait_for(lambda: len(again.got) >= 50, 10, "what was queued")
            for qos in (1, 2):  # in order at each QoS: paho hands QoS 2 out at PUBREL
                assert [m[1] for m in again.got if m[2] == qos] == [b"%d" % n for n in range(qos - 1, 50, 2)], again.got
            again.close()
            anew = Paho(r.port, name, version, clean=True)
            assert not anew.present and not anew.got
            anew.close()


def test_paho_wills_and_retained():
    with Roost() as r:
        for version in (V311, V5):
            topic = "status/%d" % version
            heir = Paho(r.port, "heir", version)
            heir.subscribe(r, topic, 1)
            mortal = Paho(r.port, "mortal", version, will=(topic, b"gone", 1, True))
            mortal.publish(r, topic, b"here", 1, retain=True)
            r.wait_for(lambda: heir.got == [(topic, b"here", 1, False)], 10, "the message")
            mortal.vanish()
            r.wait_for(lambda: heir.got[1:] == [(topic, b"gone", 1, False)], 10, "the will")
            late = Paho(r.port, "late", version)
            late.subscribe(r, topic, 1)
            r.wait_for(lambda: late.got == [(topic, b"gone", 1, True)], 10, "what is retained")
            late.close()
            heir.close()


def test_shared_subscriptions_are_shared():
    with Roost() as r:
        members = [Paho(r.port, "member-%d" % n, V5) for n in range(3)]
        for m in members:
            assert m.subscribe(r, "$share/group/jobs/#", 1) == [1]
        pub = Paho(r.port, "pub", V5)
        for n in range(90):
            pub.publish(r, "jobs/a", b"%d" % n, 1)
        r.wait_for(lambda: sum(len(m.got) for m in members) >= 90, 10, "all jobs")
        assert sorted(int(p) for m in members for _, p, _, _ in m.got) == list(range(90))
        assert all(len(m.got) >= 10 for m in members), [len(m.got) for m in members]
        for c in members + [pub]:
            c.close()


def test_mosquitto_rr_gets_its_answer():
    with Roost() as r:
        server = Paho(r.port, "server", V5)

        def answer(_c, _u, m):
            properties = Properties(PacketTypes.PUBLISH)
            if hasattr(m.properties, "CorrelationData"):
                properties.CorrelationData = m.properties.CorrelationData
            server.c.publish(m.properties.ResponseTopic, b"answer to " + m.payload, 1, properties=properties)
        server.c.on_message = answer
        server.subscribe(r, "ask", 1)
        out = roost.run(["mosquitto_rr", "-V", "mqttv5", "-h", "127.0.0.1", "-p", str(r.port), "-t", "ask", "-e", "answers/1",
                         "-m", "this", "-q", "1", "-W", str(10 * roost.SLOW)], 20)
        assert out.returncode == 0 and out.stdout == "answer to this\n", out
        server.close()


def test_libmosquitto_at_qos_2_in_bulk():
    with Roost() as r:
        count = 2000
        for version in ("mqttv31", "mqttv311", "mqttv5"):
            common = ["-V", version, "-h", "127.0.0.1", "-p", str(r.port), "-q", "2", "-t", "bulk"]
            sub = subprocess.Popen(["mosquitto_sub"] + common, stdout=subprocess.PIPE)
            os.set_blocking(sub.stdout.fileno(), False)
            text = b""

            def read():
                nonlocal text
                text += sub.stdout.read() or b""
                return text.decode().split("\n")[:-1]

            def subscribed():
                if not read():
                    r.publish("bulk", "ready", "-r", qos=0)
                return "ready" in read()
            r.wait_for(subscribed, 10, "mosquitto_sub to be subscribed")
            r.publish("bulk", "", "-r", qos=0)
            out = roost.run(["mosquitto_pub", "-l"] + common, 60, input="".join("%d\n" % n for n in range(count)))
            assert out.returncode == 0, out
            r.wait_for(lambda: len([x for x in read() if x.isdigit()]) >= count or sub.poll() is not None, 60, "all lines")
            got = [int(x) for x in read() if x.isdigit()]
            sub.terminate()
            sub.wait(10)
            sub.stdout.close()
            assert got == list(range(count)), (version, len(got))


class Mosquitto:
    """A broker of its own that connects to ours as a bridge."""

    def __init__(self, target, version, private, topics):
        self.folder = tempfile.mkdtemp(prefix="roost-test-mosquitto-")
        with socket.socket() as s:  # it takes a free port only by number
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        path = os.path.join(self.folder, "mosquitto.conf")
        self.log = os.path.join(self.folder, "log")
        with open(path, "w", encoding="utf-8") as f:
            f.write("listener %d 127.0.0.1\nallow_anonymous true\nuser %s\n" % (self.port, "root" if os.getuid() == 0 else "nobody"))
            f.write("connection to-roost\naddress 127.0.0.1:%d\nremote_clientid bridge-1\nbridge_protocol_version %s\n" % (target, version))
            f.write("try_private %s\nrestart_timeout 1\ncleansession true\n" % ("true" if private else "false"))
            f.write("".join("topic %s\n" % t for t in topics))
        program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        with open(self.log, "wb") as log:
            self.proc = subprocess.Popen([program, "-v", "-c", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.proc.terminate()
        self.proc.wait(10)
        if kind:
            print("--- mosquitto ---\n" + self.log_text()[-3000:])
        shutil.rmtree(self.folder)


def test_mosquitto_bridges_in():
    with Roost() as r:
        for version, private in (("mqttv311", False), ("mqttv311", True), ("mqttv50", False)):
            topics = ["up/# out 2", "down/# in 2", "both/# both 1", 'telemetry both 1 local/ roost/gh-9/']
            with Mosquitto(r.port, version, private, topics) as m:
                r.wait_for(lambda: m.log_text().count("Received SUBACK") >= 1, 20, "the bridge to be subscribed")
                here, there = Paho(r.port, "here"), Paho(m.port, "there")
                here.subscribe(r, "#", 2)
                there.subscribe(r, "#", 2)
                for qos in (0, 1, 2):
                    there.publish(r, "up/%d" % qos, b"u", qos)
                    r.wait_for(lambda q=qos: ("up/%d" % q, b"u", q, False) in here.got, 10, "what goes up at QoS %d" % qos)
                    here.publish(r, "down/%d" % qos, b"d", qos)
                    r.wait_for(lambda q=qos: ("down/%d" % q, b"d", q, False) in there.got, 10, "what comes down at QoS %d" % qos)
                there.publish(r, "local/telemetry", b'{"bridged":%d}' % (1 + len(version)), 1)
                r.wait_for(lambda: any(t == "roost/gh-9/telemetry" for t, *_ in here.got), 10, "a reading by the bridge")
                assert len([1 for t, *_ in here.got if t.startswith("up/")]) == 3, here.got
                here.close()
                there.close()
        r.wait_for(lambda: len(r.query("gh-9", "bridged")) >= 1, 10, "its readings in history")


if __name__ == "__main__":
    roost.main(globals())
