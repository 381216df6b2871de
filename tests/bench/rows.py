"""rows.py - what a row of the report is, and how one is measured: subjects in turn (A B C, A B C, ...), each run on its own

A subject's measure(bench) returns {"value": number, column: number, ...} of one run; what is not a number is a note.
"""
import json
import os
import statistics
import subprocess
import sys
import time

import machine
import roost as support
import servers

FLOOD = os.path.join(support.B, "test/bench/flood")

ROWS = {}


class Skipped(Exception):
    """Why a subject is not measured; the report says it."""


class Subject:
    def __init__(self, name, measure, prepare=None, finish=None, survives="", skip=""):
        self.name = name
        self.measure = measure
        self.prepare = prepare
        self.finish = finish
        self.survives = survives
        self.skip = skip


class Row:
    def __init__(self, name, title, unit, better, subjects, conditions="", runs=None, columns=None, base="Roost",
                 acknowledged=False):
        self.name = name
        self.title = title
        self.unit = unit
        self.better = better          # "more" or "less"
        self.subjects = subjects      # function of Bench -> list of Subject
        self.conditions = conditions
        self.runs = runs              # function of the runs asked for; None: as asked
        self.columns = columns or {}  # column -> unit
        self.base = base              # whose ratio is 1
        self.acknowledged = acknowledged  # what that is worth belongs to the row
        ROWS[name] = self


class Bench:
    """What all rows share: where to work, how long, how often."""

    def __init__(self, folder, runs, quick, smoke, data, say):
        self.folder = folder
        self.runs = runs
        self.quick = quick
        self.smoke = smoke
        self.data = data
        self.say = say
        self.flood_cpu = 0.0

    def seconds(self, whole, quick=None):
        if self.smoke:
            return 1
        return (quick if quick is not None else max(1.5, whole / 2)) if self.quick else whole

    def flood(self, port, *arguments, seconds=3, warmup=1, prefix="bench"):
        warmup = min(warmup, seconds / 3)
        argv = [FLOOD, "--port", str(port), "--seconds", "%g" % seconds, "--warmup", "%g" % warmup, "--prefix", prefix]
        out = support.run(argv + [str(a) for a in arguments], seconds + 120)
        if out.returncode != 0:
            raise AssertionError("flood ended with %d: %s" % (out.returncode, out.stderr))
        return json.loads(out.stdout.strip().split("\n")[-1])


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": values}


def note_of(result):
    return "; ".join(str(v) for v in result.values() if isinstance(v, str))


def run_row(row, bench):
    """Measures a row; returns it as the report has it."""
    runs = row.runs(bench.runs) if row.runs else bench.runs
    subjects = row.subjects(bench)
    answer = {
        "name": row.name, "title": row.title, "unit": row.unit, "better": row.better, "conditions": row.conditions,
        "columns": row.columns, "base": row.base,
        "acknowledged": row.acknowledged, "load_before": machine.load_average(),
        "busy_before": machine.busy_now(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "runs": runs, "subjects": [],
    }
    all_before, stolen_before = machine.processor_ticks()
    results = {s.name: [] for s in subjects}
    problems = {s.name: s.skip for s in subjects}
    try:
        for s in subjects:
            attempt(s, problems, s.prepare)
        for n in range(runs):
            for s in subjects:
                if problems[s.name]:
                    continue
                result = attempt(s, problems, s.measure)
                if result is not None:
                    results[s.name].append(result)
                    bench.say("  %-12s run %d/%d  %-30s %s %s" % (row.name, n + 1, runs, s.name,
                                                                 human(result["value"]), row.unit))
    finally:
        for s in subjects:
            if s.finish is not None:
                s.finish()
    all_after, stolen_after = machine.processor_ticks()
    answer["stolen_percent"] = round(100 * (stolen_after - stolen_before) / max(1, all_after - all_before), 1)
    for s in subjects:
        answer["subjects"].append(summary(s, results[s.name], problems[s.name]))
    answer["seconds"] = round(time.time() - time.mktime(time.strptime(answer["at"], "%Y-%m-%dT%H:%M:%SZ")) + time.timezone, 1)
    return answer


def attempt(subject, problems, step):
    """One step of a subject; a peer that is missing, or fails, is named in the report and costs no other its row."""
    if step is None or problems[subject.name]:
        return None
    try:
        return step()
    except servers.NotInstalled as e:
        problems[subject.name] = "not run: %s" % e
    except Skipped as e:
        problems[subject.name] = "not run: %s" % e
    except (AssertionError, OSError, subprocess.SubprocessError, ValueError, KeyError) as e:
        problems[subject.name] = "failed: %s" % (str(e) or type(e).__name__)
        print("%s: %s" % (subject.name, problems[subject.name]), file=sys.stderr)
    return None


def summary(subject, results, problem):
    answer = {"name": subject.name, "survives": subject.survives, "problem": problem}
    if results:
        keys = [k for k in results[0] if isinstance(results[0][k], (int, float)) and not isinstance(results[0][k], bool)]
        answer["columns"] = {k: spread([r[k] for r in results if k in r]) for k in keys}
        answer["by_process"] = by_process(results)
        answer["series"] = [r["series"] for r in results if "series" in r]
        notes = [note_of(r) for r in results if note_of(r)]
        answer["note"] = notes[-1] if notes else ""
    return answer


def by_process(results):
    """Medians of {process: number}."""
    names = sorted({n for r in results for n in r.get("by_process", {})})
    return {n: statistics.median([r["by_process"].get(n, 0) for r in results if "by_process" in r]) for n in names}


def human(value):
    for limit, divisor, suffix in ((1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if abs(value) >= limit:
            return "%.2f%s" % (value / divisor, suffix)
    return "%.0f" % value if abs(value) >= 1000 else "%.3g" % value
