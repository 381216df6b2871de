"""Peers that break MQTT: closed with the right reason or by deadline, memory flat, others served."""
import os
import random
import re
import resource
import socket
import time

import mqtt
import mqtt_fuzz
import roost
import zmtp
from roost import Roost, rss_kib

GROWTH_MAX_KIB = 20 * 1024
CONNECT_TIMEOUT = {"mqtt.connect_timeout": "1s"}


def served(r):
    with mqtt.Client(r.port, "honest") as c:
        c.publish("roost/honest/telemetry", '{"a":1}')
        assert c.puback() == (1, 0)


def closed_within(client, seconds):
    start = time.monotonic()
    client.wait_closed(seconds * roost.SLOW)
    return time.monotonic() - start


def same_worker(r, pid):
    status = r.process_of(r.status(), "connectivity-0")
    assert status["pid"] == pid and status["restarts"] == 0, status


def test_garbage_is_closed_at_once():
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed %d" % seed)
    rng = random.Random(seed)
    with Roost() as r:
        pid = r.pid_of("connectivity-0")
        before = rss_kib(pid)
        for _ in range(300):
            with mqtt.Client(r.port) as c:
                try:
                    c.send(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 400))) + b"\0" * 8)
                    c.sock.shutdown(socket.SHUT_WR)
                    c.wait_closed(5 * roost.SLOW)
                except ConnectionError:
                    pass
        served(r)
        assert rss_kib(pid) - before < GROWTH_MAX_KIB, (before, rss_kib(pid))
        same_worker(r, pid)


def test_claimed_length_of_256_mib_before_connect():
    with Roost(CONNECT_TIMEOUT) as r:
        pid = r.pid_of("connectivity-0")
        before = rss_kib(pid)
        peers = []
        for n in range(100):
            c = mqtt.Client(r.port)
            c.send((b"\x10" if n % 2 else b"\x30") + b"\xff\xff\xff\x7f" + b"\0\x04MQTT")
            peers.append(c)
        served(r)
        for c in peers:
            closed_within(c, 5)
            c.close()
        assert rss_kib(pid) - before < GROWTH_MAX_KIB, (before, rss_kib(pid))
        same_worker(r, pid)


def test_connect_one_byte_at_a_time_is_closed_by_the_deadline():
    with Roost(CONNECT_TIMEOUT) as r, mqtt.Client(r.port) as c:
        whole = mqtt.connect("slow-and-long-client-id")
        start = time.monotonic()
        try:
            for b in whole[:-1]:
                c.send(bytes([b]))
                roost.pause(0.1)
            c.wait_closed(5 * roost.SLOW)
        except ConnectionError:
            pass
        took = time.monotonic() - start
        assert 0.8 < took < 5 * roost.SLOW, took
        served(r)


def test_silence_before_connect_is_closed_by_the_deadline():
    with Roost(CONNECT_TIMEOUT) as r, mqtt.Client(r.port) as c:
        took = closed_within(c, 5)
        assert took > 0.8, took


def test_connections_that_break_every_rule_in_turn():
    """Ten seconds of tests/support/mqtt_fuzz.py; make fuzz T=live S=600 goes on for longer."""
    counts = mqtt_fuzz.fuzz(10, int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "little")))
    roost.note("%(episodes)d episodes, %(connections)d connections, %(sends)d sends" % counts)


def test_ten_thousand_claims_of_256_mib_before_connect():
    """None of what is claimed is reserved; all are closed by the deadline, which is the same for the last as for the first."""
    count = 10000 if roost.SLOW == 1 else 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with Roost({"mqtt.connect_timeout": "5s"}) as r:
        pid = r.pid_of("connectivity-0")
        served(r)
        before = rss_kib(pid)
        port = r.port
        peers = []
        start = time.monotonic()
        for n in range(count):
            s = socket.create_connection(("127.0.0.1", port), timeout=30)
            s.sendall((b"\x10" if n % 2 else b"\x30") + b"\xff\xff\xff\x7f" + b"\0\x04MQTT")
            peers.append(s)
        opened = time.monotonic() - start
        served(r)
        grown = rss_kib(pid) - before
        for s in peers:
            s.settimeout(20 * roost.SLOW)
            try:
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
            s.close()
        took = time.monotonic() - start
        served(r)
        assert took < opened + (5 + 3) * roost.SLOW, (opened, took)
        assert grown < GROWTH_MAX_KIB or roost.SLOW > 1, grown
        same_worker(r, pid)
        roost.note("%d connections in %.1f s, %d KiB more, closed after %.1f s" % (count, opened, grown, took))


