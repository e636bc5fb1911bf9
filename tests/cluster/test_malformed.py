"""What no client or peer should send: a clear error or a close, bounded memory, and the clients
beside it notice nothing."""
import os
import random
import select
import socket
import struct
import threading
import time

import pytest

import resp
from waiting import until

MEMORY_MAX = 64 << 20        # that one hostile connection may cost
SLOW_MAX = 2.0               # seconds that a client beside may wait
PINGS = 1_000_000

MALFORMED_RESP = {
    "a negative array": b"*-5\r\n",
    "a huge array": b"*2147483648\r\n",
    "an array of a billion": b"*1000000000\r\n$3\r\nGET\r\n",
    "a huge bulk": b"*2\r\n$3\r\nGET\r\n$999999999999\r\n",
    "a negative bulk": b"*2\r\n$3\r\nGET\r\n$-1\r\n",
    "a length of letters": b"*1\r\n$abc\r\n",
    "a number with a sign": b"*+1\r\n$4\r\nPING\r\n",
    "an overflowing number": b"*99999999999999999999999999\r\n",
    "deep nesting": b"*1\r\n" * 100000,
    "a wrong type": b"*1\r\n:5\r\n",
    "no end after a bulk": b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    "a line without end": b"A" * 300000,
    "noise": random.Random(1).randbytes(5000) + b"\r\n",
    "zeros": bytes(5000) + b"\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "an HTTP request": b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n",
}


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def peer_frame(size, body=b"", version=1, kind=1, crc=None):
    """A frame before the hello (seed 0), right but for what a case wants wrong."""
    checked = struct.pack("<BBH", version, kind, 0) + body
    prefix = struct.pack("<I", size)
    return (prefix + struct.pack("<II", crc32c(prefix), crc32c(checked) if crc is None else crc) +
            checked)


MALFORMED_PEER = {
    "a huge size": peer_frame(0xffffffff),
    "a large size and a little": peer_frame(64 << 20, bytes(100000)),
    "a damaged size": struct.pack("<II", 36, 0) + bytes(36),
    "a bad checksum": peer_frame(36, bytes(32), crc=0x12345678),
    "a wrong version": peer_frame(36, bytes(32), version=99),
    "a wrong kind first": peer_frame(36, bytes(32), kind=10),
    "a hello of zeros": peer_frame(36, bytes(32)),
    "half of a header": b"\x20\x00\x00",
    "half of a frame": peer_frame(1000, bytes(100)),
    "an HTTP request": b"GET / HTTP/1.1\r\n\r\n" * 100,
    "noise": random.Random(2).randbytes(100000),
    "zeros": bytes(100000),
}

MALFORMED_HTTP = {
    "noise": random.Random(3).randbytes(2000) + b"\r\n\r\n",
    "a long line": b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
    "an unknown method": b"BREW /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "a wrong version": b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
    "half a request": b"GET /hea",
    "two lengths": b"GET /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
}


class Beside:
    """A well-behaved client of the same node, all the while."""

    def __init__(self, node):
        self.stopping = threading.Event()
        self.slowest, self.count, self.problem = 0.0, 0, None
        self.thread = threading.Thread(target=self._run, args=(node,), daemon=True)
        self.thread.start()

    def _run(self, node) -> None:
        try:
            with node.client() as client:
                while not self.stopping.is_set():
                    start = time.monotonic()
                    assert client.call("SET", "beside", self.count) == "OK"
                    assert client.call("GET", "beside") == str(self.count)
                    self.slowest = max(self.slowest, time.monotonic() - start)
                    self.count += 1
                    self.stopping.wait(0.001)
        except (OSError, AssertionError) as problem:
            self.problem = problem

    def check(self) -> None:
        before = self.count
        until("the client beside goes on", lambda: self.problem or self.count > before + 5)
        self.stopping.set()
        self.thread.join(20)
        assert self.problem is None, self.problem
        assert self.slowest <= SLOW_MAX


@pytest.fixture
def watched(make_cluster):
    """A node with a client beside; afterwards both must be well and its memory bounded."""
    cluster = make_cluster()
    cluster.wait_healthy()
    node = cluster[0]
    resident = node.resident()
    beside = Beside(node)
    yield node
    assert node.alive, node.log()[-2000:]
    beside.check()
    assert node.resident() - resident <= MEMORY_MAX
    cluster.wait_healthy()
    assert all(other.alive for other in cluster)


