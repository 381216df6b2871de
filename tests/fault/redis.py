"""Redis is off the path of a reading: it may be away, nothing is lost or refused, and the state catches up."""
import os
import signal

import mqtt_wire as wire
import roost
import verify
from load import Load
from own_redis import OwnRedis
from roost import Roost

AWAY_S = 20


def caught_up(redis, book):
    for device, sent in book.devices.items():
        _, value, _ = list(sent.values())[-1]
        if redis.latest(device, "level") != str(value):
            return False
    return True


def test_away_for_20_s():
    with OwnRedis() as redis, Roost({"redis.url": redis.url}) as r:
        before = {n: p for n, p in r.pids().items() if n != "sink-state"}
        with Load(r, connections=50, rate=2000, seconds=AWAY_S + 6, per_device=2000, stall=10) as load:
            r.wait_for(lambda: load.acked() > 1000, 10, "the first acknowledgements")
            redis.kill()
            acked = load.acked()
            roost.pause(AWAY_S)
            during = load.acked() - acked
            redis.start()
            result = load.finish(60)
            assert result["lost"] == 0 and result["stalls"] == 0 and during > 1500 * AWAY_S, (during, result)
            book = load.book()
            r.wait_for(lambda: caught_up(redis, book), 40, "the latest values in Redis")
            load.assert_accounted_for()
            after = {n: p for n, p in r.pids().items() if n != "sink-state"}
            assert before == after, "workers were replaced: %r, %r" % (before, after)
            roost.note("%d acknowledged meanwhile, p99 %.1f ms" % (during, result["p99_ms"]))


def test_private_redis_is_started_again():
    with Roost() as r:
        name = [n for n in r.pids() if "redis" in n][0]
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        r.wait_for(lambda: r.latest("gh-1").get("temperature") == "1", 10, "the value in Redis")
        os.kill(r.pid_of(name), signal.SIGKILL)
        r.publish("roost/gh-1/telemetry", '{"temperature":2}')
        r.wait_for(lambda: r.latest("gh-1").get("temperature") == "2", 20, "the next value in Redis")


def test_emptied_redis_fills_again():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        r.wait_for(lambda: r.latest("gh-1").get("temperature") == "1", 10, "the value in Redis")
        r.redis("FLUSHALL")
        r.publish("roost/gh-1/telemetry", '{"temperature":2}')
        r.wait_for(lambda: r.latest("gh-1").get("temperature") == "2", 20, "the next value in Redis")


def metric(r, name):
    return sum(v for (n, _), v in verify.parse_metrics(r.cli("metrics").stdout).items() if n == name)


def start_of_messages(r):
    """A subscriber whose session is kept, and publishers of both versions."""
    s = wire.Client(r.port, "s", 5, session_expiry=1000)
    assert s.sub("kept/#") == [2]
    return s, wire.Client(r.port, "p", 5), wire.Client(r.port, "old", 4)


def payloads(client):
    return sorted(m.payload.decode() for m in client.messages())


def test_messages_that_need_redis_are_refused():
    """5.0: 0x83 after mqtt.redis_wait, and nothing of it comes later; 3.1.1: answered when Redis is back."""
    with OwnRedis() as redis, Roost({"redis.url": redis.url, "mqtt.redis_wait": "500ms"}) as r:
        s, p, old = start_of_messages(r)
        n = wire.Client(r.port, "n", 5)
        assert n.sub("not/kept") == [2]
        redis.kill()
        r.wait_for(lambda: metric(r, "mqtt_copy_away") == 1, 10, "connectivity notices")
        for packet_id, (qos, topic, retain) in enumerate([(1, "kept/a", False), (2, "kept/a", False), (1, "r", True)], 1):
            answer = p.put(topic, "refused", qos, packet_id, retain=retain)
            assert answer.reason == 0x83 and b"Redis is away" in answer.properties["reason_string"], answer
        assert s.sub("more") == [0x83] and s.unsub("kept/#") == [0x83]
        assert p.put("not/kept", "1", 1, 4).reason == 0 and p.put("not/kept", "2", 2, 5).reason == 0
        assert p.put("roost/d/telemetry", '{"level":1}', 1, 6).reason == 0
        assert payloads(n) == ["1", "2"]
        old.send(wire.publish("kept/a", "old", 1, 1))
        assert not old.is_answered(0.7)
        assert metric(r, "mqtt_unavailable_total") == 5
        redis.start()
        assert old.expect(wire.PUBACK).packet_id == 1
        assert p.put("kept/a", "new", 2, 2).reason == 0
        r.wait_for(lambda: metric(r, "mqtt_write_waits") == 0, 10, "all is written")
        assert payloads(s) == ["new", "old"], "what was refused came"
        assert wire.Client(r.port, "late", 5).sub("r") == [2]


def test_messages_under_way_when_redis_stops():
    """QoS 1 is answered 0x83 and may arrive; QoS 2 waits; all arrives, once."""
    with OwnRedis() as redis, Roost({"redis.url": redis.url, "mqtt.redis_wait": "500ms"}) as r:
        s, p, old = start_of_messages(r)
        assert p.put("kept/a", "0", 2, 1).reason == 0
        os.kill(redis.proc.pid, signal.SIGSTOP)
        p.send(wire.publish("kept/a", "1", 1, 2, 5) + wire.ack(wire.PUBREL, 1) + wire.publish("kept/a", "2", 2, 3, 5))
        answer = p.expect(wire.PUBACK)
        assert (answer.packet_id, answer.reason) == (2, 0x83) and b"may arrive" in answer.properties["reason_string"], answer
        assert p.expect(wire.PUBCOMP).packet_id == 1
        assert not p.is_answered(0.7)
        os.kill(redis.proc.pid, signal.SIGCONT)
        assert p.expect(wire.PUBREC).reason == 0
        r.wait_for(lambda: metric(r, "mqtt_write_waits") == 0, 10, "all is written")
        assert payloads(s) == ["0", "1", "2"]


if __name__ == "__main__":
    roost.main(globals())
