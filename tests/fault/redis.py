"""Redis is off the path of a reading: it may be away, nothing is lost or refused, and the state catches up."""
import os
import signal

import roost
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


if __name__ == "__main__":
    roost.main(globals())
