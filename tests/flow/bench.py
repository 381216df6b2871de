"""The benchmark's harness: one row, one short run, and a report that is whole. What it measures here means nothing."""
import html.parser
import json
import os
import re
import tempfile
import xml.etree.ElementTree

import roost


class Page(html.parser.HTMLParser):
    """Every tag that is opened is closed, and nothing is fetched."""
    VOID = {"meta", "br"}

    def __init__(self):
        super().__init__()
        self.open = []
        self.fetches = []

    def handle_starttag(self, tag, attrs):
        self.fetches += [v for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError("</%s> closes another tag" % tag)


def test_one_row_gives_a_whole_report():
    with tempfile.TemporaryDirectory(prefix="roost-bench-out-", dir="/dev/shm") as out:
        environment = dict(os.environ, SMOKE="1", T="q1-w100", RUNS="1", OUT=out, BENCH_DIR="/dev/shm")
        environment.pop("APPEND", None)
        done = roost.run([os.path.join(roost.ROOT, "tests/bench/run")], 60, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        with open(os.path.join(out, "report.json"), encoding="utf-8") as f:
            report = json.load(f)
        row, = report["rows"]
        subject, = row["subjects"]
        assert row["name"] == "q1-w100" and subject["name"] == "Roost" and not subject["problem"], row
        value = subject["columns"]["value"]
        assert value["median"] == value["min"] == value["max"] > 100, value
        assert subject["columns"]["p50_ms"]["median"] > 0 and subject["by_process"]["storage-0"] >= 0, subject
        assert not subject["note"], subject["note"]  # nothing lost, refused, unanswered
        assert report["machine"]["cores"] >= 1 and report["machine"]["fdatasync_4_kib"]["p50_us"] >= 0, report["machine"]
        with open(os.path.join(out, "report.txt"), encoding="utf-8") as f:
            text = f.read()
        assert re.search(r"^  Roost +\S", text, re.M) and "load average before" in text, text
        with open(os.path.join(out, "report.html"), encoding="utf-8") as f:
            page = f.read()
        parser = Page()
        parser.feed(page)
        assert not parser.open and not parser.fetches, (parser.open, parser.fetches)
        drawings = re.findall(r"<svg.*?</svg>", page, re.S)
        assert drawings, "no chart"
        for drawing in drawings:
            xml.etree.ElementTree.fromstring(drawing)


def test_a_row_that_does_not_exist_is_said():
    done = roost.run([os.path.join(roost.ROOT, "tests/bench/run")], 20, env=dict(os.environ, T="no-such-row"))
    assert done.returncode == 64 and "q1-w100" in done.stderr, done


if __name__ == "__main__":
    roost.main(globals())
