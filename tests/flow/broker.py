"""Publish and subscribe between clients that other people wrote."""
import os
import subprocess

import mqtt
import roost
from roost import Roost


class Subscriber:
    """mosquitto_sub that is known to be subscribed: it has printed a marker published to its own topic."""

    def __init__(self, r, *arguments):
        self.lines = []
        self.text = b""
        marker = "ready/%d" % os.getpid()
        self.proc = subprocess.Popen(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(r.port), "-v", "-t", marker] +
                                     list(arguments), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        os.set_blocking(self.proc.stdout.fileno(), False)

        def subscribed():
            r.publish(marker, "yes", qos=0)
            return any(line.startswith(marker) for line in self.read())
        r.wait_for(subscribed, 10, "mosquitto_sub to be subscribed")
        self.marker = marker

    def read(self):
        try:
            self.text += self.proc.stdout.read() or b""
        except BlockingIOError:
            pass
        return self.text.decode("utf-8", "replace").split("\n")[:-1]

    def messages(self):
        return [line for line in self.read() if not line.startswith(self.marker)]

    def close(self):
        self.proc.terminate()
        self.proc.wait(10)
        self.proc.stdout.close()


def test_live_messages_with_wildcards():
    with Roost() as r:
        sub = Subscriber(r, "-t", "roost/+/telemetry", "-t", "home/#", "-q", "1")
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        r.publish("home/kitchen/lamp", "on")
        r.publish("elsewhere", "unheard")
        r.publish("home", "parent")
        want = ['roost/gh-1/telemetry {"temperature":1}', "home/kitchen/lamp on", "home parent"]
        r.wait_for(lambda: len(sub.messages()) >= 3, 10, "three messages")
        assert sub.messages() == want, sub.messages()
        sub.close()


def test_retained_message_comes_first():
    with Roost() as r:
        r.publish("home/kitchen/lamp", "on", "-r")
        sub = Subscriber(r, "-t", "home/#", "-q", "1")
        r.wait_for(lambda: sub.messages() == ["home/kitchen/lamp on"], 10, "the retained message")
        sub.close()
        r.publish("home/kitchen/lamp", "", "-r")  # takes it back
        sub = Subscriber(r, "-t", "home/#", "-q", "1")
        r.publish("home/end", "1")
        r.wait_for(lambda: sub.messages(), 10, "the next message")
        assert sub.messages() == ["home/end 1"], sub.messages()
        sub.close()


def test_version_5_and_3_understand_each_other():
    with Roost() as r:
        sub5 = Subscriber(r, "-V", "mqttv5", "-t", "a/b", "-q", "1")
        sub3 = Subscriber(r, "-t", "a/b", "-q", "0")
        r.publish("a/b", "from 3", "-V", "mqttv311")
        r.publish("a/b", "from 5", "-V", "mqttv5", "-D", "publish", "user-property", "k", "v")
        for sub in (sub5, sub3):
            r.wait_for(lambda: sub.messages() == ["a/b from 3", "a/b from 5"], 10, "both messages")  # noqa: B023
            sub.close()


def test_will_is_published_when_a_client_is_lost():
    with Roost() as r:
        sub = Subscriber(r, "-t", "gone/#", "-q", "1")
        lost = Subscriber(r, "-t", "x", "--will-topic", "gone/c1", "--will-payload", "lost", "--will-qos", "1")
        lost.proc.kill()
        lost.proc.wait()
        r.wait_for(lambda: sub.messages() == ["gone/c1 lost"], 10, "the will")
        sub.close()


def test_dollar_topics_are_not_matched_by_wildcards():
    with Roost() as r:
        sub = Subscriber(r, "-t", "#")
        with mqtt.Client(r.port, "c") as c:
            c.publish("$internal/x", "hidden", 1)
            c.publish("open/x", "seen", 2)
            c.puback(), c.puback()
        r.wait_for(lambda: any("seen" in m for m in sub.messages()), 10, "the ordinary message")
        assert not any("hidden" in m for m in sub.messages()), sub.messages()
        sub.close()


def test_acknowledgements_come_in_order():
    with Roost() as r, mqtt.Client(r.port, "c") as c:
        for n in range(1, 201):
            c.publish("roost/dev-%d/telemetry" % (n % 17) if n % 3 else "plain/topic", '{"n":%d}' % n, n)
        got = [c.puback() for _ in range(200)]
        assert got == [(n, 0) for n in range(1, 201)], got[:20]


def test_a_client_id_is_taken_over():
    with Roost() as r:
        first = mqtt.Client(r.port, "same", version=5)
        with mqtt.Client(r.port, "same", version=5) as second:
            rest = first.wait_closed(10)
            assert rest[:1] == b"\xe0" and 0x8E in rest, rest.hex()  # DISCONNECT, session taken over
            second.publish("roost/gh-1/telemetry", '{"a":1}')
            assert second.puback() == (1, 0)
        first.close()


def test_keep_alive_ends_silent_connections():
    """5.0: MQTT-3.1.2-22, MQTT-3.2.2-22. 3.1.1: MQTT-3.1.2-24."""
    with Roost() as r, mqtt.Client(r.port, "quiet", keep_alive=1) as c:
        c.send(b"\xc0\x00")
        assert c.receive()[0] == mqtt.PINGRESP
        c.wait_closed(5 * roost.SLOW)


if __name__ == "__main__":
    roost.main(globals())
