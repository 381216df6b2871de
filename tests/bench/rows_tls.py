"""rows_tls.py - rows of TLS: handshakes, readings over TLS beside readings in clear, memory of a connection that is idle"""
import json
import os
import subprocess
import time

import roost as support
from pki import Pki
from rows import Row
from rows_mqtt import STILL_LOOKS, OfServer, still_memory, total, used
from servers import Mosquitto, Roost

TLS = os.path.join(support.B, "test/bench/tls")


class TlsRoost(Roost):
    """In clear and over TLS, with a certificate of its own kind."""
    kind = "P-256"
    devices = False

    def __init__(self, base, **kw):
        super().__init__(base, **kw)
        # Beside its folder, which a start empties.
        self.pki = Pki(os.path.join(base, "tls-" + type(self).__name__.lower()))
        self.extra.update(self.pki.server(kind=self.kind))
        self.extra["mqtts.listen"] = "127.0.0.1:0"
        if self.devices:
            self.pki.device("d")
            self.extra.update({"tls.client_ca": self.pki.ca, "tls.crl": self.pki.crl(), "tls.client_certificate": "required"})

    def tls(self, *flags, plain=False):
        where = [] if plain else ["--ca", self.pki.ca]
        port = self.port if plain else self.run.port_of("mqtts")
        if self.devices and not plain:
            where += ["--cert", self.pki.path("d.crt"), "--key", self.pki.path("d.key")]
        return [TLS, "--port", str(port)] + where + [str(f) for f in flags]


class TlsMosquitto(Mosquitto):
    """Debian's, on the same terms."""
    name = "mosquitto"
    devices = False

    def __init__(self, base):
        super().__init__(base)
        self.pki = Pki(os.path.join(base, "tls-mosquitto"))
        self.pki.server()
        os.chmod(self.pki.path("server.key"), 0o644)  # it gives up root before it reads it
        os.chmod(self.pki.folder, 0o755)
        os.chmod(os.path.dirname(self.pki.folder), 0o755)

    def command(self):
        argv, environment = super().command()
        with open(argv[argv.index("-c") + 1], "a", encoding="utf-8") as f:
            f.write("\ncertfile %s\nkeyfile %s\n" % (self.pki.path("server.crt"), self.pki.path("server.key")))
        return argv, environment

    def tls(self, *flags, plain=False):
        return [TLS, "--port", str(self.port), "--ca", self.pki.ca] + [str(f) for f in flags]


class RsaRoost(TlsRoost):
    kind = "rsa"


class DevicesRoost(TlsRoost):
    devices = True


def measured(server, bench, seconds, *flags, plain=False):
    before = server.cpu()
    out = support.run(server.tls("--seconds", bench.seconds(seconds), *flags, plain=plain), 120)
    after = server.cpu()
    if out.returncode != 0:
        raise AssertionError("tls: %s" % out.stderr)
    result = json.loads(out.stdout)
    count = max(result["done"], 1)
    return {"value": result["rate"], "server_cpu_us": (total(after) - total(before)) * 1e6 / count,
            "generator_cpu_us": result["cpu_us"], "by_process": used(before, after, count),
            "resumed": result["resumed"] / count * 100}


COLUMNS = {"server_cpu_us": "server CPU, µs each", "generator_cpu_us": "generator CPU, µs each"}


def subject(bench, kind, name, measure):
    s = OfServer(bench, kind, measure).subject
    s.name = name
    return s


def handshake_subjects(bench):
    def of(*flags):
        return lambda server: measured(server, bench, 3, "--mode", "handshake", *flags)
    kinds = [("in clear", TlsRoost, None), ("1.3", TlsRoost, of("--version", 13)), ("1.3, resumed", TlsRoost, of("--version", 13, "--resume")),
             ("1.2", TlsRoost, of("--version", 12)), ("1.2, resumed", TlsRoost, of("--version", 12, "--resume")),
             ("1.3, RSA 2048", RsaRoost, of("--version", 13)), ("1.3, device's certificate", DevicesRoost, of("--version", 13)),
             ("1.3, device's, resumed", DevicesRoost, of("--version", 13, "--resume"))]
    subjects = []
    for name, kind, measure in kinds[1:2] if bench.smoke else kinds:
        subjects.append(subject(bench, kind, "Roost, " + name, measure or (
            lambda server: measured(server, bench, 3, "--mode", "handshake", plain=True))))
    if not bench.smoke:
        subjects.append(subject(bench, TlsMosquitto, "mosquitto, 1.3", of("--version", 13)))
    return subjects


Row("tls-handshake", "TLS handshakes, with CONNECT and DISCONNECT", "connects/s", "more", handshake_subjects,
    "4 clients, each one connection after the other, on the same processors; certificate EC P-256 where nothing else is said; with a "
    "device's certificate its chain and CRL are verified each time", columns=dict(COLUMNS, resumed="resumed, %"), base="Roost, 1.3")


def publish_subjects(bench):
    def of(plain):
        return lambda server: measured(server, bench, 3, "--mode", "publish", "--clients", 8, "--window", 100, plain=plain)
    return [subject(bench, TlsRoost, "Roost, TLS 1.3", of(False)), subject(bench, TlsRoost, "Roost, in clear", of(True))]


Row("tls-publish", "Readings over TLS and in clear, QoS 1, window 100", "messages/s", "more", publish_subjects,
    "8 connections, each writes 100 messages and reads 100 PUBACKs; readings of two metrics", columns=COLUMNS, base="Roost, in clear")


def memory_subjects(bench):
    count = 100 if bench.smoke else 2000

    def of(*flags, plain=False):
        def measure(server):
            looks = 1 if bench.smoke else STILL_LOOKS
            # What the first handshakes load stays, and is no connection's.
            support.run(server.tls("--seconds", 1, "--mode", "handshake", *flags, plain=plain), 60).check_returncode()
            before = still_memory(server, looks)
            proc = subprocess.Popen(server.tls("--mode", "idle", "--connections", count, *flags, plain=plain),
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                begun = time.monotonic()
                if '"up":%d}' % count not in proc.stdout.readline():
                    raise AssertionError("not all connections are up")
                opened = time.monotonic() - begun
                after = still_memory(server, looks)
            finally:
                proc.stdin.close()
                proc.wait(60)
                proc.stdout.close()
            return {"value": (after - before) * 1024 / count, "opened_per_s": count / opened}
        return measure
    kinds = [("in clear", TlsRoost, of(plain=True)), ("TLS 1.3", TlsRoost, of("--version", 13)), ("TLS 1.2", TlsRoost, of("--version", 12)),
             ("TLS 1.3, device's certificate", DevicesRoost, of("--version", 13))]
    subjects = [subject(bench, kind, "Roost, " + name, measure) for name, kind, measure in (kinds[1:2] if bench.smoke else kinds)]
    if not bench.smoke:
        subjects.append(subject(bench, TlsMosquitto, "mosquitto, TLS 1.3", of("--version", 13)))
    return subjects


Row("tls-memory", "Memory of an idle connection over TLS", "bytes", "less", memory_subjects,
    "as conn-memory, 2,000 connections", columns={"opened_per_s": "opened, connects/s"}, base="Roost, in clear")
