"""growth.py - memory and descriptors of processes over a campaign: what a leak looks like"""
import collections
import time

KIB_MAX = 256 * 1024        # of any process, at a checkpoint
DESCRIPTORS_MORE = 8        # than at the first checkpoint
STEADY_S = 1800             # a slope is judged over at least this
SLOPE_KIB_PER_H = 1024


class Growth:
    def __init__(self):
        self.series = collections.defaultdict(list)  # name -> [(seconds, pid, KiB, descriptors)]

    def note(self, processes, now=None):
        """processes: {name: (pid, KiB, descriptors)}, at rest."""
        for name, (pid, kib, descriptors) in processes.items():
            self.series[name].append((time.monotonic() if now is None else now, pid, kib, descriptors))

    def slope(self, name):
        """KiB per hour by least squares; None if there is too little to say."""
        points = [(t, kib) for t, _, kib, _ in self.series[name]]
        if len(points) < 3 or points[-1][0] == points[0][0]:
            return None
        mean_t = sum(t for t, _ in points) / len(points)
        mean_k = sum(k for _, k in points) / len(points)
        return 3600 * sum((t - mean_t) * (k - mean_k) for t, k in points) / sum((t - mean_t) ** 2 for t, _ in points)

    def lines(self):
        for name in sorted(self.series):
            points = self.series[name]
            slope = self.slope(name)
            yield "%-16s %2d lives, resident %d..%d KiB%s, descriptors %d..%d" % (
                name, len({p[1] for p in points}), min(p[2] for p in points), max(p[2] for p in points),
                "" if slope is None else ", %+.0f KiB/h" % slope, min(p[3] for p in points), max(p[3] for p in points))

    def problems(self):
        for name, points in self.series.items():
            if max(p[2] for p in points) > KIB_MAX:
                yield "%s takes %d KiB" % (name, max(p[2] for p in points))
            if points[-1][3] > points[0][3] + DESCRIPTORS_MORE:
                yield "%s has %d descriptors, had %d" % (name, points[-1][3], points[0][3])
            slope = self.slope(name)
            if points[-1][0] - points[0][0] >= STEADY_S and slope is not None and slope > SLOPE_KIB_PER_H:
                yield "%s grows by %.0f KiB/h" % (name, slope)

    def check(self):
        problems = list(self.problems())
        if problems:
            raise AssertionError("; ".join(problems))
