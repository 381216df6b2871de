"""MQTT sessions survive: kill -9 of workers, of everything, of Redis; nothing acknowledged is lost, QoS 2 is exactly once."""
import collections
import os
import random
import signal

import journal
import mqtt
import mqtt_wire as wire
import roost
from mqtt_durable import Durable, turn
from roost import Roost

SECONDS = 30 if os.environ.get("THOROUGH") else 5
EVERY = 1.3  # one that dies within a second of READY is started again with back-off


def kill(r, *names):
    pids = r.pids()
    for name in names:
        for pid in [p for n, p in pids.items() if n.startswith(name)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Nemesis:
    """Every so often one of these deeds, from within turn()."""

    def __init__(self, deeds, every, seed):
        self.deeds = deeds
        self.every = every
        self.random = random.Random(seed)
        self.at = roost.time.monotonic() + every
        self.done = 0

    def __call__(self):
        now = roost.time.monotonic()
        if now >= self.at:
            self.at = now + self.every * (0.5 + self.random.random())
            self.random.choice(self.deeds)()
            self.done += 1


def check_delivery(publisher, subscriber, sent):
    """sent: {payload: qos}, all acknowledged by now."""
    count = collections.Counter(payload for _, payload, _, _ in subscriber.got)
    lost = [p for p in sent if count[p] == 0]
    twice = [p for p, qos in sent.items() if qos == 2 and count[p] > 1]
    assert len(publisher.acked) == len(sent), (len(publisher.acked), len(sent))
    assert not lost and not twice, "of %d: lost %d %r, twice %d %r" % (
        len(sent), len(lost), lost[:5], len(twice), twice[:5])


def messages_over(r, deeds, every, seconds=SECONDS, seed=1):
    s = Durable(r.port, "subscriber", [("t/1/#", 1), ("t/2/#", 2)])
    p = Durable(r.port, "publisher")
    assert turn([s, p], 10 * roost.SLOW, lambda: s.is_done() and p.is_done()), "no start"
    nemesis = Nemesis(deeds(s, p), every, seed)
    sent = {}
    end = roost.time.monotonic() + seconds

    def each():
        if len(p.waiting) < 10 and roost.time.monotonic() < end:
            n = len(sent)
            qos = 1 + n % 2
            sent["m%d" % n] = qos
            p.publish("t/%d/x" % qos, "m%d" % n, qos)
        nemesis()

    turn([s, p], seconds, None, each)
    assert turn([s, p], 40 * roost.SLOW, lambda: s.is_done() and p.is_done() and len(s.got) >= len(sent) and len(
        {payload for _, payload, _, _ in s.got}) == len(sent) and not s.incoming), "not all came: %d of %d; %d owed" % (
            len({x[1] for x in s.got}), len(sent), len(p.out))
    turn([s, p], 0.3)
    check_delivery(p, s, sent)
    assert s.lost_session == 0 and p.lost_session == 0, "sessions were lost"
    roost.note("%d messages, %d deeds, %d connects" % (len(sent), nemesis.done, s.connects + p.connects))
    return s, p


def test_kill_of_connectivity():
    with Roost() as r:
        messages_over(r, lambda s, p: [lambda: kill(r, "connectivity-")], EVERY)


def test_connections_are_cut_too():
    with Roost() as r:
        messages_over(r, lambda s, p: [s.drop, p.drop, s.drop, p.drop, lambda: kill(r, "connectivity-")], 0.3)


def test_kill_of_redis_and_connectivity():
    with Roost() as r:
        messages_over(r, lambda s, p: [lambda: kill(r, "connectivity-"), lambda: kill(r, "redis")], EVERY)


def test_emptied_redis():
    with Roost() as r:
        messages_over(r, lambda s, p: [lambda: r.redis("FLUSHALL"), s.drop, p.drop], 0.7)


def test_emptied_redis_gets_more_than_its_queue_takes():
    """Sessions and retained messages are written anew, though each is more than mqtt.redis_queue_mib."""
    big, count = b"x" * 60000, 40
    with Roost({"mqtt.redis_queue_mib": "1"}) as r:
        names = ["kept-%d" % n for n in range(3)]
        for name in names:
            with mqtt.Client(r.port, name, clean=False) as c:
                c.send(mqtt.packet(0x82, b"\0\1" + mqtt.string("q") + b"\1"))
                assert c.receive()[0] == mqtt.SUBACK
        with mqtt.Client(r.port, "publisher", timeout=30 * roost.SLOW) as p:
            def publish(topic, n, retain=0):
                p.send(mqtt.packet(0x32 | retain, mqtt.string(topic) + n.to_bytes(2, "big") + big))
                assert p.puback() == (n, 0)
            for n in range(1, count + 1):
                publish("q", n)
                publish("r/%d" % n, n, 1)
            r.redis("FLUSHALL")
            publish("q", count + 1)
        r.wait_for(lambda: r.redis("HLEN", "roost:mqtt:retained") == str(count), 20, "all that is retained in Redis")
        pid = r.pid_of("connectivity-0")
        kill(r, "connectivity-")
        r.wait_for(lambda: r.pids().get("connectivity-0", pid) != pid, 10, "another life")
        for name in names:
            with mqtt.Client(r.port, timeout=20 * roost.SLOW) as c:
                c.send(mqtt.connect(name, clean=False))
                assert c.receive() == (mqtt.CONNACK, b"\1\0"), "no session"
                for n in range(1, count + 2):
                    first, body = c.receive()
                    assert first & 0xF6 == 0x32 and len(body) == 5 + len(big), (n, hex(first), len(body))
                    c.send(b"\x40\2" + body[3:5])


def test_kill_of_everything():
    with Roost() as r:
        s = Durable(r.port, "subscriber", [("t/#", 2)])
        p = Durable(r.port, "publisher")
        sent = {}
        for life in range(3):
            s.port = p.port = r.port
            assert turn([s, p], 10 * roost.SLOW, lambda: s.up and p.up and s.subscribed)
            s.drop()
            for n in range(40):
                sent["%d-%d" % (life, n)] = 2
                p.publish("t/x", "%d-%d" % (life, n), 2)
            assert turn([p], 10 * roost.SLOW, p.is_done)
            r.kill_all()
            r.start()
            p.drop()
        s.port = p.port = r.port
        assert turn([s, p], 20 * roost.SLOW, lambda: len(s.got) >= len(sent) and not s.incoming), len(s.got)
        turn([s, p], 0.3)
        check_delivery(p, s, sent)


def test_retained_and_will_survive():
    with Roost({"mqtt.will_grace": "500ms"}) as r:
        p = Durable(r.port, "publisher", clean=True)
        assert turn([p], 10, lambda: p.up)
        r.publish("keep/me", "kept", "-r", qos=1)
        r.publish("keep/not", "gone", "-r", qos=1)
        r.publish("keep/not", "", "-r", qos=1)
        s = Durable(r.port, "subscriber", [("w/#", 1)])
        assert turn([s], 10, s.is_done)
        w = roost.subprocess.Popen(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(r.port), "-t", "x", "-i", "doomed",
                                    "--will-topic", "w/doomed", "--will-payload", "fell", "--will-qos", "1"])
        try:
            r.wait_for(lambda: r.redis("HLEN", "roost:mqtt:wills:connectivity-0") == "1", 10, "the will in Redis")
            w.send_signal(signal.SIGSTOP)  # it does not come back
            kill(r, "connectivity-")
            assert turn([s], 20 * roost.SLOW, lambda: ("w/doomed", "fell", 1, 0) in s.got), s.got
            late = Durable(r.port, "late", [("keep/#", 1)], clean=True)
            assert turn([late], 10 * roost.SLOW, lambda: ("keep/me", "kept", 1, 1) in late.got), late.got
            turn([late], 0.2)
            assert len(late.got) == 1, late.got
        finally:
            w.kill()
            w.wait()


