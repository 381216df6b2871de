"""Sessions as clients that other people wrote see them: paho, mosquitto_sub, mosquitto_pub, mosquitto_rr."""
import os
import re
import signal
import subprocess
import threading
import time

import mqtt
import roost
from foreign import paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from roost import Roost


class Client:
    """A paho client of 5.0 whose callbacks only note what came."""

    def __init__(self, r, name, expiry=0, clean=True, **properties):
        self.got = []
        self.acked = set()
        self.reasons = []
        self.up = threading.Event()
        self.down = threading.Event()
        self.answered = threading.Event()
        self.c = paho.Client(name, protocol=paho.MQTTv5)
        self.c.on_connect = self.on_connect
        self.c.on_disconnect = self.on_disconnect
        self.c.on_subscribe = lambda *_: self.answered.set()
        self.c.on_unsubscribe = lambda *_: self.answered.set()
        self.c.on_message = lambda _c, _u, m: self.got.append(m)
        self.c.on_publish = lambda _c, _u, mid: self.acked.add(mid)
        asked = Properties(PacketTypes.CONNECT)
        asked.SessionExpiryInterval = expiry
        for key, value in properties.items():
            setattr(asked, key, value)
        self.c.connect("127.0.0.1", r.port, clean_start=clean, properties=asked)
        self.c.loop_start()
        assert self.up.wait(10 * roost.SLOW), "no CONNACK"

    def on_connect(self, _c, _u, flags, reason, properties):
        self.present, self.reason, self.told = flags["session present"], reason, properties
        self.up.set()

    def on_disconnect(self, _c, _u, reason, _properties=None):
        self.reasons.append(getattr(reason, "value", reason))
        self.c.loop_stop()
        self.down.set()

    def subscribe(self, topic, qos=0, identifier=0, **options):
        self.answered.clear()
        asked = Properties(PacketTypes.SUBSCRIBE)
        if identifier:
            asked.SubscriptionIdentifier = identifier
        self.c.subscribe(topic, options=SubscribeOptions(qos=qos, **options), properties=asked)
        assert self.answered.wait(10 * roost.SLOW), "no SUBACK"

    def payloads(self):
        return [m.payload.decode() for m in self.got]

    def lose(self):
        """The connection breaks, and is made again; paho remembers what it has of QoS 2."""
        self.c.loop_stop()
        self.c._sock_close()
        self.up.clear()
        self.c.reconnect()
        self.c.loop_start()
        assert self.up.wait(10 * roost.SLOW), "no CONNACK"

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


def start_sub(r, *arguments):
    return subprocess.Popen(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(r.port), "-v"] + list(arguments),
                            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def lines_of(proc, seconds=20):
    """What it printed, when it has ended by itself."""
    out, _ = proc.communicate(timeout=seconds * roost.SLOW)
    return out.split("\n")[:-1]


def test_mosquitto_sub_comes_back_to_its_session():
    """QoS 2 from mosquitto_pub to mosquitto_sub -c that was away: each once, in order."""
    with Roost() as r:
        port = ["-h", "127.0.0.1", "-p", str(r.port)]
        roost.run(["mosquitto_sub", "-i", "s", "-c", "-q", "2", "-t", "jobs/#", "-E"] + port, 20)
        text = "".join("%d\n" % n for n in range(200))
        out = subprocess.run(["mosquitto_pub", "-q", "2", "-t", "jobs/1", "-l"] + port, input=text, text=True, timeout=60)
        assert out.returncode == 0
        sub = start_sub(r, "-i", "s", "-c", "-q", "2", "-t", "jobs/#", "-C", "200")
        assert lines_of(sub) == ["jobs/1 %d" % n for n in range(200)]


