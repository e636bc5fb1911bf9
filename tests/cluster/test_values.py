"""Values from a byte to 16 MiB and hashes of any size, through every node, over deaths of nodes;
and what is left behind when they go: nothing."""
import random
import re
import threading
import time

import resp
from waiting import until

KIB, MIB = 1 << 10, 1 << 20
BOUNDARIES = [16 * KIB, 224 * KIB, 256 * KIB, 1 * MIB, 16 * MIB]


def value_of(size: int, seed: int = 0) -> str:
    """Text of which no part can pass for another part or another value."""
    return random.Random(seed * 1000003 + size).randbytes(size // 2 + 1).hex()[:size]


def metric(node, name: str) -> float:
    found = re.search(rf"^holon_{name} (\S+)$", node.http("/metrics")[1], re.M)
    assert found, f"no metric holon_{name}"
    return float(found.group(1))


def garbage(cluster) -> float:
    return sum(metric(node, "redis_garbage") for node in cluster)


def test_values_at_each_boundary_are_whole_through_every_node(make_cluster):
    cluster = make_cluster(3)
    writer, *readers = [node.client(timeout=60) for node in cluster]
    for boundary in BOUNDARIES:
        for size in (boundary - 1, boundary, boundary + 1):
            value, key = value_of(size), f"value:{size}"
            if size > 16 * MIB:
                continue
            assert writer.call("SET", key, value) == "OK"
            for reader in [writer, *readers]:
                assert reader.call("GET", key) == value
                assert reader.call("STRLEN", key) == size
                assert reader.call("GETRANGE", key, size // 2, size // 2 + 99) == \
                    value[size // 2:size // 2 + 100]
            if size + 5 <= 16 * MIB:
                assert readers[0].call("APPEND", key, "12345") == size + 5
                assert readers[1].call("SETRANGE", key, 3, "abc") == size + 5
                changed = value[:3] + "abc" + value[6:] + "12345"
                assert writer.call("GET", key) == changed
            assert readers[1].call("GETSET", key, "x") is not None
            assert readers[0].call("DEL", key) == 1
    until("all is collected", lambda: garbage(cluster) == 0, seconds=30)


def test_a_value_that_is_too_big_is_refused_before_it_comes(make_cluster):
    node = make_cluster(1)[0]
    with node.client() as client:
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16777217\r\n")  # and not one byte of it
        reply = client.read()
        assert isinstance(reply, resp.ErrorReply) and "16 MiB" in reply
    assert node.call("GET", "k") is None
    assert node.call("CONFIG", "GET", "proto-max-bulk-len")[1] == "16777216"


def test_what_is_pipelined_behind_a_write_that_is_too_big_goes_on(make_cluster):
    cluster = make_cluster(3)
    for node in cluster:
        with node.client(timeout=60) as client:
            for too_big in (["SET", "k" * (64 * KIB + 1), "v"], ["HSET", "k", "f", value_of(320 * KIB)]):
                replies = client.pipeline([["DEL", "k"], too_big, ["SET", "k", "v"], ["GET", "k"],
                                           too_big, ["APPEND", "k", "w"], ["GET", "k"]] * 5)
                for first in range(0, len(replies), 7):
                    gone, refused, done, value, again, size, last = replies[first:first + 7]
                    assert gone == (first > 0) and done == "OK" and value == "v"
                    assert isinstance(refused, resp.ErrorReply) and isinstance(again, resp.ErrorReply)
                    assert not refused.startswith("BUSY") and not again.startswith("BUSY")
                    assert size == 2 and last == "vw"
                assert client.call("DEL", "k") == 1


def test_several_big_values_in_one_command(make_cluster):
    cluster = make_cluster(3)
    client = cluster[1].client(timeout=60)
    a, b = value_of(3 * MIB, 1), value_of(5 * MIB, 2)
    assert client.call("MSET", "{t}a", a, "{t}small", "s", "{t}b", b) == "OK"
    assert cluster[0].call("MGET", "{t}a", "{t}small", "{t}b", timeout=60) == [a, "s", b]
    assert client.call("SET", "{t}a", b, "NX") is None
    assert client.call("SET", "{t}a", b, "XX", "GET", "EX", "100") == a
    assert client.call("GETDEL", "{t}a") == b
    until("all is collected", lambda: garbage(cluster) == 0, seconds=30)


def test_order_on_one_connection_holds_around_big_values(make_cluster):
    cluster = make_cluster(3)
    client = cluster[2].client(timeout=60)
    big = value_of(1 * MIB)
    replies = client.pipeline([["SET", "k", "first"], ["SET", "k", big], ["STRLEN", "k"],
                               ["APPEND", "k", "+"], ["STRLEN", "k"], ["SET", "k", "last"],
                               ["GET", "k"]])
    assert replies == ["OK", "OK", MIB, MIB + 1, MIB + 1, "OK", "last"]


def test_a_large_hash(make_cluster):
    cluster = make_cluster(3)
    client = cluster[0].client(timeout=60)
    fields = 200_000
    for first in range(0, fields, 2000):
        pairs = []
        for i in range(first, first + 2000):
            pairs += [f"field:{i}", f"value:{i}"]
        assert client.call("HSET", "h", *pairs) == 2000
    assert cluster[1].call("HLEN", "h") == fields
    assert cluster[2].call("HGET", "h", "field:77777") == "value:77777"
    assert client.call("HSET", "h", "field:5", "new", "another", "x") == 1
    cursor, seen = "0", set()
    while True:
        cursor, page = client.call("HSCAN", "h", cursor, "COUNT", "5000")
        seen.update(page[::2])
        if cursor == "0":
            break
    assert len(seen) == fields + 1
    began = time.monotonic()
    assert client.call("DEL", "h") == 1
    assert time.monotonic() - began < 0.5
    assert client.call("EXISTS", "h") == 0
    slowest = 0.0

    def collected() -> bool:
        nonlocal slowest
        for i in range(50):
            before = time.monotonic()
            assert client.call("SET", f"other:{i}", "x") == "OK"
            slowest = max(slowest, time.monotonic() - before)
        return garbage(cluster) == 0

    until("its fields are collected", collected, seconds=60)
    assert slowest < 0.5


def test_keys_end_without_being_read(make_cluster):
    cluster = make_cluster(3)
    client = cluster[0].client(timeout=60)
    for first in range(0, 20_000, 1000):
        replies = client.pipeline([["SET", f"short:{i}", "v", "PX", "1500"]
                                   for i in range(first, first + 1000)])
        assert replies == ["OK"] * 1000
    assert client.call("SET", "stays", "v", "EX", "1000") == "OK"
    until("they are gone", lambda: cluster[1].call("DBSIZE") == 1, seconds=30)
    assert client.call("TTL", "stays") > 900


def test_big_values_over_deaths_of_nodes(make_cluster):
    """4 MiB values are written and read through all nodes while these are killed one by one: each
    read is one whole value, no older than what was acknowledged before it began."""
    cluster = make_cluster(3)
    size, keys = 4 * MIB, 3
    acknowledged = [0] * keys  # number of the last value that was acknowledged
    newest = [0] * keys        # ... and of the last one sent
    stop = threading.Event()
    problems, done = [], {"writes": 0, "reads": 0, "kills": 0}

    def write(key: int) -> None:
        while not stop.is_set():
            newest[key] += 1
            number = newest[key]
            value = f"{number:12d}" + value_of(size - 12, number)
            try:
                with random.choice(list(cluster)).client(timeout=30) as client:
                    if client.call("SET", f"big:{key}", value) == "OK":
                        acknowledged[key] = number
                        done["writes"] += 1
            except Exception:  # its node died, or said that it does not know
                stop.wait(0.1)

    def read() -> None:
        while not stop.is_set():
            key = random.randrange(keys)
            least = acknowledged[key]
            try:
                with random.choice(list(cluster)).client(timeout=30) as client:
                    value = client.call("GET", f"big:{key}")
            except Exception:
                value = resp.ErrorReply("its node died")
            if isinstance(value, resp.ErrorReply):
                stop.wait(0.1)
                continue
            if value is None:
                if least:
                    problems.append(f"key {key} is gone after write {least}")
                continue
            number = int(value[:12])
            if value != f"{number:12d}" + value_of(size - 12, number):
                problems.append(f"key {key}: value {number} is not whole, {len(value)} bytes")
            if number < least:
                problems.append(f"key {key}: read {number} after {least} was acknowledged")
            done["reads"] += 1

    threads = [threading.Thread(target=write, args=(key,)) for key in range(keys)]
    threads += [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for round_number in range(6):
            busy = done["writes"] + done["reads"] + 8  # in the middle of load the node dies
            until("there is load", lambda: done["writes"] + done["reads"] >= busy, seconds=60)
            node = cluster[round_number % 3]
            node.kill()
            done["kills"] += 1
            gone = done["reads"] + 2
            until("the others answer", lambda: done["reads"] >= gone, seconds=60)
            node.start().wait_ready()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not problems
    assert done["writes"] >= 5 and done["reads"] >= 5, done
    cluster.wait_healthy()
    for key in range(keys):
        number = int(cluster[0].call("GETRANGE", f"big:{key}", 0, 11))
        assert acknowledged[key] <= number <= newest[key]
        assert cluster[1].call("DEL", f"big:{key}", timeout=30) == 1
