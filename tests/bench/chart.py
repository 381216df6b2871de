"""chart.py - inline SVG: bars with their spread, and lines over time; colours come from the page's style"""
import html
import math

WIDTH = 860
LABEL = 250
RIGHT = 110
BAR = 18
GAP = 12
TOP = 8
AXIS = 40


def text(x, y, words, anchor="start", kind=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>' % (x, y, anchor, kind, html.escape(words))


def line(x1, y1, x2, y2, kind):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>' % (x1, y1, x2, y2, kind)


def short(value):
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return "%.3g%s" % (value / limit, suffix)
    return "%.3g" % value


def steps(high):
    """Round marks from zero up to high."""
    if high <= 0:
        return [0, 1]
    rough = high / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    return [i * step for i in range(int(math.ceil(high / step - 1e-9)) + 1)]


class Linear:
    def __init__(self, high, start, end):
        self.marks = steps(high)
        self.start, self.width, self.high = start, end - start, self.marks[-1]

    def at(self, value):
        return self.start + self.width * value / self.high


class Logarithmic:
    def __init__(self, low, high, start, end):
        self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high) + 1e-9)
        self.marks = [10.0 ** n for n in range(self.low, self.high + 1)]
        self.start, self.width = start, end - start

    def at(self, value):
        value = max(value, 10.0 ** self.low)
        return self.start + self.width * (math.log10(value) - self.low) / (self.high - self.low)


def bars(entries, unit, title):
    """entries: (name, spread, ours). A logarithmic axis, with dots in place of bars, where linear bars would vanish."""
    highs = [e[1]["max"] for e in entries]
    lows = [max(e[1]["min"], 1e-9) for e in entries]
    logarithmic = max(highs) > 50 * min(lows)
    height = TOP + len(entries) * (BAR + GAP) + AXIS
    scale = Logarithmic(min(lows), max(highs), LABEL, WIDTH - RIGHT) if logarithmic else Linear(
        max(highs), LABEL, WIDTH - RIGHT)
    base = height - AXIS
    parts = ['<svg viewBox="0 0 %d %d" role="img" aria-label="%s">' % (WIDTH, height, html.escape(title))]
    for mark in scale.marks:
        parts.append(line(scale.at(mark), TOP, scale.at(mark), base, "grid"))
        parts.append(text(scale.at(mark), base + 15, short(mark), "middle", "tick"))
    parts.append(line(LABEL, base, WIDTH - RIGHT, base, "axis"))
    parts.append(text((LABEL + WIDTH - RIGHT) / 2, base + 32, unit + (", logarithmic" if logarithmic else ""), "middle", "unit"))
    for i, (name, spread, ours) in enumerate(entries):
        y = TOP + i * (BAR + GAP) + GAP / 2
        middle = y + BAR / 2
        at, low, high = scale.at(spread["median"]), scale.at(spread["min"]), scale.at(spread["max"])
        kind = "ours" if ours else "peer"
        parts.append(text(LABEL - 8, middle + 4, name, "end", "name"))
        if logarithmic:
            parts.append('<circle cx="%.1f" cy="%.1f" r="6" class="%s"/>' % (at, middle, kind))
        else:
            parts.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2" class="%s"/>' % (
                LABEL, y, max(at - LABEL, 1), BAR, kind))
        if high - low > 1:
            parts.append(line(low, middle, high, middle, "spread"))
            parts.append(line(low, middle - 4, low, middle + 4, "spread"))
            parts.append(line(high, middle - 4, high, middle + 4, "spread"))
        parts.append(text(max(at, high) + 10, middle + 4, short(spread["median"]), "start", "value"))
    return "".join(parts) + "</svg>"


def lines(series):
    """series: {"x", "y", "title", "lines": {name: [y of each x]}}, one sample a unit of x."""
    height, left, right = 240, 60, WIDTH - RIGHT - 20
    drawn = {n: v for n, v in series["lines"].items() if v}
    if not drawn:
        return ""
    count = max(len(v) for v in drawn.values())
    scale = Linear(max(max(v) for v in drawn.values()) or 1, height - AXIS, TOP)
    across = Linear(max(count, 2), left, right)
    parts = ['<svg viewBox="0 0 %d %d" role="img" aria-label="%s">' % (WIDTH, height, html.escape(series["title"]))]
    for mark in scale.marks:
        parts.append(line(left, scale.at(mark), right, scale.at(mark), "grid"))
        parts.append(text(left - 6, scale.at(mark) + 4, short(mark), "end", "tick"))
    for mark in across.marks:
        parts.append(text(across.at(mark), height - AXIS + 15, short(mark), "middle", "tick"))
    parts.append(line(left, height - AXIS, right, height - AXIS, "axis"))
    parts.append(text((left + right) / 2, height - 8, "%s: %s over time in %s" % (series["title"], series["y"], series["x"]),
                      "middle", "unit"))
    ends = sorted((values[-1], name) for name, values in drawn.items())
    place = {name: scale.at(ends[0][0]) - i * 16 if i else scale.at(ends[0][0]) for i, (_, name) in enumerate(ends)}
    for i, (_, name) in enumerate(ends):
        want = scale.at(drawn[name][-1])
        place[name] = want if i == 0 else min(want, place[ends[i - 1][1]] - 14)
    for i, (name, values) in enumerate(sorted(drawn.items())):
        path = " ".join("%.1f,%.1f" % (across.at(n + 1), scale.at(v)) for n, v in enumerate(values))
        parts.append('<polyline points="%s" class="line line%d"/>' % (path, i % 4))
        parts.append(text(right + 8, place[name] + 4, name, "start", "value text%d" % (i % 4)))
    return "".join(parts) + "</svg>"
