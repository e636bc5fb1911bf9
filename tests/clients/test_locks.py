"""Locks by redis-py and redis-cli as they are: tokens, guards in pipelines, waiting, on both ports."""
import pathlib
import subprocess
import sys
import threading

import pytest
import redis

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "cluster"))

import resp  # noqa: E402  (the path comes first)
from waiting import until  # noqa: E402


def take(client, name, *more):
    return client.execute_command("HOLON.LOCK", name, 20000, *more)


def test_a_guard_goes_in_a_pipeline(client):
    token = take(client, "pipe")
    with client.pipeline(transaction=True) as pipe:
        pipe.execute_command("HOLON.GUARD", "pipe", token)
        pipe.set("a", 1)
        pipe.set("b", 2)
        assert pipe.execute() == [b"OK", True, True]
    assert client.execute_command("HOLON.UNLOCK", "pipe", token) == 1
    with client.pipeline(transaction=True) as pipe:
        pipe.execute_command("HOLON.GUARD", "pipe", token)
        pipe.set("a", "late")
        with pytest.raises(redis.ResponseError, match="LOCKLOST"):
            pipe.execute()
    assert client.get("a") == b"1"


def test_who_waits_in_another_connection_gets_it(client):
    token = take(client, "other")
    got = []
    thread = threading.Thread(target=lambda: got.append(take(client, "other", "WAIT", 10000)))
    thread.start()
    assert client.execute_command("HOLON.UNLOCK", "other", token) == 1
    thread.join(15)
    assert got and got[0] > token
    assert client.execute_command("HOLON.UNLOCK", "other", got[0]) == 1


def test_redis_cli_takes_one(node):
    done = subprocess.run(["redis-cli", "-p", str(node.redis), "HOLON.SEMAPHORE", "cli", "2", "1000"],
                          capture_output=True, text=True, timeout=20)
    assert int(done.stdout) > 0


def test_the_cluster_port_sends_to_the_leader_of_the_name(node):
    """Like a key of that name, so that clients of Redis Cluster find it; when it has known its leader for a while."""
    def is_moved():
        answers = [node_call(node, "HOLON.LOCK", f"name{i}", 1) for i in range(20)]
        return any(isinstance(answer, resp.ErrorReply) and answer.startswith("MOVED ") for answer in answers)

    until("a lock of another node is MOVED", is_moved, 30)


def node_call(node, *arguments):
    with resp.Client(node.redis_cluster) as client:
        return client.call(*arguments)
