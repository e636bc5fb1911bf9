"""More than there should be: of connections, of waiting bytes, of time. What is too much is
refused or closed with a reason and counted, and everybody else is served."""
import re
import select
import socket
import time

import resp
from test_malformed import Beside
from waiting import until


def connect(port: int, count: int = 1) -> list:
    return [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(count)]


def close_all(connections) -> None:
    for connection in connections:
        connection.close()


def metric(node, name: str) -> float:
    found = re.search(rf"^holon_{name} (\S+)$", node.http("/metrics")[1], re.M)
    assert found, f"no metric holon_{name}"
    return float(found.group(1))


def ask(connection: socket.socket, *arguments) -> bytes:
    """One command and the first part of what comes; b"" if it was closed."""
    try:
        connection.sendall(resp.encode(*arguments))
        return connection.recv(65536)
    except ConnectionError:
        return b""


def is_closed(connection: socket.socket) -> bool:
    """After what is left to be read."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


# --- connections ---------------------------------------------------------------------------------


def test_the_number_of_clients_is_exact_over_all_workers(make_cluster):
    """Whichever worker they come to, and however unevenly they leave."""
    node = make_cluster(1, options=("--workers", "2", "--max-connections", "20"))[0]
    clients = connect(node.redis, 20)
    replies = [ask(client, "CLIENT", "ID") for client in clients]
    assert all(reply.startswith(b":") for reply in replies)
    for _ in range(3):
        refused = connect(node.redis)[0]
        assert refused.recv(100) == b"-ERR max number of clients reached\r\n"
        assert refused.recv(100) == b""
        refused.close()
    workers = [int(reply[1:]) % 64 for reply in replies]  # WORKERS_MAX
    leaving = [c for c, worker in zip(clients, workers) if worker == workers[0]]
    assert 5 <= len(leaving) <= 15
    close_all(leaving)
    until("they are gone", lambda: metric(node, "redis_connections") == 20 - len(leaving))
    again = connect(node.redis, len(leaving))
    assert [ask(client, "PING") for client in again] == [b"+PONG\r\n"] * len(again)
    info = ask(again[0], "INFO", "clients").decode()
    assert "connected_clients:20\r\n" in info and "maxclients:20\r\n" in info
    assert metric(node, "redis_connections_rejected_total") == 3
    close_all(clients + again)


def test_one_address_has_a_limit_of_its_own(make_cluster):
    node = make_cluster(1, options=("--max-connections-per-address", "5"))[0]
    clients = connect(node.redis, 5)
    refused = connect(node.redis)[0]
    assert refused.recv(100) == b"-ERR max number of clients reached for this address\r\n"
    assert metric(node, "redis_connections_rejected_address_total") == 1
    close_all(clients + [refused])
    until("there is room again", lambda: node.call("PING") == "PONG")


def test_a_flood_of_connections_that_say_nothing_passes(make_cluster):
    """They fill all places; those who never spoke make room, those who did stay."""
    node = make_cluster(1, options=("--max-connections", "60", "--request-timeout", "6s"))[0]
    client = node.client()
    assert client.call("PING") == "PONG"
    flood = connect(node.redis, 59)
    assert connect(node.redis)[0].recv(100).startswith(b"-ERR max number of clients")
    until("the flood is gone", lambda: metric(node, "redis_silent_clients_total") == 59, 15)
    assert client.call("PING") == "PONG"
    assert node.call("PING") == "PONG"
    assert b"-ERR no command came in time" in flood[0].recv(1000)
    close_all(flood)
    client.close()


def test_without_descriptors_clients_are_refused_and_the_node_works_on(make_cluster):
    """F08: 400 descriptors, of which clients get less than half; then peers come and go."""
    cluster = make_cluster(start=False)
    cluster[0].prefix = ["prlimit", "--nofile=400:400"]
    cluster.start()
    cluster.wait_healthy()
    assert "of --max-connections 10000 fit into 400 file descriptors" in cluster[0].log()
    flood, refused = [], 0
    for _ in range(500):
        flood += connect(cluster[0].redis)
        readable, _, _ = select.select([flood[-1]], [], [], 0.02 if refused else 0)
        refused += bool(readable) and b"max number of clients" in flood[-1].recv(100)
    assert refused > 300
    assert ask(flood[0], "SET", "a", "1") == b"+OK\r\n"
    cluster[1].kill()
    cluster[1].start().wait_ready()  # its connections find room, and so does the admin page
    cluster.wait_healthy()
    assert ask(flood[0], "GET", "a") == b"$1\r\n1\r\n"
    assert "out of file descriptors" not in cluster[0].log()
    close_all(flood)
    until("there is room again", lambda: cluster[0].call("PING") == "PONG")


def test_floods_of_peer_and_admin_ports_lock_nobody_out(make_cluster):
    cluster = make_cluster()
    cluster.wait_healthy()
    admin = connect(cluster[0].admin, 100)
    peer = connect(cluster[0].peer, 300)
    for _ in range(5):
        assert cluster[0].healthy
    cluster[1].kill()
    cluster[1].start()
    peer += connect(cluster[0].peer, 300)
    cluster[1].wait_ready()
    cluster.wait_healthy()
    until("strangers are closed", lambda: metric(cluster[0], "peer_strangers_dropped_total") == 600)
    assert metric(cluster[0], "admin_displaced_total") >= 100 - 32
    close_all(admin + peer)


# --- time ----------------------------------------------------------------------------------------


def test_slow_senders_are_closed_and_told(make_cluster):
    """A byte now and then keeps nobody alive."""
    node = make_cluster(1, options=("--request-timeout", "2s"))[0]
    slow = connect(node.redis, 20)
    for client in slow:
        client.sendall(b"*2\r\n$4\r\nECHO\r\n$100\r\n")

    def all_closed():
        for client in slow:
            try:
                client.send(b"x")
            except OSError:
                pass
        return metric(node, "redis_slow_clients_total") == len(slow)
    start = time.monotonic()
    until("they are closed", all_closed, 15, 0.2)
    assert time.monotonic() - start > 1.5
    assert node.call("PING") == "PONG"
    close_all(slow)


def test_clients_that_do_not_read_are_closed_and_slow_readers_are_not(make_cluster):
    node = make_cluster(1, options=("--output-timeout", "3s"))[0]
    assert node.call("SET", "big", "x" * (256 << 10)) == "OK"
    request = resp.encode("GET", "big") * 80  # more than the kernel keeps
    beside = Beside(node)
    deaf, slow = connect(node.redis, 2)
    deaf.sendall(request)
    slow.sendall(request)
    received = 0

    def deaf_is_closed():
        nonlocal received
        received += len(slow.recv(64 << 10))
        return metric(node, "redis_stuck_clients_total") == 1
    until("who does not read is closed", deaf_is_closed, 15, 0.1)
    slow.settimeout(10)
    expected = 80 * ((256 << 10) + len("$262144\r\n\r\n"))
    while received < expected:
        part = slow.recv(1 << 20)
        assert part, f"closed after {received} of {expected} bytes"
        received += len(part)
    assert metric(node, "redis_stuck_clients_total") == 1
    beside.check()
    close_all([deaf, slow])


def test_the_last_reply_is_heard_whole_by_a_slow_reader(make_cluster):
    """20 MiB and QUIT, read in some four seconds."""
    node = make_cluster(1)[0]
    assert node.call("SET", "big", "x" * (256 << 10)) == "OK"
    expected = 80 * ((256 << 10) + len("$262144\r\n\r\n")) + len("+OK\r\n")
    with socket.create_connection(("127.0.0.1", node.redis), timeout=10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.sendall(resp.encode("GET", "big") * 80 + resp.encode("QUIT"))
        received = 0

        def at_the_end():
            nonlocal received
            part = client.recv(512 << 10)
            received += len(part)
            return not part
        start = time.monotonic()
        until("the connection is closed", at_the_end, 30, 0.02)
        assert received == expected
        assert time.monotonic() - start > 2


def test_idle_clients_are_closed_only_if_asked_for(make_cluster):
    node = make_cluster(1, options=("--idle-timeout", "2s"))[0]
    with node.client() as idle, node.client() as busy:
        assert idle.call("CONFIG", "GET", "timeout") == ["timeout", "2"]

        def idle_is_closed():
            assert busy.call("PING") == "PONG"
            return is_closed(idle.socket)
        until("the idle one is closed", idle_is_closed, 10, 0.2)
        assert metric(node, "redis_idle_clients_total") == 1
    default = make_cluster(1)[0]
    assert default.call("CONFIG", "GET", "timeout") == ["timeout", "0"]
