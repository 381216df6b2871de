"""nemesis.py - a Roost under load, faults that are done to it, and what must be true afterwards

A fault has a name; inject() says what it did, heal() takes it back. run() does faults of a mix, chosen by a seed, in episodes:
load with a ledger of its own, faults, then everything is healed and checked: every acknowledged reading is in history once,
alerts and notifications are there once, Redis holds the latest values, all processes are UP, their counters agree with each
other, and none of them grows. It prints a timeline; the same seed does the same faults again.
"""
import os
import random
import signal
import socket
import time

import growth
import roost
import storage_faults
import verify
from disks import OnDisk, PowerDisk, SmallDisk
from load import RULES, Load
from own_redis import OwnRedis
from roost import Roost, notify_yaml
from webhook import Receiver

CALM_MESSAGES = 2000
UP_S = 60
DISK_MIB = 2048
SETTLE_S = 120


def signal_to(pid, sig):
    """False if it is gone. Only children of the roost under test have these ids: it has not reaped them for long."""
    try:
        if not pid:
            return False
        os.kill(pid, sig)
        return True
    except ProcessLookupError:
        return False


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class System:
    """A Roost on a disk, its webhook receiver, and the load of the present episode."""

    def __init__(self, settings=None, rate=5000, connections=100, environment=None, roost_class=Roost):
        self.hook = Receiver()
        self.rate = rate
        self.connections = connections
        # Segments go while the campaign runs, but not those of the present episode.
        self.r = roost_class(dict({"mqtt.listen": "127.0.0.1:%d" % free_port(), "storage.retention": "10m",
                                   "storage.quota_mib": "4096"}, **(settings or {})),
                             rules=RULES, notify=notify_yaml(self.hook), disk=True)
        self.r.environment.update(environment or {})
        self.load = None
        self.episode = 0
        self.growth = growth.Growth()
        self.clock_file = None
        self.journal_is_whole = True
        self.redis = None  # or one that is not Roost's child

    def __enter__(self):
        try:
            if self.redis:
                self.r.settings["redis.url"] = self.redis.url
            self.r.__enter__()
        except BaseException:
            self.hook.close()
            raise
        return self

    def __exit__(self, *why):
        if self.load is not None:
            self.load.close()
        self.r.__exit__(*why)
        self.hook.close()
        if self.redis:
            self.redis.__exit__(*why)
            os.unlink(self.clock_file)

    def say(self, what):
        print("%9.3f s  %s" % (time.monotonic() - START, what), flush=True)

    def pids(self):
        """Of the workers, those that run."""
        status = self.r.status(check=False)
        return {p["name"]: p["pid"] for p in status["processes"] if p["pid"] and p["name"] in self.r.workers} if status else {}

    def redis_pid(self):
        return self.redis.proc.pid if self.redis else self.r.pids().get("redis")

    def redis_cli(self, *command, **kw):
        socket_path = self.redis.socket if self.redis else os.path.join(self.r.data_dir, "run/redis.sock")
        return roost.run(["redis-cli", "-s", socket_path] + list(command), **kw).stdout

    # --- an episode ---

    def begin(self, seconds):
        self.episode += 1
        # While Roost's clock is an hour ahead, what devices say of now is too late to page anybody: no alerts then.
        flip = 0 if self.clock_file else 100
        self.load = Load(self.r, connections=self.connections, rate=self.rate, seconds=seconds + UP_S, flip=flip,
                         per_device=int(self.rate / self.connections * (seconds + UP_S)) + 10, prefix="e%d" % self.episode,
                         drain=UP_S, stall=60)

    def end(self):
        """Healed, and quiet: what is promised must be true now."""
        self.r.wait_up(UP_S)
        self.load.stop()
        result = self.load.finish(2 * UP_S)
        findings = self.load.findings(self.hook, SETTLE_S, prefix_only=True, journal_is_whole=self.journal_is_whole)
        book = self.load.book()
        roost.wait_for(lambda: not self.state_findings(book).counts, SETTLE_S, "the latest values in Redis",
                       lambda: self.state_findings(book).text())
        self.load.close()
        self.load = None
        if findings.counts:
            raise AssertionError(findings.text())
        self.hook.forget()
        self.assert_counters_agree()
        self.growth.note(self.processes())
        return result

    def state_findings(self, book):
        findings = verify.Findings()
        devices = list(book.devices)
        lines = "".join("HGET roost:device:%s:latest %s\n" % (d, verify.METRIC) for d in devices)
        verify.check_state(dict(zip(devices, self.redis_cli(input=lines).split("\n"))), book, findings)
        return findings

    def processes(self):
        """{name: (pid, resident KiB, open descriptors)}, the supervisor among them."""
        return {name: (pid, roost.rss_kib(pid), len(os.listdir("/proc/%d/fd" % pid)))
                for name, pid in dict(self.pids(), supervisor=self.r.proc.pid).items()}

    def counters(self):
        """{(metric, worker): value}"""
        return verify.parse_metrics(self.r.cli("metrics").stdout)

    def assert_counters_agree(self):
        """A number of messages, known here alone, passes; everybody must have counted as many, and nothing be in flight."""
        before = self.counters()
        with Load(self.r, connections=20, rate=CALM_MESSAGES, seconds=1, per_device=CALM_MESSAGES // 20,
                  prefix="c%d" % self.episode) as load:
            sent = load.finish(UP_S)
            findings = None

            def agree():
                nonlocal findings
                findings = verify.Findings()
                verify.check_counters(before, self.counters(), sent["sent"], sent["resent"], findings)
                return not findings.counts
            roost.wait_for(agree, 20, "counters that agree", lambda: findings.text())


