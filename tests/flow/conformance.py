"""What the standards say of MQTT 3.1.1 and 5.0, over a socket. The numbers are those of their normative statements;
tests/conformance-mqtt311.md and tests/conformance-mqtt5.md say which test answers for which."""
import socket

import mqtt
import roost
from mqtt_wire import (AUTH, CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREL, SUBACK, Client, ack, connect, publish,
                       subscribe)
from roost import Roost, wait_for

BOTH = (4, 5)


def gone(client):
    """Its connection breaks, and the server has seen it."""
    client.sock.shutdown(socket.SHUT_WR)
    client.wait_closed(10)
    client.close()


def test_the_first_packet_is_connect():
    """5.0: MQTT-3.1.0-1, -2, MQTT-3.1.4-6, MQTT-3.2.0-1, -2, MQTT-3.14.0-1.
    3.1.1: MQTT-3.1.0-1, -2, MQTT-3.1.4-5, MQTT-3.2.0-1, MQTT-7.0.0-2."""
    with Roost() as r:
        for data in (publish("a", "x"), b"\xc0\0", b"\xe0\0", subscribe([("a", 0)]), ack(PUBACK, 1)):
            with mqtt.Client(r.port) as c:
                c.send(data + connect("late"))
                assert c.wait_closed(10) == b"", data.hex()
        for version in BOTH:
            with Client(r.port, "twice", version) as c:
                c.send(connect("twice", version) + b"\xc0\0")
                rest = c.closed()
                assert [(p.kind, p.reason) for p in rest] == ([(DISCONNECT, 0x82)] if version == 5 else []), rest
            # What follows a CONNECT at once is answered behind its CONNACK.
            with Client(r.port, "eager", version, accept=False) as c:
                c.send(b"\xc0\0")
                assert c.expect(CONNACK).reason == 0
                assert c.expect(PINGRESP)


def test_what_connect_may_say():
    """5.0: MQTT-3.1.2-1 to -3, MQTT-3.1.4-1, -2, MQTT-3.2.2-7, -8, MQTT-4.13.2-1.
    3.1.1: MQTT-3.1.2-1 to -3, MQTT-3.1.4-1, MQTT-3.2.2-5, -6."""
    cases = [
        ("a name that is none", connect("c", 4, name="MQTX"), b""),
        ("level 6", connect("c", 4, level=6), b"\x20.*\x84"),
        ("level 2", connect("c", 4, level=2), b"\x20\2\0\1"),
        ("a bridge's level", connect("c", 4, level=0x84), b"\x20\2\0\1"),
        ("MQIsdp of level 4", connect("c", 3, level=4), b"\x20\2\0\1"),
        ("the reserved flag", connect("c", 4, flags=3), b""),
        ("the reserved flag of 5", connect("c", 5, flags=3), b"\x20.*\x81"),
        ("will flags without a will", connect("c", 4, flags=0x22), b""),
        ("a password without a user", connect("c", 4, password="p"), b""),
        ("bytes left over", connect("c", 4, user="u", flags=2), b""),
    ]
    with Roost() as r:
        for label, data, want in cases:
            with mqtt.Client(r.port) as c:
                c.send(data + b"\xc0\0")
                rest = c.wait_closed(10)
            if b".*" in want:
                assert rest[:1] == want[:1] and rest[2:4] == b"\0" + want[-1:], (label, rest.hex())
            else:
                assert rest == want, (label, rest.hex())
        with Client(r.port, "c", 5, user="u") as c:
            c.nothing()
        with Client(r.port, "c", 5, user="", password=b"\0\xff") as c:
            c.nothing()


def test_mqtt_3_1_is_taken_as_it_is():
    """No statement of OASIS: 3.1's CONNACK has no session present, its flags say little, its ids may be longer than 23."""
    with Roost() as r:
        with Client(r.port, "an-id-of-more-than-23-characters", 3, clean=False) as c:
            assert c.connack.raw == b"\0\0"
            assert c.sub(("a", 1), ("b", 0)) == [1, 0]
            c.put("a", "x")
            assert c.message().payload == b"x"
            c.send(b"\x8a" + subscribe([("c", 1)], 9)[1:])  # SUBSCRIBE once more, with DUP
            assert c.next().codes == [1]
            c.send(publish("b", "y", 0, dup=True))
            assert c.message().payload == b"y"
        with Client(r.port, "an-id-of-more-than-23-characters", 3, clean=False) as c:
            assert c.connack.raw == b"\0\0"
        with mqtt.Client(r.port) as c:
            c.send(b"\x14" + connect("dup", 3, flags=0x2b)[1:])
            assert c.receive() == (0x20, b"\0\0")
        with mqtt.Client(r.port) as c:
            c.send(connect("", 3))
            assert c.wait_closed(10) == b"\x20\2\0\2"


