"""Replies of the connection's own commands and refusals, byte for byte as redis-server 7 says
them. What concerns keys is compared by tests/unit/test_redis_differential.c."""
import pathlib
import re
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
    'SCAN ""', "SCAN -1", "SCAN +0", "SCAN -", "SCAN 00", 'SCAN " 0"', "SCAN 0x", "SCAN 0 COUNT",
    "SCAN 0 COUNT x", "SCAN 0 COUNT -1", "SCAN 0 MATCH", "SCAN 0 TYPE nosuch", "SCAN 0 NOVALUES",
    "HSCAN nosuch 0", "HSCAN nosuch -1", "HSCAN nosuch x", "HSCAN nosuch 0 BAD",
    "HELLO 2 AUTH default", "CLIENT HELP x", "COMMAND HELP x", "CONFIG HELP x",
    "COMMAND LIST FILTERBY PATTERN GETR*", "COMMAND LIST FILTERBY ACLCAT nosuch", "COMMAND LIST x",
    "COMMAND GETKEYS SET a", "COMMAND GETKEYS mget a b", "COMMAND GETKEYS scan 0",
    "CONFIG GET DATABASES", "CONFIG GET Data*", "CONFIG GET databases databases",
    "CONFIG SET maxmemory 0 maxmemory 0", "CONFIG SET databases", "CONFIG RESETSTAT x",
    "CLIENT LIST ID", "CLIENT LIST TYPE master", "CLIENT LIST TYPE normal x", "CLIENT LIST ID 0",
    "CLIENT LIST ID 99999999", "INFO nosuch", "INFO modules", "SELECT 00", "SELECT +1", 'SELECT ""',
]
# Each is sent as one piece; what is silent is seen by the PING behind it.
REPLY_MODES = [
    "CLIENT REPLY SKIP|PING|PING", "CLIENT REPLY OFF|PING|CLIENT REPLY SKIP|CLIENT REPLY ON|PING",
    "CLIENT REPLY SKIP|CLIENT REPLY SKIP|PING|PING", "CLIENT REPLY SKIP|CLIENT REPLY ON|PING",
    "CLIENT REPLY OFF|GET x|SET y 1|NOSUCH|DBSIZE|CLIENT REPLY ON|PING", "CLIENT REPLY OFF|RESET|PING",
    "CLIENT REPLY SKIP|RESET|PING", "CLIENT REPLY OFF|HELLO 2|CLIENT REPLY ON|PING",
    "CLIENT REPLY SKIP|NOSUCH|PING", "CLIENT REPLY SKIP|GET|PING", "CLIENT REPLY SKIP|MGET a b|PING",
    "CLIENT REPLY SKIP|CLIENT REPLY OFF|PING|CLIENT REPLY ON", "CLIENT REPLY SKIP|INFO server|PING",
    "CLIENT REPLY SKIP|CLIENT LIST|PING", "CLIENT REPLY OFF|CLIENT REPLY BAD|CLIENT REPLY ON|PING",
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


@pytest.mark.parametrize("protocol", [2, 3])
def test_modes_of_replying(cluster, client, peer, protocol):
    for line in REPLY_MODES:
        ours, theirs = Raw(cluster[0].redis), Raw(peer)
        for raw in (ours, theirs):
            raw.run(b"HELLO %d" % protocol)
        data = line.replace("|", "\r\n").encode()
        assert ours.run(data) == theirs.run(data), line


# Of keys, through the whole way and in both protocols; {t}: all in one partition.
KEY_LINES = [
    "SET {t}s v EX 100 PX 100", "SET {t}s v EX 100 KEEPTTL", "SET {t}s v NX XX", "SET {t}s v GET",
    "SET {t}s w NX GET", "SET {t}s w XX GET", "GET {t}s", "SET {t}s v EXAT 0", "SET {t}s v PX x",
    "SET {t}s v EX 9223372036854775807", "SET {t}s v BAD", "SET {t}s v EX", "GETEX {t}s PERSIST EX 10",
    "GETEX {t}s EX 0", "GETEX {t}s EXAT 99999999999", "EXPIRETIME {t}s", "GETEX {t}s PERSIST",
    "EXPIRETIME {t}s", "GETEX {t}none EX 10", "GETEX {t}s KEEPTTL", "EXPIREAT {t}s 99999999999 XX",
    "EXPIREAT {t}s 99999999999 NX", "EXPIREAT {t}s 99999999998 GT", "EXPIREAT {t}s 99999999998 LT",
    "EXPIREAT {t}s 1 NX XX", "EXPIREAT {t}s 1 GT LT", "EXPIREAT {t}s 1 BAD", "EXPIREAT {t}s x",
    "PEXPIREAT {t}s 9223372036854775807", "EXPIRE {t}s 9223372036854775807", "PERSIST {t}s",
    "HSET {t}h a 1 b 2 c 3", "HGETALL {t}h", "HSCAN {t}h 0", "HSCAN {t}h 0 MATCH a* COUNT 1",
    "HSCAN {t}h -1", 'HSCAN {t}h ""', "HSCAN {t}h 0 TYPE hash", "HSCAN {t}s 0", "HMGET {t}h a x",
    "HINCRBYFLOAT {t}h a 0.5", "HINCRBYFLOAT {t}h a x", "HKEYS {t}h", "HVALS {t}h", "HGETALL {t}none",
    "GET {t}h", "INCR {t}h", "HGET {t}s f", "MGET {t}s {t}h {t}none", "TYPE {t}h", "TYPE {t}none",
    "INCRBYFLOAT {t}f 0.1", "INCRBYFLOAT {t}f nan", "SETRANGE {t}s -1 x", "GETRANGE {t}s -2 -1",
    "GETDEL {t}s", "GETDEL {t}s", "SCAN 0 COUNT 1000 TYPE hash", "FLUSHDB BAD", "FLUSHDB SYNC",
    "RANDOMKEY", "SCAN 0 COUNT 1000", "KEYS *",
]


@pytest.mark.parametrize("protocol", [2, 3])
def test_keys(cluster, client, peer, protocol):
    ours, theirs = Raw(cluster[0].redis), Raw(peer)
    for raw in (ours, theirs):
        raw.run(b"HELLO %d" % protocol)
        raw.run(b"FLUSHALL")
        raw.run(b"SELECT 0")
    different = []
    for line in KEY_LINES:
        expected, got = theirs.run(line.encode()), ours.run(line.encode())
        if line.startswith("SCAN"):  # cursors are places here, and there is one more to ask for
            expected, got = (re.sub(rb"^\*2\r\n\$\d+\r\n\d+\r\n", b"", x) for x in (expected, got))
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
