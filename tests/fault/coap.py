"""CoAP under kill -9: what got 2.04 is in history, once"""
import collections
import json
import os
import signal
import subprocess

import roost
from roost import Roost

KILLS = 12 if os.environ.get("THOROUGH") else 4
LOAD = os.path.join(roost.B, "test/support/coap_load")
SOCKETS = 16


def load(r, ledger, seconds):
    return subprocess.Popen([LOAD, "--port", str(r.port_of("coap")), "--sockets", str(SOCKETS), "--window", "2", "--warmup", "0",
                             "--seconds", "%g" % seconds, "--ledger", ledger], stdout=subprocess.PIPE, text=True)


def test_what_got_204_is_stored_once_whoever_is_killed():
    """Its repeats wait in the socket while nobody reads it; storage knows what the worker before had stored."""
    with Roost({"coap.listen": "127.0.0.1:0", "coap.ack_delay": "100ms"}) as r:
        ledger = os.path.join(r.folder, "ledger")
        tool = load(r, ledger, KILLS * 0.6)
        for n in range(KILLS):
            name = ("connectivity-0", "storage-0", "connectivity-0", "limiter-0")[n % 4]
            roost.pause(0.3)
            os.kill(r.pid_of(name), signal.SIGKILL)
            r.wait_for(r.all_up, 20, "all after the death of " + name)
        out = json.loads(tool.communicate(timeout=120 * roost.SLOW)[0])
        assert tool.returncode == 0 and out["acknowledged"] > 100, out
        acked = collections.defaultdict(list)
        with open(ledger, encoding="ascii") as f:
            for line in f:
                device, n = line.split()
                acked[device].append(int(n))
        r.settle(30)
        stored = {device: [int(v) for _, v in r.query(device, "n")] for device in acked}
        for device, values in acked.items():
            missing = set(values) - set(stored[device])
            assert not missing, "%s: got 2.04 and is not stored: %s" % (device, sorted(missing)[:10])
            twice = [n for n, count in collections.Counter(stored[device]).items() if count > 1]
            assert not twice, "%s: stored twice: %s" % (device, twice[:10])
        roost.note("%d acknowledged over %d kills, %d sent again, %d given up" % (
            out["acknowledged"], KILLS, out["repeats"], out["given_up"]))


if __name__ == "__main__":
    roost.main(globals())
