"""own_redis.py - a redis-server that is not Roost's child"""
import os
import shutil
import subprocess
import tempfile

import roost


class OwnRedis:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="roost-redis-", dir="/dev/shm")
        self.socket = os.path.join(self.folder, "sock")
        self.url = "unix://" + self.socket
        self.start()

    def start(self):
        self.proc = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder,
                                      "--appendonly", "yes", "--save", ""],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        roost.wait_for(lambda: roost.run(["redis-cli", "-s", self.socket, "ping"]).stdout.strip() == "PONG", 10, "PONG")

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def latest(self, device, metric):
        return roost.run(["redis-cli", "-s", self.socket, "HGET", "roost:device:%s:latest" % device, metric]).stdout.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)
