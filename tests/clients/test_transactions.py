"""Transactions as redis-server 7 has them, over keys of any partitions: the same conversations with both, and
what real clients make of it. HOLON_TXN_AGAINST=redis holds a second redis-server to the first one instead of
Holon, to try the tests themselves."""
import os
import pathlib
import subprocess
import sys
import threading

import pytest
import redis

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "cluster"))

from resp import ErrorReply  # noqa: E402
import redis_server  # noqa: E402  (the path comes first)
import slots  # noqa: E402
from key_scenarios import MANY_KEYS  # noqa: E402
from random_scenarios import scenario  # noqa: E402
from scenarios import CLOSED, Conversation, Wire, differences, lines_of, shown  # noqa: E402
from test_redis_cluster import packages  # noqa: E402,F401  (a fixture)
from transaction_scenarios import KEYS, MULTI  # noqa: E402
from watch_scenarios import CHANGES, WATCH  # noqa: E402

SCENARIOS = {**{f"MULTI, {name}": text for name, text in MULTI.items()},
             **{f"WATCH, {name}": text for name, text in WATCH.items()},
             **{f"keys, {name}": text for name, text in MANY_KEYS.items()}}
THREADS, ROUNDS = 6, 25
SEED = int(os.environ.get("HOLON_SEED", "1"))
CONVERSATIONS = int(os.environ.get("HOLON_CONVERSATIONS", "60"))


@pytest.fixture(scope="module")
def peer():
    if redis_server.is_missing():
        pytest.skip("redis-server is not installed")
    made = redis_server.RedisServer()
    yield made.redis
    made.end()


@pytest.fixture(scope="module")
def nodes(request):
    """Of Holon, any of which does; or one redis-server."""
    if os.environ.get("HOLON_TXN_AGAINST") == "redis":
        made = redis_server.RedisServer("second")
        yield [made, made]
        made.end()
    else:
        yield request.getfixturevalue("cluster").nodes


@pytest.fixture
def ports(nodes):
    """Of two nodes of an empty cluster."""
    assert nodes[0].call("FLUSHALL") == "OK"
    return nodes[0].redis, nodes[1].redis


@pytest.fixture
def py(ports):
    made = redis.Redis(port=ports[0], decode_responses=True)
    yield made
    made.close()


# --- the tests themselves ------------------------------------------------------------------------

def test_the_keys_lie_in_different_partitions(peer):
    assert slots.slot_of("foo") == 12182 and slots.slot_of("{foo}x") == 12182 and slots.slot_of("{}foo") != 12182
    assert len({slots.partition_of(key, 16) for key in KEYS}) == 4  # also of few partitions
    assert len({slots.partition_of(key) for key in [*KEYS, "{t}a"]}) == 11
    assert len({slots.slot_of(key) for key in ("{t}a", "{t}b", "{t}x")}) == 1


def test_two_servers_of_one_kind_are_not_different(peer):
    """Whatever differs between two redis-servers is no matter of transactions."""
    other = redis_server.RedisServer("second")
    try:
        for name, text in SCENARIOS.items():
            for protocol in (2, 3):
                different = differences(text, peer, other.redis, protocol)
                assert not different, name + shown(different)
    finally:
        other.end()


def test_a_difference_is_seen(peer):
    """Between two servers of which one has another setting."""
    other = redis_server.RedisServer("second")
    try:
        assert other.call("CONFIG", "SET", "proto-max-bulk-len", 1 << 20) == "OK"
        text = "MULTI \n CONFIG GET proto-max-bulk-len \n EXEC \n QUIT"
        assert [line for line, _, _ in differences(text, peer, other.redis)] == ["3: EXEC"]
    finally:
        other.end()


def test_no_scenario_names_what_does_not_exist(peer):
    """A word that is misspelt would be compared, and test nothing."""
    for name, text in SCENARIOS.items():
        talk = Conversation(peer)
        replies = b"".join(reply for line in lines_of("FLUSHALL \n" + text) for reply in talk.say(line))
        talk.close()
        assert b"unknown" not in replies or "nosuch" in text.lower(), name


# --- the same conversations ----------------------------------------------------------------------

@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", SCENARIOS)
def test_as_redis_server(ports, peer, name, protocol):
    different = differences(SCENARIOS[name], peer, ports[0], protocol)
    assert not different, shown(different)


