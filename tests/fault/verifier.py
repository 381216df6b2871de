"""The verifier is worth something only if it finds what is planted: each of these must be caught, and a clean run not."""
import os
import shutil
import sqlite3
import struct

import growth
import journal
import ledger
import roost
import silences
import verify
from load import RULES, Load
from mqtt_proxy import Proxy
from roost import Roost, notify_yaml
from webhook import Receiver

HEADER = ledger.HEADER.size


def edit_entry(path, per_device, device, n, time_us, sends, acked):
    with open(path, "r+b") as f:
        f.seek(HEADER + (device * per_device + n) * ledger.ENTRY_SIZE)
        f.write(struct.pack("=qII", time_us, sends, acked))


def counts(findings):
    return dict(findings.counts)


def test_an_acknowledgement_before_the_commit_is_caught():
    """A liar in front of Roost acknowledges one message that it swallows."""
    with Roost() as r:
        proxy = Proxy(r.port, lie_at=1234)
        with Load(r, port=proxy.port, connections=20, rate=1000, seconds=4, per_device=300) as load:
            load.finish(30)
            assert proxy.lies == 1, proxy.seen
            assert counts(load.findings()) == {"missing": 1}, load.findings().text()
        proxy.close()


def test_lost_repeated_and_invented_readings_are_caught():
    with Roost() as r, Load(r, connections=10, rate=2000, seconds=3, per_device=700) as load:
        load.finish(30)
        assert counts(load.findings()) == {}, load.findings().text()
        book = load.book()
        copy = load.path + ".copy"
        shutil.copyfile(load.path, copy)

        def against(path):
            load.path, real = path, load.path
            try:
                return counts(load.findings())
            finally:
                load.path = real

        # Dropped: the device knows of one more acknowledged reading.
        times = list(book.devices["load-0003"])
        edit_entry(copy, 700, 3, len(times), times[-1] + 1000, 1, 1)
        assert against(copy) == {"missing": 1}, against(copy)
        # Sent but not acknowledged: may be missing.
        edit_entry(copy, 700, 3, len(times), times[-1] + 1000, 1, 0)
        assert against(copy) == {}, against(copy)
        # Invented: the last one was never sent.
        edit_entry(copy, 700, 3, len(times) - 1, 0, 0, 0)
        assert against(copy) == {"phantom": 1}, against(copy)
        os.unlink(copy)

        # Repeated, or altered, by what answers the query.
        points = r.query("load-0003", "level", "--since", "1d")
        for change, want in (
                (lambda p: p + p[:1], {"duplicate": 1}),
                (lambda p: p[1:], {"missing": 1}),
                (lambda p: [(p[0][0], "7")] + p[1:], {"altered": 1})):
            findings = verify.Findings()
            verify.check_points("load-0003", book.devices["load-0003"], change(points), findings)
            assert counts(findings) == want, (counts(findings), want)


def test_changed_day_files_are_caught():
    with Roost() as r, Load(r, connections=10, rate=2000, seconds=3, per_device=700) as load:
        load.finish(30)
        load.settle()
        folder = os.path.join(r.data_dir, "history")
        r.stop()
        backup = folder + ".backup"
        shutil.copytree(folder, backup)
        for statement, want in (
                ("DELETE FROM block WHERE rowid = (SELECT min(rowid) FROM block)", "missing"),
                ("INSERT INTO block(series, t_first, t_last, n, data) SELECT series, t_first, t_last, n, data FROM block LIMIT 1",
                 "duplicate in day files")):
            shutil.rmtree(folder)
            shutil.copytree(backup, folder)
            day = sorted(f for f in os.listdir(folder) if f.endswith(".db"))[-1]
            db = sqlite3.connect(os.path.join(folder, day))
            assert db.execute(statement).rowcount == 1
            db.commit()
            db.close()
            r.start()
            found = counts(load.findings())
            assert want in found, (statement, found)
            r.stop()


