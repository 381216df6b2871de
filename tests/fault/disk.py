"""A full disk and syncs that fail: no answer after the failure, a loud log, recovery when space returns, nothing lost.

FSYNCS=200 FULLS=50 SEED=7 make fault T=disk does it more often, or the same way again.
"""
import contextlib
import os
import random
import time

import roost
import verify
from disks import OnDisk, SmallDisk
from load import RULES, Load
from roost import Roost
from storage_faults import CALLS, ERRORS, CallFault, FullDevice, FullDisk
from webhook import Receiver

THOROUGH = bool(os.environ.get("THOROUGH"))
FSYNCS = int(os.environ.get("FSYNCS", "20" if THOROUGH else "4"))
FULLS = int(os.environ.get("FULLS", "8" if THOROUGH else "2"))
SEED = int(os.environ.get("SEED", int.from_bytes(os.urandom(4), "little")))
RESUMED_MAX_S = 2
CYCLE_MAX_S = 40
REMOUNT_EVERY = 10
BACKOFF_BELOW_MS = 1000
ROOM_MAX_S = 3  # from room to the first write of the slowest follower: it looks twice a second, and writes half a second later


class System:
    def __init__(self, r, load, disk=None):
        self.r = r
        self.load = load
        self.disk = disk


def long_load(r, cycles, rate=2000, flip=0):
    seconds = 30 + cycles * CYCLE_MAX_S
    return Load(r, connections=20, rate=rate, seconds=seconds, per_device=rate // 20 * seconds, stall=90, drain=90, flip=flip)


def flowing(r, load, count=200):
    """Acknowledgements come again; returns after how long the first did."""
    acked, at = load.acked(), time.monotonic()
    r.wait_for(lambda: load.acked() > acked, 60, "an acknowledgement")
    first = time.monotonic() - at
    r.wait_for(lambda: load.acked() > acked + count, 60, "acknowledgements")
    return first


def quiet_for(load, seconds):
    """No acknowledgement comes for so long."""
    acked = load.acked()
    roost.pause(seconds)
    return load.acked() == acked


def restarts(r):
    return {p["name"]: p["restarts"] for p in r.status()["processes"]}


def without_room(r):
    """Which processes say that they wait for room."""
    return {name for (metric, name), value in verify.parse_metrics(r.cli("metrics").stdout).items()
            if metric == "no_room" and value}


def lived_a_while(r):
    """A worker that dies within a second of READY again and again is backed off, which is not looked at here."""
    r.wait_for(lambda: r.process_of(r.status(), "storage-0")["uptime_ms"] > BACKOFF_BELOW_MS, 60, "storage to have lived a while")


def wait_error(r, before, word, seconds=60):
    r.wait_for(lambda: [e for e in r.log_lines("error")[before:] if word in e], seconds, "%s in the log" % word)


def finish(r, load, receiver=None):
    load.stop()
    result = load.finish(120)
    r.wait_up(60)
    load.assert_accounted_for(receiver, seconds=120)
    return result


def test_full_disk():
    """No file can be written: the intake stops, the followers wait, nobody ends, and all go on when there is room."""
    print("seed %d" % SEED)
    rng = random.Random(SEED)
    disk = SmallDisk(256, 320)
    slowest = 0
    try:
        # Without alerts: a full journal lets go of what all have read, and the comparison reads alerts from there.
        with OnDisk(disk) as r, long_load(r, FULLS) as load:
            fault, system = FullDisk(), System(r, load, disk)
            lives = restarts(r)
            for _ in range(FULLS):
                flowing(r, load)
                roost.pause(rng.uniform(0, 1))
                errors = len(r.log_lines("error"))
                fault.inject(system, rng)
                r.wait_for(lambda: quiet_for(load, 1), 60, "no more acknowledgements")
                wait_error(r, errors, "storage-0")
                roost.pause(rng.uniform(0, 2))
                fault.heal(system)
                slowest = max(slowest, flowing(r, load))
            assert restarts(r) == lives, "a full disk is no reason to die: %r, then %r" % (lives, restarts(r))
            assert slowest < RESUMED_MAX_S * roost.SLOW, "acknowledgements came again only after %.1f s" % slowest
            result = finish(r, load)
            assert result["lost"] == 0, result
            roost.note("seed %d, filled %d times, %d acknowledged, 0 lost, nobody ended, resumed after at most %.2f s" % (
                SEED, FULLS, result["acked"], slowest))
    finally:
        disk.close()


def test_followers_without_room():
    """Only the journal has room: readings are acknowledged and alerts go on, followers wait and nobody ends."""
    print("seed %d" % SEED)
    rng = random.Random(SEED)
    disk = SmallDisk(128, 160)
    slowest = 0
    waits = {"sink-history", "rules-0"}  # the notifier's outbox writes over what it has, for long
    try:
        with contextlib.closing(Receiver()) as hook, \
                OnDisk(disk, journal="elsewhere", rules=RULES, notify=roost.notify_yaml(hook)) as r:
            with long_load(r, FULLS, flip=100) as load:
                fault, system = FullDisk(), System(r, load, disk)
                lives = restarts(r)
                for _ in range(FULLS):
                    flowing(r, load)
                    roost.pause(rng.uniform(0, 1))
                    fault.inject(system, rng)
                    roost.wait_for(lambda: waits <= without_room(r), 60, "followers to say that they wait",
                                   lambda: "but %s do" % without_room(r))
                    flowing(r, load, 2000)
                    fault.heal(system)
                    healed = time.monotonic()
                    r.wait_for(lambda: not without_room(r), 20, "followers to have room")
                    slowest = max(slowest, time.monotonic() - healed)
                assert restarts(r) == lives, "a full disk is no reason to die: %r, then %r" % (lives, restarts(r))
                assert slowest < ROOM_MAX_S * roost.SLOW, "a follower waited on for %.1f s" % slowest
                result = finish(r, load, hook)
                assert result["lost"] == 0, result
                roost.note("seed %d, %d times without room, %d acknowledged, 0 lost, nobody ended, all wrote again after at most %.2f s" % (
                    SEED, FULLS, result["acked"], slowest))
    finally:
        disk.close()


def test_retention_makes_room():
    """A disk that is full while history has days that are over: retention removes them, and nobody has to free anything."""
    disk = SmallDisk(128, 160)
    try:
        with OnDisk(disk, journal="elsewhere") as r, long_load(r, 1) as load:
            flowing(r, load)
            history = os.path.join(r.data_dir, "history")
            r.wait_for(lambda: any(name.endswith(".db") for name in os.listdir(history)), 30, "a day file")
            over = os.path.join(history, "2001-01-01.db")
            with open(over, "wb") as f:
                f.write(bytes(16 << 20))
            os.utime(over, (1e9, 1e9))
            lives = restarts(r)
            disk.fill(r.data_dir)
            r.wait_for(lambda: not os.path.exists(over), 60, "retention to remove a day that is over")
            r.wait_for(lambda: "sink-history" not in without_room(r), 20, "history to have room")
            assert restarts(r) == lives, "a full disk is no reason to die: %r, then %r" % (lives, restarts(r))
            disk.free()
            result = finish(r, load)
            assert result["lost"] == 0, result
    finally:
        disk.close()


def drop_page_cache(r, disk):
    """What only the page cache held is gone after this."""
    r.stop()
    disk.unmount()
    disk.mount()
    r.start()


def test_failing_sync_of_a_full_device():
    print("seed %d" % SEED)
    rng = random.Random(SEED)
    disk = SmallDisk(256, 160)
    try:
        with OnDisk(disk, journal_only=True) as r:
            r.settings["mqtt.listen"] = "127.0.0.1:%d" % r.port
            with long_load(r, FSYNCS) as load:
                fault, system = FullDevice(), System(r, load, disk)
                for n in range(FSYNCS):
                    flowing(r, load)
                    lived_a_while(r)
                    roost.pause(rng.uniform(0, 0.5))
                    errors = len(r.log_lines("error"))
                    fault.inject(system, rng)
                    # Of the journal's end, or of the next segment, which is made ahead.
                    wait_error(r, errors, "storage-0 journal.")
                    fault.heal(system)
                    flowing(r, load)
                    if n % REMOUNT_EVERY == REMOUNT_EVERY - 1 or n + 1 == FSYNCS:
                        drop_page_cache(r, disk)
                result = finish(r, load)
                roost.note("seed %d, %d syncs failed, %d acknowledged, 0 lost" % (SEED, FSYNCS, result["acked"]))
    finally:
        disk.close()


def test_sync_is_not_tried_again():
    """The n-th fdatasync of storage fails: it ends without another sync and without an answer."""
    rng = random.Random(SEED)
    print("seed %d" % SEED)
    with Roost() as r, long_load(r, FSYNCS) as load:
        system = System(r, load)
        for _ in range(FSYNCS):
            flowing(r, load)
            lived_a_while(r)
            errors, pid = len(r.log_lines("error")), r.pid_of("storage-0")
            fault = CallFault("fdatasync", "error=EIO")
            fault.inject(system, rng)
            r.wait_for(lambda: r.pid_of("storage-0") not in (None, 0, pid), 20, "a new storage worker")  # noqa: B023
            fault.heal(system)
            assert fault.happened() and not fault.syncs_behind(), fault.lines()[-20:]
            assert any("exited with 75" in line for line in fault.lines()), fault.lines()[-20:]
            wait_error(r, errors, "write_failed", 5)
        result = finish(r, load)
        roost.note("seed %d, %d syncs failed, %d acknowledged, 0 lost" % (SEED, FSYNCS, result["acked"]))


def test_each_call_of_the_running_worker():
    """A sample of what points.py does in one process: the worker is killed in a call, or the call fails."""
    rng = random.Random(SEED)
    print("seed %d" % SEED)
    points = [(call, "error=" + e) for call in CALLS for e in ERRORS] + [(call, "signal=KILL") for call in CALLS]
    rng.shuffle(points)
    met = 0
    with Roost({"storage.segment_mib": "1", "storage.retention": "1s"}, rules=RULES) as r, \
            long_load(r, len(points), rate=20000) as load:
        system = System(r, load)
        for call, action in points if THOROUGH else points[:8]:
            flowing(r, load)
            frequent = call in ("pwrite64", "fdatasync")
            fault = CallFault(call, action, (1, 200) if frequent else (1, 2))
            fault.inject(system, rng)
            deadline = time.monotonic() + 3
            while not fault.happened() and time.monotonic() < deadline:
                roost.pause()
            met += fault.happened()
            fault.heal(system)
            r.wait_up(60)
        result = finish(r, load)
        roost.note("seed %d, %d calls failed or killed in, %d acknowledged, 0 lost" % (SEED, met, result["acked"]))


if __name__ == "__main__":
    roost.main(globals())
