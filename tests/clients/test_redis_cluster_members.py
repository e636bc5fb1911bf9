"""Clients of Redis Cluster while a node joins, leaderships are handed over, a node is drained and
removed: nobody sees an error, and nothing that was acknowledged is lost."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import pytest
import redis
from redis.cluster import RedisCluster

from cluster import Cluster, HOLON, Node
from operate import holon, loads, of_nodes, is_settled, wait_settled
from test_redis_cluster import HERE, packages  # noqa: F401  (a fixture)
from waiting import until

KEYS = 40


@pytest.fixture
def elastic():
    base = os.environ.get("HOLON_TEST_DIR", str(pathlib.Path(HOLON).resolve().parent))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="clients-", dir=base))
    made = Cluster(directory, 3, options=("--partitions", "16")).start()
    try:
        wait_settled(made[0], made, 60)
        yield made
    finally:
        made.end()
        shutil.rmtree(directory, ignore_errors=True)


def ports(cluster) -> str:
    return ",".join(str(node.redis_cluster) for node in cluster)


class Steady:
    """A client that sets its keys to rising numbers, one request after the other, in a thread."""

    def __init__(self, cluster, name: str):
        self.name, self.cluster = name, cluster
        self.stopping, self.errors, self.sure, self.count = threading.Event(), [], {}, 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            call = self.open()
            while not self.stopping.is_set():
                key, number = f"{self.name}:{self.count % KEYS}", self.count
                self.expect("OK", call("SET", key, number))
                self.sure[key] = number
                self.expect(str(number), call("GET", key))
                self.count += 1
                self.stopping.wait(0.003)
        except Exception as error:  # noqa: BLE001 - any end of a client counts
            self.errors.append(repr(error))

    def expect(self, wanted: str, got) -> None:
        if got != wanted:
            self.errors.append(f"{got!r} instead of {wanted!r}")

    def progress(self) -> bool:
        return bool(self.errors) or self.count > 0

    def finish(self) -> None:
        self.stopping.set()
        self.thread.join(30)

    def check(self, via) -> None:
        assert self.errors == [], f"{self.name}: {self.errors[:3]}"
        assert self.count > KEYS, f"{self.name} did little"
        for key, number in self.sure.items():
            assert int(via.call("GET", key)) == number, key


class Py(Steady):
    def open(self):
        client = RedisCluster("127.0.0.1", self.cluster[0].redis_cluster, decode_responses=True)
        return lambda *words: {True: "OK"}.get(answer := client.execute_command(*words), answer)


class Cli(Steady):
    """redis-cli -c, one for the whole time."""

    def open(self):
        self.process = subprocess.Popen(
            ["redis-cli", "-c", "-p", str(self.cluster[1].redis_cluster)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)

        def call(*words):
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            line = self.process.stdout.readline()
            while line.startswith("-> Redirected to slot"):
                line = self.process.stdout.readline()
            return line.rstrip("\n")
        return call

    def finish(self):
        super().finish()
        self.process.kill()
        self.process.wait()


class Npm:
    def __init__(self, cluster, library: str, place):
        self.name = library
        self.process = subprocess.Popen(
            ["node", str(HERE / "cluster_load.js"), library, ports(cluster), "3"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "NODE_PATH": str(place / "node_modules")})
        assert self.process.stdout.readline() == "running\n", self.process.stderr.read()
        self.last = ""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.last = line

    def progress(self) -> bool:
        return True

    def finish(self) -> None:
        self.process.stdin.close()
        self.thread.join(30)
        self.process.kill()
        self.process.wait()

    def check(self, via) -> None:
        result = json.loads(self.last)
        if self.name == "redis":
            # Its own doing (cluster-slots.js, discover()): it rejects what is under way on the connection
            # to a node that the table does not list any more, without waiting for the answers.
            assert result["errors"].pop("Disconnects client", 0) <= 3, result  # one for each worker
        assert result["errors"] == {} and result["wrong"] == [], result
        for key, number in result["acknowledged"].items():
            assert int(via.call("GET", key)) >= number, key


def join(cluster):
    one = cluster[0]
    new = Node("n4", one.data.parent, ["--workers", "1", "--join", ",".join(
        f"127.0.0.1:{node.peer}" for node in cluster)])
    cluster.nodes.append(new)
    new.start().wait_ready(60)
    wait_settled(one, cluster, 60)


def change_members(cluster, rest: float = 2.0) -> None:
    """A fourth node joins; the second hands its leaderships over and gets them again; the third is
    drained and removed. Clients have `rest` seconds to notice each."""
    one, second, third = cluster

    def let_clients_notice() -> None:
        began = time.monotonic()
        until("a while", lambda: time.monotonic() > began + rest, rest + 5)
    join(cluster)
    let_clients_notice()
    holon(one, "node", "label", second.name, "leaders=9")
    until("it leads nothing", lambda: of_nodes(one, "leads")[second.name] == 0, 60)
    let_clients_notice()
    holon(one, "node", "label", second.name, "leaders=")
    until("it leads again", lambda: of_nodes(one, "leads")[second.name] > 0, 30)
    holon(one, "node", "drain", third.name)
    until("it is empty", lambda: loads(one)[third.name] == 0 and is_settled(one, cluster), 60)
    let_clients_notice()
    holon(one, "node", "remove", third.name)
    assert third.wait_exit(30) != 0
    cluster.nodes.remove(third)
    wait_settled(one, cluster, 60)
    let_clients_notice()


def test_clients_notice_no_change_of_the_members(elastic, packages):  # noqa: F811
    third = elastic[2]
    clients = [Py(elastic, "redis-py"), Cli(elastic, "redis-cli"), Npm(elastic, "ioredis", packages),
               Npm(elastic, "redis", packages)]
    try:
        until("all clients work", lambda: all(client.progress() for client in clients))
        change_members(elastic)
    finally:
        for client in clients:
            client.finish()
        third.end()
    for client in clients:
        for node in elastic:
            client.check(node)


def test_redis_benchmark_goes_on_while_leaderships_move(elastic, tmp_path):
    """It can do neither without a node that it has begun with, nor with one that came later ("could not
    find node with ID"): all are there before it begins, and each keeps some leaderships."""
    one, second, _ = elastic
    join(elastic)
    until("leaderships are even", lambda: (leads := of_nodes(one, "leads").values())
          and max(leads) - min(leads) <= 1, 60)

    def rounds() -> int:
        return (tmp_path / "out").read_text().count("requests per second")
    with open(tmp_path / "out", "w", encoding="utf-8") as out:
        load = subprocess.Popen(["redis-benchmark", "-p", str(one.redis_cluster), "--cluster", "-t", "set,get",
                                 "-n", "2000", "-r", "1000", "-c", "6", "-l", "-q"], stdout=out,
                                stderr=subprocess.STDOUT)
        try:
            before = of_nodes(one, "leads")[second.name]
            holon(one, "node", "label", second.name, "weight=50")
            until("it leads less", lambda: of_nodes(one, "leads")[second.name] < before, 60)
            done = rounds()
            until("it goes on for some rounds", lambda: load.poll() is not None or rounds() >= done + 4, 60)
            assert load.poll() is None, (tmp_path / "out").read_text()[-2000:]
        finally:
            load.kill()
            load.wait()
    text = (tmp_path / "out").read_text()
    assert "rror" not in text, text[-2000:]
