"""The benchmark's harness: one row, one short run, and a report that is whole; a generator that reports what is true.

What it measures here means nothing."""
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import mqtt_proxy
import roost

sys.path.append(os.path.join(roost.ROOT, "tests/bench"))
import servers  # noqa: E402

FLOOD = os.path.join(roost.B, "test/bench/flood")


class Page(html.parser.HTMLParser):
    """Every tag that is opened is closed, and nothing is fetched."""
    VOID = {"meta", "br"}

    def __init__(self):
        super().__init__()
        self.open = []
        self.fetches = []

    def handle_starttag(self, tag, attrs):
        self.fetches += [v for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError("</%s> closes another tag" % tag)


def test_one_row_gives_a_whole_report():
    with tempfile.TemporaryDirectory(prefix="roost-bench-out-", dir="/dev/shm") as out:
        environment = dict(os.environ, SMOKE="1", T="q1-w100", RUNS="1", OUT=out, BENCH_DIR="/dev/shm")
        environment.pop("APPEND", None)
        done = roost.run([os.path.join(roost.ROOT, "tests/bench/run")], 60, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        with open(os.path.join(out, "report.json"), encoding="utf-8") as f:
            report = json.load(f)
        row, = report["rows"]
        subject, = row["subjects"]
        assert row["name"] == "q1-w100" and subject["name"] == "Roost" and not subject["problem"], row
        value = subject["columns"]["value"]
        assert value["median"] == value["min"] == value["max"] > 100, value
        assert subject["columns"]["p50_ms"]["median"] > 0 and subject["by_process"]["storage-0"] >= 0, subject
        assert not subject["note"], subject["note"]  # nothing lost, refused, unanswered
        assert report["machine"]["cores"] >= 1 and report["machine"]["fdatasync_4_kib"]["p50_us"] >= 0, report["machine"]
        with open(os.path.join(out, "report.txt"), encoding="utf-8") as f:
            text = f.read()
        assert re.search(r"^  Roost +\S", text, re.M) and "load average before" in text, text
        with open(os.path.join(out, "report.html"), encoding="utf-8") as f:
            page = f.read()
        parser = Page()
        parser.feed(page)
        assert not parser.open and not parser.fetches, (parser.open, parser.fetches)
        drawings = re.findall(r"<svg.*?</svg>", page, re.S)
        assert drawings, "no chart"
        for drawing in drawings:
            xml.etree.ElementTree.fromstring(drawing)


def test_a_row_that_does_not_exist_is_said():
    done = roost.run([os.path.join(roost.ROOT, "tests/bench/run")], 20, env=dict(os.environ, T="no-such-row"))
    assert done.returncode == 64 and "q1-w100" in done.stderr, done


def flood(port, *arguments, seconds=20):
    out = roost.run([FLOOD, "--port", str(port), "--seconds", str(seconds)] + [str(a) for a in arguments], seconds + 30)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout.strip().split("\n")[-1])


def clean(result, *but):
    """Nothing of what must be zero is not."""
    return not [k for k in ("lost", "shed", "repeated", "refused", "disconnected", "unexpected", "stalls") if result[k] and k not in but]


def witnessed(port, topic, count):
    """A session of mosquitto_sub that is away, made if there is no count yet, gets exactly so many messages of this topic."""
    at = ["-h", "127.0.0.1", "-p", str(port), "-q", "2"]
    who = ["mosquitto_sub"] + at + ["-c", "-i", "witness-" + topic, "-t", topic + "/#"]
    if count is None:
        roost.run(who + ["-E"], 10).check_returncode()
        return
    roost.run(["mosquitto_pub"] + at + ["-t", topic + "/last", "-m", "1"], 10).check_returncode()
    proc = subprocess.Popen(who + ["-F", "%t"], stdout=subprocess.PIPE, text=True)
    try:
        got = sum(1 for _ in iter(proc.stdout.readline, topic + "/last\n"))
    finally:
        proc.terminate()
        proc.wait(10)
        proc.stdout.close()
    assert got == count, "%s: mosquitto_sub got %d of %d" % (topic, got, count)


def relays(port):
    """Each message to each subscriber once, at every QoS, as somebody else's client sees it too."""
    for qos, publishers, subscribers in ((0, 1, 1), (1, 3, 2), (2, 2, 3)):
        topic = "true-%d" % qos
        witnessed(port, topic, None)
        result = flood(port, "--publishers", publishers, "--subscribers", subscribers, "--qos", qos, "--count", 600, "--topic",
                       topic + "/{}/x", "--window", 50, "--ahead", 300)
        assert result["sent"] == result["acked"] == 600, result
        assert result["delivered"] == result["expected"] == result["measured"] == 600 * subscribers and clean(result), result
        assert result["latency_us"]["n"] == 600 * subscribers and 0 < result["latency_us"]["p50"] < 20e6, result
        if qos:
            witnessed(port, topic, 600)


def keeps(port):
    """Retained topics: a subscriber gets each, and one that is not there is missed."""
    result = flood(port, "--publishers", 1, "--retain", "--topics", 300, "--count", 300, "--topic", "kept/{}", "--qos", 1)
    assert result["acked"] == 300 and clean(result), result
    result = flood(port, "--subscribers", 1, "--filter", "kept/#", "--qos", 1, "--expect", 300)
    assert result["delivered"] == 300 and clean(result), result
    result = flood(port, "--subscribers", 1, "--filter", "kept/#", "--qos", 1, "--expect", 301, seconds=1)
    assert result["delivered"] == 300 and result["lost"] == 1, result


def subscriptions(r):
    return sum(int(n) for n in re.findall(r"^roost_mqtt_subscriptions\{[^}]*\} (\d+)$", r.cli("metrics").stdout, re.M))


def test_the_generator_and_roost_agree():
    with roost.Roost({"mqtt.receive_maximum": "8"}) as r:
        relays(r.port)
        keeps(r.port)
        # The server ends a 5.0 connection with more unacknowledged than it allows, and the generator looks at the other way.
        for qos in (1, 2):
            result = flood(r.port, "--publishers", 2, "--subscribers", 2, "--qos", qos, "--count", 500, "--protocol", 5, "--window", 1000,
                           "--receive-maximum", 5)
            assert result["delivered"] == 1000 and clean(result) and result["over_receive_maximum"] == 0, result
        # Subscriptions are there while they are held.
        before = 3  # the witnesses
        r.wait_for(lambda: subscriptions(r) == before, 10, "the subscriptions of before to be gone")
        argv = [FLOOD, "--port", str(r.port), "--mode", "subscribe", "--subscribers", "5", "--subscriptions", "40", "--filter",
                "s/{}/+", "--filters", "7", "--seconds", "60"]
        proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = json.loads(proc.stdout.readline())
        assert told["up"] == 5 and told["subscribed"] == 200 and told["refused"] == 0 and told["seconds"] > 0, told
        try:
            r.wait_for(lambda: subscriptions(r) == before + 200, 10, "200 subscriptions")
        finally:
            proc.stdin.close()
            proc.wait(20)
            proc.stdout.close()


def test_the_generator_and_mosquitto_agree():
    with tempfile.TemporaryDirectory(prefix="roost-bench-peer-") as folder:
        os.chmod(folder, 0o755)  # it gives up root
        peer = servers.Mosquitto(folder)
        try:
            peer.start()
            relays(peer.port)
            keeps(peer.port)
        finally:
            peer.stop()


class Repeater(mqtt_proxy.Proxy):
    """Gives a device the fifth PUBLISH of the server once more."""
    forwarded = 0

    def to_device(self, server, device):
        rest = b""
        try:
            while True:
                data = server.recv(65536)
                if not data:
                    break
                found, rest = mqtt_proxy.packets(rest + data)
                for packet, _ in found:
                    self.forwarded += packet[0] & 0xF0 == 0x30
                    device.sendall(packet * (2 if packet[0] & 0xF0 == 0x30 and self.forwarded == 5 else 1))
        except OSError:
            pass
        mqtt_proxy.end(device)


class Dropper(mqtt_proxy.Proxy):
    """Swallows every message at QoS 0 from the one numbered lie_at on."""

    def is_lied_about(self, packet):
        return False

    def to_server(self, device, server):
        rest = b""
        try:
            while True:
                data = device.recv(65536)
                if not data:
                    break
                found, rest = mqtt_proxy.packets(rest + data)
                for packet, _ in found:
                    self.seen += packet[0] & 0xF0 == 0x30
                    if packet[0] & 0xF0 != 0x30 or self.seen < self.lie_at:
                        server.sendall(packet)
        except OSError:
            pass
        mqtt_proxy.end(server)


def test_the_generator_sees_what_a_server_does_not_say():
    arguments = ["--publishers", 1, "--subscribers", 1, "--count", 200, "--window", 20, "--ahead", 50, "--drain", 2]
    with roost.Roost() as r:
        loser = mqtt_proxy.Proxy(r.port, 120)  # acknowledged, and gone
        result = flood(loser.port, *arguments, "--qos", 1)
        assert loser.lies == 1 and result["acked"] == 200 and result["delivered"] == 199 and result["lost"] == 1, result
        assert clean(result, "lost"), result
        loser.close()
        loser = mqtt_proxy.Proxy(r.port, 200)  # the last one: no number behind it tells
        result = flood(loser.port, *arguments, "--qos", 1)
        assert loser.lies == 1 and result["delivered"] == 199 and result["lost"] == 1, result
        loser.close()
        for qos in (1, 2):
            repeater = Repeater(r.port, 0)
            result = flood(repeater.port, *arguments, "--qos", qos)
            assert result["delivered"] == 200 and result["repeated"] == 1 and clean(result, "repeated"), result
            repeater.close()
        dropper = Dropper(r.port, 101)
        result = flood(dropper.port, *arguments, "--qos", 0)
        assert result["delivered"] == 100 and result["shed"] == 100 and result["stalls"] >= 1 and result["lost"] == 0, result
        dropper.close()


def test_rows_of_relays_give_a_whole_report():
    with tempfile.TemporaryDirectory(prefix="roost-bench-out-", dir="/dev/shm") as out:
        names = ["relay-100-1-q1", "retained-get"]
        environment = dict(os.environ, SMOKE="1", T=",".join(names), RUNS="1", OUT=out, BENCH_DIR="/dev/shm")
        environment.pop("APPEND", None)
        done = roost.run([os.path.join(roost.ROOT, "tests/bench/run")], 60, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        with open(os.path.join(out, "report.json"), encoding="utf-8") as f:
            rows = json.load(f)["rows"]
        assert [row["name"] for row in rows] == names, rows
        for row in rows:
            subject, = row["subjects"]
            assert not subject["problem"] and not subject["note"] and subject["columns"]["value"]["median"] > 100, subject


if __name__ == "__main__":
    roost.main(globals())
