"""Replies of the connection's own commands and refusals, byte for byte as redis-server 7 says
them. What concerns keys is compared by tests/unit/test_redis_differential.c."""
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "cluster"))

from cluster import free_port  # noqa: E402  (the path comes first)
import resp  # noqa: E402
from waiting import until  # noqa: E402

LINES = [
    "PING", "PING hello", "PING a b", "ECHO", "ECHO a", "echo a b", "NOSUCH", "nosuch a b c",
    "NOSUCH " + "x" * 200, "nosuch " + "abc " * 60, "N" * 200, "GET", "get a b", "mset a", "mset a 1 b",
    "SELECT 16", "SELECT -1", "SELECT x", "SELECT 99999999999", "SELECT 1.5", "SELECT 3",
    "SELECT 0", "AUTH x", "AUTH default x", "AUTH nobody x", "AUTH a b c",
    "HELLO 4", "HELLO x", "HELLO 1", "HELLO 2 BAD", "HELLO 2 SETNAME", "HELLO 2 AUTH a",
    "HELLO 2 AUTH nobody x", 'HELLO 2 SETNAME "a b"',
    "CLIENT", "CLIENT NOSUCH", "CLIENT GETNAME", "CLIENT SETNAME me", "CLIENT GETNAME",
    'CLIENT SETNAME "a b"', 'CLIENT SETNAME ""', "CLIENT GETNAME", "CLIENT SETNAME",
    "CLIENT ID x", "CLIENT REPLY", "CLIENT REPLY BAD", "CLIENT REPLY ON",
    "CLIENT LIST TYPE bad", "CLIENT LIST ID x", "CLIENT LIST BAD", "CLIENT LIST TYPE pubsub",
    "COMMAND NOSUCH", "COMMAND COUNT x", "COMMAND GETKEYS", "COMMAND GETKEYS nosuch",
    "COMMAND GETKEYS ping", "COMMAND GETKEYS ping x", "COMMAND GETKEYS nosuch x", "COMMAND GETKEYS get k k", "COMMAND GETKEYS get", "COMMAND GETKEYS mset a 1 b 2",
    "COMMAND GETKEYS get k", "COMMAND LIST FILTERBY", "COMMAND LIST FILTERBY bad x",
    "COMMAND LIST FILTERBY PATTERN getr*", "COMMAND INFO nosuch", "COMMAND DOCS nosuch",
    "CONFIG", "CONFIG NOSUCH", "CONFIG GET", "CONFIG GET nosuch", "CONFIG SET", "CONFIG SET a",
    "CONFIG SET nosuch 1", "CONFIG SET maxmemory 1 x", "CONFIG GET databases",
    "TIME x", "RESET", "RESET x", "CLUSTER", "FLUSHDB bad", "FLUSHALL sync async",
    "SCAN", "SCAN x", "SCAN 0 COUNT 0", "SCAN 0 BAD", "KEYS", "KEYS *", "DBSIZE", "DBSIZE x",
    "RANDOMKEY", "RANDOMKEY x", "SCAN 0", "SCAN 0 TYPE string MATCH a*", "SCAN 18446744073709551616",
    "*0", "", "   ",
]
PROTOCOL_ERRORS = [b"*1\r\n:5\r\n", b"*x\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$x\r\n", b'get "a\r\n',
                   b"*3000000000\r\n", b"*1\r\n$999999999999\r\n"]


class Raw:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def run(self, data):
        """What comes back until the reply of a final marker, which is cut off."""
        self.socket.sendall(data + b"\r\nECHO {marker}\r\n")
        got = b""
        while not got.endswith(b"$8\r\n{marker}\r\n"):
            more = self.socket.recv(65536)
            if not more:
                return got + b"<closed>"
            got += more
        return got[:-len(b"$8\r\n{marker}\r\n")]


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    port = free_port()
    process = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--dir",
                                str(tmp_path_factory.mktemp("redis"))],
                               stdout=subprocess.DEVNULL)

    def answers():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until("redis-server answers", answers, 10)
    yield port
    process.kill()
    process.wait()


def test_lines(cluster, client, peer):
    ours, theirs = Raw(cluster[0].redis), Raw(peer)
    different = []
    for line in LINES:
        expected, got = theirs.run(line.encode()), ours.run(line.encode())
        if expected != got:
            different.append((line, expected, got))
    shown = "\n".join(f"{line}\n    {expected}\n    {got}" for line, expected, got in different)
    assert not different, "redis-server, then ours:\n" + shown


@pytest.mark.parametrize("data", PROTOCOL_ERRORS)
def test_protocol_errors(cluster, peer, data):
    expected, got = Raw(peer).run(data), Raw(cluster[0].redis).run(data)
    assert got.endswith(b"<closed>") and expected.endswith(b"<closed>")
    # Ours may say more behind the same words.
    assert got.split(b"\r\n")[0].startswith(expected.split(b"\r\n")[0])


def test_where_the_keys_of_commands_are(cluster, peer):
    """First, last and step, and the same as a key specification; its flags are coarser here."""
    with resp.Client(cluster[0].redis) as ours, resp.Client(peer) as theirs:
        for name in ("get", "set", "mget", "mset", "del", "incr", "hset", "exists", "ping"):
            mine, his = (c.call("COMMAND", "INFO", name)[0] for c in (ours, theirs))
            assert mine[:2] == his[:2] and mine[3:6] == his[3:6], name
            assert [s[2:] for s in mine[8]] == [s[-4:] for s in his[8]], name  # begin, find
            assert all(s[0] == "flags" and s[1] for s in mine[8])
