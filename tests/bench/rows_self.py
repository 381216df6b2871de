"""rows_self.py - rows of Roost's own processes: rules, restarts, memory when idle"""
import os
import re
import signal
import statistics
import time

import roost as support
from rows import Row, Subject
from rows_mqtt import OfServer, kinds_for
from servers import Mosquitto, Nats, Rabbit, Roost


# --- rules ---

def rules_text(n):
    conditions = ["temperature > %d" % (90 + i % 10) if i % 2 == 0 else "humidity < %d and temperature > %d" % (i % 10, i % 40)
                  for i in range(n)]
    return "version: 1\ngroup: bench\ndefaults: { severity: warning }\nrules:\n" + "".join(
        "  - alert: Rule%d\n    when: %s\n    summary: \"{device}\"\n" % (i, c) for i, c in enumerate(conditions))


def rules_subjects(bench):
    def measure(server):
        server.settle()
        cpu, evaluated = server.cpu()["rules-0"], server.metric("rules_evaluations_total", "rules")
        result = bench.flood(server.port, "--rate", 150000, "--burst", 50, "--window", 200, seconds=bench.seconds(3), warmup=0)
        server.settle()
        cpu = server.cpu()["rules-0"] - cpu
        evaluated = server.metric("rules_evaluations_total", "rules") - evaluated
        return {"value": evaluated / cpu, "ns": cpu * 1e9 / evaluated, "messages_per_cpu_s": result["sent"] / cpu,
                "evaluations": evaluated}
    subjects = []
    for n in (10,) if bench.smoke or bench.quick else (1, 10, 100):
        s = OfServer(bench, Roost, measure, rules=rules_text(n)).subject
        s.name = "Roost, %d rule%s" % (n, "" if n == 1 else "s")
        subjects.append(s)
    return subjects


Row("rules", "Rule evaluations by the live rules worker", "evaluations a CPU second", "more", rules_subjects,
    "its whole CPU time: reading the journal, its state, its cursors and the evaluations; two metrics a message, 100 devices",
    columns={"ns": "ns an evaluation", "messages_per_cpu_s": "messages a CPU second", "evaluations": "evaluations"},
    base="Roost, 10 rules")


# --- restarts ---

SERVICES = ["storage-0", "limiter-0", "rules-0", "notifier-0", "registry-0", "sink-history", "sink-state", "connectivity-0"]


def stamp(text):
    return support.time_us(text) / 1e6


def up_since(server, name, log_at):
    """When the log says that the child became UP, after that place of the log."""
    found = server.run.wait_log(r"(\S+Z) info \S+ child\.state name=%s from=\S+ to=UP" % re.escape(name), 20, log_at)
    return stamp(found.group(1))


def kill_one(server, name):
    log_at = len(server.run.log_text())
    pid = server.run.pid_of(name)
    begun = time.time()
    os.kill(pid, signal.SIGKILL)
    return (up_since(server, name, log_at) - begun) * 1000


def restart_subjects(bench):
    rounds = 1 if bench.smoke or bench.quick else 4
    held = OfServer(bench, type("RoostOnce", (Roost,), {"keep": True}), None)

    def of_service(name):
        def measure():
            took = []
            for _ in range(rounds):
                # Less than a second of life would earn it a back-off.
                support.wait_for(lambda: support.Roost.process_of(held.server.run.status(), name)["uptime_ms"] > 1200, 10,
                                 name + " to have lived for a second")
                took.append(kill_one(held.server, name))
            return {"value": statistics.median(took), "longest_ms": max(took), "kills": rounds}
        return measure

    def whole():
        """The supervisor and with it everything; then a start as after a power cut."""
        run = held.server.run
        run.proc.kill()
        run.proc.wait()
        support.wait_for(lambda: not [p for p in held_children(run) if alive(p)], 5, "all processes to be gone")
        log_at = len(run.log_text())
        begun = time.time()
        run.spawn()
        found = run.wait_log(r"(\S+Z) info roost roost\.running", 20, log_at)
        run.wait_up()
        remember(run)
        return {"value": (stamp(found.group(1)) - begun) * 1000, "longest_ms": (stamp(found.group(1)) - begun) * 1000,
                "kills": 1}

    def prepare():
        held.start()
        bench.flood(held.server.port, "--count", 20000 if bench.smoke else 200000, seconds=20, warmup=0)
        held.server.settle()
        remember(held.server.run)

    subjects = [Subject("kill -9 of " + n, of_service(n), prepare if i == 0 else None) for i, n in enumerate(SERVICES)]
    subjects.append(Subject("kill -9 of all", whole, None, held.finish))
    return subjects


def remember(run):
    run.children = list(run.pids().values())


def held_children(run):
    return run.children


def alive(pid):
    table = support.processes()
    return pid in table and table[pid][1] not in "ZX"


Row("restart", "From kill -9 to READY", "ms", "less", restart_subjects,
    "after 200,000 messages, nothing else going on; of all: from the start of `roost run` to everything UP",
    columns={"longest_ms": "longest, ms", "kills": "kills a run"}, base="kill -9 of connectivity-0")


# --- memory ---

REST_S = 5  # a worker gives back what a burst left behind after three quiet seconds


def at_rest(server):
    """PSS of its processes in KiB when it has not shrunk for a while."""
    lowest, since, end = None, time.monotonic(), time.monotonic() + 30
    while time.monotonic() - since < REST_S and time.monotonic() < end:
        pss = server.pss()
        if lowest is None or sum(pss.values()) < 0.99 * sum(lowest.values()):
            lowest, since = pss, time.monotonic()
        support.pause(0.2)
    return server.pss()


def idle_subjects(bench):
    def measure_of(messages):
        def measure(server):
            if messages:
                bench.flood(server.port, "--count", messages, seconds=60, warmup=0)
            if isinstance(server, Roost):
                server.settle()
            pss = {n: kib / 1024 for n, kib in at_rest(server).items()}
            answer = {"value": sum(v for n, v in pss.items() if n != "redis"), "with_redis": sum(pss.values()),
                      "by_process": pss}
            if "supervisor" in pss:
                answer["supervisor"] = pss["supervisor"]
            return answer
        return measure
    subjects = []
    load = 100000 if bench.smoke or bench.quick else 1000000
    for label, messages in (("", 0), (", after %d messages" % load, load)):
        for kind in kinds_for(bench, Roost, Mosquitto, Nats, Rabbit):
            if kind is Rabbit and messages:
                continue
            s = OfServer(bench, kind, measure_of(messages)).subject
            s.name = kind.name + label
            subjects.append(s)
    return subjects


Row("idle-memory", "Memory of the whole idle system, without Redis", "MiB PSS", "less", idle_subjects,
    "all processes; just started, and after a million messages at QoS 1 of 100 devices", columns={
        "with_redis": "with Redis, MiB", "supervisor": "supervisor, MiB"})
