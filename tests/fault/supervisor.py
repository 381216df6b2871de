"""The supervisor by itself, with workers that misbehave on request (tests/support/fake_worker.c)."""
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import roost
from disks import as_root
from roost import ROOT, B, Roost, descendants, pause, reap, wait_for

BACKOFF_FREE = 3  # of supervisor/backoff.h
SERVICES = ["storage", "limiter", "rules", "notifier", "registry", "sink", "connectivity"]


class Fake(Roost):
    """A Roost whose workers are all the fake one."""

    def __init__(self, settings=None, behaviour=None, **kw):
        super().__init__(dict({"redis.url": "unix:///nonexistent"}, **(settings or {})), **kw)
        self.bin = os.path.join(self.folder, "bin")
        os.makedirs(self.bin)
        shutil.copy(roost.ROOST, os.path.join(self.bin, "roost"))
        for service in SERVICES:
            os.symlink(os.path.join(B, "test/support/fake_worker"), os.path.join(self.bin, "roost-" + service))
        self.behaviours = os.path.join(self.folder, "behaviour")
        os.makedirs(self.behaviours)
        self.environment["ROOST_TEST_DIR"] = self.behaviours
        for name, text in (behaviour or {}).items():
            self.behave(name, text)

    def behave(self, name, text):
        path = os.path.join(self.behaviours, name)
        if text:
            self.write(path, text)
        else:
            os.unlink(path)

    def spawn(self):
        with open(self.log_file, "ab") as log:
            self.proc = subprocess.Popen([os.path.join(self.bin, "roost"), "run"] + self.set_arguments(), cwd=ROOT,
                                         env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def process(self, name):
        return self.process_of(self.status(), name)

    def wait_state(self, name, state, seconds=10):
        self.wait_for(lambda: self.process(name)["state"] == state, seconds, "%s %s" % (name, state))

    def wait_running(self):
        self.wait_log("roost.running", 10)

    def given(self, name):
        with open(os.path.join(self.behaviours, name + ".given"), encoding="utf-8") as f:
            return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in f]


def test_what_a_worker_is_given():
    with Fake() as r:
        given = r.given("connectivity-0")[0]
        assert given["pgid_is_pid"] == given["no_new_privs"] == "1" and given["sigterm_blocked"] == "0", given
        assert given["death_signal"] == str(int(signal.SIGKILL)), given
        fds = sorted(int(k[2:]) for k in given if re.fullmatch(r"fd\d+", k))
        listeners = dict(re.findall(r"(\w+)=(\d+)=", given["listen"]))
        assert set(listeners) == {"mqtt", "http"}, given
        # Nothing but stdin, stdout, stderr, the control channel, the settings and the listeners.
        assert len(fds) == 5 + len(listeners) and {int(n) for n in listeners.values()} <= set(fds), given
        assert given["fd0"] == "/dev/null" and given["fd1"] == given["fd2"], given
        assert len([k for k in r.given("limiter-0")[0] if re.fullmatch(r"fd\d+", k)]) == 5, r.given("limiter-0")


def test_start_and_drain_follow_the_flow():
    with Fake() as r:
        r.stop()
        log = r.log_text()
        up = re.findall(r"child.state name=(\S+) from=STARTING to=UP", log)
        assert up[:4] == ["storage-0", "limiter-0", "rules-0", "notifier-0"] and up[-1] == "connectivity-0", up
        assert set(up[4:-1]) == {"registry-0", "sink-history", "sink-state"}, up
        down = re.findall(r"child.state name=(\S+) from=DRAINING to=DOWN", log)
        assert down[:4] == ["connectivity-0", "limiter-0", "rules-0", "notifier-0"] and down[-1] == "storage-0", down
        assert "Roost is up." in log and "mosquitto_pub -h 127.0.0.1 -p " in log, log


