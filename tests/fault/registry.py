"""The registry while what it needs is killed under it: nothing is lost, nothing is there twice, and who asks is told."""
import os
import signal
import subprocess
import tempfile

import devices
import roost
from devices import done
from roost import Roost

MANY = 5000


def import_under(r, folder, hurt, times):
    """Imports MANY devices and hurts Roost now and then; the tokens that were printed."""
    path = os.path.join(folder, "devices.csv")
    with open(path, "w", encoding="utf-8") as f:
        f.write("id\n")
        f.writelines("d-%d\n" % n for n in range(MANY))
    with subprocess.Popen([roost.ROOST, "device", "import", path, "--set", "data_dir=" + r.data_dir], cwd=roost.ROOT,
                          env=r.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as tool:
        lines, hurts = [], 0
        for line in tool.stdout:
            lines.append(line)
            if len(lines) % (MANY // (times + 2)) == 0 and hurts < times:
                hurt()
                hurts += 1
        assert tool.wait() == 0 and hurts == times
    tokens = dict(line.strip().split(",") for line in lines)
    assert len(lines) == MANY == len(tokens), len(lines)
    return tokens


def assert_all_there(r, tokens):
    assert devices.counts(r) == (MANY, MANY), devices.counts(r)
    known = {bytes(k).decode().split("/")[2] for k, in devices.rows(r, "SELECT key FROM object WHERE type=42 AND gone=0")}
    assert known == {devices.lookup_of(t) for t in tokens.values()}
    assert devices.rows(r, "SELECT max(version) FROM object")[0][0] == 1, "something was done twice"
    r.wait_for(lambda: devices.redis_is_whole(r), 30, "Redis to be as registry.db is")


def test_storage_is_killed():
    with Roost() as r, tempfile.TemporaryDirectory() as folder:
        assert_all_there(r, import_under(r, folder, lambda: os.kill(r.pid_of("storage-0"), signal.SIGKILL), 5))


def test_redis_is_killed_and_flushed():
    with Roost() as r, tempfile.TemporaryDirectory() as folder:
        def hurt():
            r.redis("FLUSHALL")
            os.kill(r.pid_of("redis"), signal.SIGKILL)
        assert_all_there(r, import_under(r, folder, hurt, 3))


def test_the_second_takes_over():
    """The one at work is killed again and again, and the other goes on."""
    with Roost({"registry.replicas": "2"}, workers=roost.WORKERS + ["registry-1"]) as r, \
            tempfile.TemporaryDirectory() as folder:
        def hurt():
            for name in ("registry-0", "registry-1"):
                os.kill(r.pid_of(name), signal.SIGKILL)
        assert_all_there(r, import_under(r, folder, hurt, 4))


def test_storage_away():
    """What is asked for while nothing can be made durable is told so, and done when it can."""
    with Roost() as r:
        done(r, "add", "gh-1")
        storage = r.pid_of("storage-0")
        os.kill(storage, signal.SIGSTOP)
        try:
            with subprocess.Popen([roost.ROOST, "device", "block", "gh-1", "--set", "data_dir=" + r.data_dir], cwd=roost.ROOT,
                                  env=r.environment, stdin=subprocess.DEVNULL) as tool:
                roost.pause(1)
                assert tool.poll() is None, "answered though nothing is durable"
                os.kill(storage, signal.SIGCONT)
                assert tool.wait(30 * roost.SLOW) == 0
        finally:
            if os.path.exists("/proc/%d" % storage):
                os.kill(storage, signal.SIGCONT)
        assert devices.shown(r, "gh-1")["blocked"]


if __name__ == "__main__":
    roost.main(globals())
