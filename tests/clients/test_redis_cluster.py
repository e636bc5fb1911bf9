"""The cluster port with clients of Redis Cluster, as they are and with their own defaults: what they
see, and that they go on by themselves when a leader dies under load."""
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster

from cluster import Cluster, HOLON, free_port
from test_redis_tools import cli
from waiting import until

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["ioredis@6.0.0", "redis@6.3.1"]  # current when this was written; need Node.js 20
LOAD_WORKERS = 12
SETTLED_SECONDS = 20  # until everybody has heard of all leaders, and clients are sent to them


def metric(node, name):
    return int(re.search(rf"^{name} (\d+)$", node.http("/metrics")[1], re.M).group(1))


def led_everywhere(cluster):
    """Every node leads something, and all have agreed on it for long enough to redirect clients."""
    agreed = {"table": None, "since": 0.0}

    def settled():
        tables = [cluster.leaders(node) for node in cluster]
        same = all(t == tables[0] for t in tables) and {w for _, _, w in tables[0]} == set(cluster)
        if not same or tables[0] != agreed["table"]:
            agreed.update(table=tables[0] if same else None, since=time.monotonic())
        return same and time.monotonic() > agreed["since"] + 1.5
    until("all agree on the leaders", settled, SETTLED_SECONDS)


@pytest.fixture
def settled(cluster):
    led_everywhere(cluster)
    redis.Redis(port=cluster[0].redis).flushall()
    yield cluster
    for node in cluster:  # other files use them, too
        if not node.alive:
            node.start().wait_ready()
    cluster.wait_healthy()


@pytest.fixture
def py(settled):
    made = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", node.redis_cluster)
                                       for node in settled], decode_responses=True)
    yield made
    made.close()


# --- what clients see ----------------------------------------------------------------------------

def test_moved_names_the_address_that_is_listed(settled):
    first, second, _ = settled
    key = settled.key_led_by(second, first, "k")
    slot = first.call("CLUSTER", "KEYSLOT", key)
    with redis.Redis(port=first.redis_cluster) as plain:
        with pytest.raises(redis.ResponseError,
                           match=f"^MOVED {slot} 127.0.0.1:{second.redis_cluster}$"):
            plain.get(key)
    assert f"127.0.0.1:{second.redis_cluster}@" in first.call("CLUSTER", "NODES")
    with redis.Redis(port=first.redis) as transparent:  # never there
        assert transparent.set(key, "v") and transparent.get(key) == b"v"
    assert metric(first, "holon_redis_moved_total") > 0


def test_redis_cli_follows(settled):
    first = settled[0]
    lines = "".join(f"set follow:{i} {i}\n" for i in range(50))
    out = cli(first, "-c", port=first.redis_cluster, stdin=lines)
    assert out.count("OK") == 50
    assert "MOVED" in cli(first, port=first.redis_cluster, stdin=lines)  # without -c
    sizes = [int(cli(node, "dbsize", port=node.redis_cluster)) for node in settled]
    assert sum(sizes) == 50 and all(sizes)
    assert cli(first, "dbsize") == "50\n"
    assert "[OK] All 16384 slots covered." in cli(first, "--cluster", "check",
                                                  f"127.0.0.1:{first.redis_cluster}")


def test_redis_benchmark_goes_to_the_leaders(settled):
    moved = sum(metric(node, "holon_redis_moved_total") for node in settled)
    done = subprocess.run(["redis-benchmark", "-p", str(settled[0].redis_cluster), "--cluster", "-t",
                           "set,get,incr,hset", "-n", "3000", "-r", "1000", "-c", "12", "-q"],
                          capture_output=True, text=True, timeout=120)
    out = done.stdout + done.stderr
    assert done.returncode == 0 and "rror" not in out, out
    assert sum(metric(node, "holon_redis_moved_total") for node in settled) == moved


def test_redis_py_sees_one_database(settled, py):
    names = {f"k:{i}" for i in range(300)}
    for name in names:
        assert py.set(name, name)
    everywhere = {"target_nodes": RedisCluster.PRIMARIES}
    assert py.dbsize(**everywhere) == 300  # the sum: each node counts what it leads
    assert set(py.keys(**everywhere)) == names
    scanned = list(py.scan_iter(count=20))
    assert len(scanned) == 300 and set(scanned) == names
    assert py.mget_nonatomic(*sorted(names)[:50]) == sorted(names)[:50]
    assert py.mget("{k:1}a", "k:1") == [None, "k:1"]
    slot = py.keyslot("k:1")
    assert py.cluster_countkeysinslot(slot) >= 1
    assert "k:1" in py.cluster_get_keys_in_slot(slot, 10)
    assert py.cluster_info()["cluster_state"] == "ok"
    assert len(py.cluster_nodes()) == 3
    assert py.flushall(**everywhere)
    assert settled[0].call("DBSIZE") == 0


