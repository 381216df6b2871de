"""rows_mqtt.py - rows in which devices publish or connect: rates, latencies, memory of connections"""
import statistics
import subprocess
import threading
import time

import roost as support
from rows import FLOOD, Row, Skipped, Subject
from servers import Mosquitto, MosquittoAutosave, MosquittoNagle, MosquittoPersistence, Nats, Rabbit, Roost

LATENCY_COLUMNS = {"p50_ms": "p50, ms", "p99_ms": "p99, ms", "p999_ms": "p99.9, ms"}
CPU_COLUMNS = {"server_cpu_us": "server CPU, µs each", "generator_cpu_us": "generator CPU, µs each"}
RATE_COLUMNS = dict(LATENCY_COLUMNS, **CPU_COLUMNS)


REST_S = 15
STILL_LOOK_S = 0.5
STILL_LOOKS = 8
STILL_KIB = 32
STILL_MOST_S = 25


def total(cpu):
    return sum(cpu.values())


def used(before, after, messages):
    """CPU of each process in µs a message."""
    return {n: round((after[n] - before.get(n, 0)) * 1e6 / messages, 4) for n in after} if messages else {}


def complain(result):
    """What must be zero, in words."""
    wrong = ["%d %s" % (result[k], k) for k in ("lost", "refused", "unexpected") if result[k]]
    missing = result["sent"] - result["acked"]
    if missing:
        wrong.append("%d not answered" % missing)
    return ", ".join(wrong)


def columns_of(result, before, after):
    latency = result["latency_us"]
    answer = {
        "value": result["rate"],
        "server_cpu_us": (total(after) - total(before)) * 1e6 / max(result["sent"], 1),
        "generator_cpu_us": result["cpu_us_per_message"],
        "by_process": used(before, after, result["sent"]),
    }
    if latency["n"]:
        answer.update({"p50_ms": latency["p50"] / 1e3, "p99_ms": latency["p99"] / 1e3, "p999_ms": latency["p999"] / 1e3})
    if complain(result):
        answer["note"] = complain(result)
    return answer


def rest(server):
    """Waits until a server that stays up does nothing any more, so that it takes nothing from the next one."""
    deadline = time.monotonic() + REST_S
    before = total(server.cpu())
    while time.monotonic() < deadline:
        support.pause(0.5)
        now = total(server.cpu())
        if now - before < 0.03:
            return
        before = now


class OfServer:
    """A subject that is a server, started for each run, or once for the row if it says keep."""

    def __init__(self, bench, kind, measure, skip="", **kw):
        self.bench = bench
        self.kind = kind
        self.measure_server = measure
        self.kw = kw
        self.server = None
        if bench.quick and kind.keep and kind.package:
            skip = "not run with QUICK: it takes long to start"
        self.subject = Subject(kind.name, self.measure, self.prepare, self.finish, kind.survives, skip)

    def prepare(self):
        if self.kind.keep:
            self.start()

    def start(self):
        self.server = self.kind(self.bench.folder, **self.kw)
        self.server.start()

    def measure(self):
        if self.server is None:
            self.start()
        try:
            return self.measure_server(self.server)
        finally:
            if self.kind.keep:
                rest(self.server)
            else:
                self.finish()

    def finish(self):
        if self.server is not None:
            self.server.stop()
            self.server = None


def subjects_of(bench, kinds, measure):
    return [OfServer(bench, kind, measure).subject for kind in kinds]


def kinds_for(bench, *kinds):
    return [Roost] if bench.smoke else list(kinds)


# --- publish ---

def publish_row(name, title, flags, kinds, seconds=2.5, conditions=""):
    def subjects(bench):
        def measure(server):
            before = server.cpu()
            result = bench.flood(server.port, *flags, seconds=bench.seconds(seconds))
            return columns_of(result, before, server.cpu())
        return subjects_of(bench, kinds_for(bench, *kinds), measure)
    Row(name, title, "messages/s", "more", subjects, conditions, columns=RATE_COLUMNS, acknowledged=name == "q1-w100")


ACKNOWLEDGED = "acknowledged messages; payload of two metrics and device time, 59 bytes"

publish_row("q1-w1", "QoS 1, window 1, 100 connections", ["--qos", 1, "--window", 1],
            [Roost, Mosquitto, MosquittoNagle, Nats, Rabbit], conditions=ACKNOWLEDGED)
publish_row("q1-w10", "QoS 1, window 10, 100 connections", ["--qos", 1, "--window", 10],
            [Roost, Mosquitto, MosquittoNagle, Nats, Rabbit], conditions=ACKNOWLEDGED)
