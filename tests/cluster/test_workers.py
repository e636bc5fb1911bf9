"""Several workers in a node are one to its clients: CLIENT LIST, INFO, ids, keyspace."""
import os
import pathlib

import redis

from waiting import until

CLIENTS = 24


def lines_of(node, *filters):
    text = node.call("CLIENT", "LIST", *filters)
    return [dict(word.split("=", 1) for word in line.split(" ")) for line in text.splitlines()]


def info(node, *sections):
    text = node.call("INFO", *sections)
    assert not text.__class__.__name__ == "ErrorReply", text
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def two_workers(make_cluster):
    cluster = make_cluster(options=("--workers", "2", "--partitions", "16"))
    cluster.wait_healthy()
    return cluster


def test_the_clients_of_all_workers_are_listed(make_cluster):
    node = two_workers(make_cluster)[0]
    clients = [redis.Redis(port=node.redis, client_name=f"c{i}") for i in range(CLIENTS)]
    ids = [client.client_id() for client in clients]
    assert len(set(ids)) == CLIENTS
    # The kernel deals connections out to both; the list is the same whoever is asked.
    assert len({number % 64 for number in ids}) == 2, ids
    for client in clients:
        assert set(ids) <= {int(line["id"]) for line in client.client_list()}
    named = {int(line["id"]): line["name"] for line in lines_of(node)}
    assert [named[number] for number in ids] == [f"c{i}" for i in range(CLIENTS)]
    assert {int(line["id"]) for line in lines_of(node, "ID", *ids[:5], 999999)} == set(ids[:5])
    assert lines_of(node, "TYPE", "replica") == []
    assert len(lines_of(node, "TYPE", "normal")) >= CLIENTS
    clients[3].connection_pool.disconnect()
    until("a closed one is gone", lambda: ids[3] not in
          {int(line["id"]) for line in lines_of(node)})


def test_info_counts_for_all_workers(make_cluster):
    node = two_workers(make_cluster)[0]
    clients = [redis.Redis(port=node.redis) for _ in range(CLIENTS)]
    ids = {client.client_id() % 64 for client in clients}
    assert len(ids) == 2
    before = int(info(node, "stats")["total_commands_processed"])
    for client in clients:
        for _ in range(10):
            client.ping()
    after = int(info(node, "stats")["total_commands_processed"])
    assert after - before == 10 * CLIENTS + 1  # and the first INFO
    all_of_it = info(node)
    assert all_of_it["holon_workers"] == "2" and all_of_it["holon_workers_silent"] == "0"
    assert int(all_of_it["connected_clients"]) == CLIENTS + 1
    assert int(all_of_it["used_memory_rss"]) > 1 << 20
    assert float(all_of_it["used_cpu_user"]) > 0
    assert int(all_of_it["total_connections_received"]) > CLIENTS


def test_the_keyspace_is_that_of_the_cluster(make_cluster):
    cluster = two_workers(make_cluster)
    clients = [redis.Redis(port=node.redis) for node in cluster]
    assert clients[0].info("keyspace") == {}
    for number in range(300):
        clients[number % 3].set(f"key{number}", number, ex=1000 if number % 3 == 0 else None)
    redis.Redis(port=cluster[0].redis, db=5).set("k", "v")
    for client in clients:
        assert client.info("keyspace") == {
            "db0": {"keys": 300, "expires": 100, "avg_ttl": 0},
            "db5": {"keys": 1, "expires": 0, "avg_ttl": 0}}
        assert client.info()["db0"]["keys"] == 300
    clients[1].flushall()
    assert clients[2].info("keyspace") == {}


def test_info_answers_while_no_partition_does(make_cluster):
    cluster = two_workers(make_cluster)
    cluster[1].pause()
    cluster[2].pause()
    try:
        until("the leases are over", lambda: info(cluster[0]).get("holon_keyspace") == "unknown")
        assert int(info(cluster[0], "keyspace")["holon_partitions_silent"]) > 0
    finally:
        cluster[1].resume()
        cluster[2].resume()


def test_flushes_and_compactions_are_in_the_background(make_cluster):
    """A share of their own, less than that of a worker's loop (base/background.h)."""
    node = make_cluster(1, options=("--workers", "1"))
    node.wait_healthy()
    threads = {}
    for task in pathlib.Path(f"/proc/{node[0].pid}/task").iterdir():
        name, rest = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        nice, policy = int(rest.split()[16]), int(rest.split()[38])
        threads.setdefault((nice, policy), []).append(name)
    background = threads.pop((5, os.SCHED_BATCH))
    assert sorted(background) == ["holon-flush", "rocksdb:low"], background  # one lane for flushes
    assert list(threads) == [(0, os.SCHED_OTHER)], threads
