"""verify.py - compares what the load generator knows with what Roost kept and told

    verify.py --ledger FILE --data-dir DIR [--receipts FILE]    prints what is wrong, exits 1 if anything is

Promised: every acknowledged reading is in history (missing 0), once (duplicates 0), nothing that was never sent is
(phantom 0), the journal holds each alert transition once, and each reached the receiver under one key of its own.
History is looked at twice: through `roost query`, as a user does, and by the number of points in the day files, because
a query may hide a point that is stored twice.
"""
import argparse
import collections
import json
import os
import re
import sqlite3
import sys

import journal
import ledger as ledgers
import roost

METRIC = "level"
SHOWN = 3  # examples of each problem


class Findings:
    def __init__(self):
        self.counts = collections.Counter()
        self.examples = collections.defaultdict(list)

    def add(self, what, example, n=1):
        self.counts[what] += n
        if len(self.examples[what]) < SHOWN:
            self.examples[what].append(example)

    def text(self):
        return "; ".join("%d %s (%s)" % (n, what, ", ".join(self.examples[what])) for what, n in self.counts.items())


def check_points(device, sent, points, findings):
    """points: [(time_us, value)] as a query returned them; sent: {time_us: (n, value, acked)}."""
    stored = collections.Counter(t for t, _ in points)
    for t, value in points:
        if t not in sent:
            findings.add("phantom", "%s %d" % (device, t))
        elif sent[t][1] != float(value):
            findings.add("altered", "%s %d is %s, was %d" % (device, t, value, sent[t][1]))
    for t, n in stored.items():
        if n > 1:
            findings.add("duplicate", "%s %d" % (device, t), n - 1)
    for t, (n, _, acked) in sent.items():
        if acked and t not in stored:
            findings.add("missing", "%s number %d at %d" % (device, n, t))
    return len(stored)


def day_file_points(data_dir, device, metric):
    """Points in the blocks of all day files: duplicates that a query hides count here."""
    total = 0
    folder = os.path.join(data_dir, "history")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".db"):
            db = sqlite3.connect("file:%s?mode=ro" % os.path.join(folder, name), uri=True, timeout=20)
            try:
                total += db.execute("SELECT coalesce(sum(b.n), 0) FROM block b JOIN series s ON s.id = b.series "
                                    "WHERE s.device = ? AND s.metric = ?", (device, metric)).fetchone()[0]
            finally:
                db.close()
    return total


def check_history(data_dir, book, query, findings):
    """query(device) -> [(time_us, value)]. The caller made sure that history has caught up."""
    for device, sent in book.devices.items():
        if not sent:
            continue
        distinct = check_points(device, sent, query(device), findings)
        in_files = day_file_points(data_dir, device, METRIC)
        if in_files > distinct:
            findings.add("duplicate in day files", "%s %d" % (device, in_files - distinct), in_files - distinct)
        elif in_files < distinct:
            findings.add("not in day files", "%s %d" % (device, distinct - in_files), distinct - in_files)


def check_alerts(alerts, book, findings):
    """alerts: decoded ALERT records of the journal, in order."""
    seen = collections.Counter(a["id"] for a in alerts)
    for key, n in seen.items():
        if n > 1:
            findings.add("alert repeated in the journal", key, n - 1)
    got = collections.defaultdict(list)
    for a in alerts:
        if a["state"] in ("firing", "cleared"):
            got[a["device"]].append((a["state"], int(json.loads(a["values"])[METRIC])))
    for device in book.devices:
        want = book.transitions(device)
        have = got.pop(device, [])
        if have != want:
            lost = [t for t in want if t not in have]
            extra = [t for t in have if t not in want] or [t for t, n in collections.Counter(have).items() if n > 1]
            findings.add("alert missing", "%s %r" % (device, lost[:SHOWN]), len(lost))
            findings.add("alert too many", "%s %r" % (device, extra[:SHOWN]), len(extra))
            if not lost and not extra:
                findings.add("alerts out of order", device)
    for device, have in got.items():
        findings.add("alert of an unknown device", device, len(have))


