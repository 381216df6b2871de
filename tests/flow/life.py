"""Start, status, stop, start again."""
import ctypes
import os
import re
import signal
import time

import roost
from roost import Roost, descendants


def test_status_shows_every_process():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        status = r.status()
        names = {p["name"] for p in status["processes"]}
        assert set(r.workers) <= names and any("redis" in n for n in names), names
        for process in status["processes"]:
            assert process["state"].upper() == "UP" and process["pid"] > 0, process
            assert process["restarts"] == 0 and process["uptime_ms"] >= 0, process
        r.wait_for(lambda: {f["group"] for f in r.status()["followers"]} >= {"rules", "notifier", "history", "state"}, 5,
                   "the lag of every follower, which is reported once a second")
        text = r.cli("status")
        assert text.returncode == 0, text
        for name in r.workers:
            assert name in text.stdout, text.stdout


def test_status_counts_readings_of_every_process_they_pass():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":1,"humidity":2}')
        passed = ("connectivity-0", "limiter-0", "storage-0", "rules-0", "sink-history", "sink-state")
        r.wait_for(lambda: all(r.process_of(r.status(), name)["readings"] == 2 for name in passed), 5,
                   "two readings counted in each, with the heartbeats")


def test_followers_step_back_behind_what_devices_send():
    with Roost() as r:
        pids = r.pids()
        threads = {name: [int(t) for t in os.listdir(f"/proc/{pid}/task")] for name, pid in pids.items() if name in r.workers}
        mine = os.getpriority(os.PRIO_PROCESS, 0)

        def stepped_back(name, policy, nice):
            return all(os.sched_getscheduler(t) == policy and os.getpriority(os.PRIO_PROCESS, t) == min(mine + nice, 19)
                       for t in threads[name])

        for name in threads:
            policy, nice = (os.SCHED_IDLE, 10) if name.startswith("sink-") else (os.SCHED_OTHER, 5 if "rules" in name else 0)
            r.wait_for(lambda: stepped_back(name, policy, nice), 5, f"the priority of {name}, after READY")
            assert os.getsid(pids[name]) == os.getsid(r.proc.pid), f"{name} has a session of its own: its niceness would not count"


def slice_ns(tid):
    """What sched_getattr(2) says of a thread's slice."""
    libc, attributes = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint64 * 7)()
    number = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
    assert libc.syscall(number, tid, attributes, ctypes.sizeof(attributes), 0) == 0, os.strerror(ctypes.get_errno())
    return attributes[3]


def test_those_that_devices_wait_for_run_promptly():
    release = tuple(int(n) for n in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())
    with Roost() as r:
        pids = r.pids()
        for name in r.workers:
            prompt = name.split("-")[0] in ("storage", "limiter") and release >= (6, 12)
            r.wait_for(lambda: all((slice_ns(int(t)) == 100000) == prompt for t in os.listdir(f"/proc/{pids[name]}/task")), 5,
                       f"the slice of {name}")


def test_metrics_are_prometheus_text():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        r.wait_for(lambda: "roost_readings_total" in r.cli("metrics").stdout, 5, "the first heartbeats")
        types, values = {}, {}
        for line in r.cli("metrics").stdout.rstrip("\n").split("\n"):
            comment = re.fullmatch(r"# (HELP|TYPE) (roost_[a-z0-9_]+) (.+)", line)
            if comment and comment.group(1) == "TYPE":
                types[comment.group(2)] = comment.group(3)
            elif not comment:
                name, value = re.fullmatch(r'(roost_[a-z0-9_]+)(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})? ([0-9.e+-]+)',
                                           line).groups()
                values[name] = float(value)
        assert set(values) <= set(types), set(values) - set(types)
        for name, kind in types.items():
            assert (kind == "counter") == name.endswith("_total"), (name, kind)
        assert 0 < values["roost_process_uptime_seconds"] < 60 * roost.SLOW, values


def test_status_says_why_a_worker_died():
    with Roost() as r:
        pid = r.pid_of("limiter-0")
        os.kill(pid, signal.SIGKILL)
        r.wait_for(lambda: r.pid_of("limiter-0") not in (None, 0, pid), 10, "a new limiter")
        r.wait_up()
        process = r.process_of(r.status(), "limiter-0")
        assert process["restarts"] == 1, process
        assert "SIGKILL" in r.cli("status").stdout or "signal 9" in r.cli("status").stdout, r.cli("status").stdout


def test_status_without_a_supervisor():
    r = Roost()
    try:
        out = r.cli("status")
        assert out.returncode not in (0, -6, -11) and out.stderr.strip(), out
    finally:
        r.clean_up()


def test_ctrl_c_drains_and_stops_within_10_s():
    with Roost() as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        start = time.monotonic()
        code = r.stop(signal.SIGINT, 10)
        assert code == 0, code
        roost.note("stopped in %.1f s" % (time.monotonic() - start))
        assert descendants(os.getpid()) == {}, descendants(os.getpid())
        assert "SIGKILL" not in r.log_text() and r.log_lines("error") == [], r.log_lines("error")


def test_a_second_start_continues():
    with Roost() as r:
        for n in range(5):
            r.publish("roost/gh-1/telemetry", '{"ts":%d,"values":{"temperature":%d}}' % (1700000000000 + n, n))
        r.restart()
        for n in range(5, 10):
            r.publish("roost/gh-1/telemetry", '{"ts":%d,"values":{"temperature":%d}}' % (1700000000000 + n, n))
        r.settle(10)
        points = r.wait_for(lambda: len(p := r.query("gh-1", "temperature", "--since", "2000d")) >= 10 and p, 10, "all ten")
        assert [float(v) for _, v in points] == [float(n) for n in range(10)], points
        r.wait_for(lambda: r.latest("gh-1").get("temperature") == "9", 10, "the latest value in Redis")


def test_a_second_supervisor_is_refused():
    with Roost() as r:
        before = r.pids()
        out = roost.run([roost.ROOST, "run"] + r.set_arguments(), cwd=roost.ROOT, env=r.environment)
        assert out.returncode not in (0, -6, -11), out
        assert r.data_dir in out.stderr + out.stdout, out
        assert r.pids() == before
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')


def test_data_dir_is_private():
    with Roost() as r:
        assert os.stat(r.data_dir).st_mode & 0o777 == 0o700, oct(os.stat(r.data_dir).st_mode)


def test_partitions_are_fixed_at_creation():
    with Roost({"partitions": "8"}) as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":1}')
        r.stop()
        r.settings["partitions"] = "16"
        r.spawn()
        assert r.proc.wait(20 * roost.SLOW) == 78, r.log_tail()
        assert "partitions" in r.log_tail(5), r.log_tail(5)


if __name__ == "__main__":
    roost.main(globals())
