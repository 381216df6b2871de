"""servers.py - the brokers: Roost and its peers, each in a folder of its own, on free ports of loopback, ended by process id

A server here is started, asked for its port and its processes, and stopped. What it is told beyond its defaults stands in its
class; nothing of the system's own services is touched.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import roost as support

START_S = 60
STOP_S = 20

SETTLE_S = 90
LOOK_S = 0.4
LOOKS_LOW = 5  # longer than the second between two reports of lag
LAG_OF_TICKS = 2048  # bytes: each second's TICK is not lag

TICKS = os.sysconf("SC_CLK_TCK")

# Evaluated for every reading, and never true for what the generator sends: what is measured is the evaluation.
RULES = """
version: 1
group: bench
defaults: { severity: warning }
rules:
  - alert: TooHot
    when: temperature > 90
    clear: temperature < 85
    summary: "{device}: {temperature|1}"
  - alert: Dry
    when: humidity < 5 and temperature > 15
    for: 10m
    summary: "{device}: {humidity|0}"
  - alert: Silent
    missing: temperature
    after: 15m
    summary: "{device} is silent"
"""


class NotInstalled(Exception):
    """The package that holds a peer is missing."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def cpu_seconds(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    except (OSError, IndexError):
        return 0.0


def pss_kib(pid, part="Pss"):
    try:
        with open("/proc/%d/smaps_rollup" % pid, encoding="utf-8") as f:
            for line in f:
                if line.startswith(part + ":"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


class Server:
    binary = ""
    package = ""
    keep = False   # started once for all runs of a row, because a start takes long
    survives = ""  # what an acknowledgement at QoS 1 is worth, in words

    def __init__(self, base):
        self.folder = os.path.join(base, type(self).__name__.lower())
        self.proc = None
        self.port = 0

    def start(self):
        if not os.path.exists(self.binary):
            raise NotInstalled("package %s is not installed" % self.package)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.port = free_port()
        argv, environment = self.command()
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.proc = subprocess.Popen(argv, cwd=self.folder, env=dict(os.environ, **environment),
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        support.wait_for(self.ready, START_S, "%s accepts connections" % self.binary, self.log_tail)
        self.prepare()

    def ready(self):
        if self.proc.poll() is not None:
            raise AssertionError("%s ended with %d\n%s" % (self.binary, self.proc.returncode, self.log_tail()))
        return accepts(self.port)

    def prepare(self):
        """Between the start and the first load."""

    def log_tail(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-3000:]

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def offline_session(self):
        """A subscriber at QoS 1 that is away: what is acknowledged must now be kept."""
        support.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(self.port), "-c", "-i", "offline", "-q", "1",
                     "-t", "roost/#", "-E"], 20).check_returncode()

    def pids(self):
        """{name: pid} of all its processes."""
        family = {os.path.basename(self.binary): self.proc.pid}
        for pid, name in support.descendants(self.proc.pid).items():
            family["%s-%d" % (name, pid)] = pid
        return family

    def cpu(self):
        return {name: cpu_seconds(pid) for name, pid in self.pids().items()}

    def pss(self):
        return {name: pss_kib(pid) for name, pid in self.pids().items()}

    def anonymous(self):
        """Without what is read from files, of which a process has less when others begin to use the same."""
        return {name: pss_kib(pid, "Pss_Anon") for name, pid in self.pids().items()}

    def settle(self):
        """Waits until it has done what it put off."""

    def stop(self):
        if self.proc is not None:
            family = list(support.descendants(self.proc.pid))
            end(self.proc)
            for pid in family:  # what it left behind
                if pid in support.descendants(os.getpid()):
                    os.kill(pid, signal.SIGKILL)
            support.reap()
            self.proc = None
        shutil.rmtree(self.folder, ignore_errors=True)


def end(proc):
    if proc.poll() is None:
        proc.send_signal(signal.SIGTERM)
        try:
            proc.wait(STOP_S)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()


