"""mqtt_proxy.py - a liar between a device and Roost: it swallows the PUBLISH with number lie_at and acknowledges it itself

What a server does that acknowledges before it has stored. The verifier must find the message missing.
"""
import socket
import struct
import threading


def packets(data):
    """Splits off whole MQTT packets; returns them as (bytes, start of the variable header), and the rest."""
    found = []
    at = 0
    while at + 2 <= len(data):
        length, shift, n = 0, 0, at + 1
        while n < len(data):
            length |= (data[n] & 0x7F) << shift
            shift += 7
            n += 1
            if not data[n - 1] & 0x80:
                break
        else:
            break
        if n + length > len(data):
            break
        found.append((data[at:n + length], n - at))
        at = n + length
    return found, data[at:]


class Proxy:
    def __init__(self, target_port, lie_at):
        self.target_port = target_port
        self.lie_at = lie_at
        self.seen = 0
        self.lies = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                device, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target_port))
            threading.Thread(target=self.to_server, args=(device, server), daemon=True).start()
            threading.Thread(target=self.to_device, args=(server, device), daemon=True).start()

    def is_lied_about(self, packet):
        if packet[0] & 0xF6 != 0x32:  # PUBLISH with QoS 1
            return False
        with self.lock:
            self.seen += 1
            if self.seen != self.lie_at:
                return False
            self.lies += 1
            return True

    def to_server(self, device, server):
        rest = b""
        try:
            while True:
                data = device.recv(65536)
                if not data:
                    break
                found, rest = packets(rest + data)
                out = []
                for packet, start in found:
                    if self.is_lied_about(packet):
                        topic = struct.unpack_from(">H", packet, start)[0]
                        device.sendall(b"\x40\x02" + packet[start + 2 + topic:start + 4 + topic])
                    else:
                        out.append(packet)
                server.sendall(b"".join(out))
        except OSError:
            pass
        end(server)

    def to_device(self, server, device):
        try:
            while True:
                data = server.recv(65536)
                if not data:
                    break
                device.sendall(data)
        except OSError:
            pass
        end(device)

    def close(self):
        self.listener.close()


def end(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
