"""rows_store.py - rows of history: bytes a point on real recordings, range queries; VictoriaMetrics and InfluxDB beside it"""
import calendar
import csv
import glob
import os
import statistics
import time

import mqtt
import roost as support
from databases import Influx, VictoriaMetrics, allocated
from rows import Row, Skipped, Subject
from rows_mqtt import OfServer
from servers import LAG_OF_TICKS, Roost

DAY_MS = 86400000
WINDOW = 50  # messages outstanding while history is filled


class History(Roost):
    """Roost as a store of old points."""
    settings = dict(Roost.settings, **{"history.retention_days": "36500", "sink.drivers": "history",
                                  "history.pack_after": "1s"})
    rules = ""
    workers = [w for w in support.WORKERS if w != "sink-state"]

    def load(self, series):
        """Day by day, as devices send them that upload what they measured once a day: arrays of readings at QoS 1."""
        client = mqtt.Client(self.port, "recordings", timeout=60)
        days = {}
        for name, points in series:
            for t, v in points:
                days.setdefault(t // DAY_MS, {}).setdefault(name, []).append((t, v))
        sent = answered = 0
        for day in sorted(days):
            for name, points in days[day].items():
                payload = "[%s]" % ",".join('{"ts":%d,"values":{"value":%s}}' % p for p in points)
                client.publish("roost/%s/telemetry" % name, payload, sent % 65535 + 1)
                sent += 1
                while sent - answered >= WINDOW:
                    answered += self.answer(client)
        while answered < sent:
            answered += self.answer(client)
        client.sock.close()

    @staticmethod
    def answer(client):
        first, _ = client.receive()
        return 1 if first == mqtt.PUBACK else 0

    def finish_load(self):
        """History has all of it when its cursor has reached the end; then the rest of its blocks is written at a stop."""
        self.run.wait_for(lambda: self.lag() <= LAG_OF_TICKS, 60, "history has read the journal")

    def lag(self):
        lags = [f["lag_bytes"] for f in self.run.status()["followers"] if f["group"] == "history"]
        return max(lags) if lags else LAG_OF_TICKS + 1

    def steady_size(self):
        self.settle_history()
        return self.size()

    def settle_history(self):
        seen = []

        def still():
            seen.append(self.size())
            return len(seen) > 80 and len(set(seen[-80:])) == 1  # eight seconds: longer than history.flush and a pack
        support.wait_for(lambda: still() or support.pause(0.1), 60, "history at rest")

    def size(self):
        return allocated(os.path.join(self.folder, "data", "history"))

    def data_size(self):
        return self.size()

    def query(self, name, start_ms, end_ms, metric="value"):
        out = self.run.cli("query", name, metric, "--csv", "--since", iso(start_ms), "--until", iso(end_ms), seconds=60)
        if out.returncode != 0:
            raise AssertionError("roost query: %s" % out.stderr)
        return out.stdout.encode()


def iso(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + ".%03dZ" % (ms % 1000)


def recordings(folder):
    """[(name, points)] of every *.csv with lines `timestamp,value` below a header."""
    series = []
    for path in sorted(glob.glob(os.path.join(folder, "*.csv"))):
        with open(path, encoding="utf-8") as f:
            points = {}
            for row in list(csv.reader(f))[1:]:
                at = calendar.timegm(time.strptime(row[0][:19], "%Y-%m-%d %H:%M:%S")) * 1000
                points[at] = row[1]
        series.append((os.path.basename(path)[:-4], sorted(points.items())))
    return series


def copies(series, n):
    return [("%s-%04d" % (name, i), points) for i in range(n) for name, points in series]


def size_subjects(fleet):
    def subjects(bench):
        series = recordings(bench.data) if bench.data else []
        if not series:
            why = "not run: no recordings (*.csv, lines of timestamp,value) in the folder named by DATA"
            return [Subject(k.name, None, skip=why) for k in (Roost, VictoriaMetrics, Influx)]
        if fleet:
            series = copies(series, 8 if bench.quick else 40)
        count = sum(len(points) for _, points in series)

        def measure(server):
            begun = time.monotonic()
            server.load(series)
            took = time.monotonic() - begun
            server.finish_load()
            size = server.steady_size()
            name, points = series[0]
            got = len(server.query(name, points[0][0], points[-1][0]).decode().strip().split("\n"))
            if got not in (len(points), len(points) + 1):  # with or without a header
                raise AssertionError("%d points of %d came back" % (got, len(points)))
            return {"value": size / count, "data_only": server.data_size() / count, "total_mib": size / 1048576,
                    "points": count, "series_count": len(series), "load_s": took}
        return [named(OfServer(bench, kind, measure).subject, label) for kind, label in (
            (History, Roost.name), (VictoriaMetrics, VictoriaMetrics.name), (Influx, Influx.name))]
    return subjects


def named(subject, name):
    subject.name = name
    return subject


def one_run(_):
    return 1


SIZE_COLUMNS = {"data_only": "without index, bytes a point", "total_mib": "in all, MiB", "points": "points", "series_count": "series",
                "load_s": "to load, s"}
Row("history-size", "History on disk: the recordings as they are", "bytes a point", "less", size_subjects(False),
    "real sensor recordings, one device each, years of which are sparse; files as allocated on disk, after flush and merge",
    runs=one_run, columns=SIZE_COLUMNS)
Row("history-fleet", "History on disk: a fleet with these recordings", "bytes a point", "less", size_subjects(True),
    "each recording by 40 devices (8 with QUICK), sent day by day; files as allocated on disk, after flush and merge",
    runs=one_run, columns=SIZE_COLUMNS)


# --- range queries ---

YEAR_POINTS = 525600
YEAR_DEVICE = "year-0000000"


def query_subjects(bench):
    points_wanted = YEAR_POINTS // 12 if bench.quick else YEAR_POINTS
    step_us = 60000000
    end_ms = int(time.time()) // 86400 * DAY_MS
    begin_ms = end_ms - points_wanted * (step_us // 1000)
    ranges = {"day": 1440, "month": 43200, "year": points_wanted}
    loaded = []

    def fill_roost(server):
        bench.flood(server.port, "--connections", 1, "--count", points_wanted, "--window", 100, "--from-us",
                    begin_ms * 1000, "--step-us", step_us, seconds=100, warmup=0, prefix="year")
        server.finish_load()
        server.settle_history()
        text = server.query(YEAR_DEVICE, begin_ms, end_ms, "temperature").decode()
        rows = list(csv.reader(text.strip().split("\n")))[1:]
        loaded[:] = [(support.time_us(r[0]) // 1000, r[1]) for r in rows]
        if len(loaded) != points_wanted:
            raise AssertionError("%d points of %d are in history" % (len(loaded), points_wanted))

    def fill_other(server):
        if not loaded:
            raise Skipped("Roost, whose points it gets, did not run")
        server.load([(YEAR_DEVICE, loaded)])
        server.finish_load()
        server.steady_size()

    def measure_of(kind):
        def measure(server):
            answer = {}
            for name, count in ranges.items():
                took = []
                for _ in range(5):
                    begun = time.perf_counter()
                    if kind is History:
                        data = server.query(YEAR_DEVICE, end_ms - count * 60000, end_ms, "temperature")
                    else:
                        data = server.query(YEAR_DEVICE, end_ms - count * 60000, end_ms)
                    took.append((time.perf_counter() - begun) * 1000)
                lines = data.count(b"\n")
                if not count <= lines <= count + 2:
                    raise AssertionError("%d lines for %d points" % (lines, count))
                answer[name + "_ms"] = statistics.median(took)
            answer["value"] = answer["month_ms"]
            return answer
        return measure

    def subject(kind, label, fill):
        held = OfServer(bench, kind, measure_of(kind))

        def prepare():
            held.start()
            fill(held.server)
        held.kind = type(kind.__name__, (kind,), {"keep": True})
        return Subject(label, held.measure, prepare, held.finish)
    return [subject(History, Roost.name, fill_roost), subject(VictoriaMetrics, VictoriaMetrics.name, fill_other),
            subject(Influx, Influx.name, fill_other)]


Row("query", "Range query of one metric, a point a minute for a year", "ms for 30 days", "less", query_subjects,
    "all points as CSV: `roost query` with its start, the others by HTTP to a running server; medians of five; a month in "
    "place of the year with QUICK", columns={"day_ms": "1 day, ms", "month_ms": "30 days, ms", "year_ms": "a year, ms"})