def test_lives_grow_for_ever():
    with Fake() as r:
        lives = []
        for _ in range(3):
            os.kill(r.pid_of("limiter-0"), signal.SIGKILL)
            r.wait_for(lambda: len(r.given("limiter-0")) > len(lives) + 1, 10, "a new limiter")
            lives.append(r.given("limiter-0")[-1]["life"])
            r.wait_up()
        r.proc.kill()
        r.proc.wait()
        r.start()
        lives = [int(g["life"]) for g in r.given("limiter-0")]
        assert lives == sorted(set(lives)) and len(lives) == 5, lives
        r.stop()
        r.write(os.path.join(r.data_dir, "lives"), "many\n")
        r.spawn()
        assert r.proc.wait(10) == 78, r.log_tail()


def test_deaths_are_restarted_at_once_or_held_back():
    with Fake() as r:
        pause(1.1)  # UP for over a second: what comes now is no defect
        pid = r.pid_of("limiter-0")
        os.kill(pid, signal.SIGALRM)
        r.wait_for(lambda: r.process("limiter-0")["pid"] not in (None, pid), 2, "a new limiter")
        p = r.process("limiter-0")
        assert p["failures"] == 0 and p["restarts"] == 1 and "SIGALRM" in p["last_death"]["text"], p
        r.wait_up()
        for n in range(BACKOFF_FREE + 1):
            os.kill(r.pid_of("limiter-0"), signal.SIGKILL)
            r.wait_log(r"child.backoff name=limiter-0 ms=%s failures=%d" % (r"0" if n < BACKOFF_FREE else r"[1-9]\d*", n + 1), 5)
            r.wait_up()
        p = r.process("limiter-0")
        assert p["failures"] == BACKOFF_FREE + 1 and "SIGKILL" in p["last_death"]["text"], p


def test_a_crash_loop_slows_down_and_heals():
    with Fake(behaviour={"rules-0": "ready-exit 3"}, workers=["storage-0", "connectivity-0"]) as r:
        r.wait_for(lambda: r.process("rules-0")["failures"] >= BACKOFF_FREE + 5, 10, "its failures")
        waits = [int(ms) for ms in re.findall(r"child.backoff name=rules-0 ms=(\d+)", r.log_text())]
        assert waits[:BACKOFF_FREE] == [0] * BACKOFF_FREE, waits
        for n, ms in enumerate(waits[BACKOFF_FREE:BACKOFF_FREE + 5]):
            assert 50 << n <= ms + 1 and ms <= 100 << n, waits
        p = r.process("rules-0")
        assert "exit 3" in p["last_death"]["text"] and r.cli("status").returncode == 1, p
        r.behave("rules-0", None)
        r.wait_state("rules-0", "UP", 10)
        assert r.cli("status").returncode == 0


def test_wrong_configuration_is_held_until_it_changes():
    with Fake(behaviour={"rules-0": "exit 78"}, workers=["connectivity-0"]) as r:
        r.wait_for(lambda: r.process("rules-0")["held"], 5, "rules held")
        p = r.process("rules-0")
        assert p["state"] == "DOWN" and "configuration" in p["last_death"]["text"], p
        assert "held until its configuration changes" in r.cli("status").stdout
        pause(1.5)
        assert len(r.given("rules-0")) == 1, "it was tried again"
        r.behave("rules-0", None)
        r.write(r.rules_file, "version: 1\n")
        r.wait_state("rules-0", "UP", 5)
        r.behave("limiter-0", "exit 78")
        os.kill(r.pid_of("limiter-0"), signal.SIGKILL)
        r.wait_for(lambda: r.process("limiter-0")["held"], 5, "limiter held")
        r.behave("limiter-0", None)
        r.proc.send_signal(signal.SIGHUP)
        r.wait_state("limiter-0", "UP", 5)


def test_a_worker_that_is_never_ready_is_replaced():
    with Fake({"supervisor.start_timeout": "500ms"}, {"limiter-0": "silent"}, workers=["connectivity-0"]) as r:
        r.wait_for(lambda: r.process("limiter-0")["restarts"] >= 2, 10, "two attempts")
        assert "not READY in time: SIGABRT" in r.process("limiter-0")["last_death"]["text"], r.process("limiter-0")


