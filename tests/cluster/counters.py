"""counters.py - clients that count, each its own keys, one request after the other, so that every
answer tells whether a write was lost or done twice, also after answers that never came.

A counter holds what was answered last, plus some of the requests since whose outcome is unknown.
`-UNAVAILABLE` means that it was surely not executed, as does a connection that was refused."""
import threading
import time

import resp

KEYS_EACH = 20


class Counters:
    """One client of each node, or more. `errors`: every reply that was an error and every broken
    connection, as (seconds of the clock, name of the node, text). `wrong`: what cannot be."""

    def __init__(self, nodes, name: str = "c", each: int = 1, pause_seconds: float = 0.0, timeout: float = 30):
        self.name, self.pause_seconds, self.timeout = name, pause_seconds, timeout
        self.stopping = threading.Event()
        self.least: dict = {}    # key -> what the counter surely holds
        self.unknown: dict = {}  # key -> requests since of unknown outcome
        self.errors: list = []
        self.wrong: list = []
        self.took: list = []     # (end, seconds) of every answer
        self.answered = {node.name: 0.0 for node in nodes}
        self.threads = [threading.Thread(target=self._run, args=(node, number), daemon=True)
                        for node in nodes for number in range(each)]

    def start(self) -> "Counters":
        for thread in self.threads:
            thread.start()
        return self

    def finish(self, seconds: float = 40) -> "Counters":
        self.stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.1, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client got no answer at all"
        return self

    def goes_on(self, nodes) -> bool:
        """The clients of these nodes have been answered by now, and a moment ago."""
        return all(time.monotonic() - self.answered[node.name] < 0.2 for node in nodes)

    def errors_of(self, nodes) -> list:
        names = {node.name for node in nodes}
        return [error for error in self.errors if error[1] in names]

    def percentile(self, since: float, until: float, share: float = 0.99) -> float:
        """Seconds that the requests took that were answered in that time."""
        took = sorted(seconds for end, seconds in self.took if since <= end < until)
        assert took, "nothing was answered in that time"
        return took[min(len(took) - 1, int(len(took) * share))]

    def check(self, via) -> None:
        """At the end: every counter, through that node."""
        assert self.wrong == []
        assert self.least, "nothing was counted"
        with via.client(self.timeout) as client:
            for key, least in self.least.items():
                value = client.call("GET", key)
                assert not isinstance(value, resp.ErrorReply), value
                found = int(value or 0)
                assert least <= found <= least + self.unknown[key], (key, found, least, self.unknown[key])

    def _run(self, node, number: int) -> None:
        client, turn = None, 0
        while not self.stopping.is_set():
            turn += 1
            key = f"{self.name}:{node.name}:{number}:{turn % KEYS_EACH}"
            sent = False
            try:
                client = client or node.client(self.timeout)
                began, sent = time.monotonic(), True
                reply = client.call("INCR", key) if turn % 4 else client.call("GET", key)
                self._judge(node, key, reply, began, writes=turn % 4 != 0)
            except OSError as error:
                self.errors.append((time.monotonic(), node.name, repr(error)))
                self._note(key, 1 if sent and turn % 4 else 0)
                client = client.close() if client else None
                self.stopping.wait(0.05)
            if self.pause_seconds:
                self.stopping.wait(self.pause_seconds)
        if client:
            client.close()

    def _note(self, key: str, unknown: int) -> None:
        self.least.setdefault(key, 0)
        self.unknown[key] = self.unknown.get(key, 0) + unknown

    def _judge(self, node, key: str, reply, began: float, writes: bool) -> None:
        end = time.monotonic()
        self._note(key, 0)
        if isinstance(reply, resp.ErrorReply):
            self.errors.append((end, node.name, str(reply)))
            self._note(key, 1 if writes and not reply.startswith("UNAVAILABLE") else 0)
            return
        value, least = int(reply or 0), self.least[key] + (1 if writes else 0)
        if not least <= value <= least + self.unknown[key]:
            self.wrong.append((node.name, key, "INCR" if writes else "GET", value, least, self.unknown[key]))
        self.unknown[key] -= value - least
        self.least[key] = value
        self.took.append((end, end - began))
        self.answered[node.name] = end
