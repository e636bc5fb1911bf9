"""HOLON.SNAPSHOT over three real nodes: every snapshot is one instant of everything, and stays it while clients write,
delete, flush and swap, and while leaders die; docs/guides/consistency.md says so."""
import threading
import time

import pytest

from bank import Bank
from resp import Client, ErrorReply
from slots import keys_over
from waiting import until

PARTITIONS = 64
CUTS_MAX = 8
ROUNDS = 12
DELAY_SECONDS = 0.015


@pytest.fixture
def cluster(make_cluster):
    made = make_cluster(options=("--partitions", str(PARTITIONS)))
    made.wait_healthy()
    return made


def opened(node, *options) -> tuple:
    """A connection that reads at a new snapshot, and the snapshot's id."""
    client = node.client()
    name = client.call("HOLON.SNAPSHOT", "OPEN", *options)
    assert not isinstance(name, ErrorReply) and len(name) == 16 and int(name, 16) > 0, name
    return client, name


def using(node, name: str) -> Client:
    client = node.client()
    assert client.call("HOLON.SNAPSHOT", "USE", name) == "OK"
    return client


def info(client) -> dict:
    reply = client.call("HOLON.SNAPSHOT", "INFO")
    assert not isinstance(reply, ErrorReply), reply
    return dict(zip(reply[::2], reply[1::2]))


def gone(reply) -> bool:
    return isinstance(reply, ErrorReply) and reply.startswith("SNAPSHOTGONE")


def scanned(client, *options) -> list:
    keys, cursor = [], "0"
    while True:
        cursor, page = client.call("SCAN", cursor, *options)
        keys += page
        if cursor == "0":
            return keys


def metric(nodes, name: str) -> int:
    return sum(int(float(line.split(" ")[1])) for node in nodes for line in node.http("/metrics")[1].splitlines()
               if line.startswith(name + " "))


def test_each_snapshot_is_one_instant_of_the_bank(cluster):
    bank = Bank(cluster, partitions=PARTITIONS).start()
    held: list = []
    for number in range(ROUNDS):
        floors = bank.floors()  # what somebody was told before is in it
        keys = [*bank.accounts, *floors]
        client, name = opened(cluster[number % 3])
        values = client.call("MGET", *keys)
        bank.judge(values, floors)
        held.append((client, keys, values))
        before = bank.transfers
        until("the bank goes on", lambda b=before: bank.transfers > b + 20)
        with using(cluster[(number + 1) % 3], name) as other:
            assert other.call("MGET", *keys) == values
            assert other.pipeline([("GET", key) for key in keys]) == values
            assert info(other) == {**info(client), "opener": 0}
        for another, kept, same in held:  # not only the newest
            assert another.pipeline([("GET", key) for key in kept]) == same
        if len(held) == 3:
            held.pop(0)[0].close()
    assert len({tuple(values) for _, _, values in held}) == len(held)
    bank.finish()
    for client, keys, values in held:
        assert client.call("MGET", *keys) == values
        assert client.call("HOLON.SNAPSHOT", "CLOSE") == "OK"
        client.close()
    bank.audit(cluster[0])
    assert metric(cluster, "holon_cut_taken_total") == ROUNDS
    until("no part is left", lambda: metric(cluster, "holon_cut_parts") == 0)


