"""CoAP, with libcoap's client, and with a bare one for what that would not do."""
import json
import os

import coap_wire as coap
import devices
import pki
import roost
import verify
from roost import Roost

LISTEN = {"coap.listen": "127.0.0.1:0"}


def metric(r, name, worker="connectivity-0"):
    return verify.parse_metrics(r.cli("metrics").stdout).get((name, worker), 0)


def points(r, device, metric, count):
    """Its values, once there are so many."""
    r.wait_for(lambda: len(r.query(device, metric)) >= count, 10, "%d points of %s" % (count, device))
    return [value for _, value in r.query(device, metric)]


def test_libcoap_posts_and_what_got_204_is_durable():
    with Roost(LISTEN) as r:
        at = "coap://127.0.0.1:%d" % r.port_of("coap")
        coap.tool("-m", "post", "-t", "50", "-e", '{"temperature":21.5}', at + "/v1/telemetry?device=gh-1")
        coap.tool("-m", "post", "-t", "50", "-e", '{"temperature":22.5}', at + "/api/v1/gh-2/telemetry")
        coap.tool("-N", "-m", "post", "-e", '{"temperature":23.5}', at + "/api/v1/gh-3/telemetry")
        # In blocks of 64 bytes.
        values = ",".join('"m%d":%d' % (n, n) for n in range(300))
        coap.tool("-m", "post", "-b", "64", "-t", "50", "-e", "{%s}" % values, at + "/api/v1/gh-4/telemetry")
        assert "</v1/telemetry>" in coap.tool("-m", "get", at + "/.well-known/core")
        assert "4.00" in coap.tool("-m", "post", "-t", "50", "-e", '{"temperature":', at + "/api/v1/gh-1/telemetry")
        r.kill_all()
        r.start()
        for device, want in (("gh-1", "21.5"), ("gh-2", "22.5"), ("gh-3", "23.5")):
            assert points(r, device, "temperature", 1) == [want], device
        assert points(r, "gh-4", "m299", 1) == ["299"]


def check_codes(r, c):
    answer = c.post("api/v1/gh-1/telemetry", '{"a":1}')
    assert (answer.kind, answer.code, answer.payload) == (coap.ACK, "2.04", b""), answer
    answer = c.post("api/v1/gh-1/telemetry", '{"a":1}', kind=coap.NON)
    assert (answer.kind, answer.code) == (coap.NON, "2.04"), answer
    answer = c.post("api/v1/gh-1/telemetry", '{"a":1}')
    assert answer.code == "4.29" and answer.option(coap.MAX_AGE) >= 1, answer
    answer = c.post("api/v1/gh-9/telemetry", '{"temperature":1,"humidity":,"pressure":1000,"a":1,"b":1,"c":1}')
    assert answer.code == "4.00" and b"byte 28" in answer.payload, answer
    assert c.post("v1/telemetry", '{"a":1}').code == "4.00"
    assert c.get("v1/telemetry").code == "4.05"
    assert c.get("v1").code == "4.04"
    assert c.post("v1/telemetry", "x", [(coap.FORMAT, coap.uint(40))]).code == "4.15"
    assert c.ask(coap.POST, "v1/telemetry", "x", [(9, b"")]).code == "4.02"
    assert c.get(".well-known/core", [(coap.ACCEPT, coap.uint(50))]).code == "4.06"
    assert c.get(".well-known/core", [(35, b"coap://x")]).code == "5.05"
    big = c.post("v1/telemetry", "x" * 3000)
    assert big.code == "4.13" and big.option(coap.SIZE1) == 4096, big
    c.request(coap.POST, "api/v1/gh-5/telemetry", '{"a":1}', [(coap.NO_RESPONSE, b"\x02")])
    assert c.receive().data[1:2] == b"\0"  # acknowledged, not answered
    c.send(coap.encode(coap.CON, 0, 77))
    assert c.receive().data == coap.encode(coap.RST, 0, 77)
    c.send(b"\x41\x02\0\x01")  # a token that is not there
    assert c.receive().data == coap.encode(coap.RST, 0, 1)
    assert len(points(r, "gh-1", "a", 2)) == 2


