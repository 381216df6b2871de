"""Three rules workers that are killed, and storage too: every partition changes hands, each alert is told once."""
import collections
import os
import random
import signal
import time

import journal
import roost
from roost import Roost, notify_yaml
from webhook import Receiver

RULES = """
version: 1
group: test
rules:
  - alert: TooHot
    when: temperature > 40
    clear: temperature < 38
  - alert: StillTooHot
    when: temperature > 40
    for: 500ms
"""
DEVICES = 20
ROUNDS = 8
HOT, COLD = 50, 20


def told(receipts):
    """{(device, rule): [state, ...]} as the receiver has it."""
    result = collections.defaultdict(list)
    for _, body, status in receipts:
        if status == 200:
            result[body["device"], body["alert"]].append(body["state"])
    return result


def kill(r, name):
    pid = r.pids().get(name)
    if pid:
        os.kill(pid, signal.SIGKILL)


def test_partitions_change_hands_and_each_alert_is_told_once():
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    print("seed %d" % seed)
    rng = random.Random(seed)
    hook = Receiver()
    with Roost({"rules.replicas": "3"}, rules=RULES, notify=notify_yaml(hook)) as r:
        for n in range(ROUNDS):
            hot = n % 2 == 0
            for d in range(DEVICES):
                r.publish("roost/d%d/telemetry" % d, '{"temperature":%d}' % (HOT if hot else COLD))
            victims = ["rules-%d" % rng.randrange(3)] + (["storage-0"] if n % 3 == 2 else [])
            for name in victims:
                kill(r, name)
            # Whoever owns a device's partition now: both of its rules have fired, or have cleared, once more.
            hook.wait_for(lambda got: sum(len(s) == n + 1 for s in told(got).values()) == 2 * DEVICES, 30,
                          "round %d at the receiver, %s killed" % (n, victims))
        for (device, rule), states in told(hook.receipts).items():
            assert states == ["firing", "cleared"] * (ROUNDS // 2), (device, rule, states)
        ids = [a["id"] for a in journal.alerts(r.data_dir)]
        assert len(ids) == len(set(ids)) == 2 * DEVICES * ROUNDS, (len(ids), len(set(ids)))
    hook.close()


if __name__ == "__main__":
    roost.main(globals())