def test_redis_py_reads_from_replicas(settled):
    made = RedisCluster("127.0.0.1", settled[0].redis_cluster, read_from_replicas=True)
    for i in range(40):
        assert made.set(f"r:{i}", i)
        assert made.get(f"r:{i}") == str(i).encode()
    made.close()
    key = settled.key_led_by(settled[1], settled[0], "r")
    settled[0].call("SET", key, "v")
    with redis.Redis(port=settled[0].redis_cluster, single_connection_client=True) as plain:
        assert plain.readonly() and plain.get(key) == b"v"
        with pytest.raises(redis.ResponseError, match="MOVED"):
            plain.set(key, "w")


def test_slots_and_keys_of_any_node(settled):
    first = settled[0]
    for i in range(30):
        first.call("SET", f"{{one}}{i}", "v")
    slot = first.call("CLUSTER", "KEYSLOT", "one")
    for node in settled:  # whoever leads it
        with redis.Redis(port=node.redis_cluster) as plain:
            assert plain.execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 30
            keys = plain.execute_command("CLUSTER GETKEYSINSLOT", slot, 7)
            assert len(set(keys)) == 7 and all("{one}" in str(key) for key in keys)
            assert len(plain.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)) == 30
            links = plain.execute_command("CLUSTER LINKS")
            assert {link[3].decode() for link in links} == {
                other.call("CLUSTER", "MYID") for other in settled.others(node)}


def test_changes_of_the_table_are_refused(settled):
    with redis.Redis(port=settled[0].redis_cluster) as plain:
        for words in ("RESET", "FLUSHSLOTS", "MEET 127.0.0.1 1", "FAILOVER", "ADDSLOTS 1",
                      "SETSLOT 1 STABLE", "FORGET x", "REPLICATE x"):
            with pytest.raises(redis.ResponseError, match="does nothing here: "):
                plain.execute_command("CLUSTER", *words.split())


def succeeds(call, *arguments):
    try:
        return call(*arguments)
    except redis.RedisError:
        return False


