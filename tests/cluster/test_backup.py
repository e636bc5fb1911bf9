"""Backup and restore of real clusters: what a backup holds is one instant, and it comes back into a cluster of
another shape. What the files look like when something is wrong with them: test_backup_client.py."""
import os
import random
import signal
import subprocess
import time

import pytest

from bank import Bank
from cluster import HOLON
from waiting import until

LATER_MS = 3600 * 1000
MANY_FIELDS = 3000


def run(*words, ok=True, seconds=180) -> str:
    done = subprocess.run([HOLON, *map(str, words)], capture_output=True, text=True, timeout=seconds, check=False,
                          stdin=subprocess.DEVNULL, start_new_session=True,
                          env={**os.environ, "HOLON_PASSPHRASE": ""})
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def at(node) -> tuple:
    return "--node", f"{node.host}:{node.redis}"


def fill(node, seed=1, keys=400) -> None:
    rng = random.Random(seed)
    later = int(time.time() * 1000) + LATER_MS
    with node.client() as client:
        for database in (0, 5, 15):
            commands = [("SELECT", database)]
            for number in range(keys):
                key = f"key:{number}"
                commands += {0: [("SET", key, rng.randbytes(rng.randrange(200)))],
                             1: [("SET", key, rng.randbytes(20000))],
                             2: [("DEL", key), ("HSET", key, *[part for i in range(rng.randrange(1, 9))
                                                               for part in (f"f{i}", rng.randbytes(9))])],
                             3: [("SET", key, "ends", "PXAT", later)]}[rng.randrange(4)]
            assert not [reply for reply in client.pipeline(commands) if str(reply).startswith("ERR")]
        client.call("SELECT", 0)
        client.call("SET", "large", rng.randbytes(3 << 20))
        client.call("SETRANGE", "gap", 50000, "x")
        for first in range(0, MANY_FIELDS, 100):
            client.call("HSET", "fields", *[part for i in range(first, first + 100)
                                            for part in (f"field{i}", f"value{i}")])
        client.call("PEXPIREAT", "fields", later)
        # As much as one command can store; then small ones, which a restore may meet first.
        most = (b"k" * 26000, b"great", bytes(256 << 10))
        client.call("HSET", *most)
        for number in range(38):
            client.call("HSET", most[0], b"f%02d" % number, bytes(90))


def content(node) -> dict:
    found = {}
    with node.client(60) as client:
        for database in range(16):
            client.call("SELECT", database)
            keys = client.call("KEYS", "*")
            for key, kind, expiry in zip(keys, client.pipeline([("TYPE", key) for key in keys]),
                                         client.pipeline([("PEXPIRETIME", key) for key in keys])):
                if kind == "string":
                    value = client.call("GET", key)
                elif kind == "hash":
                    flat = client.call("HGETALL", key)
                    value = dict(zip(flat[::2], flat[1::2]))
                else:
                    continue  # it has expired since
                found[database, key] = (value, expiry)
    return found


@pytest.fixture
def source(make_cluster):
    cluster = make_cluster(options=("--partitions", "16"))
    fill(cluster[0])
    return cluster


def test_a_backup_comes_back_in_a_cluster_of_another_shape(make_cluster, source, directory):
    run("backup", directory / "b.holon", *at(source[1]))
    run("backup", "verify", directory / "b.holon")
    wanted = content(source[0])
    single = make_cluster(count=1, options=("--partitions", "5"))
    run("restore", directory / "b.holon", *at(single[0]))
    assert content(single[0]) == wanted
    # And back again, by way of a directory.
    run("backup", f"{directory}/again/", *at(single[0]))
    source[0].call("FLUSHALL")
    run("restore", directory / "again", *at(source[2]))
    assert content(source[0]) == wanted


def test_each_backup_is_one_instant_while_money_moves(make_cluster, source, directory):
    bank = Bank(source.nodes, partitions=16).start()
    target = make_cluster(count=1, options=("--partitions", "3"))
    try:
        for number in range(4):
            transfers = bank.transfers
            until("money moves", lambda t=transfers: bank.transfers > t + 50, 30)
            told = bank.floors()
            run("backup", directory / f"{number}.holon", *at(source[number % 3]))
            target[0].call("FLUSHALL")
            run("restore", directory / f"{number}.holon", *at(target[0]))
            values = target[0].call("MGET", *bank.accounts, *told)
            bank.judge(values, told)  # the sum, and what was acknowledged before
            assert bank.wrong == [], bank.wrong[:5]
    finally:
        bank.finish()
    bank.audit(source[0])


def test_a_chain_of_deletions_overwrites_and_expiry(make_cluster, source, directory):
    node, rng = source[0], random.Random(5)
    base = directory / "0.holon"
    run("backup", base, *at(node))
    target = make_cluster(count=1, options=("--partitions", "7"))
    for number in range(1, 4):
        with node.client() as client:
            for _ in range(100):
                client.call("SELECT", rng.choice((0, 5, 15)))
                key = f"key:{rng.randrange(400)}"
                rng.choice((lambda k=key: client.call("DEL", k), lambda k=key: client.call("SET", k, number),
                            lambda k=key: client.call("PEXPIRE", k, 1),
                            lambda k=key: client.call("SETRANGE", k, 19000, "changed")))()
            client.call("SELECT", 0)
            client.call("HSET", "fields", "field7", number)
            client.call("SETRANGE", "gap", 30000 + number, "y")
        if number == 2:
            node.call("SWAPDB", 5, 6)
        if number == 3:
            with node.client() as client:
                client.call("SELECT", 15)
                client.call("FLUSHDB")
                client.call("SET", "after", "the flush")
        following = directory / f"{number}.holon"
        run("backup", following, *at(node), "--incremental", base)
        base = following
        wanted = content(node)
        target[0].call("FLUSHALL")
        run("restore", following, *at(target[0]))
        assert content(target[0]) == wanted
    assert os.path.getsize(directory / "1.holon") < os.path.getsize(directory / "0.holon")


def interrupted(*words, when) -> None:
    client = subprocess.Popen([HOLON, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    until("it is under way", when, 30, every=0.002)
    client.send_signal(signal.SIGKILL)
    client.wait()


def test_interrupted_and_made_again(make_cluster, source, directory):
    wanted = content(source[0])
    interrupted("backup", f"{directory}/b/", *at(source[0]), "--streams", 1,
                when=lambda: list((directory / "b").glob("part-*.holon")))
    assert "not finished" in run("backup", "verify", directory / "b", ok=False)
    run("backup", f"{directory}/b/", *at(source[1]))
    target = make_cluster(count=1, options=("--partitions", "4"))
    interrupted("restore", directory / "b", *at(target[0]), "--streams", 1,
                when=lambda: target[0].call("DBSIZE") > 20)
    run("restore", directory / "b", *at(target[0]))
    assert content(target[0]) == wanted


def test_a_node_that_dies_does_not_end_a_backup_from_another(source, directory):
    words = [HOLON, "backup", str(directory / "b.holon"), *at(source[0])]
    wanted = content(source[0])
    client = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
    until("it is under way", lambda: (directory / "b.holon.unfinished/unfinished.json").exists(), 30, every=0.002)
    source[2].kill()
    said, _ = client.communicate(timeout=120)
    assert client.returncode == 0, said
    assert f"{len(wanted)} keys" in run("backup", "verify", directory / "b.holon")