def test_mosquitto_sub_shares():
    with Roost() as r:
        subs = [start_sub(r, "-q", "1", "-t", "$share/g/shared/#", "-t", "ready/%d-%d" % (os.getpid(), n), "-t", "stop")
                for n in range(3)]
        texts = [[] for _ in subs]
        readers = [threading.Thread(target=lambda s=s, t=t: t.extend(line.strip() for line in s.stdout), daemon=True)
                   for s, t in zip(subs, texts)]
        for reader in readers:
            reader.start()
        for n, text in enumerate(texts):
            def subscribed(n=n, text=text):
                r.publish("ready/%d-%d" % (os.getpid(), n), "yes")
                return text
            r.wait_for(subscribed, 10, "mosquitto_sub to be subscribed")
        for n in range(30):
            r.publish("shared/%d" % n, str(n))

        def work():
            return sorted(int(line.split()[1]) for text in texts for line in text if line.startswith("shared/"))
        r.wait_for(lambda: len(work()) >= 30, 10, "all the work")
        assert work() == list(range(30)), work()
        assert all(any(line.startswith("shared/") for line in text) for text in texts), texts
        for s in subs:
            s.terminate()
            s.wait(10)


def test_mosquitto_rr_gets_its_response():
    with Roost() as r:
        def answer(_c, _u, m):
            out = Properties(PacketTypes.PUBLISH)
            out.CorrelationData = m.properties.CorrelationData
            server.c.publish(m.properties.ResponseTopic, b"answer to " + m.payload, qos=1, properties=out)
        server = Client(r, "server")
        server.c.on_message = answer
        server.subscribe("requests/#", 1)
        out = roost.run(["mosquitto_rr", "-V", "5", "-h", "127.0.0.1", "-p", str(r.port), "-t", "requests/1", "-e",
                         "responses/1", "-m", "question", "-q", "1", "-W", "10", "-D", "publish", "correlation-data", "7"], 30)
        assert out.stdout.strip() == "answer to question", out
        server.close()


def test_sys_topics():
    """As mosquitto's users read them; what is asked for by # is without them."""
    with Roost({"mqtt.sys_interval": "200ms"}) as r:
        keeper = Client(r, "keeper", expiry=100)
        keeper.subscribe("$share/g/x", 1)
        r.publish("kept", "1", "-r")
        keeper.subscribe("$SYS/broker/#")

        def text(name):
            found = [m.payload.decode() for m in keeper.got if m.topic == "$SYS/broker/" + name]
            return found[-1] if found else None
        r.wait_for(lambda: text("shared_subscriptions/count") == "1" and text("retained messages/count") == "1", 10, "counts")
        r.wait_for(lambda: (text("uptime") or "").endswith(" seconds") and text("uptime") != "0 seconds", 10, "time to pass")
        assert text("version").startswith("roost version ")
        assert text("clients/connected") == "1", text("clients/connected")
        r.wait_for(lambda: float(text("load/connections/1min") or 0) > 0, 10, "a load")
        assert int(text("bytes/received")) > 0 and int(text("bytes/sent")) > 0
        everything = Client(r, "everything")
        everything.subscribe("#")
        everything.subscribe("+/broker/uptime")
        keeper.got.clear()
        r.wait_for(lambda: text("uptime"), 10, "the next round")
        assert {m.topic for m in everything.got} == {"kept"}, everything.got
        keeper.close()
        everything.close()


def test_paho_at_qos_2_loses_its_connection():
    """Both ways, in a session that is kept: each message once, in order."""
    with Roost() as r:
        sub = Client(r, "sub", expiry=100, clean=False)
        sub.subscribe("a/#", 2)
        pub = Client(r, "pub", expiry=100, clean=False)
        count = 0
        for _ in range(5):
            for _ in range(50):
                pub.c.publish("a/b", str(count), qos=2)
                count += 1
            for client in (sub, pub):
                client.lose()
                assert client.present
        r.wait_for(lambda: len(sub.got) >= count and len(pub.acked) == count, 20, "all messages, and PUBCOMP of each")
        assert sub.payloads() == [str(n) for n in range(count)], sub.payloads()
        sub.close()
        pub.close()


