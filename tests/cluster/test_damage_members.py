"""A flipped bit in each kind of file of a node that has joined, and of the founder that others have
joined (FAULTS F22, F23): what test_damage_matrix.py says of nodes that were founded together."""
import pathlib
import shutil
import tempfile

import pytest

from cluster import Cluster, HOLON, Node
from operate import loads, token, wait_settled
from test_damage import fill
from test_damage_matrix import ALL, FILES, MATRIX, SCRUB, bit, run_cell

pytestmark = pytest.mark.long
# All with HOLON_DAMAGE_ALL=1 (two minutes more). No birth: that is of a founding of several nodes.
CELLS = [(who, when, kind) for who in ("founder", "joined") for when in ("stopped", "running")
         for kind in FILES if kind != "birth"]
FEW = [("founder", "stopped", "identity"), ("founder", "stopped", "table"), ("joined", "stopped", "segment"),
       ("joined", "stopped", "identity"), ("joined", "stopped", "table"), ("joined", "stopped", "sst"),
       ("joined", "running", "segment"), ("joined", "running", "copy")]
CELLS = [cell for cell in CELLS if ALL or cell in FEW]


class Grown:
    """Four nodes that were one: each has been sent replicas, and replicas of the founder have moved
    away."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=pathlib.Path(HOLON).resolve().parent))
        self.cluster = Cluster(self.directory, 1, options=("--partitions", "6", *SCRUB))
        self.earlier: dict = {}
        one = self.cluster[0].start().wait_ready()
        fill(one.client(), 0)
        for number in range(2, 5):
            self._join(one, f"n{number}")
        fill(one.client(), 0)
        wait_settled(one, self.cluster, 60)

    def _join(self, one, name: str) -> None:
        node = Node(name, self.directory, ["--workers", "1", *SCRUB, "--join", f"127.0.0.1:{one.peer}",
                                           "--token", token(one, "token")])
        self.cluster.nodes.append(node)
        node.start().wait_ready(60)

    def end(self) -> None:
        self.cluster.end()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def grown():
    made = Grown()
    yield made
    made.end()


@pytest.mark.parametrize("who, when, kind", CELLS)
def test_a_flipped_bit(grown, who, when, kind):
    grown.victim = grown.cluster[0 if who == "founder" else 3]
    run_cell(grown, kind, bit, when == "running", MATRIX[kind][bit])
    assert set(loads(grown.cluster[1])) == {node.name for node in grown.cluster}
