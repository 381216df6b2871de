"""The registry: what people do with it by `roost device` and `roost user`, what is left of it where, and what never is."""
import json
import os
import re
import signal
import subprocess
import tempfile
import time

import devices
import roost
from devices import done, shown
from roost import Roost

MANY = 10000
KILLED = 5000
SECRET = re.compile(r"^[a-z2-7]{32}$")


def token_of(out):
    token = json.loads(out.stdout)["token"]
    assert SECRET.match(token), token
    return token


def test_a_device_and_its_credentials():
    with Roost() as r:
        token = token_of(done(r, "add", "gh-1", "--profile", "air", "--tag", "room=b", "--tag", "floor=2",
                              "--speaks-for", "gh-1-*", "--role", "reader", "--json"))
        known = shown(r, "gh-1")
        assert (known["profile"], known["tags"], known["speaks_for"], known["roles"], known["blocked"], known["version"]) == (
            "air", {"floor": "2", "room": "b"}, ["gh-1-*"], ["reader"], False, 1), known
        assert [c["lookup"] for c in known["credentials"]] == [devices.lookup_of(token)]
        assert "already" in done(r, "add", "gh-1", code=1).stderr
        for n in range(10):  # whoever is told that it is done finds it in Redis
            done(r, "set", "gh-1", "--profile", "p%d" % n)
            assert devices.redis_is_whole(r), n
        done(r, "set", "gh-1", "--profile", "air")
        done(r, "block", "gh-1")
        assert shown(r, "gh-1")["blocked"] and shown(r, "gh-1")["version"] == 13
        done(r, "block", "gh-1")
        done(r, "unblock", "gh-1")
        assert not shown(r, "gh-1")["blocked"] and shown(r, "gh-1")["version"] == 14
        done(r, "set", "gh-1", "--tag", "floor=3")
        known = shown(r, "gh-1")
        assert (known["profile"], known["tags"], known["roles"]) == ("air", {"floor": "3"}, ["reader"]), known
        done(r, "set", "gh-1", "--clear")
        assert shown(r, "gh-1")["profile"] == "" and shown(r, "gh-1")["tags"] == {}
        done(r, "set", "gh-1", "--attribute", 'shared.floor=3', "--attribute", 'server.owner={"name":"ann"}')
        done(r, "set", "gh-1", "--attribute", 'shared.floor="G"', "--attribute", "server.owner=")
        assert shown(r, "gh-1")["attributes"] == [{"scope": "shared", "name": "floor", "value": "G"}], shown(r, "gh-1")
        assert r.redis("HKEYS", "roost:registry:attributes:gh-1") == "2:floor"
        done(r, "set", "gh-1", "--attribute", "floor=3", code=64)
        done(r, "set", "gh-1", "--attribute", "house.floor=3", code=65)
        assert "no JSON" in done(r, "set", "gh-1", "--attribute", "shared.floor=G", code=65).stderr
        second = token_of(done(r, "rotate", "gh-1", "--json", "--expires", "90d"))
        assert [c["lookup"] for c in shown(r, "gh-1")["credentials"]] == [devices.lookup_of(second)]
        assert shown(r, "gh-1")["credentials"][0]["expires"]
        third = token_of(done(r, "rotate", "gh-1", "--json", "--keep"))
        assert len(shown(r, "gh-1")["credentials"]) == 2
        done(r, "revoke", "gh-1", "token", devices.lookup_of(second))
        assert [c["lookup"] for c in shown(r, "gh-1")["credentials"]] == [devices.lookup_of(third)]
        done(r, "set", "gh-1", "--user", "u1", "--password-file", "-", input="a password of people\n")
        done(r, "set", "gh-1", "--psk", "plc-1", "--psk-file", "-", input="00112233445566778899aabbccddeeff\n")
        assert {c["kind"] for c in shown(r, "gh-1")["credentials"]} == {"token", "password", "psk"}
        r.wait_for(lambda: devices.redis_is_whole(r), 5, "Redis to be as registry.db is")
        assert len(devices.in_redis(r)) == 4
        done(r, "remove", "gh-1")
        assert "no such device" in done(r, "show", "gh-1", code=1).stderr
        assert done(r, "list").stdout == "" and devices.counts(r) == (0, 0)
        r.wait_for(lambda: not devices.in_redis(r), 5, "Redis to have let go of it")
        done(r, "add", "gh-1", "--no-credential")
        assert shown(r, "gh-1")["credentials"] == [] and shown(r, "gh-1")["version"] == 18


