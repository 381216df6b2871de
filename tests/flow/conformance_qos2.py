"""QoS 2 and shared subscriptions as the standards have them, over a socket; see conformance.py."""
import roost
import verify
from mqtt_wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, ack, publish
from roost import Roost

BOTH = (4, 5)


def gone(client):
    """Says goodbye, so that the server has seen the end of it."""
    client.end()


def kept(version):
    return {"clean": False, "session_expiry": 60} if version == 5 else {"clean": False}


def release(client, packet_id):
    client.send(ack(PUBREL, packet_id))
    answer = client.expect(PUBCOMP)
    assert answer.packet_id == packet_id, answer
    return answer.reason


def test_a_client_publishes_exactly_once():
    """5.0: MQTT-2.2.1-3, -5, MQTT-3.2.2-9, MQTT-3.3.4-1, MQTT-4.3.3-8, -10 to -12.
    3.1.1: MQTT-2.3.1-2, -6, MQTT-3.3.4-1, MQTT-4.3.3-2, MQTT-4.6.0-3."""
    with Roost() as r, Client(r.port, "s", 4) as s:
        assert s.sub(("t", 2)) == [2]
        for version in (3, 4, 5):
            with Client(r.port, "p%d" % version, version) as p:
                assert p.put("t", "1", 2, 7).reason < 0x80
                assert p.put("t", "1", 2, 7, dup=True).reason < 0x80
                assert p.put("t", "1", 2, 7).reason < 0x80
                p.put("t", "2", 2, 8)
                assert release(p, 7) == 0
                assert release(p, 7) == (0x92 if version == 5 else 0)
                assert p.put("t", "3", 2, 7, dup=True).reason < 0x80  # the id is free again
                assert release(p, 7) == 0 and release(p, 8) == 0
            got = take(s)
            assert [m.payload for m in got] == [b"1", b"2", b"3"] and {m.qos for m in got} == {2}, got
            assert not any(m.dup for m in got)


def take(client):
    """All messages that are on their way, the exchange of each completed."""
    client.send(b"\xc0\0")
    client.expect(13)
    found, client.early = client.early, []
    for m in found:
        if m.qos == 2:
            client.send(ack(PUBREC, m.packet_id))
            assert client.expect(PUBREL).packet_id == m.packet_id
            client.send(ack(PUBCOMP, m.packet_id))
        elif m.qos == 1:
            client.send(ack(PUBACK, m.packet_id))
    return found


def test_answers_of_qos_2_come_in_order():
    """5.0: MQTT-4.6.0-3 to -6.
    3.1.1: MQTT-4.6.0-3, -4."""
    with Roost() as r, Client(r.port, "p", 4) as p, Client(r.port, "s", 4) as s:
        s.sub(("t/#", 2))
        ids = list(range(1, 21))
        p.send(b"".join(publish("t/%d" % (n % 3), str(n), 2, n) for n in ids))
        assert [p.expect(PUBREC).packet_id for _ in ids] == ids
        p.send(b"".join(ack(PUBREL, n) for n in ids))
        assert [p.expect(PUBCOMP).packet_id for _ in ids] == ids
        got = [s.expect(PUBLISH) for _ in ids]
        assert [int(m.payload) for m in got] == ids
        back = [m.packet_id for m in reversed(got)]
        s.send(b"".join(ack(PUBREC, n) for n in back))
        assert [s.expect(PUBREL).packet_id for _ in ids] == back


def test_a_client_that_comes_back_goes_on():
    """5.0: MQTT-4.3.3-10, MQTT-4.4.0-1.
    3.1.1: MQTT-4.3.3-2, MQTT-4.4.0-1."""
    with Roost() as r, Client(r.port, "s", 4) as s:
        s.sub(("t", 2))
        for version in BOTH:
            p = Client(r.port, "p%d" % version, version, **kept(version))
            p.put("t", "1", 2, 1)
            gone(p)
            with Client(r.port, "p%d" % version, version, **kept(version)) as p:
                assert p.connack.session_present
                p.put("t", "1", 2, 1, dup=True)
                assert release(p, 1) == 0
            assert [m.payload for m in take(s)] == [b"1"]