def test_properties_and_options():
    with Roost() as r:
        c = Client(r, "c", TopicAliasMaximum=10, RequestResponseInformation=1, ReceiveMaximum=5)
        assert c.told.ResponseInformation == "response/c", c.told
        assert c.told.TopicAliasMaximum >= 10 and c.told.ReceiveMaximum == 1024, c.told
        c.subscribe("t/+/x", 1, identifier=3)
        c.subscribe("t/#", 2, identifier=300)
        c.subscribe("own/#", 1, noLocal=True)
        sent = Properties(PacketTypes.PUBLISH)
        sent.UserProperty = [("a", "1"), ("a", "2")]
        sent.ContentType = "text/plain"
        sent.PayloadFormatIndicator = 1
        sent.MessageExpiryInterval = 60
        for _ in range(20):
            c.c.publish("t/long/x", "y", qos=2, properties=sent)
        c.c.publish("own/1", "z", qos=1)
        r.wait_for(lambda: len(c.got) == 20, 10, "20 messages")
        for m in c.got:
            p = m.properties
            # paho shows the topic as it came: by its alias it is empty.
            assert m.topic in ("t/long/x", ""), m.topic
            assert sorted(p.SubscriptionIdentifier) == [3, 300], p
            assert p.UserProperty == [("a", "1"), ("a", "2")] and p.ContentType == "text/plain", p
            assert 58 <= p.MessageExpiryInterval <= 60 and m.qos == 2, p
        assert any(m.topic == "" for m in c.got) and c.got[0].topic == "t/long/x"
        c.close()


def test_takeover_and_session_end():
    with Roost() as r:
        one = Client(r, "x", expiry=100)
        one.subscribe("a", 1)
        two = Client(r, "x", expiry=100, clean=False)
        assert two.present
        assert one.down.wait(10 * roost.SLOW), "the first one goes on"  # paho does not show 0x8E
        # Says that it wants no session any more.
        over = Properties(PacketTypes.DISCONNECT)
        over.SessionExpiryInterval = 0
        two.c.disconnect(properties=over)
        two.c.loop_stop()
        three = Client(r, "x", expiry=100, clean=False)
        assert not three.present
        three.close()


def test_a_client_that_is_back_soon_costs_redis_nothing():
    """Its absence is written a little later, at once when Roost stops, and a death before that ends no session."""
    def present():
        with mqtt.Client(r.port) as c:
            c.send(mqtt.connect("comes", clean=False))
            answer = c.receive()
            c.send(b"\xe0\0")
            c.wait_closed(10)
        assert answer[0] == mqtt.CONNACK and answer[1][1] == 0, answer
        return answer[1][0]

    def away_since():
        return int(r.redis("HGET", "roost:mqtt:session:comes", "a"))

    def spared():
        return sum(int(n) for n in re.findall(r"^roost_mqtt_copy_spared_total{.*} (\d+)$", r.cli("metrics").stdout, re.M))

    with Roost(workers=["connectivity-0"]) as r:
        assert not present()
        for _ in range(20):
            assert present()
        r.wait_for(lambda: spared() > 10, 10, "absences that were not written")
        r.wait_for(away_since, 10, "its absence in Redis")
        assert present()
        os.kill(r.pid_of("connectivity-0"), signal.SIGKILL)
        assert present()
        asked = time.time() * 1000
        r.stop()
        r.start()
        r.wait_for(away_since, 10, "the session loaded")
        r.wait_for(lambda: [m["sessions"] for m in r.status()["mqtt"]] == [1], 5, "its session in roost status")
        assert asked - 60000 < away_since() <= asked, (away_since(), asked)


def test_a_reader_that_pauses_gets_all_of_qos_1():
    """More than its output holds waits in its queue, and follows as it reads, without an acknowledgement."""
    count, size = 900, 4000
    with Roost({"mqtt.outbound_max": "65536"}) as r:
        with mqtt.Client(r.port, "s") as s, mqtt.Client(r.port, "p") as p:
            s.send(mqtt.packet(0x82, b"\0\1" + mqtt.string("a") + b"\1"))
            assert s.receive()[0] == mqtt.SUBACK
            for n in range(count):
                p.publish("a", b"%06d" % n + b"x" * size, packet_id=n + 1)
            for n in range(count):
                assert p.puback() == (n + 1, 0)
            for n in range(count):
                first, body = s.receive()
                assert first == mqtt.PUBLISH | 2 and body[5:11] == b"%06d" % n, (n, first, body[:12])


if __name__ == "__main__":
    roost.main(globals())
