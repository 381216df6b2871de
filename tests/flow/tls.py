"""MQTT over TLS, with the clients of other people: mosquitto_pub, openssl s_client, Python's ssl; certificates of openssl ca."""
import os
import re
import select
import signal
import socket
import ssl
import subprocess

import mqtt
import roost
import ws
from pki import Pki, openssl
from roost import Roost

LISTEN = {"mqtts.listen": "127.0.0.1:0", "mqtt_wss.listen": "127.0.0.1:0", "mqtt.listen": "", "https.listen": ""}
TOPIC = "roost/gh-1/telemetry"
PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 127, 0, 0, 1, 156, 64, 7, 91])


def pki_of(folder):
    return Pki(os.path.join(folder, "pki"))


class Tls:
    """A Roost with a certificate, in a folder with the CA that made it."""

    def __init__(self, settings=None, devices=False, crl=False, **kw):
        self.r = Roost(dict(LISTEN), **kw)
        self.pki = pki_of(self.r.folder)
        self.r.settings.update(self.pki.server())
        if devices:
            self.r.settings.update({"tls.client_ca": self.pki.ca, "tls.client_certificate": "required"})
        if crl:
            self.r.settings["tls.crl"] = self.pki.crl()
        self.r.settings.update(settings or {})

    def __enter__(self):
        self.r.__enter__()
        self.port = self.r.port_of("mqtts")
        return self

    def __exit__(self, *why):
        self.r.__exit__(*why)

    def publish(self, *options, payload='{"a":1}', host="localhost"):
        return roost.run(["mosquitto_pub", "-h", host, "-p", str(self.port), "--cafile", self.pki.ca, "-q", "1", "-t", TOPIC,
                          "-m", payload] + list(options), 20)

    def client_options(self, name):
        return ["--cert", self.pki.path(name + ".crt"), "--key", self.pki.path(name + ".key")]

    def context(self, name=None):
        c = ssl.create_default_context(cafile=self.pki.ca)
        if name:
            c.load_cert_chain(self.pki.path(name + ".crt"), self.pki.path(name + ".key"))
        return c

    def connect(self, name=None, host="localhost", context=None, before=b"", port=None):
        s = socket.create_connection(("127.0.0.1", port or self.port), 10)
        s.settimeout(10 * roost.SLOW)
        s.sendall(before)
        return (context or self.context(name)).wrap_socket(s, server_hostname=host)

    def metric(self, name):
        found = re.search(r"^roost_%s\{[^}]*\} (\d+)$" % name, self.r.cli("metrics").stdout, re.M)
        return int(found.group(1)) if found else 0

    def counts(self, name, least, seconds=5):
        self.r.wait_for(lambda: self.metric(name) >= least, seconds, "%s >= %d" % (name, least))


def connack(s, client="c", keep=60):
    s.sendall(mqtt.connect(client, keep_alive=keep))
    got = b""
    while len(got) < 4:
        more = s.recv(4 - len(got))
        assert more, "closed instead of CONNACK"
        got += more
    return got


def exchange(s, payload, n):
    """A reading at QoS 1, and its PUBACK."""
    s.sendall(mqtt.publish(TOPIC, payload, n))
    got = b""
    while len(got) < 4:
        more = s.recv(4 - len(got))
        assert more, "closed instead of PUBACK"
        got += more
    assert got == bytes([0x40, 2, n >> 8, n & 255]), got


def is_refused(connect):
    """TLS 1.3 tells a client only after its handshake that its certificate is no good."""
    try:
        s = connect()
        try:
            s.sendall(mqtt.connect("c"))
            return s.recv(1) == b""
        finally:
            s.close()
    except (ssl.SSLError, ConnectionError):
        return True


