"""A full disk and a sync that fails: no answer after the failure, a loud log, recovery when space returns.

The disk is a small ext4 image in a tmpfs of its own. Filling the file system makes it refuse space (ENOSPC); filling the
tmpfs below it makes its writes fail late, in fdatasync (EIO), where a second sync would return 0 and lie.
"""
import os
import signal
import subprocess
import tempfile

import roost
from load import Load
from roost import Roost, run

# Segments are kept: letting go of old ones would make room again.
SEGMENT = {"storage.segment_mib": "1", "storage.quota_mib": "1024", "storage.retention": "1h"}


def as_root(*argv):
    argv = list(argv) if os.geteuid() == 0 else ["sudo", "-n"] + list(argv)
    out = run(argv, 60)
    if out.returncode != 0:
        raise AssertionError("%s: %s" % (" ".join(argv), out.stderr))
    return out


class SmallDisk:
    def __init__(self, image_mib, below_mib):
        self.below = tempfile.mkdtemp(prefix="roost-below-", dir="/tmp")
        self.path = tempfile.mkdtemp(prefix="roost-disk-", dir="/tmp")
        self.image = os.path.join(self.below, "image")
        self.ballasts = []
        as_root("mount", "-t", "tmpfs", "-o", "size=%dm,mode=777" % below_mib, "tmpfs", self.below)
        with open(self.image, "wb") as f:
            f.truncate(image_mib << 20)
        # Without a journal of its own the file system stays writable after an error below it. Blocks are as large as pages,
        # as on any real disk: SQLite allocates its shared memory page by page, so that a full disk is no SIGBUS.
        as_root("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0", self.image)
        self.mount()

    def mount(self):
        as_root("mount", "-o", "loop,errors=continue", self.image, self.path)
        as_root("chmod", "777", self.path)

    def unmount(self):
        as_root("umount", self.path)

    def fill(self, folder):
        """Takes all that is left in the folder's file system."""
        path = os.path.join(folder, "ballast")
        self.ballasts.append(path)
        with open(path, "wb", buffering=0) as f:
            chunk = b"\xa5" * 65536
            while chunk:
                try:
                    f.write(chunk)
                except OSError:
                    chunk = chunk[:len(chunk) // 2]

    def free(self):
        while self.ballasts:
            os.unlink(self.ballasts.pop())

    def close(self):
        subprocess.run(["umount", self.path] if os.geteuid() == 0 else ["sudo", "-n", "umount", self.path], check=False)
        subprocess.run(["umount", self.below] if os.geteuid() == 0 else ["sudo", "-n", "umount", self.below], check=False)
        os.rmdir(self.path)
        os.rmdir(self.below)


class OnDisk(Roost):
    """A Roost that has everything on the small disk, or only its journal."""

    def __init__(self, disk, journal_only=False):
        super().__init__(SEGMENT)
        if not journal_only:
            self.data_dir = os.path.join(disk.path, "data")
            self.settings["data_dir"] = self.data_dir
            return
        os.makedirs(self.data_dir, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(disk.path, "journal"), mode=0o700, exist_ok=True)
        os.symlink(os.path.join(disk.path, "journal"), os.path.join(self.data_dir, "journal"))


def quiet_for(load, seconds):
    """No acknowledgement comes for so long."""
    acked = load.acked()
    roost.pause(seconds)
    return load.acked() == acked


def fill_and_free(while_full):
    disk = SmallDisk(64, 96)
    try:
        with OnDisk(disk, {"supervisor.watchdog": "10m"}) as r, \
                Load(r, connections=20, rate=2000, seconds=30, per_device=4000, stall=60, drain=90) as load:
            r.wait_for(lambda: load.acked() > 2000, 10, "the first acknowledgements")
            errors = len(r.log_lines("error"))
            # A follower that retention waits for stands still: else old segments would make room again and again.
            os.kill(r.pids()["rules-0"], signal.SIGSTOP)
            disk.fill(disk.path)
            r.wait_for(lambda: quiet_for(load, 1), 30, "no more acknowledgements")
            r.wait_for(lambda: [e for e in r.log_lines("error")[errors:] if "storage-0" in e], 10, "a loud log")
            acked = load.acked()
            while_full(r)
            disk.free()
            r.wait_for(lambda: load.acked() > acked + 1000, 30, "acknowledgements after space returned")
            print(load.finish(120))
            load.assert_accounted_for()
    finally:
        disk.close()


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