def test_of_writes_one_behind_the_other_none_is_seen_without_those_before(make_cluster):
    """Each client counts at a, and when that is answered at b, which hears of a snapshot much later. So b is never
    ahead of a, nor a more than one step ahead of b."""
    cluster = make_cluster(proxied=True, options=("--partitions", "16"))
    cluster.wait_healthy()
    near, far = cluster[1], cluster[2]
    pairs = until("both lead something", lambda: [(cluster.key_led_by(near, near, f"a{number}."),
                                                   cluster.key_led_by(far, near, f"b{number}."))
                                                  for number in range(6)], 30)
    told = {key: 0 for pair in pairs for key in pair}
    cluster.network.delay(cluster[0].name, far.name, DELAY_SECONDS)
    stopping, wrong = threading.Event(), []

    def count(pair) -> None:
        with near.client() as client:
            while not stopping.is_set():
                for key in pair:
                    reply = client.call("INCR", key)
                    if isinstance(reply, ErrorReply):
                        wrong.append(reply)
                        return
                    told[key] = reply

    threads = [threading.Thread(target=count, args=(pair,), daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    try:
        with cluster[0].client() as client:
            keys = [key for pair in pairs for key in pair]
            for _ in range(3 * ROUNDS):
                floors = dict(told)
                name = client.call("HOLON.SNAPSHOT", "OPEN")
                assert not isinstance(name, ErrorReply), name
                seen = dict(zip(keys, (int(value or 0) for value in client.call("MGET", *keys))))
                assert all(seen[key] >= floors[key] for key in keys), "it is older than the question"
                for a, b in pairs:
                    assert seen[b] <= seen[a] <= seen[b] + 1, (seen[a], seen[b])
    finally:
        stopping.set()
        for thread in threads:
            thread.join(20)
    assert wrong == []
    assert min(told.values()) > ROUNDS, "the clients hardly went on"


def test_what_is_changed_later_is_not_seen(cluster):
    keys = keys_over(30, PARTITIONS, "k")
    with cluster[0].client() as now:
        for key in keys:
            assert now.call("SET", key, f"value of {key}") == "OK"
        assert now.call("HSET", "hash", "a", "1", "b", "2") == 2
        assert now.call("SET", "soon", "gone", "PX", "400") == "OK"
        big = "x" * 1_000_000
        assert now.call("SET", "big", big) == "OK"
        assert now.pipeline([("SELECT", 3), ("SET", "three", "3"), ("SELECT", 0)]) == ["OK"] * 3
        at, name = opened(cluster[1])
        with at, using(cluster[2], name) as other:
            def unchanged() -> None:
                for client in (at, other):
                    assert client.call("MGET", *keys) == [f"value of {key}" for key in keys]
                    assert client.call("HGETALL", "hash") == ["a", "1", "b", "2"]
                    assert client.call("GET", "soon") == "gone"
                    assert client.call("GET", "big") == big
                    assert client.call("EXISTS", *keys, "hash", "new") == len(keys) + 1
                    assert client.call("DBSIZE") == len(keys) + 3
                    assert sorted(client.call("KEYS", "*")) == sorted([*keys, "hash", "soon", "big"])
                    assert client.call("RANDOMKEY") in {*keys, "hash", "soon", "big"}
                    assert client.pipeline([("SELECT", 3), ("GET", "three"), ("SELECT", 0)]) == ["OK", "3", "OK"]

            unchanged()
            ttl = at.call("PTTL", "soon")
            assert 0 < ttl <= 400
            assert now.call("DEL", *keys[:10]) == 10
            assert now.call("MSET", *(word for key in keys[10:20] for word in (key, "other"))) == "OK"
            assert now.call("HSET", "hash", "a", "changed", "c", "3") == 1
            assert now.call("SET", "new", "1") == "OK"
            assert now.call("APPEND", "big", "y") == len(big) + 1
            until("the key has expired", lambda: now.call("EXISTS", "soon") == 0)
            unchanged()
            assert at.call("PTTL", "soon") == ttl  # time stands still
            assert now.call("SWAPDB", 0, 3) == "OK"
            unchanged()
            assert now.call("FLUSHALL") == "OK"
            unchanged()
            assert now.call("DBSIZE") == 0
            refused = at.call("SET", keys[0], "x")
            assert isinstance(refused, ErrorReply) and refused.startswith("READONLY"), refused
            assert at.call("HOLON.SNAPSHOT", "CLOSE") == "OK"
            assert at.call("DBSIZE") == 0


def test_so_many_are_open_at_once_and_no_more(cluster):
    assert cluster[0].call("SET", "key", "1") == "OK"
    clients = [opened(cluster[number % 3])[0] for number in range(CUTS_MAX)]
    with cluster[0].client() as another:
        refused = another.call("HOLON.SNAPSHOT", "OPEN")
        assert isinstance(refused, ErrorReply) and refused.startswith(f"BUSY {CUTS_MAX} snapshots"), refused
        assert another.call("GET", "key") == "1"  # the present
        assert clients[3].call("GET", "key") == "1"
        clients[3].close()
        until("there is room again", lambda: not isinstance(another.call("HOLON.SNAPSHOT", "OPEN"), ErrorReply))
        assert info(another)["partitions"] == PARTITIONS
        for client in clients[:3] + clients[4:]:
            assert client.call("GET", "key") == "1"
            client.close()
    until("no part is left", lambda: metric(cluster, "holon_cut_parts") == 0)


def test_it_ends_with_the_node_that_opened_it(cluster):
    """Nobody is left who could close it: that must not take until its lifetime is over, nor use up all there may be."""
    assert cluster[0].call("SET", "key", "1") == "OK"
    clients = [opened(cluster[0], "EX", "86400") for _ in range(CUTS_MAX)]
    cluster[0].kill()
    with using(cluster[1], clients[0][1]) as other:
        cluster[0].start().wait_ready()
        until("it has ended", lambda: gone(other.call("GET", "key")))
    until("there is room", lambda: not isinstance(cluster[1].call("HOLON.SNAPSHOT", "OPEN"), ErrorReply))
    for client, _ in clients:
        client.close()
    until("no part is left", lambda: metric(cluster, "holon_cut_parts") == 0)


def test_it_expires(cluster):
    assert cluster[0].call("SET", "key", "1") == "OK"
    client, name = opened(cluster[0], "EX", "1")
    with client, cluster[1].client() as other:
        assert client.call("GET", "key") == "1"
        until("it has expired", lambda: gone(client.call("GET", "key")))
        assert gone(client.call("DBSIZE"))  # it does not silently read something else
        assert gone(other.call("HOLON.SNAPSHOT", "USE", name))
        assert other.call("GET", "key") == "1"
        assert client.call("RESET") == "RESET"
        assert client.call("GET", "key") == "1"
    until("no part is left", lambda: metric(cluster, "holon_cut_parts") == 0)


def test_it_ends_with_the_connection_that_opened_it(cluster):
    assert cluster[0].call("SET", "key", "1") == "OK"
    client, name = opened(cluster[0])
    with using(cluster[1], name) as first, using(cluster[2], name) as other:
        first.close()  # of who only uses it: nothing
        assert other.call("GET", "key") == "1"
        client.close()
        until("it is gone", lambda: gone(other.call("GET", "key")))


@pytest.mark.parametrize("victim_opens", [False, True])
def test_a_leader_dies_and_the_snapshot_stays(make_cluster, victim_opens):
    cluster = make_cluster(options=("--partitions", "16", "--patience", "20s"))
    cluster.wait_healthy()
    keys = keys_over(32, 16, "key")
    for key in keys:
        assert cluster[0].call("SET", key, f"value of {key}") == "OK"
    victim = cluster[2]
    client, name = opened(victim if victim_opens else cluster[0])
    with client, using(cluster[1], name) as other:
        for key in keys:
            assert cluster[0].call("SET", key, "later") == "OK"
        victim.kill()
        deadline = time.monotonic() + 15
        for number in range(200):
            key = keys[number % len(keys)]
            assert other.call("GET", key) == f"value of {key}"
        assert other.call("MGET", *keys) == [f"value of {key}" for key in keys]
        assert time.monotonic() < deadline, "it took too long"
        assert other.call("DBSIZE") == len(keys)
        with cluster[0].client() as now:
            assert now.call("MGET", *keys) == ["later"] * len(keys)


def test_a_scan_gives_exactly_the_keys_of_the_snapshot(cluster):
    keys = [f"kept{number}" for number in range(2000)]
    with cluster[0].client() as client:
        assert set(client.pipeline([("SET", key, "1") for key in keys])) == {"OK"}
    at, _ = opened(cluster[1])
    stopping, wrong = threading.Event(), []

    def disturb(number: int) -> None:
        with cluster[number].client() as client:
            turn = 0
            while not stopping.is_set():
                turn += 1
                some = keys[(turn * 50) % len(keys):][:50]
                replies = client.pipeline([("DEL", *some), *(("SET", f"new{number}.{turn}.{k}", "x") for k in range(20)),
                                           *(("SET", key, "2") for key in some[:25])])
                wrong.extend(reply for reply in replies if isinstance(reply, ErrorReply))

    threads = [threading.Thread(target=disturb, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        with at:
            for count in (10, 100, 1000):
                found = scanned(at, "COUNT", count)
                assert len(found) == len(keys) and set(found) == set(keys)
            assert set(at.call("MGET", *keys)) == {"1"}
            assert sorted(scanned(at, "MATCH", "kept1*")) == sorted(key for key in keys if key.startswith("kept1"))
    finally:
        stopping.set()
        for thread in threads:
            thread.join(20)
    assert wrong == []
    with cluster[2].client() as client:
        assert set(scanned(client, "COUNT", 1000)) != set(keys)