def test_client_ids():
    """5.0: MQTT-1.5.4-3, MQTT-3.1.3-2, -5 to -7, MQTT-3.2.2-16.
    3.1.1: MQTT-1.5.3-3, MQTT-3.1.3-2, -5 to -9."""
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    with Roost() as r:
        for version in BOTH:
            for n in range(0, len(alphabet), 23):
                with Client(r.port, alphabet[n:n + 23], version) as c:
                    c.nothing()
            with Client(r.port, "x", version) as c, Client(r.port, "\ufeffgr\u00fc\u00df-\U0001f331", version) as d:
                c.nothing(), d.nothing()
            # Two without a name are two.
            with Client(r.port, "", version) as c, Client(r.port, "", version) as d:
                c.nothing(), d.nothing()
                if version == 5:
                    a, b = c.connack.properties["assigned_id"], d.connack.properties["assigned_id"]
                    assert a and b and a != b
        with mqtt.Client(r.port) as c:
            c.send(connect("", 4, clean=False))
            assert c.wait_closed(10) == b"\x20\2\0\2"
        with Client(r.port, "", 5, clean=False, session_expiry=60) as c:
            name = c.connack.properties["assigned_id"].decode()
            c.sub("kept")
        with Client(r.port, name, 5, clean=False) as c:
            assert c.connack.session_present
            assert "assigned_id" not in c.connack.properties
        with Client(r.port, "x" * 70, 5, accept=False) as c:
            assert c.expect(CONNACK).reason == 0


def test_a_session_is_kept_or_not():
    """5.0: MQTT-3.1.2-4 to -6, -23, MQTT-3.1.4-4, -5, MQTT-3.2.2-1 to -3, MQTT-4.1.0-1, -2, MQTT-4.5.0-1.
    3.1.1: MQTT-3.1.2-4 to -7, MQTT-3.1.4-3, -4, MQTT-3.2.2-1 to -3, MQTT-4.1.0-1, -2, MQTT-4.5.0-1."""
    with Roost() as r, Client(r.port, "other", 5) as other:
        for version in BOTH:
            keep = {"session_expiry": 60} if version == 5 else {}
            name, topic = "s%d" % version, "t/%d" % version
            with Client(r.port, name, version, clean=False, **keep) as c:
                assert not c.connack.session_present
                assert c.sub((topic, 1)) == [1]
                c.put(topic, "retained", retain=True)
                assert c.message().payload == b"retained"
                c.end()
            other.put(topic, "1"), other.put(topic, "2"), other.put(topic, "qos 0", 0)
            with Client(r.port, name, version, clean=False, **keep) as c:
                assert c.connack.session_present
                got = [c.message(), c.message()]
                assert [m.payload for m in got] == [b"1", b"2"] and [m.qos for m in got] == [1, 1]
                assert not any(m.dup or m.retain for m in got), got
            # A clean start forgets it, and what a clean session had is not there later.
            with Client(r.port, name, version, clean=True) as c:
                assert not c.connack.session_present
                other.put(topic, "3")
                c.nothing()
                c.sub((topic, 1))
                assert c.message().payload == b"retained"
            with Client(r.port, name, version, clean=False, **keep) as c:
                assert not c.connack.session_present
                c.nothing()
            with Client(r.port, name, version, clean=True):
                pass
        # 5.0: the interval decides, and may be changed at the end.
        c = Client(r.port, "e", 5, clean=False, session_expiry=60)
        c.sub("e")
        c.end(0, session_expiry=0)
        c = Client(r.port, "e", 5, clean=False, session_expiry=1, will=("end/of/e", ""), will_properties={"will_delay": 60})
        assert not c.connack.session_present
        c.sub("e")
        other.sub("end/#")
        gone(c)
        other.message()  # the will of a session is published when it ends, if not before
        c = Client(r.port, "e", 5, clean=False)
        assert not c.connack.session_present
        c.send(b"\xe0\7\0\5\x11\0\0\0\1")  # from 0 to more than 0: section 3.14.2.2.2
        assert [(p.kind, p.reason) for p in c.closed()] == [(DISCONNECT, 0x82)]


def test_puback_says_that_nobody_listens():
    """5.0, 3.4.2.1: no subscription matches, on no worker. A reading is Roost's own to take. 3.1.1 is told nothing."""
    workers = roost.WORKERS + ["connectivity-1"]
    with Roost({"connectivity.replicas": "2"}, workers=workers) as r, Client(r.port, "s", 5) as s:
        assert s.sub(("heard/+", 0), ("$share/g/shared", 0)) == [0, 0]
        for n in range(8):  # some of them at the other worker
            with Client(r.port, "p%d" % n, 5) as p, Client(r.port, "o%d" % n, 4) as o:
                assert p.put("heard/x").reason == 0
                assert p.put("shared").reason == 0
                assert p.put("unheard", "x").reason == 0x10
                assert p.put("unheard/kept", "x", retain=True).reason == 0x10
                assert p.put("roost/d/telemetry", '{"level":1}').reason == 0
                assert p.put("unheard", "x", qos=2, packet_id=2).reason == 0
                o.put("unheard", "x")
        assert s.unsub("heard/+", "$share/g/shared") == [0, 0]
        for n in range(8):
            with Client(r.port, "q%d" % n, 5) as p:
                wait_for(lambda: p.put("heard/x").reason == 0x10, 10, "the other worker knows that nobody listens")


