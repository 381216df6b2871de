"""Who is let in: credentials of the registry, with mosquitto's clients; what ends sessions, and what no secret is ever found in."""
import glob
import json
import os
import re
import signal
import time

import mqtt
import roost
from devices import done
from roost import Roost

CLOSED = {"auth.anonymous": "false"}
CUT_S = 5  # whoever is blocked or revoked is gone in less


def token_of(out):
    return json.loads(out.stdout)["token"]


def publish(r, topic, payload, *options):
    """mosquitto_pub's exit status: 0; 4, 5 are 3.1.1's return codes; 128 and more 5.0's reason codes."""
    return roost.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(r.port), "-q", "1", "-t", topic, "-m", payload]
                     + list(options)).returncode


def may_not(r, topic, *options):
    """5.0's PUBACK says that it may not."""
    out = roost.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(r.port), "-q", "1", "-t", topic, "-m", '{"t":1}', "-V", "5"]
                    + list(options))
    return "not authorized" in (out.stdout + out.stderr).lower()


def refused(r, *options, user=None, password=None, version=5):
    """The code that CONNECT is answered with, and the reason string."""
    body = mqtt.string("MQTT") + bytes([version, (2 | (0x80 if user else 0) | (0x40 if password else 0)), 0, 60])
    body += b"\0" if version == 5 else b""
    body += mqtt.string("c")
    for text in (user, password):
        body += mqtt.string(text) if text else b""
    with mqtt.Client(r.port) as c:
        c.send(mqtt.packet(0x10, body))
        answer = c.receive()
    return answer[1][1], answer[1][2:]


def connected(r, user, client="live", version=5):
    body = mqtt.string("MQTT") + bytes([version, 0x82, 0, 60]) + (b"\0" if version == 5 else b"")
    c = mqtt.Client(r.port)
    c.send(mqtt.packet(0x10, body + mqtt.string(client) + mqtt.string(user)))
    answer = c.receive()
    assert answer[1][1] == 0, answer
    return c


def points(r, device):
    return [float(v) for _, v in r.query(device, "t", "--since", "1h")]


def test_a_device_and_what_takes_it_back():
    with Roost(CLOSED) as r:
        token = token_of(done(r, "add", "gh-1", "--json"))
        assert publish(r, "roost/gh-1/telemetry", '{"t":1}', "-u", token) == 0
        assert publish(r, "v1/devices/me/telemetry", '{"t":2}', "-u", token, "-V", "5") == 0
        r.wait_for(lambda: points(r, "gh-1") == [1, 2], 10, "both readings")
        # Another's readings, nobody, and somebody else.
        assert may_not(r, "roost/gh-2/telemetry", "-u", token)
        assert publish(r, "roost/gh-1/telemetry", '{"t":1}') == 5
        assert publish(r, "roost/gh-1/telemetry", '{"t":1}', "-u", "a" * 32) in (4, 5)
        assert refused(r)[0] == 0x87 and refused(r, user="b" * 32)[0] == 0x86
        assert refused(r, user="gh-1", password="x")[0] == 0x86 and refused(r, user="gh-1", password="x", version=4)[0] == 4
        for verb, code in (("block", 0x87), ("rotate", 0x86)):
            with connected(r, token) as live, connected(r, token, "live 3.1.1", 4) as other:
                since = time.monotonic()
                out = done(r, verb, "gh-1", *(["--json"] if verb == "rotate" else []))
                assert live.receive() == (0xe0, b"\x87")
                other.wait_closed(CUT_S)
                assert time.monotonic() - since < CUT_S
            assert refused(r, user=token)[0] == code
            if verb == "block":
                done(r, "unblock", "gh-1")
                r.wait_for(lambda: publish(r, "roost/gh-1/telemetry", '{"t":3}', "-u", token) == 0, 5, "it to be let in")
            else:
                token = token_of(out)
        with connected(r, token) as live:
            done(r, "remove", "gh-1")
            assert live.receive() == (0xe0, b"\x87")
        assert refused(r, user=token)[0] == 0x86


