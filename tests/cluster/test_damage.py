"""Damaged files of one node (FAULTS F20-F25, F29, F32): the cluster keeps every acknowledged
write, the node is whole again by itself; a node that nobody can rebuild refuses and says why."""
import pathlib
import random
import shutil
import subprocess

import pytest

from cluster import HOLON
from waiting import until

WHOLE_SECONDS = 60  # V-6
KEYS = 400


def flip(path: pathlib.Path, offset: int, bit: int = 4) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def segments(node) -> list:
    return sorted((node.data / "log").glob("0*.seg"))


def content_end(path: pathlib.Path) -> int:
    return len(path.read_bytes().rstrip(b"\0"))


def first_segment(node) -> pathlib.Path:
    return segments(node)[0]


def batches(path: pathlib.Path) -> list:
    """Offsets of the batches of a segment."""
    content = path.read_bytes()
    return [at for at in range(0, len(content), 4096) if content[at:at + 8] == b"HOLONLOG"]


def fill(client, start: int, count: int = KEYS) -> None:
    for first in range(start, start + count, 50):
        replies = client.pipeline([("SET", f"key{number}", f"value{number}" * 4)
                                   for number in range(first, min(first + 50, start + count))])
        assert set(replies) == {"OK"}


def check(client, count: int) -> None:
    values = client.pipeline([("GET", f"key{number}") for number in range(count)])
    for number, value in enumerate(values):
        assert value == f"value{number}" * 4, f"key{number}: {value!r}"


def in_repair(node):
    return node.status()["repair"]


def wait_whole(cluster, node) -> None:
    until(f"{node} is whole again",
          lambda: node.alive and node.healthy and in_repair(node) is None, WHOLE_SECONDS)
    other = cluster.others(node)[0]
    index = cluster.nodes.index(node)
    until("no replica of it lags",
          lambda: other.status()["nodes"][index]["behind"] == 0, WHOLE_SECONDS)


# Each damages a stopped node's directory; the reason that the quarantine is named after.

