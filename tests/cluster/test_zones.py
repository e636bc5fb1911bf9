"""Six nodes in three zones: every partition has one replica in each, and a zone may die."""
import pytest

from counters import Counters
from operate import is_settled, of_nodes, wait_settled
from waiting import until

ZONES = ("a", "a", "b", "b", "c", "c")
PARTITIONS = 12
KEYS = 500


def partitions_of(via) -> list:
    """Names of the nodes of each. Not the meta group, which wants five: on four it keeps a lost one."""
    return [group["replicas"] for group in via.status()["groups"] if group["group"] > 0]


def zones_of_partitions(via, cluster) -> set:
    zone = {node.name: ZONES[i] for i, node in enumerate(cluster)}
    return {"".join(sorted(zone[name] for name in names)) for names in partitions_of(via)}


def is_on(via, alive) -> bool:
    """All replicas are on these nodes, three of each partition."""
    alive_names = {node.name for node in alive}
    return all(set(names) <= alive_names and len(set(names)) == 3 for names in partitions_of(via))


@pytest.mark.long
def test_a_zone_of_three_dies(make_cluster):
    cluster = make_cluster(count=6, options=("--partitions", str(PARTITIONS), "--repair-after", "4s"),
                           each=tuple(("--zone", zone) for zone in ZONES))
    one = cluster[0]
    wait_settled(one, cluster, 60)
    assert zones_of_partitions(one, cluster) == {"abc"}
    held = of_nodes(one, "replicas")
    with one.client() as client:
        for number in range(KEYS):
            assert client.call("SET", f"key:{number}", number) == "OK"
    dead, alive = cluster.nodes[4:], cluster.nodes[:4]
    load = Counters(alive, pause_seconds=0.004).start()
    until("all are served", lambda: load.goes_on(alive))
    for node in dead:
        node.process.kill()
    for node in dead:
        node.wait_exit()
    until("the others' clients go on", lambda: load.goes_on(alive) and all(n.healthy for n in alive), 10)
    # One replica of each partition is gone, and is made again: two share a zone now.
    until("all have three replicas again", lambda: is_on(one, alive), 90)
    until("nothing moves", lambda: is_settled(one, cluster), 60)
    assert zones_of_partitions(one, cluster) == {"aab", "abb"}
    assert load.goes_on(alive)
    for node in dead:
        node.start()
    for node in dead:
        node.wait_ready(60)
    until("each zone has one of each again", lambda: is_settled(one, cluster)
          and zones_of_partitions(one, cluster) == {"abc"}, 90)
    assert sorted(of_nodes(one, "replicas").values()) == sorted(held.values())
    load.finish()
    assert load.errors == []
    for node in cluster:
        load.check(node)
        with node.client() as client:
            for number in range(KEYS):
                assert client.call("GET", f"key:{number}") == str(number)
