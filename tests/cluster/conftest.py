"""Fixtures: clusters of real processes. A failed test shows the end of each node's log."""
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from cluster import Cluster, HOLON  # noqa: E402  (the path comes first)
from hosts import Hosts, what_is_missing  # noqa: E402

LOG_LINES_SHOWN = 15


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes with its like; `make ci` runs it")
    config.addinivalue_line("markers", "alone: measures; no other test runs beside it")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    item.failed_in_call = call.when == "call" and outcome.get_result().failed


@pytest.fixture
def directory():
    """On the disk of the build, not in memory: fsync must mean something."""
    base = os.environ.get("HOLON_TEST_DIR", str(pathlib.Path(HOLON).resolve().parent))
    path = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=base))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_cluster(directory, request):
    """make_cluster(count=3, proxied=False, options=()) -> a started Cluster; start=False not."""
    clusters = []

    def make(count=3, start=True, **options):
        part = directory / f"c{len(clusters)}"
        part.mkdir()
        made = Cluster(part, count, **options)
        clusters.append(made)
        return made.start() if start else made

    yield make
    for made in clusters:
        made.end()
        if getattr(request.node, "failed_in_call", False):
            for node in made:
                tail = "\n".join(node.log().splitlines()[-LOG_LINES_SHOWN:])
                print(f"--- end of {node}'s log\n{tail}\n--- output: {node.lines[-3:]}")


@pytest.fixture
def hosts():
    """Machines with addresses of their own, whose links can be cut."""
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    made = Hosts()
    yield made
    made.close()


@pytest.fixture
def three(make_cluster):
    made = make_cluster()
    made.wait_healthy()
    return made
