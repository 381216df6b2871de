"""Storage stands still while devices offer more than it ever takes: memory is bounded, devices wait, nothing is lost."""
import os
import signal

import roost
from load import Load
from roost import Roost

ALONE = True
STOP_S = float(os.environ.get("STOP_S", "8"))
RATE = 50000
WORKER_KIB_MAX = 128 * 1024


def test_storage_stands_still():
    # Its watchdog would replace it after 3 s.
    with Roost({"supervisor.watchdog": "10m"}, disk=True) as r, Load(
            r, connections=200, rate=RATE, seconds=STOP_S + 6, window=1024, per_device=int(RATE / 200 * (STOP_S + 6)) + 10,
            stall=600, drain=120) as load:
        r.wait_for(lambda: load.acked() > RATE, 20, "the first acknowledgements")
        pids = {name: pid for name, pid in r.pids().items() if name in r.workers}
        most = {name: 0 for name in pids}

        def look():
            for name, pid in pids.items():
                most[name] = max(most[name], roost.rss_kib(pid))
        os.kill(pids["storage-0"], signal.SIGSTOP)
        acked = load.acked()
        for _ in range(int(STOP_S)):
            roost.pause(1)
            look()
        during = load.acked() - acked
        os.kill(pids["storage-0"], signal.SIGCONT)
        r.wait_for(lambda: load.acked() > acked + during + RATE, 60, "acknowledgements after it")
        look()
        result = load.finish(180)
        look()
        load.assert_accounted_for(seconds=180)
        after = {name: pid for name, pid in r.pids().items() if name in r.workers}
        assert after == pids and result["lost"] == 0, (pids, after, result)
        assert max(most.values()) < WORKER_KIB_MAX * roost.SLOW, most
        roost.note("stopped %g s at %d/s offered: %d acknowledged in all, resident at most %s" % (
            STOP_S, RATE, result["acked"], ", ".join("%s %d MiB" % (n, k // 1024) for n, k in sorted(most.items()))))


if __name__ == "__main__":
    roost.main(globals())
