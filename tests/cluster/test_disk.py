"""Disks that are full (F27), on small file systems of their own. Mounting needs root and
CAP_SYS_ADMIN: without them these tests are skipped, and say so."""
import contextlib
import errno
import os
import pathlib
import shutil
import subprocess

import pytest

from cluster import HOLON
from resp import ErrorReply
from test_damage import contents, log_middle, salvage
from waiting import until

DISK_MIB, RESERVE_MIB = 320, 64


@contextlib.contextmanager
def _small_disk_at(path: pathlib.Path):
    path.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(path)],
                           capture_output=True, text=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"FULL DISKS ARE NOT TESTED HERE: cannot mount a tmpfs: {mount.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture(name="small_disk")
def _small_disk(directory):
    with _small_disk_at(pathlib.Path(directory) / "small") as path:
        yield path


@pytest.fixture(name="small_disks")
def _small_disks(directory):
    with _small_disk_at(pathlib.Path(directory) / "small-1") as one, \
            _small_disk_at(pathlib.Path(directory) / "small-2") as two:
        yield one, two


def _begin_anew(node, data: pathlib.Path):
    """In an empty directory."""
    node.stop()
    node.data = data
    data.mkdir()
    node.start().wait_ready()


def _shim(directory: pathlib.Path, source: str) -> str:
    """Compiled, for LD_PRELOAD."""
    (directory / "shim.c").write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(directory / "shim.so"),
                    str(directory / "shim.c"), "-ldl"], check=True)
    return str(directory / "shim.so")


def _ballast(path: pathlib.Path, leave_mib: int) -> pathlib.Path:
    """Takes all but so much of the file system."""
    file = path / "ballast"
    status = os.statvfs(path)
    left = status.f_bavail * status.f_frsize - (leave_mib << 20)
    with open(file, "wb", buffering=0) as out:
        try:
            while left > 0 or leave_mib == 0:
                left -= out.write(bytes(min(1 << 20, left) if leave_mib else 1 << 16))
        except OSError as error:
            assert error.errno == errno.ENOSPC and leave_mib == 0
    return file


