"""silences.py - what a kill cost: how long until READY, and until acknowledgements flow again

The load generator writes down each time of 5 ms and more in which no device got an acknowledgement (load --silences FILE), in
microseconds of the monotonic clock; the supervisor's log says in wall time when a worker was READY.
"""
import math
import re
import time

import roost

SHORT_US = 10000  # shorter ones are how acknowledgements flow: many at once, after a sync
SOON_US = 50000   # a kill is felt by then


def read(path):
    with open(path, encoding="utf-8") as f:
        return [tuple(map(int, line.split())) for line in f if line.count(" ") == 1 and line.endswith("\n")]


def flowing_after(quiet, at):
    """After how many us acknowledgements came again: the end of the longest silence that the kill at `at` can have begun."""
    felt = [(end - start, end) for start, end in quiet if end > at and start < at + SOON_US and end - start > SHORT_US]
    return max(felt)[1] - at if felt else 0


def percentile(values, p):
    values = sorted(values)
    return values[max(0, math.ceil(p * len(values)) - 1)]


def ready_times(log):
    """{worker: [monotonic us at which the supervisor saw it READY, ...]}"""
    offset = time.time_ns() // 1000 - time.monotonic_ns() // 1000
    times = {}
    for when, name in re.findall(r"^(\S+Z) .*child\.state name=(\S+) from=STARTING to=UP", log, re.M):
        times.setdefault(name, []).append(roost.time_us(when) - offset)
    return times


def report(kills, quiet, log):
    """kills: [(monotonic us, worker)]. Returns a table, and (p99 of kill to READY, p99 of kill to acknowledgements) in ms."""
    ready = ready_times(log)
    rows = {"all": []}
    for at, name in kills:
        up = [t for t in ready.get(name, []) if t > at]
        if up:
            rows.setdefault(name, []).append((up[0] - at, flowing_after(quiet, at)))
            rows["all"].append(rows[name][-1])
    text = ["%-15s %5s  READY p50 / p99 / max ms    acknowledgements p50 / p99 / max ms" % ("killed", "times")]
    for name in sorted(rows, key=lambda n: (n == "all", n)):
        columns = []
        for values in zip(*rows[name]):
            columns += [percentile(values, 0.5) / 1000, percentile(values, 0.99) / 1000, max(values) / 1000]
        text.append("%-15s %5d  %8.1f %6.1f %6.1f %20.1f %6.1f %6.1f" % (name, len(rows[name]), *columns))
    return "\n".join(text), tuple(percentile(v, 0.99) / 1000 for v in zip(*rows["all"]))
