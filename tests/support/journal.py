"""journal.py - reads a journal's segments independently of Roost's own code (services/storage/block.h, common/entry.h)"""
import os
import struct

BLOCK = struct.Struct("<IHHIIQqQQ")
BLOCK_MAGIC = 0x314B4252  # "RBK1"
ENTRY = struct.Struct("<BBHIQQ")
ENTRY_READINGS = 1
ENTRY_ALERT = 3
ENTRY_SEGMENT = 33
SEGMENT = struct.Struct("<QQQQQ")  # mark, version, base, previous segment's base and end
ALERT_FIELDS = {1: "id", 2: "alert_id", 3: "rule", 4: "group", 5: "device", 6: "state", 7: "severity", 8: "at", 9: "since",
                10: "summary", 13: "values", 14: "offset"}
ALERT_STATES = ["inactive", "pending", "firing", "cleared"]
VERDICT_COPY = 64


def unpack(data, at):
    """One msgpack value: (value, end)."""
    b = data[at]
    at += 1
    if b < 0x80:
        return b, at
    if b >= 0xE0:
        return b - 256, at
    if b < 0x90:
        return unpack_map(data, at, b & 15)
    if b < 0xA0:
        return unpack_array(data, at, b & 15)
    if b < 0xC0:
        return text(data, at, b & 31)
    if b in SCALARS:
        s = SCALARS[b]
        return s.unpack_from(data, at)[0], at + s.size
    if b in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[b], at
    size, kind = SIZED[b]
    n = int.from_bytes(data[at:at + size], "big")
    at += size
    if kind == "str":
        return text(data, at, n)
    if kind == "bin":
        return bytes(data[at:at + n]), at + n
    return unpack_array(data, at, n) if kind == "array" else unpack_map(data, at, n)


SCALARS = {0xCA: struct.Struct(">f"), 0xCB: struct.Struct(">d"), 0xCC: struct.Struct(">B"), 0xCD: struct.Struct(">H"),
           0xCE: struct.Struct(">I"), 0xCF: struct.Struct(">Q"), 0xD0: struct.Struct(">b"), 0xD1: struct.Struct(">h"),
           0xD2: struct.Struct(">i"), 0xD3: struct.Struct(">q")}
SIZED = {0xD9: (1, "str"), 0xDA: (2, "str"), 0xDB: (4, "str"), 0xC4: (1, "bin"), 0xC5: (2, "bin"), 0xC6: (4, "bin"),
         0xDC: (2, "array"), 0xDD: (4, "array"), 0xDE: (2, "map"), 0xDF: (4, "map")}


def text(data, at, n):
    return bytes(data[at:at + n]).decode("utf-8", "replace"), at + n


def unpack_array(data, at, n):
    values = []
    for _ in range(n):
        value, at = unpack(data, at)
        values.append(value)
    return values, at


def unpack_map(data, at, n):
    values = {}
    for _ in range(n):
        key, at = unpack(data, at)
        values[key], at = unpack(data, at)
    return values, at


def blocks(path, base, end=None):
    """(offset, time, body) of each block of a segment, up to its end or first torn block. Nothing if retention was faster."""
    try:
        with open(path, "rb") as f:
            data = memoryview(f.read())
    except FileNotFoundError:
        return
    data = data[:None if end is None else end - base]
    at = 0
    while at + BLOCK.size <= len(data):
        magic, _, header, length, _, offset, time_us, _, _ = BLOCK.unpack_from(data, at)
        if magic != BLOCK_MAGIC or offset != base + at or at + header + length > len(data):
            return
        yield offset, time_us, data[at + header:at + header + length]
        at += (header + length + 7) // 8 * 8


def entries_of(body):
    """(kind, partition, body) of each entry of a block."""
    at = 0
    while at < len(body):
        kind, _, partition, length, _, _ = ENTRY.unpack_from(body, at)
        at += ENTRY.size
        yield kind, partition, body[at:at + length]
        at += length


def end_of_previous(path, base):
    """(base, end) of the segment before: what stands behind that end was torn, and acknowledged to nobody."""
    for _, _, body in blocks(path, base):
        for kind, _, content in entries_of(body):
            if kind == ENTRY_SEGMENT:
                return SEGMENT.unpack_from(content)[3:5]
    return None, None


def entries(data_dir, kinds):
    """(kind, partition, body) of all entries of these kinds, shard by shard, in order."""
    root = os.path.join(data_dir, "journal")
    for shard in sorted(os.listdir(root)):
        folder = os.path.join(root, shard)
        if not os.path.isdir(folder):
            continue
        names = [n for n in sorted(os.listdir(folder)) if n.endswith(".seg") and n[:-4].isdigit()]
        ends = dict(end_of_previous(os.path.join(folder, n), int(n[:-4])) for n in names)
        for name in names:
            for _, _, body in blocks(os.path.join(folder, name), int(name[:-4]), ends.get(int(name[:-4]))):
                for entry in entries_of(body):
                    if entry[0] in kinds:
                        yield entry


def alerts(data_dir):
    """The ALERT records as dicts, in order within each partition."""
    for _, _, body in entries(data_dir, {ENTRY_ALERT}):
        message, _ = unpack(body, 0)
        alert = {ALERT_FIELDS[k]: v for k, v in message[1].items() if k in ALERT_FIELDS}
        alert["state"] = ALERT_STATES[alert["state"]]
        yield alert


def records(data_dir):
    """(device, time_us, verdict code, flags, points) of each device message in the journal."""
    for _, _, body in entries(data_dir, {ENTRY_READINGS}):
        at = 0
        while at < len(body):
            content, at = unpack(body, at)
            verdict, flags, time_us, device, _, _, _, points = unpack(content, 0)[0]
            yield device, time_us, verdict >> 24, flags, points
