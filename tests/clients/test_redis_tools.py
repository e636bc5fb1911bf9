"""redis-cli and redis-benchmark as they are."""
import subprocess

import pytest


def cli(node, *arguments, port=None, stdin=None):
    done = subprocess.run(["redis-cli", "-p", str(port or node.redis), *arguments], input=stdin,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_in_both_protocols(node, client):
    assert cli(node, "set", "k", "v") == "OK\n"
    assert cli(node, "-3", "get", "k") == "v\n"
    assert cli(node, "hset", "h", "f", "1") == "1\n"
    assert cli(node, "-3", "--json", "hgetall", "h") == '{"f":"1"}\n'
    assert "proto" in cli(node, "-3", "hello")
    assert cli(node, "-c", "get", "k", port=node.redis_cluster) == "v\n"


def test_inline_commands_and_errors(node, client):
    out = cli(node, stdin='set k "a b"\nget k\nset k\nselect 3\nget k\n')
    assert out.splitlines() == ["OK", "a b", "ERR wrong number of arguments for 'set' command", "",
                                "OK", ""]


def test_pipe_mode(node, client):
    """Mass insertion waits for one reply to each command."""
    commands = "".join(f"*3\r\n$3\r\nSET\r\n${len(str(i))}\r\n{i}\r\n$1\r\nv\r\n"
                       for i in range(20000))
    out = cli(node, "--pipe", stdin=commands)
    assert "errors: 0, replies: 20000" in out
    assert cli(node, "dbsize") == "20000\n"


def test_scan(node, client):
    for i in range(100):
        client.set(f"s{i}", i)
    assert len(cli(node, "--scan", "--pattern", "s*").split()) == 100


def test_cluster_check(node, client):
    """Its own idea of a healthy table: all slots covered, all nodes agree."""
    out = cli(node, "--cluster", "check", f"127.0.0.1:{node.redis_cluster}")
    assert "[OK] All 16384 slots covered." in out
    assert "[OK] All nodes agree about slots configuration." in out


@pytest.mark.parametrize("options", [[], ["-P", "16"], ["--cluster"]], ids=["plain", "P16",
                                                                         "cluster"])
def test_benchmark(node, client, options):
    port = node.redis_cluster if "--cluster" in options else node.redis
    done = subprocess.run(["redis-benchmark", "-p", str(port), "-t",
                           "ping,set,get,incr,hset,mset" if not options else "set,get",
                           "-n", "2000", "-r", "1000", "-c", "10", "-q", *options],
                          capture_output=True, text=True, timeout=120)
    out = done.stdout + done.stderr
    assert done.returncode == 0 and "Error" not in out, out
