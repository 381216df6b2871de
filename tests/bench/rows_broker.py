"""rows_broker.py - rows in which clients talk to each other: from publishers to subscribers, retained messages, subscriptions

The generator is both sides. A rate is that of the messages that came; what is missing at QoS 1 or 2 is said below the row.
"""
import json
import subprocess
import threading
import time

import roost as support
from rows import FLOOD, Row
from rows_mqtt import CPU_COLUMNS, LATENCY_COLUMNS, feed, kinds_for, subjects_of, total, used
from servers import Mosquitto, MosquittoNagle, Roost

KINDS = [Roost, Mosquitto, MosquittoNagle]
RELAY_COLUMNS = {"published": "published, messages/s", "p50_ms": LATENCY_COLUMNS["p50_ms"], "p99_ms": LATENCY_COLUMNS["p99_ms"],
                 **CPU_COLUMNS, "generator_busy": "generator, processors", "shed": "shed"}
SUBSCRIPTIONS = 100000
RETAINED = 100000

# Beyond what one client, and one worker, may have without being asked.
ROOM = {"mqtt.subscriptions_max": str(SUBSCRIPTIONS), "mqtt.retained_max": str(2 * RETAINED), "mqtt.retained_mib": "256"}


class RoomyRoost(Roost):
    settings = dict(Roost.settings, **ROOM)


ROOMY = [RoomyRoost, Mosquitto, MosquittoNagle]
ROOM_TEXT = "Roost with " + ", ".join("%s %s" % kv for kv in sorted(ROOM.items()))


def wrong(result):
    """What must be zero, in words."""
    keys = ("lost", "repeated", "refused", "disconnected", "unexpected", "stalls")
    text = ["%d %s" % (result[k], k) for k in keys if result[k]]
    if result["acked"] != result["sent"]:
        text.append("%d not answered" % (result["sent"] - result["acked"]))
    return ", ".join(text)


def relayed(server, bench, flags, seconds, warmup=1):
    before = server.cpu()
    result = bench.flood(server.port, *flags, seconds=seconds, warmup=warmup, prefix="r")
    after = server.cpu()
    count = max(result["delivered"] or result["sent"], 1)
    latency = result["latency_us"]
    answer = {
        "value": result["rate"], "published": result["published_rate"], "generator_busy": result["generator_busy"],
        "server_cpu_us": (total(after) - total(before)) * 1e6 / count, "generator_cpu_us": result["cpu_us_per_message"],
        "by_process": used(before, after, count), "shed": result["shed"],
    }
    if latency["n"]:
        answer.update({"p50_ms": latency["p50"] / 1e3, "p99_ms": latency["p99"] / 1e3})
    if wrong(result):
        answer["note"] = wrong(result)
    return answer


# --- from publishers to subscribers ---

def relay_row(name, title, publishers, subscribers, qos, window, ahead):
    flags = ["--publishers", publishers, "--subscribers", subscribers, "--qos", qos, "--window", window, "--ahead", ahead,
             "--topic", "d/{}/telemetry"]

    def subjects(bench):
        return subjects_of(bench, kinds_for(bench, *KINDS),
                           lambda server: relayed(server, bench, flags, bench.seconds(4)))
    held = "at most %d messages under way" % ahead + (", %d of a publisher not acknowledged" % window if qos else "")
    Row(name, title, "messages delivered/s", "more", subjects,
        "payload of 64 bytes, topics d/N/telemetry; %s; server CPU is that of a delivered message" % held, columns=RELAY_COLUMNS)


relay_row("relay-1-1-q0", "One publisher, one subscriber, QoS 0", 1, 1, 0, 100, 2000)
relay_row("relay-1-1-q1", "One publisher, one subscriber, QoS 1", 1, 1, 1, 2000, 2000)
relay_row("relay-1-1-q2", "One publisher, one subscriber, QoS 2", 1, 1, 2, 2000, 2000)
relay_row("relay-100-1-q0", "100 publishers, one subscriber, QoS 0", 100, 1, 0, 100, 20000)
relay_row("relay-100-1-q1", "100 publishers, one subscriber, QoS 1", 100, 1, 1, 100, 2000)
relay_row("relay-1-1000-q0", "One publisher, 1,000 subscribers, QoS 0", 1, 1000, 0, 100, 100)
relay_row("relay-1-1000-q1", "One publisher, 1,000 subscribers, QoS 1", 1, 1000, 1, 100, 100)


# --- retained messages ---

STORM = ["--topic", "storm/{}/state", "--qos", 1]


def some(bench, count):
    return count // 100 if bench.smoke else count // 5 if bench.quick else count