def test_alerts_and_notifications_that_are_wrong_are_caught():
    hook = Receiver()
    with Roost(rules=RULES, notify=notify_yaml(hook)) as r, Load(
            r, connections=10, rate=1000, seconds=3, per_device=400, flip=50) as load:
        load.finish(30)
        assert counts(load.findings(hook)) == {}, load.findings(hook).text()
        book = load.book()
        alerts = list(journal.alerts(r.data_dir))
        receipts = list(hook.receipts)
        assert len(alerts) >= 30 and len(receipts) >= 30, (len(alerts), len(receipts))
        other = dict(alerts[5], id="f" * 16)
        for change, want in (
                (alerts[1:], "alert missing"),
                (alerts + alerts[-1:], "alert repeated in the journal"),
                (alerts + [other], "alert too many")):
            findings = verify.Findings()
            verify.check_alerts(change, book, findings)
            assert findings.counts[want] >= 1, (want, counts(findings))
        key, body, status = receipts[0]
        same = [r for r in receipts if r[0] == key]
        for change, want in (
                ([x for x in receipts if x not in same], "notification missing"),
                (receipts + [(key + "-again", body, status)], "notification under several keys"),
                (receipts + [("k", dict(body, id="unknown"), 200)], "notification of no alert"),
                (receipts + [(None, body, 200)], "notification without Idempotency-Key")):
            findings = verify.Findings()
            verify.check_receipts(change, alerts, findings)
            assert counts(findings) == {want: 1}, (want, counts(findings))
        findings = verify.Findings()
        verify.check_receipts(receipts + [(key, body, status)], alerts, findings)
        assert counts(findings) == {}, counts(findings)  # a repeat under the same key is what keys are for
    hook.close()


def test_wrong_state_and_counters_are_caught():
    with Roost() as r, Load(r, connections=5, rate=1000, seconds=2, per_device=500) as load:
        load.finish(30)
        load.settle()
        book = load.book()
        latest = {d: str(sent[max(sent)][1]) for d, sent in book.devices.items()}
        for change, want in (({}, {}), ({"load-0002": ""}, {"latest value missing": 1}),
                             ({"load-0002": latest["load-0001"] + "0"}, {"latest value wrong": 1})):
            findings = verify.Findings()
            verify.check_state(dict(latest, **change), book, findings)
            assert counts(findings) == want, (change, counts(findings))

        # Counters of a run without faults, as they are and with one message more or less in one place.
        after = verify.parse_metrics(r.cli("metrics").stdout)
        none = {key: 0 for key in after}
        for key, by, want in (
                (None, 0, {}),
                (("messages_total", "limiter-0"), -1, {"counter off": 1}),
                (("messages_total", "storage-0"), 1, {"counter off": 1}),
                (("history_points_total", "sink-history"), -1, {"counter off": 1}),
                (("ingest_answered_total", "connectivity-0"), -1, {"counter off": 1, "ledger does not add up": 1}),
                (("ingest_in_flight", "connectivity-0"), 1, {"ledger does not add up": 1})):
            findings = verify.Findings()
            changed = dict(after)
            if key:
                changed[key] = changed.get(key, 0) + by
            verify.check_counters(none, changed, book.sent, 0, findings)
            assert counts(findings) == want, (key, counts(findings), findings.text())


def test_growth_is_caught():
    hours = range(0, 7200, 60)
    for grow, want in ((lambda t: (1, 10000, 20), ""), (lambda t: (t, 10000 + t % 7 * 300, 20 + t % 3), ""),
                       (lambda t: (1, 10000 + t, 20), "grows by 3600 KiB/h"), (lambda t: (1, 10000, 20 + t // 600), "descriptors"),
                       (lambda t: (1, 300000 if t == 600 else 10000, 20), "takes 300000 KiB")):
        g = growth.Growth()
        for t in hours:
            g.note({"storage-0": grow(t)}, now=t)
        problems = "; ".join(g.problems())
        assert want in problems and (problems == "") == (want == ""), (want, problems)


def test_silences_are_measured_as_they_were():
    quiet = [(1000, 16000), (101000, 350000), (380000, 395000), (900000, 907000)]
    for at, want in ((0, 16000), (20000, 0), (100000, 250000), (200000, 150000), (860000, 0)):
        assert silences.flowing_after(quiet, at) == want, (at, silences.flowing_after(quiet, at))
    assert silences.percentile(list(range(1, 101)), 0.99) == 99 and silences.percentile([5], 0.99) == 5


if __name__ == "__main__":
    roost.main(globals())
