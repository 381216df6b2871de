"""roost sim: believable telemetry, and recordings, over real MQTT."""
import json
import os

import roost
from roost import Roost


def sim(r, *arguments):
    out = r.cli("sim", "--set", "mqtt.listen=127.0.0.1:%d" % r.port, "--json", *arguments, seconds=60)
    assert out.returncode == 0, out
    return json.loads(out.stdout)


def test_all_that_is_sent_is_acknowledged_and_stored():
    with Roost() as r:
        result = sim(r, "--devices", "100", "--rate", "2000", "--for", "3s")
        assert result["sent"] == result["acknowledged"] >= 5000, result
        r.settle(20)
        each = result["sent"] // 100
        points = r.query("sim-00004", "temperature", "--since", "1h")
        assert abs(len(points) - each) <= each * 0.2 + 1, (len(points), each)
        roost.note("%d messages, p50 %.1f ms, p99 %.1f ms" % (result["sent"], result["p50_ms"], result["p99_ms"]))


def test_a_recording_is_played_back_as_it_was():
    with Roost() as r:
        path = os.path.join(r.folder, "boiler.csv")
        rows = ["2015-07-%02d %02d:30:00,%s" % (1 + n // 24, n % 24, 20 + n / 8) for n in range(200)]
        r.write(path, "timestamp,value\n" + "\n".join(rows) + "\n")
        result = sim(r, "--replay", path, "--speed", "10000000", "--metric", "temperature")
        assert result["acknowledged"] == 200, result
        points = r.wait_for(lambda: len(p := r.query("boiler", "temperature", "--since", "2015-07-01T00:00:00Z")) == 200 and p,
                            20, "200 points")
        assert [float(v) for _, v in points] == [20 + n / 8 for n in range(200)]
        assert points[0][0] == roost.time_us("2015-07-01T00:30:00Z")


def test_nobody_listens():
    out = roost.run([roost.ROOST, "sim", "--url", "mqtt://127.0.0.1:1", "--for", "1s"])
    assert out.returncode == 75 and "127.0.0.1:1" in out.stderr, out


def test_wrong_arguments():
    for arguments in (["--rate", "x"], ["--for", "3"], ["--url", "http://a"], ["surplus"], ["--devices", "0"]):
        out = roost.run([roost.ROOST, "sim"] + arguments)
        assert out.returncode == 64 and out.stderr, (arguments, out)
    out = roost.run([roost.ROOST, "sim", "--replay", "/nonexistent.csv"])
    assert out.returncode == 1 and "/nonexistent.csv" in out.stderr, out


if __name__ == "__main__":
    roost.main(globals())
