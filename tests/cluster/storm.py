"""storm.py - connections full of transactions, each of which writes one number to both keys of a pair: in whatever
state the cluster is, both keys are equal, and hold nothing older than what was acknowledged."""
import threading
import time

import resp
from slots import key_in

IN_FLIGHT = 32  # transactions on one connection


def pairs_over(partitions: int, count: int, name: str) -> list:
    """Pairs of keys; the two keys of a pair lie in different partitions, and the pairs in different ones, too."""
    return [tuple(key_in((2 * number + side) % partitions, partitions, f"{name}:{number}:{'lr'[side]}")
                  for side in (0, 1)) for number in range(count)]


def write(pair, number) -> list:
    return [("MULTI",), ("SET", pair[0], number), ("SET", pair[1], number), ("EXEC",)]


class Storm:
    """One connection for each list of pairs, until it breaks or finish()."""

    def __init__(self, node, pair_lists, timeout: float = 20):
        self.node, self.timeout = node, timeout
        self.stopping = threading.Event()
        self.sent: dict = {pair: 0 for pairs in pair_lists for pair in pairs}
        self.acknowledged: dict = dict(self.sent)
        self.answers: list = []  # when one came
        self.errors: list = []
        self.broken: list = []
        self.threads = [threading.Thread(target=self._run, args=(pairs,), daemon=True) for pairs in pair_lists]
        for thread in self.threads:
            thread.start()

    def _run(self, pairs) -> None:
        number = 0
        try:
            with self.node.client(self.timeout) as client:
                while not self.stopping.is_set():
                    batch = []
                    for _ in range(IN_FLIGHT):
                        number += 1
                        batch.append((pairs[number % len(pairs)], number))
                        self.sent[batch[-1][0]] = number
                    client.send(b"".join(resp.encode(*command) for one in batch for command in write(*one)))
                    for pair, written in batch:
                        self._judge(pair, written, [client.read() for _ in range(4)])
        except OSError as error:
            self.broken.append(error)

    def _judge(self, pair, number, replies) -> None:
        if replies != ["OK", "QUEUED", "QUEUED", ["OK", "OK"]]:
            self.errors.append(replies)
            return
        self.acknowledged[pair] = number
        self.answers.append(time.monotonic())

    def finish(self, seconds: float = 30) -> None:
        self.stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.1, deadline - time.monotonic()))
            assert not thread.is_alive(), "a connection got no answer at all"

    def longest_gap_after(self, moment: float) -> float:
        answers = sorted(self.answers)
        return max((b - a for a, b in zip(answers, answers[1:]) if b > moment), default=0.0)

    def judge_pair(self, pair, values) -> None:
        """What somebody read, once no more is sent."""
        assert isinstance(values, list) and len(values) == 2, values
        assert values[0] == values[1], f"half of a transaction: {dict(zip(pair, values))}"
        assert self.acknowledged[pair] <= int(values[0] or 0) <= self.sent[pair], (
            pair, self.acknowledged[pair], values, self.sent[pair])