publish_row("q1-w100", "QoS 1, window 100, 100 connections", ["--qos", 1, "--window", 100],
            [Roost, Mosquitto, MosquittoNagle, MosquittoPersistence, MosquittoAutosave, Nats, Rabbit],
            conditions=ACKNOWLEDGED)


def q0_subjects(bench):
    """The clock stops when a QoS 1 message behind the others is acknowledged on every connection."""
    def measure(server):
        before = server.cpu()
        result = bench.flood(server.port, "--qos", 0, "--prove", seconds=bench.seconds(3.5), warmup=0)
        answer = columns_of(result, before, server.cpu())
        if isinstance(server, Roost):
            support.wait_for(lambda: server.messages_stored() >= result["sent"], 10, "the counter of storage")
            stored = server.messages_stored()
            answer["stored_share"] = stored / result["sent"]
            if stored != result["sent"]:
                answer["note"] = "sent %d, storage counted %d" % (result["sent"], stored)
        elif isinstance(server, Mosquitto):
            answer["stored_share"] = received_by_mosquitto(server, result["sent"]) / result["sent"]
        return answer
    return subjects_of(bench, kinds_for(bench, Roost, Mosquitto, Nats, Rabbit), measure)


def received_by_mosquitto(server, expected):
    """Its own count, published each second."""
    best = 0
    deadline = time.monotonic() + 4
    while best < expected and time.monotonic() < deadline:
        out = support.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(server.port), "-C", "1", "-W", "4", "-t",
                           "$SYS/broker/publish/messages/received"], 10)
        best = max(best, int(out.stdout.strip() or 0))
    return best


Row("q0", "QoS 0, 100 connections", "messages/s", "more", q0_subjects,
    "many packets a send; the clock stops when a last message at QoS 1 is acknowledged on every connection: Roost has then "
    "stored all of them (share by its own count), a peer has read them",
    columns=dict(CPU_COLUMNS, stored_share="counted by the server, of those sent"))


# --- ten thousand connections ---

def many_subjects(qos):
    def subjects(bench):
        count = 500 if bench.smoke else 3000 if bench.quick else 10000

        def measure(server):
            before = server.cpu()
            flags = ["--connections", count, "--qos", qos, "--small-writes"]
            flags += ["--window", 1] if qos else ["--ping", 4]
            result = bench.flood(server.port, *flags, seconds=bench.seconds(3.5))
            answer = columns_of(result, before, server.cpu())
            answer["server_cpu_us"] = max(answer["server_cpu_us"], 1e-9)
            answer["per_server_cpu_s"] = 1e6 / answer["server_cpu_us"]
            return answer
        subjects = subjects_of(bench, kinds_for(bench, Roost, Mosquitto, Nats), measure)
        if not bench.smoke:
            subjects.append(Subject(Rabbit.name, None, survives=Rabbit.survives,
                                    skip="not run: 10,000 connections take it some 15 s and 2 GB to open"))
        return subjects
    return subjects


MANY_COLUMNS = dict(RATE_COLUMNS, per_server_cpu_s="messages a CPU second of the server")
Row("q0-10k", "QoS 0, 10,000 connections, one packet a write", "messages/s", "more", many_subjects(0),
    "two groups of four messages outstanding a connection, each behind a PINGREQ; 3,000 connections with QUICK",
    columns=MANY_COLUMNS)
Row("q1-10k", "QoS 1, 10,000 connections, one packet a write", "messages/s", "more", many_subjects(1),
    "window 1; 3,000 connections with QUICK", columns=MANY_COLUMNS)


# --- connections ---

def connect_subjects(bench):
    def measure(server):
        before = server.cpu()
        result = bench.flood(server.port, "--mode", "connect", "--connections", 50, seconds=bench.seconds(2.5))
        after = server.cpu()
        answer = columns_of(result, before, after)
        answer["server_cpu_us"] = (total(after) - total(before)) * 1e6 / max(result["connects"], 1)
        answer["by_process"] = used(before, after, result["connects"])
        return answer
    return subjects_of(bench, kinds_for(bench, Roost, Mosquitto, Nats, Rabbit), measure)


Row("connect", "Connect rate", "connects/s", "more", connect_subjects,
    "50 at a time: TCP connect, CONNECT, CONNACK, DISCONNECT, until the server closes; latency from connect() to CONNACK",
    columns=RATE_COLUMNS)


