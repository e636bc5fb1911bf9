"""Killed, paused, cut off, wiped: nothing acknowledged is lost or done twice, every history is
linearizable, and clients of the other nodes see no error."""
import os
import random

import pytest

from history import Plan, Recorder
from lincheck import check
from waiting import until

KILL_ROUNDS = int(os.environ.get("HOLON_KILL_ROUNDS", "10"))
ROUNDS_PER_RECORDER = 5  # unknown outcomes of one key make the check costly
SEED = int(os.environ.get("HOLON_SEED", "1"))
STEADY = Plan(pipeline=4, keys=24, pause_seconds=0.004)


def recorder(cluster, name: str, clients: int = 6) -> Recorder:
    return Recorder([node.redis for node in cluster], name, clients, STEADY, SEED).start()


def progress(run: Recorder, count: int) -> None:
    wanted = run.count() + count
    until(f"{count} more operations", lambda: run.count() >= wanted, 30)


def judge(run: Recorder, cluster, directory) -> None:
    """Ends the run, reads every key through every node, and checks the whole history."""
    run.finish()
    for node in cluster:
        run.read_all(node.redis)
    unknown = sum(operation.unknown for operation in run.operations)
    print(f"{run.name}: {run.count()} operations, {unknown} of unknown outcome, "
          f"{len(run.lost)} connections lost")
    verdict = check(run.operations)
    if not verdict.good:
        kept = directory.parent / f"{run.name}-not-linearizable.jsonl"
        run.write(kept)
        raise AssertionError(f"not linearizable: {verdict.operation.describe()}; the key could "
                             f"only be one of {verdict.values}; history: {kept}")
    assert run.errors == []


def test_kill_9_of_random_nodes_under_load(three, directory):
    rng = random.Random(SEED)
    for start in range(0, KILL_ROUNDS, ROUNDS_PER_RECORDER):
        run = recorder(three, f"kill{start}")
        for _ in range(min(ROUNDS_PER_RECORDER, KILL_ROUNDS - start)):
            progress(run, 200)
            victim = rng.choice(three.nodes)
            victim.kill()
            progress(run, 200)
            victim.start().wait_ready()
            three.wait_healthy()
        judge(run, three, directory)