def test_what_was_not_acknowledged_comes_again():
    """5.0: MQTT-2.2.1-4, MQTT-3.3.1-1, MQTT-4.3.2-1 to -3, MQTT-4.4.0-1, MQTT-4.6.0-1.
    3.1.1: MQTT-2.3.1-3, -4, MQTT-3.3.1-1, MQTT-4.3.2-1, MQTT-4.4.0-1, MQTT-4.6.0-1."""
    with Roost() as r, Client(r.port, "other", 4) as other:
        for version in BOTH:
            keep = {"session_expiry": 60} if version == 5 else {}
            c = Client(r.port, "s%d" % version, version, clean=False, **keep)
            c.sub(("t", 1))
            for n in range(1, 6):
                other.put("t", str(n))
            first = c.messages(answer=False)
            assert [m.payload for m in first] == [b"1", b"2", b"3", b"4", b"5"]
            assert [m.packet_id for m in first] == [1, 2, 3, 4, 5], first
            assert not any(m.dup for m in first)
            c.send(ack(PUBACK, first[1].packet_id))
            c.nothing()
            gone(c)
            with Client(r.port, "s%d" % version, version, clean=False, **keep) as c:
                again = c.messages()
                assert [(m.packet_id, m.payload) for m in again] == [(1, b"1"), (3, b"3"), (4, b"4"), (5, b"5")], again
                assert all(m.dup for m in again)
            with Client(r.port, "s%d" % version, version, clean=False, **keep) as c:
                c.nothing()
            with Client(r.port, "s%d" % version, version):
                pass


def test_a_refused_message_does_not_come_again():
    """A PUBACK with 0x80 or more is an acknowledgement.
    5.0: MQTT-4.4.0-2."""
    with Roost() as r, Client(r.port, "other", 4) as other:
        c = Client(r.port, "s", 5, clean=False, session_expiry=60, receive_maximum=1)
        c.sub(("t", 1))
        other.put("t", "1"), other.put("t", "2")
        m = c.expect(PUBLISH)
        c.send(ack(PUBACK, m.packet_id, 0x97))
        assert c.expect(PUBLISH).payload == b"2"
        gone(c)
        with Client(r.port, "s", 5, clean=False, session_expiry=60) as c:
            assert [m.payload for m in c.messages()] == [b"2"]


def test_takeover():
    """5.0: MQTT-3.1.3-2, MQTT-3.1.4-3, MQTT-3.14.4-1, -2.
    3.1.1: MQTT-3.1.3-2, MQTT-3.1.4-2."""
    with Roost() as r:
        for version in BOTH:
            old = Client(r.port, "same", version)
            with Client(r.port, "same", version) as new:
                rest = old.closed()
                assert [(p.kind, p.reason) for p in rest] == ([(DISCONNECT, 0x8E)] if version == 5 else []), rest
                new.nothing()
            old.close()


def test_wills():
    """5.0: MQTT-3.1.2-7, -8, -10, -14, -15, MQTT-3.2.2-13, MQTT-3.14.4-3.
    3.1.1: MQTT-3.1.2-8, -10, -12, -16, -17, MQTT-3.14.4-3."""
    with Roost() as r, Client(r.port, "watch", 5) as watch:
        watch.sub(("w/#", 8 | 1))
        for version in BOTH:
            will = {"will": ("w/1", "lost"), "will_qos": 1}
            gone(Client(r.port, "c", version, **will))
            m = watch.message()
            assert (m.topic, m.payload, m.qos, m.retain) == ("w/1", b"lost", 1, False), m
            # Once only, and not at all behind a DISCONNECT.
            Client(r.port, "c", version, **will).end(0 if version == 5 else None)
            gone(Client(r.port, "c", version))
            c = Client(r.port, "c", version, **will)
            c.send(b"\x30\xff\xff\xff\xff\1")  # breaks the protocol
            c.closed()
            assert watch.message().payload == b"lost"
            c = Client(r.port, "c", version, **will)
            with Client(r.port, "c", version):  # taken over
                assert watch.message().payload == b"lost"
            watch.nothing()
            gone(Client(r.port, "c", version, will_retain=True, **will))
            m = watch.message()
            assert m.retain and m.payload == b"lost", m
            with Client(r.port, "late", version) as late:
                late.sub("w/#")
                assert late.message().payload == b"lost"
                late.put("w/1", b"", retain=True)
            assert watch.message().payload == b""
        for reason in (0x04, 0x80, 0x99):
            Client(r.port, "c", 5, will=("w/5", "with will")).end(reason)
            assert watch.message().payload == b"with will", reason
        watch.nothing()