@pytest.mark.parametrize("leave_mib", [RESERVE_MIB // 2, 0])
def test_a_full_disk_refuses_what_adds_data_and_nothing_else(make_cluster, small_disk, leave_mib):
    cluster = make_cluster(1, options=("--disk-reserve", f"{RESERVE_MIB}MiB", "--partitions", "4"))
    node = cluster[0]
    _begin_anew(node, small_disk / "n1")
    for i in range(100):
        assert node.call("SET", f"k{i}", "v" * 1000) == "OK"
    ballast = _ballast(small_disk, leave_mib)

    with node.client() as client:
        until("writes are refused", lambda: isinstance(client.call("SET", "new", "v"), ErrorReply), 5)
        said = str(client.call("SET", "new", "v"))
        assert said.startswith("MISCONF no disk space"), said
        assert "node n1" in said and str(node.data) in said
        assert f"--disk-reserve is {RESERVE_MIB} MiB" in said
        assert isinstance(client.call("INCR", "counter"), ErrorReply)
        assert client.call("GET", "k7") == "v" * 1000
        assert client.call("DEL", "k7") == 1
        assert client.call("GET", "k7") is None
        assert client.call("FLUSHDB") == "OK"
        assert client.call("DBSIZE") == 0
        assert "holon_disk_low 1" in node.http("/metrics")[1]
        assert any("--disk-reserve" in problem["what"] for problem in node.status()["problems"])

        ballast.unlink()
        until("writes are taken again", lambda: client.call("SET", "new", "v") == "OK", 5)
    node.kill()
    node.start().wait_ready()
    assert node.call("GET", "new") == "v"
    assert node.call("GET", "k8") is None


def _size(path: pathlib.Path) -> int:
    """0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _fill(path: pathlib.Path):
    with open(path, "ab", buffering=0) as more, contextlib.suppress(OSError):
        while True:
            more.write(bytes(1 << 12))


@pytest.mark.parametrize("count", [1, 3])
def test_a_node_that_dies_on_a_full_disk_starts_again(make_cluster, small_disks, count):
    """F27: what DIR/reserve holds is enough for a start, and what is left over for another one.
    Of three nodes two have full disks: without them there is no quorum."""
    cluster = make_cluster(count, options=("--disk-reserve", f"{RESERVE_MIB}MiB", "--partitions", "4",
                                           "--log-bytes-max", "64MiB"))
    full = cluster.nodes[:2]
    for node, disk in zip(full, small_disks):
        node.stop()
        node.data.rename(node.data.parent / f"{node.name}.before")
        shutil.copytree(node.data.parent / f"{node.name}.before", disk / node.name)
        node.data = disk / node.name
    for node in full:
        node.start()
    cluster.wait_healthy()
    node = full[0]
    with node.client(30) as client:
        for i in range(100):
            assert client.call("SET", f"k{i}", "v" * 1000) == "OK"
    until("there is a reserve", lambda: all(_size(one.data / "reserve") for one in full), 10)
    ballasts = [_ballast(one.data.parent, 0) for one in full]
    until("it is told", lambda: all("holon_disk_low 1" in one.http("/metrics")[1] for one in full), 5)
    for _ in range(3):
        for one in full:
            _fill(one.data.parent / "more")  # what the start left over
            one.kill()
        for one in full:
            one.start()
        for one in full:
            one.wait_ready(30)
        until("there is a reserve again", lambda: all(_size(one.data / "reserve") for one in full), 10)
        assert "/reserve" in node.log()
        with node.client(30) as client:
            assert client.call("GET", "k7") == "v" * 1000
            assert client.call("DEL", "k8") in (0, 1)
            assert client.call("GET", "k8") is None
            until("writes are refused",  # once their leader has heard how full the others are
                  lambda: isinstance(client.call("SET", "new", "v"), ErrorReply), 5)
    for ballast in ballasts:
        ballast.unlink()
    with node.client(30) as client:
        until("writes are taken again", lambda: client.call("SET", "new", "v") == "OK", 10)
    until("the reserve is whole again",
          lambda: all(_size(one.data / "reserve") == 4 << 20 for one in full), 10)
    node.kill()
    node.start().wait_ready()
    assert node.call("GET", "new") == "v"


TAKEN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* While the file that HOLON_TEST_TAKEN names is there, what DIR/reserve is made of is taken by
 * somebody else just then: once. */
int posix_fallocate(int fd, off_t offset, off_t size)
{
    static int (*real)(int, off_t, off_t);
    char link[64], path[4096];
    const char *flag = getenv("HOLON_TEST_TAKEN");

    if (!real) real = (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, "posix_fallocate");
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = 0;
    if (flag && strstr(path, "/reserve") && unlink(flag) == 0) return ENOSPC;
    return real(fd, offset, size);
}
int posix_fallocate64(int fd, off_t offset, off_t size)
{
    return posix_fallocate(fd, offset, size);
}
"""


def test_a_reserve_is_made_of_what_others_on_the_disk_leave(make_cluster, directory, small_disk,
                                                            monkeypatch):
    """Two nodes that start on one full disk at the same time both look how much is left, and then
    one of them finds less: without another look it had no reserve, and did not start again."""
    taken = directory / "taken-now"
    monkeypatch.setenv("LD_PRELOAD", _shim(directory, TAKEN))
    monkeypatch.setenv("HOLON_TEST_TAKEN", str(taken))
    cluster = make_cluster(1, options=("--disk-reserve", f"{RESERVE_MIB}MiB", "--partitions", "4"))
    node = cluster[0]
    _begin_anew(node, small_disk / "n1")
    until("there is a reserve", lambda: _size(node.data / "reserve"), 10)
    _ballast(small_disk, 0)
    for _ in range(2):
        taken.touch()
        _fill(small_disk / "more")
        node.kill()
        node.start().wait_ready(30)
        until("there is a reserve again", lambda: _size(node.data / "reserve"), 10)
        assert not taken.exists()


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <stdio.h>

/* Syncs of files whose path contains what the file named by HOLON_TEST_FAIL says fail. */
static int fails(int fd)
{
    char link[64], path[4096], part[64] = "";
    const char *flag = getenv("HOLON_TEST_FAIL");
    FILE *file = flag ? fopen(flag, "r") : NULL;

    if (!file) return 0;
    if (!fgets(part, sizeof(part), file)) part[0] = 0;
    fclose(file);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    if (size <= 0 || !part[0]) return 0;
    path[size] = 0;
    if (!strstr(path, part)) return 0;
    errno = EIO;
    return 1;
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails(fd) ? -1 : real(fd);
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails(fd) ? -1 : real(fd);
}
"""


def _write_until_it_ends(node, acknowledged: dict):
    """Enough that stores are flushed; the process ends, and no write of after that is answered."""
    with node.client(timeout=20) as client:
        with pytest.raises((OSError, EOFError)):
            for i in range(1_000_000):
                key = f"w{i % 5000}"
                acknowledged.pop(key, None)  # while it is under way: either
                assert client.call("SET", key, "x" * 4000 + str(i)) == "OK"
                acknowledged[key] = "x" * 4000 + str(i)


@pytest.mark.parametrize("part", [".seg", ".run", "MANIFEST"])
def test_a_sync_that_fails_ends_the_process_and_loses_nothing_acknowledged(make_cluster, directory,
                                                                           part):
    """F26, FAULTS rule 6: no retry, no acknowledgement; and what could not be written once is not
    damaged for that: the next start goes on with it."""
    flag = directory / "fail-now"
    os.environ["LD_PRELOAD"], os.environ["HOLON_TEST_FAIL"] = _shim(directory, SHIM), str(flag)
    try:
        cluster = make_cluster(1, options=("--memory", "32MiB", "--partitions", "8"))
    finally:
        del os.environ["LD_PRELOAD"], os.environ["HOLON_TEST_FAIL"]
    node = cluster[0]
    for i in range(50):
        assert node.call("SET", f"k{i}", i) == "OK"
    flag.write_text(part)
    acknowledged: dict = {}
    _write_until_it_ends(node, acknowledged)
    assert node.wait_exit() == 70
    assert "Input/output error" in node.log()
    flag.unlink()
    node.start().wait_ready()
    assert [node.call("GET", f"k{i}") for i in range(50)] == [str(i) for i in range(50)]
    assert {key: node.call("GET", key) for key in acknowledged} == acknowledged
    assert not list(node.data.glob("*.damaged")), "nothing is given up"


def _content(path: pathlib.Path) -> dict:
    return {str(file.relative_to(path)): (file.stat().st_mtime_ns, file.read_bytes())
            for file in sorted(path.rglob("*")) if file.is_file()}


def test_inspecting_changes_no_file(make_cluster):
    cluster = make_cluster(1)
    node = cluster[0]
    for i in range(50):
        assert node.call("SET", f"k{i}", i) == "OK"
    node.stop()
    before = _content(node.data)
    for what in ("log", "identity", "engine"):
        result = subprocess.run([HOLON, "inspect", what, str(node.data)], capture_output=True,
                                text=True, check=False, timeout=30)
        assert result.returncode == 0, result.stderr
        assert result.stdout
        after = _content(node.data)
        assert after.keys() == before.keys(), what
        assert after == before, what


@pytest.mark.parametrize("leave_mib", [8, 0])  # the first segment of a log takes 16
def test_a_salvage_on_a_full_disk_leaves_the_directory_as_it_was(make_cluster, small_disk, leave_mib):
    cluster = make_cluster(1, options=("--partitions", "4"))
    node = cluster[0]
    _begin_anew(node, small_disk / "n1")
    with node.client() as client:
        for i in range(100):
            assert client.call("SET", f"k{i}", f"v{i}" * 1000) == "OK"
    node.stop()
    log_middle(node)
    before = contents(node.data)
    ballast = _ballast(small_disk, leave_mib)
    used = os.statvfs(small_disk).f_bavail
    for _ in range(3):
        ended = salvage(node, "--accept-loss")
        assert ended.returncode == 1 and "No space" in ended.stderr + ended.stdout, ended
        assert contents(node.data) == before
        assert os.statvfs(small_disk).f_bavail == used
    ballast.unlink()
    ended = salvage(node, "--accept-loss")
    assert ended.returncode == 0, ended
    node.start().wait_ready()
    kept = [i for i in range(100) if node.call("GET", f"k{i}") == f"v{i}" * 1000]
    assert len(kept) >= 30
