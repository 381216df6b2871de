"""databases.py - time-series databases beside Roost's history: VictoriaMetrics and InfluxDB, privately, on free loopback ports

A series is (name, [(time in ms, text of the value), ...]).
"""
import http.client
import json
import os
import urllib.parse

import roost as support
from servers import Server, free_port

CHUNK = 5000  # points in one import


def allocated(folder, suffix=""):
    """Bytes on disk of the files below it."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            if name.endswith(suffix):
                try:
                    total += os.lstat(os.path.join(path, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
    return total


class Database(Server):
    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            data = response.read()
            if response.status >= 300:
                raise AssertionError("%s %s: %d %s" % (method, path, response.status, data[:300]))
            return data
        finally:
            connection.close()

    def steady_size(self):
        """Merging has ended when the size stays the same for two seconds."""
        seen = []

        def still():
            seen.append(self.size())
            return len(seen) > 20 and len(set(seen[-20:])) == 1
        deadline = 60
        support.wait_for(lambda: still() or support.pause(0.1), deadline, "%s at rest" % self.name)
        return self.size()


class VictoriaMetrics(Database):
    name = "VictoriaMetrics"
    binary = "/usr/bin/victoria-metrics"
    package = "victoria-metrics"

    def command(self):
        return [self.binary, "-storageDataPath", os.path.join(self.folder, "data"), "-httpListenAddr",
                "127.0.0.1:%d" % self.port, "-retentionPeriod", "100y", "-loggerLevel", "ERROR",
                "-search.maxSamplesPerQuery", "1000000000"], {}

    def load(self, series):
        for name, points in series:
            for at in range(0, len(points), CHUNK):
                part = points[at:at + CHUNK]
                self.request("POST", "/api/v1/import", '{"metric":{"__name__":"value","device":%s},"values":[%s],'
                             '"timestamps":[%s]}\n' % (json.dumps(name), ",".join(v for _, v in part),
                                                     ",".join(str(t) for t, _ in part)))

    def finish_load(self):
        self.request("GET", "/internal/force_flush")
        self.request("GET", "/internal/force_merge")

    def size(self):
        return sum(allocated(os.path.join(self.folder, "data", d)) for d in ("data", "indexdb"))

    def data_size(self):
        return allocated(os.path.join(self.folder, "data", "data"))

    def query(self, name, start_ms, end_ms):
        """The points as CSV."""
        return self.request("GET", "/api/v1/export/csv?" + urllib.parse.urlencode({
            "format": "__timestamp__:unix_ms,__value__", "match[]": 'value{device=%s}' % json.dumps(name),
            "start": "%.3f" % (start_ms / 1000), "end": "%.3f" % (end_ms / 1000), "reduce_mem_usage": "1"}))


class Influx(Database):
    name = "InfluxDB"
    binary = "/usr/bin/influxd"
    package = "influxdb"

    def command(self):
        at = {k: os.path.join(self.folder, k) for k in ("meta", "data", "wal")}
        return [self.binary, "-config", self.write("influxdb.conf", "")], {
            "INFLUXDB_REPORTING_DISABLED": "true", "INFLUXDB_BIND_ADDRESS": "127.0.0.1:%d" % free_port(),
            "INFLUXDB_HTTP_BIND_ADDRESS": "127.0.0.1:%d" % self.port, "INFLUXDB_META_DIR": at["meta"],
            "INFLUXDB_DATA_DIR": at["data"], "INFLUXDB_DATA_WAL_DIR": at["wal"],
            "INFLUXDB_MONITOR_STORE_ENABLED": "false", "INFLUXDB_HTTP_LOG_ENABLED": "false",
            "INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION": "1s",
            "INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION": "1s", "INFLUXDB_DATA_QUERY_LOG_ENABLED": "false",
            "INFLUXDB_HTTP_MAX_ROW_LIMIT": "0"}

    def prepare(self):
        self.request("POST", "/query?" + urllib.parse.urlencode({"q": "CREATE DATABASE bench"}))

    def load(self, series):
        for name, points in series:
            for at in range(0, len(points), CHUNK):
                self.request("POST", "/write?db=bench&precision=ms", "\n".join(
                    "value,device=%s value=%s %d" % (name, v, t) for t, v in points[at:at + CHUNK]))

    def finish_load(self):
        """Nothing to ask for: it snapshots and compacts what was not written to for a second."""

    def size(self):
        return sum(allocated(os.path.join(self.folder, d)) for d in ("data", "wal"))

    def data_size(self):
        return allocated(os.path.join(self.folder, "data"), ".tsm")

    def query(self, name, start_ms, end_ms):
        return self.request("GET", "/query?" + urllib.parse.urlencode({
            "db": "bench", "epoch": "ms", "q": "SELECT value FROM value WHERE device='%s' AND time >= %dms AND time <= "
            "%dms" % (name, start_ms, end_ms)}), headers={"Accept": "application/csv"})