def test_redis_is_away():
    with Roost(CLOSED) as r:
        known, unknown = (token_of(done(r, "add", name, "--json")) for name in ("gh-1", "gh-2"))
        assert publish(r, "roost/gh-1/telemetry", '{"t":1}', "-u", known) == 0
        redis = r.pid_of("redis-0" if "redis-0" in r.pids() else "redis")
        os.kill(redis, signal.SIGSTOP)
        try:
            assert publish(r, "roost/gh-1/telemetry", '{"t":2}', "-u", known) == 0
            assert refused(r, user=unknown)[0] == 0x88 and refused(r, user=unknown, version=4)[0] == 3
            with connected(r, known) as live:
                since = time.monotonic()
                done(r, "block", "gh-1")
                assert live.receive() == (0xe0, b"\x87")
                assert time.monotonic() - since < CUT_S
            assert refused(r, user=known)[0] == 0x87
        finally:
            os.kill(redis, signal.SIGCONT)
        r.wait_for(lambda: refused(r, user=unknown)[0] == 0, 10, "who was not known to be let in")


def test_passwords_and_gateways():
    with Roost(CLOSED) as r:
        done(r, "add", "gw", "--user", "gw-user", "--password-file", "-", "--speaks-for", "s-*", input="correct horse\n")
        fast = json.loads(done(r, "add", "gh-1", "--user", "fast", "--json").stdout)["password"]
        slow = ["-u", "gw-user", "-P", "correct horse"]
        for _ in range(2):  # the second time without Argon2id
            assert publish(r, "roost/s-1/telemetry", '{"t":1}', *slow) == 0
        assert may_not(r, "roost/x/telemetry", *slow)
        assert publish(r, "roost/gh-1/telemetry", '{"t":1}', "-u", "fast", "-P", fast) == 0
        # The same answer, whatever is wrong.
        wrong = {refused(r, user=user, password="wrong") for user in ("gw-user", "fast", "nobody-1", "nobody-2", "nobody-3")}
        assert len(wrong) == 1 and wrong.pop()[0] == 0x86
        metrics = r.cli("metrics").stdout
        slow_checks = int(re.search(r"auth_slow_total\S* (\d+)", metrics).group(1))
        assert 2 <= slow_checks <= 5, slow_checks
        # Too many of them, and the next is not looked at; who was let in from here before is.
        codes = [refused(r, user="gw-user", password="wrong")[0] for _ in range(8)]
        assert codes[0] == 0x86 and codes[-1] == 0x9f, codes
        for n in range(12):  # and other names from here have to wait
            code, rest = refused(r, user="other-%d" % n, password="wrong")
            if code == 0x9f:
                break
        assert code == 0x9f and re.search(rb"retry in \d+ ms", rest), rest
        assert refused(r, user="nobody-9", password="wrong", version=4)[0] == 3
        r.wait_for(lambda: publish(r, "roost/s-2/telemetry", '{"t":1}', *slow) == 0, 6, "the gateway to be let in")


