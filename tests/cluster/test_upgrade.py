"""A cluster of two versions: the previous release, built from the repository's own history, and this
one; under load, forward, back, forward and finalized."""

import fcntl
import json
import pathlib
import subprocess

import pytest

from cluster import HOLON, ROOT
from test_elastic import Load, check_counters, holon
from waiting import until

RELEASES = ROOT / "docs" / "releases.md"
BUILD_SECONDS = 900


def previous_release():
    """(version, commit) of the last line of the table of releases."""
    rows = [line.split("|") for line in RELEASES.read_text().splitlines() if line.startswith("| ")]
    last = [cell.strip() for cell in rows[-1]]
    return last[1], last[3]


@pytest.fixture(scope="module")
def previous():
    """Its program; built once for each commit."""
    version, commit = previous_release()
    there = subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", commit + "^{commit}"], check=False,
                           capture_output=True).returncode == 0
    if not there:
        pytest.skip(f"the history has no commit {commit} of release {version}: a shallow clone?")
    base = pathlib.Path(HOLON).resolve().parent / f"release-{commit}"
    base.mkdir(exist_ok=True)
    with open(base / "lock", "w", encoding="ascii") as lock:  # tests side by side: one builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        build_once(base, commit)
    return str(base / "build" / "holon")


def build_once(base, commit) -> None:
    if not (base / "build" / "holon").exists():
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", str(base)], input=archive, check=True)
        subprocess.run(["meson", "setup", "build", "-Dbuildtype=release"], cwd=base, check=True, capture_output=True,
                       timeout=BUILD_SECONDS)
        subprocess.run(["ninja", "-C", "build", "holon"], cwd=base, check=True, capture_output=True,
                       timeout=BUILD_SECONDS)


def end(load, total):
    errors = load.end()
    assert errors == [], errors[:3]
    for key, count in load.done.items():
        total[key] = total.get(key, 0) + count


def exchange(cluster, node, program, total):
    """One node, while clients of the others go on without an error."""
    load = Load(cluster.others(node))
    until("clients write", lambda: len(load.done) >= 50, 30)
    assert node.stop(30) == 0, node.log()
    node.binary = program
    node.start()
    node.wait_ready(60)
    until("all are whole", lambda: all(other.healthy for other in cluster), 60)
    end(load, total)
    check_counters(node, total)


def test_forward_back_and_forward_without_an_error_for_clients(make_cluster, previous):
    cluster = make_cluster(count=3, start=False, options=("--partitions", "16"))
    for node in cluster:
        node.binary = previous
    cluster.start(60)
    cluster.wait_healthy(60)
    one, total = cluster[0], {}
    one.call("SET", "large", "x" * 3000000)
    one.call("HSET", "hash", *[str(number) for number in range(2000)])
    for key in range(40):
        one.call("SET", f"fill:{key}", "y" * 1000000)  # more than a flush
    exchange(cluster, one, HOLON, total)
    answer = holon(one, "upgrade", "finalize", code=1)
    assert "n2 runs a version that supports cluster version 1" in answer or "n3 runs" in answer, answer
    assert "earlier" in holon(one, "upgrade", "status")
    for program, nodes in ((previous, [one]), (HOLON, list(cluster))):
        for node in nodes:
            exchange(cluster, node, program, total)
            assert len(node.call("GET", "large")) == 3000000 and node.call("HLEN", "hash") == 1000
    assert "0.1.0 and cannot grow" in holon(one, "node", "drain", "n2", code=1).replace(",", "")
    assert one.status()["cluster_version"] == 1
    assert "holon upgrade finalize" in one.call("MULTI") and "holon upgrade finalize" in one.call("MSET", "a", 1, "b", 2)
    load = Load(cluster)
    until("all know what the others run", lambda: all(node["supports"] == 5 for node in one.status()["nodes"]), 20)
    holon(one, "upgrade", "finalize")
    until("all have the new version", lambda: all(node.status()["cluster_version"] == 5 for node in cluster), 20)
    end(load, total)
    holon(one, "upgrade", "finalize")  # once more is no error
    assert one.call("MSET", "a", 1, "b", 2) == "OK" and one.call("MGET", "a", "b") == ["1", "2"]
    two = cluster[1]
    assert two.stop(30) == 0
    two.binary = previous
    assert two.start().wait_exit(30) != 0  # and leaves its directory as it is
    two.binary = HOLON
    two.start()
    two.wait_ready(60)
    until("all are whole", lambda: all(node.healthy for node in cluster), 60)
    check_counters(two, total)
    holon(one, "node", "drain", "n3")
    until("a node is drained", lambda: {n["name"]: n["replicas"] for n in one.status()["nodes"]}["n3"] == 0, 90)
    assert json.loads(one.http("/plan")[1])["left"] >= 0
