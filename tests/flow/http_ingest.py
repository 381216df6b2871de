"""HTTP ingest: with curl, with InfluxDB's client, and with a bare socket for what neither would send."""
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import roost
from pki import Pki
from roost import Roost

LOAD = os.path.join(roost.B, "test/support/http_load")
NOW_MS = int(time.time()) * 1000


class Curl:
    """One request; its status, fields and body."""

    def __init__(self, r, path, *options, data=None):
        argv = ["curl", "-sS", "-i", "--max-time", "20", "http://127.0.0.1:%d%s" % (r.port_of("http"), path)]
        out = subprocess.run(argv + list(options) + (["--data-binary", "@-"] if data is not None else []),
                             input=data if isinstance(data, bytes) else (data or "").encode(), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, timeout=30 * roost.SLOW)
        assert out.returncode == 0, (argv, out)
        head, _, self.body = out.stdout.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}

    def problem(self, status):
        assert self.status == status, (self.status, self.body)
        assert self.fields["content-type"] == "application/problem+json", self.fields
        document = json.loads(self.body)
        assert document["status"] == status and document["title"] and document["detail"], document
        return document


class Raw:
    """A connection that sends any bytes."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 10 * roost.SLOW)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, text):
        self.sock.sendall(text.encode("latin-1"))

    def rest(self):
        """All until it is closed."""
        said = b""
        while True:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                return said.decode()
            if not more:
                return said.decode()
            said += more


def values(r, device, metric):
    return sorted(float(v) for _, v in r.query(device, metric, "--since", "2d"))


def test_readings_in_every_format():
    json_type = ("-H", "Content-Type: application/json")
    with Roost() as r:
        for device, path, options, data, status in (
                ("one", "/v1/telemetry", json_type, '{"device":"one","values":{"t":1}}', 200),
                ("array", "/v1/telemetry", json_type, '[{"device":"array","t":1},{"device":"two","values":{"t":1}}]', 200),
                ("nd", "/v1/telemetry", ("-H", "Content-Type: application/x-ndjson"), '{"device":"nd","t":1}\n{"device":"nd","t":1}\n', 200),
                ("pack", "/v1/telemetry", ("-H", "Content-Type: application/msgpack"), b"\x82\xa6device\xa4pack\xa1t\x01", 200),
                ("csv", "/v1/telemetry", ("-H", "Content-Type: text/csv"), "device,t\ncsv,1\n", 200),
                ("gz", "/v1/telemetry", json_type + ("-H", "Content-Encoding: gzip"), gzip.compress(b'{"device":"gz","t":1}'), 200),
                ("zst", "/v1/telemetry", json_type + ("-H", "Content-Encoding: zstd"),
                 subprocess.run(["zstd", "-q"], input=b'{"device":"zst","t":1}', stdout=subprocess.PIPE, check=True).stdout, 200),
                ("chunked", "/v1/telemetry", json_type + ("-H", "Transfer-Encoding: chunked"), '{"device":"chunked","t":1}', 200),
                ("tb", "/api/v1/tb/telemetry", (), '{"t":1}', 200),
                ("influx", "/write?db=x", (), "cpu,device=influx t=1", 204),
                ("influx2", "/api/v2/write?bucket=x&precision=ms", ("-H", "Authorization: Token "),
                 "cpu,device=influx2 t=1 %d" % NOW_MS, 400),
                ("influx3", "/api/v2/write?bucket=x&precision=ms", (), "cpu,device=influx3 t=1 %d" % NOW_MS, 204)):
            got = Curl(r, path, *options, data=data)
            assert got.status == status, (device, got.status, got.body)
        for device in ("one", "array", "two", "pack", "csv", "gz", "zst", "chunked", "tb", "influx", "influx3"):
            r.wait_for(lambda d=device: values(r, d, "t") == [1.0], 10, "the reading of %s in history" % device)
        r.wait_for(lambda: values(r, "nd", "t") == [1.0, 1.0], 10, "both")
        assert r.query("influx3", "t", "--since", "2d")[0][0] == NOW_MS * 1000


def test_what_is_refused_is_explained():
    with Roost({"http.body_max": "2000", "limiter.device_rate": "1", "limiter.device_burst": "2"}) as r:
        bad = Curl(r, "/v1/telemetry", "-H", "Content-Type: application/json", data='{"device":"a","values":{"t":[1,}}').problem(400)
        assert bad["offset"] == 31 and bad["field"].startswith("t"), bad
        bad = Curl(r, "/write", data="cpu,device=a t=1\ncpu,device=a t=x\n").problem(400)
        assert bad["line"] == 2 and bad["error"] == bad["detail"], bad
        assert "allow" in Curl(r, "/v1/telemetry", "-X", "PUT").fields
        Curl(r, "/v2/telemetry").problem(404)
        got = Curl(r, "/v1/telemetry", "-H", "Content-Type: text/plain", data="x")
        got.problem(415)
        assert "application/json" in got.fields["accept"], got.fields
        Curl(r, "/v1/telemetry", "-H", "Content-Type: application/json", data=" " * 2001).problem(413)
        bomb = subprocess.run(["gzip"], input=b" " * 500000, stdout=subprocess.PIPE, check=True).stdout
        Curl(r, "/v1/telemetry", "-H", "Content-Encoding: gzip", data=bomb).problem(415)
        Curl(r, "/v1/telemetry", "-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip", data=bomb).problem(413)
        Curl(r, "/v1/telemetry", "-H", "Content-Type: application/json", "-H", "Origin: http://evil.example",
             data='{"device":"a","t":1}').problem(403)
        # Devices in turn: each is a message of its own to the limiter.
        many = "\n".join('{"device":"%s","t":%d}' % (d, n) for n in range(4) for d in ("b", "c%d" % n))
        got = Curl(r, "/v1/telemetry", "-H", "Content-Type: application/json", data=many)
        over = got.problem(429)
        assert over["stored"] == 6 and over["not_stored_samples"] == [[4, 4], [6, 6]], over
        assert int(got.fields["retry-after"]) >= 1, got.fields
        r.wait_for(lambda: values(r, "b", "t") == [0.0, 1.0] and values(r, "c3", "t") == [3.0], 10, "what was stored")
        for name in ("http_answers_429_total", "http_answers_404_total", "http_telemetry_requests_total", "http_influx_requests_total"):
            r.wait_for(lambda n=name: re.search(r"^roost_%s\{.*\} [1-9]" % n, r.cli("metrics").stdout, re.M), 5, name)


# Each is a request and another one behind it, which nobody may ever see as one.
TRICKS = (
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding:\tchunked, chunked\r\n\r\n0\r\n\r\n",
    "Content-Length: +0\r\n\r\n", "Content-Length: 0, 0\r\n\r\n", "Content-Length: 0\n\r\n", "X: a\r\n b\r\n\r\n", "X: a\rb\r\n\r\n",
    "X: a\0\r\n\r\n", " X: a\r\n\r\n", "Host: b\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n")
BEHIND = "POST /v1/telemetry HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\n" + '{"device":"smuggled","t":13}\n'


def test_tricks_slow_ones_and_pipelines():
    with Roost({"http.header_timeout": "400ms", "http.body_timeout": "400ms", "http.idle_timeout": "1s"}) as r:
        port = r.port_of("http")
        for trick in TRICKS:
            with Raw(port) as c:
                c.send("POST /v1/telemetry HTTP/1.1\r\nHost: a\r\nX-A: b\r\n" + trick + BEHIND)
                said = c.rest()
                assert re.match(r"HTTP/1\.1 (400|501) ", said) and said.count("HTTP/1.1") == 1, (trick, said)
        begun = time.monotonic()
        with Raw(port) as head, Raw(port) as body, Raw(port) as idle, Raw(port) as asks:
            head.send("POST /v1/te")
            body.send("POST /v1/telemetry HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
            asks.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert head.rest().startswith("HTTP/1.1 408 ") and body.rest().startswith("HTTP/1.1 408 ")
            assert idle.rest() == "" and asks.rest().startswith("HTTP/1.1 200 ")
        assert time.monotonic() - begun < 5 * roost.SLOW
        with Raw(port) as c:
            text = "".join("POST /v1/telemetry HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\n"
                           '{"device":"piped","t":%4d}' % n + "GET /nothing/%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(50))
            c.send(text + "GET /healthz HTTP/1.0\r\n\r\n")
            statuses = re.findall(r"HTTP/1\.1 (\d+) ", c.rest())
            assert statuses == ["200", "404"] * 50 + ["200"], statuses
        r.wait_for(lambda: values(r, "piped", "t") == [float(n) for n in range(50)], 10, "all in history")
        assert not values(r, "smuggled", "t")


def test_influxdb_client():
    sys.path.append("/usr/lib/python3/dist-packages")  # Debian's, also for a python3 that is not
    import influxdb
    with Roost({"influx.device_tag": "host", "influx.metric": "measurement"}) as r:
        client = influxdb.InfluxDBClient("127.0.0.1", r.port_of("http"), username="", password="", database="things", timeout=20)
        assert client.ping()
        client.create_database("things")
        assert client.write_points([{"measurement": "cpu", "tags": {"host": "pi-1"}, "time": NOW_MS, "fields": {"idle": n + 0.5}}
                                    for n in range(1)] +
                                   [{"measurement": "mem", "tags": {"host": "pi-1"}, "fields": {"value": 7, "text": "a b"}}],
                                   time_precision="ms")
        try:
            client.write_points([{"measurement": "cpu", "tags": {"host": "a/b"}, "fields": {"idle": 1.0}}])
            raise AssertionError("was taken for a device")
        except influxdb.exceptions.InfluxDBClientError as e:
            assert e.code == 400 and "/" in str(e), e
        client.close()
        r.wait_for(lambda: values(r, "pi-1", "cpu.idle") == [0.5] and values(r, "pi-1", "mem") == [7.0], 10, "the points")


def test_credentials_and_tls():
    r = Roost({"auth.anonymous": "false", "https.listen": "127.0.0.1:0"})
    pki = Pki(os.path.join(r.folder, "pki"))
    r.settings.update(pki.server())
    r.settings["mqtts.listen"] = "127.0.0.1:0"
    with r:
        token = json.loads(r.cli("device", "add", "gh-1", "--json").stdout)["token"]
        with open(os.path.join(r.folder, "password"), "w", encoding="utf-8") as f:
            f.write("secret:of two\n")
        done = r.cli("device", "add", "gh-2", "--no-credential", "--user", "two", "--password-file", f.name)
        assert done.returncode == 0, done
        bearer = ("-H", "Authorization: Bearer " + token)
        kind = ("-H", "Content-Type: application/json")
        assert Curl(r, "/v1/telemetry", *kind, *bearer, data='{"t":1}').status == 200
        assert Curl(r, "/api/v1/%s/telemetry" % token, data='{"t":2}').status == 200
        assert Curl(r, "/v1/telemetry", *kind, "-u", "two:secret:of two", data='{"t":3}').status == 200
        assert Curl(r, "/write?u=two&p=secret%3Aof+two", data="x t=4").status == 204
        assert Curl(r, "/api/v2/write", "-H", "Authorization: Token " + token, data="x t=5").status == 204
        Curl(r, "/v1/telemetry", *kind, *bearer, data='{"device":"gh-2","t":9}').problem(403)
        for wrong in ((), ("-H", "Authorization: Bearer x" + token[1:]), ("-u", "two:wrong")):
            got = Curl(r, "/v1/telemetry", *kind, *wrong, data='{"t":9}')
            got.problem(401)
            assert got.fields["www-authenticate"], got.fields
        out = roost.run(["curl", "-sS", "--cacert", pki.ca, "-d", '{"t":6}', *kind, *bearer,
                         "https://localhost:%d/v1/telemetry" % r.port_of("https")])
        assert out.stdout == '{"stored":1}\n', out
        r.wait_for(lambda: values(r, "gh-1", "t") == [1.0, 2.0, 5.0, 6.0] and values(r, "gh-2", "t") == [3.0, 4.0], 10, "all of it")
        assert r.cli("user", "add", "collector", "--role", "operator", "--password-file", f.name).returncode == 0
        collector = ("-u", "collector:secret:of two")
        assert Curl(r, "/v1/telemetry", *kind, *collector, data='{"device":"gh-3","t":7}').status == 200
        Curl(r, "/v1/telemetry", *kind, *collector, data='{"t":7}').problem(400)
        with socket.create_connection(("127.0.0.1", r.port_of("http"))) as c:
            def answer():
                c.sendall(("POST /v1/telemetry HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: 7\r\n\r\n"
                           '{"t":1}' % token).encode())
                return c.recv(4096)[9:12]
            assert answer() == b"200"
            assert r.cli("device", "block", "gh-1").returncode == 0
            r.wait_for(lambda: answer() in (b"401", b"403"), 5, "the end of what was granted before")


def test_many_connections_stay():
    connections = int(os.environ.get("CONNECTIONS", "2000"))
    with Roost({"http.connections_max": str(connections)}) as r:
        load = subprocess.Popen([LOAD, str(r.port_of("http")), str(connections), "hold", "1"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        try:
            before = roost.rss_kib(r.pid_of("connectivity-0"))
            first = json.loads(load.stdout.readline())
            assert first["good"] == connections and not first["bad"] + first["lost"], first
            with Raw(r.port_of("http")) as c:
                assert c.rest() == "", "one more than http.connections_max"
            grown = roost.rss_kib(r.pid_of("connectivity-0")) - before
            load.stdin.close()
            again = json.loads(load.stdout.readline())
            assert again["good"] == connections and not again["bad"] + again["lost"], again
            roost.note("%d connections: %d KiB" % (connections, grown))
        finally:
            load.kill()
            load.wait()


def post(port, key, n):
    """A reading without a time of its own; true: answered 2xx."""
    body = '{"device":"k-%d","n":%d}' % (n % 7, n)
    try:
        with socket.create_connection(("127.0.0.1", port), 5 * roost.SLOW) as s:
            s.sendall(("POST /v1/telemetry HTTP/1.1\r\nHost: a\r\nIdempotency-Key: %s\r\nConnection: close\r\n"
                       "Content-Length: %d\r\n\r\n%s" % (key, len(body), body)).encode())
            return s.recv(65536).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def test_killed_amid_posts_each_is_there_once():
    kills, threads = int(os.environ.get("KILLS", "5")), 6
    with Roost({"connectivity.replicas": "2"}, workers=roost.WORKERS + ["connectivity-1"]) as r:
        port, posted, repeats, over = r.port_of("http"), [0] * threads, [0] * threads, threading.Event()

        def poster(k):
            while not over.is_set():
                n = posted[k] * threads + k
                # Now and then what was answered is sent again, as by a client that did not hear it.
                while not post(port, "key-%d" % n, n) or (n % 5 == 0 and not post(port, "key-%d" % n, n)):
                    repeats[k] += 1
                    roost.pause()
                posted[k] += 1
        posters = [threading.Thread(target=poster, args=(k,)) for k in range(threads)]
        for p in posters:
            p.start()
        for n in range(kills):
            before = list(posted)
            name = ("connectivity-0", "connectivity-1", "storage-0")[n % 3]
            os.kill(r.wait_for(lambda w=name: r.pid_of(w), 35, "a process of %s, back-off included" % name), signal.SIGKILL)
            r.wait_for(lambda b=before: all(n > was for n, was in zip(posted, b)), 20, "posts of all after a kill")
        over.set()
        for p in posters:
            p.join()
        r.wait_up()
        want = sorted(float(n * threads + k) for k in range(threads) for n in range(posted[k]))
        r.wait_for(lambda: sum(len(values(r, "k-%d" % d, "n")) for d in range(7)) >= len(want), 20, "what was answered in history")
        there = sorted(v for d in range(7) for v in values(r, "k-%d" % d, "n"))
        assert there == want, "%d posted, %d there, %d repeats" % (len(want), len(there), sum(repeats))
        roost.note("%d posts, %d kills, %d repeats" % (len(want), kills, sum(repeats)))


if __name__ == "__main__":
    roost.main(globals())
