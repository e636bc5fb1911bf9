"""What is asked for at once by several operators, and what must be refused: with the reason and the
next step, and nothing changed. Wrong tokens, names and directories: test_join.py."""
import pathlib
import re
import subprocess
import threading

import pytest

from cluster import Node
from operate import holon, is_settled, loads, run_holon, token, wait_settled
from waiting import until

CLOCK_SHIM = pathlib.Path(__file__).with_name("clock_off.c")


def at_once(*calls) -> list:
    """Their results; all begin in the same instant."""
    results, start = [None] * len(calls), threading.Barrier(len(calls))

    def run(number):
        start.wait()
        results[number] = calls[number]()
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def draining(via) -> set:
    return {node["name"] for node in via.status()["nodes"] if node["draining"]}


def joiner(cluster, name, directory, *options) -> Node:
    directory.mkdir(exist_ok=True)
    node = Node(name, directory, ["--workers", "1", "--join", f"127.0.0.1:{cluster[0].peer}", *options])
    cluster.nodes.append(node)
    return node


def test_operators_who_would_empty_all_nodes(make_cluster):
    """One for each node, each at another one: whoever comes last is told that his is the only one left."""
    cluster = make_cluster(count=3, options=("--partitions", "8"))
    wait_settled(cluster[0], cluster, 60)
    for _ in range(4):
        results = at_once(*(lambda n=node: run_holon(n, "node", "drain", n.name) for node in cluster))
        refused = [(cluster[i], text) for i, (code, text) in enumerate(results) if code != 0]
        assert len(refused) == 1, results
        node, text = refused[0]
        assert f"{node.name} is the only node that is not being drained" in text and "add a node first" in text
        others = {other.name for other in cluster.others(node)}
        until("all know it", lambda: all(draining(via) == others for via in cluster), 10)
        for name in others:
            holon(node, "node", "undrain", name)
        until("all know it", lambda: all(draining(via) == set() for via in cluster), 10)
    wait_settled(cluster[0], cluster, 60)


def test_one_removes_a_node_and_another_one_takes_it_back(make_cluster, directory):
    cluster = make_cluster(count=3, options=("--partitions", "8"))
    one, two, last = cluster
    wait_settled(one, cluster, 60)
    assert "is in use" in holon(one, "node", "remove", last.name, code=1)
    holon(one, "node", "drain", last.name)
    early = holon(two, "node", "remove", last.name, code=1)
    assert "still holds" in early and "wait until" in early
    until("it is empty", lambda: loads(one)[last.name] == 0 and is_settled(one, cluster), 60)
    removed, back = at_once(lambda: run_holon(one, "node", "remove", last.name),
                            lambda: run_holon(two, "node", "undrain", last.name))
    assert (removed[0] == 0) != (back[0] == 0), (removed, back)
    if removed[0] == 0:
        assert re.search(rf"{last.name} is not in the cluster|no node|was removed from this cluster", back[1]), back
        assert last.wait_exit(30) != 0
        wait_settled(one, [one, two], 60)
    else:
        assert f"{last.name} is in use" in removed[1] and "holon node drain" in removed[1], removed
        wait_settled(one, cluster, 60)
        assert draining(one) == set()


def test_too_few_nodes(make_cluster):
    alone = make_cluster(count=1, options=("--partitions", "4"))[0]
    epoch = alone.status()["table_epoch"]
    assert "add a node first" in holon(alone, "node", "drain", "n1", code=1)
    assert "holon node drain n1" in holon(alone, "node", "remove", "n1", code=1)
    assert alone.status()["table_epoch"] == epoch and alone.healthy


def test_one_token_for_two_nodes_and_one_name_for_two(make_cluster, directory):
    cluster = make_cluster(count=1, options=("--partitions", "4"))
    one = cluster[0]
    secret = token(one, "token")
    pair = [joiner(cluster, name, directory / name, "--token", secret) for name in ("a", "b")]
    both = [joiner(cluster, "c", directory / place, "--token", token(one, "token")) for place in ("c1", "c2")]
    for node in pair + both:
        node.start()
    for first, second, why in ((*pair, "was used already"), (*both, "there is a node c already")):
        def one_is_refused():
            return [n for n in (first, second) if not n.alive]
        refused = until("one of them is refused", one_is_refused, 30)
        assert len(refused) == 1 and why in refused[0].log(), [n.log() for n in (first, second)]
        winner = second if refused[0] is first else first
        winner.wait_ready(60)
        assert not (refused[0].data / "identity").exists()
    assert len(one.status()["nodes"]) == 3


@pytest.mark.parametrize("seconds", [300, -300])
def test_a_clock_that_is_minutes_off_does_not_join(make_cluster, directory, seconds):
    cluster = make_cluster(count=1, options=("--partitions", "4"))
    one, epoch = cluster[0], cluster[0].status()["table_epoch"]
    library = directory / "clock_off.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, CLOCK_SHIM, "-ldl"],
                   check=True, timeout=60)
    node = joiner(cluster, "n2", directory / "late", "--token", token(one, "token"))
    node.prefix = ["env", f"LD_PRELOAD={library}", f"HOLON_CLOCK_OFF={seconds}"]
    assert node.start().wait_exit(30) != 0
    log = node.log()
    assert re.search(r"the clock of this machine is (299|300|301) s (ahead|behind)", log) and "NTP" in log, log
    assert not (node.data / "identity").exists() and not (node.data / "joining").exists()
    assert one.status()["table_epoch"] == epoch and len(one.status()["nodes"]) == 1
    node.prefix = []  # the clock is set: the same command, and the token is still good
    node.start().wait_ready(60)
    assert len(one.status()["nodes"]) == 2
