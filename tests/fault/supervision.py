"""What the supervisor promises: no orphans, the hung are replaced, no connect is refused."""
import errno
import os
import re
import signal
import socket
import subprocess
import threading
import time

import nemesis
import roost
from kill import signal_to
from roost import Roost

CONNECTIVITY_REPLICAS = 4
CONNECTIVITY_KILLS = int(os.environ.get("KILLS", "100"))
CONNECTORS = 4
TRIALS = int(os.environ.get("TRIALS", "5"))


def test_killed_supervisor_leaves_nothing():
    with Roost() as r:
        took = []
        for n in range(TRIALS):
            stopped = (None, "storage-0", "connectivity-0", "rules-0")[n % 4]
            if stopped:
                os.kill(r.pid_of(stopped), signal.SIGSTOP)
            took.append(nemesis.kill_supervisor(r))
            r.start()
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        roost.note("%d times, all gone after %.0f ms at most" % (TRIALS, 1000 * max(took)))


def test_stopped_worker_is_replaced():
    with Roost() as r:
        for name in r.workers:
            pid = r.pid_of(name)
            start = time.monotonic()
            os.kill(pid, signal.SIGSTOP)

            def replaced():
                process = r.process_of(r.status(), name)  # noqa: B023
                return process["pid"] not in (None, 0, pid) and process["state"].upper() == "UP"  # noqa: B023
            r.wait_for(replaced, 10, "a new %s" % name)
            took = time.monotonic() - start
            assert took < 4.0 * roost.SLOW, "%s was replaced after %.1f s" % (name, took)
        r.wait_up()
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')


def test_no_connect_is_refused_while_connectivity_dies():
    with Roost({"connectivity.replicas": str(CONNECTIVITY_REPLICAS)}, workers=[
            "connectivity-%d" % n for n in range(CONNECTIVITY_REPLICAS)] + roost.WORKERS[1:]) as r:
        port = r.port
        over = threading.Event()
        tried, failures = [0] * CONNECTORS, []

        def connect(n):
            while not over.is_set():
                with socket.socket() as s:
                    s.settimeout(10)
                    code = s.connect_ex(("127.0.0.1", port))
                tried[n] += 1
                if code not in (0, errno.EADDRNOTAVAIL):
                    failures.append(errno.errorcode.get(code, code))
                over.wait(0.001)
        threads = [threading.Thread(target=connect, args=(n,), daemon=True) for n in range(CONNECTORS)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        kills = 0
        while kills < CONNECTIVITY_KILLS:
            # Each has lived for over a second by its next turn: no back-off.
            roost.pause(0.35)
            kills += signal_to(r.pids().get("connectivity-%d" % (kills % CONNECTIVITY_REPLICAS)), signal.SIGKILL)
        over.set()
        for thread in threads:
            thread.join()
        rate = sum(tried) / (time.monotonic() - started)
        assert not failures, "%d of %d connects: %r" % (len(failures), sum(tried), set(failures))
        r.wait_up()
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        roost.note("%d connects, %.0f/s, %d kills, 0 refused" % (sum(tried), rate, kills))


def test_a_worker_that_dies_at_start_is_not_given_up():
    """Its folder is in its way: the others serve, and the worker comes back when it can."""
    with Roost() as r:
        pid = r.pid_of("sink-history")
        history = os.path.join(r.data_dir, "history")
        os.rename(history, history + ".away")
        r.write(history, "in the way of a folder")
        os.kill(pid, signal.SIGKILL)
        r.wait_for(lambda: r.process_of(r.status(), "sink-history")["restarts"] >= 3, 30, "three attempts")
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        os.unlink(history)
        os.rename(history + ".away", history)
        r.wait_up(40)
        r.wait_for(lambda: r.query("gh-1", "temperature", "--since", "1h"), 10, "the reading in history")


def test_a_start_that_changes_nothing_waits_for_no_disk():
    """A sync before READY would make each restart as slow as the disk is. Only storage has some: what it finds may be unsynced."""
    names = [w for w in roost.WORKERS if w != "storage-0"]
    with Roost({"history.flush": "100ms"}, disk=True) as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        r.wait_for(lambda: r.query("gh-1", "temperature", "--since", "1h"), 10, "the reading in history")
        r.wait_for(lambda: all(p["uptime_ms"] > 1000 for p in r.status()["processes"] if p["name"] in names), 10,
                   "all to have lived so long that their death is waited for by nobody")
        trace = os.path.join(r.folder, "trace")
        strace = subprocess.Popen(["strace", "-f", "-ttt", "-o", trace, "-p", str(r.proc.pid),
                                   "-e", "trace=fsync,fdatasync,msync,sync_file_range,execve"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            assert b"attached" in strace.stderr.readline(), "strace does not take hold of the supervisor"
            up = {}
            for name in names:
                at = len(r.log_text())
                os.kill(r.pid_of(name), signal.SIGKILL)
                found = r.wait_log(r"(\S+Z) \S+ \S+ child\.state name=%s from=STARTING to=UP" % name, 10, at)
                up[r.pid_of(name)] = (name, roost.time_us(found.group(1)) / 1e6)
        finally:
            strace.terminate()
            strace.wait(10)
            strace.stderr.close()
        with open(trace, encoding="utf-8") as f:
            calls = re.findall(r"^(\d+) +(\d+\.\d+) (\w+)\(", f.read(), re.M)
        started = {int(pid) for pid, _, call in calls if call == "execve"}
        assert started == set(up), "strace saw %r start, of %r" % (started, up)
        early = [(up[int(pid)][0], call) for pid, when, call in calls
                 if int(pid) in up and call != "execve" and float(when) < up[int(pid)][1]]
        assert not early, "before READY: %r" % early


def test_nothing_is_started_while_everything_stops():
    with Roost(notify="version: 1\nbogus: 3\n", workers=[w for w in roost.WORKERS if w != "notifier-0"]) as r:
        r.wait_log(r"child\.held name=notifier-0", 10)
        held = len(r.log_text())
        os.kill(r.pid_of("sink-history"), signal.SIGSTOP)  # so that the end takes a while
        r.proc.send_signal(signal.SIGTERM)
        r.wait_log(r"name=rules-0 from=DRAINING to=DOWN", 10, held)
        r.write(r.notify_file, "version: 1\n")
        r.proc.send_signal(signal.SIGHUP)
        r.wait_log(r"signal=SIGHUP", 5, held)
        r.proc.wait(20 * roost.SLOW)
        assert "to=STARTING" not in r.log_text()[held:], r.log_tail()


if __name__ == "__main__":
    roost.main(globals())
