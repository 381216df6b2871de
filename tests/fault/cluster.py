"""Several connectivity workers are one broker: whatever worker a client comes to, also while workers are killed."""
import collections
import os
import re

import roost
from mqtt import packet, string
from mqtt_durable import Durable, turn
from roost import Roost, wait_for
from sessions import EVERY, SECONDS, Nemesis, check_delivery, kill

TWO = {"connectivity.replicas": "2", "mqtt.will_grace": "1s"}
WORKERS = [w for w in roost.WORKERS if not w.startswith("connectivity")] + ["connectivity-0", "connectivity-1"]


def inode_of(sock):
    """Of the other end of a connection within this machine; None until it is accepted."""
    mine, theirs = sock.getsockname()[1], sock.getpeername()[1]
    want = r"^\s*\d+: \w+:%04X \w+:%04X \w+ \S+ \S+ \S+\s+\d+\s+\d+ (\d+) " % (theirs, mine)
    with open("/proc/net/tcp", encoding="ascii") as f:
        found = re.search(want, f.read(), re.M)
    return found.group(1) if found and found.group(1) != "0" else None


def has(pid, inode):
    try:
        return any(os.readlink("/proc/%d/fd/%s" % (pid, fd)) == "socket:[%s]" % inode for fd in os.listdir("/proc/%d/fd" % pid))
    except OSError:
        return False


class Picker:
    """Connections that a given worker has accepted."""

    def __init__(self, r, worker):
        self.r = r
        self.name = "connectivity-%d" % worker

    def __call__(self, sock):
        pids = {n: p for n, p in self.r.pids().items() if n.startswith("connectivity-")}
        for _ in range(100):
            try:
                inode = inode_of(sock)
            except OSError:
                return False
            for name, pid in pids.items():
                if inode and has(pid, inode):
                    return name == self.name
            roost.pause(0.005)
        return False


def at(r, worker, client, **kw):
    c = Durable(r.port, client, **kw)
    c.pick = Picker(r, worker)
    return c


def up(*clients):
    assert turn(clients, 20 * roost.SLOW, lambda: all(c.up and c.subscribed for c in clients)), [
        (c.client, c.up, c.subscribed) for c in clients]


def two(**more):
    settings = dict(TWO)
    settings.update(more)
    return Roost(settings, workers=WORKERS)


def four():
    others = [w for w in WORKERS if not w.startswith("connectivity")]
    return Roost(dict(TWO, **{"connectivity.replicas": "4"}), workers=others + ["connectivity-%d" % n for n in range(4)])


def test_publish_reaches_the_other_worker():
    with two() as r:
        s = at(r, 0, "s", subscribe=[("a/+", 2), ("roost/+/telemetry", 1)], clean=True)
        p = at(r, 1, "p", clean=True)
        near = at(r, 1, "near", subscribe=[("a/#", 1)], clean=True)
        up(s, p, near)
        for n in range(30):
            p.publish("a/%d" % n, "m%d" % n, n % 3)
        p.publish("roost/d/telemetry", '{"level":1}', 1)
        assert turn([s, p, near], 20, lambda: p.is_done() and len(s.got) == 31 and len(near.got) == 30 and not s.incoming), (
            len(s.got), len(near.got))
        assert sorted((x[1], x[2]) for x in s.got if x[0] != "roost/d/telemetry") == sorted(
            ("m%d" % n, n % 3) for n in range(30))
        s.drop()
        turn([s, p, near], 0.3)
        late = at(r, 0, "late", subscribe=[("b", 0)], clean=True)
        up(late)
        p.publish("b", "x", 0)
        assert turn([late, p], 5, lambda: len(late.got) == 1), "a new filter is known elsewhere when SUBACK comes"


def test_retained_is_everywhere():
    with two() as r:
        p = [at(r, 0, "p0", clean=True), at(r, 1, "p1", clean=True)]
        up(*p)
        for n in range(20):
            p[n % 2].send(packet(0x31, string("r/%d" % (n % 5)) + b"v%d" % n))
        p[0].send(packet(0x31, string("r/0")))
        for c in p:
            c.publish("done", "", 1)
        assert turn(p, 10, lambda: all(c.is_done() for c in p))

        def held(worker):
            s = at(r, worker, "s%d" % worker, subscribe=[("r/#", 0)], clean=True)
            up(s)
            turn([s], 0.2)
            s.drop()
            return dict((t, v) for t, v, _, _ in s.got)

        wait_for(lambda: held(0) == held(1), 10, "the same retained messages at both")
        assert len(held(0)) in (4, 5), held(0)
        kill(r, "connectivity-1")
        r.wait_up()
        assert held(0) == held(1), (held(0), held(1))


