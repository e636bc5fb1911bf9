"""Nodes join a running cluster, which grows from one node and shrinks to one, while clients write."""

import pathlib
import threading

import pytest

from cluster import Node
from operate import holon, loads, plan, token, wait_settled
from waiting import until

PARTITIONS = 16


class Grown:
    """A founder, and nodes that join it."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        self.nodes = []
        self.add("--partitions", str(PARTITIONS))

    def add(self, *options, name=None, via=None):
        number = len(self.nodes) + 1
        directory = self.directory / f"dir{number}" if name else self.directory
        directory.mkdir(exist_ok=True)
        node = Node(name or f"n{number}", directory, ["--workers", "1", *options])
        if self.nodes:
            asked = via or self.nodes
            node.options += ["--join", ",".join(f"127.0.0.1:{other.peer}" for other in asked)]
        self.nodes.append(node)
        return node

    def end(self):
        for node in self.nodes:
            node.end()


@pytest.fixture
def grown(tmp_path):
    made = Grown(tmp_path)
    yield made
    made.end()


class Load:
    """One client counts at the founder, one request after the other; each answer is kept."""

    def __init__(self, node):
        self.node, self.stopping, self.errors, self.done = node, threading.Event(), [], {}
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            with self.node.client() as client:
                count = 0
                while not self.stopping.is_set():
                    key = f"load:{count % 50}"
                    answer = client.call("INCR", key)
                    if answer != self.done.get(key, 0) + 1:
                        self.errors.append((key, answer, self.done.get(key, 0)))
                    self.done[key] = self.done.get(key, 0) + 1
                    count += 1
        except Exception as error:  # noqa: BLE001 - any end of the client counts
            self.errors.append(repr(error))

    def end(self):
        self.stopping.set()
        self.thread.join(timeout=30)
        return self.errors


def fill(node, count=2000):
    with node.client() as client:
        for number in range(count):
            assert client.call("SET", f"key:{number}", f"value {number}") == "OK"


def check_filled(node, count=2000):
    with node.client() as client:
        for number in range(count):
            assert client.call("GET", f"key:{number}") == f"value {number}"


def check_counters(node, done):
    with node.client() as client:
        for key, count in done.items():
            assert int(client.call("GET", key)) == count, key


def test_one_node_becomes_three_and_outlives_its_founder(grown):
    one = grown.nodes[0].start().wait_ready()
    fill(one)
    two = grown.add("--zone", "b").start().wait_ready(60)
    three = grown.add(via=[two]).start().wait_ready(60)
    wait_settled(one, grown.nodes)
    # Everything is everywhere: 16 partitions and the meta group, three copies of each.
    assert loads(three) == {"n1": 17, "n2": 17, "n3": 17}
    assert "zone=b" in holon(three, "node", "list")
    one.kill()
    until("the others serve everything", lambda: two.healthy and three.healthy, 60)
    check_filled(two)
    check_filled(three)
    one.start().wait_ready(60)  # the same command as ever
    two.stop()
    two.start().wait_ready(60)  # --join once more: it is a member by now
    check_filled(two)


def test_up_to_five_and_down_to_one_while_a_client_writes(grown):
    one = grown.nodes[0].start().wait_ready()
    load = Load(one)
    for _ in range(4):
        grown.add().start().wait_ready(60)
    wait_settled(one, grown.nodes)
    found = [count for count in loads(one).values()]
    assert sum(found) == 3 * PARTITIONS + 5 and max(found) - min(found) <= 2, found
    for node in reversed(grown.nodes[1:]):
        holon(one, "node", "drain", node.name)
        until(f"{node} is empty", lambda n=node: loads(one)[n.name] == 0 and plan(one)["left"] == 0, 120)
        holon(one, "node", "remove", node.name)
        assert node.wait_exit(30) != 0
        assert "was removed" in node.log()
    wait_settled(one, [one])
    assert load.end() == []
    assert len(load.done) == 50
    check_counters(one, load.done)
    one.kill()
    one.start().wait_ready()
    check_counters(one, load.done)


def is_connected(node, port):
    """By the kernel: somebody's connection to that port is established, and node runs."""
    lines = pathlib.Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    ends = [(line.split()[2], line.split()[3]) for line in lines]
    return node.alive and (f"0100007F:{port:04X}", "01") in ends