def test_answers_about_slots_are_those_of_redis_server(settled, tmp_path):
    """Byte for byte, what does not depend on who the nodes are."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    port, bus = free_port(), free_port()  # by itself it takes a port 10,000 above for its bus, which a client may have
    server = subprocess.Popen(["redis-server", "--port", str(port), "--cluster-enabled", "yes", "--cluster-port", str(bus),
                               "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    words = ["KEYSLOT foo", "KEYSLOT {a}{b}", "KEYSLOT {}x", "KEYSLOT", "COUNTKEYSINSLOT 12182",
             "COUNTKEYSINSLOT 1", "COUNTKEYSINSLOT -1", "COUNTKEYSINSLOT 16384", "COUNTKEYSINSLOT x",
             "COUNTKEYSINSLOT", "GETKEYSINSLOT 12182 10", "GETKEYSINSLOT 12182 0",
             "GETKEYSINSLOT 16384 1", "GETKEYSINSLOT 1 -1", "GETKEYSINSLOT 1 x", "GETKEYSINSLOT 1",
             "REPLICAS x", "SLAVES x", "COUNT-FAILURE-REPORTS x", "SAVECONFIG", "NONSENSE",
             "INFO x", "NODES x", "SLOTS x", "SHARDS x", "LINKS x", "MYID x"]
    try:
        until("redis-server answers", lambda: succeeds(redis.Redis(port=port).ping))
        theirs = redis.Redis(port=port, single_connection_client=True)
        theirs.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        until("it serves", lambda: succeeds(theirs.set, "foo", "v"))
        settled[0].call("SET", "foo", "v")
        ours = redis.Redis(port=settled[0].redis_cluster, single_connection_client=True)
        for word in words + ["READONLY", "ASKING", "READWRITE"]:
            command = ["CLUSTER", *word.split()] if word in words else [word]
            answers = []
            for client in (ours, theirs):
                client.connection.send_command(*command)
                try:
                    answers.append(client.connection.read_response())
                except redis.ResponseError as error:
                    answers.append(str(error))
            assert answers[0] == answers[1], word
    finally:
        server.kill()
        server.wait()


def test_an_announced_address_is_listed_and_redirected_to(tmp_path, request):
    """As behind NAT: clients are told another address than that where the nodes listen."""
    base = pathlib.Path(HOLON).resolve().parent
    directory = pathlib.Path(tempfile.mkdtemp(prefix="clients-", dir=base))
    made = Cluster(directory, 2)

    def end():
        made.end()
        shutil.rmtree(directory, ignore_errors=True)
    request.addfinalizer(end)
    for i, node in enumerate(made):
        node.options += ["--announce-redis-cluster", f"n{i + 1}.example.org"]
    made[1].options += ["--announce-redis", "n2.example.org:16379"]
    made.start()
    made.wait_healthy()
    led_everywhere(made)
    key = made.key_led_by(made[1], made[0], "k")
    slot = made[0].call("CLUSTER", "KEYSLOT", key)
    port = made[1].redis_cluster
    with redis.Redis(port=made[0].redis_cluster) as plain:
        with pytest.raises(redis.ResponseError, match=f"^MOVED {slot} n2.example.org:{port}$"):
            plain.get(key)
    for node in made:
        hosts = {(entry[2][0], entry[2][1]) for entry in node.call("CLUSTER", "SLOTS")}
        assert hosts == {(f"n{i + 1}.example.org", n.redis_cluster) for i, n in enumerate(made)}
    assert "n2.example.org:16379" in {n["redis"] for n in made[0].status()["nodes"]}


# --- a leader dies under load --------------------------------------------------------------------

def test_redis_py_goes_on_when_a_leader_dies(settled):
    """One client for each thread: this version (4.3) asks for the table without a lock. Not the first
    node of the table dies: of that one this version cannot let go (it copies a lock, and says so)."""
    acknowledged, errors, answered = {}, [], {}
    stopping = threading.Event()

    def work(index):
        py = RedisCluster("127.0.0.1", settled[index % 3].redis_cluster, decode_responses=True)
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                py.set(f"load:{index}", number)
                acknowledged[index] = number
                assert int(py.get(f"load:{index}")) == number
                answered[index] = time.monotonic()
            except redis.RedisError as error:
                errors.append(repr(error))
        py.close()

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(LOAD_WORKERS)]
    for thread in threads:
        thread.start()
    until("all are answered", lambda: len(answered) == LOAD_WORKERS)
    first = settled.leaders(settled[0])[0][2]
    victim = settled.others(first)[0]
    victim.kill()
    killed = time.monotonic()
    until("all go on", lambda: min(answered.values()) > killed + 2, 20)
    stopping.set()
    for thread in threads:
        thread.join(20)
    for index, number in acknowledged.items():
        assert int(first.call("GET", f"load:{index}")) >= number
    assert errors == []


@pytest.fixture(scope="session")
def packages():
    """Of npm, beside the build; got once."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    place = pathlib.Path(HOLON).resolve().parent / "npm"
    place.mkdir(exist_ok=True)
    with open(place / "lock", "w", encoding="ascii") as lock:  # tests side by side: one installs
        fcntl.flock(lock, fcntl.LOCK_EX)
        install_once(place)
    return place


def install_once(place) -> None:
    stamp = place / "packages.txt"
    if not stamp.exists() or stamp.read_text().split() != PACKAGES:
        done = subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund",
                               "--prefix", str(place), *PACKAGES],
                              capture_output=True, text=True, timeout=240)
        if done.returncode != 0:
            pytest.skip(f"npm cannot install {PACKAGES}: {done.stderr[-300:]}")
        stamp.write_text(" ".join(PACKAGES))


@pytest.mark.parametrize("library, pause_ms_most, errors_each", [("ioredis", 3000, 1),
                                                                 ("redis", 8000, 4)])
def test_npm_clients_go_on_when_a_leader_dies(settled, packages, library, pause_ms_most,
                                                    errors_each):
    """node-redis asks for the table anew when it could not reconnect for 5 s: its own default. Until
    then it rejects what was under way, a try to reconnect, and what the end of that interrupts."""
    ports = ",".join(str(node.redis_cluster) for node in settled)
    load = subprocess.Popen(["node", str(HERE / "cluster_load.js"), library, ports,
                             str(LOAD_WORKERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "NODE_PATH": str(packages / "node_modules")})
    try:
        assert load.stdout.readline() == "running\n", load.stderr.read()
        settled[1].kill()
        enough_ms = time.time() * 1000 + 2000
        until("all go on", lambda: json.loads(load.stdout.readline())["answered_ms"] > enough_ms, 25)
        load.stdin.close()
        for line in load.stdout:
            last = line
        result = json.loads(last)
    finally:
        load.kill()
        load.wait()
    assert result["wrong"] == [] and result["mget"] == ["null", "v"]
    assert result["longest_ms"] <= pause_ms_most, result
    assert sum(result["errors"].values()) <= LOAD_WORKERS * errors_each, result
    for key, number in result["acknowledged"].items():
        assert int(settled[0].call("GET", key)) >= number