def test_certificates():
    with Roost() as r, tempfile.TemporaryDirectory() as folder:
        def openssl(*arguments):
            return subprocess.run(["openssl"] + list(arguments), cwd=folder, check=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k", "-out", "c.pem",
                "-subj", "/O=x/CN=gh-1")
        print_ = openssl("x509", "-in", "c.pem", "-noout", "-fingerprint", "-sha256").split("=")[1].strip()
        pem = os.path.join(folder, "c.pem")
        done(r, "add", "gh-1", "--certificate", pem)
        assert shown(r, "gh-1")["credentials"][0]["lookup"] == "fp:" + print_.replace(":", "").lower()
        done(r, "add", "gh-2", "--ca", pem, "--certificate", pem)
        subject = openssl("x509", "-in", "c.pem", "-noout", "-subject", "-nameopt", "RFC2253").split("=", 1)[1].strip()
        out = done(r, "add", "gh-3", "--ca", pem, "--subject", subject, code=1)  # gh-2 has it
        assert "another's" in out.stderr, out.stderr
        assert "no certificate" in done(r, "add", "gh-4", "--certificate", os.path.join(folder, "k"), code=65).stderr


def test_users():
    with Roost() as r:
        out = json.loads(done(r, "add", "ann", "--role", "reader", "--role", "writer", "--json", tool="user").stdout)
        assert SECRET.match(out["password"]), out
        done(r, "add", "app", "--role", "reader", "--token-file", "-", tool="user", input="0123456789abcdef0123456789\n")
        listed = {u["user"]: u for u in json.loads(done(r, "list", "--json", tool="user").stdout)}
        assert listed["ann"]["roles"] == ["reader", "writer"] and listed["app"]["kind"] == "token", listed
        done(r, "rotate", "ann", tool="user")
        done(r, "add", "ann", "--role", "x", code=1, tool="user")
        done(r, "remove", "ann", tool="user")
        done(r, "remove", "ann", code=1, tool="user")
        done(r, "add", "bob", code=64, tool="user")
        assert [u["user"] for u in json.loads(done(r, "list", "--json", tool="user").stdout)] == ["app"]


def test_what_is_wrong_is_said():
    with Roost() as r, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "devices.csv")
        done(r, code=64)
        done(r, "frobnicate", code=64)
        done(r, "add", code=64)
        done(r, "show", "a", "b", code=64)
        done(r, "add", "gh-1", "--colour", "red", code=64)
        done(r, "add", "gh-1", "--expires", "yesterday", code=64)
        assert "+ # or /" in done(r, "add", "gh/1", code=65).stderr
        assert "tag" in done(r, "add", "gh-1", "--tag", "floor", code=65).stderr
        assert "guessed" in done(r, "add", "gh-1", "--token-file", "-", code=65, input="short\n").stderr
        done(r, "block", "gh-1", code=1)
        for text, place in (("", ":1:1: "), ("id,colour\n", ":1:4: "), ("id,id\n", ":1:4: "), ("profile\n", ":1:1: "),
                            ("id,tags\na,x=1\nb/c,x=1\n", ":3:1: "), ("id,profile\na,\"x\ny\"\nb\n", ":4:1: "),
                            ("id,blocked\na,maybe\n", ":2:3: "), ("id,token\na,short\n", ":2:3: "),
                            ("id,psk_identity,psk\na,i,xyz\n", ":2:5: "), ("id\na\nb\na\n", ":4:1: "),
                            ("id,tags\n\"a\"b,x\n", ":2:4: "), ("id,credentials\na,{\n", ":2:3: ")):
            Roost.write(path, text)
            out = done(r, "import", path, code=65)
            assert "devices.csv" + place in out.stderr and "nothing was changed" in out.stderr, (text, out.stderr)
        assert devices.counts(r) == (0, 0)
        r.stop()
        out = done(r, "add", "gh-1", code=69)
        assert "no Roost runs" in out.stderr and "data_dir" in out.stderr, out.stderr
        assert done(r, "list").stdout == ""


def tokens_of(out):
    tokens = dict(line.split(",") for line in out.split())
    assert all(SECRET.match(t) for t in tokens.values())
    return tokens


def write_many(path, count=MANY):
    with open(path, "w", encoding="utf-8") as f:
        f.write("id,tags,profile\n")
        f.writelines("d-%d,floor=%d;room=r,air\n" % (n, n % 9) for n in range(count))


def assert_tokens_are_known(r, tokens):
    known = {bytes(k).decode().split("/")[2] for k, in rows_of_credentials(r)}
    assert {devices.lookup_of(t) for t in tokens.values()} == known


def rows_of_credentials(r):
    return devices.rows(r, "SELECT key FROM object WHERE type=42 AND gone=0")


