"""redis-py (Debian's python3-redis) against three real nodes: what applications do."""
import threading

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster


def test_strings(client):
    assert client.set("k", b"\x00\xff\r\n") is True
    assert client.get("k") == b"\x00\xff\r\n"
    assert client.set("k", "v", nx=True) is None
    assert client.set("k", "v2", xx=True, get=True) == b"\x00\xff\r\n"
    assert client.append("k", "+") == 3
    assert client.getrange("k", 0, -1) == b"v2+"
    assert client.incr("n", 5) == 5
    assert client.incrbyfloat("n", 0.5) == 5.5
    assert client.getdel("n") == b"5.5"
    assert client.exists("k", "n") == 1


def test_expiry(client):
    client.set("k", "v", ex=100)
    assert 98 <= client.ttl("k") <= 100
    assert client.persist("k") and client.ttl("k") == -1
    assert client.pexpire("k", 60_000) and 59_000 < client.pttl("k") <= 60_000
    assert client.expire("k", -1) and client.get("k") is None


def test_hashes(client):
    assert client.hset("h", mapping={"a": "1", "b": "2"}) == 2
    assert client.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert client.hincrby("h", "a", 41) == 42
    assert client.hmget("h", "a", "x") == [b"42", None]
    assert dict(client.hscan_iter("h")) == {b"a": b"42", b"b": b"2"}
    assert client.hdel("h", "a", "b") == 2
    assert not client.exists("h")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.set("s", "v")
        client.hget("s", "f")


def test_keys_of_all_partitions(client):
    names = {f"key:{i}".encode() for i in range(700)}
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.set(name, name)
        pipe.execute()
    assert client.dbsize() == 700
    assert set(client.keys("key:*")) == names
    assert set(client.keys("key:69?")) == {f"key:69{i}".encode() for i in range(10)}
    found = list(client.scan_iter(match="key:*", count=50))
    assert len(found) == 700 and set(found) == names
    some = sorted(names)[:100]
    assert client.mget(some + [b"absent"]) == some + [None]
    assert client.exists(*some, b"absent") == 100
    assert client.randomkey() in names
    assert client.flushdb() and client.dbsize() == 0 and client.keys() == []
    assert client.randomkey() is None


def test_writes_over_partitions(client):
    assert client.mset({"a": 1, "b": 2, "c": 3})
    assert client.msetnx({"c": 4, "d": 4, "e": 4}) is False
    assert client.rename("a", "f") and client.mget("a", "b", "f") == [None, b"2", b"1"]
    assert client.delete("a", "b", "c", "f") == 3 and client.dbsize() == 0
    assert client.mset({"{t}a": 1, "{t}b": 2})
    assert client.msetnx({"{t}b": 3, "{t}c": 3}) is False
    assert client.delete("{t}a", "{t}b", "{t}x") == 2


def test_a_pipeline_keeps_the_order(client):
    with client.pipeline(transaction=False) as pipe:
        for i in range(3000):
            pipe.incr("same")
            pipe.set(f"k{i}", i)
            pipe.get(f"k{i}")
        replies = pipe.execute()
    assert replies[0::3] == list(range(1, 3001))
    assert replies[2::3] == [str(i).encode() for i in range(3000)]


def test_a_read_over_partitions_sees_what_was_sent_before(client):
    with client.pipeline(transaction=False) as pipe:
        for i in range(50):
            pipe.set("a", i)
            pipe.set("b", i)
            pipe.mget("a", "b", "c")
            pipe.set("a", "later")
        replies = pipe.execute()
    assert replies[2::4] == [[str(i).encode()] * 2 + [None] for i in range(50)]


def test_databases(node, client):
    other = redis.Redis(host="127.0.0.1", port=node.redis, db=5)
    client.set("k", "0")
    other.set("k", "5")
    assert client.get("k") == b"0" and other.get("k") == b"5"
    other.flushdb()
    assert client.get("k") == b"0" and other.get("k") is None
    with pytest.raises(redis.ResponseError, match="out of range"):
        redis.Redis(host="127.0.0.1", port=node.redis, db=16).ping()


def test_values_up_to_the_limit(client):
    limit = 16 << 20
    big = bytes(range(256)) * (limit // 256)
    assert client.set("big", big) and client.get("big") == big
    with pytest.raises(redis.ResponseError, match="exceeds maximum allowed size"):
        client.append("big", "x")
    with pytest.raises((redis.ResponseError, redis.ConnectionError)):
        client.set("big", big + b"x")
    assert client.strlen("big") == limit
    assert client.getset("big", "small") == big
    large = big[:256 << 10]
    with client.pipeline(transaction=False) as pipe:
        pipe.set("big", large)
        for _ in range(100):
            pipe.get("big")
        assert all(value == large for value in pipe.execute()[1:])


def test_many_threads_count_exactly(node, client):
    def count():
        own = redis.Redis(host="127.0.0.1", port=node.redis)
        for _ in range(200):
            own.incr("counter")
        own.close()

    threads = [threading.Thread(target=count) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("counter") == b"2000"


def test_the_connection(node, client):
    assert client.ping() and client.echo("x") == b"x"
    assert client.client_setname("tester") and client.client_getname() == "tester"
    assert client.client_id() > 0
    assert any(entry["name"] == "tester" for entry in client.client_list())
    assert client.info("cluster")["cluster_enabled"] == 1
    assert client.info()["redis_version"].startswith("7.")
    assert client.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
    assert abs(client.time()[0] - __import__("time").time()) < 5
    assert client.command_count() == len(client.command())
    assert client.command_getkeys("MSET", "a", "1", "b", "2") == ["a", "b"]
    with pytest.raises(redis.ResponseError, match="not supported yet"):
        client.lpush("l", "x")
    with pytest.raises(redis.ResponseError, match="unknown command"):
        client.execute_command("NOSUCH", "x")


def test_a_cluster_client(cluster, client):
    """RedisCluster follows CLUSTER SLOTS to the leaders' cluster ports."""
    nodes = [ClusterNode("127.0.0.1", node.redis_cluster) for node in cluster]
    made = RedisCluster(startup_nodes=nodes, decode_responses=True)
    for i in range(300):
        assert made.set(f"c{i}", i)
    assert [made.get(f"c{i}") for i in range(300)] == [str(i) for i in range(300)]
    ports = {node.port for node in made.get_primaries()}
    assert ports <= {node.redis_cluster for node in cluster}
    assert made.mget_nonatomic([f"c{i}" for i in range(20)]) == [str(i) for i in range(20)]
    made.close()