def test_who_is_connected_has_its_will_written():
    """MQTT-3.1.2-7 and -8 over any death: CONNACK waits for it, whether the session is kept or not."""
    with Roost({"mqtt.will_grace": "500ms"}) as r:
        s = Durable(r.port, "subscriber", [("w/#", 1)])
        assert turn([s], 10, s.is_done)
        names = ["%s%d" % (kind, n) for kind in ("kept", "not") for n in range(10)]
        clients = []
        for name in names:
            clients.append(wire.Client(r.port, name, 5, will=("w/" + name, "fell"), will_qos=1,
                                       session_expiry=100 if name < "n" else 0))
            assert r.redis("HEXISTS", "roost:mqtt:wills:connectivity-0", name) == "1", name
        kill(r, "connectivity-")
        assert turn([s], 20 * roost.SLOW, lambda: len(s.got) >= len(names)), s.got
        assert sorted(m[0] for m in s.got) == sorted("w/" + name for name in names), s.got


def test_a_reading_that_comes_while_sessions_are_loaded():
    """It reaches those too that were not loaded yet: 800 of them are more than are loaded before a device is back."""
    with Roost() as r:
        for n in range(800):
            c = wire.Client(r.port, "s%d" % n, 5, session_expiry=1000)
            assert c.sub(("roost/#", 1)) == [1]
            c.close()
        port = r.port
        kill(r, "connectivity-")
        d = wire.Client(port, "d", 4)
        assert d.put("roost/d/telemetry", '{"n":1}', 1).reason == 0
        count = "local n = 0 for i = 0, 799 do n = n + redis.call('XLEN', 'roost:mqtt:queue:s' .. i) end return n"
        r.wait_for(lambda: r.redis("EVAL", count, "0") == "800", 20, "it is in the queues of all")


