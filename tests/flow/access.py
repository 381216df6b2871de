"""Who may publish and subscribe to what: roles of acl.yaml, on live connections and on sessions that come back."""
import os
import signal
import tempfile
import urllib.error
import urllib.request

import mqtt
import roost
from devices import done
from roost import Roost

RULES = """version: 1
roles:
  reader:
    - { allow: subscribe, topic: ["roost/+/telemetry", "app/%u/#"] }
  reporter:
    - { allow: publish, topic: "roost/+/telemetry" }
  chat:
    - { allow: both, topic: "chat/#" }
"""


class Client(mqtt.Client):
    """5.0, with a token."""

    def __init__(self, port, client, token, clean=True):
        super().__init__(port, version=5)
        self.got = []
        expiry = b"" if clean else b"\x11\0\0\x0e\x10"
        body = mqtt.string("MQTT") + bytes([5, 0x82 if clean else 0x80, 0, 60, len(expiry)]) + expiry
        self.send(mqtt.packet(0x10, body + mqtt.string(client) + mqtt.string(token)))
        first, body = self.receive()
        assert first == mqtt.CONNACK and body[1] == 0, body
        self.present = body[0] & 1

    def subscribe(self, *filters):
        """The reason code of each."""
        self.send(mqtt.packet(0x82, b"\0\1\0" + b"".join(mqtt.string(f) + b"\1" for f in filters)))
        return list(self.until(mqtt.SUBACK)[3:])

    def until(self, wanted):
        """The packet of that kind; messages before it are kept."""
        while True:
            first, body = self.receive()
            if first == wanted:
                return body
            assert first & 0xf0 == mqtt.PUBLISH, (first, body)
            length = body[0] << 8 | body[1]
            self.got.append(body[2:2 + length].decode())
            if first & 6:
                self.send(mqtt.packet(mqtt.PUBACK, body[2 + length:4 + length]))

    def may(self, topic, payload='{"t":1}'):
        self.publish(topic, payload)
        body = self.until(mqtt.PUBACK)
        return len(body) < 3 or body[2] != 0x87

    def topics(self):
        """Of what came."""
        self.send(b"\xc0\0")
        self.until(mqtt.PINGRESP)
        got, self.got = self.got, []
        return got


def posted(r, token, device):
    """The status of a reading of that device over HTTP."""
    q = urllib.request.Request("http://127.0.0.1:%d/v1/telemetry" % r.port_of("http"), b'{"device":"%s","values":{"t":1}}' % device.encode(),
                               {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(q, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code


def test_roles():
    with tempfile.TemporaryDirectory(prefix="roost-acl-") as folder:
        path = os.path.join(folder, "acl.yaml")

        def say(text):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)

        say(RULES)
        with Roost({"auth.anonymous": "false", "auth.acl_file": path}) as r:
            def token(tool, name, *options):
                secret = (name + "0" * 32)[:32]
                done(r, "add", name, *options, "--token-file", "-", tool=tool, input=secret + "\n")
                return secret

            gh1, gh2 = token("device", "gh-1"), token("device", "gh-2")
            gw = token("device", "gw", "--speaks-for", "s-*")
            app, reporter = token("user", "app", "--role", "reader"), token("user", "bot", "--role", "reporter")
            with Client(r.port, "app", app) as a, Client(r.port, "gh-1", gh1) as d, Client(r.port, "gw", gw) as g:
                # What it may not have is refused, filter by filter; the rest works.
                assert a.subscribe("#", "roost/#", "roost/+/telemetry", "app/app/x", "app/gh-1/x", "$share/g/roost/#") == \
                    [0x87, 0x87, 1, 1, 0x87, 0x87]
                assert not a.may("roost/gh-1/telemetry") and not a.may("app/app/x")
                assert d.subscribe("roost/gh-1/#", "roost/gh-2/#", "roost/s-1/#", "v1/devices/me/#", "response/gh-1/x", "chat/x") == \
                    [1, 0x87, 0x87, 1, 1, 0x87]
                assert g.subscribe("roost/s-1/#", "roost/gh-1/#", "v1/gateway/#") == [1, 0x87, 1]
                assert d.may("roost/gh-1/telemetry") and not d.may("roost/gh-2/telemetry") and not d.may("chat/x")
                assert g.may("roost/s-7/telemetry") and not g.may("roost/gh-1/telemetry")
                with Client(r.port, "bot", reporter) as b:
                    assert b.may("roost/gh-2/telemetry") and not b.may("roost/gh-2/attributes")
                # HTTP asks the same.
                assert [posted(r, t, "gh-2") for t in (reporter, app, gh1, gw)] == [200, 403, 403, 403]
                assert posted(r, gw, "s-7") == 200
                assert sorted(a.topics()) == ["roost/gh-1/telemetry", "roost/gh-2/telemetry", "roost/s-7/telemetry"]
                # A role more, on a live connection.
                done(r, "set", "gh-1", "--role", "chat")
                r.wait_for(lambda: d.subscribe("chat/#") == [1], 5, "the new role")
                assert d.may("chat/x") and "chat/x" in d.topics()
                # The file says something else: what is wrong changes nothing, then what it allows no more ends.
                say(RULES.replace("allow: subscribe", "allow: all"))
                r.proc.send_signal(signal.SIGHUP)
                r.wait_log(r"acl.wrong.*acl.yaml:4:16: neither publish, subscribe nor both", 5)
                assert a.subscribe("roost/+/telemetry") == [1]
                say(RULES.replace("\"roost/+/telemetry\", ", "").replace("chat/#", "chat/y"))
                r.proc.send_signal(signal.SIGHUP)
                r.wait_log("acl.reloaded", 5)
                r.wait_for(lambda: not d.may("chat/x"), 5, "the rules to be in force")
                assert d.may("chat/y") and d.may("roost/gh-1/telemetry")
                assert a.topics() == [] and a.subscribe("roost/+/telemetry", "app/app/#") == [0x87, 1]


def test_a_session_that_comes_back():
    with Roost({"auth.anonymous": "false", "auth.acl_file": ""}) as r:
        done(r, "add", "gw", "--speaks-for", "s-1", "--token-file", "-", input="g" * 32 + "\n")
        done(r, "add", "s-1", "--token-file", "-", input="s" * 32 + "\n")
        with Client(r.port, "gw", "g" * 32, clean=False) as g:
            assert g.subscribe("roost/s-1/#", "roost/gw/#") == [1, 1]
        with Client(r.port, "s-1", "s" * 32) as s, Client(r.port, "witness", "g" * 32) as w:
            assert s.may("roost/s-1/telemetry") and w.may("roost/gw/telemetry")
            done(r, "set", "gw", "--clear", "--speaks-for", "other")
            r.wait_for(lambda: w.subscribe("roost/s-1/#") == [0x87], 5, "the rights to be others")
            # Of what waits for it, it is not sent what it may not have any more; of its subscriptions one is left.
            with Client(r.port, "gw", "g" * 32, clean=False) as g:
                assert g.present and g.topics() == ["roost/gw/telemetry"]
                assert s.may("roost/s-1/telemetry") and w.may("roost/gw/telemetry")
                assert g.topics() == ["roost/gw/telemetry"]
        assert "mqtt.unsubscribed" in r.log_text()


if __name__ == "__main__":
    roost.main(globals())
