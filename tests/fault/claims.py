"""Clients that come while Redis stands still: told so in time, nothing of them stays, and the worker lives."""
import os
import signal
import socket
import struct

import mqtt
import roost
from roost import Roost

UNAVAILABLE = {4: 3, 5: 0x88}


class Still:
    """Redis stands still."""

    def __init__(self, r):
        r.wait_for(lambda: r.redis("EXISTS", "roost:mqtt:log:connectivity-0") == "1", 10, "the worker's log in Redis")
        self.pid = r.pids()["redis"]

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)
        return self

    def __exit__(self, *_):
        try:
            os.kill(self.pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def keep(version):
    """CONNECT of a session that outlives its connection."""
    if version == 4:
        return mqtt.connect("kept-4", clean=False)
    return mqtt.packet(0x10, mqtt.string("MQTT") + b"\5\0\0\0" + b"\5\x11" + struct.pack(">I", 600) + mqtt.string("kept-5"))


def sessions_of(r):
    """{where: how many}: what is left of clients."""
    return {"redis": len([k for k in r.redis("KEYS", "roost:mqtt:session:*").split("\n") if k]),
            "owned": int(r.redis("SCARD", "roost:mqtt:owned:connectivity-0"))}


def test_told_in_time_and_redis_dies():
    with Roost({"mqtt.redis_wait": "500ms"}) as r:
        pid = r.pid_of("connectivity-0")
        with Still(r) as still:
            coming = []
            for version in (4, 5):
                for _ in range(3):  # one after another for the same session
                    c = mqtt.Client(r.port, version=version)
                    c.send(keep(version))
                    coming.append(c)
            for c in coming:
                start = roost.time.monotonic()
                first, body = c.receive()
                assert (first, body[1]) == (mqtt.CONNACK, UNAVAILABLE[c.version]), (hex(first), body.hex())
                assert roost.time.monotonic() - start < 3 * roost.SLOW
                c.close()
            # Their claims are under way; the answer never comes.
            os.kill(still.pid, signal.SIGKILL)
            with mqtt.Client(r.port, "gh-1") as c:
                c.publish("roost/gh-1/telemetry", '{"a":1}')
                assert c.puback() == (1, 0)
        r.wait_for(lambda: r.redis("PING") == "PONG", 20, "Redis again")
        for version in (4, 5):
            def comes():
                with mqtt.Client(r.port, version=version) as c:
                    c.send(keep(version))
                    return c.receive()[1][1] == 0
            r.wait_for(comes, 20, "a session for version %d" % version)
        assert r.pid_of("connectivity-0") == pid


def test_clients_that_left_before_their_answer():
    with Roost({"mqtt.redis_wait": "10s"}) as r:
        port = r.port
        with Still(r):
            for n in range(300):
                s = socket.create_connection(("127.0.0.1", port))
                s.sendall(mqtt.connect("gone-%d" % n, clean=False))
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Each is asked about before it goes: what comes behind it is answered.
                with mqtt.Client(port, "other") as c:
                    c.send(b"\xc0\0")
                    assert c.receive()[0] == mqtt.PINGRESP
                s.close()
        r.wait_for(lambda: not any(sessions_of(r).values()), 10, "nothing left of clients that are gone")
        with mqtt.Client(port, "kept", clean=False):
            assert sessions_of(r) == {"redis": 1, "owned": 1}


if __name__ == "__main__":
    roost.main(globals())
