"""What is refused, how each protocol is told, and that nothing vanishes."""
import time

import mqtt
import roost
from roost import Roost

BUDGET = {"limiter.device_rate": "5", "limiter.device_burst": "5"}
QUOTA_EXCEEDED = 0x97
PAYLOAD_FORMAT_INVALID = 0x99


def send(c, first, last, device="d"):
    for n in range(first, last + 1):
        c.publish("roost/%s/telemetry" % device, '{"ts":%d,"values":{"n":%d}}' % (1700000000000 + n, n), n)


def numbers(r, device="d"):
    return sorted(float(v) for _, v in r.query(device, "n", "--since", "3000d"))


def test_version_5_is_told_at_once():
    with Roost(BUDGET) as r, mqtt.Client(r.port, "c", version=5) as c:
        send(c, 1, 50)
        answers = [c.puback() for _ in range(50)]
        assert [n for n, _ in answers] == list(range(1, 51)), answers
        reasons = {reason for _, reason in answers}
        assert reasons == {0, QUOTA_EXCEEDED}, reasons
        accepted = [float(n) for n, reason in answers if reason == 0]
        assert 5 <= len(accepted) <= 12, answers
        r.wait_for(lambda: numbers(r) == accepted, 10, "exactly the accepted ones in history")


def test_version_3_is_held_until_its_limit_allows():
    with Roost(BUDGET) as r, mqtt.Client(r.port, "c") as c:
        start = time.monotonic()
        send(c, 1, 20)
        answers = [c.puback() for _ in range(20)]
        took = time.monotonic() - start
        assert answers == [(n, 0) for n in range(1, 21)], answers
        assert took > 2, took  # 15 over the burst at 5 a second
        r.wait_for(lambda: numbers(r) == [float(n) for n in range(1, 21)], 10, "all of them in history")


def test_a_client_whose_message_is_held_gets_its_pings_answered():
    with Roost({"limiter.device_rate": "1", "limiter.device_burst": "1"}) as r, mqtt.Client(r.port, "c") as c:
        send(c, 1, 2)
        assert c.puback() == (1, 0)
        c.send(b"\xc0\0")
        assert c.receive()[0] == mqtt.PINGRESP
        assert c.puback() == (2, 0)


def test_one_noisy_device_costs_the_others_nothing():
    with Roost(BUDGET) as r, mqtt.Client(r.port, "noisy", version=5) as noisy, mqtt.Client(r.port, "calm") as calm:
        send(noisy, 1, 1000, "noisy")
        send(calm, 1, 3, "calm")
        assert [calm.puback() for _ in range(3)] == [(n, 0) for n in range(1, 4)]


def test_global_budget():
    with Roost({"limiter.global_rate": "10", "limiter.global_burst": "10"}) as r:
        accepted = 0
        for device in range(10):
            with mqtt.Client(r.port, "c%d" % device, version=5) as c:
                send(c, 1, 5, "d%d" % device)
                accepted += sum(reason == 0 for _, reason in (c.puback() for _ in range(5)))
        assert 10 <= accepted < 40, accepted


def test_undecodable_payload_version_5_gets_a_reason():
    with Roost() as r, mqtt.Client(r.port, "c", version=5) as c:
        c.publish("roost/d/telemetry", '{"temperature":', 1)
        first, body = c.receive()
        assert first == mqtt.PUBACK and body[2] == PAYLOAD_FORMAT_INVALID, (first, body)
        assert b"\x1f" in body[3:], "no reason string: %s" % body.hex()
        c.publish("roost/d/telemetry", '{"temperature":1}', 2)
        assert c.puback() == (2, 0)


def test_undecodable_payload_version_3_is_quarantined_then_acknowledged():
    with Roost() as r, mqtt.Client(r.port, "c") as c:
        c.publish("roost/d/telemetry", b"\xff\xfe no JSON", 1)
        assert c.puback() == (1, 0)
        c.publish("roost/d/telemetry", '{"temperature":1}', 2)
        assert c.puback() == (2, 0)
        r.wait_for(lambda: r.query("d", "temperature", "--since", "1h"), 10, "the good one in history")
        import journal
        kept = list(journal.records(r.data_dir))
        assert [bool(flags & 16) for _, _, _, flags, _ in kept] == [True, False], kept
        assert b"\xff\xfe no JSON" in repr(kept[0][4]).encode("latin-1", "replace") or "no JSON" in repr(kept[0][4]), kept


def test_impossible_values_are_masked_in_history():
    with Roost() as r:
        r.publish("roost/d/telemetry", '{"ts":1700000000000,"values":{"temperature":-400,"humidity":50}}')
        r.publish("roost/d/telemetry", '{"ts":1700000001000,"values":{"temperature":20,"humidity":140}}')
        r.settle(10)
        r.wait_for(lambda: r.query("d", "temperature", "--since", "3000d"), 10, "the good temperature")
        assert [float(v) for _, v in r.query("d", "temperature", "--since", "3000d")] == [20.0]
        assert [float(v) for _, v in r.query("d", "humidity", "--since", "3000d")] == [50.0]


def test_a_copy_from_the_device_is_stored_once():
    with Roost() as r:
        for attempt in range(3):
            with mqtt.Client(r.port, "c", clean=False) as c:
                c.publish("roost/d/telemetry", '{"ts":1700000000000,"values":{"n":1}}', 7, dup=attempt > 0)
                assert c.puback() == (7, 0)
        # Without a time of its own only the table of recent messages can recognise it.
        for attempt in range(3):
            with mqtt.Client(r.port, "c", clean=False) as c:
                c.publish("roost/e/telemetry", '{"n":1}', 8, dup=attempt > 0)
                assert c.puback() == (8, 0)
        r.settle(10)
        r.wait_for(lambda: len(numbers(r)) == 1 and len(numbers(r, "e")) == 1, 10, "one point of each device")


def test_too_big_a_packet():
    with Roost({"mqtt.packet_max": "2048"}) as r, mqtt.Client(r.port, "c", version=5) as c:
        c.publish("roost/d/telemetry", '{"a":"%s"}' % ("x" * 3000), 1)
        rest = c.wait_closed(10)
        assert rest[:1] == b"\xe0" and rest[2] == 0x95, rest.hex()


if __name__ == "__main__":
    roost.main(globals())
