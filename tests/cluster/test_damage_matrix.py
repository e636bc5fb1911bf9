"""Each kind of file of one node, and each way to damage it (FAULTS F21-F25, F29, F32), while the
node is stopped or runs: no wrong answer, whole again without an operator, and `holon status` and the
metrics name file and offset meanwhile. The peers are paused while that is looked at."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.error

import pytest

from cluster import Cluster, HOLON
from test_damage import (KEYS, check, fill, first_segment, flip, in_repair, largest,
                         replicas_rebuilt, store_with_rows, wait_whole, with_rows_in_stores)
from waiting import until

SECTOR, BLOCK = 512, 4096


def middle(path: pathlib.Path) -> int:
    """Of what is in it, at the begin of a sector that holds something: what fills up a block is zeros,
    and as good as before when it is zeros again. Nor in the second copy of a vote, which nobody misses
    while the first is sound."""
    content = path.read_bytes().rstrip(b"\0")
    at = len(content) // 2 // SECTOR * SECTOR

    def is_missed(at: int) -> bool:
        block = at // BLOCK * BLOCK
        return any(content[at + 40:at + 48]) and content[block:block + 8] != b"HOLONVOT"

    while at > 0 and not is_missed(at):
        at -= SECTOR
    return at


def patch(path: pathlib.Path, offset: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def bit(bed, path):
    flip(path, min(middle(path) + 40, path.stat().st_size - 2))


def sector(bed, path):
    """Reads as zeros; one that cannot be read at all is the simulator's (sim_damage_sector)."""
    patch(path, middle(path), bytes(min(SECTOR, path.stat().st_size)))


