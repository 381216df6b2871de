"""ledger.py - reads the load generator's ledger (ledger.h)"""
import array
import struct

HEADER = struct.Struct("=8sIIII32sQ")
ENTRY_SIZE = 16


def acked_so_far(path):
    """Of a ledger that is being written."""
    with open(path, "rb") as f:
        data = f.read(HEADER.size)
    return HEADER.unpack(data)[-1] if len(data) == HEADER.size else 0


class Ledger:
    """devices maps a device id to its readings: {time_us: (n, value, acked)} of all that were sent."""

    def __init__(self, path):
        with open(path, "rb") as f:
            magic, count, per_device, self.flip, _, prefix, _ = HEADER.unpack(f.read(HEADER.size))
            if magic != b"ROOSTLG1":
                raise ValueError("%s is no ledger" % path)
            self.prefix = prefix = prefix.split(b"\0", 1)[0].decode()
            self.devices = {}
            self.acked = 0
            self.sent = 0
            for d in range(count):
                self.devices["%s-%04u" % (prefix, d)] = self.read_device(f.read(per_device * ENTRY_SIZE))

    def read_device(self, data):
        words = array.array("q")
        words.frombytes(data)
        readings = {}
        for n in range(len(words) // 2):
            time_us, counts = words[2 * n], words[2 * n + 1]
            if counts & 0xFFFFFFFF == 0:
                break
            acked = counts >> 32
            readings[time_us] = (n, value_of(self.flip, n), acked)
            self.sent += 1
            self.acked += acked > 0
        return readings

    def transitions(self, device):
        """What a rule `when: level > 0, clear: level < 0` makes of this device: [(state, value), ...] in order."""
        result = []
        if self.flip == 0:
            return result
        for n, value, _ in self.devices[device].values():
            if n > 0 and n % self.flip == 0:
                result.append(("firing" if value > 0 else "cleared", value))
        return result


def value_of(flip, n):
    v = n + 1000
    return -v if flip == 0 or (n // flip) % 2 == 0 else v