def publish_retained(server, bench):
    n = some(bench, RETAINED)
    return relayed(server, bench, STORM + ["--publishers", 1, "--retain", "--topics", n, "--count", n, "--window", 1000],
                   120, warmup=0)


def storm_subjects(bench):
    return subjects_of(bench, kinds_for(bench, *ROOMY), lambda server: publish_retained(server, bench))


def storm_get_subjects(bench):
    def measure(server):
        published = publish_retained(server, bench)
        n = some(bench, RETAINED)
        answer = relayed(server, bench, ["--subscribers", 1, "--filter", "storm/#", "--qos", 1, "--expect", n], 20)
        answer["seconds"] = n / answer["value"] if answer["value"] else 0
        answer["pss"] = sum(server.pss().values()) / 1024
        if "note" in published:
            answer["note"] = published["note"]
        return answer
    return subjects_of(bench, kinds_for(bench, *ROOMY), measure)


Row("retained-set", "Retained storm: 100,000 topics set", "messages/s", "more", storm_subjects,
    "QoS 1, one publisher, window 1,000, until the last is acknowledged; 20,000 with QUICK; " + ROOM_TEXT, columns=CPU_COLUMNS)
Row("retained-get", "Retained storm: a new subscriber gets 100,000", "messages/s", "more", storm_get_subjects,
    "QoS 1, filter storm/#, from SUBSCRIBE to the last message, each once; 20,000 with QUICK; " + ROOM_TEXT,
    columns=dict(CPU_COLUMNS, seconds="for all, s", pss="then, MiB PSS"))


# --- subscriptions ---