def cut(bed, path):
    with open(path, "r+b") as file:
        file.truncate(len(path.read_bytes().rstrip(b"\0")) // 2)


def missing(bed, path):
    path.unlink()


def foreign(bed, path):
    """The same file of another node."""
    other = bed.cluster[2].data / path.relative_to(bed.victim.data)
    shutil.copy(other, path)


def astray(bed, path):
    """A write that was meant for another place of the file, or for another file."""
    content = path.read_bytes()
    if middle(path) >= 2 * BLOCK:
        patch(path, middle(path) // BLOCK * BLOCK, content[:BLOCK])
    else:
        other = bed.victim.data / ("identity" if path.name != "identity" else "log/durable")
        patch(path, 0, other.read_bytes()[:max(64, len(content) // 2)])


def lost(bed, path):
    """What was written since an earlier moment never came."""
    path.write_bytes(bed.earlier[path])


FILES = {
    "segment": lambda bed: first_segment(bed.victim),
    "mark": lambda bed: bed.victim.data / "log" / "durable",
    "identity": lambda bed: bed.victim.data / "identity",
    "table": lambda bed: bed.victim.data / "table",
    "copy": lambda bed: bed.victim.data / "table-copy",
    "birth": lambda bed: bed.victim.data / "birth",
    "sst": lambda bed: largest(store_with_rows(bed.victim), "*.sst"),
    "manifest": lambda bed: largest(store_with_rows(bed.victim), "MANIFEST-*"),
    "current": lambda bed: store_with_rows(bed.victim) / "CURRENT",
    "owner": lambda bed: store_with_rows(bed.victim) / "owner",
}

# What follows: "none", "refused", "store", "lost" (replicas whose store is sound but older than the
# log), or the reason of a repair of the node.
MATRIX = {
    "segment": {bit: "log", sector: "log", cut: "log", missing: "log", foreign: "log",
                astray: "log", lost: "log"},
    "mark": {bit: "none", sector: "none", missing: "log", foreign: "log", lost: "none"},
    "identity": {bit: "identity", sector: "identity", cut: "identity", missing: "identity",
                 astray: "identity", foreign: "refused"},
    "table": {bit: "none", sector: "none", cut: "none", missing: "none", astray: "none",
              lost: "none"},
    "copy": {bit: "none", cut: "none", missing: "none", lost: "none"},
    "birth": {bit: "none", sector: "none", cut: "none", missing: "none", astray: "none"},
    "sst": {bit: "store", sector: "store", cut: "store", missing: "store", astray: "store"},
    # Cut within its first record, or behind one: then it is a whole one of an earlier state.
    "manifest": {bit: "store", sector: "store", cut: "lost or store", missing: "store",
                 astray: "store"},
    "current": {bit: "store", sector: "store", cut: "store", missing: "store", astray: "store"},
    "owner": {bit: "store", sector: "store", cut: "store", missing: "store", astray: "store",
              foreign: "store"},
}
# While it runs: each with HOLON_DAMAGE_ALL=1 (two minutes more), else those.
RUNNING = (bit, missing, foreign)
SCRUB = ("--scrub-rate", "256MiB", "--scrub-every", "0s")
# Read by starts alone: the scrubber compares them with what the node has in memory.
SMALL = {"mark": "mark", "identity": "identity", "table": "table", "copy": "table-copy",
         "birth": "birth", "owner": "owner"}
ALL = "HOLON_DAMAGE_ALL" in os.environ
CELLS = [(file, damage, running) for file, damages in MATRIX.items() for damage in damages
         for running in (False, True) if ALL or not running or damage in RUNNING]


class Bed:
    """A cluster that serves all cells of a kind of file."""

    def __init__(self, kind: str):
        self.kind = kind
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-",
                                                       dir=pathlib.Path(HOLON).resolve().parent))
        self.clusters: list = []
        if kind in ("sst", "manifest", "current", "owner"):
            self.cluster = with_rows_in_stores(self.make, *(SCRUB if kind in SMALL else ()))
        else:
            self.cluster = self.make(options=("--partitions", "2", *(SCRUB if kind in SMALL else ())))
            self.cluster.wait_healthy()
            fill(self.cluster[0].client(), 0)
        self.victim = self.cluster[1]
        self.earlier: dict = {}

    def make(self, **options) -> Cluster:
        self.clusters.append(Cluster(self.directory, **options))
        return self.clusters[-1].start()

    def end(self) -> None:
        for cluster in self.clusters:
            cluster.end()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def beds():
    made: dict = {}
    yield made
    for bed in made.values():
        bed.end()


@pytest.fixture
def bed(beds, request):
    kind = request.node.callspec.params["kind"]
    if kind not in beds:
        for other in list(beds):
            beds.pop(other).end()
        beds[kind] = Bed(kind)
    yield beds[kind]
    if getattr(request.node, "failed_in_call", False):
        print(beds[kind].victim.log()[-3000:])
        beds.pop(kind).end()


def what_follows(victim) -> str:
    """Once it is known; empty before."""
    if not victim.alive:
        return "refused"
    try:
        status = victim.status()
    except (urllib.error.URLError, OSError):
        return ""
    if status["repair"]:
        return victim.status()["repair"]["reason"]
    if status["stores"]:
        return "store"
    if status["lost_replicas"]:
        return "lost"
    return "none" if any("waiting for" in line for line in victim.lines) else ""


def check_is_named(victim, path, follows) -> None:
    metrics = victim.http("/metrics")[1]
    told = subprocess.run([HOLON, "status", "--admin", f"127.0.0.1:{victim.admin}"],
                          capture_output=True, text=True, timeout=20, check=False).stdout
    if follows == "lost":
        assert "holon_lost_replicas 1" in metrics and path.parent.name in told, told
        return
    if follows == "store":
        store = victim.status()["stores"][0]
        assert store["path"].endswith(path.parent.name), store
        assert str(path.parent) in store["file"], store
        place = f'file="{store["file"]}",offset="{store["offset"]}"'
        assert f'holon_repair_info{{reason="{path.parent.name}",{place}}} 1' in metrics, metrics
        assert f'{store["file"]} offset {store["offset"]}' in told, told
        return
    repair = in_repair(victim)
    name = "durable" if path.name == "durable" else path.name
    assert name in repair["file"] or "log" == repair["reason"], repair
    assert "holon_repair 1" in metrics and f'offset="{repair["offset"]}"' in metrics
    assert repair["file"] in told and f'offset {repair["offset"]}' in told, told


def cell(kind, damage, running):
    """Each kind of file once in `make test`, the rest in `make ci`."""
    ident = f"{kind}-{damage.__name__}-{'running' if running else 'stopped'}"
    first = damage is bit and not running
    return pytest.param(kind, damage, running, id=ident, marks=[] if first else [pytest.mark.long])


def is_told(victim, kind):
    for damage in victim.status()["file_damage"]:
        if damage["reason"] == SMALL[kind] and damage["state"] == "healed":
            return damage
    return None


def is_at_rest(victim, path):
    """The mark follows what is written; a slot that is written again is whole again."""
    before, passes = path.read_bytes(), victim.status()["scrub"]["passes"]
    until("a pass ends", lambda: victim.status()["scrub"]["passes"] > passes + 1, 30)
    return path.read_bytes() == before


def check_small_file_heals(bed, kind, path, damage):
    """The running node names it and writes it again, and the next start finds nothing."""
    victim = bed.victim
    if kind == "birth":  # after a start without one nobody remembers it
        victim.stop()
        victim.start().wait_ready(30)
    if kind == "mark":
        until("nothing is written any more", lambda: is_at_rest(victim, path), 60)
    whole, pid = path.read_bytes(), victim.pid
    damage(bed, path)
    if kind == "identity" and damage is foreign:
        assert victim.wait_exit(30) == 1
        assert "identity is that of node n3" in victim.log(), victim.log()[-1000:]
        assert not (victim.data / "quarantine").exists()
        path.write_bytes(whole)
        victim.start().wait_ready(30)
        return
    if kind in ("table", "copy") and path.exists() and path.read_bytes() == whole:
        pytest.skip("the table has not changed since: nothing was lost")
    told = until("it is named and healed", lambda: is_told(victim, kind), 30)
    assert told["file"] in str(path), told
    assert f"{path} " in told["what"], told
    until("metrics name it", lambda: f'reason="{SMALL[kind]}",file="{told["file"]}",'
          f'offset="{told["offset"]}"' in victim.http("/metrics")[1], 5)
    said = subprocess.run([HOLON, "status", "--admin", f"127.0.0.1:{victim.admin}"],
                          capture_output=True, text=True, timeout=20, check=False).stdout
    assert f'{told["file"]} offset {told["offset"]} was damaged' in said, said
    assert victim.alive and victim.pid == pid and in_repair(victim) is None
    if kind not in ("mark", "table", "copy"):
        assert path.read_bytes() == whole
    sets = list((victim.data / "quarantine").glob("2*"))
    assert len(sets) == 1 and told["file"] in (sets[0] / "why").read_text(), sets
    victim.kill()
    victim.start().wait_ready(30)
    assert in_repair(victim) is None and replicas_rebuilt(victim), victim.status()
    shutil.rmtree(victim.data / "quarantine")


@pytest.mark.parametrize("kind, damage, running", [cell(*one) for one in CELLS])
def test_damage(bed, kind, damage, running):
    run_cell(bed, kind, damage, running, MATRIX[kind][damage])


def run_cell(bed, kind, damage, running, expected):
    cluster, victim = bed.cluster, bed.victim
    path = FILES[kind](bed)
    bed.earlier = {path: path.read_bytes()}
    fill(cluster[0].client(), 0)
    if running and kind in SMALL:
        check_small_file_heals(bed, kind, path, damage)
        wait_whole(cluster, victim)
        check(victim.client(), KEYS)
        return
    if not running:
        victim.stop()
    whole = path.read_bytes()
    damage(bed, path)
    if running:
        fill(cluster[0].client(), 0, 100)
        victim.kill()
    for node in cluster.others(victim):
        node.pause()
    try:
        victim.start()
        until("it is known what follows", lambda: what_follows(victim), 20)
        follows = what_follows(victim)
        # A file that is replaced as a whole may have been written again while the node ran.
        allowed = expected.split(" or ") + ["none"] * running
        assert follows in allowed, follows
        if follows not in ("none", "refused"):
            check_is_named(victim, path, follows)
    finally:
        for node in cluster.others(victim):
            node.resume()
    if follows == "refused":
        assert not (victim.data / "quarantine").exists()
        path.write_bytes(whole)
        victim.start()
    victim.wait_ready(30)
    until("its replicas are rebuilt", lambda: replicas_rebuilt(victim), 60)
    wait_whole(cluster, victim)
    check(victim.client(), KEYS)
    check(cluster[0].client(), KEYS)
    sets = list((victim.data / "quarantine").glob("2*")) if follows != "none" else []
    assert len(sets) == (0 if follows in ("none", "refused", "lost") else 1), sets
    for kept in sets:
        assert (kept / "why").read_text()
    shutil.rmtree(victim.data / "quarantine", ignore_errors=True)
    if kind == "birth":  # nobody writes it again; for the next cell
        path.write_bytes(whole)


@pytest.mark.parametrize("place", ["", "log", "store-2", "quarantine"])
def test_an_extra_file_changes_nothing(make_cluster, place):
    cluster = make_cluster(options=("--partitions", "2"))
    cluster.wait_healthy()
    fill(cluster[0].client(), 0)
    victim = cluster[1]
    victim.stop()
    (victim.data / place).mkdir(exist_ok=True)
    (victim.data / place / "notes.txt").write_text("mine")
    victim.start().wait_ready()
    wait_whole(cluster, victim)
    check(victim.client(), KEYS)
    assert (victim.data / place / "notes.txt").read_text() == "mine"
