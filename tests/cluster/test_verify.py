"""A replica that differs from its peers where no checksum says so is found by comparing, stops, and
is rebuilt (FAULTS F23; docs/reference/damage.md)."""
import pathlib
import subprocess

import pytest

from cluster import HOLON
from test_damage import KEYS, WHOLE_SECONDS, check, store_with_rows, with_rows_in_stores
from test_scrub import metric
from waiting import until

EDIT_ROW = str(pathlib.Path(HOLON).parent / "tool-edit_row")
SLOW = ("--scrub-rate", "0B")  # nothing is compared unless somebody asks for it


def holon(*words) -> subprocess.CompletedProcess:
    return subprocess.run([HOLON, *words], timeout=30, capture_output=True, text=True, check=False)


def edit_a_row(node) -> None:
    """While the node is down; the engine writes it itself, with checksums that fit."""
    edited = subprocess.run([EDIT_ROW, str(store_with_rows(node)), "value7"], timeout=60,
                            capture_output=True, text=True, check=False)
    assert edited.returncode == 0, edited.stderr


def is_rebuilt(node) -> bool:
    return not any(metric(node, name) for name in ("replicas_fenced", "lost_replicas", "lost_replicas_filling"))


def passed_everywhere(cluster) -> bool:
    return all(metric(node, "scrub_passes_total") > 0 for node in cluster)


def test_a_row_that_differs_is_found_by_a_scrub_and_rebuilt(make_cluster):
    cluster = with_rows_in_stores(make_cluster, *SLOW)
    victim = cluster[1]
    victim.stop()
    edit_a_row(victim)
    victim.start().wait_ready(30)
    cluster.wait_healthy(WHOLE_SECONDS)
    admin = f"127.0.0.1:{cluster[0].admin}"
    assert not any(metric(node, "replicas_fenced_total") for node in cluster)

    said = holon("scrub", "--now", "--admin", admin)
    assert said.returncode == 0 and "3 of 3 nodes scrub now" in said.stdout, said
    until("the replica that differs is fenced", lambda: metric(victim, "replicas_fenced_total") == 1,
          WHOLE_SECONDS)
    until("it is rebuilt", lambda: is_rebuilt(victim), WHOLE_SECONDS)
    cluster.wait_healthy(WHOLE_SECONDS)
    until("its state is told", lambda: [fenced["state"] for fenced in victim.status()["fenced"]]
          == ["rebuilt"])
    status = holon("status", "--admin", f"127.0.0.1:{victim.admin}")
    assert status.returncode == 1 and "differed from its peers and was rebuilt" in status.stdout
    found = holon("scrub", "--admin", f"127.0.0.1:{victim.admin}")
    assert found.returncode == 1 and "(rebuilt)" in found.stdout, found.stdout
    assert list((victim.data / "quarantine" / "removed").glob("*.rows"))
    assert sum(metric(node, "replicas_fenced_total") for node in cluster) == 1
    assert sum(metric(node, "verify_differences_total") for node in cluster) >= 2
    with cluster[0].client() as client:
        check(client, KEYS)

    # The next pass finds nothing, and the victim's rows count like any others.
    before = {node: metric(node, "scrub_passes_total") for node in cluster}
    assert holon("scrub", "--now", "--admin", admin).returncode == 0
    until("all have passed again", lambda: all(metric(node, "scrub_passes_total") > before[node]
                                               for node in cluster), WHOLE_SECONDS)
    until("nothing more is told of it", lambda: victim.healthy and not [
        problem for problem in victim.status()["problems"] if "differed" in problem["what"]])
    # Nor does a later start.
    victim.stop()
    victim.start().wait_ready(30)
    cluster.wait_healthy(WHOLE_SECONDS)
    assert victim.status()["fenced"] == []
    cluster[2].stop()
    with victim.client(30) as client:
        check(client, KEYS)


def test_a_scrub_of_equal_replicas_finds_nothing(make_cluster):
    cluster = with_rows_in_stores(make_cluster, *SLOW)
    assert holon("scrub", "--now", "--admin", f"127.0.0.1:{cluster[2].admin}").returncode == 0
    until("all have passed", lambda: passed_everywhere(cluster), WHOLE_SECONDS)
    until("leaders have compared all rows with both others",  # behind their own passes
          lambda: sum(metric(node, "verify_rows_total") for node in cluster) >= 3 * KEYS, WHOLE_SECONDS)
    assert sum(metric(node, "verify_ranges_total") for node in cluster) >= 2
    for node in cluster:
        assert metric(node, "verify_differences_total") == 0
        assert metric(node, "verify_skipped_total") == 0
        assert holon("scrub", "--admin", f"127.0.0.1:{node.admin}").returncode == 0


@pytest.mark.parametrize("while_fenced", ("killed", "stopped"))
def test_a_start_leaves_out_a_replica_that_differed(make_cluster, while_fenced):
    cluster = with_rows_in_stores(make_cluster, *SLOW)
    victim = cluster[1]
    victim.stop()
    edit_a_row(victim)
    victim.start().wait_ready(30)
    cluster.wait_healthy(WHOLE_SECONDS)
    assert holon("scrub", "--now", "--admin", f"127.0.0.1:{cluster[0].admin}").returncode == 0
    until("DIR/fenced is there", (victim.data / "fenced").exists, WHOLE_SECONDS)
    victim.kill() if while_fenced == "killed" else victim.stop()
    victim.start().wait_ready(30)
    until("it is rebuilt", lambda: is_rebuilt(victim), WHOLE_SECONDS)
    cluster.wait_healthy(WHOLE_SECONDS)
    cluster[2].stop()
    with victim.client(30) as client:
        check(client, KEYS)