def test_import_and_export():
    with Roost() as r, tempfile.TemporaryDirectory() as folder:
        path, back = os.path.join(folder, "devices.csv"), os.path.join(folder, "export.csv")
        write_many(path)
        begun = time.monotonic()
        out = done(r, "import", path)
        took = time.monotonic() - begun
        tokens = tokens_of(out.stdout)
        assert len(tokens) == MANY and "%d new" % MANY in out.stderr
        assert_tokens_are_known(r, tokens)
        r.wait_for(lambda: devices.redis_is_whole(r), 20, "Redis to be as registry.db is")
        again = done(r, "import", path)
        assert again.stdout == "" and "%d as they were" % MANY in again.stderr, again.stderr
        # Secrets that come with the file; the same file again changes nothing, though salts are random.
        Roost.write(path, "id,token,username,password,psk_identity,psk,fingerprint,blocked,speaks_for,roles\n"
                    "x-1,0123456789abcdef-token,u-1,a password,i-1,00112233445566778899aabbccddeeff,%s,yes,a-*;b,reader;writer\n"
                    % ("ab:" * 31 + "cd"))
        done(r, "import", path)
        assert "1 as they were" in done(r, "import", path).stderr
        done(r, "add", "app", "--role", "reader", "--token-file", "-", tool="user", input="0123456789abcdef0123456789\n")
        done(r, "set", "x-1", "--attribute", 'shared.list=[1, "a,b"]', "--attribute", 'server.text="x"')
        first = devices.exported(r)
        assert len(first) == MANY + 2
        Roost.write(back, done(r, "export").stdout)
        assert token_free(open(back, encoding="utf-8").read(), list(tokens.values()))
        with Roost() as other:
            assert done(other, "import", back).stdout == ""
            assert devices.exported(other) == first
        roost.note("%d devices with a token each in %.1f s" % (MANY, took))


def token_free(text, tokens):
    return not any(t in text for t in tokens[:100])


def test_folds_are_rebuilt():
    """Redis after FLUSHALL; registry.db from the journal, Redis with it."""
    with Roost() as r, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "devices.csv")
        write_many(path, 1000)
        done(r, "import", path)
        done(r, "remove", "d-7")
        r.wait_for(lambda: devices.redis_is_whole(r), 20, "Redis to be as registry.db is")
        before, export = devices.in_redis(r), devices.exported(r)
        assert len(before) == 1998
        r.redis("FLUSHALL")
        r.wait_for(lambda: devices.in_redis(r) == before and devices.redis_is_whole(r), 20, "Redis after FLUSHALL")
        r.redis("DEL", "roost:registry", "roost:registry:device:d-1")
        r.wait_for(lambda: devices.redis_is_whole(r), 20, "Redis after its mark was lost")
        r.stop()
        for name in os.listdir(os.path.join(r.data_dir, "registry")):
            if name.startswith("registry.db"):
                os.unlink(os.path.join(r.data_dir, "registry", name))
        r.start()
        r.wait_for(lambda: devices.counts(r) == (999, 999) and devices.redis_is_whole(r), 20, "registry.db from the journal")
        assert devices.exported(r) == export and devices.in_redis(r) == before
        done(r, "block", "d-1")
        r.restart()
        assert shown(r, "d-1")["blocked"]