def test_a_mute_worker_is_replaced_and_a_busy_one_is_not():
    with Fake({"supervisor.watchdog": "1s"}, {"limiter-0": "mute", "rules-0": "busy 3000"}) as r:
        r.wait_for(lambda: r.process("limiter-0")["restarts"] >= 1, 10, "a new limiter")
        assert "no heartbeat: SIGABRT" in r.process("limiter-0")["last_death"]["text"], r.process("limiter-0")
        r.wait_for(lambda: r.process("rules-0")["uptime_ms"] > 4500, 10, "rules to live on")
        assert r.process("rules-0")["restarts"] == 0, r.process("rules-0")


def test_garbage_on_the_control_channel_is_dropped():
    with Fake(behaviour={"limiter-0": "garbage"}) as r:
        r.wait_log("child.reject name=limiter-0", 5)
        r.wait_for(lambda: r.process("limiter-0")["uptime_ms"] > 1500, 10, "heartbeats after it")
        assert r.process("limiter-0")["restarts"] == 0


def test_a_worker_that_ignores_drain_is_killed_in_time():
    with Fake({"supervisor.stop_timeout": "2s"}, {"limiter-0": "stubborn", "storage-0": "stubborn"}) as r:
        start = time.monotonic()
        assert r.stop() == 0
        took = time.monotonic() - start
        assert took < 3 * roost.SLOW, took
        assert set(re.findall(r"child.died name=(\S+) .*did not stop in time: SIGKILL", r.log_text())) == {
            "limiter-0", "storage-0"}, r.log_tail()


def test_a_second_ctrl_c_kills():
    with Fake({"supervisor.stop_timeout": "60s"}, {"limiter-0": "stubborn"}) as r:
        r.proc.send_signal(signal.SIGINT)
        r.wait_log("child.state name=limiter-0 from=UP to=DRAINING", 5)
        start = time.monotonic()
        assert r.stop() == 0
        assert time.monotonic() - start < 1.0 * roost.SLOW


def test_stop_command_waits_for_the_end():
    with Fake() as r:
        out = r.cli("stop")
        assert out.returncode == 0, out
        assert r.proc.wait(1 * roost.SLOW) == 0
        assert r.cli("status").returncode == 69 and r.cli("stop").returncode == 69


def test_a_frozen_supervisor_is_said_to_be_stuck():
    with Fake() as r:
        r.proc.send_signal(signal.SIGSTOP)
        try:
            out = r.cli("status")
        finally:
            r.proc.send_signal(signal.SIGCONT)
        assert out.returncode == 75 and out.stderr, out
        # Its workers' heartbeats lay in the channel meanwhile: none was taken for hung.
        r.wait_up()
        assert all(p["restarts"] == 0 for p in r.status()["processes"]), r.status()


def test_a_machine_that_stood_still_kills_nobody():
    """All were frozen, and the supervisor wakes up first."""
    with Fake({"supervisor.watchdog": "1s"}) as r:
        pids = list(r.pids().values())
        r.proc.send_signal(signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        pause(3)
        r.proc.send_signal(signal.SIGCONT)
        pause(0.3)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        r.wait_for(lambda: all(p["uptime_ms"] > 6000 for p in r.status()["processes"]), 15, "all to have lived on")
        assert all(p["restarts"] == 0 for p in r.status()["processes"]), r.status()
        # One that hangs is still found.
        os.kill(pids[0], signal.SIGSTOP)
        r.wait_for(lambda: sum(p["restarts"] for p in r.status()["processes"]) == 1, 10, "its replacement")


def test_who_was_starved_steps_aside_less():
    """A worker that runs in idle time only, and gets none, looks hung; the next one takes its share."""
    def policies(r):
        return {os.sched_getscheduler(int(t)) for t in os.listdir("/proc/%d/task" % r.pid_of("sink-history"))}

    def lives(r):
        return r.process_of(r.status(), "sink-history")["restarts"]

    with Roost({"supervisor.watchdog": "500ms"}) as r:
        r.wait_for(lambda: policies(r) == {os.SCHED_IDLE}, 5, "history to step aside")
        os.kill(r.pid_of("sink-history"), signal.SIGSTOP)
        r.wait_for(lambda: lives(r) == 1, 20, "its replacement")
        r.wait_up()
        r.wait_for(lambda: os.getpriority(os.PRIO_PROCESS, r.pid_of("sink-history")) == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19),
                   5, "its priority")
        assert policies(r) == {os.SCHED_OTHER}, policies(r)
        os.kill(r.pid_of("sink-history"), signal.SIGKILL)  # another death: as at first
        r.wait_for(lambda: lives(r) == 2, 20, "its replacement")
        r.wait_up()
        r.wait_for(lambda: policies(r) == {os.SCHED_IDLE}, 5, "history to step aside")