def everything(r):
    """What Roost keeps and tells: files (Redis's log of all it was told is one), command lines, environments, metrics."""
    for path in glob.glob(os.path.join(r.folder, "**"), recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                yield path, f.read()
    for pid in [r.proc.pid] + list(r.pids().values()):
        for what in ("cmdline", "environ"):
            with open("/proc/%d/%s" % (pid, what), "rb") as f:
                yield what, f.read()
    yield "metrics", r.cli("metrics").stdout.encode()
    yield "status", r.cli("status", "--json").stdout.encode()


def test_no_secret_is_found_anywhere():
    with Roost({"auth.anonymous": "loopback", "log.level": "debug"}) as r:
        secrets = [token_of(done(r, "add", "gh-1", "--json")), "canary-" + os.urandom(8).hex(), "canary-" + os.urandom(8).hex(),
                   "a2" * 16]
        done(r, "add", "gh-2", "--user", "u", "--password-file", "-", input=secrets[1] + "\n")
        session = ["-c", "-i", "kept", "-V", "5", "-x", "60", "-W", "1", "-t", "v1/devices/me/#", "-q", "1"]
        for user in (["-u", secrets[0]], ["-u", "u", "-P", secrets[1]], ["-u", "u", "-P", secrets[2]], ["-u", secrets[3]]):
            said = publish(r, "v1/devices/me/telemetry", '{"t":1}', "-r", "--will-topic", "v1/devices/me/will", "--will-payload", "w", *user)
            assert (said == 0) == (secrets[0] in user or secrets[1] in user), (user, said)
            roost.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(r.port)] + session + user)
        r.settle(20)
        for where, data in everything(r):
            for n, secret in enumerate(secrets):
                assert secret.encode() not in data, "secret %d is in %s" % (n, where)


def enrol(r, request, *options):
    """What ThingsBoard's devices do: a request on one topic, its answer on another."""
    out = roost.run(["mosquitto_rr", "-h", "127.0.0.1", "-p", str(r.port), "-t", "/provision/request", "-e", "/provision/response",
                     "-q", "1", "-W", "10", "-m", json.dumps(request)] + list(options))
    return json.loads(out.stdout) if out.stdout else out.returncode


def test_devices_enrol_themselves():
    with Roost({"auth.anonymous": "false", "auth.enrolment_guests": "true"}) as r:
        secret = json.loads(done(r, "add", "fleet-a", "--role", "enrol", "--json", tool="user").stdout)["password"]
        plain = json.loads(done(r, "add", "reader", "--role", "reader", "--json", tool="user").stdout)["password"]
        wanted = {"deviceName": "gh-1", "provisionDeviceKey": "fleet-a", "provisionDeviceSecret": secret}
        said = enrol(r, wanted, "-u", "provision")
        assert (said["status"], said["credentialsType"], said["deviceName"]) == ("SUCCESS", "ACCESS_TOKEN", "gh-1"), said
        token = said["credentialsValue"]
        assert publish(r, "v1/devices/me/telemetry", '{"t":5}', "-u", token) == 0
        r.wait_for(lambda: points(r, "gh-1") == [5], 10, "the reading")
        # Once only; with the right secret only; by a fleet only; and a device without a name gets one.
        assert "already" in enrol(r, wanted, "-u", "provision")["errorMsg"]
        other = dict(wanted, deviceName="gh-2")
        assert enrol(r, dict(other, provisionDeviceSecret="x"), "-u", "provision")["status"] == "FAILURE"
        assert enrol(r, dict(other, provisionDeviceKey="reader", provisionDeviceSecret=plain), "-u", "provision")["status"] == "FAILURE"
        assert "gh-2" not in done(r, "list").stdout
        del other["deviceName"]
        made = enrol(r, other, "-u", "fleet-a", "-P", secret, "-V", "5")
        assert len(made["deviceName"]) == 20 and made["deviceName"] in done(r, "list").stdout, made
        # A guest may do nothing else.
        said = publish(r, "roost/gh-1/telemetry", '{"t":1}', "-u", "provision")
        assert said == 7 and points(r, "gh-1") == [5], (said, points(r, "gh-1"))
        assert may_not(r, "x", "-u", "provision")
        for n in range(2):
            os.kill(r.pid_of("registry-0"), signal.SIGKILL)  # it is asked again
            assert enrol(r, dict(wanted, deviceName="late-%d" % n), "-u", "provision")["status"] == "SUCCESS"
        for where, data in everything(r):
            for n, one in enumerate((secret, token)):
                assert one.encode() not in data, "secret %d is in %s" % (n, where)


if __name__ == "__main__":
    roost.main(globals())