def readings_over(names, every, seed):
    with Roost() as r:
        devices = [Durable(r.port, "d%d" % n, quota=3) for n in range(2)]
        assert turn(devices, 10 * roost.SLOW, lambda: all(d.up for d in devices)), "no start"
        nemesis = Nemesis([lambda n=n: kill(r, *n) for n in names], every, seed)
        sent = collections.Counter()
        end = roost.time.monotonic() + SECONDS

        def each():
            for n, d in enumerate(devices):
                if len(d.waiting) < 2 and roost.time.monotonic() < end:
                    value = sent[n]
                    sent[n] += 1
                    d.publish("roost/d%d/telemetry" % n, '{"level":%d}' % value, 2)
            nemesis()

        turn(devices, SECONDS, None, each)
        assert turn(devices, 40 * roost.SLOW, lambda: all(d.is_done() for d in devices)), "not all was answered"
        stored = collections.Counter()
        for device, _, verdict, _, points in journal.records(r.data_dir):
            if verdict == 0:
                stored[device, points[0][1]] += 1
        wrong = [(n, v, stored["d%d" % n, v]) for n in sent for v in range(sent[n]) if stored["d%d" % n, v] != 1]
        assert not wrong, "%d of %d are not there once: %r" % (len(wrong), sum(sent.values()), wrong[:5])
        assert sum(len(d.acked) for d in devices) == sum(sent.values())
        roost.note("%d readings, %d kills" % (sum(sent.values()), nemesis.done))


def test_qos2_readings_over_kills_of_connectivity():
    readings_over([["connectivity-"]], EVERY, 3)


def test_qos2_readings_over_kills_of_storage():
    readings_over([["storage-"]], EVERY, 4)


def test_qos2_readings_over_kills_of_both():
    readings_over([["connectivity-", "storage-"], ["connectivity-"], ["storage-"]], EVERY, 5)


if __name__ == "__main__":
    roost.main(globals())
