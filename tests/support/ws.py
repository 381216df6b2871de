"""ws.py - a bare WebSocket client: well-formed and ill-formed requests and frames, byte for byte (RFC 6455)"""
import base64
import hashlib
import os
import socket
import struct

import mqtt

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(path="/mqtt", protocol="mqtt", first=None, **headers):
    """The bytes of a request; a header given as None is left out, underscores stand for dashes."""
    all_headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY,
                   "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": protocol}
    all_headers.update({k.replace("_", "-"): v for k, v in headers.items()})
    lines = [first or "GET %s HTTP/1.1" % path] + ["%s: %s" % (k, v) for k, v in all_headers.items() if v is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def frame(opcode, payload=b"", fin=True, mask=True, rsv=0, length=None):
    """length: as the header claims it."""
    n = len(payload) if length is None else length
    out = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if n < 126:
        out += bytes([bit | n])
    elif n < 65536:
        out += struct.pack(">BH", bit | 126, n)
    else:
        out += struct.pack(">BQ", bit | 127, n)
    if not mask:
        return out + payload
    key = os.urandom(4)
    return out + key + bytes(b ^ key[i % 4] for i, b in enumerate(payload))


class Socket:
    """Before the handshake, and after it."""

    def __init__(self, port, open=True, timeout=10, tls=None, **kw):
        """tls: an ssl.SSLContext."""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.rest = b""
        if open:
            self.send(request(**kw))
            status, headers, _ = self.answer()
            if status != 101:
                raise AssertionError("the handshake was answered with %d" % status)
            accept = base64.b64encode(hashlib.sha1(KEY.encode() + GUID).digest()).decode()
            if headers["sec-websocket-accept"] != accept:
                raise AssertionError("Sec-WebSocket-Accept is %s" % headers["sec-websocket-accept"])

    def send(self, data):
        self.sock.sendall(data)

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise mqtt.Closed()
        self.rest += data

    def take(self, n):
        while len(self.rest) < n:
            self.more()
        data, self.rest = self.rest[:n], self.rest[n:]
        return data

    def answer(self):
        """(status, headers, body) of the HTTP answer."""
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        body = self.take(int(headers.get("content-length", 0)))
        return int(lines[0].split()[1]), headers, body.decode()

    def frame(self):
        """(opcode, payload) of the next frame, which a server does not mask."""
        first, second = self.take(2)
        if second & 0x80:
            raise AssertionError("a frame from the server is masked")
        if not first & 0x80 or first & 0x70:
            raise AssertionError("a frame begins with %02x" % first)
        n = second
        if n == 126:
            n = struct.unpack(">H", self.take(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self.take(8))[0]
        return first & 15, self.take(n)

    def close_code(self):
        """Reads on to the Close frame; its code, 0 if it has none. Then the connection must end."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                break
        try:
            self.more()
            raise AssertionError("something came behind the Close frame: %s" % self.rest.hex())
        except (mqtt.Closed, ConnectionError):
            return struct.unpack(">H", payload[:2])[0] if payload else 0

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client(mqtt.Client):
    """The bare MQTT client over a WebSocket. each: bytes of a frame that it sends; 0: all in one."""

    def __init__(self, port, client=None, version=4, each=0, **kw):
        self.version = version
        self.ws = Socket(port)
        self.sock = self.ws.sock
        self.rest = b""
        self.each = each
        if client is not None:
            self.send(mqtt.connect(client, version, **kw))
            first, body = self.receive()
            if first != mqtt.CONNACK or body[1] != 0:
                raise AssertionError("CONNECT was answered with %02x %s" % (first, body.hex()))

    def send(self, data):
        each = self.each or max(1, len(data))
        self.ws.send(b"".join(frame(BINARY, data[i:i + each]) for i in range(0, len(data), each)))

    def more(self):
        opcode, payload = self.ws.frame()
        if opcode == CLOSE:
            raise mqtt.Closed()
        if opcode == BINARY:
            self.rest += payload
