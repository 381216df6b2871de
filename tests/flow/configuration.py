"""What settings can say, and how Roost refuses what they cannot."""
import os
import re

import roost
from roost import Roost, run


def refused(arguments, text=None, environment=None):
    """`roost run` with these arguments ends with 78; returns what it said."""
    r = Roost()
    try:
        r.settings["rules_dir"] = r.rules_dir
        if text is not None:
            path = os.path.join(r.folder, "roost.yaml")
            r.write(path, text)
            arguments = ["-c", path] + arguments
        env = dict(r.environment, **(environment or {}))
        out = run([roost.ROOST, "run", "--set", "data_dir=" + r.data_dir] + arguments, cwd=roost.ROOT, env=env)
        assert out.returncode == 78, out
        assert not os.path.exists(os.path.join(r.data_dir, "journal")), "it began to write before it refused"
        return out.stderr + out.stdout
    finally:
        r.clean_up()


def test_errors_of_a_file_name_the_place():
    cases = [
        ("mqtt:\n  lisen: [127.0.0.1:1883]\n", r"roost\.yaml:2:3: .*mqtt\.lisen.*mqtt\.listen"),
        ("partitions: many\n", r"roost\.yaml:1:13: .*partitions"),
        ("log:\n  level: info\npartitions: 0\n", r"roost\.yaml:3:13: .*1"),
        ("log:\n  level: loud\n", r"roost\.yaml:2:10: .*loud"),
        ("history:\n  flush: 5\n", r"roost\.yaml:2:10: "),
        ("data_dir: [a\n", r"roost\.yaml:\d+:\d+: "),
        ("log: {level: info}\nlog: {level: warn}\n", r"roost\.yaml:2:1: "),
    ]
    for text, pattern in cases:
        said = refused([], text)
        assert re.search(pattern, said), (text, said)


def test_errors_of_set_and_environment():
    assert "partitions" in refused(["--set", "partitions=0"])
    assert "nonsense" in refused(["--set", "nonsense=1"])
    assert "ROOST_PARTITIONS" in refused([], environment={"ROOST_PARTITIONS": "x"})
    assert "ROOST_PARTITIOMS" in refused([], environment={"ROOST_PARTITIOMS": "8"})


def test_a_missing_file_is_named():
    assert "/nonexistent.yaml" in refused(["-c", "/nonexistent.yaml"])


def test_anonymous_devices_only_on_loopback():
    for anonymous in ("loopback", "true"):
        with Roost({"mqtt.listen": "0.0.0.0:0", "auth.anonymous": anonymous}) as r:
            out = roost.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(r.port), "-q", "1", "-t", "x", "-m", "y"])
            assert out.returncode == (5 if anonymous == "loopback" else 0), out


def test_later_sources_win():
    r = Roost()
    path = os.path.join(r.folder, "roost.yaml")
    r.write(path, "log: {level: error}\nmqtt: {packet_max: 2048}\nhistory: {flush: 100ms}\n")
    r.environment["ROOST_LOG_LEVEL"] = "warn"
    r.environment["ROOST_MQTT_PACKET_MAX"] = "4096"
    r.settings["log.level"] = "debug"
    for key in ("history.flush",):
        del r.settings[key]
    real = r.set_arguments
    r.set_arguments = lambda: ["-c", path] + real()
    with r:
        out = r.cli("settings", "-c", path, "--set", "log.level=debug")
        for line in ("log.level=debug", "mqtt.packet_max=4096", "history.flush=100ms"):
            assert line in re.sub(r"\s*[=:]\s*", "=", out.stdout), (line, out)


def test_doc_lists_every_setting():
    out = run([roost.ROOST, "settings", "--doc"])
    with open(os.path.join(roost.ROOT, "common/settings.def"), encoding="utf-8") as f:
        keys = re.findall(r'^SETTING\(\w+, "([^"]+)"', f.read(), re.M)
    assert len(keys) > 30
    for key in keys:
        assert re.search(r"^\s*%s:" % re.escape(key.split(".")[-1]), out.stdout, re.M), key
    r = Roost()
    path = os.path.join(r.folder, "all.yaml")
    r.write(path, out.stdout)
    assert run([roost.ROOST, "settings", "-c", path]).returncode == 0
    r.clean_up()


if __name__ == "__main__":
    roost.main(globals())
