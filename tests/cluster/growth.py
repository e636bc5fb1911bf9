"""growth.py - a cluster of one node with data that grows node by node and shrinks to one again, and
what its clients see: test_growth.py judges that at a small size, bench/grow measures it at a large one."""
import multiprocessing
import pathlib
import random
import time

from cluster import Node
from counters import Counters
from operate import holon, is_settled, of_nodes
from resp import ErrorReply, encode
from waiting import until

BATCH_BYTES = 1 << 20
POOL_BYTES = 8 << 20
CLIENTS = 2       # of each node
PAUSE = 0.01      # seconds between the requests of a client: the load is steady, not the most possible


class Load:
    """Counters in a process of its own, so that what the test does does not slow it."""

    def __init__(self, node, name: str):
        self.node, self.counters = node, Counters([node], name, each=CLIENTS, pause_seconds=PAUSE)
        self.stopping, self.results = multiprocessing.Event(), multiprocessing.Queue()
        self.process = multiprocessing.get_context("fork").Process(target=self._run, daemon=True)
        self.process.start()

    def _run(self) -> None:
        self.counters.start()
        self.stopping.wait()
        told = self.counters.finish()
        self.results.put((told.least, told.unknown, told.errors, told.wrong, told.took))

    def finish(self) -> None:
        self.stopping.set()
        told = self.counters
        told.least, told.unknown, told.errors, told.wrong, told.took = self.results.get(timeout=120)
        self.process.join(30)


class Step:
    """One node more or less: `added` replicas of partitions came to be on nodes that had none."""

    def __init__(self, what: str, nodes: int):
        self.what, self.nodes, self.added, self.places = what, nodes, 0, set()
        self.quiet_from = self.began = self.ended = 0.0


class Growth:
    def __init__(self, directory: pathlib.Path, partitions: int, value_bytes: int, quiet_seconds: float,
                 options: tuple = ()):
        self.directory, self.partitions, self.value_bytes = directory, partitions, value_bytes
        self.quiet_seconds, self.options = quiet_seconds, options
        self.nodes: list = []
        self.ended: list = []  # removed nodes
        self.loads: list = []
        self.steps: list = []
        self.spread: list = []  # (nodes, replicas of each, leaderships of each) at rest
        self._make("--partitions", str(partitions)).start().wait_ready()
        self.one = self.nodes[0]

    def end(self) -> None:
        for node in self.nodes + self.ended:
            node.end()

    def _make(self, *options) -> Node:
        number = len(self.nodes) + 1
        node = Node(f"n{number}", self.directory, ["--workers", "1", *self.options, *options])
        if self.nodes:
            node.options += ["--join", ",".join(f"{n.host}:{n.peer}" for n in self.nodes)]
        self.nodes.append(node)
        return node

    # --- the data ---

    def _values(self):
        """(key, value): the same ones each time."""
        pool, drawn = random.Random(7).randbytes(POOL_BYTES), random.Random(8)
        for number in range(self.count):
            at = drawn.randrange(POOL_BYTES - self.value_bytes)
            yield f"key:{number}", pool[at:at + self.value_bytes]

    def fill(self, mib: int) -> None:
        self.count = (mib << 20) // self.value_bytes
        batch = max(1, BATCH_BYTES // self.value_bytes)
        with self.one.client(60) as client:
            waiting: list = []
            for key, value in self._values():
                waiting.append(("SET", key, value))
                if len(waiting) == batch:
                    self._send(client, waiting)
                    waiting = []
            self._send(client, waiting)

    @staticmethod
    def _send(client, commands) -> None:
        """What was refused as -BUSY was not done: again."""
        while commands:
            replies = client.pipeline(commands)
            refused = [r for r in replies if r != "OK" and not str(r).startswith("BUSY")]
            assert not refused, refused[0]
            commands = [c for c, r in zip(commands, replies) if r != "OK"]

    def check_data(self, via, every: int = 1) -> None:
        batch: list = []
        with via.client(60) as client:
            for number, pair in enumerate(self._values()):
                if number % every == 0:
                    batch.append(pair)
                if len(batch) == 256 or number + 1 == self.count:
                    client.send(b"".join(encode("GET", key) for key, _ in batch))
                    for key, value in batch:
                        got = client.read()
                        assert not isinstance(got, ErrorReply) and got is not None, (key, got)
                        assert got.encode("utf-8", "surrogateescape") == value, key
                    batch = []

    # --- one node more, one node less ---

    def _places(self) -> set:
        return {(group["group"], name) for group in self.one.status()["groups"] if group["group"] >= 1
                for name in group["replicas"]}

    def _follow(self, step: Step, ended) -> None:
        """Until ended(): counts what comes to be where it was not."""
        def look() -> bool:
            now = self._places()
            step.added += len(now - step.places)
            step.places = now
            return ended()
        until(step.what, look, 600, every=0.1)

    def _step(self, what: str) -> Step:
        step = Step(what, len(self.nodes))
        step.quiet_from = time.monotonic()
        until("a quiet while", lambda: time.monotonic() > step.quiet_from + self.quiet_seconds,
              self.quiet_seconds + 5)
        step.began, step.places = time.monotonic(), self._places()
        self.steps.append(step)
        return step

    def _at_rest(self) -> bool:
        """Nothing moves, and each partition is led by somebody that should."""
        return is_settled(self.one, self.nodes)

    def _note_spread(self) -> None:
        def led_evenly():
            leads = of_nodes(self.one, "leads").values()
            return max(leads) - min(leads) <= 2
        until("leaderships are spread", led_evenly, 60)
        self.spread.append((len(self.nodes), list(of_nodes(self.one, "replicas").values()),
                            list(of_nodes(self.one, "leads").values())))

    def load(self, node) -> None:
        self.loads.append(Load(node, f"load-{node.name}"))

    def grow(self) -> None:
        step = self._step(f"from {len(self.nodes)} nodes to {len(self.nodes) + 1}")
        node = self._make().start()
        node.wait_ready(60)
        self._follow(step, self._at_rest)
        step.ended = time.monotonic()
        self._note_spread()

    def shrink(self) -> None:
        node = self.nodes[-1]
        step = self._step(f"from {len(self.nodes)} nodes to {len(self.nodes) - 1}")
        for load in self.loads:
            if load.node is node:
                load.finish()
        holon(self.one, "node", "drain", node.name)
        self._follow(step, lambda: of_nodes(self.one, "replicas")[node.name] == 0 and self._at_rest())
        step.ended = time.monotonic()
        holon(self.one, "node", "remove", node.name)
        node.wait_exit(30)
        self.ended.append(self.nodes.pop())
        self._note_spread()

    # --- what was seen ---

    def finish(self) -> None:
        for load in self.loads:
            if load.process.is_alive():
                load.finish()

    def check(self) -> None:
        """Nothing lost, nothing twice, no error."""
        for load in self.loads:
            assert load.counters.errors == [], load.counters.errors[:3]
            load.counters.check(self.one)
        self.check_data(self.one)

    def latencies(self) -> list:
        """(step, seconds of quiet p99 before it, seconds of p99 meanwhile), of the founder's clients."""
        told = self.loads[0].counters
        return [(step, told.percentile(step.quiet_from, step.began), told.percentile(step.began, step.ended))
                for step in self.steps]