def test_a_client_receives_exactly_once():
    """5.0: MQTT-2.2.1-5, MQTT-3.2.2-10, MQTT-3.8.4-8, MQTT-4.3.3-1 to -6, MQTT-4.4.0-1.
    3.1.1: MQTT-3.1.2-5, MQTT-3.8.4-6, MQTT-4.3.3-1, MQTT-4.4.0-1, MQTT-4.6.0-4."""
    with Roost() as r, Client(r.port, "p", 4) as p:
        for version in BOTH:
            name = "s%d" % version
            s = Client(r.port, name, version, **kept(version))
            assert s.sub(("t", 2), ("t/1", 1)) == [2, 1]
            p.put("t", "1", 2, 1), release(p, 1)
            p.put("t", "2", 2, 2), release(p, 2)
            p.put("t", "3", 1, 3), p.put("t/1", "4", 2, 4), release(p, 4)
            got = [s.expect(PUBLISH) for _ in range(4)]
            said = [(m.payload, m.qos, m.packet_id) for m in got]
            assert said == [(b"1", 2, 1), (b"2", 2, 2), (b"3", 1, 3), (b"4", 1, 4)], got
            s.send(ack(PUBACK, 3) + ack(PUBACK, 4))
            s.send(ack(PUBREC, 1))
            assert s.expect(PUBREL).packet_id == 1
            gone(s)
            # PUBREL comes again, and so does what was not answered; what was released does not.
            s = Client(r.port, name, version, **kept(version))
            again = [s.next(), s.next()]
            assert sorted((x.kind, x.packet_id) for x in again) == [(PUBLISH, 2), (PUBREL, 1)], again
            assert [x.dup for x in again if x.kind == PUBLISH] == [True]
            s.send(ack(PUBCOMP, 1))
            s.send(ack(PUBREC, 2))
            assert s.expect(PUBREL).packet_id == 2
            s.send(ack(PUBREC, 2))  # once more: so does the answer
            assert s.expect(PUBREL).packet_id == 2
            s.send(ack(PUBCOMP, 2))
            s.nothing()
            gone(s)
            with Client(r.port, name, version, **kept(version)) as s:
                s.nothing()
            with Client(r.port, name, version):
                pass


def test_a_refused_message_of_qos_2():
    """A PUBREC of 0x80 or more ends it, whoever sends it.
    5.0: MQTT-3.5.2-2, MQTT-4.3.3-4, -9, MQTT-4.4.0-2."""
    with Roost() as r, Client(r.port, "p", 5, packet_max=60) as p:
        s = Client(r.port, "s", 5, **kept(5))
        s.sub(("t", 2))
        p.put("t", "1", 2, 1), release(p, 1)
        m = s.expect(PUBLISH)
        s.send(ack(PUBREC, m.packet_id, 0x97))
        s.nothing()
        gone(s)
        with Client(r.port, "s", 5, **kept(5)) as s:
            s.nothing()
        # Refused by the server: the same id is a new message.
        refused = p.put("$SYS/x", "1", 2, 9)
        assert refused.reason >= 0x80 and refused.properties == {}, refused
        assert p.put("ok", "1", 2, 9).reason < 0x80
        assert release(p, 9) == 0


def test_answers_of_another_qos():
    """5.0: MQTT-4.3.2-3, MQTT-4.3.3-3, -5, MQTT-4.13.1-1.
    3.1.1: MQTT-4.3.2-1, MQTT-4.3.3-1, MQTT-4.8.0-1."""
    with Roost() as r, Client(r.port, "p", 4) as p:
        for version in BOTH:
            for qos, wrong in ((1, (PUBREC, PUBCOMP)), (2, (PUBACK, PUBCOMP))):
                for kind in wrong:
                    with Client(r.port, "s", version) as s:
                        s.sub(("t", qos))
                        p.put("t", "x", qos, 1)
                        if qos == 2:
                            release(p, 1)
                        m = s.expect(PUBLISH)
                        s.send(ack(kind, m.packet_id))
                        got = s.closed()
                        assert [(x.kind, x.reason) for x in got] == ([(14, 0x82)] if version == 5 else []), (qos, kind, got)
            # Of what nobody knows: the sender may forget it too.
            with Client(r.port, "s", version) as s:
                s.send(ack(PUBACK, 7) + ack(PUBCOMP, 7) + ack(PUBREC, 7))
                assert s.expect(PUBREL).reason == (0x92 if version == 5 else 0)
                s.nothing()


def test_flow_control_of_qos_2():
    """5.0: MQTT-3.3.4-7, -9, MQTT-4.9.0-1 to -3."""
    with Roost({"mqtt.receive_maximum": 2}) as r, Client(r.port, "p", 4) as p:
        s = Client(r.port, "s", 5, receive_maximum=1, **kept(5))
        s.sub(("t", 2))
        p.put("t", "1", 2, 1), release(p, 1)
        p.put("t", "2", 2, 2), release(p, 2)
        m = s.expect(PUBLISH)
        s.nothing()
        s.send(ack(PUBREC, m.packet_id))
        s.expect(PUBREL)
        s.nothing()  # until PUBCOMP it counts
        s.send(ack(PUBCOMP, m.packet_id))
        assert s.expect(PUBLISH).payload == b"2"
        gone(s)
        with Client(r.port, "fast", 5) as c:
            for n in (1, 2, 3):
                c.send(publish("x", "y", 2, n, 5))
            got = c.closed()
            assert [x.kind for x in got] == [PUBREC, PUBREC, 14] and got[-1].reason == 0x93, got