def test_wills_of_version_5():
    """5.0: MQTT-3.1.2-8, MQTT-3.1.3-9, -10, MQTT-3.3.2-4, -15 to -18, -20."""
    said = {"payload_format": 1, "content_type": "text", "response_topic": "w/answer", "correlation": b"\0\1",
            "user": [("a", "1"), ("b", "2"), ("a", "3")]}
    with Roost() as r, Client(r.port, "watch", 5) as watch:
        watch.sub(("w/#", 1))
        gone(Client(r.port, "c", 5, will=("w/1", "lost"), will_properties=dict(said, will_delay=60)))
        got = watch.message()  # the session ended with the connection
        want = {k: v.encode() if isinstance(v, str) else v for k, v in said.items() if k != "user"}
        assert got.properties.pop("user") == [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], got
        assert got.properties == want, got
        # Delayed, and back in time.
        gone(Client(r.port, "c", 5, session_expiry=60, will=("w/2", "never"), will_properties={"will_delay": 1}))
        c = Client(r.port, "c", 5, clean=False, session_expiry=60, will=("w/3", "later"), will_properties={"will_delay": 1})
        gone(c)
        got = watch.message()
        assert got.topic == "w/3", got
        watch.nothing()


def test_dup_retain_and_qos_are_the_servers_own():
    """5.0: MQTT-3.3.1-3, -12, -13, MQTT-3.3.4-1, MQTT-3.8.4-8, MQTT-4.3.1-1.
    3.1.1: MQTT-3.3.1-3, -9, MQTT-3.3.4-1, MQTT-3.8.4-6, MQTT-4.3.1-1."""
    with Roost() as r:
        for version in BOTH:
            with Client(r.port, "p%d" % version, version) as c, Client(r.port, "s", version) as s:
                assert s.sub(("q/0", 0), ("q/1", 1)) == [0, 1]
                for topic in ("q/0", "q/1"):
                    c.put(topic, "0", 0), c.put(topic, "1", 1), c.put(topic, "again", 1, dup=True)
                got = s.messages()
                assert [(m.topic, m.qos, m.payload) for m in got] == [
                    ("q/0", 0, b"0"), ("q/0", 0, b"1"), ("q/0", 0, b"again"),
                    ("q/1", 0, b"0"), ("q/1", 1, b"1"), ("q/1", 1, b"again")], got
                assert not any(m.dup or m.retain for m in got), got
                c.put("q/0", "r", 1, retain=True)
                assert not s.message().retain
                c.put("q/0", b"", 1, retain=True)
        with Client(r.port, "p", 5) as c, Client(r.port, "s", 5) as s:
            s.sub(("as/is", 8 | 1), ("as/#", 1))
            c.put("as/is", "r", 1, retain=True), c.put("as/other", "r", 1, retain=True), c.put("as/is", "n")
            assert [(m.topic, m.retain) for m in s.messages()] == [("as/is", True), ("as/other", False), ("as/is", False)]


def test_retained_messages():
    """5.0: MQTT-3.3.1-5 to -11, MQTT-3.8.4-4.
    3.1.1: MQTT-3.1.2-7, MQTT-3.3.1-5 to -8, -10 to -12, MQTT-3.8.4-3."""
    with Roost() as r:
        for version in BOTH:
            with Client(r.port, "p", version) as c:
                c.put("r/%d/a" % version, "1", retain=True), c.put("r/%d/a" % version, "2", 1, retain=True)
                c.put("r/%d/b" % version, "0", 0, retain=True), c.put("r/%d/a" % version, "not kept", 1)
            with Client(r.port, "s", version) as s:
                s.sub("r/%d/+" % version)
                got = s.messages()
                assert sorted((m.topic[-1], m.payload, m.qos, m.retain) for m in got) == [
                    ("a", b"2", 1, True), ("b", b"0", 0, True)], got
                s.sub(("r/%d/+" % version, 1))  # once more: they come again
                assert len(s.messages()) == 2
                s.put("r/%d/a" % version, b"", 1, retain=True)
                got = s.messages()  # an empty one is passed on, and takes the other back
                assert [(m.payload, m.retain) for m in got] == [(b"", False)], got
                s.put("r/%d/b" % version, "qos 0 takes its place", 0, retain=True)
                s.message()
                s.sub("r/%d/+" % version)
                assert [m.payload for m in s.messages()] == [b"qos 0 takes its place"]
        with Client(r.port, "s", 5) as s:
            s.put("h/1", "x", 1, retain=True)
            for options, first, second in ((0x00, 1, 1), (0x10, 1, 0), (0x20, 0, 0)):
                s.sub(("h/+", options))
                assert len(s.messages()) == first, options
                s.sub(("h/+", options))
                assert len(s.messages()) == second, options
                s.unsub("h/+")


