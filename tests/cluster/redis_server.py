"""redis_server.py - a real redis-server beside the tests: what Holon is held to, and what the tests themselves
are tried against."""
import shutil
import subprocess
import tempfile

import resp
from cluster import free_port
from waiting import until


def is_missing() -> bool:
    return shutil.which("redis-server") is None


class RedisServer:
    """Listens on a port of its own, stores nothing, has no neighbours. As a Node it has a name, its port as
    `redis`, and makes clients."""

    def __init__(self, name: str = "redis-server"):
        self.name = name
        self.redis = free_port()
        self.directory = tempfile.mkdtemp(prefix="redis-server-")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.redis), "--save", "", "--appendonly", "no", "--dir", self.directory],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        until("redis-server answers", lambda: self.call("PING") == "PONG", 10)

    def client(self, timeout: float = 15) -> resp.Client:
        return resp.Client(self.redis, timeout)

    def call(self, *arguments):
        with self.client() as client:
            return client.call(*arguments)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)
        shutil.rmtree(self.directory, ignore_errors=True)
