"""A storm of TLS handshakes does not let the others wait; and what testssl says of it all (THOROUGH=1, some minutes)."""
import json
import os
import re
import socket
import ssl
import subprocess
import time

import mqtt
import roost
from pki import Pki
from roost import Roost

STORM_S = 10 if os.environ.get("THOROUGH") else 2
LISTEN = {"mqtts.listen": "127.0.0.1:0", "https.listen": ""}


def receive(s, n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        assert more, "closed"
        got += more
    return got


def test_a_storm_of_handshakes_lets_nobody_wait():
    """Two hundred connections at once whose hello is in the kernel already, again and again; one that is open publishes meanwhile."""
    r = Roost(dict(LISTEN))
    pki = Pki(os.path.join(r.folder, "pki"))
    r.settings.update(pki.server())
    with r:
        context = ssl.create_default_context(cafile=pki.ca)
        port = r.port_of("mqtts")
        steady = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10 * roost.SLOW), server_hostname="localhost")
        steady.sendall(mqtt.connect("steady"))
        assert receive(steady, 4) == b"\x20\x02\0\0"

        def hello():
            """What a client says first, without a client."""
            into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            try:
                context.wrap_bio(into, out, server_hostname="localhost").do_handshake()
            except ssl.SSLWantReadError:
                pass
            return out.read()

        hellos = [hello() for _ in range(200)]
        waits, storms = [], 0
        end = time.monotonic() + STORM_S
        while time.monotonic() < end:
            storm = [socket.create_connection(("127.0.0.1", port), 10 * roost.SLOW) for _ in hellos]
            for s, h in zip(storm, hellos):
                s.sendall(h)
            storms += 1
            for n in range(1, 11):
                begun = time.monotonic()
                steady.sendall(mqtt.publish("roost/gh-1/telemetry", '{"a":1}', n))
                assert receive(steady, 4) == bytes([0x40, 2, 0, n])
                waits.append(time.monotonic() - begun)
            for s in storm:
                assert s.recv(1) == b"\x16"  # each has its answer
                s.close()
        steady.close()

        def waited():
            found = re.search(r"^roost_tls_waited_total\{[^}]*\} (\d+)$", r.cli("metrics").stdout, re.M)
            return found and int(found.group(1))
        r.wait_for(waited, 5, "handshakes that were put off")
        waits.sort()
        # 200 hellos are some 50 ms of a processor and more: who had to wait for all of them would see it at most of its messages.
        roost.note("%d storms, PUBACK after %.1f ms p50, %.1f ms at most; %d steps put off" % (
            storms, waits[len(waits) // 2] * 1e3, waits[-1] * 1e3, waited()))
        assert waits[len(waits) // 2] < 0.1 * roost.SLOW, waits


def test_what_testssl_says():
    """Nothing above LOW. One listener stands for all: their contexts are the same."""
    if not os.environ.get("THOROUGH"):
        roost.note("only with THOROUGH=1")
        return
    r = Roost(dict(LISTEN))
    pki = Pki(os.path.join(r.folder, "pki"), days=400)
    # A private CA tells nobody over the net what it has revoked; testssl wants to be told where it would.
    r.settings.update(pki.server(days=200, more="crlDistributionPoints=URI:http://127.0.0.1/ca.crl"))
    with r:
        out = os.path.join(r.folder, "testssl.json")
        said = subprocess.run(["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--add-ca", pki.ca, "--jsonfile", out,
                               "localhost:%d" % r.port_of("mqtts")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=1600)
        with open(out, encoding="utf-8") as f:
            found = json.load(f)
        bad = ["%s %s: %s" % (x["severity"], x["id"], x["finding"]) for x in found
               if x["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")]
        assert len(found) > 50, said.stdout[-3000:]
        assert not bad, bad
        roost.note("%d looks, nothing above LOW" % len(found))


if __name__ == "__main__":
    roost.main(globals())
