"""cluster.py - real processes of build/holon on free loopback ports, or on hosts of their own
(hosts.py), with directories of their own, ended by their process id. Everything waits for a
condition with a limit."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from typing import Optional

import resp
from hosts import Hosts
from proxy import Network
from waiting import until

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOLON = os.environ.get("HOLON", str(ROOT / "build" / "holon"))
READY_SECONDS = 15
PORT_FIRST, PORT_LAST = 21000, 31000  # below the ports that the kernel deals out
PR_SET_PDEATHSIG = 1

# Tests that run side by side have ports of their own: every nth.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_first_port = PORT_FIRST + _worker
_next_port = _first_port + os.getpid() * 40 % (PORT_LAST - PORT_FIRST) // _workers * _workers
_libc = ctypes.CDLL(None)


def free_port() -> int:
    """A port nobody listens on; not given twice until the range is through."""
    global _next_port
    while True:
        _next_port = _next_port + _workers if _next_port + _workers <= PORT_LAST else _first_port
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", _next_port))
                return _next_port
            except OSError:
                continue


def _die_with_the_test() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Node:
    def __init__(self, name: str, directory: pathlib.Path, options: list):
        self.name = name
        self.data = directory / name
        self.log_path = directory / f"{name}.err"
        self.options = list(options)
        self.redis, self.redis_cluster, self.peer, self.admin = (free_port() for _ in range(4))
        self.process: Optional[subprocess.Popen] = None
        self.lines: list = []
        self.host = "127.0.0.1"
        self.prefix: list = []  # a program that runs it, such as prlimit
        self.binary = HOLON  # another one: another version of Holon
        self.started_at = 0.0
        self.ready_after: Optional[float] = None  # seconds

    def __repr__(self) -> str:
        return self.name

    def command(self, *more: str) -> list:
        listens = {"redis": self.redis, "redis-cluster": self.redis_cluster, "peer": self.peer,
                   "admin": self.admin}
        addresses = [part for name, port in listens.items()
                     for part in (f"--{name}", f"{self.host}:{port}")]
        return [*self.prefix, self.binary, "start", "--name", self.name, "--data", str(self.data), *addresses,
                *self.options, *more]

    def start(self, *more: str) -> "Node":
        assert not self.alive, f"{self} runs already"
        self.lines, self.ready_after = [], None
        self.started_at = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(*more), stdout=subprocess.PIPE,
                                            stderr=log, stdin=subprocess.DEVNULL, text=True,
                                            preexec_fn=_die_with_the_test)
        threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True).start()
        return self

    def _read(self, process: subprocess.Popen, lines: list) -> None:
        for line in process.stdout:
            if line.startswith("holon: ready") and self.ready_after is None:
                self.ready_after = time.monotonic() - self.started_at
            lines.append(line.rstrip("\n"))

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def ready(self) -> bool:
        return any(line.startswith("holon: ready") for line in self.lines)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_ready(self, seconds: float = READY_SECONDS) -> "Node":
        def ready_or_dead():
            if not self.alive:
                raise RuntimeError(f"{self} ended with {self.process.returncode}: "
                                   f"{self.log()[-2000:]}")
            return self.ready
        until(f"{self} prints that it is ready", ready_or_dead, seconds)
        return self

    def wait_exit(self, seconds: float = 10) -> int:
        return self.process.wait(timeout=seconds)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As losing the process: SIGKILL, gone when this returns."""
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self, seconds: float = 15) -> int:
        self.signal(signal.SIGTERM)
        return self.wait_exit(seconds)

    def end(self) -> None:
        """After a test, whatever state it is in."""
        if self.process is None:
            return
        if self.alive:
            self.process.kill()
        self.process.wait(timeout=10)
        self.process.stdout.close()

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wipe(self) -> None:
        assert not self.alive
        shutil.rmtree(self.data)

    def client(self, timeout: float = 15) -> resp.Client:
        return resp.Client(self.redis, timeout, self.host)

    def call(self, *arguments, timeout: float = 15):
        with self.client(timeout) as client:
            return client.call(*arguments)

    def http(self, path: str, timeout: float = 5) -> tuple:
        """(status, body) of the admin listener."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.admin}{path}",
                                        timeout=timeout) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self) -> dict:
        return json.loads(self.http("/status")[1])

    @property
    def healthy(self) -> bool:
        return self.http("/health")[0] == 200

    # What the kernel knows about the process.

    def _proc(self, name: str) -> str:
        return pathlib.Path(f"/proc/{self.pid}/{name}").read_text(encoding="ascii")

    def cpu_seconds(self) -> float:
        """Of all threads, in nanoseconds' precision."""
        tasks = pathlib.Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def wakeups(self) -> int:
        """How often its threads went to sleep."""
        tasks = pathlib.Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(),
                                 re.M).group(1)) for task in tasks)

    def bytes_written(self) -> int:
        return int(re.search(r"^write_bytes: (\d+)", self._proc("io"), re.M).group(1))

    def resident(self) -> int:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", self._proc("status"), re.M).group(1)) * 1024

    def proportional(self) -> int:
        return int(re.search(r"^Pss:\s+(\d+) kB", self._proc("smaps_rollup"),
                             re.M).group(1)) * 1024