@pytest.mark.parametrize("protocol", [2, 3])
def test_as_redis_server_in_random_conversations(ports, peer, protocol):
    """Only the first difference of one is of interest; the rest may follow from it."""
    executed = 0
    for seed in range(SEED * CONVERSATIONS, (SEED + 1) * CONVERSATIONS):
        text = scenario(seed * 10 + protocol)
        different = differences(text, peer, ports[0], protocol)
        if different:
            so_far = lines_of(text)[:int(different[0][0].split(":")[0])]
            raise AssertionError("\n".join([f"conversation {seed * 10 + protocol}:", *so_far, shown(different[:1])]))
        executed += text.count("EXEC")
    assert executed > CONVERSATIONS * 5


def test_what_counts_as_a_change_of_a_watched_key(ports, peer):
    different = []
    for before, change in CHANGES:
        found = differences(f"{before} \n WATCH k0 \n b: {change} \n MULTI | GET k9 | EXEC", peer, ports[0])
        different += [(f"{before}; {change}: {line}", expected, got) for line, expected, got in found]
    assert not different, shown(different)


@pytest.mark.parametrize("protocol", [2, 3])
def test_an_aborted_transaction_is_null(ports, protocol):
    talk = Conversation(ports[0], protocol)
    for line in ("WATCH k0", "b: SET k0 1", "MULTI", "SET k1 1"):
        talk.say(line)
    assert talk.say("EXEC") == [b"*-1\r\n" if protocol == 2 else b"_\r\n"]
    talk.close()


def test_other_nodes_change_what_is_watched(ports):
    """What one node watches and another one changes, also to what it was."""
    one, other = (Wire(port) for port in ports)
    for key in KEYS:
        for changes in (("SET", key, "b"), ("DEL", key), ("INCR", "elsewhere")):
            other.call("SET", key, "a")
            assert one.call("WATCH", *KEYS) == b"+OK\r\n"
            other.call(*changes)
            if changes[0] != "INCR":
                other.call("SET", key, "a")
            one.call("MULTI")
            one.call("SET", "mine", key)
            assert one.call("EXEC") == (b"*1\r\n+OK\r\n" if changes[0] == "INCR" else b"*-1\r\n"), (key, changes)
    one.close()
    other.close()


def test_a_transaction_is_seen_by_all_nodes_at_once(nodes, ports):
    with nodes[0].client() as one, nodes[1].client() as other:
        for number in range(100):
            replies = one.pipeline([("MULTI",), *(("SET", key, number) for key in KEYS), ("EXEC",)])
            assert replies[-1] == ["OK"] * len(KEYS), replies
            assert other.call("MGET", *KEYS) == [str(number)] * len(KEYS)


def test_what_a_lost_connection_had_queued_is_forgotten(nodes, ports):
    with nodes[1].client() as other:
        for number in range(20):
            with nodes[0].client() as lost:
                lost.pipeline([("WATCH", "k0"), ("MULTI",), *(("SET", key, number) for key in KEYS)])
            assert other.call("MGET", *KEYS) == [None] * len(KEYS)
            assert other.pipeline([("MULTI",), ("SET", "k0", "x"), ("DEL", "k0"), ("EXEC",)])[-1] == ["OK", 1]


# --- much in one transaction ---------------------------------------------------------------------

def test_many_keys_in_one_command(nodes, ports):
    keys = [f"many{number}" for number in range(1000)]
    with nodes[0].client(30) as one, nodes[1].client(30) as other:
        pairs = [word for key in keys for word in (key, f"v{key}")]
        assert one.call("MSET", *pairs) == "OK"
        assert other.call("MGET", *keys, "nosuch") == [f"v{key}" for key in keys] + [None]
        assert other.call("EXISTS", *keys, *keys) == 2000
        assert one.call("MSETNX", "fresh", 1, *pairs) == 0 and one.call("EXISTS", "fresh") == 0
        assert one.call("TOUCH", *keys, "nosuch") == 1000
        assert other.call("UNLINK", *keys[:500]) == 500 and one.call("DEL", *keys) == 500
        assert other.call("DBSIZE") == 0
        assert one.call("MSETNX", *pairs) == 1 and other.call("DBSIZE") == 1000