def test_registry_is_killed_during_an_import():
    """kill -9, again and again: nothing is lost, nothing is there twice, and who asked knows each token."""
    with Roost() as r, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "devices.csv")
        write_many(path, KILLED)
        with subprocess.Popen([roost.ROOST, "device", "import", path, "--set", "data_dir=" + r.data_dir], cwd=roost.ROOT,
                              env=r.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as tool:
            lines, kills = [], 0
            for line in tool.stdout:
                lines.append(line)
                if len(lines) % (KILLED // 6) == 0 and kills < 4:
                    os.kill(r.pid_of("registry-0"), signal.SIGKILL)
                    kills += 1
            assert tool.wait() == 0
        tokens = tokens_of("".join(lines))
        assert kills == 4 and len(lines) == KILLED and len(tokens) == KILLED
        assert devices.counts(r) == (KILLED, KILLED)
        assert_tokens_are_known(r, tokens)
        assert devices.rows(r, "SELECT max(version) FROM object")[0][0] == 1, "something was done twice"
        r.wait_for(lambda: devices.redis_is_whole(r), 20, "Redis to be as registry.db is")


RULES = """
version: 1
group: test
rules:
  - alert: TooHot
    when: t > 2
    clear: t < 1
    severity: critical
    summary: "{device}: {t|1} C"
"""


def test_a_device_is_erased():
    """Its registration, its latest values, its alerts and all of its history; nothing of the others."""
    gone, other = "to-be-erased-7", "stays-7"
    with Roost(rules=RULES) as r:
        token_of(done(r, "add", gone, "--json"))
        done(r, "add", other)
        for device in (gone, other):
            r.publish("roost/%s/telemetry" % device, '[{"ts":1763769600000,"values":{"t":1}},{"ts":1763855999000,"values":{"t":2}}]')
            r.publish("roost/%s/telemetry" % device, '{"t":3,"name":"%s"}' % device)
        r.wait_for(lambda: len(r.query(gone, "t")) == 3 and r.latest(gone).get("t") == "3", 10, "what it said")
        r.wait_for(lambda: r.latest(other).get("t") == "3", 10, "what the other said")
        r.wait_for(lambda: r.redis("HLEN", "roost:alerts") == "2", 10, "both alerts in Redis")
        done(r, "erase", gone)
        done(r, "erase", gone)
        r.wait_for(lambda: not r.query(gone, "t") and not r.latest(gone), 10, "it to be forgotten")
        assert len(r.query(other, "t")) == 3 and r.latest(other)["t"] == "3"
        done(r, "show", gone, code=1)
        assert r.redis("KEYS", "*%s*" % gone) == "" and r.redis("HLEN", "roost:alerts") == "1"
        r.publish("roost/%s/telemetry" % gone, '{"t":0}')
        r.wait_for(lambda: [v for _, v in r.query(gone, "t")] == ["0"], 10, "what it says afterwards")
        # All is read again, by history and by who keeps the latest values: the same.
        r.wait_for(lambda: r.latest(gone).get("t") == "0", 10, "its latest value")
        r.redis("FLUSHALL")
        r.stop()
        os.unlink(os.path.join(r.data_dir, "history/meta.sqlite"))
        r.start()
        r.settle(20)
        assert [v for _, v in r.query(gone, "t")] == ["0"] and len(r.query(other, "t")) == 3
        r.wait_for(lambda: r.latest(gone).get("t") == "0" and "name" not in r.latest(gone), 10, "its latest value again")
        # One that was never registered is erased as well.
        r.publish("roost/stranger/telemetry", '{"t":5}')
        r.wait_for(lambda: len(r.query("stranger", "t")) == 1 and r.latest("stranger"), 10, "what the stranger said")
        done(r, "erase", "stranger")
        r.wait_for(lambda: not r.query("stranger", "t") and not r.latest("stranger"), 10, "it to be forgotten")


def everything_written(r):
    """All that Roost wrote, and what others may see of its processes."""
    for folder, _, names in os.walk(r.folder):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    yield path, f.read()
    for pid in [r.proc.pid] + list(r.pids().values()):
        for what in ("cmdline", "environ"):
            with open("/proc/%d/%s" % (pid, what), "rb") as f:
                yield "%s of %d" % (what, pid), f.read()
    yield "metrics", r.cli("metrics").stdout.encode()
    yield "status", r.cli("status", "--json").stdout.encode()


def test_no_secret_is_kept():
    """Canaries of each kind, given and made: in no file, no Redis, no process, no metric."""
    given = {"token": "canary-token-0123456789", "password": "canary password 42", "short": "canary-pw", "psk": "c0ffee" * 6}
    with Roost({"log.level": "debug"}) as r, tempfile.TemporaryDirectory() as folder:
        made = [token_of(done(r, "add", "gh-1", "--json"))]
        made.append(json.loads(done(r, "rotate", "gh-1", "--user", "u1", "--json").stdout)["password"])
        made.append(json.loads(done(r, "rotate", "gh-1", "--psk", "i1", "--json").stdout)["psk"])
        done(r, "set", "gh-1", "--token-file", "-", input=given["token"])
        done(r, "set", "gh-1", "--user", "u2", "--password-file", "-", input=given["password"])
        done(r, "set", "gh-1", "--user", "u3", "--password-file", "-", input=given["short"])
        done(r, "set", "gh-1", "--psk", "i2", "--psk-file", "-", input=given["psk"])
        path = os.path.join(folder, "devices.csv")
        Roost.write(path, "id,token,username,password,psk_identity,psk\ngh-2,2%s,u4,2%s,i4,22%s\n" % (
            given["token"], given["password"], given["psk"]))
        done(r, "import", path)
        export = done(r, "export").stdout
        r.wait_for(lambda: devices.redis_is_whole(r), 20, "Redis to be as registry.db is")
        r.redis("SAVE")
        secrets = made + list(given.values())
        forms = {form for s in secrets for form in (s.encode(), s.encode().hex().encode(), s.upper().encode())}
        forms |= {bytes.fromhex(s) for s in (made[2], given["psk"])}
        looked = 0
        for place, content in list(everything_written(r)) + [("export", export.encode())]:
            looked += len(content)
            for form in forms:
                assert form not in content, "a secret (%r) stands in %s" % (form, place)
        assert looked > 100000 and len(shown(r, "gh-1")["credentials"]) == 7


if __name__ == "__main__":
    roost.main(globals())