def test_killed_supervisor_leaves_nothing_even_of_stopped_or_starting_workers():
    with Fake(behaviour={"rules-0": "silent", "notifier-0": "stubborn"}, workers=["connectivity-0"]) as r:
        for _ in range(5):
            os.kill(r.pid_of("limiter-0"), signal.SIGSTOP)
            r.proc.kill()
            r.proc.wait()
            start = time.monotonic()
            wait_for(lambda: reap() or not descendants(os.getpid()), 5, "the end of all")
            assert time.monotonic() - start < 1.0 * roost.SLOW
            r.spawn()
            r.wait_up()


def test_orphans_are_reaped():
    with Fake(behaviour={"limiter-0": "orphan"}) as r:
        orphan = [p for p in descendants(r.pid_of("limiter-0"))][0]
        os.kill(r.pid_of("limiter-0"), signal.SIGKILL)
        r.wait_for(lambda: orphan in descendants(r.proc.pid), 5, "its adoption")
        os.kill(orphan, signal.SIGKILL)
        r.wait_for(lambda: "roost_supervisor_reaped_total 1" in r.cli("metrics").stdout, 5, "its reaping")
        r.behave("limiter-0", None)
        r.wait_up()
        for p in set(descendants(r.proc.pid)) - set(r.pids().values()):
            os.kill(p, signal.SIGKILL)


def test_listener_and_lock_conflicts_are_explained():
    with Fake() as r, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        roost_run = [os.path.join(r.bin, "roost"), "run"]
        other = os.path.join(r.folder, "other")
        out = roost.run(roost_run + ["--set", "data_dir=" + other, "--set", "mqtt.listen=127.0.0.1:%d"
                                     % taken.getsockname()[1]], env=r.environment)
        assert out.returncode == 75 and "in use" in out.stderr, out
        out = roost.run(roost_run + ["--set", "data_dir=" + other, "--set", "mqtt.listen=127.0.0.1:0",
                                     "--set", "partitions=4", "--set", "storage.shards=8"], env=r.environment)
        assert out.returncode == 78 and "storage.shards" in out.stderr, out
        out = roost.run(roost_run + r.set_arguments(), env=r.environment)
        assert out.returncode == 75 and "pid %d" % r.proc.pid in out.stderr, out
        r.wait_up()


def test_control_socket_refuses_what_is_no_request():
    with Fake() as r:
        path = os.path.join(r.data_dir, "run/control.sock")
        assert os.stat(path).st_mode & 0o777 == 0o600
        for text in (b"{\n", b"[]\n", b"{\"command\":1}\n", b"{\"command\":\"dance\"}\n", b"\xff\n", b"\n"):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(path)
                s.sendall(text)
                answer = json.loads(s.makefile().readline())
                assert answer["ok"] is False and answer["error"], answer
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(path)
            s.sendall(b"x" * 8192)
            try:
                assert s.recv(1) == b""
            except ConnectionResetError:
                pass
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for s in crowd:
            s.connect(path)
        for s in crowd:
            s.close()
        r.wait_for(lambda: r.cli("status").returncode == 0, 5, "an answer after the crowd")


