"""Files that belong to another node or another time (FAULTS F10, F11, F32), in real processes."""
import shutil

from test_damage import KEYS, check, fill, segments, wait_whole
from waiting import until


def data_files(node) -> dict:
    """What holds votes, entries and rows."""
    return {path: path.read_bytes() for path in node.data.rglob("*")
            if path.suffix in (".seg", ".sst")}


def test_a_segment_of_another_node_behind_the_end_changes_nothing(make_cluster):
    cluster = make_cluster(options=("--partitions", "8"))
    cluster.wait_healthy()
    victim = cluster[1]
    fill(cluster[0].client(), 0)
    for node in cluster:
        node.stop()
    name = f"{int(segments(victim)[-1].stem, 16) + 1:016x}.seg"
    shutil.copy(segments(cluster[2])[0], victim.data / "log" / name)
    for node in cluster:
        node.start()
    for node in cluster:
        node.wait_ready()
    wait_whole(cluster, victim)
    check(victim.client(), KEYS)


def test_swapped_identities_are_told(make_cluster):
    cluster = make_cluster(options=("--partitions", "8"))
    cluster.wait_healthy()
    fill(cluster[0].client(), 0)
    for node in cluster:
        node.stop()
    one, two = cluster[1].data / "identity", cluster[2].data / "identity"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    for node in cluster:
        node.start()
    codes = [node.wait_exit() for node in (cluster[1], cluster[2])]
    assert codes == [1, 1]
    assert all("belongs to" in node.log() for node in (cluster[1], cluster[2]))
    one.write_bytes(first)
    two.write_bytes(second)
    for node in (cluster[1], cluster[2]):
        node.start()
    for node in cluster:
        node.wait_ready()
    check(cluster[1].client(), KEYS)


def restore_older_copy(cluster, victim, directory) -> None:
    """The victim is down, with its directory of before its last start."""
    fill(cluster[0].client(), 0)
    victim.stop()
    shutil.copytree(victim.data, directory / "older")
    victim.start().wait_ready()
    cluster.wait_healthy()
    fill(cluster[0].client(), KEYS)
    victim.stop()
    fill(cluster[0].client(), 2 * KEYS)
    shutil.rmtree(victim.data)
    shutil.copytree(directory / "older", victim.data)


def test_an_older_copy_of_a_directory_is_refused_and_the_advice_helps(make_cluster, directory):
    cluster = make_cluster(options=("--partitions", "8"))
    cluster.wait_healthy()
    victim = cluster[1]
    restore_older_copy(cluster, victim, directory)
    before = data_files(victim)
    for _ in range(4):  # as a supervisor does
        victim.start()
        assert victim.wait_exit() == 1
    assert "the disk was restored from an older image" in victim.log()
    assert "move the directory away and start with an empty one" in victim.log()
    assert data_files(victim) == before
    victim.data.rename(directory / "away")
    victim.start().wait_ready(30)
    wait_whole(cluster, victim)
    cluster[0].kill()
    check(victim.client(), 3 * KEYS)


def test_an_older_copy_that_was_killed_while_it_heard_nobody_is_refused(make_cluster, directory):
    cluster = make_cluster(options=("--partitions", "8"))
    cluster.wait_healthy()
    victim, others = cluster[1], (cluster[0], cluster[2])
    restore_older_copy(cluster, victim, directory)
    before = data_files(victim)
    for node in others:
        node.stop()
    for _ in range(3):
        starts = victim.log().count(" starting ")
        victim.start()
        until("it has taken its epoch", lambda: victim.log().count(" starting ") > starts, 10)
        victim.kill()
    for node in others:
        node.start()
    for node in others:
        node.wait_ready()
    victim.start()
    assert victim.wait_exit() == 1
    assert "the disk was restored from an older image" in victim.log()
    assert data_files(victim) == before
    check(cluster[0].client(), 3 * KEYS)