def test_properties_are_passed_on():
    """5.0: MQTT-2.2.2-1, MQTT-3.1.2-27, MQTT-3.2.2-17, MQTT-3.3.2-4, -7 to -9, -12, -15 to -18, -20."""
    said = {"payload_format": 1, "content_type": "text/plain", "response_topic": "answer/here", "correlation": b"\0\xff\1",
            "user": [("b", "1"), ("a", "2"), ("b", "3"), ("", "")]}
    want = {"payload_format": 1, "content_type": b"text/plain", "response_topic": b"answer/here", "correlation": b"\0\xff\1",
            "user": [(b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"", b"")]}
    with Roost() as r, Client(r.port, "s", 5) as s, Client(r.port, "old", 4) as old, Client(r.port, "p", 5) as c:
        s.sub(("p/#", 1)), old.sub(("p/#", 1))
        c.put("p/1", "text", 1, **said)
        got = s.message()
        assert got.properties == want, got
        assert old.message().payload == b"text"
        c.put("p/2", "plain", 1)
        assert s.message().properties == {}
        old.put("p/3", "from 3.1.1")
        assert s.message().properties == {}
        # An alias is between two: it is not passed on, not remembered, not taken from another connection.
        most = c.connack.properties["alias_maximum"]
        assert most >= 10
        for n in (1, most):
            c.put("p/alias/%d" % n, "new", 1, alias=n), c.put("", "known", 1, alias=n)
            got = [s.message(), s.message()]
            assert [(m.topic, m.payload, m.properties) for m in got] == [
                ("p/alias/%d" % n, b"new", {}), ("p/alias/%d" % n, b"known", {})], got
        c.put("p/other", "moved", 1, alias=1), c.put("", "known", 1, alias=1)
        assert [s.message().topic, s.message().topic] == ["p/other", "p/other"]
        # Nor in the client's next connection, though its session goes on.
        a = Client(r.port, "a", 5, session_expiry=60)
        a.put("p/x", "x", 1, alias=2), s.message()
        a.end()
        with Client(r.port, "a", 5, clean=False, session_expiry=60) as a:
            assert a.connack.session_present
            a.send(publish("", "x", 1, 1, 5, alias=2))
            assert [(p.kind, p.reason) for p in a.closed()] == [(DISCONNECT, 0x82)]
        for data, reason in ((publish("", "x", 1, 1, 5, alias=2), 0x82), (publish("a", "x", 1, 1, 5, alias=most + 1), 0x94),
                             (publish("a", "x", 1, 1, 5, alias=0), 0x94), (publish("", "x", 1, 1, 5), 0x82)):
            with Client(r.port, "a", 5) as a:
                a.send(data)
                assert [(p.kind, p.reason) for p in a.closed()] == [(DISCONNECT, reason)], data.hex()


def test_aliases_of_the_server():
    """None above the client's maximum, none without one, and each means what it said.
    5.0: MQTT-3.1.2-26, -27, MQTT-3.3.2-8, -11."""
    with Roost() as r, Client(r.port, "p", 5) as p:
        for most in (None, 0, 2):
            said = {} if most is None else {"alias_maximum": most}
            with Client(r.port, "s", 5, **said) as s:
                s.sub(("al/#", 0))
                want = ["al/%d" % (n % 3) for n in range(12)]
                for topic in want:
                    p.put(topic, "x", 0)
                p.nothing()
                known, got = {}, []
                for m in s.messages():
                    alias = m.properties.get("alias")
                    assert alias is None or 1 <= alias <= (most or 0), m
                    if alias and m.topic:
                        known[alias] = m.topic
                    got.append(m.topic or known[alias])
                assert got == want, got


def test_messages_expire():
    """5.0: MQTT-3.3.2-5, -6."""
    with Roost() as r, Client(r.port, "p", 5) as p:
        c = Client(r.port, "s", 5, clean=False, session_expiry=60)
        c.sub(("t", 1))
        gone(c)
        p.put("t", "short", message_expiry=1), p.put("t", "long", message_expiry=100), p.put("t", "always")
        p.put("kept", "short", retain=True, message_expiry=1), p.put("kept/long", "long", retain=True, message_expiry=100)

        def expired():
            with Client(r.port, "w", 5) as w:
                w.sub("kept/#")
                return [m.payload for m in w.messages()] == [b"long"]
        r.wait_for(expired, 10, "the retained message to expire")
        with Client(r.port, "s", 5, clean=False, session_expiry=60) as c:
            got = c.messages()
            assert [m.payload for m in got] == [b"long", b"always"], got
            assert 90 <= got[0].properties["message_expiry"] < 100 and "message_expiry" not in got[1].properties, got


def test_subscriptions():
    """5.0: MQTT-2.2.1-6, MQTT-3.2.2-10, MQTT-3.8.4-1 to -3, -5 to -7, MQTT-3.9.3-1, -2, MQTT-3.10.4-1 to -6, MQTT-3.11.3-1, -2.
    3.1.1: MQTT-2.3.1-7, MQTT-3.8.4-1 to -5, MQTT-3.9.3-1, -2, MQTT-3.10.4-1 to -6."""
    with Roost() as r:
        for version in BOTH:
            with Client(r.port, "s", version) as s, Client(r.port, "p", version) as p:
                deep = "/" * 200
                codes = s.sub(("a", 0), (deep, 0), ("b/+", 1), packet_id=0xFFFF)
                assert codes == [0, 0x8F if version == 5 else 0x80, 1], codes
                assert s.sub(("a", 1), packet_id=7) == [1]  # replaces, and is not there twice
                p.put("a", "1")
                got = s.messages()
                assert [(m.payload, m.qos) for m in got] == [(b"1", 1)], got
                # Compared character by character: b/c is matched by b/+, but it is not b/+.
                assert s.unsub("b/c", "B/+", packet_id=9) == ([0x11, 0x11] if version == 5 else [])
                p.put("b/c", "2")
                assert s.message(answer=False).payload == b"2"
                assert s.unsub("b/+", "nothing", "a", packet_id=10) == ([0, 0x11, 0] if version == 5 else [])
                p.put("b/c", "3"), p.put("a", "3")
                s.nothing()
                # What it has begun to send is still acknowledged.
                s.send(ack(PUBACK, 2))
                s.nothing()
                # To replace a subscription interrupts nothing: each message comes, and once.
                s.sub(("flow", 1), packet_id=11)
                for n in range(1, 201):
                    p.send(publish("flow", str(n), 1, n, version))
                    s.send(subscribe([("flow", 1)], 11 + n, version))
                assert [p.expect(PUBACK).packet_id for n in range(200)] == list(range(1, 201))
                assert [s.expect(SUBACK).packet_id for n in range(200)] == list(range(12, 212))
                assert [int(m.payload) for m in s.messages()] == list(range(1, 201))


