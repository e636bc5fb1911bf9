"""HOLON.READS: a node that reaches no quorum answers stale reads within their bound, and nothing
else; docs/guides/consistency.md says so."""
import time

import pytest

from resp import ErrorReply, encode
from waiting import observe, until

PATIENCE = 2.0
BOUND_MS = 5000
KEYS = [f"key{i}" for i in range(24)]  # in partitions of both workers, led by all three nodes


def filled(make_cluster):
    cluster = make_cluster(options=("--workers", "2", "--partitions", "8", "--patience", "2s"))
    for key in KEYS:
        assert cluster[0].call("SET", key, f"value of {key}") == "OK"
    return cluster


def stale_client(node, bound_ms=BOUND_MS):
    client = node.client()
    assert client.call("HOLON.READS", "stale", str(bound_ms)) == "OK"
    assert client.call("HOLON.READS") == f"stale {bound_ms}"
    return client


def all_keys_are_read(client) -> bool:
    return [client.call("GET", key) for key in KEYS] == [f"value of {key}" for key in KEYS]


def metric(node, name: str) -> int:
    for line in node.http("/metrics")[1].splitlines():
        if line.startswith(name + " "):
            return int(float(line.split(" ")[1]))
    raise KeyError(name)


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_a_minority_answers_stale_reads_until_their_bound_is_over(make_cluster, how):
    cluster = filled(make_cluster)
    node = cluster[2]
    with stale_client(node) as stale, node.client() as strict, node.client() as writer:
        assert all_keys_are_read(stale)
        assert stale.call("MGET", *KEYS) == [f"value of {key}" for key in KEYS]
        assert 0 <= stale.call("HOLON.READS", "LAST") <= BOUND_MS
        for other in cluster.others(node):
            getattr(other, how)()
        cut_at = time.monotonic()
        # Leaders that are here may answer by their lease until they step down.
        def all_are_read() -> None:
            assert all_keys_are_read(stale)
        observe(1, all_are_read)
        strict_at = time.monotonic()
        writer.send(encode("SET", "another", "x"))  # it may take effect later
        strict_errors = strict.pipeline([("GET", key) for key in KEYS]) + [writer.read()]
        took = time.monotonic() - strict_at
        assert PATIENCE * 0.8 < took < PATIENCE + 1, f"errors came after {took:.1f} s"
        for error in strict_errors:
            assert isinstance(error, ErrorReply), error
            assert error.startswith(("UNAVAILABLE no quorum of partition", "UNKNOWN outcome")), error
        assert all_keys_are_read(stale)
        assert stale.call("MGET", *KEYS) == [f"value of {key}" for key in KEYS]
        assert stale.call("DBSIZE") == len(KEYS)
        last = stale.call("HOLON.READS", "LAST")
        age = (time.monotonic() - cut_at) * 1000
        assert age - 1500 <= last <= BOUND_MS, (last, age)
        # The bound is over at last.
        refused = until("a stale read is refused",
                        lambda: next((reply for reply in [stale.call("GET", "key0")]
                                      if isinstance(reply, ErrorReply)), None), 15)
        assert refused.startswith("STALE this node's replica of partition"), refused
        assert f"more than the bound of {BOUND_MS} ms" in refused
        assert stale.call("HOLON.READS", "LAST") > BOUND_MS
        # A greater bound is enough again; the leaders are not needed for it.
        assert stale.call("HOLON.READS", "stale", "600000") == "OK"
        assert all_keys_are_read(stale)
        assert stale.call("HOLON.READS", "LAST") > BOUND_MS
        assert metric(node, "holon_stale_reads_total") > 2 * len(KEYS)
        assert metric(node, "holon_stale_refused_total") >= 1
        for other in cluster.others(node):
            other.resume() if how == "pause" else other.start()
        for other in cluster.others(node):
            other.wait_ready()
        cluster.wait_healthy()
        assert stale.call("HOLON.READS", "stale", str(BOUND_MS)) == "OK"
        until("reads are fresh again", lambda: all_keys_are_read(stale)
              and stale.call("HOLON.READS", "LAST") < 2000, 10)


def test_a_connection_that_reads_stale_sees_what_it_wrote(make_cluster):
    cluster = filled(make_cluster)
    for node in cluster:
        with stale_client(node) as client:
            for number in range(200):
                key = KEYS[number % len(KEYS)]
                assert client.call("SET", key, number) == "OK"
                assert client.call("GET", key) == str(number)
            replies = client.pipeline([("INCR", "count"), ("GET", "count")] * 50)
            assert [int(a) for a in replies[::2]] == [int(b) for b in replies[1::2]]


def test_leaders_are_asked_only_while_somebody_reads_stale(make_cluster):
    cluster = filled(make_cluster)
    node = cluster[0]
    assert metric(node, "holon_stale_questions_total") == 0
    with stale_client(node, 100) as client:
        until("leaders are asked", lambda: metric(node, "holon_stale_questions_total") > 100)
        assert client.call("RESET") == "RESET"
        assert client.call("HOLON.READS") == "linearizable"
        # The other worker's wish is over within three seconds.
        def steady() -> bool:
            before = metric(node, "holon_stale_questions_total")

            def same() -> None:
                assert metric(node, "holon_stale_questions_total") == before
            observe(0.5, same)
            return True
        until("nobody is asked any more", steady, 10)
