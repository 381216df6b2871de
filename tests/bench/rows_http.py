"""rows_http.py - rows in which readings come by HTTP, each answered when it is durable"""
import json
import os

import roost as support
from rows import Row
from rows_mqtt import OfServer, used
from servers import Roost

LOAD = os.path.join(support.B, "test/support/http_load")
COLUMNS = {"requests": "requests/s", "p50_ms": "p50, ms", "p99_ms": "p99, ms", "server_cpu_us": "server CPU, µs a reading",
           "generator_cpu_us": "generator CPU, µs a reading"}


def subject(bench, connections, samples):
    def measure(server):
        before = server.cpu()
        seconds = bench.seconds(3)
        out = support.run([LOAD, str(server.run.port_of("http")), str(connections), "%g" % seconds, str(samples)], seconds + 60)
        if out.returncode != 0:
            raise AssertionError("http_load ended with %d: %s" % (out.returncode, out.stderr))
        result = json.loads(out.stdout)
        after = server.cpu()
        readings = max(result["good"] * samples, 1)
        answer = {"value": result["good"] * samples / result["seconds"], "requests": result["good"] / result["seconds"],
                  "p50_ms": result["p50_us"] / 1e3, "p99_ms": result["p99_us"] / 1e3,
                  "server_cpu_us": sum(used(before, after, readings).values()),
                  "generator_cpu_us": result["cpu_s"] * 1e6 / readings, "by_process": used(before, after, readings)}
        if result["bad"] + result["lost"]:
            answer["note"] = "%d refused, %d connections lost" % (result["bad"], result["lost"])
        return answer
    s = OfServer(bench, Roost, measure).subject
    s.name = "Roost, %d connection%s" % (connections, "" if connections == 1 else "s")
    return s


Row("http-single", "HTTP ingest, one reading a request", "readings/s", "more",
    lambda bench: [subject(bench, n, 1) for n in ((100,) if bench.smoke or bench.quick else (1, 100, 1000))],
    "POST /v1/telemetry, JSON, keep-alive, one request at a time a connection; 200 after fdatasync", columns=COLUMNS,
    base="Roost, 100 connections")

Row("http-batch", "HTTP ingest, 100 readings a request", "readings/s", "more",
    lambda bench: [subject(bench, n, 100) for n in ((100,) if bench.smoke or bench.quick else (1, 100))],
    "as http-single, 100 samples of one device, one a line, each with its time", columns=COLUMNS, base="Roost, 100 connections")
