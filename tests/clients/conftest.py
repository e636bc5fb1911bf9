"""One cluster of three real processes for all tests of real clients; each test begins with an
empty database."""
import pathlib
import sys
import tempfile
import shutil
import os

import pytest
import redis

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "cluster"))

from cluster import Cluster, HOLON  # noqa: E402  (the path comes first)


@pytest.fixture(scope="session")
def cluster():
    base = os.environ.get("HOLON_TEST_DIR", str(pathlib.Path(HOLON).resolve().parent))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="clients-", dir=base))
    made = Cluster(directory, 3).start()
    made.wait_healthy()
    yield made
    made.end()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=[0, 1], ids=["first node", "second node"])
def node(request, cluster):
    return cluster[request.param]


@pytest.fixture
def client(node):
    """redis-py on the transparent port."""
    made = redis.Redis(host="127.0.0.1", port=node.redis)
    made.flushall()
    yield made
    made.close()