class DiskSystem(System):
    """Everything that Roost keeps is on a disk that can be filled, or lose its power."""

    def __init__(self, disk, **options):
        self.disk = disk
        super().__init__(roost_class=lambda settings, **o: OnDisk(disk, settings=settings, **{k: o[k] for k in o if k != "disk"}),
                         **options)
        self.journal_is_whole = not isinstance(disk, SmallDisk)

    def __exit__(self, *why):
        try:
            super().__exit__(*why)
        finally:
            self.disk.close()


def system_for(names, **options):
    """A System in which the faults of this mix can be done."""
    if "power" in names and "disk" in names:
        raise ValueError("power and disk want different file systems below Roost")
    if "power" in names or "disk" in names:
        return DiskSystem(PowerDisk(DISK_MIB) if "power" in names else SmallDisk(DISK_MIB, DISK_MIB + 64), **options)
    if "clocks" not in names:
        return System(**options)
    path = os.path.join("/dev/shm", "roost-clock-%d" % os.getpid())
    Roost.write(path, "+0\n")
    system = System(environment=clock_environment(path), **options)
    system.clock_file = path
    system.redis = OwnRedis()  # the private one would be given a clock that it does not start with
    return system


START = time.monotonic()


class Fault:
    name = ""
    lasts = (0.0, 0.0)  # seconds between inject and heal

    def inject(self, system, rng):
        raise NotImplementedError

    def heal(self, system):
        pass


class KillWorkers(Fault):
    """kill -9 of one, two or all workers."""

    def __init__(self, name, count):
        self.name = name
        self.count = count

    def inject(self, system, rng):
        pids = system.pids()
        names = sorted(pids)
        victims = rng.sample(names, min(self.count, len(names)))
        return ", ".join(v for v in victims if signal_to(pids[v], signal.SIGKILL))


class KillSupervisor(Fault):
    name = "kill-supervisor"
    lasts = (0.2, 1.5)

    def inject(self, system, rng):
        took = kill_supervisor(system.r)
        return "all gone after %.0f ms" % (took * 1000)

    def heal(self, system):
        system.r.spawn()


def kill_supervisor(r):
    """kill -9; returns after how many seconds nothing of it was left, which must be less than one."""
    tree = set(roost.descendants(r.proc.pid))
    start = time.monotonic()
    r.proc.kill()
    r.proc.wait()
    roost.wait_for(lambda: roost.reap() or not tree & set(roost.descendants(os.getpid())), 5, "the end of all workers")
    took = time.monotonic() - start
    assert took < 1.0 * roost.SLOW, "workers lived on for %.2f s" % took
    return took


class StopWorker(Fault):
    """SIGSTOP: a hung worker is replaced; one that stood still for a moment is not."""

    def __init__(self, name, lasts):
        self.name = name
        self.lasts = lasts
        self.pid = None

    def inject(self, system, rng):
        pids = system.pids()
        victim = rng.choice(sorted(pids))
        self.pid = pids[victim]
        signal_to(self.pid, signal.SIGSTOP)
        return victim

    def heal(self, system):
        if self.pid in system.pids().values():
            signal_to(self.pid, signal.SIGCONT)


class StopSupervisor(Fault):
    name = "stop-supervisor"
    lasts = (0.5, 4.0)

    def inject(self, system, rng):
        system.r.proc.send_signal(signal.SIGSTOP)
        return ""

    def heal(self, system):
        system.r.proc.send_signal(signal.SIGCONT)


class KillRedis(Fault):
    name = "redis-kill"

    def inject(self, system, rng):
        return "" if signal_to(system.redis_pid(), signal.SIGKILL) else "was away"

    def heal(self, system):
        if system.redis:
            system.redis.proc.wait()
            system.redis.start()


