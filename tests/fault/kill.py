"""kill -9 at any instant, under load and with backlog: nothing acknowledged is lost, nothing is there twice."""
import os
import random
import signal
import threading
import time

import roost
import silences
from load import RULES, Load
from roost import Roost, notify_yaml
from webhook import Receiver

ALONE = True
KILLS = int(os.environ.get("KILLS", "100"))
STALLS = os.environ.get("STALLS", "1") != "0"  # without them the times of a kill are its own
KILL_EVERY_S = 0.5
BACKOFF_BELOW_MS = 1000
STALL_EVERY_S = 2.0
STALL_S = 0.2


class Stalls:
    """Storage is stopped for 200 ms every 2 s, so that kills meet full queues."""

    def __init__(self, r):
        self.r = r
        self.over = threading.Event()
        self.count = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(STALL_EVERY_S - STALL_S):
            pid = self.r.pids().get("storage-0")
            if signal_to(pid, signal.SIGSTOP):
                self.over.wait(STALL_S)
                signal_to(pid, signal.SIGCONT)
                self.count += 1

    def stop(self):
        self.over.set()
        self.thread.join()


def signal_to(pid, sig):
    """False if it is gone. Only children of the roost under test have these ids: it has not reaped them for long."""
    try:
        if not pid:
            return False
        os.kill(pid, sig)
        return True
    except ProcessLookupError:
        return False


def kill_at_random(r, rng, kills):
    """Whatever it hits, every half second."""
    killed = []
    at = time.monotonic()
    while len(killed) < kills:
        at += KILL_EVERY_S
        roost.pause(max(0, at - time.monotonic()))
        kill(killed, r.pids(), rng.choice(r.workers))
    return killed


def kill(killed, pids, name):
    at = time.monotonic_ns() // 1000
    if signal_to(pids.get(name), signal.SIGKILL):
        killed.append((at, name))


def kill_in_turn(r, names, kills):
    """Each when it has lived long enough that its death is no sign of a defect, which would be waited out."""
    killed = []
    last = {}

    def lived(name):
        process = r.process_of(r.status(), name)
        return process if process["pid"] != last.get(name) and process["uptime_ms"] > BACKOFF_BELOW_MS else None

    for n in range(kills):
        name = names[n % len(names)]
        last[name] = r.wait_for(lambda: lived(name), 20, "%s to have lived a while" % name)["pid"]  # noqa: B023
        kill(killed, last, name)
    return killed


def torment(seconds, rate, kill_some):
    """Load and stalls while kill_some(r) runs; then everything is compared. seconds: at least as long as that takes."""
    hook = Receiver()
    with Roost(rules=RULES, notify=notify_yaml(hook), disk=True) as r:
        quiet = os.path.join(r.folder, "silences")
        with Load(r, connections=200, rate=rate, seconds=seconds, flip=400, per_device=int(rate / 200 * seconds) + 10,
                  silences=quiet) as load:
            stalls = Stalls(r) if STALLS else None
            killed = kill_some(r)
            if stalls:
                stalls.stop()
            assert load.is_running(), "the load ended before the kills did: %d" % len(killed)
            r.wait_up(40)
            result = load.finish(seconds + 120)
            table, p99 = silences.report(killed, silences.read(quiet), r.log_text())
            print("stalled %d times, load %r\n%s" % (stalls.count if stalls else 0, result, table))
            load.assert_accounted_for(hook, 120)
            roost.note("%d acknowledged, %d kills, p99 %.0f ms, longest silence %.0f ms; kill to READY p99 %.0f ms, to acknowledgements %.0f ms" % (
                result["acked"], len(killed), result["p99_ms"], result["quiet_ms"], *p99))
    hook.close()


def test_random_workers_under_load_with_backlog():
    seed = int(os.environ.get("SEED", int.from_bytes(os.urandom(4), "little")))
    print("seed %d" % seed)
    rng = random.Random(seed)
    torment(KILLS * KILL_EVERY_S + 3, 20000, lambda r: kill_at_random(r, rng, KILLS))


def test_storage_alone():
    torment(20, 10000, lambda r: kill_in_turn(r, ["storage-0"], 10))


def test_connectivity_alone():
    torment(20, 10000, lambda r: kill_in_turn(r, ["connectivity-0"], 10))


def test_limiter_alone():
    torment(20, 10000, lambda r: kill_in_turn(r, ["limiter-0"], 10))


def test_followers_alone():
    torment(20, 5000, lambda r: kill_in_turn(r, ["rules-0", "notifier-0", "sink-history"], 15))


def test_everything_at_once():
    """The whole tree, supervisor first, five times; each start continues."""
    hook = Receiver()
    with Roost(rules=RULES, notify=notify_yaml(hook), disk=True) as r:
        port = r.port
        r.settings["mqtt.listen"] = "127.0.0.1:%d" % port
        with Load(r, connections=50, rate=5000, seconds=15, flip=100, per_device=2000) as load:
            for _ in range(5):
                roost.pause(1.5)
                r.kill_all()
                r.start()
            print(load.finish(120))
            load.assert_accounted_for(hook)
    hook.close()


if __name__ == "__main__":
    roost.main(globals())