def middle(node):
    found = batches(first_segment(node))
    return found[len(found) // 2]


def log_middle(node):
    flip(first_segment(node), middle(node) + 100)  # in a record
    return "log"


def log_first_batch(node):
    flip(first_segment(node), 8)  # what says the version
    return "log"


def log_tail(node):
    last = [path for path in segments(node) if content_end(path)][-1]
    flip(last, batches(last)[-1] + 100)
    return "log"


def log_truncated(node):
    path = first_segment(node)
    with open(path, "r+b") as file:
        file.truncate(content_end(path) // 2)
    return "log"


def log_segment_missing(node):
    first_segment(node).unlink()
    return "log"


def log_missing(node):
    shutil.rmtree(node.data / "log")
    return "log"


def log_emptied(node):
    for path in (node.data / "log").iterdir():
        path.unlink()
    return "log"


def mark_flipped(node):
    flip(node.data / "log" / "durable", 60)
    flip(node.data / "log" / "durable", 4096 + 60)
    return "log"


def mark_missing(node):
    (node.data / "log" / "durable").unlink()
    return "log"


def mark_truncated(node):
    (node.data / "log" / "durable").write_bytes(b"")
    return "log"


def identity_flipped(node):
    flip(node.data / "identity", 30)
    return "identity"


def identity_version_flipped(node):
    flip(node.data / "identity", 7, 0)
    return "identity"


def identity_truncated(node):
    (node.data / "identity").write_bytes((node.data / "identity").read_bytes()[:20])
    return "identity"


def identity_missing(node):
    (node.data / "identity").unlink()
    return "identity"


def tables_and_birth_flipped(node):
    flip(node.data / "table", 40)
    flip(node.data / "table-copy", 40)
    flip(node.data / "birth", 40)
    return "table"


WHOLE_NODE = [log_middle, log_first_batch, log_tail, log_truncated, log_segment_missing,
              log_missing, log_emptied, mark_flipped, mark_missing, mark_truncated,
              identity_flipped, identity_version_flipped, identity_truncated, identity_missing,
              tables_and_birth_flipped]


@pytest.mark.parametrize("damage", WHOLE_NODE, ids=lambda damage: damage.__name__)
def test_a_damaged_node_is_rebuilt_by_its_peers(make_cluster, damage):
    cluster = make_cluster(options=("--partitions", "8"))
    cluster.wait_healthy()
    victim = cluster[1]
    client = cluster[0].client()
    fill(client, 0)
    victim.stop()
    fill(client, KEYS)
    reason = damage(victim)
    victim.start().wait_ready(30)
    wait_whole(cluster, victim)
    kept = list((victim.data / "quarantine").iterdir())
    assert len(kept) == 1 and kept[0].name.endswith("-" + reason)
    assert (kept[0] / "why").read_text()
    assert victim.status()["quarantine"]["sets"] == 1
    assert "repair" in victim.log()
    # It carries its share: with it and one other all is there.
    cluster[0].kill()
    with cluster[2].client() as other:
        check(other, 2 * KEYS)
    check(victim.client(), 2 * KEYS)
    assert victim.call("SET", "after", "repair") == "OK"


def test_an_extra_file_in_the_log_changes_nothing(make_cluster):
    cluster = make_cluster(options=("--partitions", "8"))
    fill(cluster[0].client(), 0)
    victim = cluster[1]
    victim.stop()
    (victim.data / "log" / "notes.txt").write_text("mine")
    (victim.data / "log" / "00000000000000ff.seg").write_bytes(random.Random(1).randbytes(65536))
    victim.start().wait_ready()
    assert (victim.data / "log" / "notes.txt").read_text() == "mine"
    assert not (victim.data / "quarantine").exists()
    check(victim.client(), KEYS)


def test_a_lost_table_is_learned_again(make_cluster):
    cluster = make_cluster(options=("--partitions", "8"))
    fill(cluster[0].client(), 0)
    for names, damage in ((["table"], lambda path: flip(path, 100)),
                          (["table", "table-copy"], lambda path: path.unlink()),
                          (["table", "table-copy"], lambda path: flip(path, 100))):
        cluster[1].stop()
        for name in names:
            damage(cluster[1].data / name)
        cluster[1].start().wait_ready()
        cluster.wait_healthy()
        until("both know the same table", lambda: len(
            {node.status()["table_epoch"] for node in cluster}) == 1)
    assert not (cluster[1].data / "quarantine").exists()
    check(cluster[1].client(), KEYS)


def test_files_of_another_node_are_refused(make_cluster):
    """F32: nothing is changed, whichever part was exchanged."""
    cluster = make_cluster(options=("--partitions", "8"))
    for node in cluster:
        node.stop()
    for part in ("identity", "log"):
        saved = cluster[1].data / part
        saved.rename(cluster[1].data.parent / "saved")
        source = cluster[2].data / part
        if source.is_dir():
            shutil.copytree(source, saved)
        else:
            shutil.copy(source, saved)
        cluster[1].start()
        assert cluster[1].wait_exit() == 1
        assert "belongs to" in cluster[1].log()
        assert not (cluster[1].data / "quarantine").exists()
        shutil.rmtree(saved) if saved.is_dir() else saved.unlink()
        (cluster[1].data.parent / "saved").rename(saved)
    cluster.start()


def test_a_repair_goes_on_where_a_crash_left_it(make_cluster):
    cluster = make_cluster(options=("--partitions", "8"))
    victim = cluster[1]
    fill(cluster[0].client(), 0)
    victim.kill()
    where = middle(victim)
    log_middle(victim)
    for node in cluster.others(victim):  # nobody who could help: it stays in repair
        node.stop()
    victim.start()
    until("it waits in repair", lambda: in_repair(victim) and in_repair(victim)["step"] == "joining")
    state = in_repair(victim)
    assert state["file"].endswith(".seg") and state["offset"] == where
    metrics = victim.http("/metrics")[1]
    assert "holon_repair 1" in metrics and f'offset="{where}"' in metrics
    victim.kill()
    victim.start()
    until("it still does", lambda: in_repair(victim)["step"] == "joining")
    for node in cluster.others(victim):
        node.start()
    victim.wait_ready(30)
    wait_whole(cluster, victim)
    check(victim.client(), KEYS)
    assert len(list((victim.data / "quarantine").iterdir())) == 1


def test_nodes_that_lost_everything_found_no_new_cluster(make_cluster):
    """FAULTS rule 9, G4: an empty cluster in place of a lost one would be silent loss."""
    cluster = make_cluster(options=("--partitions", "8"))
    fill(cluster[0].client(), 0, 20)
    for node in cluster:
        node.stop()
        log_middle(node)
    for node in cluster:
        node.start()
    for node in cluster:
        until(f"{node} waits", lambda n=node: in_repair(n)["step"] == "joining")
        problems = " ".join(problem["what"] for problem in node.status()["problems"])
        assert "waits for its peers" in problems
        assert not node.ready
    # Even with what it knew of its repair gone, the quarantine is a warning.
    for node in cluster:
        node.kill()
        (node.data / "repair").unlink()
        node.start()
    for node in cluster:
        until(f"{node} says so", lambda n=node: any("waiting for" in line for line in n.lines))
        assert not node.ready and not (node.data / "identity").exists()


def test_a_node_that_nobody_can_rebuild_refuses(make_cluster):
    for count in (1, 2):
        cluster = make_cluster(count=count, options=("--partitions", "4"))
        fill(cluster[0].client(), 0, 20)
        cluster[0].stop()
        where = middle(cluster[0])
        log_middle(cluster[0])
        cluster[0].start()
        assert cluster[0].wait_exit() == 1
        text = cluster[0].log()
        assert f"offset {where}" in text and "holon salvage" in text
        assert not (cluster[0].data / "quarantine").exists()


# --- stores: the engine of some partitions is damaged, the node goes on -------------------------

def store_with_rows(node) -> pathlib.Path:
    """A store that holds rows; a node that was wiped has them all from snapshots."""
    return max(node.data.glob("store-*"), key=lambda path: sum(
        sst.stat().st_size for sst in path.glob("*.sst")))


def largest(store: pathlib.Path, pattern: str) -> pathlib.Path:
    return max(store.glob(pattern), key=lambda path: path.stat().st_size)


def sst_flipped(store):
    path = largest(store, "*.sst")
    for offset in range(10, path.stat().st_size, 97):
        flip(path, offset)


def sst_truncated(store):
    path = largest(store, "*.sst")
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def sst_missing(store):
    largest(store, "*.sst").unlink()


def sst_foreign(store):
    path = largest(store, "*.sst")
    others = [other for other in store.parent.glob("store-*/*.sst") if other.parent != store]
    content = others[0].read_bytes() if others else random.Random(1).randbytes(9000)
    path.write_bytes(content)


def manifest_flipped(store):
    path = largest(store, "MANIFEST-*")
    flip(path, path.stat().st_size // 2)


def manifest_missing(store):
    largest(store, "MANIFEST-*").unlink()


def current_missing(store):
    (store / "CURRENT").unlink()


def current_flipped(store):
    flip(store / "CURRENT", 3)


def owner_flipped(store):
    flip(store / "owner", 20)


def owner_missing(store):
    (store / "owner").unlink()


def store_missing(store):
    shutil.rmtree(store)


def store_emptied(store):
    for path in store.iterdir():
        path.unlink()


def store_of_another_number(store):
    other = [path for path in sorted(store.parent.glob("store-*")) if path != store][0]
    shutil.rmtree(store)
    shutil.copytree(other, store)


def store_exchanged_for_an_empty_one(store):
    owner = (store / "owner").read_bytes()
    shutil.rmtree(store)
    store.mkdir()
    (store / "owner").write_bytes(owner)


STORES = [sst_flipped, sst_truncated, sst_missing, sst_foreign, manifest_flipped, manifest_missing,
          current_missing, current_flipped, owner_flipped, owner_missing, store_missing,
          store_emptied, store_of_another_number, store_exchanged_for_an_empty_one]


def with_rows_in_stores(make_cluster, *options):
    """Three nodes; the second was wiped and rejoined. By then there were more entries than leaders
    keep for who has none, so its stores hold the snapshots that it was sent."""
    cluster = make_cluster(options=("--partitions", "2", *options))
    cluster.wait_healthy()
    fill(cluster[0].client(), 0)
    fill(cluster[0].client(), 0)
    cluster[1].kill()
    cluster[1].wipe()
    cluster[1].start().wait_ready(30)
    wait_whole(cluster, cluster[1])
    return cluster


def replicas_rebuilt(node):
    state = node.status()
    return state["stores"] == [] and state["lost_replicas"] == 0


@pytest.mark.parametrize("damage", STORES, ids=lambda damage: damage.__name__)
def test_a_damaged_store_is_rebuilt_by_its_peers(make_cluster, damage):
    cluster = with_rows_in_stores(make_cluster)
    victim = cluster[1]
    victim.stop()
    fill(cluster[0].client(), KEYS)
    damage(store_with_rows(victim))
    victim.start().wait_ready(30)
    until("its replicas are rebuilt", lambda: replicas_rebuilt(victim), WHOLE_SECONDS)
    wait_whole(cluster, victim)
    assert in_repair(victim) is None and "went into repair" not in victim.log()
    cluster[0].kill()
    check(cluster[2].client(), 2 * KEYS)
    check(victim.client(), 2 * KEYS)
    assert victim.call("SET", "after", "repair") == "OK"
    # And once more from its own disk.
    cluster[0].start().wait_ready(30)
    cluster.wait_healthy()
    victim.stop()
    victim.start().wait_ready(30)
    check(victim.client(), 2 * KEYS)


def test_a_store_that_is_lost_while_it_runs_is_rebuilt(make_cluster):
    cluster = make_cluster(options=("--partitions", "2"))
    cluster.wait_healthy()
    victim = cluster[1]
    before = victim.pid
    for number in range(2, 4):  # groups 2 and 3: the stores of data
        shutil.rmtree(victim.data / f"store-{number}")
    with cluster[0].client(60) as client:
        value = "x" * 60000
        for number in range(1400):  # more than a store keeps in memory before it is flushed
            assert client.call("SET", f"big{number}", value) == "OK"
    until("it was noticed", lambda: "is damaged, its replicas stop" in victim.log(), 30)
    until("its replicas are rebuilt", lambda: replicas_rebuilt(victim), WHOLE_SECONDS)
    wait_whole(cluster, victim)
    assert victim.pid == before and victim.alive
    cluster[0].kill()
    with victim.client(60) as client:
        for number in range(1400):
            assert client.call("GET", f"big{number}") == value


def test_a_single_node_with_a_damaged_store_refuses(make_cluster):
    cluster = make_cluster(count=1, options=("--partitions", "2"))
    fill(cluster[0].client(), 0, 20)
    cluster[0].stop()
    store = cluster[0].data / "store-2"
    current_missing(store)
    before = sorted(path.name for path in store.iterdir())
    cluster[0].start()
    assert cluster[0].wait_exit() == 1
    assert "store-2" in cluster[0].log() and "holon salvage" in cluster[0].log()
    assert sorted(path.name for path in store.iterdir()) == before


# --- holon salvage: nobody else has it -----------------------------------------------------------

def salvage(node, *options) -> subprocess.CompletedProcess:
    return subprocess.run([HOLON, "salvage", "--data", str(node.data), *options], timeout=60,
                          capture_output=True, text=True, check=False)


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
            for path in directory.rglob("*")}


@pytest.mark.parametrize("damage", [log_middle, mark_missing, identity_flipped],
                         ids=lambda damage: damage.__name__)
def test_a_single_node_is_salvaged(make_cluster, damage):
    cluster = make_cluster(count=1, options=("--partitions", "4"))
    node = cluster[0]
    with node.client() as client:
        for number in range(100):
            client.call("SET", f"key{number}", f"value{number}" * 4)
    node.stop()
    damage(node)
    node.start()
    assert node.wait_exit() == 1
    before = contents(node.data)
    dry = salvage(node, "--dry-run")
    assert dry.returncode == 0 and "what may be missing" in dry.stdout, dry
    asks = salvage(node)
    assert asks.returncode == 1 and "--accept-loss" in asks.stdout
    assert contents(node.data) == before
    done = salvage(node, "--accept-loss")
    assert done.returncode == 0, done
    node.start().wait_ready()
    kept = [number for number in range(100)
            if node.call("GET", f"key{number}") == f"value{number}" * 4]
    assert all(node.call("GET", f"key{number}") in (None, f"value{number}" * 4)
               for number in range(100))
    assert len(kept) >= (30 if damage is log_middle else 100)
    assert node.call("SET", "after", "salvage") == "OK"
    node.stop()
    node.start().wait_ready()
    assert node.call("GET", "after") == "salvage"
    assert len(list((node.data / "quarantine").iterdir())) == 1


@pytest.mark.parametrize("damage", [owner_missing, store_missing],
                         ids=lambda damage: damage.__name__)
def test_a_store_that_is_missing_is_lost_and_not_made_by_a_salvage(make_cluster, damage):
    cluster = make_cluster(count=1, options=("--partitions", "2"))
    node = cluster[0]
    fill(node.client(), 0, 20)
    node.stop()
    damage(node.data / "store-2")
    before = contents(node.data)
    dry = salvage(node, "--dry-run")
    assert dry.returncode == 0 and "store 2    damaged" in dry.stdout, dry
    assert contents(node.data) == before
    done = salvage(node, "--accept-loss")
    assert done.returncode == 0, done
    node.start().wait_ready()
    check(node.client(), 20)  # nothing of it was flushed: the log has all


def test_stores_with_rows_are_salvaged_twice(make_cluster):
    cluster = with_rows_in_stores(make_cluster)
    for node in cluster:
        node.stop()
    survivor = cluster[1]
    for _ in range(2):
        done = salvage(survivor, "--accept-loss")
        assert done.returncode == 0 and "damaged" not in done.stdout, done
    survivor.start().wait_ready()
    check(survivor.client(), KEYS)


def test_one_of_three_goes_on_alone_and_others_join_it(make_cluster):
    cluster = make_cluster(options=("--partitions", "4"))
    cluster.wait_healthy()
    fill(cluster[0].client(), 0)
    for node in cluster:
        node.stop()
    survivor = cluster[1]
    done = salvage(survivor, "--accept-loss")
    assert done.returncode == 0 and "never be started again" in done.stdout, done
    survivor.start().wait_ready()
    check(survivor.client(), KEYS)
    # One that was declared lost comes back with its data: it is not listened to.
    cluster[0].start()
    until("it does not join", lambda: any("waiting" in line for line in cluster[0].lines))
    assert not cluster[0].ready
    cluster[0].kill()
    for node in (cluster[0], cluster[2]):
        node.wipe()
        node.start()
    for node in (cluster[0], cluster[2]):
        node.wait_ready(30)
    for node in cluster:
        wait_whole(cluster, node)
    survivor.kill()
    check(cluster[0].client(), KEYS)


# --- a failed sync of the log ends the process (FAULTS rule 6, F26) -------------------------------

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int fdatasync(int descriptor)
{
    static int (*real)(int);
    char path[512];
    snprintf(path, sizeof(path), "%s.%d", getenv("HOLON_TEST_FAIL_SYNC"), (int)getpid());
    if (access(path, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(descriptor);
}
"""


def test_a_failed_sync_ends_the_process(make_cluster, directory, monkeypatch):
    source, library = directory / "shim.c", directory / "shim.so"
    source.write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("HOLON_TEST_FAIL_SYNC", str(directory / "fail"))
    cluster = make_cluster(options=("--partitions", "4"))
    cluster.wait_healthy()
    victim = cluster[1]
    with cluster[0].client(30) as client:
        fill(client, 0)
        (directory / f"fail.{victim.pid}").write_text("")
        fill(client, KEYS)
    assert victim.wait_exit() == 70
    assert "cannot sync" in victim.log()
    victim.start().wait_ready(30)
    cluster.wait_healthy()
    check(victim.client(), 2 * KEYS)
    assert not (victim.data / "quarantine").exists()