def test_no_local_and_subscription_identifiers():
    """5.0: MQTT-3.3.4-2 to -5, MQTT-3.8.3-3, MQTT-3.8.4-3.
    3.1.1: MQTT-3.3.5-1."""
    with Roost() as r, Client(r.port, "s", 5) as s, Client(r.port, "p", 5) as p:
        s.sub(("n", 4 | 1))
        s.put("n", "mine")
        s.nothing()
        p.put("n", "yours")
        assert s.message().payload == b"yours"
        s.unsub("n")
        s.sub(("o/#", 0), subscription_id=1), s.sub(("o/+", 1), subscription_id=268435455), s.sub(("o/1", 0))
        p.put("o/1", "x")
        got = s.messages()
        ids = sorted(i for m in got for i in m.properties.get("subscription_id", []))
        assert ids == [1, 268435455] and max(m.qos for m in got) == 1, got
        s.sub(("o/#", 0), subscription_id=3)  # replaces the identifier too
        p.put("o/1/2", "x", 0)
        p.put("o", "x")
        assert [m.properties for m in s.messages()] == [{"subscription_id": [3]}] * 2
        with Client(r.port, "old", 4) as old:
            old.sub(("o/#", 0), ("o/+", 1))
            p.put("o/1", "y")
            got = old.messages()
            assert [m.qos for m in got if m.qos == 1] == [1], got


def test_flow_control():
    """5.0: MQTT-3.3.4-9, -10, MQTT-4.9.0-1 to -3."""
    with Roost({"mqtt.receive_maximum": 3}) as r, Client(r.port, "p", 4) as p:
        with Client(r.port, "s", 5, receive_maximum=2) as s:
            assert s.connack.properties["receive_maximum"] == 3
            s.sub(("t", 1))
            for n in range(5):
                p.put("t", str(n))
            p.put("t", "qos 0", 0)
            p.send(b"\xc0\0")
            p.expect(PINGRESP)
            got = s.messages(answer=False)
            assert [m.payload for m in got if m.qos] == [b"0", b"1"], got
            assert s.sub(("u", 0)) == [0]  # other packets are not held back
            s.send(ack(PUBACK, got[0].packet_id))
            got += s.messages(answer=False)
            assert [m.payload for m in got if m.qos] == [b"0", b"1", b"2"], got
            for m in [m for m in got if m.qos][1:]:
                s.send(ack(PUBACK, m.packet_id))
            assert len([m for m in s.messages() if m.qos]) >= 1


def test_packets_of_a_clients_maximum():
    """What is too large is not sent; reason strings that do not fit are left out.
    5.0: MQTT-3.1.2-24, -25, MQTT-3.2.2-19, MQTT-3.4.2-2, MQTT-3.14.2-3."""
    with Roost() as r, Client(r.port, "p", 5) as p:
        with Client(r.port, "s", 5, packet_max=100) as s:
            s.sub(("t", 1))
            p.put("t", "x" * 100), p.put("t", "y")
            assert [m.payload for m in s.messages()] == [b"y"]
        with Client(r.port, "tiny", 5, packet_max=60) as c:
            c.send(publish("a/#", "x", 0, version=5))
            c.wait_closed(10)
            assert len(c.rest) <= 60 and c.rest[0] == 0xE0 and c.rest[2] == 0x81, c.rest
        with Client(r.port, "tiny", 5, packet_max=60) as c:
            assert c.sub(*["f/%d" % n for n in range(55)]) == [2] * 55
            c.send(subscribe([("f/%d" % n, 0) for n in range(56)], 2, 5))
            assert [(p.kind, p.reason) for p in c.closed()] == [(DISCONNECT, 0x95)]
        with Client(r.port, "small", 5, packet_max=60) as c:
            answer = c.put("$SYS/x", "refused")
            assert answer.reason >= 0x80 and answer.properties == {}, answer
        with mqtt.Client(r.port) as c:
            c.send(connect("tiny", 5, packet_max=2))
            assert c.wait_closed(10) == b""
        with mqtt.Client(r.port) as c:
            c.send(connect("tiny", 5, packet_max=8, auth_method="none"))
            assert c.wait_closed(10) == b"\x20\3\0\x8c\0"


