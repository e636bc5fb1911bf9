"""An idle cluster costs nothing: processor, disk, memory."""
import os
import re
import time

import pytest

from waiting import observe, until

pytestmark = pytest.mark.alone  # it measures

SECONDS = float(os.environ.get("HOLON_IDLE_SECONDS", "10"))
CPU_PERCENT_MAX = 0.5        # of one core, all three nodes in sum
WAKEUPS_MAX = 60             # a second, all three nodes in sum
WINDOWS = 3
CALM_SECONDS = 6
RESIDENT_MAX = 80 << 20      # per node
PROPORTIONAL_MAX = 40 << 20  # per node


def rests(node) -> tuple[int, int]:
    """How often its one worker's groups came to rest, and how often they woke."""
    text = node.http("/metrics")[1]
    return tuple(int(re.search(rf"^holon_{name}_total (\d+)$", text, re.M).group(1))
                 for name in ("rests", "rest_wakes"))


def all_rest(cluster) -> bool:
    return all(begun > ended for begun, ended in map(rests, cluster))


def settle(cluster) -> None:
    """Until all groups rest, and did for a while in which nothing was written: the preferred replicas lead
    again, and what the start and the writes left is done."""
    last = {"seen": None, "since": time.monotonic()}

    def quiet() -> bool:
        seen = [(node.bytes_written(), rests(node)) for node in cluster]
        if seen != last["seen"] or not all_rest(cluster):
            last.update(seen=seen, since=time.monotonic())
        return time.monotonic() - last["since"] >= CALM_SECONDS

    until("the cluster rests and stops writing", quiet, 120, every=0.5)


class Window:
    """What all nodes did for a while, in sum and by the second."""

    def __init__(self, cluster) -> None:
        before, start = self.counts(cluster), time.monotonic()
        observe(SECONDS, lambda: None, every=0.5)
        took = time.monotonic() - start
        cpu, wakeups, self.rests = (now - then for now, then in zip(self.counts(cluster), before))
        self.cpu_percent, self.wakeups = cpu / took * 100, wakeups / took

    @staticmethod
    def counts(cluster) -> tuple[float, int, int]:
        return (sum(node.cpu_seconds() for node in cluster), sum(node.wakeups() for node in cluster),
                sum(rests(node)[1] for node in cluster))

    def is_good(self) -> bool:
        return self.cpu_percent <= CPU_PERCENT_MAX and self.wakeups <= WAKEUPS_MAX and self.rests == 0

    def __str__(self) -> str:
        return f"{self.cpu_percent:.2f} % CPU, {self.wakeups:.0f} wake-ups/s, {self.rests} rests ended"


def test_an_idle_cluster_uses_next_to_nothing(three):
    """Other work on the machine can only make it more, and holds nodes up so that they wake: the best of
    three windows counts."""
    for number in range(100):
        assert three[number % 3].call("SET", f"key{number}", "x" * 64) == "OK"
    settle(three)
    written = [node.bytes_written() for node in three]
    windows = [Window(three)]
    while not windows[-1].is_good() and len(windows) < WINDOWS:
        windows.append(Window(three))
    written = [node.bytes_written() - before for node, before in zip(three, written)]
    resident = [node.resident() >> 20 for node in three]
    proportional = [node.proportional() >> 20 for node in three]
    seen = "; ".join(map(str, windows))
    print(f"idle, in sum: {seen}; bytes written {written}, resident {resident} MiB, proportional "
          f"{proportional} MiB")
    assert written == [0, 0, 0]
    assert windows[-1].is_good(), seen
    assert max(resident) <= RESIDENT_MAX >> 20
    assert max(proportional) <= PROPORTIONAL_MAX >> 20


NINE_CPU_PERCENT_MAX = 1.0  # of one core, each node


@pytest.mark.long
def test_nine_idle_nodes_cost_no_more_each(make_cluster):
    """Each beats to eight others, for 256 partitions; whatever else runs on the machine: the best of three windows."""
    cluster = make_cluster(count=9, options=("--partitions", "256"))
    for number in range(100):
        assert cluster[number % 9].call("SET", f"key{number}", "x" * 64) == "OK"
    settle(cluster)
    seen = []
    for _ in range(WINDOWS):
        before = [(node.cpu_seconds(), node.bytes_written()) for node in cluster]
        window = Window(cluster)
        cpu = [(node.cpu_seconds() - then[0]) / SECONDS * 100 for node, then in zip(cluster, before)]
        written = [node.bytes_written() - then[1] for node, then in zip(cluster, before)]
        seen.append(f"{window}; of each {max(cpu):.2f} % at most, {sum(written)} bytes written")
        print(f"idle, nine nodes, in sum: {seen[-1]}")
        if max(cpu) <= NINE_CPU_PERCENT_MAX and window.rests == 0 and sum(written) == 0:
            return
    raise AssertionError("; ".join(seen))
