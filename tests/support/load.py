"""load.py - runs the load generator (load.c) and verifies afterwards what became of its readings"""
import json
import os
import subprocess
import tempfile

import ledger
import roost
import verify

RULES = """
version: 1
group: load
rules:
  - alert: High
    when: level > 0
    clear: level < 0
    summary: "{device} is at {level}"
"""


class Load:
    def __init__(self, r, port=None, **options):
        self.r = r
        handle, self.path = tempfile.mkstemp(prefix="roost-ledger-", dir="/dev/shm")
        os.close(handle)
        argv = [os.path.join(roost.B, "test/support/load"), "--port", str(port or r.port), "--ledger", self.path]
        for key, value in options.items():
            argv += ["--" + key.replace("_", "-"), str(value)]
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.result = None
        self.settled = False  # nothing more comes, and everybody has read it

    def is_running(self):
        return self.proc.poll() is None

    def acked(self):
        return ledger.acked_so_far(self.path)

    def stop(self):
        """Nothing new is sent from now on; finish() still waits for what is not acknowledged."""
        self.proc.terminate()

    def finish(self, seconds):
        """Waits for the end; returns what it reported. Everything it sent must have been acknowledged."""
        out, _ = self.proc.communicate(timeout=seconds * roost.SLOW)
        self.result = json.loads(out)
        if self.proc.returncode != 0:
            raise AssertionError("not everything was acknowledged: %s\n%s" % (self.result, self.r.log_tail()))
        return self.result

    def book(self):
        return ledger.Ledger(self.path)

    def settle(self, seconds=60):
        """Waits until every follower has read, and made durable, all there is."""
        self.r.settle(seconds)
        self.settled = not self.is_running()

    def findings(self, receiver=None, seconds=60, prefix_only=False, journal_is_whole=True):
        """Waits until all is told, then compares; returns verify.Findings."""
        book = self.book()
        if not self.settled:
            self.settle(seconds)
        if receiver is not None:
            expected = sum(len(book.transitions(d)) for d in book.devices)
            own = book.prefix + "-" if prefix_only else ""
            receiver.wait_for(lambda _: sum(b["device"].startswith(own) for b in receiver.accepted().values()) >= expected,
                              seconds * roost.SLOW, "%d notifications" % expected)
        receipts = None if receiver is None else list(receiver.receipts)
        return verify.check(self.r.data_dir, book, lambda d: self.r.query(d, verify.METRIC, "--since", "1d"), receipts,
                            prefix_only, journal_is_whole)

    def assert_accounted_for(self, receiver=None, seconds=60):
        findings = self.findings(receiver, seconds)
        if findings.counts:
            raise AssertionError(findings.text())

    def close(self):
        if self.is_running():
            self.proc.kill()
            self.proc.wait()
        os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
