"""A salvage that is killed at any of its effects on files, also in the middle of a write (FAULTS F01,
F20; section 4): what is left is the old directory, or a salvage that finishes when it is called again.
Nothing is lost that an undisturbed salvage keeps, and nothing is missing that it did not name."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from cluster import HOLON
from test_damage import KEYS, log_middle, with_rows_in_stores

POINTS = 6  # of each kind, and as many in the last third; all with HOLON_SALVAGE_ALL=1 (an hour)

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
static atomic_long effects;
/* 0: go on; 1: this is the one, in the middle of a write. Does not return where it is the end. */
static int effect(int is_write)
{
    const char *at = getenv("CRASH_AT"), *count = getenv("CRASH_COUNT");
    long number = atomic_fetch_add(&effects, 1) + 1;
    if (count != NULL) {
        FILE *file = fopen(count, "r+");
        if (file != NULL) { fprintf(file, "%ld", number); fclose(file); }
    }
    if (at == NULL || number != atol(at)) return 0;
    if (is_write && getenv("CRASH_TORN") != NULL) return 1;
    _exit(99);
}
static int is_file(int descriptor)
{
    struct stat stat;
    return descriptor > 2 && fstat(descriptor, &stat) == 0 && S_ISREG(stat.st_mode);
}
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define PWRITE(name, offset_type)                                                                  \
    ssize_t name(int d, const void *b, size_t n, offset_type o)                                    \
    {                                                                                              \
        if (!is_file(d)) return REAL(name)(d, b, n, o);                                            \
        if (effect(1)) { REAL(name)(d, b, n / 2 / 512 * 512, o); _exit(99); }                      \
        return REAL(name)(d, b, n, o);                                                             \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
ssize_t write(int d, const void *b, size_t n)
{
    if (!is_file(d)) return REAL(write)(d, b, n);
    if (effect(1)) { REAL(write)(d, b, n / 2); _exit(99); }
    return REAL(write)(d, b, n);
}
#define EFFECT(type, name, declared, given)                                                        \
    type name declared { effect(0); return REAL(name) given; }
EFFECT(int, fsync, (int d), (d))
EFFECT(int, fdatasync, (int d), (d))
EFFECT(int, rename, (const char *a, const char *b), (a, b))
EFFECT(int, unlink, (const char *a), (a))
EFFECT(int, mkdir, (const char *a, mode_t m), (a, m))
EFFECT(int, ftruncate, (int d, off_t n), (d, n))
EFFECT(int, ftruncate64, (int d, off64_t n), (d, n))
EFFECT(int, posix_fallocate, (int d, off_t a, off_t n), (d, a, n))
EFFECT(int, posix_fallocate64, (int d, off64_t a, off64_t n), (d, a, n))
#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;                                  \
        va_end(list);                                                                              \
        if (flags & O_CREAT) effect(0);                                                            \
        return REAL(name)(path, flags, mode);                                                      \
    }
OPEN(open)
OPEN(open64)
"""


class Bench:
    """The directory of the survivor of three: rows in its stores, damage in its log."""

    def __init__(self, make_cluster, directory: pathlib.Path):
        cluster = with_rows_in_stores(make_cluster)
        for node in cluster:
            node.stop()
        self.node = cluster[1]
        log_middle(self.node)
        self.damaged = self.node.data
        self.copy = directory / "copy"
        self.shim = directory / "crash.so"
        self.count = directory / "count"
        source = directory / "crash.c"
        source.write_text(SHIM)
        subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", str(self.shim), str(source), "-ldl"],
                       check=True)

    def fresh(self) -> None:
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.damaged, self.copy)
        self.node.data = self.copy

    def salvage(self, *options, **crash) -> subprocess.CompletedProcess:
        environment = dict(os.environ)
        if crash:
            environment.update(LD_PRELOAD=str(self.shim), **crash)
        return subprocess.run([HOLON, "salvage", "--data", str(self.copy), *options], timeout=60,
                              capture_output=True, text=True, check=False, env=environment)

    def kept(self) -> dict:
        """What is there afterwards, with its slot."""
        self.node.start().wait_ready()
        with self.node.client() as client:
            slots = client.pipeline([("CLUSTER", "KEYSLOT", f"key{n}") for n in range(KEYS)])
            values = client.pipeline([("GET", f"key{n}") for n in range(KEYS)])
        self.node.kill()
        assert all(value in (None, f"value{n}" * 4) for n, value in enumerate(values))
        return {n: (slots[n], value is not None) for n, value in enumerate(values)}


def named_as_missing(report: str) -> list:
    """Ranges of slots of which it says that anything may be missing."""
    lines = re.findall(r"^ +\d+ +(\d+) - +(\d+) +\d+ +\d+  (.*)$", report, re.M)
    assert lines, report
    return [range(int(first), int(last) + 1) for first, last, what in lines if what != "nothing"]


def points(effects: int, first: int) -> list:
    """Most effects are the engines'; the old files go and the new ones come at the end."""
    if "HOLON_SALVAGE_ALL" in os.environ:
        return list(range(1, effects + 1))
    end = effects * 2 // 3
    return sorted({*range(first, end, max(1, end // POINTS)),
                   *range(end + first, effects + 1, max(1, (effects - end) // POINTS))})


@pytest.mark.long
def test_a_salvage_that_is_killed_is_finished_by_the_next(make_cluster, directory):
    bench = Bench(make_cluster, directory)
    bench.fresh()
    bench.count.write_text("")
    done = bench.salvage("--accept-loss", CRASH_COUNT=str(bench.count))
    assert done.returncode == 0, done
    effects = int(bench.count.read_text())
    assert effects > 40, effects
    missing = named_as_missing(done.stdout)
    undisturbed = bench.kept()
    assert all(kept or any(slot in part for part in missing)
               for slot, kept in undisturbed.values())

    begun, untouched = 0, 0
    for torn in (False, True):
        for at in points(effects, 1 + torn):
            bench.fresh()
            crash = {"CRASH_AT": str(at), **({"CRASH_TORN": "1"} if torn else {})}
            ended = bench.salvage("--accept-loss", **crash)
            where = f"effect {at} of {effects}, torn {torn}"
            assert ended.returncode in (99, 0), (where, ended)  # 0: threads of the engine vary
            dry = bench.salvage("--dry-run")
            begun += "interrupted" in dry.stdout
            untouched += dry.returncode == 0
            finished = bench.salvage("--accept-loss")
            assert finished.returncode == 0, (where, finished)
            assert bench.kept() == undisturbed, where
    assert begun > 3 and untouched > 3, (begun, untouched)