def test_a_joiner_that_is_killed_again_and_again_joins_once(grown):
    one = grown.nodes[0].start().wait_ready()
    fill(one, 200)
    two = grown.add()
    # It asks one that is stopped, dies, and its question is read after that.
    one.pause()
    two.start()
    until("it asks", lambda: "no answer" in two.log() or (two.data / "joining").exists(), 10, every=0.002)
    until("it has a connection", lambda: is_connected(two, one.peer), 10, every=0.002)
    two.kill()
    one.resume()
    until("it has a place", lambda: "n2" in loads(one), 20)
    # As soon as each of these is there: before it asks, while it asks, with a place, before it opens.
    for name in ("lock", "joining", "joining", "table", "identity", "log", "store-0", "store-7"):
        two.start()
        until(f"{name} is there", lambda n=name: (two.data / n).exists() or (two.data / "identity").exists(), 10,
              every=0.002)
        two.kill()
    two.start().wait_ready(60)
    wait_settled(one, grown.nodes)
    assert [node["id"] for node in one.status()["nodes"]] == [1, 2]
    assert not (two.data / "joining").exists()
    check_filled(two, 200)


def refused(node, *why):
    assert node.start().wait_exit(30) != 0
    for text in why:
        assert text in node.log(), node.log()
    return node


def test_what_is_wrong_is_refused_and_changes_nothing(grown, tmp_path):
    one = grown.nodes[0].start().wait_ready()
    before = one.status()["table_epoch"]
    twin = refused(grown.add(name="n1", via=[one]), "there is a node n1 already", "holon node replace n1")
    assert not (twin.data / "joining").exists() and not (twin.data / "identity").exists()
    refused(grown.add("--partitions", "7", name="n3", via=[one]), "--partitions 7 was given", "partitions 16")
    refused(grown.add("--token", "holon1." + "ab" * 32, name="n4", via=[one]), "not of this cluster, or was used")
    assert one.status()["table_epoch"] == before
    # A directory of another cluster.
    (tmp_path / "other").mkdir()
    other = Grown(tmp_path / "other")
    try:
        stranger = other.nodes[0].start().wait_ready()
        stranger.stop()
        stranger.options += ["--join", f"127.0.0.1:{one.peer}"]
        refused(stranger, "of cluster", "Nothing was changed")
        del stranger.options[-2:]
        stranger.start().wait_ready()
    finally:
        other.end()
    assert one.status()["table_epoch"] == before


def test_a_token_lets_one_node_in(grown, tmp_path):
    one = grown.nodes[0].start().wait_ready()
    text = token(one, "token", "--ttl", "10m")
    (tmp_path / "token").write_text(text + "\n")
    two = grown.add("--token", f"@{tmp_path / 'token'}").start().wait_ready(60)
    assert not any(text in path.read_text(errors="replace") for path in two.data.glob("jo*"))
    refused(grown.add("--token", text, name="n3", via=[one]), "was used already", "holon node token")
    three = grown.add("--token", token(two, "token"), name="n3", via=[two])
    three.start()
    command = pathlib.Path(f"/proc/{three.pid}/cmdline")
    three.wait_ready(60)
    assert "holon1." not in command.read_text()
    wait_settled(one, [one, two, three])


def is_whole(via, name):
    node = {node["name"]: node for node in via.status()["nodes"]}[name]
    return node["replicas"] == 17 and node["behind"] == 0


def test_a_machine_takes_the_place_of_a_dead_one(grown):
    one = grown.nodes[0].start().wait_ready()
    fill(one, 200)
    two = grown.add().start().wait_ready(60)
    three = grown.add().start().wait_ready(60)
    wait_settled(one, grown.nodes)
    assert "stop it first" in holon(one, "node", "replace", "n3", code=1)
    three.kill()
    text = None

    def replaceable():
        nonlocal text
        text = token(one, "replace", "n3")
        return text
    until("n3 is not heard of any more", replaceable, 20)
    refused(grown.add("--token", text, name="n4", via=[one]), "give --name n3")
    new = grown.add("--token", text, name="n3", via=[two]).start().wait_ready(60)
    until("it holds everything", lambda: new.healthy and all(is_whole(n, "n3") for n in (one, two, new)), 60)
    assert [node["id"] for node in one.status()["nodes"]] == [1, 2, 3]
    three.start()  # back from the dead
    until("it is told why nobody listens", lambda: "another process with node id 3" in three.log(), 20)
    assert not three.ready and not three.healthy
    three.kill()
    two.kill()
    until("the others serve everything", lambda: one.healthy and new.healthy, 60)
    check_filled(new, 200)
