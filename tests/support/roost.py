"""roost.py - runs the real roost for a test: its own data_dir, its own ports, every wait with a deadline

    with Roost({"history.flush": "200ms"}, rules=TEXT) as r:
        r.publish("roost/gh-1/telemetry", '{"temperature":41.5}')
        r.wait_for(lambda: r.query("gh-1", "temperature"), 10, "the reading in history")

What a test started is ended by it, by process id; it adopts the orphans of what it started, so that nothing escapes it.
"""
import csv
import ctypes
import datetime
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.environ.get("ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
B = os.path.join(ROOT, os.environ.get("B", "build"))
ROOST = os.path.join(B, "bin/roost")
# Sanitized binaries are several times slower; deadlines of waits grow with them.
SLOW = int(os.environ.get("TIMEOUT_FACTOR", "4" if "san" in os.path.basename(B) else "1"))
POLL_S = 0.01
WORKERS = ["connectivity-0", "limiter-0", "storage-0", "rules-0", "notifier-0", "sink-history", "sink-state", "registry-0"]

# Whose durable cursor follows within a second; rules saves its state less often.
PROMPT_FOLLOWERS = {"notifier", "history", "state"}
LAG_OF_TICKS = 1024  # bytes
LAG_SETTLED_S = 2.5

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pause(seconds=POLL_S):
    """Between two looks at a condition; never stands for an event."""
    select.select([], [], [], seconds)


def wait_for(predicate, seconds, what, tail=None):
    """Returns the first true value of predicate(), or fails after seconds."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("not within %g s: %s%s" % (seconds * SLOW, what, "\n" + tail() if tail else ""))
        pause()


def processes():
    """{pid: (ppid, state, name)} of everything."""
    result = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry, encoding="utf-8", errors="replace") as f:
                    text = f.read()
            except OSError:
                continue
            name, rest = text[text.index("(") + 1:].rsplit(") ", 1)
            fields = rest.split()
            result[int(entry)] = (int(fields[1]), fields[0], name)
    return result


def descendants(root):
    """Living processes below root: {pid: name}."""
    table = processes()
    found = {}
    grown = True
    while grown:
        grown = False
        for pid, (ppid, state, name) in table.items():
            if pid not in found and (ppid == root or ppid in found) and state not in "ZX":
                found[pid] = name
                grown = True
    return found


def rss_kib(pid):
    with open("/proc/%d/status" % pid, encoding="utf-8") as f:
        return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1))


def reap():
    """Adopted orphans that have ended."""
    try:
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
    except ChildProcessError:
        pass


def run(argv, seconds=30, **kw):
    """A command that is expected to end; returns the CompletedProcess with text output."""
    if "input" not in kw:
        kw["stdin"] = subprocess.DEVNULL
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds * SLOW, **kw)


def notify_yaml(*receivers):
    """Every alert goes to every one of these webhook receivers, without grouping."""
    text = "version: 1\nreceivers:\n"
    for n, receiver in enumerate(receivers):
        text += "  - name: hook-%d\n    webhook: { url: \"%s\" }\n" % (n, receiver.url)
    return text + "routes:\n  - receivers: [%s]\n" % ", ".join("hook-%d" % n for n in range(len(receivers)))


class Roost:
    def __init__(self, settings=None, rules="", notify="", folder=None, disk=False, workers=None,
                 environment=None):
        """rules and notify: file texts; disk: data_dir on a real disk instead of /dev/shm; environment: added to ours."""
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="roost-test-", dir="/tmp" if disk else "/dev/shm")
        self.data_dir = os.path.join(self.folder, "data")
        self.rules_dir = os.path.join(self.folder, "rules")
        self.rules_file = os.path.join(self.rules_dir, "test.yaml")
        self.notify_file = os.path.join(self.folder, "notify.yaml")
        self.log_file = os.path.join(self.folder, "log")
        os.makedirs(self.rules_dir, exist_ok=True)
        if rules:
            self.write(self.rules_file, rules)
        self.write(self.notify_file, notify or "version: 1\n")
        self.settings = {
            "data_dir": self.data_dir,
            "rules_dir": self.rules_dir,
            "notify.file": self.notify_file,
            "mqtt.listen": "127.0.0.1:0",
            "coap.listen": "",
            "http.listen": "127.0.0.1:0",
            "coaps.listen": "",
            "storage.segment_mib": "16",
            "history.flush": "200ms",
        }
        self.settings.update(settings or {})
        self.workers = WORKERS if workers is None else workers
        self.proc = None
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("ROOST_")}
        self.environment.update(environment or {})

    @staticmethod
    def write(path, text):
        """As an editor does: a new file in the place of the old one."""
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(path + ".new", path)

    # --- life ---

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.clean_up(failed=True)
            raise
        return self

    def __exit__(self, kind, *_):
        self.clean_up(failed=kind is not None)

    def set_arguments(self):
        return [x for k, v in self.settings.items() for x in ("--set", "%s=%s" % (k, v))]

    def spawn(self):
        log = open(self.log_file, "ab")
        self.proc = subprocess.Popen([ROOST, "run"] + self.set_arguments(), cwd=ROOT, env=self.environment,
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

    def start(self, seconds=20):
        self.spawn()
        self.wait_up(seconds)

    def wait_up(self, seconds=20):
        self.wait_for(self.all_up, seconds, "all workers UP")

    def all_up(self):
        if self.proc.poll() is not None:
            raise AssertionError("roost run ended with %d" % self.proc.returncode)
        status = self.status(check=False)
        return status is not None and all(self.state_of(status, w) == "UP" for w in self.workers)

    def stop(self, sig=signal.SIGINT, seconds=10):
        """Ctrl-C; returns the exit status."""
        self.proc.send_signal(sig)
        try:
            return self.proc.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError("roost run did not end within %g s\n%s" % (seconds * SLOW, self.log_tail())) from None

    def kill_all(self):
        """kill -9 of the supervisor and of all below it; returns when they are gone."""
        tree = {self.proc.pid} | set(descendants(self.proc.pid))
        for pid in tree:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()
        self.wait_for(lambda: reap() or not tree & set(descendants(os.getpid())), 5, "the end of all")

    def restart(self):
        self.stop()
        self.start()

    def clean_up(self, failed=False):
        if self.proc is not None and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(15 * SLOW)
            except subprocess.TimeoutExpired:
                print("roost run did not stop; killed")
                failed = True
                self.proc.kill()
                self.proc.wait()
        reap()
        defects = re.findall(r"^.*(?:Sanitizer|runtime error:|assertion failed).*$", self.log_text(), re.M) if self.proc else []
        if defects:
            print(self.log_text()[self.log_text().index(defects[0]):][:6000])
        if failed or defects:
            print("--- end of the log of roost run ---")
            print(self.log_tail(120))
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        if defects and not failed:
            raise AssertionError("a process found a defect in itself: %s" % defects[:5])

    # --- what it says ---

    def log_text(self):
        with open(self.log_file, encoding="utf-8", errors="replace") as f:
            return f.read()

    def log_lines(self, level):
        """What was logged at this level."""
        return re.findall(r"^\S+Z %s .*$" % level, self.log_text(), re.M)

    def log_tail(self, lines=40):
        try:
            return "\n".join(self.log_text().split("\n")[-lines:])
        except OSError:
            return "(no log)"

    def wait_log(self, pattern, seconds, start=0):
        return self.wait_for(lambda: re.search(pattern, self.log_text()[start:]), seconds, "/%s/ in the log" % pattern)

    def wait_for(self, predicate, seconds, what):
        return wait_for(predicate, seconds, what)  # clean_up shows the log

    def cli(self, *arguments, seconds=30):
        """A roost command against this instance."""
        return run([ROOST, arguments[0], "--set", "data_dir=" + self.data_dir] + list(arguments[1:]), seconds,
                   cwd=ROOT, env=self.environment)

    def status(self, check=True):
        out = self.cli("status", "--json")
        try:
            return json.loads(out.stdout)
        except ValueError:
            if check:
                raise AssertionError("roost status --json: exit %d: %s%s\n%s" % (
                    out.returncode, out.stdout, out.stderr, self.log_tail())) from None
            return None

    @staticmethod
    def process_of(status, name):
        for process in status["processes"]:
            if process["name"] == name:
                return process
        return None

    def state_of(self, status, name):
        process = self.process_of(status, name)
        return process["state"].upper() if process else None

    def pid_of(self, name):
        return self.process_of(self.status(), name)["pid"]

    def pids(self):
        """{name: pid} of all living children."""
        return {p["name"]: p["pid"] for p in self.status()["processes"] if p.get("pid")}

    def port_of(self, kind, nth=0):
        """The port of the nth listener of this kind."""
        ports = [int(one["address"].rsplit(":", 1)[1]) for one in self.status()["listeners"] if one["kind"] == kind]
        if len(ports) <= nth:
            raise AssertionError("no %s listener" % kind)
        return ports[nth]

    @property
    def port(self):
        return self.port_of("mqtt")

    # --- what devices and people do ---

    def publish(self, topic, payload, *options, seconds=20, qos=1):
        """mosquitto_pub; returns when the message is acknowledged."""
        out = run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-q", str(qos), "-t", topic, "-m", payload]
                  + list(options), seconds)
        if out.returncode != 0:
            raise AssertionError("mosquitto_pub: exit %d: %s" % (out.returncode, out.stderr))
        return out

    def query(self, device, metric, *options):
        """The points as [(time_us, text of the value), ...]."""
        out = self.cli("query", device, metric, "--csv", *options)
        if out.returncode != 0:
            raise AssertionError("roost query: exit %d: %s" % (out.returncode, out.stderr))
        rows = list(csv.reader(io.StringIO(out.stdout)))
        return [(time_us(row[0]), row[1]) for row in rows[1:]]

    def redis(self, *command):
        out = run(["redis-cli", "-s", os.path.join(self.data_dir, "run/redis.sock")] + list(command))
        return out.stdout.strip()

    def latest(self, device):
        """What Redis holds of the device, {} if nothing."""
        words = self.redis("HGETALL", "roost:device:%s:latest" % device).split("\n")
        return dict(zip(words[0::2], words[1::2]))

    def settle(self, seconds):
        """Waits until the sinks and the notifier have read, and made durable, all there is.

        Lag is reported once a second, and each second's TICK is a few bytes of it: low for longer than that is none."""
        low_since = None

        def settled():
            nonlocal low_since
            followers = [f for f in self.status()["followers"] if f["group"] in PROMPT_FOLLOWERS]
            if {f["group"] for f in followers} != PROMPT_FOLLOWERS or any(
                    f["lag_bytes"] > LAG_OF_TICKS or f["members"] == 0 for f in followers):
                low_since = None
                return False
            low_since = low_since or time.monotonic()
            return time.monotonic() - low_since > LAG_SETTLED_S
        self.wait_for(settled, seconds, "followers at the journal's end")


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def time_us(text):
    """Microseconds since the Unix epoch of an ISO 8601 time, or of a number."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return (datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) - EPOCH) // MICROSECOND


def note(text):
    """Shown beside the test's name when it passes."""
    print("note: %s" % text)


def main(namespace):
    """python3 FILE.py [test_name ...]: runs these tests, or all."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started and mounted is put away
    wanted = sys.argv[1:] or [n for n in namespace if n.startswith("test_")]
    failed = 0
    for name in wanted:
        try:
            namespace[name]()
        except Exception:
            traceback.print_exc(file=sys.stdout)
            failed += 1
        left = descendants(os.getpid())
        for pid, what in left.items():
            print("%s left process %d (%s) behind" % (name, pid, what))
            failed += 1
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    sys.stdout.flush()
    sys.exit(1 if failed else 0)