def check_receipts(receipts, alerts, findings):
    """receipts: [(key, body, status)]. Each transition reached the receiver under exactly one key."""
    told = collections.defaultdict(set)
    for key, body, status in receipts:
        if status != 200:
            continue
        if not key:
            findings.add("notification without Idempotency-Key", str(body)[:80])
            continue
        told[transition_of(body)].add(key)
    for a in alerts:
        if a["state"] not in ("firing", "cleared"):
            continue
        keys = told.pop(a["id"], set())
        if not keys:
            findings.add("notification missing", "%s %s %s" % (a["device"], a["state"], a["id"]))
        elif len(keys) > 1:
            findings.add("notification under several keys", "%s: %s" % (a["id"], " ".join(sorted(keys))), len(keys) - 1)
    for transition, keys in told.items():
        findings.add("notification of no alert", str(transition), len(keys))


def check_state(latest, book, findings):
    """latest: {device: text of the value that Redis holds}. All that was sent is acknowledged: the last one sent counts."""
    for device, sent in book.devices.items():
        if not sent:
            continue
        _, value, _ = sent[max(sent)]
        if latest.get(device, "") == "":
            findings.add("latest value missing", device)
        elif latest[device] != str(value):
            findings.add("latest value wrong", "%s is %s, not %d" % (device, latest[device], value))


def parse_metrics(text):
    """{(metric, worker): value} of what `roost metrics` prints."""
    found = re.findall(r'^roost_(\w+)\{service="[^"]*",worker="([^"]*)"\} (\d+)$', text, re.M)
    return {(name, worker): int(value) for name, worker, value in found}


def total(counters, name, service):
    return sum(v for (n, worker), v in counters.items() if n == name and worker.split("-")[0] == service)


def check_counters(before, after, sent, resent, findings):
    """No worker died in between, and nothing else was published: each must have counted these messages once.

    And, in every life: what connectivity received is answered, refused included, or in flight. Nothing is, at rest."""
    def grown(name, service):
        return total(after, name, service) - total(before, name, service)
    for name, service in (("messages_total", "connectivity"), ("ingest_answered_total", "connectivity"),
                          ("messages_total", "limiter"), ("messages_total", "storage"), ("history_points_total", "sink")):
        if not sent <= grown(name, service) <= sent + resent:
            findings.add("counter off", "%s of %s grew by %d for %d" % (name, service, grown(name, service), sent))
    received = total(after, "messages_total", "connectivity")
    answered = total(after, "ingest_answered_total", "connectivity")
    in_flight = total(after, "ingest_in_flight", "connectivity")
    if received != answered + in_flight or in_flight != 0:
        findings.add("ledger does not add up", "received %d, answered %d, in flight %d" % (received, answered, in_flight))


def transition_of(body):
    return body.get("id") if isinstance(body, dict) else None


def told_alerts(receipts):
    """Alerts as they reached the receiver, once by their key, in order."""
    told = {key: body for key, body, status in receipts if status == 200 and isinstance(body, dict)}
    return [dict(body, values=json.dumps(body["values"])) for body in told.values()]


def check(data_dir, book, query, receipts=None, prefix_only=False, journal_is_whole=True):
    """prefix_only: devices of other loads were there before; theirs is not looked at. journal_is_whole: or else it was full and
    has let go of what all had read; then what the receiver was told counts as the alerts."""
    findings = Findings()
    check_history(data_dir, book, query, findings)
    prefix = book.prefix + "-" if prefix_only else ""
    alerts = journal.alerts(data_dir) if journal_is_whole else told_alerts(receipts)
    alerts = [a for a in alerts if a["device"].startswith(prefix)]
    if receipts is not None and prefix_only:
        receipts = [x for x in receipts if not isinstance(x[1], dict) or x[1].get("device", prefix).startswith(prefix)]
    check_alerts(alerts, book, findings)
    if receipts is not None:
        check_receipts(receipts, alerts, findings)
    for what in [w for w, n in findings.counts.items() if n == 0]:
        del findings.counts[what]
    return findings


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--receipts", help="JSON lines [key, body, status]")
    options = parser.parse_args(argv)
    book = ledgers.Ledger(options.ledger)
    instance = roost.Roost()  # only asked, never started
    instance.data_dir = options.data_dir
    receipts = None
    if options.receipts:
        with open(options.receipts, encoding="utf-8") as f:
            receipts = [json.loads(line) for line in f]
    try:
        findings = check(options.data_dir, book, lambda d: instance.query(d, METRIC), receipts)
    finally:
        instance.clean_up()
    print("sent %d, acknowledged %d: %s" % (book.sent, book.acked, findings.text() or "all accounted for"))
    return 1 if findings.counts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
