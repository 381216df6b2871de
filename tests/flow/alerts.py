"""A reading that makes a rule fire, and a person who is told."""
import roost
from roost import Roost, notify_yaml
from webhook import Receiver

RULES = """
version: 1
group: test
rules:
  - alert: TooHot
    when: temperature > %s
    clear: temperature < %s
    severity: critical
    summary: "{device}: {temperature|1} C"
"""


def states(receipts):
    return [body["state"] for _, body, status in receipts if status == 200]


def maps_libcurl(pid):
    with open("/proc/%d/maps" % pid, encoding="utf-8") as f:
        return "/libcurl" in f.read()


def test_fires_and_clears_once():
    hook = Receiver()
    with Roost(rules=RULES % (40, 38), notify=notify_yaml(hook)) as r:
        notifier = r.pid_of("notifier-0")
        assert not maps_libcurl(notifier), "the notifier loads libcurl before there is anybody to tell"
        for value in (39, 41.5, 42, 39, 37, 36):
            r.publish("roost/gh-1/telemetry", '{"temperature":%s}' % value)
        hook.wait_for(lambda got: states(got) == ["firing", "cleared"], 15, "firing and cleared")
        (key1, fired, _), (key2, cleared, _) = hook.receipts
        assert key1 and key2 and key1 != key2, hook.receipts
        assert fired["device"] == "gh-1" and fired["summary"] == "gh-1: 41.5 C", fired
        assert fired["severity"] == "critical", fired
        assert cleared["alert_id"] == fired["alert_id"], hook.receipts
        r.wait_log("TooHot", 5)
        assert maps_libcurl(notifier)
    hook.close()


def test_receiver_that_refuses_is_tried_again():
    hook = Receiver()
    hook.set_mode("refuse")
    with Roost(rules=RULES % (40, 38), notify=notify_yaml(hook)) as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":50}')
        hook.wait_for(lambda got: len(got) >= 2, 30, "two refused attempts")
        hook.set_mode("accept")
        hook.wait_for(lambda got: states(got) == ["firing"], 60, "the notification")
        assert len({key for key, _, _ in hook.receipts}) == 1, hook.receipts
    hook.close()


def test_receiver_that_hangs_delays_nothing_else():
    slow, hook = Receiver(), Receiver()
    slow.set_mode("hang")
    with Roost(rules=RULES % (40, 38), notify=notify_yaml(slow, hook)) as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":50}')
        hook.wait_for(lambda got: states(got) == ["firing"], 15, "the notification at the receiver that answers")
        slow.wait_for(lambda got: len(got) >= 1, 15, "an attempt at the one that hangs")
        r.publish("roost/gh-1/telemetry", '{"temperature":20}')
        hook.wait_for(lambda got: states(got) == ["firing", "cleared"], 15, "the next one")
        slow.set_mode("accept")
        slow.wait_for(lambda got: states(got) == ["firing", "cleared"], 90, "both, late but in order")
    slow.close()
    hook.close()


def test_outbox_survives_a_restart():
    hook = Receiver()
    hook.set_mode("refuse")
    with Roost(rules=RULES % (40, 38), notify=notify_yaml(hook)) as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":50}')
        hook.wait_for(lambda got: len(got) >= 1, 30, "a refused attempt")
        r.stop()
        hook.set_mode("accept")
        r.start()
        hook.wait_for(lambda got: states(got) == ["firing"], 60, "the notification")
        assert len({key for key, _, _ in hook.receipts}) == 1, hook.receipts
    hook.close()


def test_a_condition_must_last_for_its_time():
    hook = Receiver()
    with Roost(rules=RULES % (40, 38) + "    for: 2s\n", notify=notify_yaml(hook)) as r:
        for value in (50, 30):  # too short: pending only
            r.publish("roost/a/telemetry", '{"temperature":%d}' % value)
        r.publish("roost/b/telemetry", '{"temperature":50}')
        hook.wait_for(lambda got: "firing" in states(got), 15, "firing")
        assert [body["device"] for _, body, _ in hook.receipts] == ["b"], hook.receipts
    hook.close()


def test_rules_are_reloaded_when_the_file_changes():
    hook = Receiver()
    with Roost(rules=RULES % (1000, 999), notify=notify_yaml(hook)) as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":50}')
        r.wait_for(lambda: r.query("gh-1", "temperature", "--since", "1h"), 10, "the reading in history")
        r.settle(10)
        assert hook.receipts == []
        r.write(r.rules_file, RULES % (40, 38))

        def fires():
            r.publish("roost/gh-1/telemetry", '{"temperature":51}')
            return "firing" in states(hook.receipts)
        r.wait_for(fires, 15, "firing under the new rule")
    hook.close()


def test_a_bad_rule_keeps_the_old_one_running():
    hook = Receiver()
    with Roost(rules=RULES % (40, 38), notify=notify_yaml(hook)) as r:
        r.write(r.rules_file, RULES % ("averge(temperature, 5m)", 38))
        r.wait_log(r"test\.yaml:6:\d+", 10)
        r.publish("roost/gh-1/telemetry", '{"temperature":50}')
        hook.wait_for(lambda got: states(got) == ["firing"], 15, "firing under the old rule")
    hook.close()


def test_an_alert_outlives_a_restart():
    hook = Receiver()
    with Roost(rules=RULES % (40, 38), notify=notify_yaml(hook)) as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":50}')
        hook.wait_for(lambda got: states(got) == ["firing"], 15, "firing")
        r.restart()
        r.publish("roost/gh-1/telemetry", '{"temperature":51}')
        r.publish("roost/gh-1/telemetry", '{"temperature":20}')
        hook.wait_for(lambda got: states(got) == ["firing", "cleared"], 15, "cleared, and no second firing")
    hook.close()


if __name__ == "__main__":
    roost.main(globals())