class StopRedis(Fault):
    name = "redis-stop"
    lasts = (1.0, 8.0)

    def __init__(self):
        self.pid = None

    def inject(self, system, rng):
        self.pid = system.redis_pid()
        return "" if signal_to(self.pid, signal.SIGSTOP) else "was away"

    def heal(self, system):
        if self.pid and self.pid == system.redis_pid():
            signal_to(self.pid, signal.SIGCONT)


class FlushRedis(Fault):
    name = "redis-flush"

    def inject(self, system, rng):
        return system.redis_cli("FLUSHALL").strip() or "was away"


class Webhook(Fault):
    """The receiver of notifications refuses, hangs, is slow, or is not there."""
    lasts = (1.0, 8.0)

    def __init__(self, mode):
        self.name = "webhook-" + mode
        self.mode = mode

    def inject(self, system, rng):
        system.hook.set_mode(self.mode)
        return ""

    def heal(self, system):
        system.hook.set_mode("accept")


class Clock(Fault):
    """A step of the wall clock of all of Roost; what measures durations is left alone."""
    lasts = (2.0, 5.0)

    def __init__(self, name, spec):
        self.name = "clock" + name
        self.spec = spec

    def inject(self, system, rng):
        set_clock(system, self.spec)
        return ""

    def heal(self, system):
        set_clock(system, "+0")


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def clock_environment(path):
    """For a System whose clock can be stepped by writing to path."""
    return {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": path, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_RESET": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1", "NO_FAKE_STAT": "1"}


def set_clock(system, spec):
    if spec == "freeze":
        spec = time.strftime("%Y-%m-%d %H:%M:%S")
    Roost.write(system.clock_file, spec + "\n")


def kills():
    return [KillWorkers("kill-one", 1), KillWorkers("kill-one", 1), KillWorkers("kill-two", 2), KillWorkers("kill-all", 99),
            KillSupervisor()]


def stops():
    return [StopWorker("stop-one", (4.5, 4.5)), StopWorker("stop-briefly", (0.1, 2.0)), StopSupervisor()]


def outside():
    return [KillRedis(), StopRedis(), FlushRedis(), Webhook("refuse"), Webhook("hang"), Webhook("slow"), Webhook("down")]


def clocks():
    return [Clock("+1s", "+1"), Clock("-1s", "-1"), Clock("+1h", "+3600"), Clock("-1h", "-3600"), Clock("-freeze", "freeze")]


def power():
    return [storage_faults.PowerCut()]


def disk():
    return [storage_faults.FullDisk()]


def calls():
    return [storage_faults.CallFault("fdatasync"), storage_faults.CallFault("pwrite64", "signal=KILL"),
            storage_faults.CallFault("fdatasync", "signal=KILL")]


MIX = ["kills", "stops", "outside"]


def mix_of(names):
    known = {"kills": kills, "stops": stops, "outside": outside, "clocks": clocks, "power": power, "disk": disk, "calls": calls}
    return [fault for name in names for fault in known[name]()]


class Bag:
    """Each fault of the mix once before any comes again."""

    def __init__(self, mix, rng):
        self.mix = mix
        self.rng = rng
        self.left = []

    def take(self):
        if not self.left:
            self.left = list(self.mix)
            self.rng.shuffle(self.left)
        return self.left.pop()


def one(system, fault, rng):
    """Injects, waits, heals."""
    what = fault.inject(system, rng)
    lasts = rng.uniform(*fault.lasts)
    system.say("%-16s %s%s" % (fault.name, what, " for %.1f s" % lasts if lasts else ""))
    try:
        roost.pause(lasts)
    finally:
        fault.heal(system)


def episode(system, bag, rng, seconds, pause=(0.2, 1.5)):
    """Faults for so many seconds, under load; then everything is checked. Returns how many there were."""
    count = 0
    system.begin(seconds)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        one(system, bag.take(), rng)
        count += 1
        roost.pause(rng.uniform(*pause))
    result = system.end()
    system.say("checked: %d faults, %d readings acknowledged, sent again %d, p99 %.0f ms, longest silence %.0f ms" % (
        count, result["acked"], result["resent"], result["p99_ms"], result["quiet_ms"]))
    return count, result["acked"]


def run(system, seed, seconds, episode_s, names=None):
    """Episodes until the time is over. Returns (faults, acknowledged readings)."""
    rng = random.Random(seed)
    bag = Bag(mix_of(names or MIX), rng)
    until = time.monotonic() + seconds
    faults = acked = 0
    while True:
        f, a = episode(system, bag, rng, min(episode_s, max(5, until - time.monotonic())))
        faults, acked = faults + f, acked + a
        if time.monotonic() >= until:
            break
    for line in system.growth.lines():
        print(line)
    system.growth.check()
    return faults, acked
