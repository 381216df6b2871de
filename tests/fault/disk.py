"""A full disk and a sync that fails: no answer after the failure, a loud log, recovery when space returns."""
import os
import subprocess

import roost
from disks import OnDisk, SmallDisk
from load import Load
from roost import Roost


def quiet_for(load, seconds):
    """No acknowledgement comes for so long."""
    acked = load.acked()
    roost.pause(seconds)
    return load.acked() == acked


def test_full_disk():
    """History cannot be written either, so no segment may go: the intake stops, and goes on when there is room."""
    disk = SmallDisk(64, 96)
    try:
        with OnDisk(disk) as r, Load(r, connections=20, rate=2000, seconds=40, per_device=4000, stall=90, drain=90) as load:
            r.wait_for(lambda: load.acked() > 2000, 10, "the first acknowledgements")
            errors = len(r.log_lines("error"))
            disk.fill(disk.path)
            r.wait_for(lambda: quiet_for(load, 2), 30, "no more acknowledgements")
            r.wait_for(lambda: [e for e in r.log_lines("error")[errors:] if "storage-0" in e], 10, "a loud log")
            assert r.process_of(r.status(), "connectivity-0")["restarts"] == 0
            assert load.is_running(), "the load ended before the disk was full"
            acked = load.acked()
            disk.free()
            r.wait_for(lambda: load.acked() > acked + 1000, 60, "acknowledgements after space returned")
            result = load.finish(120)
            assert result["lost"] == 0, result
            r.wait_up(40)
            load.assert_accounted_for()
    finally:
        disk.close()


def test_failing_sync_of_a_full_device():
    disk = SmallDisk(64, 24)
    try:
        with OnDisk(disk, journal_only=True) as r, Load(r, connections=20, rate=2000, seconds=30, per_device=4000, stall=60, drain=90) as load:
            r.wait_for(lambda: load.acked() > 2000, 10, "the first acknowledgements")
            errors = len(r.log_lines("error"))
            disk.fill(disk.below)
            r.wait_for(lambda: [e for e in r.log_lines("error")[errors:] if "write_failed" in e], 60, "a failed write in the log")
            disk.free()
            acked = load.acked()
            r.wait_for(lambda: load.acked() > acked + 1000, 60, "acknowledgements after the device recovered")
            print(load.finish(120))
            load.settle()
            # What only the page cache held is gone after this.
            r.stop()
            disk.unmount()
            disk.mount()
            r.start()
            load.assert_accounted_for()
    finally:
        disk.close()


def test_sync_is_not_tried_again():
    """The n-th fdatasync of storage fails: it ends without another sync and without an answer."""
    with Roost() as r, Load(r, connections=20, rate=1000, seconds=8, per_device=2000) as load:
        r.wait_for(lambda: load.acked() > 500, 10, "the first acknowledgements")
        pid = r.pid_of("storage-0")
        trace = os.path.join(r.folder, "trace")
        strace = subprocess.Popen(["strace", "-f", "-o", trace, "-p", str(pid), "-e",
                                   "trace=fdatasync,fsync,sync_file_range,exit_group", "-e",
                                   "inject=fdatasync:error=EIO:when=20"],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        r.wait_for(lambda: r.pid_of("storage-0") not in (None, 0, pid), 20, "a new storage worker")
        strace.wait(20)
        with open(trace, encoding="utf-8") as f:
            lines = f.read().split("\n")
        at = [n for n, line in enumerate(lines) if "INJECTED" in line]
        assert len(at) == 1, lines[-20:]
        after = lines[at[0] + 1:]
        assert not [line for line in after if "sync(" in line], after
        assert any("exit_group(75)" in line or "exited with 75" in line for line in after), after
        assert "write_failed" in r.log_text(), r.log_tail()
        print(load.finish(60))
        load.assert_accounted_for()


if __name__ == "__main__":
    roost.main(globals())