def test_problem_information_is_not_forced_on_anyone():
    """5.0: MQTT-3.1.2-28, -29."""
    with Roost() as r:
        for problem_info in (0, 1):
            with Client(r.port, "c", 5, problem_info=problem_info, response_info=0) as c:
                assert "response_information" not in c.connack.properties
                answer = c.put("$SYS/x", "refused")
                assert answer.reason >= 0x80 and ("reason_string" in answer.properties) == bool(problem_info), answer
                assert c.sub("/" * 200) == [0x8F]


def test_authentication_that_is_not_offered():
    """5.0: MQTT-3.1.2-30, MQTT-3.15.1-1, MQTT-3.15.2-2, -3, MQTT-4.12.0-1, -2, -4 to -7, MQTT-4.12.1-1, -2."""
    with Roost() as r:
        with Client(r.port, "c", 5, accept=False, auth_method="SCRAM-SHA-1", auth_data=b"client-first") as c:
            got = c.closed()
            assert [(p.kind, p.reason, p.session_present) for p in got] == [(CONNACK, 0x8C, 0)], got
            assert "auth_method" not in got[0].properties
        for data in (b"\xf0\0", b"\xf0\6\x18\4\x15\0\1m", b"\xf0\6\x19\4\x15\0\1m"):
            with Client(r.port, "c", 5) as c:
                assert "auth_method" not in c.connack.properties
                c.send(data)
                got = c.closed()
                assert [(p.kind, p.reason) for p in got] == [(DISCONNECT, 0x82)] and AUTH not in [p.kind for p in got], got


def test_matching_of_topics():
    """5.0: MQTT-3.3.2-3, MQTT-4.7.0-1, MQTT-4.7.2-1, MQTT-4.7.3-3, -4.
    3.1.1: MQTT-3.3.2-1 to -3, MQTT-3.8.3-2, MQTT-4.7.1-1, MQTT-4.7.2-1, MQTT-4.7.3-3, -4."""
    cases = [
        ("sport/tennis/player1/#", ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/x"],
         ["sport/tennis", "sport/tennis/player10", "Sport/tennis/player1"]),
        ("#", ["a", "/", "a/b//c", "\u00fc"], ["$x", "$x/a", "$SYSTEM"]),
        ("+", ["a", " ", "\u00fc"], ["/a", "a/", "a/b", "$x"]),
        ("sport/+", ["sport/", "sport/x"], ["sport", "sport/x/y"]),
        ("/+", ["/finance", "/"], ["finance", "//"]),
        ("+/+", ["/finance", "/", "a/b"], ["a", "a/b/c", "$x/a"]),
        ("+/a", ["x/a", "/a"], ["$x/a"]),
        ("$x/#", ["$x", "$x/a", "$x/a/b"], ["$y/a", "x/a"]),
        ("$x/+", ["$x/a"], ["$x", "$x/a/b"]),
        ("a//b", ["a//b"], ["a/b", "a/ /b"]),
        ("A/\u00e9", ["A/\u00e9"], ["a/\u00e9", "A/e\u0301", "A/e"]),
        ("a/b ", ["a/b "], ["a/b"]),
    ]
    with Roost() as r, Client(r.port, "s", 5) as s, Client(r.port, "p", 4) as p:
        for n, (pattern, yes, no) in enumerate(cases):
            assert s.sub((pattern, 0), packet_id=n + 1) == [0]
            for topic in yes + no:
                p.send(publish(topic, "x"))
            p.nothing()
            assert [m.topic for m in s.messages()] == yes, pattern
            assert s.unsub(pattern) == [0]
        longest = "x" * 65535
        s.send(subscribe([(longest, 0)], 1, 5))
        assert s.next().codes == [0]
        p.send(publish(longest, "x"))
        assert s.message().topic == longest


def test_topics_and_filters_that_are_none():
    """5.0: MQTT-1.5.4-1, -2, MQTT-3.8.3-1, -2, -4, -5, MQTT-3.10.3-1, -2, MQTT-4.7.1-1, -2, MQTT-4.7.3-1, -2, MQTT-4.8.2-1, -2,
    MQTT-4.13.1-1.
    3.1.1: MQTT-1.5.3-1, -2, MQTT-3.8.3-1, -3, MQTT-3-8.3-4, MQTT-3.10.3-1, -2, MQTT-4.7.1-2, -3, MQTT-4.7.3-1, -2,
    MQTT-4.8.0-1."""
    filters = ["", "a#", "#/a", "a/#/b", "+a", "a+", "a/+b/c", b"a\0b", b"\xed\xa0\x80", b"\xff"]
    with Roost() as r:
        for version in BOTH:
            for f in filters:
                with Client(r.port, "c", version) as c:
                    c.send(subscribe([("good", 0), (f, 0)], 1, version))
                    got = c.closed()
                    assert [(p.kind, p.reason) for p in got] == ([(DISCONNECT, 0x81)] if version == 5 else []), (f, got)
            for data, reason in ((subscribe([], 1, version), 0x82), (subscribe([("a", 3)], 1, version), 0x82),
                                 (subscribe([("a", 0xC0)], 1, version), 0x81), (subscribe([("a", 0)], 0, version), 0x81)):
                with Client(r.port, "c", version) as c:
                    c.send(data)
                    got = c.closed()
                    assert [(p.kind, p.reason) for p in got] == ([(DISCONNECT, reason)] if version == 5 else []), got
        cases = [(f, 0x82) for f in ("$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/")]
        cases += [(f, 0x81) for f in ("$share/#/a", "$share/g#/a", "$share/g+/a", "$share/+g/a")]  # a wildcard is misplaced too
        for f, reason in cases:
            with Client(r.port, "c", 5) as c:
                c.send(subscribe([(f, 0)], 1, 5))
                assert [(p.kind, p.reason) for p in c.closed()] == [(DISCONNECT, reason)], f
        with Client(r.port, "c", 5) as c:
            c.send(subscribe([("$share/g/a", 4)], 1, 5))
            assert [(p.kind, p.reason) for p in c.closed()] == [(DISCONNECT, 0x82)]