def test_a_client_is_taken_over():
    with two() as r:
        s = at(r, 0, "s", subscribe=[("a", 2)])
        p = at(r, 1, "p")
        up(s, p)
        sent = {}
        for move in range(6):
            for n in range(20):
                sent["%d-%d" % (move, n)] = 2
                p.publish("a", "%d-%d" % (move, n), 2)
            turn([s, p], 0.1)
            # The connection of before stands still: it is the other worker that ends it.
            old = s.sock
            s.pick = Picker(r, 1 - move % 2)
            s.sock, s.up, s.data = None, False, b""
            turn([s, p], 1, lambda: s.up)
            up(s, p)
            old.settimeout(10)
            try:
                while old.recv(65536):
                    pass
            except ConnectionError:
                pass
            old.close()
        assert turn([s, p], 20, lambda: p.is_done() and len(s.got) >= len(sent) and not s.incoming), (
            len(s.got), len(sent), len(p.out))
        turn([s, p], 0.5)
        check_delivery(p, s, sent)


def test_shared_subscriptions_balance():
    with two() as r:
        members = [at(r, n % 2, "m%d" % n, subscribe=[("$share/g/a/#", 1)], clean=True) for n in range(4)]
        p = [at(r, n, "p%d" % n, clean=True) for n in range(2)]
        up(*(members + p))
        for n in range(400):
            p[n % 2].publish("a/%d" % n, "m%d" % n, n % 4 // 2)
        everybody = members + p
        assert turn(everybody, 20, lambda: all(c.is_done() for c in p) and sum(len(m.got) for m in members) >= 400), [
            len(m.got) for m in members]
        turn(everybody, 0.2)
        count = [len(m.got) for m in members]
        assert sum(count) == 400 and min(count) > 40, count
        roost.note("of 400: %r" % count)


def test_will_of_a_dead_worker():
    with two() as r:
        s = at(r, 0, "s", subscribe=[("w/#", 1)], clean=True)
        up(s)
        doomed = Durable(r.port, "doomed", clean=True)
        doomed.pick = Picker(r, 1)
        doomed.will = ("w/doomed", "fell")
        up(doomed)
        r.wait_for(lambda: r.redis("HLEN", "roost:mqtt:wills:connectivity-1") == "1", 10, "the will in Redis")
        kill(r, "connectivity-1")
        assert turn([s], 20 * roost.SLOW, lambda: ("w/doomed", "fell", 0, 0) in s.got), s.got


def over(deeds, each_kill, seed, begin=two):
    with begin() as r:
        s = Durable(r.port, "subscriber", [("t/1/#", 1), ("t/2/#", 2)])
        p = [Durable(r.port, "publisher%d" % n) for n in range(2)]
        everybody = [s] + p
        up(*everybody)
        nemesis = Nemesis(deeds(r, s, p), each_kill, seed)
        sent = [{}, {}]
        end = roost.time.monotonic() + SECONDS

        def each():
            for n, c in enumerate(p):
                if len(c.waiting) < 5 and roost.time.monotonic() < end:
                    k = len(sent[n])
                    sent[n]["%d-%d" % (n, k)] = 1 + k % 2
                    c.publish("t/%d/x" % (1 + k % 2), "%d-%d" % (n, k), 1 + k % 2)
            nemesis()

        turn(everybody, SECONDS, None, each)
        total = len(sent[0]) + len(sent[1])
        ok = turn(everybody, 40 * roost.SLOW, lambda: s.is_done() and all(c.is_done() for c in p) and not s.incoming
                  and len(s.got) >= total and len({x[1] for x in s.got}) == total)
        turn(everybody, 0.5)
        count = collections.Counter(x[1] for x in s.got)
        both = {**sent[0], **sent[1]}
        lost = [m for m in both if not count[m]]
        twice = [m for m, qos in both.items() if qos == 2 and count[m] > 1]
        roost.note("%d messages, %d deeds, %d connects, %d twice" % (
            total, nemesis.done, sum(c.connects for c in everybody), len(twice)))
        assert ok and not lost and not twice, "%s, lost %d %r, twice %d %r, owed %r" % (
            ok, len(lost), lost[:5], len(twice), twice[:5], [len(c.out) for c in p])


def test_kill_of_one_worker():
    over(lambda r, s, p: [lambda: kill(r, "connectivity-0"), lambda: kill(r, "connectivity-1")], EVERY, 1)


def test_clients_wander():
    """Every 0.15 s: some have moved on before their session has arrived."""
    over(lambda r, s, p: [s.drop, p[0].drop, p[1].drop], 0.15, 2)


def test_four_workers():
    over(lambda r, s, p: [lambda n=n: kill(r, "connectivity-%d" % n) for n in range(4)] + [s.drop, p[0].drop, p[1].drop],
         EVERY, 4, four)


def test_kill_of_both_workers():
    over(lambda r, s, p: [lambda: kill(r, "connectivity-"), s.drop, p[0].drop], EVERY, 3)


def kept_away(r, worker, count):
    """Sessions of that worker, half of them at QoS 2, whose clients have gone."""
    left = list(range(count))
    while left:
        some = [at(r, worker, "s%d" % n, subscribe=[("t/#", 1 + n % 2)]) for n in left[:20]]
        up(*some)
        for c in some:
            c.drop()
        del left[:20]


def all_came(port, count, sent):
    """Each session comes back to whichever worker, and gets all there is."""
    wrong = []
    for first in range(0, count, 20):
        some = [Durable(port, "s%d" % n, subscribe=[("t/#", 1 + n % 2)]) for n in range(first, min(first + 20, count))]
        turn(some, 30 * roost.SLOW, lambda: all(
            c.up and len({x[1] for x in c.got}) == len(sent) and not c.incoming for c in some))
        turn(some, 0.1)
        for c in some:
            got = collections.Counter(x[1] for x in c.got)
            twice = [m for m in got if got[m] > 1 and sent[m] == 2 and int(c.client[1:]) % 2]
            if len(got) != len(sent) or twice or c.lost_session:
                wrong.append((c.client, len(sent) - len(got), len(twice), c.lost_session))
            c.drop()
    assert not wrong, "of %d messages, %d sessions did not get (client, lost, twice, anew): %r" % (
        len(sent), len(wrong), wrong[:10])


def while_loaded(names, count=300, meanwhile=None):
    """A publisher at worker 1 goes on while the sessions of worker 0, to which nobody listens, are killed and loaded."""
    with two() as r:
        kept_away(r, 0, count)
        p = at(r, 1, "p")
        up(p)
        p.pick = None
        sent = {}
        kills = [0]
        begun = roost.time.monotonic()
        wanted = 3 if os.environ.get("THOROUGH") else 1

        def each():
            now = roost.time.monotonic()
            if len(p.waiting) < 5 and now < begun + 2 + 2 * wanted:
                sent["m%d" % len(sent)] = 1 + len(sent) % 2
                p.publish("t/x", "m%d" % (len(sent) - 1), 1 + (len(sent) - 1) % 2)
            if kills[0] < wanted and now > begun + 1 + 2 * kills[0]:
                kills[0] += 1
                kill(r, *names)
                if meanwhile:
                    meanwhile(r)

        turn([p], 2 + 2 * wanted, None, each)
        assert turn([p], 60 * roost.SLOW, p.is_done), "%d are not acknowledged" % len(p.out)
        roost.note("%d messages for %d sessions" % (len(sent), count))
        all_came(r.port, count, sent)


def test_sessions_are_loaded_while_the_other_worker_publishes():
    while_loaded(["connectivity-0"])


def test_sessions_are_loaded_from_a_slow_redis():
    """Longer than the other worker's start takes: it does not take silence for a worker without sessions."""
    while_loaded(["connectivity-"], 40, lambda r: r.redis("CLIENT", "PAUSE", "7000", "WRITE"))


if __name__ == "__main__":
    roost.main(globals())