class Roost(Server):
    name = "Roost"
    survives = "kill -9 and power cut (fdatasync comes before the acknowledgement)"
    settings = {"history.flush": "5s", "storage.segment_mib": "256"}
    rules = RULES
    workers = None  # all

    def __init__(self, base, settings=None, rules=None):
        super().__init__(base)
        self.extra = settings or {}
        self.rules = self.rules if rules is None else rules
        self.run = None

    def start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.run = support.Roost(dict(self.settings, **self.extra), rules=self.rules, folder=self.folder,
                                 workers=self.workers)
        self.run.start(START_S)
        self.proc = self.run.proc
        self.port = self.run.port

    def pids(self):
        return dict(self.run.pids(), supervisor=self.run.proc.pid)

    def settle(self):
        """Every follower has read, and made durable, all there is. Looks seldom: each look costs the supervisor CPU time."""
        low = 0
        deadline = time.monotonic() + SETTLE_S
        while low < LOOKS_LOW:
            if time.monotonic() > deadline:
                raise AssertionError("followers behind after %d s: %s" % (SETTLE_S, self.run.status()["followers"]))
            support.pause(LOOK_S)
            followers = self.run.status()["followers"]
            low = low + 1 if followers and all(f["lag_bytes"] <= LAG_OF_TICKS for f in followers) else 0

    def messages_stored(self):
        return self.metric("messages_total", "storage")

    def counted(self, name):
        """{worker: count} of one metric."""
        found = re.findall(r'^roost_%s\{service="[^"]*",worker="([^"]*)"\} (\S+)$' % name, self.run.cli("metrics").stdout, re.M)
        return {worker: float(value) for worker, value in found}

    def metric(self, name, service):
        total = 0
        for line in self.run.cli("metrics").stdout.split("\n"):
            if line.startswith("roost_%s{service=\"%s\"" % (name, service)):
                total += int(float(line.split()[-1]))
        return total

    def stop(self):
        if self.run is not None:
            self.run.clean_up()
            self.run = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Mosquitto(Server):
    name = "mosquitto, nodelay"
    binary = "/usr/sbin/mosquitto"
    package = "mosquitto"
    survives = "nothing (it is acknowledged from memory)"
    nodelay = "true"
    more = ""

    def command(self):
        conf = self.write("mosquitto.conf", "listener %d 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay %s\n"
                          "max_queued_messages 0\nmax_inflight_messages 0\nsys_interval 1\nlog_type error\n%s" % (
                              self.port, self.nodelay, self.more % {"folder": self.folder}))
        if os.getuid() == 0:  # it gives up root by itself
            shutil.chown(self.folder, "mosquitto")
        return [self.binary, "-c", conf], {}


class MosquittoNagle(Mosquitto):
    name = "mosquitto, default"
    nodelay = "false"


class MosquittoAutosave(Mosquitto):
    name = "mosquitto, autosave_on_changes"
    survives = "kill -9 if older than a second (the whole store is rewritten and synced each second)"
    more = ("persistence true\npersistence_location %(folder)s/\nautosave_on_changes true\nautosave_interval 1\n")

    def prepare(self):
        self.offline_session()


class MosquittoPersistence(Mosquitto):
    name = "mosquitto, persistence"
    survives = "nothing younger than 30 minutes (autosave_interval 1800)"
    more = "persistence true\npersistence_location %(folder)s/\n"

    def prepare(self):
        self.offline_session()


class Nats(Server):
    name = "NATS JetStream"
    binary = "/usr/sbin/nats-server"
    package = "nats-server"
    survives = "kill -9 (a power cut loses up to the sync interval of 60 s)"

    def command(self):
        conf = self.write("nats.conf", "server_name: bench\nhost: 127.0.0.1\nport: %d\n"
                          "jetstream { store_dir: \"%s/js\", max_mem: 256M, max_file: 20G }\n"
                          "mqtt { host: 127.0.0.1, port: %d, max_ack_pending: 65535 }\n" % (
                              free_port(), self.folder, self.port))
        return [self.binary, "-c", conf], {}

    def prepare(self):
        self.offline_session()


class Rabbit(Server):
    name = "RabbitMQ"
    keep = True
    binary = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    package = "rabbitmq-server"
    survives = "kill -9 and power cut (confirmed when the durable queue has it on disk)"

    def command(self):
        conf = self.write("rabbitmq.conf", "listeners.tcp = none\nmqtt.listeners.tcp.default = 127.0.0.1:%d\n"
                          "mqtt.allow_anonymous = true\nlog.file.level = error\nlog.console = false\n"
                          "vm_memory_high_watermark.relative = 0.5\ndisk_free_limit.absolute = 100MB\n" % self.port)
        self.epmd = free_port()
        environment = {
            "HOME": self.folder,
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "bench%d@localhost" % self.port,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_BASE": self.folder,
            "RABBITMQ_MNESIA_BASE": os.path.join(self.folder, "mnesia"),
            "RABBITMQ_LOG_BASE": os.path.join(self.folder, "logs"),
            "RABBITMQ_CONFIG_FILE": conf,
            "RABBITMQ_CONF_ENV_FILE": self.write("env.conf", ""),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.write("enabled_plugins", "[rabbitmq_mqtt].\n"),
            "RABBITMQ_PID_FILE": os.path.join(self.folder, "pid"),
        }
        return [self.binary], environment

    def prepare(self):
        support.wait_for(self.answers, START_S, "RabbitMQ answers MQTT", self.log_tail)
        self.offline_session()

    def answers(self):
        out = support.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-t", "ready", "-n"], 20)
        return out.returncode == 0

    def stop(self):
        mine = set(support.descendants(os.getpid()))
        if self.proc is not None and self.proc.poll() is None:
            # The shell script waits for the virtual machine, which ends in order on SIGTERM.
            for pid, name in support.descendants(self.proc.pid).items():
                if name == "beam.smp":
                    os.kill(pid, signal.SIGTERM)
            try:
                self.proc.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.proc = None
        for pid, name in support.descendants(os.getpid()).items():
            if pid in mine and name in ("epmd", "beam.smp", "erl_child_setup", "inet_gethost"):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and any(
                n in ("epmd", "beam.smp") for n in support.descendants(os.getpid()).values()):
            support.reap()
            support.pause()
        support.reap()
        shutil.rmtree(self.folder, ignore_errors=True)
