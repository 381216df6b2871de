"""disks.py - file systems that can be filled, that fail late, and that lose their power

    SmallDisk: a small ext4 image in a tmpfs of its own. Filling the file system makes it refuse space (ENOSPC); filling the tmpfs
    below it makes its writes fail late, in fdatasync (EIO), where a second sync would return 0 and lie.
    PowerDisk: an ext4 image whose power can be cut (powercut.c).

They need root, or sudo that asks nothing.
"""
import os
import subprocess
import tempfile

import roost

# Segments are kept: letting go of old ones would make room again.
SEGMENT = {"storage.segment_mib": "1", "storage.quota_mib": "1024", "storage.retention": "1h"}
UMOUNT_S = 10


def root_argv(argv):
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n"] + list(argv)


def as_root(*argv):
    out = roost.run(root_argv(argv), 60)
    if out.returncode != 0:
        raise AssertionError("%s: %s" % (" ".join(argv), out.stderr))
    return out


class Disk:
    """An image file in a tmpfs of its own, mounted at self.path."""

    def __init__(self, image_mib, below_mib, mkfs, options):
        self.options = options
        self.below = tempfile.mkdtemp(prefix="roost-below-", dir="/tmp")
        self.path = tempfile.mkdtemp(prefix="roost-disk-", dir="/tmp")
        self.image = os.path.join(self.below, "image")
        as_root("mount", "-t", "tmpfs", "-o", "size=%dm,mode=777" % below_mib, "tmpfs", self.below)
        with open(self.image, "wb") as f:
            f.truncate(image_mib << 20)
        # Blocks are as large as pages, as on any real disk: SQLite allocates its shared memory page by page, so that a full
        # disk is no SIGBUS.
        as_root("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", *mkfs, self.image)
        self.mount()
        as_root("chmod", "777", self.path)

    def mount(self):
        as_root("mount", "-o", "loop" + self.options, self.image, self.path)

    def unmount(self):
        """Whoever was killed may still be on its way out."""
        out = None

        def done():
            nonlocal out
            out = roost.run(root_argv(["umount", self.path]), 60)
            return out.returncode == 0
        roost.wait_for(done, UMOUNT_S, "umount of %s" % self.path, lambda: out.stderr)

    def close(self):
        for path in (self.path, self.below):
            subprocess.run(root_argv(["umount", path]), check=False)
            os.rmdir(path)


class SmallDisk(Disk):
    def __init__(self, image_mib, below_mib):
        # Without a journal of its own the file system stays writable after an error below it.
        super().__init__(image_mib, below_mib, ["-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0"], ",errors=continue")
        self.ballasts = []

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


class PowerDisk(Disk):
    def __init__(self, image_mib):
        super().__init__(image_mib, image_mib + 16, ["-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"], "")
        self.tool = os.path.join(roost.B, "test/support/powercut")

    def cut(self, *ledger):
        """From this instant nothing more reaches the image. ledger: the load generator's, which is deaf from then on."""
        as_root(self.tool, self.path, *ledger)

    def hear(self, ledger):
        as_root(self.tool, "--hear", ledger)

    def power_on(self):
        """Whoever used it has been killed. Mounting replays the file system's own journal."""
        self.unmount()
        self.mount()


class OnDisk(roost.Roost):
    """A Roost that has everything on the disk, or only its journal, or everything but its journal (journal="elsewhere")."""

    def __init__(self, disk, journal_only=False, settings=None, journal=None, **options):
        super().__init__(dict(SEGMENT, **(settings or {})), **options)
        if not journal_only:
            self.data_dir = os.path.join(disk.path, "data")
            self.settings["data_dir"] = self.data_dir
            if journal == "elsewhere":
                elsewhere = os.path.join(self.folder, "journal")
                os.makedirs(elsewhere, mode=0o700)
                os.makedirs(self.data_dir, mode=0o700)
                os.symlink(elsewhere, os.path.join(self.data_dir, "journal"))
            return
        os.makedirs(self.data_dir, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(disk.path, "journal"), mode=0o700, exist_ok=True)
        os.symlink(os.path.join(disk.path, "journal"), os.path.join(self.data_dir, "journal"))