def test_all_nodes_killed_at_once_under_load(three, directory):
    rounds = max(2, KILL_ROUNDS // 4)
    for start in range(0, rounds, ROUNDS_PER_RECORDER):
        run = recorder(three, f"all{start}")
        for _ in range(min(ROUNDS_PER_RECORDER, rounds - start)):
            progress(run, 300)
            for node in three:
                node.process.kill()
            for node in three:
                node.wait_exit()
            three.start()
            three.wait_healthy()
        progress(run, 100)
        judge(run, three, directory)


def test_two_nodes_killed_at_once_block_and_then_go_on(three, directory):
    run = recorder(three, "two")
    for survivor in three:
        progress(run, 200)
        victims = three.others(survivor)
        for node in victims:
            node.process.kill()
        for node in victims:
            node.wait_exit()
        for node in victims:
            node.start()
        for node in victims:
            node.wait_ready()
        three.wait_healthy()
    judge(run, three, directory)


def test_paused_nodes_serve_nothing_stale_when_they_go_on(three, directory):
    rng = random.Random(SEED)
    run = recorder(three, "pause")
    for _ in range(5):
        progress(run, 200)
        victim = rng.choice(three.nodes)
        victim.pause()
        progress(run, 150)
        victim.resume()
        three.wait_healthy()
    judge(run, three, directory)


def test_cut_off_nodes_serve_nothing_stale(make_cluster, directory):
    """The node is cut from both others but not from its clients, then from one other."""
    cluster = make_cluster(proxied=True)
    cluster.wait_healthy()
    rng = random.Random(SEED)
    run = recorder(cluster, "cut")
    for number in range(6):
        progress(run, 200)
        victim = rng.choice(cluster.nodes)
        if number % 2 == 0:
            cluster.network.isolate(victim.name, [node.name for node in cluster])
        else:
            cluster.network.cut(victim.name, rng.choice(cluster.others(victim)).name)
        progress(run, 150)
        cluster.network.heal()
        cluster.wait_healthy()
    judge(run, cluster, directory)


def write_numbers(cluster, name: str, count: int) -> None:
    for node in cluster:
        assert node.alive
    with cluster[0].client() as client:
        for first in range(0, count, 100):
            replies = client.pipeline([("SET", f"{name}{n}", n)
                                       for n in range(first, min(first + 100, count))])
            assert set(replies) == {"OK"}, replies[:3]


def check_numbers(node, name: str, count: int) -> None:
    with node.client() as client:
        for first in range(0, count, 100):
            wanted = range(first, min(first + 100, count))
            assert client.pipeline([("GET", f"{name}{n}") for n in wanted]) == \
                [str(n) for n in wanted]


def test_a_wiped_node_returns_as_a_learner_and_is_promoted(three, directory):
    """All three are wiped in turn, under load: what was written before came through snapshots.
    At the end each is really a voter: with another one dead, writes still commit."""
    write_numbers(three, "n", 2000)
    run = recorder(three, "wipe", clients=3)
    for victim in three:
        store = victim.status()
        victim.kill()
        victim.wipe()
        progress(run, 100)
        victim.start().wait_ready(30)
        three.wait_healthy(60)
        until(f"{victim} votes again", lambda: all_voters(three), 60)
        assert victim.status() != store
    judge(run, three, directory)
    for victim in three:
        victim.kill()
        for survivor in three.others(victim):
            check_numbers(survivor, "n", 2000)
            assert survivor.call("INCR", "alive") > 0
        victim.start().wait_ready()
        three.wait_healthy()


def all_voters(cluster) -> bool:
    """No partition has a learner or a missing replica, says every node."""
    return all(node.http("/status")[0] == 200 and not node.status().get("problems")
               for node in cluster)


def newest_log_file(node):
    files = [path for path in node.data.rglob("*") if path.is_file() and "log" in str(
        path.relative_to(node.data)) and path.stat().st_size > 1 << 16]
    return max(files, key=lambda path: path.stat().st_mtime)


def data_end(path) -> int:
    """One past the last byte of a preallocated file that is not zero."""
    return len(path.read_bytes().rstrip(b"\0"))


@pytest.mark.parametrize("torn", ["zeros and noise", "half of a batch"])
def test_a_torn_log_tail_is_cut(three, directory, torn):
    """What a power loss leaves of a write that was never acknowledged, after the last batch."""
    write_numbers(three, "t", 500)
    victim = three[1]
    run = recorder(three, "torn", clients=3)
    progress(run, 300)
    victim.kill()
    path = newest_log_file(victim)
    end = (data_end(path) + 4095) // 4096 * 4096
    with open(path, "r+b") as file:
        if torn == "half of a batch":
            file.seek(end - 4096)
            tail = file.read(2048)
        else:
            tail = bytes(1500) + random.Random(SEED).randbytes(900)
        file.seek(end)
        file.write(tail)
    progress(run, 100)
    victim.start().wait_ready()
    three.wait_healthy()
    progress(run, 100)
    judge(run, three, directory)
    check_numbers(victim, "t", 500)


def test_more_data_than_a_flush_survives_the_death_of_all(three, directory):
    """Enough to be flushed to the engine and cut from the log; then all die, one is wiped."""
    value, count = "v" * 16000, 12000  # 183 MiB
    with three[0].client(timeout=30) as client:
        for first in range(0, count, 100):
            replies = client.pipeline([("SET", f"big{n}", f"{n}:{value}")
                                       for n in range(first, first + 100)])
            assert set(replies) == {"OK"}, replies[:3]
    for node in three:
        node.process.kill()
    for node in three:
        node.wait_exit()
    three[2].wipe()
    three.start()
    three.wait_healthy(60)
    until("the wiped node has caught up", lambda: all_voters(three), 60)
    three[0].kill()
    with three[2].client(timeout=30) as client:
        for first in range(0, count, 100):
            replies = client.pipeline([("GET", f"big{n}") for n in range(first, first + 100)])
            assert replies == [f"{n}:{value}" for n in range(first, first + 100)], first
