"""zmtp.py - a bare ZMTP 3.0 peer over a unix socket, for what no process of Roost sends; and msgpack as it goes over the bus"""
import socket
import struct


def pack(v):
    """Numbers, booleans, text, bytes, lists and dicts."""
    if isinstance(v, bool):
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        return struct.pack(">BQ", 0xCF, v)
    if isinstance(v, str):
        return struct.pack(">BI", 0xDB, len(v.encode())) + v.encode()
    if isinstance(v, bytes):
        return struct.pack(">BI", 0xC6, len(v)) + v
    if isinstance(v, list):
        return struct.pack(">BI", 0xDD, len(v)) + b"".join(map(pack, v))
    return struct.pack(">BI", 0xDF, len(v)) + b"".join(pack(k) + pack(x) for k, x in v.items())


def message(number, **fields):
    """A message of messages.def: message(13, f1=stream, f2=seq, ...)."""
    return pack([number, {int(k[1:]): v for k, v in fields.items()}])


class Peer:
    """A DEALER of this name, connected to an endpoint."""

    def __init__(self, path, name):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(path)
        self.sock.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
        greeting = self.exactly(64)
        assert greeting[:1] == b"\xff" and greeting[9:10] == b"\x7f", greeting
        ready = b"\x05READY" + self.property("Socket-Type", b"DEALER") + self.property("Identity", name.encode())
        self.sock.sendall(bytes([4, len(ready)]) + ready)

    @staticmethod
    def property(name, value):
        return bytes([len(name)]) + name.encode() + struct.pack(">I", len(value)) + value

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    def send(self, *frames):
        """One message of these parts."""
        out = b""
        for i, f in enumerate(frames):
            more = 1 if i + 1 < len(frames) else 0
            out += (bytes([more, len(f)]) if len(f) < 256 else bytes([more | 2]) + struct.pack(">Q", len(f))) + f
        self.sock.sendall(out)

    def raw(self, data):
        self.sock.sendall(data)

    def close(self):
        self.sock.close()
