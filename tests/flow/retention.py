"""The journal lets go of what everybody has read."""
import os

import roost
from load import Load
from roost import Roost


def journal_bytes(r):
    total = 0
    for path, _, names in os.walk(os.path.join(r.data_dir, "journal")):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def test_old_segments_go_and_history_stays():
    """Three times the quota passes through."""
    with Roost({"storage.segment_mib": "1", "storage.quota_mib": "8", "storage.retention": "0s"}) as r:
        with Load(r, connections=50, rate=1000000, seconds=20, per_device=4000, window=256) as load:
            most = 0
            while load.is_running():
                most = max(most, journal_bytes(r))
                roost.pause(0.05)
            load.finish(60)
            assert most < 9 << 20, most
            load.assert_accounted_for()
            roost.note("journal at most %.1f MiB" % (most / 1048576))


if __name__ == "__main__":
    roost.main(globals())