def test_a_full_disk_does_not_stop_a_restart():
    r = Fake({"redis.url": ""}, workers=["redis", "connectivity-0"])
    os.makedirs(r.data_dir)
    as_root("mount", "-t", "tmpfs", "-o", "size=256k,mode=700,uid=%d" % os.getuid(), "none", r.data_dir)
    try:
        with r:
            life = int(r.given("limiter-0")[-1]["life"])
            r.proc.kill()
            r.proc.wait()
            wait_for(lambda: reap() or not descendants(os.getpid()), 5, "the end of all")
            with open(os.path.join(r.data_dir, "filler"), "wb", buffering=0) as f:
                try:
                    while True:
                        f.write(b"x" * 4096)
                except OSError as e:
                    assert e.errno == errno.ENOSPC, e
            r.start()
            assert int(r.given("limiter-0")[-1]["life"]) >= life + 1000
            r.stop()
    finally:
        as_root("umount", "-l", r.data_dir)


def test_usage_errors():
    binary = roost.ROOST
    for arguments, code in (([], 64), (["dance"], 64), (["status", "--loud"], 64), (["run", "-c"], 64),
                            (["run", "--set", "a"], 78), (["run", "--set", "partition=1"], 78), (["../x"], 64),
                            (["help"], 0), (["version"], 0), (["settings"], 0), (["settings", "--doc"], 0)):
        out = roost.run([binary] + arguments, env={"PATH": os.environ["PATH"]})
        assert out.returncode == code, (arguments, out)
        assert (out.stderr if code else out.stdout).strip(), (arguments, out)


def test_redis_is_private_and_its_absence_stops_nobody():
    with Fake({"redis.url": ""}, workers=["redis", "connectivity-0"]) as r:
        assert os.stat(os.path.join(r.data_dir, "run/redis.sock")).st_mode & 0o777 == 0o700
        assert r.redis("PING") == "PONG" and r.redis("SET", "a", "1") == "OK"
        assert r.redis("CONFIG", "GET", "port").split() == ["port", "0"]
        os.kill(r.pid_of("redis"), signal.SIGKILL)
        r.wait_for(lambda: r.process("redis")["restarts"] == 1 and r.process("redis")["state"] == "UP", 10, "Redis")
        r.restart()
        assert r.redis("GET", "a") == "1"
        r.stop()
        r.environment["PATH"] = "/nonexistent"
        r.workers = ["connectivity-0"]
        r.spawn()
        r.wait_up()
        assert "redis-server could not be started" in r.process("redis")["last_death"]["text"]


def test_restart_is_fast_and_the_supervisor_small():
    """Noted, not judged beyond what a loaded machine allows: kill -9 to READY, in the supervisor's own clock."""
    count = 64
    with Fake({"limiter.replicas": str(count)}) as r:
        pause(1.1)
        pids = r.pids()
        fds = len(os.listdir("/proc/%d/fd" % r.proc.pid))
        took = []
        for n in range(count):
            name = "limiter-%d" % n
            start = len(r.log_text())
            before = time.time_ns() // 1000
            os.kill(pids[name], signal.SIGKILL)
            line = r.wait_log(r"(\S+Z) \S+ \S+ child.state name=%s from=STARTING to=UP" % name, 5, start)
            took.append((roost.time_us(line.group(1)) - before) / 1000)
        took.sort()
        assert len(os.listdir("/proc/%d/fd" % r.proc.pid)) == fds, "descriptors leak"
        memory = r.status()["supervisor"]["memory_bytes"] / 1024
        roost.note("kill -9 to READY %.1f ms (median of %d), at worst %.1f ms; supervisor %d KiB PSS with %d children" % (
            took[count // 2], count, took[-1], memory, count + 6))
        assert took[count // 2] < 50 * roost.SLOW and memory < 4096 * roost.SLOW, (took, memory)


if __name__ == "__main__":
    roost.main(globals())
