"""machine.py - what a measurement was made on: processor, kernel, disk, versions, and how busy it was"""
import os
import platform
import re
import shutil
import subprocess
import time

SYNCS = 300
SYNC_BYTES = 4096

PACKAGES = ["mosquitto", "nats-server", "rabbitmq-server", "victoria-metrics", "influxdb", "redis-server", "gcc",
            "libzmq3-dev", "libczmq-dev", "libmsgpackc2", "libsqlite3-0", "libsimdjson14", "libmosquitto1", "python3"]


def first_line(argv):
    try:
        out = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, timeout=10)
        return out.stdout.strip().split("\n")[0]
    except (OSError, subprocess.TimeoutExpired):
        return ""


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def load_average():
    return [float(x) for x in os.getloadavg()]


def processor_ticks():
    """(all, stolen by the host for others) since boot."""
    fields = [int(x) for x in read("/proc/stat").split("\n")[0].split()[1:9]]
    return sum(fields), fields[7]


def busy_now():
    """Runnable processes besides this one."""
    return max(0, int(read("/proc/loadavg").split()[3].split("/")[0]) - 1)


def mount_of(folder):
    """(device, file system, options) under which the folder lies."""
    best = ("", "", "", "")
    for line in read("/proc/self/mounts").split("\n"):
        fields = line.split()
        if len(fields) >= 4 and (os.path.realpath(folder) + "/").startswith(fields[1].rstrip("/") + "/"):
            if len(fields[1]) >= len(best[1]):
                best = (fields[0], fields[1], fields[2], fields[3])
    return best[0], best[2], best[3]


def sync_latency(folder):
    """Microseconds of append and fdatasync of 4 KiB: p50, p99, and of all the longest."""
    path = os.path.join(folder, "sync-probe")
    data = os.urandom(SYNC_BYTES)
    took = []
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        for _ in range(SYNCS):
            begun = time.perf_counter_ns()
            os.write(fd, data)
            os.fdatasync(fd)
            took.append((time.perf_counter_ns() - begun) / 1000)
    finally:
        os.close(fd)
        os.unlink(path)
    took.sort()
    return {"p50_us": round(took[len(took) // 2]), "p99_us": round(took[len(took) * 99 // 100]), "max_us": round(took[-1])}


def packages():
    out = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${Status}\\n"] + PACKAGES,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return dict(line.split()[:2] for line in out.stdout.split("\n") if line.endswith("ok installed"))


def describe(root, folder, roost):
    cpu = re.search(r"^model name\s*:\s*(.*)$", read("/proc/cpuinfo"), re.M)
    memory = re.search(r"^MemTotal:\s+(\d+)", read("/proc/meminfo"), re.M)
    device, system, options = mount_of(folder)
    commit = first_line(["git", "-C", root, "rev-parse", "--short", "HEAD"])
    if commit and first_line(["git", "-C", root, "status", "--porcelain", "--untracked-files=no"]):
        commit += " and uncommitted changes"
    return {
        "cpu": cpu.group(1) if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory.group(1)) // 1024 if memory else 0,
        "kernel": platform.release(),
        "system": re.sub(r'.*PRETTY_NAME="([^"]*)".*', r"\1", read("/etc/os-release"), flags=re.S),
        "virtual": first_line(["systemd-detect-virt"]) or "not known",
        "data_folder": {"device": device, "file_system": system, "options": options,
                        "free_gib": shutil.disk_usage(folder).free >> 30},
        "fdatasync_4_kib": sync_latency(folder),
        "roost": {"version": first_line([roost, "version"]), "commit": commit},
        "packages": packages(),
        "load_average": load_average(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