def test_many_commands_in_one_transaction(nodes, ports):
    with nodes[0].client(30) as one, nodes[1].client(30) as other:
        queued = [("INCR", f"many{number % 700}") for number in range(2000)]
        replies = one.pipeline([("MULTI",), *queued, ("EXEC",)])
        assert replies[1:-1] == ["QUEUED"] * 2000
        assert replies[-1] == [number // 700 + 1 for number in range(2000)]
        assert other.call("DBSIZE") == 700


@pytest.mark.parametrize("command", [("KEYS", "*"), ("RANDOMKEY",), ("SCAN", "0")])
def test_what_multi_does_not_take(nodes, command):
    with nodes[0].client(30) as one:
        replies = one.pipeline([("MULTI",), command, ("EXEC",)])
        assert isinstance(replies[1], ErrorReply) and "not allowed inside MULTI" in replies[1]
        assert replies[2].startswith("EXECABORT")


@pytest.mark.parametrize("size", [300 << 10, 1 << 20])
def test_too_big_strings(nodes, size):
    """A transaction over partitions has 224 KiB in each: the error says so, and nothing is changed."""
    with nodes[0].client(30) as one:
        refused = one.call("MSET", "k0", "x" * size, "k1", "small")
        assert isinstance(refused, ErrorReply) and "229376 bytes in each partition" in refused
        assert one.call("EXISTS", "k0", "k1") == 0
        assert one.call("SET", "k0", "x" * size) == "OK"
        refused = one.call("RENAME", "k0", "k1")
        assert isinstance(refused, ErrorReply) and "too big to go to another partition" in refused
        assert one.call("STRLEN", "k0") == size and one.call("DEL", "k0", "k1") == 1


@pytest.mark.parametrize("size", [16 << 10, 100 << 10])
def test_big_strings(nodes, ports, size):
    """More than an outcome may hold."""
    big = ["x" * size, "y" * size]
    with nodes[0].client(30) as one, nodes[1].client(30) as other:
        assert one.call("MSET", "k0", big[0], "k1", big[1], "k2", "small") == "OK"
        assert other.call("MGET", "k0", "k1", "k2") == [*big, "small"]
        assert one.call("RENAME", "k0", "k3") == "OK" and other.call("GET", "k3") == big[0]
        assert one.call("COPY", "k1", "k4") == 1 and other.call("GET", "k4") == big[1]
        replies = one.pipeline([("MULTI",), ("SET", "k5", big[1]), ("GETSET", "k3", big[1]), ("STRLEN", "k5"), ("EXEC",)])
        assert replies[-1] == ["OK", big[0], size]
        assert other.call("MGET", "k3", "k5") == [big[1], big[1]]
        assert other.call("DEL", "k0", "k1", "k3", "k4", "k5") == 4


@pytest.mark.parametrize("fields", [400, 2000])
def test_big_hashes(nodes, ports, fields):
    everything = {f"field{number}": f"value{number}" for number in range(fields)}

    def content(client, key):
        flat = client.call("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2]))

    with nodes[0].client(30) as one, nodes[1].client(30) as other:
        words = [word for pair in everything.items() for word in pair]
        for first in range(0, len(words), 800):
            one.call("HSET", "k0", *words[first:first + 800])
        assert one.call("COPY", "k0", "k1") == 1 and content(other, "k1") == everything
        assert one.call("RENAME", "k0", "k2") == "OK" and content(other, "k2") == everything
        assert other.call("EXISTS", "k0") == 0 and other.call("HLEN", "k2") == fields
        assert one.call("HSET", "k1", "field0", "changed") == 0
        assert one.call("COPY", "k2", "k1") == 0 and other.call("HGET", "k1", "field0") == "changed"
        assert one.call("COPY", "k2", "k1", "REPLACE") == 1 and content(other, "k1") == everything
        assert one.pipeline([("MULTI",), ("DEL", "k1"), ("RENAME", "k2", "k1"), ("HLEN", "k1"), ("EXEC",)])[-1] == [
            1, "OK", fields]
        assert content(other, "k1") == everything


# --- clients -------------------------------------------------------------------------------------

def test_redis_py_pipelines(py):
    with py.pipeline(transaction=True) as pipe:
        replies = pipe.set("k0", 1).incr("k1").hset("k2", mapping={"a": 1}).hgetall("k2").mget("k0", "k1", "k9").execute()
    assert replies == [True, 1, 1, {"a": "1"}, ["1", "1", None]]
    with py.pipeline() as pipe:
        pipe.set("k3", "x").incr("k3").set("k4", "y")
        with pytest.raises(redis.ResponseError, match="Command # 2 .*not an integer"):
            pipe.execute()
    assert py.mget("k3", "k4") == ["x", "y"]
    with py.pipeline() as pipe:
        pipe.set("k5", "x").execute_command("NOSUCH")
        with pytest.raises(redis.ResponseError, match="unknown command"):
            pipe.execute()
    assert py.get("k5") is None
    assert py.mset({key: key for key in KEYS}) and py.mget(KEYS) == KEYS
    assert py.msetnx({"k0": 1, "fresh": 2}) is False and py.delete(*KEYS) == 10
    py.set("k0", "v", ex=100)
    assert py.rename("k0", "k1") and 98 <= py.ttl("k1") <= 100 and py.copy("k1", "k2", replace=True)
    assert py.swapdb(0, 1) and py.dbsize() == 0 and py.swapdb(0, 1) and py.exists("k1", "k2", "k1") == 3


def test_redis_py_watches(ports, py):
    other = redis.Redis(port=ports[1], decode_responses=True)
    py.set("k0", 1)
    with py.pipeline() as pipe:
        pipe.watch("k0", "k1")
        value = int(pipe.get("k0"))
        pipe.multi()
        pipe.set("k0", value + 1)
        assert pipe.execute() == [True]
        pipe.watch("k0")
        value = int(pipe.get("k0"))
        other.set("k0", 9)
        pipe.multi()
        pipe.set("k0", value + 1)
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert py.get("k0") == "9"
    other.close()


def test_redis_py_transactions_of_many_threads_count_exactly(ports, py):
    """Each moves one from here to there, and tries again when another one was faster."""
    py.mset({"k0": 1000, "k1": 0, "k2": 0})
    tries, problems = [], []

    def work(port):
        own = redis.Redis(port=port, decode_responses=True)

        def move(pipe):
            left, right = int(pipe.get("k0")), int(pipe.get("k1"))
            tries.append(left)
            pipe.multi()
            pipe.mset({"k0": left - 1, "k1": right + 1})
            pipe.incr("k2")
        try:
            for _ in range(ROUNDS):
                own.transaction(move, "k0", "k1")
        except redis.RedisError as error:
            problems.append(error)
        own.close()

    threads = [threading.Thread(target=work, args=(ports[number % 2],), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "conflicts without an end"
    assert problems == []
    assert py.mget("k0", "k1", "k2") == [str(1000 - THREADS * ROUNDS)] + [str(THREADS * ROUNDS)] * 2
    assert len(tries) >= THREADS * ROUNDS


def cli(port, *arguments, stdin=None):
    done = subprocess.run(["redis-cli", "-p", str(port), *arguments], input=stdin, capture_output=True, text=True,
                          timeout=60, check=True)
    return done.stdout


@pytest.mark.parametrize("options", [(), ("-3",)], ids=["RESP2", "RESP3"])
def test_redis_cli(ports, peer, options):
    cli(peer, "flushall")
    for name in ("several partitions", "MULTI within MULTI", "an error of one command undoes nothing of the others",
                 "a wrong number of arguments is noticed when it is queued", "SELECT inside"):
        script = "".join(line + "\n" for line in lines_of(MULTI[name]))
        assert cli(ports[0], *options, stdin=script) == cli(peer, *options, stdin=script), name
        for port in (ports[0], peer):
            cli(port, "flushall")


def test_redis_benchmark_sets_many_keys(ports):
    done = subprocess.run(["redis-benchmark", "-p", str(ports[0]), *"-t mset -n 1000 -r 1000 -c 4 -q".split()],
                          capture_output=True, text=True, timeout=120)
    out = done.stdout + done.stderr
    assert done.returncode == 0 and "rror" not in out, out


@pytest.mark.parametrize("library", ["ioredis", "redis"])
def test_npm_clients(nodes, ports, packages, library):
    """transactions.js: each check that fails is named."""
    script = pathlib.Path(__file__).resolve().parent / "transactions.js"
    cluster_ports = ",".join(str(node.redis_cluster) for node in nodes if hasattr(node, "redis_cluster"))
    done = subprocess.run(["node", str(script), library, ",".join(map(str, ports)), *filter(None, [cluster_ports])],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, "NODE_PATH": str(packages / "node_modules")})
    assert done.returncode == 0 and done.stdout.endswith("all good\n"), done.stdout + done.stderr


# --- the cluster port ----------------------------------------------------------------------------

@pytest.fixture
def cluster_port(nodes, ports):
    """The first node: (its cluster port, keys of different partitions that it leads)."""
    if not hasattr(nodes[0], "redis_cluster"):
        pytest.skip("redis-server has no second port")
    ids = {node.call("CLUSTER", "MYID"): node for node in nodes}
    ranges = [(entry[0], entry[1]) for entry in nodes[0].call("CLUSTER", "SLOTS") if ids[entry[2][2]] is nodes[0]]
    led: dict = {}
    for number in range(5000):
        key = f"led{number}"
        if any(first <= slots.slot_of(key) <= last for first, last in ranges):
            led.setdefault(slots.partition_of(key), key)
    keys = list(led.values())[:6]
    assert len(keys) >= 2
    return nodes[0].redis_cluster, keys


def test_no_crossslot_on_the_cluster_port(cluster_port):
    wire = Wire(cluster_port[0])
    for line in ("MSET k0 0 k1 1 k2 2", "MGET k0 k1 k2 k9", "EXISTS k0 k1 k0", "MSETNX k1 x k3 x", "TOUCH k0 k1",
                 "RENAME k0 k4", "RENAMENX k1 k5", "COPY k5 k6", "DEL k4 k5 k6 k9", "UNLINK k2 k8", "WATCH k0 k1 k2",
                 "UNWATCH", "SWAPDB 0 1", "SWAPDB 0 1"):
        reply = wire.call(*line.split())
        assert not reply.startswith(b"-"), (line, reply)
    wire.call("MULTI")
    queued = [wire.call("INCR", key) for key in KEYS]
    executed = wire.call("EXEC")
    assert not any(reply.startswith(b"-CROSSSLOT") for reply in [*queued, executed])
    if any(reply.startswith(b"-MOVED") for reply in queued):  # as Redis Cluster: then nothing was done
        assert executed.startswith(b"-EXECABORT")
        assert all(reply == b"+QUEUED\r\n" or reply.startswith(b"-MOVED") for reply in queued)
    else:
        assert executed == b"*10\r\n" + b":1\r\n" * 10
    wire.close()


def test_transactions_of_what_the_node_leads_on_the_cluster_port(cluster_port):
    port, keys = cluster_port
    wire = Wire(port)
    assert wire.call("WATCH", *keys) == b"+OK\r\n" and wire.call("MULTI") == b"+OK\r\n"
    assert [wire.call("INCR", key) for key in keys] == [b"+QUEUED\r\n"] * len(keys)
    assert wire.call("EXEC") == b"*%d\r\n" % len(keys) + b":1\r\n" * len(keys)
    assert wire.call("QUIT") == b"+OK\r\n" and wire.reply() == CLOSED
    wire.close()


def test_what_is_too_much_is_refused_whole(nodes):
    """However little it takes to ask for it, one client does not keep the others waiting."""
    big = "x" * (160 << 10)
    fields = [word for number in range(3000) for word in (f"field{number}", "v")]
    with nodes[0].client(60) as one:
        one.call("FLUSHALL")
        replies = one.pipeline([("MULTI",)] + [("PING",)] * 129 + [("EXEC",)])
        assert "at most 128" in replies[129] and replies[-1].startswith("EXECABORT")
        replies = one.pipeline([("MULTI",), ("SET", "k0", "v")] + [("DBSIZE",)] * 9000 + [("EXEC",)])
        assert isinstance(replies[-1], ErrorReply) and "65536" in replies[-1], replies[-1]
        replies = one.pipeline([("MULTI",), ("HSET", "{t}h", *fields)] + [("HSCAN", "{t}h", "0", "COUNT", "1")] * 3000
                               + [("EXEC",)])
        assert isinstance(replies[-1], ErrorReply) and "TOOBIG" in replies[-1], replies[-1]
        assert one.call("SET", "{t}b", big) == "OK"
        replies = one.pipeline([("MULTI",), ("SET", "{t}a", big), ("COPY", "{t}b", "{t}c"), ("DEL", "{t}b"), ("EXEC",)])
        assert isinstance(replies[-1], ErrorReply) and "TOOBIG" in replies[-1], replies[-1]
        assert one.call("EXISTS", "k0", "{t}h", "{t}a", "{t}c") == 0 and one.call("DEL", "{t}b") == 1
