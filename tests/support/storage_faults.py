"""storage_faults.py - faults of the disk below Roost, each with a name, that can be done to a running system and taken back

inject(system, rng) says what it did; heal(system) takes it back. system has r (a Roost), load (a Load or None) and disk (disks.py),
which must be of the fault's kind: what the fault does is done to that disk.
"""
import os
import signal
import subprocess

import roost
from disks import PowerDisk, SmallDisk

DETACH_S = 2
# What storage calls to change its files; opening and reading as well.
CALLS = ["pwrite64", "fdatasync", "fsync", "renameat", "ftruncate", "fallocate", "unlinkat", "openat", "pread64", "rename"]
ERRORS = ["EIO", "ENOSPC", "EINTR"]


class PowerCut:
    """The power goes: what no sync covered is gone, and all processes."""
    name = "power-cut"
    disk = PowerDisk
    lasts = (0.0, 0.0)

    def inject(self, system, rng):
        del rng
        system.disk.cut(*([system.load.path] if system.load else []))
        system.r.kill_all()
        return ""

    def heal(self, system):
        system.disk.power_on()
        system.r.start()
        if system.load:
            system.disk.hear(system.load.path)


class FullDisk:
    """No space: each call that needs some fails with ENOSPC."""
    name = "disk-full"
    disk = SmallDisk
    lasts = (1.0, 4.0)

    def inject(self, system, rng):
        del rng
        system.disk.fill(system.disk.path)
        return ""

    def heal(self, system):
        system.disk.free()


class FullDevice(FullDisk):
    """The device takes no more writes: calls succeed, and the sync fails (EIO); a second sync would return 0."""
    name = "device-full"
    lasts = (0.0, 1.0)

    def inject(self, system, rng):
        del rng
        system.disk.fill(system.disk.below)
        return ""


class CallFault:
    """One call of the storage worker, by strace: it fails, or the worker is killed in it."""
    disk = None  # any
    lasts = (1.0, 1.5)

    def __init__(self, call="fdatasync", action="error=EIO", nth=(1, 30)):
        self.name = "%s %s" % (call, action)
        self.call = call
        self.action = action
        self.nth = nth
        self.strace = None
        self.trace = None

    def inject(self, system, rng):
        n = rng.randint(*self.nth)
        pid = system.r.pids().get("storage-0")
        self.trace = os.path.join(system.r.folder, "trace")
        if os.path.exists(self.trace):
            os.unlink(self.trace)
        if not pid:
            return "storage was away"
        self.strace = subprocess.Popen(
            ["strace", "-f", "-o", self.trace, "-p", str(pid), "-e", "trace=fdatasync,fsync,exit_group,%s" % self.call,
             "-e", "inject=%s:%s:when=%d" % (self.call, self.action, n)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return "number %d" % n

    def lines(self):
        try:
            with open(self.trace, encoding="utf-8", errors="replace") as f:
                return f.read().split("\n")
        except OSError:
            return []

    def happened(self):
        return any("INJECTED" in line or "killed by SIGKILL" in line for line in self.lines())

    def syncs_behind(self):
        """Syncs that the worker did after the call that failed."""
        lines = self.lines()
        at = [n for n, line in enumerate(lines) if "INJECTED" in line]
        return [line for line in lines[at[0] + 1:] if "sync(" in line] if at else []

    def heal(self, system):
        del system
        if self.strace is None:
            return
        # It lets go of the worker if that lives; the kernel does if strace is killed.
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.strace.poll() is None:
                self.strace.send_signal(sig)
                try:
                    self.strace.wait(DETACH_S * roost.SLOW)
                except subprocess.TimeoutExpired:
                    pass
        self.strace = None