def provoke(port: int, data: bytes, seconds: float = 5) -> bytes:
    """Sends, says that no more comes, and returns what was answered before the close."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed while we were sending is an answer, too
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionError:
            pass
        return answer


def test_malformed_requests(watched):
    for name, data in MALFORMED_RESP.items():
        answer = provoke(watched.redis, data)
        assert answer == b"" or b"-" in answer, f"{name}: {answer[:200]!r}"
        assert watched.alive, name


def test_each_prefix_of_a_request_is_no_request(watched):
    whole = resp.encode("SET", "prefix", "value")
    for size in range(len(whole)):
        assert provoke(watched.redis, whole[:size]) in (b"",), size
    assert watched.call("GET", "prefix") is None
    with watched.client() as client:
        for byte in whole:
            client.send(bytes([byte]))
        assert client.read() == "OK"


def test_malformed_peer_frames(watched):
    for name, data in MALFORMED_PEER.items():
        provoke(watched.peer, data)
        assert watched.alive, name


def test_malformed_admin_requests(watched):
    for name, data in MALFORMED_HTTP.items():
        answer = provoke(watched.admin, data)
        assert answer == b"" or answer.split(b" ")[1][:1] in b"45", f"{name}: {answer[:100]!r}"
        assert watched.http("/health")[0] == 200, name


def test_a_million_tiny_pipelined_commands(watched):
    """The sender reads while it sends, as a client with a million requests must."""
    batch, replies = resp.encode("PING") * 1000, 0
    expected = b"+PONG\r\n"
    with socket.create_connection(("127.0.0.1", watched.redis)) as connection:
        connection.setblocking(False)
        unsent, sent, received, deadline = b"", 0, 0, time.monotonic() + 60
        while received < PINGS * len(expected):
            assert time.monotonic() < deadline, f"{received // len(expected)} answered"
            if not unsent and sent < PINGS:
                unsent, sent = batch, sent + 1000
            readable, writable, _ = select.select([connection], [connection] if unsent else [],
                                                  [], 5)
            if writable:
                unsent = unsent[connection.send(unsent):]
            if readable:
                part = connection.recv(1 << 20)
                assert part, "closed"
                received += len(part)
                replies += part.count(b"+PONG")
    assert abs(replies - PINGS) < 20000  # some are cut by the reads


def test_a_client_that_never_reads(watched):
    """It asks for 64 KiB again and again; the node must stop taking its requests, or close."""
    assert watched.call("SET", "big", "x" * 65536) == "OK"
    request = resp.encode("GET", "big") * 100
    with socket.create_connection(("127.0.0.1", watched.redis)) as connection:
        connection.setblocking(False)
        sent, idle_since = 0, time.monotonic()
        while sent < 100 << 20 and time.monotonic() - idle_since < 2:
            _, writable, _ = select.select([], [connection], [], 0.2)
            if not writable:
                continue
            try:
                sent += connection.send(request)
            except BlockingIOError:
                continue
            except OSError:
                break  # closed: as good
            idle_since = time.monotonic()
        print(f"{sent >> 10} KiB of requests were taken")
        assert watched.call("PING") == "PONG"


def test_many_connections_that_say_nothing(watched):
    connections = [socket.create_connection(("127.0.0.1", watched.redis)) for _ in range(500)]
    try:
        assert watched.call("PING") == "PONG"
        for connection in connections[::2]:
            connection.send(os.urandom(3))
        assert watched.call("PING") == "PONG"
    finally:
        for connection in connections:
            connection.close()


def test_large_values_up_to_the_limit_and_beyond(watched):
    limit = 16 << 20
    with watched.client(timeout=30) as client:
        assert client.call("SET", "limit", "x" * limit) == "OK"
        assert client.call("STRLEN", "limit") == limit
    # Beyond it is refused by its length alone, before the value is read.
    header = b"*3\r\n$3\r\nSET\r\n$6\r\nbeyond\r\n$%d\r\n" % (limit + 1)
    answer = provoke(watched.redis, header)
    assert answer.startswith(b"-ERR Protocol error: invalid bulk length"), answer
    with watched.client() as client:
        assert client.call("PING") == "PONG"
        assert client.call("EXISTS", "beyond") == 0