def check_blocks(r, c):
    body = '{"text":"%s"}' % ("x" * 2000)

    def put(number, more, data, size=1024):
        return c.post("api/v1/gh-2/telemetry", data, [(coap.FORMAT, b"2"), (coap.BLOCK1, coap.block(number, more, size))])
    assert put(1, False, body[1024:]).code == "4.08"
    answer = put(0, True, body[:1024])
    assert answer.code == "2.31" and answer.option(coap.BLOCK1) == 14, answer
    assert put(0, True, body[:1024]).code == "2.31"  # began anew
    assert put(2, False, body[1024:]).code == "4.08"
    answer = put(1, False, body[1024:])
    assert answer.code == "2.04" and answer.option(coap.BLOCK1) == 22, answer
    assert put(0, True, "short").code == "4.00"
    for number in range(4):
        assert put(number, True, "y" * 1024).code == "2.31"
    assert put(4, True, "y" * 1024).code == "4.13"
    assert put(5, True, "y" * 1024).code == "4.08"
    assert points(r, "gh-2", "text", 1) == ["x" * 2000]


def check_amplification(c):
    """Nobody is sent more than three times what came from there."""
    whole = b""
    while True:  # all of it, in blocks that fit
        options = [(coap.BLOCK2, coap.block(len(whole) // 16, False, 16))] if whole else []
        sent = c.request(coap.GET, ".well-known/core", b"", options, token=b"")
        got = c.receive()
        assert got.code == "2.05" and len(got.data) <= 3 * len(sent), (got, len(sent))
        whole += got.payload
        if not got.option(coap.BLOCK2) & 8:
            break
    assert whole.startswith(b"</v1/telemetry>"), whole
    for payload in ('{"', '{"a":[1,2,{"%s":}]}' % ("b" * 120)):
        sent = c.request(coap.POST, "api/v1/x/telemetry", payload)
        got = c.receive()
        assert got.code == "4.00" and len(got.data) <= 3 * len(sent), (got, len(sent))


def test_answers_codes_blocks_and_bounds():
    with Roost(dict(LISTEN, **{"limiter.device_rate": "1", "limiter.device_burst": "2", "coap.body_max": "4096"})) as r:
        with coap.Client(r.port_of("coap")) as c:
            check_codes(r, c)
            check_blocks(r, c)
            check_amplification(c)


def check_repeats(r, c):
    sent = c.request(coap.POST, "api/v1/gh-1/telemetry", '{"a":1}')
    first = c.answer(sent)
    for _ in range(5):
        c.send(sent)
        assert c.receive().data == first.data
    # Another request may have the id of one before.
    assert c.post("api/v1/gh-1/telemetry", '{"a":2}', mid=first.mid).code == "2.04"
    # Many at once, each three times, most of them before they are answered.
    many = [coap.encode(coap.CON, coap.POST, n, b"t%d" % n, coap.path("api/v1/gh-2/telemetry"), b'{"a":%d}' % n)
            for n in range(300)]
    for at in range(0, len(many), 30):
        done = set()
        for data in many[at:at + 30]:
            for _ in range(3):
                c.send(data)
        while len(done) < 30:
            got = c.receive()
            assert got is not None, "%d are not answered" % (30 - len(done))
            assert got.code in ("2.04", "0.00"), got
            if got.kind == coap.CON:
                c.send(coap.encode(coap.ACK, 0, got.mid))
            if got.number and got.token in (b"t%d" % n for n in range(at, at + 30)):
                done.add(got.token)
    assert points(r, "gh-1", "a", 2) == ["1", "2"]
    assert sorted(map(int, points(r, "gh-2", "a", 300))) == list(range(300))


def check_late_answer(r, c):
    """It is separate."""
    with coap.stopped(r, "storage-0"):
        sent = c.request(coap.POST, "api/v1/gh-3/telemetry", '{"a":1}')
        want = coap.Message(sent)
        assert c.receive().data == coap.encode(coap.ACK, 0, want.mid)
        c.send(sent)
        assert c.receive().data == coap.encode(coap.ACK, 0, want.mid)
    first = c.receive()
    assert (first.kind, first.code, first.token) == (coap.CON, "2.04", want.token), first
    c.send(coap.encode(coap.ACK, 0, first.mid))
    c.send(sent)
    assert c.receive().data == coap.encode(coap.ACK, 0, want.mid)
    assert points(r, "gh-3", "a", 1) == ["1"]


def check_death(r, c):
    """A repeat after the worker died is recognised by storage."""
    sent = c.request(coap.POST, "api/v1/gh-4/telemetry", '{"a":1}')
    assert c.answer(sent).code == "2.04"
    coap.kill_worker(r, "connectivity-0")
    c.send(sent)
    assert c.answer(sent).code == "2.04"
    assert c.post("api/v1/gh-4/telemetry", '{"a":2}').code == "2.04"
    assert points(r, "gh-4", "a", 2) == ["1", "2"]


def test_repeats_and_late_answers():
    with Roost(dict(LISTEN, **{"coap.ack_delay": "100ms"})) as r:
        with coap.Client(r.port_of("coap")) as c:
            check_repeats(r, c)
        with coap.Client(r.port_of("coap")) as c:
            check_late_answer(r, c)
            check_death(r, c)


def test_dtls_with_certificates():
    with Roost() as r:
        r.stop()
        ca = pki.Pki(os.path.join(r.folder, "pki"))
        ca.device("gh-1")
        r.settings.update(ca.server())
        r.settings.update({"coaps.listen": "127.0.0.1:0", "tls.client_ca": ca.ca, "tls.client_certificate": "required"})
        r.start()
        at = "coaps://127.0.0.1:%d" % r.port_of("coaps")
        trust = ["-R", ca.ca, "-C", ca.ca]
        mine = trust + ["-c", ca.path("gh-1.crt"), "-j", ca.path("gh-1.key")]
        values = ",".join('"m%d":%d' % (n, n) for n in range(300))
        coap.tool(*mine, "-m", "post", "-t", "50", "-e", "{%s}" % values, at + "/api/v1/gh-1/telemetry", tls=True)
        assert "</v1/telemetry>" in coap.tool(*mine, "-m", "get", at + "/.well-known/core", tls=True)
        assert points(r, "gh-1", "m299", 1) == ["299"]
        out = coap.tool(*trust, "-m", "get", at + "/.well-known/core", tls=True)
        assert "</v1/telemetry>" not in out and "cannot send" in out, out
        r.wait_for(lambda: metric(r, "tls_handshakes_dtls_total") == 2, 5, "two handshakes")
        assert metric(r, "coaps_sessions") == 0, "they said that they go"


def test_dtls_with_a_pre_shared_key():
    """Who has it is the device; formats that JSON is not."""
    with Roost({"coaps.listen": "127.0.0.1:0", "coap.listen": "127.0.0.1:0"}) as r:
        key = "a key of the plc"
        devices.done(r, "add", "gh-1", "--psk", "plc-1", "--psk-file", "-", input=key.encode().hex() + "\n")
        at = "coaps://127.0.0.1:%d" % r.port_of("coaps")
        mine = ["-u", "plc-1", "-k", key]
        coap.tool(*mine, "-m", "post", "-t", "50", "-e", '{"temperature":21.5}', at + "/v1/telemetry", tls=True)
        assert points(r, "gh-1", "temperature", 1) == ["21.5"]
        foreign = coap.tool(*mine, "-m", "post", "-t", "50", "-e", '{"device":"gh-2","a":1}', at + "/v1/telemetry", tls=True)
        assert "4.03" in foreign, foreign
        out = coap.tool("-B", "2", "-u", "plc-1", "-k", "another key", "-m", "get", at + "/.well-known/core", tls=True)
        assert "</v1/telemetry>" not in out, out
        with coap.Client(r.port_of("coap")) as c:
            token = json.loads(devices.done(r, "rotate", "gh-1", "--json").stdout)["token"]
            assert c.post("api/v1/%s/telemetry" % token, '{"b":1}').code == "2.04"
            assert c.post("api/v1/%s/telemetry" % token[::-1], '{"b":2}').code == "4.01"
            several = '[{"device":"gh-3","ts":1700000000,"values":{"a":1}},{"device":"gh-4","ts":1700000000,"values":{"a":2}}]'
            assert c.post("v1/telemetry", several).code == "2.04"
            cbor = bytes.fromhex("a2" "66") + b"device" + b"\x64gh-5" + b"\x61a\x18\x2a"
            assert c.post("v1/telemetry", cbor, [(coap.FORMAT, coap.uint(coap.CBOR))]).code == "2.04"
            senml = '[{"bn":"gh-6/","n":"temperature","u":"Cel","v":23.5}]'
            assert c.post("v1/telemetry", senml, [(coap.FORMAT, coap.uint(coap.SENML_JSON))]).code == "2.04"
            assert c.post("api/v1/%s/attributes" % token, '{"firmware":"1.2","net":{"rssi":-70}}').code == "2.04"
            assert c.post("api/v1/%s/attributes" % token, '{"firmware":"1.3"}').code == "2.04"
            assert c.post("v1/attributes", '{"a":').code == "4.00"
            assert c.get("v1/attributes").code == "4.05"

        def attributes():
            return {a["name"]: a["value"] for a in devices.shown(r, "gh-1").get("attributes", []) if a["scope"] == "client"}
        r.wait_for(lambda: attributes() == {"firmware": "1.3", "net.rssi": -70}, 5, "what the device said of itself")
        assert points(r, "gh-1", "b", 1) == ["1"]
        for device, metric_name, want in (("gh-3", "a", "1"), ("gh-4", "a", "2"), ("gh-5", "a", "42"), ("gh-6", "temperature", "23.5")):
            assert points(r, device, metric_name, 1) == [want], device


def test_workers_share_the_port_and_each_client_stays_with_one():
    with Roost(dict(LISTEN, **{"connectivity.replicas": "3"}),
               workers=roost.WORKERS + ["connectivity-1", "connectivity-2"]) as r:
        clients = [coap.Client(r.port_of("coap")) for _ in range(24)]
        for n in range(3):
            for i, c in enumerate(clients):
                sent = c.request(coap.POST, "api/v1/d%d/telemetry" % i, '{"a":%d}' % n)
                first = c.answer(sent)
                c.send(sent)
                assert first.code == "2.04" and c.receive().data == first.data
            if n == 0:
                coap.kill_worker(r, "connectivity-1")
        r.wait_for(lambda: all(metric(r, "coap_requests_total", "connectivity-%d" % n) for n in range(3)), 5,
                   "requests at each worker")
        for i in range(24):
            assert points(r, "d%d" % i, "a", 3) == ["0", "1", "2"]
        for c in clients:
            c.socket.close()
        taken = roost.run([roost.ROOST, "run", "--set", "data_dir=" + r.data_dir + "-other", "--set", "mqtt.listen=127.0.0.1:0",
                           "--set", "connectivity.replicas=3", "--set", "coap.listen=127.0.0.1:%d" % r.port_of("coap")],
                          cwd=roost.ROOT, env=r.environment)
        assert taken.returncode == 75 and "in use" in taken.stderr, taken


if __name__ == "__main__":
    roost.main(globals())