class Cluster:
    """Founded by one --cluster line of all nodes. With `proxied`, that line points to proxies
    and cluster.network can cut nodes from each other; with `hosts` each node is a machine of its
    own, and hosts cuts them. `each` are options of the single nodes."""

    def __init__(self, directory: pathlib.Path, count: int = 3, proxied: bool = False,
                 options: tuple = (), hosts: Optional[Hosts] = None, each: tuple = ()):
        self.nodes = [Node(f"n{i + 1}", directory, ["--workers", "1", *options, *(each[i] if each else ())])
                      for i in range(count)]
        for node in self.nodes if hosts else ():
            hosts.place(node)
        self.network: Optional[Network] = None
        if proxied:
            self.network = Network(lambda: {n.name: n.pid for n in self.nodes if n.alive})
        if count > 1:
            line = ",".join(f"{n.name}={n.host}:{self._reached_at(n)}" for n in self.nodes)
            for node in self.nodes:
                node.options += ["--cluster", line]

    def _reached_at(self, node: Node) -> int:
        if self.network is None:
            return node.peer
        port = free_port()
        self.network.add(node.name, port, node.peer)
        return port

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def __iter__(self):
        return iter(self.nodes)

    def start(self, seconds: float = READY_SECONDS) -> "Cluster":
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(seconds)
        return self

    def end(self) -> None:
        for node in self.nodes:
            node.end()
        if self.network:
            self.network.close()

    def others(self, *without: Node) -> list:
        return [node for node in self.nodes if node not in without]

    def wait_healthy(self, seconds: float = 20) -> None:
        """Every running node can serve reads and writes of all partitions."""
        for node in self.nodes:
            if node.alive:
                until(f"{node} is healthy", lambda n=node: n.healthy, seconds)

    def node_ids(self) -> dict:
        return {node.call("CLUSTER", "MYID"): node for node in self.nodes if node.alive}

    def leaders(self, via: Node) -> list:
        """(first slot, last slot, leading node or None) as one node sees it."""
        ids = self.node_ids()
        return [(entry[0], entry[1], ids.get(entry[2][2])) for entry in via.call("CLUSTER",
                                                                                "SLOTS")]

    def leader_of(self, key: str, via: Node) -> Optional[Node]:
        slot = via.call("CLUSTER", "KEYSLOT", key)
        for first, last, node in self.leaders(via):
            if first <= slot <= last:
                return node
        return None

    def key_led_by(self, node: Node, via: Node, prefix: str) -> str:
        ranges = self.leaders(via)
        with via.client() as client:
            for number in range(2000):
                slot = client.call("CLUSTER", "KEYSLOT", f"{prefix}{number}")
                if any(f <= slot <= l and who is node for f, l, who in ranges):
                    return f"{prefix}{number}"
        raise AssertionError(f"{node} leads no partition, says {via}")