def still_memory(server, looks_still):
    """KiB, when they have stood still for longer than a process takes to give back what its start needed."""
    looks = []
    deadline = time.monotonic() + STILL_MOST_S
    while len(looks) < looks_still or max(looks[-looks_still:]) - min(looks[-looks_still:]) > STILL_KIB:
        if time.monotonic() > deadline:
            raise AssertionError("memory does not stand still: %s KiB" % looks[-looks_still:])
        if looks:
            support.pause(STILL_LOOK_S)
        looks.append(sum(server.anonymous().values()))
    return looks[-1]


def memory_subjects(bench):
    count = 200 if bench.smoke else 3000 if bench.quick else 10000
    looks_still = 1 if bench.smoke else STILL_LOOKS

    def measure(server):
        before = still_memory(server, looks_still)
        argv = [FLOOD, "--port", str(server.port), "--mode", "idle", "--connections", str(count), "--seconds", "60"]
        proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            begun = time.monotonic()
            line = proc.stdout.readline()
            if '"up":%d,' % count not in line:
                raise AssertionError("not all connections are up: %s" % line)
            opened = time.monotonic() - begun
            after = still_memory(server, looks_still)
        finally:
            proc.stdin.close()
            proc.wait(60)
            proc.stdout.close()
        return {"value": (after - before) * 1024 / count, "opened_per_s": count / opened}
    kinds = kinds_for(bench, Roost, Mosquitto, Nats)
    subjects = subjects_of(bench, kinds, measure)
    if not bench.smoke:
        subjects.append(Subject(Rabbit.name, None, skip="not run: 10,000 connections take it some 15 s and 2 GB to open"))
    return subjects


Row("conn-memory", "Memory of an idle connection", "bytes", "less", memory_subjects,
    "anonymous memory of all processes of the server before and after 10,000 connections (3,000 with QUICK), each when it has stood "
    "still for 4 s; the kernel's socket, some 4.5 KiB, is not in it", columns={"opened_per_s": "opened, connects/s"})


# --- latency, burst, sustained ---

def paced_subjects(bench):
    def measure(server):
        before = server.cpu()
        result = bench.flood(server.port, "--rate", 20000, "--window", 100, seconds=bench.seconds(4))
        answer = columns_of(result, before, server.cpu())
        answer["rate"] = answer["value"]
        answer["value"] = answer["p50_ms"]
        answer["max_ms"] = result["latency_us"]["max"] / 1e3
        return answer
    return subjects_of(bench, kinds_for(bench, Roost, Mosquitto, MosquittoNagle, Nats, Rabbit), measure)


Row("latency", "PUBLISH to PUBACK at 20,000 messages/s", "ms (p50)", "less", paced_subjects,
    "QoS 1, 100 connections, open loop, from the moment a message was due; Roost's PUBACK means durable",
    columns={"p99_ms": "p99, ms", "p999_ms": "p99.9, ms", "max_ms": "longest, ms", "rate": "messages/s", **CPU_COLUMNS})


def burst_subjects(bench):
    def measure(server):
        before = server.cpu()
        result = bench.flood(server.port, "--window", 100, seconds=bench.seconds(10, 5), warmup=0)
        return columns_of(result, before, server.cpu())
    return subjects_of(bench, kinds_for(bench, Roost, Mosquitto, Nats), measure)


Row("burst", "QoS 1, window 100: a burst of 10 s from a standing start", "messages/s", "more", burst_subjects,
    ACKNOWLEDGED, columns=RATE_COLUMNS)

SUSTAINED_RATE = 400000
METRICS = 2  # readings of a message


class Lags(threading.Thread):
    """How far each follower is behind, once a second: what storage has counted and it has not, at the rate of the load.

    The counters of a process are up to half a second old, so that less than 500 ms may be nothing."""
    FOLLOWERS = {"rules": "rules-0", "history": "sink-history", "state": "sink-state"}

    def __init__(self, server, readings_per_s):
        super().__init__(daemon=True)
        self.server = server
        self.readings_per_s = readings_per_s
        self.over = threading.Event()
        self.lines = {name: [] for name in self.FOLLOWERS}
        self.pss = []

    def run(self):
        while not self.over.wait(1.0):
            counted = self.server.counted("readings_total")
            for name, worker in self.FOLLOWERS.items():
                behind = counted.get("storage-0", 0) - counted.get(worker, 0)
                self.lines[name].append(max(0, behind) * 1000 / self.readings_per_s)
            self.pss.append(sum(self.server.pss().values()) / 1024)

    def finish(self):
        self.over.set()
        self.join()


