"""rows_coap.py - the row of CoAP ingest: confirmable POSTs, each answered when its reading is durable"""
import json
import os

import roost as support
from rows import Row
from rows_mqtt import OfServer
from servers import Roost

LOAD = os.path.join(support.B, "test/support/coap_load")


class CoapRoost(Roost):
    settings = dict(Roost.settings, **{"coap.listen": "127.0.0.1:0"})


def subjects(bench):
    def of_window(window, sockets):
        def measure(server):
            begun = server.cpu()
            out = support.run([LOAD, "--port", str(server.run.port_of("coap")), "--sockets", str(sockets), "--window", str(window),
                               "--seconds", "%g" % bench.seconds(5), "--warmup", "1"], 120)
            if out.returncode != 0:
                raise AssertionError("coap_load ended with %d: %s" % (out.returncode, out.stderr))
            result = json.loads(out.stdout)
            cpu = sum(server.cpu().values()) - sum(begun.values())
            assert result["refused"] == 0 and result["given_up"] == 0, result
            return {"value": result["rate"], "p50": result["p50_us"] / 1000, "p99": result["p99_us"] / 1000,
                    "repeats": result["repeats"], "cpu": cpu * 1e6 / max(1, result["acknowledged"])}
        s = OfServer(bench, CoapRoost, measure).subject
        s.name = "Roost, %d devices x %d" % (sockets, window)
        return s
    return [of_window(8, 64), of_window(1, 256)]


Row("coap", "CoAP ingest: confirmable POSTs, 2.04 after fdatasync", "messages/s", "more", subjects,
    "one small JSON reading a request, each device a socket of its own with so many requests outstanding; the generator sends each by a "
    "system call of its own",
    columns={"p50": "ms", "p99": "ms", "repeats": "requests sent again", "cpu": "µs server CPU a message (warm-up included)"},
    base="Roost, 64 devices x 8", acknowledged=True)