def test_readings_over_tls_are_durable_before_their_puback():
    with Tls() as t:
        out = t.publish()
        assert out.returncode == 0, out.stderr
        old = openssl("s_client", "-connect", "localhost:%d" % t.port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", check=False)
        assert old.returncode != 0 and "alert protocol version" in old.stderr, old
        older = t.context()
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        with t.connect(context=older) as s:
            assert connack(s) == b"\x20\x02\0\0"
            for n in range(1, 21):
                exchange(s, '{"ts":%d,"temperature":%d}' % (1700000000 + n, n), n)
            s.sendall(b"\xe0\0")
            assert s.recv(1) == b""  # close_notify, and not just the end of the connection
        t.counts("tls_failed_version_total", 1)
        t.counts("tls_handshakes_12_total", 1)
        assert t.metric("tls_handshakes_13_total") == 1
        assert t.metric("tls_certificate_expires") > 1700000000
        t.r.kill_all()
        t.r.start()
        t.r.wait_for(lambda: len(t.r.query("gh-1", "temperature")) == 20, 15, "all that was acknowledged")


def test_long_messages_cut_anywhere_over_tls_and_websocket():
    """Packets begin and end anywhere in records, records anywhere in what the socket reads; output longer than both take at once."""
    with Tls() as t:
        with t.connect() as s, ws.Socket(t.r.port_of("mqtt-wss"), tls=t.context()) as w:
            connack(s, "plain")
            w.send(ws.frame(ws.BINARY, mqtt.connect("ws") + mqtt.packet(0x82, b"\0\1" + mqtt.string("big") + b"\0")))
            payload = os.urandom(200000)
            packet = mqtt.publish("big", payload, 7)
            want = b"\x20\x02\0\0" + b"\x90\x03\0\1\0"
            got = b""
            while len(got) < len(want):
                got += w.frame()[1]
            assert got == want
            sent, cuts = 0, [1, 2, 5, 100, 4096, 16384, 16385, 70000]
            while sent < len(packet):
                n = cuts[sent % len(cuts)]
                s.sendall(packet[sent:sent + n])
                sent += n
            want, got = mqtt.publish("big", payload, qos=0), b""
            while len(got) < len(want):
                got += w.frame()[1]
            assert got == want
            w.send(ws.frame(ws.CLOSE, b"\x03\xe8"))
            assert w.close_code() == 1000


def test_devices_show_certificates():
    with Tls(devices=True, crl=True) as t:
        other = Pki(os.path.join(t.r.folder, "other"))
        t.pki.device("gh-1")
        t.pki.device("gone")
        t.pki.device("old", start="20200101000000Z", end="20200201000000Z")
        other.device("stranger")
        assert t.publish(*t.client_options("gh-1")).returncode == 0
        assert t.publish(*t.client_options("gone")).returncode == 0
        assert t.publish().returncode != 0  # shows none
        assert t.publish(*t.client_options("old")).returncode != 0
        assert t.publish("--cert", other.path("stranger.crt"), "--key", other.path("stranger.key")).returncode != 0
        t.counts("tls_failed_certificate_total", 3)
        # A session begun before its certificate was revoked goes on, but no ticket of it is good any more.
        context = t.context("gone")
        with t.connect(context=context) as s:
            connack(s)
            exchange(s, '{"a":1}', 1)
            session = s.session
            before = t.metric("tls_reloads_total")
            with context.wrap_socket(socket.create_connection(("127.0.0.1", t.port)), server_hostname="localhost", session=session) as again:
                connack(again, "again")
                assert again.session_reused
            t.pki.revoke("gone")
            t.pki.crl()
            t.r.proc.send_signal(signal.SIGHUP)
            t.counts("tls_reloads_total", before + 1)
            assert is_refused(lambda: t.connect("gone"))
            assert is_refused(lambda: context.wrap_socket(socket.create_connection(("127.0.0.1", t.port)),
                                                          server_hostname="localhost", session=session))
            assert t.publish(*t.client_options("gh-1")).returncode == 0
            exchange(s, '{"a":2}', 2)
        # A CRL that is over: no certificate is believed, until there is another one.
        t.pki.crl(seconds=1)
        t.r.proc.send_signal(signal.SIGHUP)
        t.counts("tls_reloads_total", before + 2)
        t.r.wait_for(lambda: is_refused(lambda: t.connect("gh-1")), 10, "the end of the CRL")
        t.pki.crl()
        t.r.proc.send_signal(signal.SIGHUP)
        t.counts("tls_reloads_total", before + 3)
        assert t.publish(*t.client_options("gh-1")).returncode == 0


def test_certificates_and_pre_shared_keys_let_devices_in():
    with Tls({"auth.anonymous": "false", "tls.client_certificate": "optional"}, devices=True, crl=True) as t:
        def register(*arguments, stdin=None):
            out = roost.run([roost.ROOST, "device"] + list(arguments) + ["--set", "data_dir=" + t.r.data_dir], 20, input=stdin)
            assert out.returncode == 0, (arguments, out.stderr)
            return out.stdout

        def publish(device, *options):
            return roost.run(["mosquitto_pub", "-h", "localhost", "-p", str(t.port), "-q", "1", "-i", "whatever",
                              "-t", "roost/%s/telemetry" % device, "-m", '{"a":1}'] + list(options), 20).returncode

        def shows(name):
            return ["--cafile", t.pki.ca] + t.client_options(name)

        def knows(identity, key):
            return ["--psk-identity", identity, "--psk", key]

        for name in ("one", "two", "unknown"):
            t.pki.device(name)
        key = "00112233445566778899aabbccddeeff"
        register("add", "gh-1", "--certificate", t.pki.path("one.crt"))
        register("add", "gh-2", "--ca", t.pki.ca, "--subject", "CN=two")
        register("add", "gh-3", "--psk", "Gewächshaus", "--psk-file", "-", stdin=key + "\n")
        assert publish("gh-1", *shows("one")) == 0
        assert publish("gh-2", *shows("two")) == 0
        assert publish("gh-3", *knows("Gewächshaus", key)) == 0  # at the first time: its handshake waits for the key
        assert publish("gh-2", *shows("one")) != 0  # it is gh-1
        assert publish("gh-3", *shows("unknown")) != 0
        assert publish("gh-3", "--cafile", t.pki.ca) != 0
        assert publish("gh-3", *knows("Gewächshaus", key[:-1] + "0")) != 0
        assert publish("gh-3", *knows("nobody", key)) != 0
        with t.connect("one") as s:
            assert connack(s) == b"\x20\x02\0\0"
            register("block", "gh-1")
            assert s.recv(1) == b""
        register("remove", "gh-3")
        t.r.wait_for(lambda: publish("gh-3", *knows("Gewächshaus", key)) != 0, 5, "the end of the key")


def test_certificates_change_while_clients_stay():
    with Tls() as t:
        two = t.pki.server("two", "DNS:two.example,DNS:*.wild.example")
        with t.connect() as s:
            connack(s)
            serial = s.getpeercert()["serialNumber"]
            broken = t.pki.path("server.crt")
            with open(broken, encoding="ascii") as f:
                good = f.read()
            t.r.write(broken, good[:200])
            t.r.proc.send_signal(signal.SIGHUP)
            t.counts("tls_reload_faults_total", 1)
            assert "tls.certificate: %s: its certificate cannot be read" % broken in t.r.log_text(), t.r.log_tail()
            assert t.publish().returncode == 0  # the one that was read before
            t.pki.server()  # server.crt and server.key anew
            t.r.proc.send_signal(signal.SIGHUP)
            t.counts("tls_reloads_total", 1)
            with t.connect() as new:
                connack(new, "new")
                assert new.getpeercert()["serialNumber"] != serial
            exchange(s, '{"a":1}', 1)
        t.r.stop()
        t.r.settings["tls.certificate"] += "," + two["tls.certificate"]
        t.r.settings["tls.key"] += "," + two["tls.key"]
        t.r.start()
        t.port = t.r.port_of("mqtts")
        for host in ("localhost", "two.example", "a.wild.example"):
            with t.connect(host=host) as s:  # it verifies the name
                connack(s)
        lax = t.context()
        lax.check_hostname = False
        with t.connect(context=lax, host="nobody.example") as s:
            assert ("DNS", "localhost") in s.getpeercert()["subjectAltName"]


def test_tickets_resume_sessions_also_after_a_restart():
    with Tls() as t:
        session = t.pki.path("session")
        for version in ("-tls1_2", "-tls1_3"):
            def client(*more):
                p = subprocess.Popen(["openssl", "s_client", "-connect", "localhost:%d" % t.port, "-CAfile", t.pki.ca, version] +
                                     list(more), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                # The ticket of TLS 1.3 comes behind the handshake: before CONNACK.
                p.stdin.write(mqtt.connect("s_client"))
                p.stdin.flush()
                got = b""
                while b"\x20\x02\0\0" not in got:
                    assert select.select([p.stdout], [], [], 10 * roost.SLOW)[0], got
                    more = os.read(p.stdout.fileno(), 65536)
                    assert more, got
                    got += more
                p.stdin.close()
                p.wait(10 * roost.SLOW)
                p.stdout.close()
                return got
            assert b"New, TLS" in client("-sess_out", session)
            assert b"Reused, TLS" in client("-sess_in", session)
            os.kill(t.r.pid_of("connectivity-0"), signal.SIGKILL)
            t.r.wait_log(r"child.died name=connectivity-0", 5)
            assert b"Reused, TLS" in client("-sess_in", session)


def test_who_is_slow_or_speaks_no_tls_is_cut():
    with Tls({"mqtt.connect_timeout": "300ms"}) as t:
        hello = bytes.fromhex("160301020001")
        for sent in (b"", hello, b"GET / HTTP/1.1\r\n\r\n", mqtt.connect("plain"), b"\x16\x03\x01\xff\xff"):
            with socket.create_connection(("127.0.0.1", t.port), 10) as s:
                s.sendall(sent)
                try:
                    while s.recv(100):
                        pass
                except ConnectionError:
                    pass
        t.counts("tls_failed_protocol_total", 3)
        assert t.metric("tls_failed_closed_total") == 2
        with t.connect() as s:  # open, and no CONNECT
            assert s.recv(1) == b""
        t.r.wait_for(lambda: t.metric("tls_connections") == 0, 5, "the end of all")


def test_a_proxy_announces_clients_before_tls():
    with Tls({"mqtts.proxy_protocol": "v2"}) as t:
        with t.connect(before=PROXY_V2) as s:
            s.sendall(mqtt.connect("far"))
            assert s.recv(1) == b"\x20"
        t.r.wait_for(lambda: t.metric("proxy_accepted_total") == 1, 5, "the header")
        assert is_refused(t.connect)


def test_what_is_wrong_refuses_to_start():
    """Connectivity is held until the file is mended, and then starts by itself; other settings are refused at once."""
    r = Roost(dict(LISTEN))
    pki = pki_of(r.folder)
    try:
        r.settings.update(pki.server())
        os.chmod(pki.path("server.key"), 0o644)
        r.spawn()
        r.wait_log("tls.start fault=\"tls.key: %s: others may read or change this secret key; chmod 600" % re.escape(pki.path("server.key")), 10)
        r.wait_log("child.held name=connectivity-0", 10)
        os.chmod(pki.path("server.key"), 0o600)
        r.wait_up()
        r.stop()
        for settings, fault in (({"tls.key": ""}, "tls.certificate names 1 files, and tls.key 0"),
                                ({"tls.crl": "x"}, "tls.crl is given, but no tls.client_ca"),
                                ({"tls.client_ca": "x"}, "nobody would be asked"),
                                ({"tls.client_certificate": "required"}, "no tls.client_ca says whose")):
            out = roost.run([roost.ROOST, "run"] + Roost.set_arguments(r) + ["--set=%s=%s" % s for s in settings.items()], 20)
            assert out.returncode == 78 and fault in out.stderr, (settings, out.returncode, out.stderr)
    finally:
        r.clean_up()


def test_certificates_of_one_s_own():
    """README, "TLS in five minutes": what roost certs makes, other people's programs take."""
    r = Roost(dict(LISTEN))
    folder = os.path.join(r.folder, "tls")

    def certs(*arguments, code=0):
        out = roost.run([roost.ROOST, "certs"] + list(arguments), 20)
        assert out.returncode == code, (arguments, out.returncode, out.stdout, out.stderr)
        return out.stdout + out.stderr

    def publish(*options):
        return roost.run(["mosquitto_pub", "-h", "localhost", "-p", str(r.port_of("mqtts")), "--cafile", folder + "/ca.crt", "-q", "1",
                          "-t", TOPIC, "-m", '{"a":1}'] + list(options), 20)

    def device(name):
        return publish("--cert", "%s/devices/%s.crt" % (folder, name), "--key", "%s/devices/%s.key" % (folder, name))

    with_devices = {"tls.certificate": folder + "/server.crt", "tls.key": folder + "/server.key", "tls.client_ca": folder + "/ca.crt",
                    "tls.crl": folder + "/ca.crl", "tls.client_certificate": "required"}
    try:
        certs("init", folder, "--name", "localhost", "--name", "127.0.0.1", "--name", "::1")
        assert "there is a CA already" in certs("init", folder, code=1)
        certs("device", folder, "gh-1", "gh-2", "Gewächshaus 3")
        for name in ("a/b", "", ".x", "x" * 65):
            certs("device", folder, name, code=78)
        certs("revoke", folder, "nobody", code=1)
        for path in ("ca.key", "server.key", "devices/gh-1.key"):
            assert os.stat(os.path.join(folder, path)).st_mode & 0o777 == 0o600, path
        for path in ("server.crt", "devices/gh-1.crt"):
            openssl("verify", "-x509_strict", "-crl_check", "-CAfile", folder + "/ca.crt", "-CRLfile", folder + "/ca.crl",
                    "-purpose", "sslserver" if path == "server.crt" else "sslclient", os.path.join(folder, path))
        sets = [x for s in with_devices.items() for x in ("--set", "%s=%s" % s)]
        assert "the CRL is good until" in certs("check", *sets)
        assert "tls.crl: nowhere: No such file" in certs("check", *sets, "--set", "tls.crl=nowhere", code=78)
        r.settings.update(with_devices)
        r.start()
        assert device("gh-1").returncode == 0 and device("gh-2").returncode == 0 and device("Gewächshaus 3").returncode == 0
        assert publish().returncode != 0
        certs("revoke", folder, "gh-2")
        certs("server", folder, "--name", "localhost")
        r.proc.send_signal(signal.SIGHUP)
        r.wait_log("tls.reload", 5)
        assert device("gh-1").returncode == 0
        assert publish("--cert", folder + "/devices/gh-2.crt.revoked", "--key", folder + "/devices/gh-2.key.revoked").returncode != 0
    finally:
        r.clean_up()


if __name__ == "__main__":
    roost.main(globals())
