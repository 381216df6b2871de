"""Power cuts: everything that Roost keeps is on an ext4 image whose power goes under load; what was acknowledged is there again.

CUTS=300 SEED=7 make fault T=power cuts more often, or the same way again. A series of cuts has one load generator, which
sends again what was not acknowledged; after it all is compared: history, journal, alerts, notifications.
"""
import os
import random
import time

import journal
import roost
from disks import OnDisk, PowerDisk
from load import RULES, Load
from roost import notify_yaml
from webhook import Receiver

ALONE = True
CUTS = int(os.environ.get("CUTS", "25" if os.environ.get("THOROUGH") else "6"))
SERIES = 25  # cuts in one file system
DEVICES = 50
RATE = 20000
FLIP = 400
LOAD_S = (0.05, 1.5)
ROTATION_MAX_S = 3
CYCLE_MAX_S = 8
IMAGE_MIB = 1024


def acknowledged_but_not_in_journal(book, data_dir):
    """History may hold what the journal lost, and the other way round: each must hold all."""
    left = {(device, t) for device, sent in book.devices.items() for t, (_, _, acked) in sent.items() if acked}
    for device, time_us, _, _, _ in journal.records(data_dir):
        left.discard((device, time_us))
    return left


def segments(r):
    return len([n for n in os.listdir(os.path.join(r.data_dir, "journal/shard-0")) if n[0].isdigit()])


def wait_for_the_instant(r, rng):
    """Any time, or every third time within a few milliseconds of a new segment."""
    if rng.random() < 1 / 3:
        count = segments(r)
        deadline = time.monotonic() + ROTATION_MAX_S
        while segments(r) == count and time.monotonic() < deadline:
            pass
        roost.pause(rng.uniform(0, 0.004))
    else:
        roost.pause(rng.uniform(*LOAD_S))


def cut_power(r, disk, load):
    """Returns when all is UP again and acknowledgements count again."""
    disk.cut(load.path)
    r.kill_all()
    disk.power_on()
    r.start()
    disk.hear(load.path)


def context(r, line):
    lines = [x for x in r.log_text().split("\n") if " storage-0 " in x]
    at = lines.index(line)
    return "\n".join(lines[max(0, at - 30):at + 12])


def series(cuts, rng, environment=None):
    """Returns (what is wrong, acknowledged, longest time from cut to UP)."""
    hook = Receiver()
    disk = PowerDisk(IMAGE_MIB)
    slowest = 0
    try:
        with OnDisk(disk, rules=RULES, notify=notify_yaml(hook), workers=roost.WORKERS + ["redis"],
                    environment=environment) as r:
            r.settings["mqtt.listen"] = "127.0.0.1:%d" % r.port
            seconds = cuts * CYCLE_MAX_S
            with Load(r, connections=DEVICES, rate=RATE, seconds=seconds, flip=FLIP, window=200,
                      per_device=RATE // DEVICES * seconds) as load:
                for n in range(cuts):
                    acked = load.acked()
                    r.wait_for(lambda: load.acked() > acked, 10, "acknowledgements after cut %d" % n)  # noqa: B023
                    wait_for_the_instant(r, rng)
                    at = time.monotonic()
                    cut_power(r, disk, load)
                    slowest = max(slowest, time.monotonic() - at)
                load.stop()
                print(load.finish(120))
                findings = load.findings(None if environment else hook, 120)
                lost = acknowledged_but_not_in_journal(load.book(), r.data_dir)
                if lost:
                    findings.add("not in the journal", str(sorted(lost)[:3]), len(lost))
                for line in r.log_lines("error"):
                    if "stream_damaged" in line or "damaged_block" in line:
                        findings.add("storage says itself that it lost something", line)
                        print(context(r, line))
                return findings, load.result["acked"], slowest
    finally:
        hook.close()
        disk.close()


def test_cuts_under_load():
    seed = int(os.environ.get("SEED", int.from_bytes(os.urandom(4), "little")))
    print("seed %d" % seed)
    rng = random.Random(seed)
    acked, slowest = 0, 0
    for done in range(0, CUTS, SERIES):
        findings, more, longest = series(min(SERIES, CUTS - done), rng)
        assert not findings.counts, findings.text()
        acked += more
        slowest = max(slowest, longest)
    roost.note("seed %d, %d cuts, %d acknowledged, 0 lost, cut to all UP at most %.1f s" % (seed, CUTS, acked, slowest))


def test_a_sync_that_does_nothing_is_caught():
    """The test of the test: storage believes that it synced, and did not."""
    lie = {"LD_PRELOAD": os.path.join(roost.B, "test/support/nosync.so"), "ROOST_TEST_NOSYNC": "roost-storage:data",
           "ASAN_OPTIONS": "verify_asan_link_order=0"}
    findings, _, _ = series(2, random.Random(1), lie)
    print(findings.text())
    assert findings.counts["missing"] or findings.counts["not in the journal"], "two cuts without a sync, and nothing is missed"


if __name__ == "__main__":
    roost.main(globals())