def sustained_subjects(bench):
    def measure(server):
        before = server.cpu()
        lags = Lags(server, SUSTAINED_RATE * METRICS)
        lags.start()
        try:
            result = bench.flood(server.port, "--rate", SUSTAINED_RATE, "--burst", 50, "--window", 200,
                                 seconds=bench.seconds(60, 6), warmup=0)
        finally:
            lags.finish()
        answer = columns_of(result, before, server.cpu())
        for name, values in lags.lines.items():
            answer["behind_%s_ms" % name] = max(values)
            answer["behind_%s_median_ms" % name] = statistics.median(values)
        answer["pss_mib"] = max(lags.pss)
        answer["series"] = {"x": "s", "y": "ms", "title": "how far each follower is behind", "lines": lags.lines}
        return answer
    return subjects_of(bench, [Roost], measure)


Row("sustained", "QoS 1 at 400,000 messages/s for 60 s, everything on", "messages/s", "more", sustained_subjects,
    "100 connections, bursts of 50 due together, window 200; state, history and rules (three of them) follow; how far they "
    "are behind is sampled each second from counters that are up to 0.5 s old; 6 s with QUICK",
    columns={"p50_ms": "p50, ms", "p99_ms": "p99, ms", "server_cpu_us": "server CPU, µs each", "behind_rules_ms": "rules behind at most, ms",
             "behind_history_ms": "history, ms", "behind_state_ms": "state, ms", "behind_rules_median_ms": "rules, median, ms",
             "pss_mib": "memory, MiB PSS"})


# --- CPU by process: everything that a message costs, followers included ---

def cpu_subjects(bench):
    def measure_of(flags, seconds):
        def measure(server):
            server.settle()
            before = server.cpu()
            result = bench.flood(server.port, *flags, seconds=bench.seconds(seconds), warmup=0)
            server.settle()
            after = server.cpu()
            answer = columns_of(result, before, after)
            answer["rate"] = answer["value"]
            answer["value"] = answer["server_cpu_us"]
            return answer
        return measure
    subjects = []
    for label, flags, seconds in (("window 100", ["--window", 100], 2.5), ("window 1", ["--window", 1], 2.5),
                                  ("20,000/s", ["--rate", 20000], 2.5))[:1 if bench.quick else 3]:
        for kind in kinds_for(bench, Roost, Mosquitto):
            s = OfServer(bench, kind, measure_of(flags, seconds)).subject
            s.name = "%s, %s" % (kind.name, label)
            subjects.append(s)
    return subjects


Row("cpu", "CPU of a QoS 1 message, all processes", "µs", "less", cpu_subjects,
    "until every follower has read it: decoded, limited, stored, three rules, history, latest state",
    columns={"rate": "messages/s", "p50_ms": "p50, ms", "generator_cpu_us": "generator CPU, µs each"}, base="Roost, window 100")


# --- the same with somebody else's client ---

def cross_subjects(bench):
    clients, each = (2, 500) if bench.smoke else (10, 3000 if bench.quick else 20000)
    lines = ("{\"temperature\":21.37,\"humidity\":40.2}\n" * each).encode()

    def theirs(server):
        procs = [subprocess.Popen(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(server.port), "-q", "1", "-l", "-i",
                                   "cross-%d" % n, "-t", "roost/cross-%d/telemetry" % n], stdin=subprocess.PIPE)
                 for n in range(clients)]
        begun = time.monotonic()
        feeders = [threading.Thread(target=feed, args=(p, lines)) for p in procs]
        for f in feeders:
            f.start()
        for f in feeders:
            f.join(120)
        codes = [p.wait(120) for p in procs]
        took = time.monotonic() - begun
        if any(codes):
            raise AssertionError("mosquitto_pub ended with %s" % codes)
        return {"value": clients * each / took, "messages": clients * each}

    def ours(server):
        result = bench.flood(server.port, "--connections", clients, "--window", 20, "--small-writes", "--count",
                             clients * each, seconds=60, warmup=0)
        return {"value": result["rate"], "messages": result["acked"]}

    subjects = []
    for label, measure in (("mosquitto_pub", theirs), ("flood", ours)):
        for kind in kinds_for(bench, Roost, Mosquitto, Nats):
            s = OfServer(bench, kind, measure).subject
            s.name = "%s by %s" % (kind.name, label)
            subjects.append(s)
    return subjects


def feed(proc, data):
    try:
        proc.stdin.write(data)
        proc.stdin.close()
    except BrokenPipeError:
        pass


Row("cross-check", "QoS 1, ten clients: mosquitto_pub and our generator", "messages/s", "more", cross_subjects,
    "mosquitto_pub -l, ten processes, 20 messages outstanding each (libmosquitto's default), starting included; flood with "
    "the same connections, window and one packet a write", columns={"messages": "acknowledged messages"}, base="Roost by flood")
