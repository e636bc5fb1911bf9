"""Nodes are drained, removed, lost for good and labelled, under load, by the commands of `holon node`."""

import threading

from operate import holon, plan
from waiting import until

PARTITIONS = 32


def load_of(via, name):
    return {node["name"]: node["replicas"] for node in via.status()["nodes"]}.get(name)


def settled(via):
    shown = plan(via)
    return shown["left"] == 0 and not shown["next"]


class Load:
    """One client of each node writes counters, one request after the other, and reads them back."""

    def __init__(self, nodes):
        self.stopping = threading.Event()
        self.errors = []
        self.done = {}
        self.threads = [threading.Thread(target=self._run, args=(node,)) for node in nodes]
        for thread in self.threads:
            thread.start()

    def _run(self, node):
        try:
            client = node.client()
            count = 0
            while not self.stopping.is_set():
                key = f"load:{node.name}:{count % 50}"
                answer = client.call("INCR", key)
                if not isinstance(answer, int):
                    self.errors.append((node.name, key, answer))
                self.done[key] = self.done.get(key, 0) + 1
                count += 1
        except Exception as error:  # noqa: BLE001 - any end of a client counts
            self.errors.append((node.name, repr(error)))

    def end(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=30)
        return self.errors


def check_progress(one, other, last):
    """What is to be moved is told while it is, by any node."""
    seen = {}

    def told():
        moves = other.status()["moves"]
        if moves is None or not 0 < moves["groups_left"] < moves["groups_total"]:
            return False
        seen.update(moves)
        return True

    until("progress is told", told, 60, every=0.02)
    assert seen["groups_total"] <= PARTITIONS + 1, seen
    assert seen["bytes_sent"] <= seen["bytes_total"], seen
    assert seen["seconds_left"] is None or seen["seconds_left"] < 3600, seen
    assert all(node["node"] != last.name for node in seen["nodes"]), seen
    until("nothing is told any more", lambda: settled(one) and other.status()["moves"] is None, 120)


def check_counters(node, done):
    client = node.client()
    for key, count in done.items():
        assert int(client.call("GET", key)) == count, key


def test_a_node_is_drained_and_removed_without_an_error_for_clients(make_cluster):
    cluster = make_cluster(count=5, options=("--partitions", str(PARTITIONS)))
    one, last = cluster[0], cluster[4]
    stay = [cluster[i] for i in range(4)]
    until("the founding is as it should be", lambda: settled(one), 60)
    load = Load(stay)
    until("clients write", lambda: len(load.done) >= 100, 30)
    assert "holon node drain" in holon(one, "node", "remove", last.name, code=1)
    assert one.status()["moves"] is None
    assert "moves:" not in holon(one, "status")
    assert "is being drained" in holon(cluster[1], "node", "drain", last.name)
    check_progress(one, cluster[1], last)
    until("the drained node is empty", lambda: load_of(one, last.name) == 0 and settled(one), 120)
    loads = [load_of(one, node.name) for node in stay]
    assert sum(loads) == 3 * PARTITIONS + 3 and max(loads) - min(loads) <= 2, loads
    holon(one, "node", "remove", last.name)
    assert last.wait_exit(30) != 0
    assert "was removed" in last.log()
    assert last.name not in holon(one, "node", "list")
    assert load.end() == []
    check_counters(one, load.done)


def test_a_node_that_is_lost_for_good_is_made_up_for(make_cluster):
    cluster = make_cluster(count=4, options=("--partitions", str(PARTITIONS), "--repair-after", "3s"))
    one, lost = cluster[0], cluster[3]
    until("the founding is as it should be", lambda: settled(one), 60)
    load = Load([cluster[i] for i in range(3)])
    until("clients write", lambda: len(load.done) >= 100, 30)
    lost.kill()
    until("its replicas are elsewhere", lambda: load_of(one, lost.name) == 0 and settled(one), 120)
    load.end()  # those that it led had to wait for an election, not longer than clients are patient
    check_counters(one, {key: count for key, count in load.done.items()})
    assert all(load_of(one, cluster[i].name) in (PARTITIONS, PARTITIONS + 1) for i in range(3))
    lost.start()
    lost.wait_ready(60)
    until("it takes part again", lambda: settled(one) and load_of(one, lost.name) > 0, 120)


def test_members_are_known_after_one_in_the_middle_was_removed(make_cluster):
    cluster = make_cluster(count=4, options=("--partitions", "8"))
    one, middle, three, last = cluster
    until("the founding is as it should be", lambda: settled(one), 60)
    one.call("SET", "k", "v")
    holon(one, "node", "drain", middle.name)
    until("it is empty", lambda: load_of(one, middle.name) == 0 and settled(one), 90)
    holon(one, "node", "remove", middle.name)
    assert middle.wait_exit(30) != 0
    assert middle.start().wait_exit(30) != 0  # it stays out
    stay = [one, three, last]
    for node in stay:
        node.kill()
    for node in stay:
        node.start()
    for node in stay:
        node.wait_ready(60)
    assert last.call("GET", "k") == "v"
    until("all three hold everything", lambda: settled(one) and all(load_of(one, n.name) == 9 for n in stay), 60)
    # One of them comes back without its disk, as the one it is.
    last.kill()
    last.wipe()
    last.start()
    last.wait_ready(60)
    until("it has everything again", lambda: last.healthy, 60)
    assert last.call("GET", "k") == "v"


def test_labels_and_operators_who_contradict_each_other(make_cluster):
    cluster = make_cluster(count=3, options=("--partitions", "8"))
    one, two = cluster[0], cluster[1]
    holon(one, "node", "label", two.name, "zone=b,leaders=9")
    until("the label is shown", lambda: "leaders=9,zone=b" in holon(one, "node", "list"), 20)
    until("a node that should not lead leads nothing", lambda: {n["name"]: n["leads"] for n in one.status()["nodes"]}[two.name] == 0, 60)
    assert "1 to 10000" in holon(one, "node", "label", two.name, "weight=0", code=1)
    assert "no node n9" in holon(one, "node", "drain", "n9", code=1)
    holon(one, "node", "drain", cluster[2].name)
    holon(two, "node", "drain", two.name)
    assert "add a node first" in holon(one, "node", "drain", one.name, code=1)
    until("one node holds everything", lambda: load_of(one, one.name) == 9 and settled(one), 90)
    assert "nothing is to be moved" in holon(one, "rebalance", "--dry-run")
    holon(one, "node", "undrain", two.name)
    holon(two, "node", "undrain", cluster[2].name)
    until("all hold everything again", lambda: load_of(one, two.name) == 9 and settled(one), 90)