def test_the_servers_keep_alive():
    """3.1.1 has none: its clients are left alone.
    5.0: MQTT-3.1.2-21, -22, MQTT-3.2.2-21, -22."""
    with Roost({"mqtt.keep_alive_max": 1}) as r, Client(r.port, "old", 4) as old:
        with Client(r.port, "long", 5, keep_alive=60) as c, Client(r.port, "none", 5) as d:
            assert c.connack.properties["server_keep_alive"] == d.connack.properties["server_keep_alive"] == 1
            for x in (c, d):
                assert [(p.kind, p.reason) for p in x.closed()] == [(DISCONNECT, 0x8D)]
        with Client(r.port, "short", 5, keep_alive=1) as c:
            assert "server_keep_alive" not in c.connack.properties
        old.nothing()


def test_order():
    """5.0: MQTT-2.2.1-5, MQTT-4.3.2-4, -5, MQTT-4.6.0-2, -5, -6.
    3.1.1: MQTT-2.3.1-6, MQTT-4.3.2-2, MQTT-4.6.0-2, -5, -6."""
    with Roost() as r, Client(r.port, "s", 4) as s, Client(r.port, "p", 4) as p:
        s.sub(("t/#", 1))
        data = b"".join(publish("t/%d" % (n % 3), str(n), 1, n) for n in range(1, 301))
        p.send(data)
        assert [p.expect(PUBACK).packet_id for _ in range(300)] == list(range(1, 301))
        assert [int(s.message().payload) for _ in range(300)] == list(range(1, 301))
        # An id that was acknowledged is free: the same packet again, DUP or not, is a new message.
        p.put("t/1", "a", packet_id=7), p.put("t/1", "a", packet_id=7, dup=True)
        assert [m.payload for m in s.messages()] == [b"a", b"a"]


def test_payloads_are_what_they_say():
    """5.0, section 3.3.2.3.2: 0x99 for what is announced as UTF-8 and is none."""
    with Roost() as r, Client(r.port, "s", 5) as s, Client(r.port, "p", 5) as p:
        s.sub(("t", 1))
        assert p.put("t", b"\xff", payload_format=1).reason == 0x99
        assert p.put("t", b"\xff", payload_format=0).reason < 0x80
        assert p.put("t", "gr\u00fc\u00df\0", payload_format=1).reason < 0x80
        assert [m.payload for m in s.messages()] == [b"\xff", "gr\u00fc\u00df\0".encode()]
        with Client(r.port, "w", 5, accept=False, will=("t", b"\xff"), will_properties={"payload_format": 1}) as c:
            assert [(x.kind, x.reason) for x in c.closed()] == [(CONNACK, 0x99)]


def test_pings():
    """5.0: MQTT-3.1.2-20, MQTT-3.12.4-1, MQTT-3.14.4-1.
    3.1.1: MQTT-3.1.2-23, MQTT-3.12.4-1, MQTT-3.14.4-1, -2."""
    with Roost() as r:
        for version in (3, 4, 5):
            with Client(r.port, "c", version) as c:
                c.send(b"\xc0\0" * 5)
                for _ in range(5):
                    assert c.expect(PINGRESP).raw == b""
                c.send(b"\xe0\0\xc0\0")
                assert c.closed() == []
        with Client(r.port, "c", 4) as c:
            c.send(ack(PUBREL, 77))  # of something that nobody knows: the sender may forget it too
            assert c.expect(PUBCOMP).packet_id == 77


def test_characters_that_texts_should_hold_none_of():
    """MQTT 5 and 3.1.1 section 1.5.4, 1.5.3: control characters and U+FFFF may be called malformed. They are not: they pass as they are."""
    topic = "\x01/\x1f\x7f/\x9f/\uffff"
    with Roost() as r:
        for version in (3, 4, 5):
            with Client(r.port, topic + str(version), version) as c:
                assert c.sub((topic, 1)) == [1]
                assert c.put(topic, topic).reason == 0
                got = c.message()
                assert (got.topic, got.payload) == (topic, topic.encode()), got


if __name__ == "__main__":
    roost.main(globals())
