"""troubles.py - a cluster in trouble at random: nodes are killed and start again, stand still, hear each other no more.
A minority at a time, now and then all are killed at once; in between it is calm.

    troubles = Troubles(cluster, hosts or None, seed, check)
    troubles.go_on(seconds)     each kind once at least; in the end all is healed
    troubles.counts             kind -> how often

`check()` is called all the while, and raises if something is wrong. The seed draws what happens to whom and for how
long, not what the machine makes of it. With hosts (hosts.py) links lose packets, in one direction or both; else, with
a cluster that is `proxied`, they hold bytes back (proxy.py)."""
import collections
import random
import time
from typing import Callable, Optional

from hosts import Hosts
from waiting import observe

SHORTEST_SECONDS, LONGEST_SECONDS = 0.2, 8.0
CALM_SECONDS = 4.0  # at most
ALL_KILLED_ONE_IN = 12
BACK_SECONDS = 60  # for a start, or for all to be healthy: others use the machine, too


class Troubles:
    def __init__(self, cluster, hosts: Optional[Hosts], seed: int, check: Callable[[], None]):
        self.cluster, self.hosts, self.check = cluster, hosts, check
        self.rng = random.Random(f"troubles {seed}")
        self.counts: collections.Counter = collections.Counter()
        self.began = time.monotonic()
        self.kinds = {"killed": self._kill, "paused": self._pause, "cut off": self._cut_off,
                      "one link broken": self._break_link, "killed while cut off": self._kill_cut_off}

    def go_on(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        first = [*self.kinds, "all killed"]
        self.rng.shuffle(first)
        while first or time.monotonic() < end:
            self._one(first.pop() if first else self._draw())
            self._wait_healthy()
            if first or time.monotonic() < end:
                self._wait(self.rng.uniform(0, CALM_SECONDS))

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + BACK_SECONDS
        while not all(self._is_healthy(node) for node in self.cluster):
            assert time.monotonic() < deadline, f"not all nodes are healthy after {BACK_SECONDS} s"
            self._wait(0.1)

    @staticmethod
    def _is_healthy(node) -> bool:
        try:
            return node.healthy
        except OSError:
            return False

    def _draw(self) -> str:
        return "all killed" if self.rng.randrange(ALL_KILLED_ONE_IN) == 0 else self.rng.choice(list(self.kinds))

    def _one(self, kind: str) -> None:
        count = self.rng.randint(1, (len(self.cluster.nodes) - 1) // 2)
        victims = self.rng.sample(self.cluster.nodes, count)
        seconds = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** self.rng.random()
        self.counts[kind] += 1
        if kind == "all killed":
            self.say(kind)
            self._kill_all()
        else:
            self.say(f"{kind}: {' '.join(node.name for node in victims)}, {seconds:.1f} s")
            self.kinds[kind](victims, seconds)

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {what}", flush=True)

    def _wait(self, seconds: float) -> None:
        observe(seconds, self.check)

    # --- what happens ------------------------------------------------------------------------------

    def _kill(self, victims, seconds: float) -> None:
        for node in victims:
            node.kill()
        self._wait(seconds)
        for node in victims:
            node.start()
        for node in victims:
            node.wait_ready(BACK_SECONDS)

    def _kill_all(self) -> None:
        for node in self.cluster:
            node.process.kill()
        for node in self.cluster:
            node.wait_exit()
        self.cluster.start(BACK_SECONDS)

    def _pause(self, victims, seconds: float) -> None:
        for node in victims:
            node.pause()
        self._wait(seconds)
        for node in victims:
            node.resume()

    def _cut_off(self, victims, seconds: float) -> None:
        directions = self.rng.choice(("both", "both", "in", "out"))
        for node in victims:
            self._silence(node, directions)
        self._wait(seconds)
        self._heal()

    def _break_link(self, victims, seconds: float) -> None:
        other = self.rng.choice(self.cluster.others(victims[0]))
        self._cut_one_way(victims[0], other)
        if self.rng.random() < 0.5:
            self._cut_one_way(other, victims[0])
        self._wait(seconds)
        self._heal()

    def _kill_cut_off(self, victims, seconds: float) -> None:
        """They start again while nobody hears them."""
        for node in victims:
            self._silence(node, "both")
        self._wait(seconds / 2)
        for node in victims:
            node.kill()
            node.start()
        self._wait(seconds / 2)
        self._heal()
        for node in victims:
            node.wait_ready(BACK_SECONDS)

    # --- links -------------------------------------------------------------------------------------

    def _silence(self, node, directions: str) -> None:
        for other in self.cluster.others(node):
            if directions != "out":
                self._cut_one_way(other, node)
            if directions != "in":
                self._cut_one_way(node, other)

    def _cut_one_way(self, source, target) -> None:
        if self.hosts:
            self.hosts.cut_one_way(source, target)
        else:
            self.cluster.network.cut(source.name, target.name)

    def _heal(self) -> None:
        (self.hosts or self.cluster.network).heal()