def test_packets_that_never_end_are_bounded_together():
    """Each is within its own limit; beyond what all may keep, those that send more are closed."""
    count, most = 700 if roost.SLOW == 1 else 600, 128 << 20
    with Roost() as r:
        port = r.port
        pid = r.pid_of("connectivity-0")
        half = mqtt.packet(0x30, mqtt.string("t") + bytes(262000))[:250000]
        peers = []
        for n in range(count):
            c = mqtt.Client(port, "half-%d" % n, timeout=30 * roost.SLOW)
            try:
                c.send(half)
            except ConnectionError:
                pass
            peers.append(c)

        def kept():
            found = re.search(r"^roost_mqtt_input_bytes{.*} (\d+)$", r.cli("metrics").stdout, re.M)
            return int(found.group(1)) if found else 0
        r.wait_for(lambda: kept() > most - (4 << 20), 20, "as much as may be kept")
        served(r)
        assert kept() <= most, kept()
        assert "listener.input_full" in r.log_text()
        for c in peers:
            c.close()
        r.wait_for(lambda: kept() == 0, 20, "nothing kept")
        same_worker(r, pid)


def test_truncated_packets():
    """Every prefix of a session's bytes, then the end of the connection."""
    whole = mqtt.connect("c", 5) + mqtt.publish("roost/c/telemetry", '{"a":1}', 1, 5) + b"\x82\x09\0\2\0\0\3a/b\1"
    with Roost() as r:
        pid = r.pid_of("connectivity-0")
        for n in range(1, len(whole)):
            with mqtt.Client(r.port) as c:
                c.send(whole[:n])
                c.sock.shutdown(socket.SHUT_WR)
                c.wait_closed(10 * roost.SLOW)
        served(r)
        same_worker(r, pid)


def test_reasons_of_version_5():
    """What is wrong, and the reason code the DISCONNECT (or CONNACK) must carry."""
    cases = [
        ("a second CONNECT", mqtt.connect("c", 5), 0x82),
        ("a packet only servers send", b"\x20\x03\0\0\0", 0x82),
        ("QoS 3", b"\x36\x08\0\1a\0\1\0xx", 0x81),
        ("SUBSCRIBE with wrong flags", b"\x80\x07\0\1\0\0\1a\0", 0x81),
        ("a topic with a wildcard", mqtt.publish("a/#", "x", 1, 5), 0x81),
        ("a packet id of 0", mqtt.publish("a", "x", 0, 5), 0x82),
        ("a topic that is no UTF-8", mqtt.publish(b"a\xff\xfe", "x", 1, 5), 0x81),
        ("a packet over the maximum", b"\x32\xff\xff\xff\x7f", 0x95),
    ]
    with Roost() as r:
        for label, data, reason in cases:
            with mqtt.Client(r.port, "c", version=5) as c:
                c.send(data)
                rest = c.wait_closed(10 * roost.SLOW)
                assert rest[:1] == b"\xe0" and rest[2] == reason, (label, rest.hex())
        served(r)


def test_unknown_versions_are_refused_with_a_reason():
    with Roost() as r:
        for version in (0, 2, 6, 255):
            with mqtt.Client(r.port) as c:
                c.send(mqtt.connect("c", version))
                rest = c.wait_closed(10 * roost.SLOW)
                assert rest[:1] == b"\x20" and rest[3] in (0x01, 0x84), (version, rest.hex())


def test_msgpack_bombs():
    """Five bytes that claim four thousand million elements are refused without being believed."""
    bombs = [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdd\x00\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
             b"\xdb\xff\xff\xff\xff", b"\x91" * 1000, b"\x81\xa1a" * 500, b"\xc1"]
    with Roost() as r:
        pid = r.pid_of("connectivity-0")
        before = rss_kib(pid)
        with mqtt.Client(r.port, "bomber", version=5) as c:
            for n, bomb in enumerate(bombs, 1):
                c.publish("roost/bomber/telemetry/msgpack", bomb, n)
                packet_id, reason = c.puback()
                assert packet_id == n and reason in (0x99, 0), (bomb[:8].hex(), hex(reason))
        served(r)
        assert rss_kib(pid) - before < GROWTH_MAX_KIB
        same_worker(r, pid)


def test_subscriptions_that_search_all_that_is_retained():
    """200 kB of them would keep the worker busy for longer than its watchdog allows."""
    with Roost() as r, mqtt.Client(r.port, "calm", timeout=60) as calm, mqtt.Client(r.port, "bad", timeout=60) as bad:
        pid = r.pid_of("connectivity-0")
        bad.send(b"".join(mqtt.packet(0x31, mqtt.string("t/%d" % n) + b"x") for n in range(50000)) + b"\xc0\0")
        assert bad.receive()[0] == mqtt.PINGRESP
        search = mqtt.string("+/+/x") + b"\0"
        bad.send(mqtt.packet(0x82, b"\0\1" + search * 10000) + mqtt.packet(0x82, b"\0\2" + search) * 12000)
        for n in range(1, 6):
            start = time.monotonic()
            calm.publish("roost/calm/telemetry", '{"a":1}', n)
            assert calm.puback() == (n, 0)
            assert time.monotonic() - start < 1 * roost.SLOW
        same_worker(r, pid)


