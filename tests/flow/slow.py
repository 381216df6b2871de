"""A client that does not read: its messages are dropped, the others' are not, and memory stays where it was."""
import os
import struct
import time

import mqtt
import roost
import verify
import ws
from roost import Roost

LISTEN = {"mqtt_ws.listen": "127.0.0.1:0"}
OUTBOUND_MAX = 1 << 20  # mqtt.outbound_max
ROUNDS, BURST, SIZE = 100, 50, 4096
GROWTH_MAX_KIB = 12 * 1024  # two stalled clients, each with twice what is queued for it at most, and what buffers round up


def subscribe(client, topic, qos):
    client.send(mqtt.packet(0x82, b"\0\1" + mqtt.string(topic) + bytes([qos])))
    while True:
        first, _ = client.receive()
        if first == mqtt.SUBACK:
            return


def number_of(body, qos):
    """Which message it is; a QoS 1 PUBLISH has its packet id before the payload."""
    at = 2 + struct.unpack(">H", body[:2])[0]
    return struct.unpack(">I", body[at + (2 if qos else 0):][:4])[0], body[at:at + 2]


def metric(r, name):
    return sum(v for (n, _), v in verify.parse_metrics(r.cli("metrics").stdout).items() if n == name)


def fan_out(r, qos, stalled):
    """ROUNDS bursts to a topic that two read and the stalled ones do not; the longest time that one burst took."""
    pid = r.pid_of("connectivity-0")
    longest = 0
    with mqtt.Client(r.port, "pub") as pub, mqtt.Client(r.port, "plain") as plain, \
            ws.Client(r.port_of("mqtt-ws"), "web") as web:
        for c in [plain, web] + stalled:
            subscribe(c, "fan/out", qos)
        before = roost.rss_kib(pid)
        n = 0
        for _ in range(ROUNDS):
            start = time.monotonic()
            for k in range(BURST):
                pub.publish("fan/out", struct.pack(">I", n + k) + b"x" * (SIZE - 4), packet_id=k + 1)
            for k in range(BURST):
                assert pub.puback() == (k + 1, 0)
            for c in (plain, web):
                for k in range(BURST):
                    first, body = c.receive()
                    assert first & 0xf0 == mqtt.PUBLISH, hex(first)
                    number, packet_id = number_of(body, qos)
                    assert number == n + k, (number, n + k)
                    if qos:
                        c.send(b"\x40\x02" + packet_id)
            n += BURST
            longest = max(longest, time.monotonic() - start)
        grown = roost.rss_kib(pid) - before
        # Sanitizers keep what was freed.
        assert grown < GROWTH_MAX_KIB or "san" in os.path.basename(roost.B), "%d KiB more after %d MiB" % (grown, n * SIZE >> 20)
        assert r.pid_of("connectivity-0") == pid
    return longest, grown


def test_one_that_does_not_read_costs_the_others_nothing():
    with Roost(LISTEN) as r:
        for qos in (0, 1):
            alone, _ = fan_out(r, qos, [])
            dropped = metric(r, "mqtt_publish_dropped_total")
            with mqtt.Client(r.port, "stalled") as a, ws.Client(r.port_of("mqtt-ws"), "stalled-web") as b:
                beside, grown = fan_out(r, qos, [a, b])
                # 20 MiB went to each: far more than the kernel and mqtt.outbound_max hold.
                r.wait_for(lambda: metric(r, "mqtt_publish_dropped_total") - dropped > 1000, 10, "drops")
                r.wait_for(lambda: 0 <= metric(r, "mqtt_output_bytes") <= 2 * OUTBOUND_MAX, 10, "the bound")
                roost.note("QoS %d: longest burst alone %.0f ms, beside two that do not read %.0f ms, %d KiB more" % (
                    qos, alone * 1000, beside * 1000, grown))
            r.wait_for(lambda: metric(r, "mqtt_output_bytes") == 0, 10, "nothing kept for those who went")


if __name__ == "__main__":
    roost.main(globals())
