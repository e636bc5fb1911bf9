"""Damage that nobody asks for is found while the node runs, named, and healed without a restart
(FAULTS F21, F22; docs/reference/damage.md)."""
import re
import shutil
import subprocess

import pytest

from cluster import HOLON
from test_damage import (KEYS as SMALL_KEYS, WHOLE_SECONDS, batches, check as check_small, flip,
                         replicas_rebuilt, segments, sst_flipped, store_with_rows, wait_whole,
                         with_rows_in_stores)
from waiting import until

BIG = "x" * 15000
KEYS = 900  # some 13 MiB: of segments of 4 MiB some are full, and nothing is flushed for its size
OPTIONS = ("--partitions", "8", "--log-bytes-max", "64MiB", "--scrub-rate", "256MiB",
           "--scrub-every", "0s")


def fill(client) -> None:
    for first in range(0, KEYS, 50):
        replies = client.pipeline([("SET", f"key{number}", f"{number}{BIG}")
                                   for number in range(first, first + 50)])
        assert set(replies) == {"OK"}


def check(client) -> None:
    for first in range(0, KEYS, 50):
        values = client.pipeline([("GET", f"key{number}") for number in range(first, first + 50)])
        assert values == [f"{number}{BIG}" for number in range(first, first + 50)]


def flipped(path):
    where = batches(path)[len(batches(path)) // 2]
    flip(path, where + 200)
    return where


def missing(path):
    path.unlink()
    return 0


def metric(node, name: str) -> int:
    for line in node.http("/metrics")[1].splitlines():
        if line.startswith(f"holon_{name} "):
            return int(line.split()[1])
    raise AssertionError(f"no metric {name}")


@pytest.mark.parametrize("count", (3, 1))
@pytest.mark.parametrize("damage", (flipped, missing), ids=lambda damage: damage.__name__)
def test_a_damaged_segment_of_a_running_node_is_named_and_healed(make_cluster, damage, count):
    cluster = make_cluster(count=count, options=OPTIONS)
    cluster.wait_healthy()
    victim = cluster[count - 1]
    with cluster[0].client(30) as client:
        fill(client)
    before = victim.pid
    path = segments(victim)[1]
    assert len(segments(victim)) >= 3
    where = damage(path)
    named = until("the damage is named", lambda: victim.status()["log_damage"]
                  or (damage is missing and metric(victim, "log_damage_found_total")))
    if damage is flipped:
        assert named[0]["offset"] == where and path.name in named[0]["file"], named
    until("the segment is out of the log",
          lambda: not path.exists() and metric(victim, "log_damaged_segments") == 0
          and segments(victim)[0].name > path.name)
    assert f"{path.name} offset {where}" in victim.log()
    if damage is flipped:
        # Metrics may be 100 ms old: of before it was found.
        until("it is told as healed", lambda: "was damaged; nothing was lost" in victim.log())
        kept = list((victim.data / "quarantine").glob(f"*-segment/damaged-{path.name}"))
        assert len(kept) == 1, kept
        assert f"offset {where}" in (kept[0].parent / "why").read_text()
        said = subprocess.run([HOLON, "status", "--admin", f"127.0.0.1:{victim.admin}"], timeout=30,
                              capture_output=True, text=True, check=False).stdout
        assert f"{path.name} offset {where} was damaged" in said, said
    assert victim.pid == before and victim.alive and victim.status()["repair"] is None
    # The log that is left is sound: it is read by a start, and holds what nobody else would give.
    victim.kill()
    victim.start().wait_ready(30)
    assert victim.status()["repair"] is None and "went into repair" not in victim.log()
    if count == 3:
        cluster.wait_healthy()
        cluster[0].kill()
    with victim.client(60) as client:
        check(client)


def test_a_store_that_rots_unread_is_found_and_rebuilt(make_cluster):
    cluster = with_rows_in_stores(make_cluster, "--scrub-rate", "256MiB", "--scrub-every", "0s")
    victim = cluster[1]
    before = victim.pid
    sst_flipped(store_with_rows(victim))
    # By the scrubber's read of the store, or by the one that compares it with its peers.
    until("it is found", lambda: re.search(r"store \d+ is damaged", victim.log()))
    until("file and offset are told", lambda: re.search(r"\.sst offset \d+", victim.log()))
    until("its replicas are rebuilt", lambda: replicas_rebuilt(victim), WHOLE_SECONDS)
    wait_whole(cluster, victim)
    assert victim.pid == before and victim.alive and victim.status()["repair"] is None
    cluster[0].kill()
    check_small(victim.client(), SMALL_KEYS)


def test_small_files_that_rot_under_all_nodes_do_not_add_up(make_cluster):
    """Two flipped identities would be two nodes in repair at the next start, and no quorum."""
    cluster = make_cluster(options=OPTIONS)
    cluster.wait_healthy()
    with cluster[0].client(30) as client:
        fill(client)
    for node in cluster.nodes:
        for name in ("identity", "table", "table-copy", "birth", "store-0/owner"):
            flip(node.data / name, 20)
        for slot in (0, 4096):
            flip(node.data / "log" / "durable", slot + 50)
        (node.data / "store-1" / "owner").unlink()
    for node in cluster.nodes:
        told = until(f"{node} names and heals all", lambda node=node: metric(
            node, "file_damage_found_total") >= 7 and node.status()["file_damage"], 30)
        assert metric(node, "files_damaged") == 0
        assert {damage["state"] for damage in told} == {"healed"}, told
        for name in ("identity", "table", "table-copy", "birth", "store-0/owner", "store-1/owner", "log/durable"):
            assert f"{node.data}/{name}" in node.log(), node.log()[-3000:]
        assert node.alive and node.status()["repair"] is None
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.start()
    for node in cluster.nodes:
        node.wait_ready(30)
        assert node.status()["repair"] is None and "went into repair" not in node.log()
    with cluster[0].client(60) as client:
        check(client)


@pytest.mark.parametrize("what", ("lock", "directory", "log"))
def test_a_directory_that_is_exchanged_under_a_node_ends_it(make_cluster, what):
    """F12, F32: nothing is healed into a mix of two directories."""
    cluster = make_cluster(options=OPTIONS)
    cluster.wait_healthy()
    victim, aside = cluster[1], cluster[1].data.parent / "aside"
    if what == "lock":
        (victim.data / "lock").unlink()
    elif what == "log":
        (victim.data / "log").rename(aside)
        shutil.copytree(cluster[2].data / "log", victim.data / "log")
    else:
        victim.data.rename(aside)
        shutil.copytree(aside, victim.data)
        flip(victim.data / "identity", 20)
    assert victim.wait_exit(30) == 1
    assert "no mix of two directories" in victim.log(), victim.log()[-1000:]
    if what == "directory":
        shutil.rmtree(victim.data)
        aside.rename(victim.data)
    elif what == "log":
        shutil.rmtree(victim.data / "log")
        aside.rename(victim.data / "log")
    assert not (victim.data / "quarantine").exists()
    victim.start().wait_ready(30)
    assert victim.status()["repair"] is None


def test_a_store_whose_directory_is_gone_is_rebuilt(make_cluster):
    cluster = make_cluster(options=OPTIONS)
    cluster.wait_healthy()
    victim = cluster[1]
    with cluster[0].client(30) as client:
        fill(client)
    (victim.data / "store-1").rename(victim.data.parent / "aside")
    until("it is found, by the scrubber or a flush",
          lambda: "store 1 is damaged" in victim.log(), 30)
    until("it is rebuilt", lambda: "store 1 is whole again" in victim.log(), WHOLE_SECONDS)
    wait_whole(cluster, victim)
    assert (victim.data / "store-1" / "owner").exists() and victim.status()["repair"] is None


def test_an_idle_node_writes_nothing_for_it(make_cluster):
    cluster = make_cluster(count=1, options=OPTIONS)
    with cluster[0].client(30) as client:
        fill(client)
    passes = metric(cluster[0], "scrub_passes_total")
    until("what was written is on the disk and read once",
          lambda: metric(cluster[0], "scrub_passes_total") > passes + 1)
    written = cluster[0].bytes_written()
    passes = metric(cluster[0], "scrub_passes_total")
    until("it was read again", lambda: metric(cluster[0], "scrub_passes_total") > passes + 2)
    assert cluster[0].bytes_written() == written
    assert metric(cluster[0], "scrub_bytes_total") > 0


def bytes_read(node) -> int:
    """From devices: what came out of the page cache does not count."""
    line = next(line for line in node._proc("io").splitlines() if line.startswith("read_bytes: "))
    return int(line.split()[1])


def test_it_reads_the_medium_and_not_the_page_cache(make_cluster):
    cluster = with_rows_in_stores(make_cluster, *OPTIONS[2:])
    victim = cluster[1]
    with cluster[0].client(30) as client:
        fill(client)
    passes = metric(victim, "scrub_passes_total")
    until("what was written is on the disk and read once",
          lambda: metric(victim, "scrub_passes_total") > passes + 1)
    scrubbed, read = metric(victim, "scrub_bytes_total"), bytes_read(victim)
    assert len(segments(victim)) > 1 and store_with_rows(victim)
    passes = metric(victim, "scrub_passes_total")
    until("it was read again", lambda: metric(victim, "scrub_passes_total") > passes + 2)
    scrubbed, read = metric(victim, "scrub_bytes_total") - scrubbed, bytes_read(victim) - read
    assert scrubbed > 4 << 20 and read > 0.5 * scrubbed, (scrubbed, read)


def test_it_can_be_turned_off(make_cluster):
    cluster = make_cluster(count=1, options=("--partitions", "2", "--scrub-rate", "0"))
    assert cluster[0].status()["scrub"] == {"rate": 0, "bytes": 0, "passes": 0, "under_way": False,
                                            "last_pass_us": 0, "rows_under_way": False,
                                            "ranges_compared": 0, "differences": 0}