class Subscribed:
    """Clients that have subscribed, one filter to a packet, and stay."""

    def __init__(self, server, clients, each):
        argv = [FLOOD, "--port", str(server.port), "--mode", "subscribe", "--subscribers", str(clients), "--subscriptions", str(each),
                "--filter", "fleet/{}/+/state", "--window", str(max(1, 1000 // clients)), "--qos", "1", "--seconds", "120",
                "--prefix", "sub"]
        self.before = server.cpu()
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told = json.loads(self.proc.stdout.readline())
        self.after = server.cpu()
        if self.told["subscribed"] != clients * each:
            raise AssertionError("not all are subscribed: %s" % self.told)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.stdin.close()
        self.proc.wait(60)
        self.proc.stdout.close()


def clients_of(bench, clients):
    """(clients, subscriptions of each)"""
    return clients, some(bench, SUBSCRIPTIONS) // clients


def subscribe_subjects(clients):
    def subjects(bench):
        def measure(server):
            n, each = clients_of(bench, 10 if bench.smoke and clients > 1 else clients)
            with Subscribed(server, n, each) as held:
                rate = n * each / held.told["seconds"]
                return {"value": rate, "server_cpu_us": (total(held.after) - total(held.before)) * 1e6 / (n * each),
                        "by_process": used(held.before, held.after, n * each)}
        return subjects_of(bench, kinds_for(bench, *ROOMY), measure)
    return subjects


def subscription_memory(bench):
    """Beside as many clients that have one subscription each, so that it is the subscriptions that are weighed."""
    def measure(server):
        n, each = clients_of(bench, 10 if bench.smoke else 1000)
        with Subscribed(server, n, 1):
            before = sum(server.pss().values())
        with Subscribed(server, n, each):
            after = sum(server.pss().values())
        return {"value": (after - before) * 1024 / (n * (each - 1))}
    return subjects_of(bench, kinds_for(bench, *ROOMY), measure)


def among_subjects(bench):
    def measure(server):
        n, each = clients_of(bench, 10 if bench.smoke else 1000)
        flags = ["--publishers", 1, "--subscribers", 1, "--qos", 0, "--topic", "fleet/{}/7/other", "--ahead", 2000]
        without = relayed(server, bench, flags, bench.seconds(2))
        with Subscribed(server, n, each):
            answer = relayed(server, bench, flags, bench.seconds(2))
        answer["without"] = without["value"]
        return answer
    return subjects_of(bench, kinds_for(bench, *ROOMY), measure)


SUBSCRIBE_TEXT = ("filters fleet/N/+/state, one to a packet, QoS 1, at most 1,000 packets not answered in all, to the last SUBACK; "
                  "20,000 with QUICK; ") + ROOM_TEXT
Row("subscribe-one", "One client makes 100,000 subscriptions", "subscriptions/s", "more", subscribe_subjects(1), SUBSCRIBE_TEXT,
    columns=CPU_COLUMNS)
Row("subscribe-many", "1,000 clients make 100 subscriptions each", "subscriptions/s", "more", subscribe_subjects(1000),
    SUBSCRIBE_TEXT, columns=CPU_COLUMNS)
Row("subscribe-memory", "Memory of a subscription", "bytes PSS", "less", subscription_memory,
    "1,000 clients x 100 subscriptions, less the same clients with one; fleet/N/+/state; " + ROOM_TEXT)
Row("subscribe-relay", "One publisher, one subscriber, QoS 0, beside 100,000 subscriptions", "messages delivered/s", "more",
    among_subjects, "1,000 clients x 100 subscriptions fleet/N/+/state; published to fleet/N/7/other; " + ROOM_TEXT,
    columns=dict(RELAY_COLUMNS, without="without them, messages/s"))


# --- sessions that are kept ---

def kept_subjects(bench):
    def measure(server):
        before = server.cpu()
        result = bench.flood(server.port, "--mode", "connect", "--connections", 50, "--persistent", "--ids", 10000,
                             seconds=bench.seconds(2.5))
        after = server.cpu()
        count = max(result["connects"], 1)
        answer = {"value": result["rate"], "server_cpu_us": (total(after) - total(before)) * 1e6 / count,
                  "generator_cpu_us": result["cpu_us_per_message"], "by_process": used(before, after, count)}
        answer.update({k: result["latency_us"][k[:-3]] / 1e3 for k in ("p50_ms", "p99_ms")})
        bad = ["%d %s" % (result[k], k) for k in ("lost", "refused", "unexpected") if result[k]]
        if bad:
            answer["note"] = ", ".join(bad)
        return answer
    return subjects_of(bench, kinds_for(bench, Roost, Mosquitto), measure)


Row("connect-kept", "Connect rate with sessions that are kept", "connects/s", "more", kept_subjects,
    "as connect, clean session 0, 10,000 client ids in turn; Roost's sessions are in Redis before CONNACK, mosquitto's in its memory",
    columns={"p50_ms": "p50, ms", "p99_ms": "p99, ms", **CPU_COLUMNS})


# --- the same with somebody else's client ---

class Counting(threading.Thread):
    """mosquitto_sub, known to be subscribed by a marker that it has got; counts the lines that are not it."""

    def __init__(self, port, count):
        super().__init__(daemon=True)
        self.port = port
        self.count = count
        self.subscribed = threading.Event()
        self.done = threading.Event()
        self.proc = subprocess.Popen(["stdbuf", "-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t",
                                      "cross/#", "-F", "%t"], stdout=subprocess.PIPE, text=True)
        self.start()
        support.wait_for(self.marked, 10, "mosquitto_sub to be subscribed")

    def run(self):
        left = self.count
        for line in self.proc.stdout:
            self.subscribed.set()
            left -= "marker" not in line
            if left == 0:
                self.done.set()

    def marked(self):
        support.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-t", "cross/marker", "-m", "1"], 10)
        return self.subscribed.is_set()

    def finish(self):
        self.proc.terminate()
        self.proc.wait(20)
        self.join(20)
        self.proc.stdout.close()


def cross_subjects(bench):
    clients, each = (2, 500) if bench.smoke else (10, 2000 if bench.quick else 10000)
    line = "x" * 64 + "\n"

    def theirs(server):
        sub = Counting(server.port, clients * each)
        try:
            procs = [subprocess.Popen(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(server.port), "-q", "1", "-l", "-t",
                                       "cross/%d/t" % n], stdin=subprocess.PIPE) for n in range(clients)]
            begun = time.monotonic()
            feeders = [threading.Thread(target=feed, args=(p, (line * each).encode())) for p in procs]
            for f in feeders:
                f.start()
            came = sub.done.wait(120)
            took = time.monotonic() - begun
            for p, f in zip(procs, feeders):
                f.join(60)
                p.wait(60)
            if not came:
                raise AssertionError("not every message came to mosquitto_sub")
            return {"value": clients * each / took, "messages": clients * each}
        finally:
            sub.finish()

    def ours(server):
        answer = relayed(server, bench, ["--publishers", clients, "--subscribers", 1, "--qos", 1, "--window", 20, "--small-writes",
                                         "--topic", "cross/{}/t", "--count", clients * each], 60, warmup=0)
        answer["messages"] = clients * each
        return answer

    subjects = []
    for label, measure in (("mosquitto_pub and _sub", theirs), ("flood", ours)):
        for s in subjects_of(bench, kinds_for(bench, Roost, Mosquitto), measure):
            s.name += " by " + label
            subjects.append(s)
    return subjects


Row("relay-cross-check", "QoS 1, ten clients to one: mosquitto_pub to mosquitto_sub, and our generator", "messages delivered/s", "more",
    cross_subjects, "mosquitto_pub -l, ten processes, 20 messages outstanding each, starting included; flood with the same "
    "connections, window and one packet a write", columns={"messages": "messages"}, base="Roost by flood")
