"""report.py - the report: rows that are kept from run to run, as text, JSON and a page that needs nothing else"""
import html
import json
import os

import chart
from rows import human, spread

STYLE = """
:root { --back: #fcfcfa; --ink: #1d2021; --soft: #5f666a; --grid: #dcdcd6; --ours: #0b6e5f; --peer: #8a9199; --spread: #1d2021;
  --line0: #0b6e5f; --line1: #b3541e; --line2: #3557a8; --line3: #8a4b91; }
@media (prefers-color-scheme: dark) { :root { --back: #16191b; --ink: #e8e6e1; --soft: #a2a9ad; --grid: #353b3f; --ours: #3fbfa6;
  --peer: #7b858c; --spread: #e8e6e1; --line0: #3fbfa6; --line1: #e58a4e; --line2: #84a6ee; --line3: #cf93d4; } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; margin: 0 auto;
  max-width: 60rem; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2.6rem 0 .2rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); font-size: .88rem; }
table { border-collapse: collapse; font-size: .86rem; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .18rem .7rem .18rem 0; text-align: right; border-bottom: 1px solid var(--grid); vertical-align: top; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; } th { font-weight: 600; color: var(--soft); }
div.wide { overflow-x: auto; }
svg { width: 100%; height: auto; margin: .4rem 0; } svg text { font-size: 13px; fill: var(--ink); }
svg .tick, svg .unit { fill: var(--soft); font-size: 12px; } svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--soft); }
svg .ours { fill: var(--ours); } svg .peer { fill: var(--peer); } svg .spread { stroke: var(--spread); stroke-width: 1.5; }
svg .line { fill: none; stroke-width: 1.8; }
svg .line0 { stroke: var(--line0); } svg .line1 { stroke: var(--line1); } svg .line2 { stroke: var(--line2); }
svg .line3 { stroke: var(--line3); } svg .text0 { fill: var(--line0); } svg .text1 { fill: var(--line1); }
svg .text2 { fill: var(--line2); } svg .text3 { fill: var(--line3); }
"""


FORMAT = 2  # of report.json; rows of another one are measured anew


def load(folder):
    try:
        with open(os.path.join(folder, "report.json"), encoding="utf-8") as f:
            told = json.load(f)
        if told.get("format") == FORMAT:
            return told
    except (OSError, ValueError):
        pass
    return {"format": FORMAT, "machine": {}, "rows": []}


def pooled(old, new):
    """The runs of both, as one row: for rows that take longer than one sitting allows."""
    before = {s["name"]: s for s in old["subjects"]}
    for s in new["subjects"]:
        other = before.get(s["name"], {})
        for column in s.get("columns", {}):
            if column in other.get("columns", {}):
                s["columns"][column] = spread(other["columns"][column]["runs"] + s["columns"][column]["runs"])
        if not s.get("columns") and other.get("columns"):
            s.update(columns=other["columns"], problem=other["problem"])
        s["series"] = other.get("series", []) + s.get("series", [])
    new["runs"] += old["runs"]
    return new


def merge(report, row, append, order):
    rows = {r["name"]: r for r in report["rows"]}
    if append and row["name"] in rows:
        row = pooled(rows[row["name"]], row)
    rows[row["name"]] = row
    report["rows"] = [rows[n] for n in order if n in rows]


def base_of(row):
    for s in row["subjects"]:
        if s["name"] == row["base"] and s.get("columns"):
            return s["columns"]["value"]["median"]
    return None


def ratio(row, subject):
    """How many times better the base is than the subject, by medians of the same row."""
    base = base_of(row)
    value = subject["columns"]["value"]["median"]
    if not base or not value or subject["name"] == row["base"]:
        return ""
    times = base / value if row["better"] == "more" else value / base
    return "%.2fx" % times if times < 100 else "%.0fx" % times


def number(value):
    return human(value).strip()


def of_spread(s):
    if len(s["runs"]) == 1 or s["min"] == s["max"]:
        return number(s["median"])
    return "%s (%s - %s)" % (number(s["median"]), number(s["min"]), number(s["max"]))


def table(row):
    """(header, lines) of a row; subjects without figures say why."""
    columns = [c for c in row["columns"] if any(c in s.get("columns", {}) for s in row["subjects"])]
    header = ["", row["unit"], "%s is better by" % row["base"]] + [row["columns"][c] for c in columns]
    lines = []
    for s in row["subjects"]:
        if not s.get("columns"):
            lines.append([s["name"], s["problem"] or "no figures"])
            continue
        cells = [s["name"], of_spread(s["columns"]["value"]), ratio(row, s)]
        cells += [number(s["columns"][c]["median"]) if c in s["columns"] else "" for c in columns]
        lines.append(cells)
    return header, lines


def processes(row):
    """(header, lines) of figures by process, for what has several."""
    shown = [s for s in row["subjects"] if len(s.get("by_process", {})) > 1 and s["name"].startswith(("Roost", "kill"))]
    names = sorted({n for s in shown for n in s["by_process"]})
    return [""] + names, [[s["name"]] + [number(s["by_process"].get(n, 0)) for n in names] for s in shown]


