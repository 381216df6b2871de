"""A reading from a real client to disk, to history, to Redis."""
import json
import time

import roost
from roost import Roost

NOW_US = int(time.time()) * 1000000


def test_from_mosquitto_pub_311():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":41.5,"humidity":40}')
        points = r.wait_for(lambda: r.query("gh-1", "temperature", "--since", "1h"), 10, "the reading in history")
        assert [float(v) for _, v in points] == [41.5], points
        assert abs(points[0][0] - NOW_US) < 600e6, points
        assert [float(v) for _, v in r.query("gh-1", "humidity", "--since", "1h")] == [40.0]


def test_from_mosquitto_pub_5():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":-3.25}', "-V", "mqttv5")
        points = r.wait_for(lambda: r.query("gh-1", "temperature", "--since", "1h"), 10, "the reading in history")
        assert [float(v) for _, v in points] == [-3.25], points


def test_on_thingsboard_topic():
    with Roost() as r:
        # Nobody is authenticated, so the client id is the device.
        r.publish("v1/devices/me/telemetry", '{"temperature":7}', "-i", "tb-1")
        points = r.wait_for(lambda: r.query("tb-1", "temperature", "--since", "1h"), 10, "the reading in history")
        assert [float(v) for _, v in points] == [7.0], points


def test_device_time_is_kept():
    with Roost() as r:
        at = NOW_US - 90 * 1000000 + 123000
        for ts in (at // 1000, '"2024-02-29T12:00:00.5Z"'):
            r.publish("roost/gh-1/telemetry", '{"ts":%s,"values":{"temperature":1}}' % ts)
        points = r.wait_for(lambda: len(p := r.query("gh-1", "temperature", "--since", "2000d")) == 2 and p, 10, "both")
        assert sorted(t for t, _ in points) == [1709208000500000, at], points


def test_bare_value_is_named_by_its_topic():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry/pressure", "1013.25")
        points = r.wait_for(lambda: r.query("gh-1", "pressure", "--since", "1h"), 10, "the reading in history")
        assert [float(v) for _, v in points] == [1013.25], points


def test_query_as_text_json_and_csv():
    with Roost() as r:
        for n in range(3):
            r.publish("roost/gh-1/telemetry",
                      '{"ts":%d,"values":{"temperature":%d.5}}' % (NOW_US // 1000 - 3000 + n * 1000, 20 + n))
        r.wait_for(lambda: len(r.query("gh-1", "temperature", "--since", "1h")) == 3, 10, "three points")
        text = r.cli("query", "gh-1", "temperature", "--since", "1h")
        assert text.returncode == 0 and all(v in text.stdout for v in ("20.5", "21.5", "22.5")), text
        document = json.loads(r.cli("query", "gh-1", "temperature", "--since", "1h", "--json").stdout)
        assert json.dumps(document).count("21.5") == 1, document
        assert [v for _, v in r.query("gh-1", "temperature", "--since", "1h")] == ["20.5", "21.5", "22.5"]
        assert r.query("nobody", "temperature", "--since", "1h") == []


def test_redis_has_the_latest_values():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":20,"humidity":40}')
        r.publish("roost/gh-1/telemetry", '{"temperature":21.5}')
        latest = r.wait_for(lambda: (x := r.latest("gh-1")).get("temperature") == "21.5" and x, 10, "the latest values")
        assert latest["humidity"] == "40", latest


def test_qos_0_is_stored_too():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":5}', qos=0)
        r.wait_for(lambda: r.query("gh-1", "temperature", "--since", "1h"), 10, "the reading in history")


def test_late_data_goes_to_its_own_day():
    with Roost() as r:
        old = 1436538240000
        r.publish("roost/gh-1/telemetry", '{"ts":%d,"values":{"temperature":5}}' % old)
        points = r.wait_for(lambda: r.query("gh-1", "temperature", "--since", "2015-07-10T00:00:00Z"), 10, "old reading")
        assert points[0][0] == old * 1000, points


if __name__ == "__main__":
    roost.main(globals())
