"""history.py - records what concurrent clients asked and were told, for lincheck.py.

Each client is a thread with one connection to one node and sends pipelines of GET, SET, DEL and
INCR. When its connection is lost, the outcome of everything that was not answered is unknown
(or, for a read, of no interest); it then connects again, for as long as the run lasts. An error
reply is recorded and makes the outcome unknown, too."""
import dataclasses
import json
import random
import threading
import time

import resp
from lincheck import Operation

RECONNECT_SECONDS = 0.02


@dataclasses.dataclass
class Plan:
    pipeline: int = 4
    keys: int = 24             # registers; as many counters
    pause_seconds: float = 0.0  # between pipelines: load is steady, not the most possible


class Recorder:
    """One run: start(), disturb the cluster, finish() gives the operations."""

    def __init__(self, ports: list, name: str, clients: int, plan: Plan, seed: int = 1):
        self.plan = plan
        self.name = name  # keys begin with it: each run starts from absent keys
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.operations: list = []
        self.errors: list = []  # (port, text) of error replies
        self.lost: list = []    # ports of connections that broke
        self.threads = [
            threading.Thread(target=self._run, daemon=True,
                             args=(i, ports[i % len(ports)], random.Random(seed * 1000 + i)))
            for i in range(clients)]

    def start(self) -> "Recorder":
        for thread in self.threads:
            thread.start()
        return self

    def count(self) -> int:
        return len(self.operations)

    def finish(self, seconds: float = 30) -> list:
        self.stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.1, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client got no answer at all"
        return self.operations

    def read_all(self, port: int) -> None:
        """Reads every key once, through one node: what was acknowledged must be there."""
        with resp.Client(port) as client:
            for kind in ("r", "c"):
                for number in range(self.plan.keys):
                    self._pipeline(-1, client, port, [("get", f"{self.name}:{kind}{number}",
                                                       None)])

    def write(self, path) -> None:
        with open(path, "w", encoding="utf-8") as file:
            for operation in self.operations:
                file.write(json.dumps(dataclasses.asdict(operation)) + "\n")

    def _run(self, number: int, port: int, rng: random.Random) -> None:
        client, sequence = None, 0
        while not self.stopping.is_set():
            if client is None:
                client = self._connect(port)
                continue
            batch = []
            for _ in range(self.plan.pipeline):
                sequence += 1
                batch.append(self._draw(rng, f"{number}.{sequence}"))
            if not self._pipeline(number, client, port, batch):
                client.close()
                client = None
            if self.plan.pause_seconds:
                self.stopping.wait(self.plan.pause_seconds)
        if client:
            client.close()

    def _connect(self, port: int):
        try:
            return resp.Client(port, timeout=20)
        except OSError:
            self.stopping.wait(RECONNECT_SECONDS)
            return None

    def _draw(self, rng: random.Random, value: str) -> tuple:
        number = rng.randrange(self.plan.keys)
        chance = rng.random()
        if chance < 0.35:
            return "incr", f"{self.name}:c{number}", None
        if chance < 0.65:
            return "set", f"{self.name}:r{number}", value
        if chance < 0.95:
            return "get", f"{self.name}:{rng.choice('rc')}{number}", None
        return "del", f"{self.name}:r{number}", None

    def _pipeline(self, number: int, client: resp.Client, port: int, batch: list) -> bool:
        """False: the connection is lost."""
        commands = [(kind, key) if argument is None else (kind, key, argument)
                    for kind, key, argument in batch]
        call = time.monotonic_ns()
        done: list = []
        try:
            client.send(b"".join(resp.encode(*command) for command in commands))
            for _ in commands:
                done.append((client.read(), time.monotonic_ns()))
        except OSError:
            self.lost.append(port)
        self._record(number, port, batch, call, done)
        return len(done) == len(batch)

    def _record(self, number: int, port: int, batch: list, call: int, done: list) -> None:
        done = done + [(None, None)] * (len(batch) - len(done))
        for (kind, key, argument), (result, ret) in zip(batch, done):
            if isinstance(result, resp.ErrorReply):
                self.errors.append((port, str(result)))
                result, ret = None, None
            operation = Operation(number, key, kind, argument, result, call, ret)
            with self.lock:
                self.operations.append(operation)
