"""How long clients of a survivor wait when a leader goes away."""
import statistics
import threading
import time

import pytest

from waiting import until

pytestmark = pytest.mark.alone  # it measures

KILLS = 11
GAP_MEDIAN_MAX = 0.300    # the process dies: peers see the connection close
SILENT_GAP_MAX = 1.0      # the machine goes silent


class Probe:
    """A client of one node that writes one key again and again; remembers when it was answered."""

    def __init__(self, node, key: str):
        self.answers: list = []
        self.problem = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(node, key), daemon=True)
        self.thread.start()
        self.wait_answers(20)

    def _run(self, node, key: str) -> None:
        try:
            with node.client(timeout=20) as client:
                count = 0
                while not self.stopping.is_set():
                    count += 1
                    reply = client.call("SET", key, count)
                    assert reply == "OK", reply
                    self.answers.append(time.monotonic())
        except (OSError, AssertionError) as problem:
            self.problem = problem

    def wait_answers(self, more: int) -> None:
        wanted = len(self.answers) + more
        until("answers go on", lambda: self.problem or len(self.answers) >= wanted, 20)
        assert self.problem is None, self.problem

    def gap_around(self, event: float) -> float:
        """The longest wait that began or was under way after `event`."""
        self.wait_answers(50)
        self.stopping.set()
        self.thread.join(20)
        assert self.problem is None, self.problem
        answers = self.answers
        return max(b - a for a, b in zip(answers, answers[1:]) if b > event)


def gap(cluster, victim, fault) -> float:
    survivor = cluster.others(victim)[0]
    key = until("the victim leads something",
                lambda: cluster.key_led_by(victim, survivor, "probe"), 30, every=0.2)
    probe = Probe(survivor, key)
    event = time.monotonic()
    fault()
    return probe.gap_around(event)


def milliseconds(gaps) -> list:
    return [round(gap * 1000) for gap in gaps]


def test_gap_when_the_process_of_a_leader_dies(three):
    gaps = []
    for number in range(KILLS):
        victim = three[number % 3]
        gaps.append(gap(three, victim, victim.kill))
        victim.start().wait_ready()
        three.wait_healthy()
    print(f"gaps when a leader's process dies, ms: {milliseconds(gaps)}")
    assert statistics.median(gaps) <= GAP_MEDIAN_MAX, milliseconds(gaps)


def test_gap_when_a_machine_is_paused(three):
    gaps = []
    for victim in three:
        gaps.append(gap(three, victim, victim.pause))
        victim.resume()
        three.wait_healthy()
    print(f"gaps when a machine goes silent, ms: {milliseconds(gaps)}")
    assert statistics.median(gaps) <= SILENT_GAP_MAX, milliseconds(gaps)


def test_gap_when_a_machine_is_cut_off(make_cluster):
    cluster = make_cluster(proxied=True)
    cluster.wait_healthy()
    names = [node.name for node in cluster]
    gaps = []
    for victim in cluster:
        gaps.append(gap(cluster, victim, lambda v=victim: cluster.network.isolate(v.name, names)))
        cluster.network.heal()
        cluster.wait_healthy()
    print(f"gaps when a machine is cut off, ms: {milliseconds(gaps)}")
    assert statistics.median(gaps) <= SILENT_GAP_MAX, milliseconds(gaps)