def conditions(row):
    load = row["load_before"]
    stolen = "" if row.get("stolen_percent") is None else "; %.1f %% of the processors went to other machines" % row["stolen_percent"]
    return "%s; %d run%s; load average before %.2f %.2f %.2f%s; %s, commit %s" % (
        row["conditions"], row["runs"], "" if row["runs"] == 1 else "s", load[0], load[1], load[2], stolen, row["at"],
        row.get("commit", "?"))


def notes(row):
    lines = []
    for s in row["subjects"]:
        if s.get("survives") and row["acknowledged"]:
            lines.append("%s: what is acknowledged survives %s" % (s["name"], s["survives"]))
        if s.get("note"):
            lines.append("%s: %s" % (s["name"], s["note"]))
        if s.get("problem") and s.get("columns"):
            lines.append("%s: %s" % (s["name"], s["problem"]))
    return lines


def machine_lines(m):
    if not m:
        return []
    d, s = m["data_folder"], m["fdatasync_4_kib"]
    return [
        "%s, %d cores, %d MiB, %s, kernel %s, %s" % (m["cpu"], m["cores"], m["memory_mib"], m["system"], m["kernel"],
                                                    "virtual: " + m["virtual"]),
        "data on %s, %s (%s), %d GiB free; append + fdatasync of 4 KiB: p50 %d us, p99 %d us, longest %d us" % (
            d["device"], d["file_system"], d["options"], d["free_gib"], s["p50_us"], s["p99_us"], s["max_us"]),
        "%s, commit %s; %s" % (m["roost"]["version"], m["roost"]["commit"],
                               ", ".join("%s %s" % p for p in sorted(m["packages"].items()))),
        "load average %.2f %.2f %.2f at %s%s" % (*m["load_average"], m["time"],
                                                "; in a network namespace of its own" if m.get("own_network") else ""),
    ]


def padded(header, lines):
    """A table as text; a line of fewer cells than the header runs on."""
    full = [header] + [x for x in lines if len(x) == len(header)]
    widths = [max(len(x[i]) for x in full) for i in range(len(header))]
    out = []
    for cells in [header] + lines:
        if len(cells) < len(header):
            out.append("  %s  %s" % (cells[0].ljust(widths[0]), "; ".join(cells[1:])))
        else:
            out.append("  " + "  ".join([cells[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(cells[1:], widths[1:])]))
    return out


def as_text(report):
    out = ["Roost: benchmark", ""] + machine_lines(report["machine"]) + [
        "Medians; in brackets the smallest and the largest run. Ratios are of medians within one row.", ""]
    for row in report["rows"]:
        out += ["%s: %s" % (row["name"], row["title"])] + padded(*table(row))
        header, lines = processes(row)
        if lines:
            out += ["  by process, %s:" % per_process_unit(row)] + padded(header, lines)
        out += ["  " + n for n in notes(row)] + ["  (%s)" % conditions(row), ""]
    return "\n".join(out) + "\n"


def per_process_unit(row):
    return row["unit"] if "PSS" in row["unit"] else row["columns"].get("server_cpu_us", row["unit"])


def html_table(header, lines):
    out = ["<div class=wide><table><tr>%s</tr>" % "".join("<th>%s</th>" % html.escape(h) for h in header)]
    for cells in lines:
        span = len(header) - len(cells)
        tds = ["<td>%s</td>" % html.escape(c) for c in cells]
        if span:
            tds[-1] = '<td colspan="%d" style="text-align:left">%s</td>' % (span + 1, html.escape(cells[-1]))
        out.append("<tr>%s</tr>" % "".join(tds))
    return "".join(out) + "</table></div>"


def as_page(report):
    out = ["<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
           "<meta name=color-scheme content='light dark'><title>Roost: benchmark</title><style>%s</style></head><body>" % STYLE,
           "<h1>Roost: benchmark</h1>"]
    out += ["<p class=soft>%s</p>" % html.escape(x) for x in machine_lines(report["machine"])]
    out.append("<p class=soft>Bars are medians, with the smallest and the largest run. Ratios are of medians within one row.</p>")
    for row in report["rows"]:
        out.append('<h2 id="%s">%s</h2>' % (row["name"], html.escape(row["title"])))
        entries = [(s["name"], s["columns"]["value"], "Roost" in s["name"] or s["name"].startswith("kill"))
                   for s in row["subjects"] if s.get("columns")]
        if entries:
            more = "more is better" if row["better"] == "more" else "less is better"
            out.append(chart.bars(entries, "%s, %s" % (row["unit"], more), row["title"]))
        for s in row["subjects"]:
            if s.get("series"):
                out.append(chart.lines(s["series"][-1]))
        out.append(html_table(*table(row)))
        header, lines = processes(row)
        if lines:
            out.append("<p class=soft>By process, %s:</p>" % html.escape(per_process_unit(row)) + html_table(header, lines))
        out += ["<p class=soft>%s</p>" % html.escape(n) for n in notes(row)]
        out.append("<p class=soft>%s</p>" % html.escape(conditions(row)))
    return "\n".join(out) + "</body></html>\n"


def write(folder, report):
    os.makedirs(folder, exist_ok=True)
    for name, text in (("report.json", json.dumps(report, indent=1) + "\n"), ("report.txt", as_text(report)),
                       ("report.html", as_page(report))):
        with open(os.path.join(folder, name + ".new"), "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(os.path.join(folder, name + ".new"), os.path.join(folder, name))