def test_what_was_sent_does_not_expire():
    """What was not sent does.
    5.0: MQTT-4.3.3-7, -13."""
    with Roost() as r, Client(r.port, "p", 5) as p, Client(r.port, "clock", 5) as clock:
        s = Client(r.port, "s", 5, receive_maximum=1, **kept(5))
        s.sub(("t", 2)), clock.sub("end")
        p.put("t", "sent", 2, 1, message_expiry=1), p.put("t", "waits", 2, 2, message_expiry=1)
        m = s.expect(PUBLISH)
        gone(s)
        # Two seconds pass: a session of that expiry ends, and its will is published.
        c = Client(r.port, "c", 5, session_expiry=2, will=("end", ""), will_properties={"will_delay": 60})
        c.sock.close()
        clock.expect(PUBLISH)
        s = Client(r.port, "s", 5, **kept(5))
        again = s.expect(PUBLISH)
        assert (again.packet_id, again.payload, again.dup) == (m.packet_id, b"sent", True), again
        s.send(ack(PUBREC, again.packet_id))
        assert s.expect(PUBREL).packet_id == again.packet_id
        s.send(ack(PUBCOMP, again.packet_id))
        s.nothing()
        assert release(p, 1) == 0 and release(p, 2) == 0  # expired or not


def test_a_will_of_qos_2():
    """5.0: MQTT-3.1.2-8, -12, MQTT-3.2.2-12.
    3.1.1: MQTT-3.1.2-14."""
    with Roost() as r, Client(r.port, "s", 5) as s:
        s.sub(("w", 2))
        for version in BOTH:
            c = Client(r.port, "c", version, will=("w", "lost"), will_qos=2)
            c.send(b"\0\0")
            c.closed()
            assert [(m.payload, m.qos) for m in take(s)] == [(b"lost", 2)]


def test_shared_subscriptions_have_one_receiver():
    """5.0, section 4.8.2: no retained messages, ordinary subscriptions beside them.
    5.0: MQTT-4.8.2-3."""
    with Roost() as r, Client(r.port, "p", 5) as p, Client(r.port, "all", 5) as everything:
        everything.sub(("sh/#", 0))
        p.put("sh/kept", "retained", 1, retain=True)
        everything.message()
        with Client(r.port, "a", 5) as a, Client(r.port, "b", 5) as b, Client(r.port, "c", 5) as c:
            assert a.sub(("$share/g/sh/#", 1)) == [1] and b.sub(("$share/g/sh/#", 0)) == [0]
            assert c.sub(("$share/other/sh/+", 2)) == [2]
            for x in (a, b, c):
                x.nothing()
            for n in range(20):
                p.put("sh/%d" % (n % 4), str(n))
            got_a, got_b = take(a), take(b)
            assert sorted(int(m.payload) for m in got_a + got_b) == list(range(20))
            assert got_a and got_b, (len(got_a), len(got_b))
            assert {m.qos for m in got_a} == {1} and {m.qos for m in got_b} == {0}
            assert sorted(int(m.payload) for m in take(c)) == list(range(20))
            assert len(take(everything)) == 20
            assert b.unsub("$share/g/sh/#") == [0]
            for n in range(4):
                p.put("sh/x", str(n))
            assert len(take(a)) == 4 and not take(b)


def test_what_a_receiver_of_many_leaves():
    """QoS 2 is completed with the one who began it; what it refused goes to nobody else.
    5.0: MQTT-4.8.2-4 to -6."""
    with Roost() as r, Client(r.port, "p", 5) as p:
        a = Client(r.port, "a", 5, **kept(5))
        a.sub(("$share/g/t", 2))
        p.put("t", "1", 2, 1), release(p, 1)
        m = a.expect(PUBLISH)
        with Client(r.port, "b", 5) as b:
            b.sub(("$share/g/t", 2))
            gone(a)
            b.nothing()
            a = Client(r.port, "a", 5, **kept(5))
            again = a.expect(PUBLISH)
            assert (again.packet_id, again.payload, again.dup) == (m.packet_id, b"1", True), again
            a.send(ack(PUBREC, again.packet_id, 0x80))
            a.nothing()
            b.nothing()
            a.end(0, session_expiry=0)
            b.nothing()


def test_pubrel_behind_a_publish_that_has_no_room():
    """3.1.1 cannot be refused a reading: what would make room for it gets through."""
    with Roost({"storage.unreleased_max": "2"}) as r:
        c = Client(r.port, "c", 4)
        for packet_id in (1, 2):
            assert c.put("roost/d/telemetry", '{"n":%d}' % packet_id, 2, packet_id).reason == 0
        c.send(publish("roost/d/telemetry", '{"n":3}', 2, 3))
        r.wait_for(lambda: verify.parse_metrics(r.cli("metrics").stdout).get(("storage_unreleased_refused_total", "storage-0")),
                   10, "a refusal")
        c.nothing()
        c.send(publish("roost/d/telemetry", '{"n":4}', 2, 4) + publish("roost/d/telemetry", "5", 1, 5))
        c.nothing()
        c.send(ack(PUBREL, 1) + ack(PUBREL, 2))
        got = [c.next() for _ in range(5)]
        assert [(p.kind, p.packet_id) for p in got] == [
            (PUBREC, 3), (PUBCOMP, 1), (PUBCOMP, 2), (PUBREC, 4), (PUBACK, 5)], got


if __name__ == "__main__":
    roost.main(globals())