def forged(rng):
    """What a limiter would send, and what only others may: with streams, numbers and partitions of its own invention."""
    record = zmtp.pack([0, 0, 1, "forged", 0, 0, 0, [["a", True]]])
    batch = dict(f1=rng.randrange(1, 40), f2=rng.randrange(1 << 20, 1 << 60), f3=rng.randrange(16), f4=rng.choice([1, 3, 6, 32, 33]),
                 f6=rng.choice([zmtp.pack(record), b"x", b""]))
    return rng.choice([
        lambda: zmtp.message(13, **batch),
        lambda: zmtp.message(13, **dict(batch, f1=rng.getrandbits(63))),
        lambda: zmtp.message(14, f1=rng.randrange(1, 40), f2=rng.getrandbits(40), f3=64, f4=1 << 20),
        lambda: zmtp.message(11, f1=rng.getrandbits(40), f2=rng.randrange(16), f3=rng.randrange(40), f4=5, f5=64, f6=1 << 20),
        lambda: zmtp.message(10, f1=rng.getrandbits(62), f2=rng.randrange(1024), f3=rng.getrandbits(48), f4=0),
        lambda: zmtp.message(20, f1="rules", f2=True, f3=255, f4=0, f5=1 << 20, f6=1),
        lambda: zmtp.message(24, f1="history", f2=1 << 62, f3=1 << 62),
        lambda: bytes(rng.getrandbits(8) for _ in range(rng.randrange(200))),
        lambda: b"\xdd\xff\xff\xff\xff",
    ])()


def test_a_sibling_that_sends_anything_over_the_bus():
    """A limiter that was taken over: storage and limiter live on, nothing that it invents is stored or acknowledged."""
    seed = int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "little"))
    print("seed %d" % seed)
    rng = random.Random(seed)
    sent = 0
    with Roost() as r:
        pids = r.pids()
        served(r)
        for endpoint in ("shard-0", "limiter-0"):
            path = os.path.join(r.data_dir, "run", endpoint)
            for name in ("limiter-9", "connectivity-9x", "evil-0", "Not A Name", "x" * 200, "\0\1"):
                peer = zmtp.Peer(path, name)
                try:
                    for _ in range(400):
                        frame = bytearray(forged(rng))
                        if rng.random() < 0.2 and frame:
                            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
                        peer.send(*[bytes(frame)] * rng.choice([1, 1, 1, 1, 1, 1, 1, 3]))
                        sent += 1
                    peer.raw(rng.choice([b"\x02" + b"\x7f" * 8, b"\xff" * 100, b"\x04\xff", bytes(64)]))
                except ConnectionError:
                    pass  # it was thrown out, which is as good
                peer.close()
            for _ in range(50):  # greetings that are none
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                    s.settimeout(10)
                    s.connect(path)
                    try:
                        s.sendall(bytes(rng.getrandbits(8) for _ in range(rng.randrange(1, 200))))
                    except ConnectionError:
                        pass
            served(r)
        r.publish("roost/gh-1/telemetry", '{"a":1}')
        r.wait_for(lambda: r.query("gh-1", "a"), 10, "what a device sent, in history")
        assert r.query("forged", "a") == [] and r.query("forged", "telemetry") == []
        assert r.pids() == pids, (pids, r.pids())
        roost.note("%d frames" % sent)


def test_queries_with_any_arguments():
    rng = random.Random(int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "little")))
    words = ["gh-1", "a", "--since", "--until", "--limit", "--json", "--csv", "--set", "-c", "--", "", "1h", "99999999999999999999d",
             "9223372036854775807us", "-5", "0", "18446744073709551616", "2026-11-22T14:00:00Z", "9999-12-31T23:59:59.999999Z",
             "0000-00-00T00:00:00Z", "2026-13-40T25:61:61+99:99", "--since=", "--limit=x", "data_dir", "data_dir=", "=", "%s%n", "x" * 5000,
             "'; DROP TABLE block; --", "../../etc", "\xff\xfe", "--no-such"]
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"a":1}')
        for _ in range(120):
            arguments = [rng.choice(words) for _ in range(rng.randrange(6))]
            out = r.cli("query", *arguments)
            assert out.returncode in (0, 1, 64, 69, 75, 78), (arguments, out)
            assert "Sanitizer" not in out.stderr and "runtime error" not in out.stderr, (arguments, out)


def test_many_idle_connections_are_bounded():
    with Roost({"mqtt.connections_max": "50"}) as r:
        idle = [mqtt.Client(r.port, "idle-%d" % n) for n in range(50)]
        with mqtt.Client(r.port) as c:
            try:
                c.send(mqtt.connect("one-more"))
                c.wait_closed(10 * roost.SLOW)
            except ConnectionError:
                pass
        idle.pop().close()

        def accepted():
            try:
                served(r)
                return True
            except (mqtt.Closed, ConnectionError):
                return False
        r.wait_for(accepted, 10, "a place for an honest client")
        for c in idle:
            c.close()


if __name__ == "__main__":
    roost.main(globals())
